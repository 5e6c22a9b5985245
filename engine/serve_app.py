"""The HTTP of `maskwright serve`: OpenAI's endpoints over a Service.

| | |
|---|---|
| POST /v1/chat/completions, /v1/completions | answers, whole or as server-sent events |
| GET /v1/models | the model |
| GET /health | 200 while answers are made, 503 when not |
| GET /metrics | for Prometheus |

Errors have OpenAI's form: {"error": {"message", "type", "param": JSON Pointer, "code"}}. Where a request is wrong it is told
so before a stream begins.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from maskwright.grammars.errors import InvalidError
from maskwright.refusals import Refusal
from maskwright.serve_cohort import Update
from maskwright.serve_key import Keyed
from maskwright.serve_requests import Chat, Completion, chat_of, completion_of
from maskwright.serve_service import Request as Asked
from maskwright.serve_service import Service
from maskwright.tool_answers import Answer

__all__ = ["create_app"]

_LOG = logging.getLogger("maskwright.serve")
_LOOK = 0.5  # seconds between two looks at whether the client is still there

Part = dict[str, Any]


class _TooLarge(Exception):
    """The body has more bytes than the server reads."""


def create_app(service: Service, *, grace: float = 30.0, api_key: str | None = None) -> FastAPI:
    """The application; the service is closed with it, after `grace` seconds at most. With `api_key` it asks for that.

    Needs FastAPI: `pip install "maskwright[serve]"`.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, service.close, grace)

    app = FastAPI(title="Maskwright", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service
    app.include_router(_ROUTES)
    if api_key is not None:
        app.add_middleware(Keyed, key=api_key)
    app.add_middleware(_Measured, service=service)  # outermost: what is refused is counted, too
    return app


# The endpoints ask the application for its service: FastAPI keeps endpoints for good, and with them what they would hold.
_ROUTES = APIRouter()


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@_ROUTES.post("/v1/chat/completions")
async def _chat(request: Request) -> Response:
    return await _answer(_service(request), request, chat_of)


@_ROUTES.post("/v1/completions")
async def _completion(request: Request) -> Response:
    return await _answer(_service(request), request, completion_of)


@_ROUTES.get("/v1/models")
async def _models(request: Request) -> Part:
    name = _service(request).name
    return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "maskwright"}]}


@_ROUTES.get("/health")
async def _health(request: Request) -> Response:
    service = _service(request)
    alive = service.scheduler.is_alive
    found = {"status": "ok" if alive else "stopping", "model": service.name, "running": service.scheduler.running}
    return JSONResponse(found, 200 if alive else 503)


