"""`maskwright serve`, asked by OpenAI's own client over a real socket."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field
from served import TEMPLATE, Served, ask, in_schema, schema_number, text_of

from maskwright.cached_model import CachedModel
from maskwright.cli import main
from maskwright.grammars.errors import GrammarError, InvalidError
from maskwright.serve_cohort import Cohort
from maskwright.serve_requests import chat_of
from maskwright.serve_service import Bounds, Service

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

BOUNDS = Bounds(body_bytes=1 << 16, answer_tokens=200, max_states=3000, seconds=300.0)
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"unit": {"enum": ["C", "F"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
                "required": ["unit", "days"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("forecast", "forecast_long")
]


@pytest.fixture(scope="module")
def model(tiny_model: LlamaForCausalLM) -> LlamaForCausalLM:
    return tiny_model


@pytest.fixture(scope="module")
def tokenizer(tiny_model: LlamaForCausalLM) -> PreTrainedTokenizerFast:
    import tiny

    made = tiny.tiny_tokenizer()
    made.chat_template = TEMPLATE
    return made


@pytest.fixture(scope="module")
def served(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Iterator[Served]:
    running = Served(Service(model, tokenizer, name="tiny", bounds=BOUNDS, tool_format="hermes"))
    yield running
    running.stop()


@pytest.fixture
def client(served: Served) -> openai.OpenAI:
    return served.client


def test_a_schema_holds_and_the_tokens_are_counted(client: openai.OpenAI) -> None:
    response = ask(client, response_format=in_schema(schema_number(7)))
    Draft202012Validator(schema_number(7)).validate(json.loads(text_of(response)))
    assert response.choices[0].finish_reason == "stop"
    assert response.usage.completion_tokens > 3
    assert response.usage.total_tokens == response.usage.prompt_tokens + response.usage.completion_tokens


def test_the_client_parses_into_a_pydantic_class(client: openai.OpenAI) -> None:
    class Point(BaseModel, extra="forbid"):
        x: int = Field(ge=-999, le=999)  # pydantic reads no integer of a hundred digits, which the schema would allow
        label: str

    parsed = client.chat.completions.parse(
        model="tiny", messages=[{"role": "user", "content": "A point."}], response_format=Point, max_tokens=60
    )
    assert isinstance(parsed.choices[0].message.parsed, Point)


@pytest.mark.parametrize(
    ("extra", "pattern"),
    [
        ({"regex": "[a-c]{3}-[0-9]{2}"}, "[a-c]{3}-[0-9]{2}"),
        ({"guided_regex": "x+y"}, "x+y"),
        ({"guided_choice": ["left", "right"]}, "left|right"),
        ({"choices": ["left", "right"]}, "left|right"),
        ({"guided_grammar": 'root ::= "(" root ")" | "o"'}, r"\(*o\)*"),
        ({"grammar": 'start: "a" start | "b"'}, "a*b"),
        ({"ebnf": 'root ::= [0-9]{4}'}, "[0-9]{4}"),
        ({"structured_outputs": {"choice": ["up", "down"]}}, "up|down"),
        ({"structured_outputs": {"json": {"type": "integer"}}}, "-?[0-9]+"),
        ({"guided_json": '{"enum": [12, "a b"]}'}, '12|"a b"'),
        ({"structural_tag": {"format": {"type": "const_string", "value": "so"}, "type": "structural_tag"}}, "so"),
        ({"response_format": {"type": "regex", "pattern": "z{2,5}"}}, "z{2,5}"),
        ({"response_format": {"type": "json_object"}}, r"(?s)\{.*\}"),
    ],
)  # fmt: skip
def test_every_form_by_every_name(client: openai.OpenAI, extra: dict[str, Any], pattern: str) -> None:
    written = text_of(ask(client, extra_body=extra, temperature=0.7, seed=3, max_tokens=60))
    assert re.fullmatch(pattern, written)


def test_completions_take_texts_and_tokens(client: openai.OpenAI) -> None:
    for prompt in ("The order number is ", [5, 6, 7]):
        response = client.completions.create(model="tiny", prompt=prompt, extra_body={"regex": "[A-Z]{2}"}, n=3, seed=1)  # type: ignore[call-overload]
        assert [re.fullmatch("[A-Z]{2}", choice.text) is not None for choice in response.choices] == [True] * 3
    assert len(response.choices) == 3


def test_a_stream_adds_up_to_what_is_answered_at_once(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"response_format": in_schema(schema_number(3)), "seed": 11, "temperature": 1.0}
    whole = text_of(ask(client, **options))
    chunks = list(ask(client, **options, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == whole
    assert len(chunks) > 5
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens > 3
    pieces = client.completions.create(model="tiny", prompt="A", stream=True, extra_body={"regex": "[ab]{9}"})
    assert re.fullmatch("[ab]{9}", "".join(piece.choices[0].text for piece in pieces))


def test_free_text_ends_at_its_limit_or_at_a_stop(client: openai.OpenAI) -> None:
    response = ask(client, max_tokens=12, temperature=0.0)
    assert response.choices[0].finish_reason in ("length", "stop")
    assert response.usage.completion_tokens <= 12
    whole = text_of(ask(client, max_tokens=40, temperature=0.0))
    stop = whole[9:12]
    cut = ask(client, max_tokens=40, temperature=0.0, stop=[stop, "never seen here"])
    assert text_of(cut) == whole[: whole.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    streamed = ask(client, max_tokens=40, temperature=0.0, stop=stop, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == text_of(cut)


def test_an_answer_is_completed_within_its_tokens(client: openai.OpenAI) -> None:
    schema = {"type": "array", "items": {"type": "string"}, "minItems": 2}
    for limit in (12, 16, 24):
        response = ask(client, response_format=in_schema(schema), max_tokens=limit, temperature=1.0)
        Draft202012Validator(schema).validate(json.loads(text_of(response)))
        assert response.usage.completion_tokens <= limit
    with pytest.raises(openai.BadRequestError, match="the shortest answer takes") as caught:
        ask(client, response_format=in_schema({"minItems": 90, "type": "array"}), max_tokens=10)
    assert caught.value.param == "/max_tokens"


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called(client: openai.OpenAI, stream: bool) -> None:
    choice: Any = {"type": "function", "function": {"name": "forecast_long"}}
    response = ask(client, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, stream=stream)
    if stream:
        chunks = list(response)
        (call,) = next(chunk.choices[0].delta.tool_calls for chunk in chunks if chunk.choices[0].delta.tool_calls)
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
    else:
        (call,) = response.choices[0].message.tool_calls
        assert response.choices[0].finish_reason == "tool_calls"
        assert response.choices[0].message.content is None
    assert call.function.name == "forecast_long"
    Draft202012Validator(TOOLS[1]["function"]["parameters"]).validate(json.loads(call.function.arguments))


def test_tools_may_stay_uncalled(client: openai.OpenAI) -> None:
    response = ask(client, tools=TOOLS, tool_choice="none", max_tokens=20)
    assert response.choices[0].message.tool_calls is None
    assert "<tool_call>" not in text_of(response)


@pytest.mark.parametrize(
    ("options", "code", "param", "message"),
    [
        ({"response_format": in_schema({"properties": {"a": {"type": "text"}}})}, "invalid",
         "/response_format/json_schema/schema/properties/a/type", "among"),
        ({"response_format": {"type": "json_schema"}}, "invalid", "/response_format/json_schema", "schema"),
        ({"response_format": {"type": "yaml"}}, "invalid", "/response_format/type", "yaml"),
        ({"response_format": in_schema(False)}, "unsatisfiable", "/response_format/json_schema/schema", ""),
        ({"extra_body": {"guided_json": '{"type": '}}, "invalid", "/guided_json", "JSON"),
        ({"extra_body": {"regex": "(a"}}, "invalid", "/regex", "offset"),
        ({"extra_body": {"regex": "a", "choices": ["b"]}}, "invalid", "/choices", "ask for several"),
        ({"extra_body": {"structured_outputs": {"rejex": "a"}}}, "invalid", "/structured_outputs/rejex", "no form"),
        ({"extra_body": {"regex": "a"}, "stop": "b"}, "unsupported", "/stop", "stop"),
        ({"extra_body": {"colour": "red"}}, "invalid", "/colour", "knows no such field"),
        ({"temperature": -1}, "invalid", "/temperature", "greater than or equal to 0"),
        ({"max_tokens": 100_000}, "limit", "/max_tokens", "200"),
        ({"logprobs": True}, "unsupported", "/logprobs", "not supported"),
        ({"frequency_penalty": 0.5}, "unsupported", "/frequency_penalty", "not supported"),
        ({"model": "gpt-5"}, "invalid", "/model", "it is 'tiny'"),
        ({"messages": []}, "invalid", "/messages", "at least 1"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         "unsupported", "/messages/0/content/0", "no text"),
        ({"tools": [{"type": "function", "function": {"parameters": {}}}]}, "invalid", "/tools/0", "name"),
        ({"tools": TOOLS, "stop": "}"}, "unsupported", "/stop", "break the form"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "add"}}}, "invalid", "/tools", "add"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(
    client: openai.OpenAI, options: dict[str, Any], code: str, param: str, message: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, stream=stream, **options)
        assert message in caught.value.message
        assert (caught.value.code, caught.value.param) == (code, param)


def test_a_limit_met_on_the_way_ends_that_answer(client: openai.OpenAI) -> None:
    schema = {"pattern": "(a|b){20}c(x|y){3000}", "type": "string", "minLength": 9000}
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, response_format=in_schema(schema))
    assert caught.value.code in ("limit", "truncated")
    with pytest.raises(openai.APIError) as told:  # the stream has begun by then
        list(ask(client, response_format=in_schema(schema), stream=True))
    assert told.value.code in ("limit", "truncated")


def test_64_schemas_at_once_with_wrong_ones_among_them(served: Served) -> None:
    async def all_at_once() -> list[Any]:
        client = openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=300.0)

        async def one(number: int) -> Any:
            schema = {"type": "objekt"} if number % 16 == 5 else schema_number(number)
            return await ask(client, response_format=in_schema(schema), temperature=1.0, stream=False)

        return await asyncio.gather(*(one(number) for number in range(64)), return_exceptions=True)

    responses = asyncio.run(all_at_once())
    for number, response in enumerate(responses):
        if number % 16 == 5:
            assert isinstance(response, openai.BadRequestError)
            assert response.param == "/response_format/json_schema/schema/type"
        else:
            assert not isinstance(response, BaseException), response
            Draft202012Validator(schema_number(number)).validate(json.loads(text_of(response)))
    scheduler = served.service.scheduler
    assert (scheduler.running, scheduler.waiting) == (0, 0)


def test_a_row_that_reaches_a_limit_leaves_the_others_alone(served: Served) -> None:
    greedy = {"type": "string", "pattern": "^(?:[a-c]{2}x|[b-d]{3}y|z){30,60}$"}

    async def both() -> list[Any]:
        client = openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=300.0)
        schemas = [schema_number(1), greedy, schema_number(2), greedy]
        asked = (ask(client, response_format=in_schema(schema), temperature=1.0) for schema in schemas)
        return await asyncio.gather(*asked, return_exceptions=True)

    responses = asyncio.run(both())
    for number, response in zip((1, 2), responses[::2], strict=True):
        Draft202012Validator(schema_number(number)).validate(json.loads(text_of(response)))
    for response in responses[1::2]:
        assert isinstance(response, openai.BadRequestError) or Draft202012Validator(greedy).is_valid(
            json.loads(text_of(response))
        )


def test_a_step_that_fails_fails_its_requests_and_not_the_server(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:

        def forward(*_: Any, **__: Any) -> Any:
            raise RuntimeError("the device is gone, and so is secret.safetensors")

        broken.setattr(CachedModel, "forward", forward)
        with pytest.raises(openai.InternalServerError) as caught:
            ask(served.client, extra_body={"regex": "[ab]{9}"})
        assert "secret" not in caught.value.message
        assert any("secret" in str(record.exc_info) for record in caplog.records)
    with monkeypatch.context() as broken:
        broken.setattr(Cohort, "_fill", None)
        with pytest.raises(openai.InternalServerError):
            ask(served.client, extra_body={"regex": "[ab]{9}"})
    with monkeypatch.context() as broken:
        broken.setattr(Cohort, "__init__", None)
        with pytest.raises(openai.InternalServerError):
            ask(served.client, extra_body={"regex": "[ab]{9}"})
    assert re.fullmatch("[ab]{9}", text_of(ask(served.client, extra_body={"regex": "[ab]{9}"})))
    assert served.service.scheduler.running == 0


def test_requests_are_answered_together(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, step = list[int](), Cohort.step

    def noting(cohort: Cohort) -> None:
        sizes.append(len(cohort.rows))
        step(cohort)

    monkeypatch.setattr(Cohort, "step", noting)

    async def all_at_once() -> None:
        client = openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=300.0)
        await asyncio.gather(*(ask(client, extra_body={"regex": "[ab]{60}"}, n=4) for _ in range(4)))

    asyncio.run(all_at_once())
    assert max(sizes) >= 4
    assert len(sizes) < 16 * 60  # of forwards, one by one


def test_a_client_that_goes_is_not_worked_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Cohort.step

    def slow(cohort: Cohort) -> None:
        time.sleep(0.05)
        step(cohort)

    monkeypatch.setattr(Cohort, "step", slow)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{served.url}/v1/completions", json={"prompt": "A", "regex": "[ab]{150,}", "stream": False}, timeout=0.3
        )
    stream = served.client.completions.create(model="tiny", prompt="A", stream=True, extra_body={"regex": "[ab]{150,}"})
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 60
    while served.service.scheduler.running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert served.service.scheduler.running == 0


def test_bounds_of_requests(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, served: Served) -> None:
    large = httpx.post(f"{served.url}/v1/completions", content=b'{"prompt": "' + b"a" * 70_000 + b'"}')
    assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
    no_json = httpx.post(f"{served.url}/v1/completions", content=b"{" * 30_000)
    assert (no_json.status_code, no_json.json()["error"]["code"]) == (400, "invalid")
    long = httpx.post(f"{served.url}/v1/completions", json={"prompt": [5] * 5000})
    assert (long.status_code, long.json()["error"]["param"]) == (400, "/prompt")
    strict = Served(Service(model, tokenizer, name="tiny", bounds=Bounds(rows=1, waiting=1, seconds=0.0)))
    try:
        many = httpx.post(f"{strict.url}/v1/completions", json={"prompt": "a", "n": 3}, timeout=60)
        late = httpx.post(f"{strict.url}/v1/completions", json={"prompt": "a"}, timeout=60)
        tools = httpx.post(
            f"{strict.url}/v1/chat/completions", json={"messages": [{"role": "user"}], "tools": TOOLS}, timeout=60
        )
    finally:
        strict.stop()
    assert many.status_code in (429, 504)
    assert late.status_code == 504
    assert tools.status_code in (400, 504)


def test_health_models_and_metrics(served: Served) -> None:
    assert [model.id for model in served.client.models.list()] == ["tiny"]
    health = httpx.get(f"{served.url}/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    ask(served.client, extra_body={"choices": ["a"]})
    text = httpx.get(f"{served.url}/metrics").text
    counted = re.search(
        r'^maskwright_requests_total\{endpoint="/v1/chat/completions",status="200"\} (\S+)', text, re.MULTILINE
    )
    assert counted is not None and float(counted[1]) >= 1
    for name in ("tokens_total", "steps_total", "mask_seconds_total", "running", "grammar_cache_bytes"):
        assert re.search(rf"^maskwright_{name} [0-9.e+-]+$", text, re.MULTILINE), name
    assert "maskwright_request_seconds_bucket" in text
    assert "maskwright_compile_seconds_count" in text


def test_a_key_is_asked_for(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    running = Served(Service(model, tokenizer, name="tiny"), api_key="right ключ")
    try:
        for key in ("none", "right", "right ключи"):
            answer = httpx.get(f"{running.url}/v1/models", headers={"Authorization": f"Bearer {key}".encode()})
            assert answer.status_code == 401
        with pytest.raises(openai.AuthenticationError) as caught:
            ask(running.client, extra_body={"choices": ["a"]})
        assert caught.value.code == "invalid_api_key"
        assert "Authorization: Bearer" in caught.value.message
        header = {"Authorization": "Bearer right ключ".encode()}
        body = {"prompt": "a", "choices": ["yes"]}
        answer = httpx.post(f"{running.url}/v1/completions", json=body, headers=header, timeout=60)
        assert answer.json()["choices"][0]["text"] == "yes"
        assert httpx.get(f"{running.url}/health").status_code == 200
        assert httpx.get(f"{running.url}/metrics").status_code == 401
        metrics = httpx.get(f"{running.url}/metrics", headers=header).text
        assert 'maskwright_requests_total{endpoint="other",status="401"} 4.0' in metrics
    finally:
        running.stop()


# Every field that OpenAI's chat endpoint has, with a value that would change the answer: honoured, or refused by its name.
HONOURED = {
    "max_tokens", "max_completion_tokens", "n", "parallel_tool_calls", "response_format", "seed", "stop", "stream",
    "stream_options", "temperature", "tool_choice", "tools", "top_p",
}  # fmt: skip
WITHOUT_EFFECT = {"metadata", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user"}
REFUSED: dict[str, Any] = {
    "audio": {"format": "wav", "voice": "alloy"},
    "frequency_penalty": 0.5,
    "function_call": "auto",
    "functions": [],
    "logit_bias": {"50": -100},
    "logprobs": True,
    "modalities": ["text", "audio"],
    "moderation": {},
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 0.5,
    "prompt_cache_options": {},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "high",
    "top_logprobs": 3,
    "verbosity": "low",
    "web_search_options": {},
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_field_is_ignored(name: str) -> None:
    with pytest.raises(GrammarError) as caught:
        chat_of({"messages": [{"role": "user", "content": "x"}], name: REFUSED[name]})
    assert caught.value.pointer == f"/{name}"


def test_every_field_of_the_client_is_known() -> None:
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase

    fields = set(CompletionCreateParamsBase.__annotations__) | {"stream"}
    assert fields - HONOURED - WITHOUT_EFFECT - set(REFUSED) == {"messages", "model"}


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"tool_choice": "required"}, "/tool_choice"),
        ({"reasoning": "required"}, "/reasoning"),
        ({"stream_options": {"include_usage": True}}, "/stream_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "/stream_options/include_obfuscation"),
    ],
)
def test_fields_that_need_another_are_refused_without_it(fields: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidError) as caught:
        chat_of({"messages": [{"role": "user", "content": "x"}], **fields})
    assert caught.value.pointer == pointer


def test_the_reasoning_comes_ahead(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    running = Served(Service(model, tokenizer, name="tiny", reasoning_end="</think>"))
    try:
        for extra in ({"choices": ["yes", "no"]}, {"regex": "yes|no"}, {"guided_json": {"enum": ["yes"]}}):
            message = ask(running.client, extra_body=extra, max_tokens=40).choices[0].message
            assert message.content in ("yes", "no", '"yes"')
            assert "</think>" not in message.reasoning_content
    finally:
        running.stop()


def test_stopping_finishes_what_was_begun(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    running = Served(Service(model, tokenizer, name="tiny"))
    found: list[str] = []

    def collect() -> None:
        stream = running.client.completions.create(
            model="tiny", prompt="A", stream=True, max_tokens=150, extra_body={"regex": "[ab]{40}"}
        )
        found.extend(piece.choices[0].text for piece in stream)

    asking = threading.Thread(target=collect)
    asking.start()
    while not running.service.scheduler.running:
        time.sleep(0.01)
    running.stop()
    asking.join()
    assert re.fullmatch("[ab]{40}", "".join(found))
    assert not running.service.scheduler.is_alive


def test_the_command_tells_what_it_does_and_why_it_cannot(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, served: Served, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert main(["serve", "--model", str(tmp_path), "--port", str(served.port)]) == 2
    said = capsys.readouterr().err
    assert f"loading {tmp_path}" in said
    assert f"cannot listen on 127.0.0.1:{served.port}: choose another --port" in said
    assert main(["serve", "--port", "99999"]) == 2
    assert main(["serve", "--tool-format", "morse"]) == 2
    assert main(["serve", "--model", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert "99999" in said
    assert "choose one of llama-3" in said
    assert "no causal language model" in said


def test_bodies_are_pointed_into() -> None:
    body = {"messages": [{"role": "user", "content": "x"}, {"content": "y"}]}
    with pytest.raises(InvalidError, match="/messages/1/role: Field required"):
        chat_of(body)
    with pytest.raises(InvalidError, match="/n:"):
        chat_of({"messages": [{"role": "user"}], "n": 100})
