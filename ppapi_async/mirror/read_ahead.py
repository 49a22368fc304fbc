"""Reads the next window while the last one is written: the site and the database work at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TypeVar

from ppapi_async.transport.closing import wait_until_done

__all__ = ["read_ahead"]

T = TypeVar("T")


async def read_ahead(source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield what a generator yields, in order, while it makes the next one, and no more than one.

    An error of the source comes when the next one is asked for: what was yielded before it can be
    written to its end. However this generator ends, the source is closed and nothing is under way.

    Raises:
        Exception: what the source raises.
    """
    wanted = asyncio.Semaphore(1)
    made: asyncio.Queue[T | None] = asyncio.Queue()

    async def make() -> None:
        try:
            async with contextlib.aclosing(source):
                await wanted.acquire()
                async for one in source:
                    made.put_nowait(one)
                    await wanted.acquire()
        finally:
            made.put_nowait(None)

    making = asyncio.create_task(make())
    try:
        while (one := await made.get()) is not None:
            wanted.release()
            yield one
        await making
    finally:
        making.cancel()
        await wait_until_done([making])
        if making.done() and not making.cancelled():
            making.exception()  # it has been raised, or whoever would have had it has left
