"""`maskwright generate`: a prompt and a form in, an answer out; on standard output nothing but the answer."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from maskwright.cli_failures import CommandError, Failure
from maskwright.cli_output import print_failure, print_json
from maskwright.cli_plot import check_plot
from maskwright.grammars import regex
from maskwright.grammars.errors import TruncatedError
from maskwright.grammars.json_schema import load_schema
from maskwright.grammars.options import SchemaOptions
from maskwright.sources import decode, read_bytes, read_grammar, read_schema, text_policy

if TYPE_CHECKING:
    from maskwright.aligned_result import AlignedResult
    from maskwright.results import GenerationResult, StreamChunk

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """`maskwright generate`; the exit code."""
    if options.stream and options.n > 1 and not options.json:
        raise CommandError("--stream prints one answer: leave out --n, or add --json")
    if options.prompt == "-" and "-" in (options.schema, options.substring, options.grammar):
        raise CommandError("standard input (-) can be the prompt or the form, not both")
    if options.plot is not None:
        if options.method == "masked":
            raise CommandError("--plot draws what --method has sampled: name one")
        check_plot(options.plot)
    try:
        _quiet_transformers()
        results = list(_streamed(options) if options.stream else _answered(options))
    except TruncatedError as error:
        print_failure(Failure.of(error), as_json=options.json)
        return 1
    except ImportError as error:
        message = f'models need torch and transformers ({error.name} is missing): pip install "maskwright[hf]"'
        raise CommandError(message, kind="missing") from error
    if options.stats:
        for result in results:
            print(_account(result), file=sys.stderr)
    aligned = results[0].aligned
    if aligned is not None:
        if options.stats:
            print(_sampling_account(aligned), file=sys.stderr)
        if options.plot is not None:
            aligned.plot(options.plot)
    return 0


def _answered(options: argparse.Namespace) -> Iterator[GenerationResult]:
    """The answers, printed when all are there."""
    sampling = options.method != "masked"
    with nullcontext() if sampling else _waiting():
        results = _generate(options, return_result=True, progress=sampling and sys.stderr.isatty())
    for sample, result in enumerate(results if isinstance(results, list) else [results]):
        if options.json:
            print_json({"status": "answered", "sample": sample, **_record(result)})
        else:
            print(result.text)
        yield result


def _streamed(options: argparse.Namespace) -> Iterator[GenerationResult]:
    """The answers, printed while they grow."""
    chunk: StreamChunk
    for chunk in _generate(options, stream=True):
        if options.json:
            piece = {"sample": chunk.sample, "delta": chunk.delta, "text": chunk.text}
            status = "answering" if chunk.result is None else "answered"
            print_json({"status": status, **piece, **({} if chunk.result is None else _record(chunk.result))})
        else:
            print(chunk.delta, end="\n" if chunk.done else "", flush=True)
        if chunk.result is not None:
            yield chunk.result


def _generate(options: argparse.Namespace, **how: Any) -> Any:
    """What `maskwright.generate` gives for a command line."""
    import maskwright

    names = ("regex", "choices", "max_new_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "n", "method")
    given: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.draft is not None:
        given["draft"] = options.draft[0] if len(options.draft) == 1 else options.draft
    # What is wrong with a schema or pattern is said before a model is loaded.
    if options.schema is not None:
        policy = text_policy(options)
        given |= {"schema": read_schema(options.schema), **policy}
        load_schema(given["schema"], SchemaOptions(**policy))
    elif options.builtin_json:
        given |= {"schema": True, **text_policy(options)}
    elif options.substring is not None:
        given["substring"] = decode(read_bytes(options.substring))
    elif options.grammar is not None:
        given["grammar"] = read_grammar(options.grammar)
    elif options.regex is not None:
        regex.parse(options.regex)
    prompt = decode(read_bytes("-")).removesuffix("\n") if options.prompt == "-" else options.prompt
    try:
        return maskwright.generate(options.model, prompt, **given, **how)
    except ValueError as error:  # options that do not go together
        raise CommandError(str(error)) from error


def _quiet_transformers() -> None:
    """Leave the terminal to the answer: no progress bars for weights, no advice to who writes programs."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


