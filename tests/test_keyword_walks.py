"""Every keyword in every draft and every policy: texts drawn through the masks are valid, and none comes to a dead end."""

from __future__ import annotations

import json
import os
import random
import time
from typing import Any

import pytest
from keyword_schemas import random_schema
from strategies import Rolled
from walks import Walks

import maskwright as mw

SCHEMAS, TEXTS = 100, 3
LONG_WALKS, LONG_TEXTS = 100_000, 10
# Each option with what it may be; the first half of the time what it is by default.
POLICY: dict[str, tuple[Any, ...]] = {
    "property_order": ("any",),
    "numbers": ("any",),
    "escapes": ("any",),
    "ensure_ascii": (True,),
    "whitespace": ("single", "compact"),
    "max_whitespace": (0, 1, 4),
    "separators": ((",", ":"), (", ", " : ")),
    "indent": (0, 2),
}


def random_policy(rng: random.Random) -> dict[str, Any]:
    """A text policy; of the options for white space at most one."""
    chosen = {name: rng.choice(values) for name, values in POLICY.items() if rng.random() < 0.5}
    spaces = [name for name in ("whitespace", "max_whitespace", "separators", "indent") if name in chosen]
    kept = rng.choice([*spaces, ""])
    return {name: value for name, value in chosen.items() if name not in spaces or name == kept}


def walk(walks: Walks, number: int, count: int) -> bool:
    """Draws `count` texts of schema `number`."""
    rng = random.Random(number)
    schema, policy = random_schema(Rolled(rng), 1 + number % 3), random_policy(rng)
    name = f"schema {number}, {policy} of {json.dumps(schema, ensure_ascii=False)}"
    return walks.walk(name, schema, count, rng, **policy)


def share_of(walks: Walks, kinds: tuple[str, ...], of: int) -> float:
    return sum(count for outcome, count in walks.outcomes.items() if outcome.endswith(kinds)) / of


def test_texts_are_valid(byte_info: mw.TokenizerInfo) -> None:
    walks = Walks(byte_info)
    taken = sum(walk(walks, number, TEXTS) for number in range(SCHEMAS))
    assert taken > 0.7 * SCHEMAS, walks.outcomes
    assert walks.outcomes["text: judged"] > 0.5 * taken * TEXTS, walks.outcomes
    assert share_of(walks, ("UnsupportedError", "LimitExceeded"), SCHEMAS) < 0.05, walks.outcomes


@pytest.mark.long
def test_many_texts_are_valid(byte_info: mw.TokenizerInfo) -> None:
    """MASKWRIGHT_LONG_CASES texts (100,000), ten of a schema, from number MASKWRIGHT_LONG_SEED (0) on. Goes on past a fault and
    lists them all at the end."""
    count = int(os.environ.get("MASKWRIGHT_LONG_CASES", LONG_WALKS))
    number = int(os.environ.get("MASKWRIGHT_LONG_SEED", "0"))
    walks, faults, started, shown = Walks(byte_info), [], time.monotonic(), 0
    while walks.walker.texts < count:
        try:
            walk(walks, number, LONG_TEXTS)
        except AssertionError as error:
            faults.append(str(error))
            print(f"FAULT {error}", flush=True)
        number += 1
        if walks.walker.texts >= shown:
            shown += count // 100
            spent = time.monotonic() - started
            print(f"{walks.walker.texts:,} of {count:,} texts, up to schema {number:,}, {spent:.0f} s", flush=True)
    print(f"{walks.walker.tokens:,} tokens drawn, {dict(walks.outcomes)}", flush=True)
    assert not faults, "\n".join(faults)
    assert share_of(walks, ("UnsupportedError", "LimitExceeded"), count) < 0.02, walks.outcomes
