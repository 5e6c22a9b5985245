"""The official JSON Schema Test Suite, and what a refusal means: a grammar without a text is never made (UnsatisfiableError),
so that a schema which nothing satisfies is right to be refused. Each instance of its group must then be invalid."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from acceptance import takes
from referencing import Registry, Resource
from referencing.jsonschema import EMPTY_REGISTRY, specification_with

import maskwright as mw
from maskwright.judge import byte_vocabulary

SUITE = Path(__file__).parents[2] / "shared/data/json-schema-test-suite"
DIALECTS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft4": "http://json-schema.org/draft-04/schema#",
}
POLICY = {"property_order": "any", "numbers": "any", "escapes": "any", "format": "annotate"}

pytestmark = pytest.mark.skipif(not SUITE.exists(), reason="the JSON Schema Test Suite is not beside the repository")


@cache
def compiler() -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_vocabulary(), cache_enabled=False)


def remotes(draft: str) -> Registry[Any]:
    """The suite's documents that references of a draft lead to."""
    found = []
    for path in (SUITE / "remotes").rglob("*.json"):
        name = path.relative_to(SUITE / "remotes").as_posix()
        if not name.startswith("draft") or name.startswith(f"{draft}/"):
            specification = specification_with(DIALECTS[draft])
            document = Resource.from_contents(json.loads(path.read_text("utf-8")), specification)
            found.append((f"http://localhost:1234/{name}", document))
    return EMPTY_REGISTRY.with_resources(found)


def accepts(grammar: mw.CompiledGrammar, instance: Any) -> bool:
    return takes(grammar, json.dumps(instance, ensure_ascii=False))


@pytest.mark.parametrize("draft", sorted(DIALECTS))
def test_required_tests_of_the_suite(draft: str) -> None:
    """Nothing invalid is accepted and nothing valid rejected, refusals for a stated reason apart, and those that say that
    nothing satisfies the schema are right. (With the optional tests of dynamic references, which are no option to us.)"""
    registry, answers, wrong = remotes(draft), Counter[str](), []
    files = [*sorted((SUITE / draft).glob("*.json")), SUITE / draft / "optional" / "dynamicRef.json"]
    for path in filter(Path.exists, files):
        for group in json.loads(path.read_text("utf-8")):
            try:
                grammar = compiler().compile_json_schema(
                    group["schema"], draft=DIALECTS[draft], registry=registry, **POLICY
                )
            except mw.UnsatisfiableError:
                grammar = None
            except (mw.UnsupportedError, mw.LimitExceeded):
                answers["refused"] += len(group["tests"])
                continue
            for test in group["tests"]:
                accepted = grammar is not None and accepts(grammar, test["data"])
                answers["unsatisfiable" if grammar is None else "pass"] += 1
                if accepted != test["valid"]:
                    wrong.append(f"{path.name}: {group['description']}: {test['description']}")
    assert not wrong
    total = sum(answers.values())
    print(f"{draft}: {total} tests, {dict(answers)}")
    assert answers["pass"] + answers["unsatisfiable"] >= 0.98 * total, answers
