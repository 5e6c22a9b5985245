"""Languages of number texts: which spellings there are, and which of them have a value that a schema admits.

The canonical policy is what `json.dumps` writes of an int or a float, with room for trailing zeros:

    plain    -?(0|[1-9][0-9]*)(\\.[0-9]+)?              any number of digits: 5, 5.0, 5.50, -0, -0.0
    tiny     -?[1-9](\\.[0-9]+)?e-XX                    XX from 05 to 323, and 5e-324, as `repr` writes |x| < 1e-4
    huge     -?[1-9](\\.[0-9]{1,16})?e\\+XX             XX from 16 to 308, up to the largest float, where |x| >= 1e16

`repr` has 17 significant digits at most, so a huge number is an integer; the bound on its digits makes that a property
of the text. Exponents end where floats do: a reader of floats turns no such text into infinity or (the least float
being spelled in one way only) into zero. Plain texts have no such bound, for ints have none.

Values are exact decimals, never floats: 0.1 means one tenth, and a text satisfies a bound just when its decimal value
does. `number_language` cuts the values by sign, then by notation; a plain magnitude is compared digit by digit, one
with an exponent by decades and, in the decades where a bound lies, by its mantissa. `digits` does all the comparing.

The policy "any" has every JSON spelling with an exponent from -400 to 400 (number_spellings.MAX_EXPONENT): 10, 1e1,
10.0E+00, 1000e-2. Without a bound on exponents the spellings of one value are no regular language.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache, lru_cache
from math import gcd
from typing import Literal

from maskwright.grammars.charset import CharSet
from maskwright.grammars.digits import Grid, Tail, decimals
from maskwright.grammars.errors import InvalidError, LimitExceeded
from maskwright.grammars.number_spellings import exponents, spellings, units_of
from maskwright.grammars.number_steps import MAX_MODULUS, Step
from maskwright.grammars.regular import EMPTY, Regex, alternate, chars, concat, literal, repeat

__all__ = [
    "MAX_MODULUS",
    "MAX_NUMBER_DIGITS",
    "Number",
    "Policy",
    "exact_decimal",
    "integers",
    "multiples_of",
    "number_equal",
    "number_language",
    "numbers",
    "periodic_numbers",
    "step_of",
    "strongest_bound",
]

Policy = Literal["canonical", "any"]
Number = int | float | Decimal

MAX_NUMBER_DIGITS = 400  # of a bound or divisor, before and after the point

_TINY = (-323, -5)  # decades: a number in decade x is m * 10**x with 1 <= m < 10
_HUGE = (16, 308)
_HUGE_DIGITS = 16  # digits of a huge number's mantissa after the point
_LEAST_FLOAT = Decimal("5e-324")
_LARGEST_FLOAT = Decimal("1.7976931348623157e+308")
_ZERO, _ONE, _TEN = Decimal(0), Decimal(1), Decimal(10)


# -------------------------------------------------------------------- what schemas ask for


def numbers(policy: Policy = "canonical") -> Regex:
    """Every number."""
    return _every_spelling() if policy == "any" else _every(None, policy)


def integers(policy: Policy = "canonical") -> Regex:
    """Every text whose value is an integer: 5, 5.0, -0, 1e+16."""
    return _every(_INTEGERS, policy)


def number_equal(value: Number, policy: Policy = "canonical") -> Regex:
    """Every text with exactly this value: of 1, the texts 1, 1.0, 1.00, ..."""
    return number_language(minimum=value, maximum=value, policy=policy)


def multiples_of(divisor: Number, policy: Policy = "canonical") -> Regex:
    """Every text whose value is an integer times `divisor` > 0."""
    return number_language(multiple_of=divisor, policy=policy)


def number_language(
    *,
    integer: bool = False,
    minimum: Number | None = None,
    exclusive_minimum: Number | None = None,
    maximum: Number | None = None,
    exclusive_maximum: Number | None = None,
    multiple_of: Number | None = None,
    policy: Policy = "canonical",
) -> Regex:
    """The texts of the policy whose value satisfies everything given, and no others; EMPTY when there are none.

    A float stands for the decimal that `repr` writes of it.

    Raises:
        InvalidError: a bound is not a finite number, or `multiple_of` is not above zero.
        LimitExceeded: a number has more than MAX_NUMBER_DIGITS digits, or `multiple_of` is beyond MAX_MODULUS.
    """
    low, low_open = strongest_bound(minimum, exclusive_minimum, lower=True)
    high, high_open = strongest_bound(maximum, exclusive_maximum, lower=False)
    return periodic_numbers(low, low_open, high, high_open, step_of(integer, multiple_of), policy)


def periodic_numbers(
    low: Decimal | None, low_open: bool, high: Decimal | None, high_open: bool, step: Step | None, policy: Policy
) -> Regex:
    """The texts of the policy whose value is between two bounds (None: unbounded), open or not, and in a step (None: any).

    Raises:
        LimitExceeded: the step is no multiple under the policy "any", or in units of the bounds beyond MAX_MODULUS.
    """
    if low is None and high is None and step is None:
        return numbers(policy)
    if low is None and high is None and (step == _INTEGERS or step == _FRACTIONS and policy == "canonical"):
        return _every(step, policy)
    positive = _Interval.of(low, low_open, high, high_open)
    negative = _Interval.of(
        None if high is None else high.copy_negate(), high_open, None if low is None else low.copy_negate(), low_open
    )
    magnitudes = _spelled if policy == "any" else _magnitudes
    mirrored = None if step is None else step.mirrored()
    return alternate(magnitudes(positive, step), concat(literal("-"), magnitudes(negative, mirrored)))


@lru_cache(maxsize=64)
def _every(step: Step | None, policy: Policy) -> Regex:
    """Every number without constraints, or every integer."""
    found = _spelled(_Interval(), step) if policy == "any" else _magnitudes(_Interval(), step)
    return alternate(found, concat(literal("-"), found))


@cache
def _every_spelling() -> Regex:
    """RFC 8259, section 6, with the bound on exponents."""
    exponent = concat(chars(CharSet.of("eE")), exponents())
    return concat(repeat(literal("-"), 0, 1), _plain(_Interval(), None), repeat(exponent, 0, 1))


def _spelled(interval: _Interval, step: Step | None) -> Regex:
    """Every spelling, without a sign, of what is in an interval and on the grid of a step."""
    if step is not None and not step.is_multiple:
        raise LimitExceeded("max_residues", step.modulus, 1, what="a combination of multipleOf in any spelling")
    return spellings(interval.low, interval.low_open, interval.high, interval.high_open, step)


# -------------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class _Interval:
    """Magnitudes between low >= 0 and high (None: unbounded), either end open or not."""

    low: Decimal = _ZERO
    low_open: bool = False
    high: Decimal | None = None
    high_open: bool = False

    @classmethod
    def of(cls, low: Decimal | None, low_open: bool, high: Decimal | None, high_open: bool) -> _Interval:
        """The part of an interval of signed numbers that is not negative."""
        return cls(_ZERO, False, high, high_open) if low is None or low < 0 else cls(low, low_open, high, high_open)

    @property
    def empty(self) -> bool:
        if self.high is None:
            return False
        return self.low > self.high or self.low == self.high and (self.low_open or self.high_open)

    def __contains__(self, value: Decimal) -> bool:
        above = self.low < value or self.low == value and not self.low_open
        return above and (self.high is None or value < self.high or value == self.high and not self.high_open)


_INTEGERS = Step(1, 0)
_FRACTIONS = ~_INTEGERS


def strongest_bound(closed: Number | None, opened: Number | None, *, lower: bool) -> tuple[Decimal | None, bool]:
    """The one of two bounds, inclusive and exclusive, that implies the other; and whether it is the exclusive one."""
    first = None if closed is None else exact_decimal(closed)
    second = None if opened is None else exact_decimal(opened)
    if first is None or second is None:
        return (first, False) if second is None else (second, True)
    if first == second or (first < second) == lower:
        return second, True
    return first, False


def exact_decimal(value: Number) -> Decimal:
    """The value as a Decimal without trailing zeros.

    Raises:
        InvalidError: it is not a finite number.
        LimitExceeded: it has more than MAX_NUMBER_DIGITS digits.
    """
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        raise InvalidError(f"{value} is not a finite number")
    size = max(exact.adjusted() + 1, -int(exact.as_tuple().exponent), 0)
    if size > MAX_NUMBER_DIGITS or len(exact.as_tuple().digits) > 2 * MAX_NUMBER_DIGITS:
        raise LimitExceeded("max_number_digits", size, MAX_NUMBER_DIGITS, what="digits of a number in a schema")
    sign, digits, exponent = exact.as_tuple()
    kept = len(digits)
    while kept > 1 and digits[kept - 1] == 0:
        kept -= 1
    return Decimal((sign, digits[:kept], int(exponent) + len(digits) - kept)) if exact else _ZERO


def step_of(integer: bool, multiple_of: Number | None) -> Step | None:
    """The multiples that both keywords admit: of the least common multiple of 1 and `multiple_of`."""
    if multiple_of is None:
        return _INTEGERS if integer else None
    exact = exact_decimal(multiple_of)
    if exact <= 0:
        raise InvalidError(f"multipleOf must be above zero, not {multiple_of}")
    scale = _fraction_digits(exact)
    modulus, _ = units_of(exact, scale)
    if integer and scale:
        modulus, scale = modulus // gcd(modulus, 10**scale), 0
    odd = modulus
    while odd % 10 == 0:
        odd //= 10
    if odd > MAX_MODULUS:
        raise LimitExceeded("max_modulus", odd, MAX_MODULUS, what=f"multipleOf {multiple_of}")
    return Step(modulus, scale)


def _fraction_digits(exact: Decimal) -> int:
    return max(0, -int(exact.as_tuple().exponent))


def _on_grid(interval: _Interval, step: Step, tail: Tail) -> Regex:
    """Plain texts of the step's multiples in an interval; what follows the step's digits may be zeros, or nothing."""
    low, exact = units_of(interval.low, step.scale)
    if not exact or interval.low_open:
        low += 1
    high = None
    if interval.high is not None:
        high, exact = units_of(interval.high, step.scale)
        if exact and interval.high_open:
            high -= 1
        if low > high:
            return EMPTY
    return decimals(Grid(low, high, step.scale, step.modulus, tail, residues=step.residues))


# -------------------------------------------------------------------- notations


def _magnitudes(interval: _Interval, step: Step | None) -> Regex:
    """Texts without a sign: those in an interval, and multiples of a step where there is one."""
    if interval.empty:
        return EMPTY
    if interval == _Interval() and step in (None, _INTEGERS, _FRACTIONS):
        return _all_magnitudes(step)
    return _cut_by_notation(interval, step)


@lru_cache(maxsize=8)
def _all_magnitudes(step: Step | None) -> Regex:
    """What nearly every schema asks for, `"minimum": 0` included."""
    return _cut_by_notation(_Interval(), step)


def _cut_by_notation(interval: _Interval, step: Step | None) -> Regex:
    return alternate(_plain(interval, step), *_tiny(interval, step), *_huge(interval, step))


def _plain(interval: _Interval, step: Step | None) -> Regex:
    """Texts without an exponent."""
    if step is not None and not step.between:
        return _on_grid(interval, step, Tail.ZEROS)
    low, high = interval.low, interval.high
    scale = max(_fraction_digits(low), 0 if high is None else _fraction_digits(high), step.scale if step else 0)
    modulus, residues = 1, None
    if step is not None:
        step = step.scaled(scale)
        modulus, residues = step.modulus, step.residues
    low_units, _ = units_of(low, scale)
    high_units = None if high is None else units_of(high, scale)[0] - interval.high_open
    within = high is not None and not interval.high_open
    return decimals(Grid(low_units, high_units, scale, modulus, Tail.DIGITS, interval.low_open, within, residues))


def _tiny(interval: _Interval, step: Step | None) -> Iterator[Regex]:
    """Texts with a negative exponent."""
    if interval.low >= Decimal("1e-4"):
        return
    if _LEAST_FLOAT in interval and (step is None or _is_in(step, _LEAST_FLOAT)):
        yield literal("5e-324")
    first, last = _TINY
    smallest = first if step is None else max(first, -step.scale)  # below that, a number is smaller than a unit
    if step is None or step.between:
        for run_first, run_last, mantissas in _decades(interval, first, last if step is None else smallest - 1):
            yield concat(_plain(mantissas, None), literal("e-"), _exponent(-run_last, -run_first))
    if step is None:
        return
    for run_first, run_last, mantissas in _decades(interval, smallest, last):
        for decade in range(run_first, run_last + 1):
            # m * 10**decade is in the step
            within = Step(step.modulus, step.scale + decade, step.residues, step.between)
            yield concat(_plain(mantissas, within), literal("e-"), _exponent(-decade, -decade))


def _huge(interval: _Interval, step: Step | None) -> Iterator[Regex]:
    """Texts with a positive exponent: m * 10**x = (m * 10**16) * 10**(x - 16), and m * 10**16 is an integer."""
    if interval.high is None or interval.high > _LARGEST_FLOAT:
        interval = _Interval(interval.low, interval.low_open, _LARGEST_FLOAT)
    for first, last, mantissas in _decades(interval, *_HUGE):
        if step is not None and not step.is_multiple:
            for integers_, powers in step.powers(first - _HUGE_DIGITS, last - _HUGE_DIGITS):
                mantissa = _on_grid(mantissas, replace(integers_, scale=_HUGE_DIGITS), Tail.NOTHING)
                runs = (_exponent(low + _HUGE_DIGITS, high + _HUGE_DIGITS) for low, high in _runs(powers))
                yield concat(mantissa, literal("e+"), alternate(*runs))
            continue
        while first <= last:
            through, modulus = last, 1
            if step is not None:  # what the power of ten leaves of the modulus has to divide m * 10**16
                modulus = step.modulus // gcd(step.modulus, 10 ** (first - _HUGE_DIGITS + step.scale))
                if gcd(modulus, 10) > 1:
                    through = first  # in the next decade less is left
            mantissa = _on_grid(mantissas, Step(modulus, _HUGE_DIGITS), Tail.NOTHING)
            yield concat(mantissa, literal("e+"), _exponent(first, through))
            first = through + 1


def _decades(interval: _Interval, first: int, last: int) -> Iterator[tuple[int, int, _Interval]]:
    """(first, last, mantissas) of runs of decades, from `first` to `last` at most; together, what `interval` has there.

    Mantissas range over [1, 10) but in the decades of the interval's ends.
    """
    low, high = interval.low, interval.high
    if high == 0:
        return
    bottom = low.adjusted() if low else first - 1
    top = last + 1 if high is None else high.adjusted()
    runs = ((bottom, bottom), (bottom + 1, top - 1), (top, top)) if bottom < top else ((bottom, top),)
    for run_first, run_last in runs:
        begin, end = max(run_first, first), min(run_last, last)
        if begin > end:
            continue
        mantissas = _Interval(_ONE, False, _TEN, True)
        if begin == bottom:
            mantissas = _Interval(_mantissa(low), interval.low_open, _TEN, True)
        if end == top and high is not None:
            mantissas = _Interval(mantissas.low, mantissas.low_open, _mantissa(high), interval.high_open)
        if not mantissas.empty:
            yield begin, end, mantissas


def _runs(numbers_: list[int]) -> Iterator[tuple[int, int]]:
    """The runs of consecutive numbers in an ascending list: first and last."""
    first = last = numbers_[0]
    for number in numbers_[1:]:
        if number > last + 1:
            yield first, last
            first = number
        last = number
    yield first, last


def _is_in(step: Step, value: Decimal) -> bool:
    units, exact = units_of(value, step.scale)
    return step.has(units) if exact else step.between


def _mantissa(value: Decimal) -> Decimal:
    """`value` divided by the power of ten that brings it into [1, 10)."""
    digits = value.as_tuple().digits
    return Decimal((0, digits, 1 - len(digits)))


def _exponent(first: int, last: int) -> Regex:
    """The integers from first to last, with two digits at least."""
    padded = decimals(Grid(first, min(last, 9))) if first < 10 else EMPTY
    return alternate(concat(literal("0"), padded), decimals(Grid(max(first, 10), last)) if last >= 10 else EMPTY)
