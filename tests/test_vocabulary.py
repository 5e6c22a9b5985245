"""TokenizerInfo: what it takes, what it refuses, and that its bytes are those that each tokenizer's decode writes."""

from __future__ import annotations

import base64
import itertools
import json
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from maskwright.compile.huggingface import recognise
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.grammars.errors import TokenizerError

# ---------------------------------------------------------------- a list of bytes


def test_kinds_of_ids() -> None:
    info = TokenizerInfo(
        [b"a", b"", None, b"<s>", b"</s>", b"a", b"\xc3", b"bc"],
        eos_token_ids=[4],
        special_token_ids=[3],
        vocab_size=10,
    )
    assert info.vocab_size == len(info.tokens) == 10
    assert info.tokens[8:] == (None, None)
    assert info.eos_token_ids == (4,)
    assert info.special_token_ids == {3, 4}
    assert info.empty_token_ids == (1,)
    assert info.trie.rank_to_token.tolist() == [0, 5, 7, 6]
    assert np.flatnonzero(info.single_byte_tokens).tolist() == [0x61, 0xC3]
    assert repr(info) == "TokenizerInfo(vocab_size=10, eos_token_ids=[4], 2 special)"


def test_decode() -> None:
    info = TokenizerInfo([b"a", b"", None, b"</s>", b"\xc3", b"\xa9"], eos_token_ids=[3])
    assert info.decode([0, 1, 4, 5, 3]) == "aé".encode()
    assert info.decode(np.array([4], np.int64)) == b"\xc3"
    for wrong, reason in ((2, "padding"), (6, "outside"), (-1, "outside")):
        with pytest.raises(TokenizerError, match=reason):
            info.decode([0, wrong])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"tokens": []}, "no token that writes text"),
        ({"tokens": [b"", None]}, "no token that writes text"),
        ({"tokens": [b"a"], "eos_token_ids": [0]}, "no token that writes text"),
        ({"tokens": ["a"]}, "token 0 is str .*encode it"),
        ({"tokens": [b"a", bytearray(b"b")]}, "token 1 is bytearray .*bytes"),
        ({"tokens": b"ab"}, "token 0 is int"),
        ({"tokens": [b"a"], "eos_token_ids": [1]}, "eos_token_ids has 1, outside .* 0 to 0"),
        ({"tokens": [b"a"], "special_token_ids": [-1]}, "special_token_ids has -1"),
        ({"tokens": [b"a", b"b"], "vocab_size": 1}, "vocab_size=1 is smaller than the 2 tokens"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenizerError, match=reason):
        TokenizerInfo(**arguments)


def test_an_end_token_may_have_no_bytes_or_lie_in_the_padding() -> None:
    assert TokenizerInfo([b"a", None], eos_token_ids=[1, 3], vocab_size=4).decode([0, 1, 3]) == b"a"
    assert TokenizerInfo([b"a"]).eos_token_ids == ()


def test_equal_vocabularies_have_equal_fingerprints_and_others_do_not() -> None:
    def fingerprint(*tokens: bytes | None, **options: Any) -> str:
        return TokenizerInfo(tokens, **options).fingerprint

    different = [
        fingerprint(b"ab", b"c"),
        fingerprint(b"a", b"bc"),
        fingerprint(b"c", b"ab"),
        fingerprint(b"ab", b"c", b""),
        fingerprint(b"ab", b"c", None),
        fingerprint(b"ab", b"c", eos_token_ids=[1]),
        fingerprint(b"ab", b"c", special_token_ids=[1]),
        fingerprint(b"ab", b"c", special_token_ids=[0]),
    ]
    assert len(set(different)) == len(different)
    assert fingerprint(b"ab", b"c", vocab_size=3) == fingerprint(b"ab", b"c", None)
    assert fingerprint(b"ab", b"name", eos_token_ids=[1]) == fingerprint(b"ab", b"other name", eos_token_ids=[1])


def test_the_trie_is_built_once_whichever_threads_ask() -> None:
    info = TokenizerInfo([bytes(pair) for pair in itertools.product(range(256), range(16))])
    barrier, found = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait()
        found.append(info.trie)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(trie is info.trie for trie in found)


# ---------------------------------------------------------------- Hugging Face: the decoder's steps


def numbered(*tokens: str) -> dict[str, int]:
    return {token: token_id for token_id, token in enumerate(tokens)}


def built(model: models.Model, decoder: decoders.Decoder | None, *added: AddedToken) -> Tokenizer:
    tokenizer = Tokenizer(model)
    if decoder is not None:
        tokenizer.decoder = decoder
    for token in added:
        tokenizer.add_tokens([token])
    return tokenizer


