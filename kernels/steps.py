"""Kernels that move a configuration of the byte-level pushdown automaton over one byte.

A configuration is (state, register, stack node). One byte moves it:

    t = transition(state, byte)
    t is a state     go there (entering may set the register, count it down, or end the frame)
    t is an action   push (return block, register, node), go to the called frame, with or without the byte
    t is none        the frame ends if it may (state block + result of the caller), and the byte is tried again there

Where the grammar allows a byte to be read in several ways (a chain of actions), or what ends has several callers, the
step is a *fork*: it gathers all ways on, and the configuration becomes a set of them (kernels/stacks.py).

Every kernel takes the address of the automaton's header and of the matcher's (kernels/layout.py). One that meets a state
that is not lowered yet, or a table that is full, answers NEED_*; its caller takes back the nodes that were made.
"""

from __future__ import annotations

from maskwright.kernels import layout as L
from maskwright.kernels.jit import part
from maskwright.kernels.memory import load_i32, load_i64, load_u8, store_i32, store_i64
from maskwright.kernels.stacks import intern_node, keep, push, truncate, unite

# Callees: af0d68c1aabb

__all__ = ["LATEST", "close", "complete", "enter", "leave", "node_field", "state_field", "step", "transition"]

_MANY_ENDS = 6  # of frames before one byte, after which closures are worth their price
LATEST = 256  # things still to be read among which equal ones are looked for


@part
def state_field(automaton, state, field):
    return load_i32(load_i64(automaton, L.AUTOMATON_STATES), state * L.STATE_SIZE + field)


@part
def node_field(matcher, node, field):
    return load_i32(load_i64(matcher, L.MATCHER_NODES), node * L.NODE_SIZE + field)


@part
def enter(automaton, matcher, state, register, top):
    """What being in `state` comes to: aliases followed, register set or counted, ended frames left."""
    while True:
        alias = state_field(automaton, state, L.STATE_ALIAS)
        if alias < 0:
            return L.NEED_LOWER, state, register, top
        state = alias
        op = state_field(automaton, state, L.STATE_OP)
        if op == L.OP_NONE:
            return L.OK, state, register, top
        argument = state_field(automaton, state, L.STATE_ARG)
        if op == L.OP_SET:
            return L.OK, state, argument, top
        if op == L.OP_COUNT:
            register -= 1
            if register > 0:
                return L.OK, state, register, top
            state = argument
            continue
        result = state_field(automaton, state, L.STATE_FINAL)
        if node_field(matcher, top, L.NODE_ALSO) != 0:
            return L.FORKS, result, 0, top
        block = node_field(matcher, top, L.NODE_BLOCK)
        if block < 0:
            return L.EXIT_AFTER, result, 0, 0
        state = block + result
        register = node_field(matcher, top, L.NODE_REGISTER)
        top = node_field(matcher, top, L.NODE_PARENT)


@part
def enter_here(automaton, state, register):
    """As enter(), but a state that ends its frame at once is not left: (EXIT_AFTER, the state, ...)."""
    while True:
        alias = state_field(automaton, state, L.STATE_ALIAS)
        if alias < 0:
            return L.NEED_LOWER, state, register
        state = alias
        op = state_field(automaton, state, L.STATE_OP)
        if op == L.OP_POP:
            return L.EXIT_AFTER, state, register
        if op == L.OP_SET:
            register = state_field(automaton, state, L.STATE_ARG)
        elif op == L.OP_COUNT:
            register -= 1
            if register <= 0:
                state = state_field(automaton, state, L.STATE_ARG)
                continue
        return L.OK, state, register


@part
def transition(automaton, state, byte):
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
        if state <= 0:
            return 0


