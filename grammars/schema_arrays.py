"""`items`, `prefixItems`, `additionalItems`, `minItems` and `maxItems`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskwright.grammars.boolean import TRUE, Bool, leaf
from maskwright.grammars.ir import ArrayShape

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
    )
    return TRUE if shape == _ANY else leaf(shape)
