"""Every Triton kernel compiles for real GPUs, in a process whose Triton does not interpret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed: pip install maskwright[gpu]")


@pytest.mark.parametrize(
    ("backend", "architecture"),
    [
        ("cuda", "90"),
        *(pytest.param(*target, marks=pytest.mark.long) for target in [("cuda", "80"), ("hip", "gfx942")]),
    ],
)
def test_kernels_compile(backend: str, architecture: str, root: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, root / "tests" / "compile_kernels.py", backend, architecture],
        env=environment,
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    fused = {found["kernel"]: found["fused"] for found in json.loads(done.stdout)}
    assert len(fused) == 7
    if backend == "cuda":
        # What tokens are decided by is rounded after every step, as on a CPU: no multiply-add is fused.
        assert fused["_draw_parts"] == fused["_cutoffs"] == 0
