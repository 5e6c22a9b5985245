"""What the counts of the members of an object still need.

Of the shapes chosen for an object (compile/choices.py) those that count say how many members must be such. Which members
can still come, and what one of them can satisfy at once, decides whether that can be met (compile/counts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from maskwright.compile.counts import Counts, Hits, Table, Tally
from maskwright.compile.keys import KeyClass
from maskwright.grammars.boolean import Bool

if TYPE_CHECKING:
    from maskwright.compile.members import Members

__all__ = ["Needs"]


class Needs:
    """What the counts of one choice of shapes still need, in members.

    Attributes:
        places: those of its counting shapes in a tally of the object.
    """

    def __init__(self, members: Members, choice: int) -> None:
        self._members, self._choice = members, choice
        counting = [
            (place, shape) for place, shape in enumerate(members.counts) if choice >> members.numbers[shape] & 1
        ]
        self.places = tuple(place for place, _ in counting)
        self._shapes = [shape for _, shape in counting]
        self._counts = Counts([members.counts[shape] for shape in self._shapes])
        numbers = range(len(members.names))
        self._options = {number: self._options_of(number) for number in numbers if self._counting(number)}
        """What a member can satisfy at once, for the named keys whose members may be counted."""
        self._free = frozenset(n for n in numbers if n not in self._options and members.column(n).possible(choice))
        """The other named keys that may have a value at all."""
        others = set[Hits]().union(*(self._options_of(other) for other in members.classes.others))
        self._tables: dict[tuple[tuple[int, bool], ...], Table] = {(): self._counts.repeated(others)}

    def _counting(self, key: int | KeyClass) -> list[int]:
        """The counts that the value of a key matters for."""
        return [number for number, shape in enumerate(self._shapes) if self._members.is_counted(shape, key)]

    def _options_of(self, key: int | KeyClass) -> set[Hits]:
        column = self._members.column(key)
        question = column.demand(column.asked(self._choice))
        return self._counts.options(question, self._counting(key), self._members.states.satisfiable)

    def part(self, tally: Tally) -> Tally:
        """The choice's part of a tally of the object."""
        return tuple(tally[place] for place in self.places)

    def viable(
        self, members: int, open_: Sequence[int], needed: Sequence[int], tally: Tally, lowest: int, highest: int | None
    ) -> bool:
        """Whether an object with some members can be completed.

        Args:
            members: how many there are.
            open_: the named keys that may still come; `needed`: those of them that must.
            tally: the choice's part.
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

    def demand(self, key: int | KeyClass, tally: Tally, goes_on: Callable[[Tally], bool]) -> Bool:
        """What the counts demand of the value of a key, for the tally after it to be one that `goes_on`.

        Args:
            tally: the choice's part.
        """
        return self._counts.demand(tally, self._counting(key), goes_on)