@contextmanager
def _waiting() -> Iterator[None]:
    """A sign of life on a terminal while the model is loaded and answers."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("the model answers ..."):
        yield


def _record(result: GenerationResult) -> dict[str, Any]:
    """The fields of docs/cli.md; times in seconds."""
    return {
        "text": result.text,
        "value": result.value,
        "logprob": result.logprob,
        "tokens": len(result.tokens),
        "prompt_tokens": result.prompt_tokens,
        "finish_reason": result.finish_reason,
        "timings": asdict(result.timings),
        "statistics": asdict(result.statistics),
        **({} if result.aligned is None else {"sampling": _sampling_record(result.aligned)}),
        **({} if result.speculation is None else {"speculation": asdict(result.speculation)}),
    }


def _sampling_record(aligned: AlignedResult) -> dict[str, Any]:
    """What docs/cli.md calls `sampling`; null for what is infinite or unknown."""
    names = ("log_z", "log_z_se", "ess", "kl_bound", "tv_bound", "acceptance_rate")
    figures = {name: float(getattr(aligned, name)) for name in names}
    figures |= dict(zip(("log_z_low", "log_z_high"), aligned.log_z_bounds, strict=True))
    finite = {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}
    return {"method": aligned.method, "exact": aligned.exact, **finite, **asdict(aligned.stats)}


def _sampling_account(aligned: AlignedResult) -> str:
    """One line about a sample."""
    low, high = aligned.log_z_bounds
    stats = aligned.stats
    kind = "exact" if aligned.exact else f"weighted, effective sample size {aligned.ess:.1f}"
    return (
        f"{aligned.method} ({kind}): {len(aligned)} texts, log Z {aligned.log_z:.2f}, certainly in [{low:.2f}, {high:.2f}]; "
        f"{stats.forward_tokens:,} tokens in {stats.forwards:,} forwards, {stats.attempts:,} attempts, "
        f"{stats.rejected:,} rejected, {stats.dead_ends:,} dead ends"
        + (f"; {stats.drafted:,} prefixes asked for ahead, {stats.taken:,} of them needed" if stats.drafted else "")
    )


def _account(result: GenerationResult) -> str:
    """One line about an answer, and one about its drafts."""
    return _account_of_decoding(result) + ("" if result.speculation is None else f"\n{_account_of_drafts(result)}")


def _account_of_drafts(result: GenerationResult) -> str:
    drafts = result.speculation
    assert drafts is not None
    shares = ", ".join(f"{share:.0%}" for share in drafts.acceptance[:8]) or "none"
    chains = (
        ""
        if drafts.chains_because is None
        else f"; chains only: the model cannot verify trees, since {drafts.chains_because}"
    )
    return (
        f"drafts by {drafts.drafter}, verified by {drafts.verifier}: {result.acceptance_length:.2f} tokens a forward in "
        f"{drafts.forwards} forwards; {drafts.drafted} drafted, {drafts.verified} verified, {drafts.taken} taken, "
        f"{drafts.forced} forced; taken by depth: {shares}{chains}"
    )


def _account_of_decoding(result: GenerationResult) -> str:
    timings, statistics = result.timings, result.statistics
    return (
        f"{len(result.tokens)} tokens ({statistics.jump_forward_tokens} of them forced), log-probability "
        f"{result.logprob:.2f}; compile {timings.compile:.2f} s, prompt of {result.prompt_tokens} tokens "
        f"{timings.prefill:.2f} s, answer {timings.decode:.2f} s, of it masks {timings.masks:.3f} s; "
        f"{statistics.mean_allowed_tokens:,.0f} tokens allowed on average"
    )
