"""GrammarMatcher: one text in the making, its next mask, and the way back.

A matcher belongs to one thread at a time; many matchers may share a compiled grammar. Where a kernel answers NEED_*, the
matcher has the missing state lowered, the missing row computed or its own arena grown, and calls the kernel again.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

import numpy as np

from maskwright.compile.grammar import CompiledGrammar
from maskwright.grammars.errors import LimitExceeded, MaskwrightError, MatcherError
from maskwright.grammars.rules import SPECIAL_BYTE
from maskwright.kernels import automaton as kernels
from maskwright.kernels import layout as L
from maskwright.kernels import mask_table as table_kernels
from maskwright.runtime.arena import Arena
from maskwright.runtime.array_levels import Text
from maskwright.runtime.completion import StackCompletions
from maskwright.runtime.targets import Target
from maskwright.runtime.tree_masks import checked_links, traverse
from maskwright.runtime.unique_items import UniqueItems
from maskwright.runtime.unique_keys import UniqueKeys

__all__ = ["GrammarMatcher"]

_MAX_SPARE_ARENAS = 8
_MAX_DETOURS = 10_000  # keys of one completion that would come twice
_PAIR = Struct("=2q")  # addresses of an automaton and of an arena, for runtime/batch.py


class GrammarMatcher:
    """Follows one text of a compiled grammar, token by token.

    Attributes:
        compiled: the grammar.
    """

    def __init__(self, compiled: CompiledGrammar) -> None:
        self.compiled = compiled
        self._automaton = compiled.address
        self._vocab_size = compiled.tokens.vocab_size
        self._words = compiled.tokens.words
        self._table = compiled.automaton.mask_table
        try:
            self._arena: Arena = compiled.spare_arenas.pop()
        except IndexError:
            self._arena = Arena(compiled.tokens)
        self._address = self._arena.address
        self._pair = _PAIR.pack(self._automaton, self._address)
        self._header = self._arena.header
        self._completions = StackCompletions()
        self._arena.restart(compiled.root, compiled.root_register)
        self._unique = None if compiled.distinct is None else UniqueItems(compiled, self._arena)
        self._keys = None if compiled.keyed is None else UniqueKeys(compiled, self._arena)

    def __del__(self) -> None:
        arena = self.__dict__.get("_arena")
        if arena is not None and arena.header[L.MATCHER_HELD]:
            self._table.release(int(arena.header[L.MATCHER_HELD]) - 1)
            arena.header[L.MATCHER_HELD] = 0
        if arena is not None and len(self.compiled.spare_arenas) < _MAX_SPARE_ARENAS:
            self.compiled.spare_arenas.append(arena)

    def _mend(self, status: int) -> None:
        """Provide what a kernel asked for."""
        self._arena.mend(self.compiled, status)

    # Moving

    def accept_token(self, token_id: int) -> bool:
        """Move over a token; False, and nothing moved, when the grammar does not allow it here.

        Raises:
            MatcherError: the id is not in the vocabulary, or the text has ended.
        """
        if not 0 <= token_id < self._vocab_size:
            raise MatcherError(f"token id {token_id} is not in the vocabulary of {self._vocab_size:,} tokens")
        if self._unique is not None and self._header[L.MATCHER_STATE] != L.ENDED:
            written = self.compiled.tokens.bytes_of(token_id)
            if written and self._unique.concerns(written):
                after = self._unique.after(written)
                return after is not None and self._accept_known(after, written, token_id)
        status = kernels.accept_token(self._automaton, self._address, token_id)
        while status > L.REJECTED:
            if status == L.NEED_TEXT:
                return self._accept_text(self.compiled.tokens.pieces_of(token_id), token_id)
            self._mend(status)
            status = kernels.accept_token(self._automaton, self._address, token_id)
        if status == L.REJECTED and self._header[L.MATCHER_STATE] == L.ENDED:
            raise MatcherError(
                "the text has ended (an end-of-sequence token was accepted); reset() or rollback() first"
            )
        if self._unique is not None and status == L.OK:
            self._unique.moved(None)
        return bool(status == L.OK)

    def _accept_known(self, after: Text, written: bytes, token: int) -> bool:
        """Move to the text after some bytes, which items allow, one step of the history; False where a key comes twice."""
        assert self._unique is not None
        place = None
        if self._keys is not None:
            place = self._keys.after(written)
            if place is None:
                return False
        while (status := kernels.accept_bytes(self._automaton, self._address, 0, 0, token + 2)) != L.OK:
            self._mend(status)
        self._unique.moved(after)
        if self._keys is not None and place is not None:
            self._keys.moved(place, (written,), token)
        return True

    def _accept_text(self, pieces: Sequence[bytes], token: int) -> bool:
        """Move over some bytes, cut behind quotes, one step of the history, watching keys."""
        assert self._keys is not None
        allowed = self._keys.accept(pieces, token)
        if allowed and self._unique is not None:
            self._unique.moved(None)
        return allowed

    def accept_string(self, text: str | bytes) -> bool:
        """Move over a text, one step of the history; False, and nothing moved, when the grammar does not allow it all."""
        if self._header[L.MATCHER_STATE] == L.ENDED:
            raise MatcherError(
                "the text has ended (an end-of-sequence token was accepted); reset() or rollback() first"
            )
        written = text.encode() if isinstance(text, str) else text
        if written and self._unique is not None and self._unique.concerns(written):
            after = self._unique.after(written)
            return after is not None and self._accept_known(after, written, L.NO_TOKEN)
        if written and self._keys is not None:
            return self._accept_text(self.compiled.tokens.cut(written), L.NO_TOKEN)
        data = np.frombuffer(written, np.uint8)
        before = self._header[L.MATCHER_STATE : L.MATCHER_TOP + 1].copy()
        steps = int(self._header[L.MATCHER_HISTORY_LENGTH])
        size = self.compiled.tokens.max_token
        for start in range(0, len(data), size):
            address = data.ctypes.data + start
            length = min(size, len(data) - start)
            while (
                status := kernels.accept_bytes(self._automaton, self._address, address, length, int(start == 0))
            ) > L.REJECTED:
                self._mend(status)
            if status == L.REJECTED:
                self._header[L.MATCHER_STATE : L.MATCHER_TOP + 1] = before
                self._header[L.MATCHER_HISTORY_LENGTH] = steps
                return False
        if self._unique is not None and len(data):
            self._unique.moved(None)
        return True

    def rollback(self, n: int = 1) -> None:
        """Take back the last `n` steps (accepted tokens or strings).

        Raises:
            MatcherError: there are not so many.
        """
        steps = int(self._header[L.MATCHER_HISTORY_LENGTH])
        if not 0 <= n <= steps:
            raise MatcherError(f"cannot roll back {n} steps: {steps} were accepted since the start")
        if n:
            self._header[L.MATCHER_STATE : L.MATCHER_TOP + 1] = self._arena.history[steps - n, :3]
            self._header[L.MATCHER_HISTORY_LENGTH] = steps - n
            if self._unique is not None:
                self._unique.rollback(n)
            if self._keys is not None:
                self._keys.rollback(steps - n)

    def reset(self) -> None:
        """Back to the start of the text, history forgotten."""
        self._arena.restart(self.compiled.root, self.compiled.root_register)
        if self._unique is not None:
            self._unique.reset()
        if self._keys is not None:
            self._keys.reset()

    def fork(self) -> GrammarMatcher:
        """An independent matcher at the same place, with the same history."""
        twin = object.__new__(GrammarMatcher)
        twin.__dict__.update(self.__dict__)
        twin._arena, twin._completions = self._arena.copy(), self._completions.copy()
        twin._address, twin._header = twin._arena.address, twin._arena.header
        twin._header[L.MATCHER_HELD] = 0
        twin._pair = _PAIR.pack(twin._automaton, twin._address)
        if self._unique is not None:
            twin._unique = self._unique.copy(twin._arena)
        if self._keys is not None:
            twin._keys = self._keys.copy(twin._arena)
        return twin

    # Asking

    @property
    def step_count(self) -> int:
        """Steps accepted since the start, as rollback counts them."""
        return int(self._header[L.MATCHER_HISTORY_LENGTH])

    @property
    def context(self) -> tuple[int, int]:
        """What statistics of grammars go by: the automaton's state, and where its caller goes on (0: there is none).

        Equal numbers mean equal places for as long as the compiler keeps the automaton.
        """
        header = self._header
        top = int(header[L.MATCHER_TOP])
        block = int(self._arena.nodes[top * L.NODE_SIZE + L.NODE_BLOCK]) if top else 0
        return int(header[L.MATCHER_STATE]), block

    @property
    def nbytes(self) -> int:
        """The memory of this matcher's own tables: stack, memo, patches and history."""
        return self._arena.nbytes

    def is_terminated(self) -> bool:
        """Whether an end-of-sequence token was accepted."""
        return bool(self._header[L.MATCHER_STATE] == L.ENDED)

    def is_completed(self) -> bool:
        """Whether the text so far is a whole sentence (it may go on all the same)."""
        if self._header[L.MATCHER_STATE] == L.ENDED:
            return True
        while (status := kernels.completed(self._automaton, self._address)) > L.REJECTED:
            self._mend(status)
        return bool(status == L.OK)

    def fill_next_token_bitmask(self, bitmask: Any, index: int = 0) -> bool:
        """Write which tokens may come next to row `index` of a bitmask.

        Args:
            bitmask: int32 [B, ceil(V / 32)] or [ceil(V / 32)], a numpy array or a torch tensor on the CPU, contiguous;
                bit i of word w stands for token 32 * w + i, least significant bit first.
            index: the row to write; the others are left alone.

        Returns:
            True: the mask forbids something and must be applied. (Padding beyond the vocabulary is 0.)
        """
        target = self._arena.target
        if target is None or bitmask is not target.bitmask():
            target = self._arena.target = Target.of(bitmask, self._words, self._vocab_size)
        if not 0 <= index < target.rows:
            raise MatcherError(f"row {index} is not one of the bitmask's {target.rows}")
        self._fill(target.address + index * target.stride)
        return True

    def _fill(self, address: int) -> None:
        """Write which tokens may come next to int32 [words] at an address."""
        while (status := kernels.fill(self._automaton, self._address, address)) != L.OK:
            if status == L.RESTRICT:
                self._restrict_keys(address)
                break
            self._mend(status)
        if self._unique is not None:
            self._unique.restrict(address)

    def _restrict_keys(self, address: int) -> None:
        """Take the keys that have come out of a mask, where a kernel has answered RESTRICT."""
        assert self._keys is not None
        self._keys.restrict(address)

    def traverse_draft_tree(
        self,
        retrieve_next_token: Any,
        retrieve_next_sibling: Any,
        draft_tokens: Any,
        token_bitmask: Any,
        time_threshold: float = -1.0,
        temperatures: Any = None,
    ) -> bool:
        """Write the mask behind every node of a draft tree that the grammar allows, in one call of a kernel.

        Arguments are XGrammar's; arrays of numpy or tensors on the CPU. The matcher stays where it is, behind node 0.

        Args:
            retrieve_next_token: int64 [N]: the first child of each node, a larger number than its own, or -1.
            retrieve_next_sibling: int64 [N]: the next child of the same parent, likewise.
            draft_tokens: int64 [N]; that of node 0 is not looked at.
            token_bitmask: int32 [N, ceil(V / 32)]; rows of nodes that are not allowed, or that nothing leads to, are left
                alone.
            time_threshold: seconds after which to give up; 0 or less: never.
            temperatures: float32 [N], all set to -1: no grammar of ours asks for a temperature.

        Returns:
            False where time was up; then some rows may be missing.

        Raises:
            MatcherError: the arrays do not fit each other, or are no tree.
        """
        tokens, children, siblings = checked_links(
            retrieve_next_token, retrieve_next_sibling, draft_tokens, self._vocab_size
        )
        target = Target.of(token_bitmask, self._words, self._vocab_size)
        if target.rows != len(tokens):
            raise MatcherError(f"the bitmask has {target.rows} rows for {len(tokens)} nodes")
        if temperatures is not None:
            temperatures[:] = -1
        return traverse(self, tokens, children, siblings, target, time_threshold) is not None

    def mask_row(self) -> int:
        """The number of the next mask in the mask table of the grammar's compiler (`GrammarCompiler.mask_table`).

        The row stays that mask's until this matcher is asked again, or is gone. One call of a kernel where the matcher has
        been in the same configuration before.
        """
        number = table_kernels.mask_row(self._automaton, self._address, self._table.address)
        return int(number) if number >= 0 else self._add_mask_row()

    def _add_mask_row(self) -> int:
        words = np.empty(self._words, np.int32)
        self._fill(words.ctypes.data)
        return self._take_row(words)

    def _take_row(self, words: np.ndarray[Any, np.dtype[np.int32]]) -> int:
        """The row of the next mask, which is `words`, int32 [words]."""
        number = self._table.add(words)
        # What is remembered of a configuration is not the mask where it depends on more.
        remember = int(self._unique is None and (self._keys is None or not self._keys.restricts))
        while (
            status := table_kernels.give_row(self._automaton, self._address, self._table.address, number, remember)
        ) != L.OK:
            self._mend(status)
        return number

    def allowed_token_ids(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The ids of the tokens that may come next, ascending."""
        words = np.empty(self._words, np.int32)
        self._fill(words.ctypes.data)
        return np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))

    def allowed_bytes(self) -> bytes:
        """The bytes that may come next, whatever tokens write them, ascending."""
        flags = np.zeros(256, np.int32)
        while (status := kernels.allowed_bytes(self._automaton, self._address, flags.ctypes.data)) != L.OK:
            self._mend(status)
        if self._unique is not None:
            self._unique.restrict_bytes(flags)
        if self._keys is not None:
            self._keys.restrict_bytes(flags)
        return bytes(np.flatnonzero(flags).astype(np.uint8))

    def find_jump_forward_string(self) -> str:
        """The text that must come next, as far as there is no choice and no chance to end; "" when there is a choice."""
        out = np.zeros(self.compiled.tokens.max_token, np.int32)
        steps, found = self.step_count, b""
        while True:
            status, length = kernels.forced_bytes(self._automaton, self._address, out.ctypes.data, len(out))
            if status != L.OK:
                self._mend(status)
                continue
            if self._unique is not None and self._unique.repeating:
                length = 0  # behind an item that is equal to another one the automaton does not know where the text is
            if not length and not found and self._unique is None:
                return ""  # as mostly
            piece = out[:length].astype(np.uint8).tobytes()
            found += piece
            if length < len(out) and (self._unique is None or not (self._unique.levels or self._unique.repeating)):
                break
            self.accept_string(piece)
            if length < len(out):  # items that are used up leave less choice than the automaton knows
                only = self.allowed_bytes()
                if len(only) != 1 or self.is_completed():
                    break
                found += only
                self.accept_string(only)
        self.rollback(self.step_count - steps)
        # A forced character is given whole: bytes of one that could go on differently are left to the model. So is a special
        # token, which is no text.
        text = found.partition(bytes((SPECIAL_BYTE,)))[0]
        return text.decode("utf-8", errors="ignore") if text else ""

    def shortest_completion(self) -> bytes:
        """A text with the fewest bytes that makes the text so far a whole sentence; b"" where it is one already.

        `accept_string` takes it, and the text is completed then. Its length bounds the tokens that are still needed, for
        a vocabulary with a token for every byte. The same text so far has the same completion, of equally short ones one
        that is easy to read. What is found is kept with the compiled grammar, so that asking after every token is cheap.
        A special token in it stands as its path (TokenizerInfo.path_of), which is no text.

        Raises:
            LimitExceeded: the grammar asks for so much (millions of items) that the search was given up.
        """
        steps, found = self.step_count, b""
        try:
            for _ in range(_MAX_DETOURS):
                rest = self._with_unique_items()
                if not self._may_repeat_keys or self.accept_string(rest):
                    return found + rest
                found += self._past_repeated_key(rest)
            hint = "lower the schema's minProperties"
            raise LimitExceeded("max_detours", _MAX_DETOURS, _MAX_DETOURS, what="a completion", hint=hint)
        finally:
            self.rollback(self.step_count - steps)

    def _past_repeated_key(self, completion: bytes) -> bytes:
        """Move along a completion in which a key comes twice, and away from it to where that key becomes another one."""
        assert self._keys is not None
        length = 0
        while self.accept_string(completion[length : length + 1]):
            length += 1
        while (way := self._keys.way_to_new_key()) is None:
            self.rollback()
            length -= 1
        moved = self.accept_string(way)
        assert moved
        return completion[:length] + way

    def _with_unique_items(self) -> bytes:
        """What completes the text, whether or not keys come twice."""
        if self._unique is not None and self._unique.may_repeat:
            return self._unique.completion(self._shortest)
        return self._shortest()

    def completion_bound(self) -> int | None:
        """So many tokens certainly suffice to complete the text; None where that takes a search, or there is no such number.

        It is the length of simple_completion(), so that nothing is known where a vocabulary lacks a token for some byte.
        """
        if self.compiled.tokens.lacking or (self._unique is not None and self._unique.may_repeat):
            return None
        if self._may_repeat_keys:
            return None
        state, register, top = self._header[L.MATCHER_STATE : L.MATCHER_TOP + 1].tolist()
        found = self._completions.bound(state, register, top)
        if found is not None or state in (L.DONE, L.ENDED, L.SPLIT):
            return found
        try:
            with self.compiled.endings() as endings:
                return self._completions.find_bound(endings, self._arena.nodes, state, register, top)
        except MaskwrightError:  # a limit was reached, say: shortest_completion() tells
            return None

    @property
    def _may_repeat_keys(self) -> bool:
        """Whether what completes the text, as far as the automaton knows, may have a key that has come."""
        keyed = self.compiled.keyed
        return self._keys is not None and keyed is not None and (self._keys.must_be_new or keyed.needs_keys)

    def simple_completion(self) -> bytes:
        """A text that completes the text, where `completion_bound` is known; found without a search, and maybe not shortest."""
        state, register, top = self._header[L.MATCHER_STATE : L.MATCHER_TOP + 1].tolist()
        with self.compiled.endings() as endings:
            return self._completions.simplest(endings, self._arena.nodes, state, register, top)

    def _shortest(self) -> bytes:
        """What completes the text, as far as the automaton knows."""
        state, register, top = self._header[L.MATCHER_STATE : L.MATCHER_TOP + 1].tolist()
        if state in (L.DONE, L.ENDED):
            return b""
        with self.compiled.endings() as endings:
            return self._completions.shortest(endings, self._arena.nodes, state, register, top)
