"""Kernels of a matcher: accept a token, compute the mask of the next one, look ahead.

A mask is a row (what the state allows while the frame lasts, computed once per state and slack, whatever lies below on
the stack) and a patch (tokens that end the frame, decided by the configuration below, from the row's trie of remainders).
Where few tokens come into question, the patch is all: one short walk with the stack as it is. The mask of a configuration
with several ways on is the union of theirs.

Every kernel takes the address of the automaton's header and of the matcher's (kernels/layout.py). A kernel that meets a
state that is not lowered yet, or a table that is full, changes nothing and answers NEED_*; the caller mends that and
calls again.
"""

from __future__ import annotations

from maskwright.kernels import layout as L
from maskwright.kernels.jit import kernel, part
from maskwright.kernels.memory import load_i32, load_i64, load_u8, store_i32, store_i64
from maskwright.kernels.stacks import keep, push, settle, truncate
from maskwright.kernels.steps import LATEST, close, complete, leave, node_field, state_field, step, transition
from maskwright.kernels.walks import NO_BUDGET, diverging, listed_at, start_walk, walk

# Callees: ff6d8af6dc2f

__all__ = [
    "accept_bytes",
    "accept_token",
    "allowed_bytes",
    "close_node",
    "completed",
    "depends_on_text",
    "fill",
    "find_memo",
    "forced_bytes",
    "remembered",
    "row_key",
]

_DIRECT_BUDGET = 2500  # trie nodes; a literal takes some 300
_MANY_ENDS = 4  # of frames, after which their callers are not followed one by one
_CLOSED = 1 << 20


@part
def _short_of_nodes(automaton, matcher):
    """Whether the bytes of one token might not find room for their pushes (two a byte, mostly)."""
    spare = load_i64(matcher, L.MATCHER_NODE_CAP) - load_i64(matcher, L.MATCHER_NODE_COUNT)
    return spare < 2 * load_i64(automaton, L.AUTOMATON_MAX_TOKEN) + 8


@part
def _is_behind_other_key(automaton, state):
    """Whether a key has just ended that its object does not name."""
    return (
        state_field(automaton, state, L.STATE_ARG) == L.OTHER_KEY
        and state_field(automaton, state, L.STATE_OP) == L.OP_NONE
    )


@part
def _advance(automaton, matcher, address, length, watched):
    """Move the cursor over `length` <= MAX_TOKEN bytes, or leave it and say why not.

    `watched` 1: NEED_TEXT behind a key that its object does not name.
    """
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    store_i64(matcher, L.MATCHER_NOTED, 0)
    state, register = load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER)
    top = load_i64(matcher, L.MATCHER_TOP)
    for position in range(length):
        byte = load_u8(address, position)
        status, state, register, top = step(automaton, matcher, state, register, top, byte)
        if status != L.OK:
            truncate(matcher, base)
            store_i64(matcher, L.MATCHER_NEED, state)
            return status
        if byte == 0x22 and _is_behind_other_key(automaton, state):
            store_i64(matcher, L.MATCHER_NOTED, state)
    if watched == 1 and load_i64(matcher, L.MATCHER_NOTED) != 0:
        truncate(matcher, base)
        return L.NEED_TEXT
    top = settle(matcher, base, top)
    store_i64(matcher, L.MATCHER_STATE, state)
    store_i64(matcher, L.MATCHER_REGISTER, register)
    store_i64(matcher, L.MATCHER_TOP, top)
    return L.OK


@part
def _may_be_rival(matcher, address, length):
    """Whether some bytes behind a key's opening quote may begin, or be, one of the watched object's keys."""
    keys, starts = load_i64(matcher, L.MATCHER_RIVALS), load_i64(matcher, L.MATCHER_RIVAL_STARTS)
    if keys == 0:
        return True
    for position in range(length):
        byte = load_u8(address, position)
        if byte == 0x5C:
            return True  # a character may have several spellings
        if byte == 0x22:
            break
    for number in range(load_i64(matcher, L.MATCHER_RIVAL_COUNT)):
        start, at = load_i64(starts, number), 0
        size = load_i64(starts, number + 1) - start
        while at < length and at < size and load_u8(address, at) == load_u8(keys, start + at):
            at += 1
        if at == length or at == size:
            return True
    return False


