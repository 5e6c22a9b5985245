"""The slow oracle's reading of texts: the bytes of a prefix to one partial tree (see naive.py)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Policy", "escaped_characters", "next_characters", "parse_prefix", "utf8_bounds"]


# Each stands for any character that the schema does not mention (three, because keys of an object must be distinct).
OTHERS = ("\U0010ffff", "\U0010fffe", "\U0010fffd")
OTHER = OTHERS[0]


@dataclass(frozen=True)
class Policy:
    """How a value may be written.

    Attributes:
        whitespace, max_whitespace, separators, indent, ensure_ascii, escapes: as in the table of
            `maskwright.grammars.options`.
        exponents: False leaves numbers with an exponent out, for comparing with lists of texts.
        distinct: False lets keys that no keyword names come again (named ones never do).
    """

    whitespace: str = "flexible"
    max_whitespace: int = 32
    separators: tuple[str, str] | None = None
    exponents: bool = True
    distinct: bool = True
    indent: int | None = None
    ensure_ascii: bool = False
    escapes: str = "canonical"

    @property
    def options(self) -> dict[str, Any]:
        """The options of `compile_json_schema` that say the same."""
        names = ("whitespace", "max_whitespace", "separators", "indent", "ensure_ascii", "escapes")
        return {name: getattr(self, name) for name in names}

    @property
    def exact_separators(self) -> tuple[str, str] | None:
        return (",", ": ") if self.separators is None and self.indent is not None else self.separators

    def line(self, depth: int) -> bytes:
        """What stands before an item of depth `depth`, where there is indentation."""
        return b"" if self.indent is None else b"\n" + b" " * (self.indent * depth)


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
    comma: bool  # whether a comma stands after the last item, or a line has begun for the first
    closed: bool


class Object(NamedTuple):
    members: tuple[tuple[str, Any], ...]  # (key, node); the last node may be partial or Nothing
    key: String | None  # a key that is not closed yet
    comma: bool  # whether a comma stands after the last member, or a line has begun for the first
    closed: bool  # also when the line of its end has begun


Node = Nothing | Literal | Number | String | Array | Object

_OUTSIDE_STRINGS = frozenset(bytes([byte]) for byte in b'{}[]:,"+-.0123456789eEtrufalsn \t\n\r')
_LITERALS: dict[str, Any] = {"null": None, "true": True, "false": False}
_NUMBER_PREFIX = re.compile(
    rb"-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+(?:[eE](?:[+-]?[0-9]*)?)?)?|[eE](?:[+-]?[0-9]*)?)?)?"
)
_PLAIN = re.compile(rb"[\x20\x21\x23-\x5b\x5d-\x7e]+")  # characters of strings that are single bytes
_SHORT = {b'"': 0x22, b"\\": 0x5C, b"b": 8, b"f": 12, b"n": 10, b"r": 13, b"t": 9}
_CONTROLS = [(0, 7), (0x0B, 0x0B), (0x0E, 0x1F)]  # those without a short escape


class _Reject(Exception):
    """The bytes begin no JSON text of the policy."""


class _Parser:
    """Recursive descent over `data`. The bytes may end anywhere: what is missing is missing from the tree."""

    def __init__(self, data: bytes, policy: Policy) -> None:
        self.data, self.policy, self.at, self.depth = data, policy, 0, 0

    def root(self) -> Node:
        node = self.value()
        if self.at < len(self.data):
            raise _Reject
        return node

    def peek(self) -> bytes:
        return self.data[self.at : self.at + 1]

    def space(self, after: str = "") -> None:
        """Skips white space, after `after`: "," or ":" or, for every other place between tokens, ""."""
        if self.policy.exact_separators is not None:
            rest = self.policy.exact_separators[after == ":"].encode()[1:] if after else b""
            self.exactly(rest + (self.policy.line(self.depth) if after == "," else b""))
            return
        allowed, limit = {
            "compact": (b"", 0),
            "single": (b" ", 1 if after else 0),
            "flexible": (b" \t\n\r", self.policy.max_whitespace),
        }[self.policy.whitespace]
        start = self.at
        while self.peek() and self.peek() in allowed and self.at - start < limit:
            self.at += 1

    def exactly(self, text: bytes) -> None:
        """Reads `text`, or as much of it as there is."""
        found = self.data[self.at : self.at + len(text)]
        if not text.startswith(found):
            raise _Reject
        self.at += len(found)

    def opened(self, end: bytes) -> bool:
        """Reads a bracket and what follows it; whether a line for the first item has begun."""
        self.at += 1
        self.depth += 1
        if self.policy.indent is None:
            self.space()
        elif self.peek() not in (b"", end):
            self.exactly(self.policy.line(self.depth))
            return True
        return False

    def value(self) -> Node:
        depth = self.depth
        node = self.any_value()
        self.depth = depth
        return node

    def any_value(self) -> Node:
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
            if byte < 0x20 or byte >= 0x7F and self.policy.ensure_ascii:
                raise _Reject
            width = self.escape_width() if byte == 0x5C else _utf8_width(byte)
            piece = self.data[self.at : self.at + width]
            if not (_escaped(piece, self.policy) if byte == 0x5C else utf8_bounds(piece)):
                raise _Reject
            self.at += len(piece)
            if len(piece) < width:
                return String("".join(chars), piece, False)
            chars.append(json.loads(b'"' + piece + b'"'))
        return String("".join(chars), b"", False)

    def escape_width(self) -> int:
        if self.data[self.at : self.at + 2] != b"\\u":
            return 2
        return 12 if re.match(rb"[dD][89abAB]", self.data[self.at + 2 : self.at + 4]) else 6

    def array(self) -> Array:
        begun = self.opened(b"]")
        items: list[Node] = []
        while True:
            if self.peek() == b"]" and not items and not begun:
                self.at += 1
                return Array((), False, True)
            node = self.value()
            if isinstance(node, Nothing):
                return Array(tuple(items), bool(items) or begun, False)
            items.append(node)
            if self.at == len(self.data):
                return Array(tuple(items), False, False)
            mark = self.after_value(b"]")
            if mark != b",":
                return Array(tuple(items), False, mark == b"]")

    def object(self) -> Object:
        begun = self.opened(b"}")
        members: list[tuple[str, Node]] = []
        while True:
            first = self.peek()
            if first == b"}" and not members and not begun:
                self.at += 1
                return Object((), None, False, True)
            if not first:
                return Object(tuple(members), None, bool(members) or begun, False)
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
        if self.policy.indent is not None and mark == b"\n":
            self.exactly(self.policy.line(self.depth - 1))
            if self.peek() not in (b"", end):
                raise _Reject
            self.at += len(self.peek())
            return end
        if mark not in (b"", b",", end) or mark == end and self.policy.indent is not None:
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


def _escaped(tip: bytes, policy: Policy) -> list[tuple[int, int]]:
    """Ranges of the characters that have an escape which is `tip` or begins with it."""
    found = [(code, code) for letter, code in _SHORT.items() if (b"\\" + letter).startswith(tip)]
    if policy.escapes == "any" and b"\\/".startswith(tip):
        found.append((0x2F, 0x2F))
    digits = "[0-9a-fA-F]" if policy.escapes == "any" else "[0-9a-f]"
    unit = rf"\\(?:u({digits}{{0,4}}))?"
    match = re.fullmatch(rf"{unit}(?:{unit})?", tip.decode("latin-1"))
    first, second = (match[1] or "", match[2] or "") if match else ("", "")
    if match is None or tip.count(b"\\") == 2 and len(first) < 4:
        return found
    low, high = int(first.ljust(4, "0"), 16), int(first.ljust(4, "f"), 16)
    allowed = [*_CONTROLS, *([(0x7F, 0x10FFFF)] if policy.ensure_ascii else [])]
    allowed = [(0, 0x10FFFF)] if policy.escapes == "any" else allowed
    named = [(low, min(high, 0xD7FF)), (max(low, 0xE000), high)] if len(tip) <= 6 else []
    lead, last = max(low, 0xD800), min(high, 0xDBFF)
    if len(tip) <= 6 and lead <= last:
        named.append((0x10000 + (lead - 0xD800 << 10), 0x10000 + (last - 0xD800 << 10) + 0x3FF))
    elif lead <= last and len(first) == 4:
        trail, final = max(int(second.ljust(4, "0"), 16), 0xDC00), min(int(second.ljust(4, "f"), 16), 0xDFFF)
        named.append(
            (0x10000 + (lead - 0xD800 << 10) + trail - 0xDC00, 0x10000 + (lead - 0xD800 << 10) + final - 0xDC00)
        )
    both = [(max(a, c), min(b, d)) for a, b in named for c, d in allowed]
    return found + [(a, b) for a, b in both if a <= b]


def escaped_characters(tip: bytes, mentioned: set[str], policy: Policy) -> list[str]:
    """As `next_characters`, for an escape that begins with `tip`."""
    ranges = _escaped(tip, policy)
    found = [c for c in mentioned if any(low <= ord(c) <= high for low, high in ranges)]
    return found + [OTHER] * (len(found) < sum(high - low + 1 for low, high in ranges))


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
