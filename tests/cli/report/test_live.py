"""`ppapi serve`: who may look, what browsers are told, and that it follows the mirror and ends."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from attrs import define, evolve, field

from ppapi_async.cli.commands import serve
from ppapi_async.cli.exits import Exit
from ppapi_async.cli.report import live
from ppapi_async.cli.report.data import ReportData
from ppapi_async.cli.report.live import LiveReport, ReportSource, is_loopback, serving
from ppapi_async.cli.report.page import ReportPage
from ppapi_async.errors import StateError
from tests.cli.report.made_up import made_up
from tests.cli.report.test_command import fill, mirror
from tests.cli.terminal import ppapi, started

pytestmark = pytest.mark.either_database

__all__ = ["mirror"]

TOKEN = "a token of many characters"


@define
class Desk:
    """A report whose mirror, clock and sleep are in the test's hands."""

    revision: str = "1"
    gathered: int = 0
    now: float = 0.0
    took: float = 0.0
    trouble: StateError | None = None
    _turn: asyncio.Event = field(factory=asyncio.Event)

    async def gather(self) -> ReportData:
        if self.trouble is not None:
            raise self.trouble
        self.gathered += 1
        self.now += self.took
        return made_up(1, days=3)

    async def look(self) -> str:
        return self.revision

    async def sleep(self, _: float) -> None:
        self._turn.clear()
        await self._turn.wait()

    def wake(self) -> None:
        """Let the server see whether the mirror has changed."""
        self._turn.set()

    def report(self, token: str | None = None, names: frozenset[str] = frozenset()) -> LiveReport:
        source = ReportSource(
            gather=self.gather, revision=self.look, sleep=self.sleep, clock=lambda: self.now
        )
        return LiveReport(source, ReportPage(is_live=True), names, token)


@contextlib.asynccontextmanager
async def visiting(report: LiveReport) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve a report, and visit it as a browser does, which keeps cookies."""
    async with serving(report, "127.0.0.1", 0) as port:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", cookie_jar=jar) as http:
            yield http


async def get(
    http: aiohttp.ClientSession, path: str = "/", headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Return the status and the text of an answer."""
    async with http.get(path, headers=headers, allow_redirects=False) as response:
        return response.status, await response.text()


async def test_the_page_and_its_headers() -> None:
    """Nothing is kept, nothing else is loaded, and nobody may show it within a page of theirs."""
    async with visiting(Desk().report()) as http, http.get("/") as response:
        headers = response.headers
        assert response.status == 200
        assert "Partner report" in await response.text()
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    assert "Python" not in headers["Server"]
    assert not {"Access-Control-Allow-Origin", "Set-Cookie"} & set(headers)


