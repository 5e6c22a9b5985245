"""The entry point `vllm.general_plugins`: vLLM loads it in each of its processes, at the start.

    MASKWRIGHT_VLLM=1 vllm serve MODEL --structured-outputs-config '{"backend": "guidance"}'

vLLM has no registry of structured-output backends. So the classes and functions behind its backend "guidance" are replaced,
when the variable says so: who has Maskwright installed for something else must not find it there.

A worker, the process that holds the model, never sees a grammar. It is left alone: numba would cost it memory, and vLLM 0.32
on a CPU looks through all modules of its worker in a way that llvmlite's do not bear.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from importlib import import_module

__all__ = ["register"]

_LOG = logging.getLogger("maskwright.servers")


def register() -> None:
    """Put Maskwright in the place of vLLM's backend "guidance", if MASKWRIGHT_VLLM is 1.

    Raises:
        RuntimeError: this vLLM has not the names that are to be replaced.
    """
    if os.environ.get("MASKWRIGHT_VLLM", "0") not in ("1", "true") or _in_worker():
        return
    from maskwright.vllm_backend import MaskwrightBackend, tokenizer_for_validation, validate_form
    from maskwright.warmup import warm_up

    for module, name, value in (
        ("vllm.v1.structured_output", "GuidanceBackend", MaskwrightBackend),
        ("vllm.v1.structured_output.backend_guidance", "GuidanceBackend", MaskwrightBackend),
        ("vllm.v1.structured_output.backend_guidance", "validate_guidance_grammar", validate_form),
        ("vllm.v1.structured_output.backend_guidance", "has_guidance_unsupported_json_features", _none_unsupported),
        ("vllm.sampling_params", "_get_llg_tokenizer", tokenizer_for_validation),
    ):
        target = import_module(module)
        if not hasattr(target, name):
            raise RuntimeError(f"this version of vLLM has no {module}.{name}; Maskwright knows 0.32 and 0.33")
        setattr(target, name, value)
    warm_up()
    _LOG.info('Maskwright serves structured outputs in the place of the backend "guidance"')


def _in_worker() -> bool:
    """Whether this process is one that vLLM has started to hold the model."""
    return multiprocessing.current_process().name.startswith("VllmWorker")


def _none_unsupported(schema: object) -> bool:
    """Whether vLLM should go to another backend: no, a schema that cannot be enforced is refused with its reason."""
    return False
