"""docs/cli.md is true: its examples are run, and it names every option and every field."""

from __future__ import annotations

import argparse
import io
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from maskwright.cli import main
from maskwright.cli_failures import Failure
from maskwright.cli_options import argument_parser


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
