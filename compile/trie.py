"""A vocabulary as one flat trie of bytes, with a signature of every subtree.

Nodes are numbered in preorder, children in increasing order of their bytes; node 0 is the root. So a subtree is a range
of node numbers, and, since tokens are ranked by their bytes, also a range of ranks:

    first child of i      i + 1, if i + 1 < end[i]
    next sibling of i     end[i], if that is inside the parent's subtree
    subtree of i          nodes [i, end[i])
    tokens that end at i  ranks [first_rank[i], first_rank[i + 1])
    tokens below or at i  ranks [first_rank[i], first_rank[end[i]])

A walk that finds which tokens a language allows is a loop over node numbers, with one step back to the parent's state
whenever the depth falls. Recursively, before it is flattened (`state` has a `step`, which may answer None):

    def allowed(node, state):
        for child in children(node):
            after = state.step(byte[child])
            if after is not None:
                yield from tokens_at(child)
                yield from allowed(child, after)

Signatures let the walk skip. The signature of a node is about the bytes strictly below it; a state whose safe set
contains them all accepts the whole subtree as one range of ranks (design.md, Masks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright.grammars.errors import TokenizerError
from maskwright.kernels import layout as L
from maskwright.kernels import trie as kernels

__all__ = ["SIG_NON_ASCII", "SIG_WELL_FORMED", "TokenTrie", "child_lists"]

Array = np.ndarray[Any, Any]

SIG_NON_ASCII = L.SIG_NON_ASCII  # some byte >= 0x80 occurs below
# Every path below, read from a character boundary here, is UTF-8, perhaps cut short at its end.
SIG_WELL_FORMED = L.SIG_WELL_FORMED

_MAX_NODES = 2**31 - 2

_PROBLEMS = {
    kernels.BAD_END: "its subtree's end is not behind it, or behind the last node",
    kernels.BAD_RANKS: "its first rank is above the next node's, or out of range",
    kernels.BAD_LEAF: "it is a leaf where no token ends",
    kernels.BAD_ORDER: "its byte is not above the sibling's before it",
    kernels.BAD_DEPTH: "its depth is not its parent's plus one",
    kernels.BAD_NESTING: "its subtree reaches out of its parent's",
    kernels.BAD_DUPLICATES: "the tokens that end at it are not in the order of their ids",
    kernels.BAD_SPELLING: "a token that ends at it is not spelled by the path to it",
}


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class TokenTrie:
    """N nodes, T tokens with text out of V ids; every array is contiguous and read-only.

    Attributes:
        data: uint8, the tokens' bytes one after another in the order of their ids.
        offset: int64 [V + 1]; token t is data[offset[t]:offset[t + 1]], empty where t has no text in the language.
        byte: uint8 [N], the byte that leads to the node; 0 for the root.
        end: int32 [N], the first node after the subtree: i < end[i] <= N.
        depth: int32 [N], the number of bytes from the root.
        first_rank: int32 [N + 1], how many tokens sort before the node's own; first_rank[N] = T.
        rank_to_token: int32 [T], token ids in the order of (bytes, id); tokens with equal bytes are all there.
        sig_low: uint64 [N], bit b: byte b (0 to 63) occurs strictly below the node.
        sig_high: uint64 [N], bit b: byte 64 + b (64 to 127) occurs strictly below the node.
        sig_flags: uint8 [N], SIG_NON_ASCII | SIG_WELL_FORMED.
        sig_chars: int32 [N], the most code points that one path strictly below the node starts (bytes that are no
            continuation byte).
        max_depth: bytes of the longest token.
    """

    data: Array
    offset: Array
    byte: Array
    end: Array
    depth: Array
    first_rank: Array
    rank_to_token: Array
    sig_low: Array
    sig_high: Array
    sig_flags: Array
    sig_chars: Array
    max_depth: int

    def __post_init__(self) -> None:
        self.validate()

    @classmethod
    def from_tokens(cls, tokens: Sequence[bytes | None]) -> TokenTrie:
        """The trie of `tokens`, whose positions are their ids; None and b"" are left out.

        Raises:
            TokenizerError: the tokens make more than 2^31 nodes.
        """
        texts = [token or b"" for token in tokens]
        offset = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=offset[1:])
        return cls.from_flat(np.frombuffer(b"".join(texts), np.uint8), offset)

    @classmethod
    def from_flat(cls, data: Array, offset: Array) -> TokenTrie:
        """The trie of the tokens data[offset[t]:offset[t + 1]] (uint8 and int64 [V + 1]); empty ones are left out.

        It keeps both arrays, and makes them read-only.

        Raises:
            TokenizerError: the tokens make more than 2^31 nodes.
        """
        _freeze(data, offset)
        lengths = np.diff(offset)
        order = _sorted_tokens(data, offset, np.flatnonzero(lengths).astype(np.int32))
        shared = kernels.shared_prefixes(data, offset, order)
        nodes = 1 + int(offset[-1] - shared.sum())
        if nodes > _MAX_NODES:
            raise TokenizerError(f"the vocabulary makes a trie of {nodes:,} nodes where {_MAX_NODES:,} is the limit")
        max_depth = int(lengths.max(initial=0))
        byte, end, depth = np.empty(nodes, np.uint8), np.empty(nodes, np.int32), np.empty(nodes, np.int32)
        first_rank = np.empty(nodes + 1, np.int32)
        kernels.number_nodes(data, offset, order, shared, max_depth, byte, end, depth, first_rank)
        _freeze(byte, end, depth, first_rank)
        low, high, flags, chars = kernels.sign_nodes(byte, end)
        _freeze(low, high, flags, chars)
        return cls(data, offset, byte, end, depth, first_rank, order, low, high, flags, chars, max_depth)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> TokenTrie:
        """A trie from its own arrays, by name, which are known to be unchanged since: they are not checked again."""
        trie = object.__new__(cls)
        for name in _DTYPES:
            object.__setattr__(trie, name, arrays[name])
        object.__setattr__(trie, "max_depth", int(trie.depth.max()))
        return trie

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in _DTYPES}

    @property
    def node_count(self) -> int:
        """N, the root included."""
        return int(self.byte.size)

    @property
    def token_count(self) -> int:
        """T, the tokens with text."""
        return int(self.rank_to_token.size)

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays hold."""
        return sum(array.nbytes for array in self.arrays.values())

    def children(self, node: int) -> list[int]:
        """The node's children, in increasing order of their bytes."""
        found, child = [], node + 1
        while child < self.end[node]:
            found.append(child)
            child = int(self.end[child])
        return found

    def find(self, prefix: bytes) -> int:
        """The node that `prefix` leads to, or -1 where no token begins with it."""
        node = 0
        for value in prefix:
            node = next((child for child in self.children(node) if self.byte[child] == value), -1)
            if node < 0:
                break
        return node

    def tokens_at(self, node: int) -> list[int]:
        """Ids of the tokens that end at the node, ascending."""
        found: list[int] = self.rank_to_token[self.first_rank[node] : self.first_rank[node + 1]].tolist()
        return found

    def tokens_under(self, node: int) -> list[int]:
        """Ids of the tokens that end in the node's subtree, itself included, in the order of (bytes, id)."""
        found: list[int] = self.rank_to_token[self.first_rank[node] : self.first_rank[self.end[node]]].tolist()
        return found

    def validate(self) -> None:
        """Check every invariant of the class's docstring; construction does.

        Raises:
            ValueError: one is broken; names the array or node.
        """
        nodes, tokens, ids = self.byte.size, self.rank_to_token.size, self.offset.size - 1
        sizes = {"data": self.data.size, "offset": ids + 1, "first_rank": nodes + 1, "rank_to_token": tokens}
        for name, dtype in _DTYPES.items():
            array = getattr(self, name)
            wanted = (sizes.get(name, nodes),)
            if array.dtype != dtype or array.shape != wanted or not array.flags.c_contiguous:
                raise ValueError(
                    f"token trie: {name} is {array.dtype} {array.shape}, not a contiguous {np.dtype(dtype)} {wanted}"
                )
        lengths = np.diff(self.offset)
        if ids < 0 or self.offset[0] != 0 or self.offset[-1] != self.data.size or lengths.min(initial=0) < 0:
            raise ValueError("token trie: offset does not ascend from 0 to the size of data")
        if not np.array_equal(np.sort(self.rank_to_token), np.flatnonzero(lengths)):
            raise ValueError("token trie: rank_to_token does not hold each token with text exactly once")
        if nodes == 0 or self.byte[0] != 0 or self.depth[0] != 0 or self.end[0] != nodes:
            raise ValueError("token trie: node 0 is not a root")
        if self.first_rank[0] != 0 or self.first_rank[nodes] != tokens:
            raise ValueError(f"token trie: first_rank does not run from 0 to {tokens}")
        if not 0 <= self.depth.min() <= self.depth.max() == self.max_depth < nodes:
            raise ValueError(f"token trie: max_depth is {self.max_depth}, the deepest node's is {self.depth.max()}")
        problem, node = kernels.check_nodes(
            self.data, self.offset, self.byte, self.end, self.depth, self.first_rank, self.rank_to_token, self.max_depth
        )
        if problem != kernels.SOUND:
            raise ValueError(f"token trie: node {node}: {_PROBLEMS[problem]}")
        signatures = kernels.sign_nodes(self.byte, self.end)
        for name, expected in zip(("sig_low", "sig_high", "sig_flags", "sig_chars"), signatures, strict=True):
            wrong = np.flatnonzero(getattr(self, name) != expected)
            if wrong.size:
                raise ValueError(f"token trie: {name} of node {wrong[0]} is not its subtree's")

    def __repr__(self) -> str:
        return f"TokenTrie({self.token_count:,} tokens, {self.node_count:,} nodes, max_depth={self.max_depth})"


