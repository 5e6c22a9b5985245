"""A tiny untrained model and its tokenizer, made in this process: stand-ins that need no download.

The model knows nothing, so what it writes is meaningless; everything that a grammar guarantees holds all the same.
Replace both by a real model:

    model = AutoModelForCausalLM.from_pretrained("...")
    tokenizer = AutoTokenizer.from_pretrained("...")
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXT = """
{"name": "Ada Lovelace", "age": 36, "email": "ada@example.org", "tags": ["mathematics", "engines"], "active": true}
{"order": {"id": 1042, "items": [{"sku": "A-17", "count": 3, "price": 9.95}], "total": 29.85, "note": null}}
Extract the person, the order, the event or the measurement from the text and answer with one JSON object.
On Monday the first of March at half past nine the sensor in the north tower reported a temperature of 21.5 degrees.
The customer was happy with the product, although the delivery was two days late and the box was damaged.
"""

SPECIAL = ["<pad>", "<s>", "</s>"]


def tiny_tokenizer(vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on a few sentences; it can write any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    pad, bos, eos = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=bos, eos_token=eos, padding_side="left"
    )


def tiny_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LlamaForCausalLM:
    """A Llama-architecture model with random weights, for `tokenizer`; the same for the same seed."""
    torch.set_num_threads(1)  # for a model this small, handing work to threads costs more than the work
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.5,  # far from zero, so that the logits differ and greedy decoding does not just repeat
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()
