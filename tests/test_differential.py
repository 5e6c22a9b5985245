"""Every keyword in every draft: the engine accepts a text exactly when jsonschema accepts its value.

Whatever the schema, an instance may be written in any order and spelling, so that nothing but the schema decides.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import time
from collections import Counter
from functools import cache
from typing import Any

import pytest
from acceptance import takes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyword_instances import InstanceBuilder, mutated
from keyword_schemas import random_schema, random_value
from spellings import orders, spelled
from strategies import Drawn, Rolled
from validation import Opinion

import maskwright as mw
from maskwright.judge import byte_vocabulary

REFUSALS = (mw.UnsupportedError, mw.LimitExceeded, mw.InvalidError)
ANY: dict[str, Any] = {"property_order": "any", "numbers": "any", "escapes": "any"}
ANY_ORDER: dict[str, Any] = {"property_order": "any"}
ITS_ORDER: dict[str, Any] = {}
MAX_ORDERS = 5_000  # more than any instance has
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
INSTANCES = 12


@cache
def compiler() -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_vocabulary(), cache_enabled=False, max_lowering_ms=math.inf)


def check(schema: Any, rng: random.Random) -> Counter[str]:
    """Compares the two on instances of one schema; how many were valid, invalid, refused."""
    outcomes: Counter[str] = Counter()
    opinion, values = Opinion(schema), instances(schema, rng)
    for options, may in (ANY, spelled_at_random), rng.choice(((ANY_ORDER, plain), (ITS_ORDER, in_every_order))):
        grammar = None
        try:
            grammar = compiler().compile_json_schema(schema, **options)
        except mw.UnsatisfiableError:
            pass  # so that every instance must be invalid
        except REFUSALS as error:
            outcomes[f"schema: {type(error).__name__}"] += 1
            continue
        for value in values:
            texts = may(value, rng)
            try:
                accepted = grammar is not None and any(takes(grammar, text) for text in texts)
            except REFUSALS as error:
                outcomes[f"text: {type(error).__name__}"] += 1
                continue
            faults = opinion.faults(texts[0])
            assert accepted == (not faults), (
                f"{texts[0]} is {'accepted' if accepted else 'rejected'} with {options}\n"
                f"of {json.dumps(schema, ensure_ascii=False)}\n{faults}"
            )
            outcomes["invalid" if faults else "valid"] += 1
    return outcomes


def instances(schema: Any, rng: random.Random) -> list[Any]:
    """Values that are made for the schema, such with a change, and any."""
    builder = InstanceBuilder(schema, rng)
    values = [builder.value(schema) for _ in range(INSTANCES // 2)]
    values += [mutated(value, rng) for value in values[: INSTANCES // 3]]
    return values + [random_value(rng, 2) for _ in range(INSTANCES - len(values))]


# The texts of a value one of which a policy must accept where the value is valid, and none where it is not.


def spelled_at_random(value: Any, rng: random.Random) -> list[str]:
    return [spelled(value, rng)]


def plain(value: Any, rng: random.Random) -> list[str]:
    return [json.dumps(value, ensure_ascii=False)]


def in_every_order(value: Any, rng: random.Random) -> list[str]:
    """Of its members. The schema decides which of them it takes."""
    return [json.dumps(ordered, ensure_ascii=False) for ordered in itertools.islice(orders(value), MAX_ORDERS)]


@st.composite
def schemas(draw: Any, depth: int = 2) -> Any:
    return random_schema(Drawn(draw), depth)


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
    assert judged > 1.4 * INSTANCES * 300, seen
    assert sum(count for outcome, count in seen.items() if "Error" in outcome or "Limit" in outcome) < 0.02 * judged, (
        seen
    )


@pytest.mark.long
def test_many_instances_are_judged_as_by_jsonschema() -> None:
    """MASKWRIGHT_LONG_CASES schemas (20,000), number MASKWRIGHT_LONG_SEED (0) and up. Goes on past a fault."""
    count = int(os.environ.get("MASKWRIGHT_LONG_CASES", "20000"))
    first = int(os.environ.get("MASKWRIGHT_LONG_SEED", "0"))
    outcomes, faults, started = Counter(), [], time.monotonic()
    for done, number in enumerate(range(first, first + count), 1):
        rng = random.Random(number)
        schema = random_schema(Rolled(rng), 1 + number % 3)
        try:
            outcomes += check(schema, rng)
        except AssertionError as error:
            faults.append(f"case {number}: {error}")
            print(f"FAULT {faults[-1]}", flush=True)
        if done % 200 == 0 or done == count:
            print(f"{done:,} of {count:,} schemas, {dict(outcomes)}, {time.monotonic() - started:.0f} s", flush=True)
    assert not faults, "\n".join(faults)
