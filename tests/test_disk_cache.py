"""Entries on disk: found again, rebuilt when damaged, safe among processes, done without where they cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import maskwright as mw
from maskwright.compile import disk_cache
from maskwright.compile.disk_cache import DiskCache

ARRAYS = {
    "numbers": np.arange(1000, dtype=np.int32).reshape(10, 100),
    "none": np.zeros(0, np.float64),
    "flags": np.array([True, False, True]),
    "wide": np.array([2**63 + 1], np.uint64),
}
META = {"name": "é", "count": 3}


@pytest.fixture
def disk(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "cache")


@pytest.fixture
def strict() -> Iterator[None]:
    """A warning fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def is_whole(disk: DiskCache, key: str = "key") -> bool:
    found = disk.load("thing", key)
    return (
        found is not None
        and found.meta == META
        and found.arrays.keys() == ARRAYS.keys()
        and all(
            np.array_equal(found.arrays[name], array)
            and found.arrays[name].dtype == array.dtype
            and found.arrays[name].shape == array.shape
            for name, array in ARRAYS.items()
        )
    )


@pytest.mark.usefixtures("strict")
def test_what_is_stored_is_found(disk: DiskCache) -> None:
    assert disk.load("thing", "key") is None
    disk.store("thing", "key", ARRAYS, META)
    assert is_whole(disk)
    assert disk.load("thing", "other") is None and disk.load("other", "key") is None
    found = disk.load("thing", "key")
    assert found is not None
    with pytest.raises(ValueError, match="read-only"):
        found.arrays["numbers"][0, 0] = 7
    disk.store("thing", "key", {"numbers": ARRAYS["numbers"] + 1}, {})
    assert found.arrays["numbers"][0, 1] == 1  # the old file, mapped still
    again = disk.load("thing", "key")
    assert again is not None and again.arrays["numbers"][0, 1] == 2 and not again.meta


