#!/usr/bin/env python3
"""Masks of many matchers in one call, beside XGrammar and llguidance: warm and cold, one thread and two.

Examples:

    batches.py                                      every engine, batches of 1, 8, 64 and 512
    batches.py --sizes 512 --runs 9 --threads 1 2   one size, the best of nine runs
    batches.py --engines maskwright                 without peers

The matchers of a batch stand at different places of documents of real schemas (MaskBench), over Llama 3's vocabulary. Every
engine gets the same places; a place that one of them does not come to is left out for all. *Cold*: matchers that have filled
no mask, of grammars compiled anew whose states are lowered already (a first pass over the same places has done that, and its
mask rows are forgotten). *Warm*: the same masks once more. Microseconds a row of the whole call, by the clock, the least of
the runs; engines take turns. On a machine that does other work besides, compare within a run, and expect less of threads.

XGrammar fills with its BatchGrammarMatcher, llguidance with fill_next_token_bitmask_par of its LLExecutor. For them cold
means matchers that are new: what they compute ahead, or keep with the grammar, they keep.
"""

from __future__ import annotations

import gc
import gzip
import json
import random
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np
import report
from rich.console import Console
from rich.progress import track
from transformers import PreTrainedTokenizerFast

import maskwright as mw
from maskwright.compile.automaton import Automaton


class Place(NamedTuple):
    """Somewhere in a document: its schema, and the tokens before it."""

    schema: Any
    tokens: tuple[int, ...]


class Engine(Protocol):
    """What is measured."""

    def reaches(self, place: Place) -> bool:
        """Whether the engine takes the schema and comes to the place."""

    def matchers(self, places: Sequence[Place]) -> Any:
        """New matchers at some places, from what was compiled for reaches(); not timed."""

    def fill(self, matchers: Any, threads: int) -> None:
        """The masks of all of them, in one call; timed."""


class Maskwright:
    def __init__(self, tokenizer: Any, threads: Sequence[int]) -> None:
        # Without the disk, which would have the rows that are to be cold.
        self.info = mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer), disk_cache=False)
        self.compiler = mw.GrammarCompiler(self.info, max_cache_bytes=1 << 40)  # one automaton
        self.batches = {count: mw.BatchGrammarMatcher(count) for count in threads}
        self.bitmask = mw.allocate_token_bitmask(0, self.info.vocab_size, backend="numpy")

    def reaches(self, place: Place) -> bool:
        try:
            matcher = mw.GrammarMatcher(self.compiler.compile_json_schema(place.schema))
        except mw.MaskwrightError:
            return False
        reached = all(matcher.accept_token(token) for token in place.tokens)
        matcher.allowed_token_ids()  # states are lowered
        return reached

    def matchers(self, places: Sequence[Place]) -> list[mw.GrammarMatcher]:
        grammars = [self.compiler.compile_json_schema(place.schema) for place in places]
        for grammar in grammars:
            grammar.spare_arenas.clear()  # they are warm
        forget_rows(grammars[0].automaton)
        found = []
        for grammar, place in zip(grammars, places, strict=True):
            found.append(mw.GrammarMatcher(grammar))
            for token in place.tokens:
                found[-1].accept_token(token)
        if len(self.bitmask) != len(places):
            self.bitmask = mw.allocate_token_bitmask(len(places), self.info.vocab_size, backend="numpy")
        return found

    def fill(self, matchers: Any, threads: int) -> None:
        self.batches[threads].batch_fill_next_token_bitmask(matchers, self.bitmask)


def forget_rows(automaton: Automaton) -> None:
    """Leave an automaton as if its states were lowered and no row computed; no matcher may remember one of its rows."""
    automaton.rows._rows.clear()
    automaton.rows._shared.clear()
    automaton.rows._remainders._tries.clear()
    automaton.tables.row_keys[:] = -1
    automaton.tables.row_count = 1


class Xgrammar:
    def __init__(self, tokenizer: Any, threads: Sequence[int]) -> None:
        self.module = import_module("xgrammar")
        info = self.module.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
        self.size, self.compiler = info.vocab_size, self.module.GrammarCompiler(info)
        self.batches = {count: self.module.BatchGrammarMatcher(max_threads=count) for count in threads}
        self.bitmask = self.module.allocate_token_bitmask(0, self.size)

    def _at(self, place: Place) -> Any:
        """A matcher at a place; None when the grammar does not lead there."""
        matcher = self.module.GrammarMatcher(self.compiler.compile_json_schema(json.dumps(place.schema)))
        return matcher if all(matcher.accept_token(token) for token in place.tokens) else None

    def reaches(self, place: Place) -> bool:
        try:
            return self._at(place) is not None
        except Exception:
            return False

    def matchers(self, places: Sequence[Place]) -> list[Any]:
        if len(self.bitmask) != len(places):
            self.bitmask = self.module.allocate_token_bitmask(len(places), self.size)
        return [self._at(place) for place in places]

    def fill(self, matchers: Any, threads: int) -> None:
        self.batches[threads].batch_fill_next_token_bitmask(matchers, self.bitmask)


