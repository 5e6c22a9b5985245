"""Whole answers with drafts: the same texts from the same random numbers, the same laws, fewer calls of the model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import naive_aligned as naive
import numpy as np
import pytest
from aligned_cases import AMBIGUOUS, PLAIN, TWICE, Case, case
from draft_cases import ALPHA, NAMES, WildDrafter, holm, note, p_value
from naive_chance import law_of
from test_verifiers import independent, without

import maskwright
from maskwright import AlignedSampler, Speculation, generate
from maskwright.aligned_drafts import drafting_for
from maskwright.runtime import conditional
from maskwright.runtime.aligned_trie import ROOT, AlignedTrie
from maskwright.runtime.allowed_rows import Row
from maskwright.runtime.chance import Chance
from maskwright.runtime.conditional import Conditional
from maskwright.runtime.descent_methods import draw_by_descents
from maskwright.runtime.descents import Outcome, descend
from maskwright.runtime.draft_tree import TreeBuilder
from maskwright.runtime.lookahead import Lookahead
from maskwright.runtime.samples import Budget
from maskwright.runtime.verifiers import VERIFIERS

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

import tiny  # noqa: E402

BIASED = ["aaaa", "b", "bab", "ba", "abab", "abaa"]
SHORT = ["ab", "aba", "b", "ba"]
DRAFTS: dict[str, Callable[[], Any]] = {name: lambda name=name: Speculation(name, budget=6) for name in NAMES} | {
    "wild": lambda: WildDrafter(4),
    "a list": lambda: Speculation(["trigram", "automaton", WildDrafter(5)], budget=9),
}


class Prompted:
    """A model behind a prompt of one token, of which it takes no notice."""

    def __init__(self, model: naive.TableModel) -> None:
        self._model = model

    def logits(self, prefixes: Sequence[Sequence[int]]) -> np.ndarray:
        return self._model.logits([prefix[1:] for prefix in prefixes])


def space_of(given: Case, draft: Any = None, kind: type[Conditional] = Conditional, **options: Any) -> Conditional:
    model = Prompted(given.model)
    drafting = None if draft is None else drafting_for(draft, given.compiled, None, given.target, model)
    return kind(model, given.compiled, (0,), given.target, classes=given.classes, drafting=drafting, **options)


# -------------------------------------------------------------------------------------------------------- identity


@pytest.mark.parametrize("method", ["masked", "importance", "rejection", "asap", "cars"])
@pytest.mark.parametrize(("tokens", "batch"), [(PLAIN, 1), (AMBIGUOUS, 7), (TWICE, 16)])
def test_drafts_change_no_text(method: Any, tokens: Any, batch: int) -> None:
    """Nor any probability, bound or weight; nor what the trie has learnt."""
    given = case(1, tokens, spread=1.0)
    draws: list[Any] = []
    spaces = []
    for draft in (None, *(make() for make in DRAFTS.values())):
        space, random = space_of(given, draft), np.random.default_rng(1)
        draws.append([
            draw_by_descents(space, method, 8, batch_size=batch, random=random, budget=Budget(attempts=20_000))
            for _ in range(2)
        ])  # fmt: skip
        spaces.append(space)
    for drawn, space in zip(draws[1:], spaces[1:], strict=True):
        for one, other in zip(drawn, draws[0], strict=True):
            assert one.tokens == other.tokens
            assert one.log_q.tolist() == other.log_q.tolist()
            assert one.log_weight.tolist() == other.log_weight.tolist()
        assert space.log_z_bounds == spaces[0].log_z_bounds
        assert space.trie.size == spaces[0].trie.size
        assert space.stats.forwards <= spaces[0].stats.forwards
        assert space.stats.attempts == spaces[0].stats.attempts


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Any) -> Any:
    return tiny.tiny_model(tiny_tokenizer, seed=5).double()


@pytest.fixture(scope="module")
def small(tiny_tokenizer: Any) -> Any:
    return tiny.tiny_model(tiny_tokenizer, seed=6).double()


LISTS = 'root ::= "(" (root ("," root)*)? ")" | [a-z] [0-9]*'
PROMPT = "Ada Lovelace is 36. (a1,b2) the red house: "


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("asap", {}),
        ("cars", {}),
        ("auto", {}),
        ("masked", {}),
        ("mcmc", {"steps": 4}),
        ("mcmc", {"steps": 4, "proposal": "asap", "cut": "entropy"}),
        ("asap", {"boundary": "bytes"}),
    ],
    ids=str,
)
def test_a_neural_model_gives_the_same_texts_with_drafts(
    model: Any, small: Any, tiny_tokenizer: Any, method: Any, how: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"tokenizer": tiny_tokenizer, "max_tokens": 12}
    counts = Speculation("trigram", budget=8)  # a budget by the clock would draft as much as the machine has time for
    drafts = ["auto", counts, WildDrafter(1), Speculation(small, budget=4), ["lookup", small]]
    if method != "asap" or how:
        drafts = drafts[1:3]
    plain = AlignedSampler(model, LISTS, method, **options)
    expected = [plain.sample(PROMPT, 16, seed=seed, **how) for seed in (1, 2)]
    for draft in drafts:
        sampler = AlignedSampler(model, LISTS, method, draft=draft, **options)
        found = [sampler.sample(PROMPT, 16, seed=seed, **how) for seed in (1, 2)]
        for one, other in zip(found, expected, strict=True):
            assert one.token_ids == other.token_ids
            assert one.log_weight == pytest.approx(other.log_weight, abs=1e-4)
            assert one.stats.forwards <= other.stats.forwards
            assert one.stats.taken <= one.stats.drafted
        assert sampler.trie(PROMPT).size == plain.trie(PROMPT).size
        if draft is counts:
            # cars has explored these lists after a few descents, and asks the model for little more.
            assert sum(one.stats.taken for one in found) > (1 if method == "cars" else 5)
            assert sum(one.stats.forwards for one in found) < sum(other.stats.forwards for other in expected)


@pytest.mark.parametrize(
    "options", [{"top_p": 0.99, "temperature": 3.0}, {"canonical": True}, {"on_max": "force_eos"}], ids=str
)
def test_targets_of_every_shape(model: Any, tiny_tokenizer: Any, options: dict[str, Any]) -> None:
    given = {"tokenizer": tiny_tokenizer, "max_tokens": 7, **options}
    plain = AlignedSampler(model, LISTS, "asap", **given).sample(PROMPT, 30, seed=3)
    for draft in ("auto", WildDrafter(2)):
        drafted = AlignedSampler(model, LISTS, "asap", draft=draft, **given).sample(PROMPT, 30, seed=3)
        assert drafted.token_ids == plain.token_ids
        assert drafted.stats.truncations == plain.stats.truncations


def test_generate_takes_method_and_draft_together(model: Any, tiny_tokenizer: Any) -> None:
    prompts = ["Ada Lovelace is 36.", "(a,b,c) and (d,e)", "x"]
    options: dict[str, Any] = {"grammar": LISTS, "tokenizer": tiny_tokenizer, "max_new_tokens": 12, "seed": 4, "n": 3}
    for method in ("asap", "cars", "importance"):
        plain = generate(model, prompts, method=method, **options)
        assert generate(model, prompts, method=method, draft="auto", **options) == plain
        chunks = [*generate(model, prompts, method=method, draft=["trigram", "recycling"], stream=True, **options)]
        assert [[chunk.value for chunk in chunks if chunk.prompt == prompt] for prompt in range(3)] == plain
    stats = generate(
        model,
        prompts[0],
        method="asap",
        draft=Speculation("trigram", budget=8),
        return_result=True,
        **{**options, "n": 1},
    ).aligned.stats
    assert stats.drafted > 0


def test_forced_spans_and_drafts_behind_them(model: Any, tiny_tokenizer: Any) -> None:
    """A grammar of long forced texts, where one call asks for a span as well as for drafts behind it."""
    grammar = 'root ::= ("name=" [a-d]{2} ";"){4}'
    options: dict[str, Any] = {"tokenizer": tiny_tokenizer, "max_tokens": 40}
    plain = AlignedSampler(model, grammar, "masked", **options).sample(PROMPT, 6, seed=1)
    for draft in ("auto", "grammar", WildDrafter(3)):
        drafted = AlignedSampler(model, grammar, "masked", draft=draft, **options).sample(PROMPT, 6, seed=1)
        assert drafted.token_ids == plain.token_ids
        assert drafted.stats.forwards <= plain.stats.forwards


# ------------------------------------------------------------------------------------------------------------ laws


def taught(given: Case, count: int) -> tuple[AlignedTrie, dict[tuple[int, ...], float]]:
    """A trie after some descents one by one, and the law of the next by the published method, which learnt the same."""

    def step(prefix: tuple[int, ...]) -> dict[int, float]:
        text = b"".join(AMBIGUOUS[token] or b"" for token in prefix)
        following, end = given.language.step(prefix, text)
        return following | ({naive.END: end} if end else {})

    space, random, reference = given.space(), np.random.default_rng(1), naive.SequentialASAp(step)
    for _ in range(count):
        drawn = descend(space, 1, random, guided=True, rejecting=False)
        assert drawn.outcomes[0] == Outcome.WHOLE
        reference.learn(drawn.tokens[0])
    return space.trie, {text: math.exp(reference.log_q(text)) for text in given.language.log_p}


def drawn_from(
    given: Case, trie: AlignedTrie, draft: Any, count: int, seed: int, kind: type[Conditional] = Conditional
) -> Counter[Any]:
    """Texts by descents, ten at a time, each time from the same trie."""
    random, found = np.random.default_rng(seed), Counter[Any]()
    for _ in range(count // 10):
        space = space_of(given, draft, kind, trie=AlignedTrie.of_arrays(trie.arrays()))
        found.update(descend(space, 10, random, guided=True, rejecting=False).tokens)
    return found


def judged_on_a_trie(count: int) -> dict[str, float]:
    given = case(5, AMBIGUOUS, BIASED, spread=1.0)
    trie, law = taught(given, 12)
    assert sum(law.values()) == pytest.approx(1)
    found = dict[str, float]()
    for number, (name, draft) in enumerate([("none", None), *((name, make()) for name, make in DRAFTS.items())]):
        note(found, f"asap, {name}", p_value(drawn_from(given, trie, draft, count, number), law))
    return found


def judged_by_exact_methods(count: int) -> dict[str, float]:
    found = dict[str, float]()
    pairs = [("cars", name) for name in DRAFTS] + [("rejection", "auto"), ("rejection", "wild")]
    for number, (method, name) in enumerate(pairs):
        given = case(number, AMBIGUOUS, spread=1.0)
        samples = draw_by_descents(
            space_of(given, DRAFTS[name]()), method, count, batch_size=8, random=np.random.default_rng(number),
            budget=Budget(attempts=10**7),
        )  # fmt: skip
        note(found, f"{method}, {name}", p_value(Counter(samples.tokens), given.language.conditional))
    return found


def test_the_law_of_a_frozen_trie_whoever_drafts() -> None:
    """p ~ P theta at every node: the law of the published method, by every drafter."""
    p_values = judged_on_a_trie(600)
    assert not holm(p_values), p_values


def test_exact_methods_stay_exact_whoever_drafts() -> None:
    p_values = judged_by_exact_methods(400)
    assert not holm(p_values), p_values


@pytest.mark.long
def test_the_laws_of_many_draws() -> None:
    p_values = judged_on_a_trie(20_000) | judged_by_exact_methods(20_000)
    assert not holm(p_values), p_values


class Learning(Conditional):
    """What was drafted counts at once, for the descents under way: theta changes during a sample."""

    def rows(self, nodes: Sequence[int]) -> list[Row]:
        found = super().rows(nodes)
        for node, row in zip(nodes, found, strict=True):
            path = self.tokens_of(node)
            for token in row.tokens.tolist():
                drafted = self.lookahead is not None and self.lookahead.knows((*path, token))
                others = np.append(self.trie.token[self.trie.children(node)], token)
                if drafted and row.without(others).any():  # something is left to draw
                    self.add(node, token, row.log_probability(token))
        self.trie.freeze()
        return found


class OneLate(Lookahead):
    """The logits of a draft are those of the node above it."""

    def logits(self, prefixes: Any, ask: Any) -> Any:
        return super().logits(
            prefixes, lambda asked: ask([path if path in prefixes else path[:-1] for path in asked])
        )  # fmt: skip


def test_planted_bugs_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    given = case(5, AMBIGUOUS, BIASED, spread=1.0)
    trie, law = taught(given, 2)
    assert p_value(drawn_from(given, trie, WildDrafter(1), 1000, 1), law) > ALPHA
    assert p_value(drawn_from(given, trie, WildDrafter(1), 1000, 1, Learning), law) < ALPHA
    # Masking, which theta corrects, is another law.
    masked = AlignedTrie.of_arrays(given.space().trie.arrays())
    assert p_value(drawn_from(given, masked, WildDrafter(1), 1000, 1), law) < ALPHA
    monkeypatch.setattr(conditional, "Lookahead", OneLate)
    assert p_value(drawn_from(given, trie, WildDrafter(1), 1000, 1), law) < ALPHA


# ------------------------------------------------------------------------------- verifiers of an aligned target


def aligned_law(given: Case, trie: AlignedTrie, tokens: Sequence[int], by_theta: bool = True) -> np.ndarray:
    """float64 [V]: p ~ P theta over what may follow, by the trie as it is; without theta what masking draws."""
    text = b"".join(AMBIGUOUS[token] or b"" for token in tokens)
    following, end = given.language.step(tuple(tokens), text)
    law, node = np.zeros(given.model.size), ROOT
    for token in tokens:
        node = trie.child(node, token) if node >= 0 else -1
    for token, share in (following | {given.classes.end: end}).items():
        child = trie.child(node, token) if node >= 0 else -1
        law[token] = share * (math.exp(trie.log_theta[child]) if by_theta and child >= 0 else 1.0)
    return law / law.sum()


def walked(given: Case, proposal: naive.TableModel, draft: Any, verifier: str, chance: Chance, law: Any) -> tuple:
    """One text: trees of two draws at the root and one below each, from a proposal that is masked."""
    emitted: list[int] = []

    def q(tokens: Sequence[int]) -> np.ndarray:
        weights = np.exp(proposal.row(tokens)) * (law(tokens) > 0)
        return weights / weights.sum()

    while True:
        builder = TreeBuilder(0)
        draft(builder, 0, q(emitted), 2, chance)
        for child in range(1, len(builder)):
            if builder.token(child) != given.classes.end:
                draft(builder, child, q([*emitted, builder.token(child)]), 1, chance)
        tree, node = builder.build(), 0
        while node >= 0:
            token = VERIFIERS[verifier](tree, node, law(emitted), chance) if tree.first_child[node] >= 0 else (
                chance.draws(law(emitted)))  # fmt: skip
            node = tree.child(node, token)
            emitted.append(token)
            if token == given.classes.end:
                return tuple(emitted[:-1])


@pytest.mark.parametrize(
    ("verifier", "draft"),
    [("match", independent), ("ratio", independent), ("multi_round", independent), ("k_sequential", independent),
     ("without_replacement", without)],
)  # fmt: skip
def test_every_verifier_keeps_the_law_of_a_frozen_trie(verifier: str, draft: Any) -> None:
    given = case(5, AMBIGUOUS, SHORT, spread=1.0)
    trie, expected = taught(given, 3)
    proposal = naive.TableModel(given.model.size, 77)
    found = law_of(
        lambda chance: walked(given, proposal, draft, verifier, chance, lambda t: aligned_law(given, trie, t))
    )
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_target_that_changes_or_masks_is_another_law() -> None:
    """Negative control of the enumeration: theta that learns between two tokens of a text, and no theta."""
    given = case(5, AMBIGUOUS, SHORT, spread=1.0)
    trie, expected = taught(given, 1)
    later, _ = taught(given, 12)
    proposal = naive.TableModel(given.model.size, 77)
    for wrong in (
        lambda tokens: aligned_law(given, later if tokens else trie, tokens),
        lambda tokens: aligned_law(given, trie, tokens, by_theta=False),
    ):
        found = law_of(lambda chance, wrong=wrong: walked(given, proposal, independent, "multi_round", chance, wrong))
        assert max(abs(found.get(text, 0.0) - share) for text, share in expected.items()) > 1e-3


# ---------------------------------------------------------------------------------------------------- bookkeeping


def test_logits_that_nobody_needs_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    given = case(3, AMBIGUOUS)
    space = space_of(given, WildDrafter(2))
    ahead = space.lookahead
    assert ahead is not None
    monkeypatch.setattr(ahead, "_drafting", ahead._drafting.__class__(
        **{name: getattr(ahead._drafting, name) for name in ahead._drafting.__dataclass_fields__} | {"max_bytes": 100}
    ))  # fmt: skip
    plain = space_of(given)
    for _ in range(5):
        one, other = (
            descend(each, 6, np.random.default_rng(1), guided=True, rejecting=False) for each in (space, plain)
        )
        assert one.tokens == other.tokens
        assert len(ahead._lines) <= max(1, 100 // (8 * given.model.size))


def test_enumeration_asks_for_nothing_ahead(model: Any, tiny_tokenizer: Any) -> None:
    options: dict[str, Any] = {"tokenizer": tiny_tokenizer, "max_tokens": 4}
    grammar = "root ::= [ab] [ab]?"
    plain = AlignedSampler(model, grammar, **options).enumerate("x")
    drafted = AlignedSampler(model, grammar, draft="auto", **options).enumerate("x")
    assert drafted.token_ids == plain.token_ids
    assert (drafted.stats.forwards, drafted.stats.drafted) == (plain.stats.forwards, 0)


def test_what_does_not_go_together_is_said(model: Any, small: Any, tiny_tokenizer: Any) -> None:
    options: dict[str, Any] = {"tokenizer": tiny_tokenizer, "draft": "auto"}
    with pytest.raises(ValueError, match="draft= does not go with method='smc'"):
        AlignedSampler(model, LISTS, "smc", **options)
    sampler = AlignedSampler(model, LISTS, **options)
    for how in ({"method": "smc"}, {"potential": lambda text, whole: 0.0}):
        with pytest.raises(ValueError, match="draft= does not go with method='smc'"):
            sampler.sample(PROMPT, 2, **how)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="verified by 'match'"):
        AlignedSampler(model, LISTS, tokenizer=tiny_tokenizer, draft=Speculation(small, verifier="ratio"))
    with pytest.raises(ValueError, match="choose 'auto'"):
        AlignedSampler(model, LISTS, tokenizer=tiny_tokenizer, draft=5)
    with pytest.raises(ValueError, match="method='smc'"):
        generate(model, PROMPT, grammar=LISTS, tokenizer=tiny_tokenizer, method="smc", draft="auto")
    assert maskwright.generate(model, "x", choices=["a"], tokenizer=tiny_tokenizer, method="asap", draft="auto") == "a"
