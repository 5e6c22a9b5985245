"""Vocabularies of Hugging Face tokenizers: which bytes does each token id write?

A tokenizer says so itself: the `decoder` of its tokenizer.json is a short program that turns tokens into text. It is
followed here step by step over the whole vocabulary, so that a token's bytes are what `tokenizer.decode` writes for it
in the middle of a text. Nothing is guessed from a model's name.

| step of the decoder       | what it does to a token                                   | found in               |
|---------------------------|-----------------------------------------------------------|------------------------|
| ByteLevel                 | GPT-2's alphabet of 256 characters stands for the bytes   | GPT, Llama 3, Qwen     |
| Replace "▁" → " "         | as it says                                                | Llama 2, Mistral, Gemma|
| ByteFallback              | `<0x0A>` is that byte                                     | Llama 2, Mistral, Gemma|
| Metaspace                 | "▁" is a space                                            | T5, XLM-R              |
| WordPiece                 | "##x" is "x", any other token is " x"; see below          | BERT                   |
| BPEDecoder "</w>"         | "x</w>" is "x "                                           | GPT-1, XLM             |
| Strip, before a Fuse      | drops characters at the token's ends                      |                        |
| Fuse, then Strip          | acts on the ends of the text: nothing in its middle       | Llama 2                |
| no decoder at all         | " x": tokens are joined by spaces                         | word-level models      |

Where `decode` treats the first token of a text in its own way (it drops one leading space) the language does not:
"▁foo" is " foo" everywhere. WordPiece's clean-up ("do not" to "don't", no space before a full stop) works token by
token and is followed; `clean_up_tokenization_spaces`, which rewrites whole texts, is not.

Added tokens that are not special are text like any other, as the decoder writes them. Special tokens have no text in
the language. They are: added tokens marked special, what transformers lists in `all_special_ids`, the unknown token.
"""

from __future__ import annotations

import hashlib
import json
import marshal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
from tokenizers import Tokenizer

from maskwright.compile.tokenfiles import Vocabulary, byte_piece, end_tokens_among, read_sentencepiece, read_tekken
from maskwright.grammars.errors import TokenizerError

__all__ = ["Recognised", "recognise", "write_byte_level"]

_BLOCK = 2048  # texts of tokens
_BY_HAND = "pass the bytes of each token to TokenizerInfo yourself"


@dataclass(frozen=True, slots=True)
class Recognised:
    """A tokenizer that can be read: `key` tells it from all others (None where that is not known before); `read` reads it."""

    key: str | None
    read: Callable[[], Vocabulary]


def recognise(tokenizer: Any) -> Recognised:
    """How to read a transformers tokenizer (fast, slow or mistral-common's) or a `tokenizers.Tokenizer`.

    Raises:
        TokenizerError: it is none of them, or its decoder does something to tokens that is not known here.
    """
    if isinstance(tokenizer, Tokenizer):
        return _recognise_fast(tokenizer, {}, None)
    if not hasattr(tokenizer, "all_special_ids"):
        raise TokenizerError(
            f"{type(tokenizer).__name__} is no tokenizer of transformers or tokenizers; "
            "pass one of theirs (of a processor: its .tokenizer), or use another TokenizerInfo.from_... method"
        )
    special = dict(zip(tokenizer.all_special_ids, map(str, tokenizer.all_special_tokens), strict=True))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if isinstance(backend, Tokenizer):
        return _recognise_fast(backend, special, tokenizer.eos_token_id)
    if hasattr(tokenizer, "tokenizer") and hasattr(tokenizer.tokenizer, "instruct_tokenizer"):
        inner = tokenizer.tokenizer.instruct_tokenizer.tokenizer
        return Recognised(None, lambda: _ending(_read_mistral_common(inner), tokenizer.eos_token_id))
    return Recognised(None, lambda: _ending(_read_slow(tokenizer, special), tokenizer.eos_token_id))


def _ending(found: Vocabulary, eos_token_id: int | None) -> Vocabulary:
    """A vocabulary in which that token ends a text, too."""
    if eos_token_id is not None:
        found.eos_token_ids.add(eos_token_id)
    return found


