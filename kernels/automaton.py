"""Kernels that read the byte-level pushdown automaton: step, accept a token, look up and compute masks.

What they do, simply: a configuration is (state, register, stack node). One byte moves it:

    t = transition(state, byte)
    t is a state     go there (entering may set the register, count it down, or end the frame)
    t is an action   push (return block, register, node), go to the called frame, with or without the byte
    t is none        the frame ends if it may (state block + result of the caller), and the byte is tried again there

Where the grammar allows a byte to be read in several ways (a chain of actions), or what ends has several callers, the
step is a *fork*: it gathers all ways on, and the configuration becomes a set of them (kernels/stacks.py). The mask of a
set is the union of its members' masks.

A walk over a trie does that for every path at once, depth first, taking back pushes as it climbs. A mask is then a row
(what the state allows while the frame lasts, computed once per state and slack, whatever lies below on the stack) and a
patch (tokens that end the frame, decided by the configuration below, from the row's trie of remainders). Where few tokens
come into question, the patch is all: one short walk with the stack as it is.

Every kernel takes the address of the automaton's header and of the matcher's (kernels/layout.py). A kernel that meets a
state that is not lowered yet, or a table that is full, changes nothing and answers NEED_*; the caller mends that and
calls again. All functions that call each other live in this file: numba's disk cache does not notice an edited callee
elsewhere. Layout version 5: raise it with every change of kernels/layout.py, so that cached code is rebuilt.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from maskwright.kernels import layout as L
from maskwright.kernels.memory import load_i32, load_i64, load_u8, load_u64, store_i32, store_i64
from maskwright.kernels.stacks import intern_node, settle, truncate, unite

__all__ = [
    "accept_bytes",
    "accept_token",
    "allowed_bytes",
    "completed",
    "diverging",
    "fill",
    "forced_bytes",
    "row_ids",
    "row_words",
    "walk_row",
]

_NO_BUDGET = 1 << 40
_DIRECT_BUDGET = 2500  # trie nodes; a literal takes some 300
_LATEST = 256  # items of a fork among which equal ones are looked for


@njit(cache=True, inline="always")
def _state(automaton, state, field):
    return load_i32(load_i64(automaton, L.AUTOMATON_STATES), state * L.STATE_SIZE + field)


@njit(cache=True, inline="always")
def _node(matcher, node, field):
    return load_i32(load_i64(matcher, L.MATCHER_NODES), node * L.NODE_SIZE + field)


@njit(cache=True)
def _enter(automaton, matcher, state, register, top):
    """What being in `state` comes to: aliases followed, register set or counted, ended frames left."""
    while True:
        alias = _state(automaton, state, L.STATE_ALIAS)
        if alias < 0:
            return L.NEED_LOWER, state, register, top
        state = alias
        op = _state(automaton, state, L.STATE_OP)
        if op == L.OP_NONE:
            return L.OK, state, register, top
        argument = _state(automaton, state, L.STATE_ARG)
        if op == L.OP_SET:
            return L.OK, state, argument, top
        if op == L.OP_COUNT:
            register -= 1
            if register > 0:
                return L.OK, state, register, top
            state = argument
            continue
        result = _state(automaton, state, L.STATE_FINAL)
        if _node(matcher, top, L.NODE_ALSO) != 0:
            return L.FORKS, result, 0, top
        block = _node(matcher, top, L.NODE_BLOCK)
        if block < 0:
            return L.EXIT_AFTER, result, 0, 0
        state = block + result
        register = _node(matcher, top, L.NODE_REGISTER)
        top = _node(matcher, top, L.NODE_PARENT)


@njit(cache=True, inline="always")
def _transition(automaton, state, byte):
    """The transition value of a byte, ELSE states included."""
    states = load_i64(automaton, L.AUTOMATON_STATES)
    transitions = load_i64(automaton, L.AUTOMATON_TRANSITIONS)
    maps = load_i64(automaton, L.AUTOMATON_MAPS)
    while True:
        record = state * L.STATE_SIZE
        byte_class = load_u8(maps, load_i32(states, record + L.STATE_MAP) + byte)
        value = load_i32(transitions, load_i32(states, record + L.STATE_ROW) + byte_class)
        if value != 0:
            return value
        state = load_i32(states, record + L.STATE_ELSE)
        if state == 0:
            return 0


@njit(cache=True)
def _add_item(matcher, kind, state, register, top):
    """One more thing for a fork to read, unless it is one of the latest; True when there was no room."""
    items, count = load_i64(matcher, L.MATCHER_FORK), load_i64(matcher, L.MATCHER_FORK_COUNT)
    for number in range(count - 1, max(0, count - _LATEST) - 1, -1):
        item = number * L.FORK_SIZE
        if (
            load_i32(items, item + L.FORK_STATE) == state
            and load_i32(items, item + L.FORK_TOP) == top
            and load_i32(items, item + L.FORK_KIND) == kind
            and load_i32(items, item + L.FORK_REGISTER) == register
        ):
            return False
    if count >= load_i64(matcher, L.MATCHER_FORK_CAP):
        return True
    item = count * L.FORK_SIZE
    store_i32(items, item + L.FORK_KIND, kind)
    store_i32(items, item + L.FORK_STATE, state)
    store_i32(items, item + L.FORK_REGISTER, register)
    store_i32(items, item + L.FORK_TOP, top)
    store_i64(matcher, L.MATCHER_FORK_COUNT, count + 1)
    return False


@njit(cache=True)
def _add_callers(matcher, kind, top, result):
    """Go on with every caller of a frame that has ended with a result code; True when there was no room."""
    while True:
        block = _node(matcher, top, L.NODE_BLOCK)
        if block >= 0:
            register, parent = _node(matcher, top, L.NODE_REGISTER), _node(matcher, top, L.NODE_PARENT)
            if _add_item(matcher, kind, block + result, register, parent):
                return True
        else:
            left, count = load_i64(matcher, L.MATCHER_LEFT), load_i64(matcher, L.MATCHER_LEFT_COUNT)
            before = 1 - kind
            known = False
            for number in range(count):
                known = known or (load_i32(left, 2 * number) == result and load_i32(left, 2 * number + 1) == before)
            if not known:
                if count >= L.MAX_LEFT:
                    return True
                store_i32(left, 2 * count, result)
                store_i32(left, 2 * count + 1, before)
                store_i64(matcher, L.MATCHER_LEFT_COUNT, count + 1)
        top = _node(matcher, top, L.NODE_ALSO)
        if top == 0:
            return False


@njit(cache=True)
def _add_found(matcher, state, register, top):
    """One more way on; stacks of the same state and register become one set. A status."""
    found, count = load_i64(matcher, L.MATCHER_FOUND), load_i64(matcher, L.MATCHER_FOUND_COUNT)
    for number in range(count):
        if load_i32(found, 3 * number) == state and load_i32(found, 3 * number + 1) == register:
            both = unite(matcher, load_i32(found, 3 * number + 2), top)
            if both < 0:
                return _no_room(matcher)
            store_i32(found, 3 * number + 2, both)
            return L.OK
    if count >= load_i64(matcher, L.MATCHER_FORK_CAP):
        return L.NEED_FORKS
    store_i32(found, 3 * count, state)
    store_i32(found, 3 * count + 1, register)
    store_i32(found, 3 * count + 2, top)
    store_i64(matcher, L.MATCHER_FOUND_COUNT, count + 1)
    return L.OK


@njit(cache=True)
def _no_room(matcher):
    """What was short when a node could not be made."""
    if load_i64(matcher, L.MATCHER_NODE_COUNT) >= load_i64(matcher, L.MATCHER_NODE_CAP):
        return L.NEED_NODES
    return L.NEED_FORKS


@njit(cache=True)
def _begin_fork(matcher):
    store_i64(matcher, L.MATCHER_FORK_COUNT, 0)
    store_i64(matcher, L.MATCHER_FOUND_COUNT, 0)
    store_i64(matcher, L.MATCHER_LEFT_COUNT, 0)


@njit(cache=True)
def _read_items(automaton, matcher, byte):
    """Read all items of a fork, `byte` in those that have not consumed it (-1: none; DONE is found): (status, state)."""
    items = load_i64(matcher, L.MATCHER_FORK)
    number = -1
    while number + 1 < load_i64(matcher, L.MATCHER_FORK_COUNT):
        number += 1
        item = number * L.FORK_SIZE
        kind, state = load_i32(items, item + L.FORK_KIND), load_i32(items, item + L.FORK_STATE)
        register, top = load_i32(items, item + L.FORK_REGISTER), load_i32(items, item + L.FORK_TOP)
        consumed = kind & L.FORK_CONSUMED
        ended = False
        while kind & L.FORK_ENTERED == 0:
            alias = _state(automaton, state, L.STATE_ALIAS)
            if alias < 0:
                return L.NEED_LOWER, state
            state = alias
            op, argument = _state(automaton, state, L.STATE_OP), _state(automaton, state, L.STATE_ARG)
            if op == L.OP_POP:
                ended = True
                if _add_callers(matcher, consumed, top, _state(automaton, state, L.STATE_FINAL)):
                    return L.NEED_FORKS, state
                break
            if op == L.OP_SET:
                register = argument
            elif op == L.OP_COUNT:
                register -= 1
                if register <= 0:
                    state = argument
                    continue
            break
        if ended:
            continue
        if consumed or (byte < 0 and state == L.DONE):
            status = _add_found(matcher, state, register, top)
            if status != L.OK:
                return status, state
            continue
        value = _transition(automaton, state, byte) if byte >= 0 else 0
        if value > 0:
            if _add_item(matcher, L.FORK_CONSUMED, value, register, top):
                return L.NEED_FORKS, state
            continue
        final = _state(automaton, state, L.STATE_FINAL)
        if value == 0 or value == L.REJECT:
            if final >= 0 and _add_callers(matcher, 0, top, final):
                return L.NEED_FORKS, state
            continue
        action = -value
        actions = load_i64(automaton, L.AUTOMATON_ACTIONS)
        while action != 0:
            record = action * L.ACTION_SIZE
            what, target = load_i32(actions, record + L.ACTION_KIND), load_i32(actions, record + L.ACTION_TARGET)
            if what == L.LEAVE:
                full = _add_callers(matcher, 0, top, final)
            elif what == L.MOVE:
                full = _add_item(matcher, L.FORK_CONSUMED, target, register, top)
            else:
                node = intern_node(matcher, load_i32(actions, record + L.ACTION_BLOCK), register, top, 0)
                if node < 0:
                    return L.NEED_NODES, state
                full = _add_item(matcher, what, target, 0, node)  # CALL is FORK_CONSUMED, CALL_BEFORE is not
            if full:
                return L.NEED_FORKS, state
            action = load_i32(actions, record + L.ACTION_ALSO)
    return L.OK, 0


@njit(cache=True)
def _join_found(matcher):
    """The configuration of all ways on: (status, state, register, node)."""
    found, count = load_i64(matcher, L.MATCHER_FOUND), load_i64(matcher, L.MATCHER_FOUND_COUNT)
    some = load_i64(matcher, L.MATCHER_LEFT_COUNT) > 0
    if count == 0:
        return (L.EXIT_SOME if some else L.REJECTED), 0, 0, 0
    status = L.EXIT_SOME if some else L.OK
    if count == 1:
        return status, load_i32(found, 0), load_i32(found, 1), load_i32(found, 2)
    for number in range(1, count):  # sorted by state and register, the cells of a set are
        at = number
        while at > 0 and (
            load_i32(found, 3 * at - 3) > load_i32(found, 3 * at)
            or (
                load_i32(found, 3 * at - 3) == load_i32(found, 3 * at)
                and load_i32(found, 3 * at - 2) > load_i32(found, 3 * at + 1)
            )
        ):
            for field in range(3):
                moved = load_i32(found, 3 * at + field)
                store_i32(found, 3 * at + field, load_i32(found, 3 * at - 3 + field))
                store_i32(found, 3 * at - 3 + field, moved)
            at -= 1
    cell = 0
    for number in range(count - 1, -1, -1):
        cell = intern_node(
            matcher,
            load_i32(found, 3 * number),
            load_i32(found, 3 * number + 1),
            load_i32(found, 3 * number + 2),
            cell,
        )
        if cell < 0:
            return L.NEED_NODES, 0, 0, 0
    return status, L.SPLIT, 0, cell


@njit(cache=True)
def _fork(automaton, matcher, state, register, top, byte):
    """One byte from a configuration that may have several ways on: all of them."""
    _begin_fork(matcher)
    if state == L.SPLIT:
        full = False
        while top != 0:
            below = _node(matcher, top, L.NODE_PARENT)
            block, count = _node(matcher, top, L.NODE_BLOCK), _node(matcher, top, L.NODE_REGISTER)
            full = full or _add_item(matcher, L.FORK_ENTERED, block, count, below)
            top = _node(matcher, top, L.NODE_ALSO)
    else:
        full = _add_item(matcher, L.FORK_ENTERED, state, register, top)
    if full:
        return L.NEED_FORKS, state, register, top
    status, need = _read_items(automaton, matcher, byte)
    if status != L.OK:
        return status, need, register, top
    return _join_found(matcher)


@njit(cache=True)
def _leave(automaton, matcher, top, result):
    """Where the callers `top` go on after their frame has ended with a result code; `top` is not a scratch's bottom."""
    if _node(matcher, top, L.NODE_ALSO) == 0:
        status, state, register, below = _enter(
            automaton,
            matcher,
            _node(matcher, top, L.NODE_BLOCK) + result,
            _node(matcher, top, L.NODE_REGISTER),
            _node(matcher, top, L.NODE_PARENT),
        )
        if status != L.FORKS:
            return status, state, register, below
    _begin_fork(matcher)
    if _add_callers(matcher, L.FORK_CONSUMED, top, result):
        return L.NEED_FORKS, 0, 0, 0
    status, need = _read_items(automaton, matcher, -1)
    if status != L.OK:
        return status, need, 0, 0
    return _join_found(matcher)


