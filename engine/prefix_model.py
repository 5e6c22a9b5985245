"""A causal model of transformers as sampling asks it: logits behind any prefixes, each token processed once.

Keys and values are kept by prefix (prefix_places.py), in one tensor a layer. A forward gathers the places of what is known of
each row, processes what is not, and stores that. What is new of a row may branch, where the model's attention takes any mask:
then no token is processed twice, however many prefixes it is in. Places that were not used for longest are given to others
when there are no free ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from maskwright.cached_model import forward_parameters
from maskwright.prefix_places import Chunk, Places, chunks_of, common_beginning
from maskwright.runtime.tree_forward import added_mask, why_no_trees, window_of

if TYPE_CHECKING:
    import torch

__all__ = ["PrefixModel"]

_FIRST_PLACES = 256


class PrefixModel:
    """Logits of one model, for all prompts.

    Attributes:
        forwards: forwards so far.
        forward_tokens: tokens processed so far, padding not counted.
        reuses: whether the model's cache can be taken apart and put together again; if not, prefixes are read whole.
    """

    def __init__(self, model: Any, *, max_bytes: int = 1 << 30, max_rows: int = 64) -> None:
        """
        Args:
            model: a causal language model.
            max_bytes: of keys and values that are kept.
            max_rows: prefixes in a forward.
        """
        self.forwards = self.forward_tokens = 0
        self._model, self._max_bytes, self._max_rows = model, max_bytes, max_rows
        known = forward_parameters(model)
        self.reuses = "past_key_values" in known
        self._masks_freely = why_no_trees(model) is None and window_of(model) is None
        self._takes_positions, self._keeps_few = "position_ids" in known, "logits_to_keep" in known
        self._places = Places()
        self._keys: list[torch.Tensor] = []  # a layer: [places, heads, dimensions]
        self._values: list[torch.Tensor] = []

    def logits(self, prefixes: Sequence[Sequence[int]], /) -> torch.Tensor:
        """float32 [B, V]: what the model gives behind each prefix (prompt and answer so far, at least one token)."""
        import torch

        wanted = [tuple(prefix) for prefix in prefixes]
        answers: dict[tuple[int, ...], torch.Tensor] = {}
        with torch.inference_mode():
            if self.reuses and len(set(wanted)) > 1:
                self._read(common_beginning(wanted))
            chunks = chunks_of(wanted, self._places if self.reuses else None, self.takes_trees)
            for start in range(0, len(chunks), self._max_rows):
                self._forward(chunks[start : start + self._max_rows], answers)
        return torch.stack([answers[prefix] for prefix in wanted])

    @property
    def takes_trees(self) -> bool:
        """Whether prefixes that branch off from one another share the work on what they have in common, all of it."""
        return self.reuses and self._masks_freely

    def _read(self, prefix: tuple[int, ...]) -> None:
        """Process what all prefixes have in common, where it is not known yet: a prompt takes no mask of its own."""
        if len(prefix) > 1 and len(self._places.known(prefix)) < len(prefix) - 1:
            self._forward(chunks_of([prefix], self._places, False), {})

    def _forward(self, chunks: Sequence[Chunk], answers: dict[tuple[int, ...], torch.Tensor]) -> None:
        """One forward; `answers` gets the logits [V] of each prefix that was asked for."""
        import torch

        device = self._model.device
        past, width = max(len(chunk.places) for chunk in chunks), max(len(chunk.tokens) for chunk in chunks)
        # Both parts are padded on the left, so that the last columns are those whose logits are wanted.
        gathered, ids = np.zeros((len(chunks), past), np.int64), np.zeros((len(chunks), width), np.int64)
        valid, positions = np.zeros((len(chunks), past + width), bool), np.zeros((len(chunks), width), np.int64)
        for row, chunk in enumerate(chunks):
            before, new = len(chunk.places), len(chunk.tokens)
            gathered[row, past - before :], ids[row, width - new :] = chunk.places, chunk.tokens
            valid[row, past - before : past], valid[row, past + width - new :] = True, True
            positions[row, width - new :] = before + np.array(chunk.depths())
        kept = max(len(chunk.tokens) - min((number for _, number in chunk.asked), default=0) for chunk in chunks)
        options: dict[str, Any] = {
            "past_key_values": self._gathered(torch.from_numpy(gathered).to(device)),
            "use_cache": self.reuses,
        }
        if not self.reuses:
            options = {"use_cache": False} if "past_key_values" in forward_parameters(self._model) else {}
        if self._takes_positions:
            options["position_ids"] = torch.from_numpy(positions).to(device)
        if self._keeps_few:
            options["logits_to_keep"] = kept
        if any(chunk.branches for chunk in chunks):
            mask = added_mask(_visible(chunks, valid, past, width), self._model.dtype, self._model.device)
        else:
            mask = torch.from_numpy(valid.astype(np.int64)).to(device)
        output = self._model(input_ids=torch.from_numpy(ids).to(device), attention_mask=mask, **options)
        self.forwards += 1
        self.forward_tokens += sum(len(chunk.tokens) for chunk in chunks)
        logits = output.logits[:, -kept:]
        for line, chunk in zip(logits, chunks, strict=True):
            for prefix, number in chunk.asked:
                answers[prefix] = line[kept - len(chunk.tokens) + number].float()
        if self.reuses:
            self._store(chunks, output.past_key_values, past, width)

    def _gathered(self, places: torch.Tensor) -> Any:
        """A cache of the keys and values in some places, int64 [B, past]; None where there are none."""
        if not self.reuses or not places.shape[1]:
            return None
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer, (keys, values) in enumerate(zip(self._keys, self._values, strict=True)):
            cache.update(keys[places].transpose(1, 2), values[places].transpose(1, 2), layer)
        return cache

    def _store(self, chunks: Sequence[Chunk], cache: Any, past: int, width: int) -> None:
        """Keep the keys and values of the tokens that were just processed."""
        if not self._can_be_taken_apart(cache):
            self.reuses = False
            return
        self._make_room(cache, sum(len(chunk.tokens) for chunk in chunks))
        sources, columns, places = [], [], []
        for row, chunk in enumerate(chunks):
            for prefix, path in chunk.ends:
                for offset, place in self._places.add(prefix, len(chunk.places)):
                    sources.append(row)
                    columns.append(past + width - len(chunk.tokens) + path[offset])
                    places.append(place)
        if not places:
            return
        for layer, keys, values in zip(cache.layers, self._keys, self._values, strict=True):
            keys[places] = layer.keys[sources, :, columns]
            values[places] = layer.values[sources, :, columns]

    @staticmethod
    def _can_be_taken_apart(cache: Any) -> bool:
        """Whether all layers keep the keys and values of all tokens; windows and recurrent states do not."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        return isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)

    def _make_room(self, cache: Any, tokens: int) -> None:
        """See to it that so many places are free, if they may be."""
        import torch

        tensors = [(layer.keys, layer.values) for layer in cache.layers]
        a_token = sum(t.shape[1] * t.shape[3] * t.element_size() for pair in tensors for t in pair)
        most = max(self._max_bytes // a_token, 1)
        if self._places.free < tokens:
            size = min(most, max(_FIRST_PLACES, 2 * self._places.size, self._places.size + tokens))
            if size > self._places.size:
                for pool, which in ((self._keys, 0), (self._values, 1)):
                    old = pool[:]
                    pool[:] = [
                        torch.zeros((size, t.shape[1], t.shape[3]), dtype=t.dtype, device=t.device)
                        for t in (pair[which] for pair in tensors)
                    ]
                    for new, earlier in zip(pool, old, strict=False):
                        new[: len(earlier)] = earlier
                self._places.grow(size)
        if self._places.free < tokens:
            self._places.forget(max(tokens, self._places.size // 4))


def _visible(chunks: Sequence[Chunk], valid: npt.NDArray[np.bool_], past: int, width: int) -> npt.NDArray[np.bool_]:
    """bool [B, Q, past + Q]: what each new token sees; `valid`, bool [B, past + Q]: columns that are not padding."""
    visible = np.repeat(valid[:, None], width, 1)
    visible[:, :, past:] = np.eye(width, dtype=bool)  # padding sees itself: nothing else would be a NaN
    for row, chunk in enumerate(chunks):
        start = width - len(chunk.tokens)
        visible[row, start:, past + start :] = chunk.seen()
    return visible
