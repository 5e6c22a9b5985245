"""Kernels that walk a trie of tokens through the automaton, and turn what they find into mask rows.

A walk takes the steps of all paths at once, depth first, taking back pushes as it climbs. It gathers ranges of ranks of
tokens that are allowed, and the exits: where a token leaves the frame that the walk began in, over callers that are not
known. Subtrees whose signature fits the safe set of a state are allowed unseen.

What computes a row runs without the interpreter lock: its caller holds that of the automaton, so that the tables stay.
"""

from __future__ import annotations

import numpy as np

from maskwright.kernels import layout as L
from maskwright.kernels.jit import nogil_kernel, part
from maskwright.kernels.known import find_step, forget_steps, keep_step, may_fork, preserve
from maskwright.kernels.memory import load_i32, load_i64, load_u8, load_u64, store_i32, store_i64
from maskwright.kernels.stacks import truncate
from maskwright.kernels.steps import node_field, state_field, step, transition

# Callees: bf5995a03785

__all__ = ["NO_BUDGET", "add_range", "diverging", "listed_at", "row_ids", "row_words", "start_walk", "walk", "walk_row"]

NO_BUDGET = 1 << 40
_CALLS = 8  # calls within each other that are looked into


@part
def add_range(matcher, low, high):
    """Allow the ranks [low, high); True when there was no room."""
    if low == high:
        return False
    count = load_i64(matcher, L.MATCHER_RANGE_COUNT)
    ranges = load_i64(matcher, L.MATCHER_RANGES)
    if count > 0 and load_i32(ranges, 2 * count - 1) == low:
        store_i32(ranges, 2 * count - 1, high)
        return False
    if count >= load_i64(matcher, L.MATCHER_RANGE_CAP):
        return True
    store_i32(ranges, 2 * count, low)
    store_i32(ranges, 2 * count + 1, high)
    store_i64(matcher, L.MATCHER_RANGE_COUNT, count + 1)
    return False


@part
def _add_short(matcher, trie, node, limit):
    """Allow the tokens of a subtree that go on for at most `limit` code points after the node; True when there was no room.

    Then nothing is added.
    """
    firsts, chars = load_i64(trie, L.TRIE_FIRST), load_i64(trie, L.TRIE_RANK_CHARS)
    most = load_i32(load_i64(trie, L.TRIE_NODE_CHARS), node) + limit
    ranges = load_i64(matcher, L.MATCHER_RANGES)
    count = load_i64(matcher, L.MATCHER_RANGE_COUNT)
    last = load_i32(ranges, 2 * count - 1) if count > 0 else 0
    stop = load_i32(firsts, load_i32(load_i64(trie, L.TRIE_END), node))
    rank = load_i32(firsts, node)
    while rank < stop:
        low = rank
        while rank < stop and load_i32(chars, rank) <= most:
            rank += 1
        if add_range(matcher, low, rank):
            if count > 0:
                store_i32(ranges, 2 * count - 1, last)
            store_i64(matcher, L.MATCHER_RANGE_COUNT, count)
            return True
        rank += 1
    return False


@part
def _add_exits(matcher, node, end, followed):
    """Note the ends of a fork as exits at a trie node; True when there was no room, and nothing is noted.

    `followed`: a result code with which ends before the byte do not count, since fill() follows them; -1: none.
    """
    left, exits = load_i64(matcher, L.MATCHER_LEFT), load_i64(matcher, L.MATCHER_EXITS)
    count, ends = load_i64(matcher, L.MATCHER_EXIT_COUNT), load_i64(matcher, L.MATCHER_LEFT_COUNT)
    if count + ends > load_i64(matcher, L.MATCHER_EXIT_CAP):
        return True
    for number in range(ends):
        before = load_i32(left, 2 * number + 1)
        result = load_i32(left, 2 * number)
        if (before == 1 and result != followed) or (before == 0 and end > node + 1):
            store_i32(exits, 3 * count, node)
            store_i32(exits, 3 * count + 1, result)
            store_i32(exits, 3 * count + 2, before)
            count += 1
    store_i64(matcher, L.MATCHER_EXIT_COUNT, count)
    return False


@part
def _some_after(matcher):
    """Whether one of a fork's ends came after the byte."""
    left = load_i64(matcher, L.MATCHER_LEFT)
    for number in range(load_i64(matcher, L.MATCHER_LEFT_COUNT)):
        if load_i32(left, 2 * number + 1) == 0:
            return True
    return False


