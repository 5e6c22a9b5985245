"""The oracle against two other methods: a list of all texts (values judged by jsonschema), and Python's `re`."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import pytest
import strategies
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from naive import Oracle
from naive_languages import NumberRange, Pattern, number_fits
from naive_texts import Policy, parse_prefix

CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

# ---------------------------------------------------------------------------------------------------------------------
# All texts of a schema with few values

Schema = Any
NUMBERS = [n if n != int(n) else int(n) for n in (Fraction(k, 10) for k in range(-25, 125))]
SCALARS: list[Any] = [
    None,
    True,
    False,
    *map(float, NUMBERS),
    *map("".join, itertools.chain(*(itertools.product("ab", repeat=n) for n in range(3)))),
]
MOST = 1500


class TooMany(Exception):
    """More values than the test wants to list."""


def judges(schemas: Iterable[Schema]) -> list[Draft202012Validator]:
    return [Draft202012Validator(schema) for schema in schemas]


def anywhere(schemas: Iterable[Schema]) -> Iterator[dict[str, Any]]:
    """The schemas and all that apply to the same value in some branch, own keywords first."""
    for schema in schemas:
        if isinstance(schema, dict):
            yield schema
            yield from anywhere(schema.get("allOf", ()))
            yield from anywhere(schema.get("anyOf", ()))


def values(schemas: list[Schema]) -> list[Any]:
    """Every small value that satisfies at least one of `schemas`, which must not be empty where anything may follow."""
    found: list[Any] = [*SCALARS]
    all_of_them = list(anywhere(schemas))
    for schema in all_of_them:
        found += [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    if any("array" in schema.get("type", "array") for schema in all_of_them):
        for length in range(3):
            children = []
            for index in range(length):
                prefixes = [s["prefixItems"][index] for s in all_of_them if index < len(s.get("prefixItems", ()))]
                rest = [s["items"] for s in all_of_them if "items" in s and index >= len(s.get("prefixItems", ()))]
                children.append(values(prefixes + rest) if prefixes + rest else [])
            found += product(children)
    if any("object" in schema.get("type", "object") for schema in all_of_them):
        keys = dict.fromkeys(k for s in all_of_them for k in s.get("properties", ()))
        keys |= dict.fromkeys("ab" if any("patternProperties" in s for s in all_of_them) else "")
        choices = []
        for key in keys:
            children = [s["properties"][key] for s in all_of_them if key in s.get("properties", ())]
            children += [c for s in all_of_them for p, c in s.get("patternProperties", {}).items() if re.search(p, key)]
            choices.append([[], *([(key, value)] for value in values(children))])
        found += [dict(itertools.chain(*members)) for members in product(choices)]
    if len(found) > MOST * 4:
        raise TooMany
    allowed = judges(schemas)
    unique = {(json.dumps(v, sort_keys=True) if not isinstance(v, float) else v): v for v in found}
    return [v for v in unique.values() if any(judge.is_valid(v) for judge in allowed)]


def product(choices: list[list[Any]]) -> list[list[Any]]:
    size = 1
    for choice in choices:
        size *= len(choice)
    if size > MOST:
        raise TooMany
    return [list(combination) for combination in itertools.product(*choices)]


def lists(schemas: Iterable[Schema]) -> Iterator[tuple[str, list[str]]]:
    """The lists of keys that decide the order of an object's members, each with its keyword."""
    for schema in schemas:
        if isinstance(schema, dict) and may_be_object(schema):
            yield "properties", [*schema.get("properties", ())]
            yield "required", [*schema.get("required", ())]
            constants = [*([schema["const"]] if "const" in schema else []), *schema.get("enum", ())]
            yield from (("required", [*constant]) for constant in constants if isinstance(constant, dict))
            yield from lists(schema.get("allOf", ()))
            yield from lists(schema.get("anyOf", ()))


