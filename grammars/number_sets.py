"""Number languages that are told by their values: bounds are combined before they are spelled.

The spellings of an interval (number_spellings) keep much of the digits that they have read, and the intersection of two
such languages keeps all pairs of that. So the sets of values are combined, and what comes out is spelled once:

    integer, and at most 20, and not below -3      one interval with a step: integers from -3 to 20

A set is a union of pieces: intervals, with a step or without (number_steps). What is made from unknown languages is not
known; then the languages are combined as they are. So they are under the policy "canonical", whose languages are small,
unless several steps, or the complement of one, come in: one automaton that keeps a remainder knows at once which digits
can still come, where a product of several has to be searched. The policy "any" does not spell such complements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import reduce

from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.number_steps import Step
from maskwright.grammars.numbers import (
    Number,
    Policy,
    number_language,
    numbers,
    periodic_numbers,
    step_of,
    strongest_bound,
)
from maskwright.grammars.regular import EMPTY, Regex, alternate, complement, intersect
from maskwright.grammars.stopwatch import tick

__all__ = ["NumberSets"]

MAX_PIECES = 32  # of a set; one with more is not followed


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is in `step` (None: all decimals) between two bounds (None: unbounded), either of them open or not."""

    low: Decimal | None = None
    low_open: bool = False
    high: Decimal | None = None
    high_open: bool = False
    step: Step | None = None

    @property
    def empty(self) -> bool:
        if self.step is not None and self.step.is_empty:
            return True
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or self.low == self.high and (self.low_open or self.high_open)

    def __and__(self, other: _Piece) -> _Piece:
        low, low_open = _stronger(self.low, self.low_open, other.low, other.low_open, lower=True)
        high, high_open = _stronger(self.high, self.high_open, other.high, other.high_open, lower=False)
        if self.step is None or other.step is None:
            step = other.step if self.step is None else self.step
        else:
            bounded = low is not None and high is not None
            step = self.step.both(other.step, max(abs(low), abs(high)) if bounded else None)  # type: ignore[arg-type]
        return _Piece(low, low_open, high, high_open, step)


_Pieces = tuple[_Piece, ...]  # their union


