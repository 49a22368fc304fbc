"""A mirror's database, opened for reading: without accounts, and beside whoever writes it.

`ReadOnlyMirror` is the way in for programs that only look: they name the database, ask no site and
need no keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from itertools import count, islice
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, TypeVar, cast

from attrs import define, field, frozen
from sqlalchemy import Boolean, Column, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from ppapi_async._validation import Instant, check_one_of, instant, names_of
from ppapi_async.mirror.database import MirrorDatabase, connect_to_read, parse_url, shown
from ppapi_async.mirror.schema import ROWS
from ppapi_async.mirror.types import (
    EscapedText,
    JsonText,
    Money,
    instant_of,
    instant_text,
    load_json,
    unescape,
)
from ppapi_async.mirror.types import Instant as InstantColumn
from ppapi_async.transport.closing import wait_until_done

if TYPE_CHECKING:
    import psycopg  # only who uses PostgreSQL has it

__all__ = ["MirrorQuery", "MirrorSnapshot", "ReadOnlyMirror", "Values", "columns_of"]

T = TypeVar("T")
Values: TypeAlias = tuple[object, ...]
Convert: TypeAlias = Callable[[object], object]
_PIECE = 2_000
"""Rows that are handed out at once: what comes of them in Python takes some milliseconds."""


class ReadOnlyMirror:
    """A mirror's database, for programs that only read it.

    No account and no key is needed, no site is asked, and nothing is written: SQLite and PostgreSQL
    refuse it. A `Mirror` may write all the while, and neither waits for the other.

    Args:
        url: "sqlite:///partner.db", or "postgresql://user@host/name", as for `Mirror`.

    Raises:
        ValueError: the url is not usable.
        TypeError: the same.

    >>> async with (
    ...     ReadOnlyMirror("sqlite:///partner.db") as mirror,
    ...     mirror.snapshot() as snapshot,
    ... ):
    ...     async for piece in snapshot.rows("payouts", ("account", "time", "status")):
    ...         for account, time, status in piece:
    ...             print(account, time, status)                         # doctest: +SKIP
    """

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self._database: MirrorDatabase | None = None

    def __repr__(self) -> str:
        return f"<ReadOnlyMirror {shown(self._url)}>"

    async def __aenter__(self) -> Self:
        """Open the database.

        Raises:
            StateError: there is none, it cannot be reached, it is no mirror's, or of another
                version than this one.
            RuntimeError: it is open already.
        """
        if self._database is not None:
            raise RuntimeError("the mirror is open already")
        self._database = await MirrorDatabase.open_to_read(self._url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        database, self._database = self._database, None
        if database is not None:
            await database.aclose()

    def connect(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Lend a connection for SQLAlchemy's statements; see `ppapi_async.mirror.schema`.

        All that is read on it is of one moment. In SQLite it has the aggregate `decimal_sum`.

        Raises:
            RuntimeError: the database is not open.
            StateError: on entering, the database cannot be reached; inside, a query failed.
        """
        return self._opened.connect()

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[MirrorSnapshot]:
        """Lend what reads many rows, all of one moment; use it in one task.

        Raises:
            RuntimeError: the database is not open.
            StateError: on entering, the database cannot be reached; while reading, a query failed.
        """
        database = self._opened
        if database.is_sqlite:
            with database.telling():
                connection = connect_to_read(self._url)
            try:
                connection.execute("BEGIN")
                yield await MirrorSnapshot.of(_SqliteReader(database, connection))
            finally:
                connection.close()
            return
        with database.telling():
            lent = await database.take()
        try:
            with database.telling():
                raw = await lent.get_raw_connection()
            driver = cast("psycopg.AsyncConnection", raw.driver_connection)
            yield await MirrorSnapshot.of(_PostgresReader(database, driver))
        except BaseException:
            await lent.invalidate()  # a statement may be under way
            raise
        finally:
            await database.give_back(lent)

    def select(
        self,
        resource: str,
        columns: Sequence[str] | None = None,
        *,
        start: Instant = None,
        end: Instant = None,
        accounts: Collection[str] | None = None,
        gone: bool = False,
    ) -> MirrorQuery:
        """Choose rows, which `ppapi_async.arrow.to_arrow` makes a table of.

        Args:
            resource: "links", "exchanges" or "payouts".
            columns: the names of those that are wanted, in this order; None: all, `account` and
                `id` first.
            start: rows from then on; None: from the beginning.
            end: rows before it; None: all.
            accounts: only of these names.
            gone: have those, too, that the site lists no more.

        Raises:
            ValueError: an argument is not usable.
            TypeError: the same.
        """
        known = tuple(name for name in columns_of(resource))
        wanted = known if columns is None else tuple(columns)
        if not wanted or not set(wanted) <= set(known):
            raise ValueError(f"columns: pass any of {', '.join(known)}")
        bounds = instant(start, "start"), instant(end, "end")
        names = names_of(accounts, "accounts")
        return MirrorQuery(self, resource, wanted, bounds, names, gone)

    @property
    def _opened(self) -> MirrorDatabase:
        if self._database is None:
            raise RuntimeError("the mirror is not open; use it in `async with ReadOnlyMirror(…)`")
        return self._database


