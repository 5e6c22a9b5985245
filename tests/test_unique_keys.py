"""No key comes twice in an object, whatever its spelling: named keys and others, in all orders, in masks and completions."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from acceptance import takes_stepwise

import maskwright as mw

ANY = {"property_order": "any", "escapes": "any", "numbers": "any"}


OBJECTS: list[dict[str, Any]] = [
    {"type": "object"},
    {"properties": {"a": {"type": "integer"}}},
    {"properties": {"a": True, "b": True}, "additionalProperties": {"type": "integer"}},
    {"patternProperties": {"^[ab]": {"type": "integer"}}},
    {"patternProperties": {"^[ab]$": {"type": "integer"}, "b": True}, "additionalProperties": {"type": "integer"}},
    {"propertyNames": {"pattern": "^[ab]+$"}},
    {"propertyNames": {"enum": ["a", "b", "ab"]}},
    {"anyOf": [{"properties": {"a": True}}, {"required": ["b"]}], "unevaluatedProperties": {"type": "integer"}},
    {"minProperties": 1, "maxProperties": 2},
    {"dependentRequired": {"a": ["b"]}, "additionalProperties": {"enum": [1, 2]}},
    {"not": {"required": ["c"]}},
    {"oneOf": [{"additionalProperties": {"const": 1}}, {"minProperties": 2}], "maxProperties": 2},
]
SAME = [
    ('"a"', '"a"'), ('"a"', '"\\u0061"'), ('"\\u0061"', '"\\u0061"'), ('"ab"', '"\\u0061\\u0062"'),
    ('"b"', '"\\u0062"'),
]  # fmt: skip


@pytest.mark.parametrize("schema", OBJECTS, ids=json.dumps)
@pytest.mark.parametrize("options", [{}, {"property_order": "any"}, ANY], ids=["default", "any order", "any"])
def test_keys_come_once(compiler: mw.GrammarCompiler, schema: dict[str, Any], options: dict[str, Any]) -> None:
    grammar = compiler.compile_json_schema(schema, **options)
    for first, second in SAME:
        assert not takes_stepwise(grammar, f"{{{first}: 1, {second}: 1}}")
        assert not takes_stepwise(grammar, f"{{{first}: 1, {second}: 2}}")
        assert not takes_stepwise(grammar, f'{{{first}: 1, "z": {{}}, {second}: 1}}')


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("é", "\\u00e9"), ("é", "\\u00E9"), ("/", "\\/"), ('\\"', "\\u0022"), ("\\\\", "\\u005c"), ("\\n", "\\u000A"),
        ("😀", "\\ud83d\\ude00"), ("\\uD83D\\uDE00", "\\ud83d\\ude00"), ("a/b", "a\\/b"), ("", ""), ("\\t", "\\u0009"),
    ],
)  # fmt: skip
def test_spellings_of_one_key(compiler: mw.GrammarCompiler, first: str, second: str) -> None:
    assert json.loads(f'"{first}"') == json.loads(f'"{second}"')
    for schema in ({"type": "object"}, {"propertyNames": {"maxLength": 3}}, {"patternProperties": {"^": True}}):
        grammar = compiler.compile_json_schema(schema, **ANY)
        assert takes_stepwise(grammar, f'{{"{first}": 1, "x": 1}}')
        assert not takes_stepwise(grammar, f'{{"{first}": 1, "{second}": 1}}')
        assert not takes_stepwise(grammar, f'{{"x": 1, "{second}": 1, "y": [{{}}], "{first}": 1}}')
        inside = (
            f'{{"x": {{"{first}": 1}}, "y": [{{"{first}": {{"{second}": 1}}}}, "{second}"], "{second}": "{first}"}}'
        )
        assert takes_stepwise(grammar, inside)  # another object each


def test_what_may_follow_in_a_key(compiler: mw.GrammarCompiler) -> None:
    matcher = mw.GrammarMatcher(compiler.compile_json_schema({"type": "object"}, whitespace="compact"))
    assert matcher.accept_string('{"ab":1,"abc":2,"')
    assert matcher.accept_string("ab") and b'"' not in matcher.allowed_bytes() and b"c" in matcher.allowed_bytes()
    assert matcher.accept_string("c") and b'"' not in matcher.allowed_bytes()
    matcher.rollback()
    twin = matcher.fork()
    assert matcher.accept_string('d":3,"') and twin.accept_string('e":3,"')
    assert not matcher.accept_string('abd"') and matcher.accept_string('abe"')
    assert not twin.accept_string('abe"') and twin.accept_string('abd"')
    matcher.reset()
    assert matcher.accept_string('{"ab":{"ab":{}}}') and matcher.is_completed()


def test_many_keys(compiler: mw.GrammarCompiler) -> None:
    """Token by token, as kernels follow it, in forks that share what both have had."""
    matcher = mw.GrammarMatcher(compiler.compile_json_schema({"type": "object"}, whitespace="compact"))

    def write(one: mw.GrammarMatcher, text: str) -> bool:
        return all(one.accept_token(byte) for byte in text.encode())

    members = [f'"key{number}":{{"key{number}":[]}}' for number in range(400)]
    assert write(matcher, "{" + ",".join(members[:100]))
    twin = matcher.fork()
    assert write(matcher, "," + ",".join(members[100:])) and write(twin, ',"key1000":0,"')
    for number in (0, 99, 100, 399):
        assert write(matcher, f',"key{number}') and not matcher.accept_token(ord('"'))
        matcher.rollback(5 + len(str(number)))
        assert write(twin, f"key{number}") and twin.accept_token(ord('"')) == (number >= 100)
        twin.rollback(3 + len(str(number)) + (number >= 100))
    assert write(twin, "key1000") and not twin.accept_token(ord('"'))
    assert write(matcher, ',"key1000":0}') and matcher.is_completed()


def test_keys_that_have_little_room(compiler: mw.GrammarCompiler) -> None:
    schema = {"propertyNames": {"pattern": "^(a|b+)$"}, "type": "object"}
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema, whitespace="compact"))
    assert matcher.accept_string('{"') and matcher.allowed_bytes() == b"ab"
    assert matcher.accept_string('a":1,"') and matcher.allowed_bytes() == b"b"  # "a" can only be "a" again
    assert matcher.accept_string('b":1,"b') and matcher.allowed_bytes() == b"b"
    assert list(matcher.allowed_token_ids()) == [ord("b")]


def test_keys_are_used_up(compiler: mw.GrammarCompiler) -> None:
    schema = {"patternProperties": {"^[ab]$": True}, "additionalProperties": False, "minProperties": 2}
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema, whitespace="compact", property_order="any"))
    assert matcher.accept_string('{"b":1') and b"}" not in matcher.allowed_bytes()
    assert matcher.accept_string(',"') and matcher.allowed_bytes() == b"a"
    assert matcher.accept_string('a":1') and b"," not in matcher.allowed_bytes()
    with pytest.raises(mw.UnsatisfiableError):
        compiler.compile_json_schema({"type": "object", **schema, "minProperties": 3})
    with pytest.raises(mw.UnsatisfiableError):
        names = {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "minProperties": 3}
        compiler.compile_json_schema(names)


@pytest.mark.parametrize(
    ("schema", "prefix"),
    [
        ({"type": "object", "minProperties": 4}, ""),
        ({"type": "object", "minProperties": 3}, '{"":0,"'),
        ({"type": "object", "minProperties": 3, "propertyNames": {"pattern": "^x*$"}}, '{"x":0,"x'),
        ({"type": "object", "minProperties": 3, "propertyNames": {"pattern": "^(a|b+)$"}}, ""),
        ({"type": "array", "items": {"type": "object", "minProperties": 2}, "minItems": 2, "uniqueItems": True}, ""),
    ],
)
def test_completions(compiler: mw.GrammarCompiler, schema: dict[str, Any], prefix: str) -> None:
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema, whitespace="compact"))
    assert matcher.accept_string(prefix)
    completion = matcher.shortest_completion()
    assert matcher.accept_string(completion) and matcher.is_completed()

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs) >= schema.get("minProperties", 2)
        return dict(pairs)

    json.loads(prefix + completion.decode(), object_pairs_hook=members)


def test_tokens_of_several_bytes() -> None:
    tokens = [
        b'{"a":1',
        b',"a"',
        b',"b"',
        b',"a',
        b'a":',
        b'a"',
        b'{"a":1,"a":1',
        b'b":1,"',
        b'"}',
        b'","',
        b'"a"',
        b",",
        b'"',
        b":1",
    ]
    tokens += [bytes((byte,)) for byte in b"abc{}1:"]
    info = mw.TokenizerInfo([*tokens, b"</s>"], eos_token_ids=[len(tokens)])
    grammar = mw.GrammarCompiler(info).compile_json_schema({"additionalProperties": {"const": 1}, "type": "object"})

    def allowed(text: bytes) -> set[bytes]:
        matcher = mw.GrammarMatcher(grammar)
        assert matcher.accept_string(text)
        ids = set(matcher.allowed_token_ids().tolist())
        for number, token in enumerate(tokens):
            assert matcher.accept_token(number) == (number in ids), (text, token)
            if number in ids:
                matcher.rollback()
        return {tokens[number] for number in ids if number < len(tokens)}

    assert b'{"a":1' in allowed(b"") and b'{"a":1,"a":1' not in allowed(b"")
    assert {b',"b"', b',"a', b","} <= allowed(b'{"a":1') and b',"a"' not in allowed(b'{"a":1')
    assert b'a"' not in allowed(b'{"a":1,"') and b'a":' not in allowed(b'{"a":1,"') and b"a" in allowed(b'{"a":1,"')
    assert b'b":1,"' in allowed(b'{"a":1,"') and b'b":1,"' not in allowed(b'{"b":1,"')
    assert b'"' not in allowed(b'{"a":1,"a') and b'b":1,"' in allowed(b'{"a":1,"a')


def test_a_batch(byte_info: mw.TokenizerInfo, compiler: mw.GrammarCompiler) -> None:
    grammar = compiler.compile_json_schema({"type": "object"}, whitespace="compact")
    matchers = [mw.GrammarMatcher(grammar) for _ in range(3)]
    batch = mw.BatchGrammarMatcher()
    assert all(batch.batch_accept_string(matchers, ['{"a":1,"a', '{"b":1,"a', '{"":1,"']))
    mask = mw.allocate_token_bitmask(3, byte_info.vocab_size)
    batch.batch_fill_next_token_bitmask(matchers, mask)
    assert [int(row[1]) >> 2 & 1 for row in mask] == [0, 1, 0]
    assert batch.batch_accept_token(matchers, [0x22] * 3) == [False, True, False]
    assert batch.batch_accept_token(matchers[::2], [0x78] * 2) == [True, True]


def test_objects_inside_a_grammar(compiler: mw.GrammarCompiler) -> None:
    rules = 'start: "call " value "!"\nvalue: %json {"type": "object"}'
    grammar = compiler.compile_grammar(mw.Grammar.from_lark(rules))
    assert takes_stepwise(grammar, 'call {"a": 1, "b": {"a": 1}}!')
    assert not takes_stepwise(grammar, 'call {"a": 1, "a": 1}!')
    assert not takes_stepwise(grammar, 'call {"a": {"b": 1, "b": 2}}!')
    tag = {"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": ["<f"], "tags": [
        {"begin": "<f>", "content": {"type": "json_schema", "json_schema": {"type": "object"}}, "end": "</f>"}]}}  # fmt: skip
    grammar = compiler.compile_structural_tag(tag)
    assert takes_stepwise(grammar, 'so {"a": 1, "a": 1} <f>{"a": 1}</f> <f>{"a": 1, "b": 1}</f>')
    assert not takes_stepwise(grammar, '<f>{"a": 1, "a": 1}</f>')


def count_of_distinct(pairs: list[tuple[str, Any]]) -> int:
    """How many members an object has, with those inside of it."""
    assert len(dict(pairs)) == len(pairs), pairs
    return len(pairs) + sum(value for _, value in pairs)


def test_random_walks_repeat_no_key(compiler: mw.GrammarCompiler) -> None:
    """Among the few keys that there are bytes for, most would."""
    tokens = [bytes((byte,)) for byte in b'{}",:a0\\u0061[]'] + [b'a"', b'":', b'","', b',"a"', b"\\u0061", b'{"a":0,"']
    info = mw.TokenizerInfo([*tokens, b"</s>"], eos_token_ids=[len(tokens)])
    schema = {"$ref": "#/$defs/o", "$defs": {"o": {"additionalProperties": {"anyOf": [{"const": 0}, {"$ref": "#/$defs/o"}]},
              "type": "object"}}}  # fmt: skip
    grammar = mw.GrammarCompiler(info).compile_json_schema(schema, whitespace="compact", escapes="any")
    members = 0
    for seed in range(60):
        rng, matcher, text = random.Random(seed), mw.GrammarMatcher(grammar), b""
        for _ in range(rng.randint(5, 60)):
            token = int(rng.choice(matcher.allowed_token_ids()))
            assert matcher.accept_token(token)
            if token == len(tokens):
                break
            text += tokens[token]
        if not matcher.is_terminated():
            text += matcher.shortest_completion()

        members += json.loads(text, object_pairs_hook=count_of_distinct)
    assert members > 100
