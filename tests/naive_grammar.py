"""The slow oracle of context-free grammars: an Earley recogniser over code points that works on `Rules` as they are.

It knows nothing of automata, derivatives or bytes. A body is taken apart into plain productions, regular leaves included
(a class is one symbol, a word one symbol a character, a loop a rule of its own). Productions that derive no text are left
out first; then each item of a chart belongs to some sentence, and a prefix is viable when its last set has an item
(Earley, "An efficient context-free parsing algorithm", CACM 13(2), 1970).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from maskwright.grammars.charset import CharSet
from maskwright.grammars.regular import Alternate, Chars, Concat, Empty, Epsilon, Regex, Repeat, Words
from maskwright.grammars.rules import Call, Choice, Loop, Node, Rules, Special, Text
from maskwright.grammars.rules import Sequence as Items

__all__ = ["EarleyOracle", "Piece"]

Name = str | int  # a rule of the grammar, or one that a body was taken apart into
Symbol = Name | CharSet | Special
Piece = str | Special  # what a text is made of: characters, and special tokens


class Item(NamedTuple):
    """A production of `name` whose first `dot` symbols derive what stands from `origin` to here."""

    name: Name
    symbols: tuple[Symbol, ...]
    dot: int
    origin: int

    @property
    def next(self) -> Symbol | None:
        return self.symbols[self.dot] if self.dot < len(self.symbols) else None

    def advanced(self) -> Item:
        return self._replace(dot=self.dot + 1)


class EarleyOracle:
    """Which texts a grammar derives, and which ones begin such a text. Texts are strings, or lists of Pieces."""

    def __init__(self, rules: Rules) -> None:
        self.root: Name = rules.root
        self.productions: dict[Name, list[tuple[Symbol, ...]]] = {}
        for name, body in rules.bodies.items():
            self.productions[name] = [(self._symbol(body),)]
        self._drop_what_derives_nothing()
        self.nullable = self._least(self.productions, terminals=False)
        self._charts: dict[tuple[Piece, ...], list[list[Item]]] = {}

    # ---------------------------------------------------------------- questions

    def accepts(self, text: Sequence[Piece]) -> bool:
        """Whether the text is a sentence."""
        last = self._chart(tuple(text))[-1]
        return any(item.name == self.root and item.next is None and item.origin == 0 for item in last)

    def is_prefix(self, text: Sequence[Piece]) -> bool:
        """Whether the text is the beginning of a sentence, or one."""
        return bool(self._chart(tuple(text))[-1])

    def next_characters(self, text: Sequence[Piece], alphabet: Iterable[str]) -> set[str]:
        """The characters of `alphabet` that may follow."""
        return {character for character in alphabet if self._may_follow(text, character)}

    def next_specials(self, text: Sequence[Piece]) -> set[Special]:
        """The special tokens that may follow."""
        return {item.next for item in self._chart(tuple(text))[-1] if isinstance(item.next, Special)}

    def _may_follow(self, text: Sequence[Piece], piece: Piece) -> bool:
        return any(_matches(item.next, piece) for item in self._chart(tuple(text))[-1])

    # ---------------------------------------------------------------- the chart

    def _chart(self, text: tuple[Piece, ...]) -> list[list[Item]]:
        """The item sets after 0, 1, ... pieces; those of shorter texts are reused."""
        if text not in self._charts:
            if text:
                before = self._chart(text[:-1])
                seeds = [item.advanced() for item in before[-1] if _matches(item.next, text[-1])]
            else:
                before, seeds = [], [Item(self.root, p, 0, 0) for p in self.productions.get(self.root, ())]
            self._charts[text] = [*before, self._closure(before, seeds)]
        return self._charts[text]

    def _closure(self, before: list[list[Item]], seeds: list[Item]) -> list[Item]:
        here, found, pending = len(before), dict.fromkeys(seeds), list(seeds)
        while pending:
            item = pending.pop()
            symbol = item.next
            new: list[Item] = []
            if symbol is None:
                if item.origin < here:
                    new = [other.advanced() for other in before[item.origin] if other.next == item.name]
            elif isinstance(symbol, str | int):
                new = [Item(symbol, production, 0, here) for production in self.productions[symbol]]
                if symbol in self.nullable:  # derivations of the empty text end where they begin (Aycock and Horspool)
                    new.append(item.advanced())
            for other in new:
                if other not in found:
                    found[other] = None
                    pending.append(other)
        return list(found)

    # ---------------------------------------------------------------- productions

    def _rule(self, *alternatives: Sequence[Symbol]) -> int:
        name = len(self.productions)
        while name in self.productions:
            name += 1
        self.productions[name] = [tuple(symbols) for symbols in alternatives]
        return name

    def _symbol(self, node: Node) -> Symbol:
        if isinstance(node, Text):
            return self._regular(node.language)
        if isinstance(node, Call):
            return node.name
        if isinstance(node, Special):
            return node
        if isinstance(node, Items):
            return self._rule([self._symbol(item) for item in node.items])
        if isinstance(node, Choice):
            return self._rule(*([self._symbol(item)] for item in node.items))
        if isinstance(node, Loop):
            return self._loop(self._symbol(node.item), node.low, node.high)
        raise NotImplementedError(f"the oracle knows no {type(node).__name__}")

    def _regular(self, node: Regex) -> Symbol:
        if isinstance(node, Chars):
            return node.set
        if isinstance(node, Empty):
            return self._rule()
        if isinstance(node, Epsilon):
            return self._rule([])
        if isinstance(node, Words):
            return self._rule(*([CharSet.of(character) for character in word] for word in node.remaining()))
        if isinstance(node, Concat):
            return self._rule([self._regular(part) for part in node.parts])
        if isinstance(node, Alternate):
            return self._rule(*([self._regular(part)] for part in node.parts))
        if isinstance(node, Repeat):
            return self._loop(self._regular(node.item), node.low, node.high)
        raise NotImplementedError(f"the oracle knows no {type(node).__name__}")

    def _loop(self, symbol: Symbol, low: int, high: int | None) -> Symbol:
        if high is None:
            star = self._rule([])
            self.productions[star].append((star, symbol))
            return self._rule([symbol] * low + [star])
        rest = self._rule([])
        for _ in range(high - low):
            rest = self._rule([], [symbol, rest])
        return self._rule([symbol] * low + [rest])

    def _drop_what_derives_nothing(self) -> None:
        productive = self._least(self.productions, terminals=True)
        for name, alternatives in self.productions.items():
            self.productions[name] = [p for p in alternatives if all(_derives(symbol, productive) for symbol in p)]

    def _least(self, productions: dict[Name, list[tuple[Symbol, ...]]], terminals: bool) -> set[Name]:
        """The least set of names of which some production has only such names in it (and `terminals`, if so)."""
        found: set[Name] = set()
        while True:
            more = {
                name
                for name, alternatives in productions.items()
                if any(all(_derives(s, found) if terminals else s in found for s in p) for p in alternatives)
            }
            if more == found:
                return found
            found = more


def _derives(symbol: Symbol, productive: set[Name]) -> bool:
    if isinstance(symbol, CharSet):
        return bool(symbol)
    return isinstance(symbol, Special) or symbol in productive


def _matches(symbol: Symbol | None, piece: Piece) -> bool:
    if isinstance(symbol, CharSet):
        return isinstance(piece, str) and ord(piece) in symbol
    return isinstance(symbol, Special) and symbol == piece
