"""What a server relies on: the matcher's calls, their errors, and that an error leaves the matcher as it was."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import numpy as np
import pytest
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive import Oracle
from naive_languages import TextOracle
from naive_texts import Policy
from strategies import Vocabulary
from test_masks_oracle import compile_schema, expected_mask, mask_of

import maskwright as mw

SEED = 5
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TEXT = b'{"name":"\xc3\xa9\xf0\x9f\x98\x80 \\" ok","age":42}'


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return strategies.vocabulary(random.Random(SEED), [b"name", b"age", b"ok"], every_byte=True)


@pytest.fixture(scope="module")
def compiler(vocabulary: Vocabulary) -> mw.GrammarCompiler:
    info = mw.TokenizerInfo(
        vocabulary.tokens,
        eos_token_ids=vocabulary.eos,
        special_token_ids=vocabulary.special,
        vocab_size=vocabulary.size,
    )
    return mw.GrammarCompiler(info)


@pytest.fixture
def matcher(compiler: mw.GrammarCompiler) -> mw.GrammarMatcher:
    return mw.GrammarMatcher(compiler.compile_json_schema(PERSON, whitespace="compact"))


def spell(text: bytes, vocabulary: Vocabulary, rng: random.Random) -> list[int]:
    """Tokens that write `text`, some way or other."""
    ids: list[int] = []
    while text:
        n, token = rng.choice([(n, t) for n, t in vocabulary.ordinary.items() if text.startswith(t)])
        ids.append(n)
        text = text[len(token) :]
    return ids


# ---------------------------------------------------------------------------------------------------------------------
# Walking


def test_a_text_is_accepted_however_it_is_split(matcher: mw.GrammarMatcher, vocabulary: Vocabulary) -> None:
    for number in range(20):
        matcher.reset()
        for token in spell(TEXT, vocabulary, random.Random(number)):
            assert not matcher.is_completed()
            assert token in mask_of(matcher, vocabulary.size)
            assert matcher.accept_token(token)
        assert matcher.is_completed()
        assert not matcher.is_terminated()
        assert mask_of(matcher, vocabulary.size) == set(vocabulary.eos)
        assert matcher.accept_token(vocabulary.eos[0])
        assert matcher.is_terminated()


def test_tokens_that_write_nothing_are_refused(matcher: mw.GrammarMatcher, vocabulary: Vocabulary) -> None:
    padding = range(len(vocabulary.tokens), vocabulary.size)
    for token in (*vocabulary.special, *vocabulary.eos, *padding):
        assert not matcher.accept_token(token)
    assert matcher.accept_string(TEXT)
    for token in (*vocabulary.special, *padding):
        assert not matcher.accept_token(token)
    assert all(matcher.fork().accept_token(token) for token in vocabulary.eos)


def test_empty_and_unused_tokens_are_never_allowed() -> None:
    info = mw.TokenizerInfo([b"", b"a", None, b"a", b"</s>"], eos_token_ids=[4], vocab_size=70)
    matcher = mw.GrammarMatcher(mw.GrammarCompiler(info).compile_choices(["a", "aa"]))
    assert mask_of(matcher, 70) == {1, 3}
    assert not any(map(matcher.accept_token, (0, 2, 4, 5, 69)))
    assert matcher.accept_token(3)
    assert mask_of(matcher, 70) == {1, 3, 4}
    assert matcher.accept_token(1)
    assert mask_of(matcher, 70) == {4}


def test_a_complete_text_may_go_on(compiler: mw.GrammarCompiler, vocabulary: Vocabulary) -> None:
    matcher = mw.GrammarMatcher(compiler.compile_json_schema({"type": "integer"}))
    assert not matcher.is_completed()
    for digit in "123":
        assert matcher.accept_string(digit)
        assert matcher.is_completed()
        assert mask_of(matcher, vocabulary.size) >= set(vocabulary.eos)
    assert not matcher.is_terminated()


def test_a_refused_token_moves_nothing(matcher: mw.GrammarMatcher, vocabulary: Vocabulary) -> None:
    for token in spell(TEXT, vocabulary, random.Random(1)):
        allowed = mask_of(matcher, vocabulary.size)
        refused = [n for n in range(vocabulary.size) if n not in allowed]
        assert not any(matcher.accept_token(n) for n in refused)
        assert mask_of(matcher, vocabulary.size) == allowed
        assert matcher.accept_token(token)


@pytest.mark.parametrize("text", [TEXT, TEXT.decode()])
def test_accept_string_takes_text_and_bytes(matcher: mw.GrammarMatcher, text: str | bytes) -> None:
    assert matcher.accept_string(text)
    assert matcher.is_completed()
    matcher.rollback()
    assert matcher.accept_string(text[:12])
    assert matcher.accept_string(text[12:])
    assert matcher.is_completed()


def test_accept_string_is_all_or_nothing(matcher: mw.GrammarMatcher, vocabulary: Vocabulary) -> None:
    assert matcher.accept_string(b'{"name":"')
    before = mask_of(matcher, vocabulary.size)
    assert not matcher.accept_string(b"x" * 500 + b'","age":121')
    assert not matcher.accept_string(b"\xff")
    assert mask_of(matcher, vocabulary.size) == before
    assert matcher.accept_string(b"x" * 500 + b'","age":120}')
    assert matcher.is_completed()
    matcher.rollback()
    assert mask_of(matcher, vocabulary.size) == before
    assert matcher.accept_string("")
    assert mask_of(matcher, vocabulary.size) == before


# ---------------------------------------------------------------------------------------------------------------------
# Going back


def test_rollback_fork_and_reset_restore_every_mask(matcher: mw.GrammarMatcher, vocabulary: Vocabulary) -> None:
    rng = random.Random(2)
    ids = spell(TEXT, vocabulary, rng)
    masks = []
    for token in ids:
        masks.append(mask_of(matcher, vocabulary.size))
        matcher.accept_token(token)
    masks.append(mask_of(matcher, vocabulary.size))
    at = len(ids)
    for _ in range(100):
        back = rng.randint(0, at)
        copy = matcher.fork()
        copy.rollback(back)
        assert mask_of(matcher, vocabulary.size) == masks[at]
        assert mask_of(copy, vocabulary.size) == masks[at - back]
        matcher, at = copy, at - back
        for _ in range(rng.randint(0, len(ids) - at)):
            assert matcher.accept_token(ids[at])
            at += 1
    matcher.reset()
    assert mask_of(matcher, vocabulary.size) == masks[0]


def test_rollback_over_the_end(matcher: mw.GrammarMatcher, vocabulary: Vocabulary) -> None:
    matcher.accept_string(TEXT)
    matcher.accept_token(vocabulary.eos[-1])
    assert matcher.is_terminated()
    assert matcher.is_completed()
    matcher.rollback()
    assert not matcher.is_terminated()
    assert matcher.is_completed()
    matcher.rollback()
    assert not matcher.is_completed()
    assert matcher.accept_string(TEXT)


def test_forks_are_independent(matcher: mw.GrammarMatcher, vocabulary: Vocabulary) -> None:
    matcher.accept_string(b'{"name":"')
    before = mask_of(matcher, vocabulary.size)
    forks = [matcher.fork() for _ in range(5)]
    assert matcher.accept_string(b'a","age":7}')
    for number, fork in enumerate(forks):
        assert mask_of(fork, vocabulary.size) == before
        assert fork.accept_string(b'x" , "'[: number % 3])
    del matcher
    for fork in forks:
        fork.rollback(fork.step_count)
        assert fork.accept_string(TEXT)


@pytest.mark.parametrize("steps", [1, 2, 100, -1])
def test_rollback_too_far(matcher: mw.GrammarMatcher, vocabulary: Vocabulary, steps: int) -> None:
    if steps == 2:
        matcher.accept_string(b"{")
    before = mask_of(matcher, vocabulary.size)
    with pytest.raises(mw.MatcherError):
        matcher.rollback(steps)
    assert mask_of(matcher, vocabulary.size) == before
    matcher.rollback(0)
    assert matcher.accept_string(TEXT[1:] if steps == 2 else TEXT)


def test_reset_forgets_history(matcher: mw.GrammarMatcher) -> None:
    matcher.accept_string(TEXT)
    matcher.reset()
    with pytest.raises(mw.MatcherError):
        matcher.rollback()
    assert matcher.accept_string(TEXT)


# ---------------------------------------------------------------------------------------------------------------------
# Misuse


@pytest.mark.parametrize("token", [-1, -(2**40), 10**6, 2**31, 2**63])
def test_token_id_out_of_range(matcher: mw.GrammarMatcher, token: int) -> None:
    matcher.accept_string(b"{")
    with pytest.raises(mw.MatcherError, match="vocabulary"):
        matcher.accept_token(token)
    assert matcher.accept_string(TEXT[1:])


def test_the_first_id_beyond_the_vocabulary(matcher: mw.GrammarMatcher, vocabulary: Vocabulary) -> None:
    with pytest.raises(mw.MatcherError):
        matcher.accept_token(vocabulary.size)
    assert matcher.accept_token(np.int64(spell(b"{", vocabulary, random.Random(0))[0]))


def test_accept_after_the_end(matcher: mw.GrammarMatcher, vocabulary: Vocabulary) -> None:
    matcher.accept_string(TEXT)
    matcher.accept_token(vocabulary.eos[0])
    for _ in range(2):
        with pytest.raises(mw.MatcherError):
            matcher.accept_token(vocabulary.eos[0])
        with pytest.raises(mw.MatcherError):
            matcher.accept_token(spell(b"}", vocabulary, random.Random(0))[0])
        with pytest.raises(mw.MatcherError):
            matcher.accept_string(b" ")
    assert matcher.is_terminated()
    matcher.rollback()
    assert matcher.is_completed()
    matcher.reset()
    assert matcher.accept_string(TEXT)


def test_bitmasks_of_other_shapes(matcher: mw.GrammarMatcher, vocabulary: Vocabulary) -> None:
    words = -(-vocabulary.size // 32)
    read_only = np.zeros((1, words), np.int32)
    read_only.flags.writeable = False
    wrong = [
        np.zeros((1, words + 1), np.int32),
        np.zeros((1, words - 1), np.int32),
        np.zeros((1, words), np.int64),
        np.zeros((1, words), np.float32),
        np.zeros((1, 2 * words), np.int32)[:, ::2],
        np.zeros((1, 1, words), np.int32),
        read_only,
    ]
    for bitmask in wrong:
        with pytest.raises(mw.MatcherError):
            matcher.fill_next_token_bitmask(bitmask)
    good = np.zeros((3, words), np.int32)
    for index in (3, -1, 100):
        with pytest.raises(mw.MatcherError):
            matcher.fill_next_token_bitmask(good, index)
    assert not good.any()
    matcher.fill_next_token_bitmask(good, 2)
    alone = np.zeros(words, np.int32)
    matcher.fill_next_token_bitmask(alone)
    assert alone.any()
    assert (good[2] == alone).all()
    assert not good[:2].any()
    strided = np.zeros((4, words), np.int32)
    matcher.fill_next_token_bitmask(strided[::2], 1)
    assert (strided[2] == alone).all()
    assert not strided[[0, 1, 3]].any()


def test_torch_bitmasks(matcher: mw.GrammarMatcher, vocabulary: Vocabulary) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
    bitmask = mw.allocate_token_bitmask(2, vocabulary.size)
    assert isinstance(bitmask, torch.Tensor)
    matcher.fill_next_token_bitmask(bitmask, 1)
    assert (bitmask[0] == -1).all()
    alone = np.zeros(bitmask.shape[1], np.int32)
    matcher.fill_next_token_bitmask(alone)
    assert (bitmask[1].numpy() == alone).all()
    with pytest.raises(mw.MatcherError):
        matcher.fill_next_token_bitmask(bitmask.long())


# ---------------------------------------------------------------------------------------------------------------------
# Bad input


BAD_SCHEMAS: list[tuple[Any, type[mw.GrammarError], str | None]] = [
    ('{"type": ', mw.InvalidError, None),
    ({"type": "strong"}, mw.InvalidError, "/type"),
    ({"properties": {"a": 5}}, mw.InvalidError, "/properties/a"),
    ({"items": {"minLength": -1}}, mw.InvalidError, "/items/minLength"),
    ({"pattern": "(a"}, mw.InvalidError, "/pattern"),
    ({"$ref": "#/$defs/nowhere"}, mw.InvalidError, "/$ref"),
    ({"$ref": "#"}, mw.InvalidError, None),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, mw.InvalidError, None),
    (False, mw.UnsatisfiableError, None),
    ({"type": "string", "minLength": 3, "maxLength": 2}, mw.UnsatisfiableError, None),
    ({"type": "integer", "minimum": 3, "maximum": 2}, mw.UnsatisfiableError, None),
    ({"type": "array", "items": False, "minItems": 1}, mw.UnsatisfiableError, None),
    ({"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}}, "$ref": "#/$defs/a"},
     mw.UnsatisfiableError, None),
    ({"type": "array", "maxItems": 1, "not": {"uniqueItems": True}}, mw.UnsatisfiableError, None),
    ({"type": "array", "uniqueItems": True, "items": {"enum": [1, 2]}, "minItems": 3}, mw.UnsatisfiableError, None),
    ({"uniqueItems": True, "type": "array", "prefixItems": [{"const": 1}, {"const": 1.0}], "minItems": 2},
     mw.UnsatisfiableError, None),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "error", "pointer"), BAD_SCHEMAS)
def test_bad_schemas(
    compiler: mw.GrammarCompiler, schema: Any, error: type[mw.GrammarError], pointer: str | None
) -> None:
    with pytest.raises(error) as caught:
        compiler.compile_json_schema(schema)
    if pointer is not None:
        assert caught.value.pointer == pointer
    assert str(caught.value)


def test_a_vocabulary_that_cannot_write_the_grammar() -> None:
    """At once or when the place is reached: in both cases a TokenizerError, and the matcher can take another way."""
    info = mw.TokenizerInfo([bytes([n]) for n in b'{}",:aby1'] + [b"</s>"], eos_token_ids=[9])
    compiler = mw.GrammarCompiler(info)
    with pytest.raises(mw.TokenizerError):
        mw.GrammarMatcher(compiler.compile_json_schema({"type": "array"})).accept_string(b"1")
    schema = {"type": "object", "properties": {"a": {"const": "z"}, "b": {"const": "y"}}, "additionalProperties": False}
    try:
        matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema, whitespace="compact"))
    except mw.TokenizerError:
        return
    assert matcher.accept_string(b'{"')
    with pytest.raises(mw.TokenizerError):
        matcher.accept_string(b'a":')
        matcher.fill_next_token_bitmask(np.zeros(1, np.int32))
        matcher.accept_string(b'"')
        matcher.fill_next_token_bitmask(np.zeros(1, np.int32))
    matcher.rollback(matcher.step_count)
    assert matcher.accept_string(b'{"b":"y"}')
    assert matcher.is_completed()


def test_a_limit_met_late_leaves_the_matcher_usable(vocabulary: Vocabulary) -> None:
    info = mw.TokenizerInfo(vocabulary.tokens, eos_token_ids=vocabulary.eos, special_token_ids=vocabulary.special)
    words = ["".join(random.Random(n).choices("abcdefgh", k=12)) for n in range(300)]
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"enum": words}, "c": {"type": "null"}},
        "additionalProperties": False,
    }
    compiler = mw.GrammarCompiler(info, max_states=400)
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema, whitespace="compact"))
    assert matcher.accept_string(b'{"a":1')
    before = mask_of(matcher, len(vocabulary.tokens))
    with pytest.raises(mw.LimitExceeded) as caught:
        matcher.accept_string(b',"b":"')
        for word in words:
            matcher.accept_string(f'{word}"')
            matcher.rollback()
    assert caught.value.limit == "max_states"
    matcher.rollback(matcher.step_count - 1)
    assert mask_of(matcher, len(vocabulary.tokens)) == before
    assert matcher.accept_string(b"}")
    assert matcher.is_completed()


# ---------------------------------------------------------------------------------------------------------------------
# Jump-forward


@pytest.mark.parametrize(
    ("schema", "before", "forced"),
    [
        ({"const": "x"}, "", '"x"'),
        ({"const": {"name": [1, "é"]}}, '{"na', 'me":[1'),
        ({"properties": {"a": {"type": "null"}}, "required": ["a"], "type": "object", "maxProperties": 1}, "", '{"a":null}'),
        ({"enum": ["abc", "abd"]}, "", '"ab'),
        ({"enum": ["é", "ê"]}, "", '"'),
        ({"enum": [True, "x"]}, "", ""),
        ({"enum": [True, "x"]}, "t", "rue"),
        ({"type": "integer"}, "", ""),
        ({"type": "integer"}, "1", ""),
        ({"const": "a" * 700}, '"', "a" * 700 + '"'),
    ],
)  # fmt: skip
def test_jump_forward(compiler: mw.GrammarCompiler, schema: Any, before: str, forced: str) -> None:
    matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema, whitespace="compact"))
    assert matcher.accept_string(before)
    steps = matcher.step_count
    assert matcher.find_jump_forward_string() == forced
    assert matcher.step_count == steps
    assert matcher.accept_string(forced)


def forced_text(viable: Any, member: Any, text: bytes) -> str:
    """The oracle's: while the text cannot end and one byte only may follow, that byte; whole characters of them."""
    start = len(text)
    while not member(text):
        following = [byte for byte in strategies.EVERY_BYTE if viable(text + byte)]
        if len(following) != 1 or len(text) > start + 40:
            break
        text += following[0]
    return text[start:].decode(errors="ignore")


CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(strategies.schemas(2), st.integers(0, 2**32 - 1))
def test_jump_forward_equals_the_oracle(schema: Any, number: int) -> None:
    rng, policy = random.Random(number), Policy("compact", distinct=False)
    oracle = Oracle(schema, policy)
    if not oracle.viable(b""):
        return
    vocabulary = strategies.vocabulary(rng, strategies.texts_of(schema), every_byte=True, longer=5)
    matcher = mw.GrammarMatcher(compile_schema(schema, vocabulary, policy))
    text = b""
    for _ in range(6):
        # A forced run that does not end within 40 bytes is compared as far as it goes.
        assert matcher.find_jump_forward_string()[:20] == forced_text(oracle.viable, oracle.member, text)[:20], text
        following = sorted(expected_mask(oracle, vocabulary, text) - set(vocabulary.eos))
        if not following:
            return
        token = vocabulary.tokens[rng.choice(following)]
        text += token
        assert matcher.accept_string(token)


# ---------------------------------------------------------------------------------------------------------------------
# Patterns and choices


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(strategies.patterns(), st.integers(0, 2**32 - 1))
def test_masks_of_patterns(pattern: str, number: int) -> None:
    check_text(TextOracle(pattern), lambda compiler: compiler.compile_regex(pattern), pattern, number)


