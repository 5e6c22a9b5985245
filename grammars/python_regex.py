r"""Regular expressions of Python's `re`, as a scanner applies them: the texts that `re.match` takes whole.

    a|ab        a               `re.match` tries the alternatives in order and is content with the first
    <.*?>       <[^>\n]*>       as few characters as will do
    [a-z]+|if   the language as it is: the order is of no consequence

A scanner that has a match w asks for shorter ones as well, and never for others; so w is a token of T exactly when
`re.match(T, w)` takes all of w. The pattern is read by Python's own parser and followed as an automaton whose states are
*ordered* lists of what may come (a Thompson automaton with priorities, as in RE2: R. Cox, "Regular Expression Matching:
the Virtual Machine Approach", 2009): where an entry of the list is at its end, entries after it lose. Where that leaves
the language as it is, which is nearly always, the language is built from the pattern; otherwise from the automaton.

What looks at text around the token is refused; lookbehind by one character is followed where that character belongs to
the token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from itertools import groupby
from typing import Any

from maskwright.grammars.charset import ALL, LAST_CODE_POINT, CharSet
from maskwright.grammars.errors import InvalidError, LimitExceeded, UnsupportedError
from maskwright.grammars.refinement import coarsest
from maskwright.grammars.regular import EMPTY, EPSILON, Regex, alternate, chars, concat, repeat
from maskwright.grammars.regular_tables import backwards, paths
from maskwright.grammars.unicode_sets import fold_case

__all__ = ["MAX_STATES", "scanned"]

MAX_STATES = 2_000  # of the automaton with priorities
_DEPTH = 300  # of items inside of each other, or empty at once, that Python's stack has room for, roughly
_MAX_ELIMINATED = 60  # of the smallest one, where the language is built from it

_parser: Any = import_module("re._parser")  # undocumented, as in lark, which measures widths with it


def scanned(pattern: str, strict: bool = False) -> Regex:
    """The texts w for which `re.match(pattern, w)` takes all of w.

    Args:
        pattern: as `re.compile` takes it.
        strict: refuse a pattern with large counts, rather than take it that the order of alternatives among them is of no
            consequence.

    Raises:
        InvalidError: Python refuses the pattern.
        UnsupportedError: it depends on what stands around a match.
        LimitExceeded: the order of its alternatives matters, and following it takes too many states.
    """
    try:
        tree = _parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidError(f"/{pattern}/ is no regular expression of Python: {error}") from error
    try:
        return _scanned(_sequence(tree, tree.state.flags), strict)
    except RecursionError as error:
        what, hint = "a regular expression", "write it with fewer groups and counts inside each other"
        raise LimitExceeded("max_groups", _DEPTH, _DEPTH, what=what, hint=hint) from error


def _scanned(item: _Item, strict: bool) -> Regex:
    automaton = _Automaton(item)
    try:
        automaton.explore()
    except LimitExceeded:
        if strict or automaton.lookbehinds or _has_lazy(item):
            raise
        return _language(
            item
        )  # counts of hundreds, most of the time; the order of alternatives among them is not followed
    if not automaton.lookbehinds and automaton.equals(plain := _language(item)):
        return plain
    return automaton.language()


# -------------------------------------------------------------------- the pattern


@dataclass(frozen=True, slots=True)
class _Set:
    characters: CharSet


@dataclass(frozen=True, slots=True)
class _Sequence:
    items: tuple[_Item, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    items: tuple[_Item, ...]


@dataclass(frozen=True, slots=True)
class _Loop:
    item: _Item
    low: int
    high: int | None
    lazy: bool


@dataclass(frozen=True, slots=True)
class _After:
    """The empty text, after a character of the set."""

    characters: CharSet


_Item = _Set | _Sequence | _Choice | _Loop | _After


def _sequence(tree: Any, flags: int) -> _Item:
    items = tuple(_item(str(op), argument, flags) for op, argument in tree)
    return items[0] if len(items) == 1 else _Sequence(items)


def _item(op: str, argument: Any, flags: int) -> _Item:
    """One entry of a tree of Python's parser."""
    if op in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
        return _Set(_set(op, argument, flags))
    if op == "BRANCH":
        return _Choice(tuple(_sequence(branch, flags) for branch in argument[1]))
    if op in ("MAX_REPEAT", "MIN_REPEAT"):
        low, high, item = argument
        unbounded = high == _parser.MAXREPEAT
        return _Loop(_sequence(item, flags), low, None if unbounded else high, op == "MIN_REPEAT")
    if op == "SUBPATTERN":
        _, more, less, item = argument
        return _sequence(item, (flags | more) & ~less)
    if op in ("ASSERT", "ASSERT_NOT") and argument[0] < 0:
        behind = _sequence(argument[1], flags)
        if isinstance(behind, _Set):
            return _After(behind.characters if op == "ASSERT" else ~behind.characters)
        raise UnsupportedError("lookbehind by more than one character cannot be enforced in a terminal")
    what = {
        "AT": r"an anchor or \b, which looks at text around the token,",
        "ASSERT": "lookahead, which looks at text after the token,",
        "ASSERT_NOT": "lookahead, which looks at text after the token,",
        "GROUPREF": "a back-reference",
        "GROUPREF_EXISTS": "a conditional group",
        "POSSESSIVE_REPEAT": "a possessive count",
        "ATOMIC_GROUP": "an atomic group",
    }[op]
    raise UnsupportedError(f"{what} cannot be enforced in a terminal", hint="write the terminal without it")


