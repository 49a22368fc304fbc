"""The face of the library for one account."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from types import TracebackType
from typing import Self, TypeVar

import aiohttp

from ppapi_async._validation import (
    Duration,
    Instant,
    account_of,
    address,
    amount,
    check_call,
    check_callback,
    check_flag,
    check_kind,
    comes_from,
    duration,
    instant,
    seconds_of,
    wallet,
    was_ordered_from,
)
from ppapi_async.account import Account, Dialect, Secret, as_secret
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
    SearchOutcome,
)
from ppapi_async.payouts import (
    UNSETTLED,
    OnAttempt,
    judge,
    request_payout,
    search_begin,
)
from ppapi_async.protocol import decode_data
from ppapi_async.storage.paths import CheckpointOrPath, StateOrPath, state_of
from ppapi_async.streaming.stream import OnUnreadable, Options, Request, Stream
from ppapi_async.transport.connection import Connection, check_limits, check_options
from ppapi_async.transport.hooks import Hooks, RequestFacts
from ppapi_async.transport.retry import Retry
from ppapi_async.watching.resources import LISTS, info_poller, row_poller
from ppapi_async.watching.watch import OnError, Watch

__all__ = ["Instant", "Session", "connection_of"]

RowT = TypeVar("RowT", bound=Row)
RecordT = TypeVar("RecordT", Link, Exchange, Payout)
_LOOKBACK = LISTS["exchanges"].lookback
_LOOKBACK_OF_LINKS = LISTS["links"].lookback


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
        limiter: held while an HTTP request is under way: an `asyncio.Semaphore`, an
            `aiolimiter.AsyncLimiter`. Share it among sessions that are to be limited together.
        on_request: called with `RequestFacts` after each HTTP request, for metrics; may be
            `async def`: then it is called again when the last call has ended, and closing the
            session waits for it, some seconds at the most.
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
        limiter: AbstractAsyncContextManager[object] | None = None,
        on_request: Callable[[RequestFacts], object] | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        api_key = None if api_key is None else as_secret(api_key)
        problem: ValueError | TypeError | None = None
        try:
            checked = account_of(account, api_key)
        except (ValueError, TypeError) as error:
            problem = error.with_traceback(None)
        if problem is not None:
            account = ""  # it may be a link with the key
            raise problem
        check_limits(page_size, largest_answer)
        check_options(http=http, retry=retry, on_request=on_request, hooks=hooks)
        if not isinstance(limiter, AbstractAsyncContextManager | None):
            raise TypeError("limiter: pass what `async with` takes, such as an asyncio.Semaphore")
        self._connection = Connection(
            checked,
            http=http,
            timeout=seconds_of(timeout, "timeout"),
            retry=retry or Retry(),
            page_size=page_size,
            largest_answer=largest_answer,
            limiter=limiter,
            on_request=on_request,
            hooks=hooks or Hooks(),
        )

    def __repr__(self) -> str:
        state = "open" if self._connection.is_open else "closed"
        return f"<Session {self.account.name!r} {state}>"

    async def __aenter__(self) -> Self:
        self._connection.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that the session opened; requests under way fail.

        Streams that are being read fail, watches end. However often it is called or cancelled, all
        of it is closed in the end.
        """
        await self._connection.aclose()

    @property
    def account(self) -> Account:
        """Whose site it is."""
        return self._connection.account

    @property
    def dialect(self) -> Dialect | None:
        """The dialect that the site speaks, None until an answer has shown it."""
        return self._connection.dialect

    @property
    def on_request(self) -> Callable[[RequestFacts], object] | None:
        """What is called after each HTTP request; it may be changed at any time."""
        return self._connection.on_request

    @on_request.setter
    def on_request(self, hook: Callable[[RequestFacts], object] | None) -> None:
        self._connection.on_request = hook

    # Reading

    async def call(self, method: str, **params: str | int) -> Json:
        """Ask once and return the answer's `data` as JSON, numbers with a fraction as Decimal.

        For methods and parameters that this library does not know. Times go out and come back by
        the site's own clock. One request, never repeated.

        Raises:
            PPAPIError: what the answer came to.
            ValueError: the method is a payout's, which has a call of its own, or is no method; or a
                parameter cannot be sent.
        """
        check_call(method, params)
        transport = self._connection.transport
        reader = transport.reader(method)
        data = await transport.once(method, params, functools.partial(decode_data, reader=reader))
        if isinstance(data, PPAPIError):
            raise data
        return data

    async def get_info(self) -> Info:
        """Return balance, minimum and payout methods.

        Raises:
            PPAPIError: what the answer came to in the end.
        """
        return await self._connection.transport.get_info()

    async def get_links(
        self,
        start: Instant = None,
        end: Instant = None,
        *,
        ip: str | None = None,
        on_unreadable: OnUnreadable | None = None,
    ) -> list[Link]:
        """Return all clicks of a range, oldest first; see `iter_links`."""
        return await self.iter_links(start, end, ip=ip, on_unreadable=on_unreadable).collect()

    async def get_exchanges(
        self,
        start: Instant = None,
        end: Instant = None,
        *,
        ip: str | None = None,
        status_history: bool = False,
        on_unreadable: OnUnreadable | None = None,
    ) -> list[Exchange]:
        """Return all exchanges of a range, oldest first; see `iter_exchanges`."""
        stream = self.iter_exchanges(
            start, end, ip=ip, status_history=status_history, on_unreadable=on_unreadable
        )
        return await stream.collect()

    async def get_payouts(
        self,
        start: Instant = None,
        end: Instant = None,
        *,
        on_unreadable: OnUnreadable | None = None,
    ) -> list[Payout]:
        """Return all payouts of a range, oldest first; see `iter_payouts`."""
        return await self.iter_payouts(start, end, on_unreadable=on_unreadable).collect()

    def iter_links(
        self,
        start: Instant = None,
        end: Instant = None,
        *,
        ip: str | None = None,
        window: Duration | None = None,
        concurrency: int = 1,
        newest_first: bool = False,
        checkpoint: CheckpointOrPath | None = None,
        progress: Callable[[Progress], object] | None = None,
        on_unreadable: OnUnreadable | None = None,
    ) -> Stream[Link]:
        """Iterate over the clicks of `start <= time < end`; arguments as in `iter_exchanges`.

        Sites delete clicks after a while (classic ones after 60 days unless told otherwise).
        """
        options = Options(window, concurrency, newest_first, checkpoint, progress, on_unreadable)
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
        window: Duration | None = None,
        concurrency: int = 1,
        newest_first: bool = False,
        checkpoint: CheckpointOrPath | None = None,
        progress: Callable[[Progress], object] | None = None,
        on_unreadable: OnUnreadable | None = None,
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
                one was left; the path of a file is enough.
            progress: called with `Progress` when the rows of a window have been handed out; may be
                `async def`.
            on_unreadable: called with each row that cannot be read, once; may be `async def`.
                Without it they are listed by a `DecodeError`, after all others have come.

        Raises:
            ValueError: an argument is not usable.
            PPAPIError: while iterating, what the site answered in the end.
            IncompleteError: while iterating, where rows could not be proven complete.
            DecodeError: at the end, where rows cannot be read and nothing takes them.
        """
        options = Options(window, concurrency, newest_first, checkpoint, progress, on_unreadable)
        wanted = address(ip)
        matches = None if wanted is None else functools.partial(was_ordered_from, wanted)
        params: dict[str, str | int] = {"status_history": 1} if status_history else {}
        return self._stream("get_exchanges", Exchange, start, end, params, options, wanted, matches)

    def iter_payouts(
        self,
        start: Instant = None,
        end: Instant = None,
        *,
        window: Duration | None = None,
        concurrency: int = 1,
        newest_first: bool = False,
        checkpoint: CheckpointOrPath | None = None,
        progress: Callable[[Progress], object] | None = None,
        on_unreadable: OnUnreadable | None = None,
    ) -> Stream[Payout]:
        """Iterate over the payouts requested in `start <= time < end`; see `iter_exchanges`."""
        options = Options(window, concurrency, newest_first, checkpoint, progress, on_unreadable)
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
        connection = self._connection
        evidence = connection.evidence(method, ip)
        return Stream(connection.transport, evidence, request, connection.page_size, options)

    # Watching

    def watch_links(
        self,
        *,
        interval: Duration = 60,
        since: Instant = None,
        state: StateOrPath | None = None,
        lookback: Duration = _LOOKBACK_OF_LINKS,
        on_error: OnError | None = None,
    ) -> Watch[Link]:
        """Iterate over new clicks, for ever; arguments as in `watch_exchanges`."""
        return self._watch("get_links", Link, {}, interval, since, state, lookback, on_error)

    def watch_exchanges(
        self,
        *,
        interval: Duration = 60,
        since: Instant = None,
        state: StateOrPath | None = None,
        lookback: Duration = _LOOKBACK,
        status_history: bool = False,
        on_error: OnError | None = None,
    ) -> Watch[Exchange]:
        """Iterate over new and changed exchanges, for ever, oldest first within a poll.

        What a poll missed, however many failed, the next one covers. Sites do not tell that a row
        has changed, so polls read rows again: one of age A within max(interval, A / 8) and six
        hours, back to `lookback`. Rows dated more than a day ahead of the present are left out
        until then, rows that cannot be read are reported once; both are in the log.

        Args:
            interval: from one poll to the next, seconds or timedelta.
            since: what happened since then is delivered first; None: only what happens from now
                on. A watch that goes on from `state` goes on where it was, whatever is given.
            state: where to keep what has been delivered, so that a restart goes on there; the path
                of an SQLite file is enough.
            lookback: how old an exchange may be and its change is still delivered. Memory and state
                hold the exchanges of this time and six hours more: some 110 bytes of memory for
                each, and its text of about half a kilobyte in the state.
            status_history: ask for `statuses` (2.7 sites with the log module).
            on_error: called with the error when polls begin to fail, and with None when they work
                again; with a `DecodeError` for rows that cannot be read, while polls go on. It may
                be `async def`; polls do not wait for it.

        Raises:
            ValueError: an argument is not usable.
            PPAPIError: while iterating, if nothing could ever be read, for a reason that will not
                pass by itself. After the first success nothing ends a watch but leaving it, or
                closing the session.
        """
        params: dict[str, str | int] = {"status_history": 1} if status_history else {}
        return self._watch(
            "get_exchanges", Exchange, params, interval, since, state, lookback, on_error
        )

    def watch_payouts(
        self,
        *,
        interval: Duration = 60,
        since: Instant = None,
        state: StateOrPath | None = None,
        lookback: Duration = _LOOKBACK,
        on_error: OnError | None = None,
    ) -> Watch[Payout]:
        """Iterate over new and changed payouts, for ever; arguments as in `watch_exchanges`."""
        return self._watch("get_payouts", Payout, {}, interval, since, state, lookback, on_error)

    def watch_info(
        self,
        *,
        interval: Duration = 60,
        state: StateOrPath | None = None,
        initial: bool = False,
        on_error: OnError | None = None,
    ) -> Watch[Info]:
        """Iterate over changes of balance, minimum and payout methods, for ever.

        What a method would pay (`PayoutMethod.amount`) moves with every rate; that alone is no
        change. Other arguments as in `watch_exchanges`.

        Args:
            interval: from one poll to the next, seconds or timedelta.
            state: where to keep what has been delivered; the path of an SQLite file is enough.
            initial: deliver the present info first, once for each watch: as `NEW` without a
                `previous`, or as `CHANGED` where the state knows another one, so that no change is
                lost. False delivers changes only.
            on_error: called with the error when polls begin to fail, and with None when they work.

        Raises:
            ValueError: an argument is not usable.
            PPAPIError: while iterating, if nothing could ever be read.
        """
        seconds = seconds_of(interval, "interval")
        check_flag(initial, "initial")
        check_callback(on_error, "on_error")
        store = state_of(state)
        poller = info_poller(self._connection, store, initial=initial)
        return Watch(self._connection.transport, poller, store, seconds, on_error)

    def _watch(
        self,
        method: str,
        record: type[RecordT],
        params: dict[str, str | int],
        interval: Duration,
        since: Instant,
        state: StateOrPath | None,
        lookback: Duration,
        on_error: OnError | None,
    ) -> Watch[RecordT]:
        seconds = seconds_of(interval, "interval")
        check_callback(on_error, "on_error")
        store = state_of(state)
        poller = row_poller(
            self._connection,
            method,
            record,
            store,
            interval=seconds,
            lookback=duration(lookback, "lookback"),
            since=instant(since, "since"),
            params=params,
        )
        return Watch(self._connection.transport, poller, store, seconds, on_error)

    # Payouts

    async def add_payout(
        self,
        method_id: int,
        account: str,
        *,
        at_least: Decimal | int | None = None,
        at_most: Decimal | int | None = None,
        on_attempt: OnAttempt | None = None,
        even_if_unsettled: bool = False,
    ) -> PayoutReceipt:
        """Request a payout of the whole balance; the API knows no other.

        At most one request reaches the site, whatever fails, over a connection of its own, and only
        after a read has found the place of the API. As long as one is under way in this process, or
        ended in `PayoutOutcomeUnknown` or a cancellation, the next one of the account (the host and
        the key) is refused: ask `find_payout` first. A lent connector opens the connection, beyond
        its limit for each host.

        Args:
            method_id: a `PayoutMethod.id` of `get_info`.
            account: the wallet to pay to.
            at_least: send nothing if the balance is lower (in the site's base currency).
            at_most: send nothing if the balance is higher.
            on_attempt: called with the `PayoutAttempt` just before it is sent, and awaited, to
                store it (`PayoutAttempt.to_json`) so that it can be settled after a crash. If it
                raises, nothing is sent.
            even_if_unsettled: send although it is not known what became of an earlier one.

        Raises:
            PayoutRejected: the site refused; nothing was ordered.
            ApiError: the site refused for a reason of its own: key, module, method.
            PayoutNotSent: certainly nothing was sent; its `reason` says why.
            PayoutOutcomeUnknown: it may have been carried out.
            ValueError: an argument is not usable.
        """
        if type(method_id) is not int or method_id <= 0:
            raise ValueError("method_id: pass the id of a payout method of get_info")
        account = wallet(account)
        check_callback(on_attempt, "on_attempt")
        least, most = amount(at_least, "at_least"), amount(at_most, "at_most")
        if least is not None and most is not None and least > most:
            raise ValueError("at_most: is less than at_least")
        return await request_payout(
            self._connection.transport,
            method_id,
            account,
            least=least,
            most=most,
            on_attempt=on_attempt,
            even_if_unsettled=even_if_unsettled,
        )

    async def find_payout(self, attempt: PayoutAttempt | PayoutOutcomeUnknown) -> PayoutSearch:
        """Look in get_payouts for what became of an attempt.

        Payouts fit that have its method and wallet and were requested within ten minutes of it, by
        the site's clock. Where one fits but for a time that a wrong time zone or clock would
        explain, or the clocks of this machine and the site were not compared (no answer had a
        `Date`), the outcome is ambiguous, not absent. Found or absent, the attempt is settled.

        Raises:
            PPAPIError: the payouts could not be read.
            ValueError: the error holds no attempt.
        """
        if not isinstance(attempt, PayoutAttempt | PayoutOutcomeUnknown):
            raise TypeError("attempt: pass the PayoutOutcomeUnknown, or its PayoutAttempt")
        if isinstance(attempt, PayoutOutcomeUnknown):
            if attempt.attempt is None:
                raise ValueError("attempt: the error holds none")
            attempt = attempt.attempt
        payouts = await self.get_payouts(search_begin(attempt))
        search = judge(
            attempt, payouts, compared=self._connection.transport.clock_ahead is not None
        )
        if search.outcome is not SearchOutcome.AMBIGUOUS:
            self.settle_payout(attempt)
        return search

    @property
    def unsettled_payouts(self) -> tuple[PayoutAttempt, ...]:
        """The payouts of this account of which this process does not know what became.

        Those that ended in `PayoutOutcomeUnknown`, or were cancelled while they were under way.
        """
        return UNSETTLED.of(self.account)

    def settle_payout(self, attempt: PayoutAttempt) -> bool:
        """Say that you know what became of an attempt, so that another payout may be requested.

        Returns whether it was unsettled; one that is still under way stays so.
        """
        check_kind(attempt, PayoutAttempt, "attempt", "a PayoutAttempt")
        return UNSETTLED.settle(self.account, attempt)


def connection_of(session: Session) -> Connection:
    """Return what a session sends its requests through, for fleets."""
    return session._connection  # noqa: SLF001 - of this module
