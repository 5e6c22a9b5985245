"""Grammar: what every front end makes can be printed, read back, joined; the oracle of grammars against itself."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from grammar_cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_grammar import EarleyOracle
from strategies_grammar import ALPHABET, grammars
from test_regex import CASES as REGEX_CASES

import maskwright as mw
from maskwright.grammars import regex, regular
from maskwright.grammars.ebnf import parse_ebnf
from maskwright.grammars.grammar import Grammar
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.rules import Call, Json, Loop, Rules, Sequence, Special, Text


def texts(alphabet: Iterable[str], longest: int) -> list[str]:
    return ["".join(text) for size in range(longest + 1) for text in itertools.product(alphabet, repeat=size)]


# ---------------------------------------------------------------------------------------------------------------------
# The oracle


@settings(max_examples=100)
@given(grammars())
def test_the_oracle_calls_a_prefix_what_a_sentence_begins_with(rules: Rules) -> None:
    oracle = EarleyOracle(rules)
    for text in texts(ALPHABET, 3):
        if oracle.accepts(text):
            assert all(oracle.is_prefix(text[:size]) for size in range(len(text) + 1))
        viable = oracle.is_prefix(text)
        assert viable == (oracle.accepts(text) or bool(oracle.next_characters(text, ALPHABET)))
        if viable and len(text) < 2:
            assert completes(oracle, text), text


def completes(oracle: EarleyOracle, text: str) -> bool:
    """Whether a sentence is found beyond a prefix, trying the shortest texts first."""
    pending = [text]
    for prefix in pending[:] or []:
        if oracle.accepts(prefix):
            return True
    while pending and len(pending) < 5000:
        longer = [
            prefix + character for prefix in pending for character in sorted(oracle.next_characters(prefix, ALPHABET))
        ]
        if any(map(oracle.accepts, longer)):
            return True
        pending = longer
    return len(pending) >= 5000  # all sentences are long: nothing is known


def test_the_oracle_counts_derivations_it_never_finishes_as_none() -> None:
    endless = parse_ebnf('root ::= "a" root | x\nx ::= y x\ny ::= "b"')
    assert not EarleyOracle(endless).is_prefix("")


# ---------------------------------------------------------------------------------------------------------------------
# Printing


@pytest.mark.parametrize("case", cases("ebnf", "lark", "gbnf_files"), ids=lambda case: case.name)
def test_cases_survive_printing(case: Case) -> None:
    written = str(Grammar(case.rules()))
    oracle = EarleyOracle(parse_ebnf(written))
    for text, whole, viable in case.texts():
        assert (oracle.accepts(text), oracle.is_prefix(text)) == (whole, viable), (text, written)
    assert str(Grammar.from_ebnf(written)) == written or "state" in written


@settings(max_examples=100)
@given(grammars())
def test_random_grammars_survive_printing(rules: Rules) -> None:
    before, after = EarleyOracle(rules), EarleyOracle(parse_ebnf(str(Grammar(rules))))
    for text in texts(ALPHABET, 4):
        assert before.accepts(text) == after.accepts(text), text


@pytest.mark.parametrize("case", REGEX_CASES["case"], ids=lambda case: case.get("name", case["pattern"]))
def test_regular_expressions_survive_printing(case: dict[str, object]) -> None:
    node = regex.parse(str(case["pattern"]), search=bool(case.get("search", False)))
    if not node.plain and regular.is_empty(node):
        pytest.skip("no text")
    printed = str(Grammar(Rules({"root": Text(node)}, "root")))
    oracle = EarleyOracle(parse_ebnf(printed))
    for text in (*case.get("accepted", ()), *case["rejected"]):  # type: ignore[misc]
        if len(text) < 100:
            assert oracle.accepts(text) == regular.matches(node, text), text


def test_what_is_repeated_stays_together() -> None:
    pair = Sequence((Text(regex.parse("a")), Text(regex.parse("a"))))
    assert str(Grammar(Rules({"root": Loop(Sequence((pair,)), 0, None)}, "root"))) == 'root ::= ("a" "a")*\n'


def test_printing_is_readable() -> None:
    grammar = Grammar.from_ebnf(
        'start ::= "a"? [^"\\n]{2,3} (x | "c" x)* . <|eot|>\nx ::= "]" | [\\]^-] start', "start"
    )
    assert str(grammar).splitlines() == [
        'root ::= "a"? [^\\n"]{2,3} (x | "c" x)* . <|eot|>',
        'x ::= "]" | [\\-\\]\\^] root',
    ]


def test_names_that_the_notation_cannot_spell() -> None:
    rules = Rules({"a b": Call("é"), "é": Call("root"), "root": Text(regular.literal("x")), "a-b": Call("root")}, "a b")
    assert str(Grammar(rules)).splitlines() == ["root ::= rule", "rule ::= root-2", 'root-2 ::= "x"', "a-b ::= root-2"]


def test_special_tokens_and_schemas_survive_printing() -> None:
    tokens = (Special("<|a|>"), Special("[INST]"), Special(7), Special("<[7]>"), Special('<"x">'), Special("< a>"))
    rules = Rules({"root": Sequence((*tokens, Json({"const": "%json"}, SchemaOptions())))}, "root")
    again = parse_ebnf(str(Grammar(rules))).bodies["root"]
    assert isinstance(again, Sequence) and again.items[:-1] == tokens


def test_options_of_a_schema_are_shown() -> None:
    text = str(Grammar.from_json_schema({"type": "integer"}, numbers="any", indent=2))
    assert text == '# %json with indent=2, numbers=\'any\'\nroot ::= %json {"type": "integer"}\n'
    assert '"type": "integer"' in str(Grammar.from_json_schema(int))


# ---------------------------------------------------------------------------------------------------------------------
# docs/grammars.md


def test_the_page_says_what_is_printed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (root / "docs" / "grammars.md").read_text()
    names: dict[str, object] = {}
    pairs = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(pairs) == 2
    for snippet, printed in pairs:
        exec(compile(snippet, "a snippet of docs/grammars.md", "exec", dont_inherit=True), names)
        assert capsys.readouterr().out.rstrip("\n") == printed.rstrip("\n")


# ---------------------------------------------------------------------------------------------------------------------
# Making and joining


def test_every_front_end_makes_a_grammar() -> None:
    assert EarleyOracle(Grammar.from_regex("a+|b").rules).accepts("aaa")
    assert EarleyOracle(Grammar.from_choices(["on", "off"]).rules).accepts("off")
    assert EarleyOracle(Grammar.from_literal("").rules).accepts("")
    assert EarleyOracle(Grammar.from_lark('start: "x"').rules).accepts("x")
    assert EarleyOracle(mw.Grammar.from_ebnf('s ::= "x"', root_rule_name="s").rules).accepts("x")
    schema = Grammar.from_json_schema({"type": "integer"}, whitespace="compact").rules.bodies["root"]
    assert isinstance(schema, Json) and schema.options.whitespace == "compact"


@settings(max_examples=60)
@given(st.lists(grammars(("root", "x")), min_size=1, max_size=3))
def test_joined_grammars_are_kept_apart(parts: list[Rules]) -> None:
    oracles = [EarleyOracle(rules) for rules in parts]
    made = [Grammar(rules) for rules in parts]
    union, both = EarleyOracle(Grammar.union(*made).rules), EarleyOracle(Grammar.concat(*made).rules)
    for text in texts(ALPHABET, 3):
        assert union.accepts(text) == any(oracle.accepts(text) for oracle in oracles)
        assert both.accepts(text) == concatenated(oracles, text)


def concatenated(oracles: list[EarleyOracle], text: str) -> bool:
    if not oracles:
        return not text
    return any(
        oracles[0].accepts(text[:size]) and concatenated(oracles[1:], text[size:]) for size in range(len(text) + 1)
    )


def test_joins_of_none_and_of_one() -> None:
    assert EarleyOracle(Grammar.concat().rules).accepts("")
    assert str(Grammar.concat(Grammar.from_literal("a"), Grammar.from_regex("[0-9]"))) == 'root ::= "a" [0-9]\n'
    with pytest.raises(mw.InvalidError, match="union of no grammars"):
        Grammar.union()
    with pytest.raises(mw.InvalidError, match=r"a Grammar is expected, not str"):
        Grammar.concat("a")  # type: ignore[arg-type]


def test_repeated_grammars() -> None:
    oracle = EarleyOracle(Grammar.repeat(Grammar.from_ebnf('root ::= "(" root? ")"'), 1, 2).rules)
    assert [oracle.accepts(text) for text in ("", "()", "(())()", "()()()")] == [False, True, True, False]
    with pytest.raises(mw.InvalidError, match="from 2 to 1 times"):
        Grammar.repeat(Grammar.from_literal("a"), 2, 1)


def test_what_is_no_grammar_is_refused() -> None:
    with pytest.raises(mw.InvalidError, match="choices are empty"):
        Grammar.from_choices([])
    with pytest.raises(mw.InvalidError, match="a sequence of strings"):
        Grammar.from_choices("ab")
    with pytest.raises(mw.InvalidError, match="a pattern is a string"):
        Grammar.from_regex(1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="numbers"):
        Grammar.from_json_schema(True, numbers="roman")
