"""The driver of a mirror's SQLite file: what SQLAlchemy sees of it is as with aiosqlite's own."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from ppapi_async import StateError
from ppapi_async.mirror.database import MirrorDatabase, parse_url
from ppapi_async.mirror.sqlite_driver import QuickConnection

NUMBERS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[QuickConnection]:
    """Give a connection to an empty file."""
    path = tmp_path / "quick.db"
    opened = QuickConnection(lambda: sqlite3.connect(path, isolation_level=None))
    async with opened:
        yield opened


def another(tmp_path: Path, sql: str) -> object:
    """Let somebody else do something, who does not wait."""
    looking = sqlite3.connect(tmp_path / "quick.db", timeout=0, isolation_level=None)
    try:
        return looking.execute(sql).fetchone()
    finally:
        looking.close()


@pytest.mark.parametrize("rows", [0, 1, 199, 200, 201, 401])
async def test_all_rows_come_however_they_are_fetched(
    connection: QuickConnection, rows: int
) -> None:
    """One by one, in pieces of any size, or all; each once, and none after the last."""
    sql, expected = (
        f"{NUMBERS.format(rows + 1)} SELECT i FROM n LIMIT -1 OFFSET 1",
        [(number,) for number in range(2, rows + 2)],
    )
    async with await connection.cursor() as cursor:
        await cursor.execute(sql)
        assert await cursor.fetchall() == expected
        assert await cursor.fetchall() == []
        await cursor.execute(sql)
        pieces = [await cursor.fetchmany(size) for size in (1, 150, 150, 150)]
        assert [row for piece in pieces for row in piece] == expected[:451]
        await cursor.execute(sql)
        assert [await cursor.fetchone() for _ in range(rows + 1)] == [*expected, None]
        await cursor.execute(sql)
        await cursor.fetchmany()
        assert await cursor.fetchall() == expected[1:]


@pytest.mark.untraced
async def test_what_was_written_is_counted(connection: QuickConnection) -> None:
    """As SQLAlchemy asks for it, also with RETURNING, whose rows come with the count."""
    cursor = connection.cursor()
    await cursor.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    await cursor.executemany("INSERT INTO t (b) VALUES (?)", [(one,) for one in range(300)])
    assert (cursor.rowcount, cursor.description) == (300, None)
    await cursor.execute("INSERT INTO t (b) VALUES (?)", ("last",))
    assert (cursor.rowcount, cursor.lastrowid) == (1, 301)
    await cursor.execute("UPDATE t SET b = b RETURNING a")
    assert len(await cursor.fetchall()) == 301
    assert cursor.rowcount == 301
    assert cursor.description is not None
    await cursor.close()


async def test_who_gives_up_on_a_statement_can_roll_it_back(
    connection: QuickConnection, tmp_path: Path
) -> None:
    """One that waits for the thread has its BEGIN with it; by itself it would be kept for good."""
    cursor = connection.cursor()
    await cursor.execute("CREATE TABLE t (a)")
    gate = threading.Event()

    def hold() -> None:
        gate.wait(10)

    held = asyncio.ensure_future(connection.work(hold))
    await cursor.execute("BEGIN")
    writing = asyncio.ensure_future(cursor.execute("INSERT INTO t VALUES (1)"))
    await asyncio.sleep(0)
    writing.cancel()
    rolling = asyncio.ensure_future(connection.rollback())
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wait([held, writing, rolling])
    assert another(tmp_path, "SELECT count(*) FROM t") == (0,)


async def test_a_begin_is_there_before_the_next_statement(
    connection: QuickConnection, tmp_path: Path
) -> None:
    """Until then nothing is locked; what follows it is kept or undone as a whole."""
    cursor = connection.cursor()
    await cursor.execute("CREATE TABLE t (a)")
    for end, kept in ((connection.rollback, 0), (connection.commit, 2)):
        await cursor.execute("BEGIN IMMEDIATE")
        assert not connection.in_transaction
        await cursor.execute("INSERT INTO t VALUES (1)")
        await cursor.executemany("INSERT INTO t VALUES (?)", [(2,)])
        assert connection.in_transaction
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            another(tmp_path, "BEGIN IMMEDIATE")
        await end()
        assert another(tmp_path, "SELECT count(*) FROM t") == (kept,)
    for end in (connection.rollback, connection.commit):
        await cursor.execute("BEGIN IMMEDIATE")
        await end()
        await cursor.execute("SELECT 1")
        assert not connection.in_transaction


async def test_a_cursor_with_rows_left_can_be_closed_and_used_again(
    connection: QuickConnection,
) -> None:
    """Nothing of the former statement comes with the next one, and no lock is left."""
    cursor = connection.cursor()
    await cursor.execute(f"{NUMBERS.format(1000)} SELECT i FROM n")
    await cursor.fetchmany(10)
    await cursor.execute("SELECT 'next'")
    assert await cursor.fetchall() == [("next",)]
    await cursor.execute(f"{NUMBERS.format(1000)} SELECT i FROM n")
    await cursor.close()
    await cursor.close()
    await cursor.execute("CREATE TABLE t (a)")


async def test_a_lock_of_another_is_an_error_and_then_it_goes_on(tmp_path: Path) -> None:
    """The BEGIN that fails belongs to the statement; nothing of it is there later."""
    path = tmp_path / "mirror.db"
    database = await MirrorDatabase.open(parse_url(f"sqlite:///{path}"))
    async with database.connect() as connection:
        await connection.execute(text("PRAGMA busy_timeout = 0"))
    holding = sqlite3.connect(path, isolation_level=None)
    holding.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        with pytest.raises(StateError, match="another process writes to it: try again"):
            async with database.connect(writes=True) as connection:
                await connection.execute(text("CREATE TABLE t (a)"))
    holding.close()
    async with database.connect(writes=True) as connection:
        await connection.execute(text("CREATE TABLE t (a)"))
        await connection.commit()
    await database.aclose()
