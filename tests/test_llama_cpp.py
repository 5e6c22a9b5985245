"""llama-cpp-python itself, and its OpenAI-compatible server, over a tiny GGUF written here (`make test-server-llama`)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.forms import Form
from maskwright.grammars.errors import InvalidError, LimitExceeded, MatcherError, ModelError, UnsupportedError
from maskwright.llama_cpp import LlamaCppProcessor, constrain, tokenizer_info

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

pytestmark = pytest.mark.servers

MISSING = "llama-cpp-python is not installed: make test-server-llama"
VOCAB_SIZE = 640  # more than the tokenizer's: a padded model
PATTERN = "[a-c]{7}-[0-9]"
MESSAGES = [{"role": "user", "content": "An order, please."}]
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["order", "offer"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 99},
        "note": {"type": "string", "maxLength": 8},
    },
    "required": ["kind", "count", "note"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "order", "parameters": SCHEMA}}]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    pytest.importorskip("gguf", reason=MISSING)
    from gguf_files import write_gguf

    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_tokenizer, vocab_size=VOCAB_SIZE)


@pytest.fixture(scope="module")
def plain(gguf: Path) -> Any:
    """A Llama as it comes."""
    llama_cpp = pytest.importorskip("llama_cpp", reason=MISSING)
    return llama_cpp.Llama(str(gguf), n_ctx=2048, seed=1, verbose=False)


@pytest.fixture(scope="module")
def llama(gguf: Path) -> Any:
    """A constrained one."""
    llama_cpp = pytest.importorskip("llama_cpp", reason=MISSING)
    return constrain(llama_cpp.Llama(str(gguf), n_ctx=2048, seed=1, verbose=False))


def valid(text: str, schema: Any = SCHEMA) -> bool:
    jsonschema.validate(json.loads(text), schema)
    return True


def text_of(result: Any) -> str:
    """The text of a completion or a chat, also of one that is streamed."""
    if isinstance(result, dict):
        choice = result["choices"][0]
        return str(choice["text"] if "text" in choice else choice["message"]["content"])
    choices = [chunk["choices"][0] for chunk in result]
    return "".join(one["text"] if "text" in one else one["delta"].get("content") or "" for one in choices)


def test_the_vocabulary_is_that_of_the_tokenizer(plain: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    read, known = tokenizer_info(plain), TokenizerInfo.from_huggingface(tiny_tokenizer, VOCAB_SIZE)
    size = len(tiny_tokenizer)
    assert (read.vocab_size, set(read.eos_token_ids)) == (VOCAB_SIZE, set(known.eos_token_ids))
    assert read.special_token_ids >= known.special_token_ids | {*range(size, VOCAB_SIZE)}
    assert read.tokens[:size] == known.tokens[:size]


def test_the_vocabulary_of_llama_3(shared: Path, tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason=MISSING)
    from gguf_files import write_gguf
    from transformers import PreTrainedTokenizerFast

    (file,) = (shared / "data" / "tokenizers" / "llama3").glob("**/tokenizer.json")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(file), bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>"
    )
    path = write_gguf(tmp_path / "llama3.gguf", tokenizer, pre="llama-bpe")
    read = tokenizer_info(llama_cpp.Llama(str(path), vocab_only=True, verbose=False))
    known = TokenizerInfo.from_huggingface(tokenizer)
    long = {token for token, text in enumerate(known.tokens) if len(text or b"") > 32}  # of which nothing is written
    assert read.special_token_ids == known.special_token_ids | long
    assert all(read.tokens[token] == known.tokens[token] for token in range(known.vocab_size) if token not in long)
    ends = {name for name, token in read.special_names.items() if token in read.eos_token_ids}
    assert ends >= {"<|end_of_text|>", "<|eot_id|>"}


def test_a_vocabulary_of_sentencepiece(tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason=MISSING)
    from gguf_files import write_sentencepiece_gguf

    pieces = ["\u2581", "\u2581\u2581", "\u2581order", "order", "\u2581{", "é", *'abcdefghijklmnop {}:,0123456789"']
    path = write_sentencepiece_gguf(tmp_path / "pieces.gguf", pieces)
    llama = constrain(llama_cpp.Llama(str(path), n_ctx=512, verbose=False))
    info = tokenizer_info(llama)
    assert (set(info.eos_token_ids), set(info.special_token_ids)) == ({2}, {0, 1, 2})
    assert list(info.tokens[3:259]) == [bytes([byte]) for byte in range(256)]
    assert list(info.tokens[259:]) == [piece.replace("\u2581", " ").encode() for piece in pieces]
    for seed, pattern in enumerate((" {0,3}order é{1,4}", "é?[a-c]{5}  {9}", "\u2581ñ{2}")):
        form = Form("regex", pattern)
        for prompt in ("Say:", "order"):
            result = llama.create_completion(prompt, maskwright=form, seed=seed, max_tokens=100, temperature=1.0)
            assert re.fullmatch(pattern, text_of(result))
    assert valid(text_of(llama.create_completion("S:", maskwright=Form("json_schema", SCHEMA), max_tokens=500)))


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.0},
        {"temperature": 0.0, "repeat_penalty": 1.5},
        {"temperature": 1.5, "seed": 3, "top_k": 5},
        {"temperature": 1.0, "seed": 4, "top_p": 1.0, "min_p": 0.0, "top_k": 0},
        {"temperature": 0.9, "seed": 5, "mirostat_mode": 2},
        {"temperature": -1.0, "seed": 6},
    ],
)
def test_completions_keep_the_grammar(plain: Any, sampling: dict[str, Any]) -> None:
    from llama_cpp import LogitsProcessorList

    compiler = GrammarCompiler(tokenizer_info(plain))
    for compiled, check in (
        (compiler.compile_regex(PATTERN), lambda text: re.fullmatch(PATTERN, text)),
        (compiler.compile_json_schema(SCHEMA, whitespace="compact"), valid),
    ):
        processor = LlamaCppProcessor(compiled)
        result = plain.create_completion(
            "Say: ", max_tokens=200, logits_processor=LogitsProcessorList([processor]), **sampling
        )
        processor.check()
        assert result["choices"][0]["finish_reason"] == "stop"
        assert check(text_of(result))


def test_an_error_ends_the_answer_and_is_raised(plain: Any, capfd: pytest.CaptureFixture[str]) -> None:
    from llama_cpp import LogitsProcessorList

    compiled = GrammarCompiler(tokenizer_info(plain)).compile_regex(PATTERN)
    z = plain.tokenize(b"Z", add_bos=False)[0]
    lengths: list[int] = []

    def forced(ids: Any, scores: Any) -> Any:
        lengths.append(len(ids))
        found = np.full_like(scores, -np.inf)
        found[z] = 0
        return found if len(ids) == lengths[0] + 2 else scores

    processor = LlamaCppProcessor(compiled)
    result = plain.create_completion("S: ", max_tokens=50, logits_processor=LogitsProcessorList([processor, forced]))
    assert text_of(result).endswith("Z")  # nothing behind what another processor has forced
    with pytest.raises(MatcherError, match=f"does not allow token {z}"):
        processor.check()

    def broken(ids: Any, scores: Any) -> Any:
        raise KeyboardInterrupt

    processor = LlamaCppProcessor(compiled, others=[broken])
    assert text_of(plain.create_completion("S: ", logits_processor=LogitsProcessorList([processor]))) == ""
    with pytest.raises(KeyboardInterrupt):
        processor.check()
    assert "Exception ignored" not in capfd.readouterr().err  # llama-cpp-python has seen none of them


def test_a_processor_that_is_left_out_says_so(plain: Any) -> None:
    from llama_cpp import LogitsProcessorList

    processor = LlamaCppProcessor(GrammarCompiler(tokenizer_info(plain)).compile_regex(PATTERN))
    plain.create_completion("S: ", logits_processor=LogitsProcessorList([processor]), logit_bias={70: 1.0})
    with pytest.raises(ModelError, match="has not called this processor"):
        processor.check()


@pytest.mark.parametrize("stream", [False, True])
def test_constrained_chats_and_completions(llama: Any, stream: bool) -> None:
    options = {"max_tokens": 400, "stream": stream, "temperature": 1.0, "seed": 2}
    for response_format in (
        {"type": "json_object", "schema": SCHEMA},
        {"type": "json_schema", "json_schema": {"name": "order", "schema": SCHEMA}},
    ):
        assert valid(text_of(llama.create_chat_completion(MESSAGES, response_format=response_format, **options)))
    pattern = Form("regex", PATTERN)
    assert re.fullmatch(PATTERN, text_of(llama.create_chat_completion(MESSAGES, maskwright=pattern, **options)))
    assert re.fullmatch(PATTERN, text_of(llama.create_completion("S: ", maskwright=pattern, **options)))
    by_place = llama.create_completion("S: ", None, 60, maskwright=pattern, stream=stream)
    assert re.fullmatch(PATTERN, text_of(by_place))
    assert text_of(llama.create_completion("S: ", max_tokens=12, stream=stream))  # which has no form


def test_biases_are_kept_and_checked(llama: Any) -> None:
    (b,) = llama.tokenize(b"b", add_bos=False)
    form = Form("regex", "[a-c]{6}")
    options = {"maskwright": form, "temperature": 0.0}
    assert text_of(llama.create_completion("S: ", logit_bias={str(b): 100.0}, **options)) == "bbbbbb"
    with pytest.raises(InvalidError, match="/logit_bias"):
        llama.create_completion("S: ", logit_bias={VOCAB_SIZE: 1.0}, **options)
    with pytest.raises(InvalidError, match="forbids them all"):
        llama.create_completion("S: ", maskwright=Form("regex", "b"), logit_bias={b: -np.inf})


def test_a_tool_that_is_named_keeps_its_schema(llama: Any) -> None:
    choice = {"type": "function", "function": {"name": "order"}}
    result = llama.create_chat_completion(MESSAGES, tools=TOOLS, tool_choice=choice, max_tokens=400)
    (call,) = result["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "order"
    assert valid(call["function"]["arguments"])
    with pytest.raises(InvalidError, match="there is no tool 'offer'"):
        llama.create_chat_completion(MESSAGES, tools=TOOLS, tool_choice={"function": {"name": "offer"}})
    with pytest.raises(UnsupportedError, match="/stop"):
        llama.create_chat_completion(MESSAGES, stop=["}"], response_format={"type": "json_object"})
    with pytest.raises(InvalidError, match="/tools"):
        llama.create_chat_completion(MESSAGES, tools=TOOLS, response_format={"type": "json_object"})


def test_a_limit_ends_a_stream_with_its_error(gguf: Path) -> None:
    import llama_cpp

    plain = llama_cpp.Llama(str(gguf), n_ctx=512, verbose=False)
    constrained = constrain(plain, GrammarCompiler(tokenizer_info(plain), max_states=60))
    form = Form("regex", "[a-z]{3}(x[0-9]{40}|y[a-f]{50}|[k-w]{60}){3}")
    with pytest.raises(LimitExceeded):
        list(constrained.create_completion("S: ", maskwright=form, stream=True, max_tokens=400))


def test_drafts_are_refused(gguf: Path) -> None:
    import llama_cpp
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    drafting = llama_cpp.Llama(str(gguf), n_ctx=512, verbose=False, draft_model=LlamaPromptLookupDecoding())
    with pytest.raises(ModelError, match="without draft_model"):
        constrain(drafting)


@pytest.fixture(scope="module")
def client(gguf: Path) -> Iterator[Any]:
    """OpenAI's client of their server over constrained models, on a socket."""
    pytest.importorskip("llama_cpp", reason=MISSING)
    import openai
    import uvicorn
    from llama_cpp.server.settings import ModelSettings, ServerSettings

    from maskwright.llama_cpp_server import create_app

    models = [ModelSettings(model=str(gguf), model_alias=name, n_ctx=2048, verbose=False) for name in ("tiny", "other")]
    app = create_app(server_settings=ServerSettings(api_key="secret", interrupt_requests=False), model_settings=models)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="secret", max_retries=0)
    server.should_exit = True
    thread.join()


