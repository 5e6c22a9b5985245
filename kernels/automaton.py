"""Kernels of a matcher: accept a token, compute the mask of the next one, look ahead.

A mask is a row (what the state allows while the frame lasts, computed once per state and slack, whatever lies below on
the stack) and a patch (tokens that end the frame, decided by the configuration below, from the row's trie of remainders):
kernels/mask_memo.py. The mask of a configuration with several ways on is the union of theirs.

Every kernel takes the address of the automaton's header and of the matcher's (kernels/layout.py). A kernel that meets a
state that is not lowered yet, or a table that is full, changes nothing and answers NEED_*; the caller mends that and
calls again.
"""

from __future__ import annotations

from maskwright.kernels import layout as L
from maskwright.kernels.jit import kernel, part
from maskwright.kernels.mask_memo import memo_entry
from maskwright.kernels.memory import load_i32, load_i64, load_u8, store_i32, store_i64
from maskwright.kernels.stacks import settle, short_of_nodes, truncate
from maskwright.kernels.steps import LATEST, close, complete, node_field, state_field, step
from maskwright.kernels.watching import depends_on_text, is_behind_other_key, where_after

# Callees: c1590b5d586e

__all__ = [
    "accept_bytes",
    "accept_token",
    "allowed_bytes",
    "close_node",
    "completed",
    "fill",
    "forced_bytes",
]

_MANY_ENDS = 4  # of frames, after which their callers are not followed one by one
_CLOSED = 1 << 20


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
        if byte == 0x22 and is_behind_other_key(automaton, state):
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
    if short_of_nodes(automaton, matcher):
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
        where = where_after(matcher, where, load_i64(automaton, L.AUTOMATON_TOKEN_BYTES) + start, length)
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
    if short_of_nodes(automaton, matcher):
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
    if short_of_nodes(automaton, matcher):
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
    if short_of_nodes(automaton, matcher):
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
        status, entry = memo_entry(automaton, matcher, state, register, top)
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
