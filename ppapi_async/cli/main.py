"""The command line: a sandbox to try things on, and a demo.

    python -m ppapi_async sandbox --dialect classic --rows 100000 --port 8080
    python -m ppapi_async demo

Exit codes: 0 all went well, 1 the demo found a difference, 2 bad input or a port that is taken,
130 the demo was interrupted. Ctrl-C is how a sandbox is meant to end, so that is 0.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, get_args
from zoneinfo import ZoneInfo

from ppapi_async.account import Dialect
from ppapi_async.cli import demo
from ppapi_async.sandbox import Bounds, Rates, Sandbox, ServerOrder, Ties
from ppapi_async.version import __version__

__all__ = ["main"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_MOST_ROWS = 10_000_000  # about four gigabytes
_MEDDLING = Rates(by_hand_per_hour=6.0, baskets_per_hour=1.0)
_CAPPED = frozenset({Dialect.DELEGATING, Dialect.USER_API, Dialect.CLONE})


class _UsageError(Exception):
    """What the user asked for cannot be done; the message is the one line to print."""


class _Parser(argparse.ArgumentParser):
    """Reports bad input in one line, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{self.prog}: {message}")


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
    except _UsageError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> _Parser:
    parser = _Parser(
        prog="ppapi-async",
        description="Asyncio client for the partner-programme API: things to try it on.",
    )
    parser.add_argument("--version", action="version", version=f"ppapi-async {__version__}")
    commands = parser.add_subparsers(required=True, metavar="{sandbox,demo}")
    _add_sandbox(commands)
    _add_demo(commands)
    return parser


