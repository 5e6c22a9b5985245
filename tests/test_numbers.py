"""Number languages against exact arithmetic: a text is in one just when the policy spells it and its value is right."""

from __future__ import annotations

import json
import math
import random
import re
import tomllib
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.grammars import number_spellings, regular
from maskwright.grammars.digits import Grid, Tail, decimals
from maskwright.grammars.errors import InvalidError, LimitExceeded
from maskwright.grammars.number_sets import NumberSets
from maskwright.grammars.number_steps import Step
from maskwright.grammars.numbers import integers, multiples_of, number_equal, number_language, numbers, step_of
from maskwright.grammars.regular import EMPTY, Regex, complement, intersect, is_empty, matches

CASES = tomllib.loads((Path(__file__).parent / "cases/numbers.toml").read_text("utf-8"), parse_float=Decimal)["case"]
BOUNDS = ("minimum", "exclusive_minimum", "maximum", "exclusive_maximum")

# -------------------------------------------------------------------- the oracle

PLAIN = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
SPELLED = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE]([+-]?[0-9]+))?")
EXPONENT = re.compile(r"-?([1-9])(\.([0-9]+))?e([+-][0-9]{2,3})")


def is_canonical(text: str) -> bool:
    """The policy as the module's docstring states it."""
    if PLAIN.fullmatch(text):
        return True
    found = EXPONENT.fullmatch(text)
    if found is None or (len(found[4]) == 4 and found[4][1] == "0"):
        return False
    exponent, fraction = int(found[4]), found[3] or ""
    if exponent > 0:
        return exponent >= 16 and len(fraction) <= 16 and abs(Decimal(text)) <= Decimal("1.7976931348623157e308")
    return -323 <= exponent <= -5 or text.lstrip("-") == "5e-324"


def admits(options: dict, text: str) -> bool:
    """Whether the value of a canonical text satisfies `options`."""
    value = Fraction(Decimal(text))
    bound = {name: Fraction(Decimal(repr(options[name]) if isinstance(options[name], float) else options[name]))
             for name in (*BOUNDS, "multiple_of") if options.get(name) is not None}  # fmt: skip
    return not (
        (options.get("integer") and value.denominator != 1)
        or ("minimum" in bound and value < bound["minimum"])
        or ("exclusive_minimum" in bound and value <= bound["exclusive_minimum"])
        or ("maximum" in bound and value > bound["maximum"])
        or ("exclusive_maximum" in bound and value >= bound["exclusive_maximum"])
        or ("multiple_of" in bound and (value / bound["multiple_of"]).denominator != 1)
    )


@cache
def short_texts() -> tuple[str, ...]:
    """Canonical texts of up to six characters over a few digits, and some with exponents."""
    plain = (a + b for n in range(1, 7) for a in ("", "-") for b in map("".join, product("01259.", repeat=n)))
    found = [text for text in plain if len(text) <= 5 and is_canonical(text)]
    mantissas = ["1", "2", "5", "9", "1.0", "1.5", "2.5", "9.99", "1.2345678901234567", "4.0000000000000001"]
    exponents = ["-05", "-06", "-10", "-99", "-100", "-323", "+16", "+17", "+20", "+99", "+100", "+307", "+308"]
    found += [sign + m + "e" + x for sign in ("", "-") for m in mantissas for x in exponents]
    return tuple(text for text in found if is_canonical(text))


def near(value: Decimal) -> list[str]:
    """Spellings of `value` and of its neighbours, plain and with exponents."""
    texts = []
    digits = "".join(map(str, value.as_tuple().digits))
    exponent = int(value.as_tuple().exponent)
    for number in {int(digits), int(digits) + 1, max(int(digits) - 1, 0), int(digits) * 10 + 1, int(digits) * 10 - 1}:
        if number < 0:
            continue
        for at in (exponent - 1, exponent, exponent + 1):
            sign, exact = ("-" if value < 0 else ""), Decimal((0, tuple(map(int, str(number))), at))
            texts += [sign + format(exact, "f"), sign + format(exact, "f") + ".0", sign + format(exact, "f") + "0"]
            spelled = str(number).rstrip("0") or "0"
            power = at + len(str(number)) - 1
            mantissa = spelled[0] + ("." + spelled[1:] if spelled[1:] else "")
            texts += [
                f"{sign}{mantissa}e{power:+03d}",
                f"{sign}{mantissa}{'0' if '.' in mantissa else '.0'}e{power:+03d}",
            ]
    return [text for text in texts if is_canonical(text)]


