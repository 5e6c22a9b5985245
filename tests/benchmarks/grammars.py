#!/usr/bin/env python3
"""Masks of context-free grammars, beside XGrammar and llguidance: GBNF as llama.cpp has it, and Lark grammars.

Examples:

    grammars.py                                  every grammar, every engine that is installed
    grammars.py python.lark sql.lark --runs 5    two of them, the best of five runs
    grammars.py --engines maskwright --forks     without peers; how many masks are of several stacks
    grammars.py --json all.json --svg DIR        keep the figures, and draw the times of all masks

A mask is one fill and one accept: Llama-3's vocabulary, one thread, a bitmask of 128,256 bits for every engine. A run
compiles the grammar anew, with a compiler that has seen none, and follows all texts once (grammar_texts.py), so that what
an engine does when it first meets a place in the grammar is in its masks. Runs of the engines take turns. Of each mask the
least time of the runs counts, so that other work on the machine does not. Times are microseconds of the process's own
processor time. Python's garbage collector is as it is in any program, for all: on, with what was there before frozen.

Where XGrammar refuses a Lark grammar, it gets our translation of it into EBNF. llguidance gets GBNF through its own
converter. An engine that refuses a grammar, or a token of a text, or takes longer than --limit, says so in the table in
place of figures.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time_ns
from typing import Any, NamedTuple

import numpy as np
import report
from engines import ENGINES, Engine, Maskwright, installed, is_lark
from grammar_texts import GENERATORS, texts
from rich.console import Console
from transformers import PreTrainedTokenizerFast

from maskwright.kernels import layout as L

HERE = Path(__file__).resolve().with_suffix("")  # the folder of the Lark grammars
SHOWN = ("avg", "p50", "p99", "max")


class Figures(NamedTuple):
    """One engine on one grammar.

    Attributes:
        compile, first: milliseconds, the latter to the end of the first mask.
        masks: microseconds of every mask of every text, the first mask of the run left out.
        error: why there are none, or None.
    """

    compile: float
    first: float
    masks: list[float]
    error: str | None = None

    def shown(self) -> dict[str, float]:
        """The figures of SHOWN, microseconds."""
        masks = np.array(self.masks)
        return {"avg": masks.mean(), "p50": np.median(masks), "p99": np.percentile(masks, 99), "max": masks.max()}

    def best(self, other: Figures) -> Figures:
        """The lesser time of each mask of two runs."""
        if self.error or other.error:
            return self if self.error else other
        masks = [min(pair) for pair in zip(self.masks, other.masks, strict=True)]
        return Figures(min(self.compile, other.compile), min(self.first, other.first), masks)


def run(engine: Engine, name: str, text: str, sentences: list[list[int]], limit: float) -> Figures:
    """Compile a grammar and follow all texts once, for `limit` seconds at most."""
    engine.prepare()
    gc.collect()
    gc.freeze()
    started = process_time_ns()
    try:
        engine.compile(name, text)
    except Exception as error:
        return Figures(0, 0, [], f"refuses it: {str(error).splitlines()[0][:80]}")
    compiled = process_time_ns()
    first, masks, done = 0, list[float](), 0
    for tokens in sentences:
        engine.reset()
        for token in tokens:
            before = process_time_ns()
            engine.fill()
            filled = process_time_ns()
            allowed = engine.accept(token)
            after = process_time_ns()
            if not allowed:
                return Figures(0, 0, [], f"does not allow token {done} of {sum(map(len, sentences))}")
            if first:
                masks.append((after - before) / 1e3)
            first = first or filled
            done += 1
            if after - started > 1e9 * limit:
                return Figures(0, 0, [], f"too slow: {done:,} of {sum(map(len, sentences)):,} masks in {limit:g} s")
    return Figures((compiled - started) / 1e6, (first - started) / 1e6, masks)


def forks(engine: Maskwright, name: str, text: str, sentences: list[list[int]]) -> tuple[int, int, int]:
    """Masks in all, those of several ways on, and the most ways on at once."""
    engine.prepare()
    engine.compile(name, text)
    total = several = most = 0
    for tokens in sentences:
        engine.reset()
        arena = engine.matcher._arena
        for token in tokens:
            ways, node = 0, int(arena.header[L.MATCHER_TOP])
            while node and arena.header[L.MATCHER_STATE] == L.SPLIT:
                ways, node = ways + 1, int(arena.nodes[node * L.NODE_SIZE + L.NODE_ALSO])
            total, several, most = total + 1, several + (ways > 0), max(most, ways)
            engine.accept(token)
    return total, several, most


def show(page: report.Report, results: Mapping[str, Mapping[str, Figures]]) -> None:
    """A line for each grammar and engine; then how many figures of ours are more than a peer's."""
    rows: list[list[Any]] = []
    behind: list[str] = []
    for name, figures in results.items():
        ours = figures.get("maskwright")
        for engine, found in figures.items():
            if found.error:
                rows.append([name, report.NAMES[engine], *[""] * (3 + len(SHOWN)), found.error])
                continue
            shown, ratio = found.shown(), ""
            if ours is not None and found is not ours and not ours.error:
                ratios = {key: ours.shown()[key] / shown[key] for key in ("avg", "p50", "p99")}
                ratio = " / ".join(f"{value:.2f}" for value in ratios.values())
                behind += [f"{name} {key} {value:.2f} of {engine}" for key, value in ratios.items() if value > 1]
            numbers = [f"{shown[key]:,.1f}" for key in SHOWN]
            times = f"{found.compile:,.1f}", f"{found.first:,.1f}"
            rows.append([name, report.NAMES[engine], *times, len(found.masks), *numbers, ratio])
    page.text("Compilation and first mask in ms, masks in us; ratios: ours to the engine's, below 1 we are faster.")
    page.table(["grammar", "", "compile", "first mask", "masks", *SHOWN, "ratio of avg / p50 / p99"], rows)
    page.text("Slower than a peer: " + ("; ".join(behind) or "nowhere") + ".")


