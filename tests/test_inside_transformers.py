"""Our loop inside transformers' generate: the answers of MaskLogitsProcessor, in the shapes that transformers gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from maskwright import (
    CompiledGrammar,
    GrammarCompiler,
    MaskLogitsProcessor,
    TokenizerError,
    TokenizerInfo,
    TruncatedError,
    UnsupportedError,
    custom_generate,
)

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

from transformers_cases import OTHER, SCHEMA  # noqa: E402

PROMPTS = ["An order, please:", "Yes or no?", "The customer writes that nothing has come"]


@pytest.fixture(scope="module")
def model(tiny_tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Larger weights than those of the shared model: peaked distributions, far from ties."""
    import tiny

    found = tiny.tiny_model(tiny_tokenizer, seed=3)
    for parameter in found.parameters():
        parameter.data.mul_(3.0)
    return found


@pytest.fixture(scope="module")
def compiler(tiny_tokenizer: PreTrainedTokenizerFast) -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo.from_huggingface(tiny_tokenizer))


@pytest.fixture(scope="module")
def grammars(compiler: GrammarCompiler) -> list[CompiledGrammar]:
    return [compiler.compile_json_schema(schema, whitespace="single") for schema in (SCHEMA, OTHER, SCHEMA)]


@pytest.fixture(scope="module")
def batch(tiny_tokenizer: PreTrainedTokenizerFast) -> Any:
    """Three prompts of different lengths, padded on the left."""
    found = tiny_tokenizer(PROMPTS, return_tensors="pt", padding=True)
    assert not found["attention_mask"].all()
    return found


def answers(sequences: Any, batch: Any, compiled: CompiledGrammar) -> list[str]:
    """The texts behind the prompts, up to where they end."""
    info, found = compiled.tokenizer_info, []
    for row in sequences[:, batch["input_ids"].shape[1] :].tolist():
        end = next((n for n, token in enumerate(row) if token in info.eos_token_ids), len(row))
        found.append(info.decode(row[:end]).decode())
    return found


def draft_of(name: str, tokenizer: PreTrainedTokenizerFast) -> Any:
    import tiny

    return tiny.tiny_model(tokenizer, seed=1) if name == "model" else name


@pytest.mark.parametrize("draft", [None, "auto", "lookup", "grammar", "model"])
def test_greedy_answers_are_those_of_the_processor(
    draft: str | None,
    model: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
    grammars: list[CompiledGrammar],
    batch: Any,
) -> None:
    options = {"max_new_tokens": 150, "do_sample": False}
    plain = model.generate(**batch, **options, logits_processor=[MaskLogitsProcessor(grammars)])
    drafting = {} if draft is None else {"draft": draft_of(draft, tiny_tokenizer), "tokenizer": tiny_tokenizer}
    ours = model.generate(**batch, **options, custom_generate=custom_generate(grammars, **drafting))
    assert ours.dtype == plain.dtype
    assert ours.tolist() == plain.tolist()
    for text, schema in zip(answers(ours, batch, grammars[0]), (SCHEMA, OTHER, SCHEMA), strict=True):
        jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize("draft", [None, "auto"])
def test_answers_are_complete_within_few_tokens(
    draft: str | None,
    model: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
    grammars: list[CompiledGrammar],
    batch: Any,
) -> None:
    longest = 0
    for limit in (34, 36, 40):
        loop = custom_generate(grammars, draft=draft, tokenizer=tiny_tokenizer)
        found = model.generate(**batch, max_new_tokens=limit, do_sample=False, custom_generate=loop)
        assert found.shape[1] <= batch["input_ids"].shape[1] + limit
        longest = max(longest, found.shape[1] - batch["input_ids"].shape[1])
        for text, schema in zip(answers(found, batch, grammars[0]), (SCHEMA, OTHER, SCHEMA), strict=True):
            jsonschema.validate(json.loads(text), schema)
    assert longest >= 34
    with pytest.raises(TruncatedError, match="max_new_tokens"):
        model.generate(**batch, max_new_tokens=3, do_sample=False, custom_generate=custom_generate(grammars))


def test_sampling_follows_torch_and_the_options(
    model: LlamaForCausalLM, grammars: list[CompiledGrammar], batch: Any
) -> None:
    loop = custom_generate(grammars)

    def sampled(seed: int, **options: Any) -> list[list[int]]:
        torch.manual_seed(seed)
        return model.generate(**batch, max_new_tokens=80, do_sample=True, custom_generate=loop, **options).tolist()

    wide = {"temperature": 3.0, "top_k": 0}
    assert sampled(1, **wide) == sampled(1, **wide) != sampled(2, **wide)
    greedy = model.generate(**batch, max_new_tokens=80, do_sample=False, custom_generate=loop).tolist()
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-6}):
        assert sampled(3, **{**wide, **narrow}) == greedy, narrow


