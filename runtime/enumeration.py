"""The exact conditional distribution of a small language: every text with its probability."""

from __future__ import annotations

import numpy as np

from maskwright.grammars.errors import LimitExceeded, UnsatisfiableError
from maskwright.runtime.aligned_trie import ROOT
from maskwright.runtime.conditional import Conditional
from maskwright.runtime.samples import Samples

__all__ = ["enumerate_texts"]


def enumerate_texts(space: Conditional, max_strings: int, batch_size: int) -> Samples:
    """The token sequences that the grammar allows and the model gives a probability above 0; the weight of each is P.

    Level by level, so that one call of the model serves `batch_size` prefixes. The likeliest comes first.

    Raises:
        LimitExceeded: there are more than `max_strings`.
        UnsatisfiableError: there is none.
    """
    end = space.classes.end
    texts: list[tuple[int, ...]] = []
    logs: list[float] = []
    level: list[tuple[int, float]] = [(ROOT, 0.0)]
    while level:
        deeper: list[tuple[int, float]] = []
        for start in range(0, len(level), batch_size):
            part = level[start : start + batch_size]
            for (node, log_p), row in zip(part, space.rows([node for node, _ in part]), strict=True):
                for token in row.tokens.tolist():
                    edge = row.log_probability(token)
                    if edge == -np.inf:
                        continue
                    space.check_length(node, token)
                    child = space.add(node, token, edge)
                    if token == end:
                        texts.append(space.tokens_of(child))
                        logs.append(log_p + edge)
                    else:
                        deeper.append((child, log_p + edge))
            # A prefix that is still open may come to nothing, but each stands for at least one text as a rule.
            if len(texts) + len(deeper) > 4 * max_strings or len(texts) > max_strings:
                space.settle()
                raise LimitExceeded(
                    "max_strings", len(texts) + len(deeper), max_strings, what="enumerating the grammar's texts",
                    hint="lower max_tokens, set canonical=True, or raise max_strings",
                )  # fmt: skip
        level = deeper
    space.settle()
    if not texts:
        raise UnsatisfiableError(
            "the model gives no text of the grammar any probability", hint="raise max_tokens or top_p"
        )
    found = np.array(logs)
    order = np.argsort(-found, kind="stable")
    ordered = found[order]
    return Samples(
        method="enumerate",
        exact=True,
        tokens=[texts[place] for place in order.tolist()],
        log_p=ordered,
        log_q=np.full(len(order), np.nan),
        log_weight=ordered,
        log_estimates=np.array([np.logaddexp.reduce(ordered)] * 2),  # no estimate: its standard error is 0
        kl_bound=0.0,
        tv_bound=0.0,
    )
