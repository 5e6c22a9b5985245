"""Structural tags: cases as data, an oracle by string search, special tokens, errors with their place, laziness."""

from __future__ import annotations

import json
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from naive_tags import accepts

import maskwright as mw
from maskwright.grammars import errors
from maskwright.judge import byte_vocabulary

CASES = tomllib.loads((Path(__file__).parent / "cases" / "structural_tags.toml").read_text())


def tag(format: dict[str, Any]) -> dict[str, Any]:
    return {"type": "structural_tag", "format": format}


def description(case: dict[str, Any]) -> Any:
    """What the case describes: its format in a structural tag, where it is no description by itself."""
    try:
        found = json.loads(case["description"])
    except json.JSONDecodeError:
        return case["description"]
    return tag(found) if isinstance(found, dict) and "type" in found and "structures" not in found else found


@pytest.fixture(scope="module")
def compiler() -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_vocabulary())


@pytest.mark.parametrize("case", CASES["case"], ids=lambda case: case["name"])
def test_case(case: dict[str, Any], compiler: mw.GrammarCompiler) -> None:
    compiled = compiler.compile_structural_tag(description(case))
    for kind, whole, viable in (("accept", True, True), ("prefix", False, True), ("reject", False, False)):
        for text in case.get(kind, ()):
            matcher = mw.GrammarMatcher(compiled)
            taken = matcher.accept_string(text)
            assert (taken and matcher.is_completed(), taken) == (whole, viable), text
            if viable:
                rest = matcher.shortest_completion()
                assert matcher.accept_string(rest) and matcher.is_completed(), (text, rest)


@pytest.mark.parametrize("case", CASES["case"], ids=lambda case: case["name"])
def test_xgrammar_agrees_but_where_the_case_says(case: dict[str, Any]) -> None:
    xgrammar = pytest.importorskip("xgrammar", reason="xgrammar is not installed: pip install xgrammar==0.2.8")
    from xgrammar.testing import _is_grammar_accept_string

    if case.get("xgrammar") == "refuses":
        with pytest.raises(Exception, match=r"."):
            xgrammar.Grammar.from_structural_tag(description(case))
        return
    found = description(case)
    if "structures" in found:
        items = [xgrammar.StructuralTagItem(**one) for one in found["structures"]]
        grammar = xgrammar.Grammar.from_structural_tag(items, found["triggers"])
    else:
        grammar = xgrammar.Grammar.from_structural_tag(found)
    others = case.get("xgrammar", [])
    for kind in ("accept", "prefix", "reject"):
        for text in case.get(kind, ()):
            expected = (kind == "accept") != (text in others)
            assert _is_grammar_accept_string(grammar, text) == expected, text


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["message"])
def test_refused(case: dict[str, Any], compiler: mw.GrammarCompiler) -> None:
    with pytest.raises(errors.GrammarError) as caught:
        compiler.compile_structural_tag(description(case))
    error = caught.value
    assert type(error).__name__ == case["error"]
    assert case["message"] in f"{error.reason}. {error.hint}"
    assert error.pointer == case.get("pointer")


# -------------------------------------------------------------------- against the oracle

LETTERS = "ab<"
short = st.text(LETTERS, min_size=1, max_size=3)


