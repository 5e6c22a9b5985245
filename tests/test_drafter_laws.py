"""Draft models' trees with each verifier meant for them: the exact law of what is emitted, over every draft and every coin.

The drafters and verifiers are the real ones, as are matcher and masks. In place of two language models there are tables:
a distribution for each text. Stochastic beams take continuous noise, so that they are counted and not enumerated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from naive_chance import law_of

import maskwright as mw
from maskwright.runtime import draft_model
from maskwright.runtime.beam_drafter import BeamDrafter
from maskwright.runtime.block_verifier import verify_block
from maskwright.runtime.chain_drafter import ChainDrafter
from maskwright.runtime.chance import Chance, RandomChance
from maskwright.runtime.draft_budgets import FixedBudget, ThresholdBudget
from maskwright.runtime.drafter import Drafter, Text
from maskwright.runtime.dynamic_drafter import DynamicDrafter
from maskwright.runtime.level_drafter import LevelDrafter
from maskwright.runtime.tree_masks import legal_tokens
from maskwright.runtime.verifiers import VERIFIERS

VOCABULARY = [b"a", b"b", b"ab", b"c", b"</s>"]
END = 4
GRAMMAR = 'root ::= ("a" | "b") ("b" | "c")? "c"?'


def table(text: tuple[int, ...], seed: int) -> np.ndarray:
    """float64 [V]: weights of the next token, the same for the same text."""
    return np.random.default_rng([seed, len(text), *text]).dirichlet(np.full(len(VOCABULARY), 0.8)) + 1e-3


class TableForward:
    """Stands for a draft model's forward; see GrowingForward."""

    def __init__(self, model: Any) -> None:
        self._text: tuple[int, ...] = ()
        self._lines: dict[int, tuple[int, ...]] = {0: ()}

    def read(self, tokens: list[int]) -> np.ndarray:
        self._text += tuple(tokens)
        return table(self._text[1:], seed=2)

    def grow(self, nodes: list[int], parents: list[int], tokens: list[int]) -> list[np.ndarray]:
        for node, parent, token in zip(nodes, parents, tokens, strict=True):
            self._lines[node] = (*self._lines[parent], token)
        return [table((*self._text[1:], *self._lines[node]), seed=2) for node in nodes]

    def keep(self, path: list[int]) -> None:
        self._text += self._lines[path[-1]] if path else ()
        self._lines = {0: ()}


@pytest.fixture
def compiled() -> mw.CompiledGrammar:
    return mw.GrammarCompiler(mw.TokenizerInfo(VOCABULARY, eos_token_ids=[END])).compile_grammar(GRAMMAR)


def masked(weights: np.ndarray, mask: np.ndarray) -> np.ndarray:
    law = np.where(legal_tokens(mask[None], len(weights))[0], weights, 0.0)
    return law / law.sum()


def target_law(compiled: mw.CompiledGrammar, tokens: tuple[int, ...]) -> np.ndarray:
    """What the target draws behind a text."""
    matcher = mw.GrammarMatcher(compiled)
    assert all(matcher.accept_token(token) for token in tokens)
    words = np.empty(compiled.tokens.words, np.int32)
    matcher.fill_next_token_bitmask(words)
    return masked(table(tokens, seed=1), words)


def planned(compiled: mw.CompiledGrammar, text: tuple[int, ...], tree: Any, chance: Chance) -> dict[int, int]:
    return verify_block(
        tree, lambda node: target_law(compiled, (*text, *tree.token[tree.path(node)].tolist())), chance
    )  # fmt: skip


def walk(
    compiled: mw.CompiledGrammar,
    drafter: Drafter | None,
    verifier: str,
    chance: Chance,
    tokens: int,
    budget: Any = None,
) -> tuple[int, ...]:
    """The first tokens emitted (fewer where the text ends): trees one after the other, as many as it takes."""
    matcher = mw.GrammarMatcher(compiled)
    text = Text(ids=[0], prompt=1, matcher=matcher, spell=lambda text: (), chance=chance, law=masked)
    session = None if drafter is None else drafter.begin(text)
    emitted = list[int]()
    while len(emitted) < tokens:
        if session is None:
            emitted.append(chance.draws(masked(table(tuple(emitted), seed=1), text.mask())))
            if emitted[-1] == END:
                break
            matcher.accept_token(emitted[-1])
            continue
        tree, node, taken = session.propose(budget or FixedBudget(6)), 0, list[int]()
        before, plan = len(emitted), dict[int, int]()
        if verifier == "block":
            plan = planned(compiled, tuple(emitted), tree, chance)
        while node >= 0 and len(emitted) < tokens:
            p = masked(table(tuple(emitted), seed=1), text.mask())
            if verifier == "block":
                token = plan[node] if node in plan else chance.draws(p)
            else:
                token = VERIFIERS[verifier](tree, node, p, chance)
            node = tree.child(node, token)
            emitted.append(token)
            if token == END:
                return tuple(emitted)
            matcher.accept_token(token)
            if node >= 0:
                taken.append(node)
        text.ids += emitted[before:]
        session.observe(draft_model.Verified(tree, taken, emitted[before:]))
    return tuple(emitted)


