"""A site in the laboratory: true books behind a raw socket, and one fault before them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import Enum, auto
from typing import TypedDict, Unpack
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from attrs import define, evolve, field

from ppapi_async import Account, Dialect, Hooks, Retry, Session
from ppapi_async.sandbox import Books
from ppapi_async.sandbox.answers import Site
from ppapi_async.sandbox.manners import ENDPOINTS, Call, Manner, SentAnswer
from ppapi_async.sandbox.records import BookedPayout, Partner
from tests import virtual_time
from tests.names import Names
from tests.sites.raw import RawServer, Reply, Seen, http_bytes

__all__ = [
    "DAY", "KEY", "LOGIN", "NOW", "START", "Lab", "Line", "Spoil", "call_of",
]  # fmt: skip

DAY, HOUR = 86_400, 3_600
NOW = int(virtual_time.BEGINNING)
START = NOW - 30 * DAY
KEY = "Ab3+/=&%\u00fcf6hIj9kLmN0pQrStUv2xYz45678"
LOGIN = "l0gin/Of=the&partner"
HOST = "site.test"
Spoil = Callable[[Seen, SentAnswer], Reply]
"""Makes of a request and its true answer what is really sent."""


class Options(TypedDict, total=False):
    """Those of a `Session` that the tests set."""

    hooks: Hooks
    http: aiohttp.ClientSession
    largest_answer: int
    retry: Retry


class Line(Enum):
    """How far a request comes."""

    OPEN = auto()
    REFUSED = auto()
    UNKNOWN_HOST = auto()
    DNS_HANGS = auto()
    NOT_ACCEPTED = auto()


def call_of(seen: Seen) -> Call:
    """Return a request as the sandbox reads it."""
    parts = urlsplit(seen.target)
    query, form = dict(parse_qsl(parts.query)), dict(parse_qsl(seen.body.decode()))
    return Call(seen.verb, parts.path, query, form, seen.headers, seen.target)


@functools.cache
def _model() -> Books:
    partner = Partner(api_key=KEY, api_login=LOGIN)
    model = Books.generate(7, 40, START, NOW - DAY, clicks=30, partner=partner)
    order, _ = model.traffic.order(model.orders.next_id, NOW - HOUR, NOW - HOUR)
    model.orders.put(order)
    model.clicks.put(model.traffic.click(model.clicks.next_id, NOW - HOUR))
    partner.balance = "100"
    assert isinstance(model.request_payout(11, "TXearlier", NOW - HOUR), BookedPayout)
    return model


def books() -> Books:
    """Return the same fresh books each time; each kind of row has one of an hour ago."""
    model = _model()
    return Books(
        partner=Partner(api_key=KEY, api_login=LOGIN, balance="122.01"),
        clicks=model.clicks,
        orders=model.orders,
        payouts=model.payouts,
        traffic=model.traffic,
    )


@define(eq=False, kw_only=True)
class Lab(RawServer):
    """A site that answers truly unless a fault says otherwise."""

    dialect: Dialect = Dialect.DELEGATING
    books: Books = field(factory=books)
    spoil: Spoil | None = None
    payouts: int = field(init=False)
    """In the books at first."""
    struck: int = 0
    """Requests that met the fault."""
    line: Line = Line.OPEN
    _site: Site = field(init=False)

    def __attrs_post_init__(self) -> None:
        cap = 500 if self.dialect in (Dialect.DELEGATING, Dialect.USER_API) else None
        manner = Manner(dialect=self.dialect, endpoint=ENDPOINTS[self.dialect], cap=cap)
        self._site = Site(manner, [self.books])
        self.payouts = len(self.books.payouts)

    def reply(self, seen: Seen) -> Reply:
        """Return the truth, or what the fault makes of it; what is asked for is done first."""
        answer = self._site.answer(call_of(seen), int(virtual_time.now()))
        date = format_datetime(datetime.fromtimestamp(virtual_time.now(), UTC), usegmt=True)
        answer = evolve(answer, headers={"Date": date, **answer.headers})
        if self.spoil is None:
            return Reply(http_bytes(answer))
        self.struck += 1
        return self.spoil(seen, answer)

    async def set_line(self, line: Line) -> None:
        """Let requests come so far; connections that are open end with the line."""
        before, self.line = self.line, line
        if before in (Line.REFUSED, Line.NOT_ACCEPTED):
            await self.listen()
        if line is Line.REFUSED:
            self.refuse()
        elif line is Line.NOT_ACCEPTED:
            self.accept_nobody()
        elif line is not Line.OPEN:
            self.hang_up()

    def account(self, name: str = "site", *, tls: bool = False, host: str = HOST) -> Account:
        """Return the account of the books."""
        url = self.url.replace("127.0.0.1", host)
        return Account(
            url.replace("http:", "https:") if tls else url,
            KEY,
            api_login=LOGIN if self.dialect is Dialect.USER_API else None,
            name=name,
            dialect=self.dialect,
            allow_http=True,
        )

    def session(self, **options: Unpack[Options]) -> Session:
        """Return a session with the account, on connections of its own."""
        options.setdefault("hooks", virtual_time.hooks())
        return Session(self.account("127.0.0.1", host="127.0.0.1"), **options)

    def lend(self) -> aiohttp.ClientSession:
        """Return an aiohttp session whose connector finds the host of the account."""
        connector = aiohttp.TCPConnector(resolver=Names(self._find), use_dns_cache=False, limit=0)
        return aiohttp.ClientSession(connector=connector)

    async def _find(self, *_: object) -> int | None:
        if self.line is Line.DNS_HANGS:
            await asyncio.Event().wait()
        return None if self.line is Line.UNKNOWN_HOST else urlsplit(self.url).port
