"""A compiled grammar: a root in the automaton, lazily lowered, shared by many matchers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from maskwright.compile.automaton import Automaton
from maskwright.compile.lowering import Lowering
from maskwright.compile.token_tables import TokenTables
from maskwright.compile.values import GrammarStates
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars import regular
from maskwright.grammars.boolean import Bool
from maskwright.grammars.errors import LimitExceeded, UnsatisfiableError
from maskwright.grammars.ir import Value
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.regular import Regex
from maskwright.kernels import layout as L

__all__ = ["CompiledGrammar"]


class CompiledGrammar:
    """One language over one vocabulary. Made by GrammarCompiler; used by any number of matchers, in any threads.

    States are lowered and rows computed when a matcher first needs them, under the automaton's lock.

    Attributes:
        tokenizer_info: the vocabulary.
        warnings: what was read as an annotation although it looks like more (unknown formats), each with its place.
        python_type: the type that the schema was made from, or None.
        root, root_register: where a text starts.
        state_count: states allocated on behalf of this grammar; at most max_states.
    """

    def __init__(
        self,
        automaton: Automaton,
        root: int,
        state_count: int,
        max_states: int,
        warnings: Sequence[str] = (),
        python_type: Any = None,
    ) -> None:
        self._automaton = automaton
        self.root, self.root_register = automaton.resolved(root)
        self.state_count, self.max_states = state_count, max_states
        self.address = automaton.address
        self.tokens: TokenTables = automaton.tokens
        self.tokenizer_info: TokenizerInfo = automaton.tokens.info
        self.warnings, self.python_type = list(warnings), python_type
        self.spare_arenas: list[Any] = []
        """Arenas of matchers that are gone, warm with memos: for the next matchers of this grammar (runtime/arena.py)."""

    @classmethod
    def of_schema(
        cls,
        automaton: Automaton,
        options: SchemaOptions,
        root: Bool,
        value_of: Callable[[Bool], Value],
        max_states: int,
        warnings: Sequence[str] = (),
        python_type: Any = None,
    ) -> CompiledGrammar:
        """The JSON texts of the values that `root` admits.

        Args:
            root: an expression over Schema leaves (grammars/ir.py).
            value_of: the values that such an expression admits, memoised.
        """
        with automaton.lock:
            before = automaton.tables.state_count
            start = GrammarStates(Lowering.of(automaton, options), value_of).start(root)
            automaton.lower(start)
            used = automaton.tables.state_count - before
        return cls(automaton, start, used, max_states, warnings, python_type)

    @classmethod
    def of_text(cls, automaton: Automaton, language: Regex, max_states: int) -> CompiledGrammar:
        """The texts of a regular language, as they are."""
        if regular.is_empty(language):
            raise UnsatisfiableError("no text matches the pattern", hint="look for parts that contradict each other")
        with automaton.lock:
            texts = Lowering.of(automaton, SchemaOptions()).numbers  # texts as they are, which end with result code 0
            root = texts.state((language,))
            automaton.lower(root)
        return cls(automaton, root, 0, max_states)

    def lower(self, state: int) -> None:
        """Lower a state that a kernel has reached."""
        automaton = self._automaton
        with automaton.lock:
            before = automaton.tables.state_count
            automaton.lower(state)
            self._charge(automaton.tables.state_count - before)

    def add_row(self, key: int) -> None:
        """Compute the row of `key` (state << 16 | slack) that a kernel has missed."""
        automaton = self._automaton
        with automaton.lock:
            before = automaton.tables.state_count
            automaton.add_row(key)
            self._charge(automaton.tables.state_count - before)

    def _charge(self, states: int) -> None:
        self.state_count += states
        if self.state_count > self.max_states:
            raise LimitExceeded("max_states", self.state_count, self.max_states, what="automaton states of one grammar")

    def describe_states(self) -> str:
        """The states lowered so far, one paragraph each; for people."""
        automaton = self._automaton
        with automaton.lock:
            paragraphs = (automaton.describe(state) for state in range(L.DONE, automaton.tables.state_count))
            return "\n".join("\n".join(lines) for lines in paragraphs)

    def validate(self) -> None:
        """Check the invariants of the tables; raises AssertionError."""
        with self._automaton.lock:
            self._automaton.tables.validate()
