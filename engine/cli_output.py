"""How commands print: colours where a person looks, JSON lines where a program reads, progress bars, tables.

Colours and progress bars appear on terminals only, and colours never where NO_COLOR is set. rich is imported when
something needs it.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO, TypeVar

from maskwright.cli_failures import Failure

__all__ = [
    "indented",
    "paint",
    "print_failure",
    "print_json",
    "print_table",
    "print_warnings",
    "spread",
    "tracked",
    "write_anything",
]

_COLOURS = {"good": "32", "bad": "31", "odd": "33"}
_MANY = 3  # things to do before a progress bar is worth its lines

Item = TypeVar("Item")


def write_anything() -> None:
    """Have both streams escape what their encoding lacks, instead of raising UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """`text` in a colour ("good", "bad", "odd"), if `stream` (None: standard output) shows colours to a person."""
    stream = stream or sys.stdout
    terminal = getattr(stream, "rich_proxied_file", stream).isatty()  # while a progress bar is there
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not terminal:
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def print_json(record: dict[str, Any]) -> None:
    """One object on one line of standard output."""
    print(json.dumps(record, ensure_ascii="utf" not in sys.stdout.encoding.lower()), flush=True)


def print_failure(failure: Failure, *, as_json: bool = False) -> None:
    """Report what stops a command: one line on standard error, with a caret where there is a place in a text."""
    if as_json:
        print_json({"status": "error", "source": failure.source, "error": failure.as_json()})
    print(f"maskwright: {paint('error', 'bad', sys.stderr)}: {failure}", file=sys.stderr)
    if failure.text is not None:
        from maskwright.judge import caret

        print(indented(caret(failure.text, failure.offset)), file=sys.stderr)


def print_warnings(source: str, warnings: Iterable[str]) -> None:
    """What a schema says that is not enforced, on standard error."""
    for warning in warnings:
        print(f"maskwright: {paint('warning', 'odd', sys.stderr)}: {source}: {warning}", file=sys.stderr)


def indented(lines: str) -> str:
    """`lines` with two spaces before each."""
    return "  " + lines.replace("\n", "\n  ")


def tracked(items: Sequence[Item], what: str) -> Iterator[Item]:
    """`items` one by one, with a progress bar on standard error while they last, if it is a terminal."""
    if len(items) < _MANY or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # Lines for the same terminal are printed above the bar; standard output that goes elsewhere is left alone.
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        yield from bar.track(items, description=what)


def spread(values: Sequence[float], percentiles: Sequence[float]) -> dict[str, float]:
    """Average, percentiles and maximum of some figures, to three decimals: {"avg": ..., "p50": ..., "max": ...}."""
    import numpy as np

    array = np.asarray(values, np.float64)
    found = {"avg": array.mean()} | {f"p{p:g}": np.percentile(array, p) for p in percentiles} | {"max": array.max()}
    return {name: round(float(value), 3) for name, value in found.items()}


def print_table(title: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[Any]]]) -> None:
    """A table on standard output: a label and right-aligned cells a row."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for label, cells in rows:
        table.add_row(escape(label), *map(_cell, cells))
    Console(highlight=False).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
