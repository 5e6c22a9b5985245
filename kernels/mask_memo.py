"""The mask of one configuration: a row and a patch, kept in the matcher's memo.

The row is what the state allows while its frame lasts, the patch the tokens that end the frame, decided by what lies below on
the stack. Where few tokens come into question the patch is all (`_direct`); states of white space, and of a trie of keys
alongside any string, borrow the row of what they have in common with others.
"""

from __future__ import annotations

from maskwright.kernels import layout as L
from maskwright.kernels.jit import part
from maskwright.kernels.memory import load_i32, load_i64, store_i32, store_i64
from maskwright.kernels.stacks import keep, push, short_of_nodes, truncate
from maskwright.kernels.steps import complete, leave, node_field, state_field, transition
from maskwright.kernels.walks import NO_BUDGET, diverging, listed_at, start_walk, walk

# Callees: 4dcc1ea80ee2

__all__ = ["find_memo", "memo_entry", "remembered", "row_key"]

_DIRECT_BUDGET = 2500  # trie nodes; a literal takes some 300


@part
def _find_row(automaton, key):
    """The number of the row of (state << 16 | slack), or -1."""
    mask = load_i64(automaton, L.AUTOMATON_ROW_MASK)
    keys = load_i64(automaton, L.AUTOMATON_ROW_KEYS)
    slot = (key * 0x9E3779B1 >> 12) & mask
    while True:
        found = load_i64(keys, slot)
        if found == key:
            return load_i32(load_i64(automaton, L.AUTOMATON_ROW_NUMBERS), slot)
        if found < 0:
            return -1
        slot = (slot + 1) & mask


@part
def _is_excluded(rank, excluded, count):
    for number in range(count):
        if load_i32(excluded, 2 * number) <= rank < load_i32(excluded, 2 * number + 1):
            return True
    return False


@part
def _append(matcher, trie, offset, length, ranks, excluded, excluded_count):
    """Append the tokens of the ranges to the patch at `offset`, `length` long so far: its length, -1 without room."""
    ranges, tokens = load_i64(matcher, L.MATCHER_RANGES), load_i64(trie, L.TRIE_TOKENS)
    patches = load_i64(matcher, L.MATCHER_PATCH)
    room = load_i64(matcher, L.MATCHER_PATCH_CAP) - offset - 1
    for index in range(load_i64(matcher, L.MATCHER_RANGE_COUNT)):
        first, last = load_i32(ranges, 2 * index), load_i32(ranges, 2 * index + 1)
        if length + last - first > room:
            return -1
        for position in range(first, last):
            token = load_i32(tokens, position)
            if excluded_count > 0 and _is_excluded(load_i32(ranks, token), excluded, excluded_count):
                continue
            store_i32(patches, offset + 1 + length, token)
            length += 1
    return length


@part
def _walk_all(automaton, matcher, state, register, top, without):
    """Begin a patch with the tokens of a configuration, by one short walk with the stack as it is: (status, their number).

    `without`: see walk(). NEED_ROW, for the state itself, when the walk is not short or has more to say than there is room
    for: then a row is worth computing.
    """
    trie = load_i64(automaton, L.AUTOMATON_TRIE)
    limit = load_i32(load_i64(trie, L.TRIE_END), 0)
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    store_i64(matcher, L.MATCHER_RANGE_COUNT, 0)
    start_walk(matcher, limit, state, register, top, listed_at(trie, 0))
    status = walk(automaton, matcher, trie, 1, limit, 0, _DIRECT_BUDGET, 1, without)
    truncate(matcher, base)
    if status == L.NEED_RANGES or status == L.NEED_ROW:
        store_i64(matcher, L.MATCHER_NEED, row_key(automaton, state, register))
        return L.NEED_ROW, 0
    if status != L.OK:
        return status, 0
    length = _append(matcher, trie, load_i64(matcher, L.MATCHER_PATCH_LENGTH), 0, 0, 0, 0)
    return (L.OK if length >= 0 else L.NEED_PATCH), length


