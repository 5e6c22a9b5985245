"""Tells a person that kernels are being compiled, which happens once on a machine and takes half a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event

__all__ = ["shown_compilation"]

_LIKELY = 146  # compilations of all kernels, those that numba makes for its own functions among them


class _Listener(event.Listener):  # type: ignore[misc]
    """Shows a bar on standard error from the first compilation on; nothing when all kernels are on disk."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self.count = 0

    def on_start(self, event: Any) -> None:
        if self._bar is None:
            self._show()

    def on_end(self, event: Any) -> None:
        self.count += 1
        if self._task is not None:
            self._bar.update(self._task, completed=self.count, total=max(_LIKELY, self.count))

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        if not console.is_terminal:
            console.print("Maskwright compiles its kernels, once on this machine: half a minute", soft_wrap=True)
        self._bar = Progress(
            TextColumn("compiling kernels, once on this machine"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=_LIKELY)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def shown_compilation() -> Iterator[None]:
    """Show what numba compiles while the context lasts, if anything."""
    listener = _Listener()
    try:
        with event.install_listener("numba:compile", listener):
            yield
    finally:
        listener.close()