@part
def _add_item(matcher, kind, state, register, top):
    """One more thing for a fork to read, unless it is one of the latest: a status."""
    items, count = load_i64(matcher, L.MATCHER_FORK), load_i64(matcher, L.MATCHER_FORK_COUNT)
    for number in range(count - 1, max(0, count - LATEST) - 1, -1):
        item = number * L.FORK_SIZE
        if (
            load_i32(items, item + L.FORK_STATE) == state
            and load_i32(items, item + L.FORK_TOP) == top
            and load_i32(items, item + L.FORK_KIND) == kind
            and load_i32(items, item + L.FORK_REGISTER) == register
        ):
            return L.OK
    if count >= load_i64(matcher, L.MATCHER_FORK_CAP):
        return L.NEED_FORKS
    item = count * L.FORK_SIZE
    store_i32(items, item + L.FORK_KIND, kind)
    store_i32(items, item + L.FORK_STATE, state)
    store_i32(items, item + L.FORK_REGISTER, register)
    store_i32(items, item + L.FORK_TOP, top)
    store_i64(matcher, L.MATCHER_FORK_COUNT, count + 1)
    return L.OK


@part
def _add_call(matcher, number, kind, state, top):
    """Go on in a called frame: a status. Where item `number` is read and the same call still waits, it has more callers.

    So a frame that begins in many ways is entered once for all of them, or once a level of calls, and not once a way.
    """
    items, count = load_i64(matcher, L.MATCHER_FORK), load_i64(matcher, L.MATCHER_FORK_COUNT)
    for waiting in range(count - 1, max(number, count - LATEST), -1):
        item = waiting * L.FORK_SIZE
        if load_i32(items, item + L.FORK_STATE) == state and load_i32(items, item + L.FORK_KIND) == kind:
            both = unite(matcher, load_i32(items, item + L.FORK_TOP), top)
            if both < 0:
                return _no_room(matcher)
            store_i32(items, item + L.FORK_TOP, both)
            return L.OK
    return _add_item(matcher, kind, state, 0, top)


@part
def _add_callers(matcher, kind, top, result):
    """Go on with every caller of a frame that has ended with a result code: a status; the node where it is NEED_CLOSURE.

    `kind`: FORK_CONSUMED when the byte is behind the end of the frame. Else its callers may end before it, too: the
    closure has them all.
    """
    if kind == 0 and result == 0 and 0 < top < load_i64(matcher, L.MATCHER_PERMANENT):
        cell = node_field(matcher, top, L.NODE_CLOSURE)
        if cell == 0:
            return L.NEED_CLOSURE
        if cell != L.NO_CLOSURE:
            while cell != 0:
                state, register = node_field(matcher, cell, L.NODE_BLOCK), node_field(matcher, cell, L.NODE_REGISTER)
                below = node_field(matcher, cell, L.NODE_PARENT)
                status = _add_item(matcher, L.FORK_ENTERED | L.FORK_CLOSED, state, register, below)
                if status != L.OK:
                    return status
                cell = node_field(matcher, cell, L.NODE_ALSO)
            return L.OK
    while True:
        block = node_field(matcher, top, L.NODE_BLOCK)
        if block >= 0:
            register, parent = node_field(matcher, top, L.NODE_REGISTER), node_field(matcher, top, L.NODE_PARENT)
            status = _add_item(matcher, kind, block + result, register, parent)
            if status != L.OK:
                return status
        else:
            left, count = load_i64(matcher, L.MATCHER_LEFT), load_i64(matcher, L.MATCHER_LEFT_COUNT)
            before = 1 - kind
            known = False
            for number in range(count):
                known = known or (load_i32(left, 2 * number) == result and load_i32(left, 2 * number + 1) == before)
            if not known:
                if count >= L.MAX_LEFT:
                    return L.NEED_FORKS
                store_i32(left, 2 * count, result)
                store_i32(left, 2 * count + 1, before)
                store_i64(matcher, L.MATCHER_LEFT_COUNT, count + 1)
        top = node_field(matcher, top, L.NODE_ALSO)
        if top == 0:
            return L.OK


@part
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


@part
def _no_room(matcher):
    """What was short when a node could not be made."""
    if load_i64(matcher, L.MATCHER_NODE_COUNT) >= load_i64(matcher, L.MATCHER_NODE_CAP):
        return L.NEED_NODES
    return L.NEED_FORKS


@part
def _begin_fork(matcher):
    store_i64(matcher, L.MATCHER_FORK_COUNT, 0)
    store_i64(matcher, L.MATCHER_FOUND_COUNT, 0)
    store_i64(matcher, L.MATCHER_LEFT_COUNT, 0)


