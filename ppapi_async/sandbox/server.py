"""The sandbox: a partner API on a local port."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from email.utils import formatdate
from ipaddress import ip_address
from types import EllipsisType, TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from attrs import define, evolve
from multidict import CIMultiDict

from ppapi_async.account import Account, Dialect

from .answers import Site
from .books import Books
from .faults import Cut, Fault, FaultQueue, Outcome, PlannedFault, strike
from .manners import ENDPOINTS, Bounds, Call, Cap, Manner, RowFilter, SentAnswer, ServerOrder, Ties
from .records import Partner, make_key
from .shelf import DAY, WallClock
from .traffic import Rates

_MONTHS = 90 * DAY  # how far back made-up books go
_SEEN = 10_000  # requests remembered
_CAPS = {Dialect.DELEGATING: 500, Dialect.USER_API: 500}
_KEY_LENGTHS = {Dialect.DELEGATING: 32, Dialect.USER_API: 32}
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - only compared
_SECRET_HEADERS = frozenset({"api-key", "api-login"})
# SO_LINGER on with zero seconds: closing sends RST instead of FIN.
_NO_LINGER = struct.pack("ii", 1, 0)


@define(kw_only=True)
class SeenRequest:
    """A request that arrived, without its key. `status` stays None if no answer was sent.

    `method` is the name that the vendor's page uses, "" if the request was not for the API;
    `connection` is the client's port, the same for requests on one connection. `arrived` is a unix
    time on the sandbox's clock. `fault` is a `Fault`, or the name of a function of yours. When it
    is over, `seconds` is how long the answer took, and `rows` how many were sent, None where the
    answer lists none.
    """

    arrived: float
    method: str
    verb: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    headers: dict[str, str]
    connection: int
    fault: str | None = None
    status: int | None = None
    rows: int | None = None
    seconds: float | None = None


class Sandbox:
    """A local server that speaks one dialect over seeded books.

    ``async with Sandbox(Dialect.CLASSIC) as sandbox: ...  # sandbox.url, sandbox.api_key``
    """

    def __init__(
        self,
        dialect: Dialect = Dialect.CLASSIC,
        *,
        books: Books | None = None,
        others: Sequence[Books] = (),
        rows: int = 1000,
        seed: int = 1,
        api_key: str | None = None,
        timezone: str = "UTC",
        cap: Cap | EllipsisType = ...,
        default_limit: int = 100,
        honours_limit: bool = True,
        honours_offset: bool = True,
        honours_filter: bool = True,
        ties: Ties = "shuffled",
        order: ServerOrder = "newest first",
        bounds: Bounds = "inclusive",
        own_keys: bool = False,
        row_filter: RowFilter | None = None,
        answers_501: bool = True,
        language: str = "en",
        live: bool = False,
        rates: Rates | None = None,
        pace: float | None = None,
        on_request: Callable[[SeenRequest], object] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        host: str = "127.0.0.1",
        port: int = 0,
        hosts: Iterable[str] = (),
        endpoint: str | None = None,
    ) -> None:
        """Prepare a sandbox; nothing listens until `start`.

        Without `books`, `rows` orders of the last 90 days are made up from `seed`, with `rates`.
        `others` are further partners' books on the same site. `api_key` replaces the first
        partner's key, which is random for made-up books. `cap` is what the dialect usually has
        unless given: 500 rows on 2.7, None (no cap) on clones; classic has none whatever is given.
        Several caps take turns, answer by answer; the attribute can be set while it runs.
        Rows of one second come in another order for each limit and offset, as from a real database;
        `ties` may be "random" (anew for each answer), "rotated" by the offset, or "by id", too.
        `order` and `bounds` are those of copies that do otherwise than the real servers, `own_keys`
        adds keys of the site's own to every row, and `row_filter` may do anything to a row of a
        method before it goes out. `answers_501` is whether an unknown method of a
        classic site is 501, or as on old ones an empty page.
        `live` lets the books go on with `clock`, and so does `pace`: so many orders an hour, day
        and night, and all else quickened with them (`Rates.at_pace`); what is made up of the past
        stays the same. `on_request` is told of each request when it is over. `endpoint` is the
        path, on user-api the path before the method. A request under a name that is not this
        machine's is refused, since a page in a browser may have its own name resolve to loopback;
        `hosts` are names to answer to all the same.
        """
        self.books = books or self._make_up(dialect, rows, seed, clock, rates)
        if api_key is not None:
            self.books.partner.api_key = api_key
        self._all_books = (self.books, *others)
        if pace is not None:
            for one in self._all_books:
                one.traffic.change_rates(one.traffic.rates.at_pace(pace), int(clock()))
        manner = Manner(
            dialect=dialect,
            endpoint=endpoint or ENDPOINTS[dialect],
            clock=WallClock(timezone),
            cap=_CAPS.get(dialect) if cap is ... else cap,
            default_limit=default_limit,
            honours_limit=honours_limit,
            honours_offset=honours_offset,
            honours_filter=honours_filter,
            ties=ties,
            order=order,
            bounds=bounds,
            own_keys=own_keys,
            row_filter=row_filter,
            answers_501=answers_501,
            language=language,
        )
        self._site = Site(manner, self._all_books)
        self.faults = FaultQueue()
        self.requests: deque[SeenRequest] = deque(maxlen=_SEEN)
        self.requests_count = 0
        self._arrival = asyncio.Event()
        self._live = live or pace is not None
        self._on_request = on_request
        self._clock = clock
        self._sleep = sleep
        self._address = (host, port)
        self._hosts = frozenset(name.lower() for name in (host, "localhost", *hosts))
        self._runner: web.ServerRunner | None = None

    def __repr__(self) -> str:
        state = self.url if self._runner else "not listening"
        return f"<Sandbox {self.dialect} {state} {self.books!r}>"

    @staticmethod
    def _make_up(
        dialect: Dialect, rows: int, seed: int, clock: Callable[[], float], rates: Rates | None
    ) -> Books:
        end = int(clock())
        partner = Partner(api_key=make_key(_KEY_LENGTHS.get(dialect, 35)))
        return Books.generate(seed, rows, end - _MONTHS, end, rates=rates, partner=partner)

    # --- what a client needs to know

    @property
    def timezone(self) -> str:
        """The site's zone: the `timezone` of an account on it."""
        return self._site.manner.clock.timezone

    @property
    def cap(self) -> Cap:
        """The most rows in an answer, None for all; several take turns. It can be set."""
        return self._site.manner.cap

    @cap.setter
    def cap(self, cap: Cap) -> None:
        self._site.manner = evolve(self._site.manner, cap=cap)

    @property
    def dialect(self) -> Dialect:
        """The dialect that is spoken."""
        return self._site.manner.dialect

    @property
    def url(self) -> str:
        """The site's address, without the endpoint's path.

        Raises:
            RuntimeError: The sandbox has not been started.
        """
        if self._runner is None:
            raise RuntimeError("the sandbox is not listening: use `async with`, or await start()")
        return f"http://{self._address[0]}:{self._address[1]}"

    @property
    def endpoint(self) -> str:
        """The path of the API."""
        return self._site.manner.endpoint

    @property
    def api_key(self) -> str:
        """The first partner's key."""
        return self.books.partner.api_key

    @property
    def api_login(self) -> str | None:
        """The first partner's login on user-api, None elsewhere."""
        return self.books.partner.api_login if self.dialect is Dialect.USER_API else None

    def account(self, name: str = "") -> Account:
        """Return an account of the first partner; its dialect is left to be recognised.

        Raises:
            RuntimeError: The sandbox has not been started.
        """
        return Account(
            self.url,
            self.api_key,
            api_login=self.api_login,
            name=name,
            timezone=self.timezone,
        )

    # --- life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen. Port 0 picks a free one, which stays the sandbox's if it is started again.

        Raises:
            OSError: The port is taken.
        """
        if self._runner is not None:
            return
        self._site.prepare()
        runner = web.ServerRunner(
            # Without aiohttp's own log of requests, which has the key in each line.
            web.Server(self._handle, access_log=None),
            shutdown_timeout=0.1,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, *self._address).start()
        except OSError:
            await runner.cleanup()
            raise
        self._address = (self._address[0], runner.addresses[0][1])
        self._runner = runner

    async def close(self) -> None:
        """Let go of hanging calls and stop listening. May be called again, and after it `start`."""
        self.faults.release()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def arrived(self, count: int) -> None:
        """Wait until `count` requests in all have arrived, answered or not."""
        while self.requests_count < count:
            await self._arrival.wait()

    # --- a request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.perf_counter()
        call = await _read(request)
        now = self._clock()
        seen = self._note(request, call, now)
        try:
            return await self._respond(request, call, seen)
        finally:
            seen.seconds = time.perf_counter() - began
            if self._on_request is not None:
                self._on_request(seen)

    async def _respond(
        self, request: web.BaseRequest, call: Call, seen: SeenRequest
    ) -> web.StreamResponse:
        if not self._is_meant(request):
            seen.method, seen.status = "", 403
            return web.Response(status=403, text=_NOT_MEANT)
        planned = self.faults.take(seen.method, call)
        if planned is None:
            outcome: Outcome = self._answer(call, seen.arrived)
        else:
            seen.fault = planned.name
            outcome = await self._strike(planned, call, seen.arrived)
        if isinstance(outcome, Cut):
            return _cut(request, outcome)
        seen.status, seen.rows = outcome.status, outcome.rows
        # The clock's, where aiohttp would send the machine's.
        date = formatdate(seen.arrived, usegmt=True)
        headers = CIMultiDict({"Date": date} | dict(outcome.headers))
        for cookie in outcome.cookies:
            headers.add("Set-Cookie", cookie)
        return web.Response(status=outcome.status, headers=headers, body=outcome.body)

    def _is_meant(self, request: web.BaseRequest) -> bool:
        """Tell whether a request was sent to this machine, by a name of its own or by its address.

        A browser sends the name in the address bar, so one that only resolves here is found out.
        """
        named = request.headers.getall("Host", [])
        try:
            name = urlsplit(f"//{named[0]}").hostname if len(named) == 1 else None
        except ValueError:
            return False
        if name is None or "@" in named[0] or name in self._hosts:
            return name in self._hosts and "@" not in named[0]
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self._address[0] in _EVERYWHERE

    def _answer(self, call: Call, now: float) -> SentAnswer:
        if self._live:
            for books in self._all_books:
                books.advance(now)
        return self._site.answer(call, int(now))

    async def _strike(self, planned: PlannedFault, call: Call, now: float) -> Outcome:
        def answer(call: Call) -> SentAnswer:
            return self._answer(call, now)

        outcome = strike(planned, call, answer=answer, refuse=self._site.refuse)
        if planned.fault is Fault.HANG:
            await self.faults.hang()
        elif planned.fault is Fault.SLOW:
            await self._sleep(planned.seconds)
        return outcome

    def _note(self, request: web.BaseRequest, call: Call, arrived: float) -> SeenRequest:
        seen = SeenRequest(
            arrived=arrived,
            method=self._site.manner.method_of(call) or "",
            verb=call.http_method,
            path=call.path,
            query={name: value for name, value in call.query.items() if name != "api_key"},
            form={name: value for name, value in call.form.items() if name != "api_key"},
            headers={n: value for n, value in call.headers.items() if n not in _SECRET_HEADERS},
            connection=_client_port(request),
        )
        self.requests.append(seen)
        self.requests_count += 1
        self._arrival.set()
        self._arrival = asyncio.Event()
        return seen


_NOT_MEANT = (
    "This sandbox answers only under 127.0.0.1, localhost or [::1], whatever the port:"
    " another name in the Host header may be a page's that reads what is on your machine."
    " Pass the name in Sandbox(hosts=[…]) if it is yours.\n"
)


async def _read(request: web.BaseRequest) -> Call:
    return Call(
        request.method,
        request.path,
        # Of a parameter that comes twice, PHP keeps the last.
        query=dict(request.query.items()),
        form=await _read_form(request),
        headers=request.headers,
        target=request.raw_path,
        ip=request.remote or "",
    )


async def _read_form(request: web.BaseRequest) -> dict[str, str]:
    """Read the form; a body that is none has no fields, as PHP sees it."""
    if request.content_type == "application/x-www-form-urlencoded":
        body = (await request.read()).decode("utf-8", "replace")
        return dict(parse_qsl(body, keep_blank_values=True))
    try:
        fields = await request.post()
    except (ValueError, LookupError):
        return {}
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def _client_port(request: web.BaseRequest) -> int:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return int(peer[1]) if peer else 0


def _cut(request: web.BaseRequest, cut: Cut) -> web.Response:
    """End the connection; aiohttp then drops the response that this returns, unsent."""
    transport = request.transport
    if transport is not None:
        transport.write(cut.sent)
        if cut.reset:
            connection: socket.socket = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            transport.abort()
        else:
            transport.close()
    return web.Response()
