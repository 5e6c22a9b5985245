"""What lark's lexer may read next: units of text that leave the parser free to go on.

What the tokens so far forbid (an *ahead*, lark_scanner) and the parser's state are a *context*. A context is *free* when
every terminal that the state takes can be read in it, leading to a context that is free again. Where what is ignored can
stand between any two tokens, nearly all are. What is ignored and leads to a free context is skipped, without a thought.

Other contexts are gone through in one breath, so that a text never stops where the parser might not know how to go on:

    x = 1 # a comment       only the end of the line may follow, which closes no bracket: the comment and the line's end
                            are one unit, read where the parser can shift the line's end
    x = 1 # a comment, and the end of the text: one unit that ends in END

A unit is a sequence of terminals, each but the last leading to a context that is not free; it may begin with what is
ignored. If texts do not begin in a free context (there is nothing that can be put between two names), there are no units:
then the texts are described by rules (lark_contextual).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from maskwright.grammars.lark_scanner import IGNORED, NOTHING, Ahead, Lexer, Words
from maskwright.grammars.lark_tables import END, Tables
from maskwright.grammars.regular import EPSILON, Regex, alternate, concat
from maskwright.grammars.regular_tables import Machine, paths, shared_languages

__all__ = ["NotFree", "Unit", "Units"]

_MAX_TERMINALS = 4  # of a unit

Context = tuple[int, Ahead]  # a state of the parser, what must not come


class NotFree(Exception):
    """There are no units: some text leads to a place from which not every terminal can be read."""


class Unit(NamedTuple):
    """What is read in one go.

    Attributes:
        terminals: what the parser takes, the last one possibly END.
        contexts: for each but the first: the state of the lexer that it begins in, and what is forbidden there.
        lefts: what each forbids after itself.
        language: the texts. Only AT_END, of lark_parser, derives the empty one.
    """

    terminals: tuple[str, ...]
    contexts: tuple[Context, ...]
    lefts: tuple[Ahead, ...]
    language: Regex


class _Reading(NamedTuple):
    """What a scanner may take, in the state `at`, where something is forbidden."""

    terminal: str
    left: Ahead
    before: Ahead
    words: Words


class Units:
    """The units of a grammar.

    Attributes:
        every: all of them.
        unreadable: terminals that the lexer does not take in some state that expects them; `never`, in all of them.

    Raises:
        NotFree: there are none.
    """

    def __init__(self, tables: Tables, lexer: Lexer) -> None:
        self._tables, self._lexer = tables, lexer
        self._starts = [lexer.starts[scanner] for scanner in tables.scanners]
        self.expected = [
            frozenset(name for name in {*reductions, *transitions} if self._is_token(name))
            for reductions, transitions in zip(tables.reductions, tables.transitions, strict=True)
        ]
        self._targets: dict[str, dict[int, None]] = {}
        for transitions in tables.transitions:
            for name, target in transitions.items():
                self._targets.setdefault(name, {})[target] = None
        self._after: dict[tuple[Ahead, int], Ahead] = {}
        self._readings: dict[Context, list[_Reading]] = {}
        self._skipped: dict[Context, dict[Ahead, dict[Ahead, Words]]] = {}
        readable = [{one.terminal for one in self._read(at, NOTHING)} for at in self._starts]
        self.unreadable = set[str]().union(*map(frozenset.difference, self.expected, readable))
        self.never = set[str]().union(*self.expected).difference(*map(frozenset.intersection, self.expected, readable))
        self._free = self._find_free()
        self._languages: dict[Words, Regex] = {}
        self._find_languages()
        self._known: dict[Context, list[Unit]] = {}
        self.every = list(dict.fromkeys(unit for state, ahead in self._free for unit in self.units(state, ahead)))

    def _is_token(self, name: str) -> bool:
        return name != END and name not in self._tables.productions and name not in self._tables.ignored

    # ---------------------------------------------------------------- contexts

    def start(self, state: int) -> int:
        """The state of the lexer in which a token begins in a state of the parser."""
        return self._starts[state]

    def after(self, left: Ahead, state: int) -> Ahead:
        """What of what a token forbids matters in the state of the parser behind it."""
        found = self._after.get((left, self._starts[state]))
        if found is None:
            found = self._lexer.restricted(left, self._starts[state])
            self._after[left, self._starts[state]] = found
        return found

    def is_free(self, state: int, ahead: Ahead) -> bool:
        return (state, ahead) in self._free

    def fits(self, unit: Unit, place: int, state: int) -> bool:
        """Whether the parser may be in a state behind terminal number `place` of a unit."""
        if unit.terminals[place] == END:
            return True
        context = self._starts[state], self.after(unit.lefts[place], state)
        free = self.is_free(state, context[1])
        return free if place + 1 == len(unit.terminals) else not free and context == unit.contexts[place]

    def _read(self, at: int, ahead: Ahead) -> list[_Reading]:
        """What can be read in a state of the lexer, something that is skipped first perhaps."""
        found = self._readings.get((at, ahead))
        if found is None:
            found = self._readings[at, ahead] = [
                _Reading(name, left, before, words)
                for before in self._skips(at, ahead)
                for (name, left), words in self._lexer.scan(at, before).items()
                if name != IGNORED
            ]
        return found

    def _skips(self, at: int, ahead: Ahead) -> dict[Ahead, dict[Ahead, Words]]:
        """The aheads that skipping leads to, the first included, with what is skipped between neighbours."""
        found = self._skipped.get((at, ahead))
        if found is None:
            found = self._skipped[at, ahead] = {}
            for before in (pending := [ahead]):
                if before not in found:
                    onward = found[before] = {}
                    for (name, left), words in self._lexer.scan(at, before).items():
                        if name == IGNORED:
                            after = self._lexer.restricted(left, at)
                            onward[after] = onward[after] | words if after in onward else words
                    pending += onward
        return found

    def _find_free(self) -> dict[Context, None]:
        """The free contexts of those that can be met: the greatest set in which every terminal leads to another."""
        first: Context = (0, NOTHING)
        ways: dict[Context, dict[str, dict[Ahead, None]]] = {}
        for state, ahead in (pending := [first]):
            if (state, ahead) in ways:
                continue
            found = ways[state, ahead] = {name: {} for name in self.expected[state] - self.unreadable}
            for reading in self._read(self._starts[state], ahead):
                if reading.terminal in found:
                    found[reading.terminal][reading.left] = None
                    pending += self._after_terminal(reading.terminal, reading.left)
            pending += ((state, before) for before in self._skips(self._starts[state], ahead))
        free = dict.fromkeys(ways)
        while True:
            kept = {
                context: None
                for context in free
                if all(
                    any(all(after in free for after in self._after_terminal(name, left)) for left in lefts)
                    for name, lefts in ways[context].items()
                )
            }
            if len(kept) == len(free):
                break
            free = kept
        if first not in free:
            raise NotFree
        return free

    def _after_terminal(self, name: str, left: Ahead) -> list[Context]:
        """The contexts that a terminal may lead to."""
        return [(state, self.after(left, state)) for state in self._targets.get(name, ())]

    # ---------------------------------------------------------------- units

    def _find_languages(self) -> None:
        """The languages of all words that are read or skipped, at once, so that equal ones are one."""
        asked = dict.fromkeys(reading.words for readings in self._readings.values() for reading in readings)
        for skips in self._skipped.values():
            for onward in skips.values():
                asked.update(dict.fromkeys(onward.values()))
        self._describe(asked)

    def _describe(self, asked: Iterable[Words]) -> None:
        """Find the languages of some words; equal ones are one language."""
        machines = [Machine(self._lexer.moves, words.first, frozenset(words.ends)) for words in asked]
        found = shared_languages(machines, self._lexer.characters)
        self._languages.update(zip(asked, found, strict=True))

    def _language(self, words: Words) -> Regex:
        """The language of words; of contexts that are only met inside of units, it is found when it is asked for."""
        if words not in self._languages:
            self._describe((words,))
        return self._languages[words]

    def units(self, state: int, ahead: Ahead) -> list[Unit]:
        """What may be read in a free context, but for what can be shifted at once and leads to a free one."""
        found = self._known.get((state, ahead))
        if found is None:
            found = self._known[state, ahead] = list(dict.fromkeys(self._find_units(state, ahead)))
        return found

    def _find_units(self, state: int, ahead: Ahead) -> Iterator[Unit]:
        at = self._starts[state]
        skips = {
            before: {after: words for after, words in onward.items() if not self.is_free(state, after)}
            for before, onward in self._skips(at, ahead).items()
            if before == ahead or not self.is_free(state, before)
        }
        reached = [ahead]
        for before in reached:
            reached += [after for after in skips[before] if after not in reached]
        for before in reached:
            skipped = _between(skips, self._language, ahead, before)
            if before != ahead:
                yield Unit((END,), (), (NOTHING,), skipped)
            for (name, left), words in self._lexer.scan(at, before).items():
                if name in self.expected[state]:
                    shifted = name in self._tables.transitions[state] and before == ahead
                    unit = Unit((name,), (), (left,), concat(skipped, self._language(words)))
                    yield from self._extended(unit, not shifted)

    def _extended(self, unit: Unit, whole: bool) -> Iterator[Unit]:
        """A unit, if it is wanted as it is and may lead to a free context, and what it begins."""
        terminal, left = unit.terminals[-1], unit.lefts[-1]
        pinned: dict[Context, set[str]] = {}  # contexts of the lexer behind it, and what the parser takes there
        free = False
        for state, ahead in self._after_terminal(terminal, left):
            if self.is_free(state, ahead):
                free = True
            else:
                pinned.setdefault((self._starts[state], ahead), set()).update(self.expected[state])
        if free and whole:
            yield unit
        for context, expected in pinned.items():
            at, ahead = context
            skips = self._skips(at, ahead)
            skipped = {before: _between(skips, self._language, ahead, before) for before in skips}
            before_it = (*unit.contexts, context)
            end = concat(unit.language, alternate(*skipped.values()))
            yield Unit((*unit.terminals, END), before_it, (*unit.lefts, NOTHING), end)
            languages: dict[tuple[str, Ahead], list[Regex]] = {}
            for reading in self._read(at, ahead):
                if reading.terminal in expected:
                    words = concat(skipped[reading.before], self._language(reading.words))
                    languages.setdefault((reading.terminal, reading.left), []).append(words)
            if languages and len(unit.terminals) == _MAX_TERMINALS:
                raise NotFree
            for (name, after), ways in languages.items():
                language = concat(unit.language, alternate(*ways))
                longer = Unit((*unit.terminals, name), before_it, (*unit.lefts, after), language)
                yield from self._extended(longer, True)


def _between(
    skips: Mapping[Ahead, Mapping[Ahead, Words]], language: Callable[[Words], Regex], begin: Ahead, end: Ahead
) -> Regex:
    """What may be skipped from one ahead to another."""
    if begin == end and not any(skips.values()):
        return EPSILON
    numbers = {ahead: number for number, ahead in enumerate(skips)}
    ways = {
        numbers[ahead]: {numbers[after]: language(words) for after, words in onward.items()}
        for ahead, onward in skips.items()
    }
    return paths(ways, numbers[begin], numbers[end])
