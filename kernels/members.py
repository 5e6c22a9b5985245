"""Lays the states between the members of an object into the automaton's tables.

The simple version: compile/objects.py, which makes them one by one for the objects that need more than this.
"""

from __future__ import annotations

from numba import njit

from maskwright.kernels import layout as L
from maskwright.kernels.memory import load_i32, load_i64, store_i32

# Callees: 3139efe50291

__all__ = ["lay_members"]


@njit(cache=True)
def _publish(states, state, row, byte_map):
    record = state * L.STATE_SIZE
    store_i32(states, record + L.STATE_ROW, row)
    store_i32(states, record + L.STATE_MAP, byte_map)
    store_i32(states, record + L.STATE_FINAL, -1)
    store_i32(states, record + L.STATE_OP, L.OP_NONE)
    store_i32(states, record + L.STATE_ARG, 0)
    store_i32(states, record + L.STATE_SAFE, 0)
    store_i32(states, record + L.STATE_ELSE, 0)
    store_i32(states, record + L.STATE_ALIAS, state)


@njit(cache=True)
def _call(actions, number, target, block, kind):
    """Write a call; its transition value."""
    record = number * L.ACTION_SIZE
    store_i32(actions, record + L.ACTION_TARGET, target)
    store_i32(actions, record + L.ACTION_BLOCK, block)
    store_i32(actions, record + L.ACTION_KIND, kind)
    store_i32(actions, record + L.ACTION_ALSO, 0)
    return -number


@njit(cache=True)
def lay_members(automaton, plan, state, first, row, action):
    """Publish the state after a member (or after `{`), and those after the keys that may come next.

    A state with white space before it is a pair with one row: in the first a white-space byte calls the frame of white
    space, which returns to the second.

        state      `}` -> CLOSING, `,` -> comma       (after `{`: `"` as below instead of the comma)
        comma      `"` -> call of KEYS, returning to BLOCK + result code
        after key  `:` -> colon                       state BLOCK + code of each key
        colon      any byte -> call of the key's value before it, returning to what follows the member

    Args:
        automaton: address of the automaton's header; the tables have room for MEMBERS_STATES + 3 * keys more states,
            MEMBERS_TRANSITIONS + 5 * keys transitions and MEMBERS_ACTIONS + 3 * keys actions.
        plan: address of int32 PLAN_* (kernels/layout.py).
        state: the state to publish; the block has been allocated, too.
        first, row, action: the first free numbers of states, transitions and actions.
    """
    states, transitions = load_i64(automaton, L.AUTOMATON_STATES), load_i64(automaton, L.AUTOMATON_TRANSITIONS)
    actions = load_i64(automaton, L.AUTOMATON_ACTIONS)
    blank, block = load_i32(plan, L.PLAN_BLANK), load_i32(plan, L.PLAN_BLOCK)
    maps = plan + 4 * L.PLAN_MAPS
    for number in range(load_i32(plan, L.PLAN_COUNT)):
        key = plan + 4 * (L.PLAN_KEYS + 3 * number)
        after_key = block + load_i32(key, 0)
        store_i32(transitions, row, 0)
        store_i32(transitions, row + 1, first + 1)
        store_i32(transitions, row + 2, _call(actions, action, blank, first, L.CALL))
        value = _call(actions, action + 1, load_i32(key, 1), load_i32(key, 2), L.CALL_BEFORE)
        store_i32(transitions, row + 3, value)
        store_i32(transitions, row + 4, _call(actions, action + 2, blank, first + 2, L.CALL))
        _publish(states, first, row, load_i32(maps, L.MAP_COLON))
        _publish(states, first + 1, row + 3, load_i32(maps, L.MAP_VALUE + 1))
        _publish(states, first + 2, row + 3, load_i32(maps, L.MAP_VALUE))
        _publish(states, after_key, row, load_i32(maps, L.MAP_COLON + 1))
        first, row, action = first + 3, row + 5, action + 3
    keys = load_i32(plan, L.PLAN_TRIE)
    quote = _call(actions, action, keys, block, L.CALL) if keys != 0 else 0
    opened = load_i32(plan, L.PLAN_OPENED)
    comma = first + 1 if keys != 0 and opened == 0 else 0
    store_i32(transitions, row, 0)
    store_i32(transitions, row + 1, load_i32(plan, L.PLAN_CLOSING))
    store_i32(transitions, row + 2, quote if opened != 0 else comma)
    store_i32(transitions, row + 3, _call(actions, action + 1, blank, first, L.CALL))
    if comma != 0:
        store_i32(transitions, row + 4, 0)
        store_i32(transitions, row + 5, quote)
        store_i32(transitions, row + 6, _call(actions, action + 2, blank, comma + 1, L.CALL))
        _publish(states, comma + 1, row + 4, load_i32(maps, L.MAP_COMMA))
        _publish(states, comma, row + 4, load_i32(maps, L.MAP_COMMA + 1))
    which = L.MAP_OPENED if opened != 0 else L.MAP_MEMBER
    _publish(states, first, row, load_i32(maps, which))
    _publish(states, state, row, load_i32(maps, which + 1))
