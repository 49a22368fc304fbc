"""The sandbox answers as the recorded servers did, tells the truth, and fails as asked."""

from __future__ import annotations

import asyncio
import errno
import functools
import gzip
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.account import Dialect
from ppapi_async.sandbox import (
    Answer,
    Books,
    Call,
    Click,
    Cut,
    Fault,
    Order,
    Partner,
    Payout,
    PayoutMethod,
    Sandbox,
)
from ppapi_async.sandbox.manners import intval
from ppapi_async.sandbox.shelf import Shelf, SiteClock
from ppapi_async.sandbox.texts import wire_text

SAMPLES = Path(__file__).parent / "samples"
START, END = 1_760_000_000, 1_762_592_000
METHODS = (
    PayoutMethod(id=11, title="Psys USDTTRC20", currency="USDTTRC20", commission="2"),
    PayoutMethod(id=22, title="Psys BTC", currency="BTC", reserve="1"),
    PayoutMethod(id=33, title="Psys SBERRUB", currency="SBERRUB", commission="1.5"),
)
CLICKS = (
    Click(
        id=1,
        created=1759900000,
        browser="Chrome",
        ip="203.0.113.7",
        referrer='https://t.me/durov?a=1&b="2"',
        user_hash="5f0c" * 8,
        query_string="?cur_from=USDTTRC20&cur_to=SBERRUB&utm_source=SELECT&sub=update_7",
    ),
    Click(
        id=2,
        created=1759900060,
        browser="Firefox",
        ip="2001:db8::1",
        user_hash="a1b2" * 8,
        query_string="?rid=17&sub=it's ok",
    ),
    Click(
        id=3,
        created=1759900060,
        browser="Chrome",
        ip="203.0.113.7",
        referrer="https://example.org/обмен",
        user_hash="0a0b" * 8,
        query_string="?rid=17&utm_campaign=script",
    ),
)


def recorded_order(row_id: int, created: int, **more: Any) -> Order:
    """Return an order of the recorded servers, which share most of their fields."""
    fields: dict[str, Any] = {
        "psys_give": "Tether TRC20",
        "psys_get": "Сбербанк",
        "currency_give": "USDTTRC20",
        "currency_get": "SBERRUB",
        "course_get": "97.4213",
        "amount_give": "1204.55",
        "amount_get": "117350.8",
        "user_hash": f"{row_id:032x}",
        "ip": "203.0.113.9",
    }
    return Order(id=row_id, created=created, **(fields | more))


def recorded_orders() -> list[Order]:
    """Return the orders that the recorded servers were loaded with."""
    won: dict[str, Any] = {"success": True, "accrued": True}
    return [
        recorded_order(1700, 1759400000, reward="120.5", user_hash=f"{1895:032x}", **won),
        recorded_order(
            1895,
            1759900000,
            history=((1759900000, "new"), (1759900900, "success")),
            reward="3.51",
            **won,
        ),
        recorded_order(
            1896,
            1759900120,
            currency_get="BTC",
            course_get="0.00000921",
            amount_give="100",
            amount_get="0.000921",
        ),
        recorded_order(
            1897,
            1759900120,
            history=((1759900120, "new"), (1759900400, "payed")),
            currency_give="SBERRUB",
            course_give="3250000",
            course_get="1",
            amount_give="3250000",
            amount_get="1",
            reward="0.00000012",
        ),
        recorded_order(
            1899,
            1759900300,
            history=((1759900300, "new"), (1759904000, "cancel")),
            course_get="41.5",
            amount_give="50",
            amount_get="2075",
            reward="0.5",
        ),
    ]


def recorded_payouts() -> list[Payout]:
    """Return the payouts that the recorded servers were loaded with."""
    times = (1759905000, 1759810000, 1759710000, 1759610000)
    return [
        Payout(
            id=number,
            created=created,
            method_id=11,
            account=f"TXyz000{number}",
            pay_amount="0.98",
            pay_currency="USDTTRC20",
            original_amount="1",
            status=number - 1,
        )
        for number, created in enumerate(times, 1)
    ]


