"""The stand-in for a server of version 2.7 does as recorded, and as the notes on the wire say."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.sites import standin
from tests.sites.standin import ZERO_DATE, StandIn
from tests.sites.standin.server import Method, User
from tests.sites.standin.texts import escaped, through_float

SAMPLES = Path(__file__).parents[1] / "samples" / "delegating-2.7.json"
NOW = 1_780_000_000


async def ask(
    site: StandIn, method: str, form: Mapping[str, object] | None = None, **query: str
) -> Any:
    """Ask as the vendor's page says, and return the decoded answer."""
    asked = {"api_action": "pp", "api_key": site.key, "method": method} | query
    data = {name: str(value) for name, value in (form or {}).items()}
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
        http.post(f"{site.url}/api.html", params=asked, data=data) as response,
    ):
        return json.loads(await response.read())


async def ids(site: StandIn, method: str, form: Mapping[str, object] | None = None) -> list[int]:
    """Ask for a list, and return the ids of its rows."""
    data = (await ask(site, method, form))["data"]
    return [int(row["id"]) for row in data["items"]] if data else []


# --- apart from all else


@pytest.mark.parametrize(
    "path", sorted(Path(standin.__file__).parent.glob("*.py")), ids=lambda path: path.name
)
def test_the_stand_in_knows_nothing_of_the_library(path: Path) -> None:
    """It would share mistakes with what it is to judge."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.split(".")[0] == "ppapi_async"]
        assert not isinstance(node, ast.ImportFrom) or node.level <= 1


# --- as recorded


def load(site: StandIn) -> None:
    """Store what the recorded server had stored."""
    site.tables.insert(
        "clicks",
        [
            {"id": 1, "time": "2025-10-08 05:06:40", "browser": "Chrome", "ip": "203.0.113.7",
             "referrer": 'https://t.me/durov?a=1&b="2"', "user_hash": "5f0c" * 8,
             "query_string": "?cur_from=USDTTRC20&cur_to=SBERRUB&utm_source=SELECT&sub=update_7"},
            {"id": 2, "time": "2025-10-08 05:07:40", "browser": "Firefox", "ip": "2001:db8::1",
             "user_hash": "a1b2" * 8, "query_string": "?rid=17&sub=it's ok"},
            {"id": 3, "time": "2025-10-08 05:07:40", "browser": "Chrome", "ip": "203.0.113.7",
             "referrer": "https://example.org/обмен", "user_hash": "0a0b" * 8,
             "query_string": "?rid=17&utm_campaign=script"},
        ],
    )  # fmt: skip
    usual = {"currency_code_give": "USDTTRC20", "currency_code_get": "SBERRUB", "course_give": "1"}
    orders: list[dict[str, Any]] = [
        {"id": 1899, "created": "05:11:40", "edited": "06:13:20", "status": "cancel",
         "course_get": "41.5", "amount_give": "50", "amount_get": "2075", "partner_reward": "0.5"},
        {"id": 1895, "created": "05:06:40", "edited": "05:21:40", "status": "success",
         "course_get": "97.4213", "amount_give": "1204.55", "amount_get": "117350.8",
         "partner_reward": "3.51", "accrued": 1},
        {"id": 1897, "created": "05:08:40", "edited": "05:13:20", "status": "payed",
         "currency_code_give": "SBERRUB", "course_give": "3250000", "course_get": "1",
         "amount_give": "3250000", "amount_get": "1", "partner_reward": "0.00000012"},
        {"id": 1896, "created": "05:08:40", "edited": "05:08:40", "status": "new",
         "currency_code_get": "BTC", "course_get": "0.00000921", "amount_give": "100",
         "amount_get": "0.000921"},
    ]  # fmt: skip
    for order in orders:
        row = usual | order
        row |= {name: f"2025-10-08 {row[name]}" for name in ("created", "edited")}
        row |= {"psys_give": "Tether TRC20", "psys_get": "Сбербанк", "user_ip": "203.0.113.9"}
        row |= {"user_hash": f"{row['id']:032x}", "hash": f"{row['id']:030x}"}
        site.tables.insert("exchanges", [row])
        log = [{"order_id": row["id"], "time": row["created"], "status": "new"}]
        if row["status"] != "new":
            log.append({"order_id": row["id"], "time": row["edited"], "status": row["status"]})
        site.tables.insert("status_log", log)
    times = ("2025-10-08 06:30:00", "2025-10-07 04:06:40", "2025-10-06 00:20:00",
             "2025-10-04 20:33:20")  # fmt: skip
    site.tables.insert(
        "payouts",
        [
            {"id": number, "time": wall, "method_id": 11, "account": f"TXyz000{number}",
             "pay_amount": "0.98", "pay_currency_code": "USDTTRC20", "original_amount": "1",
             "status": number - 1}
            for number, wall in enumerate(times, 1)
        ],
    )  # fmt: skip


METHODS = (
    Method(id=11, title="Psys USDTTRC20", currency="USDTTRC20", commission="2"),
    Method(id=22, title="Psys BTC", currency="BTC", reserve="1"),
    Method(id=33, title="Psys SBERRUB", currency="SBERRUB", commission="1.5"),
)


async def test_recorded_requests_get_the_recorded_answers() -> None:
    """With rows of one second by id, every byte is that of the recorded server."""
    samples = json.loads(SAMPLES.read_text("utf-8"))
    site = StandIn(
        key="KEY1",
        user=User(balance="122.01"),
        others={"KEY2": User(id=2), "BAN": User(id=3, banned=True)},
        methods=METHODS,
        ties="id",
        clock=lambda: 1795356628.0,
    )
    load(site)
    async with site, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        for name, sample in samples.items():
            site.disabled = name == "maintenance"
            asked, recorded = sample["request"], sample["response"]
            async with http.request(
                asked["http_method"],
                site.url + asked["path"],
                params=asked["query"],
                data=asked["form"],
            ) as response:
                assert response.status == recorded["status"], name
                assert response.headers["Content-Type"] == recorded["content_type"], name
                assert {"PHPSESSID", "premium_session_id"} <= set(response.cookies), name
                assert await response.text() == recorded["body"], name


# --- as the notes say


async def test_ties_differ_between_limits_and_offsets() -> None:
    """Pages by offset over one second overlap and leave rows out; the same query is the same."""
    async with StandIn() as site:
        site.tables.insert("clicks", [{"time": site.tables.wall(NOW)} for _ in range(700)])
        first = await ids(site, "get_links", {"limit": 500})
        rest = await ids(site, "get_links", {"limit": 500, "offset": 499})
        assert first == await ids(site, "get_links", {"limit": 500})
        assert first[:350] != await ids(site, "get_links", {"limit": 350})
    assert (len(first), len(rest)) == (500, 201)
    assert 500 < len({*first, *rest}) < 700


async def test_ties_can_change_with_every_request() -> None:
    """The table may be loaded anew between two requests."""
    async with StandIn(ties="random") as site:
        site.tables.insert("clicks", [{"time": site.tables.wall(NOW)} for _ in range(100)])
        first, again = [await ids(site, "get_links") for _ in range(2)]
    assert first != again
    assert set(first) == set(again)


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ({}, [3, 2, 1]),
        ({"start_time": NOW + 1, "end_time": NOW + 1}, [2]),
        ({"start_time": NOW + 1, "end_time": 0}, [3, 2]),
        ({"start_time": -5, "end_time": f"{NOW} seconds"}, [1]),
        ({"end_time": 5}, []),
        ({"limit": 2}, [3, 2]),
        ({"limit": 2, "offset": 1}, [2, 1]),
        ({"limit": -1, "offset": -1}, [3, 2, 1]),
        ({"ip": " 203.0.113.%2"}, [2]),
        ({"start_time": "9" * 5_000}, []),
    ],
    ids=repr,
)
async def test_filters_are_those_of_the_form(form: Mapping[str, object], found: list[int]) -> None:
    """Bounds are inclusive, in whole seconds; 0 and less are none; a query's are not read."""
    async with StandIn(ties="id") as site:
        for number in range(3):
            site.tables.click(at=NOW + number, ip=f"203.0.113.{number + 1}")
        assert await ids(site, "get_links", form) == found
        ignored = {name: str(value)[:20] for name, value in form.items()}
        answer = await ask(site, "get_links", None, **ignored)
        assert [row["id"] for row in answer["data"]["items"]] == ["3", "2", "1"]