def some_members(language: Regex, rng: random.Random, finish: bool, count: int = 6, steps: int = 40) -> set[str]:
    """Members met on random walks; with `finish` also a shortest end of each walk, for there are no dead ends."""
    found = set()
    for _ in range(count):
        node, text = language, ""
        for _ in range(rng.randrange(steps)):
            if node.nullable:
                found.add(text)
            branches = node.transitions()
            if not branches:
                break
            characters, node = rng.choice(branches)
            text += chr(rng.choice(list(characters)))
        if finish:
            rest = regular.example(node)
            assert rest is not None, f"dead end after {text!r}"
            found.add(text + rest)
    return found


# -------------------------------------------------------------------- cases and the policy


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_cases(case: dict) -> None:
    language = number_language(**case["options"])
    for text in case["accepted"]:
        assert matches(language, text), text
        assert is_canonical(text) and admits(case["options"], text), f"the case is wrong: {text}"
    for text in case["rejected"]:
        assert not matches(language, text), text
        assert not (is_canonical(text) and admits(case["options"], text)), f"the case is wrong: {text}"
    assert (language is EMPTY) == case.get("empty", False)


def test_policy_is_the_documented_one_exhaustively() -> None:
    every = numbers()
    for length in range(6):
        for letters in product("-015.e+", repeat=length):
            text = "".join(letters)
            assert matches(every, text) == is_canonical(text), text
    for sign, first, exponent in product("-+", ("1", "2", "1.5", "9.99"), range(1100)):
        for text in (f"{first}e{sign}{exponent:02d}", f"{first}e{sign}{exponent:03d}"):
            assert matches(every, text) == is_canonical(text), text


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_what_json_writes_is_in(value: float) -> None:
    text = json.dumps(value)
    assert matches(numbers(), text)
    assert matches(number_equal(value), text)
    is_integer = value == math.floor(value)
    assert matches(integers(), text) == is_integer


def test_policy_any() -> None:
    every = numbers("any")
    for text in ("0", "-0", "1E5", "1e-5", "1.50e+007", "12.5E0400", "0E-400"):
        assert matches(every, text)
    for text in ("01", ".5", "1.", "+1", "1e", "--1", "1e401", "1e-00401", ""):
        assert not matches(every, text)
    assert number_language(policy="any") is every


def is_spelled(text: str) -> bool:
    """The policy "any" as the module's docstring states it."""
    found = SPELLED.fullmatch(text)
    return found is not None and (found[1] is None or abs(int(found[1])) <= 400)


def spelled(value: Decimal, rng: random.Random) -> str:
    """One of the spellings of `value`: zeros added, the point anywhere."""
    sign, digits, exponent = value.as_tuple()
    more = rng.randint(0, 3)
    digits += (0,) * more
    point = rng.randint(-3, len(digits) + 2)
    whole = "".join(map(str, digits[: max(point, 0)])) + "0" * (point - len(digits))
    fraction = "0" * -point + "".join(map(str, digits[max(point, 0) :]))
    power = int(exponent) - more + len(digits) - point
    text = "-" * sign + (whole.lstrip("0") or "0") + ("." + fraction if fraction else "")
    if power or rng.random() < 0.3:
        text += rng.choice("eE") + ("+" if power >= 0 and rng.random() < 0.5 else "") + str(power)
    return text


def any_text(rng: random.Random) -> str:
    """A short number, as likely as not with an exponent."""
    whole = rng.choice(["0", str(rng.randint(0, 9999))])
    fraction = rng.choice(["", "." + "".join(rng.choices("00123579", k=rng.randint(1, 4)))])
    exponent = rng.choice(["", *"eE"])
    if exponent:
        exponent += rng.choice(["", "+", "-", "-0"]) + str(rng.randint(0, rng.choice([3, 14, 401])))
    return rng.choice(["", "-"]) + whole + fraction + exponent


