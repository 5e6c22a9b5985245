"""Where the rows of a caller's bitmask lie in memory."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from maskwright.grammars.errors import MatcherError

__all__ = ["Target"]


class Target(NamedTuple):
    """A bitmask that masks may be written to.

    Attributes:
        bitmask: a weak reference to the array or tensor: while it is there, it lies where it lay.
        address: of row 0.
        stride: bytes from one row to the next.
        rows: how many there are.
        words: int32 in a row.
    """

    bitmask: ref[Any]
    address: int
    stride: int
    rows: int
    words: int

    @classmethod
    def of(cls, bitmask: Any, words: int, vocab_size: int) -> Target:
        """Check a bitmask: int32 [B, words] or [words], a numpy array or a torch tensor on the CPU, rows contiguous.

        Raises:
            MatcherError: it is none.
        """
        shape = tuple(getattr(bitmask, "shape", ()))
        if isinstance(bitmask, np.ndarray):
            good = bitmask.dtype == np.int32 and bitmask.flags.writeable
            address, strides = bitmask.ctypes.data, bitmask.strides
        elif hasattr(bitmask, "data_ptr"):
            good = str(bitmask.dtype) == "torch.int32" and bitmask.device.type == "cpu"
            address, strides = bitmask.data_ptr() if good else 0, tuple(4 * stride for stride in bitmask.stride())
        else:
            good, address, strides = False, 0, ()
        if not good or len(shape) not in (1, 2) or shape[-1] != words or strides[-1] != 4:
            raise MatcherError(
                f"the bitmask must be int32 on the CPU with rows of {words} words, contiguous and writable; "
                f"allocate_token_bitmask(batch, {vocab_size}) makes one"
            )
        if len(shape) == 1:
            return cls(ref(bitmask), address, 0, 1, words)
        return cls(ref(bitmask), address, strides[0], shape[0], words)
