"""Choices and spans of a text: against plain sets of strings, on vocabularies of bytes and of longer tokens."""

from __future__ import annotations

import itertools
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import maskwright as mw
from maskwright.compile.suffixes import sorted_suffixes
from maskwright.compile.vocabulary import TokenizerInfo

ALPHABET = "ab é\n-😀"
TOKENS = [
    bytes(piece)
    for size in (1, 2, 3)
    for piece in itertools.product(*[sorted({byte for letter in ALPHABET for byte in letter.encode()})] * size)
]
INFO = TokenizerInfo([*TOKENS, b""], eos_token_ids=[len(TOKENS)], special_token_ids=[len(TOKENS)])
COMPILER = mw.GrammarCompiler(INFO, cache_enabled=False)
TEXTS = st.text(ALPHABET, max_size=14)


def allowed(compiled: mw.CompiledGrammar, prefix: bytes) -> set[int]:
    matcher = mw.GrammarMatcher(compiled)
    assert matcher.accept_string(prefix)
    return set(matcher.allowed_token_ids().tolist())


def expected(language: set[bytes], prefix: bytes) -> set[int]:
    """Tokens that lead to a prefix of a member; the end where there is a member."""
    prefixes = {member[:size] for member in language for size in range(len(member) + 1)}
    found = {number for number, token in enumerate(TOKENS) if prefix + token in prefixes}
    return found | ({len(TOKENS)} if prefix in language else set())


def check(compiled: mw.CompiledGrammar, language: set[str], choose: random.Random) -> None:
    spelled = {text.encode() for text in language}
    prefixes = sorted({member[:size] for member in spelled for size in range(len(member) + 1)})
    for prefix in choose.sample(prefixes, min(12, len(prefixes))):
        assert allowed(compiled, prefix) == expected(spelled, prefix), prefix


def spans(text: str, chunks: str, min_length: int) -> set[str]:
    pattern = {"characters": r"(?s:.)", "words": r"\w+|[^\w]", "lines": r"[^\n]*\n|[^\n]+"}[chunks]
    pieces = re.findall(pattern, text)
    found = {"".join(pieces[i:j]) for i in range(len(pieces) + 1) for j in range(i, len(pieces) + 1)}
    return {span for span in found if len(span) >= min_length}


@settings(max_examples=150)
@given(st.lists(TEXTS, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_choices(choices: list[str], choose: random.Random) -> None:
    check(COMPILER.compile_choices(choices), set(choices), choose)


@settings(max_examples=250)
@given(
    TEXTS,
    st.sampled_from(["characters", "words", "lines"]),
    st.sampled_from([0, 0, 1, 2, 5]),
    st.randoms(use_true_random=False),
)
def test_spans(text: str, chunks: str, min_length: int, choose: random.Random) -> None:
    language = spans(text, chunks, min_length)
    if not language:
        with pytest.raises(mw.UnsatisfiableError, match=f"min_length={min_length}"):
            COMPILER.compile_substring(text, chunks=chunks, min_length=min_length)
        return
    check(COMPILER.compile_substring(text, chunks=chunks, min_length=min_length), language, choose)


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=60), st.text("ab", max_size=200).map(str.encode)))
def test_suffixes_are_sorted(data: bytes) -> None:
    found = sorted_suffixes(np.frombuffer(data, np.uint8)).tolist()
    assert found == sorted(range(len(data)), key=lambda start: data[start:])


def test_repetitions_are_sorted_too() -> None:
    data = b"ab" * 5_000 + b"a"
    found = sorted_suffixes(np.frombuffer(data, np.uint8)).tolist()
    assert found == [*range(10_000, -1, -2), *range(9_999, 0, -2)]


def test_many_choices_are_one_trie() -> None:
    choose = random.Random(3)
    choices = {"".join(choose.choices("ab -", k=choose.randint(0, 9))) for _ in range(20_000)}
    compiled = COMPILER.compile_choices([*choices, *choices])
    assert mw.GrammarMatcher(compiled).shortest_completion() == b""
    check(compiled, choices, choose)


