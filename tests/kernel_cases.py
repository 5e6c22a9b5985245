"""What the tests of sampling, masking and verification share: random masks and logits, and the back ends at hand."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from maskwright.kernels.bitmask import bitmask_words

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HOST = torch.device("cpu")

TRITON = pytest.param(
    "triton",
    marks=pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed: pip install maskwright[gpu]"),
)
BACKENDS = ["torch", "numba", TRITON]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def device_of(backend: str) -> torch.device:
    """Where a back end's tensors belong: Triton's on the GPU where there is one, all others in CPU memory."""
    return DEVICE if backend == "triton" else HOST


def table_of(legal: torch.Tensor) -> torch.Tensor:
    """bool [R, V] to int32 [R, ceil(V / 32)]."""
    rows, columns = legal.shape
    padded = np.zeros((rows, 32 * bitmask_words(columns)), bool)
    padded[:, :columns] = legal.numpy()
    return torch.from_numpy(np.packbits(padded, axis=1, bitorder="little").view("<i4").astype(np.int32))


def random_legal(rows: int, columns: int, density: float, generator: torch.Generator) -> torch.Tensor:
    """bool [rows, columns], so many of them set, and at least one in each row."""
    legal = torch.rand(rows, columns, generator=generator) < density
    legal[torch.arange(rows), torch.randint(columns, (rows,), generator=generator)] = True
    return legal


def random_logits(rows: int, columns: int, dtype: torch.dtype, layout: str, generator: torch.Generator) -> torch.Tensor:
    """[rows, columns] with equal values among them, contiguous or strided in rows, columns or both."""
    rounded = (4 * torch.randn(rows, columns, generator=generator)).round(decimals=1).to(dtype)
    store = torch.zeros(2 * rows, 2 * columns, dtype=dtype)
    views = {
        "contiguous": torch.zeros(rows, columns, dtype=dtype),
        "rows": store[::2, :columns],
        "columns": store[:rows, 1::2],
        "transposed": torch.zeros(columns, rows, dtype=dtype).t(),
    }
    return views[layout].copy_(rounded)


LAYOUTS = ["contiguous", "rows", "columns", "transposed"]


def on(device: torch.device, *tensors: torch.Tensor) -> list[torch.Tensor]:
    """The tensors there, their strides kept."""
    moved = []
    for tensor in tensors:
        if tensor.device == device:
            moved.append(tensor)
            continue
        there = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
        moved.append(there.copy_(tensor))
    return moved


def chi_square(counts: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Pearson's statistic and the bound that it exceeds once in ten thousand times (Wilson and Hilferty's).

    Cells that expect less than 5 are one cell. A cell that expects nothing must be empty.
    """
    assert not counts[expected == 0].any()
    rare = expected < 5
    cells = [(c, e) for c, e in zip(counts[~rare], expected[~rare], strict=True)]
    if rare.any() and expected[rare].sum() > 0:
        cells.append((counts[rare].sum(), expected[rare].sum()))
    statistic = sum((c - e) ** 2 / e for c, e in cells)
    freedom = max(len(cells) - 1, 1)
    third = 2 / (9 * freedom)
    return float(statistic), freedom * (1 - third + 3.719 * third**0.5) ** 3