_DTYPES = {
    "data": np.uint8,
    "offset": np.int64,
    "byte": np.uint8,
    "end": np.int32,
    "depth": np.int32,
    "first_rank": np.int32,
    "rank_to_token": np.int32,
    "sig_low": np.uint64,
    "sig_high": np.uint64,
    "sig_flags": np.uint8,
    "sig_chars": np.int32,
}


def _sorted_tokens(data: Array, offset: Array, tokens: Array) -> Array:
    """`tokens` (int32 [T]) in the order of (bytes, id): by their first eight bytes as numbers, then tie by tie."""
    keys = kernels.leading_bytes(data, offset, tokens)
    by_key = np.argsort(keys)
    order = tokens[by_key]
    kernels.sort_ties(data, offset, keys[by_key], order)
    _freeze(order)
    return order


def _freeze(*arrays: Array) -> None:
    for array in arrays:
        array.setflags(write=False)


_LISTED_DEPTHS, _LISTED_FROM = 3, 16


def child_lists(end: Array, depth: Array, byte: Array) -> tuple[Array, Array]:
    """The children of nodes near the root that have many, side by side: a walk finds those it can take without a detour.

    Args:
        end, depth: int32 [N]; byte: uint8 [N]: as in TokenTrie.

    Returns:
        int32 [N]: where a node's list begins, or 0 of one that has none; int32: the lists (kernels/layout.py: TRIE_CHILDREN).
    """
    lists, pieces, size = np.zeros(len(end), np.int32), [np.zeros(2, np.int32)], 2
    parents = np.zeros(1, np.int64)
    for level in range(1, _LISTED_DEPTHS + 1):
        children = np.flatnonzero(depth == level)
        firsts = np.searchsorted(children, parents)
        counts = np.searchsorted(children, end[parents]) - firsts
        for place in np.flatnonzero(counts >= _LISTED_FROM):
            listed = children[firsts[place] : firsts[place] + counts[place]]
            pairs = np.append(np.stack((byte[listed], listed), axis=1).ravel(), (-1, end[parents[place]]))
            lists[parents[place]] = size
            pieces.append(pairs.astype(np.int32))
            size += len(pairs)
        parents = children
    return lists, np.concatenate(pieces)
