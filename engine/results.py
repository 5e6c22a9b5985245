"""What generate() hands back beside the value: GenerationResult, and StreamChunk while the answer grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from maskwright.aligned_result import AlignedResult

__all__ = ["FinishReason", "GenerationResult", "MaskStatistics", "SpeculationStatistics", "StreamChunk", "Timings"]

FinishReason = Literal["stop", "budget"]


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, in seconds of wall clock.

    Attributes:
        compile: the grammar, before the first token (0 when it was cached, or nearly).
        prefill: the forward over the prompts of the batch.
        decode: from then until this answer was finished, the other rows' work included.
        masks: filling this answer's masks, within `decode`.
    """

    compile: float
    prefill: float
    decode: float
    masks: float


@dataclass(frozen=True, slots=True)
class MaskStatistics:
    """What the grammar did to one answer.

    Attributes:
        masks: masks filled.
        mean_allowed_tokens: tokens that a mask allowed, on average.
        mean_allowed_fraction: the same, of the vocabulary.
        jump_forward_tokens: tokens that were appended without asking the model.
        banned_draws: tokens that were drawn and put back, because the text could not have been completed behind them.
        forwards: forwards of the model that this answer took part in, the prompt's included.
    """

    masks: int
    mean_allowed_tokens: float
    mean_allowed_fraction: float
    jump_forward_tokens: int
    banned_draws: int
    forwards: int


@dataclass(frozen=True, slots=True)
class SpeculationStatistics:
    """What drafting did for one answer.

    Attributes:
        drafter: who drafted.
        verifier: who judged.
        forwards: of the target that this answer took part in, the prompt's included.
        drafted: tokens that were proposed.
        verified: tokens that the target looked at, in the trees of all forwards together.
        taken: drafted tokens that the target took, and that are in the answer.
        forced: tokens of the answer that were appended without asking the model.
        by_depth: for each depth of the trees, from 1 on: how many forwards had drafts there below a token that was taken,
            and how many of those drafts were taken.
        chains_because: why trees were not verified in one forward; None: they were.
    """

    drafter: str
    verifier: str
    forwards: int
    drafted: int
    verified: int
    taken: int
    forced: int
    by_depth: tuple[tuple[int, int], ...]
    chains_because: str | None

    @property
    def acceptance(self) -> tuple[float, ...]:
        """For each depth the share of taken drafts, where there were any."""
        return tuple(taken / tested for tested, taken in self.by_depth if tested)


@dataclass(frozen=True)
class GenerationResult:
    """One answer with its account, from `generate(..., return_result=True)`.

    Attributes:
        value: what generate() returns without `return_result`.
        text: the answer's text.
        tokens: its token ids, without an end-of-sequence token.
        logprobs: for each token the natural logarithm of the probability that it was drawn with: among the allowed tokens
            that top-k, top-p and min-p kept, at the temperature (1 where that is greedy); 0.0 where it was forced.
        forced: for each token whether it was appended without a draw (jump-forward, or the budget's last resort).
        prompt_tokens: tokens of the prompt.
        finish_reason: "stop": the text ended as it would have with any budget; "budget": `max_new_tokens` shaped it.
        timings: where the time went.
        statistics: what the grammar did.
        log_valid_masses: with `valid_mass=True`, for each token the natural logarithm of the probability that the tokens
            allowed there had together before masking, at the same temperature; otherwise None. With top-k, top-p or min-p of
            what those leave. Nothing is counted for the end of sequence behind the last token.
        aligned: with another `method` than "masked", what was sampled for the prompt, all of its answers together;
            `logprobs` are then the model's own, not only among the allowed tokens.
        speculation: what drafting did; None without `draft`.
    """

    value: Any
    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...] = field(repr=False)
    forced: tuple[bool, ...] = field(repr=False)
    prompt_tokens: int
    finish_reason: FinishReason
    timings: Timings = field(repr=False)
    statistics: MaskStatistics = field(repr=False)
    log_valid_masses: tuple[float, ...] | None = field(default=None, repr=False)
    aligned: AlignedResult | None = field(default=None, repr=False)
    speculation: SpeculationStatistics | None = field(default=None, repr=False)

    @property
    def acceptance_length(self) -> float:
        """Tokens of the answer for each forward of the model."""
        return len(self.tokens) / max(self.statistics.forwards, 1)

    @property
    def logprob(self) -> float:
        """The sum of `logprobs`: how likely the answer's drawn tokens were, together."""
        return sum(self.logprobs)

    @property
    def log_valid_mass(self) -> float | None:
        """The sum of `log_valid_masses`, if they were asked for: the model gives the answer's tokens `logprob` plus this."""
        return None if self.log_valid_masses is None else sum(self.log_valid_masses)

    def __repr__(self) -> str:
        seconds = self.timings.prefill + self.timings.decode
        return (
            f"GenerationResult(value={self.value!r}, {len(self.tokens)} tokens in {seconds:.2f} s, "
            f"{self.statistics.forwards} forwards, {self.statistics.jump_forward_tokens} tokens jumped over, "
            f"logprob={self.logprob:.2f}, finish_reason={self.finish_reason!r})"
        )


@dataclass(frozen=True)
class StreamChunk:
    """A step of one answer, from `generate(..., stream=True)`.

    Attributes:
        text: the answer so far, in whole characters.
        delta: what this chunk adds to it; may be "" (the last chunk, or half a character).
        done: whether the answer is complete; then `result` is there, and `partial` is the validated value.
        prompt: which prompt of the batch, from 0.
        sample: which of its n answers, from 0.
        result: the finished answer, on the last chunk of each.
    """

    text: str
    delta: str
    done: bool
    prompt: int
    sample: int
    result: GenerationResult | None = field(default=None, repr=False)
    _grow: Callable[[str], Any] = field(default=str, repr=False, compare=False)

    @cached_property
    def partial(self) -> Any:
        """The value so far; made when first asked.

        For a JSON Schema the JSON that is there: a string that is being written as far as it goes, a number as far as
        it is a number, members without a value yet left out; None while there is nothing. For a type its instance,
        as maskwright.partial describes. For regex, choices and grammars the text.
        """
        return self._grow(self.text) if self.result is None else self.result.value

    @property
    def value(self) -> Any:
        """The validated value, on the last chunk; None before."""
        return None if self.result is None else self.result.value
