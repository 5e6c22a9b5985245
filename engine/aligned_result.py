"""What AlignedSampler gives back: texts, their probabilities, and how far they can be trusted."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from maskwright.runtime.conditional import Statistics
from maskwright.runtime.resampling import systematic
from maskwright.runtime.samples import Samples, effective_sample_size

__all__ = ["AlignedResult"]


@dataclass(frozen=True)
class AlignedResult:
    """N texts drawn from the model conditioned on a grammar, or weighted so that they stand for it.

    P is the model behind the prompt (temperature and filters applied), Z what it gives to the grammar's texts together, q
    the distribution that texts were drawn from. Probabilities are of token sequences, the end included.

    Attributes:
        method: how they were drawn.
        reason: why it was chosen, where method="auto" did.
        exact: whether each text is an independent draw from P( . | grammar). Otherwise use the weights.
        texts: the answers.
        token_ids: their tokens, without an end-of-sequence token.
        logprob: float64 [N], log P.
        token_logprobs: for each text the logarithm of P of each of its tokens after those before; the end is not among them.
        proposal_logprob: float64 [N], log q; of an exact method that of being proposed; NaN for "smc" and "mcmc".
        log_weight: float64 [N], log (P / q), whose mean is Z; all equal where the texts stand for themselves.
        log_z: the estimate of log Z; the estimate of Z itself is unbiased.
        log_z_se: its standard error.
        log_z_bounds: what log Z certainly lies between, from all that the sampler has seen of this prompt.
        kl_bound: no less than the mean KL(P( . | grammar) || q) of these draws, unweighted, in nats; certified.
        tv_bound: the same for the total variation distance.
        acceptance_rate: of the proposals of a method that refuses some; otherwise 1.
        stats: what it has cost.
    """

    method: str
    reason: str
    exact: bool
    texts: list[str] = field(repr=False)
    token_ids: list[tuple[int, ...]] = field(repr=False)
    logprob: npt.NDArray[np.float64] = field(repr=False)
    token_logprobs: list[tuple[float, ...]] = field(repr=False)
    proposal_logprob: npt.NDArray[np.float64] = field(repr=False)
    log_weight: npt.NDArray[np.float64] = field(repr=False)
    log_z: float
    log_z_se: float
    log_z_bounds: tuple[float, float]
    kl_bound: float
    tv_bound: float
    acceptance_rate: float
    stats: Statistics
    history: list[tuple[int, float, float]] = field(repr=False, default_factory=list)
    """Forward tokens, and the bounds of log Z, after each batch."""

    @classmethod
    def of(
        cls,
        samples: Samples,
        texts: list[str],
        token_logprobs: list[tuple[float, ...]],
        bounds: tuple[float, float],
        stats: Statistics,
        history: list[tuple[int, float, float]],
    ) -> AlignedResult:
        return cls(
            method=samples.method,
            reason=samples.reason,
            exact=samples.exact,
            texts=texts,
            token_ids=samples.tokens,
            logprob=samples.log_p,
            token_logprobs=token_logprobs,
            proposal_logprob=samples.log_q,
            log_weight=samples.log_weight,
            log_z=samples.log_z,
            log_z_se=samples.log_z_se,
            log_z_bounds=bounds,
            kl_bound=samples.kl_bound,
            tv_bound=samples.tv_bound,
            acceptance_rate=samples.acceptance_rate,
            stats=stats,
            history=history,
        )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def ess(self) -> float:
        """Effective sample size: as many independent draws from the conditional distribution would say as much."""
        return effective_sample_size(self.log_weight)

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """float64 [N], the weights, adding up to 1."""
        weights = np.exp(self.log_weight - self.log_weight.max())
        return weights / weights.sum()

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A matplotlib figure: the bounds of log Z closing, and the shares of the likeliest texts; written to `path`."""
        from maskwright.aligned_plot import draw_sample

        return draw_sample(self, path)

    def resample(self, n: int, seed: int | None = None) -> list[str]:
        """`n` of the texts, drawn by their weights (systematically, so that each comes as often as its weight says)."""
        if n < 1:
            raise ValueError(f"n={n}: choose at least 1")
        return [self.texts[place] for place in self.chosen(n, np.random.default_rng(seed))]

    def chosen(self, n: int, random: np.random.Generator) -> list[int]:
        """The places of `n` texts drawn by their weights, in random order."""
        places: list[int] = random.permutation(systematic(self.weights, n, random)).tolist()
        return places

    def posterior(self, by: Literal["text", "tokens"] = "text", *, weighted: bool = True) -> dict[Any, float]:
        """What share of the conditional distribution the samples give to each text, the likeliest first.

        Args:
            by: "text" adds up the tokenizations of a text; "tokens" keeps them apart.
            weighted: whether to use the weights; without them it shows what the draws alone say.
        """
        if by not in ("text", "tokens"):
            raise ValueError(f"by={by!r}: choose 'text' or 'tokens'")
        shares = self.weights if weighted else np.full(len(self), 1 / len(self))
        found: dict[Any, float] = {}
        for key, share in zip(self.texts if by == "text" else self.token_ids, shares.tolist(), strict=True):
            found[key] = found.get(key, 0.0) + share
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))
