"""What is being read, and how whoever closes waits until nothing of it is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

__all__ = ["UnderWay", "wait_until_done"]

_GRACE = 5.0
"""Seconds that clean-up may go on after whoever waits for it has been cancelled."""


class UnderWay(Protocol):
    """A stream, a watch or the events of a fleet while it is being read."""

    def stop(self, error: BaseException) -> None:
        """End it with this error."""

    async def wait_until_left(self) -> None:
        """Wait until nothing of it is left."""


async def wait_until_done(
    tasks: Iterable[asyncio.Task[object]], hurry: Callable[[], object] | None = None
) -> None:
    """Wait for clean-up to end, however often the wait is cancelled; the cancellation comes then.

    anyio cancels again in every turn of the loop, so whoever cleans up in the task that is
    cancelled never ends it. The tasks go on by themselves; after a cancellation they are waited for
    a few seconds more, so that nothing hangs that somebody wants to end.

    Args:
        tasks: what cleans up.
        hurry: called at the first cancellation, to have the tasks end sooner.
    """
    loop, waiting = asyncio.get_running_loop(), {task for task in tasks if not task.done()}
    cancelled: asyncio.CancelledError | None = None
    deadline: float | None = None
    while waiting and (deadline is None or loop.time() < deadline):
        timeout = None if deadline is None else deadline - loop.time()
        try:
            await asyncio.wait(waiting, timeout=timeout)
        except asyncio.CancelledError as error:
            if cancelled is None:
                cancelled, deadline = error, loop.time() + _GRACE
                if hurry is not None:
                    hurry()
        waiting = {task for task in waiting if not task.done()}
    if cancelled is not None:
        raise cancelled
