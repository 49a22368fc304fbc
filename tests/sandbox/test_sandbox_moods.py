"""The sandbox is as bad as real sites, by default and on demand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ppapi_async.account import Dialect
from ppapi_async.sandbox import (
    NINES,
    ZERO_DATE,
    BookedPayout,
    Books,
    Click,
    Order,
    Partner,
    Rates,
    Sandbox,
)
from ppapi_async.sandbox.traffic import Traffic
from tests.sandbox.test_sandbox import END, START, Caller, ids, recorded_order, serving

QUIET = Rates(clicks_per_hour=0, orders_per_hour=0)


def crowd(count: int) -> Books:
    """Return books with so many clicks in one second, and some around it."""
    return Books(clicks=[Click(id=n, created=START + n // count) for n in range(1, 2 * count)])


async def clicks(caller: Caller, **form: Any) -> list[int]:
    """Return the ids of a page of clicks."""
    return ids(await caller.items("get_links", form))


# --- order and ties


async def test_by_default_ties_differ_for_each_limit_and_offset() -> None:
    """Pages over one second overlap and leave rows out at once; the same query is the same."""
    async with serving(Dialect.DELEGATING, books=crowd(700)) as caller:
        second = {"start_time": START + 1, "end_time": START + 1}
        first = await clicks(caller, limit=500, **second)
        rest = await clicks(caller, limit=500, offset=499, **second)
        assert first == await clicks(caller, limit=500, **second)
        assert first[:350] != await clicks(caller, limit=350, **second)
    assert (len(first), len(rest)) == (500, 201)
    assert 500 < len({*first, *rest}) < 700


@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.CLONE])
async def test_answers_with_all_rows_have_ties_in_no_order_either(dialect: Dialect) -> None:
    """All rows come, the newest first, and inside a second not by id."""
    async with serving(dialect, books=crowd(50), ties="shuffled") as caller:
        found = await clicks(caller)
    assert sorted(found) == list(range(1, 100))
    assert set(found[:50]) == set(range(50, 100))
    assert found[:50] != sorted(found[:50])
    assert found[:50] != sorted(found[:50], reverse=True)


@pytest.mark.untraced
@pytest.mark.parametrize("offset", [0, 3, 40, 49, 50, 51, 99, 200])
@pytest.mark.parametrize("order", ["newest first", "oldest first"])
@pytest.mark.parametrize("ties", ["shuffled", "rotated", "by id"])
async def test_pages_cut_whole_seconds_as_a_list_would_be_cut(
    ties: Any, order: Any, offset: int
) -> None:
    """A page is what stands at its places, whatever the ties: no second is passed over."""
    books = crowd(50)
    async with serving(Dialect.DELEGATING, books=books, ties=ties, order=order) as caller:
        found = await clicks(caller, limit=30, offset=offset)
    seconds = sorted((c.created for c in books.clicks), reverse=order == "newest first")
    assert [books.clicks[one].created for one in found] == seconds[offset : offset + 30]
    assert len(set(found)) == len(found)


async def test_ties_can_be_random_or_rotated() -> None:
    """Anew for each answer, or turned by the offset."""
    async with serving(Dialect.DELEGATING, books=crowd(90), ties="random") as caller:
        assert await clicks(caller, limit=90) != await clicks(caller, limit=90)
    async with serving(Dialect.DELEGATING, books=crowd(90), ties="rotated") as caller:
        assert await clicks(caller, limit=50) == await clicks(caller, limit=50)
        second = {"start_time": START + 1, "end_time": START + 1}
        pages = [await clicks(caller, limit=90, offset=n, **second) for n in (0, 1)]
        assert pages[0][1:] != pages[1]


async def test_rows_can_come_oldest_first_or_by_id() -> None:
    """As copies of the servers have it."""
    books = Books(clicks=[Click(id=n, created=START + n % 3) for n in range(1, 7)])
    async with serving(Dialect.DELEGATING, books=books, order="oldest first") as caller:
        found = await clicks(caller)
        assert [books.clicks[one].created - START for one in found] == [0, 0, 1, 1, 2, 2]
        assert sorted(await clicks(caller, limit=2)) == [3, 6]
    async with serving(Dialect.DELEGATING, books=books, order="by id") as caller:
        assert await clicks(caller, limit=4, offset=1) == [5, 4, 3, 2]


async def test_ties_are_shuffled_under_filters_too() -> None:
    """A filter by ip is another plan of the database's."""
    books = Books(clicks=[Click(id=n, created=START, ip="203.0.113.1") for n in range(1, 60)])
    async with serving(Dialect.DELEGATING, books=books, ties="shuffled") as caller:
        whole = await clicks(caller, ip="203.0.113.1")
        pages = [await clicks(caller, ip="203.0.113.1", limit=30, offset=n) for n in (0, 30)]
    assert sorted(whole) == list(range(1, 60)) != whole
    assert [len(page) for page in pages] == [30, 29]
    assert len({*pages[0], *pages[1]}) < 59


