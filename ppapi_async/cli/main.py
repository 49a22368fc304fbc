"""The command line: a sandbox to try things on, and a demo.

    python -m ppapi_async sandbox --dialect classic --rows 100000 --port 8080
    python -m ppapi_async demo

Exit codes: 0 all went well, 1 the demo found a difference, 2 bad input or a port that is taken,
130 the demo was interrupted. Ctrl-C is how a sandbox is meant to end, so that is 0.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from ppapi_async.cli import demo, sandbox
from ppapi_async.cli.usage import MOST_ROWS, Parser, UsageError, number
from ppapi_async.version import __version__

__all__ = ["main"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the arguments without the program's name; None takes those of the process.

    Raises:
        SystemExit: after `--help` and `--version`, as argparse has it.

    >>> main(["demo", "--rows", "many"])
    2
    """
    try:
        options = _parser().parse_args(argv)
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> Parser:
    parser = Parser(
        prog="ppapi-async",
        description="Asyncio client for the partner-programme API: things to try it on.",
    )
    parser.add_argument("--version", action="version", version=f"ppapi-async {__version__}")
    commands = parser.add_subparsers(required=True, metavar="{sandbox,demo}")
    text = "run partner APIs on local ports, with made-up books"
    sandbox.add_options(commands.add_parser("sandbox", help=text, description=text))
    _add_demo(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "stream three months of exchanges from two sandboxes and check them against their books"
    command = commands.add_parser("demo", help=text, description=text)
    command.set_defaults(run=_run_demo)
    add = command.add_argument
    add(
        "--rows",
        type=number(1, MOST_ROWS),
        default=demo.ROWS,
        help="exchanges at each site (default: %(default)s)",
    )
    add("--seed", type=int, default=1, help="the same seed makes up the same books")


def _run_demo(options: argparse.Namespace) -> int:
    try:
        return demo.run(rows=options.rows, seed=options.seed)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return _INTERRUPTED
