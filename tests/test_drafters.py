"""Drafters one by one: what they propose, what they learn, and how budgets cut them short."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

import maskwright as mw
from maskwright.runtime.corrections import Corrections
from maskwright.runtime.draft_budgets import FixedBudget, GoodputBudget, ThresholdBudget
from maskwright.runtime.draft_growth import Grades, Prediction
from maskwright.runtime.draft_tree import DraftTree
from maskwright.runtime.drafter import Drafter, Text, Verified
from maskwright.runtime.forced_drafter import ForcedDrafter
from maskwright.runtime.lookup_drafter import LookupDrafter
from maskwright.runtime.merged_drafter import MergedDrafter
from maskwright.runtime.recycling_drafter import RecyclingDrafter, _best_on_device, best_candidates
from maskwright.runtime.state_drafter import StateDrafter
from maskwright.runtime.suffix_automaton import SuffixAutomaton
from maskwright.runtime.suffix_drafter import SuffixDrafter
from maskwright.runtime.trigram_drafter import TrigramDrafter

LETTERS = "root ::= [a-z, ]*"
FORCED = 'root ::= "{\\"name\\": \\"" [a-z]+ "\\"}"'


@pytest.fixture(scope="module")
def compiler(byte_info: mw.TokenizerInfo) -> mw.GrammarCompiler:
    return mw.GrammarCompiler(byte_info)


def text_of(compiler: mw.GrammarCompiler, grammar: str, prompt: bytes, written: bytes = b"", **more: Any) -> Text:
    matcher = mw.GrammarMatcher(compiler.compile_grammar(grammar))
    for byte in written:
        assert matcher.accept_token(byte)
    return Text(
        ids=[*prompt, *written], prompt=len(prompt), matcher=matcher, spell=lambda text: list(text.encode()), **more
    )


def strings(tree: DraftTree) -> set[str]:
    """The paths to the leaves."""
    return {
        bytes(tree.token[tree.path(node)].tolist()).decode()
        for node in range(1, len(tree))
        if tree.first_child[node] < 0
    }


def grow(text: Text, session: Any, written: bytes, tree: DraftTree) -> None:
    """The target emits `written`, whatever was drafted."""
    node, taken = 0, []
    for byte in written:
        node = tree.child(node, byte) if node >= 0 else -1
        if node >= 0:
            taken.append(node)
        assert text.matcher.accept_token(byte)
    text.ids += written
    session.observe(Verified(tree, taken, list(written)))


def test_of_forced_text_all_but_the_last_token_is_certain(compiler: mw.GrammarCompiler) -> None:
    text = text_of(compiler, FORCED, b"x")
    tree = ForcedDrafter().begin(text).propose(FixedBudget(30))
    assert strings(tree) == {'{"name": '}
    assert text.matcher.step_count == 0
    assert strings(ForcedDrafter().begin(text).propose(FixedBudget(3))) == {'{"n'}


def test_what_a_forced_texts_last_token_becomes_is_learned() -> None:
    """The quotation mark and the colon are forced, and the token is one that goes on behind them."""
    vocabulary = [b'"', b":", b'":', b'":"', b'":[', *(bytes((letter,)) for letter in b"ab[]"), b"</s>"]
    compiler = mw.GrammarCompiler(mw.TokenizerInfo(vocabulary, eos_token_ids=[len(vocabulary) - 1]))
    spelled = {'":"': [3], '":': [2], '":[': [4]}

    def beginning(grammar: str) -> Text:
        matcher = mw.GrammarMatcher(compiler.compile_grammar(grammar))
        return Text(ids=[5], prompt=1, matcher=matcher, spell=lambda text: spelled.get(text, []))

    drafter = ForcedDrafter()
    for _ in range(4):
        text = beginning('root ::= "\\":" ("\\"" | "[") [ab]+')
        session = drafter.begin(text)
        tree = session.propose(FixedBudget(4))
        text.matcher.accept_token(3)
        text.ids.append(3)
        session.observe(Verified(tree, [tree.child(0, 3)] if tree.child(0, 3) > 0 else [], [3]))
    tree = drafter.begin(beginning('root ::= "\\":" ("\\"" | "[") [ab]+')).propose(FixedBudget(4))
    assert tree.token[1] == 3
    other = drafter.begin(beginning('root ::= "\\":" ("[" | "a") [ab]+')).propose(FixedBudget(4))
    assert len(other) == 1, "this grammar does not allow what was learned"


def test_corrections_count_what_comes_in_place_of_a_guess() -> None:
    corrections = Corrections()
    assert corrections.of(3) == []
    for token in (8, 8, 8, 3, 5):
        corrections.count(3, token)
    assert corrections.of(3) == [(8, 0.5), (3, 1 / 6), (5, 1 / 6)]
    for token in range(200):
        corrections.count(4, token % 100)
    assert len(corrections.of(4)) == 4
    assert corrections.of(3)[0] == (8, 0.5), "guesses are apart"


def test_the_end_of_a_copy_is_learned(compiler: mw.GrammarCompiler) -> None:
    """Where the prompt goes on with a full stop, the text has a comma."""
    drafter = SuffixDrafter()
    for _ in range(3):
        text = text_of(compiler, LETTERS, b"zoe. ", b"zo")
        session = drafter.begin(text)
        grow(text, session, b"e,", session.propose(FixedBudget(4)))
        session.finish()
    text = text_of(compiler, LETTERS, b"kim. ", b"ki")
    assert "m," in strings(drafter.begin(text).propose(FixedBudget(3)))


def test_lookup_copies_behind_the_longest_match(compiler: mw.GrammarCompiler) -> None:
    text = text_of(compiler, LETTERS, b"the cat sat, the dog ran, ", b"the d")
    tree = LookupDrafter().begin(text).propose(FixedBudget(8))
    assert "og ran, " in strings(tree)
    # Only what the grammar allows: behind the digit nothing is copied.
    text = text_of(compiler, LETTERS, b"abc1def ", b"ab")
    assert strings(LookupDrafter().begin(text).propose(FixedBudget(8))) == {"c"}


def test_a_copy_goes_on_after_a_mismatch(compiler: mw.GrammarCompiler) -> None:
    text = text_of(compiler, LETTERS, b"some long sentence to copy", b"some l")
    session = LookupDrafter().begin(text)
    tree = session.propose(FixedBudget(6))
    assert "ong se" in strings(tree)
    grow(text, session, b"ang", tree)  # another word here
    grow(text, session, b" sente", session.propose(FixedBudget(6)))
    assert "nce to" in strings(session.propose(FixedBudget(6)))


@pytest.mark.parametrize("alphabet", ["ab", "abcdef"])
def test_the_suffix_automaton_counts_what_followed(alphabet: str) -> None:
    """Against counting in the text itself, over several texts."""
    rng = random.Random(len(alphabet))
    for _ in range(40):
        texts = ["".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 30))) for _ in range(3)]
        automaton = SuffixAutomaton()
        for text in texts:
            automaton.separate()
            automaton.extend(text.encode())
        for _ in range(20):
            query = "".join(rng.choice(alphabet) for _ in range(12))
            state, length = 0, 0
            for place, byte in enumerate(query.encode()):
                state, length = automaton.step(state, length, byte)
                prefix = query[: place + 1]
                longest = next(
                    n for n in range(place + 1, -1, -1) if any(prefix[len(prefix) - n :] in t for t in texts)
                )
                assert length == longest
                suffix = prefix[len(prefix) - length :]
                if length and automaton.length[state] == length:
                    expected = Counter(
                        text[at + length]
                        for text in texts
                        for at in range(len(text) - length)
                        if text[at : at + length] == suffix
                    )
                    assert automaton.following(state) == {ord(token): n for token, n in expected.items()}
        assert len(automaton) <= 2 * sum(map(len, texts)) + 1


def test_a_text_that_repeats_itself_costs_no_more() -> None:
    automaton = SuffixAutomaton()
    automaton.extend([1] * 20_000)
    assert len(automaton) == 20_001


def test_suffixes_of_the_prompt_of_earlier_texts_and_of_a_corpus(compiler: mw.GrammarCompiler) -> None:
    drafter = SuffixDrafter([b"one two three four"])
    text = text_of(compiler, LETTERS, b"five six seven ", b"ix se")
    assert "ven " in {leaf[:4] for leaf in strings(drafter.begin(text).propose(FixedBudget(6)))}
    text = text_of(compiler, LETTERS, b"-", b"two th")
    session = drafter.begin(text)
    assert "ree fo" in strings(session.propose(FixedBudget(6)))
    grow(text, session, b"anks", session.propose(FixedBudget(6)))
    session.finish()
    text = text_of(compiler, LETTERS, b"-", b"two tha")
    assert "nks" in strings(drafter.begin(text).propose(FixedBudget(6)))


def test_recycled_candidates_are_the_masked_ones() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
    logits = torch.tensor([[5.0, 4.0, 3.0, 2.0], [0.0, 1.0, 2.0, 3.0]])
    found, shares = best_candidates(logits, np.array([[0b1011], [0b0110]], np.int32))
    assert found[:, :4].tolist() == [[0, 1, 3, -1], [2, 1, -1, -1]]
    assert shares[1, :3] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0])
    drafter = RecyclingDrafter()
    info = mw.TokenizerInfo([b"a", b"b", b"c", b"</s>"], eos_token_ids=[3])
    matcher = mw.GrammarMatcher(mw.GrammarCompiler(info).compile_grammar("root ::= [abc]+"))
    text = Text(ids=[0], prompt=1, matcher=matcher, spell=lambda text: ())
    session = drafter.begin(text)
    assert len(session.propose(FixedBudget(4))) == 1
    tree = session.propose(FixedBudget(0))
    matcher.accept_token(1)
    text.ids.append(1)
    masks = np.array([[0b0110]], np.int32)
    session.observe(Verified(tree, [], [1], torch.tensor([[9.0, 1.0, 2.0, 8.0]]), masks))
    assert drafter.candidates(0) == [(2, pytest.approx(np.e / (1 + np.e))), (1, pytest.approx(1 / (1 + np.e)))]
    assert len(session.propose(FixedBudget(4))) == 1, "nothing is known behind b"


def test_the_best_candidates_are_those_of_sorting() -> None:
    """Ties, infinities, columns beyond the mask, and fewer allowed than wanted."""
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
    rng = np.random.default_rng(5)
    for size in (3, 32, 77, 300):
        logits = rng.choice([-np.inf, -1.0, 0.5, 0.5, 2.0, 3.0], (12, size)) + rng.integers(0, 2, (12, 1))
        masks = rng.integers(-(2**31), 2**31, (12, max(size // 32, 1)), np.int32)
        masks[0] = 0
        found, shares = best_candidates(torch.from_numpy(logits.astype(np.float32)), masks)
        for row in range(12):
            allowed = [t for t in range(size) if t // 32 < masks.shape[1] and masks[row, t // 32] >> (t % 32) & 1]
            best = sorted((t for t in allowed if logits[row, t] > -np.inf), key=lambda t: (-logits[row, t], t))[:8]
            assert found[row].tolist() == best + [-1] * (8 - len(best))
            mass = np.exp(logits[row, allowed]).sum()
            assert shares[row, : len(best)] == pytest.approx(np.exp(logits[row, best]) / mass, rel=1e-5)
            assert not shares[row, len(best) :].any()
        elsewhere, same = _best_on_device(torch.from_numpy(logits.astype(np.float32)), masks)
        assert same == pytest.approx(shares, abs=1e-6)
        assert ((elsewhere >= 0) == (found >= 0)).all()


def test_counts_by_state_carry_over_to_the_next_text(compiler: mw.GrammarCompiler) -> None:
    drafter = StateDrafter()
    text = text_of(compiler, FORCED, b"-")
    assert len(drafter.begin(text).propose(FixedBudget(30))) == 1, "nothing is known yet"
    for _ in range(8):
        text = text_of(compiler, FORCED, b"-")
        session = drafter.begin(text)
        for byte in b'{"name": "zoe"}':
            grow(text, session, bytes((byte,)), session.propose(FixedBudget(3)))
    text = text_of(compiler, FORCED, b"-")
    assert '{"name": "zoe"}' in strings(drafter.begin(text).propose(FixedBudget(40)))


def test_trigrams_are_searched(compiler: mw.GrammarCompiler) -> None:
    drafter = TrigramDrafter()
    text = text_of(compiler, LETTERS, b"--", b"")
    session = drafter.begin(text)
    for word in (b"the cat, ", b"the cow, ", b"the cat, ", b"the "):
        grow(text, session, word, session.propose(FixedBudget(0)))
    tree = session.propose(FixedBudget(6))
    assert len(tree) == 7
    leaves = strings(tree)
    assert any(leaf.startswith("cat") for leaf in leaves)
    assert any(leaf.startswith("co") for leaf in leaves)
    text.trees = False
    assert session.propose(FixedBudget(6)).is_chain


def test_predictors_go_on_behind_each_other(compiler: mw.GrammarCompiler) -> None:
    """A copied name, and behind it what the grammar's state makes likely."""
    states = StateDrafter()
    for name in (b"ann", b"joe", b"kim", b"lee"):
        text = text_of(compiler, FORCED, b"-")
        session = states.begin(text)
        for byte in b'{"name": "' + name + b'"}':
            grow(text, session, bytes((byte,)), session.propose(FixedBudget(4)))
    text = text_of(compiler, FORCED, b"hello zoe.", b'{"name": "z')
    tree = MergedDrafter([LookupDrafter(), states]).begin(text).propose(FixedBudget(24))
    assert 'oe"}' in strings(tree)


