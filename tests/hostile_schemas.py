"""Schemas made to cost time or memory, or to lead to no value: the large ones, by name. The small ones are data.

A generator gives a schema, or the JSON text of one where Python's own limits would be in the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["GENERATORS"]

Made = dict[str, Any] | str


def _nested(keyword: str, depth: int, inner: str = "true") -> str:
    return f'{{"{keyword}":' * depth + inner + "}" * depth


def _nested_lists(keyword: str, depth: int) -> str:
    return f'{{"{keyword}":[' * depth + "{}" + "]}" * depth


def _web(count: int, refer: Callable[[int], Any]) -> Made:
    """Definitions that refer to each other; `refer` makes number n from references."""
    return {"$ref": "#/$defs/n0", "$defs": {f"n{number}": refer(number) for number in range(count)}}


def _ref(number: int, count: int) -> dict[str, str]:
    return {"$ref": f"#/$defs/n{number % count}"}


def _one_of_objects(count: int) -> Made:
    return {"type": "object", "oneOf": [{"properties": {f"k{n}": {"type": "integer"}}} for n in range(count)]}


def _dependents(count: int) -> Made:
    web = {f"k{n}": {"required": [f"k{(n * 7 + 1) % count}"], "dependentSchemas": {f"k{n + 1}": {"maxProperties": n + 1}}}
           for n in range(count)}  # fmt: skip
    return {"type": "object", "dependentSchemas": web}


GENERATORS: dict[str, Callable[[], Made]] = {
    "a million properties": lambda: {"type": "object", "properties": {f"p{n}": {} for n in range(1_000_000)}},
    "a hundred thousand required properties": lambda: {
        "type": "object", "required": [f"p{n}" for n in range(100_000)], "additionalProperties": {"type": "integer"},
    },
    "an enum of 300,000 words": lambda: {"enum": [f"word {n}" for n in range(300_000)]},
    "an enum of 20,000 objects": lambda: {"enum": [{"a": n, "b": [n, str(n)]} for n in range(20_000)]},
    "an enum of 50,000 numbers": lambda: {"enum": [n * 7919 + 0.5 for n in range(50_000)]},
    "unique items among 5,000 constants": lambda: {
        "type": "array", "uniqueItems": True, "items": {"enum": [f"c{n}" for n in range(5_000)]}, "minItems": 3,
    },
    "all of 3,000 constants": lambda: {
        "type": "array", "uniqueItems": True, "items": {"enum": [f"c{n}" for n in range(3_000)]}, "minItems": 3_000,
    },
    "one more than 3,000 constants": lambda: {
        "type": "array", "uniqueItems": True, "items": {"enum": [f"c{n}" for n in range(3_000)]}, "minItems": 3_001,
    },
    "not, 10,000 deep": lambda: _nested("not", 10_000),
    "not, 100,000 deep": lambda: _nested("not", 100_000),
    "items, 900 deep": lambda: _nested("items", 900),
    "items, 100,000 deep": lambda: _nested("items", 100_000),
    "allOf, 10,000 deep": lambda: _nested_lists("allOf", 10_000),
    "oneOf, 150 deep": lambda: _nested_lists("oneOf", 150),
    "anyOf, 90 deep": lambda: _nested_lists("anyOf", 90),
    "a constant 10,000 deep": lambda: '{"const":' + "[" * 10_000 + "]" * 10_000 + "}",
    "a constant 190 deep": lambda: '{"const":' + "[" * 190 + "]" * 190 + "}",
    "a number of 10,000 digits": lambda: '{"minimum":' + "9" * 10_000 + "}",
    "a chain of 5,000 references": lambda: _web(5_000, lambda n: _ref(n + 1, 5_001) if n < 4_999 else {"type": "null"}),
    "a circle of 1,000 references": lambda: _web(1_000, lambda n: _ref(n + 1, 1_000)),
    "a circle of 300 required members": lambda: _web(
        300, lambda n: {"type": "object", "properties": {"a": _ref(n + 1, 300)}, "required": ["a"]}
    ),
    "a web of 300 recursive unions": lambda: _web(
        300, lambda n: {"anyOf": [{"type": "array", "items": _ref(n * 7 + k, 300)} for k in range(1, 6)] + [{"type": "null"}]}
    ),
    "a web of 60 negations": lambda: _web(
        60, lambda n: {"type": "object", "properties": {"a": {"not": _ref(n + 1, 60)}, "b": {"not": _ref(n + 2, 60)}}}
    ),
    "references doubled 60 times": lambda: _web(
        60, lambda n: {"allOf": [_ref(n + 1, 61), _ref(n + 1, 61)]} if n < 59 else {"type": "integer"}
    ),
    "oneOf of 40 objects that overlap": lambda: _one_of_objects(40),
    "oneOf of 400 objects that overlap": lambda: _one_of_objects(400),
    "anyOf of 2,000 patterns": lambda: {"anyOf": [{"type": "string", "pattern": f"^{n}.*{n}$"} for n in range(2_000)]},
    "allOf of 40 patterns": lambda: {"type": "string", "allOf": [{"pattern": f"a.{{{n}}}b"} for n in range(1, 41)]},
    "60 patterns of keys that overlap": lambda: {
        "type": "object", "patternProperties": {f"{chr(97 + n % 26)}.*{n}": {"minimum": n} for n in range(60)},
    },
    "dependentSchemas of 30 keys": lambda: _dependents(30),
    "dependentSchemas of 300 keys": lambda: _dependents(300),
    "dependentRequired, everything of everything": lambda: {
        "type": "object", "dependentRequired": {f"k{n}": [f"k{m}" for m in range(80)] for n in range(80)},
    },
    "if and then, 60 of them": lambda: {
        "type": "object", "allOf": [
            {"if": {"properties": {f"k{n}": {"const": 1}}}, "then": {"required": [f"k{n + 1}"]}} for n in range(60)
        ],
    },
    "unevaluatedProperties of 30 branches": lambda: {
        "anyOf": [{"properties": {f"k{n}": True}} for n in range(30)], "unevaluatedProperties": False,
    },
    "multipleOf many primes": lambda: {
        "type": "integer", "anyOf": [{"multipleOf": p} for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)],
    },
    "multipleOf many primes at once": lambda: {
        "type": "integer", "allOf": [{"multipleOf": p} for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)],
    },
    "a key of a million characters": lambda: {"type": "object", "required": ["k" * 1_000_000]},
    "a constant of a million characters": lambda: {"const": "é" * 1_000_000},
    "a pattern of 20,000 characters": lambda: {"type": "string", "pattern": "(ab|cd)" * 3_000},
    "prefixItems of 20,000": lambda: {"type": "array", "prefixItems": [{"const": n} for n in range(20_000)], "items": False},
    "contains, ten counts": lambda: {
        "type": "array", "allOf": [{"contains": {"minimum": n}, "minContains": 3} for n in range(10)],
    },
}  # fmt: skip
