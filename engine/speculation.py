"""The decoding loop with drafts: a tree for each row, one forward for all of them, and as many tokens as the target takes.

    row --draft--> tree --masks--> --model--> logits [N, V] of every node
                                                 |
    root: draw, accept, budget --> a child has the token? go on there, draw again --> ... --> no: the next forward

What happens at a node is what `Decoder` does in a step: the same draw from the same random numbers, the same budget, the same
forced text. Drafts only decide for how many tokens one forward serves. So with the verifier "match" the answer is that of
plain decoding, token for token, up to the rounding of the model's arithmetic. The verifiers by ratio emit answers of the
same law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from maskwright.decoding import Decoder, Request, Row
from maskwright.kernels.bitmask import count_allowed
from maskwright.kernels.device_masks import sent
from maskwright.results import GenerationResult, SpeculationStatistics
from maskwright.runtime.block_verifier import verify_block
from maskwright.runtime.chance import RandomChance
from maskwright.runtime.draft_tree import DraftTree, TreeBuilder
from maskwright.runtime.drafter import Session, Text, Verified
from maskwright.runtime.targets import Target
from maskwright.runtime.tree_forward import forward_for
from maskwright.runtime.tree_masks import traverse
from maskwright.runtime.verifiers import VERIFIERS
from maskwright.sampling import Drawn, Sampler, Sampling
from maskwright.speculation_options import Prepared
from maskwright.step_masks import StepMasks

if TYPE_CHECKING:
    import torch

__all__ = ["SpeculativeDecoder"]

_DRAFTING_STREAM = 1 << 20  # sample numbers from here on are those of drafts and of coins
_LONG = 1024
_ENDING = 16  # tokens left, below which nothing is drawn for verification by ratio: a tree might not fit


@dataclass(slots=True, eq=False)
class _Drafting:
    """A row's drafts."""

    text: Text
    session: Session
    chance: RandomChance  # for drafts that are drawn, and for verifiers by ratio
    where: Any = None  # the class of grammar states that its tree began at
    drafted: int = 0
    verified: int = 0
    taken: int = 0
    by_depth: list[list[int]] = field(default_factory=list)
    # Of a tree that is judged as a whole: the token behind each node.
    plan: dict[int, int] = field(default_factory=dict)

    def count(self, tree: DraftTree, path: Sequence[int]) -> None:
        """Note what came of a tree."""
        self.taken += len(path)
        for depth, node in enumerate((0, *path)):
            if tree.first_child[node] < 0:
                break
            if depth == len(self.by_depth):
                self.by_depth.append([0, 0])
            self.by_depth[depth][0] += 1
            self.by_depth[depth][1] += depth < len(path)