@njit(cache=True)
def _step(automaton, matcher, state, register, top, byte):
    """One byte. The nodes it makes lie above MATCHER_NODE_COUNT as it was; the caller takes them back or keeps them."""
    if state == L.SPLIT:
        return _fork(automaton, matcher, state, register, top, byte)
    first_state, first_register, first_top = state, register, top
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    while True:
        value = _transition(automaton, state, byte)
        if value > 0:
            status, state, register, top = _enter(automaton, matcher, value, register, top)
            if status == L.FORKS:
                break
            return status, state, register, top
        if value == 0 or value == L.REJECT:
            result = _state(automaton, state, L.STATE_FINAL)
            if result < 0:
                return L.REJECTED, state, register, top
            if _node(matcher, top, L.NODE_ALSO) != 0:
                break
            block = _node(matcher, top, L.NODE_BLOCK)
            if block < 0:
                return L.EXIT_BEFORE, result, 0, 0
            register = _node(matcher, top, L.NODE_REGISTER)
            top = _node(matcher, top, L.NODE_PARENT)
            status, state, register, top = _enter(automaton, matcher, block + result, register, top)
            if status == L.FORKS:
                break
            if status == L.EXIT_AFTER:
                return L.EXIT_BEFORE, state, register, top
            if status != L.OK:
                return status, state, register, top
            continue
        action = -value * L.ACTION_SIZE
        actions = load_i64(automaton, L.AUTOMATON_ACTIONS)
        if load_i32(actions, action + L.ACTION_ALSO) != 0:
            break
        count = load_i64(matcher, L.MATCHER_NODE_COUNT)
        if count >= load_i64(matcher, L.MATCHER_NODE_CAP):
            return L.NEED_NODES, state, register, top
        nodes = load_i64(matcher, L.MATCHER_NODES)
        store_i32(nodes, count * L.NODE_SIZE + L.NODE_BLOCK, load_i32(actions, action + L.ACTION_BLOCK))
        store_i32(nodes, count * L.NODE_SIZE + L.NODE_REGISTER, register)
        store_i32(nodes, count * L.NODE_SIZE + L.NODE_PARENT, top)
        store_i32(nodes, count * L.NODE_SIZE + L.NODE_NEXT, L.NOT_LINKED)
        store_i32(nodes, count * L.NODE_SIZE + L.NODE_ALSO, 0)
        store_i64(matcher, L.MATCHER_NODE_COUNT, count + 1)
        top = count
        consume = load_i32(actions, action + L.ACTION_KIND)
        status, state, register, top = _enter(automaton, matcher, load_i32(actions, action + L.ACTION_TARGET), 0, top)
        if status == L.FORKS:
            break
        if status == L.EXIT_AFTER and consume == 0:
            return L.EXIT_BEFORE, state, register, top
        if status != L.OK or consume == 1:
            return status, state, register, top
    truncate(matcher, base)
    return _fork(automaton, matcher, first_state, first_register, first_top, byte)


