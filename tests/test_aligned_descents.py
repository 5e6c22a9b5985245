"""Sampling by descents against brute force: masked, importance, rejection, asap, cars; the trie and its bounds."""

from __future__ import annotations

import math
from typing import Any

import naive_aligned as naive
import numpy as np
import pytest
from aligned_cases import (
    AMBIGUOUS,
    PLAIN,
    TWICE,
    Case,
    Remembering,
    case,
    chi_square,
    exact_divergence,
    log_weight,
    total_variation,
)

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars.errors import LimitExceeded, ModelError, TokenizerError, TruncatedError, UnsatisfiableError
from maskwright.runtime.aligned_trie import ROOT, AlignedTrie
from maskwright.runtime.allowed_rows import Row
from maskwright.runtime.conditional import Conditional
from maskwright.runtime.descent_methods import draw_automatically, draw_by_descents
from maskwright.runtime.descents import Outcome, descend
from maskwright.runtime.enumeration import enumerate_texts
from maskwright.runtime.samples import Budget, log_mean_exp
from maskwright.runtime.warping import Target, TokenClasses

# What the model gives to texts that the mask lets begin and then forbids: masking prefers "aaaa" far beyond its share.
BIASED = ["aaaa", "b", "bab", "ba"]


def draws(given: Case, method: Any, count: int, seed: int, space: Conditional | None = None, batch: int = 16) -> Any:
    return draw_by_descents(
        given.space() if space is None else space,
        method,
        count,
        batch_size=batch,
        random=np.random.default_rng(seed),
        budget=Budget(attempts=1_000_000),
    )


# ------------------------------------------------------------------------------------------------------- enumeration


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tokens", [PLAIN, AMBIGUOUS, TWICE], ids=["plain", "ambiguous", "twice"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.6},
        {"top_p": 0.8, "temperature": 1.5},
        {"max_tokens": 2},
        {"max_tokens": 2, "on_max": "force_eos"},
    ],
    ids=str,
)
def test_enumeration_is_brute_force(seed: int, tokens: Any, options: dict[str, Any]) -> None:
    given = case(seed, tokens, **options)
    expected = given.language.log_p
    if not expected:
        with pytest.raises(UnsatisfiableError):
            enumerate_texts(given.space(), 1000, 16)
        return
    space = given.space()
    found = enumerate_texts(space, 1000, 16)
    assert dict(zip(found.tokens, found.log_p, strict=True)) == pytest.approx(expected, abs=1e-9)
    assert found.log_z == pytest.approx(given.language.log_z, abs=1e-9)
    # The whole language has been seen, so that both bounds are Z.
    assert space.log_z_bounds == pytest.approx((given.language.log_z,) * 2, abs=1e-9)
    space.trie.validate()


def test_enumeration_stops_at_its_limit() -> None:
    given = case(0)
    with pytest.raises(LimitExceeded, match="max_strings"):
        enumerate_texts(given.space(), 3, 16)


# ------------------------------------------------------------------------------------------------------- exactness


@pytest.mark.parametrize("method", ["cars", "rejection"])
@pytest.mark.parametrize(
    ("seed", "tokens", "options"),
    [(1, PLAIN, {}), (2, AMBIGUOUS, {}), (3, TWICE, {"top_p": 0.9}), (4, AMBIGUOUS, {"max_tokens": 3})],
)
@pytest.mark.parametrize("batch", [1, 16])
def test_exact_methods_draw_the_truth(method: str, seed: int, tokens: Any, options: Any, batch: int) -> None:
    given = case(seed, tokens, spread=1.0, **options)
    memory: dict[Any, Row] = {}
    samples = draws(given, method, 1000, seed, Remembering(given, memory), batch)
    statistic, quantile = chi_square(samples.tokens, given.language.conditional)
    assert statistic < quantile
    distance, floor = total_variation(samples.tokens, given.language.conditional)
    assert distance < 3 * floor
    assert samples.exact
    assert samples.log_p == pytest.approx([given.language.log_p[tokens] for tokens in samples.tokens], abs=1e-9)


