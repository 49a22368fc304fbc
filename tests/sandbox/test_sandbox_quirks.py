"""What the real modules do that one would not expect; each was read in them or seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve

from ppapi_async.account import Dialect
from ppapi_async.protocol.text import restore
from ppapi_async.sandbox import BookedPayout, Books, Click, Partner, PayoutOption
from ppapi_async.sandbox.texts import through_float, wire_text
from tests.sandbox.test_sandbox import START, Caller, ids, recorded_books, recorded_order, serving

NEWER = (Dialect.DELEGATING, Dialect.USER_API)
BOTH = (Dialect.CLASSIC, Dialect.DELEGATING)


async def ask(
    caller: Caller, path: str, query: dict[str, str], form: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Ask a path with a query, and return status and body."""
    async with caller.http.post(caller.sandbox.url + path, params=query, data=form) as response:
        return response.status, await response.read()


def routed(caller: Caller, **changed: str) -> dict[str, str]:
    """Return the query of a call that is well, but for what is changed."""
    key = caller.sandbox.api_key
    return {"api_action": "pp", "api_key": key, "method": "get_info"} | changed


# --- what reaches the module


@pytest.mark.parametrize(
    "changed", [{"api_action": "xx"}, {"api_action": ""}], ids=["other", "none"]
)
async def test_another_action_is_501_on_classic_and_json_on_newer(changed: dict[str, str]) -> None:
    """Classic's page is empty; 2.7 says that the API is disabled."""
    async with serving(books=recorded_books()) as caller:
        assert await ask(caller, "/api.html", routed(caller, **changed)) == (501, b"")
    async with serving(Dialect.DELEGATING, books=recorded_books()) as caller:
        status, body = await ask(caller, "/api.html", routed(caller, **changed))
    assert (status, json.loads(body)) == (200, {"error": 1, "error_text": "Api disabled"})


async def test_older_installs_answer_an_unknown_method_with_nothing() -> None:
    """Without the 501 the page is empty all the same."""
    async with serving(books=recorded_books(), answers_501=False) as caller:
        assert await ask(caller, "/api.html", routed(caller, method="get_nothing")) == (200, b"")


@pytest.mark.parametrize("dialect", BOTH)
async def test_key_method_and_action_are_trimmed_and_the_key_has_no_case(dialect: Dialect) -> None:
    """A key that was copied with a blank, or typed, works."""
    async with serving(dialect, books=recorded_books(), api_key="MiXeD1") as caller:
        query = routed(caller, api_key="\t mIxEd1\n", method=" get_info ", api_action=" pp ")
        status, body = await ask(caller, "/api.html", query)
        assert status == 200
        assert json.loads(body)["data"]["balance"] == "122.01"
        assert caller.sandbox.requests[-1].method == "get_info"


async def test_the_user_apis_key_has_no_case_either() -> None:
    """It is looked up in the same way."""
    async with serving(Dialect.USER_API, books=recorded_books(), api_key="MiXeD1") as caller:
        caller.sandbox.books.partner.api_key = "mixed1"
        headers = {"API-Login": caller.sandbox.api_login or "", "API-Key": " MIXED1 "}
        url = caller.sandbox.url + "/api/userapi/v1/get_partner_info"
        async with caller.http.post(url, headers=headers) as response:
            assert (await response.json())["error"] == "0"


@pytest.mark.parametrize(
    ("dialect", "path", "status"),
    [
        (Dialect.CLASSIC, "/shop/x/api.html", 200),
        (Dialect.CLASSIC, "/shop/api.html5", 404),
        (Dialect.DELEGATING, "/api.html", 200),
        (Dialect.DELEGATING, "/shop/api.html", 404),
        (Dialect.DELEGATING, "/API.html", 404),
        (Dialect.DELEGATING, "/api.html/", 404),
    ],
)
async def test_classic_answers_at_any_path_newer_at_the_root(
    dialect: Dialect, path: str, status: int
) -> None:
    """2.2 looks at the end of the path only."""
    async with serving(dialect, books=recorded_books()) as caller:
        assert (await ask(caller, path, routed(caller)))[0] == status


