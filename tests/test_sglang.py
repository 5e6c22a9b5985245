"""SGLang's own grammar classes, plug-in loader, grammar manager's cache and walk of draft trees (`make test-server-sglang`).

The engine needs CUDA; what it asks of a grammar does not. torchvision is imported by modules on the way and used by none of
this: its wheels do not load beside PyTorch's build for CPUs, so empty modules take its place.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.runtime.matcher import GrammarMatcher

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

pytestmark = pytest.mark.servers

VOCAB_SIZE = 640  # more than the tokenizer's: a padded model


class _Unused(MetaPathFinder, Loader):
    """Modules of one package, whose names are there and do nothing."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        mine = fullname.partition(".")[0] == self._package
        return ModuleSpec(fullname, self, is_package=True) if mine else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__getattr__ = self._name  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""

    @staticmethod
    def _name(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@pytest.fixture(scope="module")
def sglang() -> Iterator[SimpleNamespace]:
    """SGLang with its plug-ins loaded, as `launch_server` loads them."""
    pytest.importorskip("sglang", reason="SGLang is not installed: make test-server-sglang")
    finder = _Unused("torchvision")
    sys.meta_path.append(finder)
    names = (
        "plugins", "server_args", "arg_groups.choices", "runtime_context", "constrained.base_grammar_backend",
        "constrained.grammar_manager", "speculative.spec_utils",
    )  # fmt: skip
    modules = {name.rpartition(".")[2]: importlib.import_module(f"sglang.srt.{name}") for name in names}
    modules["plugins"].load_plugins()
    yield SimpleNamespace(**modules)
    sys.meta_path.remove(finder)


@pytest.fixture
def backend(sglang: SimpleNamespace, tiny_tokenizer: PreTrainedTokenizerFast) -> Iterator[Any]:
    """As the server makes it, with `--grammar-backend maskwright --reasoning-parser deepseek-r1`."""
    context = sglang.runtime_context.get_context()
    end = {tiny_tokenizer.eos_token_id}
    with context.override_server_args(grammar_backend="maskwright", reasoning_parser="deepseek-r1") as arguments:
        thought = ids(tiny_tokenizer, "</think>")
        yield sglang.base_grammar_backend.create_grammar_backend(arguments, tiny_tokenizer, VOCAB_SIZE, end, thought)


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def bits(row: Any) -> list[int]:
    return np.flatnonzero(np.unpackbits(np.asarray(row).view(np.uint8), bitorder="little")).tolist()


def expected(tokenizer: Any, pattern: str, text: str) -> list[int]:
    matcher = GrammarMatcher(GrammarCompiler(TokenizerInfo.from_huggingface(tokenizer)).compile_regex(pattern))
    assert matcher.accept_string(text)
    return matcher.allowed_token_ids().tolist()


def compiled(backend: Any, kind: str, source: str, reasoning: bool = False) -> Any:
    """What the scheduler gets: a future, then copies of what it has cached."""
    future, known = backend.get_cached_or_future_value((kind, source), reasoning)
    assert not known
    return future.result(60)


def test_the_plug_in_is_a_choice_of_the_command_line(sglang: SimpleNamespace, backend: Any) -> None:
    assert "maskwright" in sglang.choices.GRAMMAR_BACKEND_CHOICES
    parser = argparse.ArgumentParser()
    sglang.server_args.ServerArgs.add_cli_args(parser)
    assert parser.parse_args(["--model-path", "m", "--grammar-backend", "maskwright"]).grammar_backend == "maskwright"
    assert type(backend).__module__ == "maskwright.sglang_backend"
    assert isinstance(backend, sglang.base_grammar_backend.BaseGrammarBackend)


@pytest.mark.parametrize(
    ("kind", "source", "good", "bad"),
    [
        ("json", '{"type": "integer"}', "17", "x"),
        ("json", "$$ANY$$", '{"a": 1}', "[1]"),
        ("regex", "a{3}", "aaa", "ab"),
        ("ebnf", 'root ::= "(" root ")" | "o"', "((o))", "("),
        ("full_assistant_ebnf", 'root ::= "yes"', "yes", "ye"),
        ("structural_tag", '{"type": "structural_tag", "format": {"type": "const_string", "value": "so"}}', "so", "s"),
        ("structural_tag", '{"structures": [{"begin": "<f>", "schema": {"type": "integer"}, "end": "</f>"}],'
         ' "triggers": ["<f"]}', "well <f>3</f>", "<f>x</f>"),
    ],
)  # fmt: skip
def test_dispatch(
    backend: Any, tiny_tokenizer: PreTrainedTokenizerFast, kind: str, source: str, good: str, bad: str
) -> None:
    grammar, end = compiled(backend, kind, source), tiny_tokenizer.eos_token_id
    assert grammar.grammar_stats.compilation_time > 0
    wrong = grammar.copy()
    for token in [*ids(tiny_tokenizer, good), end]:
        grammar.accept_token(token)
    assert grammar.is_terminated()
    with pytest.raises(ValueError, match="does not allow token"):
        for token in [*ids(tiny_tokenizer, bad), end]:
            wrong.accept_token(token)


def test_what_cannot_be_kept_is_refused(sglang: SimpleNamespace, backend: Any) -> None:
    for kind, source, message in (
        ("json", '{"properties": {"a": {"type": "text"}}}', "/properties/a/type"),
        ("json", "{", "JSON"),
        ("regex", "(a", "no end"),
        ("ebnf", "root ::= missing", "missing"),
        ("regex", "a\0", "NUL"),  # which SGLang refuses itself
    ):
        refused = compiled(backend, kind, source)
        assert isinstance(refused, sglang.base_grammar_backend.InvalidGrammarObject)
        assert re.search(message, refused.error_message), refused.error_message


def test_cached_grammars_are_copies(backend: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    key = ("regex", "[ab]+x")
    first = compiled(backend, *key)
    backend.set_cache(key, first.copy())
    first.accept_token(ids(tiny_tokenizer, "a")[0])
    masks = first.allocate_vocab_mask(VOCAB_SIZE, 2, "cpu")
    for row in range(2):
        second, known = backend.get_cached_or_future_value(key, False)
        assert known
        assert second.grammar_stats.is_cache_hit
        second.fill_vocab_mask(masks, row)
        second.accept_token(ids(tiny_tokenizer, "b")[0])
    assert bits(masks[0]) == bits(masks[1]) == expected(tiny_tokenizer, "[ab]+x", "")
    backend.reset()


def tree_of(parents: list[int]) -> tuple[Any, Any]:
    """First children and next siblings of a tree of which node i has parents[i] above it, -1 for none."""
    import torch

    children, siblings = torch.full((len(parents),), -1), torch.full((len(parents),), -1)
    for node in range(len(parents) - 1, 0, -1):
        siblings[node] = children[parents[node]]
        children[parents[node]] = node
    return children, siblings


def test_masks_of_a_draft_tree(sglang: SimpleNamespace, backend: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """SGLang's own walk over random trees: the rows that it fills are the masks behind what leads there."""
    import torch

    pattern, random = "([a-c]{2}x)+!", np.random.default_rng(0)
    letters, end = [ids(tiny_tokenizer, letter)[0] for letter in "abcx!z"], tiny_tokenizer.eos_token_id
    grammars = [compiled(backend, "regex", pattern) for _ in range(3)]
    started = ["", "abxa", "bcx"]
    for grammar, text in zip(grammars, started, strict=True):
        for token in ids(tiny_tokenizer, text):
            grammar.accept_token(token)
    size = 24
    for _ in range(20):
        parents = [[-1, *(int(random.integers(node)) for node in range(1, size))] for _ in grammars]
        tokens = random.choice(
            [*letters, end, VOCAB_SIZE + 5], (len(grammars) + 1, size), p=[0.2, 0.2, 0.2, 0.2, 0.1, 0.05, 0.04, 0.01]
        )
        trees = [tree_of(one) for one in [*parents, parents[0]]]
        requests = [SimpleNamespace(grammar=grammar) for grammar in [*grammars, None]]  # the last is not constrained
        masks, handle = sglang.spec_utils.generate_token_bitmask(
            requests, torch.stack([tree[0] for tree in trees]), torch.stack([tree[1] for tree in trees]),
            torch.tensor(tokens), VOCAB_SIZE,
        )  # fmt: skip
        assert handle in grammars
        compiler = GrammarCompiler(TokenizerInfo.from_huggingface(tiny_tokenizer, VOCAB_SIZE)).compile_regex(pattern)
        for number, text in enumerate(started):
            for node in range(size):
                path, above = [], node
                while above > 0:
                    path.append(int(tokens[number, above]))
                    above = parents[number][above]
                matcher = GrammarMatcher(compiler)
                matcher.accept_string(text)
                good = all(
                    token < VOCAB_SIZE and not matcher.is_terminated() and matcher.accept_token(token)
                    for token in reversed(path)
                )
                row = bits(masks[number * size + node])
                filled = good and not matcher.is_terminated()
                assert row == (matcher.allowed_token_ids().tolist() if filled else [*range(VOCAB_SIZE)])
        assert (masks[len(grammars) * size :] == -1).all()
    logits = torch.zeros(2, VOCAB_SIZE)
    rows = handle.move_vocab_mask(masks[:2], "cpu")
    sglang.base_grammar_backend.GrammarMask(handle, rows).apply(logits)
    assert torch.isfinite(logits[0]).nonzero()[:, 0].tolist() == bits(masks[0])


def test_reasoning_is_free_and_can_be_taken_back(backend: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    grammar = compiled(backend, "regex", "yes", reasoning=True)
    masks, end = grammar.allocate_vocab_mask(VOCAB_SIZE, 1, "cpu"), tiny_tokenizer.eos_token_id
    thought = ids(tiny_tokenizer, "zebra</think>")
    for token in thought:
        grammar.fill_vocab_mask(masks, 0)
        assert len(bits(masks[0])) > 400
        assert end not in bits(masks[0])
        grammar.accept_token(token)
    grammar.fill_vocab_mask(masks, 0)
    assert bits(masks[0]) == expected(tiny_tokenizer, "yes", "")
    grammar.rollback(1)
    grammar.fill_vocab_mask(masks, 0)
    assert len(bits(masks[0])) > 400
    plain, known = backend.get_cached_or_future_value(("regex", "no"), False)  # one that does not reason
    assert not known
    plain.result(60).fill_vocab_mask(masks, 0)
    assert bits(masks[0]) == expected(tiny_tokenizer, "no", "")


def test_the_grammar_manager(sglang: SimpleNamespace, backend: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """Requests through SGLang's queue of grammars: one that waits for its grammar, one that is refused, one from the cache."""

    class Request:
        """What the manager asks of a request."""

        def __init__(self, schema: object) -> None:
            self.sampling_params = SimpleNamespace(
                json_schema=json.dumps(schema),
                regex=None,
                ebnf=None,
                structural_tag=None,
                custom_params=None,
            )
            self.require_reasoning, self.origin_input_ids, self.grammar_wait_ct = False, [1], 0
            self.grammar, self.grammar_key, self.aborted = None, None, ""

        def finished(self) -> bool:
            return bool(self.aborted)

        def set_finish_with_abort(self, message: str) -> None:
            self.aborted = message

    manager = object.__new__(sglang.grammar_manager.GrammarManager)
    vars(manager).update(
        grammar_backend=backend, grammar_queue=[], pp_rank=0, pp_size=1, grammar_sync_size=1,
        grammar_pp_sync_work_list=[], _enable_strict_thinking=False, SGLANG_GRAMMAR_POLL_INTERVAL=30.0,
        SGLANG_GRAMMAR_MAX_POLL_ITERATIONS=10,
    )  # fmt: skip
    good, bad, again = Request({"const": 5}), Request({"type": "text"}), Request({"const": 5})
    assert manager.process_req_with_grammar(good)
    assert manager.process_req_with_grammar(bad)
    assert {id(one) for one in manager.get_ready_grammar_requests()} == {id(good), id(bad)}
    assert not good.aborted
    assert "Failed to compile json grammar" in bad.aborted
    assert "/type" in bad.aborted
    assert not manager.process_req_with_grammar(again)  # known
    again.grammar.accept_token(ids(tiny_tokenizer, "5")[0])
    good.grammar.accept_token(ids(tiny_tokenizer, "5")[0])
    refused = Request({"type": "text"})
    assert not manager.process_req_with_grammar(refused)
    assert "/type" in refused.aborted