def recorded_books() -> Books:
    """Return the rows that the recorded servers were loaded with."""
    return Books(
        partner=Partner(api_key="KEY1", balance="122.01"),
        methods=METHODS,
        clicks=CLICKS,
        orders=recorded_orders(),
        payouts=recorded_payouts(),
    )


def other_books() -> list[Books]:
    """Return the recorded servers' other two users: one without money and one banned."""
    return [
        Books(partner=Partner(id=2, api_key="KEY2"), methods=METHODS),
        Books(partner=Partner(id=3, api_key="BAN", banned=True), methods=METHODS),
    ]


class Caller:
    """A bare client: asks as told, and returns what came."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.http = http

    def post(
        self,
        method: str,
        form: Mapping[str, Any] | None = None,
        *,
        raw: object = None,
        kind: str = "application/x-www-form-urlencoded",
        **query: str,
    ) -> Any:
        """Post a call of a method with the right key; use with ``async with``.

        `raw` replaces the form: bytes of this `kind`, or what aiohttp makes a body of.
        """
        path, headers = self.sandbox.endpoint, {}
        if self.sandbox.dialect is Dialect.USER_API:
            path += method
            headers = {"API-Login": self.sandbox.api_login or "", "API-Key": self.sandbox.api_key}
        else:
            query = {
                "api_action": "pp",
                "method": method,
                "api_key": self.sandbox.api_key,
            } | query
        url = self.sandbox.url + path
        data: object = {name: str(value) for name, value in (form or {}).items()}
        if raw is not None:
            data = raw
            if isinstance(raw, bytes):
                headers["Content-Type"] = kind
        return self.http.post(url, params=query, data=data, headers=headers, allow_redirects=False)

    async def json(self, method: str, form: Mapping[str, Any] | None = None, **query: str) -> Any:
        """Call a method and return the decoded answer."""
        async with self.post(method, form, **query) as response:
            return json.loads(await response.read(), parse_float=Decimal)

    async def items(self, method: str, form: Mapping[str, Any] | None = None, **query: str) -> Any:
        """Call a method and return its rows, as a list on every dialect."""
        data = (await self.json(method, form, **query)).get("data") or {"items": []}
        items = data["items"]
        return list(items.values()) if isinstance(items, dict) else items


@asynccontextmanager
async def serving(
    dialect: Dialect = Dialect.CLASSIC, *, decompress: bool = True, **settings: Any
) -> AsyncIterator[Caller]:
    """Run a sandbox and a client that keeps no cookies."""
    http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=decompress)
    async with Sandbox(dialect, **settings) as sandbox, http:
        yield Caller(sandbox, http)


def ids(rows: list[Any]) -> list[int]:
    """Return the rows' ids."""
    return [int(row["id"]) for row in rows]


# --- the recorded servers


def samples() -> list[Any]:
    """Return the recordings with their dialects."""
    recordings = {"classic-2.2": Dialect.CLASSIC, "delegating-2.7": Dialect.DELEGATING}
    return [pytest.param(name, dialect, id=name) for name, dialect in recordings.items()]


async def replay(caller: Caller, name: str, sample: Any) -> None:
    """Send a recorded request, and compare the whole answer with the recorded one."""
    asked, recorded = sample["request"], sample["response"]
    if name == "maintenance":
        caller.sandbox.faults.add(Fault.API_DISABLED)
    url = caller.sandbox.url + asked["path"]
    async with caller.http.request(
        asked["http_method"], url, params=asked["query"], data=asked["form"]
    ) as response:
        body = await response.text()
        assert response.status == recorded["status"], name
        assert response.headers["Content-Type"] == recorded["content_type"], name
        # Those of 2.7 were recorded without the class that sets it.
        assert "PHPSESSID" in response.cookies, name
    assert body == recorded["body"], name


@pytest.mark.asyncio
@pytest.mark.parametrize(("name", "dialect"), samples())
async def test_recorded_requests_get_the_recorded_answers(name: str, dialect: Dialect) -> None:
    """Loaded with the same rows, the sandbox answers like the servers, byte for byte."""
    recording = json.loads((SAMPLES / f"{name}.json").read_text())
    after = json.loads(recording["get_payouts-after"]["response"]["body"])["data"]["items"]
    booked = after["5"] if dialect is Dialect.CLASSIC else after[0]
    async with serving(
        dialect,
        books=recorded_books(),
        others=other_books(),
        clock=lambda: booked["time"],
        ties="by id",
    ) as caller:
        for sample_name, sample in recording.items():
            await replay(caller, sample_name, sample)


