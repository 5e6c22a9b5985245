"""The JSON Schema front end: refusals, warnings, dialects, references; expansions judged by an evaluator of the IR."""

from __future__ import annotations

import json
import tomllib
from collections import OrderedDict
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from evaluate_ir import evaluate
from jsonschema import Draft7Validator, Draft201909Validator, Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import EMPTY_REGISTRY, specification_with

from maskwright.grammars import boolean, errors, ir, regular
from maskwright.grammars.errors import GrammarError, InvalidError, LimitExceeded, UnsupportedError
from maskwright.grammars.json_schema import load_schema, schema_text
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.schema_keywords import dialect_named

CASES = tomllib.loads((Path(__file__).parent / "cases" / "schema_errors.toml").read_text())["case"]
MEANINGS = tomllib.loads((Path(__file__).parent / "cases" / "schemas.toml").read_text())["case"]
DRAFT_4 = {"$schema": "http://json-schema.org/draft-04/schema#"}
DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#"}
VALIDATORS = {"7": Draft7Validator, "2019-09": Draft201909Validator, "2020-12": Draft202012Validator}
DRAFT_2020 = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def accepts(schema: Any, instance: Any, **options: Any) -> bool:
    """Whether `instance` is in the IR of `schema`."""
    loaded = load_schema(schema, SchemaOptions(**options))
    return evaluate(loaded.value_of(loaded.root), instance, loaded.value_of)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_bad_schema_is_refused_with_its_place(case: dict[str, Any]) -> None:
    with pytest.raises(GrammarError) as caught:
        load_schema(case["schema"], SchemaOptions(dialect=case.get("draft")))
    error = caught.value
    assert type(error) is getattr(errors, case["error"])
    assert "pointer" not in case or error.pointer == case["pointer"]
    assert getattr(error, "keyword", None) == case.get("keyword")
    assert case.get("message", "") in str(error)


def test_every_case_of_an_unsupported_keyword_names_it() -> None:
    assert all("keyword" in case for case in CASES if case["error"] == "UnsupportedError")


@pytest.mark.parametrize("contents", [{1: {}}, {"a": {1, 2}}, {"a": b"x"}])
def test_python_values_that_are_no_json_are_refused(contents: Any) -> None:
    for schema in ({"properties": contents}, {"const": contents}, {"enum": [contents]}):
        with pytest.raises(InvalidError):
            load_schema(schema)


def test_subclasses_of_json_types_are_taken() -> None:
    class Kind(StrEnum):
        OBJECT = "object"

    assert accepts(OrderedDict(type=Kind.OBJECT, required=["a"]), {"a": 1})


def test_fractions_keep_their_digits() -> None:
    long = "1.0000000000000000001"
    for schema in (f'{{"const": {long}}}', {"const": Decimal(long)}, OrderedDict(const=Decimal(long))):
        contents = load_schema(schema).contents
        assert contents["const"] == Decimal(long)
        assert schema_text(contents) == f'{{"const": {long}}}'
    assert load_schema('{"minItems": 3.0}').contents == {"minItems": 3}
    assert schema_text({"a": [1.5, Decimal("1E-7"), "\u00e9"]}) == '{"a": [1.5, 1E-7, "\\u00e9"]}'
    for schema in ({"const": Decimal("NaN")}, OrderedDict(const=float("inf")), OrderedDict({1: True})):
        with pytest.raises(InvalidError):
            load_schema(schema)


@pytest.mark.parametrize("depth", [300, 1500, 100_000])
@pytest.mark.parametrize("around", [lambda s: {"items": s}, lambda s: {"allOf": [s]}, lambda s: {"not": s}])
def test_deep_nesting_is_refused_or_loads_and_never_crashes(around: Any, depth: int) -> None:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = around(schema)
    try:
        loaded = load_schema(schema)
    except LimitExceeded as error:
        assert error.limit == "nesting"
    else:
        loaded.value_of(loaded.root)


