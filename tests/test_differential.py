"""Every keyword in every draft: the engine accepts a text exactly when jsonschema accepts its value.

Whatever the schema, an instance may be written in any order and spelling, so that nothing but the schema decides.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections import Counter
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyword_schemas import DRAFTS, InstanceBuilder, KeywordBuilder, mutated, random_value, spelled
from strategies import Drawn, Rolled
from validation import Opinion

import maskwright as mw
from maskwright.judge import byte_vocabulary

REFUSALS = (mw.UnsupportedError, mw.LimitExceeded, mw.InvalidError)
ANY = {"property_order": "any", "numbers": "any", "escapes": "any"}
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
NAMES = ((), (), ("r",), ("r", "s"))  # of definitions
INSTANCES = 12


@cache
def compiler() -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_vocabulary(), cache_enabled=False, max_lowering_ms=math.inf)


def check(schema: Any, rng: random.Random) -> Counter[str]:
    """Compares the two on instances of one schema; how many were valid, invalid, refused."""
    outcomes: Counter[str] = Counter()
    opinion, grammar = Opinion(schema), None
    try:
        grammar = compiler().compile_json_schema(schema, **ANY)
    except mw.UnsatisfiableError:
        pass  # so that every instance must be invalid
    except REFUSALS as error:
        return Counter({f"schema: {type(error).__name__}": 1})
    for text in texts(schema, rng):
        faults = opinion.faults(text)
        try:
            accepted = grammar is not None and accepts(grammar, text)
        except REFUSALS as error:
            outcomes[f"text: {type(error).__name__}"] += 1
            continue
        assert accepted == (not faults), (
            f"{text} is {'accepted' if accepted else 'rejected'}\nof {json.dumps(schema, ensure_ascii=False)}\n{faults}"
        )
        outcomes["invalid" if faults else "valid"] += 1
    return outcomes


def accepts(grammar: mw.CompiledGrammar, text: str) -> bool:
    matcher = mw.GrammarMatcher(grammar)
    return matcher.accept_string(text) and matcher.is_completed()


def texts(schema: Any, rng: random.Random) -> list[str]:
    """Of values that are made for the schema, of such with a change, and of any."""
    builder = InstanceBuilder(schema, rng)
    values = [builder.value(schema) for _ in range(INSTANCES // 2)]
    values += [mutated(value, rng) for value in values[: INSTANCES // 3]]
    values += [random_value(rng, 2) for _ in range(INSTANCES - len(values))]
    return [spelled(value, rng) for value in values]


@st.composite
def schemas(draw: Any, depth: int = 2) -> Any:
    choose = Drawn(draw)
    return KeywordBuilder(choose, choose.one_of([*DRAFTS]), choose.one_of(NAMES)).root(depth)


seen: Counter[str] = Counter()


@settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(schemas(), st.integers(0, 2**32 - 1))
def test_instances_are_judged_as_by_jsonschema(schema: Any, seed: int) -> None:
    seen.update(check(schema, random.Random(seed)))


def test_enough_instances_were_judged() -> None:
    """Of those of the test before this one."""
    if not seen:
        pytest.skip("the test that counts them did not run")
    judged = seen["valid"] + seen["invalid"]
    assert seen["valid"] > 0.15 * judged, seen
    assert judged > 0.7 * INSTANCES * 300, seen


@pytest.mark.long
def test_many_instances_are_judged_as_by_jsonschema() -> None:
    """MASKWRIGHT_LONG_CASES schemas (20,000), number MASKWRIGHT_LONG_SEED (0) and up. Goes on past a fault."""
    count = int(os.environ.get("MASKWRIGHT_LONG_CASES", "20000"))
    first = int(os.environ.get("MASKWRIGHT_LONG_SEED", "0"))
    outcomes, faults, started = Counter(), [], time.monotonic()
    for done, number in enumerate(range(first, first + count), 1):
        rng = random.Random(number)
        choose = Rolled(rng)
        schema = KeywordBuilder(choose, choose.one_of([*DRAFTS]), choose.one_of(NAMES)).root(1 + number % 3)
        try:
            outcomes += check(schema, rng)
        except AssertionError as error:
            faults.append(f"case {number}: {error}")
            print(f"FAULT {faults[-1]}", flush=True)
        if done % 200 == 0 or done == count:
            print(f"{done:,} of {count:,} schemas, {dict(outcomes)}, {time.monotonic() - started:.0f} s", flush=True)
    assert not faults, "\n".join(faults)
