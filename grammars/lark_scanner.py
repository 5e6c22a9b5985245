r"""The competition among terminals: which words lark's scanners take as which terminal, and what must not come after them.

    IF: "if", NAME: /[a-z]+/      `if` is IF and not NAME; `iffy` is NAME; after either there is no [a-z]
    INT: /\d+/, FLOAT: /\d+\.\d+/     after `12` there is no digit, and no point with a digit after it

A scanner takes the first of its terminals that matches at all, with the length that `re` gives the match. So w is taken as
T, with a text after it, exactly when no prefix of w and that text is a word of a terminal before T, and none longer than w
is one of T. All terminals are followed side by side, as one automaton over ordered lists: where a terminal has matched,
those after it in the list have lost (as in python_regex). Its end states say which terminal was taken, and what leads from
an end state to another one must not follow. That is the *ahead* of a word: a tree of the characters to come, in which it
is forbidden to reach a leaf.

An ahead is exact as long as MAX_AHEAD characters decide. Where they do not (`/` may begin a comment of any length), the
character after which they do not is forbidden itself: fewer texts, never other ones.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from maskwright.grammars.charset import CharSet
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.lark_tables import Scanner
from maskwright.grammars.refinement import by_class, coarsest
from maskwright.grammars.regular import Regex
from maskwright.grammars.regular_nodes import overlay
from maskwright.grammars.regular_tables import Machine, backwards

__all__ = ["IGNORED", "MAX_AHEAD", "MAX_STATES", "NOTHING", "Ahead", "Lexer", "Words"]

MAX_AHEAD = 4  # characters: `1e-5` after `1` is decided by three of them
MAX_STATES = 20_000  # of the automaton of all scanners
IGNORED = ""  # in place of a terminal's name: text that is skipped

Ahead = tuple[tuple[int, "Ahead | None"], ...]
"""((characters as bits, what is forbidden after them, or None: they are forbidden themselves), ...), by the bits.

