"""Drawings of what was measured. matplotlib is not among what Maskwright needs: it is imported here, when asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from maskwright.cli_failures import CommandError

__all__ = ["check_plot", "draw_masks"]

_SUFFIXES = (".png", ".svg", ".pdf")
_CURVES = 8  # schemas that get a curve of their own
_MARKS = (0.5, 0.1, 0.01, 0.001)  # shares that are slower: p50, p90, p99, p99.9


def check_plot(name: str) -> None:
    """Raise CommandError if a drawing cannot be written to `name`; said before anything is measured."""
    path = Path(name)
    if path.suffix.lower() not in _SUFFIXES:
        raise CommandError(f"--plot {name}: name a file that ends in {', '.join(_SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise CommandError(f"--plot {name}: there is no folder {path.parent}", kind="unreadable")
    if find_spec("matplotlib") is None:
        raise CommandError('--plot needs matplotlib: pip install "maskwright[plot]"', kind="missing")


def draw_masks(masks_us: Mapping[str, Sequence[float]], name: str) -> None:
    """Draw which share of masks takes longer than a time, both logarithmic, so that the tail can be seen.

    Args:
        masks_us: microseconds a mask, by schema.
        name: the file to write.
    """
    figure = import_module("matplotlib.figure").Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    curves = dict(masks_us) if 1 < len(masks_us) <= _CURVES else {}
    curves["all" if len(masks_us) > 1 else next(iter(masks_us))] = [t for times in masks_us.values() for t in times]
    for number, (label, times) in enumerate(curves.items()):
        ordered = np.sort(np.asarray(times))
        slower = 1 - np.arange(len(ordered)) / len(ordered)  # the share that takes at least as long
        last = number == len(curves) - 1
        axes.step(
            ordered, slower, where="post", label=label, linewidth=2 if last else 1, color="black" if last else None
        )
    for share in _MARKS:
        axes.axhline(share, color="0.85", linewidth=0.8, zorder=0)
        axes.annotate(f"p{100 * (1 - share):g}", (1, share), xycoords=("axes fraction", "data"), xytext=(4, -3),
                      textcoords="offset points", fontsize=8, color="0.4")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="time between masks (μs)", ylabel="share of masks that take longer")
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(name, dpi=150)
