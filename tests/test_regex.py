"""Regular expressions: cases as data, then Python's `re` and interegular as oracles."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import interegular
import pytest
import regex as regex_package
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from regex_patterns import FLAGGED, MODERN, NODE, PATTERNS, PLAIN_PATTERNS, TEXTS, by_node

from maskwright.grammars import errors, regex, regex_syntax, unicode_sets
from maskwright.grammars.charset import CharSet
from maskwright.grammars.regular import EMPTY, Regex, example, is_empty, matches

CASES = tomllib.loads((Path(__file__).parent / "cases" / "regex.toml").read_text())
SCHEMAS = Path(__file__).parents[2] / "shared" / "data" / "maskbench" / "dev.jsonl.gz"


@pytest.mark.parametrize("case", CASES["case"], ids=lambda case: case.get("name", case["pattern"]))
def test_case(case: dict[str, Any]) -> None:
    node = regex.parse(case["pattern"], search=case.get("search", False))
    for text in case.get("accepted", ()):
        assert matches(node, text), text
    for text in case["rejected"]:
        assert not matches(node, text), text
    assert is_empty(node) == (not case.get("accepted"))
    for text in case.get("prefix", ()):
        assert not is_empty(after(node, text)), text
    for text in case.get("no_prefix", ()):
        assert is_empty(after(node, text)), text


def after(node: Regex, text: str) -> Regex:
    for letter in text:
        node = node.derivative(ord(letter))
    return node


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["pattern"])
def test_refused(case: dict[str, Any]) -> None:
    with pytest.raises(errors.GrammarError) as caught:
        regex.parse(case["pattern"], search=True)
    assert type(caught.value).__name__ == case["error"]
    assert caught.value.position == case["position"]


# -------------------------------------------------------------------- short texts, against three other engines

LONG_CASES = int(os.environ.get("MASKWRIGHT_LONG_CASES", "20000"))


def disagreements(pattern: str, compiled: Any) -> list[tuple[str, str]]:
    """Texts of TEXTS on which we and `compiled`, Python's `re` or the package `regex`, differ."""
    anywhere, whole = regex.parse(pattern, search=True), regex.parse(pattern)
    found = []
    for text in TEXTS:
        if text == "" and r"\B" in pattern:
            continue  # Python before 3.14 has no \B in the empty string
        if matches(anywhere, text) != bool(compiled.search(text)):
            found.append(("search", text))
        if matches(whole, text) != bool(compiled.fullmatch(text)):
            found.append(("fullmatch", text))
    return found


def python_syntax(pattern: str) -> str:
    return pattern.replace("$", r"\Z")


def check_against_re(pattern: str) -> None:
    try:
        compiled = re.compile(python_syntax(pattern), re.ASCII)
    except re.error as error:
        assert "look-behind requires fixed-width pattern" in str(error)
        return
    assert disagreements(pattern, compiled) == []


def check_against_regex(pattern: str) -> None:
    compiled = regex_package.compile(python_syntax(pattern), regex_package.ASCII | regex_package.VERSION0)
    try:
        regex.parse(pattern)
    except errors.UnsupportedError as error:
        assert "inside lookbehind" in error.reason
        return
    assert disagreements(pattern, compiled) == []


@settings(max_examples=400, deadline=None)
@given(FLAGGED)
def test_short_texts_against_re(pattern: str) -> None:
    check_against_re(pattern)


@settings(max_examples=400, deadline=None)
@given(MODERN)
def test_short_texts_against_regex(pattern: str) -> None:
    check_against_regex(pattern)


