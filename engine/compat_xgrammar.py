"""The names of XGrammar 0.2.8 that servers use, over Maskwright: `import maskwright.compat.xgrammar as xgr`.

    TokenizerInfo, VocabType                                  the vocabulary
    GrammarCompiler, Grammar, CompiledGrammar                 grammars
    StructuralTag, StructuralTagItem                          structural tags
    GrammarMatcher, BatchGrammarMatcher                       matching
    allocate_token_bitmask, reset_token_bitmask,
    get_bitmask_shape, bitmask_dtype,
    apply_token_bitmask_inplace                               masks
    contrib.hf.LogitsProcessor                                transformers

Errors are RuntimeErrors, as XGrammar's are, with Maskwright's own error as their cause. What differs: docs/servers.md.
"""

from __future__ import annotations

import enum
import json
import logging
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maskwright import compiler as engine
from maskwright.compat_strict import closed
from maskwright.compile import grammar as compiled_grammars
from maskwright.compile import vocabulary
from maskwright.compile.huggingface import write_byte_level
from maskwright.compile.tokenfiles import byte_piece, end_tokens_among
from maskwright.grammars import grammar as grammars
from maskwright.grammars.errors import MaskwrightError
from maskwright.grammars.python_types import schema_from
from maskwright.kernels import bitmask as bitmasks
from maskwright.processor import MaskLogitsProcessor
from maskwright.runtime import batch as batches
from maskwright.runtime import matcher as matchers

if TYPE_CHECKING:
    import torch

    bitmask_dtype: torch.dtype

__all__ = [
    "BatchGrammarMatcher",
    "CompiledGrammar",
    "Grammar",
    "GrammarCompiler",
    "GrammarMatcher",
    "StructuralTag",
    "StructuralTagItem",
    "TokenizerInfo",
    "VocabType",
    "allocate_token_bitmask",
    "apply_token_bitmask_inplace",
    "bitmask_dtype",
    "contrib",
    "get_bitmask_shape",
    "reset_token_bitmask",
]

_LOG = logging.getLogger("maskwright.compat")
_MAX_COMPILERS = 4  # of one GrammarCompiler, for further sets of stop tokens


def __getattr__(name: str) -> Any:
    if name == "bitmask_dtype":  # torch only for who asks
        import torch

        return torch.int32
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextmanager
def _as_runtime_errors() -> Iterator[None]:
    """Servers written for XGrammar catch RuntimeError."""
    try:
        yield
    except MaskwrightError as error:
        raise RuntimeError(str(error)) from error


# ----------------------------------------------------------------------------------------------------------- vocabulary


class VocabType(enum.Enum):
    """How a vocabulary spells bytes."""

    RAW = 0
    BYTE_FALLBACK = 1
    BYTE_LEVEL = 2


def _decoded(token: bytes | str, kind: VocabType) -> bytes:
    if isinstance(token, bytes) and kind is VocabType.RAW:
        return token
    text = token.decode("utf-8", "surrogateescape") if isinstance(token, bytes) else token
    if kind is VocabType.BYTE_LEVEL:
        return write_byte_level([text])[0]
    if kind is VocabType.BYTE_FALLBACK:
        return byte_piece(text) or text.replace("▁", " ").encode("utf-8", "surrogateescape")
    return text.encode("utf-8", "surrogateescape")


