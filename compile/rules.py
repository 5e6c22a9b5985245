"""States of context-free grammars: a phrase of a frame is a state, lowered when it is first reached.

Which bytes lead where is read off the forms of a phrase (grammars/phrases.py). A byte with one way on is an ordinary
transition or call. Where there are several, or where the frame may also end before the byte, they form a chain of
actions, and the kernels follow them all. A called frame never derives the empty text, so that a call always moves on:
its first state is an *entry*, which is not final even where the phrase is.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping

from maskwright.compile.automaton import PUBLISHED, Automaton, Edge, Private
from maskwright.compile.distinct import Distinct
from maskwright.compile.embedded import ValueLoader, with_values
from maskwright.compile.plans import NOT_SAFE
from maskwright.grammars.errors import TokenizerError, UnsupportedError
from maskwright.grammars.frames import ByteSets, choose_frames
from maskwright.grammars.left_recursion import reachable, without_left_recursion
from maskwright.grammars.phrases import Phrase, Phrases
from maskwright.grammars.productions import Nonterminal, Productions
from maskwright.grammars.rules import SPECIAL_BYTE, Rules, Special
from maskwright.kernels import layout as L

__all__ = ["RuleStates"]

Action = tuple[int, int, int]  # target, return block, kind (kernels/layout.py)


class RuleStates:
    """The states of one grammar in an automaton.

    Attributes:
        unproductive: names of rules that derive no text.
        frames: the nonterminals that are pushed.
        distinct: by the state after `[`, the arrays of its schemas whose items must differ; None where there are none.
    """

    def __init__(self, automaton: Automaton, rules: Rules) -> None:
        self.automaton = automaton
        self._plans = automaton.plans(None)
        rules, values = with_values(automaton, rules)
        distinct = [value.distinct for value in values if value.distinct is not None]
        self.distinct: Mapping[int, Distinct] | None = ChainMap(*distinct) if distinct else None
        # What is behind a Switch is plain: its arrays need nothing of a matcher (grammars/plain_schemas.py).
        productions = Productions(rules, self._plans.alphabet, ValueLoader(automaton))
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
        self._chains: dict[tuple[Action, ...], int] = {}

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

    def value(self, actions: list[Action]) -> int:
        """The transition value of what can be done at a byte."""
        distinct = tuple(dict.fromkeys(actions))
        if len(distinct) == 1:
            target, _, kind = distinct[0]
            if kind == L.MOVE:
                return target
        found = self._chains.get(distinct)
        if found is None:
            found = self._chains[distinct] = self.automaton.tables.append_chain(distinct)
        return found

    def lower(self, state: int, frame: Nonterminal, phrase: Phrase, entry: bool) -> None:
        """Publish the state of a phrase."""
        forms = self.phrases.forms(phrase)
        plan = self._plans.plan(tuple(characters for characters, _ in forms.texts))
        targets = [self.state(frame, after) for _, after in forms.texts]
        safe = NOT_SAFE
        for number, target in enumerate(targets):
            if target == state:
                safe = plan.safe[number]
        actions: dict[int, list[Action]] = {}
        for low, high, target in self.automaton.lay_plan(plan, targets):
            for byte in range(low, high + 1):
                actions.setdefault(byte, []).append((target, 0, L.MOVE))
        for called, after in forms.calls.items():
            call = (self.entry(called), self.state(frame, after), L.CALL_BEFORE)
            for byte in _bytes(self._sets.first[called]):
                actions.setdefault(byte, []).append(call)
        for value, after in forms.values.items():
            entry = value.origin.entry()
            self.automaton.lower(entry)
            begun, _ = self.automaton.resolved(entry)
            call = (begun, self.state(frame, after), L.CALL_BEFORE)
            for byte in self.automaton.first_bytes(begun):
                actions.setdefault(byte, []).append(call)
        special, ends = self._specials(frame, forms.specials)
        if special:
            actions[SPECIAL_BYTE] = [(self._trie_state(special), 0, L.MOVE)]
        final = ends or forms.final and not entry
        if not actions and not final:
            raise TokenizerError(
                "the grammar requires a character that no token of the vocabulary can write; "
                "use a vocabulary with a token for every byte"
            )
        if final:
            for byte in _bytes(self._sets.follow[frame]):
                if byte in actions:
                    actions[byte].append((0, 0, L.LEAVE))
        op = L.OP_POP if final and not actions else L.OP_NONE
        self.automaton.emit(state, self._edges(actions), final=0 if final else -1, op=op, safe=safe)

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

    def _edges(self, actions: dict[int, list[Action]]) -> list[Edge]:
        """Actions by byte as ranges of bytes with a transition value each."""
        edges: list[Edge] = []
        for byte in sorted(actions):
            value = self.value(actions[byte])
            if edges and edges[-1][1] == byte - 1 and edges[-1][2] == value:
                edges[-1] = (edges[-1][0], byte, value)
            else:
                edges.append((byte, byte, value))
        return edges


class _Phrase(Private):
    """Owner of the state of a phrase."""

    certain = True
    __slots__ = ("entry", "frame", "phrase", "states")

    def __init__(self, states: RuleStates, frame: Nonterminal, phrase: Phrase, entry: bool) -> None:
        self.states, self.frame, self.phrase, self.entry = states, frame, phrase, entry

    def lower(self, index: int, state: int) -> None:
        self.states.lower(state, self.frame, self.phrase, self.entry)


def _bytes(bits: int) -> list[int]:
    """The bytes of a set given as bits."""
    return [byte for byte in range(256) if bits >> byte & 1]
