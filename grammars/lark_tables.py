"""What lark's LALR(1) parser and its contextual lexer know of a grammar, read from lark's own tables.

The parser is in a state; a state says which terminals it takes next, and lark's lexer looks for these alone (and for what
is ignored): each state has a scanner. A scanner tries its terminals in lark's order, and takes the first that matches.
Where that is a regular expression, and the text is all of a string that is a terminal too, it is that one ("keywords").

Where the grammar leaves open whether to shift or to reduce, lark shifts, and of several reductions it takes the one of the
highest priority: such a reduction is *withheld* before some terminals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lark.common import LexerConf, ParserConf
from lark.exceptions import LarkError
from lark.lexer import BasicLexer, Pattern, _create_unless
from lark.load_grammar import Grammar
from lark.parsers.lalr_analysis import LALR_Analyzer, Reduce

from maskwright.grammars.errors import InvalidError

__all__ = ["ACCEPT", "END", "Production", "Scanner", "Tables", "read_tables"]

END = "$END"  # what lark calls the end of a text, where it stands for a terminal
ACCEPT = "$ACCEPT"  # in place of a rule that is made of the start rule alone: the text is whole

Production = tuple[str, ...]  # the names of symbols


@dataclass(frozen=True, slots=True)
class Scanner:
    """What the lexer looks for in a state.

    Attributes:
        terminals: in the order in which they are tried.
        keywords: for some of them, the strings that become terminals of their own, in the order in which they are tried.
    """

    terminals: tuple[str, ...]
    keywords: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Tables:
    """Attributes:
    productions: by the rule's name. A symbol that is no name here is a terminal.
    transitions: by state, numbered from 0, where texts begin: the state after a symbol.
    reductions: by state, by terminal: the rule that is complete before it, and the number of its symbols. ACCEPT before END
        in the state behind the start rule.
    withheld: by (state, rule, production that is complete in it), the terminals before which lark does something else.
    scanners: by state.
    patterns: by terminal, in lark's order; one that is only declared has none.
    ignored: the terminals that `%ignore` names.
    """

    productions: Mapping[str, Sequence[Production]]
    transitions: Sequence[Mapping[str, int]]
    reductions: Sequence[Mapping[str, tuple[str, int]]]
    withheld: Mapping[tuple[int, str, Production], frozenset[str]]
    scanners: Sequence[Scanner]
    patterns: Mapping[str, Pattern]
    ignored: frozenset[str]


def read_tables(grammar: Grammar, start: str) -> Tables:
    """The tables that `Lark(text, parser="lalr", lexer="contextual", start=start)` works with.

    Raises:
        InvalidError: lark cannot make an LALR(1) parser of the grammar.
    """
    try:
        terminals, rules, ignored = grammar.compile([start], set())
        analysis: Any = LALR_Analyzer(ParserConf(rules, {}, [start]), debug=True)  # debug: states stay sets of items
        analysis.compute_lalr()
    except LarkError as error:
        reason = str(error)
        hint = "make it unambiguous, give rules priorities, or leave out lexer=" if "collision" in reason else ""
        raise InvalidError(f"lark cannot make an LALR parser of the grammar: {reason}", hint=hint) from error
    productions: dict[str, list[Production]] = {}
    for rule in rules:
        productions.setdefault(str(rule.origin.name), []).append(_names(rule))
    numbers = _numbered(analysis.lr0_start_states[start])
    transitions = [
        {str(symbol.name): numbers[target] for symbol, target in state.transitions.items()} for state in numbers
    ]
    withheld: dict[tuple[int, str, Production], frozenset[str]] = {}
    scanners, reduced = [], []
    reader = _Scanners(LexerConf(terminals, re, ignored, skip_validation=True))
    for state, number in numbers.items():
        actions = analysis.parse_table.states[state.closure]
        scanners.append(reader.scanner(actions.keys() | set(ignored)))
        reduced.append(
            {
                str(name): (str(rule.origin.name), len(rule.expansion))
                for name, (action, rule) in sorted(actions.items())
                if action is Reduce
            }
        )
        for lookahead, reductions in state.lookaheads.items():
            for rule in reductions:
                if actions[lookahead.name] != (Reduce, rule):
                    key = number, str(rule.origin.name), _names(rule)
                    withheld[key] = withheld.get(key, frozenset()) | {str(lookahead.name)}
    reduced[transitions[0][start]][END] = ACCEPT, 1
    return Tables(productions, transitions, reduced, withheld, scanners, reader.patterns, frozenset(ignored))


def _names(rule: Any) -> Production:
    """The symbols of a rule; lark's names are tokens, which compare slowly."""
    return tuple(str(symbol.name) for symbol in rule.expansion)


def _numbered(start: Any) -> dict[Any, int]:
    """lark's states that can be reached, in an order that is the same in every process; lark's own is not."""
    numbers = {start: 0}
    for state in (pending := [start]):
        for _, target in sorted(state.transitions.items(), key=lambda edge: str(edge[0].name)):
            if target not in numbers:
                numbers[target] = len(numbers)
                pending.append(target)
    return numbers


class _Scanners:
    """Scanners of a grammar. Which strings a regular expression matches is asked once, not for every state."""

    def __init__(self, conf: LexerConf) -> None:
        self.order = BasicLexer(conf).terminals  # as lark sorts them
        _, callbacks = _create_unless(self.order, 0, re, False)  # type: ignore[no-untyped-call]
        self.keywords = {name: callback.scanner.terminals for name, callback in callbacks.items()}
        self.patterns = {terminal.name: terminal.pattern for terminal in self.order}

    def scanner(self, accepted: set[str]) -> Scanner:
        """What lark's lexer looks for where these symbols can be taken."""
        tried = [terminal.name for terminal in self.order if terminal.name in accepted]
        keywords = {
            name: tuple(word.name for word in self.keywords.get(name, ()) if word.name in accepted) for name in tried
        }
        embedded = {
            word
            for name, words in keywords.items()
            for word in words
            if set(self.patterns[word].flags) <= set(self.patterns[name].flags)
        }
        return Scanner(
            tuple(name for name in tried if name not in embedded),
            tuple((name, words) for name, words in keywords.items() if words),
        )
