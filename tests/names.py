"""A resolver for tests: every host is here, or none is, as a test wants it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

__all__ = ["Names"]

Find: TypeAlias = Callable[[str, int], Awaitable[int | None]]


class Names(AbstractResolver):
    """Finds hosts on loopback.

    Args:
        find: returns, after as long as it likes, the port for a host and the port that was asked
            for; None where there is no such host.
    """

    def __init__(self, find: Find) -> None:
        self._find = find

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a name.

        Raises:
            OSError: there is no such host.
        """
        found = await self._find(host, port)
        if found is None:
            raise OSError(None, "Name or service not known")
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=found, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Hold nothing."""
