"""What a watch of exchanges costs in a day: requests, rows and bytes, of the body, unpacked.

The client's own code polls the sandbox's own code, without a socket between them and in a time that
flies; orders come and go on as they would. `python -m bench.watching POLLS` prints what so many
polls cost, scaled to a day: so it measures other versions of the library, too.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

from attrs import define, field, fields
from multidict import CIMultiDict

from bench.measure import Line
from ppapi_async import Account, Dialect, Exchange, Hooks, MemoryState, Session
from ppapi_async.errors import PPAPIError
from ppapi_async.protocol import Answer
from ppapi_async.protocol.dialects import HttpRequest
from ppapi_async.sandbox import Books, Rates, Sandbox
from ppapi_async.sandbox.manners import Call
from ppapi_async.session import connection_of
from ppapi_async.transport.client import Transport
from ppapi_async.transport.connection import Connection
from ppapi_async.watching.resources import row_poller

DAY, MONTH = 86_400, 30 * 86_400
NOW = 1_780_000_000.0
INTERVAL = 60.0
BEFORE: dict[tuple[str, int], tuple[float, float, float]] = {
    ("classic", 1_000): (2_856, 2_784_600, 1_003.0),
    ("classic", 20_000): (14_400, 27_838_440, 10_113.4),
    ("delegating", 1_000): (1_443, 4_479, 2.16),
    ("delegating", 20_000): (1_483, 74_393, 34.95),
}
"""Requests, rows and megabytes a day of the version before (d80b292), measured in the same way."""


@define
class Clock:
    """A time that flies."""

    now: float = NOW

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@define(eq=False, kw_only=True)
class PureTransport(Transport):
    """Hands requests to a sandbox, and counts what comes back."""

    site: Sandbox = field(repr=False)
    requests: int = 0
    rows: int = 0
    received: int = 0

    async def _send(
        self, request: HttpRequest, method: str, largest: int, **options: object
    ) -> Answer | PPAPIError:
        del method, largest, options
        url = urlsplit(request.url())
        form = dict(parse_qsl(request.body().decode()))
        query = dict(parse_qsl(url.query))
        call = Call(request.verb, url.path, query, form, request.headers())
        answer = self.site._answer(call, self.hooks.clock())  # noqa: SLF001 - past its socket
        self.requests += 1
        self.received += len(answer.body)
        self.rows += answer.body.count(b'"partner_reward"')
        return Answer(answer.status, CIMultiDict(answer.headers), answer.body)


@asynccontextmanager
async def pure_session(
    site: Sandbox, clock: Clock
) -> AsyncIterator[tuple[Connection, PureTransport]]:
    """Open a session on the first partner of a sandbox that does not listen."""
    site._site.prepare()  # noqa: SLF001 - the way past its socket
    partner, dialect = site.books.partner, site.dialect
    login = partner.api_login if dialect is Dialect.USER_API else None
    url = "http://127.0.0.1"
    account = Account(url, partner.api_key, api_login=login, dialect=dialect, name="site")
    hooks = Hooks(clock=lambda: clock.now, sleep=clock.sleep, chance=lambda: 0.5)
    async with Session(account, hooks=hooks) as session:
        connection = connection_of(session)
        parts = {
            one.alias: getattr(connection.transport, one.name)
            for one in fields(Transport)
            if one.init
        }
        pure = connection._transport = PureTransport(**parts, site=site)  # noqa: SLF001
        yield connection, pure


async def watch_for(
    dialect: Dialect, orders: int, polls: int
) -> tuple[float, float, float, int, int]:
    """Return requests, rows and megabytes a day; the changes of all polls, and what is known."""
    clock = Clock()
    rates = Rates(clicks_per_hour=0, orders_per_hour=orders / 720)
    begin = int(NOW) - MONTH - DAY
    books = Books.generate(1, orders, begin, int(NOW), clicks=0, rates=rates)
    site = Sandbox(dialect, books=books, clock=lambda: clock.now, live=True)
    async with pure_session(site, clock) as (connection, pure):
        options: dict[str, object] = {"lookback": timedelta(days=30)}
        if "interval" in inspect.signature(row_poller).parameters:
            options["interval"] = INTERVAL
        make: Callable[..., object] = row_poller
        poller = make(connection, "get_exchanges", Exchange, MemoryState(), **options)
        changes = await _poll(poller)  # the first one, which begins
        pure.requests = pure.rows = pure.received = 0
        for _ in range(polls):
            clock.now += INTERVAL
            changes += await _poll(poller)
    scale = DAY / INTERVAL / polls
    counted = (pure.requests * scale, pure.rows * scale, pure.received * scale / 1e6)
    tracker = getattr(poller, "_tracker")  # noqa: B009 - of any version
    return (*counted, changes, len(tracker.known))


async def _poll(poller: object) -> int:
    changes = 0
    poll: Callable[[], object] = getattr(poller, "poll")  # noqa: B009 - of any version
    async for delivery in poll():  # type: ignore[attr-defined]
        acknowledge: Callable[[], Awaitable[None]] = delivery.acknowledge
        await acknowledge()
        changes += 1
    return changes


def measure(*, polls: int = 1440) -> Iterator[Line]:
    """Watch sites of both kinds, small and large, for a day."""
    for (dialect, orders), before in BEFORE.items():
        requests, rows, megabytes, _, known = asyncio.run(
            watch_for(Dialect(dialect), orders, polls)
        )
        name = f"{dialect}, {orders:,} orders a month, a day"
        aim = before[2] / 50 if dialect == "classic" else None
        earlier = "before: {:,.0f}, {:,.0f}, {:,.1f} MB".format(*before)
        note = f"{requests:,.0f} requests, {rows:,.0f} rows, {known:,} rows known; {earlier}"
        yield Line("watching", name, megabytes, "MB", aim, note=note)


if __name__ == "__main__":
    for kind, number in BEFORE:
        shown = asyncio.run(watch_for(Dialect(kind), number, int(sys.argv[1])))
        print(json.dumps([kind, number, *shown]), flush=True)
