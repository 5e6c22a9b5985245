"""What every test shares: the measuring data (where present), a tiny tokenizer and a tiny untrained model."""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from maskwright.compile.vocabulary import TokenizerInfo
    from maskwright.compiler import GrammarCompiler

ROOT = Path(__file__).resolve().parent.parent

# With the root on sys.path `import kernels` would find our folder instead of Hugging Face's package of that name.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]

# The tests' own files on disk, not the user's; test_disk_cache.py has the cache on.
os.environ["MASKWRIGHT_CACHE_DIR"] = ""

# Triton reads this when it is imported. Where there is no GPU its interpreter runs the kernels, on tensors in CPU memory.
if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd")):
    os.environ["TRITON_INTERPRET"] = "1"

# No deadline: the first case that reaches a kernel waits for its compilation.
settings.register_profile("maskwright", deadline=None)
settings.load_profile("maskwright")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of measuring data that lies beside a development checkout; tests that need it skip without it."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the measuring data is not here (a folder `shared` beside the repository)")
    return folder


@pytest.fixture(scope="session")
def maskbench(shared: Path) -> list[dict[str, Any]]:
    """The development half of MaskBench, real schemas with labelled instances, in a fixed random order."""
    path = shared / "data" / "maskbench" / "dev.jsonl.gz"
    if not path.exists():
        pytest.skip("MaskBench is not in the folder of measuring data")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    random.Random(0).shuffle(found)
    return found


@pytest.fixture(scope="session")
def byte_info() -> TokenizerInfo:
    """256 single-byte tokens (token i is byte i) and EOS (256)."""
    from maskwright.judge import byte_vocabulary

    return byte_vocabulary()


@pytest.fixture(scope="module")
def compiler(byte_info: TokenizerInfo) -> GrammarCompiler:
    """For grammars over single bytes, one for each file of tests."""
    from maskwright.compiler import GrammarCompiler

    return GrammarCompiler(byte_info)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 512 tokens as transformers hands it out; pads on the left."""
    pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")
    import tiny

    return tiny.tiny_tokenizer()


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama model with random weights for `tiny_tokenizer`."""
    import tiny

    return tiny.tiny_model(tiny_tokenizer)