@pytest.fixture
def drafting(monkeypatch: pytest.MonkeyPatch) -> draft_model.DraftModel:
    monkeypatch.setattr(draft_model, "GrowingForward", TableForward)
    model = object.__new__(draft_model.DraftModel)
    model.model = None
    return model


PAIRS = [
    (lambda model: ChainDrafter(model, 2), "ratio", None),
    (lambda model: ChainDrafter(model, 2), "without_replacement", None),
    (lambda model: ChainDrafter(model, 3), "ratio", ThresholdBudget(6, 0.6)),
    (lambda model: ChainDrafter(model, 2), "block", None),
    (lambda model: ChainDrafter(model, 3), "block", ThresholdBudget(6, 0.6)),
    (lambda model: ChainDrafter(model, 2, chains=2), "multi_round", None),
    (lambda model: ChainDrafter(model, 2, chains=2), "k_sequential", None),
    (lambda model: ChainDrafter(model, 1, chains=3), "k_sequential", None),
    (lambda model: LevelDrafter(model, (2, 2)), "without_replacement", None),
    (lambda model: LevelDrafter(model, (3, 1)), "without_replacement", FixedBudget(3)),
    (lambda model: LevelDrafter(model, (2, 1)), "ratio", None),
    (lambda model: DynamicDrafter(model, 4), "without_replacement", None),
    (lambda model: DynamicDrafter(model, 3), "match", None),
    (lambda model: ChainDrafter(model, 2, chains=2), "match", None),
]


@pytest.mark.parametrize(("drafter", "verifier", "budget"), PAIRS)
def test_the_law_of_each_pair_by_enumeration(
    compiled: mw.CompiledGrammar, drafting: draft_model.DraftModel, drafter: Any, verifier: str, budget: Any
) -> None:
    expected = law_of(lambda chance: walk(compiled, None, "match", chance, 2))
    found = law_of(lambda chance: walk(compiled, drafter(drafting), verifier, chance, 2, budget))
    assert found.keys() == expected.keys()
    for text, probability in expected.items():
        assert found[text] == pytest.approx(probability, abs=1e-9)


@pytest.mark.parametrize(
    ("drafter", "verifier"),
    [
        (lambda model: LevelDrafter(model, (2, 1)), "multi_round"),
        (lambda model: DynamicDrafter(model, 3), "k_sequential"),
    ],
)
def test_pairs_that_do_not_fit_are_biased(
    compiled: mw.CompiledGrammar, drafting: draft_model.DraftModel, drafter: Any, verifier: str
) -> None:
    """Negative control of the enumeration: speculation_options.py refuses these."""
    expected = law_of(lambda chance: walk(compiled, None, "match", chance, 2))
    found = law_of(lambda chance: walk(compiled, drafter(drafting), verifier, chance, 2))
    assert max(abs(found[text] - probability) for text, probability in expected.items()) > 1e-3


@pytest.mark.parametrize("verifier", ["without_replacement", "match"])
def test_stochastic_beams_keep_the_law(
    compiled: mw.CompiledGrammar, drafting: draft_model.DraftModel, verifier: str
) -> None:
    count, chance = 6000, RandomChance(np.random.default_rng(8))
    expected = law_of(lambda chance: walk(compiled, None, "match", chance, 3))
    counts = dict.fromkeys(expected, 0)
    for _ in range(count):
        counts[walk(compiled, BeamDrafter(drafting, 3, 2), verifier, chance, 3)] += 1
    cells = [(counts[text], count * probability) for text, probability in expected.items() if count * probability >= 5]
    statistic = sum((seen - wanted) ** 2 / wanted for seen, wanted in cells)
    assert len(cells) > 5
    assert statistic < len(cells) + 4 * np.sqrt(2 * len(cells))


def test_beams_are_draws_without_replacement() -> None:
    """The perturbed log-probabilities of siblings: the largest is their parent's, and the best are weighted draws."""
    rng = RandomChance(np.random.default_rng(2))
    text = Text(ids=[0], prompt=1, matcher=None, spell=lambda text: (), chance=rng)  # type: ignore[arg-type]
    from maskwright.runtime.beam_drafter import _Beams

    beams = object.__new__(_Beams)
    beams._text = text
    law = np.array([0.5, 0.3, 0.2])
    firsts = np.zeros((3, 3))
    for _ in range(8000):
        noisy = beams._perturbed(np.log(law), 1.5)
        assert noisy.max() == pytest.approx(1.5)
        first, second, _ = np.argsort(-noisy)
        firsts[first, second] += 1
    expected = 8000 * np.array([[law[i] * law[j] / (1 - law[i]) if i != j else 0 for j in range(3)] for i in range(3)])
    assert np.abs(firsts - expected).max() < 5 * np.sqrt(expected.max())
