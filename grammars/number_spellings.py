r"""Every JSON spelling of the decimals in an interval or on a grid: `10`, `1e1`, `0.10E+02`, `1000e-2`.

Exponents go from -MAX_EXPONENT to MAX_EXPONENT, or the language would not be regular; digits are free. A text

    digits with a point somewhere, then an exponent e            0.0250e3

is read from left to right, so the exponent comes when all digits are gone. But what it must be is an interval, whose
ends follow from a few numbers that are kept while the digits go by:

    decade      the power of ten of the first digit that is not 0 (of 0.025: -2): with the exponent it is the decade of
                the value, which decides most comparisons with a bound;
    low, high   how the digits compare with those of a bound, for when the decades are the same;
    least       the exponent from which on the value is a multiple of the step: if e does, so does e + 1.

Where a step is asked for, bounds are rounded to it first, and everything is counted in units of 10**-scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from math import gcd

from maskwright.grammars.charset import CharSet
from maskwright.grammars.digits import Grid, decimals
from maskwright.grammars.number_steps import Step
from maskwright.grammars.regular import EMPTY, Regex, alternate, concat, literal, repeat
from maskwright.grammars.regular_nodes import Span

__all__ = ["MAX_EXPONENT", "exponents", "spellings", "units_of"]

MAX_EXPONENT = 400

_DIGITS = [CharSet.of(str(digit)) for digit in range(10)]
_POINT, _EXPONENT = CharSet.of("."), CharSet.of("eE")
_LESS, _MORE = -1, -2  # how digits compare with a bound; from 0 on, how many of its digits they are so far


@dataclass(frozen=True, slots=True)
class _Bound:
    """A decimal above zero.

    Attributes:
        digits: its digits from the first to the last that is not 0.
        decade: the power of ten of the first one.
        open: whether the bound itself is left out.
        units: it counted in units of a step's 10**-scale; 0 without a step.
    """

    digits: tuple[int, ...]
    decade: int
    open: bool
    units: int

    @classmethod
    def of(cls, digits: str, decade: int, is_open: bool, units: int = 0) -> _Bound:
        return cls(tuple(map(int, digits.rstrip("0"))), decade, is_open, units)

    def compare(self, so_far: int, digit: int) -> int:
        """How digits compare with the bound's after one more of them."""
        if so_far < 0:
            return so_far
        own = self.digits[so_far] if so_far < len(self.digits) else 0
        if digit == own:
            return min(so_far + 1, len(self.digits))
        return _LESS if digit < own else _MORE

    def order(self, so_far: int) -> int:
        """-1, 0, 1: the digits against the bound's, when no more come."""
        if so_far < 0:
            return -1 if so_far == _LESS else 1
        return 0 if so_far == len(self.digits) else -1


@dataclass(frozen=True, slots=True)
class _Range:
    """Which magnitudes: zero or not; and, if `above`, those above zero between two bounds that are multiples of a step."""

    zero: bool
    above: bool
    low: _Bound | None
    high: _Bound | None
    step: Step | None

    @property
    def farthest(self) -> int:
        """So many places after the point, no digit but 0 makes a difference to what may follow."""
        decades = [abs(bound.decade) for bound in (self.low, self.high) if bound is not None]
        return MAX_EXPONENT + 1 + max([0, self.step.scale if self.step else 0, *decades])


def spellings(low: Decimal, low_open: bool, high: Decimal | None, high_open: bool, step: Step | None) -> Regex:
    """The texts without a sign whose value lies between low >= 0 and high (None: unbounded) and is a multiple of a step.

    (Steps that are not the multiples of a number are not spelled here.)
    """
    assert step is None or step.is_multiple
    zero = low == 0 and not low_open and (high is None or high > 0 or high == 0 and not high_open)
    if step is None:
        lower = None if low == 0 else _bound(low, low_open)
        upper = None if high is None or high <= 0 else _bound(high, high_open)
        above = high is None or high > low or high == low > 0 and not (low_open or high_open)
    else:
        least, exact = units_of(low, step.scale)
        least = max(least + (low_open or not exact), 1)
        most = None
        if high is not None:
            most, exact = units_of(high, step.scale)
            most -= high_open and exact
        lower = None if least <= step.modulus else _bound_of_units(least, step)
        upper = None if most is None or most <= 0 else _bound_of_units(most, step)
        above = most is None or least + -least % step.modulus <= most
    return _Spelled(_Range(zero, above, lower, upper, step), "start") if zero or above else EMPTY


def units_of(value: Decimal, scale: int) -> tuple[int, bool]:
    """floor(value * 10**scale), and whether that is exact. (Arithmetic of Decimals would round to its context.)"""
    numerator, denominator = value.as_integer_ratio()
    units, rest = divmod(numerator * 10**scale, denominator)
    return units, rest == 0


