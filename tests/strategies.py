"""Hypothesis strategies: random schemas of the keywords that the oracle knows, and small ambiguous vocabularies."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

__all__ = ["EVERY_BYTE", "Vocabulary", "finite_schemas", "schemas", "vocabularies"]

KEYS = ("a", "b", "ab", "é")
STRINGS = ("", "a", "b", "ab", "ba", "é", "aé", "😀", 'a"', "\n", "a\\", "1", "true")
NUMBERS = (0, 1, 2, 3, 5, 7, 10, 12, 20, 105, -1, -2, -12, 0.5, 1.5, 2.5, 0.1, -0.5, 9.9, -1.5)
STEPS = (1, 2, 3, 5, 10, 0.5, 0.1, 1.5, 0.25)


@dataclass(frozen=True)
class _Size:
    """How large and how open the schemas are."""

    depth: int
    finite: bool = False  # every value is small, so that all texts can be listed
    references: tuple[str, ...] = ()


Draw = Any
Schema = Any


def _constant(draw: Draw, depth: int, finite: bool) -> Any:
    kind = draw(st.sampled_from(["string", "number", "literal"] + (["array", "object"] if depth else [])))
    if kind == "string":
        return draw(st.sampled_from(("", "a", "ab", "b") if finite else STRINGS))
    if kind == "number":
        return draw(st.sampled_from((0, 1, 3, -2, 0.5, 12) if finite else NUMBERS))
    if kind == "literal":
        return draw(st.sampled_from([None, True, False]))
    values = [_constant(draw, depth - 1, finite) for _ in range(draw(st.integers(0, 2)))]
    return values if kind == "array" else dict(zip(KEYS, values, strict=False))


def pattern(draw: Draw, finite: bool = False) -> str:
    atoms = ["a", "b", "[ab]", "ab", "(a|ab)", "(?:b|ba)"]
    atoms += [] if finite else [".", "[^a]", "é", "[^é\\n]", "😀", "\\d", "[a-c1]", "\\."]
    repeats = ["", "", "", "?", "*", "+", "{2}", "{1,2}", "{2,}"]

    def sequence() -> str:
        pieces = [
            draw(st.sampled_from(atoms)) + draw(st.sampled_from(repeats)) for _ in range(draw(st.integers(1, 3)))
        ]
        return "".join(f"(?:{p[:-1]}){p[-1]}" if p[:2] in ("ab",) and p[-1] in "?*+" else p for p in pieces)

    body = sequence()
    if draw(st.integers(0, 3)) == 0:
        body = f"{body}|{sequence()}"
        return f"^(?:{body})$" if draw(st.booleans()) else body
    return draw(st.sampled_from(["^", "", "^"])) + body + draw(st.sampled_from(["$", ""]))


def _string(draw: Draw, finite: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if finite or draw(st.booleans()):
        schema["maxLength"] = draw(st.integers(0, 2 if finite else 4))
    if draw(st.integers(0, 2)) == 0:
        schema["minLength"] = draw(st.integers(0, 2 if finite else 4))
    if draw(st.booleans()):
        schema["pattern"] = pattern(draw, finite)
    return schema


def _number(draw: Draw, finite: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": draw(st.sampled_from(["integer", "number"]))}
    bounds = (0, 1, 3, 5, -2, 0.5, 2.5) if finite else NUMBERS
    if finite or draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = draw(st.sampled_from(bounds))
    if finite or draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = draw(st.sampled_from(bounds))
    if draw(st.integers(0, 2)) == 0:
        schema["multipleOf"] = draw(st.sampled_from((1, 2, 3, 0.5, 0.1) if finite else STEPS))
    return schema


def _array(draw: Draw, size: _Size) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array"}
    if draw(st.booleans()):
        schema["prefixItems"] = [_schema(draw, size) for _ in range(draw(st.integers(1, 2)))]
    if size.finite or draw(st.integers(0, 3)):
        schema["items"] = _schema(draw, size)
    if size.finite or draw(st.booleans()):
        schema["maxItems"] = draw(st.integers(0, 2 if size.finite else 3))
    if draw(st.integers(0, 2)) == 0:
        schema["minItems"] = draw(st.integers(0, 2 if size.finite else 3))
    return schema


def _object(draw: Draw, size: _Size) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    names = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=2 if size.finite else 3))
    if names or size.finite:
        schema["properties"] = {name: _schema(draw, size) for name in names}
    required = [name for name in names if draw(st.booleans())]
    if required:
        schema["required"] = required
    if draw(st.integers(0, 3)) == 0:
        pattern = draw(st.sampled_from(["^[ab]$", "^b", "a"])) if not size.finite else "^[ab]$"
        schema["patternProperties"] = {pattern: _schema(draw, size)}
    rest = "closed" if size.finite else draw(st.sampled_from(["closed", "closed", "schema", "open"]))
    if rest != "open":
        schema["additionalProperties"] = False if rest == "closed" else _schema(draw, size)
    if draw(st.integers(0, 4)) == 0:
        schema["minProperties"] = draw(st.integers(0, 2))
    if draw(st.integers(0, 4)) == 0:
        schema["maxProperties"] = draw(st.integers(0, 3))
    return schema


def _schema(draw: Draw, size: _Size, here: bool = False) -> Schema:
    """`here`: whether a reference may not stand at this very place (it would be a loop)."""
    below = _Size(size.depth - 1, size.finite, size.references)
    kinds = ["string", "number", "literal", "enum", "const", "boolean"]
    if size.depth > 0:
        kinds += ["array", "object", "object", "anyOf", "allOf", "types", "siblings"]
    if size.references and not here:
        kinds += ["reference", "reference"]
    kind = draw(st.sampled_from(kinds))
    if kind == "string":
        return _string(draw, size.finite)
    if kind == "number":
        return _number(draw, size.finite)
    if kind == "literal":
        return {"type": draw(st.sampled_from(["null", "boolean"]))}
    if kind == "boolean":
        return {} if not size.finite and draw(st.integers(0, 2)) == 0 else draw(st.sampled_from([{"type": "null"}, False]))
    if kind == "enum":
        return {"enum": [_constant(draw, min(size.depth, 1), size.finite) for _ in range(draw(st.integers(1, 3)))]}
    if kind == "const":
        return {"const": _constant(draw, min(size.depth, 1), size.finite)}
    if kind == "array":
        return _array(draw, below)
    if kind == "object":
        return _object(draw, below)
    if kind == "reference":
        return {"$ref": f"#/$defs/{draw(st.sampled_from(size.references))}"}
    if kind == "types":
        found = {**_string(draw, size.finite), **_number(draw, size.finite), **_object(draw, below)}
        return {**found, "type": draw(st.sampled_from([["string", "integer"], ["object", "null"], ["number", "object"]]))}
    parts = [_schema(draw, below, here) for _ in range(draw(st.integers(1, 3)))]
    if kind == "siblings":
        own = draw(st.sampled_from([_object, _array]))(draw, below)
        return {**own, draw(st.sampled_from(["anyOf", "allOf"])): parts}
    return {kind: parts}


@st.composite
def schemas(draw: Draw, depth: int = 2) -> Schema:
    """Schemas of every keyword that the oracle knows; some recursive, some without any value."""
    names = draw(st.sampled_from([(), (), ("r",), ("r", "s")]))
    schema = _schema(draw, _Size(depth, references=names))
    if names and isinstance(schema, dict):
        # Inside a definition references stand below arrays and objects only.
        definitions = {name: _schema(draw, _Size(depth, references=names), here=True) for name in names}
        schema = {**schema, "$defs": definitions}
    return schema


@st.composite
def finite_schemas(draw: Draw, depth: int = 2) -> Schema:
    """Schemas whose texts can all be listed: small bounds, closed objects, no recursion."""
    return _schema(draw, _Size(depth, finite=True))


# ---------------------------------------------------------------------------------------------------------------------

EVERY_BYTE = tuple(bytes([n]) for n in range(256))
_BASE = b'{}[]:,"\\-+.0123456789 eEtruefalsnxuqz_\t\n\r' + bytes(range(0x80, 0x100))  # whatever a character needs
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

    @property
    def ordinary(self) -> dict[int, bytes]:
        """The tokens that stand for their bytes, by id."""
        return {n: t for n, t in enumerate(self.tokens) if n not in self.eos and n not in self.special}


def vocabulary(rng: random.Random, texts: Iterable[bytes] = (), *, every_byte: bool = False, longer: int = 40) -> Vocabulary:
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
    kinds: list[tuple[str, bytes]] = [("", t) for t in tokens] + [("eos", t) for t in marks] + [("special", t) for t in special]
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
def vocabularies(draw: Draw, schema: Schema, every_byte: bool = False) -> Vocabulary:
    """Small vocabularies for `schema`: all single bytes that it needs, and ambiguous longer tokens."""
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    return vocabulary(rng, texts_of(schema), every_byte=every_byte)
