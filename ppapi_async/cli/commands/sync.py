"""The command `sync`: copy everything into a database, and keep it up to date."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from ppapi_async.cli.accounts import choose, load
from ppapi_async.cli.database import database_url
from ppapi_async.cli.exits import exit_of
from ppapi_async.cli.options import (
    accounts_option,
    database_option,
    duration,
    interval_option,
    json_fields,
    json_option,
    metrics_option,
    names_option,
    resources_option,
    since_option,
    utc_option,
)
from ppapi_async.cli.output import Column, is_terminal, show

if TYPE_CHECKING:
    from ppapi_async.watching.resources import ResourceName

__all__ = ["command"]

COUNTS = (
    Column("account", "account", "the account's name"),
    Column("rows", "rows", "read"),
    Column("new", "new", "among them"),
    Column("changed", "changed", "changed rows"),
    Column("gone", "gone", "rows that the site lists no more; they stay in the copy"),
    Column("returned", "", "rows that it lists again"),
    Column("unreadable", "unreadable", "rows of the account that cannot be read"),
    Column("requests", "requests", "that were made", least_width=100),
    Column("behind", "behind", "how long ago everything was copied last; null: never"),
    Column("state", "state", "ok, or what is wrong"),
    Column("problem", "", "what is wrong and what to do"),
    Column("unsupported", "", "what the site does not have"),
)
CHANGES = (
    Column("seen_at", help="when it was seen"),
    Column("account", help="the account's name"),
    Column("resource", help="links, exchanges, payouts or info"),
    Column("kind", help="new, changed, gone or returned"),
    Column("id", help="the row's id; null for info"),
    Column("fields", help="that have changed"),
    Column("record", help="the row as it is now"),
    Column("previous", help="the row as it was"),
    Column("cursor", help="where it stands among all changes"),
)
_IN_TURN: tuple[ResourceName, ...] = ("info", "payouts", "exchanges", "links")
"""The small ones first."""


@click.command("sync")
@since_option()
@names_option
@resources_option("What to copy.")
@click.option(
    "--status-history", is_flag=True, help="Copy the status histories of orders, too (2.7 sites)."
)
@click.option(
    "--lookback",
    type=duration,
    metavar="TIME",
    show_default="3d for clicks, 30d for the rest",
    help="How old a row may be and its changes are still looked for.",
)
@click.option("--follow", is_flag=True, help="Go on for ever, and print each change.")
@interval_option("With --follow: from one look at an account to the next.")
@click.option(
    "--shared",
    metavar="GROUP",
    help="With --follow: share the accounts with all that name this group; needs PostgreSQL.",
)
@click.option(
    "--wait",
    type=duration,
    metavar="TIME",
    show_default="not at all",
    help="How long to wait for another process that writes the same file.",
)
@metrics_option("With --follow: serve metrics there for Prometheus; see docs/guides/metrics.md.")
@database_option("--to")
@json_option()
@utc_option
@accounts_option
def command(
    names: tuple[str, ...],
    *,
    database: str | None,
    follow: bool,
    interval: timedelta,
    since: datetime | None,
    resources: tuple[ResourceName, ...],
    status_history: bool,
    lookback: timedelta | None,
    shared: str | None,
    wait: timedelta | None,
    metrics: tuple[str, int] | None,
    fields: str | None,
    utc: bool,
    accounts_file: str | None,
) -> int:
    """Copy everything into a database, and keep it up to date.

    The first run copies all that the sites have, later ones what is new and has changed. It may be
    stopped at any moment: another run goes on from there. What a site deletes stays in the copy.
    With --follow it goes on for ever, for a service: each change is a line on stdout, how the
    accounts get on is told on stderr; examples/ppapi-sync.service is a unit for systemd.

    \b
    Examples:
      ppapi sync                                  all accounts, into your own file
      ppapi sync one two --to partner.db          two accounts, into another file
      ppapi sync --to postgresql://me@db/partner  into PostgreSQL
      ppapi sync --since 90d --resources exchanges,payouts
      ppapi sync --follow --interval 2m           for ever
      ppapi sync --follow --json account,kind,record | my-program

    Exit codes: 0 all accounts are caught up; 1 one is not; 3 all that failed is that rows could not
    be proven complete; 5 all that failed is that keys are refused; 130 interrupted.
    """
    if shared is not None and not follow:
        raise click.UsageError("--shared: goes with --follow only")
    if metrics is not None and not follow:
        raise click.UsageError("--metrics: goes with --follow only")
    wanted = json_fields(CHANGES if follow else COUNTS, fields)
    chosen = choose(load(accounts_file), names)
    url = database_url(database, to_write=True)

    from ppapi_async.cli import failures
    from ppapi_async.cli.copying import following, syncing
    from ppapi_async.cli.running import run

    options = syncing.MirrorOptions(
        url=url,
        accounts=chosen,
        resources=[name for name in _IN_TURN if name in resources],
        since=since,
        lookback=lookback,
        status_history=status_history,
        shared=shared,
        wait=wait,
    )
    if follow:
        run(
            lambda: following.follow(
                options, interval=interval, fields=wanted, is_utc=utc, metrics=metrics
            )
        )
    report = run(lambda: syncing.sync(options))
    never = "never" if wanted is None and is_terminal() else None
    rows = [syncing.row_of(one, never=never) for one in report.accounts.values()]
    show(COUNTS, rows, fields=wanted)
    failures.tell_failures(report.failed)
    return exit_of(report.failed.values())
