"""The command line: `maskwright validate`, `generate`, `bench`, `show` and `warmup`.

| exit code | meaning |
|---|---|
| 0 | everything was accepted |
| 1 | an instance was rejected; or an answer could not be finished |
| 2 | a schema was refused, a file could not be read, or the command line is wrong |
| 130, 141 | stopped by Ctrl-C; whoever read the output closed it |

This module parses (`cli_options`), finds the command's own module, which it imports only then, and turns every error
into one clear line. So that `--help` answers at once, only argparse is imported before a command is known.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from maskwright.cli_failures import REPORTED, Failure
from maskwright.cli_options import argument_parser
from maskwright.cli_output import print_failure, write_anything

__all__ = ["main"]

ACCEPTED, REFUSED, INTERRUPTED, CLOSED = 0, 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (None: `sys.argv[1:]`); its exit code. `--help` and `--version` raise SystemExit(0)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser, source = argument_parser(), None
    write_anything()
    try:
        if not words:
            parser.print_help()
            return ACCEPTED
        options = parser.parse_args(words)
        source = getattr(options, "schema", None)
        code = int(import_module(options.module).run(options))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read our output has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except REPORTED as error:
        sys.stderr.write(getattr(error, "usage", ""))
        print_failure(Failure.of(error, source), as_json="--json" in words)
        return REFUSED
    except KeyboardInterrupt:
        print("\nmaskwright: interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
