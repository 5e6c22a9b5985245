"""The trie of remainders: what is left of the tokens that end a frame, after the byte that ends it.

Of the 1,312 Llama-3 tokens that close a JSON string there are 576 distinct remainders; a mask walks them once a context
instead of trying every token.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskwright.kernels.jit import nogil_kernel, part

# Callees: 84f24764e47d

__all__ = ["build_remainders", "part_exits"]

Array = np.ndarray[Any, Any]


_KEY_BYTES = 5  # of an entry, in its key


@nogil_kernel
def part_exits(exits, trie_end, trie_first, trie_depth, most):
    """Part the exits with more than `most` tokens below them from the others.

    What follows a space may be half of the vocabulary: siblings that all end the frame before them are one segment.

    Args:
        exits: int32 [E, 3], as build_remainders takes them; in the order of their nodes.

    Returns:
        large int32 [L, 3]: result code, first node, end node; and the other exits, int32 [., 3].
    """
    large, others = np.empty((len(exits), 3), np.int32), np.empty((len(exits), 3), np.int32)
    found = kept = at = 0
    while at < len(exits):
        last, result, late = at, exits[at, 1], exits[at, 2]
        stop = trie_end[exits[at, 0]]
        while (
            late == 1
            and last + 1 < len(exits)
            and exits[last + 1, 0] == stop
            and exits[last + 1, 1] == result
            and exits[last + 1, 2] == 1
            and trie_depth[exits[last + 1, 0]] == trie_depth[exits[at, 0]]
        ):
            last += 1
            stop = trie_end[exits[last, 0]]
        low = exits[at, 0] + 1 - late
        if trie_first[stop] - trie_first[low] > most:
            large[found, 0], large[found, 1], large[found, 2] = result, low, stop
            found += 1
        else:
            for exit in range(at, last + 1):
                others[kept, 0], others[kept, 1], others[kept, 2] = exits[exit, 0], exits[exit, 1], exits[exit, 2]
                kept += 1
        at = last + 1
    return large[:found].copy(), others[:kept].copy()


@part
def _precedes(text, starts, stops, left, right):
    """Whether what entry `left` has behind the bytes of its key sorts before that of `right`, or beside it."""
    a, b = starts[left] + _KEY_BYTES, starts[right] + _KEY_BYTES
    while a < stops[left] and b < stops[right]:
        if text[a] != text[b]:
            return text[a] < text[b]
        a += 1
        b += 1
    return stops[left] - a <= stops[right] - b


@nogil_kernel
def _entries(exits, trie_end, trie_first, trie_depth, trie_tokens, offsets, text, known):
    """What is behind the exits, one entry for each token: (keys, results, tokens, where the remainder starts, and stops).

    Keys are integers in the order of the entries: result code, first bytes, and how many bytes there are. Entries with
    equal keys are equal, unless they have more bytes than that.
    """
    count = 0
    for number in range(len(exits)):
        node = exits[number, 0]
        count += trie_first[trie_end[node]] - trie_first[node + 1 - exits[number, 2]]
    keys = np.empty(count, np.int64)
    results, tokens = np.empty(count, np.int32), np.empty(count, np.int32)
    starts, stops = np.empty(count, np.int64), np.empty(count, np.int64)
    entry = 0
    for number in range(len(exits)):
        node, late = exits[number, 0], exits[number, 2]
        for rank in range(trie_first[node + 1 - late], trie_first[trie_end[node]]):
            token = trie_tokens[rank]
            if known[token >> 5] >> (token & 31) & 1:
                continue
            results[entry], tokens[entry] = exits[number, 1], token
            starts[entry], stops[entry] = offsets[token] + trie_depth[node] - late, offsets[token + 1]
            key = np.int64(exits[number, 1])
            for position in range(starts[entry], starts[entry] + _KEY_BYTES):
                key = key << 8 | (text[position] if position < stops[entry] else 0)
            keys[entry] = key << 3 | min(stops[entry] - starts[entry], _KEY_BYTES + 1)
            entry += 1
    return keys[:entry], results[:entry], tokens[:entry], starts[:entry], stops[:entry]


@nogil_kernel
def _settle_ties(order, keys, text, starts, stops):
    """Sort the longer entries whose keys are equal: a bottom-up merge sort of each run of them, in place."""
    merged = np.empty(len(order), np.int64)
    first = 0
    while first < len(order):
        last = first + 1
        while last < len(order) and keys[order[last]] == keys[order[first]]:
            last += 1
        width = 1 if keys[order[first]] & 7 > _KEY_BYTES else last - first
        while width < last - first:
            for low in range(first, last, 2 * width):
                middle, high = min(low + width, last), min(low + 2 * width, last)
                left, right = low, middle
                for position in range(low, high):
                    take_left = right >= high
                    if left < middle and right < high:
                        take_left = _precedes(text, starts, stops, order[left], order[right])
                    if take_left:
                        merged[position] = order[left]
                        left += 1
                    else:
                        merged[position] = order[right]
                        right += 1
            for position in range(first, last):  # numba would compile a message for slices that do not fit
                order[position] = merged[position]
            width *= 2
        first = last


@nogil_kernel
def _trie(order, text, results, tokens, starts, stops):
    """The trie of the sorted entries: see build_remainders."""
    count = len(order)
    size = 0
    for entry in range(count):
        size += stops[entry] - starts[entry]
    segments = np.empty((count, 3), np.int32)
    byte, end = np.empty(size, np.uint8), np.empty(size, np.int32)
    first, ids = np.empty(size + 1, np.int32), np.empty(count, np.int32)
    path = np.empty(size + 1, np.int32)  # the node at each depth of the last entry
    nodes = segment_count = depth = 0
    for position in range(count):
        entry = order[position]
        length = stops[entry] - starts[entry]
        shared = 0
        if position > 0:
            last = order[position - 1]
            if results[last] == results[entry]:
                while (
                    shared < length and shared < depth and text[starts[last] + shared] == text[starts[entry] + shared]
                ):
                    shared += 1
        if position == 0 or results[order[position - 1]] != results[entry]:
            segments[segment_count, 0], segments[segment_count, 1] = results[entry], nodes
            segment_count += 1
        for closing in range(shared, depth):
            end[path[closing]] = nodes
        for extra in range(shared, length):
            byte[nodes] = text[starts[entry] + extra]
            first[nodes] = position
            path[extra] = nodes
            nodes += 1
        depth = length
        ids[position] = tokens[entry]
        segments[segment_count - 1, 2] = nodes
    for closing in range(depth):
        end[path[closing]] = nodes
    first[nodes] = count
    return segments[:segment_count].copy(), byte[:nodes].copy(), end[:nodes].copy(), first[: nodes + 1].copy(), ids


def build_remainders(
    exits: Array,
    trie_end: Array,
    trie_first: Array,
    trie_depth: Array,
    trie_tokens: Array,
    offsets: Array,
    text: Array,
    known: Array,
) -> tuple[Array, Array, Array, Array, Array]:
    """Gather the remainders behind `exits` into one trie with a segment for each result code.

    Args:
        exits: int32 [E, 3]: trie node, result code, 1 if the node's byte is part of the remainder (kernels/layout.py).
        trie_*: arrays of the vocabulary's trie (compile/trie.py).
        offsets, text: int64 [V + 1] and uint8: the tokens' bytes.
        known: int32 [ceil(V / 32)], the mask of tokens that are left out.

    Returns:
        segments int32 [S, 3] (result code, first node, end node), and the trie: byte uint8 [N], end int32 [N],
        first int32 [N + 1] (tokens that sort before the node's own), tokens int32 [T].
    """
    keys, results, tokens, starts, stops = _entries(
        exits, trie_end, trie_first, trie_depth, trie_tokens, offsets, text, known
    )
    order = np.argsort(keys)  # numpy sorts integers several at once
    _settle_ties(order, keys, text, starts, stops)
    return _trie(order, text, results, tokens, starts, stops)