@pytest.mark.parametrize("word", ["base64", "CONCAT", "eval(", "UNION+SELECT", "union+select"])
async def test_some_words_in_the_uri_are_414_on_newer(word: str) -> None:
    """In any parameter, with an empty page; classic does not mind, and a form is not looked at."""
    for dialect, status in ((Dialect.DELEGATING, 414), (Dialect.CLASSIC, 200)):
        async with serving(dialect, books=recorded_books()) as caller:
            plain = caller.sandbox.url + f"/api.html?x={word}&api_action=pp&method=get_info"
            async with caller.http.get(plain + f"&api_key={caller.sandbox.api_key}") as response:
                assert response.status == status
                assert bool(await response.read()) is (status == 200)
            assert (await ask(caller, "/api.html", routed(caller), {"x": word}))[0] == 200


@pytest.mark.parametrize("dialect", [*BOTH, Dialect.USER_API])
async def test_every_answer_sets_cookies(dialect: Dialect) -> None:
    """Refusals too; on 2.7 there are two of them."""
    cookies = {"PHPSESSID"} if dialect is Dialect.CLASSIC else {"PHPSESSID", "premium_session_id"}
    async with serving(dialect, books=recorded_books()) as caller:
        for method in ("get_info", "get_partner_info", "get_nothing"):
            async with caller.post(method) as response:
                assert set(response.cookies) == cookies


# --- filters


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ({"id": "0"}, [1899, 1895, 1897, 1896, 1700]),
        ({"id": ""}, [1899, 1895, 1897, 1896, 1700]),
        ({"id": ","}, []),
        ({"id": "abc"}, []),
        ({"id": "0,1896"}, [1896]),
        ({"id": " 1896 , 1895x"}, [1895, 1896]),
        ({"ip": "203.0.113.%9 "}, [1899, 1895, 1897, 1896, 1700]),
        ({"ip": "%"}, [1899, 1895, 1897, 1896, 1700]),
        ({"ip": "203.0.113.8"}, []),
    ],
    ids=repr,
)
async def test_id_0_is_no_filter_and_an_empty_list_finds_nothing(
    form: dict[str, str], found: list[int]
) -> None:
    """And `%` and blanks are taken out of an ip."""
    async with serving(Dialect.DELEGATING, books=recorded_books()) as caller:
        assert ids(await caller.items("get_exchanges", form)) == found


@pytest.mark.parametrize(
    ("value", "on"), [("1", True), ("2", True), ("yes", True), ("0", False), ("", False)]
)
async def test_status_history_is_on_for_any_value_but_0_and_empty(value: str, on: bool) -> None:
    """2 will do."""
    async with serving(Dialect.DELEGATING, books=recorded_books()) as caller:
        rows = await caller.items("get_exchanges", {"status_history": value})
    assert all(("statuses" in row) is on for row in rows)


# --- rows


async def test_coldsuccess_is_no_success() -> None:
    """Only `success` sets exchange_success, and accrues."""
    books = Books(orders=[recorded_order(1, START, reward="5")])
    books.move_order(1, START + 9, "coldsuccess")
    async with serving(Dialect.DELEGATING, books=books) as caller:
        (row,) = await caller.items("get_exchanges")
    assert (row["status"], row["exchange_success"], row["accrued"]) == ("coldsuccess", 0, 0)
    assert books.partner.balance == "0"


async def history_of(books: Books) -> Any:
    """Return the history of the first order that a 2.7 site shows."""
    async with serving(Dialect.DELEGATING, books=books) as caller:
        (row, *_) = await caller.items("get_exchanges", {"status_history": 1})
    return row.get("statuses")


