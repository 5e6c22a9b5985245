"""SGLang's grammar backend over Maskwright (sglang.srt.constrained.base_grammar_backend); needs SGLang.

A registered backend is not wrapped by SGLang's reasoner: reasoning is handled here, where the server was started with
`--reasoning-parser`. Verification of a draft tree calls accept_token, fill_vocab_mask and rollback in the order of a walk.
"""

from __future__ import annotations

import logging
from typing import Any

from sglang.srt.constrained.base_grammar_backend import (
    BaseGrammarBackend,
    BaseGrammarObject,
    GrammarStats,
    InvalidGrammarObject,
)
from sglang.srt.runtime_context import get_serving
from sglang.srt.utils.common import is_pin_memory_available

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.constraint import Reasoning
from maskwright.forms import form_of
from maskwright.grammars.errors import MaskwrightError
from maskwright.kernels.bitmask import allocate_token_bitmask, apply_token_bitmask_inplace
from maskwright.served_grammar import ServedGrammar

__all__ = ["MaskwrightBackend", "MaskwrightGrammar"]

_LOG = logging.getLogger("maskwright.servers")
_ANY_OBJECT = "$$ANY$$"  # SGLang's key for JSON of any kind


class MaskwrightGrammar(BaseGrammarObject):
    """One request's grammar."""

    def __init__(self, grammar: ServedGrammar, reasoning: Reasoning | None, stats: GrammarStats) -> None:
        super().__init__()
        self._grammar, self._reasoning, self.grammar_stats = grammar, reasoning, stats

    def maybe_init_reasoning(self, reasoning: bool) -> None:
        """At the start of a request: whether its answer begins with reasoning."""
        self._grammar = ServedGrammar(self._grammar.compiled, self._reasoning if reasoning else None)

    def accept_token(self, token: int) -> None:
        """Raises ValueError, which ends the request, where the grammar does not allow the token."""
        self.current_token = token
        if not self._grammar.accept(token):
            because = f": {self._grammar.error}" if self._grammar.error is not None else ""
            raise ValueError(f"the grammar does not allow token {token} here{because}")

    def rollback(self, k: int) -> None:
        self._grammar.rollback(k)

    def is_terminated(self) -> bool:
        return self._grammar.is_terminated

    def allocate_vocab_mask(self, vocab_size: int, batch_size: int, device: Any) -> Any:
        """int32 [batch_size, ceil(vocab_size / 32)] that allows everything, in CPU memory, from which a GPU can fetch it."""
        mask = allocate_token_bitmask(batch_size, vocab_size, backend="torch")
        return mask.pin_memory() if is_pin_memory_available() else mask

    def fill_vocab_mask(self, vocab_mask: Any, idx: int) -> None:
        self._grammar.fill(vocab_mask[idx])

    @staticmethod
    def reset_vocab_mask(vocab_mask: Any) -> None:
        vocab_mask.fill_(-1)

    @staticmethod
    def move_vocab_mask(vocab_mask: Any, device: Any) -> Any:
        return vocab_mask.to(device, non_blocking=True)

    @staticmethod
    def apply_vocab_mask(logits: Any, vocab_mask: Any) -> None:
        apply_token_bitmask_inplace(logits, vocab_mask)

    def copy(self) -> MaskwrightGrammar:
        """One for another request of the same grammar; nothing is shared but the compiled grammar."""
        return MaskwrightGrammar(
            ServedGrammar(self._grammar.compiled), self._reasoning, GrammarStats(is_cache_hit=True)
        )

    def try_jump_forward(self, tokenizer: Any) -> tuple[list[int], str] | None:
        text = self._grammar.jump_forward_string()
        return ([], text) if text else None

    def jump_forward_str_state(self, helper: tuple[list[int], str]) -> tuple[str, int]:
        return helper[1], -1

    def jump_and_retokenize(self, old_output_ids: list[int], new_output_ids: list[int], next_state: int) -> None:
        """Go from one spelling of the text so far to another, which is longer."""
        common = 0
        while common < min(len(old_output_ids), len(new_output_ids)) and (
            old_output_ids[common] == new_output_ids[common]
        ):
            common += 1
        self._grammar.rollback(len(old_output_ids) - common)
        for token in new_output_ids[common:]:
            self.accept_token(token)


class MaskwrightBackend(BaseGrammarBackend):
    """The server's; grammars are compiled in SGLang's threads, and kept by SGLang by their key."""

    def __init__(self, server_args: Any, tokenizer: Any, vocab_size: int, eos_token_ids: set[int] | None) -> None:
        super().__init__()
        info = TokenizerInfo.from_huggingface(tokenizer, vocab_size, eos_token_ids=eos_token_ids or None)
        self._compiler = GrammarCompiler(info)
        serving = get_serving()  # what the server has made of its arguments: they hold what was typed
        self._reasoning = _reasoning(serving.reasoning_parser, tokenizer, info)
        self._policy = {"whitespace": "compact"} if serving.constrained_json_disable_any_whitespace else {}

    def dispatch_json(self, key_string: str) -> BaseGrammarObject:
        if key_string == _ANY_OBJECT:
            return self._dispatch("json", {"json_object": True, **self._policy})
        return self._dispatch("json", {"json": key_string, **self._policy})

    def dispatch_regex(self, key_string: str) -> BaseGrammarObject:
        return self._dispatch("regex", {"regex": key_string})

    def dispatch_ebnf(self, key_string: str) -> BaseGrammarObject:
        return self._dispatch("ebnf", {"ebnf": key_string})

    def dispatch_structural_tag(self, key_string: str) -> BaseGrammarObject:
        return self._dispatch("structural_tag", {"structural_tag": key_string})

    def _dispatch(self, kind: str, given: dict[str, Any]) -> BaseGrammarObject:
        """The grammar, or what tells SGLang to refuse the request with its message."""
        try:
            grammar = ServedGrammar(form_of(given).compile(self._compiler))
        except (MaskwrightError, RecursionError) as error:
            _LOG.info("a grammar is refused: %s", error)
            return InvalidGrammarObject(str(error))
        return MaskwrightGrammar(grammar, self._reasoning, GrammarStats(dispatch_type=kind))

    def _init_value_dispatch(self, key: tuple[str, str], require_reasoning: bool) -> BaseGrammarObject:
        value = super()._init_value_dispatch(key, require_reasoning)
        value.maybe_init_reasoning(require_reasoning)
        return value


def _reasoning(parser: str | None, tokenizer: Any, info: TokenizerInfo) -> Reasoning | None:
    """What ends the reasoning of the server's model, by the name of its parser."""
    if not parser:
        return None
    from sglang.srt.parser.reasoning_parser import ReasoningParser

    read = ReasoningParser(model_type=parser, stream_reasoning=False, tokenizer=tokenizer)
    return Reasoning(info, read.detector.think_end_token)