# --- dialects


@pytest.mark.asyncio
async def test_clone_answers_numbers_under_ids_and_reads_the_query() -> None:
    """A clone writes amounts as JSON numbers and heeds parameters from query and form alike."""
    async with serving(Dialect.CLONE, books=recorded_books()) as caller:
        answer = await caller.json("get_exchanges", start_time="1759900300")
        assert answer["status"] == "success"
        assert answer["data"]["items"]["1899"]["course_get"] == Decimal("41.5")
        assert ids(await caller.items("get_exchanges", {"start_time": 1759900300})) == [1899]
        assert (await caller.json("get_links", {"end_time": 1}))["data"] == {"items": {}}


@pytest.mark.asyncio
async def test_user_api_routes_by_path_and_header() -> None:
    """The User API takes the key from headers, the method from the path, and answers as 2.7."""
    async with serving(Dialect.USER_API, books=recorded_books()) as caller:
        assert (await caller.json("get_partner_info"))["data"]["balance"] == "122.01"
        assert ids(await caller.items("get_partner_exchanges", {"limit": 2})) == [1899, 1895]
        assert (await caller.json("test"))["error"] == 0
        assert (await caller.json("get_nothing"))["error"] == 3
        caller.sandbox.books.partner.ip_blocked = True
        assert (await caller.json("test"))["error_text"] == "IP blocked"


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", list(Dialect))
async def test_other_paths_are_not_the_api(dialect: Dialect) -> None:
    """Off the endpoint there is only the site's own 404 page."""
    async with serving(dialect, rows=1, endpoint="/my/api/") as caller:
        async with caller.http.get(caller.sandbox.url + "/api.html") as response:
            assert response.status == 404
            assert response.content_type == "text/html"
        assert caller.sandbox.requests[-1].method == ""


@pytest.mark.asyncio
async def test_methods_not_enabled_for_the_key_are_refused() -> None:
    """2.7 can enable methods one by one."""
    books = Books(partner=Partner(methods=frozenset({"get_info"})))
    async with serving(Dialect.DELEGATING, books=books) as caller:
        assert (await caller.json("get_info"))["error"] == "0"
        refused = await caller.json("get_links")
        assert (refused["error"], refused["error_text"]) == (3, "Method not supported")


# --- rows and windows


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("settings", "form", "expected"),
    [
        ({}, {}, 100),
        ({}, {"limit": 9999}, 500),
        ({}, {"limit": -5}, 100),
        ({}, {"limit": "7 rows"}, 7),
        ({"cap": 50}, {}, 50),
        ({"cap": None}, {}, 900),
        ({"cap": None}, {"limit": 10}, 10),
        ({"honours_limit": False}, {"limit": 10}, 100),
        ({"default_limit": 30}, {}, 30),
    ],
)
async def test_pages_are_cut_without_a_sign(
    settings: dict[str, Any], form: dict[str, Any], expected: int
) -> None:
    """2.7 gives out the default, or the limit up to the cap."""
    books = Books.uniform(900, START, END)
    async with serving(Dialect.DELEGATING, books=books, **settings) as caller:
        assert len(await caller.items("get_exchanges", form)) == expected


@pytest.mark.asyncio
async def test_offset_pages_through_one_overfull_second() -> None:
    """Where rows of a second come by id, pages by offset join to all of them."""
    books = Books.uniform(1500, START, END, burst_at=START + 1000, burst=1300)
    async with serving(Dialect.DELEGATING, books=books, ties="by id") as caller:
        window = {"start_time": START + 1000, "end_time": START + 1000, "limit": 500}
        pages = [
            await caller.items("get_exchanges", window | {"offset": offset})
            for offset in (0, 500, 1000)
        ]
    found = ids([row for page in pages for row in page])
    assert found == [order.id for order in books.exchanges_in(START + 1000, START + 1001)]
    assert len(found) == 1300


