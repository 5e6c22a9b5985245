"""States of objects.

What matters of an object so far is its *progress* (with `property_order="schema"` how far down the list of named keys it
is; with "any" which of them are done), the number of members where a bound asks for it, which shapes are alive, and how
far their counts are met. Keys fall into named ones and classes of other keys, told apart by the patterns and name
languages that match them.

A key is a frame of its own, called by its opening quote: its result code is the class or the name of the key. The states
after keys are allocated as one block, and lowered key by key when one is first written.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from maskwright.compile.automaton import Edge, Private
from maskwright.compile.counts import Counts, Hits, Standing, Table, Tally, is_open
from maskwright.compile.goals import Asked, Goal, Labels, Term, ask
from maskwright.compile.keys import KeyClass, KeyClasses, is_counted, question_of
from maskwright.grammars import boolean
from maskwright.grammars.boolean import Bool
from maskwright.grammars.ir import ObjectShape

if TYPE_CHECKING:
    from maskwright.compile.values import GrammarStates

__all__ = ["ObjectFrame", "Progress"]

_NOTHING: frozenset[int] = frozenset()


class Progress(NamedTuple):
    """How far an object is.

    Attributes:
        position: named keys before it in schema order can no longer come ("schema"); 0 with "any".
        done: numbers of the named keys written ("any"); empty with "schema".
        members: how many there are so far, no further than the largest bound.
        standing: of the shapes so far.
    """

    position: int
    done: frozenset[int]
    members: int
    standing: Standing


class ObjectFrame:
    """Objects that satisfy `must`, a positive expression over ObjectShape, and report on `observed` as they close."""

    def __init__(
        self, states: GrammarStates, must: Bool, observed: tuple[Bool, ...], labels: Labels, depth: int
    ) -> None:
        self.states, self.observed, self.labels, self.depth = states, observed, labels, depth
        self.terms = states.terms(must)
        shapes = dict.fromkeys(shape for formula in (must, *observed) for shape in boolean.leaves(formula))
        self.shapes = frozenset(shapes)
        self.ordered = tuple(shapes)
        """The shapes in the order of the schema; sets of them have none."""
        self.any_order = states.lowering.options.property_order == "any"
        names: dict[str, None] = {}
        for shape in shapes:
            names.update(dict.fromkeys(key for key, _ in shape.properties))
            names.update(dict.fromkeys(shape.required))
        self.names = list(names)
        self.number = {key: number for number, key in enumerate(self.names)}
        self.classes = KeyClasses(tuple(shapes), self.names)
        self.required = {
            shape: frozenset(self.number[key] for key in shape.required) if shape.required else _NOTHING
            for shape in shapes
        }
        self.bounded = any(shape.max_properties is not None or shape.min_properties for shape in shapes)
        self.largest_bound = max((max(s.min_properties, s.max_properties or 0) for s in shapes), default=0)
        self.counts = {shape: shape.counted for shape in shapes if shape.counted is not None}
        """What the counting shapes count; in the order of a tally."""
        self._properties = {shape: dict(shape.properties) for shape in shapes}
        self._questions: dict[tuple[ObjectShape, int | KeyClass], Bool] = {}
        self._possible: dict[tuple[Term, int | KeyClass], bool] = {}
        self._viable: dict[tuple[Term, int, frozenset[int], int, Tally], bool] = {}
        self._needs: dict[Term, _Needs] = {}
        self._members: dict[Progress, int] = {}
        self._keys: dict[Progress, int] = {}
        self._blocks: dict[Progress, int] = {}

    # What can still come

    def question(self, shape: ObjectShape, key: int | KeyClass) -> Bool:
        """What a shape asks of the value of a key."""
        found = self._questions.get((shape, key))
        if found is None:
            if isinstance(key, int):
                found = question_of(shape, self._properties[shape], self.names[key])
            else:
                found = key.questions[shape]
            self._questions[shape, key] = found
        return found

    def _key_possible(self, term: Term, key: int | KeyClass) -> bool:
        """Whether the key can have a value that every shape of the term takes."""
        found = self._possible.get((term, key))
        if found is None:
            found = self.states.satisfiable(boolean.all_of(self.question(shape, key) for shape in term))
            if self.states.settled:
                self._possible[term, key] = found
        return found

    def asked(self, term: Term, key: int | KeyClass) -> Bool:
        """What a term asks of the value of a key."""
        return boolean.all_of(self.question(shape, key) for shape in self.ordered if shape in term)

    def is_possible(self, term: Term, key: int | KeyClass) -> bool:
        """Whether the key can have a value that every shape of the term takes."""
        return self._key_possible(term, key)

    def start_terms(self) -> list[Term]:
        """The terms that some object satisfies."""
        return self.viable(self._start)

    def is_counted(self, shape: ObjectShape, key: int | KeyClass) -> bool:
        """Whether a counting shape looks at the value of a key."""
        if isinstance(key, int):
            return is_counted(shape, self._properties[shape], self.names[key])
        return key.is_counted(shape)

    def _needs_of(self, term: Term) -> _Needs | None:
        """What the counts of a term need; None where it counts nothing."""
        if self.counts.keys().isdisjoint(term):
            return None
        return self.states.kept(self._needs, term, lambda: _Needs(self, term))

    def _term_viable(self, term: Term, progress: Progress, tally: Tally | None = None) -> bool:
        """Whether some way to go on completes an object of the term.

        Args:
            tally: the term's part of the tally, if it is not that of `progress`.
        """
        needs = self._needs_of(term) if self.counts else None
        if needs is not None and tally is None:
            tally = needs.part(progress.standing.tally)
        key = (term, progress.position, progress.done, progress.members, tally or ())
        found = self._viable.get(key)
        if found is None:
            found = self._find_viable(term, progress, needs, tally or ())
            if self.states.settled:
                self._viable[key] = found
        return found

    def _find_viable(self, term: Term, progress: Progress, needs: _Needs | None, tally: Tally) -> bool:
        open_ = [n for n in range(progress.position, len(self.names)) if n not in progress.done]
        required = {number for shape in term for number in self.required[shape]}
        needed = [number for number in open_ if number in required]
        highest = min((s.max_properties for s in term if s.max_properties is not None), default=None)
        lowest = max((shape.min_properties for shape in term), default=0)
        if highest is not None and lowest > highest:
            return False
        if needs is not None:
            return needs.viable(progress.members, open_, needed, tally, lowest, highest)
        if not all(self._key_possible(term, number) for number in needed):
            return False
        least = progress.members + len(needed)
        if highest is not None and least > highest:
            return False
        if least >= lowest or any(self._key_possible(term, other) for other in self.classes.others):
            return True
        for number in open_:
            if number not in required and self._key_possible(term, number):
                least += 1
                if least >= lowest:
                    return True
        return False

    def viable(self, progress: Progress) -> list[Term]:
        """The terms that can still hold."""
        return [term for term in self.terms if term <= progress.standing.alive and self._term_viable(term, progress)]

    @property
    def _start(self) -> Progress:
        return Progress(0, _NOTHING, 0, Standing(self.shapes, (0,) * len(self.counts)))

    def possible(self) -> bool:
        """Whether any object satisfies the frame."""
        return bool(self.start_terms())

    def after(self, progress: Progress, key: int | KeyClass) -> Progress:
        """The progress after a member, as far as the key decides it (shapes that its value kills are still alive)."""
        members = min(progress.members + 1, self.largest_bound)
        if self.any_order:
            done = progress.done | {key} if isinstance(key, int) else progress.done
            return Progress(0, done, members, progress.standing)
        position = key + 1 if isinstance(key, int) else len(self.names)
        skipped = range(progress.position, position if not isinstance(key, int) else key)
        standing = progress.standing
        if skipped:
            alive = (s for s in standing.alive if not any(number in skipped for number in self.required[s]))
            standing = standing._replace(alive=frozenset(alive))
        return Progress(position, _NOTHING, members, standing)

    def ask(self, progress: Progress, key: int | KeyClass) -> Asked | None:
        """What the value of a key must be for the object to go on; None when the key cannot come now."""
        if self._simple is not None:
            demand = boolean.all_of(self.question(shape, key) for shape in self.ordered if shape in self._simple)
            return Asked(Goal(demand), self._simple, ())
        after = self.after(progress, key)
        alive, tally = after.standing
        full = {s for s in alive if s.max_properties is not None and progress.members >= s.max_properties}
        asked = {
            shape: boolean.FALSE if shape in full else self.question(shape, key)
            for shape in self.ordered
            if shape in alive
        }
        demands = dict[Term, Bool]()
        for term in self.terms:
            if term <= alive and full.isdisjoint(term):
                demand = self._demand(term, after, key)
                if demand is not boolean.FALSE:
                    parts = [question for shape, question in asked.items() if shape in term]
                    demands[term] = boolean.all_of([*parts, demand])
        if not demands:
            return None
        counted = {
            place: count.child
            for place, (shape, count) in enumerate(self.counts.items())
            if shape in alive and is_open(count, tally[place]) and self.is_counted(shape, key)
        }
        return ask(demands, {**asked, **counted}, self.states.satisfiable)

    def _demand(self, term: Term, after: Progress, key: int | KeyClass) -> Bool:
        """What the value of a key must be for the rest of the object to be possible, beside what the shapes ask of it."""
        needs = self._needs_of(term) if self.counts else None
        if needs is not None:
            return needs.demand(key, after, lambda tally: self._term_viable(term, after, tally))
        return boolean.TRUE if self._term_viable(term, after) else boolean.FALSE

    def keys(self, progress: Progress) -> Iterator[int | KeyClass]:
        """The keys and classes of keys that may come next."""
        if self._simple is not None:
            start = bisect_left(self._open_keys, progress.position)
            needed = bisect_left(self._needed, progress.position)
            if needed < len(self._needed):
                yield from self._open_keys[start : bisect_right(self._open_keys, self._needed[needed])]
                return
            yield from self._open_keys[start:]
            yield from self._open_classes
            return
        for number in range(progress.position, len(self.names)):
            if number not in progress.done and self.ask(progress, number) is not None:
                yield number
        for other in self.classes.others:
            if self.ask(progress, other) is not None:
                yield other

    @cached_property
    def _simple(self) -> Term | None:
        """The only term, where nothing but the order of keys and the required ones decides which may come."""
        if len(self.terms) != 1 or self.observed or self.bounded or self.counts or self.any_order:
            return None
        return self.terms[0]

    @cached_property
    def _needed(self) -> list[int]:
        """Numbers of the keys that the only term requires, ascending."""
        return sorted({number for shape in self._simple or () for number in self.required[shape]})

    @cached_property
    def _open_keys(self) -> list[int]:
        """Numbers of the keys that the only term lets have a value, ascending."""
        assert self._simple is not None
        return [number for number in range(len(self.names)) if self._key_possible(self._simple, number)]

    @cached_property
    def _open_classes(self) -> list[KeyClass]:
        """Classes of other keys that the only term lets have a value."""
        assert self._simple is not None
        return [other for other in self.classes.others if self._key_possible(self._simple, other)]

    # States

    def opened(self) -> int:
        """The state after `{`."""
        return self.states.automaton.allocate(1, _Opened(self, self._start))

    def having(self, progress: Progress, holding: frozenset[Any]) -> Progress:
        """`progress` after a member of which the subjects `holding` hold (see goals.Asked)."""
        return progress._replace(standing=progress.standing.after(holding, self.counts))

    def member_end(self, progress: Progress) -> int:
        """The state after a member."""
        if self._simple is None:
            progress = progress._replace(standing=self._relevant(progress))
        found = self._members.get(progress)
        if found is None:
            found = self._members[progress] = self.states.automaton.allocate(1, _MemberEnd(self, progress))
        return found

    def _relevant(self, progress: Progress) -> Standing:
        """The living shapes that can still make a difference."""
        keep = {shape for term in self.viable(progress) for shape in term}
        for formula in self.observed:
            keep.update(progress.standing.alive.intersection(boolean.leaves(formula)))
        return progress.standing.only(frozenset(keep), self.counts)

    def key_call(self, progress: Progress) -> int:
        """The transition of a key's opening quote; 0 when no key may come."""
        numbers, others = [], []
        for key in self.keys(progress):
            if isinstance(key, int):
                numbers.append(key)
            else:
                others.append(key)
        if not numbers and not others:
            return 0
        automaton = self.states.automaton
        # Where the one term decides, what follows a key does not depend on how far the object was before it.
        origin = progress._replace(position=0) if self._simple is not None else progress
        block = self._blocks.get(origin)
        if block is None:
            block = automaton.allocate(len(self.classes.others) + len(self.names), _AfterKey(self, origin))
            self._blocks[origin] = block
        return automaton.tables.add_call(self.classes.start(self.states, numbers, others), block, True)

    def closing(self, progress: Progress) -> list[Edge]:
        """`}`, where the object may close."""
        if self._simple is not None:
            if self._needed and self._needed[-1] >= progress.position:
                return []
            return [(0x7D, 0x7D, self.states.automaton.end(0))]
        done = {shape for shape in progress.standing.alive if self._holds(shape, progress)}
        for number, (shape, counted) in zip(progress.standing.tally, self.counts.items(), strict=True):
            if number < counted.least:
                done.discard(shape)
        if not any(term <= done for term in self.terms):
            return []
        outcome = tuple(boolean.evaluate(formula, done.__contains__) for formula in self.observed)
        return [(0x7D, 0x7D, self.states.automaton.end(self.labels.number(outcome)))]

    def _holds(self, shape: ObjectShape, progress: Progress) -> bool:
        """Whether a living shape holds of the object as it is, but for what it counts."""
        missing = self.required[shape] - progress.done
        if not self.any_order:
            missing = frozenset(number for number in missing if number >= progress.position)
        return not missing and shape.min_properties <= progress.members


