"""A table of rows: its bulk statements, for SQLite and PostgreSQL.

They go past SQLAlchemy's types, see `rows`, and in pieces, so that nothing holds the event loop.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar, cast

from attrs import field, frozen
from sqlalchemy.ext.asyncio import AsyncConnection

from ppapi_async.mirror.differences import RowToWrite, Stored
from ppapi_async.mirror.rows import Codec, RowRecord, Value
from ppapi_async.mirror.types import instant_text
from ppapi_async.protocol import dump_stored
from ppapi_async.transport.fairness import let_others_run

if TYPE_CHECKING:
    import psycopg  # only who uses PostgreSQL has it

__all__ = ["RowTable"]

RowT = TypeVar("RowT", bound=RowRecord)
Parameters: TypeAlias = tuple[object, ...]
_AT_ONCE = 250
"""Rows of one statement; what comes before and after it, on the event loop, takes milliseconds."""
_MOST_VALUES = 32_000 if sqlite3.sqlite_version_info >= (3, 32) else 999
"""That SQLite takes in a statement."""
_TAIL = ("first_seen", "last_seen")


@frozen(eq=False)
class RowTable(Generic[RowT]):
    """The rows of one resource of one account, on a connection that is in a transaction."""

    connection: AsyncConnection
    codec: Codec[RowT]
    sqlite: bool
    account: int
    name: str = field(init=False)
    _mark: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "name", self.codec.table.name)
        object.__setattr__(self, "_mark", "?" if self.sqlite else "%s")

    async def stored(
        self, start: datetime | None, end: datetime | None, ids: Iterable[int]
    ) -> dict[int, Stored]:
        """Return the rows of a range by their time, and those with one of the ids."""
        found: dict[int, Stored] = {}
        where, bounds = self._range(start, end)
        await self._select(f"{where}", bounds, found, in_window=True)
        elsewhere = [one for one in ids if one not in found]
        for some in _pieces(elsewhere, 20 * _AT_ONCE):
            where, parameters = self._among(some)
            await self._select(where, parameters, found, in_window=False)
        return found

    async def insert(self, rows: Sequence[RowToWrite[RowT]], seen: datetime) -> None:
        """Put new rows in."""
        columns = ("account", *self.codec.columns, *_TAIL)
        at = self._instant(seen)
        values: Iterator[Parameters] = ((self.account, *one.row, at, at) for one in rows)
        into = f"{self.name} ({', '.join(columns)})"
        if self.sqlite:
            # Many rows in a statement: one step of SQLite's, for which its thread needs no lock of
            # Python's, rather than as many as rows; so decoding goes on beside it.
            marks = f"({', '.join('?' * len(columns))})"
            for some in _pieces(values, min(_AT_ONCE, _MOST_VALUES // len(columns))):
                sql = f"INSERT INTO {into} VALUES {', '.join([marks] * len(some))}"  # noqa: S608 - ours
                await self._run(sql, tuple(chain.from_iterable(some)))
                await let_others_run()
        elif rows:
            await self._copy(f"COPY {into} FROM STDIN", values)

    async def update(self, rows: Sequence[RowToWrite[RowT]], seen: datetime) -> None:
        """Give rows their new values: they are there, and not gone."""
        columns = self.codec.columns[1:]  # without the id
        values = ", ".join(f"{name} = {self._mark}" for name in columns)
        sql = (
            f"UPDATE {self.name} SET {values}, changed_at = {self._mark}, last_seen = {self._mark},"  # noqa: S608
            f" gone_at = NULL, missing_since = NULL WHERE account = {self._mark}"
            f" AND id = {self._mark}"
        )
        at = self._instant(seen)
        await self._many(sql, ((*one.row[1:], at, at, self.account, one.row[0]) for one in rows))

    async def touch(self, ids: Sequence[int], seen: datetime) -> None:
        """Note that the site lists rows, which are as they were."""
        await self._set("last_seen = {0}, gone_at = NULL, missing_since = NULL", ids, seen)

    async def touch_range(
        self,
        start: datetime | None,
        end: datetime | None,
        seen: datetime,
        *,
        but: Sequence[int] = (),
    ) -> None:
        """Note that the site lists all rows of a range that are not gone, but these."""
        where, parameters = self._range(start, end)
        if but:
            more, ids = self._among(but, negated=True)
            where, parameters = f"{where} AND {more}", (*parameters, *ids)
        sql = (
            f"UPDATE {self.name} SET last_seen = {self._mark}, missing_since = NULL"  # noqa: S608
            f" WHERE {where} AND gone_at IS NULL"
        )
        await self._run(sql, (self._instant(seen), *parameters))

    async def mark_missing(self, ids: Sequence[int], since: datetime) -> None:
        """Note that an answer did not hold rows that it should have held."""
        await self._set("missing_since = COALESCE(missing_since, {0})", ids, since)

    async def unmark_missing(self, ids: Sequence[int]) -> None:
        """Forget that answers did not hold these rows: nobody can tell."""
        for some in _pieces(ids, 20 * _AT_ONCE):
            where, parameters = self._among(some)
            sql = f"UPDATE {self.name} SET missing_since = NULL WHERE {where}"  # noqa: S608
            await self._run(sql, parameters)

    async def missing(self, start: datetime | None) -> list[tuple[Value, ...]]:
        """Return the rows from a time on that are missing and not gone yet, oldest first."""
        where, parameters = self._range(start, None)
        found: dict[int, Stored] = {}
        where = f"{where} AND missing_since IS NOT NULL AND gone_at IS NULL ORDER BY time, id"
        await self._select(where, parameters, found, in_window=True)
        return [one.row for one in found.values()]

    async def bury(self, ids: Sequence[int], gone: datetime) -> None:
        """Note that the site lists these rows no more."""
        await self._set("gone_at = {0}, missing_since = NULL", ids, gone)

    async def present(self, start: datetime | None, end: datetime | None) -> list[RowT]:
        """Return the records of a range that are not gone, oldest first."""
        return await self._present(*self._range(start, end))

    async def present_among(self, ids: Sequence[int]) -> list[RowT]:
        """Return the records with one of these ids that are not gone."""
        records = []
        for some in _pieces(ids, 20 * _AT_ONCE):
            records += await self._present(*self._among(some))
        return records

    async def _present(self, where: str, parameters: Parameters) -> list[RowT]:
        found: dict[int, Stored] = {}
        where = f"{where} AND gone_at IS NULL ORDER BY time, id"
        await self._select(where, parameters, found, in_window=True)
        records = []
        for some in _pieces(found.values(), _AT_ONCE):
            records += [self.codec.record_of(one.row) for one in some]
            await let_others_run()
        return records

    async def count(self, start: datetime | None) -> int:
        """Return how many rows there are from a time on that are not gone."""
        where, parameters = self._range(start, None)
        sql = f"SELECT count(*) FROM {self.name} WHERE {where} AND gone_at IS NULL"  # noqa: S608
        result = await self.connection.exec_driver_sql(sql, parameters)
        number: int = result.scalar_one()
        return number

    def _range(self, start: datetime | None, end: datetime | None) -> tuple[str, Parameters]:
        """Return the condition of a range, and its parameters: the account first."""
        where, parameters = f"account = {self._mark}", [self.account]
        for sign, bound in ((">=", start), ("<", end)):
            if bound is not None:
                where += f" AND time {sign} {self._mark}"
                parameters.append(self._instant(bound))  # type: ignore[arg-type]
        return where, tuple(parameters)

    def _among(self, ids: Sequence[int], *, negated: bool = False) -> tuple[str, Parameters]:
        """Return the condition of ids, and its parameters: the account first.

        As one parameter: SQLite takes only so many.
        """
        if self.sqlite:
            sign = "NOT IN" if negated else "IN"
            where = f"account = ? AND id {sign} (SELECT value FROM json_each(?))"  # noqa: S608
            return where, (self.account, dump_stored(list(ids)))
        where = "id <> ALL(%s::bigint[])" if negated else "id = ANY(%s::bigint[])"
        return f"account = %s AND {where}", (self.account, list(ids))

    def _instant(self, instant: datetime) -> str | datetime:
        return instant_text(instant) if self.sqlite else instant

    async def _select(
        self, where: str, parameters: Parameters, found: dict[int, Stored], *, in_window: bool
    ) -> None:
        columns = ", ".join(self.codec.columns)
        sql = f"SELECT {columns}, gone_at FROM {self.name} WHERE {where}"  # noqa: S608
        async with contextlib.aclosing(self._pieces_of(sql, parameters)) as pieces:
            async for some in pieces:
                for row in some:
                    values = tuple(row)
                    found[cast("int", values[0])] = Stored(
                        row=values[:-1],
                        is_gone=values[-1] is not None,
                        in_window=in_window,
                    )
                await let_others_run()

    async def _pieces_of(
        self, sql: str, parameters: Parameters
    ) -> AsyncGenerator[Sequence[Sequence[Value]], None]:
        """Yield what a question finds, some rows at a time."""
        if self.sqlite:
            result = await self.connection.exec_driver_sql(sql, parameters)
            while some := result.fetchmany(_AT_ONCE):
                yield cast("Sequence[Sequence[Value]]", some)
            return
        # SQLAlchemy would make values of all rows in one go, for which everybody waits.
        async with (await self._driver()).cursor() as cursor:
            await cursor.execute(sql, parameters)
            while rows := await cursor.fetchmany(_AT_ONCE):
                yield rows

    async def _set(self, values: str, ids: Sequence[int], instant: datetime) -> None:
        for some in _pieces(ids, 20 * _AT_ONCE):
            where, parameters = self._among(some)
            sql = f"UPDATE {self.name} SET {values.format(self._mark)} WHERE {where}"  # noqa: S608
            await self._run(sql, (self._instant(instant), *parameters))

    async def _run(self, sql: str, parameters: Parameters) -> None:
        await self.connection.exec_driver_sql(sql, parameters)

    async def _copy(self, sql: str, rows: Iterable[Parameters]) -> None:
        """Put rows in as PostgreSQL takes most of them in a second."""
        async with (await self._driver()).cursor() as cursor, cursor.copy(sql) as copy:
            for some in _pieces(rows, _AT_ONCE):
                for row in some:
                    await copy.write_row(row)
                await let_others_run()

    async def _driver(self) -> psycopg.AsyncConnection:
        """Return PostgreSQL's own connection."""
        connection = await self.connection.get_raw_connection()
        return cast("psycopg.AsyncConnection", connection.driver_connection)

    async def _many(self, sql: str, rows: Iterable[Parameters]) -> None:
        for some in _pieces(rows, _AT_ONCE):
            await self.connection.exec_driver_sql(sql, some)
            await let_others_run()


T = TypeVar("T")


def _pieces(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