@pytest.mark.asyncio
async def test_offset_and_filter_can_be_ignored() -> None:
    """Servers that ignore offset or filters answer with the same newest rows."""
    books = Books.uniform(10, START, END)
    async with serving(
        Dialect.DELEGATING, books=books, honours_offset=False, honours_filter=False
    ) as caller:
        rows = await caller.items("get_exchanges", {"offset": 5, "limit": 3, "end_time": START})
        assert ids(rows) == [10, 9, 8]


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", list(Dialect))
async def test_bounds_are_inclusive_and_on_the_sites_clock(dialect: Dialect) -> None:
    """A site at UTC+3 reports and compares times three hours ahead of the true instants."""
    method = "get_partner_links" if dialect is Dialect.USER_API else "get_links"
    async with serving(dialect, books=recorded_books(), timezone="Europe/Moscow") as caller:
        shifted = 1759900000 + 3 * 3600
        rows = await caller.items(method, {"start_time": shifted, "end_time": shifted})
        assert [(row["id"], row["time"], row["date"]) for row in rows] == [
            ("1", shifted, "2025-10-08 08:06:40")
        ]
        unbound = await caller.items(method, {"start_time": "0", "end_time": "-1"})
        assert sorted(ids(unbound)) == [1, 2, 3]


@pytest.mark.asyncio
async def test_exchanges_filter_by_id_hash_and_ip() -> None:
    """2.7 knows a comma list of ids, and the public hash; both know the ip."""
    async with serving(Dialect.DELEGATING, books=recorded_books()) as caller:
        assert ids(await caller.items("get_exchanges", {"id": "1895,1896,7"})) == [1895, 1896]
        assert ids(await caller.items("get_exchanges", {"hash": f"{1897:030x}"})) == [1897]
        assert len(await caller.items("get_exchanges", {"ip": "203.0.113.9", "limit": 3})) == 3
        assert ids(await caller.items("get_payouts", {"id": "2"})) == [2]


def test_a_repeated_hour_reads_the_same_twice() -> None:
    """Where the clock goes back, two true instants share a wall time."""
    clock = SiteClock("Europe/Berlin")
    summer = int(datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    assert clock.wall(summer) == clock.wall(summer + 3600)
    assert SiteClock.text(clock.wall(summer)) == "2025-10-26 02:30:00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a&b <b>it\'s</b> "x"', "a&amp;b it&#039;s &quot;x&quot;"),
        ("Select selected update_7", "s\u0435lect selected update_7"),
        ("shell_exec", "shell_exec"),
    ],
)
def test_text_is_escaped_and_disguised(text: str, expected: str) -> None:
    """Whole words of SQL lose a Latin letter, and their capitals."""
    assert wire_text(text) == expected


def test_newer_servers_disguise_more_words() -> None:
    """2.7 adds the shell's words."""
    assert wire_text("exec=system", newer=True) == "\u0435xec=syst\u0435m"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12abc", 12), (" -3", -3), ("abc", 0), ("", 0), (None, 0), ("1.9", 1), ("+7", 7)],
)
def test_numbers_are_read_as_php_reads_them(text: str | None, expected: int) -> None:
    """The leading digits count, and nonsense is 0."""
    assert intval(text) == expected


# --- payouts


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"method_id": 99, "account": "TXabcdefgh"}, "Selected currency can not be ordered"),
        ({"method_id": 11, "account": "x"}, "Invalid wallet account"),
        ({"method_id": 11, "account": "TXblacklisted"}, "in blacklist"),
        ({"method_id": 22, "account": "TXabcdefgh"}, "unable to make a selected currency"),
    ],
)
async def test_payouts_are_refused_for_reasons(form: dict[str, Any], expected: str) -> None:
    """Each reason has its text, and nothing is booked."""
    books = recorded_books()
    books.blacklist = frozenset({"TXblacklisted"})
    async with serving(books=books) as caller:
        assert expected in (await caller.json("add_payout", form))["error_text"]
    assert len(books.payouts) == 4
    assert books.partner.balance == "122.01"


