"""Hypothesis strategies: random schemas of the keywords that the oracle knows, and small ambiguous vocabularies."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from hypothesis import strategies as st

__all__ = [
    "EVERY_BYTE",
    "Rolled",
    "Vocabulary",
    "build_logic_schema",
    "build_schema",
    "build_unique_schema",
    "finite_schemas",
    "patterns",
    "schemas",
    "texts_of",
    "vocabularies",
    "vocabulary",
]

Schema = Any
KEYS = ("a", "b", "ab", "é")
STRINGS = ("", "a", "b", "ab", "ba", "é", "aé", "😀", 'a"', "\n", "a\\", "1", "true")
NUMBERS = (0, 1, 2, 3, 5, 7, 10, 12, 20, 105, -1, -2, -12, 0.5, 1.5, 2.5, 0.1, -0.5, 9.9, -1.5)
STEPS = (1, 2, 3, 5, 10, 0.5, 0.1, 1.5, 0.25)


class Chooser(Protocol):
    """Where the choices come from: from Hypothesis, which can shrink them, or from a random generator, which is fast."""

    def one_of(self, options: Sequence[Any]) -> Any: ...

    def between(self, low: int, high: int) -> int: ...


class Drawn:
    """Choices that Hypothesis makes."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw

    def one_of(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(options))

    def between(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))


class Rolled:
    """Choices of a random generator."""

    def __init__(self, rng: random.Random) -> None:
        self.one_of, self.between = rng.choice, rng.randint