def test_deep_text_and_deep_constants_are_refused() -> None:
    for text in ('{"items":' * 50_000, '{"const":' + "[" * 300 + "]" * 300 + "}"):
        with pytest.raises((LimitExceeded, InvalidError)):
            load_schema(text)


def test_later_changes_by_the_caller_have_no_effect() -> None:
    schema: dict[str, Any] = {"properties": {"a": {"type": "string"}}}
    loaded = load_schema(schema)
    schema["properties"]["a"]["type"] = "integer"
    schema["properties"].clear()
    assert evaluate(loaded.value_of(loaded.root), {"a": "x"}, loaded.value_of)
    assert not evaluate(loaded.value_of(loaded.root), {"a": 1}, loaded.value_of)


# ------------------------------------------------------------------ warnings


def test_an_unknown_format_is_an_annotation_with_a_warning() -> None:
    loaded = load_schema({"properties": {"a/b": {"format": "int32"}}})
    assert loaded.warnings == ["/properties/a~1b/format: the format 'int32' is unknown: not enforced"]


def test_an_unknown_format_can_be_refused() -> None:
    with pytest.raises(UnsupportedError, match="unknown") as caught:
        load_schema({"properties": {"a/b": {"format": "int32"}}}, SchemaOptions(unknown_format="error"))
    assert (caught.value.pointer, caught.value.keyword) == ("/properties/a~1b/format", "format")
    options = SchemaOptions(unknown_format="error", on_unsupported="warn")
    assert len(load_schema({"format": "int32"}, options).warnings) == 1
    assert not load_schema({"format": "int32"}, SchemaOptions(unknown_format="error", format="annotate")).warnings


def test_format_is_not_enforced_as_an_annotation() -> None:
    assert not accepts({"format": "ipv4"}, "x")
    assert accepts({"format": "ipv4"}, "x", format="annotate")
    assert accepts({"format": "regex"}, "(", format="annotate")


def test_an_unknown_dialect_is_read_as_the_default_with_a_warning() -> None:
    loaded = load_schema({"$schema": "http://example.com/mine", "type": "string"})
    assert len(loaded.warnings) == 1 and loaded.warnings[0].startswith("/$schema: ")


def test_what_is_not_supported_can_be_left_out_with_a_warning() -> None:
    schema = {
        "properties": {
            "pattern": {"pattern": "(a)\\1", "minLength": 1},
            "keys": {"patternProperties": {"(a)\\1": {}}, "additionalProperties": False, "required": ["k"]},
        }
    }
    loaded = load_schema(schema, SchemaOptions(on_unsupported="warn"))
    places = {warning.split(":")[0] for warning in loaded.warnings}
    assert places == {
        "/properties/pattern/pattern", "/properties/keys/patternProperties/(a)\\1",
    }  # fmt: skip
    assert len(loaded.warnings) == len(places)
    value = loaded.value_of(loaded.root)
    for inside in ({"pattern": "b"}, {"keys": {"k": 1, "aa": 2}}):
        assert evaluate(value, inside, loaded.value_of), inside
    # What can be enforced still is.
    for outside in ({"pattern": ""}, {"keys": {}}):
        assert not evaluate(value, outside, loaded.value_of), outside


def test_numbers_of_any_spelling_have_the_right_value() -> None:
    for schema, inside, outside in (
        ({"type": "integer"}, "1.0e1", "1e-1"),
        ({"minimum": 3}, "30E-1", "29e-01"),
        ({"const": 100}, "1e2", "1e3"),
        ({"not": {"type": "integer"}}, "15e-1", "10e-1"),
        ({"multipleOf": 0.5}, "0.0005e3", "0.0005e2"),
    ):
        loaded = load_schema(schema, SchemaOptions(numbers="any"))
        number = loaded.value_of(loaded.root).number
        assert regular.matches(number, inside)
        assert not regular.matches(number, outside)


# ------------------------------------------------------------------ dialects


