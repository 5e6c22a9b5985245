#!/usr/bin/env python3
"""What the processor for MLX-LM costs of a step, inside of MLX-LM's batches.

    server_mlx.py --runs 6

Random models whose vocabulary is padded to 128,256 tokens, in float32, on the CPU, eight sequences with a JSON Schema each:
*tiny* has the sizes of the embedded model (five layers of 256), *least* two layers of 32. A step lasts from one call of the
first processor to the next one's. MLX computes when results are asked for, so that no part of a step can be timed by itself:
what counts is the difference to steps with processors that read the tokens and hand back the logits. Runs take turns; of each
step the least counts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import report

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))

import mlx.core as mx
import tiny
from mlx_lm.generate import BatchGenerator
from mlx_lm.models import llama

from maskwright.compiler import GrammarCompiler
from maskwright.mlx_lm import MlxProcessor, tokenizer_info

VOCAB_SIZE, ROWS, STEPS = 128_256, 8, 60
SIZES = {"tiny": (5, 256, 4, 704), "least": (2, 32, 4, 64)}


def schema(number: int) -> dict[str, Any]:
    """That of a row; no two rows have one in common."""
    properties = {f"name_{number}": {"type": "string", "maxLength": 24}, "age": {"type": "integer", "maximum": 120}}
    item = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "array", "items": item, "minItems": 40}


def model_of(layers: int, hidden: int, heads: int, inner: int) -> Any:
    mx.random.seed(1)
    return llama.Model(
        llama.ModelArgs(
            model_type="llama", hidden_size=hidden, num_hidden_layers=layers, intermediate_size=inner,
            num_attention_heads=heads, num_key_value_heads=heads, rms_norm_eps=1e-5, vocab_size=VOCAB_SIZE,
        )
    )  # fmt: skip


class Timed:
    """A processor, and when it was called, in nanoseconds."""

    def __init__(self, processor: Callable[[Any, Any], Any]) -> None:
        self._processor, self.called = processor, list[int]()

    def __call__(self, tokens: Any, logits: Any) -> Any:
        self.called.append(perf_counter_ns())
        return self._processor(tokens, logits)


def _reading(tokens: Any, logits: Any) -> Any:
    """Waits for the tokens, as whoever constrains them must: without that MLX computes a step ahead."""
    np.asarray(tokens)
    return logits


def run(model: Any, prompts: list[list[int]], processors: list[Callable[[Any, Any], Any]]) -> np.ndarray:
    """Milliseconds of each step, [steps]; the first, which reads prompts, left out."""
    batch, timed = BatchGenerator(model), [Timed(processor) for processor in processors]
    left = set(batch.insert(prompts, max_tokens=[STEPS] * ROWS, logits_processors=[[one] for one in timed]))
    while left:
        left -= {response.uid for response in batch.next_generated() if response.finish_reason is not None}
    batch.close()
    return np.diff(timed[0].called)[1:] / 1e6


def measured(sizes: tuple[int, int, int, int], runs: int) -> list[str]:
    """Milliseconds of a step without and with masks, the mean over all steps, and the difference."""
    model, tokenizer = model_of(*sizes), tiny.tiny_tokenizer()
    compiler = GrammarCompiler(tokenizer_info(tokenizer, model))
    grammars = [compiler.compile_json_schema(schema(number)) for number in range(ROWS)]
    prompts = [tokenizer(f"The people of number {number}: ")["input_ids"] for number in range(ROWS)]
    free, masked = list[np.ndarray](), list[np.ndarray]()
    with report.progress(runs) as bar:
        for _ in range(runs):
            free.append(run(model, prompts, [_reading] * ROWS))
            processors = [MlxProcessor(grammar) for grammar in grammars]
            masked.append(run(model, prompts, list(processors)))
            for processor in processors:
                processor.check()
            bar.advance(bar.task_ids[0])
    plain, ours = (np.min(found, axis=0).mean() for found in (free, masked))
    return [f"{plain:.2f}", f"{ours:.2f}", f"{100 * (ours / plain - 1):+.1f}%"]


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--models", nargs="+", choices=sorted(SIZES), default=list(SIZES))
    parser.add_argument("--runs", type=int, default=6, help="of which each step's least time counts")
    options = parser.parse_args()
    page = report.Report(options)
    page.heading("MLX-LM")
    page.provenance()
    rows = [[model, *measured(SIZES[model], options.runs)] for model in options.models]
    page.table(["model", "ms a step", "with masks", "difference"], rows)
    page.finish()


if __name__ == "__main__":
    main()
