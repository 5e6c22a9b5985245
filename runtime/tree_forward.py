"""The target's side of speculation: a whole draft tree in one forward of a causal model of transformers.

    columns     prompt and text so far | pending | node 1 | node 2 | node 3          of the key-value cache
    node 2      sees     x x x x       |   x x   |    .   |    x   |    .            ancestors only
    position    0 1 2 ...              |  P P+1  |   P+2  |   P+2  |   P+3           by depth, not by column

A chunk is what a row shows the model at once: tokens that it has not seen (`pending`; the last of them is node 0 of the
tree) and the nodes behind. Afterwards the columns of the nodes that were taken are kept, moved together, and the others
dropped. Rows of a batch are padded, and padding is masked wherever it is.

That takes attention with any mask, positions that are given and a cache that can be cut anywhere: `TreeForward`. Models
without (recurrent states, FlashAttention, attention in chunks) verify chains: `ChainForward`, whose chunks are plain causal
continuations. A cache that cannot be cut is copied first, and put back where a draft was rejected.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from maskwright.grammars.errors import ModelError
from maskwright.runtime.draft_tree import DraftTree
from maskwright.runtime.model_facts import check_keeps_cache, forward_parameters, text_config

if TYPE_CHECKING:
    import torch

__all__ = [
    "ChainForward",
    "MaskedModel",
    "TreeForward",
    "VerifyingForward",
    "added_mask",
    "forward_for",
    "why_no_trees",
    "window_of",
]

Integers = npt.NDArray[np.int64]

_ATTENTION_WITH_ANY_MASK = frozenset({"sdpa", "eager"})
_LAYERS_WITH_ANY_MASK = frozenset({"full_attention", "sliding_attention"})


class VerifyingForward(Protocol):
    """Rows of tokens that a model has seen, and forwards over what may come next.

    Attributes:
        takes_trees: whether chunks may branch.
        chains_because: why they may not; None where they may.
        forwards: forwards so far.
    """

    takes_trees: bool

    @property
    def chains_because(self) -> str | None: ...

    @property
    def forwards(self) -> int: ...

    @property
    def device(self) -> Any:
        """Where the logits are."""

    def forward(self, pending: Sequence[Sequence[int]], trees: Sequence[DraftTree]) -> list[torch.Tensor]:
        """Logits float32 [N, V] of each row, after each node of its tree; `pending` has a token at least for each row."""

    def commit(self, taken: Sequence[Sequence[int]]) -> None:
        """Go on behind the nodes taken, a path from below the root for each row; those beside it are forgotten."""

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order; one may be named several times, or dropped."""


def forward_for(model: Any, rows: int) -> VerifyingForward:
    """Trees where the model can, chains where not.

    Raises:
        ModelError: the model keeps nothing of what it has seen.
    """
    check_keeps_cache(model)
    because = why_no_trees(model)
    return TreeForward(model, rows) if because is None else ChainForward(model, rows, because)


def why_no_trees(model: Any) -> str | None:
    """What keeps a model from verifying trees in one forward, as a part of a sentence; None where nothing does."""
    known, config = forward_parameters(model), text_config(model)
    attention = getattr(config, "_attn_implementation", None)
    if "position_ids" not in known:
        return "it takes no positions"
    if attention not in _ATTENTION_WITH_ANY_MASK:
        return f"its attention ({attention}) takes no mask of ours"
    layers = set(getattr(config, "layer_types", None) or ())
    if not layers <= _LAYERS_WITH_ANY_MASK:
        return f"it has layers of another kind ({', '.join(sorted(layers - _LAYERS_WITH_ANY_MASK))})"
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    cache = DynamicCache(config=config)
    if getattr(model, "_is_stateful", False) or not all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers
    ):
        return "it keeps more than keys and values"
    return None


