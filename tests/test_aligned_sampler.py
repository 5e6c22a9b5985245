"""AlignedSampler over models of transformers and over objects; the model that reads every prefix once."""

from __future__ import annotations

import math
import re
from typing import Any

import naive_aligned as naive
import numpy as np
import pytest
from aligned_cases import AMBIGUOUS, case, chi_square

import maskwright
from maskwright import AlignedSampler, Budget
from maskwright.aligned_progress import spelled_bounds
from maskwright.canonical import Canonical
from maskwright.grammars.errors import (
    InvalidError,
    LimitExceeded,
    MatcherError,
    ModelError,
    SavedTrieError,
    TokenizerError,
)
from maskwright.prefix_model import PrefixModel
from maskwright.runtime.aligned_trie import AlignedTrie
from maskwright.runtime.warping import TokenClasses

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")

ANSWERS = 'root ::= "yes" | "no" | "maybe"'


def whole(model: Any, prefix: list[int]) -> Any:
    """The logits behind a prefix, read by itself."""
    with torch.inference_mode():
        return model(torch.tensor([prefix])).logits[0, -1]


# ------------------------------------------------------------------------------------------------------- PrefixModel


def test_logits_are_those_of_each_prefix_by_itself(tiny_model: Any) -> None:
    random, shared = np.random.default_rng(0), PrefixModel(tiny_model, max_rows=5)
    prompt = random.integers(5, 300, 9).tolist()
    prefixes = [prompt]
    for _ in range(5):
        longer = [[*prefixes[random.integers(len(prefixes))], *random.integers(5, 300, k).tolist()] for k in (1, 1, 3)]
        prefixes += longer
        asked = [prefixes[place] for place in random.permutation(len(prefixes))[:7]] + longer
        found = shared.logits(asked)
        expected = torch.stack([whole(tiny_model, prefix) for prefix in asked])
        assert torch.allclose(found, expected, atol=2e-4)


def test_a_token_is_processed_once(tiny_model: Any) -> None:
    shared, prompt = PrefixModel(tiny_model), list(range(10, 30))
    shared.logits([prompt])
    assert (shared.forwards, shared.forward_tokens) == (1, 20)
    shared.logits([[*prompt, 40], [*prompt, 41], [*prompt, 42]])
    assert (shared.forwards, shared.forward_tokens) == (2, 23)
    # Prefixes of one another are positions of one row.
    shared.logits([[*prompt, 40, 50], [*prompt, 40, 50, 51, 52], [*prompt, 40, 50, 51], [*prompt, 41, 50]])
    assert (shared.forwards, shared.forward_tokens) == (3, 27)
    # What is known of a prefix is its keys and values; its last token is read again for its logits.
    shared.logits([[*prompt, 41, 50]])
    assert shared.forward_tokens == 28
    # Without a shared beginning that is known, that is read first, and once.
    fresh = PrefixModel(tiny_model)
    fresh.logits([[*prompt, 40], [*prompt, 41]])
    assert fresh.forward_tokens == len(prompt) + 2


def test_keys_and_values_are_bounded(tiny_model: Any) -> None:
    free = PrefixModel(tiny_model)
    free.logits([[1, 2, 3]])
    a_token = sum(t[0].numel() * t.element_size() for t in (*free._keys, *free._values))
    tight, random = PrefixModel(tiny_model, max_bytes=40 * a_token), np.random.default_rng(1)
    for _ in range(12):
        prefixes = [[7, 8, 9, *random.integers(5, 100, 12).tolist()] for _ in range(4)]
        assert torch.allclose(
            tight.logits(prefixes), torch.stack([whole(tiny_model, prefix) for prefix in prefixes]), atol=2e-4
        )
        assert len(tight._keys[0]) <= 40


def test_a_model_whose_cache_cannot_be_taken_apart_is_read_whole() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = MistralConfig(vocab_size=50, sliding_window=4, num_key_value_heads=2, **sizes)
    model = MistralForCausalLM(config).eval()
    shared = PrefixModel(model)
    prefixes = [[1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 9], [1, 2, 3, 4, 5, 9, 8, 8]]
    for _ in range(2):
        expected = torch.stack([whole(model, prefix) for prefix in prefixes])
        assert torch.allclose(shared.logits(prefixes), expected, atol=1e-5)
    assert not shared.reuses
    assert shared.forward_tokens >= 2 * (7 + 8)


