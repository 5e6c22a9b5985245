"""Masks, filters and draws in CPU memory; only what is allowed is given random numbers.

The results are those of kernels/torch_sampling.py: tokens and cutoffs to the last bit, logarithms but for rounding.
Logits come as float32, or (to be masked) as integers of their bits.
"""

# Callees: c71c005b87a7

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from maskwright.kernels.backends import NO_TOKEN
from maskwright.kernels.noise import MIN_TEMPERATURE
from maskwright.kernels.numba_noise import MOST_NOISE, gumbel_of, integer_weight, philox

__all__ = ["apply", "cutoffs", "is_allowed", "sample", "scale_of"]

_INFINITY = np.float32(np.inf)
_DISALLOWED = np.float32(-np.inf)
_MIN_TEMPERATURE = np.float32(MIN_TEMPERATURE)
_LOWEST_KEY = np.int64(-(2**31))


@njit(cache=True, nogil=True)
def apply(bits: Any, table: Any, rows: Any, indices: Any, disallowed: Any) -> None:
    """Write `disallowed` over logits.

    Args:
        bits: int16, int32 or int64 [B, V]: the logits' bits.
        table: int32 [R, W].
        rows: int32 [B], -1 for no mask.
        indices: int64 [N], which logits rows.
        disallowed: int64, the bits of -inf.
    """
    columns = bits.shape[1]
    for row in indices:
        if rows[row] < 0:
            continue
        line, words = bits[row], table[rows[row]]
        out = line.dtype.type(disallowed)
        for word in range(words.shape[0]):
            mask = words[word]
            if mask == -1:
                continue
            first = 32 * word
            if first + 32 <= columns:  # exactly 32, without a branch: vector code
                block = line[first : first + 32]
                for k in range(32):
                    block[k] = block[k] if (mask >> np.int32(k)) & np.int32(1) else out
            else:
                for k in range(columns - first):
                    if not (mask >> np.int32(k)) & np.int32(1):
                        line[first + k] = out
        for token in range(32 * words.shape[0], columns):
            line[token] = out


@njit(cache=True, nogil=True)
def is_allowed(table: Any, row: Any, token: Any) -> Any:
    """Whether mask `row` allows a token; -1 allows every one."""
    if row < 0:
        return True
    word = token // 32
    return word < table.shape[1] and (table[row, word] >> np.int32(token % 32)) & np.int32(1) != 0


@njit(cache=True, nogil=True)
def scale_of(temperature: Any) -> Any:
    """float32: what logits are multiplied by; 1 where the row is greedy."""
    return np.float32(1) / temperature if temperature >= _MIN_TEMPERATURE else np.float32(1)


@njit(cache=True, nogil=True)
def sample(
    logits: Any,
    table: Any,
    rows: Any,
    temperature: Any,
    seed: Any,
    position: Any,
    cutoff: Any,
    stream: Any,
    tokens: Any,
    logprobs: Any,
    masses: Any,
) -> None:
    """One token for each row.

    Args:
        logits: float32 [B, V].
        table: int32 [R, W].
        rows: int32 [B].
        temperature: float32 [B].
        seed, position: int64 [B].
        cutoff: float32 [B], the lowest logit that is kept.
        stream: of the random numbers.
        tokens: int64 [B], written.
        logprobs, masses: float32 [B], written; both are logarithms.
    """
    scratch = np.empty(1, np.float32)
    for row in range(logits.shape[0]):
        line, mask, least, scale = logits[row], rows[row], cutoff[row], scale_of(temperature[row])
        likeliest, top, top_of_all, wrong = _tops(line, table, mask, least)
        if wrong or likeliest < 0:
            tokens[row], logprobs[row], masses[row] = NO_TOKEN, _DISALLOWED, _DISALLOWED
            continue
        token = likeliest
        if temperature[row] >= _MIN_TEMPERATURE:
            token = _drawn(line, table, mask, least, scale, seed[row], position[row], stream, likeliest, scratch)
        valid, others = _sums(line, table, mask, least, scale, top, top_of_all)
        log_valid = np.log(valid)
        logprobs[row] = np.float64(line[token] * scale) - top * scale - log_valid
        difference = np.float64(top * scale) - np.float64(top_of_all * scale)
        masses[row] = min(0.0, difference + log_valid - np.log(valid * math.exp(difference) + others))
        tokens[row] = token


@njit(cache=True, nogil=True)
def _tops(line: Any, table: Any, mask: Any, least: Any) -> Any:
    """The likeliest allowed token (or NO_TOKEN), its logit, the largest logit of all, whether an allowed one is not finite."""
    likeliest, top, top_of_all = NO_TOKEN, _DISALLOWED, _DISALLOWED
    for token in range(line.shape[0]):
        value = line[token]
        if not value < _INFINITY:
            if is_allowed(table, mask, token):
                return NO_TOKEN, top, top_of_all, True
        elif value >= least:
            top_of_all = max(top_of_all, value)
            if value > top and is_allowed(table, mask, token):
                likeliest, top = token, value
    return likeliest, top, top_of_all, False


