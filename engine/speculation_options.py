"""What `draft=` may be, and what is made of it: a drafter, a verifier, a budget policy.

draft                  who drafts
"auto"                 what the grammar forces, the longest known suffix, and counts by grammar state, in one tree
"grammar", "lookup", "suffix", "recycling", "automaton", "trigram"      one of them alone
"embedded"             the draft model that comes with the package, for the embedded model
a model, or its name   a smaller model with the same vocabulary
a list of these        all in one tree
a Drafter              one that was made before: it keeps what it has learned
a Speculation          any of these, with a verifier, a budget and a shape of a model's trees
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal
from weakref import WeakKeyDictionary

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.runtime.beam_drafter import BeamDrafter
from maskwright.runtime.chain_drafter import ChainDrafter
from maskwright.runtime.draft_budgets import BudgetPolicy, FixedBudget, GoodputBudget, ThresholdBudget
from maskwright.runtime.draft_model import DraftModel
from maskwright.runtime.drafter import Drafter
from maskwright.runtime.dynamic_drafter import DynamicDrafter
from maskwright.runtime.forced_drafter import ForcedDrafter
from maskwright.runtime.level_drafter import LevelDrafter
from maskwright.runtime.lookup_drafter import LookupDrafter
from maskwright.runtime.merged_drafter import MergedDrafter
from maskwright.runtime.recycling_drafter import RecyclingDrafter
from maskwright.runtime.state_drafter import StateDrafter
from maskwright.runtime.suffix_drafter import SuffixDrafter
from maskwright.runtime.trigram_drafter import TrigramDrafter
from maskwright.runtime.verifiers import VERIFIERS

__all__ = ["Speculation", "speculation_for"]

Shape = Literal["chain", "spectr", "rsd-c", "rsd-s", "dyspec"]

_NAMED: Mapping[str, type[Drafter]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (ForcedDrafter, LookupDrafter, SuffixDrafter, RecyclingDrafter, StateDrafter, TrigramDrafter)
    }
)
_AUTO = ("grammar", "suffix", "automaton")
_VERIFIERS = (*VERIFIERS, "block")
# By shape of a model's tree: how its children are drawn decides who can judge them by ratio.
_JUDGES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "chain": frozenset({"block", "ratio", "multi_round", "without_replacement", "k_sequential"}),
        "spectr": frozenset({"ratio", "multi_round", "k_sequential"}),
        "rsd-c": frozenset({"ratio", "without_replacement"}),
        "rsd-s": frozenset({"ratio", "without_replacement"}),
        "dyspec": frozenset({"ratio", "without_replacement"}),
    }
)


@dataclass(frozen=True)
class Speculation:
    """How to draft, to judge drafts, and how much to draft; for `generate(..., draft=Speculation(...))`.

    Keep one and pass it again: what its drafters and its budget have learned stays with it.

    Attributes:
        draft: as the option `draft`, but no Speculation. See the table of docs/speculative.md.
        verifier: "match": answers are those of plain decoding, random numbers and all. Or, with a draft model alone,
            "ratio", "block", "multi_round", "without_replacement" or "k_sequential": answers of the same law in other draws,
            with more drafts taken. Which of them fits depends on `shape`.
        budget: nodes of a tree: "goodput": as many as pay, by measured times; a whole number: at most so many; or a policy.
        rejection: with a number as budget: stop where a rejection on the way is likelier than this.
        shape: of a draft model's trees: "chain"; "spectr", several chains; "rsd-c", a constant number of children a level;
            "rsd-s", the likeliest sequences; "dyspec", nodes where they are likely to be reached.
        size: how large a tree a draft model draws: tokens of a chain, or levels, or (dyspec) nodes; None: 5, 5, 4, 4, 12.
    """

    draft: Any = "auto"
    verifier: str = "match"
    budget: Any = "goodput"
    rejection: float | None = None
    shape: Shape = "chain"
    size: int | None = None
    _kept: WeakKeyDictionary[TokenizerInfo, Prepared] = field(
        default_factory=WeakKeyDictionary, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if isinstance(self.draft, Speculation):
            raise ValueError("draft= of a Speculation names drafters, not another Speculation")
        if self.verifier not in _VERIFIERS:
            raise ValueError(f"verifier={self.verifier!r}: choose one of {', '.join(map(repr, _VERIFIERS))}")
        if self.shape not in _JUDGES:
            raise ValueError(f"shape={self.shape!r}: choose one of {', '.join(map(repr, _JUDGES))}")
        if self.verifier != "match" and self.verifier not in _JUDGES[self.shape]:
            fitting = ", ".join(repr(name) for name in _VERIFIERS if name in {"match", *_JUDGES[self.shape]})
            raise ValueError(
                f"verifier={self.verifier!r} is not exact for trees of shape {self.shape!r}: choose {fitting}"
            )
        if self.size is not None and (not isinstance(self.size, int) or not 1 <= self.size <= 64):
            raise ValueError(f"size={self.size!r}: choose 1 to 64")
        self._policy()

    def prepared(self, info: TokenizerInfo) -> Prepared:
        """The drafter and the budget for a vocabulary; the same ones at every call."""
        found = self._kept.get(info)
        if found is None:
            drafter = self._drafter(self.draft)
            if self.verifier != "match" and not isinstance(
                drafter, ChainDrafter | LevelDrafter | BeamDrafter | DynamicDrafter
            ):
                raise ValueError(
                    f"verifier={self.verifier!r} judges what a draft model has drawn: give draft= a model alone"
                )
            found = self._kept[info] = Prepared(drafter, self.verifier, self._policy())
        return found

    def _policy(self) -> BudgetPolicy:
        given = self.budget
        if given == "goodput":
            if self.rejection is not None:
                raise ValueError("rejection= goes with a number as budget=")
            return GoodputBudget()
        if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 1024:
            if self.rejection is None:
                return FixedBudget(given)
            if not 0 < self.rejection <= 1:
                raise ValueError(f"rejection={self.rejection!r}: choose a probability above 0")
            return ThresholdBudget(given, self.rejection)
        if hasattr(given, "budget") and hasattr(given, "observe"):
            policy: BudgetPolicy = given
            return policy
        raise ValueError(f"budget={given!r}: choose 'goodput', a number of nodes from 0 to 1024, or a policy")

    def _drafter(self, draft: Any) -> Drafter:
        if isinstance(draft, Drafter):
            return draft
        if isinstance(draft, list | tuple):
            if not draft:
                raise ValueError("draft=[]: name one drafter at least")
            parts = list[Drafter]()
            for entry in draft:
                part = self._drafter(entry)
                parts += part.drafters if isinstance(part, MergedDrafter) else (part,)
            return MergedDrafter(parts)
        if draft == "auto":
            return MergedDrafter([_NAMED[name]() for name in _AUTO], "auto")
        if isinstance(draft, str) and draft in _NAMED:
            return _NAMED[draft]()
        return self._of_model(draft)

    def _of_model(self, draft: Any) -> Drafter:
        model = DraftModel(_model(draft))
        if self.shape == "rsd-c":
            return LevelDrafter(model, ((4, 2, 2) + (1,) * 64)[: self.size or 4])
        if self.shape == "rsd-s":
            return BeamDrafter(model, length=self.size or 4)
        if self.shape == "dyspec":
            return DynamicDrafter(model, self.size or 12)
        return ChainDrafter(model, self.size or 5, chains=3 if self.shape == "spectr" else 1)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A Speculation for one vocabulary: what lives on from call to call. Who uses drafter or budget holds the lock."""

    drafter: Drafter
    verifier: str
    budget: BudgetPolicy
    lock: threading.RLock = field(default_factory=threading.RLock)


