"""A choice of many texts with something of their own behind each, as nodes that are looked at late (rules.Switch).

    branches([(("<function=", "a>"), make_a), ...])

The texts are a sorted table, and a state of the reader is a slice of it, as of regular_nodes.Words.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from maskwright.grammars import regular
from maskwright.grammars.charset import CharSet
from maskwright.grammars.regular import Regex
from maskwright.grammars.rule_nodes import choice, sequence
from maskwright.grammars.rules import Node, Reader, Special, Switch, Text

__all__ = ["Pieces", "branches", "written"]

Pieces = tuple[str | Special, ...]  # no two texts in a row, no empty one
Make = Callable[[], Node]


def written(pieces: Pieces) -> Node:
    """Texts and special tokens one after the other."""
    return sequence(Text(regular.literal(piece)) if isinstance(piece, str) else piece for piece in pieces)


def branches(ways: Iterable[tuple[Pieces, Make]]) -> Node:
    """Any of some pieces, each followed by a node that is made when a text has come to it.

    The nodes are such as may follow a Switch. Where nothing comes before one it is made at once.
    """
    texts: dict[str, list[tuple[Pieces, Make]]] = {}
    specials: dict[Special, list[tuple[Pieces, Make]]] = {}
    found: list[Node] = []
    for pieces, make in ways:
        first, rest = (pieces[0], pieces[1:]) if pieces else ("", ())
        if isinstance(first, Special):
            specials.setdefault(first, []).append((rest, make))
        elif first:
            texts.setdefault(first, []).append((rest, make))
        else:
            found.append(make())
    found += [sequence([special, branches(after)]) for special, after in specials.items()]
    if texts:
        table = tuple(sorted(texts))
        behind = {number: partial(_behind, texts[text]) for number, text in enumerate(table)}
        found.append(Switch(_Words(table, 0, len(table), 0), behind))
    return choice(found)


def _behind(ways: list[tuple[Pieces, Make]]) -> Node:
    return choice(sequence([written(rest), make()]) for rest, make in ways)


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
