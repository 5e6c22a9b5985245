"""What clients may ask of `maskwright serve`: bodies of OpenAI's API, and the extra fields of vLLM and SGLang.

What is not understood is refused, never ignored: a field that would change the answer and does not is a bug that shows
late. Fields that only keep books (`user`, `metadata`, `store`, ...) are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskwright.forms import Form, form_of
from maskwright.grammars.errors import InvalidError, UnsupportedError

__all__ = ["Chat", "Completion", "chat_of", "completion_of", "pointer_to"]

_Text = Annotated[str, Field(min_length=1)]
_T = TypeVar("_T", bound="_Body")
_FORM_FIELDS = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "json_schema": "json_schema",
    "regex": "regex",
    "ebnf": "ebnf",
    "grammar": "grammar",
    "choices": "choices",
    "structural_tag": "structural_tag",
}
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
    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class _Body(BaseModel):
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
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: dict[str, Any] | bool | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    json_schema: dict[str, Any] | bool | str | None = None
    regex: str | None = None
    ebnf: str | None = None
    grammar: str | None = None
    choices: list[str] | None = None
    structural_tag: dict[str, Any] | str | None = None
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

    def form(self) -> Form | None:
        """The form that the answer is to have; None: any text.

        Raises:
            InvalidError: several forms, or one that is not well formed.
            UnsupportedError: a field that nothing here enforces.
        """
        found = []
        if self.response_format is not None and (form := _response_form(self.response_format)) is not None:
            found.append(form)
        if self.structured_outputs is not None:
            found.append(form_of(self.structured_outputs, "/structured_outputs"))
        for name, kind in _FORM_FIELDS.items():
            if (source := getattr(self, name)) is not None:
                form = form_of({kind: source if source is not False else "false"})
                found.append(Form(form.kind, form.source, form.policy, f"/{name}"))
        if len(found) > 1:
            places = " and ".join(form.place for form in found)
            raise InvalidError(f"an answer has one form, and {places} ask for several", pointer=found[1].place)
        return found[0] if found else None

    def check(self) -> None:
        """Raise UnsupportedError for a field with an effect that there is not."""
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

    def plain_messages(self) -> list[dict[str, Any]]:
        return [message.plain(f"/messages/{number}") for number, message in enumerate(self.messages)]


class Completion(_Body):
    """The body of /v1/completions; a prompt is a text, or the ids of its tokens."""

    prompt: str | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


def _response_form(given: Mapping[str, Any]) -> Form | None:
    kind, place = given.get("type"), "/response_format"
    if kind == "text":
        return None
    if kind == "json_object":
        return Form("json_schema", {"type": "object"}, place=place)
    if kind == "json_schema":
        inner = given.get("json_schema")
        if not isinstance(inner, Mapping) or "schema" not in inner:
            raise InvalidError(
                'a "json_schema" with its "schema" is missing', pointer=f"{place}/json_schema",
                hint='write {"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}',
            )  # fmt: skip
        return Form("json_schema", inner["schema"], place=f"{place}/json_schema/schema")
    if kind == "structural_tag":
        return Form("structural_tag", dict(given), place=place)
    for kind, name in (("regex", "pattern"), ("grammar", "grammar")):
        if given.get("type") == kind:
            form = form_of({kind: given.get(name)}, place)
            return Form(form.kind, form.source, form.policy, f"{place}/{name}")
    raise InvalidError(
        f"there is no response format {given.get('type')!r}", pointer=f"{place}/type",
        hint='choose "text", "json_object", "json_schema", "structural_tag", "regex" or "grammar"',
    )  # fmt: skip


def chat_of(body: Any) -> Chat:
    """Raises InvalidError with the JSON Pointer, UnsupportedError."""
    return _checked(Chat, body)


def completion_of(body: Any) -> Completion:
    """Raises InvalidError with the JSON Pointer, UnsupportedError."""
    return _checked(Completion, body)


def _checked(kind: type[_T], body: Any) -> _T:
    try:
        read = kind.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        unknown = first["type"] == "extra_forbidden"
        reason = "this server knows no such field" if unknown else first["msg"]
        raise InvalidError(
            reason, pointer=pointer_to(first["loc"], body), hint="leave it out" if unknown else ""
        ) from error
    read.check()
    return read


def pointer_to(place: tuple[int | str, ...], body: Any) -> str:
    """The JSON Pointer of pydantic's place, without the names that it gives to members of unions."""
    found: Any = body
    pointer = ""
    for part in place:
        if _has(found, part):
            found = found[part]
        elif isinstance(found, dict) and part == place[-1]:
            found = None  # a field that is missing
        else:
            continue
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
    return pointer


def _has(container: Any, part: int | str) -> bool:
    if isinstance(container, list):
        return isinstance(part, int) and part < len(container)
    return isinstance(container, dict) and part in container