def curves(figures: Mapping[str, Figures]) -> Callable[[Any], None]:
    """Draws which share of masks takes longer than a time, a curve for each engine."""

    def draw(axes: Any) -> None:
        for engine, found in figures.items():
            if not found.error:
                ordered = np.sort(found.masks)
                shares = 1 - np.arange(len(ordered)) / len(ordered)
                axes.step(ordered, shares, where="post", label=report.NAMES[engine], color=report.COLOURS[engine])

    return draw


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("names", nargs="*", help=f"grammars: {', '.join(GENERATORS)}")
    parser.add_argument("--engines", nargs="+", choices=sorted(ENGINES), help="(default: all that are installed)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each engine (3)")
    parser.add_argument("--limit", type=float, default=60, help="seconds that one run may take (60)")
    parser.add_argument("--tokens", type=int, default=2000, help="least tokens of the texts of a grammar (2000)")
    parser.add_argument("--forks", action="store_true", help="count the masks of several stacks")
    parser.add_argument("--data", type=Path, default=report.SHARED / "data/gbnf", help="folder of the GBNF grammars")
    parser.add_argument("--tokenizer", default=str(report.SHARED / "data/tokenizers/llama3"))
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in GENERATORS]:
        parser.error(f"no grammar {unknown[0]!r}; there are {', '.join(GENERATORS)}")

    console = Console(stderr=True)
    names = args.names or list(GENERATORS)
    chosen = args.engines or installed()
    console.print("Loading the tokenizer and the kernels ...")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.tokenizer)
    engines = {name: ENGINES[name](tokenizer) for name in chosen}
    results: dict[str, dict[str, Figures]] = {}
    with report.progress(len(names) * args.runs * len(engines)) as bar:
        task = bar.task_ids[0]
        for name in names:
            text = ((HERE if is_lark(name) else args.data) / name).read_text("utf-8")
            sentences = texts(name, lambda text: tokenizer.encode(text, add_special_tokens=False), args.tokens)
            found = results[name] = {}
            for number in range(args.runs):
                for turn in range(len(chosen)):
                    engine = chosen[(number + turn) % len(chosen)]
                    bar.update(task, description=f"{name} {engine}")
                    if not (engine in found and found[engine].error):
                        figures = run(engines[engine], name, text, sentences, args.limit)
                        found[engine] = found[engine].best(figures) if engine in found else figures
                    bar.advance(task)
            results[name] = {engine: found[engine] for engine in chosen}
            if args.forks:
                total, several, most = forks(Maskwright(tokenizer), name, text, sentences)
                bar.console.print(f"{name}: {several:,} of {total:,} masks have several ways on, at most {most}")
    page = report.Report(args)
    page.heading("Grammars")
    page.provenance()
    show(page, results)
    labels = {"xlabel": "time of a mask (us)", "ylabel": "share that takes longer", "xscale": "log", "yscale": "log"}
    page.panels("grammars", {name: curves(found) for name, found in results.items()}, columns=4, **labels)
    page.finish()
    if args.json:
        kept = {name: {key: value._asdict() for key, value in found.items()} for name, found in results.items()}
        Path(args.json).write_text(json.dumps(kept) + "\n", "utf-8")


if __name__ == "__main__":
    main()
