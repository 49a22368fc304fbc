"""The command `audit`: compare the copy with the sites."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from ppapi_async.cli.accounts import choose, load
from ppapi_async.cli.database import database_url
from ppapi_async.cli.exits import Exit, exit_of
from ppapi_async.cli.options import (
    accounts_option,
    check_period,
    database_option,
    json_option,
    names_option,
    since_option,
    until_option,
    utc_option,
)
from ppapi_async.cli.output import Column, is_terminal, note, plain, show

__all__ = ["command"]

DIFFERENCES = (
    Column("kind", "", "missing (in the copy), extra (the site has it not) or differing"),
    Column("account", "account", "the account's name"),
    Column("resource", "rows", "links, exchanges or payouts"),
    Column("id", "id", "the row's id"),
    Column(
        "time",
        "time",
        "the row's, in the zone of its account or, with --utc, in UTC",
        least_width=100,
    ),
    Column("shown", "difference"),
    Column("fields", "", "the names of the fields that differ"),
    Column("here", "", "the row in the copy, or what differs of it, as JSON"),
    Column("there", "", "the row at the site, or what differs of it, as JSON"),
    Column("proven_at", "", "when the copy was read from the site last"),
)
FIELDS = tuple(column for column in DIFFERENCES if column.name != "shown")
_MOST = 50
"""Differences that a screen shows."""


@click.command("audit")
@since_option()
@until_option()
@names_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write all differences into a CSV file, with both sides of each.",
)
@database_option("--from")
@json_option(FIELDS)
@utc_option
@accounts_option
def command(
    names: tuple[str, ...],
    *,
    since: datetime | None,
    until: datetime | None,
    database: str | None,
    out: Path | None,
    fields: tuple[str, ...] | None,
    utc: bool,
    accounts_file: str | None,
) -> int:
    """Compare the copy with the sites.

    The sites are asked again, and each row is compared with the copy: which are missing there,
    which it has and the site has not, which differ, and in what. Nothing is changed. What a site
    changes in rows older than sync looks back (30 days, clicks 3) is found here only. Sync first:
    an order that has moved since the last sync is a difference, too. It goes well beside a 'ppapi
    sync --follow'.

    \b
    Examples:
      ppapi audit --since 30d               all accounts, the last thirty days
      ppapi audit one two --out differ.csv  two of them, all there is, and a file
      ppapi audit --from postgresql://me@db/partner --since 2026-11-01 --utc

    Exit codes: 0 nothing differs; 3 something does; 1 an account could not be compared; 5 all that
    failed is that keys are refused.
    """
    check_period(since, until)
    chosen = choose(load(accounts_file), names)
    url = database_url(database)

    from ppapi_async.cli import failures
    from ppapi_async.cli.copying import auditing
    from ppapi_async.cli.running import run

    found = run(lambda: auditing.compare(url, chosen, start=since, end=until))
    zones = {one.name: ZoneInfo("UTC" if utc else one.timezone) for one in chosen}
    if out is not None:
        auditing.write(out, found.differences, zones)
        note(f"{len(found.differences):,} differences are in {plain(str(out))}")
    for_people = fields is None and is_terminal()
    most = _MOST if for_people else len(found.differences)
    rows = [auditing.row_of(one, zones) for one in found.differences[:most]]
    if not for_people:
        show(FIELDS, rows, fields=fields)
    elif rows:
        show(DIFFERENCES, [{**row, "shown": auditing.in_words(row)} for row in rows])
        if len(found.differences) > most:
            rest = len(found.differences) - most
            note(f"and {rest:,} more; --out FILE.csv writes all of them")
    for line in (auditing.summary(found), *auditing.left_out(found)):
        note(line)
    failures.tell_failures(found.errors)
    if found.errors:
        return exit_of(found.errors.values())
    return Exit.DONE if found.ok else Exit.INCOMPLETE
