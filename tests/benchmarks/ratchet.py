#!/usr/bin/env python3
"""What becomes of the official test suite and of real schemas, held against what became of them before.

    python tests/benchmarks/ratchet.py                  # what differs from the recorded results
    python tests/benchmarks/ratchet.py --write          # record what is so now
    python tests/benchmarks/ratchet.py --only suite     # without MaskBench, which takes minutes

The record is tests/cases/ratchet.toml: a table for each draft with a line for each file of the suite, and a table for
MaskBench with a line for each data set. A line has one mark for each test, or each schema with all its instances:

    .   judged as labelled
    u   refused, as something that cannot be enforced
    l   refused, as beyond a limit
    i   refused, as no schema
    +   an instance that is invalid was accepted
    -   an instance that is valid was rejected
    x   an error of any other kind

tests/test_ratchet.py fails when a mark gets worse, and when one gets better and is not recorded.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from referencing import Registry, Resource
from referencing.jsonschema import EMPTY_REGISTRY, specification_with

import maskwright as mw
from maskwright.judge import byte_vocabulary

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
RECORD = ROOT / "tests" / "cases" / "ratchet.toml"
MASKBENCH = "maskbench"
DIALECTS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft4": "http://json-schema.org/draft-04/schema#",
}
RIGHT, ACCEPTED, REJECTED, RAISED = ".", "+", "-", "x"
REFUSALS = {mw.UnsupportedError: "u", mw.LimitExceeded: "l", mw.InvalidError: "i"}
_WORTH = {RIGHT: 2, **dict.fromkeys(REFUSALS.values(), 1), ACCEPTED: 0, REJECTED: 0, RAISED: 0}
_WIDTH = 100  # marks on a line of the record

Record = dict[str, dict[str, str]]  # marks by draft and file, or by "maskbench" and data set


@dataclass(frozen=True)
class Unit:
    """What gives one or more marks: a group of the suite, or a schema of MaskBench.

    Attributes:
        table, line: where its marks stand in the record.
        start: the place of its first mark in the line.
        names: what each of its marks is about.
        mark: judges it; one mark for each name.
    """

    table: str
    line: str
    start: int
    names: tuple[str, ...]
    mark: Callable[[], str]


def compiler() -> mw.GrammarCompiler:
    """One without a limit of time, so that a busy machine gives the same marks."""
    return mw.GrammarCompiler(byte_vocabulary(), cache_enabled=False, max_lowering_ms=math.inf)


def accepts(grammar: mw.CompiledGrammar, text: str) -> bool:
    """Whether the grammar takes the whole text, byte by byte: whoever accepts a byte also allows it."""
    matcher = mw.GrammarMatcher(grammar)
    return matcher.accept_string(text) and matcher.is_completed()


def _refusal(error: Exception) -> str:
    return next((mark for kind, mark in REFUSALS.items() if isinstance(error, kind)), RAISED)


def _verdict(accepted: bool, valid: bool) -> str:
    return RIGHT if accepted == valid else ACCEPTED if accepted else REJECTED


def mark_group(with_compiler: mw.GrammarCompiler, group: dict[str, Any], options: dict[str, Any]) -> str:
    """A mark for each test of a group of the suite, whose schema is compiled with `options`."""
    try:
        grammar = with_compiler.compile_json_schema(group["schema"], **options)
    except mw.UnsatisfiableError:  # it has no instances
        return "".join(_verdict(False, test["valid"]) for test in group["tests"])
    except Exception as error:
        return _refusal(error) * len(group["tests"])
    marks = ""
    for test in group["tests"]:
        try:
            marks += _verdict(accepts(grammar, json.dumps(test["data"], ensure_ascii=False)), test["valid"])
        except Exception as error:  # met where the text led to
            marks += _refusal(error)
    return marks


def mark_schema(with_compiler: mw.GrammarCompiler, record: dict[str, Any]) -> str:
    """The mark of a schema of MaskBench: the first of its instances' marks that is not RIGHT.

    A valid instance whose members come in another order is no fault; there `property_order="any"` must accept it.
    """
    schema = record["schema"]
    try:
        grammar = with_compiler.compile_json_schema(schema)
        for test in record["tests"]:
            text = json.dumps(test["data"], ensure_ascii=False)
            accepted = accepts(grammar, text)
            if test["valid"] and not accepted:
                accepted = accepts(with_compiler.compile_json_schema(schema, property_order="any"), text)
            if accepted != test["valid"]:
                return _verdict(accepted, test["valid"])
    except mw.UnsatisfiableError:
        return REJECTED if any(test["valid"] for test in record["tests"]) else RIGHT
    except Exception as error:
        return _refusal(error)
    return RIGHT


def remotes(suite: Path, draft: str) -> Registry[Any]:
    """The suite's remote documents, at the addresses that its schemas use."""
    resources = []
    for path in sorted((suite / "remotes").rglob("*.json")):
        name = path.relative_to(suite / "remotes").as_posix()
        if name.startswith("draft") and not name.startswith(f"{draft}/"):
            continue
        contents = json.loads(path.read_text("utf-8"))
        resource = Resource.from_contents(contents, default_specification=specification_with(DIALECTS[draft]))
        resources.append((f"http://localhost:1234/{name}", resource))
    return EMPTY_REGISTRY.with_resources(resources)


