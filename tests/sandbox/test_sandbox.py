"""The sandbox answers as the recorded servers did, tells the truth, and fails as asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest

from ppapi_async.account import Dialect
from ppapi_async.sandbox import (
    BookedPayout,
    Books,
    Click,
    Fault,
    Order,
    Partner,
    PayoutOption,
    Sandbox,
)
from ppapi_async.sandbox.manners import intval
from ppapi_async.sandbox.shelf import WallClock
from ppapi_async.sandbox.texts import wire_text

SAMPLES = Path(__file__).parents[1] / "samples"
START, END = 1_760_000_000, 1_762_592_000
METHODS = (
    PayoutOption(id=11, title="Psys USDTTRC20", currency="USDTTRC20", commission="2"),
    PayoutOption(id=22, title="Psys BTC", currency="BTC", reserve="1"),
    PayoutOption(id=33, title="Psys SBERRUB", currency="SBERRUB", commission="1.5"),
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


def recorded_payouts() -> list[BookedPayout]:
    """Return the payouts that the recorded servers were loaded with."""
    times = (1759905000, 1759810000, 1759710000, 1759610000)
    return [
        BookedPayout(
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
    clock = WallClock("Europe/Berlin")
    summer = int(datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    assert clock.wall(summer) == clock.wall(summer + 3600)
    assert WallClock.text(clock.wall(summer)) == "2025-10-26 02:30:00"


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
