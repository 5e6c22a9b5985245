"""The engines that the benchmarks compare, behind the same calls, so that every one of them does the same work.

engine = ENGINES["maskwright"](tokenizer)       a tokenizer of transformers
engine = of_tokens("xgrammar", [b"a", ...], 0)  a vocabulary as bytes, and its end-of-sequence id
engine.prepare(); engine.compile("x.gbnf", text) or engine.compile_schema(schema)
engine.reset(); engine.fill(); engine.accept(token)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, Protocol

import maskwright as mw

__all__ = ["ENGINES", "Engine", "Llguidance", "Maskwright", "Refused", "Xgrammar", "installed", "is_lark", "of_tokens"]


class Refused(Exception):
    """An engine does not take a grammar, or a token of a text."""


class Engine(Protocol):
    """What is measured: one thread, no cache of grammars, JSON without whitespace that nobody asked for."""

    def prepare(self) -> None:
        """A compiler that has seen no grammar; not timed."""

    def compile(self, name: str, text: str) -> None:
        """Compile a grammar, Lark or GBNF by its name; any exception is a refusal."""

    def compile_schema(self, schema: Any) -> None:
        """Compile a JSON Schema; any exception is a refusal."""

    def reset(self) -> None:
        """Begin a new text."""

    def fill(self) -> None:
        """Compute the mask of the next token."""

    def accept(self, token: int) -> bool:
        """Move over a token; False when it is not allowed."""


class Maskwright:
    def __init__(self, tokenizer: Any, info: Any = None) -> None:
        self.info = info or mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
        self.mask = mw.allocate_token_bitmask(1, self.info.vocab_size)
        self.matcher: Any = None

    def prepare(self) -> None:
        self.matcher = None
        self.compiler = mw.GrammarCompiler(self.info, cache_enabled=False)

    def compile(self, name: str, text: str) -> None:
        self.grammar = (self.compiler.compile_lark if is_lark(name) else self.compiler.compile_grammar)(text)

    def compile_schema(self, schema: Any) -> None:
        self.grammar = self.compiler.compile_json_schema(schema)

    def reset(self) -> None:
        self.matcher = mw.GrammarMatcher(self.grammar)

    def fill(self) -> None:
        self.matcher.fill_next_token_bitmask(self.mask)

    def accept(self, token: int) -> bool:
        return bool(self.matcher.accept_token(token))


class Xgrammar:
    def __init__(self, tokenizer: Any, info: Any = None) -> None:
        self.xgrammar = import_module("xgrammar")
        self.info = info or self.xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
        self.mask = self.xgrammar.allocate_token_bitmask(1, self.info.vocab_size)

    def prepare(self) -> None:
        self.compiler = self.xgrammar.GrammarCompiler(self.info, max_threads=1, cache_enabled=False)

    def compile(self, name: str, text: str) -> None:
        self.grammar = self.compiler.compile_grammar(self._read(name, text))

    def compile_schema(self, schema: Any) -> None:
        self.grammar = self.compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)

    def _read(self, name: str, text: str) -> Any:
        if not is_lark(name):
            return self.xgrammar.Grammar.from_ebnf(text)
        try:
            return self.xgrammar.Grammar.from_lark(text)
        except (RuntimeError, ValueError):
            return self.xgrammar.Grammar.from_ebnf(str(mw.Grammar.from_lark(text)))

    def reset(self) -> None:
        self.matcher = self.xgrammar.GrammarMatcher(self.grammar)

    def fill(self) -> None:
        self.matcher.fill_next_token_bitmask(self.mask)

    def accept(self, token: int) -> bool:
        return bool(self.matcher.accept_token(token))


class Llguidance:
    def __init__(self, tokenizer: Any, info: Any = None) -> None:
        self.llguidance = import_module("llguidance")
        numpy_side = import_module("llguidance.numpy")
        self.fill_bitmask = numpy_side.fill_next_token_bitmask
        self.info = info or import_module("llguidance.hf").from_tokenizer(tokenizer)
        self.mask = numpy_side.allocate_token_bitmask(1, self.info.vocab_size)

    def prepare(self) -> None:
        self.template = None

    def compile(self, name: str, text: str) -> None:
        if not is_lark(name):
            text = import_module("llguidance.gbnf_to_lark").gbnf_to_lark(text)
        self._begin(self.llguidance.LLMatcher.grammar_from_lark(text))

    def compile_schema(self, schema: Any) -> None:
        self._begin(json.dumps({"grammars": [{"json_schema": schema}]}))

    def _begin(self, grammar: str) -> None:
        self.template = self.llguidance.LLMatcher(self.info, grammar)
        if self.template.is_error():
            raise Refused(self.template.get_error())

    def reset(self) -> None:
        self.matcher = self.template.deep_copy()

    def fill(self) -> None:
        self.fill_bitmask(self.matcher, self.mask, 0)

    def accept(self, token: int) -> bool:
        if not int(self.mask[0, token // 32]) >> (token % 32) & 1:
            return False
        return bool(self.matcher.consume_token(token))


ENGINES: dict[str, Callable[..., Engine]] = {
    "maskwright": Maskwright,
    "xgrammar": Xgrammar,
    "llguidance": Llguidance,
}


def installed() -> list[str]:
    """The names of the engines that are here."""
    return [name for name in ENGINES if find_spec(name)]


def is_lark(name: str) -> bool:
    return name.endswith(".lark")


def of_tokens(name: str, tokens: Sequence[bytes], eos: int) -> Engine:
    """An engine over a vocabulary given as the bytes of its tokens, of which `eos` ends a text."""
    info: Any
    if name == "maskwright":
        info = mw.TokenizerInfo(tokens, eos_token_ids=[eos])
    elif name == "xgrammar":
        xgrammar = import_module("xgrammar")
        info = xgrammar.TokenizerInfo(list(tokens), xgrammar.VocabType.RAW, stop_token_ids=[eos])
    else:
        wrapper = import_module("llguidance").TokenizerWrapper
        plain = _ByteTokenizer(eos_token_id=eos, bos_token_id=None, tokens=list(tokens), special_token_ids=[eos])
        info = import_module("llguidance").LLTokenizer(wrapper(plain), n_vocab=len(tokens))
    return ENGINES[name](None, info)


class _ByteTokenizer(SimpleNamespace):
    """What llguidance wants of a tokenizer; it encodes byte by byte, each byte being a token of every vocabulary here."""

    def __call__(self, text: bytes | str) -> list[int]:
        written = text if isinstance(text, bytes) else text.encode()
        return [self.tokens.index(bytes([byte])) for byte in written]
