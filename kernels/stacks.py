"""The nodes of a matcher's stack: persistent, hash-consed, and sets of stacks where a text can be read in several ways.

A node is the top of a stack: (return block, register, parent). Where a grammar is ambiguous so far, a configuration has
several stacks; they are kept as one *set*, merged from the top down:

    cell (block, register, parent set) -> next cell of the set ("also"), by ascending (block, register)

so that every node is a set, usually of one cell, and equal sets are the same number. Cells of one block and register are
one, with the union of what lies below them: a set has no more cells than there are return blocks, however many stacks it
stands for.

The *closure* of a node is the set of everything that goes on when the frame above it has ended with result code 0 (cells
whose blocks are states that have been entered): its callers, and where those may end at once, theirs. A thousand frames
that may all end here have the closure of the first, and one cell more.

New nodes are temporary until `settle` makes those permanent that the cursor needs; `truncate` takes them back. Pushes of
a step that has one way to go (kernels/steps.py: `step`) are not looked up in the hash table at first: their NEXT is
NOT_LINKED.
"""

from __future__ import annotations

from maskwright.kernels import layout as L
from maskwright.kernels.jit import part
from maskwright.kernels.memory import load_i32, load_i64, store_i32, store_i64

# Callees: b4a357df36f5

__all__ = ["intern_node", "keep", "push", "settle", "truncate", "unite"]


@part
def short_of_nodes(automaton, matcher):
    """Whether the bytes of one token might not find room for their pushes (two a byte, mostly)."""
    spare = load_i64(matcher, L.MATCHER_NODE_CAP) - load_i64(matcher, L.MATCHER_NODE_COUNT)
    return spare < 2 * load_i64(automaton, L.AUTOMATON_MAX_TOKEN) + 8


@part
def _bucket(matcher, block, register, parent, also):
    mixed = block * 0x9E3779B1 + register * 0x85EBCA77 + parent * 0xC2B2AE3D + also * 0x27D4EB2F
    return (mixed ^ (mixed >> 17)) & load_i64(matcher, L.MATCHER_HASH_MASK)


@part
def _find(matcher, block, register, parent, also, bucket):
    """The linked node with these fields, or 0."""
    nodes = load_i64(matcher, L.MATCHER_NODES)
    found = load_i32(load_i64(matcher, L.MATCHER_HASH), bucket)
    while found != 0:
        record = found * L.NODE_SIZE
        if (
            load_i32(nodes, record + L.NODE_BLOCK) == block
            and load_i32(nodes, record + L.NODE_PARENT) == parent
            and load_i32(nodes, record + L.NODE_REGISTER) == register
            and load_i32(nodes, record + L.NODE_ALSO) == also
        ):
            return found
        found = load_i32(nodes, record + L.NODE_NEXT)
    return 0


@part
def _write(matcher, node, block, register, parent, also, bucket):
    """Write a node and link it; its MARK is left alone."""
    nodes, heads = load_i64(matcher, L.MATCHER_NODES), load_i64(matcher, L.MATCHER_HASH)
    record = node * L.NODE_SIZE
    store_i32(nodes, record + L.NODE_BLOCK, block)
    store_i32(nodes, record + L.NODE_REGISTER, register)
    store_i32(nodes, record + L.NODE_PARENT, parent)
    store_i32(nodes, record + L.NODE_ALSO, also)
    store_i32(nodes, record + L.NODE_CLOSURE, 0)
    store_i32(nodes, record + L.NODE_NEXT, load_i32(heads, bucket))
    store_i32(heads, bucket, node)


@part
def intern_node(matcher, block, register, parent, also):
    """The node with these fields, made when missing; -1 when there is no room."""
    bucket = _bucket(matcher, block, register, parent, also)
    found = _find(matcher, block, register, parent, also, bucket)
    if found != 0:
        return found
    node = load_i64(matcher, L.MATCHER_NODE_COUNT)
    if node >= load_i64(matcher, L.MATCHER_NODE_CAP):
        return -1
    _write(matcher, node, block, register, parent, also, bucket)
    store_i64(matcher, L.MATCHER_NODE_COUNT, node + 1)
    store_i64(matcher, L.MATCHER_LINKED, node + 1)
    return node


@part
def push(matcher, block, register, parent):
    """A temporary node with these fields, whether there is an equal one or not; -1 when there is no room."""
    node = load_i64(matcher, L.MATCHER_NODE_COUNT)
    if node >= load_i64(matcher, L.MATCHER_NODE_CAP):
        return -1
    nodes, record = load_i64(matcher, L.MATCHER_NODES), node * L.NODE_SIZE
    store_i32(nodes, record + L.NODE_BLOCK, block)
    store_i32(nodes, record + L.NODE_REGISTER, register)
    store_i32(nodes, record + L.NODE_PARENT, parent)
    store_i32(nodes, record + L.NODE_NEXT, L.NOT_LINKED)
    store_i32(nodes, record + L.NODE_ALSO, 0)
    store_i32(nodes, record + L.NODE_CLOSURE, 0)
    store_i64(matcher, L.MATCHER_NODE_COUNT, node + 1)
    return node


