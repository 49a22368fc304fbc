"""The key is nowhere: not in what errors show or hold, not in logs, warnings, hooks or reprs.

Pages echo the key in every spelling of `leaks.SPELLINGS`; asyncio's debug mode logs every callback.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import gc
import json
import logging
import pickle
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import aiohttp
import pytest

from ppapi_async import (
    Account,
    PayoutOutcomeUnknown,
    PPAPIError,
    RedirectError,
    RequestFacts,
    Session,
)
from ppapi_async.payouts import UNSETTLED
from ppapi_async.protocol import Answer, Reader
from ppapi_async.protocol.dialects import request_for
from tests.laboratory.catalogue import AFTER_SENDING
from tests.leaks import (
    SPELLINGS,
    assert_absent,
    assert_survives_pickling,
    assert_unlogged,
    find,
)
from tests.sites.raw import (
    KEY,
    LENDERS,
    PAGE,
    End,
    RawServer,
    Reply,
    Script,
    Seen,
    http,
    served,
)

LOGIN = "l0gin/Of=the&partner"
KEYS = {"plain": KEY, "odd": "k+/=&%ü\"<\\'9f3a7c21e8b04d65f1a2"}
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
CALLS: Mapping[str, Callable[[Session], Awaitable[object]]] = {
    "get_info": lambda session: session.get_info(),
    "get_payouts": lambda session: session.get_payouts(START, END),
    "get_links": lambda session: session.call("get_links", start_time=1),
    "add_payout": lambda session: session.add_payout(11, "TXabcdefgh"),
}


class Watch:
    """Looks at all that a program can see of the key while it talks to a site."""

    def __init__(self, key: str, log: pytest.LogCaptureFixture) -> None:
        self.key = key
        self.facts: list[RequestFacts] = []
        self._log = log

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Watch logs at DEBUG, every callback of the loop, and all warnings."""
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = -1.0
        self._log.clear()
        with self._log.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield
            gc.collect(1)
        loop.set_debug(False)
        assert [str(one.message) for one in warned] == []
        assert {"asyncio"} <= {record.name for record in self._log.records}
        self.check()

    def check(self) -> None:
        """Assert that neither the log nor the facts of the hook show the key."""
        for secret in (self.key, LOGIN):
            assert_unlogged(secret, self._log.records)
            assert_absent(secret, *self.facts)

    def check_error(self, error: BaseException) -> None:
        """Assert that an error shows no key, and is still whole after pickling."""
        assert_absent(self.key, error)
        assert_absent(LOGIN, error)
        assert_survives_pickling(error)


@pytest.fixture(params=KEYS)
def watch(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Watch:
    """Watch out for a key of letters and digits, and for one that every encoding changes."""
    return Watch(KEYS[request.param], caplog)


@contextlib.asynccontextmanager
async def watched(
    watch: Watch, method: str, script: Script, *, login: str | None = None
) -> AsyncIterator[tuple[RawServer, Session]]:
    """Open a session with a server that answers a method by the script; watch both."""
    opened = served(key=watch.key, login=login, on_request=watch.facts.append)
    with watch.on():
        async with opened as (server, session, _):
            server.script[method] = script
            yield server, session


async def error_of(call: Awaitable[object]) -> BaseException:
    """Return what a call raises."""
    try:
        result = await call
    except (PPAPIError, asyncio.CancelledError) as error:
        return error
    raise AssertionError(f"no error but {result!r}")


# --- faults


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("method", "login"),
    [("get_info", None), ("add_payout", None), ("add_payout", LOGIN)],
    ids=["read", "payout", "user-api"],
)
@pytest.mark.parametrize("fault", AFTER_SENDING)
async def test_no_fault_shows_the_key(
    fault: str, method: str, login: str | None, watch: Watch
) -> None:
    """Nothing that goes wrong on the way shows the key, be it in the query or in headers."""
    async with watched(watch, method, AFTER_SENDING[fault], login=login) as (server, session):
        error = await error_of(CALLS[method](session))
    watch.check_error(error)
    assert isinstance(error, PPAPIError)
    assert {urlsplit(seen.target).path.count("elsewhere") for seen in server.seen} == {0}
    assert watch.facts


@pytest.mark.parametrize("fault", ["hangs", "cut in the middle, hangs"])
@pytest.mark.parametrize("method", CALLS)
async def test_no_cancellation_shows_the_key(method: str, fault: str, watch: Watch) -> None:
    """What a cancelled task leaves, alone or turned into a TimeoutError, shows no key."""
    async with watched(watch, method, AFTER_SENDING[fault]) as (server, session):
        task = asyncio.ensure_future(CALLS[method](session))
        server.on_hang = task.cancel
        watch.check_error(await error_of(task))
        UNSETTLED.clear()  # as if somebody had looked what became of it
        expired = asyncio.timeout(None)
        server.on_hang = lambda: expired.reschedule(0)
        with pytest.raises(TimeoutError) as caught:
            await _within(expired, CALLS[method](session))
    assert_absent(watch.key, caught.value)