class TokenizerInfo:
    """A vocabulary.

    Attributes:
        info: Maskwright's.
        vocab_type, add_prefix_space: as given.
    """

    def __init__(
        self,
        encoded_vocab: Sequence[bytes] | Sequence[str],
        vocab_type: VocabType = VocabType.RAW,
        *,
        vocab_size: int | None = None,
        stop_token_ids: Sequence[int] | int | None = None,
        add_prefix_space: bool = False,
    ) -> None:
        tokens = [_decoded(token, vocab_type) for token in encoded_vocab]
        if stop_token_ids is None:
            spelled = ((number, token.decode("utf-8", "replace")) for number, token in enumerate(tokens))
            stop_token_ids = sorted(end_tokens_among(spelled))
        special = [number for number, token in enumerate(tokens) if not token]
        with _as_runtime_errors():
            info = vocabulary.TokenizerInfo(
                tokens, eos_token_ids=_ids(stop_token_ids), special_token_ids=special, vocab_size=vocab_size
            )
        self._set(info, vocab_type, add_prefix_space)

    def _set(self, info: vocabulary.TokenizerInfo, kind: VocabType, add_prefix_space: bool) -> None:
        self.info, self.vocab_type, self.add_prefix_space = info, kind, add_prefix_space

    @classmethod
    def _of(cls, info: vocabulary.TokenizerInfo) -> TokenizerInfo:
        made = cls.__new__(cls)
        made._set(info, VocabType.RAW, False)
        return made

    @classmethod
    def from_huggingface(
        cls, tokenizer: Any, *, vocab_size: int | None = None, stop_token_ids: Sequence[int] | int | None = None
    ) -> TokenizerInfo:
        """The vocabulary of a tokenizer of transformers."""
        ends = None if stop_token_ids is None else _ids(stop_token_ids)
        with _as_runtime_errors():
            return cls._of(vocabulary.TokenizerInfo.from_huggingface(tokenizer, vocab_size, eos_token_ids=ends))

    @property
    def vocab_size(self) -> int:
        return self.info.vocab_size

    @property
    def decoded_vocab(self) -> list[bytes]:
        return [token or b"" for token in self.info.tokens]

    @property
    def stop_token_ids(self) -> list[int]:
        return sorted(self.info.eos_token_ids)

    @property
    def special_token_ids(self) -> list[int]:
        ends = set(self.info.eos_token_ids)
        return sorted(number for number in self.info.special_token_ids if number not in ends)

    def with_stops(self, stops: frozenset[int]) -> vocabulary.TokenizerInfo:
        """Maskwright's vocabulary of the same tokens, with others that end a text."""
        special = set(self.info.special_token_ids) - set(self.info.eos_token_ids)
        return vocabulary.TokenizerInfo(self.info.tokens, eos_token_ids=stops, special_token_ids=special)


def _ids(tokens: Sequence[int] | int) -> list[int]:
    return [tokens] if isinstance(tokens, int) else list(tokens)


# ------------------------------------------------------------------------------------------------------------- grammars


@dataclass
class StructuralTagItem:
    """A tag of the older form."""

    begin: str
    schema: Any
    end: str


class StructuralTag:
    """A structural tag (docs/tools.md)."""

    def __init__(self, *, format: Any, type: str = "structural_tag") -> None:
        self.type, self.format = type, format

    @classmethod
    def from_json(cls, description: str | dict[str, Any]) -> StructuralTag:
        given = json.loads(description) if isinstance(description, str) else description
        return cls(**given)

    @classmethod
    def from_legacy_structural_tag(cls, tags: Sequence[StructuralTagItem], triggers: Sequence[str]) -> StructuralTag:
        made = [
            {"begin": tag.begin, "content": {"type": "json_schema", "json_schema": _schema(tag.schema)}, "end": tag.end}
            for tag in tags
        ]
        return cls(format={"type": "triggered_tags", "triggers": list(triggers), "tags": made})

    def model_dump(self) -> dict[str, Any]:
        return {"type": self.type, "format": self.format}

    def model_dump_json(self) -> str:
        return json.dumps(self.model_dump())


def _schema(given: Any) -> Any:
    if isinstance(given, str):
        try:
            return json.loads(given)
        except ValueError as error:
            raise RuntimeError(f"the schema is not JSON: {error}") from error
    return schema_from(given)[0]


