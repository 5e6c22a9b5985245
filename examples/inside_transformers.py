"""transformers' generate with the decoding loop of Maskwright inside: drafts, and answers that are complete."""

from __future__ import annotations

import json

import tiny

import maskwright

SCHEMA = {
    "type": "object",
    "properties": {
        "status": {"enum": ["confirmed", "cancelled"]},
        "customer_reference": {"type": "string", "maxLength": 6},
    },
    "required": ["status", "customer_reference"],
    "additionalProperties": False,
}


def main() -> None:
    tokenizer = tiny.tiny_tokenizer()  # untrained stand-ins: use AutoTokenizer and AutoModelForCausalLM
    model = tiny.tiny_model(tokenizer)
    compiler = maskwright.GrammarCompiler(maskwright.TokenizerInfo.from_huggingface(tokenizer))
    compiled = compiler.compile_json_schema(SCHEMA)

    forwards = []
    model.register_forward_hook(lambda *_: forwards.append(1))
    batch = tokenizer(["The booking:", "Its second part:"], return_tensors="pt", padding=True)
    loop = maskwright.custom_generate(compiled, tokenizer=tokenizer, draft="grammar")
    output = model.generate(**batch, max_new_tokens=60, custom_generate=loop)

    written = output[:, batch["input_ids"].shape[1] :]
    for text in tokenizer.batch_decode(written, skip_special_tokens=True):
        print(json.loads(text))
    print(f"{written.shape[1]} tokens each, {len(forwards)} forwards")


if __name__ == "__main__":
    main()
