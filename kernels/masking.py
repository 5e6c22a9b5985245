"""Masks applied where the logits are: one call for every device, dtype and layout.

    apply_mask(logits, bitmask)                          row b of the logits by row b of the bitmask
    apply_mask(logits, table, rows=rows)                 row b by row rows[b] of a table of masks; -1: left as it is
    apply_mask(logits, table, rows=rows, indices=[2, 5]) rows 2 and 5 alone

A step of decoding then ships 4 bytes a sequence, where the table is on the device already (kernels/mask_table.py).
"""

# Callees: 7b66e132c554

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from maskwright.kernels.backends import Backend, EmptyMaskError, backend_for, check_rows, check_table

if TYPE_CHECKING:
    import torch

__all__ = ["apply_mask"]


def apply_mask(
    logits: torch.Tensor,
    table: torch.Tensor,
    *,
    rows: torch.Tensor | None = None,
    indices: torch.Tensor | Sequence[int] | None = None,
    raise_empty: bool | None = None,
    backend: Backend | None = None,
) -> None:
    """Set the logits of disallowed tokens to -inf, in place.

    Args:
        logits: [B, V], any floating dtype and strides. Columns beyond the masks' (a model whose vocabulary is padded) are
            disallowed.
        table: int32 [R, W] on the logits' device: mask rows, a bit a token. Without `rows` R is B.
        rows: int32 [B] on the same device: which mask is whose; -1: none, everything is allowed.
        indices: rows to work on, none of them twice; the others are left alone. None: all.
        raise_empty: whether to raise where a mask allows nothing; None: on the host only, since a device would be waited for.
        backend: "numba", "torch" or "triton"; None chooses by the device.

    Raises:
        TypeError: a dtype that does not fit.
        ValueError: shapes or devices that do not fit each other; on the host also a row that is not there.
        BackendError: the back end is not installed, or does not work on this device.
        EmptyMaskError: a mask allows no token: all that comes of the row is NaN. Nothing is written.
    """
    import torch

    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point():
        raise TypeError(
            f"logits must be a floating point tensor, not {getattr(logits, 'dtype', type(logits).__name__)}"
        )
    if logits.ndim != 2:
        raise ValueError(f"logits must have 2 dimensions, not shape {tuple(logits.shape)}")
    check_table(table, logits)
    check_rows(rows, table, len(logits))
    chosen = _checked(indices, logits)
    used = backend_for(logits, backend)
    if raise_empty or (raise_empty is None and logits.device.type == "cpu"):
        _refuse_empty(table, rows, chosen, len(logits))
    if used == "triton":
        from maskwright.kernels import triton_masks

        triton_masks.apply(logits, table, rows, chosen)
    elif used == "numba":
        _apply_numba(logits, table, rows, chosen)
    else:
        from maskwright.kernels import torch_sampling

        torch_sampling.apply(logits, table, rows, chosen)


def _checked(indices: torch.Tensor | Sequence[int] | None, logits: torch.Tensor) -> torch.Tensor | None:
    """The indices as an integer tensor on the logits' device."""
    import torch

    if indices is None:
        return None
    given = isinstance(indices, torch.Tensor)
    chosen = indices if given else torch.tensor(list(indices), dtype=torch.int32)
    assert isinstance(chosen, torch.Tensor)
    if chosen.ndim != 1 or chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise TypeError("indices must be a flat sequence of integers")
    if chosen.device.type == "cpu" and len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(logits)):
        raise ValueError(f"indices must lie in 0..{len(logits) - 1}; got {chosen.tolist()}")
    return chosen.to(logits.device, non_blocking=True)


def _refuse_empty(table: torch.Tensor, rows: torch.Tensor | None, indices: torch.Tensor | None, count: int) -> None:
    import numpy as np

    from maskwright.kernels import numba_sampling

    chosen = np.arange(count) if indices is None else indices.cpu().numpy().astype(np.int64)
    own = np.arange(count, dtype=np.int32) if rows is None else rows.cpu().numpy()
    empty = np.zeros(len(chosen), np.uint8)
    numba_sampling.find_empty(table.cpu().numpy(), own, chosen, empty)
    if empty.any():
        raise EmptyMaskError(chosen[empty == 1].tolist())


def _apply_numba(
    logits: torch.Tensor, table: torch.Tensor, rows: torch.Tensor | None, indices: torch.Tensor | None
) -> None:
    import numpy as np
    import torch

    from maskwright.kernels import numba_sampling

    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[logits.element_size()]
    disallowed = torch.tensor(float("-inf"), dtype=logits.dtype).view(whole).item()
    count = len(logits)
    numba_sampling.apply(
        logits.detach().view(whole).numpy(),
        table.numpy(),
        np.arange(count, dtype=np.int32) if rows is None else rows.numpy(),
        np.arange(count) if indices is None else indices.numpy().astype(np.int64),
        disallowed,
    )
