"""The embedded models: their prompts, their size, and that they read texts of phrasings they were never trained on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

import maskwright
from maskwright import embedded

pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

MEGABYTE = 1_000_000

DESCRIPTIONS = [
    ({"properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}, "name: string, age: integer"),
    ({"type": "object", "properties": {"mood": {"enum": ["happy", "sad", 3]}}}, "mood: happy|sad|3"),
    ({"properties": {"phone": {"type": ["string", "null"]}, "x": {"enum": ["a", None]}}}, "phone: string?, x: a?"),
    ({"properties": {"tags": {"type": "array", "items": {"type": "string"}}}}, "tags: [string]"),
    ({"properties": {"pair": {"prefixItems": [{"type": "number"}, True], "type": "array"}}}, "pair: [number, any]"),
    ({"properties": {"at": {"properties": {"x": {"type": "number"}}}}}, "at: {x: number}"),
    ({"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, "a: string?"),
    ({"properties": {"a": {"oneOf": [{"type": "string"}, {"const": 1}]}, "b": {"const": "c"}}}, "a: string|1, b: c"),
    ({"properties": {"a/b": {"$ref": "#/$defs/x~1y"}}, "$defs": {"x/y": {"type": "boolean"}}}, "a/b: boolean"),
    ({"properties": {"a": {"$ref": "https://example.org/elsewhere"}}}, "a: any"),
    (
        {"properties": {"a": {"allOf": [{"type": "string"}, {"minLength": 1}]}, "b": {"type": "object"}}},
        "a: string, b: object",
    ),
    ({"type": "array", "items": {"type": "integer"}}, "[integer]"),
    ({"type": "null"}, "null"),
    (True, "any"),
]


@pytest.mark.parametrize(("schema", "expected"), DESCRIPTIONS)
def test_schemas_in_few_words(schema: Any, expected: str) -> None:
    assert embedded.describe_fields(schema) == expected


def test_descriptions_are_bounded() -> None:
    wide = {"properties": {f"p{i}": {"$ref": "#"} for i in range(1000)}}
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(400):
        deep = {"anyOf": [deep, {"items": deep}]}
    for schema in (wide, deep):
        assert len(embedded.describe_fields(schema)) < 5000


def test_the_prompts_are_those_of_the_training() -> None:
    schema = {"properties": {"age": {"type": "integer"}}}
    assert embedded.extraction_prompt("Ada\nis 36.", schema) == "Text: Ada is 36.\nFields: age: integer\nJSON: "
    assert embedded.extraction_prompt("Ada", schema, style="schema") == (
        'Text: Ada\nSchema: {"properties": {"age": {"type": "integer"}}}\nJSON: '
    )
    assert embedded.choice_prompt("Ada", ["yes", "no"]) == "Text: Ada\nChoices: yes|no\nAnswer: "
    with pytest.raises(ValueError, match="'fields' or 'schema'"):
        embedded.extraction_prompt("Ada", schema, style="other")


@pytest.mark.parametrize(("name", "limit"), [("reader", 12 * MEGABYTE), ("draft", 4 * MEGABYTE)])
def test_the_models_are_small(name: str, limit: int) -> None:
    files = list((embedded.MODELS / name).iterdir())
    assert any(path.suffix == ".safetensors" for path in files)
    assert sum(path.stat().st_size for path in files) <= limit


def test_both_models_share_the_tokenizer() -> None:
    reader, tokenizer = embedded.load()
    draft, same = embedded.load_draft()
    assert tokenizer.get_vocab() == same.get_vocab()
    assert reader.config.vocab_size == draft.config.vocab_size == len(tokenizer)
    assert embedded.load()[0] is reader


@pytest.mark.parametrize("text", ["Zoë owes 3 €", 'a "quoted" \\ b', "日本\n\n\t x", "", "  two  spaces "])
def test_the_tokenizer_writes_any_text(text: str) -> None:
    _, tokenizer = embedded.load()
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_names_have_the_same_tokens_wherever_they_stand() -> None:
    _, tokenizer = embedded.load()
    sentence, quoted = tokenizer.tokenize("Call Brelatsin today"), tokenizer.tokenize('{"name": "Brelatsin"}')
    name = tokenizer.tokenize("Brelatsin")
    assert any(sentence[i : i + len(name)] == name for i in range(len(sentence)))
    assert any(quoted[i : i + len(name)] == name for i in range(len(quoted)))


class Person(BaseModel):
    name: str
    age: int
    city: str


def test_it_reads() -> None:
    person = maskwright.generate(prompt="Mara Velsin is 34 years old and lives in Bergen.", schema=Person)
    assert person == Person(name="Mara Velsin", age=34, city="Bergen")


def test_it_classifies() -> None:
    prompt = "Jonas Klein tested the copper kettle and was disappointed. He does not recommend it."
    assert maskwright.generate(prompt=prompt, choices=["positive", "neutral", "negative"]) == "negative"


def test_held_out_phrasings_and_fields() -> None:
    """docs/model.md has the figures; here 40 examples keep them from getting lost."""
    from extraction_data import Writer

    writer = Writer(seed=-2, split="held")
    examples = [writer.example() for _ in range(40)]
    answers = maskwright.generate(
        prompt=[example.text for example in examples], schema=[example.schema for example in examples]
    )
    right = sum(json.dumps(a) == json.dumps(e.answer) for a, e in zip(answers, examples, strict=True))
    assert right >= 27, f"{right} of {len(examples)} objects are right"