def _recognise_fast(tokenizer: Tokenizer, special: dict[int, str], eos_token_id: int | None) -> Recognised:
    """`special` ({id: text}) are tokens that are special though the tokenizer itself may not know it."""
    added = tokenizer.get_added_tokens_decoder()
    special = special | {token_id: token.content for token_id, token in added.items() if token.special}
    unknown = _unknown_token(tokenizer)
    size = max(tokenizer.get_vocab_size(with_added_tokens=True), max(added, default=-1) + 1)
    program, suffix = _decoder_program(tokenizer), getattr(tokenizer.model, "end_of_word_suffix", None)
    writer = _decoder_writer(program, suffix)

    def texts() -> list[str | None]:
        # In the order of ids: a dictionary's order scatters the strings in memory, and costs twice as much afterwards.
        found: list[str | None] = list(map(tokenizer.id_to_token, range(size)))
        if None in found:  # unused ids, so that the highest may be beyond the number of tokens
            found = _by_id(
                tokenizer.get_vocab(with_added_tokens=True), {i: token.content for i, token in added.items()}
            )
        return found

    def read() -> Vocabulary:
        found = texts()
        unknowns = {token_id: text for token_id, text in enumerate(found) if text is not None and text == unknown}
        return _ending(_written(found, special | unknowns, writer), eos_token_id)

    settings = json.dumps([program, suffix, unknown, eos_token_id, sorted(special.items())]).encode()
    key = _digest(settings, map(tokenizer.id_to_token, range(size)))
    if key is None:  # marshal's version 0 writes each text with its length, and equal lists alike
        key = hashlib.sha256(b"tokenizers 1\0" + settings + b"\0" + marshal.dumps(texts(), 0)).hexdigest()
    return Recognised(key, read)


def _digest(settings: bytes, texts: Iterator[str | None]) -> str | None:
    """SHA-256 of settings and texts; None where one of these is None or contains the character that separates them.

    To ask for 128,256 texts is most of what a known tokenizer costs. Some thousands at a time stay in the processor's caches.
    """
    digest = hashlib.sha256(b"tokenizers 2\0" + settings)
    while block := list(islice(texts, _BLOCK)):
        if None in block:
            return None
        joined = "\0".join(cast("list[str]", block))
        if joined.count("\0") != len(block) - 1:
            return None
        digest.update(b"\0" + joined.encode())
    return digest.hexdigest()


