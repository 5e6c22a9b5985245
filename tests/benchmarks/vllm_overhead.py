#!/usr/bin/env python3
"""What masks cost a step of vLLM's own engine, on this machine's CPU (needs vLLM: see `make test-server-vllm`).

Examples:

    vllm_overhead.py                        batches of 8, the embedded model's vocabulary padded to 128k tokens
    vllm_overhead.py --batch 32 --tokens 64 --runs 5

One engine answers batches without a form and with one in turns; every request of a batch has a schema of its own. A step is
timed in the engine core, from the scheduler's decision to its update; steps that read a prompt or have fewer requests are
left out. Beside it the time inside of Maskwright's calls (fill_bitmask, accept_tokens, ...) in the same steps, by the same
clock: what else a form costs (vLLM hands masks to the worker, and applies them there by XGrammar's kernel) is vLLM's own.
The first run of a schema is cold: its states are lowered in it.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import report
import vllm_engine
from vllm.v1.core.sched.scheduler import Scheduler

_LOG = "VLLM_OVERHEAD_LOG"  # where the engine core writes a line for each step
_CALLS = ("fill_bitmask", "accept_tokens", "validate_tokens", "rollback", "is_terminated")

_TEXT: Any = {"type": "string", "maxLength": 40}


def _many(items: Any, **bounds: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **bounds}


_FIELDS: tuple[dict[str, Any], ...] = (
    {"name": _TEXT, "age": {"type": "integer", "minimum": 0, "maximum": 150}, "active": {"type": "boolean"}},
    {"sku": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"}, "price": {"type": "number"}, "tags": _many(_TEXT)},
    {"id": {"type": "string", "format": "uuid"}, "when": {"type": "string", "format": "date-time"}},
    {"status": {"enum": ["open", "closed", "waiting", "lost"]}, "note": {"anyOf": [_TEXT, {"type": "null"}]}},
    {"street": _TEXT, "city": _TEXT, "position": _many({"type": "number"}, minItems=2, maxItems=2)},
    {"kind": {"const": "event"}, "people": _many({"type": "object", "properties": {"name": _TEXT}}, maxItems=3)},
    {"mail": {"type": "string", "format": "email"}, "scores": {"type": "object", "additionalProperties": _TEXT}},
    {
        "answer": {"type": "boolean"},
        "reason": {"type": "string"},
        "pages": _many({"type": "integer"}, uniqueItems=True),
    },
)


def schemas(count: int) -> list[dict[str, Any]]:
    """So many different ones, whose answers are longer than any run."""
    made = []
    for number in range(count):
        fields = _FIELDS[number % len(_FIELDS)] | {f"n{number}": {"type": "integer"}}
        item = {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}
        made.append({"type": "array", "items": item, "minItems": 1000})
    return made


class TimedScheduler(Scheduler):
    """vLLM's scheduler in the engine core, which writes down what each step took."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        from maskwright.vllm_backend import MaskwrightGrammar

        self._inside = dict.fromkeys(_CALLS, 0)
        for name in _CALLS:
            setattr(MaskwrightGrammar, name, self._timed(name, getattr(MaskwrightGrammar, name)))
        self._begun, self._steps = 0, Path(os.environ[_LOG]).open("a")  # noqa: SIM115 - as long as the process

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            begun = time.perf_counter_ns()
            try:
                return call(*arguments)
            finally:
                self._inside[name] += time.perf_counter_ns() - begun

        return timed

    def schedule(self, *arguments: Any, **options: Any) -> Any:
        self._begun = time.perf_counter_ns()
        return super().schedule(*arguments, **options)

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        made = super().update_from_output(scheduler_output, model_runner_output)
        step = {
            "ns": time.perf_counter_ns() - self._begun,
            "requests": len(scheduler_output.num_scheduled_tokens),
            "tokens": scheduler_output.total_num_scheduled_tokens,
            "inside": self._inside,
        }
        self._steps.write(json.dumps(step) + "\n")
        self._steps.flush()
        self._inside = dict.fromkeys(_CALLS, 0)
        return made


class Step(NamedTuple):
    """Microseconds."""

    total: float
    fill: float
    inside: float


def steps_in(lines: Iterable[str], batch: int) -> list[Step]:
    """The steps in which every request of the batch gets one token."""
    found = []
    for line in lines:
        step = json.loads(line)
        if step["requests"] == step["tokens"] == batch:
            inside = step["inside"]
            found.append(Step(step["ns"] / 1e3, inside["fill_bitmask"] / 1e3, sum(inside.values()) / 1e3))
    return found


def measure(options: Any, folder: Path) -> dict[str, list[Step]]:
    """The steps of batches without a form, with one for the first time, and again."""
    log = folder / "steps"
    log.touch()
    os.environ[_LOG] = str(log)
    model = vllm_engine.write_model(folder / "model", options.vocab_size)
    found: dict[str, list[Step]] = {"free": [], "cold": [], "warm": []}
    with vllm_engine.offline(
        model, max_num_seqs=options.batch, scheduler_cls="vllm_overhead.TimedScheduler", enable_prefix_caching=False
    ) as llm, log.open() as lines:  # fmt: skip
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        common = {"max_tokens": options.tokens, "temperature": 1.0, "ignore_eos": True}
        asked = [StructuredOutputsParams(json=schema) for schema in schemas(options.batch)]
        for run in range(options.runs + 1):
            for kind in ("free", "warm" if run else "cold"):
                parameters = [
                    SamplingParams(**common, seed=run, structured_outputs=None if kind == "free" else one)
                    for one in asked
                ]
                llm.generate([f"Number {number}" for number in range(options.batch)], parameters, use_tqdm=False)
                steps = steps_in(lines, options.batch)
                if run or kind != "free":
                    found[kind] += steps
    return found


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--batch", type=int, default=8, help="requests at once (8)")
    parser.add_argument("--tokens", type=int, default=100, help="of an answer (100)")
    parser.add_argument("--runs", type=int, default=4, help="with all states lowered (4)")
    parser.add_argument("--vocab-size", type=int, default=128256, help="of the padded model (128256)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))

    page = report.Report(options)
    page.heading("vLLM")
    page.provenance()
    page.text(
        f"Batches of {options.batch}, {options.vocab_size:,} tokens. Microseconds; medians of the steps, and the share of "
        "Maskwright's calls in all of them."
    )
    columns = ["", "steps", "step", "masks of a step", "a row", "all calls", "share of the time, %"]
    rows = list[list[Any]]()
    for kind, name in (("free", "without a form"), ("cold", "the first time"), ("warm", "afterwards")):
        steps = found[kind]
        fill = statistics.median(step.fill for step in steps)
        share = 100 * sum(step.inside for step in steps) / sum(step.total for step in steps)
        medians = (statistics.median(step.total for step in steps), fill, fill / options.batch)
        rows.append([name, len(steps), *medians, statistics.median(step.inside for step in steps), share])
    page.table(columns, rows)
    page.finish()


if __name__ == "__main__":
    main()
