"""The command `report`: the mirror as one page, in a file."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

import click

from ppapi_async.cli.accounts import check_known, names_in_file
from ppapi_async.cli.database import database_url
from ppapi_async.cli.options import (
    accounts_option,
    check_period,
    database_option,
    names_option,
    since_option,
    until_option,
    zone,
)
from ppapi_async.cli.output import note, plain, say
from ppapi_async.cli.whole_file import whole_file

if TYPE_CHECKING:
    from ppapi_async.cli.report.data import ReportData
    from ppapi_async.cli.report.words import Language
    from ppapi_async.mirror import ReadOnlyMirror

__all__ = ["command", "gather_report", "page_options"]

F = TypeVar("F", bound=Callable[..., object])
_LANGUAGES = ("en", "ru")


def page_options(function: F) -> F:
    """Add the options of the page, which `report` and `serve` have in common."""
    for option in (
        click.option(
            "--timezone",
            "in_zone",
            type=zone,
            metavar="ZONE",
            show_default="that of most accounts",
            help="Whose days and hours the page has, such as Europe/Moscow.",
        ),
        click.option(
            "--lang",
            "language",
            type=click.Choice(_LANGUAGES),
            default=_LANGUAGES[0],
            show_default=True,
            help="The language of the page.",
        ),
    ):
        function = option(function)
    return function


@click.command("report", short_help="Draw a report of the copy as one page.")
@since_option("90d")
@until_option()
@names_option
@click.option(
    "--out",
    default="report.html",
    show_default=True,
    metavar="FILE",
    help="The file; - is stdout.",
)
@page_options
@click.option("--open", "is_opened", is_flag=True, help="Show it in the browser.")
@database_option("--from")
@accounts_option
def command(
    *,
    since: datetime | None,
    until: datetime | None,
    names: Sequence[str],
    out: str,
    language: Language,
    in_zone: ZoneInfo | None,
    is_opened: bool,
    database: str | None,
    accounts_file: str | None,
) -> None:
    """Draw a report of the copy as one page.

    It says what needs a hand, and shows rewards, clicks, payouts and coverage.

    The page is one file that needs no network and runs no script. It is made of what 'ppapi sync'
    has copied, whole or not at all. Accounts that the accounts file has no longer are named, and
    nothing of them is a finding.

    \b
    Examples:
      ppapi report
      ppapi report --since 2026-11-01 --until 2026-12-01 --out november.html
      ppapi report one two --lang ru --open

    Exit codes: 0 drawn; 1 the copy cannot be read, or the file not written; 2 called wrongly.
    """
    from ppapi_async.cli.report.page import ReportPage
    from ppapi_async.cli.running import run
    from ppapi_async.mirror import ReadOnlyMirror

    end = until or datetime.now(UTC)
    check_period(since, end)
    followed = names_in_file(accounts_file)
    if out == "-" and is_opened:
        raise click.UsageError("--open needs a file")

    async def read() -> ReportData:
        async with ReadOnlyMirror(database_url(database)) as mirror:
            return await gather_report(mirror, since, end, names, in_zone, followed)

    data = run(read)
    page = ReportPage(language).draw(data).encode()
    findings = len(data.findings) + data.more_findings
    told = f"{findings:,} {'finding' if findings == 1 else 'findings'}"
    if out == "-":
        sys.stdout.buffer.write(page)
        note(f"a report with {told}")
        return
    path = Path(out).expanduser()
    with whole_file(path) as file:
        file.write(page)
    say(f"{plain(str(path))}: {told}")
    if is_opened:
        webbrowser.open(path.absolute().as_uri())


async def gather_report(
    mirror: ReadOnlyMirror,
    start: datetime | None,
    end: datetime,
    names: Sequence[str],
    in_zone: ZoneInfo | None,
    followed: Collection[str] | None,
) -> ReportData:
    """Gather a report from a mirror.

    Args:
        mirror: the database, opened.
        start: None: from the beginning.
        end: exclusive.
        names: of the accounts; none: all.
        in_zone: None: that of most accounts.
        followed: the names in the accounts file; None: that is not known.

    Raises:
        click.UsageError: there is no account of a name; a similar one is suggested.
        StateError: the database could not be read.
    """
    from ppapi_async.cli.report.gather import gather

    async with mirror.snapshot() as snapshot:
        known = snapshot.accounts
        counts = "SELECT timezone, count(*) FROM accounts GROUP BY timezone ORDER BY 2 DESC, 1"
        zones = [name async for piece in snapshot.read(counts) for name, _ in piece]
    check_known(known, names, place=" in the copy")
    return await gather(
        mirror,
        start=start,
        end=end,
        zone=in_zone or ZoneInfo(str(zones[0]) if zones else "UTC"),
        accounts=frozenset(names) if names else None,
        followed=followed,
        now=datetime.now(UTC),
    )