def byte_level() -> Tokenizer:
    words = ("a", "b", "Ġ", "Ġb", "Ã©", "Ã", "©", "Ċ", "ĠĠ", "âĤ¬", "\u0143", "日", "x</w>")
    return built(models.BPE(numbered(*words), []), decoders.ByteLevel(), AddedToken("two words"), AddedToken("日本"))


def sentence_piece() -> Tokenizer:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    words = ("a", "▁b", "▁", "▁▁", "<0xC3>", "<0xA9>", "<0x0A>", "<0xGG>", "<0xc3>", "é", "x▁y")
    return built(models.BPE(numbered(*words), []), decoders.Sequence(steps), AddedToken("\n\n"), AddedToken("<0x41>"))


def unigram() -> Tokenizer:
    scores = [("a", 0.0), ("▁b", -1.0), ("▁", -1.0), ("é▁", -1.0)]
    return built(models.Unigram(scores, None, False), decoders.Metaspace(), AddedToken("x y"))


def word_piece(cleanup: bool) -> Tokenizer:
    words = ("a", "##a", "b", "##b", ".", ",", "?", "!", "'", "n't", "'m", "'s", "'ve", "'re", "##.", "##", "do", "not")
    return built(
        models.WordPiece(numbered(*words, "## do not", "b##", "é")),
        decoders.WordPiece("##", cleanup),
        AddedToken("q . r"),
        AddedToken("##z"),
    )


def word_suffix() -> Tokenizer:
    words = numbered("a", "b</w>", "c", "d</w>e", "</w>")
    return built(models.BPE(words, [], end_of_word_suffix="</w>"), decoders.BPEDecoder("</w>"))


def stripped_words() -> Tokenizer:
    words = numbered("a", " b ", "   c", "d", "e   ")
    return built(models.BPE(words, []), decoders.Sequence([decoders.Strip(" ", 2, 1), decoders.Fuse()]))


def joined_words() -> Tokenizer:
    return built(models.WordLevel(numbered("a", "b", "##c")), None)


@pytest.mark.parametrize(
    "tokenizer",
    [
        pytest.param(byte_level(), id="byte-level"),
        pytest.param(sentence_piece(), id="sentencepiece"),
        pytest.param(unigram(), id="unigram"),
        pytest.param(word_piece(False), id="wordpiece"),
        pytest.param(word_piece(True), id="wordpiece-cleanup"),
        pytest.param(word_suffix(), id="word-suffix"),
        pytest.param(stripped_words(), id="strip"),
        pytest.param(joined_words(), id="no-decoder"),
    ],
)
def test_bytes_are_what_decode_writes_between_other_tokens(tokenizer: Tokenizer) -> None:
    info = TokenizerInfo.from_huggingface(tokenizer)
    ids = range(tokenizer.get_vocab_size())
    generator = random.Random(0)
    texts = [list(pair) for pair in itertools.product(ids, repeat=2)]
    texts += [generator.choices(ids, k=8) for _ in range(200)]
    compared = 0
    for text in texts:
        # Between two plain tokens (id 0, "a"), for decode treats the first and the last in its own way.
        text = [0, *text, 0]
        try:
            written = info.decode(text).decode()
        except UnicodeDecodeError:
            continue
        compared += 1
        assert written.removeprefix(" ") == tokenizer.decode(text, skip_special_tokens=False), text
    assert compared > len(texts) // 4


def test_byte_level_alphabet_covers_every_byte() -> None:
    tokenizer = built(models.BPE(numbered(*pre_tokenizers.ByteLevel.alphabet()), []), decoders.ByteLevel())
    info = TokenizerInfo.from_huggingface(tokenizer)
    assert sorted(info.tokens) == [bytes([byte]) for byte in range(256)]
    assert info.single_byte_tokens.all()


def test_tokenizers_are_told_apart() -> None:
    """By every text, wherever one ends: also those that contain the character between texts, and ids without any."""
    vocabularies = [
        {"a": 0, "b": 1, "[UNK]": 2},
        {"b": 0, "a": 1, "[UNK]": 2},
        {"a\0b": 0, "[UNK]": 1},
        {"a\0b": 0, "[UNK]": 1, "": 2},
        {"a": 0, "b": 2, "[UNK]": 3},
        {"a": 0, "b": 3, "[UNK]": 2},
        {"a": 0, "b\0[UNK]": 1, "[UNK]": 2},
        {"a\0b": 0, "[UNK]": 1, "\0": 2},
    ]
    keys = [recognise(Tokenizer(models.WordLevel(one, "[UNK]"))).key for one in vocabularies]
    assert None not in keys
    assert len(set(keys)) == len(vocabularies)
    assert recognise(Tokenizer(models.WordLevel(vocabularies[0], "[UNK]"))).key == keys[0]


