"""Lays the states between the members of an object into the automaton's tables.

Of an object's members so far counts which named keys may still come: a *place*, a set of them, bit n for number n. The
simple version: compile/objects.py, which makes one state after the other, for the objects of which more counts.
"""

from __future__ import annotations

from maskwright.kernels import layout as L
from maskwright.kernels.jit import kernel, part
from maskwright.kernels.memory import load_i32, load_i64, store_i32, store_i64
from maskwright.kernels.words import lay_words, publish

# Callees: 5864bba3aefc

__all__ = ["lay_places"]


@part
def _call(automaton, cursor, target, block, kind):
    """Write a call; its transition value."""
    number = load_i64(cursor, 3)
    store_i64(cursor, 3, number + 1)
    actions, record = load_i64(automaton, L.AUTOMATON_ACTIONS), number * L.ACTION_SIZE
    store_i32(actions, record + L.ACTION_TARGET, target)
    store_i32(actions, record + L.ACTION_BLOCK, block)
    store_i32(actions, record + L.ACTION_KIND, kind)
    store_i32(actions, record + L.ACTION_ALSO, 0)
    return -number


@part
def _allocate(automaton, cursor, count):
    """Numbers for so many states that are not lowered; the first of them."""
    first = load_i64(cursor, 0)
    states = load_i64(automaton, L.AUTOMATON_STATES)
    for field in range(first * L.STATE_SIZE, (first + count) * L.STATE_SIZE):
        store_i32(states, field, -1)
    store_i64(cursor, 0, first + count)
    return first


@part
def _state_at(automaton, cursor, plan, place):
    """The state after a member at a place; a new one where there is none."""
    places, count = load_i64(plan, L.PLAN_PLACES), load_i64(plan, L.PLAN_PLACE_COUNT)
    for number in range(count - 1, -1, -1):
        if load_i64(places, 2 * number) == place:
            return load_i64(places, 2 * number + 1)
    state = _allocate(automaton, cursor, 1)
    store_i64(places, 2 * count, place)
    store_i64(places, 2 * count + 1, state)
    store_i64(plan, L.PLAN_PLACE_COUNT, count + 1)
    return state


@part
def _publish_pair(automaton, plan, which, state, behind, row, mark, argument):
    """Publish a state, and the one behind its white space, with one row; `mark`: SPACED or SPACED_VALUE, `argument`: ARG."""
    states = load_i64(automaton, L.AUTOMATON_STATES)
    publish(states, behind, row, load_i64(plan, L.PLAN_MAPS + which), -1, L.OP_NONE, 0, 0)
    publish(states, state, row, load_i64(plan, L.PLAN_MAPS + which + 1), -1, L.OP_NONE, argument, mark)


@part
def _lay_after_key(automaton, cursor, plan, state, code, after):
    """Publish `state`, after the key of a code; `after` is the place behind its value."""
    transitions, blank = load_i64(automaton, L.AUTOMATON_TRANSITIONS), load_i64(plan, L.PLAN_BLANK)
    end = _state_at(automaton, cursor, plan, after)
    first, row = _allocate(automaton, cursor, 3), load_i64(cursor, 1)
    store_i64(cursor, 1, row + 5)
    store_i32(transitions, row, 0)
    store_i32(transitions, row + 1, first + 1)
    store_i32(transitions, row + 2, _call(automaton, cursor, blank, first, L.CALL))
    value = load_i64(plan, L.PLAN_VALUES) + code
    store_i32(transitions, row + 3, _call(automaton, cursor, value, end, L.CALL_BEFORE))
    store_i32(transitions, row + 4, _call(automaton, cursor, blank, first + 2, L.CALL))
    argument = L.OTHER_KEY if code < load_i64(plan, L.PLAN_CLASSES) else 0
    _publish_pair(automaton, plan, L.MAP_VALUE, first + 1, first + 2, row + 3, L.SPACED_VALUE, 0)
    _publish_pair(automaton, plan, L.MAP_COLON, state, first, row, L.SPACED, argument)


@part
def _allowed_keys(plan, open_):
    """The named keys that may come next where those of `open_` may still come: all but those that close a needed one."""
    before, missing = load_i64(plan, L.PLAN_BEFORE), load_i64(plan, L.PLAN_NEEDED) & open_
    candidates, found = load_i64(plan, L.PLAN_OPEN) & open_, 0
    for key in range(load_i64(plan, L.PLAN_KEYS)):
        if (candidates >> key) & 1 == 1 and missing & load_i64(before, key) == 0:
            found |= 1 << key
    return found


@part
def _lay_keys(automaton, cursor, plan, allowed, others):
    """Lay the keys that may come next: (need, the state after their quote); see lay_words."""
    chosen, results = load_i64(plan, L.WORDS_CHOSEN), load_i64(plan, L.WORDS_RESULTS)
    inside = load_i64(plan, L.PLAN_INSIDE) if others else 0
    otherwise = load_i64(plan, L.PLAN_OTHERWISE) if others else 0
    count = 0
    for word in range(load_i64(plan, L.PLAN_WORDS)):
        key = load_i64(load_i64(plan, L.PLAN_WORD_KEYS), word)
        if ((allowed | inside) >> key) & 1 == 1:
            store_i32(chosen, count, word)
            result = load_i64(plan, L.PLAN_CLASSES) + key if (allowed >> key) & 1 == 1 else -1
            store_i32(results, count, result)
            count += 1
    if count == 0:
        return 0, otherwise
    return lay_words(automaton, cursor, plan, count, otherwise, load_i64(plan, L.PLAN_ANY))


