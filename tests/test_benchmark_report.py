"""The frame of the benchmarks: tables, plots, and that a page says how it was made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import report


def test_a_page_has_its_figures_and_says_how_they_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--markdown", str(tmp_path / "made/page.md"), f"--svg={tmp_path / 'plots'}"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/growth.py", "--runs", "2", *arguments])
    parser = report.parser("A benchmark.")
    parser.add_argument("--runs", type=int)
    page = report.Report(parser.parse_args())
    page.heading("Growth")
    page.provenance()
    page.table(["tokens", "us"], [[30000, 2.125], ["none", 1234.5]])
    page.plot("curve", lambda axes: axes.plot([1, 2], [3, 4], label="Maskwright"), title="A curve", xlabel="tokens")
    page.finish()

    written = (tmp_path / "made/page.md").read_text("utf-8")
    assert written.startswith("## Growth\n\nCommand: `growth.py --runs 2`. Machine: ")
    assert "| tokens | us |\n| --- | --- |\n| 30,000 | 2.12 |\n| none | 1,234 |" in written
    assert written.endswith("![A curve](plots/curve.svg)\n")
    assert capsys.readouterr().out.strip() == written.strip()
    drawing = (tmp_path / "plots/curve.svg").read_text("utf-8")
    assert all(f">{text}<" in drawing for text in ("A curve", "tokens", "Maskwright")), "text stays text"


def test_without_a_folder_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    page = report.Report(report.parser(None).parse_args([]))
    page.plot("curve", lambda axes: pytest.fail("drawn"))
    page.finish()
    assert not capsys.readouterr().out.strip()