def _set(op: str, argument: Any, flags: int) -> CharSet:
    """The characters that an entry for one character matches."""
    if op == "ANY":
        return ALL if flags & re.DOTALL else ALL - CharSet.of("\n")
    members = argument if op == "IN" else [("LITERAL", argument)]
    negative = op == "NOT_LITERAL"
    ranges: list[tuple[int, int]] = []
    found = CharSet()
    for kind, value in members:
        if str(kind) == "NEGATE":
            negative = True
        elif str(kind) == "LITERAL":
            ranges.append((value, value))
        elif str(kind) == "RANGE":
            ranges.append(value)
        else:
            found |= _category(str(value), bool(flags & re.ASCII))
    found |= CharSet(ranges)
    if flags & re.IGNORECASE:
        found = fold_case(found)
    return ~found if negative else found


def _category(name: str, ascii_only: bool) -> CharSet:
    kind = name.removeprefix("CATEGORY_")
    found = _characters(kind.removeprefix("NOT_"))
    if ascii_only:
        found &= CharSet([(0, 127)])
    return ~found if kind.startswith("NOT_") else found


@lru_cache(maxsize=8)
def _characters(kind: str) -> CharSet:
    """\\d, \\w or \\s of Python's `re` for str."""
    test: Callable[[str], bool] = {
        "DIGIT": str.isdecimal,
        "SPACE": str.isspace,
        "WORD": lambda character: character.isalnum() or character == "_",
    }[kind]
    runs = groupby(range(LAST_CODE_POINT + 1), lambda code_point: test(chr(code_point)))
    found = []
    for inside, run in runs:
        if inside:
            first = last = next(run)
            for last in run:  # noqa: B007
                pass
            found.append((first, last))
    return CharSet(found)


def _has_lazy(item: _Item) -> bool:
    if isinstance(item, _Sequence | _Choice):
        return any(map(_has_lazy, item.items))
    return isinstance(item, _Loop) and (item.lazy and item.low != item.high or _has_lazy(item.item))


def _language(item: _Item) -> Regex:
    """The language of an item without lookbehind, whatever the order."""
    if isinstance(item, _Set):
        return chars(item.characters)
    if isinstance(item, _Sequence):
        return concat(*map(_language, item.items))
    if isinstance(item, _Choice):
        return alternate(*map(_language, item.items))
    assert isinstance(item, _Loop)
    return repeat(_language(item.item), item.low, item.high)


# -------------------------------------------------------------------- the automaton

_Stack = tuple[_Item, ...]  # what is still to be matched, one item after the other
_State = tuple[tuple[_Stack, ...], tuple[bool, ...]]  # stacks, the preferred first; which lookbehinds hold here


