"""The token budget: what fits is completed, what does not is refused, and nothing changes where there is room."""

from __future__ import annotations

import functools
import json
import random
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Rolled, build_schema

from maskwright import (
    GenerationResult,
    GrammarCompiler,
    GrammarError,
    GrammarMatcher,
    TokenizerInfo,
    TruncatedError,
    generate,
)
from maskwright.budget import Budget, Covers

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

# ------------------------------------------------------------------------------------------------------------ by itself


@pytest.mark.parametrize("seed", range(20))
def test_covers_are_the_fewest_tokens(seed: int) -> None:
    """Against all ways to write the text, tried one by one."""
    rng = random.Random(seed)
    tokens = sorted({bytes(rng.choices(b"abc", k=rng.randint(1, 4))) for _ in range(rng.randint(1, 12))})
    covers = Covers(TokenizerInfo([*tokens, b"</s>"], eos_token_ids=[len(tokens)]))

    @functools.cache
    def fewest(text: bytes) -> float:
        ways = [1 + fewest(text[len(token) :]) for token in tokens if text.startswith(token)]
        return min(ways, default=float("inf")) if text else 0

    for _ in range(40):
        text = bytes(rng.choices(b"abc", k=rng.randint(0, 12)))
        expected, cover = fewest(text), covers.cover(text)
        if expected == float("inf"):
            assert cover is None
            assert not covers.fits(text, 1000)
        else:
            assert cover is not None
            assert (b"".join(tokens[token] for token in cover), len(cover)) == (text, expected)
            assert covers.fits(text, len(cover))
            assert not covers.fits(text, len(cover) - 1)


def budget_of(pattern: str, tokens: list[bytes], limit: int) -> tuple[Budget, GrammarMatcher]:
    info = TokenizerInfo([*tokens, b"</s>"], eos_token_ids=[len(tokens)])
    matcher = GrammarMatcher(GrammarCompiler(info).compile_regex(pattern))
    return Budget(Covers(info), matcher, limit), matcher


def test_a_token_is_admitted_while_a_completion_fits() -> None:
    budget, matcher = budget_of("[ab]*c", [b"a", b"b", b"c"], 3)
    for left, admitted in ((2, True), (1, True), (1, False)):
        assert matcher.accept_token(0)
        assert budget.admit([0]) is admitted
        assert budget.left == left
    matcher.rollback()
    assert budget.next_token() == 2
    assert matcher.accept_token(2)
    assert budget.admit([2])
    assert (budget.left, budget.completion, budget.next_token()) == (0, b"", None)


def test_fewer_tokens_than_bytes_may_suffice() -> None:
    budget, matcher = budget_of("x(ab){3}|x{9}", [b"a", b"b", b"x", b"abab"], 4)
    assert budget.completion == b"xababab"
    for token in (2, 3):
        assert matcher.accept_token(token)
        assert budget.admit([token])
    assert budget.next_token() == 0
    with pytest.raises(TruncatedError, match=r"takes 4 tokens\. Allow at least 4") as caught:
        budget_of("x(ab){3}", [b"a", b"b", b"x", b"abab"], 3)
    assert caught.value.needed == 4


def test_a_known_completion_holds_where_the_shortest_takes_more_tokens() -> None:
    """Behind `a` the shortest completion is `bc`, of two tokens; only `dddd` is a single one."""
    budget, matcher = budget_of("ab?adddd|aabc", [b"a", b"b", b"c", b"d", b"dddd", b"aab"], 3)
    budget.completion = b"aadddd"  # three tokens, which fit
    budget.left = 3
    for token in (0, 0, 4):
        assert matcher.accept_token(token)
        assert budget.admit([token])
    assert (budget.left, budget.completion) == (0, b"")


def test_a_vocabulary_that_cannot_write_the_shortest_sentence_gets_no_promise() -> None:
    budget, matcher = budget_of("x|ab{2,}c", [b"a", b"b", b"c", b"xx"], 3)
    assert budget.completion is None
    for token in (0, 1, 1):
        assert matcher.accept_token(token)
        assert budget.admit([token])
    assert (budget.left, budget.next_token()) == (0, None)


