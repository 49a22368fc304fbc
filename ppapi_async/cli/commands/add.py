"""The command `add`: add an account to the accounts file."""

from __future__ import annotations

import click

from ppapi_async.cli.accounts import accounts_path, inspect
from ppapi_async.cli.editing.new_account import NewAccountOptions, collect, new_account_options
from ppapi_async.cli.exits import Exit
from ppapi_async.cli.output import plain, say

__all__ = ["command"]


@click.command("add")
@new_account_options
def command(options: NewAccountOptions, accounts_file: str | None) -> int:
    """Add an account to the accounts file.

    On a terminal it asks for the link that a site shows its partner, for name and time zone.
    Elsewhere it reads links from stdin, one a line. The link holds the key: it is not shown, and is
    never an argument. What else stands in the file stays as it is, comments too.

    \b
    Examples:
      ppapi add                                      asks
      ppapi add --name one --timezone Europe/Moscow < link
      ppapi add --url https://site.example --key-env SITE_KEY
      pass show site | ppapi add --url https://site.example --name site

    Exit codes: 0 added; 1 it cannot be; 2 something is wrong in what was given, or in the file.
    """
    from ppapi_async.cli.editing.accounts_edit import append

    path = accounts_path(accounts_file)
    accounts = collect(options, inspect(accounts_file), several=True)
    append(path, accounts)
    for one in accounts:
        say(f"added {plain(one.account.name)} to {plain(str(path))}")
    return Exit.DONE
