"""Classification: the answer is one of a list of texts, and cannot be anything else."""

from __future__ import annotations

from tiny import tiny_model, tiny_tokenizer

import maskwright

LABELS = ["positive", "neutral", "negative"]


def classify(review: str) -> str:
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)  # untrained: the label is valid, and arbitrary
    prompt = f"Review: {review}\nSentiment: "
    return str(maskwright.generate(model, prompt, choices=LABELS, tokenizer=tokenizer))


if __name__ == "__main__":
    print(classify("The delivery was two days late and the box was damaged."))