@part
def _unlink(matcher, count):
    """Take the nodes from `count` on out of the hash table; unions of them are forgotten."""
    nodes, heads = load_i64(matcher, L.MATCHER_NODES), load_i64(matcher, L.MATCHER_HASH)
    for node in range(load_i64(matcher, L.MATCHER_LINKED) - 1, count - 1, -1):
        record = node * L.NODE_SIZE
        if load_i32(nodes, record + L.NODE_NEXT) != L.NOT_LINKED:
            bucket = _bucket(
                matcher,
                load_i32(nodes, record + L.NODE_BLOCK),
                load_i32(nodes, record + L.NODE_REGISTER),
                load_i32(nodes, record + L.NODE_PARENT),
                load_i32(nodes, record + L.NODE_ALSO),
            )
            store_i32(heads, bucket, load_i32(nodes, record + L.NODE_NEXT))
    store_i64(matcher, L.MATCHER_LINKED, count)
    unions = load_i64(matcher, L.MATCHER_UNIONS)
    for slot in range(0, L.UNION_SIZE * L.UNION_SLOTS, L.UNION_SIZE):
        if (
            load_i32(unions, slot + 1) >= count or load_i32(unions, slot + 2) >= count
        ):  # the second operand is the greater
            store_i32(unions, slot, -1)


@part
def truncate(matcher, count):
    """Take back the temporary nodes from `count` on."""
    if load_i64(matcher, L.MATCHER_LINKED) > count:
        _unlink(matcher, count)
    store_i64(matcher, L.MATCHER_NODE_COUNT, count)


@part
def settle(matcher, base, top):
    """The permanent node equal to `top`; frees every temporary (number >= base) that it does not need."""
    if top < base:
        truncate(matcher, base)
        store_i64(matcher, L.MATCHER_PERMANENT, base)
        return top
    if load_i64(matcher, L.MATCHER_LINKED) > base:
        _unlink(matcher, base)
    nodes = load_i64(matcher, L.MATCHER_NODES)
    for node in range(base, top):
        store_i32(nodes, node * L.NODE_SIZE + L.NODE_MARK, 0)
    store_i32(nodes, top * L.NODE_SIZE + L.NODE_MARK, 1)
    for node in range(top, base - 1, -1):  # what a node refers to was made before it
        if load_i32(nodes, node * L.NODE_SIZE + L.NODE_MARK) != 0:
            parent = load_i32(nodes, node * L.NODE_SIZE + L.NODE_PARENT)
            also = load_i32(nodes, node * L.NODE_SIZE + L.NODE_ALSO)
            if parent >= base:
                store_i32(nodes, parent * L.NODE_SIZE + L.NODE_MARK, 1)
            if also >= base:
                store_i32(nodes, also * L.NODE_SIZE + L.NODE_MARK, 1)
    count = base
    for node in range(base, top + 1):  # MARK becomes the number that the node has from now on
        record = node * L.NODE_SIZE
        if load_i32(nodes, record + L.NODE_MARK) == 0:
            continue
        block, register = load_i32(nodes, record + L.NODE_BLOCK), load_i32(nodes, record + L.NODE_REGISTER)
        parent, also = load_i32(nodes, record + L.NODE_PARENT), load_i32(nodes, record + L.NODE_ALSO)
        if parent >= base:
            parent = load_i32(nodes, parent * L.NODE_SIZE + L.NODE_MARK)
        if also >= base:
            also = load_i32(nodes, also * L.NODE_SIZE + L.NODE_MARK)
        bucket = _bucket(matcher, block, register, parent, also)
        found = _find(matcher, block, register, parent, also, bucket)
        if found == 0:
            found = count
            count += 1
            _write(matcher, found, block, register, parent, also, bucket)
        store_i32(nodes, record + L.NODE_MARK, found)
    top = load_i32(nodes, top * L.NODE_SIZE + L.NODE_MARK)
    store_i64(matcher, L.MATCHER_NODE_COUNT, count)
    keep(matcher)
    return top


@part
def keep(matcher):
    """Make every node permanent."""
    store_i64(matcher, L.MATCHER_LINKED, 0)
    store_i64(matcher, L.MATCHER_PERMANENT, load_i64(matcher, L.MATCHER_NODE_COUNT))


@part
def _following(nodes, cell):
    """The next cell of a set, or -1."""
    also = load_i32(nodes, cell * L.NODE_SIZE + L.NODE_ALSO)
    return also if also != 0 else -1


@part
def _union_slot(low, high):
    return L.UNION_SIZE * ((low * 0x9E3779B1 + high * 0x85EBCA77 >> 7) & (L.UNION_SLOTS - 1))


