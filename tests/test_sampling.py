"""Draws: the filters against transformers' own, frequencies against probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
warpers = pytest.importorskip(
    "transformers.generation.logits_process", reason="transformers is not installed: pip install maskwright[hf]"
)

from maskwright import apply_token_bitmask_inplace  # noqa: E402
from maskwright.sampling import Sampling, choose, draw, generator_of, log_probabilities  # noqa: E402

OPTIONS: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.3},
    {"temperature": 5.0, "top_k": 3},
    {"temperature": 1.0, "top_p": 0.6},
    {"temperature": 2.0, "min_p": 0.2},
    {"temperature": 1.5, "top_k": 7, "top_p": 0.8, "min_p": 0.1},
]


def expected(logits: Any, options: dict[str, Any]) -> Any:
    """[B, V], the probabilities that transformers' filters leave."""
    chain = [warpers.TemperatureLogitsWarper(options["temperature"])]
    chain += [warpers.TopKLogitsWarper(options["top_k"])] if "top_k" in options else []
    chain += [warpers.TopPLogitsWarper(options["top_p"])] if "top_p" in options else []
    chain += [warpers.MinPLogitsWarper(options["min_p"])] if "min_p" in options else []
    for warper in chain:
        logits = warper(None, logits)
    return logits.softmax(1)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_draws_follow_the_filtered_distribution(options: dict[str, Any]) -> None:
    """A fine grid of random numbers gives every token its share, to the grid's width."""
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(1)) * 2
    logits[0, [2, 9]] = -torch.inf
    grid = 4000
    uniforms = (np.arange(grid) + 0.5) / grid
    drawn = choose(logits.expand(grid, -1), Sampling(**options), uniforms)
    shares = torch.bincount(drawn, minlength=12) / grid
    torch.testing.assert_close(shares, expected(logits, options)[0], atol=2 / grid, rtol=0)


def test_the_edges_of_the_random_numbers_draw_allowed_tokens() -> None:
    logits = torch.full((2, 5), -torch.inf)
    logits[:, [1, 3]] = torch.tensor([0.3, -90.0])
    drawn = choose(logits, Sampling(temperature=1.0), np.array([0.0, 1 - 2**-53]))
    assert drawn[0] == 1
    assert drawn[1] in (1, 3)


def test_greedy_takes_the_likeliest_and_a_row_without_any_is_told_apart() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [-torch.inf] * 3, [torch.nan, 1.0, 2.0]])
    for temperature in (0.0, 1.0):
        found = choose(logits, Sampling(temperature=temperature, top_k=1), np.zeros(3))
        assert found.tolist() == [1, -1, -1]


def test_log_probabilities_are_normalised_over_what_is_allowed() -> None:
    logits = torch.tensor([[1.0, -torch.inf, 1.0]])
    assert log_probabilities(logits, torch.tensor([2])).tolist() == pytest.approx([np.log(0.5)])


def test_log_probabilities_are_those_of_torch() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 8, (5, 1000)).astype(np.float32))
    logits[torch.rand(5, 1000, generator=torch.Generator().manual_seed(0)) < 0.7] = -torch.inf
    logits[4, 1:] = -torch.inf
    logits[4, 0] = 3.0
    tokens = choose(logits, Sampling(), np.zeros(5))
    expected = torch.log_softmax(logits.double(), 1).gather(1, tokens[:, None])[:, 0]
    assert log_probabilities(logits, tokens).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("columns", [1, 17, 32, 63, 100, 4130])
@pytest.mark.parametrize("density", [0.02, 0.5, 1.0])
def test_greedy_draws_are_those_of_masked_logits(columns: int, density: float) -> None:
    """One pass under the mask, against masking first; equal logits, infinite ones, masks that end before the logits do."""
    rng = np.random.default_rng(columns)
    logits = rng.normal(0, 8, (6, columns)).astype(np.float32).round(0 if columns < 64 else 3)
    logits[rng.random(logits.shape) < 0.1] = -np.inf
    bitmask = np.packbits(rng.random((6, -(-columns // 32) * 32)) < density, axis=1, bitorder="little").view(np.int32)
    if columns > 64:
        bitmask = np.ascontiguousarray(bitmask[:, :-2])
    masked = torch.from_numpy(logits.copy())
    apply_token_bitmask_inplace(masked, bitmask)
    expected = choose(masked, Sampling(), np.zeros(6))
    tokens, logprobs = draw(torch.from_numpy(logits), bitmask, Sampling(), [generator_of(0, 0, 0)] * 6)
    assert tokens == expected.tolist()
    wanted = torch.log_softmax(masked.double(), 1).gather(1, expected.clamp(min=0)[:, None])[:, 0]
    for token, logprob, value in zip(tokens, logprobs, wanted.tolist(), strict=True):
        assert token < 0 or logprob == pytest.approx(value, abs=1e-5)


def test_what_is_not_allowed_is_not_looked_at() -> None:
    """Not even where it is not a number; where an allowed logit is none, nothing is drawn."""
    logits = torch.zeros(3, 40)
    logits[0, 7], logits[1, 7], logits[2, 39] = torch.nan, torch.nan, torch.inf
    bitmask = np.full((3, 2), -1, np.int32)
    bitmask[0, 0] = ~(1 << 7)
    tokens, logprobs = draw(logits, bitmask, Sampling(), [generator_of(0, 0, 0)] * 3)
    assert tokens == [0, -1, -1]
    assert logprobs[0] == pytest.approx(-np.log(39), abs=1e-6)


def test_generators_differ_by_seed_prompt_and_sample() -> None:
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)]
    first = [generator_of(*place).random() for place in places]
    assert len(set(first)) == len(places)
    assert first == [generator_of(*place).random() for place in places]
