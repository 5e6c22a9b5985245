"""The slow oracle's patterns and numbers (see naive.py): sets of states, and half-open intervals."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

from naive_texts import OTHER, _Reject, _utf8_width, next_characters, utf8_bounds

__all__ = ["NumberRange", "Pattern", "TextOracle", "number_fits"]

# ---------------------------------------------------------------------------------------------------------------------
# Patterns: ECMA-262 without look-around, back-references and \b, as in `pattern` (a match anywhere)


class CharClass(NamedTuple):
    negated: bool
    chars: frozenset[str]

    def has(self, char: str) -> bool:
        return (char in self.chars) != self.negated


_DIGITS = frozenset("0123456789")
_WORD = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_ESCAPED_CLASSES = {"d": CharClass(False, _DIGITS), "w": CharClass(False, _WORD), "D": CharClass(True, _DIGITS)}
_ESCAPED_CHARS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}
_DOT = CharClass(True, frozenset("\n\r\u2028\u2029"))


States = frozenset[int]


class Pattern:
    """A nondeterministic automaton. States are numbers; `edges[s]` lists (what, target), where `what` is a CharClass or
    one of "", "^" and "$": passable anywhere, at the start, at the end."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.edges: list[list[tuple[Any, int]]] = [[]]
        self.final = 0
        anything = CharClass(True, frozenset())
        self.edges[self.final].append((anything, self.final))
        self._steps: dict[tuple[States, str], States] = {}
        self.initial = self._alternation()(self.final)
        if self.at < len(text):
            raise ValueError(f"unsupported pattern {text!r} at {self.at}")
        self.initial = self._state(("", self.initial))
        self.edges[self.initial].append((anything, self.initial))

    @property
    def mentioned(self) -> set[str]:
        return {c for edges in self.edges for what, _ in edges if isinstance(what, CharClass) for c in what.chars}

    def start(self) -> States:
        return self._closure([self.initial], ("", "^"))

    def step(self, states: States, char: str) -> States:
        after = self._steps.get((states, char))
        if after is None:
            edges = [edge for state in states for edge in self.edges[state]]
            reached = [target for what, target in edges if isinstance(what, CharClass) and what.has(char)]
            after = self._steps[states, char] = self._closure(reached, ("",))
        return after

    def accepts(self, states: States, at_start: bool = False) -> bool:
        return self.final in self._closure(states, ("", "^", "$") if at_start else ("", "$"))

    def after(self, text: str) -> States:
        states = self.start()
        for char in text:
            states = self.step(states, char)
        return states

    def matches(self, text: str) -> bool:
        return self.accepts(self.after(text), not text)

    def _closure(self, states: Iterable[int], passable: tuple[str, ...]) -> States:
        found = set(states)
        open_ = list(found)
        while open_:
            for what, target in self.edges[open_.pop()]:
                if what in passable and target not in found:
                    found.add(target)
                    open_.append(target)
        return frozenset(found)

    # Each method below reads a part of the pattern and returns a function: state after it -> state before it.

    def _state(self, *edges: tuple[Any, int]) -> int:
        self.edges.append(list(edges))
        return len(self.edges) - 1

    def _alternation(self) -> Callable[[int], int]:
        branches = [self._sequence()]
        while self.text[self.at : self.at + 1] == "|":
            self.at += 1
            branches.append(self._sequence())
        return lambda after: self._state(*(("", branch(after)) for branch in branches))

    def _sequence(self) -> Callable[[int], int]:
        parts: list[Callable[[int], int]] = []
        while self.text[self.at : self.at + 1] not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))

        def build(after: int) -> int:
            for part in reversed(parts):
                after = part(after)
            return after

        return build

    def _repeated(self, atom: Callable[[int], int]) -> Callable[[int], int]:
        match = re.compile(r"[*+?]|\{(\d+)(,?)(\d*)\}").match(self.text, self.at)
        if match is None:
            return atom
        self.at = match.end()
        low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(match.group(), (0, 0))
        if match.group(1) is not None:
            low = int(match.group(1))
            high = int(match.group(3)) if match.group(3) else None if match.group(2) else low

        def build(after: int) -> int:
            if high is None:
                loop = self._state(("", after))
                self.edges[loop].append(("", atom(loop)))
                after = loop
            else:
                end = after
                for _ in range(high - low):
                    after = self._state(("", end), ("", atom(after)))
            for _ in range(low):
                after = atom(after)
            return after

        return build

    def _atom(self) -> Callable[[int], int]:
        char = self.text[self.at]
        self.at += 1
        if char == "(":
            if self.text.startswith("?:", self.at):
                self.at += 2
            inner = self._alternation()
            if self.text[self.at : self.at + 1] != ")":
                raise ValueError(f"unsupported pattern {self.text!r} at {self.at}")
            self.at += 1
            return inner
        what: Any
        if char in "^$":
            what = char
        elif char == ".":
            what = _DOT
        elif char == "[":
            what = self._class()
        elif char in "*+?{}])":
            raise ValueError(f"unsupported pattern {self.text!r} at {self.at - 1}")
        else:
            what = self._escape() if char == "\\" else CharClass(False, frozenset(char))
        return lambda after: self._state((what, after))

    def _escape(self) -> CharClass:
        char = self.text[self.at]
        self.at += 1
        if char in _ESCAPED_CLASSES:
            return _ESCAPED_CLASSES[char]
        if char.isalnum() and char not in _ESCAPED_CHARS:
            raise ValueError(f"unsupported escape in pattern {self.text!r} at {self.at - 1}")
        return CharClass(False, frozenset(_ESCAPED_CHARS.get(char, char)))

    def _class(self) -> CharClass:
        negated = self.text[self.at] == "^"
        self.at += negated
        chars: set[str] = set()
        while self.text[self.at] != "]":
            low = self._class_atom()
            if self.text[self.at] == "-" and self.text[self.at + 1] != "]":
                self.at += 1
                chars.update(map(chr, range(ord(min(low)), ord(min(self._class_atom())) + 1)))
            else:
                chars.update(low)
        self.at += 1
        return CharClass(negated, frozenset(chars))

    def _class_atom(self) -> frozenset[str]:
        char = self.text[self.at]
        self.at += 1
        found = self._escape() if char == "\\" else CharClass(False, frozenset(char))
        if found.negated:
            raise ValueError(f"unsupported class in pattern {self.text!r}")
        return found.chars


