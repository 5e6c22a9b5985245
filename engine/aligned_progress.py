"""The progress bar of sampling: texts, and how near the certified bounds of Z have come to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from maskwright.runtime.samples import Progress

__all__ = ["aligned_bar"]


@contextmanager
def aligned_bar(method: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on standard error while the context lasts; what it gives is to be called after each batch."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn(f"Sampling ({method})"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("texts, {task.fields[tokens]:,} forward tokens, {task.fields[bounds]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, tokens=0, bounds="")

        def update(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                tokens=progress.forward_tokens,
                bounds=spelled_bounds(progress.log_z_bounds),
            )

        yield update


def spelled_bounds(bounds: tuple[float, float]) -> str:
    """Certified bounds of log Z in words."""
    low, high = bounds
    return f"log Z <= {high:.2f}" if low == -float("inf") else f"log Z in [{low:.2f}, {high:.2f}]"
