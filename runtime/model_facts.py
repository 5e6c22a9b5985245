"""What a model of transformers tells about itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection
from typing import Any

from maskwright.grammars.errors import ModelError

__all__ = ["check_keeps_cache", "forward_parameters", "text_config"]


def forward_parameters(model: Any) -> Collection[str]:
    """The names that the model's forward takes, seen through torch.compile and the adapters of peft."""
    inner = getattr(model, "_orig_mod", model)
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    own = "forward" in getattr(inner, "__dict__", ()) or not hasattr(type(inner), "forward")  # hooked, or a stand-in
    kind: Any = type(inner)
    return inspect.signature(inner.forward).parameters if own else _parameters_of(kind)


@functools.lru_cache(maxsize=64)
def _parameters_of(kind: Any) -> Collection[str]:
    return frozenset(inspect.signature(kind.forward).parameters)


def check_keeps_cache(model: Any) -> None:
    """Decoding token by token takes a model that remembers what it has seen.

    Raises:
        ModelError: it does not.
    """
    if "past_key_values" not in forward_parameters(model):
        raise ModelError(f"{type(model).__name__} keeps no key-value cache: use a model whose forward takes one")


def text_config(model: Any) -> Any:
    """Models of several modalities keep what is about text in a part of their configuration."""
    config = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config
