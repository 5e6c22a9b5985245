"""Work ahead of masks in a thread, while a model reads its prompt, say.

A step is the mask of one place of the grammar (runtime/exploration.py), or one state. In the background a step is followed
by a rest as long, so that other threads get the interpreter lock, and the automaton's, at once.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from maskwright.grammars.errors import MaskwrightError

if TYPE_CHECKING:
    from maskwright.compile.grammar import CompiledGrammar

__all__ = ["Ahead", "CertainStates", "Warmed", "Warming"]

_LEAST_REST = 2e-4  # seconds; a shorter sleep may not let anybody in


class Warmed(NamedTuple):
    """What was done ahead: places that were visited, and whether those are all that there are."""

    places: int
    complete: bool


class Ahead(Protocol):
    """Work on one grammar, in steps. It holds no reference to the grammar."""

    places: int

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""

    def step(self, compiled: CompiledGrammar) -> None:
        """Do the next piece. What cannot be done is left for masks to say so."""

    def finish(self, compiled: CompiledGrammar) -> None:
        """Hand over what may be of use."""


class CertainStates:
    """Lowers the states that follow from the start, nearest first, as far as texts are certain to come to them.

    Then it computes their mask rows.
    """

    def __init__(self, compiled: CompiledGrammar) -> None:
        self._seen, self._queue = {compiled.root: None}, deque([compiled.root])
        self._rows = deque[int]()
        self.places = 0

    @property
    def complete(self) -> bool:
        return not self._queue and not self._rows

    def step(self, compiled: CompiledGrammar) -> None:
        try:
            if self._queue:
                self._lower(compiled, self._queue.popleft())
            else:
                compiled.add_row(self._rows.popleft() << 16)
        except MaskwrightError:
            pass  # whoever needs it is told
        if not self._queue and not self._rows:
            self._find_rows(compiled)

    def _lower(self, compiled: CompiledGrammar, state: int) -> None:
        compiled.lower(state)
        self.places += 1
        following = sorted(compiled.automaton.following(state) - self._seen.keys())
        self._seen.update(dict.fromkeys(following))
        self._queue += filter(compiled.automaton.is_certain, following)

    def _find_rows(self, compiled: CompiledGrammar) -> None:
        automaton = compiled.automaton
        self._rows += (
            state for state in self._seen if automaton.tables.is_lowered(state) and automaton.lacks_row(state)
        )
        self._seen.clear()

    def finish(self, compiled: CompiledGrammar) -> None:
        pass


class Warming:
    """Work ahead for one grammar; `compiled.warm()` makes it. Any thread may ask and cancel.

    It holds no reference to the grammar between steps: it ends with it.
    """

    def __init__(self, compiled: CompiledGrammar, ahead: Ahead, budget_ms: float, max_bytes: int) -> None:
        self._compiled, self._ahead = weakref.ref(compiled), ahead
        self._seconds, self._max_bytes = 1e-3 * budget_ms, max_bytes
        self._before = compiled.automaton.nbytes + compiled.automaton.row_bytes
        self._cancelled, self._ended = threading.Event(), threading.Event()
        self._error: BaseException | None = None

    def run(self, rests: bool) -> None:
        """Work until it is all done, the budget is used up, or it is cancelled."""
        try:
            begun = time.thread_time()
            while not (self._cancelled.is_set() or self._ahead.complete) and time.thread_time() - begun < self._seconds:
                started = time.thread_time()
                if not self._step():
                    break
                if rests:
                    time.sleep(max(_LEAST_REST, time.thread_time() - started))
            if (compiled := self._compiled()) is not None:
                self._ahead.finish(compiled)
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()

    def _step(self) -> bool:
        compiled = self._compiled()
        if compiled is None:
            return False
        automaton = compiled.automaton
        if automaton.nbytes + automaton.row_bytes - self._before > self._max_bytes:
            return False
        self._ahead.step(compiled)
        return True

    def cancel(self) -> None:
        """Stop after the step at hand."""
        self._cancelled.set()

    def done(self) -> bool:
        """Whether it has ended, for whatever reason."""
        return self._ended.is_set()

    def result(self, timeout: float | None = None) -> Warmed:
        """What was done, when it has ended.

        Raises:
            TimeoutError: it has not ended after so many seconds.
        """
        if not self._ended.wait(timeout):
            raise TimeoutError(f"not warm after {timeout} s")
        if self._error is not None:
            raise self._error
        return Warmed(self._ahead.places, self._ahead.complete)
