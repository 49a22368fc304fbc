"""The rows of many accounts in one stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from typing import Generic, TypeAlias, TypeVar

from attrs import define

from ppapi_async.errors import PPAPIError
from ppapi_async.fleet.member import Member
from ppapi_async.models import Row
from ppapi_async.session import Session
from ppapi_async.streaming.iteration import Iteration
from ppapi_async.streaming.stream import Stream
from ppapi_async.transport.closing import Reading, wait_until_done

__all__ = ["Merged"]

RowT = TypeVar("RowT", bound=Row)
_Portion: TypeAlias = "tuple[str, Sequence[RowT | PPAPIError], asyncio.Event] | None"
"""Rows of an account, and the event that says that they were taken. None: a worker has ended."""


@define(eq=False)
class Merged(Iteration, Generic[RowT]):
    """`(name, row)` of many accounts: oldest first and complete for each, in turns between them.

    An account that fails ends with `(name, error)`; the others go on. Iterate it once; leaving the
    loop early is fine.
    """

    _members: Sequence[Member]
    _open_stream: Callable[[Session], Stream[RowT]]
    _concurrency: int
    _under_way: set[Reading]

    def __aiter__(self) -> AsyncIterator[tuple[str, RowT | PPAPIError]]:
        """Iterate over the rows of all accounts.

        Raises:
            TransportError: the fleet was closed meanwhile.
        """
        return self._start(self._iterate, under_way=self._under_way)

    async def _iterate(self) -> AsyncGenerator[list[tuple[str, RowT | PPAPIError]], None]:
        portions: asyncio.Queue[_Portion[RowT]] = asyncio.Queue()
        waiting = iter(self._members)
        count = min(self._concurrency, len(self._members))
        tasks = [asyncio.create_task(self._work(waiting, portions)) for _ in range(count)]
        try:
            while count:
                portion = await portions.get()
                if portion is None:
                    count -= 1
                    continue
                name, rows, taken = portion
                yield [(name, row) for row in rows]
                taken.set()
            for task in tasks:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await wait_until_done(tasks)

    async def _work(
        self, waiting: Iterator[Member], portions: asyncio.Queue[_Portion[RowT]]
    ) -> None:
        """Read one account after the other."""
        try:
            for member in waiting:
                error = await member.ask(self._read(member, portions))
                if error is not None:
                    await _hand_over(portions, member.name, [error])
        finally:
            portions.put_nowait(None)

    async def _read(self, member: Member, portions: asyncio.Queue[_Portion[RowT]]) -> None:
        async with contextlib.aclosing(self._open_stream(member.session).read()) as windows:
            async for window in windows:
                await _hand_over(portions, member.name, window.records)


async def _hand_over(
    portions: asyncio.Queue[_Portion[RowT]], name: str, rows: Sequence[RowT | PPAPIError]
) -> None:
    """Wait until they are taken: so each worker holds one window, and nobody starves."""
    taken = asyncio.Event()
    portions.put_nowait((name, rows, taken))
    await taken.wait()