@part
def _lay_block(automaton, cursor, plan, open_, allowed, others):
    """Lay the states after the keys that may come next; the first of the block."""
    shared = load_i64(plan, L.PLAN_SHARED)
    block = load_i64(plan, L.PLAN_BLOCK)
    if shared == 1 and block != 0:
        return block
    keys, classes = load_i64(plan, L.PLAN_KEYS), load_i64(plan, L.PLAN_CLASSES)
    block = _allocate(automaton, cursor, classes + keys)
    store_i64(plan, L.PLAN_BLOCK, block)
    if shared == 1:  # what follows a key does not depend on the keys before it
        open_, allowed = (1 << keys) - 1, load_i64(plan, L.PLAN_OPEN)
    before = load_i64(plan, L.PLAN_BEFORE)
    for key in range(keys):
        if (allowed >> key) & 1 == 1:
            after = open_ & ~(load_i64(before, key) | 1 << key)
            _lay_after_key(automaton, cursor, plan, block + classes + key, classes + key, after)
    if others:
        after = open_ & ~load_i64(plan, L.PLAN_OTHER_BEFORE)
        for number in range(load_i64(plan, L.PLAN_OTHER_COUNT)):
            code = load_i64(load_i64(plan, L.PLAN_OTHERS), number)
            _lay_after_key(automaton, cursor, plan, block + code, code, after)
    return block


@part
def _lay_place(automaton, cursor, plan, place, keys):
    """Publish the state at a place: (need, the next place, or -1 where no named key may come)."""
    open_ = place & ~L.OPENED
    allowed = _allowed_keys(plan, open_)
    others = load_i64(plan, L.PLAN_OTHER_COUNT) > 0
    others = others and load_i64(plan, L.PLAN_NEEDED) & open_ & load_i64(plan, L.PLAN_OTHER_BEFORE) == 0
    state = _state_at(automaton, cursor, plan, place)
    quote, after = 0, -1
    if allowed != 0 or others:
        if keys == 0:
            need, keys = _lay_keys(automaton, cursor, plan, allowed, others)
            if need != 0:
                return need, -1
        block = _lay_block(automaton, cursor, plan, open_, allowed, others)
        quote = _call(automaton, cursor, keys, block, L.CALL)
        if allowed != 0:
            key = 0
            while (allowed >> key) & 1 == 0:
                key += 1
            after = open_ & ~(load_i64(load_i64(plan, L.PLAN_BEFORE), key) | 1 << key)
    transitions, blank = load_i64(automaton, L.AUTOMATON_TRANSITIONS), load_i64(plan, L.PLAN_BLANK)
    first, row = _allocate(automaton, cursor, 3), load_i64(cursor, 1)
    store_i64(cursor, 1, row + 7)
    opened = place != open_
    comma = first + 1 if quote != 0 and not opened else 0
    closes = load_i64(plan, L.PLAN_NEEDED) & open_ == 0
    store_i32(transitions, row, 0)
    store_i32(transitions, row + 1, load_i64(plan, L.PLAN_CLOSING) if closes else 0)
    store_i32(transitions, row + 2, quote if opened else comma)
    store_i32(transitions, row + 3, _call(automaton, cursor, blank, first, L.CALL))
    store_i32(transitions, row + 4, 0)
    store_i32(transitions, row + 5, quote)
    store_i32(transitions, row + 6, _call(automaton, cursor, blank, first + 2, L.CALL))
    _publish_pair(automaton, plan, L.MAP_COMMA, first + 1, first + 2, row + 4, L.SPACED, 0)
    _publish_pair(automaton, plan, L.MAP_OPENED if opened else L.MAP_MEMBER, state, first, row, L.SPACED, 0)
    return 0, after


@kernel
def lay_places(automaton, cursor, plan, place, keys, most):
    """Publish the state at a place and, at most `most` of them, at those where a text comes to with every key in order.

    A state with white space before it is a pair with one row: in the first a white-space byte calls the frame of white
    space, which returns to the second.

        place      `}` -> CLOSING, `,` -> comma       (after `{`, with the bit OPENED: `"` as below instead of the comma)
        comma      `"` -> call of the keys, returning to block + result code
        after key  `:` -> colon                       state block + code of each key
        colon      any byte -> call of the key's value before it, returning to the place behind it

    Args:
        automaton: the tables, with room for all that is laid (SimpleObject._reserve).
        cursor: address of int64 [4]: how many states, transitions, bytes of maps and actions are in use; changed.
        plan: address of int64 PLAN_* (kernels/layout.py), with room for more places.
        keys: the state after the quote of a key where that has been laid, or 0.

    Returns:
        need > 0: a state that must be lowered first, -1: the keys cannot be laid by lay_words; then nothing was laid.
    """
    laid = 0
    while laid < most and place >= 0:
        state = _state_at(automaton, cursor, plan, place)
        if load_i32(load_i64(automaton, L.AUTOMATON_STATES), state * L.STATE_SIZE + L.STATE_ALIAS) >= 0:
            break
        states, row, maps, actions = load_i64(cursor, 0), load_i64(cursor, 1), load_i64(cursor, 2), load_i64(cursor, 3)
        count = load_i64(plan, L.PLAN_PLACE_COUNT)
        need, place = _lay_place(automaton, cursor, plan, place, keys)
        if need != 0:
            store_i64(cursor, 0, states)
            store_i64(cursor, 1, row)
            store_i64(cursor, 2, maps)
            store_i64(cursor, 3, actions)
            store_i64(plan, L.PLAN_PLACE_COUNT, count)
            return need if laid == 0 else 0
        laid += 1
    return 0
