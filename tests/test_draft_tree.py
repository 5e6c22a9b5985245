"""Draft trees: their layout, and the masks of all nodes against one matcher a path."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import maskwright as mw
from maskwright.grammars.errors import MatcherError
from maskwright.runtime.draft_tree import DraftTree, TreeBuilder

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"enum": ["a", "ab", "b"]}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
DISTINCT = {"type": "array", "items": {"enum": ["red", "green", "re"]}, "uniqueItems": True}
OPEN = {"type": "object", "properties": {"name": {"type": "integer"}}, "additionalProperties": {"type": "integer"}}
NESTED = '''root ::= item+
item ::= "(" item* ")" | [a-c] | "ab"'''


def random_tree(rng: random.Random, tokens: list[int], nodes: int) -> DraftTree:
    builder = TreeBuilder(7)
    while len(builder) < nodes:
        builder.add(rng.randrange(len(builder)), rng.choice(tokens), rng.random())
    return builder.build()


def test_the_example_of_the_module() -> None:
    builder = TreeBuilder(9)
    a, b = builder.add(0, 1), builder.add(0, 2)
    c = builder.add(a, 3)
    assert builder.add(0, 1) == a, "equal paths are one node"
    tree = builder.build()
    assert tree.token.tolist() == [9, 1, 2, 3]
    assert tree.parent.tolist() == [-1, 0, 0, 1]
    assert tree.depth.tolist() == [0, 1, 1, 2]
    assert tree.first_child.tolist() == [1, 3, -1, -1]
    assert tree.next_sibling.tolist() == [-1, 2, -1, -1]
    assert (tree.child(a, 3), tree.child(b, 3), tree.path(c), tree.is_chain) == (c, -1, [a, c], False)
    assert tree.ancestors().astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parent": [-1, 0, 2, 0]}, "before its children"),
        ({"token": [0, 1, 1, 2], "parent": [-1, 0, 0, 1]}, "different tokens"),
        ({"next_sibling": [-1, -1, -1, -1]}, "its parent's child"),
        ({"q": {0: np.array([0.4, 0.4, 0.0])}}, "a distribution"),
        ({"q": {0: np.array([0.0, 0.0, 1.0])}}, "what was drawn"),
    ],
)
def test_broken_layouts_are_noticed(change: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {
        "token": [0, 1, 2, 2],
        "parent": [-1, 0, 0, 1],
        "depth": [0, 1, 1, 2],
        "first_child": [1, 3, -1, -1],
        "next_sibling": [-1, 2, -1, -1],
    } | change
    q = fields.pop("q", None)
    arrays = {name: np.array(values, np.int64) for name, values in fields.items()}
    with pytest.raises(AssertionError, match=message):
        DraftTree(**arrays, confidence=np.ones(4), q=q)


def test_pruning_keeps_what_hangs_together() -> None:
    rng = random.Random(3)
    for _ in range(50):
        tree = random_tree(rng, list(range(20)), 20)
        chosen = np.array([rng.random() < 0.7 for _ in range(len(tree))])
        smaller, numbers = tree.kept(chosen)
        whole = [n for n in range(len(tree)) if n == 0 or all(chosen[step] for step in tree.path(n))]
        assert numbers.tolist() == whole
        for place, number in enumerate(whole):
            paths = smaller.path(place), tree.path(number)
            assert smaller.token[paths[0]].tolist() == tree.token[paths[1]].tolist()
        best = tree.best(8)
        assert len(best) == 9
        assert sorted(best.value)[1:] == pytest.approx(sorted(tree.value)[-9:][1:])


def test_grafting_joins_equal_paths() -> None:
    left, right = TreeBuilder(5), TreeBuilder(5)
    left.add_path(0, [1, 2, 3], 0.5)
    right.add_path(0, [1, 2, 4], 0.8)
    left.graft(right.build())
    tree = left.build()
    assert len(tree) == 5
    assert tree.confidence.tolist() == [1.0, 0.8, 0.8, 0.5, 0.8]


# ----------------------------------------------------------------------------------------------------------------- masks


@pytest.fixture(scope="module")
def info() -> mw.TokenizerInfo:
    pieces = [bytes((byte,)) for byte in range(256)]
    pieces += [
        b'{"',
        b'":',
        b'": "',
        b'", "',
        b'"}',
        b"name",
        b"age",
        b"tags",
        b"12",
        b", ",
        b"ab",
        b"()",
        b'"red',
        b"re",
        b'", "r',
    ]
    return mw.TokenizerInfo([*pieces, b"</s>"], eos_token_ids=[len(pieces)])


def compiled(info: mw.TokenizerInfo, name: str) -> mw.CompiledGrammar:
    compiler = mw.GrammarCompiler(info)
    if name == "nested":
        return compiler.compile_grammar(NESTED)
    return compiler.compile_json_schema(
        {"person": PERSON, "distinct": DISTINCT, "open": OPEN}[name], whitespace="single"
    )


def guided_tree(rng: random.Random, matcher: mw.GrammarMatcher, nodes: int) -> DraftTree:
    """Mostly tokens that may follow where they stand, some of any kind."""
    builder = TreeBuilder()
    while len(builder) < nodes:
        parent, guide = rng.randrange(len(builder)), matcher.fork()
        led = all(not guide.is_terminated() and guide.accept_token(token) for token in builder.tokens(parent))
        if led and rng.random() < 0.8:
            builder.add(parent, int(rng.choice(guide.allowed_token_ids())))
        else:
            builder.add(parent, rng.randrange(matcher.compiled.tokenizer_info.vocab_size))
    return builder.build()


@pytest.mark.parametrize("name", ["person", "distinct", "open", "nested"])
def test_the_masks_of_a_tree_are_those_of_its_paths(info: mw.TokenizerInfo, name: str) -> None:
    grammar, rng = compiled(info, name), random.Random(11)
    words = -(-info.vocab_size // 32)
    seen = 0
    for _ in range(12):
        matcher = mw.GrammarMatcher(grammar)
        for _ in range(rng.randrange(12)):
            ids = matcher.allowed_token_ids()
            matcher.accept_token(int(rng.choice(ids)))
            if matcher.is_terminated():
                matcher.rollback()
                break
        tree = guided_tree(rng, matcher, 60)
        bitmask = np.full((len(tree), words), 77, np.int32)
        steps = matcher.step_count
        assert matcher.traverse_draft_tree(tree.first_child, tree.next_sibling, tree.token, bitmask)
        assert matcher.step_count == steps
        for node in range(len(tree)):
            alone = matcher.fork()
            moved = all(not alone.is_terminated() and alone.accept_token(int(tree.token[n])) for n in tree.path(node))
            expected = np.full((1, words), 77, np.int32)
            if moved:
                alone.fill_next_token_bitmask(expected)
                seen += node > 0
            assert np.array_equal(bitmask[node], expected[0])
    assert seen > 40, "hardly any node was allowed: the case tests little"


def test_torch_tensors_and_a_clock(info: mw.TokenizerInfo) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install maskwright[hf]")
    matcher = mw.GrammarMatcher(compiled(info, "nested"))
    tree = random_tree(random.Random(1), [ord("a"), ord("b")], 200)
    links = [torch.from_numpy(part) for part in (tree.first_child, tree.next_sibling, tree.token)]
    bitmask, temperatures = mw.allocate_token_bitmask(200, info.vocab_size), torch.zeros(200)
    assert matcher.traverse_draft_tree(*links, bitmask, 60.0, temperatures)
    assert (temperatures == -1).all()
    whole = np.zeros((200, bitmask.shape[1]), np.int32)
    assert matcher.traverse_draft_tree(*links, whole)
    assert np.array_equal(bitmask.numpy(), whole)
    assert not matcher.traverse_draft_tree(*links, bitmask, 1e-9)
    assert matcher.step_count == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"children": [1, 5, -1]}, "lead to nodes"),
        ({"children": [0, -1, -1]}, "make a tree"),
        ({"siblings": [-1, 1, -1]}, "make a tree"),
        ({"siblings": [2, -1, -1]}, "make a tree"),
        ({"children": [1, 2, -1], "siblings": [-1, 2, -1]}, "make a tree"),
        ({"tokens": [0, 400, 0]}, "token id 400"),
        ({"tokens": [0, 1]}, "equally long"),
        ({"tokens": np.array([0, 1, 2], np.int32)}, "must be int64"),
        ({"bitmask": np.zeros((2, 9), np.int32)}, "2 rows for 3 nodes"),
        ({"bitmask": np.zeros((3, 2), np.int32)}, "rows of 9 words"),
    ],
)
def test_arrays_that_are_no_tree(info: mw.TokenizerInfo, change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"children": [1, -1, -1], "siblings": [-1, 2, -1], "tokens": [0, 97, 98]} | change
    bitmask = arguments.pop("bitmask", np.zeros((3, 9), np.int32))
    arrays = [np.array(arguments[name]) for name in ("children", "siblings", "tokens")]
    with pytest.raises(MatcherError, match=message):
        mw.GrammarMatcher(compiled(info, "nested")).traverse_draft_tree(*arrays, bitmask)
