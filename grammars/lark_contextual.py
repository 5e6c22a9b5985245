"""The texts that lark parses with `parser="lalr", lexer="contextual"`, as rules that are free of any context.

For grammars whose parser cannot be run as it is (lark_parser), are joined with others, or printed.

    1  (p, A)            the rule A where the parser is in state p: its symbols know their states (DeRemer and Pennello,
                         "Efficient computation of LALR(1) look-ahead sets", TOPLAS 4(4), 1982)
    2  (p, A): c > d     the same between two *contexts*: what the lexer is in before A and after it

A context is what the tokens so far mean for the next one: the scanner that looks for it (of the state after the last token,
whatever is reduced before the next), what must not come (an *ahead*, lark_scanner), and which terminals a reduction was
withheld from. It changes with each token, and goes through rules from left to right. So a rule becomes one for each pair of
contexts that it leads from and to, and what a scanner would read otherwise cannot be derived. What is equal is merged,
after each of the steps, so that few rules are left of what are many: most states do not matter to the lexer.

What is derived is context-free, so masks are exact and come to no dead end; that it is what lark accepts is exact but for
what `lark_scanner` says of MAX_AHEAD.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple

from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.lark_scanner import IGNORED, NOTHING, Ahead, Lexer, Words
from maskwright.grammars.lark_tables import END, Tables
from maskwright.grammars.refinement import coarsest
from maskwright.grammars.regular import Regex, alternate, concat
from maskwright.grammars.regular_tables import Machine, paths, shared_languages
from maskwright.grammars.rule_nodes import choice, sequence
from maskwright.grammars.rules import Call, Node, Special, Text

__all__ = ["MAX_ITEMS", "ROOT", "contextual_bodies"]

ROOT = "__start"  # the rule that texts are derived from: no name of a user begins with two underscores
MAX_ITEMS = 1_000_000  # places in productions, each with the contexts before the rule and at the place


@dataclass(frozen=True, slots=True)
class _Terminal:
    """A terminal, and the state of the lexer that the next token begins in."""

    name: str
    after: int


@dataclass(frozen=True, slots=True)
class _Production:
    """What a rule in a state may be made of. `withheld`: the terminals before which lark does not reduce it."""

    symbols: tuple[_Terminal | int, ...]
    withheld: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Context:
    """What the tokens so far mean for the next.

    Attributes:
        state: of the lexer, that the next token begins in.
        ahead: what must not come.
        withheld: terminals that must not come.
    """

    state: int
    ahead: Ahead = NOTHING
    withheld: frozenset[str] = frozenset()


def contextual_bodies(
    tables: Tables, lexer: Lexer, languages: Mapping[str, Regex], specials: Mapping[str, Special], start: str
) -> dict[str, Node]:
    """The bodies of rules for what lark's contextual lexer and LALR parser accept, those of ROOT first.

    Args:
        tables: lark's.
        lexer: the automaton of their scanners.
        languages: by terminal, its words.
        specials: what terminals without a pattern stand for.
        start: the rule that texts are derived from.

    Raises:
        LimitExceeded: there are too many contexts.
    """
    rules = _SituatedRules(tables, lexer, start)
    tokens = _Tokens(lexer, languages, specials)
    return _SituatedContexts(rules, tokens, lexer.starts[tables.scanners[0]]).bodies()


# -------------------------------------------------------------------- 1: states


class _SituatedRules:
    """Rules where the parser is in some state; equal ones are one, by number.

    Attributes:
        names: of the rules, as the user calls them (or lark, for parts of them).
        productions: of each.
        root: the number of the rule that texts are derived from.
        expected: of each rule, the terminals that may come next where it begins: its first ones, and where it derives
            nothing those after it, END among them.
        expected_at: of each production of each, the same before each of its symbols and at its end.
    """

    def __init__(self, tables: Tables, lexer: Lexer, start: str) -> None:
        numbers: dict[tuple[int, str], int] = {}
        pending: list[tuple[int, str]] = []

        def number(state: int, rule: str) -> int:
            found = numbers.get((state, rule))
            if found is None:
                found = numbers[state, rule] = len(numbers)
                pending.append((state, rule))
            return found

        number(0, start)
        situated: list[list[_Production]] = []
        for before, rule in pending:
            situated.append([])
            for production in tables.productions[rule]:
                state = before
                symbols: list[_Terminal | int] = []
                for name in production:
                    after = tables.transitions[state][name]
                    if name in tables.productions:
                        symbols.append(number(state, name))
                    else:
                        symbols.append(_Terminal(name, lexer.starts[tables.scanners[after]]))
                    state = after
                withheld = tables.withheld.get((state, rule, production), frozenset())
                situated[-1].append(_Production(tuple(symbols), withheld))

        def merged(rule: int, classes: Sequence[int]) -> dict[_Production, None]:
            return dict.fromkeys(
                replace(production, symbols=tuple(classes[s] if isinstance(s, int) else s for s in production.symbols))
                for production in situated[rule]
            )

        classes = coarsest(len(situated), lambda rule, classes: frozenset(merged(rule, classes)))
        first = {kind: rule for rule, kind in reversed(list(enumerate(classes)))}
        self.names = [pending[first[kind]][1] for kind in range(len(first))]
        self.productions = [list(merged(first[kind], classes)) for kind in range(len(first))]
        self.root = classes[0]
        self._find_expected()

    def _find_expected(self) -> None:
        """FIRST and FOLLOW, as fixpoints."""
        count = len(self.productions)
        first: list[set[str | None]] = [set() for _ in range(count)]  # None: the rule derives nothing
        follow: list[set[str]] = [set() for _ in range(count)]
        follow[self.root].add(END)

        def before(symbols: Sequence[_Terminal | int], after: set[str]) -> list[set[str]]:
            """The terminals that may come next before each symbol, and after the last."""
            found = [after]
            for symbol in reversed(symbols):
                if isinstance(symbol, _Terminal):
                    found.append({symbol.name})
                else:
                    own = {name for name in first[symbol] if name is not None}
                    found.append(own | found[-1] if None in first[symbol] else own)
            return found[::-1]

        changed = True
        while changed:
            changed = False
            for rule, productions in enumerate(self.productions):
                for production in productions:
                    begin = before(production.symbols, {""})[0]
                    fresh = {name or None for name in begin} - first[rule]
                    first[rule] |= fresh
                    changed = changed or bool(fresh)
        changed = True
        while changed:
            changed = False
            for rule, productions in enumerate(self.productions):
                for production in productions:
                    for symbol, after in zip(
                        production.symbols, before(production.symbols, follow[rule])[1:], strict=True
                    ):
                        if isinstance(symbol, int) and not after <= follow[symbol]:
                            follow[symbol] |= after
                            changed = True
        self.expected = [frozenset(before([rule], follow[rule])[0]) for rule in range(count)]
        self.expected_at = [
            [[*map(frozenset, before(production.symbols, follow[rule]))] for production in productions]
            for rule, productions in enumerate(self.productions)
        ]


# -------------------------------------------------------------------- tokens


class _Tokens:
    """Terminals between contexts: what is skipped, then a word."""

    def __init__(self, lexer: Lexer, languages: Mapping[str, Regex], specials: Mapping[str, Special]) -> None:
        self._lexer, self._terminals, self._specials = lexer, languages, specials
        self._ways: dict[tuple[int, Ahead, _Terminal], dict[Ahead, dict[Ahead, Words]]] = {}
        self._skipped: dict[tuple[int, Ahead], dict[Ahead, dict[Ahead, Words]]] = {}
        self._languages: dict[Words, Regex] = {}
        self._skips: dict[tuple[int, Ahead, Ahead], Regex] = {}

    def after(self, context: _Context, terminal: _Terminal) -> list[_Context]:
        """The contexts that a terminal leads to."""
        if terminal.name in context.withheld:
            return []
        if terminal.name in self._specials:
            return [_Context(terminal.after)]
        return [_Context(terminal.after, ahead) for ahead in self.ways(context, terminal)]

    def ways(self, context: _Context, terminal: _Terminal) -> dict[Ahead, dict[Ahead, Words]]:
        """By the ahead after a word: by the ahead before it, which what is skipped first leads to, the words."""
        key = context.state, context.ahead, terminal
        found = self._ways.get(key)
        if found is None:
            found = self._ways[key] = {}
            for before in self.skipped(context):
                for ahead, words in self._read(context.state, before, terminal.name, terminal.after).items():
                    found.setdefault(ahead, {})[before] = words
        return found

    def skipped(self, context: _Context) -> dict[Ahead, dict[Ahead, Words]]:
        """The aheads that skipping leads to, the context's own the first, with what is skipped between neighbours."""
        key = context.state, context.ahead
        found = self._skipped.get(key)
        if found is None:
            found = self._skipped[key] = {}
            for ahead in (pending := [context.ahead]):
                if ahead not in found:
                    found[ahead] = self._read(context.state, ahead, IGNORED, context.state)
                    pending += found[ahead]
        return found

    def behaviour(self, context: _Context, expected: frozenset[str]) -> Hashable:
        """What a context is to terminals that may come next: two of which it is equal are as good as one."""
        numbers = {context.ahead: 0}
        found = []
        for ahead in (pending := [context.ahead]):
            scan = self._lexer.scan(context.state, ahead)
            skips = sorted(
                (words, after) for after, words in self._read(context.state, ahead, IGNORED, context.state).items()
            )
            for _, after in skips:
                if after not in numbers:
                    numbers[after] = len(numbers)
                    pending.append(after)
            taken = frozenset((key, words) for key, words in scan.items() if key[0] in expected)
            found.append((taken, tuple((words, numbers[after]) for words, after in skips)))
        return tuple(found), context.withheld & expected

    def _read(self, state: int, ahead: Ahead, name: str, after: int) -> dict[Ahead, Words]:
        """What is taken as `name`, by the ahead that matters where the next token begins in the state `after`."""
        found: dict[Ahead, Words] = {}
        for (taken, left), words in self._lexer.scan(state, ahead).items():
            if taken == name:
                left = self._lexer.restricted(left, after)
                found[left] = found[left] | words if left in found else words
        return found

    # ---------------------------------------------------------------- as languages

    def find_languages(self, steps: Iterable[tuple[_Context, _Terminal, _Context]], ends: Iterable[_Context]) -> None:
        """Make what `node` and `end` are made of, all at once, so that equal languages are the same node."""
        asked: dict[Words, None] = {}
        contexts = dict.fromkeys(ends)
        for before, terminal, after in steps:
            contexts[before] = None
            if terminal.name not in self._specials:
                asked.update(dict.fromkeys(self.ways(before, terminal)[after.ahead].values()))
        for context in contexts:
            for onward in self.skipped(context).values():
                asked.update(dict.fromkeys(onward.values()))
        machines = list(self._lexer.terminals.values())
        machines += [Machine(self._lexer.moves, words.first, frozenset(words.ends)) for words in asked]
        found = shared_languages(machines, self._lexer.characters)
        whole = dict(zip(found, self._terminals.values(), strict=False))  # a terminal's own, as it was written
        for words, node in zip(asked, found[len(self._terminals) :], strict=True):
            self._languages[words] = whole.get(node, node)

    def node(self, before: _Context, terminal: _Terminal, after: _Context) -> Node:
        """What a terminal derives between two contexts."""
        special = self._specials.get(terminal.name)
        if special is not None:
            return sequence([Text(self.end(before)), special])
        by_words: dict[Regex, list[Regex]] = {}
        for ahead, words in self.ways(before, terminal)[after.ahead].items():
            by_words.setdefault(self._languages[words], []).append(self._skip(before, ahead))
        return Text(alternate(*(concat(alternate(*skips), words) for words, skips in by_words.items())))

    def end(self, context: _Context) -> Regex:
        """What may be skipped where no token comes after it."""
        return alternate(*(self._skip(context, ahead) for ahead in self.skipped(context)))

    def _skip(self, context: _Context, to: Ahead) -> Regex:
        """What may be skipped from the ahead of a context to another."""
        key = context.state, context.ahead, to
        found = self._skips.get(key)
        if found is None:
            onward = self.skipped(context)
            numbers = {ahead: number for number, ahead in enumerate(onward)}
            ways = {
                numbers[ahead]: {numbers[after]: self._languages[words] for after, words in read.items()}
                for ahead, read in onward.items()
            }
            found = self._skips[key] = paths(ways, 0, numbers[to])
        return found


