#!/usr/bin/env python3
"""What the processor for llama-cpp-python costs of a step, inside of llama-cpp-python.

    server_llama.py --runs 12

Random models whose vocabulary is padded to 128,000 tokens, in float32, one sequence, one thread, greedy decoding of one JSON
Schema: *tiny* has the sizes of the embedded model (five layers of 256), *least* two layers of 64, which compute little more
than the logits. A step lasts from one call of the processors to the next one's; both are processor time. Runs
take turns, and of each step the least time of all runs counts: a busy machine makes steps longer, never shorter.

    no constraint          a processor that hands back the scores: what llama-cpp-python itself spends on having one
    Maskwright             and of it the processor, from its call to its return
    llama.cpp's grammar    of the same schema by llama-cpp-python's converter, beside a processor that does nothing
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time_ns
from typing import Any

import numpy as np
import report

sys.path += [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "examples")]

import llama_cpp
import tiny
from gguf_files import LEAST, Shape, write_gguf

from maskwright.compiler import GrammarCompiler
from maskwright.llama_cpp import LlamaCppProcessor, tokenizer_info

VOCAB_SIZE = 128_000
SHAPES = {"tiny": Shape(5, 256, 4, 704), "least": LEAST}
STEPS = 200
SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": 20}, "price": {"type": "number"}},
                "required": ["name", "price"],
                "additionalProperties": False,
            },
            "minItems": 40,
        },
    },
    "required": ["id", "items"],
    "additionalProperties": False,
}


class Timed:
    """A processor, with the processor times of its calls and returns in nanoseconds."""

    def __init__(self, processor: Callable[[Any, Any], Any]) -> None:
        self._processor = processor
        self.called, self.returned = list[int](), list[int]()

    def __call__(self, ids: Any, scores: Any) -> Any:
        self.called.append(process_time_ns())
        scores = self._processor(ids, scores)
        self.returned.append(process_time_ns())
        return scores

    @property
    def steps(self) -> np.ndarray:
        """int64 [STEPS - 1], the first left out, which reads the prompt."""
        return np.diff(self.called)

    @property
    def own(self) -> np.ndarray:
        """int64 [STEPS - 1]."""
        return (np.array(self.returned) - self.called)[:-1]


def _unchanged(ids: Any, scores: Any) -> Any:
    return scores


def measured(shape: Shape, runs: int) -> list[list[str]]:
    """A row of the table for each way."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_gguf(Path(folder) / "padded.gguf", tiny.tiny_tokenizer(), vocab_size=VOCAB_SIZE, shape=shape)
        llama = llama_cpp.Llama(str(path), n_ctx=1024, n_threads=1, n_threads_batch=1, verbose=False)
        compiled = GrammarCompiler(tokenizer_info(llama)).compile_json_schema(SCHEMA, whitespace="compact")
        steps, own = dict[str, list[np.ndarray]](), list[np.ndarray]()

        def run(name: str, processor: Callable[[Any, Any], Any], grammar: Any = None) -> Timed:
            timed = Timed(processor)
            llama.create_completion(
                "Order: ", max_tokens=STEPS, temperature=0.0, grammar=grammar,
                logits_processor=llama_cpp.LogitsProcessorList([timed]),
            )  # fmt: skip
            steps.setdefault(name, []).append(timed.steps)
            return timed

        with report.progress(runs) as bar:
            for _ in range(runs):
                run("no constraint", _unchanged)
                masking = LlamaCppProcessor(compiled)
                own.append(run("Maskwright", masking).own)
                masking.check()
                run("llama.cpp's grammar", _unchanged, llama_cpp.LlamaGrammar.from_json_schema(json.dumps(SCHEMA)))
                bar.advance(bar.task_ids[0])
    spent = np.min(own, axis=0) / 1e3
    rows = []
    for name, found in steps.items():
        least = np.min(found, axis=0) / 1e3
        row = [name, f"{np.median(least):,.0f}", f"{least.mean():,.0f}"]
        ours = [f"{np.median(spent):.0f}", f"{spent.mean():.0f}", f"{100 * spent.sum() / least.sum():.1f}%"]
        rows.append([*row, *(ours if name == "Maskwright" else [""] * 3)])
    return rows


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--models", nargs="+", choices=sorted(SHAPES), default=list(SHAPES))
    parser.add_argument("--runs", type=int, default=12, help="of which each step's least time counts")
    options = parser.parse_args()
    page = report.Report(options)
    page.heading("llama-cpp-python")
    page.provenance()
    rows = [[model, *row] for model in options.models for row in measured(SHAPES[model], options.runs)]
    page.table(["model", "", "step, median us", "mean us", "of it the processor, median us", "mean us", "share"], rows)
    page.finish()


if __name__ == "__main__":
    main()
