"""`allOf`, `anyOf`, `oneOf`, `not`, `if`, `$ref` beside other keywords, and the dependencies of objects.

What is asserted is combined first, in the order that decides the order of properties: the schema's own keywords, then
`allOf`, `$ref`, `anyOf`, dependencies. It is the context in which `oneOf`, `not` and `if` are then written positively.
What none of them evaluates is restricted last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from maskwright.grammars.boolean import FALSE, Bool, all_of, any_of, leaf
from maskwright.grammars.ir import ObjectShape, Value
from maskwright.grammars.schema_evaluated import restrict_unevaluated
from maskwright.grammars.schema_keywords import REFERENCE, is_negation

if TYPE_CHECKING:
    from maskwright.grammars.schema_document import Schema

__all__ = ["combined"]


def combined(schema: Schema, value: Value) -> Value:
    """`value`, what the other keywords of `schema` admit, restricted by the keywords that combine schemas."""
    narrowed = schema.document.algebra.all_of([value, *_asserted(schema)])
    for key, restrict in _NEGATING.items():
        contents = schema.get(key)
        if contents is not None:
            if schema.document.evaluates:
                schema.given = {**schema.given, key: narrowed}
            narrowed = restrict(schema, contents, narrowed)
    return restrict_unevaluated(schema, narrowed)


def _value_of(schema: Schema, contents: Any) -> Value:
    return schema.document.algebra.value_of(schema.child(contents))


def _asserted(schema: Schema) -> Iterator[Value]:
    for contents in schema.get("allOf", ()):
        yield _value_of(schema, contents)
    if schema.families & REFERENCE:
        yield schema.target_value()
    branches = schema.get("anyOf")
    if branches is not None:
        yield schema.document.algebra.any_of([_value_of(schema, contents) for contents in branches])
    objects = all_of(_dependencies(schema))
    if objects.kind != "true":
        yield replace(schema.document.algebra.anything, object=objects)


def _dependencies(schema: Schema) -> Iterator[Bool]:
    for keyword in ("dependencies", "dependentRequired", "dependentSchemas"):
        for key, needed in schema.get(keyword, {}).items():
            absent = leaf(ObjectShape(properties=((key, FALSE),)))
            if not isinstance(needed, list):
                yield any_of((absent, _value_of(schema, needed).object))
            elif needed:
                yield any_of((absent, leaf(ObjectShape(required=tuple(dict.fromkeys(needed))))))


# Each takes the schema, the keyword's value and what is asserted, and gives what is left of that.


def _one_of(schema: Schema, contents: Any, asserted: Value) -> Value:
    algebra = schema.document.algebra
    return algebra.all_of([asserted, algebra.one_of([_value_of(schema, branch) for branch in contents], asserted)])


def _not(schema: Schema, contents: Any, asserted: Value) -> Value:
    if is_negation(schema, contents):
        return schema.document.algebra.all_of([asserted, _value_of(schema, contents["not"])])
    return schema.document.algebra.minus(asserted, _value_of(schema, contents))


def _if(schema: Schema, contents: Any, asserted: Value) -> Value:
    then, otherwise = schema.get("then", True), schema.get("else", True)
    if then is True and otherwise is True:
        return asserted
    algebra, condition = schema.document.algebra, _value_of(schema, contents)
    if then is True:
        way = algebra.any_of([condition, _value_of(schema, otherwise)])
    else:
        fails, holds = algebra.minus(algebra.anything, condition, asserted), _value_of(schema, then)
        if otherwise is not True:
            holds = algebra.all_of([condition, holds])
            fails = algebra.all_of([fails, _value_of(schema, otherwise)])
        way = algebra.any_of([holds, fails])
    return algebra.all_of([asserted, way])


_NEGATING: Mapping[str, Callable[[Schema, Any, Value], Value]] = MappingProxyType(
    {"oneOf": _one_of, "not": _not, "if": _if},
)
