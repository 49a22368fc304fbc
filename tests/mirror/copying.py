"""A site copied into a database in the plainest way, so that what is asked of it can be tried."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from attrs import define

from ppapi_async import Account, Dialect, Exchange, Hooks, Link, Payout, Session
from ppapi_async.mirror.store import MirrorStore, Place, Reading
from ppapi_async.sandbox import Books, Sandbox
from ppapi_async.streaming.stream import Stream
from ppapi_async.watching.resources import ResourceName

Row = Link | Exchange | Payout
BEGUN = 1_780_000_000
DAY = 86_400


@define
class Clock:
    """A clock that stands until it is moved: nothing here waits."""

    now: float = BEGUN

    def __call__(self) -> float:
        return self.now

    @property
    def instant(self) -> datetime:
        """The present."""
        return datetime.fromtimestamp(self.now, UTC)

    def hooks(self) -> Hooks:
        """Return hooks for sessions, which do not wait either."""
        return Hooks(clock=self, sleep=_at_once, chance=lambda: 0.5)


async def _at_once(seconds: float) -> None:
    await asyncio.sleep(0)


async def copy(
    store: MirrorStore,
    session: Session,
    resource: ResourceName = "exchanges",
    *,
    at: datetime,
    backfill: bool = True,
) -> Place:
    """Read a site from the beginning to the present into the database, as a sync does."""
    account = session.account
    place = await store.place(await store.account(account), account.name, resource)
    stream: Stream[Link] | Stream[Exchange] | Stream[Payout]
    if resource == "links":
        stream = session.iter_links()
    elif resource == "exchanges":
        stream = session.iter_exchanges()
    else:
        stream = session.iter_payouts()
    records: list[Row] = []
    async with aclosing(stream.read()) as windows:
        async for window in windows:
            records += window.records
    await commit(store, place, records, at, backfill=backfill)
    await store.end_pass(place, at, "{}", believe=True, first=None)
    return place


async def commit(
    store: MirrorStore,
    place: Place,
    records: Sequence[Row],
    at: datetime,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    backfill: bool = False,
) -> None:
    """Write what was read of a range."""
    reading = Reading(
        start=start,
        end=end,
        records=records,
        unreadable=(),
        proven_at=at,
        backfill=backfill,
        document="{}",
    )
    await store.commit(place, reading)


def site_of(
    clock: Clock, dialect: Dialect = Dialect.CLASSIC, *, rows: int = 40, days: int = 90
) -> Sandbox:
    """Return a site with orders evenly spread over so many days, the last one a day ago."""
    until = BEGUN - DAY
    books = Books.uniform(rows, until - days * DAY, until)
    return Sandbox(dialect, books=books, clock=clock)


def session_at(site: Sandbox, clock: Clock, name: str = "one", key: str | None = None) -> Session:
    """Return a session with an account there."""
    return Session(Account(site.url, key or site.api_key, name=name), hooks=clock.hooks())
