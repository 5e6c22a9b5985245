"""How code points are written inside a JSON string: sets of characters to sequences of byte ranges.

    spell(set, policy)  ->  [((low, high), (low, high), ...), ...]

Every member of the set is written by exactly the byte strings that match one of the sequences byte by byte. Sequences of
disjoint sets never overlap, and none is a prefix of another.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from maskwright.grammars.charset import ALL, CharSet

__all__ = ["Spelling", "spell_utf8"]

Sequence = tuple[tuple[int, int], ...]

_SHORT = {0x22: '"', 0x5C: "\\", 0x08: "b", 0x0C: "f", 0x0A: "n", 0x0D: "r", 0x09: "t"}
_CONTROL = CharSet([(0, 0x1F)])
_QUOTES = CharSet([(0x22, 0x22), (0x5C, 0x5C)])
_PLAIN = ~(_CONTROL | _QUOTES)
_SHORT_SET = CharSet([(code, code) for code in _SHORT])
_PRINTABLE_ASCII = CharSet([(0x20, 0x7E)]) & ~_QUOTES
# Code points by the number of UTF-8 bytes; what is added to the first of their base-64 digits.
_UTF8_LENGTHS = ((0x00, 0x7F, 1, 0x00), (0x80, 0x7FF, 2, 0xC0), (0x800, 0xFFFF, 3, 0xE0), (0x10000, 0x10FFFF, 4, 0xF0))


def _split(low: int, high: int, base: int, width: int) -> list[Sequence]:
    """The numbers low..high as sequences of digit ranges: each sequence is a product, together they are exact."""
    if width == 1:
        return [((low, high),)]
    unit = base ** (width - 1)
    first, last = low // unit, high // unit
    if first == last:
        return [((first, first), *rest) for rest in _split(low % unit, high % unit, base, width - 1)]
    found: list[Sequence] = []
    if low % unit:
        found += [((first, first), *rest) for rest in _split(low % unit, unit - 1, base, width - 1)]
        first += 1
    tail: list[Sequence] = []
    if high % unit != unit - 1:
        tail = [((last, last), *rest) for rest in _split(0, high % unit, base, width - 1)]
        last -= 1
    if first <= last:
        found.append(((first, last), *[(0, base - 1)] * (width - 1)))
    return found + tail


def spell_utf8(charset: CharSet) -> list[Sequence]:
    """The UTF-8 encodings of a set of code points (RFC 3629)."""
    found: list[Sequence] = []
    for low, high in charset.ranges:
        for first, last, length, lead in _UTF8_LENGTHS:
            if low > last or high < first:
                continue
            for digits in _split(max(low, first), min(high, last), 64 if length > 1 else 128, length):
                head = (digits[0][0] + lead, digits[0][1] + lead)
                found.append((head, *((0x80 + a, 0x80 + b) for a, b in digits[1:])))
    return found


def _hex_ranges(low: int, high: int, upper: bool) -> list[tuple[int, int]]:
    """Byte ranges of the hexadecimal digits low..high."""
    found = []
    if low <= 9:
        found.append((0x30 + low, 0x30 + min(high, 9)))
    if high >= 10:
        found.append((0x57 + max(low, 10), 0x57 + high))
        if upper:
            found.append((0x37 + max(low, 10), 0x37 + high))
    return found


def _escape(low: int, high: int, upper: bool) -> list[Sequence]:
    """The `\\uXXXX` spellings of the 16-bit units low..high."""
    found: list[Sequence] = []
    for digits in _split(low, high, 16, 4):
        partial: list[Sequence] = [((0x5C, 0x5C), (0x75, 0x75))]
        for first, last in digits:
            partial = [(*head, tail) for head in partial for tail in _hex_ranges(first, last, upper)]
        found += partial
    return found


def _escape_all(charset: CharSet, upper: bool) -> list[Sequence]:
    """The `\\uXXXX` spellings of a set; surrogate pairs beyond the basic plane."""
    found: list[Sequence] = []
    for low, high in charset.ranges:
        if low <= 0xFFFF:
            found += _escape(low, min(high, 0xFFFF), upper)
        if high > 0xFFFF:
            for lead, trail in _split(max(low, 0x10000) - 0x10000, high - 0x10000, 0x400, 2):
                for head in _escape(0xD800 + lead[0], 0xD800 + lead[1], upper):
                    found += [(*head, *tail) for tail in _escape(0xDC00 + trail[0], 0xDC00 + trail[1], upper)]
    return found


@dataclass(frozen=True, slots=True)
class Spelling:
    """A policy for the inside of strings (grammars/options.py: `escapes`, `ensure_ascii`)."""

    escapes: str = "canonical"
    ensure_ascii: bool = False

    @property
    def raw(self) -> CharSet:
        """The characters that may stand as they are."""
        return _PRINTABLE_ASCII if self.ensure_ascii else _PLAIN

    def sequences(self, charset: CharSet) -> list[Sequence]:
        """Every spelling of every character of the set."""
        short = [((0x5C, 0x5C), (ord(_SHORT[code]),) * 2) for code in _SHORT if code in charset]
        if self.escapes == "any":
            if 0x2F in charset:
                short.append(((0x5C, 0x5C), (0x2F, 0x2F)))
            return [*spell_utf8(charset & self.raw), *short, *_escape_all(charset, upper=True)]
        raw = charset & self.raw
        escaped = charset & ~raw & ~_SHORT_SET
        return [*spell_utf8(raw), *short, *_escape_all(escaped, upper=False)]

    def finishable(self, characters: CharSet, writable: list[tuple[int, int]]) -> CharSet:
        """What a vocabulary can write inside a string, given its characters and its single ASCII bytes."""
        alone = CharSet(writable)
        found = characters & self.raw
        if 0x5C in alone:
            found |= CharSet([(code, code) for code, letter in _SHORT.items() if ord(letter) in alone])
            if all(ord(digit) in alone for digit in "u0123456789abcdef"):
                found |= ALL if self.ensure_ascii or self.escapes == "any" else _CONTROL
        return found

    def unique(self, text: str) -> bytes | None:
        """The only spelling of `text`, without quotes; None where the policy allows several."""
        if self.escapes == "any":
            return None
        encode = json.encoder.encode_basestring_ascii if self.ensure_ascii else json.encoder.encode_basestring
        return encode(text)[1:-1].encode()