@pytest.mark.long
@settings(max_examples=LONG_CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(FLAGGED)
def test_many_short_texts_against_re(pattern: str) -> None:
    check_against_re(pattern)


@pytest.mark.long
@settings(max_examples=LONG_CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(MODERN)
def test_many_short_texts_against_regex(pattern: str) -> None:
    check_against_regex(pattern)


def check_against_node(patterns: list[str]) -> None:
    for pattern, expected in zip(patterns, by_node(patterns, TEXTS), strict=True):
        anywhere = regex.parse(pattern, search=True)
        assert "".join(str(int(matches(anywhere, text))) for text in TEXTS) == expected, pattern


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
@settings(max_examples=20, deadline=None)
@given(st.lists(PATTERNS, min_size=10, max_size=20))
def test_short_texts_against_node(patterns: list[str]) -> None:
    check_against_node(patterns)


@pytest.mark.long
@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
@settings(max_examples=LONG_CASES // 20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(PATTERNS, min_size=20, max_size=20))
def test_many_short_texts_against_node(patterns: list[str]) -> None:
    check_against_node(patterns)


# -------------------------------------------------------------------- all texts, against interegular


def differing_text(node: Regex, machine: Any) -> str | None:
    """A text in one language only, by a walk of both automata at once; None where they are equal."""
    symbols = [symbol for symbol in machine.alphabet if symbol is not interegular.fsm.anything_else]
    start = (node, machine.initial)
    came_from: dict[tuple[Regex, Any], tuple[tuple[Regex, Any], str] | None] = {start: None}
    for pair in (queue := [start]):
        left, state = pair
        if left.nullable != (state in machine.finals):
            letters = []
            while (step := came_from[pair]) is not None:
                pair = step[0]
                letters.append(step[1])
            return "".join(reversed(letters))
        ends = {
            end for characters, _ in left.transitions() for low, high in characters.ranges for end in (low, high + 1)
        }
        for letter in {*symbols, "\U0010ffff", "\0", *map(chr, ends - {0x110000, 0xD800})}:
            number = machine.alphabet[letter]
            after = (left.derivative(ord(letter)), machine.map.get(state, {}).get(number))
            if after not in came_from:
                came_from[after] = pair, letter
                queue.append(after)
    return None


@settings(max_examples=200, deadline=None)
@given(PLAIN_PATTERNS)
def test_equal_to_interegular(pattern: str) -> None:
    assert differing_text(regex.parse(pattern), interegular_machine(pattern)) is None


@pytest.mark.long
@settings(max_examples=LONG_CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(PLAIN_PATTERNS)
def test_many_equal_to_interegular(pattern: str) -> None:
    assert differing_text(regex.parse(pattern), interegular_machine(pattern)) is None


def interegular_machine(pattern: str) -> Any:
    r"""Its automaton. It knows no \uHHHH."""
    spelled = re.sub(r"\\u([0-9a-f]{4})", lambda escape: chr(int(escape[1], 16)), to_python(pattern))
    return interegular.parse_pattern(spelled).to_fsm()


# -------------------------------------------------------------------- members and near misses of real patterns

PRINTABLE = CharSet([(0x20, 0x7E)])
SPACE_IN_CLASS = r" \t\n\v\f\r\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"


def to_python(pattern: str) -> str:
    r"""`pattern` with what Python reads otherwise (`.`, `$`, \s) spelled out; [\S] within a class is left."""

    inside = {"[": r"\[", r"\s": SPACE_IN_CLASS}
    outside = {".": r"[^\n\r\u2028\u2029]", "$": r"\Z", r"\s": f"[{SPACE_IN_CLASS}]", r"\S": f"[^{SPACE_IN_CLASS}]"}

    def spell(token: re.Match[str]) -> str:
        text = token[0]
        if text[0] == "[":
            return "[" + re.sub(r"\\.|\[", lambda part: inside.get(part[0], part[0]), text[1:])
        return outside.get(text, text)

    return re.sub(r"\\.|\[\^?(?:[^\]\\]|\\.)*\]|[.$]", spell, pattern, flags=re.DOTALL)


def walk(node: Regex, choose: random.Random, length: int = 20) -> str:
    """A random member."""
    letters = []
    while not (node.nullable and (choose.random() < 0.3 or len(letters) >= length)):
        live = [step for step in node.transitions() if not is_empty(step[1])]
        if not live:
            break
        if len(letters) >= length:
            return "".join(letters) + (example(node) or "")
        characters, node = choose.choice(live)
        if characters & PRINTABLE and choose.random() < 0.8:
            characters &= PRINTABLE
        low, high = choose.choice(characters.ranges)
        letters.append(chr(choose.randint(low, high)))
    return "".join(letters)


def mutate(text: str, choose: random.Random) -> str:
    """The text with one character put in, left out or replaced."""
    at = choose.randint(0, len(text))
    new = choose.choice([chr(choose.randint(0x20, 0x7E)), "", *text[at : at + 1]])
    return text[:at] + new + text[at + choose.randint(0, 1) :]


def check_members(pattern: str, seed: int, members: int) -> None:
    anywhere, whole = regex.parse(pattern, search=True), regex.parse(pattern)
    expected = re.compile(to_python(pattern), re.ASCII)
    choose = random.Random(seed)
    for _ in range(members):
        member = walk(anywhere, choose)
        assert matches(anywhere, member)
        for text in (member, mutate(member, choose), mutate(member, choose)):
            if text == "" and r"\B" in pattern:
                continue  # Python before 3.14 has no \B in the empty string
            if len(text) < 60:  # some real patterns take `re` exponential time
                assert matches(anywhere, text) == bool(expected.search(text)), (pattern, text)
                assert matches(whole, text) == bool(expected.fullmatch(text)), (pattern, text)


PYTHON_READS_ALIKE = [
    case["pattern"]
    for case in CASES["case"]
    if case.get("accepted")
    and not re.search(r"\\[pPuczAZv]|\(\?[<a-zP]|\[\]|\[\^\]|\[\\[wd]-|\\0|\\W|\\D", case["pattern"])
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PYTHON_READS_ALIKE), st.integers(0, 2**32))
def test_random_members_against_re(pattern: str, seed: int) -> None:
    check_members(pattern, seed, members=2)


def patterns_of(schema: Any) -> Iterator[str]:
    """Every pattern in a schema, taking whatever is called `pattern` for one."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "pattern" and isinstance(value, str):
                yield value
            if key == "patternProperties" and isinstance(value, dict):
                yield from value
            yield from patterns_of(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from patterns_of(value)


@pytest.mark.skipif(not SCHEMAS.exists(), reason=f"the development schemas are not here ({SCHEMAS})")
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of `re`, about `--` and `[[` in classes
def test_patterns_of_real_schemas() -> None:
    with gzip.open(SCHEMAS, "rt", encoding="utf-8") as lines:
        found = sorted({pattern for line in lines for pattern in patterns_of(json.loads(line)["schema"])})
    refused = []
    for number, pattern in enumerate(found):
        try:
            node = regex.parse(pattern, search=True)
        except errors.UnsupportedError as error:
            refused.append(error.reason)
            continue
        assert not is_empty(node)
        if number % 4 == 0:
            check_members(pattern, number, members=1)
    assert len(found) > 1000
    assert refused == ["a back-reference in a regular expression cannot be enforced"]


# -------------------------------------------------------------------- the page

PAGE = (Path(__file__).parents[1] / "docs" / "regex.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of a table of the page, unquoted."""
    _, _, table = PAGE.partition(heading + "\n")
    lines = table.splitlines()[1:]
    found = [
        re.split(r" (?<!\\)\| ", line.strip("| ")) for line in itertools.takewhile(lambda line: line[:1] == "|", lines)
    ]
    return [[cell.strip("`").replace(r"\|", "|") for cell in row] for row in found]


def test_the_table_of_the_dialect_is_true() -> None:
    table = rows("| what | pattern | a text that it has | one that it does not have |")
    assert len(table) > 15
    for *_, pattern, inside, outside in table:
        node = regex.parse(pattern)
        assert matches(node, inside.replace(r"\n", "\n")), pattern
        assert not matches(node, outside), pattern


def test_what_the_page_says_is_refused_is_refused() -> None:
    table = rows("| what | example | why |")
    assert len(table) > 6
    for _, pattern, _ in table:
        with pytest.raises(errors.GrammarError):
            regex.parse(pattern)


def test_an_error_shows_the_pattern() -> None:
    with pytest.raises(errors.UnsupportedError) as caught:
        regex.parse(r"(a)-\1")
    assert f"UnsupportedError: {caught.value}\n```" in PAGE
    with pytest.raises(errors.InvalidError) as invalid:
        regex.parse("ab\n漢字[z-a]c")
    assert str(invalid.value).splitlines()[-2:] == ["漢字[z-a]c", "     ^"]
    assert "(line 2, column 4)" in str(invalid.value)
    assert errors.caret("x" * 200 + "\ty", 200).splitlines()[1] == " " * 78 + "^"


# -------------------------------------------------------------------- limits, Unicode, case


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    for pattern in ("(" * 1000 + "a" + ")" * 1000, "(?:b" * 90 + "a" + "|c)+" * 90, "(?:" * 90 + "^a" + "|b)?c" * 90):
        with pytest.raises(errors.LimitExceeded):
            regex.parse(pattern, search=True)
    node = regex.parse("(?:b" * 30 + "a" + "|c)+" * 30)
    assert matches(node, "b" * 30 + "a")


def test_long_patterns() -> None:
    node = regex.parse("a?" * 300 + "b" + "[0-9]" * 300)
    assert matches(node, "a" * 300 + "b" + "7" * 300)
    assert not matches(node, "a" * 301 + "b" + "7" * 300)


def test_flags_as_arguments() -> None:
    assert regex.parse("a.b", ignore_case=True, dot_all=True) == regex.parse("(?is)a.b")
    assert matches(regex.parse("(?-i:a)b", ignore_case=True), "aB")
    assert not matches(regex.parse("(?-i:a)b", ignore_case=True), "AB")


def test_assertions_that_do_nothing_leave_nothing() -> None:
    assert regex.parse("^[a-z]+$", search=True) == regex.parse("[a-z]+")
    assert regex.parse("(?=a)^$|$x", search=True) is EMPTY
    assert regex.parse(r"^\bfoo\b$", search=True) == regex.parse("foo")


def test_tree_has_nodes_for_assertions_only() -> None:
    assert isinstance(regex_syntax.parse_syntax("(a|b[0-9]+)*c"), Regex)
    tree = regex_syntax.parse_syntax("^a|b[0-9]+$")
    assert isinstance(tree, regex_syntax.Choice)
    assert [len(branch.items) for branch in tree.items] == [2, 2]


@pytest.mark.parametrize("letter", "kKsSaZéÉσςΣ\u01c5ßẞ\u212a\u017f1-")
def test_case_variants_against_re(letter: str) -> None:
    """`re` folds case one to one, as simple case folding does."""
    folded = unicode_sets.fold_case(CharSet.of(letter))
    machine = re.compile(re.escape(letter), re.IGNORECASE)
    near = [*range(0x250), *range(0x370, 0x400), 0x1E9E, 0x212A]
    assert [point for point in near if point in folded] == [point for point in near if machine.fullmatch(chr(point))]


def test_properties_partition_unicode() -> None:
    union = CharSet()
    for name in "LMNPSZC":
        found = unicode_sets.unicode_property(name)
        assert found is not None
        assert not found & union
        union |= found
    assert union == unicode_sets.unicode_property("Any")
    assert unicode_sets.unicode_property("Klingon") is None
