#!/usr/bin/env python3
"""Kernels on a GPU: masks applied, tokens drawn and trees verified, beside XGrammar's kernels and plain torch.

Examples:

    make bench-gpu                           every table, written to docs/kernels-gpu.md (some minutes)
    gpu.py --rows 1 64 --sections apply      a part of them
    gpu.py --empty --markdown FILE           the page without figures, on any machine

    apply       a mask over the logits, in place; beside XGrammar's Triton and CUDA kernels and torch's masked_fill with a
                mask of bools that is there already
    draw        a token for each row; beside what it replaces: apply, softmax, multinomial
    filter      top-k 50, top-p 0.9 and min-p 0.02 together; beside torch's sort of the logits alone
    verify      trees of 16 nodes, by each method
    generate    steps of generate() with the embedded model, masks looked up while the forward runs and after it

Microseconds, the median of 100 ms of runs between which the second-level cache is flushed. "of copy" is the least time in which
the bytes could move, at the bandwidth of a copy of 1 GiB, over the time taken: for masks the words read and the sectors of
32 bytes written, for draws the logits and the words read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import report
import torch

from maskwright.kernels.drafts import DraftTrees, Verified, verify_drafts
from maskwright.kernels.masking import apply_mask
from maskwright.kernels.sampling import Draws, filter_cutoffs, sample_tokens

VOCABULARIES = (128_256, 151_936)
ROWS = (1, 8, 64, 512, 4096)
DENSITIES = (0.001, 0.5, 0.99)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SECTIONS = ("apply", "draw", "filter", "verify", "generate")
_SECTOR = 32


def bitmask_words(columns: int) -> int:
    """int32 words of a mask; not the package's own, whose module wants numba, which need not be here."""
    return -(-columns // 32)


Timed = Callable[[Callable[[], Any]], float]


def microseconds(work: Callable[[], Any]) -> float:
    """The median time of a call; measured on the device."""
    from triton.testing import do_bench

    return 1e3 * do_bench(work, warmup=20, rep=100, return_mode="median")


def copy_bandwidth() -> float:
    """Bytes a microsecond of a large copy, read and written counted."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / microseconds(lambda: target.copy_(source))


class Case:
    """Logits and masks of one shape and density, and ways to work on them."""

    def __init__(self, rows: int, columns: int, density: float, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.rows, self.columns = rows, columns
        self.logits = torch.randn(rows, columns, device="cuda", dtype=dtype)
        self.legal = torch.rand(rows, columns, device="cuda") < density
        self.legal[:, 7] = True
        padded = torch.zeros(rows, 32 * bitmask_words(columns), dtype=torch.bool, device="cuda")
        padded[:, :columns] = self.legal
        shifted = padded.view(rows, -1, 32).int() << torch.arange(32, dtype=torch.int32, device="cuda")
        self.bitmask = shifted.sum(2, dtype=torch.int32)
        self.numbers = torch.arange(rows, dtype=torch.int32, device="cuda").flip(0)
        self.heat = torch.full((rows,), 0.8, device="cuda")
        self.seed = torch.arange(rows, device="cuda")
        self.draws = Draws(rows, columns, "cuda")

    def applied_bytes(self) -> int:
        """What masking must move: words read, and each sector written that has a disallowed logit."""
        a_sector = _SECTOR // self.logits.element_size()
        whole = self.legal[:, : self.columns // a_sector * a_sector].view(self.rows, -1, a_sector)
        return 4 * self.bitmask.numel() + _SECTOR * int((~whole).any(2).sum())

    def drawn_bytes(self) -> int:
        return 4 * self.bitmask.numel() + self.logits.element_size() * self.logits.numel()

    def appliers(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        disallowed = ~self.legal
        yield "by bitmask", lambda: apply_mask(self.logits, self.bitmask)
        yield "by number", lambda: apply_mask(self.logits, self.bitmask, rows=self.numbers)
        yield "masked_fill", lambda: self.logits.masked_fill_(disallowed, float("-inf"))
        if find_spec("xgrammar"):
            import xgrammar

            for backend in ("triton", "cuda"):
                yield (
                    f"XGrammar {backend}",
                    lambda backend=backend: xgrammar.apply_token_bitmask_inplace(
                        self.logits, self.bitmask, backend=backend
                    ),
                )

    def drawers(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        def replaced() -> torch.Tensor:
            apply_mask(self.logits, self.bitmask)
            return torch.multinomial(torch.softmax(self.logits.float() / 0.8, 1), 1)

        options = {"rows": self.numbers, "seed": self.seed, "position": self.seed, "out": self.draws}
        yield "sample_tokens", lambda: sample_tokens(self.logits, self.bitmask, temperature=self.heat, **options)
        yield "greedy", lambda: sample_tokens(self.logits, self.bitmask, temperature=0 * self.heat, **options)
        yield "apply, softmax, multinomial", replaced

    def filters(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        options = {"temperature": self.heat, "top_k": 50, "top_p": 0.9, "min_p": 0.02, "out": self.draws.logprob}
        yield "filter_cutoffs", lambda: filter_cutoffs(self.logits, self.bitmask, **options)
        yield "torch.sort", lambda: self.logits.sort(1, descending=True)


def verifiers(trees: int, columns: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Binary trees of 16 nodes, drafted at random: a third of the first drafts is accepted."""
    nodes = 16
    case = Case(trees * nodes, columns, 0.5, torch.float32)
    parents = [[-1, *((node - 1) // 2 for node in range(1, nodes))]] * trees
    tokens = torch.randint(columns, (trees, nodes)).tolist()
    drafts = DraftTrees.from_parents(tokens, parents, "cuda")
    logits = case.logits.view(trees, nodes, columns)
    proposal = torch.randn_like(logits).softmax(2)
    for method in ("match", "ratio", "without_replacement"):
        out = Verified(trees, nodes, columns, "cuda", method)
        options = {"method": method, "proposal": None if method == "match" else proposal, "out": out}
        scalars = {"temperature": case.heat[:trees], "seed": case.seed[:trees], "position": case.seed[:trees]}
        yield (
            method,
            lambda options=options, scalars=scalars: verify_drafts(drafts, logits, case.bitmask, **options, **scalars),
        )


def step_microseconds(batch: int, waiting: bool) -> float:
    """The median wall time of a step of decoding; `waiting` looks no mask up before the forward is done."""
    from time import perf_counter

    from generate import SCHEMA, SENTENCES

    from maskwright import embedded
    from maskwright.decoding import Decoder, Request
    from maskwright.loading import compiler_of
    from maskwright.sampling import Sampling

    class Waiting(Decoder):
        def _forward(self) -> torch.Tensor:
            logits = super()._forward()
            torch.cuda.synchronize()
            return logits

    model, tokenizer = embedded.load()
    model = model.to("cuda")
    language = compiler_of(model, tokenizer).compile_json_schema(SCHEMA)
    prompts = [tokenizer.encode(SENTENCES[row % len(SENTENCES)], add_special_tokens=False) for row in range(batch)]
    requests = [Request(prompt, language, 2000) for prompt in prompts]
    kind = Waiting if waiting else Decoder
    decoder = kind(model, tokenizer, requests, samples=1, sampling=Sampling(), entropy=0, jump_forward=False)
    times = []
    for _ in range(60):
        started = perf_counter()
        decoder.step()
        times.append(1e6 * (perf_counter() - started))
    return sorted(times[10:])[25]


COLUMNS = {
    "apply": ["by bitmask", "by number", "of copy", "XGrammar triton", "XGrammar cuda", "masked_fill"],
    "draw": ["sample_tokens", "of copy", "greedy", "apply, softmax, multinomial", "times faster"],
    "filter": ["filter_cutoffs", "torch.sort"],
    "verify": ["match", "ratio", "without_replacement"],
    "generate": ["while it runs", "after it"],
}
TITLES = {
    "apply": "Masks applied in place",
    "draw": "Mask, temperature, noise and maximum in one pass",
    "filter": "Top-k, top-p and min-p",
    "verify": "Draft trees of 16 nodes",
    "generate": "Masks looked up while the forward runs, and after it",
}


def measured(section: str, case: Case, bandwidth: float) -> dict[str, Any]:
    """Microseconds by column."""
    ways = {"apply": case.appliers, "draw": case.drawers, "filter": case.filters}[section]()
    figures: dict[str, Any] = {}
    for name, work in ways:
        try:
            figures[name] = microseconds(work)
        except (ImportError, OSError, RuntimeError) as error:  # a peer whose kernel cannot be built here
            if "XGrammar" not in name:
                raise
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            figures[name] = "cannot be built here"
    if section == "apply":
        figures["of copy"] = case.applied_bytes() / bandwidth / figures["by number"]
    if section == "draw":
        figures["of copy"] = case.drawn_bytes() / bandwidth / figures["sample_tokens"]
        figures["times faster"] = figures["apply, softmax, multinomial"] / figures["sample_tokens"]
    return figures


def table(
    section: str, rows: list[int], dtypes: list[str], bandwidth: float | None
) -> tuple[list[str], list[list[Any]]]:
    """Columns and lines; without a bandwidth the cells of figures are empty."""
    if section == "verify":
        lines: list[list[Any]] = []
        for columns in VOCABULARIES:
            for trees in (count for count in rows if count <= 64):
                ways = verifiers(trees, columns) if bandwidth else ()
                lines.append([columns, trees, *([microseconds(work) for _, work in ways] or [""] * 3)])
        return ["V", "trees", *COLUMNS[section]], lines
    if section == "generate":
        ways = (False, True)
        counts = [count for count in rows if count <= 64]
        steps = [[step_microseconds(count, way) if bandwidth else "" for way in ways] for count in counts]
        return ["batch", *COLUMNS[section]], [[count, *step] for count, step in zip(counts, steps, strict=True)]
    lines = []
    for columns in VOCABULARIES:
        for count in rows:
            for density in DENSITIES:
                for dtype in dtypes:
                    figures: dict[str, Any] = {}
                    if bandwidth:
                        figures = measured(section, Case(count, columns, density, DTYPES[dtype]), bandwidth)
                    shown = [figures.get(name, "") for name in COLUMNS[section]]
                    lines.append([columns, count, f"{density:.1%}", dtype, *shown])
    return ["V", "rows", "allowed", "logits", *COLUMNS[section]], lines


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="(all)")
    parser.add_argument("--rows", nargs="+", type=int, default=list(ROWS), help="(1 8 64 512 4096)")
    parser.add_argument("--dtypes", nargs="+", choices=sorted(DTYPES), default=["float32", "bfloat16"], help="(both)")
    parser.add_argument("--empty", action="store_true", help="lay the page out, without figures")
    args = parser.parse_args()
    if not args.empty and not torch.cuda.is_available():
        sys.exit(
            "bench-gpu: torch sees no GPU here; run `make bench-gpu` on a machine that has one (nvidia-smi shows it)"
        )
    if not args.empty and not find_spec("triton"):
        sys.exit("bench-gpu: triton is not installed: pip install 'maskwright[gpu]'")

    page = report.Report(args)
    page.text("# Kernels on a GPU")
    page.text(
        "Made by `make bench-gpu` (`tests/benchmarks/gpu.py`, whose help says what is measured); what the kernels do: "
        "[kernels](kernels.md). Microseconds; *of copy*: the least time in which the bytes could move over the time taken."
    )
    if "generate" in args.sections and not (find_spec("transformers") and find_spec("numba")):
        args.sections.remove("generate")
        page.text("Steps of `generate()` were left out: transformers or numba is not installed.")
    bandwidth = None
    if args.empty:
        page.text("**Not measured yet**: no GPU has been at hand. `make bench-gpu` fills the tables.")
    else:
        page.provenance()
        bandwidth = copy_bandwidth()
        page.text(f"{torch.cuda.get_device_name()}; a copy of 1 GiB moves {bandwidth / 1e3:,.0f} GB/s.")
    for section in args.sections:
        page.heading(TITLES[section])
        page.table(*table(section, args.rows, args.dtypes, bandwidth))
    page.finish()


if __name__ == "__main__":
    main()
