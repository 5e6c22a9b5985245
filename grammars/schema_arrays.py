"""`items`, `prefixItems`, `additionalItems`, `minItems`, `maxItems`, `uniqueItems`, and `contains` with its bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskwright.grammars.boolean import TRUE, Bool, all_of, leaf
from maskwright.grammars.ir import ArrayShape
from maskwright.grammars.shapes import items_counted

if TYPE_CHECKING:
    from maskwright.grammars.schema_document import Schema

__all__ = ["array_shape"]

_ANY = ArrayShape()


def array_shape(schema: Schema) -> Bool:
    """The arrays that the keywords about arrays admit."""
    prefix, rest = schema.get("prefixItems", ()), schema.get("items", True)
    if isinstance(rest, list):
        prefix, rest = rest, schema.get("additionalItems", True)
    most = schema.get("maxItems")
    shape = ArrayShape(
        tuple(schema.child(item) for item in prefix),
        schema.child(rest),
        int(schema.get("minItems", 0)),
        None if most is None else int(most),
        unique=bool(schema.get("uniqueItems")) and (most is None or most > 1),
    )
    plain = TRUE if shape == _ANY else leaf(shape)
    contents = schema.get("contains")
    return plain if contents is None else all_of((plain, _containing(schema, contents)))


def _containing(schema: Schema, contents: Any) -> Bool:
    least, most = schema.get("minContains", 1), schema.get("maxContains")
    return items_counted(0, schema.child(contents), int(least), None if most is None else int(most))
