"""The decoding loop: a batch of rows, one forward for all of them a step.

    row.pending --model--> logits [B, V] --mask, draw--> token --accept, budget--> matcher --jump--> row.pending
         ^                                                                                               |
         +------------------- the token, and what the grammar forces behind it ---------------------------+

A row is one answer: its matcher, its budget, its random numbers, and the tokens that the model has not seen yet. The
prompts are seen once and their cache is repeated for the samples; a row that is finished leaves the batch.

Jump-forward: where the grammar leaves no choice, the text is tokenized and goes through the next forward at once. The
last of its tokens is left to the model, since it may merge with what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from maskwright.budget import Budget, Covers
from maskwright.cached_model import CachedModel
from maskwright.choosing import choose
from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars.errors import MatcherError, TokenizerError, TruncatedError
from maskwright.kernels.backends import Backend, backend_for
from maskwright.kernels.masking import apply_mask
from maskwright.results import FinishReason, GenerationResult, MaskStatistics, Timings
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.sampling import Drawn, Sampler, Sampling, seed_of
from maskwright.spelling import Spelling
from maskwright.step_masks import StepMasks, masks_for

if TYPE_CHECKING:
    import torch

__all__ = ["Decoder", "Request", "Row"]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt.

    Attributes:
        ids: its tokens, at least one.
        compiled: the language of its answers.
        limit: tokens of an answer at most.
    """

    ids: Sequence[int]
    compiled: CompiledGrammar
    limit: int


@dataclass(slots=True, eq=False)
class Row:
    """One answer in the making."""

    request: Request
    prompt: int
    sample: int
    matcher: GrammarMatcher
    budget: Budget
    seed: int  # of its random numbers, int64
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    log_valid_masses: list[float] = field(default_factory=list)  # of each token, where they are asked for
    forced: list[bool] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)  # the last of `tokens`, which the model has not seen yet
    ending: int | None = None  # the token that the model has ended it with, which is none of `tokens`
    finish_reason: FinishReason | None = None
    steered: bool = False  # whether the budget has kept it from going its own way
    masks: int = 0
    allowed: int = 0  # tokens that the masks allowed, added up
    jumped: int = 0
    banned: int = 0
    forwards: int = 0
    mask_seconds: float = 0.0
    finished_at: float = 0.0

    @property
    def written(self) -> bytes:
        """The text so far; it may end inside a character."""
        return self.request.compiled.tokenizer_info.decode(self.tokens)

    def append(self, token: int, logprob: float, log_valid_mass: float | None = None, *, forced: bool = False) -> None:
        self.tokens.append(token)
        if log_valid_mass is not None:
            self.log_valid_masses.append(log_valid_mass)
        self.logprobs.append(logprob)
        self.forced.append(forced)
        self.pending.append(token)

    def finish(self, reason: FinishReason) -> None:
        self.finish_reason, self.finished_at = reason, perf_counter()
        self.pending.clear()

    def count_mask(self, allowed: int, seconds: float) -> None:
        """Note a mask that allows so many tokens.

        Raises:
            TokenizerError: no token of the vocabulary writes what must come next.
        """
        self.mask_seconds += seconds
        if not allowed:
            wanted = self.matcher.allowed_bytes()
            raise TokenizerError(f"no token of this vocabulary writes what must come next: one of the bytes {wanted!r}")
        self.masks += 1
        self.allowed += allowed


