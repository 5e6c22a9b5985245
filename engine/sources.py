"""What a command line names: schemas, texts and tokenizers, read from where they are.

| name | what it stands for |
|---|---|
| a file | its content |
| FILE.jsonl | one text a line, called FILE.jsonl:1, FILE.jsonl:2, ...; empty lines are skipped |
| a folder | all .json files in it and below |
| a glob (`*`, `?`, `[...]`, `**`) | the files that match; the shell may expand it as well |
| - | standard input |
"""

from __future__ import annotations

import argparse
import glob
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.cli_failures import CommandError
from maskwright.cli_output import print_warnings
from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.grammars.errors import InvalidError, TokenizerError
from maskwright.grammars.grammar import Grammar
from maskwright.grammars.options import SchemaOptions

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "Source",
    "compile_form",
    "compile_schema",
    "expand",
    "form_name",
    "load_tokenizer",
    "named_form",
    "read_bytes",
    "read_grammar",
    "read_instances",
    "read_schema",
    "text_policy",
]

_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@dataclass(frozen=True, slots=True)
class Source:
    """One text of the command line.

    Attributes:
        name: what messages call it.
        content: its bytes, where they had to be read to find it; None: still to be read.
    """

    name: str
    content: bytes | None = None

    def read(self) -> bytes:
        """The bytes.

        Raises:
            OSError: they cannot be read.
        """
        return read_bytes(self.name) if self.content is None else self.content


def expand(names: Iterable[str]) -> list[Source]:
    """Everything that `names` stand for (see the table of the module), each once, in order.

    Raises:
        CommandError: a glob or a folder without files; standard input named twice.
        OSError: a .jsonl file cannot be read.
    """
    found: dict[str, Source] = {}
    for name in names:
        if name == "-" and name in found:
            raise CommandError("standard input (-) can be read only once")
        for file in [name] if name == "-" else _files(name):
            for source in _lines(file) if file.endswith(".jsonl") else [Source(file)]:
                found.setdefault(source.name, source)
    return list(found.values())


def _files(name: str) -> list[str]:
    path = Path(name)
    if path.is_dir():
        files = sorted(str(file) for file in path.rglob("*.json") if file.is_file())
        if not files:
            raise CommandError(f"the folder {name} has no .json file", kind="unreadable")
        return files
    if glob.has_magic(name) and not path.exists():
        files = sorted(file for file in glob.glob(name, recursive=True) if Path(file).is_file())
        if not files:
            raise CommandError(f"no file matches {name}", kind="unreadable")
        return files
    return [name]


def _lines(name: str) -> Iterator[Source]:
    for number, line in enumerate(read_bytes(name).split(b"\n"), 1):
        if line.strip():
            yield Source(f"{name}:{number}", line.removesuffix(b"\r"))


def read_bytes(name: str) -> bytes:
    """The content of a file, or of standard input for "-"."""
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def decode(content: bytes) -> str:
    """The text that some bytes spell in UTF-8, a byte order mark left out.

    Raises:
        InvalidError: they spell none.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        other = _ENCODINGS.get(content[:2])
        hint = f"this looks like {other}: save it as UTF-8" if other else "save it as UTF-8"
        raise InvalidError(f"not UTF-8 text: {error.reason} at byte {error.start}", hint=hint) from error


def read_schema(name: str) -> str:
    """The text of a schema."""
    if name != "-" and Path(name).is_dir():
        raise CommandError(f"{name} is a folder: name one file", kind="unreadable")
    return decode(read_bytes(name))


def read_grammar(name: str) -> Grammar | dict[str, Any]:
    """The grammar in a file: .lark in lark's notation, .json a structural tag (as it is), any other in EBNF."""
    text = decode(read_bytes(name))
    kind = _notation(name)
    if kind == "structural_tag":
        Grammar.from_structural_tag(text)
        found: dict[str, Any] = json.loads(text)
        return found
    return Grammar.from_lark(text) if kind == "lark" else Grammar.from_ebnf(text)


def _notation(name: str) -> str:
    return {".lark": "lark", ".json": "structural_tag"}.get(Path(name).suffix, "grammar")


def read_instances(names: Iterable[str]) -> list[tuple[str, bytes]]:
    """Name and text of every instance; a newline at the end of one is not part of it."""
    return [(source.name, source.read().removesuffix(b"\n")) for source in expand(names)]


def text_policy(options: argparse.Namespace) -> dict[str, Any]:
    """The options of `compile_json_schema` that the command line has.

    Raises:
        CommandError: one of them, or two together, make no sense.
    """
    given = vars(options)
    policy = {field.name: given[field.name] for field in fields(SchemaOptions) if field.name in given}
    try:
        SchemaOptions(**policy)
    except ValueError as error:
        raise CommandError(str(error)) from error
    return policy


def named_form(options: argparse.Namespace) -> tuple[str, Any] | None:
    """The form other than a schema that the command line gives: its kind and what it is made of, a file read."""
    if options.substring is not None:
        return "substring", decode(read_bytes(options.substring))
    if options.builtin_json:
        return "builtin_json", None
    if options.grammar is not None:
        return _notation(options.grammar), decode(read_bytes(options.grammar))
    given = ((kind, getattr(options, kind)) for kind in ("regex", "choices"))
    return next(((kind, value) for kind, value in given if value is not None), None)


def form_name(options: argparse.Namespace) -> str:
    """What messages call that form."""
    if options.regex is not None:
        return f"--regex {options.regex}"
    for name in ("substring", "grammar"):
        if getattr(options, name) is not None:
            return f"--{name} {getattr(options, name)}"
    return "--choices" if options.choices is not None else "--builtin-json"


def compile_form(compiler: GrammarCompiler, kind: str, value: Any, policy: dict[str, Any]) -> CompiledGrammar:
    """What `named_form` gives, compiled."""
    if kind == "builtin_json":
        return compiler.compile_builtin_json(**policy)
    if kind == "structural_tag":
        return compiler.compile_structural_tag(value, **policy)
    compiled: CompiledGrammar = getattr(compiler, f"compile_{kind}")(value)
    return compiled


def compile_schema(options: argparse.Namespace, info: TokenizerInfo) -> CompiledGrammar:
    """The schema or other form that the command line names, compiled; warnings go to standard error."""
    compiler, policy, form = GrammarCompiler(info), text_policy(options), named_form(options)
    if form is not None:
        compiled = compile_form(compiler, *form, policy)
        print_warnings(form_name(options), compiled.warnings)
        return compiled
    compiled = compiler.compile_json_schema(read_schema(options.schema), **policy)
    print_warnings(options.schema, compiled.warnings)
    return compiled


def load_tokenizer(place: str) -> Tokenizer:
    """The tokenizer of a folder with a tokenizer.json, or of that file."""
    from tokenizers import Tokenizer

    path = Path(place)
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise TokenizerError(f"{place} has no tokenizer.json: name a folder as save_pretrained() writes it")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(f"{path} is not a tokenizer that `tokenizers` can read: {error}") from error
