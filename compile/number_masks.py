"""Sets of small numbers as integers: bit n stands for number n. What takes time linear in the largest number, however large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["Subsets", "bits", "mask_of"]

_WIDE = 512  # bits from which on a set is taken apart in pieces, since each step copies what it works on
_PIECE = 8  # bytes of a piece


def bits(mask: int) -> Iterator[int]:
    """The numbers in a set, ascending."""
    if mask.bit_length() <= _WIDE:
        while mask:
            low = mask & -mask
            yield low.bit_length() - 1
            mask ^= low
        return
    data = mask.to_bytes((mask.bit_length() + 7) // 8, "little")
    for at in range(0, len(data), _PIECE):
        piece = int.from_bytes(data[at : at + _PIECE], "little")
        while piece:
            low = piece & -piece
            yield 8 * at + low.bit_length() - 1
            piece ^= low


def mask_of(numbers: Iterable[int]) -> int:
    """The set of some numbers."""
    data = bytearray()
    for number in numbers:
        at = number >> 3
        if at >= len(data):
            data += bytes(max(at + 1 - len(data), len(data)))
        data[at] |= 1 << (number & 7)
    return int.from_bytes(data, "little")


class Subsets:
    """Some sets, of which those that lie within another are found without looking at all of them."""

    def __init__(self) -> None:
        self._by_first: dict[int, list[int]] = {}
        self._empty = False

    def add(self, mask: int) -> None:
        """One more set."""
        if mask:
            self._by_first.setdefault((mask & -mask).bit_length() - 1, []).append(mask)
        self._empty = self._empty or not mask

    def within(self, mask: int) -> Iterator[int]:
        """Those that lie within a set."""
        if self._empty:
            yield 0
        for first in bits(mask):
            yield from (held for held in self._by_first.get(first, ()) if not held & ~mask)
