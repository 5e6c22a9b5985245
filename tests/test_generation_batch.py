"""Batches: what a row answers does not depend on what else is decoded with it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, Field

from maskwright import GenerationResult, generate

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

PROMPTS = ["An order:", "", "On Monday the first of March at half past nine the sensor", "The customer"]


class Point(BaseModel):
    x: int = Field(ge=0, le=99)
    label: str = Field(max_length=8)


class Trip(BaseModel):
    start: Point
    stops: list[Point] = Field(max_length=2)


SOURCES: list[dict[str, Any]] = [
    {"schema": Trip, "whitespace": "compact"},
    {"schema": {"type": "array", "items": {"type": "integer", "maximum": 999}, "minItems": 2, "maxItems": 5}},
    {"regex": "[a-z]{3,9}( [a-z]{3,9}){0,3}"},
    {"choices": ["left", "right", "straight on", "left again"]},
]


def models(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Tiny models with random weights of architectures that place tokens in different ways."""
    sizes: dict[str, Any] = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64, "head_dim": 8}
    torch.set_num_threads(1)  # for models this small threads cost more than the work
    torch.manual_seed(3)
    found = {
        "rotary": transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads)),
        "learned positions": transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=len(tokenizer),
                n_embd=32,
                n_layer=2,
                n_head=4,
                n_positions=1024,
                bos_token_id=1,
                eos_token_id=2,
            )
        ),
        "sliding window": transformers.MistralForCausalLM(
            transformers.MistralConfig(**sizes, **heads, sliding_window=6)
        ),
        "short convolutions": transformers.Lfm2ForCausalLM(
            transformers.Lfm2Config(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                layer_types=["conv", "full_attention"],
            )
        ),
        "eager attention": transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**sizes, **heads, attn_implementation="eager")
        ),
    }
    for model in found.values():
        for parameter in model.parameters():  # larger weights: peaked distributions, far from ties
            parameter.data.mul_(3.0)
    return {name: model.eval() for name, model in found.items()}


@pytest.fixture(scope="module")
def kinds(tiny_tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return models(tiny_tokenizer)


KINDS = ["rotary", "learned positions", "sliding window", "short convolutions", "eager attention"]


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_a_padded_cached_batch_are_those_of_each_row_alone(kinds: dict[str, Any], kind: str) -> None:
    """Chunks of uneven lengths, a repeated row and a dropped one, against one forward over each row's whole text."""
    from maskwright.cached_model import CachedModel

    model = kinds[kind]
    generator = torch.Generator().manual_seed(1)

    def chunk(length: int) -> list[int]:
        return [int(token) for token in torch.randint(3, 500, (length,), generator=generator)]

    cached = CachedModel(model, 3)
    rows = [chunk(length) for length in (9, 2, 5)]
    with torch.inference_mode():
        logits = cached.forward(rows)
        for selected, lengths in [([0, 1, 1, 2], (1, 4, 2, 1)), ([3, 1, 2], (3, 1, 6)), ([0, 2], (1, 1)), ([1], (5,))]:
            cached.select(selected)
            rows = [rows[row] for row in selected]
            new = [chunk(length if cached.ragged else 2) for length in lengths]
            rows = [row + more for row, more in zip(rows, new, strict=True)]
            logits = cached.forward(new)
            for row, found in zip(rows, logits, strict=True):
                expected = model(torch.tensor([row])).logits[0, -1]
                torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)
    assert cached.ragged or kind in ("sliding window", "short convolutions")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: next(iter(source)))
def test_a_batch_answers_greedily_as_one_by_one(
    kinds: dict[str, Any], kind: str, source: dict[str, Any], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    options = {**source, "tokenizer": tiny_tokenizer, "max_new_tokens": 80, "return_result": True}
    together = generate(kinds[kind], PROMPTS, **options)
    for prompt, found in zip(PROMPTS, together, strict=True):
        alone: GenerationResult = generate(kinds[kind], prompt, **options)
        assert found.text == alone.text
        assert found.tokens == alone.tokens
        assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-3)
        assert found.prompt_tokens == alone.prompt_tokens
        assert found.finish_reason == alone.finish_reason