def in_order(keys: tuple[str, ...], given: list[tuple[str, list[str]]]) -> bool:
    """Whether no member comes behind one that must come after it."""
    named = list(dict.fromkeys(key for _, listed in given for key in listed))
    required = {key for keyword, listed in given if keyword == "required" for key in listed}
    for late, early in itertools.combinations(reversed(keys), 2):  # `early` is written first
        together = [listed for _, listed in given if late in listed and early in listed]
        if early not in named:
            if late in required:
                return False
        elif together and all(listed.index(late) < listed.index(early) for listed in together):
            asked_early = early in required and late not in required
            if named.index(late) < named.index(early) and not asked_early:
                return False
    return True


def may_be_object(schema: Schema) -> bool:
    """Whether types and constants alone leave room for an object."""
    if isinstance(schema, bool):
        return schema
    constants = [[schema["const"]]] if "const" in schema else []
    constants += [schema["enum"]] if "enum" in schema else []
    return (
        "object" in schema.get("type", "object")
        and all(any(isinstance(value, dict) for value in group) for group in constants)
        and all(map(may_be_object, schema.get("allOf", ())))
        and ("anyOf" not in schema or any(map(may_be_object, schema["anyOf"])))
    )


def texts(value: Any, schemas: list[Schema]) -> list[str]:
    """Every compact text of `value` with at most one fraction digit."""
    if value is None or isinstance(value, bool):
        return [json.dumps(value)]
    if isinstance(value, int | float):
        whole = [str(int(value)), f"{int(value)}.0"] if value == int(value) else [repr(value)]
        return [*whole, "-0", "-0.0"] if value == 0 else whole
    if isinstance(value, str):
        return [json.dumps(value, ensure_ascii=False)]
    if isinstance(value, list):
        children = [texts(item, item_schemas(schemas, n)) for n, item in enumerate(value)]
        return [f"[{','.join(items)}]" for items in product(children)]
    found = []
    for keys in itertools.permutations(value):
        if not in_order(keys, list(lists(schemas))):
            continue
        members = [
            [f"{json.dumps(k, ensure_ascii=False)}:{t}" for t in texts(value[k], member_schemas(schemas, k))]
            for k in keys
        ]
        found += [f"{{{','.join(m)}}}" for m in product(members)]
    return found


def item_schemas(schemas: list[Schema], index: int) -> list[Schema]:
    found: list[Schema] = []
    for s in anywhere(schemas):
        prefix = s.get("prefixItems", ())
        found += [prefix[index]] if index < len(prefix) else [s["items"]] if "items" in s else []
    constants = [c for s in anywhere(schemas) for c in [*s.get("enum", ()), s.get("const")]]
    return found + [{"const": c[index]} for c in constants if isinstance(c, list) and index < len(c)]


def member_schemas(schemas: list[Schema], key: str) -> list[Schema]:
    found: list[Schema] = []
    for s in anywhere(schemas):
        found += [s["properties"][key]] if key in s.get("properties", ()) else []
        found += [child for pattern, child in s.get("patternProperties", {}).items() if re.search(pattern, key)]
        constants = [*s.get("enum", ()), s.get("const")]
        found += [{"const": c[key]} for c in constants if isinstance(c, dict) and key in c]
    return found


PROBES = b'{}[]:,"ab01259-.ntfrueals \xc3\xa9'


