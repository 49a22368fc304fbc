"""Polling one account, in a loop whose time flies, against sandboxes on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ppapi_async import (
    Account,
    Change,
    ChangeKind,
    Dialect,
    Exchange,
    Info,
    Link,
    MemoryState,
    Payout,
    Session,
    Watch,
)
from ppapi_async.sandbox import Books, Order, Partner, Rates, Sandbox
from tests import virtual_time

KEY = "Ab3dEf6hIj9kLmN0pQrStUv2xYz45678"
DIALECTS = pytest.mark.parametrize("dialect", list(Dialect))
EDITING = {Dialect.DELEGATING, Dialect.USER_API}
HOUR, DAY = 3600, 86_400
NO_TRAFFIC = Rates(clicks_per_hour=0, orders_per_hour=0)


def books_of(rows: int = 50) -> Books:
    """Return the quiet books of a month."""
    now = int(virtual_time.BEGINNING)
    partner = Partner(api_key=KEY)
    return Books.generate(1, rows, now - 40 * DAY, now, rates=NO_TRAFFIC, partner=partner)


def sandbox_of(dialect: Dialect = Dialect.CLASSIC, books: Books | None = None) -> Sandbox:
    """Return a sandbox that keeps the loop's time."""
    return Sandbox(dialect, books=books or books_of(), clock=virtual_time.now)


def account_of(sandbox: Sandbox, api_key: str = KEY) -> Account:
    """Return the account of the sandbox's first partner."""
    login = sandbox.books.partner.api_login if sandbox.dialect is Dialect.USER_API else None
    return Account(sandbox.url, api_key, api_login=login, name="site", timezone=sandbox.timezone)


@asynccontextmanager
async def session_on(sandbox: Sandbox, api_key: str = KEY) -> AsyncIterator[Session]:
    """Open a session on a running sandbox."""
    account = account_of(sandbox, api_key)
    async with Session(account, hooks=virtual_time.hooks()) as session:
        yield session


def new_order(books: Books, **fields: object) -> Order:
    """Book an order that was made just now."""
    at = int(virtual_time.now())
    order = Order(id=books.orders.next_id, created=at, reward="1.5", **fields)  # type: ignore[arg-type]
    books.orders.put(order)
    return order


async def take(watch: Watch[Exchange], count: int) -> list[tuple[str, int]]:
    """Return kind and id of the next changes, asking for one more that does not come."""
    found: list[tuple[str, int]] = []
    async with watch:
        async for change in watch:
            found.append((change.kind, change.record.id))
            if len(found) == count:
                break
    return found


def later(seconds: float, action: Callable[[], object]) -> None:
    """Have something happen in the simulated future."""
    asyncio.get_running_loop().call_later(seconds, action)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test in virtual time, in debug mode, and see that nothing is left."""

    async def whole() -> None:
        await main()
        for _ in range(5):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    virtual_time.run(whole())


# --- what is delivered


@DIALECTS
def test_new_and_changed_exchanges_are_delivered(dialect: Dialect) -> None:
    """A new order, its success and its reversal, each with what changed, and nothing else."""

    async def main() -> None:
        books = books_of()
        async with sandbox_of(dialect, books) as sandbox, session_on(sandbox) as session:
            later(100, lambda: new_order(books))
            later(200, lambda: books.move_order(51, int(virtual_time.now()), "success"))
            later(400, lambda: books.move_order(51, int(virtual_time.now()), "cancel"))
            changes: list[Change[Exchange]] = []
            async for change in session.watch_exchanges(interval=60):
                changes.append(change)
                if len(changes) == 3:
                    break
            new, success, reversal = changes
            assert [c.kind for c in changes] == [ChangeKind.NEW, *[ChangeKind.CHANGED] * 2]
            assert (new.account, new.previous, new.fields) == ("site", None, ())
            assert success.previous == new.record
            assert reversal.previous == success.record
            assert reversal.record.accrued is False
            expected = {"accrued", "exchange_success"}
            if dialect in EDITING:
                expected |= {"status", "time", "date"}
            assert set(success.fields) == set(reversal.fields) == expected

    run(main)


@DIALECTS
def test_links_and_payouts_are_delivered(dialect: Dialect) -> None:
    """New clicks; a payout's request and its settlement."""

    async def main() -> None:
        books = books_of()
        books.partner.balance = "500"
        async with sandbox_of(dialect, books) as sandbox, session_on(sandbox) as session:
            now = int(virtual_time.now())
            links: list[Change[Link]] = []
            later(100, lambda: books.clicks.put(books.traffic.click(9_000, now + 100)))
            async for link in session.watch_links(interval=60):
                links.append(link)
                break
            assert [(c.kind, c.record.id) for c in links] == [("new", 9_000)]
            payouts: list[Change[Payout]] = []
            later(100, lambda: books.request_payout(11, "TX12345", int(virtual_time.now())))
            later(300, lambda: books.move_payout(books.payouts.next_id - 1, 1))
            async for payout in session.watch_payouts(interval=60):
                payouts.append(payout)
                if len(payouts) == 2:
                    break
            assert [c.kind for c in payouts] == ["new", "changed"]
            assert payouts[1].fields == ("status",)

    run(main)


