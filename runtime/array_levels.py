"""What is known of a text whose arrays have or lack equal items: a level for each such array that is open.

Immutable, so that going back is keeping older ones; who follows a matcher's text with them: runtime/unique_items.py, where
`rivals` and what is *owed* are told, too.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

from maskwright.compile.distinct import Distinct, Identities, Identity
from maskwright.compile.repeated import Prospect
from maskwright.runtime.cursor import Configuration
from maskwright.runtime.partial_values import WHITESPACE, Partial, feed, following, may_become

__all__ = [
    "Level",
    "Levels",
    "Text",
    "after_byte",
    "bytes_of_rivals",
    "in_scalar",
    "in_string",
    "is_astray",
    "is_behind_item",
    "is_free",
    "is_loose",
    "is_number",
    "is_stuck",
    "marks",
    "opened",
    "owes",
]


class Level(NamedTuple):
    """An array of which it matters whether items are equal, so far; all were different.

    Attributes:
        array: which one.
        top: the stack node that it lies on.
        used: its items; `length` of them.
        item: the item that is being written, also when it is complete, until `_after_item`.
        excluded: what that item, or the next, must not be.
        rivals: what of that it may still become; () where no item may come now.
        prospect: what may become of the array after the items before.
        is_behind: whether an item is complete, and nothing but white space behind it.
    """

    array: Distinct
    top: int
    used: Identities
    length: int
    item: Partial | None
    excluded: Identities
    rivals: tuple[Identity, ...]
    prospect: Prospect
    is_behind: bool = False


Levels: TypeAlias = tuple[Level, ...]
"""The innermost last."""


class Text(NamedTuple):
    """A text so far: its place in the automaton, and its open arrays whose items must differ."""

    place: Configuration
    levels: Levels

    @property
    def key(self) -> Any:
        """Equal only where the same may follow."""
        levels = self.levels
        return self.place, tuple((level.used, None if level.item is None else _item_key(level)) for level in levels)


def _item_key(level: Level) -> Any:
    """The key of the item that is being written. In 500.000000 zeros make no difference once no rival has so many digits."""
    item = level.item
    assert item is not None
    token = item.token
    if item.top is None and b"." in token and token[:1] in b"-0123456789" and b"e" not in token.lower():
        written = len(token.lstrip(b"-0.").replace(b".", b""))
        most = max((len(rival.as_tuple().digits) for rival in level.rivals if isinstance(rival, Decimal)), default=0)
        zeros = len(token) - len(token.rstrip(b"0"))
        needless = min(zeros - 1, written - most - 1)
        if written and needless > 0:
            item = item._replace(token=token[:-needless])
    return item.key


def opened(array: Distinct, top: int, prospect: Prospect) -> Level:
    excluded = array.excluded(frozenset(), 0)
    return Level(array, top, frozenset(), 0, None, excluded, tuple(excluded), prospect)


def after_byte(level: Level, byte: int) -> Level:
    """The level after a byte that does not close the array itself. A value in its item is complete: see _ended."""
    item = level.item
    if item is None:
        if byte in WHITESPACE:
            return level
        if byte == 0x2C:
            excluded = level.array.excluded(level.used, level.length)
            return level._replace(excluded=excluded, rivals=tuple(excluded), is_behind=False)
        item = Partial()
    before, item = item, feed(item, byte)
    if item is before:
        return level
    rivals = may_become(item, level.rivals, level.array.any_number) if level.rivals else ()
    return level._replace(item=item, rivals=rivals)


def is_number(level: Level) -> bool:
    """Whether a number is being written that is an item."""
    item = level.item
    return item is not None and item.top is None and bool(item.token) and not item.in_string


def is_behind_item(levels: Levels) -> bool:
    """Whether the innermost array is what `]` closes."""
    return bool(levels) and (levels[-1].item is None or is_number(levels[-1]))


def is_loose(level: Level) -> bool:
    """Whether the item can certainly become a new one, or need not."""
    if level.prospect.obliged:
        return False
    if not level.rivals or level.prospect.indifferent:
        return True
    if level.item is None:
        return level.array.is_more_than(len(level.excluded), level.length)
    return level.array.free_texts and level.item.top is None and level.item.in_string


def is_stuck(level: Level) -> bool:
    """Whether the item can certainly not become one that may be, as far as is seen without a search."""
    if level.prospect.only is not None:
        return level.item is not None and level.prospect.only.isdisjoint(level.rivals)
    if not level.rivals:
        return False
    values = level.array.values(level.length)
    if values is None or level.array.frame.repeats:
        return False
    fresh = values - level.excluded
    return not (fresh if level.item is None else may_become(level.item, fresh, level.array.any_number))


def is_free(levels: Levels) -> bool:
    return not any(level.rivals or level.prospect.obliged for level in levels)


def is_astray(levels: Levels) -> bool:
    """Whether the item of the innermost array is none of those before it any more."""
    return bool(levels) and levels[-1].item is not None and not levels[-1].rivals


def owes(levels: Levels) -> bool:
    """Whether the innermost array must still have two equal items."""
    return bool(levels) and levels[-1].prospect.owes


def in_string(levels: Levels) -> bool:
    return bool(levels) and levels[-1].item is not None and levels[-1].item.in_string


def in_scalar(levels: Levels) -> bool:
    """Whether white space would be read otherwise than between values."""
    innermost = levels[-1]
    return innermost.array.indented or innermost.item is not None and bool(innermost.item.token)


def bytes_of_rivals(levels: Levels) -> frozenset[int]:
    """The bytes after which rivals may be left."""
    found = frozenset[int]()
    for level in levels:
        if level.rivals:
            found |= following(level.item, level.rivals)
    return found


def marks(levels: Levels, tight: bool, repeating: bool) -> tuple[tuple[bytes, ...], ...]:
    """What stands in a token that begins another item: for each way bytes, or choices of them, one after the other.

    Args:
        tight: whether there are arrays whose first item is not free either.
        repeating: whether there are arrays that must have two equal items: it matters where they end, too.
    """
    opening = (b"[",) if tight or repeating else (b"[", b",")
    if not levels:
        return (opening,)
    item = levels[-1].item
    behind = b",]" if repeating else b","
    if repeating and levels[-1].array.indented:
        behind += b"\n"  # the line on which such an array ends begins before its bracket
    if item is None:
        return ((behind,), opening)
    quote = (b'"',) if item.in_string else ()
    return ((*quote, *(b"]}",) * item.depth, behind), (*quote, *opening))
