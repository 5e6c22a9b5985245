"""Left recursion solved away: a grammar for the same texts in which no nonterminal begins with itself.

    expr → expr + term | term        expr → term rest        rest → + term rest | ε

The nonterminals that begin with each other (through nullable symbols, too) form a linear system: each non-empty text of
A is a text of one of them followed by something, or begins with a symbol from outside:

    A_i  =  A_j ρ  |  ...  |  β       for every alternative, and every symbol in it that only nullable ones precede

Its solution is A_i = β_k T_ki, summed over k, where T_ki is what may follow a text of A_k up to the end of one of A_i
(the left-corner transform: D. J. Rosenkrantz and P. M. Lewis II, "Deterministic left corner parsing", 1970):

    T_ki  →  ρ T_ji   for every A_j that begins with A_k ρ;      T_ii  →  ε

Every T is right recursive, and A_i T_ii derives what A_i does, which `Nonterminal.loop` remembers: so an ambiguous
`expr → expr + expr` calls no expr inside an expr, and needs no stack.
"""

from __future__ import annotations

from collections.abc import Iterator

from maskwright.grammars import regular
from maskwright.grammars.components import strongly_connected
from maskwright.grammars.productions import Alternative, Nonterminal, Symbol, simplified
from maskwright.grammars.regular import Regex

__all__ = ["corners", "first_symbols", "is_nullable", "reachable", "without_left_recursion"]


def is_nullable(symbol: Symbol) -> bool:
    """Whether a symbol derives the empty text."""
    return isinstance(symbol, Regex | Nonterminal) and symbol.nullable


def first_symbols(alternative: Alternative) -> Iterator[tuple[Symbol, Alternative]]:
    """Each symbol that a non-empty text of the alternative may begin with, and what follows it there."""
    for at, symbol in enumerate(alternative):
        yield symbol, alternative[at + 1 :]
        if not is_nullable(symbol):
            return


def reachable(root: Nonterminal) -> list[Nonterminal]:
    """The nonterminals that texts of `root` are made of, `root` first."""
    found = {root: None}
    queue = [root]
    while queue:
        for alternative in queue.pop().alternatives:
            for symbol in alternative:
                if isinstance(symbol, Nonterminal) and symbol not in found:
                    found[symbol] = None
                    queue.append(symbol)
    return list(found)


def corners(nonterminal: Nonterminal) -> list[Nonterminal]:
    """The nonterminals that texts of one may begin with."""
    return [
        symbol
        for alternative in nonterminal.alternatives
        for symbol, _ in first_symbols(alternative)
        if isinstance(symbol, Nonterminal)
    ]


def without_left_recursion(root: Nonterminal) -> None:
    """Rewrite the alternatives of every nonterminal reachable from `root` that may begin with itself."""
    nonempty = _NonEmpty()
    for component in strongly_connected(reachable(root), corners):  # those that others begin with come first
        if len(component) > 1 or component[0] in corners(component[0]):
            for nonterminal, alternatives in _solve(component, nonempty).items():
                nonterminal.alternatives = alternatives
    for nonterminal in reachable(root):  # now that every loop is known
        nonterminal.alternatives = list(dict.fromkeys(map(simplified, nonterminal.alternatives)))


class _NonEmpty:
    """Symbols for the non-empty texts of others, once each; None where there are none."""

    def __init__(self) -> None:
        self._known: dict[Nonterminal, Nonterminal] = {}

    def of(self, symbol: Symbol) -> Symbol | None:
        if isinstance(symbol, Regex):
            if not symbol.nullable:
                return symbol
            ways = [regular.concat(regular.chars(charset), rest) for charset, rest in symbol.transitions()]
            language = regular.alternate(*ways)
            return None if regular.is_empty(language) else language
        if not isinstance(symbol, Nonterminal) or not symbol.nullable:
            return symbol
        found = self._known.get(symbol)
        if found is None:
            found = self._known[symbol] = Nonterminal(f"{symbol.name}#+")
            for alternative in symbol.alternatives:
                for first, rest in first_symbols(alternative):
                    if (begun := self.of(first)) is not None:
                        found.alternatives.append((begun, *rest))
        return found


def _solve(component: list[Nonterminal], nonempty: _NonEmpty) -> dict[Nonterminal, list[Alternative]]:
    """New alternatives of nonterminals that begin with each other."""
    members = set(component)
    outside: list[tuple[Nonterminal, Alternative]] = []  # (k, β of A_k)
    steps: dict[Nonterminal, list[tuple[Nonterminal, Alternative]]] = {part: [] for part in component}  # k: (j, ρ)
    for nonterminal in component:
        for alternative in nonterminal.alternatives:
            for symbol, following in first_symbols(alternative):
                if isinstance(symbol, Nonterminal) and symbol in members:
                    if symbol is not nonterminal or following:
                        steps[symbol].append((nonterminal, following))
                elif (begun := nonempty.of(symbol)) is not None:
                    outside.append((nonterminal, (begun, *following)))
    solved: dict[Nonterminal, list[Alternative]] = {}
    for goal in component:
        rests = {part: Nonterminal(f"{part.name}#→{goal.name}") for part in component}
        for part, rest in rests.items():
            rest.alternatives = [()] if part is goal else []
            rest.alternatives += [(*following, rests[parent]) for parent, following in steps[part]]
        reached = {rests[goal]}
        queue = [goal]
        while queue:  # only what some text of the goal needs: the parents that lead to it
            parent = queue.pop()
            for part in component:
                if rests[part] not in reached and any(above is parent for above, _ in steps[part]):
                    reached.add(rests[part])
                    queue.append(part)
        for rest in reached:
            rest.alternatives = [
                alternative for alternative in rest.alternatives if not alternative or alternative[-1] in reached
            ]
            rest.nullable = False
        _spread_nullable(reached)
        solved[goal] = [(*beta, rests[part]) for part, beta in outside if rests[part] in reached]
        if goal.nullable:
            solved[goal].append(())
        goal.loop = rests[goal]
        rests[goal].loop = rests[goal]
    return solved


def _spread_nullable(rests: set[Nonterminal]) -> None:
    """Find which of the T derive the empty text."""
    changed = True
    while changed:
        changed = False
        for rest in rests:
            if not rest.nullable and any(all(map(is_nullable, alternative)) for alternative in rest.alternatives):
                rest.nullable = changed = True