def ask(client: Any, stream: bool = False, model: str = "tiny", **options: Any) -> str:
    result = client.chat.completions.create(model=model, messages=MESSAGES, stream=stream, max_tokens=400, **options)
    if stream:
        return "".join(chunk.choices[0].delta.content or "" for chunk in result)
    return str(result.choices[0].message.content)


@pytest.mark.parametrize("stream", [False, True])
def test_the_server_keeps_forms(client: Any, stream: bool) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "order", "schema": SCHEMA}}
    assert valid(ask(client, stream, response_format=schema))
    assert valid(ask(client, stream, extra_body={"response_format": {"type": "json_object", "schema": SCHEMA}}))
    assert valid(ask(client, stream, extra_body={"min_tokens": 3}, response_format=schema))
    assert ask(client, stream, extra_body={"choices": ["red", "green"]}) in ("red", "green")
    assert re.fullmatch("(ab)+!", ask(client, stream, extra_body={"grammar": 'root ::= "ab" root | "ab!"'}))
    assert ask(client, stream)  # which has no form
    extra = {"regex": PATTERN}
    result = client.completions.create(model="tiny", prompt="S: ", max_tokens=60, stream=stream, extra_body=extra)
    text = "".join(chunk.choices[0].text for chunk in result) if stream else result.choices[0].text
    assert re.fullmatch(PATTERN, text)


