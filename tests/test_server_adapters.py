"""vLLM's and SGLang's adapters against their interfaces: stand-ins of the classes they derive from (server_stubs.py)."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import server_stubs

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.constraint import Reasoning
from maskwright.grammars.errors import MatcherError
from maskwright.runtime.matcher import GrammarMatcher
from maskwright.served_grammar import ServedGrammar

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
pytest.importorskip("transformers", reason="transformers is not installed: pip install maskwright[hf]")

VOCAB_SIZE = 640  # more than the tokenizer's 512: a padded model


def bits(row: Any) -> list[int]:
    return np.flatnonzero(np.unpackbits(np.asarray(row).view(np.uint8), bitorder="little")).tolist()


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The adapters are imported anew over the stand-ins, and forgotten with them."""
    names = ("vllm_backend", "vllm_processor", "sglang_backend")
    for name in names:
        monkeypatch.delitem(sys.modules, f"maskwright.{name}", raising=False)
    yield
    for name in names:
        sys.modules.pop(f"maskwright.{name}", None)


@pytest.fixture
def vllm(fresh: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    server_stubs.enter_vllm(monkeypatch)
    return importlib.import_module("maskwright.vllm_backend")


@pytest.fixture
def backend(vllm: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> Any:
    config = SimpleNamespace(
        structured_outputs_config=SimpleNamespace(disable_any_whitespace=False, disable_additional_properties=False)
    )
    return vllm.MaskwrightBackend(config, tiny_tokenizer, VOCAB_SIZE)


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def fresh_mask(tokenizer: Any, pattern: str, text: str) -> list[int]:
    matcher = GrammarMatcher(GrammarCompiler(TokenizerInfo.from_huggingface(tokenizer)).compile_regex(pattern))
    assert matcher.accept_string(text)
    return matcher.allowed_token_ids().tolist()


def test_vllm_grammars_go_forth_and_back(backend: Any, vllm: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    options, end = server_stubs.StructuredOutputOptions, tiny_tokenizer.eos_token_id
    grammar = backend.compile_grammar(options.REGEX, "[a-d]+x", {end})
    masks = backend.allocate_token_bitmask(3)
    assert (masks.shape, masks.dtype) == ((3, VOCAB_SIZE // 32), torch.int32)
    start, draft = ids(tiny_tokenizer, "ab"), ids(tiny_tokenizer, "cdx")
    assert grammar.accept_tokens("r", start)
    grammar.fill_bitmask(masks, 1)
    assert bits(masks[1]) == fresh_mask(tiny_tokenizer, "[a-d]+x", "ab")
    assert bits(masks[0]) == list(range(VOCAB_SIZE))  # other rows are left alone
    # Speculation: what a draft begins with that is allowed, masks on the way, and back.
    assert grammar.validate_tokens([*draft, end, 5, -1]) == [*draft, end]
    assert grammar.validate_tokens([*draft[:1], *ids(tiny_tokenizer, "z"), -1]) == draft[:1]
    for count, token in enumerate(draft, 1):
        assert grammar.accept_tokens("r", [token])
        grammar.fill_bitmask(masks, 2)
        grammar.rollback(count)
        assert grammar.accept_tokens("r", draft[:count])
    grammar.rollback(len(draft))
    grammar.fill_bitmask(masks, 2)
    assert torch.equal(masks[2], masks[1])
    # The end, and past it.
    assert grammar.accept_tokens("r", [*draft, end, 7, 7])
    assert grammar.is_terminated()
    grammar.fill_bitmask(masks, 0)
    assert bits(masks[0]) == [end]
    assert grammar.validate_tokens([5]) == []
    grammar.reset()
    assert not grammar.is_terminated()
    assert not grammar.accept_tokens("r", ids(tiny_tokenizer, "q"))


@pytest.mark.parametrize(
    ("kind", "source", "good", "bad"),
    [
        ("JSON", '{"type": "integer"}', "17", "x"),
        ("JSON_OBJECT", "", '{"a": 1}', "[1]"),
        ("REGEX", "a{3}", "aaa", "ab"),
        ("CHOICE", '["yes", "no"]', "no", "maybe"),
        ("GRAMMAR", 'root ::= "(" root ")" | "o"', "((o))", "("),
        ("GRAMMAR", 'start: "a" start | "b"', "aab", "aa"),
        ("STRUCTURAL_TAG", '{"type": "structural_tag", "format": {"type": "const_string", "value": "so"}}', "so", "s"),
        ("STRUCTURAL_TAG", '{"structures": [{"begin": "<f>", "schema": {"type": "integer"}, "end": "</f>"}],'
         ' "triggers": ["<f"]}', "well <f>3</f>", "<f>x</f>"),
    ],
)  # fmt: skip
def test_vllm_forms(
    backend: Any, vllm: Any, tiny_tokenizer: PreTrainedTokenizerFast, kind: str, source: str, good: str, bad: str
) -> None:
    option, end = server_stubs.StructuredOutputOptions[kind], tiny_tokenizer.eos_token_id
    assert backend.compile_grammar(option, source, {end}).accept_tokens("r", [*ids(tiny_tokenizer, good), end])
    assert not backend.compile_grammar(option, source).accept_tokens("r", [*ids(tiny_tokenizer, bad), end])


def test_vllm_stop_tokens_are_those_of_the_request(backend: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    (stop,) = ids(tiny_tokenizer, "z")
    grammar = backend.compile_grammar(server_stubs.StructuredOutputOptions.REGEX, "ab?", {stop})
    assert grammar.accept_tokens("r", ids(tiny_tokenizer, "a"))
    masks = backend.allocate_token_bitmask(1)
    grammar.fill_bitmask(masks, 0)
    assert bits(masks[0]) == sorted([*ids(tiny_tokenizer, "b"), stop])
    assert grammar.accept_tokens("r", [stop])
    assert grammar.is_terminated()
    backend.destroy()


def test_vllm_refuses_in_its_front_end(vllm: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    def validate(**form: Any) -> None:
        outputs = SimpleNamespace(**form) if form else None
        vllm.validate_form(SimpleNamespace(structured_outputs=outputs), vllm.tokenizer_for_validation(tiny_tokenizer))

    validate()
    validate(json={"type": "object"})
    with pytest.raises(server_stubs.VLLMValidationError, match="/properties/a/type"):
        validate(json={"properties": {"a": {"type": "text"}}})
    with pytest.raises(server_stubs.VLLMValidationError, match="no end"):
        validate(regex="(a")
    with pytest.raises(server_stubs.VLLMValidationError, match="does not hand whitespace_pattern"):
        validate(json={"type": "object"}, whitespace_pattern=" ?")


def test_vllm_closes_objects_and_bounds_caches_where_the_server_says_so(
    vllm: Any, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_VLLM_CACHE_MB", "3")
    options = SimpleNamespace(disable_any_whitespace=True, disable_additional_properties=True)
    backend = vllm.MaskwrightBackend(SimpleNamespace(structured_outputs_config=options), tiny_tokenizer, VOCAB_SIZE)
    schema = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
    kind = server_stubs.StructuredOutputOptions.JSON
    for text, accepted in (('{"a":1}', True), ('{"a": 1}', False), ('{"a":1,"b":2}', False)):
        grammar = backend.compile_grammar(kind, schema, [tiny_tokenizer.eos_token_id])
        tokens = [*ids(tiny_tokenizer, text), tiny_tokenizer.eos_token_id]
        assert grammar.accept_tokens("r", tokens) is accepted
    (compiler,) = backend._compilers.values()
    assert compiler.cache_limit_bytes == 3 << 20


def test_vllm_plugin_leaves_workers_alone(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from maskwright.vllm_plugin import register

    monkeypatch.setenv("MASKWRIGHT_VLLM", "1")
    monkeypatch.setattr(multiprocessing.current_process(), "name", "VllmWorker-0")
    register()
    assert sys.modules["vllm.v1.structured_output"].GuidanceBackend is object


def test_vllm_is_plugged_into_only_when_told(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from maskwright.vllm_plugin import register

    manager = sys.modules["vllm.v1.structured_output"]
    register()
    assert manager.GuidanceBackend is object
    monkeypatch.setenv("MASKWRIGHT_VLLM", "1")
    register()
    assert manager.GuidanceBackend is vllm.MaskwrightBackend
    guidance = sys.modules["vllm.v1.structured_output.backend_guidance"]
    assert guidance.GuidanceBackend is vllm.MaskwrightBackend
    assert guidance.validate_guidance_grammar is vllm.validate_form
    assert guidance.has_guidance_unsupported_json_features({"patternProperties": {}}) is False
    assert sys.modules["vllm.sampling_params"]._get_llg_tokenizer is vllm.tokenizer_for_validation
    monkeypatch.delattr(manager, "GuidanceBackend")
    with pytest.raises(RuntimeError, match=r"no vllm\.v1\.structured_output\.GuidanceBackend"):
        register()


@pytest.fixture
def processors(
    fresh: None, monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: PreTrainedTokenizerFast
) -> tuple[Any, SimpleNamespace]:
    server_stubs.enter_vllm(monkeypatch)
    server_stubs.enter(monkeypatch, "vllm.tokenizers", cached_tokenizer_from_config=lambda model_config: tiny_tokenizer)
    config = SimpleNamespace(model_config=SimpleNamespace(get_vocab_size=lambda: VOCAB_SIZE))
    return importlib.import_module("maskwright.vllm_processor").MaskwrightLogitsProcessor, config


def asking(**form: Any) -> SimpleNamespace:
    return SimpleNamespace(extra_args={"maskwright": json.dumps(form)} if form else None)


def finite(row: Any) -> list[int]:
    return torch.isfinite(row).nonzero()[:, 0].tolist()


def test_vllm_processor_in_the_first_runner(
    processors: tuple[Any, SimpleNamespace], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    processor, swap = processors[0](processors[1], "cpu", False), server_stubs.MoveDirectionality.SWAP
    assert not processor.is_argmax_invariant()
    outputs: list[list[int]] = [[], [], []]
    added = [(0, asking(regex="[ab]+"), None, outputs[0]), (1, asking(), None, outputs[1])]
    added.append((2, asking(choice=["no"]), None, outputs[2]))
    processor.update_state(SimpleNamespace(removed=[], added=added, moved=[]))
    outputs[0] += ids(tiny_tokenizer, "ab")
    logits = processor.apply(torch.zeros(3, VOCAB_SIZE))
    assert finite(logits[0]) == fresh_mask(tiny_tokenizer, "[ab]+", "ab")
    assert finite(logits[1]) == list(range(VOCAB_SIZE))
    assert finite(logits[2]) == fresh_mask(tiny_tokenizer, "no", "")
    processor.update_state(SimpleNamespace(removed=[], added=[], moved=[(0, 1, swap)]))
    processor.update_state(None)
    logits = processor.apply(torch.zeros(3, VOCAB_SIZE))
    assert finite(logits[0]) == list(range(VOCAB_SIZE))
    assert finite(logits[1]) == fresh_mask(tiny_tokenizer, "[ab]+", "ab")
    outputs[2] += ids(tiny_tokenizer, "q")  # which the mask has forbidden: the answer ends
    assert finite(processor.apply(torch.zeros(3, VOCAB_SIZE))[2]) == [tiny_tokenizer.eos_token_id]
    processor.update_state(SimpleNamespace(removed=[1, 2], added=[], moved=[]))
    assert finite(processor.apply(torch.zeros(3, VOCAB_SIZE))[1]) == list(range(VOCAB_SIZE))


def test_vllm_processor_in_the_second_runner(
    processors: tuple[Any, SimpleNamespace], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    prompt, answer, draft = [9, 9, 9], ids(tiny_tokenizer, "ab"), ids(tiny_tokenizer, "ba")
    history = torch.zeros(4, 32, dtype=torch.int32)
    history[3, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
    states = SimpleNamespace(
        all_token_ids=SimpleNamespace(gpu=history), prompt_len=SimpleNamespace(np=np.array([0, 0, 0, len(prompt)]))
    )
    processor = processors[0](processors[1], states)
    assert processor.add_request(3, asking(regex="[ab]+"))
    assert not processor.add_request(1, asking())
    last = len(prompt) + len(answer) - 1
    rows = 1 + len(draft)
    context = SimpleNamespace(  # a row of slot 1, then the rows of slot 3: the last token, and a draft
        expanded_idx_mapping=torch.tensor([1] + [3] * rows),
        expanded_local_pos=torch.tensor([0, *range(rows)]),
        input_ids=torch.tensor([5, answer[-1], *draft]),
        pos=torch.tensor([4, *range(last, last + rows)]),
    )
    logits = processor.apply(torch.zeros(1 + rows, VOCAB_SIZE), context)
    assert finite(logits[0]) == list(range(VOCAB_SIZE))
    for row in range(rows):
        text = tiny_tokenizer.decode([*answer, *draft[:row]])
        assert finite(logits[1 + row]) == fresh_mask(tiny_tokenizer, "[ab]+", text)


def test_vllm_processor_refuses_at_admission(processors: tuple[Any, SimpleNamespace]) -> None:
    processors[0].validate_params(asking(json={"type": "object"}))
    processors[0].validate_params(asking())
    for extra, message in (("{", "not JSON"), ("[]", "is an object"), ('{"jsn": {}}', "/maskwright/jsn"),
                           ('{"json": {"type": "text"}}', "^/type: type must be")):  # fmt: skip
        with pytest.raises(server_stubs.VLLMValidationError, match=message):
            processors[0].validate_params(SimpleNamespace(extra_args={"maskwright": extra}))


def test_vllm_processor_survives_what_its_vocabulary_cannot_write(
    processors: tuple[Any, SimpleNamespace], tiny_tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception would end the engine: that answer stays empty, others go on."""
    processor, tag = processors[0](processors[1], "cpu", False), {"type": "token", "token": "<|nobody|>"}
    unwritable = asking(structural_tag={"type": "structural_tag", "format": tag})
    added = [(0, unwritable, None, []), (1, asking(regex="[ab]"), None, [])]
    processor.update_state(SimpleNamespace(removed=[], added=added, moved=[]))
    logits = processor.apply(torch.zeros(2, VOCAB_SIZE))
    assert finite(logits[0]) == [tiny_tokenizer.eos_token_id]
    assert finite(logits[1]) == fresh_mask(tiny_tokenizer, "[ab]", "")
    assert "<|nobody|>" in caplog.text


@pytest.fixture
def sglang(fresh: None, monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: PreTrainedTokenizerFast) -> Any:
    from maskwright.sglang_plugin import register

    choices, registry = server_stubs.enter_sglang(monkeypatch)
    register()
    assert choices == ["xgrammar", "maskwright"]
    return registry["maskwright"](None, tiny_tokenizer, VOCAB_SIZE, {tiny_tokenizer.eos_token_id})


def test_sglang_walks_a_draft_tree(sglang: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    grammar = sglang.dispatch_regex("[a-d]+x")
    masks = grammar.allocate_vocab_mask(VOCAB_SIZE, 4, "cpu")
    a, b, z = (ids(tiny_tokenizer, letter)[0] for letter in "abz")
    grammar.fill_vocab_mask(masks, 0)
    assert masks[0, a // 32].item() >> a % 32 & 1
    for row, token in ((1, a), (2, b)):  # siblings
        grammar.accept_token(token)
        grammar.fill_vocab_mask(masks, row)
        with pytest.raises(ValueError, match="does not allow"):
            grammar.accept_token(z)
        grammar.rollback(1)
    assert bits(masks[1]) == fresh_mask(tiny_tokenizer, "[a-d]+x", "a")
    twin = grammar.copy()
    twin.accept_token(b)
    grammar.fill_vocab_mask(masks, 3)
    assert torch.equal(masks[3], masks[0])  # a copy shares nothing
    logits = torch.zeros(4, VOCAB_SIZE)
    grammar.apply_vocab_mask(logits, grammar.move_vocab_mask(masks, "cpu"))
    assert finite(logits[1]) == bits(masks[1])
    grammar.reset_vocab_mask(masks)
    assert (masks == -1).all()


def test_sglang_dispatches_and_refuses(sglang: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    end = tiny_tokenizer.eos_token_id
    for kind, source, text in (
        ("json", '{"type": "integer"}', "12"),
        ("json", "$$ANY$$", '{"a": 1}'),
        ("ebnf", 'root ::= "(" root ")" | "o"', "(o)"),
        ("structural_tag", '{"type": "structural_tag", "format": {"type": "const_string", "value": "so"}}', "so"),
    ):
        grammar = sglang._init_value_dispatch((kind, source), False)
        for token in [*ids(tiny_tokenizer, text), end]:
            grammar.accept_token(token)
        assert grammar.is_terminated()
    refused = sglang._init_value_dispatch(("json", '{"properties": {"a": {"type": "text"}}}'), False)
    assert isinstance(refused, server_stubs.InvalidGrammarObject)
    assert "/properties/a/type" in refused.error_message


def test_sglang_reasoning_is_free(sglang: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    grammar = sglang._init_value_dispatch(("regex", "yes"), True)
    masks = grammar.allocate_vocab_mask(VOCAB_SIZE, 1, "cpu")
    thought = ids(tiny_tokenizer, "zebra</think>")
    for token in thought:
        grammar.fill_vocab_mask(masks, 0)
        assert len(bits(masks[0])) > 500
        assert tiny_tokenizer.eos_token_id not in bits(masks[0])
        grammar.accept_token(token)
    grammar.fill_vocab_mask(masks, 0)
    assert bits(masks[0]) == fresh_mask(tiny_tokenizer, "yes", "")
    grammar.accept_token(ids(tiny_tokenizer, "y")[0])
    grammar.rollback(2)  # into the marker
    grammar.fill_vocab_mask(masks, 0)
    assert len(bits(masks[0])) > 500
    grammar.accept_token(thought[-1])
    assert grammar.try_jump_forward(tiny_tokenizer) == ([], "yes")
    assert grammar.jump_forward_str_state(([], "yes")) == ("yes", -1)
    old, new = ids(tiny_tokenizer, "y"), ids(tiny_tokenizer, "yes")
    grammar.accept_token(old[0])
    grammar.jump_and_retokenize(old, new, -1)
    grammar.fill_vocab_mask(masks, 0)
    assert bits(masks[0]) == [tiny_tokenizer.eos_token_id]


def test_a_served_grammar_closes_and_counts_its_steps(byte_info: TokenizerInfo) -> None:
    compiled, (end,) = GrammarCompiler(byte_info).compile_regex("ab"), byte_info.eos_token_ids
    grammar, row = ServedGrammar(compiled, Reasoning(byte_info, ";")), np.zeros(10, np.int32)
    assert grammar.accept_all([*b"hm;ab", end, 5, 6]) == 8
    assert grammar.is_terminated
    grammar.rollback(3)
    assert not grammar.is_terminated
    grammar.fill(row)
    assert bits(row) == [end]
    grammar.rollback(3)
    grammar.fill(row)
    assert len(bits(row)) == 256
    with pytest.raises(MatcherError, match="cannot roll back"):
        grammar.rollback(50)
    assert grammar.accept_all([*b";ax"]) == 2
    assert not grammar.accept(70_000)  # an error closes it
    grammar.fill(row)
    assert bits(row) == [end]
    assert not grammar.accept(ord("b"))
    assert grammar.jump_forward_string() == ""
    grammar.reset()
    assert grammar.accept(ord("x"))


def test_entry_points_lead_somewhere(root: Path) -> None:
    groups = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]
    assert set(groups) == {"vllm.general_plugins", "vllm.logits_processors", "sglang.srt.plugins"}
    for group in groups.values():
        for target in group.values():
            module, name = target.split(":")
            source = root / "engine" / f"{module.removeprefix('maskwright.')}.py"
            assert f"def {name}(" in source.read_text() or f"class {name}(" in source.read_text()
