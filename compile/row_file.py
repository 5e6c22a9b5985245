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
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.compile.content_digest import content_digest
from maskwright.compile.disk_cache import DiskCache

__all__ = ["RowFile", "RowParts"]

Array = np.ndarray[Any, Any]

_KIND = "rows"
_MAX_BYTES = 8 << 20  # of a file: some 450 dense rows of 128k tokens
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

    Attributes:
        loaded, stored: how many rows were found there, and put there.
    """

    def __init__(self, disk: DiskCache, tokenizer: str) -> None:
        self._disk, self._tokenizer = disk, tokenizer
        self._lock = threading.RLock()  # a finalizer flushes, wherever the thread is
        self._found: dict[bytes, RowParts] | None = None  # what the file has; None: not looked at yet
        self._new: dict[bytes, RowParts] = {}
        self._new_bytes = 0
        self.loaded = self.stored = 0

    def get(self, content: Hashable) -> RowParts | None:
        """The row of a content, or None."""
        if self._disk.directory is None:
            return None
        with self._lock:
            if self._found is None:
                self._found = self._load()
            if not self._found:
                return None
            found = self._found.get(content_digest(content) or b"")
            if found is None:
                return None
            self.loaded += 1
            # Copies: kernels are compiled for arrays that can be written to.
            return replace(found, data=found.data.copy(), exits=found.exits.copy())

    def add(self, content: Hashable, row: RowParts) -> None:
        """Have a row written with the next flush()."""
        if self._disk.directory is None or (digest := content_digest(content)) is None:
            return
        with self._lock:
            if digest not in self._new and self._new_bytes + row.nbytes <= _MAX_BYTES:
                self._new[digest] = row
                self._new_bytes += row.nbytes

    def flush(self) -> None:
        """Write the file anew, if there are rows that it does not have: those, and of what it has what there is room for."""
        with self._lock:
            if not self._new:
                return
            rows, size = dict(self._new), self._new_bytes
            for digest, row in self._load().items():  # as other processes have left it
                if digest not in rows and size + row.nbytes <= _MAX_BYTES:
                    rows[digest] = row
                    size += row.nbytes
            self._disk.store(_KIND, self._key(), _packed(rows), {})
            self.stored += len(self._new)
            self._new, self._new_bytes, self._found = {}, 0, rows

    def _key(self) -> str:
        return f"{self._tokenizer} {_sources()}"

    def _load(self) -> dict[bytes, RowParts]:
        stored = self._disk.load(_KIND, self._key())
        return {} if stored is None else _unpacked(stored.arrays)


def _packed(rows: dict[bytes, RowParts]) -> dict[str, Array]:
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


def _unpacked(arrays: Any) -> dict[bytes, RowParts]:
    data = np.split(arrays["data"], arrays["data_ends"][:-1])
    exits = np.split(arrays["exits"], arrays["exit_ends"][:-1])
    return {
        digest.tobytes(): RowParts(bool(dense), words, leaving, bool(both))
        for digest, (dense, both), words, leaving in zip(
            arrays["digests"], arrays["flags"].tolist(), data, exits, strict=True
        )
    }


@cache
def _sources() -> str:
    """What tells the modules that rows depend on from those of another state of the sources."""
    root = Path(__file__).resolve().parent.parent
    modules = sorted(
        (folder, entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
        for folder in ("grammars", "compile", "kernels")
        for entry in os.scandir(root / folder)
        if entry.name.endswith(".py")
    )
    return hashlib.sha256(repr(modules).encode()).hexdigest()
