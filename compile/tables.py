"""The automaton's tables: flat arrays that kernels read and that lowering extends (layouts: kernels/layout.py).

Written by one thread at a time (the automaton's lock), read by kernels: a kernel holds the interpreter lock from its
first load to its answer, or whoever called it holds the automaton's lock (rows, batches), so tables change only between
kernels. A state's record is written last all the same, after its row, map and calls, so that a half-lowered state is
never met.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from maskwright.compile.token_tables import TokenTables
from maskwright.grammars.errors import LimitExceeded
from maskwright.kernels import layout as L

__all__ = ["AutomatonTables"]

_ROOM = 1 << 20  # states that a new automaton has room for: larger arrays would have to be copied while a mask waits
_RECORD = struct.Struct("8i")
_PLAIN_RECORD = np.array((0, 0, -1, L.OP_NONE, 0, 0, 0, 0), np.int32)
_INTEGERS = [struct.Struct(f"{count}i") for count in range(33)]
_SINGLE_BYTE_MAPS = np.eye(256, dtype=np.uint8).reshape(-1)  # map b: class 1 for byte b, class 0 for the others


class AutomatonTables:
    """Tables of one grammar over one vocabulary.

    Attributes:
        header: int64 [AUTOMATON_SIZE], see kernels/layout.py; `address` is where it lies.
        states: int32 [capacity * STATE_SIZE]; transitions: int32; maps: uint8; actions: int32; safe: uint64.
    """

    def __init__(self, tokens: TokenTables, max_states: int) -> None:
        self.tokens, self.max_states = tokens, max_states
        self.header = np.zeros(L.AUTOMATON_SIZE, np.int64)
        self.address = self.header.ctypes.data
        self.states = self._place(L.AUTOMATON_STATES, np.empty(_ROOM * L.STATE_SIZE, np.int32))
        self.transitions = self._place(L.AUTOMATON_TRANSITIONS, np.empty(4 * _ROOM, np.int32))
        self.maps = self._place(L.AUTOMATON_MAPS, np.empty(len(_SINGLE_BYTE_MAPS) + 64 * _ROOM, np.uint8))
        self.maps[: len(_SINGLE_BYTE_MAPS)] = _SINGLE_BYTE_MAPS
        self.transitions[0] = 0
        self.actions = self._place(L.AUTOMATON_ACTIONS, np.zeros(64 * L.ACTION_SIZE, np.int32))
        self.safe = self._place(L.AUTOMATON_SAFE, np.zeros(16 * L.SAFE_SIZE, np.uint64))
        self.rows = self._place(L.AUTOMATON_ROWS, np.zeros(64 * L.ROW_SIZE, np.int64))
        self.row_keys = self._place(L.AUTOMATON_ROW_KEYS, np.full(128, -1, np.int64))
        self.row_numbers = self._place(L.AUTOMATON_ROW_NUMBERS, np.zeros(128, np.int32))
        self.state_count, self.transition_count, self.map_count = 0, 1, len(_SINGLE_BYTE_MAPS)
        self.action_count, self.safe_count, self.row_count = 2, 1, 1
        self._maps: dict[bytes, int] = {}
        self._actions: dict[int, int] = {}
        self._safe_sets: dict[tuple[int, int, int], int] = {}
        self.header[L.AUTOMATON_ROW_MASK] = len(self.row_keys) - 1
        self.header[L.AUTOMATON_SLACK_CAP] = tokens.slack_cap
        self.header[L.AUTOMATON_WORDS] = tokens.words
        self.header[L.AUTOMATON_VOCABULARY] = tokens.vocab_size
        self.header[L.AUTOMATON_TOKEN_OFFSETS] = tokens.offsets.ctypes.data
        self.header[L.AUTOMATON_TOKEN_BYTES] = tokens.text.ctypes.data
        self.header[L.AUTOMATON_EOS] = tokens.eos.ctypes.data
        self.header[L.AUTOMATON_EOS_COUNT] = len(tokens.eos)
        self.header[L.AUTOMATON_MAX_TOKEN] = tokens.max_token
        self.header[L.AUTOMATON_TRIE] = tokens.trie.ctypes.data
        self.header[L.AUTOMATON_RANKS] = tokens.ranks.ctypes.data

    def _place(self, slot: int, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.header[slot] = array.ctypes.data
        return array

    def _grown(self, slot: int, array: np.ndarray[Any, Any], needed: int) -> np.ndarray[Any, Any]:
        """`array` with room for `needed` elements, in place in the header."""
        if needed <= len(array):
            return array
        larger = np.empty(max(2 * len(array), needed), array.dtype)
        larger[: len(array)] = array
        return self._place(slot, larger)

    @property
    def nbytes(self) -> int:
        """Bytes in use, rows' data not counted. (There is room for more, which takes no memory until it is written.)"""
        integers = L.STATE_SIZE * self.state_count + self.transition_count + L.ACTION_SIZE * self.action_count
        wide = L.SAFE_SIZE * self.safe_count + (L.ROW_SIZE + 3) * self.row_count
        return 4 * integers + 8 * wide + self.map_count

    def reserve(self, states: int, transitions: int, maps: int, actions: int = 0) -> None:
        """Make room for so many more states, transitions, bytes of maps and actions."""
        if self.state_count + states > self.max_states:
            raise LimitExceeded("max_states", self.state_count + states, self.max_states, what="automaton states")
        needed = (self.state_count + states) * L.STATE_SIZE
        if needed > len(self.states):
            self.states = self._grown(L.AUTOMATON_STATES, self.states, needed)
        if self.transition_count + transitions > len(self.transitions):
            needed = self.transition_count + transitions
            self.transitions = self._grown(L.AUTOMATON_TRANSITIONS, self.transitions, needed)
        if self.map_count + maps > len(self.maps):
            self.maps = self._grown(L.AUTOMATON_MAPS, self.maps, self.map_count + maps)
        needed = (self.action_count + actions) * L.ACTION_SIZE
        if needed > len(self.actions):
            self.actions = self._grown(L.AUTOMATON_ACTIONS, self.actions, needed)

    def allocate(self, count: int) -> int:
        """Numbers for `count` new states, not lowered yet; the first of them."""
        first = self.state_count
        self.state_count += count
        if self.state_count * L.STATE_SIZE > len(self.states) or self.state_count > self.max_states:
            self.state_count = first
            self.reserve(count, 0, 0)
            self.state_count += count
        # A kernel that was interrupted may have left records beyond the end.
        self.states[first * L.STATE_SIZE : self.state_count * L.STATE_SIZE] = -1
        return first

    def cursor(self) -> np.ndarray[Any, Any]:
        """How many states, transitions, bytes of maps and actions are in use, int64 [4]; for a kernel that adds some."""
        return np.array((self.state_count, self.transition_count, self.map_count, self.action_count), np.int64)

    def extend(self, states: int, transitions: int, maps: int, actions: int) -> None:
        """Take over what a kernel has written behind the end: the new numbers of each, as in `cursor`."""
        self.state_count, self.transition_count, self.map_count = states, transitions, maps
        self.action_count = actions

    def append_state(self, row: int, byte_map: int) -> int:
        """A new state, published at once: its number."""
        state = self.state_count
        if (state + 1) * L.STATE_SIZE > len(self.states) or state >= self.max_states:
            self.reserve(1, 0, 0)
        self.state_count = state + 1
        _RECORD.pack_into(self.states.data, 32 * state, row, byte_map, -1, L.OP_NONE, 0, state, 0, 0)
        return state

    def append_states(
        self, starts: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], maps: Sequence[int], targets: Sequence[int]
    ) -> int:
        """New states, published at once; the first of them.

        Args:
            starts, rows: where each state's row begins, [N], and the rows: of transitions, whose value 0 is none, 1 + n is
                targets[n], and 1 + len(targets) + n new state n.
            maps: offsets of the maps of byte classes, [N].
        """
        count = len(starts)
        self.reserve(count, len(rows), 0)
        first, offset = self.state_count, self.transition_count
        numbers = np.arange(first, first + count)
        self.transitions[offset : offset + len(rows)] = np.concatenate(([0], targets, numbers))[rows]
        records = self.states[first * L.STATE_SIZE : (first + count) * L.STATE_SIZE].reshape(count, L.STATE_SIZE)
        records[:] = _PLAIN_RECORD
        records[:, L.STATE_ROW], records[:, L.STATE_MAP] = starts + offset, maps
        records[:, L.STATE_ALIAS] = numbers
        self.transition_count += len(rows)
        self.state_count += count
        return first

    def set_state(
        self,
        state: int,
        row: int,
        byte_map: int,
        final: int = -1,
        op: int = L.OP_NONE,
        argument: int = 0,
        safe: int = 0,
        otherwise: int = 0,
    ) -> None:
        """Publish a state's record."""
        _RECORD.pack_into(self.states.data, 32 * state, row, byte_map, final, op, argument, state, safe, otherwise)

    def set_alias(self, state: int, target: int) -> None:
        """Make `state` stand for `target`, which may be lowered later only if nothing enters it before."""
        self.states[state * L.STATE_SIZE + L.STATE_ALIAS] = target

    def is_lowered(self, state: int) -> bool:
        return bool(self.states[state * L.STATE_SIZE + L.STATE_ALIAS] >= 0)

    def append_transitions(self, values: Sequence[int]) -> int:
        """Offset of a new row of transitions, which no other row is likely to equal."""
        count, offset = len(values), self.transition_count
        if offset + count > len(self.transitions):
            self.reserve(0, count, 0)
        if count < len(_INTEGERS):
            _INTEGERS[count].pack_into(self.transitions.data, 4 * offset, *values)
        else:
            self.transitions[offset : offset + count] = values
        self.transition_count = offset + count
        return offset

    def add_map(self, classes: bytes) -> int:
        """Offset of a map of byte classes (256 bytes); equal maps are stored once."""
        offset = self._maps.get(classes)
        if offset is None:
            offset = self.map_count
            self.reserve(0, 0, 256)
            self.maps[offset : offset + 256] = np.frombuffer(classes, np.uint8)
            self.map_count += 256
            self._maps[classes] = offset
        return offset

    def add_call(self, target: int, block: int, consume: bool) -> int:
        """The transition value of a call of `target` that returns to `block` + result."""
        key = target << 33 | block << 1 | consume
        number = self._actions.get(key)
        if number is None:
            number = self._actions[key] = self.append_call(target, block, consume)
        return number

    def append_call(self, target: int, block: int, consume: bool) -> int:
        """The transition value of a call that no other equals."""
        number = self.action_count
        if (number + 1) * L.ACTION_SIZE > len(self.actions):
            self.actions = self._grown(L.AUTOMATON_ACTIONS, self.actions, (number + 1) * L.ACTION_SIZE)
        _INTEGERS[4].pack_into(self.actions.data, 4 * L.ACTION_SIZE * number, target, block, consume, 0)
        self.action_count = number + 1
        return -number

    def append_chain(self, actions: Sequence[tuple[int, int, int]]) -> int:
        """The transition value of several actions, (target, block, kind) each, any of which may be taken."""
        first = self.action_count
        count = first + len(actions)
        if count * L.ACTION_SIZE > len(self.actions):
            self.actions = self._grown(L.AUTOMATON_ACTIONS, self.actions, count * L.ACTION_SIZE)
        for number, (target, block, kind) in enumerate(actions, first):
            also = number + 1 if number + 1 < count else 0
            _INTEGERS[4].pack_into(self.actions.data, 4 * L.ACTION_SIZE * number, target, block, kind, also)
        self.action_count = count
        return -first

    def add_safe(self, low: int, high: int, flags: int) -> int:
        """Number of a safe set: ASCII bytes as two 64-bit sets, and flags; 0 for the empty one."""
        if not low and not high and not flags:
            return 0
        key = (low, high, flags)
        number = self._safe_sets.get(key)
        if number is None:
            number = self.safe_count
            self.safe = self._grown(L.AUTOMATON_SAFE, self.safe, (number + 1) * L.SAFE_SIZE)
            self.safe[number * L.SAFE_SIZE : (number + 1) * L.SAFE_SIZE] = key
            self.safe_count += 1
            self._safe_sets[key] = number
        return number

    def add_row(self, key: int, record: tuple[int, ...]) -> None:
        """Publish the mask row of `key` (state << 16 | slack); the caller keeps alive what it points to."""
        number = self.row_count
        self.rows = self._grown(L.AUTOMATON_ROWS, self.rows, (number + 1) * L.ROW_SIZE)
        self.rows[number * L.ROW_SIZE : (number + 1) * L.ROW_SIZE] = record
        self.row_count += 1
        if 2 * self.row_count > len(self.row_keys):
            self._rehash()
        self._insert(self.row_keys, self.row_numbers, key, number)

    def _rehash(self) -> None:
        keys = np.full(2 * len(self.row_keys), -1, np.int64)
        numbers = np.zeros(len(keys), np.int32)
        for key, number in zip(self.row_keys.tolist(), self.row_numbers.tolist(), strict=True):
            if key >= 0:
                self._insert(keys, numbers, key, number)
        self.row_numbers = self._place(L.AUTOMATON_ROW_NUMBERS, numbers)
        self.row_keys = self._place(L.AUTOMATON_ROW_KEYS, keys)
        self.header[L.AUTOMATON_ROW_MASK] = len(keys) - 1

    @staticmethod
    def _insert(keys: np.ndarray[Any, Any], numbers: np.ndarray[Any, Any], key: int, number: int) -> None:
        mask = len(keys) - 1
        slot = (key * 0x9E3779B1 >> 12) & mask
        while keys[slot] >= 0:
            slot = (slot + 1) & mask
        numbers[slot] = number
        keys[slot] = key

    def validate(self) -> None:
        """Check every published record's offsets; raises AssertionError."""
        records = self.states[: self.state_count * L.STATE_SIZE].reshape(-1, L.STATE_SIZE)
        own = records[records[:, L.STATE_ALIAS] == np.arange(len(records))]
        assert (own[:, L.STATE_ROW] >= 0).all() and (own[:, L.STATE_ROW] < self.transition_count).all()
        assert (own[:, L.STATE_MAP] >= 0).all() and (own[:, L.STATE_MAP] + 256 <= self.map_count).all()
        assert (own[:, L.STATE_SAFE] >= 0).all() and (own[:, L.STATE_SAFE] < self.safe_count).all()
        assert (np.abs(own[:, L.STATE_ELSE]) < self.state_count).all()
        assert np.isin(own[:, L.STATE_OP], (L.OP_NONE, L.OP_POP, L.OP_SET, L.OP_COUNT)).all()
        assert (own[own[:, L.STATE_OP] == L.OP_POP][:, L.STATE_FINAL] >= 0).all()
        values = self.transitions[: self.transition_count]
        assert (values < self.state_count).all() and (-values < self.action_count).all()
