"""An audit finds each row that differs, and none that does not."""

from __future__ import annotations

import functools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import delete, insert, select, update

from ppapi_async import AuthError, Dialect, Exchange, Session, StateError
from ppapi_async.mirror.audit import audit
from ppapi_async.mirror.records import Audit, DifferenceKind
from ppapi_async.mirror.schema import exchanges
from ppapi_async.mirror.store import MirrorStore
from ppapi_async.sandbox import BookedPayout, Books, Click, Order, Partner, Sandbox
from ppapi_async.watching.resources import ResourceName
from tests.mirror.copying import BEGUN, DAY, Clock, commit, copy, session_at, site_of
from tests.mirror.tables import connected

pytestmark = pytest.mark.either_database

HOUR = 3600
MINUTE = timedelta(minutes=1)
MISSING, EXTRA, DIFFERING = DifferenceKind
DIALECTS = pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING])


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands."""
    return Clock()


@pytest.fixture
async def store(mirror_url: str, clock: Clock) -> AsyncIterator[MirrorStore]:
    """Give an open store."""
    opened = await MirrorStore.open(mirror_url, clock=clock)
    try:
        yield opened
    finally:
        await opened.aclose()


async def audited(
    store: MirrorStore, session: Session, clock: Clock, *resources: Any, **options: Any
) -> Audit:
    """Return an audit of the exchanges, or what is asked for, of one account."""
    name = session.account.name
    wanted = resources or ("exchanges",)
    return await audit(store, {name: session}, wanted, clock=clock, **options)


def by_hand(url: str, *statements: Any) -> None:
    """Change rows of the exchanges behind the mirror's back."""
    with connected(url) as connection:
        for statement in statements:
            connection.execute(statement)


def row(row_id: int) -> Any:
    """Return the condition that is for one exchange."""
    return exchanges.c.id == row_id


def found(result: Audit) -> list[tuple[int, DifferenceKind, tuple[str, ...]]]:
    """Return what an audit says, in short."""
    return [(one.id, one.kind, one.fields) for one in result.differences]


@pytest.mark.untraced
@DIALECTS
async def test_a_quiet_site_right_after_a_sync_differs_in_nothing(
    store: MirrorStore, clock: Clock, dialect: Dialect
) -> None:
    """Every row is compared, of every resource that lists rows."""
    books = Books.generate(3, 60, BEGUN - 90 * DAY, BEGUN, clicks=80)
    async with Sandbox(dialect, books=books, clock=clock, own_keys=True) as site:
        async with session_at(site, clock) as session:
            for resource in ("links", "exchanges", "payouts"):
                await copy(store, session, resource, at=clock.instant)
            result = await audited(store, session, clock, "links", "exchanges", "payouts", "info")
    assert result.ok
    assert result == Audit(start=None, end=None, rows=60 + 80 + len(books.payouts))


@DIALECTS
async def test_what_was_changed_here_is_found(
    store: MirrorStore, clock: Clock, mirror_url: str, dialect: Dialect
) -> None:
    """Rows removed, added and altered by hand, of any age."""
    async with site_of(clock, dialect) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        with connected(mirror_url) as connection:
            copied = dict(connection.execute(select(exchanges).where(row(20))).mappings().one())
        altered = update(exchanges).where(row(30)).values(partner_reward=Decimal(9), status="my1")
        gone = update(exchanges).where(row(40)).values(gone_at=clock.instant)
        added = insert(exchanges).values(copied | {"id": 1000})
        moved = update(exchanges).where(row(5)).values(time=clock.instant - timedelta(days=400))
        later = update(exchanges).where(row(6)).values(time=clock.instant - timedelta(days=2))
        remove = delete(exchanges).where(row(10))
        by_hand(mirror_url, remove, altered, gone, added, moved, later)
        result = await audited(store, session, clock)
        there = {one.id: one for one in await session.get_exchanges()}
    assert found(result) == [
        (5, DIFFERING, ("time",)),
        (6, DIFFERING, ("time",)),
        (10, MISSING, ()),
        (30, DIFFERING, ("partner_reward", "status")),
        (40, MISSING, ()),
        (1000, EXTRA, ()),
    ]
    assert result.rows == 40
    assert not result.ok
    assert [one.id for one in result.missing] == [10, 40]
    assert [one.id for one in result.extra] == [1000]
    for one in result.differences:
        assert one.there == there.get(one.id)
        assert (one.account, one.resource, one.proven_at) == ("one", "exchanges", clock.instant)
    altered_row = result.differing[2]
    assert isinstance(altered_row.here, Exchange)
    assert altered_row.here.partner_reward == 9


