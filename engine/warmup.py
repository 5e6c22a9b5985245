"""Compile every kernel now: numba compiles at the first call and keeps the machine code beside the sources.

The grammar and the texts below are chosen to make the matcher enter each kernel once; nothing else depends on them.
"""

from __future__ import annotations

import argparse
import string
import time
from itertools import product

import numpy as np

from maskwright.cli_output import print_json
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.judge import byte_vocabulary
from maskwright.kernels.bitmask import allocate_token_bitmask, apply_token_bitmask_inplace
from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["run", "warm_up"]

_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "code": {"type": "string", "pattern": "^[a-z]*$"},
        "items": {"type": "array", "items": {"type": "number"}},
    },
    "required": ["name", "code", "items"],
}
# Enough tokens inside "name" for a dense mask row, fewer inside "code" for a sparse one, and enough that lead out of a
# string for a trie of remainders.
_PAIRS = [bytes(pair) for pair in product(string.ascii_letters.encode(), repeat=2)]
_CLOSING = [letter.encode() + ending for letter in string.ascii_letters for ending in (b'": ', b'", "', b'"}')]
_TEXT = '{"name": "é", "code": "bad", "items": [1, 2.5], "names": null}'


def warm_up() -> None:
    """Enter every kernel that matching and masking on a CPU uses; some seconds the first time on a machine."""
    bytes_alone = byte_vocabulary()
    info = TokenizerInfo([*bytes_alone.tokens, *_PAIRS, *_CLOSING], eos_token_ids=bytes_alone.eos_token_ids)
    matcher = GrammarMatcher(GrammarCompiler(info).compile_json_schema(_SCHEMA))
    bitmask = allocate_token_bitmask(1, info.vocab_size, backend="numpy")
    for byte in _TEXT.encode():
        matcher.fill_next_token_bitmask(bitmask)
        matcher.find_jump_forward_string()
        matcher.accept_token(byte)
    matcher.fork().rollback(3)
    matcher.reset()
    matcher.accept_string(_TEXT)
    matcher.allowed_token_ids()
    matcher.allowed_bytes()
    matcher.is_completed()
    apply_token_bitmask_inplace(np.zeros((1, info.vocab_size), np.float32), bitmask)


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
