"""Sets of Unicode scalar values, as sorted disjoint ranges.

A scalar value is a code point from 0 to 0x10FFFF that is no surrogate (Unicode 16, D76): exactly what UTF-8 can write.
Surrogates are not in the universe at all: the constructor cuts them out and the complement does not bring them back.

    CharSet([(97, 122), (45, 45)])      [-a-z]
    CharSet.of("abc")                   [a-c]
    a | b, a & b, a - b, ~a             set algebra; linear in the number of ranges
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

__all__ = ["ALL", "EMPTY_SET", "LAST_CODE_POINT", "CharSet"]

LAST_CODE_POINT = 0x10FFFF
_FIRST_SURROGATE, _LAST_SURROGATE = 0xD800, 0xDFFF

Ranges = tuple[tuple[int, int], ...]


class CharSet:
    """An immutable set of scalar values.

    Attributes:
        ranges: ((first, last), ...), inclusive, ascending, neither overlapping nor touching, free of surrogates.
    """

    __slots__ = ("_hash", "ranges")

    ranges: Ranges

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """The union of inclusive ranges in any order; surrogates and what lies past U+10FFFF are cut out."""
        self.ranges = _joined(sorted(_scalar_parts(ranges)))
        self._hash = hash(self.ranges)

    @classmethod
    def normal(cls, ranges: Ranges) -> CharSet:
        """A set of ranges that are known to be in the form that the class promises."""
        made = cls.__new__(cls)
        made.ranges = ranges
        made._hash = hash(ranges)
        return made

    @classmethod
    def union(cls, sets: Iterable[CharSet]) -> CharSet:
        """The union of any number of sets."""
        sets = list(sets)
        if len(sets) == 1:
            return sets[0]
        return cls.normal(_joined(sorted([part for characters in sets for part in characters.ranges])))

    @classmethod
    def of(cls, characters: Iterable[str]) -> CharSet:
        """The set of the given characters."""
        return cls((ord(character), ord(character)) for character in characters)

    # ---------------------------------------------------------------- algebra

    def __or__(self, other: CharSet) -> CharSet:
        if self is other or not other.ranges:
            return self
        if not self.ranges:
            return other
        return CharSet.normal(_joined(sorted(self.ranges + other.ranges)))

    def __and__(self, other: CharSet) -> CharSet:
        if self is other:
            return self
        left, right = self.ranges, other.ranges
        found: list[tuple[int, int]] = []
        i = j = 0
        while i < len(left) and j < len(right):
            low_left, high_left = left[i]
            low_right, high_right = right[j]
            low = low_left if low_left > low_right else low_right
            high = high_left if high_left < high_right else high_right
            if low <= high:
                found.append((low, high))
            if high_left < high_right:
                i += 1
            else:
                j += 1
        return CharSet.normal(tuple(found))

    def __invert__(self) -> CharSet:
        """The scalar values that are not in this set."""
        gaps: list[tuple[int, int]] = []
        start = 0
        for low, high in self.ranges:
            if start < low:
                gaps.append((start, low - 1))
            start = high + 1
        if start <= LAST_CODE_POINT:
            gaps.append((start, LAST_CODE_POINT))
        return CharSet.normal(tuple(_scalar_parts(gaps)))

    def __sub__(self, other: CharSet) -> CharSet:
        return self & ~other

    def issubset(self, other: CharSet) -> bool:
        """Whether every character of this set is in `other`."""
        if self is other or other is ALL:
            return True
        right, j = other.ranges, 0
        for low, high in self.ranges:
            while j < len(right) and right[j][1] < low:
                j += 1
            if j == len(right) or right[j][0] > low or right[j][1] < high:
                return False
        return True

    # ---------------------------------------------------------------- members

    def __contains__(self, code_point: int) -> bool:
        ranges = self.ranges
        if len(ranges) < 8:
            for low, high in ranges:
                if code_point <= high:
                    return code_point >= low
            return False
        at = bisect_right(ranges, (code_point, LAST_CODE_POINT)) - 1
        return at >= 0 and ranges[at][1] >= code_point

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __iter__(self) -> Iterator[int]:
        """The code points, ascending."""
        for low, high in self.ranges:
            yield from range(low, high + 1)

    @property
    def size(self) -> int:
        """The number of characters."""
        return sum(high - low + 1 for low, high in self.ranges)

    @property
    def first(self) -> int:
        """The least code point of a non-empty set."""
        return self.ranges[0][0]

    # ---------------------------------------------------------------- identity

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, CharSet) and self._hash == other._hash and self.ranges == other.ranges

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        shown = (_spell(low) if low == high else f"{_spell(low)}-{_spell(high)}" for low, high in self.ranges)
        return f"[{''.join(shown)}]"


def _joined(ranges: list[tuple[int, int]]) -> Ranges:
    """Ranges in ascending order, with those that overlap or touch made one."""
    merged: list[tuple[int, int]] = []
    last_low, last_high = -1, -2
    for part in ranges:
        low, high = part
        if low > last_high + 1:
            merged.append(part)
            last_low, last_high = part
        elif high > last_high:
            merged[-1] = (last_low, high)
            last_high = high
    return tuple(merged)


def _scalar_parts(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same ranges without surrogates and without anything outside 0..0x10FFFF."""
    for low, high in ranges:
        low, high = max(low, 0), min(high, LAST_CODE_POINT)
        if high < _FIRST_SURROGATE or low > _LAST_SURROGATE:
            if low <= high:
                yield low, high
            continue
        if low < _FIRST_SURROGATE:
            yield low, _FIRST_SURROGATE - 1
        if high > _LAST_SURROGATE:
            yield _LAST_SURROGATE + 1, high


def _spell(code_point: int) -> str:
    """A code point as a character class of a regular expression would write it."""
    character = chr(code_point)
    if character in "\\]^-[":
        return "\\" + character
    if character.isprintable():
        return character
    return f"\\u{{{code_point:x}}}" if code_point > 0xFFFF else f"\\u{code_point:04x}"


EMPTY_SET = CharSet()
ALL = CharSet([(0, LAST_CODE_POINT)])
