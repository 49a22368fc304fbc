"""A mirror's database opened for reading: what is there, exactly, beside whoever writes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sqlite3
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select, text

from ppapi_async import SQLiteState, StateError
from ppapi_async.mirror import ReadOnlyMirror, schema
from ppapi_async.mirror.read_only import columns_of
from ppapi_async.mirror.store import MirrorStore
from tests.mirror.tables import NOON, connected, put_account, put_exchange, put_payout
from tests.mirror.test_store import ACCOUNT, exchange, place_of, reading

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def filled_url(mirror_url: str) -> str:
    """Give the url of a mirror of two accounts, in both databases."""
    await (await MirrorStore.open(mirror_url)).aclose()
    with connected(mirror_url) as connection:
        put_account(connection, 1, "one")
        put_account(connection, 2, "dva␛")
        put_exchange(connection, 1, "0.000000000001", time=NOON, accrued=True)
        put_exchange(connection, 9, "123456789012345678901234567890.1", time=NOON + 2 * MINUTE)
        put_exchange(connection, 2, "1.50", account=2, time=NOON + MINUTE, gone_at=NOON)
        put_exchange(connection, 1, "2", account=2, time=NOON, extra={"fee": Decimal("0.10")})
        put_payout(connection, 5, "10.00")
    return mirror_url


async def read(url: str, resource: str, *columns: str, **options: object) -> list[object]:
    """Return the rows of a resource."""
    async with ReadOnlyMirror(url) as mirror, mirror.snapshot() as snapshot:
        pieces = snapshot.rows(resource, columns or None, **options)  # type: ignore[arg-type]
        return [row for piece in [piece async for piece in pieces] for row in piece]


async def test_rows_come_in_order_of_time(filled_url: str) -> None:
    """Over all accounts, gone ones too; amounts to the last digit, names as they are."""
    assert await read(filled_url, "exchanges", "partner_reward", "account", "id") == [
        (Decimal("0.000000000001"), "one", 1),
        (Decimal(2), "dva␛", 1),
        (Decimal("1.50"), "dva␛", 2),
        (Decimal("123456789012345678901234567890.1"), "one", 9),
    ]
    assert await read(filled_url, "payouts", "wallet", "time") == [("TX", NOON)]


async def test_values_are_of_their_kinds(filled_url: str) -> None:
    """Flags, instants in UTC, JSON with exact amounts, and None."""
    names = ("accrued", "time", "extra", "gone_at", "status")
    rows = await read(filled_url, "exchanges", *names, start=NOON, end=NOON + 2 * MINUTE)
    assert rows == [
        (True, NOON, None, None, None),
        (False, NOON, {"fee": Decimal("0.10")}, None, None),
        (False, NOON + MINUTE, None, NOON, None),
    ]
    assert str(rows[1][2]["fee"]) == "0.10"  # type: ignore[index]
    time = rows[0][1]  # type: ignore[index]
    assert isinstance(time, datetime)
    assert time.utcoffset() == timedelta()


async def test_rows_are_chosen_by_time_and_account(filled_url: str) -> None:
    """The range is half open; all columns come without a choice."""
    chosen = {"accounts": ["one"], "start": NOON + MINUTE, "end": None}
    [row] = await read(filled_url, "exchanges", **chosen)
    found = dict(zip(columns_of("exchanges"), row, strict=True))  # type: ignore[call-overload]
    assert (found["account"], found["id"], found["currency_code_give"]) == ("one", 9, "BTC")
    assert await read(filled_url, "exchanges", end=NOON) == []
    assert await read(filled_url, "links") == []
    assert await read(filled_url, "exchanges", accounts=[]) == []


async def test_wrong_arguments_are_refused(filled_url: str) -> None:
    """The message says what there is."""
    with pytest.raises(ValueError, match="resource: pass 'links' or"):
        await read(filled_url, "info")
    with pytest.raises(ValueError, match="columns: pass any of account, id, time, "):
        await read(filled_url, "payouts", "account", "password")
    with pytest.raises(KeyError, match="nobody"):
        await read(filled_url, "payouts", accounts=["nobody"])
    mirror = ReadOnlyMirror(filled_url)
    with pytest.raises(RuntimeError, match="is not open"):
        mirror.connect()
    async with mirror:
        with pytest.raises(RuntimeError, match="is open already"):
            await mirror.__aenter__()


@pytest.mark.untraced
async def test_many_rows_come_in_pieces(mirror_url: str) -> None:
    """Rows of one time come by account and id; none is lost between pieces."""
    await (await MirrorStore.open(mirror_url)).aclose()
    with connected(mirror_url) as connection:
        put_account(connection, 1, "one")
        values = {"account": 1, "date": "", "browser": "", "referrer": "", "user_hash": ""}
        values |= {"query_string": "", "first_seen": NOON, "last_seen": NOON}
        rows = [values | {"id": one, "time": NOON - one // 3 * MINUTE} for one in range(5_000)]
        connection.execute(schema.links.insert(), rows)
    async with ReadOnlyMirror(mirror_url) as mirror, mirror.snapshot() as snapshot:
        pieces = [piece async for piece in snapshot.rows("links", ("time", "id"))]
        assert [len(piece) for piece in pieces] == [2_000, 2_000, 1_000]
        found = [row for piece in pieces for row in piece]
        assert found == sorted(found)
        assert len(set(found)) == 5_000
        assert snapshot.accounts == {"one": 1}
        folded: list[object] = []
        await snapshot.fold("SELECT id FROM links WHERE id >= ?", [2_000], folded.extend)
        assert sorted(folded) == [(one,) for one in range(2_000, 5_000)]  # type: ignore[type-var]
        read = snapshot.read("SELECT id FROM links WHERE id > ? AND date LIKE '%' LIMIT 1", [4_998])
        async with contextlib.aclosing(read):
            assert [piece async for piece in read] == [[(4_999,)]]


async def test_nothing_can_be_written(filled_url: str) -> None:
    """The database itself refuses it."""
    async with ReadOnlyMirror(filled_url) as mirror:
        with pytest.raises(StateError, match=r"readonly|read-only"):
            async with mirror.connect() as connection:
                await connection.execute(text("DELETE FROM exchanges"))
        with pytest.raises(StateError, match=r"readonly|syntax error"):  # no cursor deletes
            async with mirror.snapshot() as snapshot:
                [piece async for piece in snapshot.read("DELETE FROM exchanges RETURNING id")]
    assert len(await read(filled_url, "exchanges", "id")) == 4


async def test_a_query_that_fails(filled_url: str) -> None:
    """It is a StateError, and errors of the consumer's own stay what they are."""
    async with ReadOnlyMirror(filled_url) as mirror:
        with pytest.raises(StateError, match="nothing_of_this_name") as caught:
            async with mirror.snapshot() as snapshot:
                [piece async for piece in snapshot.read("SELECT * FROM nothing_of_this_name")]
        assert caught.value.__context__ is caught.value.__cause__ is None
        with pytest.raises(OSError, match="my disk is full"):
            async with mirror.snapshot():
                raise OSError("my disk is full")
        with pytest.raises(ZeroDivisionError):
            async with mirror.snapshot() as snapshot:
                await snapshot.fold("SELECT 1", (), lambda rows: len(rows) / 0)
        async with mirror.snapshot() as snapshot:  # it goes on
            async for piece in snapshot.rows("exchanges", ("id",)):
                assert len(piece) == 4
                break


