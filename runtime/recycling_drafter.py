"""Token Recycling: for each token the likeliest ones behind it, as the target saw them last.

A matrix [V, 8]: whenever the target's logits are there behind a token, its best allowed candidates replace the row. Drafts
grow from the text's last token through the rows. What a forward computed beside the path taken is not thrown away.
Candidates are those of the masked logits, so that the matrix fills with what this kind of grammar lets through.

Source: Token Recycling (Luo et al. 2025); there a fixed tree of 80 nodes, here the likeliest nodes of a growing one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.runtime.draft_growth import PredictingDrafter, Prediction, Predictor
from maskwright.runtime.drafter import Text, Verified
from maskwright.runtime.tree_masks import legal_tokens

__all__ = ["RecyclingDrafter"]

_WIDTH = 8
_ESTIMATES = (0.5, 0.18, 0.1, 0.06, 0.04, 0.03, 0.02, 0.02)  # by rank
_CHEAP = 1 << 15  # logits of all nodes together that are ranked on the host without a thought; above, the path's alone


class RecyclingDrafter(PredictingDrafter):
    """The candidates that came last behind each token."""

    name = "recycling"

    def __init__(self) -> None:
        super().__init__()
        self._candidates: npt.NDArray[np.int32] = np.full((0, _WIDTH), -1, np.int32)

    def predictor(self, text: Text) -> Predictor:
        """See PredictingDrafter."""
        size = text.matcher.compiled.tokens.vocab_size
        if len(self._candidates) < size:
            grown = np.full((size, _WIDTH), -1, np.int32)
            grown[: len(self._candidates)] = self._candidates
            self._candidates = grown
        return _Recycling(self, text)

    def candidates(self, token: int) -> list[int]:
        """What came behind a token last, the likeliest first."""
        return [found for found in self._candidates[token].tolist() if found >= 0]

    def replace(self, tokens: Sequence[int], candidates: npt.NDArray[np.int32]) -> None:
        """New candidates, int32 [N, 8], behind some tokens."""
        self._candidates[tokens] = candidates


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
        return [Prediction(token, rank, _ESTIMATES[rank]) for rank, token in enumerate(self._drafter.candidates(place))]

    def observe(self, verified: Verified) -> None:
        """Recycle the candidates behind the nodes verified."""
        tree, rows = verified.tree, verified.rows
        if rows is None or tree.token[0] < 0:
            return
        nodes = list(range(len(tree))) if rows.numel() <= _CHEAP else [0, *verified.taken]
        self._drafter.replace(tree.token[nodes].tolist(), best_candidates(rows[nodes], verified.masks[nodes]))


def best_candidates(logits: Any, masks: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """int32 [N, 8]: the likeliest allowed tokens of logits [N, V] under masks [N, W]; -1 where there are fewer."""
    import torch

    legal = torch.from_numpy(legal_tokens(masks, logits.shape[1])).to(logits.device)
    best = logits.masked_fill(~legal, float("-inf")).topk(min(_WIDTH, logits.shape[1]))
    found = torch.where(best.values > float("-inf"), best.indices, -1).cpu().numpy().astype(np.int32)
    missing = _WIDTH - found.shape[1]
    return np.pad(found, ((0, 0), (0, missing)), constant_values=-1) if missing else found