The sets are disjoint, and what follows them is different and not nothing: equal trees are equal tuples."""

NOTHING: Ahead = ()  # forbids nothing

_Items = tuple[tuple[int, int], ...]  # (terminal, state of its automaton), in the order of the scanner
_State = tuple[_Items, _Items]  # terminals that are tried; strings that are followed only to tell keywords


class Words(NamedTuple):
    """Words of one token. Equal ones are equal wherever they may stand; the converse nearly always holds.

    Attributes:
        first: ((characters as bits, place), ...), where they begin.
        ends: the places where they may end.
    """

    first: tuple[tuple[int, int], ...]
    ends: tuple[int, ...]

    def __or__(self, other: Words) -> Words:
        """The words of either; both begin in the same state."""
        return Words(tuple(sorted({*self.first, *other.first})), tuple(sorted({*self.ends, *other.ends})))


class Lexer:
    """The automaton of all scanners of a grammar.

    Args:
        scanners: lark's.
        languages: by terminal, its words.
        ignored: the terminals that are skipped.

    Attributes:
        starts: by scanner, the state that a token begins in; scanners that read the same have the same state.
        edges: by state, ((characters as bits, state), ...).
        taken: by state, the terminal whose word ends there, IGNORED, or None.
        terminals: by terminal, its own automaton.
        moves: by *place*, a state and what is forbidden there, ((characters as bits, place), ...), where it was asked for.
    """

    def __init__(
        self, scanners: Iterable[Scanner], languages: Mapping[str, Regex], ignored: frozenset[str] = frozenset()
    ) -> None:
        self._names = list(languages)
        self._ranks = {name: rank for rank, name in enumerate(self._names)}
        self._ignored = ignored
        self._read_terminals(languages)
        self._keywords: dict[int, tuple[int, ...]] = {}
        distinct = list(dict.fromkeys(scanners))
        for scanner in distinct:
            for name, words in scanner.keywords:
                rank, ranks = self._ranks[name], [self._ranks[word] for word in words]
                # In all scanners the order is the same, and a word that is not in one is not followed in it.
                self._keywords[rank] = tuple(sorted({*self._keywords.get(rank, ()), *ranks}))
        self._explore(distinct)
        self._aheads: dict[int, Ahead] = {}
        self._scans: dict[tuple[int, Ahead], dict[tuple[str, Ahead], Words]] = {}
        self._places: dict[tuple[int, Ahead], int] = {}
        self._at: list[tuple[int, Ahead]] = []
        self.moves: list[tuple[tuple[int, int], ...]] = []
        self._decided: dict[tuple[int, int], bool] = {}

    # ---------------------------------------------------------------- letters

    def characters(self, bits: int) -> CharSet:
        """The characters that a set of bits stands for."""
        found = self._characters.get(bits)
        if found is None:
            found = self._characters[bits] = CharSet.union(
                [block for number, block in enumerate(self._blocks) if bits >> number & 1]
            )
        return found

    def _read_terminals(self, languages: Mapping[str, Regex]) -> None:
        """Number the states of each terminal's automaton, and the blocks of characters that none tells apart."""
        walked: list[tuple[list[list[tuple[CharSet, int]]], list[bool]]] = []
        total = 0
        for language in languages.values():
            numbers = {language: 0}
            edges: list[list[tuple[CharSet, int]]] = []
            for node in (pending := [language]):
                edges.append([])
                for characters, target in node.transitions():
                    if target not in numbers:
                        numbers[target] = len(numbers)
                        pending.append(target)
                    edges[-1].append((characters, numbers[target]))
                _limit(total + len(numbers))
            total += len(numbers)
            walked.append((edges, [node.nullable for node in pending]))
        sets = list(dict.fromkeys(characters for edges, _ in walked for row in edges for characters, _ in row))
        members: list[list[int]] = [[] for _ in sets]
        self._blocks: list[CharSet] = []
        for block, inside in overlay([[(characters, number)] for number, characters in enumerate(sets)]):
            for number in inside:
                members[number].append(len(self._blocks))
            self._blocks.append(block)
        self._characters: dict[int, CharSet] = {}
        blocks = dict(zip(sets, members, strict=True))
        self._rows = [
            [[(block, target) for characters, target in row for block in blocks[characters]] for row in edges]
            for edges, _ in walked
        ]
        self._final = [final for _, final in walked]
        self.terminals: dict[str, Machine] = {}
        for name, table, final in zip(languages, self._rows, self._final, strict=True):
            grouped = [_grouped(row) for row in table]
            self.terminals[name] = Machine(grouped, grouped[0], frozenset(n for n, end in enumerate(final) if end))

    # ---------------------------------------------------------------- the automaton

    def _explore(self, scanners: Sequence[Scanner]) -> None:
        numbers: dict[_State, int] = {}
        pending: list[_State] = []

        def number(state: _State) -> int:
            found = numbers.get(state)
            if found is None:
                found = numbers[state] = len(numbers)
                pending.append(state)
                _limit(found)
            return found

        first = [number(self._first(scanner)) for scanner in scanners]
        edges = []
        for state in pending:
            found: dict[int, tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {}
            for kind, items in enumerate(state):
                for rank, at in items:
                    for block, target in self._rows[rank][at]:
                        found.setdefault(block, ([], []))[kind].append((rank, target))
            edges.append(_grouped([(block, number(self._cut(*items))) for block, items in found.items() if items[0]]))
        taken = [self._taken(state) for state in pending]

        def signature(state: int, classes: Sequence[int]) -> Hashable:
            return taken[state], frozenset(by_class(edges[state], classes).items())

        classes = coarsest(len(edges), signature)
        representative = {kind: state for state, kind in reversed(list(enumerate(classes)))}
        self.edges = [
            sorted((bits, target) for target, bits in by_class(edges[representative[kind]], classes).items())
            for kind in range(len(representative))
        ]
        self.taken = [taken[representative[kind]] for kind in range(len(representative))]
        self.starts = {scanner: classes[state] for scanner, state in zip(scanners, first, strict=True)}

    def _first(self, scanner: Scanner) -> _State:
        words = dict.fromkeys(word for _, words in scanner.keywords for word in words)
        return tuple((self._ranks[name], 0) for name in scanner.terminals), tuple(
            sorted((self._ranks[word], 0) for word in words)
        )

    def _cut(self, tried: list[tuple[int, int]], followed: list[tuple[int, int]]) -> _State:
        """What is left to follow: after the first that has matched, all others have lost."""
        for number, (rank, at) in enumerate(tried):
            if self._final[rank][at]:
                del tried[number + 1 :]
                break
        wanted = {word for rank, _ in tried for word in self._keywords.get(rank, ())}
        return tuple(tried), tuple(item for item in followed if item[0] in wanted)

    def _taken(self, state: _State) -> str | None:
        for rank, at in state[0]:
            if self._final[rank][at]:
                if self._names[rank] in self._ignored:
                    return IGNORED
                words = self._keywords.get(rank, ())
                word = next((w for w, place in state[1] if w in words and self._final[w][place]), rank)
                return self._names[word]
        return None

    # ---------------------------------------------------------------- what must not follow

    def ahead(self, state: int) -> Ahead:
        """What a token that ends in a state forbids after itself."""
        found = self._aheads.get(state)
        if found is None:
            found = self._aheads[state] = self._ahead(state, MAX_AHEAD)
        return found

    def _ahead(self, state: int, depth: int) -> Ahead:
        return _tree(
            (
                bits,
                None
                if self._ends(target) or not self._is_decided(target, depth - 1)
                else self._ahead(target, depth - 1),
            )
            for bits, target in self.edges[state]
        )

    def _is_decided(self, state: int, depth: int) -> bool:
        """Whether each way from a state that is no end leads to one within `depth` characters."""
        if self._ends(state):
            return True
        if depth == 0:
            return False
        found = self._decided.get((state, depth))
        if found is None:
            found = all(self._is_decided(target, depth - 1) for _, target in self.edges[state])
            self._decided[state, depth] = found
        return found

    def _ends(self, state: int) -> bool:
        return self.taken[state] is not None

    def restricted(self, ahead: Ahead, state: int) -> Ahead:
        """What of an ahead can matter before a token that begins in a state."""
        if ahead == NOTHING:
            return ahead
        return _tree(
            (
                bits & characters,
                after if after is None or self._ends(target) else self.restricted(after, target),
            )
            for bits, after in ahead
            for characters, target in self.edges[state]
            if bits & characters
        )

    # ---------------------------------------------------------------- words

    def scan(self, start: int, ahead: Ahead) -> Mapping[tuple[str, Ahead], Words]:
        """The tokens that begin in a state, where something is forbidden; kept.

        Returns:
            By what is taken (a terminal, or IGNORED) and what it forbids after itself, the words.
        """
        found = self._scans.get((start, ahead))
        if found is None:
            found = self._scans[start, ahead] = self._scan(start, ahead)
        return found

    def begin(self, start: int, ahead: Ahead) -> list[tuple[int, int]]:
        """(characters, place) after the first character of a token, what is behind the places known."""
        self.scan(start, ahead)
        return [(bits, self._place(target, after)) for bits, target, after in self._steps(start, ahead)]

    def taken_at(self, place: int) -> tuple[str, Ahead] | None:
        """What is taken where a token ends at a place, and what it forbids after itself; None: it cannot end there."""
        state, forbidden = self._at[place]
        name = self.taken[state]
        return None if name is None else (name, _union(self.ahead(state), forbidden))

    def _scan(self, start: int, ahead: Ahead) -> dict[tuple[str, Ahead], Words]:
        first = [(bits, self._place(target, after)) for bits, target, after in self._steps(start, ahead)]
        reached = dict.fromkeys(place for _, place in first)
        before: dict[int, list[int]] = {}
        ends: dict[tuple[str, Ahead], list[int]] = {}
        for place in (pending := list(reached)):
            state, forbidden = self._at[place]
            taken = self.taken_at(place)
            if taken is not None:
                ends.setdefault(taken, []).append(place)
            if not self.moves[place]:
                self.moves[place] = tuple(
                    (bits, self._place(target, after)) for bits, target, after in self._steps(state, forbidden)
                )
            for _, target in self.moves[place]:
                before.setdefault(target, []).append(place)
                if target not in reached:
                    reached[target] = None
                    pending.append(target)
        found = {}
        for key, places in ends.items():
            live = backwards(before, places)
            found[key] = Words(tuple(sorted(edge for edge in first if edge[1] in live)), tuple(sorted(places)))
        return found

    def _place(self, state: int, forbidden: Ahead) -> int:
        found = self._places.get((state, forbidden))
        if found is None:
            found = self._places[state, forbidden] = len(self._at)
            self._at.append((state, forbidden))
            self.moves.append(())
            _limit(found)
        return found

    def _steps(self, state: int, forbidden: Ahead) -> Iterator[tuple[int, int, Ahead]]:
        """(characters, state, what is forbidden after them) of what is not forbidden."""
        for bits, target in self.edges[state]:
            free = bits
            for characters, after in forbidden:
                both = bits & characters
                if both:
                    free &= ~characters
                    if after is not None:
                        yield both, target, after
            if free:
                yield free, target, NOTHING


def _limit(states: int) -> None:
    if states > MAX_STATES:
        hint = "use smaller counts in terminals, or fewer of them"
        raise LimitExceeded("max_states", states, MAX_STATES, what="the automaton of a lexer", hint=hint)


def _grouped(row: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """(block, state) as (bits, state), a state once."""
    found: dict[int, int] = {}
    for block, target in row:
        found[target] = found.get(target, 0) | 1 << block
    return [(bits, target) for target, bits in found.items()]


def _tree(branches: Iterable[tuple[int, Ahead | None]]) -> Ahead:
    """An ahead of disjoint branches, in its one form."""
    found: dict[Ahead | None, int] = {}
    for bits, after in branches:
        if after != NOTHING:
            found[after] = found.get(after, 0) | bits
    return tuple(sorted(((bits, after) for after, bits in found.items()), key=lambda branch: branch[0]))


def _union(one: Ahead, other: Ahead) -> Ahead:
    """What either forbids."""
    if not one or not other:
        return one or other
    branches: list[tuple[int, Ahead | None]] = []
    for left, right in ((one, other), (other, one)):
        for bits, after in left:
            for characters, _ in right:
                bits &= ~characters
            if bits:
                branches.append((bits, after))
    for bits, after in one:
        for characters, also in other:
            if bits & characters:
                branches.append((bits & characters, None if after is None or also is None else _union(after, also)))
    return _tree(branches)
