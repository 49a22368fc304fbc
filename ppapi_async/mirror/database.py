"""The database of a mirror: from its url to connections, and its errors as `StateError`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from attrs import define, field
from sqlalchemy import URL, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

from ppapi_async.errors import StateError
from ppapi_async.files import is_trusted, refuse_odd
from ppapi_async.mirror import migrations
from ppapi_async.mirror.sqlite_driver import QuickConnection
from ppapi_async.mirror.writer_lock import WriterLock
from ppapi_async.protocol.fields import EXACT
from ppapi_async.secret import Redactor, Secret
from ppapi_async.storage.file_kind import LIST_NAMES, READ_APPLICATION, FileKind
from ppapi_async.transport.closing import wait_until_done

if TYPE_CHECKING:
    import aiosqlite
    import psycopg  # only who uses PostgreSQL has it
    from sqlalchemy.engine.interfaces import DBAPIModule  # not in SQLAlchemy 2.0

__all__ = ["MirrorDatabase", "connect_to_read", "parse_url", "shown"]

T = TypeVar("T")

_EXAMPLES = "pass 'sqlite:///partner.db' or 'postgresql://user:password@host/database'"
_BUSY = 30.0
"""Seconds to wait for another that writes."""
_SOON = 3.0
"""Seconds in which PostgreSQL is to hear that a statement is to be broken off."""
_WRITERS = 8
"""Transactions that write to PostgreSQL at once."""
_READERS = 16
"""Connections to a SQLite file that are kept: to open one takes longer than to read by it."""
_BESIDE = ("-wal", "-shm", "-journal")
_ON_POSTGRES = (
    "SET TIME ZONE 'UTC'",  # what the driver makes of an instant of year 1 or 9999 has no other
    f"SET lock_timeout = '{_BUSY:.0f}s'",
    # Who has stopped in the middle of a transaction must not keep others from their accounts.
    f"SET idle_in_transaction_session_timeout = '{2 * _BUSY:.0f}s'",
)
_ON_POSTGRES_TO_READ = (
    *_ON_POSTGRES[:2],
    "SET default_transaction_read_only = on",
    "SET default_transaction_isolation = 'repeatable read'",  # all of a report is of one moment
)
_KEEPALIVE = {"connect_timeout": 10, "keepalives_idle": 10, "tcp_user_timeout": 30_000}
"""So that a network that is cut is noticed."""
_ADVICE_SQLITE = {
    sqlite3.SQLITE_BUSY: "another process writes to it: try again",
    sqlite3.SQLITE_LOCKED: "another process writes to it: try again",
    sqlite3.SQLITE_FULL: "make room, then try again",
    sqlite3.SQLITE_IOERR: "look whether the disk works and has room, then try again",
    sqlite3.SQLITE_READONLY: "let this process write it and its directory",
    sqlite3.SQLITE_CANTOPEN: "let this process read and write it and its directory",
    sqlite3.SQLITE_NOTADB: "pass the path of another file",
    sqlite3.SQLITE_CORRUPT: "bring a copy of the file back",
    sqlite3.SQLITE_ERROR: "it is not as ppapi_async has made it: bring a copy back",
}
_ADVICE_POSTGRES = {
    "08": "the connection broke; try again",
    "25": "the transaction was ended from outside; try again",
    "28": "look at the user and the password in the url",
    "3D": "create the database, or name another in the url",
    "40": "another worker was in the way; try again",
    "42": "give the user its rights; or the tables are not as ppapi_async has made them",
    "53": "make room there, or allow more connections, then try again",
    "55": "another process holds it; try again",
    "57": "the server ended the connection; try again",
    "58": "look whether the server's disk works and has room, then try again",
}


_ADVICE_CONNECT = "look whether the server runs, and at user, password and database in the url"


class DecimalSum:
    """The aggregate `decimal_sum`: SQLite's own `sum` makes floats of amounts."""

    def __init__(self) -> None:
        self._sum: Decimal | None = None

    def step(self, amount: str | int | None) -> None:
        """Take a value; null is passed over, as `sum` does."""
        if amount is not None:
            value = Decimal(amount)
            self._sum = value if self._sum is None else EXACT.add(self._sum, value)

    def finalize(self) -> str | None:
        """Return the sum as text, null without values."""
        return None if self._sum is None else format(self._sum, "f")


class _SqliteConnection(sqlite3.Connection):
    """A connection to a file as each of ours is. It is made in the thread that uses it."""

    _STATEMENTS: ClassVar[Sequence[str]] = (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = NORMAL",
        "PRAGMA foreign_keys = ON",
        "PRAGMA trusted_schema = OFF",  # others may have written it
    )

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type] # sqlite3's own arguments
        self.create_aggregate("decimal_sum", 1, DecimalSum)  # type: ignore[arg-type] # of texts, too
        for statement in self._STATEMENTS:
            self.execute(statement)


