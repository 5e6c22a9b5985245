"""Tags that wait until a text comes to them: what is seen at a glance is never wrong, is copied, and costs no loading."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tool_calls import many_tools

import maskwright as mw
from maskwright.compile import embedded
from maskwright.grammars.free_text import FreeText
from maskwright.grammars.pieces import Beginnings, Cutter
from maskwright.grammars.plain_schemas import is_plain_object
from maskwright.grammars.plain_tags import Glances
from maskwright.grammars.rules import Special
from maskwright.judge import byte_vocabulary


@pytest.fixture(scope="module")
def compiler() -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_vocabulary(), cache_enabled=False)


# -------------------------------------------------------------------- a glance

names = st.sampled_from(["a", "b", "é", ""])
odd = st.sampled_from([None, True, -1, 0.5, 3, 1 << 60, "a", "date", [], ["a"], ["a", "a"], [1], {}, {"a": 1}, {1: {}}])
keyword_values: dict[str, st.SearchStrategy[Any]] = {
    "description": st.just("text"),
    "title": st.just("text"),
    "default": odd,
    "required": st.lists(names, max_size=2),
    "additionalProperties": st.booleans(),
    "minItems": st.integers(0, 3),
    "maxItems": st.integers(0, 3),
    "minLength": st.integers(0, 3),
    "maxLength": st.integers(0, 3),
    "minimum": st.integers(-3, 3),
    "maximum": st.integers(-3, 3),
    "enum": st.lists(names, max_size=3),
    "format": st.sampled_from(["date", "uuid", "ipv9"]),
    "pattern": st.just("("),
    "$ref": st.just("#/nowhere"),
}
OF_TYPES = {
    "object": ["required", "additionalProperties"],
    "array": ["minItems", "maxItems"],
    "string": ["minLength", "maxLength", "enum", "format"],
    "integer": ["minimum", "maximum"],
    "number": ["minimum", "maximum"],
    "boolean": [],
    "null": [],
}


@st.composite
def schemas(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    """A schema, often one of tools' arguments, in which something may be wrong."""
    kind = "object" if depth == 0 else draw(st.sampled_from([*OF_TYPES, "", "list", "anyOf"]))
    keywords = draw(st.lists(st.sampled_from(["description", "title", *OF_TYPES.get(kind, ["enum"])]), max_size=3))
    found: dict[str, Any] = {keyword: draw(keyword_values[keyword]) for keyword in keywords}
    if kind in OF_TYPES:
        found["type"] = kind
    if kind == "list":
        found["type"] = draw(st.lists(st.sampled_from([*OF_TYPES, "text"]), max_size=3))
    if depth < 3:
        inside = schemas(depth=depth + 1)
        if kind == "object" and draw(st.integers(0, 9)):
            found["properties"] = draw(st.dictionaries(names, inside, max_size=3))
        elif kind == "array" and draw(st.booleans()):
            found["items"] = draw(inside)
        elif kind == "anyOf":
            found["anyOf"] = draw(st.lists(inside, max_size=2))
    if not draw(st.integers(0, 19)):
        keyword = draw(st.sampled_from(sorted(keyword_values)))
        found[keyword] = draw(st.one_of(odd, keyword_values[keyword]))
    return found


LOADING = mw.GrammarCompiler(byte_vocabulary(), cache_enabled=False)


@settings(deadline=None, max_examples=150)
@given(schemas())
def test_what_is_plain_is_never_refused(schema: dict[str, Any]) -> None:
    if is_plain_object(schema):
        compiled = LOADING.compile_json_schema(schema)
        text = mw.GrammarMatcher(compiled).shortest_completion()
        assert text.startswith(b"{") and text.endswith(b"}")


@pytest.mark.parametrize(
    ("parameters", "plain"),
    [
        ({"type": "object"}, True),
        ({"type": "object", "properties": {"a": {}, "b": {"type": ["string", "null"]}}, "required": ["a"]}, True),
        ({"type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}, {"enum": ["x"]}]}}}, True),
        ({"type": "object", "properties": {"a": {"type": "array", "minItems": 2, "maxItems": 2}}}, True),
        ({"type": "object", "properties": {"a": {"type": "array", "minItems": 2, "maxItems": 1}}}, False),
        ({"type": "object", "properties": {"a": {"type": "integer", "maximum": True}}}, False),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}, False),
        ({"type": "object", "properties": {"a": {"type": "int"}}}, False),
        ({"type": "object", "properties": {"a": {"enum": ["x", "x"]}}}, False),
        ({"type": "object", "required": ["a", "a"], "properties": {"a": {}}}, False),
        ({"type": "object", "properties": {1: {}}}, False),
        ({"type": "string"}, False),
        (True, False),
    ],
)
def test_a_glance(parameters: Any, plain: bool) -> None:
    assert is_plain_object(parameters) is plain
    content = {"type": "json_schema", "json_schema": parameters}
    assert (Glances().content(content) is not None) is plain
    assert Glances().content({**content, "style": "yaml"}) is None
    assert Glances().content({**content, "excludes": []}) is None


