"""`properties` and its relatives, `propertyNames`, `required`, `minProperties` and `maxProperties`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskwright.grammars.boolean import TRUE, Bool, leaf
from maskwright.grammars.ir import ObjectShape
from maskwright.grammars.regular import ANY_STRING, Regex

if TYPE_CHECKING:
    from maskwright.grammars.schema_document import Schema

__all__ = ["object_shape"]

_ANY = ObjectShape()


def object_shape(schema: Schema) -> Bool:
    """The objects that the keywords about objects admit."""
    patterns = list[tuple[Regex, Bool]]()
    additional = schema.child(schema.get("additionalProperties", True))
    for pattern, contents in schema.get("patternProperties", {}).items():
        language = schema.document.pattern_language(pattern)
        if language is None:
            # Left out: which keys are additional is unknown then.
            patterns.clear()
            additional = TRUE
            break
        patterns.append((language, schema.child(contents)))
    names = schema.child(schema.get("propertyNames", True))
    most = schema.get("maxProperties")
    properties = tuple((name, schema.child(contents)) for name, contents in schema.get("properties", {}).items())
    required = tuple(dict.fromkeys(schema.get("required", ())))
    shape = ObjectShape(
        properties,
        tuple(patterns),
        additional,
        required,
        int(schema.get("minProperties", 0)),
        None if most is None else int(most),
        ANY_STRING if names is TRUE else schema.document.algebra.value_of(names).string,
        listed=bool(properties or required),
    )
    return TRUE if shape == _ANY else leaf(shape)
