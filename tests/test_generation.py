"""generate(): what comes back for each kind of request, and what happens when it cannot."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import pydantic.dataclasses
import pytest
from pydantic import BaseModel, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from maskwright import (
    MatcherError,
    TokenizerError,
    TruncatedError,
    UnsatisfiableError,
    UnsupportedError,
    generate,
)

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


def test_running_out_of_tokens_carries_the_text_so_far(ask: Any) -> None:
    with pytest.raises(TruncatedError, match=r"3 tokens were not enough.*max_new_tokens") as caught:
        ask(regex="[a-z]{40}", max_new_tokens=3)
    assert re.fullmatch("[a-z]{3,}", caught.value.text)
    assert caught.value.max_tokens == 3


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
    ],
)
def test_arguments_out_of_range_are_refused(ask: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(**options)


def test_refused_schemas_raise_before_the_model_is_asked(ask: Any) -> None:
    with pytest.raises(UnsatisfiableError):
        ask(schema={"allOf": [{"type": "string"}, {"type": "null"}]})
    with pytest.raises(UnsupportedError):
        ask(schema={"type": "array", "uniqueItems": True})


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
