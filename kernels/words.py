"""Lays a trie of literal texts (keys, enum members) into the automaton's tables, over another language or over none.

The simple version: state(prefix) has one transition for each byte that continues some text; after a text's last byte the
frame ends with the text's result code. Where no text continues, the transitions of the state that the other language
has reached on the same prefix count (STATE_ELSE), so that "any key but these" costs no copies.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from maskwright.kernels import layout as L

# Callees: 8c02804ff147

__all__ = ["lay_words"]


@njit(cache=True)
def _lay(states, state, row, byte_map, final, op, argument, otherwise):
    record = state * L.STATE_SIZE
    states[record + L.STATE_ROW] = row
    states[record + L.STATE_MAP] = byte_map
    states[record + L.STATE_FINAL] = final
    states[record + L.STATE_OP] = op
    states[record + L.STATE_ARG] = argument
    states[record + L.STATE_SAFE] = 0
    states[record + L.STATE_ELSE] = otherwise
    states[record + L.STATE_ALIAS] = state


@njit(cache=True)
def lay_words(
    text, offsets, results, states, state_count, transitions, transition_count, maps, map_count, otherwise, argument
):
    """Write the trie of the texts text[offsets[i]:offsets[i + 1]], sorted, distinct and prefix-free.

    Args:
        text, offsets: uint8 and int64; a text's last byte is its terminator (a closing quote).
        results: int32; the result code of each text, or -1: the text is forbidden (only where `otherwise` allows it).
        states, transitions, maps: the tables, with room for len(text) + 1 states, 2 * len(text) + 2 * len(results)
            transitions and 256 * len(results) bytes of maps; maps[256 * b] is the map of the single byte b.
        state_count, transition_count, map_count: what is in use; new entries are appended.
        otherwise: state of the other language on the empty prefix, lowered, or 0.
        argument: STATE_ARG of the states (kernels/layout.py: ALONGSIDE).

    Returns:
        (need, start, state_count, transition_count, map_count). need > 0 is a state of the other language that must be
        lowered first, and -1 that the other language counts in the register, which a trie cannot follow; then nothing
        counts as written.
    """
    start = state_count
    # One entry a pending trie node: the texts [low, high) that share `depth` bytes, its state, the other language's.
    size = 2 * len(results) + 2
    pending = np.empty((size, 5), np.int64)
    pending[0, 0], pending[0, 1], pending[0, 2], pending[0, 3], pending[0, 4] = (
        0,
        len(results),
        0,
        state_count,
        otherwise,
    )
    state_count += 1
    used = 1
    while used > 0:
        used -= 1
        low, high, depth, state, other = (
            pending[used, 0],
            pending[used, 1],
            pending[used, 2],
            pending[used, 3],
            pending[used, 4],
        )
        while True:
            first = text[offsets[low] + depth]
            if first == text[offsets[high - 1] + depth]:
                # One byte continues every text: a row of two, and the shared map of that byte.
                next_other = 0
                if other != 0:
                    record = other * L.STATE_SIZE
                    if states[record + L.STATE_ALIAS] < 0:
                        return other, 0, 0, 0, 0
                    other = states[record + L.STATE_ALIAS]
                    record = other * L.STATE_SIZE
                    if states[record + L.STATE_OP] != L.OP_NONE:
                        return -1, 0, 0, 0, 0
                    value = transitions[states[record + L.STATE_ROW] + maps[states[record + L.STATE_MAP] + first]]
                    next_other = value if value > 0 else 0
                row = transition_count
                transition_count += 2
                transitions[row] = 0
                last = depth + 1 == offsets[low + 1] - offsets[low]
                if last and results[low] < 0:
                    transitions[row + 1] = L.REJECT
                    _lay(states, state, row, 256 * np.int64(first), -1, L.OP_NONE, argument, other)
                    break
                transitions[row + 1] = state_count
                _lay(states, state, row, 256 * np.int64(first), -1, L.OP_NONE, argument, other)
                state = state_count
                state_count += 1
                if last:
                    _lay(states, state, 0, 0, results[low], L.OP_POP, 0, 0)
                    break
                depth += 1
                other = next_other
                continue
            # Several bytes: a map of its own.
            if other != 0:
                record = other * L.STATE_SIZE
                if states[record + L.STATE_ALIAS] < 0:
                    return other, 0, 0, 0, 0
                other = states[record + L.STATE_ALIAS]
                if states[other * L.STATE_SIZE + L.STATE_OP] != L.OP_NONE:
                    return -1, 0, 0, 0, 0
            row, byte_map = transition_count, map_count
            map_count += 256
            for byte in range(256):
                maps[byte_map + byte] = 0
            transitions[row] = 0
            children = 0
            begin = low
            while begin < high:
                byte = text[offsets[begin] + depth]
                stop = begin + 1
                while stop < high and text[offsets[stop] + depth] == byte:
                    stop += 1
                children += 1
                maps[byte_map + byte] = children
                if depth + 1 == offsets[begin + 1] - offsets[begin]:
                    if results[begin] < 0:
                        transitions[row + children] = L.REJECT
                    else:
                        transitions[row + children] = state_count
                        _lay(states, state_count, 0, 0, results[begin], L.OP_POP, 0, 0)
                        state_count += 1
                else:
                    next_other = 0
                    if other != 0:
                        record = other * L.STATE_SIZE
                        value = transitions[states[record + L.STATE_ROW] + maps[states[record + L.STATE_MAP] + byte]]
                        next_other = value if value > 0 else 0
                    transitions[row + children] = state_count
                    pending[used, 0], pending[used, 1], pending[used, 2] = begin, stop, depth + 1
                    pending[used, 3], pending[used, 4] = state_count, next_other
                    used += 1
                    state_count += 1
                begin = stop
            transition_count += children + 1
            _lay(states, state, row, byte_map, -1, L.OP_NONE, argument, other)
            break
    return 0, start, state_count, transition_count, map_count
