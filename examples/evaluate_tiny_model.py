"""How well the embedded model reads: held-out phrasings and unseen sets of fields, greedy, with and without the mask.

    python examples/evaluate_tiny_model.py --count 500
    python examples/evaluate_tiny_model.py --show 5         # and print some wrong answers

An object counts as right if it equals the expected one as a whole, and as valid if it parses and satisfies the schema,
by the word of the jsonschema package.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from extraction_data import Example, Writer
from jsonschema import Draft202012Validator
from rich.progress import track
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

import maskwright
from maskwright.embedded import MODELS, extraction_prompt

MAX_TOKENS = 400
BATCH = 50


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of `count` objects."""

    split: str
    masked: bool
    style: str
    count: int
    exact: float
    valid: float
    fields: float  # of all fields, those with the right value


def answer(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[Example],
    masked: bool,
    style: str,
) -> list[str]:
    """Greedy answers of the model, under the masks of the examples' schemas or without any."""
    prompts = [extraction_prompt(e.text, e.schema, style=style) for e in examples]
    if masked:
        schemas = [example.schema for example in examples]
        results = maskwright.generate(
            model, prompts, schema=schemas, tokenizer=tokenizer, max_new_tokens=MAX_TOKENS, return_result=True
        )
        return [result.text for result in results]
    batch = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
    with torch.inference_mode():
        rows = model.generate(**batch, max_new_tokens=MAX_TOKENS, do_sample=False)
    return tokenizer.batch_decode(rows[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def score(texts: Sequence[str], examples: Sequence[Example], **what: Any) -> Score:
    exact = valid = right = asked = 0
    for text, example in zip(texts, examples, strict=True):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        exact += same(found, example.answer)
        valid += Draft202012Validator(example.schema).is_valid(found)
        asked += len(example.answer)
        if isinstance(found, dict):
            right += sum(key in found and same(found[key], value) for key, value in example.answer.items())
    count = len(examples)
    return Score(**what, count=count, exact=exact / count, valid=valid / count, fields=right / asked)


def same(a: Any, b: Any) -> bool:
    """Equal as JSON texts: 1 is not true, and the order of members counts."""
    return json.dumps(a) == json.dumps(b)


def evaluate(folder: Path = MODELS, count: int = 400, show: int = 0, name: str = "reader") -> list[Score]:
    """Measures the model in `folder`, prints a table and writes it to NAME/evaluation.json."""
    model = LlamaForCausalLM.from_pretrained(folder / name, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "reader")
    scores = []
    for split, style in (("held", "fields"), ("held", "schema"), ("train", "fields")):
        writer = Writer(seed=-1, split=split)  # training takes seeds from 0 up
        examples = [writer.example() for _ in range(count)]
        for masked in (True, False):
            began, texts = time.perf_counter(), []
            starts = range(0, count, BATCH)
            for start in track(starts, description=f"{split}, {style}, {'mask' if masked else 'no mask'}"):
                part = examples[start : start + BATCH]
                texts += answer(model, tokenizer, part, masked, style)
            scores.append(score(texts, examples, split=split, masked=masked, style=style))
            print(f"{scores[-1]}  {time.perf_counter() - began:.0f} s", flush=True)
            wrong = [
                (e, t) for e, t in zip(examples, texts, strict=True) if t != json.dumps(e.answer, ensure_ascii=False)
            ]
            for example, text in wrong[: show if masked else 0]:
                print(f"\n{example.text}\nexpected {json.dumps(example.answer, ensure_ascii=False)}\nfound    {text}")
    (folder / name / "evaluation.json").write_text(json.dumps([asdict(one) for one in scores], indent=1) + "\n")
    return scores


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=MODELS, help="the models' folder (default: %(default)s)")
    parser.add_argument("--name", default="reader", help="reader or draft (default: %(default)s)")
    parser.add_argument("--count", type=int, default=400, help="examples of each kind (default: %(default)s)")
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print (default: %(default)s)")
    options = parser.parse_args()
    evaluate(options.models, options.count, options.show, options.name)
