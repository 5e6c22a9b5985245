r"""The format `regex`: patterns that ECMA-262 and Python's `re` both read, as a regular language.

Patterns nest, so that all of them are no regular language; these are the ones with at most MAX_DEPTH groups inside each
other. Each is a valid pattern in a browser; with the flag u, too, but for escapes of punctuation that needs none (`\-`,
`\"`) and a lone `]` or `}`, which the flag forbids and everyone writes. What is left out, beyond the depth:

    only ECMA-262 reads it    `[]`, `[^]`, `(?<name>...)`, `\k<name>`, `\cA`, `\p{L}`, `\u{1F600}`, escaped surrogates
    not all engines read it   lookbehind (`re` wants one length), `(?=...)*`, a lone `{`, `\0` (octal before a digit),
                              back-references (an automaton cannot tell that there is a group 7)
    for its size              counts with more than four digits in the lower bound; and ranges that do not leave the
                              block in which they begin (_BLOCKS): `[+-/]` or `[٠-٩]`, but not `[ -~]`, `[а-я]`, `[一-龥]`
                              or, by its escapes, `[\u0660-\u0669]`

A range or a count has its ends in order: `[z-a]` and `a{3,2}` are no patterns. An automaton has to remember the first
of the two for that, which makes a state for each; and again for each way to be inside of groups. So it is written as
one automaton by hand (`_Place`), of which only what is reached exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from maskwright.grammars.charset import ALL, LAST_CODE_POINT, CharSet
from maskwright.grammars.digits import Grid, decimals
from maskwright.grammars.regular import EPSILON, Regex, alternate, chars, concat, literal, repeat
from maskwright.grammars.regular_nodes import Span

__all__ = ["MAX_DEPTH", "regex"]

MAX_DEPTH = 12  # groups inside groups

_MAX_COUNT = 10**9 - 1  # `re` ends at 2**32 - 2
_COUNT_DIGITS = 4  # of a lower bound

_PUNCTUATION = CharSet([(0x20, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)])
_CONTROL = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_CLASS_CONTROL = _CONTROL | {"b": 8}
_SETS = CharSet.of("dDwWsS")
_ALONE = ~CharSet.of("\\^$|?*+()[{")  # what is an item by itself
_MEMBERS = ~CharSet.of("\\]-")  # likewise, in a class
_BACKSLASH, _BRACKET, _CARET, _HYPHEN = map(CharSet.of, "\\]^-")
_HEX = [CharSet.of({f"{value:x}", f"{value:X}"}) for value in range(16)]

# Where the blocks begin of characters that begin a range. Digits and letters of ASCII are blocks of their own.
_BLOCKS = sorted(
    {
        0,
        0x20,
        0x7B,
        0x80,
        0xA0,
        0xC0,
        0xD0,
        0xE0,
        0xF0,
        0x100,
        0x180,
        0x250,
        0x370,
        0x3A0,
        0x3C0,
        0x400,
        0x410,
        0x420,
        0x430,
        0x440,
        0x460,
        0x530,
        0x600,
    }
    | {
        *range(0x30, 0x3B),
        *range(0x41, 0x5C),
        *range(0x61, 0x7C),
        0x900,
        0xE00,
        0x1100,
        0x2000,
        0x3000,
        0x3040,
        0x3060,
        0x30A0,
        0x30C0,
    }
    | {0x3100, 0x3400, 0x4E00, 0x5000, 0xAC00, 0xB000, 0xD7A4, 0xE000, 0xF900, 0x10000, 0x1F000, 0x20000, 0x30000}
)
# (characters that a class may have as they are, the least character that a range which they begin may end with)
_BLOCK_SETS = [
    (characters, start if stop == start + 1 else stop)
    for start, stop in pairwise([*_BLOCKS, LAST_CODE_POINT + 1])
    if (characters := _MEMBERS & CharSet([(start, stop - 1)]))
]


@cache
def regex() -> Regex:
    r"""^[a-z]+(-\d{2,4})?$"""
    return _Place(_item, ())


class _Place(Regex):
    """A place in a pattern, and with it the language of what may follow.

    Attributes:
        kind: one of the functions below; it has the transitions.
        groups: for each group that is open, whether it may be repeated (lookahead may not).
        value: what the kind remembers, hashable.
    """

    __slots__ = ("groups", "kind", "value")

    reach = MAX_DEPTH + len("0041]")  # the ends of groups, and what is missing in the digits of an escape in a class

    def __init__(self, kind: Kind, groups: tuple[bool, ...], value: Any = None) -> None:
        self.kind, self.groups, self.value = kind, groups, value
        super().__init__((kind, groups, value), nullable=not groups and kind in _BETWEEN_ITEMS)

    def at(self, kind: Kind, value: Any = None) -> _Place:
        """A place of another kind inside of the same groups."""
        return _Place(kind, self.groups, value)

    def _derive(self) -> Iterator[tuple[CharSet, Regex]]:
        return (step for step in self.kind(self) if step[0])

    def _measure(self) -> Span:
        """A pattern that has begun ends soonest by closing what is open, and can be of any length."""
        if self.kind is _inside:
            inner, following = self.value
            missing = inner.span[0] + _MISSING.get(following, 0)
        elif self.kind is _hexadecimal_member:
            missing = self.value[1] + 1
        else:
            missing = _MISSING.get(self.kind, 0)
        return missing + len(self.groups), None

    def _spell(self) -> CharSet:
        return ALL

    def _same(self, other: object) -> bool:
        if not isinstance(other, _Place):
            return False
        return (self.kind, self.groups, self.value) == (other.kind, other.groups, other.value)

    def __repr__(self) -> str:
        value = "" if self.value is None else f" {self.value}"
        return f"<{self.kind.__name__.strip('_')}{value} in {len(self.groups)} groups>"


Step = tuple[CharSet, Regex]
Kind = Callable[[_Place], Iterator[Step]]

# -------------------------------------------------------------------- structure


def _item(place: _Place) -> Iterator[Step]:
    """An item begins here, or the group ends."""
    yield _ALONE, place.at(_repeatable)
    yield _BACKSLASH, place.at(_escape)
    yield CharSet.of("["), place.at(_class)
    yield CharSet.of("^$|"), place.at(_item)
    if len(place.groups) < MAX_DEPTH:
        yield CharSet.of("("), _Place(_group, (*place.groups, True))
    if place.groups:
        yield CharSet.of(")"), _Place(_repeatable if place.groups[-1] else _item, place.groups[:-1])


def _repeatable(place: _Place) -> Iterator[Step]:
    """After an item without a count."""
    yield from _item(place)
    yield CharSet.of("*+?"), place.at(_counted)
    yield CharSet.of("{"), place.at(_count, (0, 0))


def _counted(place: _Place) -> Iterator[Step]:
    """After a count, which may be lazy."""
    yield from _item(place)
    yield CharSet.of("?"), place.at(_item)


_BETWEEN_ITEMS = frozenset({_item, _repeatable, _counted})


def _count(place: _Place) -> Iterator[Step]:
    """Within the lower bound of a count; value: (the number so far, how many digits it has)."""
    low, digits = place.value
    if digits:
        yield CharSet.of("}"), place.at(_counted)
        end = literal("}")
        yield (
            CharSet.of(","),
            place.at(_inside, (alternate(end, concat(decimals(Grid(low, _MAX_COUNT)), end)), _counted)),
        )
    if not digits or low and digits < _COUNT_DIGITS:
        for digit in range(10):
            yield _HEX[digit], place.at(_count, (low * 10 + digit, digits + 1))


def _group(place: _Place) -> Iterator[Step]:
    """After an opening parenthesis."""
    yield from _item(place)
    yield CharSet.of("?"), place.at(_group_kind)


def _group_kind(place: _Place) -> Iterator[Step]:
    """After `(?`."""
    yield CharSet.of(":"), place.at(_item)
    yield CharSet.of("=!"), _Place(_item, (*place.groups[:-1], False))


def _inside(place: _Place) -> Iterator[Step]:
    """Within a language of which no member begins another; value: (what is left of it, the kind of place behind)."""
    inner, following = place.value
    for characters, rest in inner.transitions():
        yield characters, place.at(following) if rest is EPSILON else place.at(_inside, (rest, following))


# -------------------------------------------------------------------- escapes


def _hexadecimal(low: int, high: int, width: int) -> Regex:
    """The numbers low..high with `width` digits."""
    if low == 0 and high == 16**width - 1:
        return repeat(chars(CharSet.union(_HEX)), width, width)
    unit = 16 ** (width - 1)
    found = []
    for first in range(low // unit, high // unit + 1):
        below = first * unit
        rest = _hexadecimal(max(low - below, 0), min(high - below, unit - 1), width - 1)
        found.append(concat(chars(_HEX[first]), rest))
    return alternate(*found)


@lru_cache(maxsize=256)
def _numbers(least: int) -> Regex:
    """`x41` or `u0041`, from `least` on, without surrogates; EMPTY above U+FFFF."""
    found = [concat(literal("x"), _hexadecimal(least, 0xFF, 2))] if least <= 0xFF else []
    for low, high in ((0, 0xD7FF), (0xE000, 0xFFFF)):
        if least <= high:
            found.append(concat(literal("u"), _hexadecimal(max(least, low), high, 4)))
    return alternate(*found)


def _escape(place: _Place) -> Iterator[Step]:
    """After a backslash that is in no class."""
    yield _SETS | _PUNCTUATION | CharSet.of(_CONTROL), place.at(_repeatable)
    yield CharSet.of("bB"), place.at(_item)
    for characters, rest in _numbers(0).transitions():
        yield characters, place.at(_inside, (rest, _repeatable))


# -------------------------------------------------------------------- character classes
# A hyphen stands for itself where it comes first, last, or right after a range; anywhere else it makes a range with what
# stands around it. So each member is remembered, in case that a hyphen follows.


def _members(place: _Place) -> Iterator[Step]:
    """A member begins here."""
    for characters, least in _BLOCK_SETS:
        yield characters, place.at(_loose, least)
    yield _BACKSLASH, place.at(_class_escape)


def _class(place: _Place) -> Iterator[Step]:
    """After an opening bracket."""
    for characters, after in _negated(place):
        yield characters - _CARET, after
    yield _CARET, place.at(_negated)


def _negated(place: _Place) -> Iterator[Step]:
    """After `[^`: one member is needed at least."""
    yield from _members(place)
    yield _HYPHEN, place.at(_loose, ord("-"))


def _after_range(place: _Place) -> Iterator[Step]:
    yield from _negated(place)
    yield _BRACKET, place.at(_repeatable)


def _loose(place: _Place) -> Iterator[Step]:
    """After a member; value: from where on a range that it begins may end, or None when it is a set of characters."""
    yield from _members(place)
    yield _HYPHEN, place.at(_hyphen, place.value)
    yield _BRACKET, place.at(_repeatable)


def _hyphen(place: _Place) -> Iterator[Step]:
    """After a hyphen that makes a range; value: see _loose."""
    yield _BRACKET, place.at(_repeatable)
    least = place.value
    if not isinstance(least, int):
        return
    beyond = CharSet([(least, LAST_CODE_POINT)])
    yield (_MEMBERS | _HYPHEN) & beyond, place.at(_after_range)
    letters = CharSet.of(letter for letter, code in _CLASS_CONTROL.items() if code >= least)
    yield (
        _BACKSLASH,
        place.at(_inside, (alternate(chars(letters | _PUNCTUATION & beyond), _numbers(least)), _after_range)),
    )


def _class_escape(place: _Place) -> Iterator[Step]:
    """After a backslash in a class."""
    yield _SETS, place.at(_loose)
    for letter, code in _CLASS_CONTROL.items():
        yield CharSet.of(letter), place.at(_loose, code)
    for characters, least in _BLOCK_SETS:
        yield characters & _PUNCTUATION, place.at(_loose, least)
    yield CharSet.of("-\\]"), place.at(_loose, 0x5E)
    yield CharSet.of("x"), place.at(_hexadecimal_member, (0, 2))
    yield CharSet.of("u"), place.at(_hexadecimal_member, (0, 4))


def _hexadecimal_member(place: _Place) -> Iterator[Step]:
    """Within the digits of an escape in a class; value: (the number so far, how many are to come)."""
    number, missing = place.value
    for digit, characters in enumerate(_HEX):
        after = number * 16 + digit
        if missing == 1:
            yield characters, place.at(_loose, after)
        elif missing != 3 or not 0xD8 <= after <= 0xDF:  # surrogates
            yield characters, place.at(_hexadecimal_member, (after, missing - 1))


# How many characters are missing, beside the ends of groups.
_MISSING: dict[Kind, int] = {
    _count: 1, _group_kind: 1, _escape: 1, _class: 2, _negated: 2, _after_range: 1, _loose: 1, _hyphen: 1, _class_escape: 2,
}  # fmt: skip
