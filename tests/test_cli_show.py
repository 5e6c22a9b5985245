"""`maskwright show`: the stages in words, and automata as drawings."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from maskwright.cli import main
from maskwright.cli_dot import byte_label
from maskwright.grammars.json_schema import load_schema
from maskwright.grammars.number_descriptions import describe_numbers


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "number"}, "any number"),
        ({"type": "integer"}, "any integer"),
        ({"type": "integer", "minimum": 1, "maximum": 99, "multipleOf": 3}, "integer 1..99, multiple of 3"),
        ({"type": "integer", "exclusiveMinimum": 0}, "integer >= 1"),
        ({"type": "integer", "multipleOf": 7}, "integer, multiple of 7"),
        ({"type": "number", "exclusiveMinimum": 0.5}, "number > 0.5"),
        ({"type": "number", "minimum": -5, "exclusiveMaximum": -1.25}, "number >= -5 and < -1.25"),
        ({"type": "number", "minimum": -90.5, "maximum": 90}, "number -90.5..90"),
        ({"type": "number", "minimum": 0, "multipleOf": 0.01}, "number >= 0, multiple of 0.01"),
        ({"type": "number", "minimum": 1e-7, "maximum": 1e30}, "number 0.0000001..1e+30"),
        ({"enum": [9.5, 1, 2, 3, -3]}, "number -3, 1..3 or 9.5"),
        ({"const": 4}, "number 4"),
        ({"allOf": [{"type": "number", "minimum": 1, "maximum": 9}, {"not": {"const": 4}}]}, None),
    ],
)
def test_number_languages_in_words(schema: dict[str, object], words: str | None) -> None:
    loaded = load_schema(schema)
    assert describe_numbers(loaded.value_of(loaded.root).number) == words


def test_show_ir_writes_numbers_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "schema.json"
    path.write_text('{"properties": {"n": {"type": "integer", "minimum": 0}, "s": {"type": "string"}}}')
    assert main(["show", "ir", str(path)]) == 0
    out = capsys.readouterr().out
    assert "    integer >= 0\n" in out
    assert "    string: any\n" in out
    assert "_Whole" not in out


def test_an_automaton_as_a_drawing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"type": "array", "items": {"enum": ['"\\', "a"]}, "maxItems": 3}))
    assert main(["show", "automaton", str(path), "--prefix", '["\\"', "--dot", "-"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("digraph automaton {", "}")
    quoted = r'"(?:[^"\\]|\\.)*"'
    attribute = rf"\w+=(?:{quoted}|[\w#.]+)"
    node_or_edge = rf"  (?:start|\d+)(?: -> \d+)?(?: \[{attribute}(?:, {attribute})*\])?;"
    statements = [line for line in lines[1:-1] if not line.startswith(("  rankdir", "  node", "  edge"))]
    assert [line for line in statements if not re.fullmatch(node_or_edge, line)] == []
    assert any(r'label="\\"' in line for line in statements), "a backslash is an edge, and is escaped"
    assert any(r'label="\""' in line for line in statements), "a quotation mark too"
    assert any("shape=doublecircle" in line for line in statements)
    target = tmp_path / "automaton.dot"
    assert main(["show", "automaton", str(path), "--prefix", '["\\"', "--dot", str(target)]) == 0
    assert capsys.readouterr().out == ""
    assert target.read_text().splitlines() == lines


def test_an_automaton_as_svg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a stand-in for Graphviz, which may not be installed; and what is said where it is not."""
    grammar = tmp_path / "pairs.gbnf"
    grammar.write_text('root ::= "a" root "b"? | ""')
    command = ["show", "automaton", "--grammar", str(grammar), "--prefix", "a"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*command, "--svg", "-"]) == 2
    assert "install Graphviz" in capsys.readouterr().err
    program = tmp_path / "dot"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nprint('<svg>', sys.argv[1:], len(sys.stdin.read()), '</svg>')\n"
    )
    program.chmod(0o755)
    assert main([*command, "--dot", "-"]) == 0
    drawing = capsys.readouterr().out
    assert "style=bold" in drawing  # the call of root inside itself
    assert main([*command, "--svg", str(tmp_path / "pairs.svg")]) == 0
    assert (tmp_path / "pairs.svg").read_text() == f"<svg> ['-Tsvg'] {len(drawing)} </svg>\n"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('too large')\n")
    assert main([*command, "--svg", "-"]) == 2
    assert "Graphviz cannot draw this automaton: too large" in capsys.readouterr().err


def test_what_a_grammar_can_do_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grammar = tmp_path / "pairs.gbnf"
    grammar.write_text('root ::= "a" root "b"? | ""')
    assert main(["show", "automaton", "--grammar", str(grammar), "--prefix", "a"]) == 0
    assert "call" in (lines := capsys.readouterr().out) and ", or end before it" in lines
    lark = tmp_path / "pairs.lark"
    lark.write_text('start: "a" start "b" | "c"')
    assert main(["show", "mask", "--grammar", str(lark), "--prefix", "aac"]) == 0
    assert capsys.readouterr().out.startswith("1 of 256 bytes")


def test_an_edge_names_exactly_its_bytes() -> None:
    names = {"space": 0x20, "tab": 9, "newline": 10, "return": 13}

    def read(label: str) -> set[int]:
        span, _, holes = label.partition(" but ")
        found: set[int] = set()
        for part in span.split(" "):
            first, dash, last = part.partition("-") if len(part) > 1 else (part, "", "")
            ends = [
                names.get(end) or (int(end, 16) if end.startswith("0x") else ord(end)) for end in (first, last) if end
            ]
            found.update(range(ends[0], ends[-1] + 1) if dash else ends)
        return found - read(holes) if holes else found

    sets = [{10, 13, 32}, set(range(0x30, 0x3A)) | {0x65}, set(range(0x20, 0x80)) - {0x22, 0x5C}, set(range(256))]
    sets += [set(range(0x80, 0xC0)), {0x22}, {0x2D}, set(range(0x40, 0x50)), {0x61, 0x62}, {0x7F, 0x80}]
    for members in sets:
        assert read(byte_label(sorted(members))) == members
    assert byte_label([0x22, *range(0x30, 0x3A)]) == '" 0-9'
    assert byte_label(sorted(set(range(0x20, 0x80)) - {0x22, 0x5C})) == r'0x20-0x7f but " \ '.strip()
