"""What may stand on a command line: commands, options, help texts and examples. Nothing here does any work.

A parsed command line carries `module`, whose `run(options)` does what was asked and returns the exit code.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

import maskwright
from maskwright.cli_failures import CommandError

__all__ = ["argument_parser"]

_EXIT_CODES = """\
exit codes: 0 accepted, 1 an instance was rejected, 2 a schema was refused, a
file could not be read, or the command line is wrong; 130 after Ctrl-C"""

_EXAMPLES = f"""\
examples:
  maskwright validate schema.json                              is the schema one that can be enforced?
  maskwright validate schema.json --instance answer.json       is this text in the schema's language?
  maskwright generate --schema person.json 'Ada, 36, writes programs.'
  maskwright bench schema.json --tokenizer DIR                 how fast are its masks?
  maskwright show mask schema.json --prefix '{{"name": '        what may come next?
  maskwright COMMAND --help                                    options and examples of a command

{_EXIT_CODES}"""

_VALIDATE = f"""\
Compile every SCHEMA and judge instances by it. The text of an instance counts,
not only its value: it has to be one that the schema lets a model write, so the
options below (the order of members, white space) matter. A newline at the end
of an instance is not part of it. With several schemas, each judges every
instance, and the refused ones are listed.

{_EXIT_CODES}"""

_VALIDATE_EXAMPLES = """\
examples:
  maskwright validate schema.json
  maskwright validate schema.json --instance a.json --instance 'answers/*.json'
  maskwright validate schema.json --property-order any --instance - < answer.json
  maskwright validate --regex '\\d{4}-\\d\\d' --instance month.txt
  maskwright validate --grammar sql.lark --instance 'queries/*.sql'
  maskwright validate 'schemas/**/*.json' --stats              a progress bar, the refused ones, a table of figures
  maskwright validate schemas.jsonl --json | jq 'select(.status == "refused") | .error.keyword'
"""

_GENERATE = """\
Let a model answer PROMPT inside a schema, a pattern, a grammar, a list of
choices or as a span of a text, and print the answer. Without --model the small
model that comes with Maskwright is used.

exit codes: 0 answered, 1 the tokens were not enough for a whole answer, 2 the
schema was refused, a file or model could not be read, or the command line is
wrong; 130 after Ctrl-C"""

_GENERATE_EXAMPLES = """\
examples:
  maskwright generate --schema person.json 'Ada Lovelace is 36 years old.'
  maskwright generate --regex '[A-Z]{2}-[0-9]{4}' 'The order number is'
  maskwright generate 'Is the sky green?' --choices yes no
  maskwright generate --substring contract.txt 'The notice period, word for word:'
  maskwright generate --schema order.json --stream - < mail.txt
  maskwright generate --schema person.json --draft auto --stats 'Ada Lovelace is 36 years old.'
  maskwright generate --schema person.json --n 3 --temperature 1 --seed 7 --json 'Somebody:'
  maskwright generate --regex '[01]{8}' --n 20 --method cars --plot sample.svg 'Bits:'
"""

_BENCH = """\
Measure masks for your schemas on your vocabulary: the time to compile, the time
to the first mask (compile and one mask), the time between masks (one mask and
one token accepted), and memory. The masks are those along the given instances,
or along texts drawn at random: each token uniformly among those that the mask
allows.

exit codes: 0 measured, 1 an instance was rejected, 2 a schema was refused, a
file could not be read, or the command line is wrong; 130 after Ctrl-C"""

_BENCH_EXAMPLES = """\
examples:
  maskwright bench schema.json --tokenizer ./Qwen2.5-0.5B
  maskwright bench schema.json --tokenizer DIR --instances 'answers/*.json' --repeat 5
  maskwright bench 'schemas/*.json' --tokenizer DIR --plot masks.svg