@pytest.mark.asyncio
async def test_refusals_can_speak_russian() -> None:
    """Texts follow the site's language, escaped to ASCII on classic."""
    books = Books(partner=Partner(balance="9.99"), methods=METHODS)
    async with serving(books=books, language="ru") as caller:
        answer = await caller.json("add_payout", {"method_id": 11, "account": "TXabcdefgh"})
    assert answer["error_text"] == "Ошибка! Недостаточно средств на Вашем счете"


# --- faults

HTML_STATUSES = {
    Fault.HTML_404: 404,
    Fault.HTML_429: 429,
    Fault.HTML_500: 500,
    Fault.HTML_502: 502,
    Fault.HTML_503: 503,
    Fault.HTML_504: 504,
    Fault.HTML_520: 520,
    Fault.HTML_524: 524,
    Fault.CHALLENGE_403: 403,
    Fault.GEO_200: 200,
    Fault.FATAL_200: 200,
    Fault.KEY_ECHO: 200,
}
PAYOUT = {"method_id": 11, "account": "TXabcdefgh"}


@pytest.mark.asyncio
@pytest.mark.parametrize(("fault", "status"), HTML_STATUSES.items())
async def test_pages_stand_in_for_the_answer(fault: Fault, status: int) -> None:
    """A page comes with its status, as many times as asked."""
    async with serving(rows=1) as caller:
        caller.sandbox.faults.add(fault, method="get_info", times=2)
        for _ in range(2):
            async with caller.post("get_info") as response:
                assert response.status == status
                assert (await response.text()).startswith(("<!DOCTYPE", "<html"))
        assert (await caller.json("get_info"))["error"] == 0
        assert [seen.status for seen in caller.sandbox.requests] == [status, status, 200]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "fault", [Fault.CLOSED, Fault.RESET, Fault.HALF_HEADER, Fault.BODY_CUT, Fault.CHUNKED_CUT]
)
async def test_connections_end_early(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    """The client sees a broken connection, the server logs no error, and serves on."""
    async with serving(rows=1) as caller:
        caller.sandbox.faults.add(fault)
        with pytest.raises(aiohttp.ClientError):
            await caller.json("get_info")
        assert caller.sandbox.requests[0].status is None
        assert (await caller.json("get_info"))["error"] == 0
    assert not caplog.records


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("fault", "spoiled"),
    [
        (Fault.EMPTY, lambda body, clean: body == b""),
        (Fault.NULL, lambda body, clean: body == b"null"),
        (Fault.FALSE, lambda body, clean: body == b"false"),
        (Fault.TRUNCATED_JSON, lambda body, clean: clean.startswith(body) and body != clean),
        (Fault.NOTICE_HTML, lambda body, clean: body.endswith(b"</b><br />\n" + clean)),
        (Fault.NOTICE_PLAIN, lambda body, clean: body.endswith(b"on line 42\n\n" + clean)),
        (Fault.BOM, lambda body, clean: body == b"\xef\xbb\xbf" + clean),
        (Fault.CP1251, lambda body, clean: "Обменник" in body.decode("cp1251")),
        (Fault.GZIP, lambda body, clean: gzip.decompress(body) == clean),
        (Fault.GZIP_CUT, lambda body, clean: gzip.compress(clean, mtime=0).startswith(body)),
        (Fault.SLOW, lambda body, clean: body == clean),
    ],
)
async def test_bodies_are_spoiled(fault: Fault, spoiled: Callable[[bytes, bytes], bool]) -> None:
    """What arrives is a complete HTTP answer whose body is not what it should be."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with serving(books=recorded_books(), sleep=sleep, decompress=False) as caller:
        async with caller.post("get_links") as response:
            clean = await response.read()
        caller.sandbox.faults.add(fault, seconds=30)
        async with caller.post("get_links") as response:
            assert spoiled(await response.read(), clean)
    assert slept == ([30] if fault is Fault.SLOW else [])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("wait", "header"),
    [(30, "30"), (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "Fri, 02 Jan 2026 03:04:05 GMT")],
)
async def test_retry_after_comes_in_both_forms(wait: int | datetime, header: str) -> None:
    """Retry-After is seconds or a date."""
    async with serving(rows=1) as caller:
        caller.sandbox.faults.add(Fault.HTML_429, retry_after=wait)
        async with caller.post("get_info") as response:
            assert response.headers["Retry-After"] == header


@pytest.mark.asyncio
async def test_redirects_and_pages_give_the_key_away() -> None:
    """A redirect repeats the query, and an echoing page the key, raw and percent-encoded."""
    async with serving(rows=1, api_key="a+b/c d") as caller:
        caller.sandbox.faults.add(Fault.REDIRECT_302, location="https://example.org/x")
        async with caller.post("get_info") as response:
            assert response.status == 302
            location = response.headers["Location"]
        caller.sandbox.faults.add(Fault.KEY_ECHO, status=500)
        async with caller.post("get_info") as response:
            assert response.status == 500
            assert "a+b/c d" in await response.text()
        assert location.startswith("https://example.org/x?")
        assert "api_key=a%2Bb/c+d" in location
        assert all("api_key" not in seen.query for seen in caller.sandbox.requests)


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", [Fault.HUGE, Fault.GZIP_BOMB])
async def test_bodies_can_be_huge(fault: Fault) -> None:
    """A huge body is as long as asked; a bomb is so once unpacked."""
    async with serving(rows=1) as caller:
        caller.sandbox.faults.add(fault, size=1_000_003)
        async with caller.post("get_info") as response:
            body = await response.read()
            on_the_wire = int(response.headers["Content-Length"])
    assert len(body) == 1_000_003
    assert json.loads(body)["error"] == 0
    assert on_the_wire == 1_000_003 if fault is Fault.HUGE else on_the_wire < 10_000


@pytest.mark.asyncio
async def test_hanging_calls_wait_for_their_release() -> None:
    """A call hangs until it is let go, and is then cut off."""
    async with serving(rows=1) as caller:
        caller.sandbox.faults.add(Fault.HANG, times=None)
        hanging = asyncio.create_task(caller.json("get_info"))
        await caller.sandbox.arrived(1)
        assert not hanging.done()
        caller.sandbox.faults.clear()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await hanging
        assert (await caller.json("get_info"))["error"] == 0


@pytest.mark.asyncio
async def test_closing_lets_hanging_calls_go() -> None:
    """A sandbox does not wait for calls that hang."""
    async with serving(rows=1) as caller:
        caller.sandbox.faults.add(Fault.HANG)
        hanging = asyncio.create_task(caller.json("get_info"))
        await caller.sandbox.arrived(1)
        await caller.sandbox.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await hanging


@pytest.mark.asyncio
@pytest.mark.parametrize("after", [False, True])
async def test_faults_strike_before_or_after_the_payout(after: bool) -> None:
    """An answer can be lost with or without the payout being booked."""
    books = recorded_books()
    async with serving(books=books) as caller:
        caller.sandbox.faults.add(Fault.CLOSED, method="add_payout", after=after)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await caller.json("add_payout", PAYOUT)
    assert len(books.payouts) == 4 + after
    assert books.partner.balance == ("0" if after else "122.01")


@pytest.mark.asyncio
async def test_faults_choose_their_calls() -> None:
    """A fault can wait, ask a predicate, be taken back, or tell an error of the API's."""
    async with serving(rows=1) as caller:
        faults = caller.sandbox.faults
        faults.add(Fault.API_ERROR, skip=1, code="1", text="no partner id")
        faults.add(Fault.HTML_503, when=lambda call: call.form.get("ip") == "203.0.113.1")
        faults.remove(faults.add(Fault.CLOSED))
        assert (await caller.json("get_info"))["error"] == 0
        assert (await caller.json("get_info"))["error_text"] == "no partner id"
        assert (await caller.json("get_info"))["error"] == 0
        async with caller.post("get_links", {"ip": "203.0.113.1"}) as response:
            assert response.status == 503
        assert len(faults) == 0


