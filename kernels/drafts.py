"""Draft trees: which of the drafted tokens the target takes, and which token comes behind them.

    node            0 -- 1 -- 3        token          [last committed, a, b, c]
                     `-- 2             first_child    [1, 3, -1, -1]
                                       next_sibling   [-1, 2, -1, -1]

Node 0 is the last committed token. The logits of a node are the target's after its path, its mask is the one there, and its
children were drafted in the order of their siblings. verify_drafts() walks from node 0 to the last node it accepts, and
emits one token more, so that each call gives at least one.

    method                  the children of a node                          a child is taken
    "match"                 may come from anywhere                          where it is what the target draws there
    "ratio"                 are drawn from the proposal, with replacement   with probability min(1, p / q)
    "without_replacement"   are drawn from it without                       as "ratio"; it leaves the proposal if not

Behind a rejection by ratio the target is what is left of it, norm(max(p - q, 0)); the last token is drawn from that. All
three emit what plain sampling from the masked target would, in distribution; "match" even the same tokens as plain sampling
from the same seed (a coupling by position), whatever the drafter.

p is the masked target at the temperature; the comparison is strict, coin * q < p, so that a token that is not allowed is
never taken, not even by a coin of zero. Each node has a coin of its own, and the last token noise of its own.

Sources: SpecInfer (Miao et al. 2024); Recursive Speculative Decoding (Jeon et al. 2024); Leviathan et al. 2023.
"""

# Callees: 91830ba4f400

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from maskwright.kernels.backends import (
    Backend,
    a_row,
    backend_for,
    check_logits,
    check_table,
    raise_where_none,
)
from maskwright.kernels.noise import RESIDUAL_STREAM, TOKEN_STREAM
from maskwright.kernels.sampling import Draws, sample_tokens

if TYPE_CHECKING:
    import torch

__all__ = ["DraftTrees", "Verified", "gather_path", "verify_drafts"]

Method = Literal["match", "ratio", "without_replacement"]
Tensors: TypeAlias = "tuple[torch.Tensor, ...]"


@dataclass(frozen=True, slots=True)
class DraftTrees:
    """One tree for each sequence; contiguous int64 [B, N] each, on one device.

    Attributes:
        token: of each node; that of node 0 is not looked at, nor are those of nodes that nothing leads to.
        first_child: the node of the first child, or -1; larger than the node's own number.
        next_sibling: the node of the next child of the same parent, or -1.
        depth: how many edges from node 0.
    """

    token: torch.Tensor
    first_child: torch.Tensor
    next_sibling: torch.Tensor
    depth: torch.Tensor

    @classmethod
    def from_parents(
        cls, tokens: Sequence[Sequence[int]], parents: Sequence[Sequence[int]], device: Any = None
    ) -> DraftTrees:
        """Trees of which each node knows its parent, siblings in the order of their numbers; short ones are padded.

        Args:
            tokens: of each tree's nodes.
            parents: of each tree's nodes; -1 for node 0, and for the others a smaller number than their own.

        Raises:
            ValueError: a parent that does not come before its child, or lists of different lengths.
        """
        import torch

        size = max(map(len, tokens), default=1)
        filled = torch.full((4, len(tokens), size), -1, dtype=torch.int64)
        token, first_child, next_sibling, depth = filled
        depth.fill_(0)
        for tree, (names, above) in enumerate(zip(tokens, parents, strict=True)):
            if len(names) != len(above) or not names or above[0] != -1:
                raise ValueError(f"tree {tree}: give each node a token and a parent, and node 0 the parent -1")
            youngest = dict[int, int]()
            for node, (name, parent) in enumerate(zip(names, above, strict=True)):
                token[tree, node] = name
                if not node:
                    continue
                if not 0 <= parent < node:
                    raise ValueError(
                        f"tree {tree}: the parent of node {node} must be one of 0..{node - 1}, not {parent}"
                    )
                depth[tree, node] = depth[tree, parent] + 1
                if parent in youngest:
                    next_sibling[tree, youngest[parent]] = node
                else:
                    first_child[tree, parent] = node
                youngest[parent] = node
        return cls(*(part.contiguous() for part in filled.to(device)))