class _Automaton:
    """The deterministic automaton of the ordered one.

    Attributes:
        lookbehinds: the sets that a character is asked to be in by those after it.
        edges: by state, numbered from 0, the start: [(characters, state)].
        final: the states in which a text may end.
    """

    def __init__(self, item: _Item) -> None:
        self.start: _Stack = (item,)
        self.lookbehinds = tuple(dict.fromkeys(_lookbehinds(item)))
        self.open: set[_Stack] = set()  # loops that are being expanded
        self.edges: list[list[tuple[CharSet, int]]] = []
        self.final: set[int] = set()

    def explore(self) -> None:
        """Fill `edges` and `final`."""
        first: _State = ((self.start,), ())
        numbers = {first: 0}
        pending = [first]
        for state in pending:
            self.edges.append([])
            threads: list[tuple[CharSet, _Stack]] = []
            seen: set[_Stack] = set()
            for stack in state[0]:
                if not self._expand(stack, state[1], seen, threads):
                    self.final.add(numbers[state])
                    break
            for block in _blocks([*dict.fromkeys(characters for characters, _ in threads), *self.lookbehinds]):
                point = block.first
                stacks = tuple(dict.fromkeys(rest for characters, rest in threads if point in characters))
                if not stacks:
                    continue
                target: _State = stacks, tuple(point in characters for characters in self.lookbehinds)
                if target not in numbers:
                    numbers[target] = len(numbers)
                    pending.append(target)
                    if len(numbers) > MAX_STATES:
                        what, hint = "the order of alternatives in a regular expression", "write it without lazy counts"
                        raise LimitExceeded("max_states", len(numbers), MAX_STATES, what=what, hint=hint)
                self.edges[-1].append((block, numbers[target]))

    def _expand(self, stack: _Stack, after: tuple[bool, ...], seen: set[_Stack], into: list[Any]) -> bool:
        """Add what may come next, the preferred first; False at the end of the pattern: what comes later loses."""
        if stack in seen:
            # A loop that is met again before it is done has gone round without a character: `re` then leaves it.
            around = stack in self.open
            return not around or self._expand(stack[1:], after, seen, into)
        seen.add(stack)
        if not stack:
            return False
        item, rest = stack[0], stack[1:]
        if isinstance(item, _Set):
            into.append((item.characters, rest))
            return True
        if isinstance(item, _Sequence):
            return self._expand(item.items + rest, after, seen, into)
        if isinstance(item, _Choice):
            return all(self._expand((one, *rest), after, seen, into) for one in item.items)
        if isinstance(item, _After):
            if not after:
                raise UnsupportedError(
                    "lookbehind at the beginning of a terminal, which looks at the token before, cannot be enforced",
                    hint="write the terminal without it",
                )
            holds = after[self.lookbehinds.index(item.characters)]
            return not holds or self._expand(rest, after, seen, into)
        ways = [rest] if item.low == 0 else []
        if item.high != 0:
            high = None if item.high is None else item.high - 1
            again = (item.item, _Loop(item.item, max(item.low - 1, 0), high, item.lazy), *rest)
            ways = [*ways, again] if item.lazy else [again, *ways]
        self.open.add(stack)
        goes_on = all(self._expand(way, after, seen, into) for way in ways)
        self.open.remove(stack)
        return goes_on

    def _merge_equal(self) -> None:
        """Make states with the same future one, and leave out those without."""
        before: dict[int, list[int]] = {}
        for state, edges in enumerate(self.edges):
            for _, target in edges:
                before.setdefault(target, []).append(state)
        live = backwards(before, self.final)

        def future(state: int, kinds: Sequence[int]) -> tuple[bool, frozenset[tuple[int, CharSet]]]:
            by_kind: dict[int, list[CharSet]] = {}
            for characters, target in self.edges[state]:
                if target in live:
                    by_kind.setdefault(kinds[target], []).append(characters)
            return state in self.final, frozenset((k, CharSet.union(sets)) for k, sets in by_kind.items())

        kinds = coarsest(len(self.edges), future)
        merged: dict[int, list[tuple[CharSet, int]]] = {}
        for state, kind in enumerate(kinds):
            if kind not in merged:
                merged[kind] = [(characters, target) for target, characters in future(state, kinds)[1]]
        self.edges, self.final = [merged[kind] for kind in range(len(merged))], {kinds[state] for state in self.final}

    def equals(self, language: Regex) -> bool:
        """Whether a language is that of the automaton."""
        seen = {(0, language)}
        pending = [(0, language)]
        while pending:
            state, node = pending.pop()
            if (state in self.final) != node.nullable:
                return False
            for characters, target in node.transitions():
                left = characters
                for mine, number in self.edges[state]:
                    if characters & mine:
                        left -= mine
                        if (number, target) not in seen:
                            seen.add((number, target))
                            pending.append((number, target))
                if left:
                    return False  # a node without complements has a member
        return True

    def language(self) -> Regex:
        """The automaton's language, by elimination of states; the automaton is made the smallest first."""
        self._merge_equal()
        count = len(self.edges)
        if count > _MAX_ELIMINATED:
            what, hint = "states of a regular expression with lazy counts", "write it without them: [^x]*x for .*?x"
            raise LimitExceeded("max_eliminated", count, _MAX_ELIMINATED, what=what, hint=hint)
        begin, end = count, count + 1
        ways: dict[int, dict[int, Regex]] = {state: {} for state in range(count)}
        for state, edges in enumerate(self.edges):
            for characters, target in edges:
                ways[state][target] = alternate(ways[state].get(target, EMPTY), chars(characters))
        for state in self.final:
            ways[state][end] = EPSILON
        return paths({**ways, begin: {0: EPSILON}}, begin, end)


def _lookbehinds(item: _Item) -> Iterator[CharSet]:
    if isinstance(item, _After):
        yield item.characters
    elif isinstance(item, _Sequence | _Choice):
        for one in item.items:
            yield from _lookbehinds(one)
    elif isinstance(item, _Loop):
        yield from _lookbehinds(item.item)


def _blocks(sets: list[CharSet]) -> list[CharSet]:
    """The coarsest partition of all characters that each set is a union of."""
    blocks = [ALL]
    for characters in sets:
        blocks = [part for block in blocks for part in (block & characters, block - characters) if part]
    return blocks
