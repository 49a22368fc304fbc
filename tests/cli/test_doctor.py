"""`ppapi doctor`: what it finds at good and bad sites, what it advises, and how it ends."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from attrs import evolve

from ppapi_async import Account, Dialect, Hooks
from ppapi_async.cli.asking import examination
from ppapi_async.cli.asking.examination import CHECKS, CheckResult, examine
from ppapi_async.cli.commands import doctor
from ppapi_async.sandbox import Call, Fault, Order, Sandbox, SeenRequest, SentAnswer
from tests.cli.sites import accounts_text, running, write_accounts
from tests.cli.terminal import Ran, Terminal, ppapi
from tests.leaks import assert_absent

if TYPE_CHECKING:
    import trustme

KEY = "Ab3kEy5678" * 3 + "Wxy12"
CERTIFIED_UNTIL = datetime(2126, 11, 4, 12, 0, tzinfo=UTC)


@pytest.fixture
def file(home: Path) -> Path:
    """Return where the accounts file is looked for."""
    return home / "config" / "ppapi" / "accounts.toml"


def examined(file: Path, site: Sandbox, **instead: str) -> tuple[Ran, dict[str, tuple[str, ...]]]:
    """Examine an account of a site, as it is served; return state, text and advice by check."""
    with running(site):
        text = accounts_text({"one": site})
        for name, value in instead.items():
            text = text.replace(f"{name} = ", f'{name} = "{value}" #')
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o600)
        ran = ppapi("doctor", "--json", "check,state,text,advice")
    assert_absent(site.api_key, ran.out, ran.err)
    rows = [tuple(row.values()) for row in json.loads(ran.out)]
    assert [row[0] for row in rows] == [*CHECKS]
    return ran, {check: tuple(rest) for check, *rest in rows}


# --- sites that are well


@pytest.mark.parametrize("dialect", [*Dialect], ids=str)
def test_a_site_of_each_dialect_is_well(file: Path, dialect: Dialect) -> None:
    """All that can be told is ok, with at most eight requests, none of them a payout."""
    seen: list[SeenRequest] = []
    site = Sandbox(dialect, rows=900, seed=3, on_request=seen.append)
    ran, found = examined(file, site)
    assert ran.code == 0
    odd = {check: one for check, one in found.items() if one[0] not in ("ok", "skipped")}
    assert odd == {}
    assert found["dialect"][1] == dialect
    skipped = {check for check, one in found.items() if one[0] == "skipped"}
    assert skipped == ({"tls", "pages"} if dialect is Dialect.CLASSIC else {"tls"})
    assert 4 <= len(seen) <= 8
    # What is not for the API looks for its place.
    assert {one.method for one in seen} <= {"", "get_info", "get_exchanges", "get_links"}
    assert f"the median of {len(seen)}" in found["latency"][1]


@pytest.mark.untraced
def test_where_the_api_is(file: Path) -> None:
    """Found by itself, or as the accounts file says."""
    site = Sandbox(Dialect.CLASSIC, rows=40, endpoint="/api.php")
    assert examined(file, site)[1]["place"][1] == "/api.php, found by itself"
    site = Sandbox(Dialect.CLASSIC, rows=40, endpoint="/here/api.php")
    with running(site):
        file.write_text(accounts_text({"one": site}).replace('"\n', '/here/api.php"\n', 2))
        file.write_text(file.read_text().replace("one/here/api.php", "one"))
        ran = ppapi("doctor", "--json", "check,text")
    (place,) = [row["text"] for row in json.loads(ran.out) if row["check"] == "place"]
    assert place == "/here/api.php"


def test_a_site_without_rows_is_well(file: Path) -> None:
    """What rows would tell is skipped; eight requests are enough there, too."""
    seen: list[SeenRequest] = []
    ran, found = examined(file, Sandbox(Dialect.DELEGATING, rows=0, on_request=seen.append))
    assert ran.code == 0
    assert {check for check, one in found.items() if one[0] == "skipped"} == {
        *("tls", "filters", "pages", "order", "zone"),
    }
    assert len(seen) <= 8


def test_a_few_rows_do_not_tell_pages(file: Path) -> None:
    """What an answer cannot show is told as such."""
    _, found = examined(file, Sandbox(Dialect.DELEGATING, rows=2))
    assert found["pages"][0] == "skipped"


def test_rows_of_few_seconds_do_not_tell_pages(file: Path) -> None:
    """Rows of one second come in any order."""
    ahead = int(datetime.now(UTC).timestamp())

    def date_all(_: object, row: dict[str, object]) -> dict[str, object]:
        return {**row, "time": ahead - 1 - int(str(row["id"])) % 2}

    _, found = examined(file, Sandbox(Dialect.DELEGATING, rows=200, row_filter=date_all))
    assert found["pages"][0] == "skipped"


# --- sites that are odd


def lively_site(zone: str) -> Sandbox:
    """Return a site with an order of a minute ago; at night made-up visitors are few."""
    site = Sandbox(Dialect.DELEGATING, rows=900, timezone=zone)
    created = int(datetime.now(UTC).timestamp()) - 60
    site.books.orders.put(Order(id=site.books.orders.next_id, created=created, reward="1.5"))
    return site


@pytest.mark.untraced
def test_a_site_three_hours_ahead(file: Path) -> None:
    """Rows are dated ahead: the zone that explains it is what to write."""
    site = lively_site("Europe/Moscow")
    ran, found = examined(file, site, timezone="UTC")
    assert ran.code == 0  # a warning
    state, text, advice = found["zone"]
    assert state == "warning"
    assert "3 h ahead" in text
    assert 'timezone = "Europe/Moscow"' in advice
    assert "1 account: 1 with warnings" in ppapi("doctor").err or ran.err


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("zone", "told"),
    [("Asia/Kathmandu", "UTC+5:45"), ("Pacific/Kiritimati", "UTC+14")],
    ids=["quarter", "far"],
)
def test_a_site_in_a_rare_zone(file: Path, zone: str, told: str) -> None:
    """By its difference from UTC."""
    site = lively_site(zone)
    _, found = examined(file, site, timezone="UTC")
    assert f"timezone = {told}" in found["zone"][2]


def test_dates_that_no_zone_explains(file: Path) -> None:
    """Twenty hours ahead is no zone."""
    site = lively_site("Pacific/Kiritimati")
    _, found = examined(file, site, timezone="Etc/GMT-12")
    assert "timezone = UTC+14" in found["zone"][2]  # 2 h more than the 12 h that the file says
    ahead = datetime.now(UTC) + timedelta(hours=17)

    def date_all(_: object, row: dict[str, object]) -> dict[str, object]:
        return {**row, "time": int(ahead.timestamp()), "date": f"{ahead:%Y-%m-%d %H:%M:%S}"}

    site = Sandbox(Dialect.DELEGATING, rows=50, row_filter=date_all)
    _, found = examined(file, site)
    assert found["zone"][0] == "warning"
    assert "no zone explains that" in found["zone"][2]


def test_a_zone_that_can_be_says_how_old_the_newest_row_is(file: Path) -> None:
    """An old one may be due to a wrong zone, which only the site's page can tell."""
    site = Sandbox(Dialect.DELEGATING, rows=300, timezone="UTC")
    _, found = examined(file, site, timezone="Europe/Moscow")
    assert found["zone"][0] == "ok"
    assert "page shows a newer one" in found["zone"][1]


