"""Real schemas with labelled instances (MaskBench), with a real vocabulary; test_ratchet.py has them byte by byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import maskwright as mw

SAMPLE = 40
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


def test_every_mask_of_a_valid_instance_allows_its_tokens(tokenizer: Any, maskbench: list[dict[str, Any]]) -> None:
    """With a real vocabulary, token by token, in any order of members."""
    info = mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    compiler = mw.GrammarCompiler(info, cache_enabled=False)
    bitmask = np.zeros(-(-info.vocab_size // 32), np.int32)
    walked = 0
    for record in maskbench[:SAMPLE]:
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
    assert walked > SAMPLE