def test_unused_ids_are_padding() -> None:
    info = TokenizerInfo.from_huggingface(built(models.BPE({"a": 0, "b": 7}, []), decoders.ByteLevel()), vocab_size=9)
    assert info.tokens == (b"a", *[None] * 6, b"b", None)
    with pytest.raises(TokenizerError, match="smaller"):
        TokenizerInfo.from_huggingface(built(models.BPE({"a": 0, "b": 7}, []), decoders.ByteLevel()), vocab_size=3)


def test_special_added_and_unknown_tokens() -> None:
    tokenizer = built(
        models.BPE(numbered("a", "<unk>"), [], unk_token="<unk>"),
        decoders.ByteLevel(),
        AddedToken("<tool>", special=False),
        AddedToken("<|im_end|>", special=True),
        AddedToken("<|im_start|>", special=True),
    )
    info = TokenizerInfo.from_huggingface(tokenizer)
    assert info.special_token_ids == {1, 3, 4}
    assert info.eos_token_ids == (3,)
    assert info.decode([0, 2, 3]) == b"a<tool>"
    assert TokenizerInfo.from_huggingface(tokenizer, eos_token_ids=[4]).eos_token_ids == (4,)
    assert TokenizerInfo.from_huggingface(tokenizer, eos_token_ids=[]).eos_token_ids == ()


def test_unknown_token_of_unigram_is_special() -> None:
    tokenizer = built(models.Unigram([("a", 0.0), ("<unk>", -1.0)], 1, False), decoders.Metaspace())
    assert TokenizerInfo.from_huggingface(tokenizer).special_token_ids == {1}


def test_end_of_word_under_a_byte_level_decoder_is_a_space() -> None:
    model = models.BPE(numbered("a", "Ã©</w>"), [], end_of_word_suffix="</w>")
    assert TokenizerInfo.from_huggingface(built(model, decoders.ByteLevel())).decode([1, 0]) == "é a".encode()


class WrittenInPython:
    def decode_chain(self, tokens: list[str]) -> list[str]:
        return tokens


@pytest.mark.parametrize(
    ("decoder", "reason"),
    [
        (decoders.CTC(), "CTC"),
        (decoders.Replace(Regex("a+"), "b"), "regular expression"),
        (decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "c")]), "Replace after Fuse"),
        (decoders.Sequence([decoders.ByteFallback(), decoders.ByteLevel()]), "ByteLevel after ByteFallback"),
        (decoders.Decoder.custom(WrittenInPython()), "cannot be read"),
    ],
)
def test_unknown_decoders_are_refused(decoder: decoders.Decoder, reason: str) -> None:
    with pytest.raises(TokenizerError, match=reason):
        TokenizerInfo.from_huggingface(built(models.BPE({"a": 0}, []), decoder))


@pytest.mark.parametrize("wrong", [None, "gpt2", object()])
def test_other_objects_are_refused(wrong: Any) -> None:
    for read in (TokenizerInfo.from_huggingface, TokenizerInfo.from_tiktoken):
        with pytest.raises(TokenizerError, match="is no"):
            read(wrong)
    with pytest.raises(TokenizerError, match=r"is no Tekkenizer|cannot read"):
        TokenizerInfo.from_tekken(wrong)


# ---------------------------------------------------------------- transformers


def test_fast_tokenizer_of_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason="pip install maskwright[hf]")
    backend = built(
        models.BPE(numbered("a", "Ġb", "<end>", "<pad>"), []), decoders.ByteLevel(), AddedToken("</s>", special=True)
    )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<pad>")
    info = TokenizerInfo.from_huggingface(tokenizer, vocab_size=64)
    assert info.vocab_size == 64
    assert info.eos_token_ids == (2, 4)  # its own, and one known to end a text
    assert info.special_token_ids == {2, 3, 4}
    assert info.decode([0, 1]) == b"a b"


def test_a_slow_byte_tokenizer() -> None:
    transformers = pytest.importorskip("transformers", reason="pip install maskwright[hf]")
    tokenizer = transformers.ByT5Tokenizer()
    info = TokenizerInfo.from_huggingface(tokenizer)
    text = "a{\n\0é日}"
    assert info.decode(tokenizer.encode(text)) == text.encode()
    assert info.single_byte_tokens.all()
    assert info.tokens[info.eos_token_ids[0]] == b"</s>"


