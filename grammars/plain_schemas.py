"""Schemas of objects whose loading can wait: seen at a glance to be well formed, enforceable, and satisfied by some object.

Most parameters of tools are of this kind. Loading a schema takes some fifty microseconds, and among two hundred tools a
text calls two. What is not plain is loaded at once, so that whatever is wrong with it is said at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["is_plain_object"]

_MAX_DEPTH = 8


def is_plain_object(schema: Any) -> bool:
    """Whether a schema is certainly one of objects and nothing else, and has nothing wrong. False: nobody knows."""
    return type(schema) is dict and schema.get("type") == "object" and _is_plain(schema, 0)


def _is_plain(schema: Any, depth: int) -> bool:
    if type(schema) is not dict or depth > _MAX_DEPTH:
        return False
    kind = schema.get("type")
    if type(kind) is not str or kind not in _KEYWORDS:
        return False
    checks = _KEYWORDS[kind]
    for keyword, value in schema.items():
        check = checks.get(keyword)
        if check is None or not check(value, depth):
            return False
    if kind == "object":
        properties = schema.get("properties", {})
        return all(key in properties for key in schema.get("required", ()))
    if kind == "string" and "enum" in schema:
        return "minLength" not in schema and "maxLength" not in schema
    return all(not (low in schema and high in schema and schema[low] > schema[high]) for low, high in _BOUNDS)


_BOUNDS = (("minimum", "maximum"), ("minItems", "maxItems"), ("minLength", "maxLength"))


def _is_text(value: Any, depth: int) -> bool:
    return type(value) is str


def _is_flag(value: Any, depth: int) -> bool:
    return type(value) is bool


def _is_anything(value: Any, depth: int) -> bool:
    return True


def _is_count(value: Any, depth: int) -> bool:
    return type(value) is int and 0 <= value < 1 << 20


def _is_number(value: Any, depth: int) -> bool:
    return type(value) is int and abs(value) < 1 << 53


def _are_texts(value: Any, depth: int) -> bool:
    return (
        type(value) is list
        and all(type(one) is str and one.isascii() for one in value)
        and len(set(value)) == len(value)
    )


def _are_choices(value: Any, depth: int) -> bool:
    return _are_texts(value, depth) and bool(value)


def _are_properties(value: Any, depth: int) -> bool:
    if type(value) is not dict:
        return False
    for key, schema in value.items():
        if type(key) is not str or not key.isascii() or not _is_plain(schema, depth + 1):
            return False
    return True


def _is_item(value: Any, depth: int) -> bool:
    return _is_plain(value, depth + 1)


_Checks = Mapping[str, Callable[[Any, int], bool]]

_ANNOTATIONS: _Checks = MappingProxyType(
    {"type": _is_text, "description": _is_text, "title": _is_text, "default": _is_anything}
)
_KEYWORDS: Mapping[str, _Checks] = MappingProxyType(
    {
        "object": {
            **_ANNOTATIONS,
            "properties": _are_properties,
            "required": _are_texts,
            "additionalProperties": _is_flag,
        },
        "array": {**_ANNOTATIONS, "items": _is_item, "minItems": _is_count, "maxItems": _is_count},
        "string": {**_ANNOTATIONS, "enum": _are_choices, "minLength": _is_count, "maxLength": _is_count},
        "integer": {**_ANNOTATIONS, "minimum": _is_number, "maximum": _is_number},
        "number": {**_ANNOTATIONS, "minimum": _is_number, "maximum": _is_number},
        "boolean": _ANNOTATIONS,
        "null": _ANNOTATIONS,
    }
)
