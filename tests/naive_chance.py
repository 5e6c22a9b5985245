"""Every outcome of a random procedure with its exact probability: an oracle for drafters and verifiers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import TypeVar

import numpy as np

Outcome = TypeVar("Outcome", bound=Hashable)


class Branching:
    """A Chance that follows a script, and notes where else it could have gone."""

    def __init__(self, script: list[int]) -> None:
        self._script = script
        self.taken: list[int] = []
        self.others: list[list[int]] = []
        self.probability = 1.0

    def accepts(self, probability: float) -> bool:
        assert -1e-12 <= probability <= 1 + 1e-12
        return bool(self._choose(np.array([1 - probability, probability])))

    def draws(self, weights: np.ndarray) -> int:
        assert (weights >= 0).all() and weights.sum() > 0
        return self._choose(weights / weights.sum())

    def _choose(self, law: np.ndarray) -> int:
        possible = np.flatnonzero(law > 0).tolist()
        place = len(self.taken)
        choice = self._script[place] if place < len(self._script) else possible[0]
        self.taken.append(choice)
        self.others.append([other for other in possible if other > choice])
        self.probability *= float(law[choice])
        return choice


def law_of(procedure: Callable[[Branching], Outcome]) -> dict[Outcome, float]:
    """The probability of each outcome of a procedure that takes all its chances from the argument."""
    law: dict[Outcome, float] = defaultdict(float)
    scripts: list[list[int]] = [[]]
    while scripts:
        branching = Branching(scripts.pop())
        law[procedure(branching)] += branching.probability
        fixed = len(branching._script)
        for place in range(fixed, len(branching.taken)):
            scripts += [[*branching.taken[:place], other] for other in branching.others[place]]
    return dict(law)
