"""The trie of remainders: what is left of the tokens that end a frame, after the byte that ends it.

Of the 1,312 Llama-3 tokens that close a JSON string there are 576 distinct remainders; a mask walks them once a context
instead of trying every token.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["build_remainders"]


_KEY_BYTES = 6  # of an entry, in the lower bits of its key


@njit(cache=True)
def _precedes(text, starts, stops, left, right):
    """Whether what entry `left` has behind the bytes of its key sorts before that of `right`, or beside it."""
    a, b = starts[left] + _KEY_BYTES, starts[right] + _KEY_BYTES
    while a < stops[left] and b < stops[right]:
        if text[a] != text[b]:
            return text[a] < text[b]
        a += 1
        b += 1
    return stops[left] - a <= stops[right] - b


@njit(cache=True)
def _keys(text, results, starts, stops):
    """Integers in the order of the entries, as far as the result code and the first bytes tell them apart."""
    keys = np.empty(len(results), np.int64)
    for entry in range(len(results)):
        key = results[entry]
        for place in range(_KEY_BYTES):
            position = starts[entry] + place
            key = key << 8 | (text[position] if position < stops[entry] else 0)
        keys[entry] = key
    return keys


@njit(cache=True)
def _sorted(text, results, starts, stops):
    """The order of the entries: a bottom-up merge sort, since the keys are slices of one text."""
    count = len(results)
    keys = _keys(text, results, starts, stops)
    order, merged = np.arange(count), np.empty(count, np.int64)
    width = 1
    while width < count:
        for low in range(0, count, 2 * width):
            middle, high = min(low + width, count), min(low + 2 * width, count)
            left, right = low, middle
            for position in range(low, high):
                take_left = right >= high
                if left < middle and right < high:
                    one, other = order[left], order[right]
                    take_left = keys[one] <= keys[other]
                    if keys[one] == keys[other]:
                        length, against = stops[one] - starts[one], stops[other] - starts[other]
                        take_left = length <= against
                        if length > _KEY_BYTES and against > _KEY_BYTES:
                            take_left = _precedes(text, starts, stops, one, other)
                if take_left:
                    merged[position] = order[left]
                    left += 1
                else:
                    merged[position] = order[right]
                    right += 1
        order, merged = merged, order
        width *= 2
    return order


@njit(cache=True, nogil=True)
def build_remainders(exits, trie_end, trie_first, trie_depth, trie_tokens, offsets, text):
    """Gather the remainders behind `exits` into one trie with a segment for each result code.

    Args:
        exits: int32 [E, 3]: trie node, result code, 1 if the node's byte is part of the remainder (kernels/layout.py).
        trie_*: arrays of the vocabulary's trie (compile/trie.py).
        offsets, text: int64 [V + 1] and uint8: the tokens' bytes.

    Returns:
        segments int32 [S, 3] (result code, first node, end node), and the trie: byte uint8 [N], end int32 [N],
        first int32 [N + 1] (tokens that sort before the node's own), tokens int32 [T].
    """
    count = 0
    for number in range(len(exits)):
        node = exits[number, 0]
        count += trie_first[trie_end[node]] - trie_first[node + 1 - exits[number, 2]]
    results, tokens = np.empty(count, np.int32), np.empty(count, np.int32)
    starts, stops = np.empty(count, np.int64), np.empty(count, np.int64)
    entry = size = 0
    for number in range(len(exits)):
        node, late = exits[number, 0], exits[number, 2]
        for rank in range(trie_first[node + 1 - late], trie_first[trie_end[node]]):
            token = trie_tokens[rank]
            results[entry], tokens[entry] = exits[number, 1], token
            starts[entry], stops[entry] = offsets[token] + trie_depth[node] - late, offsets[token + 1]
            size += stops[entry] - starts[entry]
            entry += 1
    order = _sorted(text, results, starts, stops)
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
