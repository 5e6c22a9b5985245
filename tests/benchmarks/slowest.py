#!/usr/bin/env python3
"""The schemas of MaskBench that take longest: compile, compile to first mask, and the worst single mask.

Examples:

    slowest.py                                 every development schema, in both orders of properties: an hour
    slowest.py --part 3/8                      the third eighth of them
    slowest.py yippee minecraft --order any    the schemas whose name contains one of these
    slowest.py --json all.jsonl --top 40       keep every figure as well; show the 40 slowest

Times are milliseconds of this process's own processor time, so that other work on the machine disturbs little; of a
schema above one of the bars the smaller figure of three runs counts. A mask is one fill and one accept. Beside the table
stands the time of a fixed loop of Python: divide by it to compare runs, or machines.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import sys
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from transformers import PreTrainedTokenizerFast

import maskwright as mw

SHARED = Path(__file__).resolve().parents[3] / "shared"
ORDERS = {"schema": ["schema"], "any": ["any"], "both": ["schema", "any"]}


class Timing(NamedTuple):
    """One schema under one order of properties; milliseconds.

    Attributes:
        first: from before the compilation to the end of the first mask.
        worst: the longest later mask; `after`: the text before it.
        error: what was raised, if anything was.
    """

    id: str
    order: str
    compile: float = 0.0
    first: float = 0.0
    worst: float = 0.0
    masks: int = 0
    after: str = ""
    error: str | None = None


class Bench:
    """Times schemas over one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        info = mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
        self.compiler = mw.GrammarCompiler(info, cache_enabled=False)
        self.bitmask = mw.allocate_token_bitmask(1, info.vocab_size)

    def time(self, record: dict[str, Any], order: str) -> Timing:
        """One run of a schema and all of its instances."""
        started, compiled, first, masks, worst, after = process_time(), 0.0, 0.0, 0, 0.0, ""
        try:
            grammar = self.compiler.compile_json_schema(record["schema"], property_order=order)
            compiled = process_time() - started
            mw.GrammarMatcher(grammar).fill_next_token_bitmask(self.bitmask)
            first = process_time() - started
            for test in record["tests"]:
                matcher = mw.GrammarMatcher(grammar)
                text = json.dumps(test["data"], ensure_ascii=False)
                tokens = self.tokenizer.encode(text, add_special_tokens=False)
                for number, token in enumerate(tokens):
                    before = process_time()
                    matcher.fill_next_token_bitmask(self.bitmask)
                    accepted = matcher.accept_token(token)
                    spent = process_time() - before
                    masks += 1
                    if spent > worst:
                        worst, after = spent, self.tokenizer.decode(tokens[:number])[-40:]
                    if not accepted:
                        break
        except mw.GrammarError as error:
            first = first or process_time() - started
            place = f" (after {masks} masks)" if masks else ""
            name = f"{type(error).__name__}: {error}{place}"
            return Timing(record["id"], order, 1e3 * compiled, 1e3 * first, 1e3 * worst, masks, after, name)
        return Timing(record["id"], order, 1e3 * compiled, 1e3 * first, 1e3 * worst, masks, after)


def read(path: str, names: list[str], part: str) -> list[dict[str, Any]]:
    """The records of the part, or those with one of the names in their id."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    number, of = map(int, part.split("/"))
    if not 1 <= number <= of:
        raise SystemExit(f"slowest.py: --part {part}: the first number must be from 1 to the second")
    records = [record for record in records if not names or any(name in record["id"] for name in names)]
    return records[number - 1 :: of]


def loop() -> float:
    """Milliseconds that a fixed loop of Python takes here and now."""
    started, table = process_time(), dict[tuple[int, str], int]()
    for number in range(100_000):
        table[number % 1000, "key"] = number
    return 1e3 * (process_time() - started)


def show(console: Console, timings: list[Timing], loops: list[float], args: argparse.Namespace) -> None:
    """The slowest, and how many are above the bars."""

    def excess(timing: Timing) -> float:
        return max(timing.first / args.first_bar, timing.worst / args.mask_bar)

    table = Table("schema", "order", "compile", "first mask", "worst mask", "masks", "before the worst, or error")
    for timing in sorted(timings, key=excess, reverse=True)[: args.top]:
        numbers = (f"{timing.compile:,.1f}", f"{timing.first:,.1f}", f"{timing.worst:,.1f}", f"{timing.masks:,}")
        table.add_row(timing.id, timing.order, *numbers, timing.error or repr(timing.after))
    console.print(table)
    first = np.array([timing.first for timing in timings])
    worst = np.array([timing.worst for timing in timings])
    console.print(
        f"{len(timings):,} runs; above the bars: {int((first > args.first_bar).sum())} first masks "
        f"({args.first_bar:g} ms), {int((worst > args.mask_bar).sum())} masks ({args.mask_bar:g} ms); "
        f"the fixed loop: {np.median(loops):.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only schemas whose name contains one of these")
    parser.add_argument("--order", choices=sorted(ORDERS), default="both", help="property_order (default: both)")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="every N-th schema, from the I-th on")
    parser.add_argument("--top", type=int, default=20, help="rows of the table (20)")
    parser.add_argument("--first-bar", type=float, default=1000, help="milliseconds to the first mask (1000)")
    parser.add_argument("--mask-bar", type=float, default=20, help="milliseconds for a later mask (20)")
    parser.add_argument("--data", default=str(SHARED / "data/maskbench/dev.jsonl.gz"))
    parser.add_argument("--tokenizer", default=str(SHARED / "data/tokenizers/llama3"))
    parser.add_argument("--json", metavar="FILE", help="add every figure to this file, one JSON object a line")
    args = parser.parse_args()

    records = read(args.data, args.names, args.part)
    console = Console(stderr=True)
    console.print("Loading the tokenizer and the kernels ...")
    bench = Bench(PreTrainedTokenizerFast.from_pretrained(args.tokenizer))
    gc.freeze()
    timings, loops = list[Timing](), list[float]()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=len(records) * len(ORDERS[args.order]))
        for number, record in enumerate(records):
            for order in ORDERS[args.order]:
                bar.update(task, description=record["id"][:50])
                timing = bench.time(record, order)
                if timing.first > args.first_bar or timing.worst > args.mask_bar:
                    again = [bench.time(record, order) for _ in range(2)]
                    least = min([timing, *again], key=lambda one: one.worst)
                    timing = least._replace(
                        compile=min(one.compile for one in (timing, *again)),
                        first=min(one.first for one in (timing, *again)),
                    )
                timings.append(timing)
                if args.json:
                    with open(args.json, "a", encoding="utf-8") as out:
                        out.write(json.dumps(timing._asdict(), ensure_ascii=False) + "\n")
                bar.advance(task)
            if number % 50 == 0:
                loops.append(loop())
    show(Console(width=180) if not sys.stdout.isatty() else Console(), timings, loops, args)


if __name__ == "__main__":
    main()
