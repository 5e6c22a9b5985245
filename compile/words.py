"""Lays sets of literal strings into the automaton: enum members, and keys over "any other key"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from maskwright.compile.automaton import ALONGSIDE, Automaton, Published
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
    """

    def __init__(self, spelling: Spelling, words: Sequence[str]) -> None:
        texts = [spelling.unique(word) for word in words]
        self.spelled: list[tuple[bytes, int]] | None = None
        if None not in texts:
            self.spelled = sorted((text + b'"', number) for number, text in enumerate(texts) if text is not None)
        self._joined: tuple[Array, Array] | None = None
        """`_join` of all of them, for they are mostly laid out together."""

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
        laid = self.spelled if len(results) == len(self.spelled) else [w for w in self.spelled if w[1] in results]
        codes = np.array([results[number] for _, number in laid], np.int32)
        if automaton.tokens.characters is not None:
            for text, number in laid:
                if results[number] >= 0:
                    automaton.require(text)
        if laid is self.spelled:
            data, offsets = self._joined = self._joined or _join(laid)
        else:
            data, offsets = _join(laid)
        tables = automaton.tables
        if otherwise:
            automaton.lower(otherwise)
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


def _join(laid: list[tuple[bytes, int]]) -> tuple[Array, Array]:
    """The texts one after the other, uint8, and where each begins, int64 with the end behind them."""
    offsets = np.array([0, *accumulate([len(text) for text, _ in laid])], np.int64)
    return np.frombuffer(b"".join([text for text, _ in laid]), np.uint8), offsets


_LAID = Published()
