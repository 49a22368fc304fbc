"""What `doctor` finds out about one account, with at most eight requests that change nothing.

They are the same requests that everything else sends, looked at more closely. Each step tells what
it has found. The first that fails ends the examination: what comes after it cannot be told then.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

from attrs import Factory, define, frozen
from yarl import URL

from ppapi_async.account import Account, Dialect
from ppapi_async.cli.output import duration_text, plain
from ppapi_async.errors import (
    ApiDisabledError,
    AuthError,
    MethodNotSupportedError,
    PPAPIError,
    RedirectError,
    ResponseError,
)
from ppapi_async.models import Exchange, Info, Link, Row
from ppapi_async.protocol import Answer, PageCodec, Reader, decode_info
from ppapi_async.protocol.dialects import traits_of
from ppapi_async.protocol.evidence import TimeOrder, order_of
from ppapi_async.protocol.page import Page, wire_second
from ppapi_async.protocol.site_clock import ClockCheck, SiteClock
from ppapi_async.session import Session, connection_of
from ppapi_async.site_url import is_loopback
from ppapi_async.transport.client import Transport
from ppapi_async.transport.failures import describe
from ppapi_async.transport.hooks import Hooks, RequestFacts
from ppapi_async.transport.retry import Retry

__all__ = ["CHECKS", "CheckResult", "CheckState", "examine"]

CHECKS: Mapping[str, str] = {
    "name": "name resolution",
    "connection": "connection",
    "tls": "TLS",
    "redirect": "redirect",
    "answer": "answer",
    "key": "key",
    "place": "place of the API",
    "dialect": "dialect",
    "rows": "rows per answer",
    "filters": "filters",
    "pages": "pages",
    "order": "order",
    "clock": "clock",
    "zone": "time zone",
    "latency": "latency",
    "limits": "not supported",
}
"""All checks by their names for programs, in order."""

RowT = TypeVar("RowT", bound=Row)
AnyPage: TypeAlias = Page[Exchange] | Page[Link]
_DAYS = 30
_ASKED = 500
_PATIENCE = 15.0
_TIMEOUT = 45.0
"""Seconds. Sites look countries up for up to half a minute."""
_SOON = 14
"""Days before a certificate ends."""
_SMALL_CAP = 100
_FEW = 8
"""Rows that are too few to tell pages from them."""
_MOST_OFF = 60.0
_SLOW = 5.0
_FRESH = timedelta(hours=1)
_ZONES = {
    "+2": "Europe/Kyiv",
    "+3": "Europe/Moscow",
    "+4": "Asia/Tbilisi",
    "+5": "Asia/Almaty",
    "+6": "Asia/Bishkek",
    "+7": "Asia/Novosibirsk",
    "+8": "Asia/Singapore",
    "+1": "Europe/Berlin",
}
_LIMITS: Mapping[Dialect, str] = {
    Dialect.CLASSIC: "statuses of orders, asking for an id, filters by ip (they find nothing)",
    Dialect.DELEGATING: "orders by time of creation: they are listed by their last change",
    Dialect.CLONE: "statuses of orders; what else differs is each clone's own",
    Dialect.USER_API: "orders by time of creation: they are listed by their last change",
}


class CheckState(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It could not be tried: an earlier one failed, or there was nothing to try it on."""


@frozen
class CheckResult:
    """What one check found out."""

    check: str
    state: CheckState
    text: str
    advice: str = ""
    """What to do, in one line."""


class _Stopped(Exception):  # noqa: N818 - ends an examination
    """There is no point in going on."""


async def examine(
    account: Account, *, tls: ssl.SSLContext, hooks: Hooks | None = None
) -> list[CheckResult]:
    """Return what the checks of an account come to, in their order.

    Args:
        account: whose site it is.
        tls: what certificates are checked with.
        hooks: clock and sleep, for tests.
    """
    one = _Examination(account, tls, hooks or Hooks())
    try:
        await one.reach()
        async with Session(
            account,
            retry=Retry(attempts=1),
            timeout=_TIMEOUT,
            on_request=one.facts.append,
            hooks=one.hooks,
        ) as session:
            await one.ask(connection_of(session).transport)
    except _Stopped:
        pass
    return one.all_results()


