"""MLX-LM: a logits processor, for `stream_generate`, `generate_step`, `BatchGenerator` and speculative generation.

model, tokenizer = mlx_lm.load(...)
compiled = GrammarCompiler(tokenizer_info(tokenizer, model)).compile_json_schema(schema)
processor = MlxProcessor(compiled)
for response in mlx_lm.stream_generate(model, tokenizer, prompt, logits_processors=[processor]): ...
processor.check()
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.constraint import PrefixMask

__all__ = ["MlxProcessor", "tokenizer_info"]


def tokenizer_info(tokenizer: Any, model: Any = None) -> TokenizerInfo:
    """The vocabulary of a tokenizer of mlx_lm, as large as the model's logits where a model is given."""
    size = getattr(getattr(model, "args", None), "vocab_size", None)
    ends = getattr(tokenizer, "eos_token_ids", None)
    if not isinstance(ends, set):  # one of transformers, which mlx_lm's wraps
        return TokenizerInfo.from_huggingface(tokenizer, vocab_size=size)
    return TokenizerInfo.from_huggingface(tokenizer._tokenizer, vocab_size=size, eos_token_ids=ends or None)


class MlxProcessor(PrefixMask):
    """One generation's logits processor: `f(tokens mx.array [n], logits mx.array [1, V]) -> mx.array [1, V]`.

    Its first call tells how long the prompt is, as far as MLX-LM hands it over (speculative generation begins with the last
    token of it alone); later ones may be shorter than those before, when drafts were rejected.

    Where something goes wrong the answer ends, and `check()` raises the error. A new processor for each generation, or
    `reset()`. Arguments are those of PrefixMask; the grammar is over `tokenizer_info(tokenizer, model)`.
    """

    def __call__(self, tokens: Any, logits: Any) -> Any:
        import mlx.core as mx

        row = self.row(np.asarray(tokens).reshape(-1))
        columns = logits.shape[-1]
        allowed = np.zeros(columns, np.bool_)  # columns beyond the vocabulary stay disallowed
        bits = np.unpackbits(row.view(np.uint8), bitorder="little")[:columns]
        allowed[: len(bits)] = bits
        return mx.where(mx.array(allowed), logits, mx.array(-float("inf"), logits.dtype))
