"""Train the embedded models: tokenizer, reader and draft, on texts made by extraction_data.py.

    python examples/train_tiny_model.py                     # all of it into engine/models
    python examples/train_tiny_model.py reader --steps 200  # one stage, fewer steps, to see whether it runs
    python examples/train_tiny_model.py evaluate            # only measure what is in engine/models

Each step's texts come from a generator seeded with the step's number, so a run that is interrupted goes on from its
last checkpoint (in build/training) with the texts that it would have had. On two cores of a processor with bfloat16
instructions the reader takes about an hour; `--device cuda` trains on a GPU.

    stage       what it does                                                    written to
    tokenizer   byte-level BPE on 20,000 examples                               OUT/reader
    reader      the embedded model, next-token loss on the answers              OUT/reader
    draft       the same on a smaller model                                     OUT/draft
    evaluate    held-out phrasings and fields, greedy, with and without masks   OUT/reader/evaluation.json
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from evaluate_tiny_model import evaluate
from extraction_data import Example, Writer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from maskwright.embedded import MODELS, choice_prompt, extraction_prompt

SPECIAL = ["<pad>", "<s>", "</s>"]
VOCABULARY = 2048


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama's size and how long it learns."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    steps: int
    batch: int  # examples a step
    matrix_rate: float  # peak learning rate of Muon, for the matrices inside the layers
    other_rate: float  # of AdamW, for embeddings and norms


SHAPES = {
    "reader": Shape(256, 704, 5, 4, steps=3500, batch=64, matrix_rate=0.02, other_rate=3e-3),
    "draft": Shape(128, 320, 3, 4, steps=1000, batch=64, matrix_rate=0.02, other_rate=3e-3),
}


# Tokenizer


def train_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Byte-level BPE whose pieces are words, single digits and runs of anything else.

    Spaces do not belong to words, so that a name has the same tokens in a sentence and between quotation marks: copying
    is then copying, whatever stands around. Digits are single, so that numbers are copied digit by digit.
    """
    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r"\p{L}+|\p{N}|[^\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pieces, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    writer = Writer(seed=0)
    tokenizer.train_from_iterator((prompt + answer for prompt, answer in map(texts, examples(writer, 20_000))), trainer)
    pad, start, end = SPECIAL
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, tokenizer.token_to_id(start))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=start, eos_token=end, padding_side="left"
    )
    fast.save_pretrained(folder)
    return fast


def examples(writer: Writer, count: int) -> Iterator[Example]:
    return (writer.example() for _ in range(count))


def texts(example: Example) -> tuple[str, str]:
    """Prompt and answer. The length of the text, as good as random, decides what is asked.

    Nine prompts in ten list the fields, one gives the schema as JSON; where a field is one of some words, one prompt in
    seven asks for that word alone.
    """
    length = len(example.text)
    words = [
        key for key, field in example.schema["properties"].items() if "enum" in field and None not in field["enum"]
    ]
    if words and length % 7 == 0:
        return choice_prompt(example.text, example.schema["properties"][words[0]]["enum"]), example.answer[words[0]]
    style = "schema" if length % 10 == 0 else "fields"
    return extraction_prompt(example.text, example.schema, style=style), json.dumps(example.answer, ensure_ascii=False)


# Batches


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right; every row starts at position 0, so causal attention needs no mask."""

    ids: torch.Tensor  # int64 [B, T]
    places: torch.Tensor  # int64 [N]: positions of the flattened ids whose next token belongs to an answer
    labels: torch.Tensor  # int64 [N]: that next token


def batches(tokenizer: PreTrainedTokenizerFast, step: int, batch: int, parts: int) -> list[Batch]:
    """The examples of one step, in `parts` batches of similar lengths."""
    pairs = [texts(example) for example in examples(Writer(seed=step + 1), batch)]
    prompts = tokenizer([prompt for prompt, _ in pairs])["input_ids"]
    answers = tokenizer([answer for _, answer in pairs], add_special_tokens=False)["input_ids"]
    rows = sorted(
        (
            ([*prompt, *answer, tokenizer.eos_token_id], len(prompt) - 1)
            for prompt, answer in zip(prompts, answers, strict=True)
        ),
        key=lambda row: len(row[0]),
    )
    made = []
    for part in range(parts):
        chosen = rows[part * batch // parts : (part + 1) * batch // parts]
        width = -(-max(len(ids) - 1 for ids, _ in chosen) // 32) * 32  # few shapes: libraries keep memory for each
        ids = torch.full((len(chosen), width), tokenizer.pad_token_id)
        places, labels = [], []
        for number, (row, prompt) in enumerate(chosen):
            ids[number, : len(row) - 1] = torch.tensor(row[:-1])
            places += range(number * width + prompt, number * width + len(row) - 1)
            labels += row[prompt + 1 :]
        made.append(Batch(ids, torch.tensor(places), torch.tensor(labels)))
    return made


# Training


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    # On a CPU, short rows and torch.compile, plain attention is a quarter faster than the fused one.
    return LlamaForCausalLM._from_config(config, attn_implementation="eager")


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: 100 steps up, then level, and over the second half down a line to zero."""
    return min(1.0, (step + 1) / 100) * max(0.0, min(1.0, (steps - step) / (0.52 * steps)))