def test_masking_fails_the_test_that_exact_methods_pass() -> None:
    given = case(5, AMBIGUOUS, BIASED)
    statistic, quantile = chi_square(draws(given, "cars", 1500, 1).tokens, given.language.conditional)
    assert statistic < quantile
    samples = draws(given, "masked", 1500, 1)
    statistic, quantile = chi_square(samples.tokens, given.language.conditional)
    assert statistic > 3 * quantile
    # It draws what masking draws, by brute force ...
    statistic, quantile = chi_square(samples.tokens, given.language.masked)
    assert statistic < quantile
    # ... and its weights tell the truth.
    weights = np.exp(samples.log_weight - samples.log_weight.max())
    for sequence, share in given.language.conditional.items():
        drawn = np.array([tokens == sequence for tokens in samples.tokens])
        assert (weights * drawn).sum() / weights.sum() == pytest.approx(share, abs=0.05)


def test_a_trie_of_another_prompt_is_caught() -> None:
    """The published implementation shared one between prompts: then the bounds are those of another model."""
    given, other = case(5, AMBIGUOUS, BIASED), case(6, AMBIGUOUS, BIASED, spread=3.0)
    elsewhere = other.space()
    draws(other, "asap", 300, 1, elsewhere)
    mixed = given.space(trie=elsewhere.trie)
    mixed._rows, mixed._pinned = elsewhere._rows, elsewhere._pinned
    drawn = descend(mixed, 4000, np.random.default_rng(1), guided=True, rejecting=True)
    accepted = [tokens for tokens, what in zip(drawn.tokens, drawn.outcomes, strict=True) if what == Outcome.WHOLE]
    assert len(accepted) > 200
    statistic, quantile = chi_square(accepted, given.language.conditional)
    assert statistic > 3 * quantile


def test_an_exact_method_favours_no_short_text() -> None:
    """Batches are wide, and few texts are wanted of each: whoever took what is finished first would take short ones."""
    given = case(7, PLAIN, ["a", "abcabc"], spread=0.3)
    memory: dict[Any, Row] = {}
    firsts = [
        draws(given, "cars", 1, seed, Remembering(given, memory), batch=64).tokens[0] for seed in range(600)
    ]  # fmt: skip
    statistic, quantile = chi_square(firsts, given.language.conditional)
    assert statistic < quantile


# ------------------------------------------------------------------------------------------------------- weights


def test_weights_are_those_of_the_published_method() -> None:
    """P / q to 1e-9, q computed by a sequential implementation that learns from the same texts."""
    for seed in range(5):
        given = case(seed)
        language, space, random = given.language, given.space(), np.random.default_rng(seed)

        def step(prefix: tuple[int, ...], language: naive.Language = language) -> dict[int, float]:
            text = b"".join(AMBIGUOUS[token] or b"" for token in prefix)
            following, end = language.step(prefix, text)
            return following | ({naive.END: end} if end else {})

        reference = naive.SequentialASAp(step)
        for _ in range(12):
            for sequence in language.log_p:
                expected = language.log_p[sequence] - reference.log_q(sequence)
                assert log_weight(space.trie, language, sequence, given.classes.end) == pytest.approx(
                    expected, abs=1e-9
                )
            drawn = descend(space, 1, random, guided=True, rejecting=False)
            sequence = drawn.tokens[0]
            assert drawn.outcomes[0] == Outcome.WHOLE
            assert drawn.log_p[0] == pytest.approx(language.log_p[sequence], abs=1e-9)
            assert drawn.log_q[0] == pytest.approx(reference.log_q(sequence), abs=1e-9)
            reference.learn(sequence)


