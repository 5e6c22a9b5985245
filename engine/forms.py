"""What servers call structured output: the form of one request's answer, by the names that servers know it under.

    {"json": {...}}   {"regex": "..."}   {"choice": ["yes", "no"]}   {"grammar": "root ::= ..."}   {"structural_tag": {...}}

| kind of GrammarCompiler | names: vLLM's, SGLang's, ours |
|---|---|
| json_schema | json, json_schema |
| json_schema of any object | json_object (true) |
| regex | regex |
| choices | choice, choices |
| grammar | grammar, ebnf |
| lark | lark, and grammar where its text has no `::=` |
| structural_tag | structural_tag |

A name with the value None or False is as good as left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compiler import GrammarCompiler
from maskwright.grammars.errors import GrammarError, InvalidError, UnsupportedError
from maskwright.grammars.options import SchemaOptions

__all__ = ["Form", "form_of"]

_KINDS = MappingProxyType(
    {
        "json": "json_schema",
        "json_schema": "json_schema",
        "json_object": "json_schema",
        "regex": "regex",
        "choice": "choices",
        "choices": "choices",
        "grammar": "grammar",
        "ebnf": "grammar",
        "lark": "lark",
        "structural_tag": "structural_tag",
    }
)
_POLICY = frozenset(option.name for option in fields(SchemaOptions)) - {"registry"}
_SWITCHES = ("disable_any_whitespace", "whitespace_pattern", "disable_additional_properties")
_WITH_POLICY = ("json_schema", "structural_tag")


@dataclass(frozen=True, slots=True)
class Form:
    """The form of an answer.

    Attributes:
        kind: what GrammarCompiler calls it: `compile_<kind>`.
        source: what it is made of.
        policy: options of the text policy, for schemas and structural tags.
        place: JSON Pointer of the source in what it was read from; places inside of schemas are told behind it.
    """

    kind: str
    source: Any
    policy: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""

    def compile(self, compiler: GrammarCompiler) -> CompiledGrammar:
        """The grammar; equal forms are compiled once.

        Raises:
            GrammarError: as `compile_<kind>`.
            TokenizerError: the vocabulary cannot write what the form requires.
        """
        compiled: CompiledGrammar = getattr(compiler, f"compile_{self.kind}")(self.source, **self.policy)
        return compiled

    def compile_placed(self, compiler: GrammarCompiler) -> CompiledGrammar:
        """As `compile`; the pointers of its errors begin at the root of the request."""
        try:
            return self.compile(compiler)
        except GrammarError as error:
            error.pointer = self.place + (error.pointer or "")
            raise

    def after_reasoning(self, marker: str) -> Form:
        """The same behind any text up to and with `marker`.

        Raises:
            UnsupportedError: a grammar in lark's notation, which structural tags do not hold.
        """
        reasoning = {"type": "tag", "begin": "", "content": {"type": "any_text"}, "end": marker}
        elements = {"type": "sequence", "elements": [reasoning, self._as_format()]}
        return Form("structural_tag", {"type": "structural_tag", "format": elements}, self.policy, self.place)

    def _as_format(self) -> Any:
        """This form inside a structural tag (docs/tools.md)."""
        source = self.source
        if self.kind == "lark":
            raise UnsupportedError(
                "a grammar in lark's notation cannot follow reasoning", pointer=self.place, hint="use EBNF"
            )
        if self.kind == "structural_tag":
            description = json.loads(source) if isinstance(source, str) else source
            if not isinstance(description, Mapping) or "format" not in description:
                raise UnsupportedError('only a structural tag with "format" can follow reasoning', pointer=self.place)
            return description["format"]
        if self.kind == "choices":
            return {"type": "or", "elements": [{"type": "const_string", "value": one} for one in source]}
        if self.kind == "json_schema" and isinstance(source, str):
            source = json.loads(source)
        name = {"regex": "pattern"}.get(self.kind, self.kind)
        return {"type": self.kind, name: source}


def form_of(given: Mapping[str, Any], place: str = "") -> Form:
    """The form that a server's fields ask for.

    Args:
        given: one name of the table with its value, beside it options of the text policy (maskwright.grammars.options) and
            vLLM's `disable_any_whitespace`.
        place: JSON Pointer of `given` in the request.

    Raises:
        InvalidError: none of the names, or several; an unknown field; an option out of range.
        UnsupportedError: `whitespace_pattern` or `disable_additional_properties`, which nothing here enforces.
    """
    asked = {name: value for name, value in given.items() if value is not None and value is not False}
    for name in asked:
        if name not in _KINDS and name not in _POLICY and name not in _SWITCHES:
            raise InvalidError(f"there is no form or option {name!r}", pointer=f"{place}/{name}", hint=_choose())
    sources = [name for name in asked if name in _KINDS]
    if len(sources) != 1:
        found = f"{len(sources)} of them: {', '.join(sources)}" if sources else "none of them"
        raise InvalidError(f"exactly one form is wanted, and this has {found}", pointer=place, hint=_choose())
    (name,) = sources
    kind, source = _KINDS[name], asked.pop(name)
    if name == "json_object":
        source = {"type": "object"}
    elif name == "grammar" and isinstance(source, str) and "::=" not in source:
        kind = "lark"
    policy = _policy(asked, place)
    if policy and kind not in _WITH_POLICY:
        option = next(iter(policy))
        raise InvalidError(
            f"{option} is about the texts of JSON values, and {name} is none", pointer=f"{place}/{option}"
        )
    return Form(kind, source, policy, f"{place}/{name}")


def _policy(asked: Mapping[str, Any], place: str) -> dict[str, Any]:
    policy: dict[str, Any] = {}
    for name, value in asked.items():
        if name == "disable_any_whitespace":
            policy["whitespace"] = "compact"
        elif name in _SWITCHES:
            raise UnsupportedError(
                f"{name} is not enforced", keyword=name, pointer=f"{place}/{name}",
                hint='write whitespace="compact", "single" or "flexible"' if name == "whitespace_pattern"
                else "write additionalProperties: false into the schema",
            )  # fmt: skip
        else:
            policy[name] = tuple(value) if isinstance(value, list) else value
    try:
        SchemaOptions(**policy)
    except (TypeError, ValueError) as error:
        raise InvalidError(str(error), pointer=place) from error
    return policy


def _choose() -> str:
    return f"choose one of {', '.join(_KINDS)}"