def tags(content: st.SearchStrategy[Any], begins: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    ends = st.one_of(short, st.lists(short, min_size=1, max_size=2, unique=True))
    return st.fixed_dictionaries({"type": st.just("tag"), "begin": begins, "content": content, "end": ends})


@st.composite
def triggered(draw: st.DrawFn, content: st.SearchStrategy[Any]) -> dict[str, Any]:
    triggers = draw(st.lists(short, min_size=1, max_size=3, unique=True))
    begins = st.builds(lambda trigger, rest: trigger + rest, st.sampled_from(triggers), st.text(LETTERS, max_size=2))
    return {
        "type": "triggered_tags",
        "triggers": triggers,
        "tags": draw(st.lists(tags(content, begins), min_size=1, max_size=3)),
        "excludes": draw(st.lists(short, max_size=2)),
        "at_least_one": draw(st.booleans()),
        "stop_after_first": draw(st.booleans()),
    }


def composed(content: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    elements = st.lists(content, min_size=1, max_size=2)
    return st.one_of(
        triggered(content),
        tags(content, short),
        st.fixed_dictionaries({"type": st.sampled_from(["sequence", "or"]), "elements": elements}),
        st.fixed_dictionaries({"type": st.just("optional"), "content": content}),
        st.fixed_dictionaries(
            {
                "type": st.just("tags_with_separator"),
                "tags": st.lists(tags(content, short), min_size=1, max_size=2),
                "separator": st.text(LETTERS, max_size=1),
                "at_least_one": st.booleans(),
                "stop_after_first": st.booleans(),
            }
        ),
        st.fixed_dictionaries(
            {
                "type": st.just("dispatch"),
                "rules": st.lists(st.tuples(short, content).map(list), min_size=1, max_size=3),
                "loop": st.booleans(),
                "excludes": st.lists(short, max_size=2),
            }
        ),
    )


leaves = st.one_of(
    st.fixed_dictionaries({"type": st.just("const_string"), "value": st.text(LETTERS, max_size=2)}),
    st.fixed_dictionaries({"type": st.just("any_text"), "excludes": st.lists(short, max_size=2)}),
)
formats = st.recursive(leaves, composed, max_leaves=4)
WORDS = ["".join(letters) for size in range(7) for letters in product(LETTERS, repeat=size)]
TOKENS = [b"ab", b"ba", b"a<", b"<a", b"<ab", b"aa<b", b"<<", b"<e>"]
VOCABULARY = mw.TokenizerInfo(
    [*(bytes((byte,)) for byte in range(256)), *TOKENS],
    eos_token_ids=[255 + len(TOKENS)],
)


def check(format: dict[str, Any]) -> None:
    try:
        compiled = mw.GrammarCompiler(VOCABULARY, cache_enabled=False).compile_structural_tag(tag(format))
    except errors.InvalidError as error:
        assume("can never be completed" in error.reason)
        assume(False)
        return
    except errors.UnsatisfiableError:
        assert not any(accepts(format, word) for word in WORDS)
        return
    matcher = mw.GrammarMatcher(compiled)
    for word in WORDS:
        matcher.reset()
        taken = matcher.accept_string(word)
        assert (taken and matcher.is_completed()) == accepts(format, word), word
        if not taken or len(word) > 3:
            continue
        allowed = set(matcher.allowed_token_ids().tolist())
        rest = matcher.shortest_completion()
        assert accepts(format, word + rest.decode()), (word, rest)
        for token_id, token in enumerate(TOKENS[:-1], 256):
            assert (token_id in allowed) == matcher.accept_string(token), (word, token)
            if token_id in allowed:
                matcher.rollback(1)


TRIGGERED = {"type": "triggered_tags", "excludes": [], "at_least_one": False, "stop_after_first": False}
CONST = {"type": "const_string", "value": ""}


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@example({**TRIGGERED, "triggers": ["aa"], "tags": [{"type": "tag", "begin": "aab", "content": CONST, "end": "<"}]})
@example(
    {**TRIGGERED, "triggers": ["<a", "b<a"], "tags": [{"type": "tag", "begin": "b<a", "content": CONST, "end": "b"}]}
)
@example({**TRIGGERED, "triggers": ["a"], "tags": [{"type": "tag", "begin": "a", "content": CONST, "end": "b"}]})
@given(formats)
def test_every_text_is_judged_as_the_oracle_judges_it(format: dict[str, Any]) -> None:
    check(format)


def test_a_structural_tag_is_printed_as_ebnf_that_reads_back() -> None:
    plain = {"type": "object", "properties": {"a": {"type": "boolean"}}, "additionalProperties": False}
    tags = [
        {"begin": f"<f={name}>", "content": {"type": "json_schema", "json_schema": plain}, "end": "</f>"}
        for name in "ab"
    ]
    described = tag({"type": "triggered_tags", "triggers": ["<f="], "tags": tags})
    again = mw.Grammar.from_ebnf(str(mw.Grammar.from_structural_tag(described)))
    compiled = mw.GrammarCompiler(byte_vocabulary()).compile_grammar(again)
    for text, taken, whole in (
        ("x<f=a>{}</f>", True, True),
        ('<f=b>{"a": true}</f><', True, True),
        ("<f=", True, False),
        ("<f=c", False, False),
    ):
        matcher = mw.GrammarMatcher(compiled)
        assert matcher.accept_string(text) == taken, text
        assert (taken and matcher.is_completed()) == whole, text
