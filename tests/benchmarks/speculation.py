#!/usr/bin/env python3
"""Speculative decoding: forwards and time a token for each drafter, and the masks of draft trees.

Examples:

    speculation.py                                  everything (XGrammar's trees where it is installed)
    speculation.py --sections drafters --prompts 20
    speculation.py --sections masks

    drafters    held-out extraction prompts (examples/extraction_data.py), greedy, the embedded model: for each drafter alone
                what a forward of the target emits, and the time beside plain masked decoding
    sets        other prompts, draft="auto" beside plain: where drafting does not pay it must not cost much either
    judged      the first prompts at temperature 1: shapes of a draft model's trees and the verifiers that fit them
    masks       the masks of a tree of 64 nodes on Llama-3's vocabulary, warm, in one call

Times are processor time of one thread, plain and drafted decoding taking turns prompt by prompt; a prompt's time is the
least of `--runs`. In each run drafters begin without anything learned, and keep what they learn from prompt to prompt.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import report
import torch
from transformers import PreTrainedTokenizerFast

import maskwright as mw
from maskwright import Speculation, embedded
from maskwright.embedded import extraction_prompt
from maskwright.runtime.draft_tree import DraftTree, TreeBuilder

DRAFTERS: dict[str, Callable[[], Speculation]] = {
    "auto": lambda: Speculation("auto"),
    "auto, 16 nodes": lambda: Speculation("auto", budget=16),
    "auto, 16 nodes, rejection 0.7": lambda: Speculation("auto", budget=16, rejection=0.7),
    "auto + recycling": lambda: Speculation(["auto", "recycling"]),
    "grammar (without jump-forward)": lambda: Speculation("grammar"),
    "lookup": lambda: Speculation("lookup"),
    "suffix": lambda: Speculation("suffix"),
    "recycling": lambda: Speculation("recycling"),
    "automaton": lambda: Speculation("automaton"),
    "trigram": lambda: Speculation("trigram"),
    "embedded, chain": lambda: Speculation("embedded"),
    "embedded, chain, rejection 0.5": lambda: Speculation("embedded", size=12, budget=12, rejection=0.5),
    "embedded, spectr": lambda: Speculation("embedded", shape="spectr", budget=15),
    "embedded, rsd-c": lambda: Speculation("embedded", shape="rsd-c", budget=24),
    "embedded, rsd-s": lambda: Speculation("embedded", shape="rsd-s", budget=16),
    "embedded, dyspec": lambda: Speculation("embedded", shape="dyspec", budget=12),
    "auto + embedded": lambda: Speculation(["auto", "embedded"]),
}

JUDGED = (
    ("chain", "match", 5), ("chain", "ratio", 5), ("spectr", "match", 15), ("spectr", "multi_round", 15),
    ("spectr", "k_sequential", 15), ("rsd-c", "match", 24), ("rsd-c", "without_replacement", 24), ("rsd-s", "match", 16),
    ("rsd-s", "without_replacement", 16), ("dyspec", "match", 12), ("dyspec", "without_replacement", 12),
)  # fmt: skip
"""Shape, verifier and budget."""

Ask = Callable[..., Any]
"""generate() of one prompt, with whatever else is given."""

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "mood": {"enum": ["happy", "sad"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age", "mood", "tags"],
    "additionalProperties": False,
}
NESTED = ("Kubernetes---kb_801_Normalized", "Github_medium---o67597", "Glaiveai2K---create_invoice_878b1147")
BEGUN = '{"name": "Ad'
WAYS_ON = (
    'a Lovelace", "age": 36, "mood": "happy", "tags": ["x", "yy"]}',
    'am Smith", "age": 9, "mood": "sad", "tags": []}',
)


def examples_of(split: str, count: int) -> list[Any]:
    """Texts with their schemas and answers; seed -1 is not one that the embedded model was trained on."""
    sys.path.append(str(Path(__file__).parents[2] / "examples"))
    writer = import_module("extraction_data").Writer(seed=-1, split=split)
    return [writer.example() for _ in range(count)]


def extraction(count: int, split: str = "held", **options: Any) -> list[Ask]:
    """Prompts of the embedded model's own task."""
    model, tokenizer = embedded.load()
    return [
        lambda example=example, **more: mw.generate(
            model, extraction_prompt(example.text, example.schema), schema=example.schema, tokenizer=tokenizer,
            return_result=True, **options, **more,
        )
        for example in examples_of(split, count)
    ]  # fmt: skip