class SlowTokenizer:
    """As much of a slow tokenizer of transformers as is read."""

    eos_token_id = 1
    all_special_ids = (1,)
    all_special_tokens = ("</s>",)

    def __init__(self, **attributes: Any) -> None:
        self.added_tokens_decoder = {4: AddedToken("<tool>", special=False)}
        self.__dict__.update(attributes)

    def get_vocab(self) -> dict[str, int]:
        return numbered("<unk>", "</s>", "▁a", "<0x0A>", "<tool>")


class SentencePieceProcessor:
    """Numbers its pieces otherwise than the tokenizer."""

    pieces = (("<0x0A>", 6), ("<unk>", 2), ("</s>", 3), ("▁a", 1))

    def serialized_model_proto(self) -> bytes:
        return sentencepiece_model(self.pieces)

    def id_to_piece(self, piece_id: int) -> str:
        return self.pieces[piece_id][0]


def test_slow_tokenizers_say_what_they_are_by_what_they_carry() -> None:
    info = TokenizerInfo.from_huggingface(SlowTokenizer(sp_model=SentencePieceProcessor()))  # type: ignore[arg-type]
    assert info.tokens == (b"<unk>", b"</s>", b" a", b"\n", b"<tool>")
    assert info.special_token_ids == {0, 1}
    info = TokenizerInfo.from_huggingface(SlowTokenizer(byte_decoder={}))  # type: ignore[arg-type]
    assert info.tokens[3:] == (b"<0x0A>", b"<tool>")
    with pytest.raises(TokenizerError, match="fast version"):
        TokenizerInfo.from_huggingface(SlowTokenizer())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["llama3", "qwen"])
def test_real_byte_level_vocabularies(shared: Path, name: str) -> None:
    tokenizer = Tokenizer.from_file(str(shared / f"data/tokenizers/{name}/tokenizer.json"))
    info = TokenizerInfo.from_huggingface(tokenizer, vocab_size=152_064)
    assert info.vocab_size == 152_064
    assert {info.tokens[token_id] for token_id in info.eos_token_ids} == {
        "llama3": {b"<|end_of_text|>", b"<|eot_id|>", b"<|eom_id|>"},
        "qwen": {b"<|endoftext|>", b"<|im_end|>"},
    }[name]
    assert info.single_byte_tokens.all()
    text = 'héllo wörld\n\t{"k": [1, 2.5e-3]} 日本語 𝄞 \u200d ﷽'
    assert info.decode(tokenizer.encode(text).ids) == text.encode()
    generator = random.Random(2)
    for _ in range(200):
        ids = generator.choices(range(tokenizer.get_vocab_size()), k=10)
        assert info.decode(ids).decode("utf-8", "replace") == tokenizer.decode(ids, skip_special_tokens=True)


# ---------------------------------------------------------------- tekken


def tekken_file(folder: Path, **changes: Any) -> Path:
    words = [*(bytes([byte]) for byte in range(256)), b"ab", b"\xc3\xa9", b"left out"]
    document = {
        "config": {"pattern": ".", "default_vocab_size": 263, "default_num_special_tokens": 5, "version": "v3"},
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(word).decode(), "token_str": None}
            for rank, word in enumerate(words)
        ],
        "special_tokens": None,
    }
    path = folder / "tekken.json"
    path.write_text(json.dumps(document | changes))
    return path


def test_tekken_file(tmp_path: Path) -> None:
    info = TokenizerInfo.from_tekken(tekken_file(tmp_path))
    assert info.vocab_size == 263
    assert info.special_token_ids == set(range(5))
    assert info.eos_token_ids == (2,)
    assert info.tokens[:6] == (b"<unk>", b"<s>", b"</s>", b"[INST]", b"[/INST]", b"\0")
    assert info.decode([261, 262, 2]) == "abé".encode()
    named = [{"rank": 4, "token_str": "</s>", "is_control": True}]
    info = TokenizerInfo.from_tekken(str(tekken_file(tmp_path, special_tokens=named)))
    assert info.eos_token_ids == (4,)
    assert info.tokens[3:5] == (b"<SPECIAL_3>", b"</s>")


@pytest.mark.parametrize(
    "changes", [{"config": {}}, {"vocab": [{"rank": 0}]}, {"special_tokens": [{"rank": 99}]}, {"vocab": 3}]
)
def test_broken_tekken_files_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(TokenizerError, match="no tekken file"):
        TokenizerInfo.from_tekken(tekken_file(tmp_path, **changes))