@pytest.mark.asyncio
async def test_a_reset_is_a_reset() -> None:
    """RESET sends RST, which a plain close does not."""
    async with serving(rows=1) as caller:
        caller.sandbox.faults.add(Fault.RESET)
        with pytest.raises(aiohttp.ClientOSError) as caught:
            await caller.json("get_info")
    assert caught.value.errno == errno.ECONNRESET


@pytest.mark.asyncio
async def test_a_filter_can_be_ignored_once() -> None:
    """The next answer holds rows that were not asked for, the one after it does not."""
    async with serving(books=recorded_books()) as caller:
        caller.sandbox.faults.add(Fault.FILTER_IGNORED)
        assert len(await caller.items("get_links", {"end_time": 1})) == 3
        assert await caller.items("get_links", {"end_time": 1}) == []


@pytest.mark.parametrize("fault", [None, Fault.HTML_503, Fault.SLOW])
async def test_the_date_of_an_answer_is_the_sandboxs(fault: Fault | None) -> None:
    """Clients compare clocks by it, so it is the sandbox's own and not the machine's."""

    async def no_sleep(_: float) -> None:
        pass

    async with serving(rows=1, clock=lambda: END + 0.9, sleep=no_sleep) as caller:
        if fault is not None:
            caller.sandbox.faults.add(fault)
        async with caller.post("get_info") as response:
            sent = parsedate_to_datetime(response.headers["Date"])
    assert sent.timestamp() == END


