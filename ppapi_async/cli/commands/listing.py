"""The command `list`: list the accounts, without their keys and without fetching these."""

from __future__ import annotations

import click

from ppapi_async.cli.accounts import inspect
from ppapi_async.cli.options import accounts_option, json_option
from ppapi_async.cli.output import Column, show

__all__ = ["command"]

_COLUMNS = (
    Column("name", "account", "what errors and tables call it"),
    Column("host", "host", "where the site is"),
    Column("dialect", "dialect", "which server it is, where the file says so"),
    Column("timezone", "time zone", "that the site's times are taken to be in"),
    Column("key", "key from", "where the key is kept; never the key"),
    Column("url", "", "where the site is, in full"),
    Column("source", "", "the field that says where the key is"),
)


@click.command("list")
@json_option(_COLUMNS)
@accounts_option
def command(fields: tuple[str, ...] | None, accounts_file: str | None) -> None:
    """List the accounts.

    Shows what the accounts file says. Nobody is asked, no key is fetched or shown.

    \b
    Examples:
      ppapi list
      ppapi list --json name,timezone
      ppapi list | cut -f 1
    """
    rows = [
        {
            "name": one.account.name,
            "host": one.account.host,
            "dialect": one.account.dialect,
            "timezone": one.account.timezone,
            "key": one.key_from,
            "url": one.account.url,
            "source": one.source,
        }
        for one in inspect(accounts_file)
    ]
    show(_COLUMNS, rows, fields=fields)
