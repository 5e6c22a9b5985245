"""Whether a JSON instance is in a Value of the IR, by definition: no automaton, no laziness, nothing shared with them.

    evaluate(value, instance, expand)    expand: expression over Schema leaves -> Value, such as LoadedSchema.value_of

Numbers are judged by their canonical text, strings by their contents.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

from maskwright.grammars import boolean, ir
from maskwright.grammars.boolean import Bool
from maskwright.grammars.regular import matches

Expand = Callable[[Bool], ir.Value]


def satisfies(expression: Bool, instance: Any, expand: Expand) -> bool:
    """Whether `instance` satisfies an expression over Schema leaves, judged leaf by leaf."""
    return boolean.evaluate(expression, lambda schema: evaluate(schema.expand(), instance, expand))


def evaluate(value: ir.Value, instance: Any, expand: Expand) -> bool:
    """Whether `instance` is in `value`."""
    if instance is None:
        return bool(value.literals & ir.NULL_LITERAL)
    if isinstance(instance, bool):
        return bool(value.literals & (ir.TRUE_LITERAL if instance else ir.FALSE_LITERAL))
    if isinstance(instance, int | float):
        return matches(value.number, json.dumps(instance))
    if isinstance(instance, str):
        return matches(value.string, instance)
    if isinstance(instance, list):
        return boolean.evaluate(value.array, lambda shape: _array(shape, instance, expand))
    return boolean.evaluate(value.object, lambda shape: _object(shape, instance, expand))


def _array(shape: ir.ArrayShape, instance: list[Any], expand: Expand) -> bool:
    if len(instance) < shape.min_items or (shape.max_items is not None and len(instance) > shape.max_items):
        return False
    if shape.unique or shape.repeating:
        repeats = any(_equal(one, other) for one, other in itertools.combinations(instance, 2))
        if (shape.unique and repeats) or (shape.repeating and not repeats):
            return False
    return _counted(shape.counted, instance[len(shape.prefix) :], expand) and all(
        _child(shape.prefix[index] if index < len(shape.prefix) else shape.rest, item, expand)
        for index, item in enumerate(instance)
    )


def _equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return bool(one == other)


def _object(shape: ir.ObjectShape, instance: dict[str, Any], expand: Expand) -> bool:
    if len(instance) < shape.min_properties or (
        shape.max_properties is not None and len(instance) > shape.max_properties
    ):
        return False
    if not all(key in instance for key in shape.required):
        return False
    named, others = dict(shape.properties), []
    for key, item in instance.items():
        speaking = [expression for language, expression in shape.patterns if matches(language, key)]
        if key in named:
            speaking.append(named[key])
        if not speaking:
            others.append(item)
        if not matches(shape.names, key):
            return False
        if not all(_child(expression, item, expand) for expression in speaking or [shape.additional]):
            return False
    return _counted(shape.counted, others, expand)


def _counted(count: ir.Count | None, children: list[Any], expand: Expand) -> bool:
    if count is None:
        return True
    found = sum(_child(count.child, child, expand) for child in children)
    return count.least <= found and (count.most is None or found <= count.most)


def _child(expression: Bool, item: Any, expand: Expand) -> bool:
    if expression.kind in ("true", "false"):
        return expression.kind == "true"
    # Both ways to the same answer: what the automaton is built from, and the definition.
    answer = evaluate(expand(expression), item, expand)
    if expression.kind != "leaf":
        assert answer == satisfies(expression, item, expand), f"{expression} of {item!r}"
    return answer
