"""Draft trees: guesses at the next tokens, several ways on, all verified in one forward of the target.

    node            0 -- 1 -- 3        token          [last committed, a, b, c]
                     `-- 2             parent         [-1, 0, 0, 1]
                                       depth          [0, 1, 1, 2]
                                       first_child    [1, 3, -1, -1]
                                       next_sibling   [-1, 2, -1, -1]

Node 0 stands for the text so far: its token is the last one of it. A parent comes before its children, and siblings have
different tokens. Children that were drawn (and not just thought of) say from which distribution; drawn with replacement
they may have come several times, and then `draws` has the order in which they came, as verification needs it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["DraftTree", "TreeBuilder"]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class DraftTree:
    """N nodes, flat; see the module's docstring. Made by TreeBuilder.

    Attributes:
        token: int64 [N]; that of node 0 is the last token of the text, or -1.
        parent: int64 [N]; -1 for node 0, and for the others a smaller number than their own.
        depth: int64 [N]: edges from node 0.
        first_child, next_sibling: int64 [N], or -1; children in the order of their numbers.
        confidence: float64 [N] in [0, 1]: the drafter's estimate of the probability that the target takes the node where
            it has taken the parent; 1 for node 0.
        q: for nodes with drawn children the distribution that they were drawn from, float64 [V]; None where no child of
            the tree was drawn.
        draws: for each node of `q` its children in the order of the draws, a child as often as it was drawn; None where
            each was drawn once, in the order of their numbers.
    """

    token: Integers
    parent: Integers
    depth: Integers
    first_child: Integers
    next_sibling: Integers
    confidence: Floats
    q: Mapping[int, Floats] | None = None
    draws: Mapping[int, tuple[int, ...]] | None = None
    _by_token: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._by_token.update(
            ((parent, token), node)
            for node, (parent, token) in enumerate(zip(self.parent.tolist(), self.token.tolist(), strict=True))
            if node
        )
        self.validate()

    def __len__(self) -> int:
        return len(self.token)

    def validate(self) -> None:
        """Assert the invariants of the layout."""
        count = len(self.token)
        assert count >= 1 and self.parent[0] == -1 and self.depth[0] == 0 and self.next_sibling[0] == -1
        for array in (self.token, self.parent, self.depth, self.first_child, self.next_sibling):
            assert array.shape == (count,) and array.dtype == np.int64
        numbers = np.arange(1, count)
        assert (self.parent[1:] >= 0).all() and (self.parent[1:] < numbers).all(), "a parent comes before its children"
        assert (self.depth[1:] == self.depth[self.parent[1:]] + 1).all()
        assert len(self._by_token) == count - 1, "siblings have different tokens"
        assert self.confidence.shape == (count,) and (self.confidence >= 0).all() and (self.confidence <= 1).all()
        linked = 1
        for node in range(count):
            child, before = int(self.first_child[node]), node
            while child >= 0:
                assert child > before and self.parent[child] == node
                child, before, linked = int(self.next_sibling[child]), child, linked + 1
        assert linked == count, "every node but the root is its parent's child"
        for node, law in (self.q or {}).items():
            assert abs(law.sum() - 1) < 1e-6, "a proposal is a distribution"
            drawn = self.draws[node] if self.draws is not None else self.children(node)
            assert set(drawn) == set(self.children(node)), "a drawn child is a node, and the other way round"
            assert all(law[self.token[child]] > 0 for child in drawn), "what was drawn can be drawn"

    def children(self, node: int) -> list[int]:
        """The children of a node, in order."""
        found, child = [], int(self.first_child[node])
        while child >= 0:
            found.append(child)
            child = int(self.next_sibling[child])
        return found

    def child(self, node: int, token: int) -> int:
        """The child of a node that has a token, or -1."""
        return self._by_token.get((node, token), -1)

    def path(self, node: int) -> list[int]:
        """The nodes from below the root down to `node`."""
        found = []
        while node > 0:
            found.append(node)
            node = int(self.parent[node])
        return found[::-1]

    def drawn(self, node: int) -> Sequence[int]:
        """The children of a node in the order of the draws, with repetitions where they were drawn with replacement."""
        return self.children(node) if self.draws is None else self.draws.get(node, ())

    @property
    def value(self) -> Floats:
        """float64 [N]: the estimated probability that the target comes to a node."""
        value = self.confidence.copy()
        for node in range(1, len(value)):
            value[node] *= value[self.parent[node]]
        return value

    @property
    def is_chain(self) -> bool:
        """Whether no node has two children."""
        return bool((self.next_sibling < 0).all())

    def ancestors(self) -> npt.NDArray[np.bool_]:
        """bool [N, N]: which nodes (columns) are on the way to which (rows), each itself included."""
        seen = np.eye(len(self), dtype=bool)
        for node in range(1, len(self)):
            seen[node] |= seen[self.parent[node]]
        return seen

    def kept(self, chosen: npt.NDArray[np.bool_]) -> tuple[DraftTree, Integers]:
        """The tree of the nodes chosen whose ancestors are, too, and their numbers in this one, int64 [M].

        Children that were drawn are judged by which were drawn, so that leaving some out changes what verification by ratio
        emits; for these the answer has no `q`.
        """
        builder = TreeBuilder(int(self.token[0]))
        places = np.full(len(self), -1, np.int64)
        places[0] = 0
        for node in range(1, len(self)):
            above = int(places[self.parent[node]])
            if chosen[node] and above >= 0:
                places[node] = builder.add(above, int(self.token[node]), float(self.confidence[node]))
        numbers = np.flatnonzero(places >= 0)
        return (self, numbers) if len(numbers) == len(self) else (builder.build(), numbers)

    def likeliest_chain(self) -> DraftTree:
        """The tree of the way down from the root that goes to the child of the highest confidence."""
        if self.is_chain:
            return self
        chosen, node = np.zeros(len(self), bool), 0
        while children := self.children(node):
            node = max(children, key=self.confidence.__getitem__)
            chosen[node] = True
        return self.kept(chosen)[0]

    def best(self, count: int) -> DraftTree:
        """The tree of the root and the `count` nodes of the highest value; of equal ones those that come first."""
        if len(self) <= count + 1:
            return self
        chosen = np.zeros(len(self), bool)
        chosen[np.argsort(-self.value, kind="stable")[: count + 1]] = True
        return self.kept(chosen)[0]


class TreeBuilder:
    """A draft tree in the making."""

    def __init__(self, token: int = -1) -> None:
        """The root, with the last token of the text."""
        self._token, self._parent, self._depth, self._confidence = [token], [-1], [0], [1.0]
        self._children: dict[tuple[int, int], int] = {}
        self._q: dict[int, Floats] = {}
        self._draws: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._token)

    def token(self, node: int) -> int:
        """The token of a node."""
        return self._token[node]

    def parent(self, node: int) -> int:
        """The parent of a node."""
        return self._parent[node]

    def depth(self, node: int) -> int:
        """The depth of a node."""
        return self._depth[node]

    def tokens(self, node: int) -> list[int]:
        """The tokens from below the root down to `node`."""
        found = []
        while node > 0:
            found.append(self._token[node])
            node = self._parent[node]
        return found[::-1]

    def child(self, parent: int, token: int) -> int:
        """The child of a node that has a token, or -1."""
        return self._children.get((parent, token), -1)

    def add(self, parent: int, token: int, confidence: float = 1.0) -> int:
        """The child of `parent` that has a token, made where there is none yet; the higher confidence counts."""
        node = self._children.get((parent, token), -1)
        if node >= 0:
            self._confidence[node] = max(self._confidence[node], confidence)
            return node
        node = self._children[parent, token] = len(self._token)
        self._token.append(token)
        self._parent.append(parent)
        self._depth.append(self._depth[parent] + 1)
        self._confidence.append(confidence)
        return node

    def add_path(self, parent: int, tokens: Iterable[int], confidence: float = 1.0) -> int:
        """The last node of a chain below `parent`, each taken with this confidence where the one before is."""
        for token in tokens:
            parent = self.add(parent, token, confidence)
        return parent

    def draw(self, parent: int, token: int, law: Floats) -> int:
        """A child drawn from `law`, which is the same at each draw but for tokens drawn before; it may be there already."""
        self._q.setdefault(parent, law)
        node = self.add(parent, token, float(law[token]))
        self._draws.setdefault(parent, []).append(node)
        return node

    def graft(self, tree: DraftTree) -> None:
        """Add the nodes of a tree of the same text; what its children were drawn from is forgotten."""
        places = [0]
        for node in range(1, len(tree)):
            above = places[int(tree.parent[node])]
            places.append(self.add(above, int(tree.token[node]), float(tree.confidence[node])))

    def build(self) -> DraftTree:
        """The tree so far."""
        count = len(self._token)
        if count == 1:
            return _root(self._token[0])
        first_child, next_sibling = np.full((2, count), -1, np.int64)
        youngest = dict[int, int]()
        for node in range(1, count):
            parent = self._parent[node]
            if parent in youngest:
                next_sibling[youngest[parent]] = node
            else:
                first_child[parent] = node
            youngest[parent] = node
        repeated = any(len(set(drawn)) < len(drawn) or drawn != sorted(drawn) for drawn in self._draws.values())
        return DraftTree(
            np.array(self._token, np.int64),
            np.array(self._parent, np.int64),
            np.array(self._depth, np.int64),
            first_child,
            next_sibling,
            np.array(self._confidence),
            self._q or None,
            {node: tuple(drawn) for node, drawn in self._draws.items()} if repeated else None,
        )


@functools.lru_cache(maxsize=1024)
def _root(token: int) -> DraftTree:
    """The tree without drafts, which is asked for at every step where drafting does not pay."""
    nodes, parent, depth, first_child, next_sibling = np.array([[token], [-1], [0], [-1], [-1]], np.int64)
    return DraftTree(nodes, parent, depth, first_child, next_sibling, np.ones(1))
