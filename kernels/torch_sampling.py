"""Masks, filters and draws in plain torch operations, on any device: the reference for the other back ends.

Arguments are as in kernels/sampling.py and kernels/masking.py, already checked.
"""

# Callees: be911d696148

from __future__ import annotations

from typing import TYPE_CHECKING

from maskwright.kernels.backends import NO_TOKEN
from maskwright.kernels.noise import MIN_TEMPERATURE
from maskwright.kernels.torch_noise import gumbel, integer_weights

if TYPE_CHECKING:
    import torch

__all__ = ["allowed", "apply", "cutoff", "sample", "scale_of"]


def allowed(table: torch.Tensor, rows: torch.Tensor | None, columns: int) -> torch.Tensor:
    """bool [B, columns]: what each row's mask allows; table int32 [R, W], rows int32 [B] or None for all in order."""
    import torch

    words = table if rows is None else table[rows.clamp(min=0).long()]  # [B, W]
    shifts = torch.arange(32, dtype=torch.int32, device=table.device)
    bits = (torch.bitwise_right_shift(words[:, :, None], shifts) & 1).flatten(1)[:, :columns].bool()
    bits = torch.nn.functional.pad(bits, (0, columns - bits.shape[1]), value=False)
    return bits if rows is None else bits | (rows < 0)[:, None]


def apply(logits: torch.Tensor, table: torch.Tensor, rows: torch.Tensor | None, indices: torch.Tensor | None) -> None:
    if indices is None:
        logits.masked_fill_(~allowed(table, rows, logits.shape[1]), float("-inf"))
        return
    chosen = indices.long()
    if rows is None:
        legal = allowed(table[chosen], None, logits.shape[1])
    else:
        legal = allowed(table, rows[chosen], logits.shape[1])
    logits[chosen] = logits[chosen].masked_fill(~legal, float("-inf"))


def scale_of(temperature: torch.Tensor) -> torch.Tensor:
    """float32 [B]: what logits are multiplied by; 1 for greedy rows."""
    import torch

    return torch.where(temperature >= MIN_TEMPERATURE, 1.0 / temperature, 1.0)


def sample(
    logits: torch.Tensor,
    table: torch.Tensor,
    rows: torch.Tensor | None,
    temperature: torch.Tensor,
    seed: torch.Tensor,
    position: torch.Tensor,
    cutoff: torch.Tensor | None,
    stream: int,
    with_mass: bool,
) -> tuple[torch.Tensor, ...]:
    """token int64, log-probability float32 and, where asked, log of the valid mass float32, [B] each."""
    import torch

    infinity = float("inf")
    values = logits.float()
    legal = allowed(table, rows, values.shape[1])
    wrong = (legal & ~(values < infinity)).any(1)  # NaN or infinite although allowed
    values = values.where(values < infinity, -infinity)
    if cutoff is not None:
        values = values.where(values >= cutoff[:, None], -infinity)
    scaled = values * scale_of(temperature)[:, None]
    masked = scaled.where(legal, -infinity)
    noise = gumbel(seed, position, values.shape[1], stream)
    scores = torch.where((temperature >= MIN_TEMPERATURE)[:, None], masked + noise, masked)
    best, token = scores.max(1)
    drawn = ~wrong & (best > -infinity)
    precise = torch.float32 if logits.device.type == "mps" else torch.float64  # which has no float64
    ours = masked.to(precise).logsumexp(1)
    logprob = masked.gather(1, token[:, None])[:, 0] - ours
    found = token.where(drawn, NO_TOKEN), logprob.float().where(drawn, -infinity)
    if not with_mass:
        return found
    valid = (ours - scaled.to(precise).logsumexp(1)).clamp(max=0)
    return *found, valid.float().where(drawn, -infinity)


def cutoff(
    logits: torch.Tensor,
    table: torch.Tensor,
    rows: torch.Tensor | None,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    log_min_p: torch.Tensor,
) -> torch.Tensor:
    """float32 [B]: the lowest logit that is kept, -inf where all are."""
    import torch

    infinity = float("inf")
    columns = logits.shape[1]
    values = logits.float()
    values = values.where(allowed(table, rows, columns) & (values < infinity), -infinity)
    ordered = values.sort(1, descending=True).values
    best, lowest = ordered[:, :1], torch.full_like(ordered[:, 0], -infinity)

    counted = (top_k > 0) & (top_k < columns)
    last = ordered.gather(1, (top_k.clamp(1, columns) - 1)[:, None].long())[:, 0]
    kept = torch.where(counted, last, lowest)

    below_best = (ordered - best) * scale_of(temperature)[:, None]
    weights = integer_weights(below_best) * (ordered >= kept[:, None])
    reached = weights.cumsum(1)
    host = "cpu" if logits.device.type == "mps" else logits.device  # which has no float64
    wanted = (reached[:, -1].to(host).double() * top_p.to(host).double()).long().clamp(min=1).to(logits.device)
    place = torch.searchsorted(reached, wanted[:, None]).clamp(max=columns - 1)  # the first where the mass is reached
    kept = torch.where(top_p < 1, torch.maximum(kept, ordered.gather(1, place)[:, 0]), kept)

    likely = ordered.where(below_best >= log_min_p[:, None], infinity).amin(1)
    return torch.where(best[:, 0] > -infinity, torch.maximum(kept, likely.where(log_min_p > -infinity, lowest)), lowest)
