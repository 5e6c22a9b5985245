"""The shortest completion: of the length that a plain search finds, at any place of a text, and always the same one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import strategies
from naive import Oracle
from naive_texts import parse_prefix
from test_masks_oracle import POLICIES

import maskwright as mw

REFUSALS = (mw.UnsupportedError, mw.LimitExceeded, mw.InvalidError, mw.UnsatisfiableError)
# A shortest completion needs no other bytes than these and those of the schema's own characters.
ENOUGH = b'{}[]:,"\\-+.0123456789eEtruefalsnz\x80\x90\xa0'


@pytest.fixture(scope="module")
def compiler(byte_info: mw.TokenizerInfo) -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_info, cache_enabled=False)


def completed(matcher: mw.GrammarMatcher) -> bytes:
    """The matcher's completion, which must complete it and leave it where it was."""
    steps = matcher.step_count
    found = matcher.shortest_completion()
    assert matcher.shortest_completion() == found, "another answer to the same question"
    assert matcher.step_count == steps
    assert (found == b"") == matcher.is_completed()
    if found:
        assert matcher.accept_string(found), f"{found!r} is not accepted"
        assert matcher.is_completed(), f"{found!r} does not complete the text"
        matcher.rollback()
    return found


def at(grammar: mw.CompiledGrammar, text: str | bytes) -> mw.GrammarMatcher:
    matcher = mw.GrammarMatcher(grammar)
    assert matcher.accept_string(text), text
    return matcher


def walk(matcher: mw.GrammarMatcher, rng: random.Random, steps: int) -> Iterator[bytes]:
    """The texts along a random walk of single bytes, mostly those that carry structure; the matcher goes along."""
    text = b""
    yield text
    for _ in range(steps):
        allowed = matcher.allowed_bytes()
        structure = [byte for byte in allowed if byte in b'"{}[]:,']
        if not allowed:
            return
        byte = rng.choice(structure if structure and rng.random() < 0.6 else allowed)
        assert matcher.accept_string(bytes((byte,)))
        text += bytes((byte,))
        yield text


# ---------------------------------------------------------------------------------------------------------------------
# Exact


def fewest_bytes(matcher: mw.GrammarMatcher, most: int, budget: int) -> int | None:
    """Bytes of a shortest completion, breadth first over all configurations; None when there is none of `most` bytes,
    or the budget of configurations is used up (then also of fewer)."""
    seen = set()
    frontier = [b""]
    for length in range(most + 1):
        following = []
        for text in frontier:
            steps = matcher.step_count
            matcher.accept_string(text)
            here = tuple(matcher._header[14:17].tolist())  # state, register, stack node
            if here not in seen and matcher.is_completed():
                matcher.rollback(matcher.step_count - steps)
                return length
            if here not in seen:
                following += [text + bytes((byte,)) for byte in matcher.allowed_bytes()]
            seen.add(here)
            matcher.rollback(matcher.step_count - steps)
            if len(seen) > budget:
                return None
        frontier = following
    return None


def test_no_search_over_configurations_finds_a_shorter_one(compiler: mw.GrammarCompiler) -> None:
    decided = 0
    for number in range(200):
        rng = random.Random(number)
        schema = strategies.build_schema(strategies.Rolled(rng), 1 + number % 3)
        try:
            grammar = compiler.compile_json_schema(schema, **rng.choice(POLICIES).options)
        except mw.UnsatisfiableError:
            continue
        matcher = mw.GrammarMatcher(grammar)
        for text in walk(matcher, rng, 12):
            if rng.random() < 0.3:
                found = completed(matcher)
                fewest = fewest_bytes(matcher, len(found), 1500)
                assert fewest in (None, len(found)), f"{json.dumps(schema)} after {text!r}: {found!r}, not {fewest}"
                decided += fewest is not None
    assert decided > 300, decided


def fewest_by_oracle(oracle: Oracle, prefix: bytes, most: int, budget: int) -> int | None:
    """As `fewest_bytes`, by the slow oracle's word; texts that it cannot tell apart are followed once."""
    characters = set(ENOUGH) | {byte for char in oracle.mentioned for byte in char.encode(errors="ignore")}
    tokens = [bytes((byte,)) for byte in sorted(characters)]
    seen = set()
    frontier = [prefix]
    for length in range(most + 1):
        following = []
        for text in frontier:
            if oracle.member(text):
                return length
            node = parse_prefix(text, oracle.policy)
            assert node is not None
            here = oracle._normal(node)
            if here in seen:
                continue
            seen.add(here)
            if len(seen) > budget:
                return None
            following += [text + token for token in oracle.allowed(text, tokens)]
        frontier = following
    return None


