"""Finite languages of literal texts, laid into the automaton as they are reached: choices, and the spans of a text.

    Literals.of_words(["yes", "no"])                one of them
    Literals.of_spans(text)                         any span of a text, the empty one too
    Literals.of_spans(text, "words")                any span that begins and ends where words do

Both are a sorted table of byte strings, of which a state is a slice and a depth (kernels/literals.py): strings that share
a prefix are neighbours. For spans the table is a suffix array (compile/suffixes.py), so that it takes ten bytes for each
byte of the text. A slice of one string is one state wherever it is met, by its place in the text, so that these are no
more than the text is long; the others are the branching part of a suffix trie. All are laid on demand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from maskwright.compile.automaton import Automaton, Private
from maskwright.compile.suffixes import sorted_suffixes
from maskwright.grammars.charset import CharSet
from maskwright.grammars.errors import InvalidError, LimitExceeded, TokenizerError, UnsatisfiableError
from maskwright.kernels import layout as L
from maskwright.kernels import literals as kernel

__all__ = ["CHUNKS", "MAX_BYTES", "Chunks", "Literals"]

Array = np.ndarray[Any, Any]
Chunks = Literal["characters", "words", "lines"]

MAX_BYTES = 1 << 26  # of one table
_LAID_AT_ONCE = 512  # states

# What a text is cut into; every character belongs to one chunk. A word is a run of letters, digits and underscores; what
# stands between words is a chunk a character. A line has its line feed.
CHUNKS: dict[str, re.Pattern[str]] = {
    "characters": re.compile(r".", re.DOTALL),
    "words": re.compile(r"\w+|\W", re.DOTALL),
    "lines": re.compile(r"[^\n]*\n|[^\n]+"),
}


@dataclass(frozen=True, eq=False)
class Literals:
    """A sorted table of texts in UTF-8.

    Attributes:
        data: uint8 [n]; marks: uint8 [n + 1]; starts: int32 [m]; shortest: see kernels.literals.lay_literals.
    """

    data: Array
    marks: Array
    starts: Array
    shortest: int = 0

    @classmethod
    def of_words(cls, words: Iterable[str]) -> Literals:
        """Exactly the given texts, which need be neither sorted nor distinct."""
        spelled = sorted({_encoded(word) for word in words})
        data = _bounded(b"\0".join([*spelled, b""]))  # a byte behind each text, so that no two end at one place
        lengths = np.fromiter(map(len, spelled), np.int64, len(spelled))
        ends = np.cumsum(lengths + 1) - 1
        marks = np.zeros(len(data) + 1, np.uint8)
        marks[ends] = kernel.MAY_END | kernel.MUST_END
        return cls(data, marks, (ends - lengths).astype(np.int32))

    @classmethod
    def of_spans(cls, text: str, chunks: Chunks = "characters", min_length: int = 0) -> Literals:
        """Every span of `text` that begins where a chunk begins, ends where one ends, and has `min_length` characters."""
        data = _bounded(_encoded(text))
        leads = data & 0xC0 != 0x80
        begins = leads
        if chunks != "characters":
            firsts = np.fromiter((chunk.start() for chunk in CHUNKS[chunks].finditer(text)), np.int64)
            begins = np.zeros(len(data), bool)
            begins[np.flatnonzero(leads)[firsts]] = True
        suffixes = sorted_suffixes(data)
        marks = np.append(begins, True) * np.uint8(kernel.MAY_END)
        marks[-1] |= kernel.MUST_END
        # The suffix without characters comes first: it is the empty span.
        starts = np.concatenate(([len(data)], suffixes[begins[suffixes]])).astype(np.int32)
        return cls(data, marks, starts, min_length)

    def lay(self, automaton: Automaton, whole: bool = False) -> int:
        """A state from which each of the texts ends the frame with result code 0, late.

        Args:
            whole: the text is all there is, and nothing follows it (see compile.texts.TextStates).

        Raises:
            TokenizerError: the vocabulary can write none of them.
            UnsatisfiableError: there are none.
        """
        writable = self if automaton.tokens.characters is None else self._writable(automaton.tokens.characters)
        table = writable._long_enough()
        if not len(table.starts):
            if len(self._long_enough().starts):
                raise TokenizerError("the vocabulary can write none of the texts; use one with a token for every byte")
            raise UnsatisfiableError(f"no span of the text has min_length={self.shortest} characters")
        slices = np.array([[0, len(table.starts), 0, 0]], np.int32)
        singles = np.zeros(len(table.data) + 1, np.int32)
        otherwise = L.NOTHING_FOLLOWS if whole else 0
        return automaton.allocate(1, _Slices(automaton, table, otherwise, singles, slices))

    def _writable(self, characters: CharSet) -> Literals:
        """The texts that have no other characters."""
        text = self.data.tobytes().decode()
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        places = np.flatnonzero(self.data & 0xC0 != 0x80)
        unknown = np.array([point for point in np.unique(points).tolist() if point not in characters], np.uint32)
        bad = places[np.isin(points, unknown)]
        bad = bad[self.marks[bad] & kernel.MUST_END == 0]  # what stands between two texts is in neither
        if not len(bad):
            return self
        # A text with such a character ends at the last place before it where a text may end.
        ends = np.flatnonzero(self.marks & kernel.MAY_END)
        before = np.searchsorted(ends, bad, "right") - 1
        last = np.where(before >= 0, ends[np.maximum(before, 0)], -1)
        marks = self.marks.copy()
        marks[last[last >= 0]] |= kernel.MUST_END
        cut = np.zeros(len(marks) + 1, np.int64)  # starts that have no end: those in (last, bad]
        np.add.at(cut, last + 1, 1)
        np.add.at(cut, bad + 1, -1)
        return replace(self, marks=marks, starts=self.starts[np.cumsum(cut)[self.starts] == 0])

    def _long_enough(self) -> Literals:
        """The texts that can have `shortest` characters."""
        if not self.shortest:
            return self
        characters = np.append(0, np.cumsum(self.data & 0xC0 != 0x80))  # before each place
        ends = np.flatnonzero(self.marks & kernel.MUST_END)
        end = ends[np.searchsorted(ends, self.starts)]
        return replace(self, starts=self.starts[characters[end] - characters[self.starts] >= self.shortest])


class _Slices(Private):
    """Owner of states that were allocated together: what slice of the table each stands for.

    Attributes:
        singles: int32 [n + 1]; see kernels.literals.lay_literals.
        slices: int32 [states, 4]; low, high, depth in bytes, depth in characters.
    """

    __slots__ = ("automaton", "otherwise", "singles", "slices", "table")

    def __init__(self, automaton: Automaton, table: Literals, otherwise: int, singles: Array, slices: Array) -> None:
        self.automaton, self.table, self.otherwise = automaton, table, otherwise
        self.singles, self.slices = singles, slices

    def lower(self, index: int, state: int) -> None:
        tables, table = self.automaton.tables, self.table
        room = _LAID_AT_ONCE + 257
        tables.reserve(room, 2 * room, 256 * room)
        slices = np.empty((room, 4), np.int32)
        slices[0] = self.slices[index]
        first = tables.state_count
        allocated, transitions, maps = kernel.lay_literals(
            table.data,
            table.marks,
            table.starts,
            self.singles,
            self.automaton.pair_maps,
            slices,
            table.shortest,
            self.otherwise,
            state,
            first,
            _LAID_AT_ONCE,
            tables.states,
            tables.transitions,
            tables.transition_count,
            tables.maps,
            tables.map_count,
        )
        tables.extend(first + allocated, transitions, maps, tables.action_count)
        if allocated:
            rest = slices[1 : 1 + allocated].copy()
            self.automaton.own(first, _Slices(self.automaton, table, self.otherwise, self.singles, rest))


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidError(
            f"{text[max(0, error.start - 20) : error.end]!a} has a lone surrogate, which no text can contain"
        ) from error


def _bounded(data: bytes) -> Array:
    if len(data) > MAX_BYTES:
        raise LimitExceeded(
            "max_bytes", len(data), MAX_BYTES, what="bytes of texts", hint="give fewer or shorter texts"
        )
    return np.frombuffer(data, np.uint8)
