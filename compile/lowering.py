"""What the grammars of one text policy share: white space, the inside of strings, numbers, literals.

White space: where JSON has it, a *place* is a pair of states. In the first, a white-space byte calls the one frame of
white space (which counts the run down in its register and ends before anything else), and everything goes on in the
second, which has none. Indentation depends on how deep a value is nested: there each depth has frames of its own.

The families of states live in a module each: compile/texts.py (strings, numbers), compile/values.py (a value's first
byte), compile/arrays.py, compile/objects.py, compile/keys.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cached_property

from maskwright.compile.automaton import PUBLISHED, Automaton, Edge, Named
from maskwright.compile.spelling import Spelling
from maskwright.compile.texts import TextStates
from maskwright.grammars import numbers, regular
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.regular import Regex
from maskwright.kernels import layout as L

__all__ = ["Lowering"]

_WHITESPACE = ((0x09, 0x0A), (0x0D, 0x0D), (0x20, 0x20))
_WHITESPACE_BYTES = bytes(byte for low, high in _WHITESPACE for byte in range(low, high + 1))


class Lowering:
    """The states of one text policy in one automaton.

    Attributes:
        automaton: where the states are.
        strings, numbers: states of texts that end with result code 0; texts: of such that are all there is.
        scalars: entry states of values without arrays and objects, by (literals, numbers, strings).
        has_runs: whether there may be runs of white space wherever JSON has it.
    """

    def __init__(self, automaton: Automaton, options: SchemaOptions) -> None:
        self.automaton, self.options = automaton, options
        self.spelling = Spelling(options.escapes, options.ensure_ascii)
        self.strings = TextStates(automaton, self.spelling, lambda parts: 0, kind="plain")
        self.numbers = TextStates(automaton, None, lambda parts: 0, kind="plain")
        self.texts = TextStates(automaton, None, lambda parts: 0, kind="whole", whole=True)
        self.scalars: dict[tuple[int, Regex, Regex], int] = {}
        self.has_runs = (
            options.whitespace == "flexible"
            and options.exact_separators is None
            and options.indent is None
            and options.max_whitespace > 0
        )
        self._literals: dict[tuple[bytes, int], int] = {}
        self._whitespace: int | None = None

    @classmethod
    def of(cls, automaton: Automaton, options: SchemaOptions) -> Lowering:
        """The automaton's lowering for a policy; options that do not change texts make no difference."""
        key: Hashable = (
            options.whitespace,
            options.max_whitespace,
            options.exact_separators,
            options.indent,
            options.ensure_ascii,
            options.escapes,
            options.property_order,
            options.numbers,
        )
        found = automaton.policies.get(key)
        if found is None:
            found = automaton.policies[key] = cls(automaton, options)
        assert isinstance(found, Lowering)
        return found

    def literal(self, text: bytes, label: int) -> int:
        """The state after the first byte of null, true or false, which ends with `label`."""
        found = self._literals.get((text, label))
        if found is None:
            automaton = self.automaton
            automaton.require(text[:1])
            found = self._literals[text, label] = automaton.chain(text[1:], automaton.end(label))
        return found

    def place(self, state: int, edges: list[Edge], *, default: int = 0, op: int = L.OP_NONE, argument: int = 0) -> None:
        """Publish `state` with `edges`, and white space before them where the text policy has it."""
        automaton, options = self.automaton, self.options
        if options.whitespace != "flexible" or options.exact_separators is not None or options.max_whitespace == 0:
            automaton.emit(state, edges, default=default, op=op, argument=argument)
            return
        frame = self._whitespace_frame()
        automaton.emit_pair(state, edges, _WHITESPACE_BYTES, frame, default, op, argument)

    def place_over(self, state: int, edges: list[Edge], target: int) -> None:
        """Publish `state` with `edges`, and white space before them which leads to `target`, a state with `edges` alone."""
        call = self.automaton.tables.add_call(self._whitespace_frame(), target, True)
        self.automaton.emit(state, [*edges, *((low, high, call) for low, high in _WHITESPACE)])

    @cached_property
    def usual_numbers(self) -> tuple[Regex, ...]:
        """The languages of numbers that most schemas ask for."""
        policy = self.options.numbers
        return regular.EMPTY, numbers.numbers(policy), numbers.integers(policy)

    @cached_property
    def member_maps(self) -> list[int]:
        """What plans of the states between members begin with (kernels/layout.py, PLAN_*)."""
        automaton, found = self.automaton, [self._whitespace_frame()]
        for places in (b'}"', b"},", b'"', b":", b""):  # as MAP_*
            for text in (places, places + _WHITESPACE_BYTES):
                numbers = [min(number, len(places) + 1) for number in range(1, len(text) + 1)]
                found.append(
                    automaton.byte_map(bytes(part for pair in zip(text, text, numbers, strict=True) for part in pair))
                )
        return found

    def deeper(self, depth: int) -> int:
        """The depth of what is in a container of depth `depth`; without indentation all depths are one."""
        return 0 if self.options.indent is None else depth + 1

    def first(self, depth: int, edges: list[Edge], default: int = 0) -> tuple[list[Edge], int]:
        """`edges` and `default` of a container's first item or member, behind the indentation where there is one."""
        if self.options.indent is None:
            return edges, default
        return [self._exactly(self._new_line(depth + 1), edges, default)], 0

    def last(self, depth: int, closing: list[Edge]) -> list[Edge]:
        """The end of a container after an item or member."""
        if self.options.indent is None or not closing:
            return closing
        return [self._exactly(self._new_line(depth), closing)]

    def _new_line(self, depth: int) -> str:
        return "\n" + " " * (depth * (self.options.indent or 0))

    def _exactly(self, text: str, edges: list[Edge], default: int = 0) -> Edge:
        """The transition over the first byte of `text`, whose others lead to `edges`."""
        automaton, spelled = self.automaton, text.encode()
        target = automaton.allocate(1, PUBLISHED)
        automaton.emit(target, edges, default=default)
        automaton.require(spelled)
        return spelled[0], spelled[0], automaton.chain(spelled[1:], target)

    def separated(self, separator: str, edges: list[Edge], *, default: int = 0, depth: int = 0) -> Edge:
        """The transition over the first byte of `,` or `:`, which leads to `edges` behind the white space that may follow.

        Args:
            depth: of the container, for the indentation after a comma.
        """
        automaton, options = self.automaton, self.options
        if options.exact_separators is not None:
            text = options.exact_separators[0 if separator == "," else 1]
            if options.indent is not None and separator == ",":
                text += self._new_line(depth + 1)
            return self._exactly(text, edges, default)
        automaton.require(separator.encode())
        state = automaton.allocate(1, PUBLISHED)
        if options.whitespace == "single":
            target = automaton.allocate(1, PUBLISHED)
            automaton.emit(target, edges, default=default)
            automaton.emit(state, [*edges, (0x20, 0x20, target)], default=default)
        else:
            self.place(state, edges, default=default)
        return ord(separator), ord(separator), state

    def _whitespace_frame(self) -> int:
        """The state after the first white-space byte of a run; the one before it has the run before it."""
        if self._whitespace is None:
            automaton = self.automaton
            left = self.options.max_whitespace - 1
            owner = Named(("whitespace", self.options.max_whitespace))
            before = automaton.allocate(1, Named(("run of whitespace", self.options.max_whitespace)))
            start, more = automaton.allocate(1, owner), automaton.allocate(1, owner)
            assert start == before + 1
            automaton.emit(before, [(low, high, start) for low, high in _WHITESPACE])
            if left == 0:
                automaton.emit(start, (), final=0, op=L.OP_POP)
            else:
                edges = [(low, high, more) for low, high in _WHITESPACE]
                safe = (1 << 0x09 | 1 << 0x0A | 1 << 0x0D | 1 << 0x20, 0, 0)
                automaton.emit(start, edges, final=0, op=L.OP_SET, argument=left)
                automaton.emit(more, edges, final=0, op=L.OP_COUNT, argument=automaton.end(0), safe=safe)
            self._whitespace = start
        return self._whitespace