@define
class _Examination:
    account: Account
    tls: ssl.SSLContext
    hooks: Hooks
    facts: list[RequestFacts] = Factory(list)
    results: dict[str, CheckResult] = Factory(dict)

    def note(
        self, check: str, text: str, advice: str = "", state: CheckState = CheckState.OK
    ) -> None:
        """Note what a check came to."""
        clean = [plain(self.account.redact(one)) for one in (text, advice)]
        self.results[check] = CheckResult(check, state, *clean)

    def warn(self, check: str, text: str, advice: str) -> None:
        """Note that something is odd."""
        self.note(check, text, advice, CheckState.WARNING)

    def skip(self, check: str, text: str) -> None:
        """Note that a check could not be tried."""
        self.note(check, text, "", CheckState.SKIPPED)

    def fail(self, check: str, text: str, advice: str) -> _Stopped:
        """Note that something is wrong, and return what ends the examination."""
        self.note(check, text, advice, CheckState.FAILED)
        return _Stopped()

    def fail_by(self, error: PPAPIError, otherwise: str) -> _Stopped:
        """Note an error at the check that it belongs to."""
        check = _check_of(error, otherwise)
        before = {"redirect": (), "answer": ("redirect",)}.get(check, ("redirect", "answer"))
        for name in before:
            self.results.setdefault(name, CheckResult(name, CheckState.OK, _FINE[name]))
        text, _, advice = error.message.partition("; ")
        if isinstance(error, RedirectError) and error.location:
            text = f"redirects to {error.location}, which would lose the key or the filters"
            advice = "if the site has moved there, change the url in the accounts file"
        elif isinstance(error, ApiDisabledError):
            advice = "compare the key with the site's page; if it is right, the site's API is off"
        elif isinstance(error, AuthError):
            advice = advice or "copy the key again from the site's page about the API"
        return self.fail(check, text, advice or "try again later, then ask the site")

    def all_results(self) -> list[CheckResult]:
        """Return the results in order; what was not reached is skipped."""
        if self.facts:
            self._judge_latency()
        failed = [one.check for one in self.results.values() if one.state is CheckState.FAILED]
        reason = f"since {CHECKS[failed[0]]} failed" if failed else "nothing to tell it from"
        for name in CHECKS:
            if name not in self.results:
                self.skip(name, reason)
        return [self.results[name] for name in CHECKS]

    # Without a request

    async def reach(self) -> None:
        """Look the name up, and connect.

        Raises:
            _Stopped: the site cannot be reached.
        """
        if self.account.proxy is not None:
            for name in ("name", "connection", "tls"):
                self.skip(name, "the account's proxy does that")
            return
        url = URL(self.account.url)
        host, port = url.raw_host or "", url.port or 443
        is_safe = url.scheme == "https"
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._resolve(host, port)
        except TimeoutError:
            raise self.fail("name", "no answer of DNS", "check whether you are online") from None
        try:
            async with asyncio.timeout(_PATIENCE):
                _, writer = await asyncio.open_connection(
                    host, port, ssl=self.tls if is_safe else None
                )
        except ssl.SSLError as error:
            self.note("connection", f"port {port} is open")
            said = describe(error, Reader(self.account, "").clip)
            raise self.fail("tls", *said) from None
        except OSError as error:  # TimeoutError among them
            said_by_system = os.strerror(error.errno) if error.errno else "no answer"
            raise self.fail(
                "connection",
                f"cannot connect to port {port} ({said_by_system})",
                "check the url, or the site is down, or a firewall is in between",
            ) from None
        self.note("connection", f"port {port} is open")
        self._judge_tls(writer)
        writer.transport.abort()

    async def _resolve(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise self.fail(
                "name",
                f"DNS does not know {host} ({error.strerror or error})",
                "check the url for typing errors, and whether you are online",
            ) from None
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        more = f" and {len(addresses) - 2} more" if len(addresses) > 2 else ""
        self.note("name", f"{', '.join(addresses[:2])}{more}")

    def _judge_tls(self, writer: asyncio.StreamWriter) -> None:
        wrapped = writer.get_extra_info("ssl_object")
        if not isinstance(wrapped, ssl.SSLObject):
            if is_loopback(self.account.host):
                self.skip("tls", "http, on this machine")
            else:
                self.warn("tls", "http: the key is readable for all", "write https into the url")
            return
        version = (wrapped.version() or "TLS").replace("TLSv", "TLS ")
        certificate = wrapped.getpeercert() or {}
        end = str(certificate.get("notAfter"))
        until = datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC)
        days = (until - datetime.fromtimestamp(self.hooks.clock(), UTC)).days
        text = f"{version}, certificate until {until:%Y-%m-%d}"
        if days < _SOON:
            self.warn("tls", f"{text}, {days} days", "the site has to renew it, or it goes silent")
        else:
            self.note("tls", text)

    # With requests

    async def ask(self, transport: Transport) -> None:
        """Send the requests.

        Raises:
            _Stopped: one of them failed.
        """
        said: list[Dialect | None] = []

        def decode(answer: Answer) -> Info | PPAPIError:
            found = decode_info(answer, transport.reader("get_info"))
            if isinstance(found, PPAPIError):
                return found
            said.append(found[1])
            transport.learn(found[1])
            return found[0]

        info = await transport.once("get_info", {}, decode)
        self._judge_clock(transport)
        if isinstance(info, PPAPIError):
            raise self.fail_by(info, "answer")
        for name, text in _FINE.items():
            self.note(name, text)
        path = urlsplit(transport.place or self.account.url).path
        self.note("place", f"{path or '/'}{'' if self.account.endpoint else ', found by itself'}")
        exchanges = await self._read(transport, "get_exchanges", Exchange, {})
        page: AnyPage = exchanges
        method: str = "get_exchanges"
        self._judge_dialect(transport, said[0] or exchanges.dialect)
        if len({*exchanges.walls}) < 2:  # clicks are more numerous
            links = await self._read(transport, "get_links", Link, {})
            if len(links.records) > len(exchanges.records):
                page, method = links, "get_links"
        self._judge_zone(transport, [exchanges, page])
        await self._judge_rows(transport, page, method)

    async def _read(
        self,
        transport: Transport,
        method: str,
        record: type[RowT],
        params: Mapping[str, int],
    ) -> Page[RowT]:
        clock = SiteClock(self.account.zone)
        codec = PageCodec(record, clock, transport.reader(method))
        asked = {"start_time": self._start(), "limit": _ASKED, **params}
        page: Page[RowT] | PPAPIError = await transport.once(method, asked, codec.in_slices)
        if isinstance(page, PPAPIError):
            raise self.fail_by(page, "rows")
        transport.learn(page.dialect)
        return page

    def _start(self) -> int:
        """Return the wire second from which rows are asked for; the same each time."""
        midnight = datetime.fromtimestamp(self.hooks.clock(), UTC).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        return SiteClock(self.account.zone).first_second(midnight - timedelta(days=_DAYS))

    def _judge_dialect(self, transport: Transport, shown: Dialect | None) -> None:
        configured = self.account.dialect
        if configured is not None and shown not in (None, configured):
            kin = {Dialect.DELEGATING, Dialect.USER_API}  # they answer alike
            if not {configured, shown} <= kin:
                self.warn(
                    "dialect",
                    f"{configured} by the accounts file, but it answers as {shown}",
                    "leave dialect out of the accounts file: it is recognised",
                )
                return
        dialect = transport.dialect
        if dialect is None:
            self.warn(
                "dialect",
                "not recognised yet: answers without rows look alike",
                "nothing; what holds for every site is assumed until rows come",
            )
            return
        self.note("dialect", dialect)
        self.note("limits", _LIMITS[dialect])

    def _judge_clock(self, transport: Transport) -> None:
        ahead = transport.clock_ahead
        if ahead is None:
            self.skip("clock", "the site's answers have no date")
        elif abs(ahead) > _MOST_OFF:
            way = "ahead of" if ahead > 0 else "behind"
            self.warn(
                "clock",
                f"the site's is {duration_text(timedelta(seconds=abs(ahead)))} {way} this"
                " machine's",
                "set this machine's clock (NTP); if it is right, tell the site",
            )
        else:
            self.note("clock", "as this machine's")

    def _judge_zone(self, transport: Transport, pages: Sequence[AnyPage]) -> None:
        times = [row.time for page in pages for row in page.records]
        present = transport.server_time()
        # Operators type dates of any year.
        until = datetime.fromtimestamp(present, UTC) + timedelta(days=1)
        newest = max((time for time in times if time <= until), default=None)
        if newest is None:
            self.skip("zone", f"no rows of the last {_DAYS} days to tell it from")
            return
        check = ClockCheck(self.account.zone)
        if check.see(int(newest.timestamp()), present) is None:
            age = timedelta(seconds=max(0.0, present - newest.timestamp()))
            text = f"{self.account.timezone} can be: the newest row is {duration_text(age)} old"
            if age > _FRESH:
                text += "; if the site's page shows a newer one, the zone is wrong"
            self.note("zone", text)
            return
        warning = check.warning or ""
        text = warning.partition(":")[0]
        offset = re.search(r"UTC([+-]\d+(?::\d\d)?)", warning)
        if offset is None:
            self.warn("zone", text, "no zone explains that: a row's date, or the clock, is wrong")
            return
        example = _ZONES.get(offset[1])
        named = f'"{example}", or another at UTC{offset[1]},' if example else f"UTC{offset[1]}"
        self.warn("zone", text, f"write timezone = {named} into the accounts file")

    async def _judge_rows(self, transport: Transport, page: AnyPage, method: str) -> None:
        what = "clicks" if method == "get_links" else "orders"
        seconds = [wire_second(wall) for wall in page.walls]
        start = self._start()
        if page.size == 0:
            self.note("rows", f"no {what} in the last {_DAYS} days")
            return
        text = f"{page.size:,} {what} of the last {_DAYS} days in one answer"
        self._judge_order(transport, seconds)
        usable = sorted({second for second in seconds if second > 0})
        if min(seconds) < start:
            self._filters_ignored(transport, "start_time: rows before it came")
        elif len(usable) < 2:
            self.skip("filters", "too few rows to tell")
        else:
            record: type[Exchange | Link] = Link if method == "get_links" else Exchange
            newer = await self._read(transport, method, record, {"start_time": usable[-1]})
            older = await self._read(transport, method, record, {"end_time": usable[0]})
            if any(wire_second(wall) < usable[-1] for wall in newer.walls):
                self._filters_ignored(transport, "start_time: rows before it came")
            elif any(wire_second(wall) > usable[0] for wall in older.walls):
                self._filters_ignored(transport, "end_time: rows after it came")
            else:
                self.note("filters", "start_time and end_time, in the form")
                if not {*older.ids} <= {*page.ids}:
                    self._judge_cap(page.size)
        self.results.setdefault("rows", CheckResult("rows", CheckState.OK, text))
        if traits_of(transport.dialect).capped is not False and page.size >= _FEW:
            await self._judge_pages(transport, page, method)
        elif traits_of(transport.dialect).capped is False:
            self.skip("pages", "answers are not cut into pages")

    def _judge_cap(self, rows: int) -> None:
        text = f"{rows:,} at the most, more are cut off without a sign"
        if rows < _SMALL_CAP:
            self.warn("rows", text, "nothing: ranges are read in more requests than usual")
        else:
            self.note("rows", f"{text}, which is seen to")

    def _filters_ignored(self, transport: Transport, what: str) -> None:
        is_cut = traits_of(transport.dialect).capped is not False
        advice = "every reading takes all there is; tell the site"
        if is_cut:
            advice = "ranges cannot be read whole; the site has to mend it"
        state = CheckState.FAILED if is_cut else CheckState.WARNING
        self.note("filters", f"the site ignores {what}", advice, state)

    async def _judge_pages(self, transport: Transport, page: AnyPage, method: str) -> None:
        """See whether `limit` and `offset` do what they should."""
        middle = page.size // 2
        record: type[Exchange | Link] = Link if method == "get_links" else Exchange
        part = await self._read(transport, method, record, {"offset": middle, "limit": 2})
        if not part.walls or len({*page.walls}) < _FEW // 2:
            self.skip("pages", "too few rows to tell")
        elif part.size > 2:
            self.warn("pages", "limit is ignored", "nothing: what comes too much is left out")
        # Rows that have come meanwhile move the others on.
        elif part.ids[0] in page.ids[: middle - 3] and part.walls[0] != page.walls[middle]:
            self.warn("pages", "offset is ignored", "nothing: shorter ranges are read instead")
        else:
            self.note("pages", "limit and offset are honoured")

    def _judge_order(self, transport: Transport, seconds: Sequence[int]) -> None:
        order = order_of(seconds)
        ties = max(Counter(seconds).values())
        shared = f"; up to {ties:,} rows share a second" if ties > 1 else ""
        is_promised = traits_of(transport.dialect).newest_first
        if order is TimeOrder.NONE:
            self.warn(
                "order",
                f"rows are in no order of time{shared}",
                "nothing; but where answers are cut, some ranges may not be proven complete",
            )
        elif order is TimeOrder.RISING and is_promised:
            self.warn(
                "order",
                f"oldest first, unlike other sites of its kind{shared}",
                "nothing: ranges are read in more requests than usual",
            )
        else:
            way = "oldest first" if order is TimeOrder.RISING else "newest first"
            self.note("order", f"{way}{shared}")

    def _judge_latency(self) -> None:
        seconds = [one.seconds for one in self.facts]
        middle = median(seconds)
        text = f"{middle:.2f} s, the median of {len(seconds)}; {max(seconds):.2f} s at the most"
        if middle > _SLOW:
            self.warn("latency", text, "nothing, if it stays so; syncs take long")
        else:
            self.note("latency", text)


_FINE = {
    "redirect": "none",
    "answer": "the API answers",
    "key": "accepted",
}


def _check_of(error: PPAPIError, otherwise: str) -> str:
    """Return the check that an error belongs to."""
    match error:
        case RedirectError():
            return "redirect"
        case AuthError() | ApiDisabledError():
            return "key"
        case MethodNotSupportedError():
            return "place" if otherwise == "answer" else otherwise
        case ResponseError(status=404 | 410):
            return "place" if otherwise == "answer" else otherwise
        case _:
            return otherwise