@pytest.mark.parametrize(
    "name", ["2020-12", "2019-09", "draft-07", "draft7", "7", "draft-06", "draft4", "draft2020-12"]
)
def test_dialects_have_names(name: str) -> None:
    dialect = dialect_named(name)
    assert dialect is not None and dialect.name.lstrip("draft-0") in name


def metaschema(vocabularies: dict[str, bool]) -> Any:
    """A registry with one metaschema, http://example.com/meta, of these vocabularies of 2020-12."""
    base = "https://json-schema.org/draft/2020-12/vocab/"
    named = {name if ":" in name else base + name: required for name, required in vocabularies.items()}
    contents = DRAFT_2020 | {"$id": "http://example.com/meta", "$vocabulary": named}
    return Registry().with_resource("http://example.com/meta", Resource.from_contents(contents))


def test_keywords_of_vocabularies_that_a_metaschema_leaves_out_are_annotations() -> None:
    schema = {"$schema": "http://example.com/meta", "properties": {"a": {"type": "string", "minLength": 2}}}
    registry = metaschema({"core": True, "applicator": True})
    assert accepts(schema | {"required": ["b"]}, {"a": 1}, registry=registry)
    assert not accepts(schema | {"not": {"properties": {"a": False}}}, {}, registry=registry)
    registry = metaschema({"core": True, "applicator": True, "validation": False, "http://example.com/mine": False})
    assert not accepts(schema, {"a": 1}, registry=registry)
    assert accepts(schema | {"unevaluatedProperties": False}, {"b": 1}, registry=registry)
    registry = metaschema({"core": True, "validation": True})
    assert accepts(schema, {"a": 1}, registry=registry) and not accepts(
        schema | {"type": "array"}, {}, registry=registry
    )
    assert not load_schema(schema, SchemaOptions(registry=registry)).warnings


def test_a_vocabulary_that_is_required_and_unknown_is_refused() -> None:
    registry = metaschema({"core": True, "http://example.com/mine": True})
    with pytest.raises(UnsupportedError, match="is unknown") as caught:
        load_schema({"items": {"$id": "inner", "$schema": "http://example.com/meta"}}, SchemaOptions(registry=registry))
    assert (caught.value.pointer, caught.value.keyword) == ("/items/$schema", "$schema")


def test_siblings_of_a_reference_count_from_2019_on() -> None:
    schema = {"$ref": "#/definitions/a", "maxLength": 1, "definitions": {"a": {"type": "string"}}}
    assert accepts(DRAFT_7 | schema, "ab")
    assert not accepts(DRAFT_2020 | schema, "ab")
    assert not accepts(schema, "ab")


def test_keywords_of_later_drafts_are_annotations() -> None:
    assert accepts(DRAFT_4 | {"const": 1, "contains": {}, "if": {}, "then": False}, 2)
    assert not accepts(DRAFT_7 | {"const": 1}, 2)
    assert accepts(DRAFT_7 | {"prefixItems": [False], "dependentRequired": {"a": ["b"]}}, [1])


def test_the_older_spelling_is_taken_where_no_dialect_is_named() -> None:
    schema = {"items": [{"type": "string"}], "additionalItems": False, "minimum": 1, "exclusiveMinimum": True}
    assert accepts(schema, ["a"]) and not accepts(schema, ["a", 1]) and not accepts(schema, [1])
    assert accepts(schema, 2) and not accepts(schema, 1)
    assert not accepts({"dependencies": {"a": ["b"]}}, {"a": 1})


def test_an_integer_of_draft_4_has_no_fraction() -> None:
    assert not accepts(DRAFT_4 | {"type": "integer"}, 1.0)
    assert accepts(DRAFT_7 | {"type": "integer"}, 1.0)
    assert not accepts(DRAFT_4 | {"type": "integer", "minimum": 0}, 1.0)
    assert accepts(DRAFT_4 | {"type": "integer", "minimum": 0}, 1)


