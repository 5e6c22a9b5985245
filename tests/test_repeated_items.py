"""Arrays that must have two equal items (the opposite of `uniqueItems`), alone and among alternatives.

Schemas of few texts, drawn at random: jsonschema judges every value that there could be, and what is valid says for each
beginning of a text exactly which tokens may follow.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections import Counter
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import maskwright as mw

ATOMS = (1, 2, 10, "a", "ab", "", True, None, [1], [], {"k": 1})
UNIQUE = {"uniqueItems": True}
LONGEST = 3
REFUSED = (
    "uniqueItems cannot be enforced"  # beside `contains`, or where few values compete in one of several alternatives
)


class Schemas:
    """Draws schemas whose texts can be listed.

    Attributes:
        values: what items may be.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.values = rng.sample(ATOMS, 4)

    def _few(self) -> dict[str, Any]:
        return {"enum": self._rng.sample(self.values, self._rng.randint(1, 3))}

    def array(self) -> dict[str, Any]:
        rng = self._rng
        schema: dict[str, Any] = {"type": "array", "items": self._few(), "maxItems": rng.randint(1, LONGEST)}
        if rng.random() < 0.5:
            schema["prefixItems"] = [self._few() for _ in range(rng.randint(1, LONGEST))]
            schema["items"] = rng.choice([False, schema["items"]])
        if rng.random() < 0.3:
            schema["minItems"] = rng.randint(0, LONGEST)
        if rng.random() < 0.1:
            schema["contains"] = self._few()
        return schema | (UNIQUE if rng.random() < 0.3 else {})

    def negating(self) -> dict[str, Any]:
        """Arrays some of which must have two equal items."""
        rng = self._rng
        return {**self.array(), "maxItems": LONGEST} | rng.choice(
            (
                {"not": UNIQUE},
                {"not": self.array() | UNIQUE},
                {"oneOf": [self.array(), self.array() | UNIQUE]},
                {"oneOf": [self.array() | UNIQUE, self.array() | UNIQUE, {"maxItems": 2}]},
                {"if": UNIQUE, "then": {"maxItems": 1}, "else": {"minItems": 3}},
                {"anyOf": [{"not": UNIQUE}, self.array()]},
            )
        )

    def deciding(self) -> dict[str, Any]:
        """Objects in which one member says how another must be."""
        choice = [{"properties": {"a": UNIQUE}}, {"properties": {"b": {"const": 2}}}]
        members = {"a": self.negating() if self._rng.random() < 0.3 else self.array(), "b": {"enum": [1, 2]}}
        return {
            "type": "object", "properties": members, "required": ["a", "b"], "additionalProperties": False,
            self._rng.choice(["oneOf", "anyOf"]): choice,
        }  # fmt: skip


def instances(schema: dict[str, Any], values: list[Any]) -> list[Any]:
    """Everything that may be valid."""
    arrays = [list(items) for count in range(LONGEST + 1) for items in itertools.product(values, repeat=count)]
    return arrays if schema["type"] == "array" else [{"a": array, "b": b} for array in arrays for b in (1, 2)]


def vocabulary(texts: list[bytes], rng: random.Random) -> mw.TokenizerInfo:
    """All bytes, and pieces of the texts."""
    pieces = set[bytes]()
    for text in rng.choices(texts, k=40):
        start = rng.randrange(len(text))
        pieces.add(text[start : start + rng.randint(2, 7)])
    tokens = [bytes((byte,)) for byte in range(256)] + sorted(piece for piece in pieces if len(piece) > 1)
    return mw.TokenizerInfo([*tokens, b"</s>"], eos_token_ids=[len(tokens)])