"""

_SHOW_EXAMPLES = """\
examples:
  maskwright show ir schema.json                               what the schema means, type by type
  maskwright show mask schema.json --prefix '{"age": '         which bytes may come next
  maskwright show mask schema.json --tokenizer DIR             which tokens may come first
  maskwright show mask --regex 'a+(?!b)' --prefix a            of a pattern; --choices and --substring likewise
  maskwright show automaton --grammar sql.gbnf --prefix SELECT --svg automaton.svg
  maskwright show tokens --tokenizer DIR '{"name": "Ada"}'     which bytes are the tokens?
"""

_WARMUP_EXAMPLES = """\
examples:
  maskwright warmup                                            once after installing, or while an image is built
"""

# Text policy: option, values (the first is the default), meaning. One table of what they mean: grammars/options.py.
_POLICY = (
    ("property-order", ("schema", "any"), "the order of an object's members"),
    ("whitespace", ("flexible", "single", "compact"), "white space between tokens of JSON"),
    ("escapes", ("canonical", "any"), "spellings of characters in strings"),
    ("numbers", ("canonical", "any"), "spellings of numbers"),
    ("format", ("assert", "annotate"), "whether `format` is enforced"),
    ("unknown-format", ("annotate", "error"), "what to do about a format that no specification knows"),
    ("on-unsupported", ("error", "warn"), "what to do about a keyword that cannot be enforced"),
)

_METHODS = ("masked", "auto", "importance", "rejection", "asap", "cars", "smc", "mcmc")  # docs/sampling.md

_SERVE = """\
Serve a model behind OpenAI's API: chat and text completions, whole or streamed,
every answer in the form that its request asks for (response_format, tools,
vLLM's structured_outputs; docs/servers.md has them all). Without --model the
small model that comes with Maskwright answers.

exit codes: 0 stopped, 2 the model or the address cannot be used"""

_SERVE_EXAMPLES = """\
examples:
  maskwright serve                                             the small model, on http://127.0.0.1:8000/v1
  maskwright serve --model Qwen/Qwen3-0.6B --tool-format qwen --reasoning-end '</think>'
  maskwright serve --model ./model --host 0.0.0.0 --port 80 --max-rows 16 --timeout 30
  curl localhost:8000/v1/completions -H 'content-type: application/json' \\
       -d '{"prompt": "Ada is 36.", "guided_json": {"properties": {"age": {"type": "integer"}}}}'
"""

_SCHEMAS_HELP = (
    "a file with a JSON Schema, a .jsonl file with one a line, a folder (all .json files in it), a quoted glob such as "
    "'schemas/**/*.json', or - for standard input"
)


class _Parser(argparse.ArgumentParser):
    """Keeps the line breaks of its texts, and raises CommandError for a wrong command line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see {self.prog} --help)", usage=self.format_usage())


