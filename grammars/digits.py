"""Decimal texts whose value lies in an interval, or on a grid, as one regular language with a hand-made automaton.

`decimals(Grid(...))` reads a decimal without sign or exponent, `(0|[1-9][0-9]*)(\\.[0-9]+)?`, from left to right. The
value of a text is compared with two bounds and divided by a modulus while its digits go by:

    bounds      A longer whole part is a larger one, so what matters is how many more whole digits must or may follow
                (`need`, `room`), and whether the digits so far equal those of a bound (`on_low`, `on_high`): then its
                next digit decides. Off the bounds, after one smaller or larger digit, only the counts are left.
    modulus     the remainder of the digits so far, read as one integer with the point left out. Which remainders belong
                is told by `residues`; mostly that is the one of multiples.

Both are kept in *units*: a value is counted in 10**-scale, and a text's first `scale` fraction digits (missing ones are
zeros) complete the integer that is compared and divided. What may follow them is the grid's `tail`.

A general construction (a regular expression for the bounds, intersected with a remainder automaton) gives the same
language; this one has few states, equal states are equal nodes, a step costs microseconds, and since the values that
can still be reached form an interval, `_reachable` knows by arithmetic whether a multiple lies in it: no state is dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from itertools import pairwise

from maskwright.grammars.charset import CharSet
from maskwright.grammars.regular import EMPTY, EPSILON, Regex, chars, concat, repeat

__all__ = ["DIGIT", "Grid", "Tail", "decimals", "grid_of"]

_BETWEEN = {(first, stop): CharSet([(48 + first, 47 + stop)]) for stop in range(1, 11) for first in range(stop)}
_DIGITS = _BETWEEN[0, 10]
_POINT = CharSet.of(".")
DIGIT = chars(_DIGITS)
_ZERO = chars(_BETWEEN[0, 1])
_SOME_NONZERO = concat(repeat(_ZERO, 0), chars(_BETWEEN[1, 10]), repeat(DIGIT, 0))

_MAX_COMPARED = 1000  # residues; with more, remainders that differ are told apart even where they need not be

Span = tuple[int, int | None]


class Tail(Enum):
    """What may follow the first `scale` digits of a fraction."""

    NOTHING = "nothing"  # and with scale 0 no point either
    ZEROS = "zeros"
    DIGITS = "digits"


@dataclass(frozen=True, slots=True)
class Grid:
    """Which decimals: low <= units <= high and units divisible by `modulus`, where units = value * 10**scale.

    With Tail.DIGITS a value lies between two units, where all values belong; it counts as the lower one, and the flags
    say what that means at the ends of the interval.

    Attributes:
        low, high: units, 0 <= low <= high; high None is unbounded.
        scale: fraction digits in a unit.
        modulus: at least 1.
        tail: what may follow these digits.
        above: the value must exceed low units, not only reach them.
        within: the value must not exceed high units, not only stay below high + 1.
        residues: by remainder, 1 where a number of units belongs and 0 where not; None: multiples of the modulus belong.
    """

    low: int = 0
    high: int | None = None
    scale: int = 0
    modulus: int = 1
    tail: Tail = Tail.NOTHING
    above: bool = False
    within: bool = False
    residues: bytes | None = None
    # The bounds' digits, padded so that at least one is whole; how many are whole; from where only 0 (9) is left.
    low_digits: bytes = field(init=False, compare=False)
    high_digits: bytes = field(init=False, compare=False)
    low_length: int = field(init=False, compare=False)
    high_length: int = field(init=False, compare=False)
    low_free: int = field(init=False, compare=False)
    high_free: int = field(init=False, compare=False)
    _hash: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        low = str(self.low).zfill(self.scale + 1)
        high = "" if self.high is None else str(self.high).zfill(self.scale + 1)
        for name, value in (
            ("low_digits", bytes(map(int, low))),
            ("high_digits", bytes(map(int, high))),
            ("low_length", len(low) - self.scale),
            ("high_length", len(high) - self.scale),
            ("low_free", len(low) + 1 if self.above else len(low.rstrip("0"))),
            ("high_free", len(high) + 1 if self.within else len(high.rstrip("9"))),
            ("_hash", hash((self.low, self.high, self.scale, self.modulus, self.tail, self.residues))),
        ):
            object.__setattr__(self, name, value)
        self.validate()

    def __hash__(self) -> int:
        return self._hash  # every state asks for it

    @property
    def bounds(self) -> tuple[Decimal, bool, Decimal | None, bool]:
        """The interval of values: its lower end, whether that is open, its upper end (None: unbounded), likewise."""
        beyond = self.tail is Tail.DIGITS and not self.within
        high = None if self.high is None else self._value(self.high + beyond)
        return self._value(self.low), self.above, high, beyond

    @property
    def step(self) -> Decimal | None:
        """What the values are multiples of; None where any digits may follow, or other values belong."""
        return None if self.tail is Tail.DIGITS or self.residues is not None else self._value(self.modulus)

    @property
    def is_plain(self) -> bool:
        """Whether every number of units belongs."""
        return self.modulus == 1 and self.residues is None

    def has(self, first: int, last: int) -> bool:
        """Whether one of the numbers of units from first >= 0 to last belongs, whatever the bounds."""
        if self.residues is None:
            return first + -first % self.modulus <= last
        at, count = first % self.modulus, last - first + 1
        beyond = min(at + count - self.modulus, self.modulus)
        return self.residues.find(1, at, at + count) >= 0 or beyond > 0 and self.residues.find(1, 0, beyond) >= 0

    def _value(self, units: int) -> Decimal:
        return Decimal((0, tuple(map(int, str(units))), -self.scale))

    def __str__(self) -> str:
        """In the notation of intervals: `[1, 99] by 3`."""
        low, low_open, high, high_open = self.bounds
        upper = ")" if high is None else f"{high}{')' if high_open else ']'}"
        step = "" if self.step is None else f" by {self.step}"
        if self.residues is not None:
            step = f", {self.residues.count(1)} of each {self.modulus} units"
        return f"{'(' if low_open else '['}{low}, {upper}{step}"

    def validate(self) -> None:
        """Raise AssertionError unless the attributes are as the class promises."""
        assert self.low >= 0 and self.scale >= 0 and self.modulus >= 1
        assert self.high is None or self.low <= self.high
        assert self.tail is Tail.DIGITS or not (self.above or self.within)
        assert self.tail is not Tail.DIGITS or self.modulus == 1 or self.residues is not None
        assert self.residues is None or len(self.residues) == self.modulus
        assert self.tail is Tail.DIGITS or self.residues is None or 1 in self.residues
        assert not (self.above and self.within and self.low == self.high)


def decimals(grid: Grid) -> Regex:
    """The texts of `grid`; EMPTY when it has no value."""
    if grid.high is not None and not _value_within(grid, grid.low, grid.high, True):
        return EMPTY
    on_low = grid.low > 0 or grid.above
    on_high = grid.high is not None
    return _Whole(grid, -1, 1, grid.high_length if on_high else None, on_low, on_high, 0)


def grid_of(node: Regex) -> Grid | None:
    """The grid whose texts `node` is, as `decimals` makes it; None for any other language."""
    return node.grid if isinstance(node, _Digits) and node == decimals(node.grid) else None


class _Digits(Regex):
    """A state of the automaton: a grid and what the digits so far have left of it.

    Equal states denote equal languages: positions are kept only on a bound, remainders only up to equivalence.
    """

    __slots__ = ("grid", "on_high", "on_low", "position", "remainder", "state")

    def __init__(
        self,
        grid: Grid,
        position: int,
        on_low: bool,
        on_high: bool,
        remainder: int,
        state: tuple[object, ...],
        ends: bool,
    ) -> None:
        self.grid = grid
        self.position = position
        self.on_low = on_low
        self.on_high = on_high
        self.remainder = remainder
        self.state = (*state, on_low, on_high, _remainder_class(remainder, grid))
        super().__init__((grid, self.state), ends, plain=False)  # `span` is no more than an enclosing interval
        self.empty = False  # what makes them is careful to make no dead state

    def _same(self, other: object) -> bool:
        return (
            isinstance(other, _Digits)
            and self.state == other.state
            and (self.grid is other.grid or self.grid == other.grid)
        )

    def _spell(self) -> CharSet:
        return _DIGITS | _POINT

    def _read(self, low_digits: bytes, high_digits: bytes) -> Iterator[tuple[CharSet, Regex]]:
        """The next digits that can be read, with their targets; low_digits[:1] and high_digits[:1] are the bounds' own.

        Without a modulus, digits between two cuts have one and the same effect.
        """
        cuts = set(range(11)) if self.grid.modulus > 1 else {0, 1, 10}
        if self.on_low:
            cuts.update(cut for digit in low_digits[:1] for cut in (digit, digit + 1))
        if self.on_high:
            cuts.update(cut for digit in high_digits[:1] for cut in (digit, digit + 1))
        for first, stop in pairwise(sorted(cuts)):
            target = self._after(first)
            if target is not EMPTY:
                yield _BETWEEN[first, stop], target

    def _after(self, digit: int) -> Regex:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.grid}>" if self == decimals(self.grid) else f"<{self.grid} in {self.state}>"


class _Whole(_Digits):
    """Within the whole part.

    Attributes:
        position: how many digits have been read where a bound is still to be compared with, else 0; -1 at the start.
        need: whole digits that must follow at least.
        room: whole digits that may follow at most; None is unbounded.
    """

    __slots__ = ("need", "room")

    def __init__(
        self, grid: Grid, position: int, need: int, room: int | None, on_low: bool, on_high: bool, remainder: int
    ) -> None:
        self.need = need
        self.room = room
        units = remainder * 10**grid.scale
        ends = position >= 0 and need == 0 and not on_low and grid.has(units, units)
        super().__init__(grid, position, on_low, on_high, remainder, (position, need, room), ends)

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        if self.room is None or self.room > 0:
            at = max(self.position, 0)
            yield from self._read(self.grid.low_digits[at:], self.grid.high_digits[at:])
        if self.position >= 0 and self.need == 0:
            point = _fraction(self.grid, 0, self.on_low, self.on_high and self.room == 0, self.remainder)
            if point is not EMPTY:
                yield _POINT, point

    def _after(self, digit: int) -> Regex:
        grid, at = self.grid, max(self.position, 0)
        count = at + 1
        need = max(self.need - 1, 0)
        room = None if self.room is None else self.room - 1
        on_low, on_high = self.on_low, self.on_high
        if on_low:
            if count > grid.low_length:
                on_low, need = False, 0  # longer, hence larger
            else:
                order = digit - grid.low_digits[at]
                need = grid.low_length - count + (order < 0)
                on_low = order == 0 and count < grid.low_free
        if on_high:
            if count > grid.high_length:
                return EMPTY
            order = digit - grid.high_digits[at]
            room = grid.high_length - count - (order > 0)
            on_high = order == 0 and count < grid.high_free
        if digit == 0 and self.position < 0:
            room = 0  # no digit follows a leading zero
        if room is not None and need > room:
            return EMPTY
        remainder = (self.remainder * 10 + digit) % grid.modulus
        if not self._reachable(count, need, room, on_low, on_high, remainder):
            return EMPTY
        return _Whole(grid, count if on_low or on_high else 0, need, room, on_low, on_high, remainder)

    def _reachable(self, count: int, need: int, room: int | None, on_low: bool, on_high: bool, remainder: int) -> bool:
        """Whether need to room more whole digits can lead to a value between the bounds."""
        grid = self.grid
        if grid.is_plain or room is None:
            return True
        for more in range(need, room + 1):
            least = count + more == grid.low_length and on_low
            most = count + more == grid.high_length and on_high
            if _value_ahead(grid, more + grid.scale, least, most, remainder):
                return True
        return False

    def _measure(self) -> Span:
        """An enclosing interval: the bounds and the modulus may ask for more digits, or fewer."""
        if self.room is None or self.grid.tail is not Tail.NOTHING:
            return self.need, None
        return self.need, self.room + (self.grid.scale and self.grid.scale + 1)


class _Fraction(_Digits):
    """Within the first `scale` digits of the fraction.

    Attributes:
        position: how many of them have been read.
    """

    __slots__ = ()

    def __init__(self, grid: Grid, position: int, on_low: bool, on_high: bool, remainder: int) -> None:
        units = remainder * 10 ** (grid.scale - position)
        ends = position > 0 and not on_low and grid.has(units, units)
        super().__init__(grid, position, on_low, on_high, remainder, (position,), ends)

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        grid, at = self.grid, self.position
        return self._read(grid.low_digits[grid.low_length + at :], grid.high_digits[grid.high_length + at :])

    def _after(self, digit: int) -> Regex:
        grid, on_low, on_high = self.grid, self.on_low, self.on_high
        if on_low:
            at = grid.low_length + self.position
            if digit < grid.low_digits[at]:
                return EMPTY
            on_low = digit == grid.low_digits[at] and at + 1 < grid.low_free
        if on_high:
            at = grid.high_length + self.position
            if digit > grid.high_digits[at]:
                return EMPTY
            on_high = digit == grid.high_digits[at] and at + 1 < grid.high_free
        return _fraction(grid, self.position + 1, on_low, on_high, (self.remainder * 10 + digit) % grid.modulus)

    def _measure(self) -> Span:
        """An enclosing interval."""
        return 0, self.grid.scale - self.position if self.grid.tail is Tail.NOTHING else None


def _fraction(grid: Grid, position: int, on_low: bool, on_high: bool, remainder: int) -> Regex:
    """What may follow `position` digits of the fraction; at 0, right after the point, at least one digit."""
    rest = grid.scale - position
    least = 1 if position == 0 else 0
    if not _value_ahead(grid, rest, on_low, on_high, remainder):
        return EMPTY
    if grid.tail is Tail.DIGITS and grid.residues is None and not on_low and not on_high:
        return repeat(DIGIT, least)
    if rest:
        return _Fraction(grid, position, on_low, on_high, remainder)
    if grid.tail is Tail.NOTHING:
        return EMPTY if least else EPSILON
    if on_low:  # nothing but `above` keeps a text on its lower bound for so long
        return EMPTY if on_high and grid.within else _SOME_NONZERO
    if grid.tail is Tail.DIGITS and not on_high:
        return repeat(DIGIT, least) if grid.has(remainder, remainder) else _SOME_NONZERO
    return repeat(_ZERO, least)


def _value_ahead(grid: Grid, digits: int, on_low: bool, on_high: bool, remainder: int) -> bool:
    """Whether exactly `digits` more digits of units can lead to a value between the bounds we are on."""
    if grid.is_plain:
        return True
    unit = 10**digits
    first = grid.low % unit if on_low else 0
    last = unit - 1 if not on_high or grid.high is None else grid.high % unit
    return _value_within(grid, remainder * unit + first, remainder * unit + last, on_high)


def _value_within(grid: Grid, first: int, last: int, on_high: bool) -> bool:
    """Whether some value has first to last units, where `on_high` says that the last ones are those of the upper bound."""
    if grid.tail is Tail.DIGITS and (first < last or not (on_high and grid.within)):
        return True  # between two units
    return grid.has(first, last)


def _remainder_class(remainder: int, grid: Grid) -> tuple[object, ...]:
    """A name for `remainder`; two remainders that share it have the same digits before them.

    x = -remainder * 10**j (mod modulus) is what j more digits must spell; where that is too large, no j digits will.
    Once 10**j reaches the modulus every x can be spelled, and later ones follow from the first. With several residues,
    what matters of j more digits is which of the remainders that they can lead to belong.
    """
    modulus, residues = grid.modulus, grid.residues
    if modulus % 2 and modulus % 5 or residues is not None and modulus > _MAX_COMPARED:
        return (remainder,)
    name: list[object] = []
    unit = 1
    while unit < modulus:
        if residues is None:
            ahead = -remainder * unit % modulus
            name.append(ahead if ahead < unit else -1)
        else:
            start = remainder * unit % modulus
            name.append((residues + residues)[start : start + unit])
        unit *= 10
    return (*name, remainder * unit % modulus)
