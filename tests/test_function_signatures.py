"""Functions as schemas: the object of their arguments."""

from __future__ import annotations

import functools
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from acceptance import takes
from pydantic import BaseModel, Field

import maskwright as mw
from maskwright.grammars.python_types import adapter_of, schema_from


class Guest(BaseModel):
    name: str


def book(
    city: str,
    nights: Annotated[int, Field(gt=0)] = 1,
    *,
    guests: list[Guest],
    arrival: date | None = None,
    board: Literal["none", "half", "full"] = Field("none", description="which meals"),
) -> dict[str, Any]:
    """Book a room."""
    return {"city": city, "nights": nights, "guests": guests, "arrival": arrival, "board": board}


ACCEPTED = [
    '{"city": "Bergen", "guests": []}',
    '{"city": "Bergen", "nights": 3, "guests": [{"name": "Ada"}], "arrival": "2026-05-01", "board": "half"}',
]
REST = '{"nights": 2, "guests": []}'
REJECTED = [
    '{"city": "Bergen"}',
    '{"city": "Bergen", "nights": 0, "guests": []}',
    '{"city": "B", "guests": [], "x": 1}',
]


def test_the_arguments_of_a_function(byte_info: mw.TokenizerInfo) -> None:
    compiler = mw.GrammarCompiler(byte_info)
    compiled = compiler.compile_function(book)
    assert [takes(compiled, text) for text in ACCEPTED] == [True, True]
    assert [takes(compiled, text) for text in REJECTED] == [False, False, False]
    assert compiler.compile_json_schema(book) is compiled


def test_validated_arguments_can_be_given_to_it() -> None:
    plain, whole = (adapter_of(book).validate_json(text) for text in ACCEPTED)
    assert plain == {"city": "Bergen", "guests": []}
    assert whole["guests"] == [Guest(name="Ada")]
    assert book(**whole)["arrival"] == date(2026, 5, 1)


def test_what_a_schema_tells_its_reader() -> None:
    schema, python_type = schema_from(book)
    assert isinstance(schema, dict)
    assert python_type is book
    assert schema["description"] == "Book a room."
    assert schema["properties"]["board"]["description"] == "which meals"
    assert schema["required"] == ["city", "guests"]


def test_methods_and_partial_functions(byte_info: mw.TokenizerInfo) -> None:
    class Desk:
        def open(self, hour: int) -> None: ...

    compiler = mw.GrammarCompiler(byte_info)
    assert takes(compiler.compile_function(Desk().open), '{"hour": 9}')
    rest = compiler.compile_function(functools.partial(book, "Oslo"))
    assert takes(rest, REST)
    assert not takes(rest, ACCEPTED[0])


def test_a_function_as_schema_of_generate() -> None:
    pytest.importorskip("torch")

    def weigh(grams: Annotated[int, Field(ge=1, le=99)], exact: bool = True) -> None: ...

    arguments = mw.generate(prompt="The letter weighs 20 grams.", schema=weigh)
    assert arguments.keys() <= {"grams", "exact"}
    assert 1 <= arguments["grams"] <= 99


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x, mw.InvalidError, "the parameter x has no annotation"),
        (lambda *rest: rest, mw.UnsupportedError, r"the parameter \*rest cannot be given by its name"),
        (lambda x, /: x, mw.UnsupportedError, "the parameter x cannot be given by its name"),
        (3, mw.InvalidError, "3 is no function"),
        (Guest, mw.InvalidError, "is no function"),
    ],
)
def test_functions_that_cannot_be_called_by_name(
    byte_info: mw.TokenizerInfo, function: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mw.GrammarCompiler(byte_info).compile_function(function)


def test_an_annotation_to_nowhere(byte_info: mw.TokenizerInfo) -> None:
    def lost(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(mw.InvalidError, match="an annotation cannot be resolved: name 'Nowhere' is not defined"):
        mw.GrammarCompiler(byte_info).compile_function(lost)
