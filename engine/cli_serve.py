"""`maskwright serve`: load a model, say what happens meanwhile, and answer over HTTP."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import perf_counter

from maskwright.cli_failures import CommandError
from maskwright.grammars.tool_calls import tool_formats

__all__ = ["run"]

_KEY_VARIABLE = "MASKWRIGHT_API_KEY"


def run(options: argparse.Namespace) -> int:
    """`maskwright serve`; the exit code, when the server was told to stop."""
    if options.tool_format is not None and options.tool_format not in tool_formats():
        raise CommandError(f"--tool-format {options.tool_format}: choose one of {', '.join(tool_formats())}")
    try:
        import uvicorn

        from maskwright.serve_app import create_app
        from maskwright.serve_service import Bounds, Service
    except ImportError as error:
        message = f'the server needs FastAPI and uvicorn ({error.name} is missing): pip install "maskwright[serve,hf]"'
        raise CommandError(message, kind="missing") from error
    from maskwright.kernel_progress import shown_compilation
    from maskwright.loading import resolve
    from maskwright.warmup import warm_up

    with shown_compilation():
        warm_up()
    shown = options.model or "the embedded model"
    with _told(f"loading {shown}"):
        model, tokenizer = resolve(options.model, None)
    with _told("reading the vocabulary"):
        service = Service(
            model,
            tokenizer,
            name=options.name or options.model or "maskwright-embedded",
            bounds=Bounds(
                body_bytes=options.max_body_bytes,
                answer_tokens=options.max_tokens,
                seconds=options.timeout,
                rows=options.max_rows,
                waiting=options.max_waiting,
            ),
            tool_format=options.tool_format,
            reasoning_end=options.reasoning_end,
            embedded=options.model is None,
        )
    count = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"maskwright: {service.name}: {count:,} parameters, {service.info.vocab_size:,} tokens; "
        f"http://{options.host}:{options.port}/v1 (Ctrl-C stops)",
        file=sys.stderr,
    )
    config = uvicorn.Config(
        create_app(service, grace=options.grace, api_key=options.api_key or os.environ.get(_KEY_VARIABLE) or None),
        host=options.host,
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=int(options.grace) + 1,
    )
    server = uvicorn.Server(config)
    with suppress(SystemExit):  # which uvicorn raises where it cannot listen
        server.run()
    if not server.started:
        service.close(0.0)
        raise CommandError(f"cannot listen on {options.host}:{options.port}: choose another --port", kind="unreadable")
    return 0


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say what takes its time, and how long it took."""
    started = perf_counter()
    print(f"maskwright: {what} ...", file=sys.stderr, flush=True)
    yield
    print(f"maskwright: {what}: {perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
