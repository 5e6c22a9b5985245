"""Internationalised host names: a regular part of the labels that IDNA 2008 admits (RFC 5890 to 5893).

Nothing is in that the RFCs keep out. What is left out is decided by what is not regular, or would take an automaton of
many thousand states:

* long labels and names of more than four. Up to 63 octets a label and 253 in all count in Punycode, which no automaton
  computes; labels are so short that they never take more.
* those whose normalisation (NFC) depends on neighbours: combining marks that are reordered or joined with a letter.
* those that need a context: joiners, middle dots, signs of single scripts, Arabic digits.
* hyphens, code points beyond U+FFFF, and labels that are Punycode already (`xn--`).
* right-to-left labels of anything but letters. Beside them ASCII labels begin with a letter (the Bidi rule, RFC 5893).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import groupby

from maskwright.grammars.charset import CharSet
from maskwright.grammars.regex import parse
from maskwright.grammars.regular import Regex, alternate, chars, concat, repeat

__all__ = ["idn_hostname"]

# Punycode writes a number for each code point beyond ASCII, and these numbers together are below 65,536 times the length
# of the label. At worst each digit is worth ten times the one before it: below 288,886 a number has five digits, below
# 2,888,886 six. So the numbers of 11 code points take 56 octets at most, and three numbers among 36 ASCII letters 18, with
# the letters and a hyphen 55. `xn--` makes 60, ASCII labels have 61 at most, and four with three dots 247.
_FEW = 11
_MOST_LETTERS, _MOST_OTHERS = 9, 3
_MOST_LABELS = 4
_LAST = 0xFFFF

# RFC 5892, section 2.6: what its rules alone would get wrong, and what needs a context.
_VALID = frozenset([0xDF, 0x3C2, 0x6FD, 0x6FE, 0xF0B, 0x3007])
_NOT_VALID = CharSet([
    (0xB7, 0xB7), (0x375, 0x375), (0x5F3, 0x5F4), (0x640, 0x640), (0x660, 0x669), (0x6F0, 0x6F9), (0x7FA, 0x7FA),
    (0x302E, 0x302F), (0x3031, 0x3035), (0x303B, 0x303B), (0x30FB, 0x30FB),
])  # fmt: skip
# Sections 2.3, 2.4 and 2.9: ignorable characters and blocks, and the parts of Hangul syllables.
_IGNORED = CharSet([
    (0x34F, 0x34F), (0x1100, 0x11FF), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x20D0, 0x20FF), (0x3164, 0x3164),
    (0xA960, 0xA97C), (0xD7B0, 0xD7FB), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0),
])  # fmt: skip
_LETTER_DIGITS = frozenset(["Ll", "Lu", "Lo", "Nd", "Lm", "Mn", "Mc"])


def _is_valid(character: str) -> bool:
    """Whether RFC 5892, section 3, says PVALID; a hyphen is left out."""
    point = ord(character)
    if point in _VALID:
        return True
    if unicodedata.category(character) not in _LETTER_DIGITS or point in _NOT_VALID or point in _IGNORED:
        return False
    folded = unicodedata.normalize("NFKC", character).casefold()
    return unicodedata.normalize("NFKC", folded) == character


@cache
def _joined_with_next() -> frozenset[str]:
    """The characters that normalisation joins with one after them that is no combining mark."""
    found = set[str]()
    for point in range(_LAST + 1):
        parts = unicodedata.decomposition(chr(point)).split()
        if len(parts) == 2 and not unicodedata.combining(chr(int(parts[1], 16))):
            found.add(chr(int(parts[0], 16)) if not parts[0].startswith("<") else "")
    return frozenset(found)


@cache
def _lasting() -> tuple[str, ...]:
    """The valid characters whose normalisation depends on no neighbour, ascending."""
    valid = (character for character in map(chr, range(_LAST + 1)) if _is_valid(character))
    return tuple(c for c in valid if not unicodedata.combining(c) and c not in _joined_with_next())


def _where(holds: Callable[[str], bool]) -> CharSet:
    """The lasting characters that are such."""
    points = enumerate(ord(character) for character in _lasting() if holds(character))
    runs = ([point for _, point in run] for _, run in groupby(points, lambda pair: pair[1] - pair[0]))
    return CharSet((run[0], run[-1]) for run in runs)


@cache
def idn_hostname() -> Regex:
    """실례.테스트"""
    marks = _where(lambda character: unicodedata.category(character)[0] == "M")
    strong = _where(lambda character: unicodedata.bidirectional(character) in ("R", "AL"))
    right_to_left = _where(lambda character: unicodedata.bidirectional(character) in ("R", "AL", "AN"))
    letters = _where(lambda _: True) - right_to_left
    any_ascii = parse("[A-Za-z0-9]([A-Za-z0-9]|-[A-Za-z0-9]){0,30}")
    letter_first = parse("[A-Za-z]([A-Za-z0-9]|-[A-Za-z0-9]){0,30}")
    return alternate(
        _names(alternate(any_ascii, _label(letters - marks, letters), _mostly_ascii(letters - marks))),
        _names(alternate(letter_first, _label(strong - marks, strong))),
    )


def _label(first: CharSet, others: CharSet) -> Regex:
    return concat(chars(first), repeat(chars(others), 0, _FEW - 1))


def _mostly_ascii(letters: CharSet) -> Regex:
    """Longer labels with few characters beyond ASCII."""
    in_ascii = repeat(parse("[a-z0-9]"), 0, _MOST_LETTERS)
    other = chars(letters - CharSet([(0, 0x7F)]))
    return concat(in_ascii, repeat(concat(other, in_ascii), 1, _MOST_OTHERS))


def _names(label: Regex) -> Regex:
    dot = parse(r"[.\u3002\uFF0E\uFF61]")
    return concat(label, repeat(concat(dot, label), 0, _MOST_LABELS - 1))