def _read_slow(tokenizer: Any, special: dict[int, str]) -> Vocabulary:
    """A tokenizer written in Python has no decoder to follow; three kinds of them are told apart by what they carry."""
    added = {token_id: token.content for token_id, token in tokenizer.added_tokens_decoder.items()}
    special = special | {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    vocabulary = tokenizer.get_vocab()
    if hasattr(tokenizer, "sp_model"):
        found = read_sentencepiece(tokenizer.sp_model.serialized_model_proto())
        # transformers may number the model's pieces in its own way, so they are looked up by their text.
        ids = {tokenizer.sp_model.id_to_piece(piece_id): piece_id for piece_id in range(len(found.tokens))}
        special |= {i: text for text, i in vocabulary.items() if ids.get(text) in found.special_token_ids}
        by_piece = {text: found.tokens[piece_id] for text, piece_id in ids.items()}
        return _written(
            _by_id(vocabulary, added), special, lambda texts: [by_piece.get(text) or text.encode() for text in texts]
        )
    if hasattr(tokenizer, "byte_decoder"):
        return _written(_by_id(vocabulary, added), special, write_byte_level)
    plain = {text for text, token_id in vocabulary.items() if token_id not in added}
    if plain == {chr(byte) for byte in range(256)} and tokenizer.convert_tokens_to_string(["Ã", "©"]) == "é":
        return _written(_by_id(vocabulary, added), special, lambda texts: [_write_latin1(text) for text in texts])
    raise TokenizerError(
        f"{type(tokenizer).__name__} is written in Python and does not say which bytes its tokens stand for; "
        f"use its fast version (a tokenizer.json), or {_BY_HAND}"
    )


def _read_mistral_common(tokenizer: Any) -> Vocabulary:
    if hasattr(tokenizer, "id_to_byte_piece"):
        return read_tekken(tokenizer)
    return read_sentencepiece(tokenizer.file_path)


def _by_id(vocabulary: dict[str, int], added: dict[int, str]) -> list[str | None]:
    """The tokens' strings in the order of their ids, None where an id is not used."""
    texts: list[str | None] = [None] * (1 + max(max(vocabulary.values(), default=-1), max(added, default=-1)))
    for text, token_id in vocabulary.items():
        texts[token_id] = text
    # An added token may repeat the text of another one, and then a dictionary from text to id has lost an id.
    for token_id, text in added.items():
        texts[token_id] = text
    return texts


def _written(texts: list[str | None], special: dict[int, str], write: Callable[[list[str]], list[bytes]]) -> Vocabulary:
    tokens: list[bytes | None] = list(write([text or "" for text in texts]))
    for token_id, text in enumerate(texts):
        if text is None:
            tokens[token_id] = None
    for token_id, text in special.items():
        tokens[token_id] = text.encode()
    return Vocabulary(tokens, set(special), end_tokens_among(special.items()))


def _unknown_token(tokenizer: Tokenizer) -> str | None:
    """The text of the token for what the vocabulary cannot write, if the model has one."""
    model = tokenizer.model
    if type(model).__name__ != "Unigram":
        unknown: str | None = getattr(model, "unk_token", None)
        return unknown
    # Unigram names it by id, and only in its serialized form.
    unknown_id = json.loads(model.__getstate__())["unk_id"]
    return None if unknown_id is None else tokenizer.id_to_token(unknown_id)


# ---------------------------------------------------------------- decoders

# A token on its way through the decoder: text until its bytes are known.
_Piece = str | bytes
_Step = Callable[[list[_Piece]], list[_Piece]]


def _decoder_program(tokenizer: Tokenizer) -> dict[str, Any] | None:
    """The tokenizer's decoder as its tokenizer.json has it."""
    if tokenizer.decoder is None:
        return None
    try:
        program: dict[str, Any] = json.loads(tokenizer.decoder.__getstate__())
    except Exception as error:  # a decoder written in Python cannot be serialized; tokenizers raises a bare Exception
        raise TokenizerError(f"the tokenizer's decoder cannot be read ({error}); {_BY_HAND}") from error
    return program


def _decoder_writer(program: dict[str, Any] | None, suffix: str | None) -> Callable[[list[str]], list[bytes]]:
    """The decoder as one function from all the tokens' strings to their bytes."""
    if program is None:
        return lambda texts: [b" " + text.encode() for text in texts]
    steps = _steps(program)

    def write(texts: list[str]) -> list[bytes]:
        if suffix and program["type"] == "ByteLevel":
            # CLIP: the end of a word is a space, though its decoder does not say so ("Ġ" is the byte-level space).
            texts = [text.removesuffix(suffix) + "Ġ" if text.endswith(suffix) else text for text in texts]
        pieces: list[_Piece] = list(texts)
        for step in steps:
            pieces = step(pieces)
        return [piece if isinstance(piece, bytes) else piece.encode() for piece in pieces]

    return write


def _steps(program: dict[str, Any]) -> list[_Step]:
    """The functions of a decoder's steps, in order."""
    flat: list[dict[str, Any]] = []
    _flatten(program, flat)
    steps: list[_Step] = []
    before: set[str] = set()
    for step in flat:
        kind = step["type"]
        if kind == "Fuse" or (kind == "Strip" and "Fuse" in before):
            pass  # after Fuse a Strip acts on the ends of the whole text
        elif kind not in _STEPS or "Fuse" in before or (kind == "ByteLevel" and before & {"ByteFallback", "ByteLevel"}):
            place = f" after {' and '.join(sorted(before))}" if before else ""
            raise TokenizerError(
                f"the tokenizer's decoder has a step {kind}{place}, which is not known here; {_BY_HAND}"
            )
        else:
            steps.append(_STEPS[kind](step))
        before.add(kind)
    return steps


def _flatten(program: dict[str, Any], into: list[dict[str, Any]]) -> None:
    if program["type"] == "Sequence":
        for step in program["decoders"]:
            _flatten(step, into)
    else:
        into.append(program)


def _each_text(change: Callable[[str], _Piece]) -> _Step:
    return lambda pieces: [change(piece) if isinstance(piece, str) else piece for piece in pieces]


def _replace(step: dict[str, Any]) -> _Step:
    pattern, content = step["pattern"], step["content"]
    if "String" not in pattern:
        raise TokenizerError(f"the tokenizer's decoder replaces a regular expression, {pattern}; {_BY_HAND}")
    old = pattern["String"]
    return _each_text(lambda text: text.replace(old, content))


def _metaspace(step: dict[str, Any]) -> _Step:
    return _each_text(lambda text: text.replace(step["replacement"], " "))


def _strip(step: dict[str, Any]) -> _Step:
    content, start, stop = step["content"], step["start"], step["stop"]

    def strip(text: str) -> str:
        for _ in range(start):
            text = text.removeprefix(content)
        for _ in range(stop):
            text = text.removesuffix(content)
        return text

    return _each_text(strip)


def _byte_fallback(step: dict[str, Any]) -> _Step:
    return _each_text(lambda text: byte_piece(text) or text)


# What WordPiece's clean-up does to " token", in this order.
_CLEAN_UP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
    (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


def _word_piece(step: dict[str, Any]) -> _Step:
    prefix, clean_up = step["prefix"], step["cleanup"]

    def write(text: str) -> str:
        text = text.removeprefix(prefix) if text.startswith(prefix) else " " + text
        if clean_up:
            for old, new in _CLEAN_UP:
                text = text.replace(old, new)
        return text

    return _each_text(write)


def _bpe_decoder(step: dict[str, Any]) -> _Step:
    return _each_text(lambda text: text.replace(step["suffix"], " "))


def _byte_level(step: dict[str, Any]) -> _Step:
    return lambda pieces: list(write_byte_level([piece for piece in pieces if isinstance(piece, str)]))


_STEPS: dict[str, Callable[[dict[str, Any]], _Step]] = {
    "BPEDecoder": _bpe_decoder,
    "ByteFallback": _byte_fallback,
    "ByteLevel": _byte_level,
    "Metaspace": _metaspace,
    "Replace": _replace,
    "Strip": _strip,
    "WordPiece": _word_piece,
}


# ---------------------------------------------------------------- byte-level alphabets


def _byte_level_alphabet() -> np.ndarray[Any, Any]:
    """int16 [0x145]: the byte that a character of GPT-2's alphabet stands for, or -1.

    Bytes that print stand for themselves; the others, in order, are the characters from U+0100 on.
    """
    byte_of = np.full(0x145, -1, np.int16)  # the last character is U+0143; one more entry for all that lie beyond
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    byte_of[printing] = printing
    byte_of[0x100:0x144] = sorted(set(range(256)) - set(printing))
    byte_of.setflags(write=False)
    return byte_of


_BYTE_OF = _byte_level_alphabet()


def write_byte_level(texts: list[str]) -> list[bytes]:
    """The bytes of all tokens at once: one look-up over their joined characters, then cuts.

    A token with a character outside the alphabet is its own UTF-8 text, as in the ByteLevel decoder of `tokenizers`.
    """
    characters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    values = _BYTE_OF[np.minimum(characters, _BYTE_OF.size - 1)]
    written = values.astype(np.uint8).tobytes()
    stops = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    cuts = stops.tolist()
    tokens = [written[start:stop] for start, stop in zip([0, *cuts], cuts, strict=False)]
    outside = np.searchsorted(stops, np.flatnonzero(values < 0), side="right")  # the token of each such character
    for token_id in np.unique(outside).tolist():
        tokens[token_id] = texts[token_id].encode()
    return tokens


def _write_latin1(text: str) -> bytes:
    """A character of a byte tokenizer (ByT5) as its byte; longer tokens, which are added ones, as text."""
    return text.encode("latin-1") if len(text) == 1 and ord(text) < 256 else text.encode()
