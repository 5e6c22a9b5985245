"""What each stage makes of a schema, as text: `maskwright show ir|automaton|mask|tokens`.

Every `show_*` function takes the parsed command line and yields lines; `run` prints them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from maskwright.cli_dot import dot_lines, svg_of
from maskwright.cli_tables import states_of
from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars import boolean, ir, regular
from maskwright.grammars.boolean import Bool
from maskwright.grammars.errors import MatcherError
from maskwright.grammars.ir import ArrayShape, Count, ObjectShape, Value
from maskwright.grammars.json_schema import load_schema
from maskwright.grammars.number_descriptions import describe_numbers
from maskwright.grammars.options import SchemaOptions
from maskwright.judge import byte_vocabulary, describe_bytes
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.sources import compile_schema, load_tokenizer, read_schema, text_policy

__all__ = ["run", "show_automaton", "show_ir", "show_mask", "show_tokens", "value_lines"]

_WIDTH = 100  # columns that a regular expression may take


# ---------------------------------------------------------------------------------------------------------------- ir


def show_ir(options: argparse.Namespace) -> Iterator[str]:
    """What the schema means, type by type; child schemas are expanded to `--depth`."""
    loaded = load_schema(read_schema(options.schema), SchemaOptions(**text_policy(options)))
    yield from (f"warning: {warning}" for warning in loaded.warnings)
    yield from value_lines(loaded.value_of(loaded.root), options.depth)


def value_lines(value: Value, depth: int) -> Iterator[str]:
    """A Value, one line a type, with child schemas expanded `depth` levels deep."""
    literals = [
        name
        for bit, name in ((ir.NULL_LITERAL, "null"), (ir.FALSE_LITERAL, "false"), (ir.TRUE_LITERAL, "true"))
        if value.literals & bit
    ]
    if literals:
        yield " or ".join(literals)
    if value.number != regular.EMPTY:
        yield describe_numbers(value.number) or f"number: {_shortened(value.number)}"
    if value.string != regular.EMPTY:
        yield f"string: {'any' if value.string == regular.ANY_STRING else _shortened(value.string)}"
    for name, shapes in (("array", value.array), ("object", value.object)):
        if shapes != boolean.FALSE:
            yield from _expression(f"{name}: ", shapes, depth)
    if value == ir.NOTHING:
        yield "nothing"


def _expression(label: str, expression: Bool, depth: int) -> Iterator[str]:
    """A boolean expression over shapes or schemas, operators as headings."""
    if expression == boolean.TRUE:
        yield f"{label}anything"
    elif expression == boolean.FALSE:
        yield f"{label}nothing"
    elif expression.kind == "leaf":
        yield from _leaf(label, expression.payload, depth)
    else:
        names = {"and": "all of", "or": "any of", "not": "not", "one": "exactly one of"}
        yield f"{label}{names[expression.kind]}"
        for argument in expression.args:
            yield from _indented(_expression("", argument, depth))


def _leaf(label: str, payload: Any, depth: int) -> Iterator[str]:
    if isinstance(payload, ArrayShape):
        unlike = ", all different" if payload.unique else ", two equal" if payload.repeating else ""
        yield f"{label}{_bounds('items', payload.min_items, payload.max_items)}{unlike}"
        for index, item in enumerate(payload.prefix):
            yield from _indented(_expression(f"[{index}] ", item, depth))
        yield from _indented(_expression("[...] " if payload.prefix else "[each] ", payload.rest, depth))
        yield from _counted("of [...] " if payload.prefix else "", payload.counted, depth)
    elif isinstance(payload, ObjectShape):
        yield f"{label}{_bounds('members', payload.min_properties, payload.max_properties)}"
        named = {key for key, _ in payload.properties}
        for key, member in payload.properties:
            must = "" if key in payload.required else "?"
            yield from _indented(_expression(f'"{key}"{must}: ', member, depth))
        for language, member in payload.patterns:
            yield from _indented(_expression(f"keys {_shortened(language)}: ", member, depth))
        missing = [key for key in payload.required if key not in named]
        if missing:
            yield f"  required as well: {', '.join(missing)}"
        yield from _indented(_expression("other keys: ", payload.additional, depth))
        yield from _counted("of other keys " if payload.properties or payload.patterns else "", payload.counted, depth)
        if payload.names != regular.ANY_STRING:
            yield f"  every key in {_shortened(payload.names)}"
    else:
        yield f"{label}schema {payload.pointer or '(root)'}"
        if depth > 0:
            yield from _indented(value_lines(payload.expand(), depth - 1))


def _counted(where: str, count: Count | None, depth: int) -> Iterator[str]:
    if count is not None:
        yield from _indented(_expression(f"{where}{_bounds('times', count.least, count.most)} ", count.child, depth))


def _bounds(what: str, low: int, high: int | None) -> str:
    if high is None:
        return f"{low} or more {what}" if low else f"any number of {what}"
    return f"{low} to {high} {what}"


def _shortened(language: regular.Regex) -> str:
    text = repr(language)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


# --------------------------------------------------------------------------------------------- automaton, mask, tokens


def show_automaton(options: argparse.Namespace) -> Iterator[str]:
    """The states that are lowered once the prefix is read; with `--svg` or `--dot`, as a drawing."""
    compiled = compile_schema(options, byte_vocabulary())
    _matcher_after(compiled, options.prefix)
    file = options.svg or options.dot
    if file is None:
        yield from compiled.describe_states().splitlines()
        return
    drawing = "".join(f"{line}\n" for line in dot_lines(states_of(compiled), compiled.root))
    if options.svg:
        drawing = svg_of(drawing)
    if file == "-":
        yield drawing.rstrip("\n")
    else:
        Path(file).write_text(drawing, encoding="utf-8")


def show_mask(options: argparse.Namespace) -> Iterator[str]:
    """Which tokens may follow the prefix: bytes in words, or tokens of a tokenizer in byte order."""
    if options.tokenizer is None:
        matcher = _matcher_after(compile_schema(options, byte_vocabulary()), options.prefix)
        allowed = matcher.allowed_token_ids()
        yield f"{len(allowed)} of 256 bytes and the end: {describe_bytes(allowed.tolist())}"
    else:
        info = TokenizerInfo.from_huggingface(load_tokenizer(options.tokenizer))
        matcher = _matcher_after(compile_schema(options, info), options.prefix)
        allowed = matcher.allowed_token_ids()
        yield f"{len(allowed):,} of {info.vocab_size:,} tokens"
        for token in sorted(allowed.tolist(), key=lambda token: info.tokens[token] or b"")[: options.limit]:
            yield _token_line(info, token)
        if len(allowed) > options.limit:
            yield f"... and {len(allowed) - options.limit:,} more"
    forced = matcher.find_jump_forward_string()
    if forced:
        yield f"only this can follow: {forced!r}"
    if matcher.is_completed():
        yield "the text so far is a whole sentence"


def _matcher_after(compiled: CompiledGrammar, prefix: str) -> GrammarMatcher:
    matcher = GrammarMatcher(compiled)
    if not matcher.accept_string(prefix):
        raise MatcherError(f"the prefix {prefix!r} is not one that is allowed here (see `maskwright validate`)")
    return matcher


def _token_line(info: TokenizerInfo, token: int) -> str:
    special = " (special)" if token in info.special_token_ids else ""
    return f"{token:>8}  {_readable(info.tokens[token])}{special}"


def _readable(token: bytes | None) -> str:
    """A token's bytes as a Python literal, as text where they are whole characters."""
    if token is None:
        return "(padding)"
    try:
        return repr(token.decode())
    except UnicodeDecodeError:
        return repr(token)


def show_tokens(options: argparse.Namespace) -> Iterator[str]:
    """The tokens of a text, one a line, with the bytes that each writes."""
    tokenizer = load_tokenizer(options.tokenizer)
    info = TokenizerInfo.from_huggingface(tokenizer)
    yield repr(info)
    ids = tokenizer.encode(options.text, add_special_tokens=False).ids
    for token in ids:
        yield _token_line(info, token)
    if info.decode(ids) != options.text.encode():
        yield f"the tokens write {_readable(info.decode(ids))}, not the text"


_STAGES = {"ir": show_ir, "automaton": show_automaton, "mask": show_mask, "tokens": show_tokens}


def run(options: argparse.Namespace) -> int:
    """`maskwright show STAGE`; the exit code."""
    for line in _STAGES[options.stage](options):
        print(line)
    return 0
