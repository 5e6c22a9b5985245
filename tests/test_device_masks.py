"""The mask table's copy on a device: what the host's table holds, through growth, eviction and several grammars."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")

from kernel_cases import DEVICE  # noqa: E402

import maskwright as mw  # noqa: E402
from maskwright.compile.vocabulary import TokenizerInfo  # noqa: E402
from maskwright.kernels.device_masks import DeviceMaskTable  # noqa: E402
from maskwright.kernels.masking import apply_mask  # noqa: E402


def random_row(random: np.random.Generator, words: int) -> np.ndarray:
    return random.integers(-(2**31), 2**31, words).astype(np.int32)


def test_rows_come_as_they_are_written_and_only_once() -> None:
    random, host = np.random.default_rng(0), mw.MaskTable(2**15, max_bytes=1 << 30)  # 1,024 words: 1,024 rows a block
    copy = DeviceMaskTable(host, DEVICE)
    assert (len(copy.rows), copy.growths, copy.rows_shipped) == (1024, 0, 0)
    for count in (3, 0, 1500):
        for _ in range(count):
            host.add(random_row(random, 1024))
        copy.sync()
        expected = torch.from_numpy(
            np.concatenate([np.empty((0, 1024), np.int32), *(host.row(n)[None] for n in range(len(host)))])
        )
        assert torch.equal(copy.rows[: len(host)].cpu(), expected)
        assert not copy.rows[len(host) :].any()
    assert (len(copy.rows), copy.growths, copy.rows_shipped) == (2048, 1, 1503)


def test_a_row_that_gave_its_place_away_comes_again() -> None:
    random, host = np.random.default_rng(1), mw.MaskTable(64, max_bytes=4 * 2 * 4)  # four rows that nobody holds
    copy = DeviceMaskTable(host, DEVICE, reserve_rows=host.max_rows)
    moved = copy.rows.data_ptr()
    for _ in range(50):
        row = random_row(random, 2)
        number = host.add(row)
        copy.sync()
        shipped = copy.ship([number])
        assert copy.rows[shipped.long()].tolist() == [row.tolist()]
        host.release(number)
    assert host.evictions == 46
    assert copy.rows.data_ptr() == moved


def test_steps_of_several_grammars_are_masked_by_number(byte_info: TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info)
    matchers = [mw.GrammarMatcher(compiler.compile_regex(pattern)) for pattern in ("[ab]*c", "[0-9]{3}", "[ab]*c")]
    copy = DeviceMaskTable(compiler.mask_table, DEVICE)
    bitmask = mw.allocate_token_bitmask(4, byte_info.vocab_size, backend="torch")
    for step in (b"a0a", b"b1c"):
        for matcher, byte in zip(matchers, step, strict=True):
            assert matcher.accept_token(byte)
        numbers = [matcher.mask_row() for matcher in matchers]
        copy.sync()
        for row, matcher in enumerate(matchers):
            matcher.fill_next_token_bitmask(bitmask, row)
        expected = torch.zeros(4, byte_info.vocab_size)
        mw.apply_token_bitmask_inplace(expected, bitmask)
        logits, out = (
            torch.zeros(4, byte_info.vocab_size, device=DEVICE),
            torch.empty(4, dtype=torch.int32, device=DEVICE),
        )
        apply_mask(logits, copy.rows, rows=copy.ship([*numbers, -1], out=out))
        assert torch.equal(logits.cpu(), expected)
    assert numbers[0] != numbers[1]


def test_a_number_that_has_not_come_is_refused() -> None:
    copy = DeviceMaskTable(mw.MaskTable(64), DEVICE)
    with pytest.raises(ValueError, match=r"call sync\(\)"):
        copy.ship([len(copy.rows)])
