"""Calls of tools: answers in every format as data, special tokens where a vocabulary has them, errors, cost."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

import maskwright as mw
from maskwright.grammars.tool_calls import describe_tools, tool_formats
from maskwright.judge import byte_vocabulary

CASES = tomllib.loads((Path(__file__).parent / "cases" / "tool_calls.toml").read_text())["case"]
ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
NOW = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": ADD}},
    {"type": "function", "function": {"name": "now", "parameters": NOW}},
]


@pytest.fixture(scope="module")
def compiler() -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_vocabulary())


def case_name(case: dict[str, Any]) -> str:
    return f"{case['format']} {case.get('options', '')}"


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_case(case: dict[str, Any], compiler: mw.GrammarCompiler) -> None:
    compiled = compiler.compile_tools(TOOLS, case["format"], **case.get("options", {}))
    for kind, whole, viable in (("accept", True, True), ("prefix", False, True), ("reject", False, False)):
        for text in case.get(kind, ()):
            matcher = mw.GrammarMatcher(compiled)
            taken = matcher.accept_string(text)
            assert (taken and matcher.is_completed(), taken) == (whole, viable), text


@pytest.mark.parametrize("case", [case for case in CASES if "xgrammar" in case], ids=case_name)
def test_xgrammar_accepts_what_is_accepted(case: dict[str, Any]) -> None:
    pytest.importorskip("xgrammar", reason="xgrammar is not installed: pip install xgrammar==0.2.8")
    from xgrammar import Grammar
    from xgrammar.builtin_structural_tag import get_model_structural_tag
    from xgrammar.testing import _is_grammar_accept_string

    grammar = Grammar.from_structural_tag(get_model_structural_tag(tools=TOOLS, **case["xgrammar"]))
    for text in case["accept"]:
        assert _is_grammar_accept_string(grammar, text), text


def test_every_format_is_tested_and_says_where_it_comes_from() -> None:
    assert {case["format"] for case in CASES} == set(tool_formats())
    assert all(table["source"].startswith("https://") and table["models"] for table in tool_formats().values())


SPECIAL = ["<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>"]
WORDS = ["commentary", "analysis", "final", "json", "assistant", "functions"]


def harmony_vocabulary() -> mw.TokenizerInfo:
    """A token for every byte, some words, and Harmony's special tokens, two of which end an answer, as gpt-oss has it."""
    tokens = [*(bytes((byte,)) for byte in range(256)), *(word.encode() for word in WORDS)]
    special = range(len(tokens), len(tokens) + len(SPECIAL))
    return mw.TokenizerInfo(
        [*tokens, *(name.encode() for name in SPECIAL)],
        eos_token_ids=special[-2:],
        special_token_ids=special,
    )


def test_names_of_special_tokens_are_the_tokens() -> None:
    info = harmony_vocabulary()
    ids = info.special_names
    compiled = mw.GrammarCompiler(info).compile_tools(TOOLS, "harmony", reasoning="optional")
    matcher = mw.GrammarMatcher(compiled)
    assert set(matcher.allowed_token_ids().tolist()) == {ids["<|channel|>"], ord(" ")}
    assert matcher.accept_token(ids["<|channel|>"]) and matcher.accept_string("analysis")
    assert matcher.allowed_token_ids().tolist() == [ids["<|message|>"]]
    assert matcher.accept_token(ids["<|message|>"]) and matcher.accept_string("hm <|end|> is text here")
    assert set(ids.values()) & set(matcher.allowed_token_ids().tolist()) == {ids["<|end|>"]}
    for piece in ("<|end|>", "<|start|>", "assistant", "<|channel|>", "commentary to=functions.add ", "<|constrain|>"):
        assert matcher.accept_token(ids[piece]) if piece in ids else matcher.accept_string(piece), piece
    assert matcher.accept_string("json") and matcher.accept_token(ids["<|message|>"])
    assert not matcher.is_completed() and matcher.accept_string('{"a": 1}') and matcher.is_completed()
    assert matcher.allowed_token_ids().tolist() == [ids["<|return|>"], ids["<|call|>"]]
    assert matcher.accept_token(ids["<|call|>"])


