"""`generate`: a model and a schema in, a validated object out.

    generate(model, "Extract the order: ...", schema=Order)                 an Order
    generate(model, ["...", "..."], schema=[Order, Invoice])                a batch: an Order and an Invoice
    for chunk in generate(prompt="...", schema=Order, stream=True): ...     as it grows, from the embedded model
    await agenerate(model, "...", choices=["yes", "no"])                    beside other work

This module reads the arguments and arranges the answers. The loop is in decoding.py; loading.py finds the model,
prompts.py makes token ids, sampling.py draws, budget.py sees to it that answers are complete.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import operator
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from maskwright.aligned import Method
from maskwright.aligned_answers import aligned_chunks
from maskwright.answers import Meaning, chunks_of, collected
from maskwright.compile.grammar import CompiledGrammar
from maskwright.compiler import GrammarCompiler
from maskwright.decoding import Decoder, Request
from maskwright.grammars.errors import InvalidError, TokenizerError
from maskwright.grammars.grammar import Grammar
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.python_types import schema_from
from maskwright.kernels.backends import Backend
from maskwright.loading import compiler_of, context_size, resolve
from maskwright.prompts import as_batch, prompt_ids
from maskwright.results import StreamChunk
from maskwright.sampling import Sampling

__all__ = ["agenerate", "generate"]


def generate(
    model: Any = None,
    prompt: Any = "",
    *,
    schema: Any = None,
    regex: Any = None,
    choices: Any = None,
    substring: Any = None,
    grammar: Any = None,
    tokenizer: Any = None,
    max_new_tokens: int = 512,
    temperature: float | None = None,
    top_p: float = 1.0,
    top_k: int | None = None,
    min_p: float = 0.0,
    seed: int | None = None,
    n: int = 1,
    stream: bool = False,
    return_result: bool = False,
    progress: bool = False,
    jump_forward: bool | None = None,
    draft: Any = None,
    valid_mass: bool = False,
    backend: Backend | None = None,
    method: Method = "masked",
    **policy: Any,
) -> Any:
    """Let a model answer inside a schema, a pattern, a list of choices, a text or a grammar; exactly one of the five.

    Args:
        model: a causal language model of transformers; the folder or hub name of one; None for the embedded model,
            which extracts what `schema` describes from the prompt, or tells which of `choices` fits it.
        prompt: text; or messages, a list of {"role": ..., "content": ...} for the tokenizer's chat template; or a list
            of either, a batch.
        schema: a pydantic model, dataclass, TypedDict or other type that pydantic understands; or a JSON Schema as a
            dict, a bool or JSON text; or a function, whose arguments are then the answer, as a dict. For a batch also a
            list of these, one for each prompt; so are the next four.
        regex: a pattern that the whole answer matches.
        choices: the texts that the answer may be.
        substring: a text that the answer is a span of, the empty one too (`GrammarCompiler.compile_substring` has
            options; give what it returns as `grammar`).
        grammar: a Grammar, its text in EBNF, a structural tag as a dict (docs/tools.md), or a CompiledGrammar over the
            model's vocabulary.
        tokenizer: the model's tokenizer; None takes the one beside the model.
        max_new_tokens: tokens of an answer at most, the end-of-sequence token not counted. Every answer is completed
            within them: a token is taken only if the shortest completion behind it still fits. An answer that ends by
            itself costs no more for a generous limit.
        temperature: 0 takes the likeliest allowed token at each step; 1 samples from the model's distribution over
            the allowed tokens. None is 0, and 1 with another `method` than "masked".
        top_p: sample among the likeliest allowed tokens that together have this probability.
        top_k: sample among this many likeliest allowed tokens; None or 0: among all.
        min_p: sample among the tokens at least this many times as likely as the likeliest.
        seed: makes sampling repeatable, whatever else is in the batch; None draws a fresh one.
        n: answers for each prompt, which is read once.
        stream: give an iterator of StreamChunk instead; each chunk is a step of one answer.
        return_result: give GenerationResult instead of values: text, tokens, log-probabilities, timings, statistics.
        progress: show a progress bar on standard error.
        jump_forward: append text that the grammar forces without asking the model for each token; None: unless
            `valid_mass` asks for every token.
        draft: speculative decoding: guess several tokens and have the model verify them in one forward. The answers stay
            the same. "auto"; or who drafts: "grammar", "lookup", "suffix", "recycling", "automaton", "trigram", a draft
            model or its name, a list of these; or a Speculation. docs/speculative.md. Also with another
            `method` than "masked", but for "smc".
        valid_mass: have results tell for each token how much probability the allowed ones had before masking.
        backend: what masks and draws, "numba", "torch" or "triton" (docs/kernels.md); None chooses by the model's device.
            Which of them it is changes nothing about the answers.
        method: "masked" draws each token from what the mask allows. "auto", "cars", "asap", "importance", "rejection",
            "smc" and "mcmc" draw whole answers from the model's own distribution conditioned on the form
            (docs/sampling.md); results then have `aligned`, and answers of at most `max_new_tokens` are conditioned on.
        policy: with `schema`, options of the text policy (maskwright.grammars.options), such as whitespace="compact".

    Returns:
        An instance of `schema` where it is a type, the parsed JSON where it is a JSON Schema, and the text as str for
        `regex`, `choices` and `substring` (and for `grammar`, unless it was compiled from a type). With n > 1 a list of n
        of them; for a batch a list with one entry for each prompt, in order.

    Raises:
        GrammarError: the schema or pattern is invalid, unsupported, unsatisfiable or beyond a limit.
        BackendError: the back end is not installed, or does not work on the model's device.
        ModelError: the model cannot be loaded or decoded.
        TokenizerError: there is no tokenizer, it cannot write what the grammar requires, or has no chat template.
        TruncatedError: `max_new_tokens` are fewer than the shortest answer takes; raised before the model is asked.
        ValueError: arguments out of range, or that exclude each other, or lists of different lengths.
        pydantic.ValidationError: a validator of `schema` that JSON Schema cannot express refused the object.
    """
    sampling = Sampling(float(method != "masked") if temperature is None else temperature, top_k, top_p, min_p)
    limit, samples = _at_least_one("max_new_tokens", max_new_tokens), _at_least_one("n", n)
    entropy = _entropy(seed)
    if jump_forward and valid_mass:
        raise ValueError("valid_mass= is about tokens that the model is asked for: leave jump_forward= out")
    if valid_mass and method != "masked":
        raise ValueError(
            "valid_mass= is about masking token by token: leave it out, or method= (results have `aligned`)"
        )
    prompts, is_batch = as_batch(prompt)
    given = {"schema": schema, "regex": regex, "choices": choices, "substring": substring, "grammar": grammar}
    kind, sources = _sources(given, policy, len(prompts), is_batch)

    embedded = model is None
    model, tokenizer = resolve(model, tokenizer)
    compiled = _compiled(compiler_of(model, tokenizer), kind, sources, policy)
    requests = list[Request]()
    for entry, source, (language, _) in zip(prompts, sources, compiled, strict=True):
        if embedded and isinstance(entry, str):
            entry = _embedded_prompt(kind, entry, source)
        ids = prompt_ids(tokenizer, entry)
        requests.append(Request(ids, language, min(limit, _room(model, len(ids)))))
    meanings = {entry: Meaning(kind == "schema", entry[0].python_type, entry[1]) for entry in compiled}
    ordered = [meanings[entry] for entry in compiled]
    if method == "masked":
        options: dict[str, Any] = {
            "samples": samples,
            "sampling": sampling,
            "entropy": entropy,
            "jump_forward": not valid_mass if jump_forward is None else jump_forward,
            "backend": backend,
            "valid_mass": valid_mass,
        }
        if draft is None:
            decoder = Decoder(model, tokenizer, requests, **options)
        else:
            from maskwright.speculation import SpeculativeDecoder
            from maskwright.speculation_options import speculation_for

            speculation = speculation_for(draft, compiler_of(model, tokenizer).tokenizer_info)
            decoder = SpeculativeDecoder(model, tokenizer, requests, speculation=speculation, **options)
        chunks = chunks_of(decoder, ordered, progress)
    else:
        chunks = aligned_chunks(
            model, tokenizer, requests, ordered, method, samples=samples, sampling=sampling, entropy=entropy,
            progress=progress, draft=draft,
        )  # fmt: skip
    return chunks if stream else collected(chunks, is_batch, samples, return_result)


def agenerate(
    model: Any = None, prompt: Any = "", *, stream: bool = False, return_result: bool = False, **options: Any
) -> Any:
    """`generate` for asyncio: the same arguments, and the work is done in a thread of its own.

        order = await agenerate(model, "...", schema=Order)
        async for chunk in agenerate(model, "...", schema=Order, stream=True): ...

    Cancelling the task, or leaving the iteration, ends the decoding at its next step. Errors are raised where the
    result is awaited.

    Returns:
        An awaitable of what generate() returns; with `stream` an async iterator of StreamChunk.
    """
    start = functools.partial(generate, model, prompt, stream=True, **options)
    if stream:
        return _streamed_from_thread(start)
    return _collected_in_thread(
        lambda stopped: collected(start(), as_batch(prompt)[1], options.get("n", 1), return_result, stopped)
    )


# ----------------------------------------------------------------------------------------------------------- arguments


def _at_least_one(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name}={value!r}: choose a whole number, at least 1")
    return number


def _entropy(seed: int | None) -> int:
    """What the random numbers of all rows come from."""
    if seed is None:
        return secrets.randbits(128)
    try:
        entropy = operator.index(seed)
    except TypeError:
        entropy = -1
    if entropy < 0:
        raise ValueError(f"seed={seed!r}: choose a whole number, at least 0, or None")
    return entropy


def _sources(given: dict[str, Any], policy: dict[str, Any], count: int, is_batch: bool) -> tuple[str, list[Any]]:
    """Which of the five kinds of source was given, and the source of each prompt."""
    named = [(kind, source) for kind, source in given.items() if source is not None]
    if len(named) != 1:
        raise ValueError("give exactly one of schema=, regex=, choices=, substring= and grammar=")
    ((kind, source),) = named
    for name in policy:
        if name not in _POLICY:
            raise TypeError(f"generate() got an unexpected keyword argument {name!r}")
        if kind != "schema":
            raise ValueError(f"{name}= is about the texts of JSON values: it goes with schema=, not with {kind}=")
    several = is_batch and isinstance(source, list | tuple)
    if several and kind == "choices":
        several = not all(isinstance(choice, str) for choice in source)
    if not several:
        return kind, [source] * count
    if len(source) != count:
        raise ValueError(f"{kind}= has {len(source)} entries for {count} prompts: give one for each, or one for all")
    return kind, list(source)


_POLICY = frozenset(field.name for field in dataclasses.fields(SchemaOptions))


def _compiled(
    compiler: GrammarCompiler, kind: str, sources: list[Any], policy: dict[str, Any]
) -> list[tuple[CompiledGrammar, float]]:
    """The language of each prompt's answers, and the seconds it took to compile; a source given twice is compiled once."""
    found: dict[int, tuple[CompiledGrammar, float]] = {}
    for source in sources:
        if id(source) not in found:
            started = perf_counter()
            compiled = compiled_grammar(compiler, kind, source, policy)
            found[id(source)] = compiled, perf_counter() - started
    return [found[id(source)] for source in sources]


