"""States of a JSON value: its first byte decides the type, and the value goes on as text, array or object.

A value is one frame: the state after `{` or after a quote belongs to the frame that the container called. Values are
named by goals (compile/goals.py); `GrammarStates` keeps one entry state a goal, and everything that values share.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from maskwright.compile.arrays import ArrayFrame
from maskwright.compile.automaton import Edge, Named, Owner, Private
from maskwright.compile.contradictions import contradiction
from maskwright.compile.distinct import Distinct
from maskwright.compile.goals import NO_LABELS, Goal, Labels, Term, terms_of
from maskwright.compile.lowering import Lowering
from maskwright.compile.objects import ObjectFrame
from maskwright.compile.texts import Parts, TextStates
from maskwright.compile.words import Words
from maskwright.grammars import boolean, ir, regular
from maskwright.grammars.boolean import Bool
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.json_schema import LoadedSchema
from maskwright.grammars.regular import Regex
from maskwright.grammars.stopwatch import tick

__all__ = ["GrammarStates"]

_Key = TypeVar("_Key", bound=Hashable)
_Found = TypeVar("_Found")

_LITERALS = ((ir.NULL_LITERAL, b"null"), (ir.FALSE_LITERAL, b"false"), (ir.TRUE_LITERAL, b"true"))


_USUAL_STRINGS = (regular.EMPTY, regular.ANY_STRING)
_MAX_WORDS = 1 << 20  # of one trie
MAX_DEPTH = 40  # values inside each other that one visit goes through: Python's own stack is bounded


class _TooDeep(Exception):
    """A visit went through MAX_DEPTH values; `expression` is what it met there."""

    def __init__(self, expression: Bool) -> None:
        self.expression = expression


class GrammarStates:
    """Entry states by goal, frames by formula, and what is satisfiable; one a grammar.

    Attributes:
        value: the values that an expression over Schema leaves admits; memoised by whoever loaded the schema.
        distinct: by the state after `[`, the arrays whose items must differ.
        needs_keys: whether some object, of those so far, may have to have several keys that it does not name.
    """

    def __init__(self, lowering: Lowering, value_of: Callable[[Bool], ir.Value]) -> None:
        self.lowering, self.value = lowering, value_of
        self.automaton = lowering.automaton
        self.distinct: dict[int, Distinct] = {}
        self.needs_keys = False
        self._entries: dict[tuple[Goal, int], tuple[int, Labels]] = {}
        self._arrays: dict[Hashable, ArrayFrame] = {}
        self._objects: dict[Hashable, ObjectFrame] = {}
        self._terms: dict[Bool, tuple[Term, ...]] = {}
        self._satisfiable: dict[Bool, bool] = {}
        self._visiting: dict[Bool, int] = {}
        self._lowest = 0
        self._allocations: list[int] = []

    def allocate(self, count: int, owner: Owner) -> int:
        """Automaton.allocate, for states that mean something in this grammar only."""
        first = self.automaton.allocate(count, owner)
        self._allocations.append(first)
        return first

    def own(self, first: int, owner: Owner) -> None:
        """Automaton.own, likewise."""
        self.automaton.own(first, owner)
        self._allocations.append(first)

    def close(self) -> None:
        """The grammar is gone: what its states were made of goes, too, without the garbage collector where it is usual."""
        self.automaton.let_go(self._allocations)
        for known in (self._allocations, self._entries, self._arrays, self._objects, self._terms, self._satisfiable):
            known.clear()

    def start(self, loaded: LoadedSchema) -> int:
        """The state that a text of a schema starts in; UnsatisfiableError, with the place at fault, when there is none."""
        if not self.satisfiable(loaded.root):
            raise contradiction(self, loaded.schema)
        return self.entry(Goal(loaded.root))[0]

    def entry(self, goal: Goal, depth: int = 0) -> tuple[int, Labels]:
        """The state before a value of `goal`, and the labels it may end with.

        Args:
            depth: how many containers it is in, where the text policy makes a difference of that (Lowering.deeper).
        """
        found = self._entries.get((goal, depth))
        if found is None:
            labels = Labels(len(goal.observed)) if goal.observed else NO_LABELS
            found = self._entries[goal, depth] = (self._entry_state(goal, labels, depth), labels)
        return found

    def _entry_state(self, goal: Goal, labels: Labels, depth: int) -> int:
        """A new state, or the one that all grammars share for values without arrays and objects."""
        value = self.value(goal.must)
        if goal.observed or value.array.kind != "false" or value.object.kind != "false":
            return self.allocate(1, _Value(self, goal, labels, depth))
        key = (value.literals, value.number, value.string)
        state = self.lowering.scalars.get(key)
        if state is None:
            state = self.lowering.scalars[key] = self.automaton.allocate(1, _Scalar(self.lowering, *key))
        return state

    def terms(self, formula: Bool) -> tuple[Term, ...]:
        """See goals.terms_of; kept by formula."""
        found = self._terms.get(formula)
        if found is None:
            found = self._terms[formula] = terms_of(formula)
        return found

    def array(self, must: Bool, observed: tuple[Bool, ...], labels: Labels, depth: int = 0) -> ArrayFrame:
        """The frame of arrays of `must`; frames that observe nothing are shared by formula."""
        key = (must, observed, id(labels) if observed else 0, depth)
        found = self._arrays.get(key)
        if found is None:
            found = self._arrays[key] = ArrayFrame(self, must, observed, labels, depth)
        return found

    def object(self, must: Bool, observed: tuple[Bool, ...], labels: Labels, depth: int = 0) -> ObjectFrame:
        """The frame of objects of `must`; frames that observe nothing are shared by formula."""
        key = (must, observed, id(labels) if observed else 0, depth)
        found = self._objects.get(key)
        if found is None:
            found = self._objects[key] = ObjectFrame(self, must, observed, labels, depth)
        return found

    # Satisfiability: the least fixpoint. `True` found under the assumption that values being visited are empty stands;
    # `False` stands only when no such assumption was used.

    @property
    def settled(self) -> bool:
        """Whether no visit is under way, so that what is found now holds without assumptions."""
        return not self._visiting

    def kept(self, known: dict[_Key, _Found], key: _Key, find: Callable[[], _Found]) -> _Found:
        """What `known` has for a key, or else what `find` says: kept unless it holds only under a visit's assumptions."""
        if key in known:
            return known[key]
        found = find()
        if self.settled:
            known[key] = found
        return found

    def judge(self, expression: Bool) -> tuple[bool, bool]:
        """Whether some value satisfies an expression, and whether that is so for good."""
        found = self.satisfiable(expression)
        return found, found or self.settled

    def satisfiable(self, expression: Bool) -> bool:
        """Whether some JSON value satisfies the expression."""
        if expression.kind == "true":
            return True
        if expression.kind == "false":
            return False
        if expression.kind == "leaf" and expression.payload.certain:
            return True
        known = self._satisfiable.get(expression)
        if known is not None:
            return known
        if self._visiting:
            return self._visit(expression)
        # A visit that goes deep is given up, and taken up again once what it met down there is known.
        pending = [expression]
        while pending:
            try:
                found = self._visit(pending[-1])
                pending.pop()
            except _TooDeep as deep:
                if deep.expression in pending:
                    hint = "let fewer schemas require each other in a circle"
                    raise LimitExceeded("nesting", MAX_DEPTH, MAX_DEPTH, what="required values", hint=hint) from deep
                pending.append(deep.expression)
        return found

    def _visit(self, expression: Bool) -> bool:
        depth = self._visiting.get(expression)
        if depth is not None:
            self._lowest = min(self._lowest, depth)
            return False
        tick()
        depth = len(self._visiting)
        if depth >= MAX_DEPTH:
            raise _TooDeep(expression)
        self._visiting[expression] = depth
        outer, self._lowest = self._lowest, depth
        try:
            found = self._any_value(self.value(expression))
        finally:
            del self._visiting[expression]
            lowest, self._lowest = self._lowest, min(outer, self._lowest)
        if found or lowest >= depth:
            self._satisfiable[expression] = found
            self._lowest = outer
        return found

    def _any_value(self, value: ir.Value) -> bool:
        return bool(
            value.literals
            or not regular.is_empty(value.string)
            or not regular.is_empty(value.number)
            or (value.array.kind != "false" and self.array(value.array, (), NO_LABELS).possible())
            or (value.object.kind != "false" and self.object(value.object, (), NO_LABELS).possible())
        )


