"""Draws: the filters against transformers' own, frequencies against probabilities, and what is the same whatever draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
warpers = pytest.importorskip(
    "transformers.generation.logits_process", reason="transformers is not installed: pip install maskwright[hf]"
)

from kernel_cases import DTYPES, TRITON, chi_square, device_of  # noqa: E402

from maskwright import apply_token_bitmask_inplace  # noqa: E402
from maskwright.sampling import Drawn, Sampler, Sampling, seed_of  # noqa: E402
from maskwright.step_masks import StepMasks  # noqa: E402

OPTIONS: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.3},
    {"temperature": 5.0, "top_k": 3},
    {"temperature": 1.0, "top_p": 0.6},
    {"temperature": 2.0, "min_p": 0.2},
    {"temperature": 1.5, "top_k": 7, "top_p": 0.8, "min_p": 0.1},
]


def masks_of(bitmask: np.ndarray, device: Any = "cpu") -> StepMasks:
    return StepMasks(torch.from_numpy(bitmask).to(device), None, [1] * len(bitmask))


def drawn(logits: Any, bitmask: np.ndarray, sampling: Sampling, **options: Any) -> Drawn:
    count = len(logits)
    return Sampler(sampling, **options).draw(
        logits, masks_of(bitmask, logits.device), [seed_of(0, 0, 0)] * count, range(count)
    )


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
    count = 20_000
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(1)) * 2
    bitmask = np.array([[0b1101_1111_1011]], np.int32)
    found = drawn(logits.expand(count, -1), bitmask.repeat(count, 0), Sampling(**options))
    logits[0, [2, 9]] = -torch.inf
    law = expected(logits, options)[0]
    statistic, bound = chi_square(np.bincount(found.tokens, minlength=12), count * law.double().numpy())
    assert statistic < bound
    # Log-probabilities are those of what is drawn from.
    assert found.logprobs == pytest.approx(law.log()[found.tokens].tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        *((backend, dtype) for backend in ("torch", "numba") for dtype in DTYPES),
        pytest.param("triton", DTYPES[1], marks=TRITON.marks),
    ],
)
def test_a_draw_depends_on_its_seed_and_position_alone(backend: str, dtype: Any) -> None:
    """Not on the back end, not on the batch."""
    generator = torch.Generator().manual_seed(2)
    logits = (3 * torch.randn(4, 70, generator=generator)).to(dtype)
    bitmask = np.random.default_rng(0).integers(-(2**31), 2**31, (4, 3)).astype(np.int32)
    seeds, positions = [5, -(2**63), 2**63 - 1, seed_of(10**30, 2, 3)], [0, 7, 1, 100_000]
    sampling = Sampling(0.8, top_k=20, top_p=0.95, min_p=0.01)
    reference = Sampler(sampling, backend="torch", with_mass=True)
    wanted = reference.draw(logits, masks_of(bitmask), seeds, positions)
    sampler, device = Sampler(sampling, backend=backend, with_mass=True), device_of(backend)
    found = sampler.draw(logits.to(device), masks_of(bitmask, device), seeds, positions)
    assert found.tokens == wanted.tokens
    assert found.logprobs == pytest.approx(wanted.logprobs, abs=2e-5)
    assert found.log_valid_masses == pytest.approx(wanted.log_valid_masses, abs=2e-5)
    alone = sampler.draw(logits[[2]].to(device), masks_of(bitmask[[2]], device), [seeds[2]], [positions[2]])
    assert (alone.tokens[0], alone.logprobs[0]) == (found.tokens[2], found.logprobs[2])


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
    best, tokens = masked.max(1)
    tokens = tokens.where(best.isfinite(), -1)
    wanted = torch.log_softmax(masked.double(), 1).gather(1, tokens.clamp(min=0)[:, None])[:, 0]
    for options in ({}, {"backend": "numba", "with_mass": True}, {"backend": "torch"}):
        found = drawn(torch.from_numpy(logits), bitmask, Sampling(), **options)
        assert found.tokens == tokens.tolist()
        for token, logprob, value in zip(found.tokens, found.logprobs, wanted.tolist(), strict=True):
            assert token < 0 or logprob == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1e-6, 1.0])
def test_what_is_not_allowed_is_not_looked_at(temperature: float) -> None:
    """Not even where it is not a number; where an allowed logit is none, nothing is drawn."""
    logits = torch.zeros(3, 40)
    logits[0, 7], logits[1, 7], logits[2, 39] = torch.nan, torch.nan, torch.inf
    bitmask = np.full((3, 2), -1, np.int32)
    bitmask[0, 0] = ~(1 << 7)
    found = drawn(logits, bitmask, Sampling(temperature))
    assert found.tokens[1:] == [-1, -1]
    assert found.tokens[0] not in (-1, 7)
    assert temperature or found.tokens[0] == 0
    assert found.logprobs[0] == pytest.approx(-np.log(39), abs=1e-6)


def test_a_token_that_is_put_back_leaves_a_draw_from_the_rest() -> None:
    """The tokens that could be drawn keep their noise: over many positions, the law is the softmax without it."""
    count, sampler = 20_000, Sampler(Sampling(1.0))
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0]).repeat(count, 1)
    masks = masks_of(np.full((count, 1), 0b1111, np.int32))
    first = sampler.draw(logits, masks, [9] * count, range(count))
    logits[:, 0] = -torch.inf
    second = sampler.draw(logits, masks, [9] * count, range(count))
    assert all(one == other for one, other in zip(first.tokens, second.tokens, strict=True) if one)
    law = logits[0].softmax(0).double().numpy()
    statistic, bound = chi_square(np.bincount(second.tokens, minlength=4), count * law)
    assert statistic < bound


def test_seeds_differ_by_entropy_prompt_and_sample() -> None:
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (2**200, 0, 0)]
    first = [seed_of(*place) for place in places]
    assert len(set(first)) == len(places)
    assert first == [seed_of(*place) for place in places]
    assert all(-(2**63) <= seed < 2**63 for seed in first)
