"""One prompt's distribution, conditioned on one grammar, as far as it has been explored.

    slot: a matcher     node of the trie: a prefix     row: what may follow it, with the model's probabilities

All methods of sampling work on this: they send slots to nodes, ask for the rows there, draw, and add children. Rows that
are not there yet are computed together: masks by the matchers, logits by one call of the model. Where the grammar leaves a
single token, its row is asked for in the same call, and so on along the whole forced span.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from maskwright.compile.grammar import CompiledGrammar
from maskwright.grammars.errors import BatchError, LimitExceeded, ModelError, TruncatedError
from maskwright.kernels.bitmask import bitmask_words
from maskwright.runtime.aligned_trie import ROOT, AlignedTrie
from maskwright.runtime.allowed_rows import Row, RowStore
from maskwright.runtime.batch import BatchGrammarMatcher
from maskwright.runtime.lookahead import Drafting, Lookahead
from maskwright.runtime.slots import Slot, Tail
from maskwright.runtime.warping import Target, TokenClasses

__all__ = ["CanonicalTokens", "Conditional", "PrefixLogits", "Statistics"]

_MAX_SPAN = 64  # tokens of a forced span that are asked for in one call


class CanonicalTokens(Protocol):
    """Knows which tokens the tokenizer itself gives a text."""

    def may_begin(self, tokens: tuple[int, ...], /) -> bool:
        """Whether some token sequence of the tokenizer's own may begin with these."""

    def kept(self, tokens: Sequence[int], allowed: npt.NDArray[np.int64], end: int, /) -> npt.NDArray[np.int64]:
        """Those of the allowed tokens behind `tokens` with which the sequence may become, or is, the tokenizer's own."""


class PrefixLogits(Protocol):
    """A model, as sampling needs it; it may have `forward_tokens`, the tokens that it has processed so far."""

    def logits(self, prefixes: Sequence[Sequence[int]], /) -> Any:
        """[B, V], array or tensor: the logits of the token behind each of B prefixes (prompt and answer so far)."""


@dataclass(slots=True)
class Statistics:
    """What sampling has cost, and what it met.

    Attributes:
        forwards: calls of the model.
        forward_tokens: tokens that the model has processed, the prompt's included.
        attempts: descents, proposals or particle steps begun.
        rejected: of them, refused by an exact method's test.
        dead_ends: those that came to a prefix that nothing allowed can follow.
        truncations: of the dead ends, those at `max_tokens`.
        rows_recomputed: rows that had been let go and were asked for again.
        drafted: prefixes that the model was asked for before they were needed.
        taken: of them, those that were needed.
    """

    forwards: int = 0
    forward_tokens: int = 0
    attempts: int = 0
    rejected: int = 0
    dead_ends: int = 0
    truncations: int = 0
    rows_recomputed: int = 0
    drafted: int = 0
    taken: int = 0

    def since(self, before: Statistics) -> Statistics:
        """What has been added to earlier counts."""
        return Statistics(*(getattr(self, name) - getattr(before, name) for name in self.__slots__))


@dataclass(slots=True)
class _Asked:
    """A prefix whose row is to be computed: its allowed tokens, and the prefix one token before it, if asked for, too."""

    node: int  # -1: of the forced span behind the one before
    tokens: tuple[int, ...]
    allowed: npt.NDArray[np.int64]
    before: int = -1  # number in the list of what is asked


