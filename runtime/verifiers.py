"""Verifiers: which of a node's drafted children the target takes, or which token it emits instead.

    name                     a child is taken                                          draws of the children
    "match"                  where it is the token drawn from p                        any, or none: just guesses
    "ratio"                  the first one, with probability min(1, p / q)             independent
    "multi_round"            each in turn so, p := norm(p - q)+ behind a rejection     independent
    "without_replacement"    the same, and the rejected one leaves q                   without replacement
    "k_sequential"           each in turn with probability min(1, p / (rho q))         independent

p is the target's distribution at the node, after the mask and all filters; q is the one that the children were drawn from.
Each of these decides one node at a time (block_verifier.py: a whole chain), and what it emits has the law p exactly, whatever
q is. Hence a walk from the root, on to the child that was taken until there is none, emits what plain sampling would, in
distribution. "match" even emits what plain sampling emits with the same random numbers.

A token of p = 0 is never emitted: coins are compared strictly, residuals are zero where p is.

Sources: Leviathan, Kalman, Matias 2023 ("ratio"); SpecInfer, Miao et al. 2024 ("match", "multi_round"); Recursive
Speculative Decoding, Jeon et al. 2024, and Sequoia, Chen et al. 2024 ("without_replacement"); SpecTr, Sun et al. 2023
("k_sequential").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from maskwright.runtime.chance import Chance
from maskwright.runtime.draft_tree import DraftTree

__all__ = [
    "VERIFIERS",
    "Verifier",
    "division_of",
    "k_sequential",
    "match",
    "multi_round",
    "normalised",
    "proposal",
    "ratio",
    "without_replacement",
]

Floats = npt.NDArray[np.float64]
Verifier = Callable[[DraftTree, int, Floats, Chance], int]
"""(tree, node, p float64 [V], chance): the token emitted behind the node. Where a child has it, the walk goes on there."""


def match(tree: DraftTree, node: int, p: Floats, chance: Chance) -> int:
    """Draw from the target; the drafts only decide whether the walk goes on."""
    return chance.draws(p)


def ratio(tree: DraftTree, node: int, p: Floats, chance: Chance) -> int:
    """The first draw of the children alone: accepted with probability min(1, p / q), or the residual."""
    return _in_turn(tree, node, p, chance, most=1, leaves=False)


def multi_round(tree: DraftTree, node: int, p: Floats, chance: Chance) -> int:
    """Every draw of independent children in turn, against what the rejections before have left of p."""
    return _in_turn(tree, node, p, chance, most=None, leaves=False)


def without_replacement(tree: DraftTree, node: int, p: Floats, chance: Chance) -> int:
    """Every draw of children without replacement in turn, against what is left of p and of q.

    Raises:
        ValueError: a child was drawn twice.
    """
    if tree.draws is not None and any(len(set(drawn)) < len(drawn) for drawn in tree.draws.values()):
        raise ValueError("these children were drawn with replacement: choose multi_round or k_sequential")
    return _in_turn(tree, node, p, chance, most=None, leaves=True)


def _in_turn(tree: DraftTree, node: int, p: Floats, chance: Chance, most: int | None, leaves: bool) -> int:
    drawn = tree.drawn(node)[:most]
    if not drawn:
        return chance.draws(p)
    q = proposal(tree, node)
    for child in drawn:
        token = int(tree.token[child])
        if chance.accepts(min(1.0, p[token] / q[token])):
            return token
        p = normalised(np.maximum(p - q, 0.0), p)
        if leaves:
            q = q.copy()
            q[token] = 0.0
            if q.sum() <= 0:  # every token that could be drawn has been
                break
            q /= q.sum()
    return chance.draws(p)


def k_sequential(tree: DraftTree, node: int, p: Floats, chance: Chance) -> int:
    """Every draw of independent children in turn, all against the same p, divided by a number that balances them."""
    drawn = tree.drawn(node)
    if not drawn:
        return chance.draws(p)
    q, count = proposal(tree, node), len(drawn)
    rho = division_of(p, q, count)
    for child in drawn:
        token = int(tree.token[child])
        if chance.accepts(min(1.0, p[token] / (rho * q[token]))):
            return token
    taken = np.minimum(q, p / rho)
    beta = float(taken.sum())  # the probability that one draw is accepted
    whole = 1.0 - (1.0 - beta) ** count
    return chance.draws(normalised(np.maximum(p - taken * (whole / beta), 0.0), p) if beta > 0 else p)


def division_of(p: Floats, q: Floats, count: int) -> float:
    """The least rho in [1, count] such that 1 - (1 - beta)^count <= rho beta, beta = sum min(q, p / rho); by bisection.

    Less would emit some tokens with more than their probability. At the number itself both sides are equal; the bisection
    stops above it, where the law is exact, too.
    """
    low, high = 1.0, float(count)

    def exceeds(rho: float) -> bool:
        beta = float(np.minimum(q, p / rho).sum())
        return 1.0 - (1.0 - beta) ** count > rho * beta

    if not exceeds(low):
        return low
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return high


def proposal(tree: DraftTree, node: int) -> Floats:
    """q: what the children of a node were drawn from, float64 [V]; raises ValueError where they were not."""
    if tree.q is None:
        raise ValueError("these children were not drawn, so that there is no ratio: verify them by match")
    return tree.q[node]


def normalised(weights: Floats, otherwise: Floats) -> Floats:
    """weights / sum; where rounding has left nothing, what they were made of (then the rejection had no probability)."""
    total = float(weights.sum())
    return weights / total if total > 0 else otherwise


VERIFIERS: Mapping[str, Verifier] = MappingProxyType(
    {
        "match": match,
        "ratio": ratio,
        "multi_round": multi_round,
        "without_replacement": without_replacement,
        "k_sequential": k_sequential,
    }
)
