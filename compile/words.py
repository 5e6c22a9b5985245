"""Lays sets of literal strings into the automaton: enum members, and keys over "any other key"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from maskwright.compile.automaton import ALONGSIDE, Automaton, Published
from maskwright.compile.spelling import Spelling
from maskwright.kernels import layout as L
from maskwright.kernels import words as kernel

__all__ = ["Words"]


class Words:
    """Strings spelled and sorted once, to be laid out any number of times with different result codes.

    Attributes:
        spelled: (text with its closing quote, number in `words`), sorted by text; None where the text policy allows
            several spellings of a word.
    """

    def __init__(self, spelling: Spelling, words: Sequence[str]) -> None:
        texts = [spelling.unique(word) for word in words]
        self.spelled: list[tuple[bytes, int]] | None = None
        if None not in texts:
            self.spelled = sorted((text + b'"', number) for number, text in enumerate(texts) if text is not None)

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
        laid = [(text, results[number]) for text, number in self.spelled if number in results]
        joined = b"".join([text for text, _ in laid])
        if not automaton.tokens.writable.all():
            for text, result in laid:
                if result >= 0:
                    automaton.require(text)
        offsets = np.zeros(len(laid) + 1, np.int64)
        np.cumsum([len(text) for text, _ in laid], out=offsets[1:])
        codes = np.array([result for _, result in laid], np.int32)
        tables = automaton.tables
        if otherwise:
            automaton.lower(otherwise)
        data = np.frombuffer(joined, np.uint8)
        while True:
            tables.reserve(len(data) + 1, 2 * len(data) + 2 * len(laid), 256 * len(laid))
            need, start, states, transitions, maps = kernel.lay_words(
                data,
                offsets,
                codes,
                tables.states,
                tables.state_count,
                tables.transitions,
                tables.transition_count,
                tables.maps,
                tables.map_count,
                otherwise,
                L.ALONGSIDE if any_other else 0,
            )
            if need == 0:
                break
            if need < 0:
                return None
            automaton.lower(need)
        tables.extend(states, transitions, maps)
        automaton.own(int(start), ALONGSIDE if any_other else _LAID)
        return int(start)


_LAID = Published()
