"""The slow oracle: which byte strings begin a text of a JSON Schema's language, decided on trees, without an automaton.

It shares no code and no method with the package. A prefix of a JSON text parses to one partial tree: complete values,
one open path, and the first bytes of an unfinished token at its tip. `Oracle.viable` asks whether that tree can be
completed to a valid value, by the definition of each keyword; `Oracle.member` asks it of the tree as it stands.

* Boolean structure: each subschema is multiplied out into alternatives (disjunctive normal form), one tuple of plain
  keyword dictionaries each. `enum` and `const` of containers become shapes, so scalars are all that is left of them.
* Numbers: the values that a prefix can still become are half-open intervals; bounds and multiples are exact fractions.
* Strings: characters that no pattern, key or constant mentions are all alike, so one stands for all of them; patterns
  are nondeterministic automata (Thompson) walked by sets of states.
* Emptiness of what has not begun: depth-first, where a conjunction that contains itself is empty (least fixpoint).

Text policy: "Objects" below. Keywords: those of issue "The house and the automaton", item 6, in the 2020-12 dialect,
without `format`; text options: `whitespace`, `max_whitespace`, `separators`.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple

__all__ = ["Oracle", "Pattern", "Policy", "TextOracle", "parse_prefix"]

# Each stands for any character that the schema does not mention (three, because keys of an object must be distinct).
OTHERS = ("\U0010ffff", "\U0010fffe", "\U0010fffd")
OTHER = OTHERS[0]


# ---------------------------------------------------------------------------------------------------------------------
# Texts: bytes to a partial tree


@dataclass(frozen=True)
class Policy:
    """How a value may be written.

    Attributes:
        whitespace, max_whitespace, separators: as in the table of `maskwright.grammars.options`.
        exponents: False leaves numbers with an exponent out, for comparing with lists of texts.
        distinct: False lets keys that no keyword names come again (named ones never do).
    """

    whitespace: str = "flexible"
    max_whitespace: int = 32
    separators: tuple[str, str] | None = None
    exponents: bool = True
    distinct: bool = True


class Nothing(NamedTuple):
    """A value of which no byte has been written."""


class Literal(NamedTuple):
    text: str  # a prefix of null, true or false


class Number(NamedTuple):
    text: str  # a prefix of a JSON number
    closed: bool  # whether something follows it


class String(NamedTuple):
    chars: str  # the characters that are complete
    tip: bytes  # the first bytes of one that is not
    closed: bool


class Array(NamedTuple):
    items: tuple[Any, ...]  # nodes; the last one may be partial
    comma: bool  # whether a comma stands after the last item
    closed: bool


class Object(NamedTuple):
    members: tuple[tuple[str, Any], ...]  # (key, node); the last node may be partial or Nothing
    key: String | None  # a key that is not closed yet
    comma: bool  # whether a comma stands after the last member
    closed: bool


Node = Nothing | Literal | Number | String | Array | Object

_OUTSIDE_STRINGS = frozenset(bytes([byte]) for byte in b'{}[]:,"+-.0123456789eEtrufalsn \t\n\r')
_LITERALS: dict[str, Any] = {"null": None, "true": True, "false": False}
_NUMBER_PREFIX = re.compile(
    rb"-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+(?:[eE](?:[+-]?[0-9]*)?)?)?|[eE](?:[+-]?[0-9]*)?)?)?"
)
_PLAIN = re.compile(rb"[\x20\x21\x23-\x5b\x5d-\x7f]+")  # characters of strings that are single bytes
_ESCAPED = {json.dumps(c, ensure_ascii=False)[1:-1].encode(): c for c in [*map(chr, range(0x20)), '"', "\\"]}


class _Reject(Exception):
    """The bytes begin no JSON text of the policy."""


class _Parser:
    """Recursive descent over `data`. The bytes may end anywhere: what is missing is missing from the tree."""

    def __init__(self, data: bytes, policy: Policy) -> None:
        self.data, self.policy, self.at = data, policy, 0

    def root(self) -> Node:
        node = self.value()
        if self.at < len(self.data):
            raise _Reject
        return node

    def peek(self) -> bytes:
        return self.data[self.at : self.at + 1]

    def space(self, after: str = "") -> None:
        """Skips white space, after `after`: "," or ":" or, for every other place between tokens, ""."""
        if self.policy.separators is not None:
            rest = self.policy.separators[after == ":"].encode()[1:] if after else b""
            found = self.data[self.at : self.at + len(rest)]
            if not rest.startswith(found):
                raise _Reject
            self.at += len(found)
            return
        allowed, limit = {
            "compact": (b"", 0),
            "single": (b" ", 1 if after else 0),
            "flexible": (b" \t\n\r", self.policy.max_whitespace),
        }[self.policy.whitespace]
        start = self.at
        while self.peek() and self.peek() in allowed and self.at - start < limit:
            self.at += 1

    def value(self) -> Node:
        first = self.peek()
        if not first:
            return Nothing()
        if first == b'"':
            return self.string()
        if first == b"[":
            return self.array()
        if first == b"{":
            return self.object()
        if first in b"-0123456789":
            return self.number()
        for word in _LITERALS:
            rest = self.data[self.at : self.at + len(word)]
            if word.encode().startswith(rest):
                self.at += len(rest)
                return Literal(rest.decode())
        raise _Reject

    def number(self) -> Number:
        match = _NUMBER_PREFIX.match(self.data, self.at)
        assert match is not None
        self.at = match.end()
        return Number(match.group().decode(), self.at < len(self.data))

    def string(self) -> String:
        self.at += 1
        chars: list[str] = []
        while self.at < len(self.data):
            plain = _PLAIN.match(self.data, self.at)
            if plain is not None:
                self.at = plain.end()
                chars.append(plain.group().decode())
                continue
            byte = self.data[self.at]
            if byte == 0x22:
                self.at += 1
                return String("".join(chars), b"", True)
            if byte < 0x20:
                raise _Reject
            width = self.escape_width() if byte == 0x5C else _utf8_width(byte)
            piece = self.data[self.at : self.at + width]
            known = (
                any(map(bytes.startswith, _ESCAPED, [piece] * len(_ESCAPED))) if byte == 0x5C else utf8_bounds(piece)
            )
            if not known:
                raise _Reject
            self.at += len(piece)
            if len(piece) < width:
                return String("".join(chars), piece, False)
            chars.append(_ESCAPED[piece] if byte == 0x5C else piece.decode())
        return String("".join(chars), b"", False)

    def escape_width(self) -> int:
        return 6 if self.data[self.at : self.at + 2] == b"\\u" else 2

    def array(self) -> Array:
        self.at += 1
        self.space()
        items: list[Node] = []
        while True:
            if self.peek() == b"]" and not items:
                self.at += 1
                return Array((), False, True)
            node = self.value()
            if isinstance(node, Nothing):
                return Array(tuple(items), bool(items), False)
            items.append(node)
            if self.at == len(self.data):
                return Array(tuple(items), False, False)
            mark = self.after_value(b"]")
            if mark != b",":
                return Array(tuple(items), False, mark == b"]")

    def object(self) -> Object:
        self.at += 1
        self.space()
        members: list[tuple[str, Node]] = []
        while True:
            first = self.peek()
            if first == b"}" and not members:
                self.at += 1
                return Object((), None, False, True)
            if not first:
                return Object(tuple(members), None, bool(members), False)
            if first != b'"':
                raise _Reject
            key = self.string()
            if not key.closed:
                return Object(tuple(members), key, False, False)
            members.append((key.chars, Nothing()))
            self.space()
            if self.at == len(self.data):
                return Object(tuple(members), None, False, False)
            if self.peek() != b":":
                raise _Reject
            self.at += 1
            self.space(":")
            members[-1] = (key.chars, self.value())
            if self.at == len(self.data):
                return Object(tuple(members), None, False, False)
            mark = self.after_value(b"}")
            if mark != b",":
                return Object(tuple(members), None, False, mark == b"}")

    def after_value(self, end: bytes) -> bytes:
        """Reads white space and then "," (with its own white space) or `end`; returns which, b"" where neither came."""
        self.space()
        mark = self.peek()
        if mark not in (b"", b",", end):
            raise _Reject
        self.at += len(mark)
        if mark == b",":
            self.space(",")
        return mark


def _utf8_width(first: int) -> int:
    if first < 0x80:
        return 1
    if 0xC2 <= first <= 0xDF:
        return 2
    if 0xE0 <= first <= 0xEF:
        return 3
    if 0xF0 <= first <= 0xF4:
        return 4
    raise _Reject


def utf8_bounds(tip: bytes) -> tuple[int, int] | None:
    """The least and greatest character whose UTF-8 begins with `tip` (not empty), surrogates between them left aside;
    None where there is none. All between the two begin so as well."""
    width = _utf8_width(tip[0])
    if any(byte >> 6 != 0b10 for byte in tip[1:]):
        return None
    least = tip[0] if width == 1 else tip[0] & (0x7F >> width)
    for byte in tip[1:]:
        least = least << 6 | byte & 0x3F
    missing = 6 * (width - len(tip))
    greatest = min(((least + 1) << missing) - 1, 0x10FFFF)
    least = max(least << missing, (0, 0, 0x80, 0x800, 0x10000)[width])
    if least > greatest or 0xD800 <= least and greatest <= 0xDFFF:
        return None
    return least, greatest


def next_characters(tip: bytes, mentioned: set[str]) -> list[str]:
    """Characters whose UTF-8 begins with `tip`: all that are `mentioned`, and OTHER for the others if there are any."""
    bounds = utf8_bounds(tip)
    assert bounds is not None
    first, last = bounds
    found = [c for c in mentioned if first <= ord(c) <= last]
    surrogates = max(0, min(last, 0xDFFF) - max(first, 0xD800) + 1)
    return found + [OTHER] * (len(found) < last - first + 1 - surrogates)


def parse_prefix(data: bytes, policy: Policy) -> Node | None:
    """The partial tree of `data`, or None where `data` begins no JSON text of the policy."""
    try:
        return _Parser(data, policy).root()
    except _Reject:
        return None


def _in_string(node: Node) -> bool:
    """Whether the next byte belongs to a string that has begun."""
    match node:
        case String():
            return not node.closed
        case Array():
            return bool(node.items) and _in_string(node.items[-1])
        case Object():
            return node.key is not None or bool(node.members) and _in_string(node.members[-1][1])
        case _:
            return False


def _end(node: Node) -> Node | None:
    """`node` with nothing more to come, or None where it is not complete."""
    match node:
        case Literal(text):
            return node if text in _LITERALS else None
        case Number(text):
            return Number(text, True)
        case String(closed=True) | Array(closed=True) | Object(closed=True):
            return node
        case _:
            return None


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


# ---------------------------------------------------------------------------------------------------------------------
# Schemas

Schema = Any  # a boolean or a dictionary
Schemas = tuple[Schema, ...]  # their conjunction
_SCALAR = "(scalar)"  # the keyword of a desugared `const` that is no container
_TYPES = ("null", "boolean", "number", "string", "array", "object")
_BLANK: tuple[Node, ...] = (
    Literal(""),
    Number("", False),
    String("", b"", False),
    Array((), False, False),
    Object((), None, False, False),
)


def _same_scalar(a: Any, b: Any) -> bool:
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _fraction(number: int | float) -> Fraction:
    return Fraction(repr(number))


def _types_of(schema: dict[str, Any]) -> tuple[str, ...]:
    found = schema.get("type", _TYPES)
    return (found,) if isinstance(found, str) else tuple(found)


def _strings_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, str):
        yield schema
    elif isinstance(schema, dict):
        for key, value in schema.items():
            yield key
            yield from _strings_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _strings_in(value)


@dataclass
class Oracle:
    """Decides the language of `schema` under `policy`.

    Objects: a key that `properties` or `required` (or a constant object) of any subschema names that applies to the
    object has its place: a subschema's own keys first, `properties` before `required`, then those of `const` and
    `enum`, `allOf`, `$ref` and `anyOf`, each where it first appears. (Branches in which some `type`, `enum` or `const`
    admits no object at all name none.) Members come in that order, then all others in any order; no key comes twice.
    """

    schema: Schema
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        self._flat: dict[int, list[Schemas]] = {}
        self._sugar: dict[int, Schemas] = {}
        self._alive: list[Any] = []  # schemas are told apart by id(), so none may be freed
        self._patterns: dict[str, Pattern] = {}
        self._known: dict[tuple[Any, ...], bool] = {}
        self._visiting: set[States] = set()
        self.mentioned = {c for text in _strings_in(self.schema) for c in text}
        self._compile_patterns(self.schema)
        for pattern in self._patterns.values():
            self.mentioned |= pattern.mentioned
        self.alphabet = [*sorted(self.mentioned), *OTHERS]

    def _compile_patterns(self, schema: Any) -> None:
        if isinstance(schema, dict):
            texts = [*(schema.get("patternProperties") or ())]
            texts += [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
            for text in texts:
                self._patterns[text] = Pattern(text)
        for child in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
            self._compile_patterns(child)

    # The questions

    def viable(self, prefix: bytes) -> bool:
        """Whether some text of the language begins with `prefix`."""
        node = parse_prefix(prefix, self.policy)
        return node is not None and self.completable(self._normal(node), (self.schema,), (self.schema,))

    def member(self, text: bytes) -> bool:
        """Whether `text` is in the language."""
        node = parse_prefix(text, self.policy)
        node = None if node is None else _end(node)
        return node is not None and self.completable(self._normal(node), (self.schema,), (self.schema,))

    def allowed(self, prefix: bytes, tokens: Iterable[bytes]) -> set[bytes]:
        """Those of `tokens` (none of them empty) after which `prefix` is still viable."""
        tokens, node = set(tokens), parse_prefix(prefix, self.policy)
        starts = {token[:1] for token in tokens}
        if node is not None and not _in_string(node):
            starts &= _OUTSIDE_STRINGS
        first = {byte: self.viable(prefix + byte) for byte in starts}
        return {t for t in tokens if first.get(t[:1]) and (len(t) == 1 or self.viable(prefix + t))}

    # Schemas

    def _resolve(self, reference: str) -> Schema:
        found = self.schema
        for step in reference.removeprefix("#").split("/")[1:]:
            found = found[step.replace("~1", "/").replace("~0", "~")]
        return found

    def _constants(self, schema: dict[str, Any]) -> list[Schemas]:
        """The constants of `enum` and of `const` as schemas; one tuple of alternatives a keyword."""
        if id(schema) not in self._sugar:
            groups = [[schema["const"]]] if "const" in schema else []
            groups += [schema["enum"]] if "enum" in schema else []
            self._sugar[id(schema)] = tuple(tuple(map(self._as_schema, values)) for values in groups)
        return list(self._sugar[id(schema)])

    def _as_schema(self, value: Any) -> Schema:
        schema: dict[str, Any]
        if isinstance(value, list):
            schema = {"type": "array", "items": False, "minItems": len(value)}
            schema["prefixItems"] = [{"const": item} for item in value]
        elif isinstance(value, dict):
            schema = {"type": "object", "additionalProperties": False, "required": list(value)}
            schema["properties"] = {key: {"const": item} for key, item in value.items()}
        else:
            schema = {_SCALAR: value}
        self._alive.append(schema)
        return schema

    def _flatten(self, schema: Schema) -> list[Schemas]:
        """The alternatives of `schema`: conjunctions of dictionaries, of which only plain keywords count."""
        if schema is True:
            return [()]
        if schema is False:
            return []
        if id(schema) not in self._flat:
            choices = [[(schema,)]]
            choices += [self._flatten(part) for part in schema.get("allOf", ())]
            if "$ref" in schema:
                choices.append(self._flatten(self._resolve(schema["$ref"])))
            if "anyOf" in schema:
                choices.append([flat for part in schema["anyOf"] for flat in self._flatten(part)])
            for values in self._constants(schema):
                choices.append([flat for value in values for flat in self._flatten(value)])
            self._flat[id(schema)] = [sum(choice, ()) for choice in itertools.product(*choices)]
        return self._flat[id(schema)]

    def _parts(self, schema: dict[str, Any]) -> list[Schema]:
        """The schemas inside `schema` that apply to the same value, all branches."""
        parts = [value for values in self._constants(schema) for value in values]
        parts += schema.get("allOf", ())
        parts += [self._resolve(schema["$ref"])] if "$ref" in schema else []
        return [*parts, *schema.get("anyOf", ())]

    def _applying(self, schema: Schema) -> Iterator[dict[str, Any]]:
        """Every dictionary that applies to the place of `schema` where an object stands, in whatever branch, but for
        those in branches that admit no object for its type alone."""
        if isinstance(schema, bool) or not any(
            all("object" in _types_of(part) and _SCALAR not in part for part in flat) for flat in self._flatten(schema)
        ):
            return
        yield schema
        for part in self._parts(schema):
            yield from self._applying(part)

    def order(self, place: Schemas) -> list[str]:
        """The named members of an object at `place`, in their order."""
        applying = [found for schema in place for found in self._applying(schema)]
        return list(dict.fromkeys(k for s in applying for k in (*s.get("properties", ()), *s.get("required", ()))))

    def _of_key(self, schemas: Iterable[dict[str, Any]], key: str) -> Schemas:
        found = []
        for schema in schemas:
            named = key in schema.get("properties", ())
            matching = [s for p, s in schema.get("patternProperties", {}).items() if self._patterns[p].matches(key)]
            found += [schema["properties"][key]] if named else []
            found += matching
            if not named and not matching and "additionalProperties" in schema:
                found.append(schema["additionalProperties"])
        return tuple(found)

    @staticmethod
    def _of_index(schemas: Iterable[dict[str, Any]], index: int) -> Schemas:
        found = []
        for schema in schemas:
            prefix = schema.get("prefixItems", ())
            if index < len(prefix):
                found.append(prefix[index])
            elif "items" in schema:
                found.append(schema["items"])
        return tuple(found)

    def _applying_to_items(self, place: Schemas) -> list[dict[str, Any]]:
        """As `_applying`, for arrays."""
        found: list[dict[str, Any]] = []
        for schema in place:
            if isinstance(schema, bool) or "array" not in _types_of(schema):
                continue
            found.append(schema)
            found += self._applying_to_items(tuple(self._parts(schema)))
        return found

    # Nodes

    def _normal(self, node: Node) -> Node:
        """`node` with every character that the schema does not mention replaced by OTHER, in values (keys stay)."""
        match node:
            case String():
                return node._replace(chars="".join(c if c in self.mentioned else OTHER for c in node.chars))
            case Array():
                return node._replace(items=tuple(map(self._normal, node.items)))
            case Object():
                return node._replace(members=tuple((key, self._normal(value)) for key, value in node.members))
            case _:
                return node

    def completable(self, node: Node, schemas: Schemas, place: Schemas) -> bool:
        """Whether `node` can become a value that satisfies all of `schemas`; `place`: all that apply there at all."""
        if isinstance(node, Nothing):
            return self.satisfiable(schemas)
        known = (node, tuple(map(id, schemas)), tuple(map(id, place)))
        if known not in self._known:
            alternatives = itertools.product(*map(self._flatten, schemas))
            self._known[known] = any(self._fits(node, sum(flat, ()), place) for flat in alternatives)
        return self._known[known]

    def satisfiable(self, schemas: Schemas) -> bool:
        """Whether some value satisfies all of `schemas`."""
        known = frozenset(map(id, schemas))
        if known in self._visiting:
            return False
        if (known,) not in self._known:
            self._visiting.add(known)
            alternatives = list(itertools.product(*map(self._flatten, schemas)))
            found = any(self._fits(node, sum(flat, ()), schemas) for flat in alternatives for node in _BLANK)
            self._visiting.remove(known)
            if not found and self._visiting:
                return False  # perhaps only because of what is being visited
            self._known[(known,)] = found
        return self._known[(known,)]

    def _fits(self, node: Node, flat: Schemas, place: Schemas) -> bool:
        match node:
            case Literal(text):
                return any(
                    word.startswith(text) and self._literal_fits(value, flat) for word, value in _LITERALS.items()
                )
            case Number():
                return self._number_fits(node, flat)
            case String():
                return self._string_fits(node, flat)
            case Array():
                return self._array_fits(node, flat, place)
            case Object():
                return self._object_fits(node, flat, place)
            case _:
                raise AssertionError(node)

    @staticmethod
    def _literal_fits(value: Any, flat: Schemas) -> bool:
        name = "null" if value is None else "boolean"
        return all(
            name in _types_of(schema) and (_SCALAR not in schema or _same_scalar(schema[_SCALAR], value))
            for schema in flat
        )

    def _number_fits(self, node: Number, flat: Schemas) -> bool:
        allowed = NumberRange()
        for schema in flat:
            types = _types_of(schema)
            if "number" not in types:
                if "integer" not in types:
                    return False
                allowed.multiple_of(Fraction(1))
            if _SCALAR in schema:
                value = schema[_SCALAR]
                if isinstance(value, bool) or not isinstance(value, int | float):
                    return False
                allowed.at_least(_fraction(value))
                allowed.at_most(_fraction(value))
            if "multipleOf" in schema:
                allowed.multiple_of(_fraction(schema["multipleOf"]))
            if "minimum" in schema:
                allowed.at_least(_fraction(schema["minimum"]))
            if "exclusiveMinimum" in schema:
                allowed.at_least(_fraction(schema["exclusiveMinimum"]), strict=True)
            if "maximum" in schema:
                allowed.at_most(_fraction(schema["maximum"]))
            if "exclusiveMaximum" in schema:
                allowed.at_most(_fraction(schema["exclusiveMaximum"]), strict=True)
        return number_fits(node.text, node.closed, allowed, self.policy.exponents)

    def _next_characters(self, tip: bytes) -> list[str]:
        """The characters, up to those that are alike, whose spelling begins with `tip`."""
        if tip[0] != 0x5C:
            return next_characters(tip, self.mentioned)
        possible = [c for spelling, c in _ESCAPED.items() if spelling.startswith(tip)]
        found = [c for c in possible if c in self.mentioned]
        return found + [OTHER] * (len(found) < len(possible))

    def _completions(
        self, node: String, patterns: list[Pattern], watched: frozenset[str]
    ) -> Iterator[tuple[str, list[bool]]]:
        """Strings that `node` can become, with what each pattern says of them: at least one for each combination of
        what the patterns say and of which of the `watched` strings it is. Shortest first."""
        states = tuple(pattern.after(node.chars) for pattern in patterns)
        open_ = [(node.chars, states)]
        if node.tip:
            following = self._next_characters(node.tip)
            open_ = [(node.chars + char, _step(patterns, states, char)) for char in following]
        seen = set()
        while open_:
            later = []
            for text, states in open_:
                beginning = text if any(w.startswith(text) for w in watched) else None
                if (beginning, *states) in seen:
                    continue
                seen.add((beginning, *states))
                yield text, [p.accepts(s, not text) for p, s in zip(patterns, states, strict=True)]
                if not node.closed:
                    later += [(text + char, _step(patterns, states, char)) for char in self.alphabet]
            open_ = later

    def _string_fits(self, node: String, flat: Schemas) -> bool:
        if any("string" not in _types_of(schema) for schema in flat):
            return False
        constants = [schema[_SCALAR] for schema in flat if _SCALAR in schema]
        if not all(isinstance(c, str) and c == constants[0] for c in constants):
            return False
        low = max((schema.get("minLength", 0) for schema in flat), default=0)
        high = min((schema.get("maxLength", math.inf) for schema in flat), default=math.inf)
        patterns = [self._patterns[schema["pattern"]] for schema in flat if "pattern" in schema]
        if constants:
            text = constants[0]
            if not (low <= len(text) <= high and all(pattern.matches(text) for pattern in patterns)):
                return False
            begun = len(node.chars)
            if node.closed or text == node.chars:
                return text == node.chars and not node.tip
            return text.startswith(node.chars) and (not node.tip or text[begun] in self._next_characters(node.tip))
        if low > high:
            return False
        begun = len(node.chars) + bool(node.tip)
        if not patterns:
            return begun <= high and (not node.closed or begun >= low)
        bounds = f"^[^]{{{low},{'' if high == math.inf else high}}}$"
        if bounds not in self._patterns:
            self._patterns[bounds] = Pattern(bounds)
        patterns.append(self._patterns[bounds])
        if node.closed:
            return all(pattern.matches(node.chars) for pattern in patterns)
        states = tuple(pattern.after(node.chars) for pattern in patterns)
        if not node.tip:
            return self._can_match(patterns, states, not node.chars)
        following = self._next_characters(node.tip)
        return any(self._can_match(patterns, _step(patterns, states, char)) for char in following)

    def _can_match(self, patterns: list[Pattern], states: tuple[States, ...], at_start: bool = False) -> bool:
        """Whether some text leads all `patterns` from their `states` to a match."""
        known = (*map(id, patterns), *states, at_start)
        if known not in self._known:
            open_, seen, found = [states], {states}, False
            while open_ and not found:
                found = any(all(p.accepts(s, at_start) for p, s in zip(patterns, one, strict=True)) for one in open_)
                after = {_step(patterns, one, char) for one in open_ for char in self.alphabet if all(one)}
                open_, at_start = [one for one in after if one not in seen], False
                seen |= after
            self._known[known] = found
        return self._known[known]

    def _array_fits(self, node: Array, flat: Schemas, place: Schemas) -> bool:
        if any("array" not in _types_of(schema) or _SCALAR in schema for schema in flat):
            return False
        wheres = self._applying_to_items(place)
        for index, item in enumerate(node.items):
            if not self.completable(item, self._of_index(flat, index), self._of_index(wheres, index)):
                return False
        count = len(node.items)
        low = max((schema.get("minItems", 0) for schema in flat), default=0)
        high = min((schema.get("maxItems", math.inf) for schema in flat), default=math.inf)
        least = max(low, count + node.comma)
        if node.closed and least > count or least > high:
            return False
        return all(self.satisfiable(self._of_index(flat, index)) for index in range(count, least))

    def _object_fits(self, node: Object, flat: Schemas, place: Schemas) -> bool:
        if any("object" not in _types_of(schema) or _SCALAR in schema for schema in flat):
            return False
        named = self.order(place)
        wheres = [found for schema in place for found in self._applying(schema)]
        keys = [key for key, _ in node.members]
        if not self._ordered(keys, named):
            return False
        for key, value in node.members:
            if not self.completable(value, self._of_key(flat, key), self._of_key(wheres, key)):
                return False
        if node.key is not None:
            return any(
                self._ordered([*keys, key], named)
                and self.satisfiable(self._of_key(flat, key))
                and self._can_finish([*keys, key], flat, named)
                for key in self._possible_keys(node.key, keys, flat, named)
            )
        if node.closed:
            return self._is_finished(keys, flat)
        return self._can_finish(keys, flat, named, more=node.comma)

    def _possible_keys(self, begun: String, keys: list[str], flat: Schemas, named: list[str]) -> Iterator[str]:
        """Keys that `begun` can become, at least one of each sort."""
        patterns = [self._patterns[p] for schema in flat for p in schema.get("patternProperties", ())]
        required = [key for schema in flat for key in schema.get("required", ())]
        yield from (key for key, _ in self._completions(begun, patterns, frozenset([*named, *keys, *required])))

    def _can_finish(self, keys: list[str], flat: Schemas, named: list[str], more: bool = False) -> bool:
        """Whether an object with these `keys` so far (and one more at least) can be given the members it lacks."""
        lacking = [k for k in dict.fromkeys(k for schema in flat for k in schema.get("required", ())) if k not in keys]
        free = [k for k in named if k not in lacking and self._ordered([*keys, k], named)]
        if not self._ordered(
            [*keys, *sorted(lacking, key=lambda k: named.index(k) if k in named else len(named))], named
        ):
            return False
        if not all(self.satisfiable(self._of_key(flat, key)) for key in lacking):
            return False
        low = max((schema.get("minProperties", 0) for schema in flat), default=0)
        high = min((schema.get("maxProperties", math.inf) for schema in flat), default=math.inf)
        count = len(keys) + len(lacking)
        wanted = max(low, len(keys) + more) - count
        if count + max(wanted, 0) > high:
            return False
        if wanted > 0:
            wanted -= sum(self.satisfiable(self._of_key(flat, key)) for key in free)
        return wanted <= 0 or self._other_keys(wanted, {*named, *(keys if self.policy.distinct else ())}, flat)

    def _other_keys(self, wanted: int, taken: set[str], flat: Schemas) -> bool:
        """Whether `wanted` more keys, none of those `taken`, can be added."""
        taken, blank = set(taken), String("", b"", False)
        for _ in range(wanted):
            possible = self._possible_keys(blank, [*taken], flat, [])
            new = next((k for k in possible if k not in taken and self.satisfiable(self._of_key(flat, k))), None)
            if new is None:
                return False
            if self.policy.distinct:
                taken.add(new)
        return True

    def _is_finished(self, keys: list[str], flat: Schemas) -> bool:
        return all(
            set(keys) >= set(schema.get("required", ()))
            and schema.get("minProperties", 0) <= len(keys) <= schema.get("maxProperties", math.inf)
            for schema in flat
        )

    def _ordered(self, keys: list[str], named: list[str]) -> bool:
        """Whether `keys` are distinct, those `named` in their order and before all others."""
        ranks = [named.index(key) if key in named else len(named) for key in keys]
        others = keys[sum(rank < len(named) for rank in ranks) :] if self.policy.distinct else []
        return len(set(others)) == len(others) and all(
            a < b or a == b == len(named) for a, b in itertools.pairwise(ranks)
        )
