"""Builds the flat trie of a vocabulary: sort the tokens' bytes, number the nodes in preorder, sign each subtree.

compile/trie.py owns the arrays and says what each of them means. Here `data` (uint8) holds every token's bytes one
after another, and token `t` is `data[offset[t] : offset[t + 1]]`.

The trie falls out of the sorted order: neighbours share a prefix, and what a token has beyond the prefix it shares with
its predecessor are exactly its new nodes, already in preorder. In pictures, with a node's number in front of its byte:

    sorted      shared   new nodes
    a             0      1a
    ab            1        2b
    abc           2          3c
    ad            1        4d
    b             0      5b
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskwright.kernels.jit import nogil_kernel, part

# Callees: 84f24764e47d

__all__ = [
    "check_nodes",
    "count_characters",
    "leading_bytes",
    "number_nodes",
    "shared_prefixes",
    "sign_nodes",
    "sort_ties",
]

Array = np.ndarray[Any, Any]

# Well-formed UTF-8 as an automaton (Unicode standard, table 3-7), without overlong forms, surrogates and code points
# above U+10FFFF. State 0 is a character boundary; 1, 2, 3: that many continuation bytes to go; 4 to 7: after E0, ED, F0
# and F4, whose next byte is restricted. Eight states, so that a set of them is one uint8.
_DEAD = 8


def _utf8_automaton() -> Array:
    step = np.full((8, 256), _DEAD, np.uint8)
    step[0, 0x00:0x80] = 0
    step[0, 0xC2:0xE0] = 1
    step[0, 0xE0:0xF0] = 2
    step[0, 0xF0:0xF5] = 3
    step[0, [0xE0, 0xED, 0xF0, 0xF4]] = 4, 5, 6, 7
    step[1, 0x80:0xC0] = 0
    step[2, 0x80:0xC0] = 1
    step[3, 0x80:0xC0] = 2
    step[4, 0xA0:0xC0] = 1
    step[5, 0x80:0xA0] = 1
    step[6, 0x90:0xC0] = 2
    step[7, 0x80:0x90] = 2
    step.setflags(write=False)
    return step


UTF8_STEP = _utf8_automaton()  # uint8 [8, 256]: the next state, or _DEAD


@nogil_kernel
def leading_bytes(data: Array, offset: Array, tokens: Array) -> Array:
    """The first eight bytes of each of `tokens` (int32 [T]) as one big-endian number, padded with zeros: uint64 [T]."""
    keys = np.zeros(tokens.size, np.uint64)
    for r in range(tokens.size):
        start, stop = offset[tokens[r]], offset[tokens[r] + 1]
        for i in range(min(8, stop - start)):
            keys[r] |= np.uint64(data[start + i]) << np.uint64(56 - 8 * i)
    return keys


@part
def _before(data: Array, offset: Array, a: int, b: int) -> bool:
    """Whether token `a` comes before token `b` in the order of (bytes, id)."""
    i, stop_a = offset[a], offset[a + 1]
    j, stop_b = offset[b], offset[b + 1]
    while i < stop_a and j < stop_b:
        if data[i] != data[j]:
            return data[i] < data[j]
        i += 1
        j += 1
    if stop_a - i != stop_b - j:
        return stop_a - i < stop_b - j
    return a < b


@part
def _sift_down(data: Array, offset: Array, heap: Array, root: int, size: int) -> None:
    """Restore the max-heap below `root` in heap[:size]."""
    while 2 * root + 1 < size:
        child = 2 * root + 1
        if child + 1 < size and _before(data, offset, heap[child], heap[child + 1]):
            child += 1
        if not _before(data, offset, heap[root], heap[child]):
            return
        heap[root], heap[child] = heap[child], heap[root]
        root = child


@nogil_kernel
def sort_ties(data: Array, offset: Array, keys: Array, order: Array) -> None:
    """Sort each run of equal `keys` (uint64 [T]) in `order` (int32 [T], token ids) by (bytes, id), in place.

    A heap sort: no run is slower than n log n comparisons, though a vocabulary may be one run.
    """
    low = 0
    while low < order.size:
        high = low + 1
        while high < order.size and keys[high] == keys[low]:
            high += 1
        heap = order[low:high]
        for root in range(heap.size // 2 - 1, -1, -1):
            _sift_down(data, offset, heap, root, heap.size)
        for last in range(heap.size - 1, 0, -1):
            heap[0], heap[last] = heap[last], heap[0]
            _sift_down(data, offset, heap, 0, last)
        low = high


@nogil_kernel
def shared_prefixes(data: Array, offset: Array, order: Array) -> Array:
    """For each rank the number of bytes its token shares with the token of the rank before: int64 [T]."""
    shared = np.zeros(order.size, np.int64)
    for r in range(1, order.size):
        i, stop_i = offset[order[r - 1]], offset[order[r - 1] + 1]
        j, stop_j = offset[order[r]], offset[order[r] + 1]
        length = 0
        while i < stop_i and j < stop_j and data[i] == data[j]:
            i += 1
            j += 1
            length += 1
        shared[r] = length
    return shared


@nogil_kernel
def number_nodes(
    data: Array,
    offset: Array,
    order: Array,
    shared: Array,
    max_depth: int,
    byte: Array,
    end: Array,
    depth: Array,
    first_rank: Array,
) -> None:
    """Fill the last four arrays (compile/trie.py says what they hold) from the sorted order."""
    nodes = byte.size
    path = np.zeros(max_depth + 1, np.int32)  # the nodes from the root to the last token's
    byte[0], end[0], depth[0], first_rank[0] = 0, nodes, 0, 0
    node, deep = 1, 0  # the next node's number; the last token's length
    for r in range(order.size):
        start = offset[order[r]]
        length = offset[order[r] + 1] - start
        for d in range(shared[r] + 1, deep + 1):
            end[path[d]] = node
        for d in range(shared[r] + 1, length + 1):
            byte[node], depth[node], first_rank[node] = data[start + d - 1], d, r
            path[d] = node
            node += 1
        deep = length
    for d in range(1, deep + 1):
        end[path[d]] = nodes
    first_rank[nodes] = order.size


@nogil_kernel
def sign_nodes(byte: Array, end: Array) -> tuple[Array, Array, Array, Array]:
    """Signatures (sig_low, sig_high, sig_flags, sig_chars) of the strict subtree of each node, from the leaves up.

    `fits[i]` is the set of UTF-8 states from which every path below i can be read; a leaf fits them all.
    """
    nodes = byte.size
    low, high = np.zeros(nodes, np.uint64), np.zeros(nodes, np.uint64)
    flags, chars = np.zeros(nodes, np.uint8), np.zeros(nodes, np.int32)
    fits = np.empty(nodes, np.uint8)
    one = np.uint64(1)
    for i in range(nodes - 1, -1, -1):
        fit = 0xFF
        child = i + 1
        while child < end[i]:
            value = byte[child]
            low[i] |= low[child]
            high[i] |= high[child]
            flags[i] |= flags[child] & 1
            if value < 64:
                low[i] |= one << np.uint64(value)
            elif value < 128:
                high[i] |= one << np.uint64(value - 64)
            else:
                flags[i] |= 1
            started = 0 if value & 0xC0 == 0x80 else 1
            chars[i] = max(chars[i], chars[child] + started)
            child_fit = 0
            if value < 128:
                child_fit = fits[child] & 1
            else:
                for state in range(8):
                    after = UTF8_STEP[state, value]
                    if after != _DEAD and fits[child] >> after & 1:
                        child_fit |= 1 << state
            fit &= child_fit
            child = end[child]
        fits[i] = fit
        flags[i] |= (fit & 1) << 1
    return low, high, flags, chars


# What check_nodes found wrong; compile/trie.py has the sentences.
SOUND, BAD_END, BAD_RANKS, BAD_LEAF, BAD_ORDER, BAD_DEPTH, BAD_NESTING, BAD_DUPLICATES, BAD_SPELLING = range(9)


@nogil_kernel
def count_characters(byte: Array, depth: Array, first_rank: Array, max_depth: int) -> tuple[Array, Array]:
    """Code points (bytes that are no continuation byte) on the way from the root to each node: int32 [N]; and in each
    token, by its rank: int32 [T].
    """
    path = np.zeros(max_depth + 1, np.int32)  # of the node at hand and those above it, by depth
    of_nodes, of_ranks = np.zeros(byte.size, np.int32), np.zeros(first_rank[byte.size], np.int32)
    for i in range(1, byte.size):
        count = path[depth[i] - 1] + (byte[i] & 0xC0 != 0x80)
        path[depth[i]] = of_nodes[i] = count
        for r in range(first_rank[i], first_rank[i + 1]):
            of_ranks[r] = count
    return of_nodes, of_ranks


@nogil_kernel
def check_nodes(
    data: Array,
    offset: Array,
    byte: Array,
    end: Array,
    depth: Array,
    first_rank: Array,
    rank_to_token: Array,
    max_depth: int,
) -> tuple[int, int]:
    """The first broken invariant and its node, or (SOUND, 0).

    The caller has seen to it that `offset` ascends within `data`, that ranks hold valid token ids, that the root is
    sound, and that no depth is above max_depth; everything else may be anything.
    """
    nodes, tokens = byte.size, rank_to_token.size
    for i in range(nodes):
        if not i < end[i] <= nodes:
            return BAD_END, i
        if not 0 <= first_rank[i] <= first_rank[i + 1] <= tokens:
            return BAD_RANKS, i
        if i > 0 and end[i] == i + 1 and first_rank[i] == first_rank[i + 1]:
            return BAD_LEAF, i
    spelled = np.zeros(max_depth + 1, np.uint8)  # the bytes that lead to the node at hand, byte d at index d
    for i in range(nodes):
        spelled[depth[i]] = byte[i]
        child, before = i + 1, -1
        while child < end[i]:
            if byte[child] <= before:
                return BAD_ORDER, child
            if depth[child] != depth[i] + 1:
                return BAD_DEPTH, child
            if end[child] > end[i]:
                return BAD_NESTING, child
            before = byte[child]
            child = end[child]
        for r in range(first_rank[i], first_rank[i + 1]):
            token = rank_to_token[r]
            if r > first_rank[i] and rank_to_token[r - 1] >= token:
                return BAD_DUPLICATES, i
            start = offset[token]
            if offset[token + 1] - start != depth[i]:
                return BAD_SPELLING, i
            for d in range(depth[i]):
                if data[start + d] != spelled[d + 1]:
                    return BAD_SPELLING, i
    return SOUND, 0
