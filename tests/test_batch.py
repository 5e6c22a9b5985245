"""BatchGrammarMatcher: what it does to many matchers is what each would do by itself, in whatever threads."""

from __future__ import annotations

import json
import os
import random
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies_grammar import grammars

import maskwright as mw
from maskwright.compile.grammar import Limits
from maskwright.compile.mask_rows import MaskRows
from maskwright.grammars.rules import Rules
from maskwright.kernels import batches as kernels

SEED = 17
THREADS = (1, 2, 4)

SCHEMAS: dict[str, Any] = {
    "text": {"type": "string", "maxLength": 30},
    "letters": {"type": "string", "pattern": "^[a-zA-M]*$"},
    "keys": {"type": "object", "properties": {"name": {"type": "string"}, "number": {"type": "integer"}}},
    "digits": {"type": "array", "items": {"type": "number"}},
    "unique": {"type": "array", "items": {"enum": ["a", "ab", "b", "abc"]}, "uniqueItems": True},
    "words": {"enum": ["good", "bad", "goods", "worse"]},
}
BEGINNINGS = {
    "text": ['"', '"ab', '"éa', "", '"' + "a" * 29],
    "letters": ['"', '"a', '"abc'],
    "keys": ['{"', '{"na', '{"name":"', '{"other":', '{"name":"x","number":1'],
    "digits": ["[", "[1", "[1.5,", "[-"],
    "unique": ["[", '["a",', '["a", "ab', '["a","ab","abc",'],
    "words": ['"', '"go', '"good', '"bad"'],
}


