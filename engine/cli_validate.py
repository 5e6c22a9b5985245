"""`maskwright validate`: which schemas can be enforced, and which texts are in their languages?

Every schema becomes a `Report`, which is printed as lines for people or as one JSON object.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from maskwright.cli_failures import REPORTED, CommandError, Failure
from maskwright.cli_output import (
    indented,
    paint,
    print_failure,
    print_json,
    print_table,
    print_warnings,
    spread,
    tracked,
)
from maskwright.cli_tables import Cost, Meter
from maskwright.compile.vocabulary import TokenizerInfo
from maskwright.compiler import GrammarCompiler
from maskwright.grammars.json_schema import load_schema
from maskwright.grammars.options import SchemaOptions
from maskwright.judge import Verdict, byte_vocabulary, caret, judge, position, tokens_of
from maskwright.sources import (
    Source,
    compile_form,
    decode,
    expand,
    form_name,
    load_tokenizer,
    named_form,
    read_instances,
    text_policy,
)

__all__ = ["run"]

_STATS = {
    "compile_ms": "compile (ms)",
    "first_mask_ms": "time to first mask (ms)",
    "states": "states lowered",
    "rows": "mask rows",
    "table_bytes": "table bytes",
    "subschemas": "subschemas reached",
}


@dataclass(slots=True)
class Instance:
    """A text and the verdict on it."""

    name: str
    text: bytes
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """The fields of docs/cli.md."""
        found: dict[str, Any] = {"instance": self.name, "status": "accepted" if self.verdict.accepted else "rejected"}
        if self.verdict.accepted:
            return found
        line, column = position(self.text, self.verdict.offset)
        found |= {"offset": self.verdict.offset, "line": line, "column": column}
        if self.verdict.token is not None:
            found |= {"token": self.verdict.token, "token_id": self.verdict.token_id}
        return found | {"ended": self.verdict.ended, "allowed": self.verdict.allowed}


@dataclass(slots=True)
class Report:
    """What was found out about one schema."""

    schema: str
    failure: Failure | None = None
    refused: bool = False
    warnings: list[str] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    cost: Cost | None = None
    subschemas: int = 0

    @property
    def status(self) -> str:
        """accepted, rejected (one of the instances), refused (the schema), error (it cannot be read)."""
        if self.failure is not None:
            return "refused" if self.refused else "error"
        return "accepted" if all(instance.verdict.accepted for instance in self.instances) else "rejected"

    @property
    def stats(self) -> dict[str, float]:
        """The figures of `--stats`, named as in `_STATS`; {} where there are none."""
        return {} if self.cost is None else asdict(self.cost) | {"subschemas": self.subschemas}

    def as_json(self, with_stats: bool) -> dict[str, Any]:
        """The fields of docs/cli.md."""
        return {
            "schema": self.schema,
            "status": self.status,
            "error": self.failure and self.failure.as_json(),
            "warnings": self.warnings,
            "instances": [instance.as_json() for instance in self.instances],
            **({"stats": self.stats} if with_stats else {}),
        }


def run(options: argparse.Namespace) -> int:
    """`maskwright validate`; the exit code."""
    if "-" in (*options.schemas, options.substring, options.grammar) and "-" in options.instances:
        raise CommandError("standard input (-) can be a schema or an instance, not both")
    form = named_form(options)
    if form is not None and options.stats:
        raise CommandError("--stats is about schemas: leave it out")
    schemas = expand(options.schemas) if form is None else [Source(form_name(options))]
    instances = read_instances(options.instances)
    judges = _Judge(options, instances, form)
    show = _print_json if options.json else _print_one if len(schemas) == 1 else _print_of_many
    reports = []
    for schema in tracked(schemas, "schemas"):
        report = judges.report(schema)
        show(report, options)
        report.instances = [one for one in report.instances if not one.verdict.accepted][:1]  # what a summary needs
        reports.append(report)
    if len(reports) > 1 and not options.json:
        _print_summary(reports, len(instances))
        if options.stats:
            _print_stats(reports)
    statuses = {report.status for report in reports}
    return 2 if statuses & {"refused", "error"} else 1 if "rejected" in statuses else 0


class _Judge:
    """Compiles schemas over one vocabulary and judges the same instances by each."""

    def __init__(
        self, options: argparse.Namespace, instances: list[tuple[str, bytes]], form: tuple[str, Any] | None
    ) -> None:
        self._form = form
        self._policy, self._stats = text_policy(options), options.stats
        info, ids = byte_vocabulary(), dict[str, list[int]]()
        if options.tokenizer is not None:
            tokenizer = load_tokenizer(options.tokenizer)
            info = TokenizerInfo.from_huggingface(tokenizer)
            ids = {name: tokens_of(text, tokenizer, info) for name, text in instances}
        self._instances = [(name, text, ids.get(name)) for name, text in instances]
        self._compiler = GrammarCompiler(info, cache_enabled=False)
        self._meter = Meter(self._compiler)

    def report(self, schema: Source) -> Report:
        report = Report(schema.name)
        try:
            text = "" if self._form else decode(schema.read())
            if self._form is not None:
                compiled = compile_form(self._compiler, *self._form, self._policy)
            elif self._stats:
                compiled = self._meter.compile(text, self._policy)
            else:
                compiled = self._compiler.compile_json_schema(text, **self._policy)
            report.warnings = compiled.warnings
            for name, instance, token_ids in self._instances:
                report.instances.append(Instance(name, instance, judge(compiled, instance, token_ids)))
            if self._stats:
                report.cost = self._meter.cost()
                report.subschemas = load_schema(text, SchemaOptions(**self._policy)).subschema_count
        except REPORTED as error:
            report.failure, report.refused = Failure.of(error, schema.name), not isinstance(error, OSError)
        return report


# Lines for people


def _print_json(report: Report, options: argparse.Namespace) -> None:
    print_json(report.as_json(options.stats))


def _print_one(report: Report, options: argparse.Namespace) -> None:
    """The only schema: an error is one of the command."""
    print_warnings(report.schema, report.warnings)
    if report.failure is not None:
        print_failure(report.failure)
        return
    if not report.instances:
        print(f"{report.schema}: {paint('accepted', 'good')}")
    for instance in report.instances:
        _print_instance(instance.name, instance)
    for name, value in report.stats.items():
        print(f"  {_STATS[name]}: {value:,.3f}" if isinstance(value, float) else f"  {_STATS[name]}: {value:,}")


def _print_of_many(report: Report, options: argparse.Namespace) -> None:
    """One of several schemas: only what is not as it should be."""
    print_warnings(report.schema, report.warnings)
    if report.failure is not None:
        what = "refused" if report.refused else "error"
        print(f"{report.schema}: {paint(what, 'bad')}: {replace(report.failure, source=None)}")
    for instance in report.instances:
        if not instance.verdict.accepted:
            _print_instance(f"{report.schema}: {instance.name}", instance)


def _print_instance(label: str, instance: Instance) -> None:
    verdict, text = instance.verdict, instance.text
    if verdict.accepted:
        print(f"{label}: {paint('accepted', 'good')}")
        return
    line, column = position(text, verdict.offset)
    what = paint("the text ends too early" if verdict.ended else "rejected", "bad")
    token = "" if verdict.token is None else f", in token {verdict.token} (id {verdict.token_id})"
    print(f"{label}: {what} at byte {verdict.offset} (line {line}, column {column}){token}")
    print(indented(caret(text, verdict.offset)))
    print(f"  allowed here: {verdict.allowed}")


def _print_summary(reports: list[Report], instances: int) -> None:
    kinds = Counter(report.failure.kind for report in reports if report.failure and report.refused)
    refused, unread = sum(kinds.values()), sum(report.status == "error" for report in reports)
    enforced = len(reports) - refused - unread
    parts = [f"{enforced:,} of {len(reports):,} schemas can be enforced", f"{refused:,} refused"]
    if kinds:
        parts[-1] += f" ({', '.join(f'{count:,} {kind}' for kind, count in kinds.most_common())})"
    if unread:
        parts.append(f"{unread:,} could not be read")
    if instances:
        rejected = sum(report.status == "rejected" for report in reports)
        parts.append(f"{rejected:,} rejected an instance")
    print(", ".join(parts))


def _print_stats(reports: Iterable[Report]) -> None:
    figures = [report.stats for report in reports if report.cost is not None]
    if not figures:
        return
    columns = ("avg", "p50", "p99", "max")
    rows = [
        (label, list(spread([figure[name] for figure in figures], (50, 99)).values())) for name, label in _STATS.items()
    ]
    print_table(f"per schema, of {len(figures):,}", columns, rows)
