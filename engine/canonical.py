"""Canonical tokenizations: of all token sequences that write a text, the one that the tokenizer gives.

A model was trained on these alone; what it gives to others is mass that no text of its training had.

Byte-level BPE merges by rank whatever stands before and behind, so that each beginning of a canonical sequence, cut between
tokens, is canonical itself: a prefix that is not need not be followed. Other tokenizers (Unigram weighs whole words) are asked
at the end of a text only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.runtime.warping import TokenClasses

__all__ = ["Canonical"]

_MOST_TRIED = 64  # tokens that are tried behind a prefix; of more the next prefix is judged when it is visited
_MOST_KEPT = 1 << 14


class Canonical:
    """What one tokenizer makes of texts (runtime/conditional.py: CanonicalTokens)."""

    def __init__(self, tokenizer: Any, info: TokenizerInfo, classes: TokenClasses) -> None:
        self._tokenizer, self._info, self._lowest = tokenizer, info, classes.lowest
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._by_prefix = type(getattr(backend, "model", None)).__name__ == "BPE"
        self._known: dict[tuple[int, ...], bool] = {}

    def kept(self, tokens: Sequence[int], allowed: npt.NDArray[np.int64], end: int, /) -> npt.NDArray[np.int64]:
        before = tuple(tokens)
        if self._by_prefix:
            if not self.is_own(before):
                return allowed[:0]
            if len(allowed) <= _MOST_TRIED:
                fits = [token == end or self.is_own((*before, token)) for token in allowed.tolist()]
                return allowed[np.array(fits, bool)]
        elif end in allowed and not self.is_own(before):
            return allowed[allowed != end]
        return allowed

    def may_begin(self, tokens: tuple[int, ...], /) -> bool:
        return not self._by_prefix or self.is_own(tokens)

    def is_own(self, tokens: tuple[int, ...]) -> bool:
        """Whether the tokenizer writes the text of some tokens with these; true of what ends inside a character."""
        found = self._known.get(tokens)
        if found is None:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            found = self._known[tokens] = self._compared(tokens)
        return found

    def _compared(self, tokens: tuple[int, ...]) -> bool:
        try:
            text = self._info.decode(tokens).decode()
        except UnicodeDecodeError:
            return True
        own = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return tuple(self._lowest[own].tolist()) == tokens