@pytest.mark.parametrize("kinds", [[LookupDrafter, TrigramDrafter], [TrigramDrafter]])
def test_a_list_makes_one_tree_within_one_budget(compiler: mw.GrammarCompiler, kinds: list[type[Drafter]]) -> None:
    drafter = MergedDrafter([kind() for kind in kinds])
    text = text_of(compiler, LETTERS, b"--", b"ab ac ab ad ab ")
    session = drafter.begin(text)
    session.observe(Verified(session.propose(FixedBudget(0)), [], []))
    assert 2 <= len(session.propose(FixedBudget(5))) <= 6
    text.trees = False
    assert session.propose(FixedBudget(5)).is_chain


def test_grades_learn_how_often_predictions_come_true() -> None:
    grades, prediction = Grades(), Prediction(7, 3, 0.9)
    assert grades.probability(prediction) == pytest.approx(0.9)
    for came_true in [True, False, False, False] * 100:
        grades.count(3, came_true)
    assert grades.probability(prediction) == pytest.approx(0.25, abs=0.03)
    for _ in range(2000):
        grades.count(3, True)
    assert grades.probability(prediction) > 0.9, "old outcomes fade"


# ---------------------------------------------------------------------------------------------------------------- budgets


def test_fixed_and_threshold() -> None:
    assert [FixedBudget(3).admits(nodes, 0.0, 0.01) for nodes in (0, 2, 3)] == [True, True, False]
    budget = ThresholdBudget(8, rejection=0.6)
    assert [budget.admits(2, 1.0, value) for value in (0.9, 0.41, 0.39)] == [True, True, False]
    assert not budget.admits(8, 1.0, 0.9)


