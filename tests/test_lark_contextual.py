"""lexer="contextual": what lark's LALR(1) parser and contextual lexer accept, with the library itself as the oracle."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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


class Endless(Exception):
    """The library reduces rules that derive nothing for ever, on a stack that grows by 60 MB a second."""


class Counted(lark.Tree[lark.Token]):
    """A tree; so many of one text mean that there is no end."""

    made = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        Counted.made += 1
        if Counted.made > 10_000:
            raise Endless


def library(grammar: str, start: str = "start") -> lark.Lark:
    return lark.Lark(grammar, parser="lalr", lexer="contextual", start=start, tree_class=Counted)


def parses(library: lark.Lark, text: str) -> bool:
    Counted.made = 0
    try:
        library.parse(text)
    except (lark.exceptions.UnexpectedInput, Endless):
        return False
    return True


def test_the_library_may_never_end() -> None:
    """The memory of a run over many grammars went there: to the library's own stack."""
    grammar = (
        'T0.-1: /a(\\.a)?/\nT1.1: "b"\n'
        "start.1: (T0 T1)? | /a[ab]b/ (T0 start)* /b+?a?/ | (start start)+ start /\\.[ab]*\\./\n%ignore /[ .]+/"
    )
    assert not parses(library(grammar), "..")
    assert Counted.made > 10_000


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


# ---------------------------------------------------------------------------------------------------------------------
# Grammars of programming languages

PYTHON = Path(__file__).parent / "benchmarks" / "grammars" / "python.lark"
SNIPPETS = (
    "x = 1\n",
    "def merge(a, b=None, *rest, **named): return [x for x in a if x not in b]\n",
    "class Thing(Base, metaclass=Meta): pass\n",
    "import os.path as p, sys  # and a comment\n\n",
    'value = {"a": 1, "b": [1, 2.5e-3, 0x1F], **others}\n',
    'if value["a"] >= 3 and not done or x is not None: print(value.get("b", 0)[1:-1], sep=rb"\\n")\n',
    "f = lambda x: int : x\n",
    "f = lambda x: x\n",  # lark shifts: the colon begins an annotation
    "total **= (yield_ if ifs else elses)\n",
    "a << 2\n",  # lark's lexer takes `<` first
    "x = (1, 2\n",
    "x = (1, 2]\n",
    "return return\n",
    "x = 1",
    "1if x else 2\n",
    "1_0.e5.real\n",
    "not in x\n",
    "a not in b is not c\n",
    "# only a comment\n",
    "x = # none\n",
)


@pytest.mark.long
def test_python(compiler: GrammarCompiler) -> None:
    """Real snippets, each of their beginnings and wrong ones: what the library says, and masks that never come to an end."""
    grammar = PYTHON.read_text()
    parser = library(grammar)
    compiled = compiler.compile_lark(grammar, lexer="contextual")
    sentences = 0
    for snippet in SNIPPETS:
        matcher = GrammarMatcher(compiled)
        for size, byte in enumerate(snippet.encode()):
            allowed = set(matcher.allowed_token_ids().tolist())
            assert allowed
            assert matcher.is_completed() == (END in allowed) == parses(parser, snippet[:size]), snippet[:size]
            assert (byte in allowed) == matcher.accept_token(byte)
            if byte not in allowed:
                assert not parses(parser, snippet)
                break
        else:
            sentences += matcher.is_completed()
            assert matcher.is_completed() == parses(parser, snippet), snippet
    assert sentences == sum(parses(parser, snippet) for snippet in SNIPPETS) >= 12


def test_the_size_of_a_parser() -> None:
    """What a grammar of all of Python takes: units of text and result codes, counted."""
    rules = parse_lark(PYTHON.read_text(), "start", "contextual")
    parser = rules.parser
    assert parser is not None
    assert len(parser.units.every) < 200
    assert max(len(parser.codes(state)) for state in range(len(parser.tables.transitions))) < 250


# By name: a grammar, and letters of its texts. Where lark's parser would come to a dead end, texts are described by rules.
DEAD_ENDS = {
    "names that nothing can stand between": ("start: N N\nN: /a+/", "a"),
    "a list that never ends": ('start: x "a"\nx: "a" x | "a"\n%ignore " "', "a "),
    "a rule without texts": ("start: start", "a"),
}
FREE = {
    "a dangling else": ('start: s\ns: "i" s | "i" s "e" s | "x"\n%ignore " "', "iex "),
    "a lambda whose colon begins an annotation": (
        'start: "l" p ":" start | "(" start ")" | N\np: N [":" start] ("," N [":" start])*\nN: /a+/\n%ignore " "',
        "l:,(a)",
    ),
    "what follows a comment": (
        'start: ("a" "\\n" | "(" "b"* ")" "\\n")*\n%ignore " "\n%ignore /#[^\\n]*/',
        "a\n(b#",
    ),
    "lines, and comments that end them": (
        'start: (n _NL)*\nn: "a" | "(" n ")"\n_NL: /(\\n *|#[^\\n]*)+/\n%ignore " "',
        "a\n(#)",
    ),
    "rules that derive nothing": ('start: x "a" x "b" x\nx: | "c"\n%ignore " "', "abc "),
}


@pytest.mark.parametrize("name", [*DEAD_ENDS, *FREE])
def test_dead_ends_are_seen(name: str, compiler: GrammarCompiler) -> None:
    grammar, alphabet = (DEAD_ENDS | FREE)[name]
    rules = parse_lark(grammar, "start", "contextual")
    assert (rules.parser is None) == (name in DEAD_ENDS)
    length = 5
    parser = library(grammar)
    every = ("".join(letters) for size in range(length + 1) for letters in itertools.product(alphabet, repeat=size))
    accepted = {text for text in every if parses(parser, text)}
    for described in (rules, replace(rules, parser=None)):  # as a parser where there is one, and as rules
        viable = dict(taken(compiler, Grammar(described), alphabet, length))
        assert {text for text, whole in viable.items() if whole} == accepted
