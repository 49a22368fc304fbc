"""A stand-in for PgBouncer in transaction mode, in front of a real PostgreSQL.

A client is given a process number of the pooler's own, and for each transaction one of the server
connections that are idle. It knows the simple and the extended protocol as far as they are needed.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from attrs import define, field

__all__ = ["Pooler"]

_KEY = b"K" + struct.pack("!iii", 12, 77, 99)
_ENDS_TURN = (b"Q"[0], b"S"[0])
"""Query and Sync: after them the server answers up to ReadyForQuery."""


@define(eq=False)
class _Server:
    """A connection to the server, logged in."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


@define(eq=False)
class Pooler:
    """Hands each transaction to another server connection.

    Args:
        url: of the database.
        pick: which of the idle server connections is used next.
        own_key: whether it tells a process number of its own, as PgBouncer does.
        pooling: "transaction", or "session" for a pool that may hold locks.
    """

    url: str
    pick: Callable[[list[_Server]], _Server]
    own_key: bool = True
    pooling: str = "transaction"
    own_port: int = field(init=False, default=0)
    _idle: list[_Server] = field(init=False, factory=list)
    _all: list[_Server] = field(init=False, factory=list)
    _server: asyncio.Server = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(init=False, factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.own_port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._all:
            one.writer.close()

    @property
    def own_url(self) -> str:
        """The url of the same database through the pooler."""
        parts = urlsplit(self.url)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{self.own_port}"))

    async def _login(self, startup: bytes) -> _Server:
        parts = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(startup)
        greeting = b""
        while not greeting.endswith(b"Z\0\0\0\5I"):
            message = await _message(reader)
            greeting += _KEY if self.own_key and message[:1] == b"K" else message
        server = _Server(reader, writer, greeting)
        self._all.append(server)
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._client(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = await reader.readexactly(4)
        startup = size + await reader.readexactly(struct.unpack("!i", size)[0] - 4)
        if startup[4:8] == struct.pack("!i", 80877103):  # SSL? no
            writer.write(b"N")
            await self._client(reader, writer)
            return
        while len(self._all) < 2:
            self._idle.append(await self._login(startup))
        writer.write(self._all[-1].greeting)
        own: _Server | None = None
        try:
            while True:
                message = await _message(reader)
                if message[:1] == b"X":
                    return
                if own is None:
                    own = self.pick(self._idle) if self._idle else await self._login(startup)
                    if own in self._idle:
                        self._idle.remove(own)
                own.writer.write(message)
                if message[0] in _ENDS_TURN:
                    status = await self._answer(own, writer)
                    if status == b"I" and self.pooling == "transaction":
                        self._idle.append(own)
                        own = None
        finally:
            if own is not None:
                own.writer.close()

    @staticmethod
    async def _answer(server: _Server, writer: asyncio.StreamWriter) -> bytes:
        while True:
            answer = await _message(server.reader)
            writer.write(answer)
            if answer[:1] == b"Z":
                return answer[5:6]
