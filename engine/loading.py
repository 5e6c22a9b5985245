"""Models and tokenizers: given, named by a folder or hub name, or the embedded one; and the compilers that go with them.

What is loaded by name is kept for the next call, two models at most; `load.cache_clear()` lets them go.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.grammars.errors import ModelError, TokenizerError
from maskwright.runtime.model_facts import text_config

__all__ = ["compiler_of", "context_size", "load", "resolve"]

_LOADING = threading.Lock()


def resolve(model: Any, tokenizer: Any) -> tuple[Any, Any]:
    """The model and tokenizer that generate() was given or was told of.

    Args:
        model: a causal language model of transformers, the folder or hub name of one, or None for the embedded one.
        tokenizer: its tokenizer; None takes the one beside the model.

    Raises:
        ModelError: there is no such model, or it is of another kind.
        TokenizerError: there is no tokenizer, or it is of another kind.
    """
    if model is None:
        model, own = _embedded()
    elif isinstance(model, str | os.PathLike):
        with _LOADING:  # so that two threads do not load one model twice
            model, own = load(os.fspath(model), tokenizer is None)
    else:
        own = getattr(model, "tokenizer", None)
    tokenizer = tokenizer if tokenizer is not None else own
    if tokenizer is None:
        raise TokenizerError("this model carries no tokenizer: pass tokenizer=AutoTokenizer.from_pretrained(...)")
    if not callable(tokenizer) or not hasattr(tokenizer, "eos_token_id"):
        raise TokenizerError(
            f"tokenizer= is {type(tokenizer).__name__}: give one of transformers (AutoTokenizer.from_pretrained)"
        )
    if not hasattr(model, "config") or not callable(getattr(model, "forward", None)):
        raise ModelError(f"model= is {type(model).__name__}: give a causal language model of transformers, or its name")
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelError(f"{type(model).__name__} is an encoder-decoder model; causal language models are supported")
    return model, tokenizer


def _embedded() -> tuple[Any, Any]:
    from maskwright.embedded import load as load_embedded

    try:
        return load_embedded()
    except OSError as error:
        raise ModelError(f"this installation lacks the embedded model's files, so name a model: {error}") from error


@functools.lru_cache(maxsize=2)
def load(name: str, with_tokenizer: bool = True) -> tuple[Any, Any]:
    """The causal language model and the tokenizer in a folder or on the hub, in the data type of its file.

    Raises:
        ModelError: they cannot be loaded.
    """
    if name.startswith((".", "/", "~")) and not os.path.isdir(name):
        raise _no_model(name, "there is no such folder")
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model = AutoModelForCausalLM.from_pretrained(name, dtype="auto")
        return model.eval(), AutoTokenizer.from_pretrained(name) if with_tokenizer else None
    except ImportError as error:
        raise ModelError(f'models need torch and transformers, and {error}: pip install "maskwright[hf]"') from error
    except Exception as error:  # transformers, safetensors and the hub share no class of errors
        raise _no_model(name, str(error).strip().partition("\n")[0].rstrip(".")) from error


def _no_model(name: str, reason: str) -> ModelError:
    return ModelError(
        f"{name!r} is no causal language model that transformers can load: {reason}. "
        "Name a folder as save_pretrained() writes it, or a model on the hub"
    )


def compiler_of(model: Any, tokenizer: Any) -> GrammarCompiler:
    """The compiler for a tokenizer and a model's number of logits, kept for the next call."""
    return _compiler(tokenizer, len(tokenizer), int(text_config(model).vocab_size))


@functools.lru_cache(maxsize=8)
def _compiler(tokenizer: Any, tokens: int, vocab_size: int) -> GrammarCompiler:
    """`tokens` is in the key because tokenizers can grow."""
    return GrammarCompiler(TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size))


def context_size(model: Any) -> int | None:
    """Tokens that the model can see, prompt and answer together, where its configuration says."""
    size = getattr(text_config(model), "max_position_embeddings", None)
    return size if isinstance(size, int) and size > 0 else None
