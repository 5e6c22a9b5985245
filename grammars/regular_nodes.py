"""The protocol of a regular language over Unicode scalar values, and the languages that are finite by nature.

A language is an immutable tree of nodes. Its automaton is never built: `node.transitions()` partitions the alphabet and
gives, for each block of the partition, the derivative: the language of what may follow (Brzozowski, "Derivatives of
regular expressions", J. ACM 11(4), 1964; with sets of characters for letters as in Owens, Reppy and Turon,
"Regular-expression derivatives re-examined", JFP 19(2), 2009). States are reached lazily and are again nodes.

Derivatives are memoised on the node, and equal derivatives of one root are the same object: a root and its derivatives
share tables (`Family`) that live as long as they do. Nothing is kept in globals.

Here are the nodes without operands; `regular_operators` has the others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, TypeVar

from maskwright.grammars.charset import ALL, EMPTY_SET, CharSet
from maskwright.grammars.errors import InvalidError, LimitExceeded
from maskwright.grammars.stopwatch import tick

__all__ = [
    "ANY_CHAR",
    "EMPTY",
    "EPSILON",
    "MAX_NESTING",
    "Chars",
    "Empty",
    "Epsilon",
    "Family",
    "Regex",
    "Span",
    "Transitions",
    "Words",
    "chars",
    "literal",
    "matches",
    "only_word",
    "overlay",
    "words",
]

_MAX_KEPT = 1 << 14  # entries of a family's tables; past it they start anew
MAX_NESTING = 100  # of operators; derivation takes about three Python frames a level

Span = tuple[int, int | None]
_Target = TypeVar("_Target")


class Family:
    """What a root and its derivatives share.

    Attributes:
        nodes: the derivatives, each once.
        overlays: what `overlay` has found, by the sets of characters: most states of a product split the alphabet alike.
        combined: unions and intersections of derivatives of operands, by which it is and of what.
    """

    __slots__ = ("combined", "nodes", "overlays")

    def __init__(self) -> None:
        self.nodes: dict[Regex, Regex] = {}
        self.overlays: dict[tuple[tuple[CharSet, ...], ...], list[tuple[CharSet, list[int]]]] = {}
        self.combined: dict[tuple[object, ...], Regex] = {}

    def overlay(self, partitions: Sequence[Sequence[tuple[CharSet, Regex]]]) -> Iterator[tuple[CharSet, list[Regex]]]:
        """As the function; found once for all partitions that cut alike."""
        key = tuple([tuple([characters for characters, _ in partition]) for partition in partitions])
        blocks = self.overlays.get(key)
        if blocks is None:
            if len(self.overlays) >= _MAX_KEPT:
                self.overlays.clear()
            blocks = self.overlays[key] = _blocks(key)
        return _with_targets(blocks, partitions)

    def combine(self, combination: Callable[..., Regex], operands: list[Regex]) -> Regex:
        """The union or intersection of some derivatives."""
        key = (combination, *operands)
        found = self.combined.get(key)
        if found is None:
            if len(self.combined) >= _MAX_KEPT:
                self.combined.clear()
            found = self.combined[key] = combination(*operands)
        return found


class Regex:
    """A regular language. Subclasses are public so that a consumer can match on them; constructors are functions.

    Equality is structural (equal nodes denote equal languages; the converse does not hold).

    Attributes:
        nullable: whether the empty string is a member (exact).
        plain: whether no Intersect or Complement occurs inside; a plain node other than EMPTY has a member.
        nesting: how deep operators are nested, at most MAX_NESTING.
        reach: of a class of nodes closed under derivatives: from each an end is no more than so many characters away, and
            from there one that is any number of characters further; None where that takes a search.
        searched: of a class of nodes: whether it takes a search to decide if there is a member.
        empty: whether there is no member, or None while it is not decided: `regular.is_empty` does that.
    """

    __slots__ = ("_family", "_hash", "_letters", "_span", "_transitions", "empty", "nesting", "nullable", "plain")

    nullable: bool
    plain: bool
    nesting: int
    reach: ClassVar[int | None] = None
    searched: ClassVar[bool] = False

    def __init__(
        self, identity: tuple[object, ...], nullable: bool, children: Sequence[Regex] = (), plain: bool = True
    ) -> None:
        self._hash = hash((type(self), identity))
        self.nullable = nullable
        self.nesting = 0
        for child in children:
            if child.nesting >= self.nesting:
                self.nesting = child.nesting + 1
            plain = plain and child.plain
        self.plain = plain
        if self.nesting > MAX_NESTING:
            raise LimitExceeded(
                "max_nesting",
                self.nesting,
                MAX_NESTING,
                what="nesting of a regular expression",
                hint="write it with fewer groups inside groups",
            )
        self._transitions: Transitions | None = None
        self._family: Family | None = None
        self._span: Span | None = None
        self._letters: CharSet | None = None
        self.empty: bool | None = False if plain else None  # Empty overrides it

    # ---------------------------------------------------------------- derivatives

    def transitions(self) -> Transitions:
        """((characters, derivative), ...): the sets are disjoint and non-empty, the derivatives distinct.

        A character in none of the sets has no continuation. No derivative is EMPTY, but one with an Intersect or
        Complement inside may denote the empty language all the same: see `is_empty`.
        """
        known = self._transitions
        if known is None:
            tick()
            family = self._family
            if family is None:
                family = self._family = Family()
                family.nodes[self] = self
            nodes = family.nodes
            blocks: dict[Regex, list[CharSet]] = {}
            for characters, target in self._derive():
                if target is EMPTY:
                    continue
                target = nodes.setdefault(target, target)
                if target._family is None:
                    target._family = family
                blocks.setdefault(target, []).append(characters)
            known = self._transitions = tuple(
                [(sets[0] if len(sets) == 1 else CharSet.union(sets), target) for target, sets in blocks.items()]
            )
        return known

    def derivative(self, code_point: int) -> Regex:
        """The language of what may follow `code_point`; EMPTY when nothing may."""
        for characters, target in self.transitions():
            if code_point in characters:
                return target
        return EMPTY

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        """The transitions with blocks not yet merged, EMPTY targets allowed."""
        raise NotImplementedError

    # ---------------------------------------------------------------- cheap bounds

    @property
    def span(self) -> Span:
        """(shortest, longest or None) length in code points: exact for plain nodes, else an enclosing interval."""
        if self._span is None:
            self._span = self._measure()
        return self._span

    @property
    def letters(self) -> CharSet:
        """A set that holds every character of every member; may be too large."""
        if self._letters is None:
            self._letters = self._spell()
        return self._letters

    def _measure(self) -> Span:
        raise NotImplementedError

    def _spell(self) -> CharSet:
        raise NotImplementedError

    # ---------------------------------------------------------------- identity

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other) or self._hash != other._hash:
            return False
        return self._same(other)

    def _same(self, other: object) -> bool:
        """Whether the fields are equal; `other` is of this very class."""
        raise NotImplementedError


Transitions = tuple[tuple[CharSet, Regex], ...]


class Empty(Regex):
    """The language without members."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__((), False)
        self.empty = True

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        return ()

    def _measure(self) -> Span:
        return 0, 0

    def _spell(self) -> CharSet:
        return EMPTY_SET

    def _same(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "∅"


class Epsilon(Regex):
    """The language whose only member is the empty string."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__((), True)

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        return ()

    def _measure(self) -> Span:
        return 0, 0

    def _spell(self) -> CharSet:
        return EMPTY_SET

    def _same(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "ε"


class Chars(Regex):
    """One character of a non-empty set."""

    __slots__ = ("set",)
    __match_args__ = ("set",)

    def __init__(self, characters: CharSet) -> None:
        super().__init__((characters,), False)
        self.set = characters

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        return ((self.set, EPSILON),)

    def _measure(self) -> Span:
        return 1, 1

    def _spell(self) -> CharSet:
        return self.set

    def _same(self, other: object) -> bool:
        return isinstance(other, Chars) and self.set == other.set

    def __repr__(self) -> str:
        return "[any]" if self.set == ALL else repr(self.set)


class Words(Regex):
    """A finite set of literals: the rest of words[low:high] after their first `depth` characters, which are the same.

    The part of `words` that is meant has at least one character to go in some word. One word left is kept as a tuple
    of its own with depth 0, so that equal ends of different sets are equal nodes.

    Attributes:
        words: sorted by code points, distinct.
        low, high: the slice that is meant, high - low >= 1.
        depth: characters already consumed.
    """

    __slots__ = ("depth", "high", "low", "words")
    __match_args__ = ("words", "low", "high", "depth")

    def __init__(self, words: tuple[str, ...], low: int, high: int, depth: int) -> None:
        super().__init__((words[low], words[high - 1], high - low, depth), len(words[low]) == depth)
        self.words, self.low, self.high, self.depth = words, low, high, depth

    def remaining(self) -> list[str]:
        """The members, sorted."""
        return [word[self.depth :] for word in self.words[self.low : self.high]]

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        table, at, high, depth = self.words, self.low, self.high, self.depth
        if len(table[at]) == depth:
            at += 1
        while at < high:
            letter = table[at][depth]
            end = at + 1
            if end < high and table[end][depth] == letter:
                end = bisect_right(table, letter, end + 1, high, key=lambda word: word[depth])
            code_point = ord(letter)
            yield CharSet.normal(((code_point, code_point),)), _slice(table, at, end, depth + 1)
            at = end

    def _measure(self) -> Span:
        lengths = [len(word) for word in self.words[self.low : self.high]]
        return min(lengths) - self.depth, max(lengths) - self.depth

    def _spell(self) -> CharSet:
        return CharSet.of(set("".join(self.remaining())))

    def _same(self, other: object) -> bool:
        return (
            isinstance(other, Words)
            and (self.low, self.high, self.depth) == (other.low, other.high, other.depth)
            and (self.words is other.words or self.words == other.words)
        )

    def __repr__(self) -> str:
        remaining = self.remaining()
        shown = "|".join(map(repr, remaining[:8]))
        if len(remaining) > 8:
            shown += f"|… {len(remaining):,} words"
        return shown if len(remaining) == 1 else f"({shown})"


# -------------------------------------------------------------------- partitions


def overlay(partitions: Sequence[Sequence[tuple[CharSet, _Target]]]) -> Iterator[tuple[CharSet, list[_Target]]]:
    """The coarsest partition that refines all the given ones, each block with the targets it has in them."""
    return _with_targets(_blocks([[characters for characters, _ in part] for part in partitions]), partitions)


def _with_targets(
    blocks: list[tuple[CharSet, list[int]]], partitions: Sequence[Sequence[tuple[CharSet, _Target]]]
) -> Iterator[tuple[CharSet, list[_Target]]]:
    targets = [target for partition in partitions for _, target in partition]
    for characters, numbers in blocks:
        yield characters, [targets[number] for number in numbers]


def _blocks(partitions: Iterable[Iterable[CharSet]]) -> list[tuple[CharSet, list[int]]]:
    """The coarsest partition that refines all the given ones, each block with the numbers of the sets that it is in.

    One sweep over the ends of all ranges: with n ranges it takes O(n log n), whatever the number of partitions.
    """
    ends: list[tuple[int, int]] = []  # (code point where set i begins or stops to apply, 1 << i)
    bit = 1
    for partition in partitions:
        for characters in partition:
            for low, high in characters.ranges:
                ends.append((low, bit))
                ends.append((high + 1, bit))
            bit <<= 1
    ends.sort()
    blocks: dict[int, list[tuple[int, int]]] = {}  # the sets that apply, as bits → ranges
    active, start = 0, 0
    for position, bit in ends:
        if active and position > start:
            blocks.setdefault(active, []).append((start, position - 1))
        active ^= bit
        start = position
    found = []
    for bits, ranges in blocks.items():
        numbers = []
        while bits:
            lowest = bits & -bits
            numbers.append(lowest.bit_length() - 1)
            bits ^= lowest
        found.append((CharSet.normal(tuple(ranges)), numbers))
    return found


# -------------------------------------------------------------------- making and asking


EMPTY: Regex = Empty()
EPSILON: Regex = Epsilon()
ANY_CHAR: Regex = Chars(ALL)


def chars(characters: CharSet) -> Regex:
    """One character of a set; EMPTY when the set is empty."""
    if not characters.ranges:
        return EMPTY
    return ANY_CHAR if characters == ALL else Chars(characters)


def literal(text: str) -> Regex:
    """Exactly `text`."""
    return words((text,))


def words(members: Iterable[str]) -> Regex:
    """A finite set of strings. A lone surrogate in one is an InvalidError: it is no text."""
    table = tuple(sorted(set(members)))
    for word in table:
        if not word.isascii() and any("\ud800" <= character <= "\udfff" for character in word):
            raise InvalidError(f"{word!a} has a lone surrogate, which no text can contain")
    return _slice(table, 0, len(table), 0) if table else EMPTY


def _slice(table: tuple[str, ...], low: int, high: int, depth: int) -> Regex:
    """The node of Words(table, low, high, depth), in canonical form."""
    if high - low == 1:
        rest = table[low][depth:]
        if len(rest) < 2:
            return Chars(CharSet.of(rest)) if rest else EPSILON
        return Words((rest,), 0, 1, 0)
    if all(len(table[at]) == depth + 1 for at in range(low, high)):
        return Chars(CharSet.of(table[at][depth] for at in range(low, high)))
    return Words(table, low, high, depth)


def only_word(node: Regex) -> str | None:
    """The member of a node that is a Words or Chars of one member."""
    if isinstance(node, Words):
        return node.words[node.low][node.depth :] if node.high - node.low == 1 else None
    if isinstance(node, Chars):
        low, high = node.set.ranges[0]
        return chr(low) if low == high and len(node.set.ranges) == 1 else None
    return None


def matches(node: Regex, text: str) -> bool:
    """Whether `text` is a member."""
    for character in text:
        node = node.derivative(ord(character))
        if node is EMPTY:
            return False
    return node.nullable
