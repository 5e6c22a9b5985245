"""Regular languages over Unicode scalar values: the one representation of texts of strings and of numbers.

    r = concat(chars(CharSet([(97, 122)])), repeat(ANY_CHAR, 0, 5))     make (simplified on construction)
    r.nullable, r.transitions(), r.derivative(ord("a"))                 walk
    matches(r, "abc"), is_empty(r), length_bounds(r), finite_words(r, 100), example(r)

`regular_nodes` and `regular_operators` have the nodes and how one follows from another; this module adds the questions
whose answers need a search through them, and is what everyone imports.

Complement and intersection make emptiness PSPACE-hard, so searches have a budget of nodes and end in LimitExceeded,
never in a wrong answer. Nodes without them are non-empty by construction and are never searched.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

from maskwright.grammars.charset import ALL, EMPTY_SET, CharSet
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.regular_nodes import (
    ANY_CHAR,
    EMPTY,
    EPSILON,
    Chars,
    Empty,
    Epsilon,
    Regex,
    Transitions,
    Words,
    chars,
    literal,
    matches,
    words,
)
from maskwright.grammars.regular_operators import (
    ANY_STRING,
    Alternate,
    Complement,
    Concat,
    Intersect,
    Repeat,
    alternate,
    complement,
    concat,
    intersect,
    repeat,
)
from maskwright.grammars.stopwatch import tick

__all__ = [
    "ANY_CHAR",
    "ANY_STRING",
    "EMPTY",
    "EPSILON",
    "MAX_NODES",
    "Alternate",
    "Chars",
    "Complement",
    "Concat",
    "Empty",
    "Epsilon",
    "Intersect",
    "Regex",
    "Repeat",
    "Transitions",
    "Words",
    "alternate",
    "chars",
    "complement",
    "concat",
    "example",
    "extent",
    "farthest_end",
    "finite_words",
    "intersect",
    "is_empty",
    "lasting",
    "length_bounds",
    "literal",
    "matches",
    "repeat",
    "words",
]

MAX_NODES = 20_000  # derivatives visited by one search; some 50 microseconds each
_MAX_LEFT = 64  # derivatives that `extent` looks at


class _Budget:
    """How many nodes a search may still visit."""

    __slots__ = ("maximum", "visited")

    def __init__(self, maximum: int) -> None:
        self.visited, self.maximum = 0, maximum

    def spend(self) -> None:
        tick()
        self.visited += 1
        if self.visited > self.maximum:
            raise LimitExceeded(
                "max_nodes",
                self.visited,
                self.maximum,
                what="search through a combination of string languages",
                hint="fewer or shorter patterns have to be combined by `allOf` or `not` here",
            )


# -------------------------------------------------------------------- emptiness


def is_empty(node: Regex, max_nodes: int = MAX_NODES) -> bool:
    """Whether the language has no member (exact; memoised on every node that the search decides).

    Raises:
        LimitExceeded: deciding it takes more than `max_nodes` derivatives.
    """
    return _is_empty(node, _Budget(max_nodes))


def _is_empty(node: Regex, budget: _Budget) -> bool:
    """The recursion follows the nesting of operators only, which is bounded."""
    if node.empty is None:
        if node.nullable:
            node.empty = False
        elif isinstance(node, Concat):
            node.empty = any(_is_empty(part, budget) for part in node.parts)
        elif isinstance(node, Alternate):
            node.empty = all(_is_empty(part, budget) for part in node.parts)
        elif isinstance(node, Repeat):
            node.empty = _is_empty(node.item, budget)  # low > 0: the node is not nullable
        elif isinstance(node, Complement) and node.item.span[1] is not None:
            node.empty = False  # finitely many strings are left out of infinitely many
        elif isinstance(node, Intersect) and _has_short_member(node):
            node.empty = False
        elif isinstance(node, Intersect) and (_misses_letters(node) or _is_empty(_without_counts(node), budget)):
            node.empty = True
        else:
            _search(node, budget)
    return bool(node.empty)


def _has_short_member(node: Intersect) -> bool:
    """Whether it is a language and bounds on its length, and a shortest member is seen to be within them."""
    if len(node.parts) != 2:
        return False
    bounds, other = node.parts
    if not (isinstance(bounds, Repeat) and bounds.item is ANY_CHAR):
        bounds, other = other, bounds
    if not (isinstance(bounds, Repeat) and bounds.item is ANY_CHAR and other.plain):
        return False
    return bounds.low <= other.span[0] and (bounds.high is None or other.span[0] <= bounds.high)


def _misses_letters(node: Intersect) -> bool:
    """Whether one part plainly needs a character that another one never has."""
    for narrow in node.parts:
        if narrow.letters != ALL:
            for part in node.parts:
                if part is not narrow and any(not needed & narrow.letters for needed in _needed(part)):
                    return True
    return False


def _needed(node: Regex) -> frozenset[CharSet]:
    """Sets of which every member has a character each, as far as is seen at a glance."""
    match node:
        case Chars():
            return frozenset((node.set,))
        case Words() if node.high - node.low == 1:
            return frozenset(map(CharSet.of, node.remaining()[0]))
        case Repeat() if node.low:
            return _needed(node.item)
        case Concat():
            return frozenset().union(*map(_needed, node.parts))
        case Alternate():
            found = _needed(node.parts[0])
            for part in node.parts[1:]:
                if not found:
                    break
                found &= _needed(part)
            return found
    return frozenset()


def _without_counts(node: Intersect) -> Regex:
    """A superset without bounds on the length: a search that must visit all of it should not do so for every length."""
    others = [part for part in node.parts if not (isinstance(part, Repeat) and part.item is ANY_CHAR)]
    return intersect(*others) if len(others) < len(node.parts) else ANY_STRING


def _search(start: Regex, budget: _Budget) -> None:
    """Decide a node whose class is `searched` by searching its derivatives for a member, the most promising first."""
    came_from: dict[Regex, Regex | None] = {start: None}
    pending = [(0, 0, start)]
    while pending:
        node = heappop(pending)[2]
        budget.spend()
        branches = (part for _, target in node.transitions() for part in _branches_of(target))
        for target in branches:
            if target in came_from:
                continue
            if target.empty is None and not target.nullable and target.searched:
                came_from[target] = node
                heappush(pending, (_effort(target), len(came_from), target))
            elif not _is_empty(target, budget):
                step: Regex | None = node
                while step is not None:  # whatever leads to a member has one
                    step.empty = False
                    step = came_from[step]
                return
    for node in came_from:  # all that can be reached from these was visited, and none is nullable
        node.empty = True


def _branches_of(node: Regex) -> tuple[Regex, ...]:
    """Languages one of which has a member if `node` has: a union is searched branch by branch, in the same search."""
    return node.parts if isinstance(node, Alternate) and node.empty is None else (node,)


def _effort(node: Regex) -> int:
    """How far from a member a node seems: every operand of an intersection has to come to its end."""
    return sum(part.span[0] for part in node.parts) if isinstance(node, Intersect) else node.span[0]


# -------------------------------------------------------------------- members


def example(node: Regex, max_nodes: int = MAX_NODES) -> str | None:
    """A shortest member, of letters and digits where possible; None when there is none.

    Raises:
        LimitExceeded: finding it takes more than `max_nodes` derivatives.
    """
    return _example(node, _Budget(max_nodes))


def _example(node: Regex, budget: _Budget) -> str | None:
    if _is_empty(node, budget):
        return None
    if node.nullable:
        return ""
    if isinstance(node, Chars):
        return _pick(node.set)
    if isinstance(node, Words):
        return min(node.remaining(), key=len)
    if isinstance(node, Concat):
        return "".join(_example(part, budget) or "" for part in node.parts)
    if isinstance(node, Repeat):
        return (_example(node.item, budget) or "") * node.low
    if isinstance(node, Alternate):
        if node.plain:
            return _example(min(node.parts, key=lambda part: part.span[0]), budget)
        found = [text for text in (_example(part, budget) for part in node.parts) if text is not None]
        return min(found, key=len)
    return _shortest(node, budget)


_COMPOSED = (Chars, Words, Concat, Repeat, Alternate)  # what `_example` takes apart; other plain nodes are searched


def _shortest(start: Regex, budget: _Budget) -> str:
    """A shortest member of a node that has one: A*, where a node's span says how much is missing at least."""
    length = {start: 0}
    came_from: dict[Regex, tuple[Regex, CharSet]] = {}
    number = count()
    pending = [(start.span[0], 0, next(number), start)]  # (total at least, -length, number, node): the nearest first
    while True:
        _, negative, _, node = heappop(pending)
        if node.nullable or node.plain and isinstance(node, _COMPOSED):
            break
        if -negative > length[node]:
            continue  # reached on a shorter way since
        budget.spend()
        for characters, target in node.transitions():
            reached = length[node] + 1
            if reached < length.get(target, reached + 1) and not _is_empty(target, budget):
                length[target] = reached
                came_from[target] = (node, characters)
                heappush(pending, (reached + target.span[0], -reached, next(number), target))
    letters = [_example(node, budget) or ""]
    while node is not start:
        node, characters = came_from[node]
        letters.append(_pick(characters))
    return "".join(reversed(letters))


