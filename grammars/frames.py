"""Which nonterminals get a frame of the stack of their own, and which bytes come first in them and after them.

A call in the middle of an alternative may be expanded in place, or pushed. Expanding everything would never end where a
nonterminal contains itself with something after it (`value → [ value ]`): each circle of calls that has such an *inner*
call must go through a frame. A last call needs none, so that right recursion costs no stack.

    statement → while ( expression ) { statement* }    frames: statement, expression; everything else is expanded

Few frames make few pushes, and alternatives that begin alike stay one state. A frame that is called where its caller
begins makes the two begin alike, so of several choices the one with the fewest such calls is taken.
"""

from __future__ import annotations

from collections import Counter

from maskwright.grammars.charset import CharSet
from maskwright.grammars.components import strongly_connected
from maskwright.grammars.left_recursion import corners, first_symbols, is_nullable
from maskwright.grammars.productions import Alternative, Branch, Nonterminal, Symbol
from maskwright.grammars.regular import Regex
from maskwright.grammars.rules import SPECIAL_BYTE, Special

__all__ = ["ByteSets", "choose_frames", "leading_bytes"]

_JSON_STARTS = sum(1 << byte for byte in b'"{[tfn-0123456789')
_MAX_CANDIDATES = 64
_MANY_STATES = 400  # symbols of all expansions together: fewer are no trouble
_LEAST_SAVING = 0.3  # the share of them that another frame must save to be worth its pushes
_MOST_SYMBOLS = 1 << 40
_MAX_FOLLOWED = 40_000  # calls that are followed to choose one frame
_MIN_CANDIDATES = 32  # where that does not suffice to try so many, frames are chosen without trying them,
_SHARE = 64  # one of so many nonterminals at once
_AT_ONCE = 256  # nonterminals for each frame more that is chosen to save copies at once
_MAX_WIDTH = 200  # ways to begin that a nonterminal is expanded to


def leading_bytes(characters: CharSet) -> int:
    """The bytes with which the UTF-8 encodings of some characters begin, as bits."""
    found = 0
    for low, high in characters.ranges:
        first, last = _lead(low), _lead(high)
        found |= (1 << last + 1) - (1 << first)
    return found


def _lead(code: int) -> int:
    """The first byte of a character; they are in the order of the characters."""
    for limit, shift, mark in ((0x80, 0, 0), (0x800, 6, 0xC0), (0x10000, 12, 0xE0)):
        if code < limit:
            return mark | code >> shift
    return 0xF0 | code >> 18


class ByteSets:
    """First and following bytes of nonterminals, as bits of integers.

    Attributes:
        first: the bytes with which non-empty texts of a nonterminal begin.
        follow: the bytes that come after its texts somewhere; more than in truth where calls share rules.
    """

    def __init__(self, nonterminals: list[Nonterminal]) -> None:
        self.first: dict[Nonterminal, int] = dict.fromkeys(nonterminals, 0)
        self.follow: dict[Nonterminal, int] = dict.fromkeys(nonterminals, 0)
        changed = True
        while changed:
            changed = False
            for nonterminal in reversed(nonterminals):
                found = 0
                for alternative in nonterminal.alternatives:
                    found |= self.of(alternative)
                if found != self.first[nonterminal]:
                    self.first[nonterminal], changed = found, True
        before: dict[Nonterminal, set[Nonterminal]] = {part: set() for part in nonterminals}
        for nonterminal in nonterminals:
            for alternative in nonterminal.alternatives:
                for at, symbol in enumerate(alternative):
                    if isinstance(symbol, Nonterminal):
                        rest = alternative[at + 1 :]
                        self.follow[symbol] |= self.of(rest)
                        if all(map(is_nullable, rest)):
                            before[nonterminal].add(symbol)
        queue = list(nonterminals)
        while queue:
            nonterminal = queue.pop()
            for symbol in before[nonterminal]:
                if self.follow[nonterminal] & ~self.follow[symbol]:
                    self.follow[symbol] |= self.follow[nonterminal]
                    queue.append(symbol)

    def of(self, symbols: Alternative) -> int:
        """The bytes with which non-empty texts of some symbols begin."""
        found = 0
        for symbol, _ in first_symbols(symbols):
            found |= self._of_symbol(symbol)
        return found

    def _of_symbol(self, symbol: Symbol) -> int:
        if isinstance(symbol, Regex | Branch):
            found = self._of_endings(symbol) if isinstance(symbol, Branch) else 0
            for characters, _ in symbol.transitions():
                found |= leading_bytes(characters)
            return found
        if isinstance(symbol, Nonterminal):
            return self.first[symbol]
        return 1 << SPECIAL_BYTE if isinstance(symbol, Special) else _JSON_STARTS

    def _of_endings(self, branch: Branch) -> int:
        found = 0
        for alternative in branch.endings():
            found |= self.of(alternative)
        return found


