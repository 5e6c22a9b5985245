"""Which tokens of which prefixes a model has processed, and what it is shown to know more.

A prefix that was asked for is a path in a tree of tokens; each token has a place, where its keys and values are:

    prompt ── (define ── -fun ── f          place 0 1 2 3 4 5 6
                    └── -sort ── s                      7 8

What is asked for is cut into chunks, each a row of a forward: the places of what is known, and behind them the tokens that
are new. Prefixes that share new tokens share a chunk, which is then a tree, so that no token is processed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["Chunk", "Places", "chunks_of", "common_beginning"]

_NOTHING = -1  # before the first token

Tokens = tuple[int, ...]


@dataclass(slots=True)
class Chunk:
    """A row of a forward.

    Attributes:
        places: of the tokens that are known.
        tokens: new ones behind them, each behind those that lead to it.
        parents: for each of them the one before it, -1: the last known.
        asked: the prefixes whose logits are wanted, each with the number of its last token.
        ends: prefixes that together have all the new tokens, each with the numbers of its own.
    """

    places: list[int]
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    asked: list[tuple[Tokens, int]] = field(default_factory=list)
    ends: list[tuple[Tokens, list[int]]] = field(default_factory=list)
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, prefix: Tokens, lengths: Sequence[int]) -> None:
        """Let a prefix that begins with the known tokens come in, with the lengths at which its logits are wanted."""
        path, number = list[int](), -1
        for token in prefix[len(self.places) :]:
            edge = (number, token)
            number = self._children.get(edge, -1)
            if number < 0:
                number = self._children[edge] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(edge[0])
            path.append(number)
        self.ends.append((prefix, path))
        self.asked += [(prefix[:length], path[length - len(self.places) - 1]) for length in lengths]

    @property
    def branches(self) -> bool:
        """Whether it is more than one path."""
        return len(self.ends) > 1

    def depths(self) -> list[int]:
        """How far behind the last known token each new one is, from 0 on."""
        found = list[int]()
        for parent in self.parents:
            found.append(found[parent] + 1 if parent >= 0 else 0)
        return found

    def seen(self) -> npt.NDArray[np.bool_]:
        """bool [N, N]: which of the new tokens (columns) lead to which, each itself included."""
        seen = np.eye(len(self.tokens), dtype=bool)
        for number, parent in enumerate(self.parents):
            if parent >= 0:
                seen[number] |= seen[parent]
        return seen


def chunks_of(prefixes: Sequence[Tokens], known: Places | None, trees: bool) -> list[Chunk]:
    """What to show a model that is asked for the logits behind some prefixes.

    Args:
        known: where what was processed is kept; None: nowhere.
        trees: whether a chunk may branch.
    """
    found: dict[object, Chunk] = {}
    for prefix, lengths in _rows(prefixes):
        places = [] if known is None else known.known(prefix[: lengths[0] - 1])
        shared = (places[-1] if places else _NOTHING, prefix[len(places)])
        found.setdefault(shared if trees else prefix, Chunk(places)).add(prefix, lengths)
    return [*found.values()]


def common_beginning(prefixes: Sequence[Tokens]) -> Tokens:
    """What all prefixes begin with."""
    low, high = min(prefixes), max(prefixes)
    length = 0
    while length < min(len(low), len(high)) and low[length] == high[length]:
        length += 1
    return low[:length]


def _rows(prefixes: Sequence[Tokens]) -> list[tuple[Tokens, list[int]]]:
    """The prefixes that are not the beginning of another, each with the lengths of those that begin it, and its own."""
    rows: list[tuple[Tokens, list[int]]] = []
    for prefix in sorted(set(prefixes), reverse=True):
        if rows and rows[-1][0][: len(prefix)] == prefix:
            rows[-1][1].insert(0, len(prefix))
        else:
            rows.append((prefix, [len(prefix)]))
    return rows


class Places:
    """Where each known token of each prefix is kept: a tree of tokens, a node's number being its place."""

    def __init__(self) -> None:
        self.size = 0
        self._children: dict[tuple[int, int], int] = {}  # (place before, token): place
        self._edges: list[tuple[int, int]] = []  # the same the other way round
        self._used: list[int] = []  # when, in calls; a token is used whenever one behind it is
        self._free: list[int] = []
        self._now = 0

    @property
    def free(self) -> int:
        return len(self._free)

    def known(self, prefix: Sequence[int]) -> list[int]:
        """The places of a prefix's tokens, as far as they are known from the first on."""
        self._now += 1
        places, place = [], _NOTHING
        for token in prefix:
            place = self._children.get((place, token), _NOTHING)
            if place == _NOTHING:
                break
            self._used[place] = self._now
            places.append(place)
        return places

    def add(self, prefix: Sequence[int], start: int) -> list[tuple[int, int]]:
        """Give places to the tokens from `start` on: (how far behind `start`, place) of those that had none.

        As many as there are free places; nothing where a token before `start` has lost its own.
        """
        before = self.known(prefix[:start])
        if len(before) < start:
            return []
        place, added = (before[-1] if before else _NOTHING), []
        for offset, token in enumerate(prefix[start:]):
            edge = (place, token)
            place = self._children.get(edge, _NOTHING)
            if place == _NOTHING:
                if not self._free:
                    break
                place = self._free.pop()
                self._children[edge], self._edges[place] = place, edge
                added.append((offset, place))
            self._used[place] = self._now
        return added

    def grow(self, size: int) -> None:
        added = size - self.size
        self._edges += [(_NOTHING, _NOTHING)] * added
        self._used += [0] * added
        self._free += range(size - 1, self.size - 1, -1)
        self.size = size

    def forget(self, count: int) -> None:
        """Free the places that were not used for longest, at least `count` where there are so many."""
        taken = sorted(self._children.values(), key=self._used.__getitem__)
        if count < len(taken):
            limit = self._used[taken[count - 1]]  # a token behind another was never used after it
            taken = [place for place in taken if self._used[place] <= limit]
        for place in taken:
            del self._children[self._edges[place]]
            self._free.append(place)
