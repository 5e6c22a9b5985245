"""Languages of numbers in words: `integer 1..99, multiple of 3`.

A language is a union of automata, and what it came from is not kept. It is guessed from the plain notation (no
exponent), where the bounds can be read off, and the guess is checked: the language that it describes must be the one
at hand. So a description is right, or there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from maskwright.grammars.digits import Grid, grid_of
from maskwright.grammars.numbers import integers, number_language, numbers
from maskwright.grammars.regular import Alternate, Concat, Regex, alternate, literal

__all__ = ["describe_numbers"]

_MANY = 12  # values that a description lists
_DIGITS = 24  # characters of a number that is written without an exponent

# The lower end of an interval (None: unbounded), whether it is open, its upper end, likewise.
Span = tuple[Decimal | None, bool, Decimal | None, bool]


def describe_numbers(language: Regex) -> str | None:
    """A language of numbers in words, or None where there are none for it."""
    if language == numbers("any"):
        return "any number, in any spelling"
    if language == numbers():
        return "any number"
    if language == integers():
        return "any integer"
    if language == integers("any"):
        return "any integer, in any spelling"
    positive = [grid for part in _parts(language) if (grid := grid_of(part))]
    negative = [grid for part in _negated(language) if (grid := grid_of(part))]
    return _interval(language, positive, negative) or _values(language, positive, negative)


def _parts(language: Regex) -> tuple[Regex, ...]:
    return language.parts if isinstance(language, Alternate) else (language,)


def _negated(language: Regex) -> Iterator[Regex]:
    """The parts of what may follow a minus sign."""
    for part in _parts(language):
        if isinstance(part, Concat) and part.parts[0] == literal("-"):
            rest = part.parts[1:]
            yield from _parts(rest[0]) if len(rest) == 1 else ()


def _interval(language: Regex, positive: list[Grid], negative: list[Grid]) -> str | None:
    """`integer 1..99, multiple of 3`: one interval, on both sides of zero or on one."""
    if not (positive or negative) or len(positive) > 1 or len(negative) > 1:
        return None
    above, below = (positive or negative)[0], (negative or positive)[0]
    low, low_open, high, high_open = above.bounds if positive else _mirrored(below)
    if positive and negative:
        low, low_open, _, _ = _mirrored(below)
    step = above.step
    if step != below.step or low is not None and low == high:
        return None
    if _language(low, low_open, high, high_open, step) != language:
        return None
    words = "integer" if step is not None and step == step.to_integral_value() else "number"
    if low is not None and high is not None and not (low_open or high_open):
        words += f" {_plain(low)}..{_plain(high)}"
    else:
        ends = [] if low is None else [f"{'>' if low_open else '>='} {_plain(low)}"]
        ends += [] if high is None else [f"{'<' if high_open else '<='} {_plain(high)}"]
        words += " " + " and ".join(ends) if ends else ""
    return words if step in (None, 1) else f"{words}, multiple of {_plain(step)}"


def _values(language: Regex, positive: list[Grid], negative: list[Grid]) -> str | None:
    """`number 1..3, 7 or 9.5`: single values, and runs of integers."""
    spans = [(_mirrored(grid), grid.step) for grid in negative if grid.high != 0]  # -0 belongs to the span of 0
    spans += [(grid.bounds, grid.step) for grid in positive]
    if not 0 < len(spans) <= _MANY:
        return None
    named, parts = [], []
    for (low, low_open, high, high_open), step in spans:
        if low is None or high is None or low < high and step != 1:
            return None
        named.append((low, _plain(low) if low == high else f"{_plain(low)}..{_plain(high)}"))
        parts.append(_language(low, low_open, high, high_open, step))
    if alternate(*parts) != language:
        return None
    *others, last = [name for _, name in sorted(named)]
    return f"number {', '.join(others)} or {last}" if others else f"number {last}"


def _mirrored(grid: Grid) -> Span:
    """The interval of the negated values."""
    low, low_open, high, high_open = grid.bounds
    return None if high is None else high.copy_negate(), high_open, low.copy_negate(), low_open


def _language(
    low: Decimal | None, low_open: bool, high: Decimal | None, high_open: bool, step: Decimal | None
) -> Regex:
    return number_language(
        minimum=None if low_open else low,
        exclusive_minimum=low if low_open else None,
        maximum=None if high_open else high,
        exclusive_maximum=high if high_open else None,
        multiple_of=step,
    )


def _plain(value: Decimal) -> str:
    """`value` as people write it."""
    if not value:
        return "0"
    text = f"{value:f}"
    if len(text) > _DIGITS:
        return f"{value.normalize():e}"
    return text.rstrip("0").rstrip(".") if "." in text else text