async def test_a_fault_of_ones_own() -> None:
    """A function makes what is sent of a call and its true answer; the call is processed."""

    def maintenance(call: Call, answer: Answer) -> Answer | Cut:
        assert answer.status == 200
        if call.form:
            return Cut(b"HTTP/1.1 200 OK\r\n", reset=True)
        return evolve(answer, status=503, body=b"back soon")

    async with serving(rows=2) as caller:
        caller.sandbox.faults.add(maintenance, method="get_links", times=2)
        async with caller.post("get_links") as response:
            assert (response.status, await response.read()) == (503, b"back soon")
        with pytest.raises(aiohttp.ClientError):
            await caller.json("get_links", {"ip": "203.0.113.1"})
        assert (await caller.json("get_links"))["error"] == 0
        seen = [(seen.fault, seen.status) for seen in caller.sandbox.requests]
        assert seen == [("maintenance", 503), ("maintenance", None), (None, 200)]
        assert caller.sandbox.faults.add(functools.partial(maintenance)).name == "partial"


# --- what the sandbox saw


@pytest.mark.asyncio
async def test_requests_are_remembered_without_the_key() -> None:
    """Every request is there with verb, query, form and status; no secret is."""
    async with serving(Dialect.USER_API, rows=1) as caller:
        await caller.json("get_partner_links", {"ip": "203.0.113.1"}, probe="1")
        (seen,) = caller.sandbox.requests
        assert (seen.method, seen.verb, seen.status) == ("get_links", "POST", 200)
        assert (seen.query, seen.form) == ({"probe": "1"}, {"ip": "203.0.113.1"})
        assert caller.sandbox.api_key not in repr(seen)
        assert caller.sandbox.requests_count == 1


@pytest.mark.asyncio
async def test_a_sandbox_can_be_started_again_on_its_port() -> None:
    """Closed, it refuses connections; started again, it has the same address."""
    async with serving(rows=1) as caller:
        url = caller.sandbox.url
        await caller.sandbox.close()
        with pytest.raises(RuntimeError, match="not listening"):
            _ = caller.sandbox.url
        await caller.sandbox.start()
        assert caller.sandbox.url == url
        assert (await caller.json("get_info"))["error"] == 0


# --- the books


@given(
    moves=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 12)), max_size=30),
    first=st.none() | st.integers(0, 13),
    last=st.none() | st.integers(0, 13),
)
def test_the_index_follows_rows_that_move(
    moves: list[tuple[int, int]], first: int | None, last: int | None
) -> None:
    """After any moves the index holds each row once: newest first, by id inside a second."""
    shelf: Shelf[Order] = Shelf([Order(id=1, created=5)])
    index = shelf.index("edited")
    for row_id, at in moves:
        shelf.put(Order(id=row_id, created=0, history=[(at, "new")]))
    rows = sorted(shelf, key=lambda order: (-order.edited, order.id))
    low, high = (0 if first is None else first), (99 if last is None else last)
    expected = [order.id for order in rows if low <= order.edited <= high]
    assert list(index.ids(first, last)) == expected
    assert list(index.ids(first, last, offset=1, limit=2)) == expected[1:3]
    assert index.count(first, last) == len(expected)


