"""Strings of a structural tag, cut at the names of special tokens.

    Cutter(vocabulary).pieces("<|channel|>final")     (Special("<|channel|>"), "final")
    Beginnings([("<f",), ("<",)]).of(("<f=a>",))      [("<",), ("<f",)]
    rest(("<f=a>",), ("<f",))                         ("=a>",)

A model may write some of these strings as special tokens, which have no text in the language.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from maskwright.grammars import regular
from maskwright.grammars.errors import GrammarError
from maskwright.grammars.rule_nodes import sequence
from maskwright.grammars.rules import Node, Special, Text

__all__ = ["Beginnings", "Cutter", "Pieces", "Vocabulary", "rest", "written"]

Pieces = tuple[str | Special, ...]  # no two texts in a row, no empty one


class Vocabulary(Protocol):
    """What is asked of a vocabulary (compile/vocabulary.py)."""

    @property
    def special_names(self) -> Mapping[str, int]:
        """The special tokens by their names."""

    def text_of(self, token: int | str) -> str | None:
        """The text that a token writes, given by its id or its text; None for a special token."""


class Cutter:
    """Cuts strings into pieces.

    Args:
        vocabulary: tells which parts of strings are special tokens, and what tokens write; None: strings are texts, and
            tokens are special.
    """

    def __init__(self, vocabulary: Vocabulary | None) -> None:
        self._vocabulary, self._names = vocabulary, None
        longest_first = sorted(filter(None, vocabulary.special_names if vocabulary else ()), key=len, reverse=True)
        if longest_first:
            self._names = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def pieces(self, text: str) -> Pieces:
        """A string cut at the names of special tokens."""
        if self._names is None or self._names.search(text) is None:
            return (text,) if text else ()
        parts = self._names.split(text)
        return tuple(Special(part) if at % 2 else part for at, part in enumerate(parts) if part)

    def token(self, token: int | str, place: str) -> str | Special:
        """What a token stands for: itself if it is special, or its text."""
        if self._vocabulary is None:
            return Special(token)
        try:
            text = self._vocabulary.text_of(token)
        except GrammarError as error:
            raise error.at(place) from error
        return Special(token) if text is None else text

    def texts(self, tokens: Iterable[int | str], place: str) -> list[str]:
        """The texts of the tokens that are not special; special tokens are never in free text."""
        pieces = (self.token(token, f"{place}/{number}") for number, token in enumerate(tokens))
        return [piece for piece in pieces if isinstance(piece, str)]


def written(pieces: Pieces) -> Node:
    """Texts and special tokens one after the other."""
    return sequence(Text(regular.literal(piece)) if isinstance(piece, str) else piece for piece in pieces)


class Beginnings:
    """Pieces, found by what begins with them: the last of them may be a part of a text."""

    def __init__(self, members: Iterable[Pieces]) -> None:
        self._whole: set[Pieces] = set()
        self._lengths: dict[Pieces, list[int]] = {}  # of last texts, ascending, by the pieces before them
        for member in members:
            self.add(member)

    def add(self, member: Pieces) -> None:
        """One more."""
        self._whole.add(member)
        if isinstance(member[-1], str):
            lengths = self._lengths.setdefault(member[:-1], [])
            if len(member[-1]) not in lengths:
                lengths.append(len(member[-1]))
                lengths.sort()

    def of(self, pieces: Pieces) -> list[Pieces]:
        """The members that some pieces begin with, shorter ones first."""
        found: list[Pieces] = []
        for at, piece in enumerate(pieces):
            before = pieces[:at]
            if isinstance(piece, str):
                lengths = self._lengths.get(before, ())
                found += [(*before, piece[:length]) for length in lengths if length <= len(piece)]
            else:
                found.append((*before, piece))
        return [way for way in found if way in self._whole]


def rest(pieces: Pieces, begin: Pieces) -> Pieces:
    """What pieces go on with behind others that they begin with."""
    if not begin:
        return pieces
    at = len(begin) - 1
    first, last = pieces[at], begin[at]
    if isinstance(first, str) and isinstance(last, str) and first != last:
        return (first[len(last) :], *pieces[at + 1 :])
    return pieces[at + 1 :]
