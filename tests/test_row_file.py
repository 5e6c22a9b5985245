"""Mask rows on disk: what names them is the same in every process, and masks over them are those over rows made here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_disk_cache import large_info

import maskwright as mw
from maskwright.compile import row_file
from maskwright.compile.content_digest import content_digest
from maskwright.compile.disk_cache import DiskCache
from maskwright.compile.row_file import RowFile, RowParts
from maskwright.compile.rows import RowWalker
from maskwright.compile.spelling import Spelling
from maskwright.grammars import regex, regular

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "code": {"type": "string", "maxLength": 30},
        "word": {"type": "string", "pattern": "^[a-z]{2,9}-[a-z]*$"},
        "size": {"type": "number"},
    },
    "required": ["name", "code", "word", "size"],
}
TEXT = '{"name": "ab\\nc", "code": "é", "word": "abc-d", "size": 1.5}'
LANGUAGES = ["", "a", "ab", "a|b", "[ab]", "[^a]", "a*", "a{2,}", "a{2,3}", "(ab)*", "a(b|c)d", "\\d+", "(?=.*a).*b"]


def contents() -> list[Any]:
    """Contents that are all different."""
    languages = [regex.parse(pattern) for pattern in LANGUAGES]
    some: list[Any] = [None, True, 1, "1", "True", "", (), ((),), ("a", "b"), ("ab",), (("a",), "b"), (None, 1)]
    policies = [Spelling(), Spelling("any"), Spelling(ensure_ascii=True)]
    words = [regular.words(["a", "bc"]), regular.words(["ab", "c"]), regular.words(["a", "b", "c"])]
    return [*some, *policies, *dict.fromkeys(languages), *words, regular.complement(languages[2])]


def test_different_contents_have_different_digests() -> None:
    digests = [content_digest(content) for content in contents()]
    assert None not in digests
    assert len(set(digests)) == len(digests)
    assert digests == [content_digest(content) for content in contents()]


def test_what_is_not_known_has_no_digest() -> None:
    assert content_digest(("plain", 1.5)) is None
    assert content_digest((object(),)) is None
    assert content_digest(regular.words([f"{number:05}" for number in range(3000)])) is None


def test_digests_do_not_depend_on_the_process(root: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(root / "tests")!r})
from test_row_file import content_digest, contents
print([content_digest(content).hex() for content in contents()])
"""
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


def masks(compiler: mw.GrammarCompiler) -> list[list[int]]:
    matcher, found = mw.GrammarMatcher(compiler.compile_json_schema(SCHEMA)), []
    for character in TEXT:
        found.append(matcher.allowed_token_ids().tolist())
        assert matcher.accept_string(character)
    return found


def parts(seed: int) -> RowParts:
    numbers = np.arange(seed, seed + 100, dtype=np.int32)
    return RowParts(seed % 2 == 0, numbers, numbers[:9].reshape(3, 3), seed % 3 == 0)


def same(one: RowParts | None, other: RowParts) -> bool:
    return (
        one is not None
        and (one.dense, one.both) == (other.dense, other.both)
        and np.array_equal(one.data, other.data)
        and np.array_equal(one.exits, other.exits)
    )


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MASKWRIGHT_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_masks_over_rows_from_disk(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = masks(mw.GrammarCompiler(large_info(disk_cache=False)))
    assert not list(directory.iterdir())
    with mw.GrammarCompiler(large_info()) as first:
        assert masks(first) == expected
    assert first.cache_info().rows_loaded == 0 and first.cache_info().rows_stored > 0
    computed, compute = list[int](), RowWalker.compute

    def counted(self: RowWalker, automaton: int, state: int, register: int, lower: Any) -> Any:
        computed.append(state)
        return compute(self, automaton, state, register, lower)

    monkeypatch.setattr(RowWalker, "compute", counted)
    with mw.GrammarCompiler(large_info()) as second:
        assert masks(second) == expected
        assert second.cache_info().rows_loaded == first.cache_info().rows_stored
    assert second.cache_info().rows_stored == 0
    found = len(computed)
    second.clear_cache()
    with mw.GrammarCompiler(large_info(disk_cache=False)) as third:
        assert masks(third) == expected
    assert len(computed) == 2 * found + first.cache_info().rows_stored


def test_a_damaged_file_is_made_again(directory: Path) -> None:
    with mw.GrammarCompiler(large_info()) as compiler:
        expected = masks(compiler)
    (path,) = directory.glob("rows-*")
    path.write_bytes(path.read_bytes()[:-100])
    with mw.GrammarCompiler(large_info()) as compiler, pytest.warns(RuntimeWarning, match="damaged"):
        assert masks(compiler) == expected
    assert compiler.cache_info().rows_loaded == 0 and path.exists()
    with mw.GrammarCompiler(large_info()) as compiler:
        assert masks(compiler) == expected
    assert compiler.cache_info().rows_loaded > 0


def test_rows_of_several_processes_are_joined(tmp_path: Path) -> None:
    one, other = (RowFile(DiskCache(tmp_path), "tokenizer") for _ in range(2))
    one.add("a", parts(1))
    other.add("b", parts(2))
    other.add((object(),), parts(3))  # has no digest
    one.flush()
    other.flush()
    assert (one.stored, other.stored) == (1, 1)
    later = RowFile(DiskCache(tmp_path), "tokenizer")
    assert same(later.get("a"), parts(1)) and same(later.get("b"), parts(2)) and later.get("c") is None
    assert later.loaded == 2
    assert RowFile(DiskCache(tmp_path), "another").get("a") is None
    later.flush()  # nothing new
    assert later.stored == 0


def test_rows_of_other_sources_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = RowFile(DiskCache(tmp_path), "tokenizer")
    file.add("a", parts(1))
    file.flush()
    monkeypatch.setattr(row_file, "code_digest", lambda: "edited")
    assert RowFile(DiskCache(tmp_path), "tokenizer").get("a") is None


def test_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_file, "MAX_ROW_BYTES", 3 * parts(0).nbytes)
    for number in range(5):
        file = RowFile(DiskCache(tmp_path), "tokenizer")
        file.add(number, parts(number))
        file.flush()
    later = RowFile(DiskCache(tmp_path), "tokenizer")
    assert [later.get(number) is not None for number in range(5)] == [False, False, True, True, True]


def test_nothing_is_kept_without_a_directory() -> None:
    file = RowFile(DiskCache(None), "tokenizer")
    file.add("a", parts(1))
    file.flush()
    assert file.get("a") is None and file.stored == 0
