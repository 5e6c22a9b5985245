"""Schemas from Python: pydantic models, dataclasses, TypedDicts, enums, `Literal`, `Union`, `list[int]`, ...

    schema_from(MyModel)                 ({"properties": ...}, MyModel)
    schema_from({"type": "integer"})     ({"type": "integer"}, None)

The second part is what a finished text should be turned into, if anything.

A type says which keys it has, so its objects are closed: models, dataclasses and TypedDicts admit no others, at any depth,
unless their configuration says `extra="allow"`. (By default pydantic drops unknown keys when it reads; a model that may
write them would invent what nobody will see.)
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from maskwright.grammars.errors import InvalidError, UnsupportedError
from maskwright.grammars.json_schema import read_schema

if TYPE_CHECKING:
    from pydantic.json_schema import GenerateJsonSchema

__all__ = ["schema_from"]


def schema_from(source: Any) -> tuple[dict[str, Any] | bool, Any]:
    """The schema that `source` is or stands for, and the Python type behind it.

    Args:
        source: a schema (dict or bool), its JSON text, or anything that pydantic.TypeAdapter takes: a model,
            dataclass, TypedDict, Enum, Literal, Union, generic alias, or a TypeAdapter itself.

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
    return _described_by_pydantic(contents), contents


def _described_by_pydantic(source: Any) -> dict[str, Any]:
    from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
    from pydantic.errors import PydanticInvalidForJsonSchema

    try:
        adapter = source if isinstance(source, TypeAdapter) else TypeAdapter(source)
        # What pydantic reads, not what it writes: the text is to be validated into the type.
        return adapter.json_schema(mode="validation", schema_generator=_closed_objects())
    except PydanticInvalidForJsonSchema as error:
        raise UnsupportedError(f"{source!r} has no JSON Schema: {error.message}") from error
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        reason, hint = error.message.rstrip("."), "give a schema, its JSON text, or a type that pydantic validates"
        raise InvalidError(f"{source!r} is neither a schema nor such a type: {reason}", hint=hint) from error


@functools.cache
def _closed_objects() -> type[GenerateJsonSchema]:
    """pydantic's generator of JSON Schemas, but with objects closed. Made late: pydantic takes its time to import."""
    from pydantic.json_schema import GenerateJsonSchema

    class ClosedObjects(GenerateJsonSchema):
        """Adds `additionalProperties: false` where the configuration leaves it open whether there are others."""

        def model_schema(self, schema: Any) -> dict[str, Any]:
            described = super().model_schema(schema)
            return described if schema.get("root_model") else _closed(described)

        def dataclass_schema(self, schema: Any) -> dict[str, Any]:
            return _closed(super().dataclass_schema(schema))

        def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
            return _closed(super().typed_dict_schema(schema))

    return ClosedObjects


def _closed(described: dict[str, Any]) -> dict[str, Any]:
    return {"additionalProperties": False, **described} if described.get("type") == "object" else described