def schemas_of_maskbench() -> list[Any]:
    """Nested schemas of real projects, unlike those that the embedded model was trained on."""
    found: dict[str, Any] = dict.fromkeys(NESTED)
    with gzip.open(report.SHARED / "data/maskbench/dev.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["id"] in found:
                found[entry["id"]] = entry["schema"]
    return list(found.values())


def other_sets(count: int) -> dict[str, list[Ask]]:
    """Prompts on which drafts are right seldom, or short, or dear."""
    model, tokenizer = embedded.load()
    examples = examples_of("held", count)
    texts = [example.text for example in examples]
    nested = schemas_of_maskbench()
    others = [example.text for example in examples_of("train", 40)]  # some 3,000 tokens

    def of(text: str, number: int, **options: Any) -> Ask:
        return lambda **more: mw.generate(
            model, text, tokenizer=tokenizer, return_result=True, seed=number, **options, **more
        )

    def long(example: Any, number: int) -> Ask:
        text = " ".join([*others[number % 20 :][:20], example.text])
        return of(extraction_prompt(text, example.schema), number, schema=example.schema)

    return {
        "extraction, as in training": extraction(count, "train"),
        "extraction, temperature 1": extraction(count, temperature=1.0, seed=3),
        "random letters, temperature 1": [of(t, n, regex="[a-z]{40,60}", temperature=1.0) for n, t in enumerate(texts)],
        "random numbers, temperature 2": [of(t, n, regex="[0-9]{40}", temperature=2.0) for n, t in enumerate(texts)],
        "any text, temperature 2": [of(t, n, regex="(?s).{60,80}", temperature=2.0) for n, t in enumerate(texts)],
        "nested schemas, temperature 1": [
            of(t, n, schema=nested[n % len(nested)], temperature=1.0, max_new_tokens=120) for n, t in enumerate(texts)
        ],
        "extraction from 1,000 tokens and more": [long(example, number) for number, example in enumerate(examples)],
        "one schema, many texts": [of(extraction_prompt(t, SCHEMA), n, schema=SCHEMA) for n, t in enumerate(texts)],
        "choices": [of(t, n, choices=["positive", "negative", "neutral"]) for n, t in enumerate(texts)],
    }


def compared(asks: Sequence[Ask], drafts: Sequence[dict[str, Any]], runs: int) -> list[tuple[list[Any], float]]:
    """The results of each way to draft, and its seconds."""
    for ask in asks[:3]:  # once unmeasured: kernels are loaded
        ask()
    results: list[list[Any]] = [[] for _ in drafts]
    least = np.full((len(drafts), len(asks)), np.inf)
    for _ in range(runs):
        kept = [{name: make() if name == "draft" else make for name, make in given.items()} for given in drafts]
        results = [[] for _ in drafts]
        for number, ask in enumerate(asks):
            for way, options in enumerate(kept):
                started = process_time()
                results[way].append(ask(**options))
                least[way, number] = min(least[way, number], process_time() - started)
    return [(found, float(seconds.sum())) for found, seconds in zip(results, least, strict=True)]


def forwards_a_token(results: Sequence[Any]) -> float:
    return sum(r.statistics.forwards for r in results) / sum(len(r.tokens) for r in results)


def drafters(page: report.Report, count: int, runs: int, names: Sequence[str]) -> None:
    asks = extraction(count)
    ways: list[dict[str, Any]] = [{}, {"jump_forward": False}]
    ways += [{"draft": DRAFTERS[name]} | ({"jump_forward": False} if "without jump" in name else {}) for name in names]
    measured = compared(asks, ways, runs)
    (plain, seconds), (stepwise, slow) = measured[:2]
    rows: list[list[Any]] = [
        ["none", forwards_a_token(plain), 1 / forwards_a_token(plain), 0.0, "", "", 1.0],
        ["none, without jump-forward", forwards_a_token(stepwise), 1.0, 0.0, "", "", seconds / slow],
    ]
    curves = {}
    for name, (results, taken) in zip(names, measured[2:], strict=True):
        reference = stepwise if "without jump" in name else plain
        same = sum(one.tokens == other.tokens for one, other in zip(results, reference, strict=True))
        accounts = [result.speculation for result in results]
        forwards = sum(account.forwards for account in accounts)
        depths = max(len(account.by_depth) for account in accounts)
        tested, right = np.zeros(depths), np.zeros(depths)
        for account in accounts:
            for depth, (asked, accepted) in enumerate(account.by_depth):
                tested[depth] += asked
                right[depth] += accepted
        curves[name] = [
            share for share, asked in zip(right / np.maximum(tested, 1), tested, strict=True) if asked >= 20
        ]
        share = forwards_a_token(results)
        nodes = sum(account.verified for account in accounts) / forwards
        by_depth = " ".join(f"{value:.2f}" for value in curves[name][:4])
        base = slow if "without jump" in name else seconds
        rows.append([name, share, 1 / share, nodes, by_depth, f"{same} of {count}", base / taken])
    page.text(f"{count} held-out extraction prompts, {sum(len(result.tokens) for result in plain):,} tokens, greedy.")
    columns = [
        "draft",
        "forwards a token",
        "acceptance length",
        "nodes a forward",
        "taken by depth",
        "same answer",
        "speed",
    ]
    page.table(columns, rows)

    def draw(axes: Any) -> None:
        for name, shares in curves.items():
            axes.plot(range(1, len(shares) + 1), shares, label=name, linewidth=1.2, marker=".", markersize=4)

    page.plot(
        "speculation-depths",
        draw,
        title="Drafts taken, by depth, where the one above was",
        xlabel="depth",
        ylim=(0, 1.02),
    )


def sets(page: report.Report, count: int, runs: int) -> None:
    rows = []
    for name, asks in other_sets(count).items():
        (plain, seconds), (drafted, taken) = compared(asks, [{}, {"draft": DRAFTERS["auto"]}], runs)
        same = sum(one.tokens == other.tokens for one, other in zip(plain, drafted, strict=True))
        rows.append([name, forwards_a_token(plain), forwards_a_token(drafted), f"{same} of {count}", seconds / taken])
    page.text(f'Other sets of {count} prompts, draft="auto".')
    page.table(["prompts", "plain: forwards a token", "auto: forwards a token", "same answer", "speed"], rows)


def judged(page: report.Report, count: int, runs: int) -> None:
    asks = extraction(count, temperature=1.0, seed=5)
    ways: list[dict[str, Any]] = [{}] + [
        {"draft": lambda way=way: Speculation("embedded", shape=way[0], verifier=way[1], budget=way[2])}
        for way in JUDGED
    ]
    (_, seconds), *measured = compared(asks, ways, runs)
    rows = []
    for (shape, verifier, _), (results, taken) in zip(JUDGED, measured, strict=True):
        share = forwards_a_token(results)
        nodes = sum(r.speculation.verified for r in results) / sum(r.speculation.forwards for r in results)
        rows.append([shape, verifier, share, 1 / share, nodes, seconds / taken])
    page.text(f"{count} held-out extraction prompts, temperature 1, trees of the embedded draft model.")
    page.table(["shape", "verifier", "forwards a token", "acceptance length", "nodes a forward", "speed"], rows)


def tree_of(tokenizer: Any, nodes: int) -> DraftTree:
    """Two ways on that are allowed to the end, and branches off them that mostly are not."""
    builder, rng = TreeBuilder(), random.Random(0)
    for text in WAYS_ON:
        builder.add_path(0, tokenizer.encode(text, add_special_tokens=False)[:20])
    others = tokenizer.encode('a b c ", " 12 the {', add_special_tokens=False)
    while len(builder) < nodes:
        builder.add(rng.randrange(len(builder)), rng.choice(others))
    return builder.build()


def masks(page: report.Report, nodes: int = 64, repeats: int = 300) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(str(report.SHARED / "data/tokenizers/llama3"))
    info = mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    matchers: dict[str, Any] = {"maskwright": mw.GrammarMatcher(mw.GrammarCompiler(info).compile_json_schema(SCHEMA))}
    if find_spec("xgrammar"):
        xgrammar = import_module("xgrammar")
        theirs = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=info.vocab_size)
        compiled = xgrammar.GrammarCompiler(theirs).compile_json_schema(json.dumps(SCHEMA))
        matchers["xgrammar"] = xgrammar.GrammarMatcher(compiled)
    tree = tree_of(tokenizer, nodes)
    links = [torch.from_numpy(part) for part in (tree.first_child, tree.next_sibling, tree.token)]
    bitmask = mw.allocate_token_bitmask(nodes, info.vocab_size)
    times: dict[str, list[float]] = {name: [] for name in matchers}
    for matcher in matchers.values():
        for token in tokenizer.encode(BEGUN, add_special_tokens=False):
            assert matcher.accept_token(token)
    for _ in range(repeats):
        for name, matcher in matchers.items():
            started = perf_counter()
            assert matcher.traverse_draft_tree(*links, bitmask)
            times[name].append(perf_counter() - started)
    page.text(
        f"Masks of a tree of {nodes} nodes (depth {tree.depth.max()}), {info.vocab_size:,} tokens, warm, one call."
    )
    rows = [[name, min(found) * 1e6, float(np.median(found)) * 1e6] for name, found in times.items()]
    page.table(["", "least, us", "median, us"], rows)


def main() -> None:
    parser = report.parser(__doc__)
    sections = ["drafters", "sets", "judged", "masks"]
    parser.add_argument("--sections", nargs="+", choices=sections, default=sections)
    parser.add_argument("--drafters", nargs="+", choices=list(DRAFTERS), default=list(DRAFTERS), metavar="D")
    parser.add_argument("--prompts", type=int, default=100, help="held-out prompts (100)")
    parser.add_argument("--others", type=int, default=30, help="prompts of each other set (30)")
    parser.add_argument("--runs", type=int, default=2, help="of which the lesser time counts (2)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    page = report.Report(args)
    page.heading("Speculative decoding")
    page.provenance()
    if "drafters" in args.sections:
        drafters(page, args.prompts, args.runs, args.drafters)
    if "sets" in args.sections:
        sets(page, args.others, args.runs)
    if "judged" in args.sections:
        judged(page, args.others, args.runs)
    if "masks" in args.sections:
        masks(page)
    page.finish()


if __name__ == "__main__":
    main()
