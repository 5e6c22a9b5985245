#!/usr/bin/env python3
"""Memory of compiled grammars: of one schema, and of a process that sees thousands.

Examples:

    memory.py --svg docs                       both, and the drawing in docs/memory.svg
    memory.py --schemas 2000                   a shorter run, without the drawing

One schema: what compiling it and walking its first valid instance, a mask at every token, adds to the process, by
tracemalloc (which sees numpy's arrays) and by the growth of the automaton's tables; the matcher's arena is in it, mask
rows that grammars share are not. Many schemas: development schemas of MaskBench whose keys are renamed, so that no two are
equal; each is compiled and asked for its first mask. Resident memory is of the whole process, tokenizer included.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import random
import tracemalloc
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import report
from transformers import PreTrainedTokenizerFast

import maskwright as mw

MEGABYTE = 1 << 20


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--schemas", type=int, default=10_000, help="how many different schemas (default: %(default)s)")
    parser.add_argument("--single", type=int, default=200, help="schemas measured one by one (default: %(default)s)")
    parser.add_argument("--every", type=int, default=500, help="schemas between two looks at resident memory")
    parser.add_argument("--tokenizer", type=Path, default=report.SHARED / "data/tokenizers/llama3")
    options = parser.parse_args()

    with gzip.open(report.SHARED / "data/maskbench/dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    random.Random(1).shuffle(records)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.tokenizer)
    info = mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    page = report.Report(options)
    page.heading("Memory")
    page.provenance()
    gc.freeze()  # or every collection goes through the vocabulary
    if options.single:
        compiler = mw.GrammarCompiler(info, cache_enabled=False, max_cache_bytes=1 << 40)  # one automaton
        drawn = draw(compiler, records, options.single)
        show_single(page, [added_by(compiler, tokenizer, record) for record in drawn])
    if options.schemas:
        points = resident_memory(page, info, [record["schema"] for record in records], options)
        labels = {"xlabel": "different schemas compiled", "ylabel": "MB", "xlim": (0, None), "ylim": (0, None)}
        page.plot("memory", lambda axes: plot(axes, points), title="Memory of a process that sees schemas", **labels)
    page.finish()


def draw(compiler: mw.GrammarCompiler, records: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """`count` records whose schemas compile and that have a valid instance."""
    found: list[dict[str, Any]] = []
    for record in records:
        if len(found) == count:
            break
        if any(test["valid"] for test in record["tests"]) and compiles(compiler, record["schema"]):
            found.append(record)
    return found


def compiles(compiler: mw.GrammarCompiler, schema: Any) -> bool:
    try:
        compiler.compile_json_schema(schema)
    except mw.GrammarError:
        return False
    return True


def added_by(compiler: mw.GrammarCompiler, tokenizer: Any, record: dict[str, Any]) -> tuple[int, int]:
    """Bytes that a schema and one of its instances add, and those of them that are the matcher's arena."""
    bitmask = mw.allocate_token_bitmask(1, compiler.tokenizer_info.vocab_size)
    instance = next(test["data"] for test in record["tests"] if test["valid"])
    tokens = tokenizer.encode(json.dumps(instance, ensure_ascii=False), add_special_tokens=False)
    gc.collect()
    rows = compiler.cache_info().nbytes.rows
    tracemalloc.start(1)
    grammar = compiler.compile_json_schema(record["schema"])
    tables = grammar.automaton.tables
    matcher, before = mw.GrammarMatcher(grammar), tables.nbytes
    for token in tokens:
        matcher.fill_next_token_bitmask(bitmask)
        if not matcher.accept_token(token):
            break
    gc.collect()
    heap = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    shared = compiler.cache_info().nbytes.rows - rows
    return heap - shared + tables.nbytes - before, matcher.nbytes


def show_single(page: report.Report, added: list[tuple[int, int]]) -> None:
    rows: list[list[Any]] = []
    for label, sizes in zip(("in all", "of it the matcher's arena"), zip(*added, strict=True), strict=True):
        cuts = quantiles(sizes, n=100)
        rows.append([label, *(round(size / 1024) for size in (median(sizes), cuts[89], cuts[98], max(sizes)))])
    page.table(["added by a schema and one instance, KB", "median", "90%", "99%", "most"], rows)


def resident_memory(
    page: report.Report, info: mw.TokenizerInfo, schemas: list[Any], options: argparse.Namespace
) -> list[tuple[int, float, float]]:
    """(schemas seen, resident megabytes, megabytes that the cache counts), every so many schemas."""
    compiler = mw.GrammarCompiler(info)
    bitmask = mw.allocate_token_bitmask(1, info.vocab_size)
    points = [(0, resident(), 0.0)]
    rows: list[list[int]] = []
    for number in range(1, options.schemas + 1):
        try:
            grammar = compiler.compile_json_schema(renamed(schemas[number % len(schemas)], number))
        except mw.GrammarError:
            continue
        finally:
            if number % options.every == 0:
                cache = compiler.cache_info()
                points.append((number, resident(), cache.nbytes.total / MEGABYTE))
                rows.append([round(figure) for figure in (*points[-1], cache.grammars, cache.evictions)])
        mw.GrammarMatcher(grammar).fill_next_token_bitmask(bitmask)
    page.table(["schemas", "resident MB", "cache counts MB", "kept", "evicted"], rows)
    return points


def renamed(schema: Any, number: int) -> Any:
    """A schema whose properties have names that no other number's have."""
    if isinstance(schema, list):
        return [renamed(item, number) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: renamed(contents, number) for key, contents in schema.items()}
    if isinstance(schema.get("properties"), dict):
        changed["properties"] = {f"{name}_{number}": contents for name, contents in changed["properties"].items()}
    if isinstance(schema.get("required"), list):
        changed["required"] = [f"{name}_{number}" if isinstance(name, str) else name for name in schema["required"]]
    return changed


def resident() -> float:
    """Resident memory of the process, megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MEGABYTE


def plot(axes: Any, points: list[tuple[int, float, float]]) -> None:
    seen, resident_mb, counted_mb = zip(*points, strict=True)
    axes.plot(seen, resident_mb, color="black", label="resident memory of the process")
    axes.plot(seen, counted_mb, color=report.COLOURS["maskwright"], label="what the compiler's cache counts")


if __name__ == "__main__":
    main()