def test_samples_depend_on_the_seed_and_their_place_alone(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    def ask(prompt: Any, **options: Any) -> Any:
        options = {"regex": "[a-z]{4,12}", "temperature": 1.0, "seed": 11, "tokenizer": tiny_tokenizer, **options}
        return generate(tiny_model, prompt, **options)

    several = ask(["one", "two, longer", "three"], n=3)
    assert [len(samples) for samples in several] == [3, 3, 3]
    assert ask("one", n=2) == several[0][:2]
    assert ask(["one", "two, longer"]) == [several[0][0], several[1][0]]
    assert len({text for samples in several for text in samples}) == 9


def test_the_prompt_is_read_once_and_finished_rows_leave(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, int]] = []
    forward = tiny_model.forward

    def recording(*args: Any, input_ids: Any, **kwargs: Any) -> Any:
        shapes.append(tuple(input_ids.shape))
        return forward(*args, input_ids=input_ids, **kwargs)

    recording.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(tiny_model, "forward", recording)
    answers = generate(
        tiny_model,
        ["The customer was happy", "x"],
        regex=["[a-z]{2}", "[a-z]{30}"],
        n=4,
        tokenizer=tiny_tokenizer,
        temperature=1.0,
        seed=1,
    )
    assert [[len(text) for text in samples] for samples in answers] == [[2] * 4, [30] * 4]
    prompt_tokens = len(tiny_tokenizer("The customer was happy")["input_ids"])
    assert shapes[0] == (2, prompt_tokens)
    rows = [shape[0] for shape in shapes[1:]]
    assert 4 <= rows[0] <= 8  # the long ones, and those of two letters whose first token was one letter
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] <= 4
    assert all(columns == 1 for _, columns in shapes[1:])


def test_each_prompt_may_have_its_own_source(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    def ask(**options: Any) -> Any:
        return generate(tiny_model, ["a", "b"], tokenizer=tiny_tokenizer, max_new_tokens=200, **options)

    point, number = ask(schema=[Point, {"type": "integer", "maximum": 9}])
    assert isinstance(point, Point)
    assert isinstance(number, int)
    assert ask(choices=[["yes"], ["no", "never"]])[0] == "yes"
    assert ask(regex=["a{3}", "b{3}"]) == ["aaa", "bbb"]
    assert set(ask(choices=["yes", "no"])) <= {"yes", "no"}


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (["a", "b"], {"regex": ["x", "y", "z"]}, "regex= has 3 entries for 2 prompts"),
        (["a", "b"], {"schema": [True]}, "schema= has 1 entries for 2 prompts"),
        (["a", "b"], {"choices": [["x"], ["y"], ["z"]]}, "choices= has 3 entries for 2 prompts"),
        ([], {"regex": "x"}, "prompt= must be text"),
        (3, {"regex": "x"}, "prompt= must be text"),
        ([{"content": "hello"}], {"regex": "x"}, 'without "role"'),
        ("a", {"regex": "x", "n": 0}, "n=0"),
        ("a", {"regex": "x", "n": 1.5}, "n=1.5"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    tiny_model: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
    prompt: Any,
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(tiny_model, prompt, tokenizer=tiny_tokenizer, **options)


def test_forced_text_costs_no_forwards(tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    options = {"schema": Trip, "whitespace": "compact", "tokenizer": tiny_tokenizer, "return_result": True}
    quick, slow = (generate(tiny_model, PROMPTS, jump_forward=jump, **options) for jump in (True, False))
    for jumping, stepping in zip(quick, slow, strict=True):
        assert isinstance(jumping.value, Trip)
        assert isinstance(stepping.value, Trip)
        assert jumping.statistics.forwards <= len(jumping.tokens) - jumping.statistics.jump_forward_tokens + 1
        assert jumping.statistics.jump_forward_tokens >= 10
        assert stepping.statistics.jump_forward_tokens == 0
        assert sum(jumping.forced) == jumping.statistics.jump_forward_tokens
        assert all(logprob == 0.0 for logprob, forced in zip(jumping.logprobs, jumping.forced, strict=True) if forced)


def test_jumping_changes_no_greedy_text_where_tokenization_agrees() -> None:
    """A vocabulary of single bytes tokenizes every text in one way."""
    import tiny

    tokenizer = tiny.tiny_tokenizer(vocab_size=259)
    model = tiny.tiny_model(tokenizer)
    options = {"schema": Trip, "whitespace": "compact", "tokenizer": tokenizer, "return_result": True}
    quick, slow = (generate(model, PROMPTS, jump_forward=jump, **options) for jump in (True, False))
    assert [result.text for result in quick] == [result.text for result in slow]
    assert sum(result.statistics.forwards for result in quick) < sum(result.statistics.forwards for result in slow) / 2
