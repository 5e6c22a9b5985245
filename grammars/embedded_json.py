"""Schemas written inside a grammar: `%json {"type": "integer"}` stands for the JSON texts that satisfy the schema.

No tokeniser of a notation can tell where a JSON value ends, so the values are lifted out before the notation is read, and
blanks are left in their place: every offset stays what it was.
"""

from __future__ import annotations

import json
import re

from maskwright.grammars.errors import InvalidError
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.rules import Json

__all__ = ["lift"]

_KEYWORD = "%json"


def lift(source: str, quoted: str) -> tuple[str, dict[int, Json]]:
    """The text without the values of its `%json`, and for the offset of each `%json` its node.

    Args:
        source: a grammar.
        quoted: a regular expression of what the notation quotes, in which `%json` means nothing: literals, comments.

    Raises:
        InvalidError: what follows a `%json` is no JSON.
    """
    if _KEYWORD not in source:
        return source, {}
    found: dict[int, Json] = {}
    kept: list[str] = []
    at = 0
    search = re.compile(rf"(?P<json>%json(?![A-Za-z0-9_]))|{quoted}", re.DOTALL)
    while (match := search.search(source, at)) is not None:
        end = match.end()
        kept.append(source[at:end])
        if match["json"]:
            begin = next((at for at in range(end, len(source)) if not source[at].isspace()), len(source))
            after = _end(source, begin)
            found[match.start()] = Json(source[begin:after], SchemaOptions())
            kept.append(" " * (after - end))
            end = after
        at = end
    return "".join(kept) + source[at:], found


def _end(source: str, begin: int) -> int:
    """Where the JSON value that begins at an offset ends."""
    try:
        return json.JSONDecoder().raw_decode(source, begin)[1]
    except json.JSONDecodeError as error:
        invalid = InvalidError(f"after `%json` stands no JSON: {error.msg}", position=error.pos, hint="write a schema")
        raise invalid.within(source) from error
    except RecursionError as error:
        raise InvalidError("this schema is nested too deeply", position=begin).within(source) from error