def speculation_for(draft: Any, info: TokenizerInfo) -> Prepared:
    """What the option `draft` of generate() means for a model's vocabulary.

    Raises:
        ValueError: it is nothing that drafts, or its parts do not fit each other.
        ModelError: a draft model cannot be loaded, or cannot draft.
    """
    if isinstance(draft, Speculation):
        return draft.prepared(info)
    if isinstance(draft, str):
        return _named(draft).prepared(info)
    return Speculation(draft).prepared(info)


@functools.lru_cache(maxsize=8)
def _named(draft: str) -> Speculation:
    """What drafters given by name have learned is kept for the next call."""
    return Speculation(draft)


def _model(draft: Any) -> Any:
    """The draft model that was given or named.

    Raises:
        ValueError: it is no model.
    """
    from maskwright.loading import load

    if draft == "embedded":
        from maskwright.embedded import load_draft

        return load_draft()[0]
    if isinstance(draft, str | os.PathLike):
        return load(os.fspath(draft), False)[0]
    if hasattr(draft, "config") and callable(getattr(draft, "forward", None)):
        return draft
    names = ", ".join(map(repr, ("auto", *_NAMED, "embedded")))
    raise ValueError(f"draft={draft!r}: choose {names}, a model or its name, a list of these, or a Speculation")
