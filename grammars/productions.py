"""From rules to productions: every rule a list of alternatives, every alternative a sequence of symbols.

    value ::= "[" (value ("," value)*)? "]" | [0-9]+

    value      →  [ value#1 ] | [0-9]+            symbols: regular languages, nonterminals,
    value#1    →  value value#2 | ε               special tokens, frames of JSON values
    value#2    →  , value value#2 | ε

What is regular without recursion becomes one regular language, rules and all: the derivatives of grammars/regular.py do
the rest. Alternatives that derive no text are dropped; a rule that has no other is *unproductive*. Left recursion is then
solved away (left_recursion.py), so that the symbols of what is left always begin with something new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches

from maskwright.grammars import regular
from maskwright.grammars.charset import CharSet
from maskwright.grammars.errors import InvalidError, LimitExceeded, UnsatisfiableError
from maskwright.grammars.regular import EMPTY, EPSILON, Regex
from maskwright.grammars.rules import Call, Choice, Frame, Json, Loop, Node, Reader, Rules, Special, Switch, Text
from maskwright.grammars.rules import Sequence as SequenceNode

__all__ = ["Alternative", "Branch", "Nonterminal", "Productions", "Symbol", "simplified"]

MAX_PRODUCTIONS = 200_000
_MAX_COLLAPSED = 5_000  # leaves of a rule that becomes one regular language


class Nonterminal:
    """A rule after the front end. Compared by identity.

    Attributes:
        name: the rule's name; with #n, a part of it.
        alternatives: what it derives.
        nullable: whether it derives the empty text.
        loop: the nonterminal T such that this one, followed by T, derives no more than this one; None if none is known.
    """

    __slots__ = ("alternatives", "loop", "name", "nullable")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alternatives: list[Alternative] = []
        self.nullable = False
        self.loop: Nonterminal | None = None

    def __repr__(self) -> str:
        return self.name


class Branch:
    """A Switch that has read some characters. Compared by the switch and the state of its reader.

    Attributes:
        reader: its state.
        after: by the number of a text, what follows it.
    """

    __slots__ = ("_hash", "after", "reader")

    def __init__(self, reader: Reader, after: Callable[[int], list[Alternative]]) -> None:
        self.reader, self.after = reader, after
        self._hash = hash((reader, id(after)))

    def transitions(self) -> Iterator[tuple[CharSet, Branch]]:
        """Disjoint sets of characters, and the branch after each."""
        for characters, reader in self.reader.transitions():
            yield characters, Branch(reader, self.after)

    def endings(self) -> Iterator[Alternative]:
        """What may follow where a text is complete."""
        for number in self.reader.complete:
            yield from self.after(number)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Branch) and self.after is other.after and self.reader == other.reader


Symbol = Regex | Nonterminal | Special | Frame | Branch
Alternative = tuple[Symbol, ...]


def simplified(symbols: Iterable[Symbol]) -> Alternative:
    """The same texts with fewer symbols: neighbouring regular languages are one, loops after themselves are dropped."""
    found: list[Symbol] = []
    for symbol in symbols:
        last = found[-1] if found else None
        if isinstance(symbol, Regex):
            if symbol is EPSILON:
                continue
            if isinstance(last, Regex):
                found[-1] = regular.concat(last, symbol)
                continue
        elif isinstance(last, Nonterminal) and last.loop is not None and symbol is last.loop:
            continue
        found.append(symbol)
    return tuple(found)


class Productions:
    """The productions of some rules.

    Args:
        rules: as a front end wrote them.
        alphabet: characters in which texts can be finished; None: all.
        prepare: what becomes of the node behind a text of a Switch before it is taken apart (schemas are loaded).

    Attributes:
        root: what whole texts are derived from; it is productive.
        unproductive: names of rules that derive no text at all, wherever they are called.

    Raises:
        InvalidError: a rule is called that is not there.
        UnsatisfiableError: the root derives no text.
        LimitExceeded: there are more than MAX_PRODUCTIONS symbols.
    """

    def __init__(
        self, rules: Rules, alphabet: CharSet | None = None, prepare: Callable[[Node], Node] | None = None
    ) -> None:
        self._rules, self._alphabet, self._prepare = rules, alphabet, prepare
        self._letters = None if alphabet is None else regular.repeat(regular.chars(alphabet), 0)
        self._collapsed: dict[str, tuple[Regex, int] | None] = {}
        self._nonterminals: dict[str, Nonterminal] = {}
        self._parts: dict[str, int] = {}
        self._symbols = 0
        self._todo: list[tuple[Nonterminal, Node]] = []
        if rules.root not in rules.bodies:
            known = ", ".join(list(rules.bodies)[:5])
            raise InvalidError(f"there is no rule {rules.root!r} to start from", hint=f"the rules are {known}, ...")
        self._collapse()
        self.root = self._nonterminal(rules.root)
        while self._todo:
            target, node = self._todo.pop()
            target.alternatives = self._alternatives(node, target.name)
        self._all = list(self._nonterminals.values())
        self._drop_unproductive()
        self._find_nullable()

    # -------------------------------------------------------------------- regular rules

    def _collapse(self) -> None:
        """Find the rules that are regular languages: those that call only such rules, and not in a circle."""
        bodies, position = self._rules.bodies, self._rules.positions
        open_rules: set[str] = set()
        for name in bodies:
            stack = [name]
            while stack:
                current = stack[-1]
                if current in self._collapsed:
                    stack.pop()
                    continue
                called = list(_calls(bodies[current]))
                for call in called:
                    if call.name not in bodies:
                        where = call.position if call.position is not None else position.get(current)
                        near = get_close_matches(call.name, bodies, 1)
                        hint = f"did you mean {near[0]!r}?" if near else "define it, or correct the name"
                        reason = f"rule {current!r} calls {call.name!r}, which is not defined"
                        raise InvalidError(reason, position=where, hint=hint)
                if current not in open_rules:
                    open_rules.add(current)
                    missing = [call.name for call in called if call.name not in self._collapsed]
                    self._collapsed.update(dict.fromkeys(open_rules.intersection(missing)))
                    stack += [other for other in missing if other not in open_rules]
                    continue
                self._collapsed[current] = self._regular(bodies[current])
                open_rules.discard(current)
                stack.pop()

    def _regular(self, node: Node) -> tuple[Regex, int] | None:
        """A node's language and number of leaves, if it is regular and not too large."""
        try:
            found = self._language(node)
        except LimitExceeded:
            return None  # nested too deeply for one language: it stays apart
        return None if found is None or found[1] > _MAX_COLLAPSED else found

    def _language(self, node: Node) -> tuple[Regex, int] | None:
        assert not isinstance(node, Json), "schemas are loaded before (compile/embedded.py)"
        if isinstance(node, Text):
            language = node.language
            if self._letters is not None:
                language = regular.intersect(language, self._letters)
            return (EMPTY if regular.is_empty(language) else language), 1
        if isinstance(node, Call):
            return self._collapsed.get(node.name)
        if isinstance(node, Loop):
            inside = self._language(node.item)
            return None if inside is None else (regular.repeat(inside[0], node.low, node.high), inside[1] + 1)
        if isinstance(node, Special | Frame | Switch):
            return None
        parts = []
        for item in node.items:
            part = self._language(item)
            if part is None:
                return None
            parts.append(part)
        size = sum(count for _, count in parts)
        if size > _MAX_COLLAPSED:
            return None
        languages = [language for language, _ in parts]
        if isinstance(node, SequenceNode):
            return regular.concat(*languages), size
        return regular.alternate(*languages), size

    # -------------------------------------------------------------------- productions

    def _nonterminal(self, name: str) -> Nonterminal:
        found = self._nonterminals.get(name)
        if found is None:
            found = self._nonterminals[name] = Nonterminal(name)
            self._todo.append((found, self._rules.bodies[name]))
        return found

    def _part(self, owner: str) -> Nonterminal:
        """A new nonterminal for a part of a rule."""
        rule = owner.split("#")[0]
        number = self._parts[rule] = self._parts.get(rule, 0) + 1
        name = f"{rule}#{number}"
        found = self._nonterminals[name] = Nonterminal(name)
        return found

    def _alternatives(self, node: Node, owner: str) -> list[Alternative]:
        """What a node derives: alternatives without duplicates, regular ones together."""
        found = self._regular(node)
        if found is not None:
            return [] if found[0] is EMPTY else [simplified((found[0],))]
        if isinstance(node, Choice):
            alternatives = [part for item in node.items for part in self._alternatives(item, owner)]
            return self._joined(alternatives)
        if isinstance(node, SequenceNode):
            symbols: list[Symbol] = []
            for item in node.items:
                symbol = self._symbol(item, owner)
                if symbol is None:
                    return []
                symbols += symbol
            return [simplified(symbols)]
        if isinstance(node, Loop):
            return self._loop(node, owner)
        symbol = self._symbol(node, owner)
        return [] if symbol is None else [symbol]

    def _joined(self, alternatives: list[Alternative]) -> list[Alternative]:
        languages = [part[0] for part in alternatives if len(part) == 1 and isinstance(part[0], Regex)]
        if len(languages) < 2:
            return list(dict.fromkeys(alternatives))
        others = [part for part in alternatives if not (len(part) == 1 and isinstance(part[0], Regex))]
        return [simplified((regular.alternate(*languages),)), *dict.fromkeys(others)]

    def _symbol(self, node: Node, owner: str) -> Alternative | None:
        """A node as symbols of a sequence; None when it derives nothing."""
        assert not isinstance(node, Json), "schemas are loaded before (compile/embedded.py)"
        self._symbols += 1
        if self._symbols > MAX_PRODUCTIONS:
            raise LimitExceeded(
                "max_productions",
                self._symbols,
                MAX_PRODUCTIONS,
                what="the grammar's rules written out",
                hint="use smaller counts {m,n}, or let items of large counts be regular",
            )
        if isinstance(node, Special | Frame):
            return (node,)
        if isinstance(node, Switch):
            return self._switch(node, owner)
        found = self._regular(node)
        if found is not None:
            return None if found[0] is EMPTY else simplified((found[0],))
        if isinstance(node, Call):
            return (self._nonterminal(node.name),)
        if isinstance(node, SequenceNode):
            symbols: list[Symbol] = []
            for item in node.items:
                symbol = self._symbol(item, owner)
                if symbol is None:
                    return None
                symbols += symbol
            return tuple(symbols)
        part = self._part(owner)
        part.alternatives = self._alternatives(node, part.name)
        return (part,)

    def _switch(self, node: Switch, owner: str) -> Alternative | None:
        if self._letters is not None:  # some of its texts may not be writable: that must be known before they are read
            whole = node.spelled()
            return self._symbol(whole if self._prepare is None else self._prepare(whole), owner)
        known: dict[int, list[Alternative]] = {}

        def after(number: int) -> list[Alternative]:
            found = known.get(number)
            if found is None:
                way = node.behind(number)
                way = way if self._prepare is None else self._prepare(way)
                inside = Productions(Rules({owner: way}, owner), None, self._prepare)
                found = known[number] = inside.root.alternatives
            return found

        return (Branch(node.reader, after),)

    def _loop(self, node: Loop, owner: str) -> list[Alternative]:
        """Items one after the other: right-recursive parts, one a round where the rounds are counted."""
        item = self._symbol(node.item, owner)
        if item is None:
            return [()] if node.low == 0 else []
        rest: Alternative
        if node.high is None:
            star = self._part(owner)
            star.alternatives = [(), simplified((*item, star))]
            star.loop = star
            rest = (star,)
            rounds = 0
        else:
            rest, rounds = (), node.high - node.low
        for _ in range(rounds):
            part = self._part(owner)
            part.alternatives = [(), simplified((*item, *rest))]
            rest = (part,)
            self._symbols += len(item) + 1
        self._symbols += node.low * len(item)
        if self._symbols > MAX_PRODUCTIONS:
            self._symbol(node.item, owner)  # raises
        return [simplified(item * node.low + rest)]

    # -------------------------------------------------------------------- fixpoints

    def _drop_unproductive(self) -> None:
        productive = _least(self._all, lambda symbol, known: not isinstance(symbol, Nonterminal) or symbol in known)
        for nonterminal in self._all:
            nonterminal.alternatives = [
                alternative
                for alternative in nonterminal.alternatives
                if all(not isinstance(symbol, Nonterminal) or symbol in productive for symbol in alternative)
            ]
        self.unproductive = [part.name for part in self._all if part not in productive and "#" not in part.name]
        if self.root not in productive:
            culprits = ", ".join(map(repr, self.unproductive[:5]))
            raise UnsatisfiableError(
                f"no text can be derived from rule {self.root.name!r}",
                position=self._rules.positions.get(self.root.name),
                hint=f"give an alternative that ends to one of {culprits}",
            )

    def _find_nullable(self) -> None:
        def empty(symbol: Symbol, known: set[Nonterminal]) -> bool:
            return symbol.nullable if isinstance(symbol, Regex) else symbol in known

        for nonterminal in _least(self._all, empty):
            nonterminal.nullable = True


def _least(nonterminals: Sequence[Nonterminal], holds: Callable[[Symbol, set[Nonterminal]], bool]) -> set[Nonterminal]:
    """The least set of nonterminals with an alternative all of whose symbols hold, given the set."""
    users: dict[Nonterminal, set[Nonterminal]] = {}
    for nonterminal in nonterminals:
        for alternative in nonterminal.alternatives:
            for symbol in alternative:
                if isinstance(symbol, Nonterminal):
                    users.setdefault(symbol, set()).add(nonterminal)
    known: set[Nonterminal] = set()
    queue = list(nonterminals)
    while queue:
        nonterminal = queue.pop()
        if nonterminal in known:
            continue
        if any(all(holds(symbol, known) for symbol in alternative) for alternative in nonterminal.alternatives):
            known.add(nonterminal)
            queue += users.get(nonterminal, ())
    return known


def _calls(node: Node) -> Iterable[Call]:
    """The calls in a node."""
    todo = [node]
    while todo:
        current = todo.pop()
        if isinstance(current, Call):
            yield current
        elif isinstance(current, Loop):
            todo.append(current.item)
        elif isinstance(current, SequenceNode | Choice):
            todo += current.items