def train(name: str, options: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> None:
    shape = SHAPES[name]
    steps = options.steps or shape.steps
    model = new_model(shape, tokenizer).to(options.device).train()
    body = torch.compile(model.model, dynamic=True) if options.compile else model.model
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers = [
        torch.optim.Muon(matrices, lr=shape.matrix_rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=shape.other_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    peaks = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    checkpoint = options.work / f"{name}.pt"
    first, seconds, log = 0, 0.0, []
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=options.device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first, seconds, log = state["step"], state["seconds"], state["log"]
        print(f"{name}: going on from step {first} ({checkpoint})")
    print(f"{name}: {model.num_parameters():,} parameters, {steps} steps of {shape.batch} examples")

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task(name, total=steps, completed=first)
        for step in range(first, steps):
            begun = time.perf_counter()
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = peaks[optimizers.index(optimizer)] * rate(step, steps)
            loss = one_step(model, body, batches(tokenizer, step, shape.batch, options.parts), options.device)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            seconds += time.perf_counter() - begun
            log.append(loss)
            recent = sum(log[-50:]) / len(log[-50:])
            progress.update(bar, completed=step + 1, description=f"{name} step {step + 1}, loss {recent:.4f}")
            if (step + 1) % options.every == 0 or step + 1 == steps:
                save_checkpoint(checkpoint, model, optimizers, step + 1, seconds, log)
            if (step + 1) % 50 == 0 and not progress.console.is_terminal:
                print(f"step {step + 1}: loss {recent:.4f}, {seconds:.0f} s", flush=True)
    model.to("cpu").half().save_pretrained(options.out / name)
    (options.out / name / "training.json").write_text(
        json.dumps(
            {"steps": steps, "examples": steps * shape.batch, "seconds": round(seconds), "loss": round(recent, 5)}
        )
    )


def one_step(model: LlamaForCausalLM, body: Any, made: list[Batch], device: str) -> float:
    """Accumulates the gradients of one step; the mean loss of the answers' tokens.

    body: the model without its last layer, compiled or not. Only answers carry loss, so only they need logits.
    """
    tokens, total = sum(len(batch.labels) for batch in made), 0.0
    for batch in made:
        with torch.autocast(device, torch.bfloat16):
            hidden = body(input_ids=batch.ids.to(device), use_cache=False).last_hidden_state  # [B, T, H]
            logits = model.lm_head(hidden.flatten(0, 1)[batch.places.to(device)])  # [N, V]
        loss = torch.nn.functional.cross_entropy(logits.float(), batch.labels.to(device), reduction="sum") / tokens
        loss.backward()
        total += float(loss.detach())
    if not math.isfinite(total):
        raise SystemExit("the loss is no longer finite: lower the learning rates")
    return total


def save_checkpoint(
    path: Path, model: LlamaForCausalLM, optimizers: list, step: int, seconds: float, log: list
) -> None:
    """Whole or not at all: written beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": step,
        "seconds": seconds,
        "log": log,
    }
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = ("tokenizer", "reader", "draft", "evaluate")
    parser.add_argument(
        "stages", nargs="*", metavar="STAGE", help=f"which of {', '.join(stages)} to run (default: all of them)"
    )
    parser.add_argument("--out", type=Path, default=MODELS, help="where the models go (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("build/training"), help="checkpoints (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="steps of training (default: what each model needs)")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints (default: %(default)s)")
    parser.add_argument("--parts", type=int, default=8, help="batches that a step is cut into (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the CPU (default: %(default)s)")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="torch.compile, which needs a C++ compiler",
    )
    parser.add_argument("--count", type=int, default=400, help="examples of the evaluation (default: %(default)s)")
    options = parser.parse_args()
    options.stages = options.stages or list(stages)
    if strangers := [stage for stage in options.stages if stage not in stages]:
        parser.error(f"unknown stage {strangers[0]}: choose from {', '.join(stages)}")
    torch.set_flush_denormal(True)  # before there are threads, which inherit it: tiny gradients would cost double
    torch.set_num_threads(options.threads)
    if "tokenizer" in options.stages:
        train_tokenizer(options.out / "reader")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.out / "reader")
    for name in ("reader", "draft"):
        if name in options.stages:
            train(name, options, tokenizer)
    if "evaluate" in options.stages:
        evaluate(options.out, options.count)


if __name__ == "__main__":
    main()
