"""docs/generate.md and docs/speculative.md: their snippets run, in order."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from maskwright import embedded, generate

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")


@pytest.mark.parametrize(("name", "least"), [("generate.md", 8), ("speculative.md", 2)])
def test_the_snippets_run(
    name: str,
    least: int,
    root: Path,
    tiny_model: LlamaForCausalLM,
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the tiny model in the place of the embedded one: what they assert holds for any."""
    monkeypatch.setattr(embedded, "load", lambda: (tiny_model, tiny_tokenizer))
    page = (root / "docs" / name).read_text()
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(snippets) >= least
    names: dict[str, Any] = {"__name__": "page"}
    for snippet in snippets:
        exec(compile(snippet, f"a snippet of docs/{name}", "exec", dont_inherit=True), names)
    assert name != "generate.md" or "the shortest answer takes" in capsys.readouterr().out


def test_every_argument_is_on_the_page(root: Path) -> None:
    page = (root / "docs" / "generate.md").read_text()
    names = [name for name in inspect.signature(generate).parameters if name not in ("prompt", "policy")]
    assert not [name for name in names if f"`{name}" not in page]