@settings(max_examples=250, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(strategies.finite_schemas(), st.randoms(use_true_random=False))
def test_oracle_equals_a_list_of_all_texts(schema: Schema, rng: random.Random) -> None:
    check_finite(schema, rng)


def unlisted(prefix: bytes) -> bool:
    """Whether `prefix` could be viable without being listed: other characters, more digits."""
    in_string = prefix.count(b'"') % 2 and prefix[-1] not in b'ab"'
    return bool(in_string or re.search(rb"\.\d+$", prefix))


def check_finite(schema: Schema, rng: random.Random) -> int:
    judge = Draft202012Validator(schema)
    try:
        language = {
            text.encode() for value in values([schema]) if judge.is_valid(value) for text in texts(value, [schema])
        }
    except TooMany:
        assume(False)
    oracle = Oracle(schema, Policy("compact", exponents=False))
    prefixes = {text[:n] for text in language for n in range(len(text) + 1)}
    assert oracle.viable(b"") == bool(language)
    chosen = rng.sample(sorted(prefixes), min(60, len(prefixes)))
    for prefix in chosen:
        assert oracle.viable(prefix), prefix
        assert oracle.member(prefix) == (prefix in language), prefix
        for byte in PROBES:
            longer = prefix + bytes([byte])
            if not unlisted(longer):
                assert oracle.viable(longer) == (longer in prefixes), longer
    return len(chosen)


# ---------------------------------------------------------------------------------------------------------------------
# Recursive and unbounded schemas: sound, complete for chosen texts, and never a dead end


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=CHECKS)
@given(strategies.schemas(), st.randoms(use_true_random=False))
def test_walks_of_the_oracle_end_in_valid_texts(schema: Schema, rng: random.Random) -> None:
    """No dead end, and what is accepted is valid for jsonschema; a valid value written in order is accepted."""
    policy = Policy(rng.choice(["compact", "single", "flexible"]), 2)
    oracle = Oracle(schema, policy)
    text = b""
    while oracle.viable(text):
        complete = oracle.member(text)
        following = sorted(oracle.allowed(text, strategies.EVERY_BYTE))
        assert following or complete, text
        if complete:
            assert Draft202012Validator(schema).is_valid(json.loads(text)), text
        # Prefer what closes, so that walks end.
        closing = [b for b in following if b in b'"}]']
        if not following or len(text) > 60 or complete and rng.random() < 0.3:
            break
        text += rng.choice(closing if closing and rng.random() < 0.6 else following)
    if not text:
        assert not any(Draft202012Validator(schema).is_valid(value) for value in [*SCALARS, [], {}, [1], {"a": 1}])


# ---------------------------------------------------------------------------------------------------------------------
# Parts


@settings(max_examples=300, derandomize=True, deadline=None)
@given(strategies.patterns())
def test_pattern_equals_re(pattern: str) -> None:
    ours = Pattern(pattern)
    dot = r"[^\n\r\u2028\u2029]"
    theirs = re.compile(pattern.replace("$", r"\Z").replace(".", dot).replace(f"\\{dot}", r"\."), re.ASCII)
    for length in range(4):
        for text in map("".join, itertools.product("ab1é.\n", repeat=length)):
            assert ours.matches(text) == bool(theirs.search(text)), text


WRITTEN = {
    f"{sign}{whole}{tail}": Fraction(f"{sign}{whole}{tail}")
    for sign in ("", "-")
    for whole in range(30)
    for tail in ["", *(f".{n}" for n in range(10)), *(f".{n:02}" for n in range(100))]
}
PREFIXES = sorted({text[:n] for text in WRITTEN for n in range(len(text) + 1)})
STEPS = [None, Fraction(1), Fraction(3), Fraction(1, 2), Fraction(3, 4), Fraction(25)]
FRACTIONS = st.sampled_from([Fraction(n, 4) for n in (-50, -8, -5, -4, -1, 0, 1, 2, 4, 6, 10, 37, 40, 48, 400)])


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st.builds(
        NumberRange, st.none() | FRACTIONS, st.booleans(), st.none() | FRACTIONS, st.booleans(), st.sampled_from(STEPS)
    )
)
def test_number_fits_equals_a_list_of_numbers(allowed: NumberRange) -> None:
    """Among all numbers between -30 and 30 with two fraction digits: bounds and steps need no others."""
    allowed.at_least(Fraction(-29))
    allowed.at_most(Fraction(29))
    language = {text for text, number in WRITTEN.items() if allowed.holds(number)}
    prefixes = {text[:n] for text in language for n in range(len(text) + 1)}
    for prefix in PREFIXES:
        assert number_fits(prefix, True, allowed, exponents=False) == (prefix in language), prefix
        if len(prefix.partition(".")[2]) < 2:
            assert number_fits(prefix, False, allowed, exponents=False) == (prefix in prefixes), prefix


