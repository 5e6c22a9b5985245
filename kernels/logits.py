"""Loops over masked logits: most of them are -inf, which neither exponential nor sum has to see."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from maskwright.kernels.jit import nogil_kernel

# Callees: b2c0dbada27d

__all__ = ["log_sum_exp"]

_DISALLOWED = np.float32(-np.inf)


@nogil_kernel
def log_sum_exp(logits: Any, largest: Any, out: Any) -> None:
    """The logarithm of each row's sum of exponentials.

    Args:
        logits: float32 [B, V].
        largest: float32 [B], the largest of each row.
        out: float64 [B], written.
    """
    for row in range(logits.shape[0]):
        top, total = largest[row], 0.0
        for value in logits[row]:
            if value != _DISALLOWED:
                total += math.exp(value - top)
        out[row] = top + np.log(total)
