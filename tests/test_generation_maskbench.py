"""Real schemas (MaskBench) through generate(): whatever the model writes satisfies them, within the token budget."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import FormatChecker
from jsonschema.validators import validator_for

import maskwright as mw
from maskwright.embedded import load

pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

SCHEMAS, LONG_SCHEMAS = 40, 200
MAX_NEW_TOKENS = 600  # the shortest object of one of the 200 schemas takes 402
BATCH = 20
REFUSALS = (mw.UnsupportedError, mw.LimitExceeded, mw.InvalidError, mw.UnsatisfiableError)


def write_and_validate(records: list[dict[str, Any]], count: int) -> None:
    """The embedded model answers, at temperature 1, for the first `count` schemas that are taken."""
    _, tokenizer = load()
    compiler = mw.GrammarCompiler(mw.TokenizerInfo.from_huggingface(tokenizer))
    taken = []
    for record in records:
        try:
            compiler.compile_json_schema(record["schema"])
        except REFUSALS:
            continue
        taken.append(record)
        if len(taken) == count:
            break
    assert len(taken) == count, f"only {len(taken)} schemas were taken"
    for start in range(0, count, BATCH):
        part = taken[start : start + BATCH]
        results = mw.generate(
            prompt=[f"An example of {record['id']}." for record in part],
            schema=[record["schema"] for record in part],
            max_new_tokens=MAX_NEW_TOKENS,
            temperature=1.0,
            seed=start,
            return_result=True,
        )
        for record, result in zip(part, results, strict=True):
            assert len(result.tokens) <= MAX_NEW_TOKENS, record["id"]
            validator = validator_for(record["schema"])(record["schema"], format_checker=FormatChecker())
            faults = [error.message for error in validator.iter_errors(json.loads(result.text))]
            assert not faults, (record["id"], result.text, faults)
        print(f"{start + len(part)} of {count} schemas", flush=True)


def test_objects_of_real_schemas_are_valid(maskbench: list[dict[str, Any]]) -> None:
    write_and_validate(maskbench, SCHEMAS)


@pytest.mark.long
def test_objects_of_many_real_schemas_are_valid(maskbench: list[dict[str, Any]]) -> None:
    write_and_validate(maskbench, LONG_SCHEMAS)
