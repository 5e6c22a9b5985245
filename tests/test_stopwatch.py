"""The budget of processor time: counted in ticks, so that no test depends on how fast the machine is."""

from __future__ import annotations

import math

import pytest

import maskwright as mw
from maskwright.compile.grammar import Limits
from maskwright.grammars.stopwatch import Stopwatch, tick

# Forty patterns in one string: their intersection has far too many states to be searched.
HARD = {"type": "string", "allOf": [{"pattern": f"a.{{{n}}}b"} for n in range(1, 41)]}


def ticks_until_refused(most: int = 1000) -> int:
    for number in range(most):
        try:
            tick()
        except mw.LimitExceeded as error:
            assert (error.limit, error.maximum) == ("max_compile_ms", -1)
            return number
    return most


def test_ticks_count_inside_only() -> None:
    assert ticks_until_refused() == 1000
    with Stopwatch("max_compile_ms", -1):
        assert ticks_until_refused() < 100
        assert ticks_until_refused() == 0  # whoever swallows the error meets it at once
        with Stopwatch("other", math.inf):
            assert ticks_until_refused() == 1000
        assert ticks_until_refused() == 0
    assert ticks_until_refused() == 1000


@pytest.mark.parametrize("pointer", ["/properties/a", "/items"])
def test_compiling_is_refused(byte_info: mw.TokenizerInfo, pointer: str) -> None:
    compiler = mw.GrammarCompiler(byte_info, max_compile_ms=-1)
    schema = {"type": "object", "properties": {"a": HARD}, "required": ["a"]}
    if pointer == "/items":
        schema = {"type": "array", "items": HARD, "minItems": 1}
    with pytest.raises(mw.LimitExceeded) as caught:
        compiler.compile_json_schema(schema)
    assert (caught.value.limit, caught.value.maximum) == ("max_compile_ms", -1)
    assert caught.value.value >= 0
    assert caught.value.pointer is not None


def test_lowering_is_refused_and_goes_on_when_there_is_time_again(byte_info: mw.TokenizerInfo) -> None:
    """Whether a member can be is asked when its object is opened."""
    schema = {"type": "object", "properties": {"a": HARD | {"allOf": HARD["allOf"][:5]}}}
    grammar = mw.GrammarCompiler(byte_info).compile_json_schema(schema)
    matcher = mw.GrammarMatcher(grammar)
    grammar.limits = Limits(max_compile_ms=-1)
    with pytest.raises(mw.LimitExceeded, match="max_compile_ms") as caught:
        assert matcher.accept_string("{")
        matcher.allowed_token_ids()
    assert caught.value.pointer == ""
    grammar.limits = Limits()
    assert matcher.accept_string('"a": "') or matcher.accept_string('{"a": "')
    assert matcher.allowed_token_ids().size
    assert matcher.accept_string(matcher.shortest_completion())
    assert matcher.is_completed()
