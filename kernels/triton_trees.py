"""Draft trees verified on the device, and the key-value cache of the accepted path moved together: one program a tree.

A walk reads links and single probabilities. Only where a draft is rejected by ratio does it pass over the vocabulary, to
take the proposal off the target; what is left is kept in `rest`.
"""

# Callees: 07fe0ddbd465

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import triton
import triton.language as tl

from maskwright.kernels import noise
from maskwright.kernels.triton_masks import first_best, surpassed, tile_logits, tile_tokens
from maskwright.kernels.triton_noise import MIN_TEMPERATURE, coin, gumbel
from maskwright.kernels.triton_sampling import row_scale

if TYPE_CHECKING:
    import torch

__all__ = ["gather", "match", "ratio"]

Tensors: TypeAlias = "tuple[torch.Tensor, ...]"

_WORDS = 64
_MOST_DEPTH = 128  # elements of a head that a program moves at a time
_RESIDUAL_STREAM = tl.constexpr(noise.RESIDUAL_STREAM)
_NOWHERE = tl.constexpr(2**31 - 1)
_NO_TOKEN = tl.constexpr(-1)
_TINY = tl.constexpr(1e-30)


@triton.jit
def _match(token, first_child, next_sibling, drawn, drawn_logprob, path, length, last, logprob, nodes):
    """All [B, nodes], but length and last [B]; path and logprob come filled with -1 and -inf."""
    tree = tl.program_id(0)
    base = tree.to(tl.int64) * nodes
    node = tl.full([], 0, tl.int64)
    depth = tl.full([], 0, tl.int64)
    choice = tl.load(drawn + base)
    going = tl.full([], 1, tl.int1)
    while going:
        tl.store(path + base + depth, node)
        tl.store(logprob + base + depth, tl.load(drawn_logprob + base + node))
        choice = tl.load(drawn + base + node)
        child = tl.load(first_child + base + node)
        while (child >= 0) & (tl.load(token + base + tl.maximum(child, 0)) != choice):
            child = tl.load(next_sibling + base + child)
        going = child >= 0
        node = tl.where(going, child, node)
        depth = tl.where(going, depth + 1, depth)
    tl.store(length + tree, depth + 1)
    tl.store(last + tree, choice)


@triton.jit
def _scaled(line, column_stride, token, scale):
    """float32: the logit of one token at the temperature."""
    return tl.load(line + token * column_stride).to(tl.float32) * scale


@triton.jit
def _probability(line, column_stride, table, mask, table_stride, words, scale, normaliser, token):
    """float32: of one token under the target."""
    word = token // 32
    there = (mask >= 0) & (word < words)
    bits = tl.load(table + tl.where(there, mask * table_stride + word, 0))
    legal = (mask < 0) | (there & (((bits >> (token % 32).to(tl.int32)) & 1) != 0))
    return tl.where(legal, tl.exp(_scaled(line, column_stride, token, scale) - normaliser), 0.0)


@triton.jit
def _reduced(
    line,
    column_stride,
    columns,
    table,
    mask,
    table_stride,
    words,
    scale,
    normaliser,
    offered,
    left,
    rest,
    total,
    rejections,
    WORDS: tl.constexpr,
):
    """Take the proposal off what is left of the target, into `rest`; the sum of what is left then."""
    kept = tl.zeros([WORDS, 32], tl.float32)
    for first_word in range(0, tl.cdiv(columns, 32), WORDS):
        token = tile_tokens(first_word, WORDS)
        inside = token < columns
        if rejections == 0:
            z = tile_logits(line, column_stride, columns, table, mask, table_stride, words, first_word, WORDS)
            share = tl.exp(z * scale - normaliser)
        else:
            share = tl.load(rest + token, mask=inside, other=0.0) / total
        less = tl.maximum(share - tl.load(offered + token, mask=inside, other=0.0) / left, 0.0)
        tl.store(rest + token, less, mask=inside)
        kept += less
    tl.debug_barrier()  # a program's threads read each other's part of `rest`
    return tl.sum(kept)


@triton.jit
def _drawn_from(rest, columns, seed, position, WORDS: tl.constexpr):
    """int64: a token by its weight; never one of weight zero."""
    best = tl.full([WORDS, 32], float("-inf"), tl.float32)
    chosen = tl.full([WORDS, 32], _NOWHERE, tl.int32)
    for first_word in range(0, tl.cdiv(columns, 32), WORDS):
        token = tile_tokens(first_word, WORDS)
        weight = tl.load(rest + token, mask=token < columns, other=0.0)
        score = tl.log(tl.maximum(weight, _TINY)) + gumbel(seed, position, first_word * 32, _RESIDUAL_STREAM, WORDS)
        best, chosen = surpassed(best, chosen, tl.where(weight > 0.0, score, float("-inf")), token)
    return first_best(best, chosen).to(tl.int64)


