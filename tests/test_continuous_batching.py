"""transformers' own continuous batching, with a form for each request."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.grammars.errors import InvalidError
from maskwright.processor import MaskLogitsProcessor

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

pytest.importorskip("transformers.generation.continuous_batching", reason="transformers has no continuous batching")


@pytest.mark.parametrize("sampled", [False, True])
def test_each_request_has_its_form(sampled: bool, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """Greedy, each answer is the one that generate() gives with a mask over the request's own grammar."""
    import tiny
    import torch
    from transformers import ContinuousBatchingConfig, GenerationConfig

    from maskwright.continuous_batching import enter_masks

    model: LlamaForCausalLM = tiny.tiny_model(tiny_tokenizer)
    plain: LlamaForCausalLM = tiny.tiny_model(tiny_tokenizer)
    compiler = GrammarCompiler(TokenizerInfo.from_huggingface(tiny_tokenizer, vocab_size=model.config.vocab_size))
    settings = GenerationConfig(
        do_sample=sampled,
        temperature=2.0 if sampled else None,
        max_new_tokens=24,
        eos_token_id=tiny_tokenizer.eos_token_id,
    )
    config = ContinuousBatchingConfig(use_async_batching=False, block_size=32, num_blocks=64, max_batch_tokens=128)
    manager = model.init_continuous_batching(generation_config=settings, continuous_batching_config=config)
    masks = enter_masks(manager, compiler)
    manager.start()
    patterns = {f"r{number}": f"[a-{letter}]{{{number + 2}}}" for number, letter in enumerate("cdefg")}
    try:
        for name, pattern in patterns.items():
            ids = list(tiny_tokenizer(f"The prompt of {name} is")["input_ids"])
            manager.add_request(ids, request_id=name, form=json.dumps({"regex": pattern}))
        manager.add_request([5, 6, 7], request_id="free")
        manager.add_request([5, 6, 7], request_id="wrong", form='{"regex": "(a"}')
        results = {}
        while len(results) < len(patterns) + 2:
            result = manager.get_result(timeout=60)
            assert result is not None, "the manager gives no results"
            if result.is_finished():
                results[result.request_id] = result.generated_tokens
    finally:
        manager.stop(block=True)
    for name, pattern in patterns.items():
        masks.check(name)
        text = tiny_tokenizer.decode(results[name], skip_special_tokens=True)
        assert re.fullmatch(pattern, text), (name, text)
        if not sampled:
            ids = tiny_tokenizer(f"The prompt of {name} is", return_tensors="pt")["input_ids"]
            mask = MaskLogitsProcessor(compiler.compile_regex(pattern))
            with torch.inference_mode():
                alone = plain.generate(ids, generation_config=settings, logits_processor=[mask])
            assert results[name] == alone[0, ids.shape[1] :].tolist()
    assert results["free"]
    assert tiny_tokenizer.decode(results["wrong"], skip_special_tokens=True) == ""
    with pytest.raises(InvalidError, match="no end"):
        masks.check("wrong")


def test_asynchronous_batches_are_refused() -> None:
    from maskwright.continuous_batching import enter_masks

    manager = SimpleNamespace(continuous_batching_config=SimpleNamespace(use_async_batching=True))
    with pytest.raises(ValueError, match="use_async_batching=False"):
        enter_masks(manager, None)  # type: ignore[arg-type]
