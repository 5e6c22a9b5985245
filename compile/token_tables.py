"""A vocabulary as the kernels read it: its trie's header, the tokens' bytes, the mask of every token."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from maskwright.compile.plans import SPACES
from maskwright.compile.trie import child_lists
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars.charset import LAST_CODE_POINT, CharSet
from maskwright.kernels import layout as L
from maskwright.kernels.trie import count_characters

__all__ = ["TokenTables", "trie_header"]

_PIECE = re.compile(rb'[^"]*"|[^"]+')
_TWO_KEYS = re.compile(rb'(?s)".*:.*,.*".')
_STRINGS = (re.compile(rb'(?s)[ \t\r\n]*"((?:[^"\\]|\\.)*)"'), re.compile(rb'(?s)((?:[^"\\]|\\.)*)"'))


def trie_header(**arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The header (int64 [TRIE_SIZE]) of a trie given as byte, end, first, tokens and, optionally, its signatures."""
    header = np.zeros(L.TRIE_SIZE, np.int64)
    slots = {
        "byte": L.TRIE_BYTE,
        "end": L.TRIE_END,
        "first": L.TRIE_FIRST,
        "tokens": L.TRIE_TOKENS,
        "sig_low": L.TRIE_SIG_LOW,
        "sig_high": L.TRIE_SIG_HIGH,
        "sig_flags": L.TRIE_SIG_FLAGS,
        "sig_chars": L.TRIE_SIG_CHARS,
        "node_chars": L.TRIE_NODE_CHARS,
        "rank_chars": L.TRIE_RANK_CHARS,
        "lists": L.TRIE_LISTS,
        "children": L.TRIE_CHILDREN,
    }
    for name, array in arrays.items():
        assert array.flags.c_contiguous, name
        header[slots[name]] = array.ctypes.data
    header[L.TRIE_NODES] = len(arrays["byte"])
    return header


