"""Loops over a trie of prefixes: descents through the part of it that is known, and bounds from the leaves up.

The trie is arrays by node (runtime/aligned_trie.py); a node's children are a chained list, the newest first. All
probabilities are natural logarithms in float64, each relative to the node that it is of.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from maskwright.kernels.jit import nogil_kernel, part

# Callees: 84f24764e47d

__all__ = ["AT_END", "AT_FRESH", "AT_NOTHING", "AT_REST", "child_of", "descend", "path_to", "settle_bounds"]

# Where a descent stops.
AT_FRESH = 0  # at a node that has not been expanded
AT_REST = 1  # at an expanded one, where a token without a node comes next
AT_END = 2  # at the end of a text
AT_NOTHING = 3  # where nothing can follow


@nogil_kernel
def child_of(first: Any, following: Any, token: Any, node: int, wanted: int) -> int:
    """The child of a node by its token, or -1; first, following and token: int32 [nodes]."""
    child = first[node]
    while child >= 0 and token[child] != wanted:
        child = following[child]
    return child


@nogil_kernel
def path_to(parent: Any, token: Any, node: int, out: Any) -> None:
    """The tokens from the root to a node: parent and token int32 [nodes]; out int32 [depth of the node], written."""
    for place in range(len(out) - 1, -1, -1):
        out[place] = token[node]
        node = parent[node]


@part
def _largest(first: Any, following: Any, log_edge: Any, value: Any, log_rest: Any, node: int, frozen: int) -> Any:
    """The largest term of the sum over what may follow a node."""
    top = log_rest[node]
    child = first[node]
    while child >= 0:
        if child < frozen:
            top = max(top, log_edge[child] + value[child])
        child = following[child]
    return top


@nogil_kernel
def descend(
    first: Any,
    following: Any,
    log_edge: Any,
    log_theta: Any,
    log_rest: Any,
    log_mass: Any,
    ended: Any,
    frozen: int,
    uniforms: Any,
    nodes: Any,
    kinds: Any,
    log_p: Any,
    log_q: Any,
) -> None:
    """Descend from some nodes, each step with probability ~ P(a|u) theta(ua), as far as the trie knows the way.

    Args:
        first, following: int32 [nodes], children.
        log_edge: float64 [nodes], the probability of the token that leads to a node.
        log_theta: float64 [nodes], the bound on what can follow.
        log_rest: float64 [nodes], the probability of the allowed tokens without a node.
        log_mass: float64 [nodes], that of all allowed tokens; NaN where it is unknown.
        ended: bool [nodes], where a text is complete.
        frozen: nodes from this number on do not count yet.
        uniforms: float64 [B, more than the deepest node], random numbers in [0, 1).
        nodes: int64 [B], where each descent starts; where it stopped is written.
        kinds: int64 [B], written: AT_FRESH, AT_REST, AT_END or AT_NOTHING.
        log_p, log_q: float64 [B], added to: what the model and the descent give to the way.
    """
    for row in range(len(nodes)):
        node, step = nodes[row], 0
        kind = AT_FRESH
        while True:
            if ended[node]:
                kind = AT_END
                break
            if math.isnan(log_mass[node]):
                break
            top = _largest(first, following, log_edge, log_theta, log_rest, node, frozen)
            if top == -np.inf:
                kind = AT_NOTHING
                break
            rest = math.exp(log_rest[node] - top)
            total = rest
            child = first[node]
            while child >= 0:
                if child < frozen:
                    total += math.exp(log_edge[child] + log_theta[child] - top)
                child = following[child]
            target = uniforms[row, step] * total
            step += 1
            chosen, share = -1, rest
            # Like a search for the first cumulative weight above the target: no term of weight zero is ever chosen.
            if not target < rest:
                reached = rest
                child = first[node]
                while child >= 0:
                    if child < frozen:
                        weight = math.exp(log_edge[child] + log_theta[child] - top)
                        if weight > 0:
                            chosen, share = child, weight
                            reached += weight
                            if target < reached:
                                break
                    child = following[child]
            log_q[row] += math.log(share / total)
            if chosen < 0:
                kind = AT_REST
                break
            log_p[row] += log_edge[chosen]
            node = chosen
        nodes[row], kinds[row] = node, kind


@nogil_kernel
def settle_bounds(
    parent: Any,
    first: Any,
    following: Any,
    log_edge: Any,
    log_theta: Any,
    log_low: Any,
    log_rest: Any,
    log_mass: Any,
    changed: Any,
) -> None:
    """Bring bounds up to date from some nodes to the root: theta falls, what is certain rises.

        theta(u) = rest(u) + sum of P(a|u) theta(ua)        low(u) = sum of P(a|u) low(ua), over the children

    Args:
        parent, first, following: int32 [nodes].
        log_edge, log_rest, log_mass: float64 [nodes], as for descend().
        log_theta, log_low: float64 [nodes], written.
        changed: int64 [C], nodes whose rest or children have changed.
    """
    size = len(parent)
    for start in changed:
        node = start
        while node >= 0:
            if not math.isnan(log_mass[node]):
                top = _largest(first, following, log_edge, log_theta, log_rest, node, size)
                certain = -np.inf
                child = first[node]
                while child >= 0:
                    certain = max(certain, log_edge[child] + log_low[child])
                    child = following[child]
                above = math.exp(log_rest[node] - top) if top > -np.inf else 0.0
                below = 0.0
                child = first[node]
                while child >= 0:
                    if top > -np.inf:
                        above += math.exp(log_edge[child] + log_theta[child] - top)
                    if certain > -np.inf:
                        below += math.exp(log_edge[child] + log_low[child] - certain)
                    child = following[child]
                # Rounding must not undo what was certified before.
                if top == -np.inf:
                    log_theta[node] = -np.inf
                else:
                    log_theta[node] = min(log_theta[node], top + math.log(above))
                if certain > -np.inf:
                    log_low[node] = max(log_low[node], certain + math.log(below))
            node = parent[node]