@pytest.mark.parametrize("options", [{}, {"tool_choice": "required"}], ids=["auto", "required"])
@pytest.mark.parametrize("format", ["qwen", "qwen-coder", "harmony", "mistral"])
def test_schemas_are_loaded_when_a_text_comes_to_them(
    format: str, options: dict[str, Any], compiler: mw.GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    original = embedded.load_schema
    monkeypatch.setattr(embedded, "load_schema", lambda *given: loaded.append(given) or original(*given))
    compiled = compiler.compile_tools(many_tools(60), format, **options)
    matcher = mw.GrammarMatcher(compiled)
    matcher.allowed_token_ids()
    assert not loaded
    begin = {
        "qwen": '<tool_call>\n{"name": "tool_7", "arguments": {"query_7',
        "qwen-coder": "<tool_call>\n<function=tool_7>\n<parameter=query_7>",
        "harmony": " to=functions.tool_7<|channel|>commentary json<|message|>{",
        "mistral": '[TOOL_CALLS][{"name": "tool_7", "arguments": {',
    }[format]
    assert matcher.accept_string(begin)
    assert 0 < len(loaded) <= 6  # that tool's; where arguments are tags, one for each


# -------------------------------------------------------------------- what the caller keeps


def test_later_changes_of_a_schema_have_no_effect() -> None:
    compiler = mw.GrammarCompiler(byte_vocabulary())
    tools = many_tools(3)
    before = copy.deepcopy(tools)
    compiled = compiler.compile_tools(tools, "qwen")
    tools[1]["function"]["parameters"]["properties"]["limit"]["maximum"] = 70_000
    tools[2]["function"]["parameters"]["properties"].clear()
    for grammar in (compiled, compiler.compile_tools(before, "qwen")):
        matcher = mw.GrammarMatcher(grammar)
        assert matcher.accept_string('<tool_call>\n{"name": "tool_1", "arguments": {"query_1": "x", "limit": 2')
        assert not matcher.accept_string("0")


def test_a_schema_that_cannot_be_copied_is_loaded_at_once(compiler: mw.GrammarCompiler) -> None:
    class Text(str):
        __slots__ = ()

    tools = many_tools(2)
    tools[0]["function"]["parameters"]["properties"]["limit"]["default"] = Text("x")
    compiled = compiler.compile_tools(tools, "qwen")
    tools[0]["function"]["parameters"]["properties"]["limit"]["maximum"] = 70_000
    matcher = mw.GrammarMatcher(compiled)
    assert matcher.accept_string('<tool_call>\n{"name": "tool_0", "arguments": {"query_0": "x", "limit": 1')
    assert not matcher.accept_string("0")


def test_parameters_as_tags_in_any_order_are_refused_at_once(compiler: mw.GrammarCompiler) -> None:
    with pytest.raises(mw.UnsupportedError, match="in the order of the schema") as caught:
        compiler.compile_tools(many_tools(2), "qwen-coder", property_order="any")
    assert caught.value.pointer == "/format/tags/0/content/json_schema"


# -------------------------------------------------------------------- strings

texts = st.text("ab<|", min_size=1, max_size=5)


class Names:
    """A vocabulary of nothing but special tokens."""

    def __init__(self, names: list[str]) -> None:
        self.special_names = {name: number for number, name in enumerate(names)}

    def text_of(self, token: int | str) -> str | None:
        return None


@settings(deadline=None)
@given(st.lists(texts, max_size=5), st.text("ab<|", max_size=12))
def test_strings_are_cut_at_the_first_and_longest_names(names: list[str], text: str) -> None:
    longest_first = sorted(set(names), key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text) if names else [text]
    expected = tuple(Special(part) if at % 2 else part for at, part in enumerate(parts) if part)
    cut = Cutter(Names(names))
    assert cut.pieces(text) == expected
    assert cut.all_pieces([text, "b", text]) == [expected, cut.pieces("b"), expected]


pieces = st.lists(st.one_of(texts, st.sampled_from([Special("<s>"), Special(7)])), min_size=1, max_size=3).map(tuple)


@settings(deadline=None)
@given(st.lists(pieces, max_size=6), pieces)
def test_beginnings_are_all_that_pieces_begin_with(members: list[Any], whole: Any) -> None:
    def begins(member: Any) -> bool:
        *before, last = member
        if len(member) > len(whole) or tuple(before) != whole[: len(before)]:
            return False
        other = whole[len(before)]
        return other == last or isinstance(other, str) and isinstance(last, str) and other.startswith(last)

    found = Beginnings(members).of(whole)
    assert set(found) == {member for member in members if begins(member)} and len(set(found)) == len(found)
    lengths = [(len(member), len(member[-1]) if isinstance(member[-1], str) else 0) for member in found]
    assert lengths == sorted(lengths)


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=5, unique=True), st.lists(texts, max_size=2))
def test_the_stops_that_are_complete_first_are_those_that_a_search_finds(stops: list[str], avoided: list[str]) -> None:
    free = FreeText(stops, avoided)
    for number, stop in enumerate(stops):
        end = next(at for at in range(1, len(stop) + 1) if any(stop[:at].endswith(other) for other in stops))
        expected = {other for other, text in enumerate(stops) if stop[:end].endswith(text)}
        assert free.first(number) == expected


def test_stops_that_are_nested_a_thousand_deep() -> None:
    stops = [f"{'a' * count}b" for count in range(1, 1200)]
    assert FreeText(stops).first(len(stops) - 1) == frozenset(range(len(stops)))
