"""What a command line names: schemas, texts and tokenizers, read from where they are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.grammars.errors import InvalidError, TokenizerError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["compile_schema", "load_tokenizer", "read_bytes", "read_schema", "text_policy"]


def read_bytes(name: str) -> bytes:
    """The content of a file, or of standard input for "-"."""
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def read_schema(name: str) -> str:
    """The text of a schema."""
    try:
        return read_bytes(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidError(f"not UTF-8 text: {error.reason} at byte {error.start}") from error


def text_policy(options: argparse.Namespace) -> dict[str, Any]:
    """The options of `compile_json_schema` that the command line has."""
    names = ("property_order", "whitespace", "escapes", "numbers", "format", "on_unsupported", "draft")
    return {name: getattr(options, name) for name in names}


def compile_schema(options: argparse.Namespace, info: TokenizerInfo) -> CompiledGrammar:
    """The schema that the command line names, compiled under its text policy; warnings go to standard error."""
    compiled = GrammarCompiler(info).compile_json_schema(read_schema(options.schema), **text_policy(options))
    for warning in compiled.warnings:
        print(f"maskwright: warning: {options.schema}: {warning}", file=sys.stderr)
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
