"""The mirror's store: windows, changes, coverage and positions, in both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from attrs import evolve
from sqlalchemy import Table, func, select

from ppapi_async import Account, Exchange, Link, Payout, StateError
from ppapi_async.mirror import schema
from ppapi_async.mirror.store import MirrorConflict, MirrorStore, Place, Reading
from ppapi_async.models import Info, PayoutMethod, StatusChange, UnreadableRow

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PROVEN = NOON + timedelta(hours=6)
ACCOUNT = Account("https://site.example", "a-key-of-more-than-16")


def exchange(number: int, *, minute: int | None = None, **values: object) -> Exchange:
    """Return an order, a minute after the one of the number before."""
    given: dict[str, object] = {
        "amount_give": Decimal("0.10"),
        "amount_get": Decimal("9700.123456789012"),
        "exchange_success": True,
        "accrued": False,
        "partner_reward": Decimal("1.50"),
        "status": "new",
    }
    time = NOON + (number if minute is None else minute) * MINUTE
    return Exchange(id=number, time=time, **(given | values))  # type: ignore[arg-type]


def reading(*records: Exchange | Link | Payout, **values: object) -> Reading:
    """Return an hour from noon on as the site lists it."""
    given: dict[str, object] = {
        "start": NOON,
        "end": NOON + 60 * MINUTE,
        "proven_at": PROVEN,
        "backfill": False,
        "document": "{}",
    }
    return Reading(records=records, **(given | values))  # type: ignore[arg-type]


async def place_of(store: MirrorStore, resource: str = "exchanges") -> Place:
    """Return where a resource of the account stands."""
    return await store.place(await store.account(ACCOUNT), ACCOUNT.name, resource)  # type: ignore[arg-type]


async def column(store: MirrorStore, table: Table, name: str) -> dict[int, object]:
    """Return a column of a table of rows, by id."""
    async with store.connect() as connection:
        rows = await connection.execute(select(table.c.id, table.c[name]).order_by(table.c.id))
        return {row[0]: row[1] for row in rows}


async def count(store: MirrorStore, table: Table) -> int:
    """Return how many rows a table has."""
    async with store.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(table)) or 0


async def test_rows_come_back_as_they_were(store: MirrorStore) -> None:
    """What was committed is read again, oldest first, equal to the last digit."""
    place = await place_of(store)
    rows = [exchange(3, extra={"fee": Decimal("0.10"), "a\0b": ["\ud800", None]}), exchange(5)]
    commit = await store.commit(place, reading(*reversed(rows), backfill=True))
    assert (commit.changes, commit.written) == ((), 2)
    found = await store.rows(place.account, "exchanges", None, None)
    assert found == rows
    assert repr(found) == repr(rows)
    inside = await store.rows(place.account, "exchanges", rows[0].time, rows[1].time)
    assert inside == rows[:1]


async def test_new_changed_and_same_rows(store: MirrorStore) -> None:
    """After the backfill each new and each changed row is one change, and the same row none."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1), exchange(2), backfill=True))
    changed = exchange(2, accrued=True, partner_reward=Decimal("1.75"))
    later = PROVEN + MINUTE
    commit = await store.commit(place, reading(exchange(1), changed, exchange(3), proven_at=later))
    first, second = commit.changes
    assert (first.kind, first.record, first.previous) == ("changed", changed, exchange(2))
    assert first.fields == ("accrued", "partner_reward")
    assert (second.kind, second.record, second.previous) == ("new", exchange(3), None)
    assert [one.seen_at for one in commit.changes] == [later, later]
    assert commit.written == 2
    assert await column(store, schema.exchanges, "first_seen") == {1: PROVEN, 2: PROVEN, 3: later}
    assert await column(store, schema.exchanges, "last_seen") == {1: later, 2: later, 3: later}
    assert await column(store, schema.exchanges, "changed_at") == {1: None, 2: later, 3: None}
    again = await store.commit(place, reading(exchange(1), changed, exchange(3), proven_at=later))
    assert (again.changes, again.written) == ((), 0)


