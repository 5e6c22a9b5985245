"""The masks of one step, where its logits are.

    numba, in CPU memory     bits, int32 [B, W], filled anew: what a number would be looked up for lies in the same memory
    any other back end       row numbers, int32 [B], of the mask table's copy there: 4 bytes a sequence

Bits are also what is shipped where the grammars have different mask tables.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.mask_table import MaskTable
from maskwright.grammars.errors import BatchError
from maskwright.kernels.backends import Backend
from maskwright.kernels.bitmask import count_allowed
from maskwright.kernels.device_masks import sent
from maskwright.runtime.batch import BatchGrammarMatcher
from maskwright.runtime.matcher import GrammarMatcher

if TYPE_CHECKING:
    import torch

__all__ = ["BitMasks", "NumberedMasks", "StepMasks", "common_table", "masks_for"]


@dataclass(frozen=True, slots=True)
class StepMasks:
    """The masks of B rows of logits, on their device; good until the next ones are asked for.

    Attributes:
        table: int32 [R, W].
        rows: int32 [B], which row of the table is whose; None: row b is that of b.
        allowed: how many tokens each of the B masks allows.
    """

    table: torch.Tensor
    rows: torch.Tensor | None
    allowed: list[int]

    def only(self, index: int) -> StepMasks:
        """The mask of one row of logits."""
        own = slice(index, index + 1)
        if self.rows is None:
            return StepMasks(self.table[own], None, self.allowed[own])
        return StepMasks(self.table, self.rows[own], self.allowed[own])


class BitMasks:
    """Masks as bits: filled in memory of their own, and copied to the device if it has another."""

    def __init__(self, rows: int, words: Sequence[int], device: torch.device) -> None:
        """Memory for `rows` masks; `words` are the different numbers of words that the grammars' masks have."""
        self._masks, self._device = np.zeros((rows, max(words)), np.int32), device
        self._counts = np.zeros(rows, np.int64)  # of tokens that each of the masks allows
        self._batch = BatchGrammarMatcher(1) if len(set(words)) == 1 else None

    def of(self, matchers: Sequence[GrammarMatcher]) -> StepMasks:
        """The next masks of some matchers, as many as there is room for at most."""
        import torch

        masks = self._masks[: len(matchers)]
        if self._batch is None or len(matchers) == 1:
            for mask, matcher in zip(masks, matchers, strict=True):
                matcher.fill_next_token_bitmask(mask[: matcher.compiled.tokens.words])
                mask[matcher.compiled.tokens.words :] = 0
        else:
            try:
                self._batch.batch_fill_next_token_bitmask(matchers, self._masks)
            except BatchError as error:
                raise next(iter(error.failures.values())) from None
        count_allowed(masks, self._counts)
        shipped = torch.from_numpy(masks) if self._device.type == "cpu" else sent(masks, self._device)
        return StepMasks(shipped, None, self._counts[: len(matchers)].tolist())


class NumberedMasks:
    """Masks as rows of a mask table, of which the device has a copy.

    Args:
        table: that of the matchers' compilers.
        device: where the masks are wanted.
        ended: int32 [W], the mask of rows without a matcher; None: there are none.
    """

    def __init__(self, table: MaskTable, device: torch.device, ended: npt.NDArray[np.int32] | None = None) -> None:
        self._table, self._copy, self._batch = table, table.copy_on(device), BatchGrammarMatcher(1)
        self._ended = -1 if ended is None else table.add(ended)
        if ended is not None:
            weakref.finalize(self, table.release, self._ended)

    def of(self, matchers: Sequence[GrammarMatcher | None]) -> StepMasks:
        """The next masks of some matchers."""
        try:
            numbers = self._batch.batch_mask_rows(matchers)
        except BatchError as error:
            raise next(iter(error.failures.values())) from None
        numbers[numbers < 0] = self._ended
        self._copy.sync()
        return StepMasks(self._copy.rows, self._copy.ship(numbers), self._table.allowed(numbers))


def masks_for(
    grammars: Sequence[CompiledGrammar], rows: int, device: torch.device, backend: Backend
) -> BitMasks | NumberedMasks:
    """What gives the masks of up to `rows` matchers of these grammars to a back end on a device."""
    table = common_table(grammars)
    if backend == "numba" or table is None:
        return BitMasks(rows, sorted({grammar.tokens.words for grammar in grammars}), device)
    return NumberedMasks(table, device)


def common_table(grammars: Sequence[CompiledGrammar]) -> MaskTable | None:
    """The mask table that all these grammars' compilers have, if it is one."""
    tables = {grammar.automaton.mask_table for grammar in grammars}
    return tables.pop() if len(tables) == 1 else None
