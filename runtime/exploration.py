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
from maskwright.runtime.cursor import Configuration, Cursor

__all__ = ["Exploration"]

_MOST_OUTSIDE = 24  # bytes tried of those that a state leaves to its ELSE or its callers


class Exploration:
    """What has been visited, and what comes next (compile/warming.py: Ahead). Attributes: places, how many were."""

    def __init__(self, compiled: CompiledGrammar) -> None:
        self._arena = Arena(compiled.tokens)
        self._words = np.zeros(compiled.tokens.words, np.int32)
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

    def _visit(self, compiled: CompiledGrammar, place: Configuration) -> None:
        arena, cursor = self._arena, Cursor(compiled, self._arena)
        cursor.go(place)
        while (status := kernels.fill(compiled.address, arena.address, self._words.ctypes.data)) != L.OK:
            arena.mend(compiled, status)
        for byte in self._tried(compiled, place[0], sorted(cursor.allowed())):
            cursor.go(place)
            if cursor.step(byte):
                state, _, top = after = cursor.here
                if (state, top) not in self._seen:
                    self._seen.add((state, top))
                    self._queue.append(after)

    @staticmethod
    def _tried(compiled: CompiledGrammar, state: int, bytes_allowed: list[int]) -> list[int]:
        """One of the allowed bytes for each class of the state's map; several of the class that says nothing of them."""
        tables = compiled.automaton.tables
        start = int(tables.states[state * L.STATE_SIZE + L.STATE_MAP])
        allowed = np.array(bytes_allowed, np.int64)
        classes = tables.maps[start : start + 256][allowed]
        firsts = np.unique(classes, return_index=True)[1]
        outside = np.flatnonzero(classes == 0)[1:_MOST_OUTSIDE]
        tried: list[int] = allowed[np.concatenate((firsts, outside))].tolist()
        return tried

    def finish(self, compiled: CompiledGrammar) -> None:
        """Leave the arena, warm, to the next matcher."""
        compiled.spare_arenas.append(self._arena)
