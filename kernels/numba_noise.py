"""The random numbers of kernels/noise.py for numba: a block of tokens, one node or one weight a call.

Blocks are loops of one operation after the other over arrays, without a branch: what the compiler makes vector code of.
Bits are looked at through views of the same memory. A token costs 2 ns, a thirtieth of what it costs alone.
"""

# Callees: 5fe7266029c2

from __future__ import annotations

import math
from typing import Any

import numpy as np

from maskwright.kernels.jit import part
from maskwright.kernels.noise import (
    COIN_STREAM,
    EXP_TERMS,
    INVERSE_LN2,
    LN2_HIGH,
    LN2_LOW,
    LOG_TERMS,
    NEAR_ZERO,
    SQRT_HALF_BITS,
    WEIGHT_BITS,
)

__all__ = [
    "BLOCK",
    "EVERY_BIT",
    "bits_that_reach",
    "coin",
    "gumbel_block",
    "integer_weight",
    "noise_memory",
]

BLOCK = 512
"""Tokens of a block of noise at most."""

_LOW = np.uint64(0xFFFFFFFF)
_HALF_WORD = np.uint64(32)
_MOST_NOISE = 22.88
EVERY_BIT = np.int64(2**32)
"""Random bits are below it."""
_ROUND_A, _ROUND_B = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_A, _KEY_B = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_Q0, _Q1, _Q2, _Q3, _Q4, _Q5, _Q6, _Q7, _Q8 = (np.float32(term) for term in LOG_TERMS)
_R0, _R1, _R2, _R3, _R4 = (np.float32(term) for term in EXP_TERMS)
_LN2_HIGH, _LN2_LOW, _INVERSE_LN2 = np.float32(LN2_HIGH), np.float32(LN2_LOW), np.float32(INVERSE_LN2)
_NEAR_ZERO, _SQRT_HALF_BITS, _FRACTION_BITS = np.uint32(NEAR_ZERO), np.int32(SQRT_HALF_BITS), np.int32(23)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_UNIT, _COIN_UNIT = np.float32(2.0**-32), np.float32(2.0**-24)


