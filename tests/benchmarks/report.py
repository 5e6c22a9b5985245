"""What the benchmarks have in common: where and how figures were made, tables in Markdown, and plots.

parser = report.parser(__doc__)                 with --markdown and --svg
page = report.Report(parser.parse_args())
page.heading("Growth")
page.table(["tokens", "us"], [[100, 2.1], [1000, 2.2]])
page.plot("growth-length", lambda axes: axes.plot(...), title="...", xlabel="...", ylabel="...")
page.finish()                                   prints the page, and writes it where --markdown says
"""

from __future__ import annotations

import argparse
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["COLOURS", "MARKERS", "NAMES", "SHARED", "Report", "parser", "progress"]

NAMES = {"maskwright": "Maskwright", "xgrammar": "XGrammar", "llguidance": "llguidance"}

# Okabe and Ito's colours, told apart by every kind of eye; markers tell the curves apart without any.
COLOURS = {"maskwright": "#0072B2", "xgrammar": "#D55E00", "llguidance": "#009E73", "other": "#666666"}
MARKERS = {"maskwright": "o", "xgrammar": "s", "llguidance": "^", "other": "."}

Draw = Callable[[Any], None]  # draws on matplotlib axes

_PACKAGES = ("maskwright", "numba", "numpy", "torch", "transformers", "xgrammar", "llguidance")
_ROOT = Path(__file__).resolve().parents[2]
SHARED = _ROOT.parent / "shared"  # tokenizers and schemas


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that has the options of every report."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables to this file")
    made.add_argument("--svg", metavar="DIR", type=Path, help="draw the plots into this folder")
    return made


def progress(total: int) -> Progress:
    """A bar on standard error: of `total` pieces, in one task with a description."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("", total=total)
    return bar


class Report:
    """A page in the making."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._markdown: Path | None = options.markdown
        self._svg: Path | None = options.svg
        self._parts: list[str] = []

    def heading(self, title: str) -> None:
        self._parts.append(f"## {title}")

    def text(self, paragraph: str) -> None:
        self._parts.append(paragraph)

    def provenance(self) -> None:
        """The command, the machine, the versions and the date."""
        command = shlex.join([Path(sys.argv[0]).name, *_told(sys.argv[1:])])
        found = ", ".join(f"{name} {number}" for name in _PACKAGES if (number := _version(name)))
        self._parts.append(
            f"Command: `{command}`. Machine: {_machine()}; Python {platform.python_version()}, {found}. "
            f"Commit {_commit()}. Date: {datetime.now(UTC):%Y-%m-%d}."
        )

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table; floats get as many digits as they are good for."""
        lines = [columns, ["---"] * len(columns), *rows]
        self._parts.append("\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines))

    def plot(self, name: str, draw: Draw, **settings: Any) -> None:
        """Draw into `name`.svg and show it in the page, where --svg is given.

        Args:
            name: of the file.
            draw: is given matplotlib axes.
            settings: for `axes.set`: title, xlabel, ylabel, xscale, ...
        """
        self.panels(name, {settings.pop("title", name): draw}, size=(7.6, 3.6), **settings)

    def panels(
        self,
        name: str,
        draws: Mapping[str, Draw],
        columns: int = 1,
        size: tuple[float, float] = (3.2, 2.6),
        **settings: Any,
    ) -> None:
        """The same with several axes side by side, by their titles, `columns` a line, each of `size` in inches."""
        if self._svg is None:
            return
        self._svg.mkdir(parents=True, exist_ok=True)
        matplotlib = import_module("matplotlib")
        rows = -(-len(draws) // columns)
        # Text stays text: it can be searched and is small. A fixed salt and no date: the same figures, the same file.
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9}):
            shape = (size[0] * columns, size[1] * rows)
            figure = import_module("matplotlib.figure").Figure(figsize=shape, layout="constrained")
            labels: dict[str, Any] = {}
            for number, (title, draw) in enumerate(draws.items(), 1):
                axes = figure.add_subplot(rows, columns, number)
                draw(axes)
                axes.set(title=title, **settings)
                axes.grid(color="0.9", linewidth=0.6)
                axes.set_axisbelow(True)
                axes.spines[["top", "right"]].set_visible(False)
                handles, names = axes.get_legend_handles_labels()
                labels |= dict(zip(names, handles, strict=True))
            if labels:
                figure.legend(labels.values(), labels.keys(), loc="outside right upper", frameon=False, fontsize=8)
            figure.savefig(self._svg / f"{name}.svg", metadata={"Date": None}, facecolor="white")
        self._parts.append(f"![{', '.join(draws)}]({self._svg.name}/{name}.svg)")

    def finish(self) -> None:
        """Print the page, and write it where --markdown says."""
        page = "\n\n".join(self._parts) + "\n"
        Console().print(Markdown(page)) if sys.stdout.isatty() else print(page)
        if self._markdown is not None:
            self._markdown.parent.mkdir(parents=True, exist_ok=True)
            self._markdown.write_text(page, "utf-8")


def _told(arguments: Sequence[str]) -> list[str]:
    """The arguments that say what is measured, not where it is written."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and not argument.startswith(("--markdown", "--svg")):
            kept.append(argument)
        skip = not skip and argument in ("--markdown", "--svg")
    return kept


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    """The commit that is measured, and whether it is all of it."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def _machine() -> str:
    import os

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {names[0] if names else platform.processor()}, {memory:.0f} GiB, {platform.system()}"
