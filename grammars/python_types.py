"""Schemas from Python: pydantic models, dataclasses, TypedDicts, enums, `Literal`, `Union`, `list[int]`, ...

    schema_from(MyModel)                 ({"properties": ...}, MyModel)
    schema_from({"type": "integer"})     ({"type": "integer"}, None)
    schema_from(my_function)             ({"properties": ...}, my_function), the object of its arguments

The second part is what a finished text should be turned into, if anything.

A type says which keys it has, so its objects are closed: models, dataclasses and TypedDicts admit no others, at any depth,
unless their configuration says `extra="allow"`. (By default pydantic drops unknown keys when it reads; a model that may
write them would invent what nobody will see.)
"""

from __future__ import annotations

from typing import Any

from maskwright.grammars.errors import InvalidError, UnsupportedError
from maskwright.grammars.function_signatures import arguments_type, is_function
from maskwright.grammars.json_schema import read_schema

__all__ = ["adapter_of", "schema_from"]


def schema_from(source: Any, narrow: bool = False) -> tuple[dict[str, Any] | bool, Any]:
    """The schema that `source` is or stands for, and the Python type behind it.

    Args:
        source: a schema (dict or bool), its JSON text, or anything that pydantic.TypeAdapter takes: a model,
            dataclass, TypedDict, Enum, Literal, Union, generic alias, or a TypeAdapter itself; or a function, which
            stands for the object of its arguments (see function_signatures).
        narrow: a type's schema has the texts that pydantic reads and no others (see pydantic_schemas), which is what
            masks are made from; else it is pydantic's own, which is for readers.

    Returns:
        (schema, type): type is `source` where it is no schema itself, else None.

    Raises:
        InvalidError: not JSON; JSON but no schema; not a type that pydantic knows.
        UnsupportedError: a type that has no JSON Schema, such as a callable.
    """
    contents = read_schema(source) if isinstance(source, str) else source
    if isinstance(contents, dict | bool):
        return contents, None
    if contents is None or isinstance(contents, str | bytes | int | float | list | tuple):
        raise InvalidError(f"a schema must be an object, true or false, not {type(contents).__name__}", pointer="")
    return _described_by_pydantic(contents, narrow), contents


def adapter_of(python_type: Any) -> Any:
    """The pydantic.TypeAdapter that reads what `python_type` stands for."""
    from pydantic import TypeAdapter

    if isinstance(python_type, TypeAdapter):
        return python_type
    return TypeAdapter(arguments_type(python_type) if is_function(python_type) else python_type)


def _described_by_pydantic(source: Any, narrow: bool) -> dict[str, Any]:
    from pydantic import PydanticSchemaGenerationError, PydanticUserError
    from pydantic.errors import PydanticInvalidForJsonSchema

    from maskwright.grammars.pydantic_schemas import json_schema  # late, like pydantic itself, which takes its time

    try:
        return json_schema(adapter_of(source), narrow)
    except PydanticInvalidForJsonSchema as error:
        raise UnsupportedError(f"{source!r} has no JSON Schema: {error.message}") from error
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        reason, hint = error.message.rstrip("."), "give a schema, its JSON text, or a type that pydantic validates"
        raise InvalidError(f"{source!r} is neither a schema nor such a type: {reason}", hint=hint) from error
