"""Compiled grammars by content, within a bound in bytes.

The states of many grammars lie in one automaton, and its memory comes back only as a whole. So automata are the
generations of this cache: a new one is begun when the newest has its share of the bytes, and what is evicted is the
generation that was used longest ago, with all of its grammars. One that is asked for again is compiled again, into the
newest generation, which takes about a millisecond for a schema. Whoever still holds an evicted grammar can go on using it.

Spare arenas of matchers (runtime/arena.py) go first: past their share of the bytes, those of the grammars that were used
longest ago.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from maskwright.compile.automaton import Automaton
from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.row_file import RowFile
from maskwright.compile.rows import RowCache

__all__ = ["CacheBytes", "CacheInfo", "GrammarCache"]

_GENERATIONS = 8  # that the bound has room for
_ARENA_SHARE = 4  # spare arenas take a fourth of the bound at most, and so do rows
_FEWEST_UNCHECKED = 16  # look-ups between two counts of all spare arenas
_LIKELY_ARENA = 1 << 18  # bytes


@dataclass(frozen=True, slots=True)
class CacheBytes:
    """Bytes kept, by kind; of Python objects an estimate.

    Attributes:
        automata: tables of states, and the objects behind states.
        rows: mask rows, each counted once whichever automata use it, and rows of loaded grammars, not asked for yet.
        grammars: schemas and rules, which states are lowered from on demand.
        arenas: memory of matchers that are gone, kept for the next ones.
    """

    automata: int
    rows: int
    grammars: int
    arenas: int

    @property
    def total(self) -> int:
        return self.automata + self.rows + self.grammars + self.arenas


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What `GrammarCompiler.cache_info` answers.

    Attributes:
        hits, misses: grammars that were asked for and found, and that had to be compiled.
        evictions: grammars dropped to stay within `max_bytes`.
        grammars: how many are kept.
        nbytes: bytes kept.
        max_bytes: the bound.
        rows_loaded, rows_stored: mask rows that were found on disk or in loaded grammars, and written to the disk cache.
    """

    hits: int
    misses: int
    evictions: int
    grammars: int
    nbytes: CacheBytes
    max_bytes: int
    rows_loaded: int = 0
    rows_stored: int = 0


class _Generation:
    """An automaton and what the cache has of it."""

    def __init__(self, automaton: Automaton) -> None:
        self.automaton = automaton
        self.keys: set[Hashable] = set()
        self.source_bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes that come back when it goes."""
        return self.automaton.nbytes + self.automaton.row_bytes + self.source_bytes


class GrammarCache:
    """Grammars by content, and the automaton for the next one. Any thread may use it.

    Args:
        max_bytes: the bound, of all that `CacheBytes` counts.
        new_automaton: makes an automaton whose rows outlive it in the given RowCache.
        row_file: where rows are kept for other processes.
    """

    def __init__(self, max_bytes: int, new_automaton: Callable[[RowCache], Automaton], row_file: RowFile) -> None:
        self.max_bytes, self.row_file = max_bytes, row_file
        self.rows = RowCache(max_bytes // _ARENA_SHARE, row_file)
        self._new_automaton = new_automaton
        self._lock = threading.Lock()
        self._hits = self._misses = self._evictions = 0
        self._begin()

    def _begin(self) -> None:
        self._grammars: OrderedDict[Hashable, CompiledGrammar] = OrderedDict()  # most recent last, as all here
        self._generations: OrderedDict[Automaton, _Generation] = OrderedDict()
        self._unchecked = _FEWEST_UNCHECKED
        self._add_generation()

    def _add_generation(self) -> None:
        self._newest = _Generation(self._new_automaton(self.rows))
        self._generations[self._newest.automaton] = self._newest

    def get(self, key: Hashable) -> CompiledGrammar | None:
        """The grammar of `key`, used most recently from now on; None when it is to be compiled."""
        with self._lock:
            found = self._grammars.get(key)
            if found is None:
                self._misses += 1
                return None
            self._hits += 1
            self._grammars.move_to_end(key)
            self._generations.move_to_end(found.automaton)
            self._check_arenas()
            return found

    def room(self) -> Automaton:
        """The automaton for the next grammar."""
        with self._lock:
            newest = self._newest
            if newest.nbytes > self.max_bytes // _GENERATIONS or newest.automaton.is_filling:
                self._add_generation()
            self._evict()
            return self._newest.automaton

    def put(self, key: Hashable | None, compiled: CompiledGrammar) -> CompiledGrammar:
        """Keep a grammar (None: only count its source); the one that is kept, if another thread was faster."""
        with self._lock:
            generation = self._generations.get(compiled.automaton)
            if key is not None and key in self._grammars:
                return self._grammars[key]
            if generation is None:  # evicted while it was compiled
                return compiled
            generation.source_bytes += compiled.source_bytes
            if key is not None:
                self._grammars[key] = compiled
                generation.keys.add(key)
            self._check_arenas()
            return compiled

    def clear(self) -> None:
        """Forget everything, the rows too; the counters go on."""
        with self._lock:
            self.rows.clear()
            self.row_file.forget_offered()
            self._begin()

    def _evict(self) -> None:
        """Drop generations without grammars; and others until the rest, with arenas and rows at their most, is in bounds."""
        most = self.max_bytes - 2 * (self.max_bytes // _ARENA_SHARE) - self.row_file.offered_bytes
        sizes = {automaton: generation.nbytes for automaton, generation in self._generations.items()}
        total = sum(sizes.values())
        for automaton in list(self._generations):
            if automaton is self._newest.automaton or (total <= most and self._generations[automaton].keys):
                continue
            total -= sizes[automaton]
            for key in self._generations.pop(automaton).keys:
                del self._grammars[key]
                self._evictions += 1

    def _check_arenas(self) -> None:
        """When there may be too many spare arenas: drop those of the grammars used longest ago.

        A fourth more than needed is dropped, and the next count is when half as much may have come again, so that a look-up
        costs little however many grammars there are.
        """
        self._unchecked -= 1
        if self._unchecked > 0:
            return
        total, most = self._arena_bytes(), self.max_bytes // _ARENA_SHARE
        each = max(_LIKELY_ARENA, total // max(1, len(self._grammars)))
        if total > most:
            for compiled in self._grammars.values():
                total -= compiled.drop_spare_arenas()
                if total <= most - most // 4:
                    break
        self._unchecked = max(_FEWEST_UNCHECKED, (most - total) // (2 * each))

    def _arena_bytes(self) -> int:
        return sum(compiled.spare_bytes for compiled in self._grammars.values())

    def info(self) -> CacheInfo:
        """The counters, and the bytes counted anew."""
        with self._lock:
            generations = self._generations.values()
            rows = {id(row): row.nbytes for row in self.rows.kept}
            for generation in generations:
                rows |= {id(row): row.nbytes for row in generation.automaton.rows_held}
            nbytes = CacheBytes(
                automata=sum(generation.automaton.nbytes for generation in generations),
                rows=sum(rows.values()) + self.row_file.offered_bytes,
                grammars=sum(generation.source_bytes for generation in generations),
                arenas=self._arena_bytes(),
            )
            counters = self._hits, self._misses, self._evictions, len(self._grammars)
            return CacheInfo(*counters, nbytes, self.max_bytes, self.row_file.loaded, self.row_file.stored)
