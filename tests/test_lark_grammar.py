"""Grammars in lark's notation: cases as data, and the lark library itself as the oracle of the language."""

from __future__ import annotations

import itertools
import re

import lark
import pytest
from counted_work import calls_of
from grammar_cases import Case, Refused, cases, refused
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from naive_grammar import EarleyOracle
from strategies_grammar import LARK_ALPHABET, lark_grammars

from maskwright.grammars import errors, python_regex
from maskwright.grammars.lark_grammar import MAX_GROUPS, parse_lark
from maskwright.grammars.python_regex import scanned
from maskwright.grammars.regular import matches
from maskwright.grammars.rules import Json, Special, Text


def parses(library: lark.Lark, text: str) -> bool:
    try:
        library.parse(text)
    except lark.exceptions.UnexpectedInput:
        return False
    except RuntimeError as error:  # where ignored text follows, it may trip over its own ambiguity once it has parsed
        return "multiple start symbol items" in str(error)
    return True


@pytest.mark.parametrize("case", cases("lark"), ids=lambda case: case.name)
def test_case(case: Case) -> None:
    oracle = EarleyOracle(case.rules())
    for text, whole, viable in case.texts():
        assert (oracle.accepts(text), oracle.is_prefix(text)) == (whole, viable), text


@pytest.mark.parametrize(
    "case", [case for case in cases("lark") if "<" not in case.grammar], ids=lambda case: case.name
)
def test_the_library_agrees_with_the_cases(case: Case) -> None:
    library = lark.Lark(case.grammar, parser="earley", lexer="dynamic_complete", start=case.root)
    for text, whole, _ in case.texts():
        assert parses(library, text) == whole, text


@pytest.mark.parametrize("case", refused("lark"), ids=lambda case: case.grammar.strip()[:60])
def test_refused(case: Refused) -> None:
    with pytest.raises(errors.GrammarError) as caught:
        parse_lark(case.grammar, case.root)
    error = caught.value
    assert type(error).__name__ == case.error
    assert case.message in f"{error.reason}. {error.hint}"
    assert (error.line, error.column) == (case.line, case.column)


@settings(max_examples=100)
@given(lark_grammars(), st.lists(st.text(LARK_ALPHABET, min_size=4, max_size=7), max_size=10))
def test_random_grammars_accept_what_the_library_parses(grammar: str, longer: list[str]) -> None:
    try:
        library = lark.Lark(grammar, parser="earley", lexer="dynamic_complete")
    except lark.exceptions.GrammarError as error:
        assume("Rules defined twice" not in str(error))  # lark cannot write such rules as BNF; the language is clear
        raise
    oracle = EarleyOracle(parse_lark(grammar))
    short = ("".join(text) for size in range(4) for text in itertools.product(LARK_ALPHABET, repeat=size))
    for text in (*short, *longer):
        assert oracle.accepts(text) == parses(library, text), text


# ---------------------------------------------------------------------------------------------------------------------
# Terminals

PATTERNS = (
    "a|ab", "(a)?(ab)?", "(?:a|ab)(?:c|bcd)", "a*?b+", "(a*)*b", "(a|b|ab)*?c", "(a{2,3}|b)+?a", "(|a)+b", "ab*?(?<=b)c|abb",
    "(?:a?b??)*c", "[a-c]{1,3}?b", "a+?", "a+?b*?c+?", "a(a|(?<=a)b)+", "(?i:A)b", "(?s:.)a", "a(?#c)b", "[^a]+?a",
    "(?x: a  b )", "a{0}b", "(a|b){2,}?c?",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_terminal_is_what_re_match_takes_whole(pattern: str) -> None:
    language, python = scanned(pattern), re.compile(pattern)
    for size in range(7):
        for characters in itertools.product("abc", repeat=size):
            text = "".join(characters)
            found = python.match(text)
            assert matches(language, text) == (found is not None and found.end() == size), text


@settings(max_examples=300)
@given(
    st.recursive(
        st.sampled_from(("a", "b", "c", "[ab]", ".")),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3).map("".join)
            | st.lists(inner, min_size=1, max_size=3).map(lambda items: f"(?:{'|'.join(items)})")
            | st.builds("(?:{}){}".format, inner, st.sampled_from(("*", "+", "?", "*?", "+?", "??", "{1,2}", "{0,2}?")))
        ),
        max_leaves=5,
    )
)
def test_random_terminals(pattern: str) -> None:
    language, python = scanned(pattern), re.compile(pattern)
    for size in range(5):
        for characters in itertools.product("abc", repeat=size):
            text = "".join(characters)
            found = python.match(text)
            assert matches(language, text) == (found is not None and found.end() == size), text


