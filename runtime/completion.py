"""The shortest completion of a matcher's text: the shortest ends of the frames on its stack, one after the other.

A frame ends with a result code, which decides where its caller goes on. Where the caller has room for one result only,
the frame's nearest end is the best one, whatever lies below; so the stack falls into segments between such callers, and
what follows a segment is known by its stack node alone. Within a segment this is Dijkstra's algorithm over the ends of
its frames.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np

from maskwright.compile.endings import NO_END, Endings
from maskwright.compile.moves import place
from maskwright.kernels import layout as L

__all__ = ["StackCompletions"]

_MAX_SEGMENTS = 1 << 16  # segments kept, and
_MAX_KEPT_BYTES = 1 << 26  # bytes of their texts

_FOUND = -1

Nodes = np.ndarray[Any, np.dtype[np.int32]]


class _Step(NamedTuple):
    """A step of the search through a segment.

    Attributes:
        text: what has been written.
        where: a place to go on from; or, with the number _FOUND, a result code.
        node: the caller of the place's frame, or of the one that has ended.
        number: which end of the frame to look for; _FOUND: it is found.
    """

    text: bytes
    where: int
    node: int
    number: int


class StackCompletions:
    """What completes a text once a frame has ended, by the stack node of its caller; for the nodes of one arena."""

    def __init__(self) -> None:
        self._bytes = 0
        self._after: dict[int, tuple[bytes, int]] = {0: (b"", 0)}
        """Caller with room for one result: the text of the segment below it, and the caller that ends that segment."""

    def copy(self) -> StackCompletions:
        """The same, for a copy of the arena."""
        twin = StackCompletions()
        twin._after, twin._bytes = dict(self._after), self._bytes
        return twin

    def shortest(self, endings: Endings, nodes: Nodes, state: int, register: int, top: int) -> bytes:
        """The shortest text that completes a text that is in `state`, with the stack `top`.

        Args:
            nodes: int32 [capacity * NODE_SIZE], the arena's stack nodes.
            state: entered already; neither DONE nor the state after an end-of-sequence token.
        """
        if len(self._after) > _MAX_SEGMENTS or self._bytes > _MAX_KEPT_BYTES:
            self._after, self._bytes = {0: (b"", 0)}, 0
        after = self._after
        unknown, node = [], top
        while node not in after:
            block, _, parent = _read(nodes, node)
            if endings.moves.results(block) == 1:
                unknown.append(node)
            node = parent
        for node in reversed(unknown):
            block, count, parent = _read(nodes, node)
            after[node] = _segment(endings, nodes, endings.moves.enter(block, count), parent)
            self._bytes += len(after[node][0])
        text, node = _segment(endings, nodes, place(state, register), top)
        pieces = [text]
        while node:
            text, node = after[node]
            pieces.append(text)
        return b"".join(pieces)


def _read(nodes: Nodes, node: int) -> tuple[int, int, int]:
    """Return block, register and parent of a stack node."""
    block, register, parent = nodes[node * L.NODE_SIZE : node * L.NODE_SIZE + 3].tolist()
    return block, register, parent


def _segment(endings: Endings, nodes: Nodes, start: int, node: int) -> tuple[bytes, int]:
    """The shortest text from a place to the end of the nearest frame whose caller has room for one result; the caller.

    `node`: the caller of the frame that the place is in.
    """
    if endings.moves.results(_read(nodes, node)[0]) == 1:
        _, result = endings.nearest(start)
        return endings.text(start, result), node
    ranks = endings.moves.ranks
    # In order of (bytes, text), the more readable text first; what is still to be found comes before what is.
    order = 0
    queue: list[tuple[int, bytes, int, _Step]] = [(0, b"", 0, _Step(b"", start, node, 0))]
    reached: set[tuple[int, int]] = set()
    while queue:
        _, _, _, step = heappop(queue)
        block, register, parent = _read(nodes, step.node)
        room = endings.moves.results(block)
        if step.number == _FOUND:
            result = step.where
            if room == 1:
                return step.text, step.node
            if (step.node, result) not in reached:
                reached.add((step.node, result))
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
        if step.number + 1 < room:
            heappush(queue, (before + cost, b"", order + 1, step._replace(number=step.number + 1)))
    raise AssertionError("a dead end was reached")
