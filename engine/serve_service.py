"""What `maskwright serve` does for a request, without HTTP: from a body to jobs, and from an error to what is said of it."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.embedded import choice_prompt, extraction_prompt
from maskwright.forms import Form
from maskwright.grammars.errors import (
    GrammarError,
    InvalidError,
    LimitExceeded,
    MaskwrightError,
    TokenizerError,
    UnsupportedError,
)
from maskwright.grammars.python_types import schema_from
from maskwright.loading import context_size
from maskwright.prompts import prompt_ids
from maskwright.sampling import Sampling
from maskwright.serve_cohort import Job, Update
from maskwright.serve_metrics import Metrics
from maskwright.serve_requests import Chat, Completion
from maskwright.serve_scheduler import Scheduler
from maskwright.tool_answers import Answer, read_answer

__all__ = ["Bounds", "Request", "Service"]

_FREE = Form("structural_tag", {"type": "structural_tag", "format": {"type": "any_text"}})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one request, and all of them together, may use.

    Attributes:
        body_bytes: of a request.
        answer_tokens: of an answer, where the client names no number, and at most.
        seconds: from a request's arrival to its answer's end.
        rows, waiting: answers in the making, and those that wait.
        max_states, max_table_bytes, max_lowering_ms: of a grammar, as GrammarCompiler takes them.
        cache_bytes: of compiled grammars.
    """

    body_bytes: int = 1 << 20
    answer_tokens: int = 1024
    seconds: float = 120.0
    rows: int = 64
    waiting: int = 256
    max_states: int = 1 << 20
    max_table_bytes: int = 256 << 20
    max_lowering_ms: float = 10_000.0
    cache_bytes: int = 256 << 20


@dataclass(slots=True)
class Request:
    """A request that is understood.

    Attributes:
        ids: tokens of the prompt.
        jobs: one for each answer.
        bound: whether the answer has a form.
        read: takes a whole answer apart, where it is more than content; such answers are not told piece by piece.
    """

    ids: Sequence[int]
    bound: bool
    read: Callable[[str], Answer] | None
    jobs: list[Job] = field(default_factory=list)


