"""The thread that owns a server's model: jobs wait, become cohorts, and cohorts take turns.

    submit() --> waiting --admit, as far as there are rows--> cohort, cohort, ... --step()--> Job.tell(update)

torch runs in this thread alone. Everybody else only appends to `waiting`, under the lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any

from maskwright.budget import Covers
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.refusals import Overloaded, Stopping, TimedOut
from maskwright.runtime.batch import BatchGrammarMatcher
from maskwright.serve_cohort import Cohort, Job, Row, Update

__all__ = ["Scheduler"]


class Scheduler:
    """Answers jobs, many at once.

    Args:
        model: a causal language model of transformers.
        info: its vocabulary.
        max_rows: answers in the making at once.
        max_waiting: jobs that may wait beyond those.

    Attributes:
        steps, tokens, forward_seconds, mask_seconds: totals since the start, of cohorts that are gone and those that are.
    """

    def __init__(self, model: Any, info: TokenizerInfo, *, max_rows: int = 64, max_waiting: int = 256) -> None:
        self.max_rows, self.max_waiting = max_rows, max_waiting
        self.steps = self.tokens = 0
        self.forward_seconds = self.mask_seconds = 0.0
        self._model, self._covers = model, Covers(info)
        self._waiting: deque[Job] = deque()
        self._cohorts: list[Cohort] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="maskwright-serve", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that have not begun."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Answers in the making."""
        return sum(not row.finished for cohort in self._cohorts for row in cohort.rows)

    @property
    def is_alive(self) -> bool:
        """Whether jobs are worked on."""
        return self._thread.is_alive() and not self._stopping

    def submit(self, jobs: Sequence[Job]) -> None:
        """Answer jobs: `Job.tell` is called from now on, until an update is the last.

        Raises:
            Overloaded: too many wait; none of the jobs was taken.
            Stopping: the server is shutting down.
        """
        with self._changed:
            if self._stopping:
                raise Stopping("the server is shutting down")
            if len(self._waiting) + len(jobs) > self.max_waiting:
                raise Overloaded(
                    f"{len(self._waiting)} answers wait already, and {self.max_waiting} may: try again later"
                )
            self._waiting.extend(jobs)
            self._changed.notify()

    def close(self, grace: float = 30.0) -> None:
        """Take no more jobs, finish those that are there, and end the thread; after `grace` seconds end the jobs instead."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(grace)
        with self._changed:
            late = [*self._waiting, *(row.job for cohort in self._cohorts for row in cohort.rows)]
            for job in late:
                job.deadline = 0.0
        self._thread.join()

    def _run(self) -> None:
        with BatchGrammarMatcher() as batch:
            while self._wait():
                self._turn(batch)

    def _wait(self) -> bool:
        """Until there is something to do; False where there never will be."""
        with self._changed:
            while not (self._waiting or self._cohorts or self._stopping):
                self._changed.wait()
            return bool(self._waiting or self._cohorts)

    def _turn(self, batch: BatchGrammarMatcher) -> None:
        """A step of every cohort. Nothing of it is held by names that would outlive it while the thread waits."""
        with self._changed:
            room = self.max_rows - self.running
            jobs = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        rows = [row for job in jobs if (row := self._begun(job)) is not None]
        if rows:
            self._begin_cohort(rows, batch)
        for cohort in self._cohorts:
            self._step(cohort)
        self._cohorts = [cohort for cohort in self._cohorts if cohort.rows]

    def _begin_cohort(self, rows: Sequence[Row], batch: BatchGrammarMatcher) -> None:
        try:
            self._cohorts.append(Cohort(self._model, rows, batch))
        except Exception as error:  # a model that cannot be decoded here, say
            for row in rows:
                row.fail(error)

    def _begun(self, job: Job) -> Row | None:
        """A row for a job, or None where it is over before it began."""
        if job.cancelled:
            job.tell(Update(finish="cancelled"))
        elif monotonic() > job.deadline:
            job.tell(Update(error=TimedOut("the answer was not begun in time: the server has too much to do")))
        else:
            try:
                return Row.of(job, self._covers)
            except Exception as error:  # its limit is below the shortest answer, say: this job's matter alone
                job.tell(Update(error=error))
        return None

    def _step(self, cohort: Cohort) -> None:
        tokens, forward, masks = cohort.tokens, cohort.forward_seconds, cohort.mask_seconds
        try:
            cohort.step()
        except Exception as error:  # whatever it is, it is these rows' and not the server's: the thread must go on
            for row in cohort.rows:
                if not row.finished:
                    row.fail(error)
            cohort.rows = []
        self.steps += 1
        self.tokens += cohort.tokens - tokens
        self.forward_seconds += cohort.forward_seconds - forward
        self.mask_seconds += cohort.mask_seconds - masks
