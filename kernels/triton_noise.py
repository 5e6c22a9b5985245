"""The random numbers of kernels/noise.py for Triton kernels: for a tile of tokens at once.

Launch whatever calls these with `enable_fp_fusion=False`, or multiply-adds are fused and round otherwise.
"""

# Callees: 15643a694cee

from __future__ import annotations

import triton
import triton.language as tl

from maskwright.kernels import noise

__all__ = ["MIN_TEMPERATURE", "coin", "gumbel", "integer_weights"]

MIN_TEMPERATURE = tl.constexpr(noise.MIN_TEMPERATURE)

_COIN_STREAM = tl.constexpr(noise.COIN_STREAM)
_NEAR_ZERO = tl.constexpr(noise.NEAR_ZERO)
_SQRT_HALF_BITS = tl.constexpr(noise.SQRT_HALF_BITS)
_LN2_HIGH = tl.constexpr(noise.LN2_HIGH)
_LN2_LOW = tl.constexpr(noise.LN2_LOW)
_INVERSE_LN2 = tl.constexpr(noise.INVERSE_LN2)
_EXPONENT_BIAS = tl.constexpr(noise.WEIGHT_BITS + 127)
_LOG_TERMS = tl.constexpr(noise.LOG_TERMS)
_EXP_TERMS = tl.constexpr(noise.EXP_TERMS)
_UNIT = tl.constexpr(2.0**-32)
_COIN_UNIT = tl.constexpr(2.0**-24)


@triton.jit
def gumbel(seed, position, first_token, stream: tl.constexpr, WORDS: tl.constexpr):
    """float32 [WORDS, 32]: the noise of the tokens from `first_token` on, a multiple of 32."""
    group = first_token // 4 + tl.arange(0, WORDS)[:, None] * 8 + tl.arange(0, 8)[None, :]  # [WORDS, 8]
    zero = group * 0
    a, b, c, d = tl.philox(seed, group, zero + position.to(tl.int32), zero, zero + stream)
    bits = tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), [WORDS, 32])
    return -_log(_exponential(bits))


@triton.jit
def coin(seed, position, node):
    """float32 in [0, 1): the coin of a node of a draft tree."""
    bits, _, _, _ = tl.philox(seed, node.to(tl.int32), position.to(tl.int32), node.to(tl.int32) * 0, _COIN_STREAM)
    return (bits >> 8).to(tl.float32) * _COIN_UNIT


@triton.jit
def integer_weights(exponent):
    """int64: exp(exponent) in units of 2**-WEIGHT_BITS, exponent float32 at most 0 (or NaN or -inf, which weigh 0)."""
    counted = exponent > -28.0
    y = tl.where(counted, exponent, 0.0)
    n = tl.floor(y * _INVERSE_LN2 + 0.5)
    r = (y - n * _LN2_HIGH) - n * _LN2_LOW
    value = (r * r * _horner(r, _EXP_TERMS, 4) + r) + 1.0
    scale = ((n.to(tl.int32) + _EXPONENT_BIAS) << 23).to(tl.float32, bitcast=True)
    return tl.where(counted, (value * scale).to(tl.int64), 0)


@triton.jit
def _exponential(bits):
    near = bits < _NEAR_ZERO
    uniform = (tl.where(near, bits, ~bits).to(tl.float32) + 0.5) * _UNIT
    power, fraction = _split(uniform)
    return -_log_of(tl.where(near, 0.0, power), tl.where(near, -uniform, fraction))


@triton.jit
def _log(x):
    power, fraction = _split(x)
    return _log_of(power, fraction)


@triton.jit
def _split(x):
    bits = x.to(tl.int32, bitcast=True)
    power = (bits - _SQRT_HALF_BITS) >> 23
    return power.to(tl.float32), (bits - (power << 23)).to(tl.float32, bitcast=True) - 1.0


@triton.jit
def _log_of(power, fraction):
    total = fraction * fraction * _horner(fraction, _LOG_TERMS, 8) + power * _LN2_LOW
    return (total + fraction) + power * _LN2_HIGH


@triton.jit
def _horner(x, terms: tl.constexpr, degree: tl.constexpr):
    value = tl.zeros_like(x) + terms[degree]
    for back in tl.static_range(1, degree + 1):
        value = value * x + terms[degree - back]
    return value
