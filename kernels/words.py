"""Lays a trie of literal texts (keys, enum members) into the automaton's tables, over another language or over none.

The simple version: state(prefix) has one transition for each byte that continues some text; after a text's last byte the
frame ends with the text's result code. Where no text continues, the transitions of the state that the other language
has reached on the same prefix count (STATE_ELSE), so that "any key but these" costs no copies.
"""

from __future__ import annotations

import numpy as np

from maskwright.kernels import layout as L
from maskwright.kernels.jit import kernel, part
from maskwright.kernels.memory import load_i32, load_i64, load_u8, store_i32, store_i64, store_u8

# Callees: b4a357df36f5

__all__ = ["lay_words", "publish"]


@part
def publish(states, state, row, byte_map, final, op, argument, otherwise):
    """Write the record of a state without a safe set, its alias last."""
    record = state * L.STATE_SIZE
    store_i32(states, record + L.STATE_ROW, row)
    store_i32(states, record + L.STATE_MAP, byte_map)
    store_i32(states, record + L.STATE_FINAL, final)
    store_i32(states, record + L.STATE_OP, op)
    store_i32(states, record + L.STATE_ARG, argument)
    store_i32(states, record + L.STATE_SAFE, 0)
    store_i32(states, record + L.STATE_ELSE, otherwise)
    store_i32(states, record + L.STATE_ALIAS, state)


@part
def _follow(automaton, other, byte):
    """The state of the other language after a byte, 0 where it has none; `other` is lowered and plain."""
    states, maps = load_i64(automaton, L.AUTOMATON_STATES), load_i64(automaton, L.AUTOMATON_MAPS)
    record = other * L.STATE_SIZE
    byte_class = load_u8(maps, load_i32(states, record + L.STATE_MAP) + byte)
    row = load_i32(states, record + L.STATE_ROW)
    value = load_i32(load_i64(automaton, L.AUTOMATON_TRANSITIONS), row + byte_class)
    return value if value > 0 else 0


@part
def _word_byte(words, index, depth):
    """Byte `depth` of word `index` of a list of words, in order."""
    word = load_i32(load_i64(words, L.WORDS_CHOSEN), index)
    return load_u8(load_i64(words, L.WORDS_TEXT), load_i64(load_i64(words, L.WORDS_OFFSETS), word) + depth)


@kernel
def lay_words(automaton, cursor, words, count, otherwise, argument):
    """Write the trie of the first `count` chosen words, which are sorted, distinct and prefix-free.

    Args:
        automaton: the tables, with room for as many more states as the words have bytes, and one; for twice as many
            transitions and two a word; for 256 bytes of maps a word. maps[256 * b] is the map of the single byte b.
        cursor: address of int64 CURSOR_*: what of them is in use; changed to what is then.
        words: address of int64 WORDS_* (kernels/layout.py). A word's last byte is its terminator, a closing quote.
        otherwise: state of the other language on the empty prefix, or 0.
        argument: STATE_ARG of the states (kernels/layout.py: ALONGSIDE).

    Returns:
        (need, start). need > 0 is a state of the other language that must be lowered first, and -1 that the other
        language counts in the register, which a trie cannot follow; then nothing counts as written.
    """
    states, transitions = load_i64(automaton, L.AUTOMATON_STATES), load_i64(automaton, L.AUTOMATON_TRANSITIONS)
    maps = load_i64(automaton, L.AUTOMATON_MAPS)
    offsets, chosen = load_i64(words, L.WORDS_OFFSETS), load_i64(words, L.WORDS_CHOSEN)
    results = load_i64(words, L.WORDS_RESULTS)
    state_count, row, map_count = load_i64(cursor, 0), load_i64(cursor, 1), load_i64(cursor, 2)
    start = state_count
    # One entry a pending trie node: the words [low, high) that share `depth` bytes, its state, the other language's.
    pending = np.empty((2 * count + 2, 5), np.int64)
    pending[0, 0], pending[0, 1], pending[0, 2], pending[0, 3], pending[0, 4] = 0, count, 0, state_count, otherwise
    state_count += 1
    used = 1
    while used > 0:
        used -= 1
        low, high, depth = pending[used, 0], pending[used, 1], pending[used, 2]
        state, other = pending[used, 3], pending[used, 4]
        done = False
        while True:
            if other != 0:
                alias = load_i32(states, other * L.STATE_SIZE + L.STATE_ALIAS)
                if alias < 0:
                    return other, 0
                other = alias
                if load_i32(states, other * L.STATE_SIZE + L.STATE_OP) != L.OP_NONE:
                    return -1, 0
            byte = _word_byte(words, low, depth)
            if byte != _word_byte(words, high - 1, depth):
                break
            # One byte continues every word: a row of two, and the shared map of that byte.
            store_i32(transitions, row, 0)
            publish(states, state, row, 256 * byte, -1, L.OP_NONE, argument, other)
            row += 2
            word, result = load_i32(chosen, low), load_i32(results, low)
            if depth + 1 == load_i64(offsets, word + 1) - load_i64(offsets, word):
                done = True
                if result < 0:
                    store_i32(transitions, row - 1, L.REJECT)
                else:
                    store_i32(transitions, row - 1, state_count)
                    publish(states, state_count, 0, 0, result, L.OP_POP, 0, 0)
                    state_count += 1
                break
            store_i32(transitions, row - 1, state_count)
            state = state_count
            state_count += 1
            depth += 1
            other = _follow(automaton, other, byte) if other != 0 else 0
        if done:
            continue
        # Several bytes: a map of its own.
        byte_map = map_count
        map_count += 256
        for byte in range(256):
            store_u8(maps, byte_map + byte, 0)
        store_i32(transitions, row, 0)
        children, begin = 0, low
        while begin < high:
            byte = _word_byte(words, begin, depth)
            stop = begin + 1
            while stop < high and _word_byte(words, stop, depth) == byte:
                stop += 1
            children += 1
            store_u8(maps, byte_map + byte, children)
            word, result = load_i32(chosen, begin), load_i32(results, begin)
            last = depth + 1 == load_i64(offsets, word + 1) - load_i64(offsets, word)
            if last and result < 0:
                store_i32(transitions, row + children, L.REJECT)
            else:
                store_i32(transitions, row + children, state_count)
                if last:
                    publish(states, state_count, 0, 0, result, L.OP_POP, 0, 0)
                else:
                    pending[used, 0], pending[used, 1], pending[used, 2] = begin, stop, depth + 1
                    pending[used, 3] = state_count
                    pending[used, 4] = _follow(automaton, other, byte) if other != 0 else 0
                    used += 1
                state_count += 1
            begin = stop
        publish(states, state, row, byte_map, -1, L.OP_NONE, argument, other)
        row += children + 1
    store_i64(cursor, 0, state_count)
    store_i64(cursor, 1, row)
    store_i64(cursor, 2, map_count)
    return 0, start
