"""docs/cli.md and docs/json-schema.md are true: their examples are run, and nothing that there is is missing."""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import keyword_shares
import pytest
from jsonschema_specifications import REGISTRY as SPECIFICATIONS

from maskwright.cli import main
from maskwright.cli_failures import Failure
from maskwright.cli_options import argument_parser
from maskwright.compiler import GrammarCompiler
from maskwright.grammars.errors import GrammarError, UnsupportedError
from maskwright.grammars.formats import FORMATS
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.schema_keywords import DEFAULT_DIALECT, dialect_named
from maskwright.judge import judge


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def sessions(text: str) -> Iterator[tuple[str, str]]:
    """(command, what it prints) of every `$ command` in the blocks of a page."""
    for block in blocks(text, "console"):
        for session in block.removeprefix("$ ").split("\n$ "):
            command, _, output = session.partition("\n")
            yield command, output.rstrip("\n")


def run(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What `maskwright ...`, or `echo '...' | maskwright ...`, prints on both streams."""
    given, _, rest = command.rpartition(" | ")
    if given:
        text = " ".join(shlex.split(given)[1:]) + "\n"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    program, *arguments = shlex.split(rest)
    assert program == "maskwright"
    main(arguments)
    printed = capsys.readouterr()
    return (printed.out + printed.err).rstrip("\n")


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield name
                yield from options_of(command)
        else:
            yield from action.option_strings


def test_the_examples_of_the_command_line_are_real(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (root / "docs" / "cli.md").read_text()
    monkeypatch.chdir(tmp_path)
    for name, content in re.findall(r"`(\w+\.json)`\n\n```json\n(.*?)```", page, re.DOTALL):
        Path(name).write_text(content)
    examples = list(sessions(page))
    assert len(examples) > 5
    for command, output in examples:
        assert run(command, monkeypatch, capsys) == output, command


def test_every_option_and_field_is_on_the_page(root: Path) -> None:
    page = (root / "docs" / "cli.md").read_text()
    assert [name for name in options_of(argument_parser()) if f"`{name}" not in page] == []
    named = [field.name for field in fields(Failure) if field.name not in ("source", "text", "offset")]
    assert [name for name in named if f"`{name}`" not in page] == []


# docs/json-schema.md


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "json-schema.md").read_text()


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of the table whose first line is `header`, without the backquotes around a whole cell."""
    table = page.partition(f"{header}\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [[re.sub(r"^`(.*)`$", r"\1", cell.strip()) for cell in row.strip("|").split(" | ")] for row in table]


def test_every_keyword_is_in_the_table(page: str) -> None:
    """Those that the front end knows, and those of the specification."""
    names = ("2020-12", "2019-09", "7", "6", "4")
    dialects = [DEFAULT_DIALECT, *filter(None, map(dialect_named, names))]
    assert len(dialects) == 1 + len(names)
    keywords = {keyword for dialect in dialects for keyword in dialect.keywords}
    for dialect in dialects:
        # Since 2019-09 a dialect's own schema is put together from one for each vocabulary.
        metaschema = SPECIFICATIONS.contents(dialect.uri)
        parts = [SPECIFICATIONS.contents(urljoin(dialect.uri, part["$ref"])) for part in metaschema.get("allOf", ())]
        keywords |= {keyword for part in (metaschema, *parts) for keyword in part["properties"]}
    table = [row[0].strip("`") for row in keyword_shares.rows_of(page)]
    assert sorted(table) == sorted({*table}), "a keyword has two rows"
    assert sorted(keywords - {*table}) == []


# Keywords that are, or were, refused. No other is.
DOUBTFUL = {
    "uniqueItems": ("2020-12", True),
    "unevaluatedItems": ("2020-12", False),
    "unevaluatedProperties": ("2020-12", False),
    "$dynamicRef": ("2020-12", "#/$defs/a"),
    "$recursiveRef": ("2019-09", "#"),
}


def test_what_the_table_refuses_is_refused(page: str, compiler: GrammarCompiler) -> None:
    refused = {row[0].strip("`") for row in keyword_shares.rows_of(page) if row[2].startswith("refused")}
    assert refused <= {*DOUBTFUL}
    for keyword, (draft, value) in DOUBTFUL.items():
        schema = {"anyOf": [{"type": "null"}, {"items": {keyword: value}}], "$defs": {"a": True}}
        if keyword in refused:
            with pytest.raises(UnsupportedError, match=re.escape(keyword)):
                compiler.compile_json_schema(schema, dialect=draft)
        else:
            compiler.compile_json_schema(schema, dialect=draft)


def test_the_shares_of_keywords_are_as_counted(page: str, maskbench: list[dict[str, Any]]) -> None:
    shares = keyword_shares.shares_of(record["schema"] for record in maskbench)
    assert keyword_shares.with_shares(page, shares) == page, "python tests/benchmarks/keyword_shares.py --write"


def test_every_format_is_on_the_page(page: str) -> None:
    formats = [name for name, *_ in rows(page, "| format | a string that it has | one that it does not have |")]
    assert sorted(formats) == sorted(FORMATS)


def test_the_examples_of_formats_are_true(page: str, compiler: GrammarCompiler) -> None:
    for name, inside, outside in rows(page, "| format | a string that it has | one that it does not have |"):
        compiled = compiler.compile_json_schema({"type": "string", "format": name})
        assert judge(compiled, f'"{inside}"'.encode()).accepted, name
        assert not judge(compiled, f'"{outside}"'.encode()).accepted, name


def test_the_examples_of_the_text_policy_are_true(page: str, compiler: GrammarCompiler) -> None:
    table = rows(page, "| option | value | schema | allowed | not allowed |")
    for option, value, schema, inside, outside in table:
        chosen = ast.literal_eval(value.strip("`").partition("`")[0])  # what follows the value is the default
        compiled = compiler.compile_json_schema(json.loads(schema), **{option: chosen})
        assert judge(compiled, inside.encode()).accepted, (option, value)
        assert not judge(compiled, outside.encode()).accepted, (option, value)
    explained = {option for option, *_ in table} | {"registry"}
    assert explained == {field.name for field in fields(SchemaOptions)}


def test_the_examples_of_errors_are_true(page: str, compiler: GrammarCompiler) -> None:
    examples = re.findall(r">>> compiler\.compile_json_schema\((.*)\)\n(\w+): (.*(?:\n(?!>>>|```).*)*)", page)
    assert len(examples) > 3
    for arguments, kind, message in examples:
        call = ast.parse(f"f({arguments})", mode="eval").body
        assert isinstance(call, ast.Call)
        options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
        with pytest.raises(GrammarError) as caught:
            compiler.compile_json_schema(ast.literal_eval(call.args[0]), **options)
        assert (type(caught.value).__name__, str(caught.value)) == (kind, message)


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "(?:a|ab)++"},
        {"pattern": r"(a)\1"},
    ],
)
def test_what_the_page_says_is_refused_is_refused(schema: dict[str, object], compiler: GrammarCompiler) -> None:
    """When one of these is built, the page has to say so."""
    with pytest.raises(UnsupportedError):
        compiler.compile_json_schema(schema)
