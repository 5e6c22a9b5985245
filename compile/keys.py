"""The keys of an object: named ones, and classes of other keys.

Two keys that no shape names are of one class when the same patterns and name languages match them: then every shape asks
the same of their values. Classes are disjoint languages, without the named keys.

The automaton of keys is the trie of the named keys laid over the language of the classes that may come, so that "any
key but these" needs no complement. The result code of a key is the number of its class, or after those its own number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from maskwright.compile.texts import Parts, TextStates, derive
from maskwright.compile.words import Words
from maskwright.grammars import boolean, regular
from maskwright.grammars.boolean import Bool
from maskwright.grammars.charset import CharSet
from maskwright.grammars.errors import LimitExceeded
from maskwright.grammars.ir import ObjectShape
from maskwright.grammars.regular import Regex

if TYPE_CHECKING:
    from maskwright.compile.values import GrammarStates

__all__ = ["KeyClass", "KeyClasses", "OtherKeys", "is_counted", "question_of"]

_MAX_CLASSES = 64
_MAX_LISTED = 256  # keys of a class that are given names


class OtherKeys(NamedTuple):
    """What a matcher must know to tell the other keys of an object apart.

    Attributes:
        extent: any key that has begun can become one of so many characters; None: of any number.
    """

    extent: int | None


class KeyClass:
    """Other keys that every shape treats alike.

    Attributes:
        number: its result code.
        language: its keys; `wide`: with those named keys that its patterns match as well.
        questions: what each shape asks of their values.
        matched: the patterns and languages of names that match them.
    """

    def __init__(
        self,
        number: int,
        language: Regex,
        wide: Regex,
        questions: Mapping[ObjectShape, Bool],
        matched: frozenset[Regex],
    ) -> None:
        self.number, self.language, self.wide, self.questions, self.matched = number, language, wide, questions, matched

    def is_counted(self, shape: ObjectShape) -> bool:
        """Whether a counting shape looks at the values of these keys."""
        return not any(pattern in self.matched for pattern, _ in shape.patterns)


def is_counted(shape: ObjectShape, properties: Mapping[str, Bool], key: str) -> bool:
    """Whether a counting shape looks at the value of the key `key`."""
    return key not in properties and not any(regular.matches(pattern, key) for pattern, _ in shape.patterns)


def question_of(shape: ObjectShape, properties: Mapping[str, Bool], key: str) -> Bool:
    """What a shape asks of the value of the key `key`."""
    if shape.names != regular.ANY_STRING and not regular.matches(shape.names, key):
        return boolean.FALSE
    asked = [properties[key]] if key in properties else []
    asked += [expression for pattern, expression in shape.patterns if regular.matches(pattern, key)]
    return boolean.all_of(asked) if asked else shape.additional


class KeyClasses:
    """The classes of other keys of some shapes, and the automata of keys built from them.

    Attributes:
        names: the named keys: those given, and behind them those of classes that have few. So none of these comes twice, and
            it is known when they are used up.
        free: whether no pattern or language of names tells other keys apart: they are one class, and named ones need not be
            taken out.
        others: the classes that are left.
    """

    def __init__(self, shapes: Sequence[ObjectShape], names: Sequence[str]) -> None:
        self.names = tuple(names)
        languages: dict[Regex, None] = {}
        for shape in shapes:
            if shape.names != regular.ANY_STRING:
                languages[shape.names] = None
            languages.update(dict.fromkeys(pattern for pattern, _ in shape.patterns))
        self._languages = tuple(languages)
        split = self._split(languages)
        self.free = len(split) == 1
        if not self.free:
            split = self._listing(split)
        self.others = [
            KeyClass(
                number,
                regular.ANY_STRING if self.free else language,
                regular.ANY_STRING if self.free else wide,
                {shape: _question(shape, matched) for shape in shapes},
                matched,
            )
            for number, (language, wide, matched) in enumerate(split)
        ]
        self._number_of = {other.matched: other.number for other in self.others}
        self._laid_over: dict[int, tuple[Regex, frozenset[int]]] = {}
        self._words: Words | None = None
        self._texts: dict[tuple[int, ...], TextStates] = {}
        self._starts: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}

    def _listing(
        self, split: Sequence[tuple[Regex, Regex, frozenset[Regex]]]
    ) -> list[tuple[Regex, Regex, frozenset[Regex]]]:
        """The classes that have many keys; those of the others become named ones, in order of their characters."""
        listed, left = list[str](), []
        for one in split:
            language = one[0]
            few = regular.finite_words(language, _MAX_LISTED) if language.span[1] is not None else None
            if few is None:
                left.append(one)
            else:
                listed += few
        self.names += tuple(sorted(listed))
        return left

    def _split(self, languages: Iterable[Regex]) -> list[tuple[Regex, Regex, frozenset[Regex]]]:
        """The keys without a name, parted by which of `languages` match them; without and with the named keys."""
        if not languages:
            return [(regular.ANY_STRING, regular.ANY_STRING, frozenset())]
        unnamed = regular.complement(regular.words(self.names)) if self.names else regular.ANY_STRING
        found: list[tuple[Regex, Regex, frozenset[Regex]]] = [(unnamed, regular.ANY_STRING, frozenset())]
        for language in languages:
            finer = []
            for rest, wide, matched in found:
                for side, matches in (
                    (language, matched | {language}),
                    (regular.complement(language), matched),
                ):
                    part = regular.intersect(rest, side)
                    if not regular.is_empty(part):
                        finer.append((part, regular.intersect(wide, side), matches))
            found = finer
            if len(found) > _MAX_CLASSES:
                raise LimitExceeded("max_key_classes", len(found), _MAX_CLASSES, what="classes of keys of one object")
        return found

    def _lay_over(self, other: KeyClass, alphabet: CharSet | None) -> tuple[Regex, frozenset[int]]:
        """The language of a class under a trie of the named keys, and those of them that the trie must forbid in it.

        A language without some words has a state for each of their prefixes. So they are left in, and forbidden, where
        that leads to no dead end: where more keys begin with each than there are names.
        """
        if self.free or not self.names:
            return other.wide, frozenset(range(len(self.names)))
        inside = set[int]()
        for number, name in enumerate(self.names):
            rest = other.wide
            for character in name:
                rest = rest.derivative(ord(character))
            if rest.nullable:
                inside.add(number)
                if alphabet is not None or not _has_many(rest, len(self.names)):
                    return other.language, frozenset()
        return other.wide, frozenset(inside)

    def start(self, states: GrammarStates, keys: Iterable[int | KeyClass]) -> int:
        """The state after the opening quote of one of the named keys, or of the classes, that `keys` has; 0 of none."""
        numbers, others = list[int](), list[KeyClass]()
        for key in keys:
            if isinstance(key, int):
                numbers.append(key)
            else:
                others.append(key)
        if not numbers and not others:
            return 0
        these = (tuple(numbers), tuple(other.number for other in others))
        found = self._starts.get(these)
        if found is None:
            found = self._starts[these] = self._build(states, numbers, others)
        return found

    def _build(self, states: GrammarStates, numbers: Sequence[int], others: Sequence[KeyClass]) -> int:
        texts, parts, inside = self._other_texts(states, others)
        allowed = set(numbers)
        offset = len(self.others)
        # The language of the other keys may hold named ones: those that may not come now are forbidden in the trie.
        laid = sorted(allowed | inside)
        if not laid:
            assert texts is not None
            return texts.state(parts)
        results = {number: offset + number if number in allowed else -1 for number in laid}
        start = self.words(states).lay(states.automaton, results, 0 if texts is None else texts.state(parts), self.free)
        if start is not None:
            return start
        spelled = _SpelledKeys(states, {self.names[number]: result for number, result in results.items()}, texts)
        start_parts: Any = ("", parts if texts is not None else None)  # see _SpelledKeys
        return spelled.state(start_parts)

    def words(self, states: GrammarStates) -> Words:
        """The named keys, to be laid out."""
        if self._words is None:
            self._words = Words(states.lowering.spelling, self.names)
        return self._words

    def behind(self, states: GrammarStates, others: Sequence[KeyClass]) -> tuple[int, frozenset[int]]:
        """The state after the opening quote of a key of the classes `others`, 0 of none, and the named keys among its texts."""
        texts, parts, inside = self._other_texts(states, others)
        return 0 if texts is None else texts.state(parts), inside

    def _other_texts(
        self, states: GrammarStates, others: Sequence[KeyClass]
    ) -> tuple[TextStates | None, Parts, frozenset[int]]:
        """The states of the other keys' texts, where they start, and the named keys among them.

        Several classes are told apart by the languages that make them, read in parallel: they are fewer than the classes,
        and simpler.
        """
        if not others:
            return None, (), frozenset()
        alphabet = states.automaton.plans(states.lowering.spelling).alphabet
        for other in others:
            if other.number not in self._laid_over:
                self._laid_over[other.number] = self._lay_over(other, alphabet)
        languages = tuple(self._laid_over[other.number][0] for other in others)
        inside = frozenset[int]().union(*(self._laid_over[other.number][1] for other in others))
        parts = languages
        if len(others) > 1:
            # All of them are every key, unless one with a name is of no class: no other key is matched like it.
            whole = languages == tuple(other.wide for other in self.others) and len(inside) == len(self.names)
            parts = (regular.ANY_STRING if whole else regular.alternate(*languages), *self._languages)
        key = tuple(other.number for other in others)
        texts = self._texts.get(key)
        if texts is None:
            texts = self._texts[key] = self._new_texts(states, key)
        return texts, parts, inside

    def _new_texts(self, states: GrammarStates, codes: tuple[int, ...]) -> TextStates:
        if codes == (0,):
            return states.lowering.strings

        languages, number_of = self._languages, self._number_of

        def result(parts: Parts) -> int:
            if len(codes) == 1:
                return codes[0]
            watched = zip(languages, parts[1:], strict=True)
            return number_of[frozenset(language for language, part in watched if part.nullable)]

        return TextStates(states.automaton, states.lowering.spelling, result, allocate=states.allocate)


def _has_many(language: Regex, count: int) -> bool:
    """Whether a language has more than so many members, as far as that is easily told."""
    try:
        return regular.finite_words(language, count) is None
    except LimitExceeded:
        return False


def _question(shape: ObjectShape, matched: frozenset[Regex]) -> Bool:
    """What a shape asks of the value of an unnamed key that exactly these languages match."""
    if shape.names != regular.ANY_STRING and shape.names not in matched:
        return boolean.FALSE
    asked = [expression for pattern, expression in shape.patterns if pattern in matched]
    return boolean.all_of(asked) if asked else shape.additional


class _SpelledKeys(TextStates):
    """Keys under a policy with several spellings of a character: the trie is walked character by character.

    The parts of a state are the prefix read while it is one of a named key (else None), and the other keys' parts.
    """

    def __init__(self, states: GrammarStates, results: Mapping[str, int], others: TextStates | None) -> None:
        super().__init__(states.automaton, states.lowering.spelling, self._result, allocate=states.allocate)
        self.results, self.others = results, others

    def derive(self, parts: Any) -> list[tuple[CharSet, Any]]:
        prefix, rest = parts
        after: list[tuple[CharSet, Parts]] = derive(rest, self._plans.alphabet) if rest is not None else []
        found: list[tuple[CharSet, Any]] = []
        if prefix is not None:
            at = len(prefix)
            for code in sorted({ord(word[at]) for word in self.results if len(word) > at and word.startswith(prefix)}):
                member = CharSet([(code, code)])
                others = next((left for charset, left in after if code in charset), None)
                if others is not None or any(
                    result >= 0 and word.startswith(prefix + chr(code)) for word, result in self.results.items()
                ):
                    found.append((member, (prefix + chr(code), others)))
                after = [(left, target) for charset, target in after if (left := charset & ~member)]
        return found + [(charset, (None, target)) for charset, target in after]

    def may_end(self, parts: Any) -> bool:
        prefix, rest = parts
        if prefix in self.results:
            return self.results[prefix] >= 0
        return rest is not None and bool(rest[0].nullable)

    def _result(self, parts: Any) -> int:
        prefix, rest = parts
        if prefix in self.results:
            return self.results[prefix]
        assert self.others is not None
        return self.others.result(rest)
