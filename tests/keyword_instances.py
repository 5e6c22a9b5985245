"""Instances that nearly satisfy a schema of keyword_schemas.py.

What an instance is worth, jsonschema says; here is no more than an effort to meet what the schema asks for, since a random
value would be invalid nearly always.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from keyword_schemas import FORMATS, STRINGS, TYPES, random_value
from strategies import KEYS, NUMBERS

__all__ = ["InstanceBuilder", "mutated"]

Schema = Any


@dataclass
class InstanceBuilder:
    """Makes instances that have a good chance to satisfy a schema of `KeywordBuilder`."""

    root: Schema
    rng: random.Random

    def value(self, schema: Schema, depth: int = 4) -> Any:
        rng = self.rng
        if not isinstance(schema, dict) or depth < 0:
            return random_value(rng, min(depth, 1))
        schema = self.merged(schema, depth)
        if "const" in schema and rng.random() < 0.9:
            return schema["const"]
        if "enum" in schema and rng.random() < 0.9:
            return rng.choice(schema["enum"])
        kind = schema.get("type") or self.spoken_of(schema)
        kind = rng.choice(kind) if isinstance(kind, list) else kind
        if kind == "string":
            return self.string(schema)
        if kind in ("number", "integer"):
            return self.number(schema, kind == "integer")
        if kind == "array":
            return self.array(schema, depth)
        if kind == "object":
            return self.object(schema, depth)
        return None if kind == "null" else rng.choice((True, False))

    def merged(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """The schema's own keywords with those of its parts, the last of equal ones counting."""
        found, rng = dict(schema), self.rng
        parts = [*schema.get("allOf", [])]
        parts += [rng.choice(schema[key]) for key in ("anyOf", "oneOf") if key in schema]
        if "if" in schema:
            parts += [schema["if"], schema.get("then", True)] if rng.random() < 0.5 else [schema.get("else", True)]
        parts += [self.target(schema[key]) for key in ("$ref", "$dynamicRef", "$recursiveRef") if key in schema]
        for part in parts:
            if isinstance(part, dict) and depth > 0:
                found |= self.merged(part, depth - 1)
        return found

    def target(self, reference: str) -> Schema:
        """Where a reference leads; of a dynamic one, where it may lead."""
        name = reference.rpartition("/")[2].rpartition("#")[2]
        return (self.root.get("$defs") or self.root.get("definitions") or {}).get(name, self.root)

    def spoken_of(self, schema: dict[str, Any]) -> str:
        """A type that the keywords speak of, or any."""
        about = {
            "string": ("minLength", "maxLength", "pattern", "format"),
            "number": ("minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"),
            "array": ("items", "prefixItems", "contains", "minItems", "maxItems"),
            "object": ("properties", "required", "patternProperties", "additionalProperties", "minProperties", "maxProperties",
                       "propertyNames", "dependencies", "dependentSchemas", "dependentRequired"),
        }  # fmt: skip
        kinds = [kind for kind, keys in about.items() if any(key in schema for key in keys)]
        return self.rng.choice(kinds) if kinds and self.rng.random() < 0.8 else self.rng.choice(TYPES)

    def string(self, schema: dict[str, Any]) -> str:
        pool = FORMATS.get(schema.get("format", ""), STRINGS)
        found = self.rng.choice(pool)
        return found + self.rng.choice(("", "", "a", "ab"))[: max(0, schema.get("minLength", 0) - len(found))]

    def number(self, schema: dict[str, Any], integral: bool) -> Any:
        bounds = [
            schema[key] for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if key in schema
        ]
        bounds = [bound for bound in bounds if not isinstance(bound, bool)]
        base = Decimal(str(self.rng.choice(bounds or NUMBERS))) + self.rng.choice((0, 0, 1, -1, Decimal("0.5")))
        step = schema.get("multipleOf")
        if step is not None:
            base = (base / Decimal(str(step))).to_integral_value() * Decimal(str(step))
        return int(base) if integral or base == int(base) else float(base)

    def array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        rng, items = self.rng, schema.get("items", True)
        first = items if isinstance(items, list) else schema.get("prefixItems", [])
        rest = schema.get("additionalItems", True) if isinstance(items, list) else items
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", 3))
        found = [self.value(part, depth - 1) for part in first[: rng.randint(0, 2) or None]]
        while len(found) < max(least, rng.randint(0, max(most, 0))):
            found.append(self.value(rest, depth - 1))
        if "contains" in schema:
            for _ in range(rng.randint(0, 2)):
                found.insert(rng.randint(0, len(found)), self.value(schema["contains"], depth - 1))
        return found[:most] if rng.random() < 0.8 else found

    def object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        rng, named = self.rng, schema.get("properties", {})
        keys = [*schema.get("required", []), *(key for key in named if rng.random() < 0.6)]
        keys += [rng.choice(KEYS) for _ in range(rng.choice((0, 0, 1, 2, schema.get("minProperties", 0))))]
        found = {}
        for key in keys:
            others = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties", True)]
            found[key] = self.value(named.get(key, rng.choice(others)), depth - 1)
        return found


def mutated(value: Any, rng: random.Random) -> Any:
    """The value with one place changed."""
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        change = rng.choice(([], [mutated(value[at], rng)], [value[at], random_value(rng, 0)], [value[at], value[at]]))
        return value[:at] + change + value[at + 1 :]
    if isinstance(value, dict) and value and rng.random() < 0.7:
        key, found = rng.choice([*value]), dict(value)
        if rng.random() < 0.3:
            del found[key]
        else:
            found[rng.choice((key, key, *KEYS))] = mutated(value[key], rng)
        return found
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.6:
        return rng.choice((value + 1, value - 1, -value, value * 10, value + 0.5, value / 2))
    if isinstance(value, str) and rng.random() < 0.6:
        return rng.choice((value + "a", value[1:], value[::-1], "é" + value, value + "\n"))
    return random_value(rng, 1)