class ChoiceOracle:
    """What `compile_choices` means."""

    def __init__(self, choices: list[str]) -> None:
        self.texts = {choice.encode() for choice in choices}

    def viable(self, prefix: bytes) -> bool:
        return any(text.startswith(prefix) for text in self.texts)

    def member(self, text: bytes) -> bool:
        return text in self.texts


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(st.lists(st.text('ab1é😀"\n', max_size=4), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_masks_of_choices(choices: list[str], number: int) -> None:
    check_text(ChoiceOracle(choices), lambda compiler: compiler.compile_choices(choices), json.dumps(choices), number)


def check_text(oracle: TextOracle | ChoiceOracle, compile_with: Any, shown: str, number: int) -> None:
    rng = random.Random(number)
    vocabulary = strategies.vocabulary(rng, [], every_byte=True)
    info = mw.TokenizerInfo(
        vocabulary.tokens,
        eos_token_ids=vocabulary.eos,
        special_token_ids=vocabulary.special,
        vocab_size=vocabulary.size,
    )
    compiler = mw.GrammarCompiler(info)
    if not oracle.viable(b""):
        with pytest.raises(mw.UnsatisfiableError):
            compile_with(compiler)
        return
    matcher = mw.GrammarMatcher(compile_with(compiler))
    text = b""
    for _ in range(8):
        expected = {n for n, token in vocabulary.ordinary.items() if oracle.viable(text + token)}
        if oracle.member(text):
            expected.update(vocabulary.eos)
        found = mask_of(matcher, vocabulary.size)
        different = {n: vocabulary.tokens[n] for n in found ^ expected}
        assert found == expected, f"{shown} after {text!r}: {different}"
        token = rng.choice(sorted(expected))
        assert matcher.accept_token(token)
        if token in vocabulary.eos:
            return
        text += vocabulary.tokens[token]


@pytest.mark.parametrize(
    ("choices", "error"), [([], mw.GrammarError), ("abc", mw.GrammarError), ([1], mw.GrammarError)]
)
def test_bad_choices(compiler: mw.GrammarCompiler, choices: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        compiler.compile_choices(choices)


@pytest.mark.parametrize("count", [2, 6])
def test_the_order_of_members_is_that_of_their_lists(compiler: mw.GrammarCompiler, count: int) -> None:
    """Of a child that several schemas describe too, each two of its members, whatever order a set of them would have."""
    keys = ["ab", "b", "a", "ba", "aa", "bb"][:count]
    parts = [
        {
            "type": "object",
            "properties": {"a": {"properties": {key: {"type": "null"} for key in two}, "required": [*two]}},
            "required": ["a"],
        }
        for two in itertools.pairwise(keys)
    ]
    compiled = compiler.compile_json_schema({"allOf": parts}, whitespace="compact")
    in_order = json.dumps({"a": dict.fromkeys(keys)}, separators=(",", ":"))
    backwards = json.dumps({"a": dict.fromkeys(reversed(keys))}, separators=(",", ":"))
    assert mw.GrammarMatcher(compiled).accept_string(in_order)
    assert not mw.GrammarMatcher(compiled).accept_string(backwards)


@pytest.mark.parametrize("depth", [39, 40, 41, 150, 480])
def test_required_values_may_be_nested_deeply(byte_info: mw.TokenizerInfo, depth: int) -> None:
    schema: dict[str, Any] = {"type": "string"}
    text = '"x"'
    for level in range(depth):
        inside = {"type": "array", "items": schema, "minItems": 1}
        schema = inside if level % 2 else {"type": "object", "properties": {"a": schema}, "required": ["a"]}
        text = f"[{text}]" if level % 2 else f'{{"a": {text}}}'
    matcher = mw.GrammarMatcher(mw.GrammarCompiler(byte_info).compile_json_schema(schema))
    assert matcher.accept_string(text)
    assert matcher.is_completed()


def test_deep_contradictions_are_found(byte_info: mw.TokenizerInfo) -> None:
    schema: Any = False
    for _ in range(200):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    with pytest.raises(mw.UnsatisfiableError):
        mw.GrammarCompiler(byte_info).compile_json_schema(schema)
    circle = {"$defs": {}, "$ref": "#/$defs/s0"}
    for n in range(100):
        following = {"$ref": f"#/$defs/s{(n + 1) % 100}"}
        circle["$defs"][f"s{n}"] = {"type": "object", "properties": {"a": following}, "required": ["a"]}
    with pytest.raises((mw.UnsatisfiableError, mw.LimitExceeded)):
        mw.GrammarCompiler(byte_info).compile_json_schema(circle)
