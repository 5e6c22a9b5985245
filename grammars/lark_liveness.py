"""Whether lark's LALR(1) parser can always go on to the end of a text, wherever the texts that it has taken end.

An LR parser has the viable prefix property: what it has shifted begins some text of the grammar. But lark's may not take
that text: where it shifts although it could reduce, a reduction is *withheld* before some terminals; a terminal may never
be read, because others win; and rules may derive no text at all. So it is asked whether, in every state, some rule that is
begun can be completed without any of that, then one that has waited for this rule, and so on to the end.

What a rule needs of its surroundings is a relation over terminals:

    (first, next) in R(p, A)    from state p on, A has a text that can be read before `next`; together they begin with `first`

R of a sequence is a product of relations, R of the empty one the identity, and a reduction that is withheld before `next`
takes a column out. Terminals before which nothing is withheld are as good as each other, and are one; so relations are
small, and kept as the bits of one integer a row.

What is found is sufficient, not necessary: where it fails, the texts are described by rules (lark_contextual).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from maskwright.grammars.lark_tables import ACCEPT, END, Production, Tables

__all__ = ["always_goes_on"]

_Relation = tuple[int, ...]  # by first: which may be next, as bits
_Place = tuple[int, str]  # a state, and a rule that is begun in it
_Item = tuple[str, Production, int]  # a rule, how it is made, symbols that have been read
_Hope = dict[str, int]  # by rule that is begun in a state: what may be next behind it, as bits
_Begun = tuple[tuple[tuple[str, int], int], ...]  # the same by (rule, symbols that have been read)

_MAX_WAYS = 1000  # to come to a state, with different hopes


def always_goes_on(tables: Tables, never: Collection[str], unreadable: Collection[str]) -> bool:
    """Whether every text that the parser has taken begins one that it takes as a whole.

    Args:
        never: terminals that are never read.
        unreadable: terminals that are not relied on, those among them.
    """
    return _Completions(_without(tables, never), unreadable).everywhere()


def _without(tables: Tables, never: Collection[str]) -> Tables:
    """The tables without some terminals, and without rules that cannot do without them or derive no text at all."""
    possible: set[str] = set()
    productions: Mapping[str, Sequence[Production]] = {}
    while True:
        found = {
            rule: [
                production
                for production in every
                if all(name in possible if name in tables.productions else name not in never for name in production)
            ]
            for rule, every in tables.productions.items()
        }
        if found == productions:
            break
        productions, possible = found, {rule for rule, kept in found.items() if kept}
    transitions = [
        {name: after for name, after in row.items() if name in possible or name not in (*never, *productions)}
        for row in tables.transitions
    ]
    return replace(tables, productions=productions, transitions=transitions)


class _Completions:
    def __init__(self, tables: Tables, unreadable: Collection[str]) -> None:
        self._tables, self._unreadable = tables, unreadable
        withheld = frozenset[str]().union(*tables.withheld.values())
        self._numbers = {name: number for number, name in enumerate(sorted(withheld), 1)}  # 0: all others
        self._size = 1 + len(withheld)
        self._all = (1 << self._size) - 1
        self._identity: _Relation = tuple(1 << number for number in range(self._size))
        self._none: _Relation = (0,) * self._size
        self._states: dict[tuple[int, Production], list[int]] = {}
        self._waiting: list[dict[_Item, list[int]]] = [{} for _ in tables.transitions]  # with where they are begun
        users: dict[_Place, dict[_Place, None]] = {(0, rule): {} for rule in self._roots()}
        for place in (todo := list(users)):
            for production in tables.productions[place[1]]:
                for read, state in enumerate(self._along(place[0], production)):
                    self._waiting[state].setdefault((place[1], production, read), []).append(place[0])
                    if read < len(production) and production[read] in tables.productions:
                        inside = state, production[read]
                        if inside not in users:
                            users[inside] = {}
                            todo.append(inside)
                        users[inside][place] = None
        self._relations = dict.fromkeys(users, self._none)
        pending = dict.fromkeys(users)
        while pending:
            place = next(iter(pending))
            del pending[place]
            found = self._relation(*place)
            if found != self._relations[place]:
                self._relations[place] = found
                pending |= users[place]

    def _along(self, state: int, symbols: Production) -> list[int]:
        """The states before each symbol, and after the last."""
        found = self._states.get((state, symbols))
        if found is None:
            found = [state]
            for symbol in symbols:
                found.append(self._tables.transitions[found[-1]][symbol])
            self._states[state, symbols] = found
        return found

    # ---------------------------------------------------------------- relations

    def _relation(self, state: int, rule: str) -> _Relation:
        """R of a rule, of what is known so far."""
        found = self._none
        for production in self._tables.productions[rule]:
            ways = self._completed(state, rule, production, 0)
            found = tuple(one | other for one, other in zip(found, ways, strict=True))
        return found

    def _completed(self, state: int, rule: str, production: Production, read: int) -> _Relation:
        """R of what is left of a rule in a state where some symbols have been read."""
        states = self._along(state, production[read:])
        withheld = self._tables.withheld.get((states[-1], rule, production), ())
        kept = self._all & ~sum(1 << self._numbers[name] for name in withheld)
        found: _Relation = tuple(row & kept for row in self._identity)
        for at in range(len(states) - 2, -1, -1):
            symbol = production[read + at]
            if symbol in self._tables.productions:
                found = _product(self._relations[states[at], symbol], found)
            else:
                row = 0 if symbol in self._unreadable else _united(found)
                number = self._numbers.get(symbol, 0)
                found = tuple(row if first == number else 0 for first in range(self._size))
        return found

    # ---------------------------------------------------------------- what is begun

    def everywhere(self) -> bool:
        """Whether some rule that is begun can be completed in every state, whatever is below it on the stack.

        A *hope* of a state says of each rule that is begun there what may be next behind it, so that some rule that has
        waited for it can be completed. It depends on what is below: so there may be several. Those that promise no less
        than others do not matter.
        """
        hopes: dict[int, list[_Hope]] = {}
        seen: dict[int, set[_Begun]] = {}
        users: dict[int, dict[int, None]] = {}
        for state, items in enumerate(self._waiting):
            for (_, _, read), origins in items.items():
                for origin in origins if read > 0 else ():
                    users.setdefault(origin, {})[state] = None
        end = 1 << self._numbers.get(END, 0)
        if not any(_united(self._relations[0, rule]) & end for rule in self._roots()):
            return False
        pending = {0: None}
        while pending:
            state = next(iter(pending))
            del pending[state]
            ways = self._ways_to(state, hopes)
            if math.prod(map(len, ways)) > _MAX_WAYS:
                return False
            for parts in itertools.product(*ways):
                begun: _Begun = tuple(itertools.chain(*parts))
                if begun in seen.setdefault(state, set()):
                    continue
                seen[state].add(begun)
                wanted = dict(begun)
                if state != 0 and not self._accepts(state) and not self._can_complete(state, wanted):
                    return False
                hope = self._climb(state, wanted)
                known = hopes.setdefault(state, [])
                if not any(_promises(hope, other) for other in known):
                    known[:] = [other for other in known if not _promises(other, hope)]
                    known.append(hope)
                    pending |= users.get(state, {})
        return True

    def _ways_to(self, state: int, hopes: Mapping[int, Sequence[_Hope]]) -> list[list[_Begun]]:
        """For each state in which rules were begun that are under way in a state: what may be next behind them."""
        rules: dict[int, dict[str, list[int]]] = {}
        for (rule, _, read), origins in self._waiting[state].items():
            if read > 0:
                rules.setdefault(read, {})[rule] = origins
        return [
            list(
                dict.fromkeys(
                    tuple(((rule, read), hope[rule]) for rule in some)
                    for origin in next(iter(some.values()))
                    for hope in hopes.get(origin, ())
                )
            )
            for read, some in rules.items()
        ]

    def _can_complete(self, state: int, wanted: Mapping[tuple[str, int], int]) -> bool:
        return any(
            _united(self._completed(state, rule, production, read)) & wanted[rule, read]
            for rule, production, read in self._waiting[state]
            if read > 0
        )

    def _roots(self) -> list[str]:
        """The rule that texts are derived from; none, where it derives no text."""
        return [rule for rule, after in self._tables.transitions[0].items() if self._accepts(after)]

    def _accepts(self, state: int) -> bool:
        return self._tables.reductions[state].get(END) == (ACCEPT, 1)

    def _climb(self, state: int, wanted: Mapping[tuple[str, int], int]) -> _Hope:
        """The hope of a state, where `wanted` may be next behind the rules that are under way."""
        found: dict[str, int] = {}
        inner: list[
            tuple[str, str, _Relation]
        ] = []  # of rules that are begun here: what waits, for what, R of the rest
        for rule, production, read in self._waiting[state]:
            if read == len(production) or production[read] not in self._tables.productions:
                continue
            symbol = production[read]
            found.setdefault(symbol, 0)
            rest = self._completed(self._tables.transitions[state][symbol], rule, production, read + 1)
            if read == 0:
                inner.append((rule, symbol, rest))
            else:
                found[symbol] |= _bits(row & wanted[rule, read] for row in rest)
        if state == 0:
            for rule in self._roots():
                found[rule] = found.get(rule, 0) | 1 << self._numbers.get(END, 0)
        changed = True
        while changed:
            changed = False
            for rule, symbol, rest in inner:
                wider = found[symbol] | _bits(row & found[rule] for row in rest)
                if wider != found[symbol]:
                    found[symbol], changed = wider, True
        return found


def _promises(hope: _Hope, other: _Hope) -> bool:
    """Whether a hope promises no less than another of the same state."""
    return all(hope[rule] & bits == bits for rule, bits in other.items())


def _product(one: _Relation, other: _Relation) -> _Relation:
    return tuple(_united(row for number, row in enumerate(other) if bits >> number & 1) for bits in one)


def _united(rows: Iterable[int]) -> int:
    found = 0
    for row in rows:
        found |= row
    return found


def _bits(flags: Iterable[object]) -> int:
    """The numbers of those that are true, as bits."""
    return sum(1 << number for number, flag in enumerate(flags) if flag)
