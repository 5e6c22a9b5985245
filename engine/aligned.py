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
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Literal, get_args

import numpy as np

from maskwright.aligned_drafts import drafting_for
from maskwright.aligned_progress import aligned_bar
from maskwright.aligned_result import AlignedResult
from maskwright.byte_level import without_last_word
from maskwright.canonical import Canonical
from maskwright.compile.grammar import CompiledGrammar
from maskwright.grammars.errors import ModelError, TokenizerError
from maskwright.prefix_model import PrefixModel
from maskwright.runtime.aligned_trie import AlignedTrie
from maskwright.runtime.chains import Cut, draw_by_chains
from maskwright.runtime.conditional import Conditional, PrefixLogits, Statistics
from maskwright.runtime.descent_methods import DESCENT_METHODS, draw_automatically, draw_by_descents
from maskwright.runtime.enumeration import enumerate_texts
from maskwright.runtime.particles import Potential, draw_by_particles
from maskwright.runtime.samples import Budget, Progress, Samples
from maskwright.runtime.warping import OnMax, Target, TokenClasses
from maskwright.saved_tries import model_fingerprint, read_trie, trie_key, write_trie

__all__ = ["AlignedSampler", "Method"]

Method = Literal["auto", "masked", "gcd", "importance", "rejection", "asap", "cars", "smc", "mcmc"]

