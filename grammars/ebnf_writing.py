"""Rules as text, in the EBNF that `ebnf` reads: `parse_ebnf(write_ebnf(rules))` has the same language.

The root is called `root`. A name that the notation cannot spell gets another one; so does a rule that derives nothing, for
which there is no notation (`nothing ::= nothing`). Regular languages with a complement or an intersection inside, which
have no notation either, are written as their automata, a rule for each state.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from itertools import count
from typing import Any

from maskwright.grammars.charset import ALL, CharSet
from maskwright.grammars.embedded import write_special
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.python_types import schema_from
from maskwright.grammars.regular import (
    ANY_CHAR,
    EPSILON,
    Alternate,
    Chars,
    Concat,
    Empty,
    Epsilon,
    Regex,
    Repeat,
    Words,
    is_empty,
)
from maskwright.grammars.rules import Call, Choice, Json, Loop, Node, Rules, Sequence, Special, Switch, Text

__all__ = ["MAX_STATES", "write_ebnf"]

MAX_STATES = 10_000  # rules for the automaton of one regular language
_MAX_GROUPS = 40  # nesting in one rule; deeper parts become rules of their own
_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")

# What an expression may stand in without brackets.
_ALTERNATIVES, _ITEMS, _ITEM = range(3)


def write_ebnf(rules: Rules) -> str:
    """The text of a grammar, a line for each rule, the root first.

    What is not text in it: `%json` under options other than the defaults is preceded by a comment that says which.

    Raises:
        LimitExceeded: a regular language has an automaton of more than MAX_STATES states.
    """
    return _Writer(rules).text()


class _Writer:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.lines: dict[str, str] = {}  # by the name that is written; "" while the line is being made
        self.names = {rules.root: self._new("root")}
        for name in rules.bodies:
            if name not in self.names:
                self.names[name] = self._new(name)
        self.nothing = ""

    def text(self) -> str:
        for name, body in self.rules.bodies.items():
            notes = "".join(f"# {note}\n" for note in _notes(body))
            self.lines[self.names[name]] = f"{notes}{self.names[name]} ::= {self.node(body, _ALTERNATIVES, 0)}"
        root = self.lines.pop("root")
        return "\n".join([root, *self.lines.values()]) + "\n"

    def _new(self, name: str) -> str:
        """A name that no line has yet."""
        if not _NAME.fullmatch(name):
            name = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "rule"
        found = name
        for number in count(2):
            if found not in self.lines:
                break
            found = f"{name}-{number}"
        self.lines[found] = ""
        return found

    # ---------------------------------------------------------------- nodes

    def node(self, node: Node, place: int, depth: int) -> str:
        if isinstance(node, Call):
            return self.names[node.name]
        if isinstance(node, Special):
            return write_special(node.token)
        if isinstance(node, Json):
            return f"%json {_schema_text(node.schema)}"
        if isinstance(node, Switch):
            return self.node(node.spelled(), place, depth)
        if depth > _MAX_GROUPS:
            name = self._new("part")
            self.lines[name] = f"{name} ::= {self.node(node, _ALTERNATIVES, 0)}"
            return name
        if isinstance(node, Choice | Sequence) and len(node.items) == 1:
            return self.node(node.items[0], place, depth)
        if isinstance(node, Choice):
            return self._alternatives([self.node(item, _ITEMS, depth + 1) for item in node.items], place)
        if isinstance(node, Sequence):
            return self._items([self.node(item, _ITEMS, depth + 1) for item in node.items], place)
        if isinstance(node, Loop):
            return self._counted(self.node(node.item, _ITEM, depth + 1), node.low, node.high, place)
        assert isinstance(node, Text), "a Frame is no front end's"
        return self.regular(node.language, place, depth)

    def regular(self, node: Regex, place: int, depth: int) -> str:
        if isinstance(node, Epsilon):
            return '""'
        if isinstance(node, Empty):
            return self._nothing()
        if node is ANY_CHAR:
            return "."
        if isinstance(node, Chars):
            return _class(node.set)
        if isinstance(node, Words):
            written = [_string(word) for word in node.remaining() if word]
            return self._optional(written, place) if node.nullable else self._alternatives(written, place)
        if depth > _MAX_GROUPS:
            name = self._new("part")
            self.lines[name] = f"{name} ::= {self.regular(node, _ALTERNATIVES, 0)}"
            return name
        if isinstance(node, Alternate):
            parts = [part for part in node.parts if part is not EPSILON]
            inner = _ITEM if len(parts) == 1 else _ITEMS
            written = [self.regular(part, inner, depth + 1) for part in parts]
            return (
                self._optional(written, place) if len(parts) < len(node.parts) else self._alternatives(written, place)
            )
        if isinstance(node, Concat):
            return self._items([self.regular(part, _ITEMS, depth + 1) for part in node.parts], place)
        if isinstance(node, Repeat):
            return self._counted(self.regular(node.item, _ITEM, depth + 1), node.low, node.high, place)
        return self._automaton(node)

    def _alternatives(self, written: list[str], place: int) -> str:
        if len(written) < 2:
            return written[0] if written else self._nothing()
        text = " | ".join(written)
        return text if place == _ALTERNATIVES else f"({text})"

    def _optional(self, written: list[str], place: int) -> str:
        return self._counted(self._alternatives(written, _ITEM), 0, 1, place)

    def _items(self, written: list[str], place: int) -> str:
        if len(written) < 2:
            return written[0] if written else '""'
        text = " ".join(written)
        return text if place <= _ITEMS else f"({text})"

    def _counted(self, item: str, low: int, high: int | None, place: int) -> str:
        sign = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((low, high))
        if sign is None:
            sign = f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"
        return f"{item}{sign}" if place <= _ITEMS else f"({item}{sign})"

    def _nothing(self) -> str:
        if not self.nothing:
            self.nothing = self._new("nothing")
            self.lines[self.nothing] = f"{self.nothing} ::= {self.nothing}"
        return self.nothing

    def _automaton(self, start: Regex) -> str:
        """The rules of a language's states; the name of the first."""
        if is_empty(start):
            return self._nothing()
        names = {start: self._new("state")}
        pending = [start]
        for node in pending:
            ways = []
            for characters, target in node.transitions():
                if is_empty(target):
                    continue
                if target not in names:
                    names[target] = self._new("state")
                    pending.append(target)
                ways.append(f"{_class(characters)} {names[target]}")
            if len(names) > MAX_STATES:
                what = "writing a regular language as rules"
                raise LimitExceeded("max_states", len(names), MAX_STATES, what=what, hint="write a smaller expression")
            ways += ['""'] if node.nullable else []
            self.lines[names[node]] = f"{names[node]} ::= {' | '.join(ways)}"
        return names[start]


