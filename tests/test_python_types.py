"""Schemas from Python types."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any, Literal

import pydantic
import pytest
from evaluate_ir import evaluate
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from maskwright.grammars.errors import InvalidError, UnsupportedError
from maskwright.grammars.json_schema import load_schema
from maskwright.grammars.python_types import schema_from


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(TypedDict):
    x: int
    y: int


@dataclasses.dataclass
class Circle:
    centre: Point
    radius: float = 1.0


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    name: str = pydantic.Field(min_length=1, alias="catName")
    colours: list[Colour] = []
    mother: Cat | None = None


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    age: int = pydantic.Field(ge=0)


class Owner(pydantic.BaseModel):
    pet: Cat | Dog = pydantic.Field(discriminator="kind")


@pytest.mark.parametrize(
    ("source", "inside", "outside"),
    [
        (Colour, ["red"], ["green"]),
        (Literal["a", 1], ["a", 1], ["b", 2]),
        (int | None, [1, None], ["1"]),
        (list[int], [[], [1]], [["a"]]),
        (dict[str, bool], [{"a": True}], [{"a": 1}]),
        (Point, [{"x": 1, "y": 2}], [{"x": 1}, {"x": "1", "y": 2}]),
        (Circle, [{"centre": {"x": 1, "y": 2}, "radius": 0.5}], [{"radius": 0.5}]),
        (
            Cat,
            [{"kind": "cat", "catName": "Mia", "colours": ["red"], "mother": {"kind": "cat", "catName": "Ada"}}],
            [{"kind": "cat", "name": "Mia"}, {"kind": "cat", "catName": "", "mother": None}],
        ),
        (
            Owner,
            [{"pet": {"kind": "dog", "age": 3}}],
            [{"pet": {"kind": "dog", "catName": "x"}}, {"pet": {"kind": "cow"}}],
        ),
    ],
)
def test_types_that_pydantic_knows(source: Any, inside: list[Any], outside: list[Any]) -> None:
    schema, behind = schema_from(source)
    assert behind is source
    loaded = load_schema(schema)
    value = loaded.value_of(loaded.root)
    adapter = pydantic.TypeAdapter(source)
    for instance in inside:
        adapter.validate_python(instance)
        assert evaluate(value, instance, loaded.value_of)
    assert not any(evaluate(value, instance, loaded.value_of) for instance in outside)


class Loose(pydantic.BaseModel, extra="allow"):
    name: str


class Nested(pydantic.BaseModel):
    point: Point
    circle: Circle
    loose: Loose
    counts: dict[str, int] = {}
    anything: pydantic.RootModel[dict[str, Any]] | None = None
    checked: Checked | None = None


class Checked(pydantic.BaseModel):
    size: int

    @pydantic.model_validator(mode="before")
    @classmethod
    def unwrapped(cls, value: Any) -> Any:
        return value

    @pydantic.model_validator(mode="after")
    def positive(self) -> Checked:
        return self


@pytest.mark.parametrize("source", [Nested, pydantic.TypeAdapter(Nested)])
def test_objects_have_the_keys_of_their_type_and_no_others(source: Any) -> None:
    """At every depth, unless the configuration allows extra keys or the type is a mapping."""
    loaded = load_schema(schema_from(source)[0])
    value = loaded.value_of(loaded.root)
    point, loose = {"x": 1, "y": 2}, {"name": "n"}
    circle = {"centre": point}
    good = {"point": point, "circle": circle, "loose": loose}
    invented = {"invented": 1}
    for inside in (
        good,
        good | {"loose": loose | invented},
        good | {"counts": {"invented": 1}},
        good | {"anything": invented},
        good | {"checked": {"size": 1}},
    ):
        pydantic.TypeAdapter(Nested).validate_python(inside)
        assert evaluate(value, inside, loaded.value_of)
    for outside in (
        good | invented,
        good | {"point": point | invented},
        good | {"circle": circle | invented},
        good | {"circle": {"centre": point | invented}},
        good | {"checked": {"size": 1} | invented},
    ):
        assert not evaluate(value, outside, loaded.value_of)


def test_schemas_pass_through() -> None:
    schema = {"type": "string"}
    assert schema_from(schema) == (schema, None)
    assert schema_from(True) == (True, None)
    assert schema_from('{"type": "string"}') == (schema, None)


def test_an_adapter_is_taken() -> None:
    adapter = pydantic.TypeAdapter(list[int])
    assert schema_from(adapter) == ({"items": {"type": "integer"}, "type": "array"}, adapter)


def test_what_is_neither_is_refused() -> None:
    for source in (3, None, [], "[]", '{"a":', object()):
        with pytest.raises(InvalidError):
            schema_from(source)
    with pytest.raises(UnsupportedError):
        schema_from(Callable[[int], int])