def compiled_grammar(compiler: GrammarCompiler, kind: str, source: Any, policy: dict[str, Any]) -> CompiledGrammar:
    if kind == "schema":
        return compiler.compile_json_schema(source, **policy)
    if kind == "regex":
        return compiler.compile_regex(source)
    if kind == "substring":
        return compiler.compile_substring(source)
    if kind == "choices":
        if isinstance(source, str) or not isinstance(source, Iterable):
            raise InvalidError("choices are a sequence of strings")
        return compiler.compile_choices(list(source))
    if isinstance(source, str | Grammar):
        return compiler.compile_grammar(source)
    if isinstance(source, dict):
        return compiler.compile_structural_tag(source)
    if not isinstance(source, CompiledGrammar):
        raise InvalidError(
            f"grammar= takes a Grammar, its text in EBNF, a structural tag or a CompiledGrammar, not {type(source).__name__}"
        )
    tokens = source.tokenizer_info.tokens
    if compiler.tokenizer_info.tokens[: len(tokens)] != tokens:
        raise TokenizerError("grammar= was compiled for another vocabulary than this model's tokenizer has")
    return source


def _room(model: Any, prompt_tokens: int) -> int:
    """Tokens that the model can still see behind a prompt."""
    size = context_size(model)
    if size is None:
        return sys.maxsize
    if prompt_tokens >= size:
        raise ValueError(f"the prompt has {prompt_tokens} tokens, and this model sees {size}, the answer's included")
    return size - prompt_tokens


