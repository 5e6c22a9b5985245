"""The order of an object's members: what the default lets come where (cases/member_order.toml)."""

from __future__ import annotations

import json
import random
import tomllib
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

import maskwright as mw

CASES = tomllib.loads((Path(__file__).parent / "cases" / "member_order.toml").read_text())["case"]


def text_of(keys: str) -> str:
    return json.dumps(dict.fromkeys(keys.split(), 0), separators=(",", ":"))


def takes(compiled: mw.CompiledGrammar, text: str) -> bool:
    matcher = mw.GrammarMatcher(compiled)
    return matcher.accept_string(text) and matcher.is_completed()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_cases(case: dict[str, Any], byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info)
    default = compiler.compile_json_schema(case["schema"])
    free = compiler.compile_json_schema(case["schema"], property_order="any")
    for keys in case["accepted"]:
        assert takes(default, text_of(keys)), keys
    for keys in case["rejected"]:
        assert not takes(default, text_of(keys)), keys
        assert takes(free, text_of(keys)), keys


def test_what_is_begun_can_be_finished_and_no_key_comes_twice(byte_info: mw.TokenizerInfo) -> None:
    """Of random lists of five keys, all required: a beginning is taken just where some whole order is, and one is."""
    rng, names = random.Random(5), "abcde"
    for _ in range(40):
        parts = [{"properties": {key: {} for key in rng.sample(names, rng.randint(2, 5))}} for _ in range(3)]
        schema = {"allOf": parts, "required": rng.sample(names, 5) if rng.random() < 0.3 else [*names]}
        compiled = mw.GrammarCompiler(byte_info).compile_json_schema(schema, whitespace="compact")
        whole = [keys for keys in permutations(names) if takes(compiled, text_of(" ".join(keys)))]
        assert whole
        for count in range(1, 6):
            begun = {keys[:count] for keys in whole}
            for keys in permutations(names, count):
                text = text_of(" ".join(keys)).removesuffix("}")
                assert mw.GrammarMatcher(compiled).accept_string(text) == (keys in begun), (schema, keys)
        matcher = mw.GrammarMatcher(compiled)
        assert matcher.accept_string(f'{{"{whole[0][0]}":0,"')
        assert not matcher.accept_string(f'{whole[0][0]}"')
