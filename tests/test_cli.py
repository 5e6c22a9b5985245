"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import maskwright
from maskwright.cli import main
from maskwright.judge import END, caret, describe_bytes, position

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 1}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.fixture
def schema(tmp_path: Path) -> str:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    return str(path)


@pytest.fixture
def tokenizer(tmp_path: Path, tiny_tokenizer: Any) -> str:
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


def written(tmp_path: Path, name: str, text: str) -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def test_a_schema_and_instances_are_accepted(schema: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", schema]) == 0
    one = written(tmp_path, "one.json", '{"name": "Ada", "age": 36}\n')
    two = written(tmp_path, "two.json", '{"name":"é"}')
    assert main(["validate", schema, "--instance", one, "--instance", two]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{schema}: accepted", f"{one}: accepted", f"{two}: accepted"]


def test_a_rejected_instance_is_shown_with_a_caret(
    schema: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = written(tmp_path, "wrong.json", '{"name": "Ada",\n "age": -1}')
    right = written(tmp_path, "right.json", '{"name": "Ada"}')
    assert main(["validate", schema, "--instance", wrong, "--instance", right]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{wrong}: rejected at byte 24 (line 2, column 9)",
        '   "age": -1}',
        "          ^",
        "  allowed here: white space, 1-9",
        f"{right}: accepted",
    ]


def test_a_text_that_ends_too_early(schema: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"name": "Ada"\n')))
    assert main(["validate", schema, "--instance", "-"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "-: the text ends too early at byte 14 (line 1, column 15)"
    assert out[3].startswith("  allowed here: ")
    assert "}" in out[3]


def test_the_text_policy_can_be_chosen(schema: str, tmp_path: Path) -> None:
    swapped = written(tmp_path, "swapped.json", '{"age": 36, "name": "Ada"}')
    assert main(["validate", schema, "--instance", swapped]) == 1
    assert main(["validate", schema, "--property-order", "any", "--instance", swapped]) == 0
    spaced = written(tmp_path, "spaced.json", '{"name":  "Ada"}')
    assert main(["validate", schema, "--whitespace", "compact", "--instance", spaced]) == 1
    assert main(["validate", schema, "--max-whitespace", "1", "--instance", spaced]) == 1
    assert main(["validate", schema, "--separators", ",", ":  ", "--instance", spaced]) == 0
    lines = written(tmp_path, "lines.json", '{\n  "name": "\\u00e9"\n}')
    assert main(["validate", schema, "--indent", "2", "--ensure-ascii", "--instance", lines]) == 0
    assert main(["validate", schema, "--indent", "1", "--ensure-ascii", "--instance", lines]) == 1
    assert main(["validate", schema, "--indent", "2", "--instance", lines]) == 1
    unknown = written(tmp_path, "unknown.json", '{"format": "colour"}')
    assert main(["validate", unknown]) == 0
    assert main(["validate", unknown, "--unknown-format", "error"]) == 2
    assert main(["validate", schema, "--separators", "a", ":", "--instance", spaced]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"properties": {"a": {"pattern": "(a)\\\\1"}}}', "/properties/a"),
        ('{"type": "strin"}', "/type"),
        ('{"type": ', "JSON"),
        ("[1]", "schema"),
        ('{"$ref": "#/$defs/nowhere"}', "nowhere"),
        ('{"allOf": [{"type": "string"}, {"type": "null"}]}', "(root)"),
    ],
)
def test_a_refused_schema_is_one_line_and_exit_code_2(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", written(tmp_path, "bad.json", text)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    first, *caret_lines = captured.err.splitlines()
    assert first.startswith("maskwright: error: ")
    assert message in first
    assert not caret_lines or caret_lines[1].strip() == "^"


def test_files_that_cannot_be_read_are_exit_code_2(schema: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "nowhere.json"]) == 2
    assert main(["validate", schema, "--instance", "nowhere.json"]) == 2
    assert capsys.readouterr().err.count("nowhere.json: No such file") == 2


def test_warnings_go_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "schema.json", '{"type": "string", "format": "no-such-format"}')
    assert main(["validate", path]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{path}: accepted\n"
    assert "no-such-format" in captured.err


def test_show_mask_in_bytes_and_in_tokens(schema: str, tokenizer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "mask", schema, "--prefix", '{"name": "Ada", "age": 3']) == 0
    out = capsys.readouterr().out
    assert "0-9" in out
    assert main(["show", "mask", schema, "--prefix", '{"name": "Ada"', "--tokenizer", tokenizer, "--limit", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("tokens")
    assert main(["show", "mask", schema, "--prefix", '{"x"']) == 2
    assert "prefix" in capsys.readouterr().err


def test_show_tokens(tokenizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "tokens", "--tokenizer", tokenizer, '{"name": "é"}']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("TokenizerInfo(")
    assert len(lines) > 3
    assert main(["show", "tokens", "--tokenizer", str(tmp_path), "x"]) == 2
    assert "no tokenizer.json" in capsys.readouterr().err
    written(tmp_path, "tokenizer.json", "{}")
    assert main(["show", "tokens", "--tokenizer", str(tmp_path), "x"]) == 2


def test_show_ir_and_automaton(schema: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "ir", schema]) == 0
    out = capsys.readouterr().out
    assert '"name": ' in out
    assert '"age"?: ' in out
    assert "other keys: nothing" in out
    assert main(["show", "automaton", schema, "--prefix", '{"name']) == 0
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_warmup_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warmup"]) == 0
    assert "the kernels are ready" in capsys.readouterr().out
    assert main(["warmup", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["status"] == "ready"
    assert record["seconds"] >= 0


def test_compilation_is_shown_once_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    from numba import njit

    from maskwright.kernel_progress import shown_compilation

    function = njit(lambda value: value + 1)
    with shown_compilation():
        assert function(1) == 2
        assert function(2.5) == 3.5
    assert capsys.readouterr().err.count("compiles its kernels, once on this machine") == 1
    with shown_compilation():
        assert function(3) == 4  # nothing is left to compile
    assert capsys.readouterr().err == ""


def test_warmup_enters_every_kernel(root: Path) -> None:
    """Every one that Python calls. In a process of its own, so that no other test has entered one before."""
    folders = ("compile", "runtime", "engine")
    callers = "".join(path.read_text() for folder in folders for path in (root / folder).glob("*.py"))
    called = set(re.findall(r"\bkernels\.(\w+)\(", callers))
    for names in re.findall(r"from maskwright\.kernels\.\w+ import ([\w, ]+)", callers):
        called.update(names.split(", "))
    assert {"fill", "walk_row", "build_remainders"} <= called
    code = """
import importlib, pkgutil, sys, maskwright.kernels
from numba.core.dispatcher import Dispatcher
from maskwright.warmup import warm_up
warm_up()
for found in pkgutil.iter_modules(maskwright.kernels.__path__):
    module = importlib.import_module(f"maskwright.kernels.{found.name}")
    for name in getattr(module, "__all__", []):
        kernel = getattr(module, name)
        if isinstance(kernel, Dispatcher) and not kernel.signatures:
            print(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd="/", check=True, capture_output=True, text=True)
    assert not called & set(done.stdout.split())


def test_the_second_process_compiles_what_the_first_one_needs() -> None:
    """The same types of arguments, and nothing twice."""
    code = """
from maskwright.rehearsal import compile_walks
from maskwright.warmup import warm_up
from maskwright.kernels import automaton, members, walks, words
warm_up(second_process=True)
compile_walks()
for module in (automaton, members, walks, words):
    for name in module.__all__:
        kernel = getattr(module, name)
        if len(getattr(kernel, "signatures", [])) > 1:
            print(name, kernel.signatures)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd="/", check=True, capture_output=True, text=True)
    assert done.stdout == ""


def test_parts_of_kernels_are_not_for_python() -> None:
    from maskwright.kernels.walks import walk

    with pytest.raises(TypeError, match="walk is a part of kernels"):
        walk(*[0] * 9)


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate"],
        ["show"],
        ["show", "mask"],
        ["paint"],
        ["generate", "a prompt"],
        ["generate", "a prompt", "--regex", "a", "--choices", "b"],
        ["generate", "a prompt", "--regex", "a", "--n", "0"],
        ["generate", "a prompt", "--regex", "a", "--top-p", "1.5"],
        ["generate", "a prompt", "--regex", "a", "--temperature", "nan"],
        ["generate", "\udcff", "--regex", "a"],
        ["bench", "schema.json", "--repeat", "x"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: maskwright")
    assert main([*arguments, "--json"]) == 2
    record = json.loads(capsys.readouterr().out)
    assert (record["status"], record["error"]["kind"]) == ("error", "usage")


def test_no_command_at_all_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["validate"], ["generate"], ["bench"], ["show"], ["show", "ir"], ["warmup"]])
def test_every_help_has_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert f"examples:\n  maskwright {command[0]}" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["-v", "--version"])
def test_the_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([option])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"maskwright {maskwright.__version__}\n"


def test_help_is_light() -> None:
    code = "import sys; from maskwright.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'numba', 'numpy', 'pydantic', 'rich'} & set(sys.modules)))\n"
    code += "print(len(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd="/", check=True, capture_output=True, text=True)
    heavy, modules = done.stdout.splitlines()[-2:]
    assert heavy == "[]"
    assert int(modules) < 200  # 110 are usual, 67 of them Python's own
    assert "examples:" in done.stdout


def test_validate_needs_no_torch(schema: str) -> None:
    code = f"import sys; from maskwright.cli import main; main(['validate', {schema!r}]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd="/", check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("allowed", "words"),
    [
        (b"0123456789", "0-9"),
        (b'"', '"'),
        (b'ab"', '", a, b'),
        (b"-0123456789 \t\n\r", "white space, -, 0-9"),
        (b" ,}", "space, ,, }"),
        (range(0x80, 0xC0), "the rest of a character beyond ASCII"),
        (range(0x20, 0x7F), "space, any printable ASCII character"),
        ([*range(0x21, 0x22), *range(0x23, 0x5C), *range(0x5D, 0x7F)], 'any printable ASCII character but " \\'),
        ([0x20, 0xC3], "space, characters beyond ASCII"),
        ([0x01, END], "control characters 0x01, the end of the text"),
        ([], "nothing"),
    ],
)
def test_bytes_in_words(allowed: Any, words: str) -> None:
    assert describe_bytes(list(allowed)) == words


def test_carets_stand_under_the_byte() -> None:
    assert caret(b"abc\ndef\nghi", 5) == "def\n ^"
    assert caret("中é\tx!".encode(), len("中é\tx".encode())) == "中é x!\n     ^"
    assert caret(b"abc", 3) == "abc\n   ^"
    assert caret(b"\xffab", 2).splitlines()[1] == "  ^"
    line, mark = caret(b"x" * 500, 300).splitlines()
    assert len(line) < 110
    assert line.startswith("...")
    assert line.endswith("...")
    assert line[mark.index("^")] == "x"
    assert position("é\né!".encode(), 5) == (2, 2)
