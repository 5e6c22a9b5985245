"""ServedGrammar: one request's matcher as vLLM's and SGLang's grammar objects want it; the core of both adapters.

A server moves it token by token and takes tokens back. It knows three places: in the reasoning, which is free; in the
answer, where the matcher is; and past the end, where tokens of a batch or a draft may still arrive. Steps count in all of
them, so that rolling back n tokens is exact whatever they were.

Where something goes wrong it is closed: it accepts nothing more, and its masks allow only the end of the sequence.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.compile.grammar import CompiledGrammar
from maskwright.constraint import Reasoning
from maskwright.grammars.errors import TokenizerError
from maskwright.kernels.bitmask import bitmask_allowing
from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["ServedGrammar"]

_LOG = logging.getLogger("maskwright.servers")


class ServedGrammar:
    """The grammar of one request. One thread at a time.

    Args:
        compiled: the language of the answer.
        reasoning: what comes ahead of it, or None.

    Attributes:
        error: what closed it, or None.

    Raises:
        TokenizerError: the vocabulary has no token that ends a sequence.
    """

    def __init__(self, compiled: CompiledGrammar, reasoning: Reasoning | None = None) -> None:
        info = compiled.tokenizer_info
        if not info.eos_token_ids:
            raise TokenizerError(
                "the vocabulary has no token that ends a sequence: pass eos_token_ids= to TokenizerInfo"
            )
        self.compiled, self.reasoning = compiled, reasoning
        self.error: Exception | None = None
        self._matcher = GrammarMatcher(compiled)
        self._ends = bitmask_allowing(info.eos_token_ids, info.vocab_size)  # int32 [W]
        self._thoughts, self._thinking, self._past = list[int](), reasoning is not None, 0

    def copy(self) -> ServedGrammar:
        """One for another request, at the start."""
        return ServedGrammar(self.compiled, self.reasoning)

    def reset(self) -> None:
        """Back to the start."""
        self._matcher.reset()
        self._thoughts, self._thinking, self._past = [], self.reasoning is not None, 0
        self.error = None

    @property
    def is_terminated(self) -> bool:
        """Whether the answer has ended."""
        return self._matcher.is_terminated()

    def accept(self, token: int) -> bool:
        """Move over a token; False, and nothing moved, where it is not allowed or the grammar is closed."""
        if self.error is not None:
            return False
        if self._thinking:
            self._thoughts.append(token)
            self._thinking = not self._thought_ends()
            return True
        if self.is_terminated:
            self._past += 1
            return True
        try:
            return self._matcher.accept_token(token)
        except Exception as error:
            self._close(error)
            return False

    def accept_all(self, tokens: Sequence[int]) -> int:
        """Move over tokens up to the first that is not allowed; how many."""
        for number, token in enumerate(tokens):
            if not self.accept(token):
                return number
        return len(tokens)

    def rollback(self, count: int) -> None:
        """Take back the last tokens that were accepted.

        Raises:
            MatcherError: there are not so many.
        """
        past = min(count, self._past)
        self._past -= past
        steps = min(count - past, self._matcher.step_count)
        self._matcher.rollback(steps)
        thoughts = count - past - steps
        if thoughts > len(self._thoughts):
            self._matcher.rollback(thoughts)  # says so
        if thoughts:
            del self._thoughts[-thoughts:]
            self._thinking = True  # what follows a marker is the answer, and none of it is left

    def fill(self, row: Any) -> None:
        """Write which tokens may come next; never raises, and never leaves the row empty.

        Args:
            row: int32 [W], a contiguous tensor or array in CPU memory; W may be that of a larger, padded vocabulary.
        """
        words = row.numpy() if hasattr(row, "numpy") else row
        if self._thinking:
            assert self.reasoning is not None
            _write(self.reasoning.row, words)
            return
        if self.error is None and not self.is_terminated:
            try:
                mask = words[: self.compiled.tokens.words]
                self._matcher.fill_next_token_bitmask(mask)
                if not mask.any():
                    wanted = self._matcher.allowed_bytes()
                    raise TokenizerError(f"no token writes what must come next: one of the bytes {wanted!r}")
                words[len(mask) :] = 0
                return
            except Exception as error:
                self._close(error)
        _write(self._ends, words)

    def jump_forward_string(self) -> str:
        """The text that must come next; "" where there is a choice, in the reasoning and past the end."""
        if self._thinking or self.error is not None or self.is_terminated:
            return ""
        return self._matcher.find_jump_forward_string()

    def _thought_ends(self) -> bool:
        assert self.reasoning is not None
        # A marker ends with the last token, and begins at most its length in bytes before.
        return self.reasoning.end(np.array(self._thoughts[-self.reasoning.reach :], np.int32)) is not None

    def _close(self, error: Exception) -> None:
        self.error = error
        _LOG.error("the answer of a request ends here: %s", error, exc_info=error)


def _write(mask: npt.NDArray[np.int32], words: npt.NDArray[np.int32]) -> None:
    """Copy a mask, int32 [W], to the row of a vocabulary that may be larger."""
    words[: len(mask)] = mask
    words[len(mask) :] = 0
