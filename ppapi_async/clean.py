"""Requests that go out only where the next answer can be theirs.

aiohttp keeps what arrives on an idle connection, and takes it for the answer to the next request:
a second answer of a confused proxy would become a receipt for a payout. So a connection on which
anything has come before it was asked for is not used.
"""

from __future__ import annotations

import aiohttp
from aiohttp.connector import Connection

__all__ = ["CleanRequest", "StaleConnectionError"]


class StaleConnectionError(Exception):
    """Something waits to be read although nothing was asked; the request was not sent."""


class CleanRequest(aiohttp.ClientRequest):
    """A request that is not sent over a connection with something left on it."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the request; aiohttp closes the connection if this fails.

        Raises:
            StaleConnectionError: nothing was sent; another connection may be clean.
        """
        if conn.protocol is not None and conn.protocol.should_close:
            raise StaleConnectionError
        return await super().send(conn)
