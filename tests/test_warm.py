"""Work ahead of masks: what it does, that masks stay the same, that it ends; compiling in threads."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import maskwright as mw
from maskwright.compile.grammar import CompiledGrammar
from maskwright.compiler import KINDS

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 20},
        "email": {"type": "string", "format": "email"},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "abc"]}, "uniqueItems": True},
        "child": {"$ref": "#"},
        "never": False,
        "size": {"anyOf": [{"type": "integer", "multipleOf": 5}, {"type": "null"}]},
    },
    "required": ["name"],
    "additionalProperties": False,
}
FLAT = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
}
TEXT = b'{"name":"ab","email":"a@b.c","tags":["a","abc"],"child":{"name":"xyz"},"size":10}'


def masks(compiled: CompiledGrammar, text: bytes = TEXT) -> list[list[int]]:
    matcher, found = mw.GrammarMatcher(compiled), []
    for byte in text:
        found.append(matcher.allowed_token_ids().tolist())
        assert matcher.accept_token(byte)
    return found


@pytest.fixture
def compiler(byte_info: mw.TokenizerInfo) -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_info, cache_enabled=False)


@pytest.mark.parametrize("background", [True, False])
def test_masks_find_their_states(
    compiler: mw.GrammarCompiler, background: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = masks(compiler.compile_json_schema(SCHEMA))
    compiler.clear_cache()
    compiled = compiler.compile_json_schema(SCHEMA)
    warmed = compiled.warm(background=background, budget_ms=1500).result(60)
    assert warmed.places > 50
    lowered: list[int] = []
    lower = CompiledGrammar.lower

    def noticed(self: CompiledGrammar, state: int) -> None:
        if not self.automaton.tables.is_lowered(state):
            lowered.append(state)
        lower(self, state)

    monkeypatch.setattr(CompiledGrammar, "lower", noticed)
    assert masks(compiled) == expected
    assert not lowered


def test_nothing_is_done_twice(compiler: mw.GrammarCompiler) -> None:
    compiled = compiler.compile_json_schema(FLAT)
    first, lowered = compiled.warm().result(0), compiled.automaton.size
    again = compiled.warm().result(0)
    assert first == again == (first.places, True) and compiled.automaton.size == lowered


def test_real_schemas(maskbench: list[dict[str, Any]], byte_info: mw.TokenizerInfo) -> None:
    compared = 0
    for record in maskbench[:40]:
        cold = mw.GrammarCompiler(byte_info, cache_enabled=False)
        warm = mw.GrammarCompiler(byte_info, cache_enabled=False)
        try:
            first = cold.compile_json_schema(record["schema"])
        except mw.GrammarError:
            continue
        second = warm.compile_json_schema(record["schema"])
        second.warm(budget_ms=30).result(0)
        left, right = mw.GrammarMatcher(first), mw.GrammarMatcher(second)
        for _ in range(40):
            allowed = left.allowed_token_ids().tolist()
            assert allowed == right.allowed_token_ids().tolist()
            token = allowed[len(allowed) // 2]
            assert left.accept_token(token) and right.accept_token(token)
            compared += 1
            if left.is_terminated():
                break
    assert compared > 500


def test_it_stops_at_its_budgets(compiler: mw.GrammarCompiler) -> None:
    wide = {
        "type": "object",
        "properties": {f"name_{n}": {"enum": [f"{n}_{m}" for m in range(50)]} for n in range(500)},
    }
    compiled = compiler.compile_json_schema(wide)
    nothing = compiled.warm(budget_ms=0).result(0)
    assert (nothing.places, nothing.complete) == (0, False)
    before = compiled.automaton.nbytes
    few = compiled.warm(budget_ms=3000, max_bytes=50_000).result(0)
    assert not few.complete and 0 < compiled.automaton.nbytes - before < 1_000_000


def test_cancelling(compiler: mw.GrammarCompiler) -> None:
    compiled = compiler.compile_json_schema(SCHEMA)
    with compiled.automaton.lock:  # it waits here
        warming = compiled.warm(background=True)
        warming.cancel()
        assert not warming.done()
        with pytest.raises(TimeoutError):
            warming.result(0.01)
    assert not warming.result(60).complete and warming.done()
    assert masks(compiled)


def test_it_ends_with_the_grammar(compiler: mw.GrammarCompiler, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compiler.compile_json_schema(SCHEMA)
    steps, go = threading.Event(), threading.Event()
    monkeypatch.setattr(time, "sleep", lambda _: (steps.set(), go.wait(60)))
    warming = compiled.warm(background=True)
    assert steps.wait(60)
    gone = weakref.ref(compiled)
    del compiled
    gc.collect()
    assert gone() is None  # between two steps it holds nothing
    go.set()
    assert not warming.result(60).complete


def test_errors_are_kept_for_whoever_asks(compiler: mw.GrammarCompiler, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compiler.compile_json_schema(SCHEMA)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(CompiledGrammar, "lower", broken)
    with pytest.raises(ZeroDivisionError):
        compiled.warm(background=True).result(60)


def test_beside_matchers(compiler: mw.GrammarCompiler) -> None:
    expected = masks(compiler.compile_json_schema(SCHEMA))
    for _ in range(3):
        compiler.clear_cache()
        compiled = compiler.compile_json_schema(SCHEMA)
        with ThreadPoolExecutor(4) as pool:
            warmings = [compiled.warm(background=True, budget_ms=100) for _ in range(2)]
            walks = [pool.submit(masks, compiled) for _ in range(4)]
            assert all(walk.result() == expected for walk in walks)
        assert all(warming.result(60).places > 50 for warming in warmings)


def test_eager(byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info, eager=True)
    compiled = compiler.compile_json_schema(FLAT)
    lowered = compiled.automaton.size
    assert compiled.spare_bytes > 0 and masks(compiled, b'{"name":"a","size":12}')
    assert compiled.automaton.size == lowered
    assert masks(compiler.compile_grammar('root ::= "a" root "b" | "c"'), b"aacbb")


# ---------------------------------------------------------------- submit


def test_every_kind_has_its_method() -> None:
    methods = {name.removeprefix("compile_") for name in vars(mw.GrammarCompiler) if name.startswith("compile_")}
    assert methods == set(KINDS)


def test_submitting(byte_info: mw.TokenizerInfo) -> None:
    with mw.GrammarCompiler(byte_info) as compiler:
        futures = [compiler.submit("json_schema", SCHEMA, whitespace="compact") for _ in range(8)]
        results = {future.result(60) for future in futures}
        assert compiler.compile_json_schema(SCHEMA, whitespace="compact") in results and len(results) <= 2
        assert masks(compiler.submit("regex", "a+").result(60), b"aaa")
        assert isinstance(compiler.submit("json_schema", {"type": "strin"}).exception(60), mw.InvalidError)
        with pytest.raises(mw.InvalidError, match="kind='schema' is none of json_schema"):
            compiler.submit("schema", SCHEMA)
        threads = {thread.name for thread in threading.enumerate()}
        assert sum(name.startswith("maskwright-compile") for name in threads) <= 2
    with pytest.raises(RuntimeError, match="was closed"):
        compiler.submit("regex", "a")
    assert masks(compiler.compile_regex("b"), b"b")


def test_closing_cancels_what_waits(byte_info: mw.TokenizerInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, begun, go = mw.GrammarCompiler(byte_info, workers=1), threading.Event(), threading.Event()

    def slow(*_: object) -> str:
        begun.set()
        assert go.wait(60)
        return "done"

    monkeypatch.setattr(compiler, "compile_regex", slow)
    running, waiting = compiler.submit("regex", "a"), compiler.submit("regex", "b")
    assert begun.wait(60)
    threading.Timer(0.05, go.set).start()
    compiler.close()
    assert running.result(0) == "done" and waiting.cancelled()