@part
def _direct(automaton, matcher, state, register, top):
    """The whole mask of a configuration as a patch: (status, offset)."""
    offset = load_i64(matcher, L.MATCHER_PATCH_LENGTH)
    status, length = _walk_all(automaton, matcher, state, register, top, 0)
    if status != L.OK:
        return status, 0
    eos, eos_count = load_i64(automaton, L.AUTOMATON_EOS), load_i64(automaton, L.AUTOMATON_EOS_COUNT)
    if length + eos_count >= load_i64(matcher, L.MATCHER_PATCH_CAP) - offset - 1:
        return L.NEED_PATCH, 0
    status, need = complete(automaton, matcher, state, top)
    if status > L.REJECTED:
        store_i64(matcher, L.MATCHER_NEED, need)
        return status, 0
    if status == L.OK:
        for number in range(eos_count):
            store_i32(load_i64(matcher, L.MATCHER_PATCH), offset + 1 + length, load_i32(eos, number))
            length += 1
    store_i32(load_i64(matcher, L.MATCHER_PATCH), offset, length)
    store_i64(matcher, L.MATCHER_PATCH_LENGTH, offset + 1 + length)
    return L.OK, offset


@part
def _walk_below(automaton, matcher, top, result, trie, low, high):
    """Walk nodes [low, high) from where the frame above `top` leaves its caller when it ends with `result`: the ranges."""
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    status, state, register, below = leave(automaton, matcher, top, result)
    if status != L.OK:
        truncate(matcher, base)
        store_i64(matcher, L.MATCHER_NEED, state)
        return status
    store_i64(matcher, L.MATCHER_RANGE_COUNT, 0)
    start_walk(matcher, high, state, register, below, 0)
    status = walk(automaton, matcher, trie, low, high, 0, NO_BUDGET, 1, 0)
    truncate(matcher, base)
    return status


@part
def _patch(automaton, matcher, row, top, alongside, length):
    """Append the patch of row `row` over the stack node `top`: (status, offset). NEED_* leaves the patches alone.

    `alongside` 1: the row is that of the state's ELSE, and the matcher's exits say where the state itself differs.
    `length`: tokens that are there already (_walk_all).
    """
    record = load_i64(automaton, L.AUTOMATON_ROWS) + 8 * row * L.ROW_SIZE
    segments = load_i64(record, L.ROW_SEGMENTS)
    excluded, excluded_count = load_i64(record, L.ROW_EXCLUDED), load_i64(record, L.ROW_EXCLUDED_COUNT)
    exits, exit_count = load_i64(matcher, L.MATCHER_EXITS), 0
    if alongside == 1:
        # The other row ends its frame at the same nodes with another result: its remainders below them do not count.
        exit_count = load_i64(matcher, L.MATCHER_EXIT_COUNT)
        excluded, excluded_count = exits + 12 * load_i64(matcher, L.MATCHER_EXIT_CAP) // 2, exit_count
        for number in range(exit_count):
            node = load_i32(exits, 3 * number)
            trie = load_i64(automaton, L.AUTOMATON_TRIE)
            firsts = load_i64(trie, L.TRIE_FIRST)
            store_i32(excluded, 2 * number, load_i32(firsts, node))
            store_i32(excluded, 2 * number + 1, load_i32(firsts, load_i32(load_i64(trie, L.TRIE_END), node)))
    ranks = load_i64(automaton, L.AUTOMATON_RANKS)
    offset = load_i64(matcher, L.MATCHER_PATCH_LENGTH)
    for number in range(load_i64(record, L.ROW_SEGMENT_COUNT)):
        segment = segments + 8 * number * L.SEGMENT_SIZE
        trie = load_i64(segment, L.SEGMENT_TRIE)
        low, high = load_i64(segment, L.SEGMENT_LOW), load_i64(segment, L.SEGMENT_HIGH)
        status = _walk_below(automaton, matcher, top, load_i64(segment, L.SEGMENT_RESULT), trie, low, high)
        if status == L.NEED_LOWER and load_i64(matcher, L.MATCHER_NEEDS_COUNT) > 0:
            continue  # the other segments may need more
        if status != L.OK:
            return status, 0
        shared = alongside == 1 or load_i64(segment, L.SEGMENT_SHARED) == 1
        length = _append(matcher, trie, offset, length, ranks, excluded, excluded_count if shared else 0)
        if length < 0:
            return L.NEED_PATCH, 0
    if load_i64(matcher, L.MATCHER_NEEDS_COUNT) > 0:
        return L.NEED_LOWER, 0
    for number in range(exit_count):
        trie = load_i64(automaton, L.AUTOMATON_TRIE)
        node = load_i32(exits, 3 * number)
        high = load_i32(load_i64(trie, L.TRIE_END), node)
        status = _walk_below(automaton, matcher, top, load_i32(exits, 3 * number + 1), trie, node + 1, high)
        if status != L.OK:
            return status, 0
        length = _append(matcher, trie, offset, length, ranks, 0, 0)
        if length < 0:
            return L.NEED_PATCH, 0
    if length == 0:
        return L.OK, 0
    store_i32(load_i64(matcher, L.MATCHER_PATCH), offset, length)
    store_i64(matcher, L.MATCHER_PATCH_LENGTH, offset + 1 + length)
    return L.OK, offset