_PLEASANT = tuple(CharSet([part]) for part in ((0x61, 0x7A), (0x30, 0x39), (0x41, 0x5A), (0x21, 0x7E)))


def _pick(characters: CharSet) -> str:
    """One character of a set that a person can read, if there is any."""
    for pleasant in _PLEASANT:
        both = characters & pleasant
        if both:
            return chr(both.first)
    return chr(characters.first)


def length_bounds(node: Regex, max_nodes: int = MAX_NODES) -> tuple[int, int | None]:
    """(shortest, longest) length of a member in code points; None is unbounded; (0, 0) of an empty language.

    `shortest` is exact. `longest` is exact for nodes without Intersect and Complement, else it may be too large.

    Raises:
        LimitExceeded: finding a shortest member takes more than `max_nodes` derivatives.
    """
    if node.plain:
        return node.span
    shortest = example(node, max_nodes)
    return (0, 0) if shortest is None else (len(shortest), node.span[1])


def farthest_end(node: Regex) -> int | None:
    """So many characters at most are missing to an end, in the language and whatever is left of it; None: not known.

    Found from the operators: a bound, and not always the least. Intersections and complements would take a search.
    """
    if node.reach is not None:
        return node.reach
    match node:
        case Epsilon():
            return 0
        case Chars():
            return 1
        case Words():
            return max(map(len, node.words[node.low : node.high])) - node.depth
        case Repeat():
            inner = farthest_end(node.item)
            return None if inner is None else inner + max(node.low - 1, 0) * node.item.span[0]
        case Alternate() | Concat():
            behind, found = 0, 0
            for part in reversed(node.parts):
                inner = farthest_end(part)
                if inner is None:
                    return None
                found = max(found, inner + behind)
                if isinstance(node, Concat):
                    behind += part.span[0]
            return found
    return None


