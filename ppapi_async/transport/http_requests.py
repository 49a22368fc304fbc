"""Requests that go out only where the next answer can be theirs.

aiohttp keeps what arrives on an idle connection, and takes it for the answer to the next request:
a second answer of a confused proxy would become a receipt for a payout. So a connection on which
anything has come before it was asked for is not used. What comes a moment later cannot be told
from the answer; so what must not be mistaken goes over a connection of its own.
"""

from __future__ import annotations

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection

__all__ = ["CleanRequest", "LoneRequest", "StaleConnectionError"]


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


class LoneRequest(CleanRequest):
    """A request with a connection of its own, before and after which nothing is sent over it.

    The connector that opens the connection is the session's, lent or not: its resolver, TLS and
    proxy are the same.
    """

    @property
    def connection_key(self) -> ConnectionKey:
        """What the connector looks for among its idle connections: none is like this one."""
        return super().connection_key._replace(proxy_headers_hash=id(self))

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send the request, and have the connection closed after the answer."""
        response = await super().send(conn)
        if conn.protocol is not None:
            conn.protocol.force_close()
        return response
