"""generate() looks masks up while the model runs: after a forward was launched, and before its logits are looked at."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

import maskwright as mw
from maskwright import decoding
from maskwright.step_masks import BitMasks


def test_masks_are_looked_up_between_a_forward_and_its_logits(
    tiny_model: Any, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def recorded(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def record(*arguments: Any, **options: Any) -> Any:
            events.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, record)

    recorded(decoding.CachedModel, "forward")
    recorded(BitMasks, "of")
    recorded(decoding.Sampler, "draw")
    found = mw.generate(tiny_model, ["a", "b"], regex="[ab]{6}", tokenizer=tiny_tokenizer, jump_forward=False)
    assert all(len(text) == 6 for text in found)
    assert events[:6] == ["forward", "of", "draw"] * 2
