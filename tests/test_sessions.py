"""Masks by prefix: sessions, their bounds and threads, constraints that fail closed, forms of requests."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.constraint import Constraint, Reasoning
from maskwright.forms import Form, form_of
from maskwright.grammars.errors import InvalidError, LimitExceeded, MatcherError, TokenizerError, UnsupportedError
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.sessions import Sessions

SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {name: {"type": "integer"}}, "required": [name], "additionalProperties": False}
    for name in ("alpha", "alpine", "beta", "gamma")
]


@pytest.fixture(scope="module")
def info(byte_info: TokenizerInfo) -> TokenizerInfo:
    return byte_info


@pytest.fixture(scope="module")
def compiler(info: TokenizerInfo) -> GrammarCompiler:
    return GrammarCompiler(info)


@pytest.fixture(scope="module")
def grammars(compiler: GrammarCompiler) -> list[CompiledGrammar]:
    return [compiler.compile_json_schema(schema) for schema in SCHEMAS]


def fresh_mask(compiled: CompiledGrammar, tokens: list[int]) -> list[int]:
    """What a new matcher allows behind the tokens; the tokens that end, past the end."""
    matcher = GrammarMatcher(compiled)
    for token in tokens:
        if matcher.is_terminated():
            break
        assert matcher.accept_token(token)
    if matcher.is_terminated():
        return sorted(compiled.tokenizer_info.eos_token_ids)
    return matcher.allowed_token_ids().tolist()


def bits(row: np.ndarray[Any, np.dtype[np.int32]]) -> list[int]:
    return np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little")).tolist()


def drawn(compiled: CompiledGrammar, seed: int, length: int) -> list[int]:
    """Random allowed tokens, at most `length`; digits and closing brackets end such texts soon."""
    choose, matcher, tokens = random.Random(seed), GrammarMatcher(compiled), list[int]()
    while len(tokens) < length and not matcher.is_terminated():
        tokens.append(choose.choice(matcher.allowed_token_ids().tolist()))
        matcher.accept_token(tokens[-1])
    return tokens


def test_any_prefix_of_any_grammar_in_any_order_has_the_mask_of_a_fresh_matcher(
    grammars: list[CompiledGrammar], info: TokenizerInfo
) -> None:
    sessions, choose = Sessions(), random.Random(5)
    texts = [(grammar, drawn(grammar, seed, 40)) for seed in range(6) for grammar in grammars]
    row = np.full(12, -1, np.int32)  # three words more than the vocabulary has
    for _ in range(400):
        grammar, text = choose.choice(texts)
        prefix = text[: choose.randrange(len(text) + 1)]
        sessions.fill(grammar, prefix, row)
        assert bits(row) == fresh_mask(grammar, prefix)
    assert sessions.hits and sessions.searches


def test_past_the_end_only_the_end_may_come(grammars: list[CompiledGrammar], info: TokenizerInfo) -> None:
    sessions, row = Sessions(), np.zeros(9, np.int32)
    (end,) = info.eos_token_ids
    for padding in ([], [end], [0, 0, 0]):
        text = [*b'{"beta":1}', end, *padding]
        sessions.fill(grammars[2], text, row)
        assert bits(row) == [end]
        assert sessions.is_terminated(grammars[2], text)
    assert not sessions.is_terminated(grammars[2], [*b'{"beta":1}'])


def test_decoding_many_sequences_in_turns_is_found_at_one_look(grammars: list[CompiledGrammar]) -> None:
    sessions, row = Sessions(), np.zeros(9, np.int32)
    texts = [[*f'{{"{name}":{number}}}'.encode()] for number in range(10, 18) for name in ("alpha", "alpine", "beta")]
    for step in range(10):
        for number, text in enumerate(texts):
            sessions.fill(grammars[number % 3], text[:step], row)
    # Sequences that have all tokens in common share a walk until they part, and then one of them searches.
    assert sessions.searches <= 2 * len(texts)
    assert sessions.hits > 200


def test_a_rejected_draft_is_rolled_back_and_another_sequence_left_alone(grammars: list[CompiledGrammar]) -> None:
    sessions, row = Sessions(), np.zeros(9, np.int32)
    start = [*b'{"alpha":1234567890123456789']
    sessions.fill(grammars[0], start, row)
    sessions.fill(grammars[0], start[:-3], row)
    assert len(sessions) == 1  # moved back
    sessions.fill(grammars[0], [*b"{"], row)
    assert len(sessions) == 2  # a new one: the other is far ahead
    assert bits(row) == fresh_mask(grammars[0], [*b"{"])


def test_memory_is_bounded_and_what_was_dropped_is_walked_again(grammars: list[CompiledGrammar]) -> None:
    sessions, row = Sessions(max_bytes=1 << 20), np.zeros(9, np.int32)
    texts = [[*f'{{"alpha":{number}{0:020}'.encode()] for number in range(100, 160)]
    for text in texts * 2:
        sessions.fill(grammars[0], text, row)
        assert bits(row) == fresh_mask(grammars[0], text)
        assert sessions.nbytes <= 1 << 20
    assert sessions.evictions
    sessions.clear()
    assert sessions.nbytes == len(sessions) == 0


def test_what_is_not_allowed_raises_and_writes_nothing(grammars: list[CompiledGrammar]) -> None:
    sessions, row = Sessions(), np.full(9, -1, np.int32)
    with pytest.raises(MatcherError, match="does not allow token 120 at position 1"):
        sessions.fill(grammars[0], [*b"{x"], row)
    assert not row.any()
    with pytest.raises(MatcherError, match="not in the vocabulary"):
        sessions.fill(grammars[0], [*b"{", 70_000], row)
    sessions.fill(grammars[0], [*b"{"], row)
    assert bits(row) == fresh_mask(grammars[0], [*b"{"])


def test_threads_do_not_disturb_each_other(grammars: list[CompiledGrammar]) -> None:
    sessions = Sessions(max_bytes=8 << 20)

    def work(seed: int) -> int:
        choose, row, right = random.Random(seed), np.zeros(9, np.int32), 0
        for _ in range(40):
            grammar = choose.choice(grammars)
            text = drawn(grammar, choose.randrange(8), 30)
            prefix = text[: choose.randrange(len(text) + 1)]
            sessions.fill(grammar, prefix, row)
            right += bits(row) == fresh_mask(grammar, prefix)
        return right

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [40] * 8


def test_a_constraint_ends_the_answer_where_something_goes_wrong(
    grammars: list[CompiledGrammar], info: TokenizerInfo
) -> None:
    constraint, row = Constraint(Sessions(), grammars[0]), np.zeros(10, np.int32)
    constraint.fill([*b"{"], row)
    assert bits(row) == fresh_mask(grammars[0], [*b"{"])
    constraint.check()
    constraint.fill([*b"{x"], row)
    assert bits(row) == [*info.eos_token_ids]
    constraint.fill([*b"{"], row)  # what comes later is not trusted either
    assert bits(row) == [*info.eos_token_ids]
    with pytest.raises(MatcherError, match="does not allow"):
        constraint.check()


def test_a_limit_ends_the_answer_too(info: TokenizerInfo) -> None:
    compiled = GrammarCompiler(info, max_states=30).compile_json_schema(
        {"type": "object", "patternProperties": {"^(a|b){2,9}c": {"type": "string", "pattern": "^x{1,9}(yz){3,7}$"}}}
    )
    constraint, row = Constraint(Sessions(), compiled), np.zeros(9, np.int32)
    text = b'{"aabc": "xxxyzyzyz"}'
    for length in range(len(text)):
        constraint.fill([*text[:length]], row)
        assert row.any()
    assert bits(row) == [*info.eos_token_ids]
    with pytest.raises(LimitExceeded, match="max_states"):
        constraint.check()


def test_a_mask_is_never_empty(compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: GrammarMatcher, bitmask: np.ndarray[Any, np.dtype[np.int32]], index: int = 0) -> bool:
        bitmask[:] = 0
        return True

    monkeypatch.setattr(GrammarMatcher, "fill_next_token_bitmask", nothing)
    constraint, row = Constraint(Sessions(), compiler.compile_regex("never")), np.zeros(9, np.int32)
    constraint.fill([], row)
    assert bits(row) == [*compiler.tokenizer_info.eos_token_ids]
    with pytest.raises(TokenizerError, match=r"no token writes what must come next: one of the bytes b'n'"):
        constraint.check()


def test_without_an_end_nothing_could_be_stopped() -> None:
    compiled = GrammarCompiler(TokenizerInfo([bytes([byte]) for byte in range(256)])).compile_regex("a")
    with pytest.raises(TokenizerError, match="no end-of-sequence token"):
        Constraint(Sessions(), compiled)


def test_reasoning_is_free_up_to_its_marker() -> None:
    bytes_alone = [bytes([byte]) for byte in range(256)]
    words = [*bytes_alone, b"</thi", b"nk>", b"nk>\n", b"<|end_of_thought|>", b"", None]
    half, rest, longer, thought_over, end = range(256, 261)
    info = TokenizerInfo(words, eos_token_ids=[end], special_token_ids=[thought_over, end], vocab_size=262)
    compiled, row = GrammarCompiler(info).compile_choices(["yes", "no"]), np.zeros(9, np.int32)
    constraint = Constraint(Sessions(), compiled, Reasoning(info, "</think>"))
    for thought in ([], [*b"yes"], [half], [half, half], [half, *b" ", rest]):
        constraint.fill(thought, row)
        assert bits(row) == [*range(260)]  # neither the end nor padding
    for thought in ([*b"hm", half, rest], [half, half, longer], [*b"</think>"]):
        constraint.fill(thought, row)
        assert bits(row) == [*b"ny"]
        constraint.fill([*thought, *b"no"], row)
        assert bits(row) == [end]
    by_token = Constraint(Sessions(), compiled, Reasoning(info, "<|end_of_thought|>"))
    by_token.fill([half, rest], row)
    assert bits(row) == [*range(260)]
    by_token.fill([half, rest, thought_over], row)
    assert bits(row) == [*b"ny"]
    by_token.check()
    with pytest.raises(TokenizerError, match="empty"):
        Reasoning(info, "")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"json": '{"type": "object"}', "regex": None}, "json_schema"),
        ({"json_schema": {"type": "integer"}, "whitespace": "compact"}, "json_schema"),
        ({"json_object": True, "json": None}, "json_schema"),
        ({"json": {"type": "null"}, "disable_any_whitespace": True}, "json_schema"),
        ({"regex": "a+"}, "regex"),
        ({"choice": ["yes", "no"]}, "choices"),
        ({"grammar": 'root ::= "a"'}, "grammar"),
        ({"ebnf": 'root ::= "a"'}, "grammar"),
        ({"grammar": 'start: "a"'}, "lark"),
        ({"structural_tag": {"type": "structural_tag", "format": {"type": "any_text"}}}, "structural_tag"),
    ],
)
def test_forms_are_read_and_compiled(given: dict[str, Any], kind: str, compiler: GrammarCompiler) -> None:
    form = form_of(given)
    assert form.kind == kind
    compiled = form.compile(compiler)
    assert GrammarMatcher(compiled).allowed_token_ids().size
    assert form.compile(compiler) is compiled


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({}, InvalidError, "none of them"),
        ({"json": {}, "regex": "a"}, InvalidError, "2 of them: json, regex"),
        ({"jsn": {}, "regex": "a"}, InvalidError, "/x/jsn: there is no form or option 'jsn'"),
        ({"regex": "a", "whitespace": "compact"}, InvalidError, "/x/whitespace: whitespace is about"),
        ({"json": {}, "whitespace": "narrow"}, InvalidError, "choose one of"),
        ({"json": {}, "whitespace_pattern": " *"}, UnsupportedError, "whitespace_pattern is not enforced"),
        ({"json": {}, "disable_additional_properties": True}, UnsupportedError, "additionalProperties: false"),
    ],
)
def test_wrong_forms_are_refused_with_their_place(given: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        form_of(given, "/x")


def test_a_form_says_what_is_wrong_with_its_schema(compiler: GrammarCompiler) -> None:
    with pytest.raises(InvalidError, match="/properties/a"):
        Form("json_schema", {"properties": {"a": {"type": "text"}}}).compile(compiler)
