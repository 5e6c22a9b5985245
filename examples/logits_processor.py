"""Inside plain transformers: `model.generate` does the decoding, a logits processor keeps it in the schema."""

from __future__ import annotations

import json
from typing import Any

from tiny import tiny_model, tiny_tokenizer

import maskwright

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "degrees": {"type": "integer", "minimum": -60, "maximum": 60},
    },
    "required": ["city", "degrees"],
    "additionalProperties": False,
}


def extract(prompts: list[str]) -> list[Any]:
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)  # untrained: the objects are valid, and meaningless
    info = maskwright.TokenizerInfo.from_huggingface(tokenizer, vocab_size=model.config.vocab_size)
    compiled = maskwright.GrammarCompiler(info).compile_json_schema(SCHEMA, whitespace="single")

    batch = tokenizer(prompts, return_tensors="pt", padding=True)  # padded on the left
    outputs = model.generate(
        **batch,
        max_new_tokens=120,
        do_sample=False,
        logits_processor=[maskwright.MaskLogitsProcessor(compiled)],  # a new one for each generation
    )
    answers = outputs[:, batch["input_ids"].shape[1] :]
    return [json.loads(text) for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]


if __name__ == "__main__":
    for answer in extract(["The sensor in the north tower:", "On Monday the temperature was"]):
        print(answer)
