"""The command `remove`: remove accounts from the accounts file."""

from __future__ import annotations

import click

from ppapi_async.cli.accounts import accounts_path, choose, inspect
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.options import accounts_option
from ppapi_async.cli.output import may_ask, note, plain, say

__all__ = ["command"]


@click.command("remove", no_args_is_help=True)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@accounts_option
def command(names: tuple[str, ...], *, yes: bool, accounts_file: str | None) -> int:
    """Remove accounts from the accounts file.

    The copy of their rows keeps what it has. The site is not asked, and the key stays valid there.

    \b
    Examples:
      ppapi remove one         asks
      ppapi remove one two --yes

    Exit codes: 0 removed; 1 it cannot be, or you said no; 2 there is no such account.
    """
    from ppapi_async.cli.editing.accounts_edit import remove

    path = accounts_path(accounts_file)
    chosen = choose([one.account for one in inspect(accounts_file)], names)
    listed = ", ".join(plain(one.name) for one in chosen)
    if not yes:
        if not may_ask():
            raise CommandFailed("nothing was removed; pass --yes to remove it", Exit.USAGE)
        if not click.confirm(f"Remove {listed} from {plain(str(path))}?", err=True):
            raise CommandFailed("nothing was removed")
    remove(path, [one.name for one in chosen])
    say(f"removed {listed} from {plain(str(path))}")
    note("your copy keeps what it has of them; the keys stay valid at the sites")
    return Exit.DONE
