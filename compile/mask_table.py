"""The mask table: finished masks by number, so that a decode step ships four bytes a sequence.

A mask, int32 [words], is a row of the table, and equal masks are one row. Who applies masks on another device keeps a copy
of the table there, and fetches the rows that have come:

    host                                            device
    matcher.mask_row()                -> 17         logits masked by row 17 of the copy
    table.rows_since(version)         -> rows       copy[rows.numbers] = rows.words

Rows lie in blocks that never move. A matcher holds the row whose number it gave out last. Once there are `max_rows`, a new
mask takes the place of one that nobody holds, the one used longest ago; where all are held, the table grows further.
What matchers remember of a row (kernels/mask_table.py) is a number and how often its place was taken: its *serial*.
"""

from __future__ import annotations

import mmap
import threading
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from maskwright.grammars.errors import LimitExceeded
from maskwright.kernels import layout as L
from maskwright.kernels import mask_table as kernels
from maskwright.kernels.bitmask import count_allowed
from maskwright.kernels.device_masks import DeviceMaskTable, stream_of

__all__ = ["MaskTable", "NewRows"]

_BLOCK_BYTES = 4 << 20
_MOST_ROWS = 1 << 20  # that are held at once; the records of so many take no memory before they are used

Words = np.ndarray[Any, np.dtype[np.int32]]


class NewRows(NamedTuple):
    """What MaskTable.rows_since answers.

    Attributes:
        version: to ask with the next time.
        numbers: int32 [n], the rows written since, ascending.
        words: int32 [n, words], what they hold now.
    """

    version: int
    numbers: Words
    words: Words


def _records(dtype: type[np.signedinteger[Any]]) -> np.ndarray[Any, Any]:
    """A number for each row that there may ever be: zeros, in pages of their own, which take memory once they are touched.

    (What malloc has given back once it clears, and so touches, when it hands it out again.)
    """
    return np.frombuffer(mmap.mmap(-1, _MOST_ROWS * np.dtype(dtype).itemsize), dtype)


class MaskTable:
    """Masks by number. Any thread may use it.

    Args:
        vocab_size: of the tokenizers whose masks it has.
        max_bytes: bound on rows that nobody holds.

    Attributes:
        words: int32 in a row, ceil(vocab_size / 32).
        block_rows: rows of a block: row n is row n % block_rows of block n // block_rows.
        blocks: int32 [block_rows, words] each; a block stays where it is as long as the table.
        max_rows: past so many, rows that nobody holds are used again.
        version: how often a row was written.
        evictions: how often a mask gave its place to another.
        header: int64 [TABLE_SIZE], see kernels/layout.py; `address` is where it lies.
    """

    def __init__(self, vocab_size: int, max_bytes: int = 64 << 20) -> None:
        self.words = -(-vocab_size // 32)
        self.block_rows = max(1, _BLOCK_BYTES // (4 * self.words))
        self.max_rows = max(1, max_bytes // (4 * self.words))
        self.blocks: list[Words] = []
        self.version = self.evictions = 0
        self.header = np.zeros(L.TABLE_SIZE, np.int64)
        self.address = int(self.header.ctypes.data)
        self._holds, self._serials = _records(np.int32), _records(np.int32)
        self._used = _records(np.int64)
        for slot, records in (
            (L.TABLE_HOLDS, self._holds),
            (L.TABLE_SERIALS, self._serials),
            (L.TABLE_USED, self._used),
        ):
            self.header[slot] = records.ctypes.data
        self._written = _records(np.int64)  # the version that each row came with
        self._allowed = _records(np.int64)  # how many tokens each row allows
        self._numbers: dict[int, list[int]] = {}  # rows by the hash of their words
        self._hashes: list[int] = []  # of each row
        self._copies: dict[tuple[str, int], DeviceMaskTable] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Rows so far; their numbers are below it."""
        return len(self._hashes)

    @property
    def nbytes(self) -> int:
        return sum(block.nbytes for block in self.blocks)

    def row(self, number: int) -> Words:
        """int32 [words]: a view of a row, which may be another mask's once nobody holds the row."""
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} is not one of the table's {len(self)}")
        view = self._place(number)
        view.flags.writeable = False
        return view

    def rows_since(self, version: int) -> NewRows:
        """Copies of the rows written after a version: 0 at first, then that of the answer before."""
        with self._lock:
            numbers = np.flatnonzero(self._written[: len(self)] > version).astype(np.int32)
            words = np.empty((len(numbers), self.words), np.int32)
            for index, number in enumerate(numbers.tolist()):
                words[index] = self._place(number)
            return NewRows(self.version, numbers, words)

    def add(self, words: Words) -> int:
        """The number of the row that equals `words`, int32 [words]; it is held once more, until `release`.

        Raises:
            LimitExceeded: a million rows are held.
        """
        content = words.tobytes()
        key = hash(content)
        with self._lock:
            for number in self._numbers.get(key, ()):
                if self._place(number).tobytes() == content:
                    kernels.hold_row(self.address, number)
                    return number
            number = self._free_row()
            self._place(number)[:] = words
            count_allowed(words[None], self._allowed[number : number + 1])
            self.version += 1
            self._written[number] = self.version
            self._hashes[number] = key
            self._numbers.setdefault(key, []).append(number)
            return number

    def release(self, number: int) -> None:
        """Let go of a row that add() has given."""
        kernels.release_row(self.address, number)

    def holds(self, number: int) -> int:
        """How many hold a row."""
        return int(self._holds[number])

    def allowed(self, numbers: Sequence[int] | Words) -> list[int]:
        """How many tokens each of some rows allows."""
        counts: list[int] = self._allowed[numbers].tolist()
        return counts

    def copy_on(self, device: Any) -> DeviceMaskTable:
        """The table's copy on a torch device, for the stream that is the thread's now; kept as long as the table."""
        place = str(device), stream_of(device)
        with self._lock:
            found = self._copies.get(place)
        if found is None:
            made = DeviceMaskTable(weakref.proxy(self), device)
            with self._lock:
                found = self._copies.setdefault(place, made)
        return found

    def _free_row(self) -> int:
        """A row that is no mask's now, held once."""
        if len(self) >= self.max_rows:
            number = int(kernels.take_row(self.address))
            if number >= 0:
                self.evictions += 1
                others = self._numbers[self._hashes[number]]
                others.remove(number)
                if not others:
                    del self._numbers[self._hashes[number]]
                return number
        number = len(self)
        if number == _MOST_ROWS:
            raise LimitExceeded("mask rows held", number + 1, _MOST_ROWS, hint="release matchers that are finished")
        if number == self.block_rows * len(self.blocks):
            self.blocks.append(np.zeros((self.block_rows, self.words), np.int32))
            kernels.hold_row(self.address, number)
            self.release(number)  # loaded now, since matchers that are gone may call it when the interpreter ends
        self._hashes.append(0)
        self.header[L.TABLE_COUNT] = number + 1
        kernels.hold_row(self.address, number)
        return number

    def _place(self, number: int) -> Words:
        return self.blocks[number // self.block_rows][number % self.block_rows]