@DIALECTS
async def test_what_the_site_has_changed_is_found(
    store: MirrorStore, clock: Clock, dialect: Dialect
) -> None:
    """Rows that an operator sets by hand, hides and shows, however old."""
    async with site_of(clock, dialect) as site, session_at(site, clock) as session:
        site.books.hidden_orders.add(3)
        await copy(store, session, at=clock.instant)
        clock.now += HOUR
        site.books.set_by_hand(2, accrued=False, reward="7")
        site.books.hidden_orders ^= {3, 4}
        result = await audited(store, session, clock)
    fields = ("accrued", "partner_reward")
    assert found(result) == [(2, DIFFERING, fields), (3, MISSING, ()), (4, EXTRA, ())]
    assert {one.proven_at.timestamp() for one in result.differences} == {BEGUN}


@DIALECTS
async def test_what_came_or_moved_since_the_last_reading_is_no_difference(
    store: MirrorStore, clock: Clock, dialect: Dialect
) -> None:
    """The mirror does not claim to know it."""
    async with site_of(clock, dialect) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        clock.now += HOUR
        site.books.orders.put(Order(id=100, created=int(clock.now) - 60))
        if dialect is Dialect.DELEGATING:  # there a row moves with its status
            site.books.move_order(7, int(clock.now) - 60, "cancel")
        result = await audited(store, session, clock)
        bounded = await audited(store, session, clock, end=clock.instant - timedelta(hours=2))
    moved = int(dialect is Dialect.DELEGATING)
    assert found(result) == []
    assert (result.ok, result.uncovered) == (True, 1 + moved)
    assert found(bounded) == []


async def test_a_range_is_compared_and_no_more(
    store: MirrorStore, clock: Clock, mirror_url: str
) -> None:
    """What differs before its start and from its end on is not looked at."""
    async with site_of(clock, rows=90, days=90) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        by_hand(mirror_url, delete(exchanges).where(exchanges.c.id.in_([10, 11, 30, 31])))
        rows = await session.get_exchanges()
        start, end = rows[10].time, rows[30].time
        result = await audited(store, session, clock, start=start, end=end)
    assert found(result) == [(11, MISSING, ()), (30, MISSING, ())]
    assert (result.rows, result.start, result.end) == (20, start, end)


async def test_rows_where_the_site_has_none_at_all_are_extra(
    store: MirrorStore, clock: Clock
) -> None:
    """Before its first row, between, after its last one, or of a site that is empty."""
    async with site_of(clock, rows=30) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        site.books.hidden_orders |= {1, 2, 15, 16, 29, 30}
        result = await audited(store, session, clock)
        site.books.hidden_orders |= set(range(31))
        empty = await audited(store, session, clock)
    assert [one.id for one in result.extra] == [1, 2, 15, 16, 29, 30]
    assert [one.id for one in empty.extra] == list(range(1, 31))


@pytest.mark.untraced
@pytest.mark.parametrize("seed", range(4))
async def test_any_edits_are_found_as_they_are(
    store: MirrorStore, clock: Clock, mirror_url: str, seed: int
) -> None:
    """Compared with what a plain comparison of both whole sides says."""
    chance = random.Random(seed)
    dialect = chance.choice([Dialect.CLASSIC, Dialect.DELEGATING])
    async with site_of(clock, dialect, rows=700) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        ids = chance.sample(range(1, 701), 90)
        gone, altered, hidden = set(ids[:30]), set(ids[30:60]), set(ids[60:])
        by_hand(
            mirror_url,
            delete(exchanges).where(exchanges.c.id.in_(gone)),
            update(exchanges).where(exchanges.c.id.in_(altered)).values(accrued=False),
        )
        site.books.hidden_orders |= hidden
        result = await audited(store, session, clock)
    expected: list[tuple[int, DifferenceKind, tuple[str, ...]]]
    expected = [(row_id, MISSING, ()) for row_id in gone]
    expected += [(row_id, DIFFERING, ("accrued",)) for row_id in altered]
    expected += [(row_id, EXTRA, ()) for row_id in hidden]
    assert found(result) == sorted(expected)


