"""`maskwright validate` over many schemas and instances, over a vocabulary, and for programs."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maskwright.cli import main
from maskwright.cli_failures import CommandError
from maskwright.sources import expand

GOOD = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 1}}, "required": ["age"]}
REFUSED = {"properties": {"tags": {"type": "string", "pattern": r"(a)\1"}}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: three schemas that are refused for different reasons, two that are not, and a text file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schemas" / "deep").mkdir(parents=True)
    for name, content in {
        "a.json": json.dumps(GOOD),
        "b.json": json.dumps(REFUSED),
        "c.json": '{"type": ',
        "deep/d.json": '{"type": "string"}',
        "deep/e.json": '{"allOf": [{"type": "string"}, {"type": "null"}]}',
        "notes.txt": "no schema",
    }.items():
        (tmp_path / "schemas" / name).write_text(content)
    return tmp_path


def written(name: str, text: str | bytes) -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_names_of_sources(folder: Path) -> None:
    below = ["schemas/a.json", "schemas/b.json", "schemas/c.json", "schemas/deep/d.json", "schemas/deep/e.json"]
    assert [source.name for source in expand(["schemas"])] == below
    assert [source.name for source in expand(["schemas/**/*.json"])] == below
    assert [source.name for source in expand(["schemas/[ab].json", "schemas/a.json"])] == below[:2]
    assert [source.name for source in expand(["-", "nowhere.json"])] == ["-", "nowhere.json"]
    lines = expand([written("many.jsonl", '{"type": "null"}\r\n\n  \ntrue')])
    assert [(source.name, source.read()) for source in lines] == [
        ("many.jsonl:1", b'{"type": "null"}'),
        ("many.jsonl:4", b"true"),
    ]
    assert [source.name for source in expand([written("odd[1].json", "{}")])] == ["odd[1].json"]
    for names, message in ((["*.nothing"], "no file matches"), (["-", "-"], "only once"), (["empty"], "no .json file")):
        Path("empty").mkdir(exist_ok=True)
        with pytest.raises(CommandError, match=message):
            expand(names)


def test_many_schemas_are_listed_where_they_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "schemas", "nowhere.json"]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        next(
            line for line in out.splitlines() if line.startswith("schemas/b.json: refused: /properties/tags/pattern: ")
        ),
        "schemas/c.json: refused: not JSON: Expecting value at line 1, column 10",
        next(line for line in out.splitlines() if line.startswith("schemas/deep/e.json: refused: (root): ")),
        "nowhere.json: error: No such file or directory",
        "2 of 6 schemas can be enforced, 3 refused (1 unsupported, 1 invalid, 1 unsatisfiable), 1 could not be read",
    ]
    assert main(["validate", "schemas/a.json", "schemas/deep/d.json"]) == 0
    assert capsys.readouterr().out == "2 of 2 schemas can be enforced, 0 refused\n"


def test_each_of_many_schemas_judges_every_instance(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = written("one.json", '{"age": 36}'), written("two.json", '"text"')
    assert main(["validate", "schemas/a.json", "schemas/deep/d.json", "--instance", one, "--instance", two]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "schemas/a.json: two.json: rejected at byte 0 (line 1, column 1)",
        "schemas/deep/d.json: one.json: rejected at byte 0 (line 1, column 1)",
        "2 of 2 schemas can be enforced, 0 refused, 2 rejected an instance",
    ]
    answers = written("answers.jsonl", '{"age": 1}\n{"age": 0}\n')
    assert main(["validate", "schemas/a.json", "--instance", answers]) == 1
    assert capsys.readouterr().out.startswith("answers.jsonl:1: accepted\nanswers.jsonl:2: rejected at byte 8")


def test_json_has_one_object_a_schema_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instance = written("one.json", '{"age": 0}')
    assert main(["validate", "schemas/a.json", "schemas/b.json", "--instance", instance, "--json", "--stats"]) == 2
    first, second = records(capsys)
    stats = first.pop("stats")
    assert first == {
        "schema": "schemas/a.json",
        "status": "rejected",
        "error": None,
        "warnings": [],
        "instances": [
            {"instance": "one.json", "status": "rejected", "offset": 8, "line": 1, "column": 9, "ended": False,
             "allowed": "white space, 1-9"}
        ],
    }  # fmt: skip
    assert list(stats) == ["compile_ms", "first_mask_ms", "states", "rows", "table_bytes", "subschemas"]
    assert 0 < stats["compile_ms"] < stats["first_mask_ms"]
    assert stats["states"] > 10
    assert stats["subschemas"] == 2
    assert second["status"] == "refused"
    assert second["error"]["kind"] == "unsupported"
    assert second["error"]["pointer"] == "/properties/tags/pattern"
    assert second["error"]["keyword"] == "pattern"
    assert main(["validate", written("f.json", '{"format": "odd"}'), "nowhere.json", "--json"]) == 2
    warned, unread = records(capsys)
    assert warned["warnings"][0].startswith("/format: ")
    assert (unread["status"], unread["error"]["kind"]) == ("error", "unreadable")


def test_stats_of_one_schema_and_of_many(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "schemas/a.json", "--stats"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"compile \(ms\): \d+\.\d{3}\n", out)
    assert re.search(r"subschemas reached: 2\n", out)
    assert main(["validate", "schemas", "--stats"]) == 2
    out = capsys.readouterr().out
    assert re.search(r"avg +p50 +p99 +max", out)
    assert re.search(r"time to first mask \(ms\)( +[\d.,]+){4}", out)
    assert "\x1b" not in out


def test_over_a_vocabulary_the_first_wrong_token_is_named(
    folder: Path, tiny_tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_tokenizer.save_pretrained("tokenizer")
    wrong = written("wrong.json", '{"age": 36,\n"name": "x"} ]')
    assert main(["validate", "schemas/a.json", "--instance", wrong, "--tokenizer", "tokenizer"]) == 1
    out = capsys.readouterr().out
    found = re.search(r"rejected at byte 24 \(line 2, column 13\), in token (\d+) \(id (\d+)\)", out)
    assert found
    ids = tiny_tokenizer(Path(wrong).read_text().removesuffix("\n"), add_special_tokens=False)["input_ids"]
    assert ids[int(found[1])] == int(found[2])
    assert tiny_tokenizer.decode(ids[int(found[1]) :]) == " ]"
    right = written("right.json", '{"age": 36, "</s>": null}')
    assert main(["validate", "schemas/a.json", "--instance", right, "--tokenizer", "tokenizer", "--json"]) == 0
    assert records(capsys)[0]["status"] == "accepted"
    assert main(["validate", "schemas/a.json", "--instance", wrong, "--tokenizer", "tokenizer", "--json"]) == 1
    assert records(capsys)[0]["instances"][0]["token"] == int(found[1])
    odd = written("odd.json", b'{"age": 3\xff}')
    assert main(["validate", "schemas/a.json", "--instance", odd]) == 1
    assert main(["validate", "schemas/a.json", "--instance", odd, "--tokenizer", "tokenizer"]) == 2
    assert "the tokenizer writes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a":\n tru}', "not JSON: Expecting value at line 2, column 2"),
        (b"\xff\xfe{\x00}\x00", "this looks like UTF-16"),
        (b'{"title": "\xe9"}', "not UTF-8 text"),
        (b"", "not JSON"),
        (b"9" * 5000, "not a schema"),
        (b"[" * 5000, "nest"),
    ],
)
def test_what_is_no_text_of_a_schema(
    content: bytes, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = written("wrong.json", content)
    assert main(["validate", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("maskwright: error: wrong.json: ")
    assert message in err
    assert main(["validate", name, "--json"]) == 2
    assert records(capsys)[0]["error"]["kind"] == ("limit" if message == "nest" else "invalid")


def test_json_that_does_not_parse_is_shown_with_a_caret(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", written("wrong.json", b'\xef\xbb\xbf{"\xe4\xb8\xad": 1,\n "a": tru}')]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == ['   "a": tru}', "        ^"]


def test_standard_input_is_read_once(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["validate", "-", "--instance", "-"]) == 2
    assert main(["validate", "-", "-"]) == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"type": "string"}')))
    assert main(["validate", "-", "schemas/a.json"]) == 0
    assert capsys.readouterr().err.count("standard input") == 2


def test_a_progress_bar_and_colours_on_terminals_only(folder: Path) -> None:
    """In a process of its own whose standard error is a terminal, and whose standard output is a pipe or one too."""

    def on_terminal(everything: bool, **environment: str) -> tuple[str, str]:
        command = [sys.executable, "-m", "maskwright.cli", "validate", "schemas"]
        ours, theirs = pty.openpty()
        out = theirs if everything else subprocess.PIPE
        with subprocess.Popen(
            command, stdout=out, stderr=theirs, env={**os.environ, "TERM": "xterm", **environment}
        ) as process:
            os.close(theirs)
            piped = process.stdout.read() if process.stdout else b""
            shown = b""
            while True:
                try:
                    read = os.read(ours, 65536)
                except OSError:  # Linux says so when the other end is closed
                    break
                if not read:
                    break
                shown += read
        os.close(ours)
        return piped.decode(), shown.decode()

    colour = r"\x1b\[[\d;]*[1-9][\d;]*m"
    piped, shown = on_terminal(everything=False, NO_COLOR="1")
    assert "\x1b" not in piped
    assert piped.splitlines()[-1].startswith("2 of 5 schemas can be enforced")
    assert "5/5" in shown
    assert not re.search(colour, shown)
    _, shown = on_terminal(everything=True, NO_COLOR="")
    assert re.search(rf"{colour}refused", shown)


def test_names_that_cannot_be_written_are_escaped(folder: Path) -> None:
    name = b"schemas/\xff\xce\xbc.json"
    Path(os.fsdecode(name)).write_text("true")
    command = [sys.executable, "-m", "maskwright.cli", "validate", name, "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, text=True, check=True)
    assert done.stderr == ""
    assert json.loads(done.stdout)["schema"] == os.fsdecode(name)


def test_output_that_nobody_reads_is_no_error(folder: Path) -> None:
    code = "import sys; from maskwright.cli import main; sys.exit(main(['show', 'automaton', 'schemas/a.json']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("maskwright.cli_validate.expand", interrupted)
    assert main(["validate", "schema.json"]) == 130
    assert capsys.readouterr().err == "\nmaskwright: interrupted\n"


def test_grammars(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written("list.gbnf", 'root ::= item ("," item)*\nitem ::= [a-z]+ | "(" root ")"\n')
    written("list.lark", 'start: WORD ("," WORD)*\nWORD: /[a-z]+/\n%ignore " "\n')
    written("bad.gbnf", 'root ::= "a"\nitem ::= ("b"\n')
    written("one.txt", "a,(b,c)")
    written("two.txt", "a , b")
    assert main(["validate", "--grammar", "list.gbnf", "--instance", "one.txt", "--json"]) == 0
    assert main(["validate", "--grammar", "list.gbnf", "--instance", "two.txt", "--json"]) == 1
    assert main(["validate", "--grammar", "list.lark", "--instance", "two.txt", "--json"]) == 0
    assert main(["validate", "--grammar", "bad.gbnf", "--json"]) == 2
    found = records(capsys)
    assert [record["status"] for record in found] == ["accepted", "rejected", "accepted", "refused"]
    assert found[1]["instances"][0]["offset"] == 1
    assert found[3]["schema"] == "--grammar bad.gbnf"
    assert main(["validate", "--grammar", "bad.gbnf"]) == 2
    assert 'item ::= ("b"' in capsys.readouterr().err
