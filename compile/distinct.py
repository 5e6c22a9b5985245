"""Arrays without equal items: how many values their items may have, and whether there are enough of them.

That no item comes twice is followed while a text is written (runtime/unique_items.py). Here is what depends on the schema
alone.
Where the items of an index have at least as many values as the array needs items, one of them is always left. Where they
have fewer, the indices compete for them, and a value may be taken only if the others can still have one each:

    prefixItems [{1, 2}, {1}], minItems 2      the first item must be 2

That is a system of distinct representatives, found as a matching of indices and values (P. Hall, "On representatives of
subsets", 1935). Values are told apart by their identity (schema_constants.identity): 1 is 1.0, and true is not 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import combinations, product
from typing import TYPE_CHECKING

from maskwright.compile.goals import NO_LABELS, Term
from maskwright.compile.repeated import SETTLED, Prospect
from maskwright.grammars import ir, regex, regular
from maskwright.grammars.boolean import Bool
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.regular import Regex

if TYPE_CHECKING:
    from maskwright.compile.arrays import ArrayFrame
    from maskwright.compile.values import GrammarStates

__all__ = ["Distinct", "Identities", "Identity", "Unknown", "has_endless", "has_more", "tight_indices"]

Identity = Hashable
Identities = frozenset[Identity]

_MAX_VALUES = 4096  # of one index, listed
_MAX_LISTED = 1024  # of one index, where it only saves a search
_MAX_DEPTH = 4  # containers within containers whose values are listed
_MAX_SKIPPED = 10_000  # combinations of members looked at in vain
_MAX_TIGHT = 256  # indices that compete
_LITERALS = ((ir.NULL_LITERAL, (None,)), (ir.FALSE_LITERAL, (False,)), (ir.TRUE_LITERAL, (True,)))
_PLAIN_NUMBER = regex.parse(r"^(?:0|-?[1-9][0-9]*|-?(?:0|[1-9][0-9]*)\.[0-9]*[1-9])$", search=True)
"""One text of each number: whoever admits a number admits this text of it, too."""


class Unknown(Exception):
    """How many values there are was not found out."""


def few_values(states: GrammarStates, expression: Bool, limit: int, depth: int = 0) -> Identities | None:
    """All values of a child expression, where there are at most `limit`; None where there are more.

    Raises:
        Unknown: neither was shown.
    """
    value = states.value(expression)
    letters = states.automaton.plans(states.lowering.spelling).alphabet
    strings = value.string
    if letters is not None:
        strings = regular.intersect(strings, regular.repeat(regular.chars(letters), 0))
    try:
        texts = regular.finite_words(strings, limit)
        numbers = regular.finite_words(regular.intersect(value.number, _PLAIN_NUMBER), limit)
    except LimitExceeded as error:
        raise Unknown from error
    if texts is None or numbers is None:
        return None
    found: set[Identity] = {identity for literal, identity in _LITERALS if value.literals & literal}
    found.update(texts, map(Decimal, numbers))
    for containers in (_arrays, _objects) if len(found) <= limit else ():
        for identity in containers(states, value, limit, depth):
            found.add(identity)
            if len(found) > limit:
                return None
    return frozenset(found) if len(found) <= limit else None


def _arrays(states: GrammarStates, value: ir.Value, limit: int, depth: int) -> Iterator[Identity]:
    """The arrays of a value, at least `limit` + 1 where there are so many."""
    if value.array.kind == "false":
        return
    if depth >= _MAX_DEPTH:
        raise Unknown
    frame = states.array(value.array, (), NO_LABELS)
    for term in frame.start_terms():
        if not frame.counts.keys().isdisjoint(term):
            raise Unknown
        shortest = max((shape.min_items for shape in term), default=0)
        unique, repeating = any(shape.unique for shape in term), any(shape.repeating for shape in term)
        longest, count, items = frame.longest(term), 0, list[Identities]()
        while longest is None or count <= longest:
            if count >= shortest:
                chosen = _different(items) if unique else product(*items)
                yield from (("array", one) for one in chosen if not repeating or len(set(one)) < count)
            if count > limit or (unique and count > len(set().union(*items))):
                break  # one more of each length, or none
            if longest is None or count < longest:
                others = max(shortest, count + 1) if unique else 0
                found = few_values(states, frame.item(term, count), limit + others, depth + 1)
                if found is None and repeating:
                    raise Unknown
                if found is None:
                    # Arrays of at least so many items, with any of these at this place.
                    yield from ((term, count, number) for number in range(limit + 1))
                    return
                items.append(found)
            count += 1


def _different(domains: Sequence[Identities]) -> Iterator[tuple[Identity, ...]]:
    """The choices of one value from each domain in which no value comes twice."""
    if not domains:
        yield ()
        return
    for chosen in _different(domains[:-1]):
        yield from ((*chosen, value) for value in domains[-1] if value not in chosen)


def _objects(states: GrammarStates, value: ir.Value, limit: int, depth: int) -> Iterator[Identity]:
    """The objects of a value, at least `limit` + 1 where there are so many."""
    if value.object.kind == "false":
        return
    if depth >= _MAX_DEPTH:
        raise Unknown
    possible = states.object(value.object, (), NO_LABELS).members
    for choice in possible.choices():
        shapes = possible.chosen(choice)
        if not possible.counts.keys().isdisjoint(shapes):
            raise Unknown
        highest = min((shape.max_properties for shape in shapes if shape.max_properties is not None), default=None)
        lowest = max((shape.min_properties for shape in shapes), default=0)
        required = possible.required(choice)
        spare = highest is None or highest > required.bit_count()
        others = [other for other in possible.classes.others if possible.column(other).possible(choice)]
        if spare and others:
            if all(other.language.span[1] is not None for other in others):
                raise Unknown
            yield from ((choice, "other", number) for number in range(limit + 1))
            return
        members = list[list[tuple[str, Identity] | None]]()
        for number, name in enumerate(possible.names):
            column, needed = possible.column(number), required >> number & 1
            if not column.possible(choice) or not (needed or spare):
                continue
            found = few_values(states, column.demand(column.asked(choice)), limit, depth + 1)
            if found is None:
                yield from ((choice, name, number) for number in range(limit + 1))
                return
            absent = [] if needed else [None]
            members.append([*absent, *((name, identity) for identity in found)])
        skipped = 0
        for chosen in product(*members):
            present = frozenset(member for member in chosen if member is not None)
            if lowest <= len(present) and (highest is None or len(present) <= highest):
                yield "object", present
            else:
                skipped += 1
                if skipped > _MAX_SKIPPED:
                    raise Unknown


def has_endless(states: GrammarStates, expression: Bool) -> bool:
    """Whether an expression has strings or numbers without end; False may mean that it is not known."""
    value = states.value(expression)
    languages = (value.string, regular.intersect(value.number, _PLAIN_NUMBER))
    try:
        return any(not regular.is_empty(language) and _loops(language) for language in languages)
    except LimitExceeded:
        return False


def _loops(language: Regex) -> bool:
    """Whether a loop of a language leads to a member; False may mean that none was met."""
    path: dict[Regex, Iterator[Regex]] = {language: _targets(language)}
    seen = {language}
    while path:
        node = next(reversed(path))
        target = next(path[node], None)
        if target is None:
            del path[node]
        elif target in path:
            return True
        elif target not in seen and len(seen) < _MAX_VALUES:
            seen.add(target)
            path[target] = _targets(target)
    return False


def _targets(node: Regex) -> Iterator[Regex]:
    return (target for _, target in node.transitions() if not regular.is_empty(target))


def matching(domains: Sequence[Identities]) -> dict[Identity, int] | None:
    """A value for each index, all different, as {value: index}; None where there are not enough."""
    taken: dict[Identity, int] = {}
    return taken if all(_place(index, domains, taken, set()) for index in range(len(domains))) else None


def _place(index: int, domains: Sequence[Identities], taken: dict[Identity, int], tried: set[Identity]) -> bool:
    """Give an index a value, others a new one where that helps (an augmenting path)."""
    for value in domains[index]:
        if value in tried:
            continue
        tried.add(value)
        if value not in taken or _place(taken[value], domains, taken, tried):
            taken[value] = index
            return True
    return False


def has_more(states: GrammarStates, expression: Bool, count: int) -> bool:
    """Whether an expression certainly has more values than `count`."""
    try:
        return count <= _MAX_VALUES and few_values(states, expression, count) is None
    except Unknown:
        return False


class Distinct:
    """What one array frame's schema says about how its items differ.

    Attributes:
        frame: the frame.
        tight: (index, values) of the indices that every array has, and whose items have fewer values than it has items.
        indented: whether the text policy asks for white space in some places.
        any_number: whether the text policy has every spelling of a number.
        free_texts: whether every string is an item, so that a string that has begun can always become a new one.

    Args:
        items: what the items of each index are, the last for all that follow; none where that depends on earlier items.
    """

    def __init__(self, frame: ArrayFrame, items: Sequence[Bool], tight: Mapping[int, Identities]) -> None:
        self.frame, self._items = frame, items
        self.tight = tuple(sorted(tight.items()))
        self.indented = frame.states.lowering.options.indent is not None
        self.any_number = frame.states.lowering.options.numbers == "any"
        self.free_texts = bool(items) and not frame.counts
        self.free_texts &= all(frame.states.value(item).string is regular.ANY_STRING for item in items)
        self._values: dict[int, Identities | None] = {}
        self._known: dict[int, int] = {}
        self._limited: set[int] = set()

    def excluded(self, used: Identities, index: int) -> Identities:
        """What the item at `index` must not be, after the items `used`: those, and what later indices cannot do without."""
        domains = [values - used for place, values in self.tight if place > index]
        if not domains:
            return used
        taken = matching(domains)
        assert taken is not None, "an array that cannot get all its items was gone on with"
        needed = set()
        for value, place in taken.items():
            others = {other: at for other, at in taken.items() if other != value}
            if not _place(place, domains, others, {value}):
                needed.add(value)
        return used | needed

    def is_endless(self, state: int) -> bool:
        """Whether a state is one of an object that can take on other keys, as many as one likes."""
        with self.frame.states.automaton.lock:
            return self.frame.states.automaton.is_endless(state)

    def repeated(self, state: int) -> int | None:
        """See ArrayFrame.repeated."""
        with self.frame.states.automaton.lock:
            return self.frame.repeated(state)

    def prospect(self, state: int, used: Identities, count: int) -> Prospect | None:
        """See ArrayFrame.prospect."""
        if not self.frame.repeating:
            return SETTLED
        with self.frame.states.automaton.lock:
            return self.frame.prospect(state, used, count)

    def values(self, index: int) -> Identities | None:
        """All values of the item at `index`, or more, where that is known and they are few; else None."""
        if not self._items:
            return None
        place = min(index, len(self._items) - 1)
        if place not in self._values:
            with self.frame.states.automaton.lock:
                try:
                    self._values[place] = few_values(self.frame.states, self._items[place], _MAX_LISTED)
                except Unknown:
                    self._values[place] = None
        return self._values[place]

    def is_more_than(self, count: int, index: int) -> bool:
        """Whether the items at `index` certainly have more than `count` values; False may mean that it is not known."""
        if not self._items:
            return False
        place = min(index, len(self._items) - 1)
        with self.frame.states.automaton.lock:
            while self._known.get(place, 0) <= count:
                size = max(2 * self._known.get(place, 0), 16)
                if place in self._limited or not has_more(self.frame.states, self._items[place], size):
                    self._limited.add(place)
                    return False
                self._known[place] = size + 1
            return True


def tight_indices(frame: ArrayFrame, term: Term) -> dict[int, Identities] | None:
    """The tight indices of a term's arrays (see Distinct); None where no array has enough different items.

    Raises:
        Unknown: it was not found out.
    """
    shortest = max((shape.min_items for shape in term), default=0)
    alike = max((len(shape.prefix) for shape in term), default=0)
    tight, values = dict[int, Identities](), None
    for index in range(shortest if shortest > 1 else 0):
        if index <= alike:
            values = few_values(frame.states, frame.item(term, index), min(shortest - 1, _MAX_VALUES))
            if values is None and shortest - 1 > _MAX_VALUES:
                raise Unknown
        if values is not None:
            if index >= alike and len(values) < shortest - alike:
                return None
            tight[index] = values
            if len(tight) > _MAX_TIGHT:
                raise Unknown
        elif index >= alike:
            break
    if matching(list(tight.values())) is None:
        return None
    # Indices that share no value do not compete, and where all are such there is nothing else that takes one from them.
    everywhere = len(tight) == frame.longest(term)
    if everywhere and all(left.isdisjoint(right) for left, right in combinations(tight.values(), 2)):
        return {}
    return tight