@pytest.mark.untraced
async def test_both_sides_are_read_window_by_window(
    store: MirrorStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory does not hold the history."""
    sizes = []
    read = MirrorStore.rows

    async def rows(*arguments: Any) -> Sequence[Any]:
        found = await read(*arguments)
        sizes.append(len(found))
        return found

    async with site_of(clock, Dialect.DELEGATING, rows=900) as site:
        async with session_at(site, clock) as session:
            await copy(store, session, at=clock.instant)
            monkeypatch.setattr(MirrorStore, "rows", rows)
            week = functools.partial(session.iter_exchanges, window=timedelta(days=7))
            monkeypatch.setattr(session, "iter_exchanges", week)
            assert (await audited(store, session, clock)).rows == 900
    assert sum(sizes) == 900
    assert max(sizes) <= 71


async def test_a_row_that_stands_in_another_window_here_differs_in_its_time(
    store: MirrorStore, clock: Clock, mirror_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later or earlier: it is met in both windows, and is neither missing nor more."""
    async with site_of(clock, Dialect.DELEGATING) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        changed = update(exchanges)
        by_hand(
            mirror_url,
            changed.where(row(6)).values(time=clock.instant - timedelta(days=20)),
            changed.where(row(36)).values(time=clock.instant - timedelta(days=70)),
        )
        week = functools.partial(session.iter_exchanges, window=timedelta(days=7))
        monkeypatch.setattr(session, "iter_exchanges", week)
        result = await audited(store, session, clock)
    assert found(result) == [(6, DIFFERING, ("time",)), (36, DIFFERING, ("time",))]


@pytest.mark.parametrize("resource", ["links", "payouts"])
async def test_clicks_and_payouts_are_compared_in_a_range_too(
    store: MirrorStore, clock: Clock, resource: ResourceName
) -> None:
    """As orders are; those that cannot be read are counted."""
    books = Books(
        clicks=[Click(id=number, created=BEGUN - number * DAY) for number in range(2, 12)],
        payouts=[
            BookedPayout(
                id=number, created=BEGUN - number * DAY, method_id=1, account="TX",
                pay_amount="1", pay_currency="USDT", original_amount="1",
            )
            for number in range(2, 12)
        ],
    )  # fmt: skip
    async with Sandbox(books=books, clock=clock) as site, session_at(site, clock) as session:
        await copy(store, session, resource, at=clock.instant)
        shelf = books.clicks if resource == "links" else books.payouts
        for number in (3, 6, 9):
            shelf.remove(number)
        start, end = (clock.instant - timedelta(days=days) for days in (8, 4))
        result = await audited(store, session, clock, resource, start=start, end=end)
        assert ([one.id for one in result.extra], result.rows) == ([6], 3)

        def spoil(method: str, one: dict[str, Any]) -> dict[str, Any]:
            return one | {"time": "x"} if str(one["id"]) == "7" else one

        alter_rows(site, spoil)
        result = await audited(store, session, clock, resource)
    assert ([one.id for one in result.extra], result.unreadable) == ([3, 6, 9], 1)


def alter_rows(site: Sandbox, alter: Callable[[str, Any], Any]) -> None:
    """Have a site alter rows before they go out."""
    site._site.manner = evolve(site._site.manner, row_filter=alter)


async def test_rows_of_times_that_no_site_has_are_extra(
    store: MirrorStore, clock: Clock, mirror_url: str
) -> None:
    """Before anything that a site was asked for, and the earliest that there is."""
    async with site_of(clock) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        with connected(mirror_url) as connection:
            found_row = dict(connection.execute(select(exchanges).where(row(20))).mappings().one())
        old = [datetime.min.replace(tzinfo=UTC), datetime(2001, 1, 1, tzinfo=UTC)]
        for number, instant in enumerate(old, 1000):
            added = insert(exchanges).values(found_row | {"id": number, "time": instant})
            by_hand(mirror_url, added)
        result = await audited(store, session, clock)
        before = await audited(store, session, clock, end=old[1] + timedelta(seconds=1))
        earliest = await audited(store, session, clock, end=datetime(2, 1, 1, tzinfo=UTC))
    assert found(result) == found(before) == [(1000, EXTRA, ()), (1001, EXTRA, ())]
    assert found(earliest) == [(1000, EXTRA, ())]


@pytest.mark.parametrize("behind", [0, 300])
async def test_what_is_booked_late_or_by_a_slow_clock_is_no_difference(
    store: MirrorStore, clock: Clock, behind: int
) -> None:
    """It is dated before the last reading, and came after it."""
    books = Books.uniform(20, BEGUN - 20 * DAY, BEGUN - DAY)
    async with Sandbox(books=books, clock=lambda: clock.now - behind) as site:
        async with session_at(site, clock) as session:
            await copy(store, session, at=clock.instant)
            books.orders.put(Order(id=100, created=BEGUN - behind - 20))
            clock.now += 60
            result = await audited(store, session, clock)
    assert (found(result), result.uncovered) == ([], 1)


@pytest.mark.untraced
async def test_few_requests_look_again_at_much(
    store: MirrorStore, clock: Clock, mirror_url: str
) -> None:
    """What differs is looked for in a few ranges, however far it is scattered."""
    async with site_of(clock, rows=600) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        by_hand(mirror_url, delete(exchanges).where(exchanges.c.id % 3 == 0))
        before = len(site.requests)
        result = await audited(store, session, clock)
        requests = len(site.requests) - before
    assert len(result.missing) == 200
    assert requests <= 40


# --- what moves meanwhile


def when_rows_are_read(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]]
) -> None:
    """Do something once the audit has read rows of the database first."""
    read, acts = MirrorStore.rows, [act]

    async def rows(*arguments: Any) -> Sequence[Any]:
        found = await read(*arguments)
        if found and acts:
            await acts.pop()()
        return found

    monkeypatch.setattr(MirrorStore, "rows", rows)


