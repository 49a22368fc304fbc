"""Whoever looks over the program's shoulder: error trackers, tracers, debuggers, logs, lenders.

Sentry and OpenTelemetry are the real ones, in processes of their own: see `observed`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import gzip
import json
import logging
import os
import subprocess
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ppapi_async import Account, Fleet, PPAPIError, Session
from tests import virtual_time
from tests.leaks import assert_absent, assert_unlogged, find
from tests.security.observed import CARELESS, CARELESS_FRAME, HEADERS, OBSERVERS, work
from tests.security.troubles import END, KEY_VARIABLE, START, TROUBLES, WALLET, error_classes, meet
from tests.sites.raw import HOOKS, INFO, KEY, PAGE, RawServer, Seen, http, served

ROOT = Path(__file__).parents[2]
AIOHTTP_LOGGERS = ("access", "client", "internal", "server", "web", "websocket")
ODD_KEY = "k+/=&%ü\"<\\'9f3a7c21e8b04d65f1a2"


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the program a key that every encoding changes."""
    monkeypatch.setenv(KEY_VARIABLE, ODD_KEY)
    return ODD_KEY


# --- observers


@functools.cache
def surfaces_of(observer: str) -> Mapping[str, str]:
    """Return all that an observer was told of a program, by what the program did."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.observed", observer],
        cwd=ROOT,
        env={**os.environ, KEY_VARIABLE: KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert_absent(KEY, done.stderr)
    all_told: dict[str, str] = json.loads(done.stdout)
    return all_told


@pytest.mark.one_worker
@pytest.mark.parametrize("observer", OBSERVERS)
def test_the_observer_looks(observer: str) -> None:
    """What is known to show the key does show it to this observer: the other tests can fail."""
    careless = {CARELESS, CARELESS_FRAME} & surfaces_of(observer).keys()
    assert careless
    assert [name for name in careless if find(KEY, surfaces_of(observer)[name]) is None] == []


@pytest.mark.one_worker
@pytest.mark.parametrize("observer", OBSERVERS)
def test_no_observer_is_told_the_key(observer: str) -> None:
    """Neither of a day's work nor of any trouble, though it wraps aiohttp and captures locals."""
    shown = {
        name: find(KEY, text)
        for name, text in surfaces_of(observer).items()
        if name not in (CARELESS, CARELESS_FRAME)
    }
    assert {name: found for name, found in shown.items() if found is not None} == {}


@pytest.mark.one_worker
@pytest.mark.parametrize("observer", ["sentry", "opentelemetry"])
def test_each_class_of_error_was_observed(observer: str) -> None:
    """The troubles cover the whole error tree."""
    everything = "\n".join(surfaces_of(observer).values())
    assert [kind for kind in error_classes() if kind.__name__ not in everything] == []


@pytest.mark.one_worker
@pytest.mark.parametrize("observer", ["sentry", "opentelemetry"])
def test_no_site_is_told_of_the_observer(observer: str) -> None:
    """Tracers add headers of their own to requests; what is ours carries none."""
    names = set(surfaces_of(observer)[HEADERS].split())
    assert {"host", "user-agent"} <= names
    assert names & {"sentry-trace", "baggage", "traceparent", "tracestate", "b3"} == set()


@pytest.mark.one_worker
def test_the_interpreter_had_something_to_say() -> None:
    """What was forgotten was warned of: unclosed sessions, pending tasks, slow callbacks."""
    heard = surfaces_of("interpreter")
    assert "never retrieved" in heard["forgotten call"]
    assert "Unclosed client session" in heard["forgotten session"]
    assert "was destroyed but it is pending" in heard["closed loop"]
    assert "took" in heard["slow callbacks"]
    assert "socket.connect" in heard["audit"]


# --- aiohttp, wrapped in this process


def _tracing(used: list[str]) -> aiohttp.TraceConfig:
    async def trace(_: object, __: object, params: object) -> None:
        used.append(repr(params))

    config = aiohttp.TraceConfig()
    for signal in (config.on_request_start, config.on_request_end, config.on_request_exception):
        signal.append(trace)
    return config


