"""Calls the functions that users give us, so that none of them holds anything up."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import define, field

__all__ = ["Callbacks", "call"]

T = TypeVar("T")
_MOST_WAITING = 10_000
"""Calls that wait for an `async def` function of a user's that does not keep up."""
_PATIENCE = 5.0
"""Seconds that `async def` functions have to end when the session is closed."""
_log = logging.getLogger("ppapi_async")


async def call(function: Callable[[T], object], argument: T) -> None:
    """Call a function that may be `async def`, and wait for it."""
    result = function(argument)
    if inspect.isawaitable(result):
        await result


@define(eq=False)
class _Lane:
    """The calls of one `async def` function, one after the other."""

    function: Callable[..., object]
    waiting: deque[object]
    task: asyncio.Task[None] | None = None
    has_dropped: bool = False


@define(eq=False)
class Callbacks:
    """Calls functions beside what is going on.

    A function that fails must not turn a paid payout into an error or end a watch, and one that is
    slow must not hold up what it is told about. What a function raises goes to the loop's exception
    handler. An `async def` function is called again when its last call has ended, in order.
    """

    _lanes: dict[int, _Lane] = field(factory=dict)
    """The functions that are being awaited, by identity."""

    def call_soon(self, function: Callable[[T], object], argument: T) -> None:
        """Call a function in the next turn of the loop."""
        asyncio.get_running_loop().call_soon(self._call, function, argument)

    def _call(self, function: Callable[[T], object], argument: T) -> None:
        lane = self._lanes.get(id(function))
        if lane is None:
            result = function(argument)
            if inspect.isawaitable(result):
                lane = self._lanes[id(function)] = _Lane(function, deque())
                lane.task = asyncio.ensure_future(self._run(lane, result))
        elif len(lane.waiting) < _MOST_WAITING:
            lane.waiting.append(argument)
        elif not lane.has_dropped:
            lane.has_dropped = True
            _log.warning("an async callback does not keep up; calls of it are left out")

    async def _run(self, lane: _Lane, result: Awaitable[object]) -> None:
        try:
            await self._settle(result)
            while lane.waiting:
                await self._settle(call(lane.function, lane.waiting.popleft()))
        finally:
            del self._lanes[id(lane.function)]

    async def _settle(self, result: Awaitable[object]) -> None:
        try:
            await result
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a callback of ppapi_async failed", "exception": error}
            )

    async def close(self, asking: asyncio.Task[object] | None) -> None:
        """Wait some seconds for the functions to end; then cancel them.

        `asking` is the task that closes: where it is one of these functions, nobody waits for it.
        """
        tasks: set[asyncio.Task[object]] = {
            lane.task
            for lane in self._lanes.values()
            if lane.task is not None and lane.task is not asking
        }
        for seconds in (_PATIENCE, 1.0):
            if tasks:
                _, tasks = await asyncio.wait(tasks, timeout=seconds)
            for task in tasks:
                task.cancel()
