"""Masks, filters and draws in CPU memory, in loops that become vector code.

The results are those of kernels/torch_sampling.py: tokens and cutoffs to the last bit, logarithms but for rounding.
Logits come as float32, or (to be masked) as integers of their bits.
"""

# Callees: 8ef2299b74ed

from __future__ import annotations

import math
from typing import Any

import numpy as np

from maskwright.kernels.backends import NO_TOKEN
from maskwright.kernels.jit import nogil_kernel, part, part_with
from maskwright.kernels.noise import EXP_TERMS, INVERSE_LN2, LN2_HIGH, LN2_LOW, MIN_TEMPERATURE
from maskwright.kernels.numba_noise import BLOCK, bits_that_reach, gumbel_block, integer_weight, noise_memory

__all__ = ["apply", "cutoffs", "find_empty", "is_allowed", "sample", "scale_of"]

_INFINITY = np.float32(np.inf)
_DISALLOWED = np.float32(-np.inf)
_MIN_TEMPERATURE = np.float32(MIN_TEMPERATURE)
_R0, _R1, _R2, _R3, _R4 = (np.float32(term) for term in EXP_TERMS)
_LOWEST_KEY = np.int64(-(2**31))


@nogil_kernel
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


@nogil_kernel
def find_empty(table: Any, rows: Any, indices: Any, empty: Any) -> None:
    """Write which masks allow no token: 1 or 0 for each of `indices` to uint8 [N] `empty`. Others as for `apply`."""
    for number in range(indices.shape[0]):
        row = rows[indices[number]]
        empty[number] = row >= 0
        for word in range(table.shape[1] if row >= 0 else 0):
            if table[row, word] != 0:
                empty[number] = 0
                break


@part
def is_allowed(table: Any, row: Any, token: Any) -> Any:
    """Whether mask `row` allows a token; -1 allows every one."""
    if row < 0:
        return True
    word = token // 32
    return word < table.shape[1] and (table[row, word] >> np.int32(token % 32)) & np.int32(1) != 0


@part
def scale_of(temperature: Any) -> Any:
    """float32: what logits are multiplied by; 1 where the row is greedy."""
    return np.float32(1) / temperature if temperature >= _MIN_TEMPERATURE else np.float32(1)


