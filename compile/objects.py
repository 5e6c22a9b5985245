"""States of objects.

A key is a frame of its own, called by its opening quote: its result code is the class or the name of the key. The states
after keys are allocated as one block, and lowered key by key when one is first written. Which keys may come and what their
values must be: compile/members.py. The usual object is made a member at a time: compile/simple_objects.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskwright.compile.automaton import Edge, InObject
from maskwright.compile.goals import Asked, Labels
from maskwright.compile.keys import OtherKeys
from maskwright.compile.members import Members, Progress
from maskwright.compile.simple_objects import SimpleObject
from maskwright.grammars.boolean import Bool
from maskwright.kernels import layout as L

if TYPE_CHECKING:
    from maskwright.compile.values import GrammarStates

__all__ = ["ObjectFrame"]


class ObjectFrame:
    """Objects that satisfy `must`, a positive expression over ObjectShape, and report on `observed` as they close."""

    place: str | None = None
    """The JSON Pointer of the first schema that the objects are of; None where that is not known."""

    def __init__(
        self, states: GrammarStates, must: Bool, observed: tuple[Bool, ...], labels: Labels, depth: int
    ) -> None:
        self.states, self.labels, self.depth = states, labels, depth
        self.members = Members(states, must, observed)
        if self.members.needs_keys:
            states.needs_keys = True
        self._first = 0
        self._ends: dict[Progress, int] = {}
        self._blocks: dict[Progress, int] = {}

    def possible(self) -> bool:
        """Whether any object satisfies the frame."""
        return self.members.possible()

    def opened(self) -> int:
        """The state after `{`."""
        if self._first == 0:
            if self.states.lowering.has_runs and SimpleObject.takes(self.members):
                closing = self.states.automaton.end(self.labels.number(()))
                self._first = SimpleObject(self.states, self.members, closing, self.place).opened
            else:
                self._first = self.states.allocate(1, _Opened(self, self.members.start))
        return self._first

    def member_end(self, progress: Progress) -> int:
        """The state after a member."""
        progress = self.members.settled(progress)
        found = self._ends.get(progress)
        if found is None:
            found = self._ends[progress] = self.states.allocate(1, _MemberEnd(self, progress))
        return found

    def key_call(self, progress: Progress) -> int:
        """The transition of a key's opening quote; 0 when no key may come."""
        members, automaton = self.members, self.states.automaton
        start = members.classes.start(self.states, members.keys(progress))
        if not start:
            return 0
        origin = members.start if members.forgetful else progress
        block = self._blocks.get(origin)
        if block is None:
            block = self.states.allocate(len(members.classes.others) + len(members.names), _AfterKey(self, origin))
            self._blocks[origin] = block
        return automaton.tables.add_call(start, block, True)

    def closing(self, progress: Progress) -> list[Edge]:
        """`}`, where the object may close."""
        outcome = self.members.outcome(progress)
        if outcome is None:
            return []
        return [(0x7D, 0x7D, self.states.automaton.end(self.labels.number(outcome)))]


class _InObject(InObject):
    """Base of owners of an object's states."""

    __slots__ = ("frame",)

    frame: ObjectFrame

    def is_endless(self) -> bool:
        return self.frame.members.is_endless

    def other_keys(self) -> OtherKeys:
        return self.frame.members.other_keys

    def place(self) -> str | None:
        return self.frame.place


class _Opened(_InObject):
    """Owner of the state after `{`."""

    __slots__ = ("progress",)

    def __init__(self, frame: ObjectFrame, progress: Progress) -> None:
        self.frame, self.progress = frame, progress

    def lower(self, index: int, state: int) -> None:
        frame, lowering, automaton = self.frame, self.frame.states.lowering, self.frame.states.automaton
        edges = frame.closing(self.progress)
        if edges:
            automaton.require(b"}")
        call = frame.key_call(self.progress)
        if call:
            automaton.require(b'"')
            edges += lowering.first(frame.depth, [(0x22, 0x22, call)])[0]
        assert edges, "an object that cannot go on was opened"
        lowering.place(state, edges)


class _MemberEnd(_Opened):
    """Owner of the state after a member."""

    __slots__ = ()

    def lower(self, index: int, state: int) -> None:
        frame, lowering = self.frame, self.frame.states.lowering
        edges = lowering.last(frame.depth, frame.closing(self.progress))
        call = frame.key_call(self.progress)
        if call:
            edges.append(lowering.separated(",", [(0x22, 0x22, call)], depth=frame.depth))
        assert edges, "an object that cannot go on was lowered"
        lowering.place(state, edges)


class _AfterKey(_InObject):
    """Owner of the states after a key: first the classes of other keys, then the named keys."""

    __slots__ = ("origin",)

    def __init__(self, frame: ObjectFrame, origin: Progress) -> None:
        self.frame, self.origin = frame, origin

    def lower(self, index: int, state: int) -> None:
        frame, members = self.frame, self.frame.members
        lowering, automaton = frame.states.lowering, frame.states.automaton
        others = members.classes.others
        key = others[index] if index < len(others) else index - len(others)
        asked = members.ask(self.origin, key)
        assert asked is not None, "a key that cannot come was written"
        entry, labels = frame.states.entry(asked.goal, lowering.deeper(frame.depth))
        after = members.after(self.origin, key)
        if asked.questions:
            block = frame.states.allocate(labels.capacity, _AfterMember(frame, after, asked, labels))
        else:
            block = frame.member_end(members.having(after, asked.certain))
        call = automaton.tables.add_call(entry, block, False)
        argument = L.OTHER_KEY if index < len(others) else 0
        lowering.place(state, [lowering.separated(":", [], default=call)], argument=argument)


class _AfterMember(_InObject):
    """Owner of the states after a member's value, one a label of the value."""

    __slots__ = ("asked", "labels", "progress")

    def __init__(self, frame: ObjectFrame, progress: Progress, asked: Asked, labels: Labels) -> None:
        self.frame, self.progress, self.asked, self.labels = frame, progress, asked, labels

    def lower(self, index: int, state: int) -> None:
        frame, automaton = self.frame, self.frame.states.automaton
        holding = self.asked.holding(self.labels.outcomes[index])
        target = frame.member_end(frame.members.having(self.progress, holding))
        automaton.lower(target)
        automaton.tables.set_alias(state, target)
