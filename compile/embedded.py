"""JSON values inside a context-free grammar: every schema of it loaded, its values split into texts and frames.

Numbers end where nothing continues them, so a grammar may go on with a digit: they are texts of the grammar itself, a
regular language; so are strings that are written without quotes. Every other value says by its last byte that it has
ended, and is called as a frame of its own, lowered as `compile_json_schema` would lower it and sharing all that schemas
share.
"""

from __future__ import annotations

from dataclasses import replace

from maskwright.compile.automaton import Automaton
from maskwright.compile.contradictions import contradiction
from maskwright.compile.goals import Goal
from maskwright.compile.lowering import Lowering
from maskwright.compile.values import GrammarStates
from maskwright.grammars import boolean, regular
from maskwright.grammars.boolean import Bool
from maskwright.grammars.errors import GrammarError
from maskwright.grammars.free_text import FreeText
from maskwright.grammars.ir import Value
from maskwright.grammars.json_schema import load_schema
from maskwright.grammars.python_types import schema_from
from maskwright.grammars.regular import EMPTY
from maskwright.grammars.rules import Choice, Frame, Json, Loop, Node, Rules, Sequence, Text

__all__ = ["EmbeddedValues", "ValueLoader", "with_values"]


class _Framed:
    """The values of a schema that are no texts of the grammar, as a leaf of expressions (maskwright.grammars.ir.Schema)."""

    certain, pointer = False, ""

    def __init__(self, value: Value, bare: bool) -> None:
        self._value = replace(value, number=EMPTY, string=EMPTY if bare else value.string)

    def expand(self) -> Value:
        return self._value


class EmbeddedValues:
    """The values of one schema inside a grammar.

    Attributes:
        texts: the texts of its numbers, and of its strings where they are bare.
        frame: what its other values are called by; None when there are none.
        distinct: by the state after `[`, the arrays whose items must differ; None where the schema has none.
    """

    def __init__(self, automaton: Automaton, node: Json) -> None:
        contents, _ = schema_from(node.schema, narrow=True)
        loaded = load_schema(contents, node.options)
        whole = loaded.value_of(loaded.root)
        rest = boolean.leaf(_Framed(whole, bool(node.bare)))

        def value_of(expression: Bool) -> Value:
            return rest.payload.expand() if expression is rest else loaded.value_of(expression)

        self.texts = whole.number
        if node.bare:
            strings = regular.intersect(whole.string, FreeText((), [node.bare]).without())
            self.texts = regular.alternate(self.texts, strings)
        self._states = GrammarStates(Lowering.of(automaton, node.options), value_of)
        self.distinct = self._states.distinct if loaded.unique else None
        self._goal = Goal(rest)
        self.frame = Frame(self) if self._states.satisfiable(rest) else None
        if self.frame is None and regular.is_empty(self.texts):
            raise contradiction(self._states, loaded.schema)

    @property
    def needs_keys(self) -> bool:
        """See GrammarStates."""
        return self._states.needs_keys

    def entry(self) -> int:
        """The state before a value that is none of `texts`."""
        return self._states.entry(self._goal)[0]


def with_values(automaton: Automaton, rules: Rules) -> tuple[Rules, list[EmbeddedValues]]:
    """The rules with texts and frames for their schemas, each loaded once; and their values.

    Schemas behind a Switch are left as they are.

    Raises:
        GrammarError: as load_schema; the message says in which rule.
    """
    loader = ValueLoader(automaton)
    bodies = {}
    for name, body in rules.bodies.items():
        try:
            bodies[name] = loader(body)
        except GrammarError as error:
            error.add_note(f"in rule {name!r}")
            raise
    return replace(rules, bodies=bodies), loader.found


class ValueLoader:
    """Called with a node, puts texts and frames in the place of its schemas, each loaded once.

    Attributes:
        found: the values of all schemas so far.
    """

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._known: dict[int, tuple[Json, Node]] = {}  # by the identity of the node, which is kept alive
        self.found: list[EmbeddedValues] = []

    def __call__(self, node: Node) -> Node:
        if isinstance(node, Json):
            if id(node) not in self._known:
                self._known[id(node)] = node, self._load(node)
            return self._known[id(node)][1]
        if isinstance(node, Sequence | Choice):
            items = tuple(map(self, node.items))
            return node if all(map(_same, items, node.items)) else type(node)(items)
        if isinstance(node, Loop):
            item = self(node.item)
            return node if item is node.item else Loop(item, node.low, node.high)
        return node

    def _load(self, node: Json) -> Node:
        try:
            self.found.append(EmbeddedValues(self._automaton, node))
        except GrammarError as error:
            if node.place:
                error.pointer = node.place + (error.pointer or "")
            raise
        return _choice(self.found[-1])


def _same(left: Node, right: Node) -> bool:
    return left is right


def _choice(values: EmbeddedValues) -> Node:
    parts: list[Node] = [] if regular.is_empty(values.texts) else [Text(values.texts)]
    if values.frame is not None:
        parts.append(values.frame)
    return parts[0] if len(parts) == 1 else Choice(tuple(parts))
