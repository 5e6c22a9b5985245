"""The prefixes that sampling has visited, with what is known of the future of each.

    theta(u) >= P(some text of the grammar | u) >= low(u)

theta is 1 where nothing is known, and falls to the mass of what may follow; low is the mass of the whole texts that were
seen. At the root they are certificates: low <= Z <= theta, whatever was drawn.

Arrays by node, all probabilities natural logarithms in float64. Only visited tokens have a node; the others of an expanded
prefix are one number, its rest:

    theta(u) = rest(u) + sum over children of P(a|u) theta(ua)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.grammars.errors import MatcherError
from maskwright.kernels import descents as kernels
from maskwright.runtime.allowed_rows import Row

__all__ = ["ROOT", "AlignedTrie"]

ROOT = 0

# name, dtype, what a new node has
_ARRAYS: tuple[tuple[str, Any, float], ...] = (
    ("parent", np.int32, -1),  # [nodes], -1 for the root
    ("token", np.int32, -1),  # the token that leads to the node
    ("depth", np.int32, 0),  # tokens from the root
    ("first", np.int32, -1),  # a child, -1: none; the newest, or when settled that of the lowest token
    ("following", np.int32, -1),  # the parent's next child, -1: none
    ("ended", np.bool_, False),  # the token was the end of the text
    ("log_edge", np.float64, 0.0),  # P(token | parent)
    ("log_theta", np.float64, 0.0),
    ("log_low", np.float64, -np.inf),
    ("log_mass", np.float64, np.nan),  # of the allowed tokens; NaN: not expanded
    ("log_rest", np.float64, -np.inf),  # of the allowed tokens without a node
)
NODE_BYTES = sum(np.dtype(dtype).itemsize for _, dtype, _ in _ARRAYS)


class AlignedTrie:
    """Nodes by number, the root is 0.

    Attributes:
        size: nodes so far.
        frozen: nodes below this number count for descents; those above were added since `freeze`.
        max_nodes: how many are kept; past it the newest are forgotten, which makes bounds wider and never wrong.
        forgotten: nodes that did not fit so far.
    """

    parent: npt.NDArray[np.int32]
    token: npt.NDArray[np.int32]
    depth: npt.NDArray[np.int32]
    first: npt.NDArray[np.int32]
    following: npt.NDArray[np.int32]
    ended: npt.NDArray[np.bool_]
    log_edge: npt.NDArray[np.float64]
    log_theta: npt.NDArray[np.float64]
    log_low: npt.NDArray[np.float64]
    log_mass: npt.NDArray[np.float64]
    log_rest: npt.NDArray[np.float64]

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        self.max_nodes = max(1, max_bytes // NODE_BYTES)
        self.size, self.frozen, self.forgotten = 1, 1, 0
        self._deepest = 0
        self._dirty: set[int] = set()  # nodes whose rest or children have changed since they were settled
        for name, dtype, value in _ARRAYS:
            setattr(self, name, np.full(16, value, dtype))

    # ------------------------------------------------------------------------------------------------------ asking

    @property
    def nbytes(self) -> int:
        return len(self.parent) * NODE_BYTES

    @property
    def log_z_bounds(self) -> tuple[float, float]:
        """Certified bounds of log Z; up to rounding."""
        return float(self.log_low[ROOT]), float(self.log_theta[ROOT])

    @property
    def whole_texts(self) -> int:
        """How many different whole texts (token sequences) were seen."""
        return int(np.count_nonzero(self.ended[: self.size]))

    def is_expanded(self, node: int) -> bool:
        return not np.isnan(self.log_mass[node])

    def tokens_to(self, node: int) -> npt.NDArray[np.int32]:
        """int32 [depth]: the tokens from the root to a node."""
        out = np.empty(self.depth[node], np.int32)
        kernels.path_to(self.parent, self.token, node, out)
        return out

    def nodes_to(self, node: int) -> list[int]:
        """The nodes from the root to `node`, both included."""
        nodes = [node]
        while (node := int(self.parent[node])) >= 0:
            nodes.append(node)
        return nodes[::-1]

    def children(self, node: int, below: int | None = None) -> npt.NDArray[np.int64]:
        """The numbers of a node's children, those smaller than `below`."""
        found, child = [], int(self.first[node])
        while child >= 0:
            if below is None or child < below:
                found.append(child)
            child = int(self.following[child])
        return np.array(found, np.int64)

    def child(self, node: int, token: int) -> int:
        """A node's child by its token, or -1."""
        return int(kernels.child_of(self.first, self.following, self.token, node, token))

    def visited(self, node: int) -> npt.NDArray[np.int32]:
        """The tokens of a node's children that count for descents."""
        return self.token[self.children(node, self.frozen)]

    # ----------------------------------------------------------------------------------------------------- growing

    def add(self, node: int, token: int, log_p: float, ended: bool) -> int:
        """The child of an expanded node by an allowed token of log-probability `log_p`; made where there is none."""
        child = self.child(node, token)
        if child >= 0:
            return child
        if self.size == len(self.parent):
            self._grow(2 * self.size)
        child, self.size = self.size, self.size + 1
        self.parent[child], self.token[child], self.depth[child] = node, token, self.depth[node] + 1
        self.following[child], self.first[node] = self.first[node], child
        self.log_edge[child], self.ended[child] = log_p, ended
        if ended:
            self.log_low[child] = 0.0
        self._deepest = max(self._deepest, int(self.depth[child]))
        self._dirty.add(node)
        return child

    def expand(self, node: int, row: Row) -> None:
        """Note what may follow a node. An expanded node keeps what it has: a model's numbers may differ in the last bits."""
        if self.is_expanded(node):
            return
        self.log_mass[node] = self.log_rest[node] = row.log_mass
        self._dirty.add(node)

    def freeze(self) -> None:
        """From here on descents see the trie as it is now, until the next call."""
        self.frozen = self.size

    def settle(self, rows: dict[int, Row]) -> bool:
        """Let what was added count: rests and bounds up to the root.

        Args:
            rows: the row of every node that was expanded or got a child since the last call.

        Returns:
            Whether all nodes were kept; otherwise numbers of new nodes mean nothing any more.
        """
        kept = self._forget()
        changed = [node for node in self._dirty if node < self.size]
        for node in changed:
            row = rows.get(node)
            if row is None:
                raise MatcherError(f"node {node} of the trie has changed, and its row is not there")
            weights = row.without(self.token[self._ordered(node)])
            total = float(weights.sum())
            self.log_rest[node] = row.log_scale + np.log(total) if total > 0 else -np.inf
        self._dirty.clear()
        if changed:
            kernels.settle_bounds(
                self.parent[: self.size],
                self.first,
                self.following,
                self.log_edge,
                self.log_theta,
                self.log_low,
                self.log_rest,
                self.log_mass,
                np.array(sorted(changed, reverse=True), np.int64),
            )
        self.freeze()
        return kept

    def _ordered(self, node: int) -> npt.NDArray[np.int64]:
        """A node's children, from here on linked by token: a walk does not depend on the order in which they were found."""
        children = self.children(node)
        children = children[np.argsort(self.token[children])]
        if len(children):
            self.first[node], self.following[children] = children[0], [*children[1:], -1]
        return children

    @property
    def dirty(self) -> Iterable[int]:
        """The nodes whose rows settle() needs."""
        return self._dirty

    def _forget(self) -> bool:
        """Take back the newest nodes where there are too many."""
        surplus = self.size - max(self.max_nodes, self.frozen)
        if surplus <= 0:
            return True
        for node in range(self.size - 1, self.size - 1 - surplus, -1):
            self.first[self.parent[node]] = self.following[node]
            for name, _, value in _ARRAYS:
                getattr(self, name)[node] = value
        self.size -= surplus
        self.forgotten += surplus
        return False

    def _grow(self, capacity: int) -> None:
        for name, dtype, value in _ARRAYS:
            array = np.full(capacity, value, dtype)
            array[: self.size] = getattr(self, name)[: self.size]
            setattr(self, name, array)

    # -------------------------------------------------------------------------------------------------- descending

    def walk(
        self, nodes: npt.NDArray[np.int64], random: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Descend as far as the trie was known when it was frozen, each step with probability ~ P(a|u) theta(ua).

        Args:
            nodes: int64 [B], where to start; where each stopped is written.

        Returns:
            int64 [B], why (kernels/descents.py: AT_FRESH, ...); float64 [B] twice: the log-probabilities that the model
            and the descent give to the way.
        """
        count = len(nodes)
        kinds, log_p, log_q = np.empty(count, np.int64), np.zeros(count), np.zeros(count)
        uniforms = random.random((count, self._deepest + 2))
        kernels.descend(
            self.first,
            self.following,
            self.log_edge,
            self.log_theta,
            self.log_rest,
            self.log_mass,
            self.ended,
            self.frozen,
            uniforms,
            nodes,
            kinds,
            log_p,
            log_q,
        )
        return kinds, log_p, log_q

    # --------------------------------------------------------------------------------------------------- in files

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is known, by name: an array of `size` entries each."""
        return {name: getattr(self, name)[: self.size].copy() for name, _, _ in _ARRAYS}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], max_bytes: int = 1 << 30) -> AlignedTrie:
        """The trie that arrays() was asked of.

        Raises:
            MatcherError: the arrays are none of a trie.
        """
        trie = cls(max_bytes)
        if set(arrays) != {name for name, _, _ in _ARRAYS} or len({array.shape for array in arrays.values()}) != 1:
            raise MatcherError("these are not the arrays of a trie")
        for name, dtype, _ in _ARRAYS:
            setattr(trie, name, np.ascontiguousarray(arrays[name], dtype))
        trie.size = trie.frozen = len(trie.parent)
        links = np.concatenate([trie.first, trie.following])
        if not trie.size or links.max() >= trie.size or (trie.parent >= np.arange(trie.size)).any():
            raise MatcherError("these are not the arrays of a trie: its links lead nowhere")
        trie._deepest = int(trie.depth.max())
        trie.validate()
        return trie

    def validate(self) -> None:
        """Check what must hold of a settled trie.

        Raises:
            MatcherError: it does not.
        """
        for node in range(self.size):
            parent = int(self.parent[node])
            if not self.log_low[node] <= self.log_theta[node] + 1e-9 or self.log_theta[node] > 0:
                raise MatcherError(f"node {node}: low {self.log_low[node]} and theta {self.log_theta[node]} do not fit")
            if node == ROOT:
                continue
            if not 0 <= parent < node or self.depth[node] != self.depth[parent] + 1 or not self.is_expanded(parent):
                raise MatcherError(f"node {node} hangs from {parent}, which cannot be")
            if self.child(parent, int(self.token[node])) != node:
                raise MatcherError(f"node {node} is not the child of {parent} by its token")
        for node in np.flatnonzero(~np.isnan(self.log_mass[: self.size])).tolist():
            children = self.children(node)
            total = np.logaddexp.reduce(np.append(self.log_edge[children], self.log_rest[node]))
            if not np.isclose(np.exp(total - self.log_mass[node]) if total > -np.inf else 1.0, 1.0, atol=1e-5):
                raise MatcherError(
                    f"node {node}: rest and children have {total}, the allowed tokens {self.log_mass[node]}"
                )
