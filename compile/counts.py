"""How far the counts of some shapes that must hold together are met, and in how many more children they can be.

A *tally* is one number for each count: how many children satisfied it, cut where more of them change nothing. Whether a
container can still be completed is a question about tallies and numbers of children, since what one child can do at once
is found by asking which combinations of counted expressions some value satisfies (`Counts.options`). So for each tally
the *lengths* are kept: the numbers of further children with which all counts are met. Tables of them are built from the
last child to the first; a child that may be repeated leads from a tally to itself or to later ones only, so that each
set of lengths is a finite one and all numbers beyond some point, and bounds of any size are judged exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

from maskwright.grammars import boolean
from maskwright.grammars.boolean import FALSE, TRUE, Bool
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.ir import Count

__all__ = ["Counts", "Hits", "Lengths", "Standing", "Table", "Tally", "is_open"]

Tally = tuple[int, ...]
Hits = frozenset[int]
"""Which counts a child satisfies, by index."""

_MAX_TALLIES = 1 << 14
_MAX_OPEN = 10  # counts that one child may satisfy or not


class Lengths(NamedTuple):
    """A set of numbers of children: those whose bit is set in `bits`, and all from `ray` on (None: no more)."""

    bits: int = 0
    ray: int | None = None

    def __or__(self, other: Lengths) -> Lengths:
        if self.ray is None or other.ray is None:
            return Lengths(self.bits | other.bits, self.ray if other.ray is None else other.ray)
        return Lengths(self.bits | other.bits, min(self.ray, other.ray))

    def later(self) -> Lengths:
        """With one child more."""
        return Lengths(self.bits << 1, None if self.ray is None else self.ray + 1)

    def endless(self) -> Lengths:
        """With any number of children more."""
        first = self.first()
        return self if first is None else Lengths(0, first)

    def first(self) -> int | None:
        """The smallest; None of nothing."""
        lowest = (self.bits & -self.bits).bit_length() - 1
        if self.ray is None or 0 <= lowest < self.ray:
            return None if lowest < 0 else lowest
        return self.ray

    def meet(self, low: int, high: int | None) -> bool:
        """Whether one of them is from `low` to `high` (None: or more)."""
        if high is not None and high < max(low, 0):
            return False
        if self.ray is not None and (high is None or self.ray <= high):
            return True
        bits = self.bits >> max(low, 0)
        return bool(bits if high is None else bits & ((1 << (high - max(low, 0) + 1)) - 1))

    @property
    def reach(self) -> int:
        """From here on all numbers are in the set, or none is."""
        return max(self.bits.bit_length(), self.ray or 0)


_NOWHERE = Lengths()
Table = Mapping[Tally, Lengths]
"""For each tally, the numbers of further children that meet all counts."""


def cap(count: Count) -> int:
    """The number from which on one more child changes nothing, or is one too many."""
    return count.least if count.most is None else count.most


def is_open(count: Count, number: int) -> bool:
    """Whether it matters if one more child is counted, after `number` were."""
    return count.most is not None or number < count.least


class Standing(NamedTuple):
    """What a container knows of its shapes after some children.

    Attributes:
        alive: the shapes that hold so far.
        tally: for each counting shape of the container, the children that it counts, as far as they matter.
    """

    alive: frozenset[Any]
    tally: Tally

    def after(self, holding: Collection[Any], counts: Mapping[Any, Count]) -> Standing:
        """After a child of which the subjects `holding` hold (see goals.Asked): shapes, and the places of counts.

        Args:
            counts: of the container's counting shapes, in the order of the tally.
        """
        alive = self.alive.intersection(holding)
        if not counts:
            return Standing(alive, ())
        tally, exceeded = list(self.tally), set[Any]()
        for place, (shape, count) in enumerate(counts.items()):
            if place not in holding:
                continue
            if tally[place] < cap(count):
                tally[place] += 1
            elif count.most is not None:
                exceeded.add(shape)
        return Standing(alive - exceeded, tuple(tally))

    def only(self, keep: frozenset[Any], counts: Mapping[Any, Count]) -> Standing:
        """With nothing known of shapes other than `keep`."""
        if not counts:
            return Standing(keep, ())
        numbers = zip(counts, self.tally, strict=True)
        return Standing(keep, tuple(number if shape in keep else 0 for shape, number in numbers))


class Counts:
    """The counts of the shapes of one term."""

    def __init__(self, counts: Sequence[Count]) -> None:
        self.counts = counts
        self._caps = tuple(cap(count) for count in counts)
        size = prod(limit + 1 for limit in self._caps)
        if size > _MAX_TALLIES:
            what, hint = "ways to meet the counts of one container", "use smaller numbers or fewer alternatives"
            raise LimitExceeded("max_tallies", size, _MAX_TALLIES, what=what, hint=hint)
        # Children lead from a tally to itself or to a greater one: the greatest first.
        self._tallies = list(product(*(range(limit, -1, -1) for limit in self._caps)))

    def met(self, tally: Tally) -> bool:
        """Whether no count lacks anything."""
        return all(count.least <= number for count, number in zip(self.counts, tally, strict=True))

    def step(self, tally: Tally, hits: Collection[int]) -> Tally | None:
        """The tally after one more child; None where one is too many."""
        numbers = list(tally)
        for index in hits:
            if numbers[index] < self._caps[index]:
                numbers[index] += 1
            elif self.counts[index].most is not None:
                return None
        return tuple(numbers)

    def options(self, question: Bool, counting: Iterable[int], satisfiable: Callable[[Bool], bool]) -> set[Hits]:
        """What one child that satisfies `question` can satisfy at once of the counts `counting`.

        Counts without an upper bound are named where they are satisfied for sure; of the others each is satisfied or not.
        """
        if not satisfiable(question):
            return set()
        ways: list[tuple[Bool, Hits]] = [(question, frozenset())]
        for index in counting:
            child, grown = self.counts[index].child, list[tuple[Bool, Hits]]()
            for demand, hits in ways:
                inside = boolean.all_of((demand, child))
                if satisfiable(inside):
                    grown.append((inside, hits | {index}))
                outside = demand if self.counts[index].most is None else boolean.all_of((demand, boolean.negate(child)))
                if outside is demand or satisfiable(outside):
                    grown.append((outside, hits))
            ways = grown
            if len(ways) > 1 << _MAX_OPEN:
                raise LimitExceeded("max_open_counts", len(ways), 1 << _MAX_OPEN, what="counts that one child may meet")
        return {hits for _, hits in ways}

    # Tables, from the last child to the first

    def ended(self) -> Table:
        """Where no child follows."""
        return {tally: Lengths(1) if self.met(tally) else _NOWHERE for tally in self._tallies}

    def repeated(self, options: Collection[Hits]) -> Table:
        """Where any number of children follows, each with one of `options`."""
        table = dict[Tally, Lengths]()
        for tally, lengths in self.ended().items():
            again = False
            for hits in options:
                after = self.step(tally, hits)
                if after == tally:
                    again = True
                elif after is not None:
                    lengths |= table[after].later()
            table[tally] = lengths.endless() if again else lengths
        return table

    def followed(self, options: Collection[Hits], table: Table, otherwise: Table | None = None) -> Table:
        """Where one child with one of `options` follows, and then what `table` says; or else what `otherwise` says."""
        found = dict[Tally, Lengths]()
        for tally in self._tallies:
            lengths = _NOWHERE if otherwise is None else otherwise[tally]
            for hits in options:
                after = self.step(tally, hits)
                if after is not None:
                    lengths |= table[after].later()
            found[tally] = lengths
        return found

    # The next child

    def demand(self, tally: Tally, counting: Iterable[int], goes_on: Callable[[Tally], bool]) -> Bool:
        """What the next child must be, as far as the counts `counting` decide, for the tally after it to be one that
        `goes_on`."""
        open_ = [index for index in counting if is_open(self.counts[index], tally[index])]
        if len(open_) > _MAX_OPEN:
            raise LimitExceeded("max_open_counts", len(open_), _MAX_OPEN, what="counts that one child may meet")

        def demanded(position: int, hits: Hits) -> Bool:
            if position == len(open_):
                after = self.step(tally, hits)
                return TRUE if after is not None and goes_on(after) else FALSE
            index = open_[position]
            inside, outside = demanded(position + 1, hits | {index}), demanded(position + 1, hits)
            if inside == outside:
                return inside
            child = self.counts[index].child
            if self.counts[index].most is not None:
                outside = boolean.all_of((boolean.negate(child), outside))
            # Without an upper bound whatever may follow a child outside may follow one inside as well.
            return boolean.any_of((boolean.all_of((child, inside)), outside))

        return demanded(0, frozenset())