def test_a_change_of_info_is_delivered() -> None:
    """Balance and methods; but not what a method would pay, which moves with the rates."""

    async def main() -> None:
        books = books_of()
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            method = books.methods[2]

            def drift() -> None:
                object.__setattr__(method, "rate", "98.1")

            later(100, drift)
            later(200, lambda: setattr(books.partner, "balance", "77"))
            later(400, books.methods.pop)
            changes: list[Change[Info]] = []
            async for change in session.watch_info(interval=60):
                changes.append(change)
                if len(changes) == 2:
                    break
            assert [c.fields for c in changes] == [("balance", "items"), ("items",)] or [
                c.fields for c in changes
            ] == [("balance",), ("items",)]
            assert changes[0].record.balance == Decimal(77)
            assert changes[1].previous == changes[0].record

    run(main)


@DIALECTS
def test_since_tells_the_backlog_oldest_first(dialect: Dialect) -> None:
    """All that happened since then comes first, in order, complete."""

    async def main() -> None:
        books = books_of(300)
        since = int(virtual_time.now()) - 20 * DAY
        by = "edited" if dialect in EDITING else "created"
        expected = [order.id for order in books.exchanges_in(since, by=by)]  # type: ignore[arg-type]
        async with sandbox_of(dialect, books) as sandbox, session_on(sandbox) as session:
            watch = session.watch_exchanges(since=datetime.fromtimestamp(since, UTC))
            assert [row_id for _, row_id in await take(watch, len(expected))] == expected

    run(main)


@pytest.mark.untraced
@pytest.mark.parametrize("hours", [-11, 13])
@DIALECTS
def test_a_wrong_zone_loses_nothing(dialect: Dialect, hours: int) -> None:
    """An account that says UTC, at a site that is hours off, hears of all that is new."""

    async def main() -> None:
        books = books_of()
        zone = f"Etc/GMT{-hours:+d}"
        site = Sandbox(dialect, books=books, clock=virtual_time.now, timezone=zone)
        async with site:
            login = books.partner.api_login if dialect is Dialect.USER_API else None
            account = Account(site.url, KEY, api_login=login)
            async with Session(account, hooks=virtual_time.hooks()) as session:
                for seconds in (100, 5000, 20_000, 100_000):
                    later(seconds, lambda: new_order(books))
                got = await take(session.watch_exchanges(interval=600), 4)
            assert got == [("new", row_id) for row_id in (51, 52, 53, 54)]

    run(main)


