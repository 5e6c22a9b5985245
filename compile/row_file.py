"""Mask rows on disk: those that many grammars have in common, for the next process.

One entry of the disk cache a tokenizer (compile/disk_cache.py), R rows with a digest of their content each
(compile/content_digest.py). It is mapped when the first row is looked for; what has been computed since is added when the
file is written anew, which is never while somebody waits for a mask. Processes that write at once replace each other's file
by whole ones: what one of them leaves out is computed again some day.

A row depends on the code that lowers states and walks them. So the key has what tells one state of the sources from
another, beside the package's version: names, sizes and times of change of the modules.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.compile.content_digest import content_digest
from maskwright.compile.disk_cache import DiskCache

__all__ = ["MAX_ROW_BYTES", "RowFile", "RowParts", "code_digest", "packed_rows", "unpacked_rows"]

Array = np.ndarray[Any, Any]

_KIND = "rows"
MAX_ROW_BYTES = 8 << 20  # of a file: some 450 dense rows of 128k tokens
_DIGEST = 32


@dataclass(frozen=True, slots=True)
class RowParts:
    """What a row is made of (compile/rows.py: Row).

    Attributes:
        dense: whether `data` is mask words, or token ids.
        data: int32.
        exits: int32 [E, 3].
        both: whether the frame may go on where it may end, so that `data` does not count in the remainders.
    """

    dense: bool
    data: Array
    exits: Array
    both: bool

    @property
    def nbytes(self) -> int:
        return int(self.data.nbytes + self.exits.nbytes) + _DIGEST


class RowFile:
    """Rows by content, on disk. Any thread may use it.

    Args:
        disk: where; one without a directory has nothing and keeps nothing.
        tokenizer: the vocabulary's fingerprint.

        max_offered: bytes of offered rows that are kept.

    Attributes:
        loaded, stored: how many rows were found there or among those offered, and put there.
        offered_bytes: bytes of the rows that were offered and not asked for yet.
    """

    def __init__(self, disk: DiskCache, tokenizer: str, max_offered: int = MAX_ROW_BYTES) -> None:
        self._disk, self._tokenizer, self._max_offered = disk, tokenizer, max_offered
        self._offered: dict[bytes, RowParts] = {}
        self.offered_bytes = 0
        self._lock = threading.RLock()  # a finalizer flushes, wherever the thread is
        self._found: dict[bytes, RowParts] | None = None  # what the file has; None: not looked at yet
        self._new: dict[bytes, RowParts] = {}
        self._new_bytes = 0
        self.loaded = self.stored = 0

    def get(self, content: Hashable) -> RowParts | None:
        """The row of a content, or None."""
        if self._disk.directory is None and not self._offered:
            return None
        with self._lock:
            if self._found is None:
                self._found = self._load()
            if not self._found and not self._offered:
                return None
            digest = content_digest(content) or b""
            found = self._taken(digest) or self._found.get(digest)
            if found is None:
                return None
            self.loaded += 1
            # Copies: kernels are compiled for arrays that can be written to.
            return replace(found, data=found.data.copy(), exits=found.exits.copy())

    def offer(self, rows: Mapping[bytes, RowParts]) -> None:
        """Have rows, by the digest of their content, found when they are first asked for; the oldest are dropped first."""
        with self._lock:
            for digest, row in rows.items():
                self._taken(digest)
                self._offered[digest] = row  # most recent last
                self.offered_bytes += row.nbytes
            while self.offered_bytes > self._max_offered:
                self._taken(next(iter(self._offered)))

    def forget_offered(self) -> None:
        """Forget the rows that were offered and not asked for."""
        with self._lock:
            self._offered, self.offered_bytes = {}, 0

    def _taken(self, digest: bytes) -> RowParts | None:
        """A row that was offered, which is not kept here any more: whoever has asked for it keeps it."""
        row = self._offered.pop(digest, None)
        if row is not None:
            self.offered_bytes -= row.nbytes
        return row

    def add(self, content: Hashable, row: RowParts) -> None:
        """Have a row written with the next flush()."""
        if self._disk.directory is None or (digest := content_digest(content)) is None:
            return
        with self._lock:
            if digest not in self._new and self._new_bytes + row.nbytes <= MAX_ROW_BYTES:
                self._new[digest] = row
                self._new_bytes += row.nbytes

    def flush(self) -> None:
        """Write the file anew, if there are rows that it does not have: those, and of what it has what there is room for."""
        with self._lock:
            if not self._new:
                return
            rows, size = dict(self._new), self._new_bytes
            for digest, row in self._load().items():  # as other processes have left it
                if digest not in rows and size + row.nbytes <= MAX_ROW_BYTES:
                    rows[digest] = row
                    size += row.nbytes
            self._disk.store(_KIND, self._key(), packed_rows(rows), {})
            self.stored += len(self._new)
            self._new, self._new_bytes, self._found = {}, 0, rows

    def _key(self) -> str:
        return f"{self._tokenizer} {code_digest()}"

    def _load(self) -> dict[bytes, RowParts]:
        stored = self._disk.load(_KIND, self._key())
        return {} if stored is None else unpacked_rows(stored.arrays)


def packed_rows(rows: Mapping[bytes, RowParts]) -> dict[str, Array]:
    """The arrays of a file: digests uint8 [R, 32], flags uint8 [R, 2]; where the data and exits of each row end, int64 [R]."""
    parts = list(rows.values())
    return {
        "digests": np.frombuffer(b"".join(rows), np.uint8).reshape(-1, _DIGEST),
        "flags": np.array([(row.dense, row.both) for row in parts], np.uint8),
        "data": np.concatenate([row.data for row in parts]),
        "data_ends": np.cumsum([len(row.data) for row in parts]),
        "exits": np.concatenate([row.exits for row in parts]),
        "exit_ends": np.cumsum([len(row.exits) for row in parts]),
    }


def unpacked_rows(arrays: Mapping[str, Array]) -> dict[bytes, RowParts]:
    """The rows of such arrays."""
    data = np.split(arrays["data"], arrays["data_ends"][:-1])
    exits = np.split(arrays["exits"], arrays["exit_ends"][:-1])
    return {
        digest.tobytes(): RowParts(bool(dense), words, leaving, bool(both))
        for digest, (dense, both), words, leaving in zip(
            arrays["digests"], arrays["flags"].tolist(), data, exits, strict=True
        )
    }


@cache
def code_digest() -> str:
    """What tells the modules that rows depend on from those of another state of the sources."""
    root = Path(__file__).resolve().parent.parent
    modules = sorted(
        (folder, entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
        for folder in ("grammars", "compile", "kernels")
        for entry in os.scandir(root / folder)
        if entry.name.endswith(".py")
    )
    return hashlib.sha256(repr(modules).encode()).hexdigest()
