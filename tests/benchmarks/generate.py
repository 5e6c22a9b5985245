#!/usr/bin/env python3
"""What a constraint costs end to end: tokens a second in generate(), constrained against unconstrained.

Examples:

    generate.py                              every model, batch and engine that is installed
    generate.py --models embedded --batches 8 --runs 40
    generate.py --engines maskwright         without peers

Two models on the CPU: the embedded one (2,048 tokens), and a Llama of one layer with random weights whose vocabulary is
Llama-3's (128,256 tokens), so that the forward is nearly nothing but the logits. Greedy decoding. The schema is an array
of at least twenty objects, so that no answer ends before it is stopped; the unconstrained model has no end-of-sequence
token either.

    unconstrained           transformers' generate() without a logits processor: what the others are measured by
    processor               the same with MaskLogitsProcessor; for XGrammar its own processor for transformers; for
                            llguidance, which has none, the least that its torch module needs
    maskwright.generate     our own loop, with jump-forward off, so that it asks the model for as many tokens

A step lasts from one forward's beginning to the next one's, in processor time with one thread of torch's, prompts left
out. Runs take turns, and of each step the least time of all runs counts: a busy machine makes steps longer, never
shorter.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from time import process_time_ns
from typing import Any

import numpy as np
import report
import torch
from rich.console import Console
from rich.progress import track
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import maskwright as mw
from maskwright import embedded

PROPERTIES = {
    "name": {"type": "string", "maxLength": 24},
    "age": {"type": "integer", "minimum": 0, "maximum": 120},
    "mood": {"enum": ["happy", "sad", "indifferent"]},
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
}
ITEM = {"type": "object", "properties": PROPERTIES, "required": list(PROPERTIES), "additionalProperties": False}
SCHEMA = {"type": "array", "items": ITEM, "minItems": 20}
SENTENCES = (
    "Ada Lovelace is 36 years old, lives in London and is happy about the new engine.",
    "Nobody knows how old Grace is; she was sad when the moth got into the relay.",
    "Kurt, 71, was indifferent to food. His friends called him logical and cautious.",
    "At 41 Alan ran nearly every day, and he was happy with his chess machine.",
    "Emmy is 53; she teaches algebra, likes long walks, and is hardly ever sad.",
    "The old clockmaker is 88 and happy, his apprentice is 17 and indifferent.",
    "Mary is 92 years of age and was sad to leave the observatory behind.",
    "Barbara (68) substitutes one thing for another and is happy when nobody sees.",
)

_ROOM = 3000  # tokens that an answer may have: more than the twenty objects take, less than the embedded model sees

Generate = Callable[[], Any]


def embedded_model() -> tuple[Any, Any]:
    return embedded.load()


def one_layer_llama() -> tuple[Any, Any]:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(report.SHARED / "data/tokenizers/llama3"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


MODELS = {"embedded": embedded_model, "llama-128k": one_layer_llama}


class LlguidanceProcessor:
    """llguidance in a logits processor: a matcher a row, and its own torch operations."""

    def __init__(self, tokenizer: Any, grammar: str, rows: int) -> None:
        package, self._torch = import_module("llguidance"), import_module("llguidance.torch")
        self._matchers = [package.LLMatcher(tokenizer, grammar) for _ in range(rows)]
        self._bitmask = self._torch.allocate_token_bitmask(rows, tokenizer.vocab_size)
        self._begun = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        tokens = input_ids[:, -1].tolist()
        for row, matcher in enumerate(self._matchers):
            if self._begun and not matcher.consume_token(tokens[row]):
                raise ValueError(matcher.get_error())
            self._torch.fill_next_token_bitmask(matcher, self._bitmask, row)
        self._begun = True
        self._torch.apply_token_bitmask_inplace(scores, self._bitmask)
        return scores


class Case:
    """A model and a batch of prompts, and the ways to go on from them."""

    def __init__(self, model: Any, tokenizer: Any, batch: int, tokens: int) -> None:
        self._model, self._tokenizer, self._batch, self._tokens = model, tokenizer, batch, tokens
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = 0
        self._prompts = [SENTENCES[row % len(SENTENCES)] + f" [{row}]" for row in range(batch)]
        encoded = [tokenizer.encode(prompt, add_special_tokens=False) for prompt in self._prompts]
        width = max(map(len, encoded))  # padded on the left, as maskwright.generate does it
        self._ids = torch.tensor([[0] * (width - len(ids)) + ids for ids in encoded])
        self._mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in encoded])

    def ways(self, engines: list[str]) -> dict[str, Generate]:
        """What is measured, by name; each call decodes the tokens once."""
        info = mw.TokenizerInfo.from_huggingface(self._tokenizer, vocab_size=len(self._tokenizer))
        found: dict[str, Generate] = {"unconstrained": self._transformers}
        if "maskwright" in engines:
            compiled = mw.GrammarCompiler(info).compile_json_schema(SCHEMA)
            found["maskwright processor"] = lambda: self._transformers(mw.MaskLogitsProcessor(compiled))
            found["maskwright.generate"] = lambda: self._ours(compiled)
        if "xgrammar" in engines:
            xgrammar, processor = import_module("xgrammar"), import_module("xgrammar.contrib.hf").LogitsProcessor
            theirs = xgrammar.TokenizerInfo.from_huggingface(self._tokenizer, vocab_size=info.vocab_size)
            grammar = xgrammar.GrammarCompiler(theirs).compile_json_schema(json.dumps(SCHEMA), any_whitespace=False)
            found["xgrammar processor"] = lambda: self._transformers(processor(grammar))
        if "llguidance" in engines:
            ll_tokenizer = import_module("llguidance.hf").from_tokenizer(self._tokenizer)
            ll_grammar = import_module("llguidance").LLMatcher.grammar_from_json_schema(
                json.dumps(SCHEMA), overrides={"whitespace_flexible": False}
            )
            found["llguidance processor"] = lambda: self._transformers(
                LlguidanceProcessor(ll_tokenizer, ll_grammar, self._batch)
            )
        return found

    def _transformers(self, processor: Any = None) -> None:
        self._model.generate(
            self._ids,
            attention_mask=self._mask,
            max_new_tokens=self._tokens,
            do_sample=False,
            logits_processor=[processor] if processor else None,
        )

    def _ours(self, compiled: mw.CompiledGrammar) -> None:
        """As many steps of an answer that might be much longer: maskwright.generate completes what it has room for."""
        chunks = mw.generate(
            self._model,
            self._prompts,
            grammar=compiled,
            tokenizer=self._tokenizer,
            max_new_tokens=_ROOM,
            jump_forward=False,
            stream=True,
        )
        for _ in range(self._batch * self._tokens):  # a chunk is a step of one row
            next(chunks)
        chunks.close()

    def steps(self, way: Generate) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Nanoseconds of each step of one run, int64 [tokens - 2]: neither the prompt's nor the last one's."""
        begun: list[int] = []
        hook = self._model.register_forward_pre_hook(lambda *_: begun.append(process_time_ns()))
        try:
            way()
        finally:
            hook.remove()
        if len(begun) != self._tokens:
            raise RuntimeError(f"{len(begun)} forwards for {self._tokens} tokens: an answer ended early")
        return np.diff(np.array(begun))[1:]