@pytest.mark.parametrize("place", ["empty", "magic", "header", "checksum", "body", "last", "short", "long", "garbage"])
def test_a_damaged_file_is_made_again(disk: DiskCache, place: str) -> None:
    disk.store("thing", "key", ARRAYS, META)
    path = disk.path("thing", "key")
    data = bytearray(path.read_bytes())
    changed = {"magic": 0, "checksum": 12, "header": 40, "body": len(data) // 2, "last": -1}
    if place in changed:
        data[changed[place]] ^= 0x40
    whole = len(data)
    damaged = {
        "empty": b"",
        "short": data[: whole // 2],
        "long": data + b"x",
        "garbage": bytes(range(256)) * 9,
    }.get(place, data)
    path.write_bytes(damaged)
    with pytest.warns(RuntimeWarning, match="is damaged .* made again"):
        assert disk.load("thing", "key") is None
    assert not path.exists()
    disk.store("thing", "key", ARRAYS, META)
    assert is_whole(disk)


def test_every_length_that_a_file_may_be_cut_to(disk: DiskCache) -> None:
    disk.store("thing", "key", {"few": np.arange(5)}, {})
    path = disk.path("thing", "key")
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.warns(RuntimeWarning, match="is damaged"):
            assert disk.load("thing", "key") is None


@pytest.mark.usefixtures("strict")
def test_other_versions_have_other_files(disk: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.store("thing", "key", ARRAYS, META)
    path = disk.path("thing", "key")
    monkeypatch.setattr(disk_cache, "_LAYOUT", disk_cache._LAYOUT + 1)
    assert disk.load("thing", "key") is None and path.exists()
    monkeypatch.undo()
    monkeypatch.setattr(disk_cache, "package_version", lambda: "999.0")
    assert disk.load("thing", "key") is None and path.exists()


def test_a_file_under_a_foreign_name_is_not_believed(disk: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(disk_cache, "package_version", lambda: "0.0.1")
        disk.store("thing", "key", ARRAYS, META)
        old = disk.path("thing", "key")
    old.rename(disk.path("thing", "key"))
    with pytest.warns(RuntimeWarning, match="another entry or version"):
        assert disk.load("thing", "key") is None
    disk.store("thing", "key", ARRAYS, META)
    disk.path("thing", "key").rename(disk.path("thing", "other"))
    with pytest.warns(RuntimeWarning, match="another entry or version"):
        assert disk.load("thing", "other") is None


def test_bytes_on_disk_are_bounded(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, max_bytes=100_000)
    for number in range(30):
        disk.store("thing", str(number), {"numbers": np.zeros(2500, np.int32)}, {})
        os.utime(disk.path("thing", str(number)), (number, number))
        assert disk.load("thing", "0") is not None  # used all the time
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 100_000
    assert disk.load("thing", "1") is None and disk.load("thing", "29") is not None


def test_without_a_directory_nothing_is_kept() -> None:
    disk = DiskCache(None)
    disk.store("thing", "key", ARRAYS, META)
    assert disk.load("thing", "key") is None


def test_the_environment_names_the_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKWRIGHT_CACHE_DIR", str(tmp_path / "a/b"))
    assert DiskCache.default().directory == tmp_path / "a/b"
    monkeypatch.setenv("MASKWRIGHT_CACHE_DIR", "")
    assert DiskCache.default().directory is None
    monkeypatch.delenv("MASKWRIGHT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = DiskCache.default().directory
    assert directory is not None and directory.name == "maskwright"


@pytest.mark.parametrize("obstacle", ["file", "beneath"])
def test_a_directory_that_cannot_be_is_done_without(tmp_path: Path, obstacle: str) -> None:
    (tmp_path / "file").write_text("no directory")
    disk = DiskCache(tmp_path / "file" if obstacle == "file" else tmp_path / "file/cache")
    with pytest.warns(RuntimeWarning, match="cannot be used .* MASKWRIGHT_CACHE_DIR names another"):
        disk.store("thing", "key", ARRAYS, META)
    with pytest.warns(RuntimeWarning, match="cannot be used"):
        assert disk.load("thing", "key") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_read_only_is_done_without(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path)
    disk.store("thing", "key", ARRAYS, META)
    tmp_path.chmod(0o500)
    try:
        with pytest.warns(RuntimeWarning, match="Permission denied"):
            disk.store("thing", "other", ARRAYS, META)
        assert is_whole(disk)  # what is there is read
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_leaves_no_part_behind(disk: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        disk.store("thing", "key", ARRAYS, META)
    assert disk.directory is not None and not list(disk.directory.iterdir())


@pytest.mark.usefixtures("strict")
def test_threads_read_what_others_write(disk: DiskCache) -> None:
    barrier = threading.Barrier(8)

    def work(number: int) -> bool:
        barrier.wait()
        for _ in range(20):
            disk.store("thing", "key", ARRAYS, META)
            if not is_whole(disk):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


# ---------------------------------------------------------------- tokenizers


def large_info(disk_cache: bool = True) -> mw.TokenizerInfo:
    """Tokens enough to be kept: every byte, and all pairs and some triples of letters."""
    letters = b"abcdefghijklmnopqrstuvwxyz"
    tokens: list[bytes | None] = [bytes((byte,)) for byte in range(256)]
    tokens += [bytes(group) for length in (2, 3) for group in product(letters, repeat=length)]
    return mw.TokenizerInfo(
        [*tokens[:12_000], None, b"", b"<tool>", b"</s>"],
        eos_token_ids=[12_003],
        special_token_ids=[12_002],
        vocab_size=12_010,
        disk_cache=disk_cache,
    )


def described(info: mw.TokenizerInfo) -> tuple[object, ...]:
    """What two infos of one vocabulary have in common, and what a mask over them is."""
    matcher = mw.GrammarMatcher(mw.GrammarCompiler(info).compile_json_schema({"type": "string", "pattern": "^ab?c*$"}))
    matcher.accept_string('"a')
    trie = {name: array.tolist() for name, array in info.matching_trie.arrays.items()}
    return (info.tokens, info.special_token_ids, info.empty_token_ids, info.fingerprint,
            info.single_byte_tokens.tolist(), trie, matcher.allowed_token_ids().tolist())  # fmt: skip


@pytest.mark.usefixtures("strict")
def test_a_trie_from_disk_is_the_trie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKWRIGHT_CACHE_DIR", str(tmp_path))
    without = described(large_info(disk_cache=False))
    assert not list(tmp_path.iterdir())
    assert described(large_info()) == without
    assert len(list(tmp_path.glob("trie-*"))) == 1
    monkeypatch.setattr(mw.TokenizerInfo, "_matching_trie", None)  # not made again
    assert described(large_info()) == without


def test_a_damaged_trie_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKWRIGHT_CACHE_DIR", str(tmp_path))
    expected = described(large_info())
    (path,) = tmp_path.glob("trie-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="is damaged"):
        assert described(large_info()) == expected
    assert path.exists() and described(large_info()) == expected


def test_small_vocabularies_are_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKWRIGHT_CACHE_DIR", str(tmp_path / "cache"))
    mw.GrammarCompiler(mw.TokenizerInfo([b"a", b"b", b"</s>"], eos_token_ids=[2]))
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("strict")
def test_a_tokenizer_from_disk_is_the_tokenizer(shared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer

    monkeypatch.setenv("MASKWRIGHT_CACHE_DIR", str(tmp_path))
    tokenizer = Tokenizer.from_file(str(shared / "data/tokenizers/llama3/tokenizer.json"))
    without = mw.TokenizerInfo.from_huggingface(tokenizer, disk_cache=False)
    assert not list(tmp_path.iterdir())
    first, second = (mw.TokenizerInfo.from_huggingface(tokenizer) for _ in range(2))
    for info in (first, second):
        assert info.tokens == without.tokens and info.special_token_ids == without.special_token_ids
        assert info.eos_token_ids == without.eos_token_ids and info.fingerprint == without.fingerprint
    assert len(list(tmp_path.glob("vocabulary-*"))) == 1
    padded = mw.TokenizerInfo.from_huggingface(tokenizer, len(without.tokens) + 100, eos_token_ids=[5])
    assert padded.vocab_size == len(padded.tokens) == len(without.tokens) + 100 and padded.eos_token_ids == (5,)
    with pytest.raises(mw.TokenizerError, match="vocab_size=10 is smaller"):
        mw.TokenizerInfo.from_huggingface(tokenizer, 10)
    with pytest.raises(mw.TokenizerError, match="eos_token_ids has -1"):
        mw.TokenizerInfo.from_huggingface(tokenizer, eos_token_ids=[-1])
    tokenizer.add_special_tokens([AddedToken("<new>", special=True)])  # another tokenizer now
    changed = mw.TokenizerInfo.from_huggingface(tokenizer)
    assert changed.vocab_size == without.vocab_size + 1 and changed.special_token("<new>") == without.vocab_size


_PROCESS = """
import sys, warnings
warnings.simplefilter("error")
sys.path.insert(0, sys.argv[1])
from test_disk_cache import large_info
info = large_info()
print(info.matching_trie.rank_to_token.tobytes().hex()[:4000], info.fingerprint)
"""


def test_processes_share_a_directory(root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "MASKWRIGHT_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", _PROCESS, str(root / "tests")]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * 4, answers[0][1]
    assert len({written for written, _ in answers}) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".maskwright"]
