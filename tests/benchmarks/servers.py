#!/usr/bin/env python3
"""What masks cost in servers that run here: their share of a step.

Examples:

    servers.py                               every server, batch 8
    servers.py --servers ours --batch 1 --runs 20

Models with their vocabulary padded to that of Llama-3, 128,256 logits:

    tiny             the one that comes with Maskwright (five layers of 256)
    least            two layers of 32, random weights: next to nothing but the logits is computed, so that this is about the
                     largest share that masks can have

Greedy decoding of arrays of at least twenty objects, all rows of a batch under schemas of their own.

    ours             the batches of `maskwright serve`, without HTTP: filling masks, and accepting tokens with the
                     budget's look ahead; applying a mask is a part of drawing
    processor        MaskLogitsProcessor in transformers' generate(): its whole call
    batching         transformers' continuous batching: preparing masks, and applying them

A step lasts from one forward's beginning to the next one's, in processor time with one thread of torch's; the first steps
are left out. Runs take turns, and of each step the least of all runs counts, for the step and for the masks alike.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, process_time_ns
from typing import Any

import numpy as np
import report
import torch
from rich.console import Console
from rich.progress import track
from transformers import ContinuousBatchingConfig, GenerationConfig, LlamaConfig, LlamaForCausalLM

import maskwright as mw
from maskwright import embedded, serve_cohort
from maskwright.budget import Covers
from maskwright.continuous_batching import ContinuousBatchingMask, enter_masks
from maskwright.runtime.batch import BatchGrammarMatcher
from maskwright.sampling import Sampling
from maskwright.serve_cohort import Cohort, Job, Row

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))
import tiny

SKIPPED = 4  # steps at the beginning of a run: prompts, states that are met first


def schema(number: int) -> dict[str, Any]:
    """That of a row; no two rows have one in common."""
    properties = {
        f"name_{number}": {"type": "string", "maxLength": 24},
        f"age_{number}": {"type": "integer", "minimum": 0, "maximum": 120},
        "mood": {"enum": ["happy", "sad", "indifferent"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
    }
    item = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "array", "items": item, "minItems": 20}


class Clock:
    """When forwards of a model begin, and the time that functions take between two of them.

    Attributes:
        begun: processor time of each forward's beginning, nanoseconds.
        masks: nanoseconds in the watched functions, up to each forward's beginning.
    """

    def __init__(self) -> None:
        self.begun, self.masks, self._spent = list[int](), list[int](), 0

    @contextmanager
    def watching(self, model: Any, functions: list[tuple[Any, str]]) -> Iterator[None]:
        hook = model.register_forward_pre_hook(lambda *_: self._note())
        before = [(owner, name, getattr(owner, name)) for owner, name in functions]
        for owner, name, method in before:
            setattr(owner, name, self._timed(method))
        try:
            yield
        finally:
            hook.remove()
            for owner, name, method in before:
                setattr(owner, name, method)

    def steps(self, tokens: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Milliseconds of each step and of the masks in it, float64 [2, steps]."""
        if len(self.begun) < tokens:
            raise RuntimeError(f"{len(self.begun)} forwards for {tokens} tokens: an answer ended early")
        counted = np.array([self.begun[:tokens], self.masks[:tokens]], float)[:, SKIPPED:]
        return np.diff(counted) / 1e6

    def _note(self) -> None:
        self.begun.append(process_time_ns())
        self.masks.append(self._spent)

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            started = process_time_ns()
            try:
                return method(*args, **options)
            finally:
                self._spent += process_time_ns() - started

        timed.__signature__ = getattr(method, "__signature__", None)  # transformers asks for it at every step
        return timed


def least() -> tuple[LlamaForCausalLM, Any]:
    tokenizer = tiny.tiny_tokenizer()
    return tiny.tiny_model(tokenizer), tokenizer


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {"tiny": embedded.load, "least": least}


def padded(model: Any, vocab_size: int) -> LlamaForCausalLM:
    """The same model with more logits, of random weights."""
    torch.manual_seed(0)
    larger = LlamaForCausalLM(LlamaConfig(**{**model.config.to_diff_dict(), "vocab_size": vocab_size})).eval()
    weights = larger.state_dict()
    for name, own in model.state_dict().items():
        weights[name][: len(own)] = own
    return larger


