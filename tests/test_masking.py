"""Masks applied by every back end: the same bits as a look at each single one."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")

from kernel_cases import BACKENDS, DTYPES, LAYOUTS, device_of, on, random_legal, random_logits, table_of  # noqa: E402

from maskwright.kernels.backends import BackendError, EmptyMaskError, backend_for  # noqa: E402
from maskwright.kernels.masking import apply_mask  # noqa: E402


def check(backend: str, batch: int, columns: int, dtype: torch.dtype, layout: str, density: float, seed: int) -> None:
    """Apply a table by row number, to some rows, and compare with torch.where on the bits that the table was made of."""
    generator = torch.Generator().manual_seed(seed)
    legal = random_legal(5, columns, density, generator)
    logits = random_logits(batch, columns, dtype, layout, generator)
    rows = torch.randint(-1, 5, (batch,), generator=generator).to(torch.int32)
    picked = torch.randperm(batch, generator=generator)[: batch // 2 + 1]
    expected = logits.clone()
    for row in picked.tolist():
        if rows[row] >= 0:
            expected[row, ~legal[rows[row]]] = -torch.inf
    device = device_of(backend)
    there, table, numbers = on(device, logits, table_of(legal), rows)
    apply_mask(there, table, rows=numbers, indices=picked, backend=backend)
    assert torch.equal(there.cpu(), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_of_masks_by_row_number(backend: str, dtype: torch.dtype, layout: str) -> None:
    for seed, (columns, density) in enumerate([(17, 0.5), (70, 0.99), (5000, 0.01)]):
        check(backend, 4, columns, dtype, layout, density, seed)


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("columns", [32_000, 128_256, 151_936])
def test_whole_vocabularies(backend: str, columns: int) -> None:
    for seed, density in enumerate([0.0001, 0.001, 0.01, 0.5, 0.99, 1.0]):
        for dtype in DTYPES:
            check(backend, 3, columns, dtype, LAYOUTS[seed % 4], density, seed)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_row_numbers_each_row_has_its_own_and_what_no_mask_covers_is_disallowed(backend: str) -> None:
    device = device_of(backend)
    logits = torch.zeros(2, 100, device=device)
    table = torch.tensor([[-1, -1], [5, 0]], dtype=torch.int32, device=device)  # 64 columns, and 36 beyond
    apply_mask(logits, table, backend=backend)
    assert [row.nonzero()[:, 0].tolist() for row in (logits == 0).cpu()] == [list(range(64)), [0, 2]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_mask_leaves_even_padded_columns_and_nothing_beside_the_view_is_written(backend: str) -> None:
    device = device_of(backend)
    store = torch.zeros(3, 140, device=device)
    table = torch.zeros((1, 1), dtype=torch.int32, device=device)
    rows = torch.tensor([-1, 0, -1], dtype=torch.int32, device=device)
    apply_mask(store[:, 10:80:2], table, rows=rows, raise_empty=False, backend=backend)
    assert torch.isinf(store).nonzero().tolist() == [[1, column] for column in range(10, 80, 2)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mask_that_allows_nothing_is_refused_before_anything_is_written(backend: str) -> None:
    device = device_of(backend)
    logits, table = torch.zeros(3, 40), torch.tensor([[0, 0], [-1, 0]], dtype=torch.int32)
    there, masks, rows = on(device, logits, table, torch.tensor([1, 0, -1], dtype=torch.int32))
    with pytest.raises(EmptyMaskError, match="row 1:") as caught:
        apply_mask(there, masks, rows=rows, raise_empty=True, backend=backend)
    assert caught.value.rows == (1,) and not there.any()
    apply_mask(there, masks, rows=rows, indices=[0, 2], raise_empty=True, backend=backend)
    assert there.isinf().sum() == 8


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_float64_and_empty_batches(backend: str) -> None:
    table = torch.tensor([[6]], dtype=torch.int32)
    logits = torch.zeros(1, 4, dtype=torch.float64)
    apply_mask(logits, table, backend=backend)
    assert logits.tolist() == [[-torch.inf, 0, 0, -torch.inf]]
    apply_mask(torch.zeros(0, 4), torch.zeros((0, 1), dtype=torch.int32), backend=backend)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": torch.zeros(2, 40, dtype=torch.int32)}, TypeError, "floating point"),
        ({"logits": torch.zeros(40)}, ValueError, "2 dimensions"),
        ({"table": torch.zeros(2, 2)}, TypeError, "int32"),
        ({"table": torch.zeros((2, 3), dtype=torch.int32)}, ValueError, "vocab_size=40"),
        ({"table": torch.zeros((3, 2), dtype=torch.int32)}, ValueError, "rows="),
        ({"rows": torch.zeros(2, dtype=torch.int64)}, TypeError, "int32"),
        ({"rows": torch.zeros(3, dtype=torch.int32)}, ValueError, "one for each row"),
        ({"rows": torch.tensor([0, 2], dtype=torch.int32)}, ValueError, r"-1\.\.1"),
        ({"indices": [0, 2]}, ValueError, r"0\.\.1"),
        ({"indices": torch.tensor([0.5])}, TypeError, "integers"),
        ({"backend": "cuda"}, ValueError, "'numba', 'torch', 'triton'"),
    ],
)
def test_arguments_that_do_not_fit(change: dict, error: type[Exception], message: str) -> None:
    arguments = {"logits": torch.zeros(2, 40), "table": torch.zeros((2, 2), dtype=torch.int32)} | change
    with pytest.raises(error, match=message):
        apply_mask(arguments.pop("logits"), arguments.pop("table"), **arguments)


def test_the_device_chooses_and_what_cannot_work_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.zeros(1, 40)
    assert backend_for(logits, None) == "numba"
    assert backend_for(logits.double(), None) == "torch"
    assert backend_for(logits.to("meta"), None) == "torch"
    with pytest.raises(BackendError, match="CPU memory"):
        backend_for(logits.to("meta"), "numba")
    monkeypatch.setattr("maskwright.kernels.backends.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"maskwright\[gpu\]"):
        backend_for(logits, "triton")
    monkeypatch.undo()
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    pytest.importorskip("triton", reason="triton is not installed: pip install maskwright[gpu]")
    with pytest.raises(BackendError, match="TRITON_INTERPRET=1"):
        backend_for(logits, "triton")


def test_triton_is_imported_by_its_kernels_alone() -> None:
    code = (
        "import sys, torch; from maskwright.kernels import drafts, masking, sampling;"
        "masking.apply_mask(torch.zeros(1, 40), torch.ones((1, 2), dtype=torch.int32));"
        "assert not [name for name in sys.modules if name.startswith('maskwright.kernels.triton')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
