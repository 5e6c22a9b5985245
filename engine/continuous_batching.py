"""transformers' continuous batching: a form for each request; needs transformers with continuous batching (5.23).

manager = model.init_continuous_batching(continuous_batching_config=ContinuousBatchingConfig(use_async_batching=False))
masks = enter_masks(manager, compiler)
manager.start()
manager.add_request(ids, form='{"json": {"type": "object"}}')        # as docs/servers.md has it, as JSON text
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor

from maskwright.compiler import GrammarCompiler
from maskwright.constraint import Constraint
from maskwright.forms import form_of
from maskwright.kernels.bitmask import apply_token_bitmask_inplace, bitmask_words
from maskwright.sessions import Sessions

__all__ = ["ContinuousBatchingMask", "enter_masks"]

_MAX_REQUESTS = 4096  # whose constraints are remembered


def enter_masks(manager: Any, compiler: GrammarCompiler) -> ContinuousBatchingMask:
    """Have a manager that has not started yet keep the forms of its requests.

    Raises:
        ValueError: the manager batches asynchronously: tokens would be drawn before their masks are known.
    """
    if manager.continuous_batching_config.use_async_batching:
        raise ValueError("masks need the tokens so far: pass ContinuousBatchingConfig(use_async_batching=False)")
    processors, mask = manager.logit_processor, ContinuousBatchingMask(compiler)
    processors.logits_processor.append(mask)
    processors.tensors_required += 1
    processors.supported_keys.update(mask.supported_kwargs)
    processors.do_processing = True
    return mask


class ContinuousBatchingMask(ContinuousBatchingLogitsProcessor):
    """Masks by the form that each request was added with; requests without one are free."""

    supported_kwargs = {"form": str}  # noqa: RUF012 - as the base class has it
    ignored_kwargs = ()

    def __init__(self, compiler: GrammarCompiler) -> None:
        self._compiler, self._sessions = compiler, Sessions()
        self._constraints: OrderedDict[str, Constraint] = OrderedDict()  # by request, used last at the end
        self._rows = np.zeros(0, np.int64)  # of the step at hand: rows of scores that have a mask, and the masks of all
        self._masks = np.zeros((0, 0), np.int32)

    def check(self, request_id: str) -> None:
        """Raise what went wrong with a request, if anything did: its answer has ended then."""
        if request_id in self._constraints:
            self._constraints[request_id].check()

    def fill_defaults(self, int32_tensor: Any) -> None:
        int32_tensor.fill_(0)

    def prepare_tensor_args(self, requests_with_new_token: Sequence[Any]) -> Any:
        """Fill the masks of a step; what is given to the device says nothing."""
        import torch

        asked = [
            (row, self._constraint(request.state), request.state.generated_tokens)
            for row, request in enumerate(requests_with_new_token)
            if "form" in request.state.logit_processor_kwargs
        ]
        self._rows = np.array([row for row, _, _ in asked], np.int64)
        words = bitmask_words(self._compiler.tokenizer_info.vocab_size)
        self._masks = np.empty((len(requests_with_new_token), words), np.int32)
        for row, constraint, tokens in asked:
            constraint.fill(tokens, self._masks[row])
        return torch.zeros(len(requests_with_new_token), dtype=torch.int32)

    def __call__(self, scores: Any, tensor_arg: Any) -> Any:
        """Mask scores [rows, V]; rows beyond those that were prepared are padding."""
        if len(self._rows):
            apply_token_bitmask_inplace(scores, self._masks, indices=self._rows)
        return scores

    def _constraint(self, state: Any) -> Constraint:
        if state.request_id not in self._constraints:
            self._constraints[state.request_id] = self._begun(state.logit_processor_kwargs["form"])
        self._constraints.move_to_end(state.request_id)
        while len(self._constraints) > _MAX_REQUESTS:
            self._constraints.popitem(last=False)
        return self._constraints[state.request_id]

    def _begun(self, form: str) -> Constraint:
        """A form that is wrong ends its answer at once: raised here, the error would end the manager with all requests."""
        try:
            return Constraint(self._sessions, form_of(json.loads(form)).compile(self._compiler))
        except Exception as error:
            refused = Constraint(self._sessions, self._compiler.compile_regex(""))
            refused.error = error
            return refused
