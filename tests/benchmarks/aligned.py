"""Grammar-aligned sampling with the embedded model: how near each method comes to the truth, and what it costs.

The truth is the enumerated conditional distribution: of three grammars whose strings can be listed, and of the SyGuS grammars
slia and bv4 with their header in the prompt, canonical tokenizations, and a cap on the tokens. Methods are compared at equal
forward tokens. For masked and asap KL(P( . | grammar) || q) is computed from the trie; for the others it is estimated from
the distribution of one answer over many runs, with a fiftieth of an answer added to each text.

The model's logits are kept between runs, so that many runs cost little; forward tokens are counted as if they were not.

tests/benchmarks/aligned.py --markdown build/aligned.md --svg build
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the oracles

import naive_aligned
import numpy as np
import report
from aligned_cases import chi_square

from maskwright import AlignedResult, AlignedSampler, Budget, GrammarMatcher
from maskwright.embedded import load
from maskwright.grammars.errors import LimitExceeded
from maskwright.loading import compiler_of
from maskwright.prefix_model import PrefixModel
from maskwright.runtime.aligned_trie import ROOT, AlignedTrie

GAD = report.SHARED / "data" / "gad"
METHODS = ("masked", "importance", "asap", "cars", "smc", "mcmc")
COLOURS = dict(zip(METHODS, ("#666666", "#56B4E9", "#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=True))
POPULATIONS = (1, 4, 16, 64)  # of importance and smc
STEPS = (1, 3, 10, 30)  # of mcmc
DESCENTS = (1, 5, 20, 50, 100, 200, 500, 1000, 2000)  # of asap
RUNS = 100  # of each estimated point
_PRIOR = 0.02  # answers that each text has before the first run

BITS = "Text: Write a string of zeros and ones.\nAnswer: "
SYGUS = "Text: Write a function in SyGuS.\nAnswer: "
PUBLISHED = """You are given the signature of a function and some examples. Write its body.
(constraint (= (f "938-242-504") "242"))
(constraint (= (f "308-916-545") "916"))
(constraint (= (f "623-599-749") "599"))
Solution: (define-fun f ((name String)) String (str.substr name 4 3))
(constraint (= (f "+106 769-858-438") "438"))
(constraint (= (f "+83 973-757-831") "831"))
(constraint (= (f "+62 647-787-775") "775"))
Solution: (define-fun f ((name String)) String (str.substr name (- (str.len name) 3) 3))
(constraint (= (f "New York, NY, USA" ) "US"))
(constraint (= (f "UCLA, Los Angeles, CA, USA" ) "US"))
Solution: """


class Recorded:
    """A model whose logits are kept for good, and whose tokens are counted as if each run were the first."""

    def __init__(self, model: Any) -> None:
        self._model, self._known = PrefixModel(model), dict[tuple[int, ...], Any]()
        self.restart()

    def restart(self) -> None:
        """A run begins: nothing has been processed yet."""
        self.forward_tokens, self._processed = 0, set[tuple[int, ...]]()

    def logits(self, prefixes: Sequence[Sequence[int]], /) -> Any:
        wanted = [tuple(prefix) for prefix in prefixes]
        missing = [prefix for prefix in dict.fromkeys(wanted) if prefix not in self._known]
        if missing:
            self._known.update(zip(missing, self._model.logits(missing).numpy(), strict=True))
        for prefix in wanted:
            length = len(prefix)
            while length and prefix[:length] not in self._processed:
                self._processed.add(prefix[:length])
                self.forward_tokens += 1
                length -= 1
        return np.stack([self._known[prefix] for prefix in wanted])


@dataclass(frozen=True)
class Task:
    """A grammar, a prompt, and the truth about them."""

    name: str
    model: Recorded
    sampler: Callable[[str], AlignedSampler]
    ids: list[int]
    truth: AlignedResult
    trie: AlignedTrie  # of the enumeration

    @classmethod
    def of(cls, name: str, model: Recorded, tokenizer: Any, grammar: str, prompt: str, **options: Any) -> Task:
        compiled = compiler_of(load()[0], tokenizer).compile_grammar(grammar)

        def sampler(method: str) -> AlignedSampler:
            return AlignedSampler(model, compiled, method, tokenizer=tokenizer, **options)  # type: ignore[arg-type]

        ids = tokenizer(prompt)["input_ids"]
        enumerating = sampler("asap")
        return cls(name, model, sampler, ids, enumerating.enumerate(ids, 20_000), enumerating.trie(ids))

    @property
    def shares(self) -> dict[tuple[int, ...], float]:
        return self.truth.posterior("tokens")

    def divergence(self, trie: AlignedTrie | None) -> float:
        """KL(P( . | grammar) || q) of the next descent on a trie; None: of masking."""
        total, end = 0.0, self.sampler("asap")._classes.end
        for tokens, share in self.shares.items():
            known = ROOT if trie is not None else -1
            log_weight, node = float(trie.log_theta[ROOT]) if trie is not None else 0.0, ROOT
            for token in (*tokens, end):
                if known < 0 or trie is None or not trie.is_expanded(known):
                    log_weight += float(self.trie.log_mass[node])
                    known = -1
                else:
                    known = trie.child(known, token)
                node = self.trie.child(node, token)
            total += share * (log_weight - self.truth.log_z)
        return max(total, 0.0)

    def estimated(self, run: Callable[[int], AlignedResult]) -> tuple[float, float]:
        """Forward tokens of a run, and the divergence of one answer of it, over RUNS runs."""
        shares, spent, answers = dict.fromkeys(self.shares, 0.0), 0, 0
        for seed in range(RUNS):
            self.model.restart()
            try:
                result = run(seed)
            except LimitExceeded:  # nothing but dead ends: no answer
                continue
            finally:
                spent += self.model.forward_tokens
            answers += 1
            for tokens, share in result.posterior("tokens").items():
                shares[tokens] += share
        total = answers + _PRIOR * len(shares)
        q = {tokens: (share + _PRIOR) / total for tokens, share in shares.items()}
        divergence = math.fsum(p * math.log(p / q[tokens]) for tokens, p in self.shares.items() if p > 0)
        return spent / RUNS, divergence


def curves(task: Task) -> dict[str, list[tuple[float, float]]]:
    """By method: forward tokens and KL."""
    found: dict[str, list[tuple[float, float]]] = {}
    task.model.restart()
    sampler, done, points = task.sampler("asap"), 0, []
    for descents in DESCENTS:
        sampler.sample(task.ids, descents - done, seed=descents, batch_size=1 if descents <= 20 else 16)
        done = descents
        points.append((float(task.model.forward_tokens), task.divergence(sampler.trie(task.ids))))
    found["asap"] = points
    found["masked"] = [(points[0][0], task.divergence(None)), (points[-1][0], task.divergence(None))]
    for method in ("importance", "smc"):
        found[method] = [
            task.estimated(lambda seed, n=n, method=method: task.sampler(method).sample(task.ids, n, seed=seed))
            for n in POPULATIONS
        ]
    found["mcmc"] = [
        task.estimated(lambda seed, steps=steps: task.sampler("mcmc").sample(task.ids, 1, seed=seed, steps=steps))
        for steps in STEPS
    ]
    found["cars"] = [
        task.estimated(lambda seed: task.sampler("cars").sample(task.ids, 1, seed=seed, budget=Budget(attempts=20_000)))
    ]
    return found


def costs(page: report.Report, tokenizer: Any, model: Any, samples: int, naive_samples: int) -> None:
    """Forward tokens and time of `samples` samples, beside a sequential implementation that keeps nothing."""
    compiled = compiler_of(model, tokenizer).compile_grammar((GAD / "slia" / "11440431.ebnf").read_text())
    ids, limit = tokenizer(PUBLISHED)["input_ids"], 64
    sampler = AlignedSampler(model, compiled, "asap", tokenizer=tokenizer, max_tokens=limit)
    started = time.process_time()
    result = sampler.sample(PUBLISHED, samples, seed=1, batch_size=64, budget=Budget(attempts=samples))
    ours = (time.process_time() - started) / result.stats.attempts
    import torch

    info, processed = compiled.tokenizer_info, 0

    def step(prefix: tuple[int, ...]) -> dict[int, float]:
        """Masked probabilities behind a prefix. The model keeps keys and values within a text, as the reference's does."""
        nonlocal processed, cache
        fresh = ids if not prefix else [prefix[-1]]
        with torch.inference_mode():
            output = model(torch.tensor([fresh]), past_key_values=cache if prefix else None, use_cache=True)
        cache = output.past_key_values
        processed += len(fresh)
        matcher = GrammarMatcher(compiled)
        assert all(matcher.accept_token(token) for token in prefix)
        shares = output.logits[0, -1].double().softmax(-1).numpy()
        allowed = matcher.allowed_token_ids() if len(prefix) < limit else []
        end = info.eos_token_ids[0]
        return {naive_aligned.END if token == end else token: float(shares[token]) for token in map(int, allowed)}

    cache: Any = None
    reference, source = naive_aligned.SequentialASAp(step), random.Random(1)
    started = time.process_time()
    for _ in range(naive_samples):
        reference.draw(source)
    theirs = (time.process_time() - started) / naive_samples
    attempts = result.stats.attempts
    page.table(
        [f"{attempts:,} texts of slia", "forward tokens", "of them a text", "CPU ms a text"],
        [
            ["Maskwright, batches of 64", result.stats.forward_tokens, result.stats.forward_tokens / attempts, 1e3 * ours],
            [f"sequential, nothing kept (from {naive_samples} texts)", round(processed / naive_samples * attempts),
             processed / naive_samples, 1e3 * theirs],
            ["ratio", processed / naive_samples * attempts / result.stats.forward_tokens, "", theirs / ours],
        ],
    )  # fmt: skip
    page.text(
        f"A prompt of {len(ids)} tokens with solved examples, answers of at most {limit}; "
        f"{result.stats.dead_ends} descents came to a dead end, as long ones do under a limit."
    )


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--samples", type=int, default=1000, help="texts of the comparison of costs")
    parser.add_argument("--naive", type=int, default=40, help="texts of the sequential implementation")
    options = parser.parse_args()
    page = report.Report(options)
    page.provenance()
    model, tokenizer = load()
    recorded = Recorded(model)
    tasks = [
        Task.of(name, recorded, tokenizer, (GAD / f"{name}.ebnf").read_text(), BITS, max_tokens=8)
        for name in ("binary_len_3", "binary_len_5_0", "binary_len_5_1")
    ]
    for name, file, head, rule, cap in (
        (
            "bv4",
            "bv4/find_inv_bvsge_bvadd_4bit",
            "(define-fun inv ((s (BitVec 4)) (t (BitVec 4))) (BitVec 4) ",
            "Start",
            11,
        ),
        ("slia", "slia/11440431", "(define-fun f ((_arg_0 String)) String ", "ntString", 15),
    ):
        rules = (GAD / f"{file}.ebnf").read_text().splitlines()[1:]
        body = "\n".join([f'root ::= {rule} ")"', *(line for line in rules if line != f"Start ::= {rule}")])
        tasks.append(
            Task.of(f"{name}, {cap} tokens", recorded, tokenizer, body, SYGUS + head, max_tokens=cap, canonical=True)
        )
    rows, drawn = [], {}
    with report.progress(len(tasks)) as bar:
        for task in tasks:
            bar.update(bar.task_ids[0], description=task.name)
            found = drawn[task.name] = curves(task)
            exact = task.sampler("cars").sample(task.ids, 2000, seed=3, budget=Budget(attempts=10**6))
            masked = task.sampler("masked").sample(task.ids, 2000, seed=3, budget=Budget(attempts=10**5))
            (cars, quantile), (mask, _) = (chi_square(r.token_ids, task.shares) for r in (exact, masked))
            rows.append(
                [task.name, len(task.truth), task.truth.log_z, found["masked"][0][1], found["asap"][-1][1],
                 *(found[method][-1][1] for method in ("importance", "smc", "mcmc")), f"{cars:.1f} / {quantile:.1f}",
                 f"{mask:.3g}"]
            )  # fmt: skip
            bar.advance(bar.task_ids[0])
    page.heading("How near to the truth")
    page.table(
        ["grammar", "texts", "log Z", "masked, KL", "asap after 2,000 descents, KL", "importance of 64, KL", "smc of 64, KL",
         "mcmc after 30 steps, KL", "cars, chi-square / its limit", "masked, chi-square"], rows,
    )  # fmt: skip
    page.text(
        "KL in nats. Estimated figures (importance, smc, mcmc) are from "
        f"{RUNS} runs of one answer each: below about 0.1 they are noise. The limit of chi-square is its quantile at 1 - 1e-4, "
        "over 2,000 draws."
    )

    def draw(name: str) -> Callable[[Any], None]:
        def onto(axes: Any) -> None:
            for method in METHODS:
                points = drawn[name][method]
                style = "o" if len(points) == 1 else "-o"
                axes.plot([x for x, _ in points], [max(y, 1e-6) for _, y in points], style, color=COLOURS[method],
                          markersize=3, label=method)  # fmt: skip
            axes.axhline(0.01, color="0.6", linestyle=":", linewidth=0.8)

        return onto

    page.panels(
        "aligned", {task.name: draw(task.name) for task in tasks}, columns=2, xscale="log", yscale="log",
        xlabel="forward tokens", ylabel="KL (nats)",
    )  # fmt: skip
    page.heading("What it costs")
    costs(page, tokenizer, model, options.samples, options.naive)
    page.finish()


if __name__ == "__main__":
    main()
