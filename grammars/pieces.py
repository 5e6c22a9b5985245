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


_BEGINNING = 3  # characters of a name


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
        self._vocabulary = vocabulary
        self._names = {name for name in vocabulary.special_names if name} if vocabulary else set()
        self._lengths = sorted(set(map(len, self._names)), reverse=True)
        # What a name begins with: few patterns, since names have much in common, and few texts match one.
        beginnings = sorted({name[:_BEGINNING] for name in self._names})
        self._search = re.compile("|".join(map(re.escape, beginnings))).search if beginnings else _never

    def pieces(self, text: str) -> Pieces:
        """A string cut at the names of special tokens: the first of them, and of those the longest."""
        match = self._search(text)
        if match is None:
            return (text,) if text else ()
        found: list[str | Special] = []
        begin = 0
        while match is not None:
            at = match.start()
            name = next(
                (text[at : at + length] for length in self._lengths if text[at : at + length] in self._names), ""
            )
            if name:
                found += [text[begin:at], Special(name)]
                begin = at + len(name)
            match = self._search(text, begin if name else at + 1)
        found.append(text[begin:])
        return tuple(piece for piece in found if piece != "")

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


def _never(text: str, at: int = 0) -> None:
    """What a search finds where nothing is looked for."""


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