class _Needs:
    """What the counts of one term still need, in members.

    Attributes:
        places: those of the term's counting shapes in a tally of the frame.
    """

    def __init__(self, frame: ObjectFrame, term: Term) -> None:
        self._frame = frame
        counting = [(place, shape) for place, shape in enumerate(frame.counts) if shape in term]
        self.places = tuple(place for place, _ in counting)
        self._shapes = [shape for _, shape in counting]
        self._term = [shape for shape in frame.ordered if shape in term]
        self._counts = Counts([frame.counts[shape] for shape in self._shapes])
        numbers = range(len(frame.names))
        self._options = {number: self._options_of(number) for number in numbers if self._counting(number)}
        """What a member can satisfy at once, for the named keys whose members may be counted."""
        self._free = frozenset(n for n in numbers if n not in self._options and frame._key_possible(term, n))
        """The other named keys that may have a value at all."""
        others = set[Hits]().union(*(self._options_of(other) for other in frame.classes.others))
        self._tables: dict[tuple[tuple[int, bool], ...], Table] = {(): self._counts.repeated(others)}

    def _counting(self, key: int | KeyClass) -> list[int]:
        """The counts that the value of a key matters for."""
        return [number for number, shape in enumerate(self._shapes) if self._frame.is_counted(shape, key)]

    def _options_of(self, key: int | KeyClass) -> set[Hits]:
        question = boolean.all_of(self._frame.question(shape, key) for shape in self._term)
        return self._counts.options(question, self._counting(key), self._frame.states.satisfiable)

    def part(self, tally: Tally) -> Tally:
        """The term's part of a tally of the frame."""
        return tuple(tally[place] for place in self.places)

    def viable(
        self, members: int, open_: list[int], needed: list[int], tally: Tally, lowest: int, highest: int | None
    ) -> bool:
        """Whether an object with some members can be completed.

        Args:
            members: how many there are.
            open_: the named keys that may still come; `needed`: those of them that must.
            tally: the term's part.
            lowest, highest: bounds on the number of members.
        """
        certain = sum(number not in self._options for number in needed)
        if certain != sum(number in self._free for number in needed):
            return False
        perhaps = sum(number in self._free for number in open_) - certain
        table = self._table(tuple((number, number in needed) for number in open_ if number in self._options))
        members += certain
        return table[tally].meet(lowest - members - perhaps, None if highest is None else highest - members)

    def _table(self, keys: tuple[tuple[int, bool], ...]) -> Table:
        """The lengths where some named keys may still come (True: must), and then other keys."""
        known = next(at for at in range(len(keys) + 1) if keys[at:] in self._tables)
        for at in reversed(range(known)):
            number, needed = keys[at]
            rest = self._tables[keys[at + 1 :]]
            self._tables[keys[at:]] = self._counts.followed(self._options[number], rest, None if needed else rest)
        return self._tables[keys]

    def demand(self, key: int | KeyClass, after: Progress, goes_on: Callable[[Tally], bool]) -> Bool:
        """What the counts demand of the value of a key, where `after` is the progress as far as the key decides it."""
        return self._counts.demand(self.part(after.standing.tally), self._counting(key), goes_on)


