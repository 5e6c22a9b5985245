"""Compile every kernel now: numba compiles at the first call and keeps the machine code beside the sources."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba.core import event

from maskwright.cli_output import print_json
from maskwright.compile.mask_table import MaskTable
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.kernels import numba_sampling
from maskwright.kernels.bitmask import allocate_token_bitmask, apply_token_bitmask_inplace, copy_masked, count_allowed
from maskwright.kernels.logits import likeliest, likeliest_few
from maskwright.rehearsal import rehearse
from maskwright.runtime.aligned_trie import ROOT, AlignedTrie
from maskwright.runtime.allowed_rows import Row
from maskwright.runtime.batch import BatchGrammarMatcher
from maskwright.runtime.lockstep import Lockstep
from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["run", "warm_up"]


def warm_up(*, second_process: bool = False) -> None:
    """Enter every kernel that matching and masking on a CPU uses; half a minute the first time on a machine.

    Args:
        second_process: start another process that compiles half of them, if any have to be compiled.
    """
    rehearse(_second_process() if second_process else None)
    _step_together()
    _mask_logits()
    _descend()


def _step_together() -> None:
    letters = TokenizerInfo([b"a", b""], eos_token_ids=[1])
    compiler = GrammarCompiler(letters, mask_table=MaskTable(letters.vocab_size, max_bytes=0))
    matcher = GrammarMatcher(compiler.compile_regex("a"))
    with BatchGrammarMatcher(1) as batch:
        batch.batch_mask_rows([matcher])
        Lockstep(batch, [matcher], allocate_token_bitmask(1, letters.vocab_size, backend="numpy"), [0]).step([0])
    matcher.mask_row()  # another mask, in the place of the first
    nowhere = np.full(1, -1, np.int64)
    bitmask = allocate_token_bitmask(1, letters.vocab_size, backend="numpy")
    matcher.traverse_draft_tree(nowhere, nowhere, np.zeros(1, np.int64), bitmask)


def _mask_logits() -> None:
    bitmask, logits = allocate_token_bitmask(1, 32, backend="numpy"), np.zeros((1, 32), np.float32)
    apply_token_bitmask_inplace(logits, bitmask)
    copy_masked(logits, bitmask, logits.copy())
    copy_masked(np.zeros((1, 64), np.float32)[:, ::2], bitmask, logits.copy())  # llama.cpp's lie beside ids
    likeliest(logits, bitmask, np.empty(1, np.int64), np.empty(1))
    likeliest_few(logits, bitmask, np.empty((1, 8), np.int32), np.empty((1, 8), np.float32))
    count_allowed(bitmask, np.empty(1, np.int64))
    number, place, share = np.zeros(1, np.int32), np.zeros(1, np.int64), np.ones(1, np.float32)
    numba_sampling.sample(
        logits, bitmask, number, share, place, place, share, 0, False, place.copy(), share.copy(), share.copy()
    )


def _descend() -> None:
    trie, row = AlignedTrie(), Row.of(np.array([0]), np.zeros(1))
    trie.expand(ROOT, row)
    trie.tokens_to(trie.add(ROOT, 0, 0.0, ended=True))
    trie.settle({ROOT: row})
    trie.walk(np.array([ROOT]), np.random.default_rng(0))


class _Helper(event.Listener):  # type: ignore[misc]
    """A process that compiles what this one has to load afterwards, from the first compilation on."""

    process: subprocess.Popen[bytes] | None = None

    def on_start(self, event: Any) -> None:
        if self.process is None:
            code = "from maskwright.rehearsal import compile_walks; compile_walks()"
            self.process = subprocess.Popen([sys.executable, "-P", "-c", code])

    def on_end(self, event: Any) -> None:
        """Nothing: the process goes on."""


@contextmanager
def _second_process() -> Iterator[None]:
    """Compile in another process what has to be there at the end. What fails in it is compiled, and fails, here."""
    helper = _Helper()
    try:
        with event.install_listener("numba:compile", helper):
            yield
            _mask_logits()
    finally:
        if helper.process is not None:
            helper.process.wait()


def run(options: argparse.Namespace) -> int:
    """`maskwright warmup`; the exit code."""
    start = time.perf_counter()
    if not options.json:
        print("compiling the kernels ...", flush=True)
    warm_up(second_process=True)
    seconds = time.perf_counter() - start
    if options.json:
        print_json({"status": "ready", "seconds": round(seconds, 3)})
    else:
        print(f"the kernels are ready ({seconds:.1f} s)")
    return 0
