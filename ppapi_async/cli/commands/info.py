"""The command `info`: balances, and what can be paid out now."""

from __future__ import annotations

import click

from ppapi_async.cli.accounts import choose, load
from ppapi_async.cli.exits import exit_of
from ppapi_async.cli.options import accounts_option, json_option, names_option
from ppapi_async.cli.output import Column, is_terminal, note, show

__all__ = ["command"]

BALANCES = (
    Column("name", "account", "the account's name"),
    Column("balance", "balance", "the whole balance, in the site's base currency"),
    Column("currency", "in", "that currency, as the account's payouts name it; null: not known"),
    Column("minimum", "least", "the least that is paid out, in the same currency"),
    Column("due", "", "whether all of it can be paid out now"),
    Column("missing", "", "how much the balance lacks for that"),
    Column("payout", "payout now", "yes, or why not"),
    Column("methods", "ways", "how many payout methods there are just now"),
    Column("payout_methods", "", "which: id, title, commission, what one would get"),
    Column("state", "state", "ok, or what is wrong"),
    Column("host", "host", "of the site", least_width=120),
    Column("dialect", "dialect", "the kind of server that it is", least_width=120),
    Column("problem", "", "what is wrong and what to do"),
)
METHODS = (
    Column("name", "account"),
    Column("id", "method"),
    Column("title", "title"),
    Column("commission", "commission %"),
    Column("amount", "you would get"),
)


@click.command("info")
@names_option
@click.option(
    "--methods",
    is_flag=True,
    help="List the payout methods, too; in a pipe and as JSON they are there anyway.",
)
@json_option(BALANCES)
@accounts_option
def command(
    names: tuple[str, ...],
    *,
    methods: bool,
    fields: tuple[str, ...] | None,
    accounts_file: str | None,
) -> int:
    """Show balances, and what can be paid out now.

    All accounts are asked at once, or those that are named. Totals are told by currency. Sites do
    not say which currency a balance is in; it is taken from the payouts that the account has had,
    which are asked for with a second request, and shown as ¤ where there are none.

    \b
    Examples:
      ppapi info                            all accounts
      ppapi info one two --methods          two of them, with the ways to be paid
      ppapi info --json name,balance,due    for programs

    Exit codes: 0 all accounts have answered; 1 one has not; 5 all that failed is that keys are
    refused.
    """
    from ppapi_async.cli import failures
    from ppapi_async.cli.asking import balances
    from ppapi_async.cli.running import run

    chosen = choose(load(accounts_file), names)
    found = run(lambda: balances.ask(chosen))
    unknown = balances.UNKNOWN if fields is None and is_terminal() else None
    rows = [balances.row_of(one, unknown=unknown) for one in found]
    show(BALANCES, rows, fields=fields)
    if fields is None:
        if methods:
            balances.show_methods(METHODS, found)
        for line in balances.totals(found):
            note(line)
    failed = {one.name: one.error for one in found if one.error is not None}
    failures.tell_failures(failed)
    return exit_of(failed.values())