@pytest.fixture(scope="module", autouse=True)
def processors() -> Iterator[None]:
    """As many threads as asked for, on a machine of one processor too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda process: set(range(max(THREADS))), raising=False)
        yield


@pytest.fixture(scope="module")
def info() -> mw.TokenizerInfo:
    """Tokens enough for rows and tries of remainders to be worth computing."""
    vocabulary = strategies.vocabulary(
        random.Random(SEED), [b"good", b"name", b"ab\xc3\xa9"], every_byte=True, longer=8000
    )
    return mw.TokenizerInfo(
        vocabulary.tokens,
        eos_token_ids=vocabulary.eos,
        special_token_ids=vocabulary.special,
        vocab_size=vocabulary.size,
    )


@pytest.fixture(scope="module")
def batches() -> Iterator[dict[int, mw.BatchGrammarMatcher]]:
    found = {threads: mw.BatchGrammarMatcher(threads) for threads in THREADS}
    yield found
    for batch in found.values():
        batch.close()


Compile = Callable[[mw.GrammarCompiler], list[mw.CompiledGrammar]]


def schemas_compiled(compiler: mw.GrammarCompiler) -> list[mw.CompiledGrammar]:
    return [compiler.compile_json_schema(schema) for schema in SCHEMAS.values()]


def matchers_of(compiled: Sequence[mw.CompiledGrammar]) -> list[mw.GrammarMatcher]:
    """A matcher at each of the BEGINNINGS; `compiled` are the SCHEMAS."""
    found = []
    for grammar, beginnings in zip(compiled, BEGINNINGS.values(), strict=True):
        for text in beginnings:
            found.append(mw.GrammarMatcher(grammar))
            assert found[-1].accept_string(text), text
    return found


def masks_alone(matchers: Sequence[mw.GrammarMatcher], info: mw.TokenizerInfo) -> np.ndarray[Any, Any]:
    """int32 [B, W], filled row by row."""
    bitmask = np.zeros((len(matchers), -(-info.vocab_size // 32)), np.int32)
    for row, matcher in enumerate(matchers):
        matcher.fill_next_token_bitmask(bitmask, row)
    return bitmask


def mask_of(matcher: mw.GrammarMatcher) -> np.ndarray[Any, Any]:
    """int32 [W]"""
    bitmask = np.zeros((1, matcher.compiled.tokens.words), np.int32)
    matcher.fill_next_token_bitmask(bitmask)
    return bitmask[0]


def masks_of(
    batch: mw.BatchGrammarMatcher, matchers: Sequence[mw.GrammarMatcher], info: mw.TokenizerInfo
) -> np.ndarray[Any, Any]:
    bitmask = np.zeros((len(matchers), -(-info.vocab_size // 32)), np.int32)
    batch.batch_fill_next_token_bitmask(matchers, bitmask)
    return bitmask


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    schemas=st.lists(strategies.schemas(), min_size=1, max_size=4),
    rules=st.lists(grammars(), max_size=3),
    seed=st.integers(0, 2**32),
)
def test_random_schemas_and_grammars(
    schemas: list[Any],
    rules: list[Rules],
    seed: int,
    info: mw.TokenizerInfo,
    batches: dict[int, mw.BatchGrammarMatcher],
) -> None:
    """Matchers of several grammars and of two compilers follow texts of their own, a token a step in one call each."""
    compilers = [mw.GrammarCompiler(info, cache_enabled=False) for _ in range(2)]
    compiled = list[mw.CompiledGrammar]()
    for number, source in enumerate([*schemas, *rules]):
        compiler = compilers[number % 2]
        try:
            if isinstance(source, Rules):
                compiled.append(compiler.compile_grammar(mw.Grammar(source)))
            else:
                compiled.append(compiler.compile_json_schema(source))
        except mw.GrammarError:
            continue
    if not compiled:
        return
    rng = random.Random(seed)
    alone = [mw.GrammarMatcher(rng.choice(compiled)) for _ in range(rng.randrange(1, 24))]
    together = [matcher.fork() for matcher in alone]
    for _ in range(6):
        expected = masks_alone(alone, info)
        batch = batches[rng.choice(THREADS)]
        assert (masks_of(batch, together, info) == expected).all()
        going = [number for number, matcher in enumerate(alone) if not matcher.is_terminated()]
        allowed = [alone[number].allowed_token_ids() for number in going]
        tokens = [int(rng.choice(ids)) if len(ids) and rng.random() < 0.9 else rng.randrange(256) for ids in allowed]
        taken = batch.batch_accept_token([together[number] for number in going], tokens)
        assert taken == [alone[number].accept_token(token) for number, token in zip(going, tokens, strict=True)]
        together, alone = together[::-1], alone[::-1]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("copies", [1, 6])
def test_any_number_of_threads_gives_the_same_bits(info: mw.TokenizerInfo, threads: int, copies: int) -> None:
    """Nothing is lowered yet, and no row is there."""
    expected = masks_alone(matchers_of(schemas_compiled(mw.GrammarCompiler(info))), info)
    compiled = schemas_compiled(mw.GrammarCompiler(info))
    matchers = [matcher for _ in range(copies) for matcher in matchers_of(compiled)]
    with mw.BatchGrammarMatcher(threads) as batch:
        for _ in range(2):  # cold, then warm
            assert (masks_of(batch, matchers, info) == np.tile(expected, (copies, 1))).all()
    compiled[0].validate()


def helpers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("maskwright-batch")}


def test_cold_masks_are_shared_out(info: mw.TokenizerInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads fill masks and compute rows, none of them twice; warm masks stay in the caller's."""
    rows, filling, before = list[int](), set[threading.Thread](), helpers()
    compute, fill_cold = MaskRows.compute, kernels.fill_cold
    barrier = threading.Barrier(2, timeout=60)

    def computed(self: MaskRows, key: int) -> Any:
        rows.append(key)
        return compute(self, key)

    def filled(address: int) -> None:
        if barrier.n_waiting or len(filling) < 2:
            filling.add(threading.current_thread())
            barrier.wait()  # so that neither finds everything done
        fill_cold(address)

    compiled = schemas_compiled(mw.GrammarCompiler(info))
    matchers = [matcher for _ in range(3) for matcher in matchers_of(compiled)]
    masks_alone(matchers, info)  # every state is lowered
    fresh = schemas_compiled(mw.GrammarCompiler(info))
    with mw.BatchGrammarMatcher(2) as batch:
        monkeypatch.setattr(kernels, "fill_cold", filled)
        monkeypatch.setattr(MaskRows, "compute", computed)
        colds = [matcher for _ in range(3) for matcher in matchers_of(fresh)]
        expected = masks_alone(matchers, info)
        assert (masks_of(batch, colds, info) == expected).all()
        assert len(filling) == 2 and filling & helpers()
        assert len(rows) >= 2 and len(set(rows)) == len(rows)
        monkeypatch.setattr(kernels, "fill_cold", None)  # nothing is left for it
        assert (masks_of(batch, colds, info) == expected).all()
    assert helpers() == before


def test_rows_of_a_larger_bitmask(info: mw.TokenizerInfo, batches: dict[int, mw.BatchGrammarMatcher]) -> None:
    matchers = matchers_of(schemas_compiled(mw.GrammarCompiler(info)))[:3]
    expected = masks_alone(matchers, info)
    bitmask = np.full((5, expected.shape[1]), 7, np.int32)
    batches[2].batch_fill_next_token_bitmask(matchers, bitmask, [4, 0, 2])
    assert (bitmask[[4, 0, 2]] == expected).all() and (bitmask[[1, 3]] == 7).all()
    batches[2].batch_fill_next_token_bitmask(matchers[:1], bitmask[3])
    assert (bitmask[3] == expected[0]).all()
    batches[2].batch_fill_next_token_bitmask([], bitmask)


