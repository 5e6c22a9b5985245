"""Drafts of what the grammar forces: the text that must come next, in the tokenizer's own tokens.

Where a grammar leaves no choice of text it mostly leaves a choice of tokens (`"name"` can be written in many ways), so a mask
alone decides little. The forced text is spelled by the tokenizer, and its last token left out, since it might merge with
what follows; the target verifies the others, so that its law is kept, unlike where forced text is appended unseen.

Source: jump-forward decoding (SGLang, Zheng et al. 2024; XGrammar, Dong et al. 2025), here verified.
"""

from __future__ import annotations

from collections.abc import Sequence

from maskwright.runtime.draft_growth import PredictingDrafter, Prediction, Predictor
from maskwright.runtime.drafter import Text

__all__ = ["ForcedDrafter"]

_ESTIMATE = 0.9


class ForcedDrafter(PredictingDrafter):
    """Forced text, spelled."""

    name = "grammar"

    def predictor(self, text: Text) -> Predictor:
        """See PredictingDrafter."""
        return _Forced(text)


class _Forced(Predictor):
    """Places are the tokens still to come of a forced text, but for its last one."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def root(self) -> Sequence[int]:
        forced = self._text.matcher.find_jump_forward_string()
        return self._text.spell(forced)[:-1] if len(forced) > 1 else ()

    def after(self, place: Sequence[int], token: int) -> Sequence[int]:
        return place[1:] if len(place) > 1 and place[0] == token else self.root()

    def predictions(self, place: Sequence[int]) -> Sequence[Prediction]:
        return [Prediction(place[0], 0, _ESTIMATE)] if place else []
