"""A matcher that can be sent to any prefix of an answer, through the tail of a prompt if it has one.

A prompt that is cut off inside a token is conditioned on as text: its last bytes, the tail, may be written by any tokens, of
which the last may reach into the answer. Within the tail there is no grammar to ask: a token fits if it writes some of what
is left of it, or all of it and then something that the grammar lets an answer begin with.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["Slot", "SortedTokens", "Tail"]


class SortedTokens:
    """The text tokens of a vocabulary in the order of their bytes."""

    def __init__(self, info: TokenizerInfo) -> None:
        pairs = sorted(
            (text, token) for token, text in enumerate(info.tokens) if text and token not in info.special_token_ids
        )
        self._texts, self._ids = [text for text, _ in pairs], [token for _, token in pairs]
        self._longest = max(map(len, self._texts))

    def beginning(self, text: bytes) -> Iterator[tuple[int, bytes]]:
        """Tokens, with their bytes, that begin with `text`."""
        for place in range(bisect_left(self._texts, text), len(self._texts)):
            if not self._texts[place].startswith(text):
                return
            yield self._ids[place], self._texts[place]

    def within(self, text: bytes) -> Iterator[tuple[int, bytes]]:
        """Tokens, with their bytes, that `text` begins with and that are shorter."""
        for length in range(1, min(len(text) - 1, self._longest) + 1):
            piece = text[:length]
            for place in range(bisect_left(self._texts, piece), len(self._texts)):
                if self._texts[place] != piece:
                    break
                yield self._ids[place], piece


class Tail:
    """What answers begin with before the grammar. Attributes: text, its bytes."""

    def __init__(self, text: bytes, info: TokenizerInfo) -> None:
        self.text, self._info = text, info

    @cached_property
    def tokens(self) -> SortedTokens:
        return SortedTokens(self._info)


class Slot:
    """A place in an answer.

    Attributes:
        tokens: the answer so far, with the tail.
        matcher: where the grammar is; at its beginning within the tail.
    """

    def __init__(self, compiled: CompiledGrammar, tail: Tail) -> None:
        self.matcher = GrammarMatcher(compiled)
        self.tokens: list[int] = []
        self._tail, self._texts = tail, compiled.tokenizer_info.tokens
        self._left = [tail.text]  # of the tail, behind each token and before the first
        self._steps: list[int] = []  # of the matcher, for each token

    @property
    def in_tail(self) -> bool:
        """Whether some of the tail is not written yet."""
        return bool(self._left[-1])

    def go(self, tokens: Sequence[int]) -> None:
        """To the end of some tokens, each of which is allowed behind those before."""
        common = 0
        for ours, wanted in zip(self.tokens, tokens, strict=False):
            if ours != wanted:
                break
            common += 1
        self.matcher.rollback(sum(self._steps[common:]))
        del self.tokens[common:], self._steps[common:], self._left[common + 1 :]
        for token in tokens[common:]:
            self.accept(token)

    def accept(self, token: int) -> None:
        left, before = self._left[-1], self.matcher.step_count
        if left:
            written = self._texts[token] or b""
            accepted = len(written) <= len(left) or self.matcher.accept_string(written[len(left) :])
            self._left.append(left[len(written) :])
        else:
            accepted = self.matcher.accept_token(token)
            self._left.append(b"")
        assert accepted, "a token of the trie is one that was allowed"
        self.tokens.append(token)
        self._steps.append(self.matcher.step_count - before)

    def allowed_in_tail(self) -> npt.NDArray[np.int64]:
        """The tokens that may come next within the tail, ascending."""
        left, sorted_tokens = self._left[-1], self._tail.tokens
        found = [token for token, _ in sorted_tokens.within(left)]
        for token, written in sorted_tokens.beginning(left):
            rest = written[len(left) :]
            if not rest:
                found.append(token)
            elif self.matcher.accept_string(rest):
                self.matcher.rollback()
                found.append(token)
        return np.array(sorted(found), np.int64)
