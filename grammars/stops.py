"""Free text up to what ends it, as a node: a text, a *stop*, and what the stop stands for.

    free_text([stop(("<function=",), make_call), ...], excludes=["<think>"], end=End.of([("</answer>",)]), place="/format")

A trigger is a stop, and so is the end of the tag around free text; behind each of them its own grammar goes on. What may
wait until a text has come to it becomes a Switch, so that hundreds of stops cost little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from maskwright.grammars import regular
from maskwright.grammars.errors import InvalidError
from maskwright.grammars.free_text import FreeText
from maskwright.grammars.pieces import Pieces, rest, written
from maskwright.grammars.regular import ANY_STRING, EMPTY
from maskwright.grammars.rule_nodes import EMPTY_TEXT, choice, sequence
from maskwright.grammars.rules import Node, Switch, Text

__all__ = ["NO_END", "End", "Stop", "free_text", "stop"]


class Stop(NamedTuple):
    """What ends free text.

    Attributes:
        text: the string that does, or the text before a special token that does.
        then: makes what follows the text.
        after: what follows that.
        special: whether `then` begins with a special token, which is what ends the text.
        late: whether `then` may wait until a text has come to it (rules.Switch).
    """

    text: str
    then: Callable[[], Node]
    after: Node = EMPTY_TEXT
    special: bool = False
    late: bool = False


def stop(pieces: Pieces, then: Callable[[], Node], after: Node = EMPTY_TEXT, late: bool = False) -> Stop:
    """Pieces that end free text as soon as they are complete, and what follows them."""
    if len(pieces) == 1 and isinstance(pieces[0], str):
        return Stop(pieces[0], then, after, False, late)
    text = pieces[0] if isinstance(pieces[0], str) else ""
    behind = pieces[1:] if text else pieces
    return Stop(text, lambda: sequence([written(behind), then()]), after, True)


class End(NamedTuple):
    """What follows a format: any of some strings of pieces.

    Attributes:
        ways: the strings.
        node: all of them as a node.
    """

    ways: tuple[Pieces, ...] = ()
    node: Node = EMPTY_TEXT

    @classmethod
    def of(cls, ways: tuple[Pieces, ...]) -> End:
        """Any of some strings, none of them empty."""
        return cls(ways, choice(map(written, ways)))

    @property
    def texts(self) -> tuple[str, ...]:
        """Those that are texts: free text before the end does not contain them."""
        return tuple(text for way in self.ways for text in way if len(way) == 1 and isinstance(text, str))


NO_END = End()


def free_text(stops: Iterable[Stop], excludes: Iterable[str], end: End, place: str) -> Node:
    """Free text up to a stop and what follows that; where no end follows, it may end anywhere.

    Args:
        excludes: strings that the text does not contain before it stops.
        end: what follows the whole, which is a stop, too.
        place: a JSON Pointer, for errors.

    Raises:
        InvalidError: a stop can never be completed.
    """
    every = [*stops, *(stop(way, partial(written, ())) for way in end.ways)]
    texts = list(dict.fromkeys(one.text for one in every if not one.special))
    numbers = {text: number for number, text in enumerate(texts)}
    free = FreeText(texts, filter(None, excludes))
    # A longer stop that begins with another goes on behind it.
    behind: list[list[Stop]] = [[] for _ in texts]
    for one in every:
        if not one.special:
            behind[_beginning(free, numbers[one.text], place)].append(one)
    ways: list[Node] = []
    late: list[int] = []
    for number, here in enumerate(behind):
        if not here:
            continue
        if all(one.late for one in here) and not free.overlaps:
            late.append(number)
        elif (language := free.until(number)) is not EMPTY:
            ways += [
                sequence([Text(language), written(rest((one.text,), (texts[number],))), one.then(), one.after])
                for one in here
            ]
    if late:
        after = next(one.after for one in every if one.late)
        switch = Switch(free.reader(late), late, lambda number: _behind(texts[number], behind[number]))
        ways.append(sequence([switch, after]))
    for one in every:
        if one.special:
            last = regular.concat(ANY_STRING, regular.literal(one.text)) if one.text else ANY_STRING
            before = Text(regular.intersect(free.without(), last))
            ways.append(sequence([before, one.then(), one.after]))
    if not end.ways:
        ways.append(Text(free.without()))
    return choice(ways)


def _behind(text: str, stops: Iterable[Stop]) -> Node:
    """What follows the first of some stops that begin with it."""
    return choice(sequence([written(rest((one.text,), (text,))), one.then()]) for one in stops)


def _beginning(free: FreeText, number: int, place: str) -> int:
    """The stop that one begins with: itself, or one that is complete before."""
    text, first = free.stops[number], free.first(number)
    for other in first:
        if other == number or text.startswith(free.stops[other]):
            return other
    earlier = free.stops[next(iter(first))]
    raise InvalidError(
        f"{text!r} can never be completed: it contains {earlier!r}, which is complete before",
        pointer=place,
        hint="drop one of them",
    )
