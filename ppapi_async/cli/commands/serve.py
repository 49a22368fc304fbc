"""The command `serve`: the report at a local address, always of the mirror as it is now."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click
from attrs import frozen

from ppapi_async.cli.accounts import names_in_file
from ppapi_async.cli.commands.report import gather_report, page_options
from ppapi_async.cli.database import database_url
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.options import (
    LAST_PORT,
    accounts_option,
    check_period,
    database_option,
    moment,
    names_option,
    since_option,
    until_option,
    whole_number,
)
from ppapi_async.cli.options import since as since_of
from ppapi_async.cli.output import note, plain, say

if TYPE_CHECKING:
    from ppapi_async.cli.report.data import ReportData
    from ppapi_async.cli.report.words import Language

__all__ = ["Wanted", "command"]

TOKEN_VARIABLE = "PPAPI_SERVE_TOKEN"  # noqa: S105 - the name of a variable
_SHORTEST_TOKEN, _LONGEST_TOKEN = 16, 1024


def _checked(read: Callable[[str], object]) -> Callable[[str], str]:
    """Return a `type` of an option: text that is read again and again, since the clock goes on."""

    def text(value: str) -> str:
        read(value)
        return value

    return text


@click.command("serve", short_help="Show the report on a local address, always as it is now.")
@since_option("90d", type=_checked(since_of))
@until_option(type=_checked(moment))
@names_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    help="The interface; others need a token.",
)
@click.option(
    "--port",
    type=whole_number(0, LAST_PORT),
    default=8600,
    show_default=True,
    metavar="N",
    help="The port; 0 takes any that is free.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    show_default=f"what {TOKEN_VARIABLE} holds",
    help="Holds the token that viewers are asked for.",
)
@click.option(
    "--name",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="A name by which browsers may reach it, as behind a proxy; may be given again.",
)
@page_options
@database_option("--from")
@accounts_option
def command(
    *,
    since: str,
    until: str | None,
    names: Sequence[str],
    host: str,
    port: int,
    token_file: str | None,
    hosts: Sequence[str],
    language: Language,
    in_zone: ZoneInfo | None,
    database: str | None,
    accounts_file: str | None,
) -> None:
    """Show the report on a local address, always as it is now.

    Ctrl-C ends it. The page in the browser follows the copy while 'ppapi sync --follow' fills it,
    and 30d goes on with the clock. Nothing can be changed through it. Other interfaces than this
    machine's own need --host and a token of at least 16 characters, which viewers are asked for;
    put a proxy with TLS in front, for the token and the report go over the wire as they are.

    \b
    Examples:
      ppapi serve
      ppapi serve --port 9000 --since 30d --lang ru
      ppapi serve --host 0.0.0.0 --token-file token.txt --name report.example

    Exit codes: 0 ended by Ctrl-C or SIGTERM; 1 the copy cannot be read, or the port not be had; 2
    called wrongly.
    """
    from ppapi_async.cli.report.live import is_loopback
    from ppapi_async.cli.running import run

    check_period(since_of(since), None if until is None else moment(until))
    token = _token(token_file)
    if token is None and not is_loopback(host):
        raise click.UsageError(
            f"--host {plain(host)}: others could read the report; pass --token-file FILE or set"
            f" {TOKEN_VARIABLE}"
        )
    wanted = Wanted(
        since=since,
        until=until,
        names=names,
        in_zone=in_zone,
        followed=names_in_file(accounts_file),
    )
    known = frozenset(name.lower() for name in (*hosts, host))
    try:
        run(lambda: _serve(wanted, host, port, token, known, database, language))
    except KeyboardInterrupt:
        note("ended")  # which is how it is meant to end


@frozen(kw_only=True)
class Wanted:
    """What the report is to be about, at whatever time it is made."""

    since: str
    until: str | None
    names: Sequence[str]
    in_zone: ZoneInfo | None
    followed: Collection[str] | None = None

    def period(self) -> tuple[datetime | None, datetime]:
        """Return from when to when it goes, now."""
        now = datetime.now(UTC)
        return since_of(self.since), now if self.until is None else moment(self.until)


async def _serve(
    wanted: Wanted,
    host: str,
    port: int,
    token: str | None,
    hosts: frozenset[str],
    database: str | None,
    language: Language,
) -> None:
    import asyncio

    from ppapi_async.cli.report.live import LiveReport, ReportSource, serving
    from ppapi_async.cli.report.page import ReportPage
    from ppapi_async.mirror import ReadOnlyMirror

    async with ReadOnlyMirror(database_url(database)) as mirror:

        async def gather() -> ReportData:
            start, end = wanted.period()
            return await gather_report(
                mirror, start, end, wanted.names, wanted.in_zone, wanted.followed
            )

        async def revision() -> str:
            query = "SELECT count(*), sum(version), max(updated_at) FROM positions"
            async with mirror.snapshot() as snapshot:
                rows = [row async for piece in snapshot.read(query) for row in piece]
            return " ".join(map(str, rows[0]))

        report = LiveReport(
            ReportSource(gather=gather, revision=revision),
            ReportPage(language, is_live=True),
            hosts,
            token,
        )
        await report.current()  # what is wrong is told now
        try:
            async with serving(report, host, port) as found:
                shown = f"[{host}]" if ":" in host else host
                say(f"http://{shown}:{found}/")
                note("Ctrl-C ends it")
                await asyncio.Event().wait()
        except OSError as error:
            where = f"{plain(host)}, port {port}"
            raise CommandFailed(f"{where}: {error.strerror or error}", Exit.FAILED) from None


def _token(path: str | None) -> str | None:
    """Return the token; None where there is none.

    Raises:
        click.UsageError: it is too short, or cannot be read.
    """
    from ppapi_async.files import read

    if path is None:
        token, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
    else:
        where = f"--token-file {plain(path)}"
        try:
            content, _ = read(Path(path).expanduser(), _LONGEST_TOKEN)
            token = content.decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise click.UsageError(f"{where}: {reason}") from None
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise click.UsageError(f"{where}: the token needs {_SHORTEST_TOKEN} characters at least")
    return token
