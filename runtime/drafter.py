"""What drafters have in common: the text that they draft for, the interface, and what they are told afterwards.

    drafter = RecyclingDrafter()                     shared by any number of texts, keeps what it has learned
    session = drafter.begin(text)                    for one text
    tree = session.propose(budget)                   -> masks, one forward, verification ->
    session.observe(verified)                        what came of it; `text` has grown

A drafter may propose anything: verification decides what is emitted. What it costs and how often it is right are matters
of speed only. So what drafters have learned may be shared between texts, and threads, without changing any output (under
the verifier "match"; ratios emit the same law, in other draws).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from maskwright.runtime.chance import Chance
from maskwright.runtime.draft_tree import DraftTree
from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["Budget", "Drafter", "Session", "Text", "Verified"]


@dataclass(slots=True, eq=False)
class Text:
    """One text in the making.

    Attributes:
        ids: tokens of the prompt, and behind them those written so far.
        prompt: how many are the prompt's.
        matcher: behind the last of them. A session may move it, and puts it back.
        spell: the tokenizer's tokens of a text, none where they write something else.
        chance: where drawn drafts come from; None: drafts are not drawn, since the target takes its likeliest token.
        law: from logits and mask of a draft model to the distribution that the sampling options make of it, float64 [V].
        choose: where the target's own random numbers can be had in advance, what they make of a draft model's logits and
            mask, so many tokens from here: then a drafter that agrees with the target draws the same tokens.
        trees: whether drafts may branch.
    """

    ids: list[int]
    prompt: int
    matcher: GrammarMatcher
    spell: Callable[[str], Sequence[int]]
    chance: Chance | None = None
    law: Callable[[Any, npt.NDArray[np.int32]], npt.NDArray[np.float64]] | None = None
    choose: Callable[[Any, npt.NDArray[np.int32], int], int] | None = None
    trees: bool = True

    def mask(self) -> npt.NDArray[np.int32]:
        """The mask where the matcher is, int32 [W]."""
        words = np.empty(self.matcher.compiled.tokens.words, np.int32)
        self.matcher.fill_next_token_bitmask(words)
        return words


@dataclass(frozen=True, slots=True)
class Verified:
    """What the target made of a tree.

    Attributes:
        tree: as it was verified.
        taken: the path of the nodes taken, from below the root.
        appended: the tokens that the text has grown by: those of `taken` and mostly one more, and forced ones behind it.
        rows: the target's logits [N, V] behind each node; a tensor.
        masks: int32 [N, W], the masks there.
    """

    tree: DraftTree
    taken: Sequence[int]
    appended: Sequence[int]
    rows: Any = field(repr=False, default=None)
    masks: Any = field(repr=False, default=None)


class Budget(Protocol):
    """How many nodes are worth verifying (runtime/draft_budgets.py)."""

    def admits(self, nodes: int, expected: float, value: float) -> bool:
        """Whether one more node pays.

        Args:
            nodes: in the tree so far, without the root.
            expected: how many of them the target is expected to take.
            value: the probability that it comes to the next one, as far as the drafter knows.
        """


class Drafter(ABC):
    """A source of drafts; see the module's docstring."""

    name: str
    """As the option `draft` calls it."""

    @abstractmethod
    def begin(self, text: Text) -> Session:
        """Draft for a text."""


class Session(ABC):
    """A drafter at work on one text."""

    @abstractmethod
    def propose(self, budget: Budget) -> DraftTree:
        """A tree whose every node the grammar allows, within the budget; perhaps the root alone."""

    def observe(self, verified: Verified) -> None:  # noqa: B027
        """Learn from a verified tree. `text` has grown, and its matcher with it."""

    def finish(self) -> None:  # noqa: B027
        """The text is complete."""
