"""Waves of requests, each with a schema of its own: memory comes to rest, and nothing of a request outlives it."""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest
from jsonschema import Draft202012Validator
from served import TEMPLATE, Served, ask, in_schema, schema_number, text_of

from maskwright.compile.grammar import CompiledGrammar
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.serve_cohort import Cohort, Job, Row
from maskwright.serve_service import Bounds, Service

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

OF_REQUESTS = (CompiledGrammar, GrammarMatcher, Job, Row, Cohort)


def live() -> Counter[str]:
    """How many objects that requests are made of there are."""
    gc.collect()
    return Counter(type(found).__name__ for found in gc.get_objects() if type(found) in OF_REQUESTS)


def resident() -> int:
    """Resident memory of the process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def wave(running: Served, first: int, count: int) -> None:
    """As many requests at once, with schemas numbered from `first`; every answer fits its own and no other one's.

    One among them is malformed, and is told its place.
    """
    client = openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0, timeout=600.0)

    async def asked(number: int) -> None:
        response = await ask(client, response_format=in_schema(schema_number(number)), max_tokens=80, temperature=1.0)
        answer = json.loads(text_of(response))
        fitting = [other for other in range(first, first + count) if fits(answer, other)]
        assert fitting == [number]

    async def malformed() -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(client, response_format=in_schema({"properties": {"a": {"type": f"kind {first}"}}}))
        assert caught.value.param == "/response_format/json_schema/schema/properties/a/type"

    async with client:
        await asyncio.gather(malformed(), *(asked(number) for number in range(first, first + count)))


def fits(answer: Any, number: int) -> bool:
    return Draft202012Validator(schema_number(number)).is_valid(answer)


def served(tiny_model: LlamaForCausalLM, cache_bytes: int, **bounds: Any) -> Served:
    import tiny

    tokenizer = tiny.tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return Served(Service(tiny_model, tokenizer, name="tiny", bounds=Bounds(cache_bytes=cache_bytes, **bounds)))


def check_at_rest(running: Served, before: Counter[str]) -> None:
    """Nothing of the requests is there any more, but for the grammars in the cache, which is within its bound.

    (Spare arenas of matchers that have just gone are seen to at the next look-ups: what the last wave has left may be there.)
    """
    scheduler, cache = running.service.scheduler, running.service.compiler.cache_info()
    assert (scheduler.running, scheduler.waiting) == (0, 0)
    bounds = running.service.bounds
    assert cache.nbytes.total - cache.nbytes.arenas <= bounds.cache_bytes
    assert cache.nbytes.arenas <= max(bounds.cache_bytes // 4, bounds.rows << 18)
    left = live() - before
    assert left["CompiledGrammar"] <= cache.grammars
    assert left["CompiledGrammar"] == left.total(), left


def test_nothing_of_a_wave_is_left(tiny_model: LlamaForCausalLM) -> None:
    before = live()
    running = served(tiny_model, cache_bytes=6 << 20)
    try:
        for number in range(5):
            asyncio.run(wave(running, 16 * number, 16))
            check_at_rest(running, before)
        cache = running.service.compiler.cache_info()
        assert cache.evictions > 0, "the bound was not reached"
        assert cache.grammars < 5 * 16
    finally:
        running.stop()
    del running
    assert not live() - before, "of a server that has stopped"


@pytest.mark.long
def test_memory_comes_back_to_its_baseline(tiny_model: LlamaForCausalLM) -> None:
    """16 waves of 64 requests with 64 new schemas each; once the cache has been turned over, resident memory stays."""
    before = live()
    running = served(tiny_model, cache_bytes=16 << 20, rows=64)
    sizes = list[int]()
    try:
        for number in range(16):
            asyncio.run(wave(running, 64 * number, 64))
            check_at_rest(running, before)
            sizes.append(resident())
            print(f"wave {number}: {sizes[-1] / 2**20:.1f} MB, {running.service.compiler.cache_info()}")
        assert running.service.compiler.cache_info().evictions > 0
    finally:
        running.stop()
    warm, after = max(sizes[:8]), min(sizes[-4:])
    assert after <= warm + (8 << 20), [size >> 20 for size in sizes]
