"""States of regular texts: the inside of JSON strings, numbers, and whole regular grammars.

A state is a tuple of regular languages read in parallel: the first must end non-empty, the others are watched, and which
of them hold decides the result code. Each state is derived when first reached.

Lengths are counted in the register, not in states, where that is exact:
- a plain alphabet between two bounds (`maxLength` without a pattern) has a state a bound;
- a pattern under an upper bound counts freely while the bound is further away than any of its states is from an end,
  and only then goes on as a product of pattern and length. (A host name may have 253 characters, and is never more than
  one from an end.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from maskwright.compile.automaton import PUBLISHED, Automaton, Edge, Named, Owner
from maskwright.compile.plans import NOT_SAFE, Safe
from maskwright.compile.spelling import Spelling
from maskwright.grammars import regular
from maskwright.grammars.charset import EMPTY_SET, CharSet
from maskwright.grammars.errors import TokenizerError
from maskwright.grammars.regular import Chars, Intersect, Regex, Repeat
from maskwright.grammars.stopwatch import tick
from maskwright.kernels import layout as L

__all__ = ["Parts", "TextStates", "derive"]

Parts = tuple[Regex, ...]

_QUOTE = 0x22
_MAX_VISITED = 600  # states of a pattern that is to be counted in the register, where they are looked at
_MAX_PROVED = 64  # of them, where each has to be proved alive
_MAX_BREADTH = 6_000  # of all these states together
_MAX_LOW = 16  # a lower bound that is left to the product of states


class TextStates:
    """States of texts with one way to name their results.

    Args:
        spelling: the text is the inside of a JSON string, spelled so, and a quote ends it; None: it is written as it is
            in UTF-8, and ends late (before the first byte that does not continue it).
        result: the result code of a text that ends with these parts left (parts[0] is nullable).
        kind: names the results to other automata (see Owner.share_key), or None.
        whole: the text is all there is, and nothing follows it: else the remainder of every token that could go on
            behind an early end is kept with a state's row.
        allocate: makes new states, unless the automaton does.
    """

    def __init__(
        self,
        automaton: Automaton,
        spelling: Spelling | None,
        result: Callable[[Parts], int],
        kind: Hashable | None = None,
        whole: bool = False,
        allocate: Callable[[int, Owner], int] | None = None,
    ) -> None:
        self.automaton, self.result = automaton, result
        self._allocate = allocate or automaton.allocate
        self.otherwise = L.NOTHING_FOLLOWS if whole else 0
        self.quoted = spelling is not None
        self.kind = None if kind is None else (kind, spelling)
        self._plans = automaton.plans(spelling)
        self._states: dict[Parts, int] = {}
        self._bounded: dict[tuple[Regex, int], int] = {}
        self._farthest: dict[Regex, int | None] = {}
        self.products: set[Parts] = set()
        """States of a pattern and a length that are known not to be worth a register."""

    def state(self, parts: Parts) -> int:
        """The state that has these languages before it. parts[0] is not empty."""
        found = self._states.get(parts)
        if found is None:
            found = self._states[parts] = self._allocate(1, _Text(self, parts))
        return found

    def derive(self, parts: Parts) -> list[tuple[CharSet, Parts]]:
        """See the function; a subclass may read something else in parallel."""
        return derive(parts, self._plans.alphabet)

    def may_end(self, parts: Parts) -> bool:
        """Whether the text may end with these parts left."""
        return parts[0].nullable

    def edges(self, parts: Parts) -> list[Edge]:
        """The transitions of `state(parts)`, the closing quote left out."""
        return self.lay(self.derive(parts), parts)[0]

    def lay(self, groups: list[tuple[CharSet, Parts]], loop: Parts) -> tuple[list[Edge], Safe]:
        """The transitions over sets of characters to the states after them, and the safe set of the state before `loop`."""
        targets = [self.state(after) for _, after in groups]
        plan = self._plans.plan(tuple(charset for charset, _ in groups))
        back = next((charset for charset, after in groups if after == loop), EMPTY_SET)
        return self.automaton.lay_plan(plan, targets), self._safe(loop[0], back)

    def _safe(self, language: Regex, back: CharSet) -> Safe:
        """The safe set of a state that `language` is before, which the characters of `back` lead back to."""
        lasting = EMPTY_SET if self._plans.alphabet is not None else regular.lasting(language)
        kept = lasting if lasting.size > back.size else back
        return self._plans.safe(kept) if kept else NOT_SAFE

    def count(self, charset: CharSet, target: int) -> tuple[list[Edge], Safe]:
        """The transitions over one set of characters to `target`, and the safe set of `target`."""
        plan = self._plans.plan((charset,))
        return self.automaton.lay_plan(plan, [target]), self._plans.safe(charset)

    def bounded_state(self, language: Regex, slack: int) -> int:
        """A state of a counted pattern: `language` before it, and the bound further than `slack` characters away."""
        found = self._bounded.get((language, slack))
        if found is None:
            found = self._bounded[language, slack] = self._allocate(1, _Bounded(self, language, slack))
        return found

    def emit_bounded(self, state: int, language: Regex, slack: int, op: int, argument: int) -> None:
        """Publish a state of a counted pattern that does `op` as it is entered."""
        groups = self.derive((language,))
        targets = [self.bounded_state(after, slack) for _, (after,) in groups]
        plan = self._plans.plan(tuple(charset for charset, _ in groups))
        edges = self.automaton.lay_plan(plan, targets)
        back = next(
            (charset for (charset, _), target in zip(groups, targets, strict=True) if target == state), EMPTY_SET
        )
        safe = self._safe(language, back)
        final = -1
        if language.nullable and self.quoted:
            edges += self.ending((language,))
        elif language.nullable:
            final = self.result((language,))
        self.automaton.emit(state, edges, final=final, op=op, argument=argument, safe=safe, otherwise=self.otherwise)

    def farthest_end(self, language: Regex) -> int | None:
        """So many characters at most is any state of a language away from an end; None when it has too many states."""
        known = _known_end(language) if self._plans.alphabet is None else None
        if known is not None:
            return known
        if language not in self._farthest:
            self._farthest[language] = _farthest_end(language, self._plans.alphabet)
        return self._farthest[language]

    def ending(self, parts: Parts) -> list[Edge]:
        """The closing quote, where the text may end."""
        if not self.may_end(parts):
            return []
        return [(_QUOTE, _QUOTE, self.automaton.end(self.result(parts)))]


def derive(parts: Parts, alphabet: CharSet | None = None) -> list[tuple[CharSet, Parts]]:
    """The characters that may follow and what is left after them, equal rests together; dead ends left out.

    With an alphabet, what cannot be finished in it is a dead end too.
    """
    letters = None if alphabet is None else regular.repeat(regular.chars(alphabet), 0)

    def dead(rest: Regex) -> bool:
        if letters is None and rest.empty is not None:
            return rest.empty
        return regular.is_empty(rest if letters is None else regular.intersect(rest, letters))

    if len(parts) == 1:
        return [(charset, (rest,)) for charset, rest in parts[0].transitions() if not dead(rest)]
    groups: dict[Parts, CharSet] = {}
    for charset, rest in parts[0].transitions():
        if dead(rest):
            continue
        split: list[tuple[CharSet, Parts]] = [(charset, (rest,))]
        for watched in parts[1:]:
            tick()
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


class _Text:
    """Owner of the state before `parts`."""

    __slots__ = ("key", "parts", "states")

    def __init__(self, states: TextStates, parts: Parts) -> None:
        self.states, self.parts = states, parts
        self.key: Hashable = parts  # of the language; of a state that counts, what its register leaves open

    def share_key(self, index: int) -> Hashable | None:
        return None if self.states.kind is None else (self.states.kind, self.key)

    def lower(self, index: int, state: int) -> None:
        states, parts, automaton = self.states, self.parts, self.states.automaton
        if len(parts) == 1 and _counts(parts[0]):
            self._lower_counted(state)
            return
        groups = states.derive(parts)
        if len(parts) == 1 and (split := _split_bound(parts[0])) is not None:
            language, bound = split
            slack = None if parts in states.products else states.farthest_end(language)
            if slack is not None and slack + 2 <= bound:
                states.emit_bounded(state, language, slack, L.OP_SET, bound - slack)
                self.key = language, slack
                return
            states.products.update(after for _, after in groups)
        edges, safe = states.lay(groups, parts)
        ends = states.may_end(parts)
        if states.quoted:
            edges += states.ending(parts)
        if not edges and (states.quoted or not ends):
            raise TokenizerError(
                "the grammar requires a character that no token of the vocabulary can write; "
                "use a vocabulary with a token for every byte"
            )
        if states.quoted or not ends:
            automaton.emit(state, edges, safe=safe)
        else:
            # Where nothing can follow, the end is certain: it need not wait for another byte.
            op = L.OP_NONE if edges else L.OP_POP
            automaton.emit(state, edges, final=states.result(parts), op=op, safe=safe, otherwise=states.otherwise)

    def _lower_counted(self, state: int) -> None:
        """C{low,high}: count down to the lower bound, then to the upper one.

        Each bound has an entry, which sets the register, and a loop, which counts and goes on to the next entry at zero.
        """
        states, automaton = self.states, self.states.automaton
        must = self.parts[0]
        assert isinstance(must, Repeat) and isinstance(must.item, Chars)
        closing: list[Edge] = []
        if must.low:
            rest = regular.repeat(must.item, 0, None if must.high is None else must.high - must.low)
            count, after = must.low, states.state((rest,))
        else:
            assert must.high is not None
            count, after = must.high, states.state((regular.EPSILON,))
            closing = states.ending(self.parts) if states.quoted else []
        # Before so many characters, the entry is like the loop.
        self.key = must.item, rest if must.low else None
        loop = automaton.allocate(1, Named(self.share_key(0)) if states.kind is not None else PUBLISHED)
        edges, safe = states.count(must.item.set, loop)
        if must.high is None:
            safe = (*safe[:2], safe[2] | L.SAFE_ENDLESS)
        elif must.high == count and states.quoted:
            safe = (*safe[:2], safe[2] | L.SAFE_LAST)
        if not edges and not closing:
            raise TokenizerError("the grammar requires characters that no token of the vocabulary can write")
        final = states.result(self.parts) if not states.quoted and must.nullable else -1
        edges += closing
        last = states.otherwise
        automaton.emit(loop, edges, final=final, op=L.OP_COUNT, argument=after, safe=safe, otherwise=last)
        automaton.emit(state, edges, final=final, op=L.OP_SET, argument=count, otherwise=last)


class _Bounded:
    """Owner of TextStates.bounded_state."""

    __slots__ = ("language", "slack", "states")

    def __init__(self, states: TextStates, language: Regex, slack: int) -> None:
        self.states, self.language, self.slack = states, language, slack

    def share_key(self, index: int) -> Hashable | None:
        return None if self.states.kind is None else (self.states.kind, (self.language, self.slack))

    def lower(self, index: int, state: int) -> None:
        rest = regular.intersect(self.language, regular.repeat(regular.ANY_CHAR, 0, self.slack))
        self.states.emit_bounded(state, self.language, self.slack, L.OP_COUNT, self.states.state((rest,)))


def _known_end(language: Regex) -> int | None:
    """regular.farthest_end, and Regex.reach of a language with a lower bound on its length."""
    if isinstance(language, Intersect) and len(language.parts) == 2:
        for part, bound in (language.parts, language.parts[::-1]):
            if isinstance(bound, Repeat) and bound.item == regular.ANY_CHAR and bound.high is None:
                return None if part.reach is None else part.reach + bound.low
    return regular.farthest_end(language)


def _farthest_end(language: Regex, alphabet: CharSet | None) -> int | None:
    """See TextStates.farthest_end: a visit of all states, then distances from the ends backwards."""
    before: dict[Regex, list[Regex]] = {language: []}
    queue = [language]
    breadth = 0
    most = _MAX_VISITED if language.plain else _MAX_PROVED
    for state in queue:
        breadth += _breadth(state)
        if breadth > _MAX_BREADTH:
            return None
        for _, (after,) in derive((state,), alphabet):
            if after not in before:
                if len(before) >= most:
                    return None
                before[after] = []
                queue.append(after)
            before[after].append(state)
    reached = {state for state in queue if state.nullable}
    frontier, distance = list(reached), 0
    while len(reached) < len(queue):
        frontier = [
            state for state in {origin for after in frontier for origin in before[after]} if state not in reached
        ]
        reached.update(frontier)
        distance += 1
        if not frontier:
            return None  # a state that only characters outside the alphabet could finish
    return distance


def _breadth(state: Regex) -> int:
    """Roughly, how many places of a pattern a state stands for: what deriving it takes."""
    parts: Parts = getattr(state, "parts", ())
    return len(parts) + sum(len(getattr(part, "parts", ())) for part in parts)


def _split_bound(must: Regex) -> tuple[Regex, int] | None:
    """A language as (language, upper bound on its length), where it is the intersection of such a pair."""
    if not isinstance(must, Intersect):
        return None
    for part in must.parts:
        if (
            isinstance(part, Repeat)
            and part.item == regular.ANY_CHAR
            and part.high is not None
            and part.low <= _MAX_LOW
        ):
            others = [other for other in must.parts if other is not part]
            if all(other.span[0] < part.low for other in others):
                others.append(regular.repeat(regular.ANY_CHAR, part.low))
            return regular.intersect(*others), part.high
    return None


def _counts(must: Regex) -> bool:
    """Whether a language is C{low,high} with a bound worth a register."""
    return isinstance(must, Repeat) and isinstance(must.item, Chars) and (must.high is not None or must.low > 0)
