"""The shortest completion of a matcher's text: the shortest ends of the frames on its stack, one after the other.

A frame ends with a result code, which decides where its caller goes on. Where the caller has room for one result only,
the frame's nearest end is the best one, whatever lies below; so the stack falls into segments between such callers, and
what follows a segment is known by its stack node alone. Within a segment this is Dijkstra's algorithm over the ends of
its frames. Where a text can be read in several ways (kernels/stacks.py), a node stands for several callers, and the
shortest way of all counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np

from maskwright.compile.endings import NO_END, Endings
from maskwright.compile.moves import place
from maskwright.kernels import layout as L

__all__ = ["StackCompletions"]

_MAX_SEGMENTS = 1 << 16  # segments kept, and
_MAX_KEPT_BYTES = 1 << 26  # bytes of their texts

_FOUND, _OVER = -1, -2

Nodes = np.ndarray[Any, np.dtype[np.int32]]


class _Step(NamedTuple):
    """A step of the search through a segment.

    Attributes:
        text: what has been written.
        where: a place to go on from; or, with the number _FOUND, a result code.
        node: the callers of the place's frame, or of the one that has ended.
        number: which end of the frame to look for; _FOUND: it is found.
    """

    text: bytes
    where: int
    node: int
    number: int


class _After(NamedTuple):
    """What completes a text after a frame whose callers have room for one result.

    Attributes:
        text: of the segment below; `node`: the callers that end that segment.
        size: bytes up to the end of the text.
    """

    text: bytes
    node: int
    size: int


_NOTHING = _After(b"", 0, 0)


class StackCompletions:
    """What completes a text once a frame has ended, by the stack node of its callers; for the nodes of one arena."""

    def __init__(self) -> None:
        self._bytes = 0
        self._after: dict[int, _After] = {0: _NOTHING}
        # What the next two tell: bytes behind a frame that ends with a result, by its callers and the result; how frames end,
        # which is the grammar's.
        self._ended: dict[tuple[int, int], int] = {}
        self._nearest: Mapping[int, tuple[int, int]] = {}

    def copy(self) -> StackCompletions:
        """The same, for a copy of the arena."""
        twin = StackCompletions()
        twin._after, twin._bytes = dict(self._after), self._bytes
        twin._ended, twin._nearest = dict(self._ended), self._nearest
        return twin

    def bound(self, state: int, register: int, top: int) -> int | None:
        """As many bytes as simplest() has, two look-ups; None where find_bound() has to find out."""
        nearest = self._nearest.get(place(state, register))
        if nearest is None:
            return None
        cost, result = nearest
        after = self._ended.get((top, result))
        return None if after is None else cost + after

    def find_bound(self, endings: Endings, nodes: Nodes, state: int, register: int, top: int) -> int | None:
        """The same, remembered from then on; None where there is no such text."""
        self._nearest = endings.known_nearest
        if len(self._ended) > _MAX_SEGMENTS:
            self._ended = {}
        ways, size = list[tuple[tuple[int, int], int]](), 0
        for _, cost, result, node in _frame_by_frame(endings, nodes, state, register, top):
            if result == NO_END[1]:
                return None
            ways.append(((node, result), cost))
            if (node, result) in self._ended:
                size = self._ended[node, result]
                break
        for way, cost in reversed(ways):
            self._ended[way] = size
            size += cost
        return size

    def simplest(self, endings: Endings, nodes: Nodes, state: int, register: int, top: int) -> bytes:
        """A text that completes the text, where find_bound() knows its size: each frame ends as soon as it can.

        Most often there is no shorter one.
        """
        steps = _frame_by_frame(endings, nodes, state, register, top)
        return b"".join([endings.text(start, result) for start, _, result, _ in steps])

    def shortest(self, endings: Endings, nodes: Nodes, state: int, register: int, top: int) -> bytes:
        """The shortest text that completes a text that is in `state`, with the stack `top`.

        Args:
            nodes: int32 [capacity * NODE_SIZE], the arena's stack nodes.
            state: entered already; neither DONE nor the state after an end-of-sequence token.
        """
        if len(self._after) > _MAX_SEGMENTS or self._bytes > _MAX_KEPT_BYTES:
            self._after, self._bytes = {0: _NOTHING}, 0
        if state == L.SPLIT:
            ways = list(_cells(nodes, top))
        else:
            ways = [(state, register, top)]
        if any(state == L.DONE for state, _, _ in ways):
            return b""
        for node in sorted(
            self._unknown(nodes, [node for _, _, node in ways])
        ):  # what is below a node was made before it
            if _is_cut(endings, nodes, node):
                found = [
                    _NOTHING
                    if block == L.DONE
                    else self._segment(endings, nodes, endings.moves.enter(block, count), parent)
                    for block, count, parent in _cells(nodes, node)
                ]
                self._after[node] = min(found, key=_size)
                self._bytes += len(self._after[node].text)
        best = min((self._segment(endings, nodes, place(*way[:2]), way[2]) for way in ways), key=_size)
        pieces, node = [best.text], best.node
        while node:
            text, node, _ = self._after[node]
            pieces.append(text)
        return b"".join(pieces)

    def _unknown(self, nodes: Nodes, todo: list[int]) -> set[int]:
        """The nodes under which it is not known what completes a text, down to those under which it is."""
        unknown: set[int] = set()
        while todo:
            node = todo.pop()
            if node not in self._after and node not in unknown:
                unknown.add(node)
                todo += [parent for _, _, parent in _cells(nodes, node)]
        return unknown

    def _segment(self, endings: Endings, nodes: Nodes, start: int, node: int) -> _After:
        """The shortest text from a place to the end of the text, as far as the nearest callers with room for one result.

        `node`: the callers of the frame that the place is in.
        """
        if _is_cut(endings, nodes, node):
            cost, result = endings.nearest(start)
            return _After(endings.text(start, result), node, cost + self._after[node].size)
        ranks = endings.moves.ranks
        # In order of (bytes, text), the more readable text first; what is still to be found comes before what is.
        order = 0
        queue: list[tuple[int, bytes, int, _Step]] = [(0, b"", 0, _Step(b"", start, node, 0))]
        reached: set[tuple[int, int]] = set()
        while queue:
            size, _, _, step = heappop(queue)
            if step.number == _OVER:
                return _After(step.text, step.node, size)
            if step.number == _FOUND:
                result = step.where
                if (step.node, result) in reached:
                    continue
                reached.add((step.node, result))
                if _is_cut(endings, nodes, step.node):
                    order += 1
                    whole = len(step.text) + self._after[step.node].size
                    heappush(queue, (whole, b"", order, step._replace(number=_OVER)))
                    continue
                for block, register, parent in _cells(nodes, step.node):
                    if result < endings.moves.results(block):
                        following = _Step(step.text, endings.moves.enter(block + result, register), parent, 0)
                        order += 1
                        heappush(queue, (len(step.text), b"", order, following))
                continue
            before = len(step.text)
            most = queue[0][0] - before if queue else NO_END[0]
            found = endings.end(step.where, step.number, most)
            if found == NO_END:
                continue
            if found is None:
                order += 1
                heappush(queue, (before + most + 1, b"", order, step))
                continue
            cost, result = found
            text = step.text + endings.text(step.where, result)
            order += 2
            heappush(queue, (before + cost, text.translate(ranks), order, _Step(text, result, step.node, _FOUND)))
            if step.number + 1 < max(endings.moves.results(block) for block, _, _ in _cells(nodes, step.node)):
                heappush(queue, (before + cost, b"", order + 1, step._replace(number=step.number + 1)))
        endings.fail()


def _size(found: _After) -> int:
    return found.size


def _cells(nodes: Nodes, node: int) -> Iterator[tuple[int, int, int]]:
    """Block, register and parent of each stack that a node stands for."""
    while True:
        block, register, parent, _, also = nodes[node * L.NODE_SIZE : node * L.NODE_SIZE + L.NODE_MARK].tolist()
        yield block, register, parent
        if also == 0:
            return
        node = also


def _frame_by_frame(
    endings: Endings, nodes: Nodes, state: int, register: int, top: int
) -> Iterator[tuple[int, int, int, int]]:
    """Ends of the frames of a stack, each the nearest: place, cost, result code, and the frame's callers.

    The result code is NO_END[1] where the callers have no room for that of the frame above.
    """
    start = place(state, register)
    while True:
        cost, result = endings.nearest(start)
        yield start, cost, result, top
        if top == 0:
            return
        for block, count, parent in _cells(nodes, top):
            if block == L.DONE:
                return
            if result < endings.moves.results(block):
                start, top = endings.moves.enter(block + result, count), parent
                break
        else:
            yield start, 0, NO_END[1], top
            return


def _is_cut(endings: Endings, nodes: Nodes, node: int) -> bool:
    """Whether all callers have room for one result only."""
    return all(endings.moves.results(block) == 1 for block, _, _ in _cells(nodes, node))