def test_the_estimate_of_z_is_unbiased_whatever_came_before() -> None:
    """The mean over 10,000 tries that start from nothing, at the first, the fifth and the twentieth descent."""
    given = case(8, AMBIGUOUS, ["ab", "b"], spread=1.0)
    memory: dict[Any, Row] = {}
    runs, descents = 10_000, 20
    random = np.random.default_rng(8)
    weights = np.empty((runs, descents))
    for run in range(runs):
        space = Remembering(given, memory)
        for number in range(descents):
            if number and space.log_z_bounds[0] > space.log_z_bounds[1] - 1e-12:  # all is known: the weight is Z
                weights[run, number:] = np.exp(space.log_z_bounds[1])
                break
            weights[run, number] = np.exp(descend(space, 1, random, guided=True, rejecting=False).log_weights[0])
    z = math.exp(given.language.log_z)
    for number in (0, 4, 19):
        column = weights[:, number]
        error = max(float(column.std(ddof=1)) / math.sqrt(runs), 1e-9 * z)
        assert abs(column.mean() - z) < 4 * error, f"descent {number + 1}: {column.mean()} is not {z} (+- {error})"
    assert weights[:, 0].std() > 3 * weights[:, 19].std()


@pytest.mark.parametrize("method", ["masked", "asap", "cars"])
def test_the_estimate_of_z_is_unbiased_in_batches(method: str) -> None:
    """With dead ends, and until so many texts are there."""
    given = case(9, AMBIGUOUS, ["ab", "aabb", "b", "baba"], spread=0.7, max_tokens=3)
    memory: dict[Any, Row] = {}
    estimates = np.array(
        [math.exp(draws(given, method, 6, seed, Remembering(given, memory), batch=4).log_z) for seed in range(1500)]
    )
    z = math.exp(given.language.log_z)
    assert abs(estimates.mean() - z) < 4 * estimates.std(ddof=1) / math.sqrt(len(estimates))


