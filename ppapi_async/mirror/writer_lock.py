"""The lock of the one process that writes to a SQLite file, freed by the system when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sqlite3
from pathlib import Path

from attrs import define

from ppapi_async.errors import StateError
from ppapi_async.storage.file_kind import LIST_NAMES, READ_APPLICATION, FileKind
from ppapi_async.transport.closing import wait_until_done

__all__ = ["WriterLock"]

_LOOK = 0.1
"""Seconds between two looks whether it is free."""
_SHORTLY = 5000
"""Milliseconds to wait for one that only writes its name."""
SUFFIX = "-lock"
"""Of its path, behind the path of the database."""
_ADVICE = "let this process read and write it and its directory"


@define(eq=False)
class WriterLock:
    """A lock on a file beside the database.

    It is a transaction of SQLite's that writes nothing: it keeps other writers out, and lets them
    read who holds it. So no lock is left behind, however its process ends; and what the systems
    have for locks is SQLite's business.
    """

    _connection: sqlite3.Connection

    @classmethod
    async def take(cls, database: Path, *, wait: float) -> WriterLock:
        """Take the lock.

        Args:
            database: the file that it is for.
            wait: seconds to wait for it.

        Raises:
            StateError: another holds it; or there cannot be one.
        """
        loop, path = asyncio.get_running_loop(), Path(f"{database}{SUFFIX}")
        deadline = loop.time() + wait
        while True:
            trying = asyncio.create_task(asyncio.to_thread(_try, path))
            try:
                await wait_until_done([trying])
            except asyncio.CancelledError:
                trying.add_done_callback(_give_back)
                raise
            found = trying.result()
            if isinstance(found, sqlite3.Connection):
                return cls(found)
            if loop.time() >= deadline:
                raise StateError(found)
            await asyncio.sleep(_LOOK)

    def release(self) -> None:
        """Let another have it."""
        self._connection.close()


def _try(path: Path) -> sqlite3.Connection | str:
    """Return the connection that holds the lock, or why there is none."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        return f"{path}: {error}; its directory must exist and let you write"
    try:
        application = connection.execute(READ_APPLICATION).fetchone()[0]
        names = [name for (name,) in connection.execute(LIST_NAMES)]
        FileKind.LOCK.is_empty(path, application, names)
        holder = _hold(connection)
    except StateError as error:
        connection.close()
        return error.message
    except sqlite3.Error as error:
        connection.close()
        is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        advice = "make room, then try again" if is_full else _ADVICE
        return f"{path}: {error}; {advice}"
    if holder is None:
        return connection
    connection.close()
    return (
        f"{str(path).removesuffix(SUFFIX)} is written by {holder}: end it, pass another file, or"
        " allow a longer wait"
    )


def _hold(connection: sqlite3.Connection) -> str | None:
    """Take the lock and leave our name; return who has it, None if it is ours."""
    me = f"process {os.getpid()} on {socket.gethostname()}"
    ours = secrets.token_hex(8)
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        # First our name, for all to read, then the lock for good: another may come between.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS holder (name TEXT, token TEXT)")
        connection.execute("DELETE FROM holder")
        connection.execute("INSERT INTO holder VALUES (?, ?)", (me, ours))
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        name, token = _holder(connection)
        return None if token == ours else name
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("ROLLBACK")
    connection.execute(f"PRAGMA busy_timeout = {_SHORTLY}")
    return _holder(connection)[0]


def _holder(connection: sqlite3.Connection) -> tuple[str, str]:
    row: tuple[str, str] | None = None
    with contextlib.suppress(sqlite3.OperationalError):  # it has not written its name yet
        row = connection.execute("SELECT name, token FROM holder").fetchone()
    return row or ("another process", "")


def _give_back(trying: asyncio.Task[sqlite3.Connection | str]) -> None:
    """Close what nobody waits for any more."""
    if not trying.cancelled() and isinstance(found := trying.result(), sqlite3.Connection):
        found.close()