# -------------------------------------------------------------------- leaves


_ESCAPES = {0x09: r"\t", 0x0A: r"\n", 0x0D: r"\r", 0x5C: r"\\"}


def _spell(code_point: int, quoted: str) -> str:
    """A character as it is written where those of `quoted` have a meaning."""
    if code_point in _ESCAPES:
        return _ESCAPES[code_point]
    character = chr(code_point)
    if character in quoted:
        return "\\" + character
    if character.isprintable():
        return character
    if code_point < 0x100:
        return f"\\x{code_point:02X}"
    return f"\\u{code_point:04X}" if code_point < 0x10000 else f"\\U{code_point:08X}"


def _string(text: str) -> str:
    return '"' + "".join(_spell(ord(character), '"') for character in text) + '"'


def _class(characters: CharSet) -> str:
    if characters.size == 1:
        return _string(chr(characters.first))
    if characters == ALL:
        return "."
    others = ~characters
    negative = len(others.ranges) < len(characters.ranges)
    parts = []
    for low, high in (others if negative else characters).ranges:
        first, last = _spell(low, "]-^["), _spell(high, "]-^[")
        parts.append(first if low == high else f"{first}{last}" if high == low + 1 else f"{first}-{last}")
    return f"[{'^' if negative else ''}{''.join(parts)}]"


def _schema_text(schema: Any) -> str:
    if isinstance(schema, str):
        return schema.strip()
    return json.dumps(schema_from(schema, narrow=True)[0], ensure_ascii=False, default=float)


def _notes(body: Node) -> list[str]:
    """What `%json` cannot say: options other than the defaults, and types of Python."""
    found = []
    pending = [body]
    while pending:
        node = pending.pop()
        if isinstance(node, Json):
            usual = SchemaOptions()
            pairs = ((one.name, getattr(node.options, one.name)) for one in fields(node.options))
            changed = [f"{name}={value!r}" for name, value in pairs if value != getattr(usual, name)]
            if changed:
                found.append(f"%json with {', '.join(changed)}")
        elif isinstance(node, Sequence | Choice):
            pending.extend(node.items)
        elif isinstance(node, Loop):
            pending.append(node.item)
    return [" ".join(note.split()) for note in found]