def test_torch_tensors(info: mw.TokenizerInfo, batches: dict[int, mw.BatchGrammarMatcher]) -> None:
    pytest.importorskip("torch")
    matchers = matchers_of(schemas_compiled(mw.GrammarCompiler(info)))
    bitmask = mw.allocate_token_bitmask(len(matchers), info.vocab_size, backend="torch")
    batches[2].batch_fill_next_token_bitmask(matchers, bitmask)
    assert (bitmask.numpy() == masks_alone(matchers, info)).all()


def test_while_another_thread_compiles(info: mw.TokenizerInfo, batches: dict[int, mw.BatchGrammarMatcher]) -> None:
    """The lock of the automaton is taken for as long as the call lasts: it does not wait where nothing has to be lowered."""
    compiled = schemas_compiled(mw.GrammarCompiler(info))
    matchers = [matcher for matcher in matchers_of(compiled) if matcher.compiled.distinct is None]
    expected = masks_alone(matchers, info)
    held, done = threading.Event(), threading.Event()

    def compile_for_long() -> None:
        with compiled[0].automaton.lock:
            held.set()
            done.wait(60)

    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(compile_for_long)
        held.wait()
        assert (masks_of(batches[4], matchers, info) == expected).all()
        assert not waiting.done()
        done.set()