def measured(case: Case, ways: dict[str, Generate], runs: int) -> dict[str, float]:
    """Milliseconds of a step, by way: the least time of each step, on average."""
    for way in ways.values():  # once unmeasured: kernels are loaded, states lowered
        way()
    names, least = list(ways), dict[str, Any]()
    for run in track(range(runs), description="runs", console=Console(stderr=True), transient=True):
        for name in names[run % len(names) :] + names[: run % len(names)]:
            steps = case.steps(ways[name])
            least[name] = np.minimum(least[name], steps) if name in least else steps
    return {name: float(least[name].mean()) / 1e6 for name in names}


def bars(results: dict[str, dict[str, float]]) -> Callable[[Any], None]:
    """Draws the share of the unconstrained speed that is left, a group of bars for each model and batch."""
    ways = [name for name in next(iter(results.values())) if name != "unconstrained"]
    shades = {"maskwright.generate": "#56B4E9"}

    def draw(axes: Any) -> None:
        width = 0.8 / len(ways)
        for number, way in enumerate(ways):
            shares = [figures["unconstrained"] / figures[way] for figures in results.values()]
            places = np.arange(len(results)) + (number - (len(ways) - 1) / 2) * width
            colour = shades.get(way, report.COLOURS[way.split()[0].split(".")[0]])
            drawn = axes.bar(places, shares, width, color=colour, label=way)
            axes.bar_label(drawn, fmt="%.2f", fontsize=7)
        axes.axhline(1, color="0.4", linewidth=0.8)
        axes.set_xticks(range(len(results)), list(results))

    return draw


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8], help="rows (1 8)")
    parser.add_argument("--engines", nargs="+", choices=sorted(report.NAMES), help="(default: all that are installed)")
    parser.add_argument("--tokens", type=int, default=40, help="new tokens of each run (40)")
    parser.add_argument("--runs", type=int, default=12, help="runs of each way (12)")
    args = parser.parse_args()

    torch.set_num_threads(1)
    engines = args.engines or [name for name in report.NAMES if find_spec(name)]
    page = report.Report(args)
    page.heading("End to end: a constraint in generate()")
    page.provenance()
    results: dict[str, dict[str, float]] = {}
    rows: list[list[Any]] = []
    for name in args.models:
        model, tokenizer = MODELS[name]()
        for batch in args.batches:
            case = Case(model, tokenizer, batch, args.tokens)
            figures = results[f"{name}, batch {batch}"] = measured(case, case.ways(engines), args.runs)
            rows += [
                [name, batch, way, batch / step * 1e3, step, figures["unconstrained"] / step]
                for way, step in figures.items()
            ]
    page.table(["model", "batch", "", "tokens/s", "ms a step", "of unconstrained"], rows)
    page.plot(
        "generate",
        bars(results),
        title="Constrained decoding: share of the unconstrained speed (1: costs nothing)",
        ylabel="tokens/s, constrained / unconstrained",
        ylim=(0, 1.3),
    )
    page.finish()


if __name__ == "__main__":
    main()
