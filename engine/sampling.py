"""Drawing tokens: what the options of sampling mean, and one draw for each row of a batch.

The filters come in the order that transformers applies them in: temperature, top-k, top-p, min-p. A draw inverts the
cumulative distribution at a number that the row's own generator gives, so that an answer depends on its seed and its
logits, never on what else is in the batch.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from maskwright.kernels.bitmask import apply_token_bitmask_inplace, check_shapes
from maskwright.kernels.logits import likeliest, log_sum_exp

if TYPE_CHECKING:
    import torch

__all__ = ["Sampling", "choose", "draw", "generator_of", "log_probabilities"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 takes the likeliest token; otherwise logits are divided by it.
        top_k: only this many likeliest tokens are drawn from; 0 or None: all.
        top_p: only the likeliest tokens that together have this probability.
        min_p: only tokens at least this many times as likely as the likeliest.

    Raises:
        ValueError: an option is out of range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature}: choose 0 (greedy) or more")
        if self.top_k is not None and operator.index(self.top_k) < 0:
            raise ValueError(f"top_k={self.top_k}: choose at least 1, or 0 or None for every token")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}: choose more than 0 and at most 1")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p={self.min_p}: choose 0 to 1")


def generator_of(entropy: int, prompt: int, sample: int) -> np.random.Generator:
    """The generator of one row: independent of every other row's, and of how many rows there are."""
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(prompt, sample)))


def draw(
    logits: torch.Tensor, bitmask: npt.NDArray[np.int32], sampling: Sampling, generators: Sequence[np.random.Generator]
) -> tuple[list[int], list[float]]:
    """A token for each row, and its log-probability among the allowed ones.

    Args:
        logits: float32 [B, V]; afterwards those of disallowed tokens may be -inf, or what they were.
        bitmask: int32 [B, W], as in apply_token_bitmask_inplace.
        sampling: how to draw.
        generators: B of them, asked for one number each, if any.

    Returns:
        B tokens, -1 where no allowed logit is finite, and B log-probabilities.
    """
    if sampling.temperature == 0 and _in_cpu_memory(logits):
        rows = logits.numpy()
        tokens, logprobs = np.empty(len(rows), np.int64), np.empty(len(rows))
        check_shapes(rows.shape, bitmask.shape)
        likeliest(rows, bitmask, tokens, logprobs)
        return tokens.tolist(), logprobs.tolist()
    apply_token_bitmask_inplace(logits, bitmask)
    drawn = choose(logits, sampling, np.array([generator.random() for generator in generators]))
    return drawn.tolist(), log_probabilities(logits, drawn.clamp(min=0)).tolist()


def log_probabilities(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """float32 [B]: natural logarithm of each row's probability of its token; logits [B, V], tokens int64 [B]."""
    import torch

    chosen = logits.gather(1, tokens[:, None])[:, 0]
    if not _in_cpu_memory(logits):
        return chosen - logits.logsumexp(1)
    rows = logits.numpy()
    normalisers = np.empty(len(rows))
    log_sum_exp(rows, rows.max(1), normalisers)
    return chosen - torch.from_numpy(normalisers.astype(np.float32))


def choose(logits: torch.Tensor, sampling: Sampling, uniforms: npt.NDArray[np.float64]) -> torch.Tensor:
    """A token for each row.

    Args:
        logits: float32 [B, V], disallowed tokens at -inf.
        sampling: how to draw.
        uniforms: float64 [B], in [0, 1): the random numbers; not looked at when greedy.

    Returns:
        int64 [B]; -1 where a row has no finite largest logit, so that nothing can be drawn.
    """
    import torch

    # numpy's is ten times as fast.
    likeliest = torch.from_numpy(logits.numpy().argmax(1)) if _in_cpu_memory(logits) else logits.argmax(1)
    best = logits.gather(1, likeliest[:, None])  # [B, 1]
    if sampling.temperature == 0:
        tokens = likeliest
    else:
        # Less the maximum first, so that a small temperature cannot overflow.
        weights = _filtered(torch.exp((logits - best) / sampling.temperature), sampling)
        weights = weights.cpu() if weights.device.type == "mps" else weights  # which has no float64
        cumulative = weights.double().cumsum(1)
        # The first token whose cumulative weight is above the target: never one of weight zero.
        targets = torch.from_numpy(uniforms).to(cumulative.device)[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, targets, right=True)[:, 0].to(logits.device)
    return torch.where(best[:, 0].isfinite(), tokens, -1)


def _in_cpu_memory(logits: torch.Tensor) -> bool:
    """Whether they are an array of float32 for numpy, too."""
    import torch

    return logits.device.type == "cpu" and logits.dtype == torch.float32 and not logits.requires_grad


def _filtered(weights: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """weights [B, V], 1 for the likeliest token of each row, with those that are not to be drawn at 0."""
    if sampling.top_k and sampling.top_k < weights.shape[1]:
        least = weights.topk(sampling.top_k).values[:, -1:]
        weights = weights.where(weights >= least, 0)
    if sampling.top_p < 1:
        ordered, order = weights.sort(1, descending=True)
        likelier = ordered.cumsum(1) - ordered  # how much weight the tokens before this one have
        dropped = likelier >= sampling.top_p * ordered.sum(1, keepdim=True)
        weights = weights.masked_fill(dropped.scatter(1, order, dropped), 0)
    if sampling.min_p > 0:
        weights = weights.where(weights >= sampling.min_p, 0)
    return weights
