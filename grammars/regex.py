r"""Regular expressions as regular languages, assertions included.

    parse("[a-z]+")                     full match
    parse("^a|b$", search=True)         JSON Schema's `pattern`: a match anywhere in the text

`regex_syntax` reads the pattern and leaves a tree wherever the language depends on what stands around a match: anchors,
`\b`, lookaround. Such a tree is given a meaning in continuation-passing style: what a suffix of the text must look like
*from a position to the end of the text*, given the language of the rest. That makes each assertion a set operation:

    item·rest                its language, then rest
    (?=x)·rest               x·ANY_STRING and rest
    (?!x)·rest               not x·ANY_STRING, and rest
    $·rest                   only the empty text, and that only if rest allows it

and what lies before the position enters as three cases (`_Rest`): nothing (`^` holds), a word character, another one.

A loop around `^` and `$` has no last continuation to pass, so such a body is first brought into the form

    P | ^S | E$ | ^B$        with P, S, E and B free of assertions,

which every expression of anchors has: `^` after a character and `$` before one match nothing, and elsewhere they can be
moved to the ends. `_Anchored` computes with these forms.

Where that does not suffice (lookbehind, and lookahead or `\b` inside a loop), `situated` derives the tree as it is. It takes
any pattern; this module comes first because its languages are plain wherever they can be, which the automaton likes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from maskwright.grammars.charset import CharSet
from maskwright.grammars.regex_syntax import (
    Anchor,
    Boundary,
    Choice,
    Item,
    Look,
    Loop,
    Sequence,
    parse_syntax,
    sequence,
)
from maskwright.grammars.regular import (
    ANY_CHAR,
    ANY_STRING,
    EMPTY,
    EPSILON,
    Chars,
    Concat,
    Regex,
    Repeat,
    alternate,
    chars,
    complement,
    concat,
    intersect,
    repeat,
)
from maskwright.grammars.situated import needs_situation, situated
from maskwright.grammars.unicode_sets import WORD

__all__ = ["parse"]


def parse(pattern: str, *, search: bool = False, ignore_case: bool = False, dot_all: bool = False) -> Regex:
    r"""The language of a regular expression; the dialect is described in `regex_syntax`.

    Args:
        pattern: the expression.
        search: the texts with a match anywhere in them (JSON Schema's `pattern`), not those that match as a whole.
        ignore_case: as if the pattern began with (?i).
        dot_all: as if it began with (?s): `.` is any character.

    Raises:
        InvalidError: the pattern is not well formed; `position` says where.
        UnsupportedError: it is well formed, but uses something that cannot be enforced.
        LimitExceeded: it is nested too deeply.
    """
    item = parse_syntax(pattern, ignore_case, dot_all)
    if isinstance(item, Regex):
        return concat(ANY_STRING, item, ANY_STRING) if search else item
    if needs_situation(item):
        return situated(sequence([ANY_STRING, item, ANY_STRING]) if search else item)
    if not search:
        return _lower(item, _Rest(EPSILON, EPSILON, EPSILON)).at_start
    found = _lower(item, _Rest(ANY_STRING, ANY_STRING, ANY_STRING))
    if found.at_start == found.after_word == found.after_other:
        return concat(ANY_STRING, found.at_start)
    return alternate(found.at_start, _before(repeat(ANY_CHAR, 1), found).at_start)


# -------------------------------------------------------------------- continuations


class _Rest(NamedTuple):
    """What the text must be from here to its end, by what stands before: nothing, a word character, another one."""

    at_start: Regex
    after_word: Regex
    after_other: Regex


def _lower(item: Item, rest: _Rest) -> _Rest:
    """The rest of the text from a position where `item` matches and `rest` follows."""
    if isinstance(item, Regex):
        return _before(item, rest)
    if isinstance(item, Sequence):
        for part in reversed(item.items):
            rest = _lower(part, rest)
        return rest
    if isinstance(item, Choice):
        return _either(*(_lower(part, rest) for part in item.items))
    if isinstance(item, Anchor):
        return _at_end(rest) if item.at_end else _at_start(rest)
    if isinstance(item, Boundary):
        return _at_boundary(item.negative, rest)
    if isinstance(item, Look):
        seen = _lower(item.item, _Rest(ANY_STRING, ANY_STRING, ANY_STRING))
        if item.negative:
            seen = _Rest(*map(complement, seen))
        return _Rest(*map(intersect, seen, rest))
    return _loop(item, rest)


def _either(*rests: _Rest) -> _Rest:
    return _Rest(*(alternate(*column) for column in zip(*rests, strict=True)))


def _at_start(rest: _Rest) -> _Rest:
    return _Rest(rest.at_start, EMPTY, EMPTY)


def _at_end(rest: _Rest) -> _Rest:
    return _Rest(*(EPSILON if following.nullable else EMPTY for following in rest))


_WORD_NEXT = concat(chars(WORD), ANY_STRING)
_NO_WORD_NEXT = complement(_WORD_NEXT)


def _at_boundary(negative: bool, rest: _Rest) -> _Rest:
    from_word, from_other = (_WORD_NEXT, _NO_WORD_NEXT) if negative else (_NO_WORD_NEXT, _WORD_NEXT)
    return _Rest(
        intersect(from_other, rest.at_start),
        intersect(from_word, rest.after_word),
        intersect(from_other, rest.after_other),
    )


def _before(node: Regex, rest: _Rest) -> _Rest:
    """A language without assertions, then `rest`, which depends on the last character of the former."""
    if rest.after_word == rest.after_other:
        later = concat(node, rest.after_word)
        if rest.at_start == rest.after_word:
            return _Rest(later, later, later)
        if not node.nullable:
            return _Rest(later, later, later)
        return _Rest(alternate(rest.at_start, concat(_not_empty(node), rest.after_word)), later, later)
    moved = alternate(
        concat(_ending_in(node, WORD), rest.after_word),
        concat(_ending_in(node, ~WORD), rest.after_other),
    )
    return _Rest(*(alternate(following, moved) for following in rest)) if node.nullable else _Rest(moved, moved, moved)


def _not_empty(node: Regex) -> Regex:
    """The members but the empty string."""
    if isinstance(node, Repeat) and not node.item.nullable:
        return repeat(node.item, max(node.low, 1), node.high)
    return intersect(node, repeat(ANY_CHAR, 1))


def _ending_in(node: Regex, last: CharSet) -> Regex:
    """The members that end in a character of `last`; the usual shapes without an intersection."""
    if isinstance(node, Concat) and not node.parts[-1].nullable:
        return concat(*node.parts[:-1], _ending_in(node.parts[-1], last))
    if isinstance(node, Repeat) and isinstance(node.item, Chars):
        high = None if node.high is None else node.high - 1
        return concat(repeat(node.item, max(node.low - 1, 0), high), chars(node.item.set & last))
    return intersect(node, concat(ANY_STRING, chars(last)))


# -------------------------------------------------------------------- loops


def _loop(loop: Loop, rest: _Rest) -> _Rest:
    if loop.high is not None and loop.high < 2:
        following = _lower(loop.item, rest) if loop.high else rest
        return _either(rest, following) if loop.low == 0 else following
    form = _anchored(loop)
    return _either(
        _before(form.inner, rest),
        _at_start(_before(form.starting, rest)),
        _before(form.ending, _at_end(rest)),
        _at_start(_before(form.both, _at_end(rest))),
    )


@dataclass(frozen=True, slots=True)
class _Anchored:
    """inner | ^starting | ending$ | ^both$, with languages without assertions."""

    inner: Regex = EMPTY
    starting: Regex = EMPTY
    ending: Regex = EMPTY
    both: Regex = EMPTY


def _anchored(item: Item) -> _Anchored:
    """The form of an item whose only assertions are anchors."""
    if isinstance(item, Regex):
        return _Anchored(inner=item)
    if isinstance(item, Anchor):
        return _Anchored(ending=EPSILON) if item.at_end else _Anchored(starting=EPSILON)
    if isinstance(item, Sequence):
        form = _Anchored(inner=EPSILON)
        for part in item.items:
            form = _then(form, _anchored(part))
        return form
    if isinstance(item, Choice):
        forms = [_anchored(part) for part in item.items]
        return _Anchored(
            alternate(*(form.inner for form in forms)),
            alternate(*(form.starting for form in forms)),
            alternate(*(form.ending for form in forms)),
            alternate(*(form.both for form in forms)),
        )
    assert isinstance(item, Loop)
    return _rounds(_anchored(item.item), item.low, item.high)


def _then(x: _Anchored, y: _Anchored) -> _Anchored:
    """x y: what stands before a `^` of y, or after a `$` of x, must be empty."""
    empty_text = (x.ending.nullable or x.both.nullable) and (y.starting.nullable or y.both.nullable)  # $ then ^
    nothing_before = x.inner.nullable or x.starting.nullable
    nothing_after = y.inner.nullable or y.ending.nullable
    return _Anchored(
        inner=concat(x.inner, y.inner),
        starting=alternate(concat(x.starting, y.inner), y.starting if nothing_before else EMPTY),
        ending=alternate(concat(x.inner, y.ending), x.ending if nothing_after else EMPTY),
        both=alternate(
            concat(x.starting, y.ending),
            y.both if nothing_before else EMPTY,
            x.both if nothing_after else EMPTY,
            EPSILON if empty_text else EMPTY,
        ),
    )


def _rounds(x: _Anchored, low: int, high: int | None) -> _Anchored:
    """x low to high times.

    Only the first round that consumes anything can use `^`, only the last one `$`. Rounds that are empty count as well:
    any number of them fits where the inner part is nullable (so low may be taken as 0), at the start where the starting
    part is, and at the end where the ending part is.
    """
    if high == 0:
        return _Anchored(inner=EPSILON)
    if x.inner.nullable:
        low = 0

    def inner_rounds(used: int, padded: bool) -> Regex:
        if high is not None and high < used:
            return EMPTY
        return repeat(x.inner, 0 if padded else max(low - used, 0), None if high is None else high - used)

    at_start, at_end = x.starting.nullable, x.ending.nullable
    alone = x.both if low < 2 or at_start or at_end else EPSILON if x.both.nullable else EMPTY
    return _Anchored(
        inner=inner_rounds(0, False),
        starting=concat(x.starting, inner_rounds(1, at_start)),
        ending=concat(inner_rounds(1, at_end), x.ending),
        both=alternate(alone, concat(x.starting, inner_rounds(2, at_start or at_end), x.ending)),
    )
