"""The law of sampled answers under every drafter and verifier that are meant to be lossless, through generate().

A grammar of some dozens of token sequences, a model in double precision: the exact probability of each sequence under masked
sampling is enumerated by plain forwards. The answers of many rows with one seed are counted against it; p-values of all
pairs are judged together (Holm). `make long-test` draws many times as many, and has the pairs with draft models, whose laws
tests/test_drafter_laws.py enumerates without a model.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

import tiny  # noqa: E402
from draft_cases import ALPHA, NAMES, holm, note, p_value  # noqa: E402
from naive_sampling import masked_softmax  # noqa: E402

from maskwright import CompiledGrammar, GrammarMatcher, Speculation, generate  # noqa: E402
from maskwright.loading import compiler_of  # noqa: E402
from maskwright.runtime import draft_model, verifiers  # noqa: E402

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PATTERN = "(a|b|ab|ad)(c|ca|e)?d?"
PROMPT = "abc cad "
TEMPERATURE = 3.0
FAST, LONG = 500, 20_000

Law = dict[tuple[int, ...], float]

JUDGED = [
    ("chain", "ratio"),
    ("chain", "block"),
    ("chain", "without_replacement"),
    ("spectr", "multi_round"),
    ("spectr", "k_sequential"),
    ("spectr", "ratio"),
    ("rsd-c", "without_replacement"),
    ("rsd-s", "without_replacement"),
    ("dyspec", "without_replacement"),
    ("rsd-c", "match"),
    ("spectr", "match"),
]


@pytest.fixture(scope="module")
def model(tiny_tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return tiny.tiny_model(tiny_tokenizer, seed=5).double()


@pytest.fixture(scope="module")
def small(tiny_tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return tiny.tiny_model(tiny_tokenizer, seed=7).double()


@pytest.fixture(scope="module")
def law(model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast) -> Law:
    compiled = compiler_of(model, tiny_tokenizer).compile_regex(PATTERN)
    return exact_law(model, compiled, tiny_tokenizer(PROMPT)["input_ids"])


def exact_law(model: LlamaForCausalLM, compiled: CompiledGrammar, prompt: list[int]) -> Law:
    """The probability of each answer under masked sampling, token by token."""
    found: Law = {}
    ends = set(compiled.tokenizer_info.eos_token_ids)

    def follow(matcher: GrammarMatcher, tokens: tuple[int, ...], probability: float) -> None:
        if matcher.is_completed() and not matcher.allowed_bytes():
            found[tokens] = probability
            return
        allowed = matcher.allowed_token_ids()
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, -1].numpy()
        legal = np.zeros(len(logits), bool)
        legal[allowed] = True
        chances = masked_softmax(logits, legal, TEMPERATURE)
        for token in allowed.tolist():
            if token in ends:
                found[tokens] = found.get(tokens, 0.0) + probability * chances[token]
                continue
            deeper = matcher.fork()
            deeper.accept_token(token)
            follow(deeper, (*tokens, token), probability * float(chances[token]))

    follow(GrammarMatcher(compiled), (), 1.0)
    return found


class RememberingForward:
    """Stands for a draft model's forward (GrowingForward): the model itself, asked once for each of the few texts there are."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._text: tuple[int, ...] = ()
        self._lines: dict[int, tuple[int, ...]] = {0: ()}

    @staticmethod
    @functools.lru_cache(maxsize=10_000)
    def _behind(model: Any, text: tuple[int, ...]) -> Any:
        with torch.inference_mode():
            return model(torch.tensor([text])).logits[0, -1].float()

    def read(self, tokens: list[int]) -> Any:
        self._text += tuple(tokens)
        return self._behind(self._model, self._text)

    def grow(self, nodes: list[int], parents: list[int], tokens: list[int]) -> list[Any]:
        for node, parent, token in zip(nodes, parents, tokens, strict=True):
            self._lines[node] = (*self._lines[parent], token)
        return [self._behind(self._model, (*self._text, *self._lines[node])) for node in nodes]

    def keep(self, path: list[int]) -> None:
        self._text += self._lines[path[-1]] if path else ()
        self._lines = {0: ()}


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a draft model gives, and its masked law, are computed once for each of the few texts there are."""
    laws: dict[tuple[int, ...], Any] = {}
    computed = draft_model.ModelText.law

    def law(seen: draft_model.ModelText, node: int) -> Any:
        text = (*seen._text.ids, *seen._builder.tokens(node))
        if text not in laws:
            laws[text] = computed(seen, node)
        return laws[text]

    monkeypatch.setattr(draft_model, "GrowingForward", RememberingForward)
    monkeypatch.setattr(draft_model.ModelText, "law", law)


def answers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, draft: Any, count: int, seed: int
) -> Counter[tuple[int, ...]]:
    found: Counter[tuple[int, ...]] = Counter()
    for part in range(0, count, 500):
        results = generate(
            model, PROMPT, regex=PATTERN, tokenizer=tokenizer, temperature=TEMPERATURE, seed=seed + part, draft=draft,
            n=min(500, count - part), return_result=True, jump_forward=False,
        )  # fmt: skip
        found.update(result.tokens for result in results)
    return found


def judged(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, law: Law, count: int) -> dict[str, float]:
    """The p-values of plain decoding and of the drafters without a model, all of them verified by match."""
    found = dict[str, float]()
    for number, name in enumerate([None, *NAMES]):
        draft = None if name is None else Speculation(name, budget=8)
        note(found, name or "plain", p_value(answers(model, tokenizer, draft, count, 100_000 * number + 7), law))
    return found


def judged_with_a_model(
    model: LlamaForCausalLM, small: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, law: Law, count: int
) -> dict[str, float]:
    """The p-values of the drafters with a model, and of their verifiers."""
    found = dict[str, float]()
    pairs: list[tuple[str, str, float | None]] = [*((shape, verifier, None) for shape, verifier in JUDGED)]
    for number, (shape, verifier, rejection) in enumerate([*pairs, ("chain", "ratio", 0.8)]):
        draft = Speculation(small, shape=shape, verifier=verifier, budget=8, rejection=rejection, size=3)
        name = f"{shape} x {verifier}" + ("" if rejection is None else ", stopped early")
        note(found, name, p_value(answers(model, tokenizer, draft, count, 1_000_000 + 100_000 * number), law))
    return found


def test_the_law_is_that_of_masked_sampling(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, law: Law
) -> None:
    assert sum(law.values()) == pytest.approx(1)
    assert 20 <= len(law) <= 200
    assert sum(probability > 0.01 for probability in law.values()) >= 8, "the law is too narrow to tell much"
    p_values = judged(model, tiny_tokenizer, law, FAST)
    assert not holm(p_values), p_values


def test_the_law_of_blocks(
    model: LlamaForCausalLM,
    small: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
    law: Law,
    remembering: None,
) -> None:
    draft = Speculation(small, verifier="block", budget=8, size=3)
    assert p_value(answers(model, tiny_tokenizer, draft, 2 * FAST, 5), law) > ALPHA


@pytest.mark.long
def test_the_law_of_many_draws(model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, law: Law) -> None:
    p_values = judged(model, tiny_tokenizer, law, LONG)
    assert not holm(p_values), p_values


@pytest.mark.long
def test_the_law_of_many_draws_with_a_draft_model(
    model: LlamaForCausalLM,
    small: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
    law: Law,
    remembering: None,
) -> None:
    p_values = judged_with_a_model(model, small, tiny_tokenizer, law, LONG)
    assert not holm(p_values), p_values


@pytest.mark.long
def test_the_law_with_a_draft_models_own_forward(
    model: LlamaForCausalLM, small: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, law: Law
) -> None:
    draft = Speculation(small, shape="rsd-c", verifier="without_replacement", budget=8, size=3)
    assert p_value(answers(model, tiny_tokenizer, draft, 4000, 9), law) > ALPHA


@pytest.mark.long
def test_a_wrong_pair_is_noticed(
    model: LlamaForCausalLM,
    small: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
    law: Law,
    monkeypatch: pytest.MonkeyPatch,
    remembering: None,
) -> None:
    """Negative control: draws without replacement judged as if they were independent."""
    wrong = {**verifiers.VERIFIERS, "without_replacement": verifiers.VERIFIERS["multi_round"]}
    monkeypatch.setattr("maskwright.speculation.VERIFIERS", wrong)
    draft = Speculation(small, shape="rsd-c", verifier="without_replacement", budget=8, size=3)
    assert p_value(answers(model, tiny_tokenizer, draft, LONG, 5), law) < ALPHA
