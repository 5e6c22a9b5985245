"""Every example runs as its own program and says what it should."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

# What each must print; of choices.py, one of its labels alone.
EXPECTED = {
    "choices.py": [""],
    "demo.py": ["untrained: valid objects, meaningless content", "validated by pydantic"],
    "logits_processor.py": ["'city': "],
}


def test_every_example_is_run(root: Path) -> None:
    assert {path.name for path in (root / "examples").glob("*.py")} == {*EXPECTED, "tiny.py"}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_example_runs(root: Path, name: str) -> None:
    done = subprocess.run([sys.executable, str(root / "examples" / name)], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if name == "choices.py":
        assert done.stdout.strip() in ("positive", "neutral", "negative")
    else:
        assert all(part in done.stdout for part in EXPECTED[name])


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_example_begins_by_saying_what_it_shows(root: Path, name: str) -> None:
    assert ast.get_docstring(ast.parse((root / "examples" / name).read_text()))
