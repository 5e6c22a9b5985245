"""Reasoning about array and object shapes: when several exclude each other, and what the opposite of one is.

The automaton recognises conjunctions and disjunctions of shapes, but no negated shape. A negation is therefore written
positively, given a context: further shapes that are known to hold of the same container.

    not {required: [a, b]}      a is forbidden, or b is
    not {properties: {a: S}}    a is required, with not S
    not {items: S}              has no positive form alone; where the context's items exclude S: at least one item
    not {additional: false}     has none alone; where the context names all keys: one of the others is required

`ArrayView` and `ObjectView` answer both questions (`conflict`, `negation`) about one shape among others. Neither sees
inside child expressions: `Prove` is asked whether one is certainly empty, and "no" may mean "not within the budget". A
negation may be told to ask `prune` of each of its ways, so that those that lead nowhere are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, product

from maskwright.grammars import regular
from maskwright.grammars.boolean import FALSE, TRUE, Bool, all_of, any_of, leaf, negate
from maskwright.grammars.errors import UnsupportedError
from maskwright.grammars.ir import ArrayShape, ObjectShape
from maskwright.grammars.regular import ANY_STRING, Regex, matches

__all__ = ["ArrayView", "Inexpressible", "ObjectView", "Prove", "View"]

MAX_UNROLLED_ITEMS = 16  # indices tried one by one for "some item is not S"
MAX_OPTIONAL_NAMES = 3  # of 2**n choices for "some member has another name"
MAX_LISTED_KEYS = 64  # members of a finite language of keys

Prove = Callable[[Bool], bool]
"""Whether no value at all satisfies a child expression; False where that cannot be shown cheaply."""


class Inexpressible(UnsupportedError):
    """A negation that has no positive form."""


class ArrayView:
    """An ArrayShape among others that hold of the same array."""

    __slots__ = ("high", "shape")

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        closed_at = next((i for i, item in enumerate(shape.prefix) if item is FALSE), math.inf)
        if shape.rest is FALSE:
            closed_at = min(closed_at, len(shape.prefix))
        self.high = min(closed_at, math.inf if shape.max_items is None else shape.max_items)

    def item(self, index: int) -> Bool:
        """What the item at `index` must satisfy."""
        return self.shape.prefix[index] if index < len(self.shape.prefix) else self.shape.rest

    def children(self) -> Iterator[Bool]:
        """Every child expression."""
        yield from self.shape.prefix
        yield self.shape.rest

    @staticmethod
    def conflict(views: Sequence[ArrayView], prove: Prove) -> bool:
        """Whether certainly no array satisfies all of `views`."""
        low, high = _array_bounds(views)
        if low > high:
            return True
        unlike = min(low, _prefix_length(views) + 1)
        return any(prove(_items(views, index)) for index in range(int(unlike)))

    def negation(self, context: Sequence[ArrayView], prove: Prove, prune: Prove) -> Bool:
        """An expression over shapes for "not this one", right for every array that satisfies `context`.

        Raises:
            Inexpressible: there is none.
        """
        low, high = _array_bounds(context)
        shape, ways = self.shape, list[Bool]()
        for index, expected in enumerate(shape.prefix):
            if index < high:
                ways.append(_wrong_item(index, expected, context, prune))
        ways.append(self._wrong_later_item(context, low, high, prove, prune))
        if shape.min_items > low:
            ways.append(leaf(ArrayShape(max_items=shape.min_items - 1)))
        if shape.max_items is not None and shape.max_items < high:
            ways.append(_at_least(shape.max_items + 1, low))
        return any_of(ways)

    def _wrong_later_item(
        self, context: Sequence[ArrayView], low: float, high: float, prove: Prove, prune: Prove
    ) -> Bool:
        start, expected = len(self.shape.prefix), self.shape.rest
        if expected is TRUE or high <= start:
            return FALSE
        # From the last prefix of the context on, every index is like the next.
        unlike = range(start, max(start, _prefix_length(context)) + 1)
        if all(prove(all_of((_items(context, index), expected))) for index in unlike if index < high):
            return _at_least(start + 1, low)
        if all(prove(all_of((_items(context, index), negate(expected)))) for index in unlike if index < high):
            return FALSE
        if high - start <= MAX_UNROLLED_ITEMS:
            return any_of(_wrong_item(index, expected, context, prune) for index in range(start, int(high)))
        raise Inexpressible("an array with some item outside a schema cannot be enforced yet")


def _array_bounds(views: Iterable[ArrayView]) -> tuple[float, float]:
    low, high = 0, math.inf
    for view in views:
        low, high = max(low, view.shape.min_items), min(high, view.high)
    return low, high


def _prefix_length(views: Iterable[ArrayView]) -> int:
    return max((len(view.shape.prefix) for view in views), default=0)


def _items(views: Sequence[ArrayView], index: int) -> Bool:
    return views[0].item(index) if len(views) == 1 else all_of([view.item(index) for view in views])


def _wrong_item(index: int, expected: Bool, context: Sequence[ArrayView], prune: Prove) -> Bool:
    wrong = all_of((_items(context, index), negate(expected)))
    if prune(wrong):
        return FALSE
    return leaf(ArrayShape((TRUE,) * index + (wrong,), min_items=index + 1))


def _at_least(count: int, known: float) -> Bool:
    return TRUE if count <= known else leaf(ArrayShape(min_items=count))


class ObjectView:
    """An ObjectShape among others that hold of the same object."""

    __slots__ = ("named", "required", "shape")

    def __init__(self, shape: ObjectShape) -> None:
        self.shape = shape
        self.named = dict(shape.properties)
        self.required = frozenset(shape.required)

    def member(self, key: str) -> Bool:
        """What the member `key` must satisfy; FALSE where it is forbidden."""
        shape = self.shape
        if shape.names is not ANY_STRING and not matches(shape.names, key):
            return FALSE
        found = self.named.get(key)
        if not shape.patterns:
            return shape.additional if found is None else found
        parts = [expression for language, expression in shape.patterns if matches(language, key)]
        if found is not None:
            parts.append(found)
        return all_of(parts) if parts else shape.additional

    def children(self) -> Iterator[Bool]:
        """Every child expression."""
        yield from self.named.values()
        yield from (expression for _, expression in self.shape.patterns)
        yield self.shape.additional

    @property
    def closed(self) -> bool:
        """Whether only named keys may occur."""
        shape = self.shape
        return shape.additional is FALSE and all(expression is FALSE for _, expression in shape.patterns)

    @staticmethod
    def conflict(views: Sequence[ObjectView], prove: Prove) -> bool:
        """Whether certainly no object satisfies all of `views`."""
        required = dict.fromkeys(chain.from_iterable(view.shape.required for view in views))
        least = max(view.shape.min_properties for view in views)
        highs = [view.shape.max_properties for view in views if view.shape.max_properties is not None]
        if highs and max(least, len(required)) > min(highs):
            return True
        if least > len(required):
            keys = _possible_keys(views)
            if keys is not None and least > len(keys):
                return True
        # Keys that several views speak of by name come first: a discriminator is one of them.
        often = sorted(required, key=lambda key: -sum(key in view.named for view in views))
        return any(prove(_members(views, key)) for key in often)

    def negation(self, context: Sequence[ObjectView], prove: Prove, prune: Prove) -> Bool:
        """An expression over shapes for "not this one", right for every object that satisfies `context`.

        Raises:
            Inexpressible: there is none.
        """
        shape, ways = self.shape, list[Bool]()
        certain = frozenset(chain.from_iterable(view.required for view in context))
        for key in shape.required:
            if _members(context, key) is FALSE:
                return TRUE
            if key not in certain:
                ways.append(leaf(ObjectShape(properties=((key, FALSE),))))
        for key in self.named:
            ways.append(_wrong_member(key, self.member(key), context, prune))
        ways.append(self._wrong_name(context, prune))
        for language, expected in shape.patterns:
            ways.append(self._wrong_match(language, expected, context, prove, prune))
        ways.append(self._wrong_other(certain, context, prove, prune))
        if shape.min_properties > len(certain):
            ways.append(leaf(ObjectShape(max_properties=shape.min_properties - 1)))
        if shape.max_properties is not None:
            ways.append(leaf(ObjectShape(min_properties=shape.max_properties + 1)))
        return any_of(ways)

    def _covered(self, key: str) -> bool:
        return key in self.named or any(matches(language, key) for language, _ in self.shape.patterns)

    def _wrong_name(self, context: Sequence[ObjectView], prune: Prove) -> Bool:
        """Some key is outside `names`."""
        names = self.shape.names
        if names is ANY_STRING or any(view.shape.names == names for view in context):
            return FALSE
        keys = _possible_keys(context)
        if keys is None:
            raise Inexpressible("an object with some key outside a schema cannot be enforced yet")
        # Named keys outside `names` are forbidden members: they were counted with the named.
        outside = (key for key in keys if key not in self.named and not matches(names, key))
        return any_of(_wrong_member(key, FALSE, context, prune) for key in outside)

    def _wrong_match(
        self, language: Regex, expected: Bool, context: Sequence[ObjectView], prove: Prove, prune: Prove
    ) -> Bool:
        """Some key in `language`, not named, has a member outside `expected`."""
        if expected is TRUE:
            return FALSE
        keys = _possible_keys(context)
        if keys is None:
            keys = regular.finite_words(language, MAX_LISTED_KEYS)
        if keys is not None:
            inside = (key for key in keys if key not in self.named and matches(language, key))
            return any_of(_wrong_member(key, expected, context, prune) for key in inside)
        for view in context:
            for other, known in view.shape.patterns:
                if other == language and prove(all_of((known, negate(expected)))):
                    return FALSE
        raise Inexpressible("an object with some member outside `patternProperties` cannot be enforced yet")

    def _wrong_other(self, certain: frozenset[str], context: Sequence[ObjectView], prove: Prove, prune: Prove) -> Bool:
        """Some key that is neither named nor matched has a member outside `additional`."""
        expected = self.shape.additional
        if expected is TRUE:
            return FALSE
        keys = _possible_keys(context)
        if keys is not None:
            return any_of(_wrong_member(key, expected, context, prune) for key in keys if not self._covered(key))
        for view in context:
            if self._covers_all_of(view) and prove(all_of((view.shape.additional, negate(expected)))):
                return FALSE
        if not self.shape.patterns and self._excludes_others(expected, context, prove):
            return self._some_other(certain, context)
        raise Inexpressible("an object with some member outside `additionalProperties` cannot be enforced yet")

    def _covers_all_of(self, view: ObjectView) -> bool:
        """Whether every key that `view` treats specially is special here too."""
        patterns = {language for language, _ in self.shape.patterns}
        return view.named.keys() <= self.named.keys() and all(one in patterns for one, _ in view.shape.patterns)

    def _excludes_others(self, expected: Bool, context: Sequence[ObjectView], prove: Prove) -> bool:
        """Whether no member that `context` lets stand under a key that is not named here satisfies `expected`."""
        if expected is FALSE:
            return True
        if any(view.shape.patterns for view in context):
            return False
        keys = dict.fromkeys(key for view in context for key in view.named if key not in self.named)
        if not all(prove(all_of((_members(context, key), expected))) for key in keys):
            return False
        return prove(all_of([expected, *(view.shape.additional for view in context)]))

    def _some_other(self, certain: frozenset[str], context: Sequence[ObjectView]) -> Bool:
        """Some key is not named: more members than named ones, for each choice of these."""
        # Objects that lack a required key are counted as wrong already, so that here it may be taken to be present.
        present = [key for key in self.named if key in certain or key in self.required]
        optional = [key for key in self.named if key not in present and _members(context, key) is not FALSE]
        if len(optional) > MAX_OPTIONAL_NAMES:
            raise Inexpressible("an object with some key that is not among `properties` cannot be enforced yet")
        ways = []
        for choice in product((False, True), repeat=len(optional)):
            kept = [key for key, keep in zip(optional, choice, strict=True) if keep]
            lost = tuple((key, FALSE) for key, keep in zip(optional, choice, strict=True) if not keep)
            required = tuple(present + kept)
            ways.append(leaf(ObjectShape(properties=lost, required=required, min_properties=len(required) + 1)))
        return any_of(ways)


def _members(views: Sequence[ObjectView], key: str) -> Bool:
    return views[0].member(key) if len(views) == 1 else all_of([view.member(key) for view in views])


def _possible_keys(views: Sequence[ObjectView]) -> tuple[str, ...] | None:
    """The keys that may occur at all, or None where they cannot be listed."""
    keys: dict[str, None] | None = None
    for view in views:
        if view.closed:
            found = view.named if keys is None else [key for key in keys if key in view.named]
            keys = dict.fromkeys(found)
    return None if keys is None else tuple(key for key in keys if _members(views, key) is not FALSE)


def _wrong_member(key: str, expected: Bool, context: Sequence[ObjectView], prune: Prove) -> Bool:
    wrong = all_of((_members(context, key), negate(expected)))
    if prune(wrong):
        return FALSE
    properties = () if wrong is TRUE else ((key, wrong),)
    return leaf(ObjectShape(properties=properties, required=(key,)))


View = ArrayView | ObjectView