async def test_a_hundred_rows_unless_asked_for_more_and_five_hundred_at_most() -> None:
    """Nothing in the answer says that it was cut."""
    async with StandIn() as site:
        site.tables.insert("clicks", [{"time": site.tables.wall(NOW + n)} for n in range(600)])
        counts = [len(await ids(site, "get_links", {"limit": n})) for n in (0, 7, 500, 9_999)]
    assert counts == [100, 7, 500, 500]


async def test_only_a_status_moves_an_exchange() -> None:
    """What the operator sets by hand is found by no filter."""
    now = [float(NOW)]
    async with StandIn(clock=lambda: now[0]) as site:
        row_id = site.tables.order()
        now[0] += 100
        site.tables.set_by_hand(row_id, accrued=1, partner_reward="7,5")
        assert await ids(site, "get_exchanges", {"start_time": NOW + 1}) == []
        (row,) = (await ask(site, "get_exchanges"))["data"]["items"]
        assert (row["time"], row["accrued"], row["partner_reward"]) == (NOW, 1, "7.5")
        site.tables.set_status(row_id, "coldsuccess")
        (row,) = (await ask(site, "get_exchanges", {"start_time": NOW + 1}))["data"]["items"]
    assert (row["time"], row["exchange_success"], row["status"]) == (NOW + 100, 0, "coldsuccess")