class AlwaysAsking(GrammarMatcher):
    """A matcher that knows no bound, so that its budget looks for the completion behind every token."""

    def completion_bound(self) -> None:
        return None


@settings(max_examples=60, deadline=None)
@given(schema=strategies.schemas(), seed=st.integers(0, 2**32))
def test_what_is_known_at_once_changes_nothing(schema: Any, seed: int) -> None:
    """Along random walks near the end of the budget and far from it: admitted tokens, completions, tokens left."""
    rng = random.Random(seed)
    tokens = [bytes((byte,)) for byte in range(256)] + [b'{"', b'":', b'",', b"], ", b"]}", b"[[", b"true", b'""']
    info = TokenizerInfo([*tokens, b"</s>"], eos_token_ids=[len(tokens)])
    try:
        compiled = GrammarCompiler(info).compile_json_schema(schema)
        shortest = len(GrammarMatcher(compiled).shortest_completion())
    except GrammarError:
        return
    for room in (0, 1, 3, 10, 40):
        matchers = GrammarMatcher(compiled), AlwaysAsking(compiled)
        budgets = [Budget(Covers(info), matcher, max(1, shortest + room)) for matcher in matchers]
        for _ in range(30):
            allowed = matchers[0].allowed_token_ids().tolist()
            structure = [token for token in allowed if token >= 256 or token in b'{}[]:,"']
            if not allowed:
                break
            token = rng.choice(structure if structure and rng.random() < 0.7 else allowed)
            assert [matcher.accept_token(token) for matcher in matchers] == [True, True]
            bound = matchers[0].completion_bound()
            if bound is not None:
                simple = matchers[0].simple_completion()
                assert (len(simple), matchers[0].completion_bound()) == (bound, bound)
                assert bound >= len(matchers[0].shortest_completion())
                assert not simple or matchers[0].accept_string(simple)
                assert matchers[0].is_completed()
                matchers[0].rollback(1 if simple else 0)
            if matchers[0].is_terminated():
                break
            admitted = [budget.admit([token]) for budget in budgets]
            assert admitted[0] == admitted[1]
            if not admitted[0]:
                for matcher in matchers:
                    matcher.rollback()
                assert budgets[0].next_token() == budgets[1].next_token()
            if rng.random() < 0.2:
                assert budgets[0].completion == budgets[1].completion
        assert budgets[0].completion == budgets[1].completion
        assert budgets[0].left == budgets[1].left


def test_far_from_the_end_no_completion_is_put_together() -> None:
    budget, matcher = budget_of("([ab]|[0-9]{3}x)*c", [bytes((byte,)) for byte in range(256)], 300)
    asked = []
    shortest = matcher.shortest_completion
    matcher.shortest_completion = lambda: asked.append(1) or shortest()  # type: ignore[method-assign, func-returns-value]
    for _ in range(20):
        for token in b"a123x":
            assert matcher.accept_token(token)
            assert budget.admit([token])
    assert len(asked) <= 6  # as many as there are places
    assert budget.completion == b"c"


# ----------------------------------------------------------------------------------------------------------- generating


@pytest.fixture(scope="module")
def ask(request: pytest.FixtureRequest) -> Any:
    """generate() with the tiny model, whole results."""
    pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")
    model: LlamaForCausalLM = request.getfixturevalue("tiny_model")
    tokenizer: PreTrainedTokenizerFast = request.getfixturevalue("tiny_tokenizer")

    def call(prompt: Any = "An order:", **options: Any) -> Any:
        return generate(model, prompt, **{"tokenizer": tokenizer, "return_result": True, **options})

    return call


def needed(ask: Any, **options: Any) -> int:
    """The fewest tokens that an answer is said to need; 1 where that is enough."""
    try:
        ask(max_new_tokens=1, **options)
    except TruncatedError as error:
        assert error.needed is not None
        return error.needed
    return 1


