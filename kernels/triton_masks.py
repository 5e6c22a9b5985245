"""Masks on the device that holds the logits: which tokens of a tile are allowed, and -inf over the others.

A tile is [WORDS, 32] tokens: a row of it is one word of the mask. Logits are not read: only what is disallowed is written.
"""

# Callees: 000000000000

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

if TYPE_CHECKING:
    import torch

__all__ = ["apply", "first_best", "mask_row", "mask_words", "surpassed", "tile_logits", "tile_tokens", "tile_words"]

_APPLY_WORDS = 64  # words of a program: 2,048 tokens
_NOWHERE = tl.constexpr(2**31 - 1)


@triton.jit
def mask_row(rows, row):
    """The mask's row of logits row `row`: -1 for no mask; rows int32 [B], or None where each has its own."""
    if rows is not None:
        number = tl.load(rows + row).to(tl.int64)
    else:
        number = row.to(tl.int64)
    return number


@triton.jit
def mask_words(table, mask, table_stride, first_word, words, WORDS: tl.constexpr):
    """int32 [WORDS] from `first_word` on; every bit set where there is no mask, none behind the row's end."""
    place = first_word + tl.arange(0, WORDS)
    there = tl.where(mask < 0, 0, words)
    given = tl.load(table + mask * table_stride + place, mask=place < there, other=0)
    return tl.where(mask < 0, -1, given)


@triton.jit
def tile_words(words):
    """int1 [WORDS, 32]: which tokens the words allow."""
    return ((words[:, None] >> tl.arange(0, 32)[None, :]) & 1) != 0


@triton.jit
def tile_tokens(first_word, WORDS: tl.constexpr):
    """int32 [WORDS, 32]: the tokens of a tile."""
    return (first_word + tl.arange(0, WORDS))[:, None] * 32 + tl.arange(0, 32)[None, :]


@triton.jit
def tile_logits(line, column_stride, columns, table, mask, table_stride, words, first_word, WORDS: tl.constexpr):
    """float32 [WORDS, 32]: the logits of a row from `first_word` on, -inf where they are not allowed or not there."""
    token = tile_tokens(first_word, WORDS)
    legal = tile_words(mask_words(table, mask, table_stride, first_word, words, WORDS)) & (token < columns)
    return tl.load(line + token.to(tl.int64) * column_stride, mask=legal, other=float("-inf")).to(tl.float32)


@triton.jit
def surpassed(best, chosen, score, token):
    """The best score of each lane and its token, with another tile's; of equal ones the first stays."""
    better = score > best
    return tl.where(better, score, best), tl.where(better, token, chosen)


@triton.jit
def first_best(best, chosen):
    """The token of the largest score of all lanes, of equal ones the first."""
    return tl.min(tl.where(best == tl.max(best), chosen, _NOWHERE))


@triton.jit
def _apply(
    logits,
    table,
    rows,
    indices,
    columns,
    words,
    logits_stride,
    column_stride,
    table_stride,
    WORDS: tl.constexpr,
):
    """logits [B, columns], table int32 [R, words]; a program writes one tile of one row."""
    row = tl.program_id(1)
    if indices is not None:
        row = tl.load(indices + row).to(tl.int32)
    mask = mask_row(rows, row)
    if mask >= 0:
        first_word = tl.program_id(0) * WORDS
        legal = tile_words(mask_words(table, mask, table_stride, first_word, words, WORDS))
        token = tile_tokens(first_word, WORDS)
        place = logits + row.to(tl.int64) * logits_stride + token.to(tl.int64) * column_stride
        tl.store(place, float("-inf"), mask=(token < columns) & ~legal)


def apply(logits: torch.Tensor, table: torch.Tensor, rows: torch.Tensor | None, indices: torch.Tensor | None) -> None:
    """Arguments as in kernels/masking.py, already checked."""
    count = len(logits) if indices is None else len(indices)
    columns = logits.shape[1]
    if count:
        _apply[(triton.cdiv(columns, 32 * _APPLY_WORDS), count)](
            logits,
            table,
            rows,
            indices,
            columns,
            table.shape[1],
            logits.stride(0),
            logits.stride(1),
            table.stride(0),
            WORDS=_APPLY_WORDS,
        )
