"""A limit on the processor time of one piece of work, wherever in it the time goes.

    with Stopwatch("max_compile_ms", 10_000.0):
        ...                     # LimitExceeded once some 10 seconds of processor time are spent

What can go on for long (derivatives of a language, subschemas, choices of shapes, tallies of counts) calls `tick` for each
thing that it does; the clock is read at few of these. It is the processor time of the thread, so that a machine that is busy
with something else refuses no schema.
"""

from __future__ import annotations

import math
from contextvars import ContextVar, Token
from time import thread_time

from maskwright.grammars.errors import LimitExceeded

__all__ = ["MAX_COMPILE_MS", "Stopwatch", "tick"]

MAX_COMPILE_MS = "max_compile_ms"  # the limit, by name, on compiling and on each step of what is left for later

_TICKS = 64  # between two looks at the clock: ticks are for things that take microseconds at least

_running: ContextVar[Stopwatch | None] = ContextVar("maskwright_stopwatch", default=None)
"""The innermost stopwatch of this thread's work; where it is none, nothing is measured."""


class Stopwatch:
    """A context manager; inside of it `tick` raises LimitExceeded when the time is over.

    Args:
        limit: the name of the limit.
        milliseconds: of processor time; infinity measures nothing.
        started: when the work began, by `time.thread_time`; None: now.
    """

    __slots__ = ("_limit", "_maximum", "_started", "_ticks", "_token")

    def __init__(self, limit: str, milliseconds: float, started: float | None = None) -> None:
        self._limit, self._maximum, self._ticks = limit, milliseconds, 0
        self._started = thread_time() if started is None else started
        self._token: Token[Stopwatch | None] | None = None

    def __enter__(self) -> Stopwatch:
        self._token = _running.set(None if self._maximum == math.inf else self)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._token is not None
        _running.reset(self._token)

    def look(self) -> None:
        """Read the clock.

        Raises:
            LimitExceeded: the time is over.
        """
        self._ticks, spent = 0, round(1e3 * (thread_time() - self._started))
        if spent > self._maximum:
            self._ticks = _TICKS  # whoever goes on nevertheless meets it again at once
            hint = f"simplify the schema or grammar here, or raise {self._limit}"
            raise LimitExceeded(self._limit, spent, self._maximum, what="milliseconds of processor time", hint=hint)

    def tick(self) -> None:
        """See the function."""
        self._ticks += 1
        if self._ticks >= _TICKS:
            self.look()


def tick() -> None:
    """Something was done that counts.

    Raises:
        LimitExceeded: the time of the stopwatch around is over.
    """
    watch = _running.get()
    if watch is not None:
        watch.tick()
