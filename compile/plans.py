"""Byte-level plans of transitions over characters, made once for each partition of the characters.

A state of a text goes on with some disjoint sets of characters, each to a state of its own. Which bytes that takes (the
prefixes of UTF-8 characters, of escapes) does not depend on the states, and few partitions recur: any character, a class
and the rest. So the tree of bytes is made once, and laid into the automaton with states in place of numbers.

    partition ([a-z], everything else)  ->  root: 0x61-0x7a to 0, 0x20-0x60 to 1, 0xc2-0xdf to node 0, ...
                                            node 0: 0x80-0xbf to 1, ...
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Sequence_
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from maskwright.compile.spelling import Sequence, Spelling, spell_utf8
from maskwright.grammars.charset import CharSet
from maskwright.kernels import layout as L

if TYPE_CHECKING:
    from maskwright.compile.token_tables import TokenTables

__all__ = ["NOT_SAFE", "SPACES", "Plan", "Plans", "Safe"]

_ASCII = CharSet([(0, 0x7F)])
_NON_ASCII = ~_ASCII
# White space and line ends beyond ASCII: what `.` and `\S` leave out, and `\s` is, in the dialects of regular expressions.
SPACES = CharSet.of("\u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff") | CharSet([(0x2000, 0x200A)])
_MAX_PLANS = 4096

Item = tuple[Sequence, int]  # bytes still to come, number of the target after them
Safe = tuple[int, int, int]  # ASCII bytes below 64, those above, flags (kernels/layout.py)

NOT_SAFE: Safe = (0, 0, 0)


class Node(NamedTuple):
    """A state inside a character.

    Attributes:
        classes: 256 byte classes, 0 for none.
        targets: for class 1, 2, ...: the number of a target, or ~n for node n (n is smaller than the node's own).
    """

    classes: bytes
    targets: tuple[int, ...]


class Plan:
    """A partition's tree of bytes.

    Attributes:
        edges: the first byte: low, high, and a target as in Node.
        nodes: the states inside a character.
        partition: the sets.
        laid: the first of the nodes' states in the automaton, by its targets (int32, as bytes).
    """

    def __init__(
        self, edges: tuple[tuple[int, int, int], ...], nodes: tuple[Node, ...], partition: tuple[CharSet, ...]
    ) -> None:
        self.edges, self.nodes, self.partition = edges, nodes, partition
        self.laid: dict[bytes, int] = {}

    @cached_property
    def rows(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Where the row of transitions of each node begins, int64 [N]; and all rows, one after the other, int64.

        An element of a row is 0 for no transition, 1 + n for target n, and 1 + len(partition) + n for node n.
        """
        nodes_from = 1 + len(self.partition)
        rows = [
            [0, *(1 + number if number >= 0 else nodes_from + ~number for number in numbers)]
            for _, numbers in self.nodes
        ]
        starts = np.cumsum([0, *map(len, rows[:-1])])
        return starts, np.array([element for row in rows for element in row])


class Plans:
    """The plans of one way to write characters, over one vocabulary.

    Args:
        spelling: how characters are written inside a JSON string, or None: as they are, in UTF-8.
        tokens: the vocabulary. Where it has no token for every byte, texts must be finished in its own characters, and
            characters that its tokens split without being able to finish them are left out.

    Attributes:
        alphabet: characters in which every text can be finished; None: all.
    """

    def __init__(self, spelling: Spelling | None, tokens: TokenTables) -> None:
        self.spelling = spelling
        self._occurring = bytes(map(bool, tokens.occurring))
        self._usable = tokens.characters if tokens.splits_characters else None
        self.alphabet: CharSet | None = None
        if tokens.characters is not None:
            writable = [(byte, byte) for byte in range(0x80) if tokens.writable[byte]]
            self.alphabet = tokens.characters if spelling is None else spelling.finishable(tokens.characters, writable)
        self._plans: dict[tuple[CharSet, ...], Plan] = {}
        self._safe: dict[CharSet, Safe] = {}
        self._spelled: dict[CharSet, list[Sequence]] = {}
        # Whether characters beyond ASCII may be written with an escape; if not, no ASCII character begins with their bytes.
        self._mixes = spelling is not None and (spelling.ensure_ascii or spelling.escapes == "any")
        self._high: dict[tuple[CharSet, ...], tuple[list[tuple[int, int, int]], tuple[Node, ...]]] = {}

    def plan(self, partition: tuple[CharSet, ...]) -> Plan:
        """The plan of some disjoint sets of characters."""
        found = self._plans.get(partition)
        if found is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
                self._high.clear()
                self._safe.clear()
                self._spelled.clear()
            found = self._plans[partition] = self._make(partition)
        return found

    def _make(self, partition: Sequence_[CharSet]) -> Plan:
        nodes: list[Node] = []
        numbers: dict[tuple[Item, ...], int | None] = {}
        edges: list[tuple[int, int, int]] = []
        low = partition
        if not self._mixes:  # what comes behind ASCII recurs more than the whole
            low = tuple(members & _ASCII for members in partition)
            high = tuple(members & _NON_ASCII for members in partition)
            found = self._high.get(high)
            if found is None:
                found = self._high[high] = self._edges(self._items(high), nodes, numbers), tuple(nodes)
            edges, nodes = found[0], list(found[1])
        edges = self._edges(self._items(low), nodes, numbers) + edges
        return Plan(tuple(edges), tuple(nodes), tuple(partition))

    def _items(self, partition: Sequence_[CharSet]) -> list[Item]:
        return [(sequence, number) for number, members in enumerate(partition) for sequence in self._spell(members)]

    def _spell(self, members: CharSet) -> list[Sequence]:
        found = self._spelled.get(members)
        if found is None:
            kept = members if self._usable is None else members & (self._usable | _ASCII)
            found = spell_utf8(kept) if self.spelling is None else self.spelling.sequences(kept)
            self._spelled[members] = found
        return found

    def _edges(
        self, items: Sequence_[Item], nodes: list[Node], numbers: dict[tuple[Item, ...], int | None]
    ) -> list[tuple[int, int, int]]:
        """The first bytes of `items`; states after them are appended to `nodes`, equal ones once."""
        cuts = sorted({sequence[0][0] for sequence, _ in items} | {sequence[0][1] + 1 for sequence, _ in items})
        edges: list[tuple[int, int, int]] = []
        for low, stop in pairwise(cuts):
            tails = tuple([(rest[1:], number) for rest, number in items if rest[0][0] <= low <= rest[0][1]])
            if not tails:
                continue
            target: int | None = tails[0][1]
            if tails[0][0]:
                if tails not in numbers:
                    numbers[tails] = self._node(tails, nodes, numbers)
                target = numbers[tails]
            if target is None:
                continue
            for first, last in self._runs(low, stop):
                if edges and edges[-1][1] == first - 1 and edges[-1][2] == target:
                    edges[-1] = (edges[-1][0], last, target)
                else:
                    edges.append((first, last, target))
        return edges

    def _runs(self, low: int, stop: int) -> Iterator[tuple[int, int]]:
        """The bytes of [low, stop) that occur in tokens, as ranges."""
        while low < stop:
            low = self._occurring.find(1, low, stop)
            if low < 0:
                return
            end = self._occurring.find(0, low, stop)
            end = stop if end < 0 else end
            yield low, end - 1
            low = end

    def _node(
        self, tails: tuple[Item, ...], nodes: list[Node], numbers: dict[tuple[Item, ...], int | None]
    ) -> int | None:
        """The target that stands for the state before `tails`; None when no token has any of their bytes."""
        edges = self._edges(tails, nodes, numbers)
        if not edges:
            return None
        targets = list(dict.fromkeys(target for _, _, target in edges))
        classes = bytearray(256)
        for low, high, target in edges:
            classes[low : high + 1] = bytes((targets.index(target) + 1,)) * (high - low + 1)
        nodes.append(Node(bytes(classes), tuple(targets)))
        return ~(len(nodes) - 1)

    def safe(self, loop: CharSet) -> Safe:
        """The safe set of a state of which no text of the characters of `loop` leads astray."""
        found = self._safe.get(loop)
        if found is None:
            found = self._safe[loop] = self._find_safe(loop)
        return found

    def _find_safe(self, loop: CharSet) -> Safe:
        raw, flags = loop, 0
        if self._usable is None and not (self.spelling is not None and self.spelling.ensure_ascii):
            others = _NON_ASCII & ~loop
            flags = L.SAFE_UNICODE if not others else L.SAFE_SPACELESS if others.issubset(SPACES) else 0
        if self.spelling is not None:
            raw = loop & self.spelling.raw
        bits = 0
        for low, high in raw.ranges:
            if low < 0x80:
                bits |= ((1 << (min(high, 0x7F) - low + 1)) - 1) << low
        return bits & (1 << 64) - 1, bits >> 64, flags
