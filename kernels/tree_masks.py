"""One kernel for a whole draft tree: which of its nodes the grammar allows, and the mask behind each of those.

The walk is depth first. Entering a node accepts its token, leaving it takes that step back, so that a matcher whose
configurations are numbers pays nothing for branching. Below a token that is not allowed nothing is looked at.

                         enter(node)                       up(node)
    parent --- accept, mask ---> first child ... --- take back ---> next sibling, or the parent's up

The header says where the walk is (TREE_NODE, TREE_PHASE), so that it can stop anywhere and go on: for what a kernel asks
its caller to mend (NEED_*, kernels/layout.py), or after TREE_LEFT nodes, for a caller who watches a clock. Where more than
the automaton counts (NEED_TEXT, RESTRICT: keys that must differ) it ends, and the caller goes node by node.
"""

from __future__ import annotations

from maskwright.kernels import layout as L
from maskwright.kernels.jit import kernel, part
from maskwright.kernels.memory import call, load_i32, load_i64, store_i64, store_u8

# Callees: b4a357df36f5

__all__ = ["traverse"]

# Tree header, int64; N nodes.
TREE_TOKENS = 0  # int64 [N]
TREE_CHILD = 1  # int64 [N]: first child, larger than the node's own number, or -1
TREE_SIBLING = 2  # int64 [N]: next sibling, likewise
TREE_ABOVE = 3  # int64 [N], workspace: the parents of the nodes entered so far
TREE_LEGAL = 4  # uint8 [N]: 1 is written where the grammar allows the path to the node
TREE_OUT = 5  # address of the mask behind node 0
TREE_STRIDE = 6  # bytes from one mask to the next
TREE_NODE = 7  # where the walk is
TREE_PHASE = 8
TREE_LEFT = 9  # nodes that may still be entered before the walk pauses
TREE_FILL = 10  # where `fill` and `accept_token` lie (kernels/automaton.py)
TREE_ACCEPT = 11
TREE_SIZE = 12

ENTER, FILL, UP = range(3)  # phases: before the node's token, behind it but without its mask, behind its children
PAUSED = -1


@part
def _take_back(matcher):
    """Undo the last accepted token."""
    length = load_i64(matcher, L.MATCHER_HISTORY_LENGTH) - 1
    history, record = load_i64(matcher, L.MATCHER_HISTORY), length * L.HISTORY_SIZE
    store_i64(matcher, L.MATCHER_STATE, load_i32(history, record))
    store_i64(matcher, L.MATCHER_REGISTER, load_i32(history, record + 1))
    store_i64(matcher, L.MATCHER_TOP, load_i32(history, record + 2))
    store_i64(matcher, L.MATCHER_WHERE, load_i32(history, record + L.HISTORY_WHERE))
    store_i64(matcher, L.MATCHER_HISTORY_LENGTH, length)


@kernel
def traverse(automaton, matcher, tree):
    """Go on with the walk: OK at its end, with the matcher where it was at the start; NEED_* or PAUSED on the way.

    A new walk begins at node 0 in phase FILL.
    """
    tokens, above, legal = load_i64(tree, TREE_TOKENS), load_i64(tree, TREE_ABOVE), load_i64(tree, TREE_LEGAL)
    out, stride = load_i64(tree, TREE_OUT), load_i64(tree, TREE_STRIDE)
    node, phase = load_i64(tree, TREE_NODE), load_i64(tree, TREE_PHASE)
    status = L.OK
    while True:
        allowed = True
        if phase == ENTER:
            status = L.REJECTED
            if load_i64(matcher, L.MATCHER_STATE) != L.ENDED:
                status = call(load_i64(tree, TREE_ACCEPT), automaton, matcher, load_i64(tokens, node))
                if status > L.REJECTED:
                    break
            allowed = status == L.OK
            phase = FILL
        if phase == FILL and allowed:
            if load_i64(tree, TREE_LEFT) == 0:
                status = PAUSED
                break
            status = call(load_i64(tree, TREE_FILL), automaton, matcher, out + node * stride)
            if status != L.OK:
                break
            store_u8(legal, node, 1)
            store_i64(tree, TREE_LEFT, load_i64(tree, TREE_LEFT) - 1)
            child = load_i64(load_i64(tree, TREE_CHILD), node)
            if child >= 0:
                store_i64(above, child, node)
                node, phase = child, ENTER
                continue
        # Behind the last child: up, until there is a sibling.
        while True:
            if allowed:
                if node == 0:
                    store_i64(tree, TREE_NODE, 0)
                    store_i64(tree, TREE_PHASE, UP)
                    return L.OK
                _take_back(matcher)
            sibling = load_i64(load_i64(tree, TREE_SIBLING), node)
            if sibling >= 0:
                store_i64(above, sibling, load_i64(above, node))
                node, phase = sibling, ENTER
                break
            node, allowed = load_i64(above, node), True
    store_i64(tree, TREE_NODE, node)
    store_i64(tree, TREE_PHASE, phase)
    return status