@dataclass(frozen=True)
class Builder:
    """Builds random schemas.

    Attributes:
        choose: makes the choices; the simplest comes first.
        finite: every value is small, so that all texts can be listed.
        references: names of definitions that may be referred to.
        unique: with `uniqueItems`, and closed objects, since other keys may come twice.
        logic: with not, oneOf, if, contains and dependencies; without `integer` and multipleOf, which the oracle cannot
            negate.
    """

    choose: Chooser
    finite: bool = False
    references: tuple[str, ...] = ()
    logic: bool = False
    unique: bool = False

    def perhaps(self, of: int = 2) -> bool:
        """True once in `of` times."""
        return self.choose.between(0, of - 1) == of - 1

    def constant(self, depth: int) -> Any:
        kind = self.choose.one_of(["string", "number", "literal"] + (["array", "object"] if depth else []))
        if kind == "string":
            return self.choose.one_of(("", "a", "ab", "b") if self.finite else STRINGS)
        if kind == "number":
            return self.choose.one_of((0, 1, 3, -2, 0.5, 12) if self.finite else NUMBERS)
        if kind == "literal":
            return self.choose.one_of([None, True, False])
        values = [self.constant(depth - 1) for _ in range(self.choose.between(0, 2))]
        return values if kind == "array" else dict(zip(KEYS, values, strict=False))

    def pattern(self) -> str:
        atoms = ["a", "b", "[ab]", "(?:ab)", "(a|ab)", "(?:b|ba)"]
        atoms += [] if self.finite else [".", "[^a]", "é", "[^é\\n]", "😀", "\\d", "[a-c1]", "\\."]
        repeats = ["", "", "", "?", "*", "+", "{2}", "{1,2}", "{2,}"]

        def sequence() -> str:
            count = self.choose.between(1, 3)
            return "".join(self.choose.one_of(atoms) + self.choose.one_of(repeats) for _ in range(count))

        body = sequence()
        if self.perhaps(4):
            body = f"{body}|{sequence()}"
            return f"^(?:{body})$" if self.perhaps() else body
        return str(self.choose.one_of(["^", "", "^"]) + body + self.choose.one_of(["$", ""]))

    def string(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string"}
        longest = 2 if self.finite else 4
        if self.finite or self.perhaps():
            schema["maxLength"] = longest - self.choose.between(0, longest)
        if self.perhaps(3):
            schema["minLength"] = self.choose.between(0, longest - 1)
        if self.perhaps():
            schema["pattern"] = self.pattern()
        return schema

    def number(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "number" if self.logic else self.choose.one_of(["integer", "number"])}
        bounds = (0, 1, 3, 5, -2, 0.5, 2.5) if self.finite else NUMBERS
        if self.finite or self.perhaps():
            schema[self.choose.one_of(["minimum", "exclusiveMinimum"])] = self.choose.one_of(bounds)
        if self.finite or self.perhaps():
            schema[self.choose.one_of(["maximum", "exclusiveMaximum"])] = self.choose.one_of(bounds)
        if not self.logic and self.perhaps(3):
            schema["multipleOf"] = self.choose.one_of((1, 2, 3, 0.5, 0.1) if self.finite else STEPS)
        return schema

    def array(self, depth: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array"}
        longest = 2 if self.finite else 3
        if self.perhaps():
            schema["prefixItems"] = [self.schema(depth) for _ in range(self.choose.between(1, 2))]
        if self.finite or not self.perhaps(4):
            schema["items"] = self.schema(depth)
        if self.finite or self.perhaps():
            schema["maxItems"] = longest - self.choose.between(0, longest)
        if self.perhaps(3):
            schema["minItems"] = self.choose.between(0, longest - 1)
        if self.unique and not self.perhaps(3):
            schema["uniqueItems"] = True
        if self.logic and self.perhaps():
            schema["contains"] = self.schema(depth)
            if self.perhaps(3):
                schema["minContains"] = self.choose.between(0, 2)
            if self.perhaps(3):
                schema["maxContains"] = 2 - self.choose.between(0, 2)
        return schema

    def object(self, depth: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object"}
        keys = [*KEYS]
        names = [
            keys.pop(self.choose.between(0, len(keys) - 1))
            for _ in range(self.choose.between(0, 2 if self.finite else 3))
        ]
        if names or self.finite:
            schema["properties"] = {name: self.schema(depth) for name in names}
        required = [name for name in names if self.perhaps()]
        if not self.finite and self.perhaps(8):
            required.append(self.choose.one_of([key for key in KEYS if key not in required]))
        if required:
            schema["required"] = required
        if self.perhaps(4) and not self.unique:
            pattern = "^[ab]$" if self.finite else self.choose.one_of(["^[ab]$", "^b", "a", "^.?$"])
            schema["patternProperties"] = {pattern: self.schema(depth)}
        rest = "closed" if self.finite or self.unique else self.choose.one_of(["closed", "closed", "schema", "open"])
        if rest != "open":
            schema["additionalProperties"] = False if rest == "closed" else self.schema(depth)
        if self.perhaps(5):
            schema["minProperties"] = self.choose.between(0, 2)
        if self.perhaps(5):
            schema["maxProperties"] = 3 - self.choose.between(0, 3)
        if self.logic and self.perhaps(6):
            schema["dependentSchemas"] = {self.choose.one_of(KEYS): self.schema(depth)}
        if self.logic and self.perhaps(6):
            schema["dependentRequired"] = {self.choose.one_of(KEYS): [self.choose.one_of(KEYS)]}
        return schema

    def few(self) -> Schema:
        """A schema of few values, which often compete."""
        form = self.choose.one_of(["enum", "enum", "boolean", "integers", "word"])
        if form == "enum":
            return {
                "enum": [self.choose.one_of((1, "a", "ab", True, 1.5, [1])) for _ in range(self.choose.between(1, 3))]
            }
        if form == "integers":
            return {"type": "integer", "minimum": 0, "maximum": self.choose.one_of((1, 2, 11))}
        return {"type": "boolean"} if form == "boolean" else {"type": "string", "pattern": "^a?b?$"}

    def competing(self) -> dict[str, Any]:
        """Arrays whose items must differ, and have few values."""
        schema: dict[str, Any] = {"type": "array", "uniqueItems": True, "items": self.few()}
        if self.perhaps():
            schema["prefixItems"] = [self.few() for _ in range(self.choose.between(1, 2))]
        if self.perhaps():
            schema["minItems"] = self.choose.between(1, 3)
        return schema

    def claim(self, kind: str, depth: int) -> Schema:
        """Something that is said of arrays or objects, often in the negative."""

        def one() -> Schema:
            return self.array(depth) if kind == "array" else self.object(depth)

        form = self.choose.one_of(["plain", "not", "not", "oneOf", "if"])
        if form == "not":
            return {"not": one()}
        if form == "oneOf":
            return {"oneOf": [one() for _ in range(self.choose.between(2, 3))]}
        return {"if": one(), self.choose.one_of(["then", "else"]): one()} if form == "if" else one()

    def schema(self, depth: int, here: bool = False) -> Schema:
        """`here`: whether a reference may not stand at this very place (it would be a loop)."""
        kinds = ["string", "number", "literal", "enum", "const", "boolean"]
        if depth > 0:
            kinds += 2 * ["array", "object", "object", "anyOf", "allOf", "types", "siblings"]
        if depth > 0 and self.logic:
            kinds += ["not", "not", "not", "oneOf", "oneOf", "if", "if"]
        if self.references and not here:
            kinds += ["reference", "reference"]
        kind = self.choose.one_of(kinds)
        if kind == "string":
            return self.string()
        if kind == "number":
            return self.number()
        if kind == "literal":
            return {"type": self.choose.one_of(["null", "boolean"])}
        if kind == "boolean":
            return self.choose.one_of([{"type": "null"}, False] if self.finite else [{}, {"type": "null"}, True, False])
        if kind == "enum":
            return {"enum": [self.constant(min(depth, 1)) for _ in range(self.choose.between(1, 3))]}
        if kind == "const":
            return {"const": self.constant(min(depth, 1))}
        if kind == "array":
            return self.array(depth - 1)
        if kind == "object":
            return self.object(depth - 1)
        if kind == "reference":
            return {"$ref": f"#/$defs/{self.choose.one_of(self.references)}"}
        if kind == "types":
            found = {**self.string(), **self.number(), **self.object(depth - 1)}
            number = "number" if self.logic else "integer"
            types = [["string", number], ["object", "null"], ["number", "object"], ["object", "string", "boolean"]]
            return {**found, "type": self.choose.one_of(types)}
        if kind == "not":
            own = self.array(depth - 1) if self.perhaps() else self.object(depth - 1)
            return {"not": own} if self.perhaps(3) else {"type": own["type"], "not": own}
        if kind == "if":
            found = {key: self.schema(depth - 1, here) for key in ("if", "then", "else")}
            found.pop(self.choose.one_of(["then", "else", ""]), None)
            return found
        parts = [self.schema(depth - 1, here) for _ in range(self.choose.between(1, 3))]
        if kind == "siblings":
            own = self.object(depth - 1) if self.choose.one_of([True, True, False]) else self.array(depth - 1)
            return {**own, self.choose.one_of(["anyOf", "anyOf", "allOf"]): parts}
        return {kind: parts}


def build_schema(choose: Chooser, depth: int) -> Schema:
    """A schema of every keyword that the oracle knows; some are recursive, some have no value."""
    names = choose.one_of([(), (), ("r",), ("r", "s")])
    builder = Builder(choose, references=names)
    schema = builder.schema(depth)
    if names and isinstance(schema, dict):
        # Inside a definition references stand below arrays and objects only.
        schema = {**schema, "$defs": {name: builder.schema(depth, here=True) for name in names}}
    return schema


def build_logic_schema(choose: Chooser, depth: int) -> Schema:
    """A schema with negations and counts. Wherever an object stands, all KEYS are named, both forwards and backwards, and
    required in some branch: so the order of members does not hang on what the branches say."""
    anything = {"$ref": "#/$defs/any"}
    named = {
        "properties": dict.fromkeys(KEYS, anything),
        "additionalProperties": anything,
        "items": anything,
        "anyOf": [{"required": [*reversed(KEYS)]}, {"properties": {KEYS[0]: anything}}],
    }
    builder, kind = Builder(choose, logic=True), choose.one_of(["array", "object", "any"])
    if kind == "any":
        parts = [builder.schema(depth)]
    else:
        parts = [{"type": kind}, *(builder.claim(kind, depth - 1) for _ in range(choose.between(1, 3)))]
    return {"allOf": [anything, *parts], "$defs": {"any": named}}


def build_unique_schema(choose: Chooser, depth: int) -> Schema:
    """A schema of arrays whose items must differ."""
    builder = Builder(choose, unique=True)
    form = choose.one_of(["few", "few", "any", "any", "either", "nested"])
    if form == "few":
        return builder.competing()
    own = {**builder.array(depth), "uniqueItems": True}
    if form == "any":
        return own
    if form == "nested":
        return {"type": "array", "uniqueItems": True, "items": builder.competing() if builder.perhaps() else own}
    return {"anyOf": [builder.competing() if builder.perhaps() else own, builder.array(depth)]}


@st.composite
def schemas(draw: Any, depth: int = 2) -> Schema:
    """See `build_schema`."""
    return build_schema(Drawn(draw), depth)


@st.composite
def finite_schemas(draw: Any, depth: int = 2) -> Schema:
    """Schemas whose texts can all be listed: small bounds, closed objects, no recursion."""
    return Builder(Drawn(draw), finite=True).schema(depth)


@st.composite
def patterns(draw: Any) -> str:
    return Builder(Drawn(draw)).pattern()


# ---------------------------------------------------------------------------------------------------------------------

EVERY_BYTE = tuple(bytes([n]) for n in range(256))
# Whatever a character needs, hexadecimal digits of its escape too.
_BASE = b'{}[]:,"\\-+.0123456789abcdefABCDEF truelsnxuqz_\t\n\r' + bytes(range(0x80, 0x100))
_PIECES = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b'":', b'",', b'"}', b'":"', b'","', b"}]", b"]}", b"1,", b"{}", b"[]", b": ",
    b", ", b" ", b"  ", b"\n", b"1", b"0", b"2", b"5", b"12", b"-", b".", b".0", b".5", b"null", b"tru", b"true", b"ls",
    b"false", b"a", b"b", b"ab", b"x", b"\\", b'\\"', b"\\n", b"\\u", b"\xc3", b"\xa9", "é".encode(), b"\xf0\x9f", b"\x98\x80",
    b"\xa9a", b"\x80\"", "😀".encode(), b'a"', b'"a', b'"b":',
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Vocabulary:
    """Arguments of `TokenizerInfo`, and what they mean.

    Attributes:
        tokens: the byte strings by id; special tokens are written as markup.
        eos: ids of the tokens that end a text.
        special: ids of the other special tokens.
        size: the padded size, at least len(tokens).
    """

    tokens: tuple[bytes, ...]
    eos: tuple[int, ...]
    special: tuple[int, ...]
    size: int

    def __repr__(self) -> str:
        return f"<{len(self.tokens)} tokens>"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:  # what Hypothesis shows of a failing case
        printer.text(repr(self))

    @cached_property
    def ordinary(self) -> dict[int, bytes]:
        """The tokens that stand for their bytes, by id."""
        return {n: t for n, t in enumerate(self.tokens) if n not in self.eos and n not in self.special}


def vocabulary(
    rng: random.Random, texts: Iterable[bytes] = (), *, every_byte: bool = False, longer: int = 40
) -> Vocabulary:
    """A vocabulary that can write whatever a schema that mentions `texts` requires, in many ways."""
    singles = {bytes([b]) for text in (_BASE, *texts) for b in text}
    tokens = [*(EVERY_BYTE if every_byte else sorted(singles))]
    pieces = [*_PIECES, *(text[i:j] for text in texts for i, j in [sorted(rng.choices(range(len(text) + 1), k=2))])]
    pieces = [piece for piece in pieces if piece]
    tokens += [b"".join(rng.choices(pieces, k=rng.choice((1, 2, 2, 3, 4)))) for _ in range(longer)]
    tokens += rng.choices(tokens, k=rng.randrange(4))  # duplicates
    rng.shuffle(tokens)
    marks = rng.choice(((b"</s>",), (b"</s>", b"<eot>"), (b"}", b"<eot>")))
    special = rng.choice(((), (b"<pad>",), (b"<s>", b'"', b"1")))
    kinds: list[tuple[str, bytes]] = (
        [("", t) for t in tokens] + [("eos", t) for t in marks] + [("special", t) for t in special]
    )
    rng.shuffle(kinds)
    return Vocabulary(
        tuple(token for _, token in kinds),
        tuple(n for n, (kind, _) in enumerate(kinds) if kind == "eos"),
        tuple(n for n, (kind, _) in enumerate(kinds) if kind == "special"),
        len(kinds) + rng.choice((0, 0, 1, 7, 40)),
    )


def texts_of(schema: Schema) -> list[bytes]:
    """What the strings of `schema` look like in a JSON text."""
    if isinstance(schema, str):
        return [json.dumps(schema, ensure_ascii=False).encode()]
    if isinstance(schema, dict):
        return [text for pair in schema.items() for part in pair for text in texts_of(part)]
    return [text for part in schema for text in texts_of(part)] if isinstance(schema, list) else []


@st.composite
def vocabularies(draw: Any, schema: Schema, every_byte: bool = False) -> Vocabulary:
    """Small vocabularies for `schema`: all single bytes that it needs, and ambiguous longer tokens."""
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    return vocabulary(rng, texts_of(schema), every_byte=every_byte)
