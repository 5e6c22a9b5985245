"""llama-cpp-python and MLX-LM by stand-ins of their calls; themselves in test_llama_cpp.py and test_mlx_lm.py."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.constraint import Reasoning
from maskwright.forms import Form
from maskwright.grammars.errors import InvalidError, MatcherError, ModelError
from maskwright.llama_cpp import LlamaCppProcessor, constrain, tokenizer_info


class FakeLlama:
    """What the adapter uses of llama_cpp.Llama 0.3.36: random logits, greedy, a stop at the end token, and errors of
    processors swallowed as there. Tokens are bytes; 256 begins and 257 ends a text, 258 names a role."""

    draft_model: Any = None
    _model = SimpleNamespace(vocab=None)
    _NAMES = (b"<s>", b"</s>", b"<|user|>")

    def n_vocab(self) -> int:
        return 259

    def token_bos(self) -> int:
        return 256

    def detokenize(self, tokens: list[int], special: bool = False) -> bytes:
        return b"".join(
            bytes([token]) if token < 256 else self._NAMES[token - 256] if special else b"" for token in tokens
        )

    def create_completion(
        self, prompt: str, max_tokens: int = 60, stream: bool = False, logits_processor: Any = None,
        grammar: Any = None, stop: Any = None,
    ) -> Any:  # fmt: skip
        assert grammar is None
        tokens, random = [256, *prompt.encode()], np.random.default_rng(0)
        buffer, begin = np.zeros(4096, np.intc), len(tokens)
        while len(tokens) < begin + max_tokens:
            buffer[: len(tokens)] = tokens  # a live buffer, as there
            scores = random.standard_normal((259, 2)).astype(np.single)[:, 0]  # a strided view
            for processor in logits_processor or ():
                with suppress(Exception):
                    scores = processor(buffer[: len(tokens)], scores)
            token = int(np.argmax(scores))
            if token == 257:
                break
            tokens.append(token)
        text = self.detokenize(tokens[begin:]).decode("utf-8", "replace")
        return iter([{"choices": [{"text": text}]}]) if stream else {"choices": [{"text": text}]}

    def create_chat_completion(self, messages: Any, response_format: Any = None, **options: Any) -> Any:
        return self.create_completion(messages[-1]["content"], **options)


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> FakeLlama:
    module = ModuleType("llama_cpp")
    module.LogitsProcessorList = list  # type: ignore[attr-defined]
    module.llama_vocab_is_eog = lambda vocab, token: token == 257  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "llama_cpp", module)
    return FakeLlama()


def text_of(result: Any) -> str:
    found: str = result["choices"][0]["text"]
    return found


def test_the_vocabulary_of_a_gguf(llama: FakeLlama) -> None:
    info = tokenizer_info(llama)
    assert (info.vocab_size, [*info.eos_token_ids], sorted(info.special_token_ids)) == (259, [257], [256, 257, 258])
    assert info.special_names["<|user|>"] == 258
    assert info.tokens[65] == b"A"


def test_a_completion_of_llama_cpp_keeps_its_form(llama: FakeLlama) -> None:
    compiled = GrammarCompiler(tokenizer_info(llama)).compile_regex("[a-c]{7}-[0-9]")
    processor = LlamaCppProcessor(compiled)
    for prompt in ("Tell me: ", "And now: "):
        result = llama.create_completion(prompt, logits_processor=[processor])
        processor.check()
        assert re.fullmatch("[a-c]{7}-[0-9]", text_of(result))
        processor.reset()


def test_an_error_ends_the_answer_and_is_raised_afterwards(llama: FakeLlama) -> None:
    def wrong(ids: Any, scores: Any) -> Any:
        forced = np.full_like(scores, -np.inf)
        forced[ord("Z")] = 0
        return forced if len(ids) == 8 else scores

    compiled = GrammarCompiler(tokenizer_info(llama)).compile_regex("[a-c]{7}-[0-9]")
    processor = LlamaCppProcessor(compiled)
    result = llama.create_completion("Say: ", logits_processor=[processor, wrong])
    assert re.fullmatch("[a-c]{2}Z", text_of(result))  # nothing behind what the other processor forced
    with pytest.raises(MatcherError, match="does not allow token 90 at position 2"):
        processor.check()
    with pytest.raises(MatcherError, match="reset"):
        processor.reset()
        processor(np.arange(9, dtype=np.intc), np.zeros(259, np.single))
        processor(np.arange(3, dtype=np.intc), np.zeros(259, np.single))
        processor.check()


def test_reasoning_in_llama_cpp(llama: FakeLlama) -> None:
    info = tokenizer_info(llama)
    compiled = GrammarCompiler(info).compile_choices(["yes", "no"])
    processor = LlamaCppProcessor(compiled, reasoning=Reasoning(info, "<|user|>"))
    scores = np.zeros(259, np.single)
    assert np.isfinite(processor(np.arange(5, dtype=np.intc), scores)).sum() == 258
    after = processor(np.array([0, 1, 2, 3, 4, 70, 258], np.intc), scores)
    assert np.flatnonzero(np.isfinite(after)).tolist() == sorted(b"yn")
    assert np.isfinite(scores).all()  # what was given is left alone


@pytest.mark.parametrize("stream", [False, True])
def test_constrain_gives_completions_their_forms(llama: FakeLlama, stream: bool) -> None:
    schema = {"enum": ["red", "green"]}
    constrained = constrain(llama)
    messages = [{"role": "user", "content": "Which?"}]
    for options in (
        {"response_format": {"type": "json_object", "schema": schema}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "colour", "schema": schema}}},
        {"maskwright": Form("choices", ('"red"', '"green"'))},
    ):
        result = constrained.create_chat_completion(messages, stream=stream, **options)
        assert text_of(next(result) if stream else result) in ('"red"', '"green"')
    free = constrained.create_completion("x", max_tokens=5)
    assert len(text_of(free)) > 1
    with pytest.raises(InvalidError, match="there is no response format 'yaml'"):
        constrained.create_chat_completion(messages, response_format={"type": "yaml"})
    with pytest.raises(InvalidError, match="one form"):
        constrained.create_completion("x", grammar=object(), maskwright=Form("regex", "a"))


def test_drafts_are_refused(llama: FakeLlama) -> None:
    llama.draft_model = object()
    with pytest.raises(ModelError, match="without draft_model"):
        constrain(llama)


# MLX-LM: `mx.where` and arrays are all that the processor needs, and both are what numpy has.


@pytest.fixture
def mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    core = ModuleType("mlx.core")
    core.where, core.array = np.where, lambda value, dtype=None: np.asarray(value, dtype)  # type: ignore[attr-defined]
    package = ModuleType("mlx")
    package.core = core  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlx", package)
    monkeypatch.setitem(sys.modules, "mlx.core", core)


def test_mlx_lengths_go_back_and_forth(mlx: None, byte_info: TokenizerInfo) -> None:
    from maskwright.mlx_lm import MlxProcessor

    processor = MlxProcessor(GrammarCompiler(byte_info).compile_regex("ab*c"))
    logits = np.zeros((1, 300), np.float32)

    def allowed(text: bytes) -> list[int]:
        masked = processor(np.array([7, *text]), logits)
        assert masked.shape == logits.shape
        return np.flatnonzero(np.isfinite(masked[0])).tolist()

    assert allowed(b"") == [*b"a"]
    assert allowed(b"a") == [*b"bc"]
    assert allowed(b"abb") == [*b"bc"]
    assert allowed(b"ab") == [*b"bc"]  # a draft was rejected
    assert allowed(b"abc") == [*byte_info.eos_token_ids]
    processor.check()
    assert allowed(b"abx") == [*byte_info.eos_token_ids]
    with pytest.raises(MatcherError):
        processor.check()