ORDER = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "note": {"type": "string"},
        "items": {
            "type": "array",
            "minItems": 2,
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string", "pattern": "^[A-Z]{3,}$"}, "count": {"type": "integer"}},
                "required": ["sku"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["id", "items"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("jump_forward", [True, False])
def test_answers_are_whole_at_and_above_the_minimum(ask: Any, temperature: float, jump_forward: bool) -> None:
    options = {"schema": ORDER, "temperature": temperature, "jump_forward": jump_forward}
    least = needed(ask, schema=ORDER)
    for limit in (least, least + 1, least + 2, least + 7, 2 * least):
        for result in ask(max_new_tokens=limit, n=3, seed=limit, **options):
            jsonschema.validate(result.value, ORDER)
            assert len(result.tokens) <= limit
    with pytest.raises(TruncatedError) as caught:
        ask(max_new_tokens=least - 1, **options)
    assert (caught.value.needed, caught.value.max_tokens) == (least, least - 1)


def test_random_schemas_are_completed_within_any_budget_that_suffices(ask: Any) -> None:
    tried = 0
    for seed in range(60):
        rng = random.Random(seed)
        schema = build_schema(Rolled(rng), 2)
        try:
            least = needed(ask, schema=schema)
        except GrammarError:
            continue  # no value, or not to be enforced
        tried += 1
        for limit, temperature in ((least, 0.0), (least, 5.0), (least + 1, 1.0), (least + rng.randint(2, 30), 2.0)):
            result: GenerationResult = ask(schema=schema, max_new_tokens=limit, temperature=temperature, seed=seed)
            jsonschema.validate(result.value, schema, jsonschema.Draft202012Validator)
            assert json.loads(result.text) == result.value
            assert len(result.tokens) <= limit
    assert tried >= 30


def test_stop_means_that_more_tokens_would_have_changed_nothing(ask: Any) -> None:
    """The same seeds with a budget that is sometimes too small, and with one that never is."""
    schema = {"type": "array", "items": {"type": "string", "maxLength": 5}, "minItems": 1, "maxItems": 4}
    options = {"schema": schema, "temperature": 1.0, "n": 20, "seed": 1, "whitespace": "compact"}
    tight, wide = ask(max_new_tokens=14, **options), ask(max_new_tokens=1000, **options)
    for cut, whole in zip(tight, wide, strict=True):
        assert whole.finish_reason == "stop"
        if cut.finish_reason == "stop":
            assert cut.tokens == whole.tokens
            assert cut.statistics.banned_draws == 0
        else:
            assert cut.tokens != whole.tokens
    assert {result.finish_reason for result in tight} == {"stop", "budget"}


def test_a_text_that_could_go_on_ends_with_its_tokens(ask: Any) -> None:
    result = ask(regex="[a-z]+", max_new_tokens=4, temperature=1.0, seed=1)
    assert re.fullmatch("[a-z]+", result.text)
    assert len(result.tokens) == 4
    assert result.finish_reason == "budget"


def test_the_last_resort_is_marked_as_forced(ask: Any) -> None:
    result = ask(schema={"type": "string"}, max_new_tokens=6, temperature=5.0, seed=2)
    assert result.text.endswith('"')
    assert result.finish_reason == "budget"
    assert result.statistics.banned_draws > 0
    assert all(logprob == 0.0 for logprob, forced in zip(result.logprobs, result.forced, strict=True) if forced)


def test_a_choice_stays_the_models_at_the_edge(ask: Any) -> None:
    """All choices take as many tokens; the budget is exactly that, and leaves the model its favourite."""
    choices = ["aaa", "bbb", "ccc", "ddd"]
    assert {ask(choices=choices, max_new_tokens=3, temperature=3.0, seed=seed).text for seed in range(30)} >= {
        "bbb",
        "ccc",
        "ddd",
    }


def test_an_unpromised_answer_that_runs_out_carries_its_text(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Covers, "cover", lambda *_: None)
    monkeypatch.setattr(Covers, "fits", lambda *_: False)
    with pytest.raises(TruncatedError, match="3 tokens were not enough") as caught:
        ask(regex="[b-d]{40}", max_new_tokens=3)
    assert re.fullmatch("[b-d]{3,}", caught.value.text)
    assert caught.value.needed is None
