"""The allowed next tokens of a prefix with their probabilities, and a bounded store of them.

A row has entries for allowed tokens only: inside a grammar these are few, whatever the vocabulary has.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Row", "RowStore"]


@dataclass(frozen=True, slots=True)
class Row:
    """What may follow a prefix.

    Attributes:
        tokens: int64 [K], ascending.
        weights: float64 [K], their probabilities divided by exp(log_scale); the largest is 1.
        log_scale: the largest log-probability; 0 where K is 0.
        log_mass: the logarithm of what the allowed tokens have together; -inf: a dead end.
    """

    tokens: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    log_scale: float
    log_mass: float

    @classmethod
    def of(cls, tokens: npt.NDArray[np.int64], logs: npt.NDArray[np.float64]) -> Row:
        """From allowed tokens, ascending, and their log-probabilities; those of probability 0, or 1e-323 of the
        largest, are left out."""
        possible = logs > -np.inf
        if not possible.all():
            tokens, logs = tokens[possible], logs[possible]
        if not len(tokens):
            return cls(tokens, logs, 0.0, -np.inf)
        scale = float(logs.max())
        weights = np.exp(logs - scale)
        if not weights.all():
            tokens, weights = tokens[weights > 0], weights[weights > 0]
        return cls(tokens, weights, scale, scale + float(np.log(weights.sum())))

    @property
    def nbytes(self) -> int:
        return 160 + self.tokens.nbytes + self.weights.nbytes

    def without(self, tokens: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """The weights with those of some tokens at 0."""
        if not len(tokens) or not len(self.tokens):
            return self.weights
        weights = self.weights.copy()
        # A row that was computed again may differ in its last bits, and so in which tokens a filter kept.
        places = np.minimum(np.searchsorted(self.tokens, tokens), len(self.tokens) - 1)
        weights[places[self.tokens[places] == tokens]] = 0.0
        return weights

    def draw(self, uniform: float, weights: npt.NDArray[np.float64] | None = None) -> tuple[int, float, float]:
        """A token, its log-probability P(a|u), and that of drawing it.

        Args:
            uniform: a random number in [0, 1).
            weights: from `without`; None: all of the row's.
        """
        kept = self.weights if weights is None else weights
        cumulative = kept.cumsum()
        place = int(cumulative.searchsorted(uniform * cumulative[-1], side="right"))
        if place == len(kept):  # rounding
            place = int(np.flatnonzero(kept)[-1])
        weight = float(self.weights[place])
        log_p = self.log_scale + float(np.log(weight))
        return int(self.tokens[place]), log_p, float(np.log(weight / cumulative[-1]))

    def log_probability(self, token: int) -> float:
        """log P(a|u) of one token; -inf where it is not allowed."""
        place = int(self.tokens.searchsorted(token))
        if place == len(self.tokens) or self.tokens[place] != token or self.weights[place] == 0:
            return -np.inf
        return self.log_scale + float(np.log(self.weights[place]))

    def entropy(self) -> float:
        """Of the distribution over the allowed tokens, in nats."""
        shares = self.weights / self.weights.sum()
        shares = shares[shares > 0]
        return max(0.0, float(-(shares * np.log(shares)).sum()))


class RowStore:
    """Rows by node, those used last, bounded in bytes.

    Attributes:
        max_bytes: what they may take together; the newest is kept in any case.
        nbytes: what they take.
        evictions: rows that had to go so far.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.nbytes, self.evictions = max_bytes, 0, 0
        self._rows: OrderedDict[int, Row] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, node: int) -> Row | None:
        row = self._rows.get(node)
        if row is not None:
            self._rows.move_to_end(node)
        return row

    def put(self, node: int, row: Row) -> None:
        self.drop(node)
        self._rows[node] = row
        self.nbytes += row.nbytes

    def drop(self, node: int) -> None:
        row = self._rows.pop(node, None)
        if row is not None:
            self.nbytes -= row.nbytes

    def shrink(self) -> None:
        """Let go of rows that were not used for longest until the rest fits."""
        while self.nbytes > self.max_bytes and len(self._rows) > 1:
            _, row = self._rows.popitem(last=False)
            self.nbytes -= row.nbytes
            self.evictions += 1
