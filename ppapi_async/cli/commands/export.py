"""The command `export`: clicks, orders or payouts as a file."""

from __future__ import annotations

from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.options import (
    accounts_option,
    check_period,
    database_option,
    names_option,
    since_option,
    until_option,
    utc_option,
)
from ppapi_async.cli.output import is_terminal, note, plain

if TYPE_CHECKING:
    from ppapi_async.cli.exporting.writing import Export

__all__ = ["command"]

_FORMATS = ("csv", "jsonl", "parquet")
_ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


@click.command("export")
@click.argument("resource", type=click.Choice(("links", "exchanges", "payouts")))
@since_option()
@until_option("no end")
@names_option
@click.option(
    "--out",
    metavar="FILE",
    show_default="stdout; on a terminal a file of a name that is told",
    help="The file; - is stdout.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(_FORMATS),
    show_default="as the file is called, or csv",
    help="How rows are written.",
)
@click.option("--live", is_flag=True, help="Ask the sites, not your copy.")
@click.option(
    "--partial", is_flag=True, help="With --live: write the file though not all could be read."
)
@click.option("--gone", is_flag=True, help="Write rows, too, that the site lists no more.")
@click.option(
    "--raw", is_flag=True, help="In CSV: leave texts as they are, though spreadsheets may run them."
)
@click.option("--bom", is_flag=True, help="In CSV: begin with the mark by which Excel knows UTF-8.")
@click.option(
    "--wide-amounts", is_flag=True, help="In Parquet: amounts of up to 76 digits, not 38."
)
@database_option("--from")
@utc_option
@accounts_option
def command(
    resource: str,
    *,
    since: datetime | None,
    until: datetime | None,
    names: tuple[str, ...],
    out: str | None,
    format_: str | None,
    live: bool,
    partial: bool,
    gone: bool,
    raw: bool,
    bom: bool,
    wide_amounts: bool,
    utc: bool,
    database: str | None,
    accounts_file: str | None,
) -> int:
    """Write clicks, orders or payouts to a file.

    Clicks are links, and orders exchanges, as sites call them. They are those of your copy, which
    'ppapi sync' makes, in order of time; or, with --live, of the sites. Amounts are exact in every
    format. A file is put in its place when it is whole.

    In CSV a ' stands before what a spreadsheet would run as a formula; --raw leaves it out.
    The columns are in docs/command-line/export.md.

    \b
    Examples:
      ppapi export exchanges --since 30d --out orders.csv
      ppapi export payouts one two --out payouts.parquet
      ppapi export links --since 2026-11-01 --format jsonl | gzip > clicks.gz
      ppapi export exchanges --live --since 2d --out today.csv

    Exit codes: 0 done; 1 failed; 3 not all of the sites' rows could be read; 5 keys refused.
    """
    from ppapi_async.cli.exporting.writing import Export

    _check(live=live, partial=partial, gone=gone)
    check_period(since, until)
    path, format_ = _place(resource, out, format_)
    if format_ == "parquet":
        _check_parquet(is_seen=path is None and is_terminal())
    export = Export(
        resource=resource,
        bounds=(since, until),
        format=format_,
        path=path,
        utc=utc,
        raw=raw,
        bom=bom,
        wide_amounts=wide_amounts,
        partial=partial,
    )
    if live:
        return _run_live(export, names, accounts_file)
    from ppapi_async.cli.database import database_url
    from ppapi_async.cli.exporting.writing import export_mirror
    from ppapi_async.cli.running import run

    url = database_url(database)
    return run(lambda: export_mirror(export, url, names, with_gone=gone))


def _run_live(export: Export, names: tuple[str, ...], accounts_file: str | None) -> int:
    from ppapi_async.cli.accounts import choose, load
    from ppapi_async.cli.exporting.writing import export_live
    from ppapi_async.cli.running import run

    chosen = choose(load(accounts_file), names)
    return run(lambda: export_live(export, chosen))


def _check(*, live: bool, partial: bool, gone: bool) -> None:
    if partial and not live:
        raise click.UsageError("--partial: goes with --live")
    if gone and live:
        raise click.UsageError("--gone: sites do not list what is gone; your copy has it")


def _check_parquet(*, is_seen: bool) -> None:
    if is_seen:
        raise click.UsageError("--format parquet: is nothing to look at; name a file with --out")
    if find_spec("pyarrow") is None:
        raise CommandFailed(
            "--format parquet needs pyarrow: pip install 'ppapi-async[parquet]'", Exit.USAGE
        )


def _place(resource: str, out: str | None, format_: str | None) -> tuple[Path | None, str]:
    """Return where rows go, None for stdout, and in which format."""
    if out is None and is_terminal():
        name = f"{resource}-{datetime.now():%Y%m%d-%H%M%S}.{format_ or 'csv'}"  # noqa: DTZ005 - of the user's own clock
        note(f"writing to {name}; --out names another file, --out - shows the rows here")
        return Path(name), format_ or "csv"
    if out in (None, "-"):
        return None, format_ or "csv"
    path = Path(out).expanduser()
    guessed = format_ or _ENDINGS.get(path.suffix.lower())
    if guessed is None:
        raise click.UsageError(
            f"--out {plain(out)!r}: its name tells no format; pass --format csv, jsonl or parquet"
        )
    return path, guessed
