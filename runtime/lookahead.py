"""Logits asked for before they are needed: a drafter guesses how texts go on, and its guesses join the next call.

    needed      u  v                     two prefixes, at each of which a text is being drawn
    drafted     ua uab uc  va            what a drafter expects behind them
    one call    u  v  ua uab uc  va      the rows of u and v now; those of the others when, and if, a draw comes there

Whoever samples draws what it would have drawn, with the same random numbers: a guess decides when the model is asked, and
never for what. So whatever is sampled keeps its law, with any drafter: the model conditioned on a grammar by the bounds of a
trie (p ~ P theta among the allowed tokens) as well as masking. It is verification by match: a text follows the drafts for as
long as the token drawn is among them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from maskwright.runtime.draft_budgets import BudgetPolicy
from maskwright.runtime.draft_tree import DraftTree, TreeBuilder
from maskwright.runtime.drafter import Drafter, Session, Text, Verified
from maskwright.runtime.slots import Slot
from maskwright.runtime.targets import Target
from maskwright.runtime.tree_masks import traverse

__all__ = ["Drafting", "Lookahead"]

Tokens = tuple[int, ...]
Logits = npt.NDArray[np.floating]

_MOST_TEXTS = 64  # that are drafted for at a time; of others the one asked for longest ago is forgotten


@dataclass(frozen=True, slots=True)
class Drafting:
    """Who drafts, and how.

    Attributes:
        drafter: shared with others, as `budget` is: who uses one holds `lock`.
        budget: how much is drafted.
        lock: see above.
        spell: the tokenizer's tokens of a text, none where they write something else.
        law: what the options of sampling make of a draft model's logits under a mask, float64 [V].
        trees: whether drafts may branch.
        max_bytes: what logits may take that nobody has needed yet.
    """

    drafter: Drafter
    budget: BudgetPolicy
    lock: threading.RLock
    spell: Callable[[str], Sequence[int]]
    law: Callable[[Any, npt.NDArray[np.int32]], npt.NDArray[np.float64]]
    trees: bool = True
    max_bytes: int = 1 << 27


@dataclass(slots=True, eq=False)
class _Draft:
    """One text that is being drawn, and what was drafted behind it when the model was asked last."""

    slot: Slot
    text: Text
    session: Session
    tree: DraftTree
    where: Hashable = None
    seconds: float = 0.0  # that the call took
    rows: Logits = field(default_factory=lambda: np.empty((0, 0), np.float32))  # [N, V], of the tree's nodes
    masks: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))  # [N, W]


class Lookahead:
    """The drafts for the texts behind one prompt.

    Attributes:
        drafted: prefixes that were asked for before they were needed.
        taken: those of them that were needed since.
    """

    def __init__(
        self,
        drafting: Drafting,
        slot: Callable[[], Slot],
        prompt: Sequence[int],
        usable: npt.NDArray[np.bool_],
        max_tokens: int,
    ) -> None:
        """
        Args:
            drafting: who drafts.
            slot: makes a place at the beginning of an answer.
            prompt: token ids.
            usable: bool [V]: tokens that may be drawn and do not end a text.
            max_tokens: of a text at most.
        """
        self.drafted = self.taken = 0
        self._drafting, self._slot, self._prompt = drafting, slot, list(prompt)
        self._usable, self._max_tokens = usable, max_tokens
        self._drafts: OrderedDict[Tokens, _Draft] = OrderedDict()  # by the text so far
        self._lines: OrderedDict[Tokens, Logits] = OrderedDict()  # [V], behind prefixes that nobody has needed yet

    def knows(self, prefix: Tokens) -> bool:
        """Whether the logits behind a prefix of an answer are there."""
        return prefix in self._lines

    def logits(self, prefixes: Sequence[Tokens], ask: Callable[[Sequence[Tokens]], Logits]) -> Logits:
        """The logits [B, V] behind some prefixes of answers: those that are there, and by one call all others.

        Args:
            prefixes: what is needed.
            ask: gives the logits behind any prefixes.
        """
        lines = {prefix: self._lines.pop(prefix) for prefix in prefixes if prefix in self._lines}
        self.taken += len(lines)
        needed = [prefix for prefix in prefixes if prefix not in lines]
        if needed:
            import torch

            with torch.inference_mode():
                drafts = {prefix: self._drafted(prefix) for prefix in _ends(needed)}
            places = {prefix: place for place, prefix in enumerate(dict.fromkeys(needed))}
            count = len(places)
            for prefix, draft in drafts.items():
                for path in _paths(prefix, draft.tree):
                    if path not in self._lines and path not in lines:
                        places.setdefault(path, len(places))
            started = perf_counter()
            found = ask([*places])
            seconds = perf_counter() - started
            self.drafted += len(places) - count
            for prefix, draft in drafts.items():
                self._keep(prefix, draft, found, places, lines, seconds)
            lines |= {prefix: found[places[prefix]] for prefix in needed}
            for path, place in [*places.items()][count:]:
                self._lines[path] = found[place].copy()  # not a view: it would keep everybody's logits
            self._shrink(found[0].nbytes)
        return np.stack([lines[prefix] for prefix in prefixes])

    def finish(self, tokens: Tokens, whole: bool) -> None:
        """A text has come to its end; `whole`: and is one."""
        draft = self._longest(tokens)
        if draft is not None:
            self._observe(draft, tokens)
            if whole:
                with self._drafting.lock:
                    draft.session.finish()

    # ---------------------------------------------------------------------------------------------------- drafting

    def _drafted(self, prefix: Tokens) -> _Draft:
        """What comes behind a prefix, as far as a drafter knows: that of its text so far, or one that begins there."""
        draft = self._longest(prefix)
        if draft is None:
            draft = self._begun(prefix)
        else:
            self._observe(draft, prefix)
        draft.tree, draft.masks = self._proposed(draft, prefix)
        return draft

    def _longest(self, prefix: Tokens) -> _Draft | None:
        """The text that was drafted for which a prefix goes on from; of several the longest. It is taken out."""
        known = max((text for text in self._drafts if prefix[: len(text)] == text), key=len, default=None)
        return None if known is None else self._drafts.pop(known)

    def _begun(self, prefix: Tokens) -> _Draft:
        drafting, slot = self._drafting, self._slot()
        slot.go(prefix)
        text = Text(
            ids=[*self._prompt, *prefix],
            prompt=len(self._prompt),
            matcher=slot.matcher,
            spell=drafting.spell,
            law=drafting.law,
            trees=drafting.trees,
        )
        with drafting.lock:
            return _Draft(slot, text, drafting.drafter.begin(text), _root(text.ids))

    def _proposed(self, draft: _Draft, prefix: Tokens) -> tuple[DraftTree, npt.NDArray[np.int32]]:
        """A tree of nodes that may come next, and the mask behind each, int32 [N, W]."""
        text, room = draft.text, self._max_tokens - len(prefix)
        tokens = text.matcher.compiled.tokens
        if draft.slot.in_tail or room < 1 or not text.ids:
            tree = _root(text.ids)
        else:
            draft.where = text.matcher.context
            with self._drafting.lock:
                tree = draft.session.propose(self._drafting.budget.budget(draft.where))
            known = (tree.token >= 0) & (tree.token < len(self._usable)) & (tree.depth <= room)
            known[1:] &= self._usable[np.where(known, tree.token, 0)[1:]]
            known[0] = True
            tree, _ = tree.kept(known)
            if not self._drafting.trees:
                tree = tree.likeliest_chain()
        masks = np.empty((len(tree), tokens.words), np.int32)
        target = Target.of(masks, tokens.words, tokens.vocab_size)
        legal = traverse(text.matcher, tree.token, tree.first_child, tree.next_sibling, target)
        assert legal is not None, "there is no clock"
        tree, kept = tree.kept(legal)
        return tree, masks[kept]

    def _keep(
        self,
        prefix: Tokens,
        draft: _Draft,
        found: Logits,
        places: dict[Tokens, int],
        lines: dict[Tokens, Logits],
        seconds: float,
    ) -> None:
        """Remember a text with the logits behind its drafts, to learn from when it has gone on."""

        def line(path: Tokens) -> Logits:
            if path in places:
                return found[places[path]]
            return lines[path] if path in lines else self._lines[path]

        draft.rows = np.stack([line(path) for path in (prefix, *_paths(prefix, draft.tree))])
        draft.seconds = seconds
        self._drafts[prefix] = draft
        while len(self._drafts) > _MOST_TEXTS:
            self._drafts.popitem(last=False)

    def _shrink(self, line_bytes: int) -> None:
        most = max(1, self._drafting.max_bytes // line_bytes)
        while len(self._lines) > most:
            self._lines.popitem(last=False)

    # ---------------------------------------------------------------------------------------------------- learning

    def _observe(self, draft: _Draft, tokens: Tokens) -> None:
        """The text of a draft has gone on to `tokens`; tell who drafted what came of it."""
        import torch

        text, tree, drafting = draft.text, draft.tree, self._drafting
        before = len(text.ids)
        appended = tokens[before - len(self._prompt) :]
        text.ids += appended
        draft.slot.go(tokens)
        path, node = list[int](), 0
        for token in appended:
            node = tree.child(node, token)
            if node < 0:
                break
            path.append(node)
        verified = Verified(tree, path, appended, torch.from_numpy(draft.rows), draft.masks)
        with drafting.lock, torch.inference_mode():
            draft.session.observe(verified)
            if before > len(self._prompt):  # how long a prompt takes says nothing about drafts
                expected = float(tree.value[1:].sum())
                drafting.budget.observe(draft.where, expected, len(path), len(tree) - 1, draft.seconds)


def _root(ids: Sequence[int]) -> DraftTree:
    """No draft behind a text."""
    return TreeBuilder(ids[-1] if ids else -1).build()


def _ends(prefixes: Sequence[Tokens]) -> list[Tokens]:
    """The prefixes that no other of them goes on from."""
    ends: list[Tokens] = []
    for prefix in sorted(set(prefixes), reverse=True):
        if not ends or ends[-1][: len(prefix)] != prefix:
            ends.append(prefix)
    return ends[::-1]


def _paths(prefix: Tokens, tree: DraftTree) -> list[Tokens]:
    """The prefixes that the nodes of a tree behind `prefix` stand for, but for its root."""
    paths = [prefix]
    for node in range(1, len(tree)):
        paths.append((*paths[int(tree.parent[node])], int(tree.token[node])))
    return paths[1:]