@settings(max_examples=120, deadline=None)
@given(st.deferred(lambda: options), st.randoms(use_true_random=False))
def test_random_constraints_in_any_spelling(options: dict, rng: random.Random) -> None:
    language = number_language(**options, policy="any")
    pool = [any_text(rng) for _ in range(80)]
    for name in (*BOUNDS, "multiple_of"):
        if name in options:
            value = Decimal(options[name])
            for difference in (Decimal(0), Decimal("0.001"), Decimal("-0.001"), Decimal(1)):
                pool += [spelled(value + difference, rng) for _ in range(3)]
            pool += [spelled(value * factor, rng) for factor in (2, 3, 10, -1)]
    for text in pool:
        assert matches(language, text) == (is_spelled(text) and admits(options, text)), (options, text)
    if language is not EMPTY:
        for text in some_members(language, rng, options.get("multiple_of", 1) <= 150, count=3, steps=9):
            assert is_spelled(text) and admits(options, text), (options, text)


@pytest.mark.parametrize("modulus", [1, 2, 7, 12, 40, 75, 96, 125, 300, 1000])
def test_zeros_that_make_a_multiple(modulus: int) -> None:
    """Against trying; the most zeros that can be needed are fewer than the modulus' bits."""
    for remainder in range(modulus):
        tried = [zeros for zeros in range(modulus.bit_length()) if remainder * 10**zeros % modulus == 0]
        assert number_spellings._zeros_to_multiple(remainder, modulus) == min(tried, default=None)


def test_a_large_step_costs_no_more_than_a_small_one() -> None:
    """Where no number of zeros helps, that is seen without trying as many as the step is large."""
    assert number_spellings._zeros_to_multiple(1, 3**400) is None
    assert number_spellings._zeros_to_multiple(5**300, 10**300) == 300


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_canonical_texts_are_spellings(case: dict) -> None:
    """Of the canonical texts, both policies have the same: those whose value is right."""
    canonical, language = number_language(**case["options"]), number_language(**case["options"], policy="any")
    for text in case["accepted"] + case["rejected"]:
        assert matches(language, text) == (is_spelled(text) and admits(case["options"], text)), text
        assert not matches(canonical, text) or matches(language, text)
    assert (language is EMPTY) == case.get("empty", False)


def test_no_state_of_a_spelling_is_dead() -> None:
    """Small exponents are not needed to see it: every state that a few digits reach has an end."""
    for option in (
        {"minimum": 10, "maximum": 20, "multiple_of": 7}, {"minimum": 15, "maximum": 16}, {"integer": True},
        {"minimum": Decimal("0.25"), "exclusive_maximum": Decimal("0.26")}, {"exclusive_maximum": 0},
        {"minimum": 99, "maximum": 101, "multiple_of": Decimal("0.5")}, {"minimum": 0, "maximum": 0},
    ):  # fmt: skip
        seen, frontier = set(), [number_language(**option, policy="any")]
        for _ in range(5):
            frontier = [target for node in frontier for _, target in node.transitions() if target not in seen]
            seen.update(frontier)
        assert all(regular.example(node) is not None for node in seen)


# -------------------------------------------------------------------- combinations


def language_of(sets: NumberSets, options: dict) -> Regex:
    return sets.language(bool(options.get("integer")), *(options.get(name) for name in (*BOUNDS, "multiple_of")))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.deferred(lambda: options), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_combinations_of_constraints_in_any_spelling(several: list[dict], rng: random.Random) -> None:
    sets = NumberSets("any")
    language, truth = language_of(sets, several[0]), lambda text: admits(several[0], text)
    for one in several[1:]:
        other, before, kind = language_of(sets, one), truth, rng.choice(["and", "or", "without"])
        if kind == "and":
            language, truth = sets.all_of([language, other]), lambda text, f=before, o=one: f(text) and admits(o, text)
        elif kind == "or":
            language, truth = sets.any_of([language, other]), lambda text, f=before, o=one: f(text) or admits(o, text)
        else:
            language = sets.without(language, other)
            truth = lambda text, f=before, o=one: f(text) and not admits(o, text)  # noqa: E731
    pool = [any_text(rng) for _ in range(60)]
    for one in several:
        for value in (Decimal(one[name]) for name in (*BOUNDS, "multiple_of") if name in one):
            pool += [spelled(value + difference, rng) for difference in (Decimal(0), Decimal("0.001"), Decimal(-1))]
            pool += [spelled(value * factor, rng) for factor in (2, 6, -1)]
    for text in pool:
        assert matches(language, text) == (is_spelled(text) and truth(text)), (several, text)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.randoms(use_true_random=False))