def test_the_law_of_sampling_is_that_of_the_processor(
    model: LlamaForCausalLM, compiler: GrammarCompiler, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """First tokens drawn 600 times by each; frequencies within 5 standard deviations of their difference."""
    compiled, count = compiler.compile_regex("[a-h]"), 600
    prompt = tiny_tokenizer(PROMPTS[0], return_tensors="pt")
    options = {"max_new_tokens": 1, "do_sample": True, "num_return_sequences": count, "temperature": 12.0, "top_k": 5}
    torch.manual_seed(0)
    theirs = model.generate(**prompt, **options, logits_processor=[MaskLogitsProcessor(compiled)])[:, -1]
    ours = model.generate(**prompt, **options, custom_generate=custom_generate(compiled))[:, -1]
    assert len(set(theirs.tolist())) == len(set(ours.tolist())) == 5
    for token in set(theirs.tolist()):
        p, q = float((theirs == token).float().mean()), float((ours == token).float().mean())
        assert abs(p - q) < 5 * (2 * p * (1 - p) / count) ** 0.5


def test_several_samples_of_each_prompt(model: LlamaForCausalLM, grammars: list[CompiledGrammar], batch: Any) -> None:
    torch.manual_seed(0)
    found = model.generate(
        **batch, max_new_tokens=80, do_sample=True, temperature=2.0, num_return_sequences=3,
        custom_generate=custom_generate(grammars),
    )  # fmt: skip
    assert found[:, : batch["input_ids"].shape[1]].equal(batch["input_ids"].repeat_interleave(3, 0))
    texts = answers(found, batch, grammars[0])
    for number, text in enumerate(texts):
        jsonschema.validate(json.loads(text), (SCHEMA, OTHER, SCHEMA)[number // 3])
    assert len(set(texts[:3])) == 3


def test_outputs_have_the_form_that_is_asked_for(
    model: LlamaForCausalLM, compiler: GrammarCompiler, batch: Any
) -> None:
    grammars = [compiler.compile_regex(pattern) for pattern in ("[ab]{9}", "", "c?d")]
    options = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 7}
    plain = model.generate(**batch, **options, logits_processor=[MaskLogitsProcessor(grammars)])
    ours = model.generate(**batch, **options, return_dict_in_generate=True, custom_generate=custom_generate(grammars))
    assert isinstance(ours, transformers.generation.GenerateDecoderOnlyOutput)
    assert ours.sequences.tolist() == plain.tolist()
    assert ours.sequences[1, -1] == 7
    assert ours.past_key_values is None


def test_prompts_without_a_mask_and_with_positions(
    model: LlamaForCausalLM, compiler: GrammarCompiler, batch: Any
) -> None:
    compiled = compiler.compile_regex("[a-z]{5,9}")
    loop, ids = custom_generate(compiled), batch["input_ids"][2:]
    bare = model.generate(ids, max_new_tokens=12, do_sample=False, custom_generate=loop)
    plain = model.generate(ids, max_new_tokens=12, do_sample=False, logits_processor=[MaskLogitsProcessor(compiled)])
    assert bare.tolist() == plain.tolist()
    mask = batch["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    given = model.generate(**batch, position_ids=positions, max_new_tokens=9, custom_generate=loop)
    assert given.shape[0] == 3
    with pytest.raises(UnsupportedError, match="position_ids"):
        model.generate(**batch, position_ids=positions + 1, max_new_tokens=9, custom_generate=loop)
    with pytest.raises(UnsupportedError, match="padded on the left"):
        model.generate(ids, attention_mask=mask[2:].flip(1) * 0 + torch.tensor([1, 0] + [1] * (ids.shape[1] - 2)),
                       max_new_tokens=9, custom_generate=loop)  # fmt: skip


def test_ends_are_those_of_the_caller(model: LlamaForCausalLM, compiler: GrammarCompiler, batch: Any) -> None:
    """A token of text as the end cuts the answer, as it does for one row with the processor; of two the one drawn is kept."""
    info = compiler.tokenizer_info
    end = next(token for token, text in enumerate(info.tokens) if text == b"b")
    compiled = compiler.compile_regex("[ab]{20}")
    options = {"max_new_tokens": 30, "do_sample": False, "eos_token_id": [*info.eos_token_ids, end], "pad_token_id": 0}
    ids = batch["input_ids"][2:]
    plain = model.generate(ids, **options, logits_processor=[MaskLogitsProcessor(compiled)])
    ours = model.generate(ids, **options, custom_generate=custom_generate(compiled))
    assert ours.tolist() == plain.tolist()
    assert ours[0, -1] == end
    every = model.generate(**batch, **options, custom_generate=custom_generate(compiled))
    assert all(row.count(end) == 1 for row in every[:, batch["input_ids"].shape[1] :].tolist())

    two = TokenizerInfo(info.tokens, eos_token_ids=[*info.eos_token_ids, end], special_token_ids=info.special_token_ids)
    open_ended = GrammarCompiler(two).compile_regex("[ac]*")
    options["max_new_tokens"] = 8
    plain = model.generate(**batch, **options, logits_processor=[MaskLogitsProcessor(open_ended)])
    ours = model.generate(**batch, **options, custom_generate=custom_generate(open_ended))
    assert ours.tolist() == plain.tolist()


def test_forced_text_needs_fewer_forwards(
    model: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
    compiler: GrammarCompiler,
    batch: Any,
) -> None:
    compiled = compiler.compile_regex("The customer writes that nothing has come: (yes|no)")
    counts = []
    for jump in (False, True):
        forwards = list[int]()
        hook = model.register_forward_hook(lambda *_, forwards=forwards: forwards.append(1))
        loop = custom_generate(compiled, tokenizer=tiny_tokenizer, jump_forward=jump)
        found = model.generate(**batch, max_new_tokens=60, do_sample=False, custom_generate=loop)
        hook.remove()
        assert all(text.startswith("The customer") for text in answers(found, batch, compiled))
        counts.append(len(forwards))
    assert counts[1] < counts[0] / 2


REFUSED: dict[str, dict[str, Any]] = {
    "num_beams": {"num_beams": 2},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
    "RepetitionPenaltyLogitsProcessor": {"repetition_penalty": 1.2},
    "NoRepeatNGramLogitsProcessor": {"no_repeat_ngram_size": 2},
    "MinLengthLogitsProcessor": {"min_new_tokens": 4},
    "TypicalLogitsWarper": {"do_sample": True, "typical_p": 0.5},
    "LogitNormalization": {"renormalize_logits": True},
    "MaxTimeCriteria": {"max_time": 1.0},
    "output_scores": {"output_scores": True, "return_dict_in_generate": True},
    "cache_implementation": {"cache_implementation": "static"},
    "use_cache": {"use_cache": False},
    "MaskLogitsProcessor": {"logits_processor": []},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_honoured_is_refused(
    name: str, model: LlamaForCausalLM, compiler: GrammarCompiler, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    compiled, options = compiler.compile_regex("[ab]{3}"), dict(REFUSED[name])
    if name == "MaskLogitsProcessor":
        options["logits_processor"] = [MaskLogitsProcessor(compiled)]
    prompt = tiny_tokenizer("x", return_tensors="pt")
    with pytest.raises(UnsupportedError, match=f"custom_generate does not honour {name}.*") as raised:
        model.generate(**prompt, max_new_tokens=9, custom_generate=custom_generate(compiled), **options)
    assert raised.value.hint


def test_objects_of_the_caller_are_read_or_refused(
    model: LlamaForCausalLM, compiler: GrammarCompiler, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    from transformers import (
        DynamicCache,
        MaxLengthCriteria,
        TemperatureLogitsWarper,
        TopPLogitsWarper,
    )

    compiled, prompt = compiler.compile_regex("[a-z]{1,60}"), tiny_tokenizer("x", return_tensors="pt")
    loop, options = custom_generate(compiled), {"max_new_tokens": 20, "custom_generate": custom_generate(compiled)}
    greedy = model.generate(**prompt, do_sample=False, **options)
    cold = TemperatureLogitsWarper(1e-6)
    drawn = model.generate(**prompt, do_sample=True, logits_processor=[cold], **options)
    assert drawn.tolist() == greedy.tolist()
    length = prompt["input_ids"].shape[1] + 4
    short = model.generate(**prompt, stopping_criteria=[MaxLengthCriteria(length)], custom_generate=loop)
    assert short.shape[1] == length
    with pytest.raises(UnsupportedError, match="TopPLogitsWarper with other arguments"):
        processor = TopPLogitsWarper(0.5, min_tokens_to_keep=3)
        model.generate(**prompt, do_sample=True, logits_processor=[processor], **options)
    with pytest.raises(UnsupportedError, match="in that place"):
        processors = [TopPLogitsWarper(0.5)]  # ahead of the default top_k
        model.generate(**prompt, do_sample=True, logits_processor=processors, **options)
    cache = DynamicCache(config=model.config)
    model(prompt["input_ids"][:, :1], past_key_values=cache)
    with pytest.raises(UnsupportedError, match="past_key_values that hold tokens"):
        model.generate(tiny_tokenizer("xyz", return_tensors="pt")["input_ids"], past_key_values=cache, **options)


def test_wrong_uses_are_told(compiler: GrammarCompiler, model: LlamaForCausalLM, batch: Any) -> None:
    compiled = compiler.compile_regex("a")
    with pytest.raises(ValueError, match="pass tokenizer="):
        custom_generate(compiled, draft="auto")
    with pytest.raises(ValueError, match="pass tokenizer="):
        custom_generate(compiled, jump_forward=True)
    with pytest.raises(ValueError, match="choose 'numba'"):
        custom_generate(compiled, backend="cuda")  # type: ignore[arg-type]
    with pytest.raises(TokenizerError, match="no end-of-sequence token"):
        custom_generate(GrammarCompiler(TokenizerInfo([bytes([b]) for b in range(256)])).compile_regex("a"))
    with pytest.raises(ValueError, match="3 prompts do not divide among 2 grammars"):
        model.generate(**batch, max_new_tokens=4, custom_generate=custom_generate([compiled, compiled]))
