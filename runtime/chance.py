"""Random decisions of drafters and verifiers, two kinds of them, so that tests can put in every outcome in turn."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Chance", "RandomChance"]


class Chance(Protocol):
    """Where random decisions come from; each is independent of all before."""

    def accepts(self, probability: float) -> bool:
        """True with this probability: never for 0, always for 1."""

    def draws(self, weights: npt.NDArray[np.float64]) -> int:
        """An index with a probability in proportion to its weight, float64 [V], not all zero; never one of weight zero."""

    def uniforms(self, count: int) -> npt.NDArray[np.float64]:
        """Independent numbers in [0, 1)."""


class RandomChance:
    """Decisions by the numbers of a generator."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def accepts(self, probability: float) -> bool:
        # Strictly below, and the number is in [0, 1): a coin of zero does not accept what has no mass.
        return float(self._generator.random()) < probability

    def draws(self, weights: npt.NDArray[np.float64]) -> int:
        cumulative = np.cumsum(weights)
        # The first index whose cumulative weight is above the target: never one of weight zero.
        target = self._generator.random() * cumulative[-1]
        index = int(np.searchsorted(cumulative, target, side="right"))
        return min(index, int(np.flatnonzero(weights)[-1]))  # where the product was rounded up to the sum

    def uniforms(self, count: int) -> npt.NDArray[np.float64]:
        """Independent numbers in [0, 1)."""
        return self._generator.random(count)
