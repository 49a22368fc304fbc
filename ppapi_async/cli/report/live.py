"""The report as a server shows it: always of the mirror as it is, to those who may see it.

It only reads. Each answer forbids the browser to keep it, to show it within another page, or to
load anything besides. Names that lead elsewhere are refused, or a page of somebody else could have
its own name lead here and read along. Where a token is set, it is asked for once, in a form, so
that it stands in no address; the browser then holds a random value that is good for this run.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias
from urllib.parse import parse_qsl

from aiohttp import web
from attrs import define, field, frozen

from ppapi_async.cli.report.data import ReportData
from ppapi_async.cli.report.page import ReportPage
from ppapi_async.errors import StateError

__all__ = ["LiveReport", "ReportSource", "is_loopback", "serving"]

_COOKIE = "ppapi_report"
_LOOK_EVERY = 2.0
"""Seconds between two looks at whether the mirror has changed."""
_REST = 9.0
"""A report is made anew after so many times the seconds that the last one took."""
_HEARTBEAT = 15.0
_MOST_VIEWERS = 64
_LARGEST_FORM = 4096
_SHUT_DOWN = 2.0
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "ppapi",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@frozen(kw_only=True)
class ReportSource:
    """Where reports come from."""

    gather: Callable[[], Awaitable[ReportData]]
    revision: Callable[[], Awaitable[str]]
    """Another text whenever the mirror has changed."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = field(factory=lambda: asyncio.get_running_loop().time)


def is_loopback(host: str) -> bool:
    """Tell whether a host leads to this machine only, whatever names it has elsewhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_same(given: str, secret: str) -> bool:
    """Compare in a time that tells nothing of the secret."""
    one, other = (text.encode("utf-8", "replace") for text in (given, secret))
    return hmac.compare_digest(one, other)


@define(eq=False)
class LiveReport:
    """Draws the report when somebody looks and the mirror has changed, and tells who is looking."""

    source: ReportSource
    page: ReportPage
    names: frozenset[str] = frozenset()
    """Names of hosts that lead here; addresses and localhost always do."""
    token: str | None = None
    """None: everybody who reaches it may look."""
    _drawn: str = ""
    _revision: str | None = None
    _rests_until: float = 0.0
    _drawing: asyncio.Lock = field(factory=asyncio.Lock)
    _news: asyncio.Condition = field(factory=asyncio.Condition)
    _announced: str | None = None
    _viewers: int = 0
    _is_closing: bool = False
    _cookie: str = field(factory=lambda: secrets.token_urlsafe(32))

    def app(self) -> web.Application:
        """Return the server's application."""
        app = web.Application(middlewares=[self._guard], client_max_size=_LARGEST_FORM)
        app.router.add_get("/", self._show)
        app.router.add_get("/events", self._tell)
        app.router.add_post("/enter", self._enter)
        app.cleanup_ctx.append(self._watching)
        app.on_shutdown.append(self._close)
        return app

    async def current(self) -> str:
        """Return the page of the mirror as it is; a little older where it was drawn just now."""
        async with self._drawing:
            revision = await self.source.revision()
            began = self.source.clock()
            if self._revision is None or (
                revision != self._revision and began >= self._rests_until
            ):
                data = await self.source.gather()
                self._drawn = await asyncio.to_thread(self.page.draw, data, revision=revision)
                self._revision = revision
                ended = self.source.clock()
                self._rests_until = ended + _REST * (ended - began)
            return self._drawn

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse who may not look, and give each answer its headers."""
        if not self._is_ours(request.host):
            response: web.StreamResponse = web.Response(
                status=421, text="This server does not go by that name.\n"
            )
        elif self._may_look(request) or request.path == "/enter":
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = web.Response(status=error.status, text=f"{error.reason}\n")
            except StateError as error:
                response = web.Response(status=503, text=f"{error}\n")
        elif request.path == "/":
            response = self._html(self.page.draw_entrance(), 401)
        else:
            response = web.Response(status=401, text="Unauthorized\n")
        if not response.prepared:
            self._dress(response)
        return response

    def _dress(self, response: web.StreamResponse) -> None:
        policy = self.page.policy.replace("form-action 'none'", "form-action 'self'")
        response.headers.update(_HEADERS)
        response.headers["Content-Security-Policy"] = f"{policy}; frame-ancestors 'none'"

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.removeprefix("[").removesuffix("]").lower()
        return _is_address(name) or name == "localhost" or name in self.names

    def _may_look(self, request: web.Request) -> bool:
        given = request.cookies.get(_COOKIE, "")
        return self.token is None or _is_same(given, self._cookie)

    def _html(self, text: str, status: int = 200) -> web.Response:
        return web.Response(status=status, text=text, content_type="text/html", charset="utf-8")

    async def _show(self, _: web.Request) -> web.Response:
        return self._html(await self.current())

    async def _enter(self, request: web.Request) -> web.Response:
        # Not `request.post`, which believes what a request says of its own charset and form.
        body = (await request.read()).decode("utf-8", "replace")
        given = dict(parse_qsl(body)).get("token", "")
        if self.token is None or not _is_same(given, self.token):
            return self._html(self.page.draw_entrance(is_refused=True), 403)
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(_COOKIE, self._cookie, httponly=True, samesite="Strict", path="/")
        return response

    async def _tell(self, request: web.Request) -> web.StreamResponse:
        """Send a line whenever there is something new, until the browser or the server ends."""
        if self._viewers >= _MOST_VIEWERS:
            raise web.HTTPServiceUnavailable
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._dress(response)
        self._viewers += 1
        try:
            await response.prepare(request)
            told = None
            while not self._is_closing:
                line = ": still here" if self._announced == told else f"data: {self._announced}"
                told = self._announced
                await response.write(f"{line}\n\n".encode())
                await self._wait_for_news(told)
        except ConnectionError:
            pass  # the browser has gone
        finally:
            self._viewers -= 1
        return response

    async def _watching(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._watch())
        yield
        task.cancel()
        await asyncio.wait([task])

    async def _watch(self) -> None:
        """See whether the mirror has changed, as long as somebody is looking."""
        while True:
            await self.source.sleep(_LOOK_EVERY)
            if not self._viewers or self.source.clock() < self._rests_until:
                continue
            with contextlib.suppress(StateError):  # who looks next is told
                await self._announce(await self.source.revision())

    async def _wait_for_news(self, told: str | None) -> None:
        async with self._news:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT):
                    await self._news.wait_for(lambda: self._is_closing or self._announced != told)

    async def _announce(self, revision: str | None) -> None:
        async with self._news:
            self._announced = revision
            self._news.notify_all()

    async def _close(self, _: web.Application) -> None:
        self._is_closing = True
        await self._announce(None)


@contextlib.asynccontextmanager
async def serving(report: LiveReport, host: str, port: int) -> AsyncIterator[int]:
    """Serve the report, and yield the port; connections that are open end with the block.

    Args:
        report: what is shown.
        host: the interface.
        port: 0: any that is free.

    Raises:
        OSError: the port is taken, or there is no such interface.
    """
    runner = web.AppRunner(
        report.app(), access_log=None, handle_signals=False, shutdown_timeout=_SHUT_DOWN
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        address = runner.addresses[0]
        yield int(address[1])
    finally:
        await runner.cleanup()
