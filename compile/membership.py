"""Whether one value is among those of an expression: for a few values that a text has had, where no automaton is at hand.

Values are given by their identity (grammars/schema_constants.py).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from decimal import Decimal
from typing import Any

from maskwright.grammars import boolean, ir
from maskwright.grammars.boolean import Bool
from maskwright.grammars.ir import ArrayShape, Count, ObjectShape
from maskwright.grammars.regular import matches
from maskwright.grammars.shapes import ArrayView, ObjectView

__all__ = ["admits"]

_LITERALS = {None: ir.NULL_LITERAL, False: ir.FALSE_LITERAL, True: ir.TRUE_LITERAL}
_ValueOf = Callable[[Bool], ir.Value]


def admits(value_of: _ValueOf, expression: Bool, identity: Hashable) -> bool:
    """Whether a value satisfies a child expression, where `value_of` says what such expressions admit."""
    value = value_of(expression)
    if isinstance(identity, str):
        return matches(value.string, identity)
    if isinstance(identity, int | Decimal):
        return matches(value.number, _plain(Decimal(identity)))
    assert isinstance(identity, tuple)
    if len(identity) == 1:
        return bool(value.literals & _LITERALS[identity[0]])
    kind, members = identity
    if kind == "array":
        return boolean.evaluate(value.array, lambda shape: _is_array(value_of, shape, members))
    return boolean.evaluate(value.object, lambda shape: _is_object(value_of, shape, dict(members)))


def _plain(number: Decimal) -> str:
    """The text that every language with the number has: no exponent, no needless zero."""
    text = format(number, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) if number else "0"


def _is_array(value_of: _ValueOf, shape: ArrayShape, items: tuple[Hashable, ...]) -> bool:
    if len(items) < shape.min_items or (shape.max_items is not None and len(items) > shape.max_items):
        return False
    differ = len(set(items)) == len(items)
    if (shape.unique and not differ) or (shape.repeating and differ):
        return False
    view = ArrayView(shape)
    if not all(admits(value_of, view.item(index), item) for index, item in enumerate(items)):
        return False
    return _meets(value_of, shape.counted, items[len(shape.prefix) :])


def _is_object(value_of: _ValueOf, shape: ObjectShape, members: dict[str, Hashable]) -> bool:
    view = ObjectView(shape)
    highest = len(members) if shape.max_properties is None else shape.max_properties
    if not shape.min_properties <= len(members) <= highest or not view.required <= members.keys():
        return False
    if not all(admits(value_of, view.member(key), item) for key, item in members.items()):
        return False
    return _meets(value_of, shape.counted, [item for key, item in members.items() if not view.covers(key)])


def _meets(value_of: _ValueOf, count: Count | None, children: Iterable[Any]) -> bool:
    if count is None:
        return True
    found = sum(admits(value_of, count.child, child) for child in children)
    return count.least <= found and (count.most is None or found <= count.most)