class _Opened(Private):
    """Owner of the state after `{`."""

    __slots__ = ("frame", "progress")

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


class _AfterKey(Private):
    """Owner of the states after a key: first the classes of other keys, then the named keys."""

    __slots__ = ("frame", "origin")

    def __init__(self, frame: ObjectFrame, origin: Progress) -> None:
        self.frame, self.origin = frame, origin

    def lower(self, index: int, state: int) -> None:
        frame, lowering, automaton = self.frame, self.frame.states.lowering, self.frame.states.automaton
        others = frame.classes.others
        key = others[index] if index < len(others) else index - len(others)
        origin = self.origin
        if frame._simple is not None and isinstance(key, int):
            origin = origin._replace(position=key)
        elif frame._simple is not None:
            origin = origin._replace(position=len(frame.names))
        asked = frame.ask(origin, key)
        assert asked is not None, "a key that cannot come was written"
        entry, labels = frame.states.entry(asked.goal, lowering.deeper(frame.depth))
        after = frame.after(origin, key)
        if asked.questions:
            block = automaton.allocate(labels.capacity, _AfterMember(frame, after, asked, labels))
        else:
            block = frame.member_end(frame.having(after, asked.certain))
        call = automaton.tables.add_call(entry, block, False)
        lowering.place(state, [lowering.separated(":", [], default=call)])


class _AfterMember(Private):
    """Owner of the states after a member's value, one a label of the value."""

    __slots__ = ("asked", "frame", "labels", "progress")

    def __init__(self, frame: ObjectFrame, progress: Progress, asked: Asked, labels: Labels) -> None:
        self.frame, self.progress, self.asked, self.labels = frame, progress, asked, labels

    def lower(self, index: int, state: int) -> None:
        frame, automaton = self.frame, self.frame.states.automaton
        target = frame.member_end(frame.having(self.progress, self.asked.holding(self.labels.outcomes[index])))
        automaton.lower(target)
        automaton.tables.set_alias(state, target)
