r"""The parser of regular expressions: text → tree.

The dialect is the common ground of ECMA-262 with the flag u (what JSON Schema's `pattern` is written in) and Python's
`re`, plus what both worlds write all the time and no one can misread:

    accepted as well     identity escapes of anything but ASCII letters and digits (`\-`, `\/`, `\_`); literal `{`, `}`
                         and `]` where they cannot mean anything else; `\A`, `\Z`, `\z`; `[\w-.]` with a literal
                         hyphen; `(?P<name>...)`, `(?#...)`, `(?ims)` at the start, `(?i:...)`, `(?-s:...)`, `\pL`;
                         possessive counts and atomic groups of what matches in one way only
    as in ECMA-262       `[]` is no character, `[^]` any; `.` leaves out \n \r U+2028 U+2029; `$` is the very end, with
                         the flag m also before one of these four; \d and \w are ASCII; \uD83D\uDE00 is one character;
                         lookbehind of any length
    refused: ambiguous   `{,3}`; escapes of other letters (`\a`, `\h`); octal escapes
    refused: not regular back-references and conditionals; and other flags

A part of the pattern without assertions is a regular language straight away, so that the tree has nodes only for what
depends on its surroundings: `^a|b[0-9]+$` is Choice(Sequence(Anchor(start), a), Sequence(b[0-9]+, Anchor(end))).

Written by hand and not with lark: a schema may hold hundreds of patterns, and each stands between a request and its
first mask. On the patterns of real schemas (median length 19) lark's LALR parser takes twice as long as this one for a
tree in which escapes and character classes are not read yet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import NoReturn

from maskwright.grammars.charset import ALL, LAST_CODE_POINT, CharSet
from maskwright.grammars.errors import GrammarError, InvalidError, LimitExceeded, UnsupportedError
from maskwright.grammars.regular import (
    ANY_CHAR,
    EMPTY,
    EPSILON,
    Chars,
    Regex,
    alternate,
    chars,
    concat,
    intersect,
    is_empty,
    literal,
    repeat,
)
from maskwright.grammars.unicode_sets import (
    DIGIT,
    DOT,
    LINE_TERMINATOR,
    SPACE,
    WORD,
    fold_case,
    unicode_property,
)

__all__ = ["MAX_GROUPS", "Anchor", "Boundary", "Choice", "Item", "Look", "Loop", "Sequence", "parse_syntax", "sequence"]

MAX_GROUPS = 80  # nesting of groups; each takes five Python frames


@dataclass(frozen=True, slots=True)
class Anchor:
    """`^` (at_end False) or `$`: the empty string at one end of the text."""

    at_end: bool


@dataclass(frozen=True, slots=True)
class Boundary:
    r"""`\b`, or `\B` when negative: the empty string where a word begins or ends."""

    negative: bool


@dataclass(frozen=True, slots=True)
class Look:
    """`(?=item)`, or `(?!item)` when negative; `(?<=item)` and `(?<!item)` when behind."""

    item: Item
    negative: bool
    behind: bool


@dataclass(frozen=True, slots=True)
class Sequence:
    """Items one after the other."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the items."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """`item` low to high times, where the item has an assertion inside; high None is unbounded."""

    item: Item
    low: int
    high: int | None


Item = Regex | Anchor | Boundary | Look | Sequence | Choice | Loop

START, END = Anchor(at_end=False), Anchor(at_end=True)
LINE_START = Choice((START, Look(chars(LINE_TERMINATOR), negative=False, behind=True)))
LINE_END = Choice((END, Look(chars(LINE_TERMINATOR), negative=False, behind=False)))

