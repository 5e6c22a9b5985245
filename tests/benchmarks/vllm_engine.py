"""Real vLLM engines on this machine's CPU, for tests/test_vllm_engine.py and vllm_overhead.py.

They hold the embedded model, which is written as a Hugging Face folder first; nothing is downloaded. An engine is three
processes (front end, engine core, worker), takes 2 GiB and a minute to start, and gets one thread.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from maskwright import embedded

__all__ = ["NAME", "OPTIONS", "OUTPUTS", "Served", "environment", "offline", "write_model"]

NAME = "reader"  # of the model, to clients
OPTIONS: dict[str, Any] = {"block_size": 32, "enforce_eager": True, "max_model_len": 1024, "dtype": "float32"}
OUTPUTS = {"backend": "guidance"}  # whose place Maskwright takes
_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
_START_SECONDS = 600.0  # a busy machine, and kernels that have to be compiled


def environment(cache_mb: int = 256) -> dict[str, str]:
    """What an engine's processes need to be told."""
    return {
        "MASKWRIGHT_VLLM": "1",
        "MASKWRIGHT_VLLM_CACHE_MB": str(cache_mb),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # or it takes the machine's first core, whoever is there
        "OMP_NUM_THREADS": "1",
        "TRITON_INTERPRET": "0",  # which tests/conftest.py sets for our own kernels
    }


def write_model(folder: Path, vocab_size: int | None = None) -> Path:
    """The embedded model and its tokenizer as a Hugging Face folder.

    Args:
        folder: made if it is not there.
        vocab_size: pad the model, not the tokenizer, to as many tokens: rows like those that a model begins with.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    model, tokenizer = embedded.load()
    if vocab_size is not None:
        rows = model.get_input_embeddings().weight
        config = LlamaConfig.from_dict({**model.config.to_dict(), "vocab_size": vocab_size})
        padded = torch.randn(vocab_size, rows.shape[1], generator=torch.Generator().manual_seed(0))
        padded *= config.initializer_range
        padded[: len(rows)] = rows.detach()
        states = model.state_dict()
        made = LlamaForCausalLM(config)
        made.load_state_dict({**states, "model.embed_tokens.weight": padded, "lm_head.weight": padded})
        model = made
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "template.jinja").write_text(_TEMPLATE)
    return folder


@contextmanager
def offline(model: Path, **options: Any) -> Iterator[Any]:
    """A `vllm.LLM` with Maskwright as its structured-output backend; its processes are gone afterwards."""
    before = {name: os.environ.get(name) for name in environment()}
    os.environ.update(environment())
    try:
        import vllm

        llm = vllm.LLM(str(model), structured_outputs_config=OUTPUTS, **{**OPTIONS, **options})
        try:
            yield llm
        finally:
            llm.llm_engine.engine_core.shutdown()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Served:
    """vLLM's server on a port of its own.

    Args:
        model: its folder, as `write_model` makes it.
        log: the file that its processes write to.
        cache_mb: what each cache of grammars may take.
        max_num_seqs: answers at once.

    Raises:
        RuntimeError: it does not come up; with the end of its log.
    """

    def __init__(self, model: Path, log: Path, *, cache_mb: int, max_num_seqs: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        arguments = [
            *("--host", "127.0.0.1", "--port", str(port), "--served-model-name", NAME),
            *("--chat-template", str(model / "template.jinja"), "--max-num-seqs", str(max_num_seqs)),
            *("--structured-outputs-config", json.dumps(OUTPUTS)),
        ]
        for name, value in OPTIONS.items():
            arguments += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        # What `vllm serve` runs; vllm-cpu's own command asks for the version of a package "vllm", which it is not.
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *arguments]
        self.log = log
        with log.open("w") as written:
            self.process = subprocess.Popen(
                command, stdout=written, stderr=subprocess.STDOUT, env={**os.environ, **environment(cache_mb)}
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"vLLM did not come up:\n{self.log.read_text()[-5000:]}")
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=10).close()
                return
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.5)

    def resident(self) -> dict[str, float]:
        """MiB of resident memory of each of its processes."""
        import psutil

        front = psutil.Process(self.process.pid)
        found = {"front end": front.memory_info().rss / 2**20}
        for child in front.children(recursive=True):
            title = " ".join(child.cmdline())
            name = "engine core" if "EngineCore" in title else "worker" if "Worker" in title else None
            if name is not None:
                found[name] = child.memory_info().rss / 2**20
        return found

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