class _Scalar:
    """Owner of the state before a value without arrays and objects, of which nothing is observed: shared by all grammars."""

    __slots__ = ("literals", "lowering", "number", "string")

    def __init__(self, lowering: Lowering, literals: int, number: Regex, string: Regex) -> None:
        self.lowering, self.literals, self.number, self.string = lowering, literals, number, string

    def share_key(self, index: int) -> Hashable | None:
        return ("value", self.lowering.spelling, self.literals, self.number, self.string)

    def lower(self, index: int, state: int) -> None:
        lowering, automaton = self.lowering, self.lowering.automaton
        edges = [
            (text[0], text[0], lowering.literal(text, 0)) for literal, text in _LITERALS if self.literals & literal
        ]
        if not regular.is_empty(self.string):
            automaton.require(b'"')
            start = _lay_words(lowering, self.string, lambda word: 0)
            edges.append((0x22, 0x22, start or lowering.strings.state((self.string,))))
        if not regular.is_empty(self.number):
            edges += lowering.numbers.edges((self.number,))
        spaced = 0
        if lowering.has_runs and self.string in _USUAL_STRINGS and self.number in lowering.usual_numbers:
            spaced = automaton.allocate(1, Named(("spaced", lowering.options.max_whitespace, self.share_key(index))))
            lowering.place_over(spaced, edges, state)
        automaton.emit(state, edges, otherwise=-spaced)