def columns_of(resource: str) -> tuple[str, ...]:
    """Return the names of the columns that `MirrorSnapshot.rows` has, in their order.

    `account` is the account's name; `id` and all others are as in the table of that name, see
    `ppapi_async.mirror.schema` (a payout's account is `wallet`).

    Raises:
        ValueError: it is none of links, exchanges and payouts.
        TypeError: it is no str.
    """
    check_one_of(resource, tuple(ROWS), "resource")
    return tuple(ROWS[resource].columns.keys())


@frozen(eq=False)
class MirrorQuery:
    """Rows of a mirror, chosen but not read."""

    _mirror: ReadOnlyMirror
    resource: str
    columns: Sequence[str]
    _bounds: tuple[datetime | None, datetime | None]
    _accounts: Collection[str] | None
    _gone: bool

    async def pieces(self) -> AsyncGenerator[list[Values], None]:
        """Read the rows in order of their time, all of one moment, see `MirrorSnapshot.rows`.

        Raises:
            RuntimeError: the mirror is not open.
            StateError: the database could not be read.
            KeyError: there is no account of a name.
        """
        start, end = self._bounds
        read = self.columns if self._gone else (*self.columns, "gone_at")
        async with self._mirror.snapshot() as snapshot:
            rows = snapshot.rows(self.resource, read, start=start, end=end, accounts=self._accounts)
            async with contextlib.aclosing(rows):
                async for piece in rows:
                    kept = piece if self._gone else [row[:-1] for row in piece if row[-1] is None]
                    if kept:
                        yield kept


@define(eq=False)
class MirrorSnapshot:
    """A mirror as it is at one moment."""

    _reader: _SqliteReader | _PostgresReader
    accounts: dict[str, int] = field(factory=dict)
    """The numbers of the accounts, by name."""

    @classmethod
    async def of(cls, reader: _SqliteReader | _PostgresReader) -> MirrorSnapshot:
        """Return the snapshot that a connection sees."""
        snapshot = cls(reader)
        async for piece in snapshot.read("SELECT name, account FROM accounts ORDER BY name"):
            snapshot.accounts |= {unescape(cast("str", name)): key for name, key in piece}  # type: ignore[misc] # a number
        return snapshot

    @property
    def is_sqlite(self) -> bool:
        """Which of the two it is."""
        return isinstance(self._reader, _SqliteReader)

    def read(
        self, sql: str, parameters: Sequence[object] = ()
    ) -> AsyncGenerator[list[Values], None]:
        """Read what a statement of your own finds, in pieces, as the driver hands values out.

        Args:
            sql: the statement, with `?` for each parameter.
            parameters: their values.
        """
        return self._reader.read(sql, parameters)

    async def fold(
        self,
        sql: str,
        parameters: Sequence[object],
        work: Callable[[list[Values]], object],
    ) -> None:
        """Call a function with each piece of what a statement finds; see `read`.

        With SQLite it is called in the thread that reads, one piece after the other: what is made
        of millions of rows then neither holds the event loop nor goes from processor to processor.
        """
        await self._reader.fold(sql, parameters, work)

    async def rows(
        self,
        resource: str,
        columns: Sequence[str] | None = None,
        *,
        start: Instant = None,
        end: Instant = None,
        accounts: Collection[str] | None = None,
        stored: bool = False,
    ) -> AsyncGenerator[list[Values], None]:
        """Read rows in order of their time, in pieces, with little memory.

        Rows that are gone are among them; `gone_at` tells. Amounts are exact Decimals, instants
        are aware and in UTC, flags are bools, `extra` is JSON as in records. Texts are as the site
        sent them, and hostile.

        Args:
            resource: "links", "exchanges" or "payouts".
            columns: the names of those that are wanted, in this order; None: all, see `columns_of`.
            start: rows from then on; None: from the beginning.
            end: rows before it; None: all.
            accounts: only of these names.
            stored: hand values out as this database has them, all but `account`; see
                `ppapi_async.mirror.types`. That is quicker for who writes texts of them.

        Raises:
            ValueError: an argument is not usable.
            TypeError: the same.
            KeyError: there is no account of a name.
        """
        known = columns_of(resource)
        wanted = known if columns is None else tuple(columns)
        if not wanted or not set(wanted) <= set(known):
            raise ValueError(f"columns: pass any of {', '.join(known)}")
        names = names_of(accounts, "accounts")
        numbers = self.accounts if names is None else {one: self.accounts[one] for one in names}
        rows = self._reader.rows(
            ROWS[resource],
            [name for name in wanted if name != "account"],
            tuple(numbers.values()),
            (instant(start, "start"), instant(end, "end")),
        )
        by_number = {number: name for name, number in numbers.items()}
        if stored and wanted[0] == "account":  # nothing stands in another place: one step does it
            async for piece in rows:
                yield [(by_number[cast("int", row[1])], *row[3:]) for row in piece]
            return
        convert = _Conversion.of(
            ROWS[resource], wanted, by_number,
            is_sqlite=self.is_sqlite, stored=stored,
        )  # fmt: skip
        async for piece in rows:
            yield convert(piece)