def check(number: int) -> str:
    """Compares masks and completions of one schema with what the list of its texts says; what became of it."""
    rng = random.Random(number)
    schemas = Schemas(rng)
    schema = schemas.deciding() if number % 4 == 0 else schemas.negating()
    validator = Draft202012Validator(schema)
    texts = [
        json.dumps(value, separators=(",", ":")).encode()
        for value in instances(schema, schemas.values)
        if validator.is_valid(value)
    ]
    info = vocabulary(texts or [b"[]"], rng)
    try:
        grammar = mw.GrammarCompiler(info, cache_enabled=False).compile_json_schema(schema, whitespace="compact")
    except mw.UnsatisfiableError:
        assert not texts, f"case {number}: {json.dumps(schema)} has {texts[:3]}"
        return "unsatisfiable"
    except mw.UnsupportedError as error:
        assert REFUSED in str(error)
        return "refused"
    beginnings = {text[:length] for text in texts for length in range(len(text) + 1)}
    for beginning in sorted(beginnings, key=len):
        try:
            _check_place(grammar, info, beginning, beginnings, set(texts))
        except mw.UnsupportedError as error:
            assert REFUSED in str(error)
            return "refused"
        except Exception as error:
            raise AssertionError(f"case {number}: {json.dumps(schema)} after {beginning!r}") from error
    return "judged"


def _check_place(
    grammar: mw.CompiledGrammar, info: mw.TokenizerInfo, beginning: bytes, beginnings: set[bytes], texts: set[bytes]
) -> None:
    matcher = mw.GrammarMatcher(grammar)
    assert matcher.accept_string(beginning)
    allowed = set(matcher.allowed_token_ids().tolist())
    assert matcher.is_completed() == (beginning in texts)
    for token, piece in enumerate(info.tokens[:-1]):
        assert piece is not None
        # 1.0 and 1e0 would be other texts of the same values.
        if b"." in piece or (beginning[-1:].isdigit() and piece[:1] == b"."):
            continue
        assert (token in allowed) == (beginning + piece in beginnings), piece
        if len(piece) > 1 and token in allowed:
            assert matcher.accept_token(token) and matcher.allowed_token_ids().size
            matcher.rollback()
    forced = matcher.find_jump_forward_string().encode()
    assert all(text.startswith(beginning + forced) for text in texts if text.startswith(beginning))
    completion = matcher.shortest_completion()
    assert beginning + completion in texts
    assert matcher.accept_string(completion) and matcher.is_completed()


def test_masks_and_completions() -> None:
    outcomes = Counter(map(check, range(120)))
    assert outcomes["judged"] > 70, outcomes


@pytest.mark.long
def test_many_masks_and_completions() -> None:
    """MASKWRIGHT_LONG_CASES schemas (5,000), number MASKWRIGHT_LONG_SEED (0) and up."""
    first = int(os.environ.get("MASKWRIGHT_LONG_SEED", "0"))
    count = int(os.environ.get("MASKWRIGHT_LONG_CASES", "5000"))
    print(Counter(map(check, range(first, first + count))))


@pytest.mark.parametrize("indent", [0, 2])
def test_the_last_line_of_an_indented_array_waits_for_two_equal_items(byte_info: mw.TokenizerInfo, indent: int) -> None:
    schema = {"type": "array", "items": {"enum": [True, [], {"k": [1]}]}, "not": UNIQUE}
    matcher = mw.GrammarMatcher(mw.GrammarCompiler(byte_info).compile_json_schema(schema, indent=indent))
    line = "\n" + indent * " "
    assert matcher.accept_string(f"[{line}true")
    for item in ("", f",{line}[]"):
        assert matcher.accept_string(item)
        assert matcher.allowed_bytes() == b","
        completion = matcher.shortest_completion()
        assert matcher.accept_string(completion) and matcher.is_completed()
        matcher.rollback()
        assert matcher.allowed_token_ids().tolist() == [ord(",")] and not matcher.accept_token(ord("\n"))
    assert matcher.accept_string(f",{line}true") and matcher.allowed_bytes() == b"\n,"
    assert matcher.accept_string("\n]") and matcher.is_completed()
