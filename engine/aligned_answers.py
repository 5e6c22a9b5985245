"""The hand-over of generate(..., method=...) to AlignedSampler: answers as chunks, each of them whole.

Methods whose draws stand for the model with their weights only are given a population, of which as many answers as were
asked for are drawn by weight.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from maskwright.aligned import AlignedSampler, Method
from maskwright.aligned_result import AlignedResult
from maskwright.answers import Meaning
from maskwright.decoding import Request
from maskwright.prefix_model import PrefixModel
from maskwright.results import GenerationResult, MaskStatistics, StreamChunk, Timings
from maskwright.sampling import Sampling

__all__ = ["aligned_chunks"]

_POPULATION = 32  # weighted draws at least, of which answers are taken


def aligned_chunks(
    model: Any,
    tokenizer: Any,
    requests: Sequence[Request],
    meanings: Sequence[Meaning],
    method: Method,
    *,
    samples: int,
    sampling: Sampling,
    entropy: int,
    progress: bool,
    draft: Any = None,
) -> Generator[StreamChunk]:
    """One chunk for each answer, prompt by prompt.

    Raises:
        ValueError: `method` is unknown, or the temperature is 0, at which there is nothing to sample; or `draft` does not fit.
    """
    samplers: dict[tuple[int, int], AlignedSampler] = {}
    shared = PrefixModel(model)  # one cache for all prompts
    for request in requests:
        key = id(request.compiled), request.limit
        if key not in samplers:
            samplers[key] = AlignedSampler(
                shared,
                request.compiled,
                method,
                tokenizer=tokenizer,
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                min_p=sampling.min_p,
                max_tokens=request.limit,
                draft=draft,
            )

    def chunks() -> Generator[StreamChunk]:
        for prompt, (request, meaning) in enumerate(zip(requests, meanings, strict=True)):
            seed = np.random.SeedSequence(entropy, spawn_key=(prompt,)).generate_state(4).tolist()
            started = perf_counter()
            sampler = samplers[id(request.compiled), request.limit]
            result = _sampled(sampler, request, samples, seed, progress)
            seconds = perf_counter() - started
            chosen = _answers(result, samples, np.random.default_rng(seed))
            for sample, place in enumerate(chosen):
                answer = _result(result, place, request, meaning, seconds)
                yield StreamChunk(answer.text, answer.text, True, prompt, sample, answer, meaning.grow)

    return chunks()


def _sampled(sampler: AlignedSampler, request: Request, samples: int, seed: list[int], progress: bool) -> AlignedResult:
    """At least as many texts as were asked for, or a population to choose them from."""
    count = samples if sampler.method in ("cars", "rejection", "mcmc") else max(samples, _POPULATION)
    return sampler.sample(list(request.ids), count, seed=seed, progress=progress)


def _answers(result: AlignedResult, samples: int, random: np.random.Generator) -> list[int]:
    """Which of the texts are the answers."""
    if result.exact or result.method == "mcmc":
        return list(range(samples))
    return result.chosen(samples, random)


def _result(result: AlignedResult, place: int, request: Request, meaning: Meaning, seconds: float) -> GenerationResult:
    text, tokens = result.texts[place], result.token_ids[place]
    return GenerationResult(
        value=meaning.value(text),
        text=text,
        tokens=tokens,
        logprobs=result.token_logprobs[place],
        forced=(False,) * len(tokens),
        prompt_tokens=len(request.ids),
        finish_reason="stop",
        timings=Timings(meaning.compile_seconds, 0.0, seconds, 0.0),
        statistics=MaskStatistics(0, 0.0, 0.0, 0, 0, result.stats.forwards),
        aligned=result,
    )