class NumberSets:
    """And, or, without over the number languages of one text policy; what it gives is what `regular` would give."""

    def __init__(self, policy: Policy = "canonical") -> None:
        self._policy: Policy = policy
        self._pieces: dict[Regex, _Pieces] = {EMPTY: (), numbers(policy): (_Piece(),)}
        self._languages: dict[_Pieces, Regex | None] = {(): EMPTY}

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
        bounds = *strongest_bound(low, above, lower=True), *strongest_bound(high, below, lower=False)
        self._pieces.setdefault(found, (_Piece(*bounds, step_of(integer, multiple)),))
        return found

    def known(self, languages: Iterable[Regex]) -> bool:
        """Whether the values of all of them are known."""
        return all(language in self._pieces for language in languages)

    def all_of(self, languages: Sequence[Regex]) -> Regex:
        """What is in each of `languages`."""
        if len(languages) == 1:
            return languages[0]
        known = [language for language in languages if language in self._pieces]
        known.sort(key=self._steps_in)  # between bounds, steps have little to say to each other
        if len(known) < 2:
            return intersect(*languages)
        if not self._by_values(known):
            found = intersect(*languages)
            if len(known) == len(languages):
                self._pieces.setdefault(found, reduce(_common, (self._pieces[language] for language in known)))
            return found
        common = self._spelled(lambda: reduce(_common, (self._pieces[language] for language in known)))
        if common is None:
            return intersect(*languages)
        return intersect(common, *(language for language in languages if language not in self._pieces))

    def any_of(self, languages: Sequence[Regex]) -> Regex:
        """What is in some of `languages`."""
        if not self.known(languages):
            return alternate(*languages)
        pieces = tuple(dict.fromkeys(piece for language in languages for piece in self._pieces[language]))
        if self._policy == "canonical" and self._by_values(languages):
            found = self._spelled(lambda: _merged(pieces))
            if found is not None:
                return found
        found = alternate(*languages)
        if len(pieces) <= MAX_PIECES:
            self._pieces.setdefault(found, pieces)
        return found

    def without(self, language: Regex, other: Regex) -> Regex:
        """What is in `language` and not in `other`."""
        if language is EMPTY or other is EMPTY:
            return language
        if language is other:
            return EMPTY
        pieces = self._pieces.get(other)
        if pieces is not None and self._policy == "any" and all(piece.step is None for piece in pieces):
            opposite = self._spelled(lambda: reduce(_common, map(_complement, pieces)))
            if opposite is not None:
                return self.all_of([language, opposite])
        own = self._pieces.get(language)
        if own is not None and pieces is not None and self._policy == "canonical" and any(p.step for p in pieces):
            left = self._spelled(lambda: reduce(_common, map(_complement, pieces), own))
            if left is not None:
                return left
        return intersect(language, complement(other))

    def exactly_one_of(self, languages: Sequence[Regex]) -> Regex | None:
        """What is in just one of `languages`, two or more; None where that is to be found from the languages as they are."""
        if not self.known(languages) or not self._by_values(languages):
            return None
        if self._policy == "canonical":
            return self._spelled(lambda: _once([self._pieces[language] for language in languages]))
        once: Regex = EMPTY
        twice: Regex = EMPTY
        for language in languages:
            both = self.all_of([once, language])
            once, twice = self.any_of([once, language]), self.any_of([twice, both])
        return self.without(once, twice)

    def _by_values(self, languages: Iterable[Regex]) -> bool:
        """Whether known languages are to be combined by what they hold (see the module)."""
        if self._policy == "any":
            return True
        stepped = [language for language in languages if self._steps_in(language)]
        steps = (piece.step for language in stepped for piece in self._pieces[language])
        return len(stepped) > 1 or any(step and not step.is_multiple for step in steps)

    def _steps_in(self, language: Regex) -> int:
        """How many pieces of a known language have a step."""
        return sum(piece.step is not None for piece in self._pieces[language])

    def _spelled(self, combine: Callable[[], _Pieces]) -> Regex | None:
        """The language of a combined set; None if that is beyond a limit."""
        found: Regex | None = None
        with suppress(LimitExceeded):  # by the least common multiple of two steps, say
            pieces = combine()
            if pieces in self._languages:
                return self._languages[pieces]
            self._languages[pieces] = None
            if len(pieces) <= MAX_PIECES:
                found = self._languages[pieces] = alternate(*map(self._spell, pieces))
                self._pieces.setdefault(found, pieces)
        return found

    def _spell(self, piece: _Piece) -> Regex:
        return periodic_numbers(piece.low, piece.low_open, piece.high, piece.high_open, piece.step, self._policy)


def _common(pieces: _Pieces, others: _Pieces) -> _Pieces:
    return _merged(piece & other for piece in pieces for other in others)


def _complement(piece: _Piece) -> _Pieces:
    """The other decimals."""
    below = () if piece.low is None else (_Piece(high=piece.low, high_open=not piece.low_open),)
    above = () if piece.high is None else (_Piece(low=piece.high, low_open=not piece.high_open),)
    beside = () if piece.step is None else (replace(piece, step=~piece.step),)
    return below + beside + above


def _once(sets: Sequence[_Pieces]) -> _Pieces:
    """What is in just one of some sets."""
    once: _Pieces = ()
    twice: _Pieces = ()
    for pieces in sets:
        twice = _merged((*twice, *_common(once, pieces)))
        once = _merged((*once, *pieces))
    return reduce(_common, map(_complement, twice), once)


def _merged(pieces: Iterable[_Piece]) -> _Pieces:
    """The pieces that are not empty; where steps other than multiples share an interval, they are made one."""
    found: dict[_Piece, None] = {}
    sharing: dict[_Piece, list[_Piece]] = {}  # those found, by their interval
    for piece in pieces:
        tick()
        if piece.empty:
            continue
        others = sharing.setdefault(replace(piece, step=None), [])
        step = piece.step
        if any(other.step and not other.step.is_multiple for other in (piece, *others)):
            for other in others:
                del found[other]
                step = None if step is None or other.step is None else step | other.step
            others.clear()
            step = None if step is None or step.is_everything else step
        kept = replace(piece, step=step)
        if kept not in found:
            found[kept] = None
            others.append(kept)
    return tuple(found)


def _stronger(
    bound: Decimal | None, is_open: bool, other: Decimal | None, other_open: bool, *, lower: bool
) -> tuple[Decimal | None, bool]:
    if bound is None or other is None:
        return (bound, is_open) if other is None else (other, other_open)
    if bound == other:
        return bound, is_open or other_open
    return (bound, is_open) if (bound > other) == lower else (other, other_open)
