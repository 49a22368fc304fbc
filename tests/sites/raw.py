"""A raw socket server that counts every request head that arrives, and answers by script.

Raw, because what matters is what really came over the wire: an HTTP library on this side would
hide a request that came twice, or an answer that is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

import aiohttp
from attrs import define, field, frozen

from ppapi_async import Account, Hooks, PPAPIError, RequestFacts, Retry, Session
from ppapi_async.sandbox import SentAnswer

__all__ = [
    "COOKIE",
    "HOOKS",
    "INFO",
    "KEY",
    "LENDERS",
    "NOW",
    "PAGE",
    "Clock",
    "End",
    "Flow",
    "RawServer",
    "Reply",
    "Script",
    "Seen",
    "Send",
    "http",
    "http_bytes",
    "outcome_of",
    "served",
]

KEY = "Ab3dEf6hIj9kLmN0pQrStUv2xYz45678"
NOW = 1_760_000_000
COOKIE = "PHPSESSID=s3ss10n; path=/"
"""Which is set with every answer."""
Send: TypeAlias = Callable[[bytes], Awaitable[None]]
Flow: TypeAlias = Callable[[Send], Awaitable[None]]
"""What is sent over time."""
Lender: TypeAlias = Callable[[list[str]], aiohttp.ClientSession | None]
_NO_LINGER = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN
_USER_API = {
    "get_partner_info": "get_info",
    "get_partner_links": "get_links",
    "get_partner_exchanges": "get_exchanges",
    "get_partner_payouts": "get_payouts",
    "add_partner_payout": "add_payout",
}


class End(Enum):
    """What becomes of the connection after a reply."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()
    HANG = auto()


@frozen
class Reply:
    """The bytes to answer with, and what comes after them."""

    data: bytes = b""
    end: End = End.KEEP
    flow: Flow | None = None
    """Sends more, in its own time; ends with the connection."""


@define
class Seen:
    """A request of which at least the whole head arrived."""

    method: str
    verb: str
    target: str
    headers: Mapping[str, str]
    connection: int
    body: bytes = b""


Script = Callable[[Seen], Reply]


def http(
    status: int | str, body: bytes | str = b"", *, end: End = End.KEEP, cut: int = 0, **more: str
) -> Reply:
    """Return a well-formed answer; `cut` leaves out bytes at its end, `more` are headers."""
    data = body.encode() if isinstance(body, str) else body
    answer = SentAnswer(200, {"Content-Type": "application/json"}, data, (COOKIE,))
    whole = http_bytes(answer, str(status), **more)
    return Reply(whole[: len(whole) - cut], end)


def http_bytes(answer: SentAnswer, status: str = "", **more: str) -> bytes:
    """Return a well-formed HTTP answer; `more` are headers, which replace those of the answer."""
    headers = {"Content-Length": str(len(answer.body)), **answer.headers}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    head += "".join(f"Set-Cookie: {cookie}\r\n" for cookie in answer.cookies)
    return f"HTTP/1.1 {status or answer.status} X\r\n{head}\r\n".encode() + answer.body


INFO = '{"error":0,"error_text":"","data":{"balance":"122.01","min_payout":"10"}}'
RECEIPT = '{"error":0,"error_text":"Payout is successfully requested","data":{"payout_id":"7"}}'
PAGE = "<html><body>Hello</body></html>"
_ROUTES: Mapping[str, Script] = {
    "get_info": lambda _: http(200, INFO),
    "add_payout": lambda _: http(200, RECEIPT),
    "get_payouts": lambda _: http(200, '{"error":0,"error_text":""}'),
}


