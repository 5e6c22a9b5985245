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

Plain decoding, where every row is that of the call before and one more token, is seen at one look: then nothing is
searched for, and all matchers go on in one call of a kernel. A step of a small model takes a few milliseconds, of which this
must be a hundredth; so the walks learn what they have gone over only when they are searched again.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from maskwright.compile.grammar import CompiledGrammar
from maskwright.grammars.errors import MatcherError, TokenizerError
from maskwright.kernels.backends import Backend, check_backend
from maskwright.kernels.bitmask import allocate_token_bitmask, bitmask_allowing
from maskwright.kernels.masking import apply_mask
from maskwright.masked_scores import MaskedScores
from maskwright.runtime.batch import BatchGrammarMatcher
from maskwright.runtime.lockstep import Lockstep
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.step_masks import NumberedMasks, common_table
from maskwright.walk import FORK_COST, Tokens, Walk

if TYPE_CHECKING:
    import torch

__all__ = ["MaskLogitsProcessor", "grammars_of"]

_NO_IDS = np.zeros((0, 0), np.int64)
_NEW_GENERATION = "call reset() before a new generation, or use a new MaskLogitsProcessor"


class _Walk(Walk):
    """A walk of one generation.

    Attributes:
        grammar: which of the processor's grammars.
        served: the last search that used it.
    """

    def __init__(self, grammar: int, matcher: GrammarMatcher, tokens: Tokens) -> None:
        super().__init__(matcher, tokens)
        self.grammar, self.served = grammar, -1


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
        backend: what applies the masks, "numba", "torch" or "triton" (docs/kernels.md); None chooses by the scores' device,
            to which masks go as numbers of rows that it has already.

    Raises:
        BackendError: the back end is not installed; and from a call, where it does not work on the scores' device.

    One instance serves one generation at a time; `reset()` begins the next. Not for use by several threads at once.
    """

    def __init__(
        self,
        compiled: CompiledGrammar | Sequence[CompiledGrammar],
        prompt_length: int | None = None,
        *,
        backend: Backend | None = None,
    ) -> None:
        check_backend(backend)
        self._grammars = grammars_of(compiled)
        infos = [grammar.tokenizer_info for grammar in self._grammars]
        self._vocab_size = infos[0].vocab_size
        self._eos_ids = sorted({token for info in infos for token in info.eos_token_ids})
        self._eos_row = bitmask_allowing(self._eos_ids, self._vocab_size)
        self._fixed_prompt_length = prompt_length
        # Of the generation at hand: its prompt [B, prompt length], and how many columns that are.
        self._prompt: torch.Tensor | None = None
        self._prompt_length = 0
        self._walks: list[_Walk] = []
        self._searches = 0
        # The call before: its input_ids, whether all went well, for each row its walk and whether the row is finished, and
        # the matchers of the others.
        self._ids: npt.NDArray[np.int64]
        self._whole: bool
        self._places: list[tuple[_Walk, bool]]
        self._lockstep: Lockstep | None
        self._forget_call()
        self._masked, self._backend = MaskedScores(), backend
        self._numbered: dict[torch.device, NumberedMasks] = {}
        self._batch = BatchGrammarMatcher()
        self._bitmask = allocate_token_bitmask(0, self._vocab_size, backend="numpy")

    def reset(self) -> None:
        """Begin a new generation: forget the prompt and every walk."""
        self._prompt = None
        self._forget_call()
        self._walks.clear()

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.Tensor:
        """The scores with disallowed tokens at -inf, as another tensor.

        Args:
            input_ids: [B, L], prompt and generated tokens.
            scores: [B, V], logits or log-probabilities; columns beyond the tokenizer's vocabulary are disallowed.

        Raises:
            MatcherError: a row holds a token that its grammar does not allow there.
            BatchError: of several rows some masks could not be computed; it has the error of each.
        """
        ids = (input_ids if input_ids.is_cpu else input_ids.cpu()).numpy()  # int64 [B, L]
        continued = self._whole and len(ids) == len(self._ids) and ids[:, :-1].tobytes() == self._ids.tobytes()
        self._whole = False  # no call may go on from this one, should one of its rows be wrong
        if continued:
            self._ids = ids.copy()
            self._go_on(ids)
        else:
            self._catch_up()
            self._places = self._found(self._generated(input_ids))
            self._ids = ids.copy()
            if len(self._bitmask) != len(self._places):
                self._bitmask = allocate_token_bitmask(len(self._places), self._vocab_size, backend="numpy")
            self._go_together()
            if self._lockstep is not None:
                self._lockstep.fill()
        self._whole = True
        return self._masked_copy(scores)

    def _masked_copy(self, scores: torch.Tensor) -> torch.Tensor:
        """The scores under the masks of the rows, as another tensor."""
        in_memory = scores.is_cpu and self._backend in (None, "numba")
        table = None if in_memory or scores.requires_grad else common_table(self._grammars)
        if table is None:
            return self._masked.of(scores, self._bitmask, self._backend)
        if scores.device not in self._numbered:
            self._numbered[scores.device] = NumberedMasks(table, scores.device, ended=self._eos_row)
        masks = self._numbered[scores.device].of(
            [None if finished else walk.matcher for walk, finished in self._places]
        )
        copy = scores.clone()
        apply_mask(copy, masks.table, rows=masks.rows, backend=self._backend)
        return copy

    def _go_together(self) -> None:
        """Have the matchers of the rows that are not finished go on in lockstep from now on."""
        for row, (_, finished) in enumerate(self._places):
            if finished:
                # transformers ignores these scores, but a row without any allowed token would make it fail.
                self._bitmask[row] = self._eos_row
        rows = [row for row, (_, finished) in enumerate(self._places) if not finished]
        matchers = [self._places[row][0].matcher for row in rows]
        self._lockstep = Lockstep(self._batch, matchers, self._bitmask, rows) if rows else None

    def _go_on(self, ids: npt.NDArray[np.int64]) -> None:
        """Masks for rows that are those of the call before and one more token each."""
        lockstep = self._lockstep
        if lockstep is None or len(lockstep.rows) < len(ids):
            for row, (_, finished) in enumerate(self._places):
                if finished:
                    self._until_end(row, ids[row, self._prompt_length :].astype(np.int32))
        if lockstep is None:
            return
        tokens = ids[:, -1].tolist()
        if len(lockstep.rows) < len(ids):
            tokens = [tokens[row] for row in lockstep.rows]
        refused, ended = lockstep.step(tokens)
        if refused:
            row = lockstep.rows[refused[0]]
            raise _not_allowed(row, tokens[refused[0]], lockstep.matchers[refused[0]].step_count)
        if ended:
            for number in ended:
                row = lockstep.rows[number]
                self._places[row] = self._places[row][0], True
            self._go_together()

    def _catch_up(self) -> None:
        """Have the walks know what their matchers have gone over in lockstep."""
        for (walk, _), ids in zip(self._places, self._ids[:, self._prompt_length :].astype(np.int32), strict=True):
            walk.catch_up(ids)
        self._forget_call()

    def _forget_call(self) -> None:
        """There is no call before, that rows could be gone on with from."""
        self._ids, self._places, self._lockstep, self._whole = _NO_IDS, [], None, False

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
        self._prompt_length = length
        return input_ids[:, length:].cpu().numpy().astype(np.int32)

    def _found(self, rows: npt.NDArray[np.int32]) -> list[tuple[_Walk, bool]]:
        """For each of the rows, [B, generated], a walk of its own that stands at its tokens, and whether it is finished."""
        if len(rows) % len(self._grammars):
            raise MatcherError(f"{len(rows)} rows do not divide among {len(self._grammars)} grammars")
        self._searches += 1
        per_grammar = len(rows) // len(self._grammars)
        wanted = [(row // per_grammar, *self._until_end(row, tokens)) for row, tokens in enumerate(rows)]
        # Rows that a walk fits exactly choose first, so that no other row carries their walk away.
        fitting = {(walk.grammar, walk.tokens.tobytes()): walk for walk in self._walks}
        found: list[_Walk | None] = []
        for grammar, tokens, _ in wanted:
            walk = fitting.pop((grammar, tokens.tobytes()), None) or fitting.pop((grammar, tokens[:-1].tobytes()), None)
            if walk is not None:
                walk.served = self._searches
            found.append(walk)
        walks = []
        for row, (grammar, tokens, finished) in enumerate(wanted):
            walk = found[row] or self._nearest(grammar, tokens)
            walk.served = self._searches
            wrong = walk.move(tokens)
            if wrong is not None:
                raise _not_allowed(row, int(tokens[wrong]), wrong)
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
                cost = len(tokens) - walk.common(tokens) + FORK_COST * (walk.served == self._searches)
                if cost < least:
                    best, least = walk, cost
        if best is None:
            best = _Walk(grammar, GrammarMatcher(self._grammars[grammar]), tokens[:0])
        elif best.served == self._searches:
            best = _Walk(grammar, best.matcher.fork(), best.tokens)
        else:
            return best
        self._walks.append(best)
        return best


# transformers asks for the signature of every processor at every step. Finding it out takes as long as a mask; kept
# here it is found at once.
MaskLogitsProcessor.__call__.__signature__ = inspect.signature(MaskLogitsProcessor.__call__)  # type: ignore[attr-defined]


def grammars_of(compiled: CompiledGrammar | Sequence[CompiledGrammar]) -> list[CompiledGrammar]:
    """The grammars of one generation, at least one.

    Raises:
        ValueError: there are none, or they are over vocabularies of different sizes.
        TokenizerError: a vocabulary has no token that ends a sequence.
    """
    grammars = [compiled] if isinstance(compiled, CompiledGrammar) else list(compiled)
    if not grammars:
        raise ValueError("give at least one compiled grammar")
    infos = [grammar.tokenizer_info for grammar in grammars]
    if len({info.vocab_size for info in infos}) > 1:
        raise ValueError("the grammars were compiled for vocabularies of different sizes")
    if not all(info.eos_token_ids for info in infos):
        raise TokenizerError(
            "this vocabulary has no end-of-sequence token, so generate() could not stop: "
            "pass eos_token_ids= to TokenizerInfo"
        )
    return grammars


def _not_allowed(row: int, token: int, position: int) -> MatcherError:
    return MatcherError(
        f"row {row} holds token {token} at position {position} after the prompt, where the grammar "
        f"does not allow it. Put MaskLogitsProcessor last among the logits processors; {_NEW_GENERATION}"
    )