@pytest.mark.parametrize(
    "pattern", [r"\d", r"\w", r"\s", r"\D", r"[^\W\d]", r"(?a:\w)", r".", r"(?i:s)", r"(?i:[k-l])", r"(?i:[^K])"]
)
def test_classes_are_those_of_re(pattern: str) -> None:
    language, python = scanned(pattern), re.compile(pattern)
    for code_point in itertools.chain(range(0x3000), range(0xFE00, 0xFF00), range(0x1F600, 0x1F610)):
        assert matches(language, chr(code_point)) == bool(python.match(chr(code_point))), hex(code_point)


@pytest.mark.parametrize(
    "pattern, message",
    [
        (r"a\b", "anchor"),
        (r"^a", "anchor"),
        (r"a(?=b)", "lookahead"),
        (r"a(?!b)", "lookahead"),
        (r"(a)\1", "back-reference"),
        (r"(?<!x)a", "beginning of a terminal"),
        (r"a(?<=ba)b", "lookbehind by more"),
        (r"(?>a)b", "atomic"),
        (r"a++", "possessive"),
        (r"(a)?(?(1)b|c)", "conditional"),
    ],
)
def test_what_looks_around_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(errors.UnsupportedError, match=message):
        scanned(pattern)


def test_an_order_that_takes_too_many_states_is_refused() -> None:
    with pytest.raises(errors.LimitExceeded, match="max_eliminated"):
        scanned("[abc]*?a[abc]{7}c")
    assert matches(scanned("[a-z]{1,3000}"), "abc"), "counts alone are no reason to refuse"
    assert python_regex.MAX_STATES < 3000


@pytest.mark.parametrize(
    "grammar",
    [
        'start: "' + "\\" * 5001,
        "start: /" + "\\" * 5001,
        "start: /(((a?){20}){20}){20}c/",
        "start: /" + "(" * 5000 + "a/",
    ],
    ids=["string", "regular expression", "counts", "groups"],
)
def test_hostile_terminals_are_refused_without_much_work(grammar: str) -> None:
    def refuse() -> None:
        with pytest.raises(errors.GrammarError):
            parse_lark(grammar)

    assert calls_of(refuse) < 100_000


# ---------------------------------------------------------------------------------------------------------------------
# What is not lark's


def test_special_tokens_and_schemas() -> None:
    grammar = 'start: <s> "x<y>" [<[12]>] %json {"enum": ["%json",\n 1]} // <no>\n | /<z>/ # %json {\n'
    rules = parse_lark(grammar)
    items = rules.bodies["start"].items[0].items  # type: ignore[union-attr]
    assert items[0] == Special("<s>") and items[2].item == Special(12)
    assert isinstance(items[3], Json) and items[3].schema == '{"enum": ["%json",\n 1]}'
    assert isinstance(rules.bodies["start"].items[1], Text)  # type: ignore[union-attr]
    assert grammar[rules.positions["start"] :].startswith("start:")


def test_ignored_texts_may_follow_special_tokens() -> None:
    oracle = EarleyOracle(parse_lark('start: <|a|> "b"\n%ignore " "'))
    assert oracle.accepts([" ", Special("<|a|>"), " ", "b", " "])
    assert not oracle.is_prefix("<|a|>")


def test_a_lexer_that_is_none_is_refused() -> None:
    with pytest.raises(errors.InvalidError, match="dynamic_complete"):
        parse_lark('start: "a"', lexer="basic")


def test_groups_may_be_nested_so_deep_and_no_deeper() -> None:
    parse_lark("start: " + "(" * (MAX_GROUPS - 1) + '"a" start' + ")?" * (MAX_GROUPS - 1))
    for depth in (MAX_GROUPS + 1, 20 * MAX_GROUPS):
        with pytest.raises(errors.LimitExceeded):
            parse_lark("start: " + "(" * depth + '"a" start' + ")" * depth)


def many_rules(count: int) -> str:
    rows = (f'r{n}: "k{n}" r{(n + 1) % count} /[a-z]+/* | ["x" r{n * 7 % count}] // {n}' for n in range(count))
    return "start: r0\n" + "\n".join(rows)


def test_reading_a_grammar_takes_work_in_proportion_to_its_rules() -> None:
    parse_lark(many_rules(3))  # lark's own tables are built once
    small, large = (calls_of(lambda size=size: parse_lark(many_rules(size))) for size in (250, 2000))  # type: ignore[misc]
    assert large < 8.5 * small
    assert len(parse_lark(many_rules(2000)).bodies) == 2001
