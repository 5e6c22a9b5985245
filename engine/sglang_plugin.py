"""The entry point `sglang.srt.plugins`: makes `--grammar-backend maskwright` one of SGLang's choices."""

from __future__ import annotations

from typing import Any

__all__ = ["register"]

NAME = "maskwright"


def register() -> None:
    """Enter the backend into SGLang's registry, and its name into the choices of its command line."""
    from sglang.srt.arg_groups.choices import add_grammar_backend_choices
    from sglang.srt.constrained.base_grammar_backend import register_grammar_backend

    add_grammar_backend_choices([NAME])
    register_grammar_backend(NAME, _create)


def _create(server_args: Any, tokenizer: Any, vocab_size: int, eos_token_ids: set[int] | None) -> Any:
    from maskwright.sglang_backend import MaskwrightBackend

    return MaskwrightBackend(server_args, tokenizer, vocab_size, eos_token_ids)
