"""What a server over HTTP says of errors: a status, a word for programs, and the form of OpenAI's API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskwright.cli_failures import Failure
from maskwright.grammars.errors import GrammarError, MaskwrightError, TokenizerError, TruncatedError

__all__ = ["Overloaded", "Refusal", "Stopping", "TimedOut"]


class Overloaded(MaskwrightError):
    """More requests wait than the server takes."""


class Stopping(MaskwrightError):
    """The server is shutting down."""


class TimedOut(MaskwrightError):
    """An answer was not finished in the time that it may take."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as HTTP tells it, in the form of OpenAI's API.

    Attributes:
        status: of the response.
        kind: a word for programs; docs/servers.md lists them.
        message: for people, what to do included.
        pointer: JSON Pointer of the place in the request, or None.
    """

    status: int
    kind: str
    message: str
    pointer: str | None = None

    @classmethod
    def of(cls, error: Exception) -> Refusal:
        """What is said of an error; one that is a mistake of ours is told without its details."""
        for kind, status in ((Overloaded, 429), (Stopping, 503), (TimedOut, 504)):
            if isinstance(error, kind):
                return cls(status, kind.__name__.lower(), str(error))
        if isinstance(error, TruncatedError):
            return cls(400, "truncated", str(error).replace("max_new_tokens", "max_tokens"), "/max_tokens")
        if isinstance(error, GrammarError | TokenizerError | RecursionError):
            failure = Failure.of(error)
            position = error.position if isinstance(error, GrammarError) else None
            where = "" if position is None else f" (at offset {position})"
            hint = f". {failure.hint}" if failure.hint else ""
            return cls(400, failure.kind, f"{failure.message}{where}{hint}", failure.pointer)
        return cls(500, "internal", "something went wrong in the server; its log has the details")

    def as_json(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.pointer, "code": self.kind}}
