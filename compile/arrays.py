"""States of arrays.

What matters of an array so far is how many items it has, which shapes are alive, and how far their counts are met. The
number of items is cut at the numbers where something changes (the end of a prefix, a lower or an upper bound, what is left
for a count); between two cuts one set of states serves, and the register counts down to the next cut. So
`maxItems: 100000` costs as many states as `maxItems: 10`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from maskwright.compile.automaton import Edge, Private
from maskwright.compile.counts import Counts, Standing, Tally, is_open
from maskwright.compile.distinct import Distinct, Identities, Unknown, has_endless, has_more, tight_indices
from maskwright.compile.goals import Asked, Labels, Term, ask
from maskwright.compile.repeated import SETTLED, Prospect, Repeats
from maskwright.grammars import boolean
from maskwright.grammars.boolean import Bool
from maskwright.grammars.errors import UnsupportedError
from maskwright.grammars.ir import ArrayShape
from maskwright.kernels import layout as L

if TYPE_CHECKING:
    from maskwright.compile.values import GrammarStates

__all__ = ["ArrayFrame"]

DISTINCT: Final = "distinct"
"""Among the shapes that are alive (counts.Standing) while no two items were equal, where that makes a difference."""


class ArrayFrame:
    """Arrays that satisfy `must`, a positive expression over ArrayShape, and report on `observed` as they close."""

    place: str | None = None
    """The JSON Pointer of the first schema that the arrays are of; None where that is not known."""

    def __init__(
        self, states: GrammarStates, must: Bool, observed: tuple[Bool, ...], labels: Labels, depth: int
    ) -> None:
        self.states, self.observed, self.labels, self.depth = states, observed, labels, depth
        terms = states.terms(must)
        self.terms = tuple(term for term in terms if not (_is_unique(term) and _is_repeating(term)))
        shapes = dict.fromkeys(shape for formula in (must, *observed) for shape in boolean.leaves(formula))
        self.shapes = frozenset(shapes)
        self.ordered = tuple(shapes)
        """The shapes in the order of the schema; sets of them have none."""
        self.counts = {shape: shape.counted for shape in shapes if shape.counted is not None}
        """What the counting shapes count; in the order of a tally."""
        self.repeating = _is_repeating(shapes)
        """Whether some shapes ask for two equal items. To the automaton they are any others (see repeated.py)."""
        self.compares = self.repeating or _is_unique(shapes)
        """Whether it matters if two items are equal: to those shapes, or to some that let no two be. One of these counts as
        alive until two are (see `repeated`)."""
        self.repeats = not all(map(_is_unique, self.terms))
        """Whether an array may have equal items all the same."""
        self._longest: dict[Term, int | None] = {}
        self._needs: dict[Term, _Needs] = {}
        self._tight: dict[Term, Mapping[int, Identities] | None] = {}
        self._repeats: dict[Term, Repeats] = {}
        self._seeking: set[Term] = set()
        self._states: dict[tuple[str, int, Standing], int] = {}
        self._keys: dict[int, tuple[str, int, Standing]] = {}
        """The keys of `_states` by state, where items are compared."""

    @cached_property
    def cuts(self) -> list[int]:
        """The numbers of items at which something changes, 0 first."""
        cuts = {0}
        for shape in self.shapes:
            cuts.update(range(1, len(shape.prefix) + 1))
            cuts.add(shape.min_items)
            if shape.max_items is not None:
                cuts.update((shape.max_items, shape.max_items + 1))
        for term in self.terms:
            longest, needs = self.longest(term), self._needs_of(term)
            if longest is not None:
                cuts.add(longest)
            if needs is not None:
                cuts.update(needs.cuts(longest))
        return sorted(cuts)

    def longest(self, term: Term) -> int | None:
        """The most items an array of a term can have; None is unbounded."""
        return self.states.kept(self._longest, term, lambda: self._find_longest(term))

    def _find_longest(self, term: Term) -> int | None:
        longest = min((shape.max_items for shape in term if shape.max_items is not None), default=None)
        prefix = max((len(shape.prefix) for shape in term), default=0)
        for index in range(prefix if longest is None else min(prefix, longest)):
            if not self.states.satisfiable(boolean.all_of(_item(shape, index) for shape in term)):
                return index
        if longest is not None and longest <= prefix:
            return longest
        if not self.states.satisfiable(boolean.all_of(shape.rest for shape in term)):
            return prefix
        return longest

    def _needs_of(self, term: Term) -> _Needs | None:
        """What the counts of a term need; None where it counts nothing."""
        if self.counts.keys().isdisjoint(term):
            return None
        return self.states.kept(self._needs, term, lambda: _Needs(self, term))

    def _viable(self, count: int, standing: Standing) -> list[Term]:
        """The terms that can still hold of an array with `count` good items."""
        found = []
        for term in self.terms:
            if not term <= standing.alive:
                continue
            longest = self.longest(term)
            if longest is not None and (count > longest or any(shape.min_items > longest for shape in term)):
                continue
            if self.compares and _is_unique(term) and self._tight_indices(term) is None:
                continue
            if self._owes(term, standing) and not self._repeats_of(term).possible():
                continue
            needs = self._needs_of(term) if self.counts else None
            if needs is None or needs.viable(count, needs.part(standing.tally), longest):
                found.append(term)
        return found

    def _owes(self, term: Term, standing: Standing) -> bool:
        """Whether two items of an array of the term must still be equal."""
        return self.repeating and DISTINCT in standing.alive and _is_repeating(term)

    def _repeats_of(self, term: Term) -> Repeats:
        return self.states.kept(self._repeats, term, lambda: Repeats(self, term))

    def _tight_indices(self, term: Term) -> Mapping[int, Identities] | None:
        """See distinct.tight_indices."""
        return self.states.kept(self._tight, term, lambda: self._find_tight(term))

    def _find_tight(self, term: Term) -> Mapping[int, Identities] | None:
        if term in self._seeking:
            raise Unknown  # how many values an item has depends on how many it has
        self._seeking.add(term)
        try:
            return tight_indices(self, term)
        except Unknown as error:
            reason = "whether there are as many different items as minItems asks for cannot be told"
            raise UnsupportedError(reason, keyword="uniqueItems", hint="lower minItems") from error
        finally:
            self._seeking.discard(term)

    def item(self, term: Term, index: int) -> Bool:
        """What a term asks of the item at `index`, but for the bounds on the number of items."""
        return boolean.all_of(_item(shape, index) for shape in self.ordered if shape in term)

    def start_terms(self) -> list[Term]:
        """The terms that some array satisfies."""
        return self._viable(0, self._start)

    @property
    def _start(self) -> Standing:
        alive = frozenset((*self.shapes, DISTINCT)) if self.compares else self.shapes
        return Standing(alive, (0,) * len(self.counts))

    def possible(self) -> bool:
        """Whether any array satisfies the frame."""
        return bool(self.start_terms())

    def opened(self) -> int:
        """The state after `[`."""
        state = self._state("open", 0, self._start)
        if self.compares and state not in self.states.distinct:
            self.states.distinct[state] = self._distinct()
        return state

    def _distinct(self) -> Distinct:
        """What a matcher must know to compare the items."""
        terms = self.start_terms()
        tight = dict[int, Identities]()
        for term in terms:
            needs = self._needs_of(term) if self.counts else None
            if _is_unique(term):
                tight.update(self._tight_indices(term) or {})
                fits = needs is None or (not tight and needs.fit_for_distinct(self, term))
            else:
                fits = needs is None or not _is_repeating(term) or needs.fit_for_repeats(self, term)
            if not fits:
                raise UnsupportedError("uniqueItems cannot be enforced beside this `contains`", keyword="uniqueItems")
        if tight and len(terms) > 1:
            reason = "uniqueItems cannot be enforced where alternatives of one array have few values for their items"
            raise UnsupportedError(reason, keyword="uniqueItems")
        if len(terms) != 1:
            return Distinct(self, (), tight)
        alike = max((len(shape.prefix) for shape in terms[0]), default=0)
        return Distinct(self, [self.item(terms[0], index) for index in range(alike + 1)], tight)

    def _state(self, kind: str, cut: int, standing: Standing) -> int:
        """The state of a kind ("open", "after", "again") between cuts[cut] and the next one.

        "open" follows `[`; "after" follows the item that reached the cut, and sets the register; "again" follows a
        later item, and counts.
        """
        key = (kind, cut, self._relevant(self.cuts[cut], standing))
        found = self._states.get(key)
        if found is None:
            found = self._states[key] = self.states.allocate(1, _ArrayState(self, *key))
            if self.compares:
                self._keys[found] = key
        return found

    def is_distinct(self, state: int) -> bool | None:
        """Whether, after `[` or an item, no two items were equal and one that is would make a difference; None where the
        state is none of these."""
        key = self._keys.get(state)
        return None if key is None else DISTINCT in key[2].alive

    def prospect(self, state: int, used: Identities, count: int) -> Prospect | None:
        """What may become of an array in `state`, after `[` or an item, whose `count` items, `used`, are all different.

        None where nothing may: two items must be equal that cannot be any more.
        """
        if not self.repeating:
            return SETTLED
        _, cut, standing = self._keys[state]
        viable = self._viable(self.cuts[cut], standing)
        owing = [self._repeats_of(term) for term in viable if self._owes(term, standing)]
        if not owing:
            return SETTLED
        live = [repeats for repeats in owing if repeats.feasible(used, count)]
        owes = len(owing) == len(viable)
        if owes and not live:
            return None
        obliged = len(live) < len(owing) or not all(repeats.settled(used, count) for repeats in live)
        only = None
        if owes and obliged and not any(repeats.open_to_others(used, count) for repeats in live):
            only = frozenset[Any]().union(*(repeats.repeatable(used, count) for repeats in live))
        closes = any(term <= self._done(cut, standing) for term in self.terms)
        return Prospect(closes, owes, obliged, only, not obliged and not any(map(_is_unique, viable)))

    def repeated(self, state: int) -> int | None:
        """The state after an item that is equal to another, for the one after an item; None where no array goes on so."""
        kind, cut, standing = self._keys[state]
        others = self._after_repeat(standing)
        return self._state(kind, cut, others) if self._viable(self.cuts[cut], others) else None

    def _after_repeat(self, standing: Standing) -> Standing:
        """After an item that is equal to another one."""
        kept = (shape for shape in standing.alive if shape != DISTINCT and not shape.unique)
        return standing.only(frozenset(kept), self.counts)

    def item_end(self, cut: int, standing: Standing) -> int:
        """The state after an item that began between cuts[cut] and the next one."""
        step = cut + 1 < len(self.cuts) and self.cuts[cut + 1] == self.cuts[cut] + 1
        return self._state("after", cut + 1, standing) if step else self._state("again", cut, standing)

    def _relevant(self, count: int, standing: Standing) -> Standing:
        """The shapes that can still make a difference."""
        keep = {shape for term in self._viable(count, standing) for shape in term}
        for formula in self.observed:
            keep.update(standing.alive.intersection(boolean.leaves(formula)))
        if DISTINCT in standing.alive and any(shape.unique or shape.repeating for shape in keep):
            keep.add(DISTINCT)
        return standing.only(frozenset(keep), self.counts)

    def ask(self, cut: int, standing: Standing) -> Asked | None:
        """What the next item must be."""
        index = self.cuts[cut]
        asked: dict[Any, Bool] = {s: _question(s, index) for s in self.ordered if s in standing.alive}
        if DISTINCT in standing.alive:
            asked[DISTINCT] = boolean.TRUE  # each item keeps it, as far as the automaton knows
        demands = dict[Term, Bool]()
        for term in self._viable(index, standing):
            longest = self.longest(term)
            if longest is None or index < longest:
                demands[term] = boolean.all_of(question for shape, question in asked.items() if shape in term)
                needs = self._needs_of(term) if self.counts else None
                if needs is not None:
                    demand = needs.demand(index, needs.part(standing.tally), longest)
                    demands[term] = boolean.all_of((demands[term], demand))
                if self._owes(term, standing):
                    demands[term] = boolean.all_of((demands[term], self._repeats_of(term).demand(index)))
        counted = {
            place: count.child
            for place, (shape, count) in enumerate(self.counts.items())
            if shape in standing.alive and index >= len(shape.prefix) and is_open(count, standing.tally[place])
        }
        return ask(demands, {**asked, **counted}, self.states.satisfiable)

    def closing(self, cut: int, standing: Standing) -> list[Edge]:
        """`]`, where the array may close; also where it may only if the last item was equal to another one, which the matcher
        knows."""
        done = self._done(cut, standing)
        if not any(term <= done for term in self.terms):
            done = self._done(cut, self._after_repeat(standing)) if self.repeating else frozenset()
            if not any(term <= done for term in self._viable(self.cuts[cut], standing)):
                return []
        outcome = tuple(boolean.evaluate(formula, done.__contains__) for formula in self.observed)
        return [(0x5D, 0x5D, self.states.automaton.end(self.labels.number(outcome)))]

    def _done(self, cut: int, standing: Standing) -> frozenset[Any]:
        """The shapes that hold of the array if it ends here."""
        count, alive = self.cuts[cut], standing.alive
        done = {shape for shape in self.ordered if shape in alive and shape.min_items <= count}
        if DISTINCT in alive:
            done = {shape for shape in done if not shape.repeating}
        for number, (shape, counted) in zip(standing.tally, self.counts.items(), strict=True):
            if number < counted.least:
                done.discard(shape)
        return frozenset(done)


class _Needs:
    """What the counts of one term still need, in items.

    Attributes:
        places: those of the term's counting shapes in a tally of the frame.
    """

    def __init__(self, frame: ArrayFrame, term: Term) -> None:
        counting = [(place, shape) for place, shape in enumerate(frame.counts) if shape in term]
        self.places = tuple(place for place, _ in counting)
        self._starts = [len(shape.prefix) for _, shape in counting]
        self._counts = counts = Counts([frame.counts[shape] for _, shape in counting])
        self._shortest = max(shape.min_items for shape in term)
        prefix = max(len(shape.prefix) for shape in term)
        shapes = [shape for shape in frame.ordered if shape in term]
        options = [
            counts.options(
                boolean.all_of(_item(shape, index) for shape in shapes), self._counting(index), frame.states.satisfiable
            )
            for index in range(prefix + 1)
        ]
        ended, tables = counts.ended(), [counts.repeated(options[-1])]
        for index in reversed(range(prefix)):
            tables.append(counts.followed(options[index], tables[-1], ended))
        self._tables = tables[::-1]

    def _counting(self, index: int) -> list[int]:
        """The counts that the item at `index` matters for."""
        return [number for number, start in enumerate(self._starts) if index >= start]

    def fit_for_distinct(self, frame: ArrayFrame, term: Term) -> bool:
        """Whether the counts can be met by different items wherever they can be met at all.

        Where each count asks for one item, that one is new: an earlier item like it would have met the count. Then it only
        matters that the indices before it have enough values. Else all that is counted, and all that is not, must have
        values without end.
        """
        prefix = max(len(shape.prefix) for shape in term)
        one_each = all(count.least <= 1 and count.most is None for count in self._counts.counts)
        for index in range(prefix + (not one_each)):
            parts = [frame.item(term, index)]
            if not one_each:
                for number in self._counting(index):
                    child = self._counts.counts[number].child
                    parts = [boolean.all_of((part, side)) for part in parts for side in (child, boolean.negate(child))]
                if not all(has_endless(frame.states, part) for part in parts if frame.states.satisfiable(part)):
                    return False
            elif not has_more(frame.states, parts[0], index):
                return False
        return True

    def fit_for_repeats(self, frame: ArrayFrame, term: Term) -> bool:
        """Whether two equal items can be added to whatever meets the counts: ones that no count has too many of."""
        prefix = max(len(shape.prefix) for shape in term)
        limited = [boolean.negate(count.child) for count in self._counts.counts if count.most is not None]
        spare = boolean.all_of((frame.item(term, prefix), *limited))
        return frame.longest(term) is None and frame.states.satisfiable(spare)

    def part(self, tally: Tally) -> Tally:
        """The term's part of a tally of the frame."""
        return tuple(tally[place] for place in self.places)

    def viable(self, count: int, tally: Tally, longest: int | None) -> bool:
        """Whether an array with `count` items can be completed to one of at most `longest`."""
        lengths = self._tables[min(count, len(self._tables) - 1)][tally]
        return lengths.meet(self._shortest - count, None if longest is None else longest - count)

    def demand(self, index: int, tally: Tally, longest: int | None) -> Bool:
        """What the counts demand of the item at `index`."""
        return self._counts.demand(tally, self._counting(index), lambda after: self.viable(index + 1, after, longest))

    def cuts(self, longest: int | None) -> set[int]:
        """The numbers of items beyond the prefixes at which `viable` or `demand` changes: near the bounds."""
        reach = max(lengths.reach for lengths in self._tables[-1].values())
        found = set(range(max(self._shortest - reach - 1, 0), self._shortest + 1))
        if longest is not None:
            found.update(range(max(longest - reach - 1, 0), longest + 2))
        return found