async def _within(limit: asyncio.Timeout, call: Awaitable[object]) -> None:
    async with limit:
        await call


async def test_a_cancelled_stream_shows_no_key(watch: Watch) -> None:
    """Nor do the windows that were being read at once when a stream was cancelled."""
    async with watched(watch, "get_payouts", AFTER_SENDING["hangs"]) as (server, session):
        stream = session.iter_payouts(START, END, window=END - START, concurrency=4)
        task = asyncio.ensure_future(anext(aiter(stream)))
        server.on_hang = task.cancel
        watch.check_error(await error_of(task))
        assert_absent(watch.key, stream, task)


async def test_a_failing_hook_shows_no_key(watch: Watch) -> None:
    """A hook's own failure is logged by the loop, without the key; the payout has its receipt."""

    def fail(facts: RequestFacts) -> None:
        raise RuntimeError(f"cannot count {facts}")

    with watch.on():
        async with served(key=watch.key, on_request=fail) as (_, session, _):
            await session.add_payout(11, "TXabcdefgh")
            await asyncio.sleep(0)


# --- pages that echo the key


def _json(**members: object) -> Reply:
    return http(200, json.dumps({"error": 0, "error_text": ""} | members))


def _row(**members: object) -> Reply:
    row: dict[str, object] = {"id": "1", "time": "1760000000", "account": "w"}
    return _json(data={"items": [row | members]})


def _raw(text: str) -> Reply:
    return Reply(text.encode(), End.CLOSE)


