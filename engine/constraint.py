"""Constraint: the masks of one answer in a server that must never go on without one.

Servers treat an exception of a plug-in in their own ways: llama-cpp-python prints it and samples on, unconstrained; others
take the whole engine down with every other request. So a constraint never raises while it masks. Where something goes
wrong the answer ends: from then on its mask allows the end of the sequence alone, and the error is kept for `check()`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars.errors import MatcherError, TokenizerError
from maskwright.kernels.bitmask import bitmask_allowing, bitmask_words
from maskwright.sessions import Sessions

__all__ = ["Constraint", "PrefixMask", "Reasoning"]


class Reasoning:
    """Free text ahead of an answer, up to a marker such as `</think>`.

    A marker that is a special token of the vocabulary is looked for by its id. Any other is looked for in the bytes that the
    tokens write; the token that completes it is free to its end.

    Args:
        info: the vocabulary.
        marker: what ends the reasoning.

    Raises:
        TokenizerError: the marker is empty.
    """

    def __init__(self, info: TokenizerInfo, marker: str) -> None:
        if not marker:
            raise TokenizerError("the marker that ends the reasoning is empty: name one, such as </think>")
        self._info, self._marker = info, marker.encode()
        self._token = info.special_names.get(marker)
        self.reach = len(self._marker) + 1
        """As many tokens, the last ones, tell whether the last of them ends the reasoning."""
        writing = [number for number, text in enumerate(info.tokens) if text is not None]
        ends = set(info.eos_token_ids)
        self.row = bitmask_allowing([token for token in writing if token not in ends], info.vocab_size)
        """int32 [W]: every token that is one, but those that end a sequence: an answer must follow."""

    def end(self, tokens: npt.NDArray[np.int32]) -> int | None:
        """How many tokens the reasoning takes, its marker included; None where it has not ended."""
        if self._token is not None:
            found = np.flatnonzero(tokens == self._token)
            return int(found[0]) + 1 if found.size else None
        written = [
            b"" if token in self._info.special_token_ids else self._info.tokens[token] or b"" for token in tokens
        ]
        at = b"".join(written).find(self._marker)
        if at < 0:
            return None
        ends = np.cumsum([len(text) for text in written])
        return int(np.searchsorted(ends, at + len(self._marker))) + 1


class Constraint:
    """One answer's grammar, by prefix, fail-closed. One thread at a time.

    Args:
        sessions: where matchers are kept.
        compiled: the grammar of the answer.
        reasoning: what may come ahead of it.

    Attributes:
        error: what went wrong, or None.

    Raises:
        TokenizerError: the vocabulary has no token that ends a sequence, so that nothing could be stopped.
    """

    def __init__(self, sessions: Sessions, compiled: CompiledGrammar, reasoning: Reasoning | None = None) -> None:
        info = compiled.tokenizer_info
        if not info.eos_token_ids:
            raise TokenizerError(
                "this vocabulary has no end-of-sequence token, so an answer could not be stopped: "
                "pass eos_token_ids= to TokenizerInfo"
            )
        self.compiled = compiled
        self.error: BaseException | None = None
        self._sessions, self._reasoning = sessions, reasoning
        self._ends = bitmask_allowing(info.eos_token_ids, info.vocab_size)

    @property
    def words(self) -> int:
        """int32 words that the vocabulary takes."""
        return bitmask_words(self.compiled.tokenizer_info.vocab_size)

    def fill(self, tokens: Sequence[int] | npt.NDArray, row: npt.NDArray[np.int32]) -> None:
        """Write which tokens may follow; never raises for what the tokens are, and never leaves the row empty.

        Args:
            tokens: all that was generated so far, reasoning included.
            row: int32 [W], as for `Sessions.fill`.
        """
        if self.error is None:
            try:
                self._fill(np.array(tokens, np.int32), row)
                return
            except Exception as error:  # whatever it is: the answer ends, and check() tells
                self.error = error
        row[:] = 0
        row[: len(self._ends)] = self._ends

    def _fill(self, tokens: npt.NDArray[np.int32], row: npt.NDArray[np.int32]) -> None:
        start = 0
        if self._reasoning is not None:
            end = self._reasoning.end(tokens)
            if end is None:
                row[:] = 0
                row[: len(self._reasoning.row)] = self._reasoning.row
                return
            start = end
        self._sessions.fill(self.compiled, tokens[start:], row)

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        if self.error is not None:
            raise self.error


class PrefixMask:
    """The masks of one generation in a server that hands over all tokens so far, prompt included.

    Args:
        compiled: the grammar of the answer.
        sessions: where matchers are kept; None: its own.
        reasoning: what may come ahead of the answer.
        prompt_length: tokens ahead of the generated ones; None: what the first call brings.

    One instance serves one generation; `reset()` begins another. `check()` raises what went wrong, if anything did.
    """

    def __init__(
        self,
        compiled: CompiledGrammar,
        *,
        sessions: Sessions | None = None,
        reasoning: Reasoning | None = None,
        prompt_length: int | None = None,
    ) -> None:
        self._constraint = Constraint(Sessions() if sessions is None else sessions, compiled, reasoning)
        self._given_length = self._prompt_length = prompt_length
        self._row = np.zeros(self._constraint.words, np.int32)

    def reset(self) -> None:
        """Begin another generation."""
        self._prompt_length, self._constraint.error = self._given_length, None

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        self._constraint.check()

    def close(self, error: BaseException) -> None:
        """End the answer: from now on only the end may come, and `check()` raises the first error that there was."""
        if self._constraint.error is None:
            self._constraint.error = error

    def row(self, tokens: npt.NDArray) -> npt.NDArray[np.int32]:
        """int32 [W], never empty: what may follow all tokens so far, integers [n]. Good until the next call."""
        if self._prompt_length is None:
            self._prompt_length = len(tokens)
        if len(tokens) < self._prompt_length:
            self.close(
                MatcherError(
                    f"there are {len(tokens)} tokens, fewer than the {self._prompt_length} of the prompt: "
                    "reset() before another generation"
                )
            )
        self._constraint.fill(tokens[self._prompt_length :], self._row)
        return self._row
