"""What has changed comes in order, once, none missed; and rewards are added up exactly."""

from __future__ import annotations

import asyncio
import gc
import threading
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import text

from ppapi_async import Account, Exchange, Info, Link, StateError
from ppapi_async.mirror import queries
from ppapi_async.mirror.queries import changes, rewards
from ppapi_async.mirror.store import MirrorStore, Place
from ppapi_async.watching.changes import ChangeKind
from tests.loops import threads_down_to
from tests.mirror.copying import commit
from tests.mirror.tables import NOON, connected, put_exchange

SECOND = timedelta(seconds=1)
NEW, CHANGED, GONE, RETURNED = (ChangeKind(kind) for kind in ("new", "changed", "gone", "returned"))


async def place_of(store: MirrorStore, name: str = "one", resource: Any = "exchanges") -> Place:
    """Return a place of an account, which is made."""
    account = Account(f"https://{name}.example", "k3y", name=name)
    return await store.place(await store.account(account), name, resource)


def order(
    row_id: int, reward: str = "1", *, at: datetime = NOON, accrued: bool = False
) -> Exchange:
    """Return an exchange."""
    one = Decimal(1)
    return Exchange(row_id, NOON, one, one, accrued, accrued, Decimal(reward))


async def put(store: MirrorStore, *rows: Exchange, name: str = "one", at: datetime = NOON) -> None:
    """Write rows of an account, as a pass that finds them new or changed."""
    ids = sorted(row.time for row in rows)
    place = await place_of(store, name)
    await commit(store, place, rows, at, start=ids[0], end=ids[-1] + SECOND)


async def told(store: MirrorStore, *resources: Any, **options: Any) -> list[tuple[int | None, str]]:
    """Return the ids and cursors of the changes."""
    found = changes(store, *resources, **options)
    return [(change.id, change.cursor) async for change in found]


async def test_each_change_comes_whole_and_in_order(store: MirrorStore) -> None:
    """New, changed, gone and back, with the record before and after."""
    first, second = order(1, "0.000000000001"), order(1, "2.50", accrued=True)
    place = await place_of(store)
    at = [NOON + hour * timedelta(hours=1) for hour in range(1, 6)]
    await commit(store, place, [first], at[0])
    await commit(store, place, [second], at[1])
    await commit(store, place, [], at[2])
    await store.end_pass(place, at[2], "{}", believe=True, first=None)
    await commit(store, place, [second], at[3])
    found = [change async for change in changes(store, "exchanges")]
    assert [(one.kind, one.record, one.previous) for one in found] == [
        (NEW, first, None),
        (CHANGED, second, first),
        (GONE, second, second),
        (RETURNED, second, None),
    ]
    assert found[1].fields == ("exchange_success", "accrued", "partner_reward")
    assert [one.seen_at for one in found] == at[:4]
    assert {(one.account, one.resource, one.id) for one in found} == {("one", "exchanges", 1)}


