"""The memory of one matcher: stack nodes, memo of masks, patches, history. Layouts: kernels/layout.py.

Private to a matcher, so kernels write it without a lock. Everything in it but the history stays true for any text of
the same grammar, so an arena whose matcher is gone is handed, warm, to the next one.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.token_tables import TokenTables
from maskwright.compile.workspace import Workspace
from maskwright.kernels import automaton as kernels
from maskwright.kernels import layout as L
from maskwright.runtime.targets import Target

__all__ = ["Arena"]

_FIRST_MEMO = 512
_MAX_MEMO = 1 << 16  # entries; past it the memo starts anew
_FIRST_PATCH = 1 << 14
_MAX_PATCH = 1 << 22  # int32; past it the memo starts anew


class Arena(Workspace):
    """What a walk needs, and the memory of a text. `header`: int64 [MATCHER_SIZE] at `address`.

    Attributes:
        target: the bitmask written to last; most often the next matcher writes to the same one.
        text, text_address: room for the bytes of one token, and where it lies.
    """

    def __init__(self, tokens: TokenTables) -> None:
        super().__init__(tokens.max_token, L.DONE, ranges=2048, exits=128)
        self.target: Target | None = None
        self._make_room_for_text(tokens.max_token)
        self._new_memo(_FIRST_MEMO)
        self._place(L.MATCHER_PATCH, np.zeros(_FIRST_PATCH, np.int32))
        self.header[L.MATCHER_PATCH_LENGTH] = 1
        self.header[L.MATCHER_PATCH_CAP] = _FIRST_PATCH
        self._place(L.MATCHER_HISTORY, np.zeros(1024 * L.HISTORY_SIZE, np.int32))
        self.header[L.MATCHER_HISTORY_CAP] = 1024

    def _make_room_for_text(self, size: int) -> None:
        self.text = bytearray(size)
        self.text_address = ctypes.addressof(ctypes.c_char.from_buffer(self.text))

    def _new_memo(self, entries: int) -> None:
        memo = np.full(entries * L.MEMO_SIZE, -1, np.int64)
        self._place(L.MATCHER_MEMO, memo)
        self.header[L.MATCHER_MEMO_MASK] = entries - 1
        self.header[L.MATCHER_MEMO_COUNT] = 0

    def mend(self, compiled: CompiledGrammar, status: int) -> None:
        """Provide what a kernel asked for."""
        if status == L.NEED_LOWER:
            needs = self._arrays[L.MATCHER_NEEDS][: int(self.header[L.MATCHER_NEEDS_COUNT])].tolist()
            self.header[L.MATCHER_NEEDS_COUNT] = 0
            compiled.lower(int(self.header[L.MATCHER_NEED]), *needs)
        elif status == L.NEED_ROW:
            compiled.add_row(int(self.header[L.MATCHER_NEED]))
        elif status == L.NEED_CLOSURE:
            node = int(self.header[L.MATCHER_NEED])
            while (missing := kernels.close_node(compiled.address, self.address, node)) != L.OK:
                self.mend(compiled, missing)
        else:
            self.grow(status)

    def grow(self, status: int) -> None:
        """Make room where a kernel answered NEED_MEMO, NEED_PATCH or NEED_HISTORY, or what a workspace grows."""
        header = self.header
        if status == L.NEED_MEMO:
            self._grow_memo()
        elif status == L.NEED_PATCH:
            if header[L.MATCHER_PATCH_CAP] >= _MAX_PATCH and header[L.MATCHER_MEMO_COUNT] > 0:
                self.forget()
            else:
                header[L.MATCHER_PATCH_CAP] = len(self._grown(L.MATCHER_PATCH, 4))
        elif status == L.NEED_HISTORY:
            self._grown(L.MATCHER_HISTORY)
            header[L.MATCHER_HISTORY_CAP] *= 2
        else:
            super().grow(status)

    def forget(self) -> None:
        """Drop the memo and its patches; they are computed again when needed."""
        self._new_memo(_FIRST_MEMO)
        self.header[L.MATCHER_PATCH_LENGTH] = 1

    def _grow_memo(self) -> None:
        old = self._arrays[L.MATCHER_MEMO].reshape(-1, L.MEMO_SIZE)
        if 2 * len(old) > _MAX_MEMO:
            self.forget()
            return
        self._new_memo(2 * len(old))
        memo = self._arrays[L.MATCHER_MEMO].reshape(-1, L.MEMO_SIZE)
        mask = len(memo) - 1
        kept = old[old[:, L.MEMO_STATE] >= 0]
        mixed = kept[:, L.MEMO_STATE] * 0x9E3779B1 + kept[:, L.MEMO_TOP] * 0x85EBCA77  # wraps, as the kernel's does
        taken, places = bytearray(len(memo)), []
        for slot in ((mixed ^ (mixed >> 15)) & mask).tolist():
            while taken[slot]:
                slot = (slot + 1) & mask
            taken[slot] = 1
            places.append(slot)
        memo[places] = kept
        self.header[L.MATCHER_MEMO_COUNT] = len(kept)

    def restart(self, root: int, register: int) -> None:
        """Put the cursor at the start of a text, with no history."""
        header = self.header
        header[L.MATCHER_STATE], header[L.MATCHER_REGISTER], header[L.MATCHER_TOP] = root, register, 0
        header[L.MATCHER_HISTORY_LENGTH] = header[L.MATCHER_WATCHED] = header[L.MATCHER_WHERE] = 0

    def copy(self) -> Arena:
        """An arena with the same cursor, history and stack; it shares nothing with this one."""
        twin = object.__new__(Arena)
        twin.header = self.header.copy()
        twin.address = twin.header.ctypes.data
        twin._arrays, twin.nbytes, twin.target = {}, 0, self.target
        twin._make_room_for_text(len(self.text))
        for slot, array in self._arrays.items():
            twin._place(slot, array.copy())
        return twin

    @property
    def history(self) -> np.ndarray[Any, Any]:
        """int32 [capacity, HISTORY_SIZE]: state, register, node and WHERE before each step, and its token."""
        return self._arrays[L.MATCHER_HISTORY].reshape(-1, L.HISTORY_SIZE)

    @property
    def nodes(self) -> np.ndarray[Any, Any]:
        """int32 [capacity * NODE_SIZE]: the stack nodes."""
        return self._arrays[L.MATCHER_NODES]
