"""Trees of a draft model grown where acceptance is likeliest (DySpec).

A heap holds the places where a child could be drawn, by the probability that verification comes there. The best is taken:
a token y is drawn from R, what is left of the node's distribution, and two places come back, one below the child with value
v R(y), one for its next sibling with value v (1 - R(y)), R without y. Draws are without replacement, verified in order by
"without_replacement".

Source: DySpec, Xiong et al. 2024. One forward of the draft model a node; its layered variant is not built.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

import numpy as np
import numpy.typing as npt

from maskwright.runtime.draft_model import DraftModel, ModelSession
from maskwright.runtime.draft_tree import TreeBuilder
from maskwright.runtime.drafter import Budget, Drafter, Session, Text

__all__ = ["DynamicDrafter"]


class DynamicDrafter(Drafter):
    """DySpec."""

    name = "dyspec"

    def __init__(self, model: DraftModel, nodes: int = 12) -> None:
        """Trees of at most so many nodes, whatever the budget."""
        self.model, self.nodes = model, nodes

    def begin(self, text: Text) -> Session:
        """See Drafter."""
        return _Dynamic(self, text)


class _Dynamic(ModelSession):
    def __init__(self, drafter: DynamicDrafter, text: Text) -> None:
        super().__init__(drafter.model, text)
        self._nodes = drafter.nodes

    def _grow(self, builder: TreeBuilder, budget: Budget) -> None:
        order, expected = count(), 0.0
        heap: list[tuple[float, int, int, npt.NDArray[np.float64] | None]] = [(-1.0, next(order), 0, None)]
        while heap and len(builder) <= self._nodes:
            negative, _, node, left = heappop(heap)
            value = -negative
            if not budget.admits(len(builder) - 1, expected, value):
                return
            self._seen.show([node])
            law = self._seen.law(node)
            if left is None:
                left = law
            token = self._seen.choose(left)
            share = float(left[token]) / float(left.sum())
            child = self._seen.add(node, token, law)
            expected += value * share
            if not self._seen.ends(token):
                heappush(heap, (-value * share, next(order), child, None))
            left = left.copy()
            left[token] = 0.0
            if self._text.trees and left.sum() > 0 and value * (1 - share) > 0:
                heappush(heap, (-value * (1 - share), next(order), node, left))
