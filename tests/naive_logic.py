"""The slow oracle's boolean structure (see naive.py): a schema, or its negation, as alternatives of plain keywords.

An alternative is a tuple of dictionaries that all must hold. What no keyword says of its own is written with these:

    "(avoid)"     a pattern that must not match the string
    "(items)"     (start, schema, low, high): how many items from `start` on satisfy the schema
    "(members)"   (pattern, named, patterns, schema, low, high): how many members satisfy the schema, of those whose key
                  `pattern` matches, or if it is None, that are not `named` and that none of `patterns` matches
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

__all__ = ["AVOID", "ITEMS", "MEMBERS", "SCALAR", "TYPES", "Logic", "exactly", "types_of"]

Schema = Any  # a boolean or a dictionary
Schemas = tuple[Schema, ...]  # their conjunction
Alternatives = list[Schemas]
SCALAR = "(scalar)"  # the keyword of a desugared `const` that is no container
AVOID, ITEMS, MEMBERS = "(avoid)", "(items)", "(members)"
_MOST = 3000  # alternatives of one schema
TYPES = ("null", "boolean", "number", "string", "array", "object")


def types_of(schema: dict[str, Any]) -> tuple[str, ...]:
    found = schema.get("type", TYPES)
    return (found,) if isinstance(found, str) else tuple(found)


def exactly(text: str) -> str:
    """The pattern of one string."""
    return "^" + "".join(c if c.isalnum() or ord(c) > 127 else "\\" + c for c in text) + "$"


def _all(choices: Iterable[Alternatives]) -> Alternatives:
    factors = [*choices]
    if math.prod(map(len, factors)) > _MOST:
        raise NotImplementedError("this many alternatives")
    return [sum(choice, ()) for choice in itertools.product(*factors)]


class Logic:
    """What an oracle knows of the schema `schema` without looking at a text."""

    schema: Schema

    def __init__(self) -> None:
        self._flat: dict[tuple[int, bool], Alternatives] = {}
        self._sugar: dict[int, list[Schemas]] = {}
        self._nots: dict[int, Schema] = {}
        self._alive: list[Any] = []  # schemas are told apart by id(), so none may be freed

    def resolve(self, reference: str) -> Schema:
        found = self.schema
        for step in reference.removeprefix("#").split("/")[1:]:
            found = found[step.replace("~1", "/").replace("~0", "~")]
        return found

    def constants(self, schema: dict[str, Any]) -> list[Schemas]:
        """The constants of `enum` and of `const` as schemas; one tuple of alternatives a keyword."""
        if id(schema) not in self._sugar:
            groups = [[schema["const"]]] if "const" in schema else []
            groups += [schema["enum"]] if "enum" in schema else []
            self._sugar[id(schema)] = [tuple(map(self._as_schema, values)) for values in groups]
        return self._sugar[id(schema)]

    def _as_schema(self, value: Any) -> Schema:
        schema: dict[str, Any]
        if isinstance(value, list):
            schema = {"type": "array", "items": False, "minItems": len(value)}
            schema["prefixItems"] = [{"const": item} for item in value]
        elif isinstance(value, dict):
            schema = {"type": "object", "additionalProperties": False, "required": list(value)}
            schema["properties"] = {key: {"const": item} for key, item in value.items()}
        else:
            schema = {SCALAR: value}
        self._alive.append(schema)
        return schema

    def opposite(self, schema: Schema) -> Schema:
        """The same dictionary each time for `not schema`."""
        if isinstance(schema, bool):
            return not schema
        if id(schema) not in self._nots:
            self._nots[id(schema)] = {"not": schema}
            self._alive.append(schema)
        return self._nots[id(schema)]

    def flatten(self, schema: Schema, negated: bool = False) -> Alternatives:
        """The alternatives of `schema`, or of its negation."""
        if isinstance(schema, bool):
            return [()] if schema != negated else []
        known = (id(schema), negated)
        if known not in self._flat:
            self._alive.append(schema)
            self._flat[known] = self._opposites(schema) if negated else self._alternatives(schema)
            self._alive.append(self._flat[known])
        return self._flat[known]

    def _alternatives(self, schema: dict[str, Any]) -> Alternatives:
        choices = [[(schema,)]]
        choices += [self.flatten(part) for part in schema.get("allOf", ())]
        if "$ref" in schema:
            choices.append(self.flatten(self.resolve(schema["$ref"])))
        if "anyOf" in schema:
            choices.append([flat for part in schema["anyOf"] for flat in self.flatten(part)])
        for values in self.constants(schema):
            choices.append([flat for value in values for flat in self.flatten(value)])
        if "not" in schema:
            choices.append(self.flatten(schema["not"], True))
        if "oneOf" in schema:
            branches = schema["oneOf"]
            choices.append(
                [
                    flat
                    for one in range(len(branches))
                    for flat in _all(map(self.flatten, branches, _but(one, branches)))
                ]
            )
        if "if" in schema:
            test, then, otherwise = schema["if"], schema.get("then", True), schema.get("else", True)
            ways = _all([self.flatten(test), self.flatten(then)])
            choices.append(ways + _all([self.flatten(test, True), self.flatten(otherwise)]))
        for key, part in schema.get("dependentSchemas", {}).items():
            choices.append([({"properties": {key: False}},), *self.flatten(part)])
        for key, names in schema.get("dependentRequired", {}).items():
            choices.append([({"properties": {key: False}},), ({"required": names},)])
        return _all(choices)

    def _opposites(self, schema: dict[str, Any]) -> Alternatives:
        ways = [(plain,) for plain in self._wrong(schema)]
        for part in schema.get("allOf", ()):
            ways += self.flatten(part, True)
        if "$ref" in schema:
            ways += self.flatten(self.resolve(schema["$ref"]), True)
        for parts in (*((schema["anyOf"],) if "anyOf" in schema else ()), *self.constants(schema)):
            ways += _all(self.flatten(part, True) for part in parts)
        if "not" in schema:
            ways += self.flatten(schema["not"])
        if "oneOf" in schema:
            ways += _all(self.flatten(part, True) for part in schema["oneOf"])
            for two in itertools.combinations(schema["oneOf"], 2):
                ways += _all(map(self.flatten, two))
        if "if" in schema:
            test, then, otherwise = schema["if"], schema.get("then", True), schema.get("else", True)
            ways += _all([self.flatten(test), self.flatten(then, True)])
            ways += _all([self.flatten(test, True), self.flatten(otherwise, True)])
        for key, part in schema.get("dependentSchemas", {}).items():
            ways += _all([[({"type": "object", "required": [key]},)], self.flatten(part, True)])
        for key, names in schema.get("dependentRequired", {}).items():
            ways += [({"type": "object", "required": [key], "properties": {n: False}},) for n in names if n != key]
        return ways

    def _wrong(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        """One dictionary for each way in which a value can fail a plain keyword of `schema`."""
        found = [*self._wrong_scalar(schema), *self._wrong_array(schema), *self._wrong_object(schema)]
        if "type" in schema:
            kinds = types_of(schema)
            if "integer" in kinds and "number" not in kinds:
                raise NotImplementedError("numbers that are no integers")
            found.append({"type": [kind for kind in TYPES if kind not in kinds]})
        return found

    @staticmethod
    def _wrong_scalar(schema: dict[str, Any]) -> Iterable[dict[str, Any]]:
        if "multipleOf" in schema:
            raise NotImplementedError("numbers that are no multiples")
        for keyword, other in (
            ("minimum", "exclusiveMaximum"), ("maximum", "exclusiveMinimum"),
            ("exclusiveMinimum", "maximum"), ("exclusiveMaximum", "minimum"),
        ):  # fmt: skip
            if keyword in schema:
                yield {"type": "number", other: schema[keyword]}
        if schema.get("minLength"):
            yield {"type": "string", "maxLength": schema["minLength"] - 1}
        if "maxLength" in schema:
            yield {"type": "string", "minLength": schema["maxLength"] + 1}
        if "pattern" in schema:
            yield {"type": "string", AVOID: schema["pattern"]}
        if SCALAR in schema:
            value = schema[SCALAR]
            own = "null" if value is None else "boolean" if isinstance(value, bool) else "string"
            own = "number" if isinstance(value, int | float) and not isinstance(value, bool) else own
            yield {"type": [kind for kind in TYPES if kind != own]}
            if own == "boolean":
                yield {SCALAR: not value}
            elif own == "string":
                yield {"type": "string", AVOID: exactly(value)}
            elif own == "number":
                yield {"type": "number", "exclusiveMaximum": value}
                yield {"type": "number", "exclusiveMinimum": value}

    def _wrong_array(self, schema: dict[str, Any]) -> Iterable[dict[str, Any]]:
        if schema.get("uniqueItems"):
            raise NotImplementedError("items that are equal")
        prefix = schema.get("prefixItems", [])
        for index, part in enumerate(prefix):
            wrong = [True] * index + [self.opposite(part)]
            yield {"type": "array", "prefixItems": wrong, "minItems": index + 1}
        if "items" in schema:
            yield {"type": "array", ITEMS: (len(prefix), self.opposite(schema["items"]), 1, math.inf)}
        if schema.get("minItems"):
            yield {"type": "array", "maxItems": schema["minItems"] - 1}
        if "maxItems" in schema:
            yield {"type": "array", "minItems": schema["maxItems"] + 1}
        if "contains" in schema:
            low, high = schema.get("minContains", 1), schema.get("maxContains", math.inf)
            if low:
                yield {"type": "array", ITEMS: (0, schema["contains"], 0, low - 1)}
            if high < math.inf:
                yield {"type": "array", ITEMS: (0, schema["contains"], high + 1, math.inf)}

    def _wrong_object(self, schema: dict[str, Any]) -> Iterable[dict[str, Any]]:
        for key in schema.get("required", ()):
            yield {"type": "object", "properties": {key: False}}
        for key, part in schema.get("properties", {}).items():
            yield {"type": "object", "required": [key], "properties": {key: self.opposite(part)}}
        patterns = tuple(schema.get("patternProperties", ()))
        for pattern in patterns:
            wrong = self.opposite(schema["patternProperties"][pattern])
            yield {"type": "object", MEMBERS: (pattern, (), (), wrong, 1, math.inf)}
        if "additionalProperties" in schema:
            wrong, named = self.opposite(schema["additionalProperties"]), tuple(schema.get("properties", ()))
            yield {"type": "object", MEMBERS: (None, named, patterns, wrong, 1, math.inf)}
        if schema.get("minProperties"):
            yield {"type": "object", "maxProperties": schema["minProperties"] - 1}
        if "maxProperties" in schema:
            yield {"type": "object", "minProperties": schema["maxProperties"] + 1}


def _but(one: int, branches: list[Schema]) -> list[bool]:
    """Which of the branches fail where branch `one` is the one that holds."""
    return [index != one for index in range(len(branches))]
