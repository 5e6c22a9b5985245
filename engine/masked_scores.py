"""Masked copies of a model's scores, at the cost of reading what is allowed and writing the rest.

A processor must leave the scores that it is given alone: transformers may still hand them to its caller
(`output_logits=True`). A fresh copy at every step costs more than masking it, since the system clears the pages of its
memory anew: a thousand of them for 8 rows of 128,256 scores.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from maskwright.kernels.backends import Backend
from maskwright.kernels.bitmask import apply_token_bitmask_inplace, copy_masked

if TYPE_CHECKING:
    import torch

__all__ = ["MaskedScores"]

_KEPT = 2  # the caller holds the copy of one step while it asks for the next
_HELD_HERE = 3  # references to an array of the list while it is looked at: the list's, the loop's, getrefcount's


class MaskedScores:
    """Makes the copies, each in memory of an earlier one that nobody holds any more."""

    def __init__(self) -> None:
        self._arrays: list[npt.NDArray[np.float32]] = []

    def of(self, scores: torch.Tensor, bitmask: npt.NDArray[np.int32], backend: Backend | None = None) -> torch.Tensor:
        """The scores with those of disallowed tokens at -inf: scores [B, V], bitmask int32 [B, W].

        Raises what apply_token_bitmask_inplace raises.
        """
        import torch

        known = scores.is_cpu and scores.dtype == torch.float32 and not scores.requires_grad
        if not known or backend not in (None, "numba"):
            masked = scores.clone()
            apply_token_bitmask_inplace(masked, bitmask, backend=backend)
            return masked
        given = scores.numpy()
        copy = self._memory(given.shape)
        copy_masked(given, bitmask, copy)
        return torch.from_numpy(copy)

    def _memory(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """float32, not initialized. A tensor made of an array holds a reference to it, and so do all views of the tensor."""
        for array in self._arrays:
            if array.shape == shape and sys.getrefcount(array) == _HELD_HERE:
                return array
        array = np.empty(shape, np.float32)
        self._arrays = [*self._arrays[1 - _KEPT :], array]
        return array
