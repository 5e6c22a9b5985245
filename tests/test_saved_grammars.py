"""Compiled grammars in files: the grammar that is loaded is the one that was saved, with its rows; or one clear error."""

from __future__ import annotations

import dataclasses
import json
import random
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from strategies import schemas
from test_disk_cache import large_info

import maskwright as mw
from maskwright.compile import row_file, saved_grammars
from maskwright.compile.array_file import packed_file, unpacked_file
from maskwright.compile.row_file import MAX_ROW_BYTES, RowFile, RowParts
from maskwright.compile.rows import RowWalker
from maskwright.grammars.errors import SavedGrammarError

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "code": {"type": "string", "maxLength": 30},
        "word": {"type": "string", "pattern": "^[a-z]{2,9}-[a-z]*$"},
        "size": {"type": "number", "minimum": 0.5},
    },
    "required": ["name", "code", "word", "size"],
}
GBNF = """
root ::= "sum " sum | "say " quoted
sum ::= product (("+" | "-") product)*
product ::= [0-9]+ | "(" sum ")"
quoted ::= "\\"" [^"\\n]* "\\""
"""
LARK = """
start: "call" NAME "(" [value ("," value)*] ")"
value: NAME | /[0-9]+/ | start
NAME: /[a-z]+/
%ignore " "
"""
TAG = {
    "type": "structural_tag",
    "format": {
        "type": "triggered_tags",
        "triggers": ["<call"],
        "tags": [{"begin": "<call>", "content": {"type": "json_schema", "json_schema": SCHEMA}, "end": "</call>"}],
    },
}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]


def look_up(name: str, count: int = 3) -> None:
    """Nothing."""


@dataclasses.dataclass
class Item:
    name: str
    sizes: list[int]


# What each method is given, and which kind of source a file has of it.
WAYS: dict[str, tuple[str, Callable[[mw.GrammarCompiler], mw.CompiledGrammar]]] = {
    "schema": ("json_schema", lambda compiler: compiler.compile_json_schema(SCHEMA)),
    "schema, its text": ("json_schema", lambda compiler: compiler.compile_json_schema(json.dumps(SCHEMA))),
    "schema, options": (
        "json_schema",
        lambda compiler: compiler.compile_json_schema(SCHEMA, separators=(", ", ":"), numbers="any"),
    ),
    "schema, other dicts": (
        "json_schema",
        lambda compiler: compiler.compile_json_schema(OrderedDict(enum=[0.1, 1e300, -2.5e-7, "é"])),
    ),
    "type": ("json_schema", lambda compiler: compiler.compile_json_schema(Item)),
    "function": ("json_schema", lambda compiler: compiler.compile_function(look_up, whitespace="compact")),
    "any JSON": ("json_schema", lambda compiler: compiler.compile_builtin_json()),
    "regex": ("regex", lambda compiler: compiler.compile_regex(r"(ab?|é)*\d{2,}")),
    "choices": ("choices", lambda compiler: compiler.compile_choices(["yes", "no", "nöt"])),
    "substring": (
        "substring",
        lambda compiler: compiler.compile_substring("to be or not", chunks="words", min_length=3),
    ),
    "EBNF": ("grammar", lambda compiler: compiler.compile_grammar(GBNF)),
    "EBNF, another root": ("grammar", lambda compiler: compiler.compile_grammar(GBNF, "sum")),
    "Grammar": (
        "grammar",
        lambda compiler: compiler.compile_grammar(
            mw.Grammar.concat(mw.Grammar.from_ebnf(GBNF), mw.Grammar.from_json_schema(SCHEMA))
        ),
    ),
    "lark": ("lark", lambda compiler: compiler.compile_lark(LARK)),
    "lark, its lexer": ("lark", lambda compiler: compiler.compile_lark(LARK, lexer="contextual")),
    "tag": ("structural_tag", lambda compiler: compiler.compile_structural_tag(TAG)),
    "tag, its text": ("structural_tag", lambda compiler: compiler.compile_structural_tag(json.dumps(TAG), indent=1)),
    "tools": ("structural_tag", lambda compiler: compiler.compile_tools(TOOLS, "hermes", tool_choice="required")),
}


