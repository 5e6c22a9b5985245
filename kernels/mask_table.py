"""Kernels of the mask table (compile/mask_table.py): the row of a matcher's next mask, and who holds which row.

The memo entry of a configuration remembers the number of its mask's row, and the serial of that row at the time: where the
row has another serial now, it has become another mask's. All of them hold the interpreter lock, so that counting holds is
one step for other threads.
"""

from __future__ import annotations

from maskwright.kernels import layout as L
from maskwright.kernels.jit import kernel, part
from maskwright.kernels.mask_memo import find_memo, row_key
from maskwright.kernels.memory import load_i32, load_i64, store_i32, store_i64
from maskwright.kernels.watching import depends_on_text

# Callees: 90df15736024

__all__ = ["give_row", "hold_row", "mask_row", "mask_rows", "release_row", "take_row"]

_NUMBER = 0xFFFFFFFF


@kernel
def hold_row(table, number):
    """One more holds the row, which counts as used."""
    holds = load_i64(table, L.TABLE_HOLDS)
    store_i32(holds, number, load_i32(holds, number) + 1)
    clock = load_i64(table, L.TABLE_CLOCK) + 1
    store_i64(table, L.TABLE_CLOCK, clock)
    store_i64(load_i64(table, L.TABLE_USED), number, clock)


@kernel
def release_row(table, number):
    """One less holds the row."""
    holds = load_i64(table, L.TABLE_HOLDS)
    store_i32(holds, number, load_i32(holds, number) - 1)


@kernel
def take_row(table):
    """The row used longest ago of those that nobody holds, held once and with a new serial; -1 when all are held."""
    holds, used = load_i64(table, L.TABLE_HOLDS), load_i64(table, L.TABLE_USED)
    found, oldest = -1, 0
    for number in range(load_i64(table, L.TABLE_COUNT)):
        if load_i32(holds, number) == 0 and (found < 0 or load_i64(used, number) < oldest):
            found, oldest = number, load_i64(used, number)
    if found >= 0:
        serials = load_i64(table, L.TABLE_SERIALS)
        store_i32(serials, found, (load_i32(serials, found) + 1) & 0x7FFFFFFF)
        hold_row(table, found)
    return found


@part
def _leave_row(matcher, table):
    """Let go of the row that a matcher holds, if any."""
    held = load_i64(matcher, L.MATCHER_HELD)
    if held > 0:
        release_row(table, held - 1)
        store_i64(matcher, L.MATCHER_HELD, 0)


@kernel
def mask_row(automaton, matcher, table):
    """The row of a matcher's next mask, which the matcher holds in place of the one before; -1 where it is not known."""
    if depends_on_text(matcher):
        return -1
    top = load_i64(matcher, L.MATCHER_TOP)
    key = row_key(automaton, load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER))
    found, entry = find_memo(matcher, key, top)
    if not found:
        return -1
    known = load_i64(entry, L.MEMO_NUMBER)
    number = known & _NUMBER
    if known < 0 or load_i32(load_i64(table, L.TABLE_SERIALS), number) != known >> 32:
        return -1
    _leave_row(matcher, table)
    hold_row(table, number)
    store_i64(matcher, L.MATCHER_HELD, number + 1)
    return number


@kernel
def give_row(automaton, matcher, table, number, remember):
    """Have a matcher hold a row that is held for it already: OK or NEED_MEMO. `remember` 1: as that of its configuration."""
    if remember == 1:
        state, register = load_i64(matcher, L.MATCHER_STATE), load_i64(matcher, L.MATCHER_REGISTER)
        key, top = row_key(automaton, state, register), load_i64(matcher, L.MATCHER_TOP)
        found, entry = find_memo(matcher, key, top)
        if not found and (state == L.SPLIT or state == L.DONE or state == L.ENDED):
            # Their masks are put together of others' entries: this one has the number only.
            count = load_i64(matcher, L.MATCHER_MEMO_COUNT)
            if 2 * count > load_i64(matcher, L.MATCHER_MEMO_MASK):
                return L.NEED_MEMO
            store_i64(entry, L.MEMO_STATE, key)
            store_i64(entry, L.MEMO_TOP, top)
            store_i64(matcher, L.MATCHER_MEMO_COUNT, count + 1)
            found = True
        if found:
            serial = load_i32(load_i64(table, L.TABLE_SERIALS), number)
            store_i64(entry, L.MEMO_NUMBER, serial << 32 | number)
    _leave_row(matcher, table)
    store_i64(matcher, L.MATCHER_HELD, number + 1)
    return L.OK


@kernel
def mask_rows(batch):
    """Write the rows of the matchers' next masks, int32, to their places in OUT; how many are not known, listed in TODO."""
    out, rows, todo = load_i64(batch, L.BATCH_OUT), load_i64(batch, L.BATCH_ROWS), load_i64(batch, L.BATCH_TODO)
    pairs, table, count = load_i64(batch, L.BATCH_MATCHERS), load_i64(batch, L.BATCH_TABLE), 0
    for number in range(load_i64(batch, L.BATCH_COUNT)):
        row = mask_row(load_i64(pairs, 2 * number), load_i64(pairs, 2 * number + 1), table)
        if row < 0:
            store_i64(todo, count, number)
            count += 1
        else:
            store_i32(out, load_i64(rows, number), row)
    return count