def test_the_server_keeps_the_schemas_of_tools(client: Any) -> None:
    choice = {"type": "function", "function": {"name": "order"}}
    result = client.chat.completions.create(
        model="tiny", messages=MESSAGES, tools=TOOLS, tool_choice=choice, max_tokens=400
    )
    (call,) = result.choices[0].message.tool_calls
    assert valid(call.function.arguments)


@pytest.mark.parametrize("stream", [False, True])
def test_the_server_refuses_with_400(client: Any, stream: bool) -> None:
    import openai

    bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": {"a": {"type": "text"}}}}}
    for model in ("tiny", "other"):  # the latter is loaded by the request, and the grammar compiled behind it
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, stream, model, response_format=bad)
        assert caught.value.param == "/response_format/json_schema/schema/properties/a/type"
        assert caught.value.code == "invalid"
    for extra, message in (
        ({"regex": "(a"}, "has no end"),
        ({"regex": "a", "choices": ["b"]}, "one form"),
        ({"response_format": {"type": "yaml"}}, "no response format"),
        ({"response_format": []}, "dictionary"),
        ({"regex": "a", "tools": TOOLS}, "leave one"),
        ({"regex": "a", "stop": ["b"]}, "stop would break"),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            ask(client, stream, extra_body=extra)
    with pytest.raises(openai.AuthenticationError):
        ask(client.with_options(api_key="wrong"), stream, extra_body={"regex": "(a"})


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_within_an_answer_is_told(client: Any, stream: bool) -> None:
    import openai

    # The second token is not there to be had. A chat's stream has begun by then, and its last event tells.
    expected = openai.APIError if stream else openai.BadRequestError
    with pytest.raises(expected, match="forbids them all"):
        ask(client, stream, extra_body={"regex": "b", "min_tokens": 4})
    assert ask(client, stream, extra_body={"regex": "b"}) == "b"  # others are not harmed


def test_requests_at_once_do_not_meet(client: Any) -> None:
    import openai

    def one(number: int) -> str:
        if number % 8 == 7:
            with pytest.raises(openai.BadRequestError):
                ask(client, stream=bool(number % 16 == 7), extra_body={"json_schema": {"type": f"kind{number}"}})
            return ""
        return ask(client, stream=bool(number % 2), extra_body={"json_schema": {"const": f"answer {number}"}})

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(one, range(32)))
    assert found == ["" if number % 8 == 7 else f'"answer {number}"' for number in range(32)]


def test_the_command(gguf: Path) -> None:
    import openai

    command = [sys.executable, "-m", "maskwright.llama_cpp_server", "--n_ctx", "512", "--verbose", "false"]
    missing = subprocess.run([*command, "--model", "no.gguf"], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert missing.stderr.strip() == "maskwright: Model path does not exist: no.gguf"
    drafting = [*command, "--model", str(gguf), "--draft_model", "prompt-lookup-decoding"]
    refused = subprocess.run(drafting, capture_output=True, text=True, check=False)
    assert refused.stderr.startswith("maskwright: llama-cpp-python shows processors unverified drafts")
    port = "48173"
    with subprocess.Popen([*command, "--model", str(gguf), "--port", port]) as server:
        try:
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
            until = monotonic() + 120
            while True:
                try:
                    client.models.list()
                    break
                except openai.APIConnectionError:
                    assert monotonic() < until
                    sleep(0.3)
            assert ask(client, extra_body={"choices": ["red", "green"]}) in ("red", "green")
        finally:
            server.terminate()