@njit(cache=True)
def _short_of_nodes(automaton, matcher):
    """Whether the bytes of one token might not find room for their pushes (two a byte, mostly)."""
    spare = load_i64(matcher, L.MATCHER_NODE_CAP) - load_i64(matcher, L.MATCHER_NODE_COUNT)
    return spare < 2 * load_i64(automaton, L.AUTOMATON_MAX_TOKEN) + 8


@njit(cache=True)
def _advance(automaton, matcher, address, length):
    """Move the cursor over `length` <= MAX_TOKEN bytes, or leave it and say why not."""
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    state, register = load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER)
    top = load_i64(matcher, L.MATCHER_TOP)
    for position in range(length):
        status, state, register, top = _step(automaton, matcher, state, register, top, load_u8(address, position))
        if status != L.OK:
            truncate(matcher, base)
            store_i64(matcher, L.MATCHER_NEED, state)
            return status
    top = settle(matcher, base, top)
    store_i64(matcher, L.MATCHER_STATE, state)
    store_i64(matcher, L.MATCHER_REGISTER, register)
    store_i64(matcher, L.MATCHER_TOP, top)
    return L.OK


@njit(cache=True)
def _remember(matcher, state, register, top):
    """Append the configuration before a step to the history; the caller made sure of the room."""
    length = load_i64(matcher, L.MATCHER_HISTORY_LENGTH)
    history = load_i64(matcher, L.MATCHER_HISTORY)
    store_i32(history, 3 * length, state)
    store_i32(history, 3 * length + 1, register)
    store_i32(history, 3 * length + 2, top)
    store_i64(matcher, L.MATCHER_HISTORY_LENGTH, length + 1)


