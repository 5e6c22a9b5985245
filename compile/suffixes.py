"""The suffix array of a text: where its suffixes begin, sorted by what they say.

Manber and Myers, "Suffix arrays: a new method for on-line string searches", SIAM J. Comput. 22(5), 1993: suffixes sorted by
their first h bytes are sorted by 2h bytes with the ranks that they and the suffixes h bytes further have. As in Larsson
and Sadakane, "Faster suffix sorting", TCS 387(3), 2007, only those still tied are sorted again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["sorted_suffixes"]

Array = np.ndarray[Any, Any]

_PACKED = 7  # bytes that the first sort looks at: nine bits each, 0 behind the end


def sorted_suffixes(data: Array) -> Array:
    """The suffixes of `data` (uint8 [n]) in ascending order, by their first index: int64 [n]."""
    size = len(data)
    letters = np.zeros(size + _PACKED, np.int64)
    letters[:size] = data
    letters[:size] += 1
    keys = np.zeros(size, np.int64)
    for offset in range(_PACKED):
        keys <<= 9
        keys |= letters[offset : offset + size]
    order = np.argsort(keys, kind="stable")
    rank = np.empty(size, np.int64)  # of a suffix: the slot of the first that is tied with it
    tied = _rank_tied(order, np.arange(size), keys[order], rank)
    width = _PACKED
    while len(tied):
        suffixes = order[tied]
        further = suffixes + width
        keys = rank[suffixes] * (size + 1)
        inside = further < size
        keys[inside] += rank[further[inside]] + 1
        again = np.argsort(keys, kind="stable")
        order[tied] = suffixes[again]
        tied = _rank_tied(order, tied, keys[again], rank)
        width *= 2
    return order


def _rank_tied(order: Array, slots: Array, keys: Array, rank: Array) -> Array:
    """Write the ranks of the suffixes in `slots`, which are sorted by `keys`; the slots that are tied still."""
    size = len(keys)
    if size == 0:
        return slots
    first = np.ones(size + 1, bool)  # of a group of equal keys
    np.not_equal(keys[1:], keys[:-1], out=first[1:size])
    heads = np.maximum.accumulate(np.where(first[:size], np.arange(size), 0))
    rank[order[slots]] = slots[heads]
    return slots[~(first[:-1] & first[1:])]