class _ReadingConnection(_SqliteConnection):
    """A connection that SQLite lets nothing be written through."""

    _STATEMENTS = ("PRAGMA query_only = ON", "PRAGMA trusted_schema = OFF")

    def __init__(self, path: str, **options: object) -> None:
        super().__init__(f"{Path(path).as_uri()}?mode=ro", uri=True, **options)


@define(eq=False)
class MirrorDatabase:
    """An engine for the database, and who may write to it.

    At most one transaction writes to a SQLite file at a time; the others wait here, in order,
    rather than in SQLite, where each would hold a thread and none would know its turn.
    """

    engine: AsyncEngine
    is_sqlite: bool
    _shown: str
    """What errors call it."""
    _redactor: Redactor
    _writers: asyncio.Semaphore
    _lock: WriterLock | None = None
    _under_way: set[asyncio.Task[object]] = field(factory=set)
    _is_closed: bool = False

    @property
    def _driver_error(self) -> type[Exception]:
        dialect = cast("DefaultDialect", self.engine.dialect)
        return cast("type[Exception]", cast("DBAPIModule", dialect.dbapi).Error)

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        return DBAPIError, self._driver_error, OSError

    @classmethod
    async def open(cls, url: URL, *, wait: float = 0.0) -> MirrorDatabase:
        """Open the database of a url.

        Args:
            url: what `parse_url` returns.
            wait: seconds to wait for another process that has the SQLite file.

        Raises:
            StateError: the file is another's, or cannot be opened.
        """
        redactor = _redactor_of(url)
        if url.get_backend_name() == "sqlite":
            path = _path(cast("str", url.database))
            _prepare_file(path)
            await asyncio.to_thread(_refuse_foreign, path)
            lock = await WriterLock.take(path, wait=wait)
            engine = _sqlite_engine(path, _SqliteConnection)
            return cls(engine, True, str(path), redactor, asyncio.Semaphore(1), lock)
        engine = _postgres_engine(url, _ON_POSTGRES)
        return cls(engine, False, shown(url), redactor, asyncio.Semaphore(_WRITERS))

    @classmethod
    async def open_to_read(cls, url: URL) -> MirrorDatabase:
        """Open a database that is there, of this version, for reading only.

        It takes no lock, whoever else has the database open. A SQLite file is let be; SQLite makes
        its own two beside it if they are not there.

        Raises:
            StateError: there is none, it is another's, or of another version.
        """
        if url.get_backend_name() == "sqlite":
            path = _path(cast("str", url.database))
            if not path.exists():
                raise StateError(f"the mirror {path}: there is no such file; make one with sync")
            _check_file(path)
            engine = _sqlite_engine(path, _ReadingConnection)
            database = cls(engine, True, str(path), Redactor([]), asyncio.Semaphore(1))
        else:
            engine = _postgres_engine(url, _ON_POSTGRES_TO_READ)
            redactor = _redactor_of(url)
            database = cls(engine, False, shown(url), redactor, asyncio.Semaphore(1))
        try:
            async with database.connect() as connection:
                await connection.run_sync(migrations.check_present, database._shown)
        except BaseException:
            await database.aclose()
            raise
        return database

    def __repr__(self) -> str:
        return f"<MirrorDatabase {self._shown}>"

    async def bring_up(self, *, migrate: bool) -> None:
        """Bring the tables to this version.

        Args:
            migrate: False refuses tables that are not of this version.

        Raises:
            StateError: they are of a later version, or of an earlier one that is not to be
                migrated.
        """
        async with self.connect() as connection:
            if await connection.run_sync(migrations.is_present, self._shown):
                return
        if not migrate:
            raise migrations.missing_error(self._shown)

        async def migrated(connection: AsyncConnection) -> None:
            await connection.run_sync(migrations.migrate, self._shown)
            await connection.commit()

        await self.write(migrated)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do some work, which ends with a commit, in a transaction that writes.

        It is a task of its own: a cancellation that goes through a driver leaves a statement under
        way, and with it the database locked. PostgreSQL is asked to break the statement off
        instead; SQLite carries it to its end, which is near.

        Raises:
            StateError: as `connect`.
        """
        await self._writers.acquire()
        drivers: list[psycopg.AsyncConnection] = []
        breaking: set[asyncio.Task[None]] = set()

        async def write() -> T:
            async with self.connect(writes=True) as connection:
                if not self.is_sqlite:
                    raw = await connection.get_raw_connection()
                    drivers.append(cast("psycopg.AsyncConnection", raw.driver_connection))
                try:
                    return await work(connection)
                finally:
                    drivers.clear()
                    if breaking:  # it may hit whatever the connection does next
                        await asyncio.wait(breaking)
                        await connection.invalidate()

        def hurry() -> None:
            for driver in drivers:
                stop = asyncio.create_task(driver.cancel_safe(timeout=_SOON))
                stop.add_done_callback(self._forget)
                breaking.add(stop)

        task = asyncio.create_task(write())
        self._under_way.add(task)
        task.add_done_callback(self._forget)
        task.add_done_callback(lambda _: self._writers.release())
        await wait_until_done([task], hurry)
        return task.result()

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever would have asked may have been cancelled

    async def aclose(self) -> None:
        """Close all connections, and let others have the file.

        What is being written ends first. A connection that is lent is closed when it is given
        back, and there are no more. Cancelled, however often, it closes all the same.
        """
        self._is_closed = True
        closing = asyncio.create_task(self._close())
        await wait_until_done([closing])
        closing.result()

    async def _close(self) -> None:
        try:
            await wait_until_done(self._under_way)
            await self.engine.dispose()
        finally:
            if self._lock is not None:
                self._lock.release()

    @contextlib.asynccontextmanager
    async def connect(self, *, writes: bool = False) -> AsyncIterator[AsyncConnection]:
        """Lend a connection, in a transaction that is rolled back unless it is committed.

        Raises:
            StateError: the database could not be reached, or what was done with the connection
                failed. Nothing of the transaction is kept then. Or it is closed.
        """
        if self._is_closed:
            raise StateError(f"the mirror {self._shown} is closed")
        borrowers: OSError | None = None
        with self.telling():
            connection = await self.take()
            try:
                await connection.execution_options(writes=writes)
                try:
                    yield connection
                except self._driver_error:  # SQLAlchemy does not know of it
                    await connection.invalidate()
                    raise
                except OSError as error:  # a file of the borrower's, or a timeout
                    borrowers = error
            finally:
                await self.give_back(connection)
        if borrowers is not None:
            raise borrowers

    async def take(self) -> AsyncConnection:
        """Return a connection, which is to be given back.

        It is opened in a task of its own: SQLAlchemy drops one unclosed whose opening is cancelled.
        """
        opening = asyncio.create_task(self._open())
        try:
            await wait_until_done([opening])
        except asyncio.CancelledError:
            dropping = self._clean_up(self._drop(opening))
            if opening.done():
                await wait_until_done([dropping])
            raise
        return opening.result()

    async def give_back(self, connection: AsyncConnection) -> None:
        """Take a connection back, and roll back what it has not committed."""
        await asyncio.shield(self._clean_up(self._return(connection)))

    def _clean_up(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Begin to clean up; whoever closes the database waits for it."""
        cleaning = asyncio.create_task(work)
        self._under_way.add(cleaning)
        cleaning.add_done_callback(self._forget)
        return cleaning

    async def _return(self, connection: AsyncConnection) -> None:
        if self._is_closed:  # the pool is left already, and would keep it for ever
            await connection.invalidate()
        await connection.close()

    async def _drop(self, opening: asyncio.Task[AsyncConnection]) -> None:
        """Close a connection that nobody wants, once it is open."""
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            connection = opening.result()
            await connection.invalidate()
            await connection.close()

    async def _open(self) -> AsyncConnection:
        return await self.engine.connect()

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Make a `StateError` of what goes wrong with the database.

        Raises:
            StateError: something did.
        """
        try:
            yield
        except self._errors as error:
            problem = self.error(error)
        else:
            return
        try:
            raise problem
        except StateError as raised:
            # What it stands for may hold statements, rows of the site's, and the url.
            raised.__context__ = None
            raise

    def error(self, error: BaseException) -> StateError:
        """Return what happened and what to do, without the password and without its cause."""
        found, had_worked = error, isinstance(error, self._driver_error)
        if isinstance(error, DBAPIError) and error.orig is not None:
            found, had_worked = error.orig, error.connection_invalidated
        text = " ".join(self._redactor.redact(str(found)).split())
        advice = self._advice(found, had_worked=had_worked)
        return StateError(f"the mirror {self._shown}: {text or type(found).__name__}; {advice}")

    def _advice(self, error: BaseException, *, had_worked: bool) -> str:
        """Return what to do; `had_worked`: the connection, until this."""
        if self.is_sqlite:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            return _ADVICE_SQLITE.get(code, "try again")
        state = getattr(error, "sqlstate", None) or ""
        unnamed = _ADVICE_POSTGRES["08"] if had_worked else _ADVICE_CONNECT
        return _ADVICE_POSTGRES.get(state[:2], unnamed)


def parse_url(url: str) -> URL:
    """Return the url, with the driver that we use. It shows itself without its password.

    Raises:
        ValueError: it is none of SQLite or PostgreSQL.
        TypeError: it is no str.
    """
    problem = ""
    if not isinstance(url, str):
        raise TypeError(f"url: is not a str; {_EXAMPLES}")
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        parsed = None
    url = ""  # it may hold a password
    if parsed is None:
        problem = "is no url of a database"
    elif parsed.drivername in ("sqlite", "sqlite+aiosqlite"):
        if parsed.query or not parsed.database or parsed.database == ":memory:":
            problem = "has no path of a file, or more than that"
        parsed = parsed.set(drivername="sqlite+aiosqlite")
    elif parsed.drivername in ("postgresql", "postgresql+psycopg"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    else:
        problem = "is neither of SQLite nor of PostgreSQL"
    if problem or parsed is None:
        raise ValueError(f"url: {problem}; {_EXAMPLES}")
    return parsed


def shown(url: URL) -> str:
    """Return what may be shown of a url: a password may be anywhere in the rest."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    return str(URL.create("postgresql", host=url.host, port=url.port, database=url.database))


