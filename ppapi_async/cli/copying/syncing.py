"""What `sync` does: brings the copy up to date once, with progress, and says what it came to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from attrs import frozen

from ppapi_async.account import Account
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.failures import state_of, words_of
from ppapi_async.cli.output import Cell, note
from ppapi_async.cli.progress import WorkProgress, progress_of
from ppapi_async.fleet.fleet import FirstPoll
from ppapi_async.mirror import AccountReport, Mirror, MirrorProgress, SyncReport
from ppapi_async.transport.hooks import RequestFacts
from ppapi_async.watching.resources import ResourceName

__all__ = ["MirrorOptions", "catch_up", "row_of", "sync"]

_AT_ONCE = 100
"""Accounts."""


@frozen(kw_only=True)
class MirrorOptions:
    """Which copy of what."""

    url: str
    accounts: Sequence[Account]
    resources: Collection[ResourceName]
    since: datetime | None = None
    lookback: timedelta | None = None
    status_history: bool = False
    shared: str | None = None
    wait: timedelta | None = None

    def mirror(
        self,
        *,
        first: FirstPoll = "turn",
        on_request: Callable[[RequestFacts], object] | None = None,
    ) -> Mirror:
        """Return the mirror, which is not open yet.

        Raises:
            CommandFailed: an option is not usable, or what a database needs is not installed.
        """
        try:
            return Mirror(
                self.url,
                self.accounts,
                resources=self.resources,
                since=self.since,
                lookback=self.lookback,
                status_history=self.status_history,
                first=first,
                shared=self.shared,
                wait=self.wait,
                on_request=on_request,
            )
        except (ValueError, ImportError) as error:
            raise CommandFailed(str(error), Exit.USAGE) from None


async def sync(options: MirrorOptions) -> SyncReport:
    """Bring the copy up to date.

    Raises:
        StateError: the database cannot be opened, or is another process's.
    """
    async with options.mirror() as mirror:
        try:
            return await catch_up(mirror, options.accounts)
        except asyncio.CancelledError:
            note("what was read so far is kept: another run goes on from there")
            raise


async def catch_up(mirror: Mirror, accounts: Sequence[Account]) -> SyncReport:
    """Bring the accounts of an open mirror up to date, and show how far that is."""
    slots = asyncio.Semaphore(_AT_ONCE)
    with progress_of(len(accounts)) as progress:

        async def sync_one(account: Account) -> AccountReport:
            async with slots:
                found = await mirror.sync([account.name], progress=partial(_show, progress))
            report = found.accounts[account.name]
            progress.end(
                account.name,
                rows=report.rows,
                requests=report.requests,
                has_failed=report.error is not None,
            )
            return report

        reports = await asyncio.gather(*map(sync_one, accounts))
    return SyncReport(accounts={one.account: one for one in reports})


def _show(progress: WorkProgress, now: MirrorProgress) -> None:
    progress.update(
        now.account,
        rows=now.rows,
        requests=now.requests,
        fraction=now.fraction,
        what=now.resource,
    )


def row_of(report: AccountReport, *, never: str | None = None) -> Mapping[str, Cell]:
    """Return a row of the table; `never` stands for an account that was never copied whole."""
    return {
        "account": report.account,
        "rows": report.rows,
        "new": report.new,
        "changed": report.changed,
        "gone": report.gone,
        "returned": report.returned,
        "unreadable": report.unreadable,
        "requests": report.requests,
        "behind": never if report.behind is None else report.behind,
        "state": state_of(report.error),
        "problem": None if report.error is None else words_of(report.error),
        "unsupported": list(report.unsupported),
    }
