"""From a drawn token to the one that is taken: the draw if the text can be completed behind it, else another.

draw --accepted--> fits the budget? --yes--> taken
 ^                        | no: take it back
 +---- draw again --------+---- too often, or nothing left ----> the next token of the known completion
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from maskwright.budget import Budget
from maskwright.grammars.errors import MatcherError
from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["Choice", "choose"]

_MAX_BANS = 64
"""Draws that may be put back at one place before the known completion is taken instead; at the end of the budget a
vocabulary may hold many thousand tokens that no longer fit."""


@dataclass(slots=True)  # not frozen: that would take three times as long to make, for every token
class Choice:
    """What was taken; matcher and budget stand behind it.

    Attributes:
        token: -1 where the text is complete as it is, and whatever else could follow does not fit.
        ends: whether it is a token that ends the text.
        planned: whether it is of the known completion, and not drawn.
        banned: how many draws were put back before it.
    """

    token: int
    ends: bool = False
    planned: bool = False
    banned: int = 0

    @property
    def finishes(self) -> bool:
        return self.ends or self.token < 0


def choose(matcher: GrammarMatcher, budget: Budget, token: int, redraw: Callable[[int], int]) -> Choice:
    """Take a drawn token, or another one that can be completed.

    Args:
        matcher: behind the text so far.
        budget: of that text.
        token: the draw.
        redraw: given a token that was put back, draws among those that were not, or gives -1 where none is left.

    Raises:
        MatcherError: a token was drawn that the grammar does not allow.
        GrammarError: a limit of the grammar is reached.
    """
    for banned in range(_MAX_BANS):
        if not matcher.accept_token(token):
            raise MatcherError(f"token {token} was drawn although the mask disallows it")
        if matcher.is_terminated():
            return Choice(token, ends=True, banned=banned)
        if budget.admit([token]):
            return Choice(token, banned=banned)
        matcher.rollback()
        token = redraw(token)
        if token < 0:
            break
    planned = budget.next_token()
    if planned is None:
        return Choice(-1, banned=banned + 1)
    if not matcher.accept_token(planned) or not budget.admit([planned]):
        raise MatcherError("the text that should complete the answer within its budget does not")
    return Choice(planned, planned=True, banned=banned + 1)
