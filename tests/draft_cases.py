"""Drafters that tests plant, and the statistics that judge laws of what is sampled with them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Hashable, Mapping

from maskwright.runtime.draft_tree import DraftTree, TreeBuilder
from maskwright.runtime.drafter import Budget, Drafter, Session, Text

NAMES = ["auto", "grammar", "lookup", "suffix", "recycling", "automaton", "trigram"]
ALPHA = 1e-3


class WildDrafter(Drafter):
    """Random trees, of tokens that mostly are not allowed."""

    name = "wild"

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def begin(self, text: Text) -> Session:
        drafter = self

        class Wild(Session):
            def propose(self, budget: Budget) -> DraftTree:
                builder, rng = TreeBuilder(text.ids[-1]), drafter._random
                allowed = text.matcher.allowed_token_ids().tolist()
                size = text.matcher.compiled.tokens.vocab_size
                for _ in range(rng.randrange(12)):
                    token = rng.choice(allowed) if rng.random() < 0.5 else rng.randrange(size)
                    builder.add(rng.randrange(len(builder)), token, rng.random())
                return builder.build()

        return Wild()


def p_value(counts: Counter[Hashable], law: Mapping[Hashable, float]) -> float:
    """Of Pearson's statistic, cells that expect less than 5 pooled; by Wilson and Hilferty's approximation."""
    total = sum(counts.values())
    assert set(counts) <= set(law), "an answer of probability zero"
    cells, rare = list[tuple[float, float]](), [0.0, 0.0]
    for answer, probability in law.items():
        expected = total * probability
        if expected >= 5:
            cells.append((counts[answer], expected))
        else:
            rare[0], rare[1] = rare[0] + counts[answer], rare[1] + expected
    if rare[1] > 0:
        cells.append((rare[0], rare[1]))
    statistic = sum((seen - expected) ** 2 / expected for seen, expected in cells)
    freedom = len(cells) - 1
    third = 2 / (9 * freedom)
    return 0.5 * math.erfc((((statistic / freedom) ** (1 / 3) - (1 - third)) / math.sqrt(third)) / math.sqrt(2))


def note(found: dict[str, float], name: str, value: float) -> None:
    """Keep a p-value, and show it: long runs take long."""
    found[name] = value
    print(f"{name}: p = {value:.3f}", flush=True)


def holm(p_values: Mapping[str, float]) -> list[str]:
    """The hypotheses that are rejected at ALPHA together."""
    rejected = list[str]()
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        if p_values[name] > ALPHA / (len(p_values) - rank):
            break
        rejected.append(name)
    return rejected
