"""The requests of one account: sends, waits, repeats, never leaks. The only client-side aiohttp.

Everything that goes wrong becomes a value of the error tree *inside* `_send`, and is raised outside
of it: so no exception of aiohttp (they hold urls, and urls hold the key) ever becomes the cause,
the context or the traceback of what a user sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import aiohttp
from attrs import define, field
from yarl import URL

from ppapi_async.account import Account, Dialect
from ppapi_async.errors import (
    PPAPIError,
    RequestTimeoutError,
    ResponseTooLargeError,
    TransportError,
)
from ppapi_async.models import Info
from ppapi_async.protocol import LARGEST_INFO, Answer, Reader, clock_ahead, decode_info
from ppapi_async.protocol.dialects import HttpRequest, endpoints, request_for
from ppapi_async.protocol.own_key import without_key
from ppapi_async.protocol.page import KeptPage, Page
from ppapi_async.protocol.responses import Decoder
from ppapi_async.transport.body import BodyReader, BodyTooLargeError
from ppapi_async.transport.callbacks import Callbacks
from ppapi_async.transport.closing import UnderWay
from ppapi_async.transport.connector import NO_PROXY, Route, StaleConnectionError
from ppapi_async.transport.discovery import Discovery
from ppapi_async.transport.failures import UNSENT, describe
from ppapi_async.transport.fairness import Decoding
from ppapi_async.transport.hooks import Hooks, RequestFacts
from ppapi_async.transport.retry import Retry, is_transient

__all__ = ["Transport"]

T = TypeVar("T")
_log = logging.getLogger("ppapi_async")
_FATAL = (
    asyncio.CancelledError,
    KeyboardInterrupt,
    SystemExit,
    MemoryError,
    RecursionError,
)
"""What is no failure of the site's. It goes on, without the frames that hold a url."""
_PARTS = 10
"""Successes that give a repeat back to the budget."""
_MOST_STALE = 100
"""Connections in a row that are found to be unusable before a request is given up."""