# ------------------------------------------------------------------------------------------------------- the sampler


def test_a_neural_model_is_sampled_exactly(tiny_model: Any, tiny_tokenizer: Any) -> None:
    prompt = "Is it?"
    ids = tiny_tokenizer(prompt)["input_ids"]
    sampler = AlignedSampler(tiny_model, ANSWERS, "cars", tokenizer=tiny_tokenizer, max_tokens=6)
    info = sampler.compiled.tokenizer_info
    language = naive.Language(
        lambda prefix: whole(tiny_model, [*ids, *prefix]).double().tolist(),
        [None if token is None else b"" if number in info.special_token_ids else token
         for number, token in enumerate(info.tokens)],
        info.eos_token_ids,
        [b"yes", b"no", b"maybe"],
        max_tokens=6,
    )  # fmt: skip
    truth = sampler.enumerate(prompt)
    assert dict(zip(truth.token_ids, truth.logprob, strict=True)) == pytest.approx(language.log_p, abs=1e-4)
    assert truth.log_z == pytest.approx(language.log_z, abs=1e-4)
    assert math.fsum(truth.posterior().values()) == pytest.approx(1)
    result = AlignedSampler(tiny_model, ANSWERS, "cars", tokenizer=tiny_tokenizer, max_tokens=6).sample(
        prompt, 1200, seed=1
    )
    statistic, quantile = chi_square(result.token_ids, language.conditional)
    assert statistic < quantile
    assert result.exact
    low, high = result.log_z_bounds
    assert low <= language.log_z + 1e-4
    assert language.log_z <= high + 1e-4
    # A trie of some dozen prefixes has each token processed once, or nearly.
    assert result.stats.forward_tokens < len(ids) + 3 * len(language.mass)


def test_results_say_how_far_to_trust_them() -> None:
    given = case(5, AMBIGUOUS, ["aaaa", "b", "bab", "ba"])
    sampler = AlignedSampler(given.model, given.compiled, "gcd")
    assert sampler.method == "masked"
    result = sampler.sample(n=400, seed=3)
    assert result.method == "masked"
    assert not result.exact
    assert len(result) == len(result.texts) == 400
    assert result.log_weight == pytest.approx(result.logprob - result.proposal_logprob, abs=1e-9)
    assert result.ess == pytest.approx(result.weights.sum() ** 2 / (result.weights**2).sum())
    assert abs(result.log_z - given.language.log_z) < 4 * result.log_z_se
    truth = sampler.enumerate().posterior("tokens")
    assert truth == pytest.approx(given.language.conditional)
    weighted, drawn = result.posterior("tokens"), result.posterior("tokens", weighted=False)

    def distance(shares: dict[Any, float]) -> float:
        return 0.5 * sum(abs(shares.get(key, 0.0) - share) for key, share in truth.items())

    assert distance(weighted) < 0.5 * distance(drawn)
    again = result.resample(4000, seed=1)
    for text, share in result.posterior().items():
        assert abs(again.count(text) / 4000 - share) < 0.01
    with pytest.raises(ValueError, match="by="):
        result.posterior("words")  # type: ignore[arg-type]
    assert [tokens for tokens, *_ in result.history] == sorted(tokens for tokens, *_ in result.history)


def test_prompts_do_not_share_what_is_learnt() -> None:
    given = case(5, AMBIGUOUS, ["aaaa", "b", "bab", "ba"])
    sampler = AlignedSampler(given.model, given.compiled, "asap", max_prompts=2)
    sampler.sample([0], 30, seed=1)
    assert sampler.trie([0]).size > 1 == sampler.trie([1]).size
    sampler.sample([1], 30, seed=1)
    assert sampler.trie([2]).size == 1  # the third prompt: the first is let go
    assert sampler.trie([0]).size == 1


def test_a_seed_repeats_a_sample() -> None:
    given = case(5)
    first, second, other = (
        AlignedSampler(given.model, given.compiled, "asap").sample(n=20, seed=seed).token_ids for seed in (1, 1, 2)
    )
    assert first == second != other


