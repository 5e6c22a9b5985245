"""The flat trie against a trie of dictionaries, and its signatures against their definitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.compile.plans import SPACES
from maskwright.compile.token_tables import TokenTables
from maskwright.compile.trie import SIG_NON_ASCII, SIG_WELL_FORMED, TokenTrie
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.kernels import layout as L
from maskwright.kernels.trie import count_characters

# Few bytes, so that tokens share prefixes; among them all that decide whether UTF-8 is well formed.
SOME_BYTES = [*b"\x00 aA}", *b"\x7f\x80\x8f\x90\x9f\xa0\xbf\xc1\xc2\xe0\xe1\xed\xf0\xf1\xf4\xf5\xff"]
RAW = st.lists(st.sampled_from(SOME_BYTES), max_size=6).map(bytes)
TEXT = st.text(st.sampled_from("aé€\ud7ff\ue000𝄞\U0010ffff}"), max_size=4).map(lambda text: text.encode())
CUT_TEXT = st.builds(
    lambda text, cut: text[cut[0] : len(text) - cut[1]], TEXT, st.tuples(st.integers(0, 2), st.integers(0, 2))
)
LONG = st.builds(lambda head, tail: b"shared prefix" + head * 3 + tail, RAW, RAW)
TOKENS = st.lists(st.none() | RAW | TEXT | CUT_TEXT | LONG, max_size=30)


# ---------------------------------------------------------------- naive


class NaiveNode:
    """A trie of dictionaries."""

    def __init__(self) -> None:
        self.children: dict[int, NaiveNode] = {}
        self.tokens: list[int] = []

    def paths(self) -> Iterator[bytes]:
        """The bytes of every path strictly below."""
        for byte, child in self.children.items():
            yield bytes([byte])
            yield from (bytes([byte]) + path for path in child.paths())

    def preorder(self, prefix: bytes = b"") -> Iterator[tuple[bytes, NaiveNode]]:
        yield prefix, self
        for byte in sorted(self.children):
            yield from self.children[byte].preorder(prefix + bytes([byte]))


def naive_trie(tokens: list[bytes | None]) -> NaiveNode:
    root = NaiveNode()
    for token_id, token in enumerate(tokens):
        if token:
            node = root
            for byte in token:
                node = node.children.setdefault(byte, NaiveNode())
            node.tokens.append(token_id)
    return root


def begins_utf8(path: bytes) -> bool:
    """Whether some well-formed UTF-8 begins with `path`: whole characters, then perhaps a part of one."""
    for cut in range(max(0, len(path) - 3), len(path) + 1):
        try:
            path[:cut].decode()
        except UnicodeDecodeError:
            continue
        if cut == len(path) or path[cut:] in CHARACTER_STARTS:
            return True
    return False


# Every proper prefix of the UTF-8 of a character; a step of 64 reaches each, as only the last byte counts by ones.
CHARACTER_STARTS = {
    chr(code).encode()[:length]
    for code in [*range(0x80, 0xD800, 64), *range(0xE000, 0x110000, 64)]
    for length in range(1, len(chr(code).encode()))
}


def check_against_naive(tokens: list[bytes | None]) -> None:
    trie, nodes = TokenTrie.from_tokens(tokens), list(naive_trie(tokens).preorder())
    number = {prefix: i for i, (prefix, _) in enumerate(nodes)}
    assert trie.node_count == len(nodes)
    assert trie.max_depth == max(map(len, number))
    order = [token for _, node in nodes for token in node.tokens]
    assert trie.rank_to_token.tolist() == order
    assert order == sorted((i for i, token in enumerate(tokens) if token), key=lambda i: (tokens[i], i))
    for i, (prefix, node) in enumerate(nodes):
        assert trie.byte[i] == (prefix[-1] if prefix else 0)
        assert trie.depth[i] == len(prefix)
        assert trie.children(i) == [number[prefix + bytes([byte])] for byte in sorted(node.children)]
        assert trie.find(prefix) == i
        assert trie.tokens_at(i) == node.tokens
        assert trie.tokens_under(i) == [t for _, below in node.preorder() for t in below.tokens]
        paths = list(node.paths())
        below = {byte for path in paths for byte in path}
        assert int(trie.sig_low[i]) == sum(1 << byte for byte in below if byte < 64)
        assert int(trie.sig_high[i]) == sum(1 << byte - 64 for byte in below if 64 <= byte < 128)
        assert bool(trie.sig_flags[i] & SIG_NON_ASCII) == any(byte >= 128 for byte in below)
        assert bool(trie.sig_flags[i] & SIG_WELL_FORMED) == all(map(begins_utf8, paths))
        assert trie.sig_chars[i] == max((sum(not 0x80 <= byte < 0xC0 for byte in path) for path in paths), default=0)


# ---------------------------------------------------------------- tests


@settings(max_examples=300, deadline=None)
@given(TOKENS)
def test_equals_the_naive_trie(tokens: list[bytes | None]) -> None:
    check_against_naive(tokens)


@settings(max_examples=100, deadline=None)
@given(TOKENS)
def test_characters_are_counted(tokens: list[bytes | None]) -> None:
    trie = TokenTrie.from_tokens(tokens)
    of_nodes, of_ranks = count_characters(trie.byte, trie.depth, trie.first_rank, trie.max_depth)
    begun = [sum(byte & 0xC0 != 0x80 for byte in tokens[token] or b"") for token in trie.rank_to_token]
    assert of_ranks.tolist() == begun
    for node in range(trie.node_count):
        text = tokens[trie.tokens_under(node)[0]] if trie.token_count else b""
        assert of_nodes[node] == sum(byte & 0xC0 != 0x80 for byte in (text or b"")[: trie.depth[node]])


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [None, b""],
        [b"a"],
        [b"b", b"a", b"b", None, b"", b"b"],
        [b"a\0", b"a", b"a\0\0", b"\0"],
        [b"12345678", b"12345678\0", b"1234567", b"123456789", b"12345678"],
        [bytes([byte]) for byte in range(256)],
        [b"x" * length for length in range(80, 0, -1)],
        [chr(code).encode() for code in (0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF)],
        [b"\xed\xa0\x80", b"\xe0\x80\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xf0\x80"],
    ],
)  # fmt: skip
def test_small_vocabularies(tokens: list[bytes | None]) -> None:
    check_against_naive(tokens)


def test_a_token_of_a_million_bytes() -> None:
    trie = TokenTrie.from_tokens([b"ab" * 500_000, b"ab", "é".encode() * 100_000])
    assert trie.max_depth == 1_000_000
    assert trie.sig_chars[trie.find(b"a")] == 999_999
    assert trie.sig_chars[trie.find(b"\xc3")] == 99_999


def test_many_tokens_with_equal_leading_bytes() -> None:
    generator = np.random.default_rng(0)
    tokens = [
        b"leading!" + generator.integers(0, 3, size, np.uint8).tobytes() for size in generator.integers(0, 9, 20_000)
    ]
    trie = TokenTrie.from_tokens(tokens)
    assert trie.rank_to_token.tolist() == sorted(range(len(tokens)), key=lambda i: (tokens[i], i))


def test_find_answers_minus_one_where_nothing_begins_so() -> None:
    trie = TokenTrie.from_tokens([b"abc"])
    assert trie.find(b"b") == trie.find(b"abd") == trie.find(b"abcd") == -1


def test_arrays_are_read_only() -> None:
    trie = TokenTrie.from_tokens([b"ab", b"a"])
    for name in ARRAYS:
        assert not getattr(trie, name).flags.writeable


ARRAYS = [field.name for field in fields(TokenTrie) if field.name != "max_depth"]
SAMPLE: list[bytes | None] = [b"a", b"ab", None, b"ad", "é".encode(), b"ab", b"\xa9", b"", b"b"]


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("change", [1, -1, 2, 1000])
def test_validate_catches_every_changed_number(name: str, change: int) -> None:
    trie = TokenTrie.from_tokens(SAMPLE)
    array = getattr(trie, name)
    for i in range(array.size):
        corrupted = array.copy()
        corrupted[i : i + 1] += np.array(change).astype(array.dtype)
        corrupted.setflags(write=False)
        with pytest.raises(ValueError, match="token trie"):
            replace(trie, **{name: corrupted})


@pytest.mark.parametrize("name", ARRAYS)
def test_validate_catches_wrong_shapes_and_types(name: str) -> None:
    trie = TokenTrie.from_tokens(SAMPLE)
    array = getattr(trie, name)
    for wrong in (array[:-1], np.append(array, array[-1:] + 1), array.astype(np.float64), np.repeat(array, 2)[::2]):
        with pytest.raises(ValueError, match="token trie"):
            replace(trie, **{name: wrong})


def test_validate_catches_exchanged_ranks_and_a_wrong_max_depth() -> None:
    trie = TokenTrie.from_tokens(SAMPLE)
    for a in range(trie.token_count):
        for b in range(a):
            ranks = trie.rank_to_token.copy()
            ranks[[a, b]] = ranks[[b, a]]
            ranks.setflags(write=False)
            with pytest.raises(ValueError, match="node"):
                replace(trie, rank_to_token=ranks)
    with pytest.raises(ValueError, match="max_depth"):
        replace(trie, max_depth=3)


def test_a_real_vocabulary(shared: Path) -> None:
    from tokenizers import Tokenizer

    from maskwright.compile.vocabulary import TokenizerInfo

    info = TokenizerInfo.from_huggingface(Tokenizer.from_file(str(shared / "data/tokenizers/llama3/tokenizer.json")))
    trie = info.trie
    assert (trie.token_count, trie.node_count, trie.max_depth) == (128_000, 274_521, 128)
    tokens = [info.tokens[token_id] for token_id in trie.rank_to_token.tolist()]
    assert tokens == sorted(token for i, token in enumerate(info.tokens) if i not in info.special_token_ids and token)

    generator = np.random.default_rng(1)
    for node in [0, *generator.integers(1, trie.node_count, 300).tolist()]:
        at = trie.first_rank[node]
        prefix = tokens[at][: trie.depth[node]]
        assert trie.find(prefix) == node
        below = [token[len(prefix) :] for token in tokens[at : trie.first_rank[trie.end[node]]]]
        assert all(token.startswith(prefix) for token in tokens[at : trie.first_rank[trie.end[node]]])
        present = set().union(*below)
        assert int(trie.sig_low[node]) == sum(1 << byte for byte in present if byte < 64)
        assert int(trie.sig_high[node]) == sum(1 << byte - 64 for byte in present if 64 <= byte < 128)
        assert bool(trie.sig_flags[node] & SIG_NON_ASCII) == any(byte >= 128 for byte in present)
        assert bool(trie.sig_flags[node] & SIG_WELL_FORMED) == all(map(begins_utf8, below))
        assert trie.sig_chars[node] == max(sum(not 0x80 <= byte < 0xC0 for byte in tail) for tail in below)


def node_texts(tables: TokenTables) -> Iterator[tuple[int, list[bytes]]]:
    """The nodes of a trie, and what is left there of the tokens below."""
    for node, depth in enumerate(tables.trie_depth):
        ranks = range(tables.trie_first[node], tables.trie_first[tables.trie_end[node]])
        yield node, [tables.bytes_of(int(tables.trie_tokens[rank]))[depth:] for rank in ranks]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.sampled_from("a é\u00a0\u2028\u2027\u3000\ufeff𝄞"), max_size=5), max_size=20))
def test_spaces_beyond_ascii_are_flagged(texts: list[str]) -> None:
    tables = TokenTables(TokenizerInfo([*(text.encode() for text in texts), b"x", b""], eos_token_ids=[len(texts) + 1]))
    spaces = set(map(chr, SPACES))
    for node, rests in node_texts(tables):
        below = any(spaces & set(rest.decode(errors="ignore")) for rest in rests)
        assert bool(tables.held["sig_flags"][node] & L.SIG_SPACES) == below


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=3), min_size=100, max_size=200))
def test_lists_of_children(tokens: list[bytes]) -> None:
    tables = TokenTables(TokenizerInfo([*tokens, b""], eos_token_ids=[len(tokens)]))
    lists, children = tables.held["lists"], tables.held["children"]
    for node, end in enumerate(tables.trie_end):
        wanted, child = [], node + 1
        while child < end:
            wanted += [(int(tables.held["byte"][child]), child)]
            child = int(tables.trie_end[child])
        if lists[node]:
            pairs = children[lists[node] : lists[node] + 2 * len(wanted) + 2].reshape(-1, 2).tolist()
            assert pairs == [*map(list, wanted), [-1, end]]
        else:
            assert len(wanted) < 16 or tables.trie_depth[node] >= 3
