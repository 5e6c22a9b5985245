"""Draft trees verified in CPU memory."""

# Callees: 072d8f4d277a

from __future__ import annotations

import math
from typing import Any

import numpy as np

from maskwright.kernels.backends import NO_TOKEN
from maskwright.kernels.jit import nogil_kernel, part
from maskwright.kernels.noise import MIN_TEMPERATURE, RESIDUAL_STREAM
from maskwright.kernels.numba_noise import EVERY_BIT, coin, gumbel_block, noise_memory
from maskwright.kernels.numba_sampling import is_allowed, scale_of

__all__ = ["match", "ratio"]

_TINY = 1e-30


@nogil_kernel
def match(
    token: Any,
    first_child: Any,
    next_sibling: Any,
    drawn: Any,
    drawn_logprob: Any,
    path: Any,
    length: Any,
    last: Any,
    logprob: Any,
) -> None:
    """Follow the tokens drawn; all [B, N], but length and last [B]; path and logprob come filled with -1 and -inf."""
    for tree in range(token.shape[0]):
        node, depth, going = np.int64(0), 0, True
        while going:
            path[tree, depth], logprob[tree, depth] = node, drawn_logprob[tree, node]
            child = first_child[tree, node]
            while child >= 0 and token[tree, child] != drawn[tree, node]:
                child = next_sibling[tree, child]
            going = child >= 0
            if going:
                node, depth = child, depth + 1
        length[tree], last[tree] = depth + 1, drawn[tree, node]


@nogil_kernel
def ratio(
    token: Any,
    first_child: Any,
    next_sibling: Any,
    logits: Any,
    table: Any,
    rows: Any,
    temperature: Any,
    seed: Any,
    position: Any,
    proposal: Any,
    without_replacement: Any,
    drawn: Any,
    drawn_logprob: Any,
    path: Any,
    length: Any,
    last: Any,
    logprob: Any,
) -> None:
    """Accept by ratio. logits and proposal float32 [B, N, V], rows int32 [B, N]; the others [B] or as in match()."""
    rest = np.empty(logits.shape[2], np.float64)
    for tree in range(logits.shape[0]):
        scale, greedy = scale_of(temperature[tree]), temperature[tree] < np.float32(MIN_TEMPERATURE)
        node, depth, going, choice = np.int64(0), 0, True, np.int64(NO_TOKEN)
        while going:
            path[tree, depth], choice, going = node, drawn[tree, node], False
            if choice == NO_TOKEN:
                break
            line, offered, mask = logits[tree, node], proposal[tree, node], rows[tree, node]
            normaliser = np.float64(line[choice] * scale) - drawn_logprob[tree, node]
            total, left, rejections = 1.0, 1.0, 0
            child = first_child[tree, node]
            while child >= 0:
                draft = token[tree, child]
                if greedy:
                    going = draft == choice
                else:
                    share = rest[draft] if rejections else _probability(line, table, mask, scale, normaliser, draft)
                    toss = coin(seed[tree], position[tree] + depth, child)
                    going = toss * (offered[draft] / left) < share / total
                if going:
                    break
                if not greedy:
                    kept = 0.0
                    for other in range(line.shape[0]):
                        if rejections:
                            share = rest[other] / total
                        else:
                            share = _probability(line, table, mask, scale, normaliser, other)
                        rest[other] = max(share - offered[other] / left, 0.0)
                        kept += rest[other]
                    total = max(kept, _TINY)
                    if without_replacement:
                        left = max(left - offered[draft], _TINY)
                    rejections += 1
                child = next_sibling[tree, child]
            if going:
                logprob[tree, depth] = line[token[tree, child]] * scale - normaliser
                node, depth = child, depth + 1
                continue
            if rejections and total > _TINY:
                choice = _drawn(rest, seed[tree], position[tree] + depth)
            logprob[tree, depth] = line[choice] * scale - normaliser
        length[tree], last[tree] = depth + 1, choice


@part
def _probability(line: Any, table: Any, mask: Any, scale: Any, normaliser: Any, token: Any) -> Any:
    if not is_allowed(table, mask, token):
        return 0.0
    return math.exp(np.float64(line[token] * scale) - normaliser)


@part
def _drawn(weights: Any, seed: Any, position: Any) -> Any:
    """A token by its weight; never one of weight zero."""
    memory = noise_memory(weights.shape[0])
    noise = np.empty(memory[1].shape[0], np.float32)
    best, token = -np.inf, np.int64(NO_TOKEN)
    for first in range(0, weights.shape[0], noise.shape[0]):
        gumbel_block(seed, position, RESIDUAL_STREAM, first, EVERY_BIT, memory, noise)
        for index in range(min(noise.shape[0], weights.shape[0] - first)):
            weight = weights[first + index]
            if weight > 0:
                score = math.log(weight) + noise[index]
                if score > best:
                    best, token = score, np.int64(first + index)
    return token