def test_several_batches_beside_compiles(info: mw.TokenizerInfo) -> None:
    expected = masks_alone(matchers_of(schemas_compiled(mw.GrammarCompiler(info))), info)
    compiler = mw.GrammarCompiler(info, cache_enabled=False)
    compiled = schemas_compiled(compiler)
    batch = mw.BatchGrammarMatcher(2)

    def work(thread: int) -> None:
        for attempt in range(6):
            if thread == 3:
                compiler.compile_regex(f"[a-z]{{{attempt + 1}}}x|{'é' * attempt}")
                continue
            grammars = compiled if attempt % 2 else schemas_compiled(compiler)
            assert (masks_of(batch, matchers_of(grammars), info) == expected).all()

    with ThreadPoolExecutor(4) as pool, batch:
        list(pool.map(work, range(4)))
    compiled[0].validate()


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def test_wrong_arguments_write_nothing(info: mw.TokenizerInfo, batches: dict[int, mw.BatchGrammarMatcher]) -> None:
    batch = batches[2]
    matchers = matchers_of(schemas_compiled(mw.GrammarCompiler(info)))[:3]
    words = -(-info.vocab_size // 32)
    bitmask = np.full((3, words), 7, np.int32)
    other = mw.GrammarMatcher(mw.GrammarCompiler(mw.TokenizerInfo([b"a", b""], eos_token_ids=[1])).compile_regex("a*"))
    wrong: list[tuple[Sequence[Any], Any, Any, str]] = [
        (matchers, np.zeros((3, words), np.int64), None, "the bitmask must be int32"),
        (matchers, np.zeros((3, words + 1), np.int32), None, f"rows of {words} words"),
        (matchers, [[0] * words] * 3, None, "the bitmask must be int32"),
        (matchers, bitmask[:2], None, "row 2 is not one of the bitmask's 2"),
        (matchers, bitmask, [0, 1, 3], "row 3 is not one of the bitmask's 3"),
        (matchers, bitmask, [-1, 0, 1], "row -1 is not"),
        (matchers, bitmask, [0, 1, 1], "indices must differ"),
        (matchers, bitmask, [0, 1], "there are 3 matchers and 2 indices"),
        ([*matchers[:2], matchers[0]], bitmask, None, r"matcher 2 is in the batch twice: fork\(\)"),
        ([matchers[0], matchers[1].compiled], bitmask, None, "matcher 1 is of the type CompiledGrammar"),
        ([matchers[0], other], bitmask, None, "vocabularies of different sizes"),
    ]
    for those, target, indices, message in wrong:
        with pytest.raises(mw.MatcherError, match=message):
            batch.batch_fill_next_token_bitmask(those, target, indices)
    assert (bitmask == 7).all()


@pytest.mark.parametrize("threads", [0, -1, 1.5, "all", None])
def test_a_wrong_number_of_threads(threads: Any) -> None:
    with pytest.raises(mw.MatcherError, match="pass a number of threads"):
        mw.BatchGrammarMatcher(threads)


def test_no_more_threads_than_processors() -> None:
    assert mw.BatchGrammarMatcher(1000).max_threads == mw.BatchGrammarMatcher().max_threads == max(THREADS)


def test_a_closed_batch_is_refused(info: mw.TokenizerInfo) -> None:
    matchers = matchers_of(schemas_compiled(mw.GrammarCompiler(info)))
    with mw.BatchGrammarMatcher(2) as batch:
        masks_of(batch, matchers, info)
    with pytest.raises(mw.MatcherError, match="closed"):
        masks_of(batch, matchers, info)


@pytest.mark.parametrize("threads", THREADS)
def test_a_mask_that_cannot_be_computed_is_one_matchers_failure(info: mw.TokenizerInfo, threads: int) -> None:
    expected = masks_alone(matchers_of(schemas_compiled(mw.GrammarCompiler(info))), info)
    # Two compilers: one grammar's limits must not meet what the other has lowered already.
    compiled, limited = schemas_compiled(mw.GrammarCompiler(info)), schemas_compiled(mw.GrammarCompiler(info))
    matchers = matchers_of(compiled)
    failing = {3: limited[0], 9: limited[2]}
    for number, grammar in failing.items():
        text = next(text for text in BEGINNINGS["text" if number == 3 else "keys"])
        matchers[number] = mw.GrammarMatcher(grammar)
        assert matchers[number].accept_string(text)
        grammar.limits = Limits(max_lowering_ms=0.0)
    bitmask = np.zeros((len(matchers), expected.shape[1]), np.int32)
    with mw.BatchGrammarMatcher(threads) as batch:
        with pytest.raises(mw.BatchError, match=r"matcher \d of the batch \(2 of .*max_lowering_ms") as caught:
            batch.batch_fill_next_token_bitmask(matchers, bitmask)
        assert set(caught.value.failures) == set(failing)
        assert all(isinstance(error, mw.LimitExceeded) for error in caught.value.failures.values())
        others = [number for number in range(len(matchers)) if number not in failing]
        assert (bitmask[others] == expected[others]).all()
        for grammar in failing.values():
            grammar.limits = Limits()
        assert (masks_of(batch, matchers, info)[[3, 9]] == expected[[0, 8]]).all()


# ---------------------------------------------------------------------------------------------------------------------
# Moving


def test_a_refused_token_leaves_its_matcher(info: mw.TokenizerInfo) -> None:
    compiled = schemas_compiled(mw.GrammarCompiler(info))
    matchers = matchers_of(compiled)
    before = [matcher.allowed_token_ids().tolist() for matcher in matchers]
    tokens = [
        int(ids[0]) if number % 2 else next(token for token in range(info.vocab_size) if token not in ids)
        for number, ids in enumerate(before)
    ]
    steps = [matcher.step_count for matcher in matchers]
    taken = mw.BatchGrammarMatcher.batch_accept_token(matchers, tokens)
    assert taken == [number % 2 == 1 for number in range(len(matchers))]
    assert [matcher.step_count for matcher in matchers] == [step + ok for step, ok in zip(steps, taken, strict=True)]
    moved = [matcher for matcher, ok in zip(matchers, taken, strict=True) if ok]
    mw.BatchGrammarMatcher.batch_rollback(moved)
    assert [matcher.allowed_token_ids().tolist() for matcher in matchers] == before


def test_texts_and_steps_back(info: mw.TokenizerInfo) -> None:
    matchers = [mw.GrammarMatcher(grammar) for grammar in schemas_compiled(mw.GrammarCompiler(info))]
    texts = ['"ab"', b'"abX"', '{"name":', "", '["a","a"]', '"good"']
    assert mw.BatchGrammarMatcher.batch_accept_string(matchers, texts) == [True, False, True, True, False, True]
    assert [matcher.step_count for matcher in matchers] == [1, 0, 1, 0, 0, 1]
    with pytest.raises(mw.MatcherError, match="matcher 1: cannot roll back 1 steps: 0 were accepted"):
        mw.BatchGrammarMatcher.batch_rollback(matchers)
    mw.BatchGrammarMatcher.batch_rollback(matchers, [1, 0, 1, 0, 0, 1])
    assert [matcher.step_count for matcher in matchers] == [0] * len(matchers)


def test_wrong_tokens_move_nothing(info: mw.TokenizerInfo) -> None:
    matchers = matchers_of(schemas_compiled(mw.GrammarCompiler(info)))[-4:]
    ended = next(matcher for matcher in matchers if matcher.is_completed())
    tokens = [int(matcher.allowed_token_ids()[0]) for matcher in matchers]
    steps = [matcher.step_count for matcher in matchers]
    wrong: list[tuple[Sequence[Any], Sequence[int], str]] = [
        (matchers, [*tokens[:3], info.vocab_size], "matcher 3: token id .* is not in the vocabulary"),
        (matchers, [-1, *tokens[1:]], "matcher 0: token id -1"),
        (matchers, tokens[:3], "there are 4 matchers and 3 tokens"),
        ([matchers[0], matchers[0]], tokens[:2], "matcher 1 is in the batch twice"),
    ]
    for those, ids, message in wrong:
        with pytest.raises(mw.MatcherError, match=message):
            mw.BatchGrammarMatcher.batch_accept_token(those, ids)
    assert [matcher.step_count for matcher in matchers] == steps
    assert ended.accept_token(min(info.eos_token_ids))
    for move in (
        lambda: mw.BatchGrammarMatcher.batch_accept_token(matchers, tokens),
        lambda: mw.BatchGrammarMatcher.batch_accept_string(matchers, ["x"] * 4),
    ):
        with pytest.raises(mw.MatcherError, match=f"matcher {matchers.index(ended)}: the text has ended"):
            move()
    assert [matcher.step_count for matcher in matchers if matcher is not ended] == steps[:3]


def test_when_a_matcher_fails_none_has_moved(info: mw.TokenizerInfo) -> None:
    compiled = schemas_compiled(mw.GrammarCompiler(info))
    matchers = [mw.GrammarMatcher(compiled[0]), mw.GrammarMatcher(compiled[1])]
    late = mw.GrammarMatcher(mw.GrammarCompiler(info).compile_json_schema({"const": {"a": [1]}}))
    late.compiled.limits = Limits(max_lowering_ms=0.0)
    batch = [matchers[0], late, matchers[1]]
    with pytest.raises(mw.BatchError, match="matcher 1 of the batch: ") as caught:
        mw.BatchGrammarMatcher.batch_accept_string(batch, ['"a', '{"a": [1', '"b'])
    assert list(caught.value.failures) == [1]
    assert [matcher.step_count for matcher in batch] == [0, 0, 0]
    late.compiled.limits = Limits()
    assert mw.BatchGrammarMatcher.batch_accept_string(batch, ['"a', '{"a": [1', '"b']) == [True] * 3


def test_the_page_of_servers(info: mw.TokenizerInfo, root: Path) -> None:
    """docs/servers.md: the snippets of an engine of one's own run, and accept what they say."""
    page = (root / "docs" / "servers.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", page[page.index("## Many sequences in one call") :], re.DOTALL)
    compiler = mw.GrammarCompiler(info)
    letter, other = (info.tokens.index(text) for text in (b"a", b"b"))
    names: dict[str, Any] = {
        "maskwright": mw,
        "compiler": compiler,
        "compiled": compiler.compile_regex("a+"),
        "info": info,
        "token_ids": [letter, letter, other],
        "version": 0,
        "copy": np.zeros((3, -(-info.vocab_size // 32)), np.int32),
    }
    exec("\n".join(snippets), names)
    assert names["accepted"] == [True, True, False]
    for matcher, number in zip(names["matchers"], names["numbers"], strict=True):
        assert mask_of(matcher).tobytes() == names["copy"][number].tobytes()


# ---------------------------------------------------------------------------------------------------------------------
# Real schemas


def test_real_schemas(maskbench: list[dict[str, Any]], shared: Any) -> None:
    """Places in real documents over Llama 3's vocabulary: rows, patches, and states that nobody has lowered."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(shared / "data" / "tokenizers" / "llama3")
    info = mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    rng = random.Random(SEED)
    places = list[tuple[Any, bytes]]()
    for case in maskbench[:60]:
        valid = [json.dumps(test["data"], ensure_ascii=False).encode() for test in case["tests"] if test["valid"]]
        places += [(case["schema"], text[: rng.randrange(len(text) + 1)]) for text in valid[:2] for _ in range(3)]

    def matchers() -> list[mw.GrammarMatcher]:
        compiler, found = mw.GrammarCompiler(info), []
        for schema, text in places:
            try:
                matcher = mw.GrammarMatcher(compiler.compile_json_schema(schema))
            except mw.GrammarError:
                continue
            if matcher.accept_string(text):
                found.append(matcher)
        return found

    expected = masks_alone(matchers(), info)
    assert len(expected) > 150
    with mw.BatchGrammarMatcher(4) as batch:
        assert (masks_of(batch, matchers(), info) == expected).all()
