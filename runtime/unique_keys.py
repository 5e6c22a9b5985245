"""Keeps the keys of an object different: named ones are the automaton's to tell apart, *other keys* are told apart here.

Which other keys an object has had is no state of the automaton: there is no end to them. So most objects are left to it, and
one is *watched* from the first key on that its schema does not name: the automaton marks the state behind such a key
(kernels/layout.py: OTHER_KEY), the key is read off the tokens before, and from there on the JSON structure of what is written
is followed until the object is closed: by the kernel (MATCHER_WHERE), and here where keys may repeat others, end, or where the
object does. What is known of the text is its *place*: the watched objects, the other keys that each has had, and the key that
is being written. Places are immutable and belong to a matcher, so that rollback is keeping older ones.

Keys are compared as JSON readers do, unescaped: "a" is "\\u0061". A key in the making must not end as one before it, its
*rivals*; nearly always it may go on as another one. Where patterns or `propertyNames` leave keys little room that is made
sure of in the automaton, byte by byte along the rivals. (Keys of which there are few are named ones: compile/keys.py.)
"""

from __future__ import annotations

import ctypes
import json
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.keys import OtherKeys
from maskwright.grammars.errors import LimitExceeded
from maskwright.kernels import layout as L
from maskwright.runtime.arena import Arena
from maskwright.runtime.cursor import Configuration, Cursor
from maskwright.runtime.object_keys import OUTSIDE, Keys, Place, Watched, begun_key, follow, opening_quote
from maskwright.runtime.partial_values import Partial, feed, following, may_become

__all__ = ["UniqueKeys"]

_MAX_STEPS = 10_000  # places visited in search of a new key
_NEXT_KEY: tuple[bytes, ...] = (b",", b'"', b'"')
"""What stands in a token, one after the other, that goes on to a key and ends it."""
_NONE = np.zeros(0, np.int32)


