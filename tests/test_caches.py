"""What a compiler keeps: within a bound in bytes, counted, and forgotten when asked."""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import maskwright as mw
from maskwright.compile.rows import Row, RowCache
from maskwright.grammar_cache import CacheBytes, CacheInfo

MEGABYTE = 1 << 20


def schema(number: int) -> dict[str, Any]:
    """A schema like no other number's."""
    return {
        "type": "object",
        "properties": {
            f"name_{number}": {"type": "string", "maxLength": 20},
            f"sizes_{number}": {"type": "array", "items": {"type": "integer", "minimum": number}},
        },
        "required": [f"name_{number}"],
    }


def first_mask(compiled: mw.CompiledGrammar) -> list[int]:
    return mw.GrammarMatcher(compiled).allowed_token_ids().tolist()


def test_equal_grammars_are_compiled_once(byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info)
    first = compiler.compile_json_schema(schema(1))
    assert compiler.compile_json_schema(schema(1)) is first
    assert compiler.compile_json_schema(schema(1), whitespace="compact") is not first
    assert compiler.compile_regex("a+") is compiler.compile_regex("a+")
    info = compiler.cache_info()
    assert (info.hits, info.misses, info.evictions, info.grammars) == (2, 3, 0, 3)


def test_bytes_by_kind(byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info)
    empty = compiler.cache_info()
    assert empty == CacheInfo(0, 0, 0, 0, empty.nbytes, compiler.cache_limit_bytes)
    assert empty.nbytes == CacheBytes(empty.nbytes.automata, 0, 0, 0) and empty.nbytes.automata < 100_000
    compiled = compiler.compile_json_schema(schema(1))
    matcher = mw.GrammarMatcher(compiled)
    assert compiler.cache_info().nbytes.arenas == 0  # in use
    matcher.accept_string('{"name_1": "')
    first_mask(compiled)
    size = matcher.nbytes
    del matcher
    used = compiler.cache_info().nbytes
    assert used.grammars > 0 and used.automata > empty.nbytes.automata
    assert used.arenas >= size and used.arenas == compiled.spare_bytes
    assert compiler.get_cache_size_bytes() == used.total == used.automata + used.rows + used.grammars + used.arenas


def test_rows_that_automata_share_are_counted_once(byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info)
    compiled = compiler.compile_json_schema({"type": "string", "pattern": "^[a-f]{2}x$"})
    compiled.add_row(compiled.root << 16)
    held = compiled.automaton.rows_held
    assert len(held) == 1
    assert compiler.cache_info().nbytes.rows == held[0].nbytes


def test_ten_times_the_bound(byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info, max_cache_bytes=16 * MEGABYTE)
    mask = first_mask(compiler.compile_json_schema(schema(0)))
    for number in range(2000):
        first_mask(compiler.compile_json_schema(schema(number)))
        assert first_mask(compiler.compile_json_schema(schema(0))) == mask  # used all the time
        if number % 50 == 49:
            assert compiler.get_cache_size_bytes() <= compiler.cache_limit_bytes
    info = compiler.cache_info()
    assert info.grammars + info.evictions == info.misses and info.evictions > 1000
    assert info.hits > 1900  # what is in use is kept, but when its generation goes


def test_a_grammar_outlives_its_eviction(byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info, max_cache_bytes=2 * MEGABYTE)
    held = compiler.compile_json_schema(schema(0))
    matcher = mw.GrammarMatcher(held)
    for number in range(1, 200):
        compiler.compile_json_schema(schema(number))
    again = compiler.compile_json_schema(schema(0))
    assert again is not held and again.automaton is not held.automaton
    twin = mw.GrammarMatcher(again)
    for byte in b'{"name_0":"x","sizes_0":[1,22]}':
        assert matcher.allowed_token_ids().tolist() == twin.allowed_token_ids().tolist()
        assert matcher.accept_token(byte) and twin.accept_token(byte)


def test_what_is_evicted_is_freed(byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info, max_cache_bytes=2 * MEGABYTE)
    evicted = weakref.ref(compiler.compile_json_schema(schema(0)).automaton)
    kept = compiler.compile_json_schema(schema(1))
    for number in range(2, 200):
        compiler.compile_json_schema(schema(number))
    gc.collect()
    assert evicted() is kept.automaton  # in use by `kept`
    del kept
    gc.collect()
    assert evicted() is None


