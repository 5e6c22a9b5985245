"""Grammars as data: tests/cases/{ebnf,lark,lark_contextual,gbnf_files}.toml, for every engine that knows their languages.

Each [[case]] has a grammar, or a file among the measuring data, and lists three kinds of texts:

    accept    sentences
    prefix    beginnings of sentences that are none themselves
    reject    beginnings of no sentence

A text with special tokens is a list: ["a", {token = "<|eot_id|>"}]. Each [[refused]] has the error's class, a part of its
message, and the line and column that it points at. `root` is the rule that texts begin with, where it is not the default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from maskwright.grammars.rules import Rules, Special

__all__ = ["Case", "Refused", "cases", "read", "refused"]

_FOLDER = Path(__file__).parent / "cases"
_DATA = Path(__file__).parents[2] / "shared" / "data"
_DEFAULT_ROOT = {"ebnf": "root", "lark": "start", "lark_contextual": "start"}

Texts = list[Any]


@dataclass(frozen=True)
class Case:
    """A grammar and texts; `grammar` is its text, `notation` "ebnf", "lark" or "lark_contextual"."""

    name: str
    notation: str
    root: str
    accept: Texts
    prefix: Texts
    reject: Texts
    source: str | Path

    @property
    def grammar(self) -> str:
        if isinstance(self.source, str):
            return self.source
        if not self.source.exists():
            pytest.skip("the measuring data is not here (a folder `shared` beside the repository)")
        return self.source.read_text()

    def rules(self) -> Rules:
        """What the front end makes of the grammar."""
        return read(self.notation, self.grammar, self.root)

    def texts(self) -> Iterator[tuple[Texts | str, bool, bool]]:
        """(text, whether it is a sentence, whether it begins one)."""
        for texts, whole, viable in (
            (self.accept, True, True),
            (self.prefix, False, True),
            (self.reject, False, False),
        ):
            for text in texts:
                yield text, whole, viable


@dataclass(frozen=True)
class Refused:
    """A grammar that is refused: with an error of the class `error` whose text contains `message`."""

    grammar: str
    notation: str
    root: str
    error: str
    message: str
    line: int | None
    column: int | None


def read(notation: str, grammar: str, root: str) -> Rules:
    """The rules of a grammar in one of the notations."""
    if notation.startswith("lark"):
        from maskwright.grammars.lark_grammar import parse_lark

        return parse_lark(grammar, root, "contextual" if notation == "lark_contextual" else "dynamic_complete")
    from maskwright.grammars.ebnf import parse_ebnf

    return parse_ebnf(grammar, root)


def _tables(file: str) -> tuple[str, dict[str, Any]]:
    return (file if file.startswith("lark") else "ebnf"), tomllib.loads((_FOLDER / f"{file}.toml").read_text())


def _text(written: Any) -> Any:
    """A text: a string, or its pieces where special tokens are among them."""
    if isinstance(written, str):
        return written
    pieces: list[Any] = []
    for part in written:
        pieces.extend(part if isinstance(part, str) else [Special(part["token"])])
    return pieces


def cases(*files: str) -> list[Case]:
    """The cases of some files."""
    found = []
    for file in files:
        notation, tables = _tables(file)
        for case in tables["case"]:
            source = _DATA / case["file"] if "file" in case else case["grammar"]
            texts = [[_text(text) for text in case.get(kind, ())] for kind in ("accept", "prefix", "reject")]
            name = case.get("name") or (case["file"] if "file" in case else case["grammar"].strip()[:60])
            found.append(Case(name, notation, case.get("root", _DEFAULT_ROOT[notation]), *texts, source))
    return found


def refused(*files: str) -> list[Refused]:
    """What the files say is refused."""
    found = []
    for file in files:
        notation, tables = _tables(file)
        for case in tables.get("refused", ()):
            root = case.get("root", _DEFAULT_ROOT[notation])
            place = case.get("line"), case.get("column")
            found.append(Refused(case["grammar"], notation, root, case["error"], case["message"], *place))
    return found
