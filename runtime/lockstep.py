"""Matchers that go on together, a token each a step: all accepts, and the masks behind them, in one call of a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maskwright.kernels import batches as kernels
from maskwright.kernels import layout as L
from maskwright.runtime.batch import BatchGrammarMatcher
from maskwright.runtime.batch_call import BatchCall, checked
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.runtime.targets import Target

__all__ = ["Lockstep"]


class Lockstep:
    """Some matchers and the rows of a bitmask that their masks go to.

    Args:
        batch: fills the masks that matchers do not remember.
        matchers: at least one, none of them twice, over one vocabulary; none has ended.
        bitmask: int32 [B, ceil(V / 32)], on the CPU.
        rows: the row of each matcher.

    Attributes:
        matchers, rows: as given.
    """

    def __init__(
        self, batch: BatchGrammarMatcher, matchers: Sequence[GrammarMatcher], bitmask: Any, rows: Sequence[int]
    ) -> None:
        self.matchers, self.rows = [*matchers], [*rows]
        self._batch, self._bitmask = batch, bitmask
        tokens = matchers[0].compiled.tokens
        self._call = BatchCall(self.matchers, checked(self.matchers), tokens=[L.NO_TOKEN] * len(self.matchers))
        self._call.aim(Target.of(bitmask, tokens.words, tokens.vocab_size), self.rows)
        self._alone = [number for number, matcher in enumerate(matchers) if matcher._unique is not None]

    def fill(self) -> None:
        """Write the masks of all matchers to their rows; raises what batch_fill_next_token_bitmask raises."""
        self._fill(range(len(self.matchers)))

    def step(self, tokens: Sequence[int]) -> tuple[list[int], list[int]]:
        """Move each matcher over its token, and write the next masks of those that have not ended then.

        Returns:
            The numbers of matchers whose grammars do not allow their tokens (these have not moved, and no mask counts then),
            and of those whose texts have ended.

        Raises:
            MatcherError: a token is not in the vocabulary.
            BatchError: some masks could not be computed; it has the error of each, by its number among the unfilled.
        """
        call = self._call
        for number, token in enumerate(tokens):
            call.tokens[number] = token
        for number in self._alone:
            call.tokens[number] = L.NO_TOKEN
        count = kernels.go_on(call.address)
        if not count:
            return [], []
        refused, ended, unfilled = list[int](), list[int](), list[int]()
        for number in call.todo[:count]:
            matcher, status = self.matchers[number], call.statuses[number]
            accepted = matcher.accept_token(tokens[number]) if status > L.REJECTED else status == L.OK
            if not accepted:
                refused.append(number)
            elif matcher.is_terminated():
                ended.append(number)
            else:
                unfilled.append(number)
        if unfilled and not refused:
            self._fill(unfilled)
        return refused, ended

    def _fill(self, numbers: Sequence[int]) -> None:
        if len(numbers) == 1:
            self.matchers[numbers[0]].fill_next_token_bitmask(self._bitmask, self.rows[numbers[0]])
            return
        matchers, rows = [self.matchers[number] for number in numbers], [self.rows[number] for number in numbers]
        self._batch.batch_fill_next_token_bitmask(matchers, self._bitmask, rows)
