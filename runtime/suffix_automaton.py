"""A suffix automaton over tokens: which tokens have followed the longest known suffix of a text, and how often.

Grown a token at a time, two states a token at most. A state stands for all strings that end at the same places; its link is
the state of the longest suffix that also ends elsewhere. `counts` are numbers of those places: exact but for texts that
repeat themselves so much that a token lengthens more than _DEEPEST suffixes at once (the shortest of which then miss some).

Source: Blumer et al. 1985; as a language model of unbounded order: infini-gram, Liu et al. 2024.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["SuffixAutomaton"]

_DEEPEST = 64


class SuffixAutomaton:
    """See the module's docstring. State 0 is the empty string's.

    Attributes:
        length: of each state's longest string.
        link: of each state; -1 for state 0.
        next: of each state, by token.
        counts: how often each state's strings have come.
    """

    def __init__(self) -> None:
        self.length, self.link, self.counts = [0], [-1], [0]
        self.next: list[dict[int, int]] = [{}]
        self._last = 0

    def __len__(self) -> int:
        return len(self.length)

    def extend(self, tokens: Iterable[int]) -> None:
        """Append tokens to the text."""
        for token in tokens:
            self._append(token)

    def separate(self) -> None:
        """Begin another text: no string leads from one to the next."""
        self._last = 0

    def _new(self, length: int, link: int, transitions: dict[int, int]) -> int:
        self.length.append(length)
        self.link.append(link)
        self.counts.append(0)
        self.next.append(transitions)
        return len(self.length) - 1

    def _append(self, token: int) -> None:
        following = self.next
        known = following[self._last].get(token, -1)
        if known >= 0:  # behind another text this string is known
            if self.length[known] == self.length[self._last] + 1:
                state = known
            else:
                state = self._split(self._last, known, token)
        else:
            state = self._new(self.length[self._last] + 1, 0, {})
            before = self._last
            while before >= 0 and token not in following[before]:
                following[before][token] = state
                before = self.link[before]
            if before >= 0:
                known = following[before][token]
                exact = self.length[known] == self.length[before] + 1
                self.link[state] = known if exact else self._split(before, known, token)
        self._last = state
        for _ in range(_DEEPEST):
            if state <= 0:
                break
            self.counts[state] += 1
            state = self.link[state]

    def _split(self, before: int, known: int, token: int) -> int:
        """The state of the shorter strings of `known`, which now also end elsewhere."""
        copy = self._new(self.length[before] + 1, self.link[known], dict(self.next[known]))
        self.counts[copy] = self.counts[known]
        while before >= 0 and self.next[before].get(token) == known:
            self.next[before][token] = copy
            before = self.link[before]
        self.link[known] = copy
        return copy

    def step(self, state: int, length: int, token: int) -> tuple[int, int]:
        """From a state with a match so long over a token: the longest suffix that is known, and how long it is."""
        while state > 0 and token not in self.next[state]:
            state = self.link[state]
            length = self.length[state]
        if token not in self.next[state]:
            return 0, 0
        return self.next[state][token], length + 1

    def following(self, state: int) -> dict[int, int]:
        """The tokens that came behind a state's strings, and how often."""
        return {token: self.counts[target] for token, target in self.next[state].items()}
