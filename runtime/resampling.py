"""Drawing places by weight."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["systematic"]


def systematic(weights: npt.NDArray[np.float64], count: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """`count` places, int64, ascending: place i comes floor or ceil of count * weights[i] times, on average as often.

    Args:
        weights: float64 [N], adding up to 1.
    """
    targets = (random.random() + np.arange(count)) / count
    cumulative = np.cumsum(weights)
    places = np.searchsorted(cumulative, targets * cumulative[-1], side="right")
    return np.minimum(places, np.flatnonzero(weights)[-1])