async def test_unconfirmed_orders_are_hidden_removed_or_confirmed() -> None:
    """Both times of a confirmed order are new; its history begins with `auto`."""
    now = [float(NOW)]
    async with StandIn(clock=lambda: now[0]) as site:
        kept, lost = site.tables.order("auto"), site.tables.order("auto")
        assert await ids(site, "get_exchanges") == []
        now[0] += 600
        site.tables.confirm(kept)
        now[0] += 600
        (row,) = (await ask(site, "get_exchanges", {"status_history": 2}))["data"]["items"]
        assert site.tables.ids("exchanges") == {kept} != {lost}
    assert (row["id"], row["time"]) == (str(kept), NOW + 600)
    assert [step["status"] for step in row["statuses"]] == ["auto", "new"]


async def test_rows_vanish_and_return_and_are_deleted() -> None:
    """The basket, hidden exchanges, and what a site forgets."""
    now = [float(NOW)]
    async with StandIn(clock=lambda: now[0], user=User(balance="50")) as site:
        row_id = site.tables.order(at=NOW - 30 * 86_400)
        site.tables.click(at=NOW - 61 * 86_400)
        assert (await ask(site, "add_payout", {"method_id": 11, "account": "TX123"}))["data"] == {
            "payout_id": "1"
        }
        for hidden in (True, False):
            site.tables.basket(1, hidden)
            site.tables.hide(row_id, hidden)
            assert await ids(site, "get_payouts") == ([] if hidden else [1])
            assert await ids(site, "get_exchanges") == ([] if hidden else [row_id])
        now[0] += 11 * 86_400
        site.tables.forget()
        assert await ids(site, "get_links") == []
        (row,) = (await ask(site, "get_exchanges", {"status_history": 1}))["data"]["items"]
        assert row["statuses"] == []