@njit(cache=True)
def _complete(automaton, matcher, state, top):
    """OK when the text so far is a whole sentence, else REJECTED (or NEED_*)."""
    while state != L.DONE:
        if state == L.SPLIT:
            break
        result = _state(automaton, state, L.STATE_FINAL)
        if result < 0 or state == L.ENDED:
            return L.REJECTED, state
        if _node(matcher, top, L.NODE_ALSO) != 0:
            break
        below = _node(matcher, top, L.NODE_PARENT)
        status, after, _, below = _enter(
            automaton,
            matcher,
            _node(matcher, top, L.NODE_BLOCK) + result,
            _node(matcher, top, L.NODE_REGISTER),
            below,
        )
        if status == L.FORKS:
            break
        if status != L.OK:
            return status, after
        state, top = after, below
    if state == L.DONE:
        return L.OK, state
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    status, state, _, _ = _fork(automaton, matcher, state, 0, top, -1)
    truncate(matcher, base)
    return status, state


@njit(cache=True)
def completed(automaton, matcher):
    """OK when the matcher's text is a whole sentence, REJECTED when not; NEED_LOWER."""
    status, state = _complete(automaton, matcher, load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_TOP))
    store_i64(matcher, L.MATCHER_NEED, state)
    return status


@njit(cache=True)
def accept_token(automaton, matcher, token):
    """Move over one token: OK, REJECTED (the cursor stays), or NEED_*. `token` is in range; the text has not ended."""
    if _short_of_nodes(automaton, matcher):
        return L.NEED_NODES
    if load_i64(matcher, L.MATCHER_HISTORY_LENGTH) >= load_i64(matcher, L.MATCHER_HISTORY_CAP):
        return L.NEED_HISTORY
    state, register = load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER)
    top = load_i64(matcher, L.MATCHER_TOP)
    offsets = load_i64(automaton, L.AUTOMATON_TOKEN_OFFSETS)
    start = load_i64(offsets, token)
    length = load_i64(offsets, token + 1) - start
    if length > 0:
        status = _advance(automaton, matcher, load_i64(automaton, L.AUTOMATON_TOKEN_BYTES) + start, length)
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
        _remember(matcher, state, register, top)
    return status


@njit(cache=True)
def accept_bytes(automaton, matcher, address, length, remember):
    """Move over at most MAX_TOKEN bytes; `remember` 1 makes it a step that a rollback takes back."""
    if _short_of_nodes(automaton, matcher):
        return L.NEED_NODES
    if load_i64(matcher, L.MATCHER_HISTORY_LENGTH) >= load_i64(matcher, L.MATCHER_HISTORY_CAP):
        return L.NEED_HISTORY
    state, register = load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER)
    top = load_i64(matcher, L.MATCHER_TOP)
    status = _advance(automaton, matcher, address, length)
    if status == L.OK and remember == 1:
        _remember(matcher, state, register, top)
    return status


