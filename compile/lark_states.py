"""States of lark's LALR parser: its stack is ours, and what its lexer reads are the transitions (grammars/lark_parser.py).

A state of the automaton is in a frame of one of the parser's states (or of two: the upper one only reduces) and is

    between tokens     what may be read next, from a free context on (grammars/lark_units.py)
    in a token         that is shifted, or skipped, whichever it becomes: all terminals of the scanner at once
    in a unit          that the parser has made room for
    before a unit      of which the first byte is there, and some frames are still to be pushed

Behind a token, what is read next is tried on the byte that cannot belong to it any more. A unit before which a rule is
reduced ends the frame before its first byte; the result code says what is reduced, and what is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from maskwright.compile.actions import Action, Actions, bytes_of
from maskwright.compile.automaton import Automaton, Private
from maskwright.compile.plans import NOT_SAFE, Plan
from maskwright.grammars import regular
from maskwright.grammars.charset import CharSet
from maskwright.grammars.frames import leading_bytes
from maskwright.grammars.lark_parser import AT_END, Code, Parser, Pop, Push, Stack
from maskwright.grammars.lark_scanner import IGNORED, NOTHING, Ahead
from maskwright.grammars.lark_units import Unit
from maskwright.grammars.regular import Regex
from maskwright.grammars.regular_tables import backwards
from maskwright.kernels import layout as L

__all__ = ["LarkStates"]


class _Between(NamedTuple):
    """Between tokens: what must not come."""

    stack: Stack
    ahead: Ahead


class _Token(NamedTuple):
    """In a token: the place of the lexer."""

    stack: Stack
    place: int


class _InUnit(NamedTuple):
    """In a unit: what is left of it, and what it forbids after itself; `last`: the text ends with it."""

    stack: Stack
    language: Regex
    left: Ahead
    last: bool


class _Before(NamedTuple):
    """Before a unit: the states above the frame's own."""

    states: Stack
    unit: Unit


_Kind = _Between | _Token | _InUnit | _Before


