r"""Regular expressions whose assertions need the text around them: lookbehind anywhere, lookahead and `\b` inside loops.

    situated(tree)      the texts that a tree of `regex_syntax` matches as a whole, as one more node of `regular`

How it works, first without the shortcuts. Read the text from left to right and keep all ways in which the tree can have
matched what is read. A way is a *term*: the tree that is left, and *conditions*, languages that the rest of the text must
be a member of as well. Deriving a tree gives, for a set of characters, the trees that are left, each under a condition:

    a lookahead             matches nothing, under the condition of its body followed by anything (or of its complement)
    a lookbehind            matches nothing where its *tracker* says so: the terms of (anything, then its body), derived
                            along with the text from its beginning. Nested assertions make that, too, a condition.
    `^` `$` `\b`            match nothing, under conditions of the same kind

A term's conditions are languages of their own, which are derived as they are and never mention the term again, so that
there are finitely many of them (Brzozowski, theorem 5.2), and finitely many terms: the states are sets of terms. That is an
alternating automaton for lookahead, and for lookbehind a product with automata that read along, as in Miyazaki and Minamide,
"Derivatives of regular expressions with lookahead", J. Inf. Process. 27 (2019), and Varatalu, Veanes and Ernits, "RE#",
POPL 2025.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, NamedTuple

from maskwright.grammars.charset import ALL, EMPTY_SET, CharSet
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.regex_syntax import Anchor, Boundary, Choice, Item, Look, Loop, Sequence, sequence
from maskwright.grammars.regular import (
    ANY_STRING,
    EMPTY,
    EPSILON,
    Intersect,
    Regex,
    alternate,
    chars,
    complement,
    concat,
    intersect,
)
from maskwright.grammars.regular_nodes import Span, overlay
from maskwright.grammars.unicode_sets import WORD

__all__ = ["MAX_TERMS", "Situated", "needs_situation", "situated"]

MAX_TERMS = 4_000  # of one state

Conditions = frozenset[Regex]
Term = tuple[Item, Conditions]
Terms = frozenset[Term]

_ALWAYS: Conditions = frozenset()
_WORD_NEXT = concat(chars(WORD), ANY_STRING)
_NO_WORD_NEXT = complement(_WORD_NEXT)


class Past(NamedTuple):
    """What assertions can see of the text that is read.

    Attributes:
        last: None at the beginning, else whether the last character is one of a word.
        trackers: the terms of each lookbehind of the tree, or None where nothing depends on it any more.
    """

    last: bool | None
    trackers: tuple[Terms | None, ...]


class Step(NamedTuple):
    """`characters` lead to what is left, where the text before them meets the conditions (as the text from there on)."""

    conditions: Conditions
    characters: CharSet
    left: Item


def needs_situation(item: Item) -> bool:
    """Whether a tree has a lookbehind, or an assertion other than an anchor inside a loop of several rounds."""
    if isinstance(item, Look):
        return item.behind or needs_situation(item.item)
    if isinstance(item, Loop):
        several = item.high is None or item.high > 1
        return (several and _looks_around(item.item)) or needs_situation(item.item)
    return isinstance(item, Sequence | Choice) and any(map(needs_situation, item.items))


def situated(tree: Item) -> Regex:
    """The texts that `tree` matches as a whole.

    Raises (when it is derived, too):
        LimitExceeded: there are more than MAX_TERMS ways to have matched some text.
    """
    rules = _Rules(tree)
    return rules.state([(tree, _ALWAYS)], Past(None, tuple(frozenset({(body, _ALWAYS)}) for body in rules.bodies)))


class Situated(Regex):
    """What may follow in a text of which some is read.

    Attributes:
        terms: the ways in which it may go on; a text follows if it is in the language of one, and meets its conditions.
        past: what assertions can see of the text that is read; what none of the terms looks at is left out.
    """

    __slots__ = ("past", "rules", "terms")
    searched: ClassVar[bool] = True

    def __init__(self, rules: _Rules, terms: Terms, past: Past) -> None:
        self.rules, self.terms, self.past = rules, terms, past
        nullable = any(
            all(condition.nullable for condition in conditions | more)
            for item, conditions in terms
            for more in rules.empty(item, past)
        )
        children = [condition for _, conditions in terms for condition in conditions]
        super().__init__((rules.behind, terms, past), nullable, children, plain=False)

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        return self.rules.derive(self.terms, self.past)

    def _measure(self) -> Span:
        spans = [_span(item) for item, _ in self.terms]
        highs = [high for _, high in spans if high is not None]
        return min(low for low, _ in spans), max(highs) if len(highs) == len(spans) else None

    def _spell(self) -> CharSet:
        return CharSet.union([_letters(item) for item, _ in self.terms])

    def _same(self, other: object) -> bool:
        return isinstance(other, Situated) and (self.terms, self.past, self.rules.behind) == (
            other.terms,
            other.past,
            other.rules.behind,
        )

    def __repr__(self) -> str:
        shown = (" & ".join(map(repr, (item, *conditions))) for item, conditions in self.terms)
        return f"situated({' | '.join(shown)})"


class _Rules:
    """How the parts of one tree are derived.

    Attributes:
        behind: the lookbehinds of the tree; bodies: anything and then the body, of each.
    """

    def __init__(self, tree: Item) -> None:
        self.behind = tuple(dict.fromkeys(_lookbehinds(tree)))
        self.bodies = tuple(sequence([ANY_STRING, look.item]) for look in self.behind)
        self._numbers = {look: number for number, look in enumerate(self.behind)}
        self._sights: dict[Item, tuple[frozenset[int], bool, bool]] = {}

    # ---------------------------------------------------------------- states

    def state(self, terms: Iterable[Term], past: Past) -> Regex:
        """The language of some terms; a combination of plain languages where none of them looks at its surroundings."""
        normal = _normal(terms)
        if all(isinstance(item, Regex) for item, _ in normal):
            return alternate(*(intersect(item, *conditions) for item, conditions in normal))  # type: ignore[arg-type]
        return Situated(self, normal, self._seen(normal, past))

    def derive(self, terms: Terms, past: Past) -> Iterator[tuple[CharSet, Regex]]:
        """The states after one more character."""
        read = [terms, *(tracker for tracker in past.trackers if tracker is not None)]
        steps = [list(self._steps(ways, past)) for ways in read]
        partitions: list[list[tuple[CharSet, tuple[object, Regex]]]] = [[(ALL, (None, EMPTY))]]
        partitions.append([(WORD, (WORD, EMPTY))])
        partitions += [[(step.characters, (step, EMPTY))] for found in steps for step in found]
        conditions = dict.fromkeys(condition for found in steps for step in found for condition in step.conditions)
        partitions += [
            [(characters, (condition, after)) for characters, after in condition.transitions()]
            for condition in conditions
        ]
        for characters, marks in overlay(partitions):
            after = dict(marks)
            moved = [list(_moved(found, after)) for found in steps]
            if moved[0]:
                rest = iter(moved[1:])
                trackers = tuple(None if tracker is None else _normal(next(rest)) for tracker in past.trackers)
                yield characters, self.state(moved[0], Past(WORD in after, trackers))

    def _seen(self, terms: Terms, past: Past) -> Past:
        """What the terms may look at; the rest is left out, so that equal states are equal nodes."""
        sights = [self._sight(item) for item, _ in terms]
        behind = frozenset[int]().union(*(seen for seen, _, _ in sights))
        last = past.last
        if not any(words for _, _, words in sights):
            last = None if last is None and any(starts for _, starts, _ in sights) else False
        trackers = (ways if number in behind else None for number, ways in enumerate(past.trackers))
        return Past(last, tuple(trackers))

    def _sight(self, item: Item) -> tuple[frozenset[int], bool, bool]:
        """What is inside an item: lookbehinds, by number; whether a `^`; whether a word boundary."""
        found = self._sights.get(item)
        if found is None:
            parts = list(_assertions(item))
            behind = frozenset(self._numbers[part] for part in parts if isinstance(part, Look) and part.behind)
            starts = any(isinstance(part, Anchor) and not part.at_end for part in parts)
            found = self._sights[item] = behind, starts, any(isinstance(part, Boundary) for part in parts)
        return found

    # ---------------------------------------------------------------- items

    def _steps(self, terms: Terms, past: Past) -> Iterator[Step]:
        """All that some terms may do with a next character."""
        for item, conditions in terms:
            for step in self._next(item, past):
                yield Step(conditions | step.conditions, step.characters, step.left)

    def _next(self, item: Item, past: Past) -> Iterator[Step]:
        """What an item may do with a next character."""
        if isinstance(item, Regex):
            for characters, after in item.transitions():
                yield Step(_ALWAYS, characters, after)
        elif isinstance(item, Choice):
            for part in item.items:
                yield from self._next(part, past)
        elif isinstance(item, Sequence):
            before = [_ALWAYS]  # ways to match nothing with the parts so far
            for number, part in enumerate(item.items, 1):
                rest = item.items[number:]
                for step in self._next(part, past):
                    left = sequence([step.left, *rest])
                    for conditions in before:
                        yield Step(conditions | step.conditions, step.characters, left)
                before = [one | other for one in before for other in self.empty(part, past)]
                if not before:
                    break
        elif isinstance(item, Loop):
            # Rounds that match nothing here may be as many as are still required.
            skipped = self.empty(item.item, past) if item.low > 1 else []
            fewer = _loop(item, max(item.low - 1, 0))
            for step in self._next(item.item, past):
                yield Step(step.conditions, step.characters, sequence([step.left, fewer]))
                for conditions in skipped:
                    yield Step(conditions | step.conditions, step.characters, sequence([step.left, _loop(item, 0)]))

    def empty(self, item: Item, past: Past) -> list[Conditions]:
        """The ways in which an item may match nothing here: conditions on the text from here on."""
        if isinstance(item, Regex):
            return [_ALWAYS] if item.nullable else []
        if isinstance(item, Choice):
            return _least(conditions for part in item.items for conditions in self.empty(part, past))
        if isinstance(item, Sequence):
            found = [_ALWAYS]
            for part in item.items:
                found = _least(one | other for one in found for other in self.empty(part, past))
            return found
        if isinstance(item, Loop):
            return [_ALWAYS] if item.low == 0 else self.empty(item.item, past)
        if isinstance(item, Anchor):
            if item.at_end:
                return [frozenset({EPSILON})]
            return [_ALWAYS] if past.last is None else []
        if isinstance(item, Boundary):
            return [frozenset({_WORD_NEXT if bool(past.last) == item.negative else _NO_WORD_NEXT})]
        if item.behind:
            seen = alternate(
                *(
                    intersect(*conditions, *more)
                    for way, conditions in past.trackers[self._numbers[item]] or ()
                    for more in self.empty(way, past)
                )
            )
        else:
            seen = self.state([(sequence([item.item, ANY_STRING]), _ALWAYS)], past)
        condition = complement(seen) if item.negative else seen
        return [] if condition is EMPTY else [_ALWAYS] if condition is ANY_STRING else [frozenset({condition})]


def _loop(loop: Loop, low: int) -> Item:
    """What is left of a loop after a round."""
    high = None if loop.high is None else loop.high - 1
    if high == 0:
        return EPSILON
    return loop.item if (low, high) == (1, 1) else Loop(loop.item, low, high)


def _moved(steps: Iterable[Step], after: Mapping[object, Regex]) -> Iterator[Term]:
    """The terms after a character, given the steps that it allows, and what it leaves of the conditions."""
    for step in steps:
        if step not in after:
            continue
        conditions = set[Regex]()
        for condition in step.conditions:
            left = after.get(condition, EMPTY)
            conditions.update(left.parts if isinstance(left, Intersect) else (left,))
        if EMPTY not in conditions:
            conditions.discard(ANY_STRING)
            yield step.left, frozenset(conditions)


# -------------------------------------------------------------------- normal forms


def _least(found: Iterable[Conditions]) -> list[Conditions]:
    """Those of some sets of conditions that ask for no more than another one."""
    distinct = sorted(set(found), key=len)
    return [one for number, one in enumerate(distinct) if not any(less <= one for less in distinct[:number])]


def _normal(terms: Iterable[Term]) -> Terms:
    """The terms without those that another one covers, and plain languages under equal conditions made one."""
    plain: dict[Conditions, list[Regex]] = {}
    found: dict[Item, list[Conditions]] = {}
    for item, conditions in terms:
        if isinstance(item, Regex):
            plain.setdefault(conditions, []).append(item)
        else:
            found.setdefault(item, []).append(conditions)
    for conditions, languages in plain.items():
        language = alternate(*languages)
        if language is not EMPTY:
            found.setdefault(language, []).append(conditions)
    anything = _least(found.get(ANY_STRING, ()))
    normal = frozenset(
        (item, conditions)
        for item, several in found.items()
        for conditions in _least(several)
        if item is ANY_STRING or not any(less <= conditions for less in anything)
    )
    if len(normal) > MAX_TERMS:
        raise LimitExceeded(
            "max_terms",
            len(normal),
            MAX_TERMS,
            what="ways to match a text so far",
            hint="fewer or shorter lookahead and lookbehind are needed inside repetitions",
        )
    return normal


# -------------------------------------------------------------------- trees


def _assertions(item: Item) -> Iterator[Anchor | Boundary | Look]:
    """Every assertion inside, the bodies of assertions included."""
    if isinstance(item, Sequence | Choice):
        for part in item.items:
            yield from _assertions(part)
    elif isinstance(item, Loop):
        yield from _assertions(item.item)
    elif isinstance(item, Look):
        yield from _assertions(item.item)
        yield item
    elif not isinstance(item, Regex):
        yield item


def _lookbehinds(item: Item) -> Iterator[Look]:
    return (part for part in _assertions(item) if isinstance(part, Look) and part.behind)


def _looks_around(item: Item) -> bool:
    """Whether there is an assertion other than an anchor inside."""
    return any(not isinstance(part, Anchor) for part in _assertions(item))


def _span(item: Item) -> Span:
    """(shortest, longest or None) length of what an item may match."""
    if isinstance(item, Regex):
        return item.span
    if isinstance(item, Loop):
        low, high = _span(item.item)
        return low * item.low, None if high is None or item.high is None else high * item.high
    if not isinstance(item, Sequence | Choice):
        return 0, 0
    spans = [_span(part) for part in item.items]
    lows, highs = [low for low, _ in spans], [high for _, high in spans if high is not None]
    bounded = len(highs) == len(spans)
    if isinstance(item, Sequence):
        return sum(lows), sum(highs) if bounded else None
    return min(lows), max(highs) if bounded else None


def _letters(item: Item) -> CharSet:
    """A set that holds every character an item may match."""
    if isinstance(item, Regex):
        return item.letters
    if isinstance(item, Loop):
        return _letters(item.item)
    return CharSet.union([_letters(part) for part in item.items]) if isinstance(item, Sequence | Choice) else EMPTY_SET