async def test_amounts_are_the_same_by_value(store: MirrorStore) -> None:
    """1.5 is no change of 1.50, and the amount stays as it was written first."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1, extra={"fee": Decimal("2.0")})))
    same = exchange(1, partner_reward=Decimal("1.5"), extra={"fee": Decimal("2.00")})
    assert (await store.commit(place, reading(same))).changes == ()
    [row] = await store.rows(place.account, "exchanges", None, None)
    assert isinstance(row, Exchange)
    assert str(row.partner_reward) == "1.50"


async def test_a_row_that_moved_is_the_same_row(store: MirrorStore) -> None:
    """A row whose time has moved into another window is found there by its id."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1), exchange(2), backfill=True))
    moved = exchange(1, minute=90, status="success")
    hour = timedelta(hours=1)
    missed = await store.commit(place, reading(exchange(2)))
    assert missed.changes == ()
    assert (await column(store, schema.exchanges, "missing_since"))[1] == PROVEN
    later = reading(moved, start=NOON + hour, end=None)
    [change] = (await store.commit(place, later)).changes
    assert (change.kind, change.previous, change.fields) == (
        "changed", exchange(1), ("time", "status"),
    )  # fmt: skip
    ended = await store.end_pass(place, PROVEN, "{}", believe=True, first=NOON)
    assert ended.changes == ()
    assert await store.rows(place.account, "exchanges", None, None) == [exchange(2), moved]


async def test_gone_and_returned(store: MirrorStore) -> None:
    """What a pass has not met is gone at its end, and stays; when it is listed again it returns."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1), exchange(2), backfill=True))
    later = PROVEN + MINUTE
    await store.commit(place, reading(exchange(2), proven_at=later))
    unsure = await store.end_pass(place, later, '{"doubt": 1}', believe=False, first=NOON)
    assert unsure.changes == ()
    assert await column(store, schema.exchanges, "gone_at") == {1: None, 2: None}
    [change] = (await store.end_pass(place, later, "{}", believe=True, first=NOON)).changes
    assert (change.kind, change.id, change.record) == ("gone", 1, exchange(1))
    assert await column(store, schema.exchanges, "gone_at") == {1: later, 2: None}
    assert await store.rows(place.account, "exchanges", None, None) == [exchange(2)]
    assert await store.held(place, None) == 1
    again = await store.commit(place, reading(exchange(2), proven_at=later + MINUTE))
    ended = await store.end_pass(place, later + MINUTE, "{}", believe=True, first=NOON)
    assert (again.changes, ended.changes) == ((), ())
    back = exchange(1, accrued=True)
    [change] = (await store.commit(place, reading(back, exchange(2)))).changes
    assert (change.kind, change.record, change.previous, change.fields) == (
        "returned", back, None, ("accrued",),
    )  # fmt: skip
    assert await column(store, schema.exchanges, "gone_at") == {1: None, 2: None}


async def test_a_gone_row_that_cannot_be_read_has_returned(store: MirrorStore) -> None:
    """The site lists it again, although nobody can say how it is now."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1), backfill=True))
    await store.commit(place, reading())
    await store.end_pass(place, PROVEN, "{}", believe=True, first=None)
    odd = UnreadableRow(1, exchange(1).time, (("amount_give", "'x'"),), "d1")
    [change] = (await store.commit(place, reading(unreadable=[odd]))).changes
    assert (change.kind, change.record, change.fields) == ("returned", exchange(1), ())
    assert await store.rows(place.account, "exchanges", None, None) == [exchange(1)]


async def test_rows_beside_their_window(store: MirrorStore) -> None:
    """A row that is listed, readable or not, is there, wherever the window begins and ends."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1), exchange(2), backfill=True))
    later, odd = PROVEN + MINUTE, UnreadableRow(2, None, (("time", "'x'"),), "d1")
    hour = {"start": NOON + 60 * MINUTE, "end": None, "proven_at": later}
    commit = await store.commit(place, reading(exchange(1), unreadable=[odd], **hour))
    assert (commit.changes, commit.written) == ((), 0)
    assert await column(store, schema.exchanges, "last_seen") == {1: later, 2: later}
    assert await column(store, schema.exchanges, "missing_since") == {1: None, 2: None}


async def test_unreadable_rows_of_no_known_time(store: MirrorStore) -> None:
    """They are forgotten when all there is has been read without meeting them, and not before."""
    place = await place_of(store)
    odd = UnreadableRow(None, None, (("id", "'x'"), ("time", "'x'")), "d1")
    await store.commit(place, reading(unreadable=[odd], start=None))
    later = PROVEN + MINUTE
    await store.commit(place, reading(proven_at=later))
    await store.end_pass(place, later, "{}", believe=True, first=NOON)
    assert await count(store, schema.unreadable) == 1
    await store.end_pass(place, later, "{}", believe=True, first=None)
    assert await count(store, schema.unreadable) == 0


async def test_a_status_that_came_back_with_its_row(store: MirrorStore) -> None:
    """A row that returns with another status has changed it, although nobody saw when."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1), backfill=True))
    await store.commit(place, reading())
    await store.end_pass(place, PROVEN, "{}", believe=True, first=None)
    later = PROVEN + MINUTE
    await store.commit(place, reading(exchange(1, status="success"), proven_at=later))
    assert await column(store, schema.status_changes, "time") == {1: later}
    assert await column(store, schema.status_changes, "previous") == {1: "new"}