def _bound(value: Decimal, is_open: bool) -> _Bound:
    return _Bound.of("".join(map(str, value.as_tuple().digits)), value.adjusted(), is_open)


def _bound_of_units(units: int, step: Step) -> _Bound:
    return _Bound.of(str(units), len(str(units)) - 1 - step.scale, False, units)


@lru_cache(maxsize=64)
def exponents(low: int = -MAX_EXPONENT, high: int = MAX_EXPONENT) -> Regex:
    """The texts of the integers low..high after an `e`: with a sign or without, and any number of zeros before them."""
    zeros = repeat(literal("0"), 0)
    found = []
    if high >= 0:
        found.append(concat(repeat(literal("+"), 0, 1), zeros, decimals(Grid(max(low, 0), high))))
    if low <= 0:
        found.append(concat(literal("-"), zeros, decimals(Grid(max(-high, 0), -low))))
    return alternate(*found)


@dataclass(frozen=True, slots=True)
class _Digits:
    """What is kept of the digits so far; None for a decade: they are all 0.

    Attributes:
        decade, low, high, least: see the module; `least` None is an exponent that no text has.
        place: how many digits there are after the point, where that matters.
        remainder: of all digits, read as one integer, by the modulus.
    """

    decade: int | None = None
    low: int = 0
    high: int = 0
    least: int | None = -MAX_EXPONENT
    place: int = 0
    remainder: int = 0


