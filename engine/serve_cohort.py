"""A cohort: rows of a server's batch that began together, one forward for all of them a step.

Requests come at any time, and a key-value cache has one width. So requests that wait when a step begins become a cohort with
a cache of its own, and the scheduler lets cohorts take turns: nobody waits for another's answer to end.

Unlike in generate(), one row's trouble must stay its own: a grammar that reaches a limit, a caller who has gone or whose
time is up ends that row, with its error, and the others go on. A failure of the forward itself is every row's.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from maskwright.budget import Budget, Covers
from maskwright.cached_model import CachedModel
from maskwright.choosing import choose
from maskwright.compile.grammar import CompiledGrammar
from maskwright.grammars.errors import BatchError, MatcherError, TokenizerError, TruncatedError
from maskwright.kernels.device_masks import sent
from maskwright.refusals import TimedOut
from maskwright.runtime.batch import BatchGrammarMatcher
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.sampling import Sampler, Sampling, seed_of
from maskwright.step_masks import StepMasks

if TYPE_CHECKING:
    import torch

__all__ = ["Cohort", "Finish", "Job", "Row", "Update"]

Finish = Literal["stop", "budget", "cancelled"]


@dataclass(frozen=True, slots=True)
class Update:
    """What became of a job in a step.

    Attributes:
        text: what the answer has grown by.
        tokens: its tokens so far.
        finish: why it is finished; None while it is not, or where it failed.
        error: why it failed; nothing comes after that.
    """

    text: str = ""
    tokens: int = 0
    finish: Finish | None = None
    error: Exception | None = None

    @property
    def last(self) -> bool:
        return self.finish is not None or self.error is not None


@dataclass(slots=True, eq=False)
class Job:
    """One answer that somebody waits for.

    Attributes:
        ids: tokens of the prompt, at least one.
        compiled: the language of the answer.
        limit: tokens of the answer at most.
        sampling, entropy, sample: how tokens are drawn, and from which random numbers.
        stop: texts before which the answer ends.
        named: whether special tokens stand in the text, by their names.
        deadline: when the answer has to be there, by time.monotonic().
        tell: called with each update, from the scheduler's thread; must not block.
        cancelled: set by whoever no longer waits.
    """

    ids: Sequence[int]
    compiled: CompiledGrammar
    limit: int
    sampling: Sampling
    entropy: int
    sample: int
    deadline: float
    tell: Callable[[Update], None]
    stop: Sequence[str] = ()
    named: bool = False
    cancelled: bool = False


class _Text:
    """The text of an answer while tokens come, in whole characters, up to a stop."""

    def __init__(self, job: Job) -> None:
        self._info, self._stop, self._named = job.compiled.tokenizer_info, job.stop, job.named
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # might begin a stop
        self.stopped = False

    def grow(self, token: int) -> str:
        """What a token adds that is certain to be part of the text."""
        info = self._info
        if token in info.special_token_ids:
            written = (info.tokens[token] or b"") if self._named and token not in info.eos_token_ids else b""
        else:
            written = info.decode([token])
        return self._certain(self._held + self._decoder.decode(written))

    def rest(self) -> str:
        """What was held back, at the end."""
        return "" if self.stopped else self._held + self._decoder.decode(b"", final=True)

    def _certain(self, text: str) -> str:
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        longest = max(map(len, self._stop), default=1) - 1
        keep = next((n for n in range(min(longest, len(text)), 0, -1) if self._may_stop(text[-n:])), 0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _may_stop(self, end: str) -> bool:
        return any(stop.startswith(end) for stop in self._stop)


@dataclass(slots=True, eq=False)
class Row:
    """A job that is being worked on."""

    job: Job
    matcher: GrammarMatcher
    budget: Budget
    seed: int
    text: _Text
    pending: int = 0  # the token that the model has not seen yet
    count: int = 0  # tokens so far
    steered: bool = False  # whether the budget has kept it from going its own way
    finished: bool = field(default=False)

    @classmethod
    def of(cls, job: Job, covers: Covers) -> Row:
        """Raises TruncatedError where the limit is below the shortest answer."""
        matcher = GrammarMatcher(job.compiled)
        seed = seed_of(job.entropy, 0, job.sample)
        return cls(job, matcher, Budget(covers, matcher, job.limit), seed, _Text(job))

    def finish(self, reason: Finish, text: str = "") -> None:
        self.finished = True
        self.job.tell(Update(text + self.text.rest(), self.count, reason))

    def fail(self, error: Exception) -> None:
        self.finished = True
        self.job.tell(Update(tokens=self.count, error=error))

    def append(self, token: int) -> None:
        """Take a token into the text; ends the row where nothing may follow, or nothing fits."""
        self.pending, self.count = token, self.count + 1
        grown = self.text.grow(token)
        completed = self.matcher.is_completed()
        if self.text.stopped:
            self.finish("stop", grown)
        elif completed and not self.matcher.allowed_bytes():
            self.finish("budget" if self.steered else "stop", grown)
        elif self.budget.left > 0:
            self.job.tell(Update(grown, self.count))
        elif completed:
            self.finish("budget", grown)
        else:
            raise TruncatedError(text=grown, max_tokens=self.job.limit)


class Cohort:
    """Rows that advance together: `step()` until `rows` is empty.

    Attributes:
        rows: those that are not finished.
        forward_seconds, mask_seconds, tokens: what they took so far, and what they have written.
    """

    def __init__(self, model: Any, rows: Sequence[Row], batch: BatchGrammarMatcher) -> None:
        self.rows = list(rows)
        self.forward_seconds = self.mask_seconds = 0.0
        self.tokens = 0
        self._model, self._batch = CachedModel(model, len(self.rows)), batch
        self._prompts: list[Sequence[int]] | None = [row.job.ids for row in self.rows]
        words = self.rows[0].matcher.compiled.tokens.words
        self._masks = np.zeros((len(self.rows), words), np.int32)

    def step(self) -> None:
        """One forward, and a token for each row."""
        import torch

        self._dismiss()
        if not self.rows:
            return
        with torch.inference_mode():
            started = perf_counter()
            chunks = self._prompts or [[row.pending] for row in self.rows]
            self._prompts = None
            try:
                logits = self._model.forward(chunks)  # [B, V]
            except Exception as error:  # of torch, transformers or the driver: this cohort's, and not the server's
                for row in self.rows:
                    row.fail(error)
                self.rows = []
                return
            masked = perf_counter()
            self._fill()
            self.forward_seconds += masked - started
            self.mask_seconds += perf_counter() - masked
            for sampling, numbers in self._by_sampling().items():
                self._draw(logits, sampling, numbers)
            self._select()

    def _dismiss(self) -> None:
        """End the rows that nobody waits for, and those whose time is up."""
        now = monotonic()
        for row in self.rows:
            if row.job.cancelled:
                row.finish("cancelled")
            elif now > row.job.deadline:
                row.fail(TimedOut(f"the answer was not finished in time; it has {row.count} tokens so far"))
        self._select()

    def _select(self) -> None:
        going = [number for number, row in enumerate(self.rows) if not row.finished]
        if len(going) < len(self.rows):
            self.rows = [self.rows[number] for number in going]
            self._masks = self._masks[
                : len(going)
            ]  # the same array at every step, by which the batch knows its last call
            if self._prompts is not None:
                self._prompts = [self._prompts[number] for number in going]
            self._model.select(going)

    def _fill(self) -> None:
        """The masks of the rows; a row whose mask there is not fails."""
        try:
            self._batch.batch_fill_next_token_bitmask([row.matcher for row in self.rows], self._masks)
        except BatchError as error:
            for number, failure in error.failures.items():
                self.rows[number].fail(failure)

    def _by_sampling(self) -> dict[Sampling, list[int]]:
        found: dict[Sampling, list[int]] = {}
        for number, row in enumerate(self.rows):
            if not row.finished:
                found.setdefault(row.job.sampling, []).append(number)
        return found

    def _draw(self, logits: torch.Tensor, sampling: Sampling, numbers: Sequence[int]) -> None:
        """A token for each of some rows."""
        import torch

        own, bits = logits, self._masks  # of which draws that are put back become -inf
        if len(numbers) < len(self.rows):
            own, bits = logits[numbers], self._masks[numbers]
        masks = StepMasks(torch.from_numpy(bits) if own.is_cpu else sent(bits, own.device), None, [])
        rows, sampler = [self.rows[number] for number in numbers], Sampler(sampling)
        drawn = sampler.draw(own, masks, [row.seed for row in rows], [row.count for row in rows])
        for index, (row, token) in enumerate(zip(rows, drawn.tokens, strict=True)):
            try:
                self._take(row, own[index : index + 1], masks.only(index), sampler, token)
            except Exception as error:  # a limit of its grammar, say
                row.fail(error)

    def _take(self, row: Row, logits: torch.Tensor, mask: StepMasks, sampler: Sampler, token: int) -> None:
        """Append a drawn token, or, where the text could not be completed behind it, another one.

        Args:
            logits: [1, V].
            mask: of that row.
            sampler: draws as the row's job asks for.
            token: the first draw, -1 where none was possible.
        """
        if token < 0 and not mask.table.any():
            wanted = row.matcher.allowed_bytes()
            raise TokenizerError(f"no token writes what must come next: one of the bytes {wanted!r}")
        if token < 0:
            raise MatcherError("the model gives the allowed tokens no finite logit")

        def redraw(refused: int) -> int:
            logits[0, refused] = -np.inf
            return sampler.draw(logits, mask, [row.seed], [row.count]).tokens[0]

        choice = choose(row.matcher, row.budget, token, redraw)
        row.steered |= choice.banned > 0
        if choice.finishes:
            row.finish("budget" if row.steered else "stop")
        else:
            self.tokens += 1
            row.append(choice.token)
