"""What the engine knows of a tokenizer: the bytes that each token id writes, and which ids write none.

    info = TokenizerInfo.from_huggingface(tokenizer)
    info = TokenizerInfo([b"a", b"b", b"</s>"], eos_token_ids=[2])

Readers of the tokenizers' own formats are in compile/huggingface.py and compile/tokenfiles.py; the trie that masks are
computed over is in compile/trie.py.
"""

from __future__ import annotations

import hashlib
import operator
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

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
    tokens: tuple[bytes | None, ...]
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
    ) -> None:
        """A vocabulary from the bytes of its tokens.

        Args:
            tokens: the bytes of each id from 0 on; None where an id is not used.
            eos_token_ids: ids that end a text; they are special.
            special_token_ids: further ids whose text is not in the language.
            vocab_size: the number of logits, where it is larger than len(tokens).

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
        size = len(tokens) if vocab_size is None else operator.index(vocab_size)
        if size < len(tokens):
            raise TokenizerError(
                f"vocab_size={size} is smaller than the {len(tokens)} tokens; leave it out, or cut the list of tokens"
            )
        self.vocab_size = size
        self.tokens = (*tokens, *[None] * (size - len(tokens)))
        self.eos_token_ids = tuple(sorted(self._checked(eos_token_ids, "eos_token_ids")))
        self.special_token_ids = self._checked(special_token_ids, "special_token_ids").union(self.eos_token_ids)
        self.empty_token_ids = tuple(
            token_id for token_id, token in enumerate(tokens) if token == b"" and token_id not in self.special_token_ids
        )
        if not any(token for token_id, token in enumerate(tokens) if token_id not in self.special_token_ids):
            raise TokenizerError("the vocabulary has no token that writes text; pass the bytes of at least one")
        self._lock = threading.Lock()
        self._trie: TokenTrie | None = None

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
    ) -> TokenizerInfo:
        """The vocabulary of a tokenizer of transformers or tokenizers; compile/huggingface.py says how it is read.

        Args:
            tokenizer: byte-level BPE, SentencePiece with byte fallback, Unigram, WordPiece, and what else has a decoder
                made of the steps listed there.
            vocab_size: the model's number of logits, where it is padded beyond the tokenizer's ids.
            eos_token_ids: the ids that end a text, instead of those found: the tokenizer's `eos_token_id`, and special
                tokens that are known to end a message (compile/tokenfiles.py, END_TOKENS).

        Raises:
            TokenizerError: the tokenizer is of another kind, or as for the constructor.
        """
        # Imported here because `tokenizers` takes longer to import than everything above.
        from maskwright.compile.huggingface import read_huggingface

        return cls._from(read_huggingface(tokenizer), vocab_size, eos_token_ids)

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
    def trie(self) -> TokenTrie:
        """The trie of the text tokens, built on first use, once, whichever threads ask."""
        if self._trie is None:
            with self._lock:
                if self._trie is None:
                    self._trie = TokenTrie.from_tokens(self._texts())
        return self._trie

    @cached_property
    def matching_trie(self) -> TokenTrie:
        """The trie of the paths (see `path_of`) that tokens take through an automaton."""
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
        texts = self._texts()
        lengths = np.fromiter((-1 if text is None else len(text) for text in texts), np.int64, self.vocab_size)
        digest = hashlib.sha256(b"maskwright vocabulary 1\0")
        for ids in (lengths, self.eos_token_ids, sorted(self.special_token_ids)):
            numbers = np.asarray(ids, "<i8")
            digest.update(numbers.size.to_bytes(8, "little") + numbers.tobytes())
        digest.update(b"".join(filter(None, texts)))
        return digest.hexdigest()

    @cached_property
    def single_byte_tokens(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """bool [256], read-only: the bytes that some text token writes alone.

        Where all that a grammar needs are among them, the vocabulary can write every sentence of it.
        """
        alone = np.zeros(256, np.bool_)
        alone[[text[0] for text in self._texts() if text is not None and len(text) == 1]] = True
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