def test_generated_books_are_the_same_for_the_same_seed() -> None:
    """A seed tells one story."""
    one, same, other = (Books.generate(seed, 300, START, END) for seed in (1, 1, 2))
    assert list(one.orders) == list(same.orders)
    assert list(one.clicks) == list(same.clicks)
    assert list(one.orders) != list(other.orders)


def test_generated_books_balance() -> None:
    """What accrued is the balance, what is waiting and what was paid."""
    books = Books.generate(3, 5000, START, END)
    accrued = sum(books.rewards_by_currency().values())
    out = sum(Decimal(one.original_amount) for one in books.payouts if one.status in (0, 1))
    assert len(books.payouts) > 0
    assert accrued == Decimal(books.partner.balance) + out


def test_generated_orders_are_varied() -> None:
    """There are bursts, reversals, statuses of the site's own, and open orders."""
    books = Books.generate(1, 5000, START, END)
    assert len({order.created for order in books.orders}) < 5000
    statuses = {order.status for order in books.orders}
    assert {"new", "success", "cancel", "delete", "amlerror"} <= statuses
    assert any("my12" in (status for _, status in one.history) for one in books.orders)
    reversals = [one for one in books.orders if one.status == "cancel" and len(one.history) == 4]
    assert reversals
    assert not any(order.accrued for order in reversals)
    assert all(START <= order.created <= order.edited < END for order in books.orders)


def test_truth_is_told_in_half_open_ranges() -> None:
    """Ranges that touch share out the rows; the last edit can be asked about instead."""
    books = recorded_books()
    middle = 1759900120
    assert [order.id for order in books.exchanges_in(None, middle)] == [1700, 1895]
    assert [order.id for order in books.exchanges_in(middle, None)] == [1896, 1897, 1899]
    assert [order.id for order in books.exchanges_in(1759900901, by="edited")] == [1899]
    assert [click.id for click in books.links_in(1759900060, 1759900061)] == [2, 3]
    assert [payout.id for payout in books.payouts_in(end=1759810000)] == [4, 3]
    assert books.rewards_by_currency() == {"USDTTRC20": Decimal("124.01")}


@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING])
@pytest.mark.asyncio
async def test_live_books_show_what_happened(dialect: Dialect) -> None:
    """With a moving clock new orders appear, and on edit-time servers old ones move up."""
    now = [float(END)]
    books = Books.generate(1, 50, END - 3600, END)
    async with serving(
        dialect, books=books, live=True, clock=lambda: now[0], cap=500, ties="by id"
    ) as caller:
        before = ids(await caller.items("get_exchanges", {"limit": 500}))
        now[0] += 6 * 3600
        after = ids(await caller.items("get_exchanges", {"limit": 500}))
    assert len(after) > len(before)
    by = "created" if dialect is Dialect.CLASSIC else "edited"
    truth = sorted(books.orders, key=lambda order: (-getattr(order, by), order.id))
    assert after == [order.id for order in truth]


def test_live_books_do_not_mind_how_often_they_are_asked() -> None:
    """Advancing in one leap or in many steps comes to the same."""
    leaping, stepping = (
        Books.generate(1, 50, END - 86_400, END, partner=Partner(api_key="k")) for _ in range(2)
    )
    leaping.advance(END + 86_400)
    for step in range(0, 86_401, 600):
        stepping.advance(END + step)
    assert list(leaping.orders) == list(stepping.orders)
    assert list(leaping.clicks) == list(stepping.clicks)
    assert leaping.partner == stepping.partner
    assert leaping.exchanges_in(by="edited") == stepping.exchanges_in(by="edited")


def test_requested_payouts_are_done_after_a_while() -> None:
    """Live books settle a payout some time after it was requested."""
    books = recorded_books()
    outcome = books.request_payout(11, "TXabcdefgh", END)
    assert isinstance(outcome, Payout)
    books.advance(END)
    assert books.payouts[outcome.id].status == 0
    books.advance(END + books.traffic.rates.payout_delay)
    assert books.payouts[outcome.id].status == 1
    assert books.partner.received == "122.01"
