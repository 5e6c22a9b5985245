"""Masks inside `transformers.generate`: a logits processor that is stateless by prefix.

What transformers does with one processor within a single generation rules out keeping one matcher a row: beam search
reorders, duplicates and drops rows between calls, assisted decoding lets drafter and target call in turns with lengths
going back and forth, and finished rows keep coming with padding behind their end of sequence. So nothing is remembered
by row. A few walks are kept (a matcher and the tokens it has accepted), and in each call every row takes the one that
is nearest to its own tokens and moves it there:

    walk            row's tokens        what happens
    [5, 9]          [5, 9, 2]           accept 2                        plain decoding: one accept a row and step
    [5, 9, 2, 4]    [5, 9, 7]           roll back 2, accept 7           a draft was rejected
    [5, 9]          [5, 9, 7] as well   fork, accept 7                  two beams go on from one

Whatever the search strategy does, the mask is the one that a fresh matcher would give after the row's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from maskwright.compile.grammar import CompiledGrammar
from maskwright.grammars.errors import MatcherError, TokenizerError
from maskwright.kernels.bitmask import allocate_token_bitmask, apply_token_bitmask_inplace, bitmask_allowing
from maskwright.runtime.batch import BatchGrammarMatcher
from maskwright.runtime.matcher import GrammarMatcher

if TYPE_CHECKING:
    import torch

__all__ = ["MaskLogitsProcessor"]

Tokens: TypeAlias = npt.NDArray[np.int32]

_FORK_COST = 16  # a fork copies the matcher's memory: about as long as accepting this many tokens
_NEW_GENERATION = "call reset() before a new generation, or use a new MaskLogitsProcessor"


@dataclass(slots=True, eq=False)
class _Walk:
    """A matcher and where it stands."""

    grammar: int  # which of the processor's grammars
    matcher: GrammarMatcher
    tokens: Tokens  # int32 [n], accepted since the start
    served: int = -1  # the last call that used it

    def common(self, tokens: Tokens) -> int:
        """How many tokens its own and these begin with in common."""
        length = min(len(self.tokens), len(tokens))
        differing = np.flatnonzero(self.tokens[:length] != tokens[:length])
        return int(differing[0]) if differing.size else length

    def move(self, tokens: Tokens) -> int | None:
        """Go to `tokens`; the position of the first that is not allowed, where the walk then stops, or None."""
        common = self.common(tokens)
        self.matcher.rollback(len(self.tokens) - common)
        for position in range(common, len(tokens)):
            if self.matcher.is_terminated() or not self.matcher.accept_token(int(tokens[position])):
                self.tokens = tokens[:position]
                return position
        self.tokens = tokens
        return None


class MaskLogitsProcessor:
    """Keeps `model.generate(..., logits_processor=[MaskLogitsProcessor(compiled)])` inside a grammar.

    Works with greedy decoding, sampling, beam search, assisted decoding with one tokenizer and prompt lookup, batched
    and padded on the left. Whatever could let a row leave the grammar unnoticed raises instead (fail-closed): a token
    forced by another processor, a second generation without `reset()`, and also beam search with `do_sample=True`,
    where transformers goes on from hypotheses of probability zero when fewer tokens are allowed than there are beams.

    Args:
        compiled: one grammar for every row, or a list of n: with B rows in a call, row r follows grammar
            r // (B / n), so that the beams of a prompt share its grammar.
        prompt_length: columns of `input_ids` that are prompt (padding included). None: what the first call brings.

    One instance serves one generation at a time; `reset()` begins the next. Not for use by several threads at once.
    """

    def __init__(self, compiled: CompiledGrammar | Sequence[CompiledGrammar], prompt_length: int | None = None) -> None:
        self._grammars = [compiled] if isinstance(compiled, CompiledGrammar) else list(compiled)
        if not self._grammars:
            raise ValueError("MaskLogitsProcessor needs at least one compiled grammar")
        infos = [grammar.tokenizer_info for grammar in self._grammars]
        if len({info.vocab_size for info in infos}) > 1:
            raise ValueError("the grammars were compiled for vocabularies of different sizes")
        if not all(info.eos_token_ids for info in infos):
            raise TokenizerError(
                "this vocabulary has no end-of-sequence token, so generate() could not stop: "
                "pass eos_token_ids= to TokenizerInfo"
            )
        self._vocab_size = infos[0].vocab_size
        self._eos_ids = sorted({token for info in infos for token in info.eos_token_ids})
        self._eos_row = bitmask_allowing(self._eos_ids, self._vocab_size)
        self._fixed_prompt_length = prompt_length
        self._prompt: torch.Tensor | None = None  # [B, prompt length], of the generation at hand
        self._walks: list[_Walk] = []
        self._calls = 0
        self._batch = BatchGrammarMatcher()
        self._bitmask = allocate_token_bitmask(0, self._vocab_size, backend="numpy")

    def reset(self) -> None:
        """Begin a new generation: forget the prompt and every walk."""
        self._prompt = None
        self._walks.clear()

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        """The scores with disallowed tokens at -inf, as a new tensor.

        Args:
            input_ids: [B, L], prompt and generated tokens.
            scores: [B, V], logits or log-probabilities; columns beyond the tokenizer's vocabulary are disallowed.

        Raises:
            MatcherError: a row holds a token that its grammar does not allow there.
            BatchError: the masks of some rows could not be computed; it has the error of each.
        """
        rows = self._generated(input_ids)
        if len(rows) % len(self._grammars):
            raise MatcherError(f"{len(rows)} rows do not divide among {len(self._grammars)} grammars")
        if len(self._bitmask) != len(rows):
            self._bitmask = allocate_token_bitmask(len(rows), self._vocab_size, backend="numpy")
        going = dict[int, GrammarMatcher]()
        for row, (walk, finished) in enumerate(self._walks_to(rows)):
            if finished:
                # transformers ignores these scores, but a row without any allowed token would make it fail.
                self._bitmask[row] = self._eos_row
            else:
                going[row] = walk.matcher
        self._batch.batch_fill_next_token_bitmask([*going.values()], self._bitmask, [*going])
        masked = scores.clone()
        apply_token_bitmask_inplace(masked, self._bitmask)
        return masked

    def _generated(self, input_ids: torch.LongTensor) -> npt.NDArray[np.int32]:
        """int32 [B, generated]: what stands after the prompt in each row."""
        length = self._fixed_prompt_length
        if length is not None:
            if input_ids.shape[1] < length:
                raise MatcherError(f"input_ids have {input_ids.shape[1]} columns, fewer than prompt_length={length}")
        else:
            if self._prompt is None:
                self._prompt = input_ids.clone()
            length = self._prompt.shape[1]
            # Comparing costs little beside a forward pass, and another prompt must never pass for generated text.
            if input_ids.shape[0] != self._prompt.shape[0] or not input_ids[:, :length].equal(self._prompt):
                raise MatcherError(f"this is not the prompt that the generation began with: {_NEW_GENERATION}")
        return input_ids[:, length:].cpu().numpy().astype(np.int32)

    def _walks_to(self, rows: npt.NDArray[np.int32]) -> list[tuple[_Walk, bool]]:
        """For each row a walk of its own that stands at the row's tokens, and whether the row is finished."""
        self._calls += 1
        per_grammar = len(rows) // len(self._grammars)
        wanted = [(row // per_grammar, *self._until_end(row, tokens)) for row, tokens in enumerate(rows)]
        # Rows that a walk fits exactly choose first, so that no other row carries their walk away.
        fitting = {(walk.grammar, walk.tokens.tobytes()): walk for walk in self._walks}
        found: list[_Walk | None] = []
        for grammar, tokens, _ in wanted:
            walk = fitting.pop((grammar, tokens.tobytes()), None) or fitting.pop((grammar, tokens[:-1].tobytes()), None)
            if walk is not None:
                walk.served = self._calls
            found.append(walk)
        walks = []
        for row, (grammar, tokens, finished) in enumerate(wanted):
            walk = found[row] or self._nearest(grammar, tokens)
            walk.served = self._calls
            wrong = walk.move(tokens)
            if wrong is not None:
                raise MatcherError(
                    f"row {row} holds token {tokens[wrong]} at position {wrong} after the prompt, where the grammar "
                    f"does not allow it. Put MaskLogitsProcessor last among the logits processors; {_NEW_GENERATION}"
                )
            walks.append((walk, finished))
        # Walks that served no row for a while belong to dropped beams.
        if len(self._walks) > 2 * len(rows) + 2:
            self._walks = sorted(self._walks, key=lambda walk: walk.served)[-2 * len(rows) :]
        return walks

    def _until_end(self, row: int, tokens: Tokens) -> tuple[Tokens, bool]:
        """The row's tokens up to its first end of sequence, and whether there is one."""
        ends = np.flatnonzero(np.isin(tokens, self._eos_ids))
        if not ends.size:
            return tokens, False
        end = int(ends[0]) + 1
        if len(set(tokens[end:].tolist()) - set(self._eos_ids)) > 1:  # padding is one id, whichever
            raise MatcherError(f"row {row} goes on behind its end of sequence: {_NEW_GENERATION}")
        return tokens[:end], True

    def _nearest(self, grammar: int, tokens: Tokens) -> _Walk:
        """The walk that comes to `tokens` at least cost: one no row has taken, or a copy of one, or a new one."""
        best, least = None, len(tokens) + 1  # of a new walk
        for walk in self._walks:
            if walk.grammar == grammar:
                cost = len(tokens) - walk.common(tokens) + _FORK_COST * (walk.served == self._calls)
                if cost < least:
                    best, least = walk, cost
        if best is None:
            best = _Walk(grammar, GrammarMatcher(self._grammars[grammar]), tokens[:0])
        elif best.served == self._calls:
            best = _Walk(grammar, best.matcher.fork(), best.tokens)
        else:
            return best
        self._walks.append(best)
        return best
