"""Batches of descents: texts drawn from the root of the trie to their end, all on one frozen snapshot of it.

    masked, importance    q(a|u) = P(a|u) / m_u                    the trie only remembers
    rejection             ... and stop at each prefix with probability 1 - m_u
    asap                  q(a|u) ~ P(a|u) theta(ua)                (Grammar-Aligned Decoding, Park et al., 2024)
    cars                  ... and stop at each unknown prefix with probability 1 - m_u

m_u is what the allowed tokens have together. In every case P(w) / q(w) = theta(root) * product of m_u over the prefixes that
the descent met unknown (all of them without a trie, where theta is 1), so that the mean of these weights is Z without bias,
whatever came before. Stopping with the probabilities above accepts a text with probability P(w) / (q(w) theta(root)):
what is accepted is distributed as the model conditioned on the grammar, exactly.

The descents of a batch do not see each other. What they found is merged behind them. Each goes on by itself for as long as the
rows it needs are there; when none can, one call of the model gives the rows that they wait for. The random numbers of a
descent's n-th step are the same whenever it comes to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskwright.kernels.descents import AT_END, AT_FRESH, AT_NOTHING, AT_REST
from maskwright.runtime.aligned_trie import ROOT
from maskwright.runtime.allowed_rows import Row
from maskwright.runtime.conditional import Conditional

__all__ = ["Descents", "Outcome", "descend"]


class Outcome:
    """What became of a descent."""

    WHOLE = 0  # a text of the grammar
    REJECTED = 1  # by the test of an exact method
    DEAD = 2  # nothing allowed can follow


@dataclass(frozen=True, slots=True)
class Descents:
    """B descents.

    Attributes:
        outcomes: int64 [B], of Outcome.
        tokens: the answer of each, without its end; of those that are not whole as far as they came.
        log_p: float64 [B], log P of the tokens, the end included.
        log_q: float64 [B], the log-probability of drawing them.
        log_theta: the bound at the root, which no weight of a descent from there exceeds.
        nodes: int64 [B], where each came to; numbers that hold until the space is settled.
    """

    outcomes: npt.NDArray[np.int64]
    tokens: list[tuple[int, ...]]
    log_p: npt.NDArray[np.float64]
    log_q: npt.NDArray[np.float64]
    log_theta: float
    nodes: npt.NDArray[np.int64]

    @property
    def log_weights(self) -> npt.NDArray[np.float64]:
        """float64 [B]: log (P / q) of whole texts, -inf of the others."""
        return np.where(self.outcomes == Outcome.WHOLE, self.log_p - self.log_q, -np.inf)


def descend(
    space: Conditional,
    count: int,
    random: np.random.Generator,
    *,
    guided: bool,
    rejecting: bool,
    starts: npt.NDArray[np.int64] | None = None,
    settle: bool = True,
) -> Descents:
    """Draw `count` texts.

    Args:
        space: what is sampled; it learns what the descents find.
        random: where the numbers come from.
        guided: whether to draw by the trie's bounds, or by what the mask allows alone.
        rejecting: whether to stop as an exact method does.
        starts: int64 [B], the nodes to start from, log_p and log_q counting from there; None: the root.
        settle: whether what was found counts for the next call already.

    Raises:
        TruncatedError: a text is longer than `max_tokens`, where that is an error.
    """
    trie = space.trie
    nodes = np.full(count, ROOT, np.int64) if starts is None else starts.copy()
    kinds, log_p, log_q = np.full(count, AT_FRESH, np.int64), np.zeros(count), np.zeros(count)
    log_theta = float(trie.log_theta[ROOT]) if guided else 0.0
    if guided:
        kinds, log_p, log_q = trie.walk(nodes, random)
    space.stats.attempts += count
    outcomes = np.full(count, Outcome.WHOLE, np.int64)
    dead = np.flatnonzero(kinds == AT_NOTHING)
    outcomes[dead] = Outcome.DEAD
    going = np.flatnonzero((kinds != AT_END) & (kinds != AT_NOTHING)).tolist()
    ends = [*dead.tolist()]
    uniforms = _Uniforms(random, count)

    def goes_on(place: int, row: Row) -> bool:
        """Whether a descent goes on, a token further."""
        node, (first, second) = int(nodes[place]), uniforms.of(place)
        weights = None
        if kinds[place] == AT_REST:
            weights, kinds[place] = row.without(trie.visited(node)), AT_FRESH
        elif rejecting and second >= np.exp(row.log_mass):
            outcomes[place] = Outcome.REJECTED
            return False
        if row.log_mass == -np.inf:
            outcomes[place] = Outcome.DEAD
            ends.append(place)
            return False
        token, drawn_p, drawn_q = row.draw(first, weights)
        space.check_length(node, token)
        log_p[place] += drawn_p
        log_q[place] += drawn_q
        nodes[place] = space.add(node, token, drawn_p)
        return token != space.classes.end

    while going:
        ready = list(zip(going, space.rows([int(nodes[place]) for place in going]), strict=True))
        going = []  # those that wait for the model
        while ready:
            moved = [place for place, row in ready if goes_on(place, row)]
            rows = space.rows_at_hand([int(nodes[place]) for place in moved])
            ready = [(place, row) for place, row in zip(moved, rows, strict=True) if row is not None]
            going += [place for place, row in zip(moved, rows, strict=True) if row is None]
        going.sort()
    for place in ends:
        space.dies_at(int(nodes[place]))
    for node, outcome in zip(nodes.tolist(), outcomes.tolist(), strict=True):
        space.finish(node, outcome == Outcome.WHOLE)
    space.stats.rejected += int(np.count_nonzero(outcomes == Outcome.REJECTED))
    tokens = [space.tokens_of(int(node)) for node in nodes]
    if settle:
        space.settle()
    return Descents(outcomes, tokens, log_p, log_q, log_theta, nodes)


class _Uniforms:
    """Random numbers by descent and step, two each, whatever the order in which descents come to their steps."""

    def __init__(self, random: np.random.Generator, count: int) -> None:
        self._random, self._steps = random, [0] * count
        self._blocks: list[list[list[float]]] = []  # of the n-th step, those of all descents

    def of(self, place: int) -> list[float]:
        """The next two of a descent."""
        step = self._steps[place]
        self._steps[place] = step + 1
        if step == len(self._blocks):
            self._blocks.append(self._random.random((len(self._steps), 2)).tolist())
        return self._blocks[step][place]
