"""Enter every kernel of matching once: numba compiles at the first call on a machine, and loads at the first one of a process.

Each kernel takes some milliseconds to load, the first mask that needs it would wait. The grammar and the texts below are
chosen to enter all of them; nothing else depends on them.

There are two kinds: those that lay tables, and those that go through them (`compile_walks`), which take longer to compile
and need nothing of the others. Two processes can compile them side by side.
"""

from __future__ import annotations

import math
import string
import threading
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from typing import Any

import numpy as np
from numba import types

from maskwright.compile.automaton import Automaton
from maskwright.compile.grammar import CompiledGrammar, Limits
from maskwright.compile.literals import Literals
from maskwright.compile.rows import RowCache
from maskwright.compile.token_tables import TokenTables
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars import regular
from maskwright.grammars.json_schema import load_schema
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.rules import Call, Choice, Loop, Rules, Sequence, Text
from maskwright.kernel_progress import shown_compilation
from maskwright.kernels.automaton import (
    accept_bytes,
    accept_token,
    allowed_bytes,
    close_node,
    completed,
    fill,
    forced_bytes,
)
from maskwright.kernels.members import lay_places
from maskwright.kernels.remainders import build_remainders, part_exits
from maskwright.kernels.walks import walk_row
from maskwright.kernels.words import lay_words
from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["compile_walks", "rehearse"]

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "code": {"type": "string", "pattern": "^[a-zA-M]*$"},
        "mood": {"enum": ["good", "bad"]},
        "items": {"type": "array", "items": {"type": "number"}},
    },
    "required": ["name", "code", "items"],
}
# Enough tokens inside "name" for a dense mask row, fewer inside "code" for a sparse one, and enough that lead out of a
# string for a trie of remainders.
_PAIRS = [bytes(pair) for pair in product(string.ascii_letters.encode(), repeat=2)]
_CLOSING = [letter.encode() + ending for letter in string.ascii_letters for ending in (b'": ', b'", "', b'"}')]
_TEXT = '{"name": "é", "code": "bad", "mood": "good", "items": [1, 2.5], "names": null}'
_LETTER = Text(regular.literal("a"))
_AMBIGUOUS = Rules({"root": Choice((Sequence((_LETTER, Call("root"), Loop(_LETTER, 0, 1))), _LETTER))}, "root")

_LITERALS = Literals.of_words(["a", "ab"])

# A kernel that is compiled meanwhile counts as lowering.
_NO_LIMITS = Limits(max_lowering_ms=math.inf, max_compile_ms=math.inf)

_lock = threading.Lock()
_done = False


def rehearse(beside: AbstractContextManager[object] | None = None) -> None:
    """Enter the kernels, once a process; half a minute the first time on a machine, which is shown on standard error.

    Args:
        beside: entered before the kernels that lay tables, left before those that go through them are needed.
    """
    global _done
    with _lock:
        if not _done:
            with shown_compilation():
                with beside or nullcontext():
                    automaton = _lay_tables()
                _follow_texts(automaton)
            _done = True


def compile_walks() -> None:
    """Compile the kernels that go through tables, without entering them; their arguments are all int64."""
    for kernel in (fill, walk_row, forced_bytes, accept_token, accept_bytes, allowed_bytes, completed, close_node):
        kernel.compile((types.int64,) * kernel.py_func.__code__.co_argcount)


def _lay_tables() -> Automaton:
    every_byte = [bytes((byte,)) for byte in range(256)]
    tokens = TokenTables(
        TokenizerInfo([*every_byte, *_PAIRS, *_CLOSING, b""], eos_token_ids=[256 + len(_PAIRS + _CLOSING)])
    )
    automaton = Automaton(tokens, RowCache(1 << 20), 1 << 20)
    CompiledGrammar.of_literals(automaton, _LITERALS, _NO_LIMITS)
    for kernel in (lay_words, lay_places):
        kernel.compile((types.int64,) * kernel.py_func.__code__.co_argcount)
    trie = tokens.trie_end, tokens.trie_first, tokens.trie_depth
    exits = np.zeros((0, 3), np.int32)
    part_exits(exits, *trie, 0)
    build_remainders(exits, *trie, tokens.trie_tokens, tokens.offsets, tokens.text, tokens.everything)
    return automaton


def _follow_texts(automaton: Automaton) -> None:
    policy, loaded = SchemaOptions(), load_schema(_SCHEMA)
    grammar = CompiledGrammar.of_schema(automaton, policy, loaded, _NO_LIMITS)
    matcher = GrammarMatcher(grammar)
    for byte in _TEXT.encode():
        matcher.allowed_token_ids()
        matcher.find_jump_forward_string()
        matcher.accept_token(byte)
    matcher.reset()
    matcher.accept_string(_TEXT)
    matcher.allowed_bytes()
    matcher.is_completed()
    ambiguous = GrammarMatcher(CompiledGrammar.of_rules(automaton, _AMBIGUOUS, _NO_LIMITS))
    for _ in range(8):
        ambiguous.accept_token(ord("a"))
        ambiguous.allowed_token_ids()
    GrammarMatcher(CompiledGrammar.of_literals(automaton, _LITERALS, _NO_LIMITS)).allowed_token_ids()