class _ArrayState(Private):
    """Owner of one state of an array frame (see ArrayFrame._state)."""

    __slots__ = ("cut", "frame", "kind", "standing")

    def __init__(self, frame: ArrayFrame, kind: str, cut: int, standing: Standing) -> None:
        self.frame, self.kind, self.cut, self.standing = frame, kind, cut, standing

    def place(self) -> str | None:
        return self.frame.place

    def lower(self, index: int, state: int) -> None:
        frame, cut, standing = self.frame, self.cut, self.standing
        lowering, automaton = frame.states.lowering, frame.states.automaton
        bounded = cut + 1 < len(frame.cuts)
        width = frame.cuts[cut + 1] - frame.cuts[cut] if bounded else 0
        asked = frame.ask(cut, standing)
        closing = frame.closing(cut, standing)
        if closing:
            automaton.require(b"]")
        call = 0
        if asked is not None:
            entry, labels = frame.states.entry(asked.goal, lowering.deeper(frame.depth))
            if asked.questions:
                block = frame.states.allocate(labels.capacity, _AfterItem(frame, cut, standing, asked, labels))
            else:
                block = frame.item_end(cut, standing.after(asked.certain, frame.counts))
            call = automaton.tables.add_call(entry, block, False)
        op, argument = L.OP_NONE, 0
        if self.kind == "again" and bounded:
            # With a width of one the next item has already reached the next cut: item_end goes there directly.
            op, argument = L.OP_COUNT, frame._state("after", cut + 1, standing)
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

    __slots__ = ("asked", "cut", "frame", "labels", "standing")

    def __init__(self, frame: ArrayFrame, cut: int, standing: Standing, asked: Asked, labels: Labels) -> None:
        self.frame, self.cut, self.standing, self.asked, self.labels = frame, cut, standing, asked, labels

    def place(self) -> str | None:
        return self.frame.place

    def lower(self, index: int, state: int) -> None:
        frame, automaton = self.frame, self.frame.states.automaton
        holding = self.asked.holding(self.labels.outcomes[index])
        target = frame.item_end(self.cut, self.standing.after(holding, frame.counts))
        automaton.lower(target)
        automaton.tables.set_alias(state, target)


def _is_unique(shapes: Iterable[Any]) -> bool:
    return any(shape.unique for shape in shapes)


def _is_repeating(shapes: Iterable[Any]) -> bool:
    return any(shape.repeating for shape in shapes)


def _question(shape: ArrayShape, index: int) -> Bool:
    """What a shape asks of the item number `index`."""
    if shape.max_items is not None and index >= shape.max_items:
        return boolean.FALSE
    return _item(shape, index)


def _item(shape: ArrayShape, index: int) -> Bool:
    """As `_question`, but for the bound on the number of items."""
    return shape.prefix[index] if index < len(shape.prefix) else shape.rest