async def test_it_is_read_only() -> None:
    """Nothing but looking is understood."""
    async with visiting(Desk().report()) as http:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            async with http.request(method, "/") as response:
                assert response.status == 405
        assert (await get(http, "/../etc/passwd"))[0] == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST", 200),
        ("[::1]:{port}", 200),
        ("192.0.2.7", 200),
        ("report.example", 200),
        ("Report.Example:443", 200),
        ("evil.example:{port}", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("", 421),
        ("report.example@evil.example", 421),
    ],
    ids=lambda value: str(value) or "none",
)
async def test_names_that_lead_elsewhere_are_refused(host: str, status: int) -> None:
    """A page that has its own name lead here reads nothing."""
    report = Desk().report(names=frozenset({"report.example"}))
    async with serving(report, "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        line = host.format(port=port)
        writer.write(f"GET / HTTP/1.1\r\nHost: {line}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert int(answer.split()[1]) == status
    assert (b"site-00" in answer) is (status == 200)


async def test_a_token_is_asked_for_once() -> None:
    """In a form, so that it stands in no address; afterwards a cookie is enough."""
    async with visiting(Desk().report(TOKEN)) as http:
        status, text = await get(http)
        assert (status, "site-00" in text, 'type="password"' in text) == (401, False, True)
        assert (await get(http, "/events"))[0] == 401
        assert (await get(http, f"/?token={TOKEN}"))[0] == 401
        for wrong in ("", "wrong", TOKEN[:-1], f"{TOKEN}x", "é"):
            async with http.post("/enter", data={"token": wrong}) as response:
                assert response.status == 403
                assert "This is not the token" in await response.text()
        async with http.post("/enter", data={"token": TOKEN}, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "/")
            cookie = response.headers["Set-Cookie"]
            assert TOKEN not in cookie
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
        status, text = await get(http)
        assert (status, "site-00" in text) == (200, True)


async def test_the_cookie_of_another_run_is_none() -> None:
    """What a browser was given is good until the server ends."""
    async with visiting(Desk().report(TOKEN)) as http:
        async with http.post("/enter", data={"token": TOKEN}) as response:
            assert response.status == 200
        kept = http.cookie_jar.filter_cookies(http._base_url)  # type: ignore[arg-type]
        cookies = {name: morsel.value for name, morsel in kept.items()}
    async with visiting(Desk().report(TOKEN)) as http:
        async with http.get("/", cookies=cookies) as response:
            assert response.status == 401
        async with http.post("/enter", data={"token": aiohttp.FormData()()}) as response:
            assert response.status in {400, 403}


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Cookie": "ppapi_report=\udcff\udcfe"}, b"", 401),
        ({"Cookie": "ppapi_report=\u00e9; ="}, b"", 401),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"token=\xff\xfe", 403),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"token=%ff&token=%00", 403),
        ({"Content-Type": "application/x-www-form-urlencoded; charset=no"}, b"token=x", 403),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--y", 403),
        ({"Content-Type": "multipart/form-data"}, b"--y", 403),
        ({"Content-Type": "application/json"}, b"[]", 403),
    ],
    ids=["bytes", "letters", "raw", "escaped", "charset", "multipart", "boundary", "json"],
)
async def test_what_is_no_form_is_refused(
    headers: dict[str, str], body: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever bytes come, they are no token, and nothing is logged of them."""
    async with serving(Desk().report(TOKEN), "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [f"{'POST /enter' if body else 'GET /'} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode("utf-8", "surrogateescape") + body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert int(answer.split()[1]) == status
    assert b"site-00" not in answer
    assert caplog.records == []


async def test_a_large_form_is_refused() -> None:
    """Nobody fills the memory with what is no token."""
    async with visiting(Desk().report(TOKEN)) as http:
        async with http.post("/enter", data={"token": "x" * 100_000}) as response:
            assert response.status == 413


async def test_a_mirror_that_cannot_be_read_is_no_traceback() -> None:
    """The page says what is wrong, and comes back when it is right."""
    desk = Desk(trouble=StateError("the mirror is locked"))
    async with visiting(desk.report()) as http:
        assert await get(http) == (503, "the mirror is locked\n")
        desk.trouble = None
        assert (await get(http))[0] == 200


async def test_a_report_is_made_when_the_mirror_has_changed_and_not_too_often() -> None:
    """One that takes ten seconds is not made again for a minute and a half, whoever looks."""
    desk = Desk(took=10)
    async with visiting(desk.report()) as http:
        await asyncio.gather(*(get(http) for _ in range(5)))
        assert desk.gathered == 1
        desk.revision = "2"
        await get(http)
        assert desk.gathered == 1
        desk.now += 90
        _, text = await get(http)
        assert desk.gathered == 2
        assert 'data-revision="2"' in text


async def line_of(response: aiohttp.ClientResponse) -> str:
    """Return the next event or comment."""
    text = (await response.content.readuntil(b"\n\n")).decode()
    return text.strip()


async def test_browsers_are_told_what_is_new() -> None:
    """An event for each change of the mirror, and none without one."""
    desk = Desk()
    report = desk.report()
    async with visiting(report) as http, http.get("/events") as events:
        assert events.headers["Content-Type"] == "text/event-stream"
        assert events.headers["Cache-Control"] == "no-store"
        assert await line_of(events) == ": still here"
        for revision in ("2", "3"):
            desk.revision = revision
            desk.wake()
            assert await line_of(events) == f"data: {revision}"


async def test_browsers_that_have_gone_are_forgotten() -> None:
    """Their places are free again; more than there are places are refused."""
    desk = Desk()
    report = desk.report()
    async with visiting(report) as http:
        events = await http.get("/events")
        await line_of(events)
        report._viewers = 64
        assert (await get(http, "/events"))[0] == 503
        report._viewers = 1
        events.close()
        while report._viewers:
            desk.revision += "1"
            desk.wake()
            await asyncio.sleep(0)


async def test_it_ends_with_browsers_that_listen() -> None:
    """Open streams of events do not hold it up."""
    report = Desk().report()
    async with contextlib.AsyncExitStack() as stack:
        async with serving(report, "127.0.0.1", 0) as port:
            http = await stack.enter_async_context(aiohttp.ClientSession())
            events = [await http.get(f"http://127.0.0.1:{port}/events") for _ in range(3)]
            for one in events:
                await line_of(one)
        assert [await one.content.read() for one in events] == [b"", b"", b""]


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, is_here: bool) -> None:
    """Only what nobody else can reach."""
    assert is_loopback(host) is is_here


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--host", "0.0.0.0"), "--host 0.0.0.0: others could read the report"),
        (("--host", "::", "--token-file", "short"), "16 characters at least"),
        (("--token-file", "none"), "--token-file none: No such file"),
        (("--token-file", "binary"), "it is no text"),
        (("--since", "soon"), "'soon' is none"),
        (("--port", "70000"), "pass a whole number from 0 to 65535"),
        (("--account", "onw"), "did you mean 'one'?"),
        (("onw",), "there is no account 'onw' in the copy; did you mean 'one'?"),
        (("--until", "soon"), "--until: 'soon' is none"),
    ],
    ids=lambda value: "-".join(value).strip("-") if isinstance(value, tuple) else None,
)
def test_what_is_wrong_is_told(
    mirror: str, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    """Before anything is served."""
    (tmp_path / "short").write_text("hunter2")
    (tmp_path / "binary").write_bytes(b"\xff" * 20)
    ran = ppapi("serve", "--from", mirror, *arguments)
    assert ran.code == Exit.USAGE
    assert told in ran.err
    assert "hunter2" not in ran.err


def test_the_time_of_a_report_goes_on_with_the_clock() -> None:
    """`--since 30d --until 1d` is another month each day; a date stays."""
    wanted = serve.Wanted(since="30d", until="1d", names=(), in_zone=None)
    start, end = wanted.period()
    assert start is not None
    assert abs(datetime.now(UTC) - end - timedelta(days=1)) < timedelta(minutes=1)
    assert abs(end - start - timedelta(days=29)) < timedelta(minutes=1)
    assert evolve(wanted, since="all", until="2026-11-01").period() == (
        None,
        datetime(2026, 11, 1, tzinfo=UTC),
    )
    _, end = evolve(wanted, until=None).period()
    assert abs(datetime.now(UTC) - end) < timedelta(minutes=1)


def test_a_port_that_is_taken(mirror: str) -> None:
    """It is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = ppapi("serve", "--from", mirror, "--port", str(port))
    assert ran.code == Exit.FAILED
    assert f"ppapi serve: 127.0.0.1, port {port}: " in ran.err


def test_it_says_where_it_is(mirror_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address to stdout; Ctrl-C is how it is meant to end."""
    asyncio.run(fill(mirror_url))

    @contextlib.asynccontextmanager
    async def interrupted(report: LiveReport, host: str, port: int) -> AsyncIterator[int]:
        async with serving(report, host, port) as found:
            before = await report.source.revision()
            assert before == await report.source.revision()
            await fill(mirror_url)
            assert before != await report.source.revision()
            assert "1 account" in await report.current()
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            yield found

    monkeypatch.setattr(live, "serving", interrupted)
    ran = ppapi("serve", "--from", mirror_url, "--port", "0", "--account", "one", "--since", "all")
    assert ran.code == Exit.DONE, ran.err
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", ran.out)
    assert ran.err.endswith("ended\n")


@pytest.mark.parametrize("ends_by", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
async def test_it_serves_a_mirror_until_it_is_ended(mirror: str, ends_by: signal.Signals) -> None:
    """With a browser that listens, and without a word of the token."""
    with started(
        "serve", "--from", mirror, "--port", "0", env={"PPAPI_SERVE_TOKEN": TOKEN}
    ) as process:
        assert process.stdout is not None
        address = await asyncio.to_thread(process.stdout.readline)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            async with http.post(f"{address.strip()}enter", data={"token": TOKEN}) as response:
                assert response.status == 200
                assert "Partner report" in await response.text()
            events = await http.get(f"{address.strip()}events")
            await line_of(events)
            process.send_signal(ends_by)
            out, err = await asyncio.to_thread(process.communicate, None, 30)
            events.close()
    assert process.returncode == Exit.DONE, err
    assert TOKEN not in address + out + err
    assert "Traceback" not in err
