"""generate() on each back end: the same answers from masks as bits and as row numbers, and what is told of probabilities."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

from kernel_cases import DEVICE, TRITON  # noqa: E402

import maskwright as mw  # noqa: E402
from maskwright.decoding import Decoder, Request  # noqa: E402
from maskwright.kernels.backends import BackendError  # noqa: E402
from maskwright.sampling import Sampling  # noqa: E402
from maskwright.step_masks import NumberedMasks  # noqa: E402

BACKENDS = ["numba", "torch", TRITON]
PROMPTS = ["The customer", "On Monday"]
WAYS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 1.2, "seed": 3},
    {"temperature": 2.0, "seed": 4, "top_k": 40, "top_p": 0.9, "min_p": 0.02, "max_new_tokens": 4, "regex": "[a-z]{3}"},
]


@pytest.fixture(scope="module")
def models(tiny_model: Any) -> dict[str, Any]:
    """The model where each back end works, in two dtypes."""
    host = {"float32": tiny_model, "bfloat16": copy.deepcopy(tiny_model).bfloat16()}
    moved = {name: copy.deepcopy(model).to(DEVICE) for name, model in host.items()}
    return {"numba": host, "torch": host, "triton": moved}


def ask(model: Any, tokenizer: Any, **options: Any) -> Any:
    options = {"regex": "[a-z]{2,4} [0-9]{2}", "return_result": True, "max_new_tokens": 12, **options}
    return mw.generate(model, options.pop("prompt", PROMPTS), tokenizer=tokenizer, **options)


@pytest.mark.parametrize("backend", ["torch", TRITON])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_answers_are_those_of_numba(models: Any, tiny_tokenizer: Any, backend: str, way: dict[str, Any]) -> None:
    if models["triton"]["float32"].device.type == "cuda":
        pytest.skip("forwards on a GPU round otherwise than those on the host")
    dtype = "bfloat16" if way.get("top_k") else "float32"
    options = {**way, "valid_mass": True}
    expected = ask(models["numba"][dtype], tiny_tokenizer, backend="numba", **options)
    found = ask(models[backend][dtype], tiny_tokenizer, backend=backend, **options)
    for one, other in zip(expected, found, strict=True):
        assert one.tokens == other.tokens
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert one.log_valid_masses == pytest.approx(other.log_valid_masses, abs=1e-4)
        assert one.statistics == other.statistics


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_do_not_depend_on_the_batch(models: Any, tiny_tokenizer: Any, backend: str) -> None:
    options = {"temperature": 1.0, "seed": 11, "backend": backend, "regex": "[a-z]{2}", "max_new_tokens": 2}
    model = models[backend]["float32"]
    several = ask(model, tiny_tokenizer, n=2, **options)
    alone = ask(model, tiny_tokenizer, prompt=PROMPTS[0], **options)
    assert alone.tokens == several[0][0].tokens
    assert several[0][0].tokens != several[0][1].tokens


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_valid_mass_is_what_the_model_gives_the_allowed_tokens(
    models: Any, tiny_tokenizer: Any, backend: str
) -> None:
    """Found anew from one forward over the whole text."""
    model, temperature = models[backend]["float32"], 0.7
    options = {"temperature": temperature, "seed": 5, "valid_mass": True, "backend": backend, "max_new_tokens": 6}
    result = ask(model, tiny_tokenizer, prompt="An order:", **options)
    assert result.log_valid_masses is not None and len(result.log_valid_masses) == len(result.tokens)
    info = mw.TokenizerInfo.from_huggingface(tiny_tokenizer, vocab_size=model.config.vocab_size)
    matcher = mw.GrammarMatcher(mw.GrammarCompiler(info).compile_regex("[a-z]{2,4} [0-9]{2}"))
    prompt = tiny_tokenizer("An order:")["input_ids"]
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *result.tokens]], device=model.device)).logits[0, len(prompt) - 1 :]
    scaled = logits.float().cpu() / temperature
    total = 0.0
    for token, mass, row in zip(result.tokens, result.log_valid_masses, scaled, strict=False):
        expected = float(row[matcher.allowed_token_ids()].logsumexp(0) - row.logsumexp(0))
        assert mass == pytest.approx(expected, abs=1e-3)
        assert matcher.accept_token(token)
        total += float(row[token] - row.logsumexp(0))
    assert result.log_valid_mass == pytest.approx(sum(result.log_valid_masses))
    if not any(result.forced):
        assert result.logprob + result.log_valid_mass == pytest.approx(total, abs=1e-2)


def test_only_masks_that_are_new_are_shipped(models: Any, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number: a second answer finds its masks in the table's copy, which lives as long as the table."""
    made: list[NumberedMasks] = []
    of = NumberedMasks.of

    def recorded(self: NumberedMasks, matchers: Any) -> Any:
        made.append(self)
        return of(self, matchers)

    monkeypatch.setattr(NumberedMasks, "of", recorded)
    model = models["torch"]["float32"]
    info = mw.TokenizerInfo.from_huggingface(tiny_tokenizer, vocab_size=model.config.vocab_size)
    compiler = mw.GrammarCompiler(info)
    compiled = compiler.compile_regex("[a-z]{5} [0-9]{5}")
    options = {"regex": None, "grammar": compiled, "backend": "torch", "jump_forward": False}
    first = ask(model, tiny_tokenizer, **options)
    copied = compiler.mask_table.copy_on(model.device)
    assert made[0]._copy is copied
    shipped = copied.rows_shipped
    assert shipped == len(compiler.mask_table) > 1
    assert [one.tokens for one in ask(model, tiny_tokenizer, **options)] == [one.tokens for one in first]
    assert copied.rows_shipped == shipped
    assert made[-1]._copy is copied


