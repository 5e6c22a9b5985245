"""Block verification: a drawn chain is judged as a whole, so that what one token lacks later ones can make up for.

    chain x1 .. xn, drawn from q0 .. q(n-1); p0 .. pn of the target

    w0 = 1,  wi = min(1, w(i-1) p(i-1)(xi) / q(i-1)(xi))             the joint ratio, cut at 1 at every step
    ri = sum over tokens of (wi pi - qi)+
    the first i tokens may stay with probability  ri / (ri + 1 - wi),  all n with probability wn
    the longest that may stays; behind it comes a token ~ (wi pi - qi)+,  behind all n one ~ pn

What is emitted has the law of the target. In expectation at least as many drafts are taken as by judging token by token
("ratio"); the paper proves that no verifier of one chain takes more.

Source: Block Verification Accelerates Speculative Decoding, Sun et al. 2024.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maskwright.runtime.chance import Chance
from maskwright.runtime.draft_tree import DraftTree
from maskwright.runtime.verifiers import Floats, normalised, proposal

__all__ = ["verify_block"]


def verify_block(tree: DraftTree, law: Callable[[int], Floats], chance: Chance) -> dict[int, int]:
    """The token emitted behind each node that verification comes to; behind the last drafted one the target draws by itself.

    Args:
        tree: a drawn chain.
        law: the target's distribution p behind a node that has a child, float64 [V].
        chance: where coins and draws come from.

    Raises:
        ValueError: the tree branches, or was not drawn.
    """
    if not tree.is_chain:
        raise ValueError("these drafts branch: block verification judges one chain")
    nodes = [0]
    while (child := int(tree.first_child[nodes[-1]])) >= 0:
        nodes.append(child)
    tokens = tree.token[nodes[1:]].tolist()
    weight, kept = 1.0, 0
    residual = weights = np.empty(0)
    for place, node in enumerate(nodes):
        last = place == len(tokens)
        if not last:
            p, q = law(node), proposal(tree, node)
            left = np.maximum(weight * p - q, 0.0)
            weights, surplus = normalised(left, p), float(left.sum())
        short = 1.0 - weight
        stays = weight if last else surplus / (surplus + short) if surplus + short > 0 else 1.0
        if not place or chance.accepts(min(1.0, stays)):
            kept, residual = place, weights
        if not last:
            weight = min(1.0, weight * p[tokens[place]] / q[tokens[place]])
    plan = dict(zip(nodes[:kept], tokens[:kept], strict=True))
    if kept < len(tokens):
        plan[nodes[kept]] = chance.draws(residual)
    return plan
