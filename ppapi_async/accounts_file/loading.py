"""`load_accounts`: the one function here that raises, from a frame without keys."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from attrs import evolve, field, frozen

from ppapi_async.account import Account, Dialect, Secret
from ppapi_async.accounts_file.contents import SOURCES, Table, tables_of, text_in
from ppapi_async.accounts_file.keys import (
    key_of_command,
    key_of_file,
    key_of_variable,
    watch_command,
)
from ppapi_async.accounts_file.report import Report

__all__ = ["load_accounts"]

_IN_A_FILE: Mapping[str, str] = {
    "or allow_http=True": "or write allow_http = true",
    "for the link that a site shows use Account.from_link": (
        "write the link that a site shows as link = …, in place of url"
    ),
}
"""What `Account` advises, for those who write a file."""


@frozen
class _Entry:
    """One account of the file: what it says itself, and what goes for all."""

    place: str
    own: Table
    defaults: Table
    source: str
    url: Secret
    key: Secret | None  # where the file has it
    name: str = field(default="", repr=False)

    def secret(self, name: str) -> Secret | None:
        return text_in(self.own, name) or text_in(self.defaults, name)

    def text(self, name: str, default: str = "") -> str:
        secret = self.secret(name)
        return default if secret is None else secret.reveal()

    def words(self) -> tuple[Secret, ...]:
        value = self.own.get("key_command", self.defaults.get("key_command"))
        return value if isinstance(value, tuple) else ()

    def blamed(self, argument: str) -> tuple[str, str]:
        """Return the table and the field that an argument of `Account` comes from."""
        renamed = {"api_key": self.source, "url": "link" if self.source == "link" else "url"}
        is_default = argument not in self.own and argument in self.defaults
        return "defaults" if is_default else self.place, renamed.get(argument, argument)


def load_accounts(
    path: str | os.PathLike[str], *, command_timeout: float | timedelta = timedelta(seconds=30)
) -> list[Account]:
    """Read accounts, and fetch their keys, from a TOML file.

        [defaults]                                # optional; each account may say otherwise
        timezone = "Europe/Moscow"                # also: dialect, allow_http, proxy
        key_command = ["pass", "show", "partner/{name}"]

        [[accounts]]
        url = "https://one.example"

        [[accounts]]
        url = "https://two.example"
        name = "two"
        key_env = "KEY_TWO"

    An account has a `url` and one source of its key, or a `link`, which is both (see
    `Account.from_link`). `name`, `api_login`, `timezone`, `dialect`, `allow_http` and `proxy` are
    those of `Account`. The sources:

    - `api_key`: the key itself.
    - `key_env`: the name of an environment variable.
    - `key_file`: a file with nothing but the key; a relative path starts at the accounts file.
    - `key_command`: a list of arguments, or a string that is split as a shell would, though none is
      run. The first line that the program prints is the key. It runs in the directory of the
      accounts file, without input; what it prints to stderr is dropped. What it has started ends
      with it, and so does a program that prints more than 64 KB.

    The last three may stand in the defaults, for accounts without a source of their own. `{name}`
    in them is the account's name, which is the host of its url (and the port, if it has one)
    unless given. Commands run one after the other, once all else is right, until one fails.

    Warns (`UserWarning`) of a file with a key that others can read, and of an accounts file or
    program that others can change or replace, before any command is run. A file may be a pipe; a
    device or a directory is refused. Blocks: in a running event loop use
    `asyncio.to_thread`.

    Args:
        path: the file, in UTF-8.
        command_timeout: how long one `key_command`, or a pipe in place of a file, may take, as
            seconds or a timedelta.

    Returns:
        The accounts in their order; at least one, and no two of one name.

    Raises:
        ValueError: what is wrong, one line each, with file, line, account (counted from 0) and
            field; never with a key. A key that cannot be had is among it.
        FileNotFoundError: there is no accounts file; other `OSError` where it cannot be read, is
            none, or is larger than 4 MB.
        TypeError: an argument is of the wrong type.

    >>> load_accounts("accounts.toml")  # doctest: +SKIP
    [Account(url='https://one.example', name='one.example'), ...]
    """
    report, seconds = Report(str(Path(path))), _seconds(command_timeout)
    entries = _entries(report, seconds)
    for entry in filter(_is_by_command, entries):
        watch_command(report, entry.words(), entry.name)
    _warn(report)  # before commands are run that others may have written
    accounts = _accounts(report, entries, seconds)
    _warn(report)
    if report.has_problems:
        raise ValueError(report.text())
    return accounts


def _seconds(timeout: float | timedelta) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float | timedelta):
        raise TypeError("command_timeout: pass seconds or a timedelta")
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError("command_timeout: pass a finite time above zero")
    return seconds


def _warn(report: Report) -> None:
    """Warn the caller of `load_accounts`."""
    while report.warnings:
        warnings.warn(report.warnings.pop(0), UserWarning, stacklevel=3)


def _entries(report: Report, seconds: float) -> list[_Entry]:
    """Return the accounts of the file in which nothing is wrong so far."""
    defaults, tables = tables_of(report, seconds)
    found = [_entry(report, defaults, place, own) for place, own in tables.items()]
    entries = [entry for entry in found if entry is not None]
    _check_names(report, entries)
    return entries


def _accounts(report: Report, entries: list[_Entry], seconds: float) -> list[Account]:
    """Return the accounts with their keys, those in which nothing is wrong."""
    made: dict[str, Account | None] = {}
    for entry in sorted(entries, key=_is_by_command):
        # One that fails is enough: nobody wants to dismiss a hundred prompts for a passphrase.
        if not (report.has_problems and _is_by_command(entry)):
            made[entry.place] = _finished(report, entry, seconds)
    return [account for entry in entries if (account := made.get(entry.place)) is not None]


def _is_by_command(entry: _Entry) -> bool:
    return entry.source == "key_command"


def _entry(report: Report, defaults: Table, place: str, own: Table) -> _Entry | None:
    """Return an account of the file, checked but for its key; None if something is wrong."""
    source = _source(report, defaults, place, own)
    if source is None:
        return None
    url, key = text_in(own, "url"), text_in(own, "api_key")
    if link := text_in(own, "link"):
        linked = _linked(link) if url is None else "has the url already; leave out url"
        if isinstance(linked, str):
            report.add(place, "link", linked)
            return None
        url, key = Secret(linked.url), linked.api_key
    if url is None:
        report.add(place, "url", 'is missing; write url = "https://site.example"')
        return None
    entry = _Entry(place, own, defaults, source, url, key)
    stand_in = Secret("\ue000" * (len(entry.text("name")) + 1))  # which no name can hold
    account = _account(report, entry, stand_in)
    return None if account is None else evolve(entry, name=account.name)


def _source(report: Report, defaults: Table, place: str, own: Table) -> str | None:
    """Return the field that gives the key: the account's own, or else the default."""
    for origin, table in ((place, own), ("defaults", defaults)):
        sources = [field for field in SOURCES if field in table]
        if len(sources) > 1:
            report.add(origin, sources[1], f"is a source of the key, as is {sources[0]}; leave one")
            return None
        if sources:
            return sources[0]
    report.add(place, "", f"has no key; write one of {', '.join(SOURCES)}")
    return None