@define(eq=False)
class RawServer:
    """Listens on a loopback address; `seen` has all requests, also those without an answer.

    ``async with RawServer() as server: ...`` ends when the clients have closed their connections:
    only then is it certain that nothing more arrives.
    """

    script: dict[str, Script] = field(factory=lambda: dict(_ROUTES))
    on_hang: Callable[[], object] = bool
    on_bytes: Reply | None = None
    """Answers the first bytes of a connection, be they what they may: no TLS, for instance."""
    on_connection: Reply | None = None
    """Is said before anything has come."""
    seen: list[Seen] = field(factory=list)
    bytes_seen: int = 0
    heads: list[bytes] = field(factory=list)
    """What `on_bytes` has answered."""
    connections: int = 0
    flows: set[asyncio.Task[None]] = field(factory=set)
    """Answers that are still being sent."""
    url: str = ""
    _open: set[asyncio.BaseTransport] = field(factory=set)
    _idle: asyncio.Event = field(factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _address: tuple[str, int] = ("127.0.0.1", 0)
    _reserved: socket.socket | None = None

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def listen(self) -> None:
        """Listen; after `refuse` or `accept_nobody` at the same port, also to those who waited."""
        loop = asyncio.get_running_loop()
        listener = self._reserved or socket.create_server(("127.0.0.1", 0))
        self._reserved = None
        self._server = await loop.create_server(lambda: _Connection(self), sock=listener)
        self._address = listener.getsockname()
        self.url = f"http://127.0.0.1:{self._address[1]}"

    def refuse(self) -> None:
        """Close all connections, and the port: nobody listens any more."""
        assert self._server is not None
        self._server.close()
        self.hang_up()
        self._reserved = socket.socket()  # bound, so that nobody else gets the port meanwhile
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(self._address)

    def accept_nobody(self) -> None:
        """Leave callers to the kernel: they connect, and are not answered until `listen`."""
        self.refuse()
        assert self._reserved is not None
        self._reserved.listen()

    def hang_up(self) -> None:
        """Close all connections."""
        for transport in self._open:
            transport.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        if self._reserved is not None:
            self._reserved.close()
        if error is not None:
            self.hang_up()
        while self._open:
            self._idle.clear()
            await self._idle.wait()

    def count(self, method: str) -> int:
        """Return how many requests for a method arrived."""
        return sum(seen.method == method for seen in self.seen)

    def reply(self, seen: Seen) -> Reply:
        """Return what the script has for this request; all that it lacks is refused."""
        script = self.script.get(seen.method)
        refusal = json.dumps({"error": 1, "error_text": "Api disabled"})
        return http(200, refusal) if script is None else script(seen)

    def opened(self, transport: asyncio.BaseTransport) -> int:
        """Note a new connection and return its number."""
        self._open.add(transport)
        self.connections += 1
        return self.connections

    def lost(self, transport: asyncio.BaseTransport) -> None:
        """Note the end of a connection."""
        self._open.discard(transport)
        self._idle.set()


class _Connection(asyncio.Protocol):
    """One connection: counts a head as soon as it is whole, answers when the body is."""

    def __init__(self, server: RawServer) -> None:
        self._server = server
        self._buffer = b""
        self._waiting: Seen | None = None
        self._number = 0
        self._flow: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._number = self._server.opened(transport)
        self._writable.set()
        if self._server.on_connection is not None:
            self._answer(self._server.on_connection)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._flow is not None:
            self._flow.cancel()
        self._server.lost(self._transport)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def _send(self, data: bytes) -> None:
        """Write, at the pace of whoever reads."""
        self._transport.write(data)
        await asyncio.sleep(0)  # else a flow to a connection that is gone would never end
        await self._writable.wait()

    def data_received(self, data: bytes) -> None:
        self._server.bytes_seen += len(data)
        self._buffer += data
        if self._server.on_bytes is not None:
            self._server.heads.append(data)
            self._answer(self._server.on_bytes)
            return
        while self._take():
            pass

    def _take(self) -> bool:
        """Take a head or a body off the buffer; return whether there may be more."""
        if self._waiting is None:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return False
            self._waiting, self._buffer = _read_head(head.decode("latin-1"), self._number), rest
            self._server.seen.append(self._waiting)
        length = int(self._waiting.headers.get("content-length", "0"))
        if len(self._buffer) < length:
            return False
        seen, self._waiting = self._waiting, None
        seen.body, self._buffer = self._buffer[:length], self._buffer[length:]
        self._answer(self._server.reply(seen))
        return True

    def _answer(self, reply: Reply) -> None:
        if reply.data:
            self._transport.write(reply.data)
        if reply.flow is None:
            self._end(reply)
        else:
            self._flow = asyncio.create_task(self._carry_out(reply.flow, reply))
            self._server.flows.add(self._flow)
            self._flow.add_done_callback(self._server.flows.discard)

    async def _carry_out(self, flow: Flow, reply: Reply) -> None:
        await flow(self._send)
        self._end(reply)

    def _end(self, reply: Reply) -> None:
        if reply.end is End.RESET:
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._transport.abort()
        elif reply.end is End.CLOSE:
            self._transport.close()
        elif reply.end is End.HANG:
            # Not at once: what was written shall have arrived before time flies.
            asyncio.get_running_loop().call_soon(self._server.on_hang)


def _read_head(head: str, connection: int) -> Seen:
    first, *lines = head.split("\r\n")
    verb, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    parts = urlsplit(target)
    last = parts.path.rpartition("/")[2]
    method = parse_qs(parts.query).get("method", [_USER_API.get(last, last)])[-1]
    return Seen(method, verb, target, headers, connection)


class Clock:
    """Makes time fly for the running loop, so that time-outs end without waiting."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._time = functools.partial(type(loop).time, loop)  # not an earlier clock's
        self._ahead = 0.0
        loop.time = self.time  # type: ignore[method-assign]

    def time(self) -> float:
        """Return the loop's time, what was skipped included."""
        return self._time() + self._ahead

    def fly(self, step: float = 0.5, times: int = 300) -> None:
        """Go on by a step, and by another in each turn of the loop, so that timers keep order."""
        self._ahead += step
        if times > 1:
            asyncio.get_running_loop().call_soon(self.fly, step, times - 1)


async def instantly(_: float) -> None:
    """Sleep not at all."""
    await asyncio.sleep(0)


EAGER = Retry(attempts=4, delay=timedelta(), budget=99)
HOOKS = Hooks(clock=lambda: float(NOW), sleep=instantly)


async def outcome_of(call: Awaitable[object]) -> object:
    """Return what a call returns or raises."""
    try:
        return await call
    except (PPAPIError, asyncio.CancelledError) as error:
        return error


# --- sessions that talk to the server, and whose aiohttp sessions; these note what of them is used


def _with_cookies(used: list[str]) -> aiohttp.ClientSession:
    class Jar(aiohttp.CookieJar):
        def update_cookies_from_headers(self, *args: Any) -> None:
            used.append("cookie jar")

    jar = Jar(unsafe=True)
    jar.update_cookies({"PHPSESSID": "lent"})
    return aiohttp.ClientSession(cookie_jar=jar)


def _retrying(used: list[str]) -> aiohttp.ClientSession:
    async def retry(
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        used.append("middleware")
        for _ in range(2):
            with contextlib.suppress(aiohttp.ClientError):
                response = await handler(request)
                if response.status == 200:
                    return response
        return await handler(request)

    return aiohttp.ClientSession(middlewares=(retry,))


def _tracing(used: list[str]) -> aiohttp.ClientSession:
    async def trace(*_: object) -> None:
        used.append("trace")

    config = aiohttp.TraceConfig()
    config.on_request_start.append(trace)
    config.on_request_exception.append(trace)
    config.on_connection_create_start.append(trace)
    return aiohttp.ClientSession(trace_configs=[config])


def _opinionated(used: list[str]) -> aiohttp.ClientSession:
    """Have an opinion on all that a session may have one on."""

    def no_json(_: object) -> str:
        used.append("JSON")
        return "{}"

    return aiohttp.ClientSession(
        base_url="http://127.0.0.1:9",
        headers={"X-Lent": "1", "Authorization": "Basic bGVudDpsZW50", "Expect": "100-continue"},
        skip_auto_headers=["Content-Type"],
        json_serialize=no_json,
        timeout=aiohttp.ClientTimeout(1e-9, 1e-9, 1e-9, 1e-9),
        read_bufsize=1,
        auto_decompress=True,
        max_line_size=8,
        version=aiohttp.HttpVersion10,
    )


LENDERS: Mapping[str, Lender] = {
    "own": lambda _: None,
    "borrowed": lambda _: aiohttp.ClientSession(),
    "raise_for_status": lambda _: aiohttp.ClientSession(raise_for_status=True),
    "cookie jar": _with_cookies,
    "retrying middleware": _retrying,
    "trace configs": _tracing,
    "opinions": _opinionated,
}


@contextlib.asynccontextmanager
async def served(
    lender: str = "own",
    *,
    key: str = KEY,
    login: str | None = None,
    tls: bool = False,
    on_bytes: Reply | None = None,
    on_request: Callable[[RequestFacts], object] | None = None,
    **scripts: Script,
) -> AsyncIterator[tuple[RawServer, Session, list[str]]]:
    """Open a server, and a session as eager to retry as can be, on what is lent to it.

    Where the server hangs, time flies. Afterwards all connections have been closed.
    """
    used: list[str] = []
    async with RawServer(on_hang=Clock().fly, on_bytes=on_bytes) as server:
        server.script |= scripts
        url = server.url.replace("http:", "https:") if tls else server.url
        account = Account(url, key, api_login=login)
        lent = LENDERS[lender](used)
        try:
            async with Session(
                account, http=lent, retry=EAGER, hooks=HOOKS, on_request=on_request
            ) as session:
                yield server, session, used
        finally:
            if lent is not None:
                await lent.close()
