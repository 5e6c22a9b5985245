"""States of arrays.

What matters of an array so far is how many items it has and which shapes are alive. The number of items is cut at the
counts where something changes (the end of a prefix, a lower or an upper bound); between two cuts one set of states
serves, and the register counts down to the next cut. So `maxItems: 100000` costs as many states as `maxItems: 10`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from maskwright.compile.automaton import Edge, Private
from maskwright.compile.goals import Asked, Labels, Term, ask
from maskwright.grammars import boolean
from maskwright.grammars.boolean import Bool
from maskwright.grammars.ir import ArrayShape
from maskwright.kernels import layout as L

if TYPE_CHECKING:
    from maskwright.compile.values import GrammarStates

__all__ = ["ArrayFrame"]

Alive = frozenset[ArrayShape]


class ArrayFrame:
    """Arrays that satisfy `must`, a positive expression over ArrayShape, and report on `observed` as they close."""

    def __init__(
        self, states: GrammarStates, must: Bool, observed: tuple[Bool, ...], labels: Labels, depth: int
    ) -> None:
        self.states, self.observed, self.labels, self.depth = states, observed, labels, depth
        self.terms = states.terms(must)
        shapes = dict.fromkeys(shape for formula in (must, *observed) for shape in boolean.leaves(formula))
        self.shapes: Alive = frozenset(shapes)
        self.ordered = tuple(shapes)
        """The shapes in the order of the schema; sets of them have none."""
        self._longest: dict[Term, int | None] = {}
        self._states: dict[tuple[str, int, Alive], int] = {}

    @cached_property
    def cuts(self) -> list[int]:
        """The numbers of items at which something changes, 0 first."""
        cuts = {0}
        for shape in self.shapes:
            cuts.update(range(1, len(shape.prefix) + 1))
            cuts.add(shape.min_items)
            if shape.max_items is not None:
                cuts.update((shape.max_items, shape.max_items + 1))
        cuts.update(longest for term in self.terms if (longest := self.longest(term)) is not None)
        return sorted(cuts)

    def longest(self, term: Term) -> int | None:
        """The most items an array of a term can have; None is unbounded."""
        if term in self._longest:
            return self._longest[term]
        found = self._find_longest(term)
        if self.states.settled:  # what holds only under the assumptions of a visit is not kept
            self._longest[term] = found
        return found

    def _find_longest(self, term: Term) -> int | None:
        longest = min((shape.max_items for shape in term if shape.max_items is not None), default=None)
        prefix = max((len(shape.prefix) for shape in term), default=0)
        for index in range(prefix if longest is None else min(prefix, longest)):
            if not self.states.satisfiable(boolean.all_of(_question(shape, index) for shape in term)):
                return index
        if longest is not None and longest <= prefix:
            return longest
        if not self.states.satisfiable(boolean.all_of(shape.rest for shape in term)):
            return prefix
        return longest

    def _viable(self, count: int, alive: Alive) -> list[Term]:
        """The terms that can still hold of an array with `count` good items."""
        found = []
        for term in self.terms:
            if not term <= alive:
                continue
            longest = self.longest(term)
            if longest is None or (count <= longest and all(shape.min_items <= longest for shape in term)):
                found.append(term)
        return found

    def possible(self) -> bool:
        """Whether any array satisfies the frame."""
        return bool(self._viable(0, self.shapes))

    def opened(self) -> int:
        """The state after `[`."""
        return self._state("open", 0, self.shapes)

    def _state(self, kind: str, cut: int, alive: Alive) -> int:
        """The state of a kind ("open", "after", "again") between cuts[cut] and the next one.

        "open" follows `[`; "after" follows the item that reached the cut, and sets the register; "again" follows a
        later item, and counts.
        """
        key = (kind, cut, self._relevant(self.cuts[cut], alive))
        found = self._states.get(key)
        if found is None:
            found = self._states[key] = self.states.automaton.allocate(1, _ArrayState(self, *key))
        return found

    def item_end(self, cut: int, alive: Alive) -> int:
        """The state after an item that began between cuts[cut] and the next one."""
        step = cut + 1 < len(self.cuts) and self.cuts[cut + 1] == self.cuts[cut] + 1
        return self._state("after", cut + 1, alive) if step else self._state("again", cut, alive)

    def _relevant(self, count: int, alive: Alive) -> Alive:
        """The shapes that can still make a difference."""
        keep = {shape for term in self._viable(count, alive) for shape in term}
        for formula in self.observed:
            keep.update(alive.intersection(boolean.leaves(formula)))
        return frozenset(keep)

    def ask(self, cut: int, alive: Alive) -> Asked | None:
        """What the next item must be."""
        count = self.cuts[cut]
        terms = [
            term for term in self._viable(count, alive) if (longest := self.longest(term)) is None or count < longest
        ]
        questions = {shape: _question(shape, count) for shape in self.ordered if shape in alive}
        return ask(terms, questions, self.states.satisfiable)

    def closing(self, cut: int, alive: Alive) -> list[Edge]:
        """`]`, where the array may close."""
        count = self.cuts[cut]
        if not any(all(shape.min_items <= count for shape in term) for term in self._viable(count, alive)):
            return []
        outcome = tuple(
            boolean.evaluate(formula, lambda shape: shape in alive and shape.min_items <= count)
            for formula in self.observed
        )
        return [(0x5D, 0x5D, self.states.automaton.end(self.labels.number(outcome)))]


class _ArrayState(Private):
    """Owner of one state of an array frame (see ArrayFrame._state)."""

    __slots__ = ("alive", "cut", "frame", "kind")

    def __init__(self, frame: ArrayFrame, kind: str, cut: int, alive: Alive) -> None:
        self.frame, self.kind, self.cut, self.alive = frame, kind, cut, alive

    def lower(self, index: int, state: int) -> None:
        frame, cut, alive = self.frame, self.cut, self.alive
        lowering, automaton = frame.states.lowering, frame.states.automaton
        bounded = cut + 1 < len(frame.cuts)
        width = frame.cuts[cut + 1] - frame.cuts[cut] if bounded else 0
        asked = frame.ask(cut, alive)
        closing = frame.closing(cut, alive)
        if closing:
            automaton.require(b"]")
        call = 0
        if asked is not None:
            entry, labels = frame.states.entry(asked.goal, lowering.deeper(frame.depth))
            if asked.questions:
                block = automaton.allocate(labels.capacity, _AfterItem(frame, cut, asked, labels))
            else:
                block = frame.item_end(cut, asked.certain)
            call = automaton.tables.add_call(entry, block, False)
        op, argument = L.OP_NONE, 0
        if self.kind == "again" and bounded:
            # With a width of one the next item has already reached the next cut: item_end goes there directly.
            op, argument = L.OP_COUNT, frame._state("after", cut + 1, alive)
        elif bounded and width > 1:
            op, argument = L.OP_SET, width
        elif bounded or cut > 0:
            op, argument = L.OP_SET, 0
        if self.kind == "open":
            first, call = lowering.first(frame.depth, [], call) if call else ([], 0)
            lowering.place(state, closing + first, default=call, op=op, argument=argument)
            return
        edges = lowering.last(frame.depth, closing)
        if call:
            edges.append(lowering.separated(",", [], default=call, depth=frame.depth))
        lowering.place(state, edges, op=op, argument=argument)


class _AfterItem(Private):
    """Owner of the states after an item, one a label of the item."""

    __slots__ = ("asked", "cut", "frame", "labels")

    def __init__(self, frame: ArrayFrame, cut: int, asked: Asked, labels: Labels) -> None:
        self.frame, self.cut, self.asked, self.labels = frame, cut, asked, labels

    def lower(self, index: int, state: int) -> None:
        automaton = self.frame.states.automaton
        target = self.frame.item_end(self.cut, self.asked.alive(self.labels.outcomes[index]))
        automaton.lower(target)
        automaton.tables.set_alias(state, target)


def _question(shape: ArrayShape, index: int) -> Bool:
    """What a shape asks of the item number `index`."""
    if shape.max_items is not None and index >= shape.max_items:
        return boolean.FALSE
    return shape.prefix[index] if index < len(shape.prefix) else shape.rest
