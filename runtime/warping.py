"""What is sampled from: the model's next-token distribution as the options shape it, before any grammar.

    logits --temperature, top-k, top-p, min-p--> probabilities --tokens that mean the same are one--> log P(a|u)

Everything that corrects for a grammar comes after this, so that "the model" is one distribution over token sequences. A
token stands for all ids that write the same bytes, and one end for all end-of-sequence ids: their probabilities are added
up, and the model is shown the lowest id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars.errors import ModelError, TokenizerError

__all__ = ["OnMax", "Target", "TokenClasses"]

OnMax = Literal["condition", "force_eos", "error"]

_ON_MAX = ("condition", "force_eos", "error")


@dataclass(frozen=True, slots=True)
class Target:
    """Which distribution is conditioned on the grammar.

    Attributes:
        temperature: logits are divided by it; above 0.
        top_k: only this many likeliest tokens; 0 or None: all.
        top_p: only the likeliest tokens that together have this probability.
        min_p: only tokens at least this many times as likely as the likeliest.
        max_tokens: of a text at most, the end not counted.
        on_max: what the limit means. "condition": longer texts are not in the language; "force_eos": the model ends
            after so many tokens with probability 1; "error": TruncatedError where a text would be longer.
        canonical: only the tokenization that the tokenizer itself gives a text.

    Raises:
        ValueError: an option is out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    max_tokens: int = 512
    on_max: OnMax = "condition"
    canonical: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature={self.temperature}: sampling from the model needs more than 0; 1 is its own distribution"
            )
        if self.top_k is not None and self.top_k < 0:
            raise ValueError(f"top_k={self.top_k}: choose at least 1, or 0 or None for every token")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}: choose more than 0 and at most 1")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p={self.min_p}: choose 0 to 1")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens}: choose at least 1")
        if self.on_max not in _ON_MAX:
            raise ValueError(f"on_max={self.on_max!r}: choose one of {', '.join(_ON_MAX)}")

    def log_probabilities(self, logits: npt.NDArray[np.floating], classes: TokenClasses) -> npt.NDArray[np.float64]:
        """float64 [B, V]: log P of each class at its lowest id, -inf elsewhere.

        Args:
            logits: [B, V] or wider: columns beyond the vocabulary are padding of the output layer.
            classes: which tokens are one.

        Raises:
            ModelError: a row has NaN or no finite logit, or there are too few columns.
        """
        size = len(classes.lowest)
        if logits.ndim != 2 or logits.shape[1] < size:
            raise ModelError(f"the model's logits are {list(logits.shape)}, where [B, {size}] or wider are wanted")
        scores = logits[:, :size].astype(np.float64)
        scores[:, classes.padding] = -np.inf
        top = scores.max(1, initial=-np.inf, keepdims=True)
        if not np.isfinite(top).all():
            raise ModelError("the model gives a prefix no finite logit, or one that is not a number")
        weights = self._filtered(np.exp((scores - top) / self.temperature))
        # Logarithms from the scores: a weight may be too small for a float, or nearly.
        logs = np.where(weights > 0, (scores - top) / self.temperature, -np.inf)
        if not self._filters:
            logs = (scores - top) / self.temperature
        logs -= np.log(weights.sum(1, keepdims=True))
        return classes.merged(logs)

    @property
    def _filters(self) -> bool:
        return bool(self.top_k) or self.top_p < 1 or self.min_p > 0

    def _filtered(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """weights [B, V], 1 for the likeliest of each row; those that are filtered out become 0."""
        if self.top_k and self.top_k < weights.shape[1]:
            least = np.partition(weights, -self.top_k, axis=1)[:, -self.top_k, None]
            weights = np.where(weights >= least, weights, 0)
        if self.top_p < 1:
            order = np.argsort(-weights, axis=1, kind="stable")
            ordered = np.take_along_axis(weights, order, 1)
            likelier = ordered.cumsum(1) - ordered  # how much weight the tokens before this one have
            ordered[likelier >= self.top_p * ordered.sum(1, keepdims=True)] = 0
            np.put_along_axis(weights, order, ordered, 1)
        if self.min_p > 0:
            weights = np.where(weights >= self.min_p, weights, 0)
        return weights


class TokenClasses:
    """Which token ids mean the same: all end-of-sequence ids, and text tokens of equal bytes.

    Attributes:
        lowest: int64 [V], the id that stands for each.
        padding: int64 [P], ids that are no token.
        end: the id that stands for the end of a text.
    """

    def __init__(self, info: TokenizerInfo) -> None:
        """Raises TokenizerError where no token ends a text."""
        if not info.eos_token_ids:
            raise TokenizerError(
                "sampling whole texts needs an end-of-sequence token, and this vocabulary names none: pass eos_token_ids="
            )
        self.end = info.eos_token_ids[0]
        self.lowest = np.arange(info.vocab_size, dtype=np.int64)
        self.lowest[list(info.eos_token_ids)] = self.end
        firsts: dict[bytes, int] = {}
        padding = []
        for token, written in enumerate(info.tokens):
            if written is None:
                padding.append(token)
            elif written and token not in info.special_token_ids:
                self.lowest[token] = firsts.setdefault(written, token)
        self.padding = np.array(padding, np.int64)
        self._others = np.flatnonzero(self.lowest != np.arange(info.vocab_size))
        self.merges = bool(len(self._others))

    def merged(self, logs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """logs [B, V], in place: what a class has together at its lowest id, -inf at the others."""
        for token in self._others.tolist():
            lowest = self.lowest[token]
            logs[:, lowest] = np.logaddexp(logs[:, lowest], logs[:, token])
        logs[:, self._others] = -np.inf
        return logs

    def representatives(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The classes that some tokens are of, ascending, each by its lowest id."""
        return np.unique(self.lowest[tokens]) if self.merges else tokens