@part
def _known_union(matcher, left, right):
    """The union of two sets if it was found lately, or -1."""
    if left == right:
        return left
    low, high = min(left, right), max(left, right)
    unions, slot = load_i64(matcher, L.MATCHER_UNIONS), _union_slot(low, high)
    if load_i32(unions, slot) == low and load_i32(unions, slot + 1) == high:
        return load_i32(unions, slot + 2)
    return -1


@part
def _intern_cells(matcher, start):
    """The set of the cells in the making from `start` on, which are taken away; -1 when there is no room."""
    cells, found = load_i64(matcher, L.MATCHER_CELLS), 0
    for position in range(load_i64(matcher, L.MATCHER_CELL_COUNT) - 1, start - 1, -1):
        block, register = load_i32(cells, 3 * position), load_i32(cells, 3 * position + 1)
        found = intern_node(matcher, block, register, load_i32(cells, 3 * position + 2), found)
        if found < 0:
            break
    store_i64(matcher, L.MATCHER_CELL_COUNT, start)
    return found


@part
def unite(matcher, left, right):
    """The union of two sets of stacks; -1 when there is no room for it.

    A merge of two lists of cells. Where both have a cell of the same block and register, the sets below are united first:
    a frame of MATCHER_UNITING, UNITING_SIZE int32 each, is a merge that waits for that: the sets it unites, the cells
    that it has come to (-1: the end), block and register of the cell that waits, and where its own cells begin.
    """
    found = _known_union(matcher, left, right)
    if found >= 0:
        return found
    nodes, cells = load_i64(matcher, L.MATCHER_NODES), load_i64(matcher, L.MATCHER_CELLS)
    frames, cap = load_i64(matcher, L.MATCHER_UNITING), load_i64(matcher, L.MATCHER_CELL_CAP)
    store_i64(matcher, L.MATCHER_CELL_COUNT, 0)
    depth, first, second, start = 0, left, right, 0
    while True:
        below_first, below_second = -1, -1
        block, register = 0, 0
        while first >= 0 or second >= 0:
            one, two = max(first, 0) * L.NODE_SIZE, max(second, 0) * L.NODE_SIZE
            block, register = load_i32(nodes, one + L.NODE_BLOCK), load_i32(nodes, one + L.NODE_REGISTER)
            parent = load_i32(nodes, one + L.NODE_PARENT)
            other, count = load_i32(nodes, two + L.NODE_BLOCK), load_i32(nodes, two + L.NODE_REGISTER)
            below = load_i32(nodes, two + L.NODE_PARENT)
            if first >= 0 and second >= 0 and block == other and register == count:
                first, second = _following(nodes, first), _following(nodes, second)
                if parent != below:
                    both = _known_union(matcher, parent, below)
                    if both < 0:
                        below_first, below_second = parent, below
                        break
                    parent = both
            elif second < 0 or (first >= 0 and (block < other or (block == other and register < count))):
                first = _following(nodes, first)
            else:
                block, register, parent = other, count, below
                second = _following(nodes, second)
            position = load_i64(matcher, L.MATCHER_CELL_COUNT)
            if position >= cap:
                return -1
            store_i32(cells, 3 * position, block)
            store_i32(cells, 3 * position + 1, register)
            store_i32(cells, 3 * position + 2, parent)
            store_i64(matcher, L.MATCHER_CELL_COUNT, position + 1)
        if below_first >= 0:
            if depth >= cap:
                return -1
            frame = depth * L.UNITING_SIZE
            store_i32(frames, frame, left)
            store_i32(frames, frame + 1, right)
            store_i32(frames, frame + 2, first)
            store_i32(frames, frame + 3, second)
            store_i32(frames, frame + 4, block)
            store_i32(frames, frame + 5, register)
            store_i32(frames, frame + 6, start)
            depth += 1
            left, right, first, second = below_first, below_second, below_first, below_second
            start = load_i64(matcher, L.MATCHER_CELL_COUNT)
            continue
        found = _intern_cells(matcher, start)
        if found < 0:
            return -1
        unions, slot = load_i64(matcher, L.MATCHER_UNIONS), _union_slot(min(left, right), max(left, right))
        store_i32(unions, slot, min(left, right))
        store_i32(unions, slot + 1, max(left, right))
        store_i32(unions, slot + 2, found)
        store_i64(matcher, L.MATCHER_LINKED, load_i64(matcher, L.MATCHER_NODE_COUNT))  # forgotten with what it unites
        if depth == 0:
            return found
        depth -= 1
        frame = depth * L.UNITING_SIZE
        left, right = load_i32(frames, frame), load_i32(frames, frame + 1)
        first, second = load_i32(frames, frame + 2), load_i32(frames, frame + 3)
        start = load_i32(frames, frame + 6)
        position = load_i64(matcher, L.MATCHER_CELL_COUNT)
        if position >= cap:
            return -1
        store_i32(cells, 3 * position, load_i32(frames, frame + 4))
        store_i32(cells, 3 * position + 1, load_i32(frames, frame + 5))
        store_i32(cells, 3 * position + 2, found)
        store_i64(matcher, L.MATCHER_CELL_COUNT, position + 1)
