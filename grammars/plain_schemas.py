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
    if type(kind) is list:
        # Nothing but annotations beside several types: then each of them has values.
        return _are_kinds(kind) and all(keyword in _ANNOTATIONS for keyword in schema)
    if kind is None:
        one = "anyOf" if "anyOf" in schema else "enum"
        return (
            one in schema
            and all(keyword == one or keyword in _ANNOTATIONS for keyword in schema)
            and (_are_branches if one == "anyOf" else _are_choices)(schema[one], depth)
        )
    checks = _KEYWORDS.get(kind) if type(kind) is str else None
    if checks is None:
        return False
    if len(schema) == 1:
        return True
    for keyword, value in schema.items():
        if keyword == "type":
            continue
        check = checks.get(keyword)
        if check is None or not check(value, depth):
            return False
    if kind == "object":
        return schema.get("properties", {}).keys() >= set(schema.get("required", ()))
    if kind == "string" and ("enum" in schema or "format" in schema):
        return len({"enum", "format", "minLength", "maxLength"}.intersection(schema)) == 1
    low, high = _BOUNDS.get(kind, ("", ""))
    return not (low in schema and high in schema and schema[low] > schema[high])


def _are_kinds(kinds: list[Any]) -> bool:
    return bool(kinds) and all(type(one) is str and one in _KEYWORDS for one in kinds) and len(set(kinds)) == len(kinds)


def _are_branches(value: Any, depth: int) -> bool:
    return type(value) is list and bool(value) and all(_is_plain(branch, depth + 1) for branch in value)


_BOUNDS = MappingProxyType(
    {
        "integer": ("minimum", "maximum"),
        "number": ("minimum", "maximum"),
        "array": ("minItems", "maxItems"),
        "string": ("minLength", "maxLength"),
    }
)


def _is_text(value: Any, depth: int) -> bool:
    return type(value) is str


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


def _is_common_format(value: Any, depth: int) -> bool:
    return type(value) is str and value in _FORMATS


def _is_additional(value: Any, depth: int) -> bool:
    return type(value) is bool or _is_plain(value, depth + 1)


def _is_item(value: Any, depth: int) -> bool:
    return _is_plain(value, depth + 1)


_FORMATS = frozenset(("date", "date-time", "time", "email", "uri", "uuid"))
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
            "additionalProperties": _is_additional,
        },
        "array": {**_ANNOTATIONS, "items": _is_item, "minItems": _is_count, "maxItems": _is_count},
        "string": {
            **_ANNOTATIONS,
            "enum": _are_choices,
            "format": _is_common_format,
            "minLength": _is_count,
            "maxLength": _is_count,
        },
        "integer": {**_ANNOTATIONS, "minimum": _is_number, "maximum": _is_number},
        "number": {**_ANNOTATIONS, "minimum": _is_number, "maximum": _is_number},
        "boolean": _ANNOTATIONS,
        "null": _ANNOTATIONS,
    }
)
