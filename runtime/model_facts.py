"""What a model of transformers tells about itself."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

__all__ = ["forward_parameters", "text_config"]


def forward_parameters(model: Any) -> Collection[str]:
    """The names that the model's forward takes, seen through torch.compile and the adapters of peft."""
    inner = getattr(model, "_orig_mod", model)
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    return inspect.signature(inner.forward).parameters


def text_config(model: Any) -> Any:
    """Models of several modalities keep what is about text in a part of their configuration."""
    config = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config