@DIALECTS
async def test_what_another_process_writes_meanwhile_is_no_difference(
    store: MirrorStore, clock: Clock, dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site has changed, and a `follow` writes it after the audit has read the rows."""
    async with site_of(clock, dialect) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        clock.now += HOUR
        site.books.move_order(9, int(clock.now) - 300, "cancel")
        site.books.hidden_orders.add(11)
        site.books.orders.put(Order(id=100, created=int(clock.now) - 300))

        async def follow() -> None:
            await copy(store, session, at=clock.instant, backfill=False)

        when_rows_are_read(monkeypatch, follow)
        result = await audited(store, session, clock)
    assert found(result) == []
    assert (result.ok, result.unsettled) == (True, 0)


@DIALECTS
async def test_what_the_site_moves_meanwhile_is_no_difference(
    store: MirrorStore, clock: Clock, dialect: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The follow that has it sees it before the audit does."""
    async with site_of(clock, dialect) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)

        async def move() -> None:
            clock.now += HOUR
            site.books.move_order(9, int(clock.now) - 300, "cancel")
            site.books.move_order(39, int(clock.now) - 300, "cancel")
            site.books.hidden_orders.add(40)
            await copy(store, session, at=clock.instant, backfill=False)

        when_rows_are_read(monkeypatch, move)
        result = await audited(store, session, clock)
    assert found(result) == []


async def test_what_never_stands_still_is_said_not_to(
    store: MirrorStore, clock: Clock, mirror_url: str
) -> None:
    """Rows with another amount in each answer are no difference, and count."""
    async with site_of(clock) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        rewards = iter(range(1000))

        def restless(method: str, one: dict[str, Any]) -> dict[str, Any]:
            if str(one["id"]) in {"7", "8"}:
                one["partner_reward"] = str(next(rewards))
            return one

        alter_rows(site, restless)
        by_hand(mirror_url, delete(exchanges).where(row(9)))
        result = await audited(store, session, clock)
    assert found(result) == [(9, MISSING, ())]
    assert result.unsettled == 2


async def test_what_stands_still_at_last_is_judged(store: MirrorStore, clock: Clock) -> None:
    """A row that differs in two answers in one way and then in another, twice the same."""
    async with site_of(clock) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        rewards = iter([7, *[8] * 9])

        def restless(method: str, one: dict[str, Any]) -> dict[str, Any]:
            return one | {"partner_reward": str(next(rewards))} if str(one["id"]) == "7" else one

        alter_rows(site, restless)
        result = await audited(store, session, clock, interval=MINUTE)
    assert found(result) == [(7, DIFFERING, ("partner_reward",))]


