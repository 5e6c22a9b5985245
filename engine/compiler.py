"""GrammarCompiler: from schemas, patterns and choices to compiled grammars over one vocabulary, with a cache."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from maskwright.compile.array_file import package_version
from maskwright.compile.automaton import Automaton
from maskwright.compile.grammar import SOURCE_BYTES, CompiledGrammar, Limits
from maskwright.compile.literals import CHUNKS, Chunks, Literals
from maskwright.compile.mask_table import MaskTable
from maskwright.compile.row_file import MAX_ROW_BYTES, RowFile
from maskwright.compile.saved_grammars import GrammarSource, read_grammar, write_grammar
from maskwright.compile.token_tables import TokenTables
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammar_cache import CacheInfo, GrammarCache
from maskwright.grammars import regex
from maskwright.grammars.errors import InvalidError, SavedGrammarError, TokenizerError
from maskwright.grammars.function_signatures import is_function
from maskwright.grammars.grammar import Grammar
from maskwright.grammars.json_schema import load_schema, schema_text
from maskwright.grammars.options import SchemaOptions
from maskwright.grammars.python_types import schema_from
from maskwright.grammars.rules import Rules
from maskwright.grammars.stopwatch import MAX_COMPILE_MS, Stopwatch
from maskwright.grammars.structural_tags import structural_tag
from maskwright.grammars.tool_calls import Reasoning, describe_tools
from maskwright.rehearsal import rehearse
from maskwright.runtime.exploration import Exploration

__all__ = ["KINDS", "GrammarCompiler"]

KINDS = (
    "json_schema", "regex", "choices", "substring", "function", "builtin_json", "grammar", "lark", "structural_tag", "tools",
)  # fmt: skip

_MAX_STATES = 1 << 24  # of one automaton, which many grammars share
_EAGER_MS = 1000.0
_OFFERED_SHARE = 32  # rows of loaded grammars, not asked for yet, take a 32nd of the bound at most
_SUBSCHEMA_BYTES = 2 << 10  # of Python objects, beside SOURCE_BYTES; measured likewise


class GrammarCompiler:
    """Compiles grammars over one vocabulary; any thread may use it.

    Args:
        tokenizer_info: the vocabulary.
        cache_enabled: whether equal grammars are compiled once.
        max_cache_bytes: memory for compiled grammars, their automata and mask rows, and spare arenas of their matchers:
            what was used longest ago is dropped first (maskwright.grammar_cache).
        max_states, max_table_bytes, max_lowering_ms, max_compile_ms: what one grammar may use
            (maskwright.compile.grammar.Limits).
        ahead_ms: milliseconds of processor time that compile_grammar and compile_lark spend at most on states, and then on
            mask rows, that nobody has asked for yet; what they do not get to is done on demand, as it is for schemas.
        eager: whether to return compiled grammars warm, as far as a second and 16 MiB go (CompiledGrammar.warm).
        workers: threads that `submit` compiles in.
        mask_table: where masks have numbers (`GrammarMatcher.mask_row`); compilers over vocabularies of one size may share
            one. None: a table of its own.

    Attributes:
        mask_table: that table.
    """

    def __init__(
        self,
        tokenizer_info: TokenizerInfo,
        cache_enabled: bool = True,
        *,
        max_cache_bytes: int = 256 << 20,
        max_states: int = Limits().max_states,
        max_table_bytes: int = Limits().max_table_bytes,
        max_lowering_ms: float = Limits().max_lowering_ms,
        max_compile_ms: float = Limits().max_compile_ms,
        ahead_ms: float = 100.0,
        eager: bool = False,
        workers: int = 2,
        mask_table: MaskTable | None = None,
    ) -> None:
        if not isinstance(tokenizer_info, TokenizerInfo):
            raise TokenizerError(
                f"GrammarCompiler takes a TokenizerInfo, not {type(tokenizer_info).__name__}; "
                "TokenizerInfo.from_huggingface(tokenizer) makes one"
            )
        self.tokenizer_info, self.cache_enabled = tokenizer_info, cache_enabled
        self.limits, self.ahead_ms = Limits(max_states, max_table_bytes, max_lowering_ms, max_compile_ms), ahead_ms
        tokens = TokenTables(tokenizer_info)
        masks = self.mask_table = MaskTable(tokenizer_info.vocab_size) if mask_table is None else mask_table
        if masks.words != tokens.words:
            raise InvalidError(
                f"the mask table has rows of {masks.words} words, and this vocabulary's have {tokens.words}"
            )
        offered = min(MAX_ROW_BYTES, max_cache_bytes // _OFFERED_SHARE)
        row_file = RowFile(tokenizer_info.disk, tokenizer_info.fingerprint, offered)
        weakref.finalize(self, row_file.flush)  # at the end of the process, too
        self._cache = GrammarCache(max_cache_bytes, lambda rows: Automaton(tokens, rows, _MAX_STATES, masks), row_file)
        self.eager, self._workers = eager, workers
        self._pool: ThreadPoolExecutor | None = None
        self._pool_lock, self._closed = threading.Lock(), False
        rehearse()

    def submit(self, kind: str, *arguments: Any, **options: Any) -> Future[CompiledGrammar]:
        """Compile in a thread of the compiler's own: `submit("json_schema", schema)` is `compile_json_schema(schema)`.

        Args:
            kind: the end of the method's name: "json_schema", "regex", "choices", "substring", "function", "builtin_json",
                "grammar", "lark", "structural_tag" or "tools".
            arguments, options: the method's own.

        Raises:
            InvalidError: there is no such kind.
            RuntimeError: the compiler was closed.
        """
        if kind not in KINDS:
            raise InvalidError(f"kind={kind!r} is none of {', '.join(KINDS)}")
        with self._pool_lock:
            if self._closed:
                raise RuntimeError("the compiler was closed: submit() takes nothing more")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._workers, "maskwright-compile")
            return self._pool.submit(getattr(self, f"compile_{kind}"), *arguments, **options)

    def close(self) -> None:
        """End the threads of `submit`: what has not begun is cancelled, what has is waited for. `compile_...` go on working.

        Mask rows that many grammars have in common are written to disk now, which otherwise happens when the compiler goes.
        """
        with self._pool_lock:
            self._closed, pool = True, self._pool
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        self._cache.row_file.flush()

    def __enter__(self) -> GrammarCompiler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def cache_limit_bytes(self) -> int:
        """The bound on `get_cache_size_bytes()`: `max_cache_bytes`."""
        return self._cache.max_bytes

    def get_cache_size_bytes(self) -> int:
        """Bytes that the cache keeps; of Python objects an estimate."""
        return self._cache.info().nbytes.total

    def cache_info(self) -> CacheInfo:
        """Hits, misses, evictions, and the bytes kept, by kind (maskwright.grammar_cache.CacheInfo)."""
        return self._cache.info()

    def clear_cache(self) -> None:
        """Forget all grammars and rows. Grammars that are still in use stay valid, and keep their memory until they go."""
        self._cache.clear()

    def save(self, compiled: CompiledGrammar, path: str | os.PathLike[str]) -> None:
        """Write a compiled grammar into a file, for `load` in any process (docs/caches.md).

        The file has what the grammar was made of, and of its mask rows those that its content names. A file that is there is
        replaced at once. A Python type or function is saved as the JSON Schema that it became.

        Raises:
            SavedGrammarError: the grammar is of another vocabulary, or it was made of what JSON cannot say (`registry=`).
            OSError: the file cannot be written.
        """
        if compiled.tokenizer_info.fingerprint != self.tokenizer_info.fingerprint:
            raise SavedGrammarError("the grammar is of another tokenizer: save it with the compiler that made it")
        write_grammar(compiled, Path(path))

    def load(self, path: str | os.PathLike[str]) -> CompiledGrammar:
        """The grammar that a file of `save` describes, compiled, or found in the cache; its mask rows need no computing.

        Written by another version or installation of the package, it is compiled all the same, without the rows.

        Raises:
            SavedGrammarError: the file is damaged, of another tokenizer, or of a version that says more than this one reads.
            OSError: the file cannot be read.
            MaskwrightError: as the method that compiled it.
        """
        saved = read_grammar(Path(path), self.tokenizer_info.fingerprint)
        self._cache.row_file.offer(saved.rows)
        made_of = saved.source
        try:
            compiled: CompiledGrammar = getattr(self, f"compile_{made_of.kind}")(made_of.source, **made_of.options)
        except TypeError as error:
            if saved.version == package_version():
                raise
            raise SavedGrammarError(
                f"{path} was saved by Maskwright {saved.version} with options that {package_version()} does not have "
                f"({error}). "
                "Use that version, or save the grammar again with this one"
            ) from error
        return compiled

    def compile_json_schema(self, schema: Any, **options: Any) -> CompiledGrammar:
        """The JSON texts that satisfy a schema.

        Args:
            schema: a JSON Schema as a dict, a bool or its JSON text; or a pydantic model, dataclass, TypedDict, Enum or
                other type that pydantic can describe; or a function, whose arguments it then is.
            options: the text policy; the table is in maskwright.grammars.options.

        Raises:
            GrammarError: InvalidError, UnsupportedError, UnsatisfiableError or LimitExceeded, with the JSON Pointer.
        """
        policy = SchemaOptions(**options)
        contents, python_type = schema_from(schema, narrow=True)
        text = self._json_text(contents) if self.cache_enabled else None
        key = None if text is None else (text, python_type, policy)
        if key is not None and (found := self._cache.get(key)) is not None:
            return found
        with self._stopwatch():
            loaded = load_schema(contents, policy)
            compiled = CompiledGrammar.of_schema(
                self._cache.room(),
                policy,
                loaded,
                self.limits,
                python_type,
                SOURCE_BYTES + _SUBSCHEMA_BYTES * loaded.subschema_count,
            )
        return self._keep(key, compiled, GrammarSource("json_schema", loaded.contents, options))

    @staticmethod
    def _json_text(contents: Any) -> str | None:
        """What tells schemas apart; the order of properties is part of a schema. None: not to be cached."""
        try:
            return schema_text(contents)
        except (TypeError, ValueError, RecursionError):
            return None  # load_schema says what is wrong with it; a registry need not be hashable

    def compile_regex(self, pattern: str) -> CompiledGrammar:
        """The texts that a regular expression matches from beginning to end."""
        if not isinstance(pattern, str):
            raise InvalidError(f"a pattern is a string, not {type(pattern).__name__}")
        key = ("regex", pattern) if self.cache_enabled else None
        if key is not None and (found := self._cache.get(key)) is not None:
            return found
        with self._stopwatch():
            compiled = CompiledGrammar.of_text(self._cache.room(), regex.parse(pattern), self.limits)
        return self._keep(key, compiled, GrammarSource("regex", pattern, {}))

    def compile_choices(self, choices: Sequence[str]) -> CompiledGrammar:
        """Exactly one of some strings."""
        if isinstance(choices, str) or not all(isinstance(choice, str) for choice in choices):
            raise InvalidError("choices are a sequence of strings")
        if not choices:
            raise InvalidError("choices are empty: give at least one string")
        choices = tuple(choices)
        key = ("choices", choices) if self.cache_enabled else None
        if key is not None and (found := self._cache.get(key)) is not None:
            return found
        compiled = CompiledGrammar.of_literals(self._cache.room(), Literals.of_words(choices), self.limits)
        compiled.source = GrammarSource("choices", choices, {})
        return self._cache.put(key, compiled)

    def compile_substring(self, text: str, *, chunks: Chunks = "characters", min_length: int = 0) -> CompiledGrammar:
        """Any span of a text: what can be quoted from it.

        Args:
            text: the whole text.
            chunks: where a span may begin and end: "characters" anywhere, "words" not inside a word (a run of letters,
                digits and underscores), "lines" at line breaks.
            min_length: characters that a span has at least; with 0 the empty text is one.

        Raises:
            InvalidError: an argument is of the wrong kind.
            UnsatisfiableError: no span is long enough.
            LimitExceeded: the text has more than 64 MiB.
        """
        if not isinstance(text, str):
            raise InvalidError(f"a text is a string, not {type(text).__name__}")
        if chunks not in CHUNKS:
            raise InvalidError(f"chunks={chunks!r} is none of {', '.join(CHUNKS)}")
        if not isinstance(min_length, int) or min_length < 0:
            raise InvalidError(f"min_length={min_length!r} is no whole number from 0 on")
        key = ("substring", text, chunks, min_length) if self.cache_enabled else None
        if key is not None and (found := self._cache.get(key)) is not None:
            return found
        spans = Literals.of_spans(text, chunks, min_length)
        compiled = CompiledGrammar.of_literals(self._cache.room(), spans, self.limits)
        return self._keep(key, compiled, GrammarSource("substring", text, {"chunks": chunks, "min_length": min_length}))

    def compile_function(self, function: Any, **options: Any) -> CompiledGrammar:
        """The object of a function's arguments, as its annotations say; `options` are the text policy.

        Raises:
            InvalidError: it is no function, or a parameter has no annotation.
            UnsupportedError: a parameter cannot be given by name.
        """
        if not is_function(function):
            raise InvalidError(f"{function!r} is no function", hint="give compile_json_schema a schema or a type")
        return self.compile_json_schema(function, **options)

    def compile_builtin_json(self, **options: Any) -> CompiledGrammar:
        """Any JSON value, of any depth; `options` are the text policy, as for `compile_json_schema`."""
        return self.compile_json_schema(True, **options)

    def compile_grammar(self, grammar: str | Grammar, root_rule_name: str = "root") -> CompiledGrammar:
        """The texts that a context-free grammar derives.

        Args:
            grammar: a Grammar, or its text in EBNF (llama.cpp's GBNF or XGrammar's notation; docs/grammars.md).
            root_rule_name: the rule that texts are derived from, where `grammar` is a text.

        Raises:
            GrammarError: as Grammar.from_ebnf; UnsatisfiableError when no text can be derived; LimitExceeded.
            TokenizerError: the vocabulary cannot write what the grammar requires, or lacks a special token of it.
        """
        if not isinstance(grammar, str | Grammar):
            raise InvalidError(f"a grammar is a Grammar or its text in EBNF, not {type(grammar).__name__}")
        key: Hashable = ("grammar", grammar, root_rule_name) if self.cache_enabled else None
        if key is not None and (found := self._cache.get(key)) is not None:
            return found
        options = {"root_rule_name": root_rule_name} if isinstance(grammar, str) else {}
        with self._stopwatch():
            rules = (Grammar.from_ebnf(grammar, root_rule_name) if isinstance(grammar, str) else grammar).rules
            compiled = self._of_rules(rules)
        return self._keep(key, compiled, GrammarSource("grammar", grammar, options))

    def compile_lark(self, text: str, start: str = "start", lexer: str = "dynamic_complete") -> CompiledGrammar:
        """The texts of a grammar in lark's notation.

        Args:
            text: the grammar; docs/grammars.md says what is taken.
            start: the rule that texts are derived from.
            lexer: "dynamic_complete": the context-free language of the rules and terminals; "contextual": the texts that
                lark's LALR(1) parser accepts, cut into terminals by its contextual lexer.

        Raises:
            GrammarError: as Grammar.from_lark; UnsatisfiableError when no text can be derived; LimitExceeded.
        """
        key: Hashable = ("lark", text, start, lexer) if self.cache_enabled else None
        if key is not None and (found := self._cache.get(key)) is not None:
            return found
        with self._stopwatch():
            compiled = self._of_rules(Grammar.from_lark(text, start, lexer).rules)
        return self._keep(key, compiled, GrammarSource("lark", text, {"start": start, "lexer": lexer}))

    def compile_structural_tag(self, description: Any, **options: Any) -> CompiledGrammar:
        """Free text with regions that have a grammar of their own: tool calls, reasoning, answers (docs/tools.md).

        Args:
            description: a dict or its JSON text, as OpenAI's or XGrammar's structural tags.
            options: the text policy of the schemas inside; the table is in maskwright.grammars.options.

        Raises:
            GrammarError: InvalidError, UnsupportedError or LimitExceeded, with the JSON Pointer.
            TokenizerError: the vocabulary lacks a token that is named.
        """
        policy = SchemaOptions(**options)
        # As a text: later changes of a dict have no effect.
        text = description if isinstance(description, str) else self._json_text(description)
        key = ("structural tag", text, policy) if self.cache_enabled and text is not None else None
        if key is not None and (found := self._cache.get(key)) is not None:
            return found
        with self._stopwatch():
            rules = structural_tag(description, policy, self.tokenizer_info)
            compiled = CompiledGrammar.of_rules(self._cache.room(), rules, self.limits)
        return self._keep(key, compiled, None if text is None else GrammarSource("structural_tag", text, options))

    def compile_tools(
        self,
        tools: Sequence[Mapping[str, Any]],
        format: str,
        *,
        tool_choice: str | Mapping[str, Any] = "auto",
        parallel: bool | None = None,
        reasoning: Reasoning = "none",
        **options: Any,
    ) -> CompiledGrammar:
        """An answer that may call tools, written as a family of models does it (docs/tools.md).

        Args:
            tools: definitions as OpenAI's chat completions take them.
            format: "llama-3", "qwen", "qwen-coder", "hermes", "mistral", "mistral-v13", "deepseek-v3", "deepseek-v3.1" or
                "harmony".
            tool_choice, parallel, reasoning: see maskwright.grammars.tool_calls.describe_tools.
            options: the text policy of the arguments; the table is in maskwright.grammars.options.

        Raises:
            GrammarError: InvalidError, UnsupportedError or LimitExceeded.
        """
        described = describe_tools(tools, format, tool_choice=tool_choice, parallel=parallel, reasoning=reasoning)
        return self.compile_structural_tag(described, **options)

    def _stopwatch(self) -> Stopwatch:
        return Stopwatch(MAX_COMPILE_MS, self.limits.max_compile_ms)

    def _of_rules(self, rules: Rules) -> CompiledGrammar:
        compiled = CompiledGrammar.of_rules(self._cache.room(), rules, self.limits)
        compiled.lower_ahead(self.ahead_ms)
        return compiled

    def _keep(self, key: Hashable | None, compiled: CompiledGrammar, source: GrammarSource | None) -> CompiledGrammar:
        compiled.source = source
        compiled.explore = Exploration
        if self.eager:
            compiled.warm(budget_ms=_EAGER_MS)
        return self._cache.put(key, compiled)
