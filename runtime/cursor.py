"""A matcher's automaton, tried out: where it would be after some bytes, and what might follow there.

Whoever moves it puts it back.
"""

from __future__ import annotations

import ctypes
from typing import TypeAlias

import numpy as np

from maskwright.compile.grammar import CompiledGrammar
from maskwright.kernels import automaton as kernels
from maskwright.kernels import layout as L
from maskwright.runtime.arena import Arena

__all__ = ["READABLE", "Configuration", "Cursor"]

Configuration: TypeAlias = tuple[int, int, int]
"""Where an automaton is: state, register, stack node."""

READABLE = sorted(range(256), key=lambda byte: (not chr(byte).isalnum() or byte > 0x7F, byte))
"""All bytes, those first that people would rather read."""

_BYTES = (ctypes.c_uint8 * 256)(*range(256))
_BYTES_ADDRESS = ctypes.addressof(_BYTES)


class Cursor:
    """The automaton in one matcher's memory."""

    def __init__(self, compiled: CompiledGrammar, arena: Arena) -> None:
        self._compiled, self._arena = compiled, arena

    @property
    def here(self) -> Configuration:
        """Where the automaton is."""
        state, register, top = self._arena.header[L.MATCHER_STATE : L.MATCHER_TOP + 1].tolist()
        return state, register, top

    def go(self, configuration: Configuration) -> None:
        """Put the automaton somewhere."""
        self._arena.header[L.MATCHER_STATE : L.MATCHER_TOP + 1] = configuration

    def step(self, byte: int) -> bool:
        """Move over one byte, if it is allowed."""
        return self._moved(_BYTES_ADDRESS + byte, 1, 0)

    def move(self, data: bytes, remember: int = 0) -> bool:
        """Move over at most `max_token` bytes, if they are allowed.

        Args:
            remember: see kernels/automaton.py: accept_bytes.
        """
        self._arena.text[: len(data)] = data
        return self._moved(self._arena.text_address, len(data), remember)

    def _moved(self, address: int, length: int, remember: int) -> bool:
        automaton, matcher = self._compiled.address, self._arena.address
        while (status := kernels.accept_bytes(automaton, matcher, address, length, remember)) > L.REJECTED:
            self._arena.mend(self._compiled, status)
        return bool(status == L.OK)

    def allowed(self) -> list[int]:
        """The bytes that may come, readable ones first."""
        flags = np.zeros(256, np.int32)
        while (status := kernels.allowed_bytes(self._compiled.address, self._arena.address, flags.ctypes.data)) != L.OK:
            self._arena.mend(self._compiled, status)
        allowed = flags.tolist()
        return [byte for byte in READABLE if allowed[byte]]
