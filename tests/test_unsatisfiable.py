"""Schemas that no value satisfies: refused, with the place at fault and what to do about it."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

import pytest
from keyword_schemas import ROOT, random_schema
from strategies import Rolled

import maskwright as mw

CASES = tomllib.loads((Path(__file__).parent / "cases" / "unsatisfiable.toml").read_text())["case"]


@pytest.fixture(scope="module")
def compiler(byte_info: mw.TokenizerInfo) -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_info, cache_enabled=False)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_place_at_fault(case: dict[str, Any], compiler: mw.GrammarCompiler) -> None:
    with pytest.raises(mw.UnsatisfiableError) as caught:
        compiler.compile_json_schema(case["schema"])
    assert caught.value.pointer == case["pointer"]
    assert case.get("message", "") in str(caught.value)
    assert caught.value.hint


def test_inside_a_grammar(compiler: mw.GrammarCompiler) -> None:
    with pytest.raises(mw.UnsatisfiableError) as caught:
        compiler.compile_lark('start: "<" value ">"\nvalue: %json {"type": "array", "items": false, "minItems": 1}')
    assert caught.value.pointer == "/items"


def test_every_error_leads_to_a_place(compiler: mw.GrammarCompiler) -> None:
    errors = 0
    for number in range(1500):
        schema = random_schema(Rolled(random.Random(number)), 2)
        try:
            compiler.compile_json_schema(schema)
        except mw.UnsatisfiableError as error:
            errors += 1
            assert error.hint
            follow(schema, error.pointer or "")
        except mw.GrammarError:
            continue
    assert errors > 20


def follow(schema: Any, pointer: str) -> None:
    """Raises LookupError where the pointer leads nowhere."""
    for step in pointer.removeprefix(f"{ROOT}#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        schema = schema[int(name)] if isinstance(schema, list) else schema[name]
