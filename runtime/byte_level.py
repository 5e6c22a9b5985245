"""A model over tokens as a model over bytes: how likely is it that its text goes on with each byte?

    P(x) = sum of P(t1 ... tk) over the covers of x: token sequences of which all but the last token lie inside of x, and the
           last reaches its end or beyond

(the byte-token representation lemma; Phan et al., Exact Byte-Level Probabilities from Tokenized Language Models, 2024). A
model over all token sequences has exponentially many covers of a text; over the tokenizer's own alone, about as many as a
token has bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars.errors import LimitExceeded, UnsatisfiableError
from maskwright.runtime.conditional import CanonicalTokens, PrefixLogits
from maskwright.runtime.slots import SortedTokens
from maskwright.runtime.warping import Target, TokenClasses

__all__ = ["ByteDistribution", "next_bytes"]


@dataclass(frozen=True)
class ByteDistribution:
    """What follows a text.

    Attributes:
        bytes: float64 [256], the probability that the text goes on with each byte.
        end: the probability that it ends there.
        other: what the model gives to tokens that write nothing (special ones that end no text). The three add up to 1.
        log_prefix: log P(prefix): how likely the text was, so that far.
        covers: token sequences that were added up.
    """

    bytes: npt.NDArray[np.float64]
    end: float
    other: float
    log_prefix: float
    covers: int


def next_bytes(
    model: PrefixLogits,
    info: TokenizerInfo,
    prompt: Sequence[int],
    prefix: bytes,
    target: Target,
    *,
    classes: TokenClasses | None = None,
    canonical: CanonicalTokens | None = None,
    max_covers: int = 10_000,
) -> ByteDistribution:
    """What follows `prompt` (tokens) and `prefix` (text, in whatever tokens).

    Args:
        canonical: count covers of which all but the last token are the tokenizer's own; then `log_prefix` is of these.
        max_covers: token sequences to follow at most.

    Raises:
        LimitExceeded: there are more covers.
        UnsatisfiableError: the model gives the text no probability.
    """
    classes, order = TokenClasses(info) if classes is None else classes, SortedTokens(info)
    # Sequences that lie within the prefix, those that are as long as it included: tokens, bytes written, log P.
    level: list[tuple[tuple[int, ...], int, float]] = [((), 0, 0.0)]
    found = np.full(257, -np.inf)  # by byte, and the end
    other = -np.inf
    firsts = np.array([text[0] if text else 0 for text in info.tokens])
    writes = np.zeros(info.vocab_size, bool)
    writes[[token for token, text in enumerate(info.tokens) if text and token not in info.special_token_ids]] = True
    covers = followed = 0
    while level:
        followed += len(level)
        if followed > max_covers:
            raise LimitExceeded("max_covers", followed, max_covers, hint="raise max_covers, or leave canonical=True")
        logits: Any = model.logits([[*prompt, *tokens] for tokens, _, _ in level])
        if hasattr(logits, "detach"):
            logits = logits.detach().float().cpu().numpy()
        deeper: list[tuple[tuple[int, ...], int, float]] = []
        for (tokens, written, log_p), logs in zip(
            level, target.log_probabilities(np.asarray(logits), classes), strict=True
        ):
            left = prefix[written:]
            if canonical is not None and not canonical.may_begin(tokens):
                continue
            if not left:
                covers += 1
                allowed = np.flatnonzero(writes & (logs > -np.inf))
                np.logaddexp.at(found, firsts[allowed], log_p + logs[allowed])
                found[256] = np.logaddexp(found[256], log_p + logs[classes.end])
                nothing = np.flatnonzero(~writes)
                nothing = nothing[nothing != classes.end]
                other = np.logaddexp(other, np.logaddexp.reduce(log_p + logs[nothing], initial=-np.inf))
                continue
            for token, text in chain(order.within(left), order.beginning(left)):
                after = log_p + logs[token]
                if after == -np.inf:
                    continue
                if len(text) > len(left):
                    covers += 1
                    found[text[len(left)]] = np.logaddexp(found[text[len(left)]], after)
                else:
                    deeper.append(((*tokens, token), written + len(text), after))
        level = deeper
    total = float(np.logaddexp.reduce(np.append(found, other)))
    if total == -np.inf:
        raise UnsatisfiableError(f"the model gives the text {prefix[:40]!r} no probability")
    shares = np.exp(found - total)
    return ByteDistribution(shares[:256], float(shares[256]), float(np.exp(other - total)), total, covers)