@triton.jit
def _ratio(
    token,
    first_child,
    next_sibling,
    logits,
    table,
    rows,
    temperature,
    seed,
    position,
    proposal,
    drawn,
    drawn_logprob,
    rest,
    path,
    length,
    last,
    logprob,
    nodes,
    columns,
    words,
    tree_stride,
    node_stride,
    column_stride,
    table_stride,
    WITHOUT_REPLACEMENT: tl.constexpr,
    WORDS: tl.constexpr,
):
    """logits [B, nodes, columns]; proposal contiguous, rest float32 [B, columns]; the others as in _match()."""
    tree = tl.program_id(0).to(tl.int64)
    base = tree * nodes
    heat, key, place = tl.load(temperature + tree), tl.load(seed + tree), tl.load(position + tree)
    scale, greedy = row_scale(heat), heat < MIN_TEMPERATURE
    rest += tree * columns
    node = tl.full([], 0, tl.int64)
    depth = tl.full([], 0, tl.int64)
    choice = tl.load(drawn + base)
    going = tl.full([], 1, tl.int1)
    while going:
        tl.store(path + base + depth, node)
        choice = tl.load(drawn + base + node)
        going = tl.full([], 0, tl.int1)
        if choice != _NO_TOKEN:
            line = logits + tree * tree_stride + node * node_stride
            offered = proposal + (base + node) * columns
            mask = tl.load(rows + base + node).to(tl.int64)
            normaliser = _scaled(line, column_stride, choice, scale) - tl.load(drawn_logprob + base + node)
            total = tl.full([], 1.0, tl.float32)
            left = tl.full([], 1.0, tl.float32)
            rejections = tl.full([], 0, tl.int32)
            child = tl.load(first_child + base + node)
            while (child >= 0) & (going == 0):
                draft = tl.load(token + base + child)
                if greedy:
                    going = draft == choice
                else:
                    share = _probability(
                        line, column_stride, table, mask, table_stride, words, scale, normaliser, draft
                    )
                    if rejections > 0:
                        share = tl.load(rest + draft)
                    asked = tl.load(offered + draft)
                    going = coin(key, place + depth, child) * (asked / left) < share / total
                    if going == 0:
                        kept = _reduced(
                            line,
                            column_stride,
                            columns,
                            table,
                            mask,
                            table_stride,
                            words,
                            scale,
                            normaliser,
                            offered,
                            left,
                            rest,
                            total,
                            rejections,
                            WORDS,
                        )
                        total = tl.maximum(kept, _TINY)
                        if WITHOUT_REPLACEMENT:
                            left = tl.maximum(left - asked, _TINY)
                        rejections += 1
                if going == 0:
                    child = tl.load(next_sibling + base + child)
            emitted = choice
            if going:
                emitted = tl.load(token + base + child)
            else:
                if (rejections > 0) & (total > _TINY):
                    choice = _drawn_from(rest, columns, key, place + depth, WORDS)
                emitted = choice
            tl.store(logprob + base + depth, _scaled(line, column_stride, emitted, scale) - normaliser)
            node = tl.where(going, child, node)
            depth = tl.where(going, depth + 1, depth)
    tl.store(length + tree, depth + 1)
    tl.store(last + tree, choice)


@triton.jit
def _gather(cache, start, path, nodes, size, row_stride, head_stride, place_stride, size_stride, BLOCK: tl.constexpr):
    """cache [B, H, L, size]. Paths go up, so that what is overwritten has been moved already, or is not kept."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    lane = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(start + row)
    line = cache + row * row_stride + head * head_stride + first * place_stride + lane * size_stride
    for step in range(1, nodes):
        node = tl.load(path + row * nodes + step)
        moved = (lane < size) & (lane * 0 + node > step)
        value = tl.load(line + tl.maximum(node, 0) * place_stride, mask=moved)
        tl.store(line + step * place_stride, value, mask=moved)


def match(links: Tensors, drawn: Tensors, results: Tensors) -> None:
    """Arguments as in kernels/torch_trees.py."""
    tokens, _ = drawn
    if len(tokens):
        _match[(len(tokens),)](*links, *drawn, *results, tokens.shape[1], num_warps=1)


def ratio(
    links: Tensors, given: Tensors, without_replacement: bool, drawn: Tensors, rest: torch.Tensor, results: Tensors
) -> None:
    """Arguments as in kernels/torch_trees.py; rest float32 [B, V] is written over."""
    logits, table, *_ = given
    if len(logits):
        _ratio[(len(logits),)](
            *links,
            *given,
            *drawn,
            rest,
            *results,
            *logits.shape[1:],
            table.shape[1],
            *logits.stride(),
            table.stride(0),
            WITHOUT_REPLACEMENT=without_replacement,
            WORDS=_WORDS,
            num_warps=8,
            enable_fp_fusion=False,
        )


def gather(cache: torch.Tensor, start: torch.Tensor, path: torch.Tensor) -> None:
    """Arguments as in kernels/torch_trees.py."""
    rows, heads, _, size = cache.shape
    block = min(triton.next_power_of_2(size), _MOST_DEPTH)
    if rows and heads and size:
        _gather[(rows, heads, triton.cdiv(size, block))](
            cache, start, path, path.shape[1], size, *cache.stride(), BLOCK=block
        )
