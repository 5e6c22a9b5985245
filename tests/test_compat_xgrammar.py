"""maskwright.compat.xgrammar: the same small programs against XGrammar (where it is installed) and against ours."""

from __future__ import annotations

import importlib
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")

VOCABULARY = [bytes([byte]) for byte in range(256)] + [b"", b'{"', b'": ', b"ab"]
END = 256


@pytest.fixture(scope="module", params=["maskwright.compat.xgrammar", "xgrammar"])
def xgr(request: pytest.FixtureRequest) -> Any:
    try:
        return importlib.import_module(request.param)
    except ModuleNotFoundError:
        pytest.skip(f"{request.param} is not installed: pip install xgrammar==0.2.8")


@pytest.fixture(scope="module")
def compiler(xgr: Any) -> Any:
    return xgr.GrammarCompiler(xgr.TokenizerInfo(VOCABULARY, stop_token_ids=[END]), max_threads=2)


def allowed(xgr: Any, matcher: Any) -> list[int]:
    bitmask = xgr.allocate_token_bitmask(2, len(VOCABULARY))
    assert matcher.fill_next_token_bitmask(bitmask, 1)
    assert (bitmask[0] == -1).all()
    return [token for token in range(len(VOCABULARY)) if bitmask[1, token // 32].item() >> token % 32 & 1]


def takes(xgr: Any, compiled: Any, text: str) -> bool:
    matcher = xgr.GrammarMatcher(compiled)
    return bool(matcher.accept_string(text) and matcher.is_completed())


def test_it_is_imported_in_every_way() -> None:
    code = importlib.import_module("maskwright.compat.xgrammar")
    from maskwright.compat import xgrammar
    from maskwright.compat.xgrammar import GrammarMatcher  # type: ignore[import-not-found]
    from maskwright.compat.xgrammar.contrib.hf import LogitsProcessor  # type: ignore[import-not-found]

    assert code is xgrammar
    assert xgrammar.GrammarMatcher is GrammarMatcher
    assert xgrammar.contrib.hf.LogitsProcessor is LogitsProcessor
    with pytest.raises(AttributeError):
        xgrammar.get_model_structural_tag  # noqa: B018


def test_a_matcher_masks_accepts_rolls_back_and_ends(xgr: Any, compiler: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    matcher = xgr.GrammarMatcher(compiler.compile_regex("ab?"), max_rollback_tokens=20)
    assert allowed(xgr, matcher) == [ord("a"), 259]
    assert not matcher.accept_token(ord("b"))
    assert matcher.accept_token(ord("a"))
    assert (matcher.is_completed(), matcher.is_terminated()) == (True, False)
    assert allowed(xgr, matcher) == [ord("b"), END]
    twin = matcher.fork()
    assert twin.accept_token(ord("b"))
    assert allowed(xgr, twin) == [END]
    assert matcher.accept_token(END)
    assert matcher.is_terminated()
    assert matcher.stop_token_ids == [END]
    assert not matcher.accept_token(ord("b"))
    with pytest.raises(RuntimeError, match="terminated"):
        matcher.fill_next_token_bitmask(xgr.allocate_token_bitmask(1, len(VOCABULARY)))
    matcher.rollback(2)
    assert allowed(xgr, matcher) == [ord("a"), 259]
    with pytest.raises(RuntimeError):
        matcher.rollback(5)
    twin.reset()
    assert twin.accept_string("ab")
    assert twin.find_jump_forward_string() == ""


@pytest.mark.parametrize(
    ("schema", "texts"),
    [
        ({"type": "object"}, ['{"zz": 1}', '{"a": 1}', '{"a": 1, "zz": 1}', "{}"]),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, ['{"a": 1}', "{}"]),
        ({"type": "array", "prefixItems": [{"type": "integer"}]}, ["[1]", "[]"]),
        ({"type": "array"}, ["[1]", "[1, 2]", "[]"]),
        ({"type": "object", "patternProperties": {"^a": {"type": "integer"}}}, ['{"a": 1}', "{}"]),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "object", "properties": {"a": {}}}}}, ['{"a": 1}', "{}"]),
        ({"anyOf": [{"type": "object", "properties": {"a": {}}, "required": ["a"]}, {"type": "array"}]},
         ['{"a": 1}', "[1]", "[1, 2]", "[]"]),
    ],
)  # fmt: skip
def test_schemas_are_strict_as_servers_know_them(xgr: Any, compiler: Any, schema: Any, texts: list[str]) -> None:
    compiled = compiler.compile_json_schema(json.dumps(schema))
    candidates = ['{"zz": 1}', '{"a": 1}', '{"a": 1, "zz": 1}', "[1]", "[1, 2]", "{}", "[]"]
    assert [text for text in candidates if takes(xgr, compiled, text)] == texts