def simulated(per_node: float, taken_share: float, steps: int = 300) -> tuple[list[int], GoodputBudget]:
    """Sizes of the trees where a step takes 1 s and `per_node` s a node, and a chain's nodes are taken with a probability."""
    policy, rng, sizes = GoodputBudget(nodes=32), random.Random(1), list[int]()
    for _ in range(steps):
        budget, nodes, expected, value = policy.budget("state"), 0, 0.0, 1.0
        while True:
            value *= 0.8  # what the drafter believes
            if not budget.admits(nodes, expected, value):
                break
            nodes, expected = nodes + 1, expected + value
        taken = 0
        while taken < nodes and rng.random() < taken_share:
            taken += 1
        policy.observe("state", expected, taken, nodes, 1.0 + per_node * nodes + rng.random() * 0.02)
        sizes.append(nodes)
    return sizes, policy


def test_goodput_drafts_more_where_nodes_are_cheap_and_right() -> None:
    cheap, dear = simulated(0.01, 0.8)[0], simulated(0.2, 0.8)[0]
    assert np.mean(cheap[50:]) > np.mean(dear[50:]) + 2
    assert np.mean(dear[50:]) >= 1


def test_goodput_turns_drafting_off_where_it_does_not_pay_and_tries_again() -> None:
    sizes, _ = simulated(0.3, 0.02)
    assert np.mean([size == 0 for size in sizes[60:]]) > 0.85
    assert any(sizes[60:]), "it tries again now and then"