async def test_times_are_the_sites_wall_clock() -> None:
    """A site three hours ahead is so in `time`, `date` and filters; zero dates come as they are."""
    async with StandIn(timezone="Europe/Moscow") as site:
        site.tables.click(at=NOW)
        site.tables.insert("payouts", [{"time": ZERO_DATE}])
        (row,) = (await ask(site, "get_links", {"start_time": NOW + 10_800}))["data"]["items"]
        (zero,) = (await ask(site, "get_payouts"))["data"]["items"]
    assert (row["time"], row["date"]) == (NOW + 10_800, "2026-05-28 23:26:40")
    assert zero["time"] == -62_169_984_000


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        ("123456789012.123456789012", "123456789012.123458862305"),
        ("1,5", "1.5"),
        ("7e3", "73"),
        ("", "0"),
        ("0", "0"),
        ("0.00", "0"),
        ("-0", "-0"),
        ("0.00000921", "0.00000921"),
        ("100", "100"),
    ],
)
def test_amounts_of_exchanges_go_through_a_float(stored: str, sent: str) -> None:
    """As it was measured."""
    assert through_float(stored) == sent


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        ('a&b <i>it\'s</i> "x"', "a&amp;b it&#039;s &quot;x&quot;"),
        ("a &amp; b &#039; c\\'s", "a &amp; b &#039; c&#039;s"),
        ("SELECT selected", "s\u0435lect selected"),
        ("cookie truncate", "c\u043eokie trunc\u0430te"),
        ("&foo; &copy;", "&amp;foo; &copy;"),
    ],
)
def test_texts_are_escaped_and_altered(stored: str, sent: str) -> None:
    """Tags and backslashes go, entities stay, and whole words are not what they look like."""
    assert escaped(stored) == sent


@pytest.mark.parametrize(
    ("form", "balance", "text"),
    [
        ({"method_id": 9, "account": "x"}, "0", "Selected currency"),
        ({"method_id": 22, "account": "x"}, "0", "Invalid wallet"),
        ({"method_id": 22, "account": "TXbad"}, "0", "in blacklist"),
        ({"method_id": 22, "account": "TX123"}, "9.99", "not enough money"),
        ({"method_id": 22, "account": "TX123"}, "10", "unable to make"),
    ],
)
async def test_payouts_are_refused_in_this_order(
    form: Mapping[str, object], balance: str, text: str
) -> None:
    """Method, wallet, blacklist, balance, reserve; the reserve before commission."""
    method = Method(id=22, title="Bitcoin", currency="BTC", commission="50", reserve="9.995")
    site = StandIn(methods=(method,), user=User(balance=balance), blacklist=frozenset({"TXbad"}))
    async with site:
        answer = await ask(site, "add_payout", form)
        assert (await ask(site, "get_info"))["data"]["items"] == (
            [] if Decimal(balance) in (0, 10) else [
                {"id": "22", "title": "Bitcoin", "comission": "50%", "amount": "4.995"}
            ]
        )  # fmt: skip
    assert (answer["error"], answer["data"]) == (1, [])
    assert text in answer["error_text"]


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/api.html", {"api_key": " standinkey0STANDINKEY0StandInKey "}, ("0", 200)),
        ("/api.html", {"method": " get_info ", "api_action": " pp"}, ("0", 200)),
        ("/api.html", {"api_action": "xx"}, (1, 200)),
        ("/api.html", {"api_key": ""}, (1, 200)),
        ("/API.html", {}, (None, 404)),
        ("/shop/api.html", {}, (None, 404)),
        ("/api.html", {"x": "base64"}, (None, 414)),
        ("/api.html", {"x": "CONCAT"}, (None, 414)),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else None,
)
async def test_what_reaches_the_module(
    path: str, query: Mapping[str, str], expected: tuple[object, int]
) -> None:
    """Keys without case, all trimmed; only the root; some words never reach it."""
    async with StandIn() as site:
        asked = {"api_action": "pp", "api_key": site.key, "method": "get_info"} | dict(query)
        async with (
            aiohttp.ClientSession() as http,
            http.get(site.url + path, params=asked) as response,
        ):
            body = await response.read()
    assert response.status == expected[1]
    if expected[0] is not None:
        assert json.loads(body)["error"] == expected[0]


async def test_filters_by_id_and_hash() -> None:
    """0 is no filter, a list of nothing finds nothing."""
    async with StandIn(ties="id") as site:
        for number in range(3):
            site.tables.order(at=NOW - number, hash=f"h{number}")
        asked = ({"id": "0"}, {"id": ","}, {"id": "3,1"}, {"hash": "h1"})
        found = [await ids(site, "get_exchanges", form) for form in asked]
    assert found == [[1, 2, 3], [], [1, 3], [2]]
