"""The random numbers of kernels/noise.py for numba: one token, one node or one weight a call."""

# Callees: 15643a694cee

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

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

__all__ = ["MOST_NOISE", "coin", "gumbel_of", "integer_weight", "philox"]

MOST_NOISE = np.float32(22.88)
"""No Gumbel noise is larger."""

_LOW = np.uint64(0xFFFFFFFF)
_HALF_WORD = np.uint64(32)
_ROUND_A, _ROUND_B = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_A, _KEY_B = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOG_TERMS = np.array(LOG_TERMS, np.float32)
_EXP_TERMS = np.array(EXP_TERMS, np.float32)
_LN2_HIGH, _LN2_LOW, _INVERSE_LN2 = np.float32(LN2_HIGH), np.float32(LN2_LOW), np.float32(INVERSE_LN2)
_ONE, _HALF = np.float32(1), np.float32(0.5)
_UNIT, _COIN_UNIT = np.float32(2.0**-32), np.float32(2.0**-24)


@njit(cache=True, nogil=True)
def philox(seed: Any, first: Any, second: Any, fourth: Any) -> Any:
    """Philox4x32-10 at counter (first, second, 0, fourth): four uint64 of 32 bits each."""
    key = np.uint64(seed)
    low, high = key & _LOW, key >> _HALF_WORD
    a, b, c, d = np.uint64(first) & _LOW, np.uint64(second) & _LOW, np.uint64(0), np.uint64(fourth)
    for _ in range(10):
        left, right = a * _ROUND_A, c * _ROUND_B
        a, b, c, d = (right >> _HALF_WORD) ^ b ^ low, right & _LOW, (left >> _HALF_WORD) ^ d ^ high, left & _LOW
        low, high = (low + _KEY_A) & _LOW, (high + _KEY_B) & _LOW
    return a, b, c, d


@njit(cache=True, nogil=True)
def coin(seed: Any, position: Any, node: Any) -> Any:
    """float32 in [0, 1): the coin of a node of a draft tree."""
    return np.float32(philox(seed, node, position, COIN_STREAM)[0] >> np.uint64(8)) * _COIN_UNIT


@njit(cache=True, nogil=True)
def gumbel_of(bits: Any, scratch: Any) -> Any:
    """float32: the Gumbel noise of uint64 `bits` of 32 bits. scratch: float32 [1], for looking at bits."""
    if bits < NEAR_ZERO:
        fraction = -((np.float32(bits) + _HALF) * _UNIT)
        exponential = -_log_of(np.float32(0), fraction)
    else:
        exponential = -_log((np.float32(_LOW - bits) + _HALF) * _UNIT, scratch)
    return -_log(exponential, scratch)


@njit(cache=True, nogil=True)
def integer_weight(exponent: Any, scratch: Any) -> Any:
    """int64: exp(exponent) in units of 2**-WEIGHT_BITS, exponent float32 at most 0 (or NaN or -inf, which weigh 0)."""
    if not exponent > np.float32(-28):
        return np.int64(0)
    n = np.float32(math.floor(exponent * _INVERSE_LN2 + _HALF))
    r = (exponent - n * _LN2_HIGH) - n * _LN2_LOW
    series = _EXP_TERMS[4]
    for term in range(3, -1, -1):
        series = series * r + _EXP_TERMS[term]
    value = (r * r * series + r) + _ONE
    scratch.view(np.int32)[0] = (np.int32(n) + np.int32(WEIGHT_BITS + 127)) << np.int32(23)
    return np.int64(value * scratch[0])


@njit(cache=True, nogil=True)
def _log(x: Any, scratch: Any) -> Any:
    """The logarithm of a positive float32, neither infinite nor denormal."""
    view = scratch.view(np.int32)
    scratch[0] = x
    bits = view[0]
    power = (bits - np.int32(SQRT_HALF_BITS)) >> np.int32(23)
    view[0] = bits - (power << np.int32(23))
    return _log_of(np.float32(power), scratch[0] - _ONE)


@njit(cache=True, nogil=True)
def _log_of(power: Any, fraction: Any) -> Any:
    """The logarithm of 2**power * (1 + fraction)."""
    series = _LOG_TERMS[8]
    for term in range(7, -1, -1):
        series = series * fraction + _LOG_TERMS[term]
    total = fraction * fraction * series + power * _LN2_LOW
    return (total + fraction) + power * _LN2_HIGH