def argument_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line.

    Raises (when it parses):
        CommandError: the command line is wrong.
    """
    parser = _Parser(prog="maskwright", description="JSON Schema and grammars as exact token masks.", epilog=_EXAMPLES)
    parser.add_argument("-v", "--version", action="version", version=f"maskwright {maskwright.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_validate(commands)
    _add_generate(commands)
    _add_bench(commands)
    _add_show(commands)
    _add_warmup(commands)
    _add_serve(commands)
    return parser


def _add_validate(commands: Any) -> None:
    parser = commands.add_parser(
        "validate", help="judge schemas and instances", description=_VALIDATE, epilog=_VALIDATE_EXAMPLES
    )
    parser.set_defaults(module="maskwright.cli_validate")
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("schemas", metavar="SCHEMA", nargs="*", default=[], help=_SCHEMAS_HELP)
    _add_forms(form, "instead of SCHEMA:")
    parser.add_argument(
        "--instance", metavar="FILE", action="append", default=[], dest="instances",
        help="a text to judge: a file, folder, quoted glob, .jsonl file with one a line, or -; repeatable",
    )  # fmt: skip
    _add_tokenizer(parser, "judge instances token by token, over this vocabulary")
    parser.add_argument("--stats", action="store_true", help="times and sizes: of one schema, or a table over many")
    _add_json(parser, "one JSON object per schema, one a line")
    _add_policy(parser)


def _add_generate(commands: Any) -> None:
    parser = commands.add_parser(
        "generate", help="let a model answer in a given form", description=_GENERATE, epilog=_GENERATE_EXAMPLES
    )
    parser.set_defaults(module="maskwright.cli_generate")
    parser.add_argument("prompt", metavar="PROMPT", type=_text, help="the text before the answer, - for standard input")
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--schema", metavar="FILE", help="answer with JSON that this JSON Schema admits")
    _add_forms(form, "answer with", "; PROMPT stands before")
    parser.add_argument("--model", metavar="M", help="a folder or hub name of transformers (default: the small model)")
    parser.add_argument("--n", type=_positive, default=1, metavar="N", help="answers to print (default: 1)")
    parser.add_argument("--stream", action="store_true", help="print the text as it is generated")
    parser.add_argument(
        "--max-new-tokens", type=_positive, metavar="N", help="tokens of an answer at most (default: 512)"
    )
    parser.add_argument(
        "--draft", metavar="D", action="append", type=_text,
        help="speculative decoding, the same answers in fewer forwards: auto, grammar, lookup, suffix, recycling, automaton, "
        "trigram, embedded, or a folder or hub name of a smaller model; several: one tree of all; see docs/speculative.md",
    )  # fmt: skip
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument(
        "--temperature", type=_not_negative, metavar="T", help="0 takes the likeliest token (default), "
        "1 samples from the model's distribution (default with --method)",
    )  # fmt: skip
    sampling.add_argument("--top-p", type=_share, metavar="P", help="among the likeliest tokens of this probability")
    sampling.add_argument("--top-k", type=_positive, metavar="K", help="among the K likeliest tokens")
    sampling.add_argument(
        "--min-p", type=_share, metavar="P", help="tokens at least P times as likely as the likeliest"
    )
    sampling.add_argument("--seed", type=int, metavar="S", help="makes sampling repeatable")
    sampling.add_argument(
        "--method", choices=_METHODS, default="masked", help="whole answers from the model's own distribution, "
        "conditioned on the form, instead of token by token from what the mask allows (default); see docs/sampling.md",
    )  # fmt: skip
    sampling.add_argument(
        "--plot", metavar="FILE", help="with --method: draw what was sampled: a .png, .svg or .pdf (needs matplotlib)"
    )
    parser.add_argument("--stats", action="store_true", help="times and counts, on standard error")
    _add_json(parser, "one JSON object per answer; with --stream, one per piece")
    _add_policy(parser)


def _add_bench(commands: Any) -> None:
    parser = commands.add_parser(
        "bench", help="measure masks on your vocabulary", description=_BENCH, epilog=_BENCH_EXAMPLES
    )
    parser.set_defaults(module="maskwright.cli_bench")
    parser.add_argument("schemas", metavar="SCHEMA", nargs="+", help=_SCHEMAS_HELP)
    _add_tokenizer(parser, "the vocabulary")
    parser.add_argument(
        "--instances", metavar="FILE", nargs="+", action="extend", default=[],
        help="texts to follow, named as schemas are; stands after SCHEMA (default: texts drawn at random)",
    )  # fmt: skip
    parser.add_argument("--repeat", type=_positive, default=1, metavar="N", help="runs, each from cold (default: 1)")
    parser.add_argument(
        "--samples", type=_positive, default=3, metavar="N", help="texts drawn per schema (default: %(default)s)"
    )
    parser.add_argument(
        "--max-tokens", type=_positive, default=200, metavar="N", help="tokens of a drawn text (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the drawn texts (default: %(default)s)")
    parser.add_argument("--plot", metavar="FILE", help="draw the distribution: a .png, .svg or .pdf (needs matplotlib)")
    _add_json(parser, "one JSON object per schema and one for all of them")
    _add_policy(parser)


def _add_show(commands: Any) -> None:
    parser = commands.add_parser(
        "show", help="print one stage of the engine", description="Print one stage of the engine.",
        epilog=_SHOW_EXAMPLES,
    )  # fmt: skip
    parser.set_defaults(module="maskwright.show")
    stages = parser.add_subparsers(metavar="STAGE", required=True)

    def add(stage: str, summary: str, description: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = stages.add_parser(
            stage, help=summary, description=description, epilog=_SHOW_EXAMPLES
        )
        added.set_defaults(stage=stage)
        return added

    ir = add("ir", "what a schema means", "Print what a schema means: values by type.")
    ir.add_argument("schema", metavar="SCHEMA", help="a file with a JSON Schema, - for standard input")
    _add_policy(ir)
    ir.add_argument(
        "--depth", type=int, default=3, metavar="N", help="levels of child schemas to expand (default: %(default)s)"
    )
    automaton = add("automaton", "its states", "Print the automaton's states, as far as they are lowered.")
    _add_schema(automaton)
    automaton.add_argument(
        "--prefix", default="", metavar="TEXT", type=_text, help="read this text first: it lowers what it reaches"
    )
    drawing = automaton.add_mutually_exclusive_group()
    drawing.add_argument("--svg", metavar="FILE", help="write a drawing instead (needs Graphviz), - to standard output")
    drawing.add_argument("--dot", metavar="FILE", help="write it as Graphviz reads it, - to standard output")
    mask = add("mask", "which tokens may come next", "Print which tokens may come next.")
    _add_schema(mask)
    mask.add_argument("--prefix", default="", metavar="TEXT", type=_text, help="the text so far (default: nothing)")
    _add_tokenizer(mask, "the vocabulary")
    mask.add_argument(
        "--limit", type=int, default=40, metavar="N", help="how many tokens to list (default: %(default)s)"
    )
    tokens = add("tokens", "a text's tokens", "Print a text's tokens and their bytes.")
    tokens.add_argument("--tokenizer", metavar="DIR", required=True, help=_TOKENIZER_HELP)
    tokens.add_argument("text", metavar="TEXT", type=_text)


def _add_warmup(commands: Any) -> None:
    parser = commands.add_parser(
        "warmup", help="compile the kernels now",
        description="Compile the kernels for this machine now, and keep them, instead of at the first mask.",
        epilog=_WARMUP_EXAMPLES,
    )  # fmt: skip
    parser.set_defaults(module="maskwright.warmup")
    _add_json(parser, "one JSON object")


def _add_serve(commands: Any) -> None:
    parser = commands.add_parser(
        "serve", help="answer over HTTP, as OpenAI's API does", description=_SERVE, epilog=_SERVE_EXAMPLES
    )
    parser.set_defaults(module="maskwright.cli_serve")
    parser.add_argument("--model", metavar="M", help="a folder or hub name of transformers (default: the small model)")
    parser.add_argument("--name", metavar="NAME", help="what clients call the model (default: as --model says)")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--tool-format",
        metavar="FORMAT",
        help="how the model writes calls of tools: qwen, llama-3, ... (docs/tools.md)",
    )
    parser.add_argument(
        "--reasoning-end", metavar="TEXT", type=_text, help="what ends the reasoning that every answer begins with"
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        type=_text,
        help="what clients must send as their key (default: the environment variable MASKWRIGHT_API_KEY; without, no key)",
    )
    bounds = parser.add_argument_group("bounds")
    for option, default, meaning in (
        ("max-tokens", 1024, "tokens of an answer at most, and where a request does not say"),
        ("max-rows", 64, "answers in the making at once"),
        ("max-waiting", 256, "answers that wait beyond those; more are told to come again (429)"),
        ("max-body-bytes", 1 << 20, "bytes of a request"),
    ):
        bounds.add_argument(
            f"--{option}", type=_positive, default=default, metavar="N", help=f"{meaning} (default: %(default)s)"
        )
    bounds.add_argument(
        "--timeout", type=_not_negative, default=120.0, metavar="S", help="seconds of a request (default: %(default)g)"
    )
    bounds.add_argument(
        "--grace", type=_not_negative, default=30.0, metavar="S",
        help="seconds that answers are given when the server is stopped (default: %(default)g)",
    )  # fmt: skip


# Options that several commands have


def _add_schema(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("schema", metavar="SCHEMA", nargs="?", help="a file with a JSON Schema, - for standard input")
    _add_forms(form, "instead of SCHEMA:")
    _add_policy(parser)


def _add_forms(group: Any, begin: str, end: str = "") -> None:
    """The forms other than schemas, to a group that takes one of them; engine/sources.py compiles them."""
    group.add_argument("--regex", metavar="PATTERN", type=_text, help=f"{begin} a text that the whole pattern matches")
    group.add_argument(
        "--choices", metavar="TEXT", type=_text, nargs="+", action="extend", help=f"{begin} one of these texts{end}"
    )
    group.add_argument("--substring", metavar="FILE", help=f"{begin} a span of the text in this file, word for word")
    group.add_argument(
        "--grammar", metavar="FILE", help=f"{begin} a text of the grammar in this file: .lark in lark's notation, .json a "
        "structural tag, any other in EBNF (GBNF); see docs/grammars.md and docs/tools.md",
    )  # fmt: skip
    group.add_argument("--builtin-json", action="store_true", help=f"{begin} any JSON value")


def _add_policy(parser: argparse.ArgumentParser) -> None:
    policy = parser.add_argument_group("which texts of a value count (docs/json-schema.md has an example of each)")
    for option, (default, *others), meaning in _POLICY:
        policy.add_argument(
            f"--{option}", choices=(default, *others), default=default, help=f"{meaning} (default: {default})"
        )
    policy.add_argument(
        "--max-whitespace", type=_count, default=32, metavar="N", help="the longest run of white space (default: 32)"
    )
    policy.add_argument("--separators", nargs=2, metavar=("ITEM", "KEY"), help="what stands for , and : exactly")
    policy.add_argument("--indent", type=_count, metavar="N", help="lines indented by N, exactly as json.dumps does it")
    policy.add_argument("--ensure-ascii", action="store_true", help=r"other characters are written \uXXXX")
    policy.add_argument(
        "--dialect", metavar="NAME", help="the dialect of a schema without $schema, such as 2020-12 or 7"
    )


_TOKENIZER_HELP = "a folder with a tokenizer.json, or that file"


def _add_tokenizer(parser: argparse.ArgumentParser, purpose: str) -> None:
    parser.add_argument("--tokenizer", metavar="DIR", help=f"{purpose}: {_TOKENIZER_HELP} (default: single bytes)")


def _add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what}; docs/cli.md names the fields")


# Values of options


def _text(text: str) -> str:
    if not text.isprintable() and any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8 text")
    return text


def _positive(text: str) -> int:
    return int(_checked(text, int, lambda value: value >= 1, "a whole number from 1 on"))


def _port(text: str) -> int:
    return int(_checked(text, int, lambda value: 1 <= value <= 65535, "a port, a whole number from 1 to 65535"))


def _count(text: str) -> int:
    return int(_checked(text, int, lambda value: 0 <= value <= 1024, "a whole number from 0 to 1024"))


def _not_negative(text: str) -> float:
    return _checked(text, float, lambda value: 0 <= value < float("inf"), "a number from 0 on")


def _share(text: str) -> float:
    return _checked(text, float, lambda value: 0 < value <= 1, "a number above 0 and at most 1")


def _checked(text: str, kind: Callable[[str], float], good: Callable[[float], bool], wanted: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not good(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value
