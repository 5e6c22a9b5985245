"""From rows of tokens to answers: chunks while they grow, values when they are finished, in the shape that was asked for."""

from __future__ import annotations

import codecs
import json
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from maskwright.decoding import Decoder, Row
from maskwright.grammars.python_types import adapter_of
from maskwright.partial import grower
from maskwright.progress import progress_bar
from maskwright.results import GenerationResult, StreamChunk

__all__ = ["Meaning", "chunks_of", "collected"]


@dataclass(frozen=True)
class Meaning:
    """What the texts of a prompt's answers stand for."""

    is_json: bool
    python_type: Any
    compile_seconds: float

    def value(self, text: str) -> Any:
        """The finished answer: an instance, parsed JSON, or the text."""
        if self.python_type is not None:
            return self._adapter.validate_json(_with_plain_integers(text))
        return json.loads(text) if self.is_json else text

    @cached_property
    def grow(self) -> Callable[[str], Any]:
        """From the text so far to the partial value."""
        return grower(self._adapter) if self.is_json or self.python_type is not None else str

    @cached_property
    def _adapter(self) -> Any:
        """A TypeAdapter of the type, or None for plain JSON."""
        return None if self.python_type is None else adapter_of(self.python_type)


def _with_plain_integers(text: str) -> str:
    """JSON text with 1e+20 written in digits: JSON Schema calls that an integer, and so does the mask; pydantic does not."""
    if "e+" not in text:
        return text

    def number(literal: str) -> int | float:
        return int(Decimal(literal)) if "e+" in literal else float(literal)

    return json.dumps(json.loads(text, parse_float=number))


def chunks_of(decoder: Decoder, meanings: Sequence[Meaning], progress: bool) -> Generator[StreamChunk]:
    """The decoding, step by step; the last chunk of each row carries its result."""
    texts = {row: _Text() for row in decoder.rows}
    with progress_bar(decoder.rows) if progress else nullcontext(lambda: None) as update:
        moved = [row for row in decoder.rows if row.finish_reason is not None]  # before the model was asked
        while True:
            update()
            for row in moved:
                delta = texts[row].take(row)
                text, meaning, result = texts[row].so_far, meanings[row.prompt], None
                if row.finish_reason is not None:
                    result = decoder.result(row, meaning.value(text), meaning.compile_seconds)
                yield StreamChunk(text, delta, result is not None, row.prompt, row.sample, result, meaning.grow)
            if not decoder.live:
                return
            moved = decoder.step()


class _Text:
    """The whole characters that a row has written."""

    def __init__(self) -> None:
        self.so_far, self._seen = "", 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def take(self, row: Row) -> str:
        """What has come since the last call; half a character waits for its other half."""
        fresh = row.request.compiled.tokenizer_info.decode(row.tokens[self._seen :])
        self._seen = len(row.tokens)
        delta = self._decoder.decode(fresh, final=row.finish_reason is not None)
        self.so_far += delta
        return delta


def collected(
    chunks: Generator[StreamChunk],
    is_batch: bool,
    samples: int,
    return_result: bool,
    stopped: threading.Event | None = None,
) -> Any:
    """The answers in the shape that the arguments ask for; None when `stopped` was set on the way."""
    finished: dict[tuple[int, int], GenerationResult] = {}
    with closing(chunks):
        for chunk in chunks:
            if stopped is not None and stopped.is_set():
                return None
            if chunk.result is not None:
                finished[chunk.prompt, chunk.sample] = chunk.result
    ordered = [finished[place] if return_result else finished[place].value for place in sorted(finished)]
    if samples > 1:
        ordered = [ordered[start : start + samples] for start in range(0, len(ordered), samples)]
    return ordered if is_batch else ordered[0]
