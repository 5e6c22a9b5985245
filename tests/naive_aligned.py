"""Oracles of grammar-aligned sampling: brute force over token sequences, and the published method one text at a time.

They share nothing with the engine: a language is a set of texts, a model a function from a prefix to logits.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Logits = Callable[[tuple[int, ...]], Sequence[float]]
Sequences = dict[tuple[int, ...], float]


class TableModel:
    """A model over `size` tokens whose logits are random numbers, the same for the same prefix."""

    def __init__(self, size: int, seed: int, spread: float = 1.5) -> None:
        self.size, self.seed, self.spread, self.calls = size, seed, spread, 0
        self._known: dict[tuple[int, ...], np.ndarray] = {}

    def row(self, prefix: Sequence[int]) -> np.ndarray:
        key = tuple(prefix)
        if key not in self._known:
            self._known[key] = np.random.default_rng([self.seed, len(key), *key]).normal(0, self.spread, self.size)
        return self._known[key]

    def logits(self, prefixes: Sequence[Sequence[int]]) -> np.ndarray:
        self.calls += 1
        return np.array([self.row(prefix) for prefix in prefixes])


def softmax(logits: Sequence[float], temperature: float = 1.0, top_p: float = 1.0) -> list[float]:
    """Probabilities; with `top_p` those of the likeliest tokens that together have it."""
    best = max(logits)
    weights = [math.exp((value - best) / temperature) for value in logits]
    if top_p < 1:
        kept: set[int] = set()
        so_far, total = 0.0, math.fsum(weights)
        for token in sorted(range(len(weights)), key=lambda t: -weights[t]):
            if so_far >= top_p * total:
                break
            kept.add(token)
            so_far += weights[token]
        weights = [weight if token in kept else 0.0 for token, weight in enumerate(weights)]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


class Language:
    """Every token sequence of at most `max_tokens` that writes one of `texts`, with the model's probabilities.

    Attributes:
        log_p: log P of each sequence (without its end), the end included.
        mass: for each prefix of one of them the probability of what may follow it.
        future: for each the probability that it becomes one of them.
    """

    def __init__(
        self,
        model: Logits,
        tokens: Sequence[bytes | None],
        ends: Sequence[int],
        texts: Sequence[bytes],
        *,
        max_tokens: int = 100,
        force_end: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        self._model, self._ends, self._texts = model, set(ends), set(texts)
        self._limit, self._force, self._temperature, self._top_p = max_tokens, force_end, temperature, top_p
        # Tokens that write the same are one, by the lowest id; None is padding, which has no probability.
        self._written = {token: text for token, text in enumerate(tokens) if text is not None}
        self._lowest: dict[bytes, int] = {}
        for token, text in self._written.items():
            if token not in self._ends and text:
                self._lowest.setdefault(text, token)
        self.log_p: Sequences = {}
        self.mass: dict[tuple[int, ...], float] = {}
        self.future: dict[tuple[int, ...], float] = {}
        self._visit((), b"", 0.0)

    def step(self, prefix: tuple[int, ...], text: bytes) -> tuple[dict[int, float], float]:
        """The probability of each token that some text allows, and of the end."""
        logits = list(self._model(prefix))
        for token in range(len(logits)):
            if token not in self._written:
                logits[token] = -math.inf
        shares = softmax(logits, self._temperature, self._top_p)
        end = math.fsum(shares[token] for token in self._ends)
        if len(prefix) == self._limit:
            return {}, (1.0 if self._force else end) if text in self._texts else 0.0
        found: dict[int, float] = {}
        for token, written in self._written.items():
            if token in self._ends or not written:
                continue
            longer = text + written
            if any(whole.startswith(longer) for whole in self._texts):
                lowest = self._lowest[written]
                found[lowest] = found.get(lowest, 0.0) + shares[token]
        return found, end if text in self._texts else 0.0

    def _visit(self, prefix: tuple[int, ...], text: bytes, log_p: float) -> float:
        following, end = self.step(prefix, text)
        self.mass[prefix] = math.fsum(following.values()) + end
        if end > 0:
            self.log_p[prefix] = log_p + math.log(end)
        self.future[prefix] = end + math.fsum(
            share * self._visit((*prefix, token), text + self._written[token], log_p + math.log(share))
            for token, share in following.items()
            if share > 0
        )
        return self.future[prefix]

    @property
    def log_z(self) -> float:
        return math.log(self.future[()])

    @property
    def conditional(self) -> Sequences:
        """P( . | language)."""
        return {sequence: math.exp(log_p - self.log_z) for sequence, log_p in self.log_p.items()}

    @property
    def masked(self) -> Sequences:
        """What masking and renormalising draws."""
        return {
            sequence: math.exp(log_p - math.fsum(math.log(self.mass[prefix]) for prefix in prefixes(sequence)))
            for sequence, log_p in self.log_p.items()
        }


def prefixes(sequence: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every beginning of a sequence, from none of it to all of it."""
    return (sequence[:length] for length in range(len(sequence) + 1))


END = -1


class SequentialASAp:
    """Adaptive sampling with approximate expected futures, as published: one text at a time, a dict for a trie.

    `step` gives what may follow a prefix: {token: probability}, END among them. Each text asks for the rows of all of its
    prefixes again, as a sampler does that keeps nothing of the model from one text to the next.
    """

    def __init__(self, step: Callable[[tuple[int, ...]], dict[int, float]]) -> None:
        self._step = step
        self.bound: dict[tuple[int, ...], float] = {}  # of the future, of the prefixes that were visited

    def shares(self, prefix: tuple[int, ...], row: dict[int, float]) -> dict[int, float]:
        """What each token is drawn with, times the bound of the prefix."""
        return {token: share * self.bound.get((*prefix, token), 1.0) for token, share in row.items()}

    def log_q(self, sequence: tuple[int, ...]) -> float:
        """The log-probability that the next text is this one."""
        total = 0.0
        for length, token in enumerate((*sequence, END)):
            shares = self.shares(sequence[:length], self._step(sequence[:length]))
            total += math.log(shares[token] / math.fsum(shares.values()))
        return total

    def draw(self, source: random.Random) -> tuple[int, ...] | None:
        """One text; None where it came to a dead end."""
        prefix: tuple[int, ...] = ()
        rows: dict[tuple[int, ...], dict[int, float]] = {}
        ended = False
        while True:
            row = rows[prefix] = self._step(prefix)
            shares = self.shares(prefix, row)
            if math.fsum(shares.values()) == 0:
                break
            (token,) = source.choices(list(shares), list(shares.values()))
            if token == END:
                ended = True
                break
            prefix = (*prefix, token)
        self.learn(prefix, rows)
        return prefix if ended else None

    def learn(self, prefix: tuple[int, ...], rows: dict[tuple[int, ...], dict[int, float]] | None = None) -> None:
        """Bring the bounds along a text up to date."""
        for known in reversed(list(prefixes(prefix))):
            row = self._step(known) if rows is None else rows[known]
            self.bound[known] = math.fsum(self.shares(known, row).values())