def test_wrong_arguments_are_refused(tiny_model: Any, tiny_tokenizer: Any) -> None:
    given = case(5)
    with pytest.raises(ValueError, match="method='best'"):
        AlignedSampler(given.model, given.compiled, "best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threshold"):
        AlignedSampler(given.model, given.compiled, threshold=0)
    with pytest.raises(ModelError, match="CompiledGrammar"):
        AlignedSampler(given.model, ANSWERS)
    with pytest.raises(InvalidError, match="grammar="):
        AlignedSampler(tiny_model, 3, tokenizer=tiny_tokenizer)
    sampler = AlignedSampler(given.model, given.compiled)
    with pytest.raises(ValueError, match="n=0"):
        sampler.sample(n=0)
    with pytest.raises(ModelError, match="token ids"):
        sampler.sample("text")
    with pytest.raises(LimitExceeded, match="max_strings"):
        sampler.enumerate(max_strings=2)
    with pytest.raises(ValueError, match="this model sees"):
        AlignedSampler(tiny_model, ANSWERS, tokenizer=tiny_tokenizer).sample([5] * 100_000)
    assert maskwright.Budget is Budget


def test_the_fused_kernel_finds_the_same_mass(tiny_model: Any, tiny_tokenizer: Any) -> None:
    """kernels/sampling.py draws on a device in float32; its valid mass is the mass of a row here."""
    from maskwright.kernels.sampling import sample_tokens

    sampler = AlignedSampler(tiny_model, ANSWERS, tokenizer=tiny_tokenizer, temperature=0.7)
    ids = tiny_tokenizer("Well?")["input_ids"]
    sampler.sample(ids, 20, method="asap", seed=0)
    space, trie = sampler._space(ids), sampler.trie(ids)
    matcher = maskwright.GrammarMatcher(sampler.compiled)
    compared = 0
    for node in range(trie.size):
        if trie.ended[node] or not trie.is_expanded(node) or trie.log_mass[node] == -np.inf:
            continue
        tokens = space.tokens_of(node)
        matcher.reset()
        assert all(matcher.accept_token(token) for token in tokens)
        mask = torch.zeros((1, sampler.compiled.tokens.words), dtype=torch.int32)
        matcher.fill_next_token_bitmask(mask)
        logits = whole(tiny_model, [*ids, *tokens])[None]
        draws = sample_tokens(logits, mask, temperature=0.7, seed=1, position=len(tokens))
        assert float(draws.log_valid_mass[0]) == pytest.approx(trie.log_mass[node], abs=1e-3)
        compared += 1
    assert compared > 5


# ------------------------------------------------------------------------------------------------------- populations


@pytest.mark.parametrize(("method", "options"), [("smc", {}), ("mcmc", {"steps": 25, "cut": "entropy"}),
                                                 ("mcmc", {"proposal": "asap", "cut": "restart"})])  # fmt: skip
def test_populations_come_near_the_truth(method: Any, options: dict[str, Any]) -> None:
    given = case(5, AMBIGUOUS, ["aaaa", "b", "bab", "ba"])
    sampler = AlignedSampler(given.model, given.compiled, method)
    result = sampler.sample(n=1500, seed=2, batch_size=64, **options)
    truth = given.language.conditional
    shares = result.posterior("tokens")
    assert 0.5 * sum(abs(shares.get(key, 0.0) - share) for key, share in truth.items()) < 0.06
    assert not result.exact
    assert [sum(logs) < 0 for logs in result.token_logprobs] == [True] * len(result)


def test_a_potential_makes_particles_of_it() -> None:
    given = case(5, AMBIGUOUS, ["aaaa", "b", "bab", "ba"])
    sampler = AlignedSampler(given.model, given.compiled)
    result = sampler.sample(n=300, seed=2, potential=lambda text, _: -math.inf if text.startswith("b") else 0.0)
    assert result.method == "smc"
    assert "potential" in result.reason
    assert set(result.texts) == {"aaaa"}
    with pytest.raises(ValueError, match="potential"):
        sampler.sample(n=3, method="cars", potential=lambda *_: 0.0)
    with pytest.raises(ValueError, match="cut="):
        sampler.sample(n=3, method="mcmc", cut="middle")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- in files


