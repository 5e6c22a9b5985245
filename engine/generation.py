"""`generate`: a model and a schema in, a validated object out.

The loop is the plain one (forward, mask, sample, accept), with the key-value cache of transformers and the grammar's
mask over the logits in float32:

    prompt -> ids --model--> logits [V] --mask--> allowed logits --temperature, top-p--> token --accept--> matcher
                     ^                                                                      |
                     +------------------------ one token a step ----------------------------+

Generation ends when the model takes an end-of-sequence token, which the mask allows only where the text is a whole
sentence, or as soon as nothing else could follow.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.grammars.errors import MatcherError, TokenizerError, TruncatedError
from maskwright.kernels.bitmask import allocate_token_bitmask, apply_token_bitmask_inplace, bitmask_allowing
from maskwright.runtime.matcher import GrammarMatcher

if TYPE_CHECKING:
    import torch

__all__ = ["generate"]


def generate(
    model: Any,
    prompt: str = "",
    *,
    schema: Any = None,
    regex: str | None = None,
    choices: Sequence[str] | None = None,
    tokenizer: Any = None,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int | None = None,
) -> Any:
    """Let `model` answer `prompt` inside a schema, a pattern or a list of choices; exactly one of the three.

    Args:
        model: a causal language model of transformers.
        prompt: text before the answer.
        schema: a pydantic model, dataclass, TypedDict or other type that pydantic understands; or a JSON Schema as a
            dict, a bool or JSON text.
        regex: a pattern that the whole answer matches.
        choices: the texts that the answer may be.
        tokenizer: the model's tokenizer; None takes `model.tokenizer`.
        max_new_tokens: tokens of the answer at most; an end-of-sequence token does not count.
        temperature: 0 takes the likeliest allowed token at each step; 1 samples from the model's distribution over
            the allowed tokens.
        top_p: sample among the likeliest allowed tokens that together have this probability.
        seed: makes sampling repeatable; None draws a fresh one.

    Returns:
        An instance of `schema` where it is a type, the parsed JSON where it is a JSON Schema, and the text as str for
        `regex` and `choices`.

    Raises:
        GrammarError: the schema or pattern is invalid, unsupported, unsatisfiable or beyond a limit.
        TokenizerError: there is no tokenizer, or it cannot write what the grammar requires.
        TruncatedError: `max_new_tokens` were not enough; it carries the text so far.
        ValueError: arguments out of range.
        pydantic.ValidationError: a validator of `schema` that JSON Schema cannot express refused the object.
    """
    if sum(source is not None for source in (schema, regex, choices)) != 1:
        raise ValueError("give exactly one of schema=, regex= and choices=")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens={max_new_tokens}: at least 1 is needed")
    if temperature < 0:
        raise ValueError(f"temperature={temperature}: choose 0 (greedy) or more")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p}: choose more than 0 and at most 1")
    tokenizer = tokenizer if tokenizer is not None else getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise TokenizerError("this model carries no tokenizer: pass tokenizer=AutoTokenizer.from_pretrained(...)")

    compiler = _compiler(tokenizer, len(tokenizer), _vocab_size(model))
    if schema is not None:
        compiled = compiler.compile_json_schema(schema)
    elif regex is not None:
        compiled = compiler.compile_regex(regex)
    else:
        compiled = compiler.compile_choices(list(choices or ()))
    choose = _Sampler(temperature, top_p, seed, model.device)
    text = _decode(model, _prompt_ids(tokenizer, prompt), compiled, max_new_tokens, choose)
    if schema is None:
        return text
    return json.loads(text) if compiled.python_type is None else _instance(compiled.python_type, text)


@functools.lru_cache(maxsize=8)
def _compiler(tokenizer: Any, tokens: int, vocab_size: int) -> GrammarCompiler:
    """The compiler for a tokenizer, kept for the next call; `tokens` is in the key because tokenizers can grow."""
    return GrammarCompiler(TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size))


def _vocab_size(model: Any) -> int:
    """Columns of the model's logits; models of several modalities keep it in the part that writes text."""
    config = model.config
    return int((config.get_text_config() if hasattr(config, "get_text_config") else config).vocab_size)


def _prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """The prompt's token ids: at least one, since a model needs something to start from."""
    ids = list(tokenizer(prompt)["input_ids"])
    if not ids:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None:
            raise TokenizerError("an empty prompt needs a beginning-of-sequence token, and this tokenizer has none")
        ids.append(start)
    return ids


def _decode(
    model: Any, prompt: list[int], compiled: CompiledGrammar, max_new_tokens: int, choose: Callable[[torch.Tensor], int]
) -> str:
    """The answer's text: a whole sentence of the grammar."""
    import torch

    matcher, info = GrammarMatcher(compiled), compiled.tokenizer_info
    bitmask = allocate_token_bitmask(1, info.vocab_size, backend="numpy")
    ends = bitmask_allowing(info.eos_token_ids, info.vocab_size)
    # Only the last position's logits matter; most models can leave the others (prompt x vocabulary) uncomputed.
    options = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    cache, ids, tokens = None, prompt, list[int]()
    with torch.inference_mode():
        while True:
            matcher.fill_next_token_bitmask(bitmask)
            nothing_follows = not (bitmask[0] & ~ends).any()
            if matcher.is_completed() and (nothing_follows or len(tokens) == max_new_tokens):
                break
            if len(tokens) == max_new_tokens:
                so_far = info.decode(tokens).decode(errors="replace")
                raise TruncatedError(text=so_far, max_tokens=max_new_tokens)
            output = model(
                input_ids=torch.tensor([ids], device=model.device), past_key_values=cache, use_cache=True, **options
            )
            cache = output.past_key_values
            logits = output.logits[0, -1].float()  # [V]
            apply_token_bitmask_inplace(logits, bitmask)
            token = choose(logits)
            if not matcher.accept_token(token):
                raise MatcherError(f"token {token} was sampled although the mask disallows it")
            if matcher.is_terminated():
                break
            tokens.append(token)
            ids = [token]
    return info.decode(tokens).decode()


class _Sampler:
    """Draws a token from masked logits: temperature, then top-p, in float32 on the logits' device."""

    def __init__(self, temperature: float, top_p: float, seed: int | None, device: torch.device) -> None:
        import torch

        self._temperature, self._top_p = temperature, top_p
        self._generator = torch.Generator(device)
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(seed)

    def __call__(self, logits: torch.Tensor) -> int:
        """logits float32 [V], disallowed ones -inf; the id of an allowed token."""
        import torch

        best = logits.max()
        if not torch.isfinite(best):
            raise MatcherError(f"the model gives the allowed tokens no finite logit (the largest is {best.item()})")
        if self._temperature == 0:
            return int(logits.argmax())
        # Less the maximum first, so that a small temperature cannot overflow.
        probabilities = torch.softmax((logits - best) / self._temperature, dim=-1)
        if self._top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            likelier = ordered.cumsum(0) - ordered  # [V], how much probability the tokens before this one have
            probabilities[order[likelier >= self._top_p]] = 0
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


def _instance(python_type: Any, text: str) -> Any:
    """The JSON text as an instance of a type that pydantic understands, or of what a TypeAdapter adapts."""
    from pydantic import TypeAdapter

    adapter = python_type if isinstance(python_type, TypeAdapter) else TypeAdapter(python_type)
    return adapter.validate_json(text)
