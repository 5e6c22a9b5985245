"""States of an object of which nothing but its keys so far decides what may follow (Members.only_choice).

Nearly all objects are such. What matters of one is which named keys may still come: a *place*, a set of them kept as an
integer. A kernel lays everything behind a place, and behind those that a text comes to which has every key
(kernels/members.py); the state before each key's value is the same wherever the key comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from maskwright.compile.automaton import InObject
from maskwright.compile.keys import OtherKeys
from maskwright.compile.members import Members
from maskwright.kernels import layout as L
from maskwright.kernels.members import lay_places

if TYPE_CHECKING:
    from maskwright.compile.values import GrammarStates

__all__ = ["SimpleObject"]

_PLACES_AT_ONCE = 8


class SimpleObject:
    """Objects of `members`, which has one choice and at most MAX_KEYS named keys, where white space comes in runs.

    Attributes:
        opened: the state after `{`.

    Args:
        closing: the state that ends the object.
    """

    def __init__(self, states: GrammarStates, members: Members, closing: int, pointer: str | None = None) -> None:
        assert members.only_choice is not None and len(members.names) <= L.MAX_KEYS
        self.states, self.members, self._closing, self.pointer = states, members, closing, pointer
        self._codes = len(members.classes.others) + len(members.names)
        self._plan, self._plan_address = np.zeros(0, np.int64), 0
        self._places = np.zeros((0, 2), np.int64)
        self.opened = states.allocate(1, _Places(self))

    @staticmethod
    def takes(members: Members) -> bool:
        """Whether the objects of `members` are such."""
        return members.only_choice is not None and len(members.names) <= L.MAX_KEYS

    def _make_plan(self) -> None:
        """Make the plan (kernels/layout.py: PLAN_*), with the one place behind `{`."""
        states, members, automaton = self.states, self.members, self.states.automaton
        classes, keys, order = members.classes, len(members.names), members.order
        self._words = words = classes.words(states)
        otherwise, inside = classes.behind(states, members.open_classes)
        blank, *maps = states.lowering.member_maps
        spelled = words.spelled or ()
        lists = (  # behind the header, one after the other
            [number for _, number in spelled],
            [order.before(key) for key in range(keys)],
            [other.number for other in members.open_classes],
        )
        header = {
            L.PLAN_WORDS: len(spelled),
            L.PLAN_KEYS: keys,
            L.PLAN_OPEN: members.open_keys,
            L.PLAN_NEEDED: members.needed_keys,
            L.PLAN_INSIDE: sum(1 << key for key in inside),
            L.PLAN_CLASSES: len(classes.others),
            L.PLAN_OTHER_COUNT: len(members.open_classes),
            L.PLAN_OTHER_BEFORE: order.required,
            L.PLAN_OTHERWISE: otherwise,
            L.PLAN_ANY: L.ALONGSIDE if classes.free else 0,
            L.PLAN_VALUES: states.allocate(self._codes, _Values(self)),
            L.PLAN_CLOSING: self._closing,
            L.PLAN_BLANK: blank,
            L.PLAN_SHARED: members.forgetful,
            **dict(enumerate(maps, L.PLAN_MAPS)),
        }
        if words.spelled is not None:
            header.update(enumerate(words.addresses))
        numbers = [header.get(field, 0) for field in range(L.PLAN_SIZE)]
        self._plan = np.array([*numbers, *lists[0], *lists[1], *lists[2]], np.int64)
        self._plan_address = at = self._plan.ctypes.data
        at += 8 * L.PLAN_SIZE
        for field, held in zip((L.PLAN_WORD_KEYS, L.PLAN_BEFORE, L.PLAN_OTHERS), lists, strict=True):
            self._plan[field] = at
            at += 8 * len(held)
        self._make_room(10 * self._codes + 10)
        self._places[0] = members.all_keys | L.OPENED, self.opened
        self._plan[L.PLAN_PLACE_COUNT] = 1
        automaton.require(b'{}",:')
        if automaton.tokens.characters is not None:
            for text, number in spelled:
                if members.open_keys >> number & 1:
                    automaton.require(text)
        if otherwise:
            automaton.lower(otherwise)

    def _make_room(self, places: int) -> None:
        """Have room for so many places."""
        larger = np.zeros((places, 2), np.int64)
        larger[: len(self._places)] = self._places
        self._places = larger
        self._plan[L.PLAN_PLACES] = larger.ctypes.data

    def lay(self, state: int, owner: _Places) -> None:
        """Publish the state at a place, and others, which will be the owner's."""
        if not len(self._plan):
            self._make_plan()
        plan, automaton, tables = self._plan, self.states.automaton, self.states.automaton.tables
        number = np.searchsorted(self._places[: plan[L.PLAN_PLACE_COUNT], 1], state)
        place, can_spell = int(self._places[number, 0]), self._words.spelled is not None
        keys = 0 if can_spell else self._spelled_keys(place)
        while True:
            self._reserve()
            cursor = tables.cursor()
            most = _PLACES_AT_ONCE if not keys else 1
            need = lay_places(tables.address, cursor.ctypes.data, self._plan_address, place, keys, most)
            if need == 0:
                break
            if need > 0:
                automaton.lower(need)
            else:
                keys = self._spelled_keys(place)
        first = tables.state_count
        tables.extend(*cursor.tolist())
        self.states.own(first, owner)

    def _reserve(self) -> None:
        """Make room for what lay_places writes."""
        codes, text = self._codes, self._words.size
        states, rows = text + 4 + 5 * codes, 2 * text + 7 + 7 * codes
        tables, most = self.states.automaton.tables, _PLACES_AT_ONCE
        tables.reserve(most * states, most * rows, most * 256 * codes, most * 3 * (codes + 1))
        needed = int(self._plan[L.PLAN_PLACE_COUNT]) + most * codes
        if needed > len(self._places):
            self._make_room(2 * needed)

    def _spelled_keys(self, place: int) -> int:
        """The state after a key's opening quote, where the kernel cannot lay it: keys have several spellings, or count."""
        return self.members.classes.start(self.states, self.members.next_keys(place & ~L.OPENED))

    def value(self, code: int) -> int:
        """The state before the value of a key, by the key's code."""
        members, lowering = self.members, self.states.lowering
        others = members.classes.others
        key = others[code] if code < len(others) else code - len(others)
        return self.states.entry(members.goal(key), lowering.deeper(0))[0]


class _InObject(InObject):
    """Base of owners of an object's states."""

    __slots__ = ("object",)

    def __init__(self, object_: SimpleObject) -> None:
        self.object = object_

    def is_endless(self) -> bool:
        return self.object.members.is_endless

    def other_keys(self) -> OtherKeys:
        return self.object.members.other_keys

    def place(self) -> str | None:
        return self.object.pointer


class _Places(_InObject):
    """Owner of the states at places; those around them are published as they are made."""

    __slots__ = ()

    def lower(self, index: int, state: int) -> None:
        self.object.lay(state, self)


class _Values(_InObject):
    """Owner of the states before the values of keys, by code."""

    __slots__ = ()

    def lower(self, index: int, state: int) -> None:
        automaton, target = self.object.states.automaton, self.object.value(index)
        automaton.lower(target)
        automaton.tables.set_alias(state, target)
