"""Our decoding loop inside `transformers.generate`: speculation, forced text, and answers that are complete.

    model.generate(**inputs, max_new_tokens=200, custom_generate=maskwright.custom_generate(compiled))

transformers prepares prompts, options and special tokens as for its own loops, and hands them over. What of them this loop
honours is read from what it was given, since that is where options and objects of the caller's have come together: tokens
are drawn as the list of logits processors says, and answers end as the stopping criteria say. Whatever else is asked for is
refused by its name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maskwright.compile.grammar import CompiledGrammar
from maskwright.decoding import Decoder, Request, Row
from maskwright.grammars.errors import UnsupportedError
from maskwright.kernels.backends import Backend, check_backend
from maskwright.processor import grammars_of
from maskwright.sampling import Sampling

if TYPE_CHECKING:
    import torch

__all__ = ["custom_generate"]

_INSTEAD = (
    "Leave it out, or generate with logits_processor=[MaskLogitsProcessor(compiled)] and without custom_generate="
)
# Prepared by transformers whatever the caller says, and found out here anew.
_KNOWN_INPUTS = frozenset({"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"})
# Options of which no object remains in what is handed over.
_UNKNOWN_OPTIONS = (
    "output_scores",
    "output_logits",
    "output_attentions",
    "output_hidden_states",
    "prefill_chunk_size",
    "is_assistant",
)


def custom_generate(
    compiled: CompiledGrammar | Sequence[CompiledGrammar],
    *,
    tokenizer: Any = None,
    draft: Any = None,
    jump_forward: bool = False,
    backend: Backend | None = None,
) -> Callable[..., Any]:
    """What to give `model.generate(..., custom_generate=...)`, so that answers are sentences of a grammar.

    Greedy answers are those of `logits_processor=[MaskLogitsProcessor(compiled)]`, but for their end: every answer is
    completed within `max_new_tokens`, where there it would be cut off. One callable serves any number of generations.

    Honoured: `do_sample`, `temperature`, `top_k`, `top_p`, `min_p`, `num_return_sequences`, `max_length`, `max_new_tokens`,
    `eos_token_id`, `pad_token_id`, `attention_mask` of prompts padded on the left, `return_dict_in_generate` (`sequences`
    alone). Everything else is refused. (Not seen, since transformers keeps them to itself: `streamer`, `assistant_model`.)
    Random numbers come from torch's generator, so that `torch.manual_seed` makes them repeatable.

    Args:
        compiled: one grammar for all prompts, or a list of n: with B prompts, prompt b follows grammar b // (B / n).
        tokenizer: the model's; `draft` and `jump_forward` need it.
        draft: speculative decoding, as generate() has it (docs/speculative.md). The answers stay the same.
        jump_forward: whether forced text is appended in the tokenizer's spelling without asking the model, which might have
            chosen other tokens for it.
        backend: of the kernels that mask and draw; None chooses by the model's device.

    Raises:
        ValueError: options that do not fit each other.
        TokenizerError: the vocabulary has no token that ends a sequence.

    `generate` then raises UnsupportedError for what is not honoured, with its name as `keyword`; TruncatedError, before the
    model is asked, where `max_new_tokens` are fewer than the shortest answer takes; and what generate() of Maskwright raises.
    """
    check_backend(backend)
    grammars = grammars_of(compiled)
    if tokenizer is None and (draft is not None or jump_forward):
        raise ValueError("draft= and jump_forward= spell out texts: pass tokenizer= as well")
    options: dict[str, Any] = {"jump_forward": jump_forward, "backend": backend}
    if draft is None:
        return _Loop(grammars, functools.partial(Decoder, **options), tokenizer)
    from maskwright.speculation import SpeculativeDecoder
    from maskwright.speculation_options import speculation_for

    options["speculation"] = speculation_for(draft, grammars[0].tokenizer_info)
    return _Loop(grammars, functools.partial(SpeculativeDecoder, **options), tokenizer)


@dataclass(frozen=True, slots=True)
class _Loop:
    """What transformers calls."""

    grammars: Sequence[CompiledGrammar]
    decoder: Callable[..., Decoder]
    tokenizer: Any

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Sequence[Any],
        stopping_criteria: Sequence[Any],
        generation_config: Any,
        **model_kwargs: Any,
    ) -> Any:
        """From input_ids [B, L], each prompt as often as it has answers, to sequences [B, L + n]."""
        import torch

        _check(model, generation_config, model_kwargs)
        sampled, samples = bool(generation_config.do_sample), generation_config.num_return_sequences or 1
        limit, ends = _ending(stopping_criteria, input_ids.shape[1])
        prompts = _prompts(input_ids, model_kwargs.get("attention_mask"), model_kwargs.get("position_ids"))
        decoder = self.decoder(
            model,
            self.tokenizer,
            self._requests(prompts[::samples], limit),
            samples=samples,
            sampling=_sampling(logits_processor, sampled),
            entropy=int(torch.randint(2**62, ())) if sampled else 0,
        )
        while decoder.live:
            decoder.step()
        answers = [_answer(row, ends) for row in decoder.rows]
        pad = generation_config._pad_token_tensor
        padding, width = answers[0][-1] if pad is None else int(pad), max(map(len, answers))
        padded = [answer + [padding] * (width - len(answer)) for answer in answers]
        sequences = torch.cat([input_ids, torch.tensor(padded, device=input_ids.device)], dim=1)
        if not generation_config.return_dict_in_generate:
            return sequences
        from transformers.generation.utils import GenerateDecoderOnlyOutput

        return GenerateDecoderOnlyOutput(sequences=sequences)

    def _requests(self, prompts: Sequence[Sequence[int]], limit: int) -> list[Request]:
        shared, rest = divmod(len(prompts), len(self.grammars))
        if rest:
            raise ValueError(f"{len(prompts)} prompts do not divide among {len(self.grammars)} grammars")
        return [Request(ids, self.grammars[number // shared], limit) for number, ids in enumerate(prompts)]


def _refused(name: str, reason: str = "", hint: str = _INSTEAD) -> UnsupportedError:
    return UnsupportedError(f"custom_generate does not honour {name}{reason}", keyword=name, hint=hint)


def _check(model: Any, config: Any, model_kwargs: Mapping[str, Any]) -> None:
    """Refuse what would be ignored otherwise."""
    if model.config.is_encoder_decoder:
        raise _refused("is_encoder_decoder", ": it decodes causal language models")
    mode = config.get_generation_mode().value
    if mode == "assisted_generation":
        raise _refused("prompt lookup and other assistance of transformers", hint='pass draft="lookup", or another')
    if mode not in ("greedy_search", "sample"):
        raise _refused("num_beams" if (config.num_beams or 1) > 1 else mode)
    for name in _UNKNOWN_OPTIONS:
        if getattr(config, name, None):
            raise _refused(name)
    if config.cache_implementation not in (None, "dynamic", "dynamic_full"):
        raise _refused("cache_implementation", f"={config.cache_implementation!r}")
    if not config.use_cache:
        raise _refused("use_cache", "=False: it keeps what the model has seen")
    cache = model_kwargs.get("past_key_values")
    if cache is not None and cache.get_seq_length():
        raise _refused("past_key_values", " that hold tokens already")
    for name, value in model_kwargs.items():
        if value is not None and name not in _KNOWN_INPUTS:
            raise _refused(name)


def _sampling(processors: Sequence[Any], sampled: bool) -> Sampling:
    """How the list draws: by the filters of Sampling, each with its defaults, in their order."""
    from transformers.generation import logits_process as known

    fields = {
        known.TemperatureLogitsWarper: "temperature",
        known.TopKLogitsWarper: "top_k",
        known.TopPLogitsWarper: "top_p",
        known.MinPLogitsWarper: "min_p",
    }
    found: dict[str, Any] = {"temperature": 1.0}
    last = -1
    for processor in processors:
        kind, place = type(processor), list(fields).index(type(processor)) if type(processor) in fields else -1
        if place <= last:
            raise _refused(kind.__name__, " in that place" if kind in fields else "")
        value = getattr(processor, fields[kind])
        if vars(processor) != vars(kind(value)):
            raise _refused(kind.__name__, " with other arguments than its value")
        found[fields[kind]], last = value, place
    return Sampling(**found) if sampled else Sampling()


def _ending(criteria: Sequence[Any], prompt_columns: int) -> tuple[int, frozenset[int]]:
    """How many tokens an answer may have, and which of them end it."""
    from transformers.generation import stopping_criteria as known

    limits, ends = list[int](), set[int]()
    for criterion in criteria:
        if type(criterion) is known.MaxLengthCriteria:
            limits.append(criterion.max_length - prompt_columns)
        elif type(criterion) is known.EosTokenCriteria:
            ends.update(criterion.eos_token_id.tolist())
        else:
            raise _refused(type(criterion).__name__)
    if not limits:
        raise _refused("a generation without max_length", hint="pass max_new_tokens")
    return min(limits), frozenset(ends)


def _prompts(ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor | None) -> list[list[int]]:
    """The prompts without their padding: ids [B, L], mask and positions the same or None."""
    import torch

    if mask is None:
        mask = torch.ones_like(ids)
    if (mask.diff(dim=1) < 0).any() or not mask[:, -1].all() or not ((mask == 0) | (mask == 1)).all():
        raise _refused("attention_mask", " of prompts that are not padded on the left alone")
    if positions is not None and not ((positions == mask.cumsum(1) - 1) | (mask == 0)).all():
        raise _refused("position_ids", " that do not count each prompt's own tokens")
    return [row[own.bool()].tolist() for row, own in zip(ids, mask, strict=True)]


def _answer(row: Row, ends: frozenset[int]) -> list[int]:
    """A finished row's tokens, and the one that ends it if it has come or there is room for it."""
    tokens = list(row.tokens)
    first = next((number for number, token in enumerate(tokens) if token in ends), None)
    if first is not None:  # a token of the answer that the caller has named as the end
        return tokens[: first + 1]
    if row.ending is not None:
        tokens.append(row.ending)
    elif row.budget.left > 0:
        own = row.request.compiled.tokenizer_info.eos_token_ids
        tokens.append(next((token for token in own if token in ends), own[0]))
    return tokens
