"""Drawing tokens: what the options of sampling mean, and one draw for each row of a batch.

The filters come in the order that transformers applies them in: temperature, top-k, top-p, min-p. All of it happens where the
logits are (kernels/sampling.py). Random numbers are a function of a row's own seed and the token's position in its answer,
so that an answer depends on its seed and its logits, never on what else is in the batch, nor on the back end.

A token that is put back leaves the others their noise: the likeliest of the rest is then a draw from the rest.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from maskwright.kernels.backends import Backend
from maskwright.kernels.bitmask import check_shapes
from maskwright.kernels.device_masks import sent
from maskwright.kernels.logits import likeliest
from maskwright.kernels.masking import apply_mask
from maskwright.kernels.noise import MIN_TEMPERATURE
from maskwright.kernels.sampling import Draws, filter_cutoffs, sample_tokens
from maskwright.step_masks import StepMasks

if TYPE_CHECKING:
    import torch

__all__ = ["Drawn", "Sampler", "Sampling", "seed_of"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 takes the likeliest token (below 1e-5 as well); otherwise logits are divided by it.
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

    @property
    def greedy(self) -> bool:
        return self.temperature < MIN_TEMPERATURE

    @property
    def filters(self) -> bool:
        """Whether some allowed tokens are not drawn from."""
        return not self.greedy and bool(self.top_k or self.top_p < 1 or self.min_p > 0)


def seed_of(entropy: int, prompt: int, sample: int) -> int:
    """The seed of one answer, an int64: independent of every other's, and of how many there are."""
    sequence = np.random.SeedSequence(entropy, spawn_key=(prompt, sample))
    return int(sequence.generate_state(1, np.uint64).view(np.int64)[0])


class Drawn(NamedTuple):
    """One draw for each of B rows.

    Attributes:
        tokens: -1 where no allowed logit is finite.
        logprobs: the logarithm of the probability that each was drawn with: among the allowed tokens that the filters kept,
            at the temperature (1 where that is greedy).
        log_valid_masses: the logarithm of the probability that the allowed tokens have together before masking, at the same
            temperature; None where nobody asked.
    """

    tokens: list[int]
    logprobs: list[float]
    log_valid_masses: list[float] | None


class Sampler:
    """Draws by one set of options.

    Args:
        sampling: how.
        backend: of the kernels; None chooses by the logits' device.
        with_mass: whether draws tell the valid mass.
    """

    def __init__(self, sampling: Sampling, *, backend: Backend | None = None, with_mass: bool = False) -> None:
        self._sampling, self._backend, self._with_mass = sampling, backend, with_mass
        self._draws: Draws | None = None  # of the call before

    def draw(self, logits: torch.Tensor, masks: StepMasks, seeds: Sequence[int], positions: Sequence[int]) -> Drawn:
        """A token for each row.

        Args:
            logits: float32, bfloat16 or float16 [B, V].
            masks: of the B rows.
            seeds: of each row, int64.
            positions: where in its answer each token will stand.
        """
        sampling = self._sampling
        if sampling.greedy and not self._with_mass and masks.rows is None and self._is_for_numpy(logits):
            return _likeliest(logits, masks.table)
        keys = sent(np.array([seeds, positions], np.int64), logits.device)  # [2, B]
        cutoff = self._cutoff(logits, masks) if sampling.filters else None
        draws = self._draws = sample_tokens(
            logits,
            masks.table,
            rows=masks.rows,
            temperature=sampling.temperature,
            seed=keys[0],
            position=keys[1],
            cutoff=cutoff,
            with_mass=self._with_mass,
            out=self._memory(logits),
            backend=self._backend,
            raise_empty=False,
        )
        masses = draws.log_valid_mass.tolist() if self._with_mass else None
        return Drawn(draws.token.tolist(), draws.logprob.tolist(), masses)

    def law(self, logits: torch.Tensor, masks: StepMasks) -> npt.NDArray[np.float64]:
        """float64 [V]: the distribution that a token is drawn from; logits [1, V] and the mask of that row; not for greedy."""
        sampling = self._sampling
        allowed = logits.clone()
        apply_mask(allowed, masks.table, rows=masks.rows, backend=self._backend)
        allowed = allowed[0].double()
        if sampling.filters:
            allowed = allowed.masked_fill(allowed < self._cutoff(logits, masks).double(), float("-inf"))
        weights = ((allowed - allowed.max()) / sampling.temperature).exp()
        law: npt.NDArray[np.float64] = (weights / weights.sum()).cpu().numpy()
        return law

    def _cutoff(self, logits: torch.Tensor, masks: StepMasks) -> torch.Tensor:
        """The lowest logit that the filters keep, float32 [B]."""
        sampling = self._sampling
        return filter_cutoffs(
            logits,
            masks.table,
            rows=masks.rows,
            temperature=sampling.temperature,
            top_k=sampling.top_k or 0,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            backend=self._backend,
        )

    def _is_for_numpy(self, logits: torch.Tensor) -> bool:
        import torch

        in_memory = logits.device.type == "cpu" and logits.dtype == torch.float32 and not logits.requires_grad
        return in_memory and self._backend in (None, "numba")

    def _memory(self, logits: torch.Tensor) -> Draws | None:
        """That of the draws before, if it fits."""
        draws = self._draws
        if draws is None or (len(draws.token), draws.columns) != logits.shape or draws.token.device != logits.device:
            return None
        return draws


def _likeliest(logits: torch.Tensor, bitmask: torch.Tensor) -> Drawn:
    """Greedy draws in CPU memory, with the fewest steps before the loop."""
    rows, masks = logits.numpy(), bitmask.numpy()
    tokens, logprobs = np.empty(len(rows), np.int64), np.empty(len(rows))
    check_shapes(rows.shape, masks.shape)
    likeliest(rows, masks, tokens, logprobs)
    return Drawn(tokens.tolist(), logprobs.tolist(), None)
