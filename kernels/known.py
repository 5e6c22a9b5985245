"""Steps that a walk has taken before: where a byte leads from a configuration.

A fork costs ten times what a step does that has one way to go, and a walk of the vocabulary comes to the same few sets of
stacks thousands of times: an identifier that may be a name in five places is one set after each of its letters. So the
walk of a row keeps what calls and ends have led to, and the nodes that they have made, until it is over. Of nodes that are
preserved no two are equal but for few, so that equal configurations are found again.

A known step is STEP_SIZE int32 at MATCHER_STEPS, at the place that its configuration and byte give; a newer one replaces
it.
"""

from __future__ import annotations

from maskwright.kernels import layout as L
from maskwright.kernels.jit import part
from maskwright.kernels.memory import load_i32, load_i64, store_i32, store_i64
from maskwright.kernels.stacks import intern_node
from maskwright.kernels.steps import state_field, transition

# Callees: 42d631cc7f38

__all__ = ["find_step", "forget_steps", "keep_step", "may_fork", "preserve"]


@part
def _place(matcher, state, register, top, byte):
    mixed = state * 0x9E3779B1 + top * 0x85EBCA77 + register * 0x27D4EB2F + byte * 0xC2B2AE3D
    return ((mixed ^ (mixed >> 15)) & load_i64(matcher, L.MATCHER_STEPS_MASK)) * L.STEP_SIZE


@part
def forget_steps(matcher):
    """Begin a new walk: nothing is known."""
    store_i64(matcher, L.MATCHER_STEPS_WALK, (load_i64(matcher, L.MATCHER_STEPS_WALK) + 1) & 0x7FFFFFFF)


@part
def may_fork(automaton, state, top, byte):
    """Whether a step is one that is worth to be kept: a call, or the end of a frame that was called on the way."""
    if state == L.SPLIT:
        return True
    value = transition(automaton, state, byte)
    if value == 0 or value == L.REJECT:
        return top != 0 and state_field(automaton, state, L.STATE_FINAL) >= 0
    return value < 0


@part
def find_step(matcher, state, register, top, byte):
    """What a byte leads to, the ends of the frame among LEFT: (status, state, register, node). Status -1: not known."""
    steps, place = load_i64(matcher, L.MATCHER_STEPS), _place(matcher, state, register, top, byte)
    if (
        load_i32(steps, place + L.STEP_WALK) != load_i64(matcher, L.MATCHER_STEPS_WALK)
        or load_i32(steps, place + L.STEP_BEFORE) != state
        or load_i32(steps, place + L.STEP_TOP) != top
        or load_i32(steps, place + L.STEP_BYTE) != byte
        or load_i32(steps, place + L.STEP_COUNT) != register
    ):
        return -1, 0, 0, 0
    status, left = load_i32(steps, place + L.STEP_STATUS), load_i32(steps, place + L.STEP_LEFT)
    if status == L.EXIT_SOME:
        store_i32(load_i64(matcher, L.MATCHER_LEFT), 0, left >> 1)
        store_i32(load_i64(matcher, L.MATCHER_LEFT), 1, left & 1)
        store_i64(matcher, L.MATCHER_LEFT_COUNT, 1)
    state, register = load_i32(steps, place + L.STEP_STATE), load_i32(steps, place + L.STEP_REGISTER)
    return status, state, register, load_i32(steps, place + L.STEP_NODE)


@part
def keep_step(matcher, state, register, top, byte, status, after, count, node):
    """Remember where a byte has led to: (after, count, node), `top` and `node` preserved. Not where it was NEED_*,
    nor where the frame has ended in several ways."""
    left = 0
    if status == L.EXIT_SOME:
        if load_i64(matcher, L.MATCHER_LEFT_COUNT) != 1:
            return
        ends = load_i64(matcher, L.MATCHER_LEFT)
        left = load_i32(ends, 0) << 1 | load_i32(ends, 1)
    elif status != L.OK and status != L.REJECTED and status != L.EXIT_BEFORE and status != L.EXIT_AFTER:
        return
    steps, place = load_i64(matcher, L.MATCHER_STEPS), _place(matcher, state, register, top, byte)
    store_i32(steps, place + L.STEP_WALK, load_i64(matcher, L.MATCHER_STEPS_WALK))
    store_i32(steps, place + L.STEP_BYTE, byte)
    store_i32(steps, place + L.STEP_BEFORE, state)
    store_i32(steps, place + L.STEP_COUNT, register)
    store_i32(steps, place + L.STEP_TOP, top)
    store_i32(steps, place + L.STEP_STATUS, status)
    store_i32(steps, place + L.STEP_STATE, after)
    store_i32(steps, place + L.STEP_REGISTER, count)
    store_i32(steps, place + L.STEP_NODE, node)
    store_i32(steps, place + L.STEP_LEFT, left)


@part
def preserve(matcher, depth, top):
    """The node equal to `top` that stays until the walk is over; -1 when there is no room.

    `depth`: how deep in the trie the walk is; what it would take back as it climbs begins behind the node.
    """
    workspace = load_i64(matcher, L.MATCHER_WALK)
    base = load_i32(workspace, 4)  # at no depth are there fewer
    if top < base:
        return top
    nodes = load_i64(matcher, L.MATCHER_NODES)
    for node in range(base, top):
        store_i32(nodes, node * L.NODE_SIZE + L.NODE_MARK, 0)
    store_i32(nodes, top * L.NODE_SIZE + L.NODE_MARK, 1)
    for node in range(top, base - 1, -1):  # what a node refers to was made before it
        record = node * L.NODE_SIZE
        if load_i32(nodes, record + L.NODE_MARK) != 0:
            parent, also = load_i32(nodes, record + L.NODE_PARENT), load_i32(nodes, record + L.NODE_ALSO)
            if parent >= base:
                store_i32(nodes, parent * L.NODE_SIZE + L.NODE_MARK, 1)
            if also >= base:
                store_i32(nodes, also * L.NODE_SIZE + L.NODE_MARK, 1)
    for node in range(base, top + 1):  # MARK becomes the node that stays
        record = node * L.NODE_SIZE
        if load_i32(nodes, record + L.NODE_MARK) == 0:
            continue
        parent, also = load_i32(nodes, record + L.NODE_PARENT), load_i32(nodes, record + L.NODE_ALSO)
        if parent >= base:
            parent = load_i32(nodes, parent * L.NODE_SIZE + L.NODE_MARK)
        if also >= base:
            also = load_i32(nodes, also * L.NODE_SIZE + L.NODE_MARK)
        block, register = load_i32(nodes, record + L.NODE_BLOCK), load_i32(nodes, record + L.NODE_REGISTER)
        found = intern_node(matcher, block, register, parent, also)
        if found < 0:
            return -1
        store_i32(nodes, record + L.NODE_MARK, found)
    found = load_i32(nodes, top * L.NODE_SIZE + L.NODE_MARK)
    if found < base:
        return found
    count = load_i64(matcher, L.MATCHER_NODE_COUNT)
    for number in range(depth + 1):
        store_i32(workspace, number * L.WALK_SIZE + 4, count)
    return found
