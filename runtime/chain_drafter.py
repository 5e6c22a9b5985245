"""Chains of a draft model: one, or several independent ones (SpecTr).

Each chain draws token after token from the draft model's masked distribution. Chains that have drawn the same so far share
their nodes, and the draws are remembered in their order, with repetitions: that is what "multi_round" and "k_sequential"
are exact for. One chain is what "ratio" verifies. Where the target takes its likeliest tokens, the first of the chain's are
the likeliest ones, and different.

Sources: Leviathan, Kalman, Matias 2023; SpecTr, Sun et al. 2023.
"""

from __future__ import annotations

import numpy as np

from maskwright.runtime.draft_model import DraftModel, ModelSession
from maskwright.runtime.draft_tree import TreeBuilder
from maskwright.runtime.drafter import Budget, Drafter, Session, Text

__all__ = ["ChainDrafter"]


class ChainDrafter(Drafter):
    """Chains of a draft model."""

    def __init__(self, model: DraftModel, length: int = 5, chains: int = 1) -> None:
        """So many chains, none longer than `length`."""
        self.model, self.length, self.chains = model, length, chains
        self.name = "model" if chains == 1 else "spectr"

    def begin(self, text: Text) -> Session:
        """See Drafter."""
        return _Chains(self, text)


class _Chains(ModelSession):
    def __init__(self, drafter: ChainDrafter, text: Text) -> None:
        super().__init__(drafter.model, text)
        self._length = drafter.length
        self._chains = drafter.chains if text.trees else 1

    def _grow(self, builder: TreeBuilder, budget: Budget) -> None:
        ends, values, expected = [0] * self._chains, [1.0] * self._chains, 0.0
        for depth in range(self._length):
            going = [
                chain
                for chain, end in enumerate(ends)
                if not (depth and self._seen.ends(builder.token(end)))
                and budget.admits(len(builder) - 1, expected, values[chain])
            ]
            ends, values = [ends[chain] for chain in going], [values[chain] for chain in going]
            if not ends:
                return
            self._seen.show(ends)
            first = np.argsort(-self._seen.law(0), kind="stable") if not depth and self._text.chance is None else None
            for chain, end in enumerate(ends):
                law = self._seen.law(end)
                if self._text.choose is not None and chain == 0:
                    token = self._text.choose(self._seen.logits(end), self._seen.mask(end), depth)
                elif first is not None:
                    token = int(first[chain])
                    if law[token] <= 0:
                        continue
                else:
                    token = self._seen.choose(law)
                size = len(builder)
                ends[chain] = self._seen.add(end, token, law)
                values[chain] *= float(law[token])
                expected += values[chain] if len(builder) > size else 0.0
