#!/usr/bin/env python3
"""From nothing to a first mask: every step in a process of its own, as a program that has just begun meets it.

Examples:

    cold_start.py                            every step and engine
    cold_start.py --kernels                  also the first compilation of the kernels ever: half a minute

    import              the package, without torch
    kernels, cached     `maskwright warmup` where the machine code is on disk (its import included)
    kernels, first ever the same with an empty cache
    tokenizer           from a tokenizer of transformers, Llama-3's 128,256 tokens, to an engine that can compile
    first compile       the first schema that this process compiles
    first mask          of that schema, compilation not included

Milliseconds, wall clock beside processor time; the least of --runs processes. What comes before a step (reading the
tokenizer's file, importing) is done by its process, but not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import report
from engines import ENGINES, installed

HERE = Path(__file__).resolve().parent

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "email": {"type": "string", "format": "email"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "country": {"enum": ["DE", "FR", "NO"]}},
            "required": ["street"],
        },
    },
    "required": ["name", "age"],
}

# What the process of a step runs: `lap(name)` ends a step and begins the next one.
PRELUDE = """
import json, sys, time
laps, marks = {}, [time.perf_counter(), time.process_time()]
def lap(name=None):
    now = [time.perf_counter(), time.process_time()]
    if name:
        laps[name] = [1e3 * (after - before) for after, before in zip(now, marks)]
    marks[:] = [time.perf_counter(), time.process_time()]
"""
IMPORT = "import {package}; lap('import')"
KERNELS = "from maskwright.warmup import warm_up; warm_up(second_process=True); lap('kernels')"
FIRST = """
sys.path.insert(0, {here!r})
from transformers import PreTrainedTokenizerFast
import engines
tokenizer = PreTrainedTokenizerFast.from_pretrained({tokenizer!r})
if {name!r} == "maskwright":
    from maskwright.warmup import warm_up
    warm_up()
lap()
engine = engines.ENGINES[{name!r}](tokenizer); engine.prepare(); engine.compile_schema({{"const": 0}}); lap("tokenizer")
engine.compile_schema({schema!r}); lap("first compile")
engine.reset(); engine.fill(); lap("first mask")
"""


class Lap(NamedTuple):
    """Milliseconds of a step."""

    wall: float
    process: float

    def __str__(self) -> str:
        return f"{self.wall:,.1f} ({self.process:,.1f})"


def run(code: str, environment: Mapping[str, str] | None = None) -> dict[str, Lap]:
    """The steps of one fresh process.

    Raises:
        CalledProcessError: it failed; its standard error is shown.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{PRELUDE}\n{code}\nprint(json.dumps(laps))"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **(environment or {})},
    )
    return {name: Lap(*times) for name, times in json.loads(done.stdout.splitlines()[-1]).items()}


def least(code: str, runs: int) -> dict[str, Lap]:
    """Of each step the least wall time and the least processor time of some processes."""
    found = [run(code) for _ in range(runs)]
    return {name: Lap(*map(min, zip(*(one[name] for one in found), strict=True))) for name in found[0]}


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--engines", nargs="+", choices=sorted(ENGINES), help="(default: all that are installed)")
    parser.add_argument("--runs", type=int, default=5, help="processes for each step (5)")
    parser.add_argument("--kernels", action="store_true", help="compile the kernels into an empty cache, too")
    args = parser.parse_args()

    page = report.Report(args)
    page.heading("Cold start")
    page.provenance()
    page.text("Milliseconds of wall clock, and of processor time in brackets.")
    steps: dict[str, dict[str, Lap]] = {}
    for name in args.engines or installed():
        found = steps[name] = least(IMPORT.format(package=name), args.runs)
        if name == "maskwright":
            found["kernels, cached"] = least(KERNELS, args.runs)["kernels"]
            if args.kernels:
                with tempfile.TemporaryDirectory() as empty:
                    found["kernels, first ever"] = run(KERNELS, {"NUMBA_CACHE_DIR": empty})["kernels"]
        tokenizer = str(report.SHARED / "data/tokenizers/llama3")
        found |= least(FIRST.format(here=str(HERE), tokenizer=tokenizer, name=name, schema=SCHEMA), args.runs)
    names = list(dict.fromkeys(step for found in steps.values() for step in found))
    page.table(
        ["", *(report.NAMES[name] for name in steps)],
        [[step, *(found.get(step, "") for found in steps.values())] for step in names],
    )
    page.finish()


if __name__ == "__main__":
    main()
