"""Computes the mask rows of an automaton: what a state allows while its frame lasts, and what is left where it ends.

A row belongs to a state and its slack, not to a stack; tokens that leave the frame are kept as a trie of remainders, to
be walked from whatever lies below (kernels/automaton.py: fill). Rows of states whose language is known by content (the inside
of a string, numbers, white space) are shared by all grammars of a compiler.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from maskwright.compile.row_file import RowFile, RowParts
from maskwright.compile.token_tables import TokenTables, trie_header
from maskwright.compile.workspace import Workspace
from maskwright.kernels import layout as L
from maskwright.kernels import walks as kernels
from maskwright.kernels.remainders import build_remainders, part_exits

__all__ = ["RemainderCache", "Row", "RowCache", "RowWalker"]

Array = np.ndarray[Any, Any]
Segment = tuple[int, int, int, int, int]  # address of a trie's header, result code, first node, end node, shared

_FEW_EXITS = 6  # so many subtrees are walked as they are; more are merged into a trie of remainders
_MANY_TOKENS = 64  # tokens of a subtree that is walked as it is, however many there are: merging it would cost more
_MAX_REMAINDERS = 256  # tries of remainders that are kept to be used again
_KNOWN_STEPS = 1 << 13  # of one walk (kernels/known.py)
_SPARSE_LIMIT = 2048  # token ids; a dense row of 128k tokens costs as much memory as 4,008 of them


class Row:
    """One row. `record` is what kernels read (layouts: ROW_*, SEGMENT_*); the row keeps alive what it points to.

    Args:
        dense: whether `data` is mask words, or token ids.
        data: int32.
        segments: (address of a trie's header, result code, first node, end node, shared) of the remainders.
        exits: int32 [E, 3], what the segments were made of (trie node, result code, 1 if the byte is in the remainder).
        excluded: int32 [X, 2], ranges of ranks that do not count in shared segments.
        held: other owners of memory that the segments point to.
        both: see RowParts.
    """

    __slots__ = ("_held", "both", "data", "dense", "excluded", "exits", "nbytes", "record", "segments")

    def __init__(
        self,
        dense: bool,
        data: Array,
        segments: list[Segment],
        exits: Array,
        excluded: Array | None = None,
        held: Any = None,
        both: bool = False,
    ) -> None:
        self.both = both
        self.dense, self.data, self.segments, self.exits, self.excluded = dense, data, segments, exits, excluded
        packed = np.array(segments, np.int64)
        self._held = (held, packed)
        self.record = (
            L.ROW_DENSE if dense else L.ROW_SPARSE,
            data.ctypes.data,
            len(data),
            packed.ctypes.data if len(packed) else 0,
            len(segments),
            0 if excluded is None else excluded.ctypes.data,
            0 if excluded is None else len(excluded),
        )
        self.nbytes = data.nbytes + packed.nbytes + exits.nbytes + 512


class RowCache:
    """Rows by content, shared by the grammars of one compiler; bounded in bytes, oldest use evicted first.

    A row lives on as long as a grammar uses it. Any thread may use the cache, which several automata share.

    Args:
        max_bytes: the bound.
        file: where rows are kept for other processes.

    Attributes: nbytes, max_bytes, hits, misses, evictions, file.
    """

    def __init__(self, max_bytes: int, file: RowFile | None = None) -> None:
        self.max_bytes, self.nbytes, self.file = max_bytes, 0, file
        self.hits = self.misses = self.evictions = 0
        self._rows: dict[Hashable, Row] = {}
        self._lock = threading.Lock()

    @property
    def kept(self) -> tuple[Row, ...]:
        """The rows, those used longest ago first."""
        return tuple(self._rows.values())

    def get(self, key: Hashable) -> Row | None:
        with self._lock:
            row = self._rows.pop(key, None)
            if row is None:
                self.misses += 1
                return None
            self._rows[key] = row  # most recent last
            self.hits += 1
            return row

    def put(self, key: Hashable, row: Row) -> None:
        with self._lock:
            replaced = self._rows.pop(key, None)
            if replaced is not None:
                self.nbytes -= replaced.nbytes
            self._rows[key] = row
            self.nbytes += row.nbytes
            while self.nbytes > self.max_bytes and len(self._rows) > 1:
                oldest = next(iter(self._rows))
                self.nbytes -= self._rows.pop(oldest).nbytes
                self.evictions += 1

    def clear(self) -> None:
        """Forget the rows; the counters go on."""
        with self._lock:
            self._rows.clear()
            self.nbytes = 0


class RemainderCache:
    """Tries of remainders by the exits that they were made of; the oldest use is dropped first. For many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tries: dict[bytes, tuple[list[Segment], Any]] = {}

    def get(self, key: bytes) -> tuple[list[Segment], Any] | None:
        with self._lock:
            found = self._tries.pop(key, None)
            if found is not None:
                self._tries[key] = found  # most recent last
            return found

    def put(self, key: bytes, made: tuple[list[Segment], Any]) -> None:
        with self._lock:
            self._tries[key] = made
            if len(self._tries) > _MAX_REMAINDERS:
                del self._tries[next(iter(self._tries))]


class RowWalker(Workspace):
    """Scratch space for computing rows over one vocabulary; used by one thread at a time.

    Its kernels run without the interpreter lock. Whoever computes rows holds the lock of the automaton, so that its tables
    change only where `lower` changes them.

    The scratch is laid out as a matcher whose stack is a single bottom with block -1, so that a walk that ends the
    frame is told so instead of going on below.
    """

    def __init__(self, tokens: TokenTables, remainders: RemainderCache) -> None:
        super().__init__(tokens.max_token, -1, ranges=4096, exits=1024)
        self._place(L.MATCHER_STEPS, np.zeros(_KNOWN_STEPS * L.STEP_SIZE, np.int32))
        self.header[L.MATCHER_STEPS_MASK] = _KNOWN_STEPS - 1
        self.tokens = tokens
        self._ids = np.zeros(max(1, len(tokens.trie_tokens)), np.int32)
        self._nothing = np.zeros(tokens.words, np.int32)
        self._remainders = remainders

    def compute(self, automaton: int, state: int, register: int, lower: Callable[[int], None]) -> Row:
        """The row of (state, register); `lower(state)` lowers a state that the walk reaches for the first time."""
        tokens, address = self.tokens, self.address
        trie = tokens.trie.ctypes.data
        resume = 0
        while True:
            status = kernels.walk_row(automaton, address, trie, tokens.trie_nodes, state, register, resume)
            if status == L.OK:
                break
            resume = 1
            if status == L.NEED_LOWER:
                lower(int(self.header[L.MATCHER_NEED]))
            else:
                self.grow(status)
        ranges = self._arrays[L.MATCHER_RANGES][: 2 * int(self.header[L.MATCHER_RANGE_COUNT])]
        allowed = int((ranges[1::2] - ranges[::2]).sum())
        dense = allowed > _SPARSE_LIMIT
        if dense:
            data = np.empty(tokens.words, np.int32)
            kernels.row_words(address, trie, data.ctypes.data, tokens.words, tokens.everything.ctypes.data)
        else:
            if allowed > len(self._ids):
                self._ids = np.zeros(2 * allowed, np.int32)
            count = kernels.row_ids(address, trie, self._ids.ctypes.data)
            data = self._ids[:count].copy()
        return self.assemble(RowParts(dense, data, self._exits(), bool(dense and self.header[L.MATCHER_BOTH])))

    def assemble(self, parts: RowParts) -> Row:
        """The row that is made of what a walk has found."""
        dense, data, exits, both = parts.dense, parts.data, parts.exits, parts.both
        if len(exits) <= _FEW_EXITS:
            return Row(dense, data, self._direct(exits), exits, both=both)
        # Where the frame both ends and goes on, most tokens are allowed already, whatever is below.
        segments, held = self._segments(exits, data if both else self._nothing)
        return Row(dense, data, segments, exits, held=held, both=both)

    def _segments(self, exits: Array, known: Array) -> tuple[list[Segment], Any]:
        """The segments of many exits without tokens that are known, and what owns their tries.

        Most strings leave by the same exits, so they are kept.
        """
        key = exits.tobytes() + (b"" if known is self._nothing else known.tobytes())
        found = self._remainders.get(key)
        if found is None:
            large, merged = self._large(exits)
            segments, held = self._gathered(merged, known) if len(merged) else ([], None)
            found = large + segments, held
            self._remainders.put(key, found)
        return found

    def _large(self, exits: Array) -> tuple[list[Segment], Array]:
        """Segments of the exits with many tokens below them, and the other exits."""
        tokens, address = self.tokens, self.tokens.trie.ctypes.data
        packed, others = part_exits(exits, tokens.trie_end, tokens.trie_first, tokens.trie_depth, _MANY_TOKENS)
        return [(address, result, low, high, 0) for result, low, high in packed.tolist()], others

    def _gathered(self, exits: Array, known: Array) -> tuple[list[Segment], Any]:
        """Segments of a trie of remainders, and what owns it."""
        tokens = self.tokens
        packed, byte, end, first, ids = build_remainders(
            exits,
            tokens.trie_end,
            tokens.trie_first,
            tokens.trie_depth,
            tokens.trie_tokens,
            tokens.offsets,
            tokens.text,
            known,
        )
        header = trie_header(byte=byte, end=end, first=first, tokens=ids)
        segments = [(header.ctypes.data, result, low, high, 0) for result, low, high in packed.tolist()]
        return segments, (header, byte, end, first, ids)

    def _exits(self) -> Array:
        """The exits of the last walk, int32 [E, 3]."""
        count = int(self.header[L.MATCHER_EXIT_COUNT])
        return self._arrays[L.MATCHER_EXITS][: 3 * count].reshape(-1, 3).copy()

    def _direct(self, exits: Array) -> list[Segment]:
        """Segments that walk the vocabulary's trie itself, below each exit."""
        tokens, address = self.tokens, self.tokens.trie.ctypes.data
        return [
            (address, result, node + 1 - late, int(tokens.trie_end[node]), 0) for node, result, late in exits.tolist()
        ]

    def differing(self, automaton: int, state: int, other: Row) -> Row:
        """The row of a state of a trie of keys laid over a language whose own row on the same prefix is `other`.

        The two differ only where tokens reach the end of a key: there the key's result code stands instead of the
        other's, or nothing if the key is forbidden. Everything else is `other`'s, not copied.
        """
        tokens, address = self.tokens, self.address
        while kernels.diverging(automaton, address, tokens.trie.ctypes.data, state) == L.NEED_EXITS:
            self.grow(L.NEED_EXITS)
        exits = self._exits()
        if not len(exits):
            return other
        shared = [(trie, result, low, high, 1) for trie, result, low, high, _ in other.segments]
        first, end = tokens.trie_first, tokens.trie_end
        nodes = exits[:, 0]
        excluded = np.stack((first[nodes], first[end[nodes]]), axis=1).astype(np.int32)
        data = other.data
        for node, result, _ in exits.tolist():
            if result >= 0:
                continue
            ids = tokens.trie_tokens[first[node] : first[node + 1]]
            if data is other.data:
                data = data.copy()
            if other.dense:
                np.bitwise_and.at(data, ids >> 5, ~np.left_shift(np.int32(1), ids & 31))
            else:
                data = data[~np.isin(data, ids)]
        return Row(other.dense, data, shared + self._direct(exits[exits[:, 1] >= 0]), exits, excluded, held=other)