@njit(cache=True)
def allowed_bytes(automaton, matcher, out):
    """Write 256 flags (uint8 as int32): which bytes may come next. OK or NEED_*."""
    if _short_of_nodes(automaton, matcher):
        return L.NEED_NODES
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    state, register = load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER)
    top = load_i64(matcher, L.MATCHER_TOP)
    for byte in range(256):
        status, need, _, _ = _step(automaton, matcher, state, register, top, byte)
        truncate(matcher, base)
        if status > L.REJECTED:
            store_i64(matcher, L.MATCHER_NEED, need)
            return status
        store_i32(out, byte, 1 if status == L.OK else 0)
    return L.OK


@njit(cache=True)
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
        status, need = _complete(automaton, matcher, state, top)
        if status > L.REJECTED:
            result = status
            store_i64(matcher, L.MATCHER_NEED, need)
            break
        if status == L.OK:
            break
        count, only = 0, -1
        mark = load_i64(matcher, L.MATCHER_NODE_COUNT)
        for byte in range(256):
            status, need, _, _ = _step(automaton, matcher, state, register, top, byte)
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
        status, state, register, top = _step(automaton, matcher, state, register, top, only)
        store_i32(out, length, only)
        length += 1
    truncate(matcher, base)
    return result, length


@njit(cache=True)
def _add_range(matcher, low, high):
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


@njit(cache=True)
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
        if _add_range(matcher, low, rank):
            if count > 0:
                store_i32(ranges, 2 * count - 1, last)
            store_i64(matcher, L.MATCHER_RANGE_COUNT, count)
            return True
        rank += 1
    return False


@njit(cache=True)
def _add_exits(matcher, node, end, unknown):
    """Note the ends of a fork as exits at a trie node; True when there was no room, and nothing is noted.

    `unknown`: whether ends before the byte count; those of the state that a walk begins with are fill()'s to follow.
    """
    left, exits = load_i64(matcher, L.MATCHER_LEFT), load_i64(matcher, L.MATCHER_EXITS)
    count, ends = load_i64(matcher, L.MATCHER_EXIT_COUNT), load_i64(matcher, L.MATCHER_LEFT_COUNT)
    if count + ends > load_i64(matcher, L.MATCHER_EXIT_CAP):
        return True
    for number in range(ends):
        before = load_i32(left, 2 * number + 1)
        if (before == 1 and unknown) or (before == 0 and end > node + 1):
            store_i32(exits, 3 * count, node)
            store_i32(exits, 3 * count + 1, load_i32(left, 2 * number))
            store_i32(exits, 3 * count + 2, before)
            count += 1
    store_i64(matcher, L.MATCHER_EXIT_COUNT, count)
    return False


@njit(cache=True)
def _some_after(matcher):
    """Whether one of a fork's ends came after the byte."""
    left = load_i64(matcher, L.MATCHER_LEFT)
    for number in range(load_i64(matcher, L.MATCHER_LEFT_COUNT)):
        if load_i32(left, 2 * number + 1) == 0:
            return True
    return False


@njit(cache=True)
def _fits(automaton, matcher, trie, state, register, top, node):
    """Whether the signature of a subtree fits the safe set of a state: 1 as a whole, 2 as far as the count lasts, 0 not."""
    if state == L.SPLIT:
        while top != 0:
            block, count = _node(matcher, top, L.NODE_BLOCK), _node(matcher, top, L.NODE_REGISTER)
            if _fits_one(automaton, trie, block, count, node) == 1:
                return 1
            top = _node(matcher, top, L.NODE_ALSO)
        return 0
    return _fits_one(automaton, trie, state, register, node)


@njit(cache=True)
def _fits_one(automaton, trie, state, register, node):
    """See _fits."""
    safe = _state(automaton, state, L.STATE_SAFE)
    if safe == 0:
        return 0
    safe_sets = load_i64(automaton, L.AUTOMATON_SAFE)
    full = np.uint64(0xFFFFFFFFFFFFFFFF)
    low, high = load_u64(safe_sets, safe * L.SAFE_SIZE), load_u64(safe_sets, safe * L.SAFE_SIZE + 1)
    if (load_u64(load_i64(trie, L.TRIE_SIG_LOW), node) & (low ^ full)) != np.uint64(0):
        return 0
    if (load_u64(load_i64(trie, L.TRIE_SIG_HIGH), node) & (high ^ full)) != np.uint64(0):
        return 0
    flags, safe_flags = load_u8(load_i64(trie, L.TRIE_SIG_FLAGS), node), load_i64(safe_sets, safe * L.SAFE_SIZE + 2)
    if (flags & 1) != 0 and ((flags & 2) == 0 or (safe_flags & L.SAFE_UNICODE) == 0):
        return 0
    if (
        _state(automaton, state, L.STATE_OP) == L.OP_NONE
        or load_i32(load_i64(trie, L.TRIE_SIG_CHARS), node) < register
        or (safe_flags & L.SAFE_ENDLESS) != 0
    ):
        return 1
    return 2 if (safe_flags & L.SAFE_LAST) != 0 else 0


