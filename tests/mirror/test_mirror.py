"""The mirror as its users have it: what is in the database after a synchronisation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import select

from ppapi_async import (
    Account,
    AuthError,
    ChangeKind,
    Dialect,
    IncompleteError,
    Retry,
    StateError,
)
from ppapi_async.mirror import Mirror, MirrorChange, MirrorConflict, MirrorProgress, schema
from ppapi_async.sandbox import Books, Click, Fault, Order, Sandbox
from tests.leaks import assert_absent
from tests.mirror.clock import NOW, Clock

pytestmark = pytest.mark.either_database

DAY = 86_400
DIALECTS = list(Dialect)
LISTS = {"links": schema.links, "exchanges": schema.exchanges, "payouts": schema.payouts}


def site(
    clock: Clock, dialect: Dialect = Dialect.CLASSIC, rows: int = 300, seed: int = 1
) -> Sandbox:
    """Return a quiet site whose books are of the last ninety days."""
    books = Books.generate(seed, rows, NOW - 90 * DAY, NOW)
    return Sandbox(dialect, books=books, clock=clock)


def account_of(sandbox: Sandbox, name: str = "one") -> Account:
    """Return an account at a site."""
    return Account(sandbox.url, sandbox.api_key, api_login=sandbox.api_login, name=name)


async def table(mirror: Mirror, resource: str) -> dict[int, Any]:
    """Return the rows of a resource, by id."""
    async with mirror.connect() as connection:
        found = await connection.execute(select(LISTS[resource]))
        return {row.id: row for row in found}


def assert_like_books(rows: dict[str, dict[int, Any]], books: Books) -> None:
    """Each row of the books is there once, exact."""
    assert rows["exchanges"].keys() == {order.id for order in books.orders}
    assert rows["links"].keys() == {click.id for click in books.clicks}
    assert rows["payouts"].keys() == {payout.id for payout in books.payouts}
    for order in books.orders:
        row = rows["exchanges"][order.id]
        assert row.accrued == order.accrued
        assert row.exchange_success == order.success
        assert row.partner_reward == Decimal(order.reward)
    for payout in books.payouts:
        assert rows["payouts"][payout.id].original_amount == Decimal(payout.original_amount)


async def rows_of(mirror: Mirror) -> dict[str, dict[int, Any]]:
    """Return all rows of all resources."""
    return {name: await table(mirror, name) for name in LISTS}


async def changes_of(mirror: Mirror) -> list[tuple[str, ChangeKind, int | None]]:
    """Return resource, kind and id of all changes, in order."""
    return [(one.resource, one.kind, one.id) async for one in mirror.changes()]


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_promise_8_everything_is_there_once(dialect: Dialect, database_url: str) -> None:
    """After the first synchronisation the database holds what the site's books hold."""
    clock = Clock()
    async with site(clock, dialect) as sandbox:
        account = account_of(sandbox)
        async with Mirror(database_url, [account], hooks=clock.hooks()) as mirror:
            report = await mirror.sync()
            assert report.ok, report.failed
            one = report.accounts["one"]
            rows = await rows_of(mirror)
            assert_like_books(rows, sandbox.books)
            assert one.new == sum(map(len, rows.values()))
            assert one.behind is not None
            assert one.behind.total_seconds() == 0
            assert [change[0] for change in await changes_of(mirror)] in ([], ["info"])