class LarkStates:
    """The states of one parser in an automaton.

    Attributes:
        unproductive, distinct, has_values, needs_keys: as of RuleStates; all rules are of use, and there are no schemas.
    """

    unproductive: Sequence[str] = ()
    distinct, has_values, needs_keys = None, False, False

    def __init__(self, automaton: Automaton, parser: Parser) -> None:
        self.automaton, self.parser = automaton, parser
        self._units, self._lexer = parser.units, parser.lexer
        self._actions = Actions(automaton)
        self._states: dict[_Kind, int] = {}
        self._blocks: dict[tuple[int, int], int] = {}
        self._numbered: dict[int, list[Code]] = {}
        self._useful: dict[tuple[int, int], set[int]] = {}
        self._between: dict[tuple[Stack, Ahead], _Ways] = {}
        self._led: dict[Regex, Sequence[int]] = {}
        self._first: dict[tuple[int, Ahead], Sequence[int]] = {}

    def start(self) -> int:
        """The state that a text starts in."""
        return self._state(_Between((0,), NOTHING))

    def _state(self, kind: _Kind) -> int:
        found = self._states.get(kind)
        if found is None:
            found = self._states[kind] = self.automaton.allocate(1, _Owner(self, kind))
        return found

    def _block(self, state: int, above: int) -> int:
        """The return block of a frame for the frame of the parser's state `above`."""
        found = self._blocks.get((state, above))
        if found is None:
            room = 1 + len(self.parser.codes(above))
            owner = _Returns(self, state, above)
            found = self._blocks[state, above] = self.automaton.allocate(room, owner)
        return found

    # ---------------------------------------------------------------- lowering

    def lower(self, state: int, kind: _Kind) -> None:
        """Publish a state."""
        ways = _Ways(self.automaton)
        if isinstance(kind, _Between):
            self._next(ways, kind.stack, kind.ahead)
        elif isinstance(kind, _Token):
            self._token(ways, kind)
        elif isinstance(kind, _InUnit):
            self._unit(ways, kind)
        else:
            self._push(ways, kind.states[:1], kind.states[1:], kind.unit)
        self._emit(state, ways)

    def lower_return(self, state: int, frame: int, above: int, number: int) -> None:
        """Publish what a frame does when the one above it has ended with a result code."""
        if number == 0:  # no frame ends so but that of a whole text
            self.automaton.emit(state, ())
            return
        codes = self._numbered.get(above)
        if codes is None:
            codes = self._numbered[above] = list(self.parser.codes(above))
        code = codes[number - 1]
        found = self.parser.go_on(frame, code)
        if isinstance(found, Pop):
            self.automaton.emit(state, (), final=self.parser.codes(frame)[found.code], op=L.OP_POP)
        elif found is not None and code.unit is AT_END:
            self.automaton.emit(state, (), final=0, op=L.OP_POP)
        else:
            ways = _Ways(self.automaton)
            self._take(ways, (frame,), found, code.unit)
            self._emit(state, ways)

    def _emit(self, state: int, ways: _Ways) -> None:
        safe = NOT_SAFE
        for plan, targets in ways.plans:
            for number, target in enumerate(targets):
                if target == state:
                    safe = self.automaton.plans(None).safe(plan.partition[number])
        self.automaton.emit(
            state,
            self._actions.edges(ways.actions),
            final=ways.final,
            safe=safe,
            otherwise=L.NOTHING_FOLLOWS if ways.final >= 0 else 0,
        )

    def _next(self, ways: _Ways, stack: Stack, ahead: Ahead) -> None:
        """What may be read from a free context on; kept, for every token that may end before it."""
        found = self._between.get((stack, ahead))
        if found is None:
            found = self._between[stack, ahead] = _Ways(self.automaton)
            at = self._units.start(stack[-1])
            self._characters(found, stack, self._lexer.begin(at, ahead))
            for unit in self._units.units(stack[-1], ahead):
                self._take(found, stack, self.parser.read(stack, unit), unit)
            self._end(found, stack)
        ways.join(found)

    def _end(self, ways: _Ways, stack: Stack) -> None:
        """Whether, and how, the text may end."""
        found = self.parser.read(stack, AT_END)
        if isinstance(found, Pop):
            ways.final = self.parser.codes(stack[0])[found.code]
        elif found is not None:
            ways.final = 0

    def _take(self, ways: _Ways, stack: Stack, found: Pop | Push | None, unit: Unit) -> None:
        """Read a unit, after what the parser does before it."""
        if isinstance(found, Pop):
            leave = self.parser.codes(stack[0])[found.code], 0, L.LEAVE
            ways.add(leave, self._leading(unit.language))
        elif found is not None:
            self._push(ways, stack[:1], found.states, unit)

    def _push(self, ways: _Ways, stack: Stack, above: Stack, unit: Unit) -> None:
        """Push frames, and begin a unit."""
        if not above or len(above) == 1 and self.parser.only_reduces(above[0]):
            last = unit.terminals[-1] == AT_END.terminals[0]
            self._unit(ways, _InUnit((*stack, *above), unit.language, unit.lefts[-1], last))
            return
        target = self._state(_Before(above, unit))
        call = target, self._block(stack[0], above[0]), L.CALL_BEFORE
        ways.add(call, self._leading(unit.language))

    def _unit(self, ways: _Ways, kind: _InUnit) -> None:
        rests = [(characters, rest) for characters, rest in kind.language.transitions() if not regular.is_empty(rest)]
        targets = [self._state(kind._replace(language=rest)) for _, rest in rests]
        ways.over([characters for characters, _ in rests], targets)
        if kind.language.nullable:
            if kind.last:
                ways.final = 0
            else:
                self._next(ways, kind.stack, self._units.after(kind.left, kind.stack[-1]))

    # ---------------------------------------------------------------- tokens

    def _token(self, ways: _Ways, kind: _Token) -> None:
        self._characters(ways, kind.stack, self._lexer.moves[kind.place])
        taken = self._lexer.taken_at(kind.place)
        if taken is None:
            return
        name, left = taken
        state = kind.stack[-1]
        if not self._is_useful(state, name, left):
            return
        if name == IGNORED:
            self._next(ways, kind.stack, self._units.after(left, state))
            return
        after = self.parser.tables.transitions[state][name]
        ahead = self._units.after(left, after)
        if self.parser.only_reduces(after):
            self._next(ways, (*kind.stack, after), ahead)
            return
        call = self._state(_Between((after,), ahead)), self._block(state, after), L.CALL_BEFORE
        ways.add(call, self._beginning(after, ahead))
        self._end(ways, (*kind.stack, after))

    def _characters(self, ways: _Ways, stack: Stack, moves: Iterable[tuple[int, int]]) -> None:
        """Go on in tokens that are shifted, or skipped."""
        kept = [(bits, place) for bits, place in moves if place in self._useful_places(stack[-1], place)]
        ways.over(
            [self._lexer.characters(bits) for bits, _ in kept], [self._state(_Token(stack, place)) for _, place in kept]
        )

    def _beginning(self, state: int, ahead: Ahead) -> Sequence[int]:
        """The bytes with which anything may begin in a free context, and perhaps others."""
        found = self._first.get((state, ahead))
        if found is None:
            bits = 0
            for characters, _ in self._lexer.begin(self._units.start(state), ahead):
                bits |= leading_bytes(self._lexer.characters(characters))
            found = self._first[state, ahead] = bytes_of(bits)
        return found

    def _leading(self, language: Regex) -> Sequence[int]:
        """The bytes with which the texts of a language begin."""
        found = self._led.get(language)
        if found is None:
            bits = 0
            for characters, rest in language.transitions():
                if not regular.is_empty(rest):
                    bits |= leading_bytes(characters)
            found = self._led[language] = bytes_of(bits)
        return found

    def _is_useful(self, state: int, name: str, left: Ahead) -> bool:
        """Whether a token is skipped or shifted in a state of the parser, and leads to a free context."""
        if name == IGNORED:
            return self._units.is_free(state, self._units.after(left, state))
        after = self.parser.tables.transitions[state].get(name)
        return after is not None and self._units.is_free(after, self._units.after(left, after))

    def _useful_places(self, state: int, place: int) -> set[int]:
        """The places of the lexer, among those that one leads to, from which a useful token's end can be reached."""
        found = self._useful.get((state, place))
        if found is None:
            before: dict[int, list[int]] = {}
            ends = []
            reached = {place: None}
            for one in (pending := [place]):
                taken = self._lexer.taken_at(one)
                if taken is not None and self._is_useful(state, *taken):
                    ends.append(one)
                for _, target in self._lexer.moves[one]:
                    before.setdefault(target, []).append(one)
                    if target not in reached:
                        reached[target] = None
                        pending.append(target)
            useful = backwards(before, ends)
            for one in reached:
                self._useful[state, one] = useful
            found = useful
        return found


