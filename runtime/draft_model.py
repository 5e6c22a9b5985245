"""A draft model: a smaller language model that a tree is drawn from, level by level, in a cache of its own.

    columns     text so far | a  b | c      levels of the tree, one forward each
    c sees      x x x x     | x  . | x      its ancestors

After verification the columns of the nodes taken are kept; what the model has not seen of the text comes with the next
tree's first forward. Its distributions are masked as the target's are, and shaped by the same sampling options, so that no
draft is lost to the grammar: acceptance rises (research by every paper on tree drafts: from .43 to .59 of random chains).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.grammars.errors import ModelError
from maskwright.runtime.draft_growth import Cursor
from maskwright.runtime.draft_tree import DraftTree, TreeBuilder
from maskwright.runtime.drafter import Budget, Session, Text, Verified
from maskwright.runtime.growing_forward import GrowingForward
from maskwright.runtime.tree_forward import why_no_trees

__all__ = ["DraftModel", "ModelSession", "ModelText"]


class DraftModel:
    """A causal language model of transformers with the target's vocabulary."""

    def __init__(self, model: Any) -> None:
        """A drafter's model.

        Raises:
            ModelError: it cannot draft trees.
        """
        why = why_no_trees(model)
        if why is not None:
            raise ModelError(
                f"{type(model).__name__} cannot draft: {why}. Choose a model of plain attention for draft="
            )
        self.model = model


class ModelSession(Session):
    """What sessions of a draft model have in common: begin a tree, grow it, put everything back."""

    def __init__(self, draft: DraftModel, text: Text) -> None:
        self._text, self._seen = text, ModelText(draft, text)

    def propose(self, budget: Budget) -> DraftTree:
        """See Session."""
        builder = TreeBuilder(self._text.ids[-1])
        if budget.admits(0, 0.0, 1.0):
            self._seen.start(builder)
            try:
                self._grow(builder, budget)
            finally:
                self._seen.back()
        return builder.build()

    @abstractmethod
    def _grow(self, builder: TreeBuilder, budget: Budget) -> None:
        """Add the tree's nodes."""

    def observe(self, verified: Verified) -> None:
        """See Session."""
        self._seen.settle(verified.taken)


class ModelText:
    """What a draft model knows of one text: its cache, and the tree that grows behind it."""

    def __init__(self, draft: DraftModel, text: Text) -> None:
        self._forward, self._text = GrowingForward(draft.model), text
        self._seen = 0  # tokens of the text in the cache
        self._builder = TreeBuilder()
        self._rows: dict[int, Any] = {}  # logits [V] of the nodes shown
        self._cursor = Cursor(text.matcher)
        self.masks: dict[int, npt.NDArray[np.int32]] = {}

    def start(self, builder: TreeBuilder) -> None:
        """Begin a tree: the model sees what is new of the text."""
        fresh = self._text.ids[self._seen :]
        self._rows = {0: self._forward.read(fresh)}
        self._seen += len(fresh)
        self._builder, self._cursor, self.masks = builder, Cursor(self._text.matcher), {}

    def show(self, nodes: Sequence[int]) -> None:
        """Let the model see nodes of the tree whose parents it has seen, in one forward."""
        builder = self._builder
        nodes = [node for node in nodes if node not in self._rows]
        if nodes:
            rows = self._forward.grow(
                nodes, [builder.parent(node) for node in nodes], [builder.token(node) for node in nodes]
            )
            self._rows.update(zip(nodes, rows, strict=True))

    def logits(self, node: int) -> Any:
        """The model's logits [V] behind a node that it has seen."""
        return self._rows[node]

    def mask(self, node: int) -> npt.NDArray[np.int32]:
        """The mask behind a node, int32 [W]."""
        if node not in self.masks:
            self._cursor.go(self._builder.tokens(node))
            self.masks[node] = self._text.mask()
        return self.masks[node]

    def law(self, node: int) -> npt.NDArray[np.float64]:
        """The model's masked distribution behind a node, float64 [V]."""
        assert self._text.law is not None
        return self._text.law(self.logits(node), self.mask(node))

    def add(self, parent: int, token: int, law: npt.NDArray[np.float64]) -> int:
        """A child of a node, drawn from `law` where drafts are drawn; the same one where it is there already.

        A drawn end of the text stays in the tree, since verification by ratio must know of all draws.
        """
        if self._text.chance is not None:
            return self._builder.draw(parent, token, law)
        return self._builder.add(parent, token, float(law[token]))

    def choose(self, law: npt.NDArray[np.float64]) -> int:
        """A token of a law, drawn, or the likeliest where drafts are not drawn."""
        return int(law.argmax()) if self._text.chance is None else self._text.chance.draws(law)

    def ends(self, token: int) -> bool:
        """Whether the text ends with a token."""
        return token in self._text.matcher.compiled.tokenizer_info.eos_token_ids

    def back(self) -> None:
        """Put the matcher back where it was."""
        self._cursor.back()

    def settle(self, taken: Sequence[int]) -> None:
        """Keep what the model has seen of the nodes taken, which the text has grown by; the rest of the tree goes."""
        known = list[int]()
        for node in taken:
            if node not in self._rows:
                break
            known.append(node)
        self._forward.keep(known)
        self._seen += len(known)
