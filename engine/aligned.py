"""AlignedSampler: a model and a grammar in; texts from the model's own distribution, conditioned on the grammar, out.

    sampler = AlignedSampler(model, grammar, method="cars")
    result = sampler.sample("Reverse the name:", n=64)
    result.texts, result.log_z, result.kl_bound

Masking alone renormalises at each token, and so prefers prefixes behind which the grammar forbids what the model would
have written. docs/sampling.md says what each method does about it, and what it guarantees.
"""

from __future__ import annotations

import dataclasses
import operator
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np

from maskwright.aligned_result import AlignedResult
from maskwright.compile.grammar import CompiledGrammar
from maskwright.grammars.errors import ModelError
from maskwright.prefix_model import PrefixModel
from maskwright.runtime.aligned_trie import AlignedTrie
from maskwright.runtime.conditional import Conditional, PrefixLogits, Statistics
from maskwright.runtime.descent_methods import DESCENT_METHODS, draw_automatically, draw_by_descents
from maskwright.runtime.enumeration import enumerate_texts
from maskwright.runtime.samples import Budget, Progress, Samples
from maskwright.runtime.warping import OnMax, Target, TokenClasses

__all__ = ["AlignedSampler", "Method"]

Method = Literal["auto", "masked", "gcd", "importance", "rejection", "asap", "cars"]

_METHODS = get_args(Method)


