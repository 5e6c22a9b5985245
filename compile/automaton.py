"""The automaton of one compiler: states of many grammars in one set of tables, lowered when a kernel first reaches them.

A state is allocated with an *owner*, which lowers it on demand; `Automaton.lower` finds the owner. Grammars share it, so
that the inside of a string, a number, white space or a date are lowered once, and their mask rows computed once. It
grows until the compiler starts a new one; grammars keep theirs alive.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from maskwright.compile.mask_rows import MaskRows
from maskwright.compile.mask_table import MaskTable
from maskwright.compile.plans import NOT_SAFE, Plan, Plans, Safe
from maskwright.compile.rows import Row, RowCache
from maskwright.compile.spelling import Spelling
from maskwright.compile.tables import AutomatonTables
from maskwright.compile.token_tables import TokenTables
from maskwright.grammars.errors import GrammarError, LimitExceeded, MaskwrightError, TokenizerError
from maskwright.grammars.stopwatch import MAX_COMPILE_MS, tick
from maskwright.kernels import layout as L

if TYPE_CHECKING:
    from maskwright.compile.keys import OtherKeys

__all__ = ["PUBLISHED", "Automaton", "AutomatonSize", "Edge", "InObject", "Named", "Owner", "Private", "Published"]

Edge = tuple[int, int, int]  # bytes low..high, transition value (a state, a call, or layout.REJECT)


class Owner(Protocol):
    """Lowers the states of one allocation."""

    def lower(self, index: int, state: int) -> None:
        """Publish the record of `state`, number `index` of the allocation."""

    def share_key(self, index: int) -> Hashable | None:
        """What names the language of the state wherever it occurs, while its frame lasts; None when only here."""


class Private:
    """Base of owners whose states mean something in one grammar only.

    Attributes:
        certain: whether all of its states can be entered, so that they may be lowered before they are. (Values are called
            by states of keys that no text may have, for example.)
    """

    __slots__ = ()
    certain = False

    def is_endless(self) -> bool:
        """Whether the states are those of an object that can take on other keys, as many as one likes and with any values."""
        return False

    def place(self) -> str | None:
        """The JSON Pointer of the schema that the states are of, where that is known."""
        return None

    def share_key(self, index: int) -> Hashable | None:
        return None


class InObject(Private):
    """Base of owners of an object's states."""

    __slots__ = ()

    def other_keys(self) -> OtherKeys:
        """What keys the object may have that it does not name."""
        raise NotImplementedError


class Published(Private):
    """Owner of states that are published as they are allocated."""

    def lower(self, index: int, state: int) -> None:
        raise AssertionError(f"state {state} is published by whoever allocated it")


# What the Python objects behind an allocation of states take, as measured over the schemas of MaskBench: its owner, the
# place in its grammar, what was found out about it. An estimate, for the bounds of caches.
_OWNER_BYTES = 1024

PUBLISHED = Published()


class _Gone(Private):
    """Owner of the states of a grammar that is gone."""

    __slots__ = ()

    def lower(self, index: int, state: int) -> None:
        raise AssertionError(f"state {state} belongs to a grammar that is gone")


_GONE = _Gone()


class Named(Published):
    """Owner of published states whose language has a name (see Owner.share_key)."""

    def __init__(self, key: Hashable) -> None:
        self.key = key

    def share_key(self, index: int) -> Hashable | None:
        return self.key


def _classes(edges: Iterable[Edge], default: int) -> tuple[list[int], bytearray]:
    """The row of transition values of some edges, and low, high, class number of each edge, one after the other."""
    row, numbers, shape = [default], {default: 0}, bytearray()
    for low, high, value in edges:
        number = numbers.get(value)
        if number is None:
            number = numbers[value] = len(row)
            row.append(value)
        shape += bytes((low, high, number))
    return row, shape


class AutomatonSize(NamedTuple):
    """How much is in an automaton: states that are lowered, mask rows, and bytes of the tables and rows."""

    states: int
    rows: int
    nbytes: int