@define(eq=False)
class Transport:
    """Sends the requests of one account, one session long."""

    account: Account
    http: aiohttp.ClientSession = field(repr=False)
    lone_http: aiohttp.ClientSession = field(repr=False)
    """What payouts go through: each over a connection of its own."""
    timeout: float
    retry: Retry
    largest_answer: int
    hooks: Hooks
    limiter: AbstractAsyncContextManager[object] | None = None
    """Held while a request is under way."""
    dialect: Dialect | None = None
    on_request: Callable[[RequestFacts], object] | None = None
    route: Route = field(default=NO_PROXY, repr=False)
    decoding: Decoding = field(factory=Decoding, repr=False)
    clock_ahead: float | None = None
    """Seconds by which the `Date` of the latest answer is ahead of this machine's clock; None where
    no answer had one. A cache's `Age` counts in."""
    under_way: set[UnderWay] = field(factory=set, repr=False)
    """The streams and watches that are being read: closing the session ends them."""
    callbacks: Callbacks = field(factory=Callbacks, repr=False)
    _clock_of: float = float("-inf")
    """When the request began whose answer told `clock_ahead`."""
    _discovery: Discovery = field(factory=Discovery)
    _budget: int = field(init=False)
    """Repeats in hand, in tenths, since ten times 0.1 is less than 1."""

    def __attrs_post_init__(self) -> None:
        self.dialect = self.account.dialect
        self._budget = self.retry.budget * _PARTS

    @property
    def closed(self) -> bool:
        """Whether the session, or the connector it was lent, has been closed."""
        return self.http.closed  # it counts as closed as soon as its connector is

    def reader(self, method: str) -> Reader:
        """Return who asks, for the codec's errors."""
        return Reader(self.account, method)

    def server_time(self) -> float:
        """Return the present as unix time, by the server's own clock where its answers tell it."""
        return self.hooks.clock() + (self.clock_ahead or 0.0)

    def learn(self, dialect: Dialect | None) -> None:
        """Remember what dialect an answer showed; the place that answered stays."""
        if self.dialect is None:
            self.dialect = dialect

    @property
    def knows_place(self) -> bool:
        """Whether an answer has shown where the API is."""
        return self._discovery.url is not None

    @property
    def place(self) -> str | None:
        """Where the API is, None until an answer has shown it."""
        return self._discovery.url

    async def read(
        self,
        method: str,
        params: Mapping[str, str | int],
        decode: Decoder[T],
        *,
        attempts_of: Callable[[PPAPIError], int | None] | None = None,
        largest: int | None = None,
    ) -> T:
        """Ask until there is a usable answer or no point in asking on.

        `attempts_of` tells how often to ask at the most after an error, if less often than usual.

        Raises:
            PPAPIError: what the last answer came to.
        """
        attempt = 1
        while True:
            result = await self.once(method, params, decode, attempt=attempt, largest=largest)
            if not isinstance(result, PPAPIError):
                self._budget = min(self._budget + 1, self.retry.budget * _PARTS)
                return result
            most = None if attempts_of is None else attempts_of(result)
            wait = self._wait(result, attempt, most)
            if wait is None:
                raise result
            _log.debug("%s; asking again in %.1f s", result, wait)
            await self.hooks.sleep(wait)
            attempt += 1

    def _wait(self, error: PPAPIError, attempt: int, most: int | None) -> float | None:
        attempts = self.retry.attempts if most is None else min(most, self.retry.attempts)
        if attempt >= attempts or not is_transient(error) or self._budget < _PARTS:
            return None
        wait = self.retry.wait(attempt, error, self.hooks.chance())
        if wait is not None:
            self._budget -= _PARTS
        return wait

    async def get_info(self) -> Info:
        """Ask get_info, and remember the dialect that its answer shows.

        Raises:
            PPAPIError: what the last answer came to.
        """
        return await self.read("get_info", {}, self.decode_info)

    def decode_info(self, answer: Answer) -> Info | PPAPIError:
        """Decode an answer to get_info, and remember the dialect that it shows."""
        result = decode_info(answer, self.reader("get_info"))
        if isinstance(result, PPAPIError):
            return result
        info, dialect = result
        self.learn(dialect)
        return info

    async def once(
        self,
        method: str,
        params: Mapping[str, str | int],
        decode: Decoder[T],
        *,
        attempt: int = 1,
        largest: int | None = None,
    ) -> T | PPAPIError:
        """Send one request, and return what its answer came to; nothing is raised.

        As long as the place of the API is not known, a place that answers 404 is not it, and the
        request goes to the next.
        """
        most = largest or self.largest_answer
        if method == "get_info":
            most = min(most, LARGEST_INFO)

        async def ask(place: str) -> T | PPAPIError:
            return await self._ask_at(place, method, params, decode, attempt, most)

        places = endpoints(self.account, self.dialect)
        return await self._discovery.at_place(ask, places, self.account.name, method)

    async def pay(
        self,
        method: str,
        params: Mapping[str, str | int],
        decode: Decoder[T],
        before: Callable[[], Awaitable[None]],
    ) -> T | PPAPIError:
        """Send one request over a connection of its own to the place that a read has found.

        `before` is awaited when its turn has come; if it raises, nothing is sent.
        """
        place = self._discovery.url or endpoints(self.account, self.dialect)[0]
        most = self.largest_answer
        return await self._ask_at(place, method, params, decode, 1, most, before)

    async def _ask_at(
        self,
        place: str,
        method: str,
        params: Mapping[str, str | int],
        decode: Decoder[T],
        attempt: int,
        largest: int,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> T | PPAPIError:
        request = request_for(self.account, self.dialect, place, method, params)
        async with self.limiter or contextlib.nullcontext():
            await self.decoding.begin()
            if before is not None:
                await before()
            began = self.hooks.clock()
            answer = await self._send(request, method, largest, alone=before is not None)
        result: T | PPAPIError
        if isinstance(answer, PPAPIError):
            result = answer
        else:
            result = await self._decode(answer, decode)
        self._tell(request, method, attempt, began, answer, result)
        return result

    async def decode(self, kept: bytes, decode: Decoder[T]) -> T | PPAPIError:
        """Return what the rest of an earlier answer comes to; no error is raised."""
        answer = Answer(200, {}, kept)
        del kept
        return await self._decode(answer, decode)

    async def _decode(self, answer: Answer, decode: Decoder[T]) -> T | PPAPIError:
        """Return what an answer came to; what ends the program is raised as a fresh exception."""
        try:
            slices = without_key(self.account.api_key, answer, decode)
            return await self.decoding.run(slices, len(answer.body))
        except _FATAL as error:
            fatal = self._fresh(error)
        del answer
        raise fatal

    def _tell(
        self,
        request: HttpRequest,
        method: str,
        attempt: int,
        began: float,
        answer: Answer | PPAPIError,
        result: object,
    ) -> None:
        if self.on_request is None:
            return
        page = result[0] if isinstance(result, tuple) else result  # polls keep its digest with it
        rows: int | None = None
        if isinstance(page, Page | KeptPage):
            rows = len(page.records) + len(page.unreadable)
        facts = RequestFacts(
            account=self.account.name,
            method=method,
            attempt=attempt,
            status=getattr(answer, "status", None),
            seconds=max(0.0, self.hooks.clock() - began),
            received=len(answer.body) if isinstance(answer, Answer) else 0,
            error=type(result).__name__ if isinstance(result, PPAPIError) else None,
            rows=rows,
            verb=request.verb,
            host=self.account.host,
            port=self.account.port,
        )
        self.callbacks.call_soon(self.on_request, facts)

    async def _send(
        self, request: HttpRequest, method: str, largest: int, *, alone: bool = False
    ) -> Answer | PPAPIError:
        """Return the answer or what went wrong. Only what ends task or program is raised, fresh.

        aiohttp's own frames hold the url: neither its exceptions nor the traceback of what goes
        through it may go further than this.
        """
        try:
            async with asyncio.timeout(self.timeout):
                return await self._exchange(request, method, largest, alone=alone)
        except _FATAL as error:
            fatal = self._fresh(error)
        except AssertionError:
            # So aiohttp ends a GET that it sends once more, if its session was closed meanwhile.
            return self._error(
                TransportError, method, "the session was closed meanwhile; open another", sent=True
            )
        except Exception as error:  # noqa: BLE001 - a lent connector may raise what nobody knows
            return self._failure(error, method)
        raise fatal

    def _fresh(self, error: BaseException) -> BaseException:
        """Return an exception like this one, without the frames that it came through."""
        kind = next(kind for kind in _FATAL if isinstance(error, kind))
        redact = self.account.redact
        return kind(*[redact(arg) if isinstance(arg, str) else arg for arg in error.args])

    async def _exchange(
        self, request: HttpRequest, method: str, largest: int, *, alone: bool
    ) -> Answer | PPAPIError:
        for _ in range(_MOST_STALE):
            if self.closed:
                text = "the session is closed; open another"
                return self._error(TransportError, method, text, sent=False)
            try:
                return await self._ask(request, method, largest, alone=alone)
            except StaleConnectionError:
                pass  # nothing was sent; the next connection of the pool, or a new one
        text = "the site sends what nobody has asked for; something in between is broken"
        return self._error(TransportError, method, text, sent=False)

    async def _ask(
        self, request: HttpRequest, method: str, largest: int, *, alone: bool
    ) -> Answer | PPAPIError:
        headers = {"Accept-Encoding": "gzip, deflate", "Accept": "application/json"}
        if request.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        login = {} if self.route.login is None else {"Proxy-Authorization": self.route.login}
        if request.url().startswith("http:"):
            headers |= login
        began = self.hooks.clock()
        async with (self.lone_http if alone else self.http).request(
            request.verb,
            URL(request.url(), encoded=True),
            data=None if request.form is None else request.body(),
            headers={**headers, **request.headers()},
            allow_redirects=False,
            raise_for_status=False,
            proxy=self.route.proxy,
            proxy_headers=login,
            middlewares=(),  # in place of those of a lent session
        ) as response:
            ahead = clock_ahead(response.headers, self.hooks.clock())
            if ahead is not None and began >= self._clock_of:  # the news of an earlier one are old
                self.clock_ahead, self._clock_of = ahead, began
            reader = BodyReader(response.headers.get("Content-Encoding", ""), largest)
            try:
                async for chunk in response.content.iter_any():
                    reader.feed(chunk)
                return Answer(response.status, response.headers.copy(), reader.close())
            except BodyTooLargeError as error:
                response.close()
                # The limits that are not the caller's are not for the caller to raise.
                is_callers = largest == self.largest_answer
                advice = "; ask for a shorter time, or raise largest_answer" if is_callers else ""
                return ResponseTooLargeError(
                    f"{error}{advice}",
                    account=self.account.name,
                    method=method,
                    status=response.status,
                )

    async def close(self, asking: asyncio.Task[object] | None = None) -> None:
        """Close the connections that are not lent, and wait for callbacks, but not for `asking`."""
        try:
            await self.lone_http.close()
        finally:
            await self.http.close()
            await self.callbacks.close(asking)

    def _failure(self, error: Exception, method: str) -> PPAPIError:
        """Translate what aiohttp raised. Its text may hold the url, so it is redacted."""
        unsent = isinstance(error, (*UNSENT, *self.route.errors))
        clip = self.reader(method).clip
        kind: type[TransportError] = TransportError
        if isinstance(error, TimeoutError):
            kind = RequestTimeoutError
            parts = f"no answer in {self.timeout:g} s", "try again later, or pass a longer timeout="
            if unsent:
                parts = "could not connect in time", "the site is down, or a firewall is in between"
        elif isinstance(error, self.route.errors):
            parts = (
                f"the proxy does not connect ({clip(str(error))})",
                "check proxy= of the account",
            )
        else:
            parts = describe(error, clip)
        # Nobody shall read that a payout is to be tried again.
        text = parts[0] if method == "add_payout" and not unsent else "; ".join(parts)
        return self._error(kind, method, text, sent=not unsent)

    def _error(
        self, kind: type[TransportError], method: str, text: str, *, sent: bool
    ) -> TransportError:
        return kind(text, account=self.account.name, method=method, sent=sent)
