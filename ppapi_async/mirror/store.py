"""What the mirror keeps of each resource of each account: written window by window, or not at all.

Each transaction begins at the fence: it moves the version of the position up, if that is still the
one this process knows. Who has lost the account meanwhile finds another version, and writes
nothing. After that nobody else writes to this resource of this account before the transaction ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TypeVar, cast

from attrs import asdict, define, field, frozen
from sqlalchemy import URL, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ppapi_async.account import Account
from ppapi_async.errors import StateError
from ppapi_async.mirror import schema
from ppapi_async.mirror.account_rows import find_account, known_account, noted_account
from ppapi_async.mirror.coverage import Proven
from ppapi_async.mirror.database import MirrorDatabase, parse_url
from ppapi_async.mirror.info_rows import write_info
from ppapi_async.mirror.journal import JOURNAL, NewChange, change_of, follow_restore, write_changes
from ppapi_async.mirror.records import MirrorChange
from ppapi_async.mirror.row_table import RowTable
from ppapi_async.mirror.rows import Codec, RowRecord
from ppapi_async.mirror.upsert import insert_unless_known
from ppapi_async.mirror.window import Commit, Reading, WindowWriter, forget_unmet
from ppapi_async.models import Info
from ppapi_async.transport.closing import wait_until_done
from ppapi_async.watching.changes import ChangeKind
from ppapi_async.watching.resources import LISTS, Record, ResourceName

__all__ = [
    "Commit",
    "MirrorConflict",
    "MirrorStore",
    "Place",
    "Reading",
    "Standing",
    "StoreToRead",
]

T = TypeVar("T")


_FENCE = (
    update(schema.positions)
    .where(
        schema.positions.c.account == bindparam("at_account"),
        schema.positions.c.resource == bindparam("at_resource"),
        schema.positions.c.version == bindparam("at_version"),
    )
    .values({name: bindparam(name) for name in ("version", "updated_at", "document", "delivered")})
)


class MirrorConflict(StateError):  # noqa: N818 - an outcome: somebody else was there
    """Another process, or another job, has written to this resource of this account meanwhile.

    Nothing was written. Whoever is to go on gets the place anew.
    """


@frozen
class _WrittenPosition:
    """What a transaction writes into the row of a position."""

    version: int
    document: str | None
    delivered: int | None
    updated_at: datetime


@define(eq=False)
class Place:
    """One resource of one account, as this process has it."""

    account: int
    """The account's number."""
    name: str
    """The account's name."""
    resource: ResourceName
    version: int
    """Of the position: the next transaction has to find it. Each commit moves it up."""
    document: str | None
    """The position as it was saved last; None: there is none yet."""
    delivered: int | None
    """The revision up to which changes have been delivered; None: `follow` was never used."""
    is_stale: bool = field(default=False, init=False)
    """Whether it has to be looked up anew: another process may have moved it, or a transaction
    of this one has been made or not."""
    in_doubt: _WrittenPosition | None = field(default=None, init=False, repr=False)
    """What a delivery has written whose commit was not answered, if it was made."""
    lock: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)
    """Held while it is written: who delivers and who reads take turns."""
    reading: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)
    """Held while the resource is read from the site and while the place is looked up anew, so that
    nobody who reads goes on from a position that is not the database's."""


@frozen
class Standing:
    """How an account stands in the database."""

    last_synced: datetime | None
    """When everything of it was caught up last."""
    unreadable: int
    """How many of its rows cannot be read."""