class AlignedSampler:
    """Samples from P( . | grammar), and keeps what it has learnt for each prompt.

    Attributes:
        compiled: the grammar.
        target: which distribution of the model is conditioned.
        method: how, unless sample() is told otherwise.
    """

    def __init__(
        self,
        model: Any,
        grammar: Any,
        method: Method = "auto",
        *,
        tokenizer: Any = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        max_tokens: int = 512,
        on_max: OnMax = "condition",
        threshold: float = 0.02,
        trie_bytes: int = 1 << 28,
        row_bytes: int = 1 << 28,
        cache_bytes: int = 1 << 30,
        max_prompts: int = 4,
    ) -> None:
        """
        Args:
            model: a causal language model of transformers, its folder or hub name, None for the embedded one; or any object
                with `logits(prefixes) -> [B, V]`, prefixes being lists of token ids, prompt and answer so far.
            grammar: a CompiledGrammar over the model's vocabulary; with a model of transformers also a Grammar, its text in
                EBNF, or a structural tag as a dict.
            method: "masked" (or "gcd"), "importance", "rejection", "asap", "cars", or "auto", which tries to be exact
                and says what it chose (docs/sampling.md).
            tokenizer: the model's; None takes the one beside the model.
            temperature, top_k, top_p, min_p: as in generate(); applied before the grammar is.
            max_tokens: tokens of a text at most, its end not counted; part of what is sampled from.
            on_max: "condition" on no longer text, "force_eos": end there with probability 1, or "error".
            threshold: "auto" is exact where at least this share of proposals is accepted.
            trie_bytes: what the trie of a prompt may take; past it new prefixes are not remembered, which costs
                efficiency and never correctness.
            row_bytes: what the probabilities of allowed tokens may take; what was let go is asked for again.
            cache_bytes: what keys and values of a model of transformers may take.
            max_prompts: prompts of which what was learnt is kept, those used last.

        Raises:
            GrammarError, ModelError, TokenizerError: as in generate().
            ValueError: an option is out of range.
        """
        self.method = _checked_method(method)
        self.target = Target(temperature, top_k, top_p, min_p, operator.index(max_tokens), on_max)
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold}: choose more than 0 and at most 1")
        self._threshold, self._trie_bytes, self._row_bytes = threshold, trie_bytes, row_bytes
        self._model: PrefixLogits
        if callable(getattr(model, "logits", None)):
            if not isinstance(grammar, CompiledGrammar):
                raise ModelError("with a model that is an object of yours the grammar must be a CompiledGrammar")
            self._model, self._tokenizer, self.compiled, self._context = model, tokenizer, grammar, None
        else:
            from maskwright.generation import compiled_grammar
            from maskwright.loading import compiler_of, context_size, resolve

            model, self._tokenizer = resolve(model, tokenizer)
            self.compiled = compiled_grammar(compiler_of(model, self._tokenizer), "grammar", grammar, {})
            self._model, self._context = PrefixModel(model, max_bytes=cache_bytes), context_size(model)
        self._classes = TokenClasses(self.compiled.tokenizer_info)
        self._spaces: OrderedDict[tuple[int, ...], Conditional] = OrderedDict()
        self._max_prompts = max_prompts

    def sample(
        self,
        prompt: Any = "",
        n: int = 1,
        *,
        method: Method | None = None,
        budget: Budget | None = None,
        batch_size: int = 16,
        seed: int | None = None,
        report: Callable[[Progress], None] | None = None,
    ) -> AlignedResult:
        """Draw `n` texts; fewer where the budget is used up before.

        Args:
            prompt: text, messages, or token ids.
            method: instead of the sampler's.
            budget: when to stop all the same.
            batch_size: descents that share the model's forwards. They do not learn from each other.
            seed: makes sampling repeatable (with the same history of the prompt); None draws a fresh one.
            report: is called after each batch.

        Raises:
            UnsatisfiableError: the model gives no text of the grammar any probability.
            LimitExceeded: the budget is used up and there is no text.
            TruncatedError: a text was longer than max_tokens, where on_max="error".
        """
        if n < 1 or batch_size < 1:
            raise ValueError(f"n={n}, batch_size={batch_size}: choose at least 1")
        chosen = self.method if method is None else _checked_method(method)
        space = self._space(prompt)
        before = dataclasses.replace(space.stats)
        history: list[tuple[int, float, float]] = []

        def note(progress: Progress) -> None:
            history.append((progress.forward_tokens, *progress.log_z_bounds))
            if report is not None:
                report(progress)

        random = np.random.default_rng(secrets.randbits(128) if seed is None else seed)
        samples = self._draw(space, chosen, n, budget or Budget(), batch_size, random, note)
        return self._result(space, samples, before, history)

    def enumerate(self, prompt: Any = "", max_strings: int = 10_000, *, batch_size: int = 64) -> AlignedResult:
        """Every text of a small grammar with its probability, the likeliest first: the exact conditional distribution.

        `log_weight` is log P, so that `posterior()` is P( . | grammar); `log_z` is log Z.

        Raises:
            LimitExceeded: there are more than `max_strings` token sequences.
            UnsatisfiableError: there is none.
        """
        space = self._space(prompt)
        before = dataclasses.replace(space.stats)
        return self._result(space, enumerate_texts(space, max_strings, batch_size), before, [])

    def trie(self, prompt: Any = "") -> AlignedTrie:
        """What was learnt of a prompt."""
        return self._space(prompt).trie

    def _draw(
        self,
        space: Conditional,
        method: Method,
        n: int,
        budget: Budget,
        batch_size: int,
        random: np.random.Generator,
        report: Callable[[Progress], None],
    ) -> Samples:
        common: dict[str, Any] = {"batch_size": batch_size, "random": random, "budget": budget, "report": report}
        if method == "auto":
            return draw_automatically(space, n, threshold=self._threshold, **common)
        assert method in DESCENT_METHODS
        samples = draw_by_descents(space, method, n, **common)
        assert samples is not None
        return samples

    def _result(
        self, space: Conditional, samples: Samples, before: Statistics, history: list[tuple[int, float, float]]
    ) -> AlignedResult:
        texts = [space.text_of(tokens) for tokens in samples.tokens]
        return AlignedResult.of(samples, texts, space.log_z_bounds, space.stats.since(before), history)

    def _space(self, prompt: Any) -> Conditional:
        """What is known of a prompt."""
        ids = self._prompt_ids(prompt)
        space = self._spaces.pop(ids, None)
        if space is None:
            target = self.target
            if self._context is not None:
                if len(ids) >= self._context:
                    raise ValueError(f"the prompt has {len(ids)} tokens, and this model sees {self._context}")
                target = dataclasses.replace(target, max_tokens=min(target.max_tokens, self._context - len(ids)))
            space = Conditional(
                self._model,
                self.compiled,
                ids,
                target,
                classes=self._classes,
                trie=AlignedTrie(self._trie_bytes),
                row_bytes=self._row_bytes,
            )
        self._spaces[ids] = space
        while len(self._spaces) > self._max_prompts:
            self._spaces.popitem(last=False)
        return space

    def _prompt_ids(self, prompt: Any) -> tuple[int, ...]:
        is_ids = isinstance(prompt, Sequence) and not isinstance(prompt, str) and (prompt or self._tokenizer is None)
        if is_ids and all(isinstance(token, int | np.integer) for token in prompt):
            return tuple(map(int, prompt))
        if self._tokenizer is None:
            if prompt == "":
                return ()
            raise ModelError("a model of yours without tokenizer= takes prompts as lists of token ids")
        from maskwright.prompts import prompt_ids

        return tuple(prompt_ids(self._tokenizer, prompt))


def _checked_method(method: Method) -> Method:
    if method not in _METHODS:
        raise ValueError(f"method={method!r}: choose one of {', '.join(_METHODS)}")
    return "masked" if method == "gcd" else method
