"""Inside plain transformers: `model.generate` does the decoding, a logits processor keeps it in the schema."""

from __future__ import annotations

import json
from typing import Any

import maskwright
from maskwright.embedded import extraction_prompt, load

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "degrees": {"type": "integer", "minimum": -60, "maximum": 60},
    },
    "required": ["city", "degrees"],
    "additionalProperties": False,
}


def extract(texts: list[str]) -> list[Any]:
    model, tokenizer = load()  # or AutoModelForCausalLM and AutoTokenizer of your own
    info = maskwright.TokenizerInfo.from_huggingface(tokenizer, vocab_size=model.config.vocab_size)
    compiled = maskwright.GrammarCompiler(info).compile_json_schema(SCHEMA, whitespace="single")

    prompts = [extraction_prompt(text, SCHEMA) for text in texts]
    batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
    outputs = model.generate(
        **batch,
        max_new_tokens=120,
        do_sample=False,
        logits_processor=[maskwright.MaskLogitsProcessor(compiled)],  # a new one for each generation
    )
    answers = outputs[:, batch["input_ids"].shape[1] :]
    return [json.loads(text) for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]


if __name__ == "__main__":
    for answer in extract(["In Bergen it was 12 degrees at noon.", "Tomorrow Lyon expects 31 degrees."]):
        print(answer)
