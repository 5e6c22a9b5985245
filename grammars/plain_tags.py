"""Tags of a structural tag whose looking at can wait: two strings around a plain schema, as nearly all calls of tools are.

Of hundreds of tools a text calls a few. What is here is all that reading does for the others: a glance at all tags of a list,
and a copy of their schemas, since the caller's may have changed when a text comes to them.
"""

from __future__ import annotations

import marshal
from functools import cached_property
from typing import Any

from maskwright.grammars.plain_schemas import is_plain_object
from maskwright.grammars.xml_parameters import STYLES

__all__ = ["Glances", "PlainJson", "PlainTag"]

_STYLES = frozenset(("json", *STYLES))
_FIELDS = frozenset(("type", "json_schema", "style", "any_order", "max_whitespace_cnt"))
_MAX_WHITESPACE = 2**31


class PlainJson:
    """A format `json_schema` in which nothing is wrong. It derives texts, none of them empty in the style json.

    Attributes:
        number: of its schema, in the order of reading.
        style, any_order, max_whitespace_cnt: as of the format.
    """

    __slots__ = ("any_order", "max_whitespace_cnt", "number", "style")

    def __init__(self, number: int, style: str, any_order: bool, max_whitespace_cnt: int | None) -> None:
        self.number, self.style = number, style
        self.any_order, self.max_whitespace_cnt = any_order, max_whitespace_cnt


class PlainTag:
    """A tag that begins and ends with a string, around a plain content."""

    __slots__ = ("begin", "content", "end")

    def __init__(self, begin: str, content: PlainJson, end: str) -> None:
        self.begin, self.content, self.end = begin, content, end


class Glances:
    """What was seen at a glance in one description, while it was read.

    The description must stay alive and unchanged until `copy`.
    """

    def __init__(self) -> None:
        self._schemas: list[dict[str, Any]] = []
        self._seen: dict[int, PlainJson | None] = {}  # by identity: tools that are called in several ways are seen once
        self._copy: bytes | None = None

    def tags(self, tags: Any) -> Any:
        """The same list with plain tags in the place of what describes them; whatever else it is, unchanged."""
        return [self._tag(tag) for tag in tags] if type(tags) is list else tags

    def _tag(self, tag: Any) -> Any:
        if type(tag) is dict and (len(tag) == 3 or len(tag) == 4 and tag.get("type") == "tag"):
            begin, end = tag.get("begin"), tag.get("end")
            if type(begin) is str is type(end) and (content := self.content(tag.get("content"))) is not None:
                return PlainTag(begin, content, end)
        return tag

    def content(self, content: Any) -> PlainJson | None:
        """The format, if it is a plain `json_schema`. None: nobody knows."""
        key = id(content)
        if key in self._seen:
            return self._seen[key]
        found = self._seen[key] = self._look(content)
        return found

    def _look(self, content: Any) -> PlainJson | None:
        if type(content) is not dict or content.get("type") != "json_schema":
            return None
        style, any_order, spaces = "json", False, None
        if len(content) > 2:
            style, any_order = content.get("style", "json"), content.get("any_order", False)
            spaces = content.get("max_whitespace_cnt")
            if (
                not content.keys() <= _FIELDS
                or (type(style) is not str or style not in _STYLES)
                or (type(any_order) is not bool or any_order and style != "json")
                or (spaces is not None and not (type(spaces) is int and 0 <= spaces < _MAX_WHITESPACE))
            ):
                return None
        schema: Any = content.get("json_schema")
        if not is_plain_object(schema):
            return None
        self._schemas.append(schema)
        return PlainJson(len(self._schemas) - 1, style, any_order, spaces)

    def copy(self) -> bool:
        """Copy the schemas; False when some of them are not made of Python's own types, and cannot be."""
        try:
            self._copy = marshal.dumps(self._schemas)
        except ValueError:
            return False
        self._schemas, self._seen = [], {}
        return True

    @cached_property
    def schemas(self) -> list[dict[str, Any]]:
        """The schemas by their numbers."""
        return self._schemas if self._copy is None else marshal.loads(self._copy)