@_ROUTES.get("/metrics")
async def _metrics(request: Request) -> Response:
    return Response(_service(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


class _Measured:
    """Counts requests, and the time to the end of their answers."""

    def __init__(self, app: Any, service: Service) -> None:
        self._app, self._metrics = app, service.metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        status, started = 499, time.perf_counter()  # 499: the client went before there was an answer

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "other")  # paths that there are not would be labels without bound
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.request_seconds.observe(time.perf_counter() - started)


async def _answer(service: Service, request: Request, read: Callable[[Any], Chat | Completion]) -> Response:
    arrived = time.monotonic()
    try:
        body = read(await _body(request, service.bounds.body_bytes))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(service.bounds.seconds):
            asked = await loop.run_in_executor(service.pool, service.prepare, body, arrived)
    except _TooLarge:
        most = service.bounds.body_bytes
        return _refused(Refusal(413, "too_large", f"the request has more than {most:,} bytes"))
    except TimeoutError:
        return _refused(Refusal(504, "timedout", "the grammar of the request was not ready in time"))
    except Exception as error:
        return _refused(_refusal(error))
    answering = _Answering(service, asked, body)
    try:
        await answering.start(request)
        if not body.stream:
            return JSONResponse(await answering.whole(request))
    except _Gone:
        answering.cancel()
        return Response(status_code=499)  # which nobody reads, but the metrics
    except Exception as error:
        answering.cancel()
        return _refused(_refusal(error))
    except asyncio.CancelledError:
        answering.cancel()
        raise
    return StreamingResponse(answering.events(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def _body(request: Request, most: int) -> Any:
    """The JSON of a request, no more of it read than is allowed."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise _TooLarge
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"the body is not JSON: {error}", pointer="") from error


def _refusal(error: Exception) -> Refusal:
    refusal = Refusal.of(error)
    if refusal.status == 500:
        _LOG.error("a request failed", exc_info=error)
    return refusal


def _refused(refusal: Refusal) -> Response:
    headers = {"Retry-After": "1"} if refusal.status in (429, 503) else {}
    return JSONResponse(refusal.as_json(), refusal.status, headers)


class _Gone(Exception):
    """The client no longer waits."""


class _Answering:
    """The answers to one request while they are made."""

    def __init__(self, service: Service, asked: Asked, body: Chat | Completion) -> None:
        self._service, self._asked, self._body = service, asked, body
        self._chat = isinstance(body, Chat)
        self._updates: asyncio.Queue[tuple[int, Update]] = asyncio.Queue()
        self._first: list[tuple[int, Update]] = []
        self._counts = [0] * len(asked.jobs)
        self._open = len(asked.jobs)
        self._id = ("chatcmpl-" if self._chat else "cmpl-") + secrets.token_hex(12)
        self._created = int(time.time())

    async def start(self, request: Request) -> None:
        """Have the answers begun; returns when there is something of the first, so that a refusal can still be one."""
        loop = asyncio.get_running_loop()

        def tell(number: int, update: Update) -> None:
            loop.call_soon_threadsafe(self._updates.put_nowait, (number, update))

        for number, job in enumerate(self._asked.jobs):
            job.tell = partial(tell, number)
        self._service.scheduler.submit(self._asked.jobs)
        self._first.append(await self._next(request))

    def cancel(self) -> None:
        """Nobody waits any more: the rows end at their next step."""
        for job in self._asked.jobs:
            job.cancelled = True

    async def whole(self, request: Request) -> Part:
        """The response, when all answers are there."""
        texts, finished = [""] * len(self._asked.jobs), [""] * len(self._asked.jobs)
        async for number, update in self._all(request):
            texts[number] += update.text
            if update.finish is not None:
                finished[number] = update.finish
        choices = [self._choice(number, text, finished[number]) for number, text in enumerate(texts)]
        return {**self._head(), "choices": choices, "usage": self._usage()}

    async def events(self) -> AsyncIterator[str]:
        """The response as server-sent events."""
        try:
            if self._chat:
                for number in range(len(self._asked.jobs)):
                    yield self._event(number, {"role": "assistant", "content": ""})
            texts = [""] * len(self._asked.jobs)
            async for number, update in self._all(None):
                texts[number] += update.text
                if self._asked.read is None and (update.text or update.finish is not None):
                    reason = None if update.finish is None else self._reason(update.finish)
                    yield self._event(number, {"content": update.text}, reason)
                elif update.finish is not None:
                    yield self._event(number, *self._read_delta(texts[number], update.finish))
            if self._body.with_usage:
                yield _sent({**self._head(chunk=True), "choices": [], "usage": self._usage()})
        except Exception as error:  # the response has begun: its status stands, and the stream says what is wrong
            yield _sent(_refusal(error).as_json())
        finally:
            self.cancel()
        yield "data: [DONE]\n\n"

    async def _all(self, request: Request | None) -> AsyncIterator[tuple[int, Update]]:
        """Updates until all answers are finished; raises the error of the first that fails."""
        while self._open:
            number, update = self._first.pop() if self._first else await self._next(request)
            self._counts[number] = update.tokens
            self._open -= update.last
            yield number, update

    async def _next(self, request: Request | None) -> tuple[int, Update]:
        """The next update; without a stream to write to, nothing else notices that the client has gone."""
        while True:
            try:
                async with asyncio.timeout(_LOOK):
                    number, update = await self._updates.get()
            except TimeoutError:
                if request is not None and await request.is_disconnected():
                    raise _Gone from None
                continue
            if update.error is not None:
                raise update.error
            return number, update

    # What is said

    def _head(self, *, chunk: bool = False) -> Part:
        kind = ("chat.completion" + ".chunk" * chunk) if self._chat else "text_completion"
        return {"id": self._id, "object": kind, "created": self._created, "model": self._service.name}

    def _usage(self) -> Part:
        prompt, written = len(self._asked.ids), sum(self._counts)
        return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}

    def _reason(self, finish: str) -> str:
        """A form that the budget has completed is whole, and nothing to try again; free text was cut off."""
        return "length" if finish == "budget" and not self._asked.bound else "stop"

    def _choice(self, number: int, text: str, finish: str) -> Part:
        choice: Part = {"index": number, "finish_reason": self._reason(finish), "logprobs": None}
        if not self._chat:
            return {**choice, "text": text}
        if self._asked.read is None:
            return {**choice, "message": {"role": "assistant", "content": text}}
        answer = self._asked.read(text)
        if answer.calls:
            choice["finish_reason"] = "tool_calls"
        return {**choice, "message": {"role": "assistant", **_parts(answer)}}

    def _read_delta(self, text: str, finish: str) -> tuple[Part, str]:
        """A whole answer as one piece of a stream, and why it is over."""
        assert self._asked.read is not None
        answer = self._asked.read(text)
        delta = _parts(answer)
        for number, call in enumerate(delta.get("tool_calls", ())):
            call["index"] = number
        return delta, "tool_calls" if answer.calls else self._reason(finish)

    def _event(self, number: int, delta: Part, reason: str | None = None) -> str:
        choice: Part = {"index": number, "finish_reason": reason, "logprobs": None}
        choice |= {"delta": delta} if self._chat else {"text": delta.get("content") or ""}
        return _sent({**self._head(chunk=True), "choices": [choice]})


def _parts(answer: Answer) -> Part:
    """An answer's parts as OpenAI's messages have them."""
    parts: Part = {"content": answer.content if answer.content or not answer.calls else None}
    if answer.reasoning is not None:
        parts["reasoning_content"] = answer.reasoning
    if answer.calls:
        parts["tool_calls"] = [
            {
                "id": f"call_{secrets.token_hex(12)}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.calls
        ]
    return parts


def _sent(message: Part) -> str:
    return f"data: {json.dumps(message, ensure_ascii=False)}\n\n"