def _redactor_of(url: URL) -> Redactor:
    passwords = (url.password, url.query.get("password"))
    return Redactor([Secret(str(one)) for one in passwords if one])


def _path(database: str) -> Path:
    return Path(database).absolute()


def connect_to_read(url: URL) -> sqlite3.Connection:
    """Return a plain connection to a SQLite file, for reading, that goes from thread to thread.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    path = _path(cast("str", url.database))
    return _ReadingConnection(
        str(path), isolation_level=None, timeout=_BUSY, check_same_thread=False
    )


def _sqlite_engine(path: Path, factory: type[_SqliteConnection]) -> AsyncEngine:
    def connect() -> sqlite3.Connection:
        return factory(str(path), isolation_level=None, timeout=_BUSY)

    async def connection() -> aiosqlite.Connection:
        return await QuickConnection(connect)

    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        async_creator=connection,
        hide_parameters=True,
        max_overflow=-1,
        pool_size=_READERS,
        poolclass=AsyncAdaptedQueuePool,  # SQLAlchemy 2.0.36 keeps none for files
    )

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # What writes says so at once: two that have read and then want to write would block.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    @event.listens_for(engine.sync_engine, "invalidate")
    def interrupt(
        connection: DBAPIConnection, _: ConnectionPoolEntry, __: BaseException | None
    ) -> None:
        # Its thread goes on with what was cancelled, and who cancels would wait for that.
        driver = cast("aiosqlite.Connection", getattr(connection, "driver_connection", connection))
        with contextlib.suppress(StopIteration, ValueError):  # done at once; closed already
            driver.interrupt().send(None)

    return engine


def _postgres_engine(url: URL, statements: Sequence[str]) -> AsyncEngine:
    engine = create_async_engine(
        url,
        connect_args={name: value for name, value in _KEEPALIVE.items() if name not in url.query},
        hide_parameters=True,
        json_deserializer=_as_text,
        max_overflow=-1,
        pool_pre_ping=True,  # after the server was started again the first one works
        pool_size=_WRITERS,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        connection.commit()

    return engine


def _as_text(json: str | bytes) -> str:
    """Leave JSON to the column's type: whoever parses it here makes floats of amounts."""
    return json if isinstance(json, str) else json.decode()