def _step(patterns: list[Pattern], states: tuple[States, ...], char: str) -> tuple[States, ...]:
    return tuple(pattern.step(before, char) for pattern, before in zip(patterns, states, strict=True))


class TextOracle:
    """The texts, as they are, that a pattern matches from beginning to end: `viable` and `member` as in Oracle."""

    def __init__(self, pattern: str) -> None:
        self.pattern = Pattern(f"^(?:{pattern})$")
        self.mentioned = self.pattern.mentioned
        self._known: dict[States, bool] = {}

    def viable(self, prefix: bytes) -> bool:
        return any(map(self._live, self._states(prefix)))

    def member(self, text: bytes) -> bool:
        try:
            return self.pattern.matches(text.decode())
        except UnicodeDecodeError:
            return False

    def _states(self, prefix: bytes) -> Iterator[States]:
        """The states after each string that `prefix` is the UTF-8 of, up to the end of its last character."""
        states, at = self.pattern.start(), 0
        while at < len(prefix):
            try:
                width = _utf8_width(prefix[at])
            except _Reject:
                return
            piece = prefix[at : at + width]
            if utf8_bounds(piece) is None:
                return
            if len(piece) < width:
                yield from (self.pattern.step(states, c) for c in next_characters(piece, self.mentioned))
                return
            states = self.pattern.step(states, piece.decode())
            at += width
        yield states

    def _live(self, states: States) -> bool:
        """Whether the pattern can still match."""
        if states not in self._known:
            open_, seen = [states], {states}
            while open_ and not any(self.pattern.accepts(s, s == self.pattern.start()) for s in open_):
                after = {self.pattern.step(s, c) for s in open_ for c in (*self.mentioned, OTHER)}
                open_ = [s for s in after if s not in seen]
                seen |= after
            self._known[states] = bool(open_)
        return self._known[states]


# ---------------------------------------------------------------------------------------------------------------------
# Numbers: the texts that json.dumps writes of ints and floats, with any number of fraction digits


@dataclass
class NumberRange:
    """The numbers from `low` to `high` (None: no bound; strict: without the bound itself) that are multiples of `step`."""

    low: Fraction | None = None
    low_strict: bool = False
    high: Fraction | None = None
    high_strict: bool = False
    step: Fraction | None = None

    def at_least(self, bound: Fraction, strict: bool = False) -> None:
        if self.low is None or bound > self.low or bound == self.low and strict:
            self.low, self.low_strict = bound, strict

    def at_most(self, bound: Fraction, strict: bool = False) -> None:
        if self.high is None or bound < self.high or bound == self.high and strict:
            self.high, self.high_strict = bound, strict

    def multiple_of(self, step: Fraction) -> None:
        if self.step is None:
            self.step = step
        else:  # the least common multiple of two fractions
            common = math.lcm(self.step.denominator, step.denominator)
            self.step = Fraction(math.lcm(int(self.step * common), int(step * common)), common)

    def mirrored(self) -> NumberRange:
        """The range of -x for x in this one."""
        low = None if self.high is None else -self.high
        high = None if self.low is None else -self.low
        return NumberRange(low, self.high_strict, high, self.low_strict, self.step)

    def holds(self, x: Fraction) -> bool:
        if self.low is not None and (x < self.low or x == self.low and self.low_strict):
            return False
        if self.high is not None and (x > self.high or x == self.high and self.high_strict):
            return False
        return self.step is None or (x / self.step).denominator == 1

    def meets(self, start: Fraction, stop: Fraction | None) -> bool:
        """Whether some decimal fraction x of this range has start <= x < stop."""
        within = replace(self)
        within.at_least(start)
        if stop is not None:
            within.at_most(stop, strict=True)
        low, high = within.low, within.high
        assert low is not None
        if within.step is not None:
            first = math.ceil(low / within.step) * within.step
            if first == low and within.low_strict:
                first += within.step
            return high is None or first < high or first == high and not within.high_strict
        if high is None or low < high:
            return True
        return low == high and not within.low_strict and not within.high_strict


