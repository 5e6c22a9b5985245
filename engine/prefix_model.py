"""A causal model of transformers as sampling asks it: logits behind any prefixes, each token processed once.

Keys and values are kept by prefix. A prefix that was asked for is a path in a tree of tokens; each token's keys and values
have a place in one tensor a layer:

    prompt ── (define ── -fun ── f          place 0 1 2 3 4 5 6
                    └── -sort ── s                      7 8

A forward gathers the places of what is known of each row, processes what is not, and stores that. Places that were not used
for longest are given to others when there are no free ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from maskwright.cached_model import forward_parameters

if TYPE_CHECKING:
    import torch

__all__ = ["PrefixModel"]

_FIRST_PLACES = 256
_NOTHING = -1  # before the first token

Row = tuple[tuple[int, ...], list[int]]  # a prefix, and the lengths at which its logits are asked for, ascending


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
        self._takes_positions, self._keeps_few = "position_ids" in known, "logits_to_keep" in known
        self._places = _Places()
        self._keys: list[torch.Tensor] = []  # a layer: [places, heads, dimensions]
        self._values: list[torch.Tensor] = []

    def logits(self, prefixes: Sequence[Sequence[int]], /) -> torch.Tensor:
        """float32 [B, V]: what the model gives behind each prefix (prompt and answer so far, at least one token)."""
        import torch

        wanted = [tuple(prefix) for prefix in prefixes]
        rows = _rows(wanted)
        answers: dict[tuple[int, ...], torch.Tensor] = {}
        with torch.inference_mode():
            if self.reuses and len(rows) > 1:
                self._read(_common([prefix for prefix, _ in rows]))
            for start in range(0, len(rows), self._max_rows):
                self._forward(rows[start : start + self._max_rows], answers)
        return torch.stack([answers[prefix] for prefix in wanted])

    def _read(self, prefix: tuple[int, ...]) -> None:
        """Process what all rows have in common, where it is not known yet, so that it is processed once."""
        if len(prefix) > 1 and len(self._places.known(prefix)) < len(prefix) - 1:
            self._forward([(prefix, [len(prefix)])], {})

    def _forward(self, rows: Sequence[Row], answers: dict[tuple[int, ...], torch.Tensor]) -> None:
        """One forward; `answers` gets the logits [V] of each length that was asked for."""
        import torch

        device = self._model.device
        known = [self._places.known(prefix[: lengths[0] - 1]) if self.reuses else [] for prefix, lengths in rows]
        chunks = [prefix[len(places) :] for (prefix, _), places in zip(rows, known, strict=True)]
        past, width = max(map(len, known)), max(map(len, chunks))
        # Both parts are padded on the left, so that the last columns are those whose logits are wanted.
        gathered = torch.tensor([[0] * (past - len(places)) + places for places in known], dtype=torch.int64)
        ids = torch.tensor([[0] * (width - len(chunk)) + list(chunk) for chunk in chunks])
        own = torch.tensor([[0] * (width - len(chunk)) + [1] * len(chunk) for chunk in chunks])
        before = torch.tensor([[0] * (past - len(places)) + [1] * len(places) for places in known], dtype=torch.int64)
        positions = (before.sum(1, keepdim=True) + own.cumsum(1) - 1).clamp(min=0)
        kept = max(len(prefix) - lengths[0] + 1 for prefix, lengths in rows)
        options: dict[str, Any] = {"past_key_values": self._gathered(gathered.to(device)), "use_cache": self.reuses}
        if not self.reuses:
            options = {"use_cache": False} if "past_key_values" in forward_parameters(self._model) else {}
        if self._takes_positions:
            options["position_ids"] = positions.to(device)
        if self._keeps_few:
            options["logits_to_keep"] = kept
        output = self._model(input_ids=ids.to(device), attention_mask=torch.cat([before, own], 1).to(device), **options)
        self.forwards += 1
        self.forward_tokens += sum(map(len, chunks))
        logits = output.logits[:, -kept:]
        for line, (prefix, lengths) in zip(logits, rows, strict=True):
            for length in lengths:
                answers[prefix[:length]] = line[kept - 1 - (len(prefix) - length)].float()
        if self.reuses:
            self._store(rows, chunks, output.past_key_values, past, width)

    def _gathered(self, places: torch.Tensor) -> Any:
        """A cache of the keys and values in some places, int64 [B, past]; None where there are none."""
        if not self.reuses or not places.shape[1]:
            return None
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer, (keys, values) in enumerate(zip(self._keys, self._values, strict=True)):
            cache.update(keys[places].transpose(1, 2), values[places].transpose(1, 2), layer)
        return cache

    def _store(self, rows: Sequence[Row], chunks: Sequence[tuple[int, ...]], cache: Any, past: int, width: int) -> None:
        """Keep the keys and values of the tokens that were just processed."""
        if not self._can_be_taken_apart(cache):
            self.reuses = False
            return
        self._make_room(cache, sum(map(len, chunks)))
        sources, columns, places = [], [], []
        for number, ((prefix, _), chunk) in enumerate(zip(rows, chunks, strict=True)):
            for offset, place in self._places.add(prefix, len(prefix) - len(chunk)):
                sources.append(number)
                columns.append(past + width - len(chunk) + offset)
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


class _Places:
    """Where each known token of each prefix is kept: a tree of tokens, a node's number being its place."""

    def __init__(self) -> None:
        self.size = 0
        self._children: dict[tuple[int, int], int] = {}  # (place before, token): place
        self._edges: list[tuple[int, int]] = []  # the same the other way round
        self._used: list[int] = []  # when, in calls; a token is used whenever one behind it is
        self._free: list[int] = []
        self._now = 0

    @property
    def free(self) -> int:
        return len(self._free)

    def known(self, prefix: Sequence[int]) -> list[int]:
        """The places of a prefix's tokens, as far as they are known from the first on."""
        self._now += 1
        places, place = [], _NOTHING
        for token in prefix:
            place = self._children.get((place, token), _NOTHING)
            if place == _NOTHING:
                break
            self._used[place] = self._now
            places.append(place)
        return places

    def add(self, prefix: Sequence[int], start: int) -> list[tuple[int, int]]:
        """Give places to the tokens from `start` on: (how far behind `start`, place) of those that had none.

        As many as there are free places; nothing where a token before `start` has lost its own.
        """
        before = self.known(prefix[:start])
        if len(before) < start:
            return []
        place, added = (before[-1] if before else _NOTHING), []
        for offset, token in enumerate(prefix[start:]):
            edge = (place, token)
            place = self._children.get(edge, _NOTHING)
            if place == _NOTHING:
                if not self._free:
                    break
                place = self._free.pop()
                self._children[edge], self._edges[place] = place, edge
                added.append((offset, place))
            self._used[place] = self._now
        return added

    def grow(self, size: int) -> None:
        added = size - self.size
        self._edges += [(_NOTHING, _NOTHING)] * added
        self._used += [0] * added
        self._free += range(size - 1, self.size - 1, -1)
        self.size = size

    def forget(self, count: int) -> None:
        """Free the places that were not used for longest, at least `count` where there are so many."""
        taken = sorted(self._children.values(), key=self._used.__getitem__)
        if count < len(taken):
            limit = self._used[taken[count - 1]]  # a token behind another was never used after it
            taken = [place for place in taken if self._used[place] <= limit]
        for place in taken:
            del self._children[self._edges[place]]
            self._free.append(place)


def _rows(prefixes: Sequence[tuple[int, ...]]) -> list[Row]:
    """The prefixes that are not the beginning of another, each with the lengths of those that begin it, and its own."""
    rows: list[Row] = []
    for prefix in sorted(set(prefixes), reverse=True):
        if rows and rows[-1][0][: len(prefix)] == prefix:
            rows[-1][1].insert(0, len(prefix))
        else:
            rows.append((prefix, [len(prefix)]))
    return rows


def _common(prefixes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What all prefixes begin with."""
    low, high = min(prefixes), max(prefixes)
    length = 0
    while length < min(len(low), len(high)) and low[length] == high[length]:
        length += 1
    return low[:length]