@njit(cache=True)
def _walk(automaton, matcher, trie, node, limit, depth, budget):
    """Walk trie nodes [node, limit) depth first from the configuration in the workspace at `depth`.

    Appends allowed ranks to the ranges and ends of the frame to the exits. On NEED_* the position is kept in
    WALK_NODE and WALK_DEPTH, and a call with them goes on from there. After `budget` nodes it gives up: NEED_ROW.
    """
    workspace = load_i64(matcher, L.MATCHER_WALK)
    bytes_, ends = load_i64(trie, L.TRIE_BYTE), load_i64(trie, L.TRIE_END)
    firsts = load_i64(trie, L.TRIE_FIRST)
    signed = load_i64(trie, L.TRIE_SIG_LOW) != 0
    while node < limit:
        budget -= 1
        if budget < 0:
            return L.NEED_ROW
        while depth > 0 and node >= load_i32(workspace, depth * L.WALK_SIZE):
            depth -= 1
        record = depth * L.WALK_SIZE
        truncate(matcher, load_i32(workspace, record + 4))
        before = load_i32(workspace, record + 1)
        status, state, register, top = _step(
            automaton,
            matcher,
            before,
            load_i32(workspace, record + 2),
            load_i32(workspace, record + 3),
            load_u8(bytes_, node),
        )
        end = load_i32(ends, node)
        if status == L.REJECTED:
            node = end
            continue
        if status == L.NEED_LOWER or status == L.NEED_NODES or status == L.NEED_FORKS:
            # Behind the last byte of a token nothing has to be known of the state: it is live. Most states that a mask
            # meets for the first time are such, and few of them are ever entered.
            if status == L.NEED_LOWER and end == node + 1 and _transition(automaton, before, load_u8(bytes_, node)) > 0:
                if _add_range(matcher, load_i32(firsts, node), load_i32(firsts, end)):
                    store_i64(matcher, L.MATCHER_WALK_NODE, node)
                    store_i64(matcher, L.MATCHER_WALK_DEPTH, depth)
                    return L.NEED_RANGES
                node = end
                continue
            store_i64(matcher, L.MATCHER_NEED, state)
            store_i64(matcher, L.MATCHER_WALK_NODE, node)
            store_i64(matcher, L.MATCHER_WALK_DEPTH, depth)
            return status
        if status == L.EXIT_SOME:
            unknown = depth > 0 or _state(automaton, before, L.STATE_FINAL) < 0
            if _add_exits(matcher, node, end, unknown):
                store_i64(matcher, L.MATCHER_WALK_NODE, node)
                store_i64(matcher, L.MATCHER_WALK_DEPTH, depth)
                return L.NEED_EXITS
            after = _some_after(matcher)
            if state != 0:
                status = L.OK
            else:
                if after and _add_range(matcher, load_i32(firsts, node), load_i32(firsts, node + 1)):
                    store_i64(matcher, L.MATCHER_WALK_NODE, node)
                    store_i64(matcher, L.MATCHER_WALK_DEPTH, depth)
                    return L.NEED_RANGES
                node = end
                continue
        if status == L.OK and signed:
            fitting = _fits(automaton, matcher, trie, state, register, top, node)
            if fitting != 0:
                if fitting == 1:
                    full_up = _add_range(matcher, load_i32(firsts, node), load_i32(firsts, end))
                else:
                    full_up = _add_short(matcher, trie, node, register)
                if full_up:
                    store_i64(matcher, L.MATCHER_WALK_NODE, node)
                    store_i64(matcher, L.MATCHER_WALK_DEPTH, depth)
                    return L.NEED_RANGES
                node = end
                continue
        # The tokens that end exactly here are allowed: every state entered and every result returned is live.
        if status == L.OK or status == L.EXIT_AFTER:
            if _add_range(matcher, load_i32(firsts, node), load_i32(firsts, node + 1)):
                store_i64(matcher, L.MATCHER_WALK_NODE, node)
                store_i64(matcher, L.MATCHER_WALK_DEPTH, depth)
                return L.NEED_RANGES
        if status == L.OK:
            if end > node + 1:
                depth += 1
                record = depth * L.WALK_SIZE
                store_i32(workspace, record, end)
                store_i32(workspace, record + 1, state)
                store_i32(workspace, record + 2, register)
                store_i32(workspace, record + 3, top)
                store_i32(workspace, record + 4, load_i64(matcher, L.MATCHER_NODE_COUNT))
            node += 1
            continue
        # The frame ended. A late end of the very first state is no exit: fill() goes on from the configuration below.
        late_start = status == L.EXIT_BEFORE and depth == 0 and _state(automaton, before, L.STATE_FINAL) >= 0
        if not late_start and (status == L.EXIT_BEFORE or end > node + 1):
            count = load_i64(matcher, L.MATCHER_EXIT_COUNT)
            if count >= load_i64(matcher, L.MATCHER_EXIT_CAP):
                store_i64(matcher, L.MATCHER_WALK_NODE, node)
                store_i64(matcher, L.MATCHER_WALK_DEPTH, depth)
                return L.NEED_EXITS
            exits = load_i64(matcher, L.MATCHER_EXITS)
            store_i32(exits, 3 * count, node)
            store_i32(exits, 3 * count + 1, state)
            store_i32(exits, 3 * count + 2, 1 if status == L.EXIT_BEFORE else 0)
            store_i64(matcher, L.MATCHER_EXIT_COUNT, count + 1)
        node = end
    return L.OK


@njit(cache=True)
def _start_walk(matcher, limit, state, register, top):
    """Put the configuration a walk starts from at depth 0 of the workspace."""
    workspace = load_i64(matcher, L.MATCHER_WALK)
    store_i32(workspace, 0, limit)
    store_i32(workspace, 1, state)
    store_i32(workspace, 2, register)
    store_i32(workspace, 3, top)
    store_i32(workspace, 4, load_i64(matcher, L.MATCHER_NODE_COUNT))