@part
def _read_items(automaton, matcher, byte):
    """Read all items of a fork, `byte` in those that have not consumed it (-1: none; DONE is found).

    Returns: (status, the state or node that it is about).
    """
    items = load_i64(matcher, L.MATCHER_FORK)
    number = -1
    while number + 1 < load_i64(matcher, L.MATCHER_FORK_COUNT):
        number += 1
        item = number * L.FORK_SIZE
        kind, state = load_i32(items, item + L.FORK_KIND), load_i32(items, item + L.FORK_STATE)
        register, top = load_i32(items, item + L.FORK_REGISTER), load_i32(items, item + L.FORK_TOP)
        consumed = kind & L.FORK_CONSUMED
        if kind & L.FORK_ENTERED == 0:
            status, state, register = enter_here(automaton, state, register)
            if status == L.NEED_LOWER:
                return status, state
            if status == L.EXIT_AFTER:
                status = _add_callers(matcher, consumed, top, state_field(automaton, state, L.STATE_FINAL))
                if status != L.OK:
                    return status, top
                continue
        if consumed or (byte < 0 and state == L.DONE):
            status = _add_found(matcher, state, register, top)
            if status != L.OK:
                return status, state
            continue
        value = transition(automaton, state, byte) if byte >= 0 else 0
        if value > 0:
            status = _add_item(matcher, L.FORK_CONSUMED, value, register, top)
            if status != L.OK:
                return status, state
            continue
        final = state_field(automaton, state, L.STATE_FINAL) if kind & L.FORK_CLOSED == 0 else -1
        if value == 0 or value == L.REJECT:
            if final >= 0 and (byte < 0 or state_field(automaton, state, L.STATE_ELSE) != L.NOTHING_FOLLOWS):
                status = _add_callers(matcher, 0, top, final)
                if status != L.OK:
                    return status, top
            continue
        action = -value
        actions = load_i64(automaton, L.AUTOMATON_ACTIONS)
        while action != 0:
            record = action * L.ACTION_SIZE
            what, target = load_i32(actions, record + L.ACTION_KIND), load_i32(actions, record + L.ACTION_TARGET)
            if what == L.LEAVE:
                status = _add_callers(matcher, 0, top, target) if kind & L.FORK_CLOSED == 0 else L.OK
            elif what == L.MOVE:
                status = _add_item(matcher, L.FORK_CONSUMED, target, register, top)
            else:
                node = intern_node(matcher, load_i32(actions, record + L.ACTION_BLOCK), register, top, 0)
                if node < 0:
                    return L.NEED_NODES, state
                status = _add_call(matcher, number, what, target, node)  # CALL is FORK_CONSUMED, CALL_BEFORE is not
            if status != L.OK:
                return status, top
            action = load_i32(actions, record + L.ACTION_ALSO)
    return L.OK, 0


@part
def _join_found(matcher):
    """The configuration of all ways on: (status, state, register, node)."""
    found, count = load_i64(matcher, L.MATCHER_FOUND), load_i64(matcher, L.MATCHER_FOUND_COUNT)
    some = load_i64(matcher, L.MATCHER_LEFT_COUNT) > 0
    if count == 0:
        return (L.EXIT_SOME if some else L.REJECTED), 0, 0, 0
    status = L.EXIT_SOME if some else L.OK
    if count == 1:
        return status, load_i32(found, 0), load_i32(found, 1), load_i32(found, 2)
    cell = _intern_found(matcher)
    if cell < 0:
        return L.NEED_NODES, 0, 0, 0
    return status, L.SPLIT, 0, cell


@part
def _intern_found(matcher):
    """The set of all ways on; -1 when there is no room."""
    found, count = load_i64(matcher, L.MATCHER_FOUND), load_i64(matcher, L.MATCHER_FOUND_COUNT)
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
            return -1
    return cell


