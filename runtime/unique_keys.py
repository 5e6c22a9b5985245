"""Keeps the keys of an object different: named ones are the automaton's to tell apart, other keys are told apart here.

Which other keys an object has had is no state of the automaton: there is no end to them. Beside it goes the place in the JSON
text: the containers that are open since the outermost object that may have other keys, the keys that each has had, and the
key that is being written. It is read off the bytes of accepted tokens; of the automaton it is only asked at `{` what object
begins there. Places are immutable and belong to a matcher, so that rollback is keeping older ones.

Keys are compared as JSON readers do, unescaped: "a" is "\\u0061". A key in the making must not end as one before it, its
*rivals*; nearly always it may go on as another one. Where patterns or `propertyNames` leave keys little room that is made
sure of in the automaton, byte by byte along the rivals. (Keys of which there are few are named ones: compile/members.py.)
"""

from __future__ import annotations

import ctypes
import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.keys import OtherKeys
from maskwright.compile.token_tables import HAS_BRACE, HAS_QUOTE, HAS_STRUCTURE
from maskwright.grammars.errors import LimitExceeded
from maskwright.kernels import automaton as kernels
from maskwright.kernels import layout as L
from maskwright.runtime.arena import Arena
from maskwright.runtime.partial_values import Partial, feed, following, may_become

__all__ = ["UniqueKeys"]

_MAX_STEPS = 10_000  # places visited in search of a new key
_MAX_KNOWN = 1 << 12
_MAX_LOOKED_AT = 8  # tokens of a mask, one by one
_KEY: tuple[bytes, ...] = (b'"', b'"')
_TWO_KEYS: tuple[bytes, ...] = (b'"', b'"', b",", b'"', b'"')
_STRUCTURE = HAS_BRACE | HAS_STRUCTURE | HAS_QUOTE
_MATTERING = (_STRUCTURE, _STRUCTURE, 0xFF, HAS_QUOTE, 0xFF)
"""Marks of the tokens that make a difference, by Place.where."""

Cursor = tuple[int, int, int]  # of the automaton: state, register, stack node


class Keys:
    """The keys that an object has had, shared by all places in it: each counts the first few."""

    __slots__ = ("_numbers", "_order", "_owner")

    def __init__(self, owner: object, keys: Iterable[str] = ()) -> None:
        self._owner, self._order = owner, list(keys)
        self._numbers = {key: number for number, key in enumerate(self._order)}

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
        found._numbers[key] = count
        found._order.append(key)
        return found


class Open(NamedTuple):
    """A container that is open.

    Attributes:
        below: the one around it; None for the outermost object that is followed.
        other: of an object what other keys it may have; None where it has none, and of an array.
        is_object: whether it is one.
        keys, had: the other keys so far: the first `had` of `keys`, None while there are none.
        watched: whether it or one around it has had some, or has little room for them.
    """

    below: Open | None
    other: OtherKeys | None
    is_object: bool
    keys: Keys | None
    had: int
    watched: bool


_BETWEEN, _DUE, _IN_KEY, _IN_STRING, _ESCAPED = range(5)
"""Where in its innermost container a text is: `_DUE` where the next string is a key; in a key; in another string, and there
behind a backslash."""


class Place(NamedTuple):
    """Where a text is.

    Attributes:
        top: the innermost open container; None outside of all objects that may have other keys.
        where: see above.
        key: the bytes of the key that is being written, with its opening quote.
    """

    top: Open | None = None
    where: int = _BETWEEN
    key: bytes = b""

    @property
    def has_rivals(self) -> bool:
        """Whether a key is being written in an object that has had others."""
        return self.where == _IN_KEY and self.top is not None and self.top.had > 0

    def rivals(self) -> tuple[Any, ...]:
        """The earlier keys that the key in the making may still become."""
        assert self.top is not None and self.top.keys is not None
        return may_become(Partial(None, self.key), self.top.keys.first(self.top.had))


_OUTSIDE = Place()


