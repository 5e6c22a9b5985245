"""Matchers found by the tokens so far: what servers need that ask for masks by prefix and tell nothing else.

A server may call with any sequence at any time: one token more, some tokens less (a draft was rejected), two sequences in
turns, one that has ended. So nothing is remembered by request. *Walks* (a matcher and the tokens that it has accepted) are
kept, and a call takes the one from which its tokens are reached at least cost:

    kept walks     tokens asked for     what happens
    [5, 9]         [5, 9, 2]            accept 2                        decoding: found by one look into a table
    [5, 9, 2, 4]   [5, 9, 7]            roll back 2, accept 7           a draft was rejected
    [5, 9, ... 4]  [5, 9, 7]            a new walk                      another sequence: its walk stays where it is

The mask is always the one that a fresh matcher would give behind the tokens. maskwright.processor does the like for a
batch whose rows belong to one generation, and goes on in lockstep; here there are any number of sequences and threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from maskwright.compile.grammar import CompiledGrammar
from maskwright.grammars.errors import MatcherError, TokenizerError
from maskwright.kernels.bitmask import bitmask_allowing
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.walk import FORK_COST, Tokens, Walk

__all__ = ["Sessions"]

_Key: TypeAlias = tuple[CompiledGrammar, bytes]


class _Walk(Walk):
    """A walk that is kept.

    Attributes:
        counted: bytes that it was counted with.
    """

    counted = 0

    @property
    def nbytes(self) -> int:
        return self.matcher.nbytes + self.tokens.nbytes

    def reach(self, tokens: Tokens, common: int) -> None:
        """Go to these tokens, of which it has the first `common`; raises MatcherError where the grammar does not allow one."""
        wrong = self.move(tokens, common)
        if wrong is not None:
            raise MatcherError(f"the grammar does not allow token {tokens[wrong]} at position {wrong} of the answer")


class Sessions:
    """Walks of any grammars, within a bound in bytes; those used longest ago go first. Any thread may use it.

    Args:
        max_bytes: memory of the walks that wait for their next call. (Those in use are their callers'.)

    Attributes:
        hits: calls that found a walk at their tokens, or one token before.
        searches: calls that did not.
        evictions: walks that were dropped to stay within `max_bytes`.
        nbytes: bytes kept.
    """

    def __init__(self, max_bytes: int = 256 << 20) -> None:
        self.max_bytes, self.nbytes = max_bytes, 0
        self.hits = self.searches = self.evictions = 0
        self._lock = threading.Lock()
        self._walks: OrderedDict[_Key, _Walk] = OrderedDict()  # most recent last

    def __len__(self) -> int:
        """Walks kept."""
        return len(self._walks)

    def fill(self, compiled: CompiledGrammar, tokens: Sequence[int] | npt.NDArray, row: npt.NDArray[np.int32]) -> None:
        """Write which tokens may follow `tokens` in an answer of a grammar.

        Args:
            compiled: the grammar.
            tokens: of the answer so far, integers. Behind the first that ends it others are not looked at.
            row: int32 [W], W at least ceil(V / 32), contiguous, in CPU memory; what is past the vocabulary becomes 0. Of an
                answer that has ended, the tokens that end one.

        Raises:
            MatcherError: the grammar does not allow the tokens.
            TokenizerError: no token writes what must come next, or the vocabulary has none that ends an answer.
            GrammarError: a limit of the grammar is reached. Whatever is raised, `row` allows nothing.
        """
        try:
            given = np.array(tokens, np.int32)  # a copy: the caller's may change
            walk, common = self._take(compiled, given)
            try:
                walk.reach(given, common)
                _fill(walk.matcher, row)
            finally:
                self._keep(walk)
        except BaseException:
            row[:] = 0
            raise

    def is_terminated(self, compiled: CompiledGrammar, tokens: Sequence[int] | npt.NDArray) -> bool:
        """Whether an answer ends within `tokens`; raises MatcherError as `fill`."""
        given = np.array(tokens, np.int32)
        walk, common = self._take(compiled, given)
        try:
            walk.reach(given, common)
            return walk.matcher.is_terminated()
        finally:
            self._keep(walk)

    def clear(self) -> None:
        """Drop all walks, and with them their grammars."""
        with self._lock:
            self._walks.clear()
            self.nbytes = 0

    def _take(self, compiled: CompiledGrammar, tokens: Tokens) -> tuple[_Walk, int]:
        """The walk that comes to `tokens` at least cost, and how many of them it begins with.

        Nobody else finds it until it is given back.
        """
        with self._lock:
            for known in (tokens, tokens[:-1]):
                key = compiled, known.tobytes()
                if key in self._walks:
                    self.hits += 1
                    return self._pop(key), len(known)
            self.searches += 1
            best, least, copied, shared = None, len(tokens), False, 0  # of a new walk
            for key, walk in self._walks.items():
                if key[0] is not compiled:
                    continue
                common = walk.common(tokens)
                # To take a walk that is ahead makes its own sequence, if there is one, come back the same way.
                rolled_back = len(walk.tokens) - common
                cost = len(tokens) - common + min(rolled_back, FORK_COST)
                if cost < least:
                    best, least, copied, shared = key, cost, rolled_back > FORK_COST, common
            if best is None:
                return _Walk(GrammarMatcher(compiled), tokens[:0]), 0
            if not copied:
                return self._pop(best), shared
            walk = self._walks[best]
            return _Walk(walk.matcher.fork(), walk.tokens), shared

    def _pop(self, key: _Key) -> _Walk:
        walk = self._walks.pop(key)
        self.nbytes -= walk.counted
        return walk

    def _keep(self, walk: _Walk) -> None:
        key = walk.matcher.compiled, walk.tokens.tobytes()
        with self._lock:
            if key in self._walks:  # of two at one place one is enough
                self._pop(key)
            walk.counted = walk.nbytes
            self._walks[key] = walk
            self.nbytes += walk.counted
            while self.nbytes > self.max_bytes:
                self._pop(next(iter(self._walks)))
                self.evictions += 1


def _fill(matcher: GrammarMatcher, row: npt.NDArray[np.int32]) -> None:
    """Write a matcher's next mask, or the ends of an answer that has ended; raises TokenizerError where it would be empty."""
    info, words = matcher.compiled.tokenizer_info, matcher.compiled.tokens.words
    if len(row) > words:
        row[words:] = 0
    if matcher.is_terminated():
        row[:words] = bitmask_allowing(info.eos_token_ids, info.vocab_size)
        return
    matcher.fill_next_token_bitmask(row if len(row) == words else row[:words])
    if not row.any():
        wanted = matcher.allowed_bytes()
        raise TokenizerError(f"no token writes what must come next: one of the bytes {wanted!r}")