ANY, INTEGER = NumberRange(), NumberRange(step=Fraction(1))
SMALL = NumberRange(low=Fraction(0), low_strict=True, high=Fraction(1, 100))
SEVENS = NumberRange(low=Fraction(3 * 10**20), step=Fraction(7))
ONE_HUGE = NumberRange(low=Fraction(10**20), high=Fraction(10**20))


@pytest.mark.parametrize(
    ("allowed", "members", "viable", "dead"),
    [
        (ANY, "5e-324 1e-05 1.00e-99 1.7976931348623157e+308 -3e+16 -0 -0.0",
         "1e -7.5e 2e-3 1e+2 1.0e 1e-4 1e+15 1.0000000000000000e+",
         "0e 10e 1.e 1E 1e-04 1e+00 4e-324 1.8e+308 5.0e-324 1.00000000000000000e+ 1e5 1e+001"),
        (INTEGER, "1e+16 -1.0000000000000001e+16", "1 2e+2 1e+ 9.5e", "1e- 2.5e- 1.00000000000000000e"),
        (SMALL, "0.01 0.00001 1e-05 3.5e-10", "0.00 7 7e 9.9 9.99e 5e-3 1.", "0.02 7e+ 10 -1 -"),
        (SEVENS, "2.1e+21 7e+20", "1 7e 3 3.5e+2", "1e 3e+ 1e- - 0"),
        (ONE_HUGE, "1e+20 1.0e+20 100000000000000000000.0", "1 1. 1000", "2 1.1 -1 1e+21 1e-"),
    ],
)  # fmt: skip
def test_numbers_with_exponents(allowed: NumberRange, members: str, viable: str, dead: str) -> None:
    for text in members.split():
        assert number_fits(text, True, allowed), text
        assert all(number_fits(text[:n], False, allowed) for n in range(len(text) + 1)), text
    for text in viable.split():
        assert number_fits(text, False, allowed), text
    for text in dead.split():
        assert not number_fits(text, False, allowed), text


@pytest.mark.parametrize(
    "policy", [Policy("compact"), Policy("single"), Policy("flexible"), Policy(separators=(", ", ": "))]
)
def test_every_prefix_of_a_text_parses(policy: Policy) -> None:
    gap = "" if policy.whitespace == "compact" else " "
    text = f'{{"a":{gap}[1,{gap}-2.5,{gap}"é\\n\\u001f😀"],{gap}"b":{gap}{{}},{gap}"":{gap}null}}'.encode()
    for end in range(len(text) + 1):
        assert parse_prefix(text[:end], policy) is not None, text[:end]
    assert parse_prefix(text + b" ", policy) is None


NO_TEXTS = [b" ", b"[\x0b", b"01", b"+", b"1.e", b"[1,]", b'{"a":1,}', b"{,", b"[,", b"nulll", b"{}}", b"[" + b" " * 33]
NO_STRINGS = [b"\\/", b"\\u000a", b"\\u001F", b"\n", b"\xff", b"\xc0", b"\xc3a", b"\xed\xa0", b"\xf4\x90", b"\xe0\x80"]


@pytest.mark.parametrize(
    ("text", "whitespace"),
    [
        *((text, "flexible") for text in NO_TEXTS),
        *((b'"' + text, "flexible") for text in NO_STRINGS),
        *((text, "single") for text in (b"[ ", b"[1 ", b"[1,  ")),
        (b"[1, ", "compact"),
    ],
)
def test_what_begins_no_text(text: bytes, whitespace: str) -> None:
    assert parse_prefix(text, Policy(whitespace)) is None
    assert parse_prefix(text[:-1], Policy(whitespace)) is not None