class _Spelled(Regex):
    """A state: where in the text (`phase`), and what is kept of the digits. No state is dead.

    Phases: "start", "whole" (after a first digit that is not 0), "zero" (after 0), "point", "fraction".
    """

    __slots__ = ("digits", "phase", "range")

    def __init__(self, range_: _Range, phase: str, digits: _Digits = _Digits()) -> None:
        self.range, self.phase, self.digits = range_, phase, digits
        complete = phase not in ("start", "point") and self._may_have(0)
        super().__init__((range_, phase, digits), complete, plain=False)  # `span` is an enclosing interval
        self.empty = False

    def _same(self, other: object) -> bool:
        if not isinstance(other, _Spelled):
            return False
        return (self.phase, self.digits, self.range) == (other.phase, other.digits, other.range)

    def _measure(self) -> Span:
        return int(not self.nullable), None

    def _spell(self) -> CharSet:
        return CharSet.of("0123456789.eE+-")

    def __repr__(self) -> str:
        return f"<spelled {self.phase} {self.digits}>"

    # ---------------------------------------------------------------- transitions

    def _derive(self) -> Iterator[tuple[CharSet, Regex]]:
        phase = self.phase
        if phase != "zero":
            for digit, characters in enumerate(_DIGITS):
                yield characters, self._live(*self._after(digit))
        if phase in ("whole", "zero"):
            yield _POINT, self._live("point", self.digits)
        if phase not in ("start", "point"):
            low, high = self._exponents()
            if low <= high:
                yield _EXPONENT, exponents(low, high)

    def _live(self, phase: str, digits: _Digits) -> Regex:
        after = _Spelled(self.range, phase, digits)
        return after if after._alive() else EMPTY

    def _after(self, digit: int) -> tuple[str, _Digits]:
        """Phase and digits after one more digit."""
        range_, known = self.range, self.digits
        whole = self.phase in ("start", "whole")
        place = 0 if whole else min(known.place + 1, range_.farthest)
        decade = known.decade
        if decade is None and digit:
            decade = -place
        elif decade is not None and whole:
            decade += 1
        low, high = known.low, known.high
        if decade is not None:
            low = range_.low.compare(low, digit) if range_.low else 0
            high = range_.high.compare(high, digit) if range_.high else 0
        least, remainder = known.least, 0
        if range_.step is not None and decade is not None:
            remainder = (known.remainder * 10 + digit) % range_.step.modulus
            if digit:
                zeros = _zeros_to_multiple(remainder, range_.step.modulus)
                least = None if zeros is None else zeros + place - range_.step.scale
            elif whole and least is not None:
                least -= 1
            if least is not None:
                least = None if least > MAX_EXPONENT and not whole else max(least, -MAX_EXPONENT)
        after = _Digits(decade, low, high, least, place, remainder)
        phase = "zero" if whole and decade is None else "whole" if whole else "fraction"
        return phase, self._saturated(after)

    def _saturated(self, digits: _Digits) -> _Digits:
        """The same without what makes no difference any more, so that equal languages are equal states."""
        low, high, decade = self.range.low, self.range.high, digits.decade
        if decade is None:
            return digits
        if self.range.step is None:
            digits = replace(digits, place=0)
        if low is None and high is None:
            return replace(digits, decade=0)
        if high is None and low is not None and decade - MAX_EXPONENT > low.decade:
            return replace(digits, decade=low.decade + MAX_EXPONENT + 1, low=_MORE)
        if low is None and high is not None and not digits.place and decade + MAX_EXPONENT < high.decade:
            return replace(digits, decade=high.decade - MAX_EXPONENT - 1, high=_LESS)
        return digits

    # ---------------------------------------------------------------- what exponents, and what digits, may follow

    def _may_have(self, exponent: int) -> bool:
        low, high = self._exponents()
        return low <= exponent <= high

    def _exponents(self) -> tuple[int, int]:
        """The interval of the exponents that these digits may have."""
        first, last = -MAX_EXPONENT, MAX_EXPONENT
        range_, digits = self.range, self.digits
        if digits.decade is None or not range_.above:
            return (first, last) if range_.zero and digits.decade is None else (1, 0)
        if range_.step is not None:
            if digits.least is None:
                return 1, 0
            first = digits.least
        if range_.low is not None:
            order = range_.low.order(digits.low)
            enough = order > 0 or order == 0 and not range_.low.open
            first = max(first, range_.low.decade - digits.decade + (not enough))
        if range_.high is not None:
            order = range_.high.order(digits.high)
            within = order < 0 or order == 0 and not range_.high.open
            last = min(last, range_.high.decade - digits.decade - (not within))
        return first, last

    def _alive(self) -> bool:
        """Whether the text can go on to one in the language, or is one."""
        range_, digits = self.range, self.digits
        if digits.decade is None:
            return range_.zero or self._first_digit_may_come()
        if not range_.above:
            return False
        if self.phase == "whole":
            top = None if range_.high is None else range_.high.decade
        else:
            top = digits.decade + MAX_EXPONENT
            top = top if range_.high is None else min(top, range_.high.decade)
        bottom = digits.decade - MAX_EXPONENT
        if range_.step is None:
            return self._between(bottom, top)
        if top is None:
            return True
        # A multiple in some decade is one, ten times as large, in the next: only the last decade, and those of bounds
        # to which the digits are equal so far, can make a difference.
        decades = {top, top - 1} | ({range_.low.decade} if range_.low else set())
        return any(bottom <= decade <= top and self._multiple_in(decade, range_.step) for decade in decades)

    def _first_digit_may_come(self) -> bool:
        """Whether some value above zero can still be written: its first digit comes further behind the point."""
        range_ = self.range
        if not range_.above:
            return False
        highest = MAX_EXPONENT - self.digits.place - 1
        if range_.step is None:
            return range_.low is None or range_.low.decade <= highest
        least = max(range_.low.units if range_.low else 0, 1)
        least += -least % range_.step.modulus
        return len(str(least)) - 1 - range_.step.scale <= highest

    def _between(self, bottom: int, top: int | None) -> bool:
        """Whether the digits can be those of a value within the bounds, in a decade from bottom to top."""
        low, high, digits = self.range.low, self.range.high, self.digits
        if low is not None:
            bottom = max(bottom, low.decade + (digits.low == _LESS))
        if high is not None and top is not None:
            beyond = digits.high == _MORE or high.open and high.order(digits.high) == 0
            top = min(top, high.decade - beyond)
        return top is None or bottom <= top

    def _multiple_in(self, decade: int, step: Step) -> bool:
        """Whether the digits can be those of a multiple of the step within the bounds, in a decade."""
        low, high, digits = self.range.low, self.range.high, self.digits
        assert digits.decade is not None
        on_low = low is not None and low.decade == decade
        on_high = high is not None and high.decade == decade
        if low is not None and (decade < low.decade or on_low and digits.low == _LESS):
            return False
        if on_high and digits.high == _MORE:
            return False
        missing = decade + step.scale - (digits.decade + digits.place)  # digits of the unit count
        if missing < 0:
            return self._may_have(decade - digits.decade)
        unit = 10**missing
        first = low.units % unit if low is not None and on_low and digits.low >= 0 else 0
        last = high.units % unit if high is not None and on_high and digits.high >= 0 else unit - 1
        return first + (-digits.remainder * unit - first) % step.modulus <= last


@lru_cache(maxsize=1024)
def _zeros_to_multiple(remainder: int, modulus: int) -> int | None:
    """How many zeros, at least, make a number of this remainder a multiple of the modulus; None: no number does.

    What the remainder lacks of the modulus must divide a power of ten.
    """
    lacking = modulus // gcd(modulus, remainder)
    twos = fives = 0
    while lacking % 2 == 0:
        lacking, twos = lacking // 2, twos + 1
    while lacking % 5 == 0:
        lacking, fives = lacking // 5, fives + 1
    return max(twos, fives) if lacking == 1 else None
