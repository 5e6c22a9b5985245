"""`maskwright bench`: what it measures, and how it shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from maskwright.cli import main
from maskwright.cli_output import spread

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}, "tags": {"type": "array"}}, "required": ["n"]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "two.json").write_text('{"type": "string", "maxLength": 20}')
    (tmp_path / "bad.json").write_text('{"pattern": "(a)\\\\1"}')
    (tmp_path / "right.json").write_text('{"n": 12, "tags": [1, "é"]}')
    (tmp_path / "wrong.json").write_text('{"n": 1.5}')
    return tmp_path


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_masks_along_an_instance_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "one.json", "--instances", "right.json", "--repeat", "3", "--json"]) == 0
    one, together = records(capsys)
    assert one["status"] == "measured"
    assert one["tokens"] == 3 * len((folder / "right.json").read_bytes())
    assert list(one["mask_us"]) == ["avg", "p50", "p90", "p99", "p99.9", "max"]
    assert 0 < one["mask_us"]["p50"] <= one["mask_us"]["p99.9"] <= one["mask_us"]["max"]
    assert 0 < one["compile_ms"]["avg"] < one["first_mask_ms"]["avg"]
    assert one["states"] > 10
    assert one["table_bytes"] > 0
    assert together["all"] == 1
    assert together["mask_us"] == one["mask_us"]
    assert together["peak_rss_bytes"] > 10 << 20


def test_over_a_vocabulary(folder: Path, tiny_tokenizer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_tokenizer.save_pretrained("tokenizer")
    assert main(["bench", "one.json", "--instances", "right.json", "--tokenizer", "tokenizer", "--json"]) == 0
    ids = tiny_tokenizer((folder / "right.json").read_text(), add_special_tokens=False)["input_ids"]
    assert records(capsys)[0]["tokens"] == len(ids)


def test_drawn_texts_are_those_of_the_seed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def counts(*options: str) -> list[int]:
        assert main(["bench", "one.json", "two.json", "--json", "--max-tokens", "30", *options]) == 0
        return [record["tokens"] for record in records(capsys)]

    first = counts("--seed", "1", "--samples", "5")
    assert first == counts("--seed", "1", "--samples", "5")
    assert first[2] == first[0] + first[1]
    assert 5 < first[0] <= 5 * 30
    assert first != counts("--seed", "2", "--samples", "5")


def test_tables_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "one.json", "two.json", "--samples", "1", "--max-tokens", "20"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(r"2 schemas, \d+ masks over 257 tokens", out)
    assert re.search(r"avg +p50 +p90 +p99 +p99.9 +max", out)
    for label in (
        r"compile \(ms\)",
        r"time to first mask \(ms\)",
        r"time between masks \(μs\)",
        "one.json",
        "two.json",
    ):
        assert re.search(rf"{label}( +[\d.,]+){{6}}", out), label
    assert "memory: " in out
    (folder / "[b]odd.json").write_text("true")
    assert main(["bench", "[b]odd.json", "two.json", "--samples", "1", "--max-tokens", "3"]) == 0
    assert "[b]odd.json " in capsys.readouterr().out


def test_what_cannot_be_measured_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "one.json", "--instances", "right.json", "wrong.json"]) == 1
    assert "one.json: wrong.json: rejected" in capsys.readouterr().out
    assert main(["bench", "one.json", "bad.json", "--samples", "1", "--json"]) == 2
    one, bad, together = records(capsys)
    assert (one["status"], bad["status"], together["all"]) == ("measured", "refused", 1)
    assert bad["error"]["keyword"] == "pattern"
    assert main(["bench", "bad.json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("maskwright: error: bad.json: ")


def test_a_plot_is_drawn(folder: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install maskwright[plot]")
    command = ["bench", "one.json", "two.json", "--samples", "1", "--max-tokens", "20", "--plot"]
    assert main([*command, "masks.svg"]) == 0
    assert "<svg" in (folder / "masks.svg").read_text()
    assert main([*command, "masks.png"]) == 0
    assert (folder / "masks.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_that_cannot_be_drawn_is_said_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["bench", "one.json", "--plot", "masks.txt"]) == 2
    assert main(["bench", "one.json", "--plot", "nowhere/masks.png"]) == 2
    monkeypatch.setattr("maskwright.cli_plot.find_spec", lambda name: None)
    assert main(["bench", "one.json", "--plot", "masks.png"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line for line in err.splitlines() if "maskwright: error: --plot" not in line] == []
    assert 'pip install "maskwright[plot]"' in err


def test_spreads_of_figures() -> None:
    assert spread([1, 2, 3, 4, 100], (50, 90)) == {"avg": 22.0, "p50": 3.0, "p90": 61.6, "max": 100.0}
