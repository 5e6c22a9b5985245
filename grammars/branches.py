"""A choice of many texts with something of their own behind each, as nodes that are looked at late (rules.Switch).

    branches([(("<function=", "a>"), 0), (("<function=", "b>"), 1)], make)

The texts are a sorted table, and a state of the reader is a slice of it, as of regular_nodes.Words.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from maskwright.grammars import regular
from maskwright.grammars.charset import CharSet
from maskwright.grammars.pieces import Pieces, written
from maskwright.grammars.regular import Regex
from maskwright.grammars.rule_nodes import choice, sequence
from maskwright.grammars.rules import Node, Reader, Special, Switch

__all__ = ["branches"]

Make = Callable[[int], Node]


def branches(ways: Iterable[tuple[Pieces, int]], make: Make) -> Node:
    """Any of some pieces, each with a number, of which `make` makes the node behind them when a text has come to it.

    The nodes are such as may follow a Switch. Where nothing comes before one it is made at once.
    """
    texts: dict[str, list[tuple[Pieces, int]]] = {}
    specials: dict[Special, list[tuple[Pieces, int]]] = {}
    found: list[Node] = []
    for pieces, number in ways:
        first = pieces[0] if pieces else ""
        if isinstance(first, Special):
            specials.setdefault(first, []).append((pieces[1:], number))
        elif first:
            texts.setdefault(first, []).append((pieces[1:], number))
        else:
            found.append(make(number))
    found += [sequence([special, branches(after, make)]) for special, after in specials.items()]
    if texts:
        table = tuple(sorted(texts))

        def behind(place: int) -> Node:
            return choice(sequence([written(rest), make(number)]) for rest, number in texts[table[place]])

        found.append(Switch(_Words(table, 0, len(table), 0), range(len(table)), behind))
    return choice(found)


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of table[low:high], which is sorted, behind the first `depth` characters, which are the same."""

    table: tuple[str, ...]
    low: int
    high: int
    depth: int

    @property
    def complete(self) -> range:
        return range(self.low, self.low + (len(self.table[self.low]) == self.depth))

    def transitions(self) -> Iterator[tuple[CharSet, Reader]]:
        table, depth, at = self.table, self.depth, self.low + len(self.complete)
        while at < self.high:
            letter = table[at][depth]
            end = bisect_right(table, letter, at + 1, self.high, key=lambda word: word[depth])
            yield CharSet.of(letter), _Words(table, at, end, depth + 1)
            at = end

    def language(self, number: int) -> Regex:
        return regular.literal(self.table[number][self.depth :])

    def __hash__(self) -> int:
        return hash((self.low, self.high, self.depth))
