"""One connection to PostgreSQL: opened, checked, used by one task, seen to break. The only psycopg.

What is asked of it waits in a queue, so a caller that is cancelled breaks nothing off in the
middle, and saves that wait for another one are written together. Each save is one statement, or one
transaction where it is large.

A connection that holds locks for as long as it lives must be the session that it seems to be
(`check_that_it_stays`), and its server must end it when this process is heard of no more (`limit`).
Between two statements it is listened to: where the server ends it, that is known at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Generic, Self, TypeAlias, TypeVar

import psycopg
from attrs import define, field
from psycopg import conninfo

from ppapi_async.errors import StateError
from ppapi_async.secret import Secret
from ppapi_async.storage.stores import StateChange

__all__ = ["PostgresSession", "Values", "check_url", "since_boot"]

T = TypeVar("T")
Values: TypeAlias = tuple[object, ...]
_Connection: TypeAlias = psycopg.AsyncConnection[Values]
_VERSION = 1
_OLDEST_SERVER = 14_00_00
_FOREIGN = frozenset({"42703", "42804", "42809", "42883"})
"""Codes of a column, a type or a kind of table that is not ours: tables of something else."""
_PATIENCE = 10.0
"""Seconds to connect, and for what was asked for to be done when the session is closed."""
_DEFAULTS: dict[str, str | int | None] = {
    "application_name": "ppapi_async",
    "connect_timeout": int(_PATIENCE),
    # Where the network is cut without a word, a call fails within half a minute.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Of the connection, unless the url says otherwise."""
_PROBES = 3
_PROBE_PATIENCE = 2.0
_READ_AT_ONCE = 2_000
_WRITTEN_AT_ONCE = 2_000
_CREATE = """
CREATE TABLE ppapi_state (version integer NOT NULL);
INSERT INTO ppapi_state VALUES (1);
CREATE TABLE ppapi_entries (
    watch text COLLATE "C", name text COLLATE "C", text text NOT NULL,
    PRIMARY KEY (watch, name)
);
CREATE TABLE ppapi_workers (
    group_name text COLLATE "C", worker text COLLATE "C", name text NOT NULL,
    pid integer NOT NULL, server timestamptz NOT NULL,
    since timestamptz NOT NULL, seen timestamptz NOT NULL, hung_after double precision NOT NULL,
    accounts text NOT NULL,
    shards integer[] NOT NULL, weights integer[] NOT NULL, held integer[] NOT NULL,
    PRIMARY KEY (group_name, worker)
) WITH (fillfactor = 50);
CREATE TABLE ppapi_polls (
    group_name text COLLATE "C", account text COLLATE "C", due double precision NOT NULL,
    PRIMARY KEY (group_name, account)
) WITH (fillfactor = 50)
"""
# Not `to_regclass`: that may answer from before the transaction that it waited for.
_FIND = "SELECT 1 FROM pg_class WHERE relname = 'ppapi_state' AND pg_table_is_visible(oid)"
_LOCK_TO_CREATE = "SELECT pg_advisory_xact_lock(hashtextextended('ppapi_async tables', 0))"
_LOAD = "SELECT name, text FROM ppapi_entries WHERE watch = %s ORDER BY name LIMIT %s"
_LOAD_AFTER = (
    "SELECT name, text FROM ppapi_entries WHERE watch = %s AND name > %s ORDER BY name LIMIT %s"
)
_READ = "SELECT text FROM ppapi_entries WHERE watch = %s AND name = %s"
_WRITE = (
    "WITH dropped AS (DELETE FROM ppapi_entries AS e USING unnest(%s::text[], %s::text[])"
    " AS d (watch, name) WHERE e.watch = d.watch AND e.name = d.name)"
    " INSERT INTO ppapi_entries SELECT * FROM unnest(%s::text[], %s::text[], %s::text[])"
    " ON CONFLICT (watch, name) DO UPDATE SET text = excluded.text"
)
_LIMITS = (
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
    "statement_timeout",
    "lock_timeout",
    "tcp_user_timeout",
)
_ADVICE = {
    "42501": "grant this user what it lacks, or let the database's owner start it once",
    "42P": "its tables are not as ppapi_async has made them: drop those called ppapi_*",
    "427": "its tables are not as ppapi_async has made them: drop those called ppapi_*",
    "25006": "it is a standby: pass the url of the primary server",
    "53100": "make room on its disk",
}
"""By the beginning of SQLSTATE."""
_ADVICE_TO_CONNECT = {
    "does not exist": "create the database first, or mend its name or the user's in the url",
    "authentication failed": "mend user and password of the url",
    "no password": "pass user and password in the url",
    "pg_hba.conf": "let this machine in",
    "too many": "let it have more connections (max_connections), or use fewer",
    "translate host name": "mend the host's name in the url",
}
"""By what the text says: it comes without SQLSTATE."""


