"""A batch's forwards: one causal model, the key-value cache of what it has seen, and which columns are padding.

Rows advance by different numbers of tokens, so that every forward is padded on the left, and the padding stays in the
cache as masked columns (2 rows, 3 forwards; `.` is padding):

    tokens      a b c | d     | e f g        . . a b c | d | e f g      row 0
    tokens        x   | y z w | v            . . . . x | y z w | v      row 1 is padded to the same columns
    position    counts the row's own tokens, whatever the column

Only attention over the whole row tells columns from positions. Models with sliding windows or recurrent states need
rows without gaps behind the prompt, hence `ragged`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from maskwright.grammars.errors import ModelError
from maskwright.runtime.model_facts import check_keeps_cache, forward_parameters

if TYPE_CHECKING:
    import torch

__all__ = ["CachedModel", "forward_parameters"]


class CachedModel:
    """Rows of tokens in the making.

    Attributes:
        forwards: forwards so far.
        lengths: tokens that each row has seen, padding not counted.
    """

    def __init__(self, model: Any, rows: int) -> None:
        import torch

        check_keeps_cache(model)
        self._model, self._device = model, model.device  # which transformers looks up anew each time
        self._cache: Any = None
        self._mask = torch.zeros((rows, 0), dtype=torch.int64)  # [B, columns], 0 where the cache holds padding
        self.forwards, self.lengths = 0, [0] * rows
        known = forward_parameters(model)
        self._takes_positions = "position_ids" in known
        # Only the last position's logits matter; most models can leave the others (prompt x vocabulary) uncomputed.
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in known else {}

    @property
    def ragged(self) -> bool:
        """Whether rows may now advance by different numbers of tokens in one forward."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        if self._cache is None or len(self.lengths) == 1:
            return True  # a prompt's padding lies before everything, which every model understands
        return isinstance(self._cache, DynamicCache) and all(
            type(layer) is DynamicLayer for layer in self._cache.layers
        )

    def forward(self, chunks: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits [B, V] after each row's last token, in a dtype that kernels/sampling.py draws from.

        Args:
            chunks: the rows' next tokens, at least one each.
        """
        import torch

        width = max(map(len, chunks))
        ids = torch.tensor([[0] * (width - len(chunk)) + list(chunk) for chunk in chunks])
        own = torch.tensor([[0] * (width - len(chunk)) + [1] * len(chunk) for chunk in chunks])
        self._mask = torch.cat([self._mask, own], dim=1)
        positions = (torch.tensor(self.lengths)[:, None] + own.cumsum(1) - 1).clamp(min=0)
        device = self._device
        options = {"position_ids": positions.to(device), **self._options} if self._takes_positions else self._options
        output = self._model(
            input_ids=ids.to(device),
            attention_mask=self._mask.to(device),
            past_key_values=self._cache,
            use_cache=True,
            **options,
        )
        self._cache = output.past_key_values
        if not hasattr(self._cache, "reorder_cache"):
            kind = type(self._cache).__name__
            raise ModelError(
                f"{type(self._model).__name__} gives {kind} for a cache where transformers' Cache is wanted"
            )
        self.forwards += 1
        self.lengths = [length + len(chunk) for length, chunk in zip(self.lengths, chunks, strict=True)]
        logits: torch.Tensor = output.logits[:, -1]
        return logits if logits.dtype in (torch.float32, torch.bfloat16, torch.float16) else logits.float()

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order; one may be named several times (the samples of a prompt), or dropped."""
        import torch

        if self._cache is not None and list(rows) != list(range(len(self.lengths))):
            self._cache.reorder_cache(torch.tensor(rows, dtype=torch.int64, device=self._device))
        self._mask = self._mask[list(rows)]
        self.lengths = [self.lengths[row] for row in rows]
