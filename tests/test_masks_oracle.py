"""Masks are exact: a token is allowed just when some completion passes through it, by the slow oracle's word."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from naive import Oracle
from naive_texts import Policy
from strategies import Vocabulary

import maskwright as mw

CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
STEPS = 14
POLICIES = (
    Policy("compact"),
    Policy("compact"),
    Policy("single"),
    Policy("flexible", 1),
    Policy("flexible", 32),
    Policy(separators=(", ", ": ")),
)
SPELLINGS = (
    Policy(indent=0),
    Policy(indent=2),
    Policy(indent=1, separators=(", ", ":")),
    Policy("compact", ensure_ascii=True),
    Policy("compact", escapes="any"),
    Policy("compact", escapes="any", ensure_ascii=True),
)


def compile_schema(schema: Any, vocabulary: Vocabulary, policy: Policy) -> mw.CompiledGrammar:
    info = mw.TokenizerInfo(
        vocabulary.tokens,
        eos_token_ids=vocabulary.eos,
        special_token_ids=vocabulary.special,
        vocab_size=vocabulary.size,
    )
    return mw.GrammarCompiler(info, cache_enabled=False).compile_json_schema(schema, **policy.options)


def mask_of(matcher: mw.GrammarMatcher, size: int) -> set[int]:
    """The ids that the matcher allows next. Bits beyond the vocabulary must be 0."""
    bitmask = np.full((2, -(-size // 32)), -1, np.int32)
    matcher.fill_next_token_bitmask(bitmask, 1)
    assert (bitmask[0] == -1).all(), "another row was written"
    bits = np.unpackbits(bitmask[1].astype("<i4").view(np.uint8), bitorder="little")
    assert not bits[size:].any(), "a bit beyond the vocabulary is set"
    return set(np.flatnonzero(bits).tolist())


def expected_mask(oracle: Oracle, vocabulary: Vocabulary, text: bytes) -> set[int]:
    allowed = oracle.allowed(text, vocabulary.ordinary.values())
    found = {n for n, token in vocabulary.ordinary.items() if token in allowed}
    return found | set(vocabulary.eos) if oracle.member(text) else found


def check_masks(schema: Any, vocabulary: Vocabulary, policy: Policy, rng: random.Random) -> None:
    """Walks at random, at most STEPS tokens, and compares the whole mask at each step."""
    oracle = Oracle(schema, policy)
    try:
        matcher = mw.GrammarMatcher(compile_schema(schema, vocabulary, policy))
    except mw.UnsatisfiableError:
        assert not oracle.viable(b""), "a schema that has values was refused"
        return
    assert oracle.viable(b""), "a schema without values was taken"
    text = b""
    for step in range(STEPS):
        found, expected = mask_of(matcher, vocabulary.size), expected_mask(oracle, vocabulary, text)
        if found != expected:
            raise AssertionError(difference(schema, policy, vocabulary, text, found, expected))
        assert expected, f"dead end after {text!r}"
        assert matcher.is_completed() == oracle.member(text)
        assert not matcher.is_terminated()
        token = choose(sorted(expected), vocabulary, rng)
        refused = rng.randrange(vocabulary.size)
        if refused not in expected:
            assert not matcher.accept_token(refused), f"{refused} was accepted after {text!r} against the mask"
        assert matcher.accept_token(token), f"{token} was refused after {text!r} against the mask"
        if token in vocabulary.eos:
            assert matcher.is_terminated()
            judge(schema, text)
            return
        text += vocabulary.tokens[token]
        if step % 4 == 3:
            forked = matcher.fork()
            forked.rollback(2)
            matcher = matcher.fork() if rng.random() < 0.5 else matcher


def choose(allowed: list[int], vocabulary: Vocabulary, rng: random.Random) -> int:
    """One of the tokens: often one that carries structure, so that walks get somewhere."""
    structure = [n for n in allowed if n in vocabulary.eos or any(byte in b'"{}[]:,' for byte in vocabulary.tokens[n])]
    return rng.choice(structure if structure and rng.random() < 0.6 else allowed)


def judge(schema: Any, text: bytes) -> None:
    """A finished text is valid, by another implementation's word."""
    repeated = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        repeated.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    value = json.loads(text, object_pairs_hook=members, parse_float=number)
    exact = json.loads(json.dumps(schema), parse_float=number)
    with localcontext(prec=400):
        assert any(repeated) or Draft202012Validator(exact).is_valid(value), f"{text!r} is not valid"


def number(text: str) -> int | Decimal:
    """Exactly: jsonschema divides floats inexactly (3.3 is no multiple of 0.1 to it)."""
    exact = Decimal(text)
    return int(exact) if exact == exact.to_integral_value() else exact


def difference(
    schema: Any, policy: Policy, vocabulary: Vocabulary, text: bytes, found: set[int], expected: set[int]
) -> str:
    def show(ids: set[int]) -> str:
        return ", ".join(
            "EOS"
            if n in vocabulary.eos
            else "(special)"
            if n not in vocabulary.ordinary
            else repr(vocabulary.tokens[n])
            for n in sorted(ids, key=lambda n: len(vocabulary.tokens[n]) if n < len(vocabulary.tokens) else 0)
        )

    return (
        f"schema {json.dumps(schema, ensure_ascii=False)}\npolicy {policy}\nafter {text!r}\n"
        f"allowed wrongly: {show(found - expected)}\nforbidden wrongly: {show(expected - found)}"
    )


