"""The random numbers of kernels/noise.py in torch operations, on any device."""

# Callees: 15643a694cee

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    import torch

__all__ = ["coins", "gumbel", "integer_weights", "philox"]

_LOW = 0xFFFFFFFF


def philox(seed: torch.Tensor, counter: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Philox4x32-10: seed int64, counter four int64 tensors of 32-bit values; four more come out. All broadcast."""
    a, b, c, d = counter
    low, high = seed & _LOW, (seed >> 32) & _LOW
    for _ in range(10):
        # The products wrap around in int64; their bits are those of the unsigned product.
        left, right = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = ((right >> 32) & _LOW) ^ b ^ low, right & _LOW, ((left >> 32) & _LOW) ^ d ^ high, left & _LOW
        low, high = (low + 0x9E3779B9) & _LOW, (high + 0xBB67AE85) & _LOW
    return a, b, c, d


def gumbel(seed: torch.Tensor, position: torch.Tensor, columns: int, stream: int) -> torch.Tensor:
    """float32 [B, columns]: the noise of each token; seed and position int64 [B]."""
    import torch

    group = torch.arange(-(-columns // 4), device=seed.device)[None]  # [1, columns / 4]
    zero = torch.zeros_like(group)
    bits = philox(seed[:, None], (group, position[:, None] & _LOW, zero, zero + stream))
    return -_log(_exponential(torch.stack(torch.broadcast_tensors(*bits), 2).flatten(1)[:, :columns]))


def coins(seed: torch.Tensor, position: torch.Tensor, node: torch.Tensor) -> torch.Tensor:
    """float32 in [0, 1): the coin of a node; all int64 and of one shape."""
    zero = node * 0
    bits = philox(seed, (node, position & _LOW, zero, zero + COIN_STREAM))[0]
    return (bits >> 8).float() * 2.0**-24


def integer_weights(exponent: torch.Tensor) -> torch.Tensor:
    """int64: exp(exponent) in units of 2**-WEIGHT_BITS, exponent float32 at most 0 (or NaN or -inf, which weigh 0)."""
    import torch

    counted = exponent > -28.0  # below, less than one unit
    y = exponent.where(counted, 0)
    n = (y * INVERSE_LN2 + 0.5).floor()
    r = (y - n * LN2_HIGH) - n * LN2_LOW
    series = _horner(r, EXP_TERMS)
    value = (r * r * series + r) + 1.0
    scale = ((n.int() + (WEIGHT_BITS + 127)) << 23).view(torch.float32)
    return (value * scale).long() * counted


def _exponential(bits: torch.Tensor) -> torch.Tensor:
    """int64 values of 32 bits to -log(1 - v), float32."""
    import torch

    near = bits < NEAR_ZERO
    uniform = (bits.where(near, _LOW - bits).float() + 0.5) * 2.0**-32
    power, fraction = _split(uniform)
    power, fraction = torch.where(near, 0.0, power), torch.where(near, -uniform, fraction)
    return -_log_of(power, fraction)


def _log(x: torch.Tensor) -> torch.Tensor:
    """The logarithm of positive float32, neither infinite nor denormal."""
    return _log_of(*_split(x))


def _split(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """e and f, float32, of x = 2**e * (1 + f)."""
    import torch

    bits = x.view(torch.int32)
    power = (bits - SQRT_HALF_BITS) >> 23
    return power.float(), (bits - (power << 23)).view(torch.float32) - 1.0


def _log_of(power: torch.Tensor, fraction: torch.Tensor) -> torch.Tensor:
    square = fraction * fraction
    total = square * _horner(fraction, LOG_TERMS) + power * LN2_LOW
    return (total + fraction) + power * LN2_HIGH


def _horner(x: torch.Tensor, terms: tuple[float, ...]) -> torch.Tensor:
    value = x * 0 + terms[-1]
    for term in terms[-2::-1]:
        value = value * x + term
    return value
