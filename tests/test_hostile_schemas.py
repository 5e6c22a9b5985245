"""Schemas that are made to cost time or memory: each ends within bounds, with a grammar that works or with an error that says
why. Each runs in a process of its own, which is ended where it takes too much of either."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hostile_schemas import GENERATORS

import maskwright as mw

TESTS = Path(__file__).parent
CASES = tomllib.loads((TESTS / "cases" / "hostile.toml").read_text())["case"]
MAX_SECONDS, MAX_BYTES = 90, 6 << 30  # of processor time; of address space, most of which numba's libraries reserve
SLOW = frozenset({
    "oneOf of 40 objects that overlap", "a pattern of 20,000 characters", "if and then, 60 of them",
    "multipleOf many primes at once", "60 patterns of keys that overlap",
    "a million properties", "a hundred thousand required properties", "an enum of 300,000 words", "an enum of 20,000 objects",
    "an enum of 50,000 numbers", "all of 3,000 constants", "one more than 3,000 constants", "a chain of 5,000 references",
    "a key of a million characters", "a constant of a million characters", "oneOf of 400 objects that overlap",
    "dependentSchemas of 300 keys", "prefixItems of 20,000", "anyOf of 2,000 patterns", "allOf of 40 patterns",
})  # fmt: skip


def outcome(schema: Any) -> dict[str, Any]:
    """Compile a schema, fill its first masks, ask for a completion; what came of it."""
    from maskwright.judge import byte_vocabulary

    try:
        grammar = mw.GrammarCompiler(byte_vocabulary(), cache_enabled=False).compile_json_schema(schema)
    except mw.GrammarError as error:
        return {"error": type(error).__name__, "pointer": error.pointer, "message": str(error)[:500]}
    matcher, written = mw.GrammarMatcher(grammar), 0
    try:
        for _ in range(40):
            allowed = matcher.allowed_token_ids()
            assert allowed.size, "an empty mask"
            if matcher.is_completed():
                break
            assert matcher.accept_token(int(allowed[-1]))
            written += 1
        completion = matcher.shortest_completion()
        assert len(completion) > 1 << 20 or (matcher.accept_string(completion) and matcher.is_completed())
    except mw.GrammarError as error:
        return {
            "error": type(error).__name__,
            "pointer": error.pointer,
            "message": str(error)[:500],
            "written": written,
        }
    return {"error": None, "written": written}


def run(name: str) -> dict[str, Any]:
    """The outcome of a case, in a process of its own."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))

    command = [sys.executable, "-c", f"import test_hostile_schemas as t; t.main({name!r})"]
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, preexec_fn=limit, check=False)
    assert done.returncode == 0, f"{name}: ended by {done.returncode}\n{done.stderr[-2000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(name: str) -> None:
    """Print the outcome of a case."""
    case = next((case for case in CASES if case["name"] == name), None)
    print(json.dumps(outcome(case["schema"] if case is not None else GENERATORS[name]())))


def test_there_are_enough() -> None:
    assert len({*GENERATORS, *(case["name"] for case in CASES)}) == len(GENERATORS) + len(CASES) >= 60
    assert SLOW <= GENERATORS.keys()


@pytest.mark.parametrize("case", [case for case in CASES if "long" not in case], ids=lambda case: case["name"])
def test_small_schemas(case: dict[str, Any]) -> None:
    found = outcome(case["schema"])
    if "error" in case:
        assert found["error"] == case["error"], found
        assert found["pointer"] == case.get("pointer", found["pointer"])
    if found["error"] == "LimitExceeded":
        assert "limit" in found["message"]


@pytest.mark.long
@pytest.mark.parametrize("case", [case for case in CASES if "long" in case], ids=lambda case: case["name"])
def test_small_schemas_that_take_long(case: dict[str, Any]) -> None:
    found = run(case["name"])
    assert found["error"] in (None, "LimitExceeded"), found


@pytest.mark.parametrize("name", [name for name in GENERATORS if name not in SLOW])
def test_large_schemas(name: str) -> None:
    found = run(name)
    assert found["error"] in (None, "LimitExceeded", "UnsupportedError", "UnsatisfiableError", "InvalidError")


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(SLOW))
def test_very_large_schemas(name: str) -> None:
    test_large_schemas(name)