_SPECIAL = frozenset(r"\^$.|?*+()[{")
_NO_SINGLE = frozenset(["", *"|)*+?{("])  # what begins no item, or a group: that is not to be read twice
_SIGNS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_OTHER_FLAGS = {
    "x": "write the pattern without its white space and comments",
    "a": "leave it out: \\d and \\w are ASCII here",
    "u": "leave it out, and write \\p{L} or \\p{Nd} for characters beyond ASCII",
    "L": "leave it out",
    "v": "write classes without set operations",
}
_RUN = re.compile(r"[^\\^$.|?*+()\[{]+")  # characters that stand for themselves
_CLASS = re.compile(r"\[(?:[^\]\\]|\\.)*\]", re.DOTALL)
_COUNT = re.compile(r"\{([0-9]+)(?:(,)([0-9]*))?\}")
_COUNT_WITHOUT_LOW = re.compile(r"\{,[0-9]+\}")
_NAMED_GROUP = re.compile(r"\(\?P?<([^\W\d][\w$]*|\$[\w$]*)>")
_FLAGS = re.compile(r"\(\?([a-zA-Z]*)(?:-([a-zA-Z]+))?([:)])")
_HEX = {"x": re.compile(r"[0-9a-fA-F]{2}"), "u": re.compile(r"[0-9a-fA-F]{4}")}
_BRACED_HEX = re.compile(r"\{([0-9a-fA-F]+)\}")
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_PROPERTY = re.compile(r"\{([A-Za-z0-9_=]+)\}|([LMNPSZC])")

_CONTROL = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_SHORTHAND = {"d": DIGIT, "w": WORD, "s": SPACE, "D": ~DIGIT, "W": ~WORD, "S": ~SPACE}
_WORD_FOLDED = fold_case(WORD)


def parse_syntax(pattern: str, ignore_case: bool = False, dot_all: bool = False) -> Item:
    """The tree of `pattern`.

    Raises:
        InvalidError: it is not well formed; `position` says where.
        UnsupportedError: it is, but uses something that cannot be enforced.
        LimitExceeded: groups are nested more than MAX_GROUPS deep.
    """
    parser = _Parser(pattern, ignore_case, dot_all)
    try:
        item = parser.choice()
        if parser.at < len(pattern):
            parser.fail("a group ends here that has not begun", hint=r"write \) for the character")
    except GrammarError as error:
        error.within(pattern)
        raise
    return item


