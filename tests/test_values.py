"""The algebra of values against the definition of the keywords: random schemas with `not`, `oneOf` and `if`, judged by
the jsonschema library on random instances."""

from __future__ import annotations

import random
from typing import Any

import jsonschema
import pytest
from evaluate_ir import evaluate, satisfies

from maskwright.grammars import boolean
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.json_schema import LoadedSchema, load_schema

KEYS = ["a", "b", "c"]
PATTERNS = ["^a", "b|c", "^$"]
SCALARS = [None, True, False, 0, 1, 1.0, 2.5, -3, "", "a", "ab", "ccc"]


class Maker:
    """Random schemas and instances that meet often: few keys, few values."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def schema(self, depth: int) -> Any:
        pick = self.random
        if depth == 0 or pick.random() < 0.25:
            return self.scalar_schema()
        schema: dict[str, Any] = {}
        for _ in range(pick.randint(1, 2)):
            make = pick.choice([self.object_part, self.object_part, self.array_part, self.logic_part, self.logic_part])
            schema.update(make(depth - 1))
        return schema

    def scalar_schema(self) -> Any:
        pick = self.random
        return pick.choice(
            [
                True,
                False,
                {"type": pick.choice(["string", "integer", "number", "object", "array", "null", "boolean"])},
                {"type": ["string", "object"]},
                {"enum": pick.sample(SCALARS, 2)},
                {"const": pick.choice([*SCALARS, [], {}, {"a": 1}, [1, "a"]])},
                {"minimum": pick.randint(-2, 2)},
                {"pattern": pick.choice(PATTERNS)},
                {"maxLength": 1},
            ]
        )

    def object_part(self, depth: int) -> dict[str, Any]:
        pick, part = self.random, dict[str, Any]()
        if pick.random() < 0.7:
            part["properties"] = {key: self.schema(depth) for key in pick.sample(KEYS, pick.randint(1, 2))}
        if pick.random() < 0.5:
            part["required"] = pick.sample(KEYS, pick.randint(1, 2))
        if pick.random() < 0.25:
            part["additionalProperties"] = pick.choice([False, self.schema(depth)])
        if pick.random() < 0.15:
            part["patternProperties"] = {pick.choice(PATTERNS): self.schema(depth)}
        if pick.random() < 0.1:
            part["propertyNames"] = pick.choice([{"pattern": "a|b"}, {"enum": ["a", "c"]}, {"maxLength": 1}])
        if pick.random() < 0.15:
            part[pick.choice(["minProperties", "maxProperties"])] = pick.randint(0, 3)
        if pick.random() < 0.15:
            part["dependentRequired"] = {pick.choice(KEYS): pick.sample(KEYS, 1)}
        if pick.random() < 0.15:
            part["dependentSchemas"] = {pick.choice(KEYS): self.schema(depth)}
        return part

    def array_part(self, depth: int) -> dict[str, Any]:
        pick, part = self.random, dict[str, Any]()
        if pick.random() < 0.5:
            part["items"] = self.schema(depth)
        if pick.random() < 0.4:
            part["prefixItems"] = [self.schema(depth) for _ in range(pick.randint(1, 2))]
        if pick.random() < 0.3:
            part["minItems"] = pick.randint(0, 2)
        if pick.random() < 0.3:
            part["maxItems"] = pick.randint(0, 3)
        if pick.random() < 0.3:
            part["type"] = "array"
        if pick.random() < 0.3:
            part["contains"] = self.schema(depth)
            if pick.random() < 0.4:
                part["minContains"] = pick.randint(0, 2)
            if pick.random() < 0.4:
                part["maxContains"] = pick.randint(0, 2)
        return part

    def logic_part(self, depth: int) -> dict[str, Any]:
        pick = self.random
        kind = pick.choice(["not", "not", "oneOf", "oneOf", "if", "anyOf", "allOf"])
        if kind == "not":
            return {"not": self.schema(depth)}
        if kind == "if":
            parts = {key: self.schema(depth) for key in ("if", "then", "else")}
            if pick.random() < 0.6:
                del parts[pick.choice(["then", "else"])]
            return parts
        return {kind: [self.schema(depth) for _ in range(pick.randint(1, 3))]}

    def instance(self, depth: int) -> Any:
        pick = self.random
        kind = pick.random()
        if depth == 0 or kind < 0.2:
            return pick.choice(SCALARS)
        if kind < 0.75:
            return {key: self.instance(depth - 1) for key in pick.sample([*KEYS, "d", "ab"], pick.randint(0, 3))}
        return [self.instance(depth - 1) for _ in range(pick.randint(0, 3))]


def check(seed: int) -> bool:
    """Compares one random schema on some instances; whether it was not refused."""
    maker = Maker(seed)
    schema = maker.schema(3)
    try:
        loaded = load_schema(schema)
    except LimitExceeded:
        return False
    reference = jsonschema.Draft202012Validator(schema)
    value = loaded.value_of(loaded.root)
    assert boolean.is_monotone(value.array) and boolean.is_monotone(value.object)
    for _ in range(25):
        instance = maker.instance(3)
        assert evaluate(value, instance, loaded.value_of) == reference.is_valid(instance), (seed, schema, instance)
    return True


@pytest.mark.parametrize("start", range(0, 1000, 100))
def test_random_schemas_agree_with_jsonschema(start: int) -> None:
    enforced = sum(check(seed) for seed in range(start, start + 100))
    assert enforced == 100


def loaded_with(**definitions: Any) -> tuple[LoadedSchema, dict[str, boolean.Bool]]:
    """A schema whose properties are `definitions`, and the expression of each."""
    loaded = load_schema({"properties": definitions})
    (shape,) = boolean.leaves(loaded.value_of(loaded.root).object)
    return loaded, dict(shape.properties)


def test_value_of_combines_children_as_their_definition_says() -> None:
    loaded, at = loaded_with(
        string={"type": "string", "minLength": 1},
        short={"maxLength": 1},
        record={"type": "object", "properties": {"k": {"const": 1}}, "required": ["k"]},
        list={"type": "array", "prefixItems": [{"type": "integer"}], "maxItems": 2},
    )
    maker = Maker(1)
    names = list(at)
    for _ in range(200):
        first, second, third = (at[maker.random.choice(names)] for _ in range(3))
        expression = boolean.any_of([boolean.all_of([first, boolean.negate(second)]), boolean.negate(third)])
        for instance in [maker.instance(2), {"k": 1}, {"k": 2}, [], [1], ["a"], [1, 2], [1, 2, 3]]:
            expected = satisfies(expression, instance, loaded.value_of)
            assert evaluate(loaded.value_of(expression), instance, loaded.value_of) == expected


def test_the_value_of_an_expression_is_memoised() -> None:
    loaded, at = loaded_with(a={"minLength": 1}, b={"maxLength": 2})
    expression = boolean.all_of(at.values())
    assert loaded.value_of(expression) is loaded.value_of(boolean.all_of(at.values()))


def test_disjoint_branches_are_not_negated() -> None:
    branches = [
        {"properties": {"kind": {"const": n}, "x": {"items": {"type": "null"}}}, "required": ["kind"]} for n in "abc"
    ]
    loaded = load_schema({"oneOf": branches})
    formula = loaded.value_of(loaded.root).object
    assert formula.kind == "or" and len(formula.args) == 3
    assert all(argument.kind == "leaf" for argument in formula.args)


def test_many_branches_that_a_discriminator_tells_apart_load_fast() -> None:
    branches = [
        {"properties": {"kind": {"const": f"k{n}"}, "v": {"type": "object"}}, "required": ["kind"]} for n in range(60)
    ]
    loaded = load_schema({"type": "object", "oneOf": branches})
    assert len(boolean.leaves(loaded.value_of(loaded.root).object)) == 60