class _Ways:
    """What can be done in a state, in the making.

    Attributes:
        actions: by byte.
        plans: those by which characters are read, with their targets.
        final: the result code with which the frame may end where the text ends, or -1.
    """

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self.actions: dict[int, list[Action]] = {}
        self.plans: list[tuple[Plan, list[int]]] = []
        self.final = -1

    def add(self, action: Action, first: Iterable[int]) -> None:
        """Something that can be done at some bytes."""
        for byte in first:
            self.actions.setdefault(byte, []).append(action)

    def join(self, other: _Ways) -> None:
        """All that can be done in another state, too."""
        for byte, actions in other.actions.items():
            self.actions.setdefault(byte, []).extend(actions)
        self.plans += other.plans
        self.final = max(self.final, other.final)

    def over(self, sets: Sequence[CharSet], targets: list[int]) -> None:
        """Go over characters of disjoint sets to one target each."""
        plan = self._automaton.plans(None).plan(tuple(sets))
        self.plans.append((plan, targets))
        for low, high, target in self._automaton.lay_plan(plan, targets):
            self.add((target, 0, L.MOVE), range(low, high + 1))


class _Owner(Private):
    """Owner of a state."""

    certain = True
    __slots__ = ("_kind", "_states")

    def __init__(self, states: LarkStates, kind: _Kind) -> None:
        self._states, self._kind = states, kind

    def lower(self, index: int, state: int) -> None:
        self._states.lower(state, self._kind)


class _Returns(Private):
    """Owner of a return block."""

    __slots__ = ("_above", "_frame", "_states")

    def __init__(self, states: LarkStates, frame: int, above: int) -> None:
        self._states, self._frame, self._above = states, frame, above

    def lower(self, index: int, state: int) -> None:
        self._states.lower_return(state, self._frame, self._above, index)
