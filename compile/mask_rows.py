"""The mask rows of one automaton: which are there, which are another's, and who computes the others.

    add(key)        under the lock: the row of a (state, slack), with whatever has to be lowered for it

Several at once (runtime/batch.py), by a thread that holds the lock, and others that help it:

    missing(keys)   those that have to be computed, once for each content
    compute(key)    in any of the threads, without publishing or lowering anything
    publish(...)    by the thread that holds the lock
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from maskwright.compile.row_file import RowParts
from maskwright.compile.rows import RemainderCache, Row, RowCache, RowWalker
from maskwright.kernels import layout as L

if TYPE_CHECKING:
    from maskwright.compile.automaton import Automaton

__all__ = ["MaskRows"]


class MaskRows:
    """Rows by key: state << 16 | slack. Kept as long as the automaton.

    Args:
        automaton: whose rows they are.
        shared: rows by content, of all automata of a compiler.
    """

    def __init__(self, automaton: Automaton, shared: RowCache) -> None:
        self._automaton, self._shared = automaton, shared
        self._rows: dict[int, Row] = {}
        self.computed_bytes = 0  # of rows that were computed here
        self._remainders = RemainderCache()
        self._walkers = [RowWalker(automaton.tokens, self._remainders)]  # those that no thread uses

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: int) -> bool:
        return key in self._rows

    @property
    def held(self) -> tuple[Row, ...]:
        """The rows."""
        return tuple(self._rows.values())

    @property
    def nbytes(self) -> int:
        return sum(row.nbytes for row in self._rows.values())

    def add(self, key: int) -> Row:
        """The row of `key`, computed and published where it is not there."""
        found = self._rows.get(key)
        if found is None:
            content = self._content(key)
            found = None if content is None else self._known(content)
            if found is None:
                found = self._computed(key, self._automaton.lower)
                self._share(content, found)
            self._publish(key, found)
        return found

    def named(self, states: Container[int]) -> Iterator[tuple[Hashable, RowParts]]:
        """The rows of some states whose content is known, with what names it."""
        for key, row in self._rows.items():
            if key >> 16 in states and (content := self._content(key)) is not None:
                yield content, _parts(row)

    def missing(self, keys: Iterable[int]) -> list[int]:
        """The keys of rows that compute() must compute. Rows known by content are published now; add() takes the others."""
        found, seen = list[int](), set[Hashable]()
        for key in keys:
            if key in self._rows or (self._automaton.is_alongside(key >> 16) and self._over(key) not in self._rows):
                continue
            content = self._content(key)
            row = None if content is None else self._known(content)
            if row is not None:
                self._publish(key, row)
            elif (content or key) not in seen:
                seen.add(content or key)
                found.append(key)
        return found

    def compute(self, key: int) -> Row | None:
        """The row of `key`; None where a state is not lowered yet, and add() must do it."""
        try:
            return self._computed(key, _refuse)
        except _NotLowered:
            return None

    def publish(self, key: int, row: Row) -> None:
        """Add what compute() has computed."""
        self._share(self._content(key), row)
        self._publish(key, row)

    def _content(self, key: int) -> Hashable | None:
        share = self._automaton.share_key(key >> 16)
        return None if share is None else (share, key & 0xFFFF)

    def _known(self, content: Hashable) -> Row | None:
        """The row of a content, where this process has it, or one before it had."""
        found, file = self._shared.get(content), self._shared.file
        if found is None and file is not None and (parts := file.get(content)) is not None:
            with self._walker() as walker:
                found = walker.assemble(parts)
            self._shared.put(content, found)
        return found

    def _share(self, content: Hashable | None, row: Row) -> None:
        """Let others have a row that was computed here."""
        self.computed_bytes += row.nbytes
        if content is not None:
            self._shared.put(content, row)
            if self._shared.file is not None:
                self._shared.file.add(content, _parts(row))

    def _publish(self, key: int, row: Row) -> None:
        self._rows[key] = row
        self._automaton.tables.add_row(key, row.record)

    def _over(self, key: int) -> int:
        """The key of the row that the row of a trie of keys over every string differs from."""
        over = int(self._automaton.tables.states[(key >> 16) * L.STATE_SIZE + L.STATE_ELSE])
        return over << 16 | key & 0xFFFF

    def _computed(self, key: int, lower: Callable[[int], None]) -> Row:
        address, state = self._automaton.address, key >> 16
        if self._automaton.is_alongside(state):
            other = self.add(self._over(key))
            with self._walker() as walker:
                return walker.differing(address, state, other)
        with self._walker() as walker:
            return walker.compute(address, state, key & 0xFFFF, lower)

    @contextmanager
    def _walker(self) -> Iterator[RowWalker]:
        """A walker that no other thread uses meanwhile."""
        try:
            walker = self._walkers.pop()
        except IndexError:
            walker = RowWalker(self._automaton.tokens, self._remainders)
        try:
            yield walker
        finally:
            self._walkers.append(walker)


def _parts(row: Row) -> RowParts:
    return RowParts(row.dense, row.data, row.exits, row.both)


class _NotLowered(Exception):
    """A walk has come to a state that nobody may lower now."""


def _refuse(state: int) -> None:
    raise _NotLowered
