"""Real schemas (MaskBench), random texts drawn through the masks: each satisfies its schema, and none comes to a dead end."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from walks import Walks

import maskwright as mw

SCHEMAS, TEXTS = 30, 3
LONG_SCHEMAS, LONG_TEXTS = 1000, 20


def test_texts_of_real_schemas_are_valid(byte_info: mw.TokenizerInfo, maskbench: list[dict[str, Any]]) -> None:
    walks = Walks(byte_info)
    taken = sum(
        walks.walk(record["id"], record["schema"], TEXTS, random.Random(record["id"])) for record in maskbench[:SCHEMAS]
    )
    assert taken > 0.7 * SCHEMAS
    assert walks.outcomes["text: judged"] > 0.7 * taken * TEXTS, walks.outcomes


@pytest.mark.long
@pytest.mark.parametrize("vocabulary", ["bytes", "llama3"])
def test_many_texts_of_many_real_schemas_are_valid(
    vocabulary: str, byte_info: mw.TokenizerInfo, maskbench: list[dict[str, Any]], shared: Path
) -> None:
    """MASKWRIGHT_LONG_CASES schemas that are taken (1,000), MASKWRIGHT_LONG_TEXTS texts of each (20), drawn by
    MASKWRIGHT_LONG_SEED (0). Goes on past a fault and lists them all at the end."""
    count = int(os.environ.get("MASKWRIGHT_LONG_CASES", LONG_SCHEMAS))
    texts = int(os.environ.get("MASKWRIGHT_LONG_TEXTS", LONG_TEXTS))
    seed = int(os.environ.get("MASKWRIGHT_LONG_SEED", "0"))
    if vocabulary == "llama3":
        transformers = pytest.importorskip("transformers", reason="transformers is not installed")
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(shared / "data" / "tokenizers" / "llama3")
        byte_info = mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    walks, faults, taken, started = Walks(byte_info), [], 0, time.monotonic()
    for record in maskbench:
        try:
            taken += walks.walk(record["id"], record["schema"], texts, random.Random(f"{seed} {record['id']}"))
        except AssertionError as error:
            taken += 1
            faults.append(str(error))
            print(f"FAULT {error}", flush=True)
        if taken % 50 == 0 or taken == count:
            spent = time.monotonic() - started
            print(f"{taken:,} of {count:,} schemas, {walks.walker.texts:,} texts, {spent:.0f} s", flush=True)
        if taken == count:
            break
    print(f"{vocabulary}: {walks.walker.tokens:,} tokens drawn, {dict(walks.outcomes)}", flush=True)
    assert not faults, "\n".join(faults)
