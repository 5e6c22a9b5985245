"""Drafts of what the grammar forces: the text that must come next, in the tokenizer's own tokens.

Where a grammar leaves no choice of text it mostly leaves a choice of tokens (`"name"` can be written in many ways), so a mask
alone decides little. The forced text is spelled by the tokenizer, and the target verifies it, so that its law is kept, unlike
where forced text is appended unseen. The last of its tokens mostly merges with what follows, for which jump-forward leaves it
out: behind `"age` comes `":` in any case, but the token is `": "`, `": ["` or `": {"`. Which tokens came where this one was
the last is counted, whatever the grammar was, and the next grammar allows some of them.

Source: jump-forward decoding (SGLang, Zheng et al. 2024; XGrammar, Dong et al. 2025), here verified.
"""

from __future__ import annotations

from collections.abc import Sequence

from maskwright.runtime.corrections import Corrections
from maskwright.runtime.draft_growth import PredictingDrafter, Prediction, Predictor
from maskwright.runtime.drafter import Text

__all__ = ["ForcedDrafter"]

_ESTIMATE = 0.9


class ForcedDrafter(PredictingDrafter):
    """Forced text, spelled."""

    name = "grammar"

    def __init__(self) -> None:
        super().__init__()
        self.corrections = Corrections()  # by the last token of a forced text

    def predictor(self, text: Text) -> Predictor:
        """See PredictingDrafter."""
        return _Forced(self, text)


class _Forced(Predictor):
    """Places are the tokens still to come of a forced text."""

    def __init__(self, drafter: ForcedDrafter, text: Text) -> None:
        self._drafter, self._text = drafter, text

    def root(self) -> Sequence[int]:
        forced = self._text.matcher.find_jump_forward_string()
        return self._text.spell(forced) if forced else ()

    def after(self, place: Sequence[int], token: int) -> Sequence[int]:
        return place[1:] if len(place) > 1 and place[0] == token else self.root()

    def predictions(self, place: Sequence[int]) -> Sequence[Prediction]:
        if not place:
            return []
        if len(place) > 1:
            return [Prediction(place[0], 0, _ESTIMATE)]
        return [
            Prediction(token, 16 * (1 + rank) + int(share * 9), share)
            for rank, (token, share) in enumerate(self._drafter.corrections.of(place[0]))
        ]

    def learn(self, place: Sequence[int], token: int) -> None:
        if len(place) == 1:
            self._drafter.corrections.count(place[0], token)