def lasting(node: Regex) -> CharSet:
    """Characters of which any number may be written, in any order, and the text can still be finished.

    Found at a glance: there may be more. It holds only of a language that has a member. In what is left of `.*foo`, of
    `\\S(.*\\S)?` and of names that are no keyword, such texts are all texts, or all letters of a name.
    """
    match node:
        case Repeat():
            if node.high is None and isinstance(node.item, Chars):
                return node.item.set
            return lasting(node.item) if node.low or node.item.empty is False else EMPTY_SET
        case Concat():
            found = EMPTY_SET
            for part in node.parts:
                found = _larger(found, lasting(part))
                if not part.nullable:
                    break
            return found
        case Alternate():
            found = EMPTY_SET
            for part in node.parts:
                if part.empty is False:
                    found = _larger(found, lasting(part))
            return found
        case Intersect():
            # What goes on without end comes to texts that are long enough for any number of these.
            others = [part for part in node.parts if not _has_all_long(part)]
            return ALL if not others else lasting(others[0]) if len(others) == 1 else EMPTY_SET
        case Complement():
            return ALL if _has_all_long(node) else EMPTY_SET
    return EMPTY_SET


def extent(node: Regex) -> int | None:
    """So long at least is some member that begins with any text that some member begins with; None: as long as one likes.

    Found by looking at what is left after each short text; there may be more to it.
    """
    if isinstance(node, Intersect) and (whole := [part for part in node.parts if _has_all_long(part)]):
        # They take nothing from the others but short members.
        others = [part for part in node.parts if part not in whole]
        rest = extent(intersect(*others) if others else ANY_STRING)
        return rest if rest is None or rest > max(map(_shortest_of_all, whole)) else 0
    found: int | None = None
    seen, level, length = {node}, [node], 0
    while level:
        following: list[Regex] = []
        for left in level:
            try:
                if is_empty(left, _MAX_LEFT):
                    continue
            except LimitExceeded:
                return length if found is None else min(found, length)
            if not _is_endless(left):
                longest = length + (left.span[1] or 0) if left.plain else length
                found = longest if found is None else min(found, longest)
            for _, target in left.transitions():
                if target not in seen:
                    seen.add(target)
                    following.append(target)
        level, length = following, length + 1
        if len(seen) > _MAX_LEFT and level:
            return length if found is None else min(found, length)
    return found


