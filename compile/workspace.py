"""The memory that a walk through an automaton needs: stack nodes, forks, ranges, exits. Layouts: kernels/layout.py.

A matcher's arena (runtime/arena.py) has more of it; a walk that computes a row (compile/rows.py) needs no more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskwright.grammars.errors import LimitExceeded
from maskwright.kernels import layout as L

__all__ = ["Workspace"]

_MAX_NODES = 1 << 26
_MAX_FORKS = 1 << 20
_FIRST_NODES = 1024
_FIRST_HEADS = 1024
_FIRST_FORKS = 64
_FIRST_CELLS = 256


class Workspace:
    """Growable arrays behind a header. `header`: int64 [MATCHER_SIZE] at `address`; `nbytes`: bytes of the arrays.

    Args:
        max_token: bytes of the vocabulary's longest token.
        bottom: return block of the bottom of the stack: DONE, or -1 where the callers are unknown.
        ranges, exits: how many there is room for at first.
    """

    def __init__(self, max_token: int, bottom: int, ranges: int, exits: int) -> None:
        self.header = np.zeros(L.MATCHER_SIZE, np.int64)
        self.address = self.header.ctypes.data
        self._arrays: dict[int, np.ndarray[Any, Any]] = {}
        self.nbytes = 0
        nodes = np.zeros((2 * max_token + 16 + _FIRST_NODES) * L.NODE_SIZE, np.int32)
        nodes[L.NODE_BLOCK] = bottom
        self._place(L.MATCHER_NODES, nodes)
        self.header[L.MATCHER_NODE_COUNT] = 1
        self.header[L.MATCHER_PERMANENT] = 1 if bottom >= 0 else 0
        self.header[L.MATCHER_NODE_CAP] = len(nodes) // L.NODE_SIZE
        self._place(L.MATCHER_HASH, np.zeros(_FIRST_HEADS, np.int32))
        self.header[L.MATCHER_HASH_MASK] = _FIRST_HEADS - 1
        self._place(L.MATCHER_UNIONS, np.full(L.UNION_SIZE * L.UNION_SLOTS, -1, np.int32))
        self._place(L.MATCHER_LEFT, np.zeros(2 * L.MAX_LEFT, np.int32))
        self._place(L.MATCHER_NEEDS, np.zeros(L.NEEDS, np.int32))
        self._place_cells(_FIRST_CELLS)
        self._place_forks(_FIRST_FORKS)
        self._place(L.MATCHER_WALK, np.zeros((max_token + 2) * L.WALK_SIZE, np.int32))
        self._place(L.MATCHER_RANGES, np.zeros(2 * ranges, np.int32))
        self.header[L.MATCHER_RANGE_CAP] = ranges
        self._place(L.MATCHER_EXITS, np.zeros(3 * exits, np.int32))
        self.header[L.MATCHER_EXIT_CAP] = exits

    def _place(self, slot: int, array: np.ndarray[Any, Any]) -> None:
        replaced = self._arrays.get(slot)
        self.nbytes += array.nbytes - (0 if replaced is None else replaced.nbytes)
        self._arrays[slot] = array
        self.header[slot] = array.ctypes.data

    def _place_forks(self, count: int) -> None:
        self._place(L.MATCHER_FORK, np.zeros(L.FORK_SIZE * count, np.int32))
        self._place(L.MATCHER_FOUND, np.zeros(3 * count, np.int32))
        self._place(L.MATCHER_TODO, np.zeros(4 * count, np.int32))
        self.header[L.MATCHER_FORK_CAP] = count

    def _place_cells(self, count: int) -> None:
        self._place(L.MATCHER_CELLS, np.zeros(3 * count, np.int32))
        self._place(L.MATCHER_UNITING, np.zeros(L.UNITING_SIZE * count, np.int32))
        self.header[L.MATCHER_CELL_CAP] = count

    def _grown(self, slot: int, factor: int = 2) -> np.ndarray[Any, Any]:
        old = self._arrays[slot]
        larger = np.zeros(factor * len(old), old.dtype)
        larger[: len(old)] = old
        self._place(slot, larger)
        return larger

    def grow(self, status: int) -> None:
        """Make room where a kernel answered NEED_NODES, NEED_FORKS, NEED_RANGES or NEED_EXITS."""
        header = self.header
        if status == L.NEED_NODES:
            if header[L.MATCHER_NODE_CAP] >= _MAX_NODES:
                raise LimitExceeded(
                    "max_nodes", int(header[L.MATCHER_NODE_CAP]), _MAX_NODES, what="stack nodes of one matcher"
                )
            nodes = self._grown(L.MATCHER_NODES)
            header[L.MATCHER_NODE_CAP] = len(nodes) // L.NODE_SIZE
            self._rehash_nodes()
        elif status == L.NEED_FORKS:
            if header[L.MATCHER_FORK_CAP] >= _MAX_FORKS:
                raise LimitExceeded(
                    "max_forks",
                    int(header[L.MATCHER_FORK_CAP]),
                    _MAX_FORKS,
                    what="ways to read one text",
                    hint="make the grammar less ambiguous",
                )
            self._place_forks(2 * int(header[L.MATCHER_FORK_CAP]))
            self._place_cells(2 * int(header[L.MATCHER_CELL_CAP]))
        elif status == L.NEED_RANGES:
            self._grown(L.MATCHER_RANGES)
            header[L.MATCHER_RANGE_CAP] *= 2
        elif status == L.NEED_EXITS:
            self._grown(L.MATCHER_EXITS)
            header[L.MATCHER_EXIT_CAP] *= 2
        else:
            raise AssertionError(f"a kernel answered {status}")

    def _rehash_nodes(self) -> None:
        """A table of heads twice as large, every linked node in it again."""
        size = 2 * len(self._arrays[L.MATCHER_HASH])
        heads = np.zeros(size, np.int32)
        count = int(self.header[L.MATCHER_NODE_COUNT])
        nodes = self._arrays[L.MATCHER_NODES].reshape(-1, L.NODE_SIZE)
        for node in range(1, count):
            block, register, parent, following, also, _, _ = nodes[node].tolist()
            if following == L.NOT_LINKED:
                continue
            mixed = block * 0x9E3779B1 + register * 0x85EBCA77 + parent * 0xC2B2AE3D + also * 0x27D4EB2F
            mixed &= (1 << 64) - 1
            if mixed >> 63:
                mixed -= 1 << 64
            bucket = (mixed ^ (mixed >> 17)) & (size - 1)
            nodes[node, L.NODE_NEXT] = heads[bucket]
            heads[bucket] = node
        self._place(L.MATCHER_HASH, heads)
        self.header[L.MATCHER_HASH_MASK] = size - 1
