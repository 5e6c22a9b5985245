"""Schemas of objects whose loading can wait: seen at a glance to be well formed, enforceable, and satisfied by some object.

Most parameters of tools are of this kind. Loading a schema takes some fifty microseconds, and among two hundred tools a
text calls two; a glance takes three. What is not plain is loaded at once, so that whatever is wrong is said at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["is_plain_object"]

_MAX_DEPTH = 8
_MAX_COUNT = 1 << 20
_MAX_NUMBER = 1 << 53


def is_plain_object(schema: Any) -> bool:
    """Whether a schema is certainly one of objects and nothing else, and has nothing wrong. False: nobody knows."""
    try:
        return type(schema) is dict and schema.get("type") == "object" and _is_plain(schema, 0)
    except TypeError:  # something else than a string where the names of properties or choices are
        return False


def _is_plain(schema: Any, depth: int) -> bool:
    if type(schema) is not dict or depth > _MAX_DEPTH:
        return False
    kind, rest = schema.get("type"), len(schema)
    if rest == 1 and type(kind) is str:
        return kind in _KINDS
    if "description" in schema:
        if type(schema["description"]) is not str:
            return False
        rest -= 1
    if "title" in schema:
        if type(schema["title"]) is not str:
            return False
        rest -= 1
    if type(kind) is not str:
        return not rest or _is_plain_without_type(schema, kind, depth)
    check = _KINDS.get(kind)
    return check is not None and (rest == 1 or check(schema, depth))


def _is_plain_without_type(schema: dict[str, Any], kinds: Any, depth: int) -> bool:
    """Whether a schema of several types, any of some schemas, or some strings is plain.

    Nothing but annotations stands beside: then each of them has values.
    """
    if kinds is not None:
        return (
            type(kinds) is list
            and bool(kinds)
            and len(_KINDS.keys() & kinds) == len(kinds)
            and schema.keys() <= _ANNOTATIONS
        )
    if "anyOf" in schema:
        branches = schema["anyOf"]
        if type(branches) is not list or not branches or not schema.keys() <= _ANY_OF:
            return False
        return all(_is_plain(branch, depth + 1) for branch in branches)
    return schema.keys() <= _ENUM and ("enum" not in schema or _are_texts(schema["enum"]))


def _is_plain_mapping(schema: dict[str, Any], depth: int) -> bool:
    properties, additional = schema.get("properties", _NOTHING), schema.get("additionalProperties", True)
    if type(properties) is not dict or not "".join(properties).isascii() or not schema.keys() <= _OBJECT:
        return False
    depth += 1
    for one in properties.values():
        if not _is_plain(one, depth):
            return False
    required = schema.get("required", _NO_NAMES)
    if not (
        type(required) is list and len(properties.keys() & required) == len(required)  # strings, no two the same
    ):
        return False
    return type(additional) is bool or _is_plain(additional, depth)


def _is_plain_array(schema: dict[str, Any], depth: int) -> bool:
    low = schema.get("minItems", 0)
    high = schema.get("maxItems", _MAX_COUNT)
    return (
        schema.keys() <= _ARRAY
        and type(low) is int
        and type(high) is int
        and 0 <= low <= high <= _MAX_COUNT
        and ("items" not in schema or _is_plain(schema["items"], depth + 1))
    )


def _is_plain_string(schema: dict[str, Any], depth: int) -> bool:
    if "enum" in schema:
        return schema.keys() <= _ENUM and _are_texts(schema["enum"])
    if "format" in schema:
        name = schema["format"]
        return type(name) is str and name in _FORMATS and schema.keys() <= _FORMAT
    low, high = schema.get("minLength", 0), schema.get("maxLength", _MAX_COUNT)
    return schema.keys() <= _STRING and type(low) is int and type(high) is int and 0 <= low <= high <= _MAX_COUNT


def _is_plain_number(schema: dict[str, Any], depth: int) -> bool:
    low, high = schema.get("minimum", -_MAX_NUMBER), schema.get("maximum", _MAX_NUMBER)
    return (
        schema.keys() <= _NUMBER
        and type(low) is int
        and type(high) is int
        and -_MAX_NUMBER <= low <= high <= _MAX_NUMBER
    )


def _is_plain_annotation(schema: dict[str, Any], depth: int) -> bool:
    return schema.keys() <= _ANNOTATIONS


def _are_texts(value: Any) -> bool:
    return type(value) is list and bool(value) and "".join(value).isascii() and len(set(value)) == len(value)


_NOTHING: dict[str, Any] = {}
_NO_NAMES: list[Any] = []
_FORMATS = frozenset(("date", "date-time", "time", "email", "uri", "uuid"))
_ANNOTATIONS = frozenset(("type", "description", "title", "default"))
_OBJECT = _ANNOTATIONS | {"properties", "required", "additionalProperties"}
_ARRAY = _ANNOTATIONS | {"items", "minItems", "maxItems"}
_STRING = _ANNOTATIONS | {"minLength", "maxLength"}
_ENUM = _ANNOTATIONS | {"enum"}
_ANY_OF = _ANNOTATIONS | {"anyOf"}
_FORMAT = _ANNOTATIONS | {"format"}
_NUMBER = _ANNOTATIONS | {"minimum", "maximum"}
# By the type, whether other keywords than the type and texts are plain.
_KINDS: dict[str, Callable[[dict[str, Any], int], bool]] = {
    "object": _is_plain_mapping,
    "array": _is_plain_array,
    "string": _is_plain_string,
    "integer": _is_plain_number,
    "number": _is_plain_number,
    "boolean": _is_plain_annotation,
    "null": _is_plain_annotation,
}
