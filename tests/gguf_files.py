"""Tiny GGUF files for llama.cpp: the llama architecture with random weights, and two kinds of vocabularies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "
_CONTEXT = 2048


class Shape(NamedTuple):
    """Sizes of a model: layers, and widths of its states, heads and inner states."""

    layers: int
    hidden: int
    heads: int
    inner: int


LEAST = Shape(2, 64, 2, 128)


def write_gguf(
    path: Path,
    tokenizer: PreTrainedTokenizerFast,
    *,
    vocab_size: int | None = None,
    pre: str = "gpt-2",
    shape: Shape = LEAST,
    seed: int = 0,
) -> Path:
    """A file that llama.cpp loads, with a tokenizer of transformers'.

    Args:
        path: where.
        tokenizer: byte-level BPE.
        vocab_size: pads the vocabulary, as larger embeddings do; None: the tokenizer's.
        pre: llama.cpp's name of how the tokenizer splits texts.
        shape: of the model.
        seed: of the weights.
    """
    from gguf import GGUFWriter, TokenType

    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    size, special = len(tokenizer), set(tokenizer.all_special_ids)
    special |= {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    padding = range(size, vocab_size or size)
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*tokenizer.convert_ids_to_tokens([*range(size)]), *(f"[PAD{token}]" for token in padding)])
    kinds = [TokenType.CONTROL if token in special else TokenType.NORMAL for token in range(size)]
    writer.add_token_types([*kinds, *(TokenType.UNUSED for _ in padding)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    return _finished(writer, path, size + len(padding), shape, seed)


def write_sentencepiece_gguf(path: Path, pieces: list[str], *, seed: int = 0) -> Path:
    """The same with a vocabulary of SentencePiece's: `<unk>`, `<s>`, `</s>`, all bytes, and `pieces`, spaces as U+2581."""
    from gguf import GGUFWriter, TokenType

    special = [("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL), ("</s>", TokenType.CONTROL)]
    tokens = [*special, *((f"<0x{byte:02X}>", TokenType.BYTE) for byte in range(256))]
    tokens += [(piece, TokenType.NORMAL) for piece in pieces]
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([-float(token) for token in range(len(tokens))])
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    return _finished(writer, path, len(tokens), LEAST, seed)


def _finished(writer: Any, path: Path, vocab_size: int, shape: Shape, seed: int) -> Path:
    """With the model's sizes and weights, on disk."""
    hidden, inner = shape.hidden, shape.inner
    writer.add_name("tiny")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(hidden // shape.heads)
    writer.add_vocab_size(vocab_size)
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)
    random = np.random.default_rng(seed)
    feed_forward = {"ffn_gate": (inner, hidden), "ffn_up": (inner, hidden), "ffn_down": (hidden, inner)}
    shapes = {"token_embd": (vocab_size, hidden), "output": (vocab_size, hidden)}
    for layer in range(shape.layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"blk.{layer}.{name}"] = (hidden, hidden)
        shapes |= {f"blk.{layer}.{name}": size for name, size in feed_forward.items()}
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(hidden, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    for name, size in shapes.items():
        writer.add_tensor(f"{name}.weight", (random.standard_normal(size) * 0.3).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