class Case:
    """A model, a batch of prompts and their grammars."""

    def __init__(self, model: str, batch: int, tokens: int, vocab_size: int) -> None:
        small, tokenizer = MODELS[model]()
        self._tokens, self.model = tokens, padded(small, vocab_size)
        self._compiler = mw.GrammarCompiler(mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size))
        self._grammars = [self._compiler.compile_json_schema(schema(row)) for row in range(batch)]
        self._prompts = [tokenizer.encode(f"The people of number {row}:") for row in range(batch)]
        self._covers = Covers(self._compiler.tokenizer_info)

    def run(self, server: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """One run of a server: what Clock.steps gives."""
        work, functions = SERVERS[server]
        clock = Clock()
        with clock.watching(self.model, functions):
            work(self)
        return clock.steps(self._tokens)

    def ours(self) -> None:
        jobs = [
            Job(ids, compiled, 3000, Sampling(), 0, 0, monotonic() + 600, lambda update: None)
            for ids, compiled in zip(self._prompts, self._grammars, strict=True)
        ]
        with BatchGrammarMatcher() as batch:
            cohort = Cohort(self.model, [Row.of(job, self._covers) for job in jobs], batch)
            for _ in range(self._tokens):
                cohort.step()

    def processor(self) -> None:
        width = max(map(len, self._prompts))
        ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in self._prompts])
        self.model.generate(
            ids,
            attention_mask=(ids != 0).long(),
            max_new_tokens=self._tokens,
            do_sample=False,
            logits_processor=[mw.MaskLogitsProcessor(self._grammars)],
        )

    def batching(self) -> None:
        manager = self.model.init_continuous_batching(
            generation_config=GenerationConfig(do_sample=False, max_new_tokens=self._tokens + 2),
            continuous_batching_config=ContinuousBatchingConfig(
                use_async_batching=False, block_size=32, num_blocks=256, max_batch_tokens=512
            ),
        )
        enter_masks(manager, self._compiler)
        for row, prompt in enumerate(self._prompts):
            manager.add_request(prompt, request_id=str(row), form=json.dumps({"json": schema(row)}))
        manager.start()
        try:
            finished = 0
            while finished < len(self._prompts):
                result = manager.get_result(timeout=60)
                if result is None:
                    raise RuntimeError("continuous batching gives no results")
                finished += result.is_finished()
        finally:
            manager.stop(block=True)


# By name: what runs, and the functions in which masks are made and applied.
SERVERS: dict[str, tuple[Callable[[Case], None], list[tuple[Any, str]]]] = {
    "ours": (Case.ours, [(Cohort, "_fill"), (serve_cohort, "choose")]),
    "processor": (Case.processor, [(mw.MaskLogitsProcessor, "__call__")]),
    "batching": (
        Case.batching,
        [(ContinuousBatchingMask, "prepare_tensor_args"), (ContinuousBatchingMask, "__call__")],
    ),
}


def measured(case: Case, servers: list[str], runs: int) -> dict[str, tuple[float, float]]:
    """Milliseconds of a step and of the masks in it, by server."""
    for server in servers:  # once unmeasured: kernels are loaded, states lowered
        case.run(server)
    least = dict[str, Any]()
    for run in track(range(runs), description="runs", console=Console(stderr=True), transient=True):
        for server in servers[run % len(servers) :] + servers[: run % len(servers)]:
            steps = case.run(server)
            least[server] = np.minimum(least[server], steps) if server in least else steps
    means = {server: least[server].mean(axis=1) for server in servers}
    return {server: (float(step), float(masks)) for server, (step, masks) in means.items()}


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--servers", nargs="+", choices=sorted(SERVERS), default=list(SERVERS))
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=list(MODELS))
    parser.add_argument("--batch", type=int, default=8, help="rows (8)")
    parser.add_argument("--tokens", type=int, default=60, help="new tokens of each run (60)")
    parser.add_argument("--runs", type=int, default=12, help="runs of each server (12)")
    parser.add_argument("--vocabulary", type=int, default=128_256, help="logits of the model (128,256)")
    options = parser.parse_args()

    torch.set_num_threads(1)
    page = report.Report(options)
    page.heading("Masks in servers")
    page.provenance()
    rows: list[list[Any]] = []
    for model in options.models:
        found = measured(Case(model, options.batch, options.tokens, options.vocabulary), options.servers, options.runs)
        rows += [[model, server, step, masks * 1e3, 100 * masks / step] for server, (step, masks) in found.items()]
    page.table(["model", "server", "ms a step", "us of masks", "share, %"], rows)
    page.finish()


if __name__ == "__main__":
    main()
