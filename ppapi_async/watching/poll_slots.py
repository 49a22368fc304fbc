"""What bounds how much is done at once: for a host, and for all accounts together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, TypeAlias

__all__ = ["HostLimiter", "PollSlot", "TakeSlot"]


class HostLimiter:
    """Held during each request to a host: so many at once, and no more than so many a second."""

    def __init__(self, at_once: int, pace: AbstractAsyncContextManager[object] | None) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._pace = pace

    async def __aenter__(self) -> None:
        await self._slots.acquire()
        if self._pace is None:
            return
        entered = False
        try:
            await self._pace.__aenter__()
            entered = True
        finally:
            if not entered:
                self._slots.release()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._slots.release()
        if self._pace is not None:
            await self._pace.__aexit__(kind, error, traceback)


class PollSlot:
    """Held while a window is read and delivered: a slot of the host's, then one of the fleet's.

    In this order, so that accounts of a host that hangs do not take all slots of the fleet. The
    slot of the host is given back when the window has been read.
    """

    def __init__(self, at_host: asyncio.Semaphore, in_fleet: asyncio.Semaphore) -> None:
        self._at_host, self._in_fleet = at_host, in_fleet
        self._reading = False

    async def __aenter__(self) -> Self:
        await self._at_host.acquire()
        self._reading, entered = True, False
        try:
            entered = await self._in_fleet.acquire()
        finally:
            if not entered:
                self.end_reading()
        return self

    def end_reading(self) -> None:
        """Give the host's slot back."""
        if self._reading:
            self._reading = False
            self._at_host.release()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._in_fleet.release()
        self.end_reading()


TakeSlot: TypeAlias = Callable[[], AbstractAsyncContextManager[PollSlot | None]]
"""Makes what is held while a window is read and delivered: it bounds what pollers hold at once."""
