"""Visits the places that texts of a grammar come to, nearest first, and asks for the mask of each.

A place is a state with the stack below it. From each, one byte of every class that its state tells apart is tried, as a
matcher would, so that what masks will ask for is there: states, rows, and the memo of the arena, which the grammar's next
matcher gets. Nothing is lowered that no text comes to.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

import numpy as np

from maskwright.compile.grammar import CompiledGrammar
from maskwright.grammars.errors import MaskwrightError
from maskwright.kernels import automaton as kernels
from maskwright.kernels import layout as L
from maskwright.runtime.arena import Arena

__all__ = ["Exploration"]

_ALL_BYTES = np.arange(256, dtype=np.uint8)
_MOST_OUTSIDE = 24  # bytes tried of those that a state leaves to its ELSE or its callers


class Exploration:
    """What has been visited, and what comes next (compile/warming.py: Ahead). Attributes: places, how many were."""

    def __init__(self, compiled: CompiledGrammar) -> None:
        self._arena = Arena(compiled.tokens)
        self._words = np.zeros(compiled.tokens.words, np.int32)
        self._flags = np.zeros(256, np.int32)
        self._queue = deque([(compiled.root, compiled.root_register, 0)])
        self._seen = {(compiled.root, 0)}
        self.places = 0

    @property
    def complete(self) -> bool:
        return not self._queue

    def step(self, compiled: CompiledGrammar) -> None:
        """The mask of the next place, and what follows it."""
        place = self._queue.popleft()
        with suppress(MaskwrightError):
            self._visit(compiled, place)
            self.places += 1

    def _visit(self, compiled: CompiledGrammar, place: tuple[int, int, int]) -> None:
        automaton, arena = compiled.address, self._arena
        self._go_to(place)
        while (status := kernels.fill(automaton, arena.address, self._words.ctypes.data)) != L.OK:
            arena.mend(compiled, status)
        self._flags[:] = 0
        while (status := kernels.allowed_bytes(automaton, arena.address, self._flags.ctypes.data)) != L.OK:
            arena.mend(compiled, status)
        for byte in self._tried(compiled, place[0]):
            self._go_to(place)
            address = _ALL_BYTES.ctypes.data + byte
            while (status := kernels.accept_bytes(automaton, arena.address, address, 1, 0)) > L.REJECTED:
                arena.mend(compiled, status)
            state, register, top = arena.header[L.MATCHER_STATE : L.MATCHER_TOP + 1].tolist()
            if status == L.OK and (state, top) not in self._seen:
                self._seen.add((state, top))
                self._queue.append((state, register, top))

    def _go_to(self, place: tuple[int, int, int]) -> None:
        self._arena.header[L.MATCHER_STATE : L.MATCHER_TOP + 1] = place

    def _tried(self, compiled: CompiledGrammar, state: int) -> list[int]:
        """One of the allowed bytes for each class of the state's map; several of the class that says nothing of them."""
        tables = compiled.automaton.tables
        start = int(tables.states[state * L.STATE_SIZE + L.STATE_MAP])
        allowed = np.flatnonzero(self._flags)
        classes = tables.maps[start : start + 256][allowed]
        firsts = np.unique(classes, return_index=True)[1]
        outside = np.flatnonzero(classes == 0)[1:_MOST_OUTSIDE]
        tried: list[int] = allowed[np.concatenate((firsts, outside))].tolist()
        return tried

    def finish(self, compiled: CompiledGrammar) -> None:
        """Leave the arena, warm, to the next matcher."""
        compiled.spare_arenas.append(self._arena)