async def test_the_history_is_what_the_log_holds() -> None:
    """It may begin with `auto`, before the order's own time, and empties after a while."""
    order = recorded_order(1, START, history=((START, "new"), (START + 50, "payed")))
    books = Books(orders=[evolve(order, placed=START - 40)])
    assert [(step["time"], step["status"]) for step in await history_of(books)] == [
        (START - 40, "auto"),
        (START, "new"),
        (START + 50, "payed"),
    ]
    books.forget(history=START + 50)
    assert [step["status"] for step in await history_of(books)] == ["payed"]
    books.forget(history=START + 51)
    assert await history_of(books) == []
    books.keeps_log = False
    assert await history_of(books) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("my12", "my12"),
        ("a_b[c]^`\\", "a_b[c]^`\\"),
        ("my", ""),
        ("my-12", ""),
        ("x" * 35, "x" * 35),
        ("x" * 36, ""),
        ("мой", ""),
    ],
)
async def test_odd_names_of_statuses_are_empty_in_histories(name: str, shown: str) -> None:
    """What is not [A-z0-9]{3,35} is not shown there; the row's own status is."""
    books = Books(orders=[recorded_order(1, START, history=((START, name),))])
    assert [step["status"] for step in await history_of(books)] == [shown]


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        ("123456789012.123456789012", "123456789012.123458862305"),
        ("1,5", "1.5"),
        ("7e3", "73"),
        ("", "0"),
        ("0", "0"),
        ("0.000", "0"),
        ("-0", "-0"),
        ("-0.0", "-0"),
        ("0.00000921", "0.00000921"),
        ("1204.55", "1204.55"),
        ("100", "100"),
        ("0.1234567890123456", "0.123456789012"),
        ("abc", "0"),
        ("1.2.3", "1.2"),
    ],
)
def test_amounts_of_exchanges_go_through_a_float(stored: str, sent: str) -> None:
    """Commas are points, letters go, and twelve places stay."""
    assert through_float(stored) == sent


async def test_rewards_go_through_a_float_and_payouts_do_not() -> None:
    """`-0` occurs; what is paid comes as it is stored."""
    books = Books(
        orders=[recorded_order(1, START, reward="-0", amount_give="7e3")],
        payouts=[BookedPayout(id=1, created=START, method_id=11, account="TX123", pay_amount="1.50",
                        pay_currency="BTC", original_amount="123456789012.123456789012")],
    )  # fmt: skip
    async with serving(Dialect.DELEGATING, books=books) as caller:
        (order,) = await caller.items("get_exchanges")
        (payout,) = await caller.items("get_payouts")
    assert (order["partner_reward"], order["amount_give"]) == ("-0", "73")
    assert (payout["pay_amount"], payout["original_amount"]) == (
        "1.50",
        "123456789012.123456789012",
    )


# --- texts


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        (
            "a &amp; b &#039; &#x27; &copy; &foo; & &#; c",
            "a &amp; b &#039; &#x27; &copy; &amp;foo; &amp; &amp;#; c",
        ),
        ("it\\'s \\\\ x\\", "it&#039;s \\ x"),
        ("a < b <i>c</i> <d", "a &lt; b c"),
        ("  x ", "x"),
    ],
    ids=["entities", "backslashes", "tags", "blanks"],
)  # fmt: skip
def test_texts_are_not_escaped_twice_and_lose_backslashes(stored: str, sent: str) -> None:
    """As PHP's stripslashes, strip_tags, trim and WordPress's esc_html have it."""
    assert wire_text(stored) == sent


ALTERED = (
    "s\u0435lect ins\u0435rt uni\u043en l\u043eadfile l\u043ead_file \u043eutfile c\u043eokie "
    "c\u043encat upd\u0430te \u0435val b\u0430se64 d\u0435lete trunc\u0430te r\u0435place "
    "infil\u0435 h\u0430ndler in\u0441lude s\u0441ript"
)
ALTERED_BY_NEWER = "shell_\u0435xec \u0435xec p\u0430ssthru syst\u0435m pr\u043ec_open"


@pytest.mark.parametrize("word", [*ALTERED.split(), *ALTERED_BY_NEWER.split()])
def test_which_letter_is_altered_differs_by_word(word: str) -> None:
    """Each word has its own letter; whatever it is, the client puts the Latin one back."""
    plain = restore(word)
    assert plain.isascii()
    newer_only = word in ALTERED_BY_NEWER.split()
    assert wire_text(f"a={plain.upper()}", newer=True) == f"a={word}"
    assert wire_text(f"a={plain}") == f"a={plain if newer_only else word}"


async def test_currency_codes_are_texts_too() -> None:
    """They are escaped and altered like all others."""
    books = Books(
        orders=[recorded_order(1, START, currency_give="A&B", currency_get="UNION")],
        payouts=[BookedPayout(id=1, created=START, method_id=11, account="TX123", pay_amount="1",
                        pay_currency="<b>A&B", original_amount="1", original_currency="UNION")],
    )  # fmt: skip
    async with serving(Dialect.DELEGATING, books=books) as caller:
        (order,) = await caller.items("get_exchanges")
        (payout,) = await caller.items("get_payouts")
    for give, get in (
        (order["currency_code_give"], order["currency_code_get"]),
        (payout["pay_currency_code"], payout["original_currency_code"]),
    ):
        assert (give, get) == ("A&amp;B", "uni\u043en")


