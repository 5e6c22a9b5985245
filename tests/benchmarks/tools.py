#!/usr/bin/env python3
"""What hundreds of tools cost: compilation and first mask of one structural tag, by its form and the number of its tools.

Examples:

    tools.py                                     every form, beside XGrammar and llguidance where they are installed
    tools.py --forms qwen required --runs 20     two of them, the best of twenty runs
    tools.py --engines maskwright --svg DIR      without peers, and draw the times
    tools.py --tools maskbench                   the functions in MaskBench in place of made ones, as many as there are

A run compiles one description with a compiler that has seen none, without a cache of grammars, and fills the first mask of
a new matcher. Numbers of tools and engines take turns within a run, and of several runs the least time counts, so that
other work on the machine does not. Times are milliseconds of the process's own processor time, with Llama-3's vocabulary
and one thread. Collections of garbage are on, with what was there before frozen.

Peers run in a process of their own, which is ended after --limit seconds. XGrammar takes the same descriptions (names of
special tokens are none of the strings here), the older ones as formats; llguidance the older one, by its own StructTag.
"""

from __future__ import annotations

import gc
import gzip
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import report
from transformers import PreTrainedTokenizerFast

import maskwright as mw
from maskwright.grammars.tool_calls import describe_tools

COUNTS = (1, 5, 20, 50, 128, 200, 1000)
FEW, MANY = 5, 200  # whose ratio is what the numbers are about

Tools = Sequence[Mapping[str, Any]]
Description = Mapping[str, Any]


# ------------------------------------------------------------------------ tools


def made_tools() -> Iterator[Mapping[str, Any]]:
    """Tools of typical arguments without end, no two alike."""
    number = 0
    while True:
        parameters = {
            "type": "object",
            "properties": {
                f"query_{number}": {"type": "string", "description": "What to look for."},
                "limit": {"type": "integer", "minimum": 1, "maximum": number + 1},
                "order": {"type": "string", "enum": ["asc", "desc", f"by_{number}"]},
                "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
                "where": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            },
            "required": [f"query_{number}"],
            "additionalProperties": False,
        }
        yield {"type": "function", "function": {"name": f"tool_{number}", "parameters": parameters}}
        number += 1


def maskbench_tools(path: Path) -> Iterator[Mapping[str, Any]]:
    """The functions of the Berkeley Function Calling Leaderboard in MaskBench, each once."""
    names = set()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if not entry["id"].startswith("BFCL"):
                continue
            for name, parameters in entry["schema"].get("properties", {}).items():
                if name not in names:
                    names.add(name)
                    yield {"type": "function", "function": {"name": name, "parameters": parameters}}


# ------------------------------------------------------------------------ forms


def _structures(tools: Tools, triggers: Callable[[str], str]) -> Description:
    structures = [
        {
            "begin": f"<function={tool['function']['name']}>",
            "schema": tool["function"]["parameters"],
            "end": "</function>",
        }
        for tool in tools
    ]
    found = dict.fromkeys(triggers(structure["begin"]) for structure in structures)
    return {"type": "structural_tag", "structures": structures, "triggers": list(found)}


def _as_format(older: Description) -> Description:
    """The same in the terms of formats."""
    if "structures" not in older:
        return older
    tags = [
        {"begin": one["begin"], "content": {"type": "json_schema", "json_schema": one["schema"]}, "end": one["end"]}
        for one in older["structures"]
    ]
    return {
        "type": "structural_tag",
        "format": {"type": "triggered_tags", "triggers": older["triggers"], "tags": tags},
    }


FORMS: dict[str, Callable[[Tools], Description]] = {
    "structures": lambda tools: _structures(tools, lambda begin: "<function="),
    "trigger each": lambda tools: _as_format(_structures(tools, lambda begin: begin)),
    "qwen": lambda tools: describe_tools(tools, "qwen"),
    "required": lambda tools: describe_tools(tools, "qwen", tool_choice="required"),
    "llama-3": lambda tools: describe_tools(tools, "llama-3"),
    "qwen-coder": lambda tools: describe_tools(tools, "qwen-coder"),
    "mistral": lambda tools: describe_tools(tools, "mistral"),
    "deepseek-v3.1": lambda tools: describe_tools(tools, "deepseek-v3.1"),
    "harmony": lambda tools: describe_tools(tools, "harmony"),
}


