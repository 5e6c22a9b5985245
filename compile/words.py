"""Lays sets of literal strings into the automaton: enum members, and keys over "any other key"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from maskwright.compile.automaton import PUBLISHED, Automaton
from maskwright.compile.spelling import Spelling
from maskwright.kernels import layout as L
from maskwright.kernels import words as kernel

__all__ = ["Words"]

Array = np.ndarray[Any, Any]


class Words:
    """Strings spelled and sorted once, to be laid out any number of times with different result codes.

    Attributes:
        spelled: (text with its closing quote, number in `words`), sorted by text; None where the text policy allows
            several spellings of a word.
        addresses: of what WORDS_* name (kernels/layout.py); the arrays belong to this object.
        size: bytes of all of the texts.
    """

    def __init__(self, spelling: Spelling, words: Sequence[str]) -> None:
        texts = [spelling.unique(word) for word in words]
        self.spelled: list[tuple[bytes, int]] | None = None
        self.size = 0
        if None in texts:
            return
        self.spelled = sorted((text + b'"', number) for number, text in enumerate(texts) if text is not None)
        offsets = np.array([0, *accumulate([len(text) for text, _ in self.spelled])], np.int64)
        joined = np.frombuffer(b"".join([text for text, _ in self.spelled]) or b"\0", np.uint8)
        self.size = int(offsets[-1])
        self._scratch = np.zeros((2, max(1, len(texts))), np.int32)  # numbers of chosen words, their results
        self._held = joined, offsets
        chosen = self._scratch.ctypes.data
        self.addresses = joined.ctypes.data, offsets.ctypes.data, chosen, chosen + self._scratch.strides[0]

    def lay(
        self, automaton: Automaton, results: Mapping[int, int], otherwise: int = 0, any_other: bool = False
    ) -> int | None:
        """The state after the opening quote of a string that is one of the words, and ends with its result code.

        Args:
            results: result codes by number of the word, at least one; -1 forbids a word that `otherwise` would allow.
            otherwise: state after the opening quote of the language of all other strings, or 0.
            any_other: that language is every string, so that it goes along with every word.

        Returns:
            None where the words have several spellings, or the other language counts in the register.
        """
        if self.spelled is None:
            return None
        chosen = [place for place, (_, number) in enumerate(self.spelled) if number in results]
        codes = [results[self.spelled[place][1]] for place in chosen]
        if automaton.tokens.characters is not None:
            for place, code in zip(chosen, codes, strict=True):
                if code >= 0:
                    automaton.require(self.spelled[place][0])
        self._scratch[:, : len(chosen)] = chosen, codes
        header = np.array(self.addresses, np.int64)
        if otherwise:
            automaton.lower(otherwise)
        tables, argument = automaton.tables, L.ALONGSIDE if any_other else 0
        while True:
            tables.reserve(self.size + 1, 2 * self.size + 2 * len(chosen), 256 * len(chosen))
            cursor = tables.cursor()
            need, start = kernel.lay_words(
                tables.address, cursor.ctypes.data, header.ctypes.data, len(chosen), otherwise, argument
            )
            if need == 0:
                break
            if need < 0:
                return None
            automaton.lower(need)
        tables.extend(*cursor.tolist())
        automaton.own(int(start), PUBLISHED)
        return int(start)
