"""Mask, temperature, Gumbel noise and the largest of it, with both sums of exponentials, in one pass over the logits.

A row is cut into parts, a program each, so that a single row still occupies the device; a second, small kernel joins them.
Within a part every lane of the tile keeps a best token and two running sums of its own, and lanes are joined at the end:

    tile   t t t t ...      lane l sees tokens l, l + T, l + 2T, ... of its part (T tokens a tile)
    best   score, token     strictly larger replaces, so that of equal scores the first token stays
    sums   m, s             s = sum of exp(z - m), m the largest z so far: once for what is allowed, once for the rest

Parts depend on the shape alone, and nothing is added up by atomics: a row's numbers do not depend on its batch.
"""

# Callees: bc7e5c07e4b1

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from maskwright.kernels.triton_masks import first_best, mask_row, mask_words, tile_tokens, tile_words
from maskwright.kernels.triton_noise import MIN_TEMPERATURE, gumbel

if TYPE_CHECKING:
    import torch

__all__ = ["PART", "row_scale", "sample"]

_WORDS = 32  # words of a tile: 1,024 tokens
_TILES = 8  # tiles of a part: 16 parts for 128,256 tokens
PART = 32 * _WORDS * _TILES
"""Columns of a program."""
_NOWHERE = tl.constexpr(2**31 - 1)
_NO_TOKEN = tl.constexpr(-1)


@triton.jit
def row_scale(temperature):
    """float32: what logits are multiplied by; 1 where the row is greedy. Division is rounded as IEEE 754 says."""
    return tl.where(temperature >= MIN_TEMPERATURE, tl.div_rn(1.0, tl.maximum(temperature, MIN_TEMPERATURE)), 1.0)


@triton.jit
def _grown(largest, total, value, counts):
    """The running pair (m, s) with `value` where `counts`; -inf adds nothing."""
    value = tl.where(counts, value, float("-inf"))
    higher = tl.maximum(largest, value)
    reference = tl.where(higher == float("-inf"), 0.0, higher)
    return higher, total * tl.exp(largest - reference) + tl.exp(value - reference)


@triton.jit
def _joined(largest, total):
    """One pair (m, s) of many."""
    highest = tl.max(largest)
    reference = tl.where(highest == float("-inf"), 0.0, highest)
    return highest, tl.sum(total * tl.exp(largest - reference))


@triton.jit
def _draw_parts(
    logits,
    table,
    rows,
    temperature,
    seed,
    position,
    cutoff,
    floats,  # float32 [6, B, parts]: score, z, m and s of what is allowed, m and s of the rest
    tokens,  # int32 [B, parts]
    columns,
    words,
    logits_stride,
    column_stride,
    table_stride,
    stream: tl.constexpr,
    WORDS: tl.constexpr,
    TILES: tl.constexpr,
    WITH_MASS: tl.constexpr,
):
    row, part = tl.program_id(0), tl.program_id(1)
    mask = mask_row(rows, row)
    heat, key, place = tl.load(temperature + row), tl.load(seed + row), tl.load(position + row)
    scale = row_scale(heat)
    least = float("-inf")
    if cutoff is not None:
        least = tl.load(cutoff + row)

    nothing = tl.full([WORDS, 32], float("-inf"), tl.float32)
    best, chosen = nothing, tl.full([WORDS, 32], _NOWHERE, tl.int32)
    chosen_z, high, high_rest = nothing, nothing, nothing
    total, total_rest = tl.zeros([WORDS, 32], tl.float32), tl.zeros([WORDS, 32], tl.float32)
    tiles = tl.cdiv(tl.cdiv(columns, 32) - part * (TILES * WORDS), WORDS)  # from here to the row's end
    for tile in range(tl.minimum(tiles, TILES)):
        first_word = (part * TILES + tile) * WORDS
        bits = mask_words(table, mask, table_stride, first_word, words, WORDS)
        some = tl.max((bits != 0).to(tl.int32), 0) > 0
        if WITH_MASS or some:
            token = tile_tokens(first_word, WORDS)
            inside = token < columns
            given = logits + row.to(tl.int64) * logits_stride + token.to(tl.int64) * column_stride
            value = tl.load(given, mask=inside, other=float("-inf")).to(tl.float32)
            legal = tile_words(bits) & inside
            finite = value < float("inf")
            kept = finite & (value >= least)
            z = value * scale
            high, total = _grown(high, total, z, kept & legal)
            # Allowed, and NaN or infinite: the largest becomes infinite, which nothing else can make it.
            high = tl.where(legal & ~finite, float("inf"), high)
            if WITH_MASS:
                high_rest, total_rest = _grown(high_rest, total_rest, z, kept & ~legal)
            if some:
                score = z
                if heat >= MIN_TEMPERATURE:
                    score = z + gumbel(key, place, first_word * 32, stream, WORDS)
                score = tl.where(kept & legal, score, float("-inf"))
                better = score > best
                best = tl.where(better, score, best)
                chosen = tl.where(better, token, chosen)
                chosen_z = tl.where(better, z, chosen_z)

    top = tl.max(best)
    winner = first_best(best, chosen)
    high_one, total_one = _joined(high, total)
    at = row.to(tl.int64) * tl.num_programs(1) + part
    size = tl.num_programs(0).to(tl.int64) * tl.num_programs(1)
    tl.store(tokens + at, winner)
    tl.store(floats + at, top)
    tl.store(floats + size + at, tl.max(tl.where((best == top) & (chosen == winner), chosen_z, float("-inf"))))
    tl.store(floats + 2 * size + at, high_one)
    tl.store(floats + 3 * size + at, total_one)
    if WITH_MASS:
        high_two, total_two = _joined(high_rest, total_rest)
        tl.store(floats + 4 * size + at, high_two)
        tl.store(floats + 5 * size + at, total_two)