@part
def _fits(automaton, matcher, trie, state, register, top, node):
    """Whether the signature of a subtree fits the safe set of a state: 1 as a whole, 2 as far as the count lasts, 0 not."""
    if state == L.SPLIT:
        while top != 0:
            block, count = node_field(matcher, top, L.NODE_BLOCK), node_field(matcher, top, L.NODE_REGISTER)
            if _fits_one(automaton, trie, block, count, node) == 1:
                return 1
            top = node_field(matcher, top, L.NODE_ALSO)
        return 0
    return _fits_one(automaton, trie, state, register, node)


@part
def _safe_set(automaton, state):
    """The safe set of a state: ASCII bytes below 64, those above, flags, and whether no count bounds it; 0 in all: none."""
    safe = state_field(automaton, state, L.STATE_SAFE)
    if state == L.SPLIT or safe == 0:
        return np.uint64(0), np.uint64(0), 0, False
    sets = load_i64(automaton, L.AUTOMATON_SAFE)
    flags = load_i64(sets, safe * L.SAFE_SIZE + 2)
    endless = state_field(automaton, state, L.STATE_OP) == L.OP_NONE or (flags & L.SAFE_ENDLESS) != 0
    return load_u64(sets, safe * L.SAFE_SIZE), load_u64(sets, safe * L.SAFE_SIZE + 1), flags, endless


@part
def _is_within(trie, node, low, high, safe_flags):
    """Whether the signature of a subtree has characters of a safe set alone."""
    nothing = np.uint64(0)
    if (load_u64(load_i64(trie, L.TRIE_SIG_LOW), node) & ~low) != nothing:
        return False
    if (load_u64(load_i64(trie, L.TRIE_SIG_HIGH), node) & ~high) != nothing:
        return False
    flags = load_u8(load_i64(trie, L.TRIE_SIG_FLAGS), node)
    if (flags & L.SIG_NON_ASCII) == 0:
        return True
    if (flags & L.SIG_WELL_FORMED) == 0:
        return False
    return (safe_flags & L.SAFE_UNICODE) != 0 or ((safe_flags & L.SAFE_SPACELESS) != 0 and (flags & L.SIG_SPACES) == 0)


@part
def _fits_one(automaton, trie, state, register, node):
    """See _fits."""
    if state_field(automaton, state, L.STATE_SAFE) == 0:
        return 0
    low, high, flags, endless = _safe_set(automaton, state)
    if not _is_within(trie, node, low, high, flags):
        return 0
    if endless or load_i32(load_i64(trie, L.TRIE_SIG_CHARS), node) < register:
        return 1
    return 2 if (flags & L.SAFE_LAST) != 0 else 0


@part
def _moves(automaton, state, byte):
    """Whether a byte certainly has a way on from an entered state, without going there.

    What a transition leads to is live, and so is a call that has one. A state that is not lowered is not looked into.
    """
    for _ in range(_CALLS):
        value = transition(automaton, state, byte)
        if value >= 0 or value == L.REJECT:
            return value > 0
        action, state = -value, 0
        actions = load_i64(automaton, L.AUTOMATON_ACTIONS)
        while action != 0:
            record = action * L.ACTION_SIZE
            kind = load_i32(actions, record + L.ACTION_KIND)
            if kind == L.MOVE or kind == L.CALL:
                return True
            if kind == L.CALL_BEFORE:
                target = load_i32(actions, record + L.ACTION_TARGET)
                if state_field(automaton, target, L.STATE_ALIAS) == target:
                    state = target
            action = load_i32(actions, record + L.ACTION_ALSO)
        if state == 0 or state_field(automaton, state, L.STATE_OP) != L.OP_NONE:
            return False
    return False


@part
def _some_moves(automaton, matcher, state, top, byte):
    """See _moves; of a configuration of several ways on, whether one of them does."""
    if state != L.SPLIT:
        return _moves(automaton, state, byte)
    while top != 0:
        if _moves(automaton, node_field(matcher, top, L.NODE_BLOCK), byte):
            return True
        top = node_field(matcher, top, L.NODE_ALSO)
    return False


@part
def _goes_on(status, state):
    """Whether a step has a way on, however the frame has ended beside it."""
    return status == L.OK or (status == L.EXIT_SOME and state != 0)