def _description(arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """A structural tag from `(tag)`, or `(tags, triggers)` of the older form."""
    given = [*arguments, *named.values()]
    if len(given) == 2:
        return StructuralTag.from_legacy_structural_tag(*given).model_dump()
    (tag,) = given
    return tag.model_dump(by_alias=True) if hasattr(tag, "model_fields") else getattr(tag, "model_dump", lambda: tag)()


def _policy(
    any_whitespace: bool = True,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    max_whitespace_cnt: int | None = None,
    any_order: bool = False,
) -> dict[str, Any]:
    """XGrammar's options of schemas as those of the text policy."""
    policy: dict[str, Any] = {"property_order": "any"} if any_order else {}
    if any_whitespace:
        return policy if max_whitespace_cnt is None else {**policy, "max_whitespace": max_whitespace_cnt}
    return {
        **policy,
        "indent": indent,
        "separators": separators or ((",", ": ") if indent is not None else (", ", ": ")),
    }


class Grammar:
    """A grammar that is bound to no vocabulary.

    Attributes:
        grammar: Maskwright's.
    """

    def __init__(self, grammar: grammars.Grammar) -> None:
        self.grammar = grammar

    @classmethod
    def from_ebnf(cls, ebnf_string: str, *, root_rule_name: str = "root") -> Grammar:
        with _as_runtime_errors():
            return cls(grammars.Grammar.from_ebnf(ebnf_string, root_rule_name))

    @classmethod
    def from_lark(cls, lark_string: str, *, tokenizer_info: TokenizerInfo | None = None) -> Grammar:
        with _as_runtime_errors():
            return cls(grammars.Grammar.from_lark(lark_string))

    @classmethod
    def from_regex(cls, regex_string: str) -> Grammar:
        with _as_runtime_errors():
            return cls(grammars.Grammar.from_regex(regex_string))

    @classmethod
    def from_json_schema(cls, schema: Any, *, strict_mode: bool = True, **options: Any) -> Grammar:
        read = _schema(schema)
        with _as_runtime_errors():
            return cls(grammars.Grammar.from_json_schema(closed(read) if strict_mode else read, **_policy(**options)))

    @classmethod
    def from_structural_tag(cls, *arguments: Any, **named: Any) -> Grammar:
        with _as_runtime_errors():
            return cls(grammars.Grammar.from_structural_tag(_description(arguments, named)))

    @classmethod
    def builtin_json_grammar(cls) -> Grammar:
        return cls(grammars.Grammar.from_json_schema(True))

    @classmethod
    def concat(cls, *several: Grammar) -> Grammar:
        return cls(grammars.Grammar.concat(*(one.grammar for one in several)))

    @classmethod
    def union(cls, *several: Grammar) -> Grammar:
        with _as_runtime_errors():
            return cls(grammars.Grammar.union(*(one.grammar for one in several)))

    def __str__(self) -> str:
        return str(self.grammar)


class CompiledGrammar:
    """A grammar over a vocabulary.

    Attributes:
        compiled: Maskwright's.
    """

    def __init__(self, compiler: GrammarCompiler, kind: str, source: Any, policy: Mapping[str, Any]) -> None:
        self._compiler, self._asked = compiler, (kind, source, policy)
        self.compiled = self.with_stops(None)

    def with_stops(self, stops: frozenset[int] | None) -> compiled_grammars.CompiledGrammar:
        """Maskwright's, with other tokens that end a text; None: those of the vocabulary."""
        kind, source, policy = self._asked
        with _as_runtime_errors():
            made: compiled_grammars.CompiledGrammar = getattr(self._compiler.engine_of(stops), f"compile_{kind}")(
                source, **policy
            )
            return made

    @property
    def tokenizer_info(self) -> TokenizerInfo:
        return self._compiler.tokenizer_info

    @property
    def grammar(self) -> Grammar:
        kind, source, policy = self._asked
        if isinstance(source, grammars.Grammar):
            return Grammar(source)
        notation = {"grammar": "ebnf"}.get(kind, kind)
        return Grammar(getattr(grammars.Grammar, f"from_{notation}")(source, **policy))

    @property
    def memory_size_bytes(self) -> int:
        """An estimate; states are shared with other grammars."""
        return self.compiled.source_bytes + self.compiled.table_bytes


class GrammarCompiler:
    """Compiles grammars; any thread may use it."""

    def __init__(
        self,
        tokenizer_info: TokenizerInfo,
        *,
        max_threads: int = 8,
        cache_enabled: bool = True,
        cache_limit_bytes: int = -1,
    ) -> None:
        self.tokenizer_info, self._cache_enabled = tokenizer_info, cache_enabled
        self._limit = {} if cache_limit_bytes < 0 else {"max_cache_bytes": cache_limit_bytes}
        with _as_runtime_errors():
            self._engine = self._new(tokenizer_info.info)
        self._others: dict[frozenset[int], engine.GrammarCompiler] = {}

    def _new(self, info: vocabulary.TokenizerInfo) -> engine.GrammarCompiler:
        return engine.GrammarCompiler(info, self._cache_enabled, **self._limit)  # type: ignore[arg-type]

    def engine_of(self, stops: frozenset[int] | None) -> engine.GrammarCompiler:
        """Maskwright's compiler for the vocabulary with these tokens that end a text."""
        if stops is None or stops == frozenset(self.tokenizer_info.info.eos_token_ids):
            return self._engine
        found = self._others.pop(stops, None) or self._new(self.tokenizer_info.with_stops(stops))
        self._others[stops] = found  # used last
        while len(self._others) > _MAX_COMPILERS:
            self._others.pop(next(iter(self._others)))
        return found

    def compile_json_schema(self, schema: Any, *, strict_mode: bool = True, **options: Any) -> CompiledGrammar:
        read = _schema(schema)
        return CompiledGrammar(self, "json_schema", closed(read) if strict_mode else read, _policy(**options))

    def compile_builtin_json_grammar(self) -> CompiledGrammar:
        return CompiledGrammar(self, "json_schema", True, {})

    def compile_regex(self, regex: str) -> CompiledGrammar:
        return CompiledGrammar(self, "regex", regex, {})

    def compile_grammar(self, grammar: str | Grammar, *, root_rule_name: str = "root") -> CompiledGrammar:
        if isinstance(grammar, Grammar):
            return CompiledGrammar(self, "grammar", grammar.grammar, {})
        return CompiledGrammar(self, "grammar", grammar, {"root_rule_name": root_rule_name})

    def compile_lark(self, lark_string: str) -> CompiledGrammar:
        return CompiledGrammar(self, "lark", lark_string, {})

    def compile_structural_tag(self, *arguments: Any, **named: Any) -> CompiledGrammar:
        return CompiledGrammar(self, "structural_tag", _description(arguments, named), {})

    def clear_cache(self) -> None:
        self._engine.clear_cache()
        self._others.clear()

    def get_cache_size_bytes(self) -> int:
        return self._engine.get_cache_size_bytes() + sum(one.get_cache_size_bytes() for one in self._others.values())

    @property
    def cache_limit_bytes(self) -> int:
        return self._engine.cache_limit_bytes


# ------------------------------------------------------------------------------------------------------------- matching


class GrammarMatcher:
    """Follows one text.

    Attributes:
        matcher: Maskwright's.
    """

    def __init__(
        self,
        compiled_grammar: CompiledGrammar,
        *,
        override_stop_tokens: Sequence[int] | int | None = None,
        terminate_without_stop_token: bool = False,
        max_rollback_tokens: int = -1,
    ) -> None:
        stops = None if override_stop_tokens is None else frozenset(_ids(override_stop_tokens))
        self.matcher = matchers.GrammarMatcher(compiled_grammar.with_stops(stops))
        self._alone = terminate_without_stop_token

    def accept_token(self, token_id: int, *, debug_print: bool = False) -> bool:
        """False, with a warning, where the text has ended or there is no such token."""
        try:
            return self.matcher.accept_token(token_id)
        except MaskwrightError as error:
            _LOG.warning("token %s is not accepted: %s", token_id, error)
            return False

    def accept_string(self, input_str: str | bytes, *, debug_print: bool = False) -> bool:
        try:
            return self.matcher.accept_string(input_str)
        except MaskwrightError as error:
            _LOG.warning("the text is not accepted: %s", error)
            return False

    def fill_next_token_bitmask(self, bitmask: Any, index: int = 0, *, debug_print: bool = False) -> bool:
        if self.matcher.is_terminated():
            raise RuntimeError("the matcher has terminated after accepting a stop token: there is no next mask")
        with _as_runtime_errors():
            return self.matcher.fill_next_token_bitmask(bitmask, index)

    def find_jump_forward_string(self) -> str:
        with _as_runtime_errors():
            return self.matcher.find_jump_forward_string()

    def rollback(self, num_tokens: int = 1) -> None:
        with _as_runtime_errors():
            self.matcher.rollback(num_tokens)

    def reset(self) -> None:
        self.matcher.reset()

    def fork(self) -> GrammarMatcher:
        twin = object.__new__(GrammarMatcher)
        twin.matcher, twin._alone = self.matcher.fork(), self._alone
        return twin

    def traverse_draft_tree(self, *arguments: Any, **named: Any) -> bool:
        """Masks of a draft tree, in one call; arguments as maskwright.GrammarMatcher.traverse_draft_tree has them."""
        with _as_runtime_errors():
            return self.matcher.traverse_draft_tree(*arguments, **named)

    def is_terminated(self) -> bool:
        if self._alone and self.matcher.is_completed() and not self.matcher.allowed_bytes():
            return True
        return self.matcher.is_terminated()

    def is_completed(self) -> bool:
        return self.matcher.is_completed()

    @property
    def max_rollback_tokens(self) -> int:
        return -1

    @property
    def stop_token_ids(self) -> list[int]:
        return sorted(self.matcher.compiled.tokenizer_info.eos_token_ids)


class BatchGrammarMatcher:
    """The same for many matchers in one call."""

    def __init__(self, max_threads: Any = "auto") -> None:
        with _as_runtime_errors():
            self._batch = batches.BatchGrammarMatcher(max_threads)

    def batch_fill_next_token_bitmask(
        self,
        matchers: Sequence[GrammarMatcher],
        bitmask: Any,
        indices: Sequence[int] | None = None,
        debug_print: bool = False,
    ) -> None:
        if any(one.matcher.is_terminated() for one in matchers):
            raise RuntimeError("a matcher has terminated after accepting a stop token: there is no next mask")
        with _as_runtime_errors():
            self._batch.batch_fill_next_token_bitmask([one.matcher for one in matchers], bitmask, indices)

    @staticmethod
    def batch_accept_token(
        matchers: Sequence[GrammarMatcher], tokens: Sequence[int], debug_print: bool = False
    ) -> list[bool]:
        return [one.accept_token(token) for one, token in zip(matchers, tokens, strict=True)]

    @staticmethod
    def batch_accept_string(
        matchers: Sequence[GrammarMatcher], strings: Sequence[str | bytes], debug_print: bool = False
    ) -> list[bool]:
        return [one.accept_string(text) for one, text in zip(matchers, strings, strict=True)]

    @staticmethod
    def batch_rollback(matchers: Sequence[GrammarMatcher], num_tokens: int | Sequence[int] = 1) -> None:
        with _as_runtime_errors():
            batches.BatchGrammarMatcher.batch_rollback([one.matcher for one in matchers], num_tokens)


# ---------------------------------------------------------------------------------------------------------------- masks


def get_bitmask_shape(batch_size: int, vocab_size: int) -> tuple[int, int]:
    """Rows and int32 words."""
    return batch_size, bitmasks.bitmask_words(vocab_size)


def allocate_token_bitmask(batch_size: int, vocab_size: int) -> torch.Tensor:
    """A tensor in CPU memory that allows everything."""
    made: torch.Tensor = bitmasks.allocate_token_bitmask(batch_size, vocab_size, backend="torch")
    return made


def reset_token_bitmask(bitmask: torch.Tensor) -> None:
    """Allow everything."""
    bitmask.fill_(-1)


def apply_token_bitmask_inplace(
    logits: torch.Tensor,
    bitmask: torch.Tensor,
    *,
    vocab_size: int | None = None,
    indices: Sequence[int] | None = None,
    backend: str = "auto",
) -> None:
    """Set disallowed logits to -inf. Columns beyond `vocab_size`, or beyond the bitmask's, are left as they are."""
    size = min(logits.shape[-1], 32 * bitmask.shape[-1]) if vocab_size is None else vocab_size
    words = bitmasks.bitmask_words(size)
    bitmasks.apply_token_bitmask_inplace(logits[..., :size], bitmask[..., :words].contiguous(), indices)


class LogitsProcessor(MaskLogitsProcessor):
    """For `model.generate(logits_processor=[...])`; a new one for each generation."""

    def __init__(self, compiled_grammar: CompiledGrammar | list[CompiledGrammar]) -> None:
        given = compiled_grammar if isinstance(compiled_grammar, list) else [compiled_grammar]
        super().__init__([one.compiled for one in given])


contrib: Any = types.ModuleType(f"{__name__}.contrib")
contrib.hf = types.ModuleType(f"{__name__}.contrib.hf")
contrib.hf.LogitsProcessor = LogitsProcessor
