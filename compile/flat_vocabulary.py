"""The bytes of a vocabulary's tokens as two arrays: what is hashed and kept on disk, without an object for each token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from maskwright.compile.disk_cache import DiskCache
from maskwright.compile.tokenfiles import Vocabulary

__all__ = ["FlatVocabulary"]

Array = np.ndarray[Any, Any]

_KIND = "vocabulary"


@dataclass(frozen=True, eq=False, slots=True)
class FlatVocabulary:
    """The tokens of ids 0 to len(offset) - 2, and what a reader found out about them.

    Attributes:
        data: uint8, the tokens' bytes one after another.
        offset: int64 [T + 1]; token t is data[offset[t]:offset[t + 1]].
        unused: int64, the ids without a token, ascending.
        special, eos: int64, the special ids, and those of them that end a text, ascending.
    """

    data: Array
    offset: Array
    unused: Array
    special: Array
    eos: Array

    @classmethod
    def of(cls, tokens: Sequence[bytes | None], special: Iterable[int], eos: Iterable[int]) -> FlatVocabulary:
        """The arrays of a list of tokens."""
        offset = np.zeros(len(tokens) + 1, np.int64)
        np.cumsum(np.fromiter((len(token or b"") for token in tokens), np.int64, len(tokens)), out=offset[1:])
        data = np.frombuffer(b"".join(filter(None, tokens)), np.uint8)
        unused = [token_id for token_id, token in enumerate(tokens) if token is None]
        return cls(data, offset, *(np.array(sorted(ids), np.int64) for ids in (unused, special, eos)))

    @classmethod
    def of_vocabulary(cls, found: Vocabulary) -> FlatVocabulary:
        """The arrays of what a reader found."""
        return cls.of(found.tokens, found.special_token_ids, found.eos_token_ids)

    @classmethod
    def load(cls, disk: DiskCache, key: str) -> FlatVocabulary | None:
        """What was stored as `key`."""
        stored = disk.load(_KIND, key)
        return None if stored is None else cls(**stored.arrays)

    def store(self, disk: DiskCache, key: str) -> None:
        """Keep it on disk as `key`."""
        arrays: Mapping[str, Array] = {name: getattr(self, name) for name in self.__slots__}
        disk.store(_KIND, key, arrays, {})

    def __len__(self) -> int:
        return len(self.offset) - 1

    def tokens(self) -> list[bytes | None]:
        """The tokens as bytes, None where an id is not used."""
        text = self.data.tobytes()
        found: list[bytes | None] = [text[start:stop] for start, stop in pairwise(self.offset.tolist())]
        for token_id in self.unused.tolist():
            found[token_id] = None
        return found

    def written(self) -> Array:
        """int64 [T]: how many bytes of text each id writes, -1 where it is no text token."""
        lengths = np.diff(self.offset)
        lengths[self.unused] = lengths[self.special[self.special < len(lengths)]] = -1
        return lengths

    def fingerprint(self, vocab_size: int) -> str:
        """SHA-256 of the bytes of all text tokens, of which ids are special, and which end a text."""
        lengths = np.full(vocab_size, -1, np.int64)
        lengths[: len(self)] = self.written()
        digest = hashlib.sha256(b"maskwright vocabulary 1\0")
        for numbers in (lengths, self.eos, self.special):
            digest.update(numbers.size.to_bytes(8, "little") + numbers.astype("<i8").tobytes())
        first = 0
        for stop in [*np.flatnonzero(lengths[: len(self)] < 0).tolist(), len(self)]:  # what lies between other tokens
            digest.update(self.data[self.offset[first] : self.offset[stop]].tobytes())
            first = stop + 1
        return digest.hexdigest()
