"""BatchGrammarMatcher: the next masks of many matchers in one call, and their next tokens.

    fill_warm     one kernel call: masks that matchers remember are copied (most of them, on most steps)
    fill_cold     the others, without the interpreter lock, by as many threads as pay for their hand-off; each takes the
                  next matcher from a common counter, so that a slow one holds up nobody
    mend          what kernels asked for: rows are computed by all threads, states are lowered by this one; then the
                  matchers that asked go round again

Kernels that run without the interpreter lock need tables that stay as they are, so this thread holds the locks of the
automata meanwhile. It does not wait for one: while another thread compiles, matchers are served one by one, as they are by
themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from time import perf_counter
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from maskwright.compile.automaton import Automaton
from maskwright.compile.rows import Row
from maskwright.grammars.errors import BatchError, MaskwrightError, MatcherError
from maskwright.kernels import batches as kernels
from maskwright.kernels import layout as L
from maskwright.kernels.mask_table import mask_rows
from maskwright.runtime.batch_call import BatchCall, check_count, check_going, checked
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.runtime.targets import Target

__all__ = ["BatchGrammarMatcher"]

_MOST_THREADS = 16  # of "auto"
_COLD_A_THREAD = 4  # cold masks, 10 us or more each, that pay for waking another thread (10 to 85 us)

Failures = dict[int, MaskwrightError]
Wanted = dict[tuple[Automaton, int], list[int]]


class BatchGrammarMatcher:
    """Serves many matchers, of any grammars over one vocabulary, in one call.

    Each matcher is in a call once, and no other thread uses it meanwhile. Threads are started when there is work for them
    and end with `close()`, at the end of a `with` block, or when the object is gone. Make one and keep it.

    Args:
        max_threads: threads that compute masks, the caller's among them; no more than the processors that this process
            may use. "auto": as many as those, 16 at most.

    Attributes:
        max_threads: how many there are at most.
    """

    def __init__(self, max_threads: int | Literal["auto"] = "auto") -> None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if max_threads == "auto":
            self.max_threads = min(available, _MOST_THREADS)
        elif isinstance(max_threads, int) and max_threads >= 1:
            self.max_threads = min(available, max_threads)
        else:
            raise MatcherError(f'max_threads={max_threads!r}: pass a number of threads, 1 or more, or "auto"')
        self._helpers: ThreadPoolExecutor | None = None
        self._closed = False
        self._target: Target | None = None
        self._last: BatchCall | None = None  # of the fill before: most often the next one is for the same matchers
        # The first call of a kernel in a process loads it: some milliseconds that no mask should wait for.
        nothing = BatchCall((), set())
        nothing.start(())
        for kernel in (kernels.fill_warm, kernels.fill_cold, kernels.find_ended, kernels.accept_tokens):
            kernel(nothing.address)

    def __enter__(self) -> BatchGrammarMatcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads; masks cannot be filled after that."""
        self._closed, self._last = True, None
        if self._helpers is not None:
            self._helpers.shutdown()
            self._helpers = None

    def batch_fill_next_token_bitmask(
        self, matchers: Sequence[GrammarMatcher], bitmask: Any, indices: Sequence[int] | None = None
    ) -> None:
        """Write which tokens may come next, for each matcher to a row of its own.

        Args:
            matchers: any number; none of them twice.
            bitmask: int32 [B, ceil(V / 32)], as for `GrammarMatcher.fill_next_token_bitmask`.
            indices: the row of each matcher; None: the first rows, in order. Other rows are left alone.

        Raises:
            MatcherError: matchers, bitmask and indices do not fit each other; nothing was written.
            BatchError: the masks of some matchers could not be computed (a limit was reached, say). It has the error of each;
                the rows of all others are filled.
        """
        if self._closed:
            raise MatcherError("this BatchGrammarMatcher is closed; make another one")
        if not matchers:
            return
        batch = self._batch(matchers, bitmask, indices)
        try:
            self._fill(batch)
        finally:
            batch.matchers = ()

    def batch_mask_rows(
        self, matchers: Sequence[GrammarMatcher | None], out: npt.NDArray[np.int32] | None = None
    ) -> npt.NDArray[np.int32]:
        """The row of each matcher's next mask in the mask table, as `GrammarMatcher.mask_row`: what a decode step ships.

        Args:
            matchers: of compilers that share one mask table, none of them twice; None for a sequence without a grammar.
            out: int32 [B], written and given back, in pinned memory say; None: a new array.

        Returns:
            int32 [B]: row numbers, -1 for None.

        Raises:
            MatcherError: matchers and `out` do not fit each other; no row has changed hands.
            BatchError: the masks of some matchers could not be computed. It has the error of each; in `out` the rows of all
                others are written.
        """
        if out is None:
            out = np.empty(len(matchers), np.int32)
        elif out.shape != (len(matchers),) or out.dtype != np.int32 or not out.flags.c_contiguous:
            raise MatcherError(f"out must be int32 [{len(matchers)}], contiguous")
        constrained = [matcher for matcher in matchers if matcher is not None]
        places = [place for place, matcher in enumerate(matchers) if matcher is not None]
        if len(constrained) < len(matchers):
            out[[place for place, matcher in enumerate(matchers) if matcher is None]] = -1
        if not constrained:
            return out
        batch = BatchCall(constrained, checked(constrained))
        if len({automaton.mask_table for automaton in batch.automata}) > 1:
            raise MatcherError("the matchers' compilers have different mask tables: give them one (mask_table=)")
        batch.ask_rows(out, places)
        missing = batch.todo[: mask_rows(batch.address)]
        if missing:
            self._add_rows([(constrained[number], places[number]) for number in missing], out)
        return out

    def _add_rows(self, asked: Sequence[tuple[GrammarMatcher, int]], out: npt.NDArray[np.int32]) -> None:
        """Write the rows of masks that are not in the table yet: a matcher and its place in `out` each."""
        masks = np.empty((len(asked), asked[0][0].compiled.tokens.words), np.int32)
        failures: Failures = {}
        try:
            self.batch_fill_next_token_bitmask([matcher for matcher, _ in asked], masks)
        except BatchError as error:
            failures = {asked[number][1]: failure for number, failure in error.failures.items()}
        for (matcher, place), mask in zip(asked, masks, strict=True):
            if place not in failures:
                with _noted(failures, place):
                    out[place] = matcher._take_row(mask)
        if failures:
            raise BatchError(failures, len(out))

    @staticmethod
    def batch_accept_token(matchers: Sequence[GrammarMatcher], tokens: Sequence[int]) -> list[bool]:
        """Move each matcher over a token of its own.

        Returns:
            For each matcher whether its grammar allows the token; one that does not has not moved.

        Raises:
            MatcherError: a matcher is there twice, its text has ended, or its token is not in its vocabulary.
            BatchError: some matchers could not go on. Either way none has moved.
        """
        grammars = checked(matchers)
        check_count(matchers, tokens, "tokens")
        batch = BatchCall(matchers, grammars, tokens=tokens)
        check_going(batch)
        for number, (matcher, token) in enumerate(zip(matchers, tokens, strict=True)):
            if not 0 <= token < matcher._vocab_size:
                size = f"the vocabulary of {matcher._vocab_size:,} tokens"
                raise MatcherError(f"matcher {number}: token id {token} is not in {size}")
            if matcher._unique is not None:
                batch.tokens[number] = L.NO_TOKEN
        kernels.accept_tokens(batch.address)

        def move(number: int) -> bool:
            status = batch.statuses[number]
            return status == L.OK if status <= L.REJECTED else matchers[number].accept_token(tokens[number])

        return _move_all(matchers, move, steps=[1] * len(matchers))

    @staticmethod
    def batch_accept_string(matchers: Sequence[GrammarMatcher], strings: Sequence[str | bytes]) -> list[bool]:
        """Move each matcher over a text of its own, one step of its history; see `batch_accept_token`."""
        check_count(matchers, strings, "strings")
        check_going(BatchCall(matchers, checked(matchers)))

        def move(number: int) -> bool:
            return matchers[number].accept_string(strings[number])

        return _move_all(matchers, move, steps=[int(len(text) > 0) for text in strings])

    @staticmethod
    def batch_rollback(matchers: Sequence[GrammarMatcher], num_tokens: int | Sequence[int] = 1) -> None:
        """Take back the last steps of each matcher: as many for all, or a number for each.

        Raises:
            MatcherError: there are not so many; nothing was taken back.
        """
        counts = [num_tokens] * len(matchers) if isinstance(num_tokens, int) else num_tokens
        checked(matchers)
        check_count(matchers, counts, "numbers of steps")
        for number, (matcher, count) in enumerate(zip(matchers, counts, strict=True)):
            if not 0 <= count <= matcher.step_count:
                raise MatcherError(
                    f"matcher {number}: cannot roll back {count} steps: {matcher.step_count} were accepted"
                )
        for matcher, count in zip(matchers, counts, strict=True):
            matcher.rollback(count)

    def _batch(self, matchers: Sequence[GrammarMatcher], bitmask: Any, indices: Sequence[int] | None) -> BatchCall:
        """The batch of a fill, its arguments checked."""
        last = self._last
        if last is not None and last.is_of(matchers, bitmask, indices):
            return last
        grammars = checked(matchers)
        first = matchers[0].compiled.tokens
        target = self._target
        if target is None or target.bitmask() is not bitmask or target.words != first.words:
            target = self._target = Target.of(bitmask, first.words, first.vocab_size)
        batch = BatchCall(matchers, grammars)
        if any(automaton.tokens.words != first.words for automaton in batch.automata):
            raise MatcherError("the matchers have vocabularies of different sizes: fill a bitmask for each")
        rows = range(len(matchers)) if indices is None else indices
        check_count(matchers, rows, "indices")
        if min(rows) < 0 or max(rows) >= target.rows:
            wrong = next(row for row in rows if not 0 <= row < target.rows)
            raise MatcherError(f"row {wrong} is not one of the bitmask's {target.rows}")
        if indices is not None and len(set(rows)) < len(rows):
            raise MatcherError("two matchers have the same row: indices must differ")
        batch.aim(target, rows)
        batch.indices = None if indices is None else [*indices]
        self._last = batch
        return batch

    def _fill(self, batch: BatchCall) -> None:
        failures: Failures = {}
        alone = self._fill_together(batch, failures)
        for number in alone:
            with _noted(failures, number):
                batch.matchers[number]._fill(batch.address_of(number))
        for number, matcher in enumerate(batch.matchers):
            if matcher._unique is not None and number not in failures and number not in alone:
                with _noted(failures, number):
                    matcher._unique.restrict(batch.address_of(number))
        if failures:
            raise BatchError(failures, len(batch.matchers))

    def _fill_together(self, batch: BatchCall, failures: Failures) -> Sequence[int]:
        """Fill the rows of a batch; the numbers of those that must be filled one by one."""
        todo: Sequence[int] = range(len(batch.matchers))
        warm = True
        wanted: Wanted = {}
        while todo:
            with _held(batch.automata) as held:
                if not held:
                    return todo
                if warm:
                    todo, warm = batch.todo[: kernels.fill_warm(batch.address)], False
                    todo = self._restricted(batch, todo)
                if todo:
                    batch.start(todo)
                    self._share(lambda: kernels.fill_cold(batch.address), len(todo) // _COLD_A_THREAD)
                    todo = self._restricted(batch, [number for number in todo if batch.statuses[number] != L.OK])
                    wanted = self._wanted_rows(batch, todo)
                    self._compute_rows(batch, wanted, failures)
            waiting = set[int]()  # for rows that are there now, or that the first who asks for them will have computed
            for (automaton, key), numbers in wanted.items():
                waiting.update(numbers if key in automaton.rows else numbers[1:])
            for number in todo:
                if number not in failures and number not in waiting:
                    with _noted(failures, number):
                        batch.matchers[number]._mend(batch.statuses[number])
            todo = [number for number in todo if number not in failures]
        return ()

    @staticmethod
    def _restricted(batch: BatchCall, todo: Sequence[int]) -> list[int]:
        """Restrict the masks that are written; the numbers of the matchers whose masks are not."""
        for number in todo:
            if batch.statuses[number] == L.RESTRICT:
                batch.matchers[number]._restrict_keys(batch.address_of(number))
        return [number for number in todo if batch.statuses[number] != L.RESTRICT]

    @staticmethod
    def _wanted_rows(batch: BatchCall, todo: Sequence[int]) -> Wanted:
        """The rows that kernels have missed, each with the matchers that ask for it."""
        wanted: Wanted = {}
        for number in todo:
            if batch.statuses[number] == L.NEED_ROW:
                row = batch.matchers[number].compiled.automaton, batch.keys[number]
                wanted.setdefault(row, []).append(number)
        return wanted

    def _compute_rows(self, batch: BatchCall, wanted: Wanted, failures: Failures) -> None:
        """Compute the rows, where there are several to be shared out; _mend() does so with the others."""
        if self.max_threads == 1 or len(wanted) < 2:
            return
        keys: dict[Automaton, list[int]] = {}
        for automaton, key in wanted:
            keys.setdefault(automaton, []).append(key)
        missing = [(automaton, key) for automaton in keys for key in automaton.rows.missing(keys[automaton])]
        if len(missing) < 2:
            return
        waiting, computed = iter(missing), list[tuple[tuple[Automaton, int], Row, float]]()

        def work() -> None:
            for automaton, key in waiting:
                started = perf_counter()
                row = automaton.rows.compute(key)
                if row is not None:
                    computed.append(((automaton, key), row, perf_counter() - started))

        self._share(work, len(missing))
        for asked, row, seconds in computed:
            number = wanted[asked][0]
            with _noted(failures, number):
                batch.matchers[number].compiled.publish_row(asked[1], row, seconds)

    def _share(self, work: Callable[[], None], pieces: int) -> None:
        """Run `work`, which takes pieces until there are none, in this thread and in others, as many as there are pieces."""
        count = min(self.max_threads, pieces) - 1
        if count <= 0:
            work()
            return
        if self._helpers is None:
            self._helpers = ThreadPoolExecutor(self.max_threads - 1, "maskwright-batch")
        helping = [self._helpers.submit(work) for _ in range(count)]
        try:
            work()
        finally:
            helping = [helper for helper in helping if not helper.cancel()]  # some may not have begun, and need not
            wait(helping)
        for helper in helping:
            helper.result()


@contextmanager
def _held(automata: set[Automaton]) -> Iterator[bool]:
    """Hold the locks of all automata, where they are free: whether they are held."""
    taken = list[Automaton]()
    try:
        for automaton in automata:
            if not automaton.lock.acquire(blocking=False):
                break
            taken.append(automaton)
        yield len(taken) == len(automata)
    finally:
        for automaton in taken:
            automaton.lock.release()


@contextmanager
def _noted(failures: Failures, number: int) -> Iterator[None]:
    """What is raised here is the failure of one matcher."""
    try:
        yield
    except MaskwrightError as error:
        failures[number] = error


def _move_all(matchers: Sequence[GrammarMatcher], move: Callable[[int], bool], steps: Sequence[int]) -> list[bool]:
    """move(number) for all matchers, which are `steps` further then; when one fails, those that have moved go back."""
    failures: Failures = {}
    moved = [False] * len(matchers)
    for number in range(len(matchers)):
        with _noted(failures, number):
            moved[number] = move(number)
    if failures:
        for number, matcher in enumerate(matchers):
            if moved[number]:
                matcher.rollback(steps[number])
        raise BatchError(failures, len(matchers))
    return moved