def test_what_was_learnt_goes_into_a_file_and_back(tmp_path: Any, tiny_model: Any, tiny_tokenizer: Any) -> None:
    def sampler(**options: Any) -> AlignedSampler:
        return AlignedSampler(tiny_model, ANSWERS, "asap", tokenizer=tiny_tokenizer, max_tokens=8, **options)

    first, path = sampler(), tmp_path / "answers.safetensors"
    first.sample("Is it?", 60, seed=1)
    first.save_trie(path, "Is it?")
    second = sampler()
    second.load_trie(path, "Is it?")
    ours, theirs = first.trie("Is it?"), second.trie("Is it?")
    for name, array in ours.arrays().items():
        assert np.array_equal(array, theirs.arrays()[name], equal_nan=array.dtype == np.float64)
    assert (
        first.sample("Is it?", 40, seed=2).proposal_logprob.tolist()
        == pytest.approx(second.sample("Is it?", 40, seed=2).proposal_logprob.tolist(), abs=1e-6)
    )  # fmt: skip
    with pytest.raises(SavedTrieError, match="prompt"):
        sampler().load_trie(path, "Is it not?")
    with pytest.raises(SavedTrieError, match="target"):
        sampler(temperature=0.5).load_trie(path, "Is it?")
    with pytest.raises(SavedTrieError, match="grammar"):
        AlignedSampler(tiny_model, 'root ::= "yes"', tokenizer=tiny_tokenizer, max_tokens=8).load_trie(path, "Is it?")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SavedTrieError, match="damaged"):
        sampler().load_trie(path, "Is it?")
    given = case(5)
    with pytest.raises(SavedTrieError, match="fingerprint"):
        AlignedSampler(given.model, given.compiled).save_trie(path)


def test_a_trie_of_links_that_lead_nowhere_is_refused(tiny_model: Any, tiny_tokenizer: Any) -> None:
    given = case(5)
    sampler = AlignedSampler(given.model, given.compiled, "asap")
    sampler.sample(n=20, seed=1)
    good = sampler.trie().arrays()
    assert AlignedTrie.of_arrays(good).size == sampler.trie().size
    for name, place, value in (("first", 0, 10_000), ("parent", 1, 5), ("log_theta", 1, 3.0), ("log_rest", 0, -0.01)):
        wrong = {key: array.copy() for key, array in good.items()}
        wrong[name][place] = value
        with pytest.raises(MatcherError):
            AlignedTrie.of_arrays(wrong)
    with pytest.raises(MatcherError):
        AlignedTrie.of_arrays({"first": good["first"]})


# ------------------------------------------------------------------------------------------------------- canonical


def test_canonical_texts_are_those_of_the_tokenizer(tiny_model: Any, tiny_tokenizer: Any) -> None:
    grammar = 'root ::= "yes" | "no" | "maybe" | "the name is Ada" | "1234"'
    options: dict[str, Any] = {"tokenizer": tiny_tokenizer, "max_tokens": 20}
    truth = AlignedSampler(tiny_model, grammar, canonical=True, **options).enumerate("Is it?")
    own = {text: tuple(tiny_tokenizer(text, add_special_tokens=False)["input_ids"]) for text in truth.texts}
    assert len(own) == len(truth) == 5
    assert dict(zip(truth.texts, truth.token_ids, strict=True)) == own
    everything = AlignedSampler(tiny_model, 'root ::= "yes" | "no" | "1234"', **options).enumerate("Is it?")
    logs = dict(zip(everything.token_ids, everything.logprob, strict=True))
    assert len(everything) > 3
    for text, log_p in zip(truth.texts, truth.logprob, strict=True):
        if own[text] in logs:
            assert log_p == pytest.approx(logs[own[text]], abs=1e-4)
    sampled = AlignedSampler(tiny_model, grammar, "cars", canonical=True, **options).sample("Is it?", 200, seed=1)
    assert all(own[text] == tokens for text, tokens in zip(sampled.texts, sampled.token_ids, strict=True))
    statistic, quantile = chi_square(sampled.texts, truth.posterior())
    assert statistic < quantile
    given = case(5)
    with pytest.raises(TokenizerError, match="canonical"):
        AlignedSampler(given.model, given.compiled, canonical=True)


def test_beginnings_of_canonical_texts_are_canonical(tiny_tokenizer: Any) -> None:
    """What Canonical relies on, over texts that tokenizers cut in many ways."""
    from transformers import PreTrainedTokenizerFast

    from maskwright.embedded import MODELS

    embedded = PreTrainedTokenizerFast.from_pretrained(MODELS / "reader", local_files_only=True)
    random = np.random.default_rng(0)
    pieces = [
        " ",
        "  ",
        "\n",
        "\t",
        "a",
        "the",
        "I'll",
        "don't",
        "12",
        "345",
        "é",
        "_",
        "(",
        '":',
        "Ada",
        "define-fun",
        "+-",
    ]
    for tokenizer in (tiny_tokenizer, embedded):
        info = AlignedSampler(None, ANSWERS).compiled.tokenizer_info if tokenizer is embedded else None
        info = info or maskwright.TokenizerInfo.from_huggingface(tiny_tokenizer)
        own = Canonical(tokenizer, info, TokenClasses(info))
        for _ in range(150):
            text = "".join(random.choice(pieces, size=8).tolist())
            tokens = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
            assert all(own.is_own(tokens[:length]) for length in range(len(tokens) + 1)), text


