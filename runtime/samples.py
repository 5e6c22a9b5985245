"""What every method of sampling gives: texts with their probabilities and weights, and an account of the attempts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import numpy.typing as npt

from maskwright.grammars.errors import LimitExceeded, UnsatisfiableError
from maskwright.runtime.conditional import Conditional

__all__ = ["Budget", "Progress", "Samples", "effective_sample_size", "log_mean_exp"]


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop, although fewer texts are there than were asked for; None: no limit.

    Attributes:
        forward_tokens: tokens that the model may process, the prompt's included; the batch at hand is finished.
        attempts: descents, proposals or particles that may be begun.
        seconds: of wall clock.
    """

    forward_tokens: int | None = None
    attempts: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far sampling is.

    Attributes:
        done, total: texts there and wanted.
        log_z_bounds: certified bounds of log Z so far.
        forward_tokens: tokens that the model has processed.
        attempts: how many were begun.
    """

    done: int
    total: int
    log_z_bounds: tuple[float, float]
    forward_tokens: int
    attempts: int


Report = Callable[[Progress], None]


class Meter:
    """Says after each batch how far sampling is, and whether the budget is used up."""

    def __init__(self, space: Conditional, total: int, budget: Budget, report: Report | None) -> None:
        self._space, self._total, self._budget, self._report = space, total, budget, report
        self._tokens, self._attempts = space.stats.forward_tokens, space.stats.attempts
        self._started = perf_counter()

    def spent(self, done: int) -> bool:
        """Report `done` texts; whether to stop.

        Raises:
            UnsatisfiableError: it is certain by now that no text can come.
        """
        space, budget = self._space, self._budget
        tokens, attempts = space.stats.forward_tokens - self._tokens, space.stats.attempts - self._attempts
        if self._report is not None:
            self._report(Progress(done, self._total, space.log_z_bounds, tokens, attempts))
        if space.log_z_bounds[1] == -np.inf:
            raise UnsatisfiableError(
                f"the model gives no text of the grammar of at most {space.target.max_tokens} tokens any probability",
                hint="raise max_tokens or top_p, or look for what the vocabulary cannot write",
            )
        return (
            (budget.forward_tokens is not None and tokens >= budget.forward_tokens)
            or (budget.attempts is not None and attempts >= budget.attempts)
            or (budget.seconds is not None and perf_counter() - self._started >= budget.seconds)
        )

    def require(self, done: int) -> None:
        """Raises LimitExceeded where a budget let no text through."""
        if done == 0:
            begun = self._space.stats.attempts - self._attempts
            raise LimitExceeded(
                "attempts", begun, self._budget.attempts or begun, what="no text was found",
                hint="raise the budget or n, or choose method='asap', which rejects nothing and learns from dead ends",
            )  # fmt: skip


@dataclass(slots=True)
class Samples:
    """N texts and how they were come by.

    Attributes:
        method: "masked", "importance", "rejection", "asap", "cars", "smc", "mcmc" or "enumerate".
        exact: whether each text is an independent draw from the conditional distribution.
        tokens: the texts' token ids, without the end.
        log_p: float64 [N], log P(text, end).
        log_q: float64 [N], log-probability of being proposed; NaN where there is no such number.
        log_weight: float64 [N], what each counts for; equal ones where they stand for themselves.
        log_estimates: float64 [A], unbiased estimates of Z, one an attempt, as logarithms; their mean is the estimate.
        kl_bound, tv_bound: certified bounds of the divergence of a draw from the conditional distribution.
        acceptance_rate: of proposals, for methods that refuse some; otherwise 1.
        reason: of the choice of `method`, where "auto" made it.
    """

    method: str
    exact: bool
    tokens: list[tuple[int, ...]]
    log_p: npt.NDArray[np.float64]
    log_q: npt.NDArray[np.float64]
    log_weight: npt.NDArray[np.float64]
    log_estimates: npt.NDArray[np.float64]
    kl_bound: float
    tv_bound: float
    acceptance_rate: float = 1.0
    reason: str = ""
    log_z: float = field(init=False)
    log_z_se: float = field(init=False)

    def __post_init__(self) -> None:
        self.log_z, self.log_z_se = log_mean_exp(self.log_estimates)


def log_mean_exp(logs: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The logarithm of the mean of exp(logs), and its standard error (of the logarithm); inf where it is unknown."""
    count = len(logs)
    top = float(logs.max(initial=-np.inf))
    if top == -np.inf:
        return -np.inf, np.inf
    values = np.exp(logs - top)
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    return top + float(np.log(mean)), spread / mean


def effective_sample_size(log_weights: npt.NDArray[np.float64]) -> float:
    """(sum of w)^2 / sum of w^2: as many equally weighted draws would say as much."""
    if not len(log_weights) or log_weights.max() == -np.inf:
        return 0.0
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights**2).sum())
