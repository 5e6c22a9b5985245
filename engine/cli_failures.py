"""What went wrong, in the form that the command line reports it: for people one line, for programs an object.

| kind | what it is |
|---|---|
| invalid | a schema or pattern that is not well formed |
| unsupported | one that cannot be enforced |
| unsatisfiable | one that nothing satisfies |
| limit | one beyond a documented budget |
| tokenizer | a vocabulary that cannot be read, or cannot write what the grammar requires |
| matcher | a prefix that the grammar does not allow |
| truncated | an answer that the tokens were not enough for |
| model | a language model that cannot be loaded or used |
| unreadable | a file that is missing, or is not what it should be |
| usage | a wrong command line |
| missing | an optional package or program that is not installed |
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from maskwright.grammars.errors import GrammarError, MaskwrightError

__all__ = ["REPORTED", "CommandError", "Failure"]


class CommandError(Exception):
    """Something is wrong with what a command was given; the message says what to do.

    Attributes:
        kind: see the table of the module.
        usage: how the command line should look, or "".
    """

    def __init__(self, message: str, *, kind: str = "usage", usage: str = "") -> None:
        self.kind, self.usage = kind, usage
        super().__init__(message)


# The errors that commands report; any other one is a mistake of ours, and shows where.
REPORTED = (MaskwrightError, CommandError, OSError, RecursionError)


@dataclass(frozen=True, slots=True)
class Failure:
    """One error as it is reported.

    Attributes:
        kind: see the table of the module.
        message: what is wrong, without the place.
        source: the file, pattern or other thing it is about, or None.
        pointer: JSON Pointer of the place in a schema, or None.
        keyword: the schema keyword or option that cannot be enforced, or None.
        hint: what to do about it, or "".
        text, offset: the text that is wrong and the byte of it where it is, for a caret; or None.
    """

    kind: str
    message: str
    source: str | None = None
    pointer: str | None = None
    keyword: str | None = None
    hint: str = ""
    text: bytes | None = None
    offset: int = 0

    @classmethod
    def of(cls, error: Exception, source: str | None = None) -> Failure:
        """What is reported of `error`, which something about `source` has raised."""
        if isinstance(error, OSError):
            name = str(error.filename) if error.filename else source
            return cls("unreadable", error.strerror or str(error), name)
        if isinstance(error, CommandError):
            return cls(error.kind, str(error))
        if isinstance(error, RecursionError):
            return cls("limit", "nested too deeply for Python's stack", source)
        kind = type(error).__name__.removesuffix("Error").removesuffix("Exceeded").lower()  # UnsupportedError, ...
        if not isinstance(error, GrammarError):
            return cls(kind, str(error))
        text, offset = _place(error)
        keyword = getattr(error, "keyword", None)
        return cls(kind, error.reason, source, error.pointer, keyword, error.hint, text, offset)

    def __str__(self) -> str:
        """One line."""
        place = "" if self.pointer is None else f"{self.pointer or '(root)'}: "
        source = f"{self.source}: " if self.source else ""
        keyword = f" [{self.keyword}]" if self.keyword else ""
        line = f"{source}{place}{self.message}{'. ' + self.hint if self.hint else ''}{keyword}"
        return " ".join(line.split())

    def as_json(self) -> dict[str, Any]:
        """The fields `kind`, `message`, `hint`, `pointer` and `keyword`; docs/cli.md describes them."""
        return {
            "kind": self.kind,
            "message": self.message,
            "hint": self.hint,
            "pointer": self.pointer,
            "keyword": self.keyword,
        }


def _place(error: GrammarError) -> tuple[bytes | None, int]:
    """The text in which `error` has a position, and the byte where: JSON that does not parse, or a pattern."""
    cause = error.__cause__
    if isinstance(cause, json.JSONDecodeError):
        text, position = cause.doc, cause.pos
    elif error.text is not None and error.position is not None:
        text, position = error.text, error.position
    else:
        return None, 0
    return text.encode(errors="replace"), len(text[:position].encode(errors="replace"))
