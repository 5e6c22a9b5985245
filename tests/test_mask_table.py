"""Masks by number: the row of the table is the mask that fill_next_token_bitmask writes, for as long as it is held."""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_grammar import grammars

import maskwright as mw
from maskwright.compile.grammar import CompiledGrammar, Limits
from maskwright.compile.rows import RowCache
from maskwright.grammars.rules import Rules
from maskwright.kernels import mask_table as kernels

SCHEMAS: list[Any] = [
    {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}}},
    {"type": "array", "items": {"enum": ["a", "ab", "b", "abc"]}, "uniqueItems": True},
    {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}},
]
AMBIGUOUS = 'root ::= "a" root "a"? | "a"'


@pytest.fixture(scope="module")
def info() -> mw.TokenizerInfo:
    vocabulary = strategies.vocabulary(random.Random(5), [b"name", b"ab", b'":'], every_byte=True, longer=2000)
    return mw.TokenizerInfo(
        vocabulary.tokens,
        eos_token_ids=vocabulary.eos,
        special_token_ids=vocabulary.special,
        vocab_size=vocabulary.size,
    )


class Copy:
    """A copy of a table, as a device would keep it."""

    def __init__(self, table: mw.MaskTable) -> None:
        self.table, self.version = table, 0
        self.rows = np.zeros((0, table.words), np.int32)

    def update(self) -> np.ndarray[Any, Any]:
        """int32 [rows, words], with what has come since the last time."""
        self.version, numbers, words = self.table.rows_since(self.version)
        if len(numbers):
            missing = max(0, int(numbers.max()) + 1 - len(self.rows))
            self.rows = np.concatenate([self.rows, np.zeros((missing, self.table.words), np.int32)])
            self.rows[numbers] = words
        return self.rows


def mask_of(matcher: mw.GrammarMatcher) -> np.ndarray[Any, Any]:
    mask = np.empty((1, matcher.compiled.tokens.words), np.int32)
    matcher.fill_next_token_bitmask(mask)
    return mask[0]


def step(matcher: mw.GrammarMatcher, rng: random.Random) -> None:
    """A token on, sometimes some back, at the end of the text to the start."""
    allowed = [] if matcher.is_terminated() else matcher.allowed_token_ids().tolist()
    if not allowed:
        matcher.reset()
    elif rng.random() < 0.1:
        matcher.rollback(rng.randint(0, matcher.step_count))
    else:
        assert matcher.accept_token(rng.choice(allowed))


def compiled_all(compiler: mw.GrammarCompiler) -> list[CompiledGrammar]:
    return [*(compiler.compile_json_schema(schema) for schema in SCHEMAS), compiler.compile_grammar(AMBIGUOUS)]


def check_holds(table: mw.MaskTable, matchers: Sequence[mw.GrammarMatcher], rows: Sequence[int]) -> None:
    """Every row is held by those that were given it last, and by nobody else."""
    held = [rows.count(number) for number in range(len(table))]
    assert [table.holds(number) for number in range(len(table))] == held
    assert len(rows) == len(matchers)


