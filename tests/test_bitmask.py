"""Bitmasks: layout, and every way of applying one against a loop over single bits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.kernels.bitmask import (
    allocate_token_bitmask,
    apply_token_bitmask_inplace,
    bitmask_allowing,
    bitmask_words,
    copy_masked,
    count_allowed,
)

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")

NUMPY_DTYPES = [np.float16, np.float32, np.float64]
TORCH_DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def oracle(logits: np.ndarray, bitmask: np.ndarray, rows: list[int]) -> np.ndarray:
    """What applying a bitmask means, one bit at a time."""
    masked = logits.copy()
    for row in rows:
        for token in range(logits.shape[1]):
            word = token // 32
            if word >= bitmask.shape[1] or not (int(bitmask[row, word]) >> (token % 32)) & 1:
                masked[row, token] = -np.inf
    return masked


def case(seed: int, batch: int, vocab: int, words: int) -> tuple[np.ndarray, np.ndarray]:
    """Random logits [batch, vocab], exact in every dtype, and a bitmask [batch, words] with full and empty words."""
    random = np.random.default_rng(seed)
    logits = random.integers(-128, 128, (batch, vocab)).astype(np.float32)
    bitmask = random.integers(-(2**31), 2**31, (batch, words)).astype(np.int32)
    bitmask[random.random(bitmask.shape) < 0.2] = -1
    bitmask[random.random(bitmask.shape) < 0.2] = 0
    return logits, bitmask


@pytest.mark.parametrize(("vocab", "words"), [(0, 0), (1, 1), (31, 1), (32, 1), (33, 2), (64, 2), (128_256, 4008)])
def test_rows_are_as_wide_as_the_vocabulary_needs(vocab: int, words: int) -> None:
    assert bitmask_words(vocab) == words
    assert allocate_token_bitmask(3, vocab, backend="numpy").shape == (3, words)


def test_a_new_bitmask_allows_everything_and_is_a_tensor_where_torch_is_loaded() -> None:
    tensor, array = allocate_token_bitmask(2, 40), allocate_token_bitmask(2, 40, backend="numpy")
    assert isinstance(tensor, torch.Tensor)
    assert isinstance(array, np.ndarray)
    assert tensor.dtype == torch.int32
    assert array.dtype == np.int32
    assert (array == -1).all()
    assert (tensor.numpy() == array).all()


def test_without_torch_a_bitmask_is_an_array() -> None:
    code = (
        "import sys, numpy as np, maskwright as m; b = m.allocate_token_bitmask(1, 33); x = np.zeros((1, 33));"
        "m.apply_token_bitmask_inplace(x, b); assert type(b) is np.ndarray and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


@given(st.sets(st.integers(0, 99)))
def test_a_row_that_allows_given_tokens_and_no_other(tokens: set[int]) -> None:
    logits = np.zeros(100, np.float32)
    apply_token_bitmask_inplace(logits, bitmask_allowing(tokens, 100))
    assert set(np.flatnonzero(logits == 0).tolist()) == tokens


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 150), st.data())
def test_every_backend_equals_the_oracle(seed: int, batch: int, vocab: int, data: st.DataObject) -> None:
    words = data.draw(st.integers(1, bitmask_words(vocab)))
    indices = data.draw(st.none() | st.lists(st.integers(0, batch - 1), unique=True))
    logits, bitmask = case(seed, batch, vocab, words)
    expected = oracle(logits, bitmask, list(range(batch)) if indices is None else indices)
    for numpy_dtype in NUMPY_DTYPES:
        array = logits.astype(numpy_dtype)
        apply_token_bitmask_inplace(array, bitmask, indices)
        np.testing.assert_array_equal(array.astype(np.float32), expected)
    for torch_dtype in TORCH_DTYPES:
        tensor = torch.from_numpy(logits).to(torch_dtype, copy=True)
        apply_token_bitmask_inplace(tensor, torch.from_numpy(bitmask), indices)
        np.testing.assert_array_equal(tensor.float().numpy(), expected)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 3), st.integers(1, 100), st.data())
def test_a_masked_copy_equals_the_oracle(seed: int, batch: int, vocab: int, data: st.DataObject) -> None:
    logits, bitmask = case(seed, batch, vocab, data.draw(st.integers(0, bitmask_words(vocab))))
    before, masked = logits.copy(), np.full_like(logits, np.nan)
    copy_masked(logits, bitmask, masked)
    np.testing.assert_array_equal(masked, oracle(logits, bitmask, list(range(batch))))
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
@pytest.mark.parametrize("layout", ["columns", "rows", "transposed"])
def test_strided_logits_are_masked_in_place_and_nothing_else_is(layout: str, dtype: torch.dtype) -> None:
    logits, bitmask = case(1, 4, 70, 3)
    store = torch.zeros(8, 140, dtype=dtype)
    view = {"columns": store[:4, ::2], "rows": store[::2, :70], "transposed": store.reshape(140, 8).t()[:4, :70]}[
        layout
    ]
    view.copy_(torch.from_numpy(logits))
    apply_token_bitmask_inplace(view, bitmask)
    np.testing.assert_array_equal(view.float().numpy(), oracle(logits, bitmask, [0, 1, 2, 3]))
    assert torch.isinf(store).sum() == torch.isinf(view).sum()


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_one_row_may_come_without_a_batch_dimension(dtype: torch.dtype) -> None:
    logits, bitmask = case(2, 1, 50, 2)
    expected = oracle(logits, bitmask, [0])[0]
    tensor = torch.from_numpy(logits[0]).to(dtype, copy=True)
    apply_token_bitmask_inplace(tensor, torch.from_numpy(bitmask[0]))
    np.testing.assert_array_equal(tensor.float().numpy(), expected)
    array = logits[0].copy()
    apply_token_bitmask_inplace(array, bitmask)
    np.testing.assert_array_equal(array, expected)


def test_logits_that_need_a_gradient_take_the_torch_path() -> None:
    logits, bitmask = case(3, 2, 40, 2)
    leaf = torch.from_numpy(logits).requires_grad_()
    masked = leaf * 1
    apply_token_bitmask_inplace(masked, bitmask)
    np.testing.assert_array_equal(masked.detach().numpy(), oracle(logits, bitmask, [0, 1]))


def test_indices_may_be_a_tensor_an_array_or_nothing_at_all() -> None:
    logits, bitmask = case(4, 3, 40, 2)
    for indices in (torch.tensor([2, 0]), np.array([2, 0]), [2, 0]):
        tensor = torch.from_numpy(logits.copy())
        apply_token_bitmask_inplace(tensor, bitmask, indices)
        np.testing.assert_array_equal(tensor.numpy(), oracle(logits, bitmask, [0, 2]))
    untouched = logits.copy()
    apply_token_bitmask_inplace(untouched, bitmask, [])
    np.testing.assert_array_equal(untouched, logits)


@pytest.mark.parametrize("make", [np.zeros, torch.zeros, lambda *a: torch.zeros(*a, dtype=torch.bfloat16)])
def test_wrong_shapes_and_types_are_refused(make: object) -> None:
    zeros = make((2, 40))  # type: ignore[operator]
    with pytest.raises(ValueError, match="logits have 2 rows and the bitmask has 3"):
        apply_token_bitmask_inplace(zeros, np.zeros((3, 2), np.int32))
    with pytest.raises(ValueError, match="pass vocab_size=40 to TokenizerInfo"):
        apply_token_bitmask_inplace(zeros, np.zeros((2, 3), np.int32))
    with pytest.raises(ValueError, match=r"indices must lie in 0\.\.1"):
        apply_token_bitmask_inplace(zeros, np.zeros((2, 2), np.int32), [2])
    with pytest.raises(ValueError, match=r"indices must lie in 0\.\.1"):
        apply_token_bitmask_inplace(zeros, np.zeros((2, 2), np.int32), [-1])
    with pytest.raises(ValueError, match="1 or 2 dimensions"):
        apply_token_bitmask_inplace(zeros, np.zeros((2, 2, 1), np.int32))
    with pytest.raises(TypeError, match="must be int32"):
        apply_token_bitmask_inplace(zeros, np.zeros((2, 2), np.int64))
    with pytest.raises(TypeError, match="not list"):
        apply_token_bitmask_inplace(zeros, [[0, 0]])  # type: ignore[arg-type]


def test_wrong_logits_and_arguments_are_refused() -> None:
    mask = np.zeros((1, 1), np.int32)
    with pytest.raises(TypeError, match="must be floating point"):
        apply_token_bitmask_inplace(np.zeros((1, 5), np.int64), mask)
    with pytest.raises(TypeError, match="must be floating point"):
        apply_token_bitmask_inplace(torch.zeros((1, 5), dtype=torch.int64), mask)
    with pytest.raises(TypeError, match="not list"):
        apply_token_bitmask_inplace([0.0], mask)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="flat sequence of integers"):
        apply_token_bitmask_inplace(np.zeros((1, 5), np.float32), mask, [0.5])  # type: ignore[list-item]
    read_only = np.zeros((1, 5), np.float32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        apply_token_bitmask_inplace(read_only, mask)
    with pytest.raises(ValueError, match="cannot be negative"):
        allocate_token_bitmask(-1, 5)
    with pytest.raises(ValueError, match="choose 'torch', 'numpy' or None"):
        allocate_token_bitmask(1, 5, backend="jax")  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [0, 1, 5, 1000])
def test_allowed_tokens_are_counted(words: int) -> None:
    bitmask = np.random.default_rng(words).integers(-(2**31), 2**31, (4, words), np.int64).astype(np.int32)
    bitmask[:2] = [[-1]] * 1 + [[0]]
    counts = np.zeros(4, np.int64)
    count_allowed(bitmask, counts)
    assert counts.tolist() == np.bitwise_count(bitmask.view(np.uint32)).sum(1).tolist()
