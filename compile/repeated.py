"""Arrays that must have two equal items: where that can still come true.

The opposite of `uniqueItems`, which negations ask for. Whether two items were equal is followed while a text is written
(runtime/unique_items.py), and a *term* (shapes that hold together, compile/goals.py) that asks for it *owes* it until then.
While it does, the next items are settled by three questions, of which the schema answers the first two alone:

    may two later items be equal to each other?
    may a later item be equal to the next one?
    may the next item, or a later one, be equal to one of those before it?

The automaton asks the next item for no more than what every text needs: to be as some earlier or later item may be. Which
values the earlier ones have, it does not know; where that decides, the matcher restricts the item.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from maskwright.compile.goals import Term
from maskwright.compile.membership import admits
from maskwright.grammars import boolean
from maskwright.grammars.boolean import TRUE, Bool

if TYPE_CHECKING:
    from maskwright.compile.arrays import ArrayFrame

__all__ = ["SETTLED", "Prospect", "Repeats"]

Identities = frozenset[Hashable]


class Prospect(NamedTuple):
    """What an array whose items were all different so far may still become.

    Attributes:
        closes: whether it may end here.
        owes: whether two of its items must still be equal.
        obliged: whether some items that the automaton allows next would lead nowhere.
        only: what the next item must be one of; None where others will do.
        indifferent: whether it goes on after whatever the automaton allows next.
    """

    closes: bool = True
    owes: bool = False
    obliged: bool = False
    only: Identities | None = None
    indifferent: bool = False


SETTLED = Prospect()
"""Of arrays that need no equal items."""


class Repeats:
    """Where two items of a term's arrays may be equal. An index is that of an item, from 0."""

    def __init__(self, frame: ArrayFrame, term: Term) -> None:
        self._states, self._frame, self._term = frame.states, frame, term
        self._longest = frame.longest(term)
        self._alike = max(len(shape.prefix) for shape in term)  # from here on all items are alike

    def _indices(self, start: int) -> range:
        """The indices from `start` on, as far as they are unlike, and two more."""
        stop = max(start, self._alike) + 2
        return range(start, stop if self._longest is None else min(stop, self._longest))

    def _item(self, index: int) -> Bool:
        return self._frame.item(self._term, index)

    def _agree(self, first: int, second: int) -> bool:
        """Whether some value may stand at both indices."""
        return self._states.satisfiable(boolean.all_of((self._item(first), self._item(second))))

    def _later(self, start: int) -> bool:
        """Whether two items from `start` on may be equal."""
        return any(self._agree(first, second) for first, second in combinations(self._indices(start), 2))

    def possible(self) -> bool:
        """Whether two items of an array may be equal."""
        return self._later(0)

    def demand(self, index: int) -> Bool:
        """What every item at `index` must be, after different ones, for two to be equal in the end.

        TRUE where nothing would do: only the matcher knows that the text does not get there.
        """
        if index > self._alike or self._later(index + 1):
            return TRUE
        before, after = range(index), self._indices(index + 1)
        if any(self._agree(i, j) for i in before for j in after):
            return TRUE
        wanted = boolean.any_of(self._item(other) for other in (*before, *after))
        return wanted if self._states.satisfiable(boolean.all_of((self._item(index), wanted))) else TRUE

    def feasible(self, used: Identities, count: int) -> bool:
        """Whether two items may still be equal after `count` different ones, `used`."""
        return self._later(count) or self._fits(used, count)

    def settled(self, used: Identities, index: int) -> bool:
        """Whether that stays so whatever the automaton allows at `index`."""
        if self._later(index + 1) or self._fits(used, index + 1):
            return True
        here = set(_conjuncts(self._item(index)))
        if any(here.issuperset(_conjuncts(self._item(later))) for later in self._indices(index + 1)):
            return True
        # Where no item before it can be like this or a later one, `demand` says all there is to say.
        if index > self._alike:
            return False
        return not any(self._agree(i, j) for i in range(index) for j in (index, *self._indices(index + 1)))

    def open_to_others(self, used: Identities, index: int) -> bool:
        """Whether an item at `index` that is equal to none before may leave it feasible."""
        if self._later(index + 1) or self._fits(used, index + 1):
            return True
        return any(self._agree(index, later) for later in self._indices(index + 1))

    def repeatable(self, used: Identities, index: int) -> Identities:
        """Those of the items before that may stand at `index` again."""
        if index not in self._indices(index):
            return frozenset()
        return frozenset(value for value in used if admits(self._states.value, self._item(index), value))

    def _fits(self, used: Identities, start: int) -> bool:
        """Whether one of the values may stand at an index from `start` on."""
        return any(
            admits(self._states.value, item, value)
            for item in dict.fromkeys(self._item(index) for index in self._indices(start))
            for value in used
        )


def _conjuncts(expression: Bool) -> Iterable[Bool]:
    if expression is TRUE:
        return ()
    return expression.args if expression.kind == "and" else (expression,)
