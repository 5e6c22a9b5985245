"""Oracles of sampling and verification in plain loops and float64; they share nothing with the kernels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np


def masked_softmax(logits: np.ndarray, legal: np.ndarray, temperature: float) -> np.ndarray:
    """float64 [V]: the distribution over what is allowed; a temperature of 0 puts everything on the first likeliest."""
    allowed = np.where(legal, logits.astype(np.float64), -np.inf)
    if temperature == 0:
        return np.eye(len(logits))[int(np.argmax(allowed))]
    weights = np.exp((allowed - allowed.max()) / temperature)
    return weights / weights.sum()


def log_valid_mass(logits: np.ndarray, legal: np.ndarray, temperature: float) -> float:
    """The logarithm of what the allowed tokens have of the softmax over all."""
    scaled = logits.astype(np.float64) / (temperature or 1.0)
    return float(np.logaddexp.reduce(scaled[legal]) - np.logaddexp.reduce(scaled))


def filtered(
    logits: np.ndarray, legal: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
) -> set[int]:
    """The tokens that the filters keep, equal logits together."""
    kept = [token for token in range(len(logits)) if legal[token] and logits[token] > -np.inf]
    if top_k and len(kept) > top_k:
        bound = sorted((logits[token] for token in kept), reverse=True)[top_k - 1]
        kept = [token for token in kept if logits[token] >= bound]
    best = max(logits[token] for token in kept)
    weight = {token: math.exp((float(logits[token]) - float(best)) / (temperature or 1.0)) for token in kept}
    if top_p < 1:
        total, likelier, staying = math.fsum(weight.values()), 0.0, []
        by_logit = sorted(kept, key=lambda token: -logits[token])
        for _, equals in itertools.groupby(by_logit, key=lambda token: logits[token]):
            equal = list(equals)
            if likelier < top_p * total:
                staying += equal
            likelier += math.fsum(weight[token] for token in equal)
        kept = staying
    return {token for token in kept if weight[token] >= min_p}


def verified_law(
    target: np.ndarray, proposal: np.ndarray, drafts: Sequence[int], without_replacement: bool
) -> tuple[list[float], np.ndarray]:
    """How the children of one node fare: the probability that each is taken, and the law of the token drawn if none is.

    Args:
        target, proposal: float64 [V].
        drafts: the children's tokens, in order.

    Returns:
        One probability for each draft (not conditioned on the others), and float64 [V], which sums up to what is left.
    """
    p, q, left, taken = target.copy(), proposal.copy(), 1.0, []
    for draft in drafts:
        accept = min(1.0, p[draft] / q[draft]) if q[draft] > 0 else float(p[draft] > 0)
        taken.append(left * accept)
        left *= 1 - accept
        p = np.maximum(p - q, 0)
        p = p / p.sum() if p.sum() > 0 else target
        if without_replacement:
            q[draft] = 0
            q = q / q.sum() if q.sum() > 0 else q
    return taken, left * p


def emitted_law(target: np.ndarray, proposal: np.ndarray, children: int, without_replacement: bool) -> np.ndarray:
    """float64 [V]: the law of the first token emitted, over all ways to draft the children. It should be the target."""
    law = np.zeros(len(target))
    for drafts in itertools.product(range(len(target)), repeat=children):
        chance, q = 1.0, proposal.copy()
        for draft in drafts:
            chance *= q[draft]
            if without_replacement:
                q[draft] = 0
                q = q / q.sum() if q.sum() > 0 else q
        if chance > 0:
            taken, drawn = verified_law(target, proposal, drafts, without_replacement)
            law += chance * drawn
            for draft, probability in zip(drafts, taken, strict=True):
                law[draft] += chance * probability
    return law