# ------------------------------------------------------------------------ engines


class Times(NamedTuple):
    """Milliseconds of the compilation, and to the end of the first mask; `error`: why there are none."""

    compile: float = 0.0
    first: float = 0.0
    error: str = ""

    def best(self, other: Times) -> Times:
        return Times(min(self.compile, other.compile), min(self.first, other.first), self.error or other.error)


Measure = Callable[[Description], Times]


def _timed(compile: Callable[[], Any], first: Callable[[Any], Any]) -> Times:
    gc.collect()
    gc.freeze()
    started = process_time()
    compiled = compile()
    between = process_time()
    first(compiled)
    return Times(1e3 * (between - started), 1e3 * (process_time() - started))


def maskwright(tokenizer: Any) -> Measure:
    info = mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    mask = mw.allocate_token_bitmask(1, info.vocab_size)

    def measure(description: Description) -> Times:
        compiler = mw.GrammarCompiler(info, cache_enabled=False)
        return _timed(
            lambda: compiler.compile_structural_tag(description),
            lambda compiled: mw.GrammarMatcher(compiled).fill_next_token_bitmask(mask),
        )

    return measure


def xgrammar(tokenizer: Any) -> Measure:
    engine = import_module("xgrammar")
    info = engine.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    mask = engine.allocate_token_bitmask(1, info.vocab_size)

    def measure(description: Description) -> Times:
        compiler, format = engine.GrammarCompiler(info, max_threads=1, cache_enabled=False), _as_format(description)
        return _timed(
            lambda: compiler.compile_structural_tag(format),
            lambda compiled: engine.GrammarMatcher(compiled).fill_next_token_bitmask(mask),
        )

    return measure


def llguidance(tokenizer: Any) -> Measure:
    engine, numpy_side = import_module("llguidance"), import_module("llguidance.numpy")
    info = import_module("llguidance.hf").from_tokenizer(tokenizer)
    mask = numpy_side.allocate_token_bitmask(1, info.vocab_size)

    def compile(description: Description) -> Any:
        tag, trigger = engine.StructTag, description["triggers"][0]
        tags = [
            tag(trigger=trigger, begin=one["begin"], grammar=one["schema"], end=one["end"])
            for one in description["structures"]
        ]
        matcher = engine.LLMatcher(info, engine.grammar_from("lark", tag.to_grammar(tags, assume_special=False)))
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def measure(description: Description) -> Times:
        if "structures" not in description:
            return Times(error="—")
        return _timed(
            lambda: compile(description), lambda matcher: numpy_side.fill_next_token_bitmask(matcher, mask, 0)
        )

    return measure


ENGINES: dict[str, Callable[[Any], Measure]] = {
    "maskwright": maskwright,
    "xgrammar": xgrammar,
    "llguidance": llguidance,
}


def _answer(measure: Measure, description: Description, pipe: Any) -> None:
    try:
        pipe.send(measure(description))
    except Exception as error:
        pipe.send(Times(error=f"refuses it: {str(error).splitlines()[0][:60]}"))


def within(limit: float, measure: Measure, description: Description) -> Times:
    """One run in a process of its own, ended when it takes too long."""
    context = multiprocessing.get_context("fork")  # the tokenizer and its tables are there already
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(measure, description, theirs))
    process.start()
    theirs.close()
    try:
        found: Times = ours.recv() if ours.poll(limit) else Times(error=f"more than {limit:g} s")
    except EOFError:
        found = Times(error="ended without an answer")
    process.kill()
    process.join()
    return found


# ------------------------------------------------------------------------ results

Results = dict[tuple[str, str], dict[int, Times]]  # by form and engine, by the number of tools