def test_a_row_that_is_no_different_is_not_delivered() -> None:
    """`1.5` and `1.50` are one amount."""

    async def main() -> None:
        books = books_of()
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            order = new_order(books)
            watch = session.watch_exchanges(interval=60)

            def rewrite() -> None:
                object.__setattr__(order, "reward", "1.500")

            later(100, rewrite)
            later(200, lambda: new_order(books))
            assert await take(watch, 1) == [("new", 52)]

    run(main)


def test_status_history_is_asked_for() -> None:
    """With `status_history`, records carry their steps."""

    async def main() -> None:
        books = books_of()
        async with (
            sandbox_of(Dialect.DELEGATING, books) as sandbox,
            session_on(sandbox) as session,
        ):
            later(100, lambda: new_order(books))
            async for change in session.watch_exchanges(status_history=True):
                assert [step.status for step in change.record.statuses] == ["new"]
                break

    run(main)


# --- state


@DIALECTS
def test_promise_7_a_restart_goes_on_where_it_stopped(dialect: Dialect) -> None:
    """With a store: what was delivered is not delivered again, what happened meanwhile is."""

    async def main() -> None:
        books, state = books_of(), MemoryState()
        async with sandbox_of(dialect, books) as sandbox:
            async with session_on(sandbox) as session:
                later(100, lambda: new_order(books))
                later(100, lambda: new_order(books))
                later(900, lambda: new_order(books))
                watch = session.watch_exchanges(state=state)
                got: list[int] = []
                async for change in watch:
                    got.append(change.record.id)
                    if len(got) == 3:
                        break
            await asyncio.sleep(2 * DAY)
            books.move_order(52, int(virtual_time.now()), "success")
            new_order(books)
            async with session_on(sandbox) as session:
                again = await take(session.watch_exchanges(state=state), 3)
        # 53 was in hand when the loop was left: it was not counted as delivered.
        assert got == [51, 52, 53]
        assert again == [("new", 53), ("changed", 52), ("new", 54)] or again == [
            ("changed", 52),
            ("new", 53),
            ("new", 54),
        ]

    run(main)


def test_what_is_in_hand_is_delivered_again() -> None:
    """A change counts as delivered when the next one is asked for, not before."""

    async def main() -> None:
        books, state = books_of(), MemoryState()
        async with sandbox_of(books=books) as sandbox:
            async with session_on(sandbox) as session:
                later(100, lambda: new_order(books))
                assert await take(session.watch_exchanges(state=state), 1) == [("new", 51)]
            for _ in range(2):
                async with session_on(sandbox) as session:
                    assert await take(session.watch_exchanges(state=state), 1) == [("new", 51)]

    run(main)


def test_a_first_look_is_the_beginning() -> None:
    """What happens after it and before a restart is delivered, though nothing was before."""

    async def main() -> None:
        books, state = books_of(), MemoryState()
        async with sandbox_of(books=books) as sandbox:
            async with session_on(sandbox) as session:
                watch = session.watch_exchanges(state=state)
                waiting = asyncio.ensure_future(anext(aiter(watch)))
                await asyncio.sleep(10)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await watch.aclose()
            new_order(books)
            async with session_on(sandbox) as session:
                assert await take(session.watch_exchanges(state=state), 1) == [("new", 51)]

    run(main)


def test_info_goes_on_from_the_state() -> None:
    """A balance that changed while nobody watched is delivered."""

    async def main() -> None:
        books, state = books_of(), MemoryState()
        books.partner.balance = "5"
        async with sandbox_of(books=books) as sandbox:
            for balance in ("6", "7"):
                async with session_on(sandbox) as session:
                    later(100, lambda balance=balance: setattr(books.partner, "balance", balance))  # type: ignore[misc]
                    seen = 0
                    async for change in session.watch_info(state=state):
                        seen += 1
                        assert change.previous is not None
                        if change.record.balance == Decimal(balance):
                            break
        assert seen == 2, "5 to 6, which was in hand, and 6 to 7"

    run(main)