class UniqueKeys:
    """Follows one matcher's text; see the module."""

    def __init__(self, compiled: CompiledGrammar, arena: Arena) -> None:
        self._compiled, self._arena, self._cursor = compiled, arena, Cursor(compiled, arena)
        self._two_keys = compiled.tokens.two_keys
        self._owner = object()
        self.reset()

    def copy(self, arena: Arena) -> UniqueKeys:
        """The same, for a copy of the arena."""
        twin = UniqueKeys(self._compiled, arena)
        twin._changes, twin._texts = self._changes.copy(), self._texts.copy()
        twin._be_at(self._here_in_text())
        return twin

    def reset(self) -> None:
        """Back to the start of the text, in an arena that is there."""
        self._place, self._changes = OUTSIDE, list[tuple[int, Place]]()
        self._texts: dict[int, bytes] = {}
        if len(self._two_keys):
            self._arena.header[L.MATCHER_WATCHED] = L.MASKS_WATCHED

    def rollback(self, steps: int) -> None:
        """Back to where so many steps had been made, which the history still has."""
        changes = self._changes
        while changes and changes[-1][0] > steps:
            changes.pop()
        place = changes[-1][1] if changes else OUTSIDE
        self._be_at(place._replace(where=int(self._arena.history[steps, L.HISTORY_WHERE])))

    def _be_at(self, place: Place) -> None:
        top, header = place.top, self._arena.header
        if top is not None and top is not self._place.top:
            text, starts = top.keys.addresses
            header[L.MATCHER_RIVALS : L.MATCHER_RIVAL_COUNT + 1] = text if top.free else 0, starts, top.had
        self._place = place
        watched = L.MASKS_WATCHED if len(self._two_keys) or (top is not None and (top.is_usual or not top.free)) else 0
        header[L.MATCHER_WATCHED] = watched if top is None else watched | L.TEXT_WATCHED
        header[L.MATCHER_WHERE] = place.where

    def _here_in_text(self) -> Place:
        """Where the text is: the kernel may have followed it for a while."""
        place, where = self._place, int(self._arena.header[L.MATCHER_WHERE])
        if where == L.RIVAL_BEGUN:
            assert place.top is not None
            return Place(place.top, L.IN_RIVAL, b'"', place.top.keys.first(place.top.had))
        return place if place.where == where else Place(place.top, where)

    # Moving

    def accept(self, pieces: Sequence[bytes], token: int) -> bool:
        """Move over some bytes, one step of the history; False, and nothing moved, where they are not allowed.

        Args:
            pieces: they, cut behind each quote (TokenTables.cut).
            token: whose they are, or NO_TOKEN.
        """
        header = self._arena.header
        steps = int(header[L.MATCHER_HISTORY_LENGTH])
        place, is_allowed = self._walk(self._here_in_text(), pieces, token + 2)
        if place is not None and is_allowed and self._can_go_on(place):
            self.moved(place, pieces, token)
            return True
        if header[L.MATCHER_HISTORY_LENGTH] > steps:
            self._cursor.go(self._arena.history[steps, :3].tolist())
            header[L.MATCHER_HISTORY_LENGTH] = steps
        return False

    def after(self, written: bytes) -> Place | None:
        """The place after some bytes; None where a key comes twice. The matcher stays where it is."""
        here = self._cursor.here
        place, _ = self._walk(self._here_in_text(), self._compiled.tokens.cut(written), anyway=True)
        self._cursor.go(here)
        return place

    def moved(self, place: Place, pieces: Sequence[bytes], token: int) -> None:
        """A step of the history has led to `place`, over some bytes; see `accept`."""
        count = int(self._arena.header[L.MATCHER_HISTORY_LENGTH])
        if token == L.NO_TOKEN:
            self._texts[count - 1] = b"".join(pieces)
        if place is not self._place:
            self._changes.append((count, place))
            self._be_at(place)

    # Reading JSON

    def _walk(
        self, place: Place, pieces: Sequence[bytes], remember: int = 0, anyway: bool = False
    ) -> tuple[Place | None, bool]:
        """Where some bytes lead to from `place`, None where a key comes twice, and whether the automaton allows them.

        The automaton is moved over them, as far as it allows them.

        Args:
            remember: see kernels/automaton.py: accept_bytes.
            anyway: follow them where the automaton does not allow them, too: behind items that are equal it may be elsewhere
                (unique_items.py). Other keys are not seen there.
        """
        is_allowed = True
        for number, piece in enumerate(pieces):
            is_allowed = is_allowed and self._cursor.move(piece, 0 if number else remember)
            if not is_allowed and not anyway:
                break
            if place.top is not None:
                place = follow(place, piece)
            if is_allowed and piece[-1] == 0x22 and (other := self._noted()) is not None:
                key = place.key or self._last_key(b"".join(pieces[: number + 1]), remember)
                top = self._with_key(place, json.loads(key) if b"\\" in key else key[1:-1].decode(), other)
                if top is None:
                    return None, is_allowed
                place = Place(top)
            elif place.key and not place.rivals:
                place = Place(place.top)  # a named one has ended
        return place, is_allowed

    def _noted(self) -> OtherKeys | None:
        """Of what object the automaton has noted another key in its last step."""
        state = int(self._arena.header[L.MATCHER_NOTED])
        if state == 0:
            return None
        return self._compiled.automaton.other_keys(state)

    def _with_key(self, place: Place, key: str, other: OtherKeys) -> Watched | None:
        """The innermost watched object after another key has ended; None where it has had that."""
        top, tokens = place.top, self._compiled.tokens
        usual = tokens.keys_behind_values
        free, is_usual = other.extent is None or len(key) < other.extent, usual is None or key in usual
        if top is not None:
            free, is_usual = free and top.free, is_usual or top.is_usual
        if top is None or place.where >> 3:  # the first one of a container within the watched object, or outside of all
            around = Watched(top, max(place.where - 8, 0), Keys(self._owner), 0, free, is_usual)
        elif top.keys.has(key, top.had):
            return None
        else:
            around = top
        keys, (whole, rest) = (
            around.keys.plus(key, around.had, self._owner),
            tokens.first_strings.get(key, (_NONE, _NONE)),
        )
        return Watched(
            around.below,
            around.where,
            keys,
            around.had + 1,
            free,
            is_usual,
            (*around.whole, whole) if len(whole) else around.whole,
            (*around.rest, rest) if len(rest) else around.rest,
        )

    def _last_key(self, text: bytes, remember: int) -> bytes:
        """The key that has ended with the last byte of `text`, which is what is written of this step, with its quotes."""
        steps = int(self._arena.header[L.MATCHER_HISTORY_LENGTH]) - (remember > 0)
        history, pieces_of = self._arena.history, self._compiled.tokens.pieces_of
        while (start := opening_quote(text)) < 0 and steps > 0:
            steps -= 1
            token = history.item(steps, L.HISTORY_TOKEN)
            text = (self._texts[steps] if token == L.NO_TOKEN else b"".join(pieces_of(token))) + text
        assert text[max(start, 0)] == 0x22, "a key without an opening quote"
        return text[max(start, 0) :]

    # New keys

    def _way(self, place: Place) -> bytes | None:
        """Bytes after which the key in the making, where the automaton is, can become no earlier one; None without any.

        The automaton is moved.

        Raises:
            LimitExceeded: they were not found out.
        """
        rivals: tuple[Any, ...] = tuple(place.rivals)
        queue = deque([(Partial(None, place.key), rivals, self._cursor.here, b"")])
        for _ in range(_MAX_STEPS):
            if not queue:
                return None
            partial, rivals, there, way = queue.popleft()
            if not rivals:
                return way
            kept = following(partial, rivals)
            self._cursor.go(there)
            allowed = self._cursor.allowed()
            free = next((byte for byte in allowed if byte not in kept and byte != 0x22), None)
            if free is not None:
                return way + bytes((free,))
            for byte in allowed:
                after = feed(partial, byte)
                if byte != 0x22 or after.token:  # a quote that ends the key ends it as a rival
                    self._cursor.go(there)
                    moved = self._cursor.step(byte)
                    assert moved
                    queue.append((after, may_become(after, rivals), self._cursor.here, way + bytes((byte,))))
        hint = "lower minProperties, or let keys have more names"
        raise LimitExceeded("max_key_steps", _MAX_STEPS, _MAX_STEPS, what="search for a new key", hint=hint)

    def _can_go_on(self, place: Place) -> bool:
        """Whether a text at `place`, where the automaton is, has new keys before it. The automaton stays there."""
        if not place.is_tight:
            return True
        here = self._cursor.here
        found = self._way(place) is not None
        self._cursor.go(here)
        return found

    @property
    def must_be_new(self) -> bool:
        """Whether a key comes next, or is being written, that must be none of those before."""
        return int(self._arena.header[L.MATCHER_WHERE]) in (L.DUE, L.IN_RIVAL, L.RIVAL_BEGUN)

    def way_to_new_key(self) -> bytes | None:
        """Bytes after which the key that is being written can become no earlier one; None where there are none."""
        here = self._cursor.here
        place = self._here_in_text()
        assert place.rivals, "a key that can only be one before it was begun"
        try:
            return self._way(place)
        finally:
            self._cursor.go(here)

    # Masks

    @property
    def restricts(self) -> bool:
        """Whether the next mask is not that of the configuration alone (kernels/watching.py: depends_on_text)."""
        watched = int(self._arena.header[L.MATCHER_WATCHED])
        return self.must_be_new if watched == L.TEXT_WATCHED else watched != 0

    def restrict(self, address: int) -> None:
        """Take the tokens that repeat a key out of the automaton's mask at `address` (int32 [words])."""
        where, tokens = int(self._arena.header[L.MATCHER_WHERE]), self._compiled.tokens
        top = self._place.top
        refused: tuple[np.ndarray[Any, Any], ...] = ()
        if top is None:
            suspects = self._two_keys
        elif not top.free:
            suspects = tokens.containing((b'"',) if where == L.DUE else _NEXT_KEY[:2])
        else:
            suspects = tokens.containing(_NEXT_KEY) if top.is_usual else _NONE
            refused = top.whole if where == L.DUE else top.rest if where == L.RIVAL_BEGUN else ()
        if len(suspects) or where == L.IN_RIVAL or (where == L.RIVAL_BEGUN and top is not None and not top.free):
            refused = (*refused, *self._refused(self._here_in_text(), suspects, address))
        for those in refused:
            for token in those.tolist():
                word = ctypes.c_int32.from_address(address + 4 * (token >> 5))
                word.value &= ~(1 << (token & 31))

    def _refused(self, place: Place, suspects: np.ndarray[Any, Any], address: int) -> list[np.ndarray[Any, Any]]:
        """Tokens that repeat a key, or can only lead to that; of `suspects` as far as the mask at an address has them."""
        here = self._cursor.here
        if here[0] in (L.DONE, L.ENDED):
            return []
        found = [*self._ending_as(place, here)] if place.rivals else []
        if len(suspects):
            words = np.ctypeslib.as_array((ctypes.c_int32 * self._compiled.tokens.words).from_address(address))
            allowed = suspects[(words[suspects >> 5] >> (suspects & 31)) & 1 == 1].tolist()
            pieces_of = self._compiled.tokens.pieces_of
            found.append(np.array([t for t in allowed if not self._is_good(place, here, pieces_of(t))], np.int32))
        self._cursor.go(here)
        return found

    def _is_good(self, place: Place, here: Configuration, pieces: Sequence[bytes]) -> bool:
        """Whether some bytes that may come, as far as keys do not matter, repeat none, and need not."""
        self._cursor.go(here)
        after, is_allowed = self._walk(place, pieces)
        return after is not None and (not is_allowed or self._can_go_on(after))

    def _ending_as(self, place: Place, here: Configuration) -> Iterator[np.ndarray[Any, Any]]:
        """The tokens that end the key as one of its rivals, or lead to where it must end so."""
        tokens, top = self._compiled.tokens, place.top
        assert top is not None
        begun = begun_key(place.key) if top.free else None
        if begun is not None:
            if not begun:
                yield from top.rest
            else:
                endings = tokens.first_strings
                yield from (endings[rest][1] for rival in place.rivals if (rest := rival[len(begun) :]) in endings)
            return
        first, ids = tokens.trie_first, tokens.trie_tokens
        pending = [(0, place, here)]
        while pending:
            node, place, there = pending.pop()
            kept = following(Partial(None, place.key), place.rivals)
            for child, end, byte in tokens.children(node, kept):
                self._cursor.go(there)
                after, is_allowed = self._walk(place, (bytes((byte,)),))
                if not is_allowed:
                    continue
                if after is None or not self._can_go_on(after):
                    yield ids[first[child] : first[end]]
                elif after.rivals:
                    pending.append((child, after, self._cursor.here))

    def restrict_bytes(self, flags: np.ndarray[Any, Any]) -> None:
        """Clear the flags (int32 [256]) of the bytes that may not come although the automaton allows them."""
        place = self._here_in_text()
        if not place.rivals:
            return
        here = self._cursor.here
        try:
            for byte in np.flatnonzero(flags).tolist():
                if not self._is_good(place, here, (bytes((byte,)),)):
                    flags[byte] = 0
        finally:
            self._cursor.go(here)
