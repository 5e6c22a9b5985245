"""Lays sorted byte strings into the automaton's tables as a trie, a few hundred states at a time.

The simple version: state(prefix) has one transition for each byte that continues some string with that prefix, and may
end where one of them may. Strings that share a prefix are neighbours in the sorted table, so that a state is a slice of
it and a depth. It does not matter whether the strings are apart (choices) or suffixes of one text (spans of it).

A state that is not laid yet is a slice, kept beside its number; whoever reaches it has it laid, breadth first, with what
comes next.
"""

from __future__ import annotations

import numpy as np

from maskwright.kernels import layout as L
from maskwright.kernels.jit import kernel, part

# Callees: 2a5edac4869d

__all__ = ["MAY_END", "MUST_END", "lay_literals"]

MAY_END = 1
MUST_END = 2


@part
def _run_end(data, starts, depth, begin, high, byte):
    """The first entry from `begin` on whose next byte is another one: galloping, then halving."""
    step = 1
    low = begin
    while low + step < high and data[starts[low + step] + depth] == byte:
        low += step
        step *= 2
    top = min(low + step, high)  # entry `low` has the byte, entry `top` has not (or is the end)
    while low + 1 < top:
        middle = (low + top) // 2
        if data[starts[middle] + depth] == byte:
            low = middle
        else:
            top = middle
    return low + 1


@kernel
def lay_literals(
    data,
    marks,
    starts,
    singles,
    pairs,
    slices,
    shortest,
    otherwise,
    state,
    first,
    most,
    states,
    transitions,
    transition_count,
    maps,
    map_count,
):
    """Lay `state` and what follows it.

    Args:
        data: uint8 [n]; all strings. String i is data[starts[i]:p], for every p whose mark is MAY_END, up to the first
            from starts[i] on whose mark is MUST_END.
        marks: uint8 [n + 1].
        starts: int32 [m], sorted by the strings; where one is the beginning of another, it comes first.
        singles: int32 [n + 1]; the state of a slice of one string, by the position of its next byte; 0: none yet.
        pairs: int32 [65536]; the map of a state that two bytes lead out of, by first * 256 + second; 0: none yet.
        slices: int32 [most + 257, 4]; row 0 is (low, high, depth in bytes, depth in characters) of `state`; row 1 + i is
            written for state first + i.
        shortest: characters that a string must have to end.
        otherwise: STATE_ELSE of the states.
        first, most: new states are numbered from `first`; no state is laid when there are `most` or more.
        states, transitions, maps: the tables, with room for most + 256 states, twice as many transitions and as many
            maps of 256 bytes.

    Returns:
        (states allocated, transition_count, map_count); those allocated and not laid have STATE_ALIAS -1.
    """
    allocated = 0
    laid = 0  # row of the slice to lay next
    children = np.empty((257, 3), np.int32)  # byte, and the slice behind it
    while laid <= allocated and (laid == 0 or allocated < most):
        low, high, depth, characters = slices[laid, 0], slices[laid, 1], slices[laid, 2], slices[laid, 3]
        this = state if laid == 0 else first + laid - 1
        laid += 1
        final = -1
        count = 0
        while low < high:
            position = starts[low] + depth
            if marks[position] & MUST_END:
                if characters >= shortest:
                    final = 0
                low += 1
                continue
            byte = data[position]
            end = _run_end(data, starts, depth, low, high, byte)
            # Whether a string may end here depends on its characters on both sides: an ASCII byte is the whole of one.
            last = end if byte >= 0x80 else low + 1
            entry = low
            while final < 0 and characters >= shortest and entry < last:
                if marks[starts[entry] + depth] & MAY_END:
                    final = 0
                entry += 1
            children[count, 0], children[count, 1], children[count, 2] = byte, low, end
            count += 1
            low = end
        if count == 0:
            row, byte_map = 0, 0
        elif count == 1:
            row, byte_map = transition_count, 256 * np.int64(children[0, 0])
        else:
            row = transition_count
            pair = children[0, 0] * 256 + children[1, 0]
            if count == 2 and pairs[pair] != 0:
                byte_map = np.int64(pairs[pair])
            else:
                byte_map = map_count
                map_count += 256
                for byte in range(256):
                    maps[byte_map + byte] = 0
                for child in range(count):
                    maps[byte_map + children[child, 0]] = child + 1
                if count == 2:
                    pairs[pair] = byte_map
        if count:
            transitions[row] = 0
            transition_count += count + 1
        for child in range(count):
            begin, end = children[child, 1], children[child, 2]
            after = starts[begin] + depth + 1
            longer = characters + (children[child, 0] & 0xC0 != 0x80)
            alone = end - begin == 1 and longer >= shortest
            target = np.int64(singles[after]) if alone else 0
            if target == 0:
                target = first + allocated
                allocated += 1
                slices[allocated, 0], slices[allocated, 1] = begin, end
                slices[allocated, 2], slices[allocated, 3] = depth + 1, longer
                states[target * L.STATE_SIZE + L.STATE_ALIAS] = -1
                if alone:
                    singles[after] = target
            transitions[row + 1 + child] = target
        record = this * L.STATE_SIZE
        states[record + L.STATE_ROW] = row
        states[record + L.STATE_MAP] = byte_map
        states[record + L.STATE_FINAL] = final
        states[record + L.STATE_OP] = L.OP_NONE if count else L.OP_POP
        states[record + L.STATE_ARG] = 0
        states[record + L.STATE_SAFE] = 0
        states[record + L.STATE_ELSE] = otherwise
        states[record + L.STATE_ALIAS] = this
    return allocated, transition_count, map_count
