"""A draft model's side of speculation: one text, and behind it a tree that grows by some nodes a forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from maskwright.runtime.tree_forward import MaskedModel

if TYPE_CHECKING:
    import torch

__all__ = ["GrowingForward"]


class GrowingForward:
    """A model's cache of one text and of the nodes shown so far.

    Attributes:
        forwards: forwards so far.
    """

    def __init__(self, model: Any) -> None:
        self._masked = MaskedModel(model)
        self._length = 0  # tokens of the text
        self._columns: dict[int, int] = {}  # of the nodes shown
        self._lines: dict[int, list[int]] = {0: []}  # of each node the columns on the way to it, its own the last
        self._positions = np.zeros((1, 0), np.int64)

    @property
    def forwards(self) -> int:
        """How often the model was asked."""
        return self._masked.forwards

    def read(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append to the text, behind which there are no nodes; float32 [V] after the last token. One at least."""
        count = len(tokens)
        position = self._length + np.arange(count)[None]
        self._positions = np.concatenate([self._positions, position], 1)
        visible = np.ones((1, count) if not self._length else (1, count, self._length + count), bool)
        if self._length:
            visible[0, :, self._length :] = np.tri(count, dtype=bool)
        logits = self._masked.forward(np.array([tokens], np.int64), visible, position, self._positions, 1)
        self._length += count
        return logits[0, -1].float()

    def grow(self, nodes: Sequence[int], parents: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
        """Show new nodes whose parents were shown (0: the text's end); float32 [n, V] behind each of them."""
        count, before = len(nodes), self._positions.shape[1]
        visible = np.zeros((1, count, before + count), bool)
        visible[0, :, : self._length] = True
        position = np.zeros((1, count), np.int64)
        for place, (node, parent) in enumerate(zip(nodes, parents, strict=True)):
            line = self._lines[node] = [*self._lines[parent], before + place]
            self._columns[node] = before + place
            visible[0, place, line] = True
            position[0, place] = self._length + len(line) - 1
        self._positions = np.concatenate([self._positions, position], 1)
        logits = self._masked.forward(np.array([tokens], np.int64), visible, position, self._positions, count)
        return logits[0, -count:].float()

    def keep(self, path: Sequence[int]) -> None:
        """Go on behind a path of nodes, which become text; all others are forgotten."""
        source = np.array([[self._columns[node] for node in path]], np.int64)
        self._masked.keep(self._length, source)
        self._positions = np.concatenate([self._positions[:, : self._length], self._positions[:, source[0]]], 1)
        self._length += len(path)
        self._columns, self._lines = {}, {0: []}