def choose_frames(nonterminals: list[Nonterminal]) -> set[Nonterminal]:
    """The nonterminals whose inner calls are pushed; `nonterminals` are all that are reachable, none left recursive."""
    calls: dict[Nonterminal, set[Nonterminal]] = {part: set() for part in nonterminals}
    inner: dict[Nonterminal, set[Nonterminal]] = {part: set() for part in nonterminals}
    for nonterminal in nonterminals:
        for alternative in nonterminal.alternatives:
            for at, symbol in enumerate(alternative):
                if isinstance(symbol, Nonterminal):
                    calls[nonterminal].add(symbol)
                    if at + 1 < len(alternative):
                        inner[nonterminal].add(symbol)
    last = _last_calls(nonterminals)
    frames: set[Nonterminal] = set()
    order = {part: number for number, part in enumerate(nonterminals)}
    ordered = {part: sorted(called, key=order.__getitem__) for part, called in calls.items()}

    def bad(parts: list[Nonterminal], cut: set[Nonterminal]) -> list[list[Nonterminal]]:
        """The components of `parts` with an inner call inside, once inner calls of `cut` are pushed."""
        within = set(parts)

        def following(part: Nonterminal) -> list[Nonterminal]:
            return [other for other in ordered[part] if other in within and (other not in cut or other in last[part])]

        found = []
        for component in strongly_connected(parts, following):
            members = set(component)
            if any((inner[part] - cut) & members for part in component):
                found.append(component)
        return found

    todo = bad(nonterminals, frames)
    while todo:
        component = todo.pop()
        lefts = _left_shares(component)
        others = [part for part in component if part not in frames]
        affordable = _MAX_FOLLOWED // sum(len(calls[part]) for part in component)
        if affordable < _MIN_CANDIDATES:
            # Too large to try any: several at once, those that the most others call with something behind.
            callers = Counter(called for part in component for called in inner[part])
            others.sort(key=lambda part: (-callers[part], lefts[part], order[part]))
            frames.update(others[: 1 + len(others) // _SHARE])
        else:
            candidates = sorted(others, key=lambda part: (lefts[part], order[part]))[: min(_MAX_CANDIDATES, affordable)]
            costs = {part: sum(map(len, bad(component, frames | {part}))) for part in candidates}
            frames.add(min(candidates, key=lambda part: (costs[part], lefts[part], order[part])))
        todo += bad(component, frames)
    _bound_copies(nonterminals, frames)
    _bound_width(nonterminals, frames)
    return frames


def _bound_copies(nonterminals: list[Nonterminal], frames: set[Nonterminal]) -> None:
    """Make frames of nonterminals that would be expanded in very many places, as long as that saves many states.

    Each place that a nonterminal is expanded in has states of its own for it: an expression's operators once a statement.
    """
    while True:
        states, savings = _savings(nonterminals, frames)
        if states <= _MANY_STATES or not savings:
            return
        most = max(savings.values())
        if most < _LEAST_SAVING * states:
            return
        chosen = [part for part in savings if 2 * savings[part] > most]
        chosen.sort(key=savings.__getitem__, reverse=True)
        frames.update(chosen[: 1 + len(nonterminals) // _AT_ONCE])


def _savings(nonterminals: list[Nonterminal], frames: set[Nonterminal]) -> tuple[int, dict[Nonterminal, int]]:
    """How many symbols all expansions have together, and how many fewer they would with another frame; roughly counted."""
    calls: dict[Nonterminal, list[tuple[Nonterminal, bool]]] = {}  # what is expanded, and whether something follows it
    for part in nonterminals:
        found = {
            (symbol, alternative[at + 1 :]): None
            for alternative in part.alternatives
            for at, symbol in enumerate(alternative)
            if isinstance(symbol, Nonterminal) and not (symbol in frames and at + 1 < len(alternative))
        }
        calls[part] = [(symbol, bool(rest)) for symbol, rest in found]
    components = strongly_connected(nonterminals, lambda part: [symbol for symbol, _ in calls[part]])
    number = {part: at for at, component in enumerate(components) for part in component}
    own = [sum(1 + sum(map(len, part.alternatives)) for part in component) for component in components]
    sizes: list[int] = []  # symbols that a component is expanded to
    for at, component in enumerate(components):
        size = own[at] + sum(
            sizes[number[symbol]] for part in component for symbol, _ in calls[part] if number[symbol] != at
        )
        sizes.append(min(size, _MOST_SYMBOLS))
    places, inner = [0] * len(components), dict.fromkeys(nonterminals, 0)
    for part in (nonterminals[0], *frames):
        places[number[part]] += 1
    for at in range(len(components) - 1, -1, -1):  # callers first
        places[at] = min(places[at], _MOST_SYMBOLS)
        for part in components[at]:
            for symbol, followed in calls[part]:
                if number[symbol] != at:
                    places[number[symbol]] += places[at]
                    inner[symbol] += places[at] if followed else 0
    states = sum(count * size for count, size in zip(places, own, strict=True))
    savings = {
        part: (inner[part] - 1) * sizes[number[part]] for part in nonterminals if inner[part] > 1 and part not in frames
    }
    return states, savings


def _last_calls(nonterminals: list[Nonterminal]) -> dict[Nonterminal, set[Nonterminal]]:
    """What each nonterminal calls at the end of an alternative."""
    return {
        part: {
            alternative[-1]
            for alternative in part.alternatives
            if alternative and isinstance(alternative[-1], Nonterminal)
        }
        for part in nonterminals
    }


def _left_shares(component: list[Nonterminal]) -> dict[Nonterminal, float]:
    """Of the calls of each member by members, the share with which the caller's alternative begins."""
    members = set(component)
    left: dict[Nonterminal, int] = dict.fromkeys(component, 0)
    every: dict[Nonterminal, int] = dict.fromkeys(component, 0)
    for part in component:
        for alternative in part.alternatives:
            beginning = True
            for symbol in alternative:
                if isinstance(symbol, Nonterminal) and symbol in members:
                    every[symbol] += 1
                    left[symbol] += beginning
                beginning = beginning and is_nullable(symbol)
    return {part: left[part] / max(1, every[part]) for part in component}


def _bound_width(nonterminals: list[Nonterminal], frames: set[Nonterminal]) -> None:
    """Make frames of nonterminals that begin in very many ways, so that no state has very many parts."""
    width: dict[Nonterminal, int] = {}
    for component in strongly_connected(nonterminals, corners):
        for part in component:
            ways = 0
            for alternative in part.alternatives:
                for symbol, rest in first_symbols(alternative):
                    expanded = isinstance(symbol, Nonterminal) and not (symbol in frames and rest)
                    ways += width.get(symbol, 1) if expanded and isinstance(symbol, Nonterminal) else 1
            width[part] = ways
            if ways > _MAX_WIDTH:
                frames.add(part)
