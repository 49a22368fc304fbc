"""The sandbox fails as asked, and tells what it saw."""

from __future__ import annotations

import asyncio
import errno
import functools
import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.account import Dialect
from ppapi_async.sandbox import (
    BookedPayout,
    Books,
    Call,
    Cut,
    Fault,
    Order,
    Partner,
    SentAnswer,
)
from ppapi_async.sandbox.shelf import Shelf
from tests.sandbox.test_sandbox import (
    END,
    START,
    ids,
    recorded_books,
    serving,
)

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

    def maintenance(call: Call, answer: SentAnswer) -> SentAnswer | Cut:
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


@pytest.mark.untraced
def test_generated_books_balance() -> None:
    """What accrued is the balance, what is waiting and what was paid."""
    books = Books.generate(3, 5000, START, END)
    accrued = sum(books.rewards_by_currency().values())
    out = sum(Decimal(one.original_amount) for one in books.payouts if one.status in (0, 1))
    assert len(books.payouts) > 0
    assert accrued == Decimal(books.partner.balance) + out


@pytest.mark.untraced
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


@pytest.mark.untraced
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
    assert isinstance(outcome, BookedPayout)
    books.advance(END)
    assert books.payouts[outcome.id].status == 0
    books.advance(END + books.traffic.rates.payout_delay)
    assert books.payouts[outcome.id].status == 1
    assert books.partner.received == "122.01"