@part
def _note_need(matcher, state):
    """Remember a state to lower, and go on without it; False when there are too many."""
    needs, count = load_i64(matcher, L.MATCHER_NEEDS), load_i64(matcher, L.MATCHER_NEEDS_COUNT)
    for number in range(count):
        if load_i32(needs, number) == state:
            return True
    if count >= L.NEEDS:
        return False
    store_i32(needs, count, state)
    store_i64(matcher, L.MATCHER_NEEDS_COUNT, count + 1)
    store_i64(matcher, L.MATCHER_NEED, state)
    return True


@part
def _place(states, state):
    """Where the transitions of a state are: its row, and its byte classes."""
    return load_i32(states, state * L.STATE_SIZE + L.STATE_ROW), load_i32(states, state * L.STATE_SIZE + L.STATE_MAP)


@part
def _only_ways(states, matcher, state, top):
    """Whether a configuration has no other ways on than the transitions of its state and those of one caller.

    Returns: that, and row and byte classes of the caller's state; 0, which is a row without transitions, where there is
        none because the frame cannot end here.
    """
    record = state * L.STATE_SIZE
    if state == L.SPLIT or load_i32(states, record + L.STATE_ELSE) > 0:
        return False, 0, 0
    result = load_i32(states, record + L.STATE_FINAL)
    if result < 0 or load_i32(states, record + L.STATE_ELSE) == L.NOTHING_FOLLOWS:
        return True, 0, 0
    block = node_field(matcher, top, L.NODE_BLOCK)
    if block < 0 or node_field(matcher, top, L.NODE_ALSO) != 0:
        return False, 0, 0
    caller = load_i32(states, (block + result) * L.STATE_SIZE + L.STATE_ALIAS)
    record = caller * L.STATE_SIZE
    if (
        caller < 0
        or load_i32(states, record + L.STATE_OP) != L.OP_NONE
        or load_i32(states, record + L.STATE_FINAL) >= 0
        or load_i32(states, record + L.STATE_ELSE) > 0
    ):
        return False, 0, 0
    return True, load_i32(states, record + L.STATE_ROW), load_i32(states, record + L.STATE_MAP)


@part
def _has_way(transitions, maps, row, classes, caller_row, caller_classes, byte):
    """Whether a byte has a transition from the state of a row and its byte classes, or from its caller's (0: there is none)."""
    if load_i32(transitions, row + load_u8(maps, classes + byte)) != 0:
        return True
    return caller_row != 0 and load_i32(transitions, caller_row + load_u8(maps, caller_classes + byte)) != 0


@part
def _stop(matcher, node, depth, status):
    """Remember where a walk is interrupted; the status that says why."""
    store_i64(matcher, L.MATCHER_WALK_NODE, node)
    store_i64(matcher, L.MATCHER_WALK_DEPTH, depth)
    return status