async def test_rows_before_the_pass_are_not_gone(store: MirrorStore) -> None:
    """What an earlier pass has missed and this one has not read is not taken for gone."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1), exchange(30), backfill=True))
    await store.commit(place, reading())
    half = NOON + 20 * MINUTE
    await store.commit(place, reading(start=half, proven_at=PROVEN + MINUTE))
    ended = await store.end_pass(place, PROVEN + MINUTE, "{}", believe=True, first=half)
    assert [one.id for one in ended.changes] == [30]


async def test_when_a_missing_row_was_there_last(store: MirrorStore) -> None:
    """Passes that do not meet it note since when, and leave when it was seen last."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1), exchange(2), backfill=True))
    for passes in (1, 2):
        at = PROVEN + passes * MINUTE
        await store.commit(place, reading(exchange(2), proven_at=at))
    last, since = PROVEN + 2 * MINUTE, PROVEN + MINUTE
    assert await column(store, schema.exchanges, "last_seen") == {1: PROVEN, 2: last}
    assert await column(store, schema.exchanges, "missing_since") == {1: since, 2: None}
    await store.commit(place, reading(exchange(1), exchange(2), proven_at=last))
    assert await column(store, schema.exchanges, "last_seen") == {1: last, 2: last}
    assert await column(store, schema.exchanges, "missing_since") == {1: None, 2: None}


async def test_unreadable_rows(store: MirrorStore) -> None:
    """A row that cannot be read is kept by its digest; what the mirror has of it stays."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1), exchange(2), exchange(3), backfill=True))
    odd = UnreadableRow(2, exchange(2).time, (("amount_give", "'x'"),), "d1")
    await store.commit(place, reading(exchange(1), unreadable=[odd]))
    assert await column(store, schema.exchanges, "missing_since") == {1: None, 2: None, 3: PROVEN}
    assert await column(store, schema.unreadable, "problems") == {2: [["amount_give", "'x'"]]}
    other = evolve(odd, digest="d2")
    await store.commit(place, reading(exchange(1), unreadable=[other]))
    assert await column(store, schema.unreadable, "digest") == {2: "d2"}
    await store.commit(place, reading(exchange(1), exchange(2)))
    assert await count(store, schema.unreadable) == 0


async def test_a_row_without_an_id_may_be_any(store: MirrorStore) -> None:
    """Where a row is listed whose id cannot be read, none of the window is taken as missing."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1), exchange(2), backfill=True))
    await store.commit(place, reading(exchange(1)))
    nameless = UnreadableRow(None, exchange(2).time, (("id", "'x'"),), "d1")
    await store.commit(place, reading(exchange(1), unreadable=[nameless]))
    assert await column(store, schema.exchanges, "missing_since") == {1: None, 2: None}
    assert (await store.end_pass(place, PROVEN, "{}", believe=True, first=None)).changes == ()
    await store.commit(place, reading(exchange(1)))  # no longer met
    assert await count(store, schema.unreadable) == 0


async def test_the_fence(store: MirrorStore) -> None:
    """Who has lost the account commits nothing, and says so."""
    mine, other = await place_of(store), await place_of(store)
    await store.commit(other, reading(exchange(1), document='{"at": 1}'))
    with pytest.raises(MirrorConflict, match="another process has written exchanges of site") as e:
        await store.commit(mine, reading(exchange(2)))
    assert e.value.account == ACCOUNT.name
    for refused in (
        store.save(mine, "{}"),
        store.end_pass(mine, PROVEN, "{}", believe=True, first=None),
        store.deliver(mine, 1),
    ):
        with pytest.raises(MirrorConflict):
            await refused
    assert await store.rows(mine.account, "exchanges", None, None) == [exchange(1)]
    again = await place_of(store)
    assert (again.version, again.document) == (other.version, '{"at": 1}')
    await store.commit(again, reading(exchange(1), exchange(2)))
    assert await count(store, schema.changes) == 2


async def test_coverage_is_what_was_proven(store: MirrorStore) -> None:
    """Windows of a pass grow together; a later pass counts from then on where it has read."""
    place, hour = await place_of(store), timedelta(hours=1)
    await store.commit(place, reading(start=None, end=NOON))
    await store.commit(place, reading())
    await store.commit(place, reading(start=NOON + hour, end=None))
    later = PROVEN + MINUTE
    await store.commit(place, reading(start=NOON + hour, end=NOON + 2 * hour, proven_at=later))
    table = schema.coverage.c
    async with store.connect() as connection:
        rows = (
            await connection.execute(
                select(table.start, table.end, table.proven_at).order_by(table.end)
            )
        ).all()
    assert [tuple(row) for row in rows] == [
        (None, NOON + hour, PROVEN),
        (NOON + hour, NOON + 2 * hour, later),
        (NOON + 2 * hour, PROVEN, PROVEN),
    ]


