"""Compiled grammars in files of their own: what each was made of, and the mask rows that are known of it by content.

States are not in such a file: they are lowered in a millisecond or less, as they are reached, from what the grammar was made
of. It is an array file (compile/array_file.py), whose header says

    format      2; raise it when what is below changes its meaning
    version     of the package that wrote it
    code        of its modules (compile/row_file.py: code_digest); where it is another, the rows are not taken
    tokenizer   TokenizerInfo.fingerprint
    kind        which of the compiler's methods makes the grammar again: compile_<kind>(source, **options)
    source      its first argument; of a schema whose fractions are Decimals, its text
    options     the others

and whose arrays are rows, none or those of compile/row_file.py: packed_rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskwright.compile.array_file import DamagedFile, package_version, packed_file, unpacked_file, write_whole
from maskwright.compile.content_digest import content_digest
from maskwright.compile.row_file import MAX_ROW_BYTES, RowParts, code_digest, packed_rows, unpacked_rows
from maskwright.grammars.errors import GrammarError, SavedGrammarError
from maskwright.grammars.grammar import Grammar
from maskwright.grammars.json_schema import schema_text

if TYPE_CHECKING:
    from maskwright.compile.grammar import CompiledGrammar

__all__ = ["GrammarSource", "SavedGrammar", "read_grammar", "spelled_source", "write_grammar"]

_FORMAT = 2
_KINDS = ("json_schema", "regex", "choices", "substring", "grammar", "lark", "structural_tag")


@dataclass(frozen=True, slots=True)
class GrammarSource:
    """What a grammar was made of: `compile_<kind>(source, **options)` makes it again.

    Attributes:
        kind: one of "json_schema", "regex", "choices", "substring", "grammar", "lark", "structural_tag".
        source: by reference; nobody changes it.
        options: by name.
    """

    kind: str
    source: Any
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SavedGrammar:
    """What a file says.

    Attributes:
        source: what the grammar is made of.
        rows: by digest of their content, those that this installation may use.
        version: of the package that wrote it.
    """

    source: GrammarSource
    rows: Mapping[bytes, RowParts]
    version: str


def write_grammar(compiled: CompiledGrammar, path: Path) -> int:
    """Write a grammar into a file, in place of one that may be there. How many rows are in it.

    Raises:
        SavedGrammarError: JSON cannot say what the grammar was made of.
        OSError: the file cannot be written.
    """
    made_of = compiled.source
    if made_of is None:
        raise SavedGrammarError("this grammar was not made by a GrammarCompiler's compile_... methods")
    rows = _rows_of(compiled)
    header = {
        "format": _FORMAT,
        "version": package_version(),
        "code": code_digest(),
        "tokenizer": compiled.tokenizer_info.fingerprint,
        **spelled_source(made_of),
    }
    write_whole(path, packed_file(header, packed_rows(rows) if rows else {}))
    return len(rows)


def read_grammar(path: Path, tokenizer: str) -> SavedGrammar:
    """What a file says.

    Args:
        tokenizer: the fingerprint that it must be of.

    Raises:
        SavedGrammarError: it is damaged, or no such file; of another tokenizer; of a newer format.
        OSError: it cannot be read.
    """
    try:
        header, arrays = unpacked_file(np.fromfile(path, np.uint8))
    except DamagedFile as error:
        raise SavedGrammarError(f"{path} is damaged, or no saved grammar: {error}. Save the grammar again") from error
    if "format" not in header or "kind" not in header or "tokenizer" not in header:
        raise SavedGrammarError(f"{path} is a file of Maskwright's, and no saved grammar")
    if header["format"] != _FORMAT or header["kind"] not in _KINDS:
        raise SavedGrammarError(
            f"{path} was saved by Maskwright {header.get('version')} in another format than that of {package_version()}. "
            "Use that version, or save the grammar again with this one"
        )
    if header["tokenizer"] != tokenizer:
        raise SavedGrammarError(
            f"{path} was saved for another tokenizer. Load it with the compiler of that one, or save the grammar again"
        )
    same = (header["version"], header["code"]) == (package_version(), code_digest())
    return SavedGrammar(
        GrammarSource(header["kind"], header["source"], header["options"]),
        unpacked_rows(arrays) if same and arrays else {},
        header["version"],
    )


def spelled_source(made_of: GrammarSource) -> dict[str, Any]:
    """Kind, source and options as JSON has them."""
    source = made_of.source
    try:
        if isinstance(source, Grammar):
            source = str(source)  # EBNF, which reads back as a grammar of the same language
        elif _has_decimals(source):
            source = schema_text(source)
        return json.loads(json.dumps({"kind": made_of.kind, "source": source, "options": dict(made_of.options)}))
    except (TypeError, ValueError, RecursionError, GrammarError) as error:
        raise SavedGrammarError(
            f"what this grammar was made of cannot be written into a file ({error}). Make it of texts and JSON alone: "
            "without registry=, for example, by copying the documents into $defs"
        ) from error


def _has_decimals(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_decimals, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Decimal)


def _rows_of(compiled: CompiledGrammar) -> dict[bytes, RowParts]:
    """The rows of states that this grammar comes to, where their content names them; as far as a file has room."""
    automaton, found, size = compiled.automaton, dict[bytes, RowParts](), 0
    with automaton.lock:
        reached = automaton.reached_from(compiled.root)
        for content, parts in automaton.rows.named(reached):
            digest = content_digest(content)
            if digest is not None and digest not in found and size + parts.nbytes <= MAX_ROW_BYTES:
                found[digest] = parts
                size += parts.nbytes
    return found