@part
def row_key(automaton, state, register):
    """What names the row of a configuration: state << 16 | slack."""
    cap = load_i64(automaton, L.AUTOMATON_SLACK_CAP)
    return state << 16 | (register if register < cap else cap)


@part
def _spaced(automaton, matcher, state, register, top):
    """The mask of a state with white space before whatever follows, as a row and a patch: (status, row, patch).

    The row is that of a run of white space, which all such states have in common, and the patch what may stand behind one
    and what follows at once. Where a value follows that many grammars have, it is the row of the two together.
    """
    actions = load_i64(automaton, L.AUTOMATON_ACTIONS)
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    space = transition(automaton, state, 0x20)
    action, without = -space * L.ACTION_SIZE, space
    common = load_i32(actions, action + L.ACTION_TARGET) - 1
    if state_field(automaton, state, L.STATE_ELSE) == L.SPACED_VALUE:
        call = -transition(automaton, state, 0) * L.ACTION_SIZE
        value, alias = -1, load_i32(actions, call + L.ACTION_TARGET)
        while alias != value:
            value, alias = alias, state_field(automaton, alias, L.STATE_ALIAS)
            if alias < 0:
                store_i64(matcher, L.MATCHER_NEED, value)
                return L.NEED_LOWER, 0, 0
        mark = state_field(automaton, value, L.STATE_ELSE)
        if mark < L.LAST_MARK:
            action, without, common = call, 0, -mark
    row = _find_row(automaton, common << 16)
    if row < 0:
        store_i64(matcher, L.MATCHER_NEED, common << 16)
        return L.NEED_ROW, 0, 0
    length = 0
    if without != 0:
        status, length = _walk_all(automaton, matcher, state, register, top, without)
        if status != L.OK:
            return status, 0, 0
    below = push(matcher, load_i32(actions, action + L.ACTION_BLOCK), register, top)
    status, patch = _patch(automaton, matcher, row, below, 0, length)
    truncate(matcher, base)
    return status, row, patch


@part
def find_memo(matcher, key, top):
    """Whether the memo has an entry of (key, top), and the address of that entry or of where it belongs."""
    mask = load_i64(matcher, L.MATCHER_MEMO_MASK)
    memo = load_i64(matcher, L.MATCHER_MEMO)
    mixed = key * 0x9E3779B1 + top * 0x85EBCA77
    slot = (mixed ^ (mixed >> 15)) & mask
    while True:
        entry = memo + slot * L.MEMO_SIZE * 8
        found = load_i64(entry, L.MEMO_STATE)
        if found == key and load_i64(entry, L.MEMO_TOP) == top:
            return True, entry
        if found < 0:
            return False, entry
        slot = (slot + 1) & mask


