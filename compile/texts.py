"""States of regular texts: the inside of JSON strings, numbers, and whole regular grammars.

A state is a tuple of regular languages read in parallel: the first must end non-empty, the others are watched, and which
of them hold decides the result code. Each state is derived when first reached. A text counted over a plain alphabet
(`maxLength` without a pattern) has one state a bound and counts in the register instead of one state a character.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from maskwright.compile.automaton import Automaton, Edge, Named, Published
from maskwright.compile.spelling import Sequence, Spelling, spell_utf8
from maskwright.grammars import regular
from maskwright.grammars.charset import ALL, CharSet
from maskwright.grammars.errors import TokenizerError
from maskwright.grammars.regular import Chars, Regex, Repeat
from maskwright.kernels import layout as L

__all__ = ["Parts", "TextStates"]

Parts = tuple[Regex, ...]

_QUOTE = 0x22
_NON_ASCII = ALL & ~CharSet([(0, 0x7F)])


class TextStates:
    """States of texts with one way to name their results.

    Args:
        spelling: the text is the inside of a JSON string, spelled so, and a quote ends it; None: it is written as it is
            in UTF-8, and ends late (before the first byte that does not continue it).
        result: the result code of a text that ends with these parts left (parts[0] is nullable).
        kind: names the results to other grammars (see Owner.share_key), or None.
    """

    def __init__(
        self, automaton: Automaton, spelling: Spelling | None, result: Callable[[Parts], int], kind: Hashable | None = None
    ) -> None:
        self.automaton, self.spelling, self.result = automaton, spelling, result
        self.quoted = spelling is not None
        self.kind = None if kind is None else (kind, spelling)
        self._states: dict[Hashable, int] = {}
        self._inner: dict[tuple[tuple[Sequence, int], ...], int] = {}

    def state(self, parts: Parts) -> int:
        """The state that has these languages before it. parts[0] is not empty."""
        found = self._states.get(parts)
        if found is None:
            found = self._states[parts] = self.automaton.allocate(1, _Text(self, parts))
        return found

    def sequences(self, charset: CharSet) -> list[Sequence]:
        return spell_utf8(charset) if self.spelling is None else self.spelling.sequences(charset)

    def edges(self, parts: Parts) -> list[Edge]:
        """The transitions of `state(parts)`, the closing quote left out."""
        return self._edges([(sequence, target) for charset, target in self._targets(parts) for sequence in self.sequences(charset)])

    def derive(self, parts: Parts) -> list[tuple[CharSet, Parts]]:
        """See the function; a subclass may read something else in parallel."""
        return derive(parts)

    def may_end(self, parts: Parts) -> bool:
        """Whether the text may end with these parts left."""
        return parts[0].nullable

    def _targets(self, parts: Parts) -> list[tuple[CharSet, int]]:
        return [(charset, self.state(after)) for charset, after in self.derive(parts)]

    def _edges(self, items: list[tuple[Sequence, int]]) -> list[Edge]:
        """Transitions of the state before `items`: sequences of byte ranges, each with the state after it."""
        writable = self.automaton.tokens.writable
        cuts = sorted({item[0][0][0] for item in items} | {item[0][0][1] + 1 for item in items})
        edges: list[Edge] = []
        for low, stop in zip(cuts, cuts[1:], strict=False):
            tails = tuple((sequence[1:], target) for sequence, target in items if sequence[0][0] <= low <= sequence[0][1])
            if not tails:
                continue
            value = tails[0][1] if not tails[0][0] else self._inner_state(tails)
            if value and writable[low:stop].all():
                edges.append((low, stop - 1, value))
            elif value:
                edges += [(byte, byte, value) for byte in range(low, stop) if writable[byte]]
        return edges

    def _inner_state(self, tails: tuple[tuple[Sequence, int], ...]) -> int:
        """A state inside a character; 0 when the vocabulary can write none of its continuations."""
        found = self._inner.get(tails)
        if found is None:
            edges = self._edges(list(tails))
            if edges:
                found = self.automaton.allocate(1, _INSIDE)
                self.automaton.emit(found, edges)
            self._inner[tails] = found = found or 0
        return found

    def safe_set(self, loop: CharSet) -> int:
        """The number of the safe set of a state to which the characters of `loop` lead back."""
        spelling = self.spelling
        if spelling is not None:
            raw = loop & ~CharSet([(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)])
            unicode = not spelling.ensure_ascii and not (_NON_ASCII & ~loop)
        else:
            raw, unicode = loop, not (_NON_ASCII & ~loop)
        unicode = unicode and bool(self.automaton.tokens.writable.all())
        bits = 0
        for low, high in raw.ranges:
            if low < 0x80:
                top = min(high, 0x7F)
                bits |= ((1 << (top - low + 1)) - 1) << low
        for byte in range(0x80):
            if bits >> byte & 1 and not self.automaton.tokens.writable[byte]:
                bits &= ~(1 << byte)
        if not bits and not unicode:
            return 0
        return self.automaton.tables.add_safe(bits & (1 << 64) - 1, bits >> 64, L.SAFE_UNICODE if unicode else 0)

    def ending(self, parts: Parts) -> list[Edge]:
        """The closing quote, where the text may end."""
        if not self.may_end(parts):
            return []
        return [(_QUOTE, _QUOTE, self.automaton.end(self.result(parts)))]


def derive(parts: Parts) -> list[tuple[CharSet, Parts]]:
    """The characters that may follow and what is left after them, equal rests together; dead ends left out."""
    must = parts[0]
    groups: dict[Parts, CharSet] = {}
    for charset, rest in must.transitions():
        if regular.is_empty(rest):
            continue
        split: list[tuple[CharSet, Parts]] = [(charset, (rest,))]
        for watched in parts[1:]:
            finer: list[tuple[CharSet, Parts]] = []
            for members, rests in split:
                for other, after in watched.transitions():
                    common = members & other
                    if common:
                        finer.append((common, (*rests, after)))
                        members = members & ~other
                        if not members:
                            break
                if members:
                    finer.append((members, (*rests, regular.EMPTY)))
            split = finer
        for members, rests in split:
            known = groups.get(rests)
            groups[rests] = members if known is None else known | members
    return [(members, rests) for rests, members in groups.items()]


_INSIDE = Published()  # states inside a character


class _Text:
    """Owner of the state before `parts`."""

    __slots__ = ("parts", "states")

    def __init__(self, states: TextStates, parts: Parts) -> None:
        self.states, self.parts = states, parts

    def share_key(self, index: int) -> Hashable | None:
        return None if self.states.kind is None else (self.states.kind, self.parts)

    def lower(self, index: int, state: int) -> None:
        states, parts, automaton = self.states, self.parts, self.states.automaton
        if len(parts) == 1 and _counts(parts[0]):
            self._lower_counted(state)
            return
        items, safe = [], 0
        for charset, after in states.derive(parts):
            target = states.state(after)
            items += [(sequence, target) for sequence in states.sequences(charset)]
            if after == parts:
                safe = states.safe_set(charset)
        edges = states._edges(items)
        if states.quoted:
            edges += states.ending(parts)
        if not edges and (states.quoted or not states.may_end(parts)):
            raise TokenizerError(
                "the grammar requires a character that no token of the vocabulary can write; "
                "use a vocabulary with a token for every byte"
            )
        if states.quoted or not states.may_end(parts):
            automaton.emit(state, edges, safe=safe)
        else:
            # Where nothing can follow, the end is certain: it need not wait for another byte.
            op = L.OP_NONE if edges else L.OP_POP
            automaton.emit(state, edges, final=states.result(parts), op=op, safe=safe)

    def _lower_counted(self, state: int) -> None:
        """C{low,high}: count down to the lower bound, then to the upper one.

        Each bound has an entry, which sets the register, and a loop, which counts and goes on to the next entry at zero.
        """
        states, automaton = self.states, self.states.automaton
        must = self.parts[0]
        assert isinstance(must, Repeat) and isinstance(must.item, Chars)
        sequences = states.sequences(must.item.set)
        safe = states.safe_set(must.item.set)
        if must.low:
            rest = regular.repeat(must.item, 0, None if must.high is None else must.high - must.low)
            count, closing, after = must.low, [], states.state((rest,))
        else:
            assert must.high is not None
            count, closing, after = must.high, states.ending(self.parts), states.state((regular.EPSILON,))
        loop = automaton.allocate(1, Named((self.share_key(0), "loop")) if states.kind is not None else _INSIDE)
        edges = states._edges([(sequence, loop) for sequence in sequences]) + closing
        final = states.result(self.parts) if not states.quoted and must.nullable else -1
        automaton.emit(loop, edges, final=final, op=L.OP_COUNT, argument=after, safe=safe)
        automaton.emit(state, edges, final=final, op=L.OP_SET, argument=count)


def _counts(must: Regex) -> bool:
    """Whether a language is C{low,high} with a bound worth a register."""
    return isinstance(must, Repeat) and isinstance(must.item, Chars) and (must.high is not None or must.low > 0)
