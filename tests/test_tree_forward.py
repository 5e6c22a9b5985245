"""Draft trees in one forward against one plain forward a path, on models with random weights."""

from __future__ import annotations

import random
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

from maskwright.runtime.draft_tree import DraftTree, TreeBuilder  # noqa: E402
from maskwright.runtime.tree_forward import ChainForward, TreeForward, forward_for, why_no_trees  # noqa: E402

VOCABULARY = 40
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
MODELS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "qwen2": lambda: transformers.Qwen2Config(**SMALL),
    "qwen2-windowed": lambda: transformers.Qwen2Config(
        **SMALL, use_sliding_window=True, sliding_window=6, max_window_layers=1
    ),
    "qwen3": lambda: transformers.Qwen3Config(**SMALL),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=256, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3
    ),
    "mistral": lambda: transformers.MistralConfig(**SMALL, sliding_window=None),
    "mistral-windowed": lambda: transformers.MistralConfig(**SMALL, sliding_window=6),
    "gemma2-windowed": lambda: transformers.Gemma2Config(**SMALL, sliding_window=5, query_pre_attn_scalar=8),
    "gemma3-windowed": lambda: transformers.Gemma3TextConfig(
        **SMALL,
        sliding_window=5,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
}


def model_of(name: str, attention: str, dtype: Any) -> Any:
    torch.manual_seed(1)
    config = MODELS[name]()
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype).eval()


def random_tree(rng: random.Random, nodes: int, token: int, chain: bool = False) -> DraftTree:
    builder = TreeBuilder(token)
    while len(builder) < nodes:
        builder.add(len(builder) - 1 if chain else rng.randrange(len(builder)), rng.randrange(1, VOCABULARY))
    return builder.build()


def plain(model: Any, tokens: list[int]) -> Any:
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0, -1].float()


@torch.inference_mode()
def run(model: Any, forward: Any, rng: random.Random, rows: int, steps: int, tolerance: float, chain: bool) -> None:
    """Several chunks one after the other, of different lengths a row; every node's logits against a plain forward."""
    texts: list[list[int]] = [[] for _ in range(rows)]
    for step in range(steps):
        pending = [[rng.randrange(1, VOCABULARY) for _ in range(rng.randint(1, 5) + 9 * (not step))] for _ in texts]
        trees = [random_tree(rng, rng.randint(1, 7), tokens[-1], chain) for tokens in pending]
        found = forward.forward(pending, trees)
        taken = []
        for row, tree in enumerate(trees):
            texts[row] += pending[row]
            assert found[row].shape == (len(tree), VOCABULARY)
            for node in range(len(tree)):
                path = tree.token[tree.path(node)].tolist() if node else []
                expected = plain(model, texts[row] + path)
                torch.testing.assert_close(found[row][node], expected, atol=tolerance, rtol=tolerance)
            taken.append(tree.path(rng.randrange(len(tree))))
            texts[row] += tree.token[taken[-1]].tolist()
        forward.commit(taken)
        if step == 2 and rows > 1:
            order = [1, 0, 1]
            forward.select(order)
            texts = [list(texts[row]) for row in order]
    assert forward.forwards == steps


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Handing work to threads costs more than the work of models this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        (name, attention)
        for name in MODELS
        for attention in ("sdpa", "eager")
        if (name, attention) != ("gemma2-windowed", "sdpa")
    ],
)
def test_a_tree_is_its_paths(name: str, attention: str) -> None:
    model = model_of(name, attention, torch.float32)
    run(model, forward_for(model, 1), random.Random(3), 1, 4, 2e-4, chain=False)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3-windowed", "mistral-windowed"])
def test_a_batch_of_trees_in_double_precision(name: str) -> None:
    model = model_of(name, "sdpa", torch.float64)
    assert why_no_trees(model) is None
    run(model, TreeForward(model, 2), random.Random(4), 2, 4, 1e-5, chain=False)


@pytest.mark.parametrize("name", ["llama", "mistral-windowed", "gemma3-windowed"])
def test_chains_on_whatever_cache_the_model_makes(name: str) -> None:
    """Full caches are cut; windowed ones, which have forgotten what a cut would bring back, are put back."""
    model = model_of(name, "sdpa", torch.float32)
    run(model, ChainForward(model, 2), random.Random(5), 2, 5, 2e-4, chain=True)


def test_recurrent_layers_verify_chains_and_say_why() -> None:
    config = transformers.Lfm2Config(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, full_attn_idxs=[1], initializer_range=0.3, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(2)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    assert "layers of another kind" in str(why_no_trees(model))
    forward = forward_for(model, 1)
    assert not forward.takes_trees
    run(model, forward, random.Random(6), 1, 5, 2e-4, chain=True)
    with pytest.raises(ValueError, match="chains only"):
        forward.forward([[1]], [random_tree(random.Random(1), 8, 1)])


def test_attention_that_takes_no_mask_is_named() -> None:
    model = model_of("llama", "sdpa", torch.float32)
    model.config._attn_implementation = "flash_attention_2"
    assert "flash_attention_2" in str(why_no_trees(model))


@pytest.mark.parametrize("bug", ["positions", "mask"])
def test_planted_bugs_are_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama", "sdpa", torch.float32)
    original = model.forward

    def broken(**arguments: Any) -> Any:
        if bug == "positions":
            del arguments["position_ids"]
        else:
            arguments["attention_mask"] = None
        return original(**arguments)

    forward = TreeForward(model, 1)
    monkeypatch.setattr(model, "forward", broken)
    tree = TreeBuilder(5)
    tree.add(0, 6)
    tree.add(0, 7)
    with torch.inference_mode():
        found = forward.forward([[3, 4, 5]], [tree.build()])[0]
    monkeypatch.undo()
    assert not torch.allclose(found[2], plain(model, [3, 4, 5, 7]), atol=1e-3)
