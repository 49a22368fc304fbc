"""A proven window on its way into the database: compared with what is there, and written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain, islice

from attrs import asdict, define, field, frozen
from sqlalchemy import bindparam, delete, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ppapi_async.mirror.coverage import NEAR, Proven, merged
from ppapi_async.mirror.differences import Differences, Incoming, RowToWrite
from ppapi_async.mirror.journal import NewChange, write_changes
from ppapi_async.mirror.records import MirrorChange
from ppapi_async.mirror.row_table import RowTable
from ppapi_async.mirror.rows import Codec, RowRecord
from ppapi_async.mirror.schema import coverage, status_changes, unreadable
from ppapi_async.mirror.upsert import insert_or_update, insert_unless_known
from ppapi_async.models import Exchange, UnreadableRow
from ppapi_async.protocol.fields import EARLIEST, INT64
from ppapi_async.transport.fairness import ITEMS_OF_TURN, in_turns, let_others_run
from ppapi_async.watching.changes import ChangeKind
from ppapi_async.watching.resources import Record, ResourceName

__all__ = ["Commit", "Reading", "WindowWriter", "forget_unmet"]

_AT_ONCE = 250
_UNREADABLE = select(unreadable.c.digest, unreadable.c.id, unreadable.c.time).where(
    unreadable.c.account == bindparam("account"), unreadable.c.resource == bindparam("resource")
)
_COVERAGE = (
    select(coverage.c.start, coverage.c.end, coverage.c.proven_at)
    .where(
        coverage.c.account == bindparam("account"),
        coverage.c.resource == bindparam("resource"),
        coverage.c.end >= bindparam("from"),
        or_(coverage.c.start.is_(None), coverage.c.start <= bindparam("to")),
    )
    .order_by(coverage.c.end)
)
_DROP_COVERAGE = delete(coverage).where(
    coverage.c.account == bindparam("account"),
    coverage.c.resource == bindparam("resource"),
    coverage.c.end == bindparam("end"),
)
_ADD_COVERAGE = insert(coverage)


@frozen(kw_only=True)
class Reading:
    """A proven window on its way into the database: all rows of `[start, end)`."""

    start: datetime | None
    """None: from the beginning."""
    end: datetime | None
    """None: up to the present."""
    records: Sequence[RowRecord]
    unreadable: Sequence[UnreadableRow] = ()
    proven_at: datetime
    """When the pass began that the window is of: one for all of its windows."""
    backfill: bool
    """Whether this is the first reading: new rows are no changes then."""
    document: str
    """The position after it."""
    history: bool = False
    """Whether `statuses` was asked for."""

    def holds(self, instant: datetime) -> bool:
        """Tell whether the window holds an instant."""
        is_late = self.end is not None and instant >= self.end
        return not is_late and (self.start is None or instant >= self.start)


@frozen
class Commit:
    """What a transaction has come to."""

    changes: tuple[MirrorChange[Record], ...]
    """In order."""
    written: int = 0
    """Rows that were put in or got new values."""
    read: int = 0
    """Rows that the window holds."""
    new: int = 0
    """Rows that were put in."""
    missing: int = 0
    """Rows that the window should hold and does not."""
    unreadable: tuple[UnreadableRow, ...] = ()
    """Rows that cannot be read, of which that was not known."""


@define(eq=False)
class WindowWriter:
    """Writes a window in a transaction that has passed the fence."""

    account: int
    name: str
    resource: ResourceName
    codec: Codec[RowRecord]
    sqlite: bool
    reading: Reading
    _answer: dict[int, Incoming[RowRecord]] = field(factory=dict)
    _unstorable: list[UnreadableRow] = field(factory=list)

    async def prepare(self) -> None:
        """Make rows of the records, before the transaction: nobody waits for that then."""
        records = self.reading.records
        for first in range(0, len(records), ITEMS_OF_TURN):
            some = records[first : first + ITEMS_OF_TURN]
            rows = self.codec.rows_of(some)
            if rows is not None:
                for record, row in zip(some, rows, strict=True):
                    self._answer[record.id] = Incoming(record, row)
            else:
                for record in some:
                    self._prepare(record)
            await let_others_run()

    def _prepare(self, record: RowRecord) -> None:
        problem = self.codec.problem(record)
        if problem is None:
            try:
                row = self.codec.row_of(record)
            except ValueError as error:
                path, _, reason = str(error).partition(": ")
                problem = (path, reason)
            else:
                self._answer[record.id] = Incoming(record, row)
                return
        self._unstorable.append(_unstorable(record, problem))

    async def write(self, connection: AsyncConnection) -> Commit:
        """Compare the window with the database, and write what is news."""
        reading = self.reading
        table = RowTable(connection, self.codec, self.sqlite, self.account)
        unread = (*reading.unreadable, *self._unstorable)
        listed = {row.id for row in unread if row.id is not None}
        found: Differences[RowRecord] = Differences()
        stored = await table.stored(reading.start, reading.end, (*self._answer, *listed))
        for _ in found.compare(self.codec, self._answer, stored, listed):
            await let_others_run()
        await self._write_rows(table, found, nameless=any(row.id is None for row in unread))
        changes = await self._write_changes(connection, found)
        await self._write_statuses(connection, found)
        unknown = await self._write_unreadable(connection, unread, listed)
        await self._write_coverage(connection)
        return Commit(
            changes,
            written=len(found.written),
            read=len(self._answer),
            new=sum(one.kind is ChangeKind.NEW for one in found.written),
            missing=len(found.absent),
            unreadable=unknown,
        )

    async def _write_rows(
        self, table: RowTable[RowRecord], found: Differences[RowRecord], *, nameless: bool
    ) -> None:
        """Write what the rows are now, and when they were seen.

        Args:
            table: of the rows.
            found: what has become of them.
            nameless: whether the site lists a row whose id cannot be read: it may be any of those
                that are absent.
        """
        seen = self.reading.proven_at
        new: list[RowToWrite[RowRecord]] = []
        same: list[RowToWrite[RowRecord]] = []
        other: list[RowToWrite[RowRecord]] = []
        for one in found.written:
            is_new = one.kind is ChangeKind.NEW
            (new if is_new else other if one.fields else same).append(one)
        await table.insert(new, seen)
        await table.update(other, seen)
        await table.touch([*(one.record.id for one in same), *found.seen_elsewhere], seen)
        if found.seen_again:
            start, end = self.reading.start, self.reading.end
            await table.touch_range(start, end, seen, but=found.absent)
        if nameless:
            await table.unmark_missing(found.absent)
        else:
            await table.mark_missing(found.absent, seen)

    async def _write_changes(
        self, connection: AsyncConnection, found: Differences[RowRecord]
    ) -> tuple[MirrorChange[Record], ...]:
        news = [
            NewChange(
                one.kind,
                one.record.id,
                one.record,
                one.previous if one.kind is ChangeKind.CHANGED else None,
                one.fields,
            )
            async for one in in_turns(found.written)
            if not (self.reading.backfill and one.kind is ChangeKind.NEW)
        ]
        seen = self.reading.proven_at
        return await write_changes(connection, self.account, self.name, self.resource, news, seen)

    async def _write_statuses(
        self, connection: AsyncConnection, found: Differences[RowRecord]
    ) -> None:
        """Keep each status that was seen, and what sites tell of those before."""
        steps = chain(self._told_statuses(), self._seen_statuses(found.written))
        while some := list(islice(steps, _AT_ONCE)):
            await insert_unless_known(connection, status_changes, some)
            await let_others_run()

    def _told_statuses(self) -> Iterator[dict[str, object]]:
        if not self.reading.history:
            return
        for incoming in self._answer.values():
            if isinstance(incoming.record, Exchange):
                previous = None
                for step in incoming.record.statuses:
                    yield self._step(incoming.record.id, step.time, step.status, previous)
                    previous = step.status

    def _seen_statuses(
        self, written: Sequence[RowToWrite[RowRecord]]
    ) -> Iterator[dict[str, object]]:
        for one in written:
            now, before = one.record, one.previous
            if not (isinstance(now, Exchange) and isinstance(before, Exchange)):
                continue
            if now.status is None or now.status == before.status:
                continue
            if self.reading.history and any(one.status == now.status for one in now.statuses):
                continue  # the site tells when it was
            at = now.time if now.time != before.time else self.reading.proven_at
            yield self._step(now.id, at, now.status, before.status)

    def _step(
        self, row_id: int, at: datetime, status: str, previous: str | None
    ) -> dict[str, object]:
        return {
            "account": self.account,
            "id": row_id,
            "time": at,
            "status": status,
            "previous": previous,
            "seen_at": self.reading.proven_at,
        }

    async def _write_unreadable(
        self, connection: AsyncConnection, unread: Sequence[UnreadableRow], listed: set[int]
    ) -> tuple[UnreadableRow, ...]:
        """Keep the rows that cannot be read, and forget those that can be, or are met no more.

        Returns those that were not known.
        """
        columns, reading = unreadable.c, self.reading
        mine = (columns.account == self.account, columns.resource == self.resource)
        present = {row.digest for row in unread}
        place = {"account": self.account, "resource": self.resource}
        known = (await connection.execute(_UNREADABLE, place)).all()
        over = [
            row.digest
            for row in known
            if row.digest not in present
            and (
                row.id in self._answer
                or row.id in listed
                or (row.time is not None and reading.holds(row.time))
            )
        ]
        for first in range(0, len(over), _AT_ONCE):
            some = over[first : first + _AT_ONCE]
            await connection.execute(delete(unreadable).where(*mine, columns.digest.in_(some)))
        rows = [
            {
                "account": self.account,
                "resource": self.resource,
                "digest": row.digest,
                "id": row.id,
                "time": row.time,
                "problems": [list(one) for one in row.problems],
                "first_seen": reading.proven_at,
                "last_seen": reading.proven_at,
            }
            for row in unread
            if row.id not in self._answer
        ]
        updated = ("id", "time", "problems", "last_seen")
        await insert_or_update(connection, unreadable, rows, updated)
        before = {row.digest for row in known}
        return tuple(row for row in unread if row.digest not in before)

    async def _write_coverage(self, connection: AsyncConnection) -> None:
        reading = self.reading
        # Passes ask for a day beyond the present: what comes in that time is not read yet.
        end = min(reading.end or reading.proven_at, reading.proven_at)
        if reading.start is not None and end <= reading.start:
            return  # a site's clock that is ahead of ours
        new = Proven(reading.start, end, reading.proven_at)
        place = {"account": self.account, "resource": self.resource}
        near = {"from": EARLIEST if reading.start is None else reading.start, "to": end}
        known = [Proven(*row) for row in await connection.execute(_COVERAGE, place | near)]
        ranges = merged(known, new)
        dropped = [place | {"end": one.end} for one in known if one not in ranges]
        added = [place | asdict(one) for one in ranges if one not in known]
        if dropped:
            await connection.execute(_DROP_COVERAGE, dropped)
        if added:
            await connection.execute(_ADD_COVERAGE, added)


async def forget_unmet(
    connection: AsyncConnection, account: int, resource: str, proven_at: datetime
) -> None:
    """Forget rows that cannot be read and that a pass over all there is has not met."""
    columns = unreadable.c
    mine = (columns.account == account, columns.resource == resource)
    await connection.execute(delete(unreadable).where(*mine, columns.last_seen < proven_at))


def _unstorable(record: RowRecord, problem: tuple[str, str]) -> UnreadableRow:
    """Return a record that no database can hold as a row that cannot be read."""
    seen = f"{record.id} {record.time} {problem}"  # not all of it: it may be endless
    digest = hashlib.blake2b(seen.encode("utf-8", "backslashreplace"), digest_size=8)
    row_id = record.id if record.id in INT64 else None
    return UnreadableRow(row_id, record.time, (problem,), digest.hexdigest())


def _before(instant: datetime) -> datetime:
    """Return an instant a little earlier, or the earliest there is."""
    earliest = datetime.min.replace(tzinfo=instant.tzinfo)
    return instant - NEAR if instant - earliest > NEAR else earliest