class MaskedModel:
    """A causal model that is told what sees what, and the cache of what it has seen.

    Attributes:
        cache: keys and values of all columns.
        device: where the model is.
        forwards: forwards so far.
    """

    def __init__(self, model: Any) -> None:
        from transformers import DynamicCache

        config = text_config(model)
        self._model, self.cache = model, DynamicCache()  # without a configuration: every layer keeps all columns
        self._window = window_of(model)
        self._by_layer = "sliding_attention" in (getattr(config, "layer_types", None) or ())
        self._keeps_some = "logits_to_keep" in forward_parameters(model)
        self.device, self._dtype = model.device, model.dtype  # which transformers looks up anew each time
        self.forwards = 0

    @property
    def windowed(self) -> bool:
        """Whether some layers see a part of the text only."""
        return self._window is not None

    def forward(
        self, ids: Integers, visible: npt.NDArray[np.bool_], position: Integers, columns: Integers, keep: int
    ) -> torch.Tensor:
        """Logits of the last `keep` columns at least, [B, >= keep, V].

        Args:
            ids, position: int64 [B, Q]: new tokens, and where they stand in their texts.
            visible: bool [B, Q, C]: which columns each of them sees, the new ones last; or bool [B, C]: columns that are not
                padding, of which each sees those before it. That takes no memory for each pair of tokens of a long prompt.
            columns: int64 [B, C]: where the columns' tokens stand.
            keep: how many logits are wanted.
        """
        import torch

        output = self._model(
            input_ids=torch.from_numpy(ids).to(self.device),
            attention_mask=self._masks(visible, position, columns),
            position_ids=torch.from_numpy(position).to(self.device),
            past_key_values=self.cache,
            use_cache=True,
            **({"logits_to_keep": keep} if self._keeps_some else {}),
        )
        self.forwards += 1
        return output.logits

    def _masks(self, visible: npt.NDArray[np.bool_], position: Integers, columns: Integers) -> Any:
        """What is added to the scores, [B, 1, Q, C], by kind of layer where there are kinds; or [B, C] for the model."""
        if visible.ndim == 2:
            import torch

            return torch.from_numpy(visible.astype(np.int64)).to(self.device)
        everything = added_mask(visible, self._dtype, self.device)
        if self._window is None:
            return everything
        near = position[:, :, None] - columns[:, None, :] < self._window
        windowed = added_mask(visible & near, self._dtype, self.device)
        return {"full_attention": everything, "sliding_attention": windowed} if self._by_layer else windowed

    def keep(self, before: int, source: Integers) -> None:
        """Keep the first columns and some of those behind, moved together.

        Args:
            before: how many columns stay where they are.
            source: int64 [B, K]: which columns come behind them.
        """
        import torch

        most = source.shape[1]
        moved = not (source == before + np.arange(most)).all()
        index = torch.from_numpy(source).to(self.device)[:, None, :, None] if moved else None
        for layer in self.cache.layers:
            for name in ("keys", "values"):
                whole = getattr(layer, name)  # [B, H, C, D]
                if index is not None:
                    whole[:, :, before : before + most] = whole.gather(
                        2, index.expand(-1, whole.shape[1], -1, whole.shape[3])
                    )
                setattr(layer, name, whole[:, :, : before + most])