@pytest.mark.parametrize(("taken", "looking", "drafts"), [(0.05, 0.2, False), (0.6, 0.2, True), (0.05, 0.0, True)])
def test_goodput_rests_where_looking_for_drafts_takes_longer_than_they_save(
    taken: float, looking: float, drafts: bool
) -> None:
    """Nodes are nearly free here, but each step in which drafts are looked for takes longer."""
    policy, rng, looked = GoodputBudget(), random.Random(2), list[bool]()
    for _ in range(600):
        looks = policy.budget("state").admits(0, 0.0, 1.0)
        looked.append(looks)
        found = int(looks and rng.random() < taken)
        policy.observe("state", taken * looks, found, int(looks), 1.0 + looking * looks + rng.random() * 0.02)
    assert (np.mean(looked[300:]) > 0.9) == drafts
    assert any(looked[300:]), "it looks again now and then"
    assert not all(looked), "and rests now and then"


@pytest.mark.parametrize("per_node", [0.01, 0.3])
def test_the_time_of_a_node_is_fitted_where_sizes_differ(per_node: float) -> None:
    policy, rng = GoodputBudget(), random.Random(4)
    for step in range(200):
        nodes = rng.randrange(16)
        seconds = 1.0 + per_node * nodes + rng.random() * 0.02
        policy.observe("state", 1.0, 1, nodes, 5 * seconds if step > 40 and step % 9 == 8 else seconds)  # interrupted
    fixed, slope = policy.time.line()
    assert fixed == pytest.approx(1.0, abs=0.1)
    assert slope == pytest.approx(per_node, rel=0.3)


def test_classes_of_states_are_judged_apart() -> None:
    policy = GoodputBudget()
    for _ in range(60):
        policy.observe("good", 3.0, 3, 4, 1.1)
        policy.observe("bad", 3.0, 0, 4, 1.1)
    assert policy.trust("good") > 0.8
    assert policy.trust("bad") < 0.3
    assert policy.trust("bad") < policy.trust("unknown") < policy.trust("good")
