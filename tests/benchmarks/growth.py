#!/usr/bin/env python3
"""How the time of a mask grows: with what was written before, with the schema, with bounds, with the vocabulary.

Examples:

    growth.py                                    everything, every engine that is installed
    growth.py length bound --engines maskwright
    growth.py schema --sizes 10 1000 --runs 5

    length      one fill and one accept behind 100, 1,000, 10,000 and 30,000 tokens of one text: a long array of objects,
                a long string, and two context-free grammars (arithmetic, which is ambiguous to a parser of one token;
                Python)
    schema      10 to 10,000 properties, and as many definitions that they refer to: compilation with the first mask, and
                the masks of an object with 40 of them
    bound       a string with maxLength 100 to 100,000, and one without
    vocabulary  single bytes, Llama-3 (128,256 tokens), Qwen (151,851), and Llama-3's extended to 262,144 by pairs of its
                tokens: preparation, compilation with the first mask, masks

Times are processor time of one thread. A mask is one fill and one accept; a figure is the mean of 256 masks in a row,
measured 32 at a time, of each 32 the least time of all runs. The first run finds a grammar that it has not seen, the
others one that is warm; what it takes to get warm is in `schema` and `vocabulary`, whose first masks are those of a
compiler that has seen nothing. An engine that took --limit seconds gets no larger sizes.
"""

from __future__ import annotations

import gc
import json
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from time import process_time, process_time_ns
from typing import Any

import numpy as np
import report
from engines import ENGINES, Engine, Refused, installed, of_tokens
from grammar_texts import GENERATORS
from transformers import PreTrainedTokenizerFast

from maskwright.warmup import warm_up

GRAMMARS = Path(__file__).resolve().parent / "grammars"
TOKENIZERS = report.SHARED / "data/tokenizers"
POSITIONS = (100, 1_000, 10_000, 30_000)
WINDOW, CHUNK = 256, 32
BOUNDS = (100, 1_000, 10_000, 100_000)
EXTENDED = 262_144

RECORD = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string"},
        "score": {"type": "number"},
        "active": {"type": "boolean"},
        "tags": {"type": "array", "items": {"enum": ["new", "hot", "sale", "last"]}},
    },
    "required": ["id", "name", "score", "active", "tags"],
    "additionalProperties": False,
}
RECORDS = {"type": "array", "items": RECORD}
LETTER = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


# ------------------------------------------------------------------------------------------------------------ texts


def records(chance: random.Random, count: int) -> str:
    """A JSON array of RECORDS."""
    names = ["Ada", "Grace", "Alan", "Emmy", "Kurt", "Barbara", "Mary", "Edsger"]
    found = [
        {
            "id": chance.randrange(100_000),
            "name": f"{chance.choice(names)} {chance.choice(names)}",
            "score": round(chance.random() * 100, 2),
            "active": chance.random() < 0.5,
            "tags": chance.sample(RECORD["properties"]["tags"]["items"]["enum"], chance.randrange(4)),  # type: ignore[index]
        }
        for _ in range(count)
    ]
    return json.dumps(found)


def letter(characters: int) -> str:
    """A JSON object of LETTER whose text has that many characters."""
    text, made = "", GENERATORS["english.gbnf"](random.Random(0))
    while len(text) < characters:
        text += next(made) + " "
    return json.dumps({"text": text[:characters]})


def long_text(name: str, characters: int) -> str:
    """One sentence of a grammar whose sentences can follow each other."""
    text, made = "", GENERATORS[name](random.Random(name))
    while len(text) < characters:
        text += next(made)
    return text


# --------------------------------------------------------------------------------------------------------- measuring


def compiled(engine: Engine, compile_: Callable[[Engine], None]) -> tuple[float, float]:
    """Milliseconds of compilation, and to the end of the first mask, for a compiler that has seen nothing."""
    engine.prepare()
    gc.collect()
    started = process_time_ns()
    compile_(engine)
    done = process_time_ns()
    engine.reset()
    engine.fill()
    return (done - started) / 1e6, (process_time_ns() - started) / 1e6