def test_a_token_format_is_a_special_token_or_a_text() -> None:
    info = harmony_vocabulary()
    compiler = mw.GrammarCompiler(info)
    content = {"type": "json_schema", "json_schema": {"type": "integer"}}

    def described(begin: Any) -> dict[str, Any]:
        tag = {
            "begin": {"type": "token", "token": begin},
            "content": content,
            "end": {"type": "token", "token": "<|end|>"},
        }
        triggered = {"type": "token_triggered_tags", "trigger_tokens": [begin], "tags": [tag]}
        return {"type": "structural_tag", "format": triggered}

    for begin in ("<|start|>", info.special_names["<|start|>"], "final", 256 + WORDS.index("final")):
        matcher = mw.GrammarMatcher(compiler.compile_structural_tag(described(begin)))
        assert matcher.accept_string("text ")
        if begin in ("final", 256 + WORDS.index("final")):
            assert matcher.accept_string("final")
        else:
            assert matcher.accept_token(info.special_names["<|start|>"])
        assert not matcher.is_completed() and matcher.accept_string("12") and not matcher.accept_string("x")
        assert matcher.accept_token(info.special_names["<|end|>"]) and matcher.is_completed()
    with pytest.raises(mw.TokenizerError, match="no token 'finale'"):
        compiler.compile_structural_tag(described("finale"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"format": "qwenn"}, mw.InvalidError, "no tool format 'qwenn'. choose one of llama-3"),
        ({"tool_choice": {"name": "sub"}}, mw.InvalidError, "names 'sub', which is no tool. the tools are add, now"),
        ({"tool_choice": "any"}, mw.InvalidError, "tool_choice='any'"),
        ({"tools": [], "tool_choice": "required"}, mw.InvalidError, "there are no tools"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, mw.InvalidError, "/1: two tools are called 'add'"),
        ({"tools": [{"type": "function"}]}, mw.InvalidError, "/0: a tool is an object with a name"),
        ({"tools": "add"}, mw.InvalidError, "tools are a list"),
        ({"reasoning": "yes"}, mw.InvalidError, "reasoning='yes'. choose one of 'none', 'begun'"),
        ({"format": "hermes", "reasoning": "begun"}, mw.UnsupportedError, "'hermes' has no reasoning"),
        ({"format": "harmony", "parallel": True}, mw.UnsupportedError, "ends with its first call"),
    ],
)
def test_refused(options: dict[str, Any], error: type[mw.GrammarError], message: str) -> None:
    with pytest.raises(error) as caught:
        describe_tools(**{"tools": TOOLS, "format": "qwen", **options})
    assert message in str(caught.value)


def many_tools(count: int) -> list[dict[str, Any]]:
    """Tools of typical arguments, no two alike."""
    return [
        {
            "type": "function",
            "function": {
                "name": f"tool_{number}",
                "parameters": {
                    "type": "object",
                    "properties": {
                        f"query_{number}": {"type": "string", "description": "What to look for."},
                        "limit": {"type": "integer", "minimum": 1, "maximum": number + 1},
                        "order": {"type": "string", "enum": ["asc", "desc", f"by_{number}"]},
                        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
                        "where": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
                    },
                    "required": [f"query_{number}"],
                    "additionalProperties": False,
                },
            },
        }
        for number in range(count)
    ]


@pytest.mark.parametrize("options", [{}, {"tool_choice": "required"}], ids=["auto", "required"])
def test_one_of_a_hundred_tools(options: dict[str, Any], compiler: mw.GrammarCompiler) -> None:
    """What they cost is measured in benchmarks/tools.py, and counted in test_plain_tags.py."""
    matcher = mw.GrammarMatcher(compiler.compile_tools(many_tools(128), "qwen", **options))
    assert matcher.accept_string('<tool_call>\n{"name": "tool_77", "arguments": {"query_77": "x", "limit": 78')
    assert not matcher.accept_string("0")
    assert matcher.accept_string("}}\n</tool_call>") and matcher.is_completed()


def test_a_schema_that_is_wrong_is_refused_at_once(compiler: mw.GrammarCompiler) -> None:
    tools = many_tools(20)
    tools[13]["function"]["parameters"]["properties"]["limit"]["type"] = "int"
    with pytest.raises(mw.InvalidError) as caught:
        compiler.compile_tools(tools, "qwen")
    assert caught.value.pointer == "/format/tags/13/content/json_schema/properties/limit/type"