@part
def walk(automaton, matcher, trie, node, limit, depth, budget, again, without):
    """Walk trie nodes [node, limit) depth first from the configuration in the workspace at `depth`.

    Appends allowed ranks to the ranges and ends of the frame to the exits. On NEED_* the position is kept in
    WALK_NODE and WALK_DEPTH, and a call with them goes on from there. After `budget` nodes it gives up: NEED_ROW.
    With `again` 1 the caller walks anew after a NEED_LOWER: then the walk first finds more states that have to be lowered.
    `without`: a transition value that is not taken at depth 0, or 0.
    """
    workspace = load_i64(matcher, L.MATCHER_WALK)
    bytes_, ends = load_i64(trie, L.TRIE_BYTE), load_i64(trie, L.TRIE_END)
    firsts = load_i64(trie, L.TRIE_FIRST)
    lists, children = load_i64(trie, L.TRIE_LISTS), load_i64(trie, L.TRIE_CHILDREN)
    signed, keeping = load_i64(trie, L.TRIE_SIG_LOW) != 0, load_i64(matcher, L.MATCHER_STEPS) != 0
    states, transitions = load_i64(automaton, L.AUTOMATON_STATES), load_i64(automaton, L.AUTOMATON_TRANSITIONS)
    maps = load_i64(automaton, L.AUTOMATON_MAPS)
    # Of the configuration before the byte, kept from one node to the next: where its transitions are, those of the caller
    # where the frame may end before the byte, and whether these are all ways on.
    known, known_top, alone = -1, -1, False
    row, classes, caller_row, caller_classes = 0, 0, 0, 0
    # Its safe set, and whether no count bounds it.
    nothing = np.uint64(0)
    safe_low, safe_high, safe_flags, endless = nothing, nothing, 0, False
    while node < limit:
        budget -= 1
        if budget < 0:
            return L.NEED_ROW
        while depth > 0 and node >= load_i32(workspace, depth * L.WALK_SIZE):
            depth -= 1
        record = depth * L.WALK_SIZE
        truncate(matcher, load_i32(workspace, record + 4))
        before = load_i32(workspace, record + 1)
        count, below = load_i32(workspace, record + 2), load_i32(workspace, record + 3)
        if before != known or below != known_top:
            known, known_top = before, below
            row, classes = _place(states, before)
            alone, caller_row, caller_classes = _only_ways(states, matcher, before, below)
            safe_low, safe_high, safe_flags, endless = _safe_set(automaton, before)
        if alone:  # most siblings have no way on
            first, place = node, load_i32(workspace, record + 5)
            if place > 0:
                while load_i32(children, place + 1) < node:
                    place += 2
                byte = load_i32(children, place)
                while byte >= 0 and not _has_way(transitions, maps, row, classes, caller_row, caller_classes, byte):
                    place += 2
                    byte = load_i32(children, place)
                node = load_i32(children, place + 1)
                store_i32(workspace, record + 5, place)
                if byte < 0:
                    continue
            else:
                stop = load_i32(workspace, record)
                while node < stop:
                    byte = load_u8(bytes_, node)
                    if _has_way(transitions, maps, row, classes, caller_row, caller_classes, byte):
                        break
                    node = load_i32(ends, node)
                if node != first:
                    continue
        end, byte = load_i32(ends, node), load_u8(bytes_, node)
        # A character of the safe set, and below it nothing but such: what that leads to need not be looked at.
        if signed and byte < 128 and (((safe_high if byte >= 64 else safe_low) >> np.uint64(byte & 63)) & 1) != nothing:
            if _is_within(trie, node, safe_low, safe_high, safe_flags) and (
                endless or load_i32(load_i64(trie, L.TRIE_SIG_CHARS), node) + 1 < count
            ):
                if add_range(matcher, load_i32(firsts, node), load_i32(firsts, end)):
                    return _stop(matcher, node, depth, L.NEED_RANGES)
                node = end
                continue
        value = load_i32(transitions, row + load_u8(maps, classes + byte)) if alone else 0
        if without != 0 and depth == 0 and value == without:
            node = end
            continue
        status, state, register, top = -1, 0, 0, 0
        keeps = keeping and value <= 0 and may_fork(automaton, before, below, byte)
        if keeps:
            below = preserve(matcher, depth, below)
            if below < 0:
                return _stop(matcher, node, depth, L.NEED_NODES)
            store_i32(workspace, record + 3, below)
            status, state, register, top = find_step(matcher, before, count, below, byte)
        # Behind the last byte of a token nothing has to be known of the state: it is live. Most states that a mask
        # meets for the first time are such, and few of them are ever entered.
        if end == node + 1 and (
            value > 0
            or (_goes_on(status, state) if status >= 0 else _some_moves(automaton, matcher, before, below, byte))
        ):
            if add_range(matcher, load_i32(firsts, node), load_i32(firsts, end)):
                return _stop(matcher, node, depth, L.NEED_RANGES)
            node = end
            continue
        if status < 0:
            status, state, register, top = step(automaton, matcher, before, count, below, byte)
            if keeps:
                if _goes_on(status, state):
                    top = preserve(matcher, depth, top)
                    if top < 0:
                        return _stop(matcher, node, depth, L.NEED_NODES)
                keep_step(matcher, before, count, below, byte, status, state, register, top)
        if status == L.REJECTED:
            node = end
            continue
        if status == L.NEED_LOWER and again == 1 and _note_need(matcher, state):
            node = end
            continue
        if status == L.NEED_LOWER or status == L.NEED_NODES or status == L.NEED_FORKS or status == L.NEED_CLOSURE:
            store_i64(matcher, L.MATCHER_NEED, state)
            return _stop(matcher, node, depth, status)
        if status == L.EXIT_SOME:
            followed = state_field(automaton, before, L.STATE_FINAL) if depth == 0 else -1
            if _add_exits(matcher, node, end, followed):
                return _stop(matcher, node, depth, L.NEED_EXITS)
            after = _some_after(matcher)
            if state != 0:
                status = L.OK
                store_i64(matcher, L.MATCHER_BOTH, 1)
            else:
                if after and add_range(matcher, load_i32(firsts, node), load_i32(firsts, node + 1)):
                    return _stop(matcher, node, depth, L.NEED_RANGES)
                node = end
                continue
        if status == L.OK and signed:
            fitting = _fits(automaton, matcher, trie, state, register, top, node)
            if fitting != 0:
                if fitting == 1:
                    full_up = add_range(matcher, load_i32(firsts, node), load_i32(firsts, end))
                else:
                    full_up = _add_short(matcher, trie, node, register)
                if full_up:
                    return _stop(matcher, node, depth, L.NEED_RANGES)
                node = end
                continue
        # The tokens that end exactly here are allowed: every state entered and every result returned is live.
        if status == L.OK or status == L.EXIT_AFTER:
            if add_range(matcher, load_i32(firsts, node), load_i32(firsts, node + 1)):
                return _stop(matcher, node, depth, L.NEED_RANGES)
        if status == L.OK:
            if end > node + 1:
                depth += 1
                record = depth * L.WALK_SIZE
                store_i32(workspace, record, end)
                store_i32(workspace, record + 1, state)
                store_i32(workspace, record + 2, register)
                store_i32(workspace, record + 3, top)
                store_i32(workspace, record + 4, load_i64(matcher, L.MATCHER_NODE_COUNT))
                store_i32(workspace, record + 5, load_i32(lists, node) if lists != 0 else 0)
            node += 1
            continue
        # The frame ended. A late end of the very first state is no exit: fill() goes on from the configuration below.
        late_start = status == L.EXIT_BEFORE and depth == 0 and state_field(automaton, before, L.STATE_FINAL) == state
        if not late_start and (status == L.EXIT_BEFORE or end > node + 1):
            count = load_i64(matcher, L.MATCHER_EXIT_COUNT)
            if count >= load_i64(matcher, L.MATCHER_EXIT_CAP):
                return _stop(matcher, node, depth, L.NEED_EXITS)
            exits = load_i64(matcher, L.MATCHER_EXITS)
            store_i32(exits, 3 * count, node)
            store_i32(exits, 3 * count + 1, state)
            store_i32(exits, 3 * count + 2, 1 if status == L.EXIT_BEFORE else 0)
            store_i64(matcher, L.MATCHER_EXIT_COUNT, count + 1)
        node = end
    return L.NEED_LOWER if again == 1 and load_i64(matcher, L.MATCHER_NEEDS_COUNT) > 0 else L.OK


