"""aiosqlite that goes to the connection's thread once for a statement, instead of four times.

Each way there and back costs more than a small statement itself: the event loop is woken up, and
Python's lock changes hands. So a statement is run, its first rows are fetched and its cursor is
closed in one go, and the BEGIN before it, too: SQLite locks nothing sooner than that.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Self, TypeAlias

import aiosqlite

__all__ = ["QuickConnection"]

_AT_ONCE = 200
"""Rows that are fetched with the statement."""
_Row: TypeAlias = tuple[object, ...]


class _QuickCursor:
    """What SQLAlchemy uses of a cursor. It is made without the thread."""

    def __init__(self, connection: QuickConnection) -> None:
        self._connection = connection
        self._open: sqlite3.Cursor | None = None
        """The cursor in the thread, while it has rows that were not fetched."""
        self._rows: deque[_Row] = deque()
        self.description: Sequence[_Row] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    def __await__(self) -> Generator[None, None, Self]:  # SQLAlchemy 2.0
        yield from ()
        return self

    async def __aenter__(self) -> Self:  # SQLAlchemy 2.1
        return self

    async def execute(self, sql: str, parameters: Iterable[object] = ()) -> Self:
        """Run a statement and fetch its first rows. A BEGIN waits for what comes after it."""
        if sql.startswith("BEGIN"):
            self._connection.begin = sql
            return self
        begin = self._connection.take_begin()
        await self._connection.work(partial(self._execute, begin, sql, parameters))
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[object]]) -> Self:
        """Run a statement for each of these parameters."""
        begin = self._connection.take_begin()
        await self._connection.work(partial(self._executemany, begin, sql, parameters))
        return self

    async def fetchone(self) -> _Row | None:
        """Return the next row, None where there is none."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> list[_Row]:
        """Return the next rows."""
        size = self.arraysize if size is None else size
        if self._open is not None and len(self._rows) < size:
            await self._connection.work(partial(self._fetch, size - len(self._rows)))
        return [self._rows.popleft() for _ in range(min(size, len(self._rows)))]

    async def fetchall(self) -> list[_Row]:
        """Return all rows that are left."""
        if self._open is not None:
            await self._connection.work(partial(self._fetch, None))
        rows = list(self._rows)
        self._rows.clear()
        return rows

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Fetch no more."""
        if self._open is not None:
            await self._connection.work(self._close)

    # In the thread

    def _cursor(self, begin: str | None) -> sqlite3.Cursor:
        self._close()
        self._rows.clear()
        self._open = cursor = self._connection.raw.cursor()
        if begin is not None:
            cursor.execute(begin)
        return cursor

    def _execute(self, begin: str | None, sql: str, parameters: Iterable[object]) -> None:
        cursor = self._cursor(begin)
        cursor.execute(sql, tuple(parameters))
        self.description, self.lastrowid = cursor.description, cursor.lastrowid
        self._fetch(_AT_ONCE)

    def _executemany(
        self, begin: str | None, sql: str, parameters: Iterable[Iterable[object]]
    ) -> None:
        cursor = self._cursor(begin)
        cursor.executemany(sql, [tuple(one) for one in parameters])
        self.description, self.lastrowid = None, cursor.lastrowid
        self.rowcount = cursor.rowcount
        self._close()

    def _fetch(self, size: int | None) -> None:
        cursor = self._open
        if cursor is None:
            return
        rows = cursor.fetchall() if size is None else cursor.fetchmany(size)
        self._rows.extend(rows)
        self.rowcount = cursor.rowcount  # known once all rows were fetched
        if size is None or len(rows) < size:
            self._close()

    def _close(self) -> None:
        cursor, self._open = self._open, None
        if cursor is not None:
            cursor.close()


class QuickConnection(aiosqlite.Connection):
    """A connection whose cursors are such.

    Args:
        connector: makes the connection, in its thread.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=_AT_ONCE)
        self.begin: str | None = None
        """The BEGIN that comes before the next statement."""
        # As SQLAlchemy has it: a connection that nobody closed does not keep the process from its
        # end. Before aiosqlite 0.22 the connection is the thread.
        thread: threading.Thread = getattr(self, "_thread", self)  # type: ignore[arg-type]
        thread.daemon = True

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection, for use in its thread."""
        return self._conn

    def cursor(self) -> _QuickCursor:  # type: ignore[override]
        """Return a new cursor."""
        return _QuickCursor(self)

    async def commit(self) -> None:
        """Commit, where something was begun."""
        if self.begin is None:
            await super().commit()
        self.begin = None

    async def rollback(self) -> None:
        """Roll back, where something was begun."""
        if self.begin is None:
            await super().rollback()
        self.begin = None

    def take_begin(self) -> str | None:
        """Return the BEGIN that is still to come; whoever takes it has it run.

        Taken in the event loop, before the statement waits for the thread: who rolls back after a
        cancellation has to know then that there is something to roll back, or what the statement
        begins would stay open.
        """
        begin, self.begin = self.begin, None
        return begin

    async def work(self, work: Callable[[], None]) -> None:
        """Do some work in the thread."""
        await self._execute(work)  # type: ignore[no-untyped-call]