def test_combinations_of_constraints(data: st.DataObject, rng: random.Random) -> None:
    """and, or, without, exactly-one-of over canonical numbers, steps and their complements among them."""
    some = st.fixed_dictionaries(
        {}, optional={"integer": st.booleans(), "multiple_of": steps, "minimum": small, "exclusive_maximum": small}
    )
    sets, made = NumberSets(), list[tuple[Regex, Callable[[str], bool]]]()
    several = data.draw(st.lists(some, min_size=2, max_size=4))
    for one in several:
        made.append((language_of(sets, one), partial(admits, one)))
    for _ in range(4):
        (left, holds), (right, other) = rng.choice(made), rng.choice(made)
        kind = rng.choice(["and", "or", "without", "not"])
        if kind == "and":
            made.append((sets.all_of([left, right]), lambda text, f=holds, g=other: f(text) and g(text)))
        elif kind == "or":
            made.append((sets.any_of([left, right]), lambda text, f=holds, g=other: f(text) or g(text)))
        elif kind == "without":
            made.append((sets.without(left, right), lambda text, f=holds, g=other: f(text) and not g(text)))
        else:
            made.append((sets.without(numbers(), left), lambda text, f=holds: not f(text)))
    pool = rng.sample(short_texts(), 40)
    for one in several:
        for value in (Decimal(one[name]) for name in (*BOUNDS, "multiple_of") if name in one):
            for factor in (1, 2, 6, -1, -3):
                pool += rng.sample(texts := near(value * factor), min(6, len(texts)))
    for language, truth in made:
        for text in pool:
            assert matches(language, text) == truth(text), (several, text)
        if not is_empty(language):
            members = {regular.example(language), *some_members(language, rng, finish=False)}
            assert all(truth(text) for text in members if text is not None)


def test_a_remainder_shows_what_products_are_searched_for() -> None:
    """Thousands of states, none of which is looked for: a state knows by arithmetic whether a value lies ahead."""
    sets = NumberSets()
    language = numbers()
    for divisor in (6, 7, 8, 11):
        language = sets.without(language, language_of(sets, {"multiple_of": divisor}))
    language = sets.all_of([language, language_of(sets, {"multiple_of": 25}), language_of(sets, {"multiple_of": 9})])
    assert matches(language, "225") and matches(language, "2.25e+20") is (225 * 10**18 % 8 != 0)
    for text in ("450", "225.5", "1125", "675", "6525", "23175"):
        divisors = [divisor for divisor in (6, 7, 8, 11) if Decimal(text) % divisor == 0]
        assert matches(language, text) == (Decimal(text) % 225 == 0 and not divisors), text
    for text in ("", "4", "-1", "12345678", "3.1"):
        rest = language
        for character in text:
            rest = rest.derivative(ord(character))
        assert not is_empty(rest, max_nodes=0), text


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_periodic_sets(data: st.DataObject) -> None:
    """Steps against the membership of single decimals."""

    def holds(step: Step, value: Decimal) -> bool:
        units = value.scaleb(step.scale)
        return step.has(int(units)) if units == int(units) else step.between

    values = [Decimal(unit).scaleb(-2) for unit in (*range(-700, 701, 7), *range(-130, 131), *range(-6000, 6001, 300))]
    made = [
        (step := step_of(False, data.draw(steps)), {value: holds(step, value) for value in values}) for _ in range(3)
    ]
    for _ in range(4):
        (left, one), (right, two) = data.draw(st.sampled_from(made)), data.draw(st.sampled_from(made))
        kind = data.draw(st.sampled_from("&|~m"))
        if kind == "~":
            made.append((~left, {value: not one[value] for value in values}))
        elif kind == "m":
            made.append((left.mirrored(), {value: one[-value] for value in values if -value in one}))
        elif kind == "&":
            made.append(
                (left & right, {value: one[value] and two[value] for value in values if value in one and value in two})
            )
        else:
            made.append(
                (left | right, {value: one[value] or two[value] for value in values if value in one and value in two})
            )
    for step, wanted in made:
        assert step.residues is None or len(step.residues) == step.modulus
        for value, expected in wanted.items():
            assert holds(step, value) == expected, (step, value)
        if not step.is_empty and not step.is_multiple:
            for integers_, powers in step.powers(0, 7):
                for power in powers:
                    for unit in range(40):
                        assert integers_.has(unit) == holds(step, Decimal(unit).scaleb(power)), (step, unit, power)