def test_the_oracle_knows_no_shorter_one(compiler: mw.GrammarCompiler) -> None:
    decided = 0
    for number in range(1000, 1140):
        rng = random.Random(number)
        schema = strategies.build_schema(strategies.Rolled(rng), 1 + number % 2)
        policy = rng.choice(POLICIES)
        oracle = Oracle(schema, policy)
        try:
            grammar = compiler.compile_json_schema(schema, **policy.options)
        except mw.UnsatisfiableError:
            continue
        matcher = mw.GrammarMatcher(grammar)
        for text in walk(matcher, rng, 10):
            if rng.random() < 0.3:
                found = completed(matcher)
                assert oracle.member(text + found), f"{json.dumps(schema)} after {text!r}: {found!r}"
                fewest = fewest_by_oracle(oracle, text, len(found), 40)
                assert fewest in (None, len(found)), f"{json.dumps(schema)} after {text!r}: {found!r}, not {fewest}"
                decided += fewest is not None
    assert decided > 150, decided


# ---------------------------------------------------------------------------------------------------------------------
# Cases

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3},
        "nick": {"type": "string"},
        "home": {
            "type": "object",
            "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["zip"],
        },
    },
    "required": ["name", "home"],
}
LIST = {
    "$ref": "#/$defs/list",
    "$defs": {
        "list": {
            "type": "object",
            "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/list"}, {"type": "null"}]}},
            "required": ["v", "next"],
        }
    },
}
SHAPES = {
    "oneOf": [
        {
            "properties": {"kind": {"const": "circle"}, "r": {"type": "integer", "minimum": 100}},
            "required": ["kind", "r"],
        },
        {"properties": {"kind": {"const": "rectangle"}, "w": {"type": "integer"}}, "required": ["kind", "w"]},
    ],
    "type": "object",
}
CASES: list[tuple[Any, str, bytes]] = [
    (True, "", b"0"),
    (True, "12", b""),
    (True, "-", b"0"),
    (True, '{"a":[1,[{', b"}]]}"),
    (True, '"\\', b'b"'),
    (PERSON, "", b'{"name":"aaa","home":{"zip":"00000"}}'),
    (PERSON, '{"name":"Jo', b'a","home":{"zip":"00000"}}'),
    (PERSON, '{"name":"Jon","ni', b'ck":"","home":{"zip":"00000"}}'),
    (PERSON, '{"name":"Jon","home":{"zip":"123', b'00"}}'),
    (LIST, "", b'{"v":0,"next":null}'),
    (LIST, '{"v":1,"next":{"v":2,"next":', b"null}}"),
    (SHAPES, "", b'{"kind":"circle","r":100}'),
    (SHAPES, '{"kind":"r', b'ectangle","w":0}'),
    ({"enum": ["red", "green", "blue"]}, "", b'"red"'),
    ({"enum": ["red", "green", "blue"]}, '"b', b'lue"'),
    ({"type": "array", "items": {"enum": [10, 200]}, "minItems": 3}, "[200", b",10,10]"),
    ({"type": "array", "prefixItems": [{"const": "ab"}, {"type": "null"}], "minItems": 3}, "", b'["ab",null,0]'),
    ({"type": "object", "minProperties": 1, "additionalProperties": {"type": "boolean"}}, "", b'{"":true}'),
    ({"type": "string", "minLength": 2}, '"\u00e9', b'a"'),
    ({"type": "string", "format": "date"}, '"2024-02-', b'01"'),
]


@pytest.mark.parametrize(("schema", "prefix", "expected"), CASES)
def test_completions_of_schemas(compiler: mw.GrammarCompiler, schema: Any, prefix: str, expected: bytes) -> None:
    assert completed(at(compiler.compile_json_schema(schema), prefix)) == expected


@pytest.mark.parametrize(
    ("pattern", "prefix", "expected"),
    [
        ("[a-z]{3,}x?", "", b"aaa"),
        ("(ab|cde)+f", "a", b"bf"),
        ("(ab|cde)+f", "abc", b"def"),
        ("[^a-z]+", "", b"0"),
        ("\u00e9{2}", b"\xc3", b"\xa9\xc3\xa9"),
        ("(a|b{1000})", "b", b"b" * 999),
        ("x*", "", b""),
    ],
)
def test_completions_of_patterns(
    compiler: mw.GrammarCompiler, pattern: str, prefix: str | bytes, expected: bytes
) -> None:
    assert completed(at(compiler.compile_regex(pattern), prefix)) == expected