def _prepare_file(path: Path) -> None:
    """Make an empty file that is its owner's only, and refuse what SQLite must not believe."""
    try:
        if not path.exists():
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise _no_file(path, error) from None
    _check_file(path)


def _refuse_foreign(path: Path) -> None:
    """Refuse a file that is something else, before anything is written into it or beside it."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as looking:
            looking.execute("PRAGMA trusted_schema = OFF")
            application = looking.execute(READ_APPLICATION).fetchone()[0]
            names = [name for (name,) in looking.execute(LIST_NAMES)]
    except sqlite3.Error as error:
        code = error.sqlite_errorcode & 0xFF
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN):
            text = f"the mirror {path}: {error}; {_ADVICE_SQLITE[code]}"
            raise StateError(text, may_pass=False) from None
        return  # it is told of by whoever opens it to stay
    FileKind.MIRROR.is_empty(path, application, names)


def _check_file(path: Path) -> None:
    """Refuse what SQLite must not believe."""
    try:
        for one in (path, *(Path(f"{path}{end}") for end in _BESIDE)):
            status = one.stat() if one == path else one.lstat() if one.exists() else None
            if status is not None:
                refuse_odd(one, status)
                if one != path and not is_trusted(status):
                    raise StateError(f"{one} belongs to another user: pass a path of your own")
    except OSError as error:
        raise _no_file(path, error) from None


def _no_file(path: Path, error: OSError) -> StateError:
    advice = {
        errno.EISDIR: "pass the path of another file",
        errno.EINVAL: "pass the path of another file",
        errno.ENAMETOOLONG: "pass the path of another file",
        errno.ENOSPC: "make room, then try again",
    }.get(error.errno or 0, "its directory must exist and let you write")
    return StateError(f"the mirror {path}: {error.strerror}; {advice}")
