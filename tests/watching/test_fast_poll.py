"""The cheap poll: what it takes for whole, and when it does not look closer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from attrs import evolve

from ppapi_async import Dialect, Exchange, Info, PPAPIError, Session
from ppapi_async.models import Row
from ppapi_async.sandbox import Fault, Order
from ppapi_async.storage import MemoryState
from ppapi_async.watching.changes import RowsUnreadable
from ppapi_async.watching.delivery import Delivery, Poller
from ppapi_async.watching.resources import info_poller, row_poller
from ppapi_async.watching.tracker import Tracker, Verdict
from tests import virtual_time
from tests.watching.test_watch import (
    DIALECTS,
    account_of,
    books_of,
    new_order,
    run,
    sandbox_of,
    session_on,
)
from tests.watching.test_watch_trouble import (
    Flaky,
)


def poller_of(session: Session, state: MemoryState | None = None) -> Poller[Exchange]:
    """Return the poller of exchanges."""
    return row_poller(
        session._connection,
        "get_exchanges",
        Exchange,
        state or MemoryState(),
        interval=60.0,
        lookback=timedelta(days=30),
    )


def record_of(delivery: Delivery[Exchange]) -> Exchange:
    """Return the record of a change."""
    assert not isinstance(delivery.change, RowsUnreadable)
    return delivery.change.record


async def poll(poller: Poller[Exchange] | Poller[Info]) -> list[int]:
    """Poll, and return the ids of what was delivered."""
    delivered: list[int] = []
    async for delivery in poller.poll():
        assert not isinstance(delivery.change, RowsUnreadable)
        record = delivery.change.record
        delivered.append(0 if isinstance(record, Info) else record.id)
        await delivery.acknowledge()
    return delivered


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the ids of rows as they are judged."""
    seen: list[int] = []
    judge = Tracker.judge

    def spy(tracker: Tracker, row: Row, text: str) -> Verdict:
        seen.append(row.id)
        return judge(tracker, row, text)

    monkeypatch.setattr(Tracker, "judge", spy)
    return seen


@DIALECTS
def test_a_poll_of_a_quiet_site_is_one_request(dialect: Dialect, judged: list[int]) -> None:
    """And its answer, the same as before, is not looked at row by row."""

    async def main() -> None:
        books = books_of(9)
        async with sandbox_of(dialect, books) as sandbox, session_on(sandbox) as session:
            poller = poller_of(session)
            new_order(books)
            for _ in range(3):
                await asyncio.sleep(60)
                assert await poll(poller) == []
            count = sandbox.requests_count
            judged.clear()
            await asyncio.sleep(60)
            assert await poll(poller) == []
            assert sandbox.requests_count == count + 1
            assert judged == []
            await asyncio.sleep(60)
            new_order(books)
            assert await poll(poller) == [11]
            assert sandbox.requests_count == count + 3  # the rows, and the proof that they are all

    run(main)


def test_promise_7_an_answer_that_was_overtaken_is_not_known() -> None:
    """A change that shows in the first answer only, and comes back for good, is delivered."""

    async def main() -> None:
        books = books_of(9)
        shown: list[Order] = []

        def take_back(_: object) -> None:
            if shown:
                books.orders.put(shown.pop())

        async with sandbox_of(Dialect.CLASSIC, books) as sandbox:
            account = account_of(sandbox)
            hooks = virtual_time.hooks()
            async with Session(account, hooks=hooks, on_request=take_back) as session:
                poller = poller_of(session)
                new_order(books)
                for _ in range(3):
                    await asyncio.sleep(60)
                    await poll(poller)
                order = list(books.orders)[-1]
                changed = evolve(order, accrued=not order.accrued)
                books.orders.put(changed)
                await asyncio.sleep(60)
                shown.append(order)
                assert await poll(poller) == []
                assert not shown
                books.orders.put(changed)
                await asyncio.sleep(60)
                assert await poll(poller) == [order.id]

    run(main)


def test_promise_7_what_has_grown_too_old_is_not_new() -> None:
    """A poll that failed is made up for in two readings; the first one forgets what is too old."""

    async def main() -> None:
        now = int(virtual_time.now())
        old = Order(id=1, created=now - 30 * 86_400 + 3_600, reward="1")
        books = books_of()
        books.orders.put(old)
        async with sandbox_of(Dialect.CLASSIC, books) as sandbox, session_on(sandbox) as session:
            poller = poller_of(session)
            for _ in range(3):
                assert await poll(poller) == []
                await asyncio.sleep(60)
            await asyncio.sleep(7 * 3_600)
            sandbox.faults.add(Fault.HTML_404, times=1)
            with pytest.raises(PPAPIError):
                await poll(poller)
            await asyncio.sleep(60)
            new = new_order(books)
            assert await poll(poller) == [new.id]

    run(main)