class Decoder:
    """Decodes a batch: `step()` until `live` is empty.

    Attributes:
        rows: every answer, prompt by prompt, sample by sample.
        live: those that are not finished.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        requests: Sequence[Request],
        *,
        samples: int,
        sampling: Sampling,
        entropy: int,
        jump_forward: bool,
        backend: Backend | None = None,
        valid_mass: bool = False,
    ) -> None:
        """Everything up to the first forward.

        Args:
            model: a causal language model of transformers.
            tokenizer: its tokenizer.
            requests: the prompts.
            samples: answers for each prompt.
            sampling: how tokens are drawn.
            entropy: where the random numbers of all rows come from.
            jump_forward: whether forced text is appended without asking the model.
            backend: of the kernels that mask and draw; None chooses by the model's device.
            valid_mass: whether results tell the valid mass of each token; not with `jump_forward`.

        Raises:
            BackendError: the back end is not installed, or does not work on the model's device.
            TruncatedError: the limit of a request is below its shortest sentence.
        """
        import torch

        self._samples, self._sampling, self._jumping = samples, sampling, jump_forward
        self._valid_mass = valid_mass
        used = backend_for(torch.empty(0, device=model.device), backend)
        self._sampler = Sampler(sampling, backend=used, with_mass=valid_mass)
        self._spelling = Spelling(tokenizer)
        covers: dict[TokenizerInfo, Covers] = {}
        self.rows = list[Row]()
        for prompt, request in enumerate(requests):
            info = request.compiled.tokenizer_info
            if info not in covers:
                covers[info] = Covers(info)
            for sample in range(samples):
                matcher = GrammarMatcher(request.compiled)
                budget = Budget(covers[info], matcher, request.limit)
                self.rows.append(Row(request, prompt, sample, matcher, budget, seed_of(entropy, prompt, sample)))
        self._masks = masks_for([request.compiled for request in requests], len(self.rows), model.device, used)
        self._started, self._prefilled_at = perf_counter(), 0.0
        for row in self.rows:
            self._settle(row)
        self.live = [row for row in self.rows if row.finish_reason is None]
        # All samples of a prompt start alike, so that either all of them are finished before they begin, or none.
        self._open(model, len(self.live) // samples)

    def _open(self, model: Any, prompts: int) -> None:
        """Begin with a model that has seen nothing of so many prompts."""
        self._model = CachedModel(model, prompts)

    def step(self) -> list[Row]:
        """One forward, and a token for each row that has no more to show the model; the rows that went on."""
        import torch

        with torch.inference_mode():
            # On a GPU a forward has only been launched when this returns. Until something reads its logits, masks are looked
            # up while it runs: what they depend on was accepted in the step before.
            logits = self._forward()  # [B, V]
            ready = [index for index, row in enumerate(self.live) if not row.pending]
            moved = [self.live[index] for index in ready]
            if len(ready) < len(logits):
                logits = logits[ready]
            masks = self._looked_up(moved)
            drawn = self._draw(moved, logits, masks)
            for index, row in enumerate(moved):
                self._take(row, logits, masks, drawn, index)
                self._settle(row)
            going = [index for index, row in enumerate(self.live) if row.finish_reason is None]
            if len(going) < len(self.live):
                self.live = [self.live[index] for index in going]
                self._model.select(going)
        return moved

    def result(self, row: Row, value: Any, compile_seconds: float) -> GenerationResult:
        """The account of a finished row whose text means `value`."""
        assert row.finish_reason is not None, "the row is not finished"
        begun = self._prefilled_at or row.finished_at
        masks = max(row.masks, 1)
        mean = row.allowed / masks
        return GenerationResult(
            value=value,
            text=row.written.decode(),
            tokens=tuple(row.tokens),
            logprobs=tuple(row.logprobs),
            log_valid_masses=tuple(row.log_valid_masses) if self._valid_mass else None,
            forced=tuple(row.forced),
            prompt_tokens=len(row.request.ids),
            finish_reason=row.finish_reason,
            timings=Timings(compile_seconds, begun - self._started, row.finished_at - begun, row.mask_seconds),
            statistics=MaskStatistics(
                masks=row.masks,
                mean_allowed_tokens=mean,
                mean_allowed_fraction=mean / row.request.compiled.tokenizer_info.vocab_size,
                jump_forward_tokens=row.jumped,
                banned_draws=row.banned,
                forwards=row.forwards,
            ),
        )

    def _forward(self) -> torch.Tensor:
        """Show the model what is pending; logits [B, V], which count for the rows that have no more."""
        for row in self.live:
            row.forwards += 1
        if not self._prefilled_at:
            firsts = self.live[:: self._samples]
            logits = self._model.forward([[*row.request.ids, *row.pending] for row in firsts])
            for row in self.live:
                row.pending.clear()
            repeated = [prompt for prompt in range(len(firsts)) for _ in range(self._samples)]
            self._model.select(repeated)
            self._prefilled_at = perf_counter()
            return logits[repeated]
        lengths = [len(row.pending) for row in self.live]
        width = max(lengths) if self._model.ragged else min(lengths)
        logits = self._model.forward([row.pending[:width] for row in self.live])
        for row in self.live:
            del row.pending[:width]
        return logits

    def _looked_up(self, rows: Sequence[Row]) -> StepMasks:
        """The masks of some rows; good until the next call."""
        started = perf_counter()
        masks = self._masks.of([row.matcher for row in rows])
        seconds = (perf_counter() - started) / len(rows)
        for row, allowed in zip(rows, masks.allowed, strict=True):
            row.count_mask(allowed, seconds)
        return masks

    def _draw(self, rows: Sequence[Row], logits: torch.Tensor, masks: StepMasks) -> Drawn:
        """The next token of each row, drawn for the place where it will stand."""
        return self._sampler.draw(logits, masks, [row.seed for row in rows], [len(row.tokens) for row in rows])

    def _take(self, row: Row, logits: torch.Tensor, masks: StepMasks, drawn: Drawn, index: int) -> None:
        """Append a drawn token, or, where the text could not be completed behind it, another one.

        Args:
            logits: [R, V]; draws that are put back are set to -inf.
            masks: of the R.
            drawn: for the R.
            index: which of the R is the row's.
        """
        token, logprob = drawn.tokens[index], drawn.logprobs[index]
        log_valid_mass = drawn.log_valid_masses[index] if drawn.log_valid_masses else None
        own = slice(index, index + 1)
        if token < 0:
            mask = masks.only(index)
            apply_mask(logits[own], mask.table, rows=mask.rows)
            raise MatcherError(
                f"the model gives the allowed tokens no finite logit (the largest is {logits[index].max().item()})"
            )

        def redraw(refused: int) -> int:
            nonlocal logprob
            # Probabilities stay those among all that the mask allows.
            normaliser = self._scaled(logits[index, refused]) - logprob
            logits[index, refused] = -np.inf
            (again,), _, _ = self._draw([row], logits[own], masks.only(index))
            if again >= 0:
                logprob = self._scaled(logits[index, again]) - normaliser
            return again

        choice = choose(row.matcher, row.budget, token, redraw)
        row.banned += choice.banned
        row.steered |= choice.banned > 0
        if choice.finishes:
            row.ending = choice.token if choice.ends else None
            row.finish("budget" if row.steered else "stop")
        else:
            row.append(choice.token, 0.0 if choice.planned else logprob, log_valid_mass, forced=choice.planned)

    def _scaled(self, logit: torch.Tensor) -> float:
        """A logit at the temperature."""
        return float(logit) if self._sampling.greedy else float(logit) / self._sampling.temperature

    def _settle(self, row: Row) -> None:
        """After a token: jump over what is forced, and finish the row where nothing can follow or no tokens are left."""
        if row.finish_reason is not None:
            return
        if self._jumping:
            self._jump(row)
        completed = row.matcher.is_completed()
        if completed and not row.matcher.allowed_bytes():
            row.finish("budget" if row.steered else "stop")
        elif row.budget.left == 0:
            if not completed:
                raise TruncatedError(text=row.written.decode(errors="replace"), max_tokens=row.request.limit)
            row.finish("budget")

    def _jump(self, row: Row) -> None:
        """Append the tokens of the text that must come next, but for the last, where they fit the budget."""
        text = row.matcher.find_jump_forward_string()
        tokens = self._spelling.of(text, row.request.compiled.tokenizer_info)[:-1] if len(text) > 1 else ()
        before = row.matcher.step_count
        possible = bool(tokens) and all(row.matcher.accept_token(token) for token in tokens)
        if possible and row.budget.admit(tokens):
            for token in tokens:
                row.append(token, 0.0, forced=True)
            row.jumped += len(tokens)
        else:
            row.matcher.rollback(row.matcher.step_count - before)
            row.steered |= possible  # the model writes the same text, perhaps in other tokens
