"""What the kernels of one call for many matchers read and write (layout: BATCH_*), and what is checked before.

call = BatchCall(matchers, checked(matchers))
call.aim(Target.of(bitmask, ...), rows)           masks, to rows of a bitmask
kernels.fill_warm(call.address)
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.compile.grammar import CompiledGrammar
from maskwright.grammars.errors import MatcherError
from maskwright.kernels import batches as kernels
from maskwright.kernels import layout as L
from maskwright.kernels.automaton import accept_token, fill
from maskwright.kernels.jit import address_of
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.runtime.targets import Target

__all__ = ["BatchCall", "check_count", "check_going", "checked"]

_GRAMMAR, _PAIR = attrgetter("compiled"), attrgetter("_pair")


class BatchCall:
    """Matchers and what is asked of them; `address` is where the header lies.

    Args:
        matchers: all different, with the grammars `grammars`.
        tokens: one for each, or none.
    """

    def __init__(
        self,
        matchers: Sequence[GrammarMatcher],
        grammars: set[CompiledGrammar],
        tokens: Sequence[int] = (),
    ) -> None:
        count = len(matchers)
        self.matchers = matchers
        self.target: Target | None = None
        self.indices: list[int] | None = None
        self.automata = {grammar.automaton for grammar in grammars}
        self.pairs = b"".join(map(_PAIR, matchers))
        self.tokens = array("q", tokens)
        self.todo, self.statuses = array("q", bytes(8 * count)), array("q", bytes(8 * count))
        self.rows = self.keys = self._wanted = array("q")
        self.header = array("q", bytes(8 * L.BATCH_SIZE))
        self.address = self.header.buffer_info()[0]
        self.header[L.BATCH_COUNT] = count
        self.header[L.BATCH_FILL], self.header[L.BATCH_ACCEPT] = address_of(fill), address_of(accept_token)
        self._addresses = array("q", self.pairs)
        for slot, held in (
            (L.BATCH_MATCHERS, self._addresses),
            (L.BATCH_TOKENS, self.tokens),
            (L.BATCH_TODO, self.todo),
            (L.BATCH_STATUS, self.statuses),
        ):
            self.header[slot] = held.buffer_info()[0]

    def is_of(self, matchers: Sequence[GrammarMatcher], bitmask: Any, indices: Sequence[int] | None) -> bool:
        """Whether it is for these matchers and rows, which were checked then; it has the matchers from now on."""
        if self.target is None or self.target.bitmask() is not bitmask:
            return False
        try:
            same = self.pairs == b"".join(map(_PAIR, matchers))
        except AttributeError:
            return False
        if same and self.indices == (None if indices is None else [*indices]):
            self.matchers = matchers
            return True
        return False

    def aim(self, target: Target, rows: Sequence[int]) -> None:
        """Have masks written to these rows of a bitmask."""
        self.rows, self.target = array("q", rows), target
        self.header[L.BATCH_ROWS] = self.rows.buffer_info()[0]
        self.header[L.BATCH_OUT], self.header[L.BATCH_STRIDE] = target.address, target.stride

    def ask_rows(self, out: npt.NDArray[np.int32], places: Sequence[int]) -> None:
        """Have the numbers of rows in the mask table written to these places of `out`."""
        self.rows = array("q", places)
        self.header[L.BATCH_ROWS] = self.rows.buffer_info()[0]
        self.header[L.BATCH_OUT] = out.ctypes.data
        self.header[L.BATCH_TABLE] = self.matchers[0].compiled.automaton.mask_table.address

    def address_of(self, number: int) -> int:
        """Where the row of a matcher lies."""
        return int(self.header[L.BATCH_OUT] + self.rows[number] * self.header[L.BATCH_STRIDE])

    def start(self, todo: Sequence[int]) -> None:
        """Have the matchers of `todo` served from the first on."""
        self.todo[: len(todo)] = array("q", todo)
        if not self.keys:
            self.keys = array("q", bytes(8 * len(self.matchers)))
        self._wanted = array("q", bytes(8 * L.WANTED))
        self.header[L.BATCH_KEYS], self.header[L.BATCH_WANTED] = (
            self.keys.buffer_info()[0],
            self._wanted.buffer_info()[0],
        )
        self.header[L.BATCH_TODO_COUNT], self.header[L.BATCH_NEXT] = len(todo), 0


def checked(matchers: Sequence[GrammarMatcher]) -> set[CompiledGrammar]:
    """The grammars of some matchers, which are such and all different."""
    try:
        grammars = set(map(_GRAMMAR, matchers))
        distinct = len(set(matchers))
    except (AttributeError, TypeError):
        number = next(number for number, each in enumerate(matchers) if not isinstance(each, GrammarMatcher))
        kind = type(matchers[number]).__name__
        raise MatcherError(f"matcher {number} is of the type {kind}: pass objects of GrammarMatcher") from None
    if distinct < len(matchers):
        number = next(number for number, matcher in enumerate(matchers) if matcher in matchers[:number])
        raise MatcherError(f"matcher {number} is in the batch twice: fork() makes another one of it")
    return grammars


def check_count(matchers: Sequence[GrammarMatcher], others: Sequence[Any], what: str) -> None:
    if len(matchers) != len(others):
        raise MatcherError(f"there are {len(matchers)} matchers and {len(others)} {what}: one is needed for each")


def check_going(call: BatchCall) -> None:
    """Refuse matchers whose text has ended."""
    number = kernels.find_ended(call.address)
    if number >= 0:
        raise MatcherError(
            f"matcher {number}: the text has ended (an end-of-sequence token was accepted); reset() or rollback() first"
        )