Boundary = Literal["tokens", "bytes"]

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
        canonical: bool = False,
        threshold: float = 0.02,
        trie_bytes: int = 1 << 28,
        row_bytes: int = 1 << 28,
        cache_bytes: int = 1 << 30,
        max_prompts: int = 4,
        draft: Any = None,
    ) -> None:
        """
        Args:
            model: a causal language model of transformers, its folder or hub name, None for the embedded one; or any object
                with `logits(prefixes) -> [B, V]`, prefixes being lists of token ids, prompt and answer so far.
            grammar: a CompiledGrammar over the model's vocabulary; with a model of transformers also a Grammar, its text in
                EBNF, or a structural tag as a dict.
            method: "masked" (or "gcd"), "importance", "rejection", "asap", "cars", "smc", "mcmc", or "auto", which tries
                to be exact and says what it chose (docs/sampling.md).
            tokenizer: the model's; None takes the one beside the model.
            temperature, top_k, top_p, min_p: as in generate(); applied before the grammar is.
            max_tokens: tokens of a text at most, its end not counted; part of what is sampled from.
            on_max: "condition" on no longer text, "force_eos": end there with probability 1, or "error".
            canonical: whether only the tokenizer's own tokenization of a text counts, of all that write it.
            threshold: "auto" is exact where at least this share of proposals is accepted.
            trie_bytes: what the trie of a prompt may take; past it new prefixes are not remembered, which costs
                efficiency and never correctness.
            row_bytes: what the probabilities of allowed tokens may take; what was let go is asked for again.
            cache_bytes: what keys and values of a model of transformers may take.
            max_prompts: prompts of which what was learnt is kept, those used last.
            draft: who guesses how texts go on, as in generate(): the model is then asked for several tokens of a text at a
                time, and the texts are the same. Not for "smc".

        Raises:
            GrammarError, ModelError, TokenizerError: as in generate().
            ValueError: an option is out of range.
        """
        self.method = _checked_method(method)
        self.target = Target(temperature, top_k, top_p, min_p, operator.index(max_tokens), on_max, canonical)
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold}: choose more than 0 and at most 1")
        self._threshold, self._trie_bytes, self._row_bytes = threshold, trie_bytes, row_bytes
        self._given: Any = model
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
            self._given = model
            self._model, self._context = PrefixModel(model, max_bytes=cache_bytes), context_size(model)
        self._classes = TokenClasses(self.compiled.tokenizer_info)
        self._canonical: Canonical | None = None
        if canonical:
            if self._tokenizer is None:
                raise TokenizerError("canonical=True asks the tokenizer what it makes of a text: pass tokenizer=")
            self._canonical = Canonical(self._tokenizer, self.compiled.tokenizer_info, self._classes)
        self._spaces: OrderedDict[tuple[tuple[int, ...], bytes], Conditional] = OrderedDict()
        self._max_prompts = max_prompts
        self._drafting = (
            None if draft is None else drafting_for(draft, self.compiled, self._tokenizer, self.target, self._model)
        )
        self._check_drafts(self.method)

    def sample(
        self,
        prompt: Any = "",
        n: int = 1,
        *,
        method: Method | None = None,
        budget: Budget | None = None,
        batch_size: int = 16,
        seed: int | Sequence[int] | None = None,
        boundary: Boundary = "tokens",
        report: Callable[[Progress], None] | None = None,
        progress: bool = False,
        potential: Potential | None = None,
        resample_below: float = 0.5,
        steps: int = 10,
        cut: Cut = "uniform",
        proposal: Literal["masked", "asap"] = "masked",
    ) -> AlignedResult:
        """Draw `n` texts; fewer where the budget is used up before.

        Args:
            prompt: text, messages, or token ids.
            method: instead of the sampler's.
            budget: when to stop all the same.
            batch_size: descents that share the model's forwards. They do not learn from each other.
            seed: makes sampling repeatable (with the same history of the prompt); None draws a fresh one.
            boundary: what the prompt is, where it is text. "tokens": those that the tokenizer makes of it. "bytes": its text,
                of which the last word may be written in any tokens, the last reaching into the answer: a prompt that is cut
                off inside a token ('"na' of '"name') then biases nothing. The tokens of that word are among `token_ids`.
            report: is called after each batch.
            progress: show a progress bar on standard error.
            potential: for "smc", which "auto" then is: from the text so far and whether it is complete to the logarithm
                of how much it is wanted. P( . | grammar) is tilted by what it says of complete texts.
            resample_below: for "smc": resample when the effective sample size is below this share of n.
            steps: for "mcmc": of each of the n chains.
            cut: for "mcmc": where a text is cut: "restart", "uniform" or "entropy".
            proposal: for "mcmc": how what is behind the cut is drawn; "asap" by a trie that some descents have taught.

        Raises:
            UnsatisfiableError: the model gives no text of the grammar any probability.
            LimitExceeded: the budget is used up and there is no text.
            TruncatedError: a text was longer than max_tokens, where on_max="error".
        """
        if n < 1 or batch_size < 1:
            raise ValueError(f"n={n}, batch_size={batch_size}: choose at least 1")
        chosen = self.method if method is None else _checked_method(method)
        if potential is not None and chosen not in ("smc", "auto"):
            raise ValueError(f"potential= goes with method='smc', not with {chosen!r}")
        if cut not in get_args(Cut) or proposal not in ("masked", "asap") or steps < 1 or not 0 <= resample_below <= 1:
            raise ValueError(
                f"cut={cut!r}, proposal={proposal!r}, steps={steps}, resample_below={resample_below}: choose a cut of "
                f"{', '.join(get_args(Cut))}, a proposal of masked, asap, at least 1 step, and 0 to 1"
            )
        self._check_drafts("smc" if potential is not None else chosen)
        if boundary not in get_args(Boundary):
            raise ValueError(f"boundary={boundary!r}: choose one of {', '.join(get_args(Boundary))}")
        space = self._space(prompt, boundary)
        before = dataclasses.replace(space.stats)
        history: list[tuple[int, float, float]] = []

        with aligned_bar(chosen) if progress else nullcontext() as update:

            def note(now: Progress) -> None:
                history.append((now.forward_tokens, *now.log_z_bounds))
                for told in (report, update):
                    if told is not None:
                        told(now)

            common: dict[str, Any] = {
                "random": np.random.default_rng(secrets.randbits(128) if seed is None else seed),
                "budget": budget or Budget(),
                "report": note,
            }
            if chosen == "smc" or potential is not None:
                samples = draw_by_particles(space, n, threshold=resample_below, potential=potential, **common)
                samples.reason = "" if chosen == "smc" else "weighted: a potential tilts the distribution"
            elif chosen == "mcmc":
                guided = proposal == "asap"
                samples = draw_by_chains(space, n, steps=steps, cut=cut, guided=guided, batch_size=batch_size, **common)
            elif chosen == "auto":
                samples = draw_automatically(space, n, threshold=self._threshold, batch_size=batch_size, **common)
            else:
                assert chosen in DESCENT_METHODS
                drawn = draw_by_descents(space, chosen, n, batch_size=batch_size, **common)
                assert drawn is not None
                samples = drawn
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
        with space.undrafted():  # every text is asked for anyway
            return self._result(space, enumerate_texts(space, max_strings, batch_size), before, [])

    def trie(self, prompt: Any = "") -> AlignedTrie:
        """What was learnt of a prompt."""
        return self._space(prompt).trie

    def save_trie(self, path: str | os.PathLike[str], prompt: Any = "") -> None:
        """Write what was learnt of a prompt into a file, for load_trie().

        Raises:
            SavedTrieError: the model is an object without a `fingerprint`, or the grammar's source cannot be written.
        """
        space = self._space(prompt)
        write_trie(space.trie, path, self._key(space))

    def load_trie(self, path: str | os.PathLike[str], prompt: Any = "") -> None:
        """Go on from what was learnt of a prompt, in place of what is known now.

        Raises:
            SavedTrieError: the file is damaged, or of another model, prompt, grammar, tokenizer or target.
        """
        ids = self._prompt_ids(prompt)
        trie = read_trie(path, self._key(self._space(prompt)), self._trie_bytes)
        self._spaces[ids, b""] = self._new_space(ids, trie)

    def _key(self, space: Conditional) -> dict[str, Any]:
        return trie_key(model_fingerprint(self._given), space.prompt, self.compiled, space.target)

    def _result(
        self, space: Conditional, samples: Samples, before: Statistics, history: list[tuple[int, float, float]]
    ) -> AlignedResult:
        texts = [space.text_of(tokens) for tokens in samples.tokens]
        each = [space.token_log_probabilities(tokens) for tokens in samples.tokens]
        return AlignedResult.of(samples, texts, each, space.log_z_bounds, space.stats.since(before), history)

    def _space(self, prompt: Any, boundary: Boundary = "tokens") -> Conditional:
        """What is known of a prompt."""
        ids, tail = self._prompt_ids(prompt), b""
        if boundary == "bytes":
            ids, tail = without_last_word(ids, self.compiled.tokenizer_info)
        space = self._spaces.pop((ids, tail), None)
        if space is None:
            space = self._new_space(ids, AlignedTrie(self._trie_bytes), tail)
        self._spaces[ids, tail] = space
        while len(self._spaces) > self._max_prompts:
            self._spaces.popitem(last=False)
        return space

    def _new_space(self, ids: tuple[int, ...], trie: AlignedTrie, tail: bytes = b"") -> Conditional:
        target = self.target
        if self._context is not None:
            if len(ids) >= self._context:
                raise ValueError(f"the prompt has {len(ids)} tokens, and this model sees {self._context}")
            target = dataclasses.replace(target, max_tokens=min(target.max_tokens, self._context - len(ids)))
        return Conditional(
            self._model,
            self.compiled,
            ids,
            target,
            classes=self._classes,
            trie=trie,
            row_bytes=self._row_bytes,
            canonical=self._canonical,
            tail=tail,
            drafting=self._drafting,
        )

    def _check_drafts(self, method: str) -> None:
        if self._drafting is not None and method == "smc":
            raise ValueError(
                "draft= does not go with method='smc': particles go on together, a token each, and drafts would save nothing; "
                "leave it out, or choose another method"
            )

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
