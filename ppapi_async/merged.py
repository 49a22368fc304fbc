"""The rows of many accounts in one stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeAlias, TypeVar

from attrs import define

from ppapi_async.errors import PPAPIError
from ppapi_async.iteration import Iteration
from ppapi_async.models import Row
from ppapi_async.streams import Stream

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

    _streams: Mapping[str, Callable[[], Stream[RowT]]]
    _concurrency: int

    def __aiter__(self) -> AsyncIterator[tuple[str, RowT | PPAPIError]]:
        """Iterate over the rows of all accounts."""
        return self._start(self._iterate)

    async def _iterate(self) -> AsyncGenerator[list[tuple[str, RowT | PPAPIError]], None]:
        portions: asyncio.Queue[_Portion[RowT]] = asyncio.Queue()
        waiting = iter(self._streams.items())
        count = min(self._concurrency, len(self._streams))
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
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(
        self,
        waiting: Iterator[tuple[str, Callable[[], Stream[RowT]]]],
        portions: asyncio.Queue[_Portion[RowT]],
    ) -> None:
        """Read one account after the other."""
        try:
            for name, open_stream in waiting:
                try:
                    async with contextlib.aclosing(open_stream().read()) as windows:
                        async for window in windows:
                            await _hand_over(portions, name, window.records)
                except PPAPIError as error:
                    await _hand_over(portions, name, [error])
        finally:
            portions.put_nowait(None)


async def _hand_over(
    portions: asyncio.Queue[_Portion[RowT]], name: str, rows: Sequence[RowT | PPAPIError]
) -> None:
    """Wait until they are taken: so each worker holds one window, and nobody starves."""
    taken = asyncio.Event()
    portions.put_nowait((name, rows, taken))
    await taken.wait()