class _Parser:
    """One pattern, read from left to right; the methods are named after what they read."""

    __slots__ = ("at", "behind", "classes", "dot_all", "groups", "ignore_case", "multiline", "text")

    def __init__(self, text: str, ignore_case: bool, dot_all: bool) -> None:
        self.text, self.at, self.groups, self.behind = text, 0, 0, 0
        self.ignore_case, self.dot_all, self.multiline = ignore_case, dot_all, False
        self.classes: dict[tuple[str, bool], Regex] = {}  # as written, with ignore_case; patterns repeat their classes

    # ---------------------------------------------------------------- errors

    def fail(self, reason: str, position: int | None = None, hint: str = "") -> NoReturn:
        raise InvalidError(reason, position=self.at if position is None else position, hint=hint)

    def refuse(self, what: str, position: int, hint: str = "") -> NoReturn:
        raise UnsupportedError(f"{what} in a regular expression cannot be enforced", position=position, hint=hint)

    def _refuse_behind(self, what: str, position: int) -> None:
        """Some engines match the body of a lookbehind backwards, so that there the first way is another one."""
        if self.behind:
            self.refuse(f"{what} inside lookbehind, which differs between engines,", position)

    # ---------------------------------------------------------------- structure

    def choice(self) -> Item:
        branches = [self.sequence()]
        while self.text.startswith("|", self.at):
            self.at += 1
            branches.append(self.sequence())
        return _choice(branches)

    def sequence(self) -> Item:
        text, end = self.text, len(self.text)
        items: list[Item] = []
        while self.at < end:
            start = self.at
            run = _RUN.match(text, start)
            if run is not None:
                self.at = run.end()
                if run.end() - start > 1 and self._counted():
                    self.at -= 1  # the count belongs to the last character alone
                    items.append(self._literal(text[start : self.at]))
                    start = self.at
                    self.at += 1
                items.append(self._repeated(self._literal(text[start : self.at]), start))
            elif text[start] in "|)":
                break
            else:
                items.append(self._repeated(self.atom(), start))
        return sequence(items)

    def atom(self) -> Item:
        """One item that begins with a special character, without its count."""
        start, character = self.at, self.text[self.at]
        if character == "(":
            return self.group()
        if character == "[":
            return self.character_class()
        self.at += 1
        if character == "\\":
            found = self.escape()
            if isinstance(found, int):
                return chars(self._folded(CharSet([(found, found)])))
            return chars(found) if isinstance(found, CharSet) else found
        if character == ".":
            return chars(ALL if self.dot_all else DOT)
        if character == "^":
            return LINE_START if self.multiline else START
        if character == "$":
            return LINE_END if self.multiline else END
        if character == "{":
            if _COUNT.match(self.text, start):
                self.fail("a count stands here with nothing to repeat", start, r"write \{ for the character")
            if _COUNT_WITHOUT_LOW.match(self.text, start):
                self.fail("a count without its lower bound differs between engines", start, "write {0,n}")
            return literal("{")
        self.fail(f"`{character}` stands here with nothing to repeat", start, f"write \\{character} for the character")

    def _counted(self) -> bool:
        """Whether a count begins here."""
        if self.text.startswith("{", self.at):
            return _COUNT.match(self.text, self.at) is not None
        return self.text.startswith(("*", "+", "?"), self.at)

    def _repeated(self, item: Item, start: int) -> Item:
        """`item` with the count that follows it, if one does. (Lazy counts have the same language.)"""
        text, begin = self.text, self.at
        bounds = self._bounds()
        if bounds is None:
            return item
        if not isinstance(item, Regex) and text[start] != "(":
            self.fail("an assertion cannot be repeated", begin)
        possessive = text.startswith("+", self.at)
        self.at += possessive or text.startswith("?", self.at)
        if self._counted():
            self.fail("a count follows a count", hint="put the inner one in (?:...)")
        if possessive:
            return self._possessive(item, *bounds, begin)
        return repeat(item, *bounds) if isinstance(item, Regex) else Loop(item, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        """The bounds of the count that begins here, which is read; None where none does."""
        sign = self.text[self.at : self.at + 1]
        if sign in _SIGNS:
            self.at += 1
            return _SIGNS[sign]
        count = _COUNT.match(self.text, self.at) if sign == "{" else None
        if count is None:
            return None
        low = int(count[1])
        high = low if count[2] is None else int(count[3]) if count[3] else None
        if high is not None and high < low:
            self.fail(f"the count {count[0]} has its bounds in the wrong order")
        self.at = count.end()
        return low, high

    def _possessive(self, item: Item, low: int, high: int | None, position: int) -> Item:
        """As many rounds as there can be and no fewer: what follows must not be one more, unless it is the last."""
        self._refuse_behind("a possessive count", position)
        if not isinstance(item, Regex) or not _matches_one_way(item):
            self.refuse("a possessive count of what can match in several ways", position, "leave out the second `+`")
        if low == high:
            return repeat(item, low, high)
        stopped = repeat(item, low, None if high is None else high - 1)
        item_next = Look(item, negative=True, behind=False)
        all_rounds = [] if high is None else [repeat(item, high, high)]
        return _choice([sequence([stopped, item_next]), *all_rounds])

    def group(self) -> Item:
        """A group of any kind, from its opening to its closing parenthesis."""
        text, start = self.text, self.at
        if not text.startswith("(?", start):
            return self._group_body(start + 1, start)
        if text.startswith(("(?=", "(?!"), start):
            return Look(self._group_body(start + 3, start), negative=text[start + 2] == "!", behind=False)
        if text.startswith(("(?<=", "(?<!"), start):
            self.behind += 1
            body = self._group_body(start + 4, start)
            self.behind -= 1
            return Look(body, negative=text[start + 3] == "!", behind=True)
        named = _NAMED_GROUP.match(text, start)
        if named is not None:
            return self._group_body(named.end(), start)
        if text.startswith("(?#", start):
            self.at = text.find(")", start) + 1
            if not self.at:
                self.fail("this comment has no end", start)
            return EPSILON
        if text.startswith("(?P=", start):
            self.refuse("a back-reference", start)
        if text.startswith("(?>", start):
            return self._atomic(start)
        if text.startswith("(?(", start):
            self.refuse("a conditional group", start)
        flags = _FLAGS.match(text, start)
        if flags is None:
            self.fail("this is no kind of group", start, r"write \( for the character")
        return self._flags(flags)

    def _flags(self, flags: re.Match[str]) -> Item:
        """`(?:...)`, `(?i:...)`, `(?s-i:...)`, or `(?i)` at the very start."""
        start, (on, off, closing) = flags.start(), flags.groups(default="")
        for flag in on + off:
            if flag not in "ims":
                self.refuse(f"the flag {flag}", start, _OTHER_FLAGS.get(flag, ""))
        saved = self.ignore_case, self.dot_all, self.multiline
        self.ignore_case = ("i" in on or self.ignore_case) and "i" not in off
        self.dot_all = ("s" in on or self.dot_all) and "s" not in off
        self.multiline = ("m" in on or self.multiline) and "m" not in off
        if closing == ")":
            if start:
                self.fail("flags for the whole pattern stand at its start only", start, "write (?i:...)")
            self.at = flags.end()
            return EPSILON
        body = self._group_body(flags.end(), start)
        self.ignore_case, self.dot_all, self.multiline = saved
        return body

    def _atomic(self, start: int) -> Item:
        """`(?>...)`: a possessive count in other words, or a body that matches in one way only."""
        self._refuse_behind("an atomic group", start)
        self.at = start + 3
        if self.text[self.at : self.at + 1] not in _NO_SINGLE:
            single = self.atom() if self.text[self.at] in _SPECIAL else self._character()
            counted = self.at
            bounds = self._bounds()
            if bounds is not None and self.text.startswith(")", self.at):
                self.at += 1
                return self._possessive(single, *bounds, counted)
        body = self._group_body(start + 3, start)
        if not isinstance(body, Regex) or not (body is EPSILON or _matches_one_way(body)):
            self.refuse("an atomic group that can match in several ways", start, "write (?:...)")
        return body

    def _character(self) -> Regex:
        """The literal character that comes next."""
        self.at += 1
        return self._literal(self.text[self.at - 1])

    def _group_body(self, begin: int, opening: int) -> Item:
        self.groups += 1
        if self.groups > MAX_GROUPS:
            raise LimitExceeded(
                "max_groups",
                self.groups,
                MAX_GROUPS,
                what="nesting of groups in a regular expression",
                hint="write it with fewer groups inside groups",
            )
        self.at = begin
        item = self.choice()
        if not self.text.startswith(")", self.at):
            self.fail("this group has no end", opening, r"write \( for the character")
        self.at += 1
        self.groups -= 1
        return item

    # ---------------------------------------------------------------- characters

    def _literal(self, run: str) -> Regex:
        if self.ignore_case:
            return concat(*(chars(fold_case(CharSet.of(character))) for character in run))
        if not run.isascii() and any("\ud800" <= character <= "\udfff" for character in run):
            return EMPTY  # a lone surrogate occurs in no text
        return literal(run)

    def _folded(self, characters: CharSet) -> CharSet:
        return fold_case(characters) if self.ignore_case else characters

    def character_class(self) -> Regex:
        """A class, from its opening to its closing bracket."""
        opening = self.at
        written = _CLASS.match(self.text, opening)
        if written is None:
            self.fail("this character class has no end", opening, r"write \[ for the character")
        key = written[0], self.ignore_case
        found = self.classes.get(key)
        if found is None:
            found = self.classes[key] = chars(self._class_set(opening))
        self.at = written.end()
        return found

    def _class_set(self, opening: int) -> CharSet:
        text = self.text
        self.at = opening + 1
        negative = text.startswith("^", self.at)
        self.at += negative
        ranges: list[tuple[int, int]] = []
        sets: list[CharSet] = []
        while True:
            start = self.at
            low = self._class_member()
            if low is None:
                break
            high: int | CharSet | None = None
            if text.startswith("-", self.at) and not text.startswith("-]", self.at):
                self.at += 1
                high = self._class_member()
            if isinstance(low, int) and isinstance(high, int):
                if high < low:
                    self.fail(f"the range {text[start : self.at]} has its ends in the wrong order", start)
                ranges.append((low, high))
                continue
            if high is not None:
                ranges.append((0x2D, 0x2D))  # beside a class such as \w the hyphen stands for itself
            for member in (low, high):
                if isinstance(member, int):
                    ranges.append((member, member))
                elif member is not None:
                    sets.append(member)
        found = self._folded(CharSet(ranges))
        for characters in sets:
            found |= characters
        return ~found if negative else found

    def _class_member(self) -> int | CharSet | None:
        """A code point or an escape's set; None is the end of the class."""
        character = self.text[self.at]
        self.at += 1
        if character == "]":
            return None
        if character != "\\":
            return ord(character)
        if self.text.startswith("b", self.at):
            self.at += 1
            return 8
        found = self.escape()
        if isinstance(found, int | CharSet):
            return found
        self.fail("an assertion cannot stand in a character class", self.at - 2)

    def escape(self) -> int | CharSet | Item:
        """What an escape stands for, from after its backslash: a character, a set or an assertion."""
        text, start = self.text, self.at - 1
        if self.at >= len(text):
            self.fail("a backslash ends the pattern", start, r"write \\ for the character")
        letter = text[self.at]
        self.at += 1
        if not (letter.isascii() and letter.isalnum()):
            return ord(letter)
        if letter in _SHORTHAND:
            if self.ignore_case and letter in "wW":
                return _WORD_FOLDED if letter == "w" else ~_WORD_FOLDED
            return _SHORTHAND[letter]
        if letter in _CONTROL:
            return _CONTROL[letter]
        if letter in "xu":
            return self._code_point(letter, start)
        if letter in "pP":
            return self._property(letter, start)
        if letter in "bB":
            return Boundary(letter == "B")
        if letter in "AZz":
            return START if letter == "A" else END
        if letter == "c" and re.match("[A-Za-z]", text[self.at :]):
            self.at += 1
            return ord(text[self.at - 1]) % 32
        if letter == "0" and not text[self.at : self.at + 1].isdigit():
            return 0
        if letter in "123456789k":
            self.refuse("a back-reference", start)
        if letter == "0":
            self.fail("octal escapes differ between engines", start, r"write \xHH")
        self.fail(f"the escape \\{letter} means nothing, or differs between engines", start)

    def _code_point(self, letter: str, start: int) -> int:
        r"""\xHH, \uHHHH (a pair of surrogates is one character) or \u{H...}."""
        text = self.text
        braced = _BRACED_HEX.match(text, self.at) if letter == "u" else None
        if braced is not None:
            self.at = braced.end()
            code_point = int(braced[1], 16)
            if code_point > LAST_CODE_POINT:
                self.fail("there is no such code point", start)
            return code_point
        digits = _HEX[letter].match(text, self.at)
        if digits is None:
            self.fail(f"\\{letter} lacks its hexadecimal digits", start)
        self.at = digits.end()
        code_point = int(digits[0], 16)
        if 0xD800 <= code_point < 0xDC00:
            low = _LOW_SURROGATE.match(text, self.at)
            if low is not None:
                self.at = low.end()
                return 0x10000 + ((code_point - 0xD800) << 10) + int(low[1], 16) - 0xDC00
        return code_point

    def _property(self, letter: str, start: int) -> CharSet:
        r"""\p{name}, \P{name}, \pL."""
        written = _PROPERTY.match(self.text, self.at)
        if written is None:
            self.fail(f"\\{letter} lacks the name of a property", start, f"write \\{letter}{{L}}, say")
        self.at = written.end()
        name = written[1] or written[2]
        found = unicode_property(name)
        if found is None:
            hint = "name a general category (Lu), a script (Script=Greek) or a binary property (Alphabetic)"
            self.refuse(f"the unknown Unicode property {name}", start, hint)
        return self._folded(found if letter == "p" else ~found)


def _matches_one_way(item: Regex) -> bool:
    """Whether no member is the beginning of another: then a match at some place is the only one."""
    if isinstance(item, Chars):
        return True
    return not item.nullable and is_empty(intersect(item, concat(item, repeat(ANY_CHAR, 1))))


def sequence(items: Several[Item]) -> Item:
    """The items one after the other, neighbours without assertions joined."""
    joined: list[Item] = []
    plain: list[Regex] = []
    for item in items:
        if isinstance(item, Regex):
            plain.append(item)
            continue
        if plain:
            joined.append(concat(*plain))
            plain = []
        joined.extend(item.items if isinstance(item, Sequence) else (item,))
    if not joined:
        return concat(*plain)
    if plain:
        joined.append(concat(*plain))
    return joined[0] if len(joined) == 1 else Sequence(tuple(joined))


def _choice(branches: Several[Item]) -> Item:
    """One of the branches, those without assertions joined."""
    if len(branches) == 1:
        return branches[0]
    plain = [branch for branch in branches if isinstance(branch, Regex)]
    if len(plain) == len(branches):
        return alternate(*plain)
    others = [branch for branch in branches if not isinstance(branch, Regex)]
    return Choice((alternate(*plain), *others)) if plain else Choice(tuple(others))
