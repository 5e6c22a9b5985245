"""What sampling has learnt of a prompt, in a file: the trie's arrays as safetensors, and in its header, as JSON, of what it is.

    format      1
    model       a digest of the configuration and of some of every weight, or what the model's `fingerprint` says
    prompt      its token ids
    grammar     what it was made of
    tokenizer   TokenizerInfo.fingerprint
    target      temperature, filters, limits

Bounds of one model, prompt or grammar are wrong for another, so that a file is read for the same of each only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskwright.compile.array_file import write_whole
from maskwright.compile.grammar import CompiledGrammar
from maskwright.compile.saved_grammars import spelled_source
from maskwright.grammars.errors import MatcherError, ModelError, SavedTrieError
from maskwright.runtime.aligned_trie import AlignedTrie
from maskwright.runtime.warping import Target

__all__ = ["model_fingerprint", "read_trie", "trie_key", "write_trie"]

_FORMAT = 1
_SAMPLED = 64  # entries of each weight that its digest sees


def model_fingerprint(model: Any) -> str:
    """What tells a model from others: its `fingerprint` (a str), or a digest of configuration and weights."""
    given = getattr(model, "fingerprint", None)
    if isinstance(given, str):
        return given
    if not hasattr(model, "state_dict") or not hasattr(model, "config"):
        raise SavedTrieError(
            f"{type(model).__name__} has no `fingerprint`: give the model one, a str that changes with its weights"
        )
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, weight in sorted(model.state_dict().items()):
        flat = weight.detach().flatten()
        some = flat[:: max(1, len(flat) // _SAMPLED)].float().cpu().numpy()
        digest.update(f"{name} {tuple(weight.shape)}".encode() + some.tobytes())
    return digest.hexdigest()


def trie_key(model: str, prompt: Sequence[int], compiled: CompiledGrammar, target: Target) -> dict[str, Any]:
    """What a trie is of."""
    if compiled.source is None:
        raise SavedTrieError("this grammar was not made by a GrammarCompiler's compile_... methods")
    return {
        "format": _FORMAT,
        "model": model,
        "prompt": list(prompt),
        "grammar": spelled_source(compiled.source),
        "tokenizer": compiled.tokenizer_info.fingerprint,
        "target": dataclasses.asdict(target),
    }


def write_trie(trie: AlignedTrie, path: str | os.PathLike[str], key: dict[str, Any]) -> None:
    """Write a trie, in place of a file that may be there.

    Raises:
        OSError: the file cannot be written.
    """
    data: bytes = _safetensors().save(trie.arrays(), metadata={"maskwright": json.dumps(key)})
    write_whole(Path(path), data)


def read_trie(path: str | os.PathLike[str], key: dict[str, Any], max_bytes: int) -> AlignedTrie:
    """The trie in a file.

    Raises:
        SavedTrieError: it is damaged, or of something else.
        OSError: it cannot be read.
    """
    _safetensors()
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # whether it can be read is said in the system's words
        pass
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            found = json.loads((file.metadata() or {}).get("maskwright", "{}"))
            if not isinstance(found, dict) or "format" not in found:
                raise SavedTrieError(f"{path} is no trie that was saved here")
            other = [name for name in key if found.get(name) != json.loads(json.dumps(key[name]))]
            if other:
                raise SavedTrieError(
                    f"{path} was saved for another {', '.join(other)}: what is certain there is not so here. "
                    "Sample afresh, and save again"
                )
            return AlignedTrie.of_arrays({name: file.get_tensor(name) for name in file.keys()}, max_bytes)  # noqa: SIM118
    except (SafetensorError, ValueError, MatcherError) as error:
        raise SavedTrieError(f"{path} is damaged, or no saved trie: {error}. Sample afresh, and save again") from error


def _safetensors() -> Any:
    try:
        from safetensors import numpy
    except ImportError as error:
        raise ModelError('tries in files need safetensors: pip install "maskwright[hf]"') from error
    return numpy