class SpeculativeDecoder(Decoder):
    """A Decoder that drafts; each step may add several tokens to a row."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        requests: Sequence[Request],
        *,
        samples: int,
        sampling: Sampling,
        entropy: int,
        speculation: Prepared,
        **options: Any,
    ) -> None:
        """How to speculate, and arguments as Decoder's."""
        super().__init__(model, tokenizer, requests, samples=samples, sampling=sampling, entropy=entropy, **options)
        self._speculation = speculation
        # Where the likeliest token is taken there is nothing to draw, and every verifier is this one.
        self._matching = speculation.verifier == "match" or sampling.greedy
        if self._valid_mass and not self._matching:
            raise ValueError(f"valid_mass= goes with verifier='match', not with {speculation.verifier!r}")
        if speculation.verifier == "block" and self._jumping:
            raise ValueError("verifier='block' judges tokens that the model draws, all of them: add jump_forward=False")
        # Drafts of a model are shaped as the target's draws are; where those are greedy, by its probabilities.
        self._shaping = Sampler(Sampling(1.0)) if sampling.greedy else self._sampler
        drafter = speculation.drafter
        self._drafting = {row: self._begin(row, drafter, entropy) for row in self.rows}

    def _open(self, model: Any, prompts: int) -> None:
        self._target = forward_for(model, prompts)

    def _begin(self, row: Row, drafter: Any, entropy: int) -> _Drafting:
        info = row.request.compiled.tokenizer_info
        sequence = np.random.SeedSequence(entropy, spawn_key=(row.prompt, _DRAFTING_STREAM + row.sample))
        chance = RandomChance(np.random.default_rng(sequence))
        size = row.request.compiled.tokens.vocab_size
        text = Text(
            ids=[*row.request.ids, *row.tokens],
            prompt=len(row.request.ids),
            matcher=row.matcher,
            spell=lambda forced: self._spelling.of(forced, info),
            trees=self._target.takes_trees,
            law=lambda logits, mask: self._law(self._shaping, logits, mask, size),
        )
        if not self._sampling.greedy:
            text.chance = chance
            if self._matching:
                text.choose = lambda logits, mask, ahead: self._shared_draw(row, logits, mask, ahead)
        return _Drafting(text, drafter.begin(text), chance)

    def _shared_draw(self, row: Row, logits: torch.Tensor, mask: npt.NDArray[np.int32], ahead: int) -> int:
        """What the row's random numbers make of a draft model's logits [V'], `ahead` tokens after the next one.

        The target's draw there adds the same noise to its logits, so that a draft model that agrees draws the same token.
        """
        fitted = _fitted(logits, row.request.compiled.tokens.vocab_size)
        masks = self._shipped(mask[None])
        return self._sampler.draw(fitted[None], masks, [row.seed], [len(row.tokens) + ahead]).tokens[0]

    def step(self) -> list[Row]:
        """One forward, and for each row the tokens that it takes; the rows that went on."""
        import torch

        with torch.inference_mode():
            started, reading = perf_counter(), not self._prefilled_at
            ahead = self._looked_ahead()
            taken = [self._verified(row, *found) for row, found in zip(self.live, ahead, strict=True)]
            if not (reading and self._samples > 1):  # there the prompts went before, and are committed
                self._target.commit(taken)
            # How long a prompt takes says nothing about trees.
            self._note([tree for tree, _, _ in ahead], taken, None if reading else perf_counter() - started)
            moved = self.live
            going = [index for index, row in enumerate(self.live) if row.finish_reason is None]
            if len(going) < len(self.live):
                self.live = [self.live[index] for index in going]
                self._target.select(going)
        return moved

    def result(self, row: Row, value: Any, compile_seconds: float) -> GenerationResult:
        """As Decoder's, with the account of the drafts."""
        plain, drafting = super().result(row, value, compile_seconds), self._drafting[row]
        account = SpeculationStatistics(
            drafter=self._speculation.drafter.name,
            verifier="match" if self._matching else self._speculation.verifier,
            forwards=row.forwards,
            drafted=drafting.drafted,
            verified=drafting.verified,
            taken=drafting.taken,
            forced=row.jumped,
            by_depth=tuple((tested, taken) for tested, taken in drafting.by_depth),
            chains_because=self._target.chains_because,
        )
        return replace(plain, speculation=account)

    # -------------------------------------------------------------------------------------------------------- before

    def _looked_ahead(self) -> list[tuple[DraftTree, npt.NDArray[np.int32], torch.Tensor]]:
        """A tree for each row, the masks of its nodes, int32 [N, W], and the target's logits, [N, V]."""
        for row in self.live:
            row.forwards += 1
        first = not self._prefilled_at
        if first and self._samples > 1:
            logits = self._prefilled()
            roots = [self._masked(row, self._root(row)) for row in self.live]
            return [(*root, own) for root, own in zip(roots, logits, strict=True)]
        pending = [[*(row.request.ids if first else ()), *row.pending] for row in self.live]
        # Behind a long prompt a tree would take a mask of its own for every pair of the prompt's tokens.
        rooted = max(map(len, pending)) > _LONG
        planned = [self._masked(row, self._root(row) if rooted else self._draft(row)) for row in self.live]
        logits = self._target.forward(pending, [tree for tree, _ in planned])
        if first:
            self._prefilled_at = perf_counter()
        return [(*plan, own) for plan, own in zip(planned, logits, strict=True)]

    def _prefilled(self) -> list[torch.Tensor]:
        """Show the target each prompt once, for all of its samples; logits [1, V] for each row."""
        firsts = self.live[:: self._samples]
        pending = [[*row.request.ids, *row.pending] for row in firsts]
        found = self._target.forward(pending, [TreeBuilder().build() for _ in firsts])
        self._target.commit([() for _ in firsts])
        repeated = [prompt for prompt in range(len(firsts)) for _ in range(self._samples)]
        self._target.select(repeated)
        for row in self.live:
            row.pending.clear()
        self._prefilled_at = perf_counter()
        return [found[prompt].clone() for prompt in repeated]

    def _root(self, row: Row) -> DraftTree:
        """No draft behind a row."""
        return TreeBuilder(self._drafting[row].text.ids[-1]).build()

    def _draft(self, row: Row) -> DraftTree:
        """What the drafter proposes behind a row, no deeper than the row may still grow."""
        drafting = self._drafting[row]
        if row.budget.left < (1 if self._matching else _ENDING):
            return self._root(row)
        drafting.where = row.matcher.context
        with self._speculation.lock:
            tree = drafting.session.propose(self._speculation.budget.budget(drafting.where))
        drafting.drafted += len(tree) - 1
        if self._matching and len(tree) > 1 and int(tree.depth.max()) > row.budget.left:
            tree, _ = tree.kept(tree.depth <= row.budget.left)
        return tree

    def _masked(self, row: Row, tree: DraftTree) -> tuple[DraftTree, npt.NDArray[np.int32]]:
        """The tree's nodes that the grammar allows, and the mask behind each, int32 [N, W]."""
        started = perf_counter()
        tokens = row.request.compiled.tokens
        if len(tree) > 1:
            known = (tree.token >= 0) & (tree.token < tokens.vocab_size)
            if not known[1:].all():
                tree, _ = tree.kept(known)
            if not self._target.takes_trees:
                tree = tree.likeliest_chain()
        masks = np.empty((len(tree), tokens.words), np.int32)
        if len(tree) == 1:
            row.matcher.fill_next_token_bitmask(masks)
            row.mask_seconds += perf_counter() - started
            return tree, masks
        target = Target.of(masks, tokens.words, tokens.vocab_size)
        legal = traverse(row.matcher, tree.token, tree.first_child, tree.next_sibling, target)
        assert legal is not None, "there is no clock"
        if not legal.all():
            tree, kept = tree.kept(legal)
            masks = masks[kept]
        self._drafting[row].verified += len(tree) - 1
        row.mask_seconds += perf_counter() - started
        return tree, masks

    # --------------------------------------------------------------------------------------------------------- after

    def _verified(self, row: Row, tree: DraftTree, masks: npt.NDArray[np.int32], logits: torch.Tensor) -> list[int]:
        """Grow a row by what the target makes of its tree; the nodes taken."""
        drafting, before = self._drafting[row], len(row.tokens)
        row.pending.clear()
        shipped = self._shipped(masks)
        if self._speculation.verifier == "block" and not self._matching:
            drafting.plan = verify_block(
                tree, lambda node: self._sampler.law(logits[node : node + 1], shipped.only(node)), drafting.chance
            )
        path, node = list[int](), 0
        while node >= 0 and row.finish_reason is None:
            row.count_mask(shipped.allowed[node], 0.0)
            own, mask = logits[node : node + 1], shipped.only(node)
            drawn = self._drawn(row, tree, node, mask, own)
            known = len(row.tokens)
            self._take(row, own, mask, drawn, 0)
            self._settle(row)
            grown = row.tokens[known:]
            for token in grown:
                node = tree.child(node, token) if node >= 0 else -1
                if node >= 0:
                    path.append(node)
        del row.pending[: len(path)]
        appended = row.tokens[before:]
        drafting.text.ids += appended
        drafting.count(tree, path)
        with self._speculation.lock:
            drafting.session.observe(Verified(tree, path, appended, logits, masks))
            if row.finish_reason is not None:
                drafting.session.finish()
        return path

    def _drawn(self, row: Row, tree: DraftTree, node: int, mask: StepMasks, logits: torch.Tensor) -> Drawn:
        """The token behind a node, whose logits [1, V] and mask these are."""
        if self._matching or tree.first_child[node] < 0:
            return self._draw([row], logits, mask)
        p = self._sampler.law(logits, mask)
        drafting, verifier = self._drafting[row], self._speculation.verifier
        token = drafting.plan[node] if verifier == "block" else VERIFIERS[verifier](tree, node, p, drafting.chance)
        return Drawn([token], [float(np.log(p[token]))], None)

    def _shipped(self, masks: npt.NDArray[np.int32]) -> StepMasks:
        """Masks, int32 [N, W], where the logits are."""
        import torch

        allowed = np.zeros(len(masks), np.int64)
        count_allowed(masks, allowed)
        device = self._target.device
        table = torch.from_numpy(masks) if device.type == "cpu" else sent(masks, device)
        return StepMasks(table, None, allowed.tolist())

    def _law(
        self, sampler: Sampler, logits: torch.Tensor, mask: npt.NDArray[np.int32], size: int
    ) -> npt.NDArray[np.float64]:
        """What sampling makes of a draft model's logits [V'] under a mask [W]: float64 [size]."""
        return sampler.law(_fitted(logits, size)[None], self._shipped(mask[None]))

    def _note(self, trees: Sequence[DraftTree], taken: Sequence[Sequence[int]], seconds: float | None) -> None:
        """Tell the budget policy what a step of the live rows was worth."""
        for row, tree, path in zip(self.live, trees, taken, strict=True):
            expected = float(tree.value[1:].sum()) if len(tree) > 1 else 0.0
            where = self._drafting[row].where
            self._speculation.budget.observe(where, expected, len(path), len(tree) - 1, seconds)


def _fitted(logits: torch.Tensor, size: int) -> torch.Tensor:
    """Logits [size] of the first tokens: models of one tokenizer differ in how many logits mean nothing."""
    from torch.nn.functional import pad

    return logits[:size] if len(logits) >= size else pad(logits, (0, size - len(logits)), value=float("-inf"))