class UniqueKeys:
    """Follows one matcher's text; see the module."""

    def __init__(self, compiled: CompiledGrammar, arena: Arena) -> None:
        assert compiled.other_keys is not None
        self._compiled, self._arena, self._others = compiled, arena, compiled.other_keys
        self._marks, self._written = compiled.tokens.json_marks, compiled.tokens.bytes_of
        self._place, self._history = _OUTSIDE, list[Place]()
        self._in_one_token = len(compiled.tokens.containing(_TWO_KEYS)) > 0
        self._with_key_behind: list[int] = compiled.tokens.containing((b",", *_KEY)).tolist()
        self._owner = object()
        self._endings: dict[bytes, np.ndarray[Any, Any]] = {}

    def copy(self, arena: Arena) -> UniqueKeys:
        """The same, for a copy of the arena."""
        twin = UniqueKeys(self._compiled, arena)
        twin._place, twin._history = self._place, self._history.copy()
        return twin

    def reset(self) -> None:
        """Back to the start of the text."""
        self._place = _OUTSIDE
        self._history.clear()

    def rollback(self, steps: int) -> None:
        """Take back the last steps."""
        if steps:
            self._place = self._history[-steps]
            del self._history[-steps:]

    def accepted_token(self, token: int) -> bool:
        """Follow a step of the automaton over a token; False, and nothing changed, where a key comes twice."""
        place = self._place
        if self._marks[token] & _MATTERING[place.where] if place.top is not None else self._marks[token] & HAS_BRACE:
            return self.accepted(self._written(token))
        self._history.append(place)
        return True

    def accepted(self, written: bytes) -> bool:
        """As `accepted_token`, for some bytes."""
        place, after = self._place, self._after(written)
        if after is None:
            return False
        self._history.append(place)
        self._place = after
        return True

    def _after(self, written: bytes) -> Place | None:
        if b"{" not in written:
            return self._place if self._place.top is None else self._follow(self._place, written, None)
        here, steps = self._here, int(self._arena.header[L.MATCHER_HISTORY_LENGTH])
        state, register, top = self._arena.history[3 * steps - 3 : 3 * steps].tolist()
        try:
            return self._follow(self._place, written, (state, register, top))
        finally:
            self._go(here)

    # Reading JSON

    def _follow(self, place: Place, written: bytes, start: Cursor | None) -> Place | None:
        """The place after some bytes that the automaton allows; None where a key comes twice.

        Args:
            start: where the automaton is before them; needed where there is a `{` in them. It is moved then.
        """
        top, where, key = place
        for at, byte in enumerate(written):
            if where == _IN_KEY:
                ends = byte == 0x22 and not _is_escaped(key)
                key += written[at : at + 1]
                if ends:
                    assert top is not None
                    after = self._with_key(top, key)
                    if after is None:
                        return None
                    top, where, key = after, _BETWEEN, b""
            elif where == _IN_STRING:
                if byte == 0x22:
                    where = _BETWEEN
                elif byte == 0x5C:
                    where = _ESCAPED
            elif where == _ESCAPED:
                where = _IN_STRING
            elif byte == 0x7B:
                assert start is not None
                other = self._object_after(start, written[: at + 1])
                if top is not None or other is not None:
                    watched = (top is not None and top.watched) or (other is not None and not other.free)
                    top, where = Open(top, other, True, None, 0, watched), _DUE
            elif top is None:
                continue
            elif byte == 0x22:
                where, key = (_IN_KEY, b'"') if where == _DUE else (_IN_STRING, b"")
            elif byte == 0x2C:
                where = _DUE if top.is_object else _BETWEEN
            elif byte == 0x5B:
                top = Open(top, None, False, None, 0, top.watched)
            elif byte == 0x5D or byte == 0x7D:
                top, where = top.below, _BETWEEN
        return Place(top, where, key)

    def _with_key(self, top: Open, written: bytes) -> Open | None:
        """The object after a key; None where it has had that."""
        if top.other is None:
            return top
        key = json.loads(written) if b"\\" in written else written[1:-1].decode()
        if key in top.other.names:
            return top
        keys, had = top.keys, top.had
        if keys is None:
            keys = Keys(self._owner)
        elif keys.has(key, had):
            return None
        return Open(top.below, top.other, True, keys.plus(key, had, self._owner), had + 1, True)

    def _object_after(self, start: Cursor, written: bytes) -> OtherKeys | None:
        """What other keys the object may have that begins with the last of some bytes."""
        held = np.frombuffer(written, np.uint8)
        cursor: Cursor | None = start
        size = self._compiled.tokens.max_token
        for at in range(0, len(held), size):
            assert cursor is not None
            cursor = self._move(cursor, held.ctypes.data + at, min(size, len(held) - at))
        return None if cursor is None else self._others.get(cursor[0])

    # The automaton

    @property
    def _here(self) -> Cursor:
        state, register, top = self._arena.header[L.MATCHER_STATE : L.MATCHER_TOP + 1].tolist()
        return state, register, top

    def _go(self, cursor: Cursor) -> None:
        self._arena.header[L.MATCHER_STATE : L.MATCHER_TOP + 1] = cursor

    def _move(self, cursor: Cursor, address: int, length: int) -> Cursor | None:
        """Where the automaton goes from `cursor` over the bytes at an address, at most `max_token` of them."""
        self._go(cursor)
        while (
            status := kernels.accept_bytes(self._compiled.address, self._arena.address, address, length, 0)
        ) > L.REJECTED:
            self._arena.mend(self._compiled, status)
        return None if status == L.REJECTED else self._here

    def _byte(self, cursor: Cursor, byte: int) -> Cursor | None:
        held = np.array([byte], np.uint8)
        return self._move(cursor, held.ctypes.data, 1)

    def _allowed(self, cursor: Cursor) -> list[int]:
        self._go(cursor)
        flags = np.zeros(256, np.int32)
        while (status := kernels.allowed_bytes(self._compiled.address, self._arena.address, flags.ctypes.data)) != L.OK:
            self._arena.mend(self._compiled, status)
        return np.flatnonzero(flags).tolist()

    # New keys

    def _way(self, place: Place, cursor: Cursor) -> bytes | None:
        """Bytes after which the key in the making can become no earlier one; None where there are none.

        Raises:
            LimitExceeded: they were not found out.
        """
        queue = deque([(Partial(None, place.key), place.rivals(), cursor, b"")])
        for _ in range(_MAX_STEPS):
            if not queue:
                return None
            partial, rivals, cursor, way = queue.popleft()
            if not rivals:
                return way
            kept = following(partial, rivals)
            allowed = sorted(self._allowed(cursor), key=lambda byte: (not chr(byte).isalnum() or byte > 0x7F, byte))
            free = next((byte for byte in allowed if byte not in kept and byte != 0x22), None)
            if free is not None:
                return way + bytes((free,))
            for byte in allowed:
                after = feed(partial, byte)
                if byte != 0x22 or after.token:  # a quote that ends the key ends it as a rival
                    moved = self._byte(cursor, byte)
                    assert moved is not None
                    queue.append((after, may_become(after, rivals), moved, way + bytes((byte,))))
        hint = "lower minProperties, or let keys have more names"
        raise LimitExceeded("max_key_steps", _MAX_STEPS, _MAX_STEPS, what="search for a new key", hint=hint)

    def _leads_on(self, place: Place, cursor: Cursor) -> bool:
        """Whether a text at `place`, where the automaton is at `cursor`, has new keys before it."""
        if not place.has_rivals:
            return True
        assert place.top is not None and place.top.other is not None
        return place.top.other.free or self._way(place, cursor) is not None

    def may_repeat(self, written: bytes) -> bool:
        """Whether some bytes that the automaton allows next may repeat a key."""
        return b'"' in written and (self._place.top is not None or b"{" in written)

    def way_to_new_key(self) -> bytes | None:
        """Bytes after which the key that is being written can become no earlier one; None where there are none."""
        here = self._here
        assert self._place.where == _IN_KEY, "a key that can only be one before it was begun"
        try:
            return self._way(self._place, here)
        finally:
            self._go(here)

    # Masks

    @property
    def watches(self) -> bool:
        """Whether the keys so far may restrict the next mask."""
        return self._in_one_token or (self._place.top is not None and self._place.top.watched)

    def restrict(self, address: int) -> None:
        """Take the tokens that repeat a key out of the automaton's mask at `address` (int32 [words])."""
        place = self._place
        top = place.top
        if top is None or not top.watched:
            if not self._in_one_token:
                return
        elif not (top.had and place.where in (_DUE, _IN_KEY)) and not self._is_suspicious(top, address):
            return
        tokens = self._compiled.tokens
        suspects = tokens.containing(self._suspect(place))
        rivals = place.rivals() if place.has_rivals else ()
        if not len(suspects) and not rivals:
            return
        here = self._here
        if here[0] in (L.DONE, L.ENDED):
            return
        words = np.ctypeslib.as_array((ctypes.c_int32 * tokens.words).from_address(address))
        refused = list[np.ndarray[Any, Any]]()
        if rivals:
            refused += self._ending_as(place, rivals, here)
        found = [
            token
            for token in suspects[(words[suspects >> 5] >> (suspects & 31)) & 1 == 1].tolist()
            if not self._is_good(place, here, tokens.bytes_of(token))
        ]
        self._go(here)
        for those in (*refused, np.array(found, np.int32)):
            if len(those):
                np.bitwise_and.at(words, those >> 5, ~np.left_shift(np.int32(1), those & 31))

    def _is_suspicious(self, top: Open, address: int) -> bool:
        """Whether the mask at an address may have a token that goes on to another key and repeats one with that."""
        if not self._take_all(top) or len(self._with_key_behind) > _MAX_LOOKED_AT:
            return True
        return any(
            ctypes.c_int32.from_address(address + 4 * (token >> 5)).value >> (token & 31) & 1
            for token in self._with_key_behind
        )

    @staticmethod
    def _take_all(top: Open) -> bool:
        """Whether the open objects take all keys, so that a key that has begun can become a new one."""
        container: Open | None = top
        while container is not None:
            if container.other is not None and not container.other.free:
                return False
            container = container.below
        return True

    def _suspect(self, place: Place) -> tuple[bytes, ...]:
        """What stands in a token, one after the other, that may repeat a key, or leave one with nothing else to become."""
        top = place.top
        if top is None or not top.watched:
            return _TWO_KEYS
        begun = () if place.where == _DUE and top.had else (b",",)
        if not self._take_all(top):
            return (*begun, b'"')
        return (*begun, *_KEY)

    def _is_good(self, place: Place, here: Cursor, written: bytes) -> bool:
        """Whether some bytes that the automaton allows repeat no key, and need not."""
        after = self._follow(place, written, here)
        if after is None:
            return False
        if not after.has_rivals or (after.top is not None and after.top.other is not None and after.top.other.free):
            return True
        held = np.frombuffer(written, np.uint8)
        cursor = self._move(here, held.ctypes.data, len(held))
        return cursor is not None and self._leads_on(after, cursor)

    def _ending_as(self, place: Place, rivals: Iterable[str], here: Cursor) -> Iterator[np.ndarray[Any, Any]]:
        """The tokens that end the key as one of its rivals, or lead to where it must end so."""
        assert place.top is not None and place.top.other is not None
        other, tokens = place.top.other, self._compiled.tokens
        if other.free and other.spelling.escapes != "any":
            written = len(place.key) - 1
            for rival in rivals:
                spelled = other.spelling.unique(rival)
                assert spelled is not None
                rest = spelled[written:] + b'"'
                if rest not in self._endings:
                    if len(self._endings) > _MAX_KNOWN:
                        self._endings.clear()
                    self._endings[rest] = tokens.beginning(rest)
                yield self._endings[rest]
            return
        first, ids = tokens.trie_first, tokens.trie_tokens
        pending = [(0, place, here)]
        while pending:
            node, place, cursor = pending.pop()
            kept = following(Partial(None, place.key), place.rivals())
            for child, end, byte in tokens.children(node, kept):
                moved = self._byte(cursor, byte)
                if moved is None:
                    continue
                after = self._follow(place, bytes((byte,)), None)
                if after is None or not self._leads_on(after, moved):
                    yield ids[first[child] : first[end]]
                elif after.has_rivals and after.rivals():
                    pending.append((child, after, moved))

    def restrict_bytes(self, flags: np.ndarray[Any, Any]) -> None:
        """Clear the flags (int32 [256]) of the bytes that may not come although the automaton allows them."""
        place = self._place
        if not place.has_rivals:
            return
        here = self._here
        try:
            for byte in np.flatnonzero(flags).tolist():
                if not self._is_good(place, here, bytes((byte,))):
                    flags[byte] = 0
        finally:
            self._go(here)


def _is_escaped(text: bytes) -> bool:
    """Whether the character after `text` is escaped."""
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1
