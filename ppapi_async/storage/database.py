"""The file of `SQLiteState`: one connection to it, for one thread. The only sqlite3."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from ppapi_async.errors import StateError
from ppapi_async.files import is_trusted, refuse_odd
from ppapi_async.storage.file_kind import LIST_NAMES, READ_APPLICATION, FileKind
from ppapi_async.storage.stores import StateChange, warn_of

__all__ = ["Database"]

_VERSION = 1
_CREATE = (
    (
        "CREATE TABLE entries (watch TEXT NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL,"
        " PRIMARY KEY (watch, name)) WITHOUT ROWID"
    ),
    f"PRAGMA application_id = {FileKind.STATE.application}",
    f"PRAGMA user_version = {_VERSION}",
)
# Many rows in each step of SQLite: Python's lock changes hands at every step, and beside an event
# loop that is busy each takes milliseconds.
_READ_AT_ONCE = 2_000
_WRITTEN_AT_ONCE = 300  # three values each, and older versions of SQLite take 999
_LOAD = (
    "SELECT count(*), max(name), json_group_object(name, text) FROM (SELECT name, text FROM entries"
    " WHERE watch = ? AND name >= ? ORDER BY name LIMIT ?)"
)
_READ = "SELECT text FROM entries WHERE watch = ? AND name = ?"
_BESIDE = ("-wal", "-shm", "-journal")
_FAILURES = (sqlite3.Error, OSError, MemoryError, UnicodeDecodeError)
_PASSING = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
)
"""Failures that may pass by themselves, also where the file was never open."""
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds it; try again, or allow a longer timeout",
    sqlite3.SQLITE_FULL: "make room, then try again",
    sqlite3.SQLITE_READONLY: "let this process write it and its directory",
    sqlite3.SQLITE_CANTOPEN: "let this process read and write it and its directory",
    sqlite3.SQLITE_NOTADB: "pass another path, or move the file away",
    sqlite3.SQLITE_ERROR: "it is not as ppapi_async has made it: move it away to start anew",
    sqlite3.SQLITE_CORRUPT: "move the file away to start anew, or bring a copy back",
}


class Database:
    """The file, opened at the first use, and again after a failure of any kind.

    Args:
        path: the file, absolute.
        timeout: seconds to wait for other processes that are writing.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path, self._timeout = path, timeout
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._is_warned_of = False
        self._was_open = False

    def check(self) -> None:
        """Open the file, if it is not open.

        Raises:
            StateError: it could not be opened.
        """
        with self._connected("opened"):
            pass

    def load(self, watch: str) -> Mapping[str, str]:
        """Return all entries of a watch, as of one moment.

        Raises:
            StateError: the file could not be read.
        """
        entries: dict[str, str] = {}
        with self._connected("read") as connection, _transaction(connection):
            for page in _pages(connection, watch):
                entries.update(page)
        return entries

    def read(self, watch: str, name: str) -> str | None:
        """Return one entry.

        Raises:
            StateError: the file could not be read.
        """
        with self._connected("read") as connection:
            row: tuple[bytes] | None = connection.execute(_READ, (watch, name)).fetchone()
            return None if row is None else row[0].decode()

    def write(self, changes: Sequence[StateChange]) -> None:
        """Make all the changes in one transaction.

        Raises:
            StateError: none was made.
        """
        with self._connected("written") as connection, _transaction(connection, "IMMEDIATE"):
            for change in changes:
                _drop(connection, change)
                _put(connection, change)

    def close(self) -> None:
        """Close the connection; a transaction under way is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextlib.contextmanager
    def _connected(self, done: str) -> Iterator[sqlite3.Connection]:
        with contextlib.ExitStack() as failed:
            failed.callback(self.close)
            try:
                yield self._current()
            except _FAILURES as error:
                # What has been open is ours: a repetition may help, whatever happens to it.
                may_pass = self._was_open or _code(error) in _PASSING or _is_full(error)
                raise StateError(
                    f"the state {self._path} could not be {done}: {_reason(error)}",
                    may_pass=may_pass,
                ) from error
            self._was_open = True
            failed.pop_all()

    def _current(self) -> sqlite3.Connection:
        # Deleted or replaced meanwhile: what is saved has to be where it will be looked for.
        if self._connection is not None and _identity(self._path) != self._opened:
            self.close()
        return self._connection or self._open()

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            _create(self._path)
        self._check_files()
        self._opened = _identity(self._path)
        self._connection = connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            cached_statements=16,  # those of 300 rows are large
        )
        # As bytes: the message for a text that is no UTF-8 would show it.
        connection.text_factory = bytes
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA trusted_schema = OFF")  # others may have written it
        self._prepare(connection)
        self._write_ahead(connection)
        return connection

    def _check_files(self) -> None:
        """Refuse what is no file, and what SQLite would believe although another user made it.

        Nothing is opened here: to close a file again drops the locks of this process's others.
        """
        for path in (self._path, *(Path(f"{self._path}{end}") for end in _BESIDE)):
            try:
                status = path.stat() if path == self._path else path.lstat()
                refuse_odd(path, status)
            except FileNotFoundError:
                continue
            except OSError as error:
                text = f"{path} {error.strerror}: pass another path"
                raise StateError(text, may_pass=False) from None
            if path == self._path and not self._is_warned_of:
                self._is_warned_of = True
                warn_of(path, status, beside=True)
            elif path != self._path and not is_trusted(status):
                text = f"{path} belongs to another user: pass a path of this user's own"
                raise StateError(text, may_pass=False)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        with _transaction(connection):
            new = self._is_new(connection)
        if not new:
            return
        with _transaction(connection, "IMMEDIATE"):
            if self._is_new(connection):  # still, now that nobody else can write
                for statement in _CREATE:
                    connection.execute(statement)

    def _is_new(self, connection: sqlite3.Connection) -> bool:
        application = _number(connection, READ_APPLICATION)
        version = _number(connection, "PRAGMA user_version")
        names = [name.decode("utf-8", "replace") for (name,) in connection.execute(LIST_NAMES)]
        is_empty = FileKind.STATE.is_empty(self._path, application, names)
        if version != (0 if is_empty else _VERSION):
            raise StateError(
                f"the state {self._path} is of version {version}, and this ppapi_async knows"
                f" version {_VERSION}: upgrade ppapi_async, or pass another path",
                may_pass=False,
            )
        return is_empty

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        """Switch to WAL. SQLite does not wait by itself where two that open a new file meet."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                mode: bytes = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.005)
        if mode != b"wal":
            raise StateError(
                f"the state {self._path} is where SQLite cannot share a file between processes:"
                " pass a path on a local disk",
                may_pass=False,
            )