def test_the_default_dialect_is_an_option() -> None:
    assert accepts({"const": 1}, 2, dialect="draft-04")
    assert not accepts(DRAFT_7 | {"const": 1}, 2, dialect="draft-04")
    assert accepts({"const": 1}, 2, draft="draft-04") and accepts({"const": 1}, 2, draft="4", dialect="4")
    with pytest.raises(ValueError, match="same option"):
        accepts({"const": 1}, 2, draft="4", dialect="7")


# ------------------------------------------------------------------ references


def test_recursion_expands_lazily() -> None:
    loaded = load_schema({"type": "object", "properties": {"next": {"$ref": "#"}, "value": {"type": "integer"}}})
    assert loaded.root.kind == "leaf"
    (shape,) = boolean.leaves(loaded.value_of(loaded.root).object)
    assert dict(shape.properties)["next"] == loaded.root
    assert evaluate(loaded.value_of(loaded.root), {"next": {"next": {"value": 1}}}, loaded.value_of)
    assert not evaluate(loaded.value_of(loaded.root), {"next": {"next": {"value": "1"}}}, loaded.value_of)


def test_pointers_are_decoded() -> None:
    schema = {"$defs": {"a/b": {"~c": {"type": "string"}}, "": {"50%": {"type": "null"}}}}
    assert accepts(schema | {"$ref": "#/$defs/a~1b/~0c"}, "x")
    assert accepts(schema | {"$ref": "#/$defs//50%25"}, None)


def test_references_follow_identifiers_and_anchors() -> None:
    schema = {
        "$id": "http://example.com/root.json",
        "$defs": {
            "item": {"$id": "item.json", "$defs": {"a": {"type": "integer"}}, "$ref": "#/$defs/a"},
            "named": {"$anchor": "here", "type": "string"},
        },
        "properties": {
            "relative": {"$ref": "item.json"},
            "absolute": {"$ref": "http://example.com/item.json#/$defs/a"},
            "anchor": {"$ref": "#here"},
            "far": {"$ref": "http://example.com/root.json#here"},
        },
    }
    assert accepts(schema, {"relative": 1, "absolute": 2, "anchor": "x", "far": "y"})
    for wrong in ({"relative": "1"}, {"absolute": "2"}, {"anchor": 3}, {"far": 4}):
        assert not accepts(schema, wrong)


def test_an_error_in_another_document_names_it() -> None:
    other = Resource.from_contents(
        {"items": {"minimum": "x"}}, default_specification=specification_with(DRAFT_2020["$schema"])
    )
    registry = Registry().with_resource("http://example.com/other", other)
    with pytest.raises(InvalidError) as caught:
        load_schema({"$ref": "http://example.com/other"}, SchemaOptions(registry=registry))
    assert caught.value.pointer == "http://example.com/other#/items/minimum"


def test_documents_of_a_registry_have_their_own_dialect_and_base() -> None:
    other = Resource.from_contents(
        DRAFT_7
        | {
            "$id": "http://example.com/other",
            "items": [{"$ref": "#/definitions/a"}],
            "definitions": {"a": {"type": "null"}},
        }
    )
    registry = Registry().with_resource("http://example.com/other", other)
    schema = DRAFT_2020 | {"properties": {"a": {"$ref": "http://example.com/other"}}}
    assert accepts(schema, {"a": [None, 1]}, registry=registry)
    assert not accepts(schema, {"a": [1]}, registry=registry)


def test_the_official_metaschemas_are_known() -> None:
    loaded = load_schema({"$ref": "http://json-schema.org/draft-07/schema#"})
    value = loaded.value_of(loaded.root)
    assert evaluate(value, {"properties": {"a": {"minLength": 1}}}, loaded.value_of)
    assert not evaluate(value, {"properties": {"a": {"minLength": -1}}}, loaded.value_of)
    assert not evaluate(value, {"required": ["a", "a"]}, loaded.value_of)


# ------------------------------------------------------------------ expansion