@pytest.mark.parametrize("max_rows", [1, 3, 1000])
def test_rows_are_the_masks(info: mw.TokenizerInfo, max_rows: int) -> None:
    rng = random.Random(max_rows)
    table = mw.MaskTable(info.vocab_size, max_bytes=max_rows * 4 * -(-info.vocab_size // 32))
    assert table.max_rows == max_rows
    compiler, copy = mw.GrammarCompiler(info, mask_table=table), Copy(table)
    matchers = [mw.GrammarMatcher(grammar) for grammar in compiled_all(compiler) for _ in range(2)]
    for _ in range(150):
        for matcher in matchers:
            step(matcher, rng)
        rows = [matcher.mask_row() for matcher in matchers]
        masks = copy.update()
        for matcher, row in zip(matchers, rows, strict=True):
            np.testing.assert_array_equal(table.row(row), mask_of(matcher))
            np.testing.assert_array_equal(masks[row], table.row(row))
        check_holds(table, matchers, rows)
        if rng.random() < 0.1:
            place = rng.randrange(len(matchers))
            matcher = matchers[place] = matchers[place].fork()
            rows = [matcher.mask_row() for matcher in matchers]
            gc.collect()
            check_holds(table, matchers, rows)
    assert (table.evictions > 0) == (max_rows < 1000)
    assert len(table) <= max(max_rows, len(matchers) + 1)
    del matcher, matchers
    gc.collect()
    assert not any(table.holds(number) for number in range(len(table)))


@settings(max_examples=40, deadline=None)
@given(
    schemas=st.lists(strategies.schemas(), min_size=1, max_size=3),
    rules=st.lists(grammars(), max_size=3),
    seed=st.integers(0, 2**32),
)
def test_random_schemas_and_grammars(info: mw.TokenizerInfo, schemas: list[Any], rules: list[Rules], seed: int) -> None:
    rng = random.Random(seed)
    compiler = mw.GrammarCompiler(info)
    found = list[CompiledGrammar]()
    for schema in schemas:
        try:
            found.append(compiler.compile_json_schema(schema))
        except mw.GrammarError:
            continue
    for rule in rules:
        try:
            found.append(CompiledGrammar.of_rules(compiler._cache.room(), rule, Limits()))
        except mw.GrammarError:
            continue
    matchers = [mw.GrammarMatcher(grammar) for grammar in found]
    table, batch = compiler.mask_table, mw.BatchGrammarMatcher(1)
    for _ in range(25):
        rows = batch.batch_mask_rows([*matchers, None]).tolist()
        assert rows.pop() == -1
        assert rows == [matcher.mask_row() for matcher in matchers]
        for matcher, row in zip(matchers, rows, strict=True):
            np.testing.assert_array_equal(table.row(row), mask_of(matcher))
            step(matcher, rng)


def test_equal_masks_are_one_row(info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(info)
    first, second = (compiler.compile_json_schema({"type": "string", "minLength": size}) for size in (1000, 2000))
    matchers = [mw.GrammarMatcher(grammar) for grammar in (first, first, second)]
    assert len({matcher.mask_row() for matcher in matchers}) == 1
    assert len(compiler.mask_table) == 1
    assert compiler.mask_table.version == 1


def test_a_mask_asked_again_is_one_call(byte_info: mw.TokenizerInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mask is filled and no content compared for a configuration that was there before, unless what was written
    matters, too: where no token holds two keys, that is once there is a key to repeat."""
    compiler = mw.GrammarCompiler(byte_info)
    grammars = compiled_all(compiler)
    matchers = [mw.GrammarMatcher(grammar) for number, grammar in enumerate(grammars) if number != 1]  # unique items
    for matcher in matchers:
        matcher.accept_token(matcher.allowed_token_ids().tolist()[0])
    rows = [matcher.mask_row() for matcher in matchers]
    monkeypatch.setattr(mw.GrammarMatcher, "_add_mask_row", lambda _: pytest.fail("filled again"))
    monkeypatch.setattr(mw.GrammarMatcher, "_take_row", lambda *_: pytest.fail("compared again"))
    assert [matcher.mask_row() for matcher in matchers] == rows
    assert mw.BatchGrammarMatcher(1).batch_mask_rows(matchers).tolist() == rows


def test_blocks_stay_where_they_are() -> None:
    table = mw.MaskTable(1 << 17)
    rng = np.random.default_rng(0)
    places, first = list[int](), rng.integers(-1000, 1000, (3 * table.block_rows, table.words), np.int32)
    for mask in first:
        table.add(mask)
        places = places or [table.row(0).ctypes.data]
    assert len(table.blocks) == 3
    assert table.row(0).ctypes.data == places[0]
    for number, mask in enumerate(first):
        np.testing.assert_array_equal(table.row(number), mask)
    assert table.nbytes == 3 * table.block_rows * table.words * 4


def test_equal_hashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskwright.compile.mask_table.hash", lambda content: 1, raising=False)
    table = mw.MaskTable(64, max_bytes=16)
    numbers = [table.add(np.full(2, value, np.int32)) for value in (5, 6, 5)]
    assert numbers == [0, 1, 0]
    for number in numbers:
        table.release(number)
    assert table.add(np.full(2, 7, np.int32)) == 1, "used longest ago, of those that nobody holds"
    assert table.add(np.full(2, 5, np.int32)) == 0
    assert table.add(np.full(2, 6, np.int32)) == 2, "all are held, so the table grows"
    assert (table.evictions, table.version) == (1, 4)
    assert table.rows_since(3).numbers.tolist() == [2]
    assert table.rows_since(2).numbers.tolist() == [1, 2]


def test_errors(info: mw.TokenizerInfo) -> None:
    compilers = [mw.GrammarCompiler(info) for _ in range(2)]
    matchers = [mw.GrammarMatcher(compiler.compile_regex("a*")) for compiler in compilers]
    batch = mw.BatchGrammarMatcher(1)
    with pytest.raises(mw.MatcherError, match="different mask tables"):
        batch.batch_mask_rows(matchers)
    with pytest.raises(mw.MatcherError, match=r"out must be int32 \[1\]"):
        batch.batch_mask_rows(matchers[:1], np.zeros(1, np.int64))
    with pytest.raises(mw.MatcherError, match="twice"):
        batch.batch_mask_rows([matchers[0], None, matchers[0]])
    with pytest.raises(mw.InvalidError, match="the mask table has rows of 2 words"):
        mw.GrammarCompiler(info, mask_table=mw.MaskTable(64))
    assert batch.batch_mask_rows([None, None]).tolist() == [-1, -1]
    assert batch.batch_mask_rows([]).tolist() == []
    with pytest.raises(IndexError, match="row 0 is not one of the table's 0"):
        compilers[0].mask_table.row(0)


def test_one_matcher_that_cannot_go_on(info: mw.TokenizerInfo) -> None:
    table = mw.MaskTable(info.vocab_size)
    good = mw.GrammarMatcher(mw.GrammarCompiler(info, mask_table=table).compile_json_schema(SCHEMAS[0]))
    bad = mw.GrammarMatcher(mw.GrammarCompiler(info, mask_table=table).compile_json_schema(SCHEMAS[0]))
    assert bad.accept_string('{"')
    bad.compiled.limits = Limits(max_lowering_ms=0.0)
    out = np.full(3, 77, np.int32)
    with pytest.raises(mw.BatchError) as caught:
        mw.BatchGrammarMatcher(1).batch_mask_rows([None, bad, good], out)
    assert list(caught.value.failures) == [1]
    assert out.tolist() == [-1, 77, good.mask_row()]


def test_many_threads(info: mw.TokenizerInfo) -> None:
    """Matchers of eight threads, of few grammars, over a table that is always full."""
    table = mw.MaskTable(info.vocab_size, max_bytes=5 * 4 * -(-info.vocab_size // 32))
    compiler = mw.GrammarCompiler(info, mask_table=table)
    found = compiled_all(compiler)

    def follow(seed: int) -> None:
        rng = random.Random(seed)
        matcher = mw.GrammarMatcher(found[seed % len(found)])
        for _ in range(150):
            step(matcher, rng)
            np.testing.assert_array_equal(table.row(matcher.mask_row()), mask_of(matcher))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(follow, range(16)))
    gc.collect()
    assert not any(table.holds(number) for number in range(len(table)))
    assert table.evictions > 0


def test_two_automata_of_one_table(info: mw.TokenizerInfo) -> None:
    """A new generation of the compiler's automata hands out rows of the same table."""
    compiler = mw.GrammarCompiler(info)
    first = mw.GrammarMatcher(compiler.compile_regex("a+"))
    row = first.mask_row()
    compiler.clear_cache()
    second = mw.GrammarMatcher(compiler.compile_regex("a+"))
    assert second.compiled.automaton is not first.compiled.automaton
    assert second.mask_row() == row
    assert compiler.mask_table.holds(row) == 2
    assert isinstance(compiler._cache.rows, RowCache)
    assert int(kernels.take_row(compiler.mask_table.address)) == -1
