"""Sequential Monte Carlo: a population of texts grows token by token, and is resampled where its weights run apart.

    draw a ~ P(a|u) / m_u among the allowed tokens        weight *= m_u * potential(ua) / potential(u)
    when the effective sample size falls below tau N:     resample, and every weight becomes the mean

The product of the means estimates Z without bias, for any number of particles and any potentials (Del Moral, 2004). With
potentials the texts are drawn from P( . | grammar) tilted by them, and Z is the sum of P(w) potential(w).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maskwright.runtime.aligned_trie import ROOT
from maskwright.runtime.conditional import Conditional
from maskwright.runtime.resampling import systematic
from maskwright.runtime.samples import Budget, Meter, Report, Samples, effective_sample_size, log_mean_exp

__all__ = ["Potential", "draw_by_particles"]

Potential = Callable[[str, bool], float]
"""From the text so far, and whether it is complete, to the logarithm of how much it is wanted; -inf: not at all.

What it says of complete texts decides; what it says of others only guides. Half a character at the end is U+FFFD.
"""


def draw_by_particles(
    space: Conditional,
    count: int,
    *,
    random: np.random.Generator,
    budget: Budget,
    report: Report | None = None,
    threshold: float = 0.5,
    potential: Potential | None = None,
) -> Samples:
    """A weighted population of `count` texts, less those that came to a dead end.

    Args:
        threshold: tau: resample when the effective sample size is below this share of `count`.
        potential: tilts what is sampled from.

    Raises:
        LimitExceeded: no particle came to the end of a text.
    """
    meter, end = Meter(space, count, budget, report), space.classes.end
    nodes, log_p = np.full(count, ROOT, np.int64), np.zeros(count)
    tilts = _Tilts(space, potential)
    log_weight = np.full(count, tilts.of(ROOT))
    settled, resampled = 0.0, False  # log of the means so far
    space.stats.attempts += count
    going = np.ones(count, bool)
    while going.any():
        places = np.flatnonzero(going).tolist()
        rows = space.rows([int(nodes[place]) for place in places])
        for place, row, uniform in zip(places, rows, random.random(len(places)).tolist(), strict=True):
            node = int(nodes[place])
            if row.log_mass == -np.inf:
                log_weight[place], going[place] = -np.inf, False
                space.dies_at(node)
                continue
            token, edge, _ = row.draw(uniform)
            space.check_length(node, token)
            nodes[place] = space.add(node, token, edge)
            log_p[place] += edge
            log_weight[place] += row.log_mass + tilts.of(int(nodes[place])) - tilts.of(node)
            going[place] = token != end and log_weight[place] > -np.inf
        meter.spent(int(np.count_nonzero(~going & (log_weight > -np.inf))))
        if log_weight.max() == -np.inf:
            break
        if going.any() and effective_sample_size(log_weight) < threshold * count:
            weights = np.exp(log_weight - log_weight.max())
            chosen = systematic(weights / weights.sum(), count, random)
            settled += log_mean_exp(log_weight)[0]
            nodes, log_p, going = nodes[chosen], log_p[chosen], going[chosen]
            log_weight, resampled = np.zeros(count), True
    tokens = [space.tokens_of(int(node)) for node in nodes]
    space.settle()
    whole = np.flatnonzero(log_weight > -np.inf)
    meter.require(len(whole))
    log_weight = log_weight + settled
    # Particles that were resampled are not independent: then there is one estimate, and its error is not known.
    estimates = np.array([log_mean_exp(log_weight)[0]]) if resampled else log_weight
    return Samples(
        method="smc",
        exact=False,
        tokens=[tokens[place] for place in whole.tolist()],
        log_p=log_p[whole],
        log_q=np.full(len(whole), np.nan),
        log_weight=log_weight[whole] + np.log(len(whole) / count),
        log_estimates=estimates,
        kl_bound=np.inf,
        tv_bound=1.0,
    )


class _Tilts:
    """The potential of each node's text, asked for once."""

    def __init__(self, space: Conditional, potential: Potential | None) -> None:
        self._space, self._potential = space, potential
        self._known: dict[int, float] = {}

    def of(self, node: int) -> float:
        if self._potential is None:
            return 0.0
        if node not in self._known:
            text = self._space.text_of(self._space.tokens_of(node))
            value = float(self._potential(text, bool(self._space.trie.ended[node])))
            if not value < np.inf:
                raise ValueError(f"potential({text!r}) gave {value}: it must be a number, or -inf")
            self._known[node] = value
        return self._known[node]