class _Value(Private):
    """Owner of the state before another value."""

    __slots__ = ("depth", "goal", "labels", "states")

    def __init__(self, states: GrammarStates, goal: Goal, labels: Labels, depth: int) -> None:
        self.states, self.goal, self.labels, self.depth = states, goal, labels, depth

    def place(self) -> str | None:
        return next((schema.pointer for schema in boolean.leaves(self.goal.must)), None)

    def lower(self, index: int, state: int) -> None:
        states, labels, lowering, automaton = self.states, self.labels, self.states.lowering, self.states.automaton
        must = states.value(self.goal.must)
        observed = [states.value(expression) for expression in self.goal.observed]
        edges: list[Edge] = []
        for literal, text in _LITERALS:
            if must.literals & literal:
                label = labels.number(tuple(bool(value.literals & literal) for value in observed))
                edges.append((text[0], text[0], lowering.literal(text, label)))
        if not regular.is_empty(must.string):
            automaton.require(b'"')
            start = self._string_start(must.string, [value.string for value in observed])
            edges.append((0x22, 0x22, start))
        if not regular.is_empty(must.number):
            texts, parts = self._texts(must.number, [value.number for value in observed], quoted=False)
            edges += texts.edges(parts)
        if must.array.kind != "false":
            frame = states.array(must.array, tuple(value.array for value in observed), labels, self.depth)
            frame.place = frame.place or self.place()
            if frame.possible():
                automaton.require(b"[")
                edges.append((0x5B, 0x5B, frame.opened()))
        if must.object.kind != "false":
            members = states.object(must.object, tuple(value.object for value in observed), labels, self.depth)
            members.place = members.place or self.place()
            if members.possible():
                automaton.require(b"{")
                edges.append((0x7B, 0x7B, members.opened()))
        assert edges, f"an unsatisfiable value was called: {self.goal}"
        automaton.emit(state, edges)

    def _texts(self, must: Regex, watched: Sequence[Regex], quoted: bool) -> tuple[TextStates, Parts]:
        """The states of texts of `must`, whose results say which languages they are in; and what is left at the start."""
        lowering = self.states.lowering
        if not watched:
            return lowering.strings if quoted else lowering.numbers, (must,)
        # Alternatives mostly ask the same of a text, or nothing: what `must` is enough for is not read once more.
        parts = {must: 0}
        places = [
            0 if language == regular.ANY_STRING else parts.setdefault(language, len(parts)) for language in watched
        ]
        labels = self.labels

        def result(rests: Parts) -> int:
            return labels.number(tuple(rests[place].nullable for place in places))

        spelling, allocate = lowering.spelling if quoted else None, self.states.allocate
        return TextStates(self.states.automaton, spelling, result, allocate=allocate), tuple(parts)

    def _string_start(self, must: Regex, watched: Sequence[Regex]) -> int:
        """The state after the opening quote."""

        def result(word: str) -> int:
            return self.labels.number(tuple(regular.matches(language, word) for language in watched))

        start = _lay_words(self.states.lowering, must, result)
        if start is not None:
            return start
        texts, parts = self._texts(must, watched, quoted=True)
        return texts.state(parts)


def _lay_words(lowering: Lowering, must: Regex, result: Callable[[str], int]) -> int | None:
    """The state after the opening quote of a finite set of strings, laid out as one trie; None of others."""
    words = regular.finite_words(must, _MAX_WORDS) if isinstance(must, regular.Words) else None
    if words is None:
        return None
    results = {number: result(word) for number, word in enumerate(words)}
    return Words(lowering.spelling, words).lay(lowering.automaton, results)
