"""States of an object of which nothing but its keys so far decides what may follow (Members.only_choice).

Nearly all objects are such. What matters of one is which named keys may still come, a set kept as an integer. A kernel
lays all states behind a member at once, up to the values of the members that may follow (kernels/members.py); the state
before each key's value is the same wherever the key comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from maskwright.compile.automaton import PUBLISHED, Private
from maskwright.compile.keys import KeyClass
from maskwright.compile.members import Members
from maskwright.kernels import layout as L
from maskwright.kernels.members import lay_members

if TYPE_CHECKING:
    from maskwright.compile.values import GrammarStates

__all__ = ["SimpleObject"]


class SimpleObject:
    """Objects of `members`, which has one choice, under a text policy with runs of white space.

    Args:
        closing: the state that ends the object.
    """

    def __init__(self, states: GrammarStates, members: Members, closing: int) -> None:
        assert members.only_choice is not None
        self.states, self.members, self.closing = states, members, closing
        self._offset = len(members.classes.others)
        self._after: dict[int, int] = {}
        self._blocks: dict[int, int] = {}
        automaton = states.automaton
        self._values = automaton.allocate(self._offset + len(members.names), _Values(self))

    def opened(self) -> int:
        """The state after `{`."""
        return self.states.automaton.allocate(1, _Places(self, [self.members.start.open], opened=True))

    def lay(self, state: int, open_: int, opened: bool) -> None:
        """Publish the state after a member, or after `{`, where the named keys `open_` may still come."""
        states, members, automaton = self.states, self.members, self.states.automaton
        tables = automaton.tables
        closes = members.may_close(open_)
        if closes:
            automaton.require(b"}")
        keys = list(members.next_keys(open_))
        trie = block = 0
        new: Sequence[int | KeyClass] = ()
        if keys:
            automaton.require(b'"')
            others = [key for key in keys if not isinstance(key, int)]
            trie = members.classes.start(states, [key for key in keys if isinstance(key, int)], others)
            origin = -1 if members.forgetful else open_
            block = self._blocks.get(origin, 0)
            if not block:
                block = self._blocks[origin] = automaton.allocate(self._offset + len(members.names), PUBLISHED)
                new = list(members.next_keys()) if members.forgetful else keys
        else:
            assert closes, "an object that cannot go on was lowered"
        after = self._states_after([members.open_after(open_, key) for key in new])
        plan = [*states.lowering.member_maps, opened, self.closing if closes else 0, trie, block, len(new)]
        for key, end in zip(new, after, strict=True):
            code = self._offset + key if isinstance(key, int) else key.number
            plan += code, self._values + code, end
        count = len(new)
        made = L.MEMBERS_STATES + 3 * count, L.MEMBERS_TRANSITIONS + 5 * count, L.MEMBERS_ACTIONS + 3 * count
        tables.reserve(made[0], made[1], 0, made[2])
        first = tables.state_count
        held = np.array(plan, np.int32)
        lay_members(tables.address, held.ctypes.data, state, first, tables.transition_count, tables.action_count)
        tables.extend(first + made[0], tables.transition_count + made[1], tables.map_count, made[2])
        automaton.own(first, PUBLISHED)

    def _states_after(self, places: Sequence[int]) -> list[int]:
        """The state after a member, for each set of named keys that may come then."""
        new = [open_ for open_ in dict.fromkeys(places) if open_ not in self._after]
        if new:
            first = self.states.automaton.allocate(len(new), _Places(self, new, opened=False))
            self._after.update(zip(new, range(first, first + len(new)), strict=True))
        return [self._after[open_] for open_ in places]

    def value(self, code: int) -> int:
        """The state before the value of a key, by the key's code."""
        members, lowering = self.members, self.states.lowering
        key = members.classes.others[code] if code < self._offset else code - self._offset
        return self.states.entry(members.goal(key), lowering.deeper(0))[0]


class _Places(Private):
    """Owner of states after `{` or after a member."""

    __slots__ = ("object", "opened", "places")

    def __init__(self, object_: SimpleObject, places: Sequence[int], opened: bool) -> None:
        self.object, self.places, self.opened = object_, places, opened

    def lower(self, index: int, state: int) -> None:
        self.object.lay(state, self.places[index], self.opened)


class _Values(Private):
    """Owner of the states before the values of keys, by code."""

    __slots__ = ("object",)

    def __init__(self, object_: SimpleObject) -> None:
        self.object = object_

    def lower(self, index: int, state: int) -> None:
        automaton, target = self.object.states.automaton, self.object.value(index)
        automaton.lower(target)
        automaton.tables.set_alias(state, target)
