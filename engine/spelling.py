"""Texts in a tokenizer's own tokens, remembered."""

from __future__ import annotations

from typing import Any

from maskwright.compile.vocabulary import TokenizerInfo

__all__ = ["Spelling"]


class Spelling:
    """What a tokenizer makes of texts that a grammar forces: the same ones come again and again."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def of(self, text: str, info: TokenizerInfo) -> list[int]:
        """The tokenizer's tokens of `text`; none where they write anything else (a space before it, say)."""
        if text not in self._known:
            tokens = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
            self._known[text] = tokens if info.decode(tokens) == text.encode() else []
        return self._known[text]