@njit(cache=True, nogil=True)
def _sums(line: Any, table: Any, mask: Any, least: Any, scale: Any, top: Any, top_of_all: Any) -> Any:
    """float64: the sum of exp(z - top) over what is allowed, and of exp(z - top_of_all) over what is not."""
    valid, others, high, high_of_all = 0.0, 0.0, np.float64(top * scale), np.float64(top_of_all * scale)
    for token in range(line.shape[0]):
        value = line[token]
        if value >= least and value < _INFINITY and value > _DISALLOWED:
            scaled = np.float64(value * scale)
            if is_allowed(table, mask, token):
                valid += math.exp(scaled - high)
            else:
                others += math.exp(scaled - high_of_all)
    return valid, others


@njit(cache=True, nogil=True)
def _drawn(
    line: Any,
    table: Any,
    mask: Any,
    least: Any,
    scale: Any,
    seed: Any,
    position: Any,
    stream: Any,
    likeliest: Any,
    scratch: Any,
) -> Any:
    """The token of the largest logit plus noise; who could not win with the most noise there is gets none."""
    bits = philox(seed, likeliest // 4, position, stream)
    token = likeliest
    best = line[likeliest] * scale + gumbel_of(_lane(bits, likeliest % 4), scratch)
    for group in range((line.shape[0] + 3) // 4):
        made = False
        for lane in range(min(4, line.shape[0] - 4 * group)):
            other = 4 * group + lane
            value = line[other]
            if not (value >= least and value > _DISALLOWED) or value * scale + MOST_NOISE < best:
                continue
            if not is_allowed(table, mask, other):
                continue
            if not made:
                bits, made = philox(seed, group, position, stream), True
            score = value * scale + gumbel_of(_lane(bits, lane), scratch)
            if score > best or (score == best and other < token):
                token, best = other, score
    return token


@njit(cache=True, nogil=True)
def _lane(bits: Any, lane: Any) -> Any:
    if lane < 2:
        return bits[0] if lane == 0 else bits[1]
    return bits[2] if lane == 2 else bits[3]


@njit(cache=True, nogil=True)
def cutoffs(
    logits: Any, table: Any, rows: Any, temperature: Any, top_k: Any, top_p: Any, log_min_p: Any, out: Any
) -> None:
    """The lowest logit that each row keeps.

    Args:
        logits: float32 [B, V].
        table: int32 [R, W].
        rows: int32 [B].
        temperature: float32 [B].
        top_k: int32 [B], 0 for all.
        top_p: float32 [B].
        log_min_p: float32 [B], -inf for all.
        out: float32 [B], written.
    """
    columns = logits.shape[1]
    scratch = np.empty(1, np.float32)
    keys, weights = np.empty(columns, np.int64), np.empty(columns, np.int64)
    for row in range(logits.shape[0]):
        line, scale = logits[row], scale_of(temperature[row])
        count, best = 0, _DISALLOWED
        for token in range(columns):
            value = line[token]
            if value > _DISALLOWED and value < _INFINITY and is_allowed(table, rows[row], token):
                keys[count], weights[count], count = _key(value, scratch), 1, count + 1
                best = max(best, value)
        least = _LOWEST_KEY
        if 0 < top_k[row] < columns:
            least = _select(keys[:count], weights[:count], np.int64(top_k[row]))
        if top_p[row] < 1:
            total = 0
            for index in range(count):
                weights[index] = 0
                if keys[index] >= least:
                    weights[index] = integer_weight((_value(keys[index], scratch) - best) * scale, scratch)
                    total += weights[index]
            wanted = np.int64(np.float64(total) * np.float64(top_p[row]))
            least = max(least, _select(keys[:count], weights[:count], max(wanted, 1)))
        lowest = _DISALLOWED if least == _LOWEST_KEY else _value(least, scratch)
        if log_min_p[row] > _DISALLOWED and count:
            likely = _INFINITY
            for index in range(count):
                value = _value(keys[index], scratch)
                if (value - best) * scale >= log_min_p[row]:
                    likely = min(likely, value)
            lowest = max(lowest, likely)
        out[row] = lowest


@njit(cache=True, nogil=True)
def _key(value: Any, scratch: Any) -> Any:
    """int64 in the order of float32 values; 0.0 and -0.0 are one."""
    scratch[0] = value + np.float32(0)
    bits = scratch.view(np.int32)[0]
    return np.int64(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@njit(cache=True, nogil=True)
def _value(key: Any, scratch: Any) -> Any:
    bits = np.int32(key)
    scratch.view(np.int32)[0] = bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))
    return scratch[0]


@njit(cache=True, nogil=True)
def _select(keys: Any, weights: Any, wanted: Any) -> Any:
    """The largest key such that keys from it up weigh at least `wanted`; the lowest key of all where all weigh less.

    A radix select: a histogram of the leading byte tells which byte the key has, then the next byte of those that have it.
    """
    if weights.sum() < wanted:
        return _LOWEST_KEY
    found, missing = np.int64(0), wanted
    histogram = np.empty(256, np.int64)
    for shift in range(24, -1, -8):
        histogram[:] = 0
        for index in range(keys.shape[0]):
            lifted = keys[index] - _LOWEST_KEY  # 0 .. 2**32 - 1
            if lifted >> np.int64(shift + 8) == found:
                histogram[(lifted >> np.int64(shift)) & 255] += weights[index]
        digit = 255
        while histogram[digit] < missing:
            missing -= histogram[digit]
            digit -= 1
        found = (found << np.int64(8)) | digit
    return found + _LOWEST_KEY
