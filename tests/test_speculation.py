"""generate(draft=...): the answers are those of plain decoding, whoever drafts, whatever the grammar, seed and batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

import tiny  # noqa: E402
from draft_cases import NAMES, WildDrafter  # noqa: E402

from maskwright import GrammarMatcher, ModelError, Speculation, generate  # noqa: E402
from maskwright.runtime.draft_budgets import FixedBudget  # noqa: E402
from maskwright.runtime.drafter import Text  # noqa: E402

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "uniqueItems": True, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
LISTS = 'root ::= "(" (root ("," root)*)? ")" | [a-z] [0-9]*'
FORMS: dict[str, dict[str, Any]] = {
    "schema": {"schema": PERSON, "max_new_tokens": 40},
    "compact schema": {"schema": PERSON, "whitespace": "compact", "max_new_tokens": 25},
    "pattern": {"regex": "[a-c]{6,20}-[0-9]+", "max_new_tokens": 24},
    "choices": {"choices": ["the red house", "the red horse", "a house", "é", "the"]},
    "grammar": {"grammar": LISTS, "max_new_tokens": 30},
}
PROMPT = "Ada Lovelace is 36. (a1,b2) the red house: "


@pytest.fixture(scope="module")
def model(tiny_tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """In double precision, so that trees and steps differ by less than any draw notices."""
    return tiny.tiny_model(tiny_tokenizer, seed=5).double()


@pytest.fixture(scope="module")
def small(tiny_tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A draft model: another seed, so that it is mostly wrong; half of the target's own weights, so that it is not always."""
    target, draft = tiny.tiny_model(tiny_tokenizer, seed=5), tiny.tiny_model(tiny_tokenizer, seed=6)
    with torch.no_grad():
        for ours, theirs in zip(draft.parameters(), target.parameters(), strict=True):
            ours.copy_(0.15 * ours + 0.85 * theirs)
    return draft.double()


