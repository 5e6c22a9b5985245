"""The progress bar of `generate(..., progress=True)`: answers and tokens, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from maskwright.decoding import Row

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(rows: list[Row]) -> Iterator[Callable[[], None]]:
    """A bar while the context lasts; what it gives is to be called after each step."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("Generating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("answers, {task.fields[tokens]:,} tokens"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=len(rows), tokens=0)

        def update() -> None:
            finished = sum(row.finish_reason is not None for row in rows)
            bar.update(task, completed=finished, tokens=sum(len(row.tokens) for row in rows))

        yield update
