"""Random schemas of every keyword in every draft.

The keywords of a schema are put together at random, whatever types they speak of.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from strategies import KEYS, NUMBERS, STEPS, Chooser

__all__ = ["DRAFTS", "FORMATS", "ROOT", "STRINGS", "TYPES", "KeywordBuilder", "random_schema", "random_value"]

Schema = Any
Place = Literal["definition", "root", "below"]
DRAFTS = {
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "7": "http://json-schema.org/draft-07/schema#",
    "6": "http://json-schema.org/draft-06/schema#",
    "4": "http://json-schema.org/draft-04/schema#",
}
ROOT = "http://example.org/root"  # the address of a schema with resources inside
TYPES = ("string", "number", "integer", "array", "object", "null", "boolean")
PATTERNS = ("^a", "b$", "^[ab]{1,2}$", "a|é", "^.$", "[^a]", "^(ab)*$", "\\d", "^\\w+$", "\\s", "^(?!a)", "x", "^$")
# Each with strings that have it and that do not.
FORMATS = {
    "date": ("2024-02-29", "2023-02-29", "20240229"),
    "time": ("12:00:00Z", "12:00:00", "23:59:59.5+01:00"),
    "date-time": ("2024-02-29T12:00:00Z", "2024-02-29 12:00:00Z"),
    "duration": ("P1D", "PT2H", "P", "1D"),
    "ipv4": ("127.0.0.1", "127.0.0.01", "1.2.3"),
    "ipv6": ("::1", ":::", "1:2:3:4:5:6:7:8"),
    "uuid": ("2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8aa08"),
    "uri": ("http://a/b?c#d", "a b", "a"),
    "uri-reference": ("../a", "a b", "\\"),
    "iri": ("http://é/", "é é"),
    "iri-reference": ("é", "é é"),
    "json-pointer": ("/a/b", "a", ""),
    "colour": ("red",),  # unknown: an annotation
}
STRINGS = ("", "a", "b", "ab", "ba", "aa", "é", "aé", "😀", 'a"', "\n", "a\\", "1", " ", "abc", "x")
# How definitions are referred to: by place, by anchor, by an address of their own, or dynamically.
STYLES = ("pointer", "pointer", "anchor", "resource", "dynamic")


def random_schema(choose: Chooser, depth: int) -> Schema:
    """A schema of any draft."""
    draft, names = choose.one_of([*DRAFTS]), choose.one_of(((), (), ("r",), ("r", "s")))
    return KeywordBuilder(choose, draft, names, choose.one_of(STYLES)).root(depth)


@dataclass
class KeywordBuilder:
    """Builds schemas.

    A schema stands at the root, at the beginning of a definition, or below an array or object. What stands at the same place
    stands there, too. A definition begins without references and the root without such to itself: they would be loops.

    Attributes:
        choose: makes the choices; the simplest comes first.
        draft: a key of DRAFTS.
        references: names of definitions that may be referred to.
        style: how, one of STYLES.
    """

    choose: Chooser
    draft: str = "2020-12"
    references: tuple[str, ...] = ()
    style: str = "pointer"
    year: int = field(init=False)  # of the draft, or its number

    def __post_init__(self) -> None:
        self.year = int(self.draft.partition("-")[0])
        if self.style == "dynamic" and self.year < 2019:
            self.style = "resource"
        self.definitions = "$defs" if self.year >= 2019 else "definitions"
        self.identifier = "$id" if self.year >= 6 else "id"

    def once_in(self, of: int) -> bool:
        return self.choose.between(0, of - 1) == of - 1

    def root(self, depth: int) -> Schema:
        """A whole schema with `$schema` and definitions."""
        schema = self.schema(depth, "root")
        if not isinstance(schema, dict):
            schema = {} if schema else {"not": {}}
        if "$ref" in schema and self.year < 2019:
            schema = {"allOf": [schema]}
        named = {}
        if self.style in ("resource", "dynamic"):
            named = {self.identifier: ROOT} | (self.anchor() if self.style == "dynamic" and not self.once_in(3) else {})
            if self.style == "dynamic" and "$dynamicAnchor" not in named and self.year >= 2020:
                named["$anchor"] = "node"
        found = {"$schema": DRAFTS[self.draft], **named, **schema}
        if not self.references:
            return found
        return found | {self.definitions: {name: self.definition(name, depth) for name in self.references}}

    def anchor(self) -> dict[str, Any]:
        """What dynamic references look for."""
        return {"$dynamicAnchor": "node"} if self.year >= 2020 else {"$recursiveAnchor": True}

    def definition(self, name: str, depth: int) -> Schema:
        schema = self.schema(depth, "definition")
        if self.style == "pointer":
            return schema
        schema = schema if isinstance(schema, dict) else {} if schema else {"not": {}}
        if self.style == "anchor":
            return ({"$anchor": name} if self.year >= 2019 else {self.identifier: f"#{name}"}) | schema
        return {self.identifier: name} | (self.anchor() if self.style == "dynamic" else {}) | schema

    def reference(self, place: Place) -> dict[str, str]:
        """To a definition, or from below to the root."""
        if self.style == "dynamic" and place == "below" and self.once_in(2):
            return {"$dynamicRef": "#node"} if self.year >= 2020 else {"$recursiveRef": "#"}
        resources = self.style in ("resource", "dynamic")
        if place == "below" and self.once_in(4):
            return {"$ref": ROOT if resources else "#"}
        name = self.choose.one_of(self.references)
        if self.style == "pointer" or self.once_in(4):
            return {"$ref": f"{ROOT if resources else ''}#/{self.definitions}/{name}"}
        return {"$ref": f"#{name}" if self.style == "anchor" else name}

    def schema(self, depth: int, place: Place = "below") -> Schema:
        """`place`: where it stands; see the class."""
        if self.year >= 6 and self.once_in(12):
            return self.choose.one_of([True, False])
        found: dict[str, Any] = {}
        if self.references and place != "definition" and self.once_in(5):
            found |= self.reference(place)
            if self.year < 2019 or self.once_in(2):
                return found
        families = [self.type, self.string, self.number, self.value]
        if depth > 0:
            families += [self.array, self.object, self.array, self.object, self.logic, self.logic]
        for _ in range(self.choose.between(1, 3)):
            found |= self.choose.one_of(families)(depth - 1, place)
        return found

    def some(self, options: dict[str, Callable[[], Any]], of: int = 3) -> dict[str, Any]:
        """Each keyword once in `of` times; at least one."""
        names = [name for name in options if self.once_in(of)] or [self.choose.one_of([*options])]
        return {name: options[name]() for name in names}

    def type(self, depth: int, place: Place) -> dict[str, Any]:
        if self.once_in(3):
            return {"type": [self.choose.one_of(TYPES[:4]), self.choose.one_of(TYPES[4:])]}
        return {"type": self.choose.one_of(TYPES)}

    def string(self, depth: int, place: Place) -> dict[str, Any]:
        return self.some(
            {
                "minLength": lambda: self.choose.between(0, 2),
                "maxLength": lambda: 3 - self.choose.between(0, 3),
                "pattern": lambda: self.choose.one_of(PATTERNS),
                "format": lambda: self.choose.one_of([*FORMATS]),
            }
        )

    def number(self, depth: int, place: Place) -> dict[str, Any]:
        def bound() -> Any:
            return self.choose.one_of(NUMBERS)

        found = self.some({"minimum": bound, "maximum": bound, "multipleOf": lambda: self.choose.one_of(STEPS)})
        for key, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if self.year >= 6 and self.once_in(5):
                found[exclusive] = bound()
            elif self.year == 4 and key in found and self.once_in(3):
                found[exclusive] = self.choose.one_of([True, False])
        return found

    def value(self, depth: int, place: Place) -> dict[str, Any]:
        rng = random.Random(self.choose.between(0, 999))
        if self.year >= 6 and self.once_in(2):
            return {"const": random_value(rng, 1)}
        return {"enum": [random_value(rng, 1) for _ in range(rng.randint(1, 3))]}

    def array(self, depth: int, place: Place) -> dict[str, Any]:
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
        if self.once_in(8):
            found["uniqueItems"] = not self.once_in(8)
        if self.year >= 2019 and self.once_in(10):
            found["unevaluatedItems"] = child()
        return found

    def object(self, depth: int, place: Place) -> dict[str, Any]:
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
            options["propertyNames"] = lambda: self.schema(0, place)
        # What these hold stands at the same place as they do.
        if self.year >= 2019:
            options["dependentSchemas"] = lambda: {key(): self.schema(depth, place)}
            options["dependentRequired"] = lambda: {key(): required()}
        else:
            options["dependencies"] = lambda: {key(): required() if self.once_in(2) else self.schema(depth, place)}
        found = self.some(options)
        if self.year >= 2019 and self.once_in(10):
            found["unevaluatedProperties"] = child()
        return found

    def logic(self, depth: int, place: Place) -> dict[str, Any]:
        def several() -> list[Schema]:
            return [self.schema(depth, place) for _ in range(self.choose.between(1, 3))]

        form = self.choose.one_of(["anyOf", "allOf", "oneOf", "not", "if"])
        if form == "not" or (form == "if" and self.year < 7):
            return {"not": self.schema(depth, place)}
        if form == "if":
            found = {key: self.schema(depth, place) for key in ("if", "then", "else")}
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
