"""The sandbox and the stand-in, each made from the notes on the wire, answer alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from ppapi_async.account import Dialect
from ppapi_async.sandbox import BookedPayout, Books, Click, Order, Partner, PayoutOption, Sandbox
from tests.sites.standin import StandIn
from tests.sites.standin.server import Method, User

KEY = "TwinsTwinsTwinsTwinsTwinsTwins12"
NOW = 1_780_000_000
_TEXTS = (
    *("", " a ", 'it\'s "x" & y', "a\\'b\\c", "<b>bold</b> a < b <c", "&amp; &#039; &foo; &"),
    *("обмен", "SELECT cookie", "concat,update;truncate", "shell_exec passthru proc_open"),
    "selected script.js",
)
_AMOUNTS = (
    *("0", "", "-0", "0.00", "1,5", "7e3", "100", "0.00000921", "117350.8"),
    *("123456789012.123456789012", "0.1234567890123456", "-12.50", "1e", "abc"),
)
_STATUSES = ("new", "success", "coldsuccess", "my12", "my", "my-12", "мой", "cancel")
_ZONES = ("UTC", "Europe/Moscow", "America/New_York")


def fill(draw: random.Random, site: StandIn) -> Books:
    """Store the same rows in both."""
    methods = [
        PayoutOption(
            id=one.id,
            title=one.title,
            currency=one.currency,
            rate=one.rate,
            commission=one.commission,
            reserve=one.reserve,
        )
        for one in site.methods
    ]
    return Books(
        partner=Partner(api_key=KEY, balance=site.user.balance),
        methods=methods,
        clicks=[click(draw, site, row_id) for row_id in range(1, 60)],
        orders=[order(draw, site, row_id) for row_id in range(1, 40)],
        payouts=[payout(draw, site, row_id) for row_id in range(1, 9)],
        blacklist=site.blacklist,
    )


def texts(draw: random.Random, *names: str) -> dict[str, Any]:
    """Draw texts for some fields."""
    return {name: draw.choice(_TEXTS) for name in names}


def click(draw: random.Random, site: StandIn, row_id: int) -> Click:
    """Store a click in the stand-in, and return it for the sandbox."""
    at, fields = NOW - draw.randrange(40), texts(draw, "browser", "referrer", "query_string")
    fields |= {"id": row_id, "ip": f"203.0.113.{row_id % 5}"}
    site.tables.click(at=at, **fields)
    return Click(created=at, **fields)


def order(draw: random.Random, site: StandIn, row_id: int) -> Order:
    """Store an order with its history in the stand-in, and return it for the sandbox."""
    times = sorted(NOW - draw.randrange(90) for _ in range(draw.randrange(1, 4)))
    steps = tuple((at, draw.choice(_STATUSES)) for at in times)
    names = ("course_give", "course_get", "amount_give", "amount_get")
    shared: dict[str, Any] = {name: draw.choice(_AMOUNTS) for name in names}
    shared |= {"id": row_id, "hash": f"h{row_id}", **texts(draw, "psys_give", "psys_get")}
    give, get, reward = draw.choice(_TEXTS), draw.choice(_TEXTS), draw.choice(_AMOUNTS)
    accrued, status = draw.random() < 0.5, steps[-1][1]
    walls = [site.tables.wall(at) for at, _ in steps]
    stored = {"created": walls[0], "edited": walls[-1], "status": status, "accrued": int(accrued)}
    codes = {"currency_code_give": give, "currency_code_get": get}
    more = {"partner_reward": reward, "user_ip": "203.0.113.1"}
    site.tables.insert("exchanges", [shared | stored | codes | more])
    for wall, (_, name) in zip(walls, steps, strict=True):
        site.tables.insert("status_log", [{"order_id": row_id, "time": wall, "status": name}])
    return Order(
        created=steps[0][0],
        history=steps,
        success=status == "success",
        accrued=accrued,
        reward=reward,
        currency_give=give,
        currency_get=get,
        ip="203.0.113.1",
        **shared,
    )


def payout(draw: random.Random, site: StandIn, row_id: int) -> BookedPayout:
    """Store a payout in the stand-in, and return it for the sandbox."""
    at, code, paid = NOW - draw.randrange(5), draw.choice(_TEXTS), draw.choice(_AMOUNTS)
    shared: dict[str, Any] = {"id": row_id, "method_id": 11, "account": "TX12345"}
    shared |= {"pay_amount": paid, "original_amount": paid}
    stored = {"time": site.tables.wall(at), "pay_currency_code": code}
    site.tables.insert("payouts", [shared | stored])
    return BookedPayout(created=at, pay_currency=code, **shared)


def question(draw: random.Random) -> tuple[str, dict[str, str], dict[str, str]]:
    """Draw a path, a query and a form; most of them well, many odd."""
    numbers: Sequence[str] = ("", "0", "1", "-1", "2", " 7", "7x", "x", "3.9", "9" * 30, "٣")
    times = (*numbers, *(str(NOW + draw.randrange(-60, 20)) for _ in range(20)))
    form = {
        "start_time": draw.choice(times),
        "end_time": draw.choice(times),
        "limit": draw.choice((*numbers, "500", "20")),
        "offset": draw.choice(numbers),
        "ip": draw.choice(("", "%", "203.0.113.1", " 203.0.113.%2 ", "203.0.113")),
        "id": draw.choice(("", "0", ",", "1,2,3", "5", " 6 ,x", "0,7", "x")),
        "hash": draw.choice(("", "", "h3", "h")),
        "status_history": draw.choice(("", "0", "1", "2", "x")),
        "method_id": draw.choice(("11", "22", "33", " 11x", "9", "")),
        "account": draw.choice(("TX12345", "TXblack", "x", "")),
    }
    form = {name: value for name, value in form.items() if draw.random() < 0.35}
    methods = ("get_links", "get_exchanges", "get_payouts") * 4
    query = {
        "api_action": draw.choice((*["pp"] * 20, " pp ", "xx", "")),
        "api_key": draw.choice((*[KEY] * 20, KEY.upper(), f" {KEY}", "wrong", "")),
        "method": draw.choice((*methods, "get_info", " get_info", "add_payout", "get_nothing", "")),
        "x": draw.choice((*[""] * 20, "base64", "CONCAT(", "a concat b", "eval(", "union select")),
    }
    return draw.choice((*["/api.html"] * 30, "/API.html", "/x/api.html", "/")), query, form


@pytest.mark.parametrize("seed", range(6))
async def test_both_answer_alike(seed: int) -> None:
    """Status, cookies and body of 120 calls are the same, bytes and all."""
    draw = random.Random(seed)
    site = StandIn(
        key=KEY,
        timezone=draw.choice(_ZONES),
        ties="id",
        clock=lambda: float(NOW),
        blacklist=frozenset({"TXblack"}),
        user=User(balance=draw.choice(("0", "9.99", "10", "122.01"))),
        methods=(
            Method(id=11, title="Tether 'TRC20'", currency="USDTTRC20", commission="2"),
            Method(id=22, title="Bitcoin", currency="BTC", commission="50", reserve="70"),
            Method(id=33, title="union", currency="RUB", rate="97.4213", reserve="1000"),
        ),
    )
    books = fill(draw, site)
    async with (
        site,
        Sandbox(
            Dialect.DELEGATING,
            books=books,
            timezone=site.timezone,
            ties="by id",
            clock=lambda: float(NOW),
        ) as sandbox,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        for _ in range(120):
            path, query, form = question(draw)
            answers = []
            for url in (site.url, sandbox.url):
                async with http.post(url + path, params=query, data=form) as response:
                    body = await response.text() if response.status == 200 else ""
                    date = response.headers["Date"]
                    answers.append((response.status, sorted(response.cookies), date, body))
            assert answers[0] == answers[1], (path, query, form)