def measured(
    engines: Mapping[str, Measure],
    forms: Sequence[str],
    tools: Tools,
    counts: Sequence[int],
    runs: int,
    peer_runs: int,
    limit: float,
) -> Results:
    """The least times of several runs; what an engine has once not done it is not asked again."""
    results: Results = {(form, engine): {} for form in forms for engine in engines}
    with report.progress(len(results) * len(counts) * runs) as bar:
        task = bar.task_ids[0]
        for form in forms:
            descriptions = {count: FORMS[form](tools[:count]) for count in counts}
            for turn in range(runs):
                for count, description in descriptions.items():
                    for engine, measure in engines.items():
                        bar.update(task, description=f"{form}, {count} tools, {engine}")
                        found = results[form, engine]
                        failed = next((times for times in found.values() if times.error), None)
                        ours = engine == "maskwright"
                        if failed is not None:
                            found.setdefault(count, failed)
                        elif ours or turn < peer_runs:
                            times = measure(description) if ours else within(limit, measure, description)
                            found[count] = found[count].best(times) if count in found else times
                        bar.advance(task)
    return results


def show(page: report.Report, results: Results, counts: Sequence[int]) -> None:
    """A line for each form and engine: compilation and first mask for each number of tools, and what many cost of few."""
    rows: list[list[Any]] = []
    for (form, engine), found in results.items():
        cells = [times.error or f"{times.compile:.1f} / {times.first:.1f}" for times in found.values()]
        few, many = found.get(FEW, Times(error="—")), found.get(MANY, Times(error="—"))
        ratio = "" if few.error or many.error else f"{many.first / few.first:.2f}"
        rows.append([form, report.NAMES[engine], *cells, ratio])
    page.text("Milliseconds of the compilation / to the end of the first mask, by the number of tools.")
    page.table(["form", "", *map(str, counts), f"{MANY} to {FEW}"], rows)


def lines(results: Results, engine: str) -> Callable[[Any], None]:
    """Draws the time to the first mask by the number of tools, a line for each form."""

    def draw(axes: Any) -> None:
        for (form, name), found in results.items():
            points = [(count, times.first) for count, times in found.items() if not times.error]
            if name == engine and points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1, label=form)

    return draw


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument(
        "--forms", nargs="+", choices=list(FORMS), default=list(FORMS), metavar="FORM", help=str([*FORMS])
    )
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS), help="numbers of tools")
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), help="(default: all that are installed)")
    parser.add_argument("--runs", type=int, default=10, help="runs of which the best counts (10)")
    parser.add_argument("--peer-runs", type=int, default=2, help="runs of the peers, which take longer (2)")
    parser.add_argument("--limit", type=float, default=20, help="seconds that a peer may take for one run (20)")
    parser.add_argument("--tools", choices=["made", "maskbench"], default="made", help="which tools (made)")
    parser.add_argument("--tokenizer", default=str(report.SHARED / "data/tokenizers/llama3"))
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    args = parser.parse_args()

    source = made_tools() if args.tools == "made" else maskbench_tools(report.SHARED / "data/maskbench/dev.jsonl.gz")
    tools = list(islice(source, max(args.counts)))
    counts = sorted({min(count, len(tools)) for count in args.counts})
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # peers are forked
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.tokenizer)
    engines = {name: ENGINES[name](tokenizer) for name in args.engines or filter(find_spec, ENGINES)}
    results = measured(engines, args.forms, tools, counts, args.runs, args.peer_runs, args.limit)
    page = report.Report(args)
    page.heading("Tools")
    page.provenance()
    show(page, results, counts)
    drawn = {report.NAMES[engine]: lines(results, engine) for engine in engines}
    labels = {"xlabel": "tools", "ylabel": "compilation and first mask (ms)", "xscale": "log", "yscale": "log"}
    page.panels("tools", drawn, columns=len(drawn), size=(4.2, 3.6), **labels)
    page.finish()
    if args.json:
        kept = [
            {"form": form, "engine": engine, "tools": count, **times._asdict()}
            for (form, engine), found in results.items()
            for count, times in found.items()
        ]
        Path(args.json).write_text(json.dumps(kept) + "\n", "utf-8")


if __name__ == "__main__":
    main()
