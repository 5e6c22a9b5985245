"""What `draft=` means to an AlignedSampler: who guesses how texts go on (runtime/lookahead.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from maskwright.compile.grammar import CompiledGrammar
from maskwright.runtime.conditional import PrefixLogits
from maskwright.runtime.lookahead import Drafting
from maskwright.runtime.tree_masks import legal_tokens
from maskwright.runtime.warping import Target
from maskwright.speculation_options import speculation_for
from maskwright.spelling import Spelling

if TYPE_CHECKING:
    import torch

__all__ = ["drafting_for"]


def drafting_for(
    draft: Any, compiled: CompiledGrammar, tokenizer: Any, target: Target, model: PrefixLogits
) -> Drafting:
    """What the option `draft` means for a grammar, a tokenizer (None: texts are not spelled) and a model that is asked.

    Raises:
        ValueError: it is nothing that drafts, or has a verifier of its own.
        ModelError: a draft model cannot be loaded, or cannot draft.
    """
    info = compiled.tokenizer_info
    prepared = speculation_for(draft, info)
    if prepared.verifier != "match":
        raise ValueError(
            f"verifier={prepared.verifier!r} goes with method='masked': with another method drafts are verified by 'match'"
        )
    spelling = None if tokenizer is None else Spelling(tokenizer)

    def spell(text: str) -> Sequence[int]:
        return () if spelling is None else spelling.of(text, info)

    def law(logits: torch.Tensor, mask: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """A draft model's distribution at the target's temperature; its filters shape no guess."""
        weights = logits[: info.vocab_size].double().cpu().numpy() / target.temperature
        weights = np.pad(weights, (0, info.vocab_size - len(weights)), constant_values=-np.inf)
        weights = np.where(legal_tokens(mask[None], len(weights))[0], weights, -np.inf)
        shares: npt.NDArray[np.float64] = np.exp(weights - weights.max())
        return shares / shares.sum()

    return Drafting(
        prepared.drafter, prepared.budget, prepared.lock, spell, law, trees=getattr(model, "takes_trees", True)
    )
