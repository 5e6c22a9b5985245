"""Maskwright: JSON Schema and grammars as exact token masks.

    import maskwright as mw

    obj = mw.generate(model, "Extract the order: ...", schema=Order)        # a pydantic class in, an instance out

    info = mw.TokenizerInfo.from_huggingface(tokenizer)                     # or piece by piece, as servers do
    compiled = mw.GrammarCompiler(info).compile_json_schema(schema)
    matcher = mw.GrammarMatcher(compiled)
    bitmask = mw.allocate_token_bitmask(1, info.vocab_size)
    matcher.fill_next_token_bitmask(bitmask)
    mw.apply_token_bitmask_inplace(logits, bitmask)

Names load on first use (PEP 562), so that `import maskwright` costs next to nothing: it brings in neither torch nor
numba and compiles nothing. `__all__` is the public API.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskwright.aligned import AlignedSampler
    from maskwright.aligned_result import AlignedResult
    from maskwright.byte_level import byte_distribution
    from maskwright.compile.grammar import CompiledGrammar
    from maskwright.compile.mask_table import MaskTable
    from maskwright.compile.vocabulary import TokenizerInfo
    from maskwright.compiler import GrammarCompiler
    from maskwright.generation import agenerate, generate
    from maskwright.grammars.errors import (
        BatchError,
        GrammarError,
        InvalidError,
        LimitExceeded,
        MaskwrightError,
        MatcherError,
        ModelError,
        SavedGrammarError,
        SavedTrieError,
        TokenizerError,
        TruncatedError,
        UnsatisfiableError,
        UnsupportedError,
    )
    from maskwright.grammars.grammar import Grammar
    from maskwright.inside_transformers import custom_generate
    from maskwright.kernels.bitmask import allocate_token_bitmask, apply_token_bitmask_inplace
    from maskwright.processor import MaskLogitsProcessor
    from maskwright.results import GenerationResult, StreamChunk
    from maskwright.runtime.batch import BatchGrammarMatcher
    from maskwright.runtime.matcher import GrammarMatcher
    from maskwright.runtime.samples import Budget
    from maskwright.speculation_options import Speculation

__version__ = "0.1.0"

__all__ = [
    "AlignedResult",
    "AlignedSampler",
    "BatchError",
    "BatchGrammarMatcher",
    "Budget",
    "CompiledGrammar",
    "GenerationResult",
    "Grammar",
    "GrammarCompiler",
    "GrammarError",
    "GrammarMatcher",
    "InvalidError",
    "LimitExceeded",
    "MaskLogitsProcessor",
    "MaskTable",
    "MaskwrightError",
    "MatcherError",
    "ModelError",
    "SavedGrammarError",
    "SavedTrieError",
    "Speculation",
    "StreamChunk",
    "TokenizerError",
    "TokenizerInfo",
    "TruncatedError",
    "UnsatisfiableError",
    "UnsupportedError",
    "__version__",
    "agenerate",
    "allocate_token_bitmask",
    "apply_token_bitmask_inplace",
    "byte_distribution",
    "custom_generate",
    "generate",
]

# Where each name lives: an immutable table, held equal to `__all__` and to the imports above by tests.
_HOME = {
    "AlignedResult": "maskwright.aligned_result",
    "AlignedSampler": "maskwright.aligned",
    "BatchGrammarMatcher": "maskwright.runtime.batch",
    "Budget": "maskwright.runtime.samples",
    "CompiledGrammar": "maskwright.compile.grammar",
    "GenerationResult": "maskwright.results",
    "Grammar": "maskwright.grammars.grammar",
    "GrammarCompiler": "maskwright.compiler",
    "GrammarMatcher": "maskwright.runtime.matcher",
    "MaskLogitsProcessor": "maskwright.processor",
    "MaskTable": "maskwright.compile.mask_table",
    "Speculation": "maskwright.speculation_options",
    "StreamChunk": "maskwright.results",
    "TokenizerInfo": "maskwright.compile.vocabulary",
    "agenerate": "maskwright.generation",
    "allocate_token_bitmask": "maskwright.kernels.bitmask",
    "apply_token_bitmask_inplace": "maskwright.kernels.bitmask",
    "byte_distribution": "maskwright.byte_level",
    "custom_generate": "maskwright.inside_transformers",
    "generate": "maskwright.generation",
    **dict.fromkeys((name for name in __all__ if name.endswith(("Error", "Exceeded"))), "maskwright.grammars.errors"),
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # later look-ups do not come back here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
