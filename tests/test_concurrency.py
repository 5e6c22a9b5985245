"""Many matchers of one grammar in many threads, compiles beside them: the masks are those of a single thread."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import strategies

import maskwright as mw

THREADS = 8
SEED = 11

ORDER = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[A-F]{2}[0-9]{3}$"},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 1, "maxItems": 4},
        "paid": {"type": "boolean"},
        "note": {"anyOf": [{"type": "string", "maxLength": 40}, {"type": "null"}]},
    },
    "required": ["id", "items"],
    "additionalProperties": {"type": "number", "minimum": -5, "maximum": 99.5},
    "$defs": {
        "item": {
            "type": "object",
            "properties": {
                "name": {"enum": ["pen", "pencil", "paper", "étui"]},
                "count": {"type": "integer", "minimum": 1, "maximum": 250},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/item"}},
            },
            "required": ["name"],
            "additionalProperties": False,
        }
    },
}
TEXTS = (
    '{"id": "AB123", "items": [{"name": "pen", "count": 12}]}',
    '{"id":"FF000","items":[{"name":"pencil"},{"name":"étui","parts":[{"name":"paper","count":250}]}],"paid":true}',
    '{"id": "CC999", "items": [{"name": "paper"}], "note": null, "weight": 12.25, "x": -0.5}',
    '{"id": "CC999", "items": [{"name": "paper"}], "note": "a \\"b\\" 😀 é", "y": 99.5}',
    '{"id": "AB123", "items": [{"name": "pen", "parts": [{"name": "pen", "parts": [{"name": "pen", "parts": []}]}]}]}',
)

Walk = Callable[[mw.CompiledGrammar, int], list[bytes]]


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def vocabulary() -> strategies.Vocabulary:
    words = [b'"name": "', b'"count": ', b'"items": [', b"pen", b"paper", b'"id": "', b"AB1", b'"note": ', b"}]}"]
    return strategies.vocabulary(random.Random(SEED), words, every_byte=True, longer=700)


@pytest.fixture(scope="module")
def info(vocabulary: strategies.Vocabulary) -> mw.TokenizerInfo:
    return mw.TokenizerInfo(
        vocabulary.tokens,
        eos_token_ids=vocabulary.eos,
        special_token_ids=vocabulary.special,
        vocab_size=vocabulary.size,
    )


@pytest.fixture(scope="module")
def walk(vocabulary: strategies.Vocabulary) -> Walk:
    """Follows text number n split in its own way; every mask on the way, some of them after going back."""
    words = -(-vocabulary.size // 32)
    by_first: dict[int, list[tuple[int, bytes]]] = {}
    for token_id, token in vocabulary.ordinary.items():
        by_first.setdefault(token[0], []).append((token_id, token))

    def walk(grammar: mw.CompiledGrammar, number: int) -> list[bytes]:
        rng, matcher = random.Random(number), mw.GrammarMatcher(grammar)
        rest = TEXTS[number % len(TEXTS)].encode()
        bitmask, masks = np.zeros((1, words), np.int32), []
        while rest:
            matcher.fill_next_token_bitmask(bitmask)
            masks.append(bitmask.tobytes())
            token_id, token = rng.choice([pair for pair in by_first[rest[0]] if rest.startswith(pair[1])])
            assert matcher.accept_token(token_id)
            if rng.random() < 0.1:
                twin = matcher.fork()
                matcher.rollback()
                assert matcher.accept_token(token_id)
                matcher = twin if rng.random() < 0.5 else matcher
            rest = rest[len(token) :]
        assert matcher.is_completed()
        matcher.fill_next_token_bitmask(bitmask)
        return [*masks, bitmask.tobytes()]

    return walk


def in_threads(work: Callable[[int], object], count: int = THREADS) -> list[object]:
    """work(0), ..., work(count - 1), each in a thread of its own, begun together."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> object:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


@pytest.mark.parametrize("attempt", range(3))
def test_matchers_of_one_grammar(info: mw.TokenizerInfo, walk: Walk, attempt: int) -> None:
    """Threads meet a grammar of which nothing is lowered yet."""
    numbers = range(20 * attempt, 20 * attempt + 20)
    alone = mw.GrammarCompiler(info).compile_json_schema(ORDER)
    expected = {number: walk(alone, number) for number in numbers}
    shared = mw.GrammarCompiler(info).compile_json_schema(ORDER)

    def work(thread: int) -> None:
        order = list(numbers)
        random.Random(thread).shuffle(order)
        for number in order:
            assert walk(shared, number) == expected[number]

    in_threads(work)
    shared.validate()


def variant(number: int) -> dict[str, object]:
    """Schemas that share much with ORDER, all different."""
    properties = {**ORDER["properties"], f"extra{number}": {"type": "string", "maxLength": number}}  # type: ignore[dict-item]
    return {**ORDER, "properties": properties}


@pytest.mark.parametrize("cache_enabled", [True, False])
def test_compiles_beside_matchers(info: mw.TokenizerInfo, walk: Walk, cache_enabled: bool) -> None:
    """Half of the threads walk one grammar; the others compile, and walk what they have compiled."""
    expected = {}
    for number in range(12):
        grammar = mw.GrammarCompiler(info, cache_enabled=False).compile_json_schema(variant(number % 4))
        expected[number] = walk(grammar, number)
    # Small enough that compilers throw grammars and whole automata away meanwhile.
    compiler = mw.GrammarCompiler(info, cache_enabled, max_cache_bytes=1 << 20)
    shared = compiler.compile_json_schema(variant(0))

    def work(thread: int) -> None:
        for number in random.Random(thread).sample(range(12), 12):
            if thread % 2:
                assert walk(compiler.compile_json_schema(variant(number % 4)), number) == expected[number]
            elif number % 4 == 0:
                assert walk(shared, number) == expected[number]
                compiler.compile_regex(f"[a-z]{{{number},{number + thread}}}")

    in_threads(work)


def test_errors_in_threads(info: mw.TokenizerInfo, walk: Walk) -> None:
    """Misuse in one thread disturbs no other."""
    compiler = mw.GrammarCompiler(info)
    shared = compiler.compile_json_schema(ORDER)
    expected = walk(mw.GrammarCompiler(info).compile_json_schema(ORDER), 0)

    def work(thread: int) -> None:
        for _ in range(10):
            if thread % 2:
                assert walk(shared, 0) == expected
                continue
            matcher = mw.GrammarMatcher(shared)
            with pytest.raises(mw.MatcherError):
                matcher.accept_token(info.vocab_size)
            with pytest.raises(mw.MatcherError):
                matcher.rollback(1)
            with pytest.raises(mw.UnsatisfiableError):
                compiler.compile_json_schema({"type": "integer", "minimum": 1, "maximum": 0})

    in_threads(work)


def test_grammars_outlive_their_compiler(info: mw.TokenizerInfo, walk: Walk) -> None:
    """Matchers hold what they need: grammars, compilers and forks go away in other threads' hands."""
    expected = walk(mw.GrammarCompiler(info).compile_json_schema(ORDER), 3)

    def work(thread: int) -> None:
        for _ in range(5):
            matcher = mw.GrammarMatcher(mw.GrammarCompiler(info).compile_json_schema(ORDER))
            twin = matcher.fork()
            del matcher
            assert twin.accept_string(TEXTS[thread % len(TEXTS)])
            grammar = mw.GrammarCompiler(info).compile_json_schema(ORDER)
            assert walk(grammar, 3) == expected

    in_threads(work)
