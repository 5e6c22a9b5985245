"""What may still come in a frame: phrases, their derivatives, and the calls they begin with.

A *chain* is a sequence of symbols, the first one perhaps begun:  ([0-9]* , rest, ")").  A *phrase* is a set of chains,
any of which may be gone through; the empty chain in it means that the frame may end. A phrase goes on in four ways:

    over characters     to another phrase (partial derivatives: V. Antimirov, "Partial derivatives of regular expressions
                        and finite automaton constructions", TCS 155, 1996)
    over a call         of a nonterminal with a frame of its own, behind which another phrase follows
    over a special token, or a JSON value in its frame, in the same way

Chains are lists that share their ends, and equal chains are the same object, so that phrases compare by their numbers.
Regular languages before the same rest are united, and a language before another joins it: what is regular stays so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from maskwright.grammars import regular
from maskwright.grammars.charset import CharSet
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.productions import Alternative, Branch, Nonterminal, Symbol
from maskwright.grammars.regular import EMPTY, EPSILON, Regex
from maskwright.grammars.regular_nodes import overlay
from maskwright.grammars.rules import Frame, Special

__all__ = ["Chain", "Forms", "Phrase", "Phrases"]

MAX_CHAINS = 4096


class Chain:
    """A sequence of symbols. Compared by identity; `Phrases` makes equal ones once.

    Attributes:
        head, tail: the first symbol and the rest; None in the empty chain, which has number 0.
        number: tells chains of one `Phrases` apart.
    """

    __slots__ = ("head", "number", "tail")

    def __init__(self, head: Symbol | None, tail: Chain | None, number: int) -> None:
        self.head, self.tail, self.number = head, tail, number

    def __repr__(self) -> str:
        return "ε" if self.tail is None else f"{self.head!r} {self.tail!r}" if self.tail.tail else repr(self.head)


Phrase = tuple[Chain, ...]  # ascending numbers, no two the same


class Forms(NamedTuple):
    """How a phrase goes on.

    Attributes:
        texts: disjoint sets of characters, and the phrase after them.
        calls: nonterminals of which a non-empty text may begin here, and the phrase after it.
        specials, values: the same of special tokens and of JSON values.
        final: whether the frame may end here.
    """

    texts: list[tuple[CharSet, Phrase]]
    calls: dict[Nonterminal, Phrase]
    specials: dict[Special, Phrase]
    values: dict[Frame, Phrase]
    final: bool


class Phrases:
    """The phrases of one grammar.

    Args:
        frames: nonterminals whose calls are pushed, unless nothing follows them (frames.py). There is no left recursion.
    """

    def __init__(self, frames: set[Nonterminal]) -> None:
        self.frames = frames
        self.end = Chain(None, None, 0)
        self._chains: dict[tuple[Symbol, Chain], Chain] = {}
        self._forms: dict[Phrase, Forms] = {}

    def start(self, nonterminal: Nonterminal) -> Phrase:
        """The phrase of everything that a nonterminal derives."""
        return self._phrase(self._prepend(alternative, self.end) for alternative in nonterminal.alternatives)

    def forms(self, phrase: Phrase) -> Forms:
        """How a phrase goes on; kept.

        Raises:
            LimitExceeded: it stands for more than MAX_CHAINS chains.
        """
        found = self._forms.get(phrase)
        if found is None:
            found = self._forms[phrase] = self._find_forms(phrase)
        return found

    def _find_forms(self, phrase: Phrase) -> Forms:
        texts: list[tuple[CharSet, Chain]] = []
        followers: dict[Nonterminal | Special | Frame, list[Chain]] = {}
        final = False
        seen = set(phrase)
        pending = list(phrase)

        def also(chain: Chain) -> None:
            if chain not in seen:
                seen.add(chain)
                pending.append(chain)

        while pending:
            chain = pending.pop()
            head, tail = chain.head, chain.tail
            if head is None or tail is None:
                final = True
            elif isinstance(head, Regex):
                if head.nullable:
                    also(tail)
                for characters, rest in head.transitions():
                    if not regular.is_empty(rest):
                        texts.append((characters, self._cons(rest, tail)))
            elif isinstance(head, Branch):
                for alternative in head.endings():
                    also(self._prepend(alternative, tail))
                texts += [(characters, self._cons(rest, tail)) for characters, rest in head.transitions()]
            elif not isinstance(head, Nonterminal):
                followers.setdefault(head, []).append(tail)
            elif head in self.frames and tail is not self.end:
                followers.setdefault(head, []).append(tail)
                if head.nullable:
                    also(tail)
            else:
                for alternative in head.alternatives:
                    also(self._prepend(alternative, tail))
            if len(seen) > MAX_CHAINS:
                hint = "give the rules that begin in so many ways fewer alternatives"
                raise LimitExceeded("max_chains", len(seen), MAX_CHAINS, what="ways to go on at one place", hint=hint)
        return Forms(
            self._split(texts),
            {head: self._phrase(tails) for head, tails in followers.items() if isinstance(head, Nonterminal)},
            {head: self._phrase(tails) for head, tails in followers.items() if isinstance(head, Special)},
            {head: self._phrase(tails) for head, tails in followers.items() if isinstance(head, Frame)},
            final,
        )

    def _split(self, texts: list[tuple[CharSet, Chain]]) -> list[tuple[CharSet, Phrase]]:
        """Disjoint sets of characters with all that may follow them, equal phrases together."""
        groups: dict[Phrase, list[CharSet]] = {}
        if len(texts) == 1:
            characters, chain = texts[0]
            return [(characters, (chain,))]
        for characters, chains in overlay([[text] for text in texts]):
            groups.setdefault(self._phrase(chains), []).append(characters)
        return [(CharSet.union(sets), phrase) for phrase, sets in groups.items()]

    # -------------------------------------------------------------------- normal forms

    def _phrase(self, chains: Iterable[Chain]) -> Phrase:
        """A set of chains in normal form: regular languages before the same rest are one."""
        found = set(chains)
        begun: dict[Chain, list[Regex]] = {}
        for chain in found:
            if isinstance(chain.head, Regex) and chain.tail is not None:
                begun.setdefault(chain.tail, []).append(chain.head)
        for tail, languages in begun.items():
            if len(languages) > 1:
                found.difference_update([self._cons(language, tail) for language in languages])
                found.add(self._cons(regular.alternate(*languages), tail))
        return tuple(sorted(found, key=_number))

    def _prepend(self, symbols: Alternative, chain: Chain) -> Chain:
        for symbol in reversed(symbols):
            chain = self._cons(symbol, chain)
        return chain

    def _cons(self, head: Symbol, tail: Chain) -> Chain:
        if isinstance(head, Regex):
            assert head is not EMPTY, "a chain that derives nothing"
            if head is EPSILON:
                return tail
            if isinstance(tail.head, Regex) and tail.tail is not None:
                head, tail = regular.concat(head, tail.head), tail.tail
        elif (
            isinstance(head, Nonterminal) and head.loop is not None and tail.head is head.loop and tail.tail is not None
        ):
            tail = tail.tail
        key = (head, tail)
        found = self._chains.get(key)
        if found is None:
            found = self._chains[key] = Chain(head, tail, len(self._chains) + 1)
        return found


def _number(chain: Chain) -> int:
    return chain.number