def test_completions_of_choices(compiler: mw.GrammarCompiler) -> None:
    grammar = compiler.compile_choices(["yes", "yesterday", "no idea"])
    assert completed(at(grammar, "")) == b"yes"
    assert completed(at(grammar, "yest")) == b"erday"
    assert completed(at(grammar, "yes")) == b""


@pytest.mark.parametrize("count", [2, 9, 5000, 1_000_000])
def test_counted_loops_are_not_walked(compiler: mw.GrammarCompiler, count: int) -> None:
    text = at(compiler.compile_json_schema({"type": "string", "minLength": count}), '"\u00e9')
    assert text.shortest_completion() == b"a" * (count - 1) + b'"'
    item = {"type": "integer", "minimum": 10}
    items = at(compiler.compile_json_schema({"type": "array", "minItems": count, "items": item}), "[77")
    assert items.shortest_completion() == b",10" * (count - 1) + b"]"
    bounded = at(compiler.compile_json_schema({"type": "array", "minItems": count, "maxItems": count + 1}), "[[]")
    assert bounded.shortest_completion() == b",0" * (count - 1) + b"]"
    if count <= 5000:  # a text of single-byte tokens is accepted byte by byte
        for matcher in (text, items, bounded):
            assert matcher.accept_string(completed(matcher)[:-1])
            completed(matcher)


def test_a_completion_beyond_reason_is_refused(compiler: mw.GrammarCompiler) -> None:
    schema = {"type": "array", "minItems": 10**8, "items": {"type": "string", "minLength": 10**8}}
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema))
    for _ in range(2):
        with pytest.raises(mw.LimitExceeded, match="minItems"):
            matcher.shortest_completion()
    assert matcher.accept_string('["a')


def test_what_is_kept_is_bounded(compiler: mw.GrammarCompiler) -> None:
    """Every place of a long string has a long completion of its own."""
    grammar = compiler.compile_json_schema({"type": "string", "minLength": 1_000_000})
    matcher = at(grammar, '"')
    for count in range(200):
        assert len(matcher.shortest_completion()) == 1_000_001 - count
        assert matcher.accept_string("b")
        assert sum(len(text) for frame in grammar._endings._frames.values() for text in frame.texts.values()) < 70 << 20


def test_deep_stacks(compiler: mw.GrammarCompiler) -> None:
    matcher = at(compiler.compile_json_schema(True), '{"a":[' * 3000)
    assert completed(matcher) == b"]}" * 3000
    schema: Any = {"type": "null"}
    for depth in range(60):
        schema = {"type": "object", "properties": {"k": schema}, "required": ["k"]} if depth % 2 else {
            "type": "array", "items": schema, "minItems": 1
        }  # fmt: skip
    assert len(completed(mw.GrammarMatcher(compiler.compile_json_schema(schema)))) == 4 + 30 * 2 + 30 * 6


def test_results_that_only_some_callers_want(compiler: mw.GrammarCompiler) -> None:
    """Nested containers that report on their children: which end of the child is best depends on what lies below."""
    schema = {
        "type": "array",
        "items": {"anyOf": [{"type": "array", "maxItems": 0}, {"type": "array", "minItems": 2}, {"type": "integer"}]},
        "anyOf": [
            {"items": {"type": "array", "minItems": 2}},
            {"items": {"type": ["array", "integer"]}, "minItems": 4},
        ],
    }
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema))
    for step in "[[", "0", ",0", ",1", "]", ",":
        assert matcher.accept_string(step)
        found = completed(matcher)
        assert fewest_bytes(matcher, len(found), 20_000) == len(found)


# ---------------------------------------------------------------------------------------------------------------------
# Along a text


def test_after_rollback_fork_reset_and_the_end(byte_info: mw.TokenizerInfo) -> None:
    grammar = mw.GrammarCompiler(byte_info).compile_json_schema(PERSON)
    matcher = mw.GrammarMatcher(grammar)
    before = completed(matcher)
    assert matcher.accept_string('{"name":"Jonathan","home":')
    inside = completed(matcher)
    assert matcher.accept_string('{"zip":"1')
    assert completed(matcher) == b'0000"}}'
    twin = matcher.fork()
    matcher.rollback()
    assert completed(matcher) == inside == b'{"zip":"00000"}}'
    assert completed(twin) == b'0000"}}'
    assert twin.accept_string('2345"')
    assert completed(twin) == b"}}"
    assert matcher.accept_string(inside)
    assert matcher.shortest_completion() == b""
    assert matcher.accept_token(256)
    assert matcher.shortest_completion() == b""
    matcher.reset()
    assert completed(matcher) == before