class _RowReader(Protocol):
    """Reads rows on a connection to one kind of database."""

    def read(self, sql: str, parameters: Sequence[object]) -> AsyncGenerator[list[Values], None]:
        """Read what a statement finds."""

    async def fold(
        self, sql: str, parameters: Sequence[object], work: Callable[[list[Values]], object]
    ) -> None:
        """Call a function with what a statement finds, piece by piece."""

    def rows(
        self,
        table: Table,
        columns: Sequence[str],
        accounts: Sequence[int],
        bounds: tuple[datetime | None, datetime | None],
    ) -> AsyncGenerator[list[Values], None]:
        """Read the rows of a table in order of time, account and id, which come before the rest."""


@define(eq=False)
class _SqliteReader(_RowReader):
    """Reads in threads, one step after the other."""

    _database: MirrorDatabase
    _connection: sqlite3.Connection

    async def read(
        self, sql: str, parameters: Sequence[object]
    ) -> AsyncGenerator[list[Values], None]:
        cursor = await self._in_thread(lambda: self._connection.execute(sql, tuple(parameters)))
        try:
            while piece := await self._in_thread(lambda: cursor.fetchmany(_PIECE)):
                yield piece
        finally:
            cursor.close()

    async def fold(
        self, sql: str, parameters: Sequence[object], work: Callable[[list[Values]], object]
    ) -> None:
        cursor = await self._in_thread(lambda: self._connection.execute(sql, tuple(parameters)))

        def step() -> bool:
            piece = cursor.fetchmany(_PIECE)
            if piece:
                work(piece)
            return bool(piece)

        try:
            while await self._in_thread(step):
                pass
        finally:
            cursor.close()

    async def rows(
        self,
        table: Table,
        columns: Sequence[str],
        accounts: Sequence[int],
        bounds: tuple[datetime | None, datetime | None],
    ) -> AsyncGenerator[list[Values], None]:
        where, times = "", []
        for sign, bound in zip((">=", "<"), bounds, strict=True):
            if bound is not None:
                where += f" AND time {sign} ?"
                times.append(instant_text(bound))
        names = ", ".join(("time", "account", "id", *columns))
        # The rows of each account come by its index, in order. To have SQLite sort all of them
        # would write all of them to the disk first.
        sql = f"SELECT {names} FROM {table.name} WHERE account = ?{where} ORDER BY time, id"  # noqa: S608

        def begin() -> list[Iterator[Values]]:
            return [self._connection.execute(sql, (one, *times)) for one in accounts]

        # Time, account and id stand first, and no two rows have the same: tuples sort themselves.
        merged = heapq.merge(*await self._in_thread(begin))
        while piece := await self._in_thread(lambda: list(islice(merged, _PIECE))):
            yield piece

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do some work on the connection, which is let go by the time that this returns."""
        task = asyncio.create_task(asyncio.to_thread(work))
        # Who is cancelled does not ask what came of it: an error, since it was interrupted.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await wait_until_done([task], self._connection.interrupt)
        with self._database.telling():
            return task.result()


@define(eq=False)
class _PostgresReader(_RowReader):
    """Reads by cursors of the server's."""

    _database: MirrorDatabase
    _connection: psycopg.AsyncConnection
    _numbers: Iterator[int] = field(factory=lambda: count(1))

    async def read(
        self, sql: str, parameters: Sequence[object]
    ) -> AsyncGenerator[list[Values], None]:
        statement = sql.replace("%", "%%").replace("?", "%s").encode()
        name = f"ppapi_{next(self._numbers)}"
        cursor = self._connection.cursor(name)
        try:
            with self._database.telling():
                await cursor.execute(statement, tuple(parameters))
                piece = await cursor.fetchmany(_PIECE)
            while piece:
                yield piece
                with self._database.telling():
                    piece = await cursor.fetchmany(_PIECE)
        finally:
            await cursor.close()

    async def fold(
        self, sql: str, parameters: Sequence[object], work: Callable[[list[Values]], object]
    ) -> None:
        async with contextlib.aclosing(self.read(sql, parameters)) as pieces:
            async for piece in pieces:
                work(piece)

    async def rows(
        self,
        table: Table,
        columns: Sequence[str],
        accounts: Sequence[int],
        bounds: tuple[datetime | None, datetime | None],
    ) -> AsyncGenerator[list[Values], None]:
        where, parameters = "account = ANY(?)", [list(accounts)]
        for sign, bound in zip((">=", "<"), bounds, strict=True):
            if bound is not None:
                where += f" AND time {sign} ?"
                parameters.append(bound)  # type: ignore[arg-type]
        # Drivers would make floats of the amounts in JSON.
        texts = (f"{name}::text" if name == "extra" else name for name in columns)
        names = ", ".join(("time", "account", "id", *texts))
        sql = f"SELECT {names} FROM {table.name} WHERE {where} ORDER BY time, account, id"  # noqa: S608
        async for piece in self.read(sql, parameters):
            yield piece


