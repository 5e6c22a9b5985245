"""Regular languages made of others: the nodes of concatenation, union, intersection, complement and repetition.

Constructors (`concat`, `alternate`, ...) are the only way to make a node. They simplify, which is what keeps the set of
derivatives finite and small:

    r|r = r, (r|s)|t = r|(s|t), order does not matter       finiteness (Brzozowski, theorem 5.2); likewise for &
    C* absorbs r in C*|r when r only writes C               a search that has matched becomes ANY_STRING at once
    C* & r = r when r only writes C, C{2,9} likewise        length bounds vanish where the pattern implies them
    C* r = C* when r is nullable and only writes C          `.*.*` is `.*`; r{2,5} C* = r{2} C*
    r{1,3}|r{2,7} = r{1,7}                                  overlapping counts stay one interval
    r{k} C*|r{m} C* = r{min(k,m)} C*                        a counted search keeps one counter, not a set of them
    words & r, words & not r                                decided word by word, at once

Counts are symbolic: the derivative of r{2,1000} holds r{1,999}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from maskwright.grammars.charset import ALL, CharSet
from maskwright.grammars.regular_nodes import (
    ANY_CHAR,
    EMPTY,
    EPSILON,
    Chars,
    Family,
    Regex,
    Span,
    Words,
    chars,
    matches,
    only_word,
    words,
)

__all__ = [
    "ANY_STRING",
    "Alternate",
    "Complement",
    "Concat",
    "Intersect",
    "Repeat",
    "alternate",
    "complement",
    "concat",
    "has_part",
    "intersect",
    "repeat",
]


class Concat(Regex):
    """Parts one after the other: two or more, none of them EMPTY, EPSILON or Concat."""

    __slots__ = ("parts",)
    __match_args__ = ("parts",)

    def __init__(self, parts: tuple[Regex, ...]) -> None:
        super().__init__(parts, all(part.nullable for part in parts), parts)
        self.parts = parts

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        found: list[list[tuple[CharSet, Regex]]] = []
        for at, part in enumerate(self.parts, 1):
            rest = self._rest(at)
            found.append([(characters, concat(target, rest)) for characters, target in part.transitions()])
            if not part.nullable:
                break
        return found[0] if len(found) == 1 else _merged(self._family, found)

    def _rest(self, at: int) -> Regex:
        """parts[at:]; no simplification applies to it that has not been made already."""
        rest = self.parts[at:]
        if len(rest) > 1:
            return Concat(rest)
        return rest[0] if rest else EPSILON

    def _measure(self) -> Span:
        shortest, longest = 0, 0
        bounded = True
        for part in self.parts:
            low, high = part.span
            shortest += low
            if high is None:
                bounded = False
            else:
                longest += high
        return shortest, longest if bounded else None

    def _spell(self) -> CharSet:
        return CharSet.union([part.letters for part in self.parts])

    def _same(self, other: object) -> bool:
        return isinstance(other, Concat) and self.parts == other.parts

    def __repr__(self) -> str:
        return " ".join(f"({part!r})" if isinstance(part, Alternate | Intersect) else repr(part) for part in self.parts)


class _Commutative(Regex):
    """Two or more distinct parts whose order carries no meaning; it is kept so that results are reproducible."""

    __slots__ = ("_members", "parts")
    __match_args__ = ("parts",)

    _sign: ClassVar[str]

    def __init__(self, parts: tuple[Regex, ...], nullable: bool, plain: bool) -> None:
        self._members = frozenset(parts)
        super().__init__((self._members,), nullable, parts, plain)
        self.parts = parts

    def _same(self, other: object) -> bool:
        return isinstance(other, _Commutative) and self._members == other._members

    def __repr__(self) -> str:
        return self._sign.join(f"({part!r})" if isinstance(part, _Commutative) else repr(part) for part in self.parts)


class Alternate(_Commutative):
    """Members of any part. EPSILON may be a part, beside two others at least."""

    __slots__ = ()
    _sign = "|"

    def __init__(self, parts: tuple[Regex, ...]) -> None:
        super().__init__(parts, any(part.nullable for part in parts), True)

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        return _merged(self._family, [part.transitions() for part in self.parts])

    def _measure(self) -> Span:
        spans = [part.span for part in self.parts]
        highs = [high for _, high in spans if high is not None]
        return min(low for low, _ in spans), max(highs) if len(highs) == len(spans) else None

    def _spell(self) -> CharSet:
        return CharSet.union([part.letters for part in self.parts])


def has_part(language: Regex, other: Regex) -> bool:
    """Whether a language is plainly the union of another one and more: a glance, no decision."""
    if language is other or not isinstance(language, Alternate):
        return language is other
    return language._members >= (other._members if isinstance(other, Alternate) else {other})


class Intersect(_Commutative):
    """Members of every part."""

    __slots__ = ()
    searched = True
    _sign = "&"

    def __init__(self, parts: tuple[Regex, ...]) -> None:
        super().__init__(parts, all(part.nullable for part in parts), False)

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        family, count = self._family, len(self.parts)
        assert family is not None, "derivatives are asked for by `transitions`"
        for characters, targets in family.overlay([part.transitions() for part in self.parts]):
            if len(targets) == count:
                yield characters, family.combine(intersect, targets)

    def _measure(self) -> Span:
        spans = [part.span for part in self.parts]
        highs = [high for _, high in spans if high is not None]
        return max(low for low, _ in spans), min(highs) if highs else None

    def _spell(self) -> CharSet:
        found = self.parts[0].letters
        for part in self.parts[1:]:
            found &= part.letters
        return found


class Complement(Regex):
    """Every string that is no member of `item`."""

    __slots__ = ("item",)
    searched = True
    __match_args__ = ("item",)

    def __init__(self, item: Regex) -> None:
        super().__init__((item,), not item.nullable, (item,), plain=False)
        self.item = item

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        taken = []
        for characters, target in self.item.transitions():
            taken.append(characters)
            yield characters, complement(target)
        others = ~CharSet.union(taken)
        if others:
            yield others, ANY_STRING

    def _measure(self) -> Span:
        return (1 if self.item.nullable else 0), None

    def _spell(self) -> CharSet:
        return ALL

    def _same(self, other: object) -> bool:
        return isinstance(other, Complement) and self.item == other.item

    def __repr__(self) -> str:
        return f"~({self.item!r})"


class Repeat(Regex):
    """`item` low to high times; high None is unbounded. An item that is nullable has low = 0 and is no Repeat*.

    Attributes:
        low, high: 0 <= low <= high, and high > 1 or low = 0.
    """

    __slots__ = ("high", "item", "low")
    __match_args__ = ("item", "low", "high")

    def __init__(self, item: Regex, low: int, high: int | None) -> None:
        super().__init__((item, low, high), low == 0, (item,))
        self.item, self.low, self.high = item, low, high

    def _derive(self) -> Iterable[tuple[CharSet, Regex]]:
        low, high = self.low, self.high
        fewer = repeat(self.item, max(low - 1, 0), None if high is None else high - 1)
        return [(characters, concat(target, fewer)) for characters, target in self.item.transitions()]

    def _measure(self) -> Span:
        shortest, longest = self.item.span
        return shortest * self.low, None if longest is None or self.high is None else longest * self.high

    def _spell(self) -> CharSet:
        return self.item.letters

    def _same(self, other: object) -> bool:
        return isinstance(other, Repeat) and (self.low, self.high, self.item) == (other.low, other.high, other.item)

    def __repr__(self) -> str:
        if self.high is None:
            count = {0: "*", 1: "+"}.get(self.low, f"{{{self.low},}}")
        elif self.low == self.high:
            count = f"{{{self.low}}}"
        else:
            count = "?" if (self.low, self.high) == (0, 1) else f"{{{self.low},{self.high}}}"
        return (repr(self.item) if isinstance(self.item, Chars) else f"({self.item!r})") + count


def _merged(
    family: Family | None, partitions: Sequence[Sequence[tuple[CharSet, Regex]]]
) -> Iterator[tuple[CharSet, Regex]]:
    """The transitions of a union."""
    assert family is not None, "derivatives are asked for by `transitions`"
    for characters, targets in family.overlay(partitions):
        yield characters, targets[0] if len(targets) == 1 else family.combine(alternate, targets)


ANY_STRING: Regex = Repeat(ANY_CHAR, 0, None)

# -------------------------------------------------------------------- concatenation and repetition


def concat(*items: Regex) -> Regex:
    """The items one after the other; EPSILON of nothing."""
    parts: list[Regex] = []
    for item in items:
        if item is EPSILON:
            continue
        if item is EMPTY:
            return EMPTY
        if not parts:
            parts.extend(item.parts if isinstance(item, Concat) else (item,))
            continue
        incoming = item.parts if isinstance(item, Concat) else (item,)
        at = 0
        # The parts of one item are simplified among themselves: only those at the seam can change.
        while at < len(incoming) and parts:
            fused = _fuse(parts[-1], incoming[at])
            if fused is None:
                break
            parts.pop()
            at += 1
            for part in fused:
                while parts and (again := _fuse(parts[-1], part)) is not None and len(again) == 1:
                    parts.pop()
                    part = again[0]
                parts.append(part)
        parts.extend(incoming[at:])
    if len(parts) > 1:
        return Concat(tuple(parts))
    return parts[0] if parts else EPSILON


def _fuse(left: Regex, right: Regex) -> tuple[Regex, ...] | None:
    """Simpler parts (one or two) with the language of left right, or None."""
    if isinstance(left, Repeat):
        if isinstance(right, Repeat):
            if left.item == right.item:
                high = None if left.high is None or right.high is None else left.high + right.high
                return (repeat(left.item, left.low + right.low, high),)
        elif left.item == right:
            return (repeat(right, left.low + 1, None if left.high is None else left.high + 1),)
        absorbed = _absorb(right, left)
        if absorbed is not None:
            return (left,) if absorbed is EPSILON else (left, absorbed)
    if isinstance(right, Repeat):
        if left == right.item:
            return (repeat(left, right.low + 1, None if right.high is None else right.high + 1),)
        absorbed = _absorb(left, right)
        if absorbed is not None:
            return (right,) if absorbed is EPSILON else (absorbed, right)
    elif isinstance(left, Chars | Words) and isinstance(right, Chars | Words):
        first, second = only_word(left), only_word(right)
        if first is not None and second is not None:
            return (Words((first + second,), 0, 1, 0),)
        if first is None and left == right and isinstance(left, Chars):
            return (Repeat(left, 2, 2),)
    return None


def _absorb(node: Regex, star: Repeat) -> Regex | None:
    """What is left of `node` beside C{n,} = `star` (either side), when some of it adds nothing; else None."""
    if node.nullable:
        return EPSILON if _is_star_over(node, star) else None
    if isinstance(node, Repeat) and node.high != node.low and _is_star_over(node, star):
        return repeat(node.item, node.low, node.low)
    return None


def _is_star_over(node: Regex, star: Regex) -> bool:
    """Whether `star` is C{n,} with every letter of `node` in C."""
    return (
        isinstance(star, Repeat)
        and star.high is None
        and isinstance(star.item, Chars)
        and node.letters.issubset(star.item.set)
    )


def repeat(item: Regex, low: int, high: int | None = None) -> Regex:
    """`item` low to high times, both inclusive; None is unbounded."""
    if low < 0 or (high is not None and high < low):
        raise ValueError(f"repeat from {low} to {high} times")
    if item is EMPTY:
        return EPSILON if low == 0 else EMPTY
    if high == 0 or item is EPSILON:
        return EPSILON
    if item.nullable:
        low = 0
        if isinstance(item, Alternate) and high != 1:
            item = alternate(*(part for part in item.parts if part is not EPSILON))
    if low == 1 and high == 1:
        return item
    if isinstance(item, Repeat):
        nested = _flatten_repeat(item, low, high)
        if nested is not None:
            return nested
    if low == 0 and high == 1 and isinstance(item, Alternate | Words):
        return alternate(EPSILON, item)
    if item is ANY_CHAR and low == 0 and high is None:
        return ANY_STRING
    return Repeat(item, low, high)


def _flatten_repeat(item: Repeat, low: int, high: int | None) -> Regex | None:
    """(x{a,b}){low,high} as one repetition of x where the counts leave no gap, else None."""
    a, b = item.low, item.high
    # k rounds write any count from a*k to b*k; rounds k and k+1 leave no gap when a*(k+1) <= b*k + 1, and if they do
    # not for some k, nor do later ones. Rounds 0 and 1 leave none when a <= 1.
    if low == high:
        gapless = True
    elif low == 0:
        gapless = a <= 1
    else:
        gapless = b is None or a * (low + 1) <= b * low + 1
    if not gapless:
        return None
    return repeat(item.item, a * low, None if b is None or high is None else b * high)


# -------------------------------------------------------------------- union


def alternate(*items: Regex) -> Regex:
    """The union; EMPTY of nothing."""
    found: dict[Regex, None] = {}
    letters: list[CharSet] = []
    literals: list[Words] = []
    excluded: list[Regex] = []  # the items of complements
    optional = False
    pending = list(reversed(items))
    while pending:
        item = pending.pop()
        kind = type(item)
        if kind is Chars:
            letters.append(item.set)  # type: ignore[attr-defined]
        elif item is EMPTY:
            continue
        elif item is EPSILON:
            optional = True
        elif item is ANY_STRING:
            return ANY_STRING
        elif isinstance(item, Alternate):
            pending.extend(reversed(item.parts))
        elif isinstance(item, Repeat) and item.low == 0 and item.high == 1:
            optional = True
            pending.append(item.item)
        elif isinstance(item, Words):
            literals.append(item)
        elif isinstance(item, Complement):
            excluded.append(item.item)
        else:
            found[item] = None
    parts: list[Regex] = []
    if letters:
        parts.append(chars(CharSet.union(letters)))
    if literals:
        together = (word for node in literals for word in node.remaining())
        parts.append(literals[0] if len(literals) == 1 else words(together))
    parts.extend(found)
    if excluded:
        refused = excluded[0] if len(excluded) == 1 else intersect(*excluded)  # not a or not b = not (a and b)
        rest = complement(refused)
        if rest is ANY_STRING or refused in parts:
            return ANY_STRING
        if rest is not EMPTY:
            parts.append(rest)
    if len(parts) > 1:
        parts = _fuse_counts(parts)
        parts = _drop_inside_boxes(parts)
    if optional and not any(part.nullable for part in parts):
        parts = _make_optional(parts)
    if len(parts) > 1:
        return Alternate(tuple(parts))
    return parts[0] if parts else EMPTY


def _make_optional(parts: list[Regex]) -> list[Regex]:
    """`parts`, none of which is nullable, with the empty string added in the way that makes the fewest nodes."""
    for at, part in enumerate(parts):
        if isinstance(part, Repeat) and part.low == 1:
            return [*parts[:at], repeat(part.item, 0, part.high), *parts[at + 1 :]]
        if isinstance(part, Words):
            return [*parts[:at], words(["", *part.remaining()]), *parts[at + 1 :]]
    if len(parts) == 1:
        return [Repeat(parts[0], 0, 1)]
    return [EPSILON, *parts]


def _box(node: Regex) -> Repeat | None:
    """The node when it is C{m,n}: all strings over C with a length between m and n."""
    return node if isinstance(node, Repeat) and isinstance(node.item, Chars) else None


def _fits(node: Regex, box: Repeat) -> bool:
    """Whether the members of `node` are certainly members of C{m,n} = `box`."""
    shortest, longest = node.span
    if shortest < box.low or (box.high is not None and (longest is None or longest > box.high)):
        return False
    return node.letters.issubset(box.letters)


def _drop_inside_boxes(parts: list[Regex]) -> list[Regex]:
    """Parts of a union without those that another part C{m,n} contains."""
    for part in list(parts):
        box = _box(part)
        if box is not None:
            parts = [other for other in parts if other is box or not _fits(other, box)]
    return parts


def _fuse_counts(parts: list[Regex]) -> list[Regex]:
    """Parts of a union with x{a,b} t | x{c,d} t made one, where the counts leave no gap or t absorbs the difference."""
    repeated = {head.item for head in map(_first, parts) if isinstance(head, Repeat)}
    if not repeated:
        return parts
    groups: dict[tuple[Regex, tuple[Regex, ...]], list[tuple[int, int | None]]] = {}  # (x, t) → counts
    result: dict[Regex, None] = {}
    for part in parts:
        item, low, high = _counted_head(part)
        if item in repeated:
            groups.setdefault((item, part.parts[1:] if isinstance(part, Concat) else ()), []).append((low, high))
        else:
            result[part] = None
    if len(groups) + len(result) == len(parts):
        return parts
    for (item, tail), counts in groups.items():
        for low, high in _join_counts(counts, bool(tail) and _is_star_over(item, tail[0])):
            result[concat(repeat(item, low, high), *tail)] = None
    return list(result)


def _join_counts(counts: list[tuple[int, int | None]], least_only: bool) -> list[tuple[int, int | None]]:
    """Intervals with those made one that leave no gap; `least_only`: all that counts is the least number."""
    counts.sort(key=lambda interval: interval[0])
    if least_only and len(counts) > 1:
        return [(counts[0][0], counts[0][0])]
    joined = counts[:1]
    for low, high in counts[1:]:
        last_low, last_high = joined[-1]
        if last_high is None or low <= last_high + 1:
            joined[-1] = (last_low, None if last_high is None or high is None else max(last_high, high))
        else:
            joined.append((low, high))
    return joined


def _first(node: Regex) -> Regex:
    return node.parts[0] if isinstance(node, Concat) else node


def _counted_head(node: Regex) -> tuple[Regex, int, int | None]:
    """(x, a, b) of a node that begins with x{a,b}; anything else is itself, once."""
    head = _first(node)
    return (head.item, head.low, head.high) if isinstance(head, Repeat) else (head, 1, 1)


# -------------------------------------------------------------------- intersection and complement


def intersect(*items: Regex) -> Regex:
    """The intersection; ANY_STRING of nothing."""
    found: dict[Regex, None] = {}
    excluded: list[Regex] = []
    pending = list(reversed(items))
    while pending:
        item = pending.pop()
        if item is EMPTY:
            return EMPTY
        if item is ANY_STRING:
            continue
        if isinstance(item, Intersect):
            pending.extend(reversed(item.parts))
        elif isinstance(item, Complement):
            excluded.append(item.item)
        else:
            found[item] = None
    parts = list(found)
    if excluded:
        refused = alternate(*excluded)  # not a and not b = not (a or b)
        if refused is ANY_STRING:
            return EMPTY
        if refused in found or (isinstance(refused, Alternate) and not found.keys().isdisjoint(refused.parts)):
            return EMPTY
        rest = complement(refused)
        if rest is not ANY_STRING:
            parts.append(rest)
    if len(parts) < 2:
        return parts[0] if parts else ANY_STRING
    return _intersect_distinct(parts)


def _intersect_distinct(parts: list[Regex]) -> Regex:
    """The intersection of two or more distinct parts that are neither constants nor Intersect."""
    longest = min((high for _, high in (part.span for part in parts) if high is not None), default=None)
    if longest is not None and max(part.span[0] for part in parts) > longest:
        return EMPTY
    for part in parts:
        if part is EPSILON or isinstance(part, Chars | Words):
            return _filter(part, [other for other in parts if other is not part])
    boxes = [box for box in map(_box, parts) if box is not None]
    if len(boxes) > 1:
        common = _common_box(boxes)
        return intersect(common, *(part for part in parts if _box(part) is None))
    if boxes:
        others = [part for part in parts if part is not boxes[0]]
        if any(_fits(other, boxes[0]) for other in others):
            parts = others
    return Intersect(tuple(parts)) if len(parts) > 1 else parts[0]


def _filter(finite: Regex, others: list[Regex]) -> Regex:
    """The members of EPSILON, a Chars or a Words that are members of all `others` too."""
    if isinstance(finite, Chars):
        kept = finite.set
        for other in others:
            kept &= CharSet.union([characters for characters, target in other.transitions() if target.nullable])
        return chars(kept)
    if isinstance(finite, Words):
        boxes = [box for box in map(_box, others) if box is not None]
        others = [other for other in others if not any(other is box and _fits(finite, box) for box in boxes)]
        if not others:
            return finite
        left = finite.remaining()
        for other in others:
            excluded = isinstance(other, Complement)
            compared = other.item if isinstance(other, Complement) else other
            if isinstance(compared, Words):  # enum beside enum: no need to read letter by letter
                listed = set(compared.remaining())
                left = [word for word in left if (word in listed) != excluded]
            else:
                left = [word for word in left if matches(other, word)]
        return words(left) if len(left) < finite.high - finite.low else finite
    return EPSILON if all(other.nullable for other in others) else EMPTY


def _common_box(boxes: list[Repeat]) -> Regex:
    """C{a,b} & D{c,d} & ... = (C & D & ...){max, min}."""
    low = max(box.low for box in boxes)
    high = min((box.high for box in boxes if box.high is not None), default=None)
    if high is not None and low > high:
        return EMPTY
    letters = boxes[0].letters
    for box in boxes[1:]:
        letters &= box.letters
    return repeat(chars(letters), low, high)


def complement(item: Regex) -> Regex:
    """Every string that is no member of `item`."""
    if isinstance(item, Complement):
        return item.item
    if item is EMPTY:
        return ANY_STRING
    if item is EPSILON:
        return repeat(ANY_CHAR, 1)
    box = _box(item)
    if box is not None and box.item is ANY_CHAR:
        shorter = repeat(ANY_CHAR, 0, box.low - 1) if box.low else EMPTY
        return shorter if box.high is None else alternate(shorter, repeat(ANY_CHAR, box.high + 1))
    return Complement(item)


# Everyone shares the constants, so they must not join the family of whoever derives them first: each founds its own.
for _constant in (EMPTY, EPSILON, ANY_CHAR, ANY_STRING):
    _constant.transitions()
