"""MLX-LM itself, on a CPU, with tiny random models (`make test-server-mlx`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from maskwright.compiler import GrammarCompiler
from maskwright.grammars.errors import MatcherError
from maskwright.mlx_lm import MlxProcessor, tokenizer_info

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

pytestmark = pytest.mark.servers

MISSING = "mlx-lm is not installed: make test-server-mlx"
VOCAB_SIZE = 640  # more than the tokenizer's: a padded model
PATTERN = "[a-c]{7}-[0-9]"
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["order", "offer"]}, "note": {"type": "string", "maxLength": 8}},
    "required": ["kind", "note"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def models() -> SimpleNamespace:
    """A model and one that drafts for it, both of random weights."""
    mx = pytest.importorskip("mlx.core", reason=MISSING)
    pytest.importorskip("mlx_lm", reason=MISSING)
    from mlx_lm.models import llama

    mx.random.seed(1)
    arguments = llama.ModelArgs(
        model_type="llama", hidden_size=32, num_hidden_layers=2, intermediate_size=64, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-5, vocab_size=VOCAB_SIZE,
    )  # fmt: skip
    return SimpleNamespace(model=llama.Model(arguments), draft=llama.Model(arguments))


@pytest.fixture(scope="module")
def compiler(models: SimpleNamespace, tiny_tokenizer: PreTrainedTokenizerFast) -> GrammarCompiler:
    return GrammarCompiler(tokenizer_info(tiny_tokenizer, models.model))


def valid(text: str) -> bool:
    jsonschema.validate(json.loads(text), SCHEMA)
    return True


def answer(steps: Iterator[Any], compiler: GrammarCompiler, tokenizer: PreTrainedTokenizerFast) -> str:
    """The text up to the end token."""
    tokens = list[int]()
    for token, *_ in steps:
        if int(token) in compiler.tokenizer_info.eos_token_ids:
            return str(tokenizer.decode(tokens))
        tokens.append(int(token))
    raise AssertionError(f"no end: {tokenizer.decode(tokens)!r}")


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("drafts", [0, 3])
def test_generation_keeps_the_grammar(
    models: SimpleNamespace,
    compiler: GrammarCompiler,
    tiny_tokenizer: PreTrainedTokenizerFast,
    temperature: float,
    drafts: int,
) -> None:
    import mlx.core as mx
    from mlx_lm.generate import generate_step, speculative_generate_step
    from mlx_lm.sample_utils import make_sampler

    prompt = mx.array(tiny_tokenizer("The order number is ")["input_ids"])
    for compiled, check in (
        (compiler.compile_regex(PATTERN), lambda text: re.fullmatch(PATTERN, text)),
        (compiler.compile_json_schema(SCHEMA, whitespace="compact"), valid),
    ):
        processor = MlxProcessor(compiled)
        options: dict[str, Any] = {
            "max_tokens": 200, "logits_processors": [processor], "sampler": make_sampler(temp=temperature),
        }  # fmt: skip
        for _ in range(2):
            if drafts:
                steps = speculative_generate_step(
                    prompt, models.model, models.draft, num_draft_tokens=drafts, **options
                )
            else:
                steps = generate_step(prompt, models.model, **options)
            assert check(answer(steps, compiler, tiny_tokenizer))
            processor.check()
            processor.reset()


def test_streams(models: SimpleNamespace, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    import mlx_lm
    from mlx_lm.tokenizer_utils import TokenizerWrapper

    tokenizer = TokenizerWrapper(tiny_tokenizer)
    compiled = GrammarCompiler(tokenizer_info(tokenizer, models.model)).compile_json_schema(SCHEMA)
    processor = MlxProcessor(compiled)
    stream = mlx_lm.stream_generate(models.model, tokenizer, "Say: ", max_tokens=300, logits_processors=[processor])
    assert valid("".join(response.text for response in stream))
    processor.check()


def test_a_batch_of_different_grammars(
    models: SimpleNamespace, compiler: GrammarCompiler, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    from mlx_lm.generate import BatchGenerator

    patterns = [f"({letter}b){{{count}}}{count}" for count, letter in enumerate("acdefghij", 1)]
    processors = [MlxProcessor(compiler.compile_regex(pattern)) for pattern in patterns]
    (end,) = compiler.tokenizer_info.eos_token_ids
    batch = BatchGenerator(models.model, stop_tokens=[[end]], completion_batch_size=4, prefill_batch_size=2)
    prompts = [list(tiny_tokenizer("The order number " * count)["input_ids"]) for count in range(1, len(patterns))]
    prompts.append(prompts[0])
    free = batch.insert([prompts[1]], max_tokens=[20])[0]  # one without a grammar among them
    numbers = batch.insert(prompts, max_tokens=[60] * len(prompts), logits_processors=[[one] for one in processors])
    tokens: dict[int, list[int]] = {number: [] for number in [free, *numbers]}
    left = set(tokens)
    while left:
        for response in batch.next_generated():
            if response.finish_reason != "stop":
                tokens[response.uid].append(response.token)
            if response.finish_reason is not None:
                left.discard(response.uid)
    batch.close()
    for number, pattern, processor in zip(numbers, patterns, processors, strict=True):
        processor.check()
        assert re.fullmatch(pattern, tiny_tokenizer.decode(tokens[number]))
    assert tokens[free]


def test_an_error_ends_the_answer(
    models: SimpleNamespace, compiler: GrammarCompiler, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    processor = MlxProcessor(compiler.compile_regex(PATTERN))
    (z,) = tiny_tokenizer("Z", add_special_tokens=False)["input_ids"]
    calls = list[int]()

    def forced(tokens: Any, logits: Any) -> Any:
        calls.append(len(tokens))
        return mx.where(mx.arange(VOCAB_SIZE) == z, 0.0, -float("inf"))[None] if len(calls) == 3 else logits

    steps = generate_step(mx.array([5, 6]), models.model, max_tokens=40, logits_processors=[processor, forced])
    assert answer(steps, compiler, tiny_tokenizer).endswith("Z")
    with pytest.raises(MatcherError, match=f"does not allow token {z}"):
        processor.check()
