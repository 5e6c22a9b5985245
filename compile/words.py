"""Lays sets of literal strings into the automaton: enum members, and keys over "any other key"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskwright.compile.automaton import Automaton, Published
from maskwright.compile.spelling import Spelling
from maskwright.kernels import words as kernel

__all__ = ["lay_words"]


def lay_words(
    automaton: Automaton, spelling: Spelling, words: Sequence[str], results: Sequence[int], otherwise: int = 0
) -> int | None:
    """The state after the opening quote of a string that is one of `words`, and ends with the word's result code.

    Args:
        words: distinct strings, at least one.
        results: result codes; -1 forbids a word (where `otherwise` would allow it).
        otherwise: state after the opening quote of the language of all other strings, or 0.

    Returns:
        None where the text policy allows several spellings of a word, or the other language counts in the register.
    """
    spelled: list[tuple[bytes, int]] = []
    for word, result in zip(words, results, strict=True):
        text = spelling.unique(word)
        if text is None:
            return None
        if result >= 0:
            automaton.require(text + b'"')
        spelled.append((text + b'"', result))
    spelled.sort()
    text = np.frombuffer(b"".join(word for word, _ in spelled), np.uint8)
    offsets = np.zeros(len(spelled) + 1, np.int64)
    np.cumsum([len(word) for word, _ in spelled], out=offsets[1:])
    codes = np.array([result for _, result in spelled], np.int32)
    tables = automaton.tables
    if otherwise:
        automaton.lower(otherwise)
    while True:
        tables.reserve(len(text) + 1, 2 * len(text) + 2 * len(spelled), 256 * len(spelled))
        need, start, states, transitions, maps = kernel.lay_words(
            text, offsets, codes, tables.states, tables.state_count, tables.transitions, tables.transition_count,
            tables.maps, tables.map_count, otherwise,
        )
        if need == 0:
            break
        if need < 0:
            return None
        automaton.lower(need)
    tables.extend(states, transitions, maps)
    automaton.own(int(start), _LAID)
    return int(start)


_LAID = Published()
