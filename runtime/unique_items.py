"""Keeps the items of arrays with `uniqueItems` different, or two of them equal where its opposite is asked for.

The automaton knows such arrays as any others. Beside it, for each one that is open, goes a `Level`: the items it has had,
and the item that is being written, as a partial value (runtime/partial_values.py). Levels are immutable and belong to a
matcher, so that nothing of a request gets into tables that matchers share, and rollback is keeping older ones.

An item in the making may go on while some value that it can become is not *excluded*: not among the items before it, and
not one that the indices after it cannot do without (compile/distinct.py). Its *rivals* are the excluded values that it
may still become. Without rivals everything that the automaton allows is allowed: whatever it leads to is a new value. So
all work is where rivals are left, which is on the texts of earlier items:

    used {"red", "green"}, written "re     rival: "red"
        "rea...      no rival is left, so anything goes
        "red         goes on only if some text does that the automaton allows and that is no rival: "redd"
        "red"        is not allowed

Whether one does is found by a search from there (`_escape`), in the automaton with the levels beside it, for a place
without rivals. A mask is the automaton's, but for the tokens that stay with rivals to a place from which nothing escapes,
found by a walk over the trie of tokens, and those that go into another item, which are tried one by one.

Where two items must be equal (compile/repeated.py) the automaton lets the array end in any case, and it is the matcher that
does not while it *owes* them. Mostly nothing else is refused, for there is room for two equal items; where there is none left
the array is *obliged*, and all that may follow is looked at. Behind an item that is equal to another one the automaton does
not know where the text is, and so tokens that go on behind an item are tried whether it allows them or not.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from maskwright.compile.grammar import CompiledGrammar
from maskwright.grammars.errors import LimitExceeded, UnsupportedError
from maskwright.kernels import layout as L
from maskwright.runtime.arena import Arena
from maskwright.runtime.array_levels import (
    Level,
    Levels,
    Text,
    after_byte,
    bytes_of_rivals,
    in_scalar,
    in_string,
    is_astray,
    is_behind_item,
    is_free,
    is_loose,
    is_number,
    is_stuck,
    marks,
    opened,
    owes,
)
from maskwright.runtime.cursor import Configuration, Cursor
from maskwright.runtime.partial_values import MISSING, SCALAR, WHITESPACE, number_ended

__all__ = ["UniqueItems"]

_CERTAIN, _NEW, _CLOSING = range(3)
"""Goals of a search: where items can certainly be what they must; where they are; where the innermost array may end, too."""
_MAX_STEPS = 20_000  # places visited in search of a way to a new item
_MAX_KNOWN = 1 << 14
_MAX_DETOURS = 10_000
_ANY_BYTE = frozenset(range(256))

Corrections = tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]
"""Tokens that may not come although the automaton allows them, and those that may all the same; int32."""


class UniqueItems:
    """The levels of one matcher's text.

    Attributes:
        levels: of the text so far.
    """

    def __init__(self, compiled: CompiledGrammar, arena: Arena) -> None:
        assert compiled.distinct is not None
        self._compiled, self._distinct = compiled, compiled.distinct
        self._arena, self._cursor = arena, Cursor(compiled, arena)
        self.levels: Levels = ()
        self._history: list[Levels] = []
        self._escapes: tuple[dict[Any, bytes | None], ...] = ({}, {}, {})  # by goal and text
        self._known: dict[Configuration, Corrections] = {}
        self._endless: dict[tuple[int, int, int], bool] = {}

    def copy(self, arena: Arena) -> UniqueItems:
        """The same, for a copy of the arena."""
        twin = UniqueItems(self._compiled, arena)
        twin.levels, twin._history = self.levels, self._history.copy()
        return twin

    # Moving

    def reset(self) -> None:
        """Back to the start of the text."""
        self.levels = ()
        self._history.clear()

    def moved(self, text: Text | None) -> None:
        """A step of the history has led to `text` (None: nothing has changed here)."""
        self._history.append(self.levels)
        if text is not None:
            self._cursor.go(text.place)
            self.levels = text.levels

    def rollback(self, steps: int) -> None:
        """Take back the last steps."""
        if steps:
            self.levels = self._history[-steps]
            del self._history[-steps:]

    def after(self, data: bytes) -> Text | None:
        """The text after `data`; None where it may not go there. The matcher stays where it is."""
        here = self._cursor.here
        try:
            text = self._follow(Text(here, self.levels), data)
            return text if text is not None and self._escape(text) is not None else None
        finally:
            self._cursor.go(here)

    def concerns(self, data: bytes) -> bool:
        """Whether items matter for what `data` leads to."""
        return bool(self.levels) or b"[" in data

    @property
    def may_repeat(self) -> bool:
        """Whether the text is in an array whose items must differ, or may still come to one."""
        return bool(self.levels or self._distinct)

    @property
    def repeating(self) -> bool:
        """Whether the text may have come to an array that must have two equal items."""
        return any(array.frame.repeating for array in self._distinct.values())

    def _follow(self, text: Text, data: bytes) -> Text | None:
        """`text` after some bytes."""
        at = 0
        while at < len(data):
            if text.levels:
                step = self._step(text, data[at])
                at += 1
            else:
                bracket = data.find(b"[", at)
                stop = len(data) if bracket < 0 else bracket
                stop = max(at + 1, min(stop, at + self._compiled.tokens.max_token))
                step = self._step(text, data[at]) if stop == at + 1 else self._leap(text, data[at:stop])
                at = stop
            if step is None:
                return None
            text = step
        return text

    def _passing(self, passed: dict[bytes, Text | None], data: bytes) -> Text | None:
        """The text after some bytes; `passed` has what is known of that, and more then."""
        length = len(data)
        while data[:length] not in passed:
            length -= 1
        text = passed[data[:length]]
        while text is not None and length < len(data):
            text = self._step(text, data[length])
            length += 1
            passed[data[:length]] = text
        return text

    def _leap(self, text: Text, data: bytes) -> Text | None:
        """`text`, without levels, after some bytes that open no array."""
        self._cursor.go(text.place)
        return Text(self._cursor.here, ()) if self._cursor.move(data) else None

    def _step(self, text: Text, byte: int) -> Text | None:
        """`text` after one byte; None where the automaton or an array does not have it."""
        if text.levels and byte not in SCALAR and is_number(text.levels[-1]):
            ended = self._after_number(text)
            if ended is None:
                return None
            text = ended
        self._cursor.go(text.place)
        if not self._cursor.step(byte):
            return None
        place, levels = self._cursor.here, text.levels
        if levels:
            if byte == 0x0A and levels[-1].is_behind and levels[-1].array.indented and not levels[-1].prospect.closes:
                return None  # the line of the closing bracket
            if byte == 0x5D and levels[-1].item is None:
                if not levels[-1].prospect.closes:
                    return None
                levels = levels[:-1]
            levels = tuple([after_byte(level, byte) for level in levels])
            if levels and levels[-1].item is not None and levels[-1].item.value is not MISSING:
                return self._after_item(place, levels)
        if byte == 0x5B and place[0] == L.SPLIT:
            self._check_split(place[2])
        if byte == 0x5B and place[0] in self._distinct:
            array = self._distinct[place[0]]
            if array.frame.is_distinct(place[0]):
                prospect = array.prospect(place[0], frozenset(), 0)
                if prospect is None:
                    return None
                levels = (*levels, opened(array, place[2], prospect))
        return Text(place, levels)

    def _check_split(self, cell: int) -> None:
        """Refuse an array whose items must differ in a text that can be read in other ways, too (kernels/stacks.py)."""
        while cell:
            block, _, _, _, cell, *_ = self._arena.nodes[cell * L.NODE_SIZE : (cell + 1) * L.NODE_SIZE].tolist()
            if block in self._distinct:
                raise UnsupportedError(
                    "the grammar can read an array with uniqueItems in other ways, too",
                    keyword="uniqueItems",
                    hint="let what comes before the array tell what it is, or drop uniqueItems",
                )

    def _after_number(self, text: Text) -> Text | None:
        """`text` after the end of a number that is an item; the byte that ends it comes after."""
        level, (state, register, top) = text.levels[-1], text.place
        assert level.item is not None
        if level.array.frame.is_distinct(state) is None:  # the automaton is still in the number
            tables, node = (
                self._compiled.states,
                self._arena.nodes[top * L.NODE_SIZE : (top + 1) * L.NODE_SIZE].tolist(),
            )
            result = int(tables[state * L.STATE_SIZE + L.STATE_FINAL])
            if result < 0:
                return None
            state, register = self._entered(node[L.NODE_BLOCK] + result, node[L.NODE_REGISTER])
            top = node[L.NODE_PARENT]
        ended = level._replace(item=number_ended(level.item))
        return self._after_item((state, register, top), (*text.levels[:-1], ended))

    def _entered(self, state: int, register: int) -> tuple[int, int]:
        """State and register after entering a state that does not end its frame (kernels/steps.py: enter)."""
        while True:
            record = self._compiled.states[state * L.STATE_SIZE : (state + 1) * L.STATE_SIZE].tolist()
            if record[L.STATE_ALIAS] < 0:
                self._compiled.lower(state)
            elif record[L.STATE_ALIAS] != state:
                state = record[L.STATE_ALIAS]
            elif record[L.STATE_OP] == L.OP_COUNT and register <= 1:
                state = record[L.STATE_ARG]
            elif record[L.STATE_OP] == L.OP_COUNT:
                return state, register - 1
            else:
                return state, record[L.STATE_ARG] if record[L.STATE_OP] == L.OP_SET else register

    def _after_item(self, place: Configuration, levels: Levels) -> Text | None:
        """The text after an item, the value of the innermost level; None where it must not be that."""
        level, (state, register, top) = levels[-1], place
        assert level.item is not None
        value = level.item.value
        distinct = level.array.frame.is_distinct(state)
        assert distinct is not None, "an item has ended elsewhere than in its array"
        if not distinct:
            return Text(place, levels[:-1])  # equal items make no difference any more
        if value not in level.excluded:
            used, length = level.used | {value}, level.length + 1
            prospect = level.array.prospect(state, used, length)
            if prospect is None:
                return None
            after = Level(level.array, level.top, used, length, None, frozenset(), (), prospect, is_behind=True)
            return Text(place, (*levels[:-1], after))
        other = level.array.repeated(state)
        if other is None:
            return None
        self._compiled.lower(other)
        return Text((other, register, top), levels[:-1])

    # Ways on

    def _escape(self, text: Text, goal: int = _CERTAIN) -> bytes | None:
        """Bytes that lead on to a goal; None where nothing does."""
        if self._is_escape(text, goal):
            return b""
        if any(map(is_stuck, text.levels)):
            return None
        known = self._escapes[goal]
        key = text.key
        if key not in known:
            if len(known) > _MAX_KNOWN:
                known.clear()
            # What an array owes is nearest along the items that it has had, if it is there.
            owed = goal == _CLOSING and owes(text.levels) and self._search(text, goal, along=True)
            if not owed and not self._search(text, goal):
                return None
        return known[key]

    def _is_escape(self, text: Text, goal: int) -> bool:
        levels = text.levels
        if goal == _CERTAIN:
            return is_free(levels) or self._is_loose(text)
        if not is_free(levels) or not levels or not levels[-1].array.frame.repeating:
            return is_free(levels)
        # What an item has made of the array shows behind it.
        return levels[-1].item is None and (goal == _NEW or levels[-1].prospect.closes)

    def _is_loose(self, text: Text) -> bool:
        """Whether all items can certainly become new ones: whole values of a kind, or for a string inside of them."""
        levels = text.levels
        if levels and levels[-1].item is not None and levels[-1].item.in_string:
            record = text.place[0] * L.STATE_SIZE
            states = self._compiled.states
            obliged = any(level.prospect.obliged for level in levels)
            if states[record + L.STATE_SAFE] and states[record + L.STATE_OP] == L.OP_NONE and not obliged:
                return True  # some character leads back here, so that there are strings of any length
        return all(
            is_loose(level) or (not level.prospect.obliged and self._is_endless(text.place, level)) for level in levels
        )

    def _is_endless(self, place: Configuration, level: Level) -> bool:
        """Whether the item is in an open object that can take on as many other keys as it takes to be new.

        It can as long as no closing brace comes.
        """
        if level.item is None or level.item.top is None:
            return False
        key = place[0], place[2], level.top
        found = self._endless.get(key)
        if found is None:
            if len(self._endless) > _MAX_KNOWN:
                self._endless.clear()
            found = self._endless[key] = self._find_endless(place, level)
        return found

    def _find_endless(self, place: Configuration, level: Level) -> bool:
        """See _is_endless: whether one of the frames above the array's is such an object."""
        state, _, top = place
        found = False
        while top != level.top:
            if state == L.SPLIT or state < 0 or top == 0:
                return False  # in several frames at once
            found = found or level.array.is_endless(state)
            state, _, top, _, also, *_ = self._arena.nodes[top * L.NODE_SIZE : (top + 1) * L.NODE_SIZE].tolist()
            if also:
                return False
        return found

    def _search(self, start: Text, goal: int, along: bool = False) -> bool:
        """Find the escape of a text: a search for the nearest place that is one, or from which one is known.

        Of all texts on the way there one is known from then on; where there is none, all that were met have none.

        Args:
            along: whether only along the items that the innermost array has had.

        Returns:
            Whether there is one.
        """
        known = self._escapes[goal]
        before: dict[Any, tuple[Any, int]] = {start.key: (None, 0)}
        queue = deque([start])
        while queue:
            text = queue.popleft()
            here = text.key
            if len(before) > _MAX_STEPS:
                hint = "lower minItems, or let items have more different values"
                raise LimitExceeded(
                    "max_unique_steps", len(before), _MAX_STEPS, what="search for a new item", hint=hint
                )
            for byte in self._promising(text):
                after = self._step(text, byte)
                if after is None or any(map(is_stuck, after.levels)) or (along and is_astray(after.levels)):
                    continue
                if self._is_escape(after, goal):
                    rest = b""
                elif (key := after.key) in before:
                    continue
                else:
                    before[key] = here, byte
                    if (found := known.get(key)) is None:
                        if key not in known:
                            queue.append(after)
                        continue
                    rest = found
                rest = bytes((byte,)) + rest
                while here is not None:
                    known[here] = rest
                    here, byte = before[here]
                    rest = bytes((byte,)) + rest
                return True
        if not along:
            known.update(dict.fromkeys(before))
        return False

    def _promising(self, text: Text) -> list[int]:
        """The bytes that may follow, those first that leave rivals behind; no white space that may be left out."""
        self._cursor.go(text.place)
        allowed = self._cursor.allowed()
        if not in_string(text.levels) and not text.levels[-1].array.indented:
            allowed = [byte for byte in allowed if byte not in WHITESPACE] or allowed
        kept = bytes_of_rivals(text.levels)
        along = [byte for byte in allowed if byte in kept]
        if text.levels[-1].rivals and text.levels[-1].prospect.only is not None:
            return along
        return [byte for byte in allowed if byte not in kept] + along

    def restrict_bytes(self, flags: np.ndarray[Any, Any]) -> None:
        """Clear the flags (int32 [256]) of the bytes that may not come although the automaton allows them."""
        here = self._cursor.here
        try:
            text = Text(here, self.levels)
            for byte in np.flatnonzero(flags).tolist():
                after = self._step(text, byte)
                if after is None or self._escape(after) is None:
                    flags[byte] = 0
        finally:
            self._cursor.go(here)

    def completion(self, shortest: Callable[[], bytes]) -> bytes:
        """A text that completes the matcher's text, but that keys may come twice in it; short, but not always the shortest.

        Args:
            shortest: what completes it as far as the automaton is asked.
        """
        here, found = self._cursor.here, b""
        try:
            text = Text(here, self.levels)
            for _ in range(_MAX_DETOURS):
                self._cursor.go(text.place)
                rest, passed = shortest(), [text]
                for byte in rest:
                    step = self._step(passed[-1], byte)
                    if step is None:
                        break
                    passed.append(step)
                else:
                    return found + rest
                stays_open = rest[len(passed) - 1] in b"]\n" and is_behind_item(passed[-1].levels)
                goal = _CLOSING if stays_open else _NEW
                places = range(len(passed) - 1, -1, -1)
                ways = ((at, way) for at in places if (way := self._escape(passed[at], goal)))
                length, way = next(ways, (0, b""))
                if not way:  # an item equals another one for a key that comes twice in it: that is to be mended first
                    return found + rest
                found += rest[:length] + way
                after = self._follow(passed[length], way)
                assert after is not None
                text = after
            hint = "lower the schema's minItems"
            raise LimitExceeded("max_detours", _MAX_DETOURS, _MAX_DETOURS, what="a completion", hint=hint)
        finally:
            self._cursor.go(here)

    # Masks

    def restrict(self, address: int) -> None:
        """Correct the automaton's mask at `address` (int32 [words])."""
        here = self._cursor.here
        if not self.may_repeat or here[0] in (L.DONE, L.ENDED):
            return
        words = np.ctypeslib.as_array((ctypes.c_int32 * self._compiled.tokens.words).from_address(address))
        if self.levels:
            refused, admitted = self._corrections(Text(here, self.levels), words)
        else:
            key = here[0], min(here[1], self._compiled.tokens.slack_cap), here[2]
            found = self._known.get(key)
            if found is None:
                if len(self._known) > _MAX_KNOWN:
                    self._known.clear()
                found = self._known[key] = self._corrections(Text(here, ()), words)
            refused, admitted = found
        if len(refused):
            words &= ~self._as_mask(refused, words)
        if len(admitted):
            words |= self._as_mask(admitted, words)

    @staticmethod
    def _as_mask(tokens: np.ndarray[Any, Any], like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        flags = np.zeros(32 * len(like), bool)
        flags[tokens] = True
        return np.packbits(flags, bitorder="little").view(np.int32)

    def _corrections(self, text: Text, words: np.ndarray[Any, Any]) -> Corrections:
        """What is to be corrected in the automaton's mask."""
        tokens = self._compiled.tokens
        repeating = self.repeating
        try:
            found = self._closing_rivals(text.levels)
            if found is None:
                found = list(self._along_rivals(text)) if not is_free(text.levels) else []
            refused, admitted = list[int](), list[int]()
            suspects = tokens.containing(*marks(text.levels, self._has_tight(), repeating))
            if not repeating:
                suspects = suspects[(words[suspects >> 5] >> (suspects & 31)) & 1 == 1]
            passed: dict[bytes, Text | None] = {b"": text}
            for token in suspects.tolist():
                after = self._passing(passed, tokens.bytes_of(token))
                wrong = after is None or self._escape(after) is None
                (refused if wrong else admitted).append(token)
        finally:
            self._cursor.go(text.place)
        return np.concatenate([np.array(refused, np.int32), *found]), np.array(admitted, np.int32)

    def _has_tight(self) -> bool:
        """Whether an array that a text may come to within one token excludes values from the start."""
        return any(array.tight for array in self._distinct.values())

    def _closing_rivals(self, levels: Levels) -> list[np.ndarray[Any, Any]] | None:
        """The tokens that end a string as a rival, where no others may be refused; None where that is not so simple."""
        level = levels[-1] if levels else None
        if (
            level is None
            or level.prospect.obliged
            or level.array.frame.repeats
            or level.item is None
            or not level.item.in_string
            or level.item.top is not None
        ):
            return None
        spelling = level.array.frame.states.lowering.spelling
        if not level.array.free_texts or spelling.escapes == "any" or not is_free(levels[:-1]):
            return None
        written, refused = level.item.token[1:], list[np.ndarray[Any, Any]]()
        for rival in level.rivals:
            spelled = spelling.unique(rival) if isinstance(rival, str) else None
            if spelled is not None and spelled.startswith(written):
                refused.append(self._compiled.tokens.beginning(spelled[len(written) :] + b'"'))
        return refused

    def _along_rivals(self, text: Text) -> Iterator[np.ndarray[Any, Any]]:
        """The tokens that lead along the texts of rivals to where nothing escapes."""
        tokens = self._compiled.tokens
        first, ids = tokens.trie_first, tokens.trie_tokens
        pending = [(0, text)]
        while pending:
            node, text = pending.pop()
            kept = bytes_of_rivals(text.levels)
            obliged = any(level.prospect.obliged for level in text.levels)
            confined = any(level.rivals and level.prospect.only is not None for level in text.levels)
            # Whatever may follow here may follow behind white space, too: tokens of nothing else lead nowhere new.
            between = not in_scalar(text.levels) and self._escape(text) is not None
            endless = not obliged and all(
                not level.rivals or self._is_endless(text.place, level) for level in text.levels
            )
            for child, end, byte in tokens.children(node, _ANY_BYTE if obliged else kept):
                if (between and tokens.blank[child]) or (endless and not tokens.braced[child]):
                    continue
                if confined and byte not in kept:
                    yield ids[first[child] : first[end]]
                    continue
                after = self._step(text, byte)
                if after is None:
                    yield ids[first[child] : first[end]]
                    continue
                if is_free(after.levels):
                    continue
                if first[child] < first[child + 1] and self._escape(after) is None:
                    yield ids[first[child] : first[end]]
                    continue
                pending.append((child, after))