def test_grammars_of_several_mask_tables_are_shipped_as_bits(models: Any, tiny_tokenizer: Any) -> None:
    model = models["torch"]["float32"]
    info = mw.TokenizerInfo.from_huggingface(tiny_tokenizer, vocab_size=model.config.vocab_size)
    grammars = [mw.GrammarCompiler(info).compile_regex(pattern) for pattern in ("[a-z]{4}", "[0-9]{3}")]
    options = {"regex": None, "grammar": grammars, "temperature": 1.0, "seed": 1}
    expected = ask(model, tiny_tokenizer, **options)
    found = ask(model, tiny_tokenizer, backend="torch", **options)
    assert [one.tokens for one in found] == [one.tokens for one in expected]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_end_the_generation(
    models: Any, tiny_tokenizer: Any, backend: str, temperature: float
) -> None:
    broken = copy.deepcopy(models[backend]["float32"])
    broken.lm_head.weight.data.fill_(torch.nan)
    with pytest.raises(mw.MatcherError, match="no finite logit"), np.errstate(invalid="ignore"):
        ask(broken, tiny_tokenizer, backend=backend, temperature=temperature)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_vocabulary_that_cannot_go_on_is_told_before_anything_is_drawn(
    models: Any, tiny_tokenizer: Any, backend: str
) -> None:
    lacking = mw.TokenizerInfo([b"a", b"ca", b""], eos_token_ids=[2], vocab_size=len(tiny_tokenizer))
    compiled = mw.GrammarCompiler(lacking).compile_regex("a?c")
    request = Request([5, 6], compiled, 4)
    decoder = Decoder(
        models["numba"]["float32"],
        tiny_tokenizer,
        [request],
        samples=1,
        sampling=Sampling(),
        entropy=0,
        jump_forward=False,
        backend=backend,
    )
    with pytest.raises(mw.TokenizerError, match="no token of this vocabulary writes"):
        while decoder.live:
            decoder.step()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backend": "xla"}, ValueError, "choose 'numba', 'torch', 'triton' or None"),
        ({"backend": "triton", "env": "0"}, BackendError, "leave backend= out"),
        ({"backend": "triton", "missing": True}, BackendError, r"pip install 'maskwright\[gpu\]'"),
        ({"valid_mass": True, "jump_forward": True}, ValueError, "leave jump_forward= out"),
    ],
)
def test_what_cannot_work_is_said_before_the_model_is_asked(
    tiny_model: Any,
    tiny_tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was asked")

    given = dict(options)
    monkeypatch.setattr(tiny_model, "forward", asked)
    if "env" in given:
        pytest.importorskip("triton", reason="triton is not installed: pip install maskwright[gpu]")
        monkeypatch.setenv("TRITON_INTERPRET", given.pop("env"))
    if given.pop("missing", False):
        monkeypatch.setattr("maskwright.kernels.backends.find_spec", lambda name: None)
    with pytest.raises(error, match=message):
        ask(tiny_model, tiny_tokenizer, **given)
