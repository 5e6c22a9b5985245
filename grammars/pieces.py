"""Strings of a structural tag, cut at the names of special tokens.

    Cutter(vocabulary).pieces("<|channel|>final")     (Special("<|channel|>"), "final")
    Beginnings([("<f",), ("<",)]).of(("<f=a>",))      [("<",), ("<f",)]
    rest(("<f=a>",), ("<f",))                         ("=a>",)

A model may write some of these strings as special tokens, which have no text in the language.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
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

    def all_pieces(self, texts: Sequence[str]) -> list[Pieces]:
        """The pieces of several strings. They are looked at together: few of them have special tokens in them."""
        if self._search("\n".join(texts)) is None:
            return [(text,) if text else () for text in texts]
        return list(map(self.pieces, texts))

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
    """Pieces, found by what begins with them: the last of them may be a part of a text.

    Of sorted texts all that stand between one and what begins with it begin with it, too. So what a text begins with is
    its predecessor, or what that begins with.
    """

    def __init__(self, members: Iterable[Pieces]) -> None:
        self._whole: set[Pieces] = set()
        self._texts: dict[Pieces, list[str]] = {}  # last texts, sorted, by the pieces before them
        self._shorter: dict[Pieces, Pieces] = {}  # the longest other member that one begins with, in its last text
        for member in dict.fromkeys(members):
            self._whole.add(member)
            if isinstance(last := member[-1], str):
                self._texts.setdefault(member[:-1], []).append(last)
        for before, texts in self._texts.items():
            texts.sort()
            open_ones: list[str] = []
            for text in texts:
                while open_ones and not text.startswith(open_ones[-1]):
                    open_ones.pop()
                if open_ones:
                    self._shorter[(*before, text)] = (*before, open_ones[-1])
                open_ones.append(text)

    def of(self, pieces: Pieces) -> list[Pieces]:
        """The members that some pieces begin with, shorter ones first."""
        found: list[Pieces] = []
        for at, piece in enumerate(pieces):
            before = pieces[:at]
            if not isinstance(piece, str):
                found += [(*before, piece)] if (*before, piece) in self._whole else []
            elif texts := self._texts.get(before):
                found += reversed(self._in_text(before, texts, piece))
        return found

    def _in_text(self, before: Pieces, texts: list[str], piece: str) -> list[Pieces]:
        place = bisect_right(texts, piece)
        member = (*before, texts[place - 1]) if place else None
        found: list[Pieces] = []
        while member is not None:
            if piece.startswith(str(member[-1])):
                found.append(member)
            member = self._shorter.get(member)
        return found


def rest(pieces: Pieces, begin: Pieces) -> Pieces:
    """What pieces go on with behind others that they begin with."""
    if not begin:
        return pieces
    at = len(begin) - 1
    first, last = pieces[at], begin[at]
    if isinstance(first, str) and isinstance(last, str) and first != last:
        return (first[len(last) :], *pieces[at + 1 :])
    return pieces[at + 1 :]
