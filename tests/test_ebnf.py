"""Grammars in EBNF: cases as data, held against the Earley oracle; real grammars; errors with their place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from counted_work import calls_of
from grammar_cases import Case, Refused, cases, refused
from naive_grammar import EarleyOracle

from maskwright.grammars import errors
from maskwright.grammars.ebnf import MAX_GROUPS, parse_ebnf
from maskwright.grammars.regular import ANY_CHAR, concat, literal, repeat
from maskwright.grammars.rules import Call, Json, Sequence, Text


@pytest.mark.parametrize("case", cases("ebnf", "gbnf_files"), ids=lambda case: case.name)
def test_case(case: Case) -> None:
    oracle = EarleyOracle(case.rules())
    for text, whole, viable in case.texts():
        assert (oracle.accepts(text), oracle.is_prefix(text)) == (whole, viable), text


@pytest.mark.parametrize("case", refused("ebnf"), ids=lambda case: case.grammar.strip()[:60])
def test_refused(case: Refused) -> None:
    with pytest.raises(errors.GrammarError) as caught:
        parse_ebnf(case.grammar, case.root)
    error = caught.value
    assert type(error).__name__ == case.error
    assert case.message in f"{error.reason}. {error.hint}"
    assert (error.line, error.column) == (case.line, case.column)


def test_an_error_shows_the_line_and_a_caret() -> None:
    with pytest.raises(errors.InvalidError) as caught:
        parse_ebnf("x ::= 'x'\nroot ::= \"漢字\" | '\t' item\n")
    assert str(caught.value).splitlines() == [
        "the rule `item` is not defined (line 2, column 21). define it, or write a literal in quotes",
        "root ::= \"漢字\" | ' ' item",
        "                      ^",
    ]


def test_a_long_line_is_cut_around_the_caret() -> None:
    grammar = 'root ::= "a"' + ' | "a"' * 500 + " | nowhere" + ' | "b"' * 500
    with pytest.raises(errors.InvalidError) as caught:
        parse_ebnf(grammar)
    _, line, caret = str(caught.value).splitlines()
    assert len(line) < 120 and line[caret.index("^") :].startswith("nowhere")


def grammar_files(shared: Path) -> Iterator[Path]:
    yield from sorted((shared / "data" / "gbnf").glob("*.gbnf"))
    yield from sorted((shared / "data" / "gad").rglob("*.ebnf"))


def test_real_grammars_are_read(shared: Path) -> None:
    paths = list(grammar_files(shared))
    assert len(paths) > 250
    for path in paths:
        rules = parse_ebnf(path.read_text())
        assert rules.root in rules.bodies and len(rules.bodies) == len(rules.positions), path


def test_regular_parts_become_one_leaf_and_names_stay() -> None:
    rules = parse_ebnf('root ::= "a" . ("b" "c"){2} item "d"\nitem ::= [x]')
    regular = concat(literal("a"), ANY_CHAR, repeat(literal("bc"), 2, 2))
    assert rules.bodies["root"] == Sequence((Text(regular), Call("item"), Text(literal("d"))))
    assert rules.positions == {"root": 0, "item": 37}


def test_schemas_inside_a_grammar() -> None:
    grammar = 'root ::= "%json" %json {"const": "%json [}"}\n  %json true # %json nothing\n  other\nother ::= "x"'
    rules = parse_ebnf(grammar)
    body = rules.bodies["root"]
    assert isinstance(body, Sequence)
    assert [item.schema for item in body.items if isinstance(item, Json)] == ['{"const": "%json [}"}', "true"]
    assert rules.source == grammar and grammar[rules.positions["other"] :].startswith("other ::=")


def test_groups_may_be_nested_so_deep_and_no_deeper() -> None:
    parse_ebnf("root ::= " + "(" * MAX_GROUPS + '"a" root' + ")?" * MAX_GROUPS)
    with pytest.raises(errors.LimitExceeded) as caught:
        parse_ebnf("root ::= " + "(" * (MAX_GROUPS + 1) + '"a"' + ")" * (MAX_GROUPS + 1))
    assert caught.value.column == len("root ::= ") + MAX_GROUPS + 1


def many_rules(count: int) -> str:
    rows = (f'r{n} ::= "k{n}" r{(n + 1) % count} [a-z]* | ("x" r{n * 7 % count})? # {n}\n' for n in range(count))
    return "root ::= r0\n" + "".join(rows)


def test_reading_a_grammar_takes_work_in_proportion_to_its_rules() -> None:
    parse_ebnf(many_rules(3))  # the notation's own parser is built once
    small, large = (calls_of(lambda size=size: parse_ebnf(many_rules(size))) for size in (250, 2000))  # type: ignore[misc]
    assert large < 8.5 * small
    assert len(parse_ebnf(many_rules(2000)).bodies) == 2001


@pytest.mark.parametrize("comment", ["#" * 200_000, "# " * 100_000, "\n" * 200_000])
def test_long_comments_cost_no_more_than_their_length(comment: str) -> None:
    assert list(parse_ebnf(f'root ::= a {comment}\na ::= "x" b{comment}\nb{comment}\n ::= "y"').bodies) == [
        "root",
        "a",
        "b",
    ]


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(errors.InvalidError, match="a grammar is a string, not dict"):
        parse_ebnf({})  # type: ignore[arg-type]