def _create(path: Path) -> None:
    """Make an empty file that is its owner's only from the first moment.

    Under another name, then linked. For locks belong to the process: to open and close the file
    itself would drop those of another connection that this process has to it.
    """
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    os.close(descriptor)
    try:
        with contextlib.suppress(FileExistsError):  # another was first
            path.hardlink_to(draft)
    finally:
        Path(draft).unlink()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, kind: str = "DEFERRED") -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    yield
    connection.execute("COMMIT")  # after a failure the connection is closed, which rolls back


def _pages(connection: sqlite3.Connection, watch: str) -> Iterator[Mapping[str, str]]:
    first = ""
    while True:
        row: tuple[int, bytes, bytes] = connection.execute(
            _LOAD, (watch, first, _READ_AT_ONCE)
        ).fetchone()
        count, last, entries = row
        yield json.loads(entries.decode())
        if count < _READ_AT_ONCE:
            return
        first = last.decode()


def _drop(connection: sqlite3.Connection, change: StateChange) -> None:
    for start in range(0, len(change.drop), _WRITTEN_AT_ONCE):
        names = change.drop[start : start + _WRITTEN_AT_ONCE]
        places = ",".join("?" * len(names))
        sql = f"DELETE FROM entries WHERE watch = ? AND name IN ({places})"  # noqa: S608 - places
        connection.execute(sql, (change.watch, *names))


def _put(connection: sqlite3.Connection, change: StateChange) -> None:
    rows = [(change.watch, name, text) for name, text in change.put.items()]
    for start in range(0, len(rows), _WRITTEN_AT_ONCE):
        some = rows[start : start + _WRITTEN_AT_ONCE]
        places = ",".join(["(?,?,?)"] * len(some))
        sql = f"INSERT OR REPLACE INTO entries VALUES {places}"  # noqa: S608 - places
        connection.execute(sql, tuple(chain.from_iterable(some)))


def _number(connection: sqlite3.Connection, sql: str) -> int:
    number: int = connection.execute(sql).fetchone()[0]
    return number


def _code(error: BaseException) -> int:
    """Return what SQLite calls the error, without what it adds to be more exact."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_full(error: BaseException) -> bool:
    """Tell whether it is memory, room on the disk or open files that lack for the moment."""
    lacking = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO)
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in lacking


def _reason(error: BaseException) -> str:
    """Return what happened and what to do."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "its directory does not exist; create it"
    if isinstance(error, UnicodeDecodeError):
        return f"it is damaged; {_ADVICE[sqlite3.SQLITE_CORRUPT]}"
    if isinstance(error, PermissionError):
        return f"{error.strerror}; {_ADVICE[sqlite3.SQLITE_CANTOPEN]}"
    text = error.strerror if isinstance(error, OSError) else str(error)
    return f"{text or type(error).__name__}; {_ADVICE.get(_code(error), 'try again')}"
