"""The search for shapes that hold together, against all subsets; and schemas that multiply out to 2 ** 40 of them."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

import pytest

import maskwright as mw
from maskwright.compile.choices import Choices, Column
from maskwright.compile.number_masks import bits
from maskwright.grammars import boolean
from maskwright.grammars.boolean import Bool
from maskwright.grammars.errors import LimitExceeded, UnsupportedError

SHAPES = "abcdef"
NUMBERS = {shape: number for number, shape in enumerate(SHAPES)}


def formula_of(rng: random.Random, depth: int) -> Bool:
    """A random positive formula over SHAPES."""
    if depth == 0 or rng.random() < 0.2:
        return boolean.leaf(rng.choice(SHAPES))
    build = rng.choice((boolean.all_of, boolean.any_of))
    return build([formula_of(rng, depth - 1) for _ in range(rng.randint(2, 3))])


def subsets() -> list[int]:
    return list(range(1 << len(SHAPES)))


def holds(formula: Bool, choice: int) -> bool:
    return boolean.evaluate(formula, lambda shape: bool(choice >> NUMBERS[shape] & 1))


@pytest.mark.parametrize("seed", range(200))
def test_every_smallest_choice_that_fits_is_found(seed: int) -> None:
    rng = random.Random(seed)
    formula, alive = formula_of(rng, 3), rng.getrandbits(len(SHAPES)) | rng.getrandbits(len(SHAPES))
    apart = [1 << first | 1 << second for first, second in combinations(range(len(SHAPES)), 2) if rng.random() < 0.3]

    def fits(choice: int, number: int = 0) -> bool:
        return not any(choice & pair == pair for pair in apart)

    choices = Choices(formula, NUMBERS)
    found = list(choices.find(alive, fits, last=rng.getrandbits(len(SHAPES))))
    right = [choice for choice in subsets() if holds(formula, choice) and not choice & ~alive and fits(choice)]
    assert set(found) <= set(right)
    smallest = {choice for choice in right if not any(other != choice and not other & ~choice for other in right)}
    assert smallest <= set(found)


@pytest.mark.parametrize("seed", range(200))
def test_the_relevant_shapes_decide(seed: int) -> None:
    rng = random.Random(seed)
    formula, alive = formula_of(rng, 3), rng.getrandbits(len(SHAPES)) | rng.getrandbits(len(SHAPES))
    settled = alive & rng.getrandbits(len(SHAPES))
    relevant = Choices(formula, NUMBERS).relevant(alive, settled)
    assert not relevant & ~(alive & ~settled)
    for choice in subsets():
        living = (choice & alive) | settled
        # Whatever becomes of the other living shapes makes no difference.
        assert holds(formula, living) == holds(formula, living & (relevant | settled))


def test_only_positive_formulas_are_searched() -> None:
    with pytest.raises(UnsupportedError):
        Choices(boolean.negate(boolean.leaf("a")), NUMBERS)


def test_a_search_that_leads_nowhere_ends() -> None:
    shapes = [f"{side}{number}" for number in range(40) for side in "lr"]
    numbers = {shape: number for number, shape in enumerate(shapes)}
    pairs = [boolean.any_of((boolean.leaf(f"l{number}"), boolean.leaf(f"r{number}"))) for number in range(40)]
    search = Choices(boolean.all_of(pairs), numbers).find(-1, lambda choice, number: number < 78)
    with pytest.raises(LimitExceeded) as caught:
        next(search, None)
    assert caught.value.limit == "max_choices"


def test_a_column_knows_its_questions() -> None:
    one, two = boolean.leaf("one"), boolean.leaf("two")
    column = Column([boolean.TRUE, one, two, one], lambda demand: (demand.kind != "and", True))
    assert column.questions == (one, two) and [*bits(column.asking)] == [1, 2, 3]
    assert column.asked(0b1011) == 0b01 and column.demand(0b11) == boolean.all_of((one, two))
    assert column.possible(0b1011) and not column.possible(0b0110)


# ------------------------------------------------------------------ schemas


def dispatch(count: int) -> Any:
    """A kind decides what else there is: `allOf` of `if` and `then`."""
    kinds = [f"kind{number}" for number in range(count)]
    rules = [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": {
                "properties": {"kind": {}, kind: {"type": "integer"}},
                "required": [kind],
                "additionalProperties": False,
            },
        }
        for kind in kinds
    ]
    return {"type": "object", "properties": {"kind": {"enum": kinds}}, "required": ["kind"], "allOf": rules}


def overlapping(count: int) -> Any:
    """Exactly one of some objects, which their optional kind tells apart, and else what is wrong with them."""
    branches = [
        {
            "type": "object",
            "properties": {
                "kind": {"const": f"kind{number}"},
                "a": {"type": "integer"},
                f"b{number}": {"type": "string"},
            },
        }
        for number in range(count)
    ]
    return {"oneOf": branches}


def dependent(count: int) -> Any:
    """Each key requires another one."""
    return {"type": "object", "dependentRequired": {f"a{number}": [f"b{number}"] for number in range(count)}}


@pytest.mark.parametrize("order", ["schema", "any"])
@pytest.mark.parametrize(
    ("schema", "allowed", "refused"),
    [
        (dispatch(40), ['{"kind":"kind7","kind7":1}'], ['{"kind":"kind7","kind8', '{"kind":"kind7"}', '{"kind":"kind40']),
        (overlapping(12), ['{"kind":"kind3","a":1}'], ['{"kind":"kind3","a":"', '{"kind":"kindx', "{}"]),
        (dependent(40), ['{"a1":1,"b1":2,"a5":3,"b5":4}', "{}", '{"b3":1}'], ['{"a1":1}', '{"a1":1,"b1":2,"a5":3}']),
    ],
    ids=["dispatch", "overlapping", "dependent"],
)  # fmt: skip
def test_schemas_that_must_not_be_multiplied_out(
    schema: Any, allowed: list[str], refused: list[str], order: Any, byte_info: mw.TokenizerInfo
) -> None:
    compiled = mw.GrammarCompiler(byte_info).compile_json_schema(schema, property_order=order)
    for text in allowed:
        matcher = mw.GrammarMatcher(compiled)
        assert all(matcher.accept_token(byte) and matcher.allowed_bytes() is not None for byte in text.encode())
        assert matcher.is_completed()
    for text in refused:
        matcher = mw.GrammarMatcher(compiled)
        assert not all(matcher.accept_token(byte) for byte in text.encode())


def test_in_any_order_a_kind_may_come_last(byte_info: mw.TokenizerInfo) -> None:
    matcher = mw.GrammarMatcher(mw.GrammarCompiler(byte_info).compile_json_schema(dispatch(40), property_order="any"))
    assert matcher.accept_string('{"kind7": 1, "kind": "')
    assert matcher.find_jump_forward_string() == 'kind7"'