# --- pages and bounds


async def test_a_cap_can_change_at_any_moment() -> None:
    """Set while it runs, or taking turns."""
    async with serving(Dialect.DELEGATING, books=crowd(300)) as caller:
        assert len(await clicks(caller, limit=500)) == 500
        caller.sandbox.cap = 200
        assert len(await clicks(caller, limit=500)) == 200
    async with serving(Dialect.DELEGATING, books=crowd(300), cap=(500, 20, None)) as caller:
        assert [len(await clicks(caller, limit=500)) for _ in range(4)] == [500, 20, 500, 500]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ("inclusive", [2, 3, 4]),
        ("start exclusive", [3, 4]),
        ("end exclusive", [2, 3]),
        ("exclusive", [3]),
    ],
)
async def test_bounds_can_be_exclusive(bounds: Any, expected: list[int]) -> None:
    """As copies of the servers have it."""
    books = Books(clicks=[Click(id=n, created=START + n) for n in range(1, 6)])
    async with serving(Dialect.CLONE, books=books, bounds=bounds) as caller:
        found = await clicks(caller, start_time=START + 2, end_time=START + 4)
    assert sorted(found) == expected


@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING, Dialect.CLONE])
async def test_every_row_can_have_keys_of_the_sites_own(dialect: Dialect) -> None:
    """Texts, numbers, objects and lists."""
    books = Books.generate(1, 200, START, END)
    async with serving(dialect, books=books, own_keys=True) as caller:
        for method in ("get_links", "get_exchanges", "get_payouts"):
            rows = await caller.items(method)
            assert rows
            assert all({"rating", "flags", "tags", "site_note"} <= row.keys() for row in rows)


async def test_a_row_can_be_made_anything() -> None:
    """Sites put filters of their own behind the API."""

    def spoil(method: str, row: dict[str, object]) -> dict[str, object]:
        return row | {"ip": None} if (method, row["id"]) == ("get_links", "2") else row

    books = Books(clicks=[Click(id=n, created=START, ip="203.0.113.1") for n in (1, 2)])
    async with serving(Dialect.DELEGATING, books=books, row_filter=spoil) as caller:
        rows = await caller.items("get_links")
    assert {row["id"]: row["ip"] for row in rows} == {"1": "203.0.113.1", "2": None}


# --- what happens to rows


async def test_an_accrual_set_by_hand_moves_no_time() -> None:
    """Only the balance knows."""
    books = Books(orders=[recorded_order(1, START, reward="5")])
    books.set_by_hand(1, accrued=True, reward="7.5")
    async with serving(Dialect.DELEGATING, books=books) as caller:
        assert await caller.items("get_exchanges", {"start_time": START + 1}) == []
        (row,) = await caller.items("get_exchanges")
    assert (row["time"], row["accrued"], row["partner_reward"]) == (START, 1, "7.5")
    assert books.partner.balance == "7.5"
    books.set_by_hand(1, accrued=False, reward="7.5")
    assert books.partner.balance == "0"


def unpaid() -> BookedPayout:
    """Return a payout that waits."""
    return BookedPayout(
        id=1, created=START, method_id=11, account="TX123", pay_amount="1",
        pay_currency="BTC", original_amount="1",
    )  # fmt: skip