@part
def close(automaton, matcher, node):
    """Find the closure of a permanent node, and of those below that it takes: a status, and what it is about.

    There are no temporary nodes; the nodes that are made are permanent.
    """
    waiting = load_i64(matcher, L.MATCHER_FORK)
    store_i32(waiting, 0, node)
    depth = 1
    while depth > 0:
        node = load_i32(waiting, depth - 1)
        if node_field(matcher, node, L.NODE_CLOSURE) != 0:
            depth -= 1
            continue
        store_i64(matcher, L.MATCHER_FOUND_COUNT, 0)
        store_i64(matcher, L.MATCHER_LEFT_COUNT, 0)
        status, need = _gather_closure(automaton, matcher, node)
        if status == L.NEED_CLOSURE:
            if depth >= load_i64(matcher, L.MATCHER_FORK_CAP):
                return L.NEED_FORKS, 0
            store_i32(waiting, depth, need)
            depth += 1
            continue
        if status == L.REJECTED:
            cell = L.NO_CLOSURE
        elif status == L.OK:
            cell = _intern_found(matcher)
            if cell < 0:
                return L.NEED_NODES, 0
        else:
            return status, need
        nodes = load_i64(matcher, L.MATCHER_NODES)
        store_i32(nodes, node * L.NODE_SIZE + L.NODE_CLOSURE, cell)
        keep(matcher)
        depth -= 1
    return L.OK, 0


@part
def _gather_closure(automaton, matcher, cell):
    """Find what goes on after the frame above a set has ended: (status, what it is about).

    REJECTED: a caller ends with another result code than 0, so that there is no closure.
    """
    while cell != 0:
        status, state, register = enter_here(
            automaton,
            node_field(matcher, cell, L.NODE_BLOCK),
            node_field(matcher, cell, L.NODE_REGISTER),
        )
        if status == L.NEED_LOWER:
            return status, state
        below = node_field(matcher, cell, L.NODE_PARENT)
        if status == L.OK:
            status = _add_found(matcher, state, register, below)
            if status != L.OK:
                return status, state
        final = state_field(automaton, state, L.STATE_FINAL)
        if final > 0:
            return L.REJECTED, state
        if final == 0:
            if below == 0:
                status = _add_found(matcher, node_field(matcher, 0, L.NODE_BLOCK), 0, 0)
                if status != L.OK:
                    return status, state
            else:
                beyond = node_field(matcher, below, L.NODE_CLOSURE)
                if beyond == 0:
                    return L.NEED_CLOSURE, below
                if beyond == L.NO_CLOSURE:
                    return L.REJECTED, state
                while beyond != 0:
                    status = _add_found(
                        matcher,
                        node_field(matcher, beyond, L.NODE_BLOCK),
                        node_field(matcher, beyond, L.NODE_REGISTER),
                        node_field(matcher, beyond, L.NODE_PARENT),
                    )
                    if status != L.OK:
                        return status, state
                    beyond = node_field(matcher, beyond, L.NODE_ALSO)
        cell = node_field(matcher, cell, L.NODE_ALSO)
    return L.OK, 0


@part
def fork(automaton, matcher, state, register, top, byte):
    """One byte from a configuration that may have several ways on: all of them."""
    _begin_fork(matcher)
    if state == L.SPLIT:
        while top != 0:
            below = node_field(matcher, top, L.NODE_PARENT)
            block, count = node_field(matcher, top, L.NODE_BLOCK), node_field(matcher, top, L.NODE_REGISTER)
            status = _add_item(matcher, L.FORK_ENTERED, block, count, below)
            if status != L.OK:
                return status, state, register, top
            top = node_field(matcher, top, L.NODE_ALSO)
    else:
        _add_item(matcher, L.FORK_ENTERED, state, register, top)  # there is room for one
    status, need = _read_items(automaton, matcher, byte)
    if status != L.OK:
        return status, need, register, top
    return _join_found(matcher)


@part
def leave(automaton, matcher, top, result):
    """Where the callers `top` go on after their frame has ended with a result code; `top` is not a scratch's bottom."""
    if node_field(matcher, top, L.NODE_ALSO) == 0:
        status, state, register, below = enter(
            automaton,
            matcher,
            node_field(matcher, top, L.NODE_BLOCK) + result,
            node_field(matcher, top, L.NODE_REGISTER),
            node_field(matcher, top, L.NODE_PARENT),
        )
        if status != L.FORKS:
            return status, state, register, below
    _begin_fork(matcher)
    status = _add_callers(matcher, L.FORK_CONSUMED, top, result)
    if status != L.OK:
        return status, 0, 0, 0
    status, need = _read_items(automaton, matcher, -1)
    if status != L.OK:
        return status, need, 0, 0
    return _join_found(matcher)


