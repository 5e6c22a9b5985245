"""The byte level against brute force: next bytes by the sum over covers, and prompts that end inside a token."""

from __future__ import annotations

import math
from typing import Any

import naive_aligned as naive
import numpy as np
import pytest
from aligned_cases import AMBIGUOUS, ENDS, PLAIN, TWICE, chi_square

from maskwright import AlignedSampler, byte_distribution
from maskwright.byte_level import without_last_word
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.grammars.errors import LimitExceeded, UnsatisfiableError
from maskwright.runtime.conditional import Conditional
from maskwright.runtime.descent_methods import draw_by_descents
from maskwright.runtime.enumeration import enumerate_texts
from maskwright.runtime.samples import Budget
from maskwright.runtime.slots import SortedTokens
from maskwright.runtime.warping import Target


def covered(model: naive.TableModel, tokens: Any, ends: Any, text: bytes, before: tuple[int, ...] = ()) -> float:
    """The probability that the model's text begins with `text`: brute force over covers."""
    if not text:
        return 1.0
    logits = model.row(before).copy()
    logits[[token for token, written in enumerate(tokens) if written is None]] = -np.inf
    total = 0.0
    for token, share in enumerate(naive.softmax(logits.tolist())):
        written = tokens[token]
        if token in ends or not written:
            continue
        if written.startswith(text):
            total += share
        elif text.startswith(written):
            # A token of equal bytes goes on as the first of them does.
            total += share * covered(model, tokens, ends, text[len(written) :], (*before, tokens.index(written)))
    return total


@pytest.mark.parametrize("tokens", [PLAIN, AMBIGUOUS, TWICE], ids=["plain", "ambiguous", "twice"])
@pytest.mark.parametrize("text", [b"", b"a", b"ab", b"aab", b"abab", b"bbaa"])
def test_next_bytes_are_the_sum_over_covers(tokens: Any, text: bytes) -> None:
    model, info = naive.TableModel(len(tokens), 3), TokenizerInfo(tokens, eos_token_ids=ENDS[tokens])
    found = byte_distribution(model, text, tokenizer=info)
    whole = covered(model, tokens, ENDS[tokens], text)
    assert math.exp(found.log_prefix) == pytest.approx(whole, abs=1e-12)
    for byte in range(256):
        expected = covered(model, tokens, ENDS[tokens], text + bytes((byte,))) / whole if byte in b"abc" else 0.0
        assert found.bytes[byte] == pytest.approx(expected, abs=1e-12)
    assert found.bytes.sum() + found.end + found.other == pytest.approx(1)
    assert found.other == 0


def test_too_many_covers_and_impossible_texts_are_said() -> None:
    model, info = naive.TableModel(len(AMBIGUOUS), 3), TokenizerInfo(AMBIGUOUS, eos_token_ids=ENDS[AMBIGUOUS])
    with pytest.raises(LimitExceeded, match="max_covers"):
        byte_distribution(model, b"ab" * 12, tokenizer=info, max_covers=100)
    with pytest.raises(UnsatisfiableError, match="no probability"):
        byte_distribution(model, b"c", tokenizer=info)


def test_tokens_are_found_by_their_bytes() -> None:
    order = SortedTokens(TokenizerInfo([b"a", b"ab", b"abc", b"b", b"ab", b"", b"</s>"], eos_token_ids=[6]))
    assert sorted(order.beginning(b"ab")) == [(1, b"ab"), (2, b"abc"), (4, b"ab")]
    assert sorted(order.within(b"abc")) == [(0, b"a"), (1, b"ab"), (4, b"ab")]
    assert list(order.beginning(b"c")) == []


def test_the_embedded_model_completes_a_word_that_was_cut() -> None:
    """Behind `{"na` its tokenizer has no token that its training went on from; by bytes the word goes on all the same."""
    pytest.importorskip("torch")
    prompt = "Text: Ada Lovelace is 36.\nFields: name: string, age: integer\nJSON:"
    letters = b""
    for _ in range(2):
        found = byte_distribution(None, b' {"na' + letters, prompt=prompt)
        assert found.bytes.sum() + found.end + found.other == pytest.approx(1)
        letters += bytes((int(found.bytes.argmax()),))
    assert letters == b"me"
    assert found.covers < 200


# ------------------------------------------------------------------------------------------------------- boundaries


@pytest.mark.parametrize("tail", [b"a", b"ab", b"bab", b"aa"])
@pytest.mark.parametrize("tokens", [AMBIGUOUS, TWICE], ids=["ambiguous", "twice"])
def test_a_prompt_that_ends_inside_a_token_biases_nothing(tail: bytes, tokens: Any) -> None:
    texts = ["b", "ab", "aba", "bb"]
    model, info = naive.TableModel(len(tokens), 6, 1.0), TokenizerInfo(tokens, eos_token_ids=ENDS[tokens])
    language = naive.Language(model.row, tokens, ENDS[tokens], [tail + text.encode() for text in texts])
    compiled = GrammarCompiler(info).compile_choices(texts)

    def space() -> Conditional:
        return Conditional(model, compiled, (), Target(), tail=tail)

    found = enumerate_texts(space(), 1000, 8)
    assert dict(zip(found.tokens, found.log_p, strict=True)) == pytest.approx(language.log_p, abs=1e-9)
    assert found.log_z == pytest.approx(language.log_z, abs=1e-9)
    sampled = space()
    assert {sampled.text_of(answer) for answer in found.tokens} == set(texts)
    drawn = draw_by_descents(
        sampled, "cars", 600, batch_size=8, random=np.random.default_rng(1), budget=Budget(attempts=10**6)
    )
    assert drawn is not None
    statistic, quantile = chi_square(drawn.tokens, language.conditional)
    assert statistic < quantile


def test_the_last_word_is_taken_back_as_text(tiny_model: Any, tiny_tokenizer: Any) -> None:
    sampler = AlignedSampler(tiny_model, 'root ::= "me" | "tion" | "p"', tokenizer=tiny_tokenizer, max_tokens=12)
    info = sampler.compiled.tokenizer_info
    prompt = "The first na"
    ids = tiny_tokenizer(prompt)["input_ids"]
    before, tail = without_last_word(ids, info)
    assert tail == b" na"
    assert info.decode(before) == b"The first"
    assert without_last_word([*before, info.eos_token_ids[0]], info)[1] == b""
    result = sampler.sample(prompt, 40, method="asap", boundary="bytes", seed=1)
    assert set(result.texts) <= {"me", "tion", "p"}
    assert all(info.decode(tokens).startswith(tail) for tokens in result.token_ids)
    assert any(
        info.tokens[token] not in (b" na", b" n", b" ", b"a", b"na", b"n") for ids in result.token_ids for token in ids
    )
    with pytest.raises(ValueError, match="boundary"):
        sampler.sample(prompt, boundary="words")  # type: ignore[arg-type]
