"""lark's LALR(1) parser as a machine that reads characters: what it does with a terminal, in any of its states.

The parser is deterministic: its stack and the next terminal say which rules are reduced before the terminal is shifted. A
frame of our own stack is a state of the parser's, and a reduction of k symbols ends k frames: each says to the one below
how many are still to end, of which rule, and what is being read (a *unit*, lark_units). So the reductions before a
terminal are made where the terminal begins, and a text goes on only where it is shifted after them.

                                stack (state 0 first)        next
    a + b    is read as         0                            NAME: shift
                                0 name                       +: name is reduced to atom, product, sum in one go, shift
                                0 sum +                      NAME: shift

Reductions that stay within the states that are known are made at once (`Parser.read`), so that chains of rules with one
symbol, the levels of an expression, cost nothing. A state in which rules are only reduced is never a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from maskwright.grammars.lark_liveness import always_goes_on
from maskwright.grammars.lark_scanner import NOTHING, Lexer
from maskwright.grammars.lark_tables import ACCEPT, END, Tables
from maskwright.grammars.lark_units import NotFree, Unit, Units
from maskwright.grammars.regular import EPSILON

__all__ = ["AT_END", "Code", "Parser", "Pop", "Push", "Stack", "parser_of"]

AT_END = Unit((END,), (), (NOTHING,), EPSILON)  # nothing more comes
MAX_REDUCTIONS = 10_000  # before one terminal: where rules that derive nothing follow each other, lark never ends

Stack = tuple[int, ...]  # states, the one of the frame first


class Code(NamedTuple):
    """How a frame ends: a rule is being reduced.

    Attributes:
        rule: its name, or ACCEPT.
        left: how many more symbols it takes from the stack.
        unit, place: what is read behind it, and which of its terminals is next.
    """

    rule: str
    left: int
    unit: Unit
    place: int


class Pop(NamedTuple):
    """The frame ends."""

    code: Code


class Push(NamedTuple):
    """The unit is shifted, or the text accepted: the states that are above the frame's own while the unit is read."""

    states: Stack


class Parser:
    """lark's parser and lexer.

    Args:
        tables: lark's.
        lexer: the automaton of their scanners.
        units: what may be read in them.
    """

    def __init__(self, tables: Tables, lexer: Lexer, units: Units) -> None:
        self.tables, self.lexer, self.units = tables, lexer, units
        self._codes: dict[int, dict[Code, int]] = {}

    def read(self, stack: Stack, unit: Unit, place: int = 0) -> Pop | Push | None:
        """What happens before a unit from terminal number `place` of it on; None where it cannot come.

        Args:
            stack: the state of the frame, and states above it.
        """
        found = list(stack)
        for _ in range(MAX_REDUCTIONS):
            terminal = unit.terminals[place]
            reduction = self.tables.reductions[found[-1]].get(terminal)
            if reduction is not None:
                rule, symbols = reduction
                left = symbols - len(found)
                if left >= 0:
                    return Pop(Code(rule, left, unit, place))
                del found[len(found) - symbols :]
                if rule == ACCEPT:
                    return Push(())
                after = self.tables.transitions[found[-1]][rule]
            else:
                shifted = self.tables.transitions[found[-1]].get(terminal)
                if shifted is None or not self.units.fits(unit, place, shifted):
                    return None
                after = shifted
            found.append(after)
            if reduction is None:
                place += 1
                if place == len(unit.terminals):
                    return Push(tuple(found[1:]))
        return None

    def go_on(self, state: int, code: Code) -> Pop | Push | None:
        """What the frame of a state does when the one above it has ended."""
        if code.left > 0:
            return Pop(code._replace(left=code.left - 1))
        if code.rule == ACCEPT:
            return Push(())
        return self.read((state, self.tables.transitions[state][code.rule]), code.unit, code.place)

    def only_reduces(self, state: int) -> bool:
        """Whether no terminal is shifted in a state."""
        return all(name in self.tables.productions for name in self.tables.transitions[state])

    # ---------------------------------------------------------------- codes

    def codes(self, state: int) -> Mapping[Code, int]:
        """The ends of a state's frame, numbered from 1."""
        found = self._codes.get(state)
        if found is None:
            ends = (
                Code(rule, symbols - 1, unit, place)
                for rule, symbols in self._begun[state]
                for unit, place in self._before.get(rule, ())
            )
            found = self._codes[state] = {code: number for number, code in enumerate(ends, 1)}
        return found

    @cached_property
    def _begun(self) -> Sequence[dict[tuple[str, int], None]]:
        """By state, the rules that are begun in it, each with the number of symbols that have been read."""
        begun: list[dict[tuple[str, int], None]] = [{} for _ in self.tables.transitions]
        for state, transitions in enumerate(self.tables.transitions):
            for rule in transitions:
                for production in self.tables.productions.get(rule, ()):
                    after = state
                    for symbols, name in enumerate(production, 1):
                        after = self.tables.transitions[after][name]
                        begun[after][rule, symbols] = None
            if self.tables.reductions[state].get(END) == (ACCEPT, 1):
                begun[state][ACCEPT, 1] = None
        return begun

    @cached_property
    def _before(self) -> Mapping[str, list[tuple[Unit, int]]]:
        """By rule, the places of units before which it may be reduced."""
        rules: dict[str, dict[str, None]] = {}
        for reductions in self.tables.reductions:
            for terminal, (rule, _) in reductions.items():
                rules.setdefault(terminal, {})[rule] = None
        found: dict[str, list[tuple[Unit, int]]] = {}
        for unit in (AT_END, *self.units.every):
            for place, terminal in enumerate(unit.terminals):
                for rule in rules.get(terminal, ()):
                    found.setdefault(rule, []).append((unit, place))
        return found


def parser_of(tables: Tables, lexer: Lexer) -> Parser | None:
    """The parser; None where a text that it has taken might not go on."""
    try:
        units = Units(tables, lexer)
    except NotFree:
        return None
    return Parser(tables, lexer, units) if always_goes_on(tables, units.never, units.unreadable) else None