def _embedded_prompt(kind: str, text: str, source: Any) -> str:
    """How the embedded model is asked about `text`; with a pattern or a grammar the text is the whole prompt."""
    from maskwright.embedded import choice_prompt, extraction_prompt

    if kind == "schema":
        return extraction_prompt(text, schema_from(source)[0])
    return choice_prompt(text, list(source)) if kind == "choices" else text


# ------------------------------------------------------------------------------------------------------------- asyncio


async def _collected_in_thread(work: Callable[[threading.Event], Any]) -> Any:
    """What `work` returns, done in a thread; cancelled, it is told to stop and not waited for."""
    stopped = threading.Event()
    pool = ThreadPoolExecutor(1, "maskwright")
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, work, stopped)
    finally:
        stopped.set()
        pool.shutdown(wait=False)


async def _streamed_from_thread(start: Callable[[], Generator[StreamChunk]]) -> AsyncIterator[StreamChunk]:
    """The chunks of a generator that lives in a thread; each is made when it is asked for."""
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(1, "maskwright")  # one thread: closing waits for the step at hand
    try:
        chunks = await loop.run_in_executor(pool, start)
        try:
            while (chunk := await loop.run_in_executor(pool, next, chunks, None)) is not None:
                yield chunk
        finally:
            pool.submit(chunks.close)
    finally:
        pool.shutdown(wait=False)