@pytest.mark.untraced
def test_a_small_cap(file: Path) -> None:
    """It is found from rows that an answer has left out."""
    _, found = examined(file, Sandbox(Dialect.DELEGATING, rows=900, cap=50))
    assert found["rows"][:2] == ("warning", "50 at the most, more are cut off without a sign")
    _, found = examined(file, Sandbox(Dialect.DELEGATING, rows=3000))
    assert found["rows"][0] == "ok"
    assert found["rows"][1].startswith("500 at the most")


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", [Dialect.DELEGATING, Dialect.CLONE], ids=str)
def test_filters_that_are_ignored_fail(file: Path, dialect: Dialect) -> None:
    """Ranges cannot be read whole then."""
    ran, found = examined(file, Sandbox(dialect, rows=900, honours_filter=False))
    assert ran.code == 1
    assert found["filters"][0] == "failed"
    assert "start_time" in found["filters"][1]


def test_filters_that_are_ignored_where_nothing_is_cut_are_odd(file: Path) -> None:
    """Everything comes each time, and all of it."""
    ran, found = examined(file, Sandbox(Dialect.CLASSIC, rows=900, honours_filter=False))
    assert (ran.code, found["filters"][0]) == (0, "warning")


@pytest.mark.parametrize(("bound", "skip"), [("start_time", 1), ("end_time", 2)])
def test_filters_that_stop_working_are_found(file: Path, bound: str, skip: int) -> None:
    """Each bound is tried by itself."""
    site = Sandbox(Dialect.DELEGATING, rows=900)
    site.faults.add(Fault.FILTER_IGNORED, method="get_exchanges", times=1, skip=skip)
    _, found = examined(file, site)
    assert found["filters"][0] == "failed"
    assert bound in found["filters"][1]


