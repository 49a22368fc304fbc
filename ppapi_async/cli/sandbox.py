"""The command `sandbox`: sites on local ports, an accounts file for them, a log of requests."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import itertools
import os
import signal
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import click
from attrs import frozen

from ppapi_async.account import Dialect
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.request_log import RequestLog
from ppapi_async.cli.usage import MOST_ROWS, Parser, UsageError, number
from ppapi_async.files import refuse_odd
from ppapi_async.sandbox import Bounds, Rates, Sandbox, ServerOrder, Ties

__all__ = ["add_options", "command", "run"]

_MOST_SITES = 100
_MOST_ORDERS = 100_000
_LAST_PORT = 65_535
_MEDDLING = Rates(by_hand_per_hour=6.0, baskets_per_hour=1.0)
_CAPPED = frozenset({Dialect.DELEGATING, Dialect.USER_API, Dialect.CLONE})


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    command.set_defaults(run=run)
    _add_sites(command.add_argument_group("sites"))
    _add_life(command.add_argument_group("life"))
    _add_manners(command.add_argument_group("manners"))


def _add_sites(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--sites",
        type=number(1, _MOST_SITES),
        help="how many, each on a port of its own (default: one for each dialect)",
    )
    add(
        "--dialect",
        action="extend",
        type=_dialects,
        metavar="DIALECT,…",
        help=f"{', '.join(Dialect)}; of several, the sites take turns (default: classic)",
    )
    add(
        "--rows",
        type=number(0, MOST_ROWS),
        default=1000,
        help="exchanges of the last 90 days at each site; clicks and payouts to match"
        " (default: %(default)s)",
    )
    add(
        "--port",
        type=number(0, _LAST_PORT),
        default=8080,
        help="that of the first site, the others follow; 0 picks free ones (default: %(default)s)",
    )
    add(
        "--timezone",
        action="extend",
        type=_zones,
        metavar="ZONE,…",
        help="the clock of the sites; of several, they take turns (default: UTC)",
    )
    add("--seed", type=int, default=1, help="the same seed makes up the same books")
    add("--key", type=_key, help="the API key (default: random ones, printed at the start)")
    add(
        "--accounts",
        type=Path,
        metavar="FILE",
        help="write the accounts of all sites, with their keys, to a file that load_accounts reads"
        " and nobody else may; it stays when the sandbox ends",
    )
    add("--overwrite", action="store_true", help="replace the file of --accounts if there is one")
    add(
        "--log",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write a line for each request to stderr, or append it to a file: time, site, method,"
        " parameters without the key, rows, milliseconds",
    )


def _add_life(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--live",
        action="store_true",
        help="let new clicks and orders come, and old ones move on; 20 orders in a busy hour",
    )
    add(
        "--pace",
        type=number(1, _MOST_ORDERS),
        metavar="N",
        help="--live with N orders an hour, day and night. All else goes with them: three clicks to"
        " an order, a payout to twenty, and the steps of orders and payouts, which take minutes to"
        " days at 20 an hour, and at 3600 seconds to minutes",
    )
    add(
        "--meddling",
        action="store_true",
        help="with --live or --pace: rewards change by hand, without a trace, and payouts vanish"
        " for a while",
    )


def _add_manners(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--cap",
        type=_caps,
        help="most rows in an answer (default: 500 on delegating and user-api); several, such as"
        " 500,200,20, take turns",
    )
    for option, kind, meaning in (
        ("--ties", Ties, "the order of rows of one second: another for each limit and offset"),
        ("--order", ServerOrder, "the order of rows"),
        ("--bounds", Bounds, "what of start_time and end_time is left out"),
    ):
        choices = [text.replace(" ", "-") for text in get_args(kind)]
        text = f"{meaning} (default: %(default)s)"
        add(option, choices=choices, default=choices[0], help=text)
    add("--own-keys", action="store_true", help="add keys of the site's own to every row")


# --- values


def _dialects(text: str) -> list[Dialect]:
    found = text.split(",")
    for one in found:
        if one not in {*Dialect}:
            choices = ", ".join(repr(str(dialect)) for dialect in Dialect)
            raise argparse.ArgumentTypeError(f"{one!r} is none; choose from {choices}")
    return [Dialect(one) for one in found]


def _zones(text: str) -> list[str]:
    found = text.split(",")
    for name in found:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
            raise argparse.ArgumentTypeError(
                f"{name!r} is unknown; pass a name such as 'Europe/Moscow'"
            ) from None
    return found


def _caps(text: str) -> tuple[int, ...]:
    return tuple(map(number(1, MOST_ROWS), text.split(",")))


def _key(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not text or " " in text:
        raise argparse.ArgumentTypeError("pass letters, digits and signs of ASCII without blanks")
    return text


def _refuse(option: str, problem: str) -> UsageError:
    return UsageError(f"ppapi sandbox: argument {option}: {problem}")


# --- the sites


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, which both are how a sandbox is meant to end.

    Raises:
        UsageError: it cannot be done so.
    """
    options.dialect = options.dialect or [Dialect.CLASSIC]
    options.timezone = options.timezone or ["UTC"]
    options.sites = options.sites or max(len(options.dialect), len(options.timezone))
    _check(options)
    with contextlib.ExitStack() as stack:
        log = _open_log(options.log, stack)
        try:
            # Made outside the loop, where Ctrl-C stops even the making up of millions of rows.
            sites = _make_sites(options, log)
            asyncio.run(_serve(sites, options))
        except KeyboardInterrupt:
            print("\nstopped")
    return 0


