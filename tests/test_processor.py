"""MaskLogitsProcessor inside transformers' own search strategies, with a tiny model of random weights."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest

from maskwright import (
    CompiledGrammar,
    GrammarCompiler,
    GrammarMatcher,
    MaskLogitsProcessor,
    MatcherError,
    TokenizerError,
    TokenizerInfo,
    allocate_token_bitmask,
    apply_token_bitmask_inplace,
)
from maskwright.kernels.backends import BackendError
from maskwright.masked_scores import MaskedScores

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

from kernel_cases import TRITON  # noqa: E402
from transformers_cases import OTHER, SCHEMA  # noqa: E402

STRATEGIES: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "temperature": 1.5, "top_k": 0},
    "several samples a prompt": {"do_sample": True, "num_return_sequences": 3},
    "beams": {"num_beams": 4, "num_return_sequences": 4, "do_sample": False},
    "more beams than choices": {"num_beams": 8, "do_sample": False},
    "prompt lookup": {"prompt_lookup_num_tokens": 4, "do_sample": False},
}


@pytest.fixture(scope="module")
def compiler(tiny_tokenizer: PreTrainedTokenizerFast) -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo.from_huggingface(tiny_tokenizer))


@pytest.fixture(scope="module")
def compiled(compiler: GrammarCompiler) -> CompiledGrammar:
    return compiler.compile_json_schema(SCHEMA, whitespace="single")


@pytest.fixture(scope="module")
def other(compiler: GrammarCompiler) -> CompiledGrammar:
    return compiler.compile_json_schema(OTHER, whitespace="single")


def check(compiled: CompiledGrammar, schema: Any, answer: list[int]) -> None:
    """`answer` is a sentence of the grammar, up to its first EOS, and its text satisfies the schema."""
    info = compiled.tokenizer_info
    end = next(i for i, token in enumerate(answer) if token in info.eos_token_ids)
    matcher = GrammarMatcher(compiled)
    assert all(matcher.accept_token(token) for token in answer[: end + 1])
    assert matcher.is_terminated()
    jsonschema.validate(json.loads(info.decode(answer[:end])), schema)


def mask_of(compiled: CompiledGrammar, tokens: list[int]) -> set[int]:
    """The tokens that a fresh matcher allows after `tokens`."""
    matcher = GrammarMatcher(compiled)
    assert all(matcher.accept_token(token) for token in tokens)
    return set(matcher.allowed_token_ids().tolist())


def allowed(scores: Any) -> list[set[int]]:
    """For each row, the tokens whose score is not -inf."""
    return [set(np.flatnonzero(row > -np.inf).tolist()) for row in scores.numpy()]


def some_path(compiled: CompiledGrammar, seed: int) -> list[int]:
    """A random sentence of the grammar as tokens, EOS included."""
    choose, matcher, path = random.Random(seed), GrammarMatcher(compiled), list[int]()
    while not matcher.is_terminated():
        path.append(choose.choice(matcher.allowed_token_ids().tolist()))
        assert matcher.accept_token(path[-1])
    return path


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_output_of_every_strategy_is_a_sentence(
    name: str, compiled: CompiledGrammar, tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    batch = tiny_tokenizer(
        ['The order {"kind": "south', "x"][: 1 if "lookup" in name else 2], return_tensors="pt", padding=True
    )
    torch.manual_seed(0)
    processor = MaskLogitsProcessor(compiled)
    outputs = tiny_model.generate(**batch, max_new_tokens=150, logits_processor=[processor], **STRATEGIES[name])
    for answer in outputs[:, batch["input_ids"].shape[1] :].tolist():
        check(compiled, SCHEMA, answer)


def test_drafter_and_target_share_a_processor(
    compiled: CompiledGrammar, tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    import tiny

    drafter = tiny.tiny_model(tiny_tokenizer, seed=1)
    batch = tiny_tokenizer(["An order:"], return_tensors="pt")
    plain = tiny_model.generate(
        **batch, max_new_tokens=150, do_sample=False, logits_processor=[MaskLogitsProcessor(compiled)]
    )
    for assistance in ({"assistant_model": drafter}, {"prompt_lookup_num_tokens": 3}):
        processor = MaskLogitsProcessor(compiled)
        drafted = tiny_model.generate(
            **batch, max_new_tokens=150, do_sample=False, logits_processor=[processor], **assistance
        )
        check(compiled, SCHEMA, drafted[0, batch["input_ids"].shape[1] :].tolist())
        assert drafted.tolist() == plain.tolist()


@pytest.mark.parametrize("assistance", ["a model", "lookup"])
def test_drafts_are_judged_inside_the_grammar_when_sampling(
    assistance: str, compiled: CompiledGrammar, tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    import tiny

    drafter = tiny.tiny_model(tiny_tokenizer, seed=1)
    options: dict[str, Any] = (
        {"assistant_model": drafter} if assistance == "a model" else {"prompt_lookup_num_tokens": 4}
    )
    batch = tiny_tokenizer(['The order {"kind": "south'], return_tensors="pt")
    found = set()
    for seed in range(6):
        torch.manual_seed(seed)
        processor = MaskLogitsProcessor(compiled)
        output = tiny_model.generate(
            **batch, max_new_tokens=150, do_sample=True, temperature=1.5, logits_processor=[processor], **options
        )
        answer = output[0, batch["input_ids"].shape[1] :].tolist()
        check(compiled, SCHEMA, answer)
        found.add(tuple(answer))
    assert len(found) > 1


def test_beams_of_probability_zero_raise(
    compiled: CompiledGrammar, tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    batch = tiny_tokenizer(["An order:"], return_tensors="pt")
    processor = MaskLogitsProcessor(compiled)
    with pytest.raises(MatcherError, match="the grammar does not allow it"):
        tiny_model.generate(**batch, max_new_tokens=9, num_beams=4, do_sample=True, logits_processor=[processor])


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "prompt lookup"])  # which takes one prompt
def test_each_prompt_may_have_a_grammar_of_its_own(
    strategy: str,
    compiled: CompiledGrammar,
    other: CompiledGrammar,
    tiny_model: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    batch = tiny_tokenizer(["An order, please:", "Yes or no?"], return_tensors="pt", padding=True)
    processor = MaskLogitsProcessor([compiled, other])
    torch.manual_seed(0)
    outputs = tiny_model.generate(**batch, max_new_tokens=150, logits_processor=[processor], **STRATEGIES[strategy])
    answers = outputs[:, batch["input_ids"].shape[1] :].tolist()
    for row, answer in enumerate(answers):
        check(*((compiled, SCHEMA) if row < len(answers) / 2 else (other, OTHER)), answer)


def test_rows_may_come_in_any_order_and_go_back_and_forth(compiled: CompiledGrammar) -> None:
    choose = random.Random(7)
    paths = [some_path(compiled, seed)[:-1] for seed in range(4)]
    prompt = [1, 2, 3]
    processor = MaskLogitsProcessor(compiled)
    width = compiled.tokenizer_info.vocab_size
    for step in range(60):
        length = 0 if step == 0 else choose.randrange(min(map(len, paths)))
        rows = [choose.choice(paths)[:length] for _ in range(3)]
        scores = torch.zeros(3, width)
        masked = processor(torch.tensor([prompt + row for row in rows]), scores)
        assert allowed(masked) == [mask_of(compiled, row) for row in rows]
        assert not scores.any(), "the scores that came in are left alone"
        assert len(processor._walks) <= 8


def test_plain_decoding_forks_nothing(compiled: CompiledGrammar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(GrammarMatcher, "fork")
    monkeypatch.setattr(GrammarMatcher, "rollback", lambda self, n: None if n == 0 else pytest.fail("rolled back"))
    paths = [some_path(compiled, seed)[:-1] for seed in range(3)]
    processor = MaskLogitsProcessor(compiled)
    for length in range(min(map(len, paths))):
        rows = [path[:length] for path in paths]
        masked = processor(
            torch.tensor([[1, *row] for row in rows]), torch.zeros(3, compiled.tokenizer_info.vocab_size)
        )
        assert allowed(masked) == [mask_of(compiled, row) for row in rows]


def test_plain_decoding_is_searched_for_once(compiled: CompiledGrammar) -> None:
    paths = [some_path(compiled, seed) for seed in range(3)]
    processor = MaskLogitsProcessor(compiled)
    width, pad = compiled.tokenizer_info.vocab_size, 0
    longest = max(map(len, paths))
    for length in range(longest + 3):
        rows = [(path + [pad] * longest)[:length] for path in paths]
        masked = processor(torch.tensor([[1, *row] for row in rows]), torch.zeros(3, width))
        for row, path, found in zip(rows, paths, allowed(masked), strict=True):
            ended = length >= len(path)
            assert found == (set(compiled.tokenizer_info.eos_token_ids) if ended else mask_of(compiled, row))
    assert processor._searches == 1
    with pytest.raises(MatcherError, match="goes on behind its end of sequence"):
        processor(torch.tensor([[1, *row, pad + 1] for row in rows]), torch.zeros(3, width))


def test_a_token_that_is_changed_later_is_seen_although_the_tensor_is_the_same(compiled: CompiledGrammar) -> None:
    paths = [some_path(compiled, 3), some_path(compiled, 4)]
    same = next(n for n, (one, two) in enumerate(zip(*paths, strict=False)) if one != two)  # where they part
    processor = MaskLogitsProcessor(compiled)
    width = compiled.tokenizer_info.vocab_size
    buffer = torch.tensor([[1, *paths[0][: same + 2]]])
    for length in range(same + 2):
        processor(buffer[:, : length + 1], torch.zeros(1, width))
    buffer[0, 1 : same + 2] = torch.tensor(paths[1][: same + 1])
    buffer[0, same + 2] = paths[1][same + 1]
    masked = processor(buffer, torch.zeros(1, width))
    assert allowed(masked) == [mask_of(compiled, paths[1][: same + 2])]


def test_after_a_wrong_row_every_other_is_where_it_was(compiled: CompiledGrammar) -> None:
    path = some_path(compiled, 5)[:-1]
    wrong = next(token for token in range(3, 500) if token not in mask_of(compiled, path[:1]))
    processor = MaskLogitsProcessor(compiled)
    scores = torch.zeros(2, compiled.tokenizer_info.vocab_size)
    processor(torch.tensor([[1], [1]]), scores)
    processor(torch.tensor([[1, path[0]], [1, path[0]]]), scores)
    with pytest.raises(MatcherError, match=f"row 1 holds token {wrong} at position 1"):
        processor(torch.tensor([[1, *path[:2]], [1, path[0], wrong]]), scores)
    masked = processor(torch.tensor([[1, *path[:2]], [1, *path[:2]]]), scores)
    assert allowed(masked) == [mask_of(compiled, path[:2])] * 2


def test_masked_scores_that_somebody_holds_stay_as_they_are() -> None:
    random, made = np.random.default_rng(0), MaskedScores()
    held = []
    for step in range(12):
        scores = torch.from_numpy(random.standard_normal((2, 70)).astype(np.float32))
        bitmask = random.integers(-(2**31), 2**31, (2, 3)).astype(np.int32)
        expected = scores.clone()
        apply_token_bitmask_inplace(expected, bitmask)
        masked = made.of(scores, bitmask)
        assert masked.equal(expected)
        if step % 3 == 0:
            held.append((masked[1:, 5:], expected[1:, 5:]))  # a view holds the whole
    assert all(view.equal(expected) for view, expected in held)


def test_masked_scores_use_memory_again_that_nobody_holds() -> None:
    made, bitmask = MaskedScores(), np.full((2, 3), -1, np.int32)
    found, places = None, set()
    for _ in range(20):
        found = made.of(torch.zeros(2, 70), bitmask)  # that of the step before is still held
        places.add(found.data_ptr())
    assert len(places) == 2


def test_finished_rows_allow_only_the_end(compiled: CompiledGrammar) -> None:
    path, prompt, pad = some_path(compiled, 1), [1, 2], 0
    ends = set(compiled.tokenizer_info.eos_token_ids)
    width = compiled.tokenizer_info.vocab_size
    processor = MaskLogitsProcessor(compiled, prompt_length=2)
    for tail in ([], [pad], [pad] * 3, [path[-1], pad]):
        assert allowed(processor(torch.tensor([prompt + path + tail]), torch.zeros(1, width))) == [ends]


def test_columns_beyond_the_vocabulary_are_masked(compiled: CompiledGrammar) -> None:
    width = compiled.tokenizer_info.vocab_size
    masked = MaskLogitsProcessor(compiled)(torch.tensor([[1]]), torch.zeros(1, width + 77))
    assert allowed(masked) == [mask_of(compiled, [])]


def test_what_would_leave_the_grammar_raises(compiled: CompiledGrammar) -> None:
    path = some_path(compiled, 2)
    scores = torch.zeros(1, compiled.tokenizer_info.vocab_size)
    wrong = next(token for token in range(3, 500) if token not in mask_of(compiled, path[:2]))
    processor = MaskLogitsProcessor(compiled)
    processor(torch.tensor([[1, 2]]), scores)
    with pytest.raises(MatcherError, match=rf"row 0 holds token {wrong} at position 2 .* reset\(\)"):
        processor(torch.tensor([[1, 2, *path[:2], wrong]]), scores)
    with pytest.raises(MatcherError, match="not the prompt that the generation began with"):
        processor(torch.tensor([[1, 3, path[0]]]), scores)
    with pytest.raises(MatcherError, match="not the prompt that the generation began with"):
        processor(torch.tensor([[1]]), scores)
    with pytest.raises(MatcherError, match="goes on behind its end of sequence"):
        processor(torch.tensor([[1, 2, *path, 5, 6]]), scores)
    processor(torch.tensor([[1, 2, *path[:1]]]), scores)  # none of these harmed it
    processor.reset()
    assert allowed(processor(torch.tensor([[9, 9, 9]]), scores)) == [mask_of(compiled, [])]


def test_wrong_uses_are_refused(compiled: CompiledGrammar, other: CompiledGrammar) -> None:
    scores = torch.zeros(3, compiled.tokenizer_info.vocab_size)
    with pytest.raises(MatcherError, match="3 rows do not divide among 2 grammars"):
        MaskLogitsProcessor([compiled, other])(torch.ones(3, 1, dtype=torch.long), scores)
    with pytest.raises(MatcherError, match="fewer than prompt_length=5"):
        MaskLogitsProcessor(compiled, prompt_length=5)(torch.ones(3, 1, dtype=torch.long), scores)
    with pytest.raises(ValueError, match="at least one compiled grammar"):
        MaskLogitsProcessor([])
    endless = TokenizerInfo([bytes([byte]) for byte in range(256)])
    with pytest.raises(TokenizerError, match="no end-of-sequence token"):
        MaskLogitsProcessor(GrammarCompiler(endless).compile_regex("a"))
    with pytest.raises(ValueError, match="different sizes"):
        MaskLogitsProcessor([compiled, GrammarCompiler(endless).compile_regex("a")])


def test_a_processor_allocates_no_more_than_it_needs(compiled: CompiledGrammar) -> None:
    """The bitmask follows the number of rows (a processor can be reused for another batch after reset)."""
    width = compiled.tokenizer_info.vocab_size
    processor = MaskLogitsProcessor(compiled)
    for rows in (1, 3, 2):
        processor.reset()
        masked = processor(torch.ones(rows, 2, dtype=torch.long), torch.zeros(rows, width))
        assert allowed(masked) == [mask_of(compiled, [])] * rows
    assert allocate_token_bitmask(2, width).shape == (2, -(-width // 32))


@pytest.mark.parametrize("backend", ["numba", "torch", TRITON])
@pytest.mark.parametrize("strategy", ["sampling", "more beams than choices"])
def test_back_ends_let_transformers_find_the_same_answers(
    tiny_model: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
    compiler: GrammarCompiler,
    other: CompiledGrammar,
    backend: Any,
    strategy: str,
) -> None:
    """Masks as row numbers, of rows that are finished too, against masks as bits; and where mask tables differ."""
    prompts = tiny_tokenizer(["An order:", "b"], return_tensors="pt", padding=True)
    elsewhere = GrammarCompiler(compiler.tokenizer_info).compile_json_schema(OTHER, whitespace="single")
    short = compiler.compile_regex("a?b")

    def answers(grammars: list[CompiledGrammar], **options: Any) -> list[list[int]]:
        torch.manual_seed(5)
        processor = MaskLogitsProcessor(grammars, **options)
        return tiny_model.generate(
            **prompts, max_new_tokens=8, logits_processor=[processor], **STRATEGIES[strategy]
        ).tolist()

    def held() -> int:
        return sum(compiler.mask_table.holds(number) for number in range(len(compiler.mask_table)))

    before, expected = held(), answers([other, short])
    assert answers([other, short], backend=backend) == expected
    assert answers([elsewhere, short], backend=backend) == expected
    assert held() == before


def test_back_ends_that_are_not_there_are_refused(other: CompiledGrammar, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="choose 'numba', 'torch', 'triton' or None"):
        MaskLogitsProcessor(other, backend="cuda")  # type: ignore[arg-type]
    ids, scores = torch.zeros((1, 2), dtype=torch.int64), torch.zeros((1, other.tokenizer_info.vocab_size))
    with pytest.raises(BackendError, match="works in CPU memory"):
        MaskLogitsProcessor(other, backend="numba")(ids, scores.to("meta"))
    monkeypatch.setattr("maskwright.kernels.backends.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"pip install 'maskwright\[gpu\]'"):
        MaskLogitsProcessor(other, backend="triton")