def test_a_required_member_that_is_wrong_or_absent_is_one_shape() -> None:
    loaded = load_schema({"type": "object", "not": {"properties": {"a": {"type": "null"}}, "required": ["a"]}})
    (shape,) = boolean.leaves(loaded.value_of(loaded.root).object)
    assert not shape.required and [name for name, _ in shape.properties] == ["a"]


def test_nothing_is_expanded_while_loading_unless_it_negates() -> None:
    loaded = load_schema({"properties": {"a": {"anyOf": [{"minLength": 1}, {"items": {}}]}, "b": {"enum": [1, 2]}}})
    assert all(schema._value is None for schema in loaded._document.schemas)


def test_one_schema_object_is_one_shape() -> None:
    loaded = load_schema(
        {"properties": {"a": {}}, "required": ["b", "a", "b"], "minProperties": 1, "propertyNames": {"maxLength": 3}}
    )
    (shape,) = boolean.leaves(loaded.value_of(loaded.root).object)
    assert [name for name, _ in shape.properties] == ["a"]
    assert shape.required == ("b", "a") and shape.min_properties == 1 and shape.max_properties is None


def test_own_properties_come_before_those_of_all_of_and_references() -> None:
    loaded = load_schema(
        {
            "anyOf": [{"properties": {"d": {}}}],
            "$ref": "#/$defs/c",
            "allOf": [{"properties": {"b": {"type": "null"}}}],
            "properties": {"a": {"type": "null"}},
            "$defs": {"c": {"properties": {"c": {"type": "null"}}}},
        }
    )
    shapes = boolean.leaves(loaded.value_of(loaded.root).object)
    assert [name for shape in shapes for name, _ in shape.properties] == ["a", "b", "c", "d"]


def test_schemas_that_say_only_their_type_are_one_leaf() -> None:
    loaded = load_schema(
        {"properties": {"a": {"type": "string"}, "b": {"type": "string", "title": "b"}, "c": {"type": "null"}}}
    )
    (shape,) = boolean.leaves(loaded.value_of(loaded.root).object)
    at = dict(shape.properties)
    assert at["a"] == at["b"] != at["c"]


def test_constants_compare_as_json() -> None:
    for value in (1, 1.0):
        assert accepts({"const": value}, 1) and accepts({"const": value}, 1.0)
        assert not accepts({"const": value}, True)
    assert accepts({"enum": [{"a": [1, {"b": None}]}, []]}, {"a": [1.0, {"b": None}]})
    assert not accepts({"enum": [{"a": [1, {"b": None}]}, []]}, {"a": [1, {"b": None}], "c": 1})
    assert not accepts({"enum": [[1, 2]]}, [1, 2, 3])
    assert not any(accepts({"enum": []}, value) for value in (None, 1, "a", [], {}))
    loaded = load_schema({"enum": [{"a": 1}, {"a": 1.0}]})
    assert len(boolean.leaves(loaded.value_of(loaded.root).object)) == 1


def test_fractions_are_exact_in_text_and_in_python() -> None:
    for schema in ('{"minimum": 0.1}', {"minimum": 0.1}):
        assert accepts(schema, 0.1) and not accepts(schema, 0.09999999999)
    assert accepts('{"maximum": 1e300}', 1e299)


@pytest.mark.parametrize("text", ["1e999999999", "-1E+999999999999", "1e-999999999", "9" * 5000])
def test_enormous_numbers_are_refused_at_once(text: str) -> None:
    for keyword in ("minimum", "const", "minLength", "multipleOf"):
        with pytest.raises((LimitExceeded, InvalidError)):
            loaded = load_schema(f'{{"{keyword}": {text}}}')
            loaded.value_of(loaded.root)


def test_true_and_false_and_empty_schemas() -> None:
    assert load_schema(True).root is boolean.TRUE and load_schema({"title": "anything"}).root is boolean.TRUE
    assert load_schema(False).root is boolean.FALSE
    assert load_schema("true").root is boolean.TRUE
    loaded = load_schema({"items": True, "additionalProperties": {}})
    assert loaded.value_of(loaded.root) == ir.anything(loaded.numbers)