def suite_units(suite: Path, with_compiler: mw.GrammarCompiler, draft: str) -> Iterator[Unit]:
    """The groups of a draft. A schema gets what a validator would get: the draft as default dialect, the remote documents,
    any order and spelling, and formats as annotations, but as assertions where they are the subject."""
    root = suite / draft
    given = {"dialect": DIALECTS[draft], "registry": remotes(suite, draft)}
    given |= {"property_order": "any", "numbers": "any", "escapes": "any"}
    for path in sorted(root.rglob("*.json")):
        file, start = path.relative_to(root).as_posix(), 0
        options = given | {"format": "assert" if file.startswith("optional/format/") else "annotate"}
        for group in json.loads(path.read_text("utf-8")):
            names = tuple(f"{group['description']}: {test['description']}" for test in group["tests"])

            def mark(group: dict[str, Any] = group, options: dict[str, Any] = options) -> str:
                return mark_group(with_compiler, group, options)

            yield Unit(draft, file, start, names, mark)
            start += len(names)


def maskbench_units(path: Path, with_compiler: mw.GrammarCompiler) -> Iterator[Unit]:
    """The schemas of MaskBench, in the order of the file."""
    counts: Counter[str] = Counter()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            prefix, separator, _ = record["id"].partition("---")
            data_set = prefix if separator else prefix.partition("_")[0]

            def mark(record: dict[str, Any] = record) -> str:
                return mark_schema(with_compiler, record)

            yield Unit(MASKBENCH, data_set, counts[data_set], (record["id"],), mark)
            counts[data_set] += 1


def read_record(path: Path = RECORD) -> Record:
    return tomllib.loads(path.read_text("utf-8"))


def write_record(record: Record, path: Path = RECORD) -> None:
    lines = [
        "# Written by tests/benchmarks/ratchet.py, where the marks are explained: one for each test, or each schema."
    ]
    for table, entries in record.items():
        lines += ["", f'["{table}"]']
        for name, marks in sorted(entries.items()):
            if len(marks) <= _WIDTH:
                lines.append(f'"{name}" = "{marks}"')
            else:
                rows = [marks[at : at + _WIDTH] + "\\" for at in range(0, len(marks), _WIDTH)]
                lines += [f'"{name}" = """\\', *rows, '"""']
    path.write_text("\n".join(lines) + "\n", "utf-8")


def compare(unit: Unit, marks: str, record: Record) -> Iterator[str]:
    """A sentence for each mark of `unit` that is not the recorded one."""
    line = record.get(unit.table, {}).get(unit.line, "")
    for name, number, now in zip(unit.names, range(unit.start, unit.start + len(marks)), marks, strict=True):
        before = line[number : number + 1]
        if before != now:
            change = "new" if not before else {1: "better", -1: "worse"}.get(_sign(now, before), "other")
            yield f'{change}: {unit.table} {unit.line} [{number}] "{name}": was "{before}", is "{now}"'


def _sign(now: str, before: str) -> int:
    difference = _WORTH[now] - _WORTH.get(before, 0)
    return (difference > 0) - (difference < 0)


def gone(record: Record, results: Record) -> Iterator[str]:
    """A sentence for each line of the record that has more marks than there are tests now."""
    for table, entries in results.items():
        for name, marks in record.get(table, {}).items():
            if len(entries.get(name, "")) < len(marks):
                yield f"gone: {table} {name} has {len(entries.get(name, ''))} tests, the record {len(marks)}"


def collect(units: Iterable[Unit], record: Record) -> tuple[Record, list[str]]:
    """The marks of all units, and what differs from the record."""
    results: Record = {}
    differences = []
    for unit in units:
        marks = unit.mark()
        entries = results.setdefault(unit.table, {})
        entries[unit.line] = entries.get(unit.line, "") + marks
        differences += compare(unit, marks, record)
    return results, [*differences, *gone(record, results)]


def shares(results: Record) -> Iterator[str]:
    """One line for each table: how many of which mark."""
    for table, entries in results.items():
        count = Counter(mark for marks in entries.values() for mark in marks)
        total = count.total()
        found = ", ".join(f'"{mark}" {many:,} ({many / total:.1%})' for mark, many in count.most_common())
        yield f"{table}: {total:,} marks: {found}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the results instead of comparing them")
    parser.add_argument("--only", choices=["suite", MASKBENCH], help="one of the two; the record keeps the other")
    parser.add_argument("--data", type=Path, default=DATA, help=f"folder with the data (default: {DATA})")
    args = parser.parse_args()

    from rich.console import Console
    from rich.progress import track

    with_compiler, units = compiler(), []
    if args.only != MASKBENCH:
        suite = args.data / "json-schema-test-suite"
        drafts = [draft for draft in DIALECTS if (suite / draft).is_dir()]
        units += [unit for draft in drafts for unit in suite_units(suite, with_compiler, draft)]
    if args.only != "suite" and (args.data / "maskbench/dev.jsonl.gz").exists():
        units += maskbench_units(args.data / "maskbench/dev.jsonl.gz", with_compiler)
    if not units:
        parser.exit(1, f"ratchet.py: there is no data in {args.data}\n")
    record = read_record() if RECORD.exists() else {}
    results, differences = collect(track(units, "Judging", console=Console(stderr=True)), record)
    print("\n".join([*differences, *shares(results)]))
    if args.write:
        write_record(record | results)
        print(f"{RECORD.relative_to(ROOT)} is written: {len(differences)} changes")
    elif differences:
        sys.exit(1)


if __name__ == "__main__":
    main()
