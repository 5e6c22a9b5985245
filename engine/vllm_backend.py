"""vLLM's structured-output backend over Maskwright (vllm.v1.structured_output.backend_types); needs vLLM.

maskwright.vllm_plugin puts it in its place. Speculation needs nothing more: vLLM validates drafts, fills a mask a position
and rolls back, all through these classes.
"""

from __future__ import annotations

import functools
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.v1.structured_output.backend_guidance import process_for_additional_properties
from vllm.v1.structured_output.backend_types import (
    StructuredOutputBackend,
    StructuredOutputGrammar,
    StructuredOutputOptions,
)
from vllm.v1.structured_output.request import get_structured_output_key

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.forms import Form, form_of
from maskwright.grammars.errors import MaskwrightError
from maskwright.kernels.bitmask import allocate_token_bitmask
from maskwright.served_grammar import ServedGrammar

__all__ = ["MaskwrightBackend", "MaskwrightGrammar", "tokenizer_for_validation", "validate_form"]

_PADDING = -1  # in the place of a draft that there is not
_MAX_COMPILERS = 4  # for sets of stop tokens
_NOT_HANDED_ON = ("disable_any_whitespace", "disable_additional_properties", "whitespace_pattern")
_NAMES = {
    StructuredOutputOptions.JSON: "json",
    StructuredOutputOptions.JSON_OBJECT: "json_object",
    StructuredOutputOptions.REGEX: "regex",
    StructuredOutputOptions.GRAMMAR: "grammar",
    StructuredOutputOptions.CHOICE: "choice",
    StructuredOutputOptions.STRUCTURAL_TAG: "structural_tag",
}


def _form(kind: StructuredOutputOptions, source: Any, compact: bool = False, closed: bool = False) -> Form:
    """The form of a request, as vLLM describes it: a kind and a text.

    Args:
        compact: vLLM's `disable_any_whitespace`.
        closed: its `disable_additional_properties`, by its own way to write that into a schema.
    """
    if closed and kind is StructuredOutputOptions.JSON:
        source = process_for_additional_properties(source)
    if kind is StructuredOutputOptions.JSON_OBJECT:
        source = True
    elif kind is StructuredOutputOptions.CHOICE and isinstance(source, str):
        source = json.loads(source)
    policy = {"whitespace": "compact"} if compact and kind in _OF_JSON else {}
    return form_of({_NAMES[kind]: source, **policy})


_OF_JSON = (StructuredOutputOptions.JSON, StructuredOutputOptions.JSON_OBJECT)


class MaskwrightGrammar(StructuredOutputGrammar):
    """One request's grammar."""

    def __init__(self, grammar: ServedGrammar) -> None:
        self._grammar = grammar

    def accept_tokens(self, request_id: str, tokens: list[int]) -> bool:
        """Move over tokens; False ends the request with an error. Tokens past the end are ignored, as vLLM wants it."""
        for token in tokens:
            if self._grammar.is_terminated:
                return True
            if not self._grammar.accept(token):
                return False
        return True

    def validate_tokens(self, tokens: list[int]) -> list[int]:
        """Those of a draft, from its beginning, that the grammar allows; nothing moves."""
        found = list[int]()
        for token in tokens:
            if token == _PADDING or self._grammar.is_terminated or not self._grammar.accept(token):
                break
            found.append(token)
        self._grammar.rollback(len(found))
        return found

    def rollback(self, num_tokens: int) -> None:
        self._grammar.rollback(num_tokens)

    def fill_bitmask(self, bitmask: Any, batch_index: int) -> None:
        """bitmask: int32 [N, W], a tensor in CPU memory."""
        self._grammar.fill(bitmask[batch_index])

    def is_terminated(self) -> bool:
        return self._grammar.is_terminated

    def reset(self) -> None:
        self._grammar.reset()


@dataclass
class MaskwrightBackend(StructuredOutputBackend):
    """The engine's; its grammars are compiled in vLLM's threads."""

    @staticmethod
    def is_tokenizer_supported(tokenizer: Any) -> bool:
        """Whether Maskwright reads a tokenizer; an unknown one is told when it is read."""
        return True

    def __post_init__(self) -> None:
        self._info = TokenizerInfo.from_huggingface(self.tokenizer, vocab_size=self.vocab_size)
        self._compilers: OrderedDict[frozenset[int], GrammarCompiler] = OrderedDict()
        self._lock = threading.Lock()
        options = self.vllm_config.structured_outputs_config
        self._compact = bool(options.disable_any_whitespace)
        self._closed = bool(options.disable_additional_properties)

    def compile_grammar(
        self, request_type: StructuredOutputOptions, grammar_spec: str, stop_token_ids: Iterable[int] | None = None
    ) -> MaskwrightGrammar:
        """Raises MaskwrightError where the form cannot be enforced; vLLM fails that request alone."""
        form = _form(request_type, grammar_spec, self._compact, self._closed)
        return MaskwrightGrammar(ServedGrammar(form.compile(self._compiler(stop_token_ids))))

    def allocate_token_bitmask(self, max_num_seqs: int) -> Any:
        return allocate_token_bitmask(max_num_seqs, self.vocab_size, backend="torch")

    def destroy(self) -> None:
        with self._lock:
            for compiler in self._compilers.values():
                compiler.close()
            self._compilers.clear()

    def _compiler(self, stops: Iterable[int] | None) -> GrammarCompiler:
        """The compiler for requests that these tokens end."""
        ends = frozenset(stops or self._info.eos_token_ids)
        with self._lock:
            if ends not in self._compilers:
                special = set(self._info.special_token_ids) - set(self._info.eos_token_ids)
                info = TokenizerInfo(self._info.tokens, eos_token_ids=ends, special_token_ids=special - ends)
                self._compilers[ends] = GrammarCompiler(info, max_cache_bytes=_cache_bytes())
            self._compilers.move_to_end(ends)
            while len(self._compilers) > _MAX_COMPILERS:
                self._compilers.popitem(last=False)
            return self._compilers[ends]


@functools.lru_cache(maxsize=2)
def _validator(tokenizer: Any) -> GrammarCompiler:
    """The compiler of vLLM's front end, where requests are refused with status 400."""
    return GrammarCompiler(TokenizerInfo.from_huggingface(tokenizer), max_cache_bytes=_cache_bytes())


def _cache_bytes() -> int:
    """What a compiler's cache may take: vLLM has no place for an option of ours but the environment."""
    return int(os.environ.get("MASKWRIGHT_VLLM_CACHE_MB", "256")) << 20


def tokenizer_for_validation(tokenizer: Any) -> Any:
    """What `validate_form` is given: the tokenizer itself."""
    return tokenizer


def validate_form(sampling_params: Any, tokenizer: Any = None) -> None:
    """Raise VLLMValidationError, which becomes a status of 400, for a form that cannot be enforced."""
    asked = sampling_params.structured_outputs
    if asked is None:
        return
    for option in _NOT_HANDED_ON:
        if getattr(asked, option, None):
            raise VLLMValidationError(f"vLLM does not hand {option} of a request to the engine, so it is not enforced")
    try:
        form = _form(*get_structured_output_key(asked))
        if tokenizer is not None:
            form.compile(_validator(tokenizer))
    except (MaskwrightError, ValueError) as error:
        raise VLLMValidationError(str(error)) from error
