"""Trees of a draft model with a constant number of children a level, drawn without replacement (RSD-C).

The likeliest b of logits plus Gumbel noise are b draws without replacement, in descending order; here they are drawn one
after the other, which is the same law. "without_replacement" verifies them in that order.

Source: Recursive Speculative Decoding, Jeon et al. 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

from maskwright.runtime.draft_model import DraftModel, ModelSession
from maskwright.runtime.draft_tree import TreeBuilder
from maskwright.runtime.drafter import Budget, Drafter, Session, Text

__all__ = ["LevelDrafter"]


class LevelDrafter(Drafter):
    """RSD-C."""

    name = "rsd-c"

    def __init__(self, model: DraftModel, branches: Sequence[int] = (3, 2, 1, 1)) -> None:
        """So many children for each node of the first level, the second, ..."""
        self.model, self.branches = model, tuple(branches)

    def begin(self, text: Text) -> Session:
        """See Drafter."""
        return _Levels(self, text)


class _Levels(ModelSession):
    def __init__(self, drafter: LevelDrafter, text: Text) -> None:
        super().__init__(drafter.model, text)
        self._branches = drafter.branches if text.trees else (1,) * len(drafter.branches)

    def _grow(self, builder: TreeBuilder, budget: Budget) -> None:
        level, expected = [(0, 1.0)], 0.0
        for width in self._branches:
            level = [(node, value) for node, value in level if not (node and self._seen.ends(builder.token(node)))]
            if not level:
                return
            self._seen.show([node for node, _ in level])
            below = list[tuple[int, float]]()
            for node, value in level:
                law = self._seen.law(node)
                left, rest = law.copy(), value
                for _ in range(min(width, int((law > 0).sum()))):
                    if not budget.admits(len(builder) - 1, expected, rest):
                        break
                    token = self._seen.choose(left)
                    left[token] = 0.0
                    share = value * float(law[token])
                    below.append((self._seen.add(node, token, law), share))
                    expected, rest = expected + share, rest - share
            level = below
