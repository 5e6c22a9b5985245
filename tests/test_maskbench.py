"""Real schemas with labelled instances (MaskBench): accepted and rejected as labelled, or refused with a typed error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import maskwright as mw

SAMPLE = 120
REFUSALS = (mw.UnsupportedError, mw.LimitExceeded, mw.InvalidError)


@pytest.fixture(scope="module")
def tokenizer(shared: Path) -> Any:
    """The Llama-3 tokenizer."""
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed: pip install maskwright[hf]"
    )
    path = shared / "data" / "tokenizers" / "llama3"
    if not path.exists():
        pytest.skip("the Llama-3 tokenizer is not in the folder of measuring data")
    return transformers.PreTrainedTokenizerFast.from_pretrained(path)


@pytest.fixture(scope="module")
def byte_compiler(byte_info: mw.TokenizerInfo) -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_info, cache_enabled=False)


def accepts(grammar: mw.CompiledGrammar, text: str) -> bool:
    """Whether the grammar takes the whole text, byte by byte: whoever accepts a byte also allows it."""
    matcher = mw.GrammarMatcher(grammar)
    return matcher.accept_string(text) and matcher.is_completed()


def judge(compiler: mw.GrammarCompiler, record: dict[str, Any]) -> tuple[bool, list[str]]:
    """Whether the schema was taken, and what went wrong with its instances.

    A valid instance whose members come in another order is no fault; there `property_order="any"` must accept it.
    """
    try:
        grammar = compiler.compile_json_schema(record["schema"])
    except REFUSALS as error:
        assert str(error)
        return False, []
    except mw.UnsatisfiableError:
        return True, [f"{record['id']}: unsatisfiable?" for test in record["tests"] if test["valid"]]
    faults = []
    for number, test in enumerate(record["tests"]):
        text = json.dumps(test["data"], ensure_ascii=False)
        try:
            accepted = accepts(grammar, text)
            if test["valid"] and not accepted:
                accepted = accepts(compiler.compile_json_schema(record["schema"], property_order="any"), text)
        except REFUSALS:  # found where the text led to
            return False, faults
        if accepted != test["valid"]:
            faults.append(
                f"{record['id']}: instance {number} is {'valid' if test['valid'] else 'invalid'}: {text[:200]}"
            )
    return True, faults


def test_instances_are_judged_as_labelled(byte_compiler: mw.GrammarCompiler, maskbench: list[dict[str, Any]]) -> None:
    outcomes = [judge(byte_compiler, record) for record in maskbench[:SAMPLE]]
    assert not [fault for _, faults in outcomes for fault in faults]
    taken = sum(taken for taken, _ in outcomes)
    assert taken >= 0.85 * SAMPLE, f"only {taken} of {SAMPLE} schemas were taken"


@pytest.mark.long
def test_all_instances_are_judged_as_labelled(
    byte_compiler: mw.GrammarCompiler, maskbench: list[dict[str, Any]]
) -> None:
    faults, taken = [], 0
    for number, record in enumerate(maskbench, 1):
        was_taken, found = judge(byte_compiler, record)
        taken, faults = taken + was_taken, faults + found
        if number % 200 == 0:
            print(f"{number:,} schemas, {taken:,} taken, {len(faults)} faults", flush=True)
    assert not faults
    assert taken >= 0.85 * len(maskbench), f"only {taken:,} of {len(maskbench):,} schemas were taken"


def test_every_mask_of_a_valid_instance_allows_its_tokens(tokenizer: Any, maskbench: list[dict[str, Any]]) -> None:
    """With a real vocabulary, token by token, in any order of members."""
    info = mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    compiler = mw.GrammarCompiler(info, cache_enabled=False)
    bitmask = np.zeros(-(-info.vocab_size // 32), np.int32)
    walked = 0
    for record in maskbench[: SAMPLE // 3]:
        try:
            grammar = compiler.compile_json_schema(record["schema"], property_order="any")
            for test in record["tests"]:
                ids = tokenizer.encode(json.dumps(test["data"], ensure_ascii=False), add_special_tokens=False)
                matcher = mw.GrammarMatcher(grammar)
                for token in ids:
                    matcher.fill_next_token_bitmask(bitmask)
                    allowed = bool(bitmask[token // 32] >> (token % 32) & 1)
                    assert matcher.accept_token(token) == allowed, f"{record['id']}: mask and accept disagree"
                    if not allowed:
                        break
                else:
                    matcher.fill_next_token_bitmask(bitmask)
                    ends = [bool(bitmask[end // 32] >> (end % 32) & 1) for end in info.eos_token_ids]
                    assert set(ends) == {matcher.is_completed()}, f"{record['id']}: end-of-sequence bits"
                assert (allowed and matcher.is_completed()) == test["valid"], record["id"]
                walked += 1
        except (*REFUSALS, mw.UnsatisfiableError):
            continue
    assert walked > SAMPLE // 3