# -------------------------------------------------------------------- 2: contexts

_Item = tuple[int, int, int, int, int]  # rule, context before it, number of its production, place in it, context there


class _Between(NamedTuple):
    """A rule between two contexts."""

    rule: int
    before: int
    after: int


class _Rest(NamedTuple):
    """What is left of a production from a place on, between the context there and the one after the rule."""

    rule: int
    production: int
    place: int
    here: int
    after: int


class _Step(NamedTuple):
    """A terminal between two contexts."""

    before: int
    terminal: _Terminal
    after: int


_Onward = dict[int, list[_Between | _Step]]  # by the context after a symbol, what the symbol may be


class _SituatedContexts:
    """Rules between contexts.

    A context stands for all that are equal to it before the terminals that are expected where it is met.

    Attributes:
        contexts: by number.
    """

    def __init__(self, rules: _SituatedRules, tokens: _Tokens, state: int) -> None:
        self._rules, self._tokens = rules, tokens
        self._numbers: dict[_Context, int] = {}
        self.contexts: list[_Context] = []
        self._afters: dict[tuple[int, _Terminal], list[int]] = {}
        self._like: dict[tuple[int, frozenset[str]], int] = {}
        self._behaving: dict[Hashable, int] = {}
        self._ends: dict[tuple[int, int], dict[int, None]] = {}  # by (rule, context before it): the contexts after it
        self._first = self._among(self._number(_Context(state)), rules.expected[rules.root])
        self._explore()

    def _number(self, context: _Context) -> int:
        found = self._numbers.get(context)
        if found is None:
            found = self._numbers[context] = len(self.contexts)
            self.contexts.append(context)
        return found

    def _among(self, number: int, expected: frozenset[str]) -> int:
        """The context that stands for one where some terminals are expected."""
        found = self._like.get((number, expected))
        if found is None:
            behaviour = expected, self._tokens.behaviour(self.contexts[number], expected)
            found = self._like[number, expected] = self._behaving.setdefault(behaviour, number)
        return found

    def _explore(self) -> None:
        """Find the contexts after each rule; a rule that is met again in its own production is met once."""
        waiting: dict[tuple[int, int], list[_Item]] = {}
        seen: set[_Item] = set()
        pending: list[_Item] = []

        def add(rule: int, before: int, number: int, place: int, here: int) -> None:
            item = rule, before, number, place, self._among(here, self._rules.expected_at[rule][number][place])
            if item not in seen:
                seen.add(item)
                pending.append(item)

        def begin(rule: int, context: int) -> None:
            if (rule, context) not in self._ends:
                self._ends[rule, context], waiting[rule, context] = {}, []
                for number in range(len(self._rules.productions[rule])):
                    add(rule, context, number, 0, context)

        begin(self._rules.root, self._first)
        while pending:
            item = rule, before, number, place, here = pending.pop()
            if len(seen) > MAX_ITEMS:
                hint = "use fewer terminals that begin alike, or leave out lexer="
                raise LimitExceeded("max_items", len(seen), MAX_ITEMS, what="contexts of a lexer", hint=hint)
            production = self._rules.productions[rule][number]
            if place == len(production.symbols):
                after = self._reduced(production, here)
                if after not in self._ends[rule, before]:
                    self._ends[rule, before][after] = None
                    for user, first, other, at, _ in waiting[rule, before]:
                        add(user, first, other, at + 1, after)
                continue
            symbol = production.symbols[place]
            if isinstance(symbol, int):
                inside = self._among(here, self._rules.expected[symbol])
                begin(symbol, inside)
                waiting[symbol, inside].append(item)
                afters: Iterable[int] = tuple(self._ends[symbol, inside])
            else:
                afters = self._after(symbol, here)
            for after in afters:
                add(rule, before, number, place + 1, after)

    def _after(self, terminal: _Terminal, here: int) -> list[int]:
        found = self._afters.get((here, terminal))
        if found is None:
            found = [self._number(after) for after in self._tokens.after(self.contexts[here], terminal)]
            self._afters[here, terminal] = found
        return found

    def _reduced(self, production: _Production, here: int) -> int:
        if not production.withheld:
            return here
        context = self.contexts[here]
        return self._number(replace(context, withheld=context.withheld | production.withheld))

    # ---------------------------------------------------------------- as rules

    def bodies(self) -> dict[str, Node]:
        """Rules for what can be reached, equal ones as one; the root is the first."""
        ends = [
            after for after in self._ends[self._rules.root, self._first] if END not in self.contexts[after].withheld
        ]
        roots = [_Between(self._rules.root, self._first, after) for after in ends]
        rules: dict[_Between | _Rest, int] = {rule: number for number, rule in enumerate(roots)}
        steps: dict[_Step, int] = {}
        pending: list[_Between | _Rest] = [*roots]

        def number(symbol: _Between | _Rest | _Step) -> int:
            """Of a rule; or, below zero, of a step."""
            if isinstance(symbol, _Step):
                return ~steps.setdefault(symbol, len(steps))
            if symbol not in rules:
                rules[symbol] = len(rules)
                pending.append(symbol)
            return rules[symbol]

        # By rule, its alternatives; each is a sequence of what may be one of some rules, or of some texts.
        alternatives = [
            [[[*map(number, one)] for one in symbols] for symbols in self._alternatives(rule)]
            for rule in pending  # grows while they are numbered
        ]
        texts, ignored = self._texts(steps, ends)
        joined: dict[Node, int] = {}
        written: list[list[list[tuple[int | None, list[int]]]]] = []  # with the number of what the texts are together
        for rows in alternatives:
            written.append([])
            for symbols in rows:
                row: list[tuple[int | None, list[int]]] = []
                for some in symbols:
                    both = choice(texts[~one] for one in some if one < 0) if min(some) < 0 else None
                    number_of = None if both is None else joined.setdefault(both, len(joined))
                    row.append((number_of, [one for one in some if one >= 0]))
                written[-1].append(row)

        def merged(rule: int, classes: Sequence[int]) -> dict[tuple[tuple[int | None, frozenset[int]], ...], None]:
            return dict.fromkeys(
                tuple((text, frozenset(classes[one] for one in called)) for text, called in symbols)
                for symbols in written[rule]
            )

        kinds = coarsest(len(pending), lambda rule, classes: frozenset(merged(rule, classes)))
        first = {kind: rule for rule, kind in reversed(list(enumerate(kinds)))}
        names = _distinct([self._rules.names[pending[first[kind]].rule] for kind in range(len(first))])
        bodies = {
            ROOT: choice(sequence([Call(names[kinds[at]]), Text(end)]) for at, end in enumerate(ignored)),
        }
        nodes = list(joined)
        for kind, name in enumerate(names):
            bodies[name] = choice(
                sequence(
                    choice([*([] if text is None else [nodes[text]]), *(Call(names[one]) for one in sorted(called))])
                    for text, called in symbols
                )
                for symbols in merged(first[kind], kinds)
            )
        return bodies

    def _texts(self, steps: Iterable[_Step], ends: Iterable[int]) -> tuple[list[Node], list[Regex]]:
        """What the steps derive, and what may be skipped at the end of a text in each of the contexts `ends`."""
        asked = [(self.contexts[step.before], step.terminal, self.contexts[step.after]) for step in steps]
        last = [self.contexts[end] for end in ends]
        self._tokens.find_languages(asked, last)
        return [self._tokens.node(*step) for step in asked], [self._tokens.end(context) for context in last]

    def _alternatives(self, rule: _Between | _Rest) -> Iterator[list[Sequence[_Between | _Rest | _Step]]]:
        """What a rule may be made of. Where a production can go on in several contexts, the rest of it is a rule."""
        productions = self._rules.productions[rule.rule]
        starts: list[tuple[int, int, int]]
        if isinstance(rule, _Rest):
            starts = [(rule.production, rule.place, rule.here)]
        else:
            expected = self._rules.expected_at[rule.rule]
            starts = [(at, 0, self._among(rule.before, expected[at][0])) for at in range(len(productions))]
        for number, place, here in starts:
            last = len(productions[number].symbols)
            onward = self._onward(rule.rule, number, place, here, rule.after)
            if place == last and (place, here) in onward:
                yield []
            for after, symbols in onward.get((place, here), {}).items():
                found: list[Sequence[_Between | _Rest | _Step]] = [symbols]
                for at in range(place + 1, last):
                    targets = onward[at, after]
                    if len(targets) > 1:
                        found.append([_Rest(rule.rule, number, at, after, rule.after)])
                        break
                    ((after, symbols),) = targets.items()
                    found.append(symbols)
                yield found

    def _onward(self, rule: int, number: int, place: int, here: int, end: int) -> dict[tuple[int, int], _Onward]:
        """By (place, context there), the ways on from which the rule can end in the context `end`."""
        production = self._rules.productions[rule][number]
        ways: list[dict[int, _Onward]] = []
        reached: Iterable[int] = [here]
        for at in range(place, len(production.symbols)):
            ways.append({one: self._steps(rule, number, at, one) for one in reached})
            reached = dict.fromkeys(after for onward in ways[-1].values() for after in onward)
        last = len(production.symbols)
        found: dict[tuple[int, int], _Onward] = {
            (last, one): {} for one in reached if self._reduced(production, one) == end
        }
        for at in range(last - 1, place - 1, -1):
            for one, onward in ways[at - place].items():
                live = {after: symbols for after, symbols in onward.items() if (at + 1, after) in found}
                if live:
                    found[at, one] = live
        return found

    def _steps(self, rule: int, number: int, place: int, here: int) -> _Onward:
        """The ways over one symbol of a production."""
        symbol = self._rules.productions[rule][number].symbols[place]
        expected = self._rules.expected_at[rule][number][place + 1]
        found: _Onward = {}
        if isinstance(symbol, int):
            inside = self._among(here, self._rules.expected[symbol])
            for after in self._ends[symbol, inside]:
                found.setdefault(self._among(after, expected), []).append(_Between(symbol, inside, after))
        else:
            for after in self._after(symbol, here):
                found.setdefault(self._among(after, expected), []).append(_Step(here, symbol, after))
        return found


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, those that have come before with a number."""
    found: dict[str, None] = {}
    for name in names:
        found[name if name not in found else next(n for k in count(2) if (n := f"{name}.{k}") not in found)] = None
    return list(found)