def test_the_answer_does_not_depend_on_what_was_asked_before(compiler: mw.GrammarCompiler) -> None:
    for number in range(2000, 2060):
        rng = random.Random(number)
        schema = strategies.build_schema(strategies.Rolled(rng), 2)
        try:
            asked, fresh = (compiler.compile_json_schema(schema) for _ in range(2))
        except mw.UnsatisfiableError:
            continue
        matcher = mw.GrammarMatcher(asked)
        texts = list(walk(matcher, rng, 15))
        answers = {text: at(asked, text).shortest_completion() for text in rng.sample(texts, len(texts))}
        assert at(fresh, texts[-1]).shortest_completion() == answers[texts[-1]]
        for text in texts:
            assert at(fresh, text).shortest_completion() == answers[text], f"{json.dumps(schema)} after {text!r}"


def test_threads_share_what_was_found(compiler: mw.GrammarCompiler) -> None:
    grammar = compiler.compile_json_schema(PERSON)
    text = '{"name":"Jonathan","nick":"Jo","home":{"zip":"12345"}}'

    def ask(number: int) -> list[bytes]:
        order = list(range(len(text)))
        random.Random(number).shuffle(order)
        answers = {n: at(grammar, text[:n]).shortest_completion() for n in order}
        return [answers[n] for n in range(len(text))]

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(ask, range(8))
    assert all(other == first for other in others)


def test_a_place_that_cannot_be_lowered_is_avoided() -> None:
    """The vocabulary cannot open an array, which the search meets on its way and which no text can pass."""
    tokens = [bytes((byte,)) for byte in range(256) if byte != ord("[")]
    info = mw.TokenizerInfo([*tokens, b"</s>"], eos_token_ids=[len(tokens)])
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array"}, "required": {"type": "string"}},
        "required": ["required"],
    }
    grammar = mw.GrammarCompiler(info).compile_json_schema(schema)
    assert completed(at(grammar, "")) == b'{"required":""}'
    with pytest.raises(mw.TokenizerError):
        at(grammar, '{"a":').shortest_completion()
    assert completed(at(grammar, "{")) == b'"required":""}'


# ---------------------------------------------------------------------------------------------------------------------
# Real schemas


def check_instances(compiler: mw.GrammarCompiler, record: dict[str, Any], rng: random.Random) -> int:
    """Completes prefixes of a schema's valid instances; how many."""
    try:
        grammar = compiler.compile_json_schema(record["schema"])
    except REFUSALS:
        return 0
    checked = 0
    for test in record["tests"]:
        text = json.dumps(test["data"], ensure_ascii=False).encode()
        try:
            if not test["valid"] or not mw.GrammarMatcher(grammar).accept_string(text):
                continue  # members in another order
            for length in sorted({0, *(rng.randrange(len(text)) for _ in range(4))}):
                found = completed(at(grammar, text[:length]))
                assert len(found) <= len(text) - length, f"{record['id']} after {text[:length]!r}: {found!r}"
                checked += 1
        except REFUSALS:  # found where the text led to
            return checked
    return checked


def test_no_instance_is_shorter(compiler: mw.GrammarCompiler, maskbench: list[dict[str, Any]]) -> None:
    rng = random.Random(0)
    assert sum(check_instances(compiler, record, rng) for record in maskbench[:150]) > 400


@pytest.mark.long
def test_no_instance_of_all_is_shorter(compiler: mw.GrammarCompiler, maskbench: list[dict[str, Any]]) -> None:
    rng, checked = random.Random(0), 0
    for number, record in enumerate(maskbench, 1):
        checked += check_instances(compiler, record, rng)
        if number % 200 == 0:
            print(f"{number:,} schemas, {checked:,} completions", flush=True)
    assert checked > 2 * len(maskbench)


def test_a_completion_that_takes_too_long_to_find_says_so(byte_info: mw.TokenizerInfo) -> None:
    schema = {
        "additionalProperties": {"type": "integer", "not": {"maximum": 20, "multipleOf": 0.5, "exclusiveMaximum": 3}}
    }
    compiler = mw.GrammarCompiler(byte_info, max_compile_ms=500)
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema, numbers="any"))
    for text in ('{  "a"\r', "\n"):
        assert matcher.accept_string(text)
        with pytest.raises(mw.LimitExceeded, match=r"max_nodes|max_compile_ms"):
            matcher.shortest_completion()