def same(one: Any, other: Any) -> None:
    assert one.text == other.text
    assert one.tokens == other.tokens
    assert one.finish_reason == other.finish_reason
    assert one.forced == other.forced
    assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def drafters(small: LlamaForCausalLM) -> list[Any]:
    """Every kind once."""
    shapes = [Speculation(small, shape=shape, budget=10) for shape in ("chain", "spectr", "rsd-c", "rsd-s", "dyspec")]
    return [*NAMES, WildDrafter(3), *shapes, ["lookup", "trigram", small], Speculation("auto", budget=24)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("form", FORMS)
def test_any_drafter_gives_the_answers_of_plain_decoding(
    model: LlamaForCausalLM,
    small: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
    form: str,
    temperature: float,
) -> None:
    options = {
        "tokenizer": tiny_tokenizer,
        "temperature": temperature,
        "return_result": True,
        "jump_forward": form != "schema",
        **FORMS[form],
    }
    plain = generate(model, PROMPT, seed=1, **options)
    for draft in drafters(small):
        drafted = generate(model, PROMPT, seed=1, draft=draft, **options)
        same(drafted, plain)
        assert drafted.statistics.forwards <= plain.statistics.forwards


def test_filters_and_batches_and_samples(
    model: LlamaForCausalLM, small: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """Rows of different lengths, grammars and ends, in one forward."""
    prompts = ["A name:", "Three of them, and more to say about it: red, red", "x"]
    sources = {"grammar": [LISTS, 'root ::= "ab"+ "!"', '"yes" | "no"']}
    sources["grammar"][2] = 'root ::= "yes" | "no"'
    options: dict[str, Any] = {
        "tokenizer": tiny_tokenizer, "temperature": 0.9, "top_p": 0.9, "top_k": 40, "min_p": 0.01, "seed": 4,
        "max_new_tokens": 20, "return_result": True, **sources,
    }  # fmt: skip
    for n in (1, 3):
        plain = generate(model, prompts, n=n, **options)
        for draft in ("auto", WildDrafter(5), Speculation(small, shape="rsd-c", budget=8)):
            drafted = generate(model, prompts, n=n, draft=draft, **options)
            for ours, theirs in zip(drafted, plain, strict=True):
                for one, other in zip(ours, theirs, strict=True) if n > 1 else [(ours, theirs)]:
                    same(one, other)


@pytest.mark.parametrize("place", range(len(NAMES) + 8))
def test_everything_at_once(
    model: LlamaForCausalLM, small: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, place: int
) -> None:
    """Each drafter: a batch of grammars, several samples of each, streamed, with budgets that run short."""
    prompts = ["abab abab", "Three of them: red, red", "((a1,b2))"]
    for seed, limit in ((1, 7), (2, 14)):
        options: dict[str, Any] = {
            "tokenizer": tiny_tokenizer, "temperature": 0.8 + seed, "seed": seed, "n": 2, "max_new_tokens": limit,
            "grammar": ['root ::= "ab"+ "!"', 'root ::= ("red" | "green") (", " root)?', LISTS],
        }  # fmt: skip
        plain = generate(model, prompts, return_result=True, **options)
        found: dict[tuple[int, int], Any] = {}
        for chunk in generate(model, prompts, draft=drafters(small)[place], stream=True, **options):
            if chunk.result is not None:
                found[chunk.prompt, chunk.sample] = chunk.result
        assert len(found) == 6
        for prompt, answers in enumerate(plain):
            for sample, answer in enumerate(answers):
                same(found[prompt, sample], answer)


def test_a_draft_model_draws_with_the_numbers_of_the_target(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """The target as its own draft: everything is taken, although all is drawn from flat distributions."""
    options: dict[str, Any] = {
        "tokenizer": tiny_tokenizer, "regex": "[a-z]{30}", "temperature": 2.0, "seed": 8, "return_result": True,
    }  # fmt: skip
    plain = generate(model, PROMPT, **options)
    drafted = generate(model, PROMPT, draft=Speculation(model, budget=8), **options)
    same(drafted, plain)
    assert drafted.speculation.taken == drafted.speculation.verified > 5
    assert drafted.speculation.forwards <= 2 + len(plain.tokens) // 6


@pytest.mark.parametrize("limit", [9, 10, 11, 13, 17])
def test_a_budget_that_runs_short(model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, limit: int) -> None:
    """Draws are put back at the end of the budget; drafts change nothing about that."""
    for temperature in (0.0, 1.5):
        options: dict[str, Any] = {
            "tokenizer": tiny_tokenizer, "regex": "[a-d]{2,40}(xy|z)", "max_new_tokens": limit,
            "temperature": temperature, "seed": 3, "return_result": True,
        }  # fmt: skip
        plain = generate(model, PROMPT, **options)
        for draft in ("auto", "trigram", WildDrafter(1)):
            same(generate(model, PROMPT, draft=draft, **options), plain)


def test_streaming_gives_several_tokens_a_chunk(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    options: dict[str, Any] = {
        "tokenizer": tiny_tokenizer,
        "regex": "(abc ){30}",
        "max_new_tokens": 200,
        "jump_forward": False,
    }
    plain = generate(model, "abc abc abc abc", **options)
    chunks = list(generate(model, "abc abc abc abc", draft=Speculation("lookup", budget=8), stream=True, **options))
    assert "".join(chunk.delta for chunk in chunks) == plain == chunks[-1].value
    result = chunks[-1].result
    assert len(chunks) < len(result.tokens)
    assert result.speculation.taken > 10


def test_the_account_adds_up(model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    result = generate(
        model, PROMPT, tokenizer=tiny_tokenizer, schema=PERSON, draft=Speculation("auto", budget=12), return_result=True,
        whitespace="compact",
    )  # fmt: skip
    account, tokens = result.speculation, len(result.tokens)
    assert (account.drafter, account.verifier, account.chains_because) == ("auto", "match", None)
    assert account.forwards == result.statistics.forwards
    assert account.forced == result.statistics.jump_forward_tokens
    assert account.drafted >= account.verified >= account.taken == sum(taken for _, taken in account.by_depth)
    assert result.acceptance_length == tokens / account.forwards
    tested = [tested for tested, _ in account.by_depth]
    assert tested == sorted(tested, reverse=True)
    assert generate(model, "x", tokenizer=tiny_tokenizer, choices=["a"], return_result=True).speculation is None


def test_models_that_take_no_trees_verify_chains(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    config = transformers.Lfm2Config(
        vocab_size=len(tiny_tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, full_attn_idxs=[1], initializer_range=0.3, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(2)
    recurrent = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    options: dict[str, Any] = {"tokenizer": tiny_tokenizer, "regex": "[ab]{4,12}", "return_result": True}
    plain = generate(recurrent, PROMPT, **options)
    for draft in ("auto", "trigram", WildDrafter(2)):
        drafted = generate(recurrent, PROMPT, draft=draft, **options)
        same(drafted, plain)
        assert "layers of another kind" in drafted.speculation.chains_because
    with pytest.raises(ModelError, match="cannot draft: it has layers of another kind"):
        generate(tiny.tiny_model(tiny_tokenizer), PROMPT, draft=recurrent, **options)


@pytest.mark.parametrize(
    ("draft", "message"),
    [
        (lambda: 5, "choose 'auto'"),
        (list, "one drafter at least"),
        (lambda: Speculation("auto", verifier="coin"), "choose one of 'match'"),
        (lambda: Speculation("auto", verifier="ratio"), "a draft model"),
        (lambda: Speculation("auto", budget="much"), "'goodput'"),
        (lambda: Speculation("auto", rejection=0.5), "goes with a number"),
        (lambda: Speculation("auto", budget=4, rejection=0.0), "above 0"),
        (lambda: Speculation("auto", size=0), "1 to 64"),
        (lambda: Speculation("auto", shape="bush"), "choose one of 'chain'"),
        (lambda: Speculation("auto", verifier="k_sequential", shape="rsd-c"), "not exact for trees"),
        (lambda: Speculation(Speculation("auto")), "not another"),
    ],
)
def test_options_that_make_no_sense(draft: Any, message: str, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match=message):
        generate(tiny.tiny_model(tiny_tokenizer), "x", choices=["a", "b"], tokenizer=tiny_tokenizer, draft=draft())


def test_what_ratios_do_not_go_with(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    options: dict[str, Any] = {"choices": ["a", "b"], "tokenizer": tiny_tokenizer, "draft": "auto"}
    small = Speculation(tiny.tiny_model(tiny_tokenizer), verifier="ratio")
    with pytest.raises(ValueError, match="valid_mass= goes with"):
        options["draft"] = small
        generate(tiny.tiny_model(tiny_tokenizer), "x", temperature=1.0, valid_mass=True, **options)
    with pytest.raises(ValueError, match="add jump_forward=False"):
        options["draft"] = Speculation(tiny.tiny_model(tiny_tokenizer), verifier="block")
        generate(tiny.tiny_model(tiny_tokenizer), "x", temperature=1.0, **options)


def test_a_model_that_does_not_exist(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelError, match="no causal language model"):
        generate(tiny.tiny_model(tiny_tokenizer), "x", choices=["a"], tokenizer=tiny_tokenizer, draft="/nowhere/at/all")


def test_drafters_put_the_matcher_back(
    model: LlamaForCausalLM, small: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """Every proposed node is allowed, and the text's matcher is where it was."""
    from maskwright.loading import compiler_of
    from maskwright.speculation_options import speculation_for

    compiler = compiler_of(model, tiny_tokenizer)
    compiled, ids = compiler.compile_json_schema(PERSON), list(tiny_tokenizer(PROMPT)["input_ids"])
    for draft in drafters(small):
        if isinstance(draft, WildDrafter):
            continue
        matcher = GrammarMatcher(compiled)
        text = Text(
            ids=list(ids), prompt=len(ids), matcher=matcher, spell=lambda text: tiny_tokenizer(text)["input_ids"],
            law=lambda logits, mask: masked(logits, mask).softmax(0).double().numpy(),
        )  # fmt: skip
        session = speculation_for(draft, compiler.tokenizer_info).drafter.begin(text)
        with torch.inference_mode():
            tree = session.propose(FixedBudget(9))
        assert matcher.step_count == 0
        assert len(tree) <= 13
        for node in range(1, len(tree)):
            twin = matcher.fork()
            assert all(twin.accept_token(int(tree.token[step])) for step in tree.path(node))


def masked(logits: Any, mask: Any) -> Any:
    from maskwright.runtime.tree_masks import legal_tokens

    return logits.masked_fill(~torch.from_numpy(legal_tokens(mask[None], len(logits))[0]), float("-inf"))