def chunks(engine: Engine, tokens: Sequence[int], limit: float) -> list[float]:
    """Microseconds of a mask, for each CHUNK of tokens in turn; as many as fit into `limit` seconds."""
    engine.reset()
    found, begun = list[float](), process_time()
    for start in range(0, len(tokens) - CHUNK + 1, CHUNK):
        part = tokens[start : start + CHUNK]
        before = process_time_ns()
        for token in part:
            engine.fill()
            if not engine.accept(token):
                raise Refused(f"does not allow one of tokens {start:,} to {start + CHUNK:,} of {len(tokens):,}")
        found.append((process_time_ns() - before) / 1e3 / CHUNK)
        if process_time() - begun > limit:
            break
    return found


def least(engine: Engine, tokens: Sequence[int], runs: int, limit: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of each chunk the least of all runs, float64 [chunks that every run came to]."""
    found = [chunks(engine, tokens, limit) for _ in range(runs)]
    reached = min(map(len, found))
    return np.array([run[:reached] for run in found]).min(axis=0)


def at(times: np.ndarray[Any, np.dtype[np.float64]], position: int) -> float | None:
    """Microseconds of a mask over the WINDOW of tokens from a position on, or None where it was not reached."""
    first = -(-position // CHUNK)
    window = times[first : first + WINDOW // CHUNK]
    return float(window.mean()) if len(window) == WINDOW // CHUNK else None


def answer(measure: Callable[[], Any]) -> float | str:
    """What is measured, or why an engine has no such figure."""
    try:
        return float(measure())
    except Refused as error:
        return str(error)


def shown(value: float | None) -> str:
    return "too slow" if value is None else f"{value:,.1f}"


class Bench:
    """What every part needs.

    Attributes:
        engines: by name, over Llama-3's vocabulary.
    """

    def __init__(
        self, names: Sequence[str], runs: int, limit: float, sizes: Sequence[int], page: report.Report
    ) -> None:
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(str(TOKENIZERS / "llama3"))
        self.engines = {name: ENGINES[name](self.tokenizer) for name in names}
        self.runs, self.limit, self.sizes, self.page = runs, limit, sizes, page
        warm_up()  # loading the kernels belongs to no size

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    # Parts

    def length(self) -> None:
        characters = 5 * (POSITIONS[-1] + WINDOW)
        workloads: dict[str, tuple[str, Callable[[Engine], None]]] = {
            "array of objects": (records(random.Random(0), POSITIONS[-1] // 20), partial(_compile_schema, RECORDS)),
            "string": (letter(characters), partial(_compile_schema, LETTER)),
        }
        for name, folder in (("arithmetic.gbnf", report.SHARED / "data/gbnf"), ("python.lark", GRAMMARS)):
            text = (folder / name).read_text("utf-8")
            workloads[name] = (long_text(name, characters), partial(_compile_grammar, name, text))
        rows, curves = [], dict[tuple[str, str], list[tuple[int, float]]]()
        for workload, (text, compile_) in workloads.items():
            tokens = self.encode(text)[: POSITIONS[-1] + 2 * WINDOW]
            for name, engine in self.engines.items():
                try:
                    engine.prepare()
                    compile_(engine)
                    times = least(engine, tokens, self.runs, self.limit)
                except Exception as error:  # an engine may raise anything; the table says so
                    reason = f"refused: {str(error).splitlines()[0][:60]}"
                    rows.append([workload, report.NAMES[name], reason, *[""] * len(POSITIONS)])
                    continue
                found = [at(times, position) for position in POSITIONS]
                early, late = found[0], found[2]
                ratio = late / early if early and late else None
                rows.append([workload, report.NAMES[name], *map(shown, found), "" if ratio is None else f"{ratio:.2f}"])
                curves[workload, name] = [(p, value) for p, value in zip(POSITIONS, found, strict=True) if value]
        self.page.text("### Output length\n\nMicroseconds of a mask (one fill, one accept) behind so many tokens.")
        self.page.table(["text", "", *(f"{p:,}" for p in POSITIONS), "10,000 / 100"], rows)
        styles = dict(zip(workloads, ("-", "--", ":", "-."), strict=True))
        self.page.plot(
            "growth-length",
            lambda axes: [
                axes.plot(*zip(*points, strict=True), styles[workload], label=f"{report.NAMES[name]}, {workload}",
                          color=report.COLOURS[name], marker=report.MARKERS[name], markersize=4)
                for (workload, name), points in curves.items() if points
            ],
            title="A mask behind a text of so many tokens", xlabel="tokens before", ylabel="μs", xscale="log", yscale="log",
        )  # fmt: skip

    def schema(self) -> None:
        rows, curves = [], dict[tuple[str, str], list[tuple[int, float]]]()
        for kind in ("properties", "definitions"):
            slow = set[str]()
            for size in self.sizes:
                schema, text = _wide(kind, size)
                tokens = self.encode(text)
                for name, engine in self.engines.items():
                    if name in slow:
                        rows.append([f"{size:,} {kind}", report.NAMES[name], "too slow", "", ""])
                        continue
                    began = process_time()
                    times = [compiled(engine, partial(_compile_schema, schema)) for _ in range(self.runs)]
                    compile_ms, first_ms = map(min, zip(*times, strict=True))
                    mask = answer(lambda e=engine, t=tokens: least(e, t, self.runs, self.limit).mean())  # type: ignore[misc]
                    rows.append([f"{size:,} {kind}", report.NAMES[name], compile_ms, first_ms, mask])
                    curves.setdefault((kind, name), []).append((size, first_ms))
                    if process_time() - began > self.limit:
                        slow.add(name)
        self.page.text("### Schema size")
        self.page.table(["an object of", "", "compile, ms", "with the first mask, ms", "a mask, us"], rows)
        self.page.plot(
            "growth-schema",
            lambda axes: [
                axes.plot(*zip(*points, strict=True), "-" if kind == "properties" else "--", marker=report.MARKERS[name],
                          label=f"{report.NAMES[name]}, {kind}", color=report.COLOURS[name], markersize=4)
                for (kind, name), points in curves.items()
            ],
            title="From a schema to the first mask", xlabel="properties or definitions", ylabel="ms",
            xscale="log", yscale="log",
        )  # fmt: skip

    def bound(self) -> None:
        rows, slow = [], set[str]()
        for size in (None, *BOUNDS):
            text = {"type": "string"} if size is None else {"type": "string", "maxLength": size}
            schema = LETTER | {"properties": {"text": text}}
            for name, engine in self.engines.items():
                label = "none" if size is None else f"{size:,}"
                if name in slow:
                    rows.append([label, report.NAMES[name], "too slow", ""])
                    continue
                began = process_time()
                times = [compiled(engine, partial(_compile_schema, schema)) for _ in range(self.runs)]
                inside = self.encode(letter(min(8_000, (size or 8_000) * 3 // 4)))
                fill = answer(lambda e=engine, t=inside: min(_median_fill(e, t) for _ in range(self.runs)))  # type: ignore[misc]
                rows.append([label, report.NAMES[name], min(compile_ for compile_, _ in times), fill])
                if process_time() - began > self.limit / 3:
                    slow.add(name)
        self.page.text("### Bounds of strings\n\nA mask (the fill alone) is that of a place inside the string.")
        self.page.table(["maxLength", "", "compile, ms", "fill, median, us"], rows)

    def vocabulary(self) -> None:
        rows = []
        text = records(random.Random(0), 40)
        for label, size, make, encode in self._vocabularies():
            tokens = encode(text)
            for name in self.engines:
                began = process_time()
                engine = make(name)
                engine.prepare()
                engine.compile_schema({"const": 0})  # tries are made when first needed
                prepared = (process_time() - began) * 1e3
                first = min(compiled(engine, partial(_compile_schema, RECORDS))[1] for _ in range(self.runs))
                mask = answer(lambda e=engine, t=tokens: least(e, t, self.runs, self.limit).mean())  # type: ignore[misc]
                rows.append([label, size, report.NAMES[name], prepared, first, mask])
        self.page.text("### Vocabulary size")
        columns = ["vocabulary", "tokens", "", "preparation, ms", "compile and first mask, ms", "a mask, us"]
        self.page.table(columns, rows)

    def _vocabularies(self) -> Iterable[tuple[str, int, Callable[[str], Engine], Callable[[str], list[int]]]]:
        single = [bytes([byte]) for byte in range(256)]
        yield "bytes", 257, lambda name: of_tokens(name, [*single, b"<end>"], 256), lambda text: list(text.encode())
        yield "Llama-3", len(self.tokenizer), lambda name: ENGINES[name](self.tokenizer), self.encode
        qwen = PreTrainedTokenizerFast.from_pretrained(str(TOKENIZERS / "qwen"))
        yield (
            "Qwen",
            len(qwen),
            lambda name: ENGINES[name](qwen),
            lambda text: qwen.encode(text, add_special_tokens=False),
        )
        wide, eos = _extended(self.tokenizer)
        yield "Llama-3, extended", len(wide), lambda name: of_tokens(name, wide, eos), self.encode


def _compile_grammar(name: str, text: str, engine: Engine) -> None:
    engine.compile(name, text)


def _compile_schema(schema: Any, engine: Engine) -> None:
    engine.compile_schema(schema)


def _median_fill(engine: Engine, tokens: Sequence[int]) -> float:
    """Microseconds of a fill alone, the median over a text from its fifth token on."""
    engine.reset()
    found = list[int]()
    for number, token in enumerate(tokens):
        before = process_time_ns()
        engine.fill()
        found.append(process_time_ns() - before)
        if not engine.accept(token):
            raise Refused(f"does not allow token {number:,} of {len(tokens):,}")
    return float(np.median(found[4:])) / 1e3


def _wide(kind: str, size: int) -> tuple[dict[str, Any], str]:
    """A schema with so many properties, or definitions that they refer to; and an object with 40 of them, in order."""
    names = [f"field_{number:05d}" for number in range(size)]
    types: list[dict[str, Any]] = [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"enum": ["a", "b"]}]
    values: list[Any] = ["some text", 12345, True, "b"]
    if kind == "properties":
        properties = {name: types[number % 4] for number, name in enumerate(names)}
        schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    else:
        inner = [{"type": "object", "properties": {"value": types[n % 4]}, "required": ["value"]} for n in range(size)]
        schema = {
            "type": "object",
            "properties": {name: {"$ref": f"#/$defs/{name}"} for name in names},
            "additionalProperties": False,
            "$defs": dict(zip(names, inner, strict=True)),
        }
    chosen = sorted({number * size // 40 for number in range(40)})
    of = {names[n]: values[n % 4] if kind == "properties" else {"value": values[n % 4]} for n in chosen}
    return schema, json.dumps(of)


def _extended(tokenizer: Any) -> tuple[list[bytes], int]:
    """Llama-3's tokens and pairs of them, EXTENDED in all, each different; and the end-of-sequence id."""
    import maskwright as mw

    info = mw.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
    tokens = [token or b"<unused>" for token in info.tokens]
    common = [token for token in tokens[:20_000] if token]
    chance, known = random.Random(0), set(tokens)
    while len(tokens) < EXTENDED:
        pair = chance.choice(common) + chance.choice(common)
        if pair not in known:
            known.add(pair)
            tokens.append(pair)
    return tokens, tokenizer.eos_token_id


PARTS = {"length": Bench.length, "schema": Bench.schema, "bound": Bench.bound, "vocabulary": Bench.vocabulary}


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--engines", nargs="+", choices=sorted(ENGINES), help="(default: all that are installed)")
    parser.add_argument("--runs", type=int, default=3, help="runs (3)")
    parser.add_argument("--limit", type=float, default=20, help="seconds after which an engine is too slow (20)")
    parser.add_argument("--sizes", nargs="+", type=int, default=[10, 100, 1_000, 10_000], help="of schemas")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part {min(unknown)!r}; there are {', '.join(PARTS)}")

    page = report.Report(args)
    page.heading("Growth")
    page.provenance()
    bench = Bench(args.engines or installed(), args.runs, args.limit, args.sizes, page)
    gc.freeze()
    for name in args.parts or PARTS:
        PARTS[name](bench)
    page.finish()


if __name__ == "__main__":
    main()
