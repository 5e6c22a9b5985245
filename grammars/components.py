"""Strongly connected components of a directed graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

__all__ = ["strongly_connected"]

_Node = TypeVar("_Node", bound=Hashable)


def strongly_connected(nodes: Iterable[_Node], following: Callable[[_Node], Sequence[_Node]]) -> list[list[_Node]]:
    """The components, each before those that lead to it.

    R. Tarjan, "Depth-first search and linear graph algorithms", SIAM J. Comput. 1(2), 1972; without recursion.
    """
    number: dict[_Node, int] = {}
    lowest: dict[_Node, int] = {}
    pending: list[_Node] = []
    waiting: set[_Node] = set()
    components: list[list[_Node]] = []
    for start in nodes:
        if start in number:
            continue
        path: list[tuple[_Node, list[_Node]]] = []
        arriving: _Node | None = start
        while arriving is not None or path:
            if arriving is not None:
                number[arriving] = lowest[arriving] = len(number)
                pending.append(arriving)
                waiting.add(arriving)
                path.append((arriving, list(following(arriving))))
                arriving = None
            node, left = path[-1]
            while left:
                other = left.pop()
                if other not in number:
                    arriving = other
                    break
                if other in waiting:
                    lowest[node] = min(lowest[node], number[other])
            if arriving is not None:
                continue
            path.pop()
            if path:
                lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[node])
            if lowest[node] == number[node]:
                component: list[_Node] = []
                while not component or component[-1] != node:
                    component.append(pending.pop())
                    waiting.discard(component[-1])
                components.append(component)
    return components
