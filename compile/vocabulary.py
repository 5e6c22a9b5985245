"""What the engine knows of a tokenizer: the bytes that each token id writes, and which ids write none.

    info = TokenizerInfo.from_huggingface(tokenizer)
    info = TokenizerInfo([b"a", b"b", b"</s>"], eos_token_ids=[2])

Readers of the tokenizers' own formats are in compile/huggingface.py and compile/tokenfiles.py; the trie that masks are
computed over is in compile/trie.py.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from maskwright.compile.disk_cache import DiskCache
from maskwright.compile.flat_vocabulary import FlatVocabulary
from maskwright.compile.tokenfiles import Vocabulary, read_sentencepiece, read_tekken, read_tiktoken
from maskwright.compile.trie import TokenTrie
from maskwright.grammars.errors import TokenizerError
from maskwright.grammars.rules import SPECIAL_BYTE

if TYPE_CHECKING:
    import tiktoken
    import tokenizers
    import transformers

__all__ = ["TokenizerInfo"]

_TOKEN_TYPES = {bytes, type(None)}
_WORTH_KEEPING = 1 << 13  # tokens; the trie of fewer is made in a millisecond


class TokenizerInfo:
    """A vocabulary: immutable, compared by identity, shared by any number of threads.

    Every id in range(vocab_size) is of one kind:

    - a text token writes its bytes, which need not be whole UTF-8 characters; two ids may write the same;
    - a special token writes nothing in the language; a mask allows it only where it ends the text;
    - an empty token (b"") and padding (None, and ids from len(tokens) on) are never allowed.

    Attributes:
        vocab_size: V, the number of ids, and of logits in a row.
        tokens: the bytes of each id, V of them, None for padding; a special token's are its name, for display.
        eos_token_ids: the special tokens that end a text, ascending. May be empty: then only the caller can stop.
        special_token_ids: all special tokens, the end tokens among them.
        empty_token_ids: ids of empty tokens, ascending.
    """

    vocab_size: int
    eos_token_ids: tuple[int, ...]
    special_token_ids: frozenset[int]
    empty_token_ids: tuple[int, ...]

    def __init__(
        self,
        tokens: Sequence[bytes | None],
        *,
        eos_token_ids: Iterable[int] = (),
        special_token_ids: Iterable[int] = (),
        vocab_size: int | None = None,
        disk_cache: bool = True,
    ) -> None:
        """A vocabulary from the bytes of its tokens.

        Args:
            tokens: the bytes of each id from 0 on; None where an id is not used.
            eos_token_ids: ids that end a text; they are special.
            special_token_ids: further ids whose text is not in the language.
            vocab_size: the number of logits, where it is larger than len(tokens).
            disk_cache: whether what is expensive to find out is kept on disk for the next process (compile/disk_cache.py).

        Raises:
            TokenizerError: an entry is not bytes, an id is out of range, `vocab_size` is too small, or no token is left
                that writes text.
        """
        if not _TOKEN_TYPES.issuperset(map(type, tokens)):
            token_id, wrong = next((i, token) for i, token in enumerate(tokens) if type(token) not in _TOKEN_TYPES)
            raise TokenizerError(
                f"token {token_id} is {type(wrong).__name__} ({wrong!r:.40}) where bytes or None is wanted; "
                + ("encode it" if isinstance(wrong, str) else "convert it with bytes(...)")
            )
        size = self._sized(len(tokens), vocab_size)
        self.tokens = (*tokens, *[None] * (size - len(tokens)))
        self.eos_token_ids = tuple(sorted(self._checked(eos_token_ids, "eos_token_ids")))
        self.special_token_ids = self._checked(special_token_ids, "special_token_ids").union(self.eos_token_ids)
        self._finish(FlatVocabulary.of(tokens, self.special_token_ids, self.eos_token_ids), disk_cache)

    @classmethod
    def _of_flat(
        cls, flat: FlatVocabulary, vocab_size: int | None, eos_token_ids: Iterable[int] | None, disk_cache: bool
    ) -> TokenizerInfo:
        """A vocabulary whose tokens are made into bytes objects when they are asked for."""
        info = object.__new__(cls)
        info._sized(len(flat), vocab_size)
        ends = flat.eos.tolist() if eos_token_ids is None else eos_token_ids
        info.eos_token_ids = tuple(sorted(info._checked(ends, "eos_token_ids")))
        info.special_token_ids = frozenset(flat.special.tolist()).union(info.eos_token_ids)
        special, eos = np.array(sorted(info.special_token_ids), np.int64), np.array(info.eos_token_ids, np.int64)
        info._finish(replace(flat, special=special, eos=eos), disk_cache)
        return info

    def _sized(self, count: int, vocab_size: int | None) -> int:
        """Sets the number of ids, for so many tokens."""
        size = count if vocab_size is None else operator.index(vocab_size)
        if size < count:
            raise TokenizerError(
                f"vocab_size={size} is smaller than the {count} tokens; leave it out, or cut the list of tokens"
            )
        self.vocab_size = size
        return size

    def _finish(self, flat: FlatVocabulary, disk_cache: bool) -> None:
        """What follows from the arrays, whose special ids are the vocabulary's."""
        lengths = flat.written()
        self.empty_token_ids = tuple(np.flatnonzero(lengths == 0).tolist())
        if not (lengths > 0).any():
            raise TokenizerError("the vocabulary has no token that writes text; pass the bytes of at least one")
        self._flat = flat
        self._disk = DiskCache.default() if disk_cache and len(flat) >= _WORTH_KEEPING else DiskCache(None)
        self._lock = threading.Lock()
        self._trie: TokenTrie | None = None

    @cached_property
    def tokens(self) -> tuple[bytes | None, ...]:
        """The bytes of each id; see the class."""
        return (*self._flat.tokens(), *[None] * (self.vocab_size - len(self._flat)))

    def _checked(self, token_ids: Iterable[int], name: str) -> frozenset[int]:
        found = frozenset(map(operator.index, token_ids))
        for token_id in found:
            if not 0 <= token_id < self.vocab_size:
                raise TokenizerError(
                    f"{name} has {token_id}, outside the vocabulary's ids 0 to {self.vocab_size - 1}; "
                    "correct it, or raise vocab_size to the model's number of logits"
                )
        return found

    # ------------------------------------------------------------ from other libraries

    @classmethod
    def from_huggingface(
        cls,
        tokenizer: tokenizers.Tokenizer | transformers.PreTrainedTokenizerBase,
        vocab_size: int | None = None,
        *,
        eos_token_ids: Iterable[int] | None = None,
        disk_cache: bool = True,
    ) -> TokenizerInfo:
        """The vocabulary of a tokenizer of transformers or tokenizers; compile/huggingface.py says how it is read.

        Args:
            tokenizer: byte-level BPE, SentencePiece with byte fallback, Unigram, WordPiece, and what else has a decoder
                made of the steps listed there.
            vocab_size: the model's number of logits, where it is padded beyond the tokenizer's ids.
            eos_token_ids: the ids that end a text, instead of those found: the tokenizer's `eos_token_id`, and special
                tokens that are known to end a message (compile/tokenfiles.py, END_TOKENS).
            disk_cache: whether what is found is kept on disk for the next process (compile/disk_cache.py).

        Raises:
            TokenizerError: the tokenizer is of another kind, or as for the constructor.
        """
        # Imported here because `tokenizers` takes longer to import than everything above.
        from maskwright.compile.huggingface import recognise

        disk, found = DiskCache.default() if disk_cache else DiskCache(None), recognise(tokenizer)
        if found.key is None:
            return cls._from(found.read(), vocab_size, eos_token_ids)
        flat = FlatVocabulary.load(disk, found.key)
        if flat is None:
            flat = FlatVocabulary.of_vocabulary(found.read())
            if len(flat) >= _WORTH_KEEPING:
                flat.store(disk, found.key)
        return cls._of_flat(flat, vocab_size, eos_token_ids, disk_cache)

    @classmethod
    def from_tekken(
        cls,
        source: str | os.PathLike[str] | Any,
        vocab_size: int | None = None,
        *,
        eos_token_ids: Iterable[int] | None = None,
    ) -> TokenizerInfo:
        """The vocabulary of a tekken.json, by its path or as a `Tekkenizer` of mistral-common.

        `vocab_size` and `eos_token_ids` as for `from_huggingface`.

        Raises:
            TokenizerError: the file cannot be read or is of another kind, or as for the constructor.
        """
        return cls._from(read_tekken(source), vocab_size, eos_token_ids)

    @classmethod
    def from_tiktoken(
        cls, encoding: tiktoken.Encoding, vocab_size: int | None = None, *, eos_token_ids: Iterable[int] | None = None
    ) -> TokenizerInfo:
        """The vocabulary of a `tiktoken.Encoding`.

        `vocab_size` and `eos_token_ids` as for `from_huggingface`.

        Raises:
            TokenizerError: `encoding` is of another kind, or as for the constructor.
        """
        return cls._from(read_tiktoken(encoding), vocab_size, eos_token_ids)

    @classmethod
    def from_sentencepiece(
        cls,
        source: str | os.PathLike[str] | bytes,
        vocab_size: int | None = None,
        *,
        eos_token_ids: Iterable[int] | None = None,
    ) -> TokenizerInfo:
        """The vocabulary of a SentencePiece model, by the path of its .model file or by that file's bytes.

        `vocab_size` and `eos_token_ids` as for `from_huggingface`.

        Raises:
            TokenizerError: the file cannot be read or is of another kind, or as for the constructor.
        """
        return cls._from(read_sentencepiece(source), vocab_size, eos_token_ids)

    @classmethod
    def _from(cls, found: Vocabulary, vocab_size: int | None, eos_token_ids: Iterable[int] | None) -> TokenizerInfo:
        return cls(
            found.tokens,
            eos_token_ids=found.eos_token_ids if eos_token_ids is None else eos_token_ids,
            special_token_ids=found.special_token_ids,
            vocab_size=vocab_size,
        )

    # ------------------------------------------------------------ what it says

    @property
    def disk(self) -> DiskCache:
        """Where what is found out about it is kept for other processes."""
        return self._disk

    @property
    def trie(self) -> TokenTrie:
        """The trie of the text tokens, built on first use, once, whichever threads ask."""
        if self._trie is None:
            with self._lock:
                if self._trie is None:
                    self._trie = TokenTrie.from_tokens(self._texts())
        return self._trie

    @cached_property
    def matching_trie(self) -> TokenTrie:
        """The trie of the paths (see `path_of`) that tokens take through an automaton; kept on disk."""
        stored = self._disk.load("trie", self.fingerprint)
        if stored is not None:
            return TokenTrie.from_arrays(stored.arrays)
        trie = self._matching_trie()
        self._disk.store("trie", self.fingerprint, trie.arrays, {})
        return trie

    def _matching_trie(self) -> TokenTrie:
        texts = self._texts()
        ends = set(self.eos_token_ids)
        special = [token_id for token_id in self.special_token_ids if token_id not in ends]
        if not special:
            return self.trie
        for token_id, text in enumerate(texts):
            if text is not None and SPECIAL_BYTE in text:
                texts[token_id] = None
        for token_id in special:
            texts[token_id] = self.path_of(token_id)
        return TokenTrie.from_tokens(texts)

    def path_of(self, token_id: int) -> bytes:
        """The bytes by which a token moves an automaton.

        A text token's are its text. A special token's are a byte that no text in UTF-8 has, and the token's id in
        base 64. (Text tokens that contain that byte write no text, and are not in the trie that has special tokens.)
        """
        if token_id in self.special_token_ids:
            return bytes((SPECIAL_BYTE, *(0x80 | token_id >> shift & 0x3F for shift in (18, 12, 6, 0))))
        return self.tokens[token_id] or b""

    def special_token(self, name: str | int) -> int:
        """The id of a special token, given by its name or id.

        Raises:
            TokenizerError: there is none.
        """
        token_id = name if isinstance(name, int) else self.special_names.get(name)
        if token_id is None or token_id not in self.special_token_ids:
            near = get_close_matches(str(name), self.special_names, 3)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise TokenizerError(f"the vocabulary has no special token {name!r}{hint}")
        return token_id

    @cached_property
    def special_names(self) -> Mapping[str, int]:
        """The special tokens by their names; of several with one name, that of the lowest id."""
        return {
            (self.tokens[token_id] or b"").decode("utf-8", "replace"): token_id
            for token_id in sorted(self.special_token_ids, reverse=True)
        }

    def text_of(self, token: int | str) -> str | None:
        """The text that a token writes, given by its id or its text; None for a special token.

        Raises:
            TokenizerError: there is no such token, or it writes no whole characters.
        """
        if token in (self.special_token_ids if isinstance(token, int) else self.special_names):
            return None
        written = token.encode() if isinstance(token, str) else None
        if isinstance(token, int) and 0 <= token < self.vocab_size:
            written = self.tokens[token]
        if not written or isinstance(token, str) and written not in self.tokens:
            raise TokenizerError(f"the vocabulary has no token {token!r}")
        try:
            return written.decode()
        except UnicodeDecodeError as error:
            raise TokenizerError(f"token {token!r} writes no whole characters, so a text cannot hold it") from error

    def _texts(self) -> list[bytes | None]:
        """The bytes of each id, None for special tokens too."""
        texts = list(self.tokens)
        for token_id in self.special_token_ids:
            texts[token_id] = None
        return texts

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of all that masks depend on: the bytes of every id, which are special, which end."""
        return self._flat.fingerprint(self.vocab_size)

    @cached_property
    def single_byte_tokens(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """bool [256], read-only: the bytes that some text token writes alone.

        Where all that a grammar needs are among them, the vocabulary can write every sentence of it.
        """
        alone = np.zeros(256, np.bool_)
        alone[self._flat.data[self._flat.offset[np.flatnonzero(self._flat.written() == 1)]]] = True
        alone.setflags(write=False)
        return alone

    def decode(self, token_ids: Iterable[int]) -> bytes:
        """The text that the tokens write, special tokens left out; it may end inside a UTF-8 character.

        Raises:
            TokenizerError: an id is out of range, or is padding.
        """
        written = []
        for token_id in token_ids:
            if not 0 <= token_id < self.vocab_size:
                raise TokenizerError(f"token id {token_id} is outside the vocabulary's ids 0 to {self.vocab_size - 1}")
            if token_id in self.special_token_ids:
                continue
            token = self.tokens[token_id]
            if token is None:
                raise TokenizerError(f"token id {token_id} is padding: it has no text")
            written.append(token)
        return b"".join(written)

    def __repr__(self) -> str:
        ends, special = list(self.eos_token_ids), len(self.special_token_ids)
        return f"TokenizerInfo(vocab_size={self.vocab_size}, eos_token_ids={ends}, {special} special)"
