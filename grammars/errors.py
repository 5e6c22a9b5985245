"""Every error that Maskwright raises on purpose, as one small tree.

    MaskwrightError
    ├── GrammarError           something is wrong with a schema, pattern or grammar: carries the place
    │   ├── InvalidError           it is not well formed (bad JSON, a schema that is no schema, `$ref` to nowhere)
    │   ├── UnsupportedError       it is well formed and cannot be enforced (yet): never ignored instead
    │   ├── UnsatisfiableError     nothing can satisfy it
    │   └── LimitExceeded          enforcing it needs more than a documented budget
    ├── TokenizerError         a vocabulary that cannot be read, or cannot write what the grammar requires
    ├── MatcherError           a matcher was used wrongly (token id out of range, accept after the end, ...)
    ├── BatchError             some matchers of a batch could not go on: carries the error of each
    ├── ModelError             a language model cannot be loaded, or is of a kind that cannot be decoded here
    ├── SavedGrammarError      a compiled grammar cannot be written into a file, or not be read from it
    ├── SavedTrieError         what sampling has learnt cannot be written into a file, or is of something else
    └── TruncatedError         too few tokens for a whole sentence: carries the text so far, and how many are needed

Each carries what a program needs as attributes and says in its message what a person can do.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

__all__ = [
    "BatchError",
    "GrammarError",
    "InvalidError",
    "LimitExceeded",
    "MaskwrightError",
    "MatcherError",
    "ModelError",
    "SavedGrammarError",
    "SavedTrieError",
    "TokenizerError",
    "TruncatedError",
    "UnsatisfiableError",
    "UnsupportedError",
    "caret",
    "line_and_column",
]


def line_and_column(text: str, position: int) -> tuple[int, int]:
    """Line and column, both from 1, of a code-point offset in `text`."""
    start = text.rfind("\n", 0, position) + 1
    return text.count("\n", 0, position) + 1, position - start + 1


def caret(text: str, position: int, width: int = 100) -> str:
    """The line of `text` around a code-point offset, and under it a caret: two lines.

    At most `width` characters of the line are shown; what is cut off on either side becomes "...". A character that a
    terminal would not print is shown as a space.
    """
    start = text.rfind("\n", 0, position) + 1
    stop = text.find("\n", position)
    before = _shown(text[start:position])
    after = _shown(text[position : stop if stop >= 0 else len(text)])
    if len(before) > width * 3 // 4:
        before = "..." + before[-(width * 3 // 4) :]
    if len(before) + len(after) > width:
        after = after[: width - len(before)] + "..."
    return f"{before}{after}\n{' ' * sum(map(_columns, before))}^"


def _shown(part: str) -> str:
    return "".join(character if character.isprintable() else " " for character in part)


def _columns(character: str) -> int:
    """How many columns of a terminal a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class MaskwrightError(Exception):
    """Base of every error raised on purpose."""


class GrammarError(MaskwrightError):
    """Something is wrong with a schema, pattern or grammar.

    Attributes:
        reason: what is wrong, one sentence.
        pointer: JSON Pointer of the place in a schema ("" is the root), or None.
        position: 0-based code-point offset in a pattern or grammar text, or None.
        hint: what to do about it, or "".
        text: the pattern or grammar text that `position` is in, or None; the message shows its line with a caret.
    """

    def __init__(self, reason: str, *, pointer: str | None = None, position: int | None = None, hint: str = "") -> None:
        self.reason, self.pointer, self.position, self.hint = reason, pointer, position, hint
        self.text: str | None = None
        super().__init__(reason)

    def within(self, text: str) -> GrammarError:
        """This error with `text`, which its position is in, filled in where it had none."""
        if self.text is None:
            self.text = text
        return self

    @property
    def line(self) -> int | None:
        """The line of `position` in `text`, from 1; None without both."""
        return None if self.text is None or self.position is None else line_and_column(self.text, self.position)[0]

    @property
    def column(self) -> int | None:
        """The column of `position` in its line, from 1, in code points; None without both."""
        return None if self.text is None or self.position is None else line_and_column(self.text, self.position)[1]

    def at(self, pointer: str) -> GrammarError:
        """This error with `pointer` filled in where it had none; returns self for `raise error.at(...)`."""
        if self.pointer is None:
            self.pointer = pointer
        return self

    def __str__(self) -> str:
        place = "" if self.pointer is None else f"{self.pointer or '(root)'}: "
        message = f"{place}{self.reason}{self._where()}{'. ' + self.hint if self.hint else ''}"
        if self.text is None or self.position is None:
            return message
        return f"{message}\n{caret(self.text, self.position)}"

    def _where(self) -> str:
        if self.position is None:
            return ""
        if self.text is None or "\n" not in self.text:
            return f" (at offset {self.position})"
        line, column = line_and_column(self.text, self.position)
        return f" (line {line}, column {column})"


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


class BatchError(MaskwrightError):
    """Some matchers of a batch could not go on; the others are not concerned.

    Attributes:
        failures: by number in the batch, the error of each matcher that could not: what it would have raised by itself.
    """

    def __init__(self, failures: Mapping[int, MaskwrightError], size: int) -> None:
        self.failures = dict(failures)
        number, error = next(iter(self.failures.items()))
        also = f" ({len(self.failures)} of {size} matchers could not go on)" if len(self.failures) > 1 else ""
        super().__init__(f"matcher {number} of the batch{also}: {error}")


class ModelError(MaskwrightError):
    """A language model cannot be loaded, or is of a kind that cannot be decoded here."""


class SavedGrammarError(MaskwrightError):
    """A compiled grammar cannot be written into a file, or what is in a file is no grammar of this tokenizer and version."""


class SavedTrieError(MaskwrightError):
    """What sampling has learnt cannot be written into a file, or a file is not of this model, prompt, grammar and target."""


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
