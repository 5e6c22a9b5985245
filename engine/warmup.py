"""Compile every kernel now: numba compiles at the first call and keeps the machine code beside the sources."""

from __future__ import annotations

import argparse
import time

import numpy as np

from maskwright.cli_output import print_json
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.kernels.bitmask import allocate_token_bitmask, apply_token_bitmask_inplace, copy_masked
from maskwright.kernels.logits import log_sum_exp
from maskwright.rehearsal import rehearse
from maskwright.runtime.batch import BatchGrammarMatcher
from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["run", "warm_up"]


def warm_up() -> None:
    """Enter every kernel that matching and masking on a CPU uses; a minute the first time on a machine."""
    rehearse()
    letters = TokenizerInfo([b"a", b""], eos_token_ids=[1])
    with BatchGrammarMatcher(1) as batch:
        batch.batch_mask_rows([GrammarMatcher(GrammarCompiler(letters).compile_regex("a*"))])
    bitmask, logits = allocate_token_bitmask(1, 32, backend="numpy"), np.zeros((1, 32), np.float32)
    apply_token_bitmask_inplace(logits, bitmask)
    copy_masked(logits, bitmask, logits.copy())
    log_sum_exp(logits, logits.max(1), np.empty(1))


def run(options: argparse.Namespace) -> int:
    """`maskwright warmup`; the exit code."""
    start = time.perf_counter()
    if not options.json:
        print("compiling the kernels ...", flush=True)
    warm_up()
    seconds = time.perf_counter() - start
    if options.json:
        print_json({"status": "ready", "seconds": round(seconds, 3)})
    else:
        print(f"the kernels are ready ({seconds:.1f} s)")
    return 0