def package_file(package: str, name: str) -> Path:
    module = pytest.importorskip(package, reason=f"{package} is not installed: pip install maskwright[dev]")
    path = Path(module.__file__).parent / name
    if not path.is_file():
        pytest.skip(f"this version of {package} has no {name}")
    return path


def test_real_tekken_vocabulary_by_its_path_and_as_an_object() -> None:
    path = package_file("mistral_common", "data/tekken_240911.json")
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    tekkenizer = Tekkenizer.from_file(path)
    info = TokenizerInfo.from_tekken(path)
    assert info.vocab_size == 131_072
    assert info.eos_token_ids == (tekkenizer.eos_id,)
    assert info.fingerprint == TokenizerInfo.from_tekken(tekkenizer).fingerprint
    text = "héllo 日本語 {}\n"
    assert info.decode(tekkenizer.encode(text, bos=True, eos=True)) == text.encode()


# ---------------------------------------------------------------- tiktoken


def test_tiktoken_encoding() -> None:
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256, b" a": 257}
    encoding = tiktoken.Encoding(
        "small", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 260, "<|fim|>": 261}
    )
    info = TokenizerInfo.from_tiktoken(encoding)
    assert info.vocab_size == 262
    assert info.tokens[256:] == (b"ab", b" a", None, None, b"<|endoftext|>", b"<|fim|>")
    assert info.eos_token_ids == (260,)
    assert info.special_token_ids == {260, 261}
    assert info.decode(encoding.encode("abé ab")) == "abé ab".encode()


# ---------------------------------------------------------------- SentencePiece


def sentencepiece_model(pieces: Sequence[tuple[str, int]], eos_id: int | None = None) -> bytes:
    """A model of (piece, type); types are those of sentencepiece_model.proto. All lengths here fit one byte."""
    model = b""
    for piece, kind in pieces:
        text = piece.encode()
        entry = b"\x0a" + bytes([len(text)]) + text + b"\x15" + b"\0\0\x80\xbf"  # piece, score -1.0
        if kind != 1:
            entry += b"\x18" + bytes([kind])
        model += b"\x0a" + bytes([len(entry)]) + entry
    if eos_id is not None:
        spec = b"\xd0\x02" + bytes([eos_id])
        model += b"\x12" + bytes([len(spec)]) + spec
    return model


PIECES = [("<unk>", 2), ("<s>", 3), ("[end]", 3), ("<0x0A>", 6), ("▁a", 1), ("b▁", 4), ("é", 1), ("<0x0B>", 1)]


def test_sentencepiece_model(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model(PIECES))
    info = TokenizerInfo.from_sentencepiece(tmp_path / "tokenizer.model", vocab_size=16)
    assert info.special_token_ids == {0, 1, 2}
    assert info.eos_token_ids == (2,)  # the format's default
    assert info.tokens[3:9] == (b"\n", b" a", b"b ", "é".encode(), b"<0x0B>", None)
    assert TokenizerInfo.from_sentencepiece(sentencepiece_model(PIECES, eos_id=1)).eos_token_ids == (1,)
    assert TokenizerInfo.from_sentencepiece(sentencepiece_model(PIECES, eos_id=4)).eos_token_ids == ()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\x0a", b"\x0a\x20abc", b"\x0a\x02\x10\x01", b"\x0c", sentencepiece_model([("no byte", 6)])],
)
def test_broken_sentencepiece_models_are_refused(content: bytes) -> None:
    with pytest.raises(TokenizerError, match=r"no SentencePiece model|no pieces"):
        TokenizerInfo.from_sentencepiece(content)


def test_real_sentencepiece_model() -> None:
    info = TokenizerInfo.from_sentencepiece(package_file("mistral_common", "data/tokenizer.model.v1"))
    assert (info.vocab_size, info.eos_token_ids, info.special_token_ids) == (32_000, (2,), {0, 1, 2})
    assert info.single_byte_tokens.all()
    assert len(info.trie.tokens_at(info.trie.find(b"a"))) == 2  # the letter, and its byte


@pytest.mark.parametrize("read", [TokenizerInfo.from_sentencepiece, TokenizerInfo.from_tekken])
def test_missing_files_are_refused(tmp_path: Path, read: Callable[[Path], TokenizerInfo]) -> None:
    with pytest.raises(TokenizerError, match=r"cannot read .*No such file"):
        read(tmp_path / "nothing")