async def test_hidden_rows_vanish_and_return() -> None:
    """Banned exchanges, and payouts in the operator's basket."""
    books = Books(orders=[recorded_order(1, START)], payouts=[unpaid()])
    async with serving(books=books) as caller:
        for hidden in (books.hidden_orders, books.hidden_payouts):
            hidden.add(1)
        assert await caller.items("get_exchanges") == await caller.items("get_payouts") == []
        for hidden in (books.hidden_orders, books.hidden_payouts):
            hidden.clear()
        assert ids(await caller.items("get_exchanges")) == [1]
        assert ids(await caller.items("get_payouts")) == [1]


async def test_unconfirmed_orders_are_hidden_and_lapse_or_are_confirmed() -> None:
    """Confirmed, both times are new; else it is gone after a quarter of an hour."""
    books = Books(traffic=Traffic(rates=QUIET))
    for row_id in (1, 2):
        books.place_order(Order(id=row_id, created=START))
    async with serving(Dialect.DELEGATING, books=books) as caller:
        assert await caller.items("get_exchanges") == []
        books.confirm_order(2, START + 600)
        books.advance(START + 899)
        assert len(books.orders) == 2
        books.advance(START + 900)
        (row,) = await caller.items("get_exchanges", {"status_history": 1})
    assert len(books.orders) == 1
    assert (row["id"], row["time"], row["status"]) == ("2", START + 600, "new")
    assert [step["status"] for step in row["statuses"]] == ["auto", "new"]


async def test_history_can_be_deleted() -> None:
    """Clicks by their age, orders by the age of their last edit."""
    moved = recorded_order(2, START, history=((START, "new"), (START + 10, "payed")))
    books = Books(
        clicks=[Click(id=1, created=START), Click(id=2, created=START + 5)],
        orders=[recorded_order(1, START), moved],
    )
    books.forget(clicks=START + 5, orders=START + 5)
    async with serving(Dialect.DELEGATING, books=books) as caller:
        assert await clicks(caller) == [2]
        assert ids(await caller.items("get_exchanges")) == [2]
    assert books.clicks.next_id == 3


def test_an_order_that_was_deleted_does_not_move() -> None:
    """What was to happen to it does not happen; the others live on."""
    books = Books.generate(3, 40, START, START + 10 * 86_400, clicks=0)
    books.advance(START + 10 * 86_400)
    books.forget(orders=START + 10 * 86_400)
    assert len(books.orders) == 0
    books.advance(START + 11 * 86_400)
    assert len(books.orders) > 0


async def test_zero_dates_and_nines_are_dates() -> None:
    """On any site's clock they are what the database holds; filters see them as such."""
    payouts = [
        BookedPayout(id=n, created=created, method_id=11, account="TX123", pay_amount="1",
               pay_currency="BTC", original_amount="1")
        for n, created in ((1, ZERO_DATE), (2, START), (3, NINES))
    ]  # fmt: skip
    async with serving(books=Books(payouts=payouts), timezone="Asia/Tokyo") as caller:
        rows = await caller.items("get_payouts")
        assert [(row["time"], row["date"]) for row in rows] == [
            (253402300799, "9999-12-31 23:59:59"),
            (START + 9 * 3600, "2025-10-09 17:53:20"),
            (-62169984000, "-0001-11-30 00:00:00"),
        ]
        since = START + 9 * 3600
        assert ids(await caller.items("get_payouts", {"start_time": since})) == [3, 2]
        assert ids(await caller.items("get_payouts", {"end_time": since})) == [2, 1]


