"""Random texts of a grammar: drawn through its masks, and finished by the shortest completion."""

from __future__ import annotations

import random

import numpy as np

import maskwright as mw

__all__ = ["Walker"]

_STRUCTURE = frozenset(b'"{}[]:,')
_LENGTHS = (0, 2, 5, 10, 20, 40, 80)  # tokens before a text is made to end


class Walker:
    """Draws texts of grammars over one vocabulary.

    Attributes:
        texts, tokens: how many were drawn.
    """

    def __init__(self, info: mw.TokenizerInfo) -> None:
        self._info = info
        self._structure = np.array([not _STRUCTURE.isdisjoint(token or b"") for token in info.tokens])
        self._ends = np.array(sorted(info.eos_token_ids))
        self.texts = self.tokens = 0

    def text(self, grammar: mw.CompiledGrammar, rng: random.Random) -> bytes:
        """A whole text of the grammar. Each token is one of those that the mask allows, every one with the same chance; now
        and then one of those that carry structure, or else most walks would end inside of a string.

        Raises:
            AssertionError: a dead end; a mask, the matcher and the shortest completion do not agree.
            LimitExceeded: as the matcher.
        """
        matcher, written = mw.GrammarMatcher(grammar), b""
        self.texts += 1
        for _ in range(rng.choice(_LENGTHS)):
            allowed = matcher.allowed_token_ids()
            assert allowed.size, f"an empty mask after {written!r}"
            ends = np.isin(self._ends, allowed).any()
            assert ends == matcher.is_completed(), f"end-of-sequence after {written!r}"
            if rng.random() < 0.3:
                bearing = allowed[self._structure[allowed]]
                allowed = bearing if bearing.size else allowed
            token = int(allowed[rng.randrange(allowed.size)])
            assert matcher.accept_token(token), f"{token} is in the mask after {written!r} and is not accepted"
            self.tokens += 1
            if token in self._ends:
                return written
            written += self._info.tokens[token] or b""
            if rng.random() < 0.1:
                steps = matcher.step_count
                self._complete(matcher, written)
                matcher.rollback(matcher.step_count - steps)
        return written + self._complete(matcher, written)

    def _complete(self, matcher: mw.GrammarMatcher, written: bytes) -> bytes:
        """What completes the text; the matcher goes there."""
        completion = matcher.shortest_completion()
        assert matcher.accept_string(completion), f"{completion!r} is not accepted after {written!r}"
        assert matcher.is_completed(), f"{completion!r} does not complete {written!r}"
        allowed = matcher.allowed_token_ids()
        assert np.isin(self._ends, allowed).any(), f"no end-of-sequence after {written + completion!r}"
        return completion