@part
def _end(automaton, matcher, top, result):
    """Where the one caller `top` goes on when its frame ends before a byte with a result code: as a step answers."""
    block = node_field(matcher, top, L.NODE_BLOCK)
    if block < 0:
        return L.EXIT_BEFORE, result, 0, 0
    status, state, register, below = enter(
        automaton,
        matcher,
        block + result,
        node_field(matcher, top, L.NODE_REGISTER),
        node_field(matcher, top, L.NODE_PARENT),
    )
    return (L.EXIT_BEFORE if status == L.EXIT_AFTER else status), state, register, below


@part
def step(automaton, matcher, state, register, top, byte):
    """One byte. The nodes it makes lie above MATCHER_NODE_COUNT as it was; the caller takes them back or keeps them."""
    if state == L.SPLIT:
        return fork(automaton, matcher, state, register, top, byte)
    first_state, first_register, first_top = state, register, top
    base = load_i64(matcher, L.MATCHER_NODE_COUNT)
    ends = 0
    while True:
        value = transition(automaton, state, byte)
        if value > 0:
            status, state, register, top = enter(automaton, matcher, value, register, top)
            if status == L.FORKS:
                break
            return status, state, register, top
        if value == 0 or value == L.REJECT:
            result = state_field(automaton, state, L.STATE_FINAL)
            if result < 0 or state_field(automaton, state, L.STATE_ELSE) == L.NOTHING_FOLLOWS:
                return L.REJECTED, state, register, top
            ends += 1
            if ends > _MANY_ENDS or node_field(matcher, top, L.NODE_ALSO) != 0:
                break
            status, state, register, top = _end(automaton, matcher, top, result)
            if status == L.FORKS:
                break
            if status != L.OK:
                return status, state, register, top
            continue
        action = -value * L.ACTION_SIZE
        actions = load_i64(automaton, L.AUTOMATON_ACTIONS)
        if load_i32(actions, action + L.ACTION_ALSO) != 0:
            break
        if load_i32(actions, action + L.ACTION_KIND) == L.LEAVE:
            if node_field(matcher, top, L.NODE_ALSO) != 0:
                break
            status, state, register, top = _end(automaton, matcher, top, load_i32(actions, action + L.ACTION_TARGET))
            if status == L.FORKS:
                break
            if status != L.OK:
                return status, state, register, top
            continue
        pushed = push(matcher, load_i32(actions, action + L.ACTION_BLOCK), register, top)
        if pushed < 0:
            return L.NEED_NODES, state, register, top
        top = pushed
        consume = load_i32(actions, action + L.ACTION_KIND)
        status, state, register, top = enter(automaton, matcher, load_i32(actions, action + L.ACTION_TARGET), 0, top)
        if status == L.FORKS:
            break
        if status == L.EXIT_AFTER and consume == 0:
            return L.EXIT_BEFORE, state, register, top
        if status != L.OK or consume == 1:
            return status, state, register, top
    truncate(matcher, base)
    return fork(automaton, matcher, first_state, first_register, first_top, byte)


@part
def complete(automaton, matcher, state, top):
    """OK when the text so far is a whole sentence, else REJECTED (or NEED_*)."""
    ends = 0
    while state != L.DONE:
        ends += 1
        if state == L.SPLIT or ends > _MANY_ENDS:
            break
        result = state_field(automaton, state, L.STATE_FINAL)
        if result < 0 or state == L.ENDED:
            return L.REJECTED, state
        if node_field(matcher, top, L.NODE_ALSO) != 0:
            break
        below = node_field(matcher, top, L.NODE_PARENT)
        status, after, _, below = enter(
            automaton,
            matcher,
            node_field(matcher, top, L.NODE_BLOCK) + result,
            node_field(matcher, top, L.NODE_REGISTER),
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
    status, state, _, _ = fork(automaton, matcher, state, 0, top, -1)
    truncate(matcher, base)
    return status, state
