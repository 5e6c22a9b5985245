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