def test_a_long_span_takes_few_states() -> None:
    text = "".join(random.Random(1).choices("ab\n é", k=20_000))
    compiled = COMPILER.compile_substring(text)
    matcher = mw.GrammarMatcher(compiled)
    assert matcher.accept_string(text[5_000:])
    assert matcher.allowed_token_ids().tolist() == [len(TOKENS)]
    assert compiled.state_count < 40_000


@pytest.mark.parametrize("seed", range(10))
def test_spans_of_a_text_that_is_laid_piece_by_piece(seed: int) -> None:
    choose = random.Random(seed)
    text = "".join(choose.choices(["ab", "é    ", "-", "    a"], k=1_500))
    compiled = COMPILER.compile_substring(text)
    for _ in range(20):
        start = choose.randrange(len(text))
        assert mw.GrammarMatcher(compiled).accept_string(text[start : start + choose.randrange(300)])
        span = text[start : start + choose.randrange(8)].encode()
        places = [at for at in range(len(text) + 1) if text.startswith(span.decode(), at)]
        following = {text[at:].encode()[len(span) :][:3] for at in places}
        tokens = {number for number, token in enumerate(TOKENS) if any(after.startswith(token) for after in following)}
        assert allowed(compiled, span) == tokens | {len(TOKENS)}


# -------------------------------------------------------------------- a vocabulary that cannot write everything

NARROW = TokenizerInfo([b"a", b"b", b" ", b"-", b"ab", b""], eos_token_ids=[5], special_token_ids=[5])


def narrow(method: str, *arguments: object, **options: object) -> mw.GrammarMatcher:
    compiler = mw.GrammarCompiler(NARROW, cache_enabled=False)
    return mw.GrammarMatcher(getattr(compiler, method)(*arguments, **options))


def test_choices_that_cannot_be_written_are_left_out() -> None:
    matcher = narrow("compile_choices", ["abé", "ab", "b-", "éa"])
    assert matcher.allowed_token_ids().tolist() == [0, 1, 4]
    assert matcher.accept_string("ab")
    assert matcher.allowed_token_ids().tolist() == [5]
    with pytest.raises(mw.TokenizerError, match="can write none"):
        narrow("compile_choices", ["é", "c"])


def test_spans_go_around_what_cannot_be_written() -> None:
    matcher = narrow("compile_substring", "abéb-", min_length=2)
    assert matcher.allowed_token_ids().tolist() == [0, 1, 4]
    assert matcher.accept_string("b")
    assert matcher.allowed_token_ids().tolist() == [3]
    matcher = narrow("compile_substring", "a béb ab", chunks="words")
    assert not matcher.accept_string("b")
    assert matcher.accept_string("a ")
    assert matcher.allowed_token_ids().tolist() == [5]
    with pytest.raises(mw.TokenizerError, match="can write none"):
        narrow("compile_substring", "éé", min_length=1)


# -------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((b"abc",), {}, "a text is a string, not bytes"),
        (("abc",), {"chunks": "sentences"}, "chunks='sentences' is none of characters, words, lines"),
        (("abc",), {"min_length": -1}, "min_length=-1 is no whole number"),
        (("a\ud800",), {}, "lone surrogate"),
    ],
)
def test_wrong_arguments(arguments: tuple[object], options: dict[str, object], message: str) -> None:
    with pytest.raises(mw.InvalidError, match=message):
        COMPILER.compile_substring(*arguments, **options)  # type: ignore[arg-type]


def test_no_choices_are_an_error() -> None:
    with pytest.raises(mw.InvalidError, match="choices are empty"):
        COMPILER.compile_choices([])
    with pytest.raises(mw.InvalidError, match="lone surrogate"):
        COMPILER.compile_choices(["a", "\ud800"])


def test_equal_arguments_are_compiled_once() -> None:
    compiler = mw.GrammarCompiler(INFO)
    assert compiler.compile_substring("abc") is compiler.compile_substring("abc")
    assert compiler.compile_substring("abc") is not compiler.compile_substring("abc", min_length=1)