@pytest.mark.parametrize("lender", ["own", "borrowed"])
async def test_traces_put_into_every_session_see_nothing(
    lender: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Sentry and OpenTelemetry put them there, and whatever a site answers."""
    used: list[str] = []
    plain = aiohttp.ClientSession.__init__

    def traced(self: aiohttp.ClientSession, **options: Any) -> None:
        options["trace_configs"] = [*(options.get("trace_configs") or ()), _tracing(used)]
        plain(self, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", traced)
    async with served(lender) as (server, session, _):
        await _use_all(session)
        async with aiohttp.ClientSession() as careless, careless.get(server.url):
            pass
    assert len(used) == 2  # aiohttp's own request


async def _refuse(*_: object) -> None:
    raise AssertionError("a hook of the program's was called")


_ZIPPED = gzip.compress(INFO.encode())


def _login() -> aiohttp.BasicAuth:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # aiohttp 3.14; lenders have it still
        return aiohttp.BasicAuth("lent", "lent")


HOSTILE: Mapping[str, object] = {
    "auth": _login(),
    "proxy": "http://127.0.0.1:9",
    "proxy_auth": _login(),
    "trust_env": True,
    "raise_for_status": True,
    "base_url": "http://127.0.0.1:9",
    "headers": {"X-Lent": "1"},
    "auto_decompress": True,
    "timeout": aiohttp.ClientTimeout(total=1e-9),
    "middlewares": (_refuse,),
}


@pytest.mark.filterwarnings("ignore:.*auth:DeprecationWarning")  # aiohttp 3.14
async def test_defaults_put_into_every_session_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program that wraps `ClientSession.__init__` to have a proxy everywhere changes nothing."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    expected = await _all_sent(None)
    jar = aiohttp.CookieJar(unsafe=True)
    jar.update_cookies({"PHPSESSID": "lent"})
    plain = aiohttp.ClientSession.__init__
    hostile = functools.partialmethod(plain, **HOSTILE, cookie_jar=jar)
    monkeypatch.setattr(aiohttp.ClientSession, "__init__", hostile)
    assert await _all_sent(None) == expected


async def _use_all(session: Session) -> list[object]:
    """Return what each kind of call comes to."""
    came: list[object] = [await session.get_info()]
    came += [payout async for payout in session.iter_payouts(START, END)]
    try:
        await session.get_links(START, END)
    except PPAPIError as error:
        came.append(repr(error))
    return [*came, await session.add_payout(11, WALLET)]


def _head(seen: Seen) -> object:
    headers = {name: value for name, value in seen.headers.items() if name != "host"}
    return seen.verb, seen.target, headers, seen.body


async def _all_sent(lent: aiohttp.ClientSession | None) -> object:
    """Return the requests that a session and a fleet send, and what calls come to."""
    async with RawServer() as server:
        server.script["get_info"] = lambda _: http(200, _ZIPPED, Content_Encoding="gzip")
        server.script["get_links"] = lambda _: http(501, PAGE)
        account = Account(server.url, KEY, name="site")
        async with Session(account, http=lent, hooks=HOOKS) as session:
            came = await _use_all(session)
        async with Fleet([account], http=lent) as fleet:
            came.append(await fleet.get_info())
        if lent is not None:
            assert not lent.closed
            assert lent.connector is not None
            await lent.connector.close()
    return [_head(seen) for seen in server.seen], came


# --- lenders


def _no_json(_: object) -> str:
    raise AssertionError("the lender's JSON was used")


def _jar() -> aiohttp.CookieJar:
    jar = aiohttp.CookieJar(unsafe=True)
    jar.update_cookies({"PHPSESSID": "lent"})
    return jar


def _failing_trace() -> aiohttp.TraceConfig:
    config = aiohttp.TraceConfig()
    config.on_request_start.append(_refuse)
    config.on_connection_create_start.append(_refuse)
    return config


OPTIONS: Mapping[str, Callable[[str], Mapping[str, Any]]] = {
    "raise_for_status": lambda _: {"raise_for_status": True},
    "raise_for_status, called": lambda _: {"raise_for_status": _refuse},
    "cookie jar": lambda _: {"cookie_jar": _jar()},
    "cookies": lambda _: {"cookies": {"PHPSESSID": "lent"}},
    "base_url": lambda proxy: {"base_url": proxy},
    "headers": lambda _: {"headers": {"X-Lent": "1", "User-Agent": "lent", "Accept": "*/*"}},
    "skipped headers": lambda _: {"skip_auto_headers": ["User-Agent", "Content-Type"]},
    "auth": lambda _: {"auth": _login()},
    "trace configs": lambda _: {"trace_configs": [_failing_trace()]},
    "middlewares": lambda _: {"middlewares": (_refuse,)},
    "json_serialize": lambda _: {"json_serialize": _no_json},
    "short time-outs": lambda _: {"timeout": aiohttp.ClientTimeout(1e-9, 1e-9, 1e-9, 1e-9)},
    "read_bufsize": lambda _: {"read_bufsize": 1},
    "auto_decompress": lambda _: {"auto_decompress": False},
    "HTTP/1.0": lambda _: {"version": aiohttp.HttpVersion10},
    "short lines": lambda _: {"max_line_size": 8, "max_field_size": 8},
}
if "middlewares" not in HOSTILE:
    OPTIONS = {name: options for name, options in OPTIONS.items() if name != "middlewares"}


@pytest.mark.filterwarnings("ignore:.*auth:DeprecationWarning")  # aiohttp 3.14
@pytest.mark.parametrize("name", OPTIONS)
async def test_a_lent_session_sends_what_one_of_our_own_would(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Request by request: no cookie, proxy, header or login of the lender, each request once."""
    expected = await _all_sent(None)
    netrc = tmp_path / "netrc"
    netrc.write_text("default login lent password lent\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with RawServer() as proxy:
        for variable in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(variable, proxy.url)
        async with aiohttp.ClientSession(**OPTIONS[name](proxy.url)) as lender:
            assert await _all_sent(lender) == expected
    assert (proxy.connections, proxy.seen) == (0, [])


async def test_a_lender_goes_on_as_before() -> None:
    """Its session keeps its cookies, traces and headers while it is lent and afterwards."""
    used: list[str] = []
    options: dict[str, Any] = {"headers": {"X-Lent": "1"}, "cookie_jar": _jar()}
    options["trace_configs"] = [_tracing(used)]
    async with RawServer() as server, aiohttp.ClientSession(**options) as lender:
        for _ in range(2):
            async with Session(server.url, KEY, http=lender) as session:
                await _use_all(session)
            async with Fleet([Account(server.url, KEY)], http=lender) as fleet:
                await fleet.get_info()
            async with lender.get(server.url) as response:
                assert response.status == 200
    lent = [seen for seen in server.seen if "x-lent" in seen.headers]
    assert [seen.headers["cookie"] for seen in lent] == ["PHPSESSID=lent", "PHPSESSID=s3ss10n"]
    assert len(used) == 4
    assert server.connections == 3  # one, and a fresh one for each payout


# --- debuggers, and whatever else walks through frames


def _walk(thing: object, path: str, seen: dict[int, object]) -> Iterator[tuple[str, str]]:
    """Return all texts that can be reached through attributes, slots, items and cells."""
    if id(thing) in seen or isinstance(thing, types.ModuleType | type | types.FunctionType):
        return
    seen[id(thing)] = thing
    if isinstance(thing, str | bytes):
        yield path, repr(thing)
    for name, value in _within(thing):
        yield from _walk(value, f"{path}.{name}", seen)


def _within(thing: object) -> Iterator[tuple[str, object]]:
    if isinstance(thing, Mapping):
        yield from ((f"[{key!r}]", value) for key, value in thing.items())
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from ((f"[{n}]", value) for n, value in enumerate(thing))
    if type(thing).__module__.partition(".")[0] in {"tests", "asyncio", "_asyncio", "_pytest"}:
        return  # the server is in this process, and the loop knows it
    yield from getattr(thing, "__dict__", {}).items()
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            mangled = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") else name
            if hasattr(thing, mangled):
                yield name, getattr(thing, mangled)


def _frames(error: BaseException) -> Iterator[tuple[str, object]]:
    chain: list[BaseException | None] = [error]
    for one in chain:
        if one is not None:
            yield type(one).__name__, one
            yield from (
                (frame.f_code.co_qualname, frame.f_locals)
                for frame, _ in traceback.walk_tb(one.__traceback__)
            )
            chain += [one.__cause__, one.__context__]


@pytest.mark.parametrize("name", TROUBLES)
def test_no_walk_through_frames_finds_the_key(name: str, key: str) -> None:
    """Attribute by attribute and slot by slot, the program's own session and fleet included."""
    met: list[tuple[str, str]] = []

    def look(error: BaseException) -> None:
        captured = traceback.TracebackException.from_exception(error, capture_locals=True)
        met.append(("traceback", "".join(captured.format())))
        for where, thing in _frames(error):
            met.extend(_walk(thing, where, {}))

    virtual_time.run(meet(name, look))
    assert len(met) > 1
    assert {where: found for where, text in met if (found := find(key, text)) is not None} == {}


# --- logs


@pytest.mark.untraced
@pytest.mark.parametrize("part", range(4))
def test_nothing_logs_the_key(part: int, key: str, caplog: pytest.LogCaptureFixture) -> None:
    """All loggers at DEBUG, asyncio's debug mode, warnings as log records, errors with traces."""
    for name in AIOHTTP_LOGGERS:
        caplog.set_level(logging.DEBUG, f"aiohttp.{name}")
    caplog.set_level(logging.DEBUG)
    logging.captureWarnings(capture=True)

    def log(error: BaseException) -> None:
        logging.getLogger("program").error("in trouble", exc_info=error)

    async def live() -> None:
        asyncio.get_running_loop().slow_callback_duration = -1.0
        await work(set())
        for name in list(TROUBLES)[part::4]:
            await meet(name, log)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            virtual_time.run(live(), debug=True)
            gc.collect()
    finally:
        logging.captureWarnings(capture=False)
    assert {"asyncio", "program", "ppapi_async"} <= {record.name for record in caplog.records}
    assert_unlogged(key, caplog.records)
