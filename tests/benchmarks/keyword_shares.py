#!/usr/bin/env python3
"""How many real schemas use each keyword: the last column of the table of keywords in docs/json-schema.md.

    python tests/benchmarks/keyword_shares.py            # what the column should say and does not
    python tests/benchmarks/keyword_shares.py --write    # write it

A schema of MaskBench uses a keyword if one of its subschemas has it, wherever `$ref` may lead; a property, an annotation or
a constant of that name does not count.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "maskbench" / "dev.jsonl.gz"
PAGE = ROOT / "docs" / "json-schema.md"
HEADER = "| keyword | drafts | | used by |"
# Keywords whose values hold schemas by name, and those whose values are no schemas whatever they look like.
MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
CONSTANTS = ("const", "enum", "default", "example", "examples")


def subschemas(schema: dict[str, Any]) -> Iterator[Any]:
    """What may be a schema in the values of the keywords of `schema`."""
    for key, value in schema.items():
        if key in MAPS and isinstance(value, dict):
            yield from value.values()
        elif key not in CONSTANTS:
            yield from value if isinstance(value, list) else [value]


def keywords_of(schema: Any) -> set[str]:
    """Every keyword, and every unknown name in the place of one."""
    found: set[str] = set()
    todo = [schema]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            found |= part.keys()
            todo += subschemas(part)
    return found


def shares_of(schemas: Iterable[Any]) -> dict[str, float]:
    """The share of the schemas that use each keyword."""
    found = [keywords_of(schema) for schema in schemas]
    count = Counter(name for keywords in found for name in keywords)
    return {name: number / len(found) for name, number in count.items()}


def written(share: float) -> str:
    return "" if share == 0 else "< 0.1%" if share < 0.001 else f"{share:.1%}"


def rows_of(page: str) -> list[list[str]]:
    """The cells of the table of keywords."""
    table = page.partition(f"{HEADER}\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table]


def with_shares(page: str, shares: dict[str, float]) -> str:
    """The page with the last column written anew."""
    before, header, rest = page.partition(f"{HEADER}\n")
    rule, _, rest = rest.partition("\n")
    body, gap, after = rest.partition("\n\n")
    lines = []
    for line in body.splitlines():
        cells = line.strip("|").split(" | ")
        cells[-1] = written(shares.get(cells[0].strip(" `"), 0.0))
        lines.append(f"|{' | '.join(cells)} |")
    return f"{before}{header}{rule}\n" + "\n".join(lines) + f"{gap}{after}"


def read_schemas(path: Path = DATA) -> Iterator[Any]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from (json.loads(line)["schema"] for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the column instead of comparing it")
    parser.add_argument("--data", type=Path, default=DATA, help=f"MaskBench (default: {DATA})")
    args = parser.parse_args()
    if not args.data.exists():
        parser.exit(1, f"keyword_shares.py: {args.data} is not here\n")

    from rich.console import Console
    from rich.progress import track

    shares = shares_of(track([*read_schemas(args.data)], "Reading", console=Console(stderr=True)))
    page = PAGE.read_text("utf-8")
    new = with_shares(page, shares)
    for name, _, _, share in rows_of(new):
        print(f"{name.strip('`'):24}{share}")
    if args.write:
        PAGE.write_text(new, "utf-8")
    elif new != page:
        sys.exit("docs/json-schema.md says otherwise: --write corrects it")


if __name__ == "__main__":
    main()