def since_boot() -> float:
    """Return seconds that go on while the machine sleeps, where the system tells them."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def check_url(url: str) -> str:
    """Return what to call the database in messages: nothing of it is secret.

    Raises:
        ValueError: it is no url of a database in PostgreSQL.
    """
    parts = None
    with contextlib.suppress(psycopg.ProgrammingError):  # whose text may show the password
        parts = conninfo.conninfo_to_dict(url)
    if parts is None or not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("url: pass one such as 'postgresql://user:password@host/database'")
    host, port = parts.get("host") or "local", parts.get("port")
    return f"postgresql://{host}{f':{port}' if port else ''}/{parts.get('dbname') or ''}"


@define(eq=False)
class _Asked(Generic[T]):
    """What is asked of the connection, and who waits for it."""

    work: Callable[[], Awaitable[T]]
    done: asyncio.Future[T]


@define(eq=False)
class _Write:
    """A change, and who waits for it."""

    change: StateChange
    done: asyncio.Future[None]

    @property
    def size(self) -> int:
        """How many entries it writes or drops."""
        return len(self.change.put) + len(self.change.drop)


@define(eq=False, repr=False)
class PostgresSession:
    """One connection, from `open` to `aclose` or until it breaks; then `error` says why."""

    where: str
    """What to call the database in messages."""
    _url: Secret
    _connection: _Connection
    _clock: Callable[[], float]
    _on_broken: Callable[[StateError], None] | None
    renewed: float
    """When the last statement was sent that was answered: then the server knew of this process."""
    error: StateError | None = field(default=None, init=False)
    """Why it is of no use any more, None while it is."""
    own_pid: int = field(default=0, init=False)
    """Of the session that stays, once that has been checked."""
    loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    _line: socket.socket = field(init=False)
    """The connection's socket once more, to be listened to and shut down."""
    _jobs: deque[_Asked[object] | _Write] = field(factory=deque, init=False)
    _woken: asyncio.Event = field(factory=asyncio.Event, init=False)
    _is_closing: bool = field(default=False, init=False)
    _running: asyncio.Task[None] = field(init=False)

    # Life

    @classmethod
    async def open(
        cls,
        url: Secret,
        *,
        clock: Callable[[], float] = since_boot,
        on_broken: Callable[[StateError], None] | None = None,
    ) -> Self:
        """Connect, and make the tables if there are none.

        Args:
            url: of the database.
            clock: seconds, for `renewed`.
            on_broken: called once, when the connection has broken.

        Raises:
            StateError: it could not be reached, or is no database to keep a state in.
        """
        where, began = check_url(url.reveal()), clock()
        # Without prepared statements: a pooler may stand between.
        connection = await _connected(url, autocommit=True)
        if not isinstance(connection, psycopg.AsyncConnection):
            raise _failure(where, connection)
        session = cls(where, url, connection, clock, on_broken, began)
        session.start()
        is_ready = False
        try:
            await session._prepare()
            is_ready = True
        finally:
            if not is_ready:
                session._on_broken = None
                session.kill()
                await session.aclose()
        return session

    def start(self) -> None:
        """Begin to do what is asked for."""
        self._line = socket.socket(fileno=os.dup(self._connection.fileno()))
        self._running = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Do what was asked for, then close the connection, which gives back what it holds."""
        self._is_closing = True
        self._woken.set()
        try:
            await asyncio.wait([self._running], timeout=_PATIENCE)
        finally:
            self.kill()
        await asyncio.wait([self._running])

    def kill(self) -> None:
        """Shut the connection down at once: nothing that is asked for comes through any more."""
        with contextlib.suppress(OSError):  # it has gone already
            self._line.shutdown(socket.SHUT_RDWR)

    # What is asked of it

    async def ask(self, query: str, *values: object) -> list[Values]:
        """Run one statement, and return its rows.

        Raises:
            StateError: it failed, or the connection has broken.
        """
        return await self._do(lambda: self._execute(query, values))

    async def load(self, watch: str) -> Mapping[str, str]:
        """Return all entries of a watch, as of one moment.

        Raises:
            StateError: they could not be read.
        """
        return await self._do(lambda: self._load(_escaped(watch)))

    async def read(self, watch: str, name: str) -> str | None:
        """Return one entry.

        Raises:
            StateError: it could not be read.
        """
        rows = await self.ask(_READ, _escaped(watch), _escaped(name))
        return _plain(str(rows[0][0])) if rows else None

    async def save(self, change: StateChange) -> None:
        """Make a change, with others that wait.

        Raises:
            StateError: it was not made.
        """
        done: asyncio.Future[None] = self._new_future()
        self._put(_Write(change, done))
        await done

    async def _do(self, work: Callable[[], Awaitable[T]]) -> T:
        done: asyncio.Future[T] = self._new_future()
        self._put(_Asked(work, done))  # type: ignore[arg-type]  # each knows its own T
        return await done

    def _new_future(self) -> asyncio.Future[T]:
        if self.error is not None:
            raise StateError(self.error.message)
        if self._is_closing:
            raise StateError(f"the state {self.where} was closed")
        return self.loop.create_future()

    def _put(self, job: _Asked[object] | _Write) -> None:
        self._jobs.append(job)
        self._woken.set()

    # The task that does it

    async def _run(self) -> None:
        """Do the jobs, one after the other, until it is closed or the connection has broken."""
        error: StateError | None = None
        try:
            while error is None and (self._jobs or not self._is_closing):
                error = await self._serve() if self._jobs else await self._listen()
        finally:
            self.error = error or StateError(f"the state {self.where} was closed")
            self._give_up(self._jobs, self.error)
            self._line.close()
            await self._connection.close()
        if error is not None and self._on_broken is not None:
            self._on_broken(error)

    async def _listen(self) -> StateError | None:
        """Wait for jobs, or for what the server says unasked: that it ends the connection."""
        self._woken.clear()
        heard = asyncio.Event()

        def hear() -> None:
            heard.set()
            self._woken.set()

        self.loop.add_reader(self._line, hear)
        try:
            await self._woken.wait()
        finally:
            self.loop.remove_reader(self._line)
        if not heard.is_set() or self._jobs:
            return None
        return await self._attempt([], lambda: self._execute("SELECT 1", ()))

    async def _serve(self) -> StateError | None:
        """Do the next job, or all saves that come next."""
        first = self._jobs.popleft()
        if isinstance(first, _Asked):
            return await self._attempt([first], first.work)
        saves, size = [first], first.size
        while self._jobs and isinstance(following := self._jobs[0], _Write):
            size += following.size
            if size > _WRITTEN_AT_ONCE:
                break
            saves.append(following)
            self._jobs.popleft()
        return await self._attempt(saves, lambda: self._write([one.change for one in saves]))

    async def _attempt(
        self, jobs: Sequence[_Asked[object] | _Write], work: Callable[[], Awaitable[object]]
    ) -> StateError | None:
        """Work, and tell those who wait what came of it; return why the connection has broken."""
        result: object = None
        error: StateError | None = None
        is_told = False
        try:
            result = await work()
            is_told = True
        except (psycopg.Error, OSError) as caught:
            error, is_told = _failure(self.where, caught), True
        finally:
            if not is_told:
                self._give_up(jobs, StateError("the work for the state broke off; try again"))
        if error is not None:
            self._give_up(jobs, error)
            return error if self._connection.closed else None
        for job in jobs:
            if not job.done.done():  # who waited for it may have been cancelled
                job.done.set_result(result)  # type: ignore[arg-type]  # None for a save
        return None

    def _give_up(
        self,
        jobs: Sequence[_Asked[object] | _Write] | deque[_Asked[object] | _Write],
        error: StateError,
    ) -> None:
        for job in jobs:
            if not job.done.done():
                job.done.set_exception(StateError(error.message, may_pass=error.may_pass))

    # Statements

    async def _execute(self, query: str, values: Sequence[object]) -> list[Values]:
        sent = self._clock()
        cursor = await self._connection.execute(query.encode(), values)
        rows = await cursor.fetchall() if cursor.description else []
        self.renewed = sent
        return rows

    async def _load(self, watch: str) -> dict[str, str]:
        rows = await self._execute(_LOAD, (watch, _READ_AT_ONCE))
        if len(rows) < _READ_AT_ONCE:
            return dict(_entries(rows))
        entries: dict[str, str] = {}
        async with self._connection.transaction():
            await self._execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", ())
            rows = await self._execute(_LOAD, (watch, _READ_AT_ONCE))
            while rows:
                entries.update(_entries(rows))
                last = str(rows[-1][0])
                rows = await self._execute(_LOAD_AFTER, (watch, last, _READ_AT_ONCE))
        return entries

    async def _write(self, changes: Sequence[StateChange]) -> None:
        """Make the changes, in their order, all or nothing."""
        after: dict[tuple[str, str], str | None] = {}
        for change in changes:
            watch = _escaped(change.watch)
            after.update(((watch, _escaped(name)), None) for name in change.drop)
            after.update(
                ((watch, _escaped(name)), _escaped(text)) for name, text in change.put.items()
            )
        pieces = list(_pieces(list(after.items())))
        if len(pieces) == 1:
            await self._execute(_WRITE, pieces[0])
            return
        async with self._connection.transaction():
            for piece in pieces:
                await self._execute(_WRITE, piece)

    async def _prepare(self) -> None:
        """Check what server it is, and make the tables if there are none.

        Raises:
            StateError: it is no database to keep a state in.
        """
        if self._connection.info.server_version < _OLDEST_SERVER:
            major = self._connection.info.server_version // 10_000
            raise StateError(
                f"the state {self.where} is in PostgreSQL {major}, which cannot end a session"
                " that is idle: use PostgreSQL 14 or later",
                may_pass=False,
            )
        [[encoding]] = await self.ask("SELECT current_setting('server_encoding')")
        if encoding != "UTF8":
            raise StateError(
                f"the state {self.where} is in a database of the encoding {encoding}, which does"
                " not hold all texts: create one with ENCODING 'UTF8'",
                may_pass=False,
            )
        if not await self._has_tables():
            await self._do(self._create)
        [[version]] = await self.ask("SELECT max(version) FROM ppapi_state")
        if version != _VERSION:
            raise StateError(
                f"the state {self.where} is of version {version}, and this ppapi_async knows"
                f" version {_VERSION}: upgrade ppapi_async, or pass another database",
                may_pass=False,
            )

    async def _has_tables(self) -> bool:
        return bool(await self.ask(_FIND))

    async def _create(self) -> None:
        """Make the tables, unless another worker that starts at the same time has made them."""
        async with self._connection.transaction():
            await self._execute(_LOCK_TO_CREATE, ())
            if not await self._execute(_FIND, ()):
                await self._connection.execute(_CREATE)

    # A session that holds locks

    async def check_that_it_stays(self) -> None:
        """Refuse a pooler that gives each transaction another session, as PgBouncer may.

        Such a pooler tells a process number of its own, and a session that is idle is lent to
        others: so either this connection's session changes, or another connection meets it.

        Raises:
            StateError: there is such a pooler.
        """
        self.own_pid = pid = await self.pid()
        is_steady = True
        for _ in range(_PROBES):
            is_steady = is_steady and await self.pid() == pid
        if is_steady and pid != self._connection.info.backend_pid:
            for _ in range(_PROBES):
                is_steady = is_steady and await self._keeps(pid)
        if not is_steady:
            raise self.unsteady_error()

    def unsteady_error(self) -> StateError:
        """Return what to say where the session did not stay."""
        return StateError(
            f"the state {self.where} is behind a pooler that gives each transaction another session"
            " (PgBouncer with pool_mode = transaction): locks do not stay; connect to PostgreSQL"
            " itself, or to a pool of pool_mode = session",
            may_pass=False,
        )

    def now(self) -> float:
        """Return the present by the clock of `renewed`."""
        return self._clock()

    async def pid(self) -> int:
        """Return the number of the server's process that answers.

        Raises:
            StateError: none does.
        """
        [[pid]] = await self.ask("SELECT pg_backend_pid()")
        return int(str(pid))

    async def _keeps(self, pid: int) -> bool:
        """Tell whether the session stays this connection's own while another one works."""
        with contextlib.suppress(psycopg.Error, OSError, TimeoutError):
            async with asyncio.timeout(_PROBE_PATIENCE):
                other = await _connected(self._url, autocommit=False)
                if not isinstance(other, psycopg.AsyncConnection):
                    raise other
                async with other:  # in a transaction, which holds on to its session
                    cursor = await other.execute("SELECT pg_backend_pid()")
                    return await cursor.fetchone() != (pid,) and await self.pid() == pid
        return True  # none else is to be had: then this one's is not lent to others either

    async def limit(self, seconds: float) -> None:
        """Have the server end the session when nothing comes from here for so long.

        Whether this process stands still between two statements, within a transaction, or while it
        should read an answer; or the network has gone without a word.

        Raises:
            StateError: it could not be asked for.
        """
        milliseconds = str(max(1, round(seconds * 1000)))
        for name in _LIMITS:
            await self.ask("SELECT set_config(%s, %s, false)", name, milliseconds)


