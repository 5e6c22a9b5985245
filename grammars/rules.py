r"""Context-free grammars as front ends write them down: named rules over regular texts, calls, special tokens, JSON.

    root ::= "{" pair ("," pair)* "}"      Sequence(Text({), Call(pair), Loop(Sequence(Text(,), Call(pair)), 0, None), Text(}))
    pair ::= [a-z]+ ":" root               Sequence(Text([a-z]+:), Call(root))

Nothing here is simplified, checked or reached: `context_free` turns rules into languages with derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from maskwright.grammars.charset import CharSet
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.regular import Regex

if TYPE_CHECKING:
    from maskwright.grammars.lark_parser import Parser

__all__ = [
    "SPECIAL_BYTE",
    "Call",
    "Choice",
    "Deferred",
    "Frame",
    "Json",
    "Loop",
    "Node",
    "Reader",
    "Rules",
    "Sequence",
    "Special",
    "Switch",
    "Text",
]

SPECIAL_BYTE = 0xFF  # begins what stands for a special token in an automaton: no text in UTF-8 has it


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
    """The JSON texts that satisfy a schema (anything that `compile_json_schema` takes), under a text policy.

    Attributes:
        place: a JSON Pointer to the schema in whatever it was read from, for errors; "" where there is none.
        bare: where it is not "", strings are written as they are, without quotes, and do not contain it.
    """

    schema: Any
    options: SchemaOptions
    place: str = ""
    bare: str = ""


class Reader(Protocol):
    """A state of a deterministic automaton over characters that tells texts apart. Hashable; equal states are equal."""

    @property
    def complete(self) -> Collection[int]:
        """The numbers of the texts that end here."""

    def transitions(self) -> Iterable[tuple[CharSet, Reader]]:
        """Disjoint sets of characters, and the state after each; from there some text can be completed."""

    def language(self, number: int) -> Regex:
        """The texts that are read from here on up to where `number` is complete."""


@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    """One of many texts, each followed by something of its own, which nobody looks at until a text has come to it.

    What follows a text is a grammar by itself: it calls no rules, is well formed, and derives some text, but not the
    empty one. So a grammar with hundreds of tools costs what its texts use of them.

    Attributes:
        reader: before the text; as soon as texts are complete, what follows them must follow.
        numbers: of the texts.
        behind: makes the node that follows a text, given its number.
    """

    reader: Reader
    numbers: Collection[int]
    behind: Callable[[int], Node]

    def spelled(self) -> Node:
        """The same as a choice, all of it looked at."""
        return Choice(
            tuple(Sequence((Text(self.reader.language(number)), self.behind(number))) for number in self.numbers)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Texts that a frame of its own reads and that say by their last byte that they end; put in place of a Json.

    Attributes:
        origin: whoever knows the frame (compile/embedded.py).
    """

    origin: Any


Node = Text | Call | Sequence | Choice | Loop | Special | Json | Switch | Frame


class Deferred(Mapping[str, Node]):
    """Bodies that are made when somebody asks for one of them."""

    def __init__(self, make: Callable[[], Mapping[str, Node]]) -> None:
        self._make = make

    @cached_property
    def _bodies(self) -> Mapping[str, Node]:
        return self._make()

    def __getitem__(self, name: str) -> Node:
        return self._bodies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._bodies)

    def __len__(self) -> int:
        return len(self._bodies)


@dataclass(frozen=True, eq=False)
class Rules:
    """A grammar: what its rules derive, and where a text starts.

    Attributes:
        bodies: by the rule's name, in the order of the source.
        root: the rule that whole texts are derived from.
        source: the text that the rules were read from, "" where there is none; positions are offsets into it.
        positions: where a rule's definition begins.
        parser: reads the same texts, where it is known how (grammars/lark_parser.py): what the rules are compiled to when
            they are the whole grammar.
    """

    bodies: Mapping[str, Node]
    root: str
    source: str = ""
    positions: Mapping[str, int] = field(default_factory=dict)
    parser: Parser | None = None