def test_bounds_are_combined_before_they_are_spelled() -> None:
    sets = NumberSets("any")
    integer, most = language_of(sets, {"integer": True}), language_of(sets, {"maximum": 20})
    assert sets.all_of([integer, most]) == number_language(integer=True, maximum=20, policy="any")
    halves, thirds = language_of(sets, {"multiple_of": Decimal("1.5")}), language_of(sets, {"multiple_of": 2})
    assert sets.all_of([halves, thirds, most]) == number_language(multiple_of=6, maximum=20, policy="any")
    more = number_language(exclusive_minimum=20, policy="any")
    assert sets.without(numbers("any"), most) == more
    assert sets.without(integer, most) == number_language(integer=True, exclusive_minimum=20, policy="any")
    assert sets.all_of([most, sets.without(numbers("any"), most)]) is EMPTY


# -------------------------------------------------------------------- exactness

small = st.decimals(allow_nan=False, allow_infinity=False, min_value=-120, max_value=120, places=None).map(
    lambda value: round(value, 3)
)
extreme = st.builds(
    lambda sign, digits, exponent: Decimal((sign, tuple(map(int, str(digits))), exponent)),
    st.integers(0, 1), st.integers(0, 10**18), st.integers(-330, 320),
)  # fmt: skip
number = st.one_of(st.integers(-130, 130), small, st.integers(-(10**20), 10**20), extreme)
divisor = st.one_of(
    st.integers(1, 130),
    st.sampled_from(
        [Decimal(text) for text in ("0.01", "0.1", "0.5", "2.5", "0.125", "1.1", "7.5", "1e3", "25e-7", "3e-9")]
    ),
    st.integers(151, 10**6),
)
steps = st.sampled_from(
    [Decimal(text) for text in ("1", "2", "3", "4", "6", "7", "10", "12", "0.5", "0.3", "2.5", "0.05")]
)
options = st.fixed_dictionaries(
    {"integer": st.booleans()},
    optional={**dict.fromkeys(BOUNDS, number), "multiple_of": divisor},
)


@settings(max_examples=200, deadline=None)
@given(options, st.randoms(use_true_random=False))
def test_random_constraints(options: dict, rng: random.Random) -> None:
    language = number_language(**options)
    pool = rng.sample(short_texts(), 100)
    for name in (*BOUNDS, "multiple_of"):
        if name in options:
            pool += near(Decimal(options[name]))
    for text in pool:
        assert matches(language, text) == admits(options, text), (options, text)
    if language is not EMPTY:
        few_states = options.get("multiple_of", 1) <= 150  # or a search for an end would visit every remainder
        for text in some_members(language, rng, few_states):
            assert is_canonical(text) and admits(options, text), (options, text)


@settings(max_examples=20, deadline=None)
@given(small, small, st.booleans())
def test_exhaustively_between_small_bounds(low: Decimal, high: Decimal, opened: bool) -> None:
    options = {"minimum": low, ("exclusive_maximum" if opened else "maximum"): high}
    language = number_language(**options)
    for text in short_texts():
        assert matches(language, text) == admits(options, text), text


@pytest.mark.parametrize("options", [
    {"integer": True}, {"minimum": 0}, {"maximum": Decimal("99.99")}, {"multiple_of": 4},
    {"multiple_of": Decimal("0.01")}, {"minimum": 10**17 + 1, "maximum": 10**19},
    {"exclusive_minimum": Decimal("1e-7"), "maximum": Decimal("3e-6")},
], ids=str)  # fmt: skip
def test_subsets_of_the_policy(options: dict) -> None:
    assert is_empty(intersect(number_language(**options), complement(numbers())))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 3000), st.integers(0, 2), st.integers(1, 60))
def test_emptiness_of_a_grid(low: int, span: int, scale: int, modulus: int) -> None:
    """decimals() says EMPTY at once just when no multiple lies between the bounds."""
    high = low + span % 70
    language = decimals(Grid(low, high, scale, modulus, Tail.ZEROS))
    units = [unit for unit in range(low, high + 1) if unit % modulus == 0]
    assert (language is EMPTY) == (not units)
    for unit in range(high + 12):
        assert matches(language, format(Decimal(unit).scaleb(-scale), "f")) == (unit in units)


