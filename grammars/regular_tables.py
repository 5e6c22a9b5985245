r"""Regular languages given by a deterministic automaton: the node of `regular` whose derivatives are looked up.

    edges, final = [[(letters, 1)], [(letters | digits, 1)]], {1}
    shared_languages([Machine(edges, edges[0], final)], ...)      a letter, then letters and digits: a TableState

Where a language is found by walking automata side by side (names that are no keyword), its table is the smallest thing to
keep; an expression for it would be as long as the walk. Many languages share one smallest automaton, so that equal ones
are one node, and so are equal ends of different ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from maskwright.grammars.charset import CharSet
from maskwright.grammars.refinement import by_class, coarsest
from maskwright.grammars.regular import EMPTY, EPSILON, Regex, alternate, concat, repeat
from maskwright.grammars.regular_nodes import Span

__all__ = ["Machine", "TableState", "backwards", "paths", "shared_languages"]

Edges = Sequence[tuple[int, int]]  # (set of letters as bits, state)


class Machine(NamedTuple):
    """A language without the empty word, as the part of an automaton between some edges and some states.

    Attributes:
        edges: by state, ((letters, state), ...); the letters are bits, and disjoint in a state.
        first: the edges that words begin with, of the same kind.
        final: the states that words may end in.
    """

    edges: Sequence[Edges]
    first: Edges
    final: frozenset[int]


class _Table:
    """A trimmed automaton: from every state a final one can be reached.

    Attributes:
        edges: by state, ((characters, state), ...).
        final: by state, whether a word may end there.
    """

    def __init__(self, edges: list[list[tuple[CharSet, int]]], final: list[bool]) -> None:
        self.edges, self.final = edges, final
        self._nodes: dict[int, Regex] = {}

    def node(self, state: int) -> Regex:
        """The language from a state on."""
        found = self._nodes.get(state)
        if found is None:
            ends = self.final[state] and not self.edges[state]
            found = self._nodes[state] = EPSILON if ends else TableState(self, state)
        return found

    def reachable(self, state: int) -> list[int]:
        """The states from one on, itself the first; breadth first."""
        found = [state]
        seen = {state}
        for one in found:
            for _, target in self.edges[one]:
                if target not in seen:
                    seen.add(target)
                    found.append(target)
        return found

    def span(self, state: int) -> Span:
        """The length of a shortest and of a longest word; None where there is no longest."""
        states = self.reachable(state)
        shortest, level = 0, {state}
        while not any(self.final[one] for one in level):
            level = {target for one in level for _, target in self.edges[one]}
            shortest += 1
        lengths: dict[int, int] = {}
        while len(lengths) < len(states):  # a state whose targets are all known is no part of a loop
            ready = [
                one for one in states if one not in lengths and all(target in lengths for _, target in self.edges[one])
            ]
            if not ready:
                return shortest, None
            for one in ready:
                lengths[one] = max((lengths[target] + 1 for _, target in self.edges[one]), default=0)
        return shortest, lengths[state]


class TableState(Regex):
    """What an automaton reads from one of its states on."""

    __slots__ = ("state", "table")

    def __init__(self, table: _Table, state: int) -> None:
        super().__init__((state,), table.final[state])
        self.table, self.state = table, state

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        return [(characters, self.table.node(target)) for characters, target in self.table.edges[self.state]]

    def _measure(self) -> Span:
        return self.table.span(self.state)

    def _spell(self) -> CharSet:
        return CharSet.union(
            [characters for one in self.table.reachable(self.state) for characters, _ in self.table.edges[one]]
        )

    def _same(self, other: object) -> bool:
        return isinstance(other, TableState) and self.table is other.table and self.state == other.state

    def __repr__(self) -> str:
        return f"state {self.state}"


def shared_languages(machines: Sequence[Machine], characters: Callable[[int], CharSet]) -> list[Regex]:
    """The languages of some machines; equal ones are the same node.

    Args:
        machines: the languages; one without words is EMPTY.
        characters: what a set of letters stands for.
    """
    edges: list[list[tuple[int, int]]] = []
    final: list[bool] = []
    starts: list[int | None] = []
    for machine in machines:
        kept = _live(machine)
        numbers = {state: len(edges) + number for number, state in enumerate(kept, 1)}
        starts.append(len(edges) if kept else None)
        if kept:
            rows = [machine.first, *(machine.edges[state] for state in kept)]
            edges += [[(bits, numbers[target]) for bits, target in row if target in numbers] for row in rows]
            final += [False, *(state in machine.final for state in kept)]

    def signature(state: int, classes: Sequence[int]) -> tuple[bool, frozenset[tuple[int, int]]]:
        return final[state], frozenset((bits, target) for target, bits in by_class(edges[state], classes).items())

    classes = coarsest(len(edges), signature)
    count = max(classes, default=-1) + 1
    merged: list[list[tuple[CharSet, int]]] = [[] for _ in range(count)]
    ends = [False] * count
    done = [False] * count
    for state, number in enumerate(classes):
        if not done[number]:
            done[number], ends[number] = True, final[state]
            merged[number] = [(characters(bits), target) for target, bits in by_class(edges[state], classes).items()]
    table = _Table(merged, ends)
    return [EMPTY if start is None else table.node(classes[start]) for start in starts]


def _live(machine: Machine) -> list[int]:
    """The states between the first edges and an end."""
    reached = dict.fromkeys(target for _, target in machine.first)
    before: dict[int, list[int]] = {}
    for state in (pending := list(reached)):
        for _, target in machine.edges[state]:
            before.setdefault(target, []).append(state)
            if target not in reached:
                reached[target] = None
                pending.append(target)
    live = backwards(before, (state for state in machine.final if state in reached))
    return [state for state in reached if state in live]


def backwards(before: Mapping[int, Iterable[int]], ends: Iterable[int]) -> set[int]:
    """The states from which an end can be reached; `before` has those from which one step leads to a state."""
    found = set(ends)
    for state in (pending := list(found)):
        for source in before.get(state, ()):
            if source not in found:
                found.add(source)
                pending.append(source)
    return found


def paths(ways: Mapping[int, Mapping[int, Regex]], begin: int, end: int) -> Regex:
    """What can be read on the ways from one place to another, of any length (elimination of states; Brzozowski and
    McCluskey 1963).

    Args:
        ways: ways[place][next] is what is read between neighbours.
    """
    first, last = -1, -2
    left: dict[int, dict[int, Regex]] = {place: dict(onward) for place, onward in ways.items()}
    for onward in ways.values():
        for place in onward:
            left.setdefault(place, {})
    left.setdefault(begin, {})
    left.setdefault(end, {})
    left[end][last] = EPSILON
    places = set(left)
    left[first] = {begin: EPSILON}
    while places:
        least = min(places, key=lambda s: (sum(s in out for out in left.values()) * len(left[s]), s))
        places.remove(least)
        onward = left.pop(least)
        around = repeat(onward.pop(least, EMPTY), 0, None)
        for out in left.values():
            into = out.pop(least, None)
            if into is not None:
                for target, language in onward.items():
                    out[target] = alternate(out.get(target, EMPTY), concat(into, around, language))
    return left[first].get(last, EMPTY)
