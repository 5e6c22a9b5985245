"""Arrays whose items must differ: cases as data, the way back, completions, and what is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acceptance import takes_stepwise
from jsonschema import Draft202012Validator

import maskwright as mw

CASES = tomllib.loads((Path(__file__).parent / "cases" / "unique_items.toml").read_text())["case"]
UNIQUE = {"type": "array", "uniqueItems": True}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_cases(compiler: mw.GrammarCompiler, case: dict[str, Any]) -> None:
    grammar = compiler.compile_json_schema(json.loads(case["schema"]), **case.get("options", {}))
    for text in case.get("accepted", ()):
        assert takes_stepwise(grammar, text), text
    for text in case.get("rejected", ()):
        assert not takes_stepwise(grammar, text), text
    for follow in case.get("follow", ()):
        matcher = mw.GrammarMatcher(grammar)
        assert matcher.accept_string(follow["prefix"]) == bool(follow["bytes"]), follow
        if follow["bytes"]:
            assert matcher.allowed_bytes().translate(None, b" \t\r\n.") == bytes(sorted(follow["bytes"].encode()))


def test_steps_are_taken_back(compiler: mw.GrammarCompiler) -> None:
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(UNIQUE | {"items": {"type": "string"}}))
    for piece in ('["', "a", '",', '"', "b", '", "'):
        assert matcher.accept_string(piece)
    twin = matcher.fork()
    assert not matcher.accept_string('a"') and not twin.accept_string('b"')
    assert matcher.accept_string('c", "') and not matcher.accept_string('c"')
    assert twin.accept_string('c"')  # what one has written is nothing to the other
    matcher.rollback(3)
    assert matcher.accept_string('b", "') and not matcher.accept_string('b"')
    matcher.reset()
    assert matcher.accept_string('["a", "b"')
    other = mw.GrammarMatcher(matcher.compiled)
    assert other.accept_string('["b", "a"]') and other.is_completed()


def test_masks_after_a_thousand_items(compiler: mw.GrammarCompiler) -> None:
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(UNIQUE | {"items": {"type": "string"}}))
    assert matcher.accept_string(json.dumps([f"item {number}" for number in range(1000)])[:-1] + ', "item 99')
    assert 0x22 not in matcher.allowed_token_ids() and ord("9") in matcher.allowed_token_ids()
    assert matcher.accept_string("9") and 0x22 not in matcher.allowed_token_ids()
    assert matcher.accept_string("9") and 0x22 in matcher.allowed_token_ids()


@pytest.mark.parametrize(
    ("schema", "prefix"),
    [
        ({"items": {"type": "string"}, "minItems": 5}, '["",'),
        ({"items": {"type": "integer"}, "minItems": 12}, "["),
        ({"items": {"enum": [1, 2, 3]}, "minItems": 3}, "[2,"),
        ({"items": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, "minItems": 3}, "["),
        ({"prefixItems": [{"enum": ["a", "b"]}, {"const": "a"}], "minItems": 4}, ""),
        ({"items": {"enum": [1.5, "a"]}}, "[1.5,"),
    ],
)
def test_a_completion_completes(compiler: mw.GrammarCompiler, schema: dict[str, Any], prefix: str) -> None:
    schema = UNIQUE | schema
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema))
    assert matcher.accept_string(prefix)
    completion = matcher.shortest_completion()
    assert matcher.accept_string(completion) and matcher.is_completed()
    Draft202012Validator(schema).validate(json.loads(prefix + completion.decode()))


def test_what_must_come_next_is_known_when_values_are_used_up(compiler: mw.GrammarCompiler) -> None:
    schema = UNIQUE | {"items": {"enum": ["red", "green"]}}
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema, whitespace="compact"))
    assert matcher.accept_string('["red",')
    assert matcher.find_jump_forward_string() == '"green"]'


def test_tokens_of_several_items() -> None:
    tokens = [b'["a"', b'["a","a"', b',"a"', b',"b"', b'","b', b'"', b"a", b"b", b",", b"[", b"]", b'["a","b","a"']
    info = mw.TokenizerInfo([*tokens, b"</s>"], eos_token_ids=[len(tokens)])
    grammar = mw.GrammarCompiler(info).compile_json_schema(
        UNIQUE | {"items": {"enum": ["a", "b"]}}, whitespace="compact"
    )
    matcher = mw.GrammarMatcher(grammar)

    def allowed() -> set[bytes]:
        return {tokens[number] for number in matcher.allowed_token_ids() if number < len(tokens)}

    assert allowed() == {b'["a"', b"["}
    assert not matcher.accept_token(tokens.index(b'["a","a"'))
    assert matcher.accept_token(tokens.index(b'["a"')) and allowed() == {b',"b"', b",", b"]"}
    assert matcher.accept_token(tokens.index(b',"b"')) and allowed() == {b"]"}


@pytest.mark.parametrize(
    "schema",
    [
        {"items": {"type": "boolean"}, "minItems": 3},
        {"prefixItems": [{"const": 1}, {"const": 1.0}], "minItems": 2},
        {"items": {"const": {"a": [1]}}, "minItems": 2},
        {"items": {"type": "array", "items": {"type": "null"}, "maxItems": 2}, "minItems": 4},
    ],
)
def test_too_few_values(compiler: mw.GrammarCompiler, schema: dict[str, Any]) -> None:
    with pytest.raises(mw.UnsatisfiableError):
        compiler.compile_json_schema(UNIQUE | schema)
    optional = compiler.compile_json_schema({"anyOf": [UNIQUE | schema, {"type": "null"}]})
    assert mw.GrammarMatcher(optional).allowed_bytes() == b"n"


@pytest.mark.parametrize(
    "schema",
    [
        {"items": {"enum": [1, 2, 3]}, "contains": {"const": 2}, "maxContains": 1},
        {"prefixItems": [{"enum": [1, 2]}], "contains": {"const": 2}, "items": {"enum": [1, 2]}, "minItems": 3},
    ],
)
def test_what_is_refused_beside_contains(compiler: mw.GrammarCompiler, schema: dict[str, Any]) -> None:
    with pytest.raises((mw.UnsupportedError, mw.UnsatisfiableError)):
        matcher = mw.GrammarMatcher(compiler.compile_json_schema(UNIQUE | schema))
        matcher.fill_next_token_bitmask(np.zeros(9, np.int32))


def test_sets_of_python_types(compiler: mw.GrammarCompiler) -> None:
    grammar = compiler.compile_json_schema(set[int])
    assert takes_stepwise(grammar, "[1, 2]") and not takes_stepwise(grammar, "[1, 1]")


def test_grammars_of_other_numbers_in_the_same_automaton(byte_info: mw.TokenizerInfo) -> None:
    """What may become a number that has been is a question of the grammar's own policy."""
    shared = mw.GrammarCompiler(byte_info)
    for numbers in ("canonical", "any", "canonical"):
        grammar = shared.compile_json_schema(UNIQUE | {"items": {"const": 5}}, numbers=numbers)
        assert grammar.distinct
        assert {array.any_number for array in grammar.distinct.values()} == {numbers == "any"}
