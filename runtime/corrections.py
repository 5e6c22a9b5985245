"""What comes where something else was expected: counts of the tokens that a text goes on with, by the guess made there.

Guesses go wrong in ways that repeat. A forced text's last token merges with what follows (`":` becomes `": "`), and where
the copied sentence ends, the string does, too (`. ` becomes `", "`). Which of the corrections fits, the grammar says.
"""

from __future__ import annotations

__all__ = ["Corrections"]

_MOST_GUESSES = 1 << 12  # then all are counted anew
_MOST_TOKENS = 64  # of a guess
_WIDTH = 4


class Corrections:
    """Counts of tokens by guess."""

    def __init__(self) -> None:
        self._counts: dict[int, dict[int, int]] = {}

    def count(self, guess: int, token: int) -> None:
        """`token` came, perhaps the guess itself."""
        if len(self._counts) > _MOST_GUESSES:
            self._counts.clear()
        counts = self._counts.setdefault(guess, {})
        if token not in counts and len(counts) >= _MOST_TOKENS:
            del counts[min(counts, key=counts.__getitem__)]
        counts[token] = counts.get(token, 0) + 1

    def of(self, guess: int) -> list[tuple[int, float]]:
        """The tokens that came most often, and their shares of all that came and one more."""
        counts = self._counts.get(guess)
        if counts is None:
            return []
        total = sum(counts.values()) + 1
        return [(token, counts[token] / total) for token in sorted(counts, key=lambda token: -counts[token])[:_WIDTH]]
