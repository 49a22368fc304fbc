"""HTTP as the bench servers speak it: just enough of it, and quickly."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from collections.abc import Callable, Iterable

Reply = Callable[[bytes, bytes], Iterable[bytes | memoryview]]
"""Makes of the target and the form of a request the parts of an answer, its head included."""

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"Content-Length: %d\r\n\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def head(length: int) -> bytes:
    """Return the head of an answer whose body has so many bytes."""
    return _HEAD % length


class Connection(asyncio.Protocol):
    """Reads requests, writes answers."""

    def __init__(self, reply: Reply) -> None:
        """Answer with what this makes of a request."""
        self._reply = reply
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            announced = _LENGTH.search(self._received, 0, end)
            whole = end + 4 + (int(announced[1]) if announced else 0)
            if len(self._received) < whole:
                return
            target = self._received.split(b" ", 2)[1]
            form = self._received[end + 4 : whole]
            self._received = self._received[whole:]
            for part in self._reply(target, form):
                self._transport.write(part)


def tcp_socket() -> socket.socket:
    """Return a socket on which asyncio sets TCP_NODELAY: it does so only where TCP is named."""
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)


async def serve(reply: Reply, listener: socket.socket) -> None:
    """Print the port, and serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(reply), sock=listener, backlog=4096)
    print(listener.getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