async def test_long_texts_of_clicks_are_cut() -> None:
    """Query and referrer at 500 bytes, the browser at 250, before anything is escaped."""
    books = Books(clicks=[Click(id=1, created=START, browser="б" * 200, referrer="&" * 501,
                                query_string="q" * 499 + "ю")])  # fmt: skip
    async with serving(books=books) as caller:
        (row,) = await caller.items("get_links")
    assert row["browser"] == "б" * 125
    assert row["referrer"] == "&amp;" * 500
    assert row["query_string"] == "q" * 499


def test_made_up_queries_are_stored_as_servers_store_them() -> None:
    """Percent-encoded, without a question mark."""
    books = Books.generate(1, 300, START, START + 90_000)
    queries = {click.query_string for click in books.clicks}
    assert all(query.isascii() and "?" not in query and " " not in query for query in queries)
    assert any("%D0" in query for query in queries)


# --- money


def paying(balance: str, **more: Any) -> Books:
    """Return books with a balance and one method."""
    method = PayoutOption(id=11, title="USDT", currency="USDT", **more)
    return Books(partner=Partner(balance=balance), methods=[method])


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize(
    ("balance", "reserve", "refusal", "listed"),
    [
        ("9", "1", "not enough money", False),
        ("100", "99.99", "unable to make", False),
        ("100", "100", None, True),
    ],
)
async def test_balance_is_refused_before_reserve_and_the_reserve_is_before_commission(
    dialect: Dialect, balance: str, reserve: str, refusal: str | None, listed: bool
) -> None:
    """With half of it for commission, 99.99 does not cover 100: neither in get_info's list."""
    books = paying(balance, reserve=reserve, commission="50")
    async with serving(dialect, books=books) as caller:
        info = (await caller.json("get_info"))["data"]
        assert bool(info.get("items")) is listed
        answer = await caller.json("add_payout", {"method_id": 11, "account": "TX12345"})
    assert (refusal or "") in answer["error_text"]
    assert bool(answer["error"] not in (0, "0")) is (refusal is not None)


async def test_the_reserve_is_in_the_methods_currency() -> None:
    """What it has to cover is the balance at the rate."""
    async with serving(books=paying("100", rate="0.5", reserve="50")) as caller:
        assert "items" in (await caller.json("get_info"))["data"]
    async with serving(books=paying("100", rate="2", reserve="199")) as caller:
        assert "items" not in (await caller.json("get_info"))["data"]


# --- the User API's own


async def test_the_user_apis_test_echoes() -> None:
    """`error` is a number here, there is the caller's ip, and the posted partner_id comes back."""
    async with serving(Dialect.USER_API, books=recorded_books()) as caller:
        answer = await caller.json("test", {"partner_id": "x7"})
    assert answer["error"] == 0
    assert answer["data"]["ip"] == "127.0.0.1"
    assert answer["data"]["partner_id"] == "x7"


async def test_the_user_api_speaks_the_language_that_is_asked_for() -> None:
    """`API-LANG` sets it for one call."""
    async with serving(Dialect.USER_API, books=Books()) as caller:
        headers = {"API-Login": caller.sandbox.api_login or "", "API-Key": caller.sandbox.api_key}
        url = caller.sandbox.url + "/api/userapi/v1/add_partner_payout"
        refusal = []
        for more in ({}, {"API-LANG": "ru_RU"}, {"API-LANG": "xx"}):
            async with caller.http.post(url, headers=headers | more) as response:
                refusal.append((await response.json())["error_text"])
    assert refusal[1].startswith("Ошибка! На выбранную валюту")
    assert refusal[0] == refusal[2] != refusal[1]


@pytest.mark.parametrize("stored", ["", "0", "many"])
def test_what_is_no_amount_is_zero(stored: str) -> None:
    """As asked for the first time: answers are remembered, and measured tests may come later."""
    assert through_float.__wrapped__(stored) == "0"
