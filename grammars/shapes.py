"""Reasoning about array and object shapes: what the opposite of one is, and when several exclude each other.

The automaton recognises conjunctions and disjunctions of shapes, but no negated shape. A negation is therefore written
positively, one way for each thing that a shape asks for:

    not {required: [a, b]}      a is forbidden, or b is
    not {properties: {a: S}}    a is required, with not S
    not {both of a}             a is not S, where it is there at all
    not {items: S}              at least one item is not S
    not {additional: S}         at least one of the other members is not S
    not {at least 2 are S}      at most one is
    not {all are different}     two are equal

A context, further shapes that are known to hold of the same container, makes the result smaller: what cannot fail is
left out, and what must fail is not looked for. `ArrayView` and `ObjectView` answer both questions (`conflict`,
`negation`) about one shape among others. Neither sees inside child expressions: `Prove` is asked whether one is certainly
empty, and "no" may mean "not within the budget". Nothing here depends on a proof for being right. A negation may be told
to ask `prune` of each of its ways, so that those that lead nowhere are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from maskwright.grammars.boolean import FALSE, TRUE, Bool, all_of, any_of, leaf, negate
from maskwright.grammars.ir import ArrayShape, Count, ObjectShape
from maskwright.grammars.regular import ANY_STRING, Regex, complement, matches

__all__ = ["ArrayView", "ObjectView", "Prove", "View", "items_counted", "members_counted"]

Prove = Callable[[Bool], bool]
"""Whether no value at all satisfies a child expression; False where that cannot be shown cheaply."""


def items_counted(start: int, child: Bool, least: int, most: int | None) -> Bool:
    """The arrays with `least` to `most` items (None: or more) from index `start` on that satisfy `child`."""
    prefix = (TRUE,) * start
    if (most is not None and most < least) or (child is FALSE and least):
        return FALSE
    if child is FALSE or (not least and most is None):
        return TRUE
    if child is TRUE:
        return leaf(ArrayShape((), TRUE, start + least if least else 0, None if most is None else start + most))
    if most == 0:
        return leaf(ArrayShape(prefix, negate(child)))
    return leaf(ArrayShape(prefix, counted=Count(child, least, most)))


def members_counted(shape: ObjectShape, child: Bool, least: int, most: int | None) -> Bool:
    """The objects with `least` to `most` members (None: or more) that satisfy `child`, beside those that `shape` names or
    matches."""
    if (most is not None and most < least) or (child is FALSE and least):
        return FALSE
    if child is FALSE or (not least and most is None):
        return TRUE
    properties = tuple((key, TRUE) for key, _ in shape.properties)
    patterns = tuple((language, TRUE) for language, _ in shape.patterns)
    if most == 0:
        return leaf(ObjectShape(properties, patterns, negate(child)))
    if child is TRUE and not properties and not patterns:
        return leaf(ObjectShape(min_properties=least, max_properties=most))
    return leaf(ObjectShape(properties, patterns, counted=Count(child, least, most)))


class ArrayView:
    """An ArrayShape among others that hold of the same array."""

    __slots__ = ("high", "low", "shape")

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        counted = shape.counted.least if shape.counted is not None else 0
        self.low = max(shape.min_items, len(shape.prefix) + counted if counted else 0)
        closed_at = next((i for i, item in enumerate(shape.prefix) if item is FALSE), math.inf)
        if shape.rest is FALSE:
            closed_at = min(closed_at, len(shape.prefix))
        self.high = min(closed_at, math.inf if shape.max_items is None else shape.max_items)

    def item(self, index: int) -> Bool:
        """What the item at `index` must satisfy."""
        return self.shape.prefix[index] if index < len(self.shape.prefix) else self.shape.rest

    @staticmethod
    def conflict(views: Sequence[ArrayView], prove: Prove) -> bool:
        """Whether certainly no array satisfies all of `views`."""
        low, high = _array_bounds(views)
        if low > high or (any(view.shape.repeating for view in views) and any(view.shape.unique for view in views)):
            return True
        unlike = _prefix_length(views) + 1
        if any(prove(_items(views, index)) for index in range(int(min(low, unlike)))):
            return True
        for view in views:
            counted = view.shape.counted
            if counted is not None and counted.least:
                places = range(len(view.shape.prefix), int(min(high, unlike)))
                if all(prove(all_of((_items(views, index), counted.child))) for index in places):
                    return True
        return False

    def negation(self, context: Sequence[ArrayView], prove: Prove, prune: Prove) -> Bool:
        """An expression over shapes for "not this one", right for every array that satisfies `context`."""
        low, high = _array_bounds(context)
        shape, ways = self.shape, list[Bool]()
        if shape.unique and high > 1 and not any(view.shape.unique for view in context):
            ways.append(leaf(ArrayShape(min_items=2, repeating=True)))
        if shape.repeating and not any(view.shape.repeating for view in context):
            ways.append(leaf(ArrayShape(unique=True)))
        for index, expected in enumerate(shape.prefix):
            if index < high:
                ways.append(_wrong_item(index, expected, context, prune))
        ways.append(self._wrong_later_item(context, low, high, prove))
        if shape.min_items > low:
            ways.append(leaf(ArrayShape(max_items=shape.min_items - 1)))
        if shape.max_items is not None and shape.max_items < high:
            ways.append(_at_least(shape.max_items + 1, low))
        if shape.counted is not None:
            start, child, most = len(shape.prefix), shape.counted.child, shape.counted.most
            if shape.counted.least:
                ways.append(items_counted(start, child, 0, shape.counted.least - 1))
            if most is not None and high - start > most:
                ways.append(items_counted(start, child, most + 1, None))
        return any_of(ways)

    def _wrong_later_item(self, context: Sequence[ArrayView], low: float, high: float, prove: Prove) -> Bool:
        start, expected = len(self.shape.prefix), self.shape.rest
        if expected is TRUE or high <= start:
            return FALSE
        # From the last prefix of the context on, every index is like the next.
        unlike = range(start, int(min(high, max(start, _prefix_length(context)) + 1)))
        if all(prove(all_of((_items(context, index), expected))) for index in unlike):
            return _at_least(start + 1, low)
        if all(prove(all_of((_items(context, index), negate(expected)))) for index in unlike):
            return FALSE
        return items_counted(start, negate(expected), 1, None)


def _array_bounds(views: Iterable[ArrayView]) -> tuple[float, float]:
    low, high = 0, math.inf
    for view in views:
        low, high = max(low, view.low), min(high, view.high)
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

    @property
    def closed(self) -> bool:
        """Whether only named keys may occur."""
        shape = self.shape
        return shape.additional is FALSE and all(expression is FALSE for _, expression in shape.patterns)

    @property
    def least(self) -> int:
        """A number of members that there are at least."""
        counted = self.shape.counted
        return max(self.shape.min_properties, len(self.required), 0 if counted is None else counted.least)

    @staticmethod
    def conflict(views: Sequence[ObjectView], prove: Prove) -> bool:
        """Whether certainly no object satisfies all of `views`."""
        required = dict.fromkeys(chain.from_iterable(view.shape.required for view in views))
        least = max(view.least for view in views)
        highs = [view.shape.max_properties for view in views if view.shape.max_properties is not None]
        if highs and max(least, len(required)) > min(highs):
            return True
        if least > len(required):
            keys = _possible_keys(views)
            if keys is not None and least > len(keys):
                return True
        # Keys that several views speak of by name come first: a discriminator is one of them.
        often = sorted(required, key=lambda key: -sum(key in view.named for view in views))
        if any(prove(_members(views, key)) for key in often):
            return True
        return any(view._lacks_counted(views, prove) for view in views)

    def _lacks_counted(self, views: Sequence[ObjectView], prove: Prove) -> bool:
        """Whether certainly no member of the objects of `views` is one that this shape needs and counts."""
        counted = self.shape.counted
        return counted is not None and counted.least > 0 and self._no_other(counted.child, views, prove)

    def negation(self, context: Sequence[ObjectView], prove: Prove, prune: Prove) -> Bool:
        """An expression over shapes for "not this one", right for every object that satisfies `context`."""
        shape, ways = self.shape, list[Bool]()
        certain = frozenset(chain.from_iterable(view.required for view in context))
        for key in shape.required:
            if _members(context, key) is FALSE:
                return TRUE
            if key not in self.named and key not in certain:
                ways.append(leaf(ObjectShape(properties=((key, FALSE),))))
        for key, expected in shape.properties:
            # A required key is absent or wrong, which is one shape and not two.
            may_lack = key in self.required and key not in certain
            ways.append(_wrong_member(key, expected, context, prune, may_lack))
        if shape.names is not ANY_STRING and not any(view.shape.names == shape.names for view in context):
            ways.append(_some_match(complement(shape.names), TRUE, context, prove, prune))
        for language, expected in shape.patterns:
            if not any((language, expected) in view.shape.patterns for view in context):
                ways.append(_some_match(language, negate(expected), context, prove, prune))
        ways.append(self._some_other(negate(shape.additional), context, prove, prune))
        if shape.min_properties > max([len(certain), *(view.least for view in context)]):
            ways.append(leaf(ObjectShape(max_properties=shape.min_properties - 1)))
        if shape.max_properties is not None:
            ways.append(leaf(ObjectShape(min_properties=shape.max_properties + 1)))
        if shape.counted is not None:
            child, least, most = shape.counted.child, shape.counted.least, shape.counted.most
            if least:
                ways.append(members_counted(shape, child, 0, least - 1))
            if most is not None:
                ways.append(members_counted(shape, child, most + 1, None))
        return any_of(ways)

    def covers(self, key: str) -> bool:
        """Whether `additional` does not speak of `key`."""
        return key in self.named or any(matches(language, key) for language, _ in self.shape.patterns)

    def _some_other(self, child: Bool, context: Sequence[ObjectView], prove: Prove, prune: Prove) -> Bool:
        """Some member that `additional` speaks of satisfies `child`."""
        if child is FALSE:
            return FALSE
        keys = _possible_keys(context)
        if keys is not None:
            found = [key for key in keys if not self.covers(key)]
            return any_of(_wrong_member(key, negate(child), context, prune) for key in found)
        if self._no_other(child, context, prove):
            return FALSE
        return members_counted(self.shape, child, 1, None)

    def _no_other(self, child: Bool, context: Sequence[ObjectView], prove: Prove) -> bool:
        """Whether certainly no member that `additional` speaks of satisfies `child`."""
        keys = _possible_keys(context)
        if keys is not None:
            return all(prove(all_of((_members(context, key), child))) for key in keys if not self.covers(key))
        # Of views that treat no more keys apart than this one does, `additional` speaks of the same members.
        known = [view.shape.additional for view in context if self._is_finer(view)]
        return bool(known) and prove(all_of((*known, child)))

    def _is_finer(self, view: ObjectView) -> bool:
        """Whether every key that `view` treats specially is special here too."""
        patterns = {language for language, _ in self.shape.patterns}
        return view.named.keys() <= self.named.keys() and all(one in patterns for one, _ in view.shape.patterns)


def _some_match(language: Regex, child: Bool, context: Sequence[ObjectView], prove: Prove, prune: Prove) -> Bool:
    """Some member with a key in `language` satisfies `child`."""
    # They are the members that `additional` speaks of where a pattern takes all others away.
    return ObjectView(ObjectShape(patterns=((complement(language), TRUE),)))._some_other(child, context, prove, prune)


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


def _wrong_member(
    key: str, expected: Bool, context: Sequence[ObjectView], prune: Prove, may_lack: bool = False
) -> Bool:
    """The member `key` does not satisfy `expected`, or (`may_lack`) there is none."""
    known = _members(context, key) if context else TRUE
    wrong = all_of((known, negate(expected)))
    if prune(wrong):
        return leaf(ObjectShape(properties=((key, FALSE),))) if may_lack else FALSE
    if known is not TRUE and prune(all_of((known, expected))):
        wrong = TRUE  # whatever it is
    if may_lack:
        return TRUE if wrong is TRUE else leaf(ObjectShape(properties=((key, wrong),)))
    return leaf(ObjectShape(properties=() if wrong is TRUE else ((key, wrong),), required=(key,)))


View = ArrayView | ObjectView