def test_strictness_can_be_left_out(xgr: Any, compiler: Any) -> None:
    compiled = compiler.compile_json_schema({"type": "object", "properties": {"a": {}}}, strict_mode=False)
    assert takes(xgr, compiled, '{"a": 1, "zz": 1}')


def test_white_space_and_classes(xgr: Any, compiler: Any) -> None:
    class Point(BaseModel):
        x: int
        y: int

    spaced = compiler.compile_json_schema(Point)
    exact = compiler.compile_json_schema(Point, any_whitespace=False)
    compact = compiler.compile_json_schema(Point, any_whitespace=False, separators=(",", ":"))
    lines = compiler.compile_json_schema(Point, any_whitespace=False, indent=2)
    texts = ['{"x": 1, "y": 2}', '{"x":1,"y":2}', '{\n  "x": 1,\n  "y": 2\n}', '{ "x" :1,"y":2}']
    found = [[takes(xgr, compiled, text) for text in texts] for compiled in (spaced, exact, compact, lines)]
    assert found == [[True] * 4, [True, False, False, False], [False, True, False, False], [False, False, True, False]]


def test_grammars_of_every_kind(xgr: Any, compiler: Any) -> None:
    tag = {"type": "structural_tag", "format": {"type": "tag", "begin": "<a>",
           "content": {"type": "json_schema", "json_schema": {"type": "integer"}}, "end": "</a>"}}  # fmt: skip
    item = xgr.StructuralTagItem(begin="<b>", schema=json.dumps({"type": "integer"}), end="</b>")
    for compiled, good, bad in (
        (compiler.compile_grammar('root ::= "(" root ")" | "o"'), "((o))", "((o)"),
        (compiler.compile_grammar('top ::= "x"+', root_rule_name="top"), "xxx", "y"),
        (compiler.compile_grammar(xgr.Grammar.from_ebnf('root ::= "x"')), "x", "xx"),
        (compiler.compile_grammar(xgr.Grammar.from_regex("[0-9]{2}")), "12", "1"),
        (compiler.compile_grammar(xgr.Grammar.from_json_schema('{"enum": ["a"]}')), '"a"', '"b"'),
        (compiler.compile_grammar(xgr.Grammar.builtin_json_grammar()), '[{"a": null}]', "[,]"),
        (compiler.compile_builtin_json_grammar(), '{"a": [1]}', "{"),
        (compiler.compile_grammar(
            xgr.Grammar.concat(xgr.Grammar.from_regex("a"), xgr.Grammar.from_regex("b"))), "ab", "a"),
        (compiler.compile_grammar(
            xgr.Grammar.union(xgr.Grammar.from_regex("a"), xgr.Grammar.from_regex("b"))), "b", "ab"),
        (compiler.compile_structural_tag(tag), "<a>5</a>", "<a>x</a>"),
        (compiler.compile_structural_tag(json.dumps(tag)), "<a>5</a>", "<a>x</a>"),
        (compiler.compile_structural_tag(xgr.StructuralTag.from_json(tag)), "<a>5</a>", "5"),
        (compiler.compile_structural_tag([item], ["<b"]), "so <b>7</b>, well", "so <b>x</b>"),
        (compiler.compile_structural_tag(
            xgr.StructuralTag.from_legacy_structural_tag([item], ["<b"])), "<b>7</b>", "<b>"),
    ):  # fmt: skip
        assert takes(xgr, compiled, good), good
        assert not takes(xgr, compiled, bad), bad
        assert compiled.memory_size_bytes > 0
        assert compiled.tokenizer_info.vocab_size == len(VOCABULARY)
        assert str(compiled.grammar)
    assert compiler.get_cache_size_bytes() > 0
    compiler.clear_cache()


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("json_schema", '{"type": '),
        ("grammar", "root ::= ("),
        ("regex", "(a"),
        ("structural_tag", {"type": "structural_tag", "format": {"type": "x"}}),
    ],
)
def test_wrong_grammars_are_runtime_errors(xgr: Any, compiler: Any, kind: str, source: Any) -> None:
    with pytest.raises(RuntimeError):
        getattr(compiler, f"compile_{kind}")(source)


def test_stop_tokens_of_a_request(xgr: Any, compiler: Any) -> None:
    compiled = compiler.compile_regex("ab?")
    matcher = xgr.GrammarMatcher(compiled, override_stop_tokens=[ord("z"), END])
    assert matcher.accept_token(ord("a"))
    assert allowed(xgr, matcher) == [ord("b"), ord("z"), END]
    assert matcher.accept_token(ord("z"))
    assert matcher.is_terminated()
    alone = xgr.GrammarMatcher(compiled, terminate_without_stop_token=True)
    assert alone.accept_string("ab")
    assert alone.is_terminated()