class Llguidance:
    def __init__(self, tokenizer: Any, threads: Sequence[int]) -> None:
        self.module, self.numpy = import_module("llguidance"), import_module("llguidance.numpy")
        self.info = import_module("llguidance.hf").from_tokenizer(tokenizer, n_vocab=len(tokenizer))
        self.executors = {count: self.module.LLExecutor(num_threads=count) for count in threads}
        self.templates: dict[str, Any] = {}
        self.bitmask = self.numpy.allocate_token_bitmask(0, self.info.vocab_size)

    def _at(self, place: Place) -> Any:
        key = json.dumps(place.schema)
        if key not in self.templates:
            grammar = self.module.LLMatcher.grammar_from_json_schema(key)
            self.templates[key] = self.module.LLMatcher(self.info, grammar)
        matcher = self.templates[key].deep_copy()
        return matcher if not matcher.is_error() and matcher.consume_tokens(list(place.tokens)) else None

    def reaches(self, place: Place) -> bool:
        return self._at(place) is not None

    def matchers(self, places: Sequence[Place]) -> list[tuple[Any, int]]:
        if len(self.bitmask) != len(places):
            self.bitmask = self.numpy.allocate_token_bitmask(len(places), self.info.vocab_size)
        return [(self._at(place), row) for row, place in enumerate(places)]

    def fill(self, matchers: Any, threads: int) -> None:
        self.numpy.fill_next_token_bitmask_par(self.executors[threads], matchers, self.bitmask)


ENGINES: dict[str, Callable[[Any, Sequence[int]], Engine]] = {
    "maskwright": Maskwright,
    "xgrammar": Xgrammar,
    "llguidance": Llguidance,
}


def places_in(path: Path, tokenizer: Any, engines: Sequence[Engine], count: int, console: Console) -> list[Place]:
    """So many places that every engine comes to, one in each of as many documents."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines]
    rng = random.Random(0)
    rng.shuffle(cases)
    found = list[Place]()
    for case in track(cases, "Looking for places", console=console, transient=True):
        texts = [json.dumps(test["data"], ensure_ascii=False) for test in case["tests"] if test["valid"]]
        if not texts or len(json.dumps(case["schema"])) > 4000:  # XGrammar takes seconds for larger ones
            continue
        tokens = tokenizer.encode(rng.choice(texts), add_special_tokens=False)
        place = Place(case["schema"], tuple(tokens[: rng.randrange(len(tokens))]))
        if len(place.tokens) < 2000 and all(engine.reaches(place) for engine in engines):
            found.append(place)
        if len(found) == count:
            break
    return found


def measure(engine: Engine, places: Sequence[Place], threads: int) -> tuple[float, float]:
    """Cold and warm, microseconds a row."""
    matchers = engine.matchers(places)
    gc.collect()
    gc.freeze()
    times = []
    for _ in range(4):
        started = perf_counter()
        engine.fill(matchers, threads)
        times.append(1e6 * (perf_counter() - started) / len(places))
    gc.unfreeze()
    return times[0], min(times[1:])


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--engines", nargs="+", choices=sorted(ENGINES), help="(default: all that are installed)")
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[1, 8, 64, 512], help="matchers of a batch (1 8 64 512)"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="(1 2)")
    parser.add_argument("--runs", type=int, default=7, help="runs of each engine (7)")
    parser.add_argument(
        "--data", type=Path, default=report.SHARED / "data/maskbench/dev.jsonl.gz", help="schemas and documents"
    )
    parser.add_argument("--tokenizer", default=str(report.SHARED / "data/tokenizers/llama3"))
    args = parser.parse_args()

    console = Console(stderr=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.tokenizer)
    engines = {name: ENGINES[name](tokenizer, args.threads) for name in args.engines or filter(find_spec, ENGINES)}
    places = places_in(args.data, tokenizer, list(engines.values()), max(args.sizes), console)
    best: dict[tuple[int, str, int], tuple[float, float]] = {}
    for size in args.sizes:
        for run in track(range(args.runs), f"Batches of {size}", console=console, transient=True):
            first = run * size % (len(places) - size + 1)
            for name, engine in engines.items():
                for threads in args.threads:
                    found = measure(engine, places[first : first + size], threads)
                    before = best.get((size, name, threads), found)
                    best[size, name, threads] = (min(found[0], before[0]), min(found[1], before[1]))
    page = report.Report(args)
    page.heading("Batches")
    page.provenance()
    page.text("Microseconds a row, the least of the runs.")
    kinds = [f"{kind}, {count} thread{'s' * (count > 1)}" for kind in ("cold", "warm") for count in args.threads]
    rows = list[list[Any]]()
    for size in args.sizes:
        for name in engines:
            figures = np.array([best[size, name, threads] for threads in args.threads])  # [threads, cold and warm]
            rows.append([size, report.NAMES[name], *figures.T.reshape(-1).tolist()])
    page.table(["matchers", "", *kinds], rows)

    def draw(axes: Any) -> None:
        for name in engines:
            for threads, style in zip(args.threads, ("-", "--", ":", "-."), strict=False):
                cold = [best[size, name, threads][0] for size in args.sizes]
                label = f"{report.NAMES[name]}, {threads} thr."
                axes.plot(args.sizes, cold, style, label=label, color=report.COLOURS[name], marker=report.MARKERS[name])

    labels = {"xlabel": "matchers of a batch", "ylabel": "us a cold mask", "xscale": "log", "yscale": "log"}
    page.plot("batches", draw, title="Masks that no matcher has filled before", **labels)
    page.finish()


if __name__ == "__main__":
    main()
