"""A matcher that is found by the tokens it has accepted: what serving by prefix is made of (sessions.py, processor.py)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["FORK_COST", "Tokens", "Walk"]

Tokens: TypeAlias = npt.NDArray[np.int32]  # [n]

FORK_COST = 16
"""A fork copies the matcher's memory: about as long as accepting this many tokens."""


class Walk:
    """A matcher and the tokens that it has accepted, one step each.

    Attributes:
        matcher: at the end of `tokens`.
        tokens: int32 [n]; never written to, so that walks may share them.
    """

    def __init__(self, matcher: GrammarMatcher, tokens: Tokens) -> None:
        self.matcher, self.tokens = matcher, tokens

    def common(self, tokens: Tokens) -> int:
        """How many tokens its own and these begin with in common."""
        length = min(len(self.tokens), len(tokens))
        differing = np.flatnonzero(self.tokens[:length] != tokens[:length])
        return int(differing[0]) if differing.size else length

    def move(self, tokens: Tokens, common: int | None = None) -> int | None:
        """Go to `tokens`; past an end of sequence there is nowhere to go.

        Args:
            common: `self.common(tokens)`, where the caller knows it.

        Returns:
            The position of the first token that the grammar does not allow, before which the walk then stands; or None.
        """
        common = self.common(tokens) if common is None else common
        if common < len(self.tokens):
            self.matcher.rollback(len(self.tokens) - common)
        try:
            for position, token in enumerate(tokens[common:].tolist(), common):
                if self.matcher.is_terminated():
                    break
                if not self.matcher.accept_token(token):
                    return position
        finally:
            self.catch_up(tokens)
        return None

    def catch_up(self, tokens: Tokens) -> None:
        """Learn that the matcher has gone on by itself, to a place before or at the end of these tokens."""
        self.tokens = tokens[: self.matcher.step_count].copy()