def test_vocabularies_by_their_spelling(xgr: Any) -> None:
    level = xgr.TokenizerInfo(["Ġa", "Ċ", "</s>"], xgr.VocabType.BYTE_LEVEL, vocab_size=5)
    assert level.decoded_vocab[:2] == [b" a", b"\n"]
    assert (level.vocab_size, level.stop_token_ids) == (5, [2])
    fallback = xgr.TokenizerInfo(["▁a", "<0x0A>", "</s>"], xgr.VocabType.BYTE_FALLBACK, stop_token_ids=2)
    assert fallback.decoded_vocab[:2] == [b" a", b"\n"]
    assert fallback.stop_token_ids == [2]
    assert fallback.vocab_type == xgr.VocabType.BYTE_FALLBACK


def test_masks_are_applied(xgr: Any) -> None:
    assert xgr.get_bitmask_shape(3, 260) == (3, 9)
    assert xgr.bitmask_dtype == torch.int32
    bitmask = xgr.allocate_token_bitmask(3, 260)
    assert (bitmask.shape, bitmask.dtype, bitmask.device.type) == ((3, 9), torch.int32, "cpu")
    bitmask[:] = 0
    bitmask[1, 0] = 5
    logits = torch.zeros(3, 300)
    xgr.apply_token_bitmask_inplace(logits, bitmask, vocab_size=260, indices=[1, 2])
    assert torch.isfinite(logits[0]).all()
    assert torch.isfinite(logits[1, :260]).nonzero()[:, 0].tolist() == [0, 2]
    assert torch.isfinite(logits[1, 260:]).all()
    assert not torch.isfinite(logits[2, :260]).any()
    xgr.reset_token_bitmask(bitmask)
    assert (bitmask == -1).all()
    half = torch.zeros(3, 260, dtype=torch.bfloat16)
    bitmask[0] = 1
    xgr.apply_token_bitmask_inplace(half, bitmask)
    assert torch.isfinite(half[1]).all()
    assert torch.isinf(half[0, 1:32]).all()


def test_a_batch_goes_on_together(xgr: Any, compiler: Any) -> None:
    matchers = [xgr.GrammarMatcher(compiler.compile_regex(pattern)) for pattern in ("ax", "bx", "cx")]
    batch, bitmask = xgr.BatchGrammarMatcher(max_threads=2), xgr.allocate_token_bitmask(4, len(VOCABULARY))
    batch.batch_fill_next_token_bitmask(matchers, bitmask, [3, 1, 0])
    assert [bitmask[row, 3].item() for row in (3, 1, 0, 2)] == [2, 4, 8, -1]
    assert xgr.BatchGrammarMatcher.batch_accept_token(matchers, [*b"axc"]) == [True, False, True]
    assert xgr.BatchGrammarMatcher.batch_accept_string(matchers, ["x", "b", "x"]) == [True, True, True]
    xgr.BatchGrammarMatcher.batch_rollback(matchers, [2, 1, 1])
    assert [allowed(xgr, matcher)[:1] for matcher in matchers] == [[ord("a")], [ord("b")], [ord("x")]]


def test_a_draft_tree_is_masked(xgr: Any, compiler: Any) -> None:
    matcher = xgr.GrammarMatcher(compiler.compile_regex("[ab]+x"))
    assert matcher.accept_token(ord("a"))
    bitmask = xgr.allocate_token_bitmask(4, len(VOCABULARY))
    bitmask.fill_(0)
    children, siblings = torch.tensor([1, 2, -1, -1]), torch.tensor([-1, 3, -1, -1])  # 0 -> 1 -> 2, and 0 -> 3
    tokens = torch.tensor([ord("a"), ord("b"), ord("x"), ord("q")])
    assert matcher.traverse_draft_tree(children, siblings, tokens, bitmask)
    found = [[token for token in (97, 98, 120, END) if row[token // 32] >> token % 32 & 1] for row in bitmask.tolist()]
    assert found == [[97, 98, 120], [97, 98, 120], [END], []]
    assert allowed(xgr, matcher)[:1] == [ord("a")]


def test_generation_with_transformers(
    xgr: Any, tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    ours = xgr.__name__ != "xgrammar"
    hf = importlib.import_module("maskwright.compat.xgrammar.contrib.hf" if ours else "xgrammar.contrib.hf")
    info = xgr.TokenizerInfo.from_huggingface(tiny_tokenizer, vocab_size=tiny_model.config.vocab_size)
    compiled = xgr.GrammarCompiler(info).compile_regex("[a-c]{5}")
    prompt = tiny_tokenizer(["The first", "The second one"], return_tensors="pt", padding=True)
    processor = hf.LogitsProcessor(compiled)
    output = tiny_model.generate(**prompt, logits_processor=[processor], max_new_tokens=12, do_sample=False)
    texts = tiny_tokenizer.batch_decode(output[:, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert [len(text) == 5 and set(text) <= set("abc") for text in texts] == [True, True]
