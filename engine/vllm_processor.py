"""vLLM's logits processor over Maskwright, for either of its model runners; needs vLLM.

    LLM(model, logits_processors=["maskwright.vllm_processor:MaskwrightLogitsProcessor"])
    SamplingParams(extra_args={"maskwright": '{"json": {"type": "object"}}'})

The form of an answer comes with each request, as JSON text (over HTTP `vllm_xargs` holds texts and numbers). The backend of
maskwright.vllm_backend is the better way where it can be had: it knows of drafts, and computes masks while the model runs.

vLLM's loaders want a class of their runner's own base class; this one has both, and tells the runners apart by the
arguments that it is made with.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from vllm.exceptions import VLLMValidationError
from vllm.v1.sample.logits_processor import LogitsProcessor as ProcessorV1
from vllm.v1.sample.logits_processor import MoveDirectionality
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as ProcessorV2

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.constraint import Constraint
from maskwright.forms import Form, form_of
from maskwright.grammars.errors import MaskwrightError
from maskwright.judge import byte_vocabulary
from maskwright.kernels.bitmask import apply_token_bitmask_inplace
from maskwright.sessions import Sessions

__all__ = ["MaskwrightLogitsProcessor"]

_LOG = logging.getLogger("maskwright.servers")
_ARGUMENT = "maskwright"


class MaskwrightLogitsProcessor(ProcessorV1, ProcessorV2):
    """Keeps the requests that ask for a form inside of it."""

    def __init__(self, vllm_config: Any, device_or_states: Any, is_pin_memory: bool | None = None) -> None:
        """As the runner makes it: (config, device, is_pin_memory) in version 1, (config, request states) in version 2."""
        self._states: Any = device_or_states if is_pin_memory is None else None
        self._model_config = vllm_config.model_config
        self._sessions = Sessions()
        self._constraints: dict[int, Constraint] = {}  # by place in the batch, or by slot
        self._outputs: dict[int, Sequence[int]] = {}  # version 1: the lists that grow

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise VLLMValidationError, a status of 400, for a form that cannot be enforced, whatever the vocabulary."""
        try:
            form = _form(sampling_params)
            if form is not None:
                form.compile(_validator())
        except MaskwrightError as error:
            raise VLLMValidationError(str(error)) from error

    @functools.cached_property
    def _compiler(self) -> GrammarCompiler:
        """Made for the first request that has a form: vLLM loads this class wherever Maskwright is installed."""
        tokenizer, vocab_size = _tokenizer(self._model_config), int(self._model_config.get_vocab_size())
        return GrammarCompiler(TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size))

    def is_argmax_invariant(self) -> bool:
        return False

    # Version 1

    def update_state(self, batch_update: Any) -> None:
        """Follow requests that come, go and move within the batch."""
        if batch_update is None:
            return
        for place in batch_update.removed:
            self._drop(place)
        for place, params, _, outputs in batch_update.added:
            self._drop(place)
            if self._begin(place, params):
                self._outputs[place] = outputs
        for start, end, direction in batch_update.moved:
            for kept in (self._constraints, self._outputs):
                moving, replaced = kept.pop(start, None), kept.pop(end, None)
                if moving is not None:
                    kept[end] = moving  # type: ignore[assignment]
                if replaced is not None and direction == MoveDirectionality.SWAP:
                    kept[start] = replaced  # type: ignore[assignment]

    # Version 2

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """A request in a slot; whether it has a form."""
        self._drop(req_idx)
        return self._begin(req_idx, sampling_params)

    # Both

    def apply(self, logits: Any, ctx: Any = None) -> Any:
        """Mask, in place, the rows of requests that have a form: logits [rows, V]."""
        if not self._constraints:
            return logits
        rows: list[tuple[int, int, Sequence[int] | npt.NDArray]]
        if ctx is None:
            rows = [(place, place, self._outputs[place]) for place in sorted(self._constraints)]
        else:
            rows = [(row, slot, self._tokens(row, slot, ctx)) for row, slot in self._rows(ctx)]
        if not rows:
            return logits
        masks = np.zeros((len(rows), -(-self._compiler.tokenizer_info.vocab_size // 32)), np.int32)
        for mask, (_, place, tokens) in zip(masks, rows, strict=True):
            self._constraints[place].fill(tokens, mask)
        numbers = [row for row, _, _ in rows]
        masked = logits[numbers]
        apply_token_bitmask_inplace(masked, masks)
        logits[numbers] = masked
        return logits

    def _rows(self, ctx: Any) -> list[tuple[int, int]]:
        slots = ctx.expanded_idx_mapping.tolist()
        return [(row, slot) for row, slot in enumerate(slots) if slot in self._constraints]

    def _tokens(self, row: int, slot: int, ctx: Any) -> npt.NDArray:
        """What a request has generated before a row of version 2: committed tokens, and drafts up to the row."""
        states, ahead = self._states, int(ctx.expanded_local_pos[row])
        begin, end = int(states.prompt_len.np[slot]), int(ctx.pos[row]) + 1 - ahead
        committed = states.all_token_ids.gpu[slot, begin:end].cpu().numpy()
        return np.concatenate([committed, ctx.input_ids[row - ahead + 1 : row + 1].cpu().numpy()])

    def _begin(self, place: int, params: Any) -> bool:
        form = _form(params)
        if form is not None:
            self._constraints[place] = Constraint(self._sessions, self._compiled(form))
        return form is not None

    def _compiled(self, form: Form) -> CompiledGrammar:
        """The grammar of a form. An error here would take the engine down with every other request: one that this vocabulary
        cannot write (all else was refused at admission) gets the empty answer, and the log has the reason.
        """
        try:
            return form.compile(self._compiler)
        except MaskwrightError as error:
            _LOG.error("the answer of a request stays empty: %s", error)
            return self._compiler.compile_regex("")

    def _drop(self, place: int) -> None:
        self._constraints.pop(place, None)
        self._outputs.pop(place, None)


def _form(params: Any) -> Form | None:
    """The form that a request's extra arguments ask for.

    Raises:
        GrammarError: it is not well formed.
    """
    given = (params.extra_args or {}).get(_ARGUMENT)
    if given is None:
        return None
    try:
        described = json.loads(given) if isinstance(given, str) else given
    except ValueError as error:
        raise VLLMValidationError(f"{_ARGUMENT} is not JSON: {error}") from error
    if not isinstance(described, dict):
        raise VLLMValidationError(f'{_ARGUMENT} is an object such as {{"json": {{...}}}}, as JSON text')
    return form_of(described, f"/{_ARGUMENT}")


@functools.lru_cache(maxsize=1)
def _validator() -> GrammarCompiler:
    """The compiler of vLLM's front end, which shows its processors no tokenizer."""
    return GrammarCompiler(byte_vocabulary(), max_cache_bytes=32 << 20)


def _tokenizer(model_config: Any) -> Any:
    from vllm.tokenizers import cached_tokenizer_from_config

    return cached_tokenizer_from_config(model_config=model_config)
