r"""Character sets that regular expressions name: \d \w \s and `.`, Unicode properties, and case-insensitive variants.

The shorthand classes are those of ECMA-262 (section 22.2.2.9, CharacterClassEscape), which JSON Schema asks for: \d and
\w are ASCII, \s is WhiteSpace and LineTerminator. Properties come from the interpreter's `unicodedata`; there are no
scripts in it, so they are refused rather than approximated.

What takes a pass over all of Unicode (some 0.1 s) is made when a pattern first asks for it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from typing import TypeVar

from maskwright.grammars.charset import ALL, LAST_CODE_POINT, CharSet

__all__ = ["DIGIT", "DOT", "LINE_TERMINATOR", "SPACE", "WORD", "fold_case", "unicode_property"]

DIGIT = CharSet([(0x30, 0x39)])
WORD = CharSet([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])
SPACE = CharSet(
    [
        (0x09, 0x0D),
        (0x20, 0x20),
        (0xA0, 0xA0),
        (0x1680, 0x1680),
        (0x2000, 0x200A),
        (0x2028, 0x2029),
        (0x202F, 0x202F),
        (0x205F, 0x205F),
        (0x3000, 0x3000),
        (0xFEFF, 0xFEFF),
    ]
)
LINE_TERMINATOR = CharSet.of("\n\r\u2028\u2029")
DOT = ~LINE_TERMINATOR  # `.` without the flag s

T = TypeVar("T")

# -------------------------------------------------------------------- properties

# Long names of general categories (PropertyValueAliases.txt) that ECMA-262 and most dialects accept beside the short.
_CATEGORY_NAMES = {
    "cased_letter": "LC",
    "close_punctuation": "Pe",
    "combining_mark": "M",
    "connector_punctuation": "Pc",
    "control": "Cc",
    "cntrl": "Cc",
    "currency_symbol": "Sc",
    "dash_punctuation": "Pd",
    "decimal_number": "Nd",
    "digit": "Nd",
    "enclosing_mark": "Me",
    "final_punctuation": "Pf",
    "format": "Cf",
    "initial_punctuation": "Pi",
    "letter": "L",
    "letter_number": "Nl",
    "line_separator": "Zl",
    "lowercase_letter": "Ll",
    "mark": "M",
    "math_symbol": "Sm",
    "modifier_letter": "Lm",
    "modifier_symbol": "Sk",
    "nonspacing_mark": "Mn",
    "number": "N",
    "open_punctuation": "Ps",
    "other": "C",
    "other_letter": "Lo",
    "other_number": "No",
    "other_punctuation": "Po",
    "other_symbol": "So",
    "paragraph_separator": "Zp",
    "private_use": "Co",
    "punctuation": "P",
    "punct": "P",
    "separator": "Z",
    "space_separator": "Zs",
    "spacing_mark": "Mc",
    "surrogate": "Cs",
    "symbol": "S",
    "titlecase_letter": "Lt",
    "unassigned": "Cn",
    "uppercase_letter": "Lu",
}

# Binary properties that the interpreter knows exactly (str.islower of one character is Lowercase, and so on).
_BINARY: dict[str, Callable[[str], bool]] = {
    "lowercase": str.islower,
    "uppercase": str.isupper,
    "xid_start": lambda character: character != "_" and character.isidentifier(),
    "xid_continue": lambda character: f"a{character}".isidentifier(),
}
_FIXED = {
    "any": ALL,
    "ascii": CharSet([(0, 0x7F)]),
    "ascii_hex_digit": CharSet([(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]),
    "ahex": CharSet([(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]),
}
_ALIASES = {"lower": "lowercase", "upper": "uppercase", "xids": "xid_start", "xidc": "xid_continue"}


def unicode_property(name: str) -> CharSet | None:
    r"""The set of \p{name}, or None when the property is not known.

    Known are general categories (`L`, `Lu`, `Letter`, `gc=Lu`, `General_Category=Letter`), Any, ASCII, Assigned,
    ASCII_Hex_Digit, Lowercase, Uppercase, XID_Start and XID_Continue.
    """
    prefix, equals, value = name.partition("=")
    if equals:
        return _category(value) if prefix in ("gc", "General_Category") else None
    folded = name.lower()
    if folded in _FIXED:
        return _FIXED[folded]
    if folded == "assigned":
        return ~_categories()["Cn"]
    folded = _ALIASES.get(folded, folded)
    if folded in _BINARY:
        return _where(folded)
    return _category(name)


def _category(name: str) -> CharSet | None:
    table = _categories()
    short = _CATEGORY_NAMES.get(name.lower(), name)
    if short in table:
        return table[short]
    if short == "LC":
        members = [table["Lu"], table["Ll"], table["Lt"]]
    elif len(short) == 1:
        members = [characters for category, characters in table.items() if category[0] == short]
    else:
        return CharSet() if short == "Cs" else None
    return CharSet(part for characters in members for part in characters.ranges) if members else None


@cache
def _categories() -> dict[str, CharSet]:
    """Two-letter general category → its characters."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    for category, low, high in _runs(unicodedata.category):
        ranges.setdefault(category, []).append((low, high))
    return {category: CharSet(found) for category, found in ranges.items() if category != "Cs"}


@cache
def _where(name: str) -> CharSet:
    return CharSet((low, high) for holds, low, high in _runs(_BINARY[name]) if holds)


def _runs(value: Callable[[str], T]) -> Iterator[tuple[T, int, int]]:
    """(value, first, last) of every run of code points that have the same value."""
    start = 0
    for found, run in groupby(map(value, map(chr, range(LAST_CODE_POINT + 1)))):
        end = start + sum(1 for _ in run)
        yield found, start, end - 1
        start = end


# -------------------------------------------------------------------- case

_ASCII = CharSet([(0, 0x7F)])
_KELVIN_SIGN, _LONG_S = 0x212A, 0x17F  # the only characters outside ASCII that fold to ASCII, to k and to s


def fold_case(characters: CharSet) -> CharSet:
    """The characters that a case-insensitive match takes for one of `characters` (simple case folding, one to one)."""
    folded = list(characters.ranges)
    for low, high in (characters & _ASCII).ranges:
        for first, last, shift in ((0x41, 0x5A, 0x20), (0x61, 0x7A, -0x20)):
            if max(low, first) <= min(high, last):
                folded.append((max(low, first) + shift, min(high, last) + shift))
    for letters, variant in (("kK", _KELVIN_SIGN), ("sS", _LONG_S)):
        if any(ord(letter) in characters for letter in letters):
            folded.append((variant, variant))
    others = characters - _ASCII
    if others:
        for point, variants in _case_variants().items():
            if point in others:
                folded.extend((variant, variant) for variant in variants)
    return CharSet(folded)


@cache
def _case_variants() -> dict[int, tuple[int, ...]]:
    """Code point → all code points with the same simple case folding, for those that have another one beside."""
    classes: dict[str, list[int]] = {}
    for point in range(LAST_CODE_POINT + 1):
        character = chr(point)
        if character.lower() != character or character.upper() != character:
            classes.setdefault(_simple_fold(character), []).append(point)
    return {point: tuple(members) for members in classes.values() if len(members) > 1 for point in members}


def _simple_fold(character: str) -> str:
    """The simple case folding: the full one (`casefold`) where it is one character, else the lower case likewise."""
    for folded in (character.casefold(), character.lower()):
        if len(folded) == 1:
            return folded
    return character