class Verified:
    """What verify_drafts() found, and the memory that it needs on the way.

    Attributes:
        path: int64 [B, N]: the nodes accepted, from node 0 on; -1 behind them.
        length: int64 [B]: how many those are; so many tokens are emitted, those of path[1:] and `token`.
        token: int64 [B]: the last token emitted; NO_TOKEN (-1) where nothing could be drawn at the end of the path.
        logprob: float32 [B, N]: log-probabilities of the tokens emitted, under the masked target; -inf behind them.
    """

    def __init__(self, batch: int, nodes: int, columns: int, device: Any = "cpu", method: Method = "match") -> None:
        """Memory for `batch` trees of `nodes` nodes over `columns` tokens."""
        import torch

        self.path = torch.empty((batch, nodes), dtype=torch.int64, device=device)
        self.length = torch.empty(batch, dtype=torch.int64, device=device)
        self.token = torch.empty(batch, dtype=torch.int64, device=device)
        self.logprob = torch.empty((batch, nodes), dtype=torch.float32, device=device)
        self.draws = Draws(batch * nodes, columns, device)
        self.heat = torch.empty(
            batch * nodes, dtype=torch.float32, device=device
        )  # of each node, as `key` and `place` are
        self.key = torch.empty(batch * nodes, dtype=torch.int64, device=device)
        self.place = torch.empty(batch * nodes, dtype=torch.int64, device=device)
        self.rest = torch.empty((batch, 0 if method == "match" else columns), dtype=torch.float32, device=device)


def verify_drafts(
    trees: DraftTrees,
    logits: torch.Tensor,
    table: torch.Tensor,
    *,
    rows: torch.Tensor | None = None,
    method: Method = "match",
    proposal: torch.Tensor | None = None,
    temperature: torch.Tensor | float = 0.0,
    seed: torch.Tensor | int = 0,
    position: torch.Tensor | int = 0,
    out: Verified | None = None,
    backend: Backend | None = None,
) -> Verified:
    """Verify a tree for each sequence.

    Args:
        trees: the drafts, [B, N].
        logits: float32, bfloat16 or float16 [B, N, V]: the target's after each node.
        table: int32 [R, W] on the same device: mask rows. Without `rows` R is B * N, tree by tree.
        rows: int32 [B, N]: which mask is whose; -1: none.
        method: see above. Greedy trees are matched, whatever it is.
        proposal: float32 [B, N, V], for the methods by ratio: probabilities that the children of each node were drawn from.
        temperature: a number, or float32 [B]; below 1e-5 greedy.
        seed: a whole number, or int64 [B].
        position: a whole number, or int64 [B]: where in its sequence the token behind node 0 will stand.
        out: of an earlier call of the same sizes and method; it is written and returned.
        backend: "numba", "torch" or "triton"; None chooses by the device.

    Raises:
        TypeError, ValueError: dtypes, shapes or devices that do not fit.
        BackendError: the back end is not installed, or does not work on this device.
        EmptyMaskError: nothing can be drawn at the end of a path; on the host only.
    """
    import torch

    check_logits(logits, 3)
    check_table(table, logits)
    count, nodes, columns = logits.shape
    device = logits.device
    links = trees.token, trees.first_child, trees.next_sibling
    for link in (*links, trees.depth):
        if link.dtype != torch.int64 or tuple(link.shape) != (count, nodes) or link.device != device:
            raise ValueError(f"the trees must be int64 of shape ({count}, {nodes}) on {device}, as the logits are")
    if method not in ("match", "ratio", "without_replacement"):
        raise ValueError(f"method={method!r}: choose 'match', 'ratio' or 'without_replacement'")
    if (proposal is None) != (method == "match"):
        raise ValueError("proposal= is what the methods by ratio need, and 'match' does not look at")
    if proposal is not None and (proposal.dtype != torch.float32 or proposal.shape != logits.shape):
        raise ValueError(
            f"the proposal must be float32 {tuple(logits.shape)}, not {proposal.dtype} {tuple(proposal.shape)}"
        )
    used = backend_for(logits, backend)
    heat = a_row("temperature", temperature, torch.float32, count, device)
    key = a_row("seed", seed, torch.int64, count, device)
    place = a_row("position", position, torch.int64, count, device)
    found = Verified(count, nodes, columns, device, method) if out is None else out
    flat = None if rows is None else rows.flatten()
    found.heat.view(count, nodes).copy_(heat[:, None])
    found.key.view(count, nodes).copy_(key[:, None])
    torch.add(trees.depth, place[:, None], out=found.place.view(count, nodes))
    sample_tokens(
        logits.flatten(0, 1),
        table,
        rows=flat,
        temperature=found.heat,
        seed=found.key,
        position=found.place,
        stream=TOKEN_STREAM if method == "match" else RESIDUAL_STREAM,
        with_mass=False,
        out=found.draws,
        backend=used,
        raise_empty=False,
    )
    drawn, drawn_logprob = found.draws.token.view(count, nodes), found.draws.logprob.view(count, nodes)
    found.path.fill_(-1)
    found.logprob.fill_(float("-inf"))
    results = found.path, found.length, found.token, found.logprob
    if proposal is None:
        _match(used, links, (drawn, drawn_logprob), results)
    else:
        if flat is None:
            flat = torch.arange(count * nodes, dtype=torch.int32, device=device)
        given = logits, table, flat.view(count, nodes), heat, key, place, proposal.contiguous()
        _ratio(used, links, given, method == "without_replacement", (drawn, drawn_logprob), found.rest, results)
    if device.type == "cpu":
        raise_where_none(found.token)
    return found