class Automaton:
    """The states of many grammars over one vocabulary. Whoever writes holds `lock`; kernels read without it.

    Attributes:
        tables: the flat tables; `address` is where their header lies.
        rows: the mask rows of its states.
        mask_table: where its matchers' masks have numbers.
        policies: what grammars of one text policy share (compile/lowering.py), by policy.
        pair_maps: int32 [65536]; maps of states that two bytes lead out of (kernels/literals.py).
    """

    def __init__(
        self, tokens: TokenTables, rows: RowCache, max_states: int, mask_table: MaskTable | None = None
    ) -> None:
        self.tokens = tokens
        self.mask_table = MaskTable(tokens.vocab_size) if mask_table is None else mask_table
        self.tables = AutomatonTables(tokens, max_states)
        self.address = self.tables.address
        self.lock = threading.RLock()
        self.policies: dict[Hashable, Any] = {}
        self.pair_maps = np.zeros(1 << 16, np.int32)
        self.rows = MaskRows(self, rows)
        self._starts: list[int] = []
        self._owners: list[Owner] = []
        self._gone = 0  # how many of them have been let go of
        self._failures: dict[int, MaskwrightError] = {}
        self._ends: dict[int, int] = {}
        self._maps: dict[bytes, int] = {}
        self._pairs: dict[tuple[bytes, bytes], tuple[int, int]] = {}
        self._plans: dict[Spelling | None, Plans] = {}
        reserved = tuple(self.allocate(1, PUBLISHED) for _ in range(4))
        assert reserved == (0, L.DONE, L.ENDED, L.SPLIT)
        for state in reserved:
            self.emit(state, ())

    @property
    def nbytes(self) -> int:
        """Bytes of the tables and, estimated, of the Python objects behind them; rows are counted by themselves."""
        return self.tables.nbytes + _OWNER_BYTES * (len(self._owners) - self._gone)

    @property
    def row_bytes(self) -> int:
        """Bytes of the mask rows that were computed here, those that other automata share among them."""
        return self.rows.computed_bytes

    @property
    def rows_held(self) -> tuple[Row, ...]:
        """The mask rows that states of this automaton use."""
        return self.rows.held

    @property
    def is_filling(self) -> bool:
        """Whether half of the states that it may have are there, so that new grammars should begin another."""
        return self.tables.state_count > self.tables.max_states // 2

    def allocate(self, count: int, owner: Owner) -> int:
        """Numbers for `count` states that `owner` lowers when they are reached; the first of them."""
        first = self.tables.allocate(count)
        self.own(first, owner)
        return first

    def resolved(self, state: int) -> tuple[int, int]:
        """The state and register that a text has which starts in `state`, lowered."""
        while True:
            _, _, _, op, argument, alias, _, _ = self._record(state)
            if alias == state:
                break
            state = alias
        if op == L.OP_POP:
            return L.DONE, 0
        assert op in (L.OP_NONE, L.OP_SET), "a text cannot start in the middle of a count"
        return state, argument if op == L.OP_SET else 0

    def _record(self, state: int) -> list[int]:
        """The record of a state, STATE_*."""
        found: list[int] = self.tables.states[state * L.STATE_SIZE : (state + 1) * L.STATE_SIZE].tolist()
        return found

    def own(self, first: int, owner: Owner) -> None:
        """Make `owner` the owner of the states from `first` on, the newest ones."""
        self._starts.append(first)
        self._owners.append(owner)

    def other_keys(self, state: int) -> OtherKeys:
        """What a matcher must know of the objects that have a key without a name before a state (layout.OTHER_KEY)."""
        owner = self._find(state)[0]
        assert isinstance(owner, InObject), "a key was noted elsewhere than in an object"
        return owner.other_keys()

    def let_go(self, firsts: Iterable[int]) -> None:
        """Let go of the owners of allocations, given as their first states: no text comes there any more.

        For finalizers, which run anywhere: it takes no lock.
        """
        for first in firsts:
            self._owners[bisect_right(self._starts, first) - 1] = _GONE
            self._gone += 1

    def room_from(self, state: int) -> int:
        """How many states from `state` on were allocated with it: what a return block has room for."""
        block = bisect_right(self._starts, state)
        return (self._starts[block] if block < len(self._starts) else self.tables.state_count) - state

    def _find(self, state: int) -> tuple[Owner, int]:
        block = bisect_right(self._starts, state) - 1
        return self._owners[block], state - self._starts[block]

    def lower(self, state: int) -> None:
        """Publish a state that a kernel has reached.

        An error is remembered and raised again for the same state, but for that of a time that is over.
        """
        if self.tables.is_lowered(state):
            return
        if state in self._failures:
            raise self._failures[state]
        owner, index = self._find(state)
        try:
            tick()
            owner.lower(index, state)
        except MaskwrightError as error:
            if isinstance(error, GrammarError) and (place := self.place_of(state)) is not None:
                error.at(place)
            if not (isinstance(error, LimitExceeded) and error.limit == MAX_COMPILE_MS):
                self._failures[state] = error
            raise

    def place_of(self, state: int) -> str | None:
        """The JSON Pointer of the schema that a state is of, where that is known."""
        owner = self._find(state)[0]
        return owner.place() if isinstance(owner, Private) else None

    def share_key(self, state: int) -> Hashable | None:
        """See Owner.share_key."""
        owner, index = self._find(state)
        return owner.share_key(index)

    def emit(
        self,
        state: int,
        edges: Iterable[Edge],
        *,
        final: int = -1,
        op: int = L.OP_NONE,
        argument: int = 0,
        safe: Safe = NOT_SAFE,
        default: int = 0,
        otherwise: int = 0,
    ) -> None:
        """Publish a state with these transitions; bytes of no edge have the transition value `default`."""
        row, shape = _classes(edges, default)
        tables = self.tables
        tables.set_state(
            state,
            tables.append_transitions(row),
            self.byte_map(bytes(shape)),
            final,
            op,
            argument,
            tables.add_safe(*safe) if safe is not NOT_SAFE else 0,
            otherwise,
        )

    def emit_pair(
        self,
        state: int,
        edges: Iterable[Edge],
        extra: bytes,
        frame: int,
        default: int,
        op: int,
        argument: int,
    ) -> None:
        """Publish `state` with `edges`, and a call of `frame` over the bytes of `extra`; behind it, `edges` alone.

        Half of all states of objects and arrays are made here. The two share one row: the second state's map has no
        class for the call at its end.

        Args:
            extra: white space, whose frame has the state of a run of it before it (kernels/layout.py: SPACED).
        """
        row, shape = _classes(edges, default)
        tables = self.tables
        key = bytes(shape), extra
        maps = self._pairs.get(key)
        if maps is None:
            both = key[0] + b"".join(bytes((byte, byte, len(row))) for byte in extra)
            maps = self._pairs[key] = self.byte_map(key[0]), self.byte_map(both)
        offset = tables.transition_count
        after = tables.append_state(offset, maps[0])
        self.own(after, PUBLISHED)
        row.append(tables.append_call(frame, after, True))
        tables.append_transitions(row)
        mark = L.SPACED_VALUE if default < 0 and len(row) == 2 else L.SPACED  # a call
        tables.set_state(state, offset, maps[1], -1, op, argument, otherwise=mark)

    def byte_map(self, shape: bytes) -> int:
        """Offset of the map of byte classes of some edges: low, high, class number of each, one after the other.

        Few of them recur, so that they are told apart without being spelled out.
        """
        found = self._maps.get(shape)
        if found is None:
            classes = bytearray(256)
            for low, high, number in zip(shape[::3], shape[1::3], shape[2::3], strict=True):
                classes[low : high + 1] = bytes((number,)) * (high - low + 1)
            found = self._maps[shape] = self.tables.add_map(bytes(classes))
        return found

    def plans(self, spelling: Spelling | None) -> Plans:
        """The plans of a way to write characters; kept for all grammars."""
        found = self._plans.get(spelling)
        if found is None:
            found = self._plans[spelling] = Plans(spelling, self.tokens)
        return found

    def lay_plan(self, plan: Plan, targets: Sequence[int]) -> list[Edge]:
        """The edges of a plan whose numbers stand for `targets`; states inside characters are published, equal ones once."""
        first = self._inside(plan, targets) if plan.nodes else 0
        return [(low, high, targets[number] if number >= 0 else first + ~number) for low, high, number in plan.edges]

    def _inside(self, plan: Plan, targets: Sequence[int]) -> int:
        """The first of the states inside characters that a plan has; its node n is n states further."""
        key = array("i", targets).tobytes()
        first = plan.laid.get(key)
        if first is None:
            maps = [self.tables.add_map(classes) for classes, _ in plan.nodes]
            first = plan.laid[key] = self.tables.append_states(*plan.rows, maps, targets)
            self.own(first, PUBLISHED)
        return first

    def end(self, result: int) -> int:
        """The state that ends its frame at once with a result code."""
        state = self._ends.get(result)
        if state is None:
            state = self._ends[result] = self.allocate(1, PUBLISHED)
            self.emit(state, (), final=result, op=L.OP_POP)
        return state

    def chain(self, text: bytes, target: int) -> int:
        """The state from which exactly `text` leads to `target`."""
        self.require(text)
        for byte in reversed(text):
            state = self.allocate(1, PUBLISHED)
            self.emit(state, ((byte, byte, target),))
            target = state
        return target

    def require(self, text: bytes) -> None:
        """Raise TokenizerError when the vocabulary cannot write `text` byte by byte."""
        if not self.tokens.can_write(text):
            raise TokenizerError(
                f"the grammar requires {text!r}, and the vocabulary has no tokens for each of its bytes or characters; "
                "use a vocabulary with a token for every byte"
            )

    def is_alongside(self, state: int) -> bool:
        """Whether a state is of a trie of keys laid over every string: its row is that one's, but for a few places."""
        _, _, _, op, argument, _, _, otherwise = self._record(state)
        return otherwise > 0 and op == L.OP_NONE and argument == L.ALONGSIDE

    @property
    def size(self) -> AutomatonSize:
        """What is in the tables now."""
        tables = self.tables
        records = tables.states[: tables.state_count * L.STATE_SIZE].reshape(-1, L.STATE_SIZE)
        lowered = int((records[:, L.STATE_ALIAS] >= 0).sum())
        return AutomatonSize(lowered, len(self.rows), tables.nbytes + self.rows.nbytes)

    def first_bytes(self, state: int) -> list[int]:
        """The bytes that a lowered state, which stands for itself and has no ELSE, goes on with."""
        tables, start = self.tables, state * L.STATE_SIZE
        row, byte_map = tables.states[start + L.STATE_ROW : start + L.STATE_MAP + 1].tolist()
        values = tables.transitions[row + tables.maps[byte_map : byte_map + 256].astype(int)]
        return [byte for byte, value in enumerate(values.tolist()) if value not in (0, L.REJECT)]

    def is_certain(self, state: int) -> bool:
        """Whether a state is lowered, or may be lowered before a text comes to it."""
        return self.tables.is_lowered(state) or getattr(self._find(state)[0], "certain", False)

    def is_endless(self, state: int) -> bool:
        """See Private.is_endless."""
        owner = self._find(state)[0]
        return isinstance(owner, Private) and owner.is_endless()

    def lacks_row(self, state: int) -> bool:
        """Whether a text may well come to a stop in a state, which is lowered, and the mask row there is not computed."""
        start = state * L.STATE_SIZE
        return (
            getattr(self._find(state)[0], "certain", False)
            and int(self.tables.states[start + L.STATE_ALIAS]) == state
            and int(self.tables.states[start + L.STATE_OP]) == L.OP_NONE
            and state << 16 not in self.rows
        )

    def following(self, state: int) -> set[int]:
        """The states that a lowered state leads to, those of calls and behind them too."""
        tables = self.tables
        row, byte_map, _, op, argument, alias, _, otherwise = self._record(state)
        if alias != state:
            return {alias}
        found = {argument} if op == L.OP_COUNT else set()
        if otherwise > 0:
            found.add(otherwise)
        for value in tables.transitions[row : row + int(tables.maps[byte_map : byte_map + 256].max()) + 1].tolist():
            action = -value if value != L.REJECT else 0
            while action > 0:
                target, block, kind, action = tables.actions[
                    action * L.ACTION_SIZE : (action + 1) * L.ACTION_SIZE
                ].tolist()
                found |= {target} if kind == L.MOVE else {target, block} if kind != L.LEAVE else set()
            if value > 0:
                found.add(value)
        return found

    def reached_from(self, state: int) -> set[int]:
        """The states that lowered states lead to from here, with all that were allocated beside them.

        Those are a call's return block, and the run of white space before a frame.
        """
        starts, count = self._starts, self.tables.state_count
        found, queue = set[int](), [state]
        while queue:
            state = queue.pop()
            if state in found:
                continue
            block = bisect_right(starts, state)
            members = range(starts[block - 1], starts[block] if block < len(starts) else count)
            found.update(members)
            for member in members:
                if self.tables.is_lowered(member):
                    queue += self.following(member)
        return found

    def describe(self, state: int, label: Callable[[int], str] = str) -> list[str]:
        """The published record of a state, readable; for `maskwright show automaton`."""
        tables = self.tables
        row, byte_map, final, op, argument, alias, safe, otherwise = tables.states[state * 8 : state * 8 + 8].tolist()
        if alias < 0:
            return [f"{label(state)}: not lowered"]
        if alias != state:
            return [f"{label(state)}: stands for {label(alias)}"]
        entry = {L.OP_NONE: "", L.OP_POP: "ends the frame", L.OP_SET: f"register := {argument}"}.get(
            op, f"register -= 1, at 0 go to {label(argument)}"
        )
        notes = [
            entry,
            f"may end with {final}" if final >= 0 and op != L.OP_POP else "",
            f"result {final}" if op == L.OP_POP else "",
            "has a safe set" if safe else "",
            f"else as {label(otherwise)}" if otherwise > 0 else "",
        ]
        lines = [f"{label(state)}: " + ", ".join(note for note in notes if note)]
        groups: dict[int, list[int]] = {}
        classes = tables.maps[byte_map : byte_map + 256].tolist()
        for byte, number in enumerate(classes):
            value = int(tables.transitions[row + number])
            if value:
                groups.setdefault(value, []).append(byte)
        for value, members in groups.items():
            if value > 0:
                target = label(value)
            elif value == L.REJECT:
                target = "refused"
            else:
                target = ", or ".join(self._describe_actions(-value, label))
            lines.append(f"    {_byte_ranges(members)} -> {target}")
        return lines

    def _describe_actions(self, action: int, label: Callable[[int], str]) -> Iterator[str]:
        while action:
            callee, block, kind, action = self.tables.actions[action * 4 : action * 4 + 4].tolist()
            if kind in (L.CALL, L.CALL_BEFORE):
                yield f"call {label(callee)}{'' if kind == L.CALL else ' with this byte'}, return to {label(block)}"
            else:
                yield label(callee) if kind == L.MOVE else f"end{f' with {callee}' if callee else ''} before it"


def _byte_ranges(members: list[int]) -> str:
    """`members` (sorted) as ranges: `"a"-"z" "_" 0x80-0xbf`."""

    def name(byte: int) -> str:
        return repr(chr(byte)) if 0x20 <= byte < 0x7F else f"0x{byte:02x}"

    found, start = [], members[0]
    for previous, byte in zip(members, [*members[1:], -1], strict=True):
        if byte != previous + 1:
            found.append(name(start) if start == previous else f"{name(start)}-{name(previous)}")
            start = byte
    return " ".join(found)