def number_fits(text: str, closed: bool, allowed: NumberRange, exponents: bool = True) -> bool:
    """Whether `text` is (closed) or begins (open) a number of the policy's language in the range `allowed`."""
    if text.startswith("-"):
        return _magnitude_fits(text[1:], closed, allowed.mirrored(), exponents)
    return (
        _magnitude_fits(text, closed, allowed, exponents) or not text and number_fits("-", closed, allowed, exponents)
    )


def _magnitude_fits(text: str, closed: bool, allowed: NumberRange, exponents: bool) -> bool:
    """As `number_fits`, for what stands after a sign."""
    if not text:
        return not closed and allowed.meets(Fraction(0), None)
    if "e" in text:
        return exponents and any(
            (spelling == text if closed else spelling.startswith(text)) and allowed.holds(value)
            for spelling, value in _with_exponents(text.partition("e")[0], *_decades(allowed))
        )
    if "E" in text:
        return False
    whole, dot, digits = text.partition(".")
    if closed:
        return not (dot and not digits) and allowed.holds(Fraction(text))
    start, width = Fraction(int(whole + digits), 10 ** len(digits)), Fraction(1, 10 ** len(digits))
    more = range(1) if dot or whole == "0" else range(40)  # digits still to come before the point
    if any(allowed.meets(start * 10**n, (start + width) * 10**n) for n in more):
        return True
    return exponents and _mantissa_fits(start, len(digits), whole, allowed)


# What repr writes of floats: `tiny` below 1e-4, `huge` from 1e16 on, with 16 digits after the point at most.
_TINY, _HUGE = range(-323, -4), range(16, 309)
_HUGE_DIGITS = 16
_LARGEST = Fraction("1.7976931348623157e308")
_LEAST = Fraction("5e-324")


def _decades(allowed: NumberRange) -> tuple[range, range]:
    """Those of _TINY and _HUGE in which a number above 0 could be `allowed` (a short cut: all of them would do)."""
    small, large = Fraction(1, 10**4), Fraction(10**16)
    tiny = allowed.low is None or allowed.low < small
    tiny = tiny and (allowed.high is None or allowed.high > 0) and (allowed.step is None or allowed.step < small)
    huge = allowed.high is None or allowed.high >= large
    return _TINY if tiny else range(0), _HUGE if huge else range(0)


def _with_exponents(mantissa: str, tiny: range, huge: range) -> Iterator[tuple[str, Fraction]]:
    """Every number with this mantissa and an exponent: its text and its value."""
    if re.fullmatch(r"[1-9](\.[0-9]+)?", mantissa):
        for exponent in tiny:
            yield f"{mantissa}e-{-exponent:02}", Fraction(mantissa) * Fraction(10) ** exponent
        if mantissa == "5":
            yield "5e-324", _LEAST
        if len(mantissa) - 2 <= _HUGE_DIGITS:
            for exponent in huge:
                if Fraction(mantissa) * 10**exponent <= _LARGEST:
                    yield f"{mantissa}e+{exponent}", Fraction(mantissa) * 10**exponent


def _mantissa_fits(start: Fraction, digits: int, whole: str, allowed: NumberRange) -> bool:
    """Whether the mantissa begun with `whole` and `digits` digits after the point can become a number with an exponent."""
    if len(whole) != 1 or whole == "0":
        return False
    stop = start + Fraction(1, 10**digits)
    tiny, huge = _decades(allowed)
    if any(allowed.meets(start * Fraction(10) ** n, stop * Fraction(10) ** n) for n in tiny):
        return True
    if start == 5 and not digits and allowed.holds(_LEAST):
        return True
    for n in huge if digits <= _HUGE_DIGITS else ():
        on_grid = replace(allowed)
        on_grid.at_most(_LARGEST)
        on_grid.multiple_of(Fraction(10) ** (n - _HUGE_DIGITS))
        if on_grid.meets(start * 10**n, stop * 10**n):
            return True
    return False