def test_no_state_is_dead() -> None:
    """Nodes of `digits` claim to be non-empty by construction: from every state an accepting one is reached."""
    periodic = (
        Grid(0, 130, 0, 12, Tail.ZEROS, residues=bytes(unit % 4 == 1 or unit == 6 for unit in range(12))),
        Grid(15, 120, 1, 30, Tail.DIGITS, above=True, within=True, residues=b"\1" + bytes(28) + b"\1"),
        Grid(20, 21, 0, 7, Tail.DIGITS, residues=bytes(7)), Grid(9, 9, 0, 4, Tail.DIGITS, within=True, residues=b"\0\1\0\0"),
        Grid(0, 2000, 2, 50, Tail.DIGITS, within=True, residues=bytes(unit % 25 != 0 for unit in range(50))),
        Grid(10**4, 10**5 - 1, 4, 21, Tail.NOTHING, residues=bytes(unit % 5 == 0 for unit in range(21))),
    )  # fmt: skip
    grids = [Grid(*one) for one in (
        (0, 100, 0, 7, Tail.ZEROS), (15, 120, 1, 48, Tail.ZEROS), (995, 100_005, 2, 1000, Tail.ZEROS),
        (123, 4567, 1, 1, Tail.DIGITS), (10**16, 10**17 - 1, 16, 8, Tail.NOTHING), (98, 101, 0, 1, Tail.NOTHING),
    )]  # fmt: skip
    for grid in (*grids, *periodic):
        start = decimals(grid)
        forward: dict[Regex, list[Regex]] = {}
        todo = [start]
        while todo:
            node = todo.pop()
            if node not in forward:
                forward[node] = [target for _, target in node.transitions()]
                todo += forward[node]
        alive = {node for node in forward if node.nullable}
        while more := {node for node in forward if node not in alive and not alive.isdisjoint(forward[node])}:
            alive |= more
        assert alive == forward.keys()


def test_complement_within_the_policy() -> None:
    """`not: {type: integer}` and its like subtract from the policy's numbers."""
    fractions = intersect(numbers(), complement(integers()))
    for text in short_texts():
        assert matches(fractions, text) == (Fraction(Decimal(text)).denominator != 1), text


# -------------------------------------------------------------------- size and limits


@pytest.mark.parametrize("options, most", [
    ({}, 90), ({"integer": True}, 110), ({"minimum": 0, "maximum": 65535, "integer": True}, 15),
    ({"minimum": 0, "maximum": 65535}, 40), ({"minimum": 0, "maximum": 1}, 35), ({"minimum": -90, "maximum": 90}, 30),
    ({"minimum": 1, "maximum": 100, "integer": True}, 8), ({"multiple_of": Decimal("0.01")}, 110),
    ({"maximum": Decimal("1.79769e+308")}, 800),
], ids=str)  # fmt: skip
def test_automata_are_small(options: dict, most: int) -> None:
    seen = {number_language(**options)}
    todo = list(seen)
    while todo:
        for _, target in todo.pop().transitions():
            if target not in seen:
                seen.add(target)
                todo.append(target)
    assert len(seen) <= most


def test_equal_questions_have_equal_answers() -> None:
    assert number_language(minimum=Decimal("1.50")) == number_language(minimum=1.5)
    assert number_language(multiple_of=1) == integers()
    assert multiples_of(Decimal("2.5")) == number_language(multiple_of=Decimal("2.50"))
    assert number_language(minimum=3, exclusive_minimum=2) == number_language(minimum=3)


def test_limits_and_invalid_numbers() -> None:
    assume_fast = number_language(minimum=-(10**399), maximum=Decimal("1e-300"))
    assert matches(assume_fast, "-5")
    for bound in (10**401, Decimal("1e999999999"), Decimal("1e-999999999")):
        with pytest.raises(LimitExceeded) as caught:
            number_language(minimum=bound)
        assert caught.value.limit == "max_number_digits"
    with pytest.raises(LimitExceeded):
        multiples_of(1_000_003)
    for bound in (math.inf, math.nan, Decimal("NaN")):
        with pytest.raises(InvalidError):
            number_language(maximum=bound)
    for divisor in (0, -1, Decimal("-0.5")):
        with pytest.raises(InvalidError):
            multiples_of(divisor)
