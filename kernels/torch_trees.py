"""Draft trees verified in torch operations, a tree after the other: the reference for the other back ends.

Arguments are as in kernels/drafts.py, already checked.
"""

# Callees: d14863dd5591

from __future__ import annotations

from typing import TYPE_CHECKING

from maskwright.kernels.backends import NO_TOKEN
from maskwright.kernels.noise import MIN_TEMPERATURE, RESIDUAL_STREAM
from maskwright.kernels.torch_noise import coins, gumbel
from maskwright.kernels.torch_sampling import allowed, scale_of

if TYPE_CHECKING:
    import torch

__all__ = ["gather", "match", "ratio"]


def match(
    links: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    drawn: torch.Tensor,
    drawn_logprob: torch.Tensor,
    results: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """Follow the tokens drawn: links are token, first_child, next_sibling, int64 [B, N]; drawn and its logprob [B, N]."""
    token, first_child, next_sibling = (link.tolist() for link in links)
    path, length, last, logprob = results
    path.fill_(-1)
    logprob.fill_(float("-inf"))
    for tree, tokens in enumerate(drawn.tolist()):
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


def ratio(
    links: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    logits: torch.Tensor,
    table: torch.Tensor,
    rows: torch.Tensor,
    temperature: torch.Tensor,
    seed: torch.Tensor,
    position: torch.Tensor,
    proposal: torch.Tensor,
    without_replacement: bool,
    drawn: torch.Tensor,
    drawn_logprob: torch.Tensor,
    results: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """Accept by ratio. logits [B, N, V], rows int32 [B, N], proposal float32 [B, N, V], the others [B] or as in match()."""
    path, length, last, logprob = results
    path.fill_(-1)
    logprob.fill_(float("-inf"))
    scales = scale_of(temperature)
    for tree in range(len(logits)):
        greedy = bool(temperature[tree] < MIN_TEMPERATURE)
        node, depth, going = 0, 0, True
        while going:
            path[tree, depth] = node
            choice, rejections = int(drawn[tree, node]), 0
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
