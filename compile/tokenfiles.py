"""Vocabularies from tekken files, tiktoken encodings and SentencePiece models, read into one form.

None of the three needs its own library here: a tekken file is JSON, a SentencePiece model is a protocol buffer of which
three fields matter, and a `tiktoken.Encoding` or a `Tekkenizer` arrives as an object.
"""

from __future__ import annotations

import binascii
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.grammars.errors import TokenizerError

__all__ = [
    "END_TOKENS",
    "Vocabulary",
    "byte_piece",
    "end_tokens_among",
    "read_sentencepiece",
    "read_tekken",
    "read_tiktoken",
]

# Special tokens that end a message in the models that have them. Chat models often stop at one that is not their
# tokenizer's `eos_token`, and the ones below mean nothing else.
END_TOKENS = frozenset({
    "</s>",  # Llama 1 and 2, Mistral, T5
    "<eos>", "<end_of_turn>",  # Gemma
    "<|endoftext|>",  # GPT-2 and after, Qwen, Phi
    "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>",  # Llama 3
    "<|eot|>", "<|eom|>",  # Llama 4
    "<|im_end|>",  # ChatML: Qwen, Yi, InternLM
    "<|end|>",  # Phi 3
    "<|return|>", "<|call|>",  # gpt-oss (harmony)
    "<|END_OF_TURN_TOKEN|>",  # Command R
    "<｜end▁of▁sentence｜>", "<|EOT|>",  # DeepSeek
    "[|endofturn|]",  # EXAONE
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a reader finds: the bytes of each token id (None where no token has it), special ids, end ids."""

    tokens: list[bytes | None]
    special_token_ids: set[int]
    eos_token_ids: set[int]


def end_tokens_among(special: Iterable[tuple[int, str]]) -> set[int]:
    """Ids of the END_TOKENS among `special`, which is (id, text) of special tokens."""
    return {token_id for token_id, text in special if text in END_TOKENS}


def byte_piece(piece: str) -> bytes | None:
    """The byte that a byte-fallback piece such as "<0x0A>" stands for, or None for any other piece."""
    if len(piece) != 6 or not piece.startswith("<0x") or piece[5] != ">":
        return None
    try:
        return binascii.unhexlify(piece[3:5])
    except ValueError:
        return None


# ---------------------------------------------------------------- tekken


# The first special tokens of files older than version 8, which do not list them; the rest are fillers.
_TEKKEN_SPECIAL = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
)  # fmt: skip


def read_tekken(source: Any) -> Vocabulary:
    """The vocabulary of a tekken.json (a path) or of a `mistral_common` `Tekkenizer` (the object).

    Ids below the number of special tokens are special; ordinary tokens follow in the order of their ranks.

    Raises:
        TokenizerError: the source is neither, or the file does not hold what a tekken file must.
    """
    if isinstance(source, (str, os.PathLike)):
        return _read_tekken_file(Path(source))
    if not hasattr(source, "id_to_byte_piece") or not hasattr(source, "num_special_tokens"):
        raise TokenizerError(
            f"{type(source).__name__} is no Tekkenizer; pass the path of a tekken.json, or a Tekkenizer "
            "(of a MistralTokenizer: mistral_tokenizer.instruct_tokenizer.tokenizer)"
        )
    special = source.num_special_tokens
    tokens: list[bytes | None] = [source.id_to_piece(token_id).encode() for token_id in range(special)]
    tokens += [source.id_to_byte_piece(token_id) for token_id in range(special, source.n_words)]
    return Vocabulary(tokens, set(range(special)), {source.eos_id})


def _read_tekken_file(path: Path) -> Vocabulary:
    content = _read_file(path)
    try:
        document = json.loads(content)
        size = document["config"]["default_vocab_size"]
        special = document["config"]["default_num_special_tokens"]
        names = [f"<SPECIAL_{token_id}>" for token_id in range(special)]
        listed = document.get("special_tokens")
        if listed is None:
            listed = [{"rank": rank, "token_str": name} for rank, name in enumerate(_TEKKEN_SPECIAL[:special])]
        for entry in listed:
            names[entry["rank"]] = entry["token_str"]
        tokens: list[bytes | None] = [None] * size
        tokens[:special] = [name.encode() for name in names]
        for entry in document["vocab"][: size - special]:
            tokens[special + entry["rank"]] = binascii.a2b_base64(entry["token_bytes"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise TokenizerError(
            f"{path} is no tekken file ({type(error).__name__}: {error}); "
            "a tokenizer.json is read by TokenizerInfo.from_huggingface"
        ) from error
    return Vocabulary(tokens, set(range(special)), end_tokens_among(enumerate(names)))


# ---------------------------------------------------------------- tiktoken


def read_tiktoken(encoding: Any) -> Vocabulary:
    """The vocabulary of a `tiktoken.Encoding`; ids that it does not use stay None.

    Raises:
        TokenizerError: `encoding` is none.
    """
    if not hasattr(encoding, "token_byte_values") or not hasattr(encoding, "special_tokens_set"):
        raise TokenizerError(
            f"{type(encoding).__name__} is no tiktoken.Encoding; pass what tiktoken.get_encoding(name) returns"
        )
    special = {encoding.encode_single_token(text): text for text in encoding.special_tokens_set}
    tokens: list[bytes | None] = [None] * encoding.n_vocab
    for token in encoding.token_byte_values():
        tokens[encoding.encode_single_token(token)] = token
    for token_id, text in special.items():
        tokens[token_id] = text.encode()
    return Vocabulary(tokens, set(special), end_tokens_among(special.items()))


# ---------------------------------------------------------------- SentencePiece

# sentencepiece_model.proto: ModelProto.pieces = 1, ModelProto.trainer_spec = 2; SentencePiece.piece = 1, .type = 3;
# TrainerSpec.eos_id = 42.
_PIECES, _TRAINER_SPEC = 1, 2
_PIECE, _TYPE = 1, 3
_EOS_ID = 42
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def read_sentencepiece(source: Any) -> Vocabulary:
    """The vocabulary of a SentencePiece model: the path of a .model file, or its serialized bytes.

    "▁" is a space wherever it stands, `<0x0A>` of the byte type is that byte, control and unknown pieces are special.

    Raises:
        TokenizerError: the file is no SentencePiece model.
    """
    name = "the SentencePiece model" if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else _read_file(Path(source))
    tokens: list[bytes | None] = []
    special: dict[int, str] = {}
    eos_id = 2  # the proto's default
    try:
        for field, value in _fields(content):
            if field == _PIECES:
                piece = {_TYPE: _NORMAL} | dict(_fields(value))
                text = piece[_PIECE].decode()
                if piece[_TYPE] in (_CONTROL, _UNKNOWN):
                    special[len(tokens)] = text
                    tokens.append(text.encode())
                elif piece[_TYPE] == _BYTE:
                    tokens.append(_named_byte(text))
                else:
                    tokens.append(text.replace("▁", " ").encode())
            elif field == _TRAINER_SPEC:
                eos_id = dict(_fields(value)).get(_EOS_ID, eos_id)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise TokenizerError(f"{name} is no SentencePiece model ({type(error).__name__}: {error})") from error
    if not tokens:
        raise TokenizerError(f"{name} holds no pieces; is it a SentencePiece .model file?")
    return Vocabulary(tokens, set(special), end_tokens_among(special.items()) | ({eos_id} & special.keys()))


def _named_byte(text: str) -> bytes:
    value = byte_piece(text)
    if value is None:
        raise ValueError(f"{text!r} names no byte")
    return value


def _fields(message: Any) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer message in order: (number, int or bytes), nested messages as their bytes.

    The wire format: https://protobuf.dev/programming-guides/encoding/.
    """
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        wire_type = tag & 7
        if wire_type == 0:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if wire_type == 2:
            length, position = _varint(message, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type} at byte {position}")
        if position + length > len(message):
            raise ValueError(f"cut short at byte {position}")
        yield tag >> 3, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number that begins at `position`, seven bits a byte, lowest first; and the position behind it."""
    value, shift = 0, 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"cannot read {path}: {error.strerror}") from error
