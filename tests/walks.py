"""Random texts of a grammar: drawn through its masks, finished by the shortest completion, and judged by jsonschema."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import numpy as np
from referencing.exceptions import Unresolvable
from validation import Opinion

import maskwright as mw

__all__ = ["Walker", "Walks"]

REFUSALS = (mw.UnsupportedError, mw.LimitExceeded, mw.InvalidError, mw.UnsatisfiableError)

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


class Walks:
    """Walks over one vocabulary, and what came of them.

    Attributes:
        walker: draws them.
        outcomes: of schemas and of texts, how many had which end.
    """

    def __init__(self, info: mw.TokenizerInfo, **limits: Any) -> None:
        self._compiler = mw.GrammarCompiler(info, cache_enabled=False, **limits)
        self.walker = Walker(info)
        self.outcomes: Counter[str] = Counter()

    def walk(self, name: str, schema: Any, count: int, rng: random.Random, **options: Any) -> bool:
        """Draws `count` texts of a schema and has jsonschema judge them; whether the schema was taken.

        Raises:
            AssertionError: a dead end, or a text that is not valid.
        """
        try:
            grammar = self._compiler.compile_json_schema(schema, **options)
        except REFUSALS as error:
            self.outcomes[f"schema: {type(error).__name__}"] += 1
            return False
        opinion = Opinion(schema)
        for _ in range(count):
            try:
                text = self.walker.text(grammar, rng)
            except (mw.UnsupportedError, mw.LimitExceeded) as error:  # found where the text led to
                self.outcomes[f"text: {type(error).__name__}"] += 1
                continue
            except Exception as error:
                raise AssertionError(f"{name}: {error!r}") from error
            try:
                faults = opinion.faults(text)
            except (
                Unresolvable,
                re.error,
                TypeError,
            ) as error:  # what jsonschema cannot read: `items: false` of draft 6, say
                self.outcomes[f"text: jsonschema has {type(error).__name__}"] += 1
                continue
            self.outcomes["text: judged"] += 1
            assert not opinion.repeated, f"{name}: {text.decode()}\na key comes twice"
            assert not faults, f"{name}: {text.decode()}\n{faults}"
        return True