@njit(cache=True)
def walk_row(automaton, scratch, trie, nodes, state, register, resume):
    """Compute the row of (state, register) over an unknown stack: ranges and exits of `scratch`. OK or NEED_*.

    `resume` 1 goes on after NEED_*. The caller has set the scratch's counts to zero and its nodes to the bottom alone,
    whose block is -1.
    """
    if resume == 1:
        return _walk(
            automaton,
            scratch,
            trie,
            load_i64(scratch, L.MATCHER_WALK_NODE),
            nodes,
            load_i64(scratch, L.MATCHER_WALK_DEPTH),
            _NO_BUDGET,
        )
    truncate(scratch, 1)
    store_i64(scratch, L.MATCHER_RANGE_COUNT, 0)
    store_i64(scratch, L.MATCHER_EXIT_COUNT, 0)
    _start_walk(scratch, nodes, state, register, 0)
    return _walk(automaton, scratch, trie, 1, nodes, 0, _NO_BUDGET)


@njit(cache=True)
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
        if value > 0 and _state(automaton, value, L.STATE_OP) == L.OP_NONE:
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
            store_i32(exits, 3 * count + 1, _state(automaton, value, L.STATE_FINAL) if value > 0 else -1)
            store_i32(exits, 3 * count + 2, 0)
            count += 1
        node = end
    store_i64(scratch, L.MATCHER_EXIT_COUNT, count)
    return L.OK


@njit(cache=True)
def row_ids(matcher, trie, out):
    """Write the token ids of the ranges to `out` (int32, large enough); returns how many."""
    ranges, tokens = load_i64(matcher, L.MATCHER_RANGES), load_i64(trie, L.TRIE_TOKENS)
    count = 0
    for number in range(load_i64(matcher, L.MATCHER_RANGE_COUNT)):
        for rank in range(load_i32(ranges, 2 * number), load_i32(ranges, 2 * number + 1)):
            store_i32(out, count, load_i32(tokens, rank))
            count += 1
    return count


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
def _is_excluded(rank, excluded, count):
    for number in range(count):
        if load_i32(excluded, 2 * number) <= rank < load_i32(excluded, 2 * number + 1):
            return True
    return False


@njit(cache=True)
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


@njit(cache=True)
def _direct(automaton, matcher, state, register, top):
    """The whole mask of a configuration as a patch, by one short walk with the stack as it is: (status, offset).

    NEED_ROW when the walk is not short: then a row is worth computing.
    """
    trie = load_i64(automaton, L.AUTOMATON_TRIE)
    limit = load_i32(load_i64(trie, L.TRIE_END), 0)
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    offset = load_i64(matcher, L.MATCHER_PATCH_LENGTH)
    store_i64(matcher, L.MATCHER_RANGE_COUNT, 0)
    _start_walk(matcher, limit, state, register, top)
    status = _walk(automaton, matcher, trie, 1, limit, 0, _DIRECT_BUDGET)
    truncate(matcher, base)
    if status != L.OK:
        return status, 0
    length = _append(matcher, trie, offset, 0, 0, 0, 0)
    eos, eos_count = load_i64(automaton, L.AUTOMATON_EOS), load_i64(automaton, L.AUTOMATON_EOS_COUNT)
    if length < 0 or length + eos_count >= load_i64(matcher, L.MATCHER_PATCH_CAP) - offset - 1:
        return L.NEED_PATCH, 0
    status, need = _complete(automaton, matcher, state, top)
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


@njit(cache=True)
def _walk_below(automaton, matcher, top, result, trie, low, high):
    """Walk nodes [low, high) from where the frame above `top` leaves its caller when it ends with `result`: the ranges."""
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    status, state, register, below = _leave(automaton, matcher, top, result)
    if status != L.OK:
        truncate(matcher, base)
        store_i64(matcher, L.MATCHER_NEED, state)
        return status
    store_i64(matcher, L.MATCHER_RANGE_COUNT, 0)
    _start_walk(matcher, high, state, register, below)
    status = _walk(automaton, matcher, trie, low, high, 0, _NO_BUDGET)
    truncate(matcher, base)
    return status