@part
def remembered(automaton, matcher):
    """Whether fill() finds in the memo what it needs; what comes after a late end is in there then, mostly."""
    state, register = load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER)
    top = load_i64(matcher, L.MATCHER_TOP)
    if state == L.DONE or state == L.ENDED:
        return True
    if state != L.SPLIT:
        return find_memo(matcher, row_key(automaton, state, register), top)[0]
    while top != 0:
        key = row_key(automaton, node_field(matcher, top, L.NODE_BLOCK), node_field(matcher, top, L.NODE_REGISTER))
        if not find_memo(matcher, key, node_field(matcher, top, L.NODE_PARENT))[0]:
            return False
        top = node_field(matcher, top, L.NODE_ALSO)
    return True


@part
def memo_entry(automaton, matcher, state, register, top):
    """The address of the memo entry of a configuration, made when missing: (status, address)."""
    key = row_key(automaton, state, register)
    slack = key & 0xFFFF
    found, entry = find_memo(matcher, key, top)
    if found:
        return L.OK, entry
    if 2 * load_i64(matcher, L.MATCHER_MEMO_COUNT) > load_i64(matcher, L.MATCHER_MEMO_MASK):
        return L.NEED_MEMO, 0
    if short_of_nodes(automaton, matcher):
        return L.NEED_NODES, 0
    row = _find_row(automaton, key)
    next_state, next_register, next_top = 0, 0, 0
    alongside = 0
    if (
        row < 0
        and state_field(automaton, state, L.STATE_ELSE) > 0
        and state_field(automaton, state, L.STATE_ARG) == L.ALONGSIDE
    ):
        # A trie of keys over every string: that row, and what is different where a token ends a key.
        other = state_field(automaton, state, L.STATE_ELSE)
        row = _find_row(automaton, other << 16 | slack)
        if row < 0:
            store_i64(matcher, L.MATCHER_NEED, other << 16 | slack)
            return L.NEED_ROW, 0
        status = diverging(automaton, matcher, load_i64(automaton, L.AUTOMATON_TRIE), state)
        if status != L.OK:
            return status, 0
        alongside = 1
        for number in range(load_i64(matcher, L.MATCHER_EXIT_COUNT)):
            if load_i32(load_i64(matcher, L.MATCHER_EXITS), 3 * number + 1) < 0:
                alongside, row = 0, -1
                store_i64(matcher, L.MATCHER_NEED, key)
                return L.NEED_ROW, 0
    computed = row >= 0
    if not computed:
        mark = state_field(automaton, state, L.STATE_ELSE)
        if mark == L.SPACED or mark == L.SPACED_VALUE:
            status, row, patch = _spaced(automaton, matcher, state, register, top)
        else:
            row = 0
            status, patch = _direct(automaton, matcher, state, register, top)
        if status != L.OK:
            return status, 0
    result = state_field(automaton, state, L.STATE_FINAL)
    if computed and result >= 0:
        base = load_i64(matcher, L.MATCHER_NODE_COUNT)
        status, next_state, next_register, next_top = leave(automaton, matcher, top, result)
        if status != L.OK:
            truncate(matcher, base)
            store_i64(matcher, L.MATCHER_NEED, next_state)
            return status, 0
        keep(matcher)  # a set of callers stays: the memo refers to it
    if computed:
        status, patch = _patch(automaton, matcher, row, top, alongside, 0)
        if status != L.OK:
            return status, 0
    store_i64(entry, L.MEMO_TOP, top)
    store_i64(entry, L.MEMO_ROW, row)
    store_i64(entry, L.MEMO_PATCH, patch)
    store_i64(entry, L.MEMO_NEXT_STATE, next_state)
    store_i64(entry, L.MEMO_NEXT_REGISTER, next_register)
    store_i64(entry, L.MEMO_NEXT_TOP, next_top)
    store_i64(entry, L.MEMO_NUMBER, -1)
    store_i64(entry, L.MEMO_STATE, key)
    store_i64(matcher, L.MATCHER_MEMO_COUNT, load_i64(matcher, L.MATCHER_MEMO_COUNT) + 1)
    return L.OK, entry