def test_offset_and_limit(file: Path) -> None:
    """What is ignored of them is told."""
    _, found = examined(file, Sandbox(Dialect.DELEGATING, rows=900, honours_offset=False))
    assert found["pages"][:2] == ("warning", "offset is ignored")
    _, found = examined(file, Sandbox(Dialect.DELEGATING, rows=900, honours_limit=False))
    assert found["pages"][:2] == ("warning", "limit is ignored")


def test_order(file: Path) -> None:
    """Oldest first is odd for a 2.7 site, and usual for clones; none is odd anywhere."""
    _, found = examined(file, Sandbox(Dialect.DELEGATING, rows=900, order="oldest first"))
    assert found["order"][0] == "warning"
    _, found = examined(file, Sandbox(Dialect.CLONE, rows=900, order="oldest first"))
    assert found["order"][:2] == ("ok", found["order"][1])
    assert found["order"][1].startswith("oldest first")
    _, found = examined(file, Sandbox(Dialect.DELEGATING, rows=900, order="by id"))
    assert found["order"][0] == "warning"
    assert found["order"][1].startswith("rows are in no order")


def test_another_dialect_than_the_file_says(file: Path) -> None:
    """The answer shows it."""
    site = Sandbox(Dialect.DELEGATING, rows=100)
    with running(site):
        write_accounts(file, {"one": site})
        file.write_text(file.read_text() + 'dialect = "classic"\n')
        ran = ppapi("doctor", "--json", "check,state,text")
    (found,) = [row for row in json.loads(ran.out) if row["check"] == "dialect"]
    assert found["state"] == "warning"
    assert "classic by the accounts file, but it answers as delegating" in found["text"]


def test_a_dialect_that_no_answer_shows(file: Path) -> None:
    """What holds for every site is assumed then."""

    def written_oddly(_: Call, answer: SentAnswer) -> SentAnswer:
        return evolve(answer, body=answer.body.replace(b'"error":"0"', b'"error":"00"'))

    site = Sandbox(Dialect.DELEGATING, rows=100)
    site.faults.add(written_oddly, times=None)
    ran, found = examined(file, site)
    assert (ran.code, found["dialect"][0], found["limits"][0]) == (0, "warning", "skipped")


# --- sites that fail


