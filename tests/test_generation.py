"""generate(): what comes back for each kind of request, and what happens when it cannot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic.dataclasses
import pytest
from pydantic import BaseModel, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from maskwright import (
    Grammar,
    GrammarCompiler,
    GrammarMatcher,
    InvalidError,
    MatcherError,
    ModelError,
    TokenizerError,
    TokenizerInfo,
    TruncatedError,
    UnsatisfiableError,
    UnsupportedError,
    embedded,
    generate,
)
from maskwright.loading import load

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")


class Point(BaseModel, extra="forbid"):
    x: int = Field(ge=0, le=99)
    label: Literal["a", "b"]


class Box(BaseModel, extra="forbid"):
    name: str = Field(max_length=6)
    corners: list[Point] = Field(min_length=1, max_length=2)


@pydantic.dataclasses.dataclass(config={"extra": "forbid"})
class Flag:
    on: bool
    shade: Literal["light", "dark"]


@with_config({"extra": "forbid"})
class Row(TypedDict):
    ok: bool


@pytest.fixture(scope="module")
def ask(tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast) -> Any:
    """generate() with the tiny model; 600 tokens unless told."""

    def call(prompt: str = "An order:", **options: Any) -> Any:
        return generate(tiny_model, prompt, **{"tokenizer": tiny_tokenizer, "max_new_tokens": 600, **options})

    return call


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0, 3.0])
def test_a_pydantic_class_comes_back_as_an_instance(ask: Any, temperature: float) -> None:
    box = ask(schema=Box, temperature=temperature, seed=1)
    assert isinstance(box, Box)
    assert isinstance(box.corners[0], Point)


def test_other_types_come_back_as_instances(ask: Any) -> None:
    flag = ask(schema=Flag)
    assert isinstance(flag, Flag)
    assert isinstance(flag.on, bool)
    assert isinstance(ask(schema=Row)["ok"], bool)
    assert len(ask(schema=TypeAdapter(tuple[bool, Literal[7]]))) == 2
    assert ask(schema=Literal["left", "right"]) in ("left", "right")


def test_a_json_schema_comes_back_as_parsed_json(ask: Any) -> None:
    schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}
    assert [type(item) for item in ask(schema=schema)] == [bool, bool]


def test_a_pattern_and_choices_come_back_as_text(ask: Any) -> None:
    assert re.fullmatch("[a-f]{3}-[0-9]{2}", ask(regex="[a-f]{3}-[0-9]{2}"))
    assert ask(choices=["yes", "no", "not at all"]) in ("yes", "no", "not at all")


def test_an_empty_prompt_is_enough(ask: Any) -> None:
    assert ask("", choices=["é", "ü"]) in ("é", "ü")


def test_a_seed_repeats_and_seeds_differ(ask: Any) -> None:
    texts = [ask(regex="[a-z]{12}", temperature=1.0, seed=seed) for seed in (5, 5, 6, 7)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    unseeded = {ask(regex="[a-z]{12}", temperature=1.0) for _ in range(3)}
    assert len(unseeded) > 1


def test_a_tiny_top_p_is_greedy(ask: Any) -> None:
    assert ask(regex="[a-z]{12}", temperature=2.0, top_p=1e-9, seed=3) == ask(regex="[a-z]{12}")


def test_sampling_follows_the_models_distribution_over_what_is_allowed(
    ask: Any, tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """One-token answers: the frequencies are the renormalised probabilities."""
    letters = "abcd"
    ids = tiny_tokenizer("An order:", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logits = tiny_model(ids).logits[0, -1].float()
    expected = torch.softmax(logits[[tiny_tokenizer.convert_tokens_to_ids(c) for c in letters]], 0)
    draws = 300
    drawn = [ask(regex="[a-d]", temperature=1.0, seed=seed) for seed in range(draws)]
    for letter, probability in zip(letters, expected.tolist(), strict=True):
        deviation = (probability * (1 - probability) / draws) ** 0.5
        assert abs(drawn.count(letter) / draws - probability) < 5 * deviation + 1e-3


def test_too_few_tokens_are_refused_before_the_model_is_asked(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was asked")

    monkeypatch.setattr(tiny_model, "forward", forward)
    with pytest.raises(TruncatedError, match=r"max_new_tokens=3: the shortest answer takes 40 tokens") as caught:
        generate(tiny_model, "x", regex="[b-d]{40}", max_new_tokens=3, tokenizer=tiny_tokenizer)
    assert (caught.value.text, caught.value.max_tokens, caught.value.needed) == ("", 3, 40)


def test_a_whole_sentence_at_the_last_token_is_returned(ask: Any) -> None:
    assert re.fullmatch("a{2}", ask(regex="aa", max_new_tokens=2))
    assert re.fullmatch("[a-z]+", ask(regex="[a-z]+", max_new_tokens=4))


def test_the_models_own_tokenizer_is_used(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TokenizerError, match="pass tokenizer="):
        generate(tiny_model, choices=["a"])
    monkeypatch.setattr(tiny_model, "tokenizer", tiny_tokenizer, raising=False)
    assert generate(tiny_model, choices=["a"]) == "a"


def test_a_padded_models_extra_logits_are_never_chosen(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer) + 50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    torch.manual_seed(0)
    padded = LlamaForCausalLM(config).eval()
    answer = generate(padded, "x", regex="[a-z]{8}", tokenizer=tiny_tokenizer, temperature=5.0, seed=0)
    assert re.fullmatch("[a-z]{8}", answer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of"),
        ({"schema": True, "regex": "a"}, "exactly one of"),
        ({"regex": "a", "max_new_tokens": 0}, "max_new_tokens=0"),
        ({"regex": "a", "temperature": -1.0}, "temperature=-1.0"),
        ({"regex": "a", "top_p": 0.0}, "top_p=0.0"),
        ({"regex": "a", "temperature": float("nan")}, "temperature=nan"),
        ({"regex": "a", "top_k": -1}, "top_k=-1"),
        ({"regex": "a", "min_p": 1.5}, "min_p=1.5"),
        ({"regex": "a", "seed": -1}, "seed=-1"),
        ({"regex": "a", "seed": "x"}, "seed='x'"),
        ({"regex": "a", "whitespace": "single"}, "whitespace= .* goes with schema="),
        ({"schema": True, "whitespace": "none"}, "whitespace='none': choose one of"),
    ],
)
def test_arguments_out_of_range_are_refused(ask: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(**options)


def test_refused_schemas_raise_before_the_model_is_asked(ask: Any) -> None:
    with pytest.raises(UnsatisfiableError):
        ask(schema={"allOf": [{"type": "string"}, {"type": "null"}]})
    with pytest.raises(UnsupportedError):
        ask(schema={"type": "string", "pattern": r"(a|b)\1"})


def test_logits_that_are_no_numbers_raise(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    class Broken:
        config, device, forward = tiny_model.config, tiny_model.device, tiny_model.forward

        def __call__(self, **arguments: Any) -> Any:
            output = tiny_model(**arguments)
            output.logits = output.logits * float("nan")
            return output

    with pytest.raises(MatcherError, match="no finite logit"):
        generate(Broken(), "x", regex="[ab]", tokenizer=tiny_tokenizer)


def test_policy_options_reach_the_compiler_and_unknown_ones_are_refused(ask: Any) -> None:
    schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "maxItems": 3}
    assert ask(schema=schema, whitespace="compact", return_result=True).text.count(" ") == 0
    assert ask(schema=schema, separators=("  ,", ":"), return_result=True).text.count("  ,") == 2
    with pytest.raises(TypeError, match="unexpected keyword argument 'white_space'"):
        ask(schema=schema, white_space="compact")


def test_a_type_without_extra_keys_gets_none(ask: Any) -> None:
    class Open(BaseModel):
        pass

    class Allowing(BaseModel, extra="allow"):
        pass

    assert ask(schema=Open, temperature=1.0, seed=0, return_result=True).text.split() in (["{}"], ["{", "}"])
    extras = [
        ask(schema=Allowing, temperature=1.0, seed=seed, max_new_tokens=30, return_result=True).text
        for seed in range(8)
    ]
    assert any('"' in text for text in extras)


def test_a_compiled_grammar_is_taken(
    ask: Any, tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    info = TokenizerInfo.from_huggingface(tiny_tokenizer, vocab_size=tiny_model.config.vocab_size)
    compiler = GrammarCompiler(info)
    assert re.fullmatch("[ab]{5}", ask(grammar=compiler.compile_regex("[ab]{5}")))
    assert isinstance(ask(grammar=compiler.compile_json_schema(Point)), Point)
    nested = re.fullmatch("(a*)b(c*)", ask(grammar='root ::= "a" root "c" | "b"'))
    assert nested is not None and len(nested[1]) == len(nested[2])
    assert re.fullmatch("x+y", ask(grammar=Grammar.from_lark('start: "x"+ "y"')))
    with pytest.raises(InvalidError, match="a structural tag or a CompiledGrammar, not int"):
        ask(grammar=3)
    other = GrammarCompiler(TokenizerInfo([b"a", b"b"], eos_token_ids=[])).compile_regex("a")
    with pytest.raises(TokenizerError, match="another vocabulary"):
        ask(grammar=other)


def test_messages_go_through_the_chat_template(
    ask: Any, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [{"role": "user", "content": "An order, please."}]
    with pytest.raises(TokenizerError, match="no chat template"):
        ask(messages, regex="[ab]")
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    monkeypatch.setattr(tiny_tokenizer, "chat_template", template)
    plain = ask("user: An order, please.\nassistant: ", regex="[a-z]{12}", return_result=True)
    chat = ask(messages, regex="[a-z]{12}", return_result=True)
    assert (chat.tokens, chat.prompt_tokens) == (plain.tokens, plain.prompt_tokens)
    assert ask([messages, messages], regex="[a-z]{12}") == [plain.text] * 2
    monkeypatch.setattr(tiny_tokenizer, "chat_template", "{{ raise_exception('only one turn') }}")
    with pytest.raises(TokenizerError, match="refuses these messages: only one turn"):
        ask(messages, regex="[ab]")


def test_a_result_accounts_for_every_token(
    ask: Any, tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """The log-probabilities are those of the masked distribution, found anew from one forward over the whole text."""
    temperature = 1.5
    result = ask(schema=Box, temperature=temperature, seed=4, return_result=True, whitespace="compact")
    assert result.value == Box.model_validate_json(result.text)
    info = TokenizerInfo.from_huggingface(tiny_tokenizer, vocab_size=tiny_model.config.vocab_size)
    assert info.decode(result.tokens).decode() == result.text
    matcher = GrammarMatcher(GrammarCompiler(info).compile_json_schema(Box, whitespace="compact"))
    prompt = tiny_tokenizer("An order:")["input_ids"]
    assert result.prompt_tokens == len(prompt)
    with torch.inference_mode():
        logits = (
            tiny_model(torch.tensor([[*prompt, *result.tokens]])).logits[0, len(prompt) - 1 :].float() / temperature
        )
    for token, logprob, forced, row in zip(result.tokens, result.logprobs, result.forced, logits, strict=False):
        allowed = matcher.allowed_token_ids()
        expected = 0.0 if forced else float(row[token] - row[allowed].logsumexp(0))
        assert logprob == pytest.approx(expected, abs=1e-3)
        assert matcher.accept_token(token)
    assert matcher.is_completed()
    statistics, timings = result.statistics, result.timings
    assert result.finish_reason == "stop"
    assert statistics.jump_forward_tokens == sum(result.forced) > 0
    assert statistics.masks == statistics.forwards == len(result.tokens) - statistics.jump_forward_tokens
    assert 0 < statistics.mean_allowed_fraction < 1
    assert 0 < timings.masks < timings.decode
    assert timings.prefill > 0
    assert result.logprob == pytest.approx(sum(result.logprobs))
    assert "tokens jumped over" in repr(result)


def test_progress_is_shown_on_standard_error(ask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(choices=["a", "b"], progress=True) in "ab"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1/1" in captured.err


def test_models_are_loaded_by_name_and_kept(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    answers = [
        generate(place, "An order:", regex="[a-z]{9}") for place in (tmp_path / "model", str(tmp_path / "model"))
    ]
    assert answers == [generate(tiny_model, "An order:", regex="[a-z]{9}", tokenizer=tiny_tokenizer)] * 2
    assert load(str(tmp_path / "model")) is load(str(tmp_path / "model"))


def test_without_a_model_the_embedded_one_is_asked_in_its_own_form(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "load", lambda: (tiny_model, tiny_tokenizer))
    schema = Point.model_json_schema()
    asked = generate(prompt="Point a is at 3.", schema=Point, return_result=True)
    written = embedded.extraction_prompt("Point a is at 3.", schema)
    assert asked.text == generate(tiny_model, written, schema=Point, tokenizer=tiny_tokenizer, return_result=True).text
    assert asked.prompt_tokens == len(tiny_tokenizer(written)["input_ids"])
    plain = generate(prompt="An order:", regex="[a-z]{9}")
    assert plain == generate(tiny_model, "An order:", regex="[a-z]{9}", tokenizer=tiny_tokenizer)

    def missing() -> Any:
        raise OSError("no file named model.safetensors")

    monkeypatch.setattr(embedded, "load", missing)
    with pytest.raises(ModelError, match=r"lacks the embedded model's files.*model\.safetensors"):
        generate(prompt="x", regex="a")


def test_what_is_no_model_is_refused(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelError, match="is no causal language model that transformers can load"):
        generate(tmp_path, "x", regex="a")
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ModelError, match="is no causal language model"):
        generate(str(tmp_path), "x", regex="a")
    with pytest.raises(ModelError, match="model= is int"):
        generate(3, "x", regex="a", tokenizer=tiny_tokenizer)
    with pytest.raises(TokenizerError, match="tokenizer= is str"):
        generate(3, "x", regex="a", tokenizer="gpt2")


def test_a_model_without_a_key_value_cache_is_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=len(tiny_tokenizer), hidden_size=16, num_hidden_layers=1)
    with pytest.raises(ModelError, match="MambaForCausalLM keeps no key-value cache"):
        generate(MambaForCausalLM(config), "x", regex="a", tokenizer=tiny_tokenizer)


def test_a_model_inside_an_adapter_is_asked_as_itself(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    class Adapter:
        """As peft wraps models: the names that forward takes are those of the model inside."""

        config, device = tiny_model.config, tiny_model.device

        def get_base_model(self) -> LlamaForCausalLM:
            return tiny_model

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            assert kwargs["position_ids"].shape == kwargs["input_ids"].shape
            return tiny_model(*args, **kwargs)

        __call__ = forward

    prompts, options = ["An order:", "x"], {"regex": "[a-z]{9}", "tokenizer": tiny_tokenizer}
    assert generate(Adapter(), prompts, **options) == generate(tiny_model, prompts, **options)


def test_a_prompt_beyond_the_models_context_is_refused(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = "An order:"
    size = len(tiny_tokenizer(prompt)["input_ids"])
    monkeypatch.setattr(tiny_model.config, "max_position_embeddings", size + 5)
    assert len(generate(tiny_model, prompt, regex="a+", tokenizer=tiny_tokenizer, return_result=True).tokens) <= 5
    monkeypatch.setattr(tiny_model.config, "max_position_embeddings", size)
    with pytest.raises(ValueError, match=f"the prompt has {size} tokens, and this model sees {size}"):
        generate(tiny_model, prompt, regex="a+", tokenizer=tiny_tokenizer)