class Conditional:
    """The model behind a prompt and a grammar.

    Attributes:
        compiled: the grammar.
        prompt: token ids of the prompt.
        target: which distribution is conditioned.
        classes: which tokens are one; `classes.end` ends a text.
        trie: what is known.
        stats: what it has cost.
        lookahead: has the model asked for more than is needed at once; None: it is not.
    """

    def __init__(
        self,
        model: PrefixLogits,
        compiled: CompiledGrammar,
        prompt: Sequence[int],
        target: Target,
        *,
        classes: TokenClasses | None = None,
        trie: AlignedTrie | None = None,
        row_bytes: int = 1 << 28,
        canonical: CanonicalTokens | None = None,
        tail: bytes = b"",
        drafting: Drafting | None = None,
    ) -> None:
        """At the beginning of an answer.

        Args:
            model: gives logits.
            row_bytes: what rows may take in memory.
            canonical: for `target.canonical`.
            tail: text behind the prompt's tokens that answers begin with, in whatever tokens, before the grammar's.
            drafting: who guesses how texts go on, so that the model is asked less often.
        """
        self.model, self.compiled, self.prompt, self.target = model, compiled, list(prompt), target
        self.classes = TokenClasses(compiled.tokenizer_info) if classes is None else classes
        self.trie = AlignedTrie() if trie is None else trie
        self.stats = Statistics()
        self._rows = RowStore(row_bytes)
        self._pinned: dict[int, Row] = {}  # rows of nodes that have changed, until they are settled
        self._slots: list[Slot] = []
        self._tail = Tail(tail, compiled.tokenizer_info)
        self._batch = BatchGrammarMatcher(1)
        self._words = bitmask_words(compiled.tokenizer_info.vocab_size)
        self._longest = compiled.tokenizer_info.matching_trie.max_depth
        self._canonical = canonical
        self.lookahead: Lookahead | None = None
        if drafting is not None:
            usable = self.classes.lowest == np.arange(len(self.classes.lowest))
            usable[list(compiled.tokenizer_info.eos_token_ids)] = False
            self.lookahead = Lookahead(drafting, self._slot, self.prompt, usable, target.max_tokens)

    # -------------------------------------------------------------------------------------------------- using it

    @property
    def log_z_bounds(self) -> tuple[float, float]:
        return self.trie.log_z_bounds

    def rows(self, nodes: Sequence[int]) -> list[Row]:
        """The row of each node; those that are not known are computed, for all nodes together.

        Raises:
            ModelError: the model's logits cannot be used.
        """
        found, missing = self._known(nodes)
        self.stats.rows_recomputed += sum(self.trie.is_expanded(node) for node in missing)
        if missing:
            found |= self._compute(missing)
        self._pin(found)
        return [found[node] for node in nodes]

    def rows_at_hand(self, nodes: Sequence[int]) -> list[Row | None]:
        """The row of each node for which the model need not be asked, as far as that is known; None for the others."""
        found, missing = self._known(nodes)
        ahead = self.lookahead
        if ahead is not None:
            drafted = [node for node in missing if ahead.knows(tuple(self.trie.tokens_to(node).tolist()))]
            if drafted:
                found |= self._compute(drafted, at_hand=True)
        self._pin(found)
        return [found.get(node) for node in nodes]

    def add(self, node: int, token: int, log_p: float) -> int:
        """The child of a node, whose row has been asked for, by one of the row's tokens."""
        return self.trie.add(node, token, log_p, token == self.classes.end)

    def settle(self) -> None:
        """Let what was found count for what comes: between batches."""
        size = self.trie.size
        if not self.trie.settle(self._pinned):
            for node in range(self.trie.size, size):
                self._rows.drop(node)
        self._pinned.clear()
        self._rows.shrink()

    @contextmanager
    def undrafted(self) -> Iterator[None]:
        """Ask the model for no more than is needed."""
        ahead, self.lookahead = self.lookahead, None
        try:
            yield
        finally:
            self.lookahead = ahead

    def tokens_of(self, node: int) -> tuple[int, ...]:
        """The answer that a node stands for, without the end."""
        tokens = self.trie.tokens_to(node)
        return tuple((tokens[:-1] if self.trie.ended[node] else tokens).tolist())

    def token_log_probabilities(self, tokens: Sequence[int]) -> tuple[float, ...]:
        """log P of each token of a text after those before it; the model is asked only where that was forgotten."""
        node, logs = ROOT, []
        for token in tokens:
            child = self.trie.child(node, token)
            if child < 0:
                child = self.add(node, token, self.rows([node])[0].log_probability(token))
            logs.append(float(self.trie.log_edge[child]))
            node = child
        self.settle()
        return tuple(logs)

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text of an answer's tokens, behind the tail."""
        return self.compiled.tokenizer_info.decode(tokens)[len(self._tail.text) :].decode(errors="replace")

    def finish(self, node: int, whole: bool) -> None:
        """A text has come to its end at a node; `whole`: and is one of the grammar."""
        if self.lookahead is not None:
            self.lookahead.finish(self.tokens_of(node), whole)

    def dies_at(self, node: int) -> None:
        """Count a descent that came to a prefix which nothing allowed can follow."""
        self.stats.dead_ends += 1
        if not self._slots:
            self._slots.append(self._slot())
        slot = self._slots[0]
        slot.go(self.trie.tokens_to(node).tolist())
        if self._is_cut(slot, self.target.max_tokens - len(slot.tokens)):
            self.stats.truncations += 1

    def check_length(self, node: int, token: int) -> None:
        """Raises TruncatedError where a text goes on behind `max_tokens` tokens, and that is an error."""
        if (
            self.target.on_max == "error"
            and token != self.classes.end
            and self.trie.depth[node] >= self.target.max_tokens
        ):
            raise TruncatedError(text=self.text_of(self.tokens_of(node)), max_tokens=self.target.max_tokens)

    # ------------------------------------------------------------------------------------------------------- rows

    def _slot(self) -> Slot:
        """A matcher at the beginning of an answer."""
        return Slot(self.compiled, self._tail)

    def _known(self, nodes: Sequence[int]) -> tuple[dict[int, Row], list[int]]:
        """The rows that are there, and the other nodes."""
        found: dict[int, Row] = {}
        missing: list[int] = []
        for node in dict.fromkeys(nodes):
            row = self._pinned.get(node)
            if row is None:
                row = self._rows.get(node)
            if row is None and self.trie.log_mass[node] == -np.inf:
                row = Row.of(np.empty(0, np.int64), np.empty(0))
            if row is None:
                missing.append(node)
            else:
                found[node] = row
        return found, missing

    def _pin(self, found: dict[int, Row]) -> None:
        """Expand nodes, and keep their rows until the trie is settled."""
        for node, row in found.items():
            if not self.trie.is_expanded(node):
                self.trie.expand(node, row)
            self._pinned[node] = row

    def _compute(self, nodes: Sequence[int], at_hand: bool = False) -> dict[int, Row]:
        """The rows of nodes, by one call of the model at most; rows along forced spans are stored beside.

        Args:
            at_hand: leave out nodes for which, or for whose forced span, the model would have to be asked.
        """
        paths = [tuple(self.trie.tokens_to(node).tolist()) for node in nodes]
        while len(self._slots) < len(nodes):
            self._slots.append(self._slot())
        for slot, path in zip(self._slots, paths, strict=False):
            slot.go(path)
        permitted = self._allowed(self._slots[: len(nodes)])
        found: dict[int, Row] = {}
        asked: list[_Asked] = []
        for number, (node, path) in enumerate(zip(nodes, paths, strict=True)):
            allowed = permitted[number]
            row = self._without_model(len(path), allowed)
            if row is not None:
                found[node] = row
                self._rows.put(node, row)
                continue
            begin = len(asked)
            asked.append(_Asked(node, path, allowed))
            self._ask_span(self._slots[number], asked)
            if at_hand and not self._is_drafted(asked[begin:]):
                del asked[begin:]
        if asked:
            logs = self._log_probabilities([entry.tokens for entry in asked])
            self._store(asked, logs, found)
        return found

    def _allowed(self, slots: Sequence[Slot]) -> list[npt.NDArray[np.int64]]:
        """The tokens that may come next at each slot, by their classes, `max_tokens` minded."""
        behind = [slot for slot in slots if not slot.in_tail]
        masks = np.empty((len(behind), self._words), np.int32)
        try:
            self._batch.batch_fill_next_token_bitmask([slot.matcher for slot in behind], masks)
        except BatchError as error:
            raise next(iter(error.failures.values())) from None
        lines = iter(masks)
        return [self._kept(slot, slot.allowed_in_tail() if slot.in_tail else _tokens(next(lines))) for slot in slots]

    def _kept(self, slot: Slot, allowed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The classes of tokens that the grammar allows, less those that no text of the target has here."""
        end = self.classes.end
        allowed = self.classes.representatives(allowed)
        if self._is_cut(slot, self.target.max_tokens - len(slot.tokens)):
            allowed = allowed[allowed == end]
        return allowed if self._canonical is None else self._canonical.kept(slot.tokens, allowed, end)

    def _is_cut(self, slot: Slot, left: int) -> bool:
        """Whether no longer text fits within `left` more tokens, for all that is known for certain."""
        if self.target.on_max == "error":
            return False
        if left <= 0 or slot.in_tail:
            return left <= 0
        enough = slot.matcher.completion_bound()
        if enough is not None and enough <= left:
            return False
        try:
            return len(slot.matcher.shortest_completion()) > left * self._longest
        except LimitExceeded:  # of the search: then nothing is known, and the dead end is met where it is
            return False

    def _without_model(self, depth: int, allowed: npt.NDArray[np.int64]) -> Row | None:
        """The row of a prefix at which the model has no say."""
        if not len(allowed):
            return Row.of(allowed, np.empty(0))
        if self.target.on_max == "force_eos" and depth >= self.target.max_tokens:
            return Row.of(allowed, np.zeros(len(allowed)))  # the end, with probability 1
        return None

    def _ask_span(self, slot: Slot, asked: list[_Asked]) -> None:
        """Behind a prefix that was asked for: as long as there is one token to go on with, ask for the next row, too."""
        for _ in range(_MAX_SPAN):
            last = asked[-1]
            if len(last.allowed) != 1 or last.allowed[0] == self.classes.end:
                return
            slot.accept(int(last.allowed[0]))
            (allowed,) = self._allowed([slot])
            if self._without_model(len(slot.tokens), allowed) is not None:
                return
            asked.append(_Asked(-1, tuple(slot.tokens), allowed, before=len(asked) - 1))

    def _is_drafted(self, asked: Sequence[_Asked]) -> bool:
        """Whether the logits behind all of some prefixes are there."""
        return self.lookahead is not None and all(self.lookahead.knows(entry.tokens) for entry in asked)

    def _log_probabilities(self, prefixes: Sequence[tuple[int, ...]]) -> npt.NDArray[np.float64]:
        ahead = self.lookahead
        if ahead is None:
            return self.target.log_probabilities(self._logits(prefixes), self.classes)
        logits = ahead.logits(prefixes, self._logits)
        self.stats.drafted, self.stats.taken = ahead.drafted, ahead.taken
        return self.target.log_probabilities(logits, self.classes)

    def _logits(self, prefixes: Sequence[tuple[int, ...]]) -> npt.NDArray[np.floating]:
        """[B, V or more]: what the model gives behind some prefixes of answers, by one call."""
        whole = [[*self.prompt, *prefix] for prefix in prefixes]
        before = getattr(self.model, "forward_tokens", None)
        logits: Any = self.model.logits(whole)
        self.stats.forwards += 1
        # A model without a count of its own is taken to read every prefix whole.
        after = sum(map(len, whole)) if before is None else getattr(self.model, "forward_tokens", 0)
        self.stats.forward_tokens += after - (before or 0)
        if hasattr(logits, "detach"):
            logits = logits.detach().float().cpu().numpy()
        logits = np.asarray(logits)
        if logits.ndim != 2 or len(logits) != len(whole):
            raise ModelError(f"logits() gave {list(logits.shape)} for {len(whole)} prefixes")
        return logits

    def _store(self, asked: Sequence[_Asked], logs: npt.NDArray[np.float64], found: dict[int, Row]) -> None:
        """Rows from log-probabilities [len(asked), V]; forced spans become nodes as far as the model thinks them possible."""
        nodes: list[int] = []
        for entry, line in zip(asked, logs, strict=True):
            row, node = Row.of(entry.allowed, line[entry.allowed]), entry.node
            if entry.before >= 0:
                before, node = nodes[entry.before], -1
                if before >= 0:
                    token = entry.tokens[-1]
                    log_p = found[before].log_probability(token)
                    if log_p > -np.inf:
                        self.trie.expand(before, found[before])
                        node = self.add(before, token, log_p)
            nodes.append(node)
            if node >= 0:
                found[node] = row
                self._rows.put(node, row)


def _tokens(mask: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The tokens that a row of a bitmask allows, ascending."""
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