# --- while the mirror is followed


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("age", "since_read", "is_reported"),
    [
        (10 * DAY, HOUR, False),  # it is read again within six hours
        (10 * DAY, 7 * HOUR, True),  # and is late
        (2 * HOUR, 10 * 60, False),  # within a quarter of an hour
        (2 * HOUR, 19 * 60, False),  # and two intervals, for a poll that is late
        (2 * HOUR, 20 * 60, True),
        (40 * DAY, HOUR, True),  # older than `lookback`: it never is
    ],
)
async def test_what_a_follow_will_read_again_is_left_to_it(
    store: MirrorStore, clock: Clock, age: int, since_read: int, *, is_reported: bool
) -> None:
    """For as long as its schedule allows; it cannot know what the site has changed since."""
    books = Books(partner=Partner(), orders=[Order(id=1, created=BEGUN - age)])
    async with Sandbox(books=books, clock=clock) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        books.set_by_hand(1, accrued=True, reward="7")
        clock.now += since_read
        result = await audited(store, session, clock, interval=MINUTE)
        assert (len(result.differences), result.unsettled) == (is_reported, not is_reported)
        assert result.ok is not is_reported
        assert len((await audited(store, session, clock)).differences) == 1


async def test_a_follow_of_another_process_is_noticed(
    store: MirrorStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the position, which moves while the audit runs."""
    async with site_of(clock) as site, session_at(site, clock) as session:
        place = await copy(store, session, at=clock.instant)
        clock.now += 600
        for number in (38, 39):
            site.books.set_by_hand(number, accrued=False, reward="7")

        async def follow() -> None:
            await store.save(place, "{}")

        when_rows_are_read(monkeypatch, follow)
        result = await audited(store, session, clock)
    assert (found(result), result.unsettled) == ([], 2)


async def test_what_was_read_since_and_still_differs_is_reported(
    store: MirrorStore, clock: Clock, mirror_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follow that has read the row after the audit saw it has no excuse."""
    async with site_of(clock) as site, session_at(site, clock) as session:
        place = await copy(store, session, at=clock.instant)
        by_hand(mirror_url, update(exchanges).where(row(39)).values(accrued=False))
        clock.now += 60
        wrong = await store.rows(place.account, "exchanges", None, None)

        async def follow() -> None:
            clock.now += 60
            await commit(store, place, wrong, clock.instant)

        when_rows_are_read(monkeypatch, follow)
        result = await audited(store, session, clock, interval=MINUTE)
    assert found(result) == [(39, DIFFERING, ("accrued",))]


async def test_a_row_that_a_follow_is_about_to_give_up_is_left_to_it(
    store: MirrorStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has missed it, and reads on before it says so: the row may only have moved."""
    async with site_of(clock) as site, session_at(site, clock) as session:
        place = await copy(store, session, at=clock.instant)
        site.books.hidden_orders |= {38, 39}
        clock.now += 60
        listed = await session.get_exchanges()

        async def follow() -> None:
            clock.now += 60
            await commit(store, place, listed, clock.instant)

        when_rows_are_read(monkeypatch, follow)
        result = await audited(store, session, clock, interval=MINUTE)
        assert (found(result), result.unsettled) == ([], 2)
        again = await audited(store, session, clock)
        assert found(again) == [(38, EXTRA, ()), (39, EXTRA, ())]


async def test_rows_that_no_follow_reads_again_are_not_left_to_it(
    store: MirrorStore, clock: Clock, mirror_url: str
) -> None:
    """One is gone from the site, another differs and was missed once; another account misses both.

    That is no reading that is about to say that they are gone.
    """
    async with site_of(clock) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        async with site_of(clock) as other, session_at(other, clock, "two") as two:
            await copy(store, two, at=clock.instant)
        account = await store.account(session.account)
        of_two, missed = exchanges.c.account != account, {"missing_since": clock.instant}
        altered = {"accrued": False, **missed}
        by_hand(
            mirror_url,
            update(exchanges).where(of_two, exchanges.c.id.in_([1, 2])).values(missed),
            update(exchanges).where(exchanges.c.account == account, row(2)).values(altered),
        )
        site.books.hidden_orders.add(1)
        result = await audited(store, session, clock, interval=MINUTE)
    assert found(result) == [(1, EXTRA, ()), (2, DIFFERING, ("accrued",))]


async def test_clicks_are_left_to_a_follow_for_a_day(store: MirrorStore, clock: Clock) -> None:
    """They never change; only such as come late are still to be found, once a day."""
    books = Books(clicks=[Click(id=1, created=BEGUN - DAY)])
    async with Sandbox(books=books, clock=clock) as site, session_at(site, clock) as session:
        await copy(store, session, "links", at=clock.instant)
        books.clicks.put(Click(id=2, created=BEGUN - DAY))
        clock.now += 20 * HOUR
        first = await audited(store, session, clock, "links", interval=MINUTE)
        clock.now += 5 * HOUR
        second = await audited(store, session, clock, "links", interval=MINUTE)
    assert (first.unsettled, second.unsettled) == (1, 0)
    assert found(second) == [(2, MISSING, ())]


# --- what cannot be compared


async def test_rows_that_cannot_be_read_are_counted(store: MirrorStore, clock: Clock) -> None:
    """They are no differences: not to compare is not to know."""
    async with site_of(clock) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)

        def spoil(method: str, one: dict[str, Any]) -> dict[str, Any]:
            return one | {"amount_give": "x"} if str(one["id"]) == "7" else one

        alter_rows(site, spoil)
        result = await audited(store, session, clock)
    assert (found(result), result.unreadable, result.rows) == ([], 1, 39)
    assert not result.ok


@pytest.mark.untraced
async def test_one_account_that_fails_does_not_hide_the_others(
    store: MirrorStore, clock: Clock, mirror_url: str
) -> None:
    """Its error is in the audit, and so is that of one that was never read."""
    async with site_of(clock) as site, site_of(clock) as other, site_of(clock) as third:
        async with session_at(other, clock, "wrong") as wrong:
            await copy(store, wrong, at=clock.instant)
        async with (
            session_at(site, clock) as session,
            session_at(other, clock, "wrong", key="another") as wrong,
            session_at(third, clock, "new") as new,
        ):
            await copy(store, session, at=clock.instant)
            by_hand(mirror_url, delete(exchanges).where(row(1)))
            sessions = {"wrong": wrong, "new": new, "one": session}
            result = await audit(store, sessions, ["exchanges"], clock=clock, concurrency=1)
    assert [(one.account, one.id) for one in result.differences] == [("one", 1)]
    assert list(result.errors) == ["wrong", "new"]
    assert isinstance(result.errors["wrong"], AuthError)
    assert isinstance(result.errors["new"], StateError)
    assert "sync first" in str(result.errors["new"])
    assert result.errors["new"].account == "new"
    assert not result.ok


async def test_what_a_site_does_not_have_is_passed_over(store: MirrorStore, clock: Clock) -> None:
    """A resource that its key may not ask for is no reason to say that it was not read."""
    partner = Partner(methods=frozenset({"get_exchanges", "get_info"}))
    begun = BEGUN - 20 * DAY
    generated = Books.uniform(20, begun, BEGUN - DAY)
    books = Books(partner=partner, orders=generated.orders)
    async with Sandbox(Dialect.DELEGATING, books=books, clock=clock) as site:
        async with session_at(site, clock) as session:
            await copy(store, session, at=clock.instant)
            result = await audited(store, session, clock, "payouts", "exchanges")
    assert result == Audit(start=None, end=None, rows=20)


async def test_a_database_that_breaks_ends_the_audit(
    store: MirrorStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no matter of one account: it is raised, at whatever step."""

    async def broken(*_: object) -> Sequence[Any]:
        raise StateError("the disk is full")

    async with site_of(clock) as site, session_at(site, clock) as session:
        await copy(store, session, at=clock.instant)
        for step in ("rows", "coverage", "place", "account"):
            with monkeypatch.context() as patch:
                patch.setattr(MirrorStore, step, broken)
                with pytest.raises(StateError, match="the disk is full"):
                    await audited(store, session, clock)