def test_live_books_can_have_an_operator_who_meddles() -> None:
    """Rewards change by hand, and payouts go into the basket for an hour; all by the seed."""
    rates = Rates(clicks_per_hour=0, orders_per_hour=0, by_hand_per_hour=30, baskets_per_hour=4)
    books = [
        Books.generate(1, 2_000, START, END, rates=rates, partner=Partner(api_key="k"))
        for _ in range(2)
    ]
    before = {order.id: order for order in books[0].orders}
    hidden: Counter[int] = Counter()
    for at in range(END, END + 86_400, 600):
        books[0].advance(at)
        hidden.update(books[0].hidden_payouts)
    books[1].advance(END + 86_400 - 600)
    assert list(books[0].orders) == list(books[1].orders)
    quiet = [o for o in books[0].orders if o.history == before[o.id].history]
    assert any((o.reward, o.accrued) != (before[o.id].reward, before[o.id].accrued) for o in quiet)
    assert hidden
    books[0].advance(END + 200_000)
    accrued = sum(books[0].rewards_by_currency().values())
    assert accrued != sum(books[1].rewards_by_currency().values())


# --- how fast it lives


@pytest.mark.untraced
@pytest.mark.parametrize("pace", [1, 720])
def test_a_pace_is_so_many_orders_an_hour_day_and_night(pace: int) -> None:
    """All else goes in proportion: clicks, payouts, and the steps of both."""
    books, made_up = (Books.generate(1, 200, START, END, partner=Partner()) for _ in range(2))
    books.traffic.change_rates(books.traffic.rates.at_pace(pace), END)
    assert list(books.orders) == list(made_up.orders)  # the past is as it was
    hours = 2_000 // pace + 1
    for hour in range(1, hours + 1):
        books.advance(END + 3_600 * hour)
    orders = [order for order in books.orders if order.created >= END]
    clicks = books.links_in(END)
    assert len(orders) == pytest.approx(pace * hours, rel=0.15)
    assert len(clicks) == pytest.approx(3 * pace * hours, rel=0.15)
    by_night = [order for order in orders if order.created // 3600 % 24 < 6]
    assert hours < 24 or len(by_night) == pytest.approx(len(orders) / 4, rel=0.25)
    payouts = books.payouts_in(END)
    assert len(payouts) == pytest.approx(pace * hours / 20, rel=0.5)
    settled = [payout for payout in payouts if payout.status == 1]
    assert len(payouts) - 3 <= len(settled) <= len(payouts)
    first = [order.history[1][0] - order.created for order in orders if len(order.history) > 1]
    # The first step comes after 27 minutes in the mean, where 20 orders come in an hour.
    assert sum(first) / len(first) == pytest.approx(27 * 60 * 20 / pace, rel=0.25)


def test_the_usual_pace_is_the_usual_rates() -> None:
    """At 20 orders an hour nothing is stretched; what an operator does goes with the orders."""
    rates = Rates(by_hand_per_hour=6, baskets_per_hour=1)
    usual = Rates(by_hand_per_hour=6, baskets_per_hour=1, payouts_per_hour=1, around_the_clock=True)
    assert rates.at_pace(20) == usual
    fast = rates.at_pace(200)
    assert (fast.by_hand_per_hour, fast.baskets_per_hour, fast.basket_time) == (60, 10, 360)
    assert (fast.pace, fast.payout_delay, fast.clicks_per_hour) == (0.1, 720, 600)
    assert Rates(orders_per_hour=0, clicks_per_hour=60).at_pace(40).clicks_per_hour == 120


@pytest.mark.parametrize("pace", [0, -1, float("inf"), float("nan")])
def test_a_pace_without_orders_is_refused(pace: float) -> None:
    """Rather than that nothing ever comes."""
    with pytest.raises(ValueError, match="pace: pass how many orders come in an hour"):
        Sandbox(rows=0, pace=pace)


def test_books_without_payout_methods_have_no_payouts() -> None:
    """A partner cannot ask for what the site does not offer."""
    books = Books(methods=(), traffic=Traffic(rates=Rates().at_pace(3_600)))
    books.advance(END)
    books.advance(END + 3_600)
    assert len(books.orders) > 3_000
    assert len(books.payouts) == 0


async def test_a_sandbox_with_a_pace_is_live() -> None:
    """It goes on with its clock, from the moment at which it was made."""
    now = float(START)
    async with serving(rows=5, pace=3_600, clock=lambda: now) as caller:
        assert len(await caller.items("get_exchanges")) == 5
        now += 600
        assert len(await caller.items("get_exchanges")) == pytest.approx(605, rel=0.15)
