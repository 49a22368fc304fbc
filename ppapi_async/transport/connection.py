"""The life of a session: opening its connections, sharing them, closing them."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import aiohttp

from ppapi_async._validation import check_callback, check_kind, whole
from ppapi_async.account import Account, Dialect
from ppapi_async.errors import TransportError
from ppapi_async.protocol.evidence import Evidence
from ppapi_async.protocol.site_clock import ClockCheck
from ppapi_async.transport.client import Transport
from ppapi_async.transport.closing import wait_until_done
from ppapi_async.transport.connector import CleanRequest, LoneRequest, refuse_lent_proxy, route_of
from ppapi_async.transport.fairness import Decoding
from ppapi_async.transport.hooks import Hooks, RequestFacts
from ppapi_async.transport.retry import Retry
from ppapi_async.version import __version__

__all__ = ["Connection", "check_limits", "check_options", "open_http"]

_log = logging.getLogger("ppapi_async")
_CONNECT = 15.0
_LONGEST_LINE = 64 * 1024
"""Bytes of a header: security policies of 12 KB and more are seen, which aiohttp refuses."""
_SMALLEST_LIMIT = 64 * 1024


def check_limits(page_size: int, largest_answer: int) -> None:
    """Refuse limits that cannot work.

    Raises:
        ValueError: one of them.
        TypeError: one of them is no int.
    """
    whole(page_size, "page_size", "1 to 500 rows; servers send no more", least=1, most=500)
    least = _SMALLEST_LIMIT
    whole(largest_answer, "largest_answer", f"at least {least} bytes", least=least)


def check_options(
    *,
    http: aiohttp.ClientSession | None,
    retry: Retry | None,
    on_request: Callable[[RequestFacts], object] | None,
    hooks: Hooks | None,
) -> None:
    """Refuse what a session or a fleet cannot use.

    Raises:
        TypeError: one of them is of another kind.
    """
    check_kind(http, (aiohttp.ClientSession, type(None)), "http", "an aiohttp.ClientSession")
    check_kind(retry, (Retry, type(None)), "retry", "a Retry, such as Retry(attempts=3)")
    check_callback(on_request, "on_request")
    check_kind(hooks, (Hooks, type(None)), "hooks", "Hooks, such as Hooks(clock=…)")


def open_http(
    connector: aiohttp.BaseConnector | None,
    *,
    owner: bool = True,
    connect: float | None = None,
    kind: type[CleanRequest] = CleanRequest,
) -> aiohttp.ClientSession:
    """Open an aiohttp session that keeps nothing, adds nothing and tells nobody.

    One of our own even on a borrowed connector: only so are cookies not kept (PHP serves the
    requests of one cookie one after the other), no proxy of the environment is used, and no trace,
    middleware or default of the lender sees the key or sends a request twice.

    Defaults are said all the same: a program may have other ones put into every aiohttp session.
    """
    http = aiohttp.ClientSession(
        connector=connector,
        connector_owner=owner,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect),
        headers={"User-Agent": f"ppapi_async/{__version__}"},
        base_url=None,
        auth=None,
        proxy=None,
        proxy_auth=None,
        trace_configs=[],
        auto_decompress=False,
        trust_env=False,
        request_class=kind,
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
    )
    # Sentry and OpenTelemetry wrap `ClientSession.__init__` to add a trace, which is told each url
    # with the key in it, and sends it away; it also adds headers for the site to read.
    http.trace_configs.clear()
    return http


class Connection:
    """What sends the requests of a session, and what its streams and watches share.

    Args:
        account: where to connect.
        http: an aiohttp session whose connector is to be shared.
        timeout: seconds for one whole HTTP request.
        retry: how reads are repeated.
        page_size: rows to ask for in one answer.
        largest_answer: bytes of an answer before it is refused.
        limiter: held while an HTTP request is under way.
        on_request: called after each HTTP request.
        hooks: clock, sleep and chance.
    """

    def __init__(
        self,
        account: Account,
        *,
        http: aiohttp.ClientSession | None,
        timeout: float,
        retry: Retry,
        page_size: int,
        largest_answer: int,
        limiter: AbstractAsyncContextManager[object] | None,
        on_request: Callable[[RequestFacts], object] | None,
        hooks: Hooks,
    ) -> None:
        self.account = account
        self.page_size = page_size
        self.clock_check = ClockCheck(account.zone)
        """Whether what watches have read is dated ahead of the server's own clock."""
        self._on_request = on_request
        self._borrowed = http
        self._timeout = timeout
        self._retry = retry
        self._largest_answer = largest_answer
        self._limiter = limiter
        self._hooks = hooks
        self._evidence: dict[str, Evidence] = {}
        self._transport: Transport | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._transport is not None

    def open(self, fairness: Decoding | None = None) -> None:
        """Open it; an event loop has to be running.

        Args:
            fairness: how answers share the loop; what many sessions of a loop have in common.
        """
        if self._transport is not None:
            raise RuntimeError("the session is open already")
        borrowed = self._borrowed
        if borrowed is not None and self.account.proxy is None:
            refuse_lent_proxy(borrowed)
        route = route_of(self.account)
        self._warn_of_key_log()
        if route.connector is None:
            http = self._open_http()
        else:
            http = self._open_http_on(route.connector, owner=True)
        self._transport = Transport(
            account=self.account,
            http=http,
            lone_http=self._open_http_on(http.connector, kind=LoneRequest),
            timeout=self._timeout,
            retry=self._retry,
            largest_answer=self._largest_answer,
            hooks=self._hooks,
            decoding=Decoding() if fairness is None else fairness,
            limiter=self._limiter,
            on_request=self._on_request,
            route=route,
        )

    def _warn_of_key_log(self) -> None:
        """Say that Python writes the secrets of TLS to a file, if it was told to."""
        is_set = os.environ.get("SSLKEYLOGFILE") and not sys.flags.ignore_environment
        if is_set and self.account.url.startswith("https:"):
            _log.warning(
                "%s: SSLKEYLOGFILE is set; whoever reads that file and the traffic reads the key;"
                " unset it unless you are debugging",
                self.account.name,
            )

    async def aclose(self) -> None:
        """Close what was opened, however often it is called or cancelled."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._closing = asyncio.create_task(_close(transport, asyncio.current_task()))
        closing = self._closing
        if closing is not None and closing.get_loop() is asyncio.get_running_loop():
            await wait_until_done([closing])

    def _open_http(self) -> aiohttp.ClientSession:
        """Open an aiohttp session of our own, be it on a borrowed connector.

        Raises:
            ValueError: what was lent is closed.
        """
        borrowed = self._borrowed
        if borrowed is not None and (borrowed.closed or borrowed.connector is None):
            raise ValueError("http: the aiohttp session is closed")
        if borrowed is not None:
            return self._open_http_on(borrowed.connector)
        return self._open_http_on(aiohttp.TCPConnector(limit=0), owner=True)

    def _open_http_on(
        self,
        connector: aiohttp.BaseConnector | None,
        *,
        owner: bool = False,
        kind: type[CleanRequest] = CleanRequest,
    ) -> aiohttp.ClientSession:
        # Well below the whole time-out, so that it is known when nothing was sent.
        connect = min(_CONNECT, self._timeout / 2)
        return open_http(connector, owner=owner, connect=connect, kind=kind)

    @property
    def on_request(self) -> Callable[[RequestFacts], object] | None:
        """What is called after each HTTP request; it may be changed at any time."""
        return self._on_request

    @on_request.setter
    def on_request(self, hook: Callable[[RequestFacts], object] | None) -> None:
        self._on_request = hook
        if self._transport is not None:
            self._transport.on_request = hook

    @property
    def transport(self) -> Transport:
        """What sends the requests.

        Raises:
            RuntimeError: the session is not open.
        """
        if self._transport is None:
            raise RuntimeError("the session is not open; use it inside `async with Session(…)`")
        return self._transport

    def evidence(self, method: str, ip: str | None = None) -> Evidence:
        """Return how fast rows come at a method; streams and polls begin with `fresh()` of it."""
        return self._evidence.setdefault(f"{method}/{ip or ''}", Evidence())

    @property
    def dialect(self) -> Dialect | None:
        """The dialect that the site speaks, None until an answer has told."""
        return self.account.dialect if self._transport is None else self._transport.dialect


async def _close(transport: Transport, asking: asyncio.Task[object] | None) -> None:
    readings = list(transport.under_way)
    for reading in readings:
        text = "the session was closed before all was read; a checkpoint goes on there"
        account = transport.account.name
        reading.stop(TransportError(text, account=account, sent=False))
    try:
        await transport.close(asking)
    finally:
        await asyncio.gather(*(reading.wait_until_left() for reading in readings))
