"""The likeliest tokens that a mask allows, and their probabilities, in CPU memory: what greedy decoding asks at every step.

The loops work on 32 columns at a time, a word of the mask, with an accumulator for each column, so that the compiler makes
vector code of them: neither a largest value nor a sum in one variable would become that without changing the result.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from maskwright.kernels.jit import nogil_kernel, part
from maskwright.kernels.memory import float_of_bits

# Callees: 4db236857e6a

__all__ = ["likeliest", "likeliest_few"]

_DISALLOWED = np.float32(-np.inf)
_NOTHING, _ONE = np.float32(0), np.float32(1)

# exp(x) = 2**n * exp(r) with |r| <= ln(2) / 2, r = x - n ln(2), the logarithm in two parts so that n times the first is
# exact, and exp(r) the Taylor polynomial of degree 7, whose error (2e-8) is below float32's.
_LOWEST = np.float32(-87)  # whose exponential is the least that is still normal
_PER_LN2 = np.float32(1 / math.log(2))
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_TO_WHOLE = np.float32(3 << 22)  # adding it leaves no bits for the fraction
_T2, _T3, _T4, _T5, _T6, _T7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))


@part
def _exp(x: Any) -> Any:
    """float32, for x <= 0 (NaN for NaN), with a relative error of 1e-7; below -87 the value there."""
    x = _LOWEST if x < _LOWEST else x
    n = (x * _PER_LN2 + _TO_WHOLE) - _TO_WHOLE
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    tail = ((((_T7 * r + _T6) * r + _T5) * r + _T4) * r + _T3) * r + _T2
    return (tail * r * r + r + _ONE) * float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))


@part
def _largest(line: Any, words: Any) -> Any:
    """The largest allowed value of float32 [V], and the first place that has it; -inf where there is none."""
    best, where = np.full(32, _DISALLOWED, np.float32), np.zeros(32, np.int32)
    whole = min(len(words), len(line) // 32)  # words with 32 columns each
    for word in range(whole):
        bits = words[word]
        if bits == 0:
            continue
        block = line[32 * word : 32 * word + 32]
        for k in range(32):
            value = block[k] if (bits >> np.int32(k)) & np.int32(1) else _DISALLOWED
            better = value > best[k]
            best[k] = value if better else best[k]
            where[k] = np.int32(word) if better else where[k]
    top, place = _DISALLOWED, len(line)
    for k in range(32):
        column = 32 * where[k] + k
        if best[k] > top or (best[k] == top and column < place):
            top, place = best[k], column
    for word in range(whole, len(words)):
        for column in range(32 * word, len(line)):
            if (words[word] >> (column - 32 * word)) & 1 and line[column] > top:
                top, place = line[column], column
    return top, place


@part
def _mass(line: Any, words: Any, top: Any) -> Any:
    """The sum over allowed columns of exp(value - top)."""
    part, total = np.zeros(32, np.float32), np.zeros(32, np.float64)
    whole = min(len(words), len(line) // 32)
    for first in range(0, whole, 64):  # few enough terms to add up in float32
        for word in range(first, min(first + 64, whole)):
            bits = words[word]
            if bits == 0:
                continue
            block = line[32 * word : 32 * word + 32]
            for k in range(32):
                value = _exp(block[k] - top)
                part[k] += value if (bits >> np.int32(k)) & np.int32(1) else _NOTHING
        for k in range(32):
            total[k] += np.float64(part[k])
            part[k] = _NOTHING
    mass = total.sum()
    for word in range(whole, len(words)):
        for column in range(32 * word, len(line)):
            if (words[word] >> (column - 32 * word)) & 1:
                mass += _exp(line[column] - top)
    return mass


@nogil_kernel
def likeliest(logits: Any, bitmask: Any, tokens: Any, logprobs: Any) -> None:
    """For each row the likeliest allowed token, the first of equally likely ones, and its log-probability among them.

    Args:
        logits: float32 [B, V]; what is disallowed is not looked at.
        bitmask: int32 [B, W <= ceil(V / 32)]; columns beyond it are disallowed.
        tokens: int64 [B], written; -1 where the largest logit is not finite, or one of them is not a number.
        logprobs: float64 [B], written.
    """
    for row in range(logits.shape[0]):
        top, token = _largest(logits[row], bitmask[row])
        mass = _mass(logits[row], bitmask[row], top) if math.isfinite(top) else math.nan
        found = math.isfinite(mass)
        tokens[row] = token if found else -1
        logprobs[row] = -math.log(mass) if found else -math.inf


@nogil_kernel
def likeliest_few(logits: Any, bitmask: Any, tokens: Any, shares: Any) -> None:
    """For each row the K likeliest allowed tokens, in descending order, the first of equally likely ones first.

    Args:
        logits: float32 [B, V]; what is disallowed is not looked at.
        bitmask: int32 [B, W <= ceil(V / 32)]; columns beyond it are disallowed.
        tokens: int32 [B, K], written; -1 where there are fewer.
        shares: float32 [B, K], written: their probabilities among the allowed tokens; 0 where there are fewer, and in rows
            whose largest logit is not finite.
    """
    few = tokens.shape[1]
    for row in range(logits.shape[0]):
        line, words, best, share = logits[row], bitmask[row], tokens[row], shares[row]
        best[:], share[:] = -1, _DISALLOWED
        for word in range(len(words)):
            if words[word] == 0:
                continue
            for column in range(32 * word, min(32 * word + 32, len(line))):
                value = line[column]
                if not value > share[few - 1] or not (words[word] >> (column - 32 * word)) & 1:
                    continue
                place = few - 1
                while place and value > share[place - 1]:
                    best[place], share[place] = best[place - 1], share[place - 1]
                    place -= 1
                best[place], share[place] = column, value
        top = share[0]
        mass = _mass(line, words, top) if math.isfinite(top) else math.nan
        for place in range(few):
            known = best[place] >= 0 and math.isfinite(mass)
            share[place] = _exp(share[place] - top) / np.float32(mass) if known else _NOTHING