@define(eq=False)
class MirrorStore:
    """The database, opened.

    A cancelled call has either written all, or nothing. After a `StateError` whether a transaction
    was committed may be unknown: get the place anew then, as after a `MirrorConflict`.
    """

    _database: MirrorDatabase
    _clock: Callable[[], float]
    _codecs: dict[str, Codec[RowRecord]] = field(init=False)
    _places: dict[tuple[int, str], Place] = field(factory=dict, init=False)
    """Those that all share who read and deliver."""

    def __attrs_post_init__(self) -> None:
        sqlite = self._database.is_sqlite
        self._codecs = {name: Codec.of(name, sqlite=sqlite) for name in LISTS}

    @classmethod
    async def open(
        cls,
        url: str | URL,
        *,
        migrate: bool = True,
        wait: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> MirrorStore:
        """Open the database, and bring its tables up to this version.

        Args:
            url: `sqlite:///path` or `postgresql://…`.
            migrate: False refuses a database whose tables are not of this version.
            wait: seconds to wait for another process that has the SQLite file.
            clock: tells the time, in unix seconds.

        Raises:
            ValueError: the url is not usable.
            StateError: the database could not be opened, is another process's, or of another
                version.
        """
        database = await MirrorDatabase.open(
            url if isinstance(url, URL) else parse_url(url), wait=wait
        )
        try:
            await database.bring_up(migrate=migrate)
            await database.write(_follow_restore)
        except BaseException:
            await database.aclose()
            raise
        return cls(database, clock)

    async def aclose(self) -> None:
        """Close all connections, and let other processes have the SQLite file."""
        await self._database.aclose()

    def __repr__(self) -> str:
        return f"<MirrorStore of {self._database!r}>"

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine."""
        return self._database.engine

    def connect(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Lend a connection to read with; what goes wrong with it is a `StateError`."""
        return self._database.connect()

    async def account(self, account: Account) -> int:
        """Return the number of an account: as it was, renamed, moved or new.

        Raises:
            StateError: it seems to be two accounts of the database; or nothing could be written.
        """
        async with self.connect() as connection:
            known = await known_account(connection, account)
        if known is not None:
            return known
        return await self._write(lambda connection: find_account(connection, account, self._now()))

    async def place(self, account: int, name: str, resource: ResourceName) -> Place:
        """Return where one resource of an account stands, for one who alone goes on from there.

        Raises:
            StateError: the database could not be read or written.
        """

        async def make(connection: AsyncConnection) -> Place:
            values = {"account": account, "resource": resource, "version": 0}
            new = {**values, "updated_at": self._now()}
            await insert_unless_known(connection, schema.positions, [new])
            return cast("Place", await _place(connection, account, name, resource))

        async with self.connect() as connection:
            place = await _place(connection, account, name, resource)
        if place is not None:
            return place
        return await self._write(make)

    async def shared_place(self, account: int, name: str, resource: ResourceName) -> Place:
        """Return the one place of a resource that all share who use this database object.

        So what one of them has written is never taken for the work of another process.

        Raises:
            StateError: the database could not be read or written.
        """
        place = self._places.get((account, resource))
        if place is None:
            found = await self.place(account, name, resource)
            place = self._places.setdefault((account, resource), found)
        place.name = name
        return place

    async def look_anew(self, place: Place) -> None:
        """Bring a place to where the database has it. Whoever calls this holds `place.reading`.

        Raises:
            StateError: the database could not be read or written.
        """
        async with place.lock:
            found = await self.place(place.account, place.name, place.resource)
            place.version, place.document = found.version, found.document
            place.delivered, place.is_stale = found.delivered, False

    async def commit(self, place: Place, reading: Reading) -> Commit:
        """Write what a proven window holds, and the position after it, in one transaction.

        Raises:
            MirrorConflict: another has written meanwhile; nothing was.
            StateError: nothing was written, or, where the connection broke, perhaps all.
        """
        codec, sqlite = self._codecs[place.resource], self._database.is_sqlite
        writer = WindowWriter(place.account, place.name, place.resource, codec, sqlite, reading)
        await writer.prepare()
        return await self._write(writer.write, place, reading.document)

    async def end_pass(
        self,
        place: Place,
        proven_at: datetime,
        document: str,
        *,
        believe: bool,
        first: datetime | None,
    ) -> Commit:
        """Take rows for gone that a pass which has reached the present has not met.

        Args:
            place: whose pass ends.
            proven_at: when the pass began.
            document: the position after it.
            believe: False leaves the rows marked as missing.
            first: from where on the pass has read all; None: from the beginning.

        Raises:
            MirrorConflict: another has written meanwhile; nothing was.
            StateError: nothing was written, or, where the connection broke, perhaps all.
        """

        async def end(connection: AsyncConnection) -> Commit:
            if not believe:
                return Commit(())
            table = self._table(connection, place)
            if first is None:
                await forget_unmet(connection, place.account, place.resource, proven_at)
            records = [table.codec.record_of(row) for row in await table.missing(first)]
            await table.bury([record.id for record in records], proven_at)
            kind = ChangeKind.GONE
            news = [NewChange(kind=kind, id=one.id, record=one) for one in records]
            changes = await write_changes(
                connection, place.account, place.name, place.resource, news, proven_at
            )
            return Commit(changes, written=len(records))

        return await self._write(end, place, document)

    async def held(self, place: Place, start: datetime | None) -> int:
        """Return how many rows are not gone, from a time on.

        Raises:
            StateError: the database could not be read.
        """
        async with self.connect() as connection:
            return await self._table(connection, place).count(start)

    async def save(self, place: Place, document: str) -> None:
        """Save the position, and nothing else.

        Raises:
            MirrorConflict: another has written meanwhile; nothing was.
            StateError: nothing was written, or, where the connection broke, perhaps it was.
        """
        await self._write(_nothing, place, document)

    async def commit_info(
        self, place: Place, info: Info, seen_at: datetime, document: str
    ) -> Commit:
        """Write what get_info says, if that is news, and the position.

        Raises:
            MirrorConflict: another has written meanwhile; nothing was.
            StateError: nothing was written, or, where the connection broke, perhaps all.
        """

        async def write(connection: AsyncConnection) -> Commit:
            changes = await write_info(connection, place.account, place.name, info, seen_at)
            return Commit(changes, written=len(changes))

        return await self._write(write, place, document)

    async def undelivered(self, place: Place, limit: int) -> list[MirrorChange[Record]]:
        """Return the changes that `deliver` has not passed, oldest first.

        Raises:
            StateError: the database could not be read.
        """
        columns = schema.changes.c
        question = JOURNAL.where(
            columns.account == place.account,
            columns.resource == place.resource,
            columns.revision > (place.delivered or 0),
        )
        async with self.connect() as connection:
            result = await connection.execute(question.order_by(columns.revision).limit(limit))
            return [change_of(row, place.name) for row in result]

    async def deliver(self, place: Place, revision: int) -> None:
        """Note that all changes up to a revision have been delivered.

        Raises:
            MirrorConflict: another has written meanwhile; nothing was.
            StateError: nothing was written, or, where the connection broke, perhaps it was.
        """
        await self._write(_nothing, place, delivered=revision)

    async def deliver_from_now(self, place: Place) -> None:
        """Take all changes that there are as delivered.

        Raises:
            MirrorConflict: another has written meanwhile; nothing was.
            StateError: nothing was written, or, where the connection broke, perhaps it was.
        """
        columns = schema.changes.c
        question = select(func.coalesce(func.max(columns.revision), 0)).where(
            columns.account == place.account, columns.resource == place.resource
        )
        async with self.connect() as connection:
            latest = await connection.scalar(question)
        await self.deliver(place, latest or 0)

    async def rows(
        self, account: int, resource: str, start: datetime | None, end: datetime | None
    ) -> list[RowRecord]:
        """Return the records of `[start, end)` that are not gone, oldest first.

        Raises:
            StateError: the database could not be read.
        """
        async with self.connect() as connection:
            codec, sqlite = self._codecs[resource], self._database.is_sqlite
            return await RowTable(connection, codec, sqlite, account).present(start, end)

    async def rows_by_id(self, account: int, resource: str, ids: Sequence[int]) -> list[RowRecord]:
        """Return the records with one of these ids that are not gone.

        Raises:
            StateError: the database could not be read.
        """
        async with self.connect() as connection:
            codec, sqlite = self._codecs[resource], self._database.is_sqlite
            return await RowTable(connection, codec, sqlite, account).present_among(ids)

    async def coverage(self, account: int, resource: str) -> list[Proven]:
        """Return which times are proven to be here completely, from old to new.

        Raises:
            StateError: the database could not be read.
        """
        table = schema.coverage
        proven = (
            select(table.c.start, table.c.end, table.c.proven_at)
            .where(table.c.account == account, table.c.resource == resource)
            .order_by(table.c.end)
        )
        async with self.connect() as connection:
            return [Proven(*row) for row in await connection.execute(proven)]

    async def caught_up(self, account: Account, at: datetime) -> Standing:
        """Note when everything of an account was caught up, and return how it stands.

        Raises:
            StateError: it could not be written.
        """
        accounts = schema.accounts

        async def note(connection: AsyncConnection) -> Standing:
            number = await known_account(connection, account)
            if number is None:
                number = await find_account(connection, account, self._now())
            was_earlier = or_(accounts.c.last_synced.is_(None), accounts.c.last_synced < at)
            noted = update(accounts).where(accounts.c.account == number, was_earlier)
            await connection.execute(noted.values(last_synced=at))
            return await _standing(connection, number)

        return await self._write(note)

    async def standing(self, account: Account) -> Standing:
        """Return how an account stands.

        Raises:
            StateError: the database could not be read.
        """
        async with self.connect() as connection:
            number = await known_account(connection, account)
            if number is not None:
                return await _standing(connection, number)
        number = await self.account(account)
        async with self.connect() as connection:
            return await _standing(connection, number)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _table(self, connection: AsyncConnection, place: Place) -> RowTable[RowRecord]:
        codec = self._codecs[place.resource]
        return RowTable(connection, codec, self._database.is_sqlite, place.account)

    async def _write(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        place: Place | None = None,
        document: str | None = None,
        delivered: int | None = None,
    ) -> T:
        """Do some work in a transaction, behind the fence of a place, and commit it."""

        async def write(connection: AsyncConnection) -> T:
            position = None
            if place is not None:
                position = await self._pass_fence(connection, place, document, delivered)
            result = await work(connection)
            # Once it is begun it ends, whoever is cancelled: the place has to know how.
            ending = asyncio.create_task(_end(connection, place, position))
            await wait_until_done([ending])
            ending.result()
            return result

        if place is None:
            return await self._database.write(write)
        async with place.lock:
            return await self._database.write(write)

    async def _pass_fence(
        self,
        connection: AsyncConnection,
        place: Place,
        document: str | None,
        delivered: int | None,
    ) -> _WrittenPosition:
        """Move the position up, and return what it is then.

        A delivery whose commit was not answered has moved it itself, perhaps: whoever reads
        meanwhile goes on from there. Only now that is certain: the fence has waited for its end.
        """
        doubted, position = place.in_doubt, self._after(place, document, delivered)
        if await _has_moved(connection, place, position):
            return position
        if doubted is not None and await _position_of(connection, place) == doubted:
            place.version, place.delivered = doubted.version, doubted.delivered
            position = self._after(place, document, delivered)
            if await _has_moved(connection, place, position):
                return position
        raise MirrorConflict(
            f"another process has written {place.resource} of {place.name} meanwhile, so"
            " nothing of this was; let one process alone have an account",
            account=place.name,
        )

    def _after(self, place: Place, document: str | None, delivered: int | None) -> _WrittenPosition:
        return _WrittenPosition(
            place.version + 1,
            place.document if document is None else document,
            place.delivered if delivered is None else delivered,
            self._now(),
        )


class StoreToRead(MirrorStore):
    """The database opened for reading only: what it does not know it does not make.

    Whoever writes to it goes on, and neither waits for the other.
    """

    @classmethod
    async def open_to_read(cls, url: str, *, clock: Callable[[], float] = time.time) -> StoreToRead:
        """Open a database that is there, and of this version.

        Raises:
            ValueError: the url is not usable.
            StateError: there is none, it cannot be reached, or is of another version.
        """
        return cls(await MirrorDatabase.open_to_read(parse_url(url)), clock)

    async def account(self, account: Account) -> int:
        """Return the number of an account; 0, which none has, if it is new.

        Raises:
            StateError: it seems to be two accounts of the database, which could not be read.
        """
        async with self.connect() as connection:
            return await noted_account(connection, account) or 0

    async def place(self, account: int, name: str, resource: ResourceName) -> Place:
        """Return where one resource of an account stands, at its very beginning if it is new.

        Raises:
            StateError: the database could not be read.
        """
        async with self.connect() as connection:
            known = await _place(connection, account, name, resource)
        return known or Place(account, name, resource, 0, None, None)


async def _place(
    connection: AsyncConnection, account: int, name: str, resource: ResourceName
) -> Place | None:
    table = schema.positions.c
    found = select(table.version, table.document, table.delivered).where(
        table.account == account, table.resource == resource
    )
    row = (await connection.execute(found)).one_or_none()
    if row is None:
        return None
    return Place(account, name, resource, row.version, row.document, row.delivered)


async def _has_moved(connection: AsyncConnection, place: Place, position: _WrittenPosition) -> bool:
    """Move a position up, unless it is not where this process has it."""
    at = {"account": place.account, "resource": place.resource, "version": place.version}
    values = {f"at_{name}": value for name, value in at.items()}
    return (await connection.execute(_FENCE, values | asdict(position))).rowcount == 1


async def _position_of(connection: AsyncConnection, place: Place) -> _WrittenPosition | None:
    table = schema.positions.c
    found = select(table.version, table.document, table.delivered, table.updated_at).where(
        table.account == place.account, table.resource == place.resource
    )
    row = (await connection.execute(found)).one_or_none()
    return None if row is None else _WrittenPosition(*row)


async def _standing(connection: AsyncConnection, account: int) -> Standing:
    accounts, unreadable = schema.accounts.c, schema.unreadable.c
    unread = select(func.count()).where(unreadable.account == account).scalar_subquery()
    question = select(accounts.last_synced, unread).where(accounts.account == account)
    last_synced, count = (await connection.execute(question)).one()
    return Standing(last_synced, count)


async def _follow_restore(connection: AsyncConnection) -> None:
    await follow_restore(connection)
    await connection.commit()


async def _nothing(_: AsyncConnection) -> None:
    """Write nothing but the position."""


async def _end(
    connection: AsyncConnection, place: Place | None, position: _WrittenPosition | None
) -> None:
    if place is None or position is None:
        await connection.commit()
        return
    # Whoever writes the document has to look it up anew; a delivery is not in anybody's way.
    place.in_doubt = position if position.document == place.document else None
    await connection.commit()
    place.version, place.document = position.version, position.document
    place.delivered, place.in_doubt = position.delivered, None