@pytest.mark.parametrize(
    ("fault", "check", "says"),
    [
        (Fault.REDIRECT_301, "redirect", "redirects to /elsewhere/api.html"),
        (Fault.CHALLENGE_403, "answer", "page stands before"),
        (Fault.GEO_200, "answer", ""),
        (Fault.HTML_404, "place", "no API at this url"),
        (Fault.HTML_429, "answer", ""),
        (Fault.HTML_502, "answer", ""),
        (Fault.FATAL_200, "answer", ""),
        (Fault.KEY_ECHO, "answer", ""),
        (Fault.EMPTY, "answer", ""),
        (Fault.NULL, "answer", ""),
        (Fault.CLOSED, "answer", ""),
        (Fault.API_DISABLED, "key", "Api disabled"),
    ],
    ids=str,
)
def test_what_stands_before_the_api_is_told(
    file: Path, fault: Fault, check: str, says: str
) -> None:
    """At its check, with what to do in one line; the rest is skipped, and says since when."""
    site = Sandbox(Dialect.DELEGATING, rows=10)
    site.faults.add(fault, times=None)
    ran, found = examined(file, site)
    assert ran.code == (5 if check == "key" else 1)
    assert [name for name, one in found.items() if one[0] == "failed"] == [check]
    _, text, advice = found[check]
    assert says in text
    assert advice
    assert "\n" not in text + advice
    assert found["filters"][:2] == ("skipped", f"since {CHECKS[check]} failed")
    assert "1 account: 1 failed" in ran.err


def test_a_redirect_to_another_host_is_told_without_the_key(file: Path) -> None:
    """The query that would carry the key is not shown."""
    site = Sandbox(Dialect.DELEGATING, rows=10)
    site.faults.add(Fault.REDIRECT_302, times=None, location="https://new.example/api.html")
    _, found = examined(file, site)
    assert "https://new.example/api.html" in found["redirect"][1]
    assert "change the url" in found["redirect"][2]


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", [*Dialect], ids=str)
def test_a_wrong_key_is_exit_code_5(file: Path, dialect: Dialect) -> None:
    """On every dialect, though 2.7 only says that the API is disabled."""
    ran, found = examined(file, Sandbox(dialect, rows=10), api_key=KEY)
    assert ran.code == 5
    assert found["key"][0] == "failed"
    assert found["answer"][0] == "ok"
    assert_absent(KEY, ran.out, ran.err)


def test_a_method_that_is_not_enabled(file: Path) -> None:
    """The key is good then; the rest that needs rows is skipped."""
    site = Sandbox(Dialect.DELEGATING, rows=10)
    text = "Method not supported"
    site.faults.add(Fault.API_ERROR, method="get_exchanges", times=None, code=3, text=text)
    ran, found = examined(file, site)
    assert ran.code == 1
    assert (found["key"][0], found["rows"][0], found["order"][0]) == ("ok", "failed", "skipped")


def test_a_dead_port_sends_nothing(file: Path) -> None:
    """Nothing listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ran, found = examined(file, Sandbox(rows=0), url=url)
    assert ran.code == 1
    assert found["connection"][0] == "failed"
    assert "Connection refused" in found["connection"][1]
    assert found["latency"][0] == "skipped"


def test_a_port_without_tls(file: Path) -> None:
    """What speaks there is told."""
    site = Sandbox(rows=0)
    with running(site):
        file.parent.mkdir(parents=True)
        file.write_text(accounts_text({"one": site}).replace("http:", "https:"))
        file.chmod(0o600)
        ran = ppapi("doctor")
    assert ran.code == 1
    assert (
        "one\ttls\tfailed\tthe site does not speak https at this port\tcheck the url\t" in ran.out
    )


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return what signs certificates; its keys are made for these tests."""
    made: trustme.CA = pytest.importorskip("trustme", reason="install the extra dev anew").CA()
    return made


def certified(authority: trustme.CA) -> ssl.SSLContext:
    """Return what a server needs that the authority has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=CERTIFIED_UNTIL).configure_cert(context)
    return context


def self_signed(authority: trustme.CA, folder: Path) -> ssl.SSLContext:
    """Return what a server needs that shows a certificate which has signed itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = folder / "self_signed.pem"
    file.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    context.load_cert_chain(file)
    return context


@asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve TLS; yield the port."""

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def by_check(results: list[CheckResult]) -> dict[str, CheckResult]:
    """Return results by their checks."""
    return {one.check: one for one in results}


async def test_a_certificate_that_nobody_has_signed_fails(
    authority: trustme.CA, tmp_path: Path
) -> None:
    """Nothing is sent then."""
    async with tls_server(self_signed(authority, tmp_path)) as port:
        account = Account(f"https://127.0.0.1:{port}", KEY)
        found = by_check(await examine(account, tls=ssl.create_default_context()))
    assert found["tls"].state == "failed"
    assert "self-signed certificate" in found["tls"].text
    assert found["connection"].state == "ok"
    assert found["latency"].state == "skipped"
    assert_absent(KEY, *(one.text + one.advice for one in found.values()))


@pytest.mark.parametrize(("days", "state"), [(400, "ok"), (14, "ok"), (13, "warning")])
async def test_the_end_of_a_certificate(authority: trustme.CA, days: int, state: str) -> None:
    """Two weeks before it ends there is something to do."""
    now = CERTIFIED_UNTIL.timestamp() - days * 86_400
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    async with tls_server(certified(authority)) as port:
        account = Account(f"https://127.0.0.1:{port}", KEY)
        found = by_check(await examine(account, tls=tls, hooks=Hooks(clock=lambda: now)))
    assert found["tls"].state == state
    assert "TLS 1.3, certificate until 2126-11-" in found["tls"].text


async def test_a_name_that_dns_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else is tried."""

    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    account = Account("https://site.invalid", KEY)
    found = by_check(await examine(account, tls=ssl.create_default_context()))
    assert found["name"].state == "failed"
    assert "DNS does not know site.invalid" in found["name"].text
    assert {one.state for name, one in found.items() if name != "name"} == {"skipped"}


async def test_a_dns_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up."""

    async def silent(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    monkeypatch.setattr(examination, "_PATIENCE", 0.0)
    account = Account("https://site.invalid", KEY)
    found = by_check(await examine(account, tls=ssl.create_default_context()))
    assert found["name"].text == "no answer of DNS"


async def test_many_addresses_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are shown; an http url elsewhere than here is told."""
    lookup = socket.getaddrinfo

    def many(host: str, port: int, *more: object, **named: object) -> object:
        found = lookup("127.0.0.1", port, type=socket.SOCK_STREAM)
        others = [(*found[0][:4], (f"192.0.2.{number}", port)) for number in range(3)]
        return [*found, *others]

    monkeypatch.setattr(socket, "getaddrinfo", many)
    site = Sandbox(rows=0, hosts=["site.test"])
    async with site:
        account = Account(site.url.replace("127.0.0.1", "site.test"), KEY, allow_http=True)
        found = by_check(await examine(account, tls=ssl.create_default_context()))
    assert found["name"].text == "127.0.0.1, 192.0.2.0 and 2 more"
    assert (found["tls"].state, found["tls"].advice) == ("warning", "write https into the url")


async def test_a_proxy_looks_up_and_connects() -> None:
    """What it does cannot be told from here."""
    account = Account("https://site.invalid", KEY, proxy="http://127.0.0.1:9")
    found = by_check(await examine(account, tls=ssl.create_default_context()))
    assert found["name"].text == "the account's proxy does that"
    assert found["answer"].state == "failed"


async def test_a_site_whose_clock_is_off() -> None:
    """By the date of its answers."""
    async with Sandbox(rows=50) as site:
        account = Account(site.url, site.api_key)
        ahead = datetime.now(UTC) - timedelta(minutes=10)
        hooks = Hooks(clock=ahead.timestamp)
        found = by_check(await examine(account, tls=ssl.create_default_context(), hooks=hooks))
    assert found["clock"].state == "warning"
    assert "ahead of this machine's" in found["clock"].text
    assert "NTP" in found["clock"].advice


async def test_a_slow_site() -> None:
    """The median of its answers is told."""
    beats = iter(range(0, 10_000, 9))
    beginning = datetime.now(UTC).timestamp()
    async with Sandbox(rows=50) as site:
        account = Account(site.url, site.api_key)
        hooks = Hooks(clock=lambda: beginning + next(beats))
        found = by_check(await examine(account, tls=ssl.create_default_context(), hooks=hooks))
    assert found["latency"].state == "warning"


