"""Draws by what kernels/triton_sampling.py draws with, a row for each word of a tile: as many at once as memory holds."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from maskwright.kernels.triton_masks import mask_words, tile_words
from maskwright.kernels.triton_noise import gumbel

__all__ = ["drawn"]

_WORDS = 2**14


@triton.jit
def _draw_words(logits, row, seed, out, all_words, WORDS: tl.constexpr):
    """logits float32 [32] of every word, row int32 [all_words], out int32 [all_words]: the token of 32 that each word draws."""
    first_word = tl.program_id(0) * WORDS
    words = mask_words(row, 0, 0, first_word, all_words, WORDS)
    column = tl.arange(0, 32)
    score = tl.load(logits + column)[None, :] + gumbel(tl.load(seed), tl.load(seed) * 0, first_word * 32, 0, WORDS)
    score = tl.where(tile_words(words), score, float("-inf"))
    tl.store(out + first_word + tl.arange(0, WORDS), tl.argmax(score, 1))


def drawn(logits: torch.Tensor, legal: torch.Tensor, draws: int, seed: int) -> torch.Tensor:
    """int32 [draws], a power of two: logits float32 [32], legal int32 [1]."""
    words = min(draws, _WORDS)
    out = torch.empty(draws, dtype=torch.int32, device=logits.device)
    seeds = torch.full((1,), seed, device=logits.device)
    _draw_words[(draws // words,)](logits, legal.repeat(draws), seeds, out, draws, WORDS=words, enable_fp_fusion=False)
    return out