def _is_endless(node: Regex) -> bool:
    """Whether a language, which has a member, plainly has members of any length."""
    if node.plain:
        return node.span[1] is None
    if isinstance(node, Complement):
        rest = node.item  # behind a character that it does not go on with there is every text
        return rest.span[1] is not None or sum(characters.size for characters, _ in rest.transitions()) < ALL.size
    return lasting(node) != EMPTY_SET


def _larger(left: CharSet, right: CharSet) -> CharSet:
    return right if right.size > left.size else left


def _shortest_of_all(node: Regex) -> int:
    """The length beyond which a language plainly has every text (see _has_all_long)."""
    return (node.item.span[1] or 0) if isinstance(node, Complement) else node.low if isinstance(node, Repeat) else 0


def _has_all_long(node: Regex) -> bool:
    """Whether a language plainly has every text beyond some length."""
    if isinstance(node, Complement):
        return node.item.span[1] is not None
    return isinstance(node, Repeat) and node.item == ANY_CHAR and node.high is None


def finite_words(node: Regex, limit: int, max_nodes: int = MAX_NODES) -> tuple[str, ...] | None:
    """All members, sorted, when there are at most `limit`; None when there are more.

    Raises:
        LimitExceeded: listing them takes more than `max_nodes` derivatives.
    """
    if isinstance(node, Words):
        return tuple(node.remaining()) if node.high - node.low <= limit else None
    if node.plain and node.span[1] is None:
        return None
    budget = _Budget(max_nodes)
    if _is_empty(node, budget):
        return ()
    found = [""] if node.nullable else []
    path = [node]  # path[i] is what may follow letters[:i]; more[i] are the branches of it that are left
    more = [_branches(node, limit, budget)]
    letters: list[str] = []
    on_path = {node}
    while path:
        branches = more[-1]
        if branches is None or len(found) > limit:
            return None
        if not branches:
            on_path.discard(path.pop())
            more.pop()
            if letters:
                letters.pop()
            continue
        letter, target = branches.pop()
        if target in on_path:
            return None  # a loop that leads to a member: infinitely many
        budget.spend()
        letters.append(letter)
        if target.nullable:
            found.append("".join(letters))
        path.append(target)
        on_path.add(target)
        more.append(_branches(target, limit, budget))
    return tuple(sorted(found)) if len(found) <= limit else None


def _branches(node: Regex, limit: int, budget: _Budget) -> list[tuple[str, Regex]] | None:
    """(letter, non-empty derivative) for every letter; None when there are more than `limit`: as many members, then."""
    live = [(characters, target) for characters, target in node.transitions() if not _is_empty(target, budget)]
    if sum(characters.size for characters, _ in live) > limit:
        return None
    return [(chr(code_point), target) for characters, target in live for code_point in characters]
