"""A compiled grammar: a root in the automaton, lazily lowered, shared by many matchers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import thread_time
from typing import TYPE_CHECKING, Any, Protocol
from weakref import finalize

import numpy as np

from maskwright.compile.automaton import Automaton
from maskwright.compile.distinct import Distinct
from maskwright.compile.endings import Endings
from maskwright.compile.literals import Literals
from maskwright.compile.lowering import Lowering
from maskwright.compile.rows import Row
from maskwright.compile.rules import RuleStates
from maskwright.compile.token_tables import TokenTables
from maskwright.compile.values import GrammarStates
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compile.warming import Ahead, CertainStates, Warming
from maskwright.grammars import regular
from maskwright.grammars.errors import GrammarError, LimitExceeded, UnsatisfiableError
from maskwright.grammars.json_schema import LoadedSchema
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.regular import Regex, Words
from maskwright.grammars.rules import Rules
from maskwright.grammars.stopwatch import MAX_COMPILE_MS, Stopwatch
from maskwright.kernels import layout as L

if TYPE_CHECKING:
    from maskwright.compile.lark_states import LarkStates
    from maskwright.compile.saved_grammars import GrammarSource

__all__ = ["SOURCE_BYTES", "CompiledGrammar", "Limits"]

# What a grammar keeps in Python objects beside its automaton's, as measured over the schemas of MaskBench. An estimate, for
# the bounds of caches: more is added for what a grammar is made of (engine/compiler.py).
SOURCE_BYTES = 24 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """What one grammar may use; past it, LimitExceeded names the limit.

    Attributes:
        max_states: automaton states lowered on its behalf.
        max_table_bytes: growth of the automaton's tables on its behalf.
        max_lowering_ms: processor time spent on lowering states and computing rows, all matchers together.
        max_compile_ms: processor time that compiling may take, and again each time that states are lowered for a matcher.
    """

    max_states: int = 1 << 22
    max_table_bytes: int = 1 << 30
    max_lowering_ms: float = 30_000.0
    max_compile_ms: float = 10_000.0


class Keyed(Protocol):
    """What makes the states of objects."""

    @property
    def needs_keys(self) -> bool:
        """Whether some object, of those so far, may have to have several keys that it does not name."""


def _take_apart(states: GrammarStates, loaded: LoadedSchema) -> None:
    """Free what a grammar was made of; its states stay, but no text comes there any more."""
    states.close()
    loaded.close()


class CompiledGrammar:
    """One language over one vocabulary. Made by GrammarCompiler; used by any number of matchers, in any threads.

    States are lowered and rows computed when a matcher first needs them, under the automaton's lock.

    Attributes:
        tokenizer_info: the vocabulary.
        automaton: the tables in which its states are, with those of other grammars of its compiler; read them under its lock.
        warnings: what was read as an annotation although it looks like more (unknown formats), each with its place.
        python_type: the type that the schema was made from, or None.
        root, root_register: where a text starts.
        limits: what it may use.
        distinct: by the state after `[`, the arrays whose items must differ (compile/distinct.py), those lowered so far; None
            where there are none in the schema.
        keyed: what there is to know of the keys of its objects; None where it has no schemas.
        state_count, table_bytes, lowering_ms: what it has used of them.
        source: what it was made of, by which a file can keep it; None where it was not made by a GrammarCompiler.
        source_bytes: what is kept of its source (schemas, rules), estimated; see SOURCE_BYTES.
    """

    def __init__(
        self,
        automaton: Automaton,
        root: int,
        limits: Limits,
        warnings: Sequence[str] = (),
        python_type: Any = None,
        source_bytes: int = SOURCE_BYTES,
    ) -> None:
        self.automaton, self.source_bytes = automaton, source_bytes
        self.root, self.root_register = automaton.resolved(root)
        self.source: GrammarSource | None = None
        self.distinct: Mapping[int, Distinct] | None = None
        self.keyed: Keyed | None = None
        self.limits = limits
        self.state_count, self.table_bytes, self.lowering_ms = 0, 0, 0.0
        self.address = automaton.address
        self.tokens: TokenTables = automaton.tokens
        self.tokenizer_info: TokenizerInfo = automaton.tokens.info
        self.warnings, self.python_type = list(warnings), python_type
        self._endings: Endings | None = None
        self._endings_lock = threading.Lock()
        self.spare_arenas: list[Any] = []
        """Arenas of matchers that are gone, warm with memos: for the next matchers of this grammar (runtime/arena.py)."""
        self.explore: Callable[[CompiledGrammar], Ahead] = CertainStates
        """What `warm` does; the compiler sets runtime/exploration.py."""

    @classmethod
    def of_schema(
        cls,
        automaton: Automaton,
        options: SchemaOptions,
        loaded: LoadedSchema,
        limits: Limits,
        python_type: Any = None,
        source_bytes: int = SOURCE_BYTES,
    ) -> CompiledGrammar:
        """The JSON texts of the values that satisfy a schema.

        Args:
            loaded: the schema; it is taken apart when the grammar is gone.
            source_bytes: see the class.
        """
        with automaton.lock:
            states = GrammarStates(Lowering.of(automaton, options), loaded.value_of)
            try:
                start = states.start(loaded)
                automaton.lower(start)
                grammar = cls(automaton, start, limits, loaded.warnings, python_type, source_bytes)
            except BaseException as error:
                _take_apart(states, loaded)
                if isinstance(error, GrammarError):
                    error.at("")
                raise
            grammar.distinct = states.distinct if loaded.unique else None
            grammar.keyed = states
            finalize(grammar, _take_apart, states, loaded).atexit = False
            return grammar

    @classmethod
    def of_text(cls, automaton: Automaton, language: Regex, limits: Limits) -> CompiledGrammar:
        """The texts of a regular language, as they are."""
        if regular.is_empty(language):
            raise UnsatisfiableError("no text matches the pattern", hint="look for parts that contradict each other")
        if isinstance(language, Words):
            return cls.of_literals(automaton, Literals.of_words(language.remaining()), limits)
        with automaton.lock:
            root = Lowering.of(automaton, SchemaOptions()).texts.state((language,))
            automaton.lower(root)
            return cls(automaton, root, limits)

    @classmethod
    def of_literals(cls, automaton: Automaton, literals: Literals, limits: Limits) -> CompiledGrammar:
        """One of a table of texts."""
        with automaton.lock:
            root = literals.lay(automaton, whole=True)
            automaton.lower(root)
            return cls(automaton, root, limits)

    @classmethod
    def of_rules(cls, automaton: Automaton, rules: Rules, limits: Limits) -> CompiledGrammar:
        """The texts that can be derived from the root of a context-free grammar."""
        with automaton.lock:
            try:
                states = _states_of(automaton, rules)
                root = states.start()
                automaton.lower(root)
            except GrammarError as error:
                if rules.source:
                    error.within(rules.source)
                raise
            warnings = [f"rule {name!r} derives no text: it is never used" for name in states.unproductive]
            grammar = cls(automaton, root, limits, warnings)
            grammar.distinct = states.distinct
            grammar.keyed = states if states.has_values else None
            return grammar

    @property
    def spare_bytes(self) -> int:
        """Bytes of the spare arenas."""
        return sum(arena.nbytes for arena in self.spare_arenas)

    def drop_spare_arenas(self) -> int:
        """Forget the spare arenas: the next matchers begin cold. The bytes that they took."""
        size, self.spare_arenas = self.spare_bytes, []
        return size

    @property
    def states(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """The states' records (kernels/layout.py), int32."""
        return self.automaton.tables.states

    def lower(self, *states: int) -> None:
        """Lower states that a kernel has reached."""
        automaton = self.automaton
        with automaton.lock:
            before = automaton.tables.state_count, automaton.tables.nbytes, thread_time()
            with Stopwatch(MAX_COMPILE_MS, self.limits.max_compile_ms, before[2]):
                for state in states:
                    automaton.lower(state)
            self._charge(*before, state=states[0])

    def add_row(self, key: int) -> None:
        """Compute the row of `key` (state << 16 | slack) that a kernel has missed."""
        automaton = self.automaton
        with automaton.lock:
            before = automaton.tables.state_count, automaton.tables.nbytes, thread_time()
            automaton.rows.add(key)
            self._charge(*before, state=key >> 16)

    def publish_row(self, key: int, row: Row, seconds: float) -> None:
        """Publish a row that was computed outside, in so many seconds (automaton.rows.compute); the lock is held."""
        automaton = self.automaton
        before = automaton.tables.state_count, automaton.tables.nbytes, thread_time() - seconds
        automaton.rows.publish(key, row)
        self._charge(*before, state=key >> 16)

    def lower_ahead(self, budget_ms: float) -> None:
        """Lower the states of rules nearest to the start, then compute their mask rows, for at most so many milliseconds.

        They are milliseconds of this thread's processor time. What masks will ask for is then there when they ask. A state
        that cannot be lowered is left for them to say so.
        """
        stop, ahead = thread_time() + 1e-3 * budget_ms, CertainStates(self)
        while not ahead.complete and thread_time() < stop:
            ahead.step(self)

    def warm(self, *, background: bool = False, budget_ms: float = 200.0, max_bytes: int = 16 << 20) -> Warming:
        """Go through the places that texts come to, nearest first, so that masks find there what they need.

        Args:
            background: do it in a thread, which rests as long as it works. It ends with the grammar.
            budget_ms: milliseconds of work.
            max_bytes: what the work may add to the automaton.

        Returns:
            A handle: `cancel()`, `done()`, and `result(timeout)`, which says what was done.
        """
        warming = Warming(self, self.explore(self), budget_ms, max_bytes)
        if background:
            threading.Thread(target=warming.run, args=(True,), name="maskwright-warm").start()
        else:
            warming.run(rests=False)
            warming.result()
        return warming

    @contextmanager
    def endings(self) -> Iterator[Endings]:
        """The shortest ends of this grammar's frames (compile/endings.py), for one thread at a time."""
        with self._endings_lock:
            if self._endings is None:
                self._endings = Endings(self.automaton)
            try:
                self._endings.begin(self.lower)
                yield self._endings
            except BaseException:
                self._endings.forget()
                raise

    def _charge(self, states: int, size: int, started: float, *, state: int) -> None:
        """Charge this grammar with what has come since there were so many states and bytes, and time, for `state`."""
        tables, limits = self.automaton.tables, self.limits
        self.state_count += tables.state_count - states
        self.table_bytes += tables.nbytes - size
        self.lowering_ms += 1e3 * (thread_time() - started)
        if self.state_count > limits.max_states:
            self._refuse("max_states", self.state_count, limits.max_states, state)
        if self.table_bytes > limits.max_table_bytes:
            self._refuse("max_table_bytes", self.table_bytes, limits.max_table_bytes, state)
        if self.lowering_ms > limits.max_lowering_ms:
            self._refuse("max_lowering_ms", round(self.lowering_ms), limits.max_lowering_ms, state)

    def _refuse(self, limit: str, used: float, most: float, state: int) -> None:
        raise LimitExceeded(limit, used, most, what="what one grammar may use", pointer=self.automaton.place_of(state))

    def describe_states(self) -> str:
        """The states lowered so far, one paragraph each; for people."""
        automaton = self.automaton
        with automaton.lock:
            paragraphs = (automaton.describe(state) for state in range(L.DONE, automaton.tables.state_count))
            return "\n".join("\n".join(lines) for lines in paragraphs)

    def validate(self) -> None:
        """Check the invariants of the tables; raises AssertionError."""
        with self.automaton.lock:
            self.automaton.tables.validate()


def _states_of(automaton: Automaton, rules: Rules) -> RuleStates | LarkStates:
    """What lowers the states of rules: a parser's, where there is one and all characters can be written."""
    if rules.parser is None or automaton.plans(None).alphabet is not None:
        return RuleStates(automaton, rules)
    from maskwright.compile.lark_states import LarkStates  # lark takes its time

    return LarkStates(automaton, rules.parser)