@part
def _where_after(matcher, where, address, length):
    """WHERE of a watched text after some bytes that the automaton allows; -1 where they are for Python to follow."""
    depth, place = where >> 3, where & 7
    for position in range(length):
        byte = load_u8(address, position)
        if place == L.IN_RIVAL:
            return -1
        if place == L.RIVAL_BEGUN:
            if _may_be_rival(matcher, address + position, length - position):
                return -1
            place = L.IN_KEY
        if place == L.IN_STRING or place == L.IN_KEY:
            if byte == 0x22:
                place = L.BETWEEN
            elif byte == 0x5C:
                place += 1
        elif place == L.IN_STRING_ESCAPED or place == L.IN_KEY_ESCAPED:
            place -= 1
        elif byte == 0x22:
            place = L.RIVAL_BEGUN if place == L.DUE else L.IN_STRING
        elif byte == 0x2C:
            place = L.DUE if depth == 0 else L.BETWEEN
        elif byte == 0x7B or byte == 0x5B:
            depth += 1
        elif byte == 0x7D or byte == 0x5D:
            depth -= 1
            if depth < 0:
                return -1
            place = L.BETWEEN
    return depth << 3 | place


@part
def _remember(matcher, state, register, top, token):
    """Append the configuration before a step over a token to the history; the caller made sure of the room."""
    length = load_i64(matcher, L.MATCHER_HISTORY_LENGTH)
    history, record = load_i64(matcher, L.MATCHER_HISTORY), length * L.HISTORY_SIZE
    store_i32(history, record, state)
    store_i32(history, record + 1, register)
    store_i32(history, record + 2, top)
    store_i32(history, record + L.HISTORY_WHERE, load_i64(matcher, L.MATCHER_WHERE))
    store_i32(history, record + L.HISTORY_TOKEN, token)
    store_i64(matcher, L.MATCHER_HISTORY_LENGTH, length + 1)


@kernel
def completed(automaton, matcher):
    """OK when the matcher's text is a whole sentence, REJECTED when not; NEED_LOWER."""
    status, state = complete(automaton, matcher, load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_TOP))
    store_i64(matcher, L.MATCHER_NEED, state)
    return status


@kernel
def close_node(automaton, matcher, node):
    """Find the closure of a node (kernels/stacks.py): OK or NEED_*. What is found on the way is kept."""
    status, need = close(automaton, matcher, node)
    store_i64(matcher, L.MATCHER_NEED, need)
    return status


@kernel
def accept_token(automaton, matcher, token):
    """Move over one token: OK, REJECTED (the cursor stays), or NEED_*. `token` is in range; the text has not ended.

    NEED_TEXT where what is written counts beside the automaton: a key ends that its object does not name, or the watched
    object is closed or begins another key.
    """
    if _short_of_nodes(automaton, matcher):
        return L.NEED_NODES
    if load_i64(matcher, L.MATCHER_HISTORY_LENGTH) >= load_i64(matcher, L.MATCHER_HISTORY_CAP):
        return L.NEED_HISTORY
    state, register = load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER)
    top = load_i64(matcher, L.MATCHER_TOP)
    offsets = load_i64(automaton, L.AUTOMATON_TOKEN_OFFSETS)
    start = load_i64(offsets, token)
    length = load_i64(offsets, token + 1) - start
    where = load_i64(matcher, L.MATCHER_WHERE)
    if load_i64(matcher, L.MATCHER_WATCHED) & L.TEXT_WATCHED != 0:
        where = _where_after(matcher, where, load_i64(automaton, L.AUTOMATON_TOKEN_BYTES) + start, length)
        if where < 0:
            return L.NEED_TEXT
    if length > 0:
        status = _advance(automaton, matcher, load_i64(automaton, L.AUTOMATON_TOKEN_BYTES) + start, length, 1)
    else:
        status = L.REJECTED
        for number in range(load_i64(automaton, L.AUTOMATON_EOS_COUNT)):
            if load_i32(load_i64(automaton, L.AUTOMATON_EOS), number) == token:
                status = completed(automaton, matcher)
                if status == L.OK:
                    store_i64(matcher, L.MATCHER_STATE, L.ENDED)
                    store_i64(matcher, L.MATCHER_REGISTER, 0)
                    store_i64(matcher, L.MATCHER_TOP, 0)
                break
    if status == L.OK:
        _remember(matcher, state, register, top, token)
        store_i64(matcher, L.MATCHER_WHERE, where)
    return status


