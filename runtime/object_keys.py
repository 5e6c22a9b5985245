"""What is known of a text whose objects must have different keys: the keys of each that is watched, and the one being written.

    {"a": 1, "x": {"u": 2}, "xy      watched: an object with the other keys "a", "x"; rivals of the key in the making: none
    {"a": 1, "x": {"u": 2}, "a       the same, but "a" is a rival: it may still become `a`, and must not end so

Immutable, so that going back is keeping older ones; who follows a matcher's text with them: runtime/unique_keys.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from maskwright.kernels import layout as L
from maskwright.runtime.partial_values import Partial, may_become

__all__ = ["OUTSIDE", "Keys", "Place", "Watched", "begun_key", "follow", "opening_quote"]


class Keys:
    """The keys that an object has had, shared by all places in it: each counts the first few.

    Attributes:
        addresses: where they lie as kernels read them (kernels/layout.py: MATCHER_RIVALS, MATCHER_RIVAL_STARTS), for as long
            as this object lives: other matchers may know them.
    """

    __slots__ = ("_kept", "_numbers", "_order", "_owner", "_starts", "_text", "addresses")

    def __init__(self, owner: object, keys: Iterable[str] = ()) -> None:
        self._owner, self._order = owner, list[str]()
        self._numbers: dict[str, int] = {}
        self._text, self._starts = np.zeros(256, np.uint8), np.zeros(16, np.int64)
        self.addresses = self._text.ctypes.data, self._starts.ctypes.data
        self._kept = list[np.ndarray[Any, Any]]()
        for key in keys:
            self._append(key)

    def _append(self, key: str) -> None:
        number, spelled = len(self._order), json.encoder.encode_basestring(key)[1:].encode(errors="surrogatepass")
        start = int(self._starts[number])
        end = start + len(spelled)
        if end > len(self._text) or number + 2 > len(self._starts):
            self._kept += (self._text, self._starts)
            self._text = np.resize(self._text, 2 * max(end, len(self._text)))
            self._starts = np.resize(self._starts, 2 * len(self._starts))
            self.addresses = self._text.ctypes.data, self._starts.ctypes.data
        self._text[start:end] = np.frombuffer(spelled, np.uint8)
        self._starts[number + 1] = end
        self._numbers[key] = number
        self._order.append(key)

    def has(self, key: str, count: int) -> bool:
        """Whether `key` is among the first `count`."""
        return self._numbers.get(key, count) < count

    def first(self, count: int) -> list[str]:
        """The first `count`."""
        return self._order[:count]

    def plus(self, key: str, count: int, owner: object) -> Keys:
        """The first `count` and `key`: this very object where nobody else has gone on from there."""
        found = self
        if owner is not self._owner or count < len(self._order):
            found = Keys(owner, self._order[:count])
        found._append(key)
        return found


class Watched(NamedTuple):
    """An object that has had other keys, and is open.

    Attributes:
        below: the one around it that has; None for the outermost.
        where: WHERE of the text in that, when this one is closed.
        keys, had: its other keys so far: the first `had` of `keys`.
        free: whether any key that has begun, in this and all around, can become a longer one than those before.
        is_usual: whether one of them has had a key that a token may hold whole behind the end of a value.
        whole, rest: tokens whose first string is one of the keys, and those that lack its opening quote; int32 each.
    """

    below: Watched | None
    where: int
    keys: Keys
    had: int
    free: bool
    is_usual: bool
    whole: tuple[np.ndarray[Any, Any], ...] = ()
    rest: tuple[np.ndarray[Any, Any], ...] = ()


class Place(NamedTuple):
    """Where a text is.

    Attributes:
        top: the innermost watched object; None outside of all.
        where: WHERE in it (kernels/layout.py).
        key: IN_RIVAL: the bytes of the key, with its opening quote.
        rivals: IN_RIVAL: the earlier keys that it may still become.
    """

    top: Watched | None = None
    where: int = L.BETWEEN
    key: bytes = b""
    rivals: Sequence[Any] = ()

    @property
    def is_tight(self) -> bool:
        """Whether a key is being written that may have nothing to become but an earlier one."""
        return len(self.rivals) > 0 and self.top is not None and not self.top.free


OUTSIDE = Place()
"""In no watched object."""


def follow(place: Place, piece: bytes) -> Place:
    """The place after a piece, in a watched object; with the bytes of the key that has ended, if it might have had rivals.

    What kernels/watching.py: where_after does, and the keys beside.
    """
    top, where, key, rivals = place
    assert top is not None
    depth, where = where >> 3, where & 7
    for byte in piece:
        if where == L.IN_RIVAL:
            if byte == 0x22 and not _is_escaped(key):
                where, rivals = L.BETWEEN, ()
            key += bytes((byte,))
        elif where == L.IN_STRING or where == L.IN_KEY:
            if byte == 0x22:
                where = L.BETWEEN
            elif byte == 0x5C:
                where += 1
        elif where == L.IN_STRING_ESCAPED or where == L.IN_KEY_ESCAPED:
            where -= 1
        elif byte == 0x22:
            if where == L.DUE:
                where, key, rivals = L.IN_RIVAL, b'"', top.keys.first(top.had)
            else:
                where = L.IN_STRING
        elif byte == 0x2C:
            where = L.BETWEEN if depth else L.DUE
        elif byte == 0x7B or byte == 0x5B:
            depth += 1
        elif byte == 0x5D or byte == 0x7D:
            depth, where = depth - 1, L.BETWEEN
            if depth < 0:
                if top.below is None:
                    return OUTSIDE
                top, depth = top.below, top.where >> 3
    if where == L.IN_RIVAL and len(key) > 1:
        rivals = _left(key, rivals)
        if not rivals:
            where, key = L.IN_KEY_ESCAPED if _is_escaped(key) else L.IN_KEY, b""
    return Place(top, depth << 3 | where, key, rivals)


def begun_key(key: bytes) -> str | None:
    """The characters of a key that has begun, its opening quote the first byte; None within a character or escape."""
    try:
        begun: str = json.loads(key + b'"') if b"\\" in key else key[1:].decode()
    except ValueError:
        return None
    return None if "\ud800" <= begun[-1:] <= "\udbff" else begun  # half of a character, by escapes


def _left(key: bytes, rivals: Sequence[Any]) -> Sequence[Any]:
    """Those of some keys that one may still become that has begun with some bytes, its opening quote the first of them."""
    begun = begun_key(key)
    if begun is None:
        return may_become(Partial(None, key), rivals)
    return [rival for rival in rivals if rival.startswith(begun)]


def opening_quote(text: bytes) -> int:
    """Where the string begins that ends with the last byte of `text`; -1 where that takes more of what is before."""
    at = len(text) - 1
    while (at := text.rfind(b'"', 0, at)) > 0:
        slashes = at - len(text[:at].rstrip(b"\\"))
        if slashes == at:
            break  # they may go on before
        if slashes % 2 == 0:
            return at
    return -1


def _is_escaped(text: bytes) -> bool:
    """Whether the character after `text` is escaped."""
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1
