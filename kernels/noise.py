"""Random numbers that any device makes alike: counters in, bits out, and logarithms of exact operations only.

    bits = Philox4x32-10(key = seed, counter = (token // 4, position, 0, stream))[token % 4]        uint32
    v    = (bits + 1/2) / 2**32                                  uniform in (0, 1)
    E    = -log(1 - v)                                           exponential
    g    = -log(E)                                               Gumbel, between -3.14 and 22.88

The likeliest of `logit / temperature + g` over the allowed tokens is a draw from their softmax (the Gumbel-max trick). A
number depends on seed, position and token, never on the batch, the block size or the order of summation.

Both logarithms are made of additions and multiplications in float32, in one written order, so that they are the same to
the last bit on every device (IEEE 754 rounds each operation in one way only; fused multiply-adds, which round once for two,
are switched off where a compiler would make them). Hence numba, torch and Triton draw the same token.

    log(x), x = 2**e * (1 + f), sqrt(1/2) <= 1 + f < sqrt(2):    f**2 * Q(f) + e * LN2_LOW + f + e * LN2_HIGH
    exp(y), y = n * log(2) + r, -1/2 <= n - y / log(2) < 1/2:      2**n * (1 + (r + r**2 * R(r)))

Q and R are polynomials fitted here (largest relative errors 9e-8 and 8e-8). Near v = 0, where the winners are, 1 - v is not
rounded: f is -v itself. What is drawn differs from the exact softmax by less than V / 2**32 in total variation.

Streams keep uses apart, so that no number is used twice.

Source: Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
"""

from __future__ import annotations

__all__ = [
    "COIN_STREAM",
    "EXP_TERMS",
    "INVERSE_LN2",
    "LN2_HIGH",
    "LN2_LOW",
    "LOG_TERMS",
    "MIN_TEMPERATURE",
    "NEAR_ZERO",
    "RESIDUAL_STREAM",
    "SQRT_HALF_BITS",
    "TOKEN_STREAM",
    "WEIGHT_BITS",
]

TOKEN_STREAM = 0
"""Noise of tokens that are drawn from the target."""
COIN_STREAM = 1
"""Coins of verification: one for each node of a draft tree, at counter (node, position, 0, stream)."""
RESIDUAL_STREAM = 2
"""Noise of tokens that are drawn behind a rejected draft, or behind an accepted leaf."""

LOG_TERMS = (
    -0.4999999701976776,
    0.33333322405815125,
    -0.2500077486038208,
    0.20001983642578125,
    -0.1662749946117401,
    0.14188557863235474,
    -0.1310226172208786,
    0.1282540261745453,
    -0.0786953791975975,
)
"""Q, from the constant term up; float32."""
EXP_TERMS = (0.5, 0.16666576266288757, 0.041666463017463684, 0.008363197557628155, 0.0013933676527813077)
"""R, from the constant term up; float32."""
LN2_HIGH, LN2_LOW = 0.693115234375, 3.194618329871446e-05
"""Their sum is log(2); the first has few bits, so that its product with a small integer is exact."""
INVERSE_LN2 = 1.4426950216293335

SQRT_HALF_BITS = 0x3F3504F3
"""The bits of float32 sqrt(1/2)."""
NEAR_ZERO = 0x4B000000
"""Bits below it: v < 0.293 and log(1 - v) is taken at f = -v; above, at 1 - v = (~bits + 1/2) / 2**32."""

WEIGHT_BITS = 40
"""exp(y) as an integer: in units of 2**-40, so that sums of 2**22 of them are exact in any order."""
MIN_TEMPERATURE = 1e-5
"""Colder is greedy: the likeliest allowed token, of equally likely ones the first."""
