"""From what callers write to token ids: texts, chat messages, batches of either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maskwright.grammars.errors import TokenizerError

__all__ = ["Prompt", "as_batch", "prompt_ids"]

Prompt = str | Sequence[Mapping[str, Any]]


def as_batch(prompt: Any) -> tuple[list[Prompt], bool]:
    """The prompts that an argument holds, and whether it is a batch.

    Raises:
        ValueError: it is neither text, nor messages, nor a list of those.
    """
    if isinstance(prompt, str) or _is_messages(prompt):
        return [prompt], False
    if isinstance(prompt, list | tuple) and prompt:
        if all(isinstance(entry, str) or _is_messages(entry) for entry in prompt):
            return list(prompt), True
        if any(isinstance(entry, Mapping) for entry in prompt):
            raise ValueError('prompt= has a message without "role": messages are dicts with "role" and "content"')
    raise ValueError(
        'prompt= must be text, a list of messages ({"role": "user", "content": ...}), or a list of those: a batch'
    )


def _is_messages(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(message, Mapping) and "role" in message for message in value)
    )


def prompt_ids(tokenizer: Any, prompt: Prompt, tools: Sequence[Mapping[str, Any]] | None = None) -> list[int]:
    """The prompt's token ids: at least one, since a model needs something to start from.

    Args:
        tokenizer: of transformers.
        prompt: text or messages.
        tools: definitions that the chat template is to tell the model of.

    Raises:
        TokenizerError: messages without a chat template, or an empty prompt without a token to begin with.
    """
    if isinstance(prompt, str):
        ids = list(tokenizer(prompt)["input_ids"])
    else:
        # The template writes the special tokens itself.
        ids = list(tokenizer(_rendered(tokenizer, prompt, tools), add_special_tokens=False)["input_ids"])
    if not ids:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None:
            raise TokenizerError("an empty prompt needs a beginning-of-sequence token, and this tokenizer has none")
        ids.append(start)
    return ids


def _rendered(tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> str:
    """The messages as the tokenizer's chat template writes them, up to where the model answers."""
    if not getattr(tokenizer, "chat_template", None):
        raise TokenizerError(
            "this tokenizer has no chat template, so messages cannot be turned into text: "
            "give the prompt as text, or set tokenizer.chat_template"
        )
    from jinja2 import TemplateError

    try:
        options = {"tools": list(tools)} if tools else {}
        return str(tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False, **options))
    except TemplateError as error:  # templates refuse what the model was not trained on, such as two user turns
        raise TokenizerError(f"the chat template refuses these messages: {error}") from error
