"""`minLength`, `maxLength`, `pattern` and `format`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskwright.grammars.regular import ANY_CHAR, EMPTY, Regex, intersect, repeat

if TYPE_CHECKING:
    from maskwright.grammars.schema_document import Schema

__all__ = ["string_language"]


def string_language(schema: Schema) -> Regex:
    """The strings that the keywords about strings admit."""
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    if most is not None and most < least:
        return EMPTY
    parts = [repeat(ANY_CHAR, least, None if most is None else int(most))]
    for key, look_up in (("pattern", schema.document.pattern_language), ("format", schema.document.format_language)):
        name = schema.get(key)
        language = None if name is None else look_up(name)
        if language is not None:
            parts.append(language)
    return intersect(*parts)
