"""The methods that draw texts by independent descents: masked, importance, rejection, asap, cars; and auto."""

from __future__ import annotations

from typing import Literal

import numpy as np

from maskwright.runtime.conditional import Conditional
from maskwright.runtime.descents import Descents, Outcome, descend
from maskwright.runtime.samples import Budget, Meter, Report, Samples

__all__ = ["DESCENT_METHODS", "DescentMethod", "draw_automatically", "draw_by_descents"]

DescentMethod = Literal["masked", "importance", "rejection", "asap", "cars"]

# guided by the trie's bounds, rejecting what an exact method rejects
DESCENT_METHODS: dict[DescentMethod, tuple[bool, bool]] = {
    "masked": (False, False),
    "importance": (False, False),
    "rejection": (False, True),
    "asap": (True, False),
    "cars": (True, True),
}

_PILOT = 32  # descents before "auto" chooses
_STALLED = 256  # proposals in a row of which too few were accepted
_MOST_ATTEMPTS = 10_000  # of an exact method for each text, where the budget says nothing


class _Tally:
    """Descents, batch by batch. Attributes: batches; whole, how many texts there are among them."""

    def __init__(self) -> None:
        self.batches: list[Descents] = []
        self.whole = 0

    def add(self, batch: Descents) -> None:
        self.batches.append(batch)
        self.whole += int(np.count_nonzero(batch.outcomes == Outcome.WHOLE))


def draw_by_descents(
    space: Conditional,
    method: DescentMethod,
    count: int,
    *,
    batch_size: int,
    random: np.random.Generator,
    budget: Budget,
    report: Report | None = None,
    give_up: float = 0.0,
) -> Samples | None:
    """Draw texts until there are `count` whole ones.

    Texts are taken in the order in which their descents began, never in that of completion, which would favour short ones.

    Args:
        give_up: an acceptance rate, over the last proposals, below which None is returned instead.

    Raises:
        LimitExceeded: the budget is used up, and there is not one text.
        UnsatisfiableError: it is certain that there is none.
    """
    guided, rejecting = DESCENT_METHODS[method]
    if rejecting and budget == Budget():
        budget = Budget(attempts=_MOST_ATTEMPTS * count)
    meter, tally = Meter(space, count, budget, report), _Tally()
    while True:
        spent = meter.spent(min(tally.whole, count))
        if tally.whole >= count or spent:
            break
        if give_up and _stalls(tally, give_up):
            return None
        size = batch_size if rejecting else min(batch_size, count - tally.whole)
        tally.add(descend(space, size, random, guided=guided, rejecting=rejecting))
    meter.require(tally.whole)
    return _samples(space, method, tally, count)


def draw_automatically(
    space: Conditional,
    count: int,
    *,
    batch_size: int,
    random: np.random.Generator,
    budget: Budget,
    report: Report | None = None,
    threshold: float,
) -> Samples:
    """Exact samples where they can be had at an acceptance rate of `threshold`, otherwise weighted ASAp; it says which.

    Some descents of ASAp come first: they teach the trie, and tell what share of what it allows the grammar's texts are.
    """
    pilot = draw_by_descents(space, "asap", _PILOT, batch_size=batch_size, random=random, budget=budget)
    assert pilot is not None
    expected = np.exp(min(0.0, pilot.log_z - space.log_z_bounds[1]))
    if expected >= threshold:
        exact = draw_by_descents(
            space, "cars", count, batch_size=batch_size, random=random, budget=budget, report=report, give_up=threshold
        )
        if exact is not None:
            exact.reason = f"exact: about {expected:.0%} of proposals were expected to be accepted"
            return exact
        expected = 0.0
    weighted = draw_by_descents(
        space, "asap", count, batch_size=batch_size, random=random, budget=budget, report=report
    )
    assert weighted is not None
    weighted.reason = (
        f"weighted: an exact method would have accepted about {expected:.2%} of its proposals"
        if expected
        else "weighted: an exact method was tried and accepted too few of its proposals"
    )
    return weighted


def _stalls(tally: _Tally, rate: float) -> bool:
    """Whether too few of the last proposals were accepted."""
    if not tally.batches:
        return False
    outcomes = np.concatenate([batch.outcomes for batch in tally.batches[-_STALLED:]])[-_STALLED:]
    return len(outcomes) >= _STALLED and float(np.mean(outcomes == Outcome.WHOLE)) < rate


def _samples(space: Conditional, method: DescentMethod, tally: _Tally, count: int) -> Samples:
    rejecting = DESCENT_METHODS[method][1]
    outcomes = np.concatenate([batch.outcomes for batch in tally.batches])
    log_theta = np.concatenate([np.full(len(batch.outcomes), batch.log_theta) for batch in tally.batches])
    log_p = np.concatenate([batch.log_p for batch in tally.batches])
    log_q = np.concatenate([batch.log_q for batch in tally.batches])
    tokens = [answer for batch in tally.batches for answer in batch.tokens]
    whole = np.flatnonzero(outcomes == Outcome.WHOLE)
    enough = len(whole) >= count
    whole = whole[:count]
    if rejecting:  # theta * [accepted] has the mean Z
        estimates = np.where(outcomes == Outcome.WHOLE, log_theta, -np.inf)
    else:
        estimates = np.where(outcomes == Outcome.WHOLE, log_p - log_q, -np.inf)
    if enough and len(whole) < len(outcomes):
        # Attempts went on until the last text was there. Without it the mean is unbiased, as for a negative binomial.
        estimates = estimates[: max(1, int(whole[-1]))]
    log_low = space.log_z_bounds[0]
    excess = np.maximum(0.0, log_theta[whole] - log_low)  # log (theta / Z) at most
    if rejecting:
        weights = np.zeros(len(whole))
        kl, tv = 0.0, 0.0
    else:
        weights = (log_p - log_q)[whole]
        kl, tv = float(excess.mean()), float((1 - np.exp(-excess)).mean())
    return Samples(
        method=method,
        exact=rejecting,
        tokens=[tokens[place] for place in whole.tolist()],
        log_p=log_p[whole],
        log_q=log_q[whole],
        log_weight=weights,
        log_estimates=estimates,
        kl_bound=kl,
        tv_bound=tv,
        acceptance_rate=float(np.mean(outcomes == Outcome.WHOLE)) if rejecting else 1.0,
    )