async def test_statuses_are_kept(store: MirrorStore) -> None:
    """Each status that was seen stays, with when; and what the site tells, though it empties it."""
    place = await place_of(store)
    await store.commit(place, reading(exchange(1), exchange(2), backfill=True))
    moved, hidden = exchange(1, minute=9, status="payed"), exchange(2, status="success")
    await store.commit(place, reading(moved, hidden))
    told = exchange(3, statuses=(StatusChange(NOON, "new"), StatusChange(NOON + MINUTE, "payed")))
    await store.commit(place, reading(moved, hidden, told, history=True))
    again = await store.commit(place, reading(moved, hidden, exchange(3), history=True))
    assert again.changes == ()
    table = schema.status_changes.c
    async with store.connect() as connection:
        question = select(table.id, table.time, table.status, table.previous)
        rows = (await connection.execute(question.order_by(table.id, table.time))).all()
    assert [tuple(row) for row in rows] == [
        (1, moved.time, "payed", "new"),
        (2, PROVEN, "success", "new"),
        (3, NOON, "new", None),
        (3, NOON + MINUTE, "payed", "new"),
    ]


async def test_changes_are_delivered_once(store: MirrorStore) -> None:
    """What follow has delivered is noted, and does not come again."""
    place = await place_of(store)
    commit = await store.commit(place, reading(*map(exchange, range(1, 6))))
    waiting = await store.undelivered(place, 3)
    assert tuple(waiting) == commit.changes[:3]
    await store.deliver(place, int(waiting[2].cursor.partition(".")[2]))
    again = await place_of(store)
    assert again.delivered == place.delivered
    assert tuple(await store.undelivered(again, 10)) == commit.changes[3:]


async def test_info_is_kept_when_it_changes(store: MirrorStore) -> None:
    """A balance that moved is a change and a row; a rate that moved is none."""
    place = await place_of(store, "info")
    method = PayoutMethod(1, "Card", Decimal(2), Decimal("99.10"))
    info = Info(Decimal("10.00"), Decimal(5), (method,), 77, {"level": Decimal("1.5")})
    [new] = (await store.commit_info(place, info, PROVEN, "{}")).changes
    assert (new.kind, new.record, new.id) == ("new", info, None)
    rates = evolve(info, items=(evolve(method, amount=Decimal(98)),))
    assert (await store.commit_info(place, rates, PROVEN, "{}")).changes == ()
    paid = evolve(rates, balance=Decimal(0))
    [change] = (await store.commit_info(place, paid, PROVEN + MINUTE, "{}")).changes
    assert (change.kind, change.previous, change.fields) == ("changed", info, ("balance",))
    assert await store.undelivered(place, 9) == [new, change]
    table = schema.balances.c
    async with store.connect() as connection:
        rows = (await connection.execute(select(table.balance, table["items"], table.extra))).all()
    assert [row.balance for row in rows] == [Decimal("10.00"), Decimal(0)]
    assert rows[0][1] == [
        {"id": 1, "title": "Card", "commission": 2, "amount": Decimal("99.10"), "extra": {}}
    ]
    assert rows[0].extra == {"level": Decimal("1.5")}


async def test_a_renamed_or_moved_account_keeps_its_rows(store: MirrorStore) -> None:
    """An account is found by its name, or by its url and key; another one is another."""
    number = await store.account(ACCOUNT)
    key = ACCOUNT.api_key
    assert await store.account(Account("https://site.example", key, name="shop")) == number
    assert (
        await store.account(Account("https://moved.example", "other-key-1234567", name="shop"))
        == number
    )
    assert (
        await store.account(Account("https://moved.example", "other-key-1234567", name="new"))
        == number
    )
    other = await store.account(Account("https://site.example", "a-key-of-another-one"))
    assert other != number
    async with store.connect() as connection:
        names = (await connection.scalars(select(schema.accounts.c.name).order_by("name"))).all()
    assert names == ["new", "site.example"]


async def test_two_accounts_in_one_are_refused(store: MirrorStore) -> None:
    """Where name and key are of two accounts, nothing is guessed."""
    await store.account(Account("https://one.example", "key-of-the-first-one", name="one"))
    await store.account(Account("https://two.example", "key-of-the-second-one", name="two"))
    with pytest.raises(StateError, match="is two accounts of the mirror, one and two"):
        await store.account(Account("https://two.example", "key-of-the-second-one", name="one"))
    await store.account(ACCOUNT)
    with pytest.raises(StateError, match="has another account called site"):
        await store.account(Account("https://site.example", "a-key-of-another-one"))
