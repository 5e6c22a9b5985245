"""A language model over bytes, whatever its tokens: what comes after a text, and prompts that end inside a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maskwright.canonical import Canonical
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.prefix_model import PrefixModel
from maskwright.runtime.byte_level import ByteDistribution, next_bytes
from maskwright.runtime.warping import Target, TokenClasses

__all__ = ["byte_distribution", "without_last_word"]

_MOST_BACK = 8  # tokens that a word may take


def byte_distribution(
    model: Any,
    prefix: bytes,
    *,
    prompt: Any = "",
    tokenizer: Any = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    canonical: bool = True,
    max_covers: int = 10_000,
) -> ByteDistribution:
    """The exact probabilities of the next byte behind a text.

    Args:
        model: as for AlignedSampler; an object with `logits(prefixes)` needs a TokenizerInfo as `tokenizer`.
        prefix: the text, which may end anywhere, inside a token or a character.
        prompt: what stands before it, as tokens: text, messages or token ids.
        tokenizer: the model's; None takes the one beside the model.
        temperature, top_p: as in generate().
        canonical: add up the tokenizer's own ways to write the text, as many as a token has bytes. False: all of them,
            which are exponentially many.
        max_covers: ways to follow at most.

    Raises:
        LimitExceeded: there are more ways.
        UnsatisfiableError: the model gives the text no probability.
        ModelError, TokenizerError: as in generate().
    """
    target = Target(temperature, top_p=top_p)
    if isinstance(tokenizer, TokenizerInfo):
        ids = [] if isinstance(prompt, str) and not prompt else list(prompt)
        return next_bytes(model, tokenizer, ids, prefix, target, max_covers=max_covers)
    from maskwright.loading import compiler_of, resolve
    from maskwright.prompts import prompt_ids

    model, tokenizer = resolve(model, tokenizer)
    info = compiler_of(model, tokenizer).tokenizer_info
    classes = TokenClasses(info)
    given = prompt_ids(tokenizer, prompt) if isinstance(prompt, str) or not _is_ids(prompt) else list(prompt)
    own = Canonical(tokenizer, info, classes) if canonical else None
    return next_bytes(
        PrefixModel(model), info, given, prefix, target, classes=classes, canonical=own, max_covers=max_covers
    )  # fmt: skip


def _is_ids(prompt: Sequence[Any]) -> bool:
    return all(isinstance(token, int) for token in prompt)


def without_last_word(ids: Sequence[int], info: TokenizerInfo) -> tuple[tuple[int, ...], bytes]:
    """A prompt's tokens before its last word, and the text of that.

    A word begins with a token that begins with white space: tokens do not reach across that, so that those before it are the
    same whatever follows. At most eight tokens are taken back, none that is special, and not the first.
    """
    start = len(ids)
    while start > 1 and len(ids) - start < _MOST_BACK and ids[start - 1] not in info.special_token_ids:
        start -= 1
        written = info.tokens[ids[start]] or b""
        if written[:1].isspace():
            break
    return tuple(ids[:start]), info.decode(ids[start:])