@nogil_kernel
def sample(
    logits: Any,
    table: Any,
    rows: Any,
    temperature: Any,
    seed: Any,
    position: Any,
    cutoff: Any,
    stream: Any,
    with_mass: Any,
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
        with_mass: whether `masses` are wanted.
        tokens: int64 [B], written.
        logprobs, masses: float32 [B], written; both are logarithms.
    """
    columns = logits.shape[1]
    memory = noise_memory(columns)
    noise = np.empty(memory[1].shape[0], np.float32)
    size = (columns + noise.shape[0] - 1) // noise.shape[0] * noise.shape[0]
    # What follows the row, up to whole blocks, stays -inf.
    valid, others = np.full(size, _DISALLOWED), np.full(size if with_mass else 0, _DISALLOWED)
    for row in range(logits.shape[0]):
        wrong = _part(logits[row], table, rows[row], cutoff[row], valid, others)
        top = _largest(valid)
        if wrong or top == _DISALLOWED:
            tokens[row], logprobs[row], masses[row] = NO_TOKEN, _DISALLOWED, _DISALLOWED
            continue
        scale = scale_of(temperature[row])
        if temperature[row] >= _MIN_TEMPERATURE:
            token = _drawn(valid, scale, seed[row], position[row], stream, memory, noise)
        else:
            token = _first(valid, top)
        log_valid = math.log(_sum(valid, scale, top))
        tokens[row], logprobs[row] = token, np.float64((valid[token] - top) * scale) - log_valid
        if with_mass:
            masses[row] = 0.0
            top_others = _largest(others)
            if top_others > _DISALLOWED:
                # log(a / (a + b)) = -log(1 + b / a), of which the logarithm of b / a is:
                ratio = math.log(_sum(others, scale, top_others)) - log_valid + np.float64((top_others - top) * scale)
                masses[row] = -(max(ratio, 0.0) + math.log1p(math.exp(-abs(ratio))))


@part
def _part(line: Any, table: Any, mask: Any, least: Any, valid: Any, others: Any) -> Any:
    """Copy what is allowed and what is not apart, -inf elsewhere; whether an allowed logit is NaN or infinite.

    others: float32 [V], or [0] where nobody asks for them.
    """
    columns = line.shape[0]
    wrong = np.int32(0)
    for word in range((columns + 31) // 32):
        bits = np.int32(0)
        if mask < 0:
            bits = np.int32(-1)
        elif word < table.shape[1]:
            bits = table[mask, word]
        first = 32 * word
        block, kept = line[first : first + 32], valid[first : first + 32]
        if bits == 0:
            kept[:] = _DISALLOWED
        else:
            for k in range(min(32, columns - first)):
                value, legal = block[k], (bits >> np.int32(k)) & np.int32(1)
                finite = value < _INFINITY
                wrong |= legal if not finite else np.int32(0)
                kept[k] = value if legal and finite and value >= least else _DISALLOWED
        if others.shape[0]:
            rest = others[first : first + 32]
            for k in range(min(32, columns - first)):
                value, legal = block[k], (bits >> np.int32(k)) & np.int32(1)
                rest[k] = value if not legal and value < _INFINITY and value >= least else _DISALLOWED
    return wrong != 0


@part
def _largest(values: Any) -> Any:
    """float32: of values that are not NaN. Integers in the same order, of which the compiler makes vector code."""
    bits, largest = values.view(np.int32), np.int32(-(2**31))
    for index in range(bits.shape[0]):
        given = bits[index]
        largest = max(largest, given ^ ((given >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    found = np.empty(1, np.int32)
    found[0] = largest ^ ((largest >> np.int32(31)) & np.int32(0x7FFFFFFF))
    return found.view(np.float32)[0]


@part
def _first(values: Any, wanted: Any) -> Any:
    for index in range(values.shape[0]):
        if values[index] == wanted:
            return index
    return NO_TOKEN


@part_with(fastmath={"reassoc", "contract"})
def _sum(values: Any, scale: Any, top: Any) -> Any:
    """float64: the sum of exp((value - top) * scale), value by value as in kernels/noise.py, but in 32-bit powers of two."""
    power = np.empty(min(BLOCK, values.shape[0]), np.int32)
    weight, series = power.view(np.float32), np.empty(power.shape[0], np.float32)
    total = 0.0
    for first in range(0, values.shape[0], power.shape[0]):
        block = values[first : first + power.shape[0]]
        for index in range(power.shape[0]):
            y = max((block[index] - top) * scale, np.float32(-87))  # below, nothing
            n = np.int32(y * np.float32(INVERSE_LN2) - np.float32(0.5))
            r = (y - np.float32(n) * np.float32(LN2_HIGH)) - np.float32(n) * np.float32(LN2_LOW)
            series[index] = (r * r * ((((_R4 * r + _R3) * r + _R2) * r + _R1) * r + _R0) + r) + np.float32(1)
            power[index] = (n + np.int32(127)) << np.int32(23) if y > np.float32(-87) else np.int32(0)
        part = np.float32(0)
        for index in range(power.shape[0]):
            part += series[index] * weight[index]
        total += float(part)
    return total


@part
def _drawn(values: Any, scale: Any, seed: Any, position: Any, stream: Any, memory: Any, noise: Any) -> Any:
    """The token of the largest logit plus noise; a block gets none where its random bits show that no token of it can win."""
    token, best = NO_TOKEN, _DISALLOWED
    for first in range(0, values.shape[0], noise.shape[0]):
        block = values[first : first + noise.shape[0]]
        highest = _largest(block)
        if highest == _DISALLOWED:
            continue
        reach = bits_that_reach(best, highest * scale)
        if reach == 0 or not gumbel_block(seed, position, stream, first, reach, memory, noise):
            continue
        for index in range(noise.shape[0]):
            noise[index] = block[index] * scale + noise[index]
        highest = _largest(noise)
        if highest > best:
            token, best = first + _first(noise, highest), highest
    return token


@nogil_kernel
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


@part
def _key(value: Any, scratch: Any) -> Any:
    """int64 in the order of float32 values; 0.0 and -0.0 are one."""
    scratch[0] = value + np.float32(0)
    bits = scratch.view(np.int32)[0]
    return np.int64(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@part
def _value(key: Any, scratch: Any) -> Any:
    bits = np.int32(key)
    scratch.view(np.int32)[0] = bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))
    return scratch[0]


@part
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