def walk(compiled: mw.CompiledGrammar, seed: int, steps: int = 25) -> list[list[int]]:
    """Masks along a random text."""
    matcher, draw, found = mw.GrammarMatcher(compiled), random.Random(seed), list[list[int]]()
    for _ in range(steps):
        allowed = matcher.allowed_token_ids().tolist()
        found.append(allowed)
        if not allowed or not matcher.accept_token(draw.choice(allowed)) or matcher.is_terminated():
            break
    return found


def walks(compiled: mw.CompiledGrammar) -> list[list[list[int]]]:
    return [walk(compiled, seed) for seed in range(3)]


@pytest.fixture(scope="module")
def info() -> mw.TokenizerInfo:
    return large_info(disk_cache=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "saved.maskwright"


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_loaded_is_what_was_saved(info: mw.TokenizerInfo, path: Path, way: str, cached: bool) -> None:
    kind, make = WAYS[way]
    compiler = mw.GrammarCompiler(info, cached)
    compiled = make(compiler)
    expected = walks(compiled)
    compiler.save(compiled, path)
    assert unpacked_file(np.fromfile(path, np.uint8))[0]["kind"] == kind
    loaded = mw.GrammarCompiler(info).load(path)
    assert walks(loaded) == expected
    assert loaded.warnings == compiled.warnings and loaded.python_type is None
    again = path.with_name("again")
    compiler.save(loaded, again)  # what was loaded can be saved
    assert walks(mw.GrammarCompiler(info).load(again)) == expected
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["again", path.name]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(schema=schemas())
def test_random_schemas(info: mw.TokenizerInfo, path: Path, schema: Any) -> None:
    compiler = mw.GrammarCompiler(info)
    try:
        compiled = compiler.compile_json_schema(schema)
    except mw.GrammarError:
        return
    expected = walks(compiled)
    compiler.save(compiled, path)
    assert walks(mw.GrammarCompiler(info).load(path)) == expected


@pytest.mark.parametrize(
    "way", ["schema", "regex", "choices", "substring", "EBNF", "lark", "tag", "tag, its text", "tools"]
)
def test_the_grammar_in_the_cache_is_found(info: mw.TokenizerInfo, path: Path, way: str) -> None:
    compiler = mw.GrammarCompiler(info)
    compiled = WAYS[way][1](compiler)
    compiler.save(compiled, path)
    assert compiler.load(path) is compiled


@pytest.mark.parametrize("way", ["schema", "tag"])
def test_rows_are_found_and_not_computed(
    info: mw.TokenizerInfo, path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler, make = mw.GrammarCompiler(info), WAYS[way][1]
    other = compiler.compile_regex("[a-z]{3}=[0-9]*")  # its rows are another grammar's
    compiled = make(compiler)
    mw.GrammarMatcher(other).allowed_token_ids()
    text = '{"name": "ab\\nc", "code": "x", "word": "abc-d", "size": 1.5}'
    texts = {"schema": text, "tag": f"so <call>{text}</call> it is"}

    def masks(one: mw.CompiledGrammar) -> list[list[int]]:
        matcher, found = mw.GrammarMatcher(one), []
        for character in texts[way]:
            found.append(matcher.allowed_token_ids().tolist())
            assert matcher.accept_string(character)
        return found

    expected = masks(compiled)
    compiler.save(compiled, path)
    arrays = unpacked_file(np.fromfile(path, np.uint8))[1]
    count = len(arrays["digests"])
    assert count > 0
    computed, compute = list[int](), RowWalker.compute

    def counted(self: RowWalker, automaton: int, state: int, register: int, lower: Any) -> Any:
        computed.append(state)
        return compute(self, automaton, state, register, lower)

    monkeypatch.setattr(RowWalker, "compute", counted)
    later = mw.GrammarCompiler(info)
    loaded = later.load(path)
    offered = later.cache_info().nbytes.rows
    assert offered > 0
    assert masks(loaded) == expected
    assert later.cache_info().rows_loaded == count and later.cache_info().rows_stored == 0
    found = len(computed)
    assert masks(make(mw.GrammarCompiler(info))) == expected
    assert len(computed) - found == found + count


@pytest.mark.parametrize("changed", ["version", "code"])
def test_other_versions_compile_and_take_no_rows(
    info: mw.TokenizerInfo, path: Path, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = mw.GrammarCompiler(info)
    compiled = compiler.compile_json_schema(SCHEMA)
    expected = walks(compiled)
    compiler.save(compiled, path)
    if changed == "version":
        monkeypatch.setattr(saved_grammars, "package_version", lambda: "999.0")
    else:
        monkeypatch.setattr(saved_grammars, "code_digest", lambda: "edited")
    later = mw.GrammarCompiler(info)
    assert walks(later.load(path)) == expected
    assert later.cache_info().rows_loaded == 0


def test_options_of_another_version(info: mw.TokenizerInfo, path: Path) -> None:
    compiler = mw.GrammarCompiler(info)
    compiler.save(compiler.compile_json_schema(SCHEMA), path)
    change_header(path, lambda header: header.update(version="9.9", options={"mood": "good"}))
    with pytest.raises(
        SavedGrammarError, match=r"saved by Maskwright 9\.9 with options .*mood.* save the grammar again"
    ):
        compiler.load(path)


def change_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    header, arrays = unpacked_file(np.fromfile(path, np.uint8))
    change(header)
    path.write_bytes(packed_file(header, arrays))


@pytest.mark.parametrize("change", [{"format": 3}, {"kind": "save"}])
def test_a_newer_format(info: mw.TokenizerInfo, path: Path, change: dict[str, Any]) -> None:
    compiler = mw.GrammarCompiler(info)
    compiler.save(compiler.compile_regex("a+"), path)
    change_header(path, lambda header: header.update(change, version="9.9"))
    with pytest.raises(SavedGrammarError, match=r"saved by Maskwright 9\.9 in another format"):
        compiler.load(path)


def test_another_tokenizer(info: mw.TokenizerInfo, byte_info: mw.TokenizerInfo, path: Path) -> None:
    compiler, other = mw.GrammarCompiler(info), mw.GrammarCompiler(byte_info)
    compiled = compiler.compile_regex("a+")
    compiler.save(compiled, path)
    with pytest.raises(SavedGrammarError, match=r"another tokenizer.*save the grammar again"):
        other.load(path)
    with pytest.raises(SavedGrammarError, match="another tokenizer: save it with the compiler that made it"):
        other.save(compiled, path)
    mw.GrammarCompiler(large_info(disk_cache=False)).load(path)  # an equal one


def test_files_that_are_cut_short(info: mw.TokenizerInfo, path: Path) -> None:
    compiler = mw.GrammarCompiler(info)
    compiled = compiler.compile_json_schema(SCHEMA)
    walks(compiled)
    compiler.save(compiled, path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), len(whole) // 200), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(SavedGrammarError, match=r"is damaged, or no saved grammar.*Save the grammar again"):
            compiler.load(path)


def test_every_damaged_byte(info: mw.TokenizerInfo, path: Path) -> None:
    compiler = mw.GrammarCompiler(info)
    compiled = compiler.compile_json_schema(SCHEMA)
    walks(compiled)
    compiler.save(compiled, path)
    whole, draw = path.read_bytes(), random.Random(1)
    header = int.from_bytes(whole[8:12], "little") + 16
    padding = range(header, -(-header // 64) * 64)
    for place in [*range(24), *draw.sample(range(24, len(whole)), 100)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        if place in padding:
            continue  # nobody reads it
        with pytest.raises(SavedGrammarError, match="is damaged"):
            compiler.load(path)


def test_what_is_no_saved_grammar(info: mw.TokenizerInfo, path: Path) -> None:
    compiler = mw.GrammarCompiler(info)
    with pytest.raises(FileNotFoundError):
        compiler.load(path)
    path.write_text(json.dumps(SCHEMA))
    with pytest.raises(SavedGrammarError, match="damaged, or no saved grammar"):
        compiler.load(path)
    path.write_bytes(packed_file({"kind": "trie"}, {}))
    with pytest.raises(SavedGrammarError, match="no saved grammar"):
        compiler.load(path)


def test_what_cannot_be_saved(info: mw.TokenizerInfo, path: Path) -> None:
    referencing = pytest.importorskip("referencing")
    compiler = mw.GrammarCompiler(info)
    compiled = compiler.compile_json_schema(SCHEMA, registry=referencing.Registry())
    with pytest.raises(SavedGrammarError, match=r"cannot be written into a file .*without registry="):
        compiler.save(compiled, path)
    compiled.source = None
    with pytest.raises(SavedGrammarError, match="not made by a GrammarCompiler"):
        compiler.save(compiled, path)
    assert not list(path.parent.iterdir())


def test_later_changes_have_no_effect(info: mw.TokenizerInfo, path: Path) -> None:
    for cached in (True, False):
        compiler = mw.GrammarCompiler(info, cached)
        schema, tag, choices = {"enum": ["a", "b"]}, json.loads(json.dumps(TAG)), ["a", "b"]
        made = [
            compiler.compile_json_schema(schema), compiler.compile_structural_tag(tag), compiler.compile_choices(choices),
        ]  # fmt: skip
        expected = [walks(compiled) for compiled in made]
        schema["enum"].append("c")
        tag["format"]["triggers"][0] = "<c"
        choices.append("c")
        for compiled, masks in zip(made, expected, strict=True):
            compiler.save(compiled, path)
            assert walks(mw.GrammarCompiler(info).load(path)) == masks


def test_threads_load_while_others_save(info: mw.TokenizerInfo, path: Path) -> None:
    compiler = mw.GrammarCompiler(info)
    compiled = [compiler.compile_json_schema({**SCHEMA, "title": "x" * 50 * number}) for number in range(4)]
    expected = walks(compiled[0])
    compiler.save(compiled[0], path)

    def work(number: int) -> None:
        for _ in range(10):
            compiler.save(compiled[number], path)
            assert walk(compiler.load(path), 0) == expected[0]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def row(size: int) -> RowParts:
    return RowParts(True, np.zeros(size // 4, np.int32), np.zeros((0, 3), np.int32), False)


def test_rows_that_are_offered_are_bounded_and_handed_over_once() -> None:
    file = RowFile(large_info(disk_cache=False).disk, "tokenizer", max_offered=3000)
    digests = [row_file.content_digest(number) or b"" for number in range(4)]
    for digest in digests:
        file.offer({digest: row(900)})
    file.offer({digests[3]: row(900)})
    assert file.offered_bytes == 3 * row(900).nbytes
    assert [file.get(number) is not None for number in (0, 1, 1, 2)] == [False, True, False, True]
    assert file.loaded == 2 and file.offered_bytes == row(900).nbytes
    file.offer({digests[0]: row(MAX_ROW_BYTES)})
    assert file.offered_bytes == 0 and file.get(3) is None
    file.offer({digests[0]: row(40)})
    file.forget_offered()
    assert file.offered_bytes == 0 and file.get(0) is None


@pytest.mark.parametrize("text", ["0.1", "1.5", "1E-7", "123456789.125", "5e-324", "1.0000000000000000001"])
def test_fractions_are_exact(text: str, info: mw.TokenizerInfo, path: Path) -> None:
    compiler = mw.GrammarCompiler(info)
    schema = f'{{"type": "number", "minimum": {text}, "maximum": {text}}}'
    compiler.save(compiler.compile_json_schema(schema), path)
    assert Decimal(
        json.loads(unpacked_file(np.fromfile(path, np.uint8))[0]["source"], parse_float=str)["minimum"]
    ) == Decimal(text)
    matcher = mw.GrammarMatcher(compiler.load(path))
    assert Decimal(matcher.shortest_completion().decode()) == Decimal(text)