def _linked(link: Secret) -> Account | str:
    try:
        return Account.from_link(link.reveal(), allow_http=True)  # which is checked later
    except ValueError as error:
        return str(error).partition(": ")[2]


def _account(report: Report, entry: _Entry, key: Secret) -> Account | None:
    dialect = entry.text("dialect")
    try:
        return Account(
            entry.url.reveal(),
            key,
            api_login=entry.secret("api_login"),
            name=entry.text("name"),
            timezone=entry.text("timezone", "UTC"),
            dialect=Dialect(dialect) if dialect else None,
            proxy=entry.secret("proxy"),
            allow_http=bool(entry.own.get("allow_http", entry.defaults.get("allow_http"))),
        )
    except ValueError as error:
        argument, _, problem = str(error).partition(": ")
    for advice, in_a_file in _IN_A_FILE.items():
        problem = problem.replace(advice, in_a_file)
    report.add(*entry.blamed(argument), problem)
    return None


def _check_names(report: Report, entries: list[_Entry]) -> None:
    first: dict[str, str] = {}
    for entry in entries:
        other = first.setdefault(entry.name, entry.place)
        if other != entry.place:
            problem = f"{entry.name!r} is that of {other}, too; give each account one of its own"
            report.add(entry.place, "name", problem)


def _finished(report: Report, entry: _Entry, seconds: float) -> Account | None:
    """Return the account with its key."""
    key = _key(report, entry, seconds)
    if isinstance(key, str):
        report.add(entry.place, entry.source, key)
        return None
    report.keys.append(key)
    return _account(report, entry, key)


def _key(report: Report, entry: _Entry, seconds: float) -> Secret | str:
    if entry.key is not None:
        return entry.key
    if _is_by_command(entry):
        return key_of_command(report, entry.words(), entry.name, seconds)
    template = Secret(entry.text(entry.source))
    if entry.source == "key_env":
        return key_of_variable(template, entry.name)
    return key_of_file(report, template, entry.name, seconds)