class Service:
    """A model that answers requests. Made once; any thread may prepare requests.

    Args:
        model, tokenizer: of transformers.
        name: what clients call the model.
        bounds: what requests may use.
        tool_format: how the model writes calls of tools, a name in tool_formats.toml; None: requests with tools are refused.
        reasoning_end: the text that ends the reasoning which the model begins every answer with; None: it has none.
        embedded: whether it is the embedded model, which has a prompt of its own.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        bounds: Bounds | None = None,
        tool_format: str | None = None,
        reasoning_end: str | None = None,
        embedded: bool = False,
    ) -> None:
        self.name, self.bounds, self.tokenizer = name, bounds or Bounds(), tokenizer
        self.tool_format, self.reasoning_end, self._embedded = tool_format, reasoning_end, embedded
        bounds = self.bounds
        text_config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
        self.info = TokenizerInfo.from_huggingface(tokenizer, vocab_size=int(text_config.vocab_size))
        if not self.info.eos_token_ids:
            raise TokenizerError("this tokenizer has no end-of-sequence token, so that no answer could end")
        self.compiler = GrammarCompiler(
            self.info,
            max_cache_bytes=bounds.cache_bytes,
            max_states=bounds.max_states,
            max_table_bytes=bounds.max_table_bytes,
            max_lowering_ms=bounds.max_lowering_ms,
        )
        self._room = context_size(model) or sys.maxsize
        self.scheduler = Scheduler(model, self.info, max_rows=bounds.rows, max_waiting=bounds.waiting)
        self.metrics = Metrics(self.scheduler, self.compiler)
        self.pool = ThreadPoolExecutor(2, "maskwright-prepare")
        """Threads in which requests are prepared: a large schema keeps nobody else from being heard."""

    def close(self, grace: float = 30.0) -> None:
        """Finish what is being answered, for `grace` seconds at most, and end all threads."""
        self.scheduler.close(grace)
        self.pool.shutdown()
        self.compiler.close()

    def prepare(self, body: Chat | Completion, arrived: float) -> Request:
        """What is to be done for a body; its jobs are still to be told whom to `tell`.

        Args:
            body: as serve_requests reads it.
            arrived: when, by time.monotonic().

        Raises:
            GrammarError, TokenizerError: what is wrong with the request, with its JSON Pointer.
        """
        if body.model not in (None, self.name):
            raise InvalidError(f"there is no model {body.model!r} here", pointer="/model", hint=f"it is {self.name!r}")
        form = body.form()
        tools = body.tools if isinstance(body, Chat) and body.tools else None
        if body.stops and (form is not None or tools is not None):
            raise UnsupportedError("stop would break the form of the answer", keyword="stop", pointer="/stop")
        if tools is not None and form is not None:
            raise UnsupportedError("an answer has tools or a form, not both", pointer="/tools", hint="leave one out")
        limit = self._limit(body)
        started = perf_counter()
        compiled, read = self._compiled(body, tools, form)
        self.metrics.compile_seconds.observe(perf_counter() - started)
        ids = self._prompt(body, tools, form)
        if len(ids) >= self._room:
            raise InvalidError(
                f"the prompt has {len(ids):,} tokens, and the model sees {self._room:,}, the answer's included",
                pointer="/messages" if isinstance(body, Chat) else "/prompt",
            )
        request = Request(ids, form is not None or tools is not None, read)
        sampling = Sampling(body.temperature, None if body.top_k in (None, -1) else body.top_k, body.top_p, body.min_p)
        entropy = secrets.randbits(128) if body.seed is None else body.seed
        for sample in range(body.n):
            request.jobs.append(
                Job(
                    ids, compiled, min(limit, self._room - len(ids)), sampling, entropy, sample,
                    deadline=arrived + self.bounds.seconds, tell=_nobody, stop=body.stops, named=read is not None,
                )
            )  # fmt: skip
        return request

    def _limit(self, body: Chat | Completion) -> int:
        limit, most = body.limit, self.bounds.answer_tokens
        if limit is not None and limit > most:
            raise LimitExceeded("answer_tokens", limit, most, pointer="/max_tokens", hint=f"ask for {most:,} at most")
        return most if limit is None else limit

    def _compiled(
        self, body: Chat | Completion, tools: Sequence[Mapping[str, Any]] | None, form: Form | None
    ) -> tuple[CompiledGrammar, Callable[[str], Answer] | None]:
        if tools is not None:
            assert isinstance(body, Chat)
            return self._compiled_tools(body, tools)
        asked = form or _FREE
        if self.reasoning_end is None:
            return asked.compile_placed(self.compiler), None
        try:
            return asked.after_reasoning(self.reasoning_end).compile(self.compiler), self._read_reasoning
        except GrammarError as error:
            error.pointer = asked.place  # its own is that of a place in what was made around the form
            raise

    def _compiled_tools(
        self, body: Chat, tools: Sequence[Mapping[str, Any]]
    ) -> tuple[CompiledGrammar, Callable[[str], Answer]]:
        if self.tool_format is None:
            raise UnsupportedError(
                "this server was not told how its model writes calls of tools", pointer="/tools",
                hint="start it with --tool-format",
            )  # fmt: skip
        format = self.tool_format
        try:
            compiled = self.compiler.compile_tools(
                tools, format, tool_choice=body.tool_choice or "auto", parallel=body.parallel_tool_calls,
                reasoning=body.reasoning,
            )  # fmt: skip
        except GrammarError as error:
            error.pointer = "/tools" + (error.pointer or "")
            raise
        return compiled, lambda text: read_answer(text, tools, format)

    def _read_reasoning(self, text: str) -> Answer:
        assert self.reasoning_end is not None
        reasoning, marker, content = text.partition(self.reasoning_end)
        return Answer(content, (), reasoning if marker else text)

    def _prompt(
        self, body: Chat | Completion, tools: Sequence[Mapping[str, Any]] | None, form: Form | None
    ) -> Sequence[int]:
        if isinstance(body, Completion):
            if isinstance(body.prompt, str):
                return prompt_ids(self.tokenizer, self._asked(body.prompt, form))
            if max(body.prompt) >= self.info.vocab_size:
                raise InvalidError(f"token {max(body.prompt)} is not in the vocabulary", pointer="/prompt")
            return body.prompt
        messages = body.plain_messages()
        if self._embedded:
            return prompt_ids(self.tokenizer, self._asked(messages[-1]["content"], form))
        try:
            return prompt_ids(self.tokenizer, messages, tools)
        except TokenizerError as error:
            raise InvalidError(str(error), pointer="/messages", hint="/v1/completions takes text") from error

    def _asked(self, text: str, form: Form | None) -> str:
        """The text as the embedded model wants to be asked; other models' as it is."""
        if not self._embedded or form is None:
            return text
        if form.kind == "json_schema":
            return extraction_prompt(text, schema_from(form.source)[0])
        return choice_prompt(text, list(form.source)) if form.kind == "choices" else text


def _nobody(_: Update) -> None:
    raise MaskwrightError("a job was submitted before somebody waits for it")
