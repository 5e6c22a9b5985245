"""Every error that Maskwright raises on purpose, as one small tree.

    MaskwrightError
    ├── GrammarError           something is wrong with a schema, pattern or grammar: carries the place
    │   ├── InvalidError           it is not well formed (bad JSON, a schema that is no schema, `$ref` to nowhere)
    │   ├── UnsupportedError       it is well formed and cannot be enforced (yet): never ignored instead
    │   ├── UnsatisfiableError     nothing can satisfy it
    │   └── LimitExceeded          enforcing it needs more than a documented budget
    ├── TokenizerError         a vocabulary that cannot be read, or cannot write what the grammar requires
    ├── MatcherError           a matcher was used wrongly (token id out of range, accept after the end, ...)
    ├── ModelError             a language model cannot be loaded, or is of a kind that cannot be decoded here
    └── TruncatedError         too few tokens for a whole sentence: carries the text so far, and how many are needed

Each carries what a program needs as attributes and says in its message what a person can do.
"""

from __future__ import annotations

from unicodedata import combining, east_asian_width

__all__ = [
    "GrammarError",
    "InvalidError",
    "LimitExceeded",
    "MaskwrightError",
    "MatcherError",
    "ModelError",
    "TokenizerError",
    "TruncatedError",
    "UnsatisfiableError",
    "UnsupportedError",
]


class MaskwrightError(Exception):
    """Base of every error raised on purpose."""


class GrammarError(MaskwrightError):
    """Something is wrong with a schema, pattern or grammar.

    Attributes:
        reason: what is wrong, one sentence.
        pointer: JSON Pointer of the place in a schema ("" is the root), or None.
        position: 0-based code-point offset in a pattern or grammar text, or None.
        hint: what to do about it, or "".
        source: the text that `position` is an offset into, or None where only the caller knows it.
    """

    def __init__(self, reason: str, *, pointer: str | None = None, position: int | None = None, hint: str = "") -> None:
        self.reason, self.pointer, self.position, self.hint = reason, pointer, position, hint
        self.source: str | None = None
        super().__init__(reason)

    def at(self, pointer: str) -> GrammarError:
        """This error with `pointer` filled in where it had none; returns self for `raise error.at(...)`."""
        if self.pointer is None:
            self.pointer = pointer
        return self

    def within(self, source: str) -> GrammarError:
        """This error with `source` filled in where it had none, for line, column and caret; returns self."""
        if self.source is None:
            self.source = source
        return self

    @property
    def line(self) -> int | None:
        """1-based line of `position` in `source`; None without either."""
        return None if self.source is None or self.position is None else _place(self.source, self.position)[0]

    @property
    def column(self) -> int | None:
        """1-based column of `position` in its line, in code points; None without either."""
        return None if self.source is None or self.position is None else _place(self.source, self.position)[1]

    def excerpt(self) -> str:
        """The line of `source` that is meant and a caret below the place: two lines, or "" without a place."""
        if self.source is None or self.position is None:
            return ""
        line, column, text = _place(self.source, self.position)
        begin = 0 if len(text) <= _EXCERPT else max(0, min(column - 1 - _EXCERPT // 2, len(text) - _EXCERPT))
        shown = "".join(c if c.isprintable() else " " for c in text[begin : begin + _EXCERPT])
        return f"{line:>5} | {shown}\n{'':>5} | {_blank(shown[: column - 1 - begin])}^"

    def __str__(self) -> str:
        place = "" if self.pointer is None else f"{self.pointer or '(root)'}: "
        hint = ". " + self.hint if self.hint else ""
        if self.line is not None:
            return f"{place}line {self.line}, column {self.column}: {self.reason}{hint}\n{self.excerpt()}"
        offset = "" if self.position is None else f" (at offset {self.position})"
        return f"{place}{self.reason}{offset}{hint}"


_EXCERPT = 100  # code points of a long line that are shown


def _place(source: str, position: int) -> tuple[int, int, str]:
    """(line, column, the line's text) of an offset; \\r\\n, \\n and \\r end lines."""
    before = source[:position].replace("\r\n", "\n").replace("\r", "\n")
    after = source[position:].replace("\r", "\n")
    start = before.rfind("\n") + 1
    return before.count("\n") + 1, len(before) - start + 1, before[start:] + after.partition("\n")[0]


def _blank(text: str) -> str:
    """Spaces as wide as `text` is on a terminal: East Asian wide characters take two columns, combining ones none."""
    return "".join("" if combining(c) else "  " if east_asian_width(c) in "WF" else " " for c in text)


class InvalidError(GrammarError):
    """The schema, pattern or grammar is not well formed."""


class UnsupportedError(GrammarError):
    """The schema, pattern or grammar is well formed but cannot be enforced.

    Attributes:
        keyword: the schema keyword or option that cannot be enforced, or None.
    """

    def __init__(
        self,
        reason: str,
        *,
        keyword: str | None = None,
        pointer: str | None = None,
        position: int | None = None,
        hint: str = "",
    ) -> None:
        self.keyword = keyword
        super().__init__(reason, pointer=pointer, position=position, hint=hint)


class UnsatisfiableError(GrammarError):
    """No text satisfies the schema, pattern or grammar."""


class LimitExceeded(GrammarError):
    """Enforcing the grammar needs more than a documented budget.

    Attributes:
        limit: the budget's name, as the option that raises it is called.
        value: what was reached.
        maximum: what was allowed.
    """

    def __init__(
        self, limit: str, value: float, maximum: float, *, what: str = "", pointer: str | None = None, hint: str = ""
    ) -> None:
        self.limit, self.value, self.maximum = limit, value, maximum
        reason = f"{what + ': ' if what else ''}{limit} reached {value:,} where {maximum:,} is the limit"
        super().__init__(reason, pointer=pointer, hint=hint or f"simplify the schema here, or raise {limit}")


class TokenizerError(MaskwrightError):
    """A vocabulary cannot be read, or cannot write what the grammar requires."""


class MatcherError(MaskwrightError):
    """A matcher was used wrongly; it is left as it was."""


class ModelError(MaskwrightError):
    """A language model cannot be loaded, or is of a kind that cannot be decoded here."""


class TruncatedError(MaskwrightError):
    """The tokens do not suffice for a whole sentence of the grammar.

    Attributes:
        text: what was generated so far; a character cut in half by the last token is shown as U+FFFD. "" where it was
            clear before the model was asked.
        max_tokens: how many tokens were allowed.
        needed: tokens that the shortest sentence takes, or None where the tokens ran out on the way.
    """

    def __init__(self, *, text: str, max_tokens: int, needed: int | None = None) -> None:
        self.text, self.max_tokens, self.needed = text, max_tokens, needed
        if needed is not None:
            message = f"max_new_tokens={max_tokens}: the shortest answer takes {needed} tokens. Allow at least {needed}"
        else:
            tail = text if len(text) <= 60 else "..." + text[-60:]
            message = (
                f"{max_tokens} tokens were not enough to complete the text, which ends in {tail!r}. "
                "Raise max_new_tokens, or bound the schema's strings and arrays (maxLength, maxItems)"
            )
        super().__init__(message)