def _add_sandbox(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "run a partner API on a local port, with made-up books"
    command = commands.add_parser("sandbox", help=text, description=text)
    command.set_defaults(run=_run_sandbox)
    add = command.add_argument
    add(
        "--dialect",
        choices=[d.value for d in Dialect],
        default="classic",
        help="default: %(default)s",
    )
    add(
        "--rows",
        type=_number(0, _MOST_ROWS),
        default=1000,
        help="exchanges of the last 90 days; clicks and payouts to match (default: %(default)s)",
    )
    add(
        "--port",
        type=_number(0, 65_535),
        default=8080,
        help="0 picks a free one (default: %(default)s)",
    )
    add("--timezone", type=_zone, default="UTC", help="the site's clock (default: %(default)s)")
    add("--seed", type=int, default=1, help="the same seed makes up the same books")
    add("--key", type=_key, help="the API key (default: a random one, printed at the start)")
    add("--live", action="store_true", help="let new clicks and orders come, and old ones move on")
    add(
        "--cap",
        type=_caps,
        help="most rows in an answer (default: 500 on delegating and user-api); several, such as"
        " 500,200,20, take turns",
    )
    for option, kind, told in (
        ("--ties", Ties, "the order of rows of one second: another for each limit and offset"),
        ("--order", ServerOrder, "the order of rows"),
        ("--bounds", Bounds, "what of start_time and end_time is left out"),
    ):
        choices = [text.replace(" ", "-") for text in get_args(kind)]
        text = f"{told} (default: %(default)s)"
        add(option, choices=choices, default=choices[0], help=text)
    add("--own-keys", action="store_true", help="add keys of the site's own to every row")
    add(
        "--meddling",
        action="store_true",
        help="with --live: rewards change by hand, without a trace, and payouts vanish for an hour",
    )


def _add_demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "stream three months of exchanges from two sandboxes and check them against their books"
    command = commands.add_parser("demo", help=text, description=text)
    command.set_defaults(run=_run_demo)
    add = command.add_argument
    add(
        "--rows",
        type=_number(1, _MOST_ROWS),
        default=demo.ROWS,
        help="exchanges at each site (default: %(default)s)",
    )
    add("--seed", type=int, default=1, help="the same seed makes up the same books")


def _number(least: int, most: int) -> Callable[[str], int]:
    """Return an argparse type for whole numbers in a range."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r}: pass a whole number from {least} to {most}"
            )
        return number

    return read


def _caps(text: str) -> tuple[int, ...]:
    return tuple(map(_number(1, _MOST_ROWS), text.split(",")))


def _key(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not text or " " in text:
        raise argparse.ArgumentTypeError("pass letters, digits and signs of ASCII without blanks")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise argparse.ArgumentTypeError(
            f"{name!r} is unknown; pass a name such as 'Europe/Moscow'"
        ) from None
    return name


def _run_demo(options: argparse.Namespace) -> int:
    try:
        return demo.run(rows=options.rows, seed=options.seed)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return _INTERRUPTED


def _run_sandbox(options: argparse.Namespace) -> int:
    dialect = Dialect(options.dialect)
    if options.cap is not None and dialect not in _CAPPED:
        raise _UsageError(
            f"ppapi-async sandbox: argument --cap: {dialect} sites send all rows in one answer;"
            " leave it out, or pass --dialect delegating"
        )
    try:
        # Made outside the loop, where Ctrl-C stops even the making up of millions of rows at once.
        sandbox = _make_sandbox(dialect, options)
        asyncio.run(_serve(sandbox, options))
    except KeyboardInterrupt:
        print("\nstopped")
    return 0


def _make_sandbox(dialect: Dialect, options: argparse.Namespace) -> Sandbox:
    print(f"making up {options.rows:,} exchanges of the last 90 days …", flush=True)
    return Sandbox(
        dialect,
        rows=options.rows,
        port=options.port,
        timezone=options.timezone,
        seed=options.seed,
        api_key=options.key,
        live=options.live,
        cap=... if options.cap is None else options.cap,
        rates=_MEDDLING if options.meddling else None,
        own_keys=options.own_keys,
        ties=options.ties.replace("-", " "),
        order=options.order.replace("-", " "),
        bounds=options.bounds.replace("-", " "),
    )


async def _serve(sandbox: Sandbox, options: argparse.Namespace) -> None:
    """Serve until cancelled, which is what Ctrl-C does to the main task."""
    try:
        await sandbox.start()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise _UsageError(
            f"ppapi-async sandbox: cannot listen on port {options.port}: {reason};"
            " pass another --port, or 0 for any free one"
        ) from None
    try:
        print(_introduction(sandbox, options.timezone, live=options.live), flush=True)
        await asyncio.Event().wait()
    finally:
        await sandbox.close()


def _introduction(sandbox: Sandbox, timezone: str, *, live: bool) -> str:
    """Say where the sandbox is and how to talk to it."""
    facts = [("url", sandbox.url), ("key", sandbox.api_key)]
    if sandbox.api_login is not None:
        facts.append(("login", sandbox.api_login))
    facts.append(("dialect", f"{sandbox.dialect}{', live' if live else ''}"))
    facts.append(("clock", timezone))
    listed = "\n".join(f"  {name:<9}{value}" for name, value in facts)
    return (
        f"{listed}\n\nTry it from another terminal:\n\n{_shell_example(sandbox)}\n\n"
        f"or from Python:\n\n{_python_example(sandbox, timezone)}\n\nCtrl-C stops the sandbox."
    )


def _shell_example(sandbox: Sandbox) -> str:
    base = f"{sandbox.url}{sandbox.endpoint}"
    if sandbox.api_login is not None:
        login, key = sandbox.api_login, sandbox.api_key
        return f'curl -H "Api-Login: {login}" -H "Api-Key: {key}" "{base}get_partner_info"'
    return f'curl "{base}?api_action=pp&method=get_info&api_key={sandbox.api_key}"'


def _python_example(sandbox: Sandbox, timezone: str) -> str:
    arguments = [repr(sandbox.url), repr(sandbox.api_key)]
    if sandbox.api_login is not None:
        arguments.append(f"api_login={sandbox.api_login!r}")
    if timezone != "UTC":
        arguments.append(f"timezone={timezone!r}")
    # Without blank lines in the function, so that it can be pasted into Python's prompt.
    return f"""\
import asyncio
from ppapi_async import Account, Session

async def main():
    account = Account({", ".join(arguments)})
    async with Session(account) as session:
        print(await session.get_info())
        async for exchange in session.iter_exchanges():
            print(exchange.id, exchange.time, exchange.partner_reward)

asyncio.run(main())"""