@frozen(eq=False)
class _Conversion:
    """From what drivers hand out to what the columns mean, column by column."""

    places: tuple[int, ...]
    """Where the wanted columns stand in what was read."""
    ways: tuple[Convert | None, ...]

    @classmethod
    def of(
        cls,
        table: Table,
        wanted: Sequence[str],
        names: dict[int, str],
        *,
        is_sqlite: bool,
        stored: bool,
    ) -> _Conversion:
        """Return how these columns are made."""
        read = [name for name in wanted if name != "account"]
        places = tuple(1 if name == "account" else 3 + read.index(name) for name in wanted)
        ways = [
            None if stored else _way(table.columns[name], is_sqlite=is_sqlite) for name in wanted
        ]
        of_account = cast("Convert", names.__getitem__)
        return cls(
            places,
            tuple(
                of_account if name == "account" else way
                for name, way in zip(wanted, ways, strict=True)
            ),
        )

    def __call__(self, rows: Sequence[Values]) -> list[Values]:
        """Return rows of the wanted columns."""
        read = list(zip(*rows, strict=True))
        made: list[Sequence[object]] = []
        for place, way in zip(self.places, self.ways, strict=True):
            values = read[place]
            if way is not None:
                values = tuple([None if one is None else way(one) for one in values])
            made.append(values)
        return list(zip(*made, strict=True))


def _way(column: Column[object], *, is_sqlite: bool) -> Convert | None:
    """Return what makes of a column's value, as the driver has it, what it means."""
    if isinstance(column.type, EscapedText):
        return cast("Convert", unescape)
    if isinstance(column.type, JsonText):
        return cast("Convert", load_json)
    if not is_sqlite:
        return None
    if isinstance(column.type, InstantColumn):
        return cast("Convert", instant_of)
    if isinstance(column.type, Money):
        return cast("Convert", Decimal)
    return bool if isinstance(column.type, Boolean) else None
