"""Particles and chains against brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from aligned_cases import AMBIGUOUS, PLAIN, Remembering, case, chi_square, total_variation

from maskwright.grammars.errors import LimitExceeded
from maskwright.runtime.allowed_rows import Row
from maskwright.runtime.chains import Chains, draw_by_chains
from maskwright.runtime.descents import descend
from maskwright.runtime.enumeration import enumerate_texts
from maskwright.runtime.particles import draw_by_particles
from maskwright.runtime.resampling import systematic
from maskwright.runtime.samples import Budget

BIASED = ["aaaa", "b", "bab", "ba"]


def test_systematic_resampling_keeps_every_share() -> None:
    random = np.random.default_rng(0)
    weights = np.array([0.0, 0.5, 0.125, 0.3, 0.075, 0.0])
    counts = np.zeros(len(weights))
    for _ in range(2000):
        chosen = np.bincount(systematic(weights, 10, random), minlength=len(weights))
        assert (np.abs(chosen - 10 * weights) < 1).all()
        counts += chosen
    assert counts / 20_000 == pytest.approx(weights, abs=0.01)


# ------------------------------------------------------------------------------------------------------- particles


@pytest.mark.parametrize("particles", [1, 4, 16])
@pytest.mark.parametrize("threshold", [0.0, 0.9])
def test_particles_estimate_z_without_bias(particles: int, threshold: float) -> None:
    given = case(9, AMBIGUOUS, ["ab", "aabb", "b", "baba"], spread=0.7, max_tokens=3)
    memory: dict[Any, Row] = {}
    estimates = []
    random = np.random.default_rng(particles)
    for _ in range(1200 // particles):
        try:
            samples = draw_by_particles(
                Remembering(given, memory), particles, random=random, budget=Budget(), threshold=threshold
            )
        except LimitExceeded:  # every particle has died: an estimate of 0
            estimates.append(0.0)
            continue
        estimates.append(math.exp(samples.log_z))
        assert np.logaddexp.reduce(samples.log_weight) - math.log(len(samples.tokens)) == pytest.approx(samples.log_z)
    z, values = math.exp(given.language.log_z), np.array(estimates)
    assert abs(values.mean() - z) < 4 * values.std(ddof=1) / math.sqrt(len(values))


def test_particles_come_to_the_truth() -> None:
    given = case(5, AMBIGUOUS, BIASED)
    samples = draw_by_particles(given.space(), 3000, random=np.random.default_rng(1), budget=Budget())
    chosen = systematic(np.exp(samples.log_weight) / np.exp(samples.log_weight).sum(), 3000, np.random.default_rng(1))
    distance, floor = total_variation([samples.tokens[place] for place in chosen.tolist()], given.language.conditional)
    assert distance < 4 * floor
    unweighted, _ = total_variation(
        draw_by_particles(
            given.space(), 3000, random=np.random.default_rng(1), budget=Budget(), threshold=0.0
        ).tokens, given.language.conditional,
    )  # fmt: skip
    assert unweighted > 20 * floor


def test_potentials_tilt_the_distribution() -> None:
    given = case(5, AMBIGUOUS, BIASED)

    def wish(text: str, complete: bool) -> float:
        return (3.0 if complete else 1.0) * text.count("a") / 4 + (0.5 if text.startswith("b") else 0.0)

    decode = given.compiled.tokenizer_info.decode
    tilted = {
        sequence: math.exp(log_p + wish(decode(sequence).decode(), True))
        for sequence, log_p in given.language.log_p.items()
    }
    z = math.fsum(tilted.values())
    random, estimates, shares = np.random.default_rng(4), [], dict.fromkeys(tilted, 0.0)
    for _ in range(60):
        samples = draw_by_particles(given.space(), 60, random=random, budget=Budget(), potential=wish)
        estimates.append(math.exp(samples.log_z))
        for sequence, log_weight in zip(samples.tokens, samples.log_weight, strict=True):
            shares[sequence] += math.exp(log_weight) / len(samples.tokens) / 60
    values = np.array(estimates)
    assert abs(values.mean() - z) < 4 * values.std(ddof=1) / math.sqrt(len(values))
    for sequence, weight in tilted.items():  # unbiased for each text
        assert shares[sequence] == pytest.approx(weight, rel=0.35, abs=0.01 * z)
    never = draw_by_particles(
        given.space(), 300, random=random, budget=Budget(), potential=lambda text, _: -np.inf if "aa" in text else 0.0
    )
    assert "aaaa" not in {decode(tokens).decode() for tokens in never.tokens}
    with pytest.raises(ValueError, match="potential"):
        draw_by_particles(given.space(), 2, random=random, budget=Budget(), potential=lambda *_: math.nan)


# ------------------------------------------------------------------------------------------------------- chains


@pytest.mark.parametrize("cut", ["restart", "uniform", "entropy"])
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(("seed", "texts"), [(5, BIASED), (4, None)])
def test_a_step_leaves_the_truth_as_it_is(cut: Any, guided: bool, seed: int, texts: Any) -> None:
    """Chains that start from the conditional distribution itself are still there after some steps."""
    given = case(seed, AMBIGUOUS, texts, max_tokens=4)
    random = np.random.default_rng(seed)
    space = given.space()
    for _ in range(3):  # the proposal knows something, and not all
        descend(space, 2, random, guided=True, rejecting=False)
    space.trie.freeze()
    nodes = []
    for sequence in given.language.log_p:
        node = 0
        for token in (*sequence, given.classes.end):
            node = space.add(node, token, space.rows([node])[0].log_probability(token))
        nodes.append(node)
    shares = np.array(list(given.language.conditional.values()))
    starts = random.choice(nodes, size=2000, p=shares / shares.sum())
    chains = Chains(space, starts, cut=cut, guided=guided)
    for _ in range(3):
        chains.step(random)
    assert 0 < chains.accepted < chains.proposed
    assert (chains.nodes != starts).any()
    statistic, quantile = chi_square([space.tokens_of(int(node)) for node in chains.nodes], given.language.conditional)
    assert statistic < quantile


def test_chains_come_nearer_with_every_step() -> None:
    given = case(5, AMBIGUOUS, BIASED)

    def chains(steps: int, **options: Any) -> Any:
        return draw_by_chains(
            given.space(),
            1200,
            steps=steps,
            batch_size=64,
            random=np.random.default_rng(1),
            budget=Budget(),
            **{"cut": "uniform", "guided": False, **options},
        )

    truth = given.language.conditional
    distances = [total_variation(chains(steps).tokens, truth)[0] for steps in (0, 2, 25)]
    assert distances[0] > 1.5 * distances[1] > 3 * distances[2]
    many = chains(25)
    statistic, quantile = chi_square(many.tokens, truth)
    assert statistic < quantile
    assert not many.exact
    assert 0 < many.acceptance_rate < 1
    assert abs(many.log_z - given.language.log_z) < 4 * many.log_z_se
    # Of an independence sampler a bound is known, and it holds.
    for steps in (0, 2, 6):
        restarted = chains(steps, cut="restart")
        distance, floor = total_variation(restarted.tokens, truth)
        assert distance <= restarted.tv_bound + 3 * floor
    # A trie that has learnt all proposes the truth.
    guided = chains(1, cut="restart", guided=True)
    assert guided.acceptance_rate > 0.9
    assert guided.tv_bound < 0.1


def test_chains_of_a_language_with_dead_ends() -> None:
    given = case(9, PLAIN, ["ab", "abca", "c"], spread=0.5, max_tokens=3)
    samples = draw_by_chains(
        given.space(),
        800,
        steps=20,
        cut="entropy",
        guided=False,
        batch_size=32,
        random=np.random.default_rng(0),
        budget=Budget(),
    )
    statistic, quantile = chi_square(samples.tokens, given.language.conditional)
    assert statistic < quantile
    assert len(enumerate_texts(given.space(), 10, 4).tokens) == 2
