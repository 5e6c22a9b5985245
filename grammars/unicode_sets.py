r"""Character sets that regular expressions name: \d \w \s and `.`, Unicode properties, and case-insensitive variants.

The shorthand classes are those of ECMA-262 (section 22.2.2.9, CharacterClassEscape), which JSON Schema asks for: \d and
\w are ASCII, \s is WhiteSpace and LineTerminator. Properties come from the package `regex`, which has all of Unicode's.

What takes a pass over all of Unicode (some 0.1 s) is made when a pattern first asks for it.
"""

from __future__ import annotations

from functools import cache, lru_cache

from maskwright.grammars.charset import LAST_CODE_POINT, CharSet

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

# -------------------------------------------------------------------- properties


@lru_cache(maxsize=256)
def unicode_property(name: str) -> CharSet | None:
    r"""The set of \p{name}, or None when the property is not known.

    Known is what the package `regex` knows: general categories (`L`, `Lu`, `Letter`, `gc=Lu`), scripts (`Greek`,
    `Script=Greek`, `scx=Grek`), blocks (`InGreek`) and binary properties (`Alphabetic`, `Emoji`, `ID_Start`), by long and
    short names. It is of its Unicode version throughout, whatever the interpreter's is.
    """
    import regex  # late: few patterns ask for a property

    try:
        runs = regex.compile(rf"\p{{{name}}}+").finditer(_every_character())
    except regex.error:
        return None
    return CharSet((run.start(), run.end() - 1) for run in runs)


@cache
def _every_character() -> str:
    return "".join(map(chr, range(LAST_CODE_POINT + 1)))


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
    """Code point → all code points with the same case folding, for those that have another one beside.

    Characters with the same full folding, which is what the interpreter knows, are those with the same simple one, which
    is what ECMA-262 compares: where the full one has several characters, the simple one of all of them is one of them.
    """
    classes: dict[str, list[int]] = {}
    for point in range(LAST_CODE_POINT + 1):
        character = chr(point)
        if character.lower() != character or character.upper() != character:
            classes.setdefault(character.casefold(), []).append(point)
    return {point: tuple(members) for members in classes.values() if len(members) > 1 for point in members}