async def _connected(url: Secret, *, autocommit: bool) -> _Connection | psycopg.Error | OSError:
    """Return a new connection, or why there is none: no frame of the error holds the password."""
    try:
        given = conninfo.conninfo_to_dict(url.reveal())
        made = conninfo.make_conninfo(url.reveal(), **(_DEFAULTS | given))
        return await psycopg.AsyncConnection.connect(
            made, autocommit=autocommit, prepare_threshold=None
        )
    except (psycopg.Error, OSError) as error:
        return error.with_traceback(None)


def _entries(rows: Sequence[Values]) -> Iterator[tuple[str, str]]:
    return ((_plain(str(name)), _plain(str(text))) for name, text in rows)


def _pieces(after: Sequence[tuple[tuple[str, str], str | None]]) -> Iterator[list[list[str]]]:
    """Return the values of each statement: watches and names to drop, and what to put in."""
    for start in range(0, max(1, len(after)), _WRITTEN_AT_ONCE):
        some = after[start : start + _WRITTEN_AT_ONCE]
        drop = [key for key, text in some if text is None]
        put = [(*key, text) for key, text in some if text is not None]
        yield [
            [watch for watch, _ in drop],
            [name for _, name in drop],
            [watch for watch, _, _ in put],
            [name for _, name, _ in put],
            [text for _, _, text in put],
        ]


def _escaped(text: str) -> str:
    """Return the text as PostgreSQL takes it: without U+0000. No JSON holds either character."""
    if "\0" not in text and "\1" not in text:
        return text
    return text.replace("\1", "\1b").replace("\0", "\1a")


def _plain(text: str) -> str:
    """Return what `_escaped` was given."""
    return text if "\1" not in text else text.replace("\1a", "\0").replace("\1b", "\1")


def _failure(where: str, error: psycopg.Error | OSError) -> StateError:
    """Return what happened and what to do, without what the rows or the url say."""
    state, text = "", error.strerror if isinstance(error, OSError) else None
    if isinstance(error, psycopg.Error):
        state, text = error.sqlstate or "", error.diag.message_primary
    text = text or (str(error).strip().splitlines() or [type(error).__name__])[0]
    found = [tip for code, tip in _ADVICE.items() if state.startswith(code)]
    found += [tip for said, tip in _ADVICE_TO_CONNECT.items() if not state and said in text]
    return StateError(
        f"the state {where} could not be used: {text}; {found[0] if found else 'try again'}",
        may_pass=state not in _FOREIGN,
    )
