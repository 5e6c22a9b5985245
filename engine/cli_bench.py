"""`maskwright bench`: how fast are the masks of your schemas on your vocabulary?

Times are taken around the calls that a decoding loop makes: compiling, one fill of the bitmask, one accepted token. In
each run a compiler starts from nothing and takes the schemas one after the other, as a server would.
"""

from __future__ import annotations

import argparse
import random
import resource
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import numpy as np

from maskwright.cli_failures import REPORTED, CommandError, Failure
from maskwright.cli_output import paint, print_failure, print_json, print_table, print_warnings, spread, tracked
from maskwright.cli_plot import check_plot, draw_masks
from maskwright.cli_tables import Meter
from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.judge import byte_vocabulary, tokens_of
from maskwright.kernels.bitmask import allocate_token_bitmask
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.sources import decode, expand, load_tokenizer, read_instances, text_policy

__all__ = ["run"]

PERCENTILES = (50, 90, 99, 99.9)
_SLOWEST = 10  # schemas that are named where there are many


@dataclass(slots=True)
class Figures:
    """What was measured of one schema, over all runs.

    Attributes:
        schema: its name.
        failure: why there is nothing to measure, or None.
        compile_ms, first_mask_ms: milliseconds, one a run.
        masks_us: microseconds of one mask and one token accepted, one a token.
        rejected: names of instances that the schema does not allow; their masks count up to there.
        states, rows: lowered and computed in the last run.
        table_bytes: growth of the tables then, mask rows included; matcher_bytes: memory of one matcher.
    """

    schema: str
    failure: Failure | None = None
    refused: bool = False
    warnings: list[str] = field(default_factory=list)
    compile_ms: list[float] = field(default_factory=list)
    first_mask_ms: list[float] = field(default_factory=list)
    masks_us: list[float] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    states: int = 0
    rows: int = 0
    table_bytes: int = 0
    matcher_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """The fields of docs/cli.md."""
        if self.failure is not None:
            status = "refused" if self.refused else "error"
            return {"schema": self.schema, "status": status, "error": self.failure.as_json()}
        return {
            "schema": self.schema,
            "status": "rejected" if self.rejected else "measured",
            "error": None,
            "warnings": self.warnings,
            "rejected": self.rejected,
            "tokens": len(self.masks_us),
            "compile_ms": spread(self.compile_ms, (50,)),
            "first_mask_ms": spread(self.first_mask_ms, (50,)),
            "mask_us": spread(self.masks_us, PERCENTILES),
            "states": self.states,
            "rows": self.rows,
            "table_bytes": self.table_bytes,
            "matcher_bytes": self.matcher_bytes,
        }


def run(options: argparse.Namespace) -> int:
    """`maskwright bench`; the exit code."""
    if "-" in options.schemas and "-" in options.instances:
        raise CommandError("standard input (-) can be a schema or an instance, not both")
    if options.plot is not None:
        check_plot(options.plot)
    schemas = [(number, source.name, source.read()) for number, source in enumerate(expand(options.schemas))]
    info, texts = _vocabulary(options)
    found = [Figures(name) for _, name, _ in schemas]
    runs = [(repetition, schema) for repetition in range(options.repeat) for schema in schemas]
    bench = _Bench(options, info, texts)
    for repetition, (number, _, content) in tracked(runs, "schemas"):
        if number == 0:
            bench.start_anew()
        bench.measure(content, found[number], random.Random(f"{options.seed} {number} {repetition}"))
    measured = [figures for figures in found if figures.failure is None and figures.masks_us]
    if options.json:
        for figures in found:
            print_json(figures.as_json())
        if measured:
            print_json({"all": len(measured), **_together(measured)})
    else:
        _print(found, measured, info)
    if options.plot is not None and measured:
        draw_masks({figures.schema: figures.masks_us for figures in measured}, options.plot)
    if len(measured) < len(found):
        return 2
    return 1 if any(figures.rejected for figures in found) else 0


def _vocabulary(options: argparse.Namespace) -> tuple[TokenizerInfo, list[tuple[str, list[int]]]]:
    """The vocabulary, and the instances as its token ids."""
    instances = read_instances(options.instances)
    if options.tokenizer is None:
        return byte_vocabulary(), [(name, list(text)) for name, text in instances]
    tokenizer = load_tokenizer(options.tokenizer)
    info = TokenizerInfo.from_huggingface(tokenizer)
    return info, [(name, tokens_of(text, tokenizer, info)) for name, text in instances]