async def test_all_is_of_one_moment(mirror_url: str) -> None:
    """A mirror that writes meanwhile neither waits nor shows."""
    store = await MirrorStore.open(mirror_url)
    place = await place_of(store)
    await store.commit(place, reading(exchange(1)))
    async with ReadOnlyMirror(mirror_url) as mirror, mirror.snapshot() as snapshot:
        await asyncio.wait_for(store.commit(place, reading(exchange(1), exchange(2))), 20)
        first = [piece async for piece in snapshot.rows("exchanges", ("id",))]
        async with mirror.connect() as connection:
            now = await connection.scalars(select(schema.exchanges.c.id))
            assert sorted(now) == [1, 2]
    assert first == [[(1,)]]
    await store.aclose()


@pytest.mark.untraced
async def test_a_snapshot_may_outlive_the_mirror(filled_url: str) -> None:
    """Nothing stays open when it is left, too."""
    async with contextlib.AsyncExitStack() as stack:
        async with ReadOnlyMirror(filled_url) as mirror:
            snapshot = await stack.enter_async_context(mirror.snapshot())
        assert [len(piece) async for piece in snapshot.rows("payouts")] == [1]
    del snapshot, stack
    gc.collect()


@pytest.mark.untraced
async def test_a_reading_is_cancelled(filled_url: str) -> None:
    """A statement under way is broken off in silence, and the database can be read again."""
    troubles: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, trouble: troubles.append(trouble))
    long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n"
    async with ReadOnlyMirror(filled_url) as mirror:

        async def count_for_ever() -> None:
            async with mirror.snapshot() as snapshot:
                [piece async for piece in snapshot.read(long)]

        task = asyncio.create_task(count_for_ever())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
        async with mirror.snapshot() as snapshot:
            assert [len(piece) async for piece in snapshot.rows("payouts")] == [1]
    del task
    gc.collect()
    assert troubles == []