def test_a_batch_draws_as_one_descent_after_another() -> None:
    """What a batch sees is the trie as it was frozen, whatever its other descents find."""
    given = case(10)
    memory: dict[Any, Row] = {}
    for batch in (1, 32):
        space, random = Remembering(given, memory), np.random.default_rng(batch)
        for _ in range(6):
            descend(space, 1, random, guided=True, rejecting=False)
        q = {
            sequence: math.exp(log_p - log_weight(space.trie, given.language, sequence, given.classes.end))
            for sequence, log_p in given.language.log_p.items()
        }
        assert math.fsum(q.values()) == pytest.approx(1.0, abs=1e-9)
        drawn = []
        for _ in range(2000 // batch):
            drawn += descend(space, batch, random, guided=True, rejecting=False, settle=False).tokens
        statistic, quantile = chi_square(drawn, q)
        assert statistic < quantile


# ------------------------------------------------------------------------------------------------------- the trie


@pytest.mark.parametrize("method", ["masked", "asap", "cars"])
def test_bounds_close_around_z_and_never_open(method: str) -> None:
    for seed in range(8):
        given = case(seed, AMBIGUOUS if seed % 2 else TWICE, max_tokens=3 + seed % 3)
        if not given.language.log_p:
            continue
        space, random, z = given.space(), np.random.default_rng(seed), given.language.log_z
        before = np.zeros(1)
        low = -np.inf
        for _ in range(25):
            descend(space, 3, random, guided=method != "masked", rejecting=method == "cars")
            trie = space.trie
            trie.validate()
            theta = trie.log_theta[: len(before)].copy()
            assert (theta <= before).all()
            assert low <= trie.log_low[ROOT] <= z + 1e-9
            assert z <= trie.log_theta[ROOT] + 1e-9
            before, low = trie.log_theta[: trie.size].copy(), trie.log_low[ROOT]
            divergence = exact_divergence(trie, given.language, given.classes.end)
            assert -1e-9 <= divergence <= trie.log_theta[ROOT] - trie.log_low[ROOT] + 1e-9
        # theta bounds what every prefix can become.
        for node in range(trie.size):
            if not trie.ended[node]:
                future = given.language.future.get(space.tokens_of(node), 0.0)
                assert math.exp(trie.log_low[node]) <= future * (1 + 1e-9)
                assert future <= math.exp(trie.log_theta[node]) * (1 + 1e-9)


def test_reported_bounds_hold() -> None:
    given = case(11, AMBIGUOUS, BIASED)
    for method in ("masked", "asap"):
        samples = draws(given, method, 40, 3)
        q = given.language.masked
        if method == "masked":
            divergence = math.fsum(p * math.log(p / q[key]) for key, p in given.language.conditional.items())
            distance = 0.5 * math.fsum(abs(p - q[key]) for key, p in given.language.conditional.items())
            assert divergence <= samples.kl_bound
            assert distance <= samples.tv_bound
        assert 0 <= samples.tv_bound <= 1
        assert samples.log_z_se > 0


def test_sampling_converges_to_the_truth() -> None:
    given = case(12)
    space, random = given.space(), np.random.default_rng(0)
    divergences = []
    for _ in range(8):
        divergences.append(exact_divergence(space.trie, given.language, given.classes.end))
        descend(space, 50, random, guided=True, rejecting=False)
    assert divergences[0] > 10 * divergences[-1]
    assert divergences[-1] < 1e-2


def test_a_trie_that_is_full_forgets_and_stays_right() -> None:
    given = case(2, spread=1.0)
    memory: dict[Any, Row] = {}
    space = Remembering(given, memory, trie=AlignedTrie(max_bytes=0))
    space.trie.max_nodes = 5
    samples = draws(given, "cars", 1500, 1, space)
    assert space.trie.size == 5
    assert space.trie.forgotten > 0
    space.trie.validate()
    statistic, quantile = chi_square(samples.tokens, given.language.conditional)
    assert statistic < quantile
    low, high = space.log_z_bounds
    assert low <= given.language.log_z <= high
    unbiased = draws(given, "asap", 4000, 2, space)
    assert abs(unbiased.log_z - given.language.log_z) < 4 * unbiased.log_z_se


def test_rows_that_were_let_go_are_asked_for_again() -> None:
    given = case(13)
    kept, poor = given.space(), given.space(row_bytes=1)
    ours, theirs = draws(given, "asap", 300, 1, kept), draws(given, "asap", 300, 1, poor)
    assert ours.tokens == theirs.tokens
    assert ours.log_q == pytest.approx(theirs.log_q, abs=1e-12)
    assert poor.stats.rows_recomputed > 0 == kept.stats.rows_recomputed


def test_rows_draw_what_their_weights_say() -> None:
    random = np.random.default_rng(0)
    row = Row.of(np.array([2, 5, 7, 9]), np.array([-1.0, -np.inf, -2.0, -700.0]))
    assert row.tokens.tolist() == [2, 7, 9]
    assert row.log_mass == pytest.approx(np.logaddexp(-1.0, -2.0))
    drawn = [row.draw(uniform)[0] for uniform in random.random(4000)]
    shares = {2: math.exp(-1 - row.log_mass), 7: math.exp(-2 - row.log_mass), 9: 0.0}
    statistic, quantile = chi_square(drawn, {key: share for key, share in shares.items() if share})
    assert statistic < quantile
    # Of what is left, however little, the first and the last number draw something.
    rest = row.without(np.array([2, 7]))
    assert {row.draw(uniform, rest)[0] for uniform in (0.0, 0.5, np.nextafter(1, 0))} == {9}
    assert row.draw(0.3, rest)[1:] == pytest.approx((-700.0, 0.0))
    assert row.log_probability(5) == -np.inf


# ------------------------------------------------------------------------------------------------------- options


def test_auto_says_what_it_chose() -> None:
    given = case(14, spread=1.0)

    def automatic(threshold: float, seed: int) -> Any:
        return draw_automatically(
            given.space(),
            50,
            batch_size=16,
            random=np.random.default_rng(seed),
            budget=Budget(attempts=10_000),
            threshold=threshold,
        )

    exact = automatic(0.01, 1)
    assert exact.method == "cars"
    assert exact.exact
    assert "exact" in exact.reason
    space = case(14, AMBIGUOUS, ["aaaaaaaa"], spread=1.0).space()
    weighted = draw_automatically(
        space, 3, batch_size=1, random=np.random.default_rng(1), budget=Budget(), threshold=1.0
    )  # fmt: skip
    assert weighted.method in ("cars", "asap")
    assert weighted.reason


def test_a_text_that_is_too_long_is_an_error_where_it_should_be() -> None:
    given = case(15, PLAIN, ["abcabc"], max_tokens=3, on_max="error")
    with pytest.raises(TruncatedError) as caught:
        draws(given, "masked", 1, 1)
    assert caught.value.text == "abc"


def test_truncations_and_dead_ends_are_counted() -> None:
    given = case(16, AMBIGUOUS, ["abababab", "b"], max_tokens=3, spread=0.5)
    space = given.space()
    samples = draws(given, "masked", 50, 1, space)
    assert set(map(given.compiled.tokenizer_info.decode, samples.tokens)) == {b"b"}
    assert space.stats.dead_ends == space.stats.truncations > 0
    assert space.stats.attempts == 50 + space.stats.dead_ends


def test_what_cannot_be_sampled_is_said() -> None:
    given = case(17, PLAIN, ["abc"], top_p=1e-9)
    with pytest.raises(UnsatisfiableError, match="no text of the grammar"):
        draws(given, "asap", 1, 1)
    given = case(17, PLAIN, ["abcabcabc"], spread=6.0)
    with pytest.raises(LimitExceeded, match="no text was found"):
        draw_by_descents(
            given.space(), "rejection", 1, batch_size=4, random=np.random.default_rng(0), budget=Budget(attempts=8)
        )
    with pytest.raises(TokenizerError, match="end-of-sequence"):
        TokenClasses(TokenizerInfo([b"a"]))
    with pytest.raises(ModelError, match="finite"):
        Target().log_probabilities(np.array([[np.nan, 0, 0, 0]]), given.classes)
    with pytest.raises(ModelError, match="wider"):
        Target().log_probabilities(np.zeros((1, 2)), given.classes)
    for options in ({"temperature": 0}, {"top_p": 0}, {"top_k": -1}, {"min_p": 2}, {"max_tokens": 0}, {"on_max": "x"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Target(**options)  # type: ignore[arg-type]


def test_budgets_stop_between_batches() -> None:
    given = case(18)
    for budget in (Budget(forward_tokens=5), Budget(attempts=10), Budget(seconds=0.0)):
        space = given.space()
        try:
            samples = draw_by_descents(
                space, "asap", 10_000, batch_size=4, random=np.random.default_rng(0), budget=budget
            )
        except LimitExceeded:
            assert budget.seconds == 0.0
        else:
            assert samples is not None
            assert 0 < len(samples.tokens) < 100
    seen = []
    draw_by_descents(
        given.space(), "asap", 20, batch_size=5, random=np.random.default_rng(0), budget=Budget(), report=seen.append
    )
    assert [progress.done for progress in seen] == [0, 5, 10, 15, 20]
    assert all(low <= high for low, high in (progress.log_z_bounds for progress in seen))


def test_the_mean_of_weights_may_be_smaller_than_any_float() -> None:
    mean, error = log_mean_exp(np.array([-2000.0, -2000.0, -np.inf]))
    assert mean == pytest.approx(-2000 + math.log(2 / 3))
    assert error > 0
    assert log_mean_exp(np.array([-np.inf])) == (-np.inf, np.inf)