class _Bench:
    """Measures schemas one after the other, along the same instances or along texts drawn at random."""

    def __init__(self, options: argparse.Namespace, info: TokenizerInfo, texts: list[tuple[str, list[int]]]) -> None:
        self._options, self._info, self._texts = options, info, texts
        self._policy = text_policy(options)
        self._bitmask = allocate_token_bitmask(1, info.vocab_size, backend="numpy")
        self.start_anew()

    def start_anew(self) -> None:
        """Forget everything that was compiled."""
        self._meter = Meter(GrammarCompiler(self._info, cache_enabled=False))

    def measure(self, content: bytes, figures: Figures, randomness: random.Random) -> None:
        """Compile a schema, follow texts, and add what was measured to `figures`."""
        if figures.failure is not None:
            return
        try:
            compiled = self._meter.compile(decode(content), self._policy)
            if self._texts:
                for name, ids in self._texts:
                    if not self._follow(compiled, ids, figures) and name not in figures.rejected:
                        figures.rejected.append(name)
            else:
                for _ in range(self._options.samples):
                    self._draw(compiled, randomness, figures)
        except REPORTED as error:
            figures.failure, figures.refused = Failure.of(error, figures.schema), not isinstance(error, OSError)
            return
        cost = self._meter.cost()
        figures.warnings = compiled.warnings
        figures.compile_ms.append(cost.compile_ms)
        figures.first_mask_ms.append(cost.first_mask_ms)
        figures.states, figures.rows, figures.table_bytes = cost.states, cost.rows, cost.table_bytes

    def _follow(self, compiled: CompiledGrammar, ids: list[int], figures: Figures) -> bool:
        """A mask before each token of a text; whether the grammar allows it all."""
        matcher = GrammarMatcher(compiled)
        for token in ids:
            start = perf_counter_ns()
            matcher.fill_next_token_bitmask(self._bitmask)
            accepted = matcher.accept_token(token)
            figures.masks_us.append((perf_counter_ns() - start) / 1e3)
            if not accepted:
                return False
        figures.matcher_bytes = max(figures.matcher_bytes, matcher.nbytes)
        return matcher.is_completed()

    def _draw(self, compiled: CompiledGrammar, randomness: random.Random, figures: Figures) -> None:
        """A text of tokens drawn uniformly from each mask; choosing one is not in the time."""
        matcher = GrammarMatcher(compiled)
        for _ in range(self._options.max_tokens):
            start = perf_counter_ns()
            matcher.fill_next_token_bitmask(self._bitmask)
            filled = perf_counter_ns() - start
            allowed = np.flatnonzero(np.unpackbits(self._bitmask[0].view(np.uint8), bitorder="little"))
            if not len(allowed):  # a whole sentence, and the vocabulary has no end-of-sequence token
                break
            token = int(allowed[randomness.randrange(len(allowed))])
            start = perf_counter_ns()
            matcher.accept_token(token)
            figures.masks_us.append((filled + perf_counter_ns() - start) / 1e3)
            if matcher.is_terminated():
                break
        figures.matcher_bytes = max(figures.matcher_bytes, matcher.nbytes)


def _together(measured: list[Figures]) -> dict[str, Any]:
    """The figures of all schemas as if of one."""
    masks = [mask for figures in measured for mask in figures.masks_us]
    return {
        "tokens": len(masks),
        "compile_ms": spread([time for figures in measured for time in figures.compile_ms], PERCENTILES),
        "first_mask_ms": spread([time for figures in measured for time in figures.first_mask_ms], PERCENTILES),
        "mask_us": spread(masks, PERCENTILES),
        "states": sum(figures.states for figures in measured),
        "rows": sum(figures.rows for figures in measured),
        "table_bytes": sum(figures.table_bytes for figures in measured),
        "matcher_bytes": max(figures.matcher_bytes for figures in measured),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


# Lines for people


def _print(found: list[Figures], measured: list[Figures], info: TokenizerInfo) -> None:
    for figures in found:
        print_warnings(figures.schema, figures.warnings)
        if figures.failure is not None:
            print_failure(figures.failure)
        for name in figures.rejected:
            print(f"{figures.schema}: {name}: {paint('rejected', 'bad')} (`maskwright validate` shows where)")
    if not measured:
        return
    whole = _together(measured)
    schemas = "1 schema" if len(measured) == 1 else f"{len(measured):,} schemas"
    times = {
        "compile_ms": "compile (ms)",
        "first_mask_ms": "time to first mask (ms)",
        "mask_us": "time between masks (μs)",
    }
    print_table(
        f"{schemas}, {whole['tokens']:,} masks over {info.vocab_size:,} tokens",
        list(whole["mask_us"]),
        [(label, list(whole[name].values())) for name, label in times.items()],
    )
    print(
        f"memory: {whole['table_bytes'] / 1e6:,.1f} MB of tables ({whole['states']:,} states, {whole['rows']:,} mask rows), "
        f"{whole['matcher_bytes'] / 1e6:,.2f} MB a matcher, {whole['peak_rss_bytes'] / 1e6:,.0f} MB the process at most"
    )
    if len(measured) > 1:
        slowest = sorted(measured, key=lambda figures: -max(figures.masks_us))[:_SLOWEST]
        print_table(
            "time between masks (μs), the slowest first",
            ["tokens", *spread(slowest[0].masks_us, PERCENTILES)],
            [
                (figures.schema, [len(figures.masks_us), *spread(figures.masks_us, PERCENTILES).values()])
                for figures in slowest
            ],
        )
