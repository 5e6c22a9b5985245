"""Verifiers of draft trees: the exact law of what they emit, by enumeration of every draft and every coin."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from naive_chance import Branching, law_of

from maskwright.runtime.block_verifier import verify_block
from maskwright.runtime.chance import Chance, RandomChance
from maskwright.runtime.draft_tree import DraftTree, TreeBuilder
from maskwright.runtime.verifiers import VERIFIERS, Verifier, division_of, multi_round

Draft = Callable[[TreeBuilder, int, np.ndarray, int, Chance], None]


def independent(builder: TreeBuilder, node: int, q: np.ndarray, count: int, chance: Chance) -> None:
    for _ in range(count):
        builder.draw(node, chance.draws(q), q)


def without(builder: TreeBuilder, node: int, q: np.ndarray, count: int, chance: Chance) -> None:
    left = q.copy()
    for _ in range(min(count, int((q > 0).sum()))):
        token = chance.draws(left)
        builder.draw(node, token, q)
        left[token] = 0.0


def likeliest(builder: TreeBuilder, node: int, q: np.ndarray, count: int, chance: Chance) -> None:
    """Not drawn at all, although `q` is said to be the law."""
    for token in np.argsort(-q)[: min(count, int((q > 0).sum()))]:
        builder.draw(node, int(token), q)


EXACT: list[tuple[str, Draft]] = [
    ("match", independent),
    ("match", without),
    ("match", likeliest),
    ("ratio", independent),
    ("ratio", without),
    ("multi_round", independent),
    ("without_replacement", without),
    ("k_sequential", independent),
]


def problem(seed: int, size: int = 5, masked: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A masked target of `size` tokens, and a proposal that is masked, too, or is not."""
    random = np.random.default_rng(seed)
    legal = random.random(size) < 0.7
    legal[int(random.integers(size))] = True
    p, q = random.dirichlet(np.full(size, 0.6), 2)
    p = np.where(legal, p, 0.0)
    q = np.where(legal, q, 0.0) if masked else q
    return p / p.sum(), q / q.sum()


def emitted(p: np.ndarray, q: np.ndarray, draft: Draft, count: int, verify: Verifier) -> np.ndarray:
    """float64 [V]: the law of the token emitted at the root, over all drafts and all coins."""

    def once(chance: Branching) -> int:
        builder = TreeBuilder()
        draft(builder, 0, q, count, chance)
        return verify(builder.build(), 0, p, chance)

    law = np.zeros(len(p))
    for token, probability in law_of(once).items():
        law[token] = probability
    return law


@pytest.mark.parametrize(("name", "draft"), EXACT)
@pytest.mark.parametrize("masked", [True, False])
def test_each_verifier_emits_the_law_of_the_target(name: str, draft: Draft, masked: bool) -> None:
    for seed in range(6):
        for count in (1, 2, 3):
            p, q = problem(seed, size=4, masked=masked)
            np.testing.assert_allclose(emitted(p, q, draft, count, VERIFIERS[name]), p, atol=1e-12)


@pytest.mark.parametrize(("name", "draft"), EXACT)
def test_two_levels_have_the_law_of_two_tokens(name: str, draft: Draft) -> None:
    """Two draws at the root and two below each child: the joint law of the first two tokens."""
    size = 3
    p, q = problem(1, size)
    below = [problem(10 + token, size) for token in range(size)]

    def once(chance: Branching) -> tuple[int, int]:
        builder = TreeBuilder()
        draft(builder, 0, q, 2, chance)
        for child in range(1, len(builder)):
            draft(builder, child, below[builder.token(child)][1], 2, chance)
        tree = builder.build()
        first = VERIFIERS[name](tree, 0, p, chance)
        node = tree.child(0, first)
        if node < 0:  # not drafted: the next token is plainly sampled
            return first, chance.draws(below[first][0])
        return first, VERIFIERS[name](tree, node, below[first][0], chance)

    law = law_of(once)
    for first in range(size):
        for second in range(size):
            assert law.get((first, second), 0.0) == pytest.approx(p[first] * below[first][0][second], abs=1e-12)


def chained(
    emit: Callable[[DraftTree, Chance], list[int]], laws: list[dict[tuple[int, ...], np.ndarray]], length: int
) -> tuple[dict[tuple[int, ...], float], float]:
    """The law of the first tokens of a walk, and how many drafts are taken on average: one chain, then plain draws.

    `laws` has the target's and the draft's distribution behind each text.
    """
    p, q = laws
    taken = 0.0

    def once(chance: Branching) -> tuple[tuple[int, ...], int]:
        builder, node, text = TreeBuilder(), 0, tuple[int, ...]()
        while len(text) < length:
            token = chance.draws(q[text])
            node, text = builder.draw(node, token, q[text]), (*text, token)
        tree = builder.build()
        tokens = emit(tree, chance)
        count = len(tokens) - (tokens != tree.token[1 : len(tokens) + 1].tolist())
        while len(tokens) <= length:
            tokens.append(chance.draws(p[tuple(tokens)]))
        return tuple(tokens), count

    law: dict[tuple[int, ...], float] = {}
    for (tokens, count), probability in law_of(once).items():
        law[tokens] = law.get(tokens, 0.0) + probability
        taken += count * probability
    return law, taken


