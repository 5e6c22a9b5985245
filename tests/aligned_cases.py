"""Small models and languages for the tests of grammar-aligned sampling, and the statistics that judge them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import naive_aligned as naive

from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.runtime.aligned_trie import AlignedTrie
from maskwright.runtime.allowed_rows import Row
from maskwright.runtime.conditional import Conditional
from maskwright.runtime.warping import Target, TokenClasses

# One letter, or several: most texts can be written in more than one way.
PLAIN: tuple[bytes | None, ...] = (b"a", b"b", b"c", b"</s>")
AMBIGUOUS: tuple[bytes | None, ...] = (b"a", b"b", b"ab", b"ba", b"aab", b"</s>")
# Two tokens of equal bytes, two ends, padding.
TWICE: tuple[bytes | None, ...] = (b"a", b"b", b"</s>", b"a", b"ab", b"<end>", None)
ENDS = {PLAIN: (3,), AMBIGUOUS: (5,), TWICE: (2, 5)}


@dataclass(frozen=True)
class Case:
    """A model, a language, and the truth about them."""

    model: naive.TableModel
    compiled: CompiledGrammar
    classes: TokenClasses
    language: naive.Language
    target: Target

    def space(self, **options: Any) -> Conditional:
        return Conditional(self.model, self.compiled, (), self.target, classes=self.classes, **options)


def case(
    seed: int,
    tokens: tuple[bytes | None, ...] = AMBIGUOUS,
    texts: Sequence[str] | None = None,
    spread: float = 1.5,
    **options: Any,
) -> Case:
    """A random model over `tokens`, and `texts` or some random ones of at most four letters."""
    if texts is None:
        source = random.Random(seed)
        letters = "abc" if tokens is PLAIN else "ab"
        texts = sorted({"".join(source.choices(letters, k=source.randint(1, 4))) for _ in range(6)})
    info = TokenizerInfo(tokens, eos_token_ids=ENDS[tokens])
    model, target = naive.TableModel(len(tokens), seed, spread), Target(**options)
    language = naive.Language(
        model.row,
        tokens,
        ENDS[tokens],
        [text.encode() for text in texts],
        max_tokens=target.max_tokens,
        force_end=target.on_max == "force_eos",
        temperature=target.temperature,
        top_p=target.top_p,
    )
    compiled = GrammarCompiler(info).compile_choices(list(texts))
    return Case(model, compiled, TokenClasses(info), language, target)


class Remembering(Conditional):
    """A space whose rows, once computed, are remembered for all spaces of a case: thousands of them cost little."""

    def __init__(self, given: Case, memory: dict[tuple[int, ...], Row], **options: Any) -> None:
        super().__init__(given.model, given.compiled, (), given.target, classes=given.classes, **options)
        self._memory = memory

    def _compute(self, nodes: Sequence[int]) -> dict[int, Row]:
        paths = {node: self.tokens_of(node) for node in nodes}
        fresh = [node for node in nodes if paths[node] not in self._memory]
        found = super()._compute(fresh) if fresh else {}
        self._memory |= {self.tokens_of(node): row for node, row in found.items()}
        return found | {node: self._memory[paths[node]] for node in nodes}


def chi_square(observed: Iterable[Hashable], expected: Mapping[Any, float], alpha: float = 1e-4) -> tuple[float, float]:
    """Pearson's statistic of draws against probabilities and its quantile at 1 - alpha; cells expected below 5 are merged.

    A draw that has no probability makes the statistic infinite, and so do more draws of what is rare, all of it together,
    than a Poisson distribution of its mean gives with probability alpha.
    """
    counts = Counter(observed)
    total = sum(counts.values())
    if any(key not in expected for key in counts):
        return math.inf, 0.0
    cells = sorted(((share * total, counts[key]) for key, share in expected.items()), reverse=True)
    kept = [cell for cell in cells if cell[0] >= 5]
    rare = [cell for cell in cells if cell[0] < 5]
    tail = math.fsum(cell[0] for cell in rare), sum(cell[1] for cell in rare)
    fewer = (
        math.fsum(math.exp(k * math.log(tail[0]) - tail[0] - math.lgamma(k + 1)) for k in range(tail[1]))
        if tail[0] > 0
        else 0
    )
    if tail[1] > tail[0] and 1 - fewer < alpha:
        return math.inf, 0.0
    while kept and 0 < tail[0] < 5:
        last = kept.pop()
        tail = tail[0] + last[0], tail[1] + last[1]
    if tail[0] > 0:
        kept.append(tail)
    statistic = math.fsum((count - mean) ** 2 / mean for mean, count in kept)
    freedom = max(len(kept) - 1, 1)
    # Wilson and Hilferty's approximation of the quantile.
    normal = {1e-4: 3.719016485455709}[alpha]
    quantile = freedom * (1 - 2 / (9 * freedom) + normal * math.sqrt(2 / (9 * freedom))) ** 3
    return statistic, quantile


def total_variation(observed: Iterable[Hashable], expected: Mapping[Any, float]) -> tuple[float, float]:
    """The distance of draws from probabilities, and what an ideal sampler would have on average."""
    counts = Counter(observed)
    total = sum(counts.values())
    keys = {*counts, *expected}
    distance = 0.5 * sum(abs(counts[key] / total - expected.get(key, 0.0)) for key in keys)
    floor = 0.5 * sum(math.sqrt(2 * p * (1 - p) / (math.pi * total)) for p in expected.values())
    return distance, floor


def log_weight(trie: AlignedTrie, language: naive.Language, sequence: tuple[int, ...], end: int) -> float:
    """log (P / q) of a sequence for the next descent of ASAp: the bound at the root, and the masses of unknown prefixes."""
    total, node = float(trie.log_theta[0]), 0
    for length, token in enumerate((*sequence, end)):
        if node < 0 or node >= trie.frozen or not trie.is_expanded(node):
            total += math.log(language.mass[sequence[:length]])
            node = -1
        else:
            node = trie.child(node, token)
    return total


def exact_divergence(trie: AlignedTrie, language: naive.Language, end: int) -> float:
    """KL(P( . | language) || q) in nats, for the next descent of ASAp on a trie."""
    return math.fsum(
        share * (log_weight(trie, language, sequence, end) - language.log_z)
        for sequence, share in language.conditional.items()
    )
