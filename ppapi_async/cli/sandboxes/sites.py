"""What the command `sandbox` runs: sites on local ports, their accounts file, a log of requests."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from ppapi_async.account import Dialect
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.options import LAST_PORT
from ppapi_async.cli.output import say
from ppapi_async.cli.running import run
from ppapi_async.cli.sandboxes.request_log import RequestLog
from ppapi_async.files import refuse_odd
from ppapi_async.sandbox import Bounds, Rates, Sandbox, ServerOrder, Ties

__all__ = ["SandboxOptions", "serve"]

_MEDDLING = Rates(by_hand_per_hour=6.0, baskets_per_hour=1.0)
_CAPPED = frozenset({Dialect.DELEGATING, Dialect.USER_API, Dialect.CLONE})


@frozen(kw_only=True)
class SandboxOptions:
    """What the user asked for."""

    sites: int
    dialects: Sequence[Dialect]
    rows: int
    port: int
    timezones: Sequence[str]
    seed: int
    key: str | None
    accounts: Path | None
    overwrite: bool
    log: str | None
    """A file; "-" is stderr."""
    live: bool
    pace: int | None
    meddling: bool
    cap: tuple[int, ...] | None
    ties: Ties
    order: ServerOrder
    bounds: Bounds
    own_keys: bool


def _refuse(option: str, problem: str) -> CommandFailed:
    return CommandFailed(f"{option}: {problem}", Exit.USAGE)


# --- the sites


def serve(options: SandboxOptions) -> None:
    """Serve until Ctrl-C or SIGTERM, which both are how a sandbox is meant to end.

    Raises:
        CommandFailed: it cannot be done so.
    """
    _check(options)
    with contextlib.ExitStack() as stack:
        log = _open_log(options.log, stack)
        try:
            # Made outside the loop, where Ctrl-C stops even the making up of millions of rows.
            sites = _make_sites(options, log)
            run(lambda: _serve(sites, options))
        except KeyboardInterrupt:
            say("\nstopped")


def _check(options: SandboxOptions) -> None:
    dialects = options.dialects[: options.sites]
    for option, given in (
        ("dialect", len(options.dialects)),
        ("timezone", len(options.timezones)),
    ):
        if given > options.sites:
            raise _refuse("--sites", f"{options.sites} are fewer than the {given} of --{option}")
    if options.port and options.port + options.sites - 1 > LAST_PORT:
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


def _make_sites(options: SandboxOptions, log: RequestLog | None) -> Sequence[_NamedSandbox]:
    where = "" if options.sites == 1 else f" at each of {options.sites} sites"
    say(f"making up {options.rows:,} exchanges of the last 90 days{where} …")
    turns = zip(
        range(options.sites),
        itertools.cycle(options.dialects),
        itertools.cycle(options.timezones),
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
            ties=options.ties,
            order=options.order,
            bounds=options.bounds,
            on_request=note,
        )
        sites.append(_NamedSandbox(name, sandbox))
        if log is not None:
            log.hide(sandbox.api_key, sandbox.api_login)
    return sites


async def _serve(sites: Sequence[_NamedSandbox], options: SandboxOptions) -> None:
    """Serve until cancelled."""
    async with contextlib.AsyncExitStack() as stack:
        for index, site in enumerate(sites):
            await _start(site.sandbox, stack, options.port + index if options.port else 0)
        if options.accounts is not None:
            _write_accounts(sites, options.accounts, replace=options.overwrite)
        say(_introduction(sites, options))
        await asyncio.Event().wait()


async def _start(sandbox: Sandbox, stack: contextlib.AsyncExitStack, port: int) -> None:
    try:
        await stack.enter_async_context(sandbox)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CommandFailed(
            f"cannot listen on port {port}: {reason}; pass another --port, or 0 for any free one",
            Exit.USAGE,
        ) from None


# --- the accounts file


def _write_accounts(sites: Sequence[_NamedSandbox], path: Path, *, replace: bool) -> None:
    try:
        _write(path, _accounts_file(sites), replace=replace)
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


def _introduction(sites: Sequence[_NamedSandbox], options: SandboxOptions) -> str:
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


def _facts(site: _NamedSandbox, options: SandboxOptions) -> str:
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


def _example(sites: Sequence[_NamedSandbox], options: SandboxOptions) -> tuple[str, str, str]:
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
