"""The OpenAI-compatible server of llama-cpp-python, with the forms of answers kept by Maskwright.

    python -m maskwright.llama_cpp_server --model model.gguf          # the options of python -m llama_cpp.server
    uvicorn --factory maskwright.llama_cpp_server:create_app          # its settings from the environment

It is their application, and their models, constrained. What requests say of forms is read ahead of it (form_fields.py),
since their types of requests know `{"type": "json_object"}` alone; it is known to the completion by a context variable.

Where a form cannot be kept the request is answered with 400, the reason and its JSON Pointer, also one that asks for a
stream. Once a stream has begun its last event tells the error.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware import Middleware
from llama_cpp.server import __main__ as their_command
from llama_cpp.server import app as theirs
from llama_cpp.server.model import LlamaProxy
from starlette.responses import JSONResponse

from maskwright.compiler import GrammarCompiler
from maskwright.form_fields import FormFields, read_body
from maskwright.forms import Form
from maskwright.grammars.errors import MaskwrightError, ModelError
from maskwright.llama_cpp import HANDLERS_OWN, binding_form, constrain, tokenizer_info
from maskwright.refusals import Refusal

__all__ = ["create_app", "main"]

Message = MutableMapping[str, Any]

_ENDPOINTS = "/completions"  # /v1/completions, /v1/chat/completions, and the one that Copilot asks
_TAKEN = frozenset(FormFields.model_fields)


class _Asked:
    """The form of one request, and what went wrong with its answer."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.error: Exception | None = None


_ASKED: ContextVar[_Asked | None] = ContextVar("asked", default=None)


def create_app(*arguments: Any, **settings: Any) -> FastAPI:
    """Their application over constrained models; arguments as `llama_cpp.server.app.create_app` takes them.

    Raises:
        ModelError: a model's settings name a draft model: processors would be shown drafts.
    """
    proxies: list[_ConstrainedModels] = []

    def proxy(models: list[Any]) -> LlamaProxy:
        proxies.append(_ConstrainedModels(models))
        return proxies[0]

    original, theirs.LlamaProxy = theirs.LlamaProxy, proxy
    try:
        app: FastAPI = theirs.create_app(*arguments, **settings)
    finally:
        theirs.LlamaProxy = original
    (made,) = proxies
    # The innermost: answers of ours get the headers of their middleware, too.
    app.user_middleware.append(Middleware(_Forms, models=made))
    return app


def main() -> None:
    """`python -m llama_cpp.server`, with Maskwright."""
    original, their_command.create_app = their_command.create_app, _created
    try:
        their_command.main()
    finally:
        their_command.create_app = original


def _created(**settings: Any) -> FastAPI:
    try:
        return create_app(**settings)
    except (MaskwrightError, ValueError) as error:  # ValueError: there is no such model
        sys.exit(f"maskwright: {error}")


class _ConstrainedModels(LlamaProxy):
    """The models of the server, one of them loaded, with a compiler for each that was."""

    def __init__(self, models: list[Any]) -> None:
        self._compilers: dict[str, GrammarCompiler] = {}
        for model in models:
            if model.draft_model is not None:
                raise ModelError("llama-cpp-python shows processors unverified drafts: leave draft_model out")
        super().__init__(models)

    def load_llama_from_model_settings(self, settings: Any) -> Any:
        llama = LlamaProxy.load_llama_from_model_settings(settings)
        compiler = self._compilers.get(settings.model_alias)
        if compiler is None:
            compiler = self._compilers[settings.model_alias] = GrammarCompiler(tokenizer_info(llama))
        constrain(llama, compiler)
        llama.create_completion = _answering(llama.create_completion)
        return llama

    def compiler(self, model: Any) -> GrammarCompiler | None:
        """Of the model that answers requests for `model`; None before it was loaded first."""
        known = isinstance(model, str) and model in self._model_settings_dict
        return self._compilers.get(model if known else self._default_model_alias)


def _answering(create: Callable[..., Any]) -> Callable[..., Any]:
    """A constrained Llama's `create_completion` that takes the form of the request at hand."""

    def completion(*arguments: Any, **options: Any) -> Any:
        asked = _ASKED.get()
        if asked is None:
            return create(*arguments, **options)
        try:
            result = create(*arguments, maskwright=asked.form, **options | HANDLERS_OWN)
        except MaskwrightError as error:
            raise _kept(asked, error) from error
        return result if isinstance(result, Mapping) else _streamed(result, asked)

    return completion


