"""The examples of docs/kernels.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")


def test_the_examples_run(root: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs" / "kernels.md").read_text(), re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert all(0 <= token < 257 for token in names["draws"].token.tolist())  # type: ignore[attr-defined]
