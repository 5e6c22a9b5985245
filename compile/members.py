"""Which members an object can still have, and what their values must be.

What matters of an object so far is its *progress*: which named keys may still come (compile/order.py), the number of
members where a bound asks for it, which shapes are alive, and how far their counts are met. Keys fall into named ones and
classes of other keys, told apart by the patterns and name languages that match them.

A key may come where some choice of living shapes (compile/choices.py) can still hold after it, and its value must be what
one of these choices asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from maskwright.compile.choices import Choices, Column
from maskwright.compile.counts import Standing, Tally, is_open
from maskwright.compile.goals import Asked, Goal, asked
from maskwright.compile.keys import KeyClass, KeyClasses, OtherKeys, is_counted, question_of
from maskwright.compile.needs import Needs
from maskwright.compile.number_masks import Subsets, bits, mask_of
from maskwright.compile.order import KeyOrder
from maskwright.grammars import boolean, regular
from maskwright.grammars.boolean import Bool
from maskwright.grammars.ir import ObjectShape

if TYPE_CHECKING:
    from maskwright.compile.values import GrammarStates

__all__ = ["Members", "Progress"]


class Progress(NamedTuple):
    """How far an object is.

    Attributes:
        open: the named keys that may still come, as far as their order decides, bit n for number n.
        members: how many there are so far, no further than the largest bound.
        standing: of the shapes so far.
    """

    open: int
    members: int
    standing: Standing


class Members:
    """The members of objects that satisfy `must`, a positive expression over ObjectShape, while `observed` are watched.

    Attributes:
        ordered: the shapes in the order of the schema; a set of them is an integer, bit i for number i.
        names: the named keys, in the order of the schema; a set of them is an integer, too.
        classes: of the other keys.
        counts: what the counting shapes count; in the order of a tally.
        all_keys: the set of the named ones.
        order: in which the named keys come.
    """

    def __init__(self, states: GrammarStates, must: Bool, observed: tuple[Bool, ...]) -> None:
        self.states, self.must, self.observed = states, must, observed
        shapes = dict.fromkeys(shape for formula in (must, *observed) for shape in boolean.leaves(formula))
        self.ordered = tuple(shapes)
        names: dict[str, None] = {}
        for shape in shapes:
            names.update(dict.fromkeys([key for key, _ in shape.properties]))
            names.update(dict.fromkeys(shape.required))
        self.classes = KeyClasses(self.ordered, tuple(names))
        self.names = self.classes.names
        self.all_keys = (1 << len(self.names)) - 1
        self.counts = {shape: shape.counted for shape in shapes if shape.counted is not None}
        self._number_of = {key: number for number, key in enumerate(self.names)}
        self._bounded = any(shape.max_properties is not None or shape.min_properties for shape in shapes)
        self._required = [mask_of(self._number_of[key] for key in shape.required) for shape in shapes]
        self._properties = [dict(shape.properties) for shape in shapes]
        in_order = states.lowering.options.property_order == "schema"
        self.order = KeyOrder(shapes if in_order else (), self._number_of, len(names))
        self._columns: dict[int | KeyClass, Column] = {}
        self._completable: dict[tuple[int, int, int, Tally], bool] = {}
        self._needs: dict[int, Needs] = {}

    # Where one choice is all there is, these are never asked for.

    @cached_property
    def numbers(self) -> dict[ObjectShape, int]:
        """The shapes' numbers."""
        return {shape: number for number, shape in enumerate(self.ordered)}

    @cached_property
    def start(self) -> Progress:
        """The progress of an object without members."""
        return Progress(self.all_keys, 0, Standing(frozenset(self.ordered), (0,) * len(self.counts)))

    @cached_property
    def _largest_bound(self) -> int:
        return max((max(s.min_properties, s.max_properties or 0) for s in self.ordered), default=0)

    @cached_property
    def _choices(self) -> Choices:
        return Choices(self.must, self.numbers)

    @cached_property
    def _requiring(self) -> int:
        return self._those(lambda shape: bool(shape.required))

    @cached_property
    def _limiting(self) -> int:
        return self._requiring | self._those(lambda shape: shape.max_properties is not None)

    @cached_property
    def _counting(self) -> int:
        return self._those(lambda shape: shape.counted is not None)

    @cached_property
    def _watched(self) -> int:
        watched = {shape for formula in self.observed for shape in boolean.leaves(formula)}
        return self._those(watched.__contains__)

    @cached_property
    def is_endless(self) -> bool:
        """Whether an open object certainly can take on other keys, as many as one likes and with any values."""
        alphabet = self.states.automaton.plans(self.states.lowering.spelling).alphabet
        if alphabet is not None or self.counts or any(shape.max_properties is not None for shape in self.ordered):
            return False
        return any(
            other.language.span[1] is None and all(question.kind == "true" for question in other.questions.values())
            for other in self.classes.others
        )

    def _those(self, such: Callable[[ObjectShape], bool]) -> int:
        """The set of shapes that are such."""
        return mask_of(number for number, shape in enumerate(self.ordered) if such(shape))

    # What can still come

    def column(self, key: int | KeyClass) -> Column:
        """What the shapes ask of the value of a key."""
        found = self._columns.get(key)
        if found is None:
            found = self._columns[key] = Column(self._questions(key), self.states.judge)
        return found

    def _questions(self, key: int | KeyClass) -> list[Bool]:
        """What each shape asks of the value of a key."""
        if not isinstance(key, int):
            return [key.questions[shape] for shape in self.ordered]
        name = self.names[key]
        return [question_of(s, named, name) for s, named in zip(self.ordered, self._properties, strict=True)]

    def is_counted(self, shape: ObjectShape, key: int | KeyClass) -> bool:
        """Whether a counting shape looks at the value of a key."""
        if isinstance(key, int):
            return is_counted(shape, self._properties[self.numbers[shape]], self.names[key])
        return key.is_counted(shape)

    def _alive(self, progress: Progress) -> int:
        return mask_of(self.numbers[shape] for shape in progress.standing.alive)

    def required(self, choice: int) -> int:
        """The named keys that the shapes of a choice require."""
        found = 0
        for number in bits(choice & self._requiring):
            found |= self._required[number]
        return found

    def _ways(
        self, progress: Progress, alive: int, next_: Column | None = None, wanted: Callable[[int], bool] | None = None
    ) -> Iterator[int]:
        """Choices of living shapes for which some object begins with `progress`, but for bounds and counts.

        Args:
            next_: of a key whose value comes now, after which the object is in `progress`: it must be possible as well.
            wanted: whether a choice is of interest, as far as it is made.
        """
        open_ = progress.open

        def fits(choice: int, number: int) -> bool:
            if wanted is not None and not wanted(choice):
                return False
            if next_ is not None and next_.asking >> number & 1 and not next_.possible(choice):
                return False
            for key in bits(self.required(choice) & open_):
                column = self.column(key)
                if (self._required[number] >> key | column.asking >> number) & 1 and not column.possible(choice):
                    return False
            return True

        return self._choices.find(alive, fits, 0 if next_ is None else next_.asking)

    def _can_complete(self, choice: int, progress: Progress, tally: Tally | None = None) -> bool:
        """Whether the bounds and counts of a choice can be met, where each key that it requires is possible.

        Args:
            tally: the choice's part of the tally, if it is not that of `progress`.
        """
        if not self._bounded and not self.counts:
            return True
        needs = self._needs_of(choice)
        if needs is not None and tally is None:
            tally = needs.part(progress.standing.tally)
        key = (choice, progress.open, progress.members, tally or ())
        found = self._completable.get(key)
        if found is None:
            found = self._find_completable(choice, progress, needs, tally or ())
            if self.states.settled:
                self._completable[key] = found
        return found

    def _find_completable(self, choice: int, progress: Progress, needs: Needs | None, tally: Tally) -> bool:
        open_, needed = progress.open, self.required(choice) & progress.open
        shapes = self.chosen(choice)
        highest = min((s.max_properties for s in shapes if s.max_properties is not None), default=None)
        lowest = max((shape.min_properties for shape in shapes), default=0)
        if highest is not None and lowest > highest:
            return False
        if needs is not None:
            return needs.viable(progress.members, [*bits(open_)], [*bits(needed)], tally, lowest, highest)
        least = progress.members + needed.bit_count()
        if highest is not None and least > highest:
            return False
        if least >= lowest or any(self.column(other).possible(choice) for other in self.classes.others):
            return True
        for key in bits(open_ & ~needed):
            if self.column(key).possible(choice):
                least += 1
                if least >= lowest:
                    return True
        return False

    def _needs_of(self, choice: int) -> Needs | None:
        """What the counts of a choice need; None where it counts nothing."""
        if not choice & self._counting:
            return None
        return self.states.kept(self._needs, choice, lambda: Needs(self, choice))

    def possible(self) -> bool:
        """Whether any object satisfies the frame."""
        if self.only_choice is not None:
            return all(self._has_value(key) for key in bits(self.needed_keys))
        return next(self.choices(), None) is not None

    def choices(self) -> Iterator[int]:
        """Choices of shapes that some object satisfies, among them every smallest one."""
        ways = self._ways(self.start, self._alive(self.start))
        return (choice for choice in ways if self._can_complete(choice, self.start))

    def chosen(self, choice: int) -> list[ObjectShape]:
        """The shapes of a choice."""
        return [self.ordered[number] for number in bits(choice)]

    # The next member

    def after(self, progress: Progress, key: int | KeyClass) -> Progress:
        """The progress after a member, as far as the key decides it (shapes that die of it are still alive)."""
        members = min(progress.members + 1, self._largest_bound)
        return Progress(self.open_after(progress.open, key), members, progress.standing)

    def _surviving(self, alive: int, progress: Progress, key: int | KeyClass) -> int:
        """The living shapes that let a key come now, as far as the order of keys and the number of members decide."""
        skipped = progress.open & self.order.before(key)
        for number in bits(alive & self._limiting):
            most = self.ordered[number].max_properties
            if self._required[number] & skipped or (most is not None and progress.members >= most):
                alive ^= 1 << number
        return alive

    def ask(self, progress: Progress, key: int | KeyClass) -> Asked | None:
        """What the value of a key must be for the object to go on; None when the key cannot come now."""
        if self.only_choice is not None:
            return Asked(self.goal(key), frozenset(self.ordered), ())
        column = self.column(key)
        after, alive = self.after(progress, key), self._surviving(self._alive(progress), progress, key)
        demands = self._demands(after, alive, key)
        if not demands:
            return None
        must = boolean.any_of(demand for _, demand in demands)
        common = demands[0][0]
        for asked_, _ in demands:
            common &= asked_
        facts = {column.questions[number] for number in bits(common)}
        facts.update((must, *must.args) if must.kind == "and" else (must,))
        idle = self._idle(after, alive & ~column.asking)
        open_ = self._choices.relevant(alive, idle) | self._watched
        named = boolean.asserted(must)
        certain, subjects = set[Any](), dict[Any, Bool]()
        for number in bits(alive):
            question = column.of[number]
            if open_ >> number & 1 or not boolean.asserted(question) <= named:
                subjects[self.ordered[number]] = question
            else:  # whatever comes of it makes no difference; it may only have named members of the value
                certain.add(self.ordered[number])
        for place, (shape, count) in enumerate(self.counts.items()):
            if shape in subjects and is_open(count, progress.standing.tally[place]) and self.is_counted(shape, key):
                subjects[place] = count.child
        return asked(must, facts, subjects, certain)

    def _demands(self, after: Progress, alive: int, key: int | KeyClass) -> list[tuple[int, Bool]]:
        """What the value of a key may have to be, and the questions in it; nothing that asks for more than another."""
        column, enough = self.column(key), Subsets()
        found: list[tuple[int, bool, Bool]] = []

        def asks_no_more(choice: int) -> bool:
            return not any(True for _ in enough.within(column.asked(choice)))

        for choice, counted in self._goings_on(after, alive, key, asks_no_more):
            asked_ = column.asked(choice)
            if counted is boolean.TRUE:
                enough.add(asked_)
            found.append((asked_, counted is boolean.TRUE, boolean.all_of((column.demand(asked_), counted))))
        found.sort(key=lambda one: [*bits(one[0])])
        return [
            (asked_, demand)
            for asked_, plain, demand in found
            if all(plain and least == asked_ for least in enough.within(asked_))
        ]

    def _goings_on(
        self, after: Progress, alive: int, key: int | KeyClass, wanted: Callable[[int], bool] | None = None
    ) -> Iterator[tuple[int, Bool]]:
        """Choices with which the object can go on after the value of a key, and what counts demand of it (else TRUE)."""
        column = self.column(key)
        for choice in self._ways(after, alive, column, wanted):
            demand = self._demand(choice, after, key)
            if demand is boolean.TRUE or self.states.satisfiable(
                boolean.all_of((column.demand(column.asked(choice)), demand))
            ):
                yield choice, demand

    def _demand(self, choice: int, after: Progress, key: int | KeyClass) -> Bool:
        """What bounds and counts of a choice demand of the value of a key."""
        needs = self._needs_of(choice) if self.counts else None
        if needs is None:
            return boolean.TRUE if self._can_complete(choice, after) else boolean.FALSE
        part = needs.part(after.standing.tally)
        return needs.demand(key, part, lambda tally: self._can_complete(choice, after, tally))

    def _idle(self, progress: Progress, alive: int) -> int:
        """The living shapes that hold whatever comes now."""
        open_, found = progress.open, 0
        for number in bits(alive):
            shape = self.ordered[number]
            free = shape.max_properties is None and shape.counted is None and shape.min_properties <= progress.members
            if free and not (self._required[number] | self._asks[number]) & (open_ | 1 << len(self.names)):
                found |= 1 << number
        return found

    @cached_property
    def _asks(self) -> list[int]:
        """The named keys of whose values a shape asks something, by shape; all numbers where it asks something of others."""
        found = []
        for shape in self.ordered:
            free = shape.additional.kind == "true" and not shape.patterns and shape.names == regular.ANY_STRING
            asked_ = (self._number_of[key] for key, question in shape.properties if question.kind != "true")
            found.append(mask_of(asked_) if free else -1)
        return found

    def keys(self, progress: Progress) -> Iterator[int | KeyClass]:
        """The keys and classes of keys that may come next."""
        if self.only_choice is not None:
            yield from self.next_keys(progress.open)
            return
        living, known = self._alive(progress), None
        candidates: list[int | KeyClass] = [*bits(progress.open), *self.classes.others]
        for key in candidates:
            after, alive = self.after(progress, key), self._surviving(living, progress, key)
            if known is None or not self._goes_on_with(known, after, alive, self.column(key)):
                known = next((choice for choice, _ in self._goings_on(after, alive, key)), None)
                if known is None:
                    continue
            yield key

    def _goes_on_with(self, choice: int, after: Progress, alive: int, column: Column) -> bool:
        """Whether a choice is one of `_goings_on`, in a frame without counts."""
        needed = self.required(choice) & after.open
        return (
            not self.counts
            and not choice & ~alive
            and column.possible(choice)
            and all(self.column(key).possible(choice) for key in bits(needed))
            and self._can_complete(choice, after)
        )

    # Where one choice is all there is

    @cached_property
    def only_choice(self) -> int | None:
        """The only choice, where nothing but the order of keys and the required ones decides which may come."""
        if self.observed or self._bounded or self.counts:
            return None
        if self.must.kind != "or" and all(part.kind == "leaf" for part in self.must.args):
            return (1 << len(self.ordered)) - 1
        return None

    @cached_property
    def forgetful(self) -> bool:
        """Whether what follows a key does not depend on the members before it."""
        return self.only_choice is not None and self.order.total and not self.open_classes

    @cached_property
    def needed_keys(self) -> int:
        """The keys that the only choice requires."""
        found = 0
        for keys in self._required:
            found |= keys
        return found

    @cached_property
    def open_keys(self) -> int:
        """The keys that the only choice lets have a value."""
        return mask_of(key for key in range(len(self.names)) if self._has_value(key))

    @cached_property
    def open_classes(self) -> list[KeyClass]:
        """Classes of other keys that the only choice lets have a value."""
        return [other for other in self.classes.others if self._has_value(other)]

    @cached_property
    def other_keys(self) -> OtherKeys:
        """What a matcher must know of the other keys."""
        if self.states.automaton.plans(self.states.lowering.spelling).alphabet is not None:
            return OtherKeys(0)
        extents = () if self.classes.free else (regular.extent(other.language) for other in self._possible_classes())
        return OtherKeys(min((extent for extent in extents if extent is not None), default=None))

    def _possible_classes(self) -> list[KeyClass]:
        """The classes of other keys that may come."""
        if self.only_choice is not None:
            return self.open_classes
        choices = [*self.choices()]
        return [other for other in self.classes.others if any(self.column(other).possible(each) for each in choices)]

    @property
    def needs_keys(self) -> bool:
        """Whether an object may have to have several other keys, or one beside others."""
        counting = any(count.least for count in self.counts.values())
        return bool(self.classes.others) and (counting or any(shape.min_properties > 1 for shape in self.ordered))

    def _has_value(self, key: int | KeyClass) -> bool:
        """Whether the only choice lets a key have some value."""
        return self.states.satisfiable(boolean.all_of(self._questions(key)))

    def next_keys(self, open_: int) -> Iterator[int | KeyClass]:
        """The keys and classes of keys that may come next, where the named keys `open_` may still come."""
        needed, before = self.needed_keys & open_, self.order.before
        yield from (key for key in bits(self.open_keys & open_) if not needed & before(key))
        yield from (other for other in self.open_classes if not needed & before(other))

    def open_after(self, open_: int, key: int | KeyClass) -> int:
        """The named keys that may still come after a key, of those that might before."""
        return open_ & ~(self.order.before(key) | (1 << key if isinstance(key, int) else 0))

    def may_close(self, open_: int) -> bool:
        """Whether the object may end where the named keys `open_` have not come."""
        return not self.needed_keys & open_

    def goal(self, key: int | KeyClass) -> Goal:
        """What the value of a key must be for the only choice."""
        return Goal(boolean.all_of(self._questions(key)))

    # The end of a member, and of the object

    def having(self, progress: Progress, holding: frozenset[Any]) -> Progress:
        """`progress` after a member of which the subjects `holding` hold (see goals.Asked)."""
        return progress._replace(standing=progress.standing.after(holding, self.counts))

    def settled(self, progress: Progress) -> Progress:
        """The progress after a member, with only those living shapes that can still make a difference."""
        if self.only_choice is not None:
            return progress
        alive = self._alive(progress)
        keep = self._choices.relevant(alive) | alive & self._watched
        shapes = frozenset(self.ordered[number] for number in bits(keep))
        return progress._replace(standing=progress.standing.only(shapes, self.counts))

    def outcome(self, progress: Progress) -> tuple[bool, ...] | None:
        """What holds of the object as it is, of what is observed; None where it may not close."""
        if self.only_choice is not None:
            return () if self.may_close(progress.open) else None
        done = {shape for shape in progress.standing.alive if self._holds(shape, progress)}
        for number, (shape, counted) in zip(progress.standing.tally, self.counts.items(), strict=True):
            if number < counted.least:
                done.discard(shape)
        if not boolean.evaluate(self.must, done.__contains__):
            return None
        return tuple(boolean.evaluate(formula, done.__contains__) for formula in self.observed)

    def _holds(self, shape: ObjectShape, progress: Progress) -> bool:
        """Whether a living shape holds of the object as it is, but for what it counts."""
        missing = self._required[self.numbers[shape]] & progress.open
        return not missing and shape.min_properties <= progress.members