def _check(options: argparse.Namespace) -> None:
    dialects = options.dialect[: options.sites]
    for option in ("dialect", "timezone"):
        given = len(getattr(options, option))
        if given > options.sites:
            raise _refuse("--sites", f"{options.sites} are fewer than the {given} of --{option}")
    if options.port and options.port + options.sites - 1 > _LAST_PORT:
        raise _refuse("--port", f"{options.sites} sites from {options.port} on go beyond 65535")
    if options.cap is not None and _CAPPED.isdisjoint(dialects):
        raise _refuse(
            "--cap",
            f"{dialects[0]} sites send all rows in one answer;"
            " leave it out, or pass --dialect delegating",
        )
    path: Path | None = options.accounts
    if path is not None and not path.parent.is_dir():
        raise _refuse("--accounts", f"there is no directory {path.parent}")
    if path is not None and not options.overwrite and os.path.lexists(path):
        raise _refuse("--accounts", _EXISTS.format(path=path))


_EXISTS = "{path} exists; pass another file, or --overwrite to replace it"


def _open_log(path: str | None, stack: contextlib.ExitStack) -> RequestLog | None:
    """Open the log of requests, until the stack is left."""
    if path is None or path == "-":
        return None if path is None else RequestLog(sys.stderr)
    try:
        return RequestLog(stack.enter_context(Path(path).open("a", encoding="utf-8")))
    except OSError as error:
        raise _refuse("--log", f"cannot write to {path}: {error.strerror}") from None


@frozen
class _NamedSandbox:
    """A site and what it is called in the accounts file and in the log."""

    name: str
    sandbox: Sandbox


def _make_sites(options: argparse.Namespace, log: RequestLog | None) -> Sequence[_NamedSandbox]:
    where = "" if options.sites == 1 else f" at each of {options.sites} sites"
    print(f"making up {options.rows:,} exchanges of the last 90 days{where} …", flush=True)
    turns = zip(
        range(options.sites),
        itertools.cycle(options.dialect),
        itertools.cycle(options.timezone),
        strict=False,
    )
    sites = []
    for index, dialect, timezone in turns:
        name = f"{dialect}-{index + 1}"
        note = None if log is None else functools.partial(log.write, name)
        sandbox = Sandbox(
            dialect,
            rows=options.rows,
            port=options.port + index if options.port else 0,
            timezone=timezone,
            seed=options.seed + index,
            api_key=options.key,
            live=options.live,
            pace=options.pace,
            cap=... if options.cap is None else options.cap,
            rates=_MEDDLING if options.meddling else None,
            own_keys=options.own_keys,
            ties=options.ties.replace("-", " "),
            order=options.order.replace("-", " "),
            bounds=options.bounds.replace("-", " "),
            on_request=note,
        )
        sites.append(_NamedSandbox(name, sandbox))
        if log is not None:
            log.hide(sandbox.api_key, sandbox.api_login)
    return sites


async def _serve(sites: Sequence[_NamedSandbox], options: argparse.Namespace) -> None:
    """Serve until SIGTERM comes, or until cancelled, which is what Ctrl-C does to the main task."""
    ended = asyncio.Event()
    # Not on Windows, and not in other threads than the main one.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with contextlib.AsyncExitStack() as stack:
        for index, site in enumerate(sites):
            await _start(site.sandbox, stack, options.port + index if options.port else 0)
        if options.accounts is not None:
            _write_accounts(sites, options)
        print(_introduction(sites, options), flush=True)
        await ended.wait()
    print("\nstopped")


async def _start(sandbox: Sandbox, stack: contextlib.AsyncExitStack, port: int) -> None:
    try:
        await stack.enter_async_context(sandbox)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(
            f"ppapi sandbox: cannot listen on port {port}: {reason};"
            " pass another --port, or 0 for any free one"
        ) from None


# --- the accounts file


def _write_accounts(sites: Sequence[_NamedSandbox], options: argparse.Namespace) -> None:
    path: Path = options.accounts
    try:
        _write(path, _accounts_file(sites), replace=options.overwrite)
    except FileExistsError:
        raise _refuse("--accounts", _EXISTS.format(path=path)) from None
    except OSError as error:
        raise _refuse("--accounts", f"cannot write {path}: {error.strerror}") from None