@part
def start_walk(matcher, limit, state, register, top, listed):
    """Put the configuration a walk starts from at depth 0 of the workspace.

    `listed`: where the nodes of that depth are listed (TRIE_CHILDREN), or 0.
    """
    workspace = load_i64(matcher, L.MATCHER_WALK)
    store_i32(workspace, 0, limit)
    store_i32(workspace, 1, state)
    store_i32(workspace, 2, register)
    store_i32(workspace, 3, top)
    store_i32(workspace, 4, load_i64(matcher, L.MATCHER_NODE_COUNT))
    store_i32(workspace, 5, listed)


@part
def listed_at(trie, node):
    """Where the children of a node are listed, or 0."""
    lists = load_i64(trie, L.TRIE_LISTS)
    return load_i32(lists, node) if lists != 0 else 0


@nogil_kernel
def walk_row(automaton, scratch, trie, nodes, state, register, resume):
    """Compute the row of (state, register) over an unknown stack: ranges and exits of `scratch`. OK or NEED_*.

    `resume` 1 goes on after NEED_*. The caller has set the scratch's counts to zero and its nodes to the bottom alone,
    whose block is -1.
    """
    if resume == 1:
        return walk(
            automaton,
            scratch,
            trie,
            load_i64(scratch, L.MATCHER_WALK_NODE),
            nodes,
            load_i64(scratch, L.MATCHER_WALK_DEPTH),
            NO_BUDGET,
            0,
            0,
        )
    truncate(scratch, 1)
    forget_steps(scratch)
    store_i64(scratch, L.MATCHER_RANGE_COUNT, 0)
    store_i64(scratch, L.MATCHER_EXIT_COUNT, 0)
    store_i64(scratch, L.MATCHER_BOTH, 0)
    start_walk(scratch, nodes, state, register, 0, listed_at(trie, 0))
    return walk(automaton, scratch, trie, 1, nodes, 0, NO_BUDGET, 0, 0)


