"""The state of watches in PostgreSQL, for workers on many machines."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ppapi_async.secret import Secret
from ppapi_async.storage.stores import StateChange, check

if TYPE_CHECKING:
    from ppapi_async.storage.postgres_session import PostgresSession

__all__ = ["PostgresState"]

_SHORTEST, _LONGEST = 1.0, timedelta(days=1).total_seconds()


class PostgresState:
    """Keeps the entries in a database of PostgreSQL 14 or later; its tables are called `ppapi_*`.

    A save that has returned is committed. The tables are made at the first use, whoever else starts
    at the same time. Needs psycopg (`ppapi-async[postgres]`).

    With `Fleet(…, shared="group")`, several workers share the accounts; each saves on the
    connection that holds its locks. Without, it is a store like the others, also behind PgBouncer,
    and accounts belong to one process.

    `async with` closes it when the last of those who entered leaves; it may be entered many times,
    and also used without, until `aclose`. Used again, it opens again. One event loop at a time.

    Args:
        url: `postgresql://user:password@host/database`, with the parameters of libpq.
        hung_after: how long nothing may be heard of a worker that shares accounts, until they are
            given to others, in seconds or as timedelta.

    Raises:
        ValueError: an argument is not usable.
        ImportError: psycopg is not installed.

    >>> state = PostgresState("postgresql://user:password@db/partner")     # doctest: +SKIP
    """

    def __init__(self, url: str, *, hung_after: float | timedelta = timedelta(seconds=30)) -> None:
        try:
            from ppapi_async.storage.postgres_session import check_url  # noqa: PLC0415 - an extra
        except ImportError:
            raise ImportError(
                "PostgresState: needs psycopg; pip install 'ppapi-async[postgres]'"
            ) from None
        self.where = check_url(url)
        """The database, without what is secret in its url."""
        self.hung_after = _seconds(hung_after)
        """Seconds until a worker that is not heard of loses its accounts."""
        self.url = Secret(url)
        """The whole url."""
        self._inside = 0
        self._session: PostgresSession | None = None
        self._opening: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    def __repr__(self) -> str:
        return f"<PostgresState {self.where} {'open' if self._session else 'closed'}>"

    async def __aenter__(self) -> Self:
        self._inside += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inside -= 1
        if not self._inside:
            await self.aclose()

    async def aclose(self) -> None:
        """Write what was asked for and close the connection, whoever is still inside."""
        async with self._lock():  # one that is being opened is closed too
            session, self._session = self._session, None
        if session is None:
            return
        if session.loop is asyncio.get_running_loop():
            await session.aclose()
        else:
            session.kill()

    async def load(self, watch: str) -> Mapping[str, str]:
        """Return all entries of a watch, none if nothing was saved.

        Raises:
            StateError: the database could not be read.
            TypeError: the name is no text.
            ValueError: the name cannot be one of a watch.
        """
        check(watch)
        return await (await self._current()).load(watch)

    async def read(self, watch: str, name: str) -> str | None:
        """Return one entry, None if there is none of this name.

        Raises:
            StateError: the database could not be read.
            TypeError: a name is no text.
            ValueError: a name cannot be one.
        """
        check(watch, name)
        return await (await self._current()).read(watch, name)

    async def save(self, watch: str, put: Mapping[str, str], drop: Collection[str] = ()) -> None:
        """Drop the named entries, whether or not they are there, then put these in.

        All or nothing, and kept when it returns. Saves that wait for another one are written
        together. One that is cancelled was made as a whole or not at all.

        Raises:
            StateError: nothing was saved, or the connection broke before the answer.
            TypeError: the arguments are no texts.
            ValueError: a text cannot be kept.
        """
        change = StateChange.of(watch, put, drop)
        await (await self._current()).save(change)

    async def _current(self) -> PostgresSession:
        from ppapi_async.storage.postgres_session import PostgresSession  # noqa: PLC0415 - an extra

        loop = asyncio.get_running_loop()
        async with self._lock():
            session = self._session
            if session is None or session.error is not None or session.loop is not loop:
                if session is not None:
                    session.kill()
                self._session = session = await PostgresSession.open(self.url)
            return session

    def _lock(self) -> asyncio.Lock:
        """Return what is held while a connection is opened, in this event loop."""
        loop = asyncio.get_running_loop()
        if self._opening is None or self._opening[0] is not loop:
            self._opening = loop, asyncio.Lock()
        return self._opening[1]


def _seconds(hung_after: float | timedelta) -> float:
    seconds = hung_after.total_seconds() if isinstance(hung_after, timedelta) else float(hung_after)
    if not _SHORTEST <= seconds <= _LONGEST:
        raise ValueError("hung_after: pass a second or more, and no more than a day")
    return seconds