async def test_a_cursor_goes_on_right_after_its_change(
    store: MirrorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From every one of them, also within what was written and what is read in one go."""
    monkeypatch.setattr(queries, "_BATCH", 3)
    for number in range(3):
        rows = [order(10 * number + row) for row in range(1, 5)]
        await put(store, *rows, at=NOON + number * SECOND)
    everything = await told(store)
    assert [row_id for row_id, _ in everything] == [1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24]
    for place, (_, cursor) in enumerate(everything):
        assert await told(store, since=cursor) == everything[place + 1 :]
    await put(store, order(31))
    assert [row_id for row_id, _ in await told(store, since=everything[-1][1])] == [31]


async def test_the_order_is_theirs_however_they_are_found(
    store: MirrorStore, mirror_url: str
) -> None:
    """Within a transaction too, by whichever index: it is not owed to the one that has it."""
    with connected(mirror_url) as connection:
        connection.execute(text("DROP INDEX changes_in_order"))
    for number, hours in ((20, 2), (10, 1)):  # the clock was put back meanwhile
        rows = [order(number + row) for row in (3, 1, 2)]
        await put(store, *rows, at=NOON + hours * timedelta(hours=1))
    await put(store, order(1), name="two", at=NOON)
    ids = [23, 21, 22, 13, 11, 12]
    for chosen in ({}, {"since": NOON}, {"accounts": ["one"]}):
        for resources in ((), ("exchanges",)):
            found = [row_id for row_id, _ in await told(store, *resources, **chosen)]
            assert found == (ids if "accounts" in chosen else [*ids, 1])


@pytest.mark.untraced
async def test_changes_are_chosen(store: MirrorStore) -> None:
    """By resource, account and the time they were seen."""
    await put(store, order(1))
    await put(store, order(2), name="two", at=NOON + SECOND)
    links = await place_of(store, resource="links")
    await commit(store, links, [Link(3, NOON)], NOON + 2 * SECOND)
    info = await place_of(store, resource="info")
    one = Info(balance=Decimal(1), min_payout=Decimal(2))
    await store.commit_info(info, one, NOON, "{}")
    await store.commit_info(info, evolve(one, balance=Decimal(2)), NOON + 3 * SECOND, "{}")

    async def ids(*resources: Any, **options: Any) -> list[int | None]:
        return [row_id for row_id, _ in await told(store, *resources, **options)]

    assert await ids("exchanges") == [1, 2]
    assert await ids("links") == [3]
    assert await ids("links", "exchanges") == [1, 2, 3]
    assert set(await ids()) == {1, 2, 3, None}
    assert await ids("exchanges", accounts=["two"]) == [2]
    assert await ids(accounts=[]) == []
    assert await ids("exchanges", since=NOON + SECOND) == [2]
    assert await ids("links", since=int(NOON.timestamp()) + 3) == []
    latest = [change.record async for change in changes(store, "info")][-1]
    assert latest.balance == 2


async def test_what_comes_while_it_is_read_comes_too(
    store: MirrorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is committed before the end; no transaction stays open meanwhile."""
    monkeypatch.setattr(queries, "_BATCH", 2)
    await put(store, *(order(number) for number in range(1, 6)))
    found = []
    async for change in changes(store):
        found.append(change.id)
        if change.id in (2, 5):
            await put(store, order(10 * change.id))
    assert found == [1, 2, 3, 4, 5, 20, 50]


async def test_it_is_left_without_a_trace(store: MirrorStore) -> None:
    """By a break, by closing, or before it began; iterated twice it says so."""
    await put(store, *(order(number) for number in range(1, 6)))
    before = asyncio.all_tasks(), threading.active_count()
    async for _ in changes(store):
        break
    kept = changes(store, "exchanges")
    async with kept:
        async for _ in kept:
            break
    assert kept.left
    with pytest.raises(RuntimeError, match="iterated once"):
        aiter(kept)
    await changes(store).aclose()
    gc.collect()
    await asyncio.sleep(0)
    assert (asyncio.all_tasks(), await threads_down_to(before[1])) == before
    assert repr(kept) == "<Changes of exchanges>"


@pytest.mark.parametrize(
    "since",
    ["", "1", "1.", "a.b", "1.2.3", "-1.2", "9223372036854775808.0", "0.9223372036854775808"],
)
def test_what_is_no_cursor_is_refused(since: str) -> None:
    """At once, and says what to pass."""
    with pytest.raises(ValueError, match="since: pass the cursor of a MirrorChange, or an instant"):
        changes(None, since=since)  # type: ignore[call-overload]


def test_other_arguments_are_checked_at_once() -> None:
    """Names of resources, instants with a zone, lists of accounts."""
    nowhere: Any = None
    with pytest.raises(ValueError, match="resources: pass any of"):
        changes(nowhere, "clicks")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="since"):
        changes(nowhere, since=datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(TypeError, match="accounts: pass a list of names"):
        changes(nowhere, accounts="one")


async def test_a_database_without_its_tables_says_so(store: MirrorStore, mirror_url: str) -> None:
    """With an error of the library's."""
    with connected(mirror_url) as connection:
        connection.execute(text("ALTER TABLE changes RENAME TO elsewhere"))
    with pytest.raises(StateError):
        await told(store)


# --- in PostgreSQL, with writers at once


@pytest.mark.untraced
async def test_a_transaction_that_ends_late_is_not_missed(postgres_url: str) -> None:
    """It has a smaller revision than what others have committed before it."""
    import psycopg

    store = await MirrorStore.open(postgres_url)
    try:
        await put(store, order(1))
        ((_, cursor),) = await told(store)
        slow = await psycopg.AsyncConnection.connect(postgres_url)
        async with slow:
            await slow.execute(_INSERT, {"id": 2})
            await put(store, order(3))
            # What has come after it waits, or a reader who notes where 3 stands would miss 2.
            assert await told(store, since=cursor) == []
            await slow.commit()
        assert [row_id for row_id, _ in await told(store, since=cursor)] == [2, 3]
    finally:
        await store.aclose()


_INSERT = """
INSERT INTO changes (tx, account, resource, id, kind, seen_at, fields, before, after)
SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint), account, resource, %(id)s, kind, seen_at,
       fields, before, after
FROM changes WHERE id = 1
"""


async def test_readers_miss_nothing_of_writers_at_once(postgres_url: str) -> None:
    """Writers of many accounts, and a reader who goes on from cursor to cursor all the while."""
    store = await MirrorStore.open(postgres_url)
    writers, rows = 6, 15
    read: list[tuple[str, int | None]] = []
    try:

        async def write(name: str) -> None:
            for number in range(1, rows + 1):
                await put(store, order(number), name=name)

        tasks = [asyncio.create_task(write(f"a{number}")) for number in range(writers)]
        cursor: str | None = None
        while True:
            done = all(task.done() for task in tasks)
            async for change in changes(store, since=cursor):
                read.append((change.account, change.id))
                cursor = change.cursor
            if done:
                break
        await asyncio.gather(*tasks)
    finally:
        await store.aclose()
    assert len(read) == len(set(read)) == writers * rows
    for number in range(writers):
        mine = [row_id for name, row_id in read if name == f"a{number}"]
        assert mine == list(range(1, rows + 1))


@pytest.mark.untraced
async def test_a_database_restored_on_another_server_goes_on(postgres_url: str) -> None:
    """A dump does not bring the server's count of transactions: it may begin anew, far below."""
    store = await MirrorStore.open(postgres_url)
    await put(store, order(1), order(2))
    await store.aclose()
    with connected(postgres_url) as connection:
        connection.execute(text("UPDATE changes SET tx = tx + 1000000"))
    store = await MirrorStore.open(postgres_url)
    try:
        await put(store, order(3))
        assert [row_id for row_id, _ in await told(store)] == [1, 2, 3]
        with connected(postgres_url) as connection:
            number = connection.scalar(text("SELECT pg_current_xact_id()::text::bigint"))
        old = f"{number + 1_000_000}.1"
        assert [row_id for row_id, _ in await told(store, since=old)] == [2, 3]
    finally:
        await store.aclose()


# --- rewards


async def fill(store: MirrorStore, url: str) -> None:
    """Put in orders of two accounts."""
    await place_of(store)
    await place_of(store, "two")
    with connected(url) as connection:
        day, done = timedelta(days=1), {"accrued": True, "exchange_success": True}
        put_exchange(connection, 1, "0.1", **done)
        put_exchange(connection, 2, "0.2", **done)
        put_exchange(connection, 3, "5", status="new")
        put_exchange(connection, 4, "7", status="cancel")
        put_exchange(connection, 5, "11", gone_at=NOON, **done)
        put_exchange(connection, 6, "13", time=NOON + day, exchange_success=True)
        put_exchange(connection, 1, "17", account=2, time=NOON + day, **done)


async def test_rewards_are_grouped_as_asked_for(store: MirrorStore, mirror_url: str) -> None:
    """By day and account, by one of them, or not at all."""
    await fill(store, mirror_url)
    first, second = date(2026, 1, 31), date(2026, 2, 1)

    async def sums(*by: Any, **options: Any) -> list[tuple[object, ...]]:
        found = await rewards(store, by, **options)
        return [
            (one.day, one.account, one.exchanges, one.completed, one.accrued, one.forecast)
            for one in found
        ]

    assert await sums("day", "account") == [
        (first, "one", 4, 2, Decimal("0.3"), 5),
        (second, "one", 1, 1, 0, 13),
        (second, "two", 1, 1, 17, 0),
    ]
    assert await sums("account", "day") == await sums("day", "account")
    assert await sums("account") == [
        (None, "one", 5, 3, Decimal("0.3"), 18),
        (None, "two", 1, 1, 17, 0),
    ]
    assert await sums("day") == [
        (first, None, 4, 2, Decimal("0.3"), 5),
        (second, None, 2, 2, 17, 13),
    ]
    assert await sums() == [(None, None, 6, 4, Decimal("17.3"), 18)]
    assert await sums(accounts=["two"]) == [(None, None, 1, 1, 17, 0)]
    assert await sums(end=NOON) == [(None, None, 0, 0, 0, 0)]
    assert await sums("account", end=NOON) == []
    assert await sums(start=NOON, end=NOON + SECOND) == [(None, None, 4, 2, Decimal("0.3"), 5)]
    assert await sums(start=NOON + SECOND) == [(None, None, 2, 2, 17, 13)]
    (everything,) = await rewards(store, by=())
    assert (everything.gone, everything.gone_accrued) == (1, Decimal(11))


async def test_rewards_are_exact_to_the_last_place(store: MirrorStore, mirror_url: str) -> None:
    """Where floats, and decimal contexts of few digits, are not."""
    amounts = ["100000000000000000000000.000000000001", "-0.000000000001", "0.1", "0.2"]
    amounts += ["123456789012.123456789012"] * 5
    await place_of(store)
    with connected(mirror_url) as connection:
        for row_id, amount in enumerate(amounts, 1):
            put_exchange(connection, row_id, amount, accrued=True)
    with localcontext() as context:
        context.prec = 6
        ((total),) = await rewards(store, by=())
    assert total.accrued == Decimal("100000000000617283945060.91728394506")


async def test_arguments_of_rewards_are_checked(store: MirrorStore) -> None:
    """A name by itself is no tuple of names."""
    for by in ("day", ("month",)):
        with pytest.raises(ValueError, match="by: pass any of 'day' and 'account'"):
            await rewards(store, by)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="accounts: pass a list of names"):
        await rewards(store, accounts="one")
    for argument in ("start", "end"):
        wrong: dict[str, Any] = {argument: "2026"}
        with pytest.raises(TypeError, match=f"^{argument}: pass an aware datetime"):
            await rewards(store, **wrong)
