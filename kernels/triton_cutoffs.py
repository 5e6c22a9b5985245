"""Top-k, top-p and min-p on the device, without a sort: the lowest logit that a row keeps.

Floats are mapped to unsigned integers in the same order, and the cutoff is found digit by digit: of the keys that begin
with the digits found so far, how much do those weigh whose next digit is at least 0, 1, ..., 15? Eight passes over the row
find the key; weights are integers (kernels/noise.py), so that the order of adding them up does not matter.

    wanted 0.9        keys 9...   7...   7...   2...   with weights .5 .3 .15 .05
    digit >= 9: .5    digit >= 7: .95 reached: the digit is 7, and .4 are still wanted among those that begin with 7
"""

# Callees: d40a92537812

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from maskwright.kernels.triton_masks import mask_row, tile_logits
from maskwright.kernels.triton_noise import integer_weights
from maskwright.kernels.triton_sampling import row_scale

if TYPE_CHECKING:
    import torch

__all__ = ["cutoffs"]

_WORDS = 32


@triton.jit
def _keys(value):
    """uint32 in the order of float32 values; 0.0 and -0.0 are one."""
    bits = (value + 0.0).to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.uint32, bitcast=True) ^ 0x80000000


@triton.jit
def _value(key):
    bits = (key ^ 0x80000000).to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _loaded(line, column_stride, columns, table, mask, table_stride, words, first_word, WORDS: tl.constexpr):
    """float32 [WORDS, 32]: logits, -inf where they are not finite, not allowed or not there."""
    value = tile_logits(line, column_stride, columns, table, mask, table_stride, words, first_word, WORDS)
    return tl.where(value < float("inf"), value, float("-inf"))


@triton.jit
def _select(
    line,
    column_stride,
    columns,
    table,
    mask,
    table_stride,
    words,
    wanted,
    least,
    best,
    scale,
    BY_WEIGHT: tl.constexpr,
    WORDS: tl.constexpr,
):
    """The largest value such that those from it up (of them at least `least`) weigh `wanted`; -inf where all weigh less."""
    digits = tl.arange(0, 16)
    found = tl.zeros([], tl.uint32)
    missing = wanted
    enough = tl.full([], 1, tl.int1)
    for step in range(8):
        shift = 28 - 4 * step
        reached = tl.zeros([16], tl.int64)  # weight of those whose digit is at least each
        for first_word in range(0, tl.cdiv(columns, 32), WORDS):
            value = _loaded(line, column_stride, columns, table, mask, table_stride, words, first_word, WORDS)
            key = _keys(value)
            if BY_WEIGHT:
                weight = tl.where(value >= least, integer_weights((value - best) * scale), 0)
            else:
                weight = (value > float("-inf")).to(tl.int64)
            weight = tl.where((key >> shift >> 4) == found, weight, 0)  # all of them at first, when both are 0
            digit = tl.reshape(((key >> shift) & 15).to(tl.int32), [WORDS * 32, 1])
            at_least = tl.where(digit >= digits[None, :], tl.reshape(weight, [WORDS * 32, 1]), 0)
            reached += tl.sum(at_least, 0)
        if step == 0:
            enough = tl.max(reached) >= missing
        digit_found = tl.maximum(tl.max(tl.where(reached >= missing, digits, 0)), 0)
        missing -= tl.sum(tl.where(digits == digit_found + 1, reached, 0))
        found = (found << 4) | digit_found.to(tl.uint32)
    return tl.where(enough, _value(found), float("-inf"))


@triton.jit
def _cutoffs(
    logits,
    table,
    rows,
    temperature,
    top_k,
    top_p,
    log_min_p,
    out,
    columns,
    words,
    logits_stride,
    column_stride,
    table_stride,
    WORDS: tl.constexpr,
):
    """One program a row."""
    row = tl.program_id(0)
    mask = mask_row(rows, row)
    line = logits + row.to(tl.int64) * logits_stride
    scale = row_scale(tl.load(temperature + row))
    most, mass, log_least = tl.load(top_k + row), tl.load(top_p + row), tl.load(log_min_p + row)

    highest = tl.full([WORDS, 32], float("-inf"), tl.float32)
    for first_word in range(0, tl.cdiv(columns, 32), WORDS):
        value = _loaded(line, column_stride, columns, table, mask, table_stride, words, first_word, WORDS)
        highest = tl.maximum(highest, value)
    best = tl.max(highest)
    least = tl.full([], float("-inf"), tl.float32)
    if best > float("-inf"):
        if (most > 0) & (most < columns):
            least = _select(
                line,
                column_stride,
                columns,
                table,
                mask,
                table_stride,
                words,
                most.to(tl.int64),
                least,
                best,
                scale,
                False,
                WORDS,
            )
        if mass < 1.0:
            total = tl.zeros([WORDS, 32], tl.int64)
            for first_word in range(0, tl.cdiv(columns, 32), WORDS):
                value = _loaded(line, column_stride, columns, table, mask, table_stride, words, first_word, WORDS)
                total += tl.where(value >= least, integer_weights((value - best) * scale), 0)
            wanted = (tl.sum(total).to(tl.float64) * mass.to(tl.float64)).to(tl.int64)
            reached = _select(
                line,
                column_stride,
                columns,
                table,
                mask,
                table_stride,
                words,
                tl.maximum(wanted, 1),
                least,
                best,
                scale,
                True,
                WORDS,
            )
            least = tl.maximum(least, reached)
        if log_least > float("-inf"):
            lowest = tl.full([WORDS, 32], float("inf"), tl.float32)
            for first_word in range(0, tl.cdiv(columns, 32), WORDS):
                value = _loaded(line, column_stride, columns, table, mask, table_stride, words, first_word, WORDS)
                likely = (value - best) * scale >= log_least
                lowest = tl.minimum(lowest, tl.where(likely, value, float("inf")))
            least = tl.maximum(least, tl.min(lowest))
    tl.store(out + row, least)


def cutoffs(
    logits: torch.Tensor,
    table: torch.Tensor,
    rows: torch.Tensor | None,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    log_min_p: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """Arguments as in kernels/sampling.py, already checked."""
    if len(logits):
        _cutoffs[(len(logits),)](
            logits,
            table,
            rows,
            temperature,
            top_k,
            top_p,
            log_min_p,
            out,
            logits.shape[1],
            table.shape[1],
            logits.stride(0),
            logits.stride(1),
            table.stride(0),
            WORDS=_WORDS,
            enable_fp_fusion=False,
        )
