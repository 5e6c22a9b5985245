"""Random schemas of every keyword in every draft, instances that nearly satisfy them, and texts of an instance.

The keywords of a schema are put together at random, whatever types they speak of. What an instance is worth, jsonschema says;
here is no more than an effort to meet what the schema asks for, since a random value would be invalid nearly always.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from strategies import KEYS, NUMBERS, STEPS, Chooser

__all__ = ["DRAFTS", "InstanceBuilder", "KeywordBuilder", "mutated", "random_value", "spelled"]

Schema = Any
DRAFTS = {
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "7": "http://json-schema.org/draft-07/schema#",
    "6": "http://json-schema.org/draft-06/schema#",
    "4": "http://json-schema.org/draft-04/schema#",
}
TYPES = ("string", "number", "integer", "array", "object", "null", "boolean")
PATTERNS = ("^a", "b$", "^[ab]{1,2}$", "a|é", "^.$", "[^a]", "^(ab)*$", "\\d", "^\\w+$", "\\s", "^(?!a)", "x", "^$")
# Each with strings that have it and that do not.
FORMATS = {
    "date": ("2024-02-29", "2023-02-29", "20240229"),
    "time": ("12:00:00Z", "12:00:00", "23:59:59.5+01:00"),
    "date-time": ("2024-02-29T12:00:00Z", "2024-02-29 12:00:00Z"),
    "ipv4": ("127.0.0.1", "127.0.0.01", "1.2.3"),
    "ipv6": ("::1", ":::", "1:2:3:4:5:6:7:8"),
    "uuid": ("2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8aa08"),
    "uri": ("http://a/b?c#d", "a b", "a"),
    "json-pointer": ("/a/b", "a", ""),
    "colour": ("red",),  # unknown: an annotation
}
STRINGS = ("", "a", "b", "ab", "ba", "aa", "é", "aé", "😀", 'a"', "\n", "a\\", "1", " ", "abc", "x")


@dataclass
class KeywordBuilder:
    """Builds schemas.

    Attributes:
        choose: makes the choices; the simplest comes first.
        draft: a key of DRAFTS.
        references: names of definitions that may be referred to.
        unfinished: with keywords that are refused so far.
    """

    choose: Chooser
    draft: str = "2020-12"
    references: tuple[str, ...] = ()
    unfinished: bool = True
    year: int = field(init=False)  # of the draft, or its number

    def __post_init__(self) -> None:
        self.year = int(self.draft.partition("-")[0])

    def once_in(self, of: int) -> bool:
        return self.choose.between(0, of - 1) == of - 1

    def root(self, depth: int) -> Schema:
        """A whole schema with `$schema` and definitions."""
        schema = self.schema(depth)
        if not isinstance(schema, dict):
            schema = {} if schema else {"not": {}}
        place = "$defs" if self.year >= 2019 else "definitions"
        definitions = {name: self.schema(depth, here=True) for name in self.references}
        if "$ref" in schema and self.year < 2019:
            schema = {"allOf": [schema]}
        found = {"$schema": DRAFTS[self.draft], **schema}
        return found | {place: definitions} if definitions else found

    def schema(self, depth: int, here: bool = False) -> Schema:
        """`here`: whether a reference may not stand at this very place (it would be a loop)."""
        if self.year >= 6 and self.once_in(12):
            return self.choose.one_of([True, False])
        if self.references and not here and self.once_in(5):
            place = "$defs" if self.year >= 2019 else "definitions"
            found = {"$ref": f"#/{place}/{self.choose.one_of(self.references)}"}
            if self.year < 2019 or self.once_in(2):
                return found
        else:
            found = {}
        families = [self.type, self.string, self.number, self.value]
        if depth > 0:
            families += [self.array, self.object, self.array, self.object, self.logic, self.logic]
        for _ in range(self.choose.between(1, 3)):
            found |= self.choose.one_of(families)(depth - 1, here)
        return found

    def some(self, options: dict[str, Callable[[], Any]], of: int = 3) -> dict[str, Any]:
        """Each keyword once in `of` times; at least one."""
        names = [name for name in options if self.once_in(of)] or [self.choose.one_of([*options])]
        return {name: options[name]() for name in names}

    def type(self, depth: int, here: bool) -> dict[str, Any]:
        if self.once_in(3):
            return {"type": [self.choose.one_of(TYPES[:4]), self.choose.one_of(TYPES[4:])]}
        return {"type": self.choose.one_of(TYPES)}

    def string(self, depth: int, here: bool) -> dict[str, Any]:
        return self.some(
            {
                "minLength": lambda: self.choose.between(0, 2),
                "maxLength": lambda: 3 - self.choose.between(0, 3),
                "pattern": lambda: self.choose.one_of(PATTERNS),
                "format": lambda: self.choose.one_of([*FORMATS]),
            }
        )

    def number(self, depth: int, here: bool) -> dict[str, Any]:
        def bound() -> Any:
            return self.choose.one_of(NUMBERS)

        found = self.some({"minimum": bound, "maximum": bound, "multipleOf": lambda: self.choose.one_of(STEPS)})
        for key, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if self.year >= 6 and self.once_in(5):
                found[exclusive] = bound()
            elif self.year == 4 and key in found and self.once_in(3):
                found[exclusive] = self.choose.one_of([True, False])
        return found

    def value(self, depth: int, here: bool) -> dict[str, Any]:
        rng = random.Random(self.choose.between(0, 999))
        if self.year >= 6 and self.once_in(2):
            return {"const": random_value(rng, 1)}
        return {"enum": [random_value(rng, 1) for _ in range(rng.randint(1, 3))]}

    def array(self, depth: int, here: bool) -> dict[str, Any]:
        def child() -> Schema:
            return self.schema(depth)

        def children() -> list[Schema]:
            return [self.schema(depth) for _ in range(self.choose.between(1, 2))]

        options: dict[str, Callable[[], Any]] = {
            "items": child,
            "minItems": lambda: self.choose.between(0, 2),
            "maxItems": lambda: 3 - self.choose.between(0, 3),
        }
        if self.year >= 6:
            options["contains"] = child
        if self.year >= 2020:
            options["prefixItems"] = children
        found = self.some(options)
        if self.year < 2020 and self.once_in(3):
            found |= {"items": children(), "additionalItems": child() if self.year >= 6 else False}
        if "contains" in found and self.year >= 2019 and self.once_in(2):
            limits = {
                "minContains": lambda: self.choose.between(0, 2),
                "maxContains": lambda: self.choose.between(0, 2),
            }
            found |= self.some(limits)
        if self.unfinished and self.once_in(12):
            found["uniqueItems"] = True
        if self.unfinished and self.year >= 2019 and self.once_in(15):
            found["unevaluatedItems"] = child()
        return found

    def object(self, depth: int, here: bool) -> dict[str, Any]:
        def child() -> Schema:
            return self.schema(depth)

        def key() -> str:
            return self.choose.one_of(KEYS)

        def required() -> list[str]:
            return [*dict.fromkeys(key() for _ in range(self.choose.between(1, 2)))]

        options: dict[str, Callable[[], Any]] = {
            "properties": lambda: {name: child() for name in required()},
            "additionalProperties": lambda: self.choose.one_of([False, child()]),
            "required": required,
            "patternProperties": lambda: {self.choose.one_of(PATTERNS): child()},
            "minProperties": lambda: self.choose.between(0, 2),
            "maxProperties": lambda: 3 - self.choose.between(0, 3),
        }
        if self.year >= 6:
            options["propertyNames"] = lambda: self.schema(0, here)
        # What these hold stands at the same place as they do.
        if self.year >= 2019:
            options["dependentSchemas"] = lambda: {key(): self.schema(depth, here)}
            options["dependentRequired"] = lambda: {key(): required()}
        else:
            options["dependencies"] = lambda: {key(): required() if self.once_in(2) else self.schema(depth, here)}
        found = self.some(options)
        if self.unfinished and self.year >= 2019 and self.once_in(15):
            found["unevaluatedProperties"] = child()
        return found

    def logic(self, depth: int, here: bool) -> dict[str, Any]:
        def several() -> list[Schema]:
            return [self.schema(depth, here) for _ in range(self.choose.between(1, 3))]

        form = self.choose.one_of(["anyOf", "allOf", "oneOf", "not", "if"])
        if form == "not" or (form == "if" and self.year < 7):
            return {"not": self.schema(depth, here)}
        if form == "if":
            found = {key: self.schema(depth, here) for key in ("if", "then", "else")}
            found.pop(self.choose.one_of(["then", "else", ""]), None)
            return found
        return {form: several()}


def random_value(rng: random.Random, depth: int) -> Any:
    """A small JSON value."""
    kind = rng.choice(
        ("string", "number", "literal", "array", "object") if depth > 0 else ("string", "number", "literal")
    )
    if kind == "string":
        return rng.choice(STRINGS)
    if kind == "number":
        return rng.choice(NUMBERS)
    if kind == "literal":
        return rng.choice((None, True, False))
    values = [random_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return values if kind == "array" else {rng.choice(KEYS): value for value in values}


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
        if "$ref" in schema:
            place, name = schema["$ref"].split("/")[1:]
            parts.append(self.root[place][name])
        for part in parts:
            if isinstance(part, dict) and depth > 0:
                found |= self.merged(part, depth - 1)
        return found

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


def spelled(value: Any, rng: random.Random) -> str:
    """A JSON text of the value: members in any order, with white space, any spelling of numbers and characters."""

    def space() -> str:
        return rng.choice(("", "", "", " ", "\n", "\t "))

    if isinstance(value, list):
        items = [spelled(item, rng) for item in value]
        return f"[{space()}{f'{space()},{space()}'.join(items)}{space()}]"
    if isinstance(value, dict):
        keys = rng.sample([*value], len(value))
        members = [f"{spelled(key, rng)}{space()}:{space()}{spelled(value[key], rng)}" for key in keys]
        return f"{{{space()}{f'{space()},{space()}'.join(members)}{space()}}}"
    if isinstance(value, str):
        return '"' + "".join(_character(c, rng) for c in value) + '"'
    if isinstance(value, bool) or value is None or rng.random() < 0.5:
        return json.dumps(value)
    exact, shift = Decimal(repr(value)), rng.randint(-3, 3)
    plain = format(exact.scaleb(-shift), "f")
    zeros = rng.choice(("", "0", "00"))
    plain += zeros if "." in plain else f".{zeros}" if zeros else ""
    return f"{plain}{rng.choice('eE')}{rng.choice(('', '+')) if shift >= 0 else ''}{shift}" if shift else plain


def _character(character: str, rng: random.Random) -> str:
    plain = json.dumps(character, ensure_ascii=False)[1:-1]
    escaped = "".join(f"\\u{unit:04x}" for unit in _units(character))
    return rng.choice((plain, plain, plain, escaped, escaped.upper().replace("\\U", "\\u")))


def _units(character: str) -> list[int]:
    """UTF-16."""
    data = character.encode("utf-16-be")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