@pytest.mark.untraced
async def test_a_second_synchronisation_is_cheap(mirror_url: str) -> None:
    """It costs a twentieth of the first at a site that has not changed, and writes no row."""
    clock = Clock()
    async with site(clock, Dialect.DELEGATING, rows=12_000) as sandbox:
        async with Mirror(
            mirror_url, [account_of(sandbox)], resources=["exchanges"], hooks=clock.hooks()
        ) as mirror:
            first = (await mirror.sync()).accounts["one"]
            clock.advance(600)
            second = (await mirror.sync()).accounts["one"]
            assert second.rows <= first.rows / 20
            assert second.requests <= max(3, first.requests / 20)
            assert (second.new, second.changed, second.gone) == (0, 0, 0)


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_happens_at_the_site_is_found(dialect: Dialect, mirror_url: str) -> None:
    """New rows, late ones, changes of status, and those that an operator makes by hand."""
    clock = Clock()
    async with site(clock, dialect) as sandbox:
        books = sandbox.books
        async with Mirror(mirror_url, [account_of(sandbox)], hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
            by_hand = next(o for o in books.orders if o.edited > NOW - 20 * DAY)
            moved = next(o for o in books.orders if o.edited > NOW - 10 * DAY and o != by_hand)
            clock.advance(12 * 3600)
            at = int(clock.time)
            books.set_by_hand(by_hand.id, accrued=not by_hand.accrued, reward="12.345678901234")
            books.move_order(moved.id, at - 60, "cancel")
            new = Order(id=books.orders.next_id, created=at - 30, reward="1.5")
            books.orders.put(new)
            late = Click(id=10**6, created=at - 2 * 3600, query_string="sub=late")
            books.clicks.put(late)
            report = (await mirror.sync()).accounts["one"]
            assert report.error is None
            assert_like_books(await rows_of(mirror), books)
            found = await changes_of(mirror)
            assert ("exchanges", ChangeKind.CHANGED, by_hand.id) in found
            assert ("exchanges", ChangeKind.CHANGED, moved.id) in found
            assert ("exchanges", ChangeKind.NEW, new.id) in found
            assert ("links", ChangeKind.NEW, late.id) in found
            assert len([one for one in found if one[0] != "info"]) == 4


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING])
async def test_what_a_site_deletes_stays_marked(dialect: Dialect, mirror_url: str) -> None:
    """A payout in the operator's basket is gone, and returns; nothing is ever deleted."""
    clock = Clock()
    async with site(clock, dialect) as sandbox:
        books = sandbox.books
        async with Mirror(mirror_url, [account_of(sandbox)], hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
            victim = max(books.orders, key=lambda order: order.edited)
            books.orders.remove(victim.id)
            clock.advance(7 * 3600)
            assert (await mirror.sync()).accounts["one"].gone == 1
            row = (await table(mirror, "exchanges"))[victim.id]
            assert row.gone_at is not None
            assert row.partner_reward == Decimal(victim.reward)
            books.orders.put(victim)
            clock.advance(7 * 3600)
            assert (await mirror.sync()).accounts["one"].returned == 1
            assert (await table(mirror, "exchanges"))[victim.id].gone_at is None
            kinds = [
                kind for resource, kind, row_id in await changes_of(mirror) if row_id == victim.id
            ]
            assert kinds == [ChangeKind.GONE, ChangeKind.RETURNED]


async def test_a_site_that_lists_nothing_is_not_believed_at_once(mirror_url: str) -> None:
    """It is an error first; after an hour of it the rows are gone."""
    clock = Clock()
    async with site(clock) as sandbox:
        books = sandbox.books
        async with Mirror(
            mirror_url, [account_of(sandbox)], resources=["exchanges"], hooks=clock.hooks()
        ) as mirror:
            assert (await mirror.sync()).ok
            orders = list(books.orders)
            for order in orders:
                books.orders.remove(order.id)
            clock.advance(60)
            for _ in range(2):
                report = (await mirror.sync()).accounts["one"]
                assert isinstance(report.error, IncompleteError)
                assert report.gone == 0
            rows = await table(mirror, "exchanges")
            assert all(row.gone_at is None for row in rows.values())
            clock.advance(3601)
            report = (await mirror.sync()).accounts["one"]
            assert report.error is None
            assert report.gone == len(orders)
            for order in orders:
                books.orders.put(order)
            clock.advance(7 * 3600)
            assert (await mirror.sync()).accounts["one"].error is None


@pytest.mark.untraced
async def test_old_rows_that_a_site_lists_no_more_are_doubted_to_an_end(tmp_path: Any) -> None:
    """A reading of what is newest, where there was nothing before, is no reason to doubt anew."""
    clock = Clock()
    books = Books.uniform(2, NOW - 10 * DAY, NOW - 5 * DAY)
    async with Sandbox(books=books, clock=clock) as sandbox:
        url, account = f"sqlite:///{tmp_path / 'm.db'}", account_of(sandbox)
        async with Mirror(url, [account], resources=["exchanges"], hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
            books.hidden_orders |= {1, 2}
            clock.advance(7 * 3600)
            reports = []
            for _ in range(6):
                reports.append((await mirror.sync()).accounts["one"])
                clock.advance(900)
    assert [one.gone for one in reports] == [0, 0, 0, 0, 2, 0]
    assert isinstance(reports[3].error, IncompleteError)
    assert reports[4].error is None


@pytest.mark.untraced
async def test_rows_that_only_seemed_gone_stay(mirror_url: str) -> None:
    """A site that lists nothing for a while, and then all again: no change is told."""
    clock = Clock()
    async with site(clock) as sandbox:
        books = sandbox.books
        async with Mirror(
            mirror_url, [account_of(sandbox)], resources=["exchanges"], hooks=clock.hooks()
        ) as mirror:
            assert (await mirror.sync()).ok
            orders = list(books.orders)
            for order in orders:
                books.orders.remove(order.id)
            clock.advance(7 * 3600)
            assert not (await mirror.sync()).ok
            for order in orders:
                books.orders.put(order)
            clock.advance(7 * 3600)
            assert (await mirror.sync()).ok
            assert await changes_of(mirror) == []
            rows = await table(mirror, "exchanges")
            assert all(row.gone_at is None for row in rows.values())


@pytest.mark.untraced
async def test_ones_failure_is_in_the_report(mirror_url: str) -> None:
    """A wrong key and a dead host fail by themselves; the others are caught up."""
    clock = Clock()
    async with site(clock) as good, site(clock, seed=2) as dead:
        wrong = Account(good.url, "Zz9wRoNgKeY8vUtSrQpOnMlKjIhGfEdC", name="wrong")
        lost = account_of(dead, "dead")
        await dead.close()
        accounts = [account_of(good), wrong, lost]
        async with Mirror(
            mirror_url, accounts, hooks=clock.hooks(), retry=Retry(attempts=1)
        ) as mirror:
            report = await mirror.sync(["wrong"])
            assert report.accounts.keys() == {"wrong"}
            assert isinstance(report.accounts["wrong"].error, AuthError)
            assert report.accounts["wrong"].behind is None
            assert isinstance(report.failed["wrong"], AuthError)
            report = await mirror.sync(["one"])
            assert report.ok
            clock.advance(100)
            good.faults.add(Fault.CLOSED, times=None)
            report = await mirror.sync(["one"])
            behind = report.accounts["one"].behind
            assert behind is not None
            assert behind.total_seconds() == 100


@pytest.mark.parametrize("after", [1, 3, 6])
async def test_a_broken_off_backfill_goes_on(after: int, database_url: str) -> None:
    """Cancelled after some windows and started again: nothing twice, nothing missing."""
    clock = Clock()
    async with site(clock, Dialect.DELEGATING, rows=5_000) as sandbox:
        account = account_of(sandbox)

        async def run(most: int) -> None:
            seen = 0
            task = asyncio.current_task()

            def progress(at: MirrorProgress) -> None:
                nonlocal seen
                seen += 1
                if seen == most and task is not None:
                    task.cancel()

            async with Mirror(
                database_url, [account], resources=["exchanges"], hooks=clock.hooks()
            ) as mirror:
                report = await mirror.sync(progress=progress)
                assert report.ok
                rows = await table(mirror, "exchanges")
                assert rows.keys() == {order.id for order in sandbox.books.orders}
                assert await changes_of(mirror) == []

        requests = sandbox.requests_count
        interrupted = asyncio.create_task(run(after))
        await asyncio.wait([interrupted])
        if not interrupted.cancelled():
            interrupted.result()
        first, requests = sandbox.requests_count - requests, sandbox.requests_count
        await run(-1)
        assert first + sandbox.requests_count - requests < 30


async def test_rows_ahead_and_empty_dates_are_kept(mirror_url: str) -> None:
    """An order of the year 9999 and a payout without a date are in the mirror, too."""
    clock = Clock()
    async with site(clock, rows=50) as sandbox:
        books = sandbox.books
        odd = Order(id=books.orders.next_id, created=253_402_300_799, reward="1")
        zero = Order(id=odd.id + 1, created=-62_169_984_000, reward="2")
        books.orders.put(odd)
        books.orders.put(zero)
        async with Mirror(
            mirror_url, [account_of(sandbox)], resources=["exchanges"], hooks=clock.hooks()
        ) as mirror:
            assert (await mirror.sync()).ok
            rows = await table(mirror, "exchanges")
            assert rows.keys() == {order.id for order in books.orders}
            clock.advance(600)
            assert (await mirror.sync()).ok
            assert await changes_of(mirror) == []


async def test_rows_that_cannot_be_read_hide_no_other(mirror_url: str) -> None:
    """They are counted and kept in their table; the mirror's version of them is not gone."""
    clock = Clock()
    books = Books.generate(1, 60, NOW - 9 * DAY, NOW)
    broken: set[str] = set()

    def break_row(method: str, row: dict[str, object]) -> dict[str, object]:
        odd = method == "get_exchanges" and str(row["id"]) in broken
        return {**row, "amount_give": "many"} if odd else row

    async with Sandbox(Dialect.CLASSIC, books=books, clock=clock, row_filter=break_row) as sandbox:
        async with Mirror(
            mirror_url, [account_of(sandbox)], resources=["exchanges"], hooks=clock.hooks()
        ) as mirror:
            first = max(books.orders, key=lambda order: order.created)
            broken.add(str(min(books.orders, key=lambda order: order.created).id))
            report = (await mirror.sync()).accounts["one"]
            assert report.error is None
            assert report.unreadable == 1
            assert len(await table(mirror, "exchanges")) == len(books.orders) - 1
            broken.add(str(first.id))
            clock.advance(7 * 3600)
            report = (await mirror.sync()).accounts["one"]
            assert report.unreadable == 2
            assert (await table(mirror, "exchanges"))[first.id].gone_at is None
            broken.clear()
            clock.advance(7 * 3600)
            report = (await mirror.sync()).accounts["one"]
            assert report.unreadable == 0
            assert (await table(mirror, "exchanges")).keys() == {order.id for order in books.orders}


async def test_what_cannot_be_proven_hides_no_other_row(mirror_url: str) -> None:
    """A second that the site does not list in whole is named, and read when it does."""
    clock = Clock()
    at = NOW - 40 * DAY
    books = Books.uniform(3_000, NOW - 80 * DAY, NOW - DAY, burst_at=at, burst=1_300)
    burst = {order.id for order in books.orders if order.edited == at}
    async with Sandbox(
        Dialect.DELEGATING, books=books, clock=clock, honours_offset=False
    ) as sandbox:
        async with Mirror(
            mirror_url, [account_of(sandbox)], resources=["exchanges"], hooks=clock.hooks()
        ) as mirror:
            for _ in range(2):
                report = (await mirror.sync()).accounts["one"]
                assert isinstance(report.error, IncompleteError)
                second = datetime.fromtimestamp(at, UTC)
                assert report.error.spans == ((second, second),)
                rows = await table(mirror, "exchanges")
                assert rows.keys() >= {order.id for order in books.orders} - burst
                new = Order(id=books.orders.next_id, created=int(clock.time) + 50, reward="1.5")
                books.orders.put(new)
                clock.advance(600)
    async with Sandbox(Dialect.DELEGATING, books=books, clock=clock) as mended:
        async with Mirror(
            mirror_url, [account_of(mended)], resources=["exchanges"], hooks=clock.hooks()
        ) as mirror:
            assert (await mirror.sync()).ok
            rows = await table(mirror, "exchanges")
            assert rows.keys() == {order.id for order in books.orders}
            assert (await mirror.sync()).ok


@pytest.mark.untraced
async def test_a_renamed_and_a_moved_account_keep_their_rows(mirror_url: str) -> None:
    """The name may change, or the host; nothing is there twice."""
    clock = Clock()
    async with site(clock) as sandbox:
        async with Mirror(mirror_url, [account_of(sandbox)], hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
        async with Mirror(
            mirror_url, [account_of(sandbox, "other name")], hooks=clock.hooks()
        ) as mirror:
            assert (await mirror.sync()).ok
            assert_like_books(await rows_of(mirror), sandbox.books)
        async with Sandbox(Dialect.CLASSIC, books=sandbox.books, clock=clock) as moved:
            async with Mirror(
                mirror_url, [account_of(moved, "other name")], hooks=clock.hooks()
            ) as mirror:
                assert (await mirror.sync()).ok
                assert_like_books(await rows_of(mirror), sandbox.books)


async def test_a_zone_that_was_wrong_is_mended(mirror_url: str) -> None:
    """With another zone all is read again, and each row has its new time, once."""
    clock = Clock()
    async with site(clock) as sandbox:
        account = account_of(sandbox)
        async with Mirror(mirror_url, [account], hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
            before = await table(mirror, "payouts")
        account = evolve(account, timezone="Europe/Moscow")
        async with Mirror(mirror_url, [account], hooks=clock.hooks()) as mirror:
            report = (await mirror.sync()).accounts["one"]
            assert report.error is None
            after = await table(mirror, "payouts")
            assert after.keys() == before.keys()
            shifts = {(before[one].time - after[one].time).total_seconds() for one in before}
            assert shifts == {3 * 3600}
            assert report.gone == 0


async def test_two_processes_do_not_write_over_each_other(postgres_url: str) -> None:
    """Who was overtaken writes nothing and says so; the next time it goes on."""
    clock = Clock()
    async with site(clock, rows=2_000) as sandbox:
        account = account_of(sandbox)
        async with (
            Mirror(postgres_url, [account], hooks=clock.hooks()) as one,
            Mirror(postgres_url, [account], hooks=clock.hooks()) as other,
        ):
            reports = await asyncio.gather(one.sync(), other.sync())
            errors = [r.accounts["one"].error for r in reports]
            assert all(isinstance(error, MirrorConflict | None) for error in errors), errors
            assert (await one.sync()).ok
            assert_like_books(await rows_of(one), sandbox.books)
            assert [kind for _, kind, _ in await changes_of(one)] in ([], ["new"])


async def test_a_second_process_is_refused_a_file(tmp_path: Any) -> None:
    """It is told which process has it."""
    clock = Clock()
    url = f"sqlite:///{tmp_path / 'partner.db'}"
    async with site(clock) as sandbox:
        account = account_of(sandbox)
        async with Mirror(url, [account], hooks=clock.hooks()):
            with pytest.raises(StateError, match="process"):
                async with Mirror(url, [account], hooks=clock.hooks()):
                    pass


@pytest.mark.untraced
async def test_the_key_is_not_in_the_database(tmp_path: Any) -> None:
    """Not even where a site writes it into its rows."""
    clock = Clock()
    async with site(clock) as sandbox:
        sandbox.books.clicks.put(
            Click(id=10**6, created=NOW - 60, query_string=f"sub={sandbox.api_key}")
        )
        url = f"sqlite:///{tmp_path / 'partner.db'}"
        async with Mirror(url, [account_of(sandbox)], hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
        for path in tmp_path.iterdir():
            assert_absent(sandbox.api_key, path.read_bytes().decode("latin-1"))


# Following


@contextlib.asynccontextmanager
async def following(
    mirror: Mirror, clock: Clock
) -> AsyncIterator[asyncio.Queue[MirrorChange[Any]]]:
    """Follow a mirror, and collect the changes."""
    found: asyncio.Queue[MirrorChange[Any]] = asyncio.Queue()

    async def follow() -> None:
        async for event in mirror.follow(interval=60):
            if isinstance(event, MirrorChange):
                found.put_nowait(event)

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.005)
            clock.advance(5)

    tasks = [asyncio.create_task(follow()), asyncio.create_task(tick())]
    try:
        yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.untraced
async def test_following_delivers_what_happens(mirror_url: str) -> None:
    """Nothing of the backfill; then each change once, and again after a restart if it was left."""
    clock = Clock()
    async with site(clock, rows=100) as sandbox:
        books, account = sandbox.books, account_of(sandbox)
        options: dict[str, Any] = {"resources": ("exchanges",), "hooks": clock.hooks()}
        async with Mirror(mirror_url, [account], **options) as mirror:
            assert (await mirror.sync()).ok
            async with asyncio.timeout(20), following(mirror, clock) as found:
                await asyncio.sleep(0.2)
                new = Order(id=books.orders.next_id, created=int(clock.time), reward="1.5")
                books.orders.put(new)
                change = await found.get()
                assert (change.kind, change.id) == (ChangeKind.NEW, new.id)
                books.set_by_hand(new.id, accrued=True, reward="2.5")
                change = await found.get()
                assert (change.kind, change.fields) == (
                    ChangeKind.CHANGED,
                    ("accrued", "partner_reward"),
                )
        books.set_by_hand(new.id, accrued=False, reward="2.5")
        clock.advance(3600)
        async with Mirror(mirror_url, [account], **options) as mirror:
            assert (await mirror.sync()).accounts["one"].changed == 1
            async with asyncio.timeout(20), following(mirror, clock) as found:
                change = await found.get()
                assert (change.kind, change.fields) == (ChangeKind.CHANGED, ("accrued",))
            assert [kind for _, kind, _ in await changes_of(mirror)] == [
                "new",
                "changed",
                "changed",
            ]


async def test_a_mirror_that_is_not_open_says_so() -> None:
    """And what cannot be used is refused at once, with what to pass."""
    mirror = Mirror("sqlite:///nowhere.db", [])
    with pytest.raises(RuntimeError, match="async with"):
        await mirror.sync()
    with pytest.raises(RuntimeError, match="async with"):
        mirror.follow()
    with pytest.raises(ValueError, match="sqlite:///"):
        Mirror("partner.db", [])
    with pytest.raises(TypeError, match="resources"):
        Mirror("sqlite:///a.db", [], resources="links")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="url"):
        Mirror(None, [])  # type: ignore[arg-type]
    assert "secret" not in repr(Mirror("postgresql://me:secret@db/x", []))
