"""States of context-free grammars: a phrase of a frame is a state, lowered when it is first reached.

Which bytes lead where is read off the forms of a phrase (grammars/phrases.py). A byte with one way on is an ordinary
transition or call. Where there are several, or where the frame may also end before the byte, they form a chain of
actions, and the kernels follow them all. A called frame never derives the empty text, so that a call always moves on:
its first state is an *entry*, which is not final even where the phrase is.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from itertools import pairwise

from maskwright.compile.actions import Action, Actions
from maskwright.compile.automaton import PUBLISHED, Automaton, Edge, Private
from maskwright.compile.distinct import Distinct
from maskwright.compile.embedded import ValueLoader, with_values
from maskwright.compile.plans import NOT_SAFE, Safe
from maskwright.grammars.charset import CharSet
from maskwright.grammars.errors import TokenizerError, UnsupportedError
from maskwright.grammars.frames import ByteSets, choose_frames
from maskwright.grammars.left_recursion import reachable, without_left_recursion
from maskwright.grammars.phrases import Forms, Phrase, Phrases
from maskwright.grammars.productions import Nonterminal, Productions
from maskwright.grammars.regular import Regex
from maskwright.grammars.regular_operators import has_part
from maskwright.grammars.rule_nodes import nodes
from maskwright.grammars.rules import SPECIAL_BYTE, Rules, Special, Switch
from maskwright.kernels import layout as L

__all__ = ["RuleStates"]


class RuleStates:
    """The states of one grammar in an automaton.

    Attributes:
        unproductive: names of rules that derive no text.
        frames: the nonterminals that are pushed.
        distinct: by the state after `[`, the arrays of its schemas whose items must differ; None where there are none.
        has_values: whether it may have schemas.
    """

    def __init__(self, automaton: Automaton, rules: Rules) -> None:
        self.automaton = automaton
        self._plans = automaton.plans(None)
        bodies = rules.bodies.values()
        rules, values = with_values(automaton, rules)
        self._values = values
        distinct = [value.distinct for value in values if value.distinct is not None]
        self.distinct: Mapping[int, Distinct] | None = ChainMap(*distinct) if distinct else None
        self.has_values = bool(values) or any(isinstance(node, Switch) for body in bodies for node in nodes(body))
        # What is behind a Switch is plain: its arrays need nothing of a matcher (grammars/plain_schemas.py).
        loader = ValueLoader(automaton)
        self._switched = loader.found
        productions = Productions(rules, self._plans.alphabet, loader)
        self.unproductive = productions.unproductive
        self._root = productions.root
        without_left_recursion(self._root)
        nonterminals = reachable(self._root)
        self.frames = choose_frames(nonterminals)
        self._refuse_inner_ends()
        self._sets = ByteSets(nonterminals)
        self.phrases = Phrases(self.frames)
        self._states: dict[tuple[Nonterminal, Phrase], int] = {}
        self._entries: dict[Nonterminal, int] = {}
        self._actions = Actions(automaton)
        self._chosen: dict[tuple[int, ...], tuple[list[int], set[int]]] = {}
        self._covered: dict[Phrase, tuple[Safe, Phrase]] = {}

    @property
    def needs_keys(self) -> bool:
        """See GrammarStates; of the schemas so far."""
        return any(value.needs_keys for values in (self._values, self._switched) for value in values)

    def start(self) -> int:
        """The state that a text starts in."""
        return self.state(self._root, self.phrases.start(self._root))

    def state(self, frame: Nonterminal, phrase: Phrase) -> int:
        """The state with a phrase before it, in a frame of `frame`."""
        found = self._states.get((frame, phrase))
        if found is None:
            owner = _Phrase(self, frame, phrase, entry=False)
            found = self._states[frame, phrase] = self.automaton.allocate(1, owner)
        return found

    def entry(self, frame: Nonterminal) -> int:
        """The state that a call of `frame` starts in."""
        found = self._entries.get(frame)
        if found is None:
            owner = _Phrase(self, frame, self.phrases.start(frame), entry=True)
            found = self._entries[frame] = self.automaton.allocate(1, owner)
        return found

    def lower(self, state: int, frame: Nonterminal, phrase: Phrase, entry: bool) -> None:
        """Publish the state of a phrase."""
        forms = self.phrases.forms(phrase)
        plan = self._plans.plan(tuple(characters for characters, _ in forms.texts))
        targets = [self.state(frame, after) for _, after in forms.texts]
        safe = self._safe(phrase, forms)
        actions = list[tuple[int, Action]]()  # what can be done at some bytes, besides going on in the text
        for called, after in forms.calls.items():
            call = (self.entry(called), self.state(frame, after), L.CALL_BEFORE)
            actions.append((self._sets.first[called], call))
        for value, after in forms.values.items():
            begin = value.origin.entry()
            self.automaton.lower(begin)
            begun, _ = self.automaton.resolved(begin)
            call = (begun, self.state(frame, after), L.CALL_BEFORE)
            actions.append((sum(1 << byte for byte in self.automaton.first_bytes(begun)), call))
        special, ends = self._specials(frame, forms.specials)
        final = ends or forms.final and not entry
        edges = self._edges(
            self.automaton.lay_plan(plan, targets),
            actions,
            self._trie_state(special) if special else 0,
            self._sets.follow[frame] if final else 0,
        )
        if not edges and not final:
            raise TokenizerError(
                "the grammar requires a character that no token of the vocabulary can write; "
                "use a vocabulary with a token for every byte"
            )
        op = L.OP_POP if final and not edges else L.OP_NONE
        self.automaton.emit(state, edges, final=0 if final else -1, op=op, safe=safe)

    def _safe(self, phrase: Phrase, forms: Forms) -> Safe:
        """Characters of which any number may follow a phrase.

        They are those after which it can go on in every way that it can now: in `[a-z]* "in"`, "i" too. What goes on in
        every way that another phrase does has the safe set of that one, whatever it has of its own.
        """
        loops = [characters for characters, after in forms.texts if _covers(after, phrase)]
        safe, covered = self._plans.safe(CharSet.union(loops)) if loops else NOT_SAFE, phrase
        before = self._covered.get(phrase)
        if before is not None and _size(before[0]) > _size(safe):
            safe, covered = before
        if safe != NOT_SAFE:
            for _, after in forms.texts:
                if after != phrase and after not in self._covered and _covers(after, covered):
                    self._covered[after] = safe, covered
        return safe

    def _refuse_inner_ends(self) -> None:
        """An end token may stand where the stack is empty only: what it leaves open could never be closed."""
        info = self.automaton.tokens.info
        ends = info.eos_token_ids
        for part in {part for frame in self.frames for part in reachable(frame)}:
            for symbol in (symbol for alternative in part.alternatives for symbol in alternative):
                if isinstance(symbol, Special) and info.special_names.get(str(symbol.token), symbol.token) in ends:
                    raise UnsupportedError(
                        f"{symbol.token!r} ends the text (it is one of eos_token_ids), inside of a rule that calls itself",
                        position=symbol.position,
                        hint="use it where texts end only, or pass eos_token_ids without it",
                    )

    def _specials(self, frame: Nonterminal, specials: dict[Special, Phrase]) -> tuple[dict[bytes, int], bool]:
        """The states after special tokens, by their paths without the first byte, and whether one of them ends the text.

        End tokens have no path: a text is whole where one of them stands, and nothing follows.
        """
        info = self.automaton.tokens.info
        ids = {info.special_token(token.token): after for token, after in specials.items()}
        ends = not ids.keys().isdisjoint(info.eos_token_ids)
        return {
            info.path_of(token_id)[1:]: self.state(frame, after)
            for token_id, after in ids.items()
            if token_id not in info.eos_token_ids
        }, ends

    def _trie_state(self, targets: dict[bytes, int]) -> int:
        groups: dict[int, dict[bytes, int]] = {}
        for path, target in targets.items():
            groups.setdefault(path[0], {})[path[1:]] = target
        edges = [
            (byte, byte, rests[b""] if b"" in rests else self._trie_state(rests))
            for byte, rests in sorted(groups.items())
        ]
        state = self.automaton.allocate(1, PUBLISHED)
        self.automaton.emit(state, edges)
        return state

    def _edges(self, texts: list[Edge], others: list[tuple[int, Action]], special: int, follow: int) -> list[Edge]:
        """Ranges of bytes with a transition value each.

        Args:
            texts: where bytes lead in the texts of the phrase.
            others: what else can be done at some bytes, given as bits.
            special: the state after the first byte of a special token, with which nothing else begins; or 0.
            follow: the bytes before which the frame may end.
        """
        targets = [0] * 256
        for low, high, target in texts:
            targets[low : high + 1] = [target] * (high - low + 1)
        chosen, borders = self._choices((*(bits for bits, _ in others), follow))
        cuts = {edge for low, high, _ in texts for edge in (low, high + 1)} | borders
        if special:
            targets[SPECIAL_BYTE] = special
            cuts |= {SPECIAL_BYTE, SPECIAL_BYTE + 1}
        values: dict[tuple[int, int], int] = {}
        edges: list[Edge] = []
        for low, stop in pairwise(sorted(cuts)):
            target, choice = targets[low], 0 if special and low == SPECIAL_BYTE else chosen[low]
            value = values.get((target, choice))
            if value is None:
                value = values[target, choice] = self._value(target, choice, others)
            if edges and edges[-1][1] == low - 1 and edges[-1][2] == value:
                edges[-1] = (edges[-1][0], stop - 1, value)
            elif value:
                edges.append((low, stop - 1, value))
        return edges

    def _value(self, target: int, choice: int, others: list[tuple[int, Action]]) -> int:
        """The transition value of a byte that leads to `target`, if not 0, and to what is chosen of the others.

        The bit behind theirs stands for the end of the frame, which is told where there is something else to do.
        """
        actions = [(target, 0, L.MOVE)] if target else []
        actions += [action for number, (_, action) in enumerate(others) if choice >> number & 1]
        if not actions:
            return 0
        if choice >> len(others):
            actions.append((0, 0, L.LEAVE))
        return self._actions.value(actions)

    def _choices(self, sets: tuple[int, ...]) -> tuple[list[int], set[int]]:
        """For each byte, the sets of bytes that it is in, as bits; and where that changes. Few combinations recur."""
        found = self._chosen.get(sets)
        if found is None:
            numbers: dict[int, int] = {}  # calls often begin with the same bytes
            for number, bits in enumerate(sets):
                numbers[bits] = numbers.get(bits, 0) | 1 << number
            classes = {0: (1 << 256) - 1}  # by the sets that their bytes are in
            for bits, mask in numbers.items():
                outside = {known: rest for known, members in classes.items() if (rest := members & ~bits)}
                inside = {known | mask: part for known, members in classes.items() if (part := members & bits)}
                classes = outside | inside
            chosen, borders = [0] * 256, {0, 256}
            for mask, members in classes.items():
                flags = f"{members:0256b}"[::-1]
                start = flags.find("1")
                while start >= 0:
                    stop = flags.find("0", start) if "0" in flags[start:] else 256
                    chosen[start:stop] = [mask] * (stop - start)
                    borders |= {start, stop}
                    start = flags.find("1", stop)
            found = self._chosen[sets] = chosen, borders
        return found


class _Phrase(Private):
    """Owner of the state of a phrase."""

    certain = True
    __slots__ = ("entry", "frame", "phrase", "states")

    def __init__(self, states: RuleStates, frame: Nonterminal, phrase: Phrase, entry: bool) -> None:
        self.states, self.frame, self.phrase, self.entry = states, frame, phrase, entry

    def lower(self, index: int, state: int) -> None:
        self.states.lower(state, self.frame, self.phrase, self.entry)


def _covers(phrase: Phrase, other: Phrase) -> bool:
    """Whether it is plain to see that a phrase goes on in every way that another one does."""
    missing = set(other).difference(phrase)
    if not missing:
        return True
    begun = {chain.tail: chain.head for chain in phrase if isinstance(chain.head, Regex)}
    for chain in missing:
        language = begun.get(chain.tail)
        if language is None or not isinstance(chain.head, Regex) or not has_part(language, chain.head):
            return False
    return True


def _size(safe: Safe) -> int:
    return safe[0].bit_count() + safe[1].bit_count() + safe[2].bit_count()
