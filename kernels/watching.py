"""Objects that have had keys which their schema does not name: where their text is, followed byte by byte.

A watched text's WHERE (kernels/layout.py) says whether a key that might repeat one comes next, is being written, or neither.
Python is asked where one may (runtime/unique_keys.py), and where the object ends.
"""

from __future__ import annotations

from maskwright.kernels import layout as L
from maskwright.kernels.jit import part
from maskwright.kernels.memory import load_i64, load_u8
from maskwright.kernels.steps import state_field

# Callees: 5b2af44337cf

__all__ = ["depends_on_text", "is_behind_other_key", "where_after"]


@part
def is_behind_other_key(automaton, state):
    """Whether a key has just ended that its object does not name."""
    return (
        state_field(automaton, state, L.STATE_ARG) == L.OTHER_KEY
        and state_field(automaton, state, L.STATE_OP) == L.OP_NONE
    )


@part
def _may_be_rival(matcher, address, length):
    """Whether some bytes behind a key's opening quote may begin, or be, one of the watched object's keys."""
    keys, starts = load_i64(matcher, L.MATCHER_RIVALS), load_i64(matcher, L.MATCHER_RIVAL_STARTS)
    if keys == 0:
        return True
    for position in range(length):
        byte = load_u8(address, position)
        if byte == 0x5C:
            return True  # a character may have several spellings
        if byte == 0x22:
            break
    for number in range(load_i64(matcher, L.MATCHER_RIVAL_COUNT)):
        start, at = load_i64(starts, number), 0
        size = load_i64(starts, number + 1) - start
        while at < length and at < size and load_u8(address, at) == load_u8(keys, start + at):
            at += 1
        if at == length or at == size:
            return True
    return False


@part
def where_after(matcher, where, address, length):
    """WHERE of a watched text after some bytes that the automaton allows; -1 where they are for Python to follow."""
    depth, place = where >> 3, where & 7
    for position in range(length):
        byte = load_u8(address, position)
        if place == L.IN_RIVAL:
            return -1
        if place == L.RIVAL_BEGUN:
            if _may_be_rival(matcher, address + position, length - position):
                return -1
            place = L.IN_KEY
        if place == L.IN_STRING or place == L.IN_KEY:
            if byte == 0x22:
                place = L.BETWEEN
            elif byte == 0x5C:
                place += 1
        elif place == L.IN_STRING_ESCAPED or place == L.IN_KEY_ESCAPED:
            place -= 1
        elif byte == 0x22:
            place = L.RIVAL_BEGUN if place == L.DUE else L.IN_STRING
        elif byte == 0x2C:
            place = L.DUE if depth == 0 else L.BETWEEN
        elif byte == 0x7B or byte == 0x5B:
            depth += 1
        elif byte == 0x7D or byte == 0x5D:
            depth -= 1
            if depth < 0:
                return -1
            place = L.BETWEEN
    return depth << 3 | place


@part
def depends_on_text(matcher):
    """Whether the next mask is not that of the configuration alone."""
    watched, where = load_i64(matcher, L.MATCHER_WATCHED), load_i64(matcher, L.MATCHER_WHERE)
    if watched == L.TEXT_WATCHED:
        return where == L.DUE or where == L.IN_RIVAL or where == L.RIVAL_BEGUN
    return watched != 0
