"""Token bitmasks: allocate them, and apply them to logits.

A bitmask is int32 [B, W] with W = ceil(V / 32): bit `t % 32` (least significant first) of word `t // 32` of row b says
whether token t may come next in sequence b. It is the layout that servers ship to their devices. Bits past the
vocabulary mean nothing and are never read.

Ways to apply one, held equal by tests: a numba loop (float32 in CPU memory: the hot path), plain numpy (other dtypes of
arrays), and for tensors of other dtypes or on other devices the back ends of kernels/masking.py. torch is never imported
here: whoever passes a tensor has.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from maskwright.kernels.jit import nogil_kernel
from maskwright.kernels.memory import count_bits

if TYPE_CHECKING:
    import torch

# Callees: 4db236857e6a

__all__ = [
    "allocate_token_bitmask",
    "apply_token_bitmask_inplace",
    "bitmask_allowing",
    "bitmask_words",
    "check_shapes",
    "copy_masked",
    "count_allowed",
]

Array: TypeAlias = "npt.NDArray[Any] | torch.Tensor"

_DISALLOWED = np.float32(-np.inf)


def bitmask_words(vocab_size: int) -> int:
    """How many int32 words a row of `vocab_size` bits takes."""
    return -(-vocab_size // 32)


def allocate_token_bitmask(
    batch_size: int, vocab_size: int, *, backend: Literal["torch", "numpy"] | None = None
) -> Any:
    """A bitmask that allows everything: int32 [batch_size, ceil(vocab_size / 32)] in CPU memory, all bits set.

    It is a torch tensor where torch is already imported in this process and a numpy array otherwise; `backend` decides
    instead. Raises ValueError on negative sizes.
    """
    if batch_size < 0 or vocab_size < 0:
        raise ValueError(f"batch_size={batch_size}, vocab_size={vocab_size}: sizes cannot be negative")
    if backend not in (None, "torch", "numpy"):
        raise ValueError(f"backend={backend!r}: choose 'torch', 'numpy' or None")
    shape = (batch_size, bitmask_words(vocab_size))
    if backend == "torch" or (backend is None and "torch" in sys.modules):
        import torch

        return torch.full(shape, -1, dtype=torch.int32)
    return np.full(shape, -1, dtype=np.int32)


def bitmask_allowing(tokens: Collection[int], vocab_size: int) -> npt.NDArray[np.int32]:
    """One row, int32 [ceil(vocab_size / 32)], that allows `tokens` and nothing else."""
    ids = np.fromiter(tokens, np.int64, len(tokens))
    words = np.zeros(bitmask_words(vocab_size), np.uint32)
    np.bitwise_or.at(words, ids // 32, np.uint32(1) << (ids % 32).astype(np.uint32))
    return words.view(np.int32)


def apply_token_bitmask_inplace(
    logits: Array,
    bitmask: Array,
    indices: Sequence[int] | Array | None = None,
    *,
    backend: Literal["numba", "torch", "triton"] | None = None,
) -> None:
    """Set the logits of disallowed tokens to -inf, in place.

    Args:
        logits: [B, V] or [V], any floating dtype and strides: a torch tensor on any device, or a numpy array. Columns
            beyond the bitmask's (a model whose vocabulary is padded) are disallowed.
        bitmask: int32 [B, W] or [W], a torch tensor or a numpy array; it is moved to the logits' device. W must cover
            no 32 columns that the logits do not have.
        indices: rows to work on, each a row of both `logits` and `bitmask`; the others are left alone. None: all.
        backend: of a tensor's; None chooses by its device (docs/kernels.md).

    Raises:
        BackendError: the back end is not installed, or does not work on this device.
        TypeError: logits that are not floating point, a bitmask that is not int32, or neither array nor tensor.
        ValueError: shapes that do not fit each other, or an index out of range.
    """
    if _is_tensor(logits):
        _apply_torch(logits, bitmask, indices, backend)
    elif isinstance(logits, np.ndarray):
        _apply_numpy(logits, _as_numpy(bitmask), _row_indices(indices))
    else:
        raise TypeError(f"logits must be a torch tensor or a numpy array, not {type(logits).__name__}")


def copy_masked(
    logits: npt.NDArray[np.float32], bitmask: npt.NDArray[np.int32], masked: npt.NDArray[np.float32]
) -> None:
    """Write the logits to `masked`, those of disallowed tokens as -inf; what is disallowed is not even read.

    Args:
        logits: float32 [B, V].
        bitmask: int32 [B, W], as in apply_token_bitmask_inplace.
        masked: float32 [B, V], written.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    check_shapes(logits.shape, bitmask.shape)
    _copy_masked_rows(logits, bitmask, masked)


