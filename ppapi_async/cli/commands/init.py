"""The command `init`: write a first accounts file."""

from __future__ import annotations

import os

import click

from ppapi_async.cli.accounts import accounts_path
from ppapi_async.cli.editing.new_account import NewAccountOptions, collect, new_account_options
from ppapi_async.cli.exits import Exit
from ppapi_async.cli.output import note, plain, say

__all__ = ["command"]


@click.command("init", no_args_is_help=False)
@new_account_options
def command(options: NewAccountOptions, accounts_file: str | None) -> int:
    """Write a first accounts file.

    On a terminal it asks for the link that a site shows its partner, and pasting that is enough;
    Enter takes what is suggested for the rest. Elsewhere it asks nothing and reads links from
    stdin, one a line. The link holds the key: it is not shown, and is never an argument. The file
    is for you alone (mode 600). One that is there is not replaced.

    \b
    Examples:
      ppapi init                                     asks
      ppapi init --timezone Europe/Moscow < links    one link a line
      ppapi init --url https://site.example --key-env SITE_KEY
      ppapi init --url https://site.example --key-command 'pass show site'

    Exit codes: 0 written; 1 it cannot be; 2 something is wrong in what was given.
    """
    from ppapi_async.cli.editing.accounts_edit import create, there_already

    path = accounts_path(accounts_file)
    if os.path.lexists(path):
        raise there_already(path)
    accounts = collect(options, several=True)
    create(path, accounts)
    count = "1 account" if len(accounts) == 1 else f"{len(accounts)} accounts"
    say(f"wrote {plain(str(path))} with {count}")
    if not all(one.has_zone for one in accounts):
        note("times are taken for UTC; if the sites have another, write timezone = … into the file")
    note("next: 'ppapi doctor' tries it, 'ppapi add' adds another")
    return Exit.DONE