@pytest.mark.parametrize("cache_enabled", [True, False])
def test_clear_cache(byte_info: mw.TokenizerInfo, cache_enabled: bool) -> None:
    compiler = mw.GrammarCompiler(byte_info, cache_enabled)
    old = weakref.ref(compiler.compile_json_schema(schema(0)).automaton)
    for number in range(20):
        first_mask(compiler.compile_json_schema(schema(number)))
    before = compiler.cache_info()
    compiler.clear_cache()
    gc.collect()
    after = compiler.cache_info()
    assert old() is None
    assert after.grammars == after.nbytes.rows == after.nbytes.grammars == after.nbytes.arenas == 0
    assert (after.hits, after.misses, after.evictions) == (before.hits, before.misses, before.evictions)
    assert first_mask(compiler.compile_json_schema(schema(3)))


def test_without_a_cache_old_automata_go(byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info, cache_enabled=False, max_cache_bytes=2 * MEGABYTE)
    old = weakref.ref(compiler.compile_json_schema(schema(0)).automaton)
    for number in range(200):
        compiler.compile_json_schema(schema(number))
    gc.collect()
    assert old() is None
    assert compiler.get_cache_size_bytes() <= MEGABYTE


def test_spare_arenas_stay_within_their_share(byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info, max_cache_bytes=16 * MEGABYTE)
    grammars = [compiler.compile_json_schema(schema(number)) for number in range(40)]
    for grammar in grammars:
        matchers = [mw.GrammarMatcher(grammar) for _ in range(4)]
        del matchers
    held = compiler.cache_info().nbytes.arenas
    assert held > 8 * MEGABYTE
    for _ in range(20):
        compiler.compile_json_schema(schema(39))
    assert 0 < compiler.cache_info().nbytes.arenas <= 4 * MEGABYTE
    assert grammars[0].spare_bytes == 0 < grammars[39].spare_bytes  # those used longest ago went first


def test_row_cache_is_bounded() -> None:
    rows = RowCache(10_000)
    made = [Row(False, np.zeros(500, np.int32), [], np.zeros((0, 3), np.int32)) for _ in range(6)]
    for number, row in enumerate(made):
        rows.put(number, row)
        assert rows.get(0) is made[0]  # used all the time
    assert rows.nbytes == sum(row.nbytes for row in rows.kept) <= 10_000
    assert rows.evictions == 6 - len(rows.kept) and rows.get(1) is None
    assert (rows.hits, rows.misses) == (6, 1)
    rows.clear()
    assert rows.nbytes == 0 and rows.get(0) is None


SERVERS = ("vllm", "sglang", "llama_cpp", "mlx")


def contents(root: Path) -> Iterator[tuple[str, Any]]:
    """Everything that modules of the package hold at their top, and classes in them."""
    names = {"engine": "maskwright", **{name: f"maskwright.{name}" for name in ("grammars", "compile", "runtime")}}
    for path in (path for folder in names for path in (root / folder).glob("[!_]*.py")):
        try:
            module = importlib.import_module(f"{names[path.parent.name]}.{path.stem}")
        except ModuleNotFoundError as error:
            assert error.name in SERVERS, "only a server's own package may be missing"
            continue
        for name, value in vars(module).items():
            yield f"{module.__name__}.{name}", value
            if inspect.isclass(value):
                yield from ((f"{module.__name__}.{name}.{inner}", function) for inner, function in vars(value).items())


def test_caches_of_functions_are_bounded(root: Path) -> None:
    found = {name: value for name, value in contents(root) if isinstance(value, functools._lru_cache_wrapper)}
    assert len(found) > 10
    unbounded = [
        name
        for name, cached in found.items()
        if cached.cache_parameters()["maxsize"] is None and inspect.signature(cached).parameters
    ]
    assert not unbounded, "they keep an entry for every argument that they are ever given"


def test_a_grammar_that_is_gone_leaves_no_objects_behind(byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info, cache_enabled=False)
    tree = {"$defs": {"tree": schema(1) | {"properties": {"children": {"items": {"$ref": "#/$defs/tree"}}}}}}
    kinds = {"Schema", "Document", "GrammarStates", "ObjectFrame", "SimpleObject", "Members", "Bool", "Value"}

    def alive() -> int:
        return sum(type(found).__name__ in kinds for found in gc.get_objects())

    def follow() -> None:
        matcher = mw.GrammarMatcher(compiler.compile_json_schema(tree | {"$ref": "#/$defs/tree"}))
        for byte in b'{"children": [{"children": [], "name_1": 1, "x": [true]}], "name_1": "a", "y": {"z": 1':
            matcher.allowed_token_ids()
            assert matcher.accept_token(byte)

    follow()  # values without containers are the automaton's
    gc.collect()
    gc.disable()
    try:
        before = alive()
        follow()
        with pytest.raises(mw.UnsatisfiableError):
            compiler.compile_json_schema({"type": "object", "required": ["a"], "properties": {"a": False}})
        assert alive() <= before
    finally:
        gc.enable()
