"""`unevaluatedItems` and `unevaluatedProperties` for validators of the jsonschema library, as the specifications have them.

The library's own, that of 2019-09 above all, takes what `contains` finds for evaluated where no draft says so, and knows only
the names in `properties` of `additionalProperties` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import ValidationError
from referencing.jsonschema import lookup_recursive_ref

__all__ = ["KEYWORDS"]

Schema = Any


def _rest(validator: Any, below: Schema, instance: Any, schema: Schema) -> Iterator[ValidationError]:
    """The errors of what nothing beside the keyword evaluates."""
    if isinstance(instance, dict):
        parts, own = instance, "unevaluatedProperties"
    else:
        parts, own = dict(enumerate(instance)), "unevaluatedItems"
    beside = {key: value for key, value in schema.items() if key != own}
    known = _evaluated(validator, instance, beside)
    for place, part in parts.items():
        if place not in known:
            yield from validator.descend(part, below, path=place)


def _items(validator: Any, below: Schema, instance: Any, schema: Schema) -> Iterator[ValidationError]:
    if isinstance(instance, list):
        yield from _rest(validator, below, instance, schema)


def _properties(validator: Any, below: Schema, instance: Any, schema: Schema) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        yield from _rest(validator, below, instance, schema)


KEYWORDS = {"unevaluatedItems": _items, "unevaluatedProperties": _properties}


def _evaluated(validator: Any, instance: Any, schema: Schema) -> set[Any]:
    """The keys or indices that a schema, which holds, evaluates."""
    if not isinstance(schema, dict):
        return set()
    found = _of_members(instance, schema) if isinstance(instance, dict) else _of_items(validator, instance, schema)
    for part in _in_place(validator, instance, schema):
        found |= _evaluated(validator, instance, part)
    for resolved in _references(validator, schema):
        target = validator.evolve(schema=resolved.contents, _resolver=resolved.resolver)
        found |= _evaluated(target, instance, resolved.contents)
    return found


def _of_members(instance: dict[str, Any], schema: dict[str, Any]) -> set[Any]:
    if schema.keys() & {"additionalProperties", "unevaluatedProperties"}:
        return set(instance)
    patterns = schema.get("patternProperties", {})
    named = schema.get("properties", {})
    return {key for key in instance if key in named or any(re.search(pattern, key) for pattern in patterns)}


def _of_items(validator: Any, instance: list[Any], schema: dict[str, Any]) -> set[Any]:
    latest = "2020" in validator.META_SCHEMA["$schema"]
    first = schema.get("prefixItems" if latest else "items", [])
    if not isinstance(first, list):  # `items` of 2019-09, for all
        return set(range(len(instance)))
    others = "items" if latest else "additionalItems"
    if "unevaluatedItems" in schema or others in schema and (latest or "items" in schema):
        return set(range(len(instance)))
    found = set(range(len(first)))
    if latest and "contains" in schema:
        counted = validator.evolve(schema=schema["contains"])
        found |= {index for index, item in enumerate(instance) if counted.is_valid(item)}
    return found


def _in_place(validator: Any, instance: Any, schema: dict[str, Any]) -> Iterator[Schema]:
    """The subschemas that speak of the same instance, and hold."""
    for key in ("allOf", "anyOf", "oneOf"):
        yield from (part for part in schema.get(key, ()) if validator.evolve(schema=part).is_valid(instance))
    if "if" in schema:
        holds = validator.evolve(schema=schema["if"]).is_valid(instance)
        yield from [schema["if"], schema.get("then", True)] if holds else [schema.get("else", True)]
    if isinstance(instance, dict):
        yield from (part for key, part in schema.get("dependentSchemas", {}).items() if key in instance)


def _references(validator: Any, schema: dict[str, Any]) -> Iterator[Any]:
    resolver = validator._resolver  # what the library's own keywords ask
    for key in ("$ref", "$dynamicRef"):
        if key in schema:
            yield resolver.lookup(schema[key])
    if "$recursiveRef" in schema:
        yield lookup_recursive_ref(resolver)
