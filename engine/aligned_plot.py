"""The drawing of a sample: the bounds closing, and what share each text has. matplotlib is imported here, when asked for."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from maskwright.aligned_result import AlignedResult

__all__ = ["draw_sample"]

_SHOWN = 12  # texts
_WIDTH = 28  # characters of each


def draw_sample(result: AlignedResult, path: str | os.PathLike[str] | None = None) -> Any:
    """A matplotlib figure with two axes, written to `path` (its suffix names the format) where one is given.

    Left: certified bounds of log Z over forward tokens, and the estimate. Right: the likeliest texts with their shares,
    by weight and as they were drawn.
    """
    figure = import_module("matplotlib.figure").Figure(figsize=(10, 3.8), layout="constrained")
    bounds, shares = figure.subplots(1, 2)
    tokens = [entry[0] for entry in result.history]
    low, high = (np.array([entry[place] for entry in result.history]) for place in (1, 2))
    if len(tokens):
        seen = np.isfinite(low)
        bounds.step(tokens, high, where="post", color="#0072B2", label="certainly at most")
        bounds.step(np.array(tokens)[seen], low[seen], where="post", color="#009E73", label="certainly at least")
    if np.isfinite(result.log_z):
        error = result.log_z_se if np.isfinite(result.log_z_se) else 0.0
        bounds.axhline(result.log_z, color="#D55E00", linestyle="--", label="estimate")
        bounds.axhspan(result.log_z - 2 * error, result.log_z + 2 * error, color="#D55E00", alpha=0.15, linewidth=0)
    bounds.set(xlabel="forward tokens", ylabel="log Z (nats)", title=f"{result.method}: {len(result)} texts")
    bounds.legend(fontsize=8, frameon=False)
    weighted, drawn = result.posterior(), result.posterior(weighted=False)
    texts = list(weighted)[:_SHOWN][::-1]
    places = np.arange(len(texts))
    shares.barh(places + 0.2, [weighted[text] for text in texts], 0.4, color="#0072B2", label="by weight")
    shares.barh(places - 0.2, [drawn[text] for text in texts], 0.4, color="0.7", label="as drawn")
    labels = [text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…" for text in texts]
    # Texts are shown as they are: a dollar sign begins no formula.
    shares.set_yticks(places, [repr(label).replace("$", r"\$") for label in labels], fontsize=8)
    shares.set(xlabel="share", title=f"the likeliest of {len(weighted)} texts")
    shares.legend(fontsize=8, frameon=False)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
