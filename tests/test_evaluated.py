"""`unevaluatedProperties` and `unevaluatedItems`: as automata, and against the jsonschema library, which judges all small
instances of made schemas. What the IR says of the written cases is held in test_json_schema_frontend.py."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Any

import pytest
from evaluate_ir import evaluate
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft201909Validator, Draft202012Validator

from maskwright.compiler import GrammarCompiler
from maskwright.grammars.json_schema import load_schema
from maskwright.grammars.options import SchemaOptions
from maskwright.judge import judge

CASES = tomllib.loads((Path(__file__).parent / "cases" / "schemas.toml").read_text())["case"]
KEYS = ("a", "b", "ab")
LEAVES: list[Any] = [True, {"type": "string"}, {"const": 1}, {"minimum": 1}, False]
OBJECTS = [
    dict(members)
    for count in range(len(KEYS) + 1)
    for keys in itertools.combinations(KEYS, count)
    for members in itertools.product(*([(key, 1), (key, "x")] for key in keys))
]
ARRAYS = [list(items) for count in range(4) for items in itertools.product((1, "x"), repeat=count)]
leaves = st.sampled_from(LEAVES)


def merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """One dictionary of some of `parts`, never of all at once."""
    some = st.lists(st.one_of(*parts), min_size=1, max_size=2)
    return some.map(lambda chosen: {key: value for part in chosen for key, value in part.items()})


def combine(below: st.SearchStrategy[Any], keyword: str) -> st.SearchStrategy[Any]:
    """Schemas that apply others to the same instance."""
    many = st.lists(below, min_size=1, max_size=3)
    either = st.one_of(*(st.fixed_dictionaries({name: many}) for name in ("allOf", "anyOf", "oneOf")))
    condition = st.fixed_dictionaries({"if": below}, optional={"then": below, "else": below})
    dependent = st.fixed_dictionaries({"dependentSchemas": st.dictionaries(st.sampled_from(KEYS), below, max_size=1)})
    other = st.fixed_dictionaries({"not": below})
    references = st.sampled_from([{"$ref": "#/$defs/first"}, {"$ref": "#/$defs/second"}])
    rest = st.fixed_dictionaries({keyword: leaves})
    return merged(either, either, condition, dependent, other, references, rest)


def object_leaves() -> st.SearchStrategy[Any]:
    key = st.sampled_from(KEYS)
    return merged(
        st.fixed_dictionaries({"properties": st.dictionaries(key, leaves, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"required": st.lists(key, min_size=1, max_size=2, unique=True)}),
        st.fixed_dictionaries(
            {"patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), leaves, max_size=1)}
        ),
        st.fixed_dictionaries({"additionalProperties": leaves}),
        st.fixed_dictionaries({"unevaluatedProperties": leaves}),
        st.fixed_dictionaries({"maxProperties": st.integers(0, 2)}),
    )


def as_object(leaf: Any) -> dict[str, Any]:
    """The library cannot read true and false as `items` of 2019-09 beside unevaluatedItems."""
    return ({} if leaf else {"not": {}}) if isinstance(leaf, bool) else leaf


def array_leaves(prefix: str) -> st.SearchStrategy[Any]:
    some = st.lists(leaves, min_size=1, max_size=2)
    latest = prefix == "prefixItems"
    rest = {"items": leaves} if latest else {"additionalItems": leaves}
    bounds = {"minContains": st.integers(0, 2), "maxContains": st.integers(0, 2)}
    # In 2019-09 `contains` evaluates nothing, but the library thinks so.
    contains = [st.fixed_dictionaries({"contains": leaves}, optional=bounds)] if latest else []
    return merged(
        *contains,
        st.fixed_dictionaries({prefix: some}, optional=rest),
        st.fixed_dictionaries({"items": leaves.map(as_object)}),
        st.fixed_dictionaries({"unevaluatedItems": leaves}),
        st.fixed_dictionaries({"minItems": st.integers(1, 3)}),
        st.fixed_dictionaries({"maxItems": st.integers(0, 2)}),
    )


def schemas(plain: st.SearchStrategy[Any], keyword: str) -> st.SearchStrategy[Any]:
    inner = st.recursive(plain, lambda below: combine(below, keyword), max_leaves=5)
    whole = combine(inner, keyword)
    references = st.one_of(plain, st.fixed_dictionaries({"anyOf": st.lists(plain, min_size=1, max_size=2)}))
    definitions = st.fixed_dictionaries({"first": plain, "second": references})
    rest = leaves.filter(lambda leaf: leaf is not True)
    return st.builds(lambda s, defs, last: {**s, "$defs": defs, keyword: last}, whole, definitions, rest)


def check(schema: dict[str, Any], instances: list[Any], draft: str) -> None:
    loaded = load_schema(schema, SchemaOptions(dialect=draft))
    value = loaded.value_of(loaded.root)
    other = {"2020-12": Draft202012Validator, "2019-09": Draft201909Validator}[draft](schema)
    for instance in instances:
        assert evaluate(value, instance, loaded.value_of) == other.is_valid(instance), instance


@given(schemas(object_leaves(), "unevaluatedProperties"))
@settings(max_examples=60, deadline=None)
def test_properties(schema: dict[str, Any]) -> None:
    check(schema, OBJECTS, "2020-12")


@given(schemas(array_leaves("prefixItems"), "unevaluatedItems"))
@settings(max_examples=60, deadline=None)
def test_items(schema: dict[str, Any]) -> None:
    check(schema, ARRAYS, "2020-12")


@given(schemas(array_leaves("items"), "unevaluatedItems"))
@settings(max_examples=60, deadline=None)
def test_items_of_2019(schema: dict[str, Any]) -> None:
    check(schema, ARRAYS, "2019-09")


@pytest.mark.parametrize(
    "case", [case for case in CASES if "unevaluated" in case["schema"]], ids=lambda case: case["name"]
)
def test_texts_are_judged_alike(case: dict[str, Any], compiler: GrammarCompiler) -> None:
    compiled = compiler.compile_json_schema(case["schema"], dialect=case.get("draft", "2020-12"), property_order="any")
    for expected in ("accepted", "rejected"):
        for text in case[expected]:
            assert judge(compiled, text.encode()).accepted == (expected == "accepted"), text
