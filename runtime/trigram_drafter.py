"""Trigram counts searched by PUCT: an adaptive statistical draft, and a tree where it is likely to pay.

Counts of the token behind two others are kept over all texts. A tree is found by Monte-Carlo tree search: each round goes
down from the root by

    Q(child) + c P(child) sqrt(N(parent)) / (1 + N(child))

to a place not yet visited, which becomes a node; its value, the probability of its whole path, is averaged into the Q of
all nodes above. So branches are explored in proportion to what they promise.

Source: ADED (Sun et al. 2024). The tri-gram table is filled from what the target writes alone, not from a corpus.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from maskwright.runtime.draft_growth import Cursor
from maskwright.runtime.draft_tree import DraftTree, TreeBuilder
from maskwright.runtime.drafter import Budget, Drafter, Session, Text, Verified

__all__ = ["TrigramDrafter"]

_EXPLORATION = 1.0
_WIDTH = 6  # candidates of a place
_MOST_KEYS = 1 << 18  # pairs of tokens; then counts start anew
_DEEPEST = 12


class TrigramDrafter(Drafter):
    """Trigrams and PUCT."""

    name = "trigram"

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], dict[int, int]] = {}

    def begin(self, text: Text) -> Session:
        """See Drafter."""
        return _Trigrams(self, text)

    def count(self, before: int, last: int, token: int) -> None:
        """`token` came behind two others."""
        if len(self._counts) > _MOST_KEYS:
            self._counts.clear()
        counts = self._counts.setdefault((before, last), {})
        counts[token] = counts.get(token, 0) + 1

    def likely(self, before: int, last: int) -> list[tuple[int, float]]:
        """Tokens behind two others with their shares of all that came there and one more, the likeliest first."""
        counts = self._counts.get((before, last), {})
        total = sum(counts.values()) + 1
        best = sorted(counts, key=lambda token: -counts[token])[:_WIDTH]
        return [(token, counts[token] / total) for token in best]


class _Node:
    """A node of the search: its candidates, and what the rounds through it found."""

    __slots__ = ("candidates", "children", "value", "visits")

    def __init__(self, candidates: Sequence[tuple[int, float]]) -> None:
        self.candidates = list(candidates)
        self.children: dict[int, tuple[int, _Node]] = {}  # by token: the tree's node, and the search's
        self.visits, self.value = 1, 0.0

    def choose(self) -> tuple[int, float] | None:
        """The candidate with the highest score; None where there is none."""
        best, found = -1.0, None
        for token, prior in self.candidates:
            known = self.children.get(token)
            visits, value = (known[1].visits, known[1].value / known[1].visits) if known else (0, 0.0)
            score = value + _EXPLORATION * prior * math.sqrt(self.visits) / (1 + visits)
            if score > best:
                best, found = score, (token, prior)
        return found


class _Trigrams(Session):
    def __init__(self, drafter: TrigramDrafter, text: Text) -> None:
        self._drafter, self._text = drafter, text
        self._counted = 2

    def propose(self, budget: Budget) -> DraftTree:
        """See Session."""
        ids = self._text.ids
        builder = TreeBuilder(ids[-1] if ids else -1)
        if len(ids) < 2:
            return builder.build()
        cursor = Cursor(self._text.matcher)
        root = _Node(self._drafter.likely(ids[-2], ids[-1]))
        expected, rounds = 0.0, 0
        try:
            while root.candidates and rounds < 4 * (len(builder) + 4):
                rounds += 1
                grown = self._round(root, builder, cursor, budget, expected)
                if grown is None:
                    break
                expected += grown
        finally:
            cursor.back()
        return builder.build()

    def _round(
        self, root: _Node, builder: TreeBuilder, cursor: Cursor, budget: Budget, expected: float
    ) -> float | None:
        """One way down: the probability of the node that was added, 0 for none; None when the budget is spent."""
        node, here, value = 0, root, 1.0
        passed = [root]
        path = list[int]()
        while True:
            choice = here.choose()
            if choice is None or len(path) == _DEEPEST:
                self._back_up(passed, value)
                return 0.0
            token, prior = choice
            value *= prior
            known = here.children.get(token)
            if known is None:
                if not budget.admits(len(builder) - 1, expected, value):
                    return None
                if here.children and not self._text.trees:
                    here.candidates = [(name, share) for name, share in here.candidates if name in here.children]
                    return 0.0
                cursor.go(path)
                if not cursor.try_token(token):
                    here.candidates.remove(choice)
                    return 0.0
                last = path[-1] if path else self._text.ids[-1]
                child = _Node(self._drafter.likely(last, token))
                here.children[token] = builder.add(node, token, prior), child
                self._back_up([*passed, child], value)
                return value
            node, here = known
            passed.append(here)
            path.append(token)

    @staticmethod
    def _back_up(passed: Sequence[_Node], value: float) -> None:
        for node in passed:
            node.visits += 1
            node.value += value

    def observe(self, verified: Verified) -> None:
        """Count the trigrams that are new in the text, the prompt's first."""
        ids = self._text.ids
        for place in range(self._counted, len(ids)):
            self._drafter.count(ids[place - 2], ids[place - 1], ids[place])
        self._counted = len(ids)
