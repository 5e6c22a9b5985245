"""Prompt lookup: copy on behind the last place where the text was as it is now.

Extraction, editing and correction copy their input, so what followed the same few tokens there is a good guess. A place is
the set of positions whose next token is the guess, each with the length of the match that led there:

    text      ... Ada Lovelace is 36 ... {"name": "Ada
    matches       ^ one token, so "Lovelace" is drafted, then " is", ...

After a mismatch the copy is found again by matching anew (Aggressive Decoding does so from the input alone). Longer matches
come first, then later ones.

Sources: Yang et al. 2023 (LLMA); prompt lookup decoding (Saxena 2023); Aggressive Decoding (Ge, Xia, Wei 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

from maskwright.runtime.draft_growth import PredictingDrafter, Prediction, Predictor
from maskwright.runtime.drafter import Text

__all__ = ["LookupDrafter"]

_MOST_MATCHES = 12  # positions looked at, the latest ones
_LONGEST = 12  # match lengths above are one
_WIDTH = 2  # different next tokens
_ESTIMATES = (0.3, 0.55, 0.7, 0.8, 0.85)  # by length of the match


class LookupDrafter(PredictingDrafter):
    """Copies from the prompt and the text so far."""

    name = "lookup"

    def predictor(self, text: Text) -> Predictor:
        """See PredictingDrafter."""
        return _Lookup(text)


Place = tuple[tuple[int, int], ...]
"""(position of the next token, length of the match before it), the best first."""


class _Lookup(Predictor):
    def __init__(self, text: Text) -> None:
        self._text = text
        self._behind: dict[int, list[int]] = {}  # of each token the positions behind it
        self._indexed = 0

    def root(self) -> Place:
        ids = self._text.ids
        for position in range(self._indexed, len(ids) - 1):
            self._behind.setdefault(ids[position], []).append(position + 1)
        self._indexed = max(len(ids) - 1, 0)
        return self._matches(ids[-1], len(ids) - 2) if ids else ()

    def _matches(self, last: int, before: int) -> Place:
        """The places behind a token, ranked by how long they match the text up to position `before`, if that is one."""
        ids, found = self._text.ids, []
        for position in self._behind.get(last, ())[-_MOST_MATCHES:]:
            length, other = 1, position - 2
            while length < _LONGEST and before - length + 1 >= 0 <= other and ids[other] == ids[before - length + 1]:
                length, other = length + 1, other - 1
            found.append((position, length))
        found.sort(key=lambda match: (-match[1], -match[0]))
        return tuple(found)

    def after(self, place: Place, token: int) -> Place:
        ids = self._text.ids
        going_on = tuple(
            (position + 1, min(length + 1, _LONGEST))
            for position, length in place
            if ids[position] == token and position + 1 < len(ids)
        )
        return going_on or self._matches(token, -1)

    def predictions(self, place: Place) -> Sequence[Prediction]:
        found = dict[int, int]()
        for position, length in place:
            found.setdefault(self._text.ids[position], length)
            if len(found) == _WIDTH:
                break
        return [
            Prediction(token, 32 * rank + length, _ESTIMATES[min(length, len(_ESTIMATES)) - 1] / (1 + rank))
            for rank, (token, length) in enumerate(found.items())
        ]
