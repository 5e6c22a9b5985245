"""Draft trees verified in torch operations, a tree after the other: the reference for the other back ends.

Arguments are as in kernels/drafts.py, already checked.
"""

# Callees: 0a0c94b00db0

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from maskwright.kernels.backends import NO_TOKEN
from maskwright.kernels.noise import MIN_TEMPERATURE, RESIDUAL_STREAM
from maskwright.kernels.torch_noise import coins, gumbel
from maskwright.kernels.torch_sampling import allowed, scale_of

if TYPE_CHECKING:
    import torch

__all__ = ["gather", "match", "ratio"]

Tensors: TypeAlias = "tuple[torch.Tensor, ...]"


def match(links: Tensors, drawn: Tensors, results: Tensors) -> None:
    """Follow the tokens drawn.

    Args:
        links: token, first_child and next_sibling of the nodes, int64 [B, N].
        drawn: the token drawn at each node, int64 [B, N], and its log-probability, float32 [B, N].
        results: path, length, last token and log-probabilities, as in Verified; written. The first and the last come filled
            with -1 and -inf.
    """
    token, first_child, next_sibling = (link.tolist() for link in links)
    path, length, last, logprob = results
    tokens_drawn, drawn_logprob = drawn
    for tree, tokens in enumerate(tokens_drawn.tolist()):
        node, depth = 0, 0
        while True:
            path[tree, depth] = node
            logprob[tree, depth] = drawn_logprob[tree, node]
            child = first_child[tree][node]
            while child >= 0 and token[tree][child] != tokens[node]:
                child = next_sibling[tree][child]
            if child < 0:
                break
            node, depth = child, depth + 1
        length[tree], last[tree] = depth + 1, tokens[node]


def ratio(links: Tensors, given: Tensors, without_replacement: bool, drawn: Tensors, results: Tensors) -> None:
    """Accept by ratio.

    Args:
        given: logits [B, N, V], mask rows int32 [R, W], their numbers int32 [B, N], temperature, seed and position [B], and
            the proposal, float32 [B, N, V].
        links, drawn, results: as in match().
    """
    logits, table, rows, temperature, seed, position, proposal = given
    path, length, last, logprob = results
    tokens_drawn, drawn_logprob = drawn
    scales = scale_of(temperature)
    for tree in range(len(logits)):
        greedy = bool(temperature[tree] < MIN_TEMPERATURE)
        node, depth, going = 0, 0, True
        while going:
            path[tree, depth] = node
            choice, rejections = int(tokens_drawn[tree, node]), 0
            if choice == NO_TOKEN:
                break
            legal = allowed(table, rows[tree, node][None], logits.shape[2])[0]
            z = (logits[tree, node].float() * scales[tree]).where(legal, float("-inf"))
            normaliser = z[choice] - drawn_logprob[tree, node]
            rest, total, left = (z - normaliser).exp(), 1.0, 1.0  # of the target, and of the proposal
            offered = proposal[tree, node]
            child, going = int(links[1][tree, node]), False
            while child >= 0:
                token = int(links[0][tree, child])
                if greedy:
                    going = token == choice
                else:
                    coin = coins(seed[tree], position[tree] + depth, seed[tree] * 0 + child)
                    going = bool(coin * (offered[token] / left) < rest[token] / total)
                if going:
                    break
                if not greedy:
                    rest = (rest / total - offered / left).clamp(min=0)
                    total = max(float(rest.sum()), _TINY)
                    left = max(left - float(offered[token]), _TINY) if without_replacement else left
                    rejections += 1
                child = int(links[2][tree, child])
            if going:
                logprob[tree, depth] = z[int(links[0][tree, child])] - normaliser
                node, depth = child, depth + 1
                continue
            if rejections and total > _TINY:
                noise = gumbel(seed[tree][None], position[tree][None] + depth, len(rest), RESIDUAL_STREAM)[0]
                choice = int((rest.log() + noise).argmax())
            logprob[tree, depth] = z[choice] - normaliser
        length[tree], last[tree] = depth + 1, choice


_TINY = 1e-30
"""Instead of zero, where a weight or what is left of the proposal is used up."""


def gather(cache: torch.Tensor, start: torch.Tensor, path: torch.Tensor) -> None:
    """Keep what is on the path: cache [B, H, L, D] of any dtype, start int64 [B], path int64 [B, M]."""
    for row, (first, nodes) in enumerate(zip(start.tolist(), path.tolist(), strict=True)):
        kept = [first + node for node in nodes if node >= 0]
        cache[row, :, first : first + len(kept)] = cache[row][:, kept]
