"""Which back end works on a tensor, what goes wrong with arguments, and how scalars become one number a row.

    tensor in            default back end                          also
    CPU memory           numba (torch for float64)                 torch; triton in its interpreter (TRITON_INTERPRET=1)
    CUDA or ROCm         triton, or torch where it is missing      torch
    any other device     torch

On the host a row that nothing can be drawn from raises EmptyMaskError. On a device nothing waits for a result: there the
token of such a row is NO_TOKEN.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import torch

__all__ = [
    "NO_TOKEN",
    "Backend",
    "BackendError",
    "EmptyMaskError",
    "a_row",
    "backend_for",
    "check_backend",
    "check_logits",
    "check_rows",
    "check_table",
    "raise_where_none",
]

Backend: TypeAlias = Literal["numba", "torch", "triton"]

NO_TOKEN = -1
"""The token of a row that nothing can be drawn from."""


class BackendError(RuntimeError):
    """The back end that was asked for cannot work here: says why, and what to do."""


class EmptyMaskError(ValueError):
    """Nothing can be drawn from some rows: no token is allowed, or no allowed token has a finite logit.

    Attributes:
        rows: their numbers.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = tuple(rows)
        named = ", ".join(map(str, self.rows[:8])) + (", ..." if len(self.rows) > 8 else "")
        super().__init__(
            f"nothing can be drawn from row {named}: the mask allows no token there, or the model gives the allowed tokens "
            "no finite logit. A matcher's masks are never empty: fill the bitmask before it is applied"
        )


def backend_for(logits: torch.Tensor, backend: Backend | None) -> Backend:
    """The back end for a tensor: the one asked for, or the device's.

    Raises:
        BackendError: it is not installed, or cannot work where the tensor is.
        ValueError: there is no back end of that name.
    """
    check_backend(backend)
    device = logits.device.type
    if backend is None:
        if device == "cpu":
            return "torch" if logits.element_size() == 8 else "numba"
        return "triton" if device == "cuda" and find_spec("triton") else "torch"
    if backend == "numba" and device != "cpu":
        raise BackendError(f"backend='numba' works in CPU memory, and the logits are on {logits.device}")
    if backend == "triton":
        if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
            raise BackendError(
                "backend='triton' works on a GPU, and the logits are in CPU memory: move them, leave backend= out, or, "
                "to test, set TRITON_INTERPRET=1 before anything imports triton"
            )
        if device not in ("cpu", "cuda"):
            raise BackendError(
                f"backend='triton' works on CUDA and ROCm devices, and the logits are on {logits.device}"
            )
    return backend


def check_backend(backend: Any) -> None:
    """Raise ValueError unless there is a back end of that name (None: whichever), BackendError where it is not installed."""
    if backend not in (None, "numba", "torch", "triton"):
        raise ValueError(f"backend={backend!r}: choose 'numba', 'torch', 'triton' or None")
    if backend == "triton" and not find_spec("triton"):
        raise BackendError("backend='triton', but triton is not installed: pip install 'maskwright[gpu]'")


def check_logits(logits: Any, dimensions: int = 2) -> None:
    """Raise TypeError or ValueError unless these are float32, bfloat16 or float16 [B, V], or [B, N, V]."""
    import torch

    if not isinstance(logits, torch.Tensor):
        raise TypeError(f"logits must be a torch tensor, not {type(logits).__name__}")
    if logits.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise TypeError(f"logits must be float32, bfloat16 or float16, not {logits.dtype}: convert them with .float()")
    if logits.ndim != dimensions or logits.shape[-1] == 0:
        raise ValueError(
            f"logits must have {dimensions} dimensions and at least one column, not shape {_shape(logits)}"
        )


def check_table(table: Any, logits: torch.Tensor) -> None:
    """Raise TypeError or ValueError unless `table` is int32 [R, W], on the logits' device, of at most their columns."""
    import torch

    if not isinstance(table, torch.Tensor):
        raise TypeError(f"mask rows must be a torch tensor, not {type(table).__name__}")
    if table.dtype != torch.int32:
        raise TypeError(f"mask rows must be int32, not {table.dtype}")
    if table.device != logits.device:
        raise ValueError(f"the mask rows are on {table.device} and the logits on {logits.device}: move one of them")
    if table.ndim != 2:
        raise ValueError(f"mask rows must have 2 dimensions, not shape {_shape(table)}")
    if table.shape[1] > -(-logits.shape[-1] // 32):
        raise ValueError(
            f"the mask rows' {table.shape[1]} words are for more than the {logits.shape[-1]} tokens of the logits: "
            f"pass vocab_size={logits.shape[-1]} to TokenizerInfo, or use the model that belongs to the tokenizer"
        )


def check_rows(rows: torch.Tensor | None, table: torch.Tensor, count: int) -> None:
    """Raise TypeError or ValueError unless each of `count` logits rows has a mask: rows int32 [count], or as many masks.

    That the numbers lie in the table is looked at on the host only; on a device they are trusted.
    """
    import torch

    if rows is None:
        if len(table) != count:
            raise ValueError(
                f"logits have {count} rows and the bitmask has {len(table)}: give rows= to say which is whose"
            )
        return
    if not isinstance(rows, torch.Tensor) or rows.dtype != torch.int32:
        raise TypeError(f"rows must be an int32 tensor, not {getattr(rows, 'dtype', type(rows).__name__)}")
    if rows.device != table.device:
        raise ValueError(f"rows are on {rows.device} and the mask rows on {table.device}: move one of them")
    if tuple(rows.shape) != (count,):
        raise ValueError(f"rows must have shape ({count},), one for each row of the logits, not {_shape(rows)}")
    if rows.device.type == "cpu" and count and not (rows.min() >= -1 and rows.max() < len(table)):
        raise ValueError(f"rows must lie in -1..{len(table) - 1}; got {rows.tolist()}")


def a_row(name: str, value: Any, dtype: torch.dtype, count: int, device: torch.device) -> torch.Tensor:
    """A number for each row, [count] on `device`: a tensor as it is, or one number for all.

    A tensor of the right dtype on the right device is passed on without a copy; only it can be captured in a CUDA graph.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        return torch.full((count,), value, dtype=dtype, device=device)
    if value.ndim > 1 or value.numel() not in (1, count):
        raise ValueError(
            f"{name} must be a number or a tensor of {count}, one for each row, not of shape {_shape(value)}"
        )
    if value.device != device:
        raise ValueError(f"{name} is on {value.device} and the logits on {device}: move one of them")
    return value.to(dtype).expand(count).contiguous()


def raise_where_none(tokens: torch.Tensor) -> None:
    """Raise EmptyMaskError where tokens, int64 of any shape, are NO_TOKEN. On a device this waits for them."""
    empty = (tokens.flatten() == NO_TOKEN).nonzero()[:, 0].tolist()
    if empty:
        raise EmptyMaskError(empty)


def _shape(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