def by_block(p: dict[tuple[int, ...], np.ndarray]) -> Callable[[DraftTree, Chance], list[int]]:
    def emit(tree: DraftTree, chance: Chance) -> list[int]:
        texts = [tuple(tree.token[tree.path(node)].tolist()) for node in range(len(tree))]
        plan = verify_block(tree, lambda node: p[texts[node]], chance)
        return [plan[node] for node in sorted(plan)]

    return emit


def by_ratio(p: dict[tuple[int, ...], np.ndarray]) -> Callable[[DraftTree, Chance], list[int]]:
    def emit(tree: DraftTree, chance: Chance) -> list[int]:
        tokens, node = list[int](), 0
        while node >= 0 and tree.first_child[node] >= 0:
            tokens.append(VERIFIERS["ratio"](tree, node, p[tuple(tokens)], chance))
            node = tree.child(node, tokens[-1])
        return tokens

    return emit


def texts_below(length: int, size: int) -> list[tuple[int, ...]]:
    return [text for count in range(length + 1) for text in itertools.product(range(size), repeat=count)]


@pytest.mark.parametrize(("length", "size", "masked"), [(1, 4, True), (2, 3, True), (2, 3, False), (3, 2, False)])
def test_a_block_emits_the_law_of_the_target_and_takes_no_fewer_drafts(length: int, size: int, masked: bool) -> None:
    gains = []
    for seed in range(6):
        problems = {
            text: problem(1000 * seed + place, size, masked) for place, text in enumerate(texts_below(length, size))
        }
        p, q = ({text: both[which] for text, both in problems.items()} for which in (0, 1))
        law, taken = chained(by_block(p), [p, q], length)
        for text in itertools.product(range(size), repeat=length + 1):
            expected = math.prod(float(p[text[:place]][token]) for place, token in enumerate(text))
            assert law.get(text, 0.0) == pytest.approx(expected, abs=1e-12)
        one_by_one, fewer = chained(by_ratio(p), [p, q], length)
        assert one_by_one == pytest.approx(
            {text: share for text, share in law.items() if text in one_by_one}, abs=1e-12
        )
        assert taken >= fewer - 1e-12
        gains.append(taken - fewer)
    assert max(gains) > 1e-3 or length == 1, "with two tokens at least some are made up for"


def test_a_block_with_the_residual_of_a_single_token_is_biased() -> None:
    """Planted: what comes behind the tokens kept is drawn as if these had been judged one by one."""
    worst = 0.0
    for seed in range(6):
        problems = {text: problem(1000 * seed + place, 3) for place, text in enumerate(texts_below(2, 3))}
        p, q = ({text: both[which] for text, both in problems.items()} for which in (0, 1))

        def emit(tree: DraftTree, chance: Chance, p: Any = p, q: Any = q) -> list[int]:
            tokens = by_block(p)(tree, chance)
            if tokens != tree.token[1 : len(tokens) + 1].tolist():
                behind = tuple(tokens[:-1])
                left = np.maximum(p[behind] - q[behind], 0.0)
                tokens[-1] = chance.draws(left if left.sum() > 0 else p[behind])
            return tokens

        law, _ = chained(emit, [p, q], 2)
        for text in itertools.product(range(3), repeat=3):
            expected = math.prod(float(p[text[:place]][token]) for place, token in enumerate(text))
            worst = max(worst, abs(law.get(text, 0.0) - expected))
    assert worst > 1e-3


def test_blocks_are_chains_that_were_drawn() -> None:
    builder, q = TreeBuilder(), np.array([0.5, 0.5])
    builder.draw(0, 0, q)
    builder.draw(0, 1, q)
    with pytest.raises(ValueError, match="one chain"):
        verify_block(builder.build(), lambda node: q, RandomChance(np.random.default_rng(0)))
    guessed = TreeBuilder()
    guessed.add(0, 1)
    with pytest.raises(ValueError, match="verify them by match"):
        verify_block(guessed.build(), lambda node: q, RandomChance(np.random.default_rng(0)))


def biased(law: np.ndarray, p: np.ndarray) -> bool:
    return bool(np.abs(law - p).max() > 1e-3)


