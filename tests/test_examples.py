"""Every example runs as its own program and says what it should."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

# What each must print: a pattern for the whole output. The objects' form is the grammar's doing; that the model reads
# well is measured elsewhere.
PERSON = r"Person\(name=.*, age=-?\d+\)"
EXPECTED = {
    "batch.py": rf"{PERSON}\nMeasurement\(.*\)\n{PERSON}\n( *-\d+\.\d\d  {PERSON}\n){{4}}",
    "choices.py": "(positive|neutral|negative)\n",
    "demo.py": "(?s).*validated by pydantic.*",
    "grammar.py": r"SELECT .* FROM (people|customers)( WHERE .*)?\n",
    "inside_transformers.py": r"({.status.: .*, .customer_reference.: .*}\n){2}\d+ tokens each, \d+ forwards\n",
    "logits_processor.py": r"({'city': .*, 'degrees': -?[\d.]+}\n){2}",
    "pydantic_extraction.py": r"name=.* age=\d+ address=Address\(street=.*, city=.*\) birthday=.*\n",
    "regular_expression.py": "[0-2][0-9]:[0-5][0-9]\n",
    "streaming.py": r"(['\"].*['\"] +Order\(.*\)\n)+validated: customer=.* lines=\[Line\(.*\)\]\n",
}
# Not programs to read first: the tiny stand-in, and what makes the embedded model.
OTHERS = {"tiny.py", "train_tiny_model.py", "evaluate_tiny_model.py", "extraction_data.py"}


def test_every_example_is_run(root: Path) -> None:
    assert {path.name for path in (root / "examples").glob("*.py")} == {*EXPECTED, *OTHERS}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_example_runs(root: Path, name: str) -> None:
    done = subprocess.run([sys.executable, str(root / "examples" / name)], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(EXPECTED[name], done.stdout), done.stdout


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_example_begins_by_saying_what_it_shows(root: Path, name: str) -> None:
    assert ast.get_docstring(ast.parse((root / "examples" / name).read_text()))
