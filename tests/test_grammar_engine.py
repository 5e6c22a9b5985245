"""Compiled grammars: the cases of every front end, and masks against the Earley oracle on these and on random grammars."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import pytest
from grammar_cases import Case, cases
from hypothesis import given, settings
from naive_grammar import EarleyOracle, Piece
from strategies_grammar import ALPHABET, grammars

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.grammars.errors import UnsatisfiableError
from maskwright.grammars.grammar import Grammar
from maskwright.grammars.rules import Rules, Special
from maskwright.runtime.matcher import GrammarMatcher

# Special tokens come first, so that the ids which the cases name are among them; token BYTES + b is the byte b.
NAMES = ("<|eot_id|>", "<think>", "</think>", "<|begin|>", "[INST]")
SPECIALS = [*NAMES, *(f"<{number}>" for number in range(len(NAMES), 16))]
BYTES = len(SPECIALS)
END = BYTES + 256


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    tokens = [*(name.encode() for name in SPECIALS), *(bytes([byte]) for byte in range(256)), b"<end>"]
    info = TokenizerInfo(tokens, eos_token_ids=[END], special_token_ids=[*range(BYTES), END])
    return GrammarCompiler(info, cache_enabled=False)


def token(special: Special) -> int:
    return special.token if isinstance(special.token, int) else SPECIALS.index(special.token)


def ids(text: Sequence[Piece]) -> list[int]:
    found: list[int] = []
    for piece in text:
        found += [token(piece)] if isinstance(piece, Special) else [BYTES + byte for byte in piece.encode()]
    return found


def read(matcher: GrammarMatcher, text: Sequence[Piece]) -> bool:
    """Whether the matcher takes all of a text."""
    return all(matcher.accept_token(token_id) for token_id in ids(text))


def check_mask(matcher: GrammarMatcher, oracle: EarleyOracle, text: Sequence[Piece], ascii_only: Iterable[str]) -> None:
    """The special tokens, the end and the ASCII characters that may follow are those of the oracle."""
    allowed = set(matcher.allowed_token_ids().tolist())
    assert (END in allowed) == oracle.accepts(text), text
    assert allowed & set(range(BYTES)) == {token(special) for special in oracle.next_specials(text)}, text
    characters = {chr(token_id - BYTES) for token_id in allowed if BYTES <= token_id < BYTES + 128}
    assert characters == oracle.next_characters(text, ascii_only), text


@pytest.mark.parametrize("case", cases("ebnf", "lark", "gbnf_files"), ids=lambda case: case.name)
def test_case(case: Case, compiler: GrammarCompiler) -> None:
    rules = case.rules()
    oracle, compiled = EarleyOracle(rules), compiler.compile_grammar(Grammar(rules))
    for text, whole, viable in case.texts():
        matcher = GrammarMatcher(compiled)
        assert read(matcher, text) == viable, text
        if viable:
            assert matcher.is_completed() == whole, text
            check_mask(matcher, oracle, text, map(chr, range(128)))


@settings(max_examples=200)
@given(rules=grammars())
def test_random_grammars(rules: Rules, compiler: GrammarCompiler) -> None:
    oracle = EarleyOracle(rules)
    try:
        compiled = compiler.compile_grammar(Grammar(rules))
    except UnsatisfiableError:
        assert not oracle.is_prefix("")
        return
    for size in range(5):
        for characters in itertools.product(ALPHABET, repeat=size):
            text = "".join(characters)
            matcher = GrammarMatcher(compiled)
            assert read(matcher, text) == oracle.is_prefix(text), text
            if oracle.is_prefix(text):
                check_mask(matcher, oracle, text, map(chr, range(128)))
