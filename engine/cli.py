"""The command line: `maskwright validate`, `show` and `warmup`.

| exit code | meaning |
|---|---|
| 0 | everything was accepted |
| 1 | an instance was rejected |
| 2 | the schema was refused, a file could not be read, or the command line is wrong |

Errors are one clear line on standard error. Only argparse is imported before a command is known, so that `--help`
answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import maskwright
from maskwright.grammars.errors import GrammarError, MaskwrightError

__all__ = ["main"]

ACCEPTED, REJECTED, REFUSED = 0, 1, 2

_EXAMPLES = """\
examples:
  maskwright validate schema.json                              is the schema one that can be enforced?
  maskwright validate schema.json --instance answer.json       is this text in the schema's language?
  echo '{"a": 1}' | maskwright validate schema.json --instance -
  maskwright show mask schema.json --prefix '{"name": '        what may come next?
  maskwright show tokens --tokenizer DIR '{"name": "Ada"}'     which bytes are the tokens?
"""

_VALIDATE = """\
Compile SCHEMA and judge instances by it. The text of an instance counts, not only its value: it has to be one that
the schema lets a model write, so the options below (the order of members, white space) matter. A newline at the end
of an instance is not part of it.

exit codes: 0 accepted, 1 an instance was rejected, 2 the schema was refused or a file could not be read"""

_VALIDATE_EXAMPLES = """\
examples:
  maskwright validate schema.json
  maskwright validate schema.json --instance a.json --instance b.json
  maskwright validate schema.json --property-order any --instance - < answer.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (None: `sys.argv[1:]`); its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except GrammarError as error:
        keyword = getattr(error, "keyword", None)
        return _fail(f"{options.schema}: {error}{f' [{keyword}]' if keyword else ''}")
    except MaskwrightError as error:
        return _fail(str(error))
    except BrokenPipeError:  # whoever read our output has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(message: str) -> int:
    print(f"maskwright: error: {' '.join(message.split())}", file=sys.stderr)
    return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = _command(
        argparse.ArgumentParser, "JSON Schema and grammars as exact token masks.", _EXAMPLES, "maskwright"
    )
    parser.add_argument("--version", action="version", version=f"maskwright {maskwright.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    validate = _command(commands.add_parser, _VALIDATE, _VALIDATE_EXAMPLES, "validate", "judge a schema and instances")
    _add_schema(validate)
    validate.add_argument(
        "--instance",
        metavar="FILE",
        action="append",
        default=[],
        help="a text to judge, - for standard input; repeatable",
    )
    validate.set_defaults(run=_validate)

    show = _command(commands.add_parser, "Print one stage of the engine.", "", "show", "print one stage of the engine")
    stages = show.add_subparsers(metavar="STAGE", required=True)

    ir = _command(stages.add_parser, "Print what a schema means: values by type.", "", "ir", "what a schema means")
    _add_schema(ir)
    ir.add_argument("--depth", type=int, default=3, help="levels of child schemas to expand (default: %(default)s)")
    ir.set_defaults(run=_show("ir"))

    automaton = _command(
        stages.add_parser, "Print the automaton's states, as far as they are lowered.", "", "automaton", "its states"
    )
    _add_schema(automaton)
    automaton.add_argument(
        "--prefix", default="", metavar="TEXT", help="read this text first: it lowers what it reaches"
    )
    automaton.set_defaults(run=_show("automaton"))

    mask = _command(stages.add_parser, "Print which tokens may come next.", "", "mask", "which tokens may come next")
    _add_schema(mask)
    mask.add_argument("--prefix", default="", metavar="TEXT", help="the text so far (default: nothing)")
    _add_tokenizer(mask, required=False)
    mask.add_argument("--limit", type=int, default=40, help="how many tokens to list (default: %(default)s)")
    mask.set_defaults(run=_show("mask"))

    tokens = _command(stages.add_parser, "Print a text's tokens and their bytes.", "", "tokens", "a text's tokens")
    _add_tokenizer(tokens, required=True)
    tokens.add_argument("text", metavar="TEXT")
    tokens.set_defaults(run=_show("tokens"))

    warmup = _command(
        commands.add_parser,
        "Compile the kernels for this machine now, and keep them, instead of at the first mask.",
        "",
        "warmup",
        "compile the kernels now",
    )
    warmup.set_defaults(run=_warmup)
    return parser


def _command(
    make: Any, description: str, epilog: str, name: str, summary: str | None = None
) -> argparse.ArgumentParser:
    """A parser that keeps the line breaks of its texts; `make` is ArgumentParser or a subparsers' add_parser."""
    parser: argparse.ArgumentParser = make(
        name,
        **({"help": summary} if summary else {}),
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("schema", metavar="SCHEMA", help="a file with a JSON Schema, - for standard input")
    policy = parser.add_argument_group("which texts of a value count (see the table of options in grammars/options.py)")
    for option, choices, meaning in (
        ("property-order", ("schema", "any"), "the order of an object's members"),
        ("whitespace", ("flexible", "single", "compact"), "white space between tokens of JSON"),
        ("escapes", ("canonical", "any"), "spellings of characters in strings"),
        ("numbers", ("canonical", "any"), "spellings of numbers"),
        ("format", ("assert", "annotate"), "whether `format` is enforced"),
        ("on-unsupported", ("error", "warn"), "what to do about a keyword that cannot be enforced"),
    ):
        default = "flexible" if option == "whitespace" else choices[0]
        policy.add_argument(f"--{option}", choices=choices, default=default, help=f"{meaning} (default: {default})")
    policy.add_argument("--draft", metavar="NAME", help="the dialect of a schema without $schema, such as 2020-12 or 7")


def _add_tokenizer(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--tokenizer",
        metavar="DIR",
        required=required,
        help="a folder with a tokenizer.json, or that file" + ("" if required else " (default: single bytes)"),
    )


def _validate(options: argparse.Namespace) -> int:
    from maskwright.judge import byte_vocabulary, caret, judge, position
    from maskwright.sources import compile_schema, read_bytes

    compiled = compile_schema(options, byte_vocabulary())
    if not options.instance:
        print(f"{options.schema}: accepted")
    outcome = ACCEPTED
    for name in options.instance:
        text = read_bytes(name)
        text = text[:-1] if text.endswith(b"\n") else text
        verdict = judge(compiled, text)
        if verdict.accepted:
            print(f"{name}: accepted")
            continue
        outcome = REJECTED
        line, column = position(text, verdict.offset)
        what = "the text ends too early" if verdict.ended else "rejected"
        print(f"{name}: {what} at byte {verdict.offset} (line {line}, column {column})")
        print("  " + caret(text, verdict.offset).replace("\n", "\n  "))
        print(f"  allowed here: {verdict.allowed}")
    return outcome


def _show(stage: str) -> Any:
    """The function that runs `show STAGE`, which imports the engine only when it is called."""

    def run(options: argparse.Namespace) -> int:
        from maskwright import show

        for line in getattr(show, f"show_{stage}")(options):
            print(line)
        return ACCEPTED

    return run


def _warmup(options: argparse.Namespace) -> int:
    from maskwright.warmup import warm_up

    start = time.perf_counter()
    print("compiling the kernels ...", flush=True)
    warm_up()
    print(f"the kernels are ready ({time.perf_counter() - start:.1f} s)")
    return ACCEPTED


if __name__ == "__main__":
    sys.exit(main())