@kernel
def accept_bytes(automaton, matcher, address, length, remember):
    """Move over at most MAX_TOKEN bytes; the matcher's NOTED says whether they ended a key that its object does not name.

    `remember`: 0, or two more than the token (NO_TOKEN: a text): that makes it a step that a rollback takes back.
    """
    if _short_of_nodes(automaton, matcher):
        return L.NEED_NODES
    if load_i64(matcher, L.MATCHER_HISTORY_LENGTH) >= load_i64(matcher, L.MATCHER_HISTORY_CAP):
        return L.NEED_HISTORY
    state, register = load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER)
    top = load_i64(matcher, L.MATCHER_TOP)
    status = _advance(automaton, matcher, address, length, 0)
    if status == L.OK and remember > 0:
        _remember(matcher, state, register, top, remember - 2)
    return status


@kernel
def allowed_bytes(automaton, matcher, out):
    """Write 256 flags (uint8 as int32): which bytes may come next. OK or NEED_*."""
    if _short_of_nodes(automaton, matcher):
        return L.NEED_NODES
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    state, register = load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER)
    top = load_i64(matcher, L.MATCHER_TOP)
    for byte in range(256):
        status, need, _, _ = step(automaton, matcher, state, register, top, byte)
        truncate(matcher, base)
        if status > L.REJECTED:
            store_i64(matcher, L.MATCHER_NEED, need)
            return status
        store_i32(out, byte, 1 if status == L.OK else 0)
    return L.OK


@kernel
def forced_bytes(automaton, matcher, out, limit):
    """Follow the only byte that may come next while there is one: (status, how many); the cursor stays.

    `out`: int32 [limit]. `limit` <= MAX_TOKEN. Stops where the text may end, and where two bytes may follow.
    """
    if _short_of_nodes(automaton, matcher):
        return L.NEED_NODES, 0
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    state, register = load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER)
    top = load_i64(matcher, L.MATCHER_TOP)
    length, result = 0, L.OK
    while length < limit:
        status, need = complete(automaton, matcher, state, top)
        if status > L.REJECTED:
            result = status
            store_i64(matcher, L.MATCHER_NEED, need)
            break
        if status == L.OK:
            break
        count, only = 0, -1
        mark = load_i64(matcher, L.MATCHER_NODE_COUNT)
        for byte in range(256):
            status, need, _, _ = step(automaton, matcher, state, register, top, byte)
            truncate(matcher, mark)
            if status > L.REJECTED:
                result = status
                store_i64(matcher, L.MATCHER_NEED, need)
                break
            if status == L.OK:
                count += 1
                only = byte
                if count > 1:
                    break
        if result != L.OK or count != 1:
            break
        status, state, register, top = step(automaton, matcher, state, register, top, only)
        store_i32(out, length, only)
        length += 1
    truncate(matcher, base)
    return result, length


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
def _memo(automaton, matcher, state, register, top):
    """The address of the memo entry of a configuration, made when missing: (status, address)."""
    key = row_key(automaton, state, register)
    slack = key & 0xFFFF
    found, entry = find_memo(matcher, key, top)
    if found:
        return L.OK, entry
    if 2 * load_i64(matcher, L.MATCHER_MEMO_COUNT) > load_i64(matcher, L.MATCHER_MEMO_MASK):
        return L.NEED_MEMO, 0
    if _short_of_nodes(automaton, matcher):
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


@part
def _set_bits(out, ids, count):
    for index in range(count):
        token = load_i32(ids, index)
        store_i32(out, token >> 5, load_i32(out, token >> 5) | (1 << (token & 31)))


@part
def _add_todo(matcher, count, state, register, top, ends):
    """One more configuration whose mask counts, unless it is one of the latest: how many there are; -1 without room.

    `ends`: how many frames have ended to come here; CLOSED: those that end now have been followed already.
    """
    todo = load_i64(matcher, L.MATCHER_TODO)
    for number in range(count - 1, max(0, count - LATEST) - 1, -1):
        if (
            load_i32(todo, 4 * number) == state
            and load_i32(todo, 4 * number + 1) == register
            and load_i32(todo, 4 * number + 2) == top
        ):
            return count
    if count >= load_i64(matcher, L.MATCHER_FORK_CAP):
        return -1
    store_i32(todo, 4 * count, state)
    store_i32(todo, 4 * count + 1, register)
    store_i32(todo, 4 * count + 2, top)
    store_i32(todo, 4 * count + 3, ends)
    return count + 1


