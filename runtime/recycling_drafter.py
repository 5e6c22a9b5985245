"""Token Recycling: for each token the likeliest ones behind it, as the target saw them last.

A matrix [V, 8]: whenever the target's logits are there behind a token, its best allowed candidates replace the row. Drafts
grow from the text's last token through the rows. What a forward computed beside the path taken is not thrown away.
Candidates are those of the masked logits, so that the matrix fills with what this kind of grammar lets through. Their
probabilities are kept, too: how likely one was there says how likely it is here.

Source: Token Recycling (Luo et al. 2025), without the probabilities; there a fixed tree of 80 nodes, here the likeliest
nodes of a growing one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.kernels.logits import likeliest_few
from maskwright.runtime.draft_growth import PredictingDrafter, Prediction, Predictor
from maskwright.runtime.drafter import Text, Verified
from maskwright.runtime.tree_masks import legal_tokens

__all__ = ["RecyclingDrafter"]

_WIDTH = 8
_LEAST = 0.03  # candidates less likely than this were unlikely even there
_CARRIED = 0.6  # first estimate of how much of a probability is found again behind the same token elsewhere
_CHEAP = 1 << 15  # logits of all nodes together that are ranked on a device without a thought; above, the path's alone

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]


class RecyclingDrafter(PredictingDrafter):
    """The candidates that came last behind each token."""

    name = "recycling"

    def __init__(self) -> None:
        super().__init__()
        self._candidates: Integers = np.full((0, _WIDTH), -1, np.int32)
        self._shares: Floats = np.zeros((0, _WIDTH), np.float32)

    def predictor(self, text: Text) -> Predictor:
        """See PredictingDrafter."""
        size = text.matcher.compiled.tokens.vocab_size
        more = size - len(self._candidates)
        if more > 0:
            self._candidates = np.pad(self._candidates, ((0, more), (0, 0)), constant_values=-1)
            self._shares = np.pad(self._shares, ((0, more), (0, 0)))
        return _Recycling(self, text)

    def candidates(self, token: int) -> list[tuple[int, float]]:
        """What was likely behind a token last, and how likely, the likeliest first."""
        found = zip(self._candidates[token].tolist(), self._shares[token].tolist(), strict=True)
        return [(candidate, share) for candidate, share in found if share >= _LEAST]

    def replace(self, tokens: Sequence[int], candidates: Integers, shares: Floats) -> None:
        """New candidates, int32 [N, 8], behind some tokens, and their probabilities, float32 [N, 8]."""
        self._candidates[tokens], self._shares[tokens] = candidates, shares


class _Recycling(Predictor):
    """Places are the last tokens."""

    def __init__(self, drafter: RecyclingDrafter, text: Text) -> None:
        self._drafter, self._text = drafter, text

    def root(self) -> int:
        return self._text.ids[-1] if self._text.ids else -1

    def after(self, place: int, token: int) -> int:
        return token

    def predictions(self, place: int) -> Sequence[Prediction]:
        if place < 0:
            return []
        return [
            Prediction(token, 16 * min(rank, 2) + int(share * 9), _CARRIED * share)
            for rank, (token, share) in enumerate(self._drafter.candidates(place))
        ]

    def observe(self, verified: Verified) -> None:
        """Recycle the candidates behind the nodes verified."""
        tree, rows = verified.tree, verified.rows
        if rows is None or tree.token[0] < 0:
            return
        tokens, masks = tree.token, verified.masks
        if rows.device.type != "cpu" and rows.numel() > _CHEAP:
            path = [0, *verified.taken]
            tokens, masks, rows = tokens[path], masks[path], rows[path]
        self._drafter.replace(tokens.tolist(), *best_candidates(rows, masks))


def best_candidates(logits: Any, masks: Integers) -> tuple[Integers, Floats]:
    """The likeliest allowed tokens of logits float32 [N, V] under masks [N, W], int32 [N, 8], and their probabilities among
    the allowed ones, float32 [N, 8]; -1 and 0 where there are fewer."""
    if logits.device.type == "cpu":
        found, shares = np.empty((len(logits), _WIDTH), np.int32), np.empty((len(logits), _WIDTH), np.float32)
        likeliest_few(np.ascontiguousarray(logits.numpy()), np.ascontiguousarray(masks), found, shares)
        return found, shares
    return _best_on_device(logits, masks)


def _best_on_device(logits: Any, masks: Integers) -> tuple[Integers, Floats]:
    """The same where the logits are; of equally likely tokens any may come first."""
    import torch

    legal = torch.from_numpy(legal_tokens(masks, logits.shape[1])).to(logits.device)
    allowed = logits.masked_fill(~legal, float("-inf"))
    shares = allowed.softmax(1).nan_to_num(0.0)  # of rows without a finite logit
    best = shares.topk(min(_WIDTH, logits.shape[1]))
    found = torch.where(best.values > 0, best.indices, -1).int().cpu().numpy()
    missing = ((0, 0), (0, _WIDTH - found.shape[1]))
    return np.pad(found, missing, constant_values=-1), np.pad(best.values.cpu().numpy(), missing)