# ------------------------------------------------------------------------------------------------------- to look at


def test_samples_can_be_drawn(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install maskwright[plot]")
    given = case(5, AMBIGUOUS, ["aaaa", "b", "bab", "ba"])
    sampler = AlignedSampler(given.model, given.compiled)
    for method in ("asap", "smc", "cars"):
        result = sampler.sample(n=40, method=method, seed=1)  # type: ignore[arg-type]
        path = tmp_path / f"{method}.svg"
        figure = result.plot(path)
        assert path.read_text().startswith("<?xml")
        bounds, shares = figure.axes
        assert bounds.get_xlabel() == "forward tokens"
        assert [label.get_text().strip("'") for label in shares.get_yticklabels()][::-1] == list(result.posterior())


def test_the_bar_shows_the_bounds_closing(capsys: Any) -> None:
    given = case(5, AMBIGUOUS, ["aaaa", "b", "bab", "ba"])
    result = AlignedSampler(given.model, given.compiled).sample(n=30, method="asap", seed=1, progress=True)
    shown = capsys.readouterr().err
    assert "Sampling (asap)" in shown
    assert spelled_bounds(result.log_z_bounds) in shown
    assert spelled_bounds((-math.inf, -1.0)) == "log Z <= -1.00"


# ------------------------------------------------------------------------------------------------------- generate()


@pytest.mark.parametrize("method", ["auto", "cars", "asap", "importance", "smc", "mcmc"])
def test_generate_hands_over(method: Any, tiny_model: Any, tiny_tokenizer: Any) -> None:
    given: dict[str, Any] = {"choices": ["yes", "no", "maybe"], "tokenizer": tiny_tokenizer, "max_new_tokens": 8}
    answers = maskwright.generate(tiny_model, ["Is it?", "Was it?"], n=3, method=method, seed=1, **given)
    assert [len(entry) for entry in answers] == [3, 3]
    assert {answer for entry in answers for answer in entry} <= {"yes", "no", "maybe"}
    again = maskwright.generate(tiny_model, ["Is it?", "Was it?"], n=3, method=method, seed=1, **given)
    assert again == answers
    result = maskwright.generate(tiny_model, "Is it?", method=method, seed=1, return_result=True, **given)
    assert result.aligned.method in (method, "cars", "asap")
    assert len(result.tokens) == len(result.logprobs)
    assert tiny_tokenizer.decode(result.tokens) == result.text


def test_generate_draws_objects_exactly(tiny_model: Any, tiny_tokenizer: Any) -> None:
    schema = {"type": "object", "properties": {"up": {"type": "boolean"}}, "required": ["up"]}
    options: dict[str, Any] = {"schema": {**schema, "additionalProperties": False}, "whitespace": "compact"}
    chunks = list(
        maskwright.generate(
            tiny_model,
            "?",
            tokenizer=tiny_tokenizer,
            n=4,
            method="asap",
            seed=1,
            stream=True,
            max_new_tokens=14,
            **options,
        )
    )
    assert [chunk.done for chunk in chunks] == [True] * 4
    assert all(chunk.value in ({"up": True}, {"up": False}) for chunk in chunks)
    with pytest.raises(ValueError, match="temperature"):
        maskwright.generate(tiny_model, "?", tokenizer=tiny_tokenizer, method="cars", temperature=0, **options)
    with pytest.raises(ValueError, match="method="):
        maskwright.generate(tiny_model, "?", tokenizer=tiny_tokenizer, method="magic", **options)
    with pytest.raises(ValueError, match="valid_mass"):
        maskwright.generate(tiny_model, "?", tokenizer=tiny_tokenizer, method="cars", valid_mass=True, **options)


def test_the_snippets_of_the_page_run(root: Any, capsys: Any) -> None:
    page = (root / "docs" / "sampling.md").read_text()
    (snippet,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(compile(snippet, "a snippet of docs/sampling.md", "exec", dont_inherit=True), {})
    assert capsys.readouterr().out.startswith("{")