ANSWERS: Mapping[str, Callable[[str], Reply]] = {
    "page": lambda key: http(200, f"<p>No route for /api.html?api_key={key}&method=x</p>"),
    "page 500": lambda key: http(500, f"<a href='?api_key={key}'>{key}</a>"),
    "page 403": lambda key: http(403, key),
    "page 429": lambda key: http(429, key, Retry_After=key),
    "end of a page": lambda key: http(200, f"<p>{key[: len(key) * 3 // 4]}"),
    "end of a page, later": lambda key: http(200, f"<p>{key[:-1]}"),
    "end of what is looked at": lambda key: http(200, " " * (4100 - len(key)) + key),
    "cut body": lambda key: http(200, f"<p>{key}", cut=9, end=End.CLOSE),
    "notice": lambda key: http(200, f'Notice: {key} in /x.php on line 4\n{{"error":"{key}"}}'),
    "error_text": lambda key: _json(error=1, error_text=f"Key {key} is bad"),
    "end of error_text": lambda key: _json(error=1, error_text="x" * 480 + key[:-2]),
    "error": lambda key: _json(error=key),
    "status": lambda key: _json(status=key),
    "Location's query": lambda key: http(302, PAGE, Location=f"/api.php?api_key={key}"),
    "Location's path": lambda key: http(301, PAGE, Location=f"https://site.example/{key}/x"),
    "Location's fragment": lambda key: http(307, PAGE, Location=f"/x#{key}"),
    "Server": lambda key: http(502, PAGE, Server=f"nginx {key}", CF_RAY=key),
    "Set-Cookie": lambda key: http(500, PAGE, Set_Cookie=f"{key}={key}; path=/;{key}"),
    "Content-Type": lambda key: http(200, PAGE, Content_Type=f"text/html; x={key}"),
    "Content-Encoding": lambda key: http(200, PAGE, Content_Encoding=key),
    "Content-Length": lambda key: http(200, PAGE, Content_Length=key),
    "Transfer-Encoding": lambda key: http(200, PAGE, Transfer_Encoding=key),
    "chunk": lambda key: _raw(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{key}\r\n"),
    "reason": lambda key: _raw(f"HTTP/1.1 404 {key}\r\nContent-Length: 0\r\n\r\n"),
    "status line": lambda key: _raw(f"HTTP/1.1 {key}\r\n\r\n"),
    "no HTTP": lambda key: _raw(f"{key}\r\n\r\n"),
    "header without colon": lambda key: _raw(f"HTTP/1.1 200 OK\r\n{key}\r\n\r\n"),
    "name of a header": lambda key: _raw(f"HTTP/1.1 200 OK\r\n {key}: 1\r\n\r\n"),
}
DATA: Mapping[str, Callable[[str], Reply]] = {
    "data": lambda key: _json(data=key),
    "list of data": lambda key: _json(data=[key]),
    "long data": lambda key: _json(data="x" * 30 + key),
    "balance": lambda key: _json(data={"balance": "x" * 30 + key, "min_payout": {"a": key}}),
}
ROWS: Mapping[str, Callable[[str], Reply]] = {
    "data instead of rows": lambda key: _json(data=key),
    "list instead of rows": lambda key: _json(data=[key, key]),
    "value": lambda key: _row(time=key, account={"x": key}),
    "value within": lambda key: _row(time=[{"a": {"b": key}}], pay_amount=[key]),
    "long value": lambda key: _row(time="x" * 30 + key, pay_amount="x" * 40 + key),
    "name": lambda key: _json(data={"items": {key: {"id": f"x{key}"}}, key: 1}),
}
ECHOES = {**ANSWERS, **DATA, **ROWS}
_CELLS = [
    *((place, method) for place in ANSWERS for method in ("get_links", "add_payout")),
    *((place, "get_info") for place in DATA),
    *((place, "get_payouts") for place in ROWS),
]


@pytest.mark.untraced
@pytest.mark.parametrize(("place", "method"), _CELLS)
async def test_no_echo_shows_the_key(place: str, method: str, watch: Watch) -> None:
    """However and wherever an answer repeats the key, no error and no log does."""
    async with served(key=watch.key, on_request=watch.facts.append) as (server, session, _):
        for spelling in SPELLINGS.values():
            reply = ECHOES[place](spelling(watch.key))
            server.script[method] = functools.partial(_always, reply)
            watch.check_error(await error_of(CALLS[method](session)))
    watch.check()


@pytest.mark.parametrize("place", ["page", "error_text", "Location's path"])
async def test_no_echo_shows_the_login(place: str, watch: Watch) -> None:
    """The login of the User API is as secret as the key."""
    async with served(key=watch.key, login=LOGIN) as (server, session, _):
        for spelling in SPELLINGS.values():
            reply = ECHOES[place](f"{spelling(LOGIN)} {spelling(watch.key)}")
            server.script["get_links"] = functools.partial(_always, reply)
            watch.check_error(await error_of(CALLS["get_links"](session)))


def _always(reply: Reply, _: Seen) -> Reply:
    return reply


# --- reprs, copies, misuse


async def test_no_repr_shows_the_key(watch: Watch) -> None:
    """Whatever holds the key does not print it, nor does the refusal to pickle it."""
    account = Account("https://site.example", watch.key, api_login=LOGIN)
    reader = Reader(account, "get_info")
    request = request_for(account, None, "https://site.example/api.html", "get_info", {})
    page = Answer(200, {"Location": watch.key}, watch.key.encode())
    async with Session(account) as session:
        stream = session.iter_payouts(START, END)
        holders = (
            session,
            account,
            account.api_key,
            stream,
            session._connection.transport,
            request,
            reader,
            page,
        )
        for secret in (watch.key, LOGIN):
            assert_absent(secret, *holders, vars(session), f"{account}", account.fingerprint)
        for holder in (account, account.api_key, session._connection.transport, request, reader):
            with pytest.raises(TypeError) as caught:
                pickle.dumps(holder)
            assert_absent(watch.key, caught.value)
    assert account.api_key.reveal() == copy.deepcopy(account).api_key.reveal() == watch.key


PUBLIC = (
    "http://site.example",
    "http://10.0.0.1:8080",
    "http://127.0.0.1.example",
    "http://localhost.example/api.html",
    "http://[2001:db8::1]",
    "http://0.0.0.0",
)


@pytest.mark.parametrize("url", PUBLIC)
def test_http_to_another_host_is_refused(url: str, watch: Watch) -> None:
    """The key travels unencrypted to loopback addresses only, unless that is asked for."""
    with pytest.raises(ValueError, match="allow_http=True") as caught:
        Session(url, watch.key)
    assert find(watch.key, f"{caught.value!r}{vars(caught.value)}") is None
    assert Account(url, watch.key, allow_http=True).url == url


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_http_to_a_loopback_address_is_accepted(host: str) -> None:
    """What does not leave this machine need not be encrypted."""
    assert Account(f"http://{host}:8080", KEY).url == f"http://{host}:8080"


MISUSE: Mapping[str, Callable[[str], object]] = {
    "http": lambda key: Account("http://site.example", key),
    "session": lambda key: Session("http://site.example", key),
    "zone": lambda key: Account("https://site.example", key, timezone="Mars/Phobos"),
    "name": lambda key: Account("https://site.example", key, name=f"my {key}"),
    "url": lambda key: Account(f"https://site.example/api.html?api_key={key}", key),
    "white space": lambda key: Account("https://site.example", f"{key} "),
    "link": lambda key: Account.from_link(f"http://site.example/api.html?api_key={key}"),
    "link of control characters": lambda key: Account.from_link(
        f"https://site.example\t.evil/api.html?api_key={key}"
    ),
    "path": lambda key: Account(f"https://site.example/{quote(key, safe='')}", key),
    "user": lambda key: Account(f"https://{quote(key, safe='')}@site.example", key),
    "host": lambda key: Account(f"https://{quote(key, safe='')}.example", key),
    "control characters": lambda key: Account("https://site.example", f"{key}\x1b"),
    "name of control characters": lambda key: Account("https://site.example", key, name=f"{key}\n"),
    "zone that is the key": lambda key: Account("https://site.example", key, timezone=key),
    "login": lambda key: Account("https://site.example", "k" * 32, api_login=f"{key}\n"),
    "proxy": lambda key: Account("https://site.example", "k" * 32, proxy=f"sox://u:{key}@a.b"),
    "proxy, unquoted": lambda key: Account(
        "https://site.example", "k" * 32, proxy=f"http://u:{key}/@127.0.0.1"
    ),
    "proxy of control characters": lambda key: Account(
        "https://site.example", "k" * 32, proxy=f"http://u:{key}\r\n@127.0.0.1"
    ),
    "session and proxy": lambda key: Session(
        Account("http://127.0.0.1", "k" * 32, proxy=f"http://u:{quote(key)}@proxy.example")
    ),
}


@pytest.mark.parametrize("misuse", MISUSE)
def test_no_misuse_shows_the_key(misuse: str, watch: Watch) -> None:
    """A ValueError of a constructor does not hold the key, its traceback's locals included."""
    with pytest.raises(ValueError, match=":") as caught:
        MISUSE[misuse](watch.key)
    assert_absent(watch.key, caught.value)


async def test_no_host_makes_an_error_that_shows_the_key(watch: Watch) -> None:
    """A url that only yarl refuses is refused by Account, or comes to a PPAPIError."""
    try:
        account = Account("https://site\\example", watch.key)
    except ValueError:
        return
    async with Session(account) as session:
        watch.check_error(await error_of(session.get_info()))


async def test_a_key_of_broken_bytes_is_refused_without_showing_it() -> None:
    """os.environ makes surrogates of bytes that are not UTF-8: not a key that can be sent."""
    key = f"{KEY}\udcfc"
    try:
        account = Account("https://127.0.0.1:9", key)
    except ValueError:
        return
    async with Session(account) as session:
        assert_absent(KEY, await error_of(session.get_info()))


# --- where else it might go


@pytest.mark.untraced
@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int, method: str, watch: Watch) -> None:
    """Neither the site itself nor the host that it points to is sent anything more."""
    async with RawServer() as elsewhere:

        def redirect(seen: Seen) -> Reply:
            return http(status, PAGE, Location=elsewhere.url + seen.target)

        async with watched(watch, method, redirect) as (server, session):
            error = await error_of(CALLS[method](session))
    cause = error.__cause__ if isinstance(error, PayoutOutcomeUnknown) else error
    assert isinstance(cause, RedirectError)
    assert cause.location == f"{elsewhere.url}/api.html"
    assert server.count(method) == 1
    assert elsewhere.connections == 0
    watch.check_error(error)


@pytest.mark.parametrize("lender", LENDERS)
async def test_no_cookie_is_sent_back(lender: str) -> None:
    """Sites set cookies with every answer; no request brings one, nor one that a lender has."""
    async with served(lender) as (server, session, used):
        await session.get_info()
        await session.get_payouts(START, END)
        await session.add_payout(11, "w")
    assert len(server.seen) >= 3
    assert [seen.headers["cookie"] for seen in server.seen if "cookie" in seen.headers] == []
    assert used == []


@pytest.mark.parametrize("lent", [False, True], ids=["own", "borrowed"])
async def test_no_proxy_of_the_environment_is_used(
    lent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY and its like are not trusted with the key, nor are a lender's defaults."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with RawServer() as proxy, RawServer() as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with aiohttp.ClientSession(headers={"X-Lent": "1"}) as lender:
            http_session = lender if lent else None
            async with Session(server.url, KEY, http=http_session) as session:
                await session.get_info()
                await session.add_payout(11, "w")
    assert (proxy.connections, len(server.seen)) == (0, 2)
    assert not any("x-lent" in seen.headers for seen in server.seen)
