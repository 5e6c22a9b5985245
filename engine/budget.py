"""The token budget: every answer that can be completed within `max_new_tokens` is completed.

A row always knows a text that completes it and that the tokens left can write. A token is kept only if such a text
exists behind it too; so the invariant holds by induction from the first token to the last:

    tokens left   text so far        a completion that fits
    6             {"a": [1           ]}
    5             {"a": [1, 2        ]}
    ...
    1             {"a": [1, 2, 34    ]}        one token, where the vocabulary has `]}`
    0             {"a": [1, 2, 34]}

The completion is the shortest in bytes (GrammarMatcher.shortest_completion). As many bytes need at most as many tokens,
provided that each is a token by itself; where that does not fit, the fewest tokens that write the same bytes decide.
"""

from __future__ import annotations

from collections.abc import Sequence

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars.errors import LimitExceeded, TruncatedError
from maskwright.runtime.matcher import GrammarMatcher

__all__ = ["Budget", "Covers"]

_MAX_COVERS = 1024


class Covers:
    """The fewest tokens that write a text (a special token's is its path), remembered for the texts asked last."""

    def __init__(self, info: TokenizerInfo) -> None:
        self._trie = info.matching_trie
        self._lacking = bytes(byte for byte, alone in enumerate(info.single_byte_tokens) if not alone)
        self._found: dict[bytes, list[int] | None] = {}
        self._children: dict[int, dict[int, tuple[int, int]]] = {}  # of the trie's nodes visited so far

    def fits(self, text: bytes, tokens: int) -> bool:
        """Whether at most `tokens` tokens write `text`."""
        if len(text) > tokens * self._trie.max_depth:
            return False
        if len(text) <= tokens and len(text.translate(None, self._lacking)) == len(text):  # each byte is a token
            return True
        cover = self.cover(text)
        return cover is not None and len(cover) <= tokens

    def cover(self, text: bytes) -> list[int] | None:
        """The fewest token ids whose bytes are `text`, or None where no tokens write it."""
        if text not in self._found:
            if len(self._found) == _MAX_COVERS:
                self._found.clear()
            self._found[text] = self._cover(text)
        return self._found[text]

    def _cover(self, text: bytes) -> list[int] | None:
        """Shortest path over the text's positions, from the end: an edge is a token that stands there."""
        unreachable = len(text) + 1
        count = [unreachable] * len(text) + [0]  # fewest tokens from each position to the end
        first = [(-1, 0)] * len(text)  # the token to begin with there, and its length
        for start in range(len(text) - 1, -1, -1):
            node = 0
            for end in range(start + 1, len(text) + 1):
                node, token = self._below(node).get(text[end - 1], (-1, -1))
                if node < 0:
                    break
                if token >= 0 and count[end] + 1 < count[start]:
                    count[start], first[start] = count[end] + 1, (token, end - start)
        if count[0] > len(text):
            return None
        cover, place = [], 0
        while place < len(text):
            token, length = first[place]
            cover.append(token)
            place += length
        return cover

    def _below(self, node: int) -> dict[int, tuple[int, int]]:
        """The children of a node of the trie by their bytes, each with a token that ends there (or -1)."""
        found = self._children.get(node)
        if found is None:
            found = self._children[node] = {
                int(self._trie.byte[child]): (child, next(iter(self._trie.tokens_at(child)), -1))
                for child in self._trie.children(node)
            }
        return found


class Budget:
    """The tokens that a row may still write.

    The matcher is asked behind every token, however many are left: one token can make any number of others necessary (the
    bracket of an array of a thousand items). Mostly it knows a number of tokens that suffice; where these are there, the
    completion itself is not put together before somebody wants it.

    Attributes:
        left: how many.
    """

    def __init__(self, covers: Covers, matcher: GrammarMatcher, limit: int) -> None:
        """At the start of a text of at most `limit` tokens.

        Raises:
            TruncatedError: the shortest sentence takes more.
        """
        self._covers, self._matcher, self.left = covers, matcher, limit
        self._completion = self._shortest()
        self._postponed = False  # whether the completion is the matcher's shortest, which nobody has asked for yet
        if self._completion is not None and not covers.fits(self._completion, limit):
            cover = covers.cover(self._completion)
            if cover is not None:
                raise TruncatedError(text="", max_tokens=limit, needed=len(cover))
            self._completion = None

    @property
    def completion(self) -> bytes | None:
        """Bytes that complete the row's text, written by at most `left` tokens.

        None where that could not be found out at the start (the vocabulary cannot write the shortest sentence, or the
        search for it was given up), so that nothing is promised.
        """
        if self._postponed:
            shortest = self._shortest()
            self.completion = self._matcher.simple_completion() if shortest is None else shortest
        return self._completion

    @completion.setter
    def completion(self, text: bytes) -> None:
        self._completion, self._postponed = text, False

    def admit(self, tokens: Sequence[int]) -> bool:
        """Pay for tokens that the matcher has just accepted; False, and nothing paid, where no completion fits then."""
        left = self.left - len(tokens)
        if self._completion is not None:
            enough = self._matcher.completion_bound()
            if enough is not None and enough <= left:
                self._postponed = True
            elif not self._admit_completion(tokens, left):
                return False
        self.left = left
        return left >= 0

    def _admit_completion(self, tokens: Sequence[int], left: int) -> bool:
        """Whether a completion fits behind tokens just accepted; then it is known."""
        completion = self._shortest()
        if completion is None or not self._covers.fits(completion, left):
            completion = self._rest_of_plan(tokens)
        if completion is None:
            return False
        self.completion = completion
        return True

    def _shortest(self) -> bytes | None:
        """The shortest completion, or None where the search for it was given up."""
        try:
            return self._matcher.shortest_completion()
        except LimitExceeded:  # there the text may not go: the completion known from before still holds
            return None

    def _rest_of_plan(self, tokens: Sequence[int]) -> bytes | None:
        """What remains of the known completion where `tokens` begin its cover: it fits although it is not the shortest."""
        known = self._known_before(tokens)
        cover = self._covers.cover(known)
        if cover is None or cover[: len(tokens)] != list(tokens):
            return None
        info = self._matcher.compiled.tokenizer_info
        return known[sum(len(info.path_of(token)) for token in tokens) :]

    def _known_before(self, tokens: Sequence[int]) -> bytes:
        """The known completion of the text before `tokens`, over which the matcher has moved."""
        if not self._postponed:
            assert self._completion is not None
            return self._completion
        self._matcher.rollback(len(tokens))
        known = self.completion
        assert known is not None
        for token in tokens:
            self._matcher.accept_token(token)
        return known

    def next_token(self) -> int | None:
        """The first token of the completion that fits; None where the text is complete as it is."""
        cover = self._covers.cover(self.completion) if self.completion else None
        return cover[0] if cover else None
