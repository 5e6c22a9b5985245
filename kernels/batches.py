"""Kernels that serve many matchers in one call. Those that fill masks run without the interpreter lock, in several threads.

    fill_warm      one thread: masks that the matchers remember are copied, the others are listed
    fill_cold      any number of threads at once: each takes the next of the list until there is none
    accept_tokens  one thread, with the interpreter lock: a token for each matcher
    go_on          the same, and the masks behind the tokens that the matchers remember

Without the interpreter lock nothing but the caller's hold of the automata's locks keeps the tables from changing under a
kernel (runtime/batch.py); matchers are private, so that two threads never write to the same memory.

What one matcher does is called at its address: named, it would be compiled again for each of these kernels.
"""

from __future__ import annotations

from maskwright.kernels import layout as L
from maskwright.kernels.jit import kernel, nogil_kernel, part
from maskwright.kernels.mask_memo import remembered, row_key
from maskwright.kernels.memory import call, fetch_add, load_i64, store_i64

# Callees: 6131e7340c2d

__all__ = ["accept_tokens", "fill_cold", "fill_warm", "find_ended", "go_on"]


@part
def _addresses(batch, number):
    """Headers of the automaton and of the matcher."""
    pairs = load_i64(batch, L.BATCH_MATCHERS)
    return load_i64(pairs, 2 * number), load_i64(pairs, 2 * number + 1)


@part
def _fill(batch, number):
    automaton, matcher = _addresses(batch, number)
    row = load_i64(load_i64(batch, L.BATCH_ROWS), number)
    out = load_i64(batch, L.BATCH_OUT) + row * load_i64(batch, L.BATCH_STRIDE)
    return call(load_i64(batch, L.BATCH_FILL), automaton, matcher, out)


@nogil_kernel
def fill_warm(batch):
    """Fill the rows whose masks are remembered; how many are not, and are listed in TODO, with those that Python restricts.

    STATUS of what is listed: RESTRICT, or NEED_ROW.
    """
    todo, statuses, count = load_i64(batch, L.BATCH_TODO), load_i64(batch, L.BATCH_STATUS), 0
    for number in range(load_i64(batch, L.BATCH_COUNT)):
        automaton, matcher = _addresses(batch, number)
        status = _fill(batch, number) if remembered(automaton, matcher) else L.NEED_ROW
        if status != L.OK:
            store_i64(statuses, number, L.RESTRICT if status == L.RESTRICT else L.NEED_ROW)
            store_i64(todo, count, number)
            count += 1
    store_i64(batch, L.BATCH_TODO_COUNT, count)
    return count


@nogil_kernel
def fill_cold(batch):
    """Fill rows of TODO until there are none left, STATUS says how each went; other threads may do the same.

    A configuration is walked for a while before its row turns out to be worth computing. So that this happens once a row
    and not once a matcher, such configurations are noted. Threads that overwrite each other's notes lose time only, and
    so do two configurations with the same mark: a row that is computed without need is as good as the walk.
    """
    todo, count = load_i64(batch, L.BATCH_TODO), load_i64(batch, L.BATCH_TODO_COUNT)
    statuses, wanted = load_i64(batch, L.BATCH_STATUS), load_i64(batch, L.BATCH_WANTED)
    while True:
        place = fetch_add(batch, L.BATCH_NEXT, 1)
        if place >= count:
            return
        number = load_i64(todo, place)
        automaton, matcher = _addresses(batch, number)
        key = row_key(automaton, load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER))
        mark = automaton ^ (key * 0x9E3779B1)
        slot = (mark ^ (mark >> 15)) & (L.WANTED - 1)
        if load_i64(wanted, slot) == mark:
            store_i64(matcher, L.MATCHER_NEED, key)
            status = L.NEED_ROW
        else:
            status = _fill(batch, number)
            if status == L.NEED_ROW and load_i64(matcher, L.MATCHER_NEED) == key:
                store_i64(wanted, slot, mark)
        store_i64(statuses, number, status)
        store_i64(load_i64(batch, L.BATCH_KEYS), number, load_i64(matcher, L.MATCHER_NEED))


@kernel
def find_ended(batch):
    """The first matcher whose text has ended, or -1."""
    for number in range(load_i64(batch, L.BATCH_COUNT)):
        if load_i64(_addresses(batch, number)[1], L.MATCHER_STATE) == L.ENDED:
            return number
    return -1


@kernel
def accept_tokens(batch):
    """Move each matcher over its token (in range, the text not ended): STATUS is OK, REJECTED or NEED_* for each.

    NEED_LOWER for those that have no token.
    """
    tokens, statuses = load_i64(batch, L.BATCH_TOKENS), load_i64(batch, L.BATCH_STATUS)
    for number in range(load_i64(batch, L.BATCH_COUNT)):
        automaton, matcher = _addresses(batch, number)
        token = load_i64(tokens, number)
        status = L.NEED_LOWER
        if token != L.NO_TOKEN:
            status = call(load_i64(batch, L.BATCH_ACCEPT), automaton, matcher, token)
        store_i64(statuses, number, status)


@kernel
def go_on(batch):
    """Move each matcher over its token and fill the next mask: how many are not through, and listed in TODO.

    Those have ended, or their STATUS is not OK (NEED_LOWER for a token that is none), or they do not remember the mask.
    """
    tokens, statuses = load_i64(batch, L.BATCH_TOKENS), load_i64(batch, L.BATCH_STATUS)
    todo, count = load_i64(batch, L.BATCH_TODO), 0
    for number in range(load_i64(batch, L.BATCH_COUNT)):
        automaton, matcher = _addresses(batch, number)
        token, status = load_i64(tokens, number), L.NEED_LOWER
        if 0 <= token < load_i64(automaton, L.AUTOMATON_VOCABULARY):
            status = call(load_i64(batch, L.BATCH_ACCEPT), automaton, matcher, token)
        if (
            status != L.OK
            or load_i64(matcher, L.MATCHER_STATE) == L.ENDED
            or not remembered(automaton, matcher)
            or _fill(batch, number) != L.OK
        ):
            store_i64(todo, count, number)
            count += 1
        store_i64(statuses, number, status)
    return count
