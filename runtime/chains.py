"""Markov chains over the texts of a grammar: resample what is behind a cut, and accept by Metropolis and Hastings.

    cut at i with probability c_w(i)      restart: 0      uniform: any place      entropy: where the model hesitates
    draw w' behind w[:i]                  by masking, or by a frozen trie's bounds (asap)
    accept with probability min(1, P(w') r(w' -> w) / (P(w) r(w -> w')))

Several cuts lead from w to w': all places up to where they part, so that r(w -> w') sums over these. A draw that comes to a
dead end has probability 0, and is refused. Each chain is a start and `steps` such steps; its last text is a sample, whose
distribution comes nearer to P( . | grammar) with every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from maskwright.runtime.conditional import Conditional
from maskwright.runtime.descents import Outcome, descend
from maskwright.runtime.samples import Budget, Meter, Report, Samples

__all__ = ["Chains", "Cut", "draw_by_chains"]

Cut = Literal["restart", "uniform", "entropy"]

_WARM_UP = 64  # descents from which the trie of a guided proposal learns before it is frozen
_LEAST_ENTROPY = 1e-6  # so that every place can be cut
_MOST_STARTS = 1_000  # batches of descents for the first texts


@dataclass(frozen=True, slots=True)
class _Text:
    """A text of the grammar with what the proposal says of it.

    Attributes:
        nodes: from the root to its end.
        log_p: log P of all of it.
        log_cuts: float64 [L], the probability of each place to be cut; L tokens, the end included.
        log_tails: float64 [L], the probability of drawing what is behind each place.
    """

    nodes: list[int]
    log_p: float
    log_cuts: npt.NDArray[np.float64]
    log_tails: npt.NDArray[np.float64]


class Chains:
    """Some chains, side by side, over one frozen proposal.

    Attributes:
        accepted, proposed: steps so far.
    """

    def __init__(self, space: Conditional, nodes: npt.NDArray[np.int64], *, cut: Cut, guided: bool) -> None:
        """From whole texts, int64 [N] nodes at their ends. The space must not be settled while chains go on."""
        self._space, self._cut, self._guided = space, cut, guided
        self._known: dict[int, _Text] = {}
        self._texts = [self._text(int(node)) for node in nodes]
        self.accepted = self.proposed = 0

    @property
    def nodes(self) -> npt.NDArray[np.int64]:
        """int64 [N]: where the chains are."""
        return np.array([text.nodes[-1] for text in self._texts], np.int64)

    @property
    def log_p(self) -> npt.NDArray[np.float64]:
        return np.array([text.log_p for text in self._texts])

    def step(self, random: np.random.Generator) -> None:
        """One step of each chain."""
        count = len(self._texts)
        uniforms = random.random((count, 2))
        places = [
            min(int(np.searchsorted(np.cumsum(np.exp(text.log_cuts)), uniform, side="right")), len(text.log_cuts) - 1)
            for text, uniform in zip(self._texts, uniforms[:, 0], strict=True)
        ]
        starts = np.array([text.nodes[place] for text, place in zip(self._texts, places, strict=True)], np.int64)
        drawn = descend(
            self._space, count, random, guided=self._guided, rejecting=False, starts=starts, settle=False
        )  # fmt: skip
        self.proposed += count
        for number, (outcome, node) in enumerate(zip(drawn.outcomes, drawn.nodes, strict=True)):
            if outcome != Outcome.WHOLE:
                continue
            old, new = self._texts[number], self._text(int(node))
            if np.log(uniforms[number, 1]) < _log_ratio(old, new):
                self._texts[number] = new
                self.accepted += 1

    def _text(self, node: int) -> _Text:
        if node not in self._known:
            self._known[node] = self._described(node)
        return self._known[node]

    def _described(self, node: int) -> _Text:
        trie = self._space.trie
        nodes = trie.nodes_to(node)
        steps = list(pairwise(nodes))
        log_q = np.array([self._log_q(before, after) for before, after in steps])
        if self._cut == "restart":
            log_cuts = np.full(len(steps), -np.inf)
            log_cuts[0] = 0.0
        else:
            weights = np.ones(len(steps))
            if self._cut == "entropy":
                weights = np.array([row.entropy() for row in self._space.rows(nodes[:-1])]) + _LEAST_ENTROPY
            log_cuts = np.log(weights / weights.sum())
        tails = np.cumsum(log_q[::-1])[::-1]
        return _Text(nodes, float(sum(trie.log_edge[after] for _, after in steps)), log_cuts, tails)

    def _log_q(self, node: int, child: int) -> float:
        """The log-probability that the proposal goes from a node to its child."""
        trie = self._space.trie
        edge = float(trie.log_edge[child])
        if not self._guided or not len(trie.children(node, trie.frozen)):
            return edge - float(trie.log_mass[node])  # masked: nothing is known of what follows
        return edge + (float(trie.log_theta[child]) if child < trie.frozen else 0.0) - float(trie.log_theta[node])


def _log_ratio(old: _Text, new: _Text) -> float:
    """log of P(new) r(new -> old) / (P(old) r(old -> new))."""
    common = 0
    while common < min(len(old.nodes), len(new.nodes)) and old.nodes[common] == new.nodes[common]:
        common += 1  # nodes in common: cuts at any of them, but the end, lead from one text to the other
    common = min(common, len(old.log_cuts), len(new.log_cuts))
    there = np.logaddexp.reduce(old.log_cuts[:common] + new.log_tails[:common])
    back = np.logaddexp.reduce(new.log_cuts[:common] + old.log_tails[:common])
    return float(new.log_p + back - old.log_p - there)


def draw_by_chains(
    space: Conditional,
    count: int,
    *,
    steps: int,
    cut: Cut,
    guided: bool,
    batch_size: int,
    random: np.random.Generator,
    budget: Budget,
    report: Report | None = None,
) -> Samples:
    """The last texts of `count` chains of `steps` steps each; all chains go on together.

    Args:
        guided: whether proposals follow the bounds of the trie, which some descents teach and which is frozen then.

    Raises:
        LimitExceeded: no first text was found.
    """
    meter = Meter(space, count, budget, report)
    if guided:
        for _ in range(0, _WARM_UP, batch_size):
            descend(space, min(batch_size, _WARM_UP), random, guided=True, rejecting=False)
            meter.spent(0)
    log_theta = space.log_z_bounds[1] if guided else 0.0
    starts: list[int] = []
    weights: list[npt.NDArray[np.float64]] = []
    for _ in range(_MOST_STARTS):
        if len(starts) >= count or (meter.spent(0) and starts):
            break
        drawn = descend(
            space, min(batch_size, count - len(starts)), random, guided=guided, rejecting=False, settle=False
        )  # fmt: skip
        weights.append(drawn.log_weights)
        starts += drawn.nodes[drawn.outcomes == Outcome.WHOLE].tolist()
    meter.require(len(starts))
    chains = Chains(space, np.array(starts, np.int64), cut=cut, guided=guided)
    done = 0
    while done < steps and not meter.spent(0):
        chains.step(random)
        done += 1
    tokens, log_p = [space.tokens_of(int(node)) for node in chains.nodes], chains.log_p
    space.settle()
    meter.spent(len(tokens))
    # An independence sampler forgets at this rate (Mengersen and Tweedie, 1996); of other cuts nothing is certain.
    kept = 1 - np.exp(min(0.0, space.log_z_bounds[0] - log_theta))
    return Samples(
        method="mcmc",
        exact=False,
        tokens=tokens,
        log_p=log_p,
        log_q=np.full(len(tokens), np.nan),
        log_weight=np.zeros(len(tokens)),
        log_estimates=np.concatenate(weights),
        kl_bound=np.inf,
        tv_bound=float(kept**done) if cut == "restart" else 1.0,
        acceptance_rate=chains.accepted / max(chains.proposed, 1),
    )
