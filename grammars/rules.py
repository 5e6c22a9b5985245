r"""Context-free grammars as front ends write them down: named rules over regular texts, calls, special tokens, JSON.

    root ::= "{" pair ("," pair)* "}"      Sequence(Text({), Call(pair), Loop(Sequence(Text(,), Call(pair)), 0, None), Text(}))
    pair ::= [a-z]+ ":" root               Sequence(Text([a-z]+:), Call(root))

Nothing here is simplified, checked or reached: `context_free` turns rules into languages with derivatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.regular import Regex

__all__ = ["Call", "Choice", "Frame", "Json", "Loop", "Node", "Rules", "Sequence", "Special", "Text"]


@dataclass(frozen=True, slots=True)
class Text:
    """The texts of a regular language (grammars/regular.py), as they are."""

    language: Regex


@dataclass(frozen=True, slots=True)
class Call:
    """What the rule `name` derives. `position`: where in the source it is written, a code-point offset, for errors."""

    name: str
    position: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Sequence:
    """One item after the other; none of them: the empty text."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Any of the items; none of them: no text at all."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """From `low` to `high` items, one after the other; `high` None: any number."""

    item: Node
    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Special:
    """One special token of the vocabulary, by its name (`<|eot_id|>`) or its id; never the text of its name."""

    token: str | int
    position: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class Json:
    """The JSON texts that satisfy a schema (anything that `compile_json_schema` takes), under a text policy."""

    schema: Any
    options: SchemaOptions


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Texts that a frame of its own reads and that say by their last byte that they end; put in place of a Json.

    Attributes:
        origin: whoever knows the frame (compile/embedded.py).
    """

    origin: Any


Node = Text | Call | Sequence | Choice | Loop | Special | Json | Frame


@dataclass(frozen=True, eq=False)
class Rules:
    """A grammar: what its rules derive, and where a text starts.

    Attributes:
        bodies: by the rule's name, in the order of the source.
        root: the rule that whole texts are derived from.
        source: the text that the rules were read from, "" where there is none; positions are offsets into it.
        positions: where a rule's definition begins.
    """

    bodies: Mapping[str, Node]
    root: str
    source: str = ""
    positions: Mapping[str, int] = field(default_factory=dict)
