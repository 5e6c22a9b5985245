"""Keys that patterns tell apart, beside named keys that may not come any more: each key as Python's `re` has it."""

from __future__ import annotations

import re
from itertools import product

import pytest

import maskwright as mw

LETTERS = "abcx"
NAMES = ["ab", "x"]


@pytest.mark.parametrize("written", ["", "ab", "x"])
@pytest.mark.parametrize("order", ["schema", "any"])
@pytest.mark.parametrize(
    "pattern", ["^abc?$", "^a", "^(ab|ax|b)$", "^[^a]", "^ab*$", "^(x|xa|xab)$", "b", "^.?$", "^(ab|x)$"]
)
def test_keys_of_patterns_beside_named_ones(
    pattern: str, order: str, written: str, byte_info: mw.TokenizerInfo
) -> None:
    schema = {
        "type": "object",
        "properties": dict.fromkeys(NAMES, True),
        "patternProperties": {pattern: True},
        "additionalProperties": False,
    }
    options = {"property_order": order, "whitespace": "compact"}
    matcher = mw.GrammarMatcher(mw.GrammarCompiler(byte_info).compile_json_schema(schema, **options))
    assert matcher.accept_string(f'{{"{written}":1' if written else "{")
    later = NAMES if not written else NAMES[NAMES.index(written) + 1 :] if order == "schema" else {*NAMES} - {written}

    def right(key: str) -> bool:
        return key in later if key in NAMES else re.search(pattern, key) is not None

    words = ["".join(letters) for length in range(4) for letters in product(LETTERS, repeat=length)]
    start = ',"' if written else '"'
    assert matcher.fork().accept_string(start) == any(map(right, words))
    for word in words:
        twin = matcher.fork()
        assert twin.accept_string(f'{start}{word}":') == right(word)
        if twin.step_count == matcher.step_count and twin.accept_string(start + word):
            assert twin.allowed_bytes(), f"dead end after {word!r}"
            assert any(right(word + more) for more in ["", *words, "bb", "bbb"])


@pytest.mark.parametrize("order", ["schema", "any"])
def test_a_pattern_that_only_a_named_key_has(order: str, byte_info: mw.TokenizerInfo) -> None:
    """No other key is of its class; once written, the named key comes no more, and all others do."""
    schema = {
        "type": "object",
        "properties": {"ab": {}},
        "patternProperties": {"^ab$": {"type": "integer"}, "^a": {"type": "integer"}},
    }
    compiled = mw.GrammarCompiler(byte_info).compile_json_schema(schema, property_order=order, whitespace="compact")
    matcher = mw.GrammarMatcher(compiled)
    assert matcher.accept_string('{"ab":1,"')
    for key in ("a", "abb", "b", "", "aa"):
        assert matcher.fork().accept_string(f'{key}":1'), key
    assert not matcher.fork().accept_string('ab":')
    assert matcher.fork().accept_string('b":""') and not matcher.fork().accept_string('abc":""')
