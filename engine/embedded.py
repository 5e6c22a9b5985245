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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from maskwright.grammars.errors import ModelError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = ["choice_prompt", "describe_fields", "extraction_prompt", "load", "load_draft"]

MODELS = Path(__file__).parent / "models"
_MAX_DEPTH = 8  # levels of a schema that its description spells out
_MAX_WORDS = 120  # names and values that it spells out: more than any schema that it was trained on has

_Part = TypeVar("_Part")


def load() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The embedded model (float32, on the CPU, in evaluation mode) and its tokenizer; the same ones at every call.

    Raises:
        ModelError: torch and transformers are not installed.
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
        raise ModelError(
            f'the embedded model needs torch and transformers ({error.name} is missing): pip install "maskwright[hf]"'
        ) from error
    with _without_progress_bars():
        model = LlamaForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32, local_files_only=True).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MODELS / "reader", local_files_only=True)
    return model, tokenizer


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """A tenth of a second needs no bar of transformers'."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def extraction_prompt(text: str, schema: Any, *, style: str = "fields") -> str:
    """The prompt that asks the embedded model for the object in `text`.

    Args:
        text: what to read; line breaks become spaces, since the model has only read single paragraphs.
        schema: a JSON Schema as a dict or a bool, valid.
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

    What it leaves out (bounds, patterns, formats; whatever is nested deeper or named later than the model reads) the
    mask enforces all the same.
    """
    described = _Description(schema).of(schema, _MAX_DEPTH)
    return described[1:-1] if described.startswith("{") and described.endswith("}") else described


class _Description:
    """Puts the parts of one schema into words, as many as the model may read."""

    def __init__(self, root: Any) -> None:
        self._root, self._words = root, _MAX_WORDS

    def of(self, schema: Any, depth: int) -> str:
        if not isinstance(schema, Mapping) or depth == 0:
            return "any"
        if "$ref" in schema:
            return self.of(_resolve(schema["$ref"], self._root), depth - 1)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                branches = [branch for branch in schema[keyword] if branch != {"type": "null"}]
                described = dict.fromkeys(self.of(branch, depth - 1) for branch in self._first(branches))
                return "|".join(described) + "?" * (len(branches) < len(schema[keyword]))
        if "allOf" in schema and "properties" not in schema:
            return self.of(schema["allOf"][0], depth - 1)
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            words = (value if isinstance(value, str) else json.dumps(value) for value in values if value is not None)
            return "|".join(self._first(words)) + "?" * (None in values)
        types = schema.get("type", "object" if "properties" in schema else "array" if "items" in schema else "any")
        names = [types] if isinstance(types, str) else list(types)
        described = dict.fromkeys(self._of_type(name, schema, depth - 1) for name in names if name != "null")
        return ("|".join(described) or "null") + "?" * ("null" in names and len(names) > 1)

    def _of_type(self, name: str, schema: Mapping[str, Any], depth: int) -> str:
        if name == "array" and "prefixItems" in schema:
            return f"[{', '.join(self.of(item, depth) for item in self._first(schema['prefixItems']))}]"
        if name == "array":
            items = schema.get("items")
            return f"[{', '.join(self.of(item, depth) for item in (items if isinstance(items, list) else [items]))}]"
        if name == "object" and schema.get("properties") and depth:
            fields = (f"{key}: {self.of(value, depth)}" for key, value in self._first(schema["properties"].items()))
            return f"{{{', '.join(fields)}}}"
        return name

    def _first(self, parts: Iterable[_Part]) -> Iterator[_Part]:
        """The parts that there are words left for."""
        for part in parts:
            if self._words == 0:
                return
            self._words -= 1
            yield part


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
