"""The masks of a draft tree: one call of a kernel for all nodes, and the nodes that the grammar does not allow."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maskwright.grammars.errors import MatcherError
from maskwright.kernels import layout as L
from maskwright.kernels import tree_masks as kernels
from maskwright.kernels.automaton import accept_token, fill
from maskwright.kernels.jit import address_of
from maskwright.runtime.targets import Target

if TYPE_CHECKING:
    from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["checked_links", "legal_tokens", "traverse"]

Integers = npt.NDArray[np.int64]

_NODES_A_LOOK = 16  # at the clock


class _Walk(NamedTuple):
    """A tree and what is found of it; see traverse()."""

    tokens: Integers
    first_child: Integers
    next_sibling: Integers
    target: Target
    legal: npt.NDArray[np.uint8]
    until: float | None  # on the clock

    @property
    def late(self) -> bool:
        """Whether time is up."""
        return self.until is not None and perf_counter() > self.until


def traverse(
    matcher: GrammarMatcher,
    tokens: Integers,
    first_child: Integers,
    next_sibling: Integers,
    target: Target,
    seconds: float = 0.0,
) -> npt.NDArray[np.bool_] | None:
    """Write the mask behind each node that the grammar allows to the node's row; the matcher stays where it is.

    Args:
        matcher: behind node 0, whose token is not looked at.
        tokens, first_child, next_sibling: int64 [N], contiguous, as in DraftTree; tokens are in the vocabulary.
        target: of a bitmask with at least N rows; rows of other nodes are left alone.
        seconds: after which to give up, if above 0.

    Returns:
        bool [N]: which nodes are allowed, with all that lead to them; None where time was up.

    Raises:
        GrammarError: a limit was reached while the automaton was made. The matcher is where it was.
    """
    legal = np.zeros(len(tokens), np.uint8)
    start = matcher.step_count
    until = perf_counter() + seconds if seconds > 0 else None
    walk = _Walk(tokens, first_child, next_sibling, target, legal, until)
    try:
        done = None
        if matcher._unique is None:
            done = _together(matcher, walk)
        if done is None:
            matcher.rollback(matcher.step_count - start)
            legal[:] = 0
            done = _one_by_one(matcher, walk)
    finally:
        matcher.rollback(matcher.step_count - start)
    return legal.view(np.bool_) if done else None


def _together(matcher: GrammarMatcher, walk: _Walk) -> bool | None:
    """Whether it was done in time; None where keys of the text decide on what may follow, besides the automaton."""
    target, count = walk.target, len(walk.tokens)
    above = np.empty(count, np.int64)
    header = np.zeros(kernels.TREE_SIZE, np.int64)
    header[: kernels.TREE_STRIDE + 1] = (
        *(array.ctypes.data for array in (walk.tokens, walk.first_child, walk.next_sibling, above, walk.legal)),
        target.address,
        target.stride,
    )
    header[kernels.TREE_PHASE] = kernels.FILL
    header[kernels.TREE_LEFT] = count if walk.until is None else _NODES_A_LOOK
    header[kernels.TREE_FILL], header[kernels.TREE_ACCEPT] = address_of(fill), address_of(accept_token)
    while (status := kernels.traverse(matcher._automaton, matcher._address, header.ctypes.data)) != L.OK:
        if walk.late:
            return False
        if status in (L.RESTRICT, L.NEED_TEXT):
            return None
        if status == kernels.PAUSED:
            header[kernels.TREE_LEFT] = _NODES_A_LOOK
        else:
            matcher._mend(status)
    return not walk.late


def _one_by_one(matcher: GrammarMatcher, walk: _Walk) -> bool:
    """The same walk in Python, for grammars whose masks depend on more than the configuration."""
    tokens, first_child, next_sibling, target, legal, _ = walk
    todo = [(0, 0)]  # nodes to enter, and how many of the walk's steps lead to their parents
    start = matcher.step_count
    while todo:
        if walk.late:
            return False
        node, depth = todo.pop()
        matcher.rollback(matcher.step_count - start - depth)
        if node:
            if next_sibling[node] >= 0:
                todo.append((int(next_sibling[node]), depth))
            if matcher.is_terminated() or not matcher.accept_token(int(tokens[node])):
                continue
            depth += 1
        matcher._fill(target.address + node * target.stride)
        legal[node] = 1
        if first_child[node] >= 0:
            todo.append((int(first_child[node]), depth))
    return True


def legal_tokens(masks: npt.NDArray[np.int32], columns: int) -> npt.NDArray[np.bool_]:
    """bool [N, columns]: what masks, int32 [N, W], allow; columns beyond them are not allowed."""
    bits = np.unpackbits(np.ascontiguousarray(masks).view(np.uint8), axis=-1, bitorder="little")[..., :columns]
    short = columns - bits.shape[-1]
    return (np.pad(bits, ((0, 0), (0, short))) if short else bits).view(np.bool_)


def checked_links(
    retrieve_next_token: Any, retrieve_next_sibling: Any, draft_tokens: Any, vocab_size: int
) -> tuple[Integers, Integers, Integers]:
    """A caller's arrays, int64 [N] each, as contiguous numpy arrays: tokens, first children, next siblings.

    Raises:
        MatcherError: they are not the links of a tree.
    """
    names = ("draft_tokens", "retrieve_next_token", "retrieve_next_sibling")
    arrays = list[Integers]()
    for name, given in zip(names, (draft_tokens, retrieve_next_token, retrieve_next_sibling), strict=True):
        array = np.asarray(given.numpy() if hasattr(given, "numpy") else given)
        if array.dtype != np.int64 or array.ndim != 1 or not len(array):
            raise MatcherError(f"{name} must be int64 [N] on the CPU, N at least 1, not {array.dtype} {array.shape}")
        arrays.append(np.ascontiguousarray(array))
    tokens, children, siblings = arrays
    count = len(tokens)
    if len(children) != count or len(siblings) != count:
        raise MatcherError(f"{', '.join(names)} must be equally long, not {count}, {len(children)} and {len(siblings)}")
    links = np.concatenate([children, siblings])
    used = links[links != -1]
    if (links < -1).any() or (links >= count).any():
        raise MatcherError(f"the links must lead to nodes, 0 to {count - 1}, or be -1")
    if siblings[0] != -1 or (used <= np.flatnonzero(links != -1) % count).any() or len(np.unique(used)) < len(used):
        raise MatcherError("the links must make a tree: each leads to a node of a larger number that no other leads to")
    wrong = (tokens[used] < 0) | (tokens[used] >= vocab_size)
    if wrong.any():
        token = int(tokens[used][wrong][0])
        raise MatcherError(f"token id {token} is not in the vocabulary of {vocab_size:,} tokens")
    return tokens, children, siblings
