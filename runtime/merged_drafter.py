"""Several drafters as one: their guesses in one tree.

Predictors grow a tree together (runtime/draft_growth.py), so that each goes on behind the others' guesses. The trees of
other drafters are grafted on, equal paths joined, and of all nodes the likeliest stay that the budget admits. What children
were drawn from is lost on the way: such trees are verified by match.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskwright.runtime.draft_growth import GrowingSession, PredictingDrafter
from maskwright.runtime.draft_tree import DraftTree, TreeBuilder
from maskwright.runtime.drafter import Budget, Drafter, Session, Text, Verified

__all__ = ["MergedDrafter"]


class MergedDrafter(Drafter):
    """A list of drafters.

    Attributes:
        drafters: them.
    """

    def __init__(self, drafters: Sequence[Drafter], name: str | None = None) -> None:
        self.drafters = tuple(drafters)
        self.name = "+".join(drafter.name for drafter in self.drafters) if name is None else name

    def begin(self, text: Text) -> Session:
        """See Drafter."""
        predicting = [drafter for drafter in self.drafters if isinstance(drafter, PredictingDrafter)]
        sessions = [drafter.begin(text) for drafter in self.drafters if not isinstance(drafter, PredictingDrafter)]
        if predicting:
            sessions.append(GrowingSession(text, [(drafter, drafter.predictor(text)) for drafter in predicting]))
        return sessions[0] if len(sessions) == 1 else _Merged(text, sessions)


class _Merged(Session):
    def __init__(self, text: Text, sessions: Sequence[Session]) -> None:
        self._text, self._sessions = text, sessions

    def propose(self, budget: Budget) -> DraftTree:
        """See Session."""
        builder = TreeBuilder(self._text.ids[-1] if self._text.ids else -1)
        for session in self._sessions:
            builder.graft(session.propose(budget))
        return _within(builder.build(), budget, self._text.trees)

    def observe(self, verified: Verified) -> None:
        """See Session."""
        for session in self._sessions:
            session.observe(verified)

    def finish(self) -> None:
        """See Session."""
        for session in self._sessions:
            session.finish()


def _within(tree: DraftTree, budget: Budget, branching: bool) -> DraftTree:
    """The likeliest nodes of a tree that a budget admits; of a tree that must not branch one chain."""
    chosen = np.zeros(len(tree), bool)
    chosen[0] = True
    continued = set[int]()
    value, expected, count = tree.value, 0.0, 0
    for node in np.argsort(-value, kind="stable").tolist():
        parent = int(tree.parent[node])
        if node == 0 or not chosen[parent] or (not branching and parent in continued):
            continue
        if not budget.admits(count, expected, float(value[node])):
            break
        chosen[node] = True
        continued.add(parent)
        count, expected = count + 1, expected + float(value[node])
    return tree.kept(chosen)[0]