class TreeForward:
    """Trees of a batch of rows, in one cache. See VerifyingForward."""

    takes_trees = True
    chains_because = None

    def __init__(self, model: Any, rows: int) -> None:
        self._masked = MaskedModel(model)
        self._valid = np.zeros((rows, 0), bool)  # [B, C]: columns that are not padding
        self._position = np.zeros((rows, 0), np.int64)  # [B, C]
        self._lengths = [0] * rows
        self._shown: list[tuple[int, int]] = []  # of the last chunk: how many pending tokens, and where they begin
        self._width = 0  # columns of the last chunk

    @property
    def forwards(self) -> int:
        """See VerifyingForward."""
        return self._masked.forwards

    @property
    def device(self) -> Any:
        """See VerifyingForward."""
        return self._masked.device

    def forward(self, pending: Sequence[Sequence[int]], trees: Sequence[DraftTree]) -> list[torch.Tensor]:
        """See VerifyingForward."""
        rows, before = len(pending), self._valid.shape[1]
        sizes = [len(tokens) + len(tree) - 1 for tokens, tree in zip(pending, trees, strict=True)]
        width = self._width = max(sizes)
        ids = np.zeros((rows, width), np.int64)
        valid, position = np.zeros((rows, width), bool), np.zeros((rows, width), np.int64)
        self._shown = []
        for row, (tokens, tree) in enumerate(zip(pending, trees, strict=True)):
            # On the left: all trees' logits then lie in the last columns.
            start = width - sizes[row]
            root = start + len(tokens) - 1
            ids[row, start : root + 1], ids[row, root + 1 :] = tokens, tree.token[1:]
            valid[row, start:] = True
            position[row, start : root + 1] = self._lengths[row] + np.arange(len(tokens))
            position[row, root + 1 :] = self._lengths[row] + len(tokens) - 1 + tree.depth[1:]
            self._shown.append((len(tokens), start))
        # Nothing branches, and columns are in the order of their positions as far as windows look.
        plain = all(len(tree) == 1 for tree in trees) and not (before and self._masked.windowed)
        visible = None if plain else self._visible(trees, width)
        self._valid = np.concatenate([self._valid, valid], 1)
        self._position = np.concatenate([self._position, position], 1)
        visible = self._valid if visible is None else visible
        logits = self._masked.forward(ids, visible, position, self._position, max(map(len, trees)))
        return [logits[row, -len(tree) :].float() for row, tree in enumerate(trees)]

    def _visible(self, trees: Sequence[DraftTree], width: int) -> npt.NDArray[np.bool_]:
        """bool [B, Q, C + Q]: what each token of a chunk of Q columns sees."""
        rows, before = self._valid.shape
        visible = np.zeros((rows, width, before + width), bool)
        visible[:, :, :before] = self._valid[:, None]
        visible[:, np.arange(width), before + np.arange(width)] = (
            True  # padding sees itself: nothing else would be a NaN
        )
        for row, (tree, (count, start)) in enumerate(zip(trees, self._shown, strict=True)):
            seen = visible[row, start:, before + start :]
            seen[:count, :count] = np.tri(count, dtype=bool)
            seen[count:, :count] = True
            seen[count - 1 :, count - 1 :] |= tree.ancestors()
        return visible

    def commit(self, taken: Sequence[Sequence[int]]) -> None:
        """See VerifyingForward."""
        rows, columns = self._valid.shape
        counts = [shown + len(path) for (shown, _), path in zip(self._shown, taken, strict=True)]
        if min(counts) == self._width:  # as where nothing was drafted: all of the chunk stays as it is
            self._lengths = [length + self._width for length in self._lengths]
            return
        before, most = columns - self._width, max(counts)
        source = np.zeros((rows, most), np.int64)  # columns of the chunk that stay, behind them what does not count
        valid, position = np.zeros((rows, most), bool), np.zeros((rows, most), np.int64)
        for row, ((shown, start), path) in enumerate(zip(self._shown, taken, strict=True)):
            kept = [*range(start, start + shown), *(start + shown - 1 + node for node in path)]
            source[row, : len(kept)], valid[row, : len(kept)] = kept, True
            position[row, : len(kept)] = self._position[row, before + np.array(kept)]
            self._lengths[row] += len(kept)
        self._valid = np.concatenate([self._valid[:, :before], valid], 1)
        self._position = np.concatenate([self._position[:, :before], position], 1)
        self._masked.keep(before, source + before)

    def select(self, rows: Sequence[int]) -> None:
        """See VerifyingForward."""
        import torch

        if list(rows) == list(range(len(self._lengths))):
            return
        if self._masked.cache.layers:
            self._masked.cache.reorder_cache(torch.tensor(rows, dtype=torch.int64, device=self._masked.device))
        self._valid, self._position = self._valid[list(rows)], self._position[list(rows)]
        self._lengths = [self._lengths[row] for row in rows]