def _streamed(chunks: Iterator[Any], asked: _Asked) -> Iterator[Any]:
    try:
        yield from chunks
    except MaskwrightError as error:
        raise _kept(asked, error) from error


def _kept(asked: _Asked, error: Exception) -> HTTPException:
    """What to raise instead: their routes print the traceback of anything else."""
    asked.error = error
    return HTTPException(400, str(error))


class _Forms:
    """Reads forms out of requests, and answers for what goes wrong with them."""

    def __init__(self, app: Any, models: _ConstrainedModels) -> None:
        self._app, self._models = app, models

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(_ENDPOINTS):
            await self._app(scope, receive, send)
            return
        data = await _read(receive)
        body = _parsed(data)
        if body is None or not _authorized(scope):
            await self._app(scope, _replayed(data, receive), send)  # which says what is wrong
            return
        try:
            form = await run_in_threadpool(self._form, body)
        except (MaskwrightError, RecursionError) as error:
            await _refuse(error, scope, receive, send)
            return
        if form is None:
            await self._app(scope, _replayed(data, receive), send)
            return
        rest = json.dumps({name: value for name, value in body.items() if name not in _TAKEN}).encode()
        asked = _Asked(form)
        token = _ASKED.set(asked)
        try:
            await _Held(asked, scope, receive, send).run(self._app, rest)
        finally:
            _ASKED.reset(token)

    def _form(self, body: Mapping[str, Any]) -> Form | None:
        """What the answer is bound to; it has been compiled, where the model's vocabulary is known."""
        form = binding_form(read_body(FormFields, body).form(), body)
        if form is not None and (compiler := self._models.compiler(body.get("model"))) is not None:
            form.compile_placed(compiler)
        return form


class _Held:
    """One response: its status waits for the first of its body, so that it can still be a refusal."""

    def __init__(self, asked: _Asked, scope: Message, receive: Any, send: Any) -> None:
        self._asked, self._scope, self._receive, self._send = asked, scope, receive, send
        self._start: Message | None = None
        self._begun = False

    async def run(self, app: Any, data: bytes) -> None:
        try:
            await app(self._scope, _replayed(data, self._receive), self._pass)
        except Exception:
            if self._asked.error is None:
                raise
        if self._asked.error is None:
            return
        if not self._begun:
            await _refuse(self._asked.error, self._scope, self._receive, self._send)
            return
        event = f"data: {json.dumps(Refusal.of(self._asked.error).as_json())}\n\ndata: [DONE]\n\n".encode()
        await self._send({"type": "http.response.body", "body": event, "more_body": False})

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        last = not message.get("more_body", False)
        if self._asked.error is not None and (last or not self._begun):
            return  # the rest is said by `run`
        if self._start is not None:
            await self._send(self._start)
            self._start, self._begun = None, True
        await self._send(message)


async def _read(receive: Any) -> bytes:
    """The whole body; b"" where the client has gone."""
    data = bytearray()
    while True:
        message = await receive()
        data += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(data)


def _replayed(data: bytes, receive: Any) -> Callable[[], Any]:
    """A `receive` that brings a body that was read before, and then what comes behind it."""
    left = [data]

    async def again() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        following: Message = await receive()
        return following

    return again


def _parsed(data: bytes) -> dict[str, Any] | None:
    """A body that is an object; None where it is something else."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _authorized(scope: Message) -> bool:
    """Whether the request has the server's key, so that work may be done for it."""
    settings = next(theirs.get_server_settings())
    scheme, _, key = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1").partition(" ")
    if settings.api_key is None:
        return True
    return scheme.lower() == "bearer" and secrets.compare_digest(key.encode(), settings.api_key.encode())


async def _refuse(error: Exception, scope: Message, receive: Any, send: Any) -> None:
    refusal = Refusal.of(error)
    await JSONResponse(refusal.as_json(), refusal.status)(scope, receive, send)


if __name__ == "__main__":
    main()