def _match(used: Backend, links: Tensors, drawn: Tensors, results: Tensors) -> None:
    """links are token, first_child and next_sibling; drawn, tokens and their log-probabilities; results as in Verified."""
    if used == "triton":
        from maskwright.kernels import triton_trees

        triton_trees.match(links, drawn, results)
    elif used == "numba":
        from maskwright.kernels import numba_trees

        numba_trees.match(*(value.numpy() for value in (*links, *drawn, *results)))
    else:
        from maskwright.kernels import torch_trees

        torch_trees.match(links, drawn, results)


def _ratio(
    used: Backend,
    links: Tensors,
    given: Tensors,
    without_replacement: bool,
    drawn: Tensors,
    rest: torch.Tensor,
    results: Tensors,
) -> None:
    """given are logits, mask rows and their numbers, temperature, seed, position and proposal; the others as in _match()."""
    if used == "triton":
        from maskwright.kernels import triton_trees

        triton_trees.ratio(links, given, without_replacement, drawn, rest, results)
    elif used == "numba":
        from maskwright.kernels import numba_trees

        logits, *others = given
        arrays = [value.numpy() for value in (*links, logits.detach().float(), *others)]
        written = [value.numpy() for value in (*drawn, *results)]
        numba_trees.ratio(*arrays, without_replacement, *written)
    else:
        from maskwright.kernels import torch_trees

        torch_trees.ratio(links, given, without_replacement, drawn, results)


def gather_path(
    cache: torch.Tensor, start: torch.Tensor, path: torch.Tensor, *, backend: Backend | None = None
) -> None:
    """Keep a key-value cache's entries of the accepted nodes and move them together, in place.

    Args:
        cache: [B, H, L, D], keys or values of one layer, any dtype and strides; node n of tree b is at start[b] + n.
        start: int64 [B]: where node 0 is.
        path: int64 [B, N], as in Verified. Node path[b, i] goes to start[b] + i; what is behind the path has no meaning.
        backend: "torch" or "triton"; None chooses by the device.

    Raises:
        TypeError, ValueError: dtypes, shapes or devices that do not fit.
        BackendError: the back end is not installed, or does not work on this device.
    """
    import torch

    if cache.ndim != 4 or start.shape != cache.shape[:1] or path.ndim != 2 or len(path) != len(cache):
        shapes = tuple(cache.shape), tuple(start.shape), tuple(path.shape)
        raise ValueError(f"cache, start and path must be [B, H, L, D], [B] and [B, N], not {shapes}")
    if start.dtype != torch.int64 or path.dtype != torch.int64:
        raise TypeError("start and path must be int64")
    if start.device != cache.device or path.device != cache.device:
        raise ValueError(f"start and path must be on {cache.device}, as the cache is")
    if backend_for(cache, backend) == "triton":
        from maskwright.kernels import triton_trees

        triton_trees.gather(cache, start.contiguous(), path.contiguous())
    else:
        from maskwright.kernels import torch_trees

        torch_trees.gather(cache, start, path)
