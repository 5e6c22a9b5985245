"""Trees of a draft model by stochastic beam search: the W likeliest sequences of each length under Gumbel noise (RSD-S).

Each sequence has a perturbed log-probability; a child's is drawn so that the largest of siblings is their parent's own:

    G(child) = -log(exp(-G(parent)) - exp(-Z) + exp(-(phi(child) + gumbel))),   Z = max over the siblings

The W largest over all parents are the next level, and these are W draws without replacement of sequences. The siblings
among them, in descending order, are draws without replacement of tokens, which "without_replacement" verifies: which token
comes next does not depend on how large its G is, so that a level's threshold tells nothing about it.

Sources: Recursive Speculative Decoding, Jeon et al. 2024; Kool, van Hoof, Welling 2019.
"""

from __future__ import annotations

import numpy as np

from maskwright.runtime.draft_model import DraftModel, ModelSession
from maskwright.runtime.draft_tree import TreeBuilder
from maskwright.runtime.drafter import Budget, Drafter, Session, Text

__all__ = ["BeamDrafter"]


class BeamDrafter(Drafter):
    """RSD-S."""

    name = "rsd-s"

    def __init__(self, model: DraftModel, width: int = 4, length: int = 4) -> None:
        """`width` sequences of each length up to `length`."""
        self.model, self.width, self.length = model, width, length

    def begin(self, text: Text) -> Session:
        """See Drafter."""
        return _Beams(self, text)


class _Beams(ModelSession):
    def __init__(self, drafter: BeamDrafter, text: Text) -> None:
        super().__init__(drafter.model, text)
        self._width, self._length = drafter.width if text.trees else 1, drafter.length

    def _grow(self, builder: TreeBuilder, budget: Budget) -> None:
        beam, expected = [(0, 0.0, 0.0)], 0.0  # node, log-probability, perturbed one
        for _ in range(self._length):
            beam = [entry for entry in beam if not (entry[0] and self._seen.ends(builder.token(entry[0])))]
            if not beam:
                return
            self._seen.show([node for node, _, _ in beam])
            found = list[tuple[float, int, int, float]]()  # perturbed, place in the beam, token, log-probability
            laws = []
            for place, (node, log_probability, perturbed) in enumerate(beam):
                law = self._seen.law(node)
                laws.append(law)
                tokens = np.flatnonzero(law)
                logs = log_probability + np.log(law[tokens])
                noisy = self._perturbed(logs, perturbed)
                best = np.argsort(-noisy, kind="stable")[: self._width]
                found += [(float(noisy[b]), place, int(tokens[b]), float(logs[b])) for b in best.tolist()]
            found.sort(key=lambda entry: -entry[0])
            below = list[tuple[int, float, float]]()
            for perturbed, place, token, log_probability in found[: self._width]:
                value = float(np.exp(beam[place][1]))
                if not budget.admits(len(builder) - 1, expected, value):
                    break
                node = self._seen.add(beam[place][0], token, laws[place])
                below.append((node, log_probability, perturbed))
                expected += float(np.exp(log_probability))
            beam = below

    def _perturbed(self, logs: np.ndarray, largest: float) -> np.ndarray:
        """Log-probabilities plus Gumbel noise, given that the largest of them is `largest`; without noise where greedy."""
        if self._text.chance is None:
            return logs
        uniforms = self._text.chance.uniforms(len(logs))
        noisy = logs - np.log(-np.log1p(-uniforms) + 1e-300)
        with np.errstate(divide="ignore"):  # of the largest itself the logarithm is minus infinity, as it should be
            gap = largest - noisy + np.log1p(-np.exp(noisy - noisy.max()))
        return largest - np.maximum(gap, 0.0) - np.log1p(np.exp(-np.abs(gap)))
