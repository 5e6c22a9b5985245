"""The embedded models: a small one that can read, and a smaller one that drafts for it.

Both are Llama-architecture causal language models in the package itself (docs/model.md is their card), trained by
examples/train_tiny_model.py on information extraction: a short text and a list of fields in, one JSON object out. They
share a byte-level BPE tokenizer. What a prompt looks like to them is said here and nowhere else:

    Text: Ada Lovelace is 36 years old and lives in London.
    Fields: name: string, age: integer, mood: happy|sad, address: {street: string}, tags: [string], phone: string?
    JSON: {"name": "Ada Lovelace", ...}

    Text: Ben Okafor would not buy the copper lamp again.
    Choices: positive|neutral|negative
    Answer: negative
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.grammars.errors import TokenizerError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = ["choice_prompt", "describe_fields", "extraction_prompt", "load", "load_draft"]

MODELS = Path(__file__).parent / "models"
_MAX_DEPTH = 4  # of nested fields that a description spells out


def load() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The embedded model (float32, on the CPU, in evaluation mode) and its tokenizer; the same ones at every call.

    Raises:
        TokenizerError: torch and transformers are not installed.
    """
    return _load("reader")


def load_draft() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The draft model, for speculative decoding with the embedded one, and the tokenizer they share."""
    return _load("draft")


@functools.lru_cache(maxsize=2)
def _load(name: str) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    try:
        import torch
        from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
    except ImportError as error:
        raise TokenizerError(
            f'the embedded model needs torch and transformers ({error.name} is missing): pip install "maskwright[hf]"'
        ) from error
    model = LlamaForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32, local_files_only=True).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MODELS / "reader", local_files_only=True)
    return model, tokenizer


def extraction_prompt(text: str, schema: Any, *, style: str = "fields") -> str:
    """The prompt that asks the embedded model for the object in `text`.

    Args:
        text: what to read; line breaks become spaces, since the model has only read single paragraphs.
        schema: a JSON Schema as a dict or a bool.
        style: "fields" describes it as a list of fields, "schema" gives it as JSON.
    """
    if style not in ("fields", "schema"):
        raise ValueError(f"style={style!r}: choose 'fields' or 'schema'")
    asked = f"Fields: {describe_fields(schema)}" if style == "fields" else f"Schema: {json.dumps(schema)}"
    return f"Text: {' '.join(text.split())}\n{asked}\nJSON: "


def choice_prompt(text: str, choices: Sequence[str]) -> str:
    """The prompt that asks the embedded model which of some words fits `text`."""
    return f"Text: {' '.join(text.split())}\nChoices: {'|'.join(choices)}\nAnswer: "


def describe_fields(schema: Any) -> str:
    """A JSON Schema in few words: `name: string, tags: [string], mood: happy|sad, phone: string?`.

    What it leaves out (bounds, patterns, formats) the mask enforces all the same.
    """
    described = _describe(schema, schema, _MAX_DEPTH)
    return described[1:-1] if described.startswith("{") and described.endswith("}") else described


def _describe(schema: Any, root: Any, depth: int) -> str:
    if not isinstance(schema, Mapping):
        return "any"
    if "$ref" in schema:
        return _describe(_resolve(schema["$ref"], root), root, depth - 1) if depth else "any"
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            branches = [branch for branch in schema[keyword] if branch != {"type": "null"}]
            described = "|".join(dict.fromkeys(_describe(branch, root, depth) for branch in branches))
            return described + "?" * (len(branches) < len(schema[keyword]))
    if "allOf" in schema and len(schema["allOf"]) == 1 and "properties" not in schema:
        return _describe(schema["allOf"][0], root, depth)
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        words = [value if isinstance(value, str) else json.dumps(value) for value in values if value is not None]
        return "|".join(words) + "?" * (None in values)
    types = schema.get("type", "object" if "properties" in schema else "array" if "items" in schema else "any")
    names = [types] if isinstance(types, str) else list(types)
    described = "|".join(_describe_type(name, schema, root, depth) for name in names if name != "null") or "null"
    return described + "?" * ("null" in names and len(names) > 1)


def _describe_type(name: str, schema: Mapping[str, Any], root: Any, depth: int) -> str:
    if name == "array" and "prefixItems" in schema:
        return (
            f"[{', '.join(_describe(item, root, depth - 1) for item in schema['prefixItems'])}]" if depth else "array"
        )
    if name == "array":
        return f"[{_describe(schema.get('items'), root, depth - 1)}]" if depth else "array"
    if name == "object" and schema.get("properties") and depth:
        fields = (f"{key}: {_describe(value, root, depth - 1)}" for key, value in schema["properties"].items())
        return f"{{{', '.join(fields)}}}"
    return name


def _resolve(reference: str, root: Any) -> Any:
    """What a reference into the same document points to, or None: a description may leave it out, the mask does not."""
    found = root
    if not reference.startswith("#"):
        return None
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found