@part
def noise_memory(columns: Any) -> Any:
    """What gumbel_block() works in for rows of so many tokens: uint32 [4, n / 4], uint32 [n], float32 [2, n]; n <= BLOCK."""
    size = min((columns + 3) // 4 * 4, BLOCK)
    return np.empty((4, size // 4), np.uint32), np.empty(size, np.uint32), np.empty((2, size), np.float32)


@part
def gumbel_block(seed: Any, position: Any, stream: Any, first_token: Any, reach: Any, memory: Any, out: Any) -> Any:
    """The noise of n tokens from `first_token` on, a multiple of 4; out: float32 [n], written.

    False, and nothing written, where the random bits of all are `reach` or more (bits_that_reach).
    """
    lanes, bits, halves = memory
    power, fraction = halves[0], halves[1]
    _philox_block(seed, position, stream, first_token // 4, lanes)
    if _least(lanes) >= reach:
        return False
    _interleave(lanes, bits)
    _fold(bits, out)
    _split(out, power, fraction)
    _unfold(bits, out, power, fraction)
    _negated_log(power, fraction, out)  # exponential
    _split(out, power, fraction)
    _negated_log(power, fraction, out)
    return True


@part
def bits_that_reach(wanted: Any, logit: Any) -> Any:
    """int64: noise of bits from here on does not lift a scaled logit to `wanted`; of those below it may.

    g >= d is v <= 1 - exp(-exp(-d)). What float32 rounds away, of both values and in the logarithms, is left room for.
    """
    distance = (float(wanted) - float(logit)) - 1e-4 - 1e-6 * (abs(float(wanted)) + abs(float(logit)))
    if distance > _MOST_NOISE:
        return np.int64(0)
    if not distance > -10:  # of nothing or of infinities, too
        return EVERY_BIT
    return np.int64(-math.expm1(-math.exp(-distance)) * 2.0**32) + 2


@part
def coin(seed: Any, position: Any, node: Any) -> Any:
    """float32 in [0, 1): the coin of a node of a draft tree."""
    lanes = np.empty((4, 1), np.uint32)
    _philox_block(seed, position, COIN_STREAM, node, lanes)
    return np.float32(lanes[0, 0] >> np.uint32(8)) * _COIN_UNIT


@part
def integer_weight(exponent: Any, scratch: Any) -> Any:
    """int64: exp(exponent) in units of 2**-WEIGHT_BITS, exponent float32 at most 0 (or NaN or -inf, which weigh 0).

    scratch: float32 [1], for looking at bits.
    """
    if not exponent > np.float32(-28):
        return np.int64(0)
    n = np.float32(math.floor(exponent * _INVERSE_LN2 + _HALF))
    r = (exponent - n * _LN2_HIGH) - n * _LN2_LOW
    series = (((_R4 * r + _R3) * r + _R2) * r + _R1) * r + _R0
    value = (r * r * series + r) + _ONE
    scratch.view(np.int32)[0] = (np.int32(n) + np.int32(WEIGHT_BITS + 127)) << _FRACTION_BITS
    return np.int64(value * scratch[0])


@part
def _philox_block(seed: Any, position: Any, stream: Any, first: Any, lanes: Any) -> None:
    """Philox4x32-10 at counters (first + i, position, 0, stream); lanes: uint32 [4, n], written."""
    key, second, fourth = np.uint64(seed), np.uint64(position) & _LOW, np.uint64(stream)
    for index in range(lanes.shape[1]):
        a, b, c, d = (np.uint64(first) + np.uint64(index)) & _LOW, second, np.uint64(0), fourth
        low, high = key & _LOW, key >> _HALF_WORD
        for _ in range(10):
            left, right = a * _ROUND_A, c * _ROUND_B
            a, b, c, d = (right >> _HALF_WORD) ^ b ^ low, right & _LOW, (left >> _HALF_WORD) ^ d ^ high, left & _LOW
            low, high = (low + _KEY_A) & _LOW, (high + _KEY_B) & _LOW
        lanes[0, index], lanes[1, index] = np.uint32(a), np.uint32(b)
        lanes[2, index], lanes[3, index] = np.uint32(c), np.uint32(d)


@part
def _least(lanes: Any) -> Any:
    """int64: the smallest of uint32 [4, n]."""
    least = np.uint32(0xFFFFFFFF)
    for lane in range(4):
        line = lanes[lane]
        for index in range(line.shape[0]):
            given = line[index]
            least = given if given < least else least
    return np.int64(least)


@part
def _interleave(lanes: Any, bits: Any) -> None:
    """The four words of each counter in a row: uint32 [4, n / 4] to uint32 [n]."""
    for group in range(lanes.shape[1]):
        bits[4 * group], bits[4 * group + 1] = lanes[0, group], lanes[1, group]
        bits[4 * group + 2], bits[4 * group + 3] = lanes[2, group], lanes[3, group]


@part
def _fold(bits: Any, out: Any) -> None:
    """v where that is near 0, and 1 - v elsewhere."""
    for index in range(bits.shape[0]):
        given = bits[index]
        folded = given if given < _NEAR_ZERO else ~given
        out[index] = (np.float32(folded) + _HALF) * _UNIT


@part
def _unfold(bits: Any, folded: Any, power: Any, fraction: Any) -> None:
    """Of 1 - v = 2**e * (1 + f), split from what is folded, also where v is near 0."""
    for index in range(bits.shape[0]):
        near = bits[index] < _NEAR_ZERO
        fraction[index] = -folded[index] if near else fraction[index]
        power[index] = _ZERO if near else power[index]


@part
def _split(values: Any, power: Any, fraction: Any) -> None:
    """e and f of values = 2**e * (1 + f), positive float32 that are neither infinite nor denormal."""
    given, kept = values.view(np.int32), fraction.view(np.int32)
    for index in range(values.shape[0]):
        exponent = (given[index] - _SQRT_HALF_BITS) >> _FRACTION_BITS
        power[index] = np.float32(exponent)
        kept[index] = given[index] - (exponent << _FRACTION_BITS)
    for index in range(values.shape[0]):
        fraction[index] = fraction[index] - _ONE


@part
def _negated_log(power: Any, fraction: Any, out: Any) -> None:
    """-log(2**power * (1 + fraction))."""
    for index in range(out.shape[0]):
        f = fraction[index]
        series = (((((((_Q8 * f + _Q7) * f + _Q6) * f + _Q5) * f + _Q4) * f + _Q3) * f + _Q2) * f + _Q1) * f + _Q0
        total = f * f * series + power[index] * _LN2_LOW
        out[index] = -((total + f) + power[index] * _LN2_HIGH)