@pytest.mark.parametrize(
    ("schema", "inside", "outside"),
    [
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"a": 1}, {"b": 1}], [{}, {"a": 1, "b": 1}]),
        ({"not": {"required": ["a", "b"]}}, [{}, {"a": 1}], [{"a": 1, "b": 2}, 3]),
        ({"not": {"type": "object"}}, [1, []], [{}]),
        ({"not": {"not": {"items": {"type": "null"}}}}, [[], [None]], [[1]]),
        ({"not": {"properties": {"a": {"type": "string"}}}}, [{"a": 1}], [{}, {"a": "x"}, 1]),
        ({"not": {"minItems": 2}}, [[], [1]], [[1, 2], "x"]),
        ({"items": {"type": "string"}, "not": {"items": {"type": "number"}}}, [["a"]], [[], [1], 1]),
        ({"type": "array", "oneOf": [{"items": {"const": n}} for n in (1, 2)]}, [[1], [2, 2]], [[], [1, 2]]),
        (
            {"properties": {"a": {}, "b": {}}, "not": {"properties": {"a": {}}, "additionalProperties": False}}
            | {"additionalProperties": False},
            [{"b": 1}, {"a": 1, "b": 1}],
            [{}, {"a": 1}, {"c": 1}],
        ),
        (
            {"if": {"properties": {"k": {"const": 1}}}, "then": {"required": ["x"]}, "else": {"required": ["y"]}},
            [{"k": 1, "x": 0}, {"x": 0}, {"k": 2, "y": 0}, 5],
            [{"k": 1}, {"k": 2, "x": 0}, {}],
        ),
        ({"not": {"items": {"type": "string"}}}, [[1], ["a", 1]], [[], ["a"], 1]),
        (
            {"not": {"properties": {"a": {}}, "additionalProperties": {"type": "string"}}},
            [{"b": 1}, {"a": 1, "b": "x", "c": 2}],
            [{}, {"a": 1}, {"b": "x"}, 1],
        ),
        ({"not": {"patternProperties": {"^a": {"type": "null"}}}}, [{"ab": 1}], [{}, {"a": None, "b": 1}]),
        ({"not": {"propertyNames": {"maxLength": 1}}}, [{"ab": 1}, {"a": 1, "bc": 2}], [{}, {"a": 1}]),
        ({"oneOf": [{"items": {"type": "string"}}, {"items": {"maxLength": 2}}]}, [[1], ["abc"]], [[], ["a"], ["abc", 1]]),
        ({"if": {"items": {"minimum": 1}}, "then": {"maxItems": 1}}, [[], [1], [1, 0], [0, 0]], [[1, 1]]),
        ({"contains": {"const": 1}}, [[1], [2, 1], 3], [[], [2]]),
        ({"contains": {"const": 1}, "minContains": 2, "maxContains": 3}, [[1, 1], [1, 2, 1, 1]], [[1], [1, 1, 1, 1]]),
        ({"contains": {"const": 1}, "minContains": 0}, [[], [2]], []),
        ({"contains": {"const": 1}, "minContains": 0, "maxContains": 0}, [[], [2]], [[1], [2, 1]]),
        ({"contains": True, "maxContains": 1}, [[1]], [[], [1, 1]]),
        ({"contains": False}, [1], [[], [1]]),
        (
            {"type": "array", "not": {"contains": {"const": 1}, "minContains": 1, "maxContains": 2}},
            [[], [2], [1, 1, 1]],
            [[1], [1, 2, 1]],
        ),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, [{}, {"b": 1}, {"a": 1, "b": 1}], [{"a": 1}]),
        ({"uniqueItems": True, "maxItems": 1}, [[], [1]], [[1, 2]]),
        ({"uniqueItems": True}, [[], [1, True, "1", [1], [2]], {}], [[1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}]]),
        ({"uniqueItems": False}, [[1, 1]], []),
        ({"type": "array", "not": {"uniqueItems": True}}, [[1, 1.0], [[], 2, []]], [[], [1], [1, True], {}]),
        ({"not": {"not": {"uniqueItems": True}}}, [[1, 2], {}], [[1, 1]]),
        ({"not": {"properties": {"a": {"uniqueItems": True}}}}, [{"a": [0, 0]}], [{"a": [0]}, {}, []]),
        ({"allOf": [{"items": {"type": "integer"}}, {"uniqueItems": True}]}, [[1, 2]], [[1, 1], ["a"]]),
        ({"oneOf": [{"type": "array", "uniqueItems": True}, {"type": "string"}]}, [[1, 2], "a"], [[1, 1], 1]),
        ({"type": "object", "uniqueItems": True}, [{}], [[]]),
    ],
)  # fmt: skip
def test_negations_are_written_positively(schema: Any, inside: list[Any], outside: list[Any]) -> None:
    assert all(accepts(schema, instance) for instance in inside)
    assert not any(accepts(schema, instance) for instance in outside)