# --- how it is shown


@pytest.fixture
def three(file: Path) -> Iterator[Path]:
    """Serve a site that is well, one that is odd and one that fails."""
    well = Sandbox(Dialect.CLASSIC, rows=100, api_key=KEY)
    odd = Sandbox(Dialect.DELEGATING, rows=900, cap=50)
    failing = Sandbox(Dialect.DELEGATING, rows=0)
    failing.faults.add(Fault.REDIRECT_301, times=None)
    with running(well, odd, failing):
        yield write_accounts(file, {"well": well, "odd": odd, "fa\u202eiling": failing})


@pytest.mark.parametrize("columns", [80, 200])
def test_a_block_for_each_account_on_a_terminal(three: Path, columns: int) -> None:
    """In the file's order, within the width; marks are words, so they need no colours."""
    with Terminal("doctor", columns=columns) as terminal:
        assert terminal.end() == 1
    shown = terminal.text.splitlines()
    lines = [line for line in shown if not line.startswith("Executing <")]  # a busy machine's
    assert max(map(len, lines)) <= min(columns, 100)
    text = terminal.text
    assert text.index("\nodd  ") < text.index("\nfa\\u202eiling  ")
    assert lines[0].startswith("well  127.0.0.1:")
    assert "  WARN  rows per answer   50 at the most" in text
    assert "  FAIL  redirect          redirects to /elsewhere" in text
    assert "→ if the site has moved there" in text
    assert lines[-1] == "3 accounts: 1 well, 1 with warnings, 1 failed"
    assert "\x1b[31mFAIL" in terminal.raw
    assert_absent(KEY, terminal.raw)


def test_of_many_accounts_what_is_odd_is_shown(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each that is well; who names some sees all of these."""
    wells = {f"well{number}": Sandbox(Dialect.CLASSIC, rows=50) for number in range(5)}
    sites = {**wells, "odd": Sandbox(Dialect.DELEGATING, rows=900, cap=50)}
    with running(*sites.values()):
        write_accounts(file, sites)
        with Terminal("doctor", columns=80) as terminal:
            assert terminal.end() == 0
        monkeypatch.setattr(doctor, "is_terminal", lambda: True)
        here, named = ppapi("doctor"), ppapi("doctor", "well1", "odd")
    assert (here.code, named.code) == (0, 0)
    lines = terminal.text.splitlines()
    for name in wells:
        [line] = [line for line in lines if name in line.split()]
        assert re.fullmatch(rf"  ok +{name}  127\.0\.0\.1:\d+, classic", line)
    assert "  WARN  rows per answer   50 at the most" in terminal.text
    assert "  ok    name resolution" not in terminal.text
    assert lines[-1] == "6 accounts: 5 well, 1 with warnings"
    assert click.unstyle(here.out).splitlines() == lines[:-1]
    assert click.unstyle(named.out).count("  ok    name resolution") == 2


def test_without_colours(three: Path) -> None:
    """NO_COLOR is minded."""
    with Terminal("doctor", "well", env={"NO_COLOR": "1"}) as terminal:
        assert terminal.end() == 0
    assert "\x1b[3" not in terminal.raw


def test_blocks_are_shown_in_this_process(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as on a terminal."""
    monkeypatch.setattr(doctor, "is_terminal", lambda: True)
    ran = ppapi("doctor", "odd", "well")
    assert ran.code == 0
    assert "WARN  rows per answer" in ran.out
    assert "  -     TLS: http, on this machine\n" in ran.out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in ppapi("doctor", "well").out


def test_names_that_are_not_there(three: Path) -> None:
    """They are suggested, and nobody is asked."""
    ran = ppapi("doctor", "od")
    assert ran.code == 2
    assert "did you mean 'odd'?" in ran.err
    ran = ppapi("doctor", f"https://x.example/api.html?api_key={KEY}")
    assert ran.code == 2
    assert_absent(KEY, ran.out, ran.err)
