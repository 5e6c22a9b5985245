"""Number languages that are told by their values: bounds are combined before they are spelled.

The spellings of an interval (number_spellings) keep much of the digits that they have read, and the intersection of two
such languages keeps all pairs of that. So the sets of values are combined, and what comes out is spelled once:

    integer, and at most 20, and not below -3      one interval with a step: integers from -3 to 20

A set is a union of pieces: intervals, with a step or without. The complement of a step is none, and what is made from
unknown languages is not known either; then the languages are combined as they are. So they are under the policy
"canonical", whose languages are small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from math import lcm

from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.numbers import Number, Policy, exact_decimal, number_language, numbers, strongest_bound
from maskwright.grammars.regular import EMPTY, Regex, alternate, complement, intersect

__all__ = ["NumberSets"]

MAX_PIECES = 32  # of a set; one with more is not followed


@dataclass(frozen=True, slots=True)
class _Piece:
    """The multiples of `step` (None: all decimals) between two bounds (None: unbounded), either of them open or not."""

    low: Decimal | None = None
    low_open: bool = False
    high: Decimal | None = None
    high_open: bool = False
    step: Decimal | None = None

    @property
    def empty(self) -> bool:
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or self.low == self.high and (self.low_open or self.high_open)

    def __and__(self, other: _Piece) -> _Piece:
        low, low_open = _stronger(self.low, self.low_open, other.low, other.low_open, lower=True)
        high, high_open = _stronger(self.high, self.high_open, other.high, other.high_open, lower=False)
        return _Piece(low, low_open, high, high_open, _common_step(self.step, other.step))


_Pieces = tuple[_Piece, ...]  # their union


class NumberSets:
    """And, or, without over the number languages of one text policy; what it gives is what `regular` would give."""

    def __init__(self, policy: Policy = "canonical") -> None:
        self._policy: Policy = policy
        self._pieces: dict[Regex, _Pieces] = {EMPTY: ()}
        self._languages: dict[_Pieces, Regex | None] = {(): EMPTY}
        if policy == "any":
            self._pieces[numbers(policy)] = (_Piece(),)

    def language(
        self,
        integer: bool,
        low: Number | None,
        above: Number | None,
        high: Number | None,
        below: Number | None,
        multiple: Number | None,
    ) -> Regex:
        """As numbers.number_language."""
        found = number_language(
            integer=integer,
            minimum=low,
            exclusive_minimum=above,
            maximum=high,
            exclusive_maximum=below,
            multiple_of=multiple,
            policy=self._policy,
        )
        if self._policy == "any":
            step = _common_step(Decimal(1) if integer else None, None if multiple is None else exact_decimal(multiple))
            bounds = *strongest_bound(low, above, lower=True), *strongest_bound(high, below, lower=False)
            self._pieces.setdefault(found, (_Piece(*bounds, step),))
        return found

    def known(self, languages: Iterable[Regex]) -> bool:
        """Whether the values of all of them are known."""
        return all(language in self._pieces for language in languages)

    def all_of(self, languages: Sequence[Regex]) -> Regex:
        """What is in each of `languages`."""
        if self._policy != "any":
            return intersect(*languages)
        known = [language for language in languages if language in self._pieces]
        if len(known) < 2:
            return intersect(*languages)
        common = self._spelled(reduce(_common, (self._pieces[language] for language in known)))
        if common is None:
            return intersect(*languages)
        return intersect(common, *(language for language in languages if language not in self._pieces))

    def any_of(self, languages: Sequence[Regex]) -> Regex:
        """What is in some of `languages`."""
        found = alternate(*languages)
        if self._policy == "any" and self.known(languages):
            pieces = dict.fromkeys(piece for language in languages for piece in self._pieces[language])
            if len(pieces) <= MAX_PIECES:
                self._pieces.setdefault(found, tuple(pieces))
        return found

    def without(self, language: Regex, other: Regex) -> Regex:
        """What is in `language` and not in `other`."""
        if language is EMPTY or other is EMPTY:
            return language
        if language is other:
            return EMPTY
        pieces = self._pieces.get(other)
        if pieces is not None and all(piece.step is None for piece in pieces):
            opposite = self._spelled(reduce(_common, map(_complement, pieces)))
            if opposite is not None:
                return self.all_of([language, opposite])
        return intersect(language, complement(other))

    def _spelled(self, pieces: _Pieces) -> Regex | None:
        """The language of a set; None if that is beyond a limit."""
        if pieces not in self._languages:
            found: Regex | None = None
            if len(pieces) <= MAX_PIECES:
                with suppress(LimitExceeded):  # by the least common multiple of two steps, say
                    found = alternate(*map(self._spell, pieces))
            self._languages[pieces] = found
            if found is not None:
                self._pieces.setdefault(found, pieces)
        return self._languages[pieces]

    def _spell(self, piece: _Piece) -> Regex:
        return number_language(
            minimum=None if piece.low_open else piece.low,
            exclusive_minimum=piece.low if piece.low_open else None,
            maximum=None if piece.high_open else piece.high,
            exclusive_maximum=piece.high if piece.high_open else None,
            multiple_of=piece.step,
            policy=self._policy,
        )


def _common(pieces: _Pieces, others: _Pieces) -> _Pieces:
    return _present(piece & other for piece in pieces for other in others)


def _complement(piece: _Piece) -> _Pieces:
    """The other decimals; for a piece without a step."""
    below = () if piece.low is None else (_Piece(high=piece.low, high_open=not piece.low_open),)
    above = () if piece.high is None else (_Piece(low=piece.high, low_open=not piece.high_open),)
    return below + above


def _present(pieces: Iterable[_Piece]) -> _Pieces:
    return tuple(dict.fromkeys(piece for piece in pieces if not piece.empty))


def _stronger(
    bound: Decimal | None, is_open: bool, other: Decimal | None, other_open: bool, *, lower: bool
) -> tuple[Decimal | None, bool]:
    if bound is None or other is None:
        return (bound, is_open) if other is None else (other, other_open)
    if bound == other:
        return bound, is_open or other_open
    return (bound, is_open) if (bound > other) == lower else (other, other_open)


def _common_step(step: Decimal | None, other: Decimal | None) -> Decimal | None:
    """The least common multiple. (Arithmetic of Decimals would round to its context.)"""
    if step is None or other is None:
        return step if other is None else other
    (first, below), (second, other_below) = step.as_integer_ratio(), other.as_integer_ratio()
    scale = 0
    while 10**scale % below or 10**scale % other_below:
        scale += 1
    units = lcm(first * (10**scale // below), second * (10**scale // other_below))
    return Decimal((0, tuple(map(int, str(units))), -scale))