@nogil_kernel
def diverging(automaton, scratch, trie, state):
    """Where the row of a state with an ELSE differs from the row of that ELSE: exits of `scratch`.

    Only the state's own transitions are followed (a trie of keys). Where one ends a key, the exit has the key's result
    code, or -1 if the key is forbidden; the other row ends its frame at the same node with another result. OK or NEED_*.
    At most half of the room for exits is used; the rest is for the ranges of ranks below them.
    """
    workspace = load_i64(scratch, L.MATCHER_WALK)
    bytes_, ends = load_i64(trie, L.TRIE_BYTE), load_i64(trie, L.TRIE_END)
    states = load_i64(automaton, L.AUTOMATON_STATES)
    transitions, maps = load_i64(automaton, L.AUTOMATON_TRANSITIONS), load_i64(automaton, L.AUTOMATON_MAPS)
    exits, count = load_i64(scratch, L.MATCHER_EXITS), 0
    depth, node, limit = 0, 1, load_i32(ends, 0)
    store_i32(workspace, 0, limit)
    store_i32(workspace, 1, state)
    while node < limit:
        while depth > 0 and node >= load_i32(workspace, depth * L.WALK_SIZE):
            depth -= 1
        record = load_i32(workspace, depth * L.WALK_SIZE + 1) * L.STATE_SIZE
        byte_class = load_u8(maps, load_i32(states, record + L.STATE_MAP) + load_u8(bytes_, node))
        value = load_i32(transitions, load_i32(states, record + L.STATE_ROW) + byte_class)
        end = load_i32(ends, node)
        if value > 0 and state_field(automaton, value, L.STATE_OP) == L.OP_NONE:
            if end > node + 1:
                depth += 1
                store_i32(workspace, depth * L.WALK_SIZE, end)
                store_i32(workspace, depth * L.WALK_SIZE + 1, value)
            node += 1
            continue
        if value != 0:
            if 2 * count >= load_i64(scratch, L.MATCHER_EXIT_CAP):
                return L.NEED_EXITS
            store_i32(exits, 3 * count, node)
            store_i32(exits, 3 * count + 1, state_field(automaton, value, L.STATE_FINAL) if value > 0 else -1)
            store_i32(exits, 3 * count + 2, 0)
            count += 1
        node = end
    store_i64(scratch, L.MATCHER_EXIT_COUNT, count)
    return L.OK


@nogil_kernel
def row_ids(matcher, trie, out):
    """Write the token ids of the ranges to `out` (int32, large enough); returns how many."""
    ranges, tokens = load_i64(matcher, L.MATCHER_RANGES), load_i64(trie, L.TRIE_TOKENS)
    count = 0
    for number in range(load_i64(matcher, L.MATCHER_RANGE_COUNT)):
        for rank in range(load_i32(ranges, 2 * number), load_i32(ranges, 2 * number + 1)):
            store_i32(out, count, load_i32(tokens, rank))
            count += 1
    return count


@nogil_kernel
def row_words(matcher, trie, out, words, everything):
    """Write the mask words of the ranges to `out`; `everything`: the words of all tokens of the trie.

    Scatters the allowed ranks into zeros or the others out of everything, whichever are fewer.
    """
    ranges, tokens = load_i64(matcher, L.MATCHER_RANGES), load_i64(trie, L.TRIE_TOKENS)
    total = load_i32(load_i64(trie, L.TRIE_FIRST), load_i32(load_i64(trie, L.TRIE_END), 0))
    count = load_i64(matcher, L.MATCHER_RANGE_COUNT)
    allowed = 0
    for number in range(count):
        allowed += load_i32(ranges, 2 * number + 1) - load_i32(ranges, 2 * number)
    if 2 * allowed <= total:
        for word in range(words):
            store_i32(out, word, 0)
        for number in range(count):
            for rank in range(load_i32(ranges, 2 * number), load_i32(ranges, 2 * number + 1)):
                token = load_i32(tokens, rank)
                store_i32(out, token >> 5, load_i32(out, token >> 5) | (1 << (token & 31)))
        return allowed
    for word in range(words):
        store_i32(out, word, load_i32(everything, word))
    low = 0
    for number in range(count + 1):
        high = load_i32(ranges, 2 * number) if number < count else total
        for rank in range(low, high):
            token = load_i32(tokens, rank)
            store_i32(out, token >> 5, load_i32(out, token >> 5) & ~(1 << (token & 31)))
        low = load_i32(ranges, 2 * number + 1) if number < count else total
    return allowed
