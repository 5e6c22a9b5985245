"""What a configuration can do next, read from the tables in Python: for searches that run now and then.

The kernels (kernels/steps.py: `enter`, `transition`, `step`) define what the tables mean, a byte at a time. Here
the bytes of a state that lead to the same place are one move, which a search takes once. Two properties of the lowering
make that exact: where a byte that continues a frame is one with which its caller could go on instead, the state has an
action for either; and a call that does not consume its byte is made on every byte that the called frame may begin with.

Inside a frame a configuration is one integer, a *place*:

    ~result                                   the frame has ended with a result code
    state << 33 | register << 1               in a state, which has been entered
    state << 33 | register << 1 | PENDING     about to enter a state that is not lowered yet
"""

from __future__ import annotations

import string
from typing import Any, NamedTuple

import numpy as np

from maskwright.compile.automaton import Automaton
from maskwright.kernels import layout as L

__all__ = ["PENDING", "Entered", "Move", "Moves", "place", "register_of", "state_of"]

PENDING = 1
_REGISTER_BITS = 32
_MAX_KEPT = 1 << 17  # states whose records and moves are kept; past it they are read anew


def place(state: int, register: int) -> int:
    """The configuration of being in a state, which has been entered."""
    return state << _REGISTER_BITS + 1 | register << 1


def state_of(where: int) -> int:
    return where >> _REGISTER_BITS + 1


def register_of(where: int) -> int:
    return where >> 1 & (1 << _REGISTER_BITS) - 1


class Entered(NamedTuple):
    """The record of a lowered state, aliases followed. Fields as in kernels/layout.py; `op` concerns entering it."""

    state: int
    final: int
    op: int
    argument: int


class Move(NamedTuple):
    """Bytes that lead to one place: into a state, into a called frame, or to the end of the frame before them.

    Attributes:
        target: the state, or the one that the called frame starts in, or ~result of the frame's own end.
        byte: the byte to write; of several the most readable. -1: whoever comes next writes it.
        block: the state after the call is block + its result code; -1: no call.
        results: the called frame ends with a result code below this.
    """

    target: int
    byte: int
    block: int
    results: int


class Moves:
    """The moves of an automaton's states, kept as they are read (lowered states do not change).

    Attributes:
        ranks: for each byte its place in the order of readability, as a table for bytes.translate.
    """

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._entered: dict[int, Entered] = {}
        self._moves: dict[int, tuple[Move, ...]] = {}
        self._results: dict[int, int] = {}
        # Where the vocabulary has no token for some bytes, one that has is as good as readable.
        writable = automaton.tokens.writable.tolist()
        self._order = np.array(sorted(range(256), key=lambda byte: (not writable[byte], _READABLE.index(byte))))
        self._bytes: list[int] = self._order.tolist()
        self.ranks = bytes(np.argsort(self._order).tolist())

    def results(self, block: int) -> int:
        """How many result codes may lead to a return block."""
        found = self._results.get(block)
        if found is None:
            with self._automaton.lock:
                found = self._results[block] = self._automaton.room_from(block)
        return found

    def entered(self, state: int) -> Entered | None:
        """The record of a state; None while it is not lowered."""
        found = self._entered.get(state)
        if found is None:
            record = self._record(state)
            alias = record[L.STATE_ALIAS]
            if alias < 0:
                return None
            if alias != state:
                return self.entered(alias)
            if len(self._entered) >= _MAX_KEPT:
                self._entered.clear()
                self._moves.clear()
            final, op, argument = record[L.STATE_FINAL], record[L.STATE_OP], record[L.STATE_ARG]
            found = self._entered[state] = Entered(state, final, op, argument)
        return found

    def enter(self, state: int, register: int) -> int:
        """The place that entering a state comes to."""
        while True:
            record = self.entered(state)
            if record is None:
                return place(state, register) | PENDING
            if record.op == L.OP_NONE:
                return place(record.state, register)
            if record.op == L.OP_SET:
                return place(record.state, record.argument)
            if record.op == L.OP_POP:
                return ~record.final
            register = max(register - 1, 0)
            if register > 0:
                return place(record.state, register)
            state = record.argument

    def moves(self, state: int) -> tuple[Move, ...]:
        """The moves of a lowered state, the most readable byte first."""
        found = self._moves.get(state)
        if found is None:
            found = self._moves[state] = tuple(self._read(state))
        return found

    def _record(self, state: int) -> list[int]:
        record: list[int] = self._automaton.tables.states[state * L.STATE_SIZE : (state + 1) * L.STATE_SIZE].tolist()
        return record

    def _values(self, record: list[int]) -> np.ndarray[Any, np.dtype[np.int32]]:
        """int32 [256]: the transition value of each byte, for this record alone."""
        tables, start = self._automaton.tables, record[L.STATE_MAP]
        return tables.transitions[record[L.STATE_ROW] + tables.maps[start : start + 256].astype(np.int64)]

    def _read(self, state: int) -> list[Move]:
        record = self._record(state)
        values = self._values(record)
        while (otherwise := record[L.STATE_ELSE]) > 0:
            record = self._record(otherwise)
            values = np.where(values == 0, self._values(record), values)
        rank_of = dict(zip(values[self._order[::-1]].tolist(), _LAST_FIRST, strict=True))  # the lowest rank stays
        rank_of.pop(0, None)
        rank_of.pop(L.REJECT, None)
        actions = self._automaton.tables.actions
        moves = []
        for rank, value in sorted((rank, value) for value, rank in rank_of.items()):
            byte = self._bytes[rank]
            if value > 0:
                moves.append(Move(value, byte, -1, 0))
                continue
            action = -value
            while action:
                target, block, kind, action = actions[action * L.ACTION_SIZE : (action + 1) * L.ACTION_SIZE].tolist()
                if kind == L.MOVE:
                    moves.append(Move(target, byte, -1, 0))
                elif kind == L.LEAVE:
                    if target != record[L.STATE_FINAL]:  # that one the state says itself
                        moves.append(Move(~target, -1, -1, 0))
                else:
                    moves.append(Move(target, byte if kind == L.CALL else -1, block, self.results(block)))
        return moves


_READABLE = (string.ascii_lowercase + string.digits + string.ascii_uppercase + " " + string.punctuation).encode()
_READABLE += bytes(byte for byte in range(256) if byte not in _READABLE)
"""All bytes, those first that people like to read."""
_LAST_FIRST = range(255, -1, -1)
