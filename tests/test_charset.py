"""CharSet against Python sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maskwright.grammars.charset import ALL, EMPTY_SET, LAST_CODE_POINT, CharSet

# Ends near each other, near the surrogates and near the last code point, so that ranges touch, overlap and are cut.
ENDS = st.sampled_from([0, 1, 2, 3, 5, 8, 0xD7FE, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0xE001, 0x10FFFE, 0x10FFFF, 0x110000])
RANGES = st.lists(st.tuples(ENDS, ENDS), max_size=6)


def universe() -> set[int]:
    """The interesting code points: the ends and their neighbours."""
    near = {end + step for end in (0, 3, 5, 8, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0x10FFFE) for step in range(-3, 4)}
    return {point for point in near if 0 <= point <= LAST_CODE_POINT and not 0xD800 <= point <= 0xDFFF}


UNIVERSE = universe()


def members(ranges: list[tuple[int, int]]) -> set[int]:
    return {point for point in UNIVERSE if any(low <= point <= high for low, high in ranges)}


def seen(characters: CharSet) -> set[int]:
    return {point for point in UNIVERSE if point in characters}


def check_form(characters: CharSet) -> None:
    previous = -2
    for low, high in characters.ranges:
        assert previous + 1 < low <= high <= LAST_CODE_POINT
        assert high < 0xD800 or low > 0xDFFF
        previous = high


@given(RANGES, RANGES)
def test_algebra(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    a, b = CharSet(left), CharSet(right)
    x, y = members(left), members(right)
    for made, wanted in ((a, x), (a | b, x | y), (a & b, x & y), (a - b, x - y), (~a, UNIVERSE - x)):
        check_form(made)
        assert seen(made) == wanted
    assert ~~a == a
    assert a.issubset(b) == (not (a - b))
    assert (a == b) == (not (a - b) and not (b - a))
    assert hash(CharSet(reversed(left))) == hash(a)


def test_members() -> None:
    letters = CharSet.of("cab")
    assert letters.ranges == ((97, 99),)
    assert (letters.size, letters.first, list(letters)) == (3, 97, [97, 98, 99])
    assert ord("b") in letters
    assert ord("d") not in letters
    assert not EMPTY_SET
    assert ~EMPTY_SET == ALL
    assert ALL.size == 0x110000 - 0x800
    assert repr(CharSet.of("-a")) == r"[\-a]"


def test_many_ranges() -> None:
    even = CharSet((point, point) for point in range(0, 100, 2))
    assert [point in even for point in range(102)] == [point % 2 == 0 and point < 100 for point in range(102)]