class ChainForward:
    """Chains, each row with a cache of its own, whatever it holds. See VerifyingForward."""

    takes_trees = False

    def __init__(self, model: Any, rows: int, because: str = "they were asked for") -> None:
        self._model = model
        self.chains_because: str | None = because
        self._caches: list[Any] = [None] * rows
        self._snapshots: list[Any] = [None] * rows
        self._unseen: list[list[int]] = [[] for _ in range(rows)]  # tokens taken that a cache put back has not seen
        self._shown: list[tuple[list[int], DraftTree]] = []
        self._keeps_some = "logits_to_keep" in forward_parameters(model)
        self.forwards = 0

    @property
    def device(self) -> Any:
        """See VerifyingForward."""
        return self._model.device

    def forward(self, pending: Sequence[Sequence[int]], trees: Sequence[DraftTree]) -> list[torch.Tensor]:
        """See VerifyingForward."""
        import torch

        found = []
        self._shown = []
        for row, (tokens, tree) in enumerate(zip(pending, trees, strict=True)):
            if not tree.is_chain:
                raise ValueError("this model verifies chains only")
            before = [*self._unseen[row], *tokens]
            self._snapshots[row] = None if self._can_crop(row) else copy.deepcopy(self._caches[row])
            output = self._model(
                input_ids=torch.tensor([[*before, *tree.token[1:].tolist()]], device=self._model.device),
                past_key_values=self._caches[row],
                use_cache=True,
                **({"logits_to_keep": len(tree)} if self._keeps_some else {}),
            )
            self._caches[row] = output.past_key_values
            if self._caches[row] is None:
                raise ModelError(f"{type(self._model).__name__} keeps no cache in past_key_values")
            self._unseen[row] = []
            self._shown.append((before, tree))
            found.append(output.logits[0, -len(tree) :].float())
        self.forwards += 1
        return found

    def commit(self, taken: Sequence[Sequence[int]]) -> None:
        """See VerifyingForward."""
        for row, ((before, tree), path) in enumerate(zip(self._shown, taken, strict=True)):
            rejected = len(tree) - 1 - len(path)
            if not rejected:
                continue
            if self._can_crop(row):
                self._caches[row].crop(-rejected)
            else:
                self._caches[row] = self._snapshots[row]
                self._unseen[row] = [*before, *tree.token[list(path)].tolist()]
        self._snapshots = [None] * len(self._caches)

    def select(self, rows: Sequence[int]) -> None:
        """See VerifyingForward."""
        caches, unseen = self._caches, self._unseen
        self._caches = [
            copy.deepcopy(caches[row]) if row in rows[:place] else caches[row] for place, row in enumerate(rows)
        ]
        self._unseen = [list(unseen[row]) for row in rows]
        self._snapshots = [None] * len(rows)

    def _can_crop(self, row: int) -> bool:
        """Whether tokens can be cut off the end of the row's cache."""
        from transformers.cache_utils import DynamicLayer

        layers = getattr(self._caches[row], "layers", None) or []
        return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def added_mask(visible: npt.NDArray[np.bool_], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """What a model adds to its scores, [B, 1, Q, C], for which columns each new token sees, bool [B, Q, C].

    In numbers, since eager attention adds what it is given: a boolean one, too, and without a word of warning.
    """
    import torch

    mask = torch.zeros(visible.shape, dtype=dtype).masked_fill_(torch.from_numpy(~visible), torch.finfo(dtype).min)
    return mask[:, None].to(device)


def window_of(model: Any) -> int | None:
    """How far back windowed layers see, the token itself counted; None where there are none."""
    config = text_config(model)
    layers = getattr(config, "layer_types", None)
    if layers is not None and "sliding_attention" not in layers:
        return None
    window = getattr(config, "sliding_window", None)
    return window if isinstance(window, int) and window > 0 else None