@njit(cache=True)
def _patch(automaton, matcher, row, top, alongside):
    """Append the patch of row `row` over the stack node `top`: (status, offset). NEED_* leaves the patches alone.

    `alongside` 1: the row is that of the state's ELSE, and the matcher's exits say where the state itself differs.
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
    length = 0
    for number in range(load_i64(record, L.ROW_SEGMENT_COUNT)):
        segment = segments + 8 * number * L.SEGMENT_SIZE
        trie = load_i64(segment, L.SEGMENT_TRIE)
        low, high = load_i64(segment, L.SEGMENT_LOW), load_i64(segment, L.SEGMENT_HIGH)
        status = _walk_below(automaton, matcher, top, load_i64(segment, L.SEGMENT_RESULT), trie, low, high)
        if status != L.OK:
            return status, 0
        shared = alongside == 1 or load_i64(segment, L.SEGMENT_SHARED) == 1
        length = _append(matcher, trie, offset, length, ranks, excluded, excluded_count if shared else 0)
        if length < 0:
            return L.NEED_PATCH, 0
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


@njit(cache=True)
def _memo(automaton, matcher, state, register, top):
    """The address of the memo entry of a configuration, made when missing: (status, address)."""
    cap = load_i64(automaton, L.AUTOMATON_SLACK_CAP)
    slack = register if register < cap else cap
    key = state << 16 | slack
    mask = load_i64(matcher, L.MATCHER_MEMO_MASK)
    memo = load_i64(matcher, L.MATCHER_MEMO)
    mixed = key * 0x9E3779B1 + top * 0x85EBCA77
    slot = (mixed ^ (mixed >> 15)) & mask
    while True:
        entry = memo + slot * L.MEMO_SIZE * 8
        found = load_i64(entry, L.MEMO_STATE)
        if found == key and load_i64(entry, L.MEMO_TOP) == top:
            return L.OK, entry
        if found < 0:
            break
        slot = (slot + 1) & mask
    if 2 * load_i64(matcher, L.MATCHER_MEMO_COUNT) > mask:
        return L.NEED_MEMO, 0
    if _short_of_nodes(automaton, matcher):
        return L.NEED_NODES, 0
    row = _find_row(automaton, key)
    next_state, next_register, next_top = 0, 0, 0
    alongside = 0
    if row < 0 and _state(automaton, state, L.STATE_ELSE) != 0 and _state(automaton, state, L.STATE_ARG) == L.ALONGSIDE:
        # A trie of keys over every string: that row, and what is different where a token ends a key.
        other = _state(automaton, state, L.STATE_ELSE)
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
    if row < 0:
        status, patch = _direct(automaton, matcher, state, register, top)
        if status != L.OK:
            if status == L.NEED_ROW:
                store_i64(matcher, L.MATCHER_NEED, key)
            return status, 0
        row = 0
    result = _state(automaton, state, L.STATE_FINAL)
    if row > 0 and result >= 0:
        base = load_i64(matcher, L.MATCHER_NODE_COUNT)
        status, next_state, next_register, next_top = _leave(automaton, matcher, top, result)
        if status != L.OK:
            truncate(matcher, base)
            store_i64(matcher, L.MATCHER_NEED, next_state)
            return status, 0
        store_i64(matcher, L.MATCHER_LINKED, 0)  # a set of callers stays: the memo refers to it
    if row > 0:
        status, patch = _patch(automaton, matcher, row, top, alongside)
        if status != L.OK:
            return status, 0
    store_i64(entry, L.MEMO_TOP, top)
    store_i64(entry, L.MEMO_ROW, row)
    store_i64(entry, L.MEMO_PATCH, patch)
    store_i64(entry, L.MEMO_NEXT_STATE, next_state)
    store_i64(entry, L.MEMO_NEXT_REGISTER, next_register)
    store_i64(entry, L.MEMO_NEXT_TOP, next_top)
    store_i64(entry, L.MEMO_STATE, key)
    store_i64(matcher, L.MATCHER_MEMO_COUNT, load_i64(matcher, L.MATCHER_MEMO_COUNT) + 1)
    return L.OK, entry


@njit(cache=True)
def _set_bits(out, ids, count):
    for index in range(count):
        token = load_i32(ids, index)
        store_i32(out, token >> 5, load_i32(out, token >> 5) | (1 << (token & 31)))


@njit(cache=True)
def _add_todo(matcher, count, state, register, top):
    """One more configuration whose mask counts, unless it is one of the latest: how many there are; -1 without room."""
    todo = load_i64(matcher, L.MATCHER_TODO)
    for number in range(count - 1, max(0, count - _LATEST) - 1, -1):
        if (
            load_i32(todo, 3 * number) == state
            and load_i32(todo, 3 * number + 1) == register
            and load_i32(todo, 3 * number + 2) == top
        ):
            return count
    if count >= load_i64(matcher, L.MATCHER_FORK_CAP):
        return -1
    store_i32(todo, 3 * count, state)
    store_i32(todo, 3 * count + 1, register)
    store_i32(todo, 3 * count + 2, top)
    return count + 1


@njit(cache=True)
def fill(automaton, matcher, out):
    """Write the mask of the next token, WORDS int32, to address `out`: OK or NEED_* (then `out` is unspecified)."""
    words = load_i64(automaton, L.AUTOMATON_WORDS)
    rows = load_i64(automaton, L.AUTOMATON_ROWS)
    todo = load_i64(matcher, L.MATCHER_TODO)
    store_i32(todo, 0, load_i64(matcher, L.MATCHER_STATE))
    store_i32(todo, 1, load_i64(matcher, L.MATCHER_REGISTER))
    store_i32(todo, 2, load_i64(matcher, L.MATCHER_TOP))
    number, count = 0, 1
    first, over = True, False
    while number < count:
        state, register = load_i32(todo, 3 * number), load_i32(todo, 3 * number + 1)
        top = load_i32(todo, 3 * number + 2)
        number += 1
        if state == L.DONE or state == L.ENDED:
            over = True
            continue
        if state == L.SPLIT:
            while top != 0:
                block, below = _node(matcher, top, L.NODE_BLOCK), _node(matcher, top, L.NODE_PARENT)
                count = _add_todo(matcher, count, block, _node(matcher, top, L.NODE_REGISTER), below)
                if count < 0:
                    return L.NEED_FORKS
                top = _node(matcher, top, L.NODE_ALSO)
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
        state = load_i64(entry, L.MEMO_NEXT_STATE)
        if state != 0:
            register, top = load_i64(entry, L.MEMO_NEXT_REGISTER), load_i64(entry, L.MEMO_NEXT_TOP)
            count = _add_todo(matcher, count, state, register, top)
            if count < 0:
                return L.NEED_FORKS
    if first:
        for word in range(words):
            store_i32(out, word, 0)
    if over:
        _set_bits(out, load_i64(automaton, L.AUTOMATON_EOS), load_i64(automaton, L.AUTOMATON_EOS_COUNT))
    return L.OK
