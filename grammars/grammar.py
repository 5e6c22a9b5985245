"""Grammar: a context-free grammar from any notation, to be compiled, joined with others, or printed.

    greeting = Grammar.from_literal("Hello, ")
    name = Grammar.from_regex("[A-Z][a-z]+")
    Grammar.concat(greeting, Grammar.union(name, Grammar.from_choices(["world", "you"])))

Front ends are imported when they are asked for: lark takes its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from maskwright.grammars import regex, regular
from maskwright.grammars.errors import InvalidError
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.rule_nodes import choice, loop, nodes, renamed, sequence
from maskwright.grammars.rules import Call, Json, Node, Rules, Text

if TYPE_CHECKING:
    from maskwright.grammars.pieces import Vocabulary

__all__ = ["Grammar"]


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """A grammar that is read and checked, and not bound to a vocabulary yet; `compile_grammar` takes it.

    Attributes:
        rules: its rules, as maskwright.grammars.rules describes them.

    `str(grammar)` is its text in EBNF; `from_ebnf` reads it back as a grammar of the same language.
    """

    rules: Rules

    # ---------------------------------------------------------------- front ends

    @classmethod
    def from_ebnf(cls, text: str, root_rule_name: str = "root") -> Grammar:
        """The grammar that a text in EBNF describes: llama.cpp's GBNF and XGrammar's EBNF (docs/grammars.md).

        Raises:
            GrammarError: InvalidError, UnsupportedError or LimitExceeded, with line, column and a caret.
        """
        from maskwright.grammars.ebnf import parse_ebnf

        return cls(parse_ebnf(text, root_rule_name))

    @classmethod
    def from_lark(cls, text: str, start: str = "start", lexer: str = "dynamic_complete") -> Grammar:
        """The language of a grammar in lark's notation (docs/grammars.md), as `compile_lark` takes it.

        Raises:
            GrammarError: InvalidError, UnsupportedError or LimitExceeded, with line, column and a caret.
        """
        from maskwright.grammars.lark_grammar import parse_lark

        return cls(parse_lark(text, start, lexer))

    @classmethod
    def from_regex(cls, pattern: str) -> Grammar:
        """The texts that a regular expression matches from beginning to end.

        Raises:
            GrammarError: InvalidError, UnsupportedError or LimitExceeded, with the offset in the pattern.
        """
        if not isinstance(pattern, str):
            raise InvalidError(f"a pattern is a string, not {type(pattern).__name__}")
        return cls._of(Text(regex.parse(pattern)))

    @classmethod
    def from_json_schema(cls, schema: Any, **options: Any) -> Grammar:
        """The JSON texts that satisfy a schema; both arguments as `compile_json_schema` takes them.

        The schema is checked when the grammar is compiled.
        """
        return cls._of(Json(schema, SchemaOptions(**options)))

    @classmethod
    def from_structural_tag(cls, description: Any, vocabulary: Vocabulary | None = None, **options: Any) -> Grammar:
        """Free text with regions that have a grammar of their own, as servers describe them (docs/tools.md).

        Args:
            description: a dict or its JSON text, as OpenAI's or XGrammar's structural tags.
            vocabulary: a TokenizerInfo, to find special tokens by their names in the strings, and what other tokens write;
                None: strings are texts, and every token that is named is special.
            options: the text policy of the schemas inside, as `compile_json_schema` takes it.

        Raises:
            GrammarError: InvalidError or UnsupportedError, with the JSON Pointer. Schemas are checked when the grammar is
                compiled.
        """
        from maskwright.grammars.structural_tags import structural_tag

        return cls(structural_tag(description, SchemaOptions(**options), vocabulary))

    @classmethod
    def from_choices(cls, choices: Sequence[str]) -> Grammar:
        """Exactly one of some strings."""
        if isinstance(choices, str) or not all(isinstance(one, str) for one in choices):
            raise InvalidError("choices are a sequence of strings")
        if not choices:
            raise InvalidError("choices are empty: give at least one string")
        return cls._of(Text(regular.words(choices)))

    @classmethod
    def from_literal(cls, text: str) -> Grammar:
        """Exactly one text."""
        return cls.from_choices([text])

    @classmethod
    def _of(cls, body: Node) -> Grammar:
        return cls(Rules({"root": body}, "root"))

    # ---------------------------------------------------------------- joining

    @staticmethod
    def concat(*grammars: Grammar) -> Grammar:
        """A text of the first grammar, then one of the second, and so on; of none, the empty text."""
        bodies, starts = _apart(grammars)
        return Grammar(Rules({"root": sequence(starts), **bodies}, "root"))

    @staticmethod
    def union(*grammars: Grammar) -> Grammar:
        """A text of any of the grammars."""
        if not grammars:
            raise InvalidError("a union of no grammars has no text: give at least one")
        bodies, starts = _apart(grammars)
        return Grammar(Rules({"root": choice(starts), **bodies}, "root"))

    @staticmethod
    def repeat(grammar: Grammar, low: int = 0, high: int | None = None) -> Grammar:
        """From `low` to `high` texts of a grammar, one after the other; any number where `high` is None."""
        if low < 0 or high is not None and high < low:
            raise InvalidError(f"a grammar cannot be repeated from {low} to {high} times")
        bodies, (start,) = _apart([grammar])
        return Grammar(Rules({"root": loop(start, low, high), **bodies}, "root"))

    def __str__(self) -> str:
        from maskwright.grammars.ebnf_writing import write_ebnf

        return write_ebnf(self.rules)


def _apart(grammars: Sequence[Grammar]) -> tuple[dict[str, Node], list[Node]]:
    """The rules of all grammars under different names, none of them `root`, and what each grammar starts with.

    A grammar of one rule that is not recursive is its body: no name is needed for it.
    """
    bodies: dict[str, Node] = {}
    starts: list[Node] = []
    taken = {"root"}
    for grammar in grammars:
        if not isinstance(grammar, Grammar):
            raise InvalidError(
                f"a Grammar is expected, not {type(grammar).__name__}", hint="make one: Grammar.from_..."
            )
        rules = grammar.rules
        if len(rules.bodies) == 1 and not _recursive(rules):
            starts.append(renamed(rules.bodies[rules.root], {}))
            continue
        names: dict[str, str] = {}
        for name in rules.bodies:
            names[name] = next(one for one in _names(name) if one not in taken)
            taken.add(names[name])
        for name, body in rules.bodies.items():
            bodies[names[name]] = renamed(body, names)
        starts.append(Call(names[rules.root]))
    return bodies, starts


def _recursive(rules: Rules) -> bool:
    return any(isinstance(node, Call) for body in rules.bodies.values() for node in nodes(body))


def _names(name: str) -> Iterator[str]:
    yield name
    for number in count(2):
        yield f"{name}-{number}"
