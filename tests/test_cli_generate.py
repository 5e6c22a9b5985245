"""`maskwright generate`, with a tiny untrained model in a folder."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from maskwright.cli import main

PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 1, "maximum": 99}, "up": {"type": "boolean"}},
    "required": ["age", "up"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any, tiny_tokenizer: Any) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def schema(tmp_path: Path) -> str:
    path = tmp_path / "person.json"
    path.write_text(json.dumps(PERSON))
    return str(path)


def check_person(text: str) -> None:
    person = json.loads(text)
    assert set(person) == {"age", "up"}
    assert 1 <= person["age"] <= 99
    assert isinstance(person["up"], bool)


def test_the_answer_alone_is_on_standard_output(model: str, schema: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--model", model, "--schema", schema, "--whitespace", "single", "Ada is 36."]) == 0
    out, err = capfd.readouterr()
    check_person(out)
    assert out.count("\n") == 1
    assert err == ""
    assert main(["generate", "Is it?", "--model", model, "--choices", "yes", "no", "--choices", "maybe"]) == 0
    assert capfd.readouterr().out in ("yes\n", "no\n", "maybe\n")


def test_several_answers_are_one_a_line(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", model, "--regex", "[0-9]{6}", "--n", "4", "--temperature", "1", "--seed", "5"]
    assert main([*command, "--top-k", "40", "--top-p", "0.9", "--min-p", "0.01", "numbers:"]) == 0
    answers = capsys.readouterr().out.split()
    assert len(answers) == 4
    assert all(len(answer) == 6 and answer.isdigit() for answer in answers)
    assert len(set(answers)) > 1
    assert main([*command, "--top-k", "40", "--top-p", "0.9", "--min-p", "0.01", "numbers:"]) == 0
    assert capsys.readouterr().out.split() == answers


def test_a_prompt_from_standard_input_is_streamed(
    model: str, schema: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []

    def remember(model: Any, prompt: str, **options: Any) -> Any:
        given.append(prompt)
        return generate(model, prompt, **options)

    import maskwright
    from maskwright.generation import generate

    monkeypatch.setattr(maskwright, "generate", remember)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Ådåma is 7.\n".encode())))
    command = ["generate", "--model", model, "--schema", schema, "--stats", "-"]
    assert main([*command, "--stream"]) == 0
    streamed, account = capsys.readouterr()
    check_person(streamed)
    assert "tokens" in account
    assert "log-probability" in account
    assert main([*command[:-1], "Ådåma is 7."]) == 0
    assert capsys.readouterr().out == streamed
    assert given == ["Ådåma is 7."] * 2


def test_json_has_the_answer_and_its_account(model: str, schema: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "Ada", "--model", model, "--schema", schema, "--json", "--max-new-tokens", "60"]
    assert main(command) == 0
    record = json.loads(capsys.readouterr().out)
    check_person(record["text"])
    assert record["value"] == json.loads(record["text"])
    assert record["status"] == "answered"
    assert record["logprob"] < 0
    assert 0 < record["tokens"] <= 60
    assert set(record["timings"]) >= {"compile", "prefill", "decode", "masks"}
    assert record["statistics"]["masks"] > 0
    assert main([*command, "--stream", "--n", "2", "--temperature", "1", "--seed", "1"]) == 0
    pieces = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for sample in (0, 1):
        own = [piece for piece in pieces if piece["sample"] == sample]
        assert [piece["status"] for piece in own] == ["answering"] * (len(own) - 1) + ["answered"]
        assert "".join(piece["delta"] for piece in own) == own[-1]["text"]
        check_person(own[-1]["text"])


def test_too_few_tokens_are_exit_code_1(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", model, "--regex", "a{90}", "--max-new-tokens", "3", "x"]
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("maskwright: error: ")
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "truncated"


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["--regex", "a[b"], "invalid", "character class has no end"),
        (["--schema", "nowhere.json"], "unreadable", "nowhere.json: No such file"),
        (["--choices", "a", "--model", "/nowhere/at/all"], "model", "'/nowhere/at/all' is no causal language model"),
        (["--regex", "a", "--stream", "--n", "2"], "usage", "--stream prints one answer"),
    ],
)
def test_errors_are_one_line(arguments: list[str], kind: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a prompt", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[0]
    if arguments[0] == "--regex" and "[" in arguments[1]:
        assert err.splitlines()[1:] == ["  a[b", "   ^"]
    if "--stream" not in arguments:
        assert main(["generate", "a prompt", *arguments, "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["error"]["kind"] == kind


def test_without_transformers_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers.utils", None)
    assert main(["generate", "--regex", "a", "x"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith('pip install "maskwright[hf]"\n')


def test_answers_from_the_conditional_distribution(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "sample.svg"
    command = ["generate", "--model", model, "--regex", "[01]{3}", "--n", "5", "--seed", "3", "--method", "cars"]
    assert main([*command, "--max-new-tokens", "4", "--stats", "--plot", str(plot), "bits:"]) == 0
    out, err = capsys.readouterr()
    assert all(len(answer) == 3 and set(answer) <= {"0", "1"} for answer in out.split())
    assert len(out.split()) == 5
    assert "cars (exact): 5 texts, log Z" in err
    assert plot.read_text().startswith("<?xml")
    assert main([*command, "--max-new-tokens", "4", "--json", "bits:"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[0])["sampling"]
    assert record["method"] == "cars"
    assert record["exact"]
    assert record["log_z_low"] <= record["log_z_high"] < 0
    assert main([*command[:-2], "--plot", str(plot), "bits:"]) == 2
    assert "--plot draws what --method has sampled" in capsys.readouterr().err
    assert main([*command, "--temperature", "0", "bits:"]) == 2
    assert "temperature" in capsys.readouterr().err


def test_drafts_give_the_same_answer_and_their_account(
    model: str, schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", "--model", model, "--schema", schema, "--max-new-tokens", "60", "Ada is 36."]
    assert main(command) == 0
    plain = capsys.readouterr().out
    assert main([*command, "--draft", "auto", "--stats"]) == 0
    out, err = capsys.readouterr()
    assert out == plain
    assert "drafts by auto, verified by match: " in err
    assert main([*command, "--draft", "lookup", "--draft", "automaton", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["text"] + "\n" == plain
    assert record["speculation"]["drafter"] == "lookup+automaton"
    assert record["speculation"]["drafted"] >= record["speculation"]["taken"]
    assert main([*command, "--draft", "./nobody-at-all"]) == 2
    assert "no causal language model" in capsys.readouterr().err
