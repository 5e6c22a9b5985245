"""What the tables of a compiled grammar hold, for people: counts for `--stats`, states for drawings.

The one place outside `compile/` that reads those tables; nothing that generates depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from maskwright.compile.automaton import Automaton, AutomatonSize
from maskwright.compile.grammar import CompiledGrammar
from maskwright.compiler import GrammarCompiler
from maskwright.kernels import layout as L
from maskwright.kernels.bitmask import allocate_token_bitmask
from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["Cost", "Edge", "Meter", "State", "states_of"]

_NOTHING = AutomatonSize(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one schema has cost so far.

    Attributes:
        compile_ms: milliseconds until it was compiled.
        first_mask_ms: until its first mask was there, compiling included.
        states: automaton states lowered. What another schema of the same compiler has lowered before counts there.
        rows: mask rows computed.
        table_bytes: growth of the tables, mask rows included.
    """

    compile_ms: float
    first_mask_ms: float
    states: int
    rows: int
    table_bytes: int


class Meter:
    """Compiles schemas one after the other and finds out what each has cost."""

    def __init__(self, compiler: GrammarCompiler) -> None:
        self._compiler = compiler
        self._bitmask = allocate_token_bitmask(1, compiler.tokenizer_info.vocab_size, backend="numpy")
        self._automaton: Automaton | None = None
        self._before = _NOTHING
        self._compile_ms = self._first_mask_ms = 0.0

    def compile(self, schema: Any, policy: dict[str, Any]) -> CompiledGrammar:
        """The schema compiled, and its first mask computed. Raises what `compile_json_schema` raises."""
        automaton, before = self._automaton, self._size()
        start = perf_counter()
        compiled = self._compiler.compile_json_schema(schema, **policy)
        middle = perf_counter()
        GrammarMatcher(compiled).fill_next_token_bitmask(self._bitmask)
        self._compile_ms, self._first_mask_ms = 1e3 * (middle - start), 1e3 * (perf_counter() - start)
        self._automaton = compiled.automaton
        self._before = before if self._automaton is automaton else _NOTHING
        return compiled

    def cost(self) -> Cost:
        """What the last schema that was compiled has cost until now."""
        states, rows, nbytes = (now - before for now, before in zip(self._size(), self._before, strict=True))
        return Cost(self._compile_ms, self._first_mask_ms, states, rows, nbytes)

    def _size(self) -> AutomatonSize:
        """Of the automaton in use."""
        return _NOTHING if self._automaton is None else self._automaton.size


@dataclass(frozen=True, slots=True)
class Edge:
    """Bytes that lead from a state to another.

    Attributes:
        bytes: ascending.
        target: the next state, or the first one of the frame that is called.
        return_to: where a call goes on (plus the frame's result code); None when it is no call.
    """

    bytes: list[int]
    target: int
    return_to: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A state that is lowered.

    Attributes:
        number: its number.
        stands_for: the state whose place it takes, or None when it is its own; then it has nothing else.
        edges: where bytes lead.
        result: the result code with which a frame may end here, or None.
        ends: whether it always ends at once.
        counter: what entering it does to the register, in words, or "".
        at_zero: where it goes when the register is used up, or None.
        otherwise: the state whose edges hold for all other bytes, or None.
    """

    number: int
    stands_for: int | None = None
    edges: tuple[Edge, ...] = ()
    result: int | None = None
    ends: bool = False
    counter: str = ""
    at_zero: int | None = None
    otherwise: int | None = None


def states_of(compiled: CompiledGrammar) -> Iterator[State]:
    """The states of the grammar's automaton, as far as they are lowered."""
    automaton = compiled.automaton
    with automaton.lock:
        for number in range(L.DONE, automaton.tables.state_count):
            if automaton.tables.is_lowered(number):
                yield _state(automaton.tables, number)


def _state(tables: Any, number: int) -> State:
    start = number * L.STATE_SIZE
    row, byte_map, final, op, argument, alias, _, otherwise = tables.states[start : start + L.STATE_SIZE].tolist()
    if alias != number:
        return State(number, stands_for=alias)
    groups: dict[int, list[int]] = {}
    for byte, column in enumerate(tables.maps[byte_map : byte_map + 256].tolist()):
        groups.setdefault(int(tables.transitions[row + column]), []).append(byte)
    return State(
        number,
        edges=tuple(
            edge
            for value, members in groups.items()
            if value not in (0, L.REJECT)
            for edge in _edges(tables, value, members)
        ),
        result=final if final >= 0 else None,
        ends=op == L.OP_POP,
        counter={L.OP_SET: f"register := {argument}", L.OP_COUNT: "register -= 1"}.get(op, ""),
        at_zero=argument if op == L.OP_COUNT else None,
        otherwise=otherwise if otherwise > 0 else None,
    )


def _edges(tables: Any, value: int, members: list[int]) -> Iterator[Edge]:
    """What can be done at some bytes; that the frame may end before them is said by the state."""
    if value > 0:
        yield Edge(members, value)
        return
    action = -value
    while action:
        target, block, kind, action = tables.actions[action * L.ACTION_SIZE : (action + 1) * L.ACTION_SIZE].tolist()
        if kind != L.LEAVE:
            yield Edge(members, target, None if kind == L.MOVE else block)