@st.composite
def cases(
    draw: Any, depth: int, every_byte: bool, policies: tuple[Policy, ...] = POLICIES
) -> tuple[Any, Vocabulary, Policy, random.Random]:
    schema = draw(strategies.schemas(depth))
    vocabulary = draw(strategies.vocabularies(schema, every_byte))
    return schema, vocabulary, draw(st.sampled_from(policies)), random.Random(draw(st.integers(0, 2**32 - 1)))


@settings(max_examples=700, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(cases(depth=1, every_byte=False))
def test_masks_of_small_schemas(case: tuple[Any, Vocabulary, Policy, random.Random]) -> None:
    check_masks(*case)


@settings(max_examples=1300, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(cases(depth=2, every_byte=False))
def test_masks_of_nested_schemas(case: tuple[Any, Vocabulary, Policy, random.Random]) -> None:
    check_masks(*case)


@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(cases(depth=2, every_byte=True))
def test_masks_over_every_byte(case: tuple[Any, Vocabulary, Policy, random.Random]) -> None:
    check_masks(*case)


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(cases(depth=2, every_byte=True, policies=SPELLINGS))
def test_masks_of_other_spellings(case: tuple[Any, Vocabulary, Policy, random.Random]) -> None:
    check_masks(*case)


def test_masks_of_negations_and_counts() -> None:
    """Those whose boolean structure the oracle can multiply out."""
    judged = sum(check_logic(number) for number in range(60))
    assert judged > 50


def check_logic(number: int) -> bool:
    """Checks one random schema with negations, in either order of members; whether the oracle could."""
    rng = random.Random(f"logic {number}")
    schema = strategies.build_logic_schema(strategies.Rolled(rng), 1 + number % 2)
    vocabulary = strategies.vocabulary(rng, strategies.texts_of(schema), longer=12)
    policy = rng.choice(POLICIES[:3])
    try:
        check_masks(schema, vocabulary, policy, rng)
    except NotImplementedError:
        return False
    except Exception as error:
        raise AssertionError(f"case {number}: {json.dumps(schema, ensure_ascii=False)}") from error
    return True


def test_masks_of_unique_items() -> None:
    """Those that the oracle can judge and the engine does not refuse."""
    judged = sum(check_unique(number) for number in range(80))
    assert judged > 60


def check_unique(number: int) -> bool:
    """Checks one random schema with `uniqueItems`; whether it could be."""
    rng = random.Random(f"unique {number}")
    schema = strategies.build_unique_schema(strategies.Rolled(rng), number % 3)
    vocabulary = strategies.vocabulary(rng, strategies.texts_of(schema), longer=20)
    policy = rng.choice((*POLICIES[:4], SPELLINGS[4], SPELLINGS[0]))
    try:
        check_masks(schema, vocabulary, policy, rng)
    except (NotImplementedError, mw.UnsupportedError):
        return False
    except Exception as error:
        raise AssertionError(f"case {number}: {json.dumps(schema, ensure_ascii=False)}") from error
    return True


@pytest.mark.long
@pytest.mark.parametrize("check", [check_unique, check_logic])
def test_masks_of_many_cases(check: Callable[[int], bool]) -> None:
    """As `test_masks_of_many_schemas`."""
    count = int(os.environ.get("MASKWRIGHT_LONG_CASES", "100000"))
    first = int(os.environ.get("MASKWRIGHT_LONG_SEED", "0"))
    judged, started = 0, time.monotonic()
    for done, number in enumerate(range(first, first + count), 1):
        judged += check(number)
        if done % 100 == 0:
            print(f"{done:,} of {count:,} cases, {judged:,} judged, {time.monotonic() - started:.0f} s", flush=True)


@pytest.mark.long
def test_masks_of_many_schemas() -> None:
    """MASKWRIGHT_LONG_CASES cases (100,000), number MASKWRIGHT_LONG_SEED (0) and up; says how far it is."""
    count = int(os.environ.get("MASKWRIGHT_LONG_CASES", "100000"))
    first = int(os.environ.get("MASKWRIGHT_LONG_SEED", "0"))
    started = time.monotonic()
    for done, number in enumerate(range(first, first + count), 1):
        rng = random.Random(number)
        schema = strategies.build_schema(strategies.Rolled(rng), 1 + number % 3)
        vocabulary = strategies.vocabulary(rng, strategies.texts_of(schema))
        try:
            check_masks(schema, vocabulary, rng.choice(POLICIES), rng)
        except Exception as error:
            raise AssertionError(f"case {number}: {json.dumps(schema, ensure_ascii=False)}") from error
        if done % 1000 == 0:
            print(f"{done:,} of {count:,} cases, {time.monotonic() - started:.0f} s", flush=True)