def _accounts_file(sites: Sequence[_NamedSandbox]) -> str:
    lines = ["# Accounts on sandboxes, for load_accounts. It holds their keys."]
    for site in sites:
        sandbox = site.sandbox
        lines += ["", "[[accounts]]", f'name = "{site.name}"', f'url = "{sandbox.url}"']
        lines.append(f"api_key = {_quoted(sandbox.api_key)}")
        if sandbox.api_login is not None:
            lines.append(f"api_login = {_quoted(sandbox.api_login)}")
        lines.append(f'timezone = "{sandbox.timezone}"')
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """Return printable ASCII as a string of TOML."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _write(path: Path, text: str, *, replace: bool) -> None:
    """Write a file that only this user may read; one that is there is replaced whole.

    Raises:
        OSError: it is there, is no file, or cannot be written; then nothing is left of it.
    """
    with contextlib.ExitStack() as failed:
        if not replace:
            draft = str(path)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        else:
            if path.exists():
                refuse_odd(path, path.stat())
            descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        failed.callback(Path(draft).unlink)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if replace:
            Path(draft).replace(path)
        failed.pop_all()


# --- what is printed at the start


def _introduction(sites: Sequence[_NamedSandbox], options: argparse.Namespace) -> str:
    """Say where the sites are and how to talk to them."""
    listed = [_facts(site, options) for site in sites]
    if len(sites) > 1:
        listed = [f"{site.name}\n{facts}\n" for site, facts in zip(sites, listed, strict=True)]
    if options.accounts is not None:
        file = f"{options.accounts} has the accounts, with their keys, and stays when this ends."
        listed.append(f"\n{file}" if len(sites) == 1 else file)
    program = _program(_example(sites, options))
    facts = "\n".join(listed)
    return (
        f"{facts}\n\nTry it from another terminal:\n\n{_shell_example(sites[0].sandbox)}\n\n"
        f"or from Python:\n\n{program}\n\nCtrl-C stops the sandbox."
    )


def _facts(site: _NamedSandbox, options: argparse.Namespace) -> str:
    sandbox, life = site.sandbox, ""
    if options.pace is not None:
        life = f", live, {options.pace:,} orders an hour"
    elif options.live:
        life = ", live"
    facts = [("url", sandbox.url), ("key", sandbox.api_key)]
    if sandbox.api_login is not None:
        facts.append(("login", sandbox.api_login))
    facts += [("dialect", f"{sandbox.dialect}{life}"), ("clock", sandbox.timezone)]
    return "\n".join(f"  {name:<9}{value}" for name, value in facts)


def _shell_example(sandbox: Sandbox) -> str:
    base = f"{sandbox.url}{sandbox.endpoint}"
    if sandbox.api_login is not None:
        login, key = sandbox.api_login, sandbox.api_key
        return f'curl -H "Api-Login: {login}" -H "Api-Key: {key}" "{base}get_partner_info"'
    return f'curl "{base}?api_action=pp&method=get_info&api_key={sandbox.api_key}"'


def _account(sandbox: Sandbox) -> str:
    arguments = [repr(sandbox.url), repr(sandbox.api_key)]
    if sandbox.api_login is not None:
        arguments.append(f"api_login={sandbox.api_login!r}")
    if sandbox.timezone != "UTC":
        arguments.append(f"timezone={sandbox.timezone!r}")
    return f"Account({', '.join(arguments)})"


def _example(sites: Sequence[_NamedSandbox], options: argparse.Namespace) -> tuple[str, str, str]:
    """Return what an example imports, what it opens, and what it does with that."""
    is_live = options.live or options.pace is not None
    if len(sites) == 1 and options.accounts is None:
        opened = f"Session({_account(sites[0].sandbox)}) as session"
        if is_live:
            loop = "async for change in session.watch_exchanges(interval=10):"
            return "Account, Session", opened, f"{loop}\n    print(change.kind, change.record)"
        loop = "async for exchange in session.iter_exchanges():"
        row = "exchange.id, exchange.time, exchange.partner_reward"
        return (
            "Account, Session",
            opened,
            f"print(await session.get_info())\n{loop}\n    print({row})",
        )
    if options.accounts is not None:
        imports, accounts = "Fleet, load_accounts", f"load_accounts({str(options.accounts)!r})"
    else:
        made = ", ".join(_account(site.sandbox) for site in sites)
        imports, accounts = "Account, Fleet", f"[{made}]"
    if is_live:
        loop = "async for event in fleet.events():\n    print(event)"
    else:
        loop = "async for name, exchange in fleet.iter_exchanges():\n    print(name, exchange)"
    return imports, f"Fleet({accounts}{', interval=10' if is_live else ''}) as fleet", loop


def _program(example: tuple[str, str, str]) -> str:
    imports, opened, body = example
    # Without blank lines in the function, so that it can be pasted into Python's prompt.
    return f"""\
import asyncio
from ppapi_async import {imports}

async def main():
    async with {opened}:
{textwrap.indent(body, " " * 8)}

asyncio.run(main())"""


@click.command(
    "sandbox",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Run partner APIs on local ports, with made-up books."""
    parser = Parser(prog="ppapi sandbox", description=command.help)
    add_options(parser)
    try:
        return run(parser.parse_args(arguments))
    except UsageError as error:
        raise CommandFailed(str(error).partition(": ")[2], Exit.USAGE) from None