@triton.jit
def _join_parts(floats, tokens, token_out, logprob_out, mass_out, parts, PARTS: tl.constexpr, WITH_MASS: tl.constexpr):
    """PARTS is the power of two from `parts` on."""
    row = tl.program_id(0)
    lane = tl.arange(0, PARTS)
    inside = lane < parts
    at = row.to(tl.int64) * parts + lane
    size = tl.num_programs(0).to(tl.int64) * parts
    score = tl.load(floats + at, mask=inside, other=float("-inf"))
    token = tl.load(tokens + at, mask=inside, other=_NOWHERE)
    z = tl.load(floats + size + at, mask=inside, other=float("-inf"))
    high, total = _joined(
        tl.load(floats + 2 * size + at, mask=inside, other=float("-inf")),
        tl.load(floats + 3 * size + at, mask=inside, other=0.0),
    )
    top = tl.max(score)
    winner = first_best(score, token)
    drawn = (top > float("-inf")) & (high < float("inf"))
    winner_z = tl.max(tl.where(token == winner, z, float("-inf")))
    log_total = tl.log(tl.where(total > 0.0, total, 1.0))  # zero where nothing can be drawn
    tl.store(token_out + row, tl.where(drawn, winner, _NO_TOKEN).to(tl.int64))
    tl.store(logprob_out + row, tl.where(drawn, (winner_z - high) - log_total, float("-inf")))
    if WITH_MASS:
        high_rest, total_rest = _joined(
            tl.load(floats + 4 * size + at, mask=inside, other=float("-inf")),
            tl.load(floats + 5 * size + at, mask=inside, other=0.0),
        )
        higher = tl.maximum(high, high_rest)
        reference = tl.where(higher == float("-inf"), 0.0, higher)
        everything = total * tl.exp(high - reference) + total_rest * tl.exp(high_rest - reference)
        mass = (high - reference) + (log_total - tl.log(tl.where(everything > 0.0, everything, 1.0)))
        tl.store(mass_out + row, tl.where(drawn, tl.minimum(mass, 0.0), float("-inf")))


def sample(
    logits: torch.Tensor,
    table: torch.Tensor,
    rows: torch.Tensor | None,
    temperature: torch.Tensor,
    seed: torch.Tensor,
    position: torch.Tensor,
    cutoff: torch.Tensor | None,
    stream: int,
    floats: torch.Tensor,
    tokens: torch.Tensor,
    token_out: torch.Tensor,
    logprob_out: torch.Tensor,
    mass_out: torch.Tensor | None,
) -> None:
    """Arguments as in kernels/sampling.py, already checked; floats float32 [6, B, parts], tokens int32 [B, parts]."""
    count, columns = logits.shape
    parts = tokens.shape[1]
    if not count:
        return
    _draw_parts[(count, parts)](
        logits,
        table,
        rows,
        temperature,
        seed,
        position,
        cutoff,
        floats,
        tokens,
        columns,
        table.shape[1],
        logits.stride(0),
        logits.stride(1),
        table.stride(0),
        stream=stream,
        WORDS=_WORDS,
        TILES=_TILES,
        WITH_MASS=mass_out is not None,
        enable_fp_fusion=False,
    )
    _join_parts[(count,)](
        floats,
        tokens,
        token_out,
        logprob_out,
        mass_out,
        parts,
        PARTS=triton.next_power_of_2(parts),
        WITH_MASS=mass_out is not None,
        num_warps=1,
        enable_fp_fusion=False,
    )
