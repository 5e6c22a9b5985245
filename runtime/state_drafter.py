"""Counts of the next token by the grammar's state: the automaton is the context.

Behind `"age": ` comes a digit, behind a string's last character `", "`, whatever was written before. A place has three keys,
the automaton's state with the frame that called it and the token before, the same without that token, and the state alone;
the first that has been seen predicts. Counts are of what the target emitted, so that nothing is known of a grammar's states
before a text has been through them; states that grammars share (strings, numbers, white space) carry over.

Source: DOMINO (Beurer-Kellner, Fischer, Vechev 2024), there with the state of a scanner and parser.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from maskwright.runtime.draft_growth import PredictingDrafter, Prediction, Predictor
from maskwright.runtime.drafter import Text

if TYPE_CHECKING:
    from maskwright.compile.automaton import Automaton

__all__ = ["StateDrafter"]

_MOST_KEYS = 1 << 16  # of an automaton; then its counts start anew
_MOST_TOKENS = 64  # of a key
_WIDTH = 4

Counts = dict[Hashable, dict[int, int]]
Place = tuple[Hashable, Hashable, Hashable]


class StateDrafter(PredictingDrafter):
    """Counts by automaton state."""

    name = "automaton"

    def __init__(self) -> None:
        super().__init__()
        self._counts: WeakKeyDictionary[Automaton, Counts] = WeakKeyDictionary()

    def counts(self, automaton: Automaton) -> Counts:
        """Of each key of an automaton the tokens emitted there, and how often."""
        found = self._counts.get(automaton)
        if found is None or len(found) > _MOST_KEYS:
            found = self._counts[automaton] = {}
        return found

    def predictor(self, text: Text) -> Predictor:
        """See PredictingDrafter."""
        return _States(self, text)


class _States(Predictor):
    def __init__(self, drafter: StateDrafter, text: Text) -> None:
        self._text = text
        self._counts = drafter.counts(text.matcher.compiled.automaton)

    def root(self) -> Place:
        return self._place(self._text.ids[-1] if self._text.ids else -1)

    def after(self, place: Place, token: int) -> Place:
        return self._place(token)

    def _place(self, last: int) -> Place:
        where = self._text.matcher.context
        return (where, last), where, where[0]

    def predictions(self, place: Place) -> Sequence[Prediction]:
        for order, key in enumerate(place):
            counts = self._counts.get(key)
            if not counts:
                continue
            total = sum(counts.values())
            best = sorted(counts, key=lambda token: -counts[token])[:_WIDTH]
            certainty = min(total, 15).bit_length()
            return [
                Prediction(
                    token,
                    (order * 8 + certainty) * 16 + int(counts[token] / total * 9),
                    counts[token] / (total + 1 + order),
                )
                for token in best
            ]
        return []

    def learn(self, place: Place, token: int) -> None:
        """Count what was emitted at a place."""
        for key in place:
            counts = self._counts.setdefault(key, {})
            if token not in counts and len(counts) >= _MOST_TOKENS:
                del counts[min(counts, key=counts.__getitem__)]
            counts[token] = counts.get(token, 0) + 1
