"""What stands in a grammar and is no text of it, the same in every notation.

    %json {"type": "integer"}       the JSON texts that satisfy a schema
    <|eot_id|>  <[128009]>          a special token by its name, brackets included, and by its id
    <"[INST]">                      one whose name has no angle brackets of its own

No tokeniser of a notation can tell where a JSON value ends, so the values are lifted out before the notation is read, and
blanks are left in their place: every offset stays what it was.
"""

from __future__ import annotations

import json
import re

from maskwright.grammars.errors import InvalidError
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.rules import Json, Special

__all__ = ["SPECIAL", "lift", "special_token", "write_special"]

_KEYWORD = "%json"


# A special token, as a regular expression.
SPECIAL = r"<\"(?:[^\"\\\r\n]|\\.)*\">|<[^<>\"\s][^<>\r\n]*>"
_ID = re.compile(r"<\[([0-9]+)\]>")


def special_token(written: str, position: int) -> Special:
    """The special token that `<...>` stands for.

    Raises:
        InvalidError: a name in quotes that is no JSON string.
    """
    if number := _ID.fullmatch(written):
        return Special(int(number[1]), position)
    if not written.startswith('<"'):
        return Special(written, position)
    try:
        return Special(json.loads(written[1:-1]), position)
    except json.JSONDecodeError as error:
        raise InvalidError(f"{written[1:-1]} is no JSON string", position=position, hint='write <"name">') from error


def write_special(token: str | int) -> str:
    """How a special token is written; the reverse of `special_token`."""
    if isinstance(token, int):
        return f"<[{token}]>"
    bare = re.fullmatch(r"<[^<>\"\s][^<>\r\n]*>", token) and not _ID.fullmatch(token)
    return token if bare else f"<{json.dumps(token, ensure_ascii=False)}>"


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