class TokenTables:
    """What every grammar over one vocabulary shares; read only.

    Attributes:
        vocab_size, words: tokens, and int32 words of a mask (ceil(vocab_size / 32)).
        offsets, text: int64 [V + 1] and uint8: the path of token i is text[offsets[i]:offsets[i + 1]]: its bytes, or what
            stands for a special token (TokenizerInfo.path_of); end tokens, padded and empty ones have none.
        held: the trie's other arrays, by the names of trie_header.
        trie: header of the vocabulary's trie; trie_nodes: its size; trie_depth: int32 [N].
        blank: bool [N], the trie's nodes that white space leads to from their parents, and nothing else on from there.
        braced: bool [N], the trie's nodes with a closing brace in their byte or below.
        ranks: int32 [V], place of each token in the trie's order, -1 outside the trie.
        everything: int32 [words], the mask of every token of the trie.
        eos: int32, ids of the end-of-sequence tokens.
        writable, occurring: bool [256], bytes that are tokens by themselves, and bytes of any text token.
        lacking: the bytes that are not, in a string.
        characters: what can be written character by character; None: everything (there is a token for every byte).
        splits_characters: whether a token begins or ends inside a character.
        max_token: bytes of the longest token; slack_cap: a register above it is the same to every token.
    """

    def __init__(self, info: TokenizerInfo) -> None:
        self.info, self.vocab_size = info, info.vocab_size
        self._containing: dict[tuple[tuple[bytes, ...], ...], np.ndarray[Any, Any]] = {}
        self._pieces: dict[int, tuple[bytes, ...]] = {}
        self._found_at: dict[bytes, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = {}
        self.words = (info.vocab_size + 31) // 32
        source = info.matching_trie
        self.trie_end = np.ascontiguousarray(source.end, np.int32)
        self.trie_first = np.ascontiguousarray(source.first_rank, np.int32)
        self.trie_depth = np.ascontiguousarray(source.depth, np.int32)
        self.trie_tokens = np.ascontiguousarray(source.rank_to_token, np.int32)
        visible = np.zeros(len(source.byte) + 1, np.int32)
        np.cumsum(~np.isin(source.byte, np.frombuffer(b" \t\r\n", np.uint8)), out=visible[1:])
        self.blank = visible[self.trie_end] == visible[:-1]
        self.braced = (source.byte == 0x7D) | (source.sig_high >> np.uint64(0x7D - 64) & 1).astype(bool)
        self.ranks = np.full(self.vocab_size, -1, np.int32)
        self.ranks[self.trie_tokens] = np.arange(len(self.trie_tokens), dtype=np.int32)
        self.held: dict[str, np.ndarray[Any, Any]] = {
            "byte": np.ascontiguousarray(source.byte, np.uint8),
            "sig_low": np.ascontiguousarray(source.sig_low, np.uint64),
            "sig_high": np.ascontiguousarray(source.sig_high, np.uint64),
            "sig_flags": np.array(source.sig_flags, np.uint8),
            "sig_chars": np.ascontiguousarray(source.sig_chars, np.int32),
        }
        self.held["node_chars"], self.held["rank_chars"] = count_characters(
            self.held["byte"], self.trie_depth, self.trie_first, source.max_depth
        )
        self.held["lists"], self.held["children"] = child_lists(self.trie_end, self.trie_depth, self.held["byte"])
        self._mark_spaces(source.offset, source.data)
        self.trie = trie_header(end=self.trie_end, first=self.trie_first, tokens=self.trie_tokens, **self.held)
        self.trie_nodes = len(self.trie_end)
        in_trie = np.zeros(self.words * 32, bool)
        in_trie[self.trie_tokens] = True
        self.everything = np.packbits(in_trie, bitorder="little").view(np.int32).copy()
        self.offsets, self.text = source.offset, source.data
        self.eos = np.array(sorted(info.eos_token_ids), np.int32)
        self.max_token = int(np.diff(self.offsets).max(initial=1))
        self.slack_cap = min(self.max_token + 1, (1 << 16) - 1)
        self.writable = np.asarray(info.single_byte_tokens, bool)
        self.lacking = bytes(np.flatnonzero(~self.writable).astype(np.uint8))
        occurrences = np.bincount(self.text, minlength=256)
        for token in info.special_token_ids:
            start, stop = self.offsets[token : token + 2]
            occurrences -= np.bincount(self.text[start:stop], minlength=256)
        self.occurring = occurrences > 0
        self.characters: CharSet | None = None
        self.splits_characters = False
        if not self.writable.all():
            self._find_characters()

    def _mark_spaces(self, offsets: np.ndarray[Any, Any], text: np.ndarray[Any, Any]) -> None:
        """Flag the nodes of the trie that have white space or line ends beyond ASCII below them (SIG_SPACES)."""
        data, found = text.tobytes(), list[int]()
        for spelled in (chr(code).encode() for code in SPACES):
            place = data.find(spelled)
            while place >= 0:
                found.append(place)
                place = data.find(spelled, place + 1)
        places = np.array(found, np.int64)
        owners = np.searchsorted(offsets, places, "right") - 1
        ranks, depths = self.ranks[owners], places - offsets[owners]
        for depth in range(int(depths.max(initial=-1)) + 1):
            level = np.flatnonzero(self.trie_depth == depth)
            deeper = ranks[(depths >= depth) & (ranks >= 0)]
            above = level[np.searchsorted(self.trie_first[level], deeper, "right") - 1]
            self.held["sig_flags"][above] |= L.SIG_SPACES

    def _find_characters(self) -> None:
        """What a vocabulary without a token for every byte can write: its characters, and whether tokens split others."""
        alone = [(byte, byte) for byte in range(0x80) if self.writable[byte]]
        if self.writable[0x80:].all():
            alone.append((0x80, LAST_CODE_POINT))
        elif self.writable[0x80:0xC0].any():
            alone += self._assembled()
        special = self.info.special_token_ids
        for token, (start, stop) in enumerate(pairwise(self.offsets.tolist())):
            if token in special:
                continue
            try:
                text = self.text[start:stop].tobytes().decode()
            except UnicodeDecodeError:
                self.splits_characters = True
                continue
            if len(text) == 1:
                alone.append((ord(text), ord(text)))
        self.characters = CharSet(alone)

    def _assembled(self) -> list[tuple[int, int]]:
        """The non-ASCII characters whose bytes are all tokens by themselves."""
        tails = [byte & 0x3F for byte in range(0x80, 0xC0) if self.writable[byte]]
        found, heads = [], [[lead & 0x1F for lead in range(0xC2, 0xE0) if self.writable[lead]]]
        heads.append([lead & 0x0F for lead in range(0xE0, 0xF0) if self.writable[lead]])
        heads.append([lead & 0x07 for lead in range(0xF0, 0xF5) if self.writable[lead]])
        for length, (leads, first) in enumerate(zip(heads, (0x80, 0x800, 0x10000), strict=True), start=1):
            codes = leads
            for _ in range(length):
                codes = [code << 6 | tail for code in codes for tail in tails]
            found += [(code, code) for code in codes if first <= code <= LAST_CODE_POINT]
        return found

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token."""
        found: bytes = self.text[self.offsets[token] : self.offsets[token + 1]].tobytes()
        return found

    def cut(self, written: bytes) -> tuple[bytes, ...]:
        """Some bytes, cut behind each quote and into pieces of at most `max_token`."""
        size = self.max_token
        return tuple(
            piece[start : start + size] for piece in _PIECE.findall(written) for start in range(0, len(piece), size)
        )

    def pieces_of(self, token: int) -> tuple[bytes, ...]:
        """The bytes of a token, cut behind each quote; they are kept."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self.cut(self.bytes_of(token))
        return found

    def containing(self, *sequences: tuple[bytes, ...]) -> np.ndarray[Any, Any]:
        """The tokens that have, for one of `sequences`, a byte of each of its elements in order; int32.

        Other bytes may stand between them.
        """
        found = self._containing.get(sequences)
        if found is None:
            those = np.unique(np.concatenate([self._having(sequence) for sequence in sequences]))
            found = self._containing[sequences] = those.astype(np.int32)
        return found

    @cached_property
    def first_strings(self) -> dict[str, tuple[np.ndarray[Any, np.dtype[np.int32]], ...]]:
        """By what they hold: the tokens that write a string whole first, and those that do but for its opening quote; int32.

        White space may come before an opening quote.
        """
        found: dict[str, tuple[list[int], list[int]]] = {}
        for token in self.containing((b'"',)).tolist():
            for which, pattern in enumerate(_STRINGS):
                match = pattern.match(self.bytes_of(token))
                if match is not None:
                    spelled = match[1]
                    try:
                        text = json.loads(b'"' + spelled + b'"') if b"\\" in spelled else spelled.decode()
                    except ValueError:
                        continue  # it begins within a character, or no JSON text has it
                    found.setdefault(text, ([], []))[which].append(token)
        return {text: tuple(np.array(tokens, np.int32) for tokens in both) for text, both in found.items()}

    @cached_property
    def keys_behind_values(self) -> frozenset[str] | None:
        """The keys that tokens may hold whole behind a comma; None where that takes a closer look."""
        spelled = [self.bytes_of(token) for token in self.containing((b",", b'"', b'"')).tolist()]
        try:
            return (
                None
                if any(b"\\" in text for text in spelled)
                else frozenset(part for text in spelled for part in text.decode().split('"')[1:-1])
            )
        except UnicodeDecodeError:
            return None

    @cached_property
    def two_keys(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """The tokens that may hold the end of a key and something of the next; int32. Usual vocabularies have none."""
        those = self.containing((b'"', b'"')).tolist()
        return np.array([token for token in those if _TWO_KEYS.search(self.bytes_of(token))], np.int32)

    def _having(self, sequence: tuple[bytes, ...]) -> np.ndarray[Any, Any]:
        """The tokens of one sequence, ascending: every byte is looked for behind the one before it."""
        behind = self.offsets[:-1] - 1  # [V]: where in the text the last byte was found
        for choices in sequence:
            places, owners = self._places(choices)
            later = places > behind[owners]
            behind = np.full(self.vocab_size, len(self.text))
            behind[owners[later][::-1]] = places[later][::-1]  # the first place of each token is written last
        return np.flatnonzero(behind < len(self.text))

    def _places(self, choices: bytes) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Where one of some bytes is in the text of all tokens, and in which token; int64."""
        found = self._found_at.get(choices)
        if found is None:
            wanted = np.zeros(256, bool)
            wanted[list(choices)] = True
            places = np.flatnonzero(wanted[self.text])
            found = self._found_at[choices] = places, np.searchsorted(self.offsets, places, "right") - 1
        return found

    def beginning(self, start: bytes) -> np.ndarray[Any, Any]:
        """The tokens that begin with some bytes, of which the last is not 0xFF; int32."""
        ranks, after = range(len(self.trie_tokens)), start[:-1] + bytes((start[-1] + 1,))

        def spelled(rank: int) -> bytes:
            return self.bytes_of(int(self.trie_tokens[rank]))

        return self.trie_tokens[bisect_left(ranks, start, key=spelled) : bisect_left(ranks, after, key=spelled)]

    def children(self, node: int, wanted: frozenset[int]) -> Iterator[tuple[int, int, int]]:
        """The children of a node of the trie with bytes of `wanted`: number, end of its subtree, byte."""
        if node == 0:  # of many children mostly few are wanted
            yield from (self._roots[byte] for byte in wanted if byte in self._roots)
            return
        for child, end, byte in self._children(node):
            if byte in wanted:
                yield child, end, byte

    @cached_property
    def _roots(self) -> dict[int, tuple[int, int, int]]:
        return {child[2]: child for child in self._children(0)}

    def _children(self, node: int) -> Iterator[tuple[int, int, int]]:
        ends, bytes_ = self.trie_end, self.held["byte"]
        child, end = node + 1, int(ends[node])
        while child < end:
            after = int(ends[child])
            yield child, after, int(bytes_[child])
            child = after

    def can_write(self, text: bytes) -> bool:
        """Whether the vocabulary can write `text` whatever comes before it, byte by byte or character by character."""
        if self.characters is None:
            return True
        try:
            return all(ord(character) in self.characters for character in text.decode())
        except UnicodeDecodeError:
            return bool(self.writable[list(text)].all())
