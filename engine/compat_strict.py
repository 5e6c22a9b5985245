"""XGrammar's `strict_mode`: objects and tuples have no members and items but those that their schemas speak of.

JSON Schema says it with `unevaluatedProperties: false` and `unevaluatedItems: false` where a value is described: at the root,
in `properties`, in `items`. What describes a value together with its neighbours (the members of `allOf`, what `$ref` names)
stays open, or every one of them would forbid what the others describe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["closed"]

_ONE = ("additionalProperties", "items", "contains", "unevaluatedProperties", "unevaluatedItems", "additionalItems")
_NAMED = ("properties", "patternProperties")
_TOGETHER = ("allOf", "anyOf", "oneOf")
_TOGETHER_NAMED = ("$defs", "definitions", "dependentSchemas")
_TOGETHER_ONE = ("if", "then", "else")


def closed(schema: Any) -> Any:
    """A copy of a schema that allows no members and items but those that it, and what it refers to, speaks of."""
    found = _opened(schema)
    if not isinstance(found, dict):
        return found
    spoken = any(key in found for key in (*_TOGETHER, "$ref"))
    if (spoken or any(key in found for key in _NAMED)) and not _says(found, "Properties") and _is(found, "object"):
        found["unevaluatedProperties"] = False
    if "prefixItems" in found and not _says(found, "Items") and "items" not in found:
        found["unevaluatedItems"] = False
    return found


def _says(schema: Mapping[str, Any], what: str) -> bool:
    return f"additional{what}" in schema or f"unevaluated{what}" in schema


def _is(schema: Mapping[str, Any], kind: str) -> bool:
    types = schema.get("type", kind)
    return kind in ([types] if isinstance(types, str) else types)


def _opened(schema: Any) -> Any:
    """A copy whose values are closed, but not it itself."""
    if not isinstance(schema, Mapping):
        return schema
    found = dict(schema)
    for key in _ONE:
        if isinstance(found.get(key), Mapping):
            found[key] = closed(found[key])
    for key in _NAMED:
        if isinstance(found.get(key), Mapping):
            found[key] = {name: closed(one) for name, one in found[key].items()}
    for key in ("prefixItems", "items"):
        if isinstance(found.get(key), list):
            found[key] = [closed(one) for one in found[key]]
    for key in _TOGETHER:
        if isinstance(found.get(key), list):
            found[key] = [_opened(one) for one in found[key]]
    for key in _TOGETHER_NAMED:
        if isinstance(found.get(key), Mapping):
            found[key] = {name: _opened(one) for name, one in found[key].items()}
    for key in _TOGETHER_ONE:
        if key in found:
            found[key] = _opened(found[key])
    return found