async def test_without_a_file(tmp_path: Path) -> None:
    """It is said so, and none is made."""
    with pytest.raises(StateError, match="there is no such file; make one with sync"):
        async with ReadOnlyMirror(f"sqlite:///{tmp_path}/none.db"):
            pass
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - a test may


async def test_a_file_without_tables(tmp_path: Path) -> None:
    """An empty file, and one of another program, are no mirrors; they stay as they are."""
    for name in ("empty.db", "other.db"):
        (tmp_path / name).touch()
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE exchanges (id)")
    for name in ("empty.db", "other.db"):
        before = (tmp_path / name).read_bytes()
        no_tables, foreign = (
            r"has no tables, .*bring it up to date with sync",
            "of another application",
        )
        with pytest.raises(StateError, match=no_tables if name == "empty.db" else foreign):
            async with ReadOnlyMirror(f"sqlite:///{tmp_path / name}"):
                pass
        assert (tmp_path / name).read_bytes() == before


async def test_a_state_of_watches_is_no_mirror(tmp_path: Path) -> None:
    """The file of `SQLiteState` is told apart."""
    path = tmp_path / "state.db"
    async with SQLiteState(path) as state:
        await state.save("watch", {"a": "b"})
    with pytest.raises(StateError, match="is a state of watches, no mirror"):
        async with ReadOnlyMirror(f"sqlite:///{path}"):
            pass


async def test_another_version_is_refused(filled_url: str) -> None:
    """A later one needs another ppapi_async, and an earlier one a migration."""
    for version, message in (("9999", "upgrade ppapi_async"), (None, "bring it up to date")):
        with connected(filled_url) as connection:
            connection.execute(text("DELETE FROM ppapi_mirror_version"))
            if version:
                insert = text("INSERT INTO ppapi_mirror_version VALUES (:version)")
                connection.execute(insert, {"version": version})
        with pytest.raises(StateError, match=message):
            async with ReadOnlyMirror(filled_url):
                pass


async def test_a_server_that_cannot_be_reached() -> None:
    """The password is not in the error, nor in what the mirror shows itself as."""
    mirror = ReadOnlyMirror("postgresql://user:secret-word@127.0.0.1:1/database")
    with pytest.raises(StateError, match="look whether the server runs") as caught:
        await mirror.__aenter__()
    assert "secret-word" not in repr(mirror) + str(caught.value)


async def test_exact_sums_by_sql(tmp_path: Path) -> None:
    """`decimal_sum` is there, as on a mirror's own connections."""
    url = f"sqlite:///{tmp_path / 'mirror.db'}"
    store = await MirrorStore.open(url)
    key = await store.place(await store.account(ACCOUNT), ACCOUNT.name, "exchanges")
    await store.commit(key, reading(exchange(1), exchange(2)))
    await store.aclose()
    async with ReadOnlyMirror(url) as mirror, mirror.connect() as connection:
        assert (
            await connection.scalar(text("SELECT decimal_sum(partner_reward) FROM exchanges"))
            == "3.00"
        )


async def test_stored_values_are_those_of_the_database(filled_url: str) -> None:
    """As they stand there, for who writes texts of them; the account's name as it is."""
    chosen = ("account", "partner_reward", "time", "extra", "accrued")
    rows = await read(filled_url, "exchanges", *chosen, end=NOON + MINUTE, stored=True)
    of_sqlite = ("dva␛", "2", "2026-01-31 12:00:00.000000", '{"fee":0.10}', 0)
    of_postgres = ("dva␛", Decimal(2), NOON, '{"fee":0.10}', False)
    assert rows[1] == (of_sqlite if filled_url.startswith("sqlite") else of_postgres)
