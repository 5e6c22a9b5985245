"""Arrays kept on disk between processes: what is expensive to find out about a tokenizer.

One file an entry (compile/array_file.py), in the user's cache directory (platformdirs), or where MASKWRIGHT_CACHE_DIR says;
set to nothing, it turns the cache off. The header says kind, key, version and meta (what the caller says). A file is read by
mapping it. What is damaged, cut short or of another version is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.compile.array_file import DamagedFile, package_version, packed_file, unpacked_file, write_whole

__all__ = ["DiskCache", "Stored"]

Array = np.ndarray[Any, Any]

_LAYOUT = 1  # of files, and of what the arrays in them mean: raise it when either changes
_SUFFIX = ".maskwright"
_MAX_BYTES = 1 << 30  # of all files; past it those used longest ago are removed


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry: what the caller said about it, and its arrays, read-only, mapped from the file."""

    meta: Mapping[str, Any]
    arrays: Mapping[str, Array]


class DiskCache:
    """Entries in one directory, by kind and key. Safe under any number of processes and threads.

    Args:
        directory: where the files are; None: nowhere, so that nothing is found and nothing kept.
        max_bytes: of all files together.
    """

    def __init__(self, directory: Path | None, max_bytes: int = _MAX_BYTES) -> None:
        self.directory, self.max_bytes = directory, max_bytes

    @classmethod
    def default(cls) -> DiskCache:
        """The cache that the environment asks for."""
        named = os.environ.get("MASKWRIGHT_CACHE_DIR")
        if named is None:
            from platformdirs import user_cache_path

            return cls(user_cache_path("maskwright", appauthor=False))
        return cls(Path(named).expanduser() if named else None)

    def path(self, kind: str, key: str) -> Path:
        """The file of an entry, whether it is there or not."""
        assert self.directory is not None
        name = hashlib.sha256(f"{_LAYOUT}\0{package_version()}\0{kind}\0{key}".encode()).hexdigest()
        return self.directory / f"{kind}-{name[:32]}{_SUFFIX}"

    def load(self, kind: str, key: str) -> Stored | None:
        """The entry of `key` (any text), or None. A damaged file is removed, with a warning."""
        if self.directory is None:
            return None
        path = self.path(kind, key)
        try:
            data = np.memmap(path, np.uint8, "r")
            found = _read(data, kind, key)
        except FileNotFoundError:
            return None
        except (DamagedFile, ValueError) as error:  # memmap says ValueError of an empty file
            warnings.warn(f"{path} is damaged ({error}); it is made again", RuntimeWarning, stacklevel=2)
            _quietly(path.unlink)
            return None
        except OSError as error:
            warnings.warn(_unusable(path, error), RuntimeWarning, stacklevel=2)
            return None
        _quietly(lambda: os.utime(path))  # most recent use
        return found

    def store(self, kind: str, key: str, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
        """Keep an entry, in place of one that may be there. What cannot be written is not kept, with a warning.

        Args:
            arrays: of numbers, any shape.
            meta: what JSON can say.
        """
        if self.directory is None:
            return
        path = self.path(kind, key)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            header = {"kind": kind, "key": key, "version": [_LAYOUT, package_version()], "meta": dict(meta)}
            write_whole(path, packed_file(header, arrays))
        except OSError as error:
            warnings.warn(_unusable(path, error), RuntimeWarning, stacklevel=2)
            return
        self._prune()

    def _prune(self) -> None:
        """Remove the files used longest ago while all of them are too large. Other processes may do the same."""
        assert self.directory is not None
        files = []
        for path in self.directory.glob(f"*{_SUFFIX}"):
            try:
                status = path.stat()
            except OSError:
                continue
            files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.max_bytes:
                break
            _quietly(path.unlink)
            total -= size


def _unusable(path: Path, error: OSError) -> str:
    return (
        f"the cache on disk cannot be used ({path.parent}: {error.strerror or error}); everything works without it, "
        "tokenizers are only read anew in each process. MASKWRIGHT_CACHE_DIR names another directory, or, empty, none"
    )


def _quietly(act: Callable[[], object]) -> None:
    """Do what other processes may have done, or what matters little."""
    with contextlib.suppress(OSError):
        act()


def _read(data: Array, kind: str, key: str) -> Stored:
    """The entry in the bytes of a file, uint8."""
    said, arrays = unpacked_file(data)
    if (said["kind"], said["key"], said["version"]) != (kind, key, [_LAYOUT, package_version()]):
        raise DamagedFile("it is of another entry or version")
    return Stored(said["meta"], arrays)