@pytest.mark.parametrize("case", MEANINGS, ids=lambda case: case["name"])
def test_a_schema_means_what_it_says(case: dict[str, Any]) -> None:
    draft, schema = case.get("draft", "2020-12"), json.loads(case["schema"])
    loaded = load_schema(schema, SchemaOptions(dialect=draft))
    value = loaded.value_of(loaded.root)
    other = VALIDATORS[draft](schema)
    for expected in ("accepted", "rejected"):
        for text in case[expected]:
            instance = json.loads(text)
            if case.get("library", True):
                assert other.is_valid(instance) == (expected == "accepted"), f"the case itself: {text}"
            assert evaluate(value, instance, loaded.value_of) == (expected == "accepted"), text


# ------------------------------------------------------------------ against the world's schemas


def test_real_schemas_agree_with_their_instances(maskbench: list[dict[str, Any]]) -> None:
    loaded_count = 0
    for record in maskbench[-300:]:
        try:
            loaded = load_schema(record["schema"])
        except UnsupportedError:
            continue
        loaded_count += 1
        value = loaded.value_of(loaded.root)
        for test in record["tests"]:
            assert evaluate(value, test["data"], loaded.value_of) == test["valid"], record["id"]
    assert loaded_count > 280


@pytest.mark.parametrize("draft", ["draft2020-12", "draft7", "draft4"])
def test_the_official_suite_agrees_where_a_schema_is_not_refused(shared: Path, draft: str) -> None:
    suite = shared / "data" / "json-schema-test-suite"
    if not suite.is_dir():
        pytest.skip("shared/data/json-schema-test-suite is not here")
    dialect = dialect_named(draft)
    assert dialect is not None
    options = SchemaOptions(dialect=draft, registry=remotes(suite, draft, dialect.uri), format="annotate")
    passed = refused = 0
    for file in sorted((suite / draft).glob("*.json")):
        for group in json.loads(file.read_text()):
            try:
                loaded = load_schema(group["schema"], options)
            except (UnsupportedError, LimitExceeded):
                refused += len(group["tests"])
                continue
            value = loaded.value_of(loaded.root)
            for test in group["tests"]:
                answer = evaluate(value, test["data"], loaded.value_of)
                assert answer == test["valid"], (file.name, group["description"], test["description"])
                passed += 1
    assert passed > 2 * refused


def remotes(suite: Path, draft: str, uri: str) -> Any:
    """The suite's remote documents, at the addresses that its schemas use."""
    resources, root = [], suite / "remotes"
    for path in sorted(root.rglob("*.json")):
        name = path.relative_to(root).as_posix()
        if name.startswith(f"{draft}/") or not name.startswith("draft"):
            resource = Resource.from_contents(
                json.loads(path.read_text()), default_specification=specification_with(uri)
            )
            resources.append((f"http://localhost:1234/{name}", resource))
    return EMPTY_REGISTRY.with_resources(resources)
