"""The text policy against json.dumps: an exact policy has just the texts that it writes of their own values."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.grammars.options import SchemaOptions
from maskwright.judge import judge
from maskwright.runtime.matcher import GrammarMatcher

CASES = [
    case | {"text": case["text"].strip("\n")}
    for case in tomllib.loads((Path(__file__).parent / "cases/indentation.toml").read_text("utf-8"))["case"]
]
TEXT = st.text(st.sampled_from('aé€😀"\\/\n\x00\x1f\x7f\u2028 '), max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
EXACT = [
    {"indent": 0}, {"indent": 2}, {"indent": 1, "separators": (", ", ":")},
    {"indent": 3, "ensure_ascii": True}, {"separators": (",", ":")}, {"separators": (" ,\n", " : "), "ensure_ascii": True},
    {"separators": (", ", ": ")},
]  # fmt: skip


def written(value: Any, policy: dict[str, Any]) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **policy})


def is_written(text: str, policy: dict[str, Any]) -> bool:
    """Whether json.dumps writes `text` of its own value (members as pairs: a key may come twice)."""
    try:
        value = json.loads(text, object_pairs_hook=_Members, parse_float=_refuse, parse_constant=_refuse)
        _dumps(value, {}).encode()
    except ValueError:  # no JSON, or a lone surrogate
        return False
    return _dumps(value, policy) == text


class _Members(list):
    """The members of an object in their order."""


def _refuse(text: str) -> None:
    raise ValueError(text)


def _dumps(value: Any, policy: dict[str, Any], depth: int = 0) -> str:
    """As json.dumps; written anew because that takes no members twice."""
    item, key = policy.get("separators") or ((",", ": ") if "indent" in policy else (", ", ": "))
    lines = ["", ""]
    if "indent" in policy:
        lines = ["\n" + " " * policy["indent"] * level for level in (depth + 1, depth)]
    scalar = {"ensure_ascii": policy.get("ensure_ascii", False)}
    if isinstance(value, _Members):
        parts = [json.dumps(k, **scalar) + key + _dumps(v, policy, depth + 1) for k, v in value]
        marks = "{}"
    elif isinstance(value, list):
        parts, marks = [_dumps(inner, policy, depth + 1) for inner in value], "[]"
    else:
        return json.dumps(value, **scalar)
    inside = lines[0] + (item + lines[0]).join(parts) + lines[1] if parts else ""
    return marks[0] + inside + marks[1]


@pytest.mark.parametrize("policy", EXACT, ids=str)
def test_exact_policies(policy: dict[str, Any], compiler: GrammarCompiler) -> None:
    compiled = compiler.compile_json_schema(True, **policy)

    @settings(max_examples=40, deadline=None)
    @given(VALUES, st.data())
    def check(value: Any, data: st.DataObject) -> None:
        text = written(value, policy)
        assert is_written(text, policy)
        assert judge(compiled, text.encode()).accepted, text
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(at, min(at + 2, len(text))))
        piece = data.draw(st.sampled_from(["", " ", "\n", ",", "]", "}", "a", "\\u00e9", "\\ud83d", "1"]))
        changed = text[:at] + piece + text[cut:]
        if "." not in changed and "e" not in changed.replace("true", "").replace("false", ""):
            assert judge(compiled, changed.encode()).accepted == is_written(changed, policy), changed

    check()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["schema"][:40])
def test_indentation_under_schemas(case: dict[str, str], compiler: GrammarCompiler) -> None:
    text, compact = case["text"], json.dumps(json.loads(case["text"]))
    compiled = compiler.compile_json_schema(json.loads(case["schema"]), indent=2)
    assert json.dumps(json.loads(text), indent=2) == text, "the case is wrong"
    assert judge(compiled, text.encode()).accepted
    assert judge(compiler.compile_json_schema(json.loads(case["schema"])), compact.encode()).accepted
    for wrong in (text.replace("\n", ""), text.replace("\n  ", "\n "), text.replace("\n", " \n"), compact):
        assert not judge(compiled, wrong.encode()).accepted


PIECES = [
    "a", "b", "/", "é", "😀", "\n", "\x7f", r"\u0061", r"\u0062", r"\/", r"\n", r"\"", r"\u00e9", r"\u00E9", r"\ud83d\ude00",
    r"\uD83D\uDE00", r"\ud83d", r"\uDE00", r"\ude00\ud83d", r"\x", r"\u12", r"\u002f", r"\u007F",
]  # fmt: skip


@pytest.mark.parametrize("ensure_ascii", [False, True])
def test_delete_is_written_raw_where_json_dumps_does_so(ensure_ascii: bool) -> None:
    tokens = [*(bytes((byte,)) for byte in range(256)), b"a\x7f", b"a\x7fb", b"\x7f\x7f"]
    compiler = GrammarCompiler(TokenizerInfo([*tokens, b""], eos_token_ids=[len(tokens)]))
    matcher = GrammarMatcher(compiler.compile_json_schema({"type": "string"}, ensure_ascii=ensure_ascii))
    assert matcher.accept_string('"x')
    allowed = {tokens[token] for token in matcher.allowed_token_ids()}
    raw = [token for token in tokens if b"\x7f" in token]
    assert allowed.intersection(raw) == (set() if ensure_ascii else set(raw))


@pytest.mark.parametrize("ensure_ascii", [False, True])
def test_every_escape(ensure_ascii: bool, compiler: GrammarCompiler) -> None:
    """Whatever json.loads reads, but for lone surrogates; a pair is one character for lengths and patterns."""
    schema = {"type": "string", "maxLength": 3, "pattern": "^[^b]*$"}
    compiled = compiler.compile_json_schema(schema, escapes="any", ensure_ascii=ensure_ascii)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.sampled_from(PIECES), max_size=5))
    def check(pieces: list[str]) -> None:
        text = '"' + "".join(pieces) + '"'
        try:
            value = json.loads(text)
            value.encode()
            right = len(value) <= 3 and "b" not in value
        except ValueError:
            right = False
        if ensure_ascii and not (text.isascii() and "\x7f" not in text):
            right = False
        assert judge(compiled, text.encode()).accepted == right, text

    check()


@pytest.mark.parametrize("options", [
    {"indent": -1}, {"indent": "2"}, {"indent": True}, {"indent": 5000}, {"max_whitespace": -1}, {"separators": (",", ";")},
    {"separators": ","}, {"separators": (",",)}, {"separators": (",", ":", "")}, {"separators": (", x", ":")},
    {"separators": ("", ":")}, {"separators": (" ,", ":"), "indent": 2}, {"separators": (1, 2)}, {"unknown_format": "x"},
], ids=str)  # fmt: skip
def test_wrong_values_of_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="choose"):
        SchemaOptions(**options)
