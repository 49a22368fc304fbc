"""The face of the library for one account."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from types import TracebackType
from typing import Self, TypeVar

import aiohttp

from ppapi_async.account import Account, Dialect, Secret, as_secret
from ppapi_async.arguments import (
    Instant,
    account_of,
    address,
    amount,
    comes_from,
    instant,
    was_ordered_from,
)
from ppapi_async.codec import data_steps
from ppapi_async.errors import PayoutOutcomeUnknown, PPAPIError
from ppapi_async.models import (
    Exchange,
    Info,
    Json,
    Link,
    Payout,
    PayoutAttempt,
    PayoutReceipt,
    PayoutSearch,
    Progress,
    Row,
)
from ppapi_async.payouts import WRONG_ZONE, check_balance, judge, read_info, request_payout
from ppapi_async.state import Checkpoint
from ppapi_async.streams import Options, Request, Stream
from ppapi_async.transport import (
    Duration,
    Hooks,
    RequestFacts,
    Retry,
    Transport,
    seconds_of,
)
from ppapi_async.version import __version__
from ppapi_async.windows import Evidence

__all__ = ["Instant", "Session"]

RowT = TypeVar("RowT", bound=Row)
_CONNECT = 15.0
_SMALLEST_LIMIT = 64 * 1024


class Session:
    """A conversation with one site for one account.

    Reads are repeated after passing failures; payouts never are. A session may be used by many
    tasks at once. Entering it opens the connections, leaving it closes them.

    Args:
        account: an `Account`, or its url together with `api_key`.
        api_key: the key, where `account` is a url.
        http: an aiohttp session whose connector is to be shared. Only the connector is used:
            its cookies, headers, proxies, tracing and middlewares are not, and it is not closed.
        timeout: for one whole HTTP request, in seconds or as timedelta. Sites look countries up
            for up to 30 seconds.
        retry: how reads are repeated.
        page_size: rows to ask for in one answer, 1 to 500.
        largest_answer: bytes of an answer, on the wire and unpacked, before it is refused.
        on_request: called with `RequestFacts` after each HTTP request, for metrics.
        hooks: clock, sleep and chance, for tests.

    Raises:
        ValueError: an argument is not usable.

    >>> async with Session("https://site.example", "k3y") as session:     # doctest: +SKIP
    ...     async for exchange in session.iter_exchanges():
    ...         print(exchange.id, exchange.partner_reward)
    """

    def __init__(
        self,
        account: Account | str,
        api_key: str | Secret | None = None,
        *,
        http: aiohttp.ClientSession | None = None,
        timeout: Duration = 60,
        retry: Retry | None = None,
        page_size: int = 500,
        largest_answer: int = 32 * 1024 * 1024,
        on_request: Callable[[RequestFacts], object] | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        api_key = None if api_key is None else as_secret(api_key)
        problem: ValueError | TypeError | None = None
        try:
            self.account = account_of(account, api_key)
        except (ValueError, TypeError) as error:
            problem = error.with_traceback(None)
        if problem is not None:
            account = ""  # it may be a link with the key
            raise problem
        if isinstance(page_size, bool) or not 1 <= page_size <= 500:
            raise ValueError("page_size: pass 1 to 500 rows; servers send no more")
        if largest_answer < _SMALLEST_LIMIT:
            raise ValueError(f"largest_answer: pass at least {_SMALLEST_LIMIT} bytes")
        self.on_request = on_request
        self._borrowed = http
        self._timeout = seconds_of(timeout, "timeout")
        self._retry = retry or Retry()
        self._page_size = page_size
        self._largest_answer = largest_answer
        self._hooks = hooks or Hooks()
        self._evidence: dict[str, Evidence] = {}
        self._transport: Transport | None = None

    def __repr__(self) -> str:
        return f"<Session {self.account.name!r} {'open' if self._transport else 'closed'}>"

    async def __aenter__(self) -> Self:
        if self._transport is not None:
            raise RuntimeError("the session is open already")
        self._transport = Transport(
            account=self.account,
            http=self._open_http(),
            timeout=self._timeout,
            retry=self._retry,
            largest_answer=self._largest_answer,
            hooks=self._hooks,
            on_request=self._tell,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that the session opened; requests under way fail."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.http.close()

    def _open_http(self) -> aiohttp.ClientSession:
        """Open an aiohttp session of our own, be it on a borrowed connector.

        Of our own even then: only so are cookies not kept (PHP serves the requests of one cookie
        one after the other), no proxy of the environment is used, and no tracing, middleware or
        default of the lender sees the key or sends a request twice.
        """
        borrowed = self._borrowed
        if borrowed is not None and (borrowed.closed or borrowed.connector is None):
            raise ValueError("http: the aiohttp session is closed")
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0) if borrowed is None else borrowed.connector,
            connector_owner=borrowed is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Well below the whole time-out, so that it is known when nothing was sent.
            timeout=aiohttp.ClientTimeout(total=None, connect=min(_CONNECT, self._timeout / 2)),
            headers={"User-Agent": f"ppapi_async/{__version__}"},
            auto_decompress=False,
            trust_env=False,
        )

    def _tell(self, facts: RequestFacts) -> None:
        if self.on_request is not None:
            self.on_request(facts)

    @property
    def _line(self) -> Transport:
        if self._transport is None:
            raise RuntimeError("the session is not open; use it inside `async with Session(…)`")
        return self._transport

    @property
    def dialect(self) -> Dialect | None:
        """The dialect that the site speaks, None until an answer has told."""
        return self.account.dialect if self._transport is None else self._transport.dialect

    # Reading

    async def call(self, method: str, **params: str | int) -> Json:
        """Ask once and return the answer's `data` as JSON, numbers with a fraction as Decimal.

        For methods and parameters that this library does not know. Times go out and come back by
        the site's own clock. One request, never repeated.

        Raises:
            PPAPIError: what the answer came to.
            ValueError: the method is add_payout, which has a call of its own.
        """
        if method == "add_payout":
            raise ValueError("method: use Session.add_payout, which never pays twice")
        line = self._line
        reader = line.reader(method)
        data = await line.once(method, params, functools.partial(data_steps, reader=reader))
        if isinstance(data, PPAPIError):
            raise data
        return data

    async def get_info(self) -> Info:
        """Return balance, minimum and payout methods.

        Raises:
            PPAPIError: what the answer came to in the end.
        """
        return await read_info(self._line)

    async def get_links(
        self, start: Instant = None, end: Instant = None, *, ip: str | None = None
    ) -> list[Link]:
        """Return all clicks of a range, oldest first; see `iter_links`."""
        return [row async for row in self.iter_links(start, end, ip=ip)]

    async def get_exchanges(
        self,
        start: Instant = None,
        end: Instant = None,
        *,
        ip: str | None = None,
        status_history: bool = False,
    ) -> list[Exchange]:
        """Return all exchanges of a range, oldest first; see `iter_exchanges`."""
        stream = self.iter_exchanges(start, end, ip=ip, status_history=status_history)
        return [row async for row in stream]

    async def get_payouts(self, start: Instant = None, end: Instant = None) -> list[Payout]:
        """Return all payouts of a range, oldest first; see `iter_payouts`."""
        return [row async for row in self.iter_payouts(start, end)]

    def iter_links(
        self,
        start: Instant = None,
        end: Instant = None,
        *,
        ip: str | None = None,
        window: timedelta | None = None,
        concurrency: int = 1,
        newest_first: bool = False,
        checkpoint: Checkpoint | None = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> Stream[Link]:
        """Iterate over the clicks of `start <= time < end`; arguments as in `iter_exchanges`.

        Sites delete clicks after a while (classic ones after 60 days unless told otherwise).
        """
        options = Options(
            window=window,
            concurrency=concurrency,
            newest_first=newest_first,
            checkpoint=checkpoint,
            progress=progress,
        )
        wanted = address(ip)
        matches = None if wanted is None else functools.partial(comes_from, wanted)
        return self._stream("get_links", Link, start, end, {}, options, wanted, matches)

    def iter_exchanges(
        self,
        start: Instant = None,
        end: Instant = None,
        *,
        ip: str | None = None,
        status_history: bool = False,
        window: timedelta | None = None,
        concurrency: int = 1,
        newest_first: bool = False,
        checkpoint: Checkpoint | None = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> Stream[Exchange]:
        """Iterate over the exchanges of `start <= time < end`, each once, proven complete.

        Args:
            start: aware datetime or unix seconds (true UTC); None from the beginning.
            end: the same; None up to the present, without an end bound being sent.
            ip: only those of this address.
            status_history: ask for `statuses` (2.7 sites with the log module).
            window: a fixed width of the windows; None adapts to what they bring.
            concurrency: windows that are read at once; memory grows with it.
            newest_first: from new to old; what comes or moves meanwhile comes last.
            checkpoint: where to keep the position, so that a later stream goes on where this
                one was left.
            progress: called after every window.

        Raises:
            ValueError: an argument is not usable.
            PPAPIError: while iterating, what the site answered in the end.
            IncompleteError: while iterating, where rows could not be proven complete.
        """
        options = Options(
            window=window,
            concurrency=concurrency,
            newest_first=newest_first,
            checkpoint=checkpoint,
            progress=progress,
        )
        wanted = address(ip)
        matches = None if wanted is None else functools.partial(was_ordered_from, wanted)
        params: dict[str, str | int] = {"status_history": 1} if status_history else {}
        return self._stream("get_exchanges", Exchange, start, end, params, options, wanted, matches)

    def iter_payouts(
        self,
        start: Instant = None,
        end: Instant = None,
        *,
        window: timedelta | None = None,
        concurrency: int = 1,
        newest_first: bool = False,
        checkpoint: Checkpoint | None = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> Stream[Payout]:
        """Iterate over the payouts requested in `start <= time < end`; see `iter_exchanges`."""
        options = Options(
            window=window,
            concurrency=concurrency,
            newest_first=newest_first,
            checkpoint=checkpoint,
            progress=progress,
        )
        return self._stream("get_payouts", Payout, start, end, {}, options, None, None)

    def _stream(
        self,
        method: str,
        record: type[RowT],
        start: Instant,
        end: Instant,
        params: dict[str, str | int],
        options: Options,
        ip: str | None,
        matches: Callable[[RowT], bool] | None,
    ) -> Stream[RowT]:
        first, last = instant(start, "start"), instant(end, "end")
        if first is not None and last is not None and first >= last:
            raise ValueError("end: lies not after start; the range is start <= time < end")
        request = Request(
            method=method,
            record=record,
            start=first,
            end=last,
            params=params,
            ip=ip,
            matches=matches,
        )
        evidence = self._evidence.setdefault(f"{method}/{ip or ''}", Evidence())
        return Stream(self._line, evidence, request, self._page_size, options)

    # Payouts

    async def add_payout(
        self,
        method_id: int,
        account: str,
        *,
        at_least: Decimal | int | None = None,
        at_most: Decimal | int | None = None,
    ) -> PayoutReceipt:
        """Request a payout of the whole balance; the API knows no other.

        At most one request reaches the site, whatever fails. Do not repeat the call after
        `PayoutOutcomeUnknown` (or a cancellation): ask `find_payout` first.

        Args:
            method_id: a `PayoutMethod.id` of `get_info`.
            account: the wallet to pay to.
            at_least: send nothing if the balance is lower (in the site's base currency).
            at_most: send nothing if the balance is higher.

        Raises:
            PayoutRejected: the site refused; nothing was ordered.
            ApiError: the site refused for a reason of its own: key, module, method.
            PayoutNotSent: certainly nothing was sent; calling again is safe.
            PayoutOutcomeUnknown: it may have been carried out.
            ValueError: an argument is not usable.
        """
        if type(method_id) is not int or method_id <= 0:
            raise ValueError("method_id: pass the id of a payout method of get_info")
        if not account.strip():
            raise ValueError("account: pass the wallet or card to pay to")
        least, most = amount(at_least, "at_least"), amount(at_most, "at_most")
        if least is not None and most is not None and least > most:
            raise ValueError("at_most: is less than at_least")
        if least is not None or most is not None:
            await check_balance(self._line, least, most)
        return await request_payout(self._line, method_id, account.strip())

    async def find_payout(self, attempt: PayoutAttempt | PayoutOutcomeUnknown) -> PayoutSearch:
        """Look in get_payouts for what became of an attempt.

        Payouts fit that have its method and wallet and were requested within ten minutes of it.
        Where one fits but for a time that a wrong time zone would explain, the outcome is
        ambiguous, not absent.

        Raises:
            PPAPIError: the payouts could not be read.
            ValueError: the error holds no attempt.
        """
        if isinstance(attempt, PayoutOutcomeUnknown):
            if attempt.attempt is None:
                raise ValueError("attempt: the error holds none")
            attempt = attempt.attempt
        return judge(attempt, await self.get_payouts(attempt.sent_at - WRONG_ZONE))