@part
def _add_cells(matcher, count, cell, ends):
    """The members of a set, as _add_todo."""
    while cell != 0 and count >= 0:
        state, register = node_field(matcher, cell, L.NODE_BLOCK), node_field(matcher, cell, L.NODE_REGISTER)
        count = _add_todo(matcher, count, state, register, node_field(matcher, cell, L.NODE_PARENT), ends)
        cell = node_field(matcher, cell, L.NODE_ALSO)
    return count


@part
def depends_on_text(matcher):
    """Whether the next mask is not that of the configuration alone."""
    watched, where = load_i64(matcher, L.MATCHER_WATCHED), load_i64(matcher, L.MATCHER_WHERE)
    if watched == L.TEXT_WATCHED:
        return where == L.DUE or where == L.IN_RIVAL or where == L.RIVAL_BEGUN
    return watched != 0


@kernel
def fill(automaton, matcher, out):
    """Write the mask of the next token, WORDS int32, to address `out`: OK, RESTRICT or NEED_* (then `out` is unspecified)."""
    words = load_i64(automaton, L.AUTOMATON_WORDS)
    rows = load_i64(automaton, L.AUTOMATON_ROWS)
    todo = load_i64(matcher, L.MATCHER_TODO)
    store_i64(matcher, L.MATCHER_NEEDS_COUNT, 0)
    count = _add_todo(
        matcher,
        0,
        load_i64(matcher, L.MATCHER_STATE),
        load_i64(matcher, L.MATCHER_REGISTER),
        load_i64(matcher, L.MATCHER_TOP),
        0,
    )
    number = -1
    first, over = True, False
    while number + 1 < count:
        number += 1
        state, register = load_i32(todo, 4 * number), load_i32(todo, 4 * number + 1)
        top, ends = load_i32(todo, 4 * number + 2), load_i32(todo, 4 * number + 3)
        if state == L.DONE or state == L.ENDED:
            over = True
            continue
        if state == L.SPLIT:
            count = _add_cells(matcher, count, top, ends)
            if count < 0:
                return L.NEED_FORKS
            continue
        status, entry = _memo(automaton, matcher, state, register, top)
        if status != L.OK:
            return status
        row = load_i64(entry, L.MEMO_ROW) * L.ROW_SIZE
        data = load_i64(rows, row + L.ROW_DATA)
        if load_i64(rows, row + L.ROW_KIND) == L.ROW_DENSE:
            if first:
                for word in range(words):
                    store_i32(out, word, load_i32(data, word))
            else:
                for word in range(words):
                    store_i32(out, word, load_i32(out, word) | load_i32(data, word))
        else:
            if first:
                for word in range(words):
                    store_i32(out, word, 0)
            _set_bits(out, data, load_i64(rows, row + L.ROW_COUNT))
        first = False
        patch = load_i64(entry, L.MEMO_PATCH)
        if patch != 0:
            address = load_i64(matcher, L.MATCHER_PATCH) + 4 * patch
            _set_bits(out, address + 4, load_i32(address, 0))
        after = load_i64(entry, L.MEMO_NEXT_STATE)
        if after == 0 or ends == _CLOSED:
            continue
        if ends >= _MANY_ENDS and state_field(automaton, state, L.STATE_FINAL) == 0 and top != 0:
            closure = node_field(matcher, top, L.NODE_CLOSURE)
            if closure == 0:
                store_i64(matcher, L.MATCHER_NEED, top)
                return L.NEED_CLOSURE
            if closure != L.NO_CLOSURE:
                count = _add_cells(matcher, count, closure, _CLOSED)
                if count < 0:
                    return L.NEED_FORKS
                continue
        register, top = load_i64(entry, L.MEMO_NEXT_REGISTER), load_i64(entry, L.MEMO_NEXT_TOP)
        count = _add_todo(matcher, count, after, register, top, ends + 1)
        if count < 0:
            return L.NEED_FORKS
    if first:
        for word in range(words):
            store_i32(out, word, 0)
    if over:
        _set_bits(out, load_i64(automaton, L.AUTOMATON_EOS), load_i64(automaton, L.AUTOMATON_EOS_COUNT))
    return L.RESTRICT if depends_on_text(matcher) else L.OK
