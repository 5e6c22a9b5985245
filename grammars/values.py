"""And, or, not and exactly-one over `ir.Value`s, part by part.

Literals, numbers and strings are closed under all of them. Arrays and objects are expressions over shapes, and what
comes out of here holds no negated shape (`shapes` writes negations positively), so that the automaton never has to
recognise the complement of a container.

An `Algebra` belongs to one loaded schema: it knows the language of all numbers, remembers the value of every child
expression asked for, and bounds the work that proofs of emptiness may cost. A proof may fail; it is never wrong. Proofs
keep results small (alternatives that exclude each other need no negation) and are not needed for them to be right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product
from operator import and_, or_
from typing import Any

from maskwright.grammars import boolean, regular
from maskwright.grammars.boolean import FALSE, TRUE, Bool
from maskwright.grammars.errors import LimitExceeded, UnsupportedError
from maskwright.grammars.ir import NOTHING, Value, anything
from maskwright.grammars.number_sets import NumberSets
from maskwright.grammars.regular import EMPTY, Chars, Regex, Words, alternate, complement, intersect, words
from maskwright.grammars.shapes import ArrayView, ObjectView, View
from maskwright.grammars.stopwatch import tick

__all__ = ["Algebra", "Pending"]

MAX_PROOF_DEPTH = 5  # child expressions within child expressions
MAX_PROOFS = 20_000  # between two calls of `renew`; about 50 microseconds each
MAX_PROOF_NODES = 300  # derivatives in one proof about strings or numbers
MAX_TERMS = 64  # of a disjunctive normal form
MAX_LABEL_KEYS, MAX_LABELS = 4, 64  # required members that are looked at to tell alternatives apart, and their words


class Pending(Exception):
    """A schema was asked for its value while that value is being made; proofs give up, nothing else may ask."""


class Algebra:
    """The operations that need to know the text policy or to look into child expressions.

    Attributes:
        numbers: the language of all numbers under the text policy.
        anything: the Value of every JSON value.
    """

    def __init__(self, numbers: Regex, sets: NumberSets | None = None) -> None:
        """`sets`: combines the languages of numbers."""
        self.numbers, self.anything = numbers, anything(numbers)
        self._sets = sets or NumberSets()
        self._values: dict[Bool, Value] = {TRUE: self.anything, FALSE: NOTHING}
        self._proofs: dict[Bool, bool] = {}
        self._views: dict[Bool, Any] = {}
        self._depth = self._asked = self._cut_short = 0

    def renew(self) -> None:
        """Gives proofs their whole budget again."""
        self._asked = 0

    def value_of(self, expression: Bool) -> Value:
        """The values that satisfy an expression over Schema leaves, memoised.

        Raises:
            GrammarError: as `Schema.expand`.
        """
        if expression.kind == "leaf":
            value: Value = expression.payload.expand()
            return value
        known = self._values.get(expression)
        if known is None:
            known = self._values[expression] = self._combine(expression)
        return known

    def _combine(self, expression: Bool) -> Value:
        if expression.kind == "or":
            return self.any_of([self.value_of(argument) for argument in expression.args])
        if expression.kind == "one":
            return self.one_of([self.value_of(argument) for argument in expression.args], self.anything)
        arguments = expression.args if expression.kind == "and" else (expression,)
        # What is asserted first: it is the context that keeps negations small.
        asserted = [self.value_of(argument) for argument in arguments if argument.kind != "not"]
        value = self.all_of([self.anything, *asserted])
        for argument in arguments:
            if argument.kind == "not":
                value = self.minus(value, self.value_of(argument.args[0]))
        return value

    def all_of(self, values: Sequence[Value]) -> Value:
        """What is in each of `values`."""
        if len(values) == 1:
            return values[0]
        numbers = [value.number for value in values if value.number is not self.numbers]
        return Value(
            reduce(and_, (value.literals for value in values), 7),
            self._sets.all_of(numbers) if numbers else self.numbers,
            intersect(*(value.string for value in values)),
            boolean.all_of(value.array for value in values),
            boolean.all_of(value.object for value in values),
        )

    def any_of(self, values: Sequence[Value]) -> Value:
        """What is in some of `values`."""
        if len(values) == 1:
            return values[0]
        numbers = [value.number for value in values]
        return Value(
            reduce(or_, (value.literals for value in values), 0),
            self.numbers if any(number is self.numbers for number in numbers) else self._sets.any_of(numbers),
            alternate(*(value.string for value in values)),
            boolean.any_of(value.array for value in values),
            boolean.any_of(value.object for value in values),
        )

    def minus(self, value: Value, other: Value, given: Value | None = None) -> Value:
        """What is in `value` and not in `other`, right for all values in `given` (by default: for all)."""
        arrays, objects = (given.array, given.object) if given is not None else (TRUE, TRUE)
        return Value(
            value.literals & ~other.literals,
            EMPTY if other.number is self.numbers else self._sets.without(value.number, other.number),
            _without(value.string, other.string),
            self._minus(ArrayView, value.array, other.array, self._asserted(ArrayView, arrays)),
            self._minus(ObjectView, value.object, other.object, self._asserted(ObjectView, objects)),
        )

    def one_of(self, values: Sequence[Value], given: Value) -> Value:
        """What is in exactly one of `values`, right for all values in `given`."""
        once = twice = 0
        for value in values:
            once, twice = once | value.literals, twice | (once & value.literals)
        return Value(
            once & ~twice,
            self._numbers_once([value.number for value in values]),
            _once([value.string for value in values]),
            boolean.any_of(self.each_once(ArrayView, [value.array for value in values], given.array)),
            boolean.any_of(self.each_once(ObjectView, [value.object for value in values], given.object)),
        )

    def _numbers_once(self, languages: Sequence[Regex]) -> Regex:
        """What is in exactly one of some languages of numbers."""
        live = [language for language in languages if language is not EMPTY]
        found = self._sets.exactly_one_of(live) if len(live) > 1 else None
        return _once(live) if found is None else found

    def is_empty(self, expression: Bool) -> bool:
        """Whether certainly nothing satisfies a child expression; False where no proof was found within the budget."""
        if expression.kind in ("true", "false"):
            return expression is FALSE
        known = self._proofs.get(expression)
        if known is not None:
            return known
        if self._depth >= MAX_PROOF_DEPTH or self._asked >= MAX_PROOFS:
            self._cut_short += 1
            return False
        tick()
        self._depth += 1
        self._asked += 1
        before = self._cut_short
        try:
            empty = self._holds_nothing(self.value_of(expression))
        except (Pending, LimitExceeded, UnsupportedError):
            # No proof. Where the cause matters by itself, the check of that very schema meets it again and reports it.
            self._cut_short += 1
            empty = False
        finally:
            self._depth -= 1
        if empty or self._cut_short == before:
            self._proofs[expression] = empty
        return empty

    # Emptiness

    def _holds_nothing(self, value: Value) -> bool:
        if value.literals or value.array is TRUE or value.object is TRUE:
            return False
        if not (regular.is_empty(value.number, MAX_PROOF_NODES) and regular.is_empty(value.string, MAX_PROOF_NODES)):
            return False
        return all(self.conflict(kind, part) for kind, part in _containers(value))

    def conflict(self, kind: type[View], formula: Bool) -> bool:
        """Whether certainly no container satisfies `formula`."""
        terms = _disjuncts(formula)
        if terms is None:
            self._cut_short += 1
            return False
        views = ([self._view(kind, one) for one in term] for term in terms)
        return all(bool(some) and kind.conflict(some, self.is_empty) for some in views)

    # Negation

    def _view(self, kind: type[View], one: Bool) -> Any:
        view = self._views.get(one)
        if view is None:
            view = self._views[one] = kind(one.payload)
        return view

    def _asserted(self, kind: type[View], formula: Bool) -> list[Any]:
        """Views of the shapes that hold wherever `formula` does."""
        parts = formula.args if formula.kind == "and" else (formula,)
        return [self._view(kind, part) for part in parts if part.kind == "leaf"]

    def _minus(self, kind: type[View], formula: Bool, other: Bool, context: list[Any]) -> Bool:
        """`formula` and not `other`, right wherever `context` holds."""
        if formula is FALSE or other is FALSE:
            return formula
        if other is TRUE or formula == other:
            return FALSE
        self._spend()
        return boolean.all_of((formula, self._negation(kind, other, context + self._asserted(kind, formula))))

    def _negation(self, kind: type[View], formula: Bool, context: list[Any]) -> Bool:
        if formula.kind == "leaf":
            view = self._view(kind, formula)
            if view in context:
                return FALSE
            # Within a proof it does not pay to look for ways that lead nowhere: each would be a proof again.
            prune = _is_false if self._depth else self.is_empty
            negated: Bool = view.negation(context, self.is_empty, prune)
            return negated
        if formula.kind == "or":
            return boolean.all_of(self._negation(kind, argument, context) for argument in formula.args)
        if formula.kind == "and":
            return boolean.any_of(self._negation(kind, argument, context) for argument in formula.args)
        return boolean.negate(formula)

    def without(self, kind: type[View], formula: Bool, other: Bool, given: Bool) -> Bool:
        """`formula` and not `other`, expressions over shapes; right wherever `given` holds."""
        return self._minus(kind, formula, other, self._asserted(kind, given))

    def each_once(self, kind: type[View], formulas: Sequence[Bool], given: Bool) -> list[Bool]:
        """Each of `formulas`, expressions over shapes, without all the others; right wherever `given` holds."""
        once = iter(self._each_once(kind, [formula for formula in formulas if formula is not FALSE], given))
        return [FALSE if formula is FALSE else next(once) for formula in formulas]

    def _each_once(self, kind: type[View], live: list[Bool], given: Bool) -> list[Bool]:
        if len(live) < 2:
            return live
        if sum(formula is TRUE for formula in live) > 1:
            return [FALSE] * len(live)
        context = self._asserted(kind, given)
        known = [part for part in (given.args if given.kind == "and" else (given,)) if part.kind == "leaf"]
        rivals: list[list[Bool]] = [[] for _ in live]
        for first, second in _pairs_to_compare(self._labels(live) if kind is ObjectView else [None] * len(live)):
            self._spend()
            if not self.conflict(kind, boolean.all_of([live[first], live[second], *known])):
                rivals[first].append(live[second])
                rivals[second].append(live[first])
        ways = []
        for formula, others in zip(live, rivals, strict=True):
            for other in others:
                formula = self._minus(kind, formula, other, context)
            ways.append(formula)
        return ways

    def _labels(self, formulas: Sequence[Bool]) -> list[Sequence[str] | None]:
        """Of each object formula, the words that one required member is limited to: that of most formulas."""
        views = [self._view(ObjectView, one) if one.kind == "leaf" else None for one in formulas]
        counts = Counter(key for view in views if view is not None for key in view.required)
        best: list[Sequence[str] | None] = [None] * len(views)
        for key, count in counts.most_common(MAX_LABEL_KEYS):
            if count > 1:
                found = [self._words(view.member(key)) if view and key in view.required else None for view in views]
                best = min(best, found, key=lambda labels: labels.count(None))
        return best

    def _words(self, expression: Bool) -> Sequence[str] | None:
        """The finitely many strings that are all that satisfies a child expression; None where it is not so simple."""
        if expression.kind != "leaf":
            return None
        try:
            value = self.value_of(expression)
        except (Pending, LimitExceeded, UnsupportedError):
            return None  # as in `is_empty`: no proof
        if value != Value(string=value.string) or not isinstance(value.string, Words | Chars):
            return None
        return regular.finite_words(value.string, MAX_LABELS)

    def _spend(self) -> None:
        tick()
        self._asked += 1
        if self._asked > MAX_PROOFS:
            hint = "use fewer alternatives that overlap"
            raise LimitExceeded("proofs", self._asked, MAX_PROOFS, what="telling alternatives apart", hint=hint)


def _pairs_to_compare(labels: Sequence[Sequence[str] | None]) -> Iterator[tuple[int, int]]:
    """Pairs first < second that no label tells apart: they share one, or one of them has none."""
    labelled: dict[str, list[int]] = {}
    others: list[int] = []
    for second, words_ in enumerate(labels):
        if words_ is None:
            yield from ((first, second) for first in range(second))
            others.append(second)
        else:
            sharing = {first for word in words_ for first in labelled.get(word, ())}
            yield from ((first, second) for first in sorted(sharing.union(others)))
            for word in words_:
                labelled.setdefault(word, []).append(second)


def _containers(value: Value) -> tuple[tuple[type[View], Bool], ...]:
    return ((ArrayView, value.array), (ObjectView, value.object))


def _disjuncts(formula: Bool) -> list[tuple[Bool, ...]] | None:
    """The disjunctive normal form of an expression without negations; None if it has more than MAX_TERMS terms."""
    if formula.kind == "leaf":
        return [(formula,)]
    if formula is TRUE or formula is FALSE:
        return [()] if formula is TRUE else []
    parts = [_disjuncts(argument) for argument in formula.args]
    if any(part is None for part in parts):
        return None
    known: list[list[tuple[Bool, ...]]] = [part for part in parts if part is not None]
    if formula.kind == "or":
        terms = [term for part in known for term in part]
        return terms if len(terms) <= MAX_TERMS else None
    if reduce(lambda count, part: count * len(part), known, 1) > MAX_TERMS:
        return None
    return [tuple(dict.fromkeys(one for term in choice for one in term)) for choice in product(*known)]


def _is_false(expression: Bool) -> bool:
    return expression is FALSE


def _without(language: Regex, other: Regex) -> Regex:
    if language is EMPTY or other is EMPTY:
        return language
    return EMPTY if language is other else intersect(language, complement(other))


def _once(languages: Sequence[Regex]) -> Regex:
    """What is in exactly one of `languages`."""
    live = [language for language in languages if language is not EMPTY]
    if len(live) < 2:
        return live[0] if live else EMPTY
    # Mostly these are the words of enums, and counting them is far cheaper than intersecting.
    listed = [language for language in live if isinstance(language, Words)]
    counts = Counter(word for language in listed for word in language.remaining())
    once = words(counts)
    twice = words(word for word, count in counts.items() if count > 1)
    for language in live:
        if not isinstance(language, Words):
            once, twice = alternate(once, language), alternate(twice, intersect(once, language))
    return _without(once, twice)
