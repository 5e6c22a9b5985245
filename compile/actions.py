"""What can be done at each byte of a state: the bytes with one way on are ordinary, those with several have a chain."""

from __future__ import annotations

from collections.abc import Iterable

from maskwright.compile.automaton import Automaton, Edge
from maskwright.kernels import layout as L

__all__ = ["Action", "Actions", "bytes_of"]

Action = tuple[int, int, int]  # target (of LEAVE: the result code), return block, kind (kernels/layout.py)


class Actions:
    """The transition values of one grammar's states; equal chains are one."""

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._chains: dict[tuple[Action, ...], int] = {}

    def edges(self, actions: dict[int, list[Action]]) -> list[Edge]:
        """Actions by byte as ranges of bytes with a transition value each."""
        edges: list[Edge] = []
        before: list[Action] = []
        value = 0
        for byte in sorted(actions):
            if actions[byte] != before:
                before = actions[byte]
                value = self.value(before)
            if edges and edges[-1][1] == byte - 1 and edges[-1][2] == value:
                edges[-1] = (edges[-1][0], byte, value)
            else:
                edges.append((byte, byte, value))
        return edges

    def value(self, actions: Iterable[Action]) -> int:
        """The transition value of what can be done at a byte."""
        distinct = tuple(dict.fromkeys(actions))
        if len(distinct) == 1:
            target, _, kind = distinct[0]
            if kind == L.MOVE:
                return target
        found = self._chains.get(distinct)
        if found is None:
            found = self._chains[distinct] = self._automaton.tables.append_chain(distinct)
        return found


def bytes_of(bits: int) -> list[int]:
    """The bytes of a set given as bits."""
    return [byte for byte in range(256) if bits >> byte & 1]
