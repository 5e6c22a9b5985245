"""What is counted in arrays and objects: no prefix is allowed from which the counts cannot be met any more."""

from __future__ import annotations

import random
from typing import Any

import pytest

import maskwright as mw
from maskwright.compile.counts import Counts, Lengths
from maskwright.grammars import boolean
from maskwright.grammars.errors import LimitExceeded, UnsatisfiableError
from maskwright.grammars.ir import Count

ONE, TWO = {"const": 1}, {"enum": [1, 2]}


def matcher_of(schema: Any, info: mw.TokenizerInfo, order: str = "schema") -> mw.GrammarMatcher:
    options: Any = {"whitespace": "compact", "property_order": order}
    return mw.GrammarMatcher(mw.GrammarCompiler(info).compile_json_schema(schema, **options))


def read(matcher: mw.GrammarMatcher, text: str) -> int:
    """How many bytes of `text` are allowed."""
    return next((at for at, byte in enumerate(text.encode()) if not matcher.accept_token(byte)), len(text.encode()))


@pytest.mark.parametrize(
    ("schema", "allowed", "refused"),
    [
        # The last item must be what is still lacking.
        ({"type": "array", "contains": ONE, "maxItems": 2}, ["[5,1]", "[1,5]"], ["[5,5", "[]", '[5,"']),
        ({"type": "array", "contains": ONE, "minContains": 2, "maxItems": 3}, ["[1,1]", "[5,1,1]"], ["[5,5", "[5,1,5"]),
        ({"type": "array", "contains": ONE, "maxContains": 2, "minItems": 2}, ["[1,1,5]", "[1,5]"], ["[1,1,1]", "[1]"]),
        # One item may meet two counts.
        ({"allOf": [{"contains": ONE}, {"contains": TWO}], "type": "array", "maxItems": 1}, ["[1]"], ["[2", '["']),
        (
            {"allOf": [{"contains": {"const": 2}}, {"contains": ONE}], "type": "array", "maxItems": 2},
            ["[1,2]", "[2,1]"], ["[1,1", "[3", "[1]"],
        ),
        # ... and push another over its bound.
        (
            {"allOf": [{"contains": ONE}, {"contains": TWO, "maxContains": 1}], "type": "array"},
            ["[1]", "[3,1]"], ["[2,", "[2]", "[1,2]", "[1,1]"],
        ),
        # The positions that are left matter.
        (
            {"type": "array", "prefixItems": [{"const": 1}, {"type": "string"}], "items": False, "contains": TWO,
             "minContains": 1},
            ['[1]', '[1,"a"]'], ["[]", "[2"],
        ),
        (
            {"type": "array", "not": {"prefixItems": [{}], "items": ONE}, "maxItems": 2},
            ["[1,2]", "[1,3]"], ["[1]", "[1,1]", "[1,1,"],
        ),
        # Members: keys that may still come, and how many.
        (
            {"properties": {"a": {}, "b": {}}, "additionalProperties": False, "type": "object",
             "not": {"additionalProperties": ONE}},
            ['{"a":2}', '{"a":1,"b":2}', '{"b":2}'], ["{}", '{"a":1}', '{"b":1}'],
        ),
        (
            {"type": "object", "maxProperties": 2, "not": {"patternProperties": {"^x": ONE}}},
            ['{"x":2}', '{"a":1,"xy":2}'], ['{"a":1,"b', '{"x":1,"y'],
        ),
        ({"type": "object", "maxProperties": 1, "not": {"propertyNames": {"maxLength": 1}}}, ['{"ab":1}'], ['{"a"', "{}"]),
        (
            {"type": "object", "required": ["a"], "maxProperties": 1, "not": {"additionalProperties": ONE}},
            ['{"a":2}'], ['{"a":1}', '{"a":2,', '{"b'],
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", ["schema", "any"])
def test_a_prefix_is_allowed_if_the_counts_can_be_met(
    byte_info: mw.TokenizerInfo, schema: Any, allowed: list[str], refused: list[str], order: str
) -> None:
    for text in allowed:
        matcher = matcher_of(schema, byte_info, order)
        assert read(matcher, text) == len(text), text
        assert matcher.is_completed(), text
    for text in refused:
        assert read(matcher_of(schema, byte_info, order), text) == len(text) - 1, text


def test_counts_that_exclude_each_other_are_unsatisfiable(byte_info: mw.TokenizerInfo) -> None:
    two = [{"contains": {"const": 1}}, {"contains": {"const": 2}}]
    for schema in (
        {"type": "array", "maxItems": 1, "allOf": two},
        {"type": "array", "items": {"type": "string"}, "contains": {"type": "null"}},
        {"type": "array", "contains": {"$ref": "#"}},
        {"type": "object", "propertyNames": {"enum": []}, "not": {"additionalProperties": ONE}},
    ):
        with pytest.raises(UnsatisfiableError):
            matcher_of(schema, byte_info)


def test_large_counts_are_exact_and_cheap(byte_info: mw.TokenizerInfo) -> None:
    schema = {"type": "array", "contains": ONE, "minContains": 700, "maxItems": 1000}
    assert read(matcher_of(schema, byte_info), "[" + "2," * 300 + "1," * 699 + "1]") == 2002 - 1
    assert read(matcher_of(schema, byte_info), "[" + "2," * 301) == 601


def test_too_many_tallies_are_refused_with_the_limit() -> None:
    count = Count(boolean.leaf("a"), 200)
    with pytest.raises(LimitExceeded) as caught:
        Counts([count, Count(boolean.leaf("b"), 200)])
    assert caught.value.limit == "max_tallies"


def test_lengths_are_sets_of_numbers() -> None:
    rng = random.Random(0)
    for _ in range(300):
        lengths = [
            Lengths(rng.getrandbits(5), rng.choice([None, rng.randrange(7)])) for _ in range(2)
        ]  # as sets, cut at 20
        sets = [
            {n for n in range(20) if each.bits >> n & 1 or (each.ray is not None and n >= each.ray)} for each in lengths
        ]
        low, high = rng.randrange(-2, 9), rng.choice([None, rng.randrange(-1, 12)])
        one, other = lengths
        wanted = {n for n in range(20) if n >= low and (high is None or n <= high)}
        assert one.meet(low, high) == bool(sets[0] & wanted)
        assert (one | other).meet(low, high) == bool((sets[0] | sets[1]) & wanted)
        assert one.later().meet(low, high) == bool({n + 1 for n in sets[0]} & wanted)
        assert one.first() == min(sets[0], default=None)
        endless = {n for n in range(20) if sets[0] and n >= min(sets[0])}
        assert one.endless().meet(low, high) == bool(endless & wanted)
        assert {n >= one.reach and n in sets[0] for n in range(one.reach, 20)} <= {one.ray is not None}