def test_a_quiet_info_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of last time tells nothing; the next other one does."""

    async def main() -> None:
        books = books_of()
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            poller = info_poller(session._connection, MemoryState())
            assert await poll(poller) == []
            monkeypatch.setattr("ppapi_async.transport.client.decode_info", pytest.fail)
            assert await poll(poller) == []
            monkeypatch.undo()
            books.partner.balance = "12"
            assert await poll(poller) == [0]
            assert await poll(poller) == []
            books.partner.balance = "13"
            assert await poll(poller) == [0]
            assert sandbox.requests_count == 5

    run(main)


@pytest.mark.untraced
def test_what_does_not_fit_is_read_by_a_stream() -> None:
    """A full page proves nothing: all rows are delivered all the same, and once."""

    async def main() -> None:
        books = books_of(9)
        async with (
            sandbox_of(Dialect.DELEGATING, books) as sandbox,
            session_on(sandbox) as session,
        ):
            poller = poller_of(session)
            for _ in range(2):
                await asyncio.sleep(60)
                assert await poll(poller) == []
            for _ in range(600):
                new_order(books)
            assert await poll(poller) == list(range(10, 610))
            assert await poll(poller) == []
            assert sandbox.requests_count > 5

    run(main)


def test_a_full_page_is_not_taken_for_all() -> None:
    """However small the page is."""

    async def main() -> None:
        books = books_of(9)
        async with sandbox_of(Dialect.DELEGATING, books) as sandbox:
            account, hooks = account_of(sandbox), virtual_time.hooks()
            async with Session(account, page_size=50, hooks=hooks) as session:
                poller = poller_of(session)
                for _ in range(2):
                    await asyncio.sleep(60)
                    assert await poll(poller) == []
                for _ in range(70):
                    new_order(books)
                assert await poll(poller) == list(range(10, 80))

    run(main)


@pytest.mark.parametrize("fault", [Fault.HTML_502, Fault.CLOSED, Fault.TRUNCATED_JSON])
def test_a_fast_poll_that_fails_is_made_up_for(fault: Fault) -> None:
    """The stream asks again, as patiently as ever."""

    async def main() -> None:
        books = books_of(9)
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            poller = poller_of(session)
            for _ in range(2):
                assert await poll(poller) == []
                await asyncio.sleep(60)
            new_order(books)
            sandbox.faults.add(fault, times=1)
            assert await poll(poller) == [10]
            assert await poll(poller) == []

    run(main)


def test_what_could_not_be_saved_is_not_taken_for_delivered() -> None:
    """The same answer once more is looked at, if the poll before did not end well."""

    async def main() -> None:
        books, state = books_of(9), Flaky()
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            poller = poller_of(session, state)
            for _ in range(2):
                assert await poll(poller) == []
                await asyncio.sleep(60)
            new_order(books)
            new_order(books)
            deliveries = poller.poll()
            delivery = await anext(deliveries)
            assert record_of(delivery).id == 10
            await deliveries.aclose()  # left without being confirmed
            assert await poll(poller) == [10, 11]
            assert virtual_time.now() > virtual_time.BEGINNING

    run(main)


def test_who_does_not_acknowledge_is_told_so() -> None:
    """A poller does not go on over what nobody has taken."""

    async def main() -> None:
        books = books_of(9)
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            poller = poller_of(session)
            assert await poll(poller) == []
            new_order(books)
            deliveries = poller.poll()
            await anext(deliveries)
            with pytest.raises(RuntimeError, match="acknowledge"):
                await anext(deliveries)

    run(main)


@DIALECTS
def test_a_change_that_was_left_in_hand_is_taken_back(dialect: Dialect) -> None:
    """Delivered, left, and back to what it was: that is delivered, in the same process, too."""

    async def main() -> None:
        books = books_of(9)
        async with sandbox_of(dialect, books) as sandbox, session_on(sandbox) as session:
            order = new_order(books)
            poller = poller_of(session)
            for _ in range(3):
                assert await poll(poller) == []
                await asyncio.sleep(60)
            books.orders.put(evolve(order, reward="2"))
            deliveries = poller.poll()
            assert record_of(await anext(deliveries)).partner_reward == 2
            await deliveries.aclose()
            books.orders.put(order)
            assert await poll(poller) == [order.id]
            assert await poll(poller) == []

    run(main)


def test_a_balance_that_was_left_in_hand_is_taken_back() -> None:
    """The same for get_info."""

    async def main() -> None:
        books = books_of(9)
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            poller = info_poller(session._connection, MemoryState())
            before = books.partner.balance
            assert await poll(poller) == []
            books.partner.balance = "1"
            deliveries = poller.poll()
            await anext(deliveries)
            await deliveries.aclose()
            books.partner.balance = before
            assert await poll(poller) == [0]
            assert await poll(poller) == []

    run(main)