@nogil_kernel
def count_allowed(bitmask: Any, counts: Any) -> None:
    """How many tokens each row allows: bitmask int32 [B, W], its padding 0; counts int64 [B], written."""
    for row in range(bitmask.shape[0]):
        total = 0
        for bits in bitmask[row]:
            total += count_bits(bits)
        counts[row] = total


def _is_tensor(value: object) -> bool:
    """Whether `value` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _as_numpy(bitmask: Array) -> npt.NDArray[np.int32]:
    if isinstance(bitmask, np.ndarray):
        return bitmask
    if _is_tensor(bitmask):
        return bitmask.cpu().numpy()
    raise TypeError(f"the bitmask must be a torch tensor or a numpy array, not {type(bitmask).__name__}")


def _row_indices(indices: Sequence[int] | Array | None) -> npt.NDArray[np.int64] | None:
    if indices is None:
        return None
    if _is_tensor(indices):
        indices = indices.cpu().numpy()  # type: ignore[union-attr]
    rows = np.asarray(indices)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise TypeError("indices must be a flat sequence of integers")
    return rows.astype(np.int64)


def check_shapes(logits: tuple[int, ...], bitmask: tuple[int, ...], rows: npt.NDArray[np.int64] | None = None) -> None:
    """Raise ValueError unless the (two-dimensional) shapes and the rows fit each other."""
    if rows is None:
        if logits[0] != bitmask[0]:
            raise ValueError(f"logits have {logits[0]} rows and the bitmask has {bitmask[0]}")
    elif rows.size and not (rows.min() >= 0 and rows.max() < min(logits[0], bitmask[0])):
        raise ValueError(f"indices must lie in 0..{min(logits[0], bitmask[0]) - 1}; got {rows.tolist()}")
    if bitmask[1] > bitmask_words(logits[1]):
        raise ValueError(
            f"the bitmask's {bitmask[1]} words are for more than the {logits[1]} tokens of the logits: "
            f"pass vocab_size={logits[1]} to TokenizerInfo, or use the model that belongs to the tokenizer"
        )


def _apply_numpy(logits: npt.NDArray[Any], bitmask: npt.NDArray[np.int32], rows: npt.NDArray[np.int64] | None) -> None:
    if logits.dtype.kind != "f":
        raise TypeError(f"logits must be floating point, not {logits.dtype}")
    if bitmask.dtype != np.int32:
        raise TypeError(f"the bitmask must be int32, not {bitmask.dtype}")
    if not logits.flags.writeable:
        raise ValueError("the logits are a read-only array")
    if not 1 <= logits.ndim <= 2 or not 1 <= bitmask.ndim <= 2:
        raise ValueError(f"logits and bitmask must have 1 or 2 dimensions, not {logits.ndim} and {bitmask.ndim}")
    logits, bitmask = np.atleast_2d(logits), np.atleast_2d(bitmask)
    check_shapes(logits.shape, bitmask.shape, rows)
    if rows is None:
        rows = np.arange(logits.shape[0])
    if logits.dtype == np.float32:
        _mask_rows(logits, bitmask, rows)
        return
    for row in rows:
        # On a little-endian machine the bits of a row's bytes, lowest first, are the tokens in order.
        bits = np.unpackbits(bitmask[row].astype("<i4").view(np.uint8), bitorder="little")
        covered = logits[row, : bits.size]
        covered[bits[: covered.size] == 0] = -np.inf
        logits[row, bits.size :] = -np.inf


@nogil_kernel
def _mask_rows(logits: Any, bitmask: Any, rows: Any) -> None:
    """logits float32 [B, V], bitmask int32 [B, W <= ceil(V / 32)], rows int64 [R]: mask row r by row r.

    A select over exactly 32 columns, in 32-bit arithmetic throughout, is what the compiler turns into vector code:
    25 times faster than a branch on each bit of an irregular mask.
    """
    columns = logits.shape[1]
    for row in rows:
        line, words = logits[row], bitmask[row]
        for word in range(words.shape[0]):
            bits = words[word]
            if bits == -1:
                continue
            first = 32 * word
            if first + 32 <= columns:
                block = line[first : first + 32]
                for k in range(32):
                    block[k] = block[k] if (bits >> np.int32(k)) & np.int32(1) else _DISALLOWED
            else:
                for k in range(columns - first):
                    if not (bits >> k) & 1:
                        line[first + k] = _DISALLOWED
        for token in range(32 * words.shape[0], columns):
            line[token] = _DISALLOWED


@nogil_kernel
def _copy_masked_rows(logits: Any, bitmask: Any, masked: Any) -> None:
    """logits and masked float32 [B, V], bitmask int32 [B, W <= ceil(V / 32)]; blocks of 32 columns as in _mask_rows."""
    columns = logits.shape[1]
    for row in range(logits.shape[0]):
        line, words, out = logits[row], bitmask[row], masked[row]
        for word in range(words.shape[0]):
            bits = words[word]
            first = 32 * word
            if first + 32 > columns:
                for k in range(columns - first):
                    out[first + k] = line[first + k] if (bits >> k) & 1 else _DISALLOWED
                continue
            block = out[first : first + 32]
            if bits == 0:
                for k in range(32):
                    block[k] = _DISALLOWED
            else:
                given = line[first : first + 32]
                for k in range(32):
                    block[k] = given[k] if (bits >> np.int32(k)) & np.int32(1) else _DISALLOWED
        for token in range(32 * words.shape[0], columns):
            out[token] = _DISALLOWED


def _apply_torch(
    logits: Any,
    bitmask: Array,
    indices: Sequence[int] | Array | None,
    backend: Literal["numba", "torch", "triton"] | None,
) -> None:
    import torch

    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, not {logits.dtype}")
    rows = _row_indices(indices)
    if backend is None and logits.device.type == "cpu" and logits.dtype == torch.float32 and not logits.requires_grad:
        _apply_numpy(logits.numpy(), _as_numpy(bitmask), rows)  # with the fewest steps before the loop
        return
    if backend is None and logits.requires_grad:
        backend = "torch"
    if isinstance(bitmask, np.ndarray):
        bitmask = torch.from_numpy(bitmask)
    elif not _is_tensor(bitmask):
        raise TypeError(f"the bitmask must be a torch tensor or a numpy array, not {type(bitmask).__name__}")
    if not 1 <= logits.ndim <= 2 or not 1 <= bitmask.ndim <= 2:
        raise ValueError(f"logits and bitmask must have 1 or 2 dimensions, not {logits.ndim} and {bitmask.ndim}")
    logits = logits.unsqueeze(0) if logits.ndim == 1 else logits
    bitmask = bitmask.unsqueeze(0) if bitmask.ndim == 1 else bitmask
    check_shapes(tuple(logits.shape), tuple(bitmask.shape), rows)
    if rows is not None:
        height = min(len(logits), len(bitmask))  # rows beyond are not named
        logits, bitmask = logits[:height], bitmask[:height]
    if logits.device.type == "cuda" and bitmask.device.type == "cpu":
        bitmask = bitmask.pin_memory()  # then the copy waits for nothing, and nothing waits for it
    from maskwright.kernels.masking import apply_mask

    chosen = None if rows is None else torch.from_numpy(rows)
    there = bitmask.to(logits.device, non_blocking=True)
    apply_mask(
        logits, there, indices=chosen, raise_empty=False, backend=backend
    )  # rows of sequences that have ended, say
