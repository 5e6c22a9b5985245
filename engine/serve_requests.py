"""What clients may ask of `maskwright serve`: bodies of OpenAI's API, and the extra fields of vLLM and SGLang.

What is not understood is refused, never ignored: a field that would change the answer and does not is a bug that shows
late. Fields that only keep books (`user`, `metadata`, `store`, ...) are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from maskwright.form_fields import FormFields, read_body
from maskwright.grammars.errors import InvalidError, UnsupportedError

__all__ = ["Chat", "Completion", "chat_of", "completion_of"]

_Text = Annotated[str, Field(min_length=1)]
_T = TypeVar("_T", bound="_Body")
# Without effect here, since they are at the value that does nothing.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "guided_decoding_backend": ("auto", "maskwright"),
    "guided_whitespace_pattern": (),
}


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class _Body(FormFields):
    """What chats and completions have in common."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: Annotated[int, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=1, le=64)] = 1
    stop: _Text | Annotated[list[_Text], Field(max_length=16)] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    # Kept in books of the client or of OpenAI's service; nothing about the answer.
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    repetition_penalty: Any = None
    logit_bias: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    best_of: Any = None
    echo: Any = None
    suffix: Any = None
    guided_decoding_backend: Any = None
    guided_whitespace_pattern: Any = None

    @property
    def limit(self) -> int | None:
        """Tokens of an answer at most, where the client says."""
        return self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with a count of its tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def check(self) -> None:
        """Raise UnsupportedError for a field with an effect that there is not, InvalidError for one that needs another."""
        if self.stream_options is not None and not self.stream:
            raise InvalidError("stream_options go with stream", pointer="/stream_options", hint='send "stream": true')
        for name, neutral in _NEUTRAL.items():
            value = getattr(self, name)
            if value is not None and value not in neutral:
                raise UnsupportedError(
                    f"{name} is not supported", keyword=name, pointer=f"/{name}", hint="leave it out"
                )


class _Message(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: _Text
    content: str | list[dict[str, Any]] | None = None

    def plain(self, place: str) -> dict[str, Any]:
        """As chat templates take it: the text in one piece."""
        whole = self.model_dump(exclude_none=True)
        if isinstance(self.content, list):
            for number, part in enumerate(self.content):
                if part.get("type") != "text" or not isinstance(part.get("text"), str):
                    pointer = f"{place}/content/{number}"
                    raise UnsupportedError(
                        "a part of a message that is no text", pointer=pointer, hint="send text alone"
                    )
            whole["content"] = "".join(part["text"] for part in self.content)
        return {"content": "", **whole}


class Chat(_Body):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[_Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Literal["none", "begun", "required", "optional"] = "none"

    @property
    def limit(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def check(self) -> None:
        super().check()
        if self.tools:
            return
        if self.tool_choice not in (None, "none", "auto"):
            raise InvalidError("tool_choice goes with tools, and there are none", pointer="/tool_choice")
        if self.reasoning != "none":
            raise InvalidError(
                "reasoning goes with tools, and there are none", pointer="/reasoning",
                hint="a server whose model reasons is started with --reasoning-end",
            )  # fmt: skip

    def plain_messages(self) -> list[dict[str, Any]]:
        return [message.plain(f"/messages/{number}") for number, message in enumerate(self.messages)]


class Completion(_Body):
    """The body of /v1/completions; a prompt is a text, or the ids of its tokens."""

    prompt: str | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


def chat_of(body: Any) -> Chat:
    """Raises InvalidError with the JSON Pointer, UnsupportedError."""
    return _checked(Chat, body)


def completion_of(body: Any) -> Completion:
    """Raises InvalidError with the JSON Pointer, UnsupportedError."""
    return _checked(Completion, body)


def _checked(kind: type[_T], body: Any) -> _T:
    read = read_body(kind, body)
    read.check()
    return read
