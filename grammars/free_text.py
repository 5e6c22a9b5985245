"""Free text: everything up to the first of some strings, as a regular language with few states.

    free = FreeText(["<function=", "</answer>"], avoided=["<think>"])
    free.without()      texts in which none of the strings occurs
    free.until(0)       texts that end with "<function=", in which none of the strings occurs before
    free.reader([0])    several of these at once, told apart where they end (rules.Switch)

The strings make one automaton (A. V. Aho and M. J. Corasick, "Efficient string matching", CACM 18(6), 1975) with as many
states as they have beginnings, and every language of a FreeText is a place in it: a general complement of the same
language would have to be searched for its states, and compared.

A text that is read from left to right is at its end as soon as a string is complete. So of `ab` and `abc` the second is
never reached, and `until` is empty for it; of `xab` and `ab`, which end together, each is reached.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from maskwright.grammars import regular
from maskwright.grammars.charset import ALL, CharSet
from maskwright.grammars.regular import EMPTY, EPSILON, Regex
from maskwright.grammars.regular_nodes import Span
from maskwright.grammars.rules import Reader

__all__ = ["FreeText"]

_BEGINNING = 3  # characters that tell most texts from one in which a stop begins


class FreeText:
    """Free text around some strings.

    Args:
        stops: strings that end the text; distinct, none of them empty.
        avoided: strings, none of them empty, that the text may not contain. A stop counts from its first character on
            as what follows the text: it may be, contain or complete one of these.
    """

    def __init__(self, stops: Sequence[str], avoided: Iterable[str] = ()) -> None:
        self.stops = tuple(stops)
        self.avoided = tuple(text for text in dict.fromkeys(avoided) if text not in self.stops)
        assert all(self.stops) and all(self.avoided) and len(set(self.stops)) == len(self.stops)
        self.machine = _Machine(self.stops, self.avoided)

    def without(self) -> Regex:
        """The texts in which neither a stop nor a string to avoid occurs."""
        return _Place(self.machine, 0, None)

    def until(self, stop: int) -> Regex:
        """The texts that end with a stop, in which none occurs earlier and what comes before avoids what it should.

        EMPTY where another stop is always complete before this one.
        """
        text = self.stops[stop]
        if not any(_completes(avoided, text) for avoided in self.avoided):
            return self.machine.until(stop)
        reached = _Machine(self.stops, ()).until(stop)
        before = _Place(_Machine((), self.avoided), 0, None)
        return EMPTY if reached is EMPTY else regular.intersect(reached, regular.concat(before, regular.literal(text)))

    def reader(self, stops: Iterable[int]) -> Reader:
        """The texts up to any of some stops, told apart where they end. `overlaps` must not hold."""
        return _Stopping(self, frozenset(stops), 0)

    def first(self, stop: int) -> frozenset[int]:
        """The stops that are complete first when a stop is written: itself, unless it contains others."""
        return self.machine.first(stop)

    @cached_property
    def overlaps(self) -> bool:
        """Whether a string to avoid can be completed inside a stop; `reader` knows no such texts."""
        return any(_completes(avoided, stop) for avoided in self.avoided for stop in self.stops)


@dataclass(frozen=True, slots=True)
class _Stopping:
    """A state of free text that ends with any stop (rules.Reader)."""

    free: FreeText
    stops: frozenset[int]
    state: int

    @property
    def complete(self) -> frozenset[int]:
        return self.free.machine.complete[self.state] & self.stops

    def transitions(self) -> Iterator[tuple[CharSet, Reader]]:
        machine = self.free.machine
        if not machine.complete[self.state]:
            for characters, state in machine.moves(self.state):
                if not machine.complete[state] or machine.complete[state] & self.stops:
                    yield characters, _Stopping(self.free, self.stops, state)

    def language(self, number: int) -> Regex:
        return self.free.until(number)


def _completes(avoided: str, stop: str) -> bool:
    """Whether some text before a stop can make an avoided string complete inside it, before its last character."""
    return any(avoided.endswith(stop[:end]) or avoided in stop[:end] for end in range(1, len(stop)))


class _Machine:
    """The automaton of some strings: a tree of their beginnings, whose other transitions are found when a state is entered.

    State 0 has read nothing of any of them. There are states for stops that are complete; what leads to them ends.

    Attributes:
        complete: by the state, the stops that end there.
        dead: by the state, whether what may not occur has occurred.
    Both hold for states that `moves` has led to.
    """

    def __init__(self, stops: tuple[str, ...], avoided: tuple[str, ...]) -> None:
        self._identity = (stops, avoided)
        self._hash = hash(self._identity)
        self._children: list[dict[str, int]] = [{}]
        ends: list[int] = []  # by the text, the state behind it
        for text in (*stops, *avoided):
            state = 0
            for character in text:
                children = self._children[state]
                state = children.get(character, 0)
                if not state:
                    state = children[character] = len(self._children)
                    self._children.append({})
            ends.append(state)
        self.complete: list[frozenset[int]] = [frozenset()] * len(self._children)
        self.dead = [False] * len(self._children)
        for number, state in enumerate(ends):
            if number < len(stops):
                self.complete[state] |= {number}
            else:
                self.dead[state] = True
        self._shorter = [0] * len(self._children)  # by the state, the longest other one whose characters it ends with
        self._after: dict[int, dict[str, int]] = {}
        self._moves: dict[int, tuple[tuple[CharSet, int], ...]] = {}
        self._distances: dict[int, list[int | None]] = {}

    def _enter(self, state: int) -> dict[str, int]:
        """The state after each character, 0 where there is none. The state before it has been entered."""
        entered, todo = self._after, []
        while state not in entered:
            todo.append(state)
            if not state:
                break
            state = self._shorter[state]
        following = entered.get(state, {})
        for one in reversed(todo):
            children = self._children[one]
            for letter, child in children.items():
                shorter = self._shorter[child] = following.get(letter, 0)
                self.complete[child] |= self.complete[shorter]
                self.dead[child] = self.dead[child] or self.dead[shorter]
            following = entered[one] = {**following, **children} if following else children
        return following

    @cached_property
    def _apart(self) -> bool:
        """Whether certainly no stop begins inside another one, nor with another one."""
        stops = sorted(self._identity[0])
        if any(after.startswith(before) for before, after in pairwise(stops)):
            return False
        beginnings = sorted({re.escape(stop[:_BEGINNING]) for stop in stops})
        begins = re.compile("|".join(beginnings)).search
        return not any(begins(stop, 1) for stop in stops)

    def first(self, stop: int) -> frozenset[int]:
        """The stops that are complete first when a stop is written."""
        if self._apart:
            return frozenset((stop,))
        state = 0
        for character in self._identity[0][stop]:
            state = self._enter(state)[character]
            if self.complete[state]:
                break
        return self.complete[state]

    def moves(self, state: int) -> tuple[tuple[CharSet, int], ...]:
        """Sets of characters and the state after each; what may not occur is left out."""
        found = self._moves.get(state)
        if found is None:
            groups: dict[int, list[str]] = {}
            after = self._enter(state)
            for letter, target in after.items():
                groups.setdefault(target, []).append(letter)
            elsewhere = (~CharSet.of(after), 0)
            named = [
                (CharSet.of(letters), target)
                for target, letters in groups.items()
                if self.complete[target] or not self.dead[target]
            ]
            found = self._moves[state] = (elsewhere, *named)
        return found

    def until(self, stop: int) -> Regex:
        return EMPTY if self.distance(0, stop) is None else _Place(self, 0, stop)

    def distance(self, state: int, stop: int) -> int | None:
        """The fewest characters from a state until a stop is complete, and none before."""
        found = self._distances.get(stop)
        if found is None:
            found = self._distances[stop] = self._find_distances(stop)
        return found[state]

    def _find_distances(self, stop: int) -> list[int | None]:
        before: list[list[int]] = [[] for _ in self._children]
        queue = [0]
        for state in queue:  # shorter ones first
            following = self._enter(state)
            queue += self._children[state].values()
            if not self.complete[state] and not self.dead[state]:
                for target in {0, *following.values()}:
                    before[target].append(state)
        found: list[int | None] = [0 if stop in stops else None for stops in self.complete]
        frontier = [state for state, distance in enumerate(found) if distance == 0]
        for state in frontier:
            for origin in before[state]:
                if found[origin] is None:
                    found[origin] = (found[state] or 0) + 1
                    frontier.append(origin)
        return found

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or isinstance(other, _Machine) and self._identity == other._identity


class _Place(Regex):
    """What may follow in a state of a machine: up to a stop, or (None) without any. From each, an end can be reached."""

    __slots__ = ("machine", "state", "stop")

    def __init__(self, machine: _Machine, state: int, stop: int | None) -> None:
        super().__init__((machine, state, stop), stop is None)
        self.machine, self.state, self.stop = machine, state, stop

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        machine, stop = self.machine, self.stop
        for characters, state in machine.moves(self.state):
            if not machine.complete[state]:
                yield characters, _Place(machine, state, stop)
            elif stop in machine.complete[state]:
                yield characters, EPSILON

    def _measure(self) -> Span:
        return (0 if self.stop is None else self.machine.distance(self.state, self.stop) or 0), None

    def _spell(self) -> CharSet:
        return ALL

    def _same(self, other: object) -> bool:
        return (
            isinstance(other, _Place)
            and (self.state, self.stop) == (other.state, other.stop)
            and self.machine == other.machine
        )

    def __repr__(self) -> str:
        stops = self.machine._identity[0]
        return f"text[{self.state}]…{'' if self.stop is None else repr(stops[self.stop])}"
