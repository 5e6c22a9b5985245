"""The intermediate representation that every front end produces and `compile/` lowers.

A JSON value language is kept apart by JSON type, and each part is closed under and, or and not:

    Value.literals   which of null, true, false          a 3-bit set
    Value.number     texts of numbers                    a regular language over ASCII (raw bytes of the output)
    Value.string     contents of strings, unescaped      a regular language over Unicode scalar values
    Value.array      which arrays                        a boolean expression over ArrayShape leaves
    Value.object     which objects                       a boolean expression over ObjectShape leaves

Children of shapes are not Values but expressions over *schemas* (objects with `expand() -> Value`), so that nothing is
expanded before the parser can reach it and recursion costs nothing.

A shape says what all items or members are like, and may count some of them (`Count`). What it counts closes the shapes
under negation, too: not all items are S when at least one is not, and fewer than two are S when at most one is. Not all
items differ when two of them are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from maskwright.grammars import boolean, regular
from maskwright.grammars.boolean import Bool
from maskwright.grammars.regular import Regex

__all__ = [
    "ARRAY",
    "FALSE_LITERAL",
    "NOTHING",
    "NULL_LITERAL",
    "OBJECT",
    "TRUE_LITERAL",
    "ArrayShape",
    "Count",
    "ObjectShape",
    "Schema",
    "Value",
    "anything",
]

NULL_LITERAL, FALSE_LITERAL, TRUE_LITERAL = 1, 2, 4


class Schema(Protocol):
    """A leaf of a child expression: something that can say, when first asked, which values it admits.

    Hashable; equal schemas admit equal values. `expand` is memoised by the implementation, raises GrammarError
    subclasses only, and expands references on the same instance location itself (a loop of them is an InvalidError).
    """

    pointer: str

    @property
    def certain(self) -> bool:
        """Whether it admits some value for sure; False may only mean that expanding it would tell."""

    def expand(self) -> Value: ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Count:
    """At least `least` and at most `most` (None: any number) of some children satisfy `child`.

    Attributes:
        child: expression over Schema.
        least: 0 only where `most` is given.
        most: at least 1: "none at all" is what all children are like.
    """

    child: Bool
    least: int = 1
    most: int | None = None


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """Arrays whose item i satisfies prefix[i], or rest beyond it, with bounds on the number of items.

    Attributes:
        prefix: expressions over Schema, one an index.
        rest: expression over Schema for every later item; boolean.FALSE forbids later items.
        min_items, max_items: inclusive; max_items None is unbounded.
        counted: how many of the items that `rest` speaks of are such; None does not count.
        unique: whether no two items are equal, as JSON values.
        repeating: whether two items at least are equal.
    """

    prefix: tuple[Bool, ...] = ()
    rest: Bool = boolean.TRUE
    min_items: int = 0
    max_items: int | None = None
    counted: Count | None = None
    unique: bool = False
    repeating: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        content = (self.prefix, self.rest, self.min_items, self.max_items, self.counted)
        object.__setattr__(self, "_hash", hash((content, self.unique, self.repeating)))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, slots=True)
class ObjectShape:
    """Objects described member by member.

    A member whose key is k must satisfy the conjunction of properties[k] (where named) and of every pattern that
    matches k; where neither applies, `additional`. `names` is the language of all keys that may occur at all.

    Attributes:
        properties: (key, expression over Schema) in schema order, keys distinct.
        patterns: (language of keys, already with search semantics; expression over Schema).
        additional: expression over Schema; boolean.FALSE forbids other keys.
        required: keys that must occur, in schema order.
        min_properties, max_properties: inclusive; None is unbounded.
        names: the language that every key must be in.
        counted: how many of the members that `additional` speaks of are such; None does not count.
        listed: whether somebody wrote `properties` and `required` down in this order, so that members keep it.
    """

    properties: tuple[tuple[str, Bool], ...] = ()
    patterns: tuple[tuple[Regex, Bool], ...] = ()
    additional: Bool = boolean.TRUE
    required: tuple[str, ...] = ()
    min_properties: int = 0
    max_properties: int | None = None
    names: Regex = regular.ANY_STRING
    counted: Count | None = None
    listed: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        content = (self.properties, self.patterns, self.additional, self.required, self.names, self.counted)
        object.__setattr__(self, "_hash", hash((content, self.min_properties, self.max_properties)))

    def __hash__(self) -> int:
        return self._hash


ARRAY = boolean.leaf(ArrayShape())  # any array
OBJECT = boolean.leaf(ObjectShape())  # any object


@dataclass(frozen=True, slots=True)
class Value:
    """A set of JSON values, by type (see the module's docstring). `number` stays within the text policy's numbers."""

    literals: int = 0
    number: Regex = regular.EMPTY
    string: Regex = regular.EMPTY
    array: Bool = boolean.FALSE
    object: Bool = boolean.FALSE


NOTHING = Value()


def anything(number: Regex) -> Value:
    """Every JSON value, where `number` is the language of all numbers under the text policy."""
    return Value(7, number, regular.ANY_STRING, boolean.TRUE, boolean.TRUE)