def unmasked_bonus(tree: DraftTree, node: int, p: np.ndarray, chance: Chance) -> int:
    """Behind the rejections a token of the unmasked model is drawn."""
    emitted = multi_round(tree, node, p, chance)
    return emitted if tree.child(node, emitted) >= 0 else chance.draws(np.full(len(p), 1 / len(p)))


def once_each(tree: DraftTree) -> DraftTree:
    """Duplicate siblings as one, and judged as if no others had been drawn."""
    return dataclasses.replace(tree, draws=None, _by_token={})


class SharedCoin:
    """One coin for all the children of a node."""

    def __init__(self, chance: Branching, grid: int = 24) -> None:
        self._chance, self._coin, self._grid = chance, -1.0, grid

    def accepts(self, probability: float) -> bool:
        if self._coin < 0:
            self._coin = self._chance.draws(np.ones(self._grid)) / self._grid + 0.5 / self._grid
        return self._coin < probability

    def draws(self, weights: np.ndarray) -> int:
        return self._chance.draws(weights)


PLANTED: list[tuple[str, Draft, Verifier]] = [
    ("argmax drafts judged by ratio", likeliest, VERIFIERS["ratio"]),
    ("repeated draws dropped", independent, lambda t, n, p, c: multi_round(once_each(t), n, p, c)),
    ("draws without replacement judged as with", without, VERIFIERS["multi_round"]),
    ("draws without replacement judged as independent", without, VERIFIERS["k_sequential"]),
    ("unmasked bonus token", independent, unmasked_bonus),
    ("shared coin", independent, lambda t, n, p, c: multi_round(t, n, p, SharedCoin(c))),
]


@pytest.mark.parametrize(("draft", "verify"), [case[1:] for case in PLANTED], ids=[case[0] for case in PLANTED])
def test_planted_bugs_are_caught(draft: Draft, verify: Verifier) -> None:
    found = 0
    for seed in range(6):
        p, q = problem(seed, size=4)
        found += biased(emitted(p, q, draft, 3, verify), p)
    assert found >= 2


def test_an_unmasked_proposal_with_its_illegal_drafts_dropped_is_biased() -> None:
    """The trap of pruning drawn drafts: what is left was not drawn from q any more."""

    def draft(builder: TreeBuilder, node: int, q: np.ndarray, count: int, chance: Chance) -> None:
        for _ in range(count):
            token = chance.draws(q)
            if p[token] > 0:
                builder.draw(node, token, q)

    found = 0
    for seed in range(6):
        p, q = problem(seed, size=4, masked=False)
        found += biased(emitted(p, q, draft, 2, multi_round), p)
    assert found >= 2


def test_masking_the_proposal_raises_acceptance() -> None:
    """Published figures of the direction: masked proposals are accepted more often."""

    def accepted(p: np.ndarray, q: np.ndarray) -> float:
        return float(np.minimum(p, q).sum())

    gains = [accepted(*problem(seed, 8)) - accepted(*problem(seed, 8, masked=False)) for seed in range(50)]
    assert np.mean(gains) > 0.05


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_division_of_k_sequential_balances(count: int) -> None:
    for seed in range(20):
        p, q = problem(seed, 6)
        rho = division_of(p, q, count)
        assert 1 <= rho <= count
        beta = np.minimum(q, p / rho).sum()
        assert 1 - (1 - beta) ** count <= rho * beta + 1e-12
        if 1 < rho:
            assert 1 - (1 - beta) ** count == pytest.approx(rho * beta, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in VERIFIERS if name != "match"])
def test_thought_up_children_have_no_ratio(name: str) -> None:
    builder = TreeBuilder()
    builder.add(0, 2)
    with pytest.raises(ValueError, match="verify them by match"):
        VERIFIERS[name](builder.build(), 0, np.full(4, 0.25), RandomChance(np.random.default_rng(0)))


def test_repeated_draws_are_no_draws_without_replacement() -> None:
    builder, q = TreeBuilder(), np.array([0.5, 0.5])
    builder.draw(0, 1, q)
    builder.draw(0, 1, q)
    with pytest.raises(ValueError, match="with replacement"):
        VERIFIERS["without_replacement"](builder.build(), 0, q, RandomChance(np.random.default_rng(0)))


def test_chances_come_as_often_as_they_say() -> None:
    chance = RandomChance(np.random.default_rng(3))
    weights = np.array([0.0, 3.0, 0.0, 1.0, 0.0])
    counts = np.bincount([chance.draws(weights) for _ in range(4000)], minlength=5)
    assert counts[[0, 2, 4]].sum() == 0
    assert abs(counts[1] - 3000) < 5 * np.sqrt(4000 * 3 / 16)
    assert abs(sum(chance.accepts(0.3) for _ in range(4000)) - 1200) < 5 * np.sqrt(4000 * 0.21)
    assert not any(chance.accepts(0.0) for _ in range(100))
    assert all(chance.accepts(1.0) for _ in range(100))
