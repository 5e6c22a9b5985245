"""Classification: the answer is one of a list of texts, and cannot be anything else."""

from __future__ import annotations

import maskwright
from maskwright.embedded import extraction_prompt

LABELS = ["positive", "neutral", "negative"]


def classify(review: str) -> str:
    # The embedded model fills in objects, so it is asked for one up to where the label stands. A chat model would be
    # asked in words: generate(model, [{"role": "user", "content": ...}], choices=LABELS).
    asked = extraction_prompt(review, {"properties": {"sentiment": {"enum": LABELS}}})
    return str(maskwright.generate(prompt=asked + '{"sentiment": "', choices=LABELS))


if __name__ == "__main__":
    print(classify("The delivery was two days late and the box was damaged."))
