"""lexer="contextual": what lark's LALR(1) parser and contextual lexer accept, with the library itself as the oracle."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path

import lark
import pytest
import regex
from grammar_cases import Case, Refused, cases, refused
from hypothesis import HealthCheck, assume, given, settings
from strategies_grammar import CONTEXTUAL_ALPHABET, contextual_grammars

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.grammars import errors
from maskwright.grammars.ebnf import parse_ebnf
from maskwright.grammars.grammar import Grammar
from maskwright.grammars.lark_grammar import parse_lark
from maskwright.grammars.rules import Special
from maskwright.runtime.matcher import GrammarMatcher

SEPARATOR, END = 256, 257
CASES = cases("lark_contextual")
TABLES = tomllib.loads((Path(__file__).parent / "cases" / "lark_contextual.toml").read_text())["case"]


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    """A vocabulary of bytes, the special token <|sep|> and an end."""
    tokens = [*(bytes([byte]) for byte in range(256)), b"<|sep|>", b"<end>"]
    info = TokenizerInfo(tokens, eos_token_ids=[END], special_token_ids=[SEPARATOR, END])
    return GrammarCompiler(info, cache_enabled=False)


def library(grammar: str, start: str = "start") -> lark.Lark:
    return lark.Lark(grammar, parser="lalr", lexer="contextual", start=start)


def parses(library: lark.Lark, text: str) -> bool:
    try:
        library.parse(text)
    except lark.exceptions.UnexpectedInput:
        return False
    return True


def taken(compiler: GrammarCompiler, rules: Grammar, alphabet: str, length: int) -> Iterator[tuple[str, bool]]:
    """(text, whether it is a sentence), for all texts up to a length that begin a sentence."""
    try:
        matcher = GrammarMatcher(compiler.compile_grammar(rules))
    except errors.UnsatisfiableError:
        return

    def walk(text: str) -> Iterator[tuple[str, bool]]:
        allowed = set(matcher.allowed_token_ids().tolist())
        assert allowed, text
        assert (END in allowed) == matcher.is_completed()
        yield text, matcher.is_completed()
        if len(text) < length:
            for character in alphabet:
                if ord(character) in allowed:
                    assert matcher.accept_token(ord(character))
                    yield from walk(text + character)
                    matcher.rollback(1)

    yield from walk("")


# ---------------------------------------------------------------------------------------------------------------------
# Cases


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, compiler: GrammarCompiler) -> None:
    rules = Grammar(case.rules())
    table = next(table for table in TABLES if table.get("name") == case.name)
    for grammar in (rules, Grammar(parse_ebnf(str(rules)))):  # what is printed is the same language
        compiled = compiler.compile_grammar(grammar)
        for text, whole, viable in [*case.texts(), *((text, False, None) for text in table.get("refused", ()))]:
            matcher = GrammarMatcher(compiled)
            pieces = [[SEPARATOR] if isinstance(piece, Special) else [*piece.encode()] for piece in text]
            read = all(matcher.accept_token(token) for token in itertools.chain(*pieces))
            assert viable is None or read == viable, text
            assert (read and matcher.is_completed()) == whole, text


@pytest.mark.parametrize("case", [case for case in CASES if "<|" not in case.grammar], ids=lambda case: case.name)
def test_the_library_agrees_with_the_cases(case: Case) -> None:
    parser = library(case.grammar, case.root)
    table = next(table for table in TABLES if table.get("name") == case.name)
    for text, whole, _ in case.texts():
        assert parses(parser, text) == whole, text
    for text in table.get("refused", ()):
        assert parses(parser, text), text
        assert undecided(parser, text), text


@pytest.mark.parametrize("case", refused("lark_contextual"), ids=lambda case: case.grammar.strip()[:60])
def test_refused(case: Refused) -> None:
    with pytest.raises(errors.GrammarError) as caught:
        parse_lark(case.grammar, case.root, "contextual")
    error = caught.value
    assert type(error).__name__ == case.error
    assert case.message in f"{error.reason}. {error.hint}"
    assert (error.line, error.column) == (case.line, case.column)


# ---------------------------------------------------------------------------------------------------------------------
# Random grammars


def undecided(parser: lark.Lark, text: str) -> bool:
    """Whether, behind some token that the library reads, the text goes on as a longer token would, of which the end is
    open: another terminal, or the same, has a partial match that is longer than the token."""
    patterns = {one.name: regex.compile(one.pattern.to_regexp(), regex.V0) for one in parser.terminals}
    at = 0
    for token in [*tokens_with_ignored(parser, text)]:
        end = at + len(token)
        for pattern in patterns.values():
            found = pattern.fullmatch(text, at, min(end + 1, len(text)), partial=True)
            if end < len(text) and found is not None:
                return True
        at = end
    return False


def tokens_with_ignored(parser: lark.Lark, text: str) -> Iterator[str]:
    """The pieces that the library cuts a text into: its tokens, and what is between them (cut further by nothing)."""
    at = 0
    tree_tokens = parser.parse_interactive(text)
    for token in tree_tokens.iter_parse():
        if token.start_pos > at:
            yield from text[at : token.start_pos]
        yield text[token.start_pos : token.end_pos]
        at = token.end_pos
    yield from text[at:]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(text=contextual_grammars())
def test_random_grammars(text: str, compiler: GrammarCompiler) -> None:
    try:
        parser = library(text)
    except lark.exceptions.LarkError:
        with pytest.raises(errors.GrammarError):
            parse_lark(text, lexer="contextual")
        assume(False)
    length = 4
    rules = Grammar.from_lark(text, lexer="contextual")
    viable = dict(taken(compiler, rules, CONTEXTUAL_ALPHABET, length))
    every = ("".join(p) for size in range(length + 1) for p in itertools.product(CONTEXTUAL_ALPHABET, repeat=size))
    accepted = {one for one in every if parses(parser, one)}
    for one, whole in viable.items():
        assert not whole or one in accepted, f"{one!r} is not lark's"
    missing = [one for one in accepted if not viable.get(one)]
    for one in missing:
        assert undecided(parser, one), one
    if not missing:  # masks: what the library's sentences begin with may come
        for one in accepted:
            assert all(one[:size] in viable for size in range(len(one)))
